/* SPDX-License-Identifier: Apache-2.0 */
/* storage/sample.h: samples decoded into columns. No path may assume that a sample is a float:
 * `histograms` is NULL when all are, else histograms[i] is NULL for a float and values[i] is unused
 * for a histogram. */
#pragma once

#include <stddef.h>
#include <stdint.h>

#include "node/base/status.h"

struct histogram; /* native histograms */

struct samples {
    int64_t *times_ms; /* ascending, no two equal */
    double *values;
    struct histogram **histograms; /* NULL: all floats */
    int64_t *starts_ms;            /* NULL: no start timestamps */
    size_t count, cap;
};

/* Growable and reused from series to series; heap memory. */
enum status samples_reserve(struct samples *s, size_t count) MUST_USE;
static inline void samples_clear(struct samples *s) {
    s->count = 0;
}
void samples_fini(struct samples *s);
/* A view of those from that one on, for work in place. */
static inline struct samples samples_from(const struct samples *s, size_t from) {
    struct samples part = *s;
    part.times_ms += from;
    part.values += from;
    if (part.histograms != NULL) part.histograms += from;
    if (part.starts_ms != NULL) part.starts_ms += from;
    part.count -= from;
    part.cap -= from;
    return part;
}
/* Sorts those from that one on by time; of equal times the first stays. ERR_NOMEM. */
enum status samples_order(struct samples *s, size_t from) MUST_USE;
