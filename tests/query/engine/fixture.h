/* SPDX-License-Identifier: Apache-2.0 */
/* tests/query/engine/fixture.h: series in memory from text, and results as text, so that tests are
 * tables. */
#pragma once

#include "query/engine/mem_source.h"

struct fixture {
    struct mem_source all;
};
void fixture_init(struct fixture *f);
void fixture_fini(struct fixture *f);
/* Lines `name{k=v,k=v} v v _ stale v`: sample i at i * step_ms; `_` is none. Aborts on a bad line.
 */
void fixture_load(struct fixture *f, int64_t step_ms, const char *lines);

struct ask {
    const char *query;
    int64_t start_ms, end_ms, step_ms; /* step 0: instant at start_ms */
    uint32_t features;
    uint64_t samples_max; /* 0: 1 M */
    uint64_t memory_bytes_max;
    unsigned sources; /* 0: 3 */
    uint64_t seed;    /* how series are dealt to sources */
};
struct query_params ask_params(const struct ask *ask);
/* `{labels} t=v t=v` a line, times in seconds; scalars as `scalar v`; then with
 * FEATURE_PER_STEP_STATS `samples n n ...`, then `warning ...` and `info ...` lines; `error CODE:
 * text` when the query fails. Owned by the caller. */
char *fixture_run(struct fixture *f, const struct ask *ask);
