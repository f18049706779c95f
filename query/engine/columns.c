/* SPDX-License-Identifier: Apache-2.0 */
/* Evaluation times, columns of steps, and vectors: series with one column each. */
#include "query/engine/internal.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

struct grid grid_of_query(const struct query_params *params) {
    struct grid g = {.start_ms = params->start_ms, .step_ms = 1, .steps = 1};
    if (params->instant || params->step_ms <= 0) return g;
    g.step_ms = params->step_ms;
    g.steps = params->end_ms < params->start_ms
                  ? 0
                  : (size_t)((params->end_ms - params->start_ms) / params->step_ms) + 1;
    return g;
}

/* Evaluation times of a subquery are multiples of its step, the first one after the start of the
 * first range. */
static enum status grid_of_subquery(const struct query *q, const struct expr *e,
                                    const struct grid *grid, struct grid *out, struct err *err) {
    const struct range *r = &e->u.range;
    int64_t step = r->step_ms > 0 ? r->step_ms : query_params(q)->default_step_ms;
    if (step <= 0) step = 60000;
    int64_t first = grid->start_ms, last = grid_end(grid);
    if (r->shift.at != AT_NONE) first = last = r->shift.at_ms;
    int64_t from, end;
    if (__builtin_sub_overflow(first, r->shift.offset_ms, &from) ||
        __builtin_sub_overflow(from, r->range_ms, &from) ||
        __builtin_sub_overflow(last, r->shift.offset_ms, &end))
        return err_set(err, ERR_EXEC, 0, "subquery range is out of bounds");
    int64_t start = step * (from / step);
    if (start <= from) start += step;
    bool none = end < start || grid->steps == 0; /* out may be the grid itself */
    *out = (struct grid){.start_ms = start, .step_ms = step, .steps = 0};
    if (none) return OK;
    uint64_t steps = (uint64_t)(end - start) / (uint64_t)step + 1;
    if (steps > STEPS_MAX)
        return err_set(
            err, ERR_LIMIT, 0,
            "query processing would load too many samples into memory in query execution");
    out->steps = (size_t)steps;
    return OK;
}

enum status grid_of_child(const struct query *q, const struct expr *parent, const struct grid *grid,
                          struct grid *out, struct err *err) {
    if (parent->kind == EXPR_SUBQUERY) return grid_of_subquery(q, parent, grid, out, err);
    *out = *grid;
    if (parent->kind == EXPR_STEP_INVARIANT) {
        out->step_ms = 1;
        out->steps = MIN(grid->steps, 1);
    }
    return OK;
}

bool column_alloc(struct arena *arena, size_t steps, struct column *out) {
    size_t n = steps == 0 ? 1 : steps;
    double *values = arena_array(arena, n, sizeof *values);
    uint8_t *kinds = arena_array(arena, n, sizeof *kinds);
    if (values == NULL || kinds == NULL) return false;
    *out = (struct column){.values = values, .kinds = kinds};
    return true;
}

size_t column_points(const struct column *c, size_t steps) {
    size_t points = 0;
    for (size_t k = 0; k < steps; k++)
        points += c->kinds[k] != POINT_NONE;
    return points;
}

struct vectors *vectors_new(const struct grid *grid, struct budget *budget) {
    struct vectors *v = calloc(1, sizeof *v);
    if (v == NULL) return NULL;
    arena_init_budget(&v->arena, budget);
    v->grid = *grid;
    return v;
}

void vectors_free(struct vectors *v) {
    if (v == NULL) return;
    budget_give(v->arena.budget, v->cap * sizeof *v->series);
    arena_fini(&v->arena);
    free(v->series);
    free(v);
}

struct series *vectors_add(struct vectors *v, const struct labelset *labels, size_t spare) {
    if (v->count == v->cap) {
        size_t cap = v->cap == 0 ? 16 : v->cap * 2;
        size_t size = sizeof *v->series;
        struct series *grown = budget_grow(v->arena.budget, v->series, v->cap * size, cap * size);
        if (grown == NULL) return NULL;
        v->series = grown;
        v->cap = cap;
    }
    struct series s = {0};
    if (!labelset_copy(&v->arena, labels, spare, &s.labels)) return NULL;
    if (!column_alloc(&v->arena, v->grid.steps, &s.col)) return NULL;
    v->series[v->count] = s;
    return &v->series[v->count++];
}

static int series_order(const void *a, const void *b, void *arg) {
    (void)arg;
    return labelset_cmp(&((const struct series *)a)->labels, &((const struct series *)b)->labels);
}

enum status vectors_sort(struct eval *ev, struct vectors *v) {
    struct sort_by by = {series_order, NULL};
    return eval_sort(ev, v->series, v->count, sizeof *v->series, &by);
}

enum status vectors_drop_empty(struct eval *ev, struct vectors *v) {
    size_t n = 0;
    for (size_t i = 0; i < v->count; i++) {
        TRY(eval_work(ev, 16 + v->grid.steps / 16));
        if (v->grid.steps > 0 && memchr(v->series[i].col.kinds, POINT_FLOAT, v->grid.steps) != NULL)
            v->series[n++] = v->series[i];
        else if (v->series[i].col.histograms != NULL &&
                 column_points(&v->series[i].col, v->grid.steps) > 0)
            v->series[n++] = v->series[i];
    }
    v->count = n;
    return OK;
}

enum status vectors_points(struct eval *ev, const struct vectors *v, uint64_t *out) {
    uint64_t points = 0;
    for (size_t i = 0; i < v->count; i++) {
        points += column_points(&v->series[i].col, v->grid.steps);
        TRY(eval_work(ev, 30 + v->grid.steps / 4));
    }
    *out = points;
    return OK;
}
