/* SPDX-License-Identifier: Apache-2.0 */
/* Scalars: expressions that have one value a step. Where they need data they are bound: computed in
 * an earlier round. */
#include "query/engine/internal.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

const struct expr *node_unwrap(const struct expr *e) {
    while (e->kind == EXPR_PAREN || (e->kind == EXPR_UNARY && !e->u.unary_minus))
        e = e->children[0];
    return e;
}

const struct expr *node_unwrap_invariant(const struct expr *e) {
    while (e->kind == EXPR_PAREN || e->kind == EXPR_STEP_INVARIANT)
        e = e->children[0];
    return e;
}

bool expr_reads_data(const struct expr *e) {
    if (e->kind == EXPR_SELECTOR) return true;
    for (size_t i = 0; i < e->children_count; i++)
        if (expr_reads_data(e->children[i])) return true;
    return false;
}

bool scalar_needs_vector(const struct expr *e) {
    if (e->kind == EXPR_CALL && e->u.function->id == FN_SCALAR) return true;
    for (size_t i = 0; i < e->children_count; i++)
        if (scalar_needs_vector(e->children[i])) return true;
    return false;
}

struct sv label_string(const struct expr *e) {
    e = node_unwrap_invariant(e);
    return e->kind == EXPR_STRING ? e->u.string : SV("");
}

bool binary_keeps(enum binary_op op, double a, double b) {
    switch ((int)op) {
    case OP_EQL: return a == b;
    case OP_NEQ: return a != b;
    case OP_GTR: return a > b;
    case OP_LSS: return a < b;
    case OP_GTE: return a >= b;
    case OP_LTE: return a <= b;
    default: return false;
    }
}

double binary_float(enum binary_op op, double a, double b) {
    switch ((int)op) {
    case OP_ADD: return a + b;
    case OP_SUB: return a - b;
    case OP_MUL: return a * b;
    case OP_DIV: return a / b;
    case OP_MOD: return fmod(a, b);
    case OP_POW: return pow(a, b);
    case OP_ATAN2: return atan2(a, b);
    default: return binary_keeps(op, a, b) ? 1 : 0;
    }
}

bool binary_changes_schema(enum binary_op op) {
    return op <= OP_ATAN2;
}

static const struct bound *bound_find(const struct eval *ev, uint32_t number) {
    for (size_t i = 0; i < ev->bounds_count; i++)
        if (ev->bounds[i].number == number) return &ev->bounds[i];
    return NULL;
}

static void fill(double *out, size_t steps, double v) {
    for (size_t k = 0; k < steps; k++)
        out[k] = v;
}

/* Go's math.Max and math.Min: infinities win over NaN. */
static double go_max(double a, double b) {
    if (isinf(a) && a > 0) return a;
    if (isinf(b) && b > 0) return b;
    if (isnan(a) || isnan(b)) return NAN;
    if (a == 0 && b == 0) return signbit(a) ? b : a;
    return a > b ? a : b;
}
static double go_min(double a, double b) {
    if (isinf(a) && a < 0) return a;
    if (isinf(b) && b < 0) return b;
    if (isnan(a) || isnan(b)) return NAN;
    if (a == 0 && b == 0) return signbit(a) ? a : b;
    return a < b ? a : b;
}

static enum status scalar_of_vector(struct eval *ev, const struct expr *e, const struct grid *grid,
                                    double *out) {
    if (ev->plan == NULL) /* a fragment from another node that lacks it */
        return err_set(ev->err, ERR_CORRUPT, 0, "a bound input of the fragment is missing");
    struct vectors *v = NULL;
    TRY(eval_vector(ev, e->children[0], grid, &v));
    fill(out, grid->steps, NAN);
    for (size_t k = 0; k < grid->steps; k++) {
        size_t found = 0;
        for (size_t i = 0; i < v->count && found < 2; i++)
            if (v->series[i].col.kinds[k] == POINT_FLOAT && found++ == 0)
                out[k] = v->series[i].col.values[k];
        if (found > 1) out[k] = NAN;
    }
    vectors_done(ev, v);
    return OK;
}

static enum status scalar_pair(struct eval *ev, const struct expr *e, const struct grid *grid,
                               double *out) {
    if (e->kind == EXPR_BINARY && binary_op_trims(e->u.binary.op))
        return err_set(ev->err, ERR_EXEC, 0, "operator \"%s\" not allowed for Scalar operations",
                       binary_op_text(e->u.binary.op));
    double *other = malloc((grid->steps + 1) * sizeof *other);
    if (other == NULL) return eval_nomem(ev);
    enum status st = scalar_eval(ev, e->children[0], grid, out);
    if (st == OK) st = scalar_eval(ev, e->children[1], grid, other);
    for (size_t k = 0; st == OK && k < grid->steps; k++) {
        if (e->kind == EXPR_BINARY)
            out[k] = binary_float(e->u.binary.op, out[k], other[k]);
        else if (e->u.function->id == FN_MAX_OF)
            out[k] = go_max(out[k], other[k]);
        else
            out[k] = go_min(out[k], other[k]);
    }
    free(other);
    return st;
}

static enum status scalar_call(struct eval *ev, const struct expr *e, const struct grid *grid,
                               double *out) {
    const struct query_params *p = query_params(ev->q);
    switch ((int)e->u.function->id) {
    case FN_TIME:
        for (size_t k = 0; k < grid->steps; k++)
            out[k] = (double)grid_time(grid, k) / 1000;
        return OK;
    case FN_PI: fill(out, grid->steps, M_PI); return OK;
    case FN_START: fill(out, grid->steps, (double)p->start_ms / 1000); return OK;
    case FN_END: fill(out, grid->steps, (double)p->end_ms / 1000); return OK;
    case FN_RANGE: fill(out, grid->steps, (double)(p->end_ms - p->start_ms) / 1000); return OK;
    case FN_STEP: fill(out, grid->steps, p->instant ? 0 : (double)p->step_ms / 1000); return OK;
    case FN_MAX_OF:
    case FN_MIN_OF: return scalar_pair(ev, e, grid, out);
    case FN_SCALAR: return scalar_of_vector(ev, e, grid, out);
    default:
        return err_set(ev->err, ERR_UNSUPPORTED, 0, "function %s is not evaluated",
                       e->u.function->name);
    }
}

enum status scalar_eval(struct eval *ev, const struct expr *e, const struct grid *grid,
                        double *out) {
    if (grid->steps == 0) return OK;
    const struct bound *b = bound_find(ev, e->number);
    if (b != NULL) {
        if (b->steps != grid->steps)
            return err_set(ev->err, ERR_CORRUPT, 0,
                           "a bound input of the fragment has another grid");
        memcpy(out, b->values, grid->steps * sizeof *out);
        return OK;
    }
    switch ((int)e->kind) {
    case EXPR_NUMBER: fill(out, grid->steps, e->u.number_value); return OK;
    case EXPR_PAREN: return scalar_eval(ev, e->children[0], grid, out);
    case EXPR_UNARY:
        TRY(scalar_eval(ev, e->children[0], grid, out));
        for (size_t k = 0; e->u.unary_minus && k < grid->steps; k++)
            out[k] = -out[k];
        return OK;
    case EXPR_BINARY: return scalar_pair(ev, e, grid, out);
    case EXPR_CALL: return scalar_call(ev, e, grid, out);
    case EXPR_STEP_INVARIANT: {
        struct grid one = {.start_ms = grid->start_ms, .step_ms = 1, .steps = 1};
        TRY(scalar_eval(ev, e->children[0], &one, out));
        fill(out, grid->steps, out[0]);
        return OK;
    }
    default: return err_set(ev->err, ERR_EXEC, 0, "expression is not a scalar");
    }
}
