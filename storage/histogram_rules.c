/* SPDX-License-Identifier: Apache-2.0 */
/* What a histogram must be, with the sentences of model/histogram/{generic,histogram,
 * float_histogram}.go of Prometheus 3.14, which clients and tests match on. */
#include <assert.h>
#include <inttypes.h>
#include <math.h>
#include <stdio.h>

#include "node/base/num.h"
#include "storage/histogram.h"

#define SPANS_MISMATCH "histogram spans specify different number of buckets than provided"
#define SPAN_NEGATIVE "histogram has a span whose offset is negative"
#define BUCKET_NEGATIVE "histogram has a bucket whose observation count is negative"
#define COUNT_NEGATIVE "histogram's observation count is negative"
#define COUNT_TOO_SMALL                                                                            \
    "histogram's observation count should be at least the number of observations found in the "    \
    "buckets"
#define COUNT_MISMATCH                                                                             \
    "histogram's observation count should equal the number of observations found in the buckets "  \
    "(in absence of NaN)"
#define BOUNDS_TOO_FEW "histogram custom bounds are too few"
#define BOUNDS_INVALID "histogram custom bounds must be in strictly increasing order"
#define BOUNDS_INFINITE "histogram custom bounds must be finite"
#define BOUNDS_NAN "histogram custom bounds must not be NaN"

static enum status spans_check(const struct histogram_side *side, const char *where, bool custom,
                               struct err *err) {
    uint64_t buckets = 0;
    for (uint32_t i = 0; i < side->spans_count; i++) {
        if ((i > 0 || custom) && side->spans[i].offset < 0)
            return err_set(err, ERR_LIMIT, 0,
                           "%s: span number %" PRIu32 " with offset %" PRId32 ": " SPAN_NEGATIVE,
                           where, i + 1, side->spans[i].offset);
        buckets += side->spans[i].length;
    }
    if (buckets == side->buckets_count) return OK;
    return err_set(err, ERR_LIMIT, 0,
                   "%s: spans need %" PRIu64 " buckets, have %" PRIu32 " buckets: " SPANS_MISMATCH,
                   where, buckets, side->buckets_count);
}

/* Sums wrap as Go's do. */
static enum status deltas_check(const struct histogram_side *side, const char *where,
                                uint64_t *count, struct err *err) {
    uint64_t last = 0;
    for (uint32_t i = 0; i < side->buckets_count; i++) {
        last += (uint64_t)side->deltas[i];
        if ((int64_t)last < 0)
            return err_set(err, ERR_LIMIT, 0,
                           "%s: bucket number %" PRIu32 " has observation count of %" PRId64
                           ": " BUCKET_NEGATIVE,
                           where, i + 1, (int64_t)last);
        *count += last;
    }
    return OK;
}

static enum status counts_check(const struct histogram_side *side, const char *where,
                                struct err *err) {
    for (uint32_t i = 0; i < side->buckets_count; i++) {
        if (!(side->counts[i] < 0)) continue;
        char text[NUM_TEXT_MAX];
        size_t len = num_format_f64(text, side->counts[i], 'g');
        return err_set(err, ERR_LIMIT, 0,
                       "%s: bucket number %" PRIu32
                       " has observation count of %.*s: " BUCKET_NEGATIVE,
                       where, i + 1, (int)len, text);
    }
    return OK;
}

static enum status buckets_check(const struct histogram *h, const struct histogram_side *side,
                                 const char *where, uint64_t *count, struct err *err) {
    return h->is_float ? counts_check(side, where, err) : deltas_check(side, where, count, err);
}

/* Go's %f. */
static const char *bound_text(double v, char *out, size_t size) {
    snprintf(out, size, isinf(v) ? (v > 0 ? "+Inf" : "-Inf") : "%f", v);
    return out;
}

static enum status bounds_check(const struct histogram *h, struct err *err) {
    double before = -INFINITY;
    for (uint32_t i = 0; i < h->bounds_count; i++) {
        double bound = h->bounds[i];
        char a[NUM_TEXT_MAX], b[NUM_TEXT_MAX];
        if (isnan(bound)) return err_set(err, ERR_LIMIT, 0, "custom buckets: " BOUNDS_NAN);
        if (i > 0 && bound <= before)
            return err_set(err, ERR_LIMIT, 0,
                           "custom buckets: previous bound is %.60s and current is "
                           "%.60s: " BOUNDS_INVALID,
                           bound_text(before, a, sizeof a), bound_text(bound, b, sizeof b));
        before = bound;
    }
    if (isinf(before) && before > 0)
        return err_set(err, ERR_LIMIT, 0,
                       "custom buckets: last +Inf bound must not be explicitly "
                       "defined: " BOUNDS_INFINITE);
    return OK;
}

static enum status custom_check(const struct histogram *h, struct err *err) {
    TRY(bounds_check(h, err));
    TRY(spans_check(&h->positive, "custom buckets", true, err));
    uint64_t covered = 0;
    for (uint32_t i = 0; i < h->positive.spans_count; i++)
        covered += (uint64_t)h->positive.spans[i].offset + h->positive.spans[i].length;
    if ((uint64_t)h->bounds_count + 1 < covered)
        return err_set(err, ERR_LIMIT, 0,
                       "custom buckets: only %" PRIu32 " custom bounds defined which is "
                       "insufficient to cover total span length of %" PRIu64 ": " BOUNDS_TOO_FEW,
                       h->bounds_count, covered);
    if (h->zero_count != 0 || h->zero_count_float != 0)
        return err_set(err, ERR_LIMIT, 0, "custom buckets: must have zero count of 0");
    if (h->zero_threshold != 0)
        return err_set(err, ERR_LIMIT, 0, "custom buckets: must have zero threshold of 0");
    if (h->negative.spans_count > 0)
        return err_set(err, ERR_LIMIT, 0, "custom buckets: must not have negative spans");
    if (h->negative.buckets_count > 0)
        return err_set(err, ERR_LIMIT, 0, "custom buckets: must not have negative buckets");
    return OK;
}

static enum status exponential_check(const struct histogram *h, uint64_t *count, struct err *err) {
    TRY(spans_check(&h->positive, "positive side", false, err));
    TRY(spans_check(&h->negative, "negative side", false, err));
    TRY(buckets_check(h, &h->negative, "negative side", count, err));
    if (h->zero_count_float < 0) {
        char text[NUM_TEXT_MAX];
        size_t len = num_format_f64(text, h->zero_count_float, 'g');
        return err_set(err, ERR_LIMIT, 0,
                       "zero bucket has observation count of %.*s: " BUCKET_NEGATIVE, (int)len,
                       text);
    }
    if (h->bounds_count > 0)
        return err_set(err, ERR_LIMIT, 0,
                       "histogram with exponential schema must not have custom bounds");
    return OK;
}

/* NaN observations are in no bucket. */
static enum status count_check(const struct histogram *h, uint64_t found, struct err *err) {
    if (h->is_float && h->count_float < 0) {
        char text[NUM_TEXT_MAX];
        size_t len = num_format_f64(text, h->count_float, 'g');
        return err_set(err, ERR_LIMIT, 0, "observation count is %.*s: " COUNT_NEGATIVE, (int)len,
                       text);
    }
    bool has_nan = isnan(h->sum);
    if (h->is_float || found == h->count || (has_nan && found < h->count)) return OK;
    return err_set(err, ERR_LIMIT, 0,
                   "%" PRIu64 " observations found in buckets, but the Count field is %" PRIu64
                   ": %s",
                   found, h->count, has_nan ? COUNT_TOO_SMALL : COUNT_MISMATCH);
}

enum status histogram_validate(const struct histogram *h, struct err *err) {
    uint64_t found = h->zero_count;
    if (h->schema == HISTOGRAM_SCHEMA_CUSTOM)
        TRY(custom_check(h, err));
    else if (h->schema >= HISTOGRAM_SCHEMA_MIN && h->schema <= HISTOGRAM_SCHEMA_MAX)
        TRY(exponential_check(h, &found, err));
    else
        return err_set(err, ERR_LIMIT, 0,
                       "histogram has an invalid schema, which must be between %d and %d for "
                       "exponential buckets, or %d for custom buckets, got schema %" PRId32,
                       HISTOGRAM_SCHEMA_MIN, HISTOGRAM_SCHEMA_MAX, HISTOGRAM_SCHEMA_CUSTOM,
                       h->schema);
    TRY(buckets_check(h, &h->positive, "positive side", &found, err));
    return count_check(h, found, err);
}

/* -- coarser buckets */

/* The bucket with index i of the finer schema lies in the one with index ((i - 1) >> shift) + 1 of
 * the coarser (model/histogram/generic.go, targetIdx). Indexes ascend, so that what is written
 * never overtakes what is read. */
static void side_reduce(struct histogram_side *side, unsigned shift) {
    int64_t index = 0, last_index = 0, count = 0, last_count = 0;
    uint32_t spans = 0, buckets = 0, from = 0;
    for (uint32_t s = 0; s < side->spans_count; s++) {
        const struct histogram_span span = side->spans[s];
        index += span.offset;
        for (uint32_t k = 0; k < span.length; k++, from++, index++) {
            int64_t to = ((index - 1) >> shift) + 1;
            if (side->deltas != NULL)
                count = (int64_t)((uint64_t)count + (uint64_t)side->deltas[from]);
            bool same = buckets > 0 && to == last_index;
            if (!same && buckets > 0 && to == last_index + 1) {
                side->spans[spans - 1].length++;
            } else if (!same) {
                int64_t offset = buckets == 0 ? to : to - last_index - 1;
                side->spans[spans++] = (struct histogram_span){(int32_t)offset, 1};
            }
            if (side->counts != NULL) {
                double more = side->counts[from];
                if (!same) side->counts[buckets++] = 0;
                side->counts[buckets - 1] += more;
            } else if (same) {
                side->deltas[buckets - 1] =
                    (int64_t)((uint64_t)side->deltas[buckets - 1] + (uint64_t)count);
            } else {
                side->deltas[buckets++] = count;
            }
            last_index = to;
        }
    }
    /* absolute so far */
    for (uint32_t i = 0; side->deltas != NULL && i < buckets; i++) {
        int64_t absolute = side->deltas[i];
        side->deltas[i] = (int64_t)((uint64_t)absolute - (uint64_t)last_count);
        last_count = absolute;
    }
    side->spans_count = spans;
    side->buckets_count = buckets;
}

void histogram_reduce(struct histogram *h, int32_t schema) {
    assert(h->schema > schema && h->schema - schema < 64 && schema >= HISTOGRAM_SCHEMA_MIN);
    side_reduce(&h->negative, (unsigned)(h->schema - schema));
    side_reduce(&h->positive, (unsigned)(h->schema - schema));
    h->schema = schema;
}
