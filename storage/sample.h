/* SPDX-License-Identifier: Apache-2.0 */
/* storage/sample.h: samples decoded into columns. No path may assume that a sample is a float:
 * `histograms` is NULL when all are, else histograms[i] is NULL for a float; of a histogram
 * values[i] is its sum, which is the stale marker's bits in a stale one, too. Histograms live in
 * the arena, until the samples are cleared. */
#pragma once

#include <stddef.h>
#include <stdint.h>

#include "node/base/arena.h"
#include "node/base/status.h"

struct histogram; /* storage/histogram.h */

struct samples {
    int64_t *times_ms; /* ascending, no two equal */
    double *values;
    struct histogram **histograms; /* NULL: all floats */
    int64_t *starts_ms;            /* NULL: no start timestamps */
    size_t count, cap;
    struct arena arena; /* of the histograms */
};

/* Growable and reused from series to series; heap memory. */
enum status samples_reserve(struct samples *s, size_t count) MUST_USE;
void samples_clear_histograms(struct samples *s);
static inline void samples_clear(struct samples *s) {
    s->count = 0;
    if (s->histograms != NULL) samples_clear_histograms(s);
}
/* Makes the column when there is none: NULL, or 0, for what is there. */
enum status samples_want_histograms(struct samples *s) MUST_USE;
enum status samples_want_starts(struct samples *s) MUST_USE;
void samples_fini(struct samples *s);
