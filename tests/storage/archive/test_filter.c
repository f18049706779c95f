/* SPDX-License-Identifier: Apache-2.0 */
#include <criterion/criterion.h>
#include <stdlib.h>
#include <string.h>

#include "storage/archive/filter.h"
#include "storage/entry.h"

static void tombstone_make(struct tombstone *t, struct matcher *m, size_t count) {
    struct buf b = {0};
    entry_matchers_put(m, count, &b);
    t->matchers = b.ptr;
    t->matchers_len = b.len;
}

static size_t run(struct archive_filter *f, uint32_t shard, const char *job, int64_t *left) {
    struct label labels[] = {{SV("__name__"), SV("up")}, {SV("job"), sv_from(job)}};
    struct samples s = {0};
    cr_assert_eq(samples_reserve(&s, 10), OK);
    for (int i = 0; i < 10; i++) {
        s.times_ms[i] = i * 10;
        s.values[i] = i;
    }
    s.count = 10;
    archive_filter_run(f, shard, (struct sv){0}, labels, 2, &s);
    size_t count = s.count;
    for (size_t i = 0; i < count; i++) {
        left[i] = s.times_ms[i];
        cr_assert_eq(s.values[i] * 10, (double)left[i]);
    }
    samples_fini(&s);
    return count;
}

Test(filter, tombstones_and_floors_by_shard) {
    struct archive_filter f;
    struct err err;
    struct tombstone t = {.min_ms = 20, .max_ms = 40};
    struct matcher m[] = {{.kind = MATCH_EQ, .name = SV("__name__"), .value = SV("up")},
                          {.kind = MATCH_RE, .name = SV("job"), .value = SV("a|b")},
                          {.kind = MATCH_EQ, .name = SV("absent"), .value = SV("")}};
    tombstone_make(&t, m, 3);
    cr_assert_eq(archive_filter_init(&f, NULL, &err), OK);
    cr_assert(archive_filter_is_empty(&f));
    cr_assert_eq(archive_filter_add(&f, &(struct filter_rules){1, INT64_MIN, NULL, 0}, &err), OK);
    cr_assert(archive_filter_is_empty(&f));
    cr_assert_eq(archive_filter_add(&f, &(struct filter_rules){3, INT64_MIN, &t, 1}, &err), OK);
    cr_assert_eq(archive_filter_add(&f, &(struct filter_rules){5, 70, NULL, 0}, &err), OK);
    int64_t left[10];
    cr_assert_eq(run(&f, 3, "a", left), 7);
    cr_assert_eq(left[1], 10);
    cr_assert_eq(left[2], 50);
    cr_assert_eq(run(&f, 3, "c", left), 10);
    cr_assert_eq(run(&f, 4, "a", left), 10);
    cr_assert_eq(run(&f, 5, "a", left), 3);
    cr_assert_eq(left[0], 70);
    static const struct {
        uint32_t shard;
        int64_t from_ms, to_ms;
        bool has;
    } ranges[] = {
        {3, INT64_MIN, INT64_MAX, true},
        {4, INT64_MIN, INT64_MAX, false},
        {3, 39, 40, true},
        {3, 40, 50, false},
        {3, 10, 19, false},
        {3, 10, 20, true},
        {3, 30, 30, false},
        {5, 68, INT64_MAX, true},
        {5, 69, INT64_MAX, false},
        {5, INT64_MIN, 10, true},
    };
    for (size_t i = 0; i < sizeof ranges / sizeof ranges[0]; i++)
        cr_assert_eq(archive_filter_has(&f, ranges[i].shard, ranges[i].from_ms, ranges[i].to_ms),
                     ranges[i].has, "range %zu", i);
    archive_filter_fini(&f);
    free(t.matchers);
}

Test(filter, a_tombstone_that_cannot_be_read_is_corrupt) {
    struct archive_filter f;
    struct err err;
    struct tombstone t = {.matchers = (char[]){1, 9, 0, 0}, .matchers_len = 4};
    cr_assert_eq(archive_filter_init(&f, NULL, &err), OK);
    cr_assert_eq(archive_filter_add(&f, &(struct filter_rules){3, INT64_MIN, &t, 1}, &err),
                 ERR_CORRUPT);
    archive_filter_fini(&f);
}

Test(filter, many_shards) {
    struct archive_filter f;
    struct err err;
    cr_assert_eq(archive_filter_init(&f, NULL, &err), OK);
    for (uint32_t i = 0; i < 1000; i++)
        cr_assert_eq(archive_filter_add(&f, &(struct filter_rules){i * 2, i, NULL, 0}, &err), OK);
    for (uint32_t i = 0; i < 2000; i++)
        cr_assert_eq(archive_filter_has(&f, i, (int64_t)(i / 2) - 2, INT64_MAX), i % 2 == 0);
    archive_filter_fini(&f);
}
