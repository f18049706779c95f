/* SPDX-License-Identifier: Apache-2.0 */
/* The reading side of storage/log_pack.h. */
#include <inttypes.h>
#include <stdlib.h>
#include <zstd.h>

#include "storage/entry.h"
#include "storage/log_pack_internal.h"

enum {
    FRAME_BYTES_MIN = 6, /* of a payload */
    STREAMS_SPARE = 64,  /* what is said of an entry is less than thrice the entry, and some */
    FLOATS_FIXED_MAX = ENTRY_HEADER_BYTES_MAX + 1 + 2 * VARINT_BYTES_MAX,
};

struct unpack {
    struct log_pack *p;
    enum pack_format format;
    struct reader streams[PACK_STREAMS_ALL];
    uint64_t bytes; /* of the payloads, together */
    struct err *err;
};

static enum status unpack_bad(struct err *err, const char *what) {
    return err_set(err, ERR_CORRUPT, 0, "log: pack: malformed %s", what);
}

/* -- streams */

/* left: what the streams that are to come may take together. */
static enum status stream_get(struct log_pack *p, struct reader *r, unsigned i, uint64_t *left,
                              struct err *err) {
    struct buf *stream = &p->streams[i];
    uint64_t len = read_varint(r);
    struct sv stored = read_lenstr(r);
    if (r->failed || len > *left || stored.len > len) return unpack_bad(err, "stream");
    *left -= len;
    buf_clear(stream);
    if (!buf_reserve(stream, (size_t)len + 1)) return pack_nomem(err);
    if (stored.len == len) {
        buf_put_sv(stream, stored);
        return OK;
    }
    if (p->decompressor == NULL && (p->decompressor = ZSTD_createDCtx()) == NULL)
        return pack_nomem(err);
    size_t got =
        ZSTD_decompressDCtx(p->decompressor, stream->ptr, (size_t)len, stored.ptr, stored.len);
    if (ZSTD_isError(got) || got != len) return unpack_bad(err, "zstd stream");
    stream->len = (size_t)len;
    return OK;
}

/* -- one entry of floats */

struct unpacked {
    struct pack_place *place;
    uint32_t shard;
    int64_t time_ms;
    struct sv series;
};

static bool number_said(struct unpack *u, int64_t *expected, uint64_t *out) {
    struct reader *r = &u->streams[PACK_PLACES];
    if (u->format == PACK_FORMAT_1)
        *out = read_varint(r);
    else
        *out = (uint64_t)*expected + (uint64_t)read_zigzag(r);
    *expected = (int64_t)*out + 1;
    return !r->failed && *out <= UINT32_MAX;
}

static enum status chain_said(struct unpack *u, uint32_t *out_shard) {
    struct log_pack *p = u->p;
    struct reader *r = &u->streams[PACK_PLACES];
    uint64_t shard = read_varint(r), count = read_varint(r);
    int64_t expected = 0;
    if (r->failed || shard >= LOG_PACK_SHARDS_MAX || count == 0 || count > reader_left(r))
        return unpack_bad(u->err, "series");
    if (pack_chain_reserve(p, (size_t)count) != OK) return pack_nomem(u->err);
    for (size_t i = 0; i < count; i++) {
        uint64_t number;
        if (!number_said(u, &expected, &number)) return unpack_bad(u->err, "series number");
        p->chain[i] = pack_record_of(p, (uint32_t)shard, (uint32_t)number);
        if (p->chain[i] == PACK_NONE) return pack_nomem(u->err);
    }
    p->chain_count = (size_t)count;
    *out_shard = (uint32_t)shard;
    return OK;
}

static enum status chain_expected(struct unpack *u, uint32_t *out_shard) {
    struct log_pack *p = u->p;
    const struct pack_record *records = p->records;
    uint32_t at = pack_next(p, p->last);
    size_t count = 0, max = (size_t)(u->bytes / 8);
    if (at == PACK_NONE) return unpack_bad(u->err, "entry: no series is expected");
    const uint32_t shard = *out_shard = records[at].shard;
    while (at != PACK_NONE && records[at].shard == shard) {
        if (count == max) return unpack_bad(u->err, "entry: too many series");
        if (count == p->chain_cap && pack_chain_reserve(p, count + 1) != OK)
            return pack_nomem(u->err);
        p->chain[count++] = at;
        at = records[at].next;
    }
    p->chain_count = count;
    return OK;
}

static enum status place_said(struct unpack *u, struct pack_place *place) {
    struct reader *r = &u->streams[PACK_PLACES];
    uint64_t incarnation = read_varint(r), epoch = read_varint(r), seq = read_varint(r);
    if (r->failed || (incarnation | epoch) > UINT32_MAX || seq == 0)
        return unpack_bad(u->err, "place");
    *place = (struct pack_place){(uint32_t)incarnation, (uint32_t)epoch, seq, place->numbering};
    return OK;
}

/* -- values of format 1 */

/* One that is not as before. */
static enum status value_get(struct unpack *u, struct pack_record *r, uint8_t control) {
    if (control > CONTROL_BYTES && control <= CONTROL_BYTES + 8) {
        unsigned n = control - CONTROL_BYTES;
        const uint8_t *from = read_bytes(&u->streams[PACK_BYTES], n);
        uint64_t differs = 0;
        if (from == NULL) return unpack_bad(u->err, "value");
        memcpy(&differs, from, n);
        r->bits ^= differs;
        r->scale = SCALE_NONE;
        return OK;
    }
    if (control > CONTROL_REPEAT || (control == CONTROL_REPEAT && r->scale == SCALE_NONE))
        return unpack_bad(u->err, "control");
    if (control != CONTROL_REPEAT) {
        r->scale = (uint8_t)(control - CONTROL_DECIMAL);
        r->delta = read_zigzag(&u->streams[PACK_DELTAS]);
    }
    int64_t a =
        (int64_t)((uint64_t)pack_scaled(f64_from_bits(r->bits), r->scale) + (uint64_t)r->delta);
    r->bits = pack_decimal(a, r->scale);
    return OK;
}

static enum status controls_get(struct unpack *u, uint8_t *to) {
    const size_t count = u->p->chain_count;
    const uint8_t *controls = read_bytes(&u->streams[PACK_CONTROLS], count);
    if (controls == NULL) return unpack_bad(u->err, "entry: too many series");
    struct pack_record *records = u->p->records;
    const uint32_t *chain = u->p->chain;
    for (size_t i = 0; i < count; i++) {
        struct pack_record *r = &records[chain[i]];
        if (controls[i] != CONTROL_SAME) TRY(value_get(u, r, controls[i]));
        put_u64le(to + 8 * i, r->bits);
    }
    return OK;
}

/* -- entries */

static enum status values_get(struct unpack *u, const struct unpacked *e, uint8_t *to) {
    if (u->format == PACK_FORMAT_1) return controls_get(u, to);
    return pack_values_get(u->p, e->place->numbering, to) ? OK : unpack_bad(u->err, "value");
}

static inline uint8_t *short_put(uint8_t *to, uint64_t v) {
    if (__builtin_expect(v < 0x80, 1)) {
        *to = (uint8_t)v;
        return to + 1;
    }
    return to + put_varint(to, v);
}

static inline size_t varint_len(uint64_t v) {
    return v < 0x80 ? 1 : (size_t)(63 - __builtin_clzll(v)) / 7 + 1;
}

static enum status body_put(struct unpack *u, const struct unpacked *e, struct sv steps) {
    struct log_pack *p = u->p;
    const struct pack_record *records = p->records;
    const uint32_t *chain = p->chain;
    const size_t n = p->chain_count;
    size_t numbers_len = 0;
    for (size_t i = 0; i < n; i++)
        numbers_len += varint_len(records[chain[i]].number);
    size_t steps_len = n > 1 && steps.len == 0 ? n - 1 : steps.len;
    uint64_t time = zigzag(e->time_ms);
    size_t body_len =
        1 + e->series.len + varint_len(n) + varint_len(time) + numbers_len + steps_len + 8 * n;
    if (!buf_reserve(&p->out, FLOATS_FIXED_MAX + body_len)) return pack_nomem(u->err);
    uint8_t *start = (uint8_t *)p->out.ptr + p->out.len, *to = start;
    *to++ = ENTRY_WRITE;
    to = short_put(to, e->shard);
    to = short_put(to, e->place->incarnation);
    to = short_put(to, e->place->epoch);
    to = short_put(to, e->place->seq);
    to = short_put(to, body_len);
    *to++ = e->series.len > 0 ? SECTION_SERIES | SECTION_FLOATS : SECTION_FLOATS;
    if (e->series.len > 0) memcpy(to, e->series.ptr, e->series.len);
    to += e->series.len;
    to = short_put(to, n);
    to = short_put(to, time);
    for (size_t i = 0; i < n; i++)
        to = short_put(to, records[chain[i]].number);
    if (steps.len > 0)
        memcpy(to, steps.ptr, steps.len);
    else
        memset(to, 0, steps_len);
    to += steps_len;
    p->out.len += (size_t)(to - start) + 8 * n;
    return values_get(u, e, to);
}

static enum status floats_get(struct unpack *u, unsigned op) {
    struct log_pack *p = u->p;
    struct reader *times = &u->streams[PACK_TIMES];
    struct unpacked e = {0};
    TRY((op & OP_CHAIN) != 0 ? chain_said(u, &e.shard) : chain_expected(u, &e.shard));
    e.place = pack_place_of(p, e.shard);
    if (e.place == NULL) return pack_nomem(u->err);
    if ((op & OP_PLACE) != 0)
        TRY(place_said(u, e.place));
    else if (++e.place->seq == 0)
        return unpack_bad(u->err, "entry: no seq is expected");
    if ((op & OP_TIME) != 0)
        p->time_ms = (int64_t)((uint64_t)p->time_ms + (uint64_t)read_zigzag(times));
    e.time_ms = p->time_ms;
    const uint8_t *steps = times->cur;
    for (size_t i = 1; i < p->chain_count && (op & OP_STEPS) != 0; i++)
        p->time_ms = (int64_t)((uint64_t)p->time_ms + (uint64_t)read_zigzag(times));
    if (times->failed) return unpack_bad(u->err, "times");
    if ((op & OP_SERIES) != 0) e.series = read_lenstr(&u->streams[PACK_SERIES]);
    if ((op & OP_SERIES) != 0 && e.series.len == 0) return unpack_bad(u->err, "new series");
    TRY(body_put(u, &e, sv_make(steps, (op & OP_STEPS) != 0 ? (size_t)(times->cur - steps) : 0)));
    pack_chain_learn(p);
    return OK;
}

/* -- frames and packs */

static enum status literal_get(struct unpack *u) {
    struct sv bytes = read_lenstr(&u->streams[PACK_LITERALS]), rest = bytes;
    struct entry e;
    if (u->streams[PACK_LITERALS].failed) return unpack_bad(u->err, "literal");
    buf_put_sv(&u->p->out, bytes);
    if (u->p->out.failed) return pack_nomem(u->err);
    if (u->format == PACK_FORMAT_1) return OK;
    if (bytes.len == 0 || entry_next(&rest, &e, NULL) != OK || rest.len > 0)
        return unpack_bad(u->err, "literal");
    return pack_literal_learn(u->p, &e) == OK ? OK : pack_nomem(u->err);
}

static enum status entry_get(struct unpack *u) {
    uint8_t op = read_u8(&u->streams[PACK_OPS]);
    if (u->streams[PACK_OPS].failed) return unpack_bad(u->err, "frame: entries are missing");
    if (op == OP_LITERAL) return literal_get(u);
    unsigned known = OP_CHAIN | OP_PLACE | OP_TIME | OP_STEPS;
    if (u->format > PACK_FORMAT_1) known |= OP_SERIES;
    if ((op & ~known) != 0) return unpack_bad(u->err, "op");
    return floats_get(u, op);
}

static enum status frame_get(struct unpack *u) {
    struct log_pack *p = u->p;
    uint64_t entries = read_varint(&u->streams[PACK_FRAMES]);
    size_t start = p->out.len;
    if (u->streams[PACK_FRAMES].failed || entries == 0) return unpack_bad(u->err, "frame");
    buf_put_u32(&p->out, 0);
    if (p->out.failed) return pack_nomem(u->err);
    for (uint64_t i = 0; i < entries; i++) {
        TRY(entry_get(u));
        if (p->out.len - start - 4 > LOG_PACK_FRAME_BYTES_MAX || p->out.len > u->bytes + start + 4)
            return unpack_bad(u->err, "frame: too long");
    }
    put_u32le(p->out.ptr + start, (uint32_t)(p->out.len - start - 4));
    return OK;
}

static const uint8_t streams_1[] = {PACK_FRAMES,   PACK_OPS,    PACK_PLACES, PACK_TIMES,
                                    PACK_CONTROLS, PACK_DELTAS, PACK_BYTES,  PACK_LITERALS};
static const uint8_t streams_2[] = {PACK_FRAMES, PACK_OPS,    PACK_PLACES,  PACK_TIMES,
                                    PACK_SERIES, PACK_VALUES, PACK_LITERALS};

static enum status header_get(struct unpack *u, struct reader *r, uint64_t *frames) {
    u->format = PACK_FORMAT_1;
    u->bytes = read_varint(r);
    if (u->bytes == 0) {
        uint8_t format = read_u8(r);
        if (format != PACK_FORMAT) return unpack_bad(u->err, "format");
        u->format = PACK_FORMAT;
        u->bytes = read_varint(r);
    }
    *frames = read_varint(r);
    if (r->failed || *frames == 0 || u->bytes > LOG_PACK_BYTES_MAX ||
        *frames > u->bytes / FRAME_BYTES_MIN)
        return unpack_bad(u->err, "header");
    return OK;
}

static enum status streams_get(struct unpack *u, struct reader *r) {
    struct log_pack *p = u->p;
    bool is_first = u->format == PACK_FORMAT_1;
    const uint8_t *list = is_first ? streams_1 : streams_2;
    size_t count = is_first ? sizeof streams_1 : sizeof streams_2;
    uint64_t left = STREAMS_SPARE + 3 * u->bytes;
    for (unsigned i = 0; i < PACK_STREAMS_ALL; i++)
        buf_clear(&p->streams[i]);
    for (size_t i = 0; i < count; i++)
        TRY(stream_get(p, r, list[i], &left, u->err));
    if (reader_left(r) != 0) return unpack_bad(u->err, "end: bytes are left over");
    for (unsigned i = 0; i < PACK_STREAMS_ALL; i++)
        u->streams[i] = reader_init(p->streams[i].ptr, p->streams[i].len);
    const uint8_t *values = u->streams[PACK_VALUES].cur;
    p->values_in = (struct coder_in){.cur = values, .end = u->streams[PACK_VALUES].end};
    return OK;
}

enum status log_unpack(struct log_pack *p, struct sv pack, struct sv *out, uint32_t *out_frames,
                       struct err *err) {
    struct unpack u = {.p = p, .err = err};
    struct reader r = reader_init(pack.ptr, pack.len);
    uint64_t frames = 0;
    TRY(header_get(&u, &r, &frames));
    TRY(streams_get(&u, &r));
    buf_clear(&p->out);
    if (!buf_reserve(&p->out, (size_t)(u.bytes + 4 * frames))) return pack_nomem(err);
    for (uint64_t i = 0; i < frames; i++)
        TRY(frame_get(&u));
    u.streams[PACK_VALUES].cur = p->values_in.cur; /* all of it, or of none */
    for (unsigned i = 0; i < PACK_STREAMS_ALL; i++)
        if (u.streams[i].failed || reader_left(&u.streams[i]) != 0)
            return unpack_bad(err, "end: a stream is too long or short");
    if (p->out.len != u.bytes + 4 * frames) return unpack_bad(err, "length");
    *out = buf_sv(&p->out);
    *out_frames = (uint32_t)frames;
    return OK;
}
