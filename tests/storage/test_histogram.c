/* SPDX-License-Identifier: Apache-2.0 */
#include <criterion/criterion.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "node/base/bytes.h"
#include "node/base/rng.h"
#include "storage/histogram.h"

static void expect_hex(const struct buf *got, const char *want) {
    char text[1024] = "";
    for (size_t i = 0; i < got->len; i++)
        snprintf(text + 2 * i, 3, "%02x", (uint8_t)got->ptr[i]);
    cr_expect_str_eq(text, want);
}

/* Bytes by hand from the layout in storage/histogram.h. */
Test(histogram, golden_integer) {
    struct histogram_span spans[] = {{0, 2}, {1, 1}};
    int64_t deltas[] = {1, 1, -1};
    struct histogram h = {.hint = HISTOGRAM_NOT_RESET,
                          .schema = 1,
                          .start_ms = 1000,
                          .count = 5,
                          .sum = 1.5,
                          .zero_threshold = 0.5,
                          .zero_count = 1,
                          .positive = {spans, 2, 3, .deltas = deltas}};
    struct buf out = {0};
    histogram_put(&h, &out);
    expect_hex(&out, "019501d00f05000000000000f83f000000000000e03f01"
                     "0200020201020201");
    cr_expect_eq(histogram_bytes_start_ms(buf_sv(&out)), 1000);
    cr_expect_eq(histogram_validate(&h, NULL), OK);
    buf_fini(&out);
}

Test(histogram, golden_float_with_bounds) {
    struct histogram_span spans[] = {{0, 1}, {1, 1}};
    double counts[] = {1, 2.5}, bounds[] = {5, 10};
    struct histogram h = {.is_float = true,
                          .schema = -53,
                          .count_float = 3.5,
                          .sum = 7,
                          .positive = {spans, 2, 2, .counts = counts},
                          .bounds = bounds,
                          .bounds_count = 2};
    struct buf out = {0};
    histogram_put(&h, &out);
    expect_hex(&out, "0132cb0000000000000c400000000000001c400200010201"
                     "000000000000f03f000000000000044002"
                     "00000000000014400000000000002440");
    cr_expect_eq(histogram_bytes_start_ms(buf_sv(&out)), 0);
    cr_expect_eq(histogram_validate(&h, NULL), OK);
    buf_fini(&out);
}

Test(histogram, golden_stale_marker) {
    struct histogram h = histogram_stale();
    struct buf out = {0};
    histogram_put(&h, &out);
    expect_hex(&out, "01000000020000000000f07f");
    cr_expect(histogram_is_stale(&h));
    cr_expect_eq(histogram_validate(&h, NULL), OK);
    h.sum = NAN;
    cr_expect_not(histogram_is_stale(&h));
    buf_fini(&out);
}

/* -- random ones */

static double random_float(struct rng *r) {
    static const double some[] = {0, 1, -1, 0.1, 1e300, INFINITY, -INFINITY, 5e-324};
    switch (rng_below(r, 3)) {
    case 0: return some[rng_below(r, 8)];
    case 1: return f64_from_bits(rng_u64(r));
    default: return (double)rng_below(r, 1000) / 8;
    }
}

static uint32_t random_side(struct rng *r, struct arena *a, bool is_float, bool valid,
                            struct histogram_side *out) {
    uint64_t total = 0;
    int64_t last = 0;
    *out = (struct histogram_side){.spans_count = (uint32_t)rng_below(r, 5)};
    out->spans = arena_alloc(a, 8 * sizeof *out->spans);
    for (uint32_t i = 0; i < out->spans_count; i++) {
        int32_t offset = valid ? (int32_t)rng_below(r, 9) : (int32_t)rng_u64(r);
        out->spans[i] = (struct histogram_span){offset, (uint32_t)rng_below(r, 6)};
        out->buckets_count += out->spans[i].length;
    }
    if (out->spans_count == 0) return 0;
    if (is_float)
        out->counts = arena_alloc(a, 64 * sizeof *out->counts);
    else
        out->deltas = arena_alloc(a, 64 * sizeof *out->deltas);
    for (uint32_t i = 0; i < out->buckets_count; i++) {
        int64_t count = valid ? (int64_t)rng_below(r, 300) : (int64_t)rng_u64(r);
        if (is_float)
            out->counts[i] = valid ? (double)count / 4 : random_float(r);
        else
            out->deltas[i] = (int64_t)((uint64_t)count - (uint64_t)last);
        last = count;
        total += (uint64_t)count;
    }
    return (uint32_t)total;
}

static struct histogram random_histogram(struct rng *r, struct arena *a, bool valid) {
    struct histogram h = {.is_float = rng_chance(r, 0.5),
                          .hint = (enum histogram_hint)rng_below(r, 4),
                          .schema = (int32_t)rng_below(r, 13) - 4,
                          .start_ms = rng_chance(r, 0.5) ? (int64_t)rng_u64(r) : 0,
                          .sum = random_float(r)};
    if (valid && isnan(h.sum)) h.sum = 1;
    bool custom = rng_chance(r, 0.3);
    uint64_t count = 0;
    if (custom) {
        h.schema = HISTOGRAM_SCHEMA_CUSTOM;
        h.bounds_count = valid ? 64 : (uint32_t)rng_below(r, 4);
        h.bounds = arena_alloc(a, 64 * sizeof *h.bounds);
        for (uint32_t i = 0; i < h.bounds_count; i++)
            h.bounds[i] = valid ? (double)i - 3 : random_float(r);
    }
    if (!custom || !valid) {
        h.zero_threshold = rng_chance(r, 0.5) ? 0 : 1e-9;
        uint64_t zero = rng_below(r, 5);
        if (h.is_float)
            h.zero_count_float = (double)zero / 4;
        else
            h.zero_count = zero;
        count += zero + random_side(r, a, h.is_float, valid, &h.negative);
    }
    count += random_side(r, a, h.is_float, valid, &h.positive);
    if (h.is_float)
        h.count_float = (double)count / 4;
    else
        h.count = count;
    return h;
}

Test(histogram, bytes_hold_all_there_is) {
    struct rng r;
    rng_init(&r, 7);
    struct arena arena;
    arena_init(&arena, 0);
    struct buf bytes = {0}, again = {0};
    for (int i = 0; i < 20000; i++) {
        arena_reset(&arena);
        buf_clear(&bytes);
        buf_clear(&again);
        bool valid = rng_chance(&r, 0.5);
        struct histogram h = random_histogram(&r, &arena, valid), got;
        struct err err = {0};
        cr_assert(!valid || histogram_validate(&h, &err) == OK, "%d: %s", i, err.msg);
        histogram_put(&h, &bytes);
        cr_assert_eq(histogram_get(buf_sv(&bytes), &arena, &got, &err), OK, "%s", err.msg);
        cr_assert(histogram_equal(&h, &got) && got.hint == h.hint && got.start_ms == h.start_ms);
        histogram_put(&got, &again);
        cr_assert(sv_eq(buf_sv(&bytes), buf_sv(&again)));
        cr_assert_eq(histogram_bytes_start_ms(buf_sv(&bytes)), h.start_ms);
        /* hint and start are beside what is compared */
        got.hint = (got.hint + 1) % 4;
        got.start_ms = got.start_ms == 0 ? 99 : 0;
        buf_clear(&again);
        histogram_put(&got, &again);
        cr_assert(histogram_bytes_equal(buf_sv(&bytes), buf_sv(&again)));
        struct hash128 one = histogram_hash(buf_sv(&bytes), 1);
        struct hash128 two = histogram_hash(buf_sv(&again), 1);
        cr_assert(one.lo != two.lo && one.hi != two.hi);
        got.sum = got.sum == 2 ? 3 : 2;
        buf_clear(&again);
        histogram_put(&got, &again);
        cr_assert_not(histogram_bytes_equal(buf_sv(&bytes), buf_sv(&again)));
        cr_assert_not(histogram_equal(&h, &got));
    }
    buf_fini(&bytes);
    buf_fini(&again);
    arena_fini(&arena);
}

/* One histogram has one encoding: bytes that can be read are those that would be written. */
Test(histogram, broken_bytes_are_refused_or_mean_themselves) {
    struct rng r;
    rng_init(&r, 8);
    struct arena arena;
    arena_init(&arena, 0);
    struct buf bytes = {0}, again = {0};
    int refused = 0, read = 0;
    for (int i = 0; i < 40000; i++) {
        arena_reset(&arena);
        buf_clear(&bytes);
        buf_clear(&again);
        struct histogram h = random_histogram(&r, &arena, true), got;
        histogram_put(&h, &bytes);
        if (rng_chance(&r, 0.3))
            bytes.len = rng_below(&r, bytes.len);
        else
            bytes.ptr[rng_below(&r, bytes.len)] ^= (char)(1 << rng_below(&r, 8));
        struct err err = {0};
        if (histogram_get(buf_sv(&bytes), &arena, &got, &err) != OK) {
            cr_assert(err.code == ERR_CORRUPT);
            refused++;
            continue;
        }
        read++;
        histogram_put(&got, &again);
        cr_assert(sv_eq(buf_sv(&bytes), buf_sv(&again)), "%d", i);
    }
    cr_expect(refused > 10000 && read > 10000, "%d refused, %d read", refused, read);
    buf_fini(&bytes);
    buf_fini(&again);
    arena_fini(&arena);
}

/* -- rules: sentences of model/histogram of Prometheus 3.14 */

static void expect_invalid(const struct histogram *h, const char *want) {
    struct err err = {0};
    cr_expect_eq(histogram_validate(h, &err), ERR_LIMIT);
    cr_expect_str_eq(err.msg, want);
}

Test(histogram, rules_of_exponential_ones) {
    struct histogram_span spans[] = {{0, 2}, {1, 1}};
    int64_t deltas[] = {1, 1, -1};
    struct histogram good = {.count = 4, .sum = 1, .positive = {spans, 2, 3, .deltas = deltas}}, h;
    cr_expect_eq(histogram_validate(&good, NULL), OK);
    h = good;
    h.positive.buckets_count = 2;
    expect_invalid(&h, "positive side: spans need 3 buckets, have 2 buckets: histogram spans "
                       "specify different number of buckets than provided");
    h = good;
    h.negative.spans = spans;
    h.negative.spans_count = 1;
    expect_invalid(&h, "negative side: spans need 2 buckets, have 0 buckets: histogram spans "
                       "specify different number of buckets than provided");
    struct histogram_span back[] = {{-3, 2}, {-1, 1}};
    h = good;
    h.positive.spans = back;
    expect_invalid(&h, "positive side: span number 2 with offset -1: histogram has a span whose "
                       "offset is negative");
    int64_t below[] = {1, -2, 5};
    h = good;
    h.positive.deltas = below;
    expect_invalid(&h, "positive side: bucket number 2 has observation count of -1: histogram has "
                       "a bucket whose observation count is negative");
    h = good;
    h.count = 5;
    expect_invalid(&h, "4 observations found in buckets, but the Count field is 5: histogram's "
                       "observation count should equal the number of observations found in the "
                       "buckets (in absence of NaN)");
    h.sum = NAN;
    cr_expect_eq(histogram_validate(&h, NULL), OK);
    h.count = 3;
    expect_invalid(&h, "4 observations found in buckets, but the Count field is 3: histogram's "
                       "observation count should be at least the number of observations found in "
                       "the buckets");
    double bounds[] = {1};
    h = good;
    h.bounds = bounds;
    h.bounds_count = 1;
    expect_invalid(&h, "histogram with exponential schema must not have custom bounds");
    h = good;
    h.schema = 9;
    expect_invalid(&h, "histogram has an invalid schema, which must be between -4 and 8 for "
                       "exponential buckets, or -53 for custom buckets, got schema 9");
    double counts[] = {1, -2.5, 1};
    h = (struct histogram){
        .is_float = true, .count_float = 4, .positive = {spans, 2, 3, .counts = counts}};
    expect_invalid(&h, "positive side: bucket number 2 has observation count of -2.5: histogram "
                       "has a bucket whose observation count is negative");
    h = (struct histogram){.is_float = true, .zero_count_float = -1};
    expect_invalid(&h, "zero bucket has observation count of -1: histogram has a bucket whose "
                       "observation count is negative");
}

Test(histogram, rules_of_custom_bounds) {
    struct histogram_span spans[] = {{0, 2}};
    int64_t deltas[] = {1, 1};
    double bounds[] = {5, 10};
    struct histogram good = {.schema = -53,
                             .count = 3,
                             .sum = 1,
                             .positive = {spans, 1, 2, .deltas = deltas},
                             .bounds = bounds,
                             .bounds_count = 2},
                     h;
    cr_expect_eq(histogram_validate(&good, NULL), OK);
    double twice[] = {5, 5}, nan_bounds[] = {1, NAN}, endless[] = {1, INFINITY};
    h = good;
    h.bounds = twice;
    expect_invalid(&h, "custom buckets: previous bound is 5.000000 and current is 5.000000: "
                       "histogram custom bounds must be in strictly increasing order");
    h.bounds = nan_bounds;
    expect_invalid(&h, "custom buckets: histogram custom bounds must not be NaN");
    h.bounds = endless;
    expect_invalid(&h, "custom buckets: last +Inf bound must not be explicitly defined: histogram "
                       "custom bounds must be finite");
    h = good;
    h.bounds_count = 0;
    expect_invalid(&h, "custom buckets: only 0 custom bounds defined which is insufficient to "
                       "cover total span length of 2: histogram custom bounds are too few");
    h = good;
    h.zero_count = 1;
    expect_invalid(&h, "custom buckets: must have zero count of 0");
    h = good;
    h.zero_threshold = 1;
    expect_invalid(&h, "custom buckets: must have zero threshold of 0");
    h = good;
    h.negative = h.positive;
    expect_invalid(&h, "custom buckets: must not have negative spans");
    struct histogram_span before[] = {{-1, 2}};
    h = good;
    h.positive.spans = before;
    expect_invalid(&h, "custom buckets: span number 1 with offset -1: histogram has a span whose "
                       "offset is negative");
}

/* Bucket i of schema 9 covers (2^((i-1)/512), 2^(i/512)], and j of schema 8 (2^((j-1)/256),
 * 2^(j/256)]: i in 1..2 lies in 1, 3..4 in 2, 7..8 in 4, -1..0 in 0. */
Test(histogram, finer_schemas_are_made_coarser) {
    struct histogram_span spans[] = {{0, 4}, {2, 2}}, negative_spans[] = {{-1, 1}, {0, 1}};
    int64_t deltas[] = {1, 1, 1, 1, 1, 1}; /* 0:1 1:2 2:3 3:4 6:5 7:6 */
    int64_t negative[] = {7, 1};           /* -1:7 0:8 */
    struct histogram h = {.schema = 9,
                          .count = 36,
                          .sum = 1,
                          .positive = {spans, 2, 6, .deltas = deltas},
                          .negative = {negative_spans, 2, 2, .deltas = negative}};
    histogram_reduce(&h, 8); /* 0:1 1:5 2:4 3:5 4:6 */
    cr_expect_eq(histogram_validate(&h, NULL), OK);
    cr_expect(h.positive.spans_count == 1 && spans[0].offset == 0 && spans[0].length == 5);
    static const int64_t want[] = {1, 4, -1, 1, 1};
    cr_expect(h.positive.buckets_count == 5 && memcmp(deltas, want, sizeof want) == 0);
    cr_expect(h.negative.spans_count == 1 && negative_spans[0].offset == 0);
    cr_expect(h.negative.buckets_count == 1 && negative[0] == 15);
    struct histogram_span gap[] = {{1, 2}, {8, 1}}; /* 1, 2 and 11: 1 and 6 */
    double counts[] = {0.5, 0.25, 2};
    h = (struct histogram){.is_float = true,
                           .schema = 9,
                           .count_float = 2.75,
                           .positive = {gap, 2, 3, .counts = counts}};
    histogram_reduce(&h, 8);
    cr_expect(h.positive.spans_count == 2 && gap[0].offset == 1 && gap[0].length == 1);
    cr_expect(gap[1].offset == 4 && gap[1].length == 1);
    cr_expect(counts[0] == 0.75 && counts[1] == 2);
}
