/* SPDX-License-Identifier: Apache-2.0 */
/* Rounds: fragments go out when their bound inputs are known. An answer that depends on the order
 * of folding, or in which two series got the same labels, is asked for again lower in the tree, as
 * vectors. */
#include "query/engine/plan.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "node/base/bytes.h"

size_t plan_round(struct plan *p, const struct fragment **out_fragments, size_t max) {
    p->round_count = 0;
    for (size_t i = 0; i < p->fragments_count; i++) {
        struct plan_fragment *pf = p->fragments[i];
        if (pf->state != PLAN_WAITING || pf->level > p->level || p->round_count == max) continue;
        if (p->round_count == p->round_cap) {
            size_t cap = p->round_cap == 0 ? 8 : p->round_cap * 2;
            struct plan_fragment **grown = reallocarray(p->round, cap, sizeof(*grown));
            if (grown == NULL) break; /* the rest goes in the next round */
            p->round = grown;
            p->round_cap = cap;
        }
        pf->state = PLAN_SENT;
        p->round[p->round_count] = pf;
        out_fragments[p->round_count++] = &pf->f;
    }
    return p->round_count;
}

bool plan_has_round(const struct plan *p) {
    for (size_t i = 0; i < p->fragments_count; i++)
        if (p->fragments[i]->state == PLAN_WAITING && p->fragments[i]->level <= p->level)
            return true;
    return false;
}

/* Label sets of a vector that are there twice come from dropping names; where the name was dropped
 * decides what it means. */
static enum status vectors_repeat(struct eval *ev, struct vectors *v, bool *out) {
    TRY(vectors_sort(ev, v));
    for (size_t i = 1; i < v->count && !*out; i++) {
        *out = labelset_cmp(&v->series[i - 1].labels, &v->series[i].labels) == 0;
        TRY(eval_work(ev, 32));
    }
    return OK;
}

static enum status must_refetch(struct plan *p, const struct plan_fragment *pf, bool *out) {
    struct partial *partial = pf->partial;
    if (pf->f.kind == FRAGMENT_PARTIAL) *out = partial->duplicate || !partial_order_free(partial);
    if (pf->f.kind != FRAGMENT_VECTORS) return OK;
    const struct expr *e = node_unwrap(query_expr(p->q, pf->f.number));
    bool leaf;
    const struct expr *lowest = chain_lowest_drop(e, &leaf);
    if (lowest == NULL || lowest == e) return OK;
    return vectors_repeat(&p->ev, partial->vec, out);
}

enum status plan_fold(struct plan *p, size_t i, struct partial *partial, struct err *err) {
    assert(i < p->round_count && p->round[i]->state == PLAN_SENT);
    struct plan_fragment *pf = p->round[i];
    if (partial->number != pf->f.number || partial->kind != pf->f.kind ||
        !grid_eq(&partial->grid, &pf->grid)) {
        partial_free(partial);
        return err_set(err, ERR_CORRUPT, 0, "a partial answer belongs to another fragment");
    }
    p->ev.err = err;
    enum status st = budget_join(&p->budget, &partial->budget) ? OK : eval_nomem(&p->ev);
    partial->held_points = partial_points(partial);
    p->round_peak += partial->peak;
    if (st == OK) st = eval_hold(&p->ev, partial->held_points);
    if (st != OK) {
        partial_free(partial);
        return st;
    }
    pf->partial = partial;
    pf->state = PLAN_FOLDED;
    return OK;
}

/* No pushing above the lowest node that drops names (or of the aggregation alone, when only its
 * order matters). */
static void refetch_block(struct plan *p, struct plan_fragment *pf) {
    const struct expr *e = query_expr(p->q, pf->f.number);
    bool duplicate = pf->partial->duplicate || pf->f.kind == FRAGMENT_VECTORS;
    p->blocked[e->number] = true;
    if (!duplicate) return;
    bool leaf = false;
    const struct expr *at = node_unwrap(fragment_chain(p->q, &pf->f));
    const struct expr *lowest = chain_lowest_drop(at, &leaf);
    while (at != NULL && at != lowest) {
        p->blocked[at->number] = true;
        const struct expr *child = NULL;
        struct stage s;
        if (at->kind == EXPR_CALL && at->u.function->id == FN_ABSENT_OVER_TIME) return;
        if (!stage_describe(at, &s, &child) || child == NULL) return;
        at = node_unwrap(child);
    }
    if (lowest != NULL && !leaf) p->blocked[lowest->number] = true;
}

static enum status refetch(struct plan *p, struct plan_fragment *pf, struct err *err) {
    const struct expr *e = query_expr(p->q, pf->f.number);
    refetch_block(p, pf);
    eval_release(&p->ev, pf->partial->held_points);
    partial_free(pf->partial);
    pf->partial = NULL;
    pf->state = PLAN_DROPPED;
    p->node_fragment[e->number] = 0;
    unsigned rounds = 0;
    struct grid grid = pf->grid;
    return plan_collect(p, e, &grid, &rounds, err);
}

static struct bound *bound_known(struct plan *p, uint32_t number) {
    for (size_t i = 0; i < p->ev.bounds_count; i++)
        if (p->ev.bounds[i].number == number) return &p->ev.bounds[i];
    return NULL;
}

/* Computed scalars stay with the plan: a refetch needs them again. */
static enum status bound_compute(struct plan *p, const struct plan_bound *b) {
    if (bound_known(p, b->expr->number) != NULL) return OK;
    double *values = eval_alloc(&p->ev, b->grid.steps + 1, sizeof *values);
    struct bound *grown = reallocarray(p->ev.bounds, p->ev.bounds_count + 1, sizeof *grown);
    if (grown != NULL) p->ev.bounds = grown;
    if (values == NULL || grown == NULL) {
        eval_free(&p->ev, values, b->grid.steps + 1, sizeof *values);
        return eval_nomem(&p->ev);
    }
    enum status st = scalar_eval(&p->ev, b->expr, &b->grid, values);
    if (st != OK) {
        eval_free(&p->ev, values, b->grid.steps + 1, sizeof *values);
        return st;
    }
    p->ev.bounds = grown;
    p->ev.bounds[p->ev.bounds_count++] = (struct bound){b->expr->number, b->grid.steps, values};
    return OK;
}

static enum status bounds_attach(struct plan *p, struct plan_fragment *pf) {
    struct buf *out = &pf->f.bound;
    if (pf->bounds_count == 0 || out->len > 0) return OK;
    struct buf body = {0};
    size_t n = 0;
    enum status st = OK;
    for (size_t i = 0; st == OK && i < pf->bounds_count; i++) {
        st = bound_compute(p, &pf->bounds[i]);
        if (st != OK) break;
        const struct bound *b = bound_known(p, pf->bounds[i].expr->number);
        bound_put(&body, b->number, b->values, b->steps);
        n++;
    }
    buf_put_varint(out, n);
    buf_put(out, body.ptr, body.len);
    if (st == OK && (out->failed || body.failed)) st = eval_nomem(&p->ev);
    buf_fini(&body);
    return st;
}

enum status plan_attach_bounds(struct plan *p) {
    for (size_t i = 0; i < p->fragments_count; i++) {
        struct plan_fragment *pf = p->fragments[i];
        if (pf->state == PLAN_WAITING && pf->level <= p->level) TRY(bounds_attach(p, pf));
    }
    return OK;
}

enum status plan_round_done(struct plan *p, struct query_control *control, struct err *err) {
    p->ev.control = control;
    p->ev.err = err;
    eval_tell_alone(&p->ev);
    p->peak = MAX(p->peak, p->round_held + p->round_peak);
    p->round_held = p->ev.held;
    p->round_peak = 0;
    bool again = false;
    size_t count = p->round_count;
    for (size_t i = 0; i < count; i++) {
        struct plan_fragment *pf = p->round[i];
        if (pf->state == PLAN_SENT)
            return err_set(err, ERR_UNAVAILABLE, 0, "a fragment of the query was not answered");
        bool must = false;
        TRY(must_refetch(p, pf, &must));
        if (!must) continue;
        TRY(refetch(p, pf, err));
        again = true;
    }
    p->round_count = 0;
    if (!again && !plan_has_round(p)) p->level++;
    return plan_attach_bounds(p);
}
