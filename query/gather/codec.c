/* SPDX-License-Identifier: Apache-2.0 */
#include <inttypes.h>
#include <stdlib.h>

#include "node/base/bytes.h"
#include "node/base/hash.h"
#include "query/gather/internal.h"

enum { REQUEST_VERSION = 2 }; /* 2: the end of the reply has timings */

void fragment_request_put(const struct fragment_request *r, struct buf *out) {
    const struct query_params *p = &r->params;
    buf_put_u8(out, REQUEST_VERSION);
    buf_put_lenstr(out, r->text);
    buf_put_zigzag(out, p->start_ms);
    buf_put_zigzag(out, p->end_ms);
    buf_put_zigzag(out, p->step_ms);
    buf_put_u8(out, p->instant);
    buf_put_zigzag(out, p->lookback_ms);
    buf_put_zigzag(out, p->default_step_ms);
    buf_put_varint(out, p->samples_max);
    buf_put_varint(out, p->memory_bytes_max);
    buf_put_varint(out, p->features);
    buf_put_varint(out, r->timeout_ms);
    buf_put_lenstr(out, r->fragment);
    buf_put_lenstr(out, r->shards);
}

enum status fragment_request_get(struct sv bytes, struct fragment_request *out, struct err *err) {
    struct reader r = reader_init(bytes.ptr, bytes.len);
    uint8_t version = read_u8(&r);
    if (!r.failed && version != REQUEST_VERSION)
        return err_set(err, ERR_UNSUPPORTED, 0,
                       "fragment: request version %u, this program reads %d", version,
                       REQUEST_VERSION);
    struct fragment_request q = {.text = read_lenstr(&r)};
    q.params.start_ms = read_zigzag(&r);
    q.params.end_ms = read_zigzag(&r);
    q.params.step_ms = read_zigzag(&r);
    q.params.instant = read_u8(&r) != 0;
    q.params.lookback_ms = read_zigzag(&r);
    q.params.default_step_ms = read_zigzag(&r);
    q.params.samples_max = read_varint(&r);
    q.params.memory_bytes_max = read_varint(&r);
    uint64_t features = read_varint(&r);
    q.params.features = (uint32_t)features;
    q.timeout_ms = read_varint(&r);
    q.fragment = read_lenstr(&r);
    q.shards = read_lenstr(&r);
    if (r.failed || reader_left(&r) != 0 || features > UINT32_MAX)
        return err_set(err, ERR_CORRUPT, 0, "fragment: malformed request");
    *out = q;
    return OK;
}

void reply_end_put(const struct reply_end *e, struct buf *out) {
    buf_put_u64(out, e->rows);
    buf_put_u64(out, e->body_len);
    buf_put_u64(out, e->body_hash);
    part_times_put(&e->times, out);
    buf_put_sv(out, e->shards);
}

enum status reply_end_get(struct sv bytes, struct reply_end *out, struct err *err) {
    struct reader r = reader_init(bytes.ptr, bytes.len);
    struct reply_end e = {.rows = read_u64(&r)};
    e.body_len = read_u64(&r);
    e.body_hash = read_u64(&r);
    struct sv times = read_lenstr(&r);
    if (r.failed) return err_set(err, ERR_UNAVAILABLE, 0, "reply of another node is incomplete");
    TRY(part_times_get(times, &e.times, err));
    e.shards = sv_skip(bytes, bytes.len - reader_left(&r));
    *out = e;
    return OK;
}

void shard_list_put(const struct ring_map *map, const uint64_t *shards, struct buf *out) {
    uint32_t count = 0, previous = 0;
    for (uint32_t i = 0; i < map->settings.shards_count; i++)
        count += bit_get(shards, i);
    buf_put_varint(out, count);
    for (uint32_t i = 0; i < map->settings.shards_count; i++) {
        if (!bit_get(shards, i)) continue;
        buf_put_varint(out, i - previous);
        buf_put_varint(out, map->shards[i].epoch);
        previous = i;
    }
}

enum status shard_list_get(const struct ring_map *map, struct sv bytes, uint64_t *shards,
                           struct err *err) {
    struct reader r = reader_init(bytes.ptr, bytes.len);
    uint64_t count = read_varint(&r), shard = 0;
    for (uint64_t i = 0; i < count && !r.failed; i++) {
        shard += read_varint(&r);
        uint64_t epoch = read_varint(&r);
        if (shard >= map->settings.shards_count)
            return err_set(err, ERR_CORRUPT, 0, "shard list: shard %" PRIu64 " of %" PRIu32, shard,
                           map->settings.shards_count);
        if (epoch == map->shards[shard].epoch) bit_set(shards, (uint32_t)shard);
    }
    if (r.failed || reader_left(&r) != 0)
        return err_set(err, ERR_CORRUPT, 0, "shard list: malformed");
    return OK;
}

enum status shard_list_narrow(const struct ring_map *map, struct sv bytes, uint64_t *claimed,
                              struct err *err) {
    uint32_t words = (map->settings.shards_count + 63) / 64;
    uint64_t *answered = calloc(words, sizeof *answered);
    if (answered == NULL) return err_set(err, ERR_NOMEM, 0, "query: out of memory");
    enum status st = shard_list_get(map, bytes, answered, err);
    if (st == OK && !bits_within(answered, claimed, words))
        st = err_set(err, ERR_CORRUPT, 0,
                     "reply of another node claims shards that it was not asked for");
    for (uint32_t i = 0; i < words; i++)
        claimed[i] &= answered[i];
    free(answered);
    return st;
}
