/* SPDX-License-Identifier: Apache-2.0 */
/* Reading the packs of a packed log file (storage/log_pack.h), frame by frame. */
#include <assert.h>

#include "node/base/bytes.h"
#include "node/base/hash.h"
#include "storage/log_internal.h"
#include "storage/log_pack.h"

enum status log_packed_begin(struct log_cursor *c, uint32_t flags, struct err *err) {
    log_packed_end(c);
    if ((flags & LOG_FILE_PACKED) == 0) return OK;
    c->packed = true;
    c->unpack = log_pack_new();
    return c->unpack == NULL ? err_set(err, ERR_NOMEM, 0, "not enough memory to unpack") : OK;
}

void log_packed_end(struct log_cursor *c) {
    log_pack_free(c->unpack);
    c->unpack = NULL;
    c->unpacked = (struct sv){0};
    c->packed = false;
}

enum status log_packed_until(struct log_cursor *c, uint64_t *out, struct err *err) {
    struct log_window *w = &c->window;
    const uint8_t *p;
    *out = 0;
    if (w->file_bytes < LOG_HEADER_BYTES + LOG_FRAME_HEADER_BYTES) return OK;
    TRY(log_window_need(w, w->file_bytes - LOG_FRAME_HEADER_BYTES, LOG_FRAME_HEADER_BYTES, &p,
                        err));
    uint8_t want[LOG_FRAME_HEADER_BYTES];
    log_frame_header_put(LOG_END_MAGIC, get_u64le(p + 8), SV(""), want);
    if (memcmp(p, want, sizeof want) == 0) *out = get_u64le(p + 8);
    return OK;
}

/* The pack at the offset is that of the frame expected, and good. */
static enum status pack_at(struct log_cursor *c, uint64_t offset, struct sv *out, struct err *err) {
    struct log_window *w = &c->window;
    uint64_t left = w->file_bytes - offset, len;
    const uint8_t *p;
    *out = (struct sv){0};
    if (left <= LOG_FRAME_HEADER_BYTES) return OK;
    TRY(log_window_need(w, offset, LOG_FRAME_HEADER_BYTES, &p, err));
    len = LOG_FRAME_HEADER_BYTES + (uint64_t)get_u32le(p + 4);
    if (get_u32le(p) != LOG_PACK_MAGIC || get_u64le(p + 8) != c->expected || len > left) return OK;
    TRY(log_window_need(w, offset, (size_t)len, &p, err));
    if (log_frame_is_good(p, len, LOG_PACK_MAGIC))
        *out = sv_skip(sv_make(p, (size_t)len), LOG_FRAME_HEADER_BYTES);
    return OK;
}

enum status log_packed_next(struct log_cursor *c, uint64_t *offset, struct sv *out,
                            struct err *err) {
    assert(c->packed);
    *out = (struct sv){0};
    if (c->unpack == NULL) return OK; /* a pack before it was bad */
    if (c->unpacked.len == 0) {
        struct sv pack;
        uint32_t frames;
        TRY(pack_at(c, *offset, &pack, err));
        enum status status = ERR_CORRUPT;
        if (pack.ptr != NULL) status = log_unpack(c->unpack, pack, &c->unpacked, &frames, err);
        if (status == ERR_NOMEM) return status;
        if (status != OK) {
            log_pack_free(c->unpack);
            c->unpack = NULL;
            c->unpacked = (struct sv){0};
            return OK;
        }
        *offset += LOG_FRAME_HEADER_BYTES + pack.len;
    }
    uint32_t len = get_u32le(c->unpacked.ptr);
    struct sv rest = sv_skip(c->unpacked, sizeof len);
    *out = sv_take(rest, len);
    c->unpacked = sv_skip(rest, len);
    return OK;
}
