/* SPDX-License-Identifier: Apache-2.0 */
#include <criterion/criterion.h>

#include "storage/entry.h"

/* By hand from the format at the top of storage/entry.h. */
static const uint8_t golden[] = {0x13, 0x90, 0x03,                        /* -10 to 200 */
                                 2,    0,    3,    'j', 'o', 'b', 1, 'a', /* job="a" */
                                 3,    1,    'x',  2,   '.', '*'};        /* x!~".*" */

Test(entry_delete, golden) {
    struct buf matchers = {0}, body = {0};
    struct matcher m[] = {{.kind = MATCH_EQ, .name = SV("job"), .value = SV("a")},
                          {.kind = MATCH_NRE, .name = SV("x"), .value = SV(".*")}};
    entry_matchers_put(m, 2, &matchers);
    entry_delete_put(
        &(struct entry_delete){.min_ms = -10, .max_ms = 200, .matchers_bytes = buf_sv(&matchers)},
        &body);
    cr_assert_eq(body.len, sizeof golden, "%zu bytes", body.len);
    cr_assert_arr_eq(body.ptr, golden, sizeof golden);
    struct arena arena;
    struct entry_delete d;
    struct err err;
    arena_init(&arena, 0);
    cr_assert_eq(entry_delete_get(buf_sv(&body), &arena, &d, &err), OK, "%s", err.msg);
    cr_assert_eq(d.min_ms, -10);
    cr_assert_eq(d.max_ms, 200);
    cr_assert_eq(d.matchers_count, 2);
    cr_assert(matcher_match(&d.matchers[0], SV("a")) && !matcher_match(&d.matchers[0], SV("b")));
    cr_assert_not(matcher_match(&d.matchers[1], SV("a")));
    entry_delete_fini(&d);
    arena_fini(&arena);
    buf_fini(&matchers);
    buf_fini(&body);
}

Test(entry_delete, every_cut_and_every_byte) {
    struct arena arena;
    struct entry_delete d;
    struct err err;
    arena_init(&arena, 0);
    for (size_t len = 0; len < sizeof golden; len++)
        cr_assert_eq(entry_delete_get(sv_make((const char *)golden, len), &arena, &d, &err),
                     ERR_CORRUPT, "length %zu", len);
    for (size_t at = 0; at < sizeof golden; at++)
        for (unsigned v = 0; v < 256; v++) {
            uint8_t bytes[sizeof golden];
            for (size_t i = 0; i < sizeof golden; i++)
                bytes[i] = i == at ? (uint8_t)v : golden[i];
            enum status status =
                entry_delete_get(sv_make((const char *)bytes, sizeof bytes), &arena, &d, &err);
            cr_assert(status == OK || status == ERR_CORRUPT);
            if (status == OK) entry_delete_fini(&d);
        }
    arena_fini(&arena);
}

Test(entry_delete, ranges_and_matchers_that_make_no_sense) {
    struct arena arena;
    struct entry_delete d;
    struct err err;
    arena_init(&arena, 0);
    const uint8_t backwards[] = {2, 0, 1, 0, 1, 'a', 0}, none[] = {0, 0, 0},
                  bad_regex[] = {0, 0, 1, 2, 1, 'a', 1, '('};
    const struct sv bad[] = {sv_make((const char *)backwards, sizeof backwards),
                             sv_make((const char *)none, sizeof none),
                             sv_make((const char *)bad_regex, sizeof bad_regex)};
    for (size_t i = 0; i < ARRAY_LEN(bad); i++)
        cr_assert_eq(entry_delete_get(bad[i], &arena, &d, &err), ERR_CORRUPT, "%zu", i);
    arena_fini(&arena);
}

Test(entry_floor, golden) {
    struct buf body = {0};
    struct err err;
    int64_t back;
    struct ended ended, none = {0};
    entry_floor_put(-3, &none, &body);
    cr_assert_eq(body.len, 1);
    cr_assert_eq(body.ptr[0], 5);
    cr_assert_eq(entry_floor_get(buf_sv(&body), &back, &ended, &err), OK);
    cr_assert_eq(back, -3);
    cr_assert(!ended_any(&ended), "as it was before resolutions had floors");
    cr_assert_eq(entry_floor_get(sv_make("\5\5", 2), &back, &ended, &err), ERR_CORRUPT);
    cr_assert_eq(entry_floor_get(sv_make("", 0), &back, &ended, &err), ERR_CORRUPT);
    buf_fini(&body);
}

Test(entry_floor, golden_by_resolution) {
    /* samples until 300 h, rows of 5 m until 2 h */
    static const uint8_t bytes[] = {5, 1, 0xac, 2, 2};
    static const char *const bad[] = {"\5\1", "\5\1\3", "\5\1\3\4", "\5\2\3\2", "\5\1\3\2\1"};
    struct ended in = {300 * (int64_t)3600000, 2 * 3600000}, out;
    struct buf body = {0};
    struct err err;
    int64_t back;
    entry_floor_put(-3, &in, &body);
    cr_assert_eq(body.len, sizeof bytes);
    cr_assert_arr_eq(body.ptr, bytes, sizeof bytes);
    cr_assert_eq(entry_floor_get(buf_sv(&body), &back, &out, &err), OK);
    cr_assert_eq(back, -3);
    cr_assert_eq(out.raw_ms, in.raw_ms);
    cr_assert_eq(out.fine_ms, in.fine_ms);
    for (size_t i = 0; i < ARRAY_LEN(bad); i++)
        cr_assert_eq(entry_floor_get(sv_from(bad[i]), &back, &out, &err), ERR_CORRUPT, "%zu", i);
    buf_fini(&body);
}

/* Hours around 1970, ends of all time, and what a deletion and a floor take of what has ended. */
Test(ended, whole_hours) {
    const int64_t hour = 3600000;
    struct ended e = {10 * hour, 4 * hour}, none = {0};
    int64_t to, min, max;
    cr_assert_eq(ended_hour_before(hour), hour);
    cr_assert_eq(ended_hour_before(-1), -hour);
    cr_assert_eq(ended_hour_after(1), hour);
    cr_assert_eq(ended_hour_after(-1), 0);
    cr_assert_eq(ended_hour_before(INT64_MIN), INT64_MIN);
    cr_assert_eq(ended_hour_after(INT64_MAX), INT64_MAX);
    cr_assert_eq(ended_resolution(&e, 0, &to), 3600000);
    cr_assert_eq(to, 4 * hour);
    cr_assert_eq(ended_resolution(&e, 4 * hour, &to), 300000);
    cr_assert_eq(to, 10 * hour);
    cr_assert_eq(ended_resolution(&e, 10 * hour, &to), 0);
    cr_assert_eq(to, INT64_MAX);
    cr_assert_eq(ended_resolution(&none, -hour, &to), 0);
    cr_assert_eq(ended_floor(&e, 2 * hour), 2 * hour + 1);
    cr_assert_eq(ended_floor(&e, 2 * hour + 1), 2 * hour + 1);
    cr_assert_eq(ended_floor(&e, 2 * hour + 2), 3 * hour + 1);
    cr_assert_eq(ended_floor(&e, 10 * hour + 2), 10 * hour + 2, "samples are there");
    cr_assert_eq(ended_floor(&none, 7), 7);
    cr_assert_eq(ended_floor(&e, INT64_MIN), INT64_MIN);
    static const struct {
        int64_t min, max, to_min, to_max;
        bool any;
    } cases[] = {
        {1, 3600000, 1, 3600000, true}, /* an hour, to the millisecond */
        {2, 2 * 3600000, 3600001, 2 * 3600000, true},
        {1, 3600000 - 1, 1, 0, false},
        {INT64_MIN, 5 * 3600000 + 7, INT64_MIN, 5 * 3600000, true},
        {9 * 3600000 + 5, 11 * 3600000 + 5, 10 * 3600000 + 1, 11 * 3600000 + 5, true},
        {10 * 3600000 + 5, 11 * 3600000 + 5, 10 * 3600000 + 5, 11 * 3600000 + 5, true},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        min = cases[i].min;
        max = cases[i].max;
        cr_assert_eq(ended_delete(&e, &min, &max), cases[i].any, "%zu", i);
        cr_assert_eq(min, cases[i].to_min, "%zu", i);
        cr_assert_eq(max, cases[i].to_max, "%zu", i);
    }
    min = 5, max = 7;
    cr_assert(ended_delete(&none, &min, &max) && min == 5 && max == 7);
}
