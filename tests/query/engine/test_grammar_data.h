/* SPDX-License-Identifier: Apache-2.0 */
/* tests/query/engine/test_grammar_data.h: some 200 series with everything that has an edge:
 * counters with resets, NaN, infinities, huge and tiny values, stale markers, gaps, classic
 * histograms with a missing or falling bucket, UTF-8 names; the same for a seed. Held once, and
 * dealt to parts. */
#pragma once

#include "query/engine/mem_source.h"

enum { GRAMMAR_PARTS_MAX = 8, GRAMMAR_END_MS = 3600000, GRAMMAR_SCRAPE_MS = 30000 };
struct grammar_data {
    struct mem_source all;
    struct mem_source parts[GRAMMAR_PARTS_MAX]; /* views of all */
    size_t parts_count;
};
void grammar_data_init(struct grammar_data *d, uint64_t seed);
/* Deals the series anew, to 1 to GRAMMAR_PARTS_MAX parts; some may get none. */
void grammar_data_deal(struct grammar_data *d, uint64_t seed);
void grammar_data_fini(struct grammar_data *d);

/* A query evaluated; the plan holds the result. */
struct grammar_run {
    struct query *q;
    struct plan *plan;
    struct result result;
    enum status status;
    struct err err;
};
/* Over all series as one source, or over the parts. Aborts only without memory. */
void grammar_run(struct grammar_data *d, struct sv text, const struct query_params *params,
                 bool parts, struct grammar_run *out);
void grammar_run_fini(struct grammar_run *run);
