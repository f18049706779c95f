/* SPDX-License-Identifier: Apache-2.0 */
/* storage/log_pack_internal.h: what log_pack.c and log_unpack.c share. Only these include it. */
#pragma once

#include <math.h>

#include "node/base/bytes.h"
#include "node/base/map.h"
#include "storage/log_pack.h"

enum pack_stream {
    PACK_FRAMES,
    PACK_OPS,
    PACK_PLACES,
    PACK_TIMES,
    PACK_CONTROLS,
    PACK_DELTAS,
    PACK_BYTES,
    PACK_LITERALS,
    PACK_STREAMS
};
enum pack_op { OP_CHAIN = 1, OP_PLACE = 2, OP_TIME = 4, OP_STEPS = 8, OP_LITERAL = 128 };
enum pack_control {
    CONTROL_SAME = 0,
    CONTROL_DECIMAL = 1,
    CONTROL_REPEAT = 11,
    CONTROL_BYTES = 16,
    PACK_SCALES = CONTROL_REPEAT - CONTROL_DECIMAL,
    SCALE_NONE = 255 /* its values are no decimals */
};
enum { PACK_NONE = UINT32_MAX };

struct pack_record {
    uint64_t bits;
    int64_t delta; /* of the last decimal */
    uint32_t shard, number;
    uint32_t next; /* which came behind it the last time; PACK_NONE */
    uint8_t scale;
};
struct pack_place {
    uint32_t incarnation, epoch;
    uint64_t seq;
};

struct log_pack {
    struct pack_record *records;
    uint32_t records_count, records_cap;
    struct map by_number;
    struct pack_place *places; /* by shard */
    uint32_t places_count;
    uint32_t last; /* record; PACK_NONE */
    int64_t time_ms;
    uint32_t *chain; /* records of the entry at hand */
    size_t chain_count, chain_cap;
    struct buf streams[PACK_STREAMS];
    uint64_t bytes; /* payloads of the pack at hand */
    uint32_t frames;
    struct buf out;
    struct ZSTD_CCtx_s *compressor;
    struct ZSTD_DCtx_s *decompressor;
};

enum status pack_nomem(struct err *err);
/* The record of a series number, made when there is none; PACK_NONE: no memory. */
uint32_t pack_record_of(struct log_pack *p, uint32_t shard, uint32_t number);
/* Of the shard, which is below LOG_PACK_SHARDS_MAX; NULL: no memory. */
struct pack_place *pack_place_of(struct log_pack *p, uint32_t shard);
enum status pack_chain_reserve(struct log_pack *p, size_t count) MUST_USE;
/* The series of the chain came one behind the other. */
static inline void pack_chain_learn(struct log_pack *p) {
    uint32_t last = p->last;
    for (size_t i = 0; i < p->chain_count; i++) {
        if (last != PACK_NONE) p->records[last].next = p->chain[i];
        last = p->chain[i];
    }
    p->last = last;
}
static inline uint32_t pack_next(const struct log_pack *p, uint32_t record) {
    return record == PACK_NONE ? PACK_NONE : p->records[record].next;
}

/* One that was checked before. */
static inline uint64_t pack_varint(const uint8_t **p) {
    if (__builtin_expect(**p < 0x80, 1)) return *(*p)++;
    struct reader r = reader_init(*p, VARINT_BYTES_MAX);
    uint64_t v = read_varint(&r);
    *p = r.cur;
    return v;
}

extern const double pack_powers[PACK_SCALES];
/* The value as an integer of that many decimals, 0 when it is none near it. Both sides round the
 * same. */
static inline int64_t pack_scaled(double v, unsigned scale) {
    double x = v * pack_powers[scale];
    return fabs(x) < 0x1p53 ? (int64_t)(x < 0 ? x - 0.5 : x + 0.5) : 0;
}
static inline uint64_t pack_decimal(int64_t a, unsigned scale) {
    return f64_bits((double)a / pack_powers[scale]);
}
