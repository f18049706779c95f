/* SPDX-License-Identifier: Apache-2.0 */
/* The coordinator's evaluation: nodes over vectors whose leaves are the folded answers of
 * fragments. */
#include "query/engine/internal.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

static int index_order(const void *a, const void *b, void *arg) {
    const struct vectors *v = arg;
    const uint32_t *i = a, *j = b;
    int c = labelset_cmp(&v->series[*i].labels, &v->series[*j].labels);
    return c != 0 ? c : (*i > *j) - (*i < *j);
}

static enum status join_columns(struct eval *ev, struct column *into, const struct column *from,
                                size_t steps) {
    for (size_t k = 0; k < steps; k++) {
        TRY(eval_step(ev, k));
        if (from->kinds[k] == POINT_NONE) continue;
        if (into->kinds[k] != POINT_NONE) return fail_duplicate(ev);
        into->kinds[k] = from->kinds[k];
        into->values[k] = from->values[k];
    }
    return OK;
}

enum status vectors_join(struct eval *ev, struct vectors *v, bool whole) {
    if (v->count < 2) return OK;
    uint32_t *order = eval_alloc(ev, v->count, sizeof *order);
    if (order == NULL) return eval_nomem(ev);
    for (size_t i = 0; i < v->count; i++)
        order[i] = (uint32_t)i;
    struct sort_by by = {index_order, v};
    enum status st = eval_sort(ev, order, v->count, sizeof *order, &by);
    bool joined = false;
    size_t first = 0;
    for (size_t i = 1; st == OK && i < v->count; i++) {
        struct series *a = &v->series[order[first]], *b = &v->series[order[i]];
        st = eval_work(ev, 32);
        if (labelset_cmp(&a->labels, &b->labels) != 0) {
            first = i;
            continue;
        }
        if (st == OK)
            st = whole ? fail_duplicate(ev) : join_columns(ev, &a->col, &b->col, v->grid.steps);
        memset(b->col.kinds, POINT_NONE, v->grid.steps);
        joined = true;
    }
    eval_free(ev, order, v->count, sizeof *order);
    return st == OK && joined ? vectors_drop_empty(ev, v) : st;
}

enum status vectors_of_partial(struct eval *ev, struct partial *p, struct vectors **out) {
    enum status st = notes_merge(ev->notes, &p->notes);
    if (st != OK) return eval_nomem(ev);
    struct vectors *v = NULL;
    if (p->kind == FRAGMENT_VECTORS) {
        v = p->vec;
        p->vec = NULL;
        if (v == NULL) return err_set(ev->err, ERR_EXEC, 0, "a fragment's answer was used twice");
        st = vectors_sort(ev, v);
        struct stage s;
        const struct expr *child;
        bool whole =
            stage_describe(node_unwrap(query_expr(ev->q, p->number)), &s, &child) && s.whole_unique;
        if (st == OK && !eval_delayed_names(ev)) st = vectors_join(ev, v, whole);
    } else {
        assert(p->kind == FRAGMENT_PARTIAL);
        v = eval_vectors_new(ev, &p->grid);
        st = v == NULL ? eval_nomem(ev) : agg_finish(ev, &p->agg, v);
        partial_drop_groups(p);
    }
    eval_release(ev, p->held_points);
    p->held_points = 0;
    if (st == OK) st = vectors_ready(ev, v);
    if (st != OK) {
        vectors_free(v);
        return st;
    }
    *out = v;
    return OK;
}

static enum status stage_args(struct eval *ev, struct stage *s, struct arena *arena) {
    for (size_t a = 0; a < s->args_count; a++) {
        s->args[a] = arena_array(arena, s->out.steps + 1, sizeof(double));
        if (s->args[a] == NULL) return eval_nomem(ev);
        TRY(scalar_eval(ev, s->arg_exprs[a], &s->out, s->args[a]));
    }
    return OK;
}

/* Applies a stage to every series; moves them to a vector on the stage's own grid. */
static enum status stage_over(struct eval *ev, struct stage *s, struct vectors *in,
                              struct vectors *out) {
    struct stage_run run = {.ev = ev, .stage = s};
    enum status st = stage_args(ev, s, &out->arena);
    bool reads = s->kind == STAGE_WINDOW;
    if (st == OK && reads) st = reads_init(ev, &run.reads, s->out.steps);
    bool drop = s->changes_labels && !eval_delayed_names(ev);
    for (size_t i = 0; st == OK && i < in->count; i++) {
        st = eval_work(ev, 200);
        if (st != OK) break;
        struct series *from = &in->series[i], *to = vectors_add(out, &from->labels, 0);
        if (to == NULL) {
            st = eval_nomem(ev);
            break;
        }
        run.labels = &from->labels;
        st = stage_apply(&run, &from->col, &to->col);
        to->drop_name = from->drop_name || (s->changes_labels && !drop);
        if (drop) labelset_drop_metadata(&to->labels);
    }
    if (st == OK && reads) st = plan_count(ev, s->expr, &run.reads);
    stage_run_fini(&run);
    if (st != OK) return st;
    TRY(vectors_drop_empty(ev, out));
    return eval_delayed_names(ev) ? OK : vectors_join(ev, out, s->whole_unique);
}

static enum status eval_stage(struct eval *ev, struct stage *s, const struct expr *child,
                              const struct grid *grid, struct vectors **out) {
    const struct expr *over = s->kind == STAGE_WINDOW ? s->matrix : s->expr;
    s->out = *grid;
    TRY(grid_of_child(ev->q, over, grid, &s->in, ev->err));
    struct vectors *in = NULL, *result = NULL;
    TRY(eval_vector(ev, child, &s->in, &in));
    result = eval_vectors_new(ev, grid);
    enum status st = result == NULL ? eval_nomem(ev) : stage_over(ev, s, in, result);
    vectors_done(ev, in);
    if (st == OK) st = vectors_ready(ev, result);
    if (st != OK) {
        vectors_free(result);
        return st;
    }
    *out = result;
    return OK;
}

enum status eval_vector(struct eval *ev, const struct expr *e, const struct grid *grid,
                        struct vectors **out) {
    TRY(eval_poll(ev));
    e = node_unwrap(e);
    if (grid->steps == 0) {
        *out = eval_vectors_new(ev, grid);
        return *out == NULL ? eval_nomem(ev) : OK;
    }
    struct partial *p = plan_partial(ev->plan, e->number);
    bool absent = e->kind == EXPR_CALL &&
                  (e->u.function->id == FN_ABSENT || e->u.function->id == FN_ABSENT_OVER_TIME);
    if (p != NULL && !absent) return vectors_of_partial(ev, p, out);
    struct stage s;
    const struct expr *child;
    if (stage_describe(e, &s, &child) && child != NULL) return eval_stage(ev, &s, child, grid, out);
    switch ((int)e->kind) {
    case EXPR_BINARY: return eval_binary(ev, e, grid, out);
    case EXPR_AGGREGATE: return eval_aggregate(ev, e, grid, out);
    case EXPR_CALL: return eval_call(ev, e, grid, out);
    default: return err_set(ev->err, ERR_EXEC, 0, "tree node %u has no vector", e->number);
    }
}
