/* SPDX-License-Identifier: Apache-2.0 */
/* Doubles as decimals: the value is n / 10^e, rounded once, for an integer n that a double holds.
 * As n and 10^e (e <= 22) are exact and a division rounds correctly, each decimal of 15 digits
 * comes back; the idea is that of VictoriaMetrics' lib/decimal, the check makes it lossless. */
#include <math.h>
#include <string.h>

#include "storage/page/internal.h"

enum {
    SHORT_EXPONENT = 9,
    SAMPLES = 8, /* looked at to choose an exponent */
    BLOCK = 32,  /* values whose failure is found by one comparison */
};
static const double exception_bits = 72; /* what a value that does not fit costs, about */
static const double digit_bits = 3.3219280948873626;

/* n = value * 10^e when that is exact, as the decoder will see it. */
static bool decimal_try(double value, unsigned exponent, int64_t *out) {
    double scaled = value * decimal_powers[exponent];
    double limit = exponent == 0 ? 0x1p63 : 0x1p53;
    if (!(fabs(scaled) < limit)) return false;
    int64_t n = (int64_t)nearbyint(scaled);
    if (f64_bits((double)n / decimal_powers[exponent]) != f64_bits(value)) return false;
    *out = n;
    return true;
}

int decimal_exponent(double value, unsigned least, int64_t *out) {
    if (f64_bits(value) == run_bits[RUN_MINUS_ZERO]) return -1;
    for (unsigned e = least; e <= PAGE_EXPONENT_MAX; e++)
        if (decimal_try(value, e, out)) return (int)e;
    return -1;
}

/* Fills ints at one exponent, lists what does not fit and says how many. */
static size_t split_at(struct page_scratch *s, const double *values, size_t count,
                       unsigned exponent) {
    size_t fails = 0;
    for (size_t i = 0; i < count; i += BLOCK) {
        size_t n = MIN(count - i, (size_t)BLOCK);
        if (s->kernels->to_ints(values + i, n, decimal_powers[exponent], s->ints + i)) continue;
        for (size_t k = i; k < i + n; k++)
            if (!decimal_try(values[k], exponent, &s->ints[k])) s->fails[fails++] = (uint16_t)k;
    }
    return fails;
}

/* A larger exponent takes more of the fails in but makes all integers longer. Looks at some. */
static unsigned exponent_for_fails(const struct page_scratch *s, const double *values, size_t count,
                                   size_t fails, unsigned exponent) {
    size_t at[PAGE_EXPONENT_MAX + 1] = {0}, step = (fails + SAMPLES * 4 - 1) / (SAMPLES * 4);
    size_t seen = 0;
    for (size_t i = 0; i < fails; i += step, seen++) {
        int64_t n;
        int e = decimal_exponent(values[s->fails[i]], exponent + 1, &n);
        if (e >= 0) at[e] += step;
    }
    double best = (double)fails * exception_bits;
    unsigned chosen = exponent;
    size_t left = fails;
    for (unsigned e = exponent + 1; e <= PAGE_EXPONENT_MAX; e++) {
        left -= MIN(left, at[e]);
        double bits = (double)left * exception_bits + (double)count * (e - exponent) * digit_bits;
        if (at[e] == 0 || bits >= best) continue;
        best = bits;
        chosen = e;
    }
    return chosen;
}

size_t decimal_split(struct page_scratch *s, const double *values, size_t count,
                     unsigned *exponent) {
    unsigned e = 0, decimals = 0;
    size_t step = (count + SAMPLES - 1) / SAMPLES;
    for (size_t i = 0; i < count; i += step) {
        int64_t n;
        int found = decimal_exponent(values[i], e, &n);
        if (found < 0) continue;
        decimals++;
        /* one long decimal among short ones is better an exception: see exponent_for_fails() */
        if (found <= SHORT_EXPONENT) e = (unsigned)found;
    }
    *exponent = e;
    if (decimals == 0) return count;
    size_t fails = split_at(s, values, count, e);
    if (fails != 0) {
        unsigned wider = exponent_for_fails(s, values, count, fails, e);
        if (wider != e) fails = split_at(s, values, count, e = wider);
    }
    *exponent = e;
    return fails;
}

/* n and the distance from n / 10^e to the value, in ulps. */
static bool ulps_try(double value, unsigned exponent, int64_t *n, int64_t *ulps) {
    double scaled = value * decimal_powers[exponent];
    if (!(fabs(scaled) < 0x1p53)) return false;
    *n = (int64_t)nearbyint(scaled);
    int64_t near = bits_fold(f64_bits((double)*n / decimal_powers[exponent]));
    *ulps = (int64_t)((uint64_t)bits_fold(f64_bits(value)) - (uint64_t)near);
    return true;
}

static unsigned delta_bits(int64_t a, int64_t b) {
    return bit_length(zigzag((int64_t)((uint64_t)b - (uint64_t)a)));
}

/* Bits that some pairs of neighbours cost at an exponent; UINT_MAX-like when it cannot be. */
static unsigned ulps_cost(const double *values, size_t count, unsigned exponent) {
    unsigned bits = 0;
    size_t step = (count - 1 + SAMPLES - 1) / SAMPLES;
    for (size_t i = 1; i < count; i += step) {
        int64_t n[2], ulps[2];
        if (!ulps_try(values[i - 1], exponent, &n[0], &ulps[0])) return UINT32_MAX;
        if (!ulps_try(values[i], exponent, &n[1], &ulps[1])) return UINT32_MAX;
        bits += delta_bits(n[0], n[1]) + delta_bits(ulps[0], ulps[1]);
    }
    return bits;
}

int decimal_split_ulps(struct page_scratch *s, const double *values, size_t count) {
    if (count < 2) return -1;
    unsigned best = 0;
    size_t step = (count - 1 + SAMPLES - 1) / SAMPLES;
    for (size_t i = 1; i < count; i += step) /* what the plain bits would cost */
        best += delta_bits(bits_fold(f64_bits(values[i - 1])), bits_fold(f64_bits(values[i])));
    int exponent = -1;
    for (unsigned e = 1; e <= PAGE_EXPONENT_MAX; e++) {
        unsigned bits = ulps_cost(values, count, e);
        if (bits >= best) continue;
        best = bits;
        exponent = (int)e;
    }
    if (exponent < 0) return -1;
    for (size_t i = 0; i < count; i++)
        if (!ulps_try(values[i], (unsigned)exponent, &s->ints[i], &s->ulps[i])) return -1;
    return exponent;
}
