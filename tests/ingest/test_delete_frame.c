/* SPDX-License-Identifier: Apache-2.0 */
#include <criterion/criterion.h>

#include "ingest/delete_frame.h"
#include "node/base/bytes.h"
#include "storage/entry.h"

static struct arena arena;
static struct err err;

static void setup(void) {
    arena_init(&arena, 0);
}
static void teardown(void) {
    arena_fini(&arena);
}
TestSuite(delete_frame, .init = setup, .fini = teardown);

/* a="x" */
static const char matchers[] = "\x01\x00\x01"
                               "a\x01x";
#define MATCHERS sv_make(matchers, sizeof matchers - 1)

/* By hand, from the header's description. 300 is the varint ac 02; zigzag of -2 is 3, of 64: 80 01.
 */
static const char golden[] = "\x01\x00"         /* version, tenant */
                             "\x02"             /* ranges */
                             "\x03\x80\x01"     /* -2 to 64 */
                             "\x06\x01\x00\x01" /* six bytes of matchers: one, =, */
                             "a\x01x"           /* name and value */
                             "\x00\x00"         /* 0 to 0 */
                             "\x06\x01\x00\x01"
                             "a\x01x"
                             "\x03\x00\x05\xac\x02"; /* shards 0, 5, 305 */
#define GOLDEN sv_make(golden, sizeof golden - 1)

Test(delete_frame, bytes_are_those_of_the_description) {
    struct delete_range ranges[2] = {{-2, 64, MATCHERS}, {0, 0, MATCHERS}};
    uint32_t shards[] = {0, 5, 305};
    struct delete_frame frame = {ranges, 2, shards, 3}, got;
    struct buf b = {0};
    delete_frame_put(&frame, &b);
    cr_assert(sv_eq(buf_sv(&b), GOLDEN));
    cr_assert(delete_frame_get(buf_sv(&b), &arena, &got, &err) == OK, "%s", err.msg);
    cr_assert(got.ranges_count == 2 && got.ranges[0].min_ms == -2 && got.ranges[0].max_ms == 64);
    cr_assert(sv_eq(got.ranges[0].matchers, MATCHERS) && got.ranges[1].max_ms == 0);
    cr_assert(got.shards_count == 3 && memcmp(got.shards, shards, sizeof shards) == 0);
    buf_fini(&b);
}

Test(delete_frame, what_is_cut_off_or_goes_on_is_refused) {
    struct delete_frame got;
    for (size_t len = 0; len < GOLDEN.len; len++)
        cr_assert(delete_frame_get(sv_take(GOLDEN, len), &arena, &got, &err) == ERR_CORRUPT, "%zu",
                  len);
    struct buf b = {0};
    buf_put_sv(&b, GOLDEN);
    buf_put_u8(&b, 0);
    cr_assert(delete_frame_get(buf_sv(&b), &arena, &got, &err) == ERR_CORRUPT);
    b.ptr[0] = 2;
    cr_assert(delete_frame_get(buf_sv(&b), &arena, &got, &err) == ERR_UNSUPPORTED);
    b.ptr[0] = 1;
    b.ptr[1] = 7;
    cr_assert(delete_frame_get(buf_sv(&b), &arena, &got, &err) == ERR_UNSUPPORTED);
    cr_assert(strstr(err.msg, "tenant 7") != NULL, "%s", err.msg);
    buf_fini(&b);
}

static enum status get_with(const struct delete_range *ranges, size_t ranges_count,
                            const uint32_t *shards, size_t shards_count) {
    struct delete_frame frame = {ranges, ranges_count, shards, shards_count}, got;
    struct buf b = {0};
    delete_frame_put(&frame, &b);
    enum status status = delete_frame_get(buf_sv(&b), &arena, &got, &err);
    buf_fini(&b);
    return status;
}

Test(delete_frame, only_what_the_store_takes_comes_through) {
    struct delete_range ranges[DELETE_RANGES_MAX + 1];
    uint32_t shards[] = {1, 2};
    for (size_t i = 0; i < ARRAY_LEN(ranges); i++)
        ranges[i] = (struct delete_range){0, 1, MATCHERS};
    cr_assert_eq(get_with(ranges, DELETE_RANGES_MAX, shards, 2), OK, "%s", err.msg);
    cr_assert_eq(get_with(ranges, DELETE_RANGES_MAX + 1, shards, 2), ERR_LIMIT);
    cr_assert_eq(get_with(ranges, 0, shards, 2), ERR_CORRUPT);
    cr_assert_eq(get_with(ranges, 1, shards, 0), ERR_CORRUPT);
    cr_assert_eq(get_with(ranges, 1, (uint32_t[]){2, 2}, 2), ERR_CORRUPT); /* not ascending */
    ranges[0].matchers = SV("\x00");
    cr_assert_eq(get_with(ranges, 1, shards, 2), ERR_CORRUPT); /* none */
    ranges[0].matchers = SV("\x01\x02\x01"
                            "a\x01(");
    cr_assert_eq(get_with(ranges, 1, shards, 2), ERR_CORRUPT); /* a =~ ( */

    struct buf b = {0};
    char *value = malloc(DELETE_BYTES_MAX);
    memset(value, 'x', DELETE_BYTES_MAX);
    struct matcher m = {.kind = MATCH_EQ, .name = SV("a"), .value = {value, DELETE_BYTES_MAX - 6}};
    entry_matchers_put(&m, 1, &b);
    ranges[0].matchers = buf_sv(&b);
    cr_assert_eq(b.len, DELETE_BYTES_MAX + 1); /* 1 + 1 + 1 + 1 + 3, and the value */
    cr_assert_eq(get_with(ranges, 1, shards, 2), ERR_LIMIT);
    buf_clear(&b);
    m.value.len--;
    entry_matchers_put(&m, 1, &b);
    ranges[0].matchers = buf_sv(&b);
    cr_assert_eq(get_with(ranges, 1, shards, 2), OK, "%s", err.msg);
    free(value);
    buf_fini(&b);
}

Test(delete_frame, a_reply_names_the_shards_that_failed_and_why) {
    uint32_t failed[] = {3, 4, 400};
    struct delete_reply reply = {failed, 3, ERR_CONFLICT, "not open"}, got;
    struct buf b = {0};
    delete_reply_put(&reply, &b);
    char want[] = "\x01\x03\x03\x01\x8c\x03?\x08not open"; /* 396 is 8c 03 */
    want[6] = ERR_CONFLICT;
    cr_assert(sv_eq(buf_sv(&b), sv_make(want, sizeof want - 1)));
    cr_assert(delete_reply_get(buf_sv(&b), &arena, &got, &err) == OK, "%s", err.msg);
    cr_assert(got.failed_count == 3 && memcmp(got.failed, failed, sizeof failed) == 0);
    cr_assert(got.status == ERR_CONFLICT && strcmp(got.text, "not open") == 0);
    for (size_t len = 0; len < b.len; len++)
        cr_assert(delete_reply_get(sv_take(buf_sv(&b), len), &arena, &got, &err) == ERR_CORRUPT);
    b.ptr[6] = OK;
    cr_assert_eq(delete_reply_get(buf_sv(&b), &arena, &got, &err), ERR_CORRUPT);
    buf_clear(&b);
    delete_reply_put(&(struct delete_reply){.status = OK}, &b);
    cr_assert(sv_eq(buf_sv(&b), sv_make("\x01\x00", 2)));
    cr_assert(delete_reply_get(buf_sv(&b), &arena, &got, &err) == OK && got.failed_count == 0);
    buf_fini(&b);
}
