/* SPDX-License-Identifier: Apache-2.0 */
/* Frames: see writer.c for their bytes. */
#include <assert.h>
#include <inttypes.h>
#include <stdlib.h>
#include <zstd.h>
#include <zstd_errors.h>

#include "node/base/hash.h"
#include "storage/block/internal.h"

enum { PENDING_BYTES = 256 << 10 };

enum status u64s_put(struct u64s *a, uint64_t v) {
    if (a->count == a->cap) {
        size_t cap = a->cap == 0 ? 16 : a->cap + a->cap / 2;
        uint64_t *at = realloc(a->at, cap * sizeof *at);
        if (at == NULL) return ERR_NOMEM;
        a->at = at;
        a->cap = cap;
    }
    a->at[a->count++] = v;
    return OK;
}

void u64s_fini(struct u64s *a) {
    free(a->at);
    *a = (struct u64s){0};
}

uint64_t frame_hash(const uint8_t *frame, size_t bytes, uint64_t offset) {
#ifdef PLANT_BLOCK_CHECKSUM_SHORT
    bytes = 8 + FRAME_HEADER_BYTES / 2 + (bytes - FRAME_HEADER_BYTES) / 2;
#endif
    return hash64(frame + 8, bytes - 8, offset);
}

bool frame_header_get(const uint8_t *p, struct frame_header *out) {
    *out = (struct frame_header){get_u64le(p), get_u32le(p + 8), get_u32le(p + 12)};
    return out->stored > 0 && out->stored <= out->raw && out->raw <= FRAME_RAW_MAX &&
           out->stored <= FRAME_BYTES_MAX - FRAME_HEADER_BYTES;
}

static enum status frames_nomem(struct err *err) {
    return err_set(err, ERR_NOMEM, 0, "block: out of memory");
}

enum status frames_flush(struct frames_out *o, struct err *err) {
    if (o->pending.failed) return frames_nomem(err);
    if (o->pending.len == 0) return OK;
    TRY(file_pwrite(o->file, o->pending.ptr, o->pending.len, o->offset - o->pending.len, err));
    buf_clear(&o->pending);
    return OK;
}

/* The payload as it is stored: packed where that is shorter. */
static enum status frame_pack(struct frames_out *o, struct sv raw, struct sv *out,
                              struct err *err) {
    if (o->zstd == NULL && (o->zstd = ZSTD_createCCtx()) == NULL) return frames_nomem(err);
    size_t bound = ZSTD_compressBound(raw.len);
    buf_clear(&o->packed);
    char *to = buf_extend(&o->packed, bound);
    if (to == NULL) return frames_nomem(err);
    size_t len = ZSTD_compressCCtx(o->zstd, to, bound, raw.ptr, raw.len, o->zstd_level);
    if (ZSTD_isError(len) && ZSTD_getErrorCode(len) == ZSTD_error_memory_allocation)
        return frames_nomem(err);
    *out = !ZSTD_isError(len) && len < raw.len ? (struct sv){to, len} : raw;
    return OK;
}

enum status frames_put(struct frames_out *o, struct sv raw, uint64_t *out_ref, struct err *err) {
    assert(raw.len > 0);
    struct sv stored = {0};
    if (raw.len > FRAME_RAW_MAX)
        return err_set(err, ERR_LIMIT, 0, "block: a frame of %zu bytes", raw.len);
    TRY(frame_pack(o, raw, &stored, err));
    size_t bytes = FRAME_HEADER_BYTES + stored.len;
    if (bytes > FRAME_BYTES_MAX || o->offset + bytes > BLOCK_FILE_BYTES_MAX)
        return err_set(err, ERR_LIMIT, 0, "block: a frame of %zu bytes at %" PRIu64, bytes,
                       o->offset);
    if (o->pending.len + bytes > PENDING_BYTES) TRY(frames_flush(o, err));
    uint8_t *p = (uint8_t *)buf_extend(&o->pending, bytes);
    if (p == NULL) return frames_nomem(err);
    put_u32le(p + 8, (uint32_t)stored.len);
    put_u32le(p + 12, (uint32_t)raw.len);
    memcpy(p + FRAME_HEADER_BYTES, stored.ptr, stored.len);
    put_u64le(p, frame_hash(p, bytes, o->offset));
    *out_ref = ref_make(o->offset, bytes);
    o->offset += bytes;
    return OK;
}

void frames_in_fini(struct frames_in *in) {
    ZSTD_freeDCtx(in->zstd);
    buf_fini(&in->packed);
}

static enum status frame_corrupt(const struct frames_in *in, uint64_t ref, const char *what,
                                 struct err *err) {
    return err_set(err, ERR_CORRUPT, 0, "block %s: bad frame of %zu bytes at %" PRIu64 ": %s",
                   in->path, ref_bytes(ref), ref_offset(ref), what);
}

static enum status frame_unpack(struct frames_in *in, uint64_t ref, const struct frame_header *h,
                                char *to, struct err *err) {
    const char *from = in->packed.ptr + FRAME_HEADER_BYTES;
    if (h->stored == h->raw) {
        memcpy(to, from, h->raw);
        return OK;
    }
    if (in->zstd == NULL && (in->zstd = ZSTD_createDCtx()) == NULL) return frames_nomem(err);
    size_t len = ZSTD_decompressDCtx(in->zstd, to, h->raw, from, h->stored);
    if (len == h->raw) return OK;
    if (ZSTD_isError(len) && ZSTD_getErrorCode(len) == ZSTD_error_memory_allocation)
        return frames_nomem(err);
    return frame_corrupt(in, ref, "it does not unpack", err);
}

enum status frames_get(struct frames_in *in, uint64_t ref, struct buf *out, struct err *err) {
    size_t bytes = ref_bytes(ref), got;
    struct frame_header h;
    if (bytes <= FRAME_HEADER_BYTES) return frame_corrupt(in, ref, "too short", err);
    buf_clear(&in->packed);
    char *p = buf_extend(&in->packed, bytes);
    if (p == NULL) return frames_nomem(err);
    TRY(file_pread(in->file, p, bytes, ref_offset(ref), &got, err));
    if (got < bytes) return frame_corrupt(in, ref, "the file ends in it", err);
    if (!frame_header_get((uint8_t *)p, &h) || h.stored != bytes - FRAME_HEADER_BYTES)
        return frame_corrupt(in, ref, "its header", err);
    if (h.hash != frame_hash((uint8_t *)p, bytes, ref_offset(ref)))
        return frame_corrupt(in, ref, "its checksum", err);
    buf_clear(out);
    char *to = buf_extend(out, h.raw);
    if (to == NULL) return frames_nomem(err);
    return frame_unpack(in, ref, &h, to, err);
}
