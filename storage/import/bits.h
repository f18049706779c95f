/* SPDX-License-Identifier: Apache-2.0 */
/* storage/import/bits.h: reads bits, most significant first, as Prometheus' chunks have them. A
 * reader that runs out of bytes sets `failed` and gives zeros. */
#pragma once

#include <assert.h>

#include "storage/import/internal.h"

struct bits {
    const uint8_t *cur, *end;
    uint64_t word; /* its low `held` bits are next */
    unsigned held;
    bool failed;
};

static inline uint64_t bits_take_56(struct bits *b, unsigned n) {
    while (b->held < n) {
        if (b->cur == b->end) {
            b->failed = true;
            return 0;
        }
        b->word = b->word << 8 | *b->cur++;
        b->held += 8;
    }
    b->held -= n;
    return b->word >> b->held & ((1ULL << n) - 1);
}

static inline uint64_t bits_take(struct bits *b, unsigned n) {
    assert_slow(n <= 64);
    if (n <= 56) return bits_take_56(b, n);
    uint64_t high = bits_take_56(b, n - 32);
    return high << 32 | bits_take_56(b, 32);
}

/* Two's complement of n bits, but the smallest number stands for the positive one. */
static inline uint64_t bits_signed(struct bits *b, unsigned n) {
    uint64_t d = bits_take(b, n);
    return d > 1ULL << (n - 1) ? d - (1ULL << n) : d;
}

struct bits_window {
    unsigned leading, significant; /* significant 0: none yet */
};

/* A value by its difference to the last: 0 none | 10 x in the last window | 11 leading:5
 * significant:6 (0: 64) x */
static inline uint64_t bits_value(struct bits *b, struct bits_window *w, uint64_t last) {
    if (bits_take(b, 1) == 0) return last;
    if (bits_take(b, 1) == 1) {
        w->leading = (unsigned)bits_take(b, 5);
        w->significant = (unsigned)bits_take(b, 6);
        if (w->significant == 0) w->significant = 64;
    }
    if (w->significant == 0 || w->leading + w->significant > 64) {
        b->failed = true;
        return 0;
    }
    return last ^ bits_take(b, w->significant) << (64 - w->leading - w->significant);
}

/* Varbits: 0: 0 | 10 :3 | 110 :6 | ... :9 :12 :18 :25 :56 | 11111111 :64 */
static inline unsigned bits_varbit_size(struct bits *b) {
    static const uint8_t sizes[] = {0, 3, 6, 9, 12, 18, 25, 56, 64};
    unsigned ones = 0;
    while (ones < 8 && bits_take(b, 1) == 1)
        ones++;
    return sizes[ones];
}

static inline uint64_t bits_varbit(struct bits *b) {
    return bits_take(b, bits_varbit_size(b));
}
