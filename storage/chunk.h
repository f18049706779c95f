/* SPDX-License-Identifier: Apache-2.0 */
/* storage/chunk.h: samples of one series as bits. An open chunk is appended to by its core while
 * workers read what was published before; a sealed one is an immutable run of bytes.
 *
 * Stream, least significant bit first (after Gorilla, Pelkonen et al., VLDB 2015, 4.1, with runs):
 *   first time 64, first value 64, predicted distance 32 (ms, of the first two samples), then
 * tokens: 00                  one sample at the predicted distance with the last value 01 n:8 n + 2
 * such samples 1 T V               a sample that is neither T: 0 predicted | 10 d:6 | 110 d:13 |
 * 1110 d:24 | 1111 d:64     d: zigzag(distance - predicted), 64: wraps V: 0 last value | 10 x:s the
 * last window | 11 l:5 s-1:6 x:s    x: value XOR last value without its l leading and the trailing
 * zeros The predicted distance is the last distance, or 0 when that does not fit 31 bits. A sealed
 * chunk is one byte of encoding (CHUNK_XOR_RUNS), then the stream without its first time, which is
 * the chunk's min_ms; how many samples it has stands beside it. A run that is still growing is not
 * in the stream but in chunk_open.run, and as long as the chunk is nothing but one run it has no
 * blocks at all: a constant series at constant distance costs no memory until it is sealed. */
#pragma once

#include <assert.h>
#include <stddef.h>
#include <stdint.h>

#include "node/base/status.h"

enum {
    CHUNK_BLOCK_WORDS = 7,
    CHUNK_BLOCK_BITS = CHUNK_BLOCK_WORDS * 64,
    CHUNK_SAMPLES_MAX = 150,
    CHUNK_HEADER_BITS = 160,
    CHUNK_RUN_BITS_MAX = 10,
    CHUNK_TOKEN_BITS_MAX = CHUNK_RUN_BITS_MAX + 1 + 68 + 2 + 11 + 64,
    CHUNK_BITS_MAX = CHUNK_HEADER_BITS + CHUNK_TOKEN_BITS_MAX * CHUNK_SAMPLES_MAX,
    CHUNK_WORDS_MAX = (CHUNK_BITS_MAX + 63) / 64,
    CHUNK_BYTES_MAX = CHUNK_WORDS_MAX * 8,
};

enum chunk_encoding { CHUNK_XOR_RUNS = 1 };

/* One cache line; its words are written once from low bits to high ones. */
struct chunk_block {
    uint64_t words[CHUNK_BLOCK_WORDS];
    struct chunk_block *next; /* set before any bit of the next block is published */
};

/* Blocks of one core. Freed ones are reused, nothing is given back before fini. */
struct chunk_slab {
    struct chunk_block *free;
    struct chunk_block *segments; /* the first block of each links the segments */
    uint32_t segment_used;
    size_t memory_bytes;
};
void chunk_slab_init(struct chunk_slab *slab);
void chunk_slab_fini(struct chunk_slab *slab);
void chunk_slab_give(struct chunk_slab *slab, struct chunk_block *first, struct chunk_block *last);

struct chunk_open {
    int64_t last_ms; /* kept over seals, as are last_bits, delta_ms */
    uint64_t last_bits;
    struct chunk_block *first, *tail; /* NULL: all samples are one run */
    int32_t delta_ms;                 /* predicted distance */
    uint16_t bits;                    /* published in blocks */
    uint8_t count;                    /* samples, those of the run included */
    uint8_t run;                      /* predicted samples that are not in blocks */
    uint8_t leading, significant;     /* the last window; significant 0: none */
    uint8_t full;                     /* seal at this count, 1 .. CHUNK_SAMPLES_MAX */
    uint8_t has_last : 1;             /* there is a sample, here or sealed */
    uint8_t has_extras : 1;           /* for the head (storage/head_histograms.h) */
    uint32_t owner;                   /* for the series; fills the line */
};
static_assert(sizeof(struct chunk_open) == 48, "with its id a series is one cache line");

/* The caller has sealed when count reached full. ERR_NOMEM changes nothing. */
enum status chunk_append(struct chunk_open *c, struct chunk_slab *slab, int64_t time_ms,
                         uint64_t bits) MUST_USE;

/* What a reader needs of an open chunk; taken on the core, read anywhere while its blocks are kept.
 */
struct chunk_snapshot {
    const struct chunk_block *first;
    int64_t last_ms;
    uint64_t last_bits;
    int32_t delta_ms;
    uint16_t bits;
    uint8_t count, run;
};
static inline struct chunk_snapshot chunk_snapshot(const struct chunk_open *c) {
    return (struct chunk_snapshot){c->first, c->last_ms, c->last_bits, c->delta_ms,
                                   c->bits,  c->count,   c->run};
}
int64_t chunk_snapshot_first_ms(const struct chunk_snapshot *s); /* count > 0 */
/* Fills s->count rows. */
enum status chunk_snapshot_read(const struct chunk_snapshot *s, int64_t *times_ms,
                                double *values) MUST_USE;

/* Sealed bytes of an open chunk with samples: returns their length. */
size_t chunk_encode(const struct chunk_open *c, uint8_t out[CHUNK_BYTES_MAX]);
static inline size_t chunk_words(uint16_t bits) {
    return ((size_t)bits + 63) / 64;
}
/* Makes the blocks of a chunk whose other fields are given, from their bits in words whose rest is
 * zeros: as head snapshots had them. ERR_CORRUPT: no chunk is like that; ERR_NOMEM. Both leave *c
 * without blocks. */
enum status chunk_restore(struct chunk_open *c, struct chunk_slab *slab,
                          const uint8_t *words) MUST_USE;
/* Begins the next chunk; the caller has taken the blocks. */
void chunk_reset(struct chunk_open *c);
/* Fills count rows, at most CHUNK_SAMPLES_MAX. ERR_CORRUPT when the bytes are not such a chunk. */
enum status chunk_decode(const uint8_t *bytes, size_t len, int64_t first_ms, size_t count,
                         int64_t *times_ms, double *values) MUST_USE;
