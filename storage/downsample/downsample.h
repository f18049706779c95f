/* SPDX-License-Identifier: Apache-2.0 */
/* storage/downsample/downsample.h: rows that stand for the samples of windows of time, of one
 * series. Pure functions: the same raw samples give the same bits, on every node and in whatever
 * pieces they came; where a sample comes late, the row of its window is computed anew from raw, and
 * the coarser row from the finer ones.
 *
 * A window of resolution r that ends at e, a multiple of r, is (e - r, e]: as PromQL's ranges are.
 * So f(x[d]) at t, where t and d are multiples of r, is exactly of the rows with t - d < e <= t:
 *   count_over_time    the sum of COUNT
 *   sum_over_time      the sum of SUM
 *   avg_over_time      sum by count
 *   min, max, first, last, present_over_time
 *   increase, rate     downsample_fold of the rows: first and last sample with their times, COUNT
 *                      and what counter resets took, which is all that Prometheus'
 *                      extrapolatedRate looks at
 *   delta              the same without resets
 *   resets             the sum of RESETS, and one where a row begins below the end of the last
 * Exactly: where sums of values do not round. Where they do, rows add up in another order than one
 * sample after the other, and the last bits may be others; the same rows give the same bits always.
 * Other functions (quantile, stddev, irate, changes, deriv) need raw samples.
 *
 * Stale markers, also those of histograms, are no values: they are in no column but STALE_AGO. NaNs
 * are values: SUM is NaN then; MIN and MAX are of the others while there are others, as in PromQL.
 *
 * Stored: a row is a sample at its window's end in each of DOWNSAMPLE_COLUMNS columns of doubles,
 * so that a column can be a page like a raw series' values, all with the same column of times.
 * After Thanos' downsampling (pkg/compact/downsample: count, sum, min, max, counter), which keeps
 * adjusted counters at the last sample instead, so that a rate sees no first sample of a window.
 * Thread: values, any. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "node/base/status.h"
#include "storage/sample.h"

enum { DOWNSAMPLE_5M_MS = 300 * 1000, DOWNSAMPLE_1H_MS = 3600 * 1000 };

enum downsample_column {
    DOWNSAMPLE_COUNT, /* of samples; where it is 0 the next ten are 0 */
    DOWNSAMPLE_SUM,
    DOWNSAMPLE_MIN,
    DOWNSAMPLE_MAX,
    DOWNSAMPLE_FIRST,      /* value of the first sample */
    DOWNSAMPLE_LAST,       /* value of the last one */
    DOWNSAMPLE_FIRST_AGO,  /* ms from it to the window's end */
    DOWNSAMPLE_LAST_AGO,   /* likewise */
    DOWNSAMPLE_RESETS,     /* how many samples are below the one before, in the window */
    DOWNSAMPLE_CORRECTION, /* sum of the values before those: LAST - FIRST + it is the increase */
    DOWNSAMPLE_STALE_AGO,  /* ms from the first stale marker after the last sample to the window's
                              end; -1: none */
    DOWNSAMPLE_HISTOGRAMS, /* samples that are native histograms: they are in no other column, and
                              whoever reads the row has to look at raw */
    DOWNSAMPLE_COLUMNS
};

struct downsample_rows {
    int64_t *ends_ms; /* ascending multiples of the resolution */
    double *columns[DOWNSAMPLE_COLUMNS];
    size_t count, cap;
};
/* Rows replace what out has; windows without a sample or stale marker have none. Raw samples
 * ascend. resolution_ms: DOWNSAMPLE_5M_MS, or a multiple of it: that is of rows of 5 m. ERR_NOMEM.
 */
MUST_USE enum status downsample_raw(const struct samples *raw, int64_t resolution_ms,
                                    struct downsample_rows *out);
/* Of finer rows, whose resolution divides this one. The same as downsample_raw of their samples. */
MUST_USE enum status downsample_rows(const struct downsample_rows *fine, int64_t resolution_ms,
                                     struct downsample_rows *out);
MUST_USE enum status downsample_reserve(struct downsample_rows *rows, size_t count); /* ERR_NOMEM */
/* Appends later ones. ERR_NOMEM. */
MUST_USE enum status downsample_append(struct downsample_rows *rows,
                                       const struct downsample_rows *more);
void downsample_rows_fini(struct downsample_rows *rows);
/* A column as the samples of a series: borrowed arrays. */
struct samples downsample_column(const struct downsample_rows *rows, enum downsample_column c);

/* The row of everything in rows[from, to), not empty, seen from end_ms, which is not before the
 * last one's end: what rate and its like need over a range. */
struct downsample_row {
    int64_t end_ms;
    double columns[DOWNSAMPLE_COLUMNS];
};
struct downsample_row downsample_fold(const struct downsample_rows *rows, size_t from, size_t to,
                                      int64_t end_ms);
/* The increase of a counter between the first and the last sample, resets added back. */
static inline double downsample_increase(const struct downsample_row *row) {
    return row->columns[DOWNSAMPLE_LAST] - row->columns[DOWNSAMPLE_FIRST] +
           row->columns[DOWNSAMPLE_CORRECTION];
}
/* The end of the window that a time is in. */
int64_t downsample_end_ms(int64_t time_ms, int64_t resolution_ms);
