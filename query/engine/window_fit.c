/* SPDX-License-Identifier: Apache-2.0 */
/* Range functions over all values of a window: quantiles, regression, double exponential smoothing.
 */
#include "query/engine/window.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "node/base/num.h"

static int value_order(const void *a, const void *b, void *arg) {
    (void)arg;
    double x, y;
    memcpy(&x, a, sizeof x);
    memcpy(&y, b, sizeof y);
    if (isnan(x) || isnan(y)) return (isnan(x) ? 0 : 1) - (isnan(y) ? 0 : 1); /* NaN first */
    return (x > y) - (x < y);
}

/* Numbers only: moves the k-th smallest to its place, no larger ones before it and no smaller ones
 * behind it. Three-way quickselect; when pivots keep being bad, the rest is sorted. */
static enum status select_kth(struct eval *ev, double *v, size_t count, size_t k) {
    size_t low = 0, high = count; /* the place is in [low, high) */
    for (unsigned rounds = 0; high - low > 16; rounds++) {
        if (rounds == 48) break;
        TRY(eval_work(ev, 2 * (high - low)));
        double a = v[low], b = v[low + (high - low) / 2], c = v[high - 1];
        double pivot = a < b ? (b < c ? b : (a < c ? c : a)) : (a < c ? a : (b < c ? c : b));
        size_t less = low, equal = low;
        for (size_t i = low; i < high; i++) { /* [low, less) < pivot <= [less, i) */
            double x = v[i];
            v[i] = v[less];
            v[less] = x;
            less += x < pivot;
        }
        if (k < less) {
            high = less;
            continue;
        }
        equal = less;
        for (size_t i = less; i < high; i++) {
            double x = v[i];
            v[i] = v[equal];
            v[equal] = x;
            equal += x <= pivot;
        }
        if (k < equal) return OK;
        low = equal;
    }
    struct sort_by by = {value_order, NULL};
    return eval_sort(ev, v + low, high - low, sizeof *v, &by);
}

enum status quantile_of(struct eval *ev, double q, double *values, size_t count, double *out) {
    *out = q < 0 ? -HUGE_VAL : HUGE_VAL;
    if (count == 0 || isnan(q)) *out = NAN;
    if (count == 0 || !(q >= 0 && q <= 1)) return OK;
    TRY(eval_work(ev, 2 * count));
    double rank = q * ((double)count - 1);
    size_t lower = (size_t)fmax(0, floor(rank)), upper = MIN(lower + 1, count - 1), nans = 0;
    double weight = rank - floor(rank);
    for (size_t i = 0; i < count; i++) { /* NaN is the smallest */
        double x = values[i];
        if (!isnan(x)) continue;
        values[i] = values[nans];
        values[nans++] = x;
    }
    if (lower >= nans) TRY(select_kth(ev, values + nans, count - nans, lower - nans));
    if (upper >= nans && upper > lower) /* the smallest behind it */
        for (size_t i = upper + 1; i < count; i++)
            if (values[i] < values[upper]) {
                double x = values[i];
                values[i] = values[upper];
                values[upper] = x;
            }
    *out = values[lower] * (1 - weight) + values[upper] * weight;
    return OK;
}

static enum status mad_of(struct eval *ev, double *values, size_t count, double *out) {
    double median;
    *out = NAN;
    for (size_t i = 0; i < count; i++)
        if (isnan(values[i])) return OK;
    TRY(quantile_of(ev, 0.5, values, count, &median));
    for (size_t i = 0; i < count; i++)
        values[i] = fabs(values[i] - median);
    return quantile_of(ev, 0.5, values, count, out);
}

static void note_quantile(struct stage_run *r, double q) {
    char text[NUM_TEXT_MAX];
    size_t n = num_format_f64(text, q, 'g');
    eval_note(r->ev, true, stage_note_at(r), "quantile value should be between 0 and 1, got %.*s",
              (int)n, text);
}

enum status window_quantile(struct stage_run *r, struct column *out) {
    const struct samples *s = &r->samples;
    bool mad = r->stage->fn == FN_MAD_OVER_TIME;
    double noted = 0.5;
    TRY(window_needs(r, s->count + 1));
    for (size_t k = 0; k < r->stage->out.steps; k++) {
        size_t lo = r->windows.lo[k], n = r->windows.hi[k] - lo;
        TRY(eval_work(r->ev, 2));
        if (n == 0) continue;
        memcpy(r->scratch, &s->values[lo], n * sizeof *r->scratch);
        double q = mad ? 0.5 : r->stage->args[0][k];
        if (!(q >= 0 && q <= 1) && memcmp(&q, &noted, sizeof q) != 0) {
            note_quantile(r, q);
            noted = q;
        }
        TRY(mad ? mad_of(r->ev, r->scratch, n, &out->values[k])
                : quantile_of(r->ev, q, r->scratch, n, &out->values[k]));
        out->kinds[k] = POINT_FLOAT;
    }
    return OK;
}

static void regression(const struct samples *s, size_t lo, size_t hi, int64_t at_ms, double *slope,
                       double *intercept) {
    struct kahan x_sum = {0}, y_sum = {0}, xy_sum = {0}, x2_sum = {0};
    double first = s->values[lo], n = (double)(hi - lo);
    bool constant = true;
    for (size_t i = lo; i < hi; i++) {
        double y = s->values[i], x = (double)(s->times_ms[i] - at_ms) / 1e3;
        if (i > lo && y != first) constant = false;
        kahan_add(&x_sum, x);
        kahan_add(&y_sum, y);
        kahan_add(&xy_sum, x * y);
        kahan_add(&x2_sum, x * x);
    }
    if (constant) {
        *slope = isinf(first) ? (double)NAN : 0;
        *intercept = isinf(first) ? (double)NAN : first;
        return;
    }
    double sx = x_sum.sum + x_sum.c, sy = y_sum.sum + y_sum.c;
    double sxy = xy_sum.sum + xy_sum.c, sx2 = x2_sum.sum + x2_sum.c;
    double cov = sxy - sx * sy / n, var = sx2 - sx * sx / n;
    *slope = cov / var;
    *intercept = sy / n - *slope * sx / n;
}

enum status window_regression(struct stage_run *r, struct column *out) {
    const struct samples *s = &r->samples;
    bool predict = r->stage->fn == FN_PREDICT_LINEAR;
    for (size_t k = 0; k < r->stage->out.steps; k++) {
        size_t lo = r->windows.lo[k], hi = r->windows.hi[k];
        TRY(eval_work(r->ev, 2 + 6 * (hi - lo)));
        if (hi - lo < 2) continue;
        double slope, intercept;
        int64_t at = predict ? grid_time(&r->stage->out, k) : s->times_ms[lo];
        regression(s, lo, hi, at, &slope, &intercept);
        out->values[k] = predict ? slope * r->stage->args[0][k] + intercept : slope;
        out->kinds[k] = POINT_FLOAT;
    }
    return OK;
}

enum status window_smoothing(struct stage_run *r, struct column *out) {
    const struct samples *s = &r->samples;
    for (size_t k = 0; k < r->stage->out.steps; k++) {
        size_t lo = r->windows.lo[k], hi = r->windows.hi[k];
        TRY(eval_work(r->ev, 2 + 3 * (hi - lo)));
        if (hi == lo) continue;
        double sf = r->stage->args[0][k], tf = r->stage->args[1][k];
        if (sf <= 0 || sf >= 1)
            return err_set(r->ev->err, ERR_EXEC, 0,
                           "invalid smoothing factor. Expected: 0 < sf < 1, got: %f", sf);
        if (tf <= 0 || tf >= 1)
            return err_set(r->ev->err, ERR_EXEC, 0,
                           "invalid trend factor. Expected: 0 < tf < 1, got: %f", tf);
        if (hi - lo < 2) continue;
        double s0 = 0, s1 = s->values[lo], b = s->values[lo + 1] - s->values[lo];
        for (size_t i = lo + 1; i < hi; i++) {
            double x = sf * s->values[i];
            if (i > lo + 1) b = tf * (s1 - s0) + (1 - tf) * b;
            double y = (1 - sf) * (s1 + b);
            s0 = s1;
            s1 = x + y;
        }
        out->values[k] = s1;
        out->kinds[k] = POINT_FLOAT;
    }
    return OK;
}
