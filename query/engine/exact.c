/* SPDX-License-Identifier: Apache-2.0 */
/* Sums without an error. Addition and its error together are exact (TwoSum, Knuth, TAOCP 2, 4.2.2),
 * so three doubles hold the sum itself as long as nothing is left over beyond the third; then it is
 * rounded once, and the order of adding cannot be seen. Any numbers at all go into an expansion
 * (Shewchuk, Adaptive Precision Floating-Point Arithmetic, 1997; Python's fsum). */
#include "query/engine/exact.h"

#include <math.h>

bool exact_add(struct exact *x, double v) {
    if (!isfinite(v) || !isfinite(x->s)) { /* only that counts from now on */
        *x = (struct exact){.s = x->s + v};
        return true;
    }
    double e, e2, e3;
    x->s = two_sum(x->s, v, &e);
    x->c = two_sum(x->c, e, &e2);
    x->r = two_sum(x->r, e2, &e3);
    return e3 == 0;
}

/* The sum of a, the largest, and what follows, each less than half a unit of the one before. */
static double round_three(double a, double b, double c) {
    /* b is exactly half a unit: then it is c that decides, and not the even digit */
    if ((b > 0 && c > 0) || (b < 0 && c < 0)) {
        double twice = b * 2, up = a + twice;
        if (twice == up - a) return up;
    }
    return a;
}

void exact_round(const struct exact *x, double *out_sum, double *out_rest) {
    double s = x->s, c = x->c, r = x->r;
    *out_rest = 0;
    *out_sum = s;
    if (!isfinite(s)) return;
    if (r == 0) {
        *out_sum = two_sum(s, c, out_rest);
        return;
    }
    for (int sweep = 0; sweep < 2; sweep++) {
        c = two_sum(c, r, &r);
        s = two_sum(s, c, &c);
    }
    c = two_sum(c, r, &r);
    *out_sum = round_three(s, c, r);
    *out_rest = ((s - *out_sum) + c) + r;
}

enum { EXPANSION_MAX = 48 }; /* doubles that do not overlap, from 2^-1074 to 2^1024: 40 */

struct expansion { /* the smallest first; what they add up to is the value */
    double parts[EXPANSION_MAX];
    size_t count;
};

static void expansion_add(struct expansion *x, double v) {
    size_t kept = 0;
    for (size_t j = 0; j < x->count; j++) {
        double e;
        v = two_sum(v, x->parts[j], &e);
        if (e != 0) x->parts[kept++] = e;
    }
    x->parts[kept++] = v;
    x->count = kept;
}

/* From the largest down until something is left over; of the rest only the sign can matter. */
static double expansion_round(const struct expansion *x) {
    size_t n = x->count;
    double s = n == 0 ? 0 : x->parts[--n], left = 0;
    while (n > 0 && left == 0)
        s = two_sum(s, x->parts[--n], &left);
    return round_three(s, left, n > 0 ? x->parts[n - 1] : 0) + 0.0; /* never -0 */
}

void exact_sum_of(const double *v, size_t n, double *out_sum, double *out_rest) {
    struct expansion x = {.count = 0};
    double plain = 0;
    for (size_t i = 0; i < n; i++) {
        plain += v[i];
        if (isfinite(plain)) expansion_add(&x, v[i]);
    }
    *out_rest = 0;
    *out_sum = plain;
    if (!isfinite(plain)) return;
    *out_sum = expansion_round(&x);
    expansion_add(&x, -*out_sum);
    *out_rest = expansion_round(&x);
}

bool exact_is_safe(const double *v, size_t n) {
    for (size_t i = 0; i < n; i++)
        if (fabs(v[i]) >= EXACT_VALUE_MAX && !isinf(v[i])) return false;
    return true;
}
