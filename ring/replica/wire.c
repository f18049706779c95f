/* SPDX-License-Identifier: Apache-2.0 */
#include "ring/replica/wire.h"

#include <stdlib.h>

#include "node/base/bytes.h"
#include "ring/map.h"

void wire_begin(struct buf *out) {
    buf_put_u8(out, WIRE_VERSION);
}

enum status wire_open(struct sv *payload, struct err *err) {
    if (payload->len == 0) return err_set(err, ERR_CORRUPT, 0, "replica: an empty payload");
    if ((uint8_t)payload->ptr[0] != WIRE_VERSION)
        return err_set(err, ERR_UNSUPPORTED, 0, "replica: payload version %u, this node has %d",
                       (unsigned)(uint8_t)payload->ptr[0], WIRE_VERSION);
    *payload = sv_skip(*payload, 1);
    return OK;
}

static void place_put(struct place p, struct buf *out) {
    buf_put_varint(out, p.epoch);
    buf_put_varint(out, p.seq);
}

static void held_put(const struct shard_held *h, struct buf *out) {
    buf_put_u8(out, (uint8_t)(h->has_log | h->is_whole << 1 | h->damaged << 2));
    buf_put_varint(out, h->copy);
    if (!h->has_log) return;
    place_put(h->first, out);
    place_put(h->end, out);
    if (h->is_whole) buf_put_u64(out, h->history);
}

void append_head_put(const struct append_item *item, size_t entries_len, struct buf *out) {
    if (!buf_reserve(out, 7 * VARINT_BYTES_MAX)) return;
    uint8_t *start = (uint8_t *)out->ptr + out->len, *p = start;
    p += put_varint(p, item->shard);
    p += put_varint(p, item->epoch);
    p += put_varint(p, item->copy);
    *p++ = item->flags;
    p += put_varint(p, item->settled.epoch);
    p += put_varint(p, item->settled.seq);
    p += put_varint(p, entries_len);
    out->len += (size_t)(p - start);
}

void append_item_put(const struct append_item *item, struct buf *out) {
    append_head_put(item, item->entries.len, out);
    buf_put_sv(out, item->entries);
}

void append_answer_put(const struct append_answer *a, struct buf *out) {
    buf_put_varint(out, a->shard);
    buf_put_u8(out, a->targets);
    buf_put_u8(out, a->result);
}

void places_item_put(const struct places_item *item, struct buf *out) {
    buf_put_varint(out, item->shard);
    buf_put_varint(out, item->epoch);
}

void places_answer_put(const struct places_answer *a, struct buf *out) {
    buf_put_varint(out, a->shard);
    buf_put_u8(out, a->result);
    held_put(&a->whole, out);
    held_put(&a->tail, out);
}

void fetch_item_put(const struct fetch_item *item, struct buf *out) {
    buf_put_varint(out, item->shard);
    buf_put_varint(out, item->epoch);
    buf_put_u8(out, (uint8_t)(item->tail | item->from_start << 1));
    place_put(item->after, out);
}

void fetch_answer_put(const struct fetch_answer *a, struct buf *out) {
    buf_put_varint(out, a->shard);
    buf_put_u8(out, a->result);
    buf_put_lenstr(out, a->entries);
}

static bool has_digest(enum range_kind kind) {
    return kind == RANGE_GOOD || kind == RANGE_DELETED;
}

static void range_put(const struct shard_range *r, struct buf *out) {
    buf_put_u8(out, (uint8_t)r->kind);
    buf_put_zigzag(out, r->min_ms);
    buf_put_zigzag(out, r->max_ms);
    if (!has_digest(r->kind)) return;
    buf_put_varint(out, r->samples);
    buf_put_u64(out, r->digest.hi);
    buf_put_u64(out, r->digest.lo);
}

void ranges_answer_put(const struct ranges_answer *a, struct buf *out) {
    buf_put_varint(out, a->shard);
    buf_put_u8(out, a->result);
    if (a->result != RESULT_OK && a->result != RESULT_ASIDE) return;
    buf_put_varint(out, a->core);
    if (a->result == RESULT_ASIDE) {
        place_put(a->ranges.closed_at, out);
        buf_put_u64(out, a->ranges.closed_history);
    }
    buf_put_zigzag(out, a->ranges.closed_ms);
    buf_put_zigzag(out, a->ranges.floor_ms);
    buf_put_varint(out, a->ranges.count);
    for (uint32_t i = 0; i < a->ranges.count; i++)
        range_put(&a->ranges.at[i], out);
}

void repair_ask_put(const struct repair_ask *a, struct buf *out) {
    buf_put_varint(out, a->core);
    buf_put_varint(out, a->stream);
    buf_put_varint(out, a->number);
    buf_put_sv(out, a->items);
}

void repair_item_put(const struct repair_item *item, struct buf *out) {
    buf_put_varint(out, item->shard);
    buf_put_varint(out, item->epoch);
    buf_put_zigzag(out, item->span.min_ms);
    buf_put_zigzag(out, item->span.max_ms);
}

/* -- reading */

static inline uint32_t read_u32_max(struct reader *r, uint32_t max) {
    uint64_t v = read_varint(r);
    if (v > max) r->failed = true;
    return r->failed ? 0 : (uint32_t)v;
}
static uint32_t read_shard(struct reader *r) {
    return read_u32_max(r, RING_SHARDS_MAX - 1);
}
static uint8_t read_bits(struct reader *r, uint8_t max) {
    uint8_t v = read_u8(r);
    if (v > max) r->failed = true;
    return v;
}
static struct place read_place(struct reader *r) {
    struct place p = {.epoch = read_u32_max(r, UINT32_MAX)};
    p.seq = read_varint(r);
    return p;
}

static struct shard_held read_held(struct reader *r) {
    uint8_t bits = read_bits(r, 7);
    struct shard_held h = {
        .has_log = bits & 1, .is_whole = (bits & 2) != 0, .damaged = (bits & 4) != 0};
    h.copy = read_u32_max(r, UINT32_MAX);
    if (!h.has_log) return h;
    h.first = read_place(r);
    h.end = read_place(r);
    if (h.is_whole) h.history = read_u64(r);
    if (place_cmp(h.end, h.first) < 0) r->failed = true;
    return h;
}

static enum status item_end(struct sv *rest, const struct reader *r, const char *what,
                            struct err *err) {
    if (r->failed)
        return err_set(err, ERR_CORRUPT, 0, "replica: malformed %s, %zu bytes from its end", what,
                       rest->len);
    *rest = (struct sv){(const char *)r->cur, reader_left(r)};
    return OK;
}

enum status append_item_get(struct sv *rest, struct append_item *out, struct err *err) {
    struct reader r = reader_init(rest->ptr, rest->len);
    out->shard = read_shard(&r);
    out->epoch = read_u32_max(&r, UINT32_MAX);
    out->copy = read_u32_max(&r, UINT32_MAX);
    out->flags = read_bits(&r, APPEND_WHOLE | APPEND_TAIL | APPEND_OPEN);
    if (((out->flags & APPEND_WHOLE) != 0) == ((out->flags & APPEND_TAIL) != 0)) r.failed = true;
    out->settled = read_place(&r);
    out->entries = read_lenstr(&r);
    return item_end(rest, &r, "append", err);
}

enum status append_answer_get(struct sv *rest, struct append_answer *out, struct err *err) {
    struct reader r = reader_init(rest->ptr, rest->len);
    out->shard = read_shard(&r);
    out->targets = read_bits(&r, APPEND_WHOLE | APPEND_TAIL);
    out->result = read_bits(&r, RESULT_COUNT - 1);
    return item_end(rest, &r, "answer to an append", err);
}

enum status places_item_get(struct sv *rest, struct places_item *out, struct err *err) {
    struct reader r = reader_init(rest->ptr, rest->len);
    out->shard = read_shard(&r);
    out->epoch = read_u32_max(&r, UINT32_MAX);
    return item_end(rest, &r, "question for places", err);
}

enum status places_answer_get(struct sv *rest, struct places_answer *out, struct err *err) {
    struct reader r = reader_init(rest->ptr, rest->len);
    out->shard = read_shard(&r);
    out->result = read_bits(&r, RESULT_COUNT - 1);
    out->whole = read_held(&r);
    out->tail = read_held(&r);
    return item_end(rest, &r, "places", err);
}

enum status fetch_item_get(struct sv *rest, struct fetch_item *out, struct err *err) {
    struct reader r = reader_init(rest->ptr, rest->len);
    out->shard = read_shard(&r);
    out->epoch = read_u32_max(&r, UINT32_MAX);
    uint8_t bits = read_bits(&r, 3);
    out->tail = bits & 1;
    out->from_start = (bits & 2) != 0;
    out->after = read_place(&r);
    return item_end(rest, &r, "fetch", err);
}

enum status fetch_answer_get(struct sv *rest, struct fetch_answer *out, struct err *err) {
    struct reader r = reader_init(rest->ptr, rest->len);
    out->shard = read_shard(&r);
    out->result = read_bits(&r, RESULT_COUNT - 1);
    out->entries = read_lenstr(&r);
    return item_end(rest, &r, "fetched entries", err);
}

static struct shard_range read_range(struct reader *r) {
    struct shard_range range = {.kind = (enum range_kind)read_u8(r)};
    range.min_ms = read_zigzag(r);
    range.max_ms = read_zigzag(r);
    bool is_known = range.kind == RANGE_GOOD || range.kind == RANGE_BAD ||
                    range.kind == RANGE_DELETED || range.kind == RANGE_UNKNOWN;
    if (!is_known || range.max_ms < range.min_ms) r->failed = true;
    if (!has_digest(range.kind)) return range;
    range.samples = read_varint(r);
    range.digest.hi = read_u64(r);
    range.digest.lo = read_u64(r);
    return range;
}

enum status ranges_answer_get(struct sv *rest, struct ranges_answer *out, struct err *err) {
    enum { RANGE_BYTES_MIN = 3 };
    struct reader r = reader_init(rest->ptr, rest->len);
    *out = (struct ranges_answer){.shard = read_shard(&r)};
    out->result = read_bits(&r, RESULT_ASIDE);
    if (r.failed || (out->result != RESULT_OK && out->result != RESULT_ASIDE))
        return item_end(rest, &r, "ranges", err);
    out->core = (uint16_t)read_u32_max(&r, UINT16_MAX);
    if (out->result == RESULT_ASIDE) {
        out->ranges.closed_at = read_place(&r);
        out->ranges.closed_history = read_u64(&r);
    }
    out->ranges.closed_ms = read_zigzag(&r);
    out->ranges.floor_ms = read_zigzag(&r);
    uint64_t count = read_varint(&r);
    if (count > reader_left(&r) / RANGE_BYTES_MIN) r.failed = true;
    if (r.failed) return item_end(rest, &r, "ranges", err);
    out->ranges.at = calloc((size_t)count + 1, sizeof *out->ranges.at);
    if (out->ranges.at == NULL) return err_set(err, ERR_NOMEM, 0, "replica: out of memory");
    for (uint64_t i = 0; i < count && !r.failed; i++)
        out->ranges.at[out->ranges.count++] = read_range(&r);
    out->ranges.cap = out->ranges.count + 1;
    enum status status = item_end(rest, &r, "ranges", err);
    if (status == OK) return OK;
    free(out->ranges.at);
    out->ranges = (struct shard_ranges){0};
    return status;
}

enum status repair_ask_get(struct sv payload, struct repair_ask *out, struct err *err) {
    struct reader r = reader_init(payload.ptr, payload.len);
    out->core = (uint16_t)read_u32_max(&r, UINT16_MAX);
    out->stream = read_varint(&r);
    out->number = read_varint(&r);
    TRY(item_end(&payload, &r, "ask for a repair", err));
    out->items = payload;
    return OK;
}

enum status repair_item_get(struct sv *rest, struct repair_item *out, struct err *err) {
    struct reader r = reader_init(rest->ptr, rest->len);
    out->shard = read_shard(&r);
    out->epoch = read_u32_max(&r, UINT32_MAX);
    out->span.min_ms = read_zigzag(&r);
    out->span.max_ms = read_zigzag(&r);
    if (out->span.max_ms < out->span.min_ms) r.failed = true;
    return item_end(rest, &r, "repair", err);
}
