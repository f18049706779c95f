/* SPDX-License-Identifier: Apache-2.0 */
/* storage/page/internal.h: what the files of this folder share; tests use kernels_* too. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "node/base/bytes.h"
#include "storage/page/page.h"

/* The first byte of a page: kind in the low three bits, an argument in the others. */
enum page_kind {
    PAGE_CONST_INT = 0, /* 0 .. 30, or 31: zigzag varint */
    PAGE_CONST = 1,     /* 0 .. 17: exponent, zigzag varint; PAGE_CONST_CODE + run code */
    PAGE_DECIMAL = 2,   /* exponent */
    PAGE_ULP = 3,       /* exponent */
    PAGE_BITS = 4,      /* 0 */
    PAGE_OTHER = 7,     /* enum page_other */
};
enum page_other { PAGE_PATCHED = 0, PAGE_RAW = 1, PAGE_REF = 2, PAGE_BUCKET = 3 };
enum {
    PAGE_KIND_BITS = 3,
    PAGE_KIND_MASK = 7,
    PAGE_INT_LONG = 31,
    PAGE_EXPONENT_MAX = 17,
    PAGE_CONST_CODE = 18,
};

/* Values that no decimal is. The order is the format's. */
enum run_code {
    RUN_STALE,
    RUN_NAN,
    RUN_INF,
    RUN_MINUS_INF,
    RUN_MINUS_ZERO,
    RUN_RAW,
    RUN_NAN_QUIET,
    RUN_NAN_MINUS,
    RUN_CODES,
    RUN_NONE = 255,
};
static const uint64_t run_bits[RUN_CODES] = {
    [RUN_STALE] = 0x7ff0000000000002,      [RUN_NAN] = 0x7ff8000000000001,
    [RUN_INF] = 0x7ff0000000000000,        [RUN_MINUS_INF] = 0xfff0000000000000,
    [RUN_MINUS_ZERO] = 0x8000000000000000, [RUN_NAN_QUIET] = 0x7ff8000000000000,
    [RUN_NAN_MINUS] = 0xfff8000000000000,
};

static const double decimal_powers[PAGE_EXPONENT_MAX + 1] = {
    1e0, 1e1,  1e2,  1e3,  1e4,  1e5,  1e6,  1e7,  1e8,
    1e9, 1e10, 1e11, 1e12, 1e13, 1e14, 1e15, 1e16, 1e17,
};

/* The head of an istream, u16. */
enum {
    ISTREAM_WIDTH_MASK = 0x7f,
    ISTREAM_ORDER_SHIFT = 7,
    ISTREAM_GCD = 1 << 9,
    ISTREAM_PATCHES = 1 << 10,
    ISTREAM_SMALL = 1 << 11, /* all |n| < 2^50 */
    ISTREAM_BASE = 1 << 12,
    ISTREAM_RESERVED = 7 << 13,
    ISTREAM_SMALL_BITS = 50,
    ISTREAM_HEAD_BYTES = 2,
};

/* Bits of a double as an integer that is ordered like the doubles are; its own inverse. */
static inline int64_t bits_fold(uint64_t bits) {
    return (int64_t)(bits ^ ((0 - (bits >> 63)) >> 1));
}
static inline uint64_t bits_unfold(int64_t folded) {
    return (uint64_t)bits_fold((uint64_t)folded);
}

struct kernel_scan {
    unsigned order;
    uint64_t first, first_delta; /* of orders 1, 2 */
    uint64_t base, gcd;
};

/* All of a set give the same results as those of any other, for any input. */
struct page_kernels {
    const char *name;
    /* Unpacks count integers of width 1 .. 64; writes and reads (with PAGE_PAD slack) whole groups
     * of eight. */
    void (*unpack)(const uint8_t *packed, unsigned width, size_t count, uint64_t *out);
    /* Sums residuals[0 .. count - order) into out[0 .. count). */
    void (*scan)(const struct kernel_scan *k, const uint64_t *residuals, size_t count,
                 int64_t *out);
    void (*to_doubles)(const int64_t *ints, size_t count, double power, bool is_small, double *out);
    void (*add_ulps)(double *values, const int64_t *ulps, size_t count);
    /* ints = round(values * power); true when each is less than 2^50 and divides back exactly */
    bool (*to_ints)(const double *values, size_t count, double power, int64_t *ints);
    void (*fill)(double *out, size_t count, double value);
};
const struct page_kernels *kernels_best(void);  /* of this machine */
const struct page_kernels *kernels_plain(void); /* C for any machine */

/* Writes the integers, 1 <= count <= PAGE_SAMPLES_MAX. Returns the length. */
size_t istream_write(struct page_scratch *s, const int64_t *ints, size_t count, uint8_t *out);
/* Reads the first `upto` of count integers and checks all. */
struct istream_read {
    size_t count, upto;
    bool is_small; /* out */
};
enum status istream_read(struct page_scratch *s, struct reader *r, struct istream_read *in,
                         int64_t *out) MUST_USE;

/* The decimal exponent that fits most; the integers go to s->ints, what does not fit is listed in
 * s->fails (ascending). Returns how many those are; count: none was seen to fit, nothing is filled.
 */
size_t decimal_split(struct page_scratch *s, const double *values, size_t count,
                     unsigned *exponent);
/* The exponent for decimals that are some ulps away, -1: no one helps. Fills s->ints, s->ulps. */
int decimal_split_ulps(struct page_scratch *s, const double *values, size_t count);
/* The smallest exponent >= least at which the value is a decimal, or -1. */
int decimal_exponent(double value, unsigned least, int64_t *out);

static inline unsigned bit_length(uint64_t v) {
    return v == 0 ? 0 : 64 - (unsigned)__builtin_clzll(v);
}
static inline size_t varint_len(uint64_t v) {
    return (bit_length(v | 1) + 6) / 7;
}
