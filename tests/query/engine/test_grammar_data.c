/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/query/engine/test_grammar_data.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#include "node/base/attr.h"
#include "node/base/bytes.h"
#include "node/base/rng.h"

static void check(enum status st) {
    if (st != OK) abort();
}

static struct mem_series *series_new(struct grammar_data *d, const struct label *labels,
                                     size_t count) {
    struct mem_series *s = NULL;
    check(mem_source_add(&d->all, labels, count, &s, NULL));
    return s;
}

static double edge_value(struct rng *rng) {
    static const double values[] = {NAN,    INFINITY, -INFINITY, 0,      -0.0, 1e308,
                                    -1e308, 1.7e308,  5e-324,    1e-300, 1e16, -1e16,
                                    1,      0.1,      1e300,     3};
    return values[rng_below(rng, ARRAY_LEN(values))];
}

/* kind 0: a counter, 1: a gauge, 2: edges */
static double next_value(struct rng *rng, int kind, double last) {
    if (kind == 2) return edge_value(rng);
    if (kind == 1) return (double)rng_below(rng, 2000) / 100 - 5;
    return rng_below(rng, 25) == 0 ? (double)rng_below(rng, 3) : last + (double)rng_below(rng, 20);
}

static void fill(struct mem_series *s, struct rng *rng, int kind) {
    double v = 0;
    int64_t jitter = (int64_t)rng_below(rng, 2) * (int64_t)rng_below(rng, 5000);
    bool gap = false;
    for (int64_t t = jitter; t <= GRAMMAR_END_MS; t += GRAMMAR_SCRAPE_MS) {
        uint64_t r = rng_below(rng, 100);
        if (r < 2) gap = !gap;
        if (gap) continue;
        if (r < 5) {
            check(mem_series_append(s, t, f64_from_bits(STALE_NAN_BITS)));
            continue;
        }
        v = next_value(rng, kind, v);
        check(mem_series_append(s, t, v));
    }
}

static void add(struct grammar_data *d, struct rng *rng, const char *name, unsigned i, int kind) {
    static const char *const jobs[] = {"a", "b", "aaaaaaaaaaaaaaaaaaaaaaaaaaaaab"};
    char instance[16], zone[16];
    snprintf(instance, sizeof instance, "i%u", i);
    snprintf(zone, sizeof zone, "z%u", i % 4);
    struct label labels[5] = {{SV("__name__"), sv_from(name)},
                              {SV("job"), sv_from(jobs[i % 3])},
                              {SV("instance"), sv_from(instance)},
                              {SV("zone"), sv_from(zone)},
                              {SV("na\xc3\xafve label"), SV("\xc3\xa9t\xc3\xa9 \"x\"\n")}};
    fill(series_new(d, labels, i % 5 == 0 ? 5 : 4), rng, kind);
}

/* Large numbers that cancel, and smaller ones that cancel too: what a sum is lies far below, and is
 * lost by adding in doubles, or in pairs of them, in most orders. */
static void add_wide(struct grammar_data *d, struct rng *rng, unsigned i) {
    char instance[16];
    snprintf(instance, sizeof instance, "i%u", i);
    struct label labels[3] = {{SV("__name__"), SV("wide")},
                              {SV("job"), i % 2 == 0 ? SV("a") : SV("b")},
                              {SV("instance"), sv_from(instance)}};
    struct mem_series *s = series_new(d, labels, 3);
    for (int64_t t = 0; t <= GRAMMAR_END_MS; t += GRAMMAR_SCRAPE_MS) {
        struct rng same; /* for all series at that time */
        rng_init(&same, (uint64_t)t);
        double large = ldexp((double)rng_below(&same, 1ULL << 53), 30 - 53);
        double fine = ldexp((double)rng_below(rng, 1ULL << 53), -40 - 53);
        double values[] = {ldexp(large, 60), -ldexp(large, 60), large, -large, fine, -fine,
                           3 * fine};
        check(mem_series_append(s, t, values[i / 2 % ARRAY_LEN(values)]));
    }
}

/* Buckets of one histogram grow together, so that they are monotonic but for what is done to them.
 */
static void add_histogram(struct grammar_data *d, struct rng *rng, unsigned i) {
    static const char *const bounds[] = {"0.1", "0.5", "1", "2.5", "10", "+Inf"};
    char instance[16];
    snprintf(instance, sizeof instance, "i%u", i);
    double counts[ARRAY_LEN(bounds)] = {0};
    struct mem_series *s[ARRAY_LEN(bounds)];
    for (size_t b = 0; b < ARRAY_LEN(bounds); b++) {
        struct label labels[4] = {{SV("__name__"), SV("h_bucket")},
                                  {SV("job"), i % 2 == 0 ? SV("a") : SV("b")},
                                  {SV("instance"), sv_from(instance)},
                                  {SV("le"), sv_from(i == 3 && b == 1 ? "x" : bounds[b])}};
        s[b] = series_new(d, labels, 4);
    }
    for (int64_t t = 0; t <= GRAMMAR_END_MS; t += GRAMMAR_SCRAPE_MS) {
        double total = 0;
        for (size_t b = 0; b < ARRAY_LEN(bounds); b++) {
            total += (double)rng_below(rng, 4);
            counts[b] += total;
            bool missing = rng_below(rng, 60) == 0, falls = i == 5 && rng_below(rng, 40) == 0;
            if (missing) continue;
            check(mem_series_append(s[b], t, falls ? counts[b] - 3 : counts[b]));
        }
    }
}

void grammar_data_init(struct grammar_data *d, uint64_t seed) {
    struct rng rng;
    rng_init(&rng, seed);
    mem_source_init(&d->all);
    d->parts_count = 0;
    for (unsigned i = 0; i < 36; i++)
        add(d, &rng, "c", i, 0);
    for (unsigned i = 0; i < 36; i++)
        add(d, &rng, "g", i, 1);
    for (unsigned i = 0; i < 24; i++)
        add(d, &rng, "edge", i, 2);
    for (unsigned i = 0; i < 24; i++)
        add_wide(d, &rng, i);
    for (unsigned i = 0; i < 10; i++)
        add_histogram(d, &rng, i);
    for (unsigned i = 0; i < 10; i++) {
        add(d, &rng, "h_count", i, 0);
        add(d, &rng, "h_sum", i, 0);
        add(d, &rng, "caf\xc3\xa9 temp", i, 1);
    }
    for (unsigned i = 0; i < 12; i++) {
        struct label info[4] = {{SV("__name__"), SV("target_info")},
                                {SV("job"), i % 2 == 0 ? SV("a") : SV("b")},
                                {SV("instance"), SV("i0")},
                                {SV("version"), i % 3 == 0 ? SV("v1") : SV("v2")}};
        char instance[16];
        snprintf(instance, sizeof instance, "i%u", i);
        info[2].value = sv_from(instance);
        fill(series_new(d, info, 4), &rng, 1);
    }
    grammar_data_deal(d, seed);
}

static void parts_fini(struct grammar_data *d) {
    for (size_t p = 0; p < d->parts_count; p++)
        mem_source_fini(&d->parts[p]);
    d->parts_count = 0;
}

void grammar_data_deal(struct grammar_data *d, uint64_t seed) {
    struct rng rng;
    rng_init(&rng, seed);
    parts_fini(d);
    d->parts_count = 1 + (size_t)rng_below(&rng, GRAMMAR_PARTS_MAX);
    for (size_t p = 0; p < d->parts_count; p++) {
        mem_source_init(&d->parts[p]);
        d->parts[p].is_view = true;
    }
    for (size_t i = 0; i < d->all.count; i++)
        check(mem_source_view_add(&d->parts[rng_below(&rng, d->parts_count)], d->all.series[i]));
}

void grammar_data_fini(struct grammar_data *d) {
    parts_fini(d);
    mem_source_fini(&d->all);
}

void grammar_run(struct grammar_data *d, struct sv text, const struct query_params *params,
                 bool parts, struct grammar_run *out) {
    *out = (struct grammar_run){0};
    out->status = query_new(text, params, &out->q, &out->err);
    if (out->status != OK) return;
    const struct source *sources[GRAMMAR_PARTS_MAX];
    size_t count = parts ? d->parts_count : 1;
    for (size_t i = 0; i < count; i++) {
        struct mem_source *m = parts ? &d->parts[i] : &d->all;
        check(mem_source_select(m, out->q));
        sources[i] = &m->source;
    }
    out->status = query_run_local(out->q, sources, count, &out->plan, &out->result, &out->err);
}

void grammar_run_fini(struct grammar_run *run) {
    if (run->status == OK) plan_free(run->plan);
    query_unref(run->q);
}
