/* SPDX-License-Identifier: Apache-2.0 */
#include <criterion/criterion.h>
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "node/base/bytes.h"
#include "node/base/rng.h"
#include "storage/page/internal.h"

enum { SEED = 20261122 };

static struct page_scratch scratch;
static uint8_t *block; /* exact-size heap copies, so that ASan sees a read past the end */

static struct page page_of(const uint8_t *bytes, size_t len, size_t count) {
    free(block);
    block = malloc(len + (len == 0));
    cr_assert(block != NULL);
    memcpy(block, bytes, len);
    return (struct page){block, len, count};
}

static void setup(void) {
    page_scratch_init(&scratch);
}

static void teardown(void) {
    free(block);
}

/* ---- values of many kinds ---- */

enum shape {
    COUNTER,
    COUNTER_RESETS,
    GAUGE_INT,
    GAUGE_PAGES, /* multiples of 4096 */
    DECIMAL,     /* of 1 .. 17 digits */
    DECIMAL_WALK,
    NS_SUMS, /* as Go sums durations */
    NOISE,
    FLOAT32,
    STALE_RUNS,
    NAN_PAYLOADS,
    RANDOM_BITS,
    SUBNORMAL,
    HUGE_INT,
    SIGNS, /* 0, -0, +-1, infinities */
    MOSTLY_SAME,
    SPIKES_DOWN,
    SHAPES
};
static const char *const shape_names[SHAPES] = {
    "counter",   "counter resets", "gauge",   "pages",       "decimal",     "decimal walk",
    "ns sums",   "noise",          "float32", "stale runs",  "payloads",    "random bits",
    "subnormal", "huge integers",  "signs",   "mostly same", "spikes down",
};

struct maker {
    struct rng rng;
    enum shape shape;
    unsigned digits, exponent;
    double value;
    bool stale;
};

static double power_of(unsigned e) {
    return e <= 17 ? decimal_powers[e] : 1;
}

static double maker_next(struct maker *m) {
    static const double signs[] = {0.0, -0.0, 1, -1, INFINITY, -INFINITY};
    struct rng *r = &m->rng;
    switch (m->shape) {
    case COUNTER: return m->value += (double)rng_below(r, 1000);
    case COUNTER_RESETS:
        return m->value = rng_chance(r, 0.02) ? 0 : m->value + (double)rng_below(r, 100);
    case GAUGE_INT: return (double)rng_below(r, 2000) - 1000;
    case GAUGE_PAGES: return m->value += ((double)rng_below(r, 200) - 100) * 4096;
    case DECIMAL: {
        uint64_t n = rng_below(r, (uint64_t)power_of(m->digits));
        return (double)n / power_of(m->exponent) * (rng_chance(r, 0.5) ? 1 : -1);
    }
    case DECIMAL_WALK:
        m->value += (double)rng_below(r, 41) - 20;
        return m->value / power_of(m->exponent);
    case NS_SUMS: return m->value += (double)rng_below(r, 5000000) / 1e9;
    case NOISE: return rng_unit(r) * 1e6 - 1000;
    case FLOAT32: return (double)(float)(rng_unit(r) * 100);
    case STALE_RUNS:
        if (rng_chance(r, 0.1)) m->stale = !m->stale;
        m->value += 0.25;
        return m->stale ? f64_from_bits(run_bits[rng_below(r, 20) == 0 ? RUN_NAN : RUN_STALE])
                        : m->value;
    case NAN_PAYLOADS:
        return rng_chance(r, 0.3) ? f64_from_bits(rng_u64(r) | 0x7ff0000000000000) : 17.5;
    case RANDOM_BITS: return f64_from_bits(rng_u64(r));
    case SUBNORMAL: return f64_from_bits(rng_u64(r) >> (12 + rng_below(r, 52)));
    case HUGE_INT: return ldexp(rng_unit(r), 64) * (rng_chance(r, 0.5) ? 1 : -1);
    case SIGNS: return signs[rng_below(r, ARRAY_LEN(signs))];
    case MOSTLY_SAME:
        if (rng_chance(r, 0.03)) m->value = (double)rng_below(r, 10000) / 100;
        return m->value;
    case SPIKES_DOWN: return (double)rng_below(r, 8) - (rng_chance(r, 0.02) ? 100000 : 0);
    case SHAPES: break;
    }
    return 0;
}

static void values_make(enum shape shape, uint64_t seed, size_t count, double *values) {
    struct maker m = {.shape = shape};
    rng_init(&m.rng, seed);
    m.digits = 1 + (unsigned)rng_below(&m.rng, 17);
    m.exponent = (unsigned)rng_below(&m.rng, 18);
    m.value = (double)rng_below(&m.rng, 1000000);
    for (size_t i = 0; i < count; i++)
        values[i] = maker_next(&m);
}

static size_t round_trip(const double *values, size_t count, const char *what) {
    static uint8_t bytes[PAGE_BYTES_MAX];
    static double decoded[PAGE_SAMPLES_MAX + 1];
    size_t len = page_encode(&scratch, values, count, bytes);
    cr_assert(len <= 1 + 8 * count, "%s: %zu bytes for %zu values", what, len, count);
    struct page page = page_of(bytes, len, count);
    decoded[count] = 4711;
    cr_assert(page_decode(&scratch, &page, decoded) == OK, "%s: %zu values", what, count);
    cr_assert(memcmp(decoded, values, count * sizeof *values) == 0, "%s: %zu values", what, count);
    cr_assert(decoded[count] == 4711, "%s: wrote past %zu values", what, count);
    return len;
}

Test(page, every_length_of_every_shape_comes_back, .init = setup, .fini = teardown) {
    static double values[PAGE_SAMPLES_MAX];
    printf("seed %d\n", SEED);
    for (size_t count = 1; count <= PAGE_SAMPLES_MAX; count++) {
        for (enum shape shape = 0; shape < SHAPES; shape++) {
            values_make(shape, SEED + count * SHAPES + shape, count, values);
            round_trip(values, count, shape_names[shape]);
        }
    }
}

Test(page, all_decimals_of_fifteen_digits_cost_what_their_digits_do, .init = setup,
     .fini = teardown) {
    static double values[PAGE_SAMPLES_MAX];
    struct rng r;
    rng_init(&r, SEED);
    for (unsigned digits = 1; digits <= 15; digits++) {
        for (unsigned exponent = 0; exponent <= 17; exponent++) {
            for (size_t i = 0; i < PAGE_SAMPLES_MAX; i++) {
                char text[40]; /* the C library's reading of the digits, not a division of ours */
                uint64_t n = rng_below(&r, (uint64_t)power_of(digits));
                snprintf(text, sizeof text, "%" PRIu64 "e-%u", n, exponent);
                values[i] = strtod(text, NULL);
            }
            size_t len = round_trip(values, PAGE_SAMPLES_MAX, "digits");
            /* n has digits * log2(10) bits; no order can help random ones */
            double bits = ceil(digits * 3.3219280948873626) + 0.1;
            cr_assert((double)len <= PAGE_SAMPLES_MAX * bits / 8 + 24, "%u digits e-%u: %zu bytes",
                      digits, exponent, len);
        }
    }
}

Test(page, sizes_follow_what_the_data_is, .init = setup, .fini = teardown) {
    static const struct {
        enum shape shape;
        double bits_max; /* of a value, of 480: entropy and 6 %, or two bytes a change or run */
    } rows[] = {
        {COUNTER, 10.6},     {GAUGE_INT, 11.7}, {GAUGE_PAGES, 8.5},
        {DECIMAL_WALK, 6.4}, {NS_SUMS, 26.5},   {FLOAT32, 29},
        {MOSTLY_SAME, 1.7},  {STALE_RUNS, 2.7}, {SPIKES_DOWN, 4.4},
    };
    double values[480];
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        double bytes = 0;
        for (uint64_t seed = 0; seed < 16; seed++) {
            values_make(rows[i].shape, SEED + seed, 480, values);
            bytes += (double)round_trip(values, 480, shape_names[rows[i].shape]);
        }
        double bits = bytes * 8 / 480 / 16;
        cr_assert(bits <= rows[i].bits_max, "%s: %g bits a value", shape_names[rows[i].shape],
                  bits);
    }
}

/* A counter whose steps are mostly short, and often long: their differences are shorter taken
 * together, but more of them are long, and packing asks for that. A step has 16 bits. */
Test(page, a_step_that_is_often_long_costs_what_it_is, .init = setup, .fini = teardown) {
    enum { COUNT = 480, HEAD = 16 };
    double values[COUNT], value = 0;
    struct rng rng;
    for (uint64_t seed = 0; seed < 16; seed++) {
        rng_init(&rng, SEED + seed);
        for (unsigned i = 0; i < COUNT; i++) {
            uint64_t more = rng_chance(&rng, 0.4) ? 65536 : 256;
            values[i] = value += (double)(20000 + rng_below(&rng, more));
        }
        size_t len = round_trip(values, COUNT, "steps");
        cr_assert(len <= HEAD + COUNT * 2, "seed %" PRIu64 ": %zu bytes", seed, len);
    }
}

Test(page, ranges_are_slices, .init = setup, .fini = teardown) {
    static double values[PAGE_SAMPLES_MAX], part[PAGE_SAMPLES_MAX + 1];
    static uint8_t bytes[PAGE_BYTES_MAX];
    struct rng r;
    rng_init(&r, SEED);
    for (unsigned i = 0; i < 4000; i++) {
        size_t count = 1 + (size_t)rng_below(&r, PAGE_SAMPLES_MAX);
        values_make((enum shape)(i % SHAPES), SEED + i, count, values);
        struct page page = page_of(bytes, page_encode(&scratch, values, count, bytes), count);
        size_t from = (size_t)rng_below(&r, count + 1);
        size_t to = from + (size_t)rng_below(&r, count - from + 1);
        part[to - from] = 4711;
        cr_assert(page_decode_range(&scratch, &page, from, to, part) == OK);
        cr_assert(memcmp(part, values + from, (to - from) * sizeof *part) == 0,
                  "%s %zu..%zu of %zu", shape_names[i % SHAPES], from, to, count);
        cr_assert(part[to - from] == 4711);
    }
}

Test(page, kernels_agree, .init = setup, .fini = teardown) {
    static struct page_scratch plain;
    static double values[PAGE_SAMPLES_MAX], a[PAGE_SAMPLES_MAX], b[PAGE_SAMPLES_MAX];
    static uint8_t bytes[PAGE_BYTES_MAX], bytes_plain[PAGE_BYTES_MAX];
    page_scratch_init(&plain);
    plain.kernels = kernels_plain();
    printf("kernels %s and %s\n", scratch.kernels->name, plain.kernels->name);
    struct rng r;
    rng_init(&r, SEED);
    for (unsigned i = 0; i < 6000; i++) {
        size_t count = 1 + (size_t)rng_below(&r, PAGE_SAMPLES_MAX);
        values_make((enum shape)(i % SHAPES), SEED + i, count, values);
        size_t len = page_encode(&scratch, values, count, bytes);
        cr_assert(len == page_encode(&plain, values, count, bytes_plain));
        cr_assert(memcmp(bytes, bytes_plain, len) == 0);
        /* also what no encoder writes */
        for (unsigned flips = i % 4; flips > 0; flips--)
            bytes[rng_below(&r, MIN(len, 12))] ^= (uint8_t)(1 << rng_below(&r, 8));
        struct page page = page_of(bytes, len, count);
        enum status got = page_decode(&scratch, &page, a);
        cr_assert(got == page_decode(&plain, &page, b));
        cr_assert(got != OK || memcmp(a, b, count * sizeof *a) == 0, "%s", shape_names[i % SHAPES]);
    }
}

/* The specification alone, bit by bit. */
static uint64_t bits_at(const uint8_t *p, size_t at, unsigned width) {
    uint64_t v = 0;
    for (unsigned i = 0; i < width; i++)
        v |= (uint64_t)(p[(at + i) / 8] >> (at + i) % 8 & 1) << i;
    return v;
}

Test(page, every_width_unpacks, .init = setup) {
    const struct page_kernels *sets[] = {kernels_plain(), kernels_best()};
    static uint8_t packed[PAGE_PACKED_BYTES];
    static uint64_t out[PAGE_SAMPLES_MAX + PAGE_PAD];
    struct rng r;
    rng_init(&r, SEED);
    for (size_t i = 0; i < sizeof packed; i++)
        packed[i] = (uint8_t)rng_u64(&r);
    for (size_t k = 0; k < ARRAY_LEN(sets); k++) {
        for (unsigned w = 1; w <= 64; w++) {
            sets[k]->unpack(packed, w, PAGE_SAMPLES_MAX, out);
            for (size_t i = 0; i < PAGE_SAMPLES_MAX; i++)
                cr_assert(out[i] == bits_at(packed, i * w, w), "%s width %u", sets[k]->name, w);
        }
    }
}

Test(page, one_value_stands_for_any_count, .init = setup, .fini = teardown) {
    static double out[5000];
    const double values[] = {0, 1, 30, 31, -1, 0.25, 1e300, NAN, INFINITY, -0.0, 1e17};
    for (size_t i = 0; i < ARRAY_LEN(values); i++) {
        uint8_t bytes[16];
        size_t len = page_encode(&scratch, &values[i], 1, bytes);
        struct page page = page_of(bytes, len, ARRAY_LEN(out));
        cr_assert(page_decode(&scratch, &page, out) == OK);
        for (size_t k = 0; k < ARRAY_LEN(out); k++)
            cr_assert(f64_bits(out[k]) == f64_bits(values[i]));
    }
}

Test(page, references_are_told_apart) {
    uint8_t bytes[PAGE_REF_BYTES_MAX];
    static const uint64_t backs[] = {1, 127, 128, UINT64_MAX};
    for (size_t i = 0; i < ARRAY_LEN(backs); i++) {
        size_t len = page_ref_encode(backs[i], bytes);
        cr_assert(page_ref_back(bytes, len) == backs[i]);
        cr_assert(page_ref_back(bytes, len - 1) == 0);
        page_scratch_init(&scratch);
        double out[4];
        struct page page = {bytes, len, 4};
        cr_assert(page_decode(&scratch, &page, out) == ERR_CORRUPT);
    }
    cr_assert(page_ref_back((const uint8_t *)"\x08", 1) == 0, "a page");
}

/* ---- columns ---- */

static size_t column_trip(const int64_t *ints, size_t count) {
    static uint8_t bytes[COLUMN_BYTES_MAX];
    static int64_t decoded[PAGE_SAMPLES_MAX];
    size_t len = column_encode(&scratch, ints, count, bytes);
    cr_assert(len <= 2 + 8 * count);
    struct page page = page_of(bytes, len, count);
    cr_assert(column_decode(&scratch, &page, decoded) == OK, "%zu", count);
    cr_assert(memcmp(decoded, ints, count * sizeof *ints) == 0, "%zu", count);
    return len;
}

Test(column, times_of_every_length_come_back, .init = setup, .fini = teardown) {
    static int64_t ints[PAGE_SAMPLES_MAX];
    struct rng r;
    rng_init(&r, SEED);
    for (size_t count = 1; count <= PAGE_SAMPLES_MAX; count++) {
        for (unsigned kind = 0; kind < 7; kind++) {
            uint64_t t = 1795299725116;
            for (size_t i = 0; i < count; i++) {
                switch (kind) {
                case 0: t += 15000; break;
                case 1: t += 15000 + rng_below(&r, 5) - 2; break;
                case 2: t += rng_chance(&r, 0.02) ? 15000 * rng_below(&r, 1000) : 15000; break;
                case 3: t += rng_below(&r, 1000000); break;
                case 4: t = rng_u64(&r); break;
                case 5: t = rng_chance(&r, 0.5) ? (uint64_t)INT64_MIN : (uint64_t)INT64_MAX; break;
                default: t = rng_u64(&r) >> rng_below(&r, 64) << rng_below(&r, 64); break;
                }
                ints[i] = (int64_t)t;
            }
            column_trip(ints, count);
        }
    }
}

Test(column, a_regular_column_is_a_few_bytes, .init = setup, .fini = teardown) {
    static int64_t ints[480];
    for (size_t i = 0; i < ARRAY_LEN(ints); i++)
        ints[i] = 1795299725116 + 15000 * (int64_t)i;
    /* head 2, first time 6, base 3 */
    cr_assert_eq(column_trip(ints, ARRAY_LEN(ints)), 11);
    for (size_t i = 100; i < ARRAY_LEN(ints); i++) /* one gap: gcd 4, patches 1, gap 1, high 1 */
        ints[i] += 15000 * 1000;
    cr_assert_leq(column_trip(ints, ARRAY_LEN(ints)), 11 + 7);
}
