/* SPDX-License-Identifier: Apache-2.0 */
#include "storage/entry.h"

#include <assert.h>
#include <inttypes.h>

#include "node/base/bytes.h"

void entry_put(const struct entry *e, struct buf *out) {
    assert(e->type >= ENTRY_WRITE && e->type <= ENTRY_OFFER);
    assert((e->seq == 0) == (e->type == ENTRY_EPOCH));
    if (!buf_reserve(out, ENTRY_HEADER_BYTES_MAX + e->body.len)) return;
    uint8_t *start = (uint8_t *)out->ptr + out->len, *p = start;
    *p++ = (uint8_t)e->type;
    p += put_varint(p, e->shard);
    p += put_varint(p, e->incarnation);
    p += put_varint(p, e->epoch);
    p += put_varint(p, e->seq);
    p += put_varint(p, e->body.len);
    out->len += (size_t)(p - start);
    buf_put_sv(out, e->body);
}

struct entry_field {
    const char *name;
    uint64_t max;
};

/* Reads a varint of at most f.max; ERR_CORRUPT names the field and its offset. */
static enum status entry_read(struct reader *r, const uint8_t *start, struct entry_field f,
                              uint64_t *out, struct err *err) {
    size_t offset = (size_t)(r->cur - start);
    uint64_t v = read_varint(r);
    if (r->failed) {
        return err_set(err, ERR_CORRUPT, 0, "entry: byte %zu: %s is cut short or no number", offset,
                       f.name);
    }
    if (v > f.max) {
        return err_set(err, ERR_CORRUPT, 0, "entry: byte %zu: %s %" PRIu64 " is beyond %" PRIu64,
                       offset, f.name, v, f.max);
    }
    *out = v;
    return OK;
}

/* Says why entry_next cannot read it. */
static enum status entry_refuse(struct sv bytes, struct err *err) {
    const uint8_t *start = (const uint8_t *)bytes.ptr;
    struct reader r = reader_init(bytes.ptr, bytes.len);
    uint8_t type = read_u8(&r);
    if (r.failed) return err_set(err, ERR_CORRUPT, 0, "entry: byte 0: no entry");
    if (type < ENTRY_WRITE || type > ENTRY_OFFER) {
        return err_set(err, ERR_UNSUPPORTED, 0, "entry: byte 0: type %u is not known to this build",
                       type);
    }
    uint64_t shard, incarnation, epoch, seq, body_len;
    TRY(entry_read(&r, start, (struct entry_field){"shard", UINT32_MAX}, &shard, err));
    TRY(entry_read(&r, start, (struct entry_field){"incarnation", UINT32_MAX}, &incarnation, err));
    TRY(entry_read(&r, start, (struct entry_field){"epoch", UINT32_MAX}, &epoch, err));
    TRY(entry_read(&r, start, (struct entry_field){"seq", UINT64_MAX}, &seq, err));
    TRY(entry_read(&r, start, (struct entry_field){"body length", UINT64_MAX}, &body_len, err));
    if ((seq == 0) != (type == ENTRY_EPOCH)) {
        return err_set(err, ERR_CORRUPT, 0, "entry: type %u with seq %" PRIu64, type, seq);
    }
    return err_set(err, ERR_CORRUPT, 0,
                   "entry: byte %zu: a body of %" PRIu64 " bytes, and %zu are left",
                   (size_t)(r.cur - start), body_len, reader_left(&r));
}

enum status entry_next(struct sv *rest, struct entry *out, struct err *err) {
    struct reader r = reader_init(rest->ptr, rest->len);
    uint8_t type = read_u8(&r);
    uint64_t shard = read_varint(&r), incarnation = read_varint(&r), epoch = read_varint(&r);
    uint64_t seq = read_varint(&r), body_len = read_varint(&r);
    if (r.failed || type < ENTRY_WRITE || type > ENTRY_OFFER ||
        (shard | incarnation | epoch) > UINT32_MAX || (seq == 0) != (type == ENTRY_EPOCH) ||
        body_len > reader_left(&r))
        return entry_refuse(*rest, err);
    *out = (struct entry){.type = (enum entry_type)type,
                          .shard = (uint32_t)shard,
                          .incarnation = (uint32_t)incarnation,
                          .epoch = (uint32_t)epoch,
                          .seq = seq,
                          .body = sv_make(r.cur, (size_t)body_len)};
    *rest = sv_make(r.cur + body_len, reader_left(&r) - (size_t)body_len);
    return OK;
}

void entry_epoch_put(uint32_t previous_epoch, uint64_t last_seq, struct buf *out_body) {
    buf_put_varint(out_body, previous_epoch);
    buf_put_varint(out_body, last_seq);
}

enum status entry_epoch_get(struct sv body, uint32_t *out_previous_epoch, uint64_t *out_last_seq,
                            struct err *err) {
    struct reader r = reader_init(body.ptr, body.len);
    uint64_t epoch = read_varint(&r), seq = read_varint(&r);
    if (r.failed || reader_left(&r) != 0 || epoch > UINT32_MAX) {
        return err_set(err, ERR_CORRUPT, 0, "entry: malformed EPOCH body of %zu bytes", body.len);
    }
    *out_previous_epoch = (uint32_t)epoch;
    *out_last_seq = seq;
    return OK;
}

void entry_cut_put(int64_t from_ms, int64_t to_ms, struct buf *out_body) {
    buf_put_zigzag(out_body, from_ms);
    buf_put_zigzag(out_body, to_ms);
}

enum status entry_cut_get(struct sv body, int64_t *out_from_ms, int64_t *out_to_ms,
                          struct err *err) {
    struct reader r = reader_init(body.ptr, body.len);
    int64_t from_ms = read_zigzag(&r), to_ms = read_zigzag(&r);
    if (r.failed || reader_left(&r) != 0 || from_ms > to_ms) {
        return err_set(err, ERR_CORRUPT, 0, "entry: malformed CUT body of %zu bytes", body.len);
    }
    *out_from_ms = from_ms;
    *out_to_ms = to_ms;
    return OK;
}
