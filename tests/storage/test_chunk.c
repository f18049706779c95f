/* SPDX-License-Identifier: Apache-2.0 */
#include <criterion/criterion.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "node/base/bytes.h"
#include "node/base/rng.h"
#include "storage/chunk.h"

static struct chunk_open open_new(uint8_t full) {
    return (struct chunk_open){.full = full};
}

static void open_drop(struct chunk_open *c, struct chunk_slab *slab) {
    if (c->first != NULL) chunk_slab_give(slab, c->first, c->tail);
    chunk_reset(c);
}

struct rows {
    int64_t times_ms[CHUNK_SAMPLES_MAX];
    uint64_t bits[CHUNK_SAMPLES_MAX];
    size_t count;
};

static bool rows_are(const struct rows *want, const int64_t *times_ms, const double *values) {
    for (size_t i = 0; i < want->count; i++)
        if (times_ms[i] != want->times_ms[i] || f64_bits(values[i]) != want->bits[i]) return false;
    return true;
}

enum value_shape {
    CONSTANT,
    WALK,
    COUNTER,
    GAUGE,
    SPECIAL,
    RANDOM_BITS,
    MOSTLY_SAME,
    VALUE_SHAPES
};
enum time_shape { REGULAR, JITTER, GAPS, RANDOM_STEPS, EXTREME, TIME_SHAPES };

static uint64_t value_next(struct rng *r, enum value_shape shape, uint64_t last) {
    static const uint64_t special[] = {
        0x7ff0000000000002,
        0x7ff8000000000001,
        0x7ff0000000000000,
        0xfff0000000000000,
        0x8000000000000000,
        0,
        1,
        0x000fffffffffffff,
        0xffffffffffffffff,
        0x7fefffffffffffff,
        0x3ff0000000000000,
    };
    switch (shape) {
    case CONSTANT: return last;
    case WALK: return f64_bits(f64_from_bits(last) + (double)(int64_t)rng_below(r, 21) - 10);
    case COUNTER: return f64_bits(f64_from_bits(last) + (double)rng_below(r, 1000));
    case GAUGE: return f64_bits(rng_unit(r) * 100);
    case SPECIAL: return special[rng_below(r, sizeof special / sizeof *special)];
    case RANDOM_BITS: return rng_u64(r);
    case MOSTLY_SAME: return rng_below(r, 10) == 0 ? f64_bits(rng_unit(r)) : last;
    case VALUE_SHAPES: break;
    }
    return 0;
}

/* false: no later time is left */
static bool time_next(struct rng *r, enum time_shape shape, int64_t *time_ms) {
    uint64_t step = 15000;
    switch (shape) {
    case REGULAR: break;
    case JITTER: step += rng_below(r, 21) - 10; break;
    case GAPS: step *= 1 + (rng_below(r, 20) == 0 ? rng_below(r, 100000) : 0); break;
    case RANDOM_STEPS: step = 1 + (rng_u64(r) >> rng_below(r, 64)) / 200; break;
    case EXTREME: step = 1 + (rng_u64(r) >> (rng_below(r, 3) == 0 ? 1 : rng_below(r, 64))); break;
    case TIME_SHAPES: break;
    }
    if (step > (uint64_t)INT64_MAX - (uint64_t)*time_ms) return false;
    *time_ms = (int64_t)((uint64_t)*time_ms + step);
    return true;
}

static void rows_make(struct rng *r, struct rows *rows) {
    enum value_shape values = (enum value_shape)rng_below(r, VALUE_SHAPES);
    enum time_shape times = (enum time_shape)rng_below(r, TIME_SHAPES);
    size_t want = 1 + rng_below(r, CHUNK_SAMPLES_MAX);
    int64_t time_ms =
        times == EXTREME ? INT64_MIN + (int64_t)rng_below(r, 3) : (int64_t)rng_below(r, 1ull << 41);
    uint64_t bits = f64_bits((double)rng_below(r, 1000));
    rows->count = 0;
    do {
        rows->times_ms[rows->count] = time_ms;
        rows->bits[rows->count++] = bits;
        bits = value_next(r, values, bits);
    } while (rows->count < want && time_next(r, times, &time_ms));
}

/* Snapshot on the way, snapshot at the end, and sealed bytes all give back what went in. */
static void round_trip(struct rng *r, struct chunk_slab *slab, const struct rows *rows) {
    static int64_t times_ms[CHUNK_SAMPLES_MAX];
    static double values[CHUNK_SAMPLES_MAX];
    static uint8_t bytes[CHUNK_BYTES_MAX];
    struct chunk_open c = open_new((uint8_t)rows->count);
    size_t look_at = rng_below(r, rows->count);
    for (size_t i = 0; i < rows->count; i++) {
        cr_assert(chunk_append(&c, slab, rows->times_ms[i], rows->bits[i]) == OK);
        if (i != look_at && i + 1 < rows->count) continue;
        struct chunk_snapshot s = chunk_snapshot(&c);
        struct rows part = *rows;
        part.count = i + 1;
        cr_assert(s.count == i + 1 && chunk_snapshot_first_ms(&s) == rows->times_ms[0]);
        cr_assert(chunk_snapshot_read(&s, times_ms, values) == OK &&
                  rows_are(&part, times_ms, values));
    }
    size_t len = chunk_encode(&c, bytes);
    memset(times_ms, 0, sizeof times_ms);
    cr_assert(chunk_decode(bytes, len, rows->times_ms[0], rows->count, times_ms, values) == OK);
    cr_assert(rows_are(rows, times_ms, values));
    open_drop(&c, slab);
}

Test(chunk, whatever_goes_in_comes_out, .timeout = 120) {
    const uint64_t seed = 0x5eed0001;
    printf("chunk seed %#llx\n", (unsigned long long)seed);
    struct rng r;
    rng_init(&r, seed);
    struct chunk_slab slab;
    chunk_slab_init(&slab);
    for (int i = 0; i < 100000; i++) {
        static struct rows rows;
        rows_make(&r, &rows);
        round_trip(&r, &slab, &rows);
    }
    cr_assert(slab.memory_bytes <= 64 << 10, "blocks are reused: %zu", slab.memory_bytes);
    chunk_slab_fini(&slab);
}

Test(chunk, constant_series_takes_no_block_and_few_bytes) {
    struct chunk_slab slab;
    chunk_slab_init(&slab);
    struct chunk_open c = open_new(120);
    for (int i = 0; i < 120; i++)
        cr_assert(chunk_append(&c, &slab, 1600000000000 + i * 15000, f64_bits(42)) == OK);
    cr_assert(slab.memory_bytes == 0);
    uint8_t bytes[CHUNK_BYTES_MAX];
    /* encoding, value, distance, and one run token of 10 bits */
    cr_assert(chunk_encode(&c, bytes) == 1 + 8 + 4 + 2);
    chunk_slab_fini(&slab);
}

/* Bits by hand from the description in chunk.h: 1.0 at 1000, 1.0 at 1010, 1.0 at 1020, -1.0 at
 * 1031, -1.0 at 1042. Run of 2: 0, 1, n-2 = 0 in 8 -> bits 0 1 00000000. Then 1; distance 11 - 10 =
 * 1, zigzag 2 -> 1 0, 010000 (6 bits, low first); XOR is only the sign bit: leading 0, 1
 * significant -> 1 1, 00000, 000000, 1. Then a run of 1: 00. byte 0: bits 0-7  = 0 1 0 0 0 0 0 0 =
 * 0x02 byte 1: 0 0 | 1 | 1 0 | 0 1 0                = 0x4c byte 2: 0 0 0 | 1 1 | 0 0 0 = 0x18 byte
 * 3: 0 0 | 0 0 0 0 0 0                    = 0x00 byte 4: 1 | 0 0                              =
 * 0x01 */
Test(chunk, stream_is_as_described) {
    static const uint8_t want[] = {
        CHUNK_XOR_RUNS, 0, 0, 0, 0, 0, 0, 0xf0, 0x3f, 10, 0, 0, 0, 0x02, 0x4c, 0x18, 0, 0x01};
    static const int64_t times_ms[] = {1000, 1010, 1020, 1031, 1042};
    struct chunk_slab slab;
    chunk_slab_init(&slab);
    struct chunk_open c = open_new(5);
    for (int i = 0; i < 5; i++)
        cr_assert(chunk_append(&c, &slab, times_ms[i], f64_bits(i < 3 ? 1.0 : -1.0)) == OK);
    uint8_t bytes[CHUNK_BYTES_MAX];
    size_t len = chunk_encode(&c, bytes);
    cr_assert(len == sizeof want, "%zu", len);
    for (size_t i = 0; i < len; i++)
        cr_assert(bytes[i] == want[i], "byte %zu is %#x, not %#x", i, bytes[i], want[i]);
    chunk_slab_fini(&slab);
}

Test(chunk, damaged_bytes_are_refused_or_give_rows_but_never_more) {
    const uint64_t seed = 0x5eed0002;
    printf("chunk damage seed %#llx\n", (unsigned long long)seed);
    struct rng r;
    rng_init(&r, seed);
    struct chunk_slab slab;
    chunk_slab_init(&slab);
    size_t refused = 0;
    for (int i = 0; i < 20000; i++) {
        static struct rows rows;
        static uint8_t bytes[CHUNK_BYTES_MAX];
        rows_make(&r, &rows);
        struct chunk_open c = open_new((uint8_t)rows.count);
        for (size_t k = 0; k < rows.count; k++)
            cr_assert(chunk_append(&c, &slab, rows.times_ms[k], rows.bits[k]) == OK);
        size_t len = chunk_encode(&c, bytes);
        open_drop(&c, &slab);
        uint8_t *exact = malloc(len); /* ASan sees reads behind it */
        memcpy(exact, bytes, len);
        size_t cut = rng_below(&r, 2) == 0 ? rng_below(&r, len + 1) : len;
        if (cut > 0) exact[rng_below(&r, cut)] ^= (uint8_t)(1u << rng_below(&r, 8));
        int64_t times_ms[CHUNK_SAMPLES_MAX];
        double values[CHUNK_SAMPLES_MAX];
        size_t count = rng_below(&r, CHUNK_SAMPLES_MAX + 2);
        refused += chunk_decode(exact, cut, 0, count, times_ms, values) == ERR_CORRUPT;
        free(exact);
    }
    cr_assert(refused > 1000, "%zu", refused);
    chunk_slab_fini(&slab);
}

struct damage {
    const char *what;
    uint8_t bytes[24];
    size_t len, count;
};

Test(chunk, each_kind_of_damage_has_its_refusal) {
    static const struct damage cases[] = {
        {"nothing", {0}, 0, 1},
        {"unknown encoding", {2, 0, 0, 0, 0, 0, 0, 0, 0, 10, 0, 0, 0}, 13, 1},
        {"short header", {1, 0, 0, 0, 0, 0, 0, 0, 0, 10, 0, 0}, 12, 1},
        {"negative distance", {1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0x80}, 13, 1},
        {"no samples", {1, 0, 0, 0, 0, 0, 0, 0, 0, 10, 0, 0, 0}, 13, 0},
        {"tokens missing", {1, 0, 0, 0, 0, 0, 0, 0, 0, 10, 0, 0, 0}, 13, 2},
        {"run beyond the count", {1, 0, 0, 0, 0, 0, 0, 0, 0, 10, 0, 0, 0, 2, 0}, 15, 2},
        {"window that was never set", {1, 0, 0, 0, 0, 0, 0, 0, 0, 10, 0, 0, 0, 1 | 4}, 14, 2},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        int64_t times_ms[CHUNK_SAMPLES_MAX];
        double values[CHUNK_SAMPLES_MAX];
        enum status status =
            chunk_decode(cases[i].bytes, cases[i].len, 0, cases[i].count, times_ms, values);
        cr_expect(status == ERR_CORRUPT, "%s", cases[i].what);
    }
}
