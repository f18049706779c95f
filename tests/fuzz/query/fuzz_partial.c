/* SPDX-License-Identifier: Apache-2.0 */
/* Partial answers from other nodes: the first byte picks the query, its highest bit asks for counts
 * of each step, the rest is the answer to its first fragment. What is accepted must encode, decode
 * and finish. */
#include <stdlib.h>

#include "query/engine/mem_source.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static const char *const queries[] = {"m",
                                      "sum by (a) (m)",
                                      "avg(m)",
                                      "topk(2, m)",
                                      "count without (a) (m)",
                                      "group(m)",
                                      "count_values by (a) (\"v\", m)"};

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    if (size == 0) return 0;
    struct query_params params = {
        .start_ms = 0, .end_ms = 120000, .step_ms = 60000, .lookback_ms = 300000};
    params.samples_max = 100000;
    params.memory_bytes_max = 8 << 20;
    if (data[0] & 0x80) params.features = FEATURE_PER_STEP_STATS;
    struct query *q = NULL;
    struct plan *plan = NULL;
    struct err err;
    const struct fragment *f;
    const char *text = queries[(data[0] & 0x7f) % (sizeof queries / sizeof *queries)];
    if (query_new(sv_from(text), &params, &q, &err) != OK || plan_new(q, &plan, &err) != OK)
        abort();
    if (plan_round(plan, &f, 1) != 1) abort();
    struct partial *p = NULL, *back = NULL;
    if (partial_get(&(struct partial_bytes){q, f, sv_make(data + 1, size - 1)}, NULL, &p, &err) ==
        OK) {
        struct buf bytes = {0};
        status_ignore(partial_put(p, NULL, &bytes, NULL));
        if (partial_get(&(struct partial_bytes){q, f, buf_sv(&bytes)}, NULL, &back, &err) != OK)
            abort();
        if (partial_merge(back, p, NULL, &err) != OK) abort();
        partial_free(back);
        buf_fini(&bytes);
        struct result result;
        if (plan_fold(plan, 0, p, &err) == OK && plan_round_done(plan, NULL, &err) == OK &&
            plan_round(plan, &f, 1) == 0)
            status_ignore(plan_finish(plan, NULL, &result, &err));
    }
    plan_free(plan);
    query_unref(q);
    return 0;
}
