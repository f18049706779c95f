/* SPDX-License-Identifier: Apache-2.0 */
/* A whole query in one thread over several sources, over the same bytes that nodes exchange. */
#include "query/engine/internal.h"

enum { LOCAL_FRAGMENTS_MAX = 64 };

static enum status run_one(const struct query *q, const struct fragment *f,
                           const struct source *src, struct partial **out, struct err *err) {
    struct buf bytes = {0};
    fragment_put(f, &bytes);
    struct fragment got = {0};
    struct partial *p = NULL;
    enum status st = bytes.failed ? err_set(err, ERR_NOMEM, 0, "fragment: out of memory")
                                  : fragment_get(buf_sv(&bytes), &got, err);
    if (st == OK) st = fragment_run(q, &got, src, NULL, &p, err);
    buf_clear(&bytes);
    if (st == OK) st = partial_put(p, NULL, &bytes, err);
    struct partial_bytes back = {q, f, buf_sv(&bytes)};
    if (st == OK) st = partial_get(&back, NULL, out, err);
    partial_free(p);
    fragment_fini(&got);
    buf_fini(&bytes);
    return st;
}

static enum status run_fragment(struct plan *p, const struct query *q, const struct fragment *f,
                                size_t index, const struct source *const *sources, size_t count,
                                struct err *err) {
    struct partial *merged = NULL;
    enum status st = OK;
    for (size_t i = 0; st == OK && i < count; i++) {
        struct partial *one = NULL;
        st = run_one(q, f, sources[i], &one, err);
        if (st != OK) break;
        if (merged == NULL) {
            merged = one;
            continue;
        }
        st = partial_merge(merged, one, NULL, err);
        partial_free(one);
    }
    if (st != OK) {
        partial_free(merged);
        return st;
    }
    return plan_fold(p, index, merged, err);
}

static enum status run_rounds(struct plan *p, const struct query *q,
                              const struct source *const *sources, size_t count, struct err *err) {
    const struct fragment *fragments[LOCAL_FRAGMENTS_MAX];
    for (;;) {
        size_t n = plan_round(p, fragments, LOCAL_FRAGMENTS_MAX);
        if (n == 0) return OK;
        for (size_t i = 0; i < n; i++)
            TRY(run_fragment(p, q, fragments[i], i, sources, count, err));
        TRY(plan_round_done(p, NULL, err));
    }
}

enum status query_run_local(struct query *q, const struct source *const *sources,
                            size_t sources_count, struct plan **out_plan, struct result *out,
                            struct err *err) {
    struct plan *p = NULL;
    TRY(plan_new(q, &p, err));
    enum status st = run_rounds(p, q, sources, sources_count, err);
    if (st == OK) st = plan_finish(p, NULL, out, err);
    if (st != OK) {
        plan_free(p);
        return st;
    }
    *out_plan = p;
    return OK;
}
