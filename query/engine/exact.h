/* SPDX-License-Identifier: Apache-2.0 */
/* query/engine/exact.h: sums that do not depend on the order of adding. Pure. */
#pragma once

#include <stdbool.h>
#include <stddef.h>

/* A sum of values below it cannot overflow, however many there are and in whatever order. */
#define EXACT_VALUE_MAX 1e290

struct exact { /* s + c + r is the sum; when s is not finite, it is s */
    double s, c, r;
};
/* a + b rounded, and what that lost, exactly; both finite. */
static inline double two_sum(double a, double b, double *err) {
    double t = a + b, z = t - a;
    *err = (a - (t - z)) + (b - z);
    return t;
}
/* false: the three could not hold it. */
bool exact_add(struct exact *x, double v);
/* The nearest double, and the nearest to what is left. */
void exact_round(const struct exact *x, double *out_sum, double *out_rest);
/* The same of any values, none of them lost. */
void exact_sum_of(const double *v, size_t n, double *out_sum, double *out_rest);
/* Whether all are below EXACT_VALUE_MAX, or not numbers at all. */
bool exact_is_safe(const double *v, size_t n);
