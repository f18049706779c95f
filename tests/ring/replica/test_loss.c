/* SPDX-License-Identifier: Apache-2.0 */
/* Bytes of FRAME_LOSS, written out by hand. */
#include "ring/replica/loss.h"

#include <criterion/criterion.h>
#include <string.h>

static const struct {
    struct loss_ask ask;
    const char *bytes;
    size_t len;
} asks[] = {
    {{.accept = false, .only = LOSS_ALL}, "\x01\x00\x00", 3},
    {{.accept = false, .only = 0}, "\x01\x00\x01", 3},
    {{.accept = true, .only = 200}, "\x01\x01\xc9\x01", 4},
};

Test(replica_loss, asks) {
    struct loss_ask got;
    for (size_t i = 0; i < ARRAY_LEN(asks); i++) {
        struct buf b = {0};
        loss_ask_put(&asks[i].ask, &b);
        cr_assert(b.len == asks[i].len && memcmp(b.ptr, asks[i].bytes, b.len) == 0, "%zu", i);
        cr_assert(loss_ask_get(sv_skip(buf_sv(&b), 1), &got, NULL) == OK);
        cr_expect(got.accept == asks[i].ask.accept && got.only == asks[i].ask.only);
        for (size_t len = 0; len + 1 < b.len; len++)
            cr_expect(loss_ask_get(sv_make(b.ptr + 1, len), &got, NULL) == ERR_CORRUPT);
        buf_fini(&b);
    }
    cr_expect(loss_ask_get(SV("\x02\x01"), &got, NULL) == ERR_CORRUPT, "other bits");
    cr_expect(loss_ask_get(sv_make("\x01\x00", 2), &got, NULL) == ERR_CORRUPT, "to accept all");
    cr_expect(loss_ask_get(SV("\x01\x01\x07"), &got, NULL) == ERR_CORRUPT, "more bytes");
}

/* One that was given up, one that could not be. */
static const char reply[] = "\xc8\x01\x03\xb0\x09\xd0\x0f\x01"
                            "a"
                            "\x00\x04\x00\x01\x02no";

Test(replica_loss, items) {
    struct loss_item items[] = {
        {200, LOSS_ACCEPTED, {.min_ms = 600, .max_ms = 1000}, SV("a")},
        {0, LOSS_FAILED, {.max_ms = -1}, SV("no")},
    };
    struct buf b = {0};
    for (size_t i = 0; i < ARRAY_LEN(items); i++)
        loss_item_put(&items[i], &b);
    cr_assert(b.len == sizeof reply - 1 && memcmp(b.ptr, reply, b.len) == 0);
    struct sv rest = buf_sv(&b);
    struct loss_item got;
    for (size_t i = 0; i < ARRAY_LEN(items); i++) {
        size_t whole = rest.len;
        struct sv cut = sv_take(rest, 4);
        cr_expect(loss_item_get(&cut, &got, NULL) == ERR_CORRUPT && cut.len == 4);
        cr_assert(loss_item_get(&rest, &got, NULL) == OK && rest.len < whole);
        cr_expect(got.shard == items[i].shard && got.what == items[i].what);
        cr_expect(got.span.min_ms == items[i].span.min_ms);
        cr_expect(got.span.max_ms == items[i].span.max_ms);
        cr_expect(sv_eq(got.text, items[i].text));
    }
    cr_expect(rest.len == 0);
    static const char *const bad[] = {"\x01\x05\x01\x01\x01z", "\x01\x01\x01\x01\x02z"};
    for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
        rest = sv_from(bad[i]);
        cr_expect(loss_item_get(&rest, &got, NULL) == ERR_CORRUPT, "%zu", i);
    }
    buf_fini(&b);
}
