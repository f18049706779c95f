/* SPDX-License-Identifier: Apache-2.0 */
/* storage/histogram.h: native histograms (Prometheus 3.14, model/histogram): one sample of one, its
 * bytes and its rules.
 *
 *   bytes := u8 version (1), u8 flags, i8 schema,
 *            [zigzag start]                       bit 0: there is a start timestamp
 *            count: varint, or f64 of a float histogram (bit 1)
 *            f64 sum
 *            [f64 zero threshold, zero count]     bit 2; zero count as count
 *            [negative side] [positive side]      bits 3, 4
 *            [varint count, f64 bounds]           bit 5
 *   side  := varint spans, { zigzag offset, varint length }, the buckets of all spans: zigzag
 *            differences to the bucket before, or f64 counts of a float histogram
 *   bits 6 and 7: the counter-reset hint
 *
 * Little-endian, floats by their bits, varints minimal, nothing absent written: one histogram has
 * one encoding. It goes into the log, to other nodes and to disk as it is, without its time.
 * Thread: values, any. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "node/base/arena.h"
#include "node/base/buf.h"
#include "node/base/hash.h"
#include "node/base/status.h"
#include "node/base/sv.h"

enum {
    HISTOGRAM_SCHEMA_MIN = -4, /* bucket bounds are powers of 2^(2^-schema) */
    HISTOGRAM_SCHEMA_MAX = 8,
    HISTOGRAM_SCHEMA_REDUCED_MAX = 52, /* finer ones than _MAX are known, and made coarser */
    HISTOGRAM_SCHEMA_CUSTOM = -53,     /* bounds are given */
    HISTOGRAM_BYTES_MAX = 256 << 10    /* of an encoded one */
};

enum histogram_hint { HISTOGRAM_UNKNOWN, HISTOGRAM_RESET, HISTOGRAM_NOT_RESET, HISTOGRAM_GAUGE };

struct histogram_span {
    int32_t offset; /* to the end of the span before; of the first: its bucket's index */
    uint32_t length;
};
struct histogram_side {
    struct histogram_span *spans;
    uint32_t spans_count, buckets_count;
    int64_t *deltas; /* integer flavour: each to the bucket before; else NULL */
    double *counts;  /* float flavour: as they are; else NULL */
};
struct histogram {
    bool is_float;
    enum histogram_hint hint;
    int32_t schema;
    int64_t start_ms;        /* 0: none known */
    uint64_t count;          /* integer flavour */
    uint64_t zero_count;     /* integer flavour */
    double count_float;      /* float flavour */
    double zero_count_float; /* float flavour */
    double zero_threshold;   /* >= 0 */
    double sum;              /* the stale marker's bits: a stale marker */
    struct histogram_side negative, positive;
    double *bounds; /* custom ones: upper, the last one is +Inf and not among them */
    uint32_t bounds_count;
};

/* Appends the bytes. The sides have as many buckets as their spans say. */
void histogram_put(const struct histogram *h, struct buf *out);
/* All of bytes; arrays are from the arena. ERR_CORRUPT: not what histogram_put writes; ERR_NOMEM.
 * What comes out may still break the rules of histogram_validate. */
enum status histogram_get(struct sv bytes, struct arena *arena, struct histogram *out,
                          struct err *err) MUST_USE;
/* Whether the bytes are of a histogram by all rules; scratch is used. */
enum status histogram_check(struct sv bytes, struct arena *scratch, struct err *err) MUST_USE;

/* ERR_LIMIT with Prometheus' sentence in err->msg: nothing else. */
enum status histogram_validate(const struct histogram *h, struct err *err) MUST_USE;
/* Fewer buckets: to that schema, below its own; both exponential. Arrays are rewritten in place.
 * The spans name as many buckets as there are. */
void histogram_reduce(struct histogram *h, int32_t schema);

/* As Prometheus compares a sample with the one that is held: everything but hint and start, floats
 * by their bits. */
bool histogram_equal(const struct histogram *a, const struct histogram *b);
/* Of encoded ones: both are whole. */
bool histogram_bytes_equal(struct sv a, struct sv b);
/* Of the encoded bytes: for digests. */
static inline struct hash128 histogram_hash(struct sv bytes, uint64_t seed) {
    return hash128(bytes.ptr, bytes.len, seed);
}

bool histogram_is_stale(const struct histogram *h);
/* A stale marker in the integer flavour: nothing but its sum. */
struct histogram histogram_stale(void);
/* Of encoded ones, without reading the rest; 0: none known. The bytes are whole. */
int64_t histogram_bytes_start_ms(struct sv bytes);
