/* SPDX-License-Identifier: Apache-2.0 */
/* Fragments from other nodes: any bytes, for a fixed query, decoded and run over two series. */
#include <stdlib.h>

#include "query/engine/mem_source.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static struct query *query_make(void) {
    struct query_params params = {
        .start_ms = 0, .end_ms = 180000, .step_ms = 60000, .lookback_ms = 300000};
    params.samples_max = 100000;
    params.memory_bytes_max = 8 << 20;
    params.features = FEATURE_EXPERIMENTAL_FUNCTIONS;
    struct query *q = NULL;
    struct err err;
    if (query_new(
            SV("sum by (a) (rate(m[2m])) + topk(scalar(m), m * scalar(n)) + max_over_time(m[9m:1m])"
               " + absent(m) + quantile_over_time(scalar(n), m[3m])"),
            &params, &q, &err) != OK)
        abort();
    return q;
}

static void source_make(struct mem_source *m, const struct query *q) {
    struct label a[] = {{SV("__name__"), SV("m")}, {SV("a"), SV("x")}},
                 b[] = {{SV("__name__"), SV("m")}};
    struct mem_series *s;
    struct err err;
    mem_source_init(m);
    if (mem_source_add(m, a, 2, &s, &err) != OK) abort();
    for (int64_t i = 0; i < 8; i++)
        if (mem_series_append(s, i * 30000, (double)(i % 5)) != OK) abort();
    if (mem_source_add(m, b, 1, &s, &err) != OK || mem_series_append(s, 60000, 2) != OK) abort();
    if (mem_source_select(m, q) != OK) abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    struct fragment f;
    struct err err;
    if (fragment_get(sv_make(data, size), &f, &err) != OK) return 0;
    struct query *q = query_make();
    struct mem_source m;
    source_make(&m, q);
    struct partial *p = NULL;
    uint32_t leaf;
    /* few steps: time is bounded by the deadline in production, here by the grid */
    bool small = f.end_ms >= f.start_ms &&
                 (uint64_t)f.end_ms - (uint64_t)f.start_ms < 1000 * (uint64_t)f.step_ms;
    if (small && fragment_leaves(q, &f, &leaf, 1) == 1 &&
        fragment_run(q, &f, &m.source, NULL, &p, &err) == OK) {
        struct buf bytes = {0};
        struct partial *back = NULL;
        status_ignore(partial_put(p, NULL, &bytes, NULL));
        if (partial_get(&(struct partial_bytes){q, &f, buf_sv(&bytes)}, NULL, &back, &err) != OK)
            abort();
        partial_free(back);
        buf_fini(&bytes);
    }
    partial_free(p);
    mem_source_fini(&m);
    fragment_fini(&f);
    query_unref(q);
    return 0;
}
