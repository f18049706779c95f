/* SPDX-License-Identifier: Apache-2.0 */
/* The reply to a write between nodes: malformed, or the same when it is written again. */
#include <assert.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "ingest/write_frame.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    struct write_frame_reply reply, again;
    struct err err = {0};
    enum status st = write_frame_reply_get(sv_make(data, size), &reply, &err);
    if (st != OK) {
        assert((st == ERR_CORRUPT || st == ERR_UNSUPPORTED) && err.code == st && err.msg[0] != 0);
        return 0;
    }
    assert(reply.failed_count <= size && reply.unknown_count <= size / 4);
    assert((reply.failed_count == 0) == (reply.failed_status == OK));
    struct buf b = {0};
    write_frame_reply_put(&reply, &b);
    assert(write_frame_reply_get(buf_sv(&b), &again, &err) == OK);
    assert(again.outcome == reply.outcome && again.first_refused == reply.first_refused);
    assert(again.failed_count == reply.failed_count && again.unknown_count == reply.unknown_count);
    assert(memcmp(again.text, reply.text, sizeof reply.text) == 0);
    assert(memcmp(again.failed_text, reply.failed_text, sizeof reply.failed_text) == 0);
    for (size_t i = 0; i < reply.failed_count; i++)
        assert(again.failed[i] == reply.failed[i]);
    buf_fini(&b);
    free(reply.failed);
    free(reply.unknown);
    free(again.failed);
    free(again.unknown);
    return 0;
}
