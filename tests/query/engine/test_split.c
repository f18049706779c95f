/* SPDX-License-Identifier: Apache-2.0 */
/* Random series: (1) dealt to 1 to 8 sources in any way, a query gives the same result to the last
 * digit; (2) each step of a range query is the instant query at that time, so sliding windows do
 * not depend on where they slid from. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "node/base/rng.h"
#include "tests/query/engine/fixture.h"

static const char *const queries[] = {
    "m",
    "sum(m)",
    "sum by (job) (rate(m[5m]))",
    "avg by (job) (m)",
    "avg(rate(m[3m]))",
    "count by (job) (m > 3)",
    "min(m)",
    "max by (i) (m)",
    "group by (i) (m)",
    "topk(2, m)",
    "bottomk by (job) (2, m)",
    "limitk(3, m)",
    "stddev by (job) (m)",
    "stdvar(m)",
    "quantile by (job) (0.3, m)",
    "count_values(\"v\", round(m))",
    "limit_ratio(0.5, m)",
    "sum(sum_over_time(m[4m]))",
    "avg_over_time(m[7m])",
    "min_over_time(m[5m])",
    "max_over_time(m[5m])",
    "stddev_over_time(m[6m])",
    "quantile_over_time(0.7, m[6m])",
    "mad_over_time(m[6m])",
    "ts_of_max_over_time(m[6m])",
    "ts_of_min_over_time(m[6m])",
    "first_over_time(m[4m])",
    "changes(m[6m])",
    "resets(m[6m])",
    "increase(m[6m])",
    "irate(m[6m])",
    "deriv(m[6m])",
    "predict_linear(m[6m], 100)",
    "double_exponential_smoothing(m[6m], 0.3, 0.6)",
    "max_over_time(rate(m[2m])[6m:1m])",
    "max_over_time((m * scalar(max(m)))[6m:1m])",
    "sum(m) / count(m)",
    "m * on(job) group_left() sum by (job) (m)",
    "m and on(i) (m > 2)",
    "m or on(job, i) (m * 2)",
    "m unless on(i) (m > 2)",
    "m * scalar(max(m))",
    "absent(m > 1000)",
    "absent_over_time(m{job=\"j0\"}[1m])",
    "timestamp(m)",
    "sum({__name__=~\"m|n\"})",
    "sum(abs({__name__=~\"n|o\"}))",
    "label_replace(m, \"x\", \"$1\", \"i\", \"(.)\")",
    "increase(m[3m] smoothed)",
    "rate(m[3m] anchored)",
};

static double random_value(struct rng *rng, int kind) {
    switch (kind) {
    case 0: return (double)rng_below(rng, 20);
    case 1: return (double)rng_below(rng, 1000) / 100;
    default: return rng_unit(rng) * 10 - 3;
    }
}

static void load_random(struct fixture *f, struct rng *rng) {
    static const char *const names[] = {"m", "m", "m", "n", "o"};
    struct buf text = {0};
    for (unsigned s = 0; s < 24; s++) {
        const char *name = names[rng_below(rng, 5)];
        buf_printf(&text, "%s{job=j%u,i=%u,name=%s}", name, s % 3, s, name);
        int kind = (int)rng_below(rng, 3);
        double v = 0;
        for (unsigned k = 0; k < 30; k++) {
            uint64_t r = rng_below(rng, 20);
            if (r == 0) buf_put_sv(&text, SV(" _"));
            if (r == 1) buf_put_sv(&text, SV(" stale"));
            if (r == 2) buf_put_sv(&text, SV(" NaN"));
            if (r <= 2) continue;
            v = s % 2 == 0 ? random_value(rng, kind) : (r == 3 ? 0 : v + random_value(rng, kind));
            buf_printf(&text, " %.17g", v);
        }
        buf_put_char(&text, '\n');
    }
    fixture_load(f, 30000, buf_cstr(&text));
    buf_fini(&text);
}

static int fail(uint64_t seed, const char *query, const char *what, const char *a, const char *b) {
    fprintf(stderr, "--seed=%llu %s: %s\n%s---\n%s", (unsigned long long)seed, query, what, a, b);
    return 1;
}

static int check_split(struct fixture *f, uint64_t seed, const char *query) {
    struct ask ask = {
        .query = query, .end_ms = 900000, .step_ms = 45000, .sources = 1, .features = 15};
    ask.features &= ~(uint32_t)FEATURE_DELAYED_NAME_REMOVAL;
    char *one = fixture_run(f, &ask);
    int bad = 0;
    for (unsigned sources = 2; sources <= 8 && bad == 0; sources += 2) {
        ask.sources = sources;
        ask.seed = seed + sources;
        char *many = fixture_run(f, &ask);
        if (strcmp(one, many) != 0) bad = fail(seed, query, "the split shows", one, many);
        free(many);
    }
    free(one);
    return bad;
}

/* The points at one time of a range result, as the instant result prints them. */
static void points_at(const char *range, const char *mark, struct buf *out) {
    struct sv text = sv_from(range);
    while (text.len > 0) {
        struct sv line;
        size_t at, brace;
        text = sv_cut(text, '\n', &line);
        if (!sv_starts(line, SV("{")) || !sv_find(line, sv_from(mark), &at)) continue;
        struct sv point = sv_skip(line, at + 1), first;
        sv_cut(point, ' ', &first);
        for (brace = line.len; brace > 0 && line.ptr[brace - 1] != '}'; brace--) {
        }
        buf_put_sv(out, sv_take(line, brace));
        buf_put_char(out, ' ');
        buf_put_sv(out, first);
        buf_put_char(out, '\n');
    }
    buf_put_char(out, '\0');
}

static int line_order(const void *a, const void *b) {
    const struct sv *x = a, *y = b;
    return sv_cmp(*x, *y);
}

/* Result lines of series alone, sorted: instant results may come in another order. */
static void sort_lines(const char *text, struct buf *out) {
    struct sv lines[512], rest = sv_from(text);
    size_t n = 0;
    while (rest.len > 0 && n < 512) {
        rest = sv_cut(rest, '\n', &lines[n]);
        if (sv_starts(lines[n], SV("{"))) n++;
    }
    qsort(lines, n, sizeof *lines, line_order);
    for (size_t i = 0; i < n; i++) {
        buf_put_sv(out, lines[i]);
        buf_put_char(out, '\n');
    }
    buf_put_char(out, '\0');
}

static int check_steps(struct fixture *f, uint64_t seed, const char *query) {
    struct ask ask = {.query = query, .end_ms = 900000, .step_ms = 45000, .features = 7};
    char *range = fixture_run(f, &ask);
    int bad = 0;
    if (strncmp(range, "error", 5) == 0) {
        free(range);
        return 0;
    }
    for (int64_t t = 0; t <= 900000 && bad == 0; t += 45000) {
        struct buf at = {0}, a = {0}, b = {0};
        char mark[40];
        snprintf(mark, sizeof mark, " %lld=", (long long)(t / 1000));
        struct ask instant = {.query = query, .start_ms = t, .features = 7};
        char *now = fixture_run(f, &instant);
        points_at(range, mark, &at);
        sort_lines(at.ptr, &a);
        sort_lines(now, &b);
        if (strcmp(a.ptr, b.ptr) != 0)
            bad = fail(seed, query, "a step differs from the instant query", a.ptr, b.ptr);
        free(now);
        buf_fini(&at);
        buf_fini(&a);
        buf_fini(&b);
    }
    free(range);
    return bad;
}

int main(int argc, char **argv) {
    uint64_t seed = argc > 1 ? strtoull(argv[1], NULL, 10) : (uint64_t)time(NULL);
    unsigned rounds = argc > 2 ? (unsigned)strtoul(argv[2], NULL, 10) : 6;
    printf("seed %llu\n", (unsigned long long)seed);
    int bad = 0;
    for (unsigned i = 0; i < rounds && bad == 0; i++, seed++) {
        struct fixture f;
        struct rng rng;
        rng_init(&rng, seed);
        fixture_init(&f);
        load_random(&f, &rng);
        for (size_t q = 0; q < sizeof queries / sizeof *queries && bad == 0; q++) {
            bad = check_split(&f, seed, queries[q]);
            if (bad == 0) bad = check_steps(&f, seed, queries[q]);
        }
        fixture_fini(&f);
    }
    return bad;
}
