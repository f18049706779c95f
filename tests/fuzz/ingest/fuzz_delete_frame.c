/* SPDX-License-Identifier: Apache-2.0 */
/* Any bytes as a delete frame and as its reply: no crash; what is accepted is written and read
 * again to the same. */
#include <assert.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "ingest/delete_frame.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check_frame(struct sv payload, struct arena *arena) {
    struct delete_frame frame, again;
    struct err err = {0};
    struct buf b = {0};
    enum status st = delete_frame_get(payload, arena, &frame, &err);
    if (st != OK) {
        assert(err.code == st && err.msg[0] != 0 && st != ERR_NOMEM);
        return;
    }
    delete_frame_put(&frame, &b);
    assert(delete_frame_get(buf_sv(&b), arena, &again, &err) == OK);
    assert(again.shards_count == frame.shards_count && again.ranges_count == frame.ranges_count);
    for (size_t i = 0; i < frame.shards_count; i++)
        assert(again.shards[i] == frame.shards[i]);
    for (size_t i = 0; i < frame.ranges_count; i++) {
        const struct delete_range *x = &frame.ranges[i], *y = &again.ranges[i];
        assert(x->min_ms == y->min_ms && x->max_ms == y->max_ms && sv_eq(x->matchers, y->matchers));
    }
    buf_fini(&b);
}

static void check_reply(struct sv payload, struct arena *arena) {
    struct delete_reply reply, again;
    struct buf b = {0};
    if (delete_reply_get(payload, arena, &reply, NULL) != OK) return;
    assert((reply.failed_count == 0) == (reply.status == OK));
    delete_reply_put(&reply, &b);
    assert(delete_reply_get(buf_sv(&b), arena, &again, NULL) == OK);
    assert(again.failed_count == reply.failed_count && again.status == reply.status);
    for (size_t i = 0; i < reply.failed_count; i++)
        assert(again.failed[i] == reply.failed[i]);
    assert(memcmp(again.text, reply.text, sizeof reply.text) == 0);
    buf_fini(&b);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    struct arena arena;
    arena_init(&arena, 0);
    check_frame(sv_make(data, size), &arena);
    check_reply(sv_make(data, size), &arena);
    arena_fini(&arena);
    return 0;
}
