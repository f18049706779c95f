/* SPDX-License-Identifier: Apache-2.0 */
#include <inttypes.h>
#include <stdlib.h>

#include "node/base/bytes.h"
#include "node/base/hash.h"
#include "query/gather/internal.h"

enum { REQUEST_VERSION = 3 }; /* 2: the end of the reply has timings; 3: shards are bits */

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

static unsigned bits_next(uint64_t *left) {
    unsigned bit = (unsigned)__builtin_ctzll(*left);
    *left &= *left - 1;
    return bit;
}

void shard_list_put(const struct epochs *of, const uint64_t *shards, struct buf *out) {
    uint32_t words = (of->map->settings.shards_count + 63) / 64, run = 0, epoch = 0;
    while (words > 0 && shards[words - 1] == 0)
        words--;
    buf_put_varint(out, words);
    for (uint32_t i = 0; i < words; i++)
        buf_put_u64(out, shards[i]);
    for (uint32_t i = 0; i < words; i++)
        for (uint64_t left = shards[i]; left != 0; run++) {
            uint32_t next = epoch_of(of, i * 64 + bits_next(&left));
            if (next == epoch) continue;
            if (run > 0) {
                buf_put_varint(out, run);
                buf_put_varint(out, epoch);
            }
            epoch = next;
            run = 0;
        }
    if (run == 0) return;
    buf_put_varint(out, run);
    buf_put_varint(out, epoch);
}

enum status shard_list_get(const struct epochs *of, struct sv bytes, uint64_t *shards,
                           struct err *err) {
    struct reader r = reader_init(bytes.ptr, bytes.len);
    uint32_t count = of->map->settings.shards_count;
    uint64_t words = read_varint(&r), run = 0, epoch = 0;
    if (!r.failed && words > (count + 63) / 64)
        return err_set(err, ERR_CORRUPT, 0, "shard list: %" PRIu64 " shards of %" PRIu32,
                       words * 64, count);
    struct reader runs = r;
    read_bytes(&runs, (size_t)words * 8);
    for (uint64_t i = 0; i < words && !runs.failed; i++)
        for (uint64_t left = read_u64(&r); left != 0 && !runs.failed; run--) {
            uint32_t shard = (uint32_t)i * 64 + bits_next(&left);
            if (shard >= count)
                return err_set(err, ERR_CORRUPT, 0, "shard list: shard %" PRIu32 " of %" PRIu32,
                               shard, count);
            if (run == 0) {
                run = read_varint(&runs);
                epoch = read_varint(&runs);
                if (run == 0) runs.failed = true;
            }
            if (!runs.failed && epoch == epoch_of(of, shard)) bit_set(shards, shard);
        }
    if (runs.failed || run != 0 || reader_left(&runs) != 0)
        return err_set(err, ERR_CORRUPT, 0, "shard list: malformed");
    return OK;
}

enum status shard_list_narrow(const struct epochs *of, struct sv bytes, uint64_t *claimed,
                              struct err *err) {
    uint32_t words = (of->map->settings.shards_count + 63) / 64;
    uint64_t *answered = calloc(words, sizeof *answered);
    if (answered == NULL) return err_set(err, ERR_NOMEM, 0, "query: out of memory");
    enum status st = shard_list_get(of, bytes, answered, err);
    if (st == OK && !bits_within(answered, claimed, words))
        st = err_set(err, ERR_CORRUPT, 0,
                     "reply of another node claims shards that it was not asked for");
    for (uint32_t i = 0; i < words; i++)
        claimed[i] &= answered[i];
    free(answered);
    return st;
}
