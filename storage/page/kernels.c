/* SPDX-License-Identifier: Apache-2.0 */
/* The inner loops of pages, compiled twice: for any machine, and for x86-64 with AVX2 and BMI2. The
 * arithmetic is the same (additions and one division in IEEE doubles, integers modulo 2^64), so the
 * results are. bench/page.c measures them. */
#include "node/base/attr.h"
#include "storage/page/internal.h"

#if defined(__x86_64__)
#include <immintrin.h>
#define KERNELS_FAST 1
#define FAST __attribute__((target("avx2,bmi,bmi2,lzcnt")))
#else
#define KERNELS_FAST 0
#endif
#if defined(__clang__)
#define NO_SLP
#else
/* gcc 12 makes shuffles of the shifts, up to eight times slower */
#define NO_SLP __attribute__((optimize("no-tree-slp-vectorize")))
#endif
#define PLAIN

enum { GROUP = 8 }; /* values of w bits are w bytes */

/* 1.5 * 2^52: the sum with |n| < 2^51 has n in its low bits. */
static const double magic = 6755399441055744.0;
static const uint64_t magic_bits = 0x4338000000000000;

static ALWAYS_INLINE void unpack_body(const uint8_t *p, size_t count, uint64_t *out,
                                      const unsigned w) {
    const uint64_t mask = UINT64_MAX >> (64 - w);
    for (size_t i = 0; i < count; i += GROUP, p += w, out += GROUP) {
#pragma GCC unroll 8
        for (unsigned j = 0; j < GROUP; j++) {
            unsigned at = j * w >> 3, shift = (j * w) & 7;
            uint64_t v = get_u64le(p + at) >> shift;
            if (shift + w > 64) v |= (uint64_t)p[at + 8] << (64 - shift);
            out[j] = v & mask;
        }
    }
}

#define WIDTHS_8(x, n) x(n + 1) x(n + 2) x(n + 3) x(n + 4) x(n + 5) x(n + 6) x(n + 7) x(n + 8)
#define WIDTHS(x)                                                                                  \
    WIDTHS_8(x, 0)                                                                                 \
    WIDTHS_8(x, 8)                                                                                 \
    WIDTHS_8(x, 16)                                                                                \
    WIDTHS_8(x, 24)                                                                                \
    WIDTHS_8(x, 32) WIDTHS_8(x, 40) WIDTHS_8(x, 48) WIDTHS_8(x, 56)
#define UNPACK_CASE(n)                                                                             \
    case n: unpack_body(packed, count, out, n); return;

static ALWAYS_INLINE void scan_body(const struct kernel_scan *k, const uint64_t *residuals,
                                    size_t count, int64_t *out, const bool has_gcd) {
    uint64_t base = k->base, gcd = has_gcd ? k->gcd : 1, v = k->first, delta = k->first_delta;
    switch (k->order) {
    case 0:
        for (size_t i = 0; i < count; i++)
            out[i] = (int64_t)(base + residuals[i] * gcd);
        return;
    case 1:
        out[0] = (int64_t)v;
        for (size_t i = 1; i < count; i++) {
            v += base + residuals[i - 1] * gcd;
            out[i] = (int64_t)v;
        }
        return;
    default:
        out[0] = (int64_t)v;
        for (size_t i = 1; i < count; i++) {
            if (i > 1) delta += base + residuals[i - 2] * gcd;
            v += delta;
            out[i] = (int64_t)v;
        }
        return;
    }
}

static ALWAYS_INLINE void to_doubles_body(const int64_t *ints, size_t count, double power,
                                          bool is_small, double *out) {
    if (!is_small) {
        for (size_t i = 0; i < count; i++)
            out[i] = (double)ints[i] / power;
    } else if (power == 1.0) {
        for (size_t i = 0; i < count; i++)
            out[i] = f64_from_bits((uint64_t)ints[i] + magic_bits) - magic;
    } else {
        for (size_t i = 0; i < count; i++)
            out[i] = (f64_from_bits((uint64_t)ints[i] + magic_bits) - magic) / power;
    }
}

static ALWAYS_INLINE void add_ulps_body(double *values, const int64_t *ulps, size_t count) {
    for (size_t i = 0; i < count; i++) {
        int64_t folded = bits_fold(f64_bits(values[i]));
        values[i] = f64_from_bits(bits_unfold((int64_t)((uint64_t)folded + (uint64_t)ulps[i])));
    }
}

static ALWAYS_INLINE bool to_ints_body(const double *values, size_t count, double power,
                                       int64_t *ints) {
    const uint64_t limit = 1ULL << ISTREAM_SMALL_BITS;
    uint64_t bad = 0;
    for (size_t i = 0; i < count; i++) {
        double sum = values[i] * power + magic;
        uint64_t n = f64_bits(sum) - magic_bits;
        ints[i] = (int64_t)n;
        bad |= f64_bits((sum - magic) / power) ^ f64_bits(values[i]);
        bad |= (n + limit - 1) >> (ISTREAM_SMALL_BITS + 1);
    }
    return bad == 0;
}

static ALWAYS_INLINE void fill_body(double *out, size_t count, double value) {
    for (size_t i = 0; i < count; i++)
        out[i] = value;
}

static void scan_plain(const struct kernel_scan *k, const uint64_t *residuals, size_t count,
                       int64_t *out) {
    if (k->gcd == 1)
        scan_body(k, residuals, count, out, false);
    else
        scan_body(k, residuals, count, out, true);
}

#if KERNELS_FAST
/* Running sums of four lanes. */
FAST static inline __m256i sums_of(__m256i x) {
    __m256i one = _mm256_blend_epi32(_mm256_permute4x64_epi64(x, 0x90), _mm256_setzero_si256(), 3);
    x = _mm256_add_epi64(x, one);
    return _mm256_add_epi64(x, _mm256_permute2x128_si256(x, x, 0x08));
}

/* Modulo 2^64, of which AVX2 has no instruction. */
FAST static inline __m256i product_of(__m256i a, __m256i b) {
    __m256i a_high = _mm256_srli_epi64(a, 32), b_high = _mm256_srli_epi64(b, 32);
    __m256i cross = _mm256_add_epi64(_mm256_mul_epu32(a_high, b), _mm256_mul_epu32(a, b_high));
    return _mm256_add_epi64(_mm256_mul_epu32(a, b), _mm256_slli_epi64(cross, 32));
}

/* Orders 1 and 2: only one addition of four waits for those before it. The first `order` integers
 * stand in out. */
static ALWAYS_INLINE FAST void scan_lanes(const struct kernel_scan *k, const uint64_t *residuals,
                                          size_t count, int64_t *out, const unsigned order,
                                          const bool has_gcd) {
    uint64_t v = (uint64_t)out[order - 1], delta = k->first_delta;
    __m256i base = _mm256_set1_epi64x((int64_t)k->base), gcd = _mm256_set1_epi64x((int64_t)k->gcd);
    __m256i last = _mm256_set1_epi64x((int64_t)v), last_delta = _mm256_set1_epi64x((int64_t)delta);
    size_t i = order;
    for (; i + 4 <= count; i += 4) {
        __m256i x = _mm256_loadu_si256((const __m256i_u *)(residuals + i - order));
        if (has_gcd) x = product_of(x, gcd);
        x = sums_of(_mm256_add_epi64(x, base));
        if (order == 2) {
            __m256i deltas = _mm256_add_epi64(x, last_delta);
            last_delta = _mm256_permute4x64_epi64(deltas, 0xff);
            x = sums_of(deltas);
        }
        _mm256_storeu_si256((__m256i_u *)(out + i), _mm256_add_epi64(x, last));
        last = _mm256_add_epi64(last, _mm256_permute4x64_epi64(x, 0xff));
    }
    v = (uint64_t)_mm256_extract_epi64(last, 0);
    delta = (uint64_t)_mm256_extract_epi64(last_delta, 0);
    for (; i < count; i++) {
        uint64_t x = k->base + residuals[i - order] * k->gcd;
        if (order == 2) x = delta += x;
        out[i] = (int64_t)(v += x);
    }
}

FAST static void scan_avx2(const struct kernel_scan *k, const uint64_t *residuals, size_t count,
                           int64_t *out) {
    if (k->order == 0 || count < 2) {
        if (k->gcd == 1)
            scan_body(k, residuals, count, out, false);
        else
            scan_body(k, residuals, count, out, true);
        return;
    }
    out[0] = (int64_t)k->first;
    out[1] = (int64_t)(k->first + k->first_delta); /* of order 1 it is overwritten */
    if (k->order == 1 && k->gcd == 1)
        scan_lanes(k, residuals, count, out, 1, false);
    else if (k->order == 1)
        scan_lanes(k, residuals, count, out, 1, true);
    else
        scan_lanes(k, residuals, count, out, 2, true);
}
#endif

#define KERNELS(name, attribute)                                                                   \
    attribute NO_SLP static void unpack_##name(const uint8_t *packed, unsigned width,              \
                                               size_t count, uint64_t *out) {                      \
        switch (width) { WIDTHS(UNPACK_CASE) }                                                     \
    }                                                                                              \
    attribute static void to_doubles_##name(const int64_t *ints, size_t count, double power,       \
                                            bool is_small, double *out) {                          \
        to_doubles_body(ints, count, power, is_small, out);                                        \
    }                                                                                              \
    attribute static void add_ulps_##name(double *values, const int64_t *ulps, size_t count) {     \
        add_ulps_body(values, ulps, count);                                                        \
    }                                                                                              \
    attribute static bool to_ints_##name(const double *values, size_t count, double power,         \
                                         int64_t *ints) {                                          \
        return to_ints_body(values, count, power, ints);                                           \
    }                                                                                              \
    attribute static void fill_##name(double *out, size_t count, double value) {                   \
        fill_body(out, count, value);                                                              \
    }                                                                                              \
    static const struct page_kernels kernels_##name##_set = {                                      \
        #name,           unpack_##name,  scan_##name, to_doubles_##name,                           \
        add_ulps_##name, to_ints_##name, fill_##name}

KERNELS(plain, PLAIN);
#if KERNELS_FAST
KERNELS(avx2, FAST);
#endif

const struct page_kernels *kernels_plain(void) {
    return &kernels_plain_set;
}

const struct page_kernels *kernels_best(void) {
#if KERNELS_FAST
    if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("bmi2")) return &kernels_avx2_set;
#endif
    return &kernels_plain_set;
}
