/* SPDX-License-Identifier: Apache-2.0 */
/* sum, avg, min, max, count, first, last, present over time, their timestamps, and variance; the
 * table of all range functions. */
#include "query/engine/window.h"

#include <math.h>

static double window_sum_of(const double *v, size_t n) {
    struct kahan k = {0};
    for (size_t i = 0; i < n; i++)
        kahan_add(&k, v[i]);
    return isinf(k.sum) ? k.sum : k.sum + k.c;
}

bool kahan_mean(const double *v, size_t n, struct kahan *out) {
    struct kahan sum = {v[0], 0}, mean = {0};
    bool incremental = false;
    for (size_t i = 1; i < n; i++) {
        double count = (double)(i + 1);
        if (!incremental) {
            struct kahan next = sum;
            kahan_add(&next, v[i]);
            if (!isinf(next.sum)) {
                sum = next;
                continue;
            }
            incremental = true;
            mean = (struct kahan){sum.sum / (count - 1), sum.c / (count - 1)};
        }
        double q = (count - 1) / count;
        mean = (struct kahan){q * mean.sum, q * mean.c};
        kahan_add(&mean, v[i] / count);
    }
    *out = incremental ? mean : sum;
    return incremental;
}

static double window_avg_of(const double *v, size_t n) {
    struct kahan k;
    if (kahan_mean(v, n, &k)) return k.sum + k.c;
    return k.sum / (double)n + k.c / (double)n;
}

/* Sums of integers below 2^53 are exact in any order: then a window is the difference of two
 * running sums. */
static bool sums_are_exact(const struct samples *s, double *running) {
    double total = 0, magnitude = 0;
    running[0] = 0;
    for (size_t i = 0; i < s->count; i++) {
        double v = s->values[i];
        if (!(fabs(v) < 0x1p52) || v != (double)(int64_t)v || (v == 0 && signbit(v))) return false;
        total += v;
        magnitude += fabs(v);
        running[i + 1] = total;
    }
    return magnitude < 0x1p53;
}

enum status window_sum(struct stage_run *r, struct column *out) {
    const struct samples *s = &r->samples;
    bool avg = r->stage->fn == FN_AVG_OVER_TIME;
    TRY(window_needs(r, s->count + 1));
    bool exact = sums_are_exact(s, r->scratch);
    for (size_t k = 0; k < r->stage->out.steps; k++) {
        size_t lo = r->windows.lo[k], hi = r->windows.hi[k];
        TRY(eval_work(r->ev, exact ? 2 : 2 + hi - lo));
        if (hi == lo) continue;
        out->kinds[k] = POINT_FLOAT;
        if (exact) {
            double sum = r->scratch[hi] - r->scratch[lo];
            out->values[k] = avg ? sum / (double)(hi - lo) : sum;
        } else {
            out->values[k] = avg ? window_avg_of(&s->values[lo], hi - lo)
                                 : window_sum_of(&s->values[lo], hi - lo);
        }
    }
    return OK;
}

/* Does `v` take the place of `best`, which came before it? */
static bool extreme_beats(enum function_id fn, double v, double best) {
    if (isnan(best)) return true;
    switch ((int)fn) {
    case FN_MAX_OVER_TIME: return v > best;
    case FN_MIN_OVER_TIME: return v < best;
    case FN_TS_OF_MAX_OVER_TIME: return v >= best;
    default: return v <= best;
    }
}

/* Candidates of a sliding window in a queue, the best first: a sample that is beaten by a later one
 * leaves the back. */
enum status window_extreme(struct stage_run *r, struct column *out) {
    const struct samples *s = &r->samples;
    enum function_id fn = r->stage->fn;
    bool want_time = fn == FN_TS_OF_MAX_OVER_TIME || fn == FN_TS_OF_MIN_OVER_TIME;
    TRY(window_needs(r, s->count + 1));
    double *queue = r->scratch; /* sample indexes */
    size_t head = 0, tail = 0, next = 0;
    for (size_t k = 0; k < r->stage->out.steps; k++) {
        size_t lo = r->windows.lo[k], hi = r->windows.hi[k];
        TRY(eval_step(r->ev, k));
        if (next < lo) next = lo;
        for (; next < hi; next++) {
            TRY(eval_step(r->ev, next));
            double v = s->values[next];
            while (tail > head && (size_t)queue[tail - 1] >= lo && !isnan(v) &&
                   extreme_beats(fn, v, s->values[(size_t)queue[tail - 1]]))
                tail--;
            queue[tail++] = (double)next;
        }
        while (head < tail && (size_t)queue[head] < lo)
            head++;
        if (hi == lo) continue;
        /* a NaN stays in the queue only until a number comes behind it */
        size_t at = head;
        while (at + 1 < tail && isnan(s->values[(size_t)queue[at]]))
            at++;
        size_t best = (size_t)queue[at];
        if (isnan(s->values[best]))
            best = fn == FN_MAX_OVER_TIME || fn == FN_MIN_OVER_TIME ? lo : hi - 1;
        out->values[k] = want_time ? (double)s->times_ms[best] / 1000 : s->values[best];
        out->kinds[k] = POINT_FLOAT;
    }
    return OK;
}

enum status window_edge(struct stage_run *r, struct column *out) {
    const struct samples *s = &r->samples;
    enum function_id fn = r->stage->fn;
    bool first = fn == FN_FIRST_OVER_TIME || fn == FN_TS_OF_FIRST_OVER_TIME;
    bool want_time = fn == FN_TS_OF_FIRST_OVER_TIME || fn == FN_TS_OF_LAST_OVER_TIME;
    for (size_t k = 0; k < r->stage->out.steps; k++) {
        size_t lo = r->windows.lo[k], hi = r->windows.hi[k];
        TRY(eval_step(r->ev, k));
        if (hi == lo) continue;
        size_t i = first ? lo : hi - 1;
        out->values[k] = want_time ? (double)s->times_ms[i] / 1000 : s->values[i];
        out->kinds[k] = POINT_FLOAT;
    }
    return OK;
}

enum status window_count(struct stage_run *r, struct column *out) {
    bool count = r->stage->fn == FN_COUNT_OVER_TIME;
    for (size_t k = 0; k < r->stage->out.steps; k++) {
        size_t n = r->windows.hi[k] - r->windows.lo[k];
        TRY(eval_step(r->ev, k));
        if (n == 0) continue;
        out->values[k] = count ? (double)n : 1;
        out->kinds[k] = POINT_FLOAT;
    }
    return OK;
}

/* Welford with compensated sums */
enum status window_variance(struct stage_run *r, struct column *out) {
    const struct samples *s = &r->samples;
    for (size_t k = 0; k < r->stage->out.steps; k++) {
        size_t lo = r->windows.lo[k], hi = r->windows.hi[k];
        TRY(eval_work(r->ev, 2 + 8 * (hi - lo)));
        if (hi == lo) continue;
        struct kahan mean = {0}, aux = {0};
        for (size_t i = lo; i < hi; i++) {
            double v = s->values[i], delta = v - (mean.sum + mean.c);
            kahan_add(&mean, delta / (double)(i - lo + 1));
            kahan_add(&aux, delta * (v - (mean.sum + mean.c)));
        }
        double variance = (aux.sum + aux.c) / (double)(hi - lo);
        out->values[k] = r->stage->fn == FN_STDDEV_OVER_TIME ? sqrt(variance) : variance;
        out->kinds[k] = POINT_FLOAT;
    }
    return OK;
}

static const window_fn window_functions[FN_COUNT] = {
    [FN_ABSENT_OVER_TIME] = window_count,
    [FN_AVG_OVER_TIME] = window_sum,
    [FN_CHANGES] = window_changes,
    [FN_COUNT_OVER_TIME] = window_count,
    [FN_DELTA] = window_rate,
    [FN_DERIV] = window_regression,
    [FN_DOUBLE_EXPONENTIAL_SMOOTHING] = window_smoothing,
    [FN_FIRST_OVER_TIME] = window_edge,
    [FN_IDELTA] = window_instant,
    [FN_INCREASE] = window_rate,
    [FN_IRATE] = window_instant,
    [FN_LAST_OVER_TIME] = window_edge,
    [FN_MAD_OVER_TIME] = window_quantile,
    [FN_MAX_OVER_TIME] = window_extreme,
    [FN_MIN_OVER_TIME] = window_extreme,
    [FN_PREDICT_LINEAR] = window_regression,
    [FN_PRESENT_OVER_TIME] = window_count,
    [FN_QUANTILE_OVER_TIME] = window_quantile,
    [FN_RATE] = window_rate,
    [FN_RESETS] = window_changes,
    [FN_STDDEV_OVER_TIME] = window_variance,
    [FN_STDVAR_OVER_TIME] = window_variance,
    [FN_SUM_OVER_TIME] = window_sum,
    [FN_TS_OF_FIRST_OVER_TIME] = window_edge,
    [FN_TS_OF_LAST_OVER_TIME] = window_edge,
    [FN_TS_OF_MAX_OVER_TIME] = window_extreme,
    [FN_TS_OF_MIN_OVER_TIME] = window_extreme,
};

window_fn window_function(enum function_id fn) {
    return fn < FN_COUNT ? window_functions[fn] : NULL;
}
