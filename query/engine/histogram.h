/* SPDX-License-Identifier: Apache-2.0 */
/* query/engine/histogram.h: quantiles and fractions of classic histograms. */
#pragma once

#include <stdio.h>

#include "query/engine/internal.h"

#define HISTOGRAM_MONOTONIC_TEXT                                                                   \
    "input to histogram_quantile needed to be fixed for monotonicity (see "                        \
    "https://prometheus.io/docs/prometheus/latest/querying/functions/#histogram_quantile)"

struct bucket {
    double le, count; /* cumulative */
};
struct bucket_fix {
    bool forced; /* counts were made monotonic */
    double min_bucket, max_bucket, max_diff;
};
/* Buckets sorted by le, which are changed; count > 0. */
double bucket_quantile(double q, struct bucket *b, size_t count, struct bucket_fix *fix);
double bucket_fraction(double lower, double upper, struct bucket *b, size_t count);
/* A quantile as a label value, as OpenMetrics writes floats: "0.5", "1.0", "NaN". */
struct sv quantile_label(double q, char *text);
