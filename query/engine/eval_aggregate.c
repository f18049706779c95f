/* SPDX-License-Identifier: Apache-2.0 */
/* Aggregations over vectors at the coordinator: the partial ones where the input is not one
 * selector, and those that need all values at once, folded in label order: stddev, stdvar,
 * quantile, and avg where its sum overflows. */
#include "query/engine/exact.h"
#include "query/engine/internal.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "node/base/num.h"

struct ordered { /* series of a vector by group, in label order */
    struct agg agg;
    uint32_t *members; /* series indexes, group after group */
    uint32_t *starts;  /* groups.count + 1 */
};

static enum status ordered_init(struct eval *ev, struct ordered *o, struct arena *arena,
                                const struct expr *e, struct vectors *in) {
    agg_init(&o->agg, arena, e, 0);
    TRY(vectors_sort(ev, in));
    o->members = calloc(in->count + 1, sizeof *o->members);
    uint32_t *group = calloc(in->count + 1, sizeof *group);
    enum status st = o->members == NULL || group == NULL ? eval_nomem(ev) : OK;
    for (size_t i = 0; st == OK && i < in->count; i++) {
        st = eval_work(ev, 200);
        if (st == OK &&
            agg_group(&o->agg, &in->series[i].labels, in->series[i].drop_name, &group[i]) != OK)
            st = eval_nomem(ev);
    }
    o->starts = calloc((size_t)o->agg.groups.count + 2, sizeof *o->starts);
    if (st == OK && o->starts == NULL) st = eval_nomem(ev);
    if (st == OK) {
        for (size_t i = 0; i < in->count; i++)
            o->starts[group[i] + 1]++;
        for (uint32_t g = 0; g < o->agg.groups.count; g++)
            o->starts[g + 1] += o->starts[g];
        uint32_t *next = calloc((size_t)o->agg.groups.count + 1, sizeof *next);
        if (next == NULL) st = eval_nomem(ev);
        for (size_t i = 0; st == OK && i < in->count; i++)
            o->members[o->starts[group[i]] + next[group[i]]++] = (uint32_t)i;
        free(next);
    }
    free(group);
    return st;
}

enum { LOOK_MEMBERS = 1024 };

static void ordered_fini(struct ordered *o) {
    agg_fini(&o->agg);
    free(o->members);
    free(o->starts);
}

/* Exact where that cannot overflow, as in the partial states, so that it does not matter which of
 * the two ways was taken; else as Prometheus does it, in label order. */
static double avg_in_order(const double *v, size_t n) {
    struct kahan k;
    double sum, rest_of_sum;
    if (exact_is_safe(v, n)) {
        exact_sum_of(v, n, &sum, &rest_of_sum);
        return sum / (double)n + rest_of_sum / (double)n;
    }
    if (kahan_mean(v, n, &k)) return k.sum + k.c;
    double s = k.sum + k.c, rest = isfinite(s) ? (k.sum - s) + k.c : 0;
    return s / (double)n + rest / (double)n;
}

static double sum_in_order(const double *v, size_t n) {
    struct kahan sum = {v[0], 0};
    double exact, rest;
    if (exact_is_safe(v, n)) {
        exact_sum_of(v, n, &exact, &rest);
        return exact;
    }
    for (size_t i = 1; i < n; i++)
        kahan_add(&sum, v[i]);
    return sum.sum + sum.c;
}

static double variance_in_order(const double *v, size_t n) {
    double value = isfinite(v[0]) ? 0 : (double)NAN, mean = v[0];
    for (size_t i = 1; i < n; i++) {
        double delta = v[i] - mean;
        mean += delta / (double)(i + 1);
        value += delta * (v[i] - mean);
    }
    return value / (double)n;
}

static enum status ordered_value(struct eval *ev, enum aggregate_op op, double param, double *v,
                                 size_t n, double *out) {
    switch ((int)op) {
    case AGG_AVG: *out = avg_in_order(v, n); return OK;
    case AGG_SUM: *out = sum_in_order(v, n); return OK;
    case AGG_STDVAR: *out = variance_in_order(v, n); return OK;
    case AGG_STDDEV: *out = sqrt(variance_in_order(v, n)); return OK;
    default: return quantile_of(ev, param, v, n, out);
    }
}

static enum status ordered_groups(struct eval *ev, const struct expr *e, const struct ordered *o,
                                  const struct vectors *in, const double *param,
                                  struct vectors *out) {
    double *values = malloc((in->count + 1) * sizeof *values);
    if (values == NULL) return eval_nomem(ev);
    enum status st = OK;
    for (uint32_t g = 0; st == OK && g < o->agg.groups.count; g++) {
        struct series *s = vectors_add(out, &o->agg.groups.items[g].labels, 0);
        st = s == NULL ? eval_nomem(ev) : eval_work(ev, 100);
        if (st != OK) break;
        s->drop_name = o->agg.groups.items[g].drop_name;
        for (size_t k = 0; st == OK && k < in->grid.steps; k++) {
            size_t n = 0;
            for (uint32_t m = o->starts[g]; st == OK && m < o->starts[g + 1]; m++) {
                if (m % LOOK_MEMBERS == 0) st = eval_work(ev, 30 * LOOK_MEMBERS);
                const struct column *c = &in->series[o->members[m]].col;
                if (c->kinds[k] == POINT_FLOAT) values[n++] = c->values[k];
            }
            if (st == OK) st = eval_work(ev, 4 + 4 * n);
            if (st != OK || n == 0) continue;
            s->col.kinds[k] = POINT_FLOAT;
            st = ordered_value(ev, e->u.aggregate.op, param == NULL ? 0 : param[k], values, n,
                               &s->col.values[k]);
        }
    }
    free(values);
    if (st == OK) st = vectors_drop_empty(ev, out);
    return st == OK ? vectors_sort(ev, out) : st;
}

static void note_quantile(struct eval *ev, const struct expr *at, double q) {
    char text[NUM_TEXT_MAX];
    size_t n = num_format_f64(text, q, 'g');
    eval_note(ev, true, at, "quantile value should be between 0 and 1, got %.*s", (int)n, text);
}

static enum status quantile_params(struct eval *ev, const struct expr *e, const struct grid *grid,
                                   double *param) {
    TRY(scalar_eval(ev, e->children[1], grid, param));
    double lo = HUGE_VAL, hi = -HUGE_VAL;
    bool nan = false;
    for (size_t k = 0; k < grid->steps; k++) {
        nan = nan || isnan(param[k]);
        lo = fmin(lo, param[k]);
        hi = fmax(hi, param[k]);
    }
    if (nan) note_quantile(ev, e->children[1], NAN);
    if (hi > 1) note_quantile(ev, e->children[1], hi);
    if (lo < 0) note_quantile(ev, e->children[1], lo);
    return OK;
}

static enum status ordered_run(struct eval *ev, const struct expr *e, struct vectors *in,
                               struct vectors *out) {
    double *param = NULL;
    if (e->u.aggregate.op == AGG_QUANTILE) {
        param = arena_array(&out->arena, in->grid.steps + 1, sizeof *param);
        if (param == NULL) return eval_nomem(ev);
        TRY(quantile_params(ev, e, &in->grid, param));
    }
    struct ordered o = {0};
    enum status st = ordered_init(ev, &o, &out->arena, e, in);
    if (st == OK) st = ordered_groups(ev, e, &o, in, param, out);
    ordered_fini(&o);
    return st;
}

static enum status partial_run(struct eval *ev, const struct expr *e, struct vectors *in,
                               struct vectors *out) {
    struct arena arena;
    arena_init_budget(&arena, ev->budget);
    struct agg a;
    agg_init(&a, &arena, e, in->grid.steps);
    enum status st = OK;
    if (agg_is_topk(a.op)) {
        a.param = arena_array(&arena, in->grid.steps + 1, sizeof(double));
        st = a.param == NULL ? eval_nomem(ev) : scalar_eval(ev, e->children[1], &in->grid, a.param);
        bool empty;
        if (st == OK) st = topk_check_params(ev, &a, &empty);
    }
    if (st == OK) st = vectors_sort(ev, in);
    for (size_t i = 0; st == OK && i < in->count; i++)
        st = agg_fold(ev, &a, &in->series[i].labels, in->series[i].drop_name, &in->series[i].col);
    /* min and max are already folded in label order */
    bool sums = a.op == AGG_SUM || a.op == AGG_AVG;
    bool ordered = st == OK && sums && !a.order_free;
    if (st == OK && !ordered) st = agg_finish(ev, &a, out);
    agg_fini(&a);
    arena_fini(&arena);
    return ordered ? ordered_run(ev, e, in, out) : st;
}

enum status eval_aggregate(struct eval *ev, const struct expr *e, const struct grid *grid,
                           struct vectors **out) {
    enum aggregate_op op = e->u.aggregate.op;
    if (op == AGG_LIMIT_RATIO) return agg_limit_ratio(ev, e, grid, out);
    struct vectors *in = NULL;
    TRY(eval_vector(ev, e->children[0], grid, &in));
    struct vectors *result = eval_vectors_new(ev, grid);
    enum status st = OK;
    if (result == NULL)
        st = eval_nomem(ev);
    else
        st = agg_pushable(op) ? partial_run(ev, e, in, result) : ordered_run(ev, e, in, result);
    vectors_done(ev, in);
    if (st == OK) st = vectors_ready(ev, result);
    if (st != OK) {
        vectors_free(result);
        return st;
    }
    *out = result;
    return OK;
}
