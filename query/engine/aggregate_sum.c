/* SPDX-License-Identifier: Apache-2.0 */
/* sum and avg as partial states: exact sums (exact.h), a column of them a group. */
#include "query/engine/exact.h"
#include "query/engine/internal.h"

#include <math.h>
#include <string.h>

#include "node/base/bytes.h"

/* A sum that is exact in two doubles, as nearly all are, needs no third column until one is not. */
static struct exact sum_get(const struct group *g, size_t k) {
    return (struct exact){g->cols[0][k], g->cols[1][k], g->rest == NULL ? 0 : g->rest[k]};
}

static enum status sum_needs_rest(struct agg *a, struct group *g) {
    if (g->rest != NULL) return OK;
    g->rest = arena_array(a->groups.arena, a->steps, sizeof *g->rest);
    return g->rest == NULL ? ERR_NOMEM : OK;
}

static enum status sum_set(struct agg *a, struct group *g, size_t k, const struct exact *x) {
    if (x->r != 0) TRY(sum_needs_rest(a, g));
    if (!isfinite(x->s)) g->not_finite = true;
    g->cols[0][k] = x->s;
    g->cols[1][k] = x->c;
    if (g->rest != NULL) g->rest[k] = x->r;
    return OK;
}

static enum status sum_add(struct agg *a, struct group *g, size_t k, double v) {
    struct exact x = sum_get(g, k);
    if (!exact_add(&x, v) || !exact_is_safe(&v, 1)) a->order_free = false;
    return sum_set(a, g, k, &x);
}

enum { SUM_BLOCK = 64 };

/* Steps without a gap, without a branch for each: exact_add() but for the third column. Whether
 * something is left for that. */
static bool sum_block(double *restrict sum, double *restrict c, const double *restrict values,
                      double *restrict lost, size_t count) {
    uint64_t any = 0;
    for (size_t k = 0; k < count; k++) {
        double e, e2;
        sum[k] = two_sum(sum[k], values[k], &e);
        c[k] = two_sum(c[k], e, &e2);
        lost[k] = e2;
        any |= f64_bits(e2); /* an exact sum has lost +0 */
    }
    return any != 0;
}

static enum status sum_full(struct agg *a, struct group *g, const double *values) {
    double lost[SUM_BLOCK];
    for (size_t from = 0; from < a->steps; from += SUM_BLOCK) {
        size_t count = MIN(a->steps - from, (size_t)SUM_BLOCK);
        double *sum = g->cols[0] + from, *c = g->cols[1] + from;
        if (!sum_block(sum, c, values + from, lost, count)) continue;
        TRY(sum_needs_rest(a, g));
        bool exact = true;
        for (size_t k = 0; k < count; k++) {
            double e3;
            g->rest[from + k] = two_sum(g->rest[from + k], lost[k], &e3);
            exact &= e3 == 0;
        }
        if (!exact) a->order_free = false;
    }
    return OK;
}

/* Every step has a number, and none that is large. */
static bool sum_is_plain(const struct agg *a, const struct group *g, const struct column *col) {
    if (g->not_finite || col->histograms != NULL) return false;
    if (memchr(col->kinds, POINT_NONE, a->steps) != NULL) return false;
    bool safe = true;
    for (size_t k = 0; k < a->steps; k++)
        safe &= fabs(col->values[k]) < EXACT_VALUE_MAX;
    return safe;
}

enum status agg_sum_fold(struct agg *a, struct group *g, const struct column *col) {
    double *count = g->cols[2];
    if (sum_is_plain(a, g, col)) {
        memset(g->seen, SEEN_FLOAT, a->steps);
        for (size_t k = 0; count != NULL && k < a->steps; k++)
            count[k]++;
        return sum_full(a, g, col->values);
    }
    for (size_t k = 0; k < a->steps; k++) {
        if (col->kinds[k] != POINT_FLOAT) continue;
        g->seen[k] = SEEN_FLOAT;
        if (count != NULL) count[k]++;
        TRY(sum_add(a, g, k, col->values[k]));
    }
    return OK;
}

static enum status merge_step(struct agg *a, struct group *into, const struct group *from,
                              size_t k) {
    struct exact x = sum_get(into, k), more = sum_get(from, k);
    bool exact = exact_add(&x, more.s);
    exact = exact_add(&x, more.c) && exact;
    exact = exact_add(&x, more.r) && exact;
    if (!exact) a->order_free = false;
    if (into->cols[2] != NULL) into->cols[2][k] += from->cols[2][k];
    return sum_set(a, into, k, &x);
}

/* None that could overflow; then steps without any are zeros, which change no sum. */
static bool merge_is_plain(const struct agg *a, const struct group *into,
                           const struct group *from) {
    return a->order_free && !into->not_finite && !from->not_finite;
}

static enum status merge_plain(struct agg *a, struct group *into, const struct group *from) {
    for (size_t k = 0; k < a->steps; k++)
        into->seen[k] |= from->seen[k];
    for (size_t k = 0; into->cols[2] != NULL && k < a->steps; k++)
        into->cols[2][k] += from->cols[2][k];
    TRY(sum_full(a, into, from->cols[0]));
    TRY(sum_full(a, into, from->cols[1]));
    return from->rest == NULL ? OK : sum_full(a, into, from->rest);
}

enum status agg_sum_merge(struct eval *ev, struct agg *a, struct group *into,
                          const struct group *from) {
    if (merge_is_plain(a, into, from)) {
        TRY(merge_plain(a, into, from));
        return eval_work(ev, a->steps);
    }
    for (size_t k = 0; k < a->steps; k++) {
        TRY(eval_step(ev, k));
        if (from->seen[k] == 0) continue;
        into->seen[k] |= from->seen[k];
        TRY(merge_step(a, into, from, k));
    }
    return OK;
}

static bool finish_plain(const struct agg *a, const struct group *g, double *values) {
    if (a->op != AGG_SUM || g->rest != NULL) return false;
    for (size_t k = 0; k < a->steps; k++)
        values[k] = g->cols[0][k] + g->cols[1][k];
    return true;
}

void agg_sum_finish(const struct agg *a, const struct group *g, double *values) {
    if (finish_plain(a, g, values)) return;
    for (size_t k = 0; k < a->steps; k++) {
        struct exact x = sum_get(g, k);
        double sum, rest;
        exact_round(&x, &sum, &rest);
        values[k] = a->op == AGG_SUM ? sum : sum / g->cols[2][k] + rest / g->cols[2][k];
    }
}
