/* SPDX-License-Identifier: Apache-2.0 */
/* storage/log_coder.h: an adaptive binary range coder, as that of LZMA (Pavlov, "LZMA
 * specification", 2015) with chances of 16 bits: a bit that was foretold takes a fraction of one.
 * Who reads asks for the same bits under the same chances. Budget: 5 ns a bit. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "node/base/buf.h"

enum {
    CHANCE_EVEN = 1 << 15, /* of 65536: that the bit is 0 */
    CHANCE_RATE = 5,
    CODER_RANGE_MIN = 1 << 24,
    CODER_END_BYTES = 5,
    CODER_PLAIN_MAX = 12, /* bits at once */
};
typedef uint16_t coder_chance;

static inline coder_chance chance_next(coder_chance p, unsigned bit) {
    return (coder_chance)(bit != 0 ? p - (p >> CHANCE_RATE) : p + ((65535 - p) >> CHANCE_RATE));
}

/* -- writing */

struct coder_out {
    uint64_t low;
    uint32_t range; /* 0: nothing was put */
    uint8_t first;  /* the byte that a carry may still change, */
    uint64_t held;  /* and how many it stands before, itself included: all others are 0xff */
};

static inline void coder_shift(struct coder_out *c, struct buf *out) {
    if (c->low < 0xff000000 || c->low > UINT32_MAX) {
        uint8_t carry = (uint8_t)(c->low >> 32);
        for (uint8_t byte = c->first; c->held > 0; c->held--, byte = 0xff)
            buf_put_u8(out, (uint8_t)(byte + carry));
        c->first = (uint8_t)(c->low >> 24);
    }
    c->held++;
    c->low = (c->low & 0x00ffffff) << 8;
}

static inline void coder_out_begin(struct coder_out *c) {
    *c = (struct coder_out){.range = UINT32_MAX, .held = 1};
}

static inline void coder_put(struct coder_out *c, struct buf *out, coder_chance *p, unsigned bit) {
    uint32_t zero = (c->range >> 16) * *p;
    if (bit == 0) {
        c->range = zero;
    } else {
        c->low += zero;
        c->range -= zero;
    }
    *p = chance_next(*p, bit);
    for (; c->range < CODER_RANGE_MIN; c->range <<= 8)
        coder_shift(c, out);
}

/* The count lowest bits, each as likely as not. */
static inline void coder_put_plain(struct coder_out *c, struct buf *out, uint64_t v,
                                   unsigned count) {
    while (count > 0) {
        unsigned n = count < CODER_PLAIN_MAX ? count : CODER_PLAIN_MAX;
        count -= n;
        c->range >>= n;
        c->low += (v >> count & ((1U << n) - 1)) * c->range;
        for (; c->range < CODER_RANGE_MIN; c->range <<= 8)
            coder_shift(c, out);
    }
}

/* A number of that many bits, the highest first; tree has 1 << count chances. */
static inline void coder_put_tree(struct coder_out *c, struct buf *out, coder_chance *tree,
                                  unsigned v, unsigned count) {
    for (unsigned node = 1; count > 0;) {
        unsigned bit = v >> --count & 1;
        coder_put(c, out, &tree[node], bit);
        node = node * 2 + bit;
    }
}

static inline void coder_out_end(struct coder_out *c, struct buf *out) {
    for (unsigned i = 0; i < CODER_END_BYTES && c->range > 0; i++)
        coder_shift(c, out);
    c->range = 0;
}

/* -- reading */

struct coder_in {
    const uint8_t *cur, *end;
    uint32_t range, code; /* range 0: nothing was asked for */
    bool over;            /* it ended before: zeros were read */
};

static inline void coder_fill(struct coder_in *c) {
    c->over |= c->cur == c->end;
    c->code = c->code << 8 | (c->cur == c->end ? 0 : *c->cur++);
}

static inline void coder_in_begin(struct coder_in *c) {
    c->range = UINT32_MAX;
    for (unsigned i = 0; i < CODER_END_BYTES; i++)
        coder_fill(c);
}

static inline unsigned coder_get(struct coder_in *c, coder_chance *p) {
    uint32_t zero = (c->range >> 16) * *p;
    unsigned bit = c->code >= zero;
    if (bit == 0) {
        c->range = zero;
    } else {
        c->code -= zero;
        c->range -= zero;
    }
    *p = chance_next(*p, bit);
    for (; c->range < CODER_RANGE_MIN; c->range <<= 8)
        coder_fill(c);
    return bit;
}

static inline uint64_t coder_get_plain(struct coder_in *c, unsigned count) {
    uint64_t v = 0;
    while (count > 0) {
        unsigned n = count < CODER_PLAIN_MAX ? count : CODER_PLAIN_MAX;
        c->range >>= n;
        uint32_t part = c->code / c->range, max = (1U << n) - 1;
        if (part > max) part = max; /* no writer makes it */
        c->code -= part * c->range;
        v = v << n | part;
        count -= n;
        for (; c->range < CODER_RANGE_MIN; c->range <<= 8)
            coder_fill(c);
    }
    return v;
}

static inline unsigned coder_get_tree(struct coder_in *c, coder_chance *tree, unsigned count) {
    unsigned node = 1;
    for (unsigned i = 0; i < count; i++)
        node = node * 2 + coder_get(c, &tree[node]);
    return node - (1U << count);
}
