/* SPDX-License-Identifier: Apache-2.0 */
/* Heavy random queries over many series, with small limits: what a fragment, and what the
 * coordinator with all its answers takes, is measured in malloc() and by the clock, and may exceed
 * its limit by a tenth plus the slack below. Each query ends well or says which limit it met.
 *
 *   test_grammar_budget [--seeds=N] [--first=SEED] */
#include <malloc.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "node/base/attr.h"
#include "node/base/rng.h"
#include "tests/query/engine/gen_query.h"
#include "tests/query/engine/test_grammar_data.h"

enum {
    SERIES = 4000,
    SAMPLES = 120,
    /* Not charged: structs of a fixed size, notes, the samples of the one series that is read
     * before they can be counted, and the tenth that the allocator's rounding takes of small
     * limits. */
    SLACK_BYTES = 192 << 10,
};
/* From one look at the clock to the next, and giving back what was held (test_looks.c). */
#if defined(__SANITIZE_ADDRESS__)
static const uint64_t slack_ns = 100000000;
#else
static const uint64_t slack_ns = 4000000;
#endif

/* -- malloc, counted (linked with --wrap) */

static int64_t live_bytes, peak_bytes;

void *__real_malloc(size_t size);
void *__real_calloc(size_t count, size_t size);
void *__real_realloc(void *ptr, size_t size);
void *__real_reallocarray(void *ptr, size_t count, size_t size);
void __real_free(void *ptr);
void *__wrap_malloc(size_t size);
void *__wrap_calloc(size_t count, size_t size);
void *__wrap_realloc(void *ptr, size_t size);
void *__wrap_reallocarray(void *ptr, size_t count, size_t size);
void __wrap_free(void *ptr);

static void *counted(void *ptr, size_t before) {
    live_bytes += (int64_t)malloc_usable_size(ptr) - (int64_t)before;
    peak_bytes = MAX(peak_bytes, live_bytes);
    return ptr;
}
void *__wrap_malloc(size_t size) {
    return counted(__real_malloc(size), 0);
}
void *__wrap_calloc(size_t count, size_t size) {
    return counted(__real_calloc(count, size), 0);
}
void *__wrap_realloc(void *ptr, size_t size) {
    size_t before = malloc_usable_size(ptr);
    void *grown = __real_realloc(ptr, size);
    return grown == NULL ? NULL : counted(grown, before);
}
void *__wrap_reallocarray(void *ptr, size_t count, size_t size) {
    size_t before = malloc_usable_size(ptr);
    void *grown = __real_reallocarray(ptr, count, size);
    return grown == NULL ? NULL : counted(grown, before);
}
void __wrap_free(void *ptr) {
    live_bytes -= (int64_t)malloc_usable_size(ptr);
    __real_free(ptr);
}

/* This thread's own time: a busy machine may stop it anywhere. */
static uint64_t now_ns(void *ctx) {
    struct timespec ts;
    (void)ctx;
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &ts);
    return (uint64_t)ts.tv_sec * 1000000000 + (uint64_t)ts.tv_nsec;
}

/* -- data */

static void load(struct mem_source *m) {
    char instance[16], zone[16];
    mem_source_init(m);
    for (unsigned i = 0; i < SERIES; i++) {
        snprintf(instance, sizeof instance, "i%u", i);
        snprintf(zone, sizeof zone, "z%u", i % 7);
        struct label labels[4] = {{SV("__name__"), sv_from(gen_metrics[i % gen_metrics_count])},
                                  {SV("job"), i % 2 == 0 ? SV("a") : SV("b")},
                                  {SV("instance"), sv_from(instance)},
                                  {SV("zone"), sv_from(zone)}};
        struct mem_series *s;
        if (mem_source_add(m, labels, 4, &s, NULL) != OK) abort();
        for (int64_t k = 0; k < SAMPLES; k++)
            if (mem_series_append(s, k * 30000, (double)(k * (i % 97))) != OK) abort();
    }
}

/* -- one query */

struct measured {
    int64_t fragment_bytes, plan_bytes;
    uint64_t took_ns;
    uint64_t samples_peak;
};

static void plan_measure(struct measured *out, int64_t base) {
    out->plan_bytes = MAX(out->plan_bytes, peak_bytes - base);
}

static enum status run_fragments(struct plan *plan, struct query *q, struct mem_source *m,
                                 struct query_control *control, struct measured *out) {
    const struct fragment *fragments[64];
    struct err err;
    int64_t base = live_bytes;
    for (size_t n; (n = plan_round(plan, fragments, 64)) > 0;) {
        for (size_t i = 0; i < n; i++) {
            struct partial *p = NULL;
            int64_t before = peak_bytes = live_bytes;
            enum status st = fragment_run(q, fragments[i], &m->source, control, &p, &err);
            out->fragment_bytes = MAX(out->fragment_bytes, peak_bytes - before);
            peak_bytes = live_bytes;
            if (st == OK) st = plan_fold(plan, i, p, &err);
            if (st != OK) return st;
        }
        TRY(plan_round_done(plan, control, &err));
        plan_measure(out, base);
    }
    return OK;
}

static enum status run(struct sv text, const struct query_params *params, struct mem_source *m,
                       struct query_control *control, struct measured *out) {
    struct query *q = NULL;
    struct plan *plan = NULL;
    struct result result = {0};
    struct err err;
    TRY(query_new(text, params, &q, &err));
    if (mem_source_select(m, q) != OK) abort();
    int64_t base = peak_bytes = live_bytes;
    uint64_t began = now_ns(NULL);
    if (control->deadline_ns != 0) control->deadline_ns += began;
    enum status st = plan_new(q, &plan, &err);
    plan_measure(out, base);
    if (st == OK) st = run_fragments(plan, q, m, control, out);
    peak_bytes = live_bytes;
    if (st == OK) st = plan_finish(plan, control, &result, &err);
    plan_measure(out, base);
    out->took_ns = now_ns(NULL) - began;
    out->samples_peak = st == OK ? result.samples_peak : 0;
    plan_free(plan);
    query_unref(q);
    return st;
}

struct tally {
    uint64_t queries, ok, limit, late, other;
    double worst_memory, worst_time;
};

static int fail(uint64_t seed, struct sv text, const char *what, double got, double limit) {
    fprintf(stderr, "--seeds=1 --first=%llu: %s: %.0f, the limit is %.0f\n%.*s\n",
            (unsigned long long)seed, what, got, limit, SV_ARG(text));
    return 1;
}

static int check_measured(uint64_t seed, struct sv text, const struct query_params *params,
                          const struct measured *m, struct tally *n) {
    double limit = (double)params->memory_bytes_max, most = limit * 1.1 + SLACK_BYTES;
    double fragment = (double)m->fragment_bytes, plan = (double)m->plan_bytes;
    n->worst_memory = fmax(n->worst_memory, fmax(fragment, plan) / limit);
    if (fragment > most) return fail(seed, text, "bytes of a fragment", fragment, limit);
    if (plan > most) return fail(seed, text, "bytes of the coordinator", plan, limit);
    if (m->samples_peak > params->samples_max)
        return fail(seed, text, "samples", (double)m->samples_peak, (double)params->samples_max);
    return 0;
}

static int check_seed(uint64_t seed, struct mem_source *m, struct tally *n) {
    struct rng rng;
    rng_init(&rng, seed);
    struct gen_options options = {.depth_max = 1 + (unsigned)rng_below(&rng, 5), .heavy = true};
    struct query_params params = {
        .lookback_ms = 300000,
        .default_step_ms = 60000,
        .samples_max = rng_below(&rng, 2) == 0 ? 50000 : 5000000,
        .memory_bytes_max = 1ULL << (20 + 2 * rng_below(&rng, 3)),
        .features = FEATURE_EXPERIMENTAL_FUNCTIONS | FEATURE_FILL | FEATURE_EXTENDED_RANGES,
        .step_ms = rng_below(&rng, 2) == 0 ? 1000 : 60000,
        .start_ms = 600000,
        .end_ms = 3600000,
    };
    uint64_t allowed_ns = rng_below(&rng, 2) == 0 ? 2000000 : 20000000;
    struct query_control control = {.deadline_ns = allowed_ns, .mono_ns = now_ns};
    struct buf text = {0};
    struct measured measured = {0};
    gen_query(seed, &options, &text);
    uint64_t most_ns = allowed_ns * 11 / 10 + slack_ns;
    enum status st = run(buf_sv(&text), &params, m, &control, &measured);
    for (int again = 0; measured.took_ns > most_ns && again < 3; again++) {
        control.deadline_ns = allowed_ns; /* a busy machine delays once, a loop always */
        st = run(buf_sv(&text), &params, m, &control, &measured);
    }
    n->queries++;
    n->ok += st == OK;
    n->limit += st == ERR_LIMIT;
    n->late += st == ERR_TIMEOUT;
    n->other += st == ERR_PARSE || st == ERR_EXEC;
    int bad = 0;
    if (st != OK && st != ERR_LIMIT && st != ERR_TIMEOUT && st != ERR_PARSE && st != ERR_EXEC)
        bad = fail(seed, buf_sv(&text), status_name(st), 0, 0);
    if (bad == 0) bad = check_measured(seed, buf_sv(&text), &params, &measured, n);
    n->worst_time = fmax(n->worst_time, (double)measured.took_ns / (double)allowed_ns);
    if (bad == 0 && measured.took_ns > most_ns)
        bad = fail(seed, buf_sv(&text), "ns", (double)measured.took_ns, (double)allowed_ns);
    buf_fini(&text);
    return bad;
}

int main(int argc, char **argv) {
    uint64_t seeds = 400, first = 1;
    for (int a = 1; a < argc; a++) {
        if (strncmp(argv[a], "--seeds=", 8) == 0) seeds = strtoull(argv[a] + 8, NULL, 10);
        if (strncmp(argv[a], "--first=", 8) == 0) first = strtoull(argv[a] + 8, NULL, 10);
    }
    struct mem_source m;
    struct tally n = {0};
    int bad = 0;
    load(&m);
    for (uint64_t i = 0; i < seeds && bad == 0; i++)
        bad = check_seed(first + i, &m, &n);
    printf("%llu queries: %llu ok, %llu at a limit, %llu late, %llu refused; at most %.2f of the "
           "memory, %.2f of the time\n",
           (unsigned long long)n.queries, (unsigned long long)n.ok, (unsigned long long)n.limit,
           (unsigned long long)n.late, (unsigned long long)n.other, n.worst_memory, n.worst_time);
    if (bad == 0 && seeds >= 400 && (n.limit < 20 || n.late < 5 || n.ok < 20)) {
        fprintf(stderr, "too few of a kind\n");
        bad = 1;
    }
    mem_source_fini(&m);
    return bad;
}
