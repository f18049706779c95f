/* SPDX-License-Identifier: Apache-2.0 */
#include <criterion/criterion.h>
#include <math.h>

#include "storage/chunk.h"
#include "tests/storage/head_util.h"

enum { MINUTE = 60000, HOUR = 60 * MINUTE };
#define T0 1600000000000LL

static struct samples all_samples(struct head *head, uint32_t ref, int64_t from_ms, int64_t to_ms) {
    struct select_query query = util_query(NULL, 0);
    struct selection *sel = util_select(head, &query);
    size_t count;
    const struct series_view *views = selection_series(sel, &count);
    struct samples out = {0};
    for (size_t i = 0; i < count; i++)
        if (views[i].ref == ref)
            cr_assert(series_view_read(&views[i], from_ms, to_ms, &out, NULL) == OK);
    selection_release(sel);
    return out;
}

struct verdict_case {
    const char *what;
    int64_t window_ms, time_ms;
    uint64_t bits;
    int64_t shard_newest_ms;
    enum verdict want;
};

#define ONE 0x3ff0000000000000
#define TWO 0x4000000000000000

/* The series holds 1 at T0, T0 + 10 s .. T0 + 200 * 10 s (sealed and open), and late 1 at T0 + 5 s.
 * Expected values from Prometheus' appendable() and DESIGN 5. */
static const struct verdict_case verdict_cases[] = {
    {"next", 30 * MINUTE, T0 + 2010000, TWO, T0 + 2000000, VERDICT_ACCEPT},
    {"no shard newest", 30 * MINUTE, T0 + 2010000, TWO, INT64_MIN, VERDICT_ACCEPT},
    {"next, 1 h behind the shard", 30 * MINUTE, T0 + 2010000, TWO, T0 + 2010000 + HOUR,
     VERDICT_ACCEPT},
    {"next, over 1 h behind", 30 * MINUTE, T0 + 2010000, TWO, T0 + 2010001 + HOUR, VERDICT_TOO_OLD},
    {"next, 2 h window", 2 * HOUR, T0 + 2010000, TWO, T0 + 2010000 + 2 * HOUR, VERDICT_ACCEPT},
    {"next, over 2 h window", 2 * HOUR, T0 + 2010000, TWO, T0 + 2010001 + 2 * HOUR,
     VERDICT_TOO_OLD},
    {"newest again", 30 * MINUTE, T0 + 2000000, ONE, T0 + 2000000, VERDICT_NOOP},
    {"newest again, ages ago", 30 * MINUTE, T0 + 2000000, ONE, T0 + 100 * HOUR, VERDICT_NOOP},
    {"newest, other value", 30 * MINUTE, T0 + 2000000, TWO, T0 + 2000000, VERDICT_DUPLICATE},
    {"newest, stale marker", 30 * MINUTE, T0 + 2000000, STALE_NAN_BITS, T0 + 2000000,
     VERDICT_DUPLICATE},
    {"newest, other value, 1 h old", 30 * MINUTE, T0 + 2000000, TWO, T0 + 2000000 + HOUR,
     VERDICT_DUPLICATE},
    {"newest, other value, too old", 30 * MINUTE, T0 + 2000000, TWO, T0 + 2000001 + HOUR,
     VERDICT_TOO_OLD},
    {"late", 30 * MINUTE, T0 + 1995000, TWO, T0 + 2000000, VERDICT_ACCEPT},
    {"late at the window's edge", 30 * MINUTE, T0 + 1995000, TWO, T0 + 1995000 + 30 * MINUTE,
     VERDICT_ACCEPT},
    {"late beyond the window", 30 * MINUTE, T0 + 1995000, TWO, T0 + 1995001 + 30 * MINUTE,
     VERDICT_TOO_OLD},
    {"late before all", 30 * MINUTE, T0 - 1, TWO, T0, VERDICT_ACCEPT},
    {"held open, same", 30 * MINUTE, T0 + 1990000, ONE, T0 + 2000000, VERDICT_NOOP},
    {"held open, other", 30 * MINUTE, T0 + 1990000, TWO, T0 + 2000000, VERDICT_NOOP},
    {"held sealed, same", 30 * MINUTE, T0 + 100000, ONE, T0 + 1000000, VERDICT_NOOP},
    {"held sealed, other", 30 * MINUTE, T0 + 100000, TWO, T0 + 1000000, VERDICT_NOOP},
    {"held sealed, same, ages ago", 30 * MINUTE, T0 + 100000, ONE, T0 + 100 * HOUR, VERDICT_NOOP},
    {"held sealed, other, too old", 30 * MINUTE, T0 + 100000, TWO, T0 + 100001 + 30 * MINUTE,
     VERDICT_TOO_OLD},
    {"held first", 30 * MINUTE, T0, ONE, T0 + 100 * HOUR, VERDICT_NOOP},
    {"held late, same", 30 * MINUTE, T0 + 5000, ONE, T0 + 100 * HOUR, VERDICT_NOOP},
    {"held late, other", 30 * MINUTE, T0 + 5000, TWO, T0 + 1000000, VERDICT_NOOP},
    {"no window, next", 0, T0 + 2010000, TWO, T0 + 2000000, VERDICT_ACCEPT},
    {"no window, next too old", 0, T0 + 2010000, TWO, T0 + 2010001 + HOUR, VERDICT_TOO_OLD},
    {"no window, between", 0, T0 + 1995000, TWO, T0 + 2000000, VERDICT_OUT_OF_ORDER},
    {"no window, 1 h old", 0, T0 + 1995000, TWO, T0 + 1995000 + HOUR, VERDICT_OUT_OF_ORDER},
    {"no window, too old", 0, T0 + 1995000, TWO, T0 + 1995001 + HOUR, VERDICT_TOO_OLD},
    {"no window, held other", 0, T0 + 1990000, TWO, T0 + 2000000, VERDICT_OUT_OF_ORDER},
    {"no window, held same", 0, T0 + 1990000, ONE, T0 + 2000000, VERDICT_NOOP},
    {"no window, held same, ages ago", 0, T0 + 10000, ONE, T0 + 100 * HOUR, VERDICT_NOOP},
    {"no window, newest other", 0, T0 + 2000000, TWO, T0 + 2000000, VERDICT_DUPLICATE},
    {"extreme newest", 30 * MINUTE, T0 + 2010000, TWO, INT64_MIN + 5, VERDICT_ACCEPT},
    {"end of time", 30 * MINUTE, INT64_MAX, TWO, T0, VERDICT_ACCEPT},
};

Test(head, verdicts_follow_the_table) {
    for (size_t i = 0; i < sizeof verdict_cases / sizeof *verdict_cases; i++) {
        const struct verdict_case *c = &verdict_cases[i];
        struct head *head = util_head(c->window_ms);
        uint32_t ref = util_series(head, "__name__=up,job=a");
        for (int k = 0; k <= 200; k++)
            cr_assert(head_append(head, ref, T0 + k * 10000, 1) == OK);
        cr_assert(head_append(head, ref, T0 + 5000, 1) == OK);
        double value = f64_from_bits(c->bits);
        struct head_stats before, after;
        head_stats(head, &before);
        enum verdict got = head_judge(head, ref, c->time_ms, value, c->shard_newest_ms);
        cr_expect(got == c->want, "%s: %d, not %d", c->what, (int)got, (int)c->want);
        head_stats(head, &after);
        cr_expect(memcmp(&before, &after, sizeof before) == 0, "judging changes nothing");
        head_free(head);
    }
}

Test(head, first_sample_of_a_series_may_be_an_hour_old) {
    struct head *head = util_head(30 * MINUTE);
    uint32_t ref = util_series(head, "__name__=up");
    cr_expect(head_judge(head, ref, T0, 1, T0 + HOUR) == VERDICT_ACCEPT);
    cr_expect(head_judge(head, ref, T0 - 1, 1, T0 + HOUR) == VERDICT_TOO_OLD);
    cr_expect(head_judge(head, ref, INT64_MIN, 1, INT64_MIN) == VERDICT_ACCEPT);
    int64_t t;
    double v;
    cr_expect(!head_series_newest(head, ref, &t, &v));
    head_free(head);
}

Test(head, nan_values_compare_by_bits) {
    struct head *head = util_head(0);
    uint32_t ref = util_series(head, "__name__=up");
    cr_assert(head_append(head, ref, T0, value_stale()) == OK);
    cr_expect(head_judge(head, ref, T0, value_stale(), T0) == VERDICT_NOOP);
    cr_expect(head_judge(head, ref, T0, f64_from_bits(NORMAL_NAN_BITS), T0) == VERDICT_DUPLICATE);
    cr_assert(head_append(head, ref, T0 + 1, 0.0) == OK);
    cr_expect(head_judge(head, ref, T0 + 1, -0.0, T0) == VERDICT_DUPLICATE);
    int64_t t;
    double v;
    cr_expect(head_series_newest(head, ref, &t, &v) && t == T0 + 1 && v == 0.0);
    head_free(head);
}

Test(head, applying_again_changes_nothing) {
    struct head *head = util_head(30 * MINUTE);
    uint32_t ref = util_series(head, "__name__=up");
    struct head_stats once, twice;
    for (int round = 0; round < 2; round++) {
        for (int i = 0; i < 300; i++)
            cr_assert(head_append(head, ref, T0 + i * 1000, i) == OK);
        for (int i = 0; i < 300; i += 7)
            cr_assert(head_append(head, ref, T0 + i * 1000 + 500, -i) == OK);
        head_stats(head, round == 0 ? &once : &twice);
    }
    cr_expect(memcmp(&once, &twice, sizeof once) == 0);
    cr_expect(once.samples_appended == 300 + 43, "%lu", (unsigned long)once.samples_appended);
    cr_expect(once.min_time_ms == T0 && once.max_time_ms == T0 + 299000);
    struct samples s = all_samples(head, ref, INT64_MIN, INT64_MAX);
    cr_expect(s.count == 343);
    for (size_t i = 1; i < s.count; i++)
        cr_expect(s.times_ms[i - 1] < s.times_ms[i]);
    samples_fini(&s);
    head_free(head);
}

Test(head, ranges_are_open_at_the_start_and_closed_at_the_end) {
    struct head *head = util_head(30 * MINUTE);
    uint32_t ref = util_series(head, "__name__=up");
    for (int i = 0; i < 500; i += 2)
        cr_assert(head_append(head, ref, T0 + i, i) == OK);
    for (int i = 1; i < 500; i += 6)
        cr_assert(head_append(head, ref, T0 + i, i) == OK);
    for (int from = -3; from < 505; from += 11) {
        for (int to = from - 2; to < 505; to += 13) {
            struct samples s = all_samples(head, ref, T0 + from, T0 + to);
            size_t k = 0;
            for (int i = from + 1; i <= to; i++) {
                if (i < 0 || i >= 500 || (i % 2 != 0 && i % 6 != 1)) continue;
                cr_assert(k < s.count && s.times_ms[k] == T0 + i && s.values[k] == i,
                          "(%d, %d] at %d", from, to, i);
                k++;
            }
            cr_assert(k == s.count, "(%d, %d]", from, to);
            samples_fini(&s);
        }
    }
    head_free(head);
}

Test(head, reading_appends_behind_what_is_there) {
    struct head *head = util_head(0);
    uint32_t ref = util_series(head, "__name__=up");
    cr_assert(head_append(head, ref, T0, 1) == OK);
    struct select_query query = util_query(NULL, 0);
    struct selection *sel = util_select(head, &query);
    size_t count;
    const struct series_view *v = selection_series(sel, &count);
    struct samples s = {0};
    cr_assert(series_view_read(v, INT64_MIN, INT64_MAX, &s, NULL) == OK);
    cr_assert(series_view_read(v, INT64_MIN, INT64_MAX, &s, NULL) == OK);
    cr_expect(s.count == 2 && s.times_ms[0] == T0 && s.times_ms[1] == T0);
    samples_fini(&s);
    selection_release(sel);
    head_free(head);
}

/* What is read lies between a decoded chunk less and two chunks more. */
Test(head, how_many_samples_reading_takes_is_told_about_right) {
    struct head *head = util_head(0);
    uint32_t ref = util_series(head, "__name__=up");
    enum { ROWS = 1000, STEP_MS = 15000 };
    for (int i = 0; i < ROWS; i++)
        cr_assert(head_append(head, ref, T0 + i * STEP_MS, i % 7) == OK);
    struct select_query query = util_query(NULL, 0);
    struct selection *sel = util_select(head, &query);
    size_t count;
    const struct series_view *v = selection_series(sel, &count);
    for (int from = 0; from < ROWS; from += 37) {
        uint64_t told =
            series_views_samples(v, count, T0 + from * STEP_MS, T0 + ROWS * STEP_MS, UINT64_MAX);
        cr_expect(told + CHUNK_SAMPLES_MAX >= (uint64_t)(ROWS - from) &&
                      told <= (uint64_t)(ROWS - from) + 2 * CHUNK_SAMPLES_MAX,
                  "behind row %d: %llu", from, (unsigned long long)told);
    }
    cr_expect(series_views_samples(v, count, INT64_MIN, INT64_MAX, 100) >= 100);
    cr_expect_geq(series_views_samples(v, count, INT64_MIN, INT64_MAX, UINT64_MAX), ROWS);
    selection_release(sel);
    head_free(head);
}

Test(head, labels_come_back_as_they_went_in) {
    struct head *head = util_head(0);
    struct buf want = {0}, got = {0};
    util_canonical("__name__=up,job=node,instance=h:9100,zone=\xc3\xa9", &want);
    uint32_t ref = util_series_of(head, buf_sv(&want));
    head_series_labels(head, ref, &got);
    cr_expect(sv_eq(buf_sv(&want), buf_sv(&got)));
    uint32_t empty = util_series_of(head, SV(""));
    buf_clear(&got);
    head_series_labels(head, empty, &got);
    cr_expect(got.len == 0 && head_find(head, series_id_of(UTIL_SECRET, 0, SV(""))) == empty);
    head_series_set_number(head, ref, 4711);
    cr_expect(head_series_number(head, ref) == 4711 &&
              head_series_number(head, empty) == HEAD_NONE);
    series_id id = series_id_of(UTIL_SECRET, 0, buf_sv(&want));
    cr_expect(head_series_shard(head, ref) == series_shard(id, UTIL_SHARDS));
    buf_fini(&want);
    buf_fini(&got);
    head_free(head);
}

struct bad_labels {
    const char *what;
    struct sv bytes;
};

Test(head, labels_that_are_not_canonical_are_refused) {
    static const struct bad_labels cases[] = {
        {"cut off", SV_INIT("\x0a\x06\x0a\x01"
                            "a\x12\x02"
                            "b")},
        {"empty value", SV_INIT("\x0a\x05\x0a\x01"
                                "a\x12\x00")},
        {"value missing", SV_INIT("\x0a\x03\x0a\x01"
                                  "a")},
        {"long varint", SV_INIT("\x0a\x86\x00\x0a\x01"
                                "a\x12\x01"
                                "b")},
        {"value first", SV_INIT("\x0a\x06\x12\x01"
                                "b\x0a\x81\x00"
                                "a")},
        {"unsorted", SV_INIT("\x0a\x06\x0a\x01"
                             "b\x12\x01"
                             "b\x0a\x06\x0a\x01"
                             "a\x12\x01"
                             "b")},
        {"twice", SV_INIT("\x0a\x06\x0a\x01"
                          "a\x12\x01"
                          "b\x0a\x06\x0a\x01"
                          "a\x12\x01"
                          "b")},
    };
    struct head *head = util_head(0);
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        uint32_t ref = 99;
        struct err err = {0};
        series_id id = {1, i};
        cr_expect(head_series_new(head, id, 0, cases[i].bytes, &ref, &err) == ERR_CORRUPT, "%s",
                  cases[i].what);
        cr_expect(ref == 99 && err.code == ERR_CORRUPT && head_find(head, id) == HEAD_NONE);
    }
    head_free(head);
}

Test(head, more_series_than_allowed_are_refused) {
    struct head_options options = {.series_max = 2};
    struct head *head;
    cr_assert(head_new(&options, &head) == OK);
    (void)util_series(head, "a=1");
    (void)util_series(head, "a=2");
    uint32_t ref = 99;
    struct err err = {0};
    struct buf canonical = {0};
    util_canonical("a=3", &canonical);
    cr_expect(head_series_new(head, (series_id){1, 1}, 0, buf_sv(&canonical), &ref, &err) ==
                  ERR_LIMIT &&
              ref == 99);
    cr_expect(strcmp(err.msg, "head: limit of 2 series reached") == 0, "%s", err.msg);
    buf_fini(&canonical);
    head_free(head);
}

/* Ids that share their low half are told apart. */
Test(head, ids_are_compared_whole) {
    struct head *head = util_head(0);
    struct buf canonical = {0};
    uint32_t refs[40];
    for (uint64_t i = 0; i < 40; i++) {
        char spec[16];
        snprintf(spec, sizeof spec, "a=%d", (int)i);
        util_canonical(spec, &canonical);
        cr_assert(head_series_new(head, (series_id){i, 5}, 0, buf_sv(&canonical), &refs[i], NULL) ==
                  OK);
    }
    for (uint64_t i = 0; i < 40; i++)
        cr_expect(head_find(head, (series_id){i, 5}) == refs[i]);
    cr_expect(head_find(head, (series_id){40, 5}) == HEAD_NONE);
    head_prefetch(head, (series_id){40, 5});
    buf_fini(&canonical);
    head_free(head);
}

static bool visit(void *ctx, uint32_t ref) {
    uint32_t *next = ctx;
    cr_assert(ref == *next);
    return ++*next < 5;
}

Test(head, each_series_stops_when_told) {
    struct head *head = util_head(0);
    for (int i = 0; i < 10; i++) {
        char spec[16];
        snprintf(spec, sizeof spec, "a=%d", i);
        (void)util_series(head, spec);
    }
    uint32_t next = 0;
    head_each_series(head, visit, &next);
    cr_expect(next == 5);
    head_free(head);
}

Test(head, a_selection_keeps_one_copy_of_late_samples_not_one_a_sample) {
    enum { ROWS = 2000 };
    struct head *head = util_head(30 * MINUTE);
    uint32_t ref = util_series(head, "__name__=up");
    cr_assert(head_append(head, ref, T0, 0) == OK);
    cr_assert(head_append(head, ref, T0 - 1, 1) == OK);
    struct head_stats before, held, after;
    head_stats(head, &before);
    struct select_query query = util_query(NULL, 0);
    struct selection *sel = util_select(head, &query);
    for (int i = 2; i < ROWS; i++)
        cr_assert(head_append(head, ref, T0 - i, i) == OK);
    head_stats(head, &held);
    cr_expect(held.memory_bytes - before.memory_bytes < ROWS * 16 * 2, "%zu",
              (size_t)(held.memory_bytes - before.memory_bytes));
    size_t count;
    struct samples s = {0};
    cr_assert(series_view_read(selection_series(sel, &count), INT64_MIN, INT64_MAX, &s, NULL) ==
              OK);
    cr_expect(s.count == 2 && s.times_ms[0] == T0 - 1 && s.values[0] == 1);
    selection_release(sel);
    head_stats(head, &after);
    cr_expect(after.memory_bytes < held.memory_bytes, "what was replaced is freed");
    samples_fini(&s);
    s = all_samples(head, ref, INT64_MIN, INT64_MAX);
    cr_expect(s.count == ROWS && s.values[0] == ROWS - 1 && s.values[ROWS - 1] == 0);
    samples_fini(&s);
    head_free(head);
}

/* A hundred series a target, scraped at times of its own that are late by some ms; values differ.
 * One begins late and one misses a scrape: they fall in with the others at the next end. */
Test(head, series_of_a_target_share_their_times) {
    enum { TARGETS = 4, EACH = 100, SCRAPES = 1200, STEP_MS = 15000 };
    struct head *head = util_head(0);
    uint32_t refs[TARGETS][EACH];
    uint64_t seals_together = 0, seals_before = 0, seals = 0;
    for (int target = 0; target < TARGETS; target++)
        for (int i = 0; i < EACH; i++) {
            char spec[64];
            snprintf(spec, sizeof spec, "__name__=m%d,instance=h%d,job=node", i, target);
            refs[target][i] = util_series(head, spec);
        }
    for (int k = 0; k < SCRAPES; k++) {
        for (int target = 0; target < TARGETS; target++) {
            int64_t t = T0 + k * (int64_t)STEP_MS + target * 3700 + k * 7919 % 11;
            for (int i = 0; i < EACH; i++) {
                if ((i == 0 && k < 50) || (i == 1 && k == 50)) continue;
                cr_assert(head_append(head, refs[target][i], t, (i + 1) * k % 1009) == OK);
            }
        }
        struct head_stats stats;
        head_stats(head, &stats);
        seals = stats.chunks - seals_before;
        seals_before = stats.chunks;
        if (k > 50) seals_together = MAX(seals_together, seals);
    }
    struct head_stats stats;
    head_stats(head, &stats);
    size_t chunks = stats.chunks / (TARGETS * EACH);
    cr_expect(chunks == SCRAPES / 120 || chunks == SCRAPES / 120 + 1, "%zu chunks", chunks);
    cr_expect(stats.time_columns <= TARGETS * (chunks + 4), "%zu columns",
              (size_t)stats.time_columns);
    cr_expect(seals_together < 2 * EACH, "%zu seals in one scrape", (size_t)seals_together);
    for (int target = 0; target < TARGETS; target++)
        for (int i = 0; i < EACH; i += 33) {
            struct samples s = all_samples(head, refs[target][i], INT64_MIN, INT64_MAX);
            cr_assert(s.count == (size_t)(i == 0 ? SCRAPES - 50 : SCRAPES));
            for (size_t n = 0; n < s.count; n++) {
                int64_t k = (int64_t)n + (i == 0 ? 50 : 0);
                int64_t t = T0 + k * STEP_MS + target * 3700 + k * 7919 % 11;
                cr_assert(s.times_ms[n] == t && s.values[n] == (double)((i + 1) * k % 1009));
            }
            samples_fini(&s);
        }
    head_free(head);
}

/* Values that stay, with times that jitter, then another value: as one value or not, all come back.
 */
Test(head, constant_series_take_little_and_come_back) {
    struct head *head = util_head(0);
    uint32_t ref = util_series(head, "__name__=up,job=a,instance=b");
    for (int k = 0; k < 2000; k++) {
        int64_t t = T0 + k * 15000LL + k % 3;
        cr_assert(head_append(head, ref, t, k < 1500 ? 7 : k < 1501 ? -0.0 : 0.0) == OK);
    }
    struct head_stats stats;
    head_stats(head, &stats);
    cr_expect(stats.chunks <= 7, "%zu chunks", (size_t)stats.chunks);
    for (int from = -1; from < 2000; from += 37) {
        struct samples s = all_samples(head, ref, T0 + from * 15000LL + 5, T0 + 1600 * 15000LL);
        size_t want = from < 1600 ? (size_t)(1600 - from - (1600 % 3 != 0)) : 0;
        cr_assert(s.count == want, "%zu, not %zu", s.count, want);
        for (size_t i = 0; i < s.count; i++) {
            int k = from + 1 + (int)i;
            cr_assert(s.times_ms[i] == T0 + k * 15000LL + k % 3);
            cr_assert(f64_bits(s.values[i]) == f64_bits(k < 1500 ? 7 : k < 1501 ? -0.0 : 0.0));
        }
        samples_fini(&s);
    }
    head_free(head);
}

/* The other series of the target shows where chunks end. */
Test(head, chunks_of_different_constants_stay_apart) {
    struct head *head = util_head(0);
    uint32_t guide = util_series(head, "__name__=guide,job=a,instance=b");
    uint32_t ref = util_series(head, "__name__=up,job=a,instance=b");
    static double want[2000];
    uint64_t chunks = 0;
    double value = 1;
    for (int k = 0; k < 2000; k++) {
        int64_t t = T0 + k * 15000LL + k % 3;
        struct head_stats stats;
        cr_assert(head_append(head, guide, t, k) == OK);
        head_stats(head, &stats);
        if (k > 0 && stats.chunks > chunks) value = value == 1 ? 2 : value == 2 ? -0.0 : 1;
        want[k] = value;
        cr_assert(head_append(head, ref, t, value) == OK);
        head_stats(head, &stats);
        chunks = stats.chunks;
    }
    cr_expect(chunks > 20, "%zu chunks", (size_t)chunks);
    struct samples s = all_samples(head, ref, INT64_MIN, INT64_MAX);
    cr_assert(s.count == 2000);
    for (size_t i = 0; i < s.count; i++)
        cr_assert(f64_bits(s.values[i]) == f64_bits(want[i]), "row %zu", i);
    samples_fini(&s);
    head_free(head);
}

static enum status allowed(struct head *head, const char *spec, struct err *err) {
    struct buf canonical = {0};
    util_canonical(spec, &canonical);
    enum status status = head_series_allowed(head, buf_sv(&canonical), err);
    buf_fini(&canonical);
    return status;
}

static void expect_limit(struct head *head, const char *spec, const char *want) {
    struct err err = {0};
    cr_expect(allowed(head, spec, &err) == ERR_LIMIT, "%s", spec);
    cr_expect(strcmp(err.msg, want) == 0, "%s: %s", spec, err.msg);
}

Test(head, limits_by_name_and_by_label_value) {
    char name[] = "__name__", team[] = "team", red[] = "red";
    const struct head_limit limits[] = {
        {sv_from(name), SV(""), 2}, {sv_from(team), sv_from(red), 3}, {sv_from(team), SV(""), 4}};
    struct head_options options = {
        .secret = UTIL_SECRET, .series_max = 9, .limits = limits, .limits_count = 3};
    struct head *head;
    cr_assert(head_new(&options, &head) == OK);
    memset(name, 'x', sizeof name); /* they were copied */
    memset(team, 'x', sizeof team);
    memset(red, 'x', sizeof red);
    cr_expect(allowed(head, "__name__=a,id=1", NULL) == OK);
    uint32_t a1 = util_series(head, "__name__=a,id=1,team=red");
    util_series(head, "__name__=a,id=2,team=red");
    expect_limit(head, "__name__=a,id=3", "limit of 2 series of the metric name \"a\" reached");
    cr_expect(allowed(head, "__name__=b,team=red", NULL) == OK);
    util_series(head, "__name__=b,team=red");
    expect_limit(head, "__name__=c,team=red",
                 "limit of 3 series with the label team=\"red\" reached");
    for (int i = 0; i < 4; i++) {
        char spec[64];
        snprintf(spec, sizeof spec, "__name__=n%d,team=blue", i);
        cr_expect(allowed(head, spec, NULL) == OK, "%s", spec);
        util_series(head, spec);
    }
    expect_limit(head, "__name__=c,team=blue",
                 "limit of 4 series with the label team=\"blue\" reached");
    cr_expect(allowed(head, "__name__=c,team=green", NULL) == OK);
    /* known series go on, and what was decided elsewhere is made */
    cr_expect(head_append(head, a1, T0, 1) == OK);
    util_series(head, "__name__=a,id=3,team=red");
    util_series(head, "__name__=d");
    expect_limit(head, "__name__=e", "head: limit of 9 series reached");
    head_free(head);
}

Test(head, limits_are_shared_by_heads_in_equal_parts) {
    const struct head_limit limits[] = {{SV("__name__"), SV(""), 7}, {SV("team"), SV("x"), 0}};
    struct head_options options = {
        .secret = UTIL_SECRET, .limits = limits, .limits_count = 2, .limits_shares = 3};
    struct head *head;
    cr_assert(head_new(&options, &head) == OK);
    cr_expect(head_limit_share(head, 7) == 3 && head_limit_share(head, 6) == 2 &&
              head_limit_share(head, 0) == 0 &&
              head_limit_share(head, UINT64_MAX) == UINT64_MAX / 3);
    util_series(head, "__name__=a,id=1");
    util_series(head, "__name__=a,id=2");
    cr_expect(allowed(head, "__name__=a,id=3", NULL) == OK);
    util_series(head, "__name__=a,id=3");
    expect_limit(head, "__name__=a,id=4",
                 "limit of 7 series of the metric name \"a\" reached (3 on each of 3 cores)");
    expect_limit(head, "__name__=b,team=x",
                 "limit of 0 series with the label team=\"x\" reached (0 on each of 3 cores)");
    head_free(head);
}

Test(head, limits_fall_when_series_go) {
    const struct head_limit limits[] = {{SV("__name__"), SV(""), 2}};
    struct head_options options = {
        .secret = UTIL_SECRET, .limits = limits, .limits_count = 1, .shards_count = UTIL_SHARDS};
    struct head *head;
    cr_assert(head_new(&options, &head) == OK);
    uint32_t a1 = util_series(head, "__name__=a,id=1"), a2 = util_series(head, "__name__=a,id=2");
    cr_assert(head_append(head, a1, T0, 1) == OK && head_append(head, a2, T0 + 1, 1) == OK);
    cr_expect(allowed(head, "__name__=a,id=3", NULL) == ERR_LIMIT);
    struct select_query query = util_query(NULL, 0);
    struct selection *sel = util_select(head, &query); /* what it sees does not count */
    for (uint32_t shard = 0; shard < UTIL_SHARDS; shard++)
        head_shard_set_from(head, shard, T0 + 1);
    cr_assert(head_trim(head, 0));
    cr_expect(allowed(head, "__name__=a,id=3", NULL) == OK);
    util_series(head, "__name__=a,id=3");
    cr_expect(allowed(head, "__name__=a,id=1", NULL) == ERR_LIMIT);
    selection_release(sel);
    head_shard_drop(head, head_series_shard(head, a2));
    cr_expect(allowed(head, "__name__=a,id=1", NULL) == OK);
    cr_assert(head_set_limits(head, NULL, 0) == OK);
    util_series(head, "__name__=a,id=4");
    util_series(head, "__name__=a,id=5");
    cr_expect(allowed(head, "__name__=a,id=6", NULL) == OK);
    const struct head_limit none = {SV("id"), SV("bad"), 0};
    cr_assert(head_set_limits(head, &none, 1) == OK);
    expect_limit(head, "__name__=b,id=bad", "limit of 0 series with the label id=\"bad\" reached");
    cr_expect(allowed(head, "__name__=b,id=good", NULL) == OK);
    head_free(head);
}

/* Targets with eight labels of their own, some left out, whose series have names before, between
 * and behind them; targets take turns, and half of the series goes in between. */
static void shared_spec(int target, int i, char *out, size_t max) {
    int n = snprintf(out, max, "__name__=m%d,a=1,c=cluster,e=t%d", i % 20, target);
    if (i % 7 != 0) n += snprintf(out + n, max - (size_t)n, ",f=own%d", i);
    if (i % 3 != 0) n += snprintf(out + n, max - (size_t)n, ",g=zone%d", target % 3);
    n += snprintf(out + n, max - (size_t)n, ",h=%d,i=host%d,job=j,k=x", target % 5, target);
    if (i % 2 != 0) n += snprintf(out + n, max - (size_t)n, ",le=%d", i % 9);
    MUST(n > 0 && (size_t)n < max);
}

Test(head, labels_that_series_share_come_back) {
    enum { TARGETS = 12, EACH = 60 };
    struct head *head = util_head(0);
    struct buf want = {0}, got = {0};
    char spec[256];
    for (int round = 0; round < 3; round++) {
        for (int n = 0; n < TARGETS * EACH; n++) {
            int target = n / 5 % TARGETS, i = n / (5 * TARGETS) * 5 + n % 5;
            shared_spec(target, i, spec, sizeof spec);
            cr_assert(head_append(head, util_series(head, spec), T0 + round, target) == OK);
        }
        struct head_stats stats;
        head_stats(head, &stats);
        cr_assert(stats.series == TARGETS * EACH);
        struct select_query query = util_query(NULL, 0);
        struct selection *sel = util_select(head, &query);
        for (uint32_t shard = 0; shard < UTIL_SHARDS; shard += 2)
            head_shard_drop(head, shard); /* what was selected is read all the same */
        size_t count;
        const struct series_view *views = selection_series(sel, &count);
        cr_assert(count == TARGETS * EACH);
        for (size_t v = 0; v < count; v++) {
            struct label labels[16];
            buf_clear(&got);
            size_t labels_count = series_view_labels(&views[v], labels, 16);
            cr_assert(labels_encode(labels, labels_count, &got, NULL) == OK);
            cr_assert(series_id_eq(views[v].id, series_id_of(UTIL_SECRET, 0, buf_sv(&got))));
        }
        selection_release(sel);
        for (int n = 0; n < TARGETS * EACH; n++) {
            shared_spec(n % TARGETS, n / TARGETS, spec, sizeof spec);
            util_canonical(spec, &want);
            series_id id = series_id_of(UTIL_SECRET, 0, buf_sv(&want));
            uint32_t ref = head_find(head, id);
            cr_assert((ref == HEAD_NONE) == (series_shard(id, UTIL_SHARDS) % 2 == 0));
            if (ref == HEAD_NONE) continue;
            buf_clear(&got);
            head_series_labels(head, ref, &got);
            cr_assert(sv_eq(buf_sv(&want), buf_sv(&got)), "%s", spec);
        }
    }
    buf_fini(&want);
    buf_fini(&got);
    head_free(head);
}
