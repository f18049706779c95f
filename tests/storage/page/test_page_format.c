/* SPDX-License-Identifier: Apache-2.0 */
/* The bytes of PAGE_FORMAT 1. The golden ones were put together by hand from the specification. */
#include <criterion/criterion.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "node/base/bytes.h"
#include "storage/page/internal.h"

enum { VALUES_MAX = 20, BYTES_MAX = 40 };

struct golden {
    const char *name;
    size_t count, len;
    uint64_t bits[VALUES_MAX]; /* or values, when not */
    double values[VALUES_MAX];
    uint8_t bytes[BYTES_MAX];
};

#define STALE 0x7ff0000000000002

static const struct golden goldens[] = {
    {"zero", 3, 1, {0}, {0, 0, 0}, {0x00}},
    {"one", 2, 1, {0}, {1, 1}, {1 << 3}},
    /* 1000: zigzag 2000 */
    {"integer", 2, 3, {0}, {1000, 1000}, {31 << 3, 0xd0, 0x0f}},
    /* -25 / 10^2: zigzag 49 */
    {"decimal", 2, 2, {0}, {-0.25, -0.25}, {1 | 2 << 3, 49}},
    {"stale", 2, 1, {STALE, STALE}, {0}, {1 | 18 << 3}},
    {"minus zero", 1, 1, {0x8000000000000000}, {0}, {1 | 22 << 3}},
    {"raw", 1, 9, {0x7ff0000000000abc}, {0}, {1 | 23 << 3, 0xbc, 0x0a, 0, 0, 0, 0, 0xf0, 0x7f}},
    /* order 1, width 0: head 1 << 7 | small 1 << 11 | base 1 << 12 = 0x1880; first 100, base 7 */
    {"ramp", 4, 6, {0}, {100, 107, 114, 121}, {2, 0x80, 0x18, 0xc8, 0x01, 14}},
    /* 0.5 0.8 1.1 1.4: e 1, first 5, base 3 */
    {"decimal ramp", 4, 5, {0}, {0.5, 0.8, 1.1, 1.4}, {2 | 1 << 3, 0x80, 0x18, 10, 6}},
    /* order 0, width 2 from the minimum 10: head 2 | small | base = 0x1802; 0 3 1 2 0 3 2 1 */
    {"width",
     8,
     6,
     {0},
     {10, 13, 11, 12, 10, 13, 12, 11},
     {2, 0x02, 0x18, 20, 0 | 3 << 2 | 1 << 4 | 2 << 6, 0 | 3 << 2 | 2 << 4 | 1 << 6}},
    /* the same in steps of 4096: gcd 1 << 9, base 40960 = zigzag 81920 */
    {"gcd",
     8,
     10,
     {0},
     {40960, 53248, 45056, 49152, 40960, 53248, 49152, 45056},
     {2, 0x02, 0x1a, 0x80, 0x80, 0x05, 0x80, 0x20, 0x9c, 0x6c}},
    /* all 0 but one: order 0, width 0, patch 3 high 5: the gcd of one distance is itself, so 5 * 1
     */
    {"patch", 20, 7, {0}, {0, 0, 0, 5}, {2, 0x00, 0x0e, 5, 1, 3, 2}},
    /* order 2: first 1, difference 2, base 3: 1 3 8 16 27 */
    {"order 2", 5, 6, {0}, {1, 3, 8, 16, 27}, {2, 0x00, 0x19, 2, 4, 6}},
    /* below the others: high -1 */
    {"patch below", 20, 7, {0}, {0, 0, 0, -5}, {2, 0x00, 0x0e, 5, 1, 3, 1}},
    /* one run: gap 1, len 2 of code 0, then the page of 3 ones */
    {"runs",
     5,
     5,
     {0x3ff0000000000000, STALE, STALE, 0x3ff0000000000000, 0x3ff0000000000000},
     {0},
     {7, 1, 1, 1 << 3 | 0, 1 << 3}},
    {"runs only",
     3,
     6,
     {STALE, STALE, 0x7ff0000000000000},
     {0},
     {7, 2, 0, 1 << 3 | 0, 0, 0 << 3 | 2}},
};

static struct page_scratch scratch;

static void golden_values(const struct golden *g, double *values) {
    bool by_bits = g->bits[0] != 0;
    for (size_t i = 0; i < g->count; i++)
        values[i] = by_bits ? f64_from_bits(g->bits[i]) : g->values[i];
}

Test(page_format, golden_bytes_are_written_and_read) {
    page_scratch_init(&scratch);
    for (size_t i = 0; i < ARRAY_LEN(goldens); i++) {
        const struct golden *g = &goldens[i];
        double values[VALUES_MAX], decoded[VALUES_MAX];
        uint8_t bytes[PAGE_BYTES_MAX];
        golden_values(g, values);
        struct page page = {g->bytes, g->len, g->count};
        cr_assert(page_decode(&scratch, &page, decoded) == OK, "%s", g->name);
        cr_assert(memcmp(decoded, values, g->count * sizeof *values) == 0, "%s", g->name);
        size_t len = page_encode(&scratch, values, g->count, bytes);
        cr_assert(len == g->len, "%s: %zu bytes", g->name, len);
        cr_assert(memcmp(bytes, g->bytes, len) == 0, "%s", g->name);
    }
}

/* Kinds whose choice is the planner's are only read. */
static const struct golden read_only[] = {
    /* e 1, n 3 5 (order 0, width 2, base 3, small), ulps 0 -1 (width 1, base -1) */
    {"ulps",
     2,
     9,
     {0},
     {0x1.3333333333333p-2, 0x1.fffffffffffffp-2},
     {3 | 1 << 3, 0x02, 0x18, 6, 0 | 2 << 2, 0x01, 0x18, 1, 1}},
    /* order 1, width 0: bits of 1.0 (zigzag in ten bytes: 0x3ff << 53) and one more each */
    {"bits",
     3,
     13,
     {0x3ff0000000000000, 0x3ff0000000000001, 0x3ff0000000000002},
     {0},
     {4, 0x80, 0x10, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0xf0, 0x7f, 2}},
    /* the bits of -1.0 in order 0 with width 64: 0xbff0.. with the low 63 inverted */
    {"bits below zero",
     1,
     11,
     {0xbff0000000000000},
     {0},
     {4, 64, 0, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x0f, 0xc0}},
    /* width 1, patch at 2: low bit 1, high 3: 1 + 3 * 2 */
    {"patched bits", 4, 7, {0}, {1, 0, 7, 0}, {2, 0x01, 0x0c, 1, 2, 6, 5}},
    {"raw", 1, 9, {0, 0}, {1.5}, {7 | 1 << 3, 0, 0, 0, 0, 0, 0, 0xf8, 0x3f}},
};

Test(page_format, other_kinds_are_read) {
    page_scratch_init(&scratch);
    for (size_t i = 0; i < ARRAY_LEN(read_only); i++) {
        const struct golden *g = &read_only[i];
        double values[VALUES_MAX], decoded[VALUES_MAX];
        golden_values(g, values);
        struct page page = {g->bytes, g->len, g->count};
        cr_assert(page_decode(&scratch, &page, decoded) == OK, "%s", g->name);
        cr_assert(memcmp(decoded, values, g->count * sizeof *values) == 0, "%s", g->name);
    }
}

static const struct {
    const char *name;
    size_t count, len;
    uint8_t bytes[16];
} malformed[] = {
    {"nothing", 1, 0, {0}},
    {"no sample", 0, 1, {0}},
    {"kind 5", 2, 1, {5}},
    {"kind 6", 2, 1, {6}},
    {"bucket", 2, 1, {7 | 3 << 3}},
    {"other 4", 2, 1, {7 | 4 << 3}},
    {"constant with a tail", 2, 2, {1 << 3, 0}},
    {"varint cut", 2, 2, {31 << 3, 0x80}},
    {"varint of 65 bits",
     2,
     11,
     {31 << 3, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x02}},
    {"constant argument", 2, 1, {1 | 26 << 3}},
    {"constant raw cut", 2, 8, {1 | 23 << 3, 0, 0, 0, 0, 0, 0, 0}},
    {"exponent 18", 2, 4, {2 | 18 << 3, 0x00, 0x18, 2}},
    {"bits argument", 2, 4, {4 | 1 << 3, 0x00, 0x18, 2}},
    {"head cut", 2, 2, {2, 0}},
    {"width 65", 2, 16, {2, 65, 0}},
    {"order 3", 5, 6, {2, 0x80, 0x19, 2, 2, 2}},
    {"order of all samples", 1, 5, {2, 0x80, 0x18, 2, 2}},
    {"reserved bit", 2, 4, {2, 0x00, 0x38, 2}},
    {"gcd 1", 2, 5, {2, 0x00, 0x1a, 2, 1}},
    {"bits cut", 8, 5, {2, 0x02, 0x18, 2, 0}},
    {"bits and more", 8, 7, {2, 0x02, 0x18, 2, 0, 0, 0}},
    {"padding", 3, 5, {2, 0x02, 0x18, 2, 0x40}},
    {"no patches", 4, 4, {2, 0x00, 0x0c, 0}},
    {"patches above count", 2, 10, {2, 0x00, 0x0c, 3, 0, 2, 0, 2, 0, 2}},
    {"patch behind the end", 4, 6, {2, 0x00, 0x0c, 1, 4, 2}},
    {"second patch behind the end", 4, 8, {2, 0x00, 0x0c, 2, 3, 2, 0, 2}},
    {"patch of nothing", 4, 6, {2, 0x00, 0x0c, 1, 1, 0}},
    {"patch cut", 4, 5, {2, 0x00, 0x0c, 1, 1}},
    {"patches at width 64", 1, 14, {2, 0x40, 0x0c, 1, 0, 2}},
    {"no runs", 4, 3, {7, 0, 1 << 3}},
    {"more runs than values", 1, 6, {7, 2, 0, 0, 0, 0}},
    {"run behind the end", 4, 5, {7, 1, 4, 0, 1 << 3}},
    {"run too long", 4, 5, {7, 1, 0, 4 << 3, 1 << 3}},
    {"second run too long", 4, 6, {7, 2, 0, 0, 2, 1 << 3}},
    {"raw run cut", 1, 11, {7, 1, 0, 5, 1, 2, 3, 4, 5, 6, 7}},
    {"values missing", 4, 4, {7, 1, 0, 0}},
    {"values too many", 1, 5, {7, 1, 0, 0, 1 << 3}},
    {"runs in runs", 4, 8, {7, 1, 0, 0, 7, 1, 0, 0}},
    {"raw in runs", 2, 13, {7, 1, 0, 0, 7 | 1 << 3}},
    {"raw cut", 1, 8, {7 | 1 << 3}},
    {"raw and more", 1, 10, {7 | 1 << 3}},
    {"second istream missing", 2, 4, {3 | 1 << 3, 0x00, 0x18, 2}},
};

Test(page_format, malformed_bytes_are_refused) {
    static double out[PAGE_SAMPLES_MAX];
    page_scratch_init(&scratch);
    for (size_t i = 0; i < ARRAY_LEN(malformed); i++) {
        uint8_t *exact = malloc(malformed[i].len + 1);
        cr_assert(exact != NULL);
        uint8_t *bytes = realloc(exact, MAX(malformed[i].len, (size_t)1));
        memcpy(bytes, malformed[i].bytes, malformed[i].len);
        struct page page = {bytes, malformed[i].len, malformed[i].count};
        cr_assert(page_decode(&scratch, &page, out) == ERR_CORRUPT, "%s", malformed[i].name);
        free(bytes);
    }
}

Test(page_format, pages_of_several_values_are_limited) {
    static double out[PAGE_SAMPLES_MAX + 1];
    static uint8_t raw[1 + 8 * (PAGE_SAMPLES_MAX + 1)] = {7 | 1 << 3};
    static int64_t ints[PAGE_SAMPLES_MAX + 1];
    page_scratch_init(&scratch);
    const uint8_t ramp[] = {2, 0x80, 0x18, 2, 2}, column[] = {0x80, 0x18, 2, 2};
    struct page page = {ramp, sizeof ramp, PAGE_SAMPLES_MAX};
    cr_assert(page_decode(&scratch, &page, out) == OK);
    page.count++;
    cr_assert(page_decode(&scratch, &page, out) == ERR_CORRUPT);
    page = (struct page){raw, sizeof raw, PAGE_SAMPLES_MAX + 1};
    cr_assert(page_decode(&scratch, &page, out) == ERR_CORRUPT);
    page = (struct page){column, sizeof column, PAGE_SAMPLES_MAX};
    cr_assert(column_decode(&scratch, &page, ints) == OK && ints[1023] == 1 + 1023);
    page.count++;
    cr_assert(column_decode(&scratch, &page, ints) == ERR_CORRUPT);
    page = (struct page){column, sizeof column - 1, 4};
    cr_assert(column_decode(&scratch, &page, ints) == ERR_CORRUPT);
}
