/* SPDX-License-Identifier: Apache-2.0 */
/* Any bytes as a pack of log frames, by what the first one says: 1 as the pack itself, 0 as frames
 * (each behind a byte of its length) that are packed and must come back alike. */
#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "node/base/buf.h"
#include "node/base/bytes.h"
#include "storage/log_pack.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void unpack(struct sv pack) {
    struct log_pack *side = log_pack_new();
    struct sv out;
    uint32_t frames;
    if (side == NULL) abort();
    enum status status = log_unpack(side, pack, &out, &frames, NULL);
    assert(status == OK || status == ERR_CORRUPT);
    if (status == OK) assert(out.len > 4 * (size_t)frames);
    log_pack_free(side);
}

static void pack(struct sv frames) {
    struct log_pack *in = log_pack_new(), *back = log_pack_new();
    struct buf raw = {0};
    if (in == NULL || back == NULL) abort();
    while (frames.len > 1) {
        struct sv frame = sv_take(sv_skip(frames, 1), (uint8_t)frames.ptr[0]);
        frames = sv_skip(frames, 1 + frame.len);
        if (frame.len == 0 || log_pack_add(in, frame, NULL) != OK) break;
        buf_put_u32(&raw, (uint32_t)frame.len);
        buf_put_sv(&raw, frame);
        struct sv got, out;
        uint32_t count;
        if (log_pack_finish(in, &got, NULL) != OK) abort();
        assert(log_unpack(back, got, &out, &count, NULL) == OK && count == 1);
        assert(sv_eq(out, buf_sv(&raw)));
        buf_clear(&raw);
    }
    log_pack_free(in);
    log_pack_free(back);
    buf_fini(&raw);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    if (size < 2) return 0;
    struct sv rest = sv_make(data + 1, size - 1);
    if (data[0] % 2 == 1)
        unpack(rest);
    else
        pack(rest);
    return 0;
}
