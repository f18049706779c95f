/* SPDX-License-Identifier: Apache-2.0 */
#include "storage/log_pack.h"

#include <assert.h>
#include <inttypes.h>
#include <stdlib.h>
#include <zstd.h>

#include "node/base/hash.h"
#include "storage/entry.h"
#include "storage/log_pack_internal.h"

enum { ZSTD_LEVEL = 3 }; /* 6 saves 0.001 bytes a sample, and takes three times as long */

const double pack_powers[PACK_SCALES] = {1, 1e1, 1e2, 1e3, 1e4, 1e5, 1e6, 1e7, 1e8, 1e9};

/* -- what both sides know */

enum status pack_nomem(struct err *err) {
    return err_set(err, ERR_NOMEM, 0, "log: not enough memory to pack");
}

struct log_pack *log_pack_new(void) {
    struct log_pack *p = calloc(1, sizeof *p);
    if (p == NULL) return NULL;
    p->last = PACK_NONE;
    map_init(&p->by_number);
    pack_model_init(&p->model);
    return p;
}

void log_pack_free(struct log_pack *p) {
    if (p == NULL) return;
    for (unsigned i = 0; i < PACK_STREAMS_ALL; i++)
        buf_fini(&p->streams[i]);
    buf_fini(&p->out);
    map_fini(&p->by_number);
    ZSTD_freeCCtx(p->compressor);
    ZSTD_freeDCtx(p->decompressor);
    free(p->records);
    free(p->places);
    free(p->chain);
    free(p);
}

static uint64_t number_hash(uint32_t shard, uint32_t number) {
    uint64_t key[2] = {shard, number};
    return hash64(key, sizeof key, 0);
}

static bool record_eq(const void *owner, uint32_t ref, const void *key) {
    const struct pack_record *r = &((const struct log_pack *)owner)->records[ref], *k = key;
    return r->shard == k->shard && r->number == k->number;
}

static uint64_t record_hash(const void *owner, uint32_t ref) {
    const struct pack_record *r = &((const struct log_pack *)owner)->records[ref];
    return number_hash(r->shard, r->number);
}

uint32_t pack_record_of(struct log_pack *p, uint32_t shard, uint32_t number) {
    struct pack_record key = {.shard = shard, .number = number, .next = PACK_NONE};
    pack_record_reset(&key, 0);
    uint64_t hash = number_hash(shard, number);
    uint32_t found = map_find(&p->by_number, hash, record_eq, p, &key);
    if (found != MAP_NONE) return found;
    if (p->records_count == p->records_cap) {
        uint32_t cap = p->records_cap == 0 ? 1024 : p->records_cap * 2;
        struct pack_record *records = realloc(p->records, cap * sizeof *records);
        if (records == NULL || cap <= p->records_cap) return PACK_NONE;
        p->records = records;
        p->records_cap = cap;
    }
    p->records[p->records_count] = key;
    if (map_insert(&p->by_number, hash, p->records_count, record_hash, p) != OK) return PACK_NONE;
    return p->records_count++;
}

struct pack_place *pack_place_of(struct log_pack *p, uint32_t shard) {
    assert(shard < LOG_PACK_SHARDS_MAX);
    if (shard >= p->places_count) {
        uint32_t count = MAX(shard + 1, p->places_count * 2);
        struct pack_place *places = realloc(p->places, count * sizeof *places);
        if (places == NULL) return NULL;
        memset(places + p->places_count, 0, (count - p->places_count) * sizeof *places);
        p->places = places;
        p->places_count = count;
    }
    return &p->places[shard];
}

enum status pack_literal_learn(struct log_pack *p, const struct entry *e) {
    if ((e->type != ENTRY_CUT && e->type != ENTRY_EPOCH) || e->shard >= LOG_PACK_SHARDS_MAX)
        return OK;
    struct pack_place *place = pack_place_of(p, e->shard);
    if (place == NULL) return ERR_NOMEM;
    place->numbering++;
    return OK;
}

enum status pack_chain_reserve(struct log_pack *p, size_t count) {
    if (count <= p->chain_cap) return OK;
    size_t cap = MAX(count, p->chain_cap * 2);
    uint32_t *chain = realloc(p->chain, cap * sizeof *chain);
    if (chain == NULL) return ERR_NOMEM;
    p->chain = chain;
    p->chain_cap = cap;
    return OK;
}

/* -- entries in */

/* A WRITE of floats alone, or with series. */
struct floats {
    uint32_t shard, incarnation, epoch;
    uint64_t seq;
    int64_t time_ms;
    size_t count;
    struct sv series; /* the section; empty: there is none */
    const uint8_t *numbers, *steps, *values;
};

/* False: cut short, or longer than it must be. */
static inline bool short_varint(struct reader *r, uint64_t *out) {
    const uint8_t *p = r->cur;
    uint64_t v = 0;
    for (unsigned shift = 0; p != r->end && shift < 64; shift += 7) {
        uint8_t byte = *p++;
        v |= (uint64_t)(byte & 0x7f) << shift;
        if (byte >= 0x80) continue;
        *out = v;
        r->cur = p;
        return (byte != 0 || shift == 0) && (shift < 63 || byte <= 1);
    }
    return false;
}

static bool varints_pass(struct reader *r, size_t count, uint64_t max) {
    uint64_t v;
    for (; count > 0; count--) {
        if (r->cur != r->end && *r->cur < 0x80)
            r->cur++;
        else if (!short_varint(r, &v) || v > max)
            return false;
    }
    return true;
}

static bool series_pass(struct reader *r, struct sv *out) {
    const uint8_t *start = r->cur;
    for (uint64_t count = read_varint(r); count > 0 && !r->failed; count--)
        read_lenstr(r);
    *out = sv_make(start, (size_t)(r->cur - start));
    return !r->failed && out->len > 0;
}

/* Reads the entry at the front of *rest, which moves behind it. False: it is something else, or not
 * as short as it can be, and *rest is where it was. */
static bool floats_read(struct sv *rest, struct floats *out) {
    struct reader r = reader_init(rest->ptr, rest->len);
    uint64_t shard, incarnation, epoch, body_len, count, time;
    if (read_u8(&r) != ENTRY_WRITE || !short_varint(&r, &shard) || shard >= LOG_PACK_SHARDS_MAX ||
        !short_varint(&r, &incarnation) || !short_varint(&r, &epoch) ||
        !short_varint(&r, &out->seq) || !short_varint(&r, &body_len) ||
        body_len > reader_left(&r) || (incarnation | epoch) > UINT32_MAX || out->seq == 0)
        return false;
    r.end = r.cur + body_len;
    uint8_t sections = read_u8(&r);
    out->series = (struct sv){0};
    if ((sections & ~SECTION_SERIES) != SECTION_FLOATS ||
        ((sections & SECTION_SERIES) != 0 && !series_pass(&r, &out->series)) ||
        !short_varint(&r, &count) || !short_varint(&r, &time) || count == 0 ||
        count > reader_left(&r) / 8)
        return false;
    out->shard = (uint32_t)shard;
    out->incarnation = (uint32_t)incarnation;
    out->epoch = (uint32_t)epoch;
    out->time_ms = unzigzag(time);
    out->count = (size_t)count;
    out->numbers = r.cur;
    if (!varints_pass(&r, out->count, UINT32_MAX)) return false;
    out->steps = r.cur;
    if (!varints_pass(&r, out->count - 1, UINT64_MAX)) return false;
    out->values = r.cur;
    if (reader_left(&r) != out->count * 8) return false;
    *rest = sv_skip(*rest, (size_t)(r.end - (const uint8_t *)rest->ptr));
    return true;
}

/* -- what differs */

/* The entry's series are those expected. */
static bool chain_matches(struct log_pack *p, const struct floats *f) {
    const struct pack_record *records = p->records;
    const uint8_t *number = f->numbers;
    uint32_t at = pack_next(p, p->last);
    for (size_t i = 0; i < f->count; i++) {
        if (at == PACK_NONE || records[at].shard != f->shard ||
            records[at].number != pack_varint(&number))
            return false;
        p->chain[i] = at;
        at = records[at].next;
    }
    return at == PACK_NONE || records[at].shard != f->shard;
}

static enum status chain_put(struct log_pack *p, const struct floats *f, struct err *err) {
    struct buf *out = &p->streams[PACK_PLACES];
    const uint8_t *at = f->numbers;
    buf_put_varint(out, f->shard);
    buf_put_varint(out, f->count);
    int64_t expected = 0;
    for (size_t i = 0; i < f->count; i++) {
        uint32_t number = (uint32_t)pack_varint(&at);
        buf_put_zigzag(out, (int64_t)number - expected);
        expected = (int64_t)number + 1;
        p->chain[i] = pack_record_of(p, f->shard, number);
        if (p->chain[i] == PACK_NONE) return pack_nomem(err);
    }
    return OK;
}

/* The time of the last float. */
static int64_t steps_last(const struct floats *f) {
    struct reader r = reader_init(f->steps, (size_t)(f->values - f->steps));
    uint64_t time = (uint64_t)f->time_ms;
    while (reader_left(&r) > 0)
        time += (uint64_t)read_zigzag(&r);
    return (int64_t)time;
}

static bool steps_are_zero(const struct floats *f) {
    for (const uint8_t *s = f->steps; s < f->values; s++)
        if (*s != 0) return false;
    return true;
}

static enum status floats_put(struct log_pack *p, const struct floats *f, struct err *err) {
    struct pack_place *place = pack_place_of(p, f->shard);
    unsigned op = 0;
    if (place == NULL || pack_chain_reserve(p, f->count) != OK) return pack_nomem(err);
    p->chain_count = f->count;
    if (!chain_matches(p, f)) {
        op |= OP_CHAIN;
        TRY(chain_put(p, f, err));
    }
    if (f->incarnation != place->incarnation || f->epoch != place->epoch ||
        f->seq != place->seq + 1) {
        op |= OP_PLACE;
        buf_put_varint(&p->streams[PACK_PLACES], f->incarnation);
        buf_put_varint(&p->streams[PACK_PLACES], f->epoch);
        buf_put_varint(&p->streams[PACK_PLACES], f->seq);
    }
    *place = (struct pack_place){f->incarnation, f->epoch, f->seq, place->numbering};
    if (f->time_ms != p->time_ms) {
        op |= OP_TIME;
        buf_put_zigzag(&p->streams[PACK_TIMES],
                       (int64_t)((uint64_t)f->time_ms - (uint64_t)p->time_ms));
    }
    p->time_ms = f->time_ms;
    if (!steps_are_zero(f)) {
        op |= OP_STEPS;
        buf_put(&p->streams[PACK_TIMES], f->steps, (size_t)(f->values - f->steps));
        p->time_ms = steps_last(f);
    }
    if (f->series.len > 0) {
        op |= OP_SERIES;
        buf_put_lenstr(&p->streams[PACK_SERIES], f->series);
    }
    buf_put_u8(&p->streams[PACK_OPS], (uint8_t)op);
    pack_values_put(p, place->numbering, f->values);
    pack_chain_learn(p);
    return OK;
}

/* -- frames and packs */

size_t log_pack_pending(const struct log_pack *p) {
    return (size_t)p->bytes;
}

enum status log_pack_add(struct log_pack *p, struct sv payload, struct err *err) {
    struct sv rest = payload;
    uint64_t entries = 0;
    if (payload.len > LOG_PACK_FRAME_BYTES_MAX || payload.len > LOG_PACK_BYTES_MAX - p->bytes)
        return err_set(err, ERR_LIMIT, 0, "log: a frame of %zu bytes is not packed", payload.len);
    for (; rest.len > 0; entries++) {
        struct entry e;
        struct floats f;
        if (floats_read(&rest, &f)) {
            TRY(floats_put(p, &f, err));
            continue;
        }
        struct sv bytes = rest;
        TRY(entry_next(&rest, &e, err));
        bytes.len -= rest.len;
        buf_put_u8(&p->streams[PACK_OPS], OP_LITERAL);
        buf_put_lenstr(&p->streams[PACK_LITERALS], bytes);
        if (pack_literal_learn(p, &e) != OK) return pack_nomem(err);
    }
    buf_put_varint(&p->streams[PACK_FRAMES], entries);
    p->bytes += payload.len;
    p->frames++;
    return OK;
}

static enum status stream_put(struct log_pack *p, unsigned i, struct err *err) {
    struct buf *stream = &p->streams[i];
    size_t bound = ZSTD_compressBound(stream->len), len = stream->len;
    if (stream->failed || !buf_reserve(&p->out, bound + 2 * VARINT_BYTES_MAX + bound))
        return pack_nomem(err);
    if (p->compressor == NULL && (p->compressor = ZSTD_createCCtx()) == NULL)
        return pack_nomem(err);
    char *scratch = p->out.ptr + p->out.len + 2 * VARINT_BYTES_MAX;
    if (i != PACK_VALUES)
        len =
            ZSTD_compressCCtx(p->compressor, scratch, bound, stream->ptr, stream->len, ZSTD_LEVEL);
    bool packed = !ZSTD_isError(len) && len < stream->len;
    struct sv bytes = packed ? sv_make(scratch, len) : buf_sv(stream);
    buf_put_varint(&p->out, stream->len);
    buf_put_varint(&p->out, bytes.len);
    if (bytes.len > 0) memmove(p->out.ptr + p->out.len, bytes.ptr, bytes.len);
    p->out.len += bytes.len;
    buf_clear(stream);
    return OK;
}

enum status log_pack_finish(struct log_pack *p, struct sv *out, struct err *err) {
    assert(p->frames > 0);
    buf_clear(&p->out);
    coder_out_end(&p->values_out, &p->streams[PACK_VALUES]);
    buf_put_u8(&p->out, 0);
    buf_put_u8(&p->out, PACK_FORMAT);
    buf_put_varint(&p->out, p->bytes);
    buf_put_varint(&p->out, p->frames);
    if (p->out.failed) return pack_nomem(err);
    for (unsigned i = 0; i < PACK_STREAMS; i++)
        TRY(stream_put(p, i, err));
    p->bytes = p->frames = 0;
    *out = buf_sv(&p->out);
    return OK;
}
