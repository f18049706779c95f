/* SPDX-License-Identifier: Apache-2.0 */
/* Classic histograms: promql/quantile.go of Prometheus 3.14 (BucketQuantile, BucketFraction). */
#include "query/engine/histogram.h"

#include <float.h>
#include <math.h>
#include <string.h>

#include "node/base/num.h"

static size_t coalesce(struct bucket *b, size_t count) {
    size_t n = 1;
    for (size_t i = 1; i < count; i++) {
        if (b[i].le == b[n - 1].le)
            b[n - 1].count += b[i].count;
        else
            b[n++] = b[i];
    }
    return n;
}

/* Within 1e-12 of each other, relative to their sum. */
static bool almost_equal(double a, double b) {
    if (isnan(a) && isnan(b)) return true;
    if (a == b) return true;
    double sum = fabs(a) + fabs(b), diff = fabs(a - b);
    if (a == 0 || b == 0 || sum < DBL_MIN) return diff < 1e-12 * DBL_MIN;
    return diff / fmin(sum, DBL_MAX) < 1e-12;
}

static void make_monotonic(struct bucket *b, size_t count, struct bucket_fix *fix) {
    double prev = b[0].count;
    for (size_t i = 1; i < count; i++) {
        double curr = b[i].count;
        if (curr == prev) continue;
        if (almost_equal(prev, curr)) {
            b[i].count = prev;
        } else if (curr < prev) {
            b[i].count = prev;
            fix->forced = true;
            fix->min_bucket = fmin(fix->min_bucket, b[i].le);
            fix->max_bucket = fmax(fix->max_bucket, b[i].le);
            fix->max_diff = fmax(fix->max_diff, prev - curr);
        } else {
            prev = curr;
        }
    }
}

double bucket_quantile(double q, struct bucket *b, size_t count, struct bucket_fix *fix) {
    *fix = (struct bucket_fix){.min_bucket = HUGE_VAL, .max_bucket = -HUGE_VAL};
    if (isnan(q)) return NAN;
    if (q < 0) return -HUGE_VAL;
    if (q > 1) return HUGE_VAL;
    if (!(isinf(b[count - 1].le) && b[count - 1].le > 0)) return NAN;
    count = coalesce(b, count);
    make_monotonic(b, count, fix);
    if (count < 2 || b[count - 1].count == 0) return NAN;
    double rank = q * b[count - 1].count;
    size_t lo = 0, hi = count - 1; /* the first bucket but the last with count >= rank */
    while (lo < hi) {
        size_t mid = lo + (hi - lo) / 2;
        if (b[mid].count >= rank)
            hi = mid;
        else
            lo = mid + 1;
    }
    if (lo == count - 1) return b[count - 2].le;
    if (lo == 0 && b[0].le <= 0) return b[0].le;
    double start = 0, in_bucket = b[lo].count;
    if (lo > 0) {
        start = b[lo - 1].le;
        in_bucket -= b[lo - 1].count;
        rank -= b[lo - 1].count;
    }
    return start + (b[lo].le - start) * (rank / in_bucket);
}

/* The rank of v, which lies inside bucket i; below an unbounded bucket nothing is interpolated. */
static double rank_inside(const struct bucket *b, size_t i, double below, double lower_bound,
                          double v) {
    if (isinf(lower_bound) && lower_bound < 0) return b[i].count;
    return below + (b[i].count - below) * (v - lower_bound) / (b[i].le - lower_bound);
}

double bucket_fraction(double lower, double upper, struct bucket *b, size_t count) {
    if (!(isinf(b[count - 1].le) && b[count - 1].le > 0)) return NAN;
    count = coalesce(b, count);
    double total = b[count - 1].count;
    if (total == 0 || isnan(lower) || isnan(upper)) return NAN;
    if (lower >= upper) return 0;
    double rank = 0, rank_of[2] = {0, 0};
    const double at[2] = {lower, upper};
    bool set[2] = {false, false};
    for (size_t i = 0; i < count && !(set[0] && set[1]); i++) {
        double bound = i > 0 ? b[i - 1].le : b[0].le <= 0 ? -HUGE_VAL : 0;
        for (int j = 0; j < 2; j++) {
            if (set[j]) continue;
            if (bound >= at[j]) {
                rank_of[j] = rank;
                set[j] = true;
            } else if (b[i].le > at[j]) {
                rank_of[j] = rank_inside(b, i, rank, bound, at[j]);
                set[j] = true;
            }
        }
        rank = b[i].count;
    }
    for (int j = 0; j < 2; j++)
        if (!set[j] || rank_of[j] > total) rank_of[j] = total;
    return (rank_of[1] - rank_of[0]) / total;
}

struct sv quantile_label(double q, char *text) {
    size_t n = num_format_f64(text, q, 'g');
    if (isfinite(q) && memchr(text, '.', n) == NULL && memchr(text, 'e', n) == NULL) {
        text[n++] = '.';
        text[n++] = '0';
    }
    return sv_make(text, n);
}
