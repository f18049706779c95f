/* SPDX-License-Identifier: Apache-2.0 */
/* Planning: the maximal parts of the tree that are evaluated where the data is. */
#include "query/engine/plan.h"

#include <stdlib.h>
#include <string.h>

static enum status plan_nomem(struct err *err) {
    return err_set(err, ERR_NOMEM, 0, "query plan: out of memory");
}

static struct plan_fragment *fragment_add(struct plan *p, enum fragment_kind kind,
                                          const struct expr *e, const struct grid *grid) {
    if (p->fragments_count == p->fragments_cap) {
        size_t cap = p->fragments_cap == 0 ? 8 : p->fragments_cap * 2;
        struct plan_fragment **grown = reallocarray(p->fragments, cap, sizeof(*grown));
        if (grown == NULL) return NULL;
        p->fragments = grown;
        p->fragments_cap = cap;
    }
    struct plan_fragment *pf = calloc(1, sizeof *pf);
    if (pf == NULL) return NULL;
    pf->grid = *grid;
    pf->f = (struct fragment){
        .kind = kind, .number = e->number, .start_ms = grid->start_ms, .step_ms = grid->step_ms};
    pf->f.end_ms = grid->steps == 0 ? grid->start_ms - 1 : grid_end(grid);
    p->fragments[p->fragments_count++] = pf;
    p->node_fragment[e->number] = (uint32_t)p->fragments_count;
    return pf;
}

/* A scalar argument that needs a vector is computed before, and goes with the fragment. */
static enum status bind(struct plan *p, struct plan_fragment *pf, const struct expr *arg,
                        const struct grid *grid, struct err *err) {
    if (!scalar_needs_vector(arg)) return OK;
    unsigned rounds = 0;
    TRY(plan_collect(p, arg, grid, &rounds, err));
    pf->level = MAX(pf->level, rounds);
    if (pf->bounds_count == pf->bounds_cap) {
        size_t cap = pf->bounds_cap == 0 ? 4 : pf->bounds_cap * 2;
        struct plan_bound *grown = reallocarray(pf->bounds, cap, sizeof *grown);
        if (grown == NULL) return plan_nomem(err);
        pf->bounds = grown;
        pf->bounds_cap = cap;
    }
    pf->bounds[pf->bounds_count++] = (struct plan_bound){arg, *grid};
    return OK;
}

static enum status bind_chain(struct plan *p, struct plan_fragment *pf, const struct expr *e,
                              const struct grid *grid, struct err *err) {
    struct grid g = *grid;
    for (bool top = true;; top = false) {
        struct stage s;
        const struct expr *child = NULL;
        e = node_unwrap(e);
        if (top && e->kind == EXPR_CALL && e->u.function->id == FN_ABSENT_OVER_TIME) {
            e = node_unwrap(e->children[0]);
            if (e->kind == EXPR_MATRIX) return OK;
            TRY(grid_of_child(p->q, e, &g, &g, err));
            e = e->children[0];
            continue;
        }
        if (!stage_describe(e, &s, &child)) return OK;
        for (size_t i = 0; i < s.args_count; i++)
            TRY(bind(p, pf, s.arg_exprs[i], &g, err));
        if (child == NULL) return OK;
        TRY(grid_of_child(p->q, s.kind == STAGE_WINDOW ? s.matrix : e, &g, &g, err));
        e = child;
    }
}

/* The next node down a chain; NULL at the leaf. */
static const struct expr *chain_next(const struct expr *e, struct stage *s) {
    const struct expr *child = NULL;
    if (e->kind == EXPR_CALL && e->u.function->id == FN_ABSENT_OVER_TIME) {
        *s = (struct stage){.expr = e};
        const struct expr *m = node_unwrap(e->children[0]);
        return m->kind == EXPR_MATRIX ? NULL : node_unwrap(m->children[0]);
    }
    if (!stage_describe(e, s, &child) || child == NULL) return NULL;
    return node_unwrap(child);
}

const struct expr *chain_lowest_drop(const struct expr *e, bool *leaf) {
    const struct expr *lowest = NULL;
    for (e = node_unwrap(e); e != NULL;) {
        struct stage s;
        const struct expr *next = chain_next(e, &s);
        if (s.changes_labels) {
            lowest = e;
            *leaf = next == NULL;
        }
        e = next;
    }
    return lowest;
}

static bool chain_is_pushed(const struct plan *p, const struct expr *e) {
    if (!chain_is(e)) return false;
    for (e = node_unwrap(e); e != NULL;) {
        if (p->blocked[e->number]) return false;
        struct stage s;
        e = chain_next(e, &s);
    }
    return true;
}

/* absent_over_time() is a chain by itself, but no input of an aggregation: it is one series of all.
 */
static bool chain_is_per_series(const struct plan *p, const struct expr *e) {
    const struct expr *top = node_unwrap(e);
    bool absent = top->kind == EXPR_CALL && top->u.function->id == FN_ABSENT_OVER_TIME;
    return !absent && chain_is_pushed(p, e);
}

static bool fragment_kind_of(const struct plan *p, const struct expr *e, enum fragment_kind *kind) {
    if (p->blocked[e->number]) return false;
    *kind = FRAGMENT_PARTIAL;
    if (e->kind == EXPR_AGGREGATE)
        return agg_pushable(e->u.aggregate.op) && chain_is_per_series(p, e->children[0]);
    if (e->kind == EXPR_CALL && e->u.function->id == FN_ABSENT)
        return chain_is_per_series(p, e->children[0]);
    if (e->kind == EXPR_CALL && e->u.function->id == FN_ABSENT_OVER_TIME)
        return chain_is_pushed(p, e);
    *kind = FRAGMENT_VECTORS;
    return e->type == VALUE_VECTOR && chain_is_pushed(p, e);
}

static enum status collect_children(struct plan *p, const struct expr *e, const struct grid *grid,
                                    unsigned *rounds, struct err *err) {
    if (e->kind == EXPR_SELECTOR && e->type != VALUE_VECTOR) return OK;
    for (size_t i = 0; i < e->children_count; i++) {
        struct grid g;
        TRY(grid_of_child(p->q, e, grid, &g, err));
        unsigned r = 0;
        TRY(plan_collect(p, e->children[i], &g, &r, err));
        *rounds = MAX(*rounds, r);
    }
    return OK;
}

enum status plan_collect(struct plan *p, const struct expr *e, const struct grid *grid,
                         unsigned *rounds, struct err *err) {
    e = node_unwrap(e);
    if (!expr_reads_data(e)) return OK;
    enum fragment_kind kind;
    if (e->kind == EXPR_MATRIX)
        kind = FRAGMENT_SAMPLES;
    else if (!fragment_kind_of(p, e, &kind))
        return collect_children(p, e, grid, rounds, err);
    uint32_t had = p->node_fragment[e->number];
    if (had != 0 && p->fragments[had - 1]->state != PLAN_DROPPED) {
        *rounds = p->fragments[had - 1]->level + 1;
        return OK;
    }
    struct plan_fragment *pf = fragment_add(p, kind, e, grid);
    if (pf == NULL) return plan_nomem(err);
    if (e->kind == EXPR_AGGREGATE && e->children_count > 1)
        TRY(bind(p, pf, e->children[1], grid, err));
    if (kind != FRAGMENT_SAMPLES) TRY(bind_chain(p, pf, fragment_chain(p->q, &pf->f), grid, err));
    *rounds = pf->level + 1;
    return OK;
}

static enum status check_value_label(const struct expr *e, struct err *err) {
    struct sv label = label_string(e->children[1]);
    if (label_name_valid(label)) return OK;
    struct buf quoted = {0};
    label_put_quoted(&quoted, sv_take(label, 200));
    err_set(err, ERR_EXEC, 0, "invalid label name %.*s", (int)quoted.len, quoted.ptr);
    buf_fini(&quoted);
    return ERR_EXEC;
}

/* anchored and smoothed go with some functions only, and values only into a valid label. */
static enum status check_tree(const struct expr *e, struct err *err) {
    if (e->kind == EXPR_AGGREGATE && e->u.aggregate.op == AGG_COUNT_VALUES)
        TRY(check_value_label(e, err));
    for (size_t i = 0; i < e->children_count; i++) {
        const struct expr *m = node_unwrap(e->children[i]);
        TRY(check_tree(e->children[i], err));
        if (e->kind != EXPR_CALL || m->kind != EXPR_MATRIX) continue;
        enum range_modifier mod = node_unwrap(m->children[0])->u.selector.modifier;
        const struct function_def *fn = e->u.function;
        if (mod == RANGE_ANCHORED && !fn->anchored_ok)
            return err_set(err, ERR_EXEC, 0,
                           "anchored modifier can only be used with: changes, delta, increase, "
                           "rate, resets - not with %s",
                           fn->name);
        if (mod == RANGE_SMOOTHED && !fn->smoothed_ok)
            return err_set(
                err, ERR_EXEC, 0,
                "smoothed modifier can only be used with: delta, increase, rate - not with %s",
                fn->name);
    }
    return OK;
}

enum status plan_new(struct query *q, struct plan **out, struct err *err) {
    struct plan *p = calloc(1, sizeof *p);
    if (p == NULL) return plan_nomem(err);
    p->q = query_ref(q);
    p->budget.limit_bytes = (size_t)query_params(q)->memory_bytes_max;
    arena_init_budget(&p->arena, &p->budget);
    p->ev = (struct eval){.q = q, .plan = p, .notes = &p->notes, .budget = &p->budget};
    size_t n = query_numbers(q);
    p->node_fragment = calloc(n + 1, sizeof *p->node_fragment);
    p->blocked = calloc(n + 1, sizeof *p->blocked);
    struct grid grid = grid_of_query(query_params(q));
    unsigned rounds = 0;
    enum status st = p->node_fragment == NULL || p->blocked == NULL ? plan_nomem(err) : OK;
    if (st == OK && grid.steps > STEPS_MAX)
        st = err_set(err, ERR_LIMIT, 0, "query has too many steps");
    if (st == OK) st = check_tree(query_root(q), err);
    if (st == OK) st = plan_collect(p, query_root(q), &grid, &rounds, err);
    p->ev.err = err;
    if (st == OK) st = plan_attach_bounds(p);
    if (st != OK) {
        plan_free(p);
        return st;
    }
    *out = p;
    return OK;
}

void plan_free(struct plan *p) {
    if (p == NULL) return;
    for (size_t i = 0; i < p->fragments_count; i++) {
        fragment_fini(&p->fragments[i]->f);
        free(p->fragments[i]->bounds);
        partial_free(p->fragments[i]->partial);
        free(p->fragments[i]);
    }
    free(p->fragments);
    free(p->node_fragment);
    free(p->blocked);
    free(p->round);
    for (size_t i = 0; i < p->reads_count; i++)
        reads_fini(&p->reads[i].reads, &p->budget);
    free(p->reads);
    notes_fini(&p->notes);
    eval_fini(&p->ev);
    arena_fini(&p->arena);
    query_unref(p->q);
    free(p);
}

struct partial *plan_partial(struct plan *p, uint32_t number) {
    if (p == NULL) return NULL; /* in a fragment: a scalar() of a vector without data */
    uint32_t i = p->node_fragment[number];
    if (i == 0 || p->fragments[i - 1]->state != PLAN_FOLDED) return NULL;
    return p->fragments[i - 1]->partial;
}
