/* SPDX-License-Identifier: Apache-2.0 */
/* How rows stand in a block: every sample of a small series' rows, counted by hand, so that blocks
 * which are there stay readable; and what deletions and floors do to windows. */
#include <criterion/criterion.h>
#include <stdlib.h>

#include "node/base/bytes.h"
#include "storage/archive/rows.h"
#include "storage/entry.h"

#define MIN5 ((int64_t)300000)

static const struct label labels[] = {{{"job", 3}, {"api", 3}}};

static struct samples series(void) {
    static const struct {
        int64_t time_ms;
        double value;
    } all[] = {{0, 1}, {60000, 8}, {200000, 3}, {300000, 4}, {300001, 7}, {900000, 7.5}};
    struct samples s = {0};
    cr_assert_eq(samples_reserve(&s, ARRAY_LEN(all)), OK);
    for (size_t i = 0; i < ARRAY_LEN(all); i++) {
        s.times_ms[i] = all[i].time_ms;
        s.values[i] = all[i].value;
    }
    s.count = ARRAY_LEN(all);
    return s;
}

/* Everything of some jobs from min to max, and what is before the floor. */
static void filter_of(struct archive_filter *f, int64_t floor_ms, int64_t min_ms, int64_t max_ms) {
    struct matcher m = {.kind = MATCH_EQ, .name = SV("job"), .value = SV("api")};
    struct buf bytes = {0};
    struct err err;
    entry_matchers_put(&m, 1, &bytes);
    struct tombstone t = {
        .min_ms = min_ms, .max_ms = max_ms, .matchers = bytes.ptr, .matchers_len = bytes.len};
    struct filter_rules rules = {3, floor_ms, &t, max_ms >= min_ms};
    cr_assert_eq(archive_filter_init(f, NULL, &err), OK);
    cr_assert_eq(archive_filter_add(f, &rules, &err), OK);
    buf_fini(&bytes);
}

Test(rows, columns_stand_one_after_the_other) {
    /* windows end at 5 and 10 min; (0, 5 min] has 8 3 4, of which 3 is a reset; (5, 10] has 7 */
    static const double want[DOWNSAMPLE_COLUMNS][2] = {
        {3, 1},           {15, 7},     {3, 7}, {8, 7}, {8, 7},   {4, 7},
        {240000, 299999}, {0, 299999}, {1, 0}, {8, 0}, {-1, -1}, {0, 0},
    };
    struct samples s = series();
    struct archive_filter none;
    filter_of(&none, INT64_MIN, 1, 0);
    struct rows_writing w = {
        .filter = &none, .from_ms = 0, .to_ms = 2 * MIN5, .resolution_ms = (uint32_t)MIN5};
    rows_make(&w, 3, SV(""), labels, 1, &s);
    cr_assert(!w.failed);
    cr_assert_eq(s.count, 24);
    for (size_t i = 0; i < s.count; i++) {
        int64_t column = (int64_t)(i / 2), end_ms = (int64_t)(i % 2 + 1) * MIN5;
        cr_expect_eq(s.times_ms[i], column * 4503599627370496 + end_ms, "time %zu", i);
        cr_expect_eq(f64_bits(s.values[i]), f64_bits(want[column][i % 2]), "value %zu: %g", i,
                     s.values[i]);
    }
    rows_writing_fini(&w);
    archive_filter_fini(&none);
    samples_fini(&s);
}

static size_t left(int64_t floor_ms, int64_t min_ms, int64_t max_ms) {
    struct samples s = series();
    struct archive_filter none, f;
    filter_of(&none, INT64_MIN, 1, 0);
    filter_of(&f, floor_ms, min_ms, max_ms);
    struct rows_writing w = {
        .filter = &none, .from_ms = -MIN5, .to_ms = 3 * MIN5, .resolution_ms = (uint32_t)MIN5};
    rows_make(&w, 3, SV(""), labels, 1, &s);
    cr_assert_eq(s.count, 4 * DOWNSAMPLE_COLUMNS, "windows that end at 0, 5, 10 and 15 min");
    w.filter = &f;
    rows_leave(&w, 3, SV(""), labels, 1, &s);
    size_t count = s.count;
    rows_writing_fini(&w);
    archive_filter_fini(&none);
    archive_filter_fini(&f);
    samples_fini(&s);
    return count / DOWNSAMPLE_COLUMNS;
}

Test(rows, of_windows_that_are_deleted_as_a_whole_go) {
    cr_expect_eq(left(INT64_MIN, INT64_MIN, MIN5), 2);
    cr_expect_eq(left(INT64_MIN, INT64_MIN, MIN5 - 1), 3, "a part of the second stays");
    cr_expect_eq(left(INT64_MIN, 1, MIN5), 3);
    cr_expect_eq(left(INT64_MIN, 2, MIN5), 4);
    cr_expect_eq(left(MIN5, 1, 0), 3, "the floor's own window may have samples at the floor");
    cr_expect_eq(left(MIN5 + 1, 1, 0), 2);
}

Test(rows, windows_are_split_by_what_ends_within_them) {
    struct filter_windows w = {.floor_ms = INT64_MIN, .deleted_count = 1};
    static const struct {
        int64_t min_ms, max_ms;
        bool splits;
    } cases[] = {
        {INT64_MIN, MIN5, false},
        {INT64_MIN, MIN5 - 1, true},
        {INT64_MIN, 0, false},
        {1, MIN5, false},
        {0, MIN5, false},
        {2, MIN5, true},
        {MIN5 + 1, INT64_MAX, false},
        {MIN5, INT64_MAX, true},
        {3 * MIN5, INT64_MAX, true},
        {3 * MIN5 + 1, INT64_MAX, false},
        {INT64_MIN, INT64_MAX, false},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        w.deleted[0].min_ms = cases[i].min_ms;
        w.deleted[0].max_ms = cases[i].max_ms;
        cr_expect_eq(filter_splits_windows(&w, 0, 3 * MIN5, (uint32_t)MIN5), cases[i].splits,
                     "case %zu", i);
    }
    w.deleted_count = 0;
    w.floor_ms = MIN5;
    cr_expect(filter_splits_windows(&w, 0, 3 * MIN5, (uint32_t)MIN5));
    w.floor_ms = MIN5 + 1;
    cr_expect(!filter_splits_windows(&w, 0, 3 * MIN5, (uint32_t)MIN5));
}
