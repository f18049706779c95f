/* SPDX-License-Identifier: Apache-2.0 */
#include "query/promql/prepare.h"

#include <assert.h>
#include <math.h>

#include "query/promql/functions.h"
#include "query/promql/parser.h"

struct preparer {
    const struct prepare_params *params;
    struct arena *arena;
    struct err *err;
    uint32_t nodes_count, leaves_count;
};

static double range_seconds(const struct prepare_params *params) {
    int64_t ms;
    if (__builtin_sub_overflow(params->end_ms, params->start_ms, &ms)) ms = INT64_MAX;
    return (double)ms / 1000;
}

static enum status nomem(struct preparer *p) {
    return err_set(p->err, ERR_NOMEM, 0, "not enough memory to prepare the expression");
}

/* -- durations */

static enum status duration_fail(struct preparer *p, const struct duration_expr *d,
                                 const char *what) {
    return err_set(p->err, ERR_PARSE, 0, "%u:%u: %s", d->pos_start, d->pos_end, what);
}

/* Go's math.Min and math.Max: NaN wins, and -0 is below 0. */
static double min_of(double a, double b) {
    if (isnan(a) || isnan(b)) return isinf(a) < 0 || isinf(b) < 0 ? -INFINITY : NAN;
    return a < b || (a == b && signbit(a)) ? a : b;
}
static double max_of(double a, double b) {
    if (isnan(a) || isnan(b)) return isinf(a) > 0 || isinf(b) > 0 ? INFINITY : NAN;
    return a > b || (a == b && !signbit(a)) ? a : b;
}

static enum status duration_binary(struct preparer *p, const struct duration_expr *d, double lhs,
                                   double rhs, double *out) {
    switch ((int)d->op) {
    case OP_ADD: *out = lhs + rhs; return OK;
    case OP_SUB: *out = lhs - rhs; return OK;
    case OP_MUL: *out = lhs * rhs; return OK;
    case OP_DIV:
        if (rhs == 0) return duration_fail(p, d, "division by zero");
        *out = lhs / rhs;
        return OK;
    case OP_MOD:
        if (rhs == 0) return duration_fail(p, d, "modulo by zero");
        *out = fmod(lhs, rhs);
        return OK;
    default:
        assert(d->op == OP_POW);
        *out = pow(lhs, rhs);
        return OK;
    }
}

static enum status duration_seconds(struct preparer *p, const struct duration_expr *d,
                                    double *out) {
    double lhs = 0, rhs = 0;
    if (d->lhs != NULL) TRY(duration_seconds(p, d->lhs, &lhs));
    if (d->rhs != NULL) TRY(duration_seconds(p, d->rhs, &rhs));
    switch (d->kind) {
    case DUR_NUMBER: *out = d->seconds; return OK;
    case DUR_STEP: *out = (double)p->params->step_ms / 1000; return OK;
    case DUR_RANGE: *out = range_seconds(p->params); return OK;
    case DUR_POS: *out = rhs; return OK;
    case DUR_NEG: *out = -rhs; return OK;
    case DUR_MIN_OF: *out = min_of(lhs, rhs); return OK;
    case DUR_MAX_OF: *out = max_of(lhs, rhs); return OK;
    case DUR_BINARY: return duration_binary(p, d, lhs, rhs, out);
    }
    return OK;
}

static enum status duration_resolve(struct preparer *p, const struct duration_expr *d,
                                    bool may_be_negative, int64_t *out_ms) {
    if (d == NULL) return OK;
    double seconds = 0;
    TRY(duration_seconds(p, d, &seconds));
    if (isnan(seconds) || isinf(seconds)) return duration_fail(p, d, "duration is NaN or infinite");
    if (seconds <= 0 && !may_be_negative)
        return duration_fail(p, d, "duration must be greater than 0");
    if (seconds > 0x1p63 / 1e9 || seconds < -0x1p63 / 1e9)
        return duration_fail(p, d, "duration is out of range");
    *out_ms = (int64_t)(seconds * 1000);
    return OK;
}

/* -- copy, with all that depends on the query's times resolved */

static enum status shift_resolve(struct preparer *p, struct time_shift *shift) {
    if (shift->at == AT_START) shift->at_ms = p->params->start_ms;
    if (shift->at == AT_END) shift->at_ms = p->params->end_ms;
    return duration_resolve(p, shift->offset_expr, true, &shift->offset_ms);
}

static bool fold_call(const struct preparer *p, struct expr *e) {
    const struct prepare_params *params = p->params;
    bool instant = params->start_ms == params->end_ms;
    double value;
    if (e->u.function->id == FN_START)
        value = (double)params->start_ms / 1000;
    else if (e->u.function->id == FN_END)
        value = (double)params->end_ms / 1000;
    else if (e->u.function->id == FN_RANGE)
        value = range_seconds(params);
    else if (e->u.function->id == FN_STEP)
        value = instant ? 0 : (double)params->step_ms / 1000;
    else
        return false;
    e->kind = EXPR_NUMBER;
    e->u.number_value = value;
    return true;
}

static enum status copy(struct preparer *p, const struct expr *from, struct expr **out) {
    struct expr *e = arena_alloc(p->arena, sizeof(*e));
    if (e == NULL) return nomem(p);
    *e = *from;
    *out = e;
    if (e->kind == EXPR_CALL && fold_call(p, e)) return OK;
    if (e->kind == EXPR_SELECTOR) return shift_resolve(p, &e->u.selector.shift);
    if (e->kind == EXPR_MATRIX || e->kind == EXPR_SUBQUERY) {
        TRY(shift_resolve(p, &e->u.range.shift));
        TRY(duration_resolve(p, e->u.range.step_expr, false, &e->u.range.step_ms));
        TRY(duration_resolve(p, e->u.range.range_expr, false, &e->u.range.range_ms));
    }
    if (e->children_count == 0) return OK;
    e->children = arena_array(p->arena, e->children_count, sizeof(*e->children));
    if (e->children == NULL) return nomem(p);
    bool unwrap = e->kind == EXPR_CALL || e->kind == EXPR_AGGREGATE;
    for (size_t i = 0; i < e->children_count; i++) {
        const struct expr *child = from->children[i];
        while (unwrap && child->kind == EXPR_PAREN)
            child = child->children[0];
        TRY(copy(p, child, &e->children[i]));
    }
    return OK;
}

/* -- step invariance */

struct invariance {
    bool invariant; /* the same at every step */
    bool wrap;      /* and worth an EXPR_STEP_INVARIANT */
};

static enum status wrap(struct preparer *p, struct expr **slot) {
    struct expr *e = arena_zalloc(p->arena, sizeof(*e));
    if (e == NULL) return nomem(p);
    e->children = arena_alloc(p->arena, sizeof(*e->children));
    if (e->children == NULL) return nomem(p);
    e->kind = EXPR_STEP_INVARIANT;
    e->type = (*slot)->type;
    e->pos_start = (*slot)->pos_start;
    e->pos_end = (*slot)->pos_end;
    e->children_count = 1;
    e->children[0] = *slot;
    *slot = e;
    return OK;
}

static enum status find_invariant(struct preparer *p, struct expr *e, struct invariance *out);

/* All children invariant, or those that are get wrapped. */
static enum status find_in_children(struct preparer *p, struct expr *e, bool unsafe,
                                    struct invariance *out) {
    bool all = true;
    struct invariance *each = arena_array(p->arena, e->children_count + 1, sizeof(*each));
    if (each == NULL) return nomem(p);
    for (size_t i = 0; i < e->children_count; i++) {
        TRY(find_invariant(p, e->children[i], &each[i]));
        all &= each[i].invariant;
    }
    bool invariant = all && !unsafe;
    *out = (struct invariance){invariant, invariant};
    for (size_t i = 0; i < e->children_count && !invariant; i++)
        if (each[i].wrap) TRY(wrap(p, &e->children[i]));
    return OK;
}

static enum status find_in_call(struct preparer *p, struct expr *e, struct invariance *out) {
    /* timestamp() depends on nothing but its samples when these come straight from a selector */
    bool of_selector = e->u.function->id == FN_TIMESTAMP && e->children_count == 1 &&
                       e->children[0]->kind == EXPR_SELECTOR;
    return find_in_children(p, e, e->u.function->at_unsafe && !of_selector, out);
}

static enum status find_invariant(struct preparer *p, struct expr *e, struct invariance *out) {
    bool fixed;
    switch (e->kind) {
    case EXPR_NUMBER:
    case EXPR_STRING: *out = (struct invariance){true, false}; return OK;
    case EXPR_SELECTOR:
        fixed = e->u.selector.shift.at != AT_NONE;
        *out = (struct invariance){fixed, fixed};
        return OK;
    case EXPR_MATRIX:
        fixed = e->children[0]->u.selector.shift.at != AT_NONE;
        *out = (struct invariance){fixed, false};
        return OK;
    case EXPR_SUBQUERY:
        TRY(find_invariant(p, e->children[0], out));
        if (out->invariant) TRY(wrap(p, &e->children[0]));
        *out = (struct invariance){e->u.range.shift.at != AT_NONE, false};
        return OK;
    case EXPR_AGGREGATE: /* whatever the parameter is, as in Prometheus */
    case EXPR_PAREN:
    case EXPR_UNARY:
    case EXPR_STEP_INVARIANT: return find_invariant(p, e->children[0], out);
    case EXPR_BINARY: return find_in_children(p, e, false, out);
    case EXPR_CALL: return find_in_call(p, e, out);
    }
    return OK;
}

/* -- numbers */

static void number(struct preparer *p, struct expr *e) {
    e->number = p->nodes_count++;
    if (e->kind == EXPR_SELECTOR) e->u.selector.leaf = p->leaves_count++;
    for (size_t i = 0; i < e->children_count; i++)
        number(p, e->children[i]);
}

static void list(struct prepared *out, struct expr *e) {
    out->nodes[e->number] = e;
    if (e->kind == EXPR_SELECTOR) out->leaves[e->u.selector.leaf] = e;
    for (size_t i = 0; i < e->children_count; i++)
        list(out, e->children[i]);
}

enum status promql_prepare(const struct expr *parsed, const struct prepare_params *params,
                           struct arena *arena, struct prepared *out, struct err *err) {
    assert(params->end_ms >= params->start_ms && params->step_ms >= 0);
    struct preparer p = {.params = params, .arena = arena, .err = err};
    struct prepared result = {0};
    struct invariance invariance;
    TRY(copy(&p, parsed, &result.root));
    TRY(find_invariant(&p, result.root, &invariance));
    if (invariance.wrap) TRY(wrap(&p, &result.root));
    number(&p, result.root);
    result.nodes_count = p.nodes_count;
    result.leaves_count = p.leaves_count;
    result.nodes = arena_array(arena, p.nodes_count, sizeof(*result.nodes));
    result.leaves = arena_array(arena, p.leaves_count + 1, sizeof(*result.leaves));
    if (result.nodes == NULL || result.leaves == NULL) return nomem(&p);
    list(&result, result.root);
    *out = result;
    return OK;
}
