/* SPDX-License-Identifier: Apache-2.0 */
/* Rows against hand calculation, and against what PromQL's functions do with the raw samples. */
#include <criterion/criterion.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "node/base/bytes.h"
#include "node/base/rng.h"
#include "storage/downsample/downsample.h"
#include "storage/labels.h"

enum { SECOND = 1000, MINUTE = 60 * SECOND, HOUR = 60 * MINUTE };

static void put(struct samples *s, int64_t time_ms, double value) {
    cr_assert_eq(samples_reserve(s, s->count + 1), OK);
    s->times_ms[s->count] = time_ms;
    s->values[s->count++] = value;
}

static void expect_row(const struct downsample_rows *rows, size_t i, int64_t end_ms,
                       const double want[DOWNSAMPLE_COLUMNS]) {
    cr_assert_lt(i, rows->count);
    cr_expect_eq(rows->ends_ms[i], end_ms, "row %zu ends at %lld", i, (long long)rows->ends_ms[i]);
    for (int k = 0; k < DOWNSAMPLE_COLUMNS; k++)
        cr_expect_eq(rows->columns[k][i], want[k], "row %zu column %d: %g, not %g", i, k,
                     rows->columns[k][i], want[k]);
}

Test(downsample, rows_by_hand) {
    struct samples raw = {0};
    struct downsample_rows rows = {0}, hours = {0};
    /* the window (0, 5m]: a counter with a reset, and its end belongs to it */
    put(&raw, 1 * MINUTE, 10);
    put(&raw, 2 * MINUTE, 25);
    put(&raw, 4 * MINUTE, 5); /* reset: 25 is added back */
    put(&raw, 5 * MINUTE, 9);
    /* (5m, 10m]: begins with another reset; then it is gone, twice */
    put(&raw, 5 * MINUTE + 1, 4);
    put(&raw, 8 * MINUTE, 4.5);
    put(&raw, 9 * MINUTE, value_stale());
    put(&raw, 9 * MINUTE + 30 * SECOND, value_stale());
    /* (20m, 25m]: a marker alone */
    put(&raw, 21 * MINUTE, value_stale());
    /* (55m, 60m] */
    put(&raw, 60 * MINUTE, 100);
    /* (60m, 65m] */
    put(&raw, 60 * MINUTE + 1, 101);
    cr_assert_eq(downsample_raw(&raw, DOWNSAMPLE_5M_MS, &rows), OK);
    cr_assert_eq(rows.count, 5);
    /*        count sum min max first last first-ago last-ago resets correction stale histograms */
    expect_row(&rows, 0, 5 * MINUTE, (double[]){4, 49, 5, 25, 10, 9, 240e3, 0, 1, 25, -1, 0});
    expect_row(&rows, 1, 10 * MINUTE,
               (double[]){2, 8.5, 4, 4.5, 4, 4.5, 299999, 120e3, 0, 0, 60e3, 0});
    expect_row(&rows, 2, 25 * MINUTE, (double[]){0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 240e3, 0});
    expect_row(&rows, 3, 60 * MINUTE, (double[]){1, 100, 100, 100, 100, 100, 0, 0, 0, 0, -1, 0});
    expect_row(&rows, 4, 65 * MINUTE,
               (double[]){1, 101, 101, 101, 101, 101, 299999, 299999, 0, 0, -1, 0});
    cr_assert_eq(downsample_rows(&rows, DOWNSAMPLE_1H_MS, &hours), OK);
    cr_assert_eq(hours.count, 2);
    /* 9 -> 4 is a reset between two rows; 25 + 9 are added back: 100 - 10 + 34 */
    expect_row(&hours, 0, HOUR,
               (double[]){7, 157.5, 4, 100, 10, 100, 59 * MINUTE, 0, 2, 34, -1, 0});
    expect_row(&hours, 1, 2 * HOUR,
               (double[]){1, 101, 101, 101, 101, 101, HOUR - 1, HOUR - 1, 0, 0, -1, 0});
    struct downsample_row all = downsample_fold(&hours, 0, 2, 2 * HOUR);
    cr_expect_eq(downsample_increase(&all), 101 - 10 + 34);
    /* the hour until 00:25 of it: what is gone stays gone, since its first marker */
    all = downsample_fold(&rows, 0, 3, 25 * MINUTE);
    cr_expect_eq(all.columns[DOWNSAMPLE_STALE_AGO], 16 * MINUTE);
    samples_fini(&raw);
    downsample_rows_fini(&rows);
    downsample_rows_fini(&hours);
}

Test(downsample, nans_and_infinities_are_values) {
    struct samples raw = {0};
    struct downsample_rows rows = {0};
    put(&raw, 1, NAN);
    put(&raw, 2, 3);
    put(&raw, 3, -2);
    put(&raw, 5 * MINUTE + 1, NAN);
    put(&raw, 10 * MINUTE + 1, 1);
    put(&raw, 10 * MINUTE + 2, INFINITY);
    put(&raw, 10 * MINUTE + 3, 2);
    cr_assert_eq(downsample_raw(&raw, DOWNSAMPLE_5M_MS, &rows), OK);
    cr_assert_eq(rows.count, 3);
    cr_expect_eq(rows.columns[DOWNSAMPLE_COUNT][0], 3);
    cr_expect(isnan(rows.columns[DOWNSAMPLE_SUM][0]));
    cr_expect_eq(rows.columns[DOWNSAMPLE_MIN][0], -2);
    cr_expect_eq(rows.columns[DOWNSAMPLE_MAX][0], 3);
    cr_expect(isnan(rows.columns[DOWNSAMPLE_FIRST][0]));
    cr_expect_eq(rows.columns[DOWNSAMPLE_RESETS][0], 1); /* 3 -> -2; a NaN is below nothing */
    cr_expect(isnan(rows.columns[DOWNSAMPLE_MIN][1]) && isnan(rows.columns[DOWNSAMPLE_MAX][1]));
    cr_expect_eq(rows.columns[DOWNSAMPLE_SUM][2], (double)INFINITY);
    cr_expect_eq(rows.columns[DOWNSAMPLE_MAX][2], (double)INFINITY);
    samples_fini(&raw);
    downsample_rows_fini(&rows);
}

Test(downsample, windows_end_at_multiples_also_before_1970) {
    cr_expect_eq(downsample_end_ms(0, 300), 0);
    cr_expect_eq(downsample_end_ms(1, 300), 300);
    cr_expect_eq(downsample_end_ms(300, 300), 300);
    cr_expect_eq(downsample_end_ms(-1, 300), 0);
    cr_expect_eq(downsample_end_ms(-300, 300), -300);
    cr_expect_eq(downsample_end_ms(-301, 300), -300);
    cr_expect_eq(downsample_end_ms(INT64_MAX, 300), INT64_MAX);
    cr_expect_geq(downsample_end_ms(INT64_MIN, 300), INT64_MIN);
}

Test(downsample, histograms_are_counted_and_in_nothing_else) {
    int64_t times_ms[] = {1, 2, 3, 4};
    double values[] = {5, 77, 6, value_stale()};
    struct histogram *any = (struct histogram *)(void *)values;
    struct histogram *histograms[] = {NULL, any, NULL, any};
    struct samples raw = {
        .times_ms = times_ms, .values = values, .histograms = histograms, .count = 3};
    struct downsample_rows rows = {0};
    cr_assert_eq(downsample_raw(&raw, DOWNSAMPLE_5M_MS, &rows), OK);
    expect_row(&rows, 0, 5 * MINUTE, (double[]){2, 11, 5, 6, 5, 6, 299999, 299997, 0, 0, -1, 1});
    raw.count = 4; /* the last one is a stale marker */
    cr_assert_eq(downsample_raw(&raw, DOWNSAMPLE_5M_MS, &rows), OK);
    expect_row(&rows, 0, 5 * MINUTE,
               (double[]){2, 11, 5, 6, 5, 6, 299999, 299997, 0, 0, 299996, 1});
    downsample_rows_fini(&rows);
}

Test(downsample, columns_are_series_of_one_time_column) {
    struct samples raw = {0};
    struct downsample_rows rows = {0};
    for (int i = 1; i <= 100; i++)
        put(&raw, i * 90 * SECOND, i);
    cr_assert_eq(downsample_raw(&raw, DOWNSAMPLE_5M_MS, &rows), OK);
    for (int k = 0; k < DOWNSAMPLE_COLUMNS; k++) {
        struct samples s = downsample_column(&rows, (enum downsample_column)k);
        cr_expect(s.count == 30 && s.times_ms[0] == 5 * MINUTE && s.times_ms[29] == 150 * MINUTE);
    }
    cr_expect_eq(downsample_column(&rows, DOWNSAMPLE_LAST).values[29], 100);
    samples_fini(&raw);
    downsample_rows_fini(&rows);
}

/* -- properties of random series */

enum shape { COUNTER, GAUGE, ANY, SHAPES };

static void make_series(struct rng *rng, enum shape shape, struct samples *out) {
    int64_t t = (int64_t)rng_below(rng, 1ULL << 42) - (1LL << 41);
    double v = 0;
    size_t count = 1 + rng_below(rng, 1500);
    samples_clear(out);
    for (size_t i = 0; i < count; i++) {
        uint64_t kind = rng_below(rng, 100);
        t += kind == 0  ? 1 + (int64_t)rng_below(rng, 3 * HOUR)
             : kind < 5 ? 1 + (int64_t)rng_below(rng, 100)
                        : 15 * SECOND;
        if (shape == COUNTER)
            v = rng_below(rng, 50) == 0 ? (double)rng_below(rng, 5)
                                        : v + (double)rng_below(rng, 1000);
        else if (shape == GAUGE)
            v = (rng_unit(rng) - 0.5) * 1e6;
        else
            v = f64_from_bits(rng_u64(rng) >> 12 | 0x3ff0000000000000) *
                (rng_below(rng, 2) ? 1e15 : -1e-3);
        put(out, t, rng_below(rng, 80) == 0 ? value_stale() : v);
    }
}

/* PromQL over the raw samples in (from, to], as promql/functions.go has them. */
struct naive {
    size_t count, resets;
    long double sum, sum_of_sizes;
    double min, max, first, last, increase;
    int64_t first_ms, last_ms;
};

static struct naive naive_over(const struct samples *raw, int64_t from_ms, int64_t to_ms) {
    struct naive n = {0};
    double added = 0;
    for (size_t i = 0; i < raw->count; i++) {
        double v = raw->values[i];
        if (raw->times_ms[i] <= from_ms || raw->times_ms[i] > to_ms || value_is_stale(v)) continue;
        if (n.count == 0) {
            n.first = n.min = n.max = v;
            n.first_ms = raw->times_ms[i];
        } else if (v < n.last) {
            added += n.last;
            n.resets++;
        }
        n.min = fmin(n.min, v);
        n.max = fmax(n.max, v);
        n.sum += (long double)v;
        n.sum_of_sizes += (long double)fabs(v);
        n.last = v;
        n.last_ms = raw->times_ms[i];
        n.count++;
    }
    n.increase = n.last - n.first + added;
    return n;
}

static void expect_near(double got, long double want, long double size, const char *what) {
    long double off = fabsl((long double)got - want);
    cr_expect(off <= size * 1e-15L, "%s: %.17g, not %.17Lg", what, got, want);
}

static void check_range(const struct samples *raw, const struct downsample_rows *rows,
                        int64_t resolution_ms, size_t from, size_t to, bool exact) {
    int64_t begin = rows->ends_ms[from] - resolution_ms, end = rows->ends_ms[to - 1];
    struct naive want = naive_over(raw, begin, end);
    struct downsample_row got = downsample_fold(rows, from, to, end);
    cr_assert_eq(got.columns[DOWNSAMPLE_COUNT], (double)want.count);
    if (want.count == 0) return;
    cr_expect_eq(got.columns[DOWNSAMPLE_MIN], want.min);
    cr_expect_eq(got.columns[DOWNSAMPLE_MAX], want.max);
    cr_expect_eq(got.columns[DOWNSAMPLE_FIRST], want.first);
    cr_expect_eq(got.columns[DOWNSAMPLE_LAST], want.last);
    cr_expect_eq(got.columns[DOWNSAMPLE_FIRST_AGO], (double)(end - want.first_ms));
    cr_expect_eq(got.columns[DOWNSAMPLE_LAST_AGO], (double)(end - want.last_ms));
    cr_expect_eq(got.columns[DOWNSAMPLE_RESETS], (double)want.resets);
    expect_near(got.columns[DOWNSAMPLE_SUM], want.sum, want.sum_of_sizes, "sum");
    if (exact) {
        cr_expect_eq(got.columns[DOWNSAMPLE_SUM], (double)want.sum);
        cr_expect_eq(downsample_increase(&got), want.increase);
    } else {
        expect_near(downsample_increase(&got), (long double)want.increase, 10 * want.sum_of_sizes,
                    "increase");
    }
}

Test(downsample, rows_answer_as_raw_samples_do) {
    struct rng rng;
    struct samples raw = {0};
    struct downsample_rows rows = {0};
    for (uint64_t seed = 1; seed <= 60; seed++) {
        rng_init(&rng, seed);
        enum shape shape = (enum shape)(seed % SHAPES);
        make_series(&rng, shape, &raw);
        for (int i = 0; i < 2; i++) {
            int64_t resolution_ms = i == 0 ? DOWNSAMPLE_5M_MS : DOWNSAMPLE_1H_MS;
            cr_assert_eq(downsample_raw(&raw, resolution_ms, &rows), OK);
            cr_assert_gt(rows.count, 0);
            check_range(&raw, &rows, resolution_ms, 0, rows.count, shape == COUNTER);
            for (int k = 0; k < 20; k++) {
                size_t from = rng_below(&rng, rows.count);
                size_t to = from + 1 + rng_below(&rng, rows.count - from);
                check_range(&raw, &rows, resolution_ms, from, to, shape == COUNTER);
            }
        }
    }
    samples_fini(&raw);
    downsample_rows_fini(&rows);
}

static void expect_same(const struct downsample_rows *a, const struct downsample_rows *b,
                        uint64_t seed) {
    cr_assert_eq(a->count, b->count, "seed %llu", (unsigned long long)seed);
    cr_assert_eq(memcmp(a->ends_ms, b->ends_ms, a->count * sizeof *a->ends_ms), 0);
    for (int k = 0; k < DOWNSAMPLE_COLUMNS; k++)
        cr_assert_eq(memcmp(a->columns[k], b->columns[k], a->count * sizeof(double)), 0,
                     "seed %llu column %d", (unsigned long long)seed, k);
}

/* Also when the rows of 5 m were computed window by window. */
Test(downsample, rows_of_rows_are_those_of_raw_to_the_bit) {
    struct rng rng;
    struct samples raw = {0};
    struct downsample_rows fine = {0}, coarse = {0}, direct = {0}, piece = {0};
    for (uint64_t seed = 1; seed <= 60; seed++) {
        rng_init(&rng, seed);
        make_series(&rng, (enum shape)(seed % SHAPES), &raw);
        cr_assert_eq(downsample_raw(&raw, DOWNSAMPLE_5M_MS, &fine), OK);
        cr_assert_eq(downsample_rows(&fine, DOWNSAMPLE_1H_MS, &coarse), OK);
        cr_assert_eq(downsample_raw(&raw, DOWNSAMPLE_1H_MS, &direct), OK);
        expect_same(&coarse, &direct, seed);
        size_t row = 0;
        for (size_t i = 0; i < raw.count; row++) {
            size_t n = 1;
            while (i + n < raw.count && raw.times_ms[i + n] <= fine.ends_ms[row])
                n++;
            struct samples part = {
                .times_ms = raw.times_ms + i, .values = raw.values + i, .count = n};
            cr_assert_eq(downsample_raw(&part, DOWNSAMPLE_5M_MS, &piece), OK);
            cr_assert_eq(piece.count, 1);
            for (int k = 0; k < DOWNSAMPLE_COLUMNS; k++)
                cr_assert_eq(f64_bits(piece.columns[k][0]), f64_bits(fine.columns[k][row]));
            i += n;
        }
        cr_assert_eq(row, fine.count);
    }
    samples_fini(&raw);
    downsample_rows_fini(&fine);
    downsample_rows_fini(&coarse);
    downsample_rows_fini(&direct);
    downsample_rows_fini(&piece);
}
