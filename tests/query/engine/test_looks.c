/* SPDX-License-Identifier: Apache-2.0 */
/* A query that has to stop is stopped soon: over queries that are hard in each their own way, the
 * time from one look at the clock to the next is measured, in every stage of the way. It is this
 * thread's own time, and of three runs the best counts: a busy machine may stop us anywhere.
 *
 *   test_looks [TEXT]   only queries with this text, with a line for each */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "node/base/attr.h"
#include "query/engine/mem_source.h"

enum { WIDE = 20000, WIDE_SAMPLES = 60, LONG_SAMPLES = 200000, HISTOGRAMS = 1500, BUCKETS = 12 };
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
static const uint64_t gap_max_ns = 30000000;
#else
/* Of it up to two are for giving back what a stage has held, when all has been done. */
static const uint64_t gap_max_ns = 3000000;
#endif

static const char *only;

/* -- the clock that is looked at */

struct looks {
    uint64_t last_ns, gap_ns, count;
    const char *stage, *worst;
};

static uint64_t cpu_ns(void) {
    struct timespec ts;
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &ts);
    return (uint64_t)ts.tv_sec * 1000000000 + (uint64_t)ts.tv_nsec;
}

static uint64_t look(void *ctx) {
    struct looks *l = ctx;
    uint64_t now = cpu_ns();
    if (now - l->last_ns > l->gap_ns) {
        l->gap_ns = now - l->last_ns;
        l->worst = l->stage;
    }
    l->count++;
    l->last_ns = now;
    return 1;
}

static void stage(struct looks *l, const char *name) {
    look(l);
    l->stage = name;
    l->last_ns = cpu_ns();
}

/* -- data: many series, one long one, histograms */

static struct mem_series *add(struct mem_source *m, const struct label *labels, size_t count) {
    struct mem_series *s;
    if (mem_source_add(m, labels, count, &s, NULL) != OK) abort();
    return s;
}

static void append(struct mem_series *s, int64_t t, double v) {
    if (mem_series_append(s, t, v) != OK) abort();
}

static void load_wide(struct mem_source *all, struct mem_source *parts) {
    for (unsigned i = 0; i < WIDE; i++) {
        char instance[48], path[48];
        unsigned mixed = i * 7919 % WIDE; /* in no order */
        snprintf(instance, sizeof instance, "some-host-name-%05u.example.org", mixed);
        snprintf(path, sizeof path, "/api/v1/some/path/%u", mixed % 100);
        struct label labels[] = {{SV("__name__"), SV("wide")},
                                 {SV("instance"), sv_from(instance)},
                                 {SV("job"), SV("some-job")},
                                 {SV("path"), sv_from(path)},
                                 {SV("zone"), i % 2 == 0 ? SV("a") : SV("b")}};
        struct mem_series *s = add(all, labels, ARRAY_LEN(labels));
        for (int64_t k = 0; k < WIDE_SAMPLES; k++)
            append(s, k * 60000, (double)k * 0.1 * (i % 977));
        if (mem_source_view_add(&parts[i % 2], s) != OK) abort();
    }
}

static void load_long(struct mem_source *all, struct mem_source *parts) {
    struct label labels[] = {{SV("__name__"), SV("long_total")}};
    struct mem_series *s = add(all, labels, 1);
    uint32_t seed = 1;
    for (int64_t k = 0; k < LONG_SAMPLES; k++) {
        seed = seed * 1664525 + 1013904223;
        append(s, k * 1000, (double)(seed >> 8) / 7);
    }
    if (mem_source_view_add(&parts[0], s) != OK) abort();
}

static void load_histograms(struct mem_source *all, struct mem_source *parts) {
    for (unsigned i = 0; i < HISTOGRAMS; i++)
        for (unsigned b = 0; b < BUCKETS; b++) {
            char instance[32], le[16];
            snprintf(instance, sizeof instance, "host-%u", i * 7919 % HISTOGRAMS);
            snprintf(le, sizeof le, b + 1 == BUCKETS ? "+Inf" : "%u", 1u << b);
            struct label labels[] = {{SV("__name__"), SV("h_bucket")},
                                     {SV("instance"), sv_from(instance)},
                                     {SV("le"), sv_from(le)}};
            struct mem_series *s = add(all, labels, ARRAY_LEN(labels));
            for (int64_t k = 0; k < 10; k++)
                append(s, k * 60000, (double)(k * (b + 1) * i));
            if (mem_source_view_add(&parts[i % 2], s) != OK) abort();
        }
}

/* -- one query, through every stage */

static enum status carry(const struct query *q, const struct fragment *f, const struct source *src,
                         struct query_control *control, struct partial **out) {
    struct looks *l = control->ctx;
    struct buf bytes = {0};
    struct partial *p = NULL;
    struct err err;
    stage(l, "fragment");
    enum status st = fragment_run(q, f, src, control, &p, &err);
    stage(l, "encode");
    if (st == OK) st = partial_put(p, control, &bytes, &err);
    stage(l, "decode");
    struct partial_bytes from = {q, f, buf_sv(&bytes)};
    if (st == OK) st = partial_get(&from, control, out, &err);
    stage(l, "");
    partial_free(p);
    buf_fini(&bytes);
    if (st != OK) fprintf(stderr, "%s\n", err.msg);
    return st;
}

static enum status fold(struct plan *plan, const struct query *q, size_t i,
                        const struct fragment *f, struct mem_source *parts,
                        struct query_control *control) {
    struct partial *a = NULL, *b = NULL;
    struct err err;
    TRY(carry(q, f, &parts[0].source, control, &a));
    TRY(carry(q, f, &parts[1].source, control, &b));
    stage(control->ctx, "merge");
    enum status st = partial_merge(a, b, control, &err);
    stage(control->ctx, "");
    partial_free(b);
    if (st != OK) {
        partial_free(a);
        return st;
    }
    stage(control->ctx, "fold");
    return plan_fold(plan, i, a, &err);
}

static enum status rounds(struct plan *plan, const struct query *q, struct mem_source *parts,
                          struct query_control *control) {
    const struct fragment *fragments[16];
    struct err err;
    for (size_t n; (n = plan_round(plan, fragments, 16)) > 0;) {
        for (size_t i = 0; i < n; i++)
            TRY(fold(plan, q, i, fragments[i], parts, control));
        stage(control->ctx, "round");
        TRY(plan_round_done(plan, control, &err));
    }
    return OK;
}

struct hard {
    const char *text;
    int64_t start_ms, end_ms, step_ms;
    uint64_t times; /* as much time, where columns have a million steps */
};

static enum status run(const struct hard *h, struct mem_source *parts, struct looks *l) {
    struct query_control control = {.deadline_ns = 2, .mono_ns = look, .ctx = l};
    struct query_params params = {.start_ms = h->start_ms,
                                  .end_ms = h->step_ms == 0 ? h->start_ms : h->end_ms,
                                  .step_ms = h->step_ms,
                                  .instant = h->step_ms == 0,
                                  .lookback_ms = 300000,
                                  .default_step_ms = 60000,
                                  .samples_max = 1ULL << 40,
                                  .memory_bytes_max = 4ULL << 30,
                                  .features = FEATURE_EXPERIMENTAL_FUNCTIONS};
    struct query *q = NULL;
    struct plan *plan = NULL;
    struct result result;
    struct err err;
    enum status st = query_new(sv_from(h->text), &params, &q, &err);
    for (int i = 0; st == OK && i < 2; i++)
        if (mem_source_select(&parts[i], q) != OK) abort();
    l->last_ns = cpu_ns();
    if (st == OK) st = plan_new(q, &plan, &err);
    if (st == OK) st = rounds(plan, q, parts, &control);
    stage(l, "finish");
    if (st == OK) st = plan_finish(plan, &control, &result, &err);
    stage(l, "");
    plan_free(plan);
    query_unref(q);
    return st;
}

enum { HOUR = 3600000, DAY = 24 * HOUR };
static const struct hard hards[] = {
    {"wide", 600000, HOUR - 600000, 60000, 1},
    {"wide", 600000, 0, 0, 1},
    {"sort(wide)", 600000, 0, 0, 1},
    {"sort_by_label(wide, \"instance\")", 600000, 0, 0, 1},
    {"sum by (instance) (wide)", 600000, HOUR - 600000, 60000, 1},
    {"avg by (instance) (rate(wide[5m]))", 600000, HOUR - 600000, 60000, 1},
    {"topk(1000, wide)", 600000, HOUR - 600000, 60000, 1},
    {"bottomk(20000, wide)", 600000, 0, 0, 1},
    {"count_values(\"v\", wide)", 600000, 660000, 60000, 1},
    {"quantile(0.9, wide)", 600000, HOUR - 600000, 60000, 1},
    {"stddev by (zone) (wide)", 600000, HOUR - 600000, 60000, 1},
    {"wide + on (instance, path) wide", 600000, 1200000, 60000, 1},
    {"wide * on (path) group_left () (max by (path) (wide))", 600000, 1200000, 60000, 1},
    {"wide > on (path) group_left () (max by (path) (wide) / 2)", 600000, 1200000, 60000, 1},
    {"wide and on (instance) wide", 600000, 1200000, 60000, 1},
    {"wide or -wide", 600000, 1200000, 60000, 1},
    {"wide unless on (zone) wide", 600000, 1200000, 60000, 1},
    {"label_replace(wide, \"dst\", \"$1-$2\", \"path\", \"/(a.*)/(.*)\")", 600000, 0, 0, 1},
    {"label_replace(wide, \"dst\", \"$1\", \"instance\", \"(.*?)([a-z]*[0-9]+)+.*(g|x)\")", 600000,
     0, 0, 1},
    {"label_join(wide, \"dst\", \"-\", \"path\", \"instance\", \"zone\")", 600000, 0, 0, 1},
    {"limit_ratio(0.5, wide)", 600000, 1200000, 60000, 1},
    {"absent(wide)", 600000, 1200000, 60000, 1},
    {"max_over_time(wide[5m:15s])", 600000, 1200000, 60000, 1},
    {"max_over_time(sum by (instance) (wide)[5m:15s])", 600000, 1200000, 60000, 1},
    {"wide[30m]", 2400000, 0, 0, 1},
    {"wide[30m:30s]", 2400000, 0, 0, 1},
    {"histogram_quantile(0.9, h_bucket)", 60000, 540000, 60000, 1},
    {"histogram_quantile(0.9, sum by (le, instance) (rate(h_bucket[2m])))", 120000, 540000, 60000,
     1},
    {"long_total", 0, 2 * DAY, 20000, 1},
    {"rate(long_total[1m])", 0, 2 * DAY, 20000, 1},
    {"rate(long_total[1d])", DAY, 2 * DAY, 20000, 1},
    {"quantile_over_time(0.5, long_total[1d])", DAY, DAY + 600000, 60000, 1},
    {"mad_over_time(long_total[1d])", DAY, DAY + 600000, 60000, 1},
    {"stddev_over_time(long_total[1d])", DAY, DAY + 600000, 60000, 1},
    {"avg_over_time(long_total[1d])", DAY, DAY + 600000, 60000, 1},
    {"sum_over_time(long_total[1d])", DAY, DAY + 600000, 60000, 1},
    {"max_over_time(long_total[1d])", DAY, DAY + 600000, 60000, 1},
    {"deriv(long_total[1d])", DAY, DAY + 600000, 60000, 1},
    {"resets(long_total[1d])", DAY, DAY + 600000, 60000, 1},
    {"double_exponential_smoothing(long_total[1d], 0.5, 0.5)", DAY, DAY + 600000, 60000, 1},
    {"long_total[1d]", DAY, 0, 0, 1},
    {"max_over_time(ln(long_total)[1d:1s])", DAY, 0, 0, 1},
    {"max_over_time((long_total * 2 > 5)[1d:100ms])", DAY, 0, 0, 10},
    {"max_over_time(sum(long_total)[1d:100ms])", DAY, 0, 0, 10},
    {"max_over_time((sum(long_total) + sum(long_total))[1d:100ms])", DAY, 0, 0, 10},
    {"max_over_time(vector(1)[1d:100ms])", DAY, 0, 0, 10},
    {"sum(max_over_time(vector(time())[1d:100ms]))", DAY, 0, 0, 10},
};

static int check(const struct hard *h, struct mem_source *parts) {
    struct looks best = {.gap_ns = UINT64_MAX};
    uint64_t most_ns = gap_max_ns * h->times;
    for (int i = 0; i < 3 && best.gap_ns > most_ns; i++) {
        struct looks l = {.stage = "plan"};
        enum status st = run(h, parts, &l);
        if (st != OK) {
            fprintf(stderr, "%s: %s\n", h->text, status_name(st));
            return 1;
        }
        if (l.gap_ns < best.gap_ns) best = l;
    }
    bool bad = best.gap_ns > most_ns;
    if (bad || only != NULL)
        printf("%s: %.3f ms without a look in %s, %llu looks\n", h->text, (double)best.gap_ns / 1e6,
               best.worst, (unsigned long long)best.count);
    return bad;
}

int main(int argc, char **argv) {
    only = argc > 1 ? argv[1] : NULL;
    struct mem_source all, parts[2];
    mem_source_init(&all);
    for (int i = 0; i < 2; i++) {
        mem_source_init(&parts[i]);
        parts[i].is_view = true;
    }
    load_wide(&all, parts);
    load_long(&all, parts);
    load_histograms(&all, parts);
    int bad = 0;
    for (size_t i = 0; i < ARRAY_LEN(hards); i++)
        if (only == NULL || strstr(hards[i].text, only) != NULL) bad += check(&hards[i], parts);
    printf("%zu queries, %d without enough looks\n", ARRAY_LEN(hards), bad);
    for (int i = 0; i < 2; i++)
        mem_source_fini(&parts[i]);
    mem_source_fini(&all);
    return bad == 0 ? 0 : 1;
}
