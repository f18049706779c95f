/* SPDX-License-Identifier: Apache-2.0 */
/* Exact sums against sums of 128-bit integers, which the compiler's library rounds once. */
#include <criterion/criterion.h>
#include <math.h>
#include <string.h>

#include "node/base/rng.h"
#include "query/engine/exact.h"

enum { COUNT_MAX = 40, SCALE = 60 };
__extension__ typedef __int128 wide;

/* A double that is a multiple of 2^-60 and below 2^60, of any size in between. */
static double any_value(struct rng *rng, wide *out) {
    unsigned bits = (unsigned)rng_below(rng, 120);
    wide v = (wide)rng_below(rng, 1ULL << 53);
    v = bits >= 53 ? v << (bits - 53) : v >> (53 - bits);
    if (rng_below(rng, 2) == 0) v = -v;
    *out = v;
    return ldexp((double)v, -SCALE);
}

static void check_sum(double got, double rest, wide want, uint64_t seed) {
    double sum = ldexp((double)want, -SCALE);
    wide left = want - (wide)ldexp(sum, SCALE);
    cr_assert(got == sum, "seed %llu: %.17g, not %.17g", (unsigned long long)seed, got, sum);
    double rest_want = ldexp((double)left, -SCALE);
    cr_assert(rest == rest_want, "seed %llu: rest %.17g, not %.17g", (unsigned long long)seed, rest,
              rest_want);
}

Test(exact, sums_are_those_of_integers) {
    for (uint64_t seed = 1; seed <= 200000; seed++) {
        struct rng rng;
        rng_init(&rng, seed);
        double v[COUNT_MAX], sum, rest;
        size_t n = 1 + (size_t)rng_below(&rng, COUNT_MAX);
        struct exact x = {0};
        wide total = 0;
        for (size_t i = 0; i < n; i++) {
            wide integer;
            v[i] = any_value(&rng, &integer);
            total += integer;
            cr_assert(exact_add(&x, v[i]));
        }
        exact_round(&x, &sum, &rest);
        check_sum(sum, rest, total, seed);
        exact_sum_of(v, n, &sum, &rest);
        check_sum(sum, rest, total, seed);
    }
}

/* 1 + 2^-53 is half way to the next double: what lies far below decides. */
Test(exact, halves_are_decided_by_what_follows) {
    double up[] = {0x1p-53, 1, 0x1p-200}, down[] = {1, -0x1p-200, 0x1p-53}, sum, rest;
    exact_sum_of(up, 3, &sum, &rest);
    cr_assert_eq(sum, 1 + 0x1p-52);
    exact_sum_of(down, 3, &sum, &rest);
    cr_assert_eq(sum, 1.0);
    struct exact x = {0};
    for (int i = 0; i < 3; i++)
        cr_assert(exact_add(&x, up[i]));
    exact_round(&x, &sum, &rest);
    cr_assert_eq(sum, 1 + 0x1p-52);
}

Test(exact, what_three_cannot_hold_is_told) {
    struct exact x = {0};
    double v[] = {0x1p200, 1, 0x1p-200, 0x1p-400, -0x1p200, -1}, sum, rest;
    bool held = true;
    for (int i = 0; i < 4; i++)
        held = exact_add(&x, v[i]) && held;
    cr_assert(!held);
    exact_sum_of(v, 6, &sum, &rest);
    cr_assert_eq(sum, 0x1p-200 + 0x1p-400);
    cr_assert_eq(rest, 0x1p-400);
}

Test(exact, infinities_and_nan_are_themselves) {
    double v[] = {1, HUGE_VAL, 0.1}, sum, rest;
    struct exact x = {0};
    for (int i = 0; i < 3; i++)
        cr_assert(exact_add(&x, v[i]));
    exact_round(&x, &sum, &rest);
    cr_assert(sum == HUGE_VAL && rest == 0);
    cr_assert(exact_add(&x, -HUGE_VAL));
    exact_round(&x, &sum, &rest);
    cr_assert(isnan(sum));
    exact_sum_of(v, 3, &sum, &rest);
    cr_assert(sum == HUGE_VAL && rest == 0);
    cr_assert(exact_is_safe(v, 3) && !exact_is_safe((double[]){1e290}, 1));
}

Test(exact, a_sum_of_negative_zeros_is_zero) {
    double v[] = {-0.0}, sum, rest;
    exact_sum_of(v, 1, &sum, &rest);
    cr_assert(sum == 0 && !signbit(sum));
    struct exact x = {0};
    cr_assert(exact_add(&x, -0.0));
    exact_round(&x, &sum, &rest);
    cr_assert(sum == 0 && !signbit(sum));
}
