/* SPDX-License-Identifier: Apache-2.0 */
/* Partials: what a fragment answers, and how answers join. */
#include "query/engine/internal.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

enum status partial_new(struct eval *ev, const struct fragment *f, struct partial **out) {
    struct grid grid;
    TRY(fragment_grid(ev->q, f, &grid, ev->err));
    struct partial *p = calloc(1, sizeof *p);
    if (p == NULL) return eval_nomem(ev);
    p->kind = f->kind;
    p->number = f->number;
    p->q = ev->q;
    p->grid = grid;
    p->budget.limit_bytes = (size_t)query_params(ev->q)->memory_bytes_max;
    ev->budget = &p->budget;
    arena_init_budget(&p->arena, &p->budget);
    map_init(&p->ids.map);
    const struct expr *e = query_expr(ev->q, f->number);
    agg_init(&p->agg, &p->arena, e, grid.steps);
    enum status st = reads_init(ev, &p->reads, grid.steps);
    if (st == OK && f->kind == FRAGMENT_VECTORS) {
        p->vec = eval_vectors_new(ev, &grid);
        if (p->vec == NULL) st = eval_nomem(ev);
    } else if (st == OK && f->kind == FRAGMENT_PARTIAL && agg_is_topk(p->agg.op)) {
        p->agg.param = arena_array(&p->arena, grid.steps + 1, sizeof(double));
        if (p->agg.param == NULL)
            st = eval_nomem(ev);
        else
            st = scalar_eval(ev, e->children[1], &grid, p->agg.param);
        bool empty;
        if (st == OK) st = topk_check_params(ev, &p->agg, &empty);
    }
    if (st != OK) {
        ev->budget = NULL;
        partial_free(p);
        return st;
    }
    *out = p;
    return OK;
}

void partial_free(struct partial *p) {
    if (p == NULL) return;
    agg_fini(&p->agg);
    vectors_free(p->vec);
    free(p->raw);
    notes_fini(&p->notes);
    id_set_fini(&p->ids);
    arena_fini(&p->arena);
    reads_fini(&p->reads, &p->budget);
    budget_leave(&p->budget);
    free(p);
}

void partial_drop_groups(struct partial *p) {
    const struct expr *e = p->agg.expr;
    agg_fini(&p->agg);
    arena_fini(&p->arena);
    agg_init(&p->agg, &p->arena, e, 0);
}

size_t partial_memory_bytes(const struct partial *p) {
    return sizeof *p + p->budget.used_bytes;
}

uint64_t partial_points(const struct partial *p) {
    uint64_t points = 0;
    for (size_t i = 0; i < p->raw_count; i++)
        points += p->raw[i].count;
    if (p->kind == FRAGMENT_VECTORS) points = p->points;
    if (p->kind == FRAGMENT_PARTIAL) points = (uint64_t)p->agg.groups.count * p->grid.steps;
    return points;
}

uint64_t partial_rows(const struct partial *p) {
    switch (p->kind) {
    case FRAGMENT_PARTIAL: return p->agg.groups.count;
    case FRAGMENT_VECTORS: return p->vec->count;
    case FRAGMENT_SAMPLES: return p->raw_count;
    }
    return 0;
}

bool partial_order_free(const struct partial *p) {
    return p->agg.order_free;
}

static bool id_eq(const void *owner, uint32_t ref, const void *key) {
    const struct id_set *set = owner;
    const series_id *id = key;
    return series_id_eq(set->items[ref], *id);
}
static uint64_t id_hash(const void *owner, uint32_t ref) {
    const struct id_set *set = owner;
    return set->items[ref].lo;
}

enum status id_set_add(struct id_set *set, struct budget *budget, series_id id,
                       bool *out_duplicate) {
    if (map_find(&set->map, id.lo, id_eq, set, &id) != MAP_NONE) {
        *out_duplicate = true;
        return OK;
    }
    if (set->count == set->cap) {
        uint32_t cap = set->cap == 0 ? 64 : set->cap * 2;
        size_t size = sizeof *set->items;
        series_id *grown = budget_grow(budget, set->items, set->cap * size, cap * size);
        if (grown == NULL) return ERR_NOMEM;
        set->items = grown;
        set->cap = cap;
    }
    set->items[set->count] = id;
    struct map_entry entry = {id.lo, set->count, id_hash, set};
    TRY(map_insert_charged(&set->map, budget, &entry));
    set->count++;
    return OK;
}

void id_set_fini(struct id_set *set) {
    map_fini(&set->map);
    free(set->items);
}

struct raw_series *partial_add_raw(struct partial *p, const struct labelset *labels) {
    if (p->raw_count == p->raw_cap) {
        size_t cap = p->raw_cap == 0 ? 16 : p->raw_cap * 2;
        size_t size = sizeof *p->raw;
        struct raw_series *grown = budget_grow(&p->budget, p->raw, p->raw_cap * size, cap * size);
        if (grown == NULL) return NULL;
        p->raw = grown;
        p->raw_cap = cap;
    }
    struct raw_series *s = &p->raw[p->raw_count];
    *s = (struct raw_series){0};
    if (!labelset_copy(&p->arena, labels, 0, &s->labels)) return NULL;
    p->raw_count++;
    return s;
}

static enum status merge_vectors(struct eval *ev, struct vectors *into,
                                 const struct vectors *from) {
    size_t steps = into->grid.steps;
    for (size_t i = 0; i < from->count; i++) {
        struct series *s = vectors_add(into, &from->series[i].labels, 0);
        if (s == NULL) return ERR_NOMEM;
        TRY(eval_work(ev, 100 + steps));
        s->drop_name = from->series[i].drop_name;
        memcpy(s->col.values, from->series[i].col.values, steps * sizeof *s->col.values);
        memcpy(s->col.kinds, from->series[i].col.kinds, steps);
    }
    return OK;
}

static enum status merge_raw(struct eval *ev, struct partial *into, const struct partial *from) {
    for (size_t i = 0; i < from->raw_count; i++) {
        const struct raw_series *r = &from->raw[i];
        struct raw_series *s = partial_add_raw(into, &r->labels);
        if (s == NULL) return ERR_NOMEM;
        s->times_ms = arena_array(&into->arena, r->count + 1, sizeof *s->times_ms);
        s->values = arena_array(&into->arena, r->count + 1, sizeof *s->values);
        if (s->times_ms == NULL || s->values == NULL) return ERR_NOMEM;
        s->count = r->count;
        TRY(eval_work(ev, 100 + r->count));
        memcpy(s->times_ms, r->times_ms, r->count * sizeof *s->times_ms);
        memcpy(s->values, r->values, r->count * sizeof *s->values);
    }
    return OK;
}

static enum status merge_content(struct eval *ev, struct partial *into, struct partial *from) {
    TRY(notes_merge(&into->notes, &from->notes));
    into->duplicate = into->duplicate || from->duplicate;
    for (uint32_t i = 0; i < from->ids.count; i++) {
        TRY(id_set_add(&into->ids, &into->budget, from->ids.items[i], &into->duplicate));
        TRY(eval_work(ev, 30));
    }
    if (into->kind == FRAGMENT_PARTIAL) return agg_merge(ev, &into->agg, &from->agg);
    into->points += from->points;
    if (into->kind == FRAGMENT_VECTORS) return merge_vectors(ev, into->vec, from->vec);
    return merge_raw(ev, into, from);
}

enum status partial_merge(struct partial *into, struct partial *from, struct query_control *control,
                          struct err *err) {
    assert(into->kind == from->kind && into->number == from->number);
    assert(grid_eq(&into->grid, &from->grid));
    reads_add(&into->reads, &from->reads);
    into->peak += from->peak;
    /* both are there until the caller frees `from` */
    bool joined = from->budget.parent == NULL && budget_join(&into->budget, &from->budget);
    struct eval ev = {.q = into->q, .err = err, .control = control, .budget = &into->budget};
    ev.told_bytes = into->budget.used_bytes; /* when these were made */
    enum status st = joined ? merge_content(&ev, into, from) : ERR_NOMEM;
    if (joined) budget_leave(&from->budget);
    return st == ERR_NOMEM ? eval_nomem(&ev) : st;
}
