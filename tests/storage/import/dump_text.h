/* SPDX-License-Identifier: Apache-2.0 */
/* tests/storage/import/dump_text.h: labels and samples as lines, for a script to compare:
 *   sample MS BITS
 *   histogram MS int|float gauge|counter SCHEMA BITS(threshold) ZEROS COUNT BITS(sum) and both
 *   sides; counts of a float histogram as bits */
#pragma once

#include <inttypes.h>
#include <stdio.h>

#include "node/base/bytes.h"
#include "storage/histogram.h"
#include "storage/sample.h"

static inline void put_hex(struct sv s) {
    putchar(' ');
    for (size_t i = 0; i < s.len; i++)
        printf("%02x", (uint8_t)s.ptr[i]);
}

static inline void put_side(const struct histogram_side *side) {
    putchar(' ');
    for (uint32_t i = 0; i < side->spans_count; i++)
        printf("%" PRId32 "+%" PRIu32 ",", side->spans[i].offset, side->spans[i].length);
    putchar(' ');
    for (uint32_t i = 0; i < side->buckets_count; i++)
        if (side->counts != NULL)
            printf("%016" PRIx64 ",", f64_bits(side->counts[i]));
        else
            printf("%" PRId64 ",", side->deltas[i]);
}

static inline void put_histogram(const struct histogram *h) {
    printf(" %s %s %" PRId32 " %016" PRIx64, h->is_float ? "float" : "int",
           h->hint == HISTOGRAM_GAUGE ? "gauge" : "counter", h->schema,
           f64_bits(h->zero_threshold));
    if (h->is_float)
        printf(" %016" PRIx64 " %016" PRIx64, f64_bits(h->zero_count_float),
               f64_bits(h->count_float));
    else
        printf(" %" PRIu64 " %" PRIu64, h->zero_count, h->count);
    printf(" %016" PRIx64, f64_bits(h->sum));
    put_side(&h->positive);
    put_side(&h->negative);
    putchar('\n');
}

static inline void put_samples(const struct samples *s) {
    for (size_t i = 0; i < s->count; i++) {
        if (s->histograms != NULL && s->histograms[i] != NULL) {
            printf("histogram %" PRId64, s->times_ms[i]);
            put_histogram(s->histograms[i]);
            continue;
        }
        printf("sample %" PRId64 " %016" PRIx64 "\n", s->times_ms[i], f64_bits(s->values[i]));
    }
}
