/* SPDX-License-Identifier: Apache-2.0 */
/* Rows of downsampled windows in place of samples: which selectors read them, and that every
 * answer, with its annotations and counts of samples, is the one of samples. Values are eighths, so
 * that all sums are exact in any order. */
#include <criterion/criterion.h>
#include <stdlib.h>

#include "node/base/rng.h"
#include "tests/query/engine/fixture.h"

enum { MINUTE = 60000, HOUR = 60 * MINUTE, STEP = 20000, SAMPLES = 6 * HOUR / STEP };
enum { BOTH = FEATURE_ROWS_5M | FEATURE_ROWS_1H };

static const char *const functions[] = {
    "count_over_time",
    "sum_over_time",
    "avg_over_time",
    "min_over_time",
    "max_over_time",
    "first_over_time",
    "last_over_time",
    "present_over_time",
    "rate",
    "increase",
    "delta",
    "resets",
    "changes",
    "irate",
    "stddev_over_time",
    "ts_of_max_over_time",
};
/* F: a function, R: a range */
static const char *const shapes[] = {
    "F(m[R])",
    "sum by (job) (F(m[R]))",
    "topk(2, F(m_total[R]))",
    "-F({__name__=~\"m.*\",i=\"1\"}[R]) * 2",
    "max_over_time(F(m_total[R])[2h:1h])",
    "F(m[R] offset 1h)",
    "F(m[R] @ 10800)",
    "sum(F(m_total[R] offset 7m))",
};
static const char *const ranges[] = {"5m", "10m", "1h", "2h", "7m", "65m"};

static void load(struct fixture *f, struct rng *rng) {
    struct buf text = {0};
    for (unsigned s = 0; s < 12; s++) {
        unsigned gaps = (unsigned)rng_below(rng, 3), v = 0;
        buf_printf(&text, "%s{job=j%u,i=%u}", s % 2 == 0 ? "m" : "m_total", s % 3, s);
        for (unsigned k = 0; k < SAMPLES; k++) {
            uint64_t r = rng_below(rng, 60);
            bool away = gaps > 0 && k / (90 * gaps) % 3 == 1; /* whole windows without samples */
            v = r == 3 ? 0 : v + (unsigned)rng_below(rng, 100);
            if (away || r == 0)
                buf_put_sv(&text, SV(" _"));
            else if (r == 1)
                buf_put_sv(&text, SV(" stale"));
            else if (r == 2 && s > 8)
                buf_put_sv(&text, SV(" NaN"));
            else
                buf_printf(&text, " %.3f", s % 2 == 0 ? (double)rng_below(rng, 4000) / 8 - 200 : v);
        }
        buf_put_char(&text, '\n');
    }
    fixture_load(f, STEP, buf_cstr(&text));
    buf_fini(&text);
}

static void put_shape(struct buf *out, const char *shape, const char *function, const char *range) {
    for (const char *c = shape; *c != '\0'; c++) {
        if (*c == 'F')
            buf_put_sv(out, sv_from(function));
        else if (*c == 'R')
            buf_put_sv(out, sv_from(range));
        else
            buf_put_char(out, *c);
    }
}

static void compare(struct fixture *f, struct rng *rng, const char *query) {
    static const int64_t steps_ms[] = {0, 5 * MINUTE, HOUR, 7 * MINUTE, 30 * MINUTE};
    struct ask ask = {.query = query, .end_ms = 6 * HOUR, .seed = rng_below(rng, 100)};
    ask.step_ms = steps_ms[rng_below(rng, ARRAY_LEN(steps_ms))];
    ask.start_ms = (int64_t)rng_below(rng, 40) * 5 * MINUTE;
    if (rng_chance(rng, 0.1)) ask.start_ms += 1;
    ask.features = FEATURE_PER_STEP_STATS | FEATURE_EXPERIMENTAL_FUNCTIONS;
    char *samples = fixture_run(f, &ask);
    ask.features |= rng_chance(rng, 0.7) ? BOTH : FEATURE_ROWS_5M;
    char *rows = fixture_run(f, &ask);
    cr_assert_str_eq(rows, samples, "%s from %lld by %lld", query, (long long)ask.start_ms,
                     (long long)ask.step_ms);
    free(samples);
    free(rows);
}

Test(rows, answers_are_those_of_samples) {
    for (uint64_t seed = 1; seed <= 6; seed++) {
        struct fixture f;
        struct rng rng;
        rng_init(&rng, seed);
        fixture_init(&f);
        load(&f, &rng);
        for (size_t i = 0; i < ARRAY_LEN(functions); i++)
            for (size_t k = 0; k < ARRAY_LEN(shapes); k++) {
                struct buf query = {0};
                put_shape(&query, shapes[k], functions[i],
                          ranges[rng_below(&rng, ARRAY_LEN(ranges))]);
                compare(&f, &rng, buf_cstr(&query));
                buf_fini(&query);
            }
        compare(&f, &rng, "absent_over_time(m{i=\"77\"}[1h])");
        compare(&f, &rng, "absent_over_time(m{job=\"j0\"}[5m])");
        fixture_fini(&f);
    }
}

/* Of the only fragment of the first round. */
static uint32_t resolution(const struct ask *ask) {
    struct query_params params = ask_params(ask);
    struct query *q = NULL;
    struct plan *p = NULL;
    struct err err;
    const struct fragment *fragments[4];
    cr_assert_eq(query_new(sv_from(ask->query), &params, &q, &err), OK, "%s", err.msg);
    cr_assert_eq(plan_new(q, &p, &err), OK);
    cr_assert_eq(plan_round(p, fragments, 4), 1);
    uint32_t r = fragment_resolution(q, fragments[0]);
    plan_free(p);
    query_unref(q);
    return r / MINUTE;
}

Test(rows, are_read_where_windows_are_whole_and_functions_told_by_them) {
    static const struct {
        const char *query;
        int64_t start_ms, step_ms;
        uint32_t features, minutes;
    } cases[] = {
        {"rate(m[1h])", 0, HOUR, BOTH, 60},
        {"rate(m[1h])", 0, HOUR, FEATURE_ROWS_5M, 5},
        {"rate(m[1h])", 0, HOUR, FEATURE_ROWS_1H, 60},
        {"rate(m[1h])", 0, HOUR, 0, 0},
        {"rate(m[1h])", 5 * MINUTE, HOUR, BOTH, 5},
        {"rate(m[1h])", 0, 5 * MINUTE, BOTH, 5},
        {"rate(m[10m])", 0, HOUR, BOTH, 5},
        {"rate(m[10m])", 0, HOUR, FEATURE_ROWS_1H, 0},
        {"rate(m[11m])", 0, HOUR, BOTH, 0},
        {"rate(m[1h])", 0, 7 * MINUTE, BOTH, 0},
        {"rate(m[1h])", 1, HOUR, BOTH, 0},
        {"rate(m[1h])", HOUR, 0, BOTH, 60},
        {"rate(m[1h] offset 5m)", 0, HOUR, BOTH, 5},
        {"rate(m[1h] offset -1h)", 0, HOUR, BOTH, 60},
        {"rate(m[1h] offset 1s)", 0, HOUR, BOTH, 0},
        {"rate(m[1h] @ 7200)", 1, MINUTE, BOTH, 60},
        {"rate(m[1h] @ 7201)", 0, HOUR, BOTH, 0},
        {"sum by (job) (max_over_time(m[1h]))", 0, HOUR, BOTH, 60},
        {"max_over_time(rate(m[5m])[1h:1h])", 0, HOUR, BOTH, 5},
        {"max_over_time(rate(m[1h])[1h:1m])", 0, HOUR, BOTH, 0},
        {"max_over_time(m[1h:5m])", 0, HOUR, BOTH, 0},
        {"irate(m[1h])", 0, HOUR, BOTH, 0},
        {"quantile_over_time(0.5, m[1h])", 0, HOUR, BOTH, 0},
        {"changes(m[1h])", 0, HOUR, BOTH, 0},
        {"m", 0, HOUR, BOTH, 0},
        {"m[1h]", HOUR, 0, BOTH, 0},
        {"timestamp(m)", 0, HOUR, BOTH, 0},
        {"rate(m[1h] anchored)", 0, HOUR, BOTH | FEATURE_EXTENDED_RANGES, 0},
        {"rate(m[1h])", 0, HOUR, BOTH | FEATURE_START_TIMESTAMPS, 0},
        {"resets(m[1h])", 0, HOUR, BOTH | FEATURE_START_TIMESTAMPS, 0},
        {"delta(m[1h])", 0, HOUR, BOTH | FEATURE_START_TIMESTAMPS, 60},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct ask ask = {.query = cases[i].query,
                          .start_ms = cases[i].start_ms,
                          .end_ms = 10 * HOUR,
                          .step_ms = cases[i].step_ms,
                          .features = cases[i].features};
        cr_expect_eq(resolution(&ask), cases[i].minutes, "%zu: %s: %u", i, cases[i].query,
                     resolution(&ask));
    }
}
