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
    entry_floor_put(-3, &body);
    cr_assert_eq(body.len, 1);
    cr_assert_eq(body.ptr[0], 5);
    cr_assert_eq(entry_floor_get(buf_sv(&body), &back, &err), OK);
    cr_assert_eq(back, -3);
    cr_assert_eq(entry_floor_get(sv_make("\5\5", 2), &back, &err), ERR_CORRUPT);
    cr_assert_eq(entry_floor_get(sv_make("", 0), &back, &err), ERR_CORRUPT);
    buf_fini(&body);
}
