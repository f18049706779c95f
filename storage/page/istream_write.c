/* SPDX-License-Identifier: Apache-2.0 */
/* An istream is `count` 64-bit integers (count >= 1, known beside it). PAGE_FORMAT 1:
 *
 *   u16 head     bits 0-6 width w (0 .. 64), 7-8 order d (0 .. 2, below count), 9 has gcd,
 *                10 has patches, 11 all |n| < 2^50 (pages), 12 has base, 13-15 zero
 *   zigzag       the first integer         (d >= 1)
 *   zigzag       the first difference      (d = 2)
 *   zigzag       base                      (else 0)
 *   varint       gcd >= 2                  (else 1)
 *   varint       patches p >= 1, then p times: varint gap (integers between this and the last
 *                patched one), zigzag high != 0
 *   bits         count - d integers of w bits, lowest first, ceil((count - d) * w / 8) bytes; what
 *                is left of the last byte is zero
 *
 * Residual i is base + gcd * (high[i] * 2^w + bits[i]), where high is 0 but for patches; it is the
 * d-th difference of the integers, all modulo 2^64. With w = 64 there are no patches.
 *
 * The planner takes the order with the smallest sum of bit lengths around a sampled median, then w
 * and base by two histograms of bit lengths: from the minimum, and around the median (patched frame
 * of reference; Lemire and Boytsov 2015, "PFOR"). */
#include <assert.h>
#include <string.h>

#include "node/base/num.h"
#include "storage/page/internal.h"

enum {
    SAMPLES = 17,
    ORDERS = 3,
    LENGTHS = 65,
    LONG = 256, /* integers: a stream of so many is planned with more care */
};

struct plan {
    unsigned order, width;
    uint64_t base, gcd;
    uint64_t origin; /* y = (residual - origin) / gcd is what lies in s->residuals */
    int64_t low;     /* y that is packed as 0 */
};

static int64_t minus(int64_t a, int64_t b) {
    return (int64_t)((uint64_t)a - (uint64_t)b);
}

static int64_t median_of(int64_t *v, unsigned count) {
    for (unsigned i = 1; i < count; i++) {
        int64_t x = v[i];
        unsigned k = i;
        for (; k > 0 && v[k - 1] > x; k--)
            v[k] = v[k - 1];
        v[k] = x;
    }
    return v[count / 2];
}

/* The width that makes bits and patches smallest, by how many need which; bits in *cost. */
static unsigned width_choose(const uint32_t *lengths, size_t count, uint64_t *cost) {
    unsigned longest = 64;
    while (longest > 0 && lengths[longest] == 0)
        longest--;
    unsigned best = longest;
    *cost = count * (uint64_t)longest;
    for (unsigned w = 0; w < longest; w++) {
        uint64_t bits = count * (uint64_t)w;
        for (unsigned b = w + 1; b <= longest && bits < *cost; b++)
            bits += 8 * lengths[b] * (uint64_t)(1 + (b - w + 7) / 7);
        if (bits >= *cost) continue;
        *cost = bits;
        best = w;
    }
    return best;
}

/* What orders cost packed, of those that `asked` has as bits. Around their centres. */
static void orders_cost(const int64_t *v, size_t count, unsigned asked, const int64_t *centre,
                        uint64_t *bits) {
    /* two of each: an increment waits for the last one of the same length */
    uint32_t lengths[2][ORDERS][LENGTHS] = {{{0}}};
    int64_t last = v[1], last_delta = minus(v[1], v[0]);
    for (size_t i = 2; i < count; i++) {
        int64_t delta = minus(v[i], last), second = minus(delta, last_delta);
        uint32_t(*to)[LENGTHS] = lengths[i & 1];
        if (asked & 1) to[0][bit_length(zigzag(minus(v[i], centre[0])))]++;
        if (asked & 2) to[1][bit_length(zigzag(minus(delta, centre[1])))]++;
        if (asked & 4) to[2][bit_length(zigzag(minus(second, centre[2])))]++;
        last = v[i];
        last_delta = delta;
    }
    for (unsigned d = 0; d < ORDERS; d++) {
        if ((asked >> d & 1) == 0) continue;
        for (unsigned b = 0; b < LENGTHS; b++)
            lengths[0][d][b] += lengths[1][d][b];
        width_choose(lengths[0][d], count - 2, &bits[d]);
    }
}

/* Of those that `asked` has. The sampled median makes order 0 look worse than it is, the others
 * less so. */
static unsigned order_best(const uint64_t *bits, unsigned part) {
    unsigned best = bits[1] < bits[0] - bits[0] / 16 ? 1 : 0;
    return bits[2] < bits[best] - (part == 0 ? 0 : bits[best] / part) ? 2 : best;
}

static unsigned order_choose(const int64_t *v, size_t count) {
    if (count < 3) return count == 2 ? 1 : 0;
    int64_t sampled[ORDERS][SAMPLES] = {{0}}, centre[ORDERS];
    unsigned n = 0;
    for (size_t step = (count - 2 + SAMPLES - 1) / SAMPLES, i = 2; i < count; i += step, n++) {
        sampled[0][n] = v[i];
        sampled[1][n] = minus(v[i], v[i - 1]);
        sampled[2][n] = minus(sampled[1][n], minus(v[i - 1], v[i - 2]));
    }
    for (unsigned d = 0; d < ORDERS; d++)
        centre[d] = median_of(sampled[d], n);
    uint64_t bits[ORDERS] = {0};
    int64_t last = v[1], last_delta = minus(v[1], v[0]);
    for (size_t i = 2; i < count; i++) {
        int64_t delta = minus(v[i], last);
        bits[0] += bit_length(zigzag(minus(v[i], centre[0])));
        bits[1] += bit_length(zigzag(minus(delta, centre[1])));
        bits[2] += bit_length(zigzag(minus(minus(delta, last_delta), centre[2])));
        last = v[i];
        last_delta = delta;
    }
    unsigned best = order_best(bits, 0), asked = 0;
    if (count < LONG) return best;
    for (unsigned d = 0; d < ORDERS; d++)
        asked |= (unsigned)(bits[d] <= bits[best] + bits[best] / 2) << d;
    if ((asked & (asked - 1)) == 0) return best;
    for (unsigned d = 0; d < ORDERS; d++)
        bits[d] = UINT64_MAX;
    orders_cost(v, count, asked, centre, bits);
    return order_best(bits, 32);
}

static size_t residuals_fill(struct page_scratch *s, const int64_t *v, size_t count,
                             unsigned order) {
    uint64_t *r = s->residuals;
    switch (order) {
    case 0: memcpy(r, v, count * sizeof *r); break;
    case 1:
        for (size_t i = 1; i < count; i++)
            r[i - 1] = (uint64_t)v[i] - (uint64_t)v[i - 1];
        break;
    default:
        for (size_t i = 2; i < count; i++)
            r[i - 2] = (uint64_t)v[i] - 2 * (uint64_t)v[i - 1] + (uint64_t)v[i - 2];
        break;
    }
    return count - order;
}

/* 1 / odd modulo 2^64, by Newton: each step doubles the bits that are right, 5 at the start. */
static uint64_t inverse_of(uint64_t odd) {
    uint64_t x = (3 * odd) ^ 2;
    for (int i = 0; i < 4; i++)
        x *= 2 - odd * x;
    return x;
}

/* Of the distances to the first residual; 0: all are equal. */
static uint64_t residuals_gcd(const uint64_t *r, size_t count) {
    uint64_t g = 0, inverse = 0, limit = 0;
    unsigned shift = 0;
    for (size_t i = 1; i < count && g != 1; i++) {
        int64_t signed_distance = (int64_t)(r[i] - r[0]);
        uint64_t x =
            signed_distance < 0 ? 0 - (uint64_t)signed_distance : (uint64_t)signed_distance;
        if (x == 0) continue;
        /* divisible: x * inverse has not wrapped (Warren, Hacker's Delight, 10-17) */
        if (g != 0 && (x & ((1ULL << shift) - 1)) == 0 && (x >> shift) * inverse <= limit) continue;
        g = u64_gcd(x, g);
        shift = (unsigned)__builtin_ctzll(g);
        inverse = inverse_of(g >> shift);
        limit = UINT64_MAX / (g >> shift);
    }
    return g;
}

/* Makes y of residuals: their distance to the first, in steps of gcd. */
static void residuals_divide(uint64_t *r, size_t count, struct plan *p) {
    uint64_t origin = p->origin = r[0];
    unsigned shift = (unsigned)__builtin_ctzll(p->gcd);
    if (p->gcd == 1) {
        for (size_t i = 0; i < count; i++)
            r[i] -= origin;
        return;
    }
    uint64_t inverse = inverse_of(p->gcd >> shift);
    for (size_t i = 0; i < count; i++)
        r[i] = (uint64_t)((int64_t)(r[i] - origin) >> shift) * inverse;
}

static void width_plan(struct page_scratch *s, size_t count, struct plan *p) {
    const int64_t *y = (const int64_t *)s->residuals;
    int64_t sampled[SAMPLES] = {0}, min = y[0];
    unsigned n = 0;
    for (size_t step = (count + SAMPLES - 1) / SAMPLES, i = 0; i < count; i += step)
        sampled[n++] = y[i];
    int64_t centre = median_of(sampled, n);
    for (size_t i = 0; i < count; i++)
        min = y[i] < min ? y[i] : min;
    /* two of each: an increment waits for the last one of the same length */
    uint32_t above[2][LENGTHS] = {{0}}, around[2][LENGTHS] = {{0}};
    for (size_t i = 0; i < count; i++) {
        above[i & 1][bit_length((uint64_t)minus(y[i], min))]++;
        around[i & 1][bit_length(zigzag(minus(y[i], centre)))]++;
    }
    for (unsigned b = 0; b < LENGTHS; b++) {
        above[0][b] += above[1][b];
        around[0][b] += around[1][b];
    }
    uint64_t above_bits, around_bits;
    unsigned above_width = width_choose(above[0], count, &above_bits);
    unsigned around_width = width_choose(around[0], count, &around_bits);
    if (above_bits <= around_bits) {
        p->width = above_width;
        p->low = min;
    } else {
        p->width = around_width;
        p->low = around_width == 0 ? centre : minus(centre, (int64_t)(1ULL << (around_width - 1)));
    }
}

/* Leaves what is packed in s->residuals and the rest in the patches. */
static void patches_take(struct page_scratch *s, size_t count, const struct plan *p) {
    uint64_t *u = s->residuals, wide = 0;
    s->patches_count = 0;
    for (size_t i = 0; i < count; i++) {
        u[i] -= (uint64_t)p->low;
        wide |= u[i];
    }
    if (p->width == 64 || wide >> p->width == 0) return;
    uint64_t mask = (1ULL << p->width) - 1;
    for (size_t i = 0; i < count; i++) {
        if (u[i] >> p->width == 0) continue;
        s->patch_at[s->patches_count] = (uint16_t)i;
        s->patch_highs[s->patches_count++] = (int64_t)u[i] >> p->width;
        u[i] &= mask;
    }
}

static size_t bits_pack(const uint64_t *u, size_t count, unsigned width, uint8_t *out) {
    uint64_t word = 0;
    unsigned fill = 0;
    uint8_t *p = out;
    if (width == 0) return 0;
    for (size_t i = 0; i < count; i++) {
        word |= u[i] << fill;
        fill += width;
        if (fill < 64) continue;
        put_u64le(p, word);
        p += 8;
        fill -= 64;
        word = fill == 0 ? 0 : u[i] >> (width - fill);
    }
    for (; fill > 0; fill -= MIN(fill, 8u), word >>= 8)
        *p++ = (uint8_t)word;
    return (size_t)(p - out);
}

static bool ints_are_small(const int64_t *v, size_t count) {
    const uint64_t limit = 1ULL << ISTREAM_SMALL_BITS;
    uint64_t bad = 0;
    for (size_t i = 0; i < count; i++)
        bad |= ((uint64_t)v[i] + limit - 1) >> (ISTREAM_SMALL_BITS + 1);
    return bad == 0;
}

static size_t plan_write(struct page_scratch *s, const int64_t *v, size_t count,
                         const struct plan *p, uint8_t *out) {
    uint64_t base = p->base;
    unsigned head = p->width | p->order << ISTREAM_ORDER_SHIFT;
    if (p->gcd > 1) head |= ISTREAM_GCD;
    if (s->patches_count > 0) head |= ISTREAM_PATCHES;
    if (base != 0) head |= ISTREAM_BASE;
    if (ints_are_small(v, count)) head |= ISTREAM_SMALL;
    put_u16le(out, (uint16_t)head);
    size_t len = ISTREAM_HEAD_BYTES;
    if (p->order > 0) len += put_varint(out + len, zigzag(v[0]));
    if (p->order > 1) len += put_varint(out + len, zigzag(minus(v[1], v[0])));
    if (base != 0) len += put_varint(out + len, zigzag((int64_t)base));
    if (p->gcd > 1) len += put_varint(out + len, p->gcd);
    if (s->patches_count > 0) {
        len += put_varint(out + len, s->patches_count);
        for (size_t i = 0, next = 0; i < s->patches_count; i++) {
            len += put_varint(out + len, s->patch_at[i] - next);
            len += put_varint(out + len, zigzag(s->patch_highs[i]));
            next = s->patch_at[i] + 1u;
        }
    }
    return len + bits_pack(s->residuals, count - p->order, p->width, out + len);
}

size_t istream_write(struct page_scratch *s, const int64_t *ints, size_t count, uint8_t *out) {
    assert(count >= 1 && count <= PAGE_SAMPLES_MAX);
    struct plan p = {.order = order_choose(ints, count), .gcd = 1};
    size_t residuals = residuals_fill(s, ints, count, p.order);
    uint64_t gcd = residuals_gcd(s->residuals, residuals);
    s->patches_count = 0;
    if (gcd == 0) {
        p.base = s->residuals[0];
        return plan_write(s, ints, count, &p, out);
    }
    p.gcd = gcd;
    residuals_divide(s->residuals, residuals, &p);
    width_plan(s, residuals, &p);
    p.base = p.origin + p.gcd * (uint64_t)p.low;
    patches_take(s, residuals, &p);
    return plan_write(s, ints, count, &p, out);
}
