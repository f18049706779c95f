/* SPDX-License-Identifier: Apache-2.0 */
/* storage/log_pack_internal.h: what log_pack.c, log_unpack.c and log_values.c share. Only these
 * include it. */
#pragma once

#include <math.h>

#include "node/base/bytes.h"
#include "node/base/map.h"
#include "storage/entry.h"
#include "storage/log_coder.h"
#include "storage/log_pack.h"

enum pack_stream {
    PACK_FRAMES,
    PACK_OPS,
    PACK_PLACES,
    PACK_TIMES,
    PACK_SERIES,
    PACK_VALUES,
    PACK_LITERALS,
    PACK_STREAMS,
    /* of format 1 */
    PACK_CONTROLS = PACK_STREAMS,
    PACK_DELTAS,
    PACK_BYTES,
    PACK_STREAMS_ALL
};
enum pack_format { PACK_FORMAT_1 = 1, PACK_FORMAT = 2 };
enum pack_op {
    OP_CHAIN = 1,
    OP_PLACE = 2,
    OP_TIME = 4,
    OP_STEPS = 8,
    OP_SERIES = 16,
    OP_LITERAL = 128
};
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
    uint64_t step; /* what all differences since the scale was said are multiples of; 0: none yet */
    uint32_t shard, number;
    uint32_t next;      /* which came behind it the last time; PACK_NONE */
    uint32_t numbering; /* the place's, of format 2: else it is another series now */
    uint8_t scale;
    /* of format 2 (log_values.c) */
    uint8_t kinds;     /* of the last four values, the last one lowest, two bits each */
    uint8_t widths[2]; /* of the last two differences, the last one first */
    uint8_t signs;     /* of those, the last one lowest; 1: below 0 */
    bool inexact;
};
struct pack_place {
    uint32_t incarnation, epoch;
    uint64_t seq;
    uint32_t numbering; /* counts how often the shard's series were numbered anew */
};

enum { WIDTHS = 64, WIDTH_TREND = 5, WIDTH_CLASSES = 32, TOP_BITS = 3 };
/* The chances of what is said of a value. */
struct pack_model {
    coder_chance differs[256], repeats_not[256], is_bits[256]; /* by kinds */
    coder_chance rescaled, scale[16], inexact[2], ulps[32], off_step;
    coder_chance width[WIDTH_CLASSES * WIDTH_TREND][WIDTHS];
    coder_chance top[WIDTHS][1 << TOP_BITS];
    coder_chance sign[8], bytes[16];
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
    struct buf streams[PACK_STREAMS_ALL];
    struct coder_out values_out;
    struct coder_in values_in;
    struct pack_model model;
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
/* What is learnt from an entry that is said as it is. */
enum status pack_literal_learn(struct log_pack *p, const struct entry *e) MUST_USE;
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

/* -- log_values.c */
void pack_model_init(struct pack_model *m);
/* Of no value yet. */
void pack_record_reset(struct pack_record *r, uint32_t numbering);
/* The values of the chain's series, from bytes; grows PACK_VALUES. */
void pack_values_put(struct log_pack *p, uint32_t numbering, const uint8_t *values);
/* To bytes. False: no writer says so. */
bool pack_values_get(struct log_pack *p, uint32_t numbering, uint8_t *to) MUST_USE;

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
