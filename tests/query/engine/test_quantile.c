/* SPDX-License-Identifier: Apache-2.0 */
/* quantile_of() against its definition over sorted values. */
#include <criterion/criterion.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "node/base/bytes.h"
#include "query/engine/internal.h"

static uint64_t seed;
static uint64_t next_random(void) { /* xorshift64, Marsaglia 2003 */
    seed ^= seed << 13;
    seed ^= seed >> 7;
    seed ^= seed << 17;
    return seed;
}

static int number_order(const void *a, const void *b) {
    double x, y;
    memcpy(&x, a, sizeof x);
    memcpy(&y, b, sizeof y);
    return (x > y) - (x < y);
}

/* NaN first, then by value; between two ranks in proportion */
static double quantile_by_sorting(double q, const double *values, size_t count) {
    double sorted[600];
    size_t n = 0;
    for (size_t i = 0; i < count; i++)
        if (isnan(values[i])) sorted[n++] = values[i];
    size_t nans = n;
    for (size_t i = 0; i < count; i++)
        if (!isnan(values[i])) sorted[n++] = values[i];
    qsort(sorted + nans, n - nans, sizeof *sorted, number_order);
    double rank = q * (double)(count - 1);
    size_t low = (size_t)floor(rank), high = low + 1 < count ? low + 1 : low;
    return sorted[low] * (1 - (rank - floor(rank))) + sorted[high] * (rank - floor(rank));
}

static double any_value(unsigned kind, size_t i, size_t count) {
    switch (kind) {
    case 0: return (double)(next_random() % 1000) / 8; /* some are equal */
    case 1: return (double)(next_random() % 3);        /* most are */
    case 2: return (double)i;
    case 3: return (double)(count - i);
    case 4: return (double)(i % 2 == 0 ? i : count - i); /* up and down */
    case 5: return next_random() % 4 == 0 ? (double)NAN : (double)(next_random() % 50);
    default: return (i & 1) != 0 ? HUGE_VAL : -HUGE_VAL * (double)(i % 3);
    }
}

Test(quantile, is_that_of_the_sorted_values) {
    static const double quantiles[] = {0, 0.01, 0.25, 0.5, 0.9, 0.99, 1};
    seed = 88172645463325252ULL;
    for (size_t count = 1; count < 600; count += count < 40 ? 1 : 37)
        for (unsigned kind = 0; kind < 7; kind++)
            for (size_t k = 0; k < ARRAY_LEN(quantiles); k++) {
                double values[600], copy[600];
                for (size_t i = 0; i < count; i++)
                    values[i] = any_value(kind, i, count);
                memcpy(copy, values, sizeof copy);
                double want = quantile_by_sorting(quantiles[k], values, count);
                struct eval ev = {0};
                double got;
                cr_assert_eq(quantile_of(&ev, quantiles[k], copy, count, &got), OK);
                cr_expect(got == want || (isnan(got) && isnan(want)),
                          "kind %u, %zu values, q %g: %g, not %g", kind, count, quantiles[k], got,
                          want);
            }
}
