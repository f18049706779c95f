/* SPDX-License-Identifier: Apache-2.0 */
/* Queries over small data; expected values are worked out by hand from the definitions. Every case
 * runs over one source and over several. */
#include <criterion/criterion.h>
#include <stdlib.h>

#include "tests/query/engine/fixture.h"

/* every minute from 0 */
static const char data[] = "http_total{job=a,i=1} 0 60 120 180 240 300\n"
                           "http_total{job=a,i=2} 0 30 60 10 40 70\n"
                           "http_total{job=b,i=1} 5 5 5 5 5 5\n"
                           "gauge{job=a} 1 2 3 4 stale 6\n"
                           "gauge{job=b} -1 NaN 3 _ _ 7\n"
                           "up{job=a,ver=x} 1 1 1 1 1 1\n"
                           "up{job=b,ver=y} 1 0 1 0 1 0\n"
                           "h_bucket{le=1} 0 0 0 0 0 2\n"
                           "h_bucket{le=2} 0 0 0 0 0 6\n"
                           "h_bucket{le=+Inf} 0 0 0 0 0 8\n"
                           "big{i=1} 1e308 1e308 1e308 1e308 1e308 1e308\n"
                           "big{i=2} 1e308 1e308 1e308 1e308 1e308 1e308\n"
                           "big{i=3} -1e308 -1e308 -1e308 -1e308 -1e308 -1e308\n"
                           "old_name{x=1} 1 2 _ _ _ _\n"
                           "new_name{x=1} _ _ 3 4 5 6\n"
                           "dup_a{x=1} 1 1 1 1 1 1\n"
                           "dup_b{x=1} 2 2 2 2 2 2\n";

struct row {
    const char *query;
    int64_t start_s, end_s, step_s;
    const char *want;
};

static void check(const struct row *rows, size_t count, uint32_t features) {
    static struct fixture f;
    fixture_init(&f);
    fixture_load(&f, 60000, data);
    for (size_t i = 0; i < count; i++)
        for (unsigned sources = 1; sources <= 4; sources += 3) {
            const struct row *r = &rows[i];
            struct ask ask = {
                .query = r->query, .start_ms = r->start_s * 1000, .end_ms = r->end_s * 1000};
            ask.step_ms = r->step_s * 1000;
            ask.sources = sources;
            ask.features = features;
            char *got = fixture_run(&f, &ask);
            cr_expect_str_eq(got, r->want, "%s over %u sources\n got: %swant: %s", r->query,
                             sources, got, r->want);
            free(got);
        }
    fixture_fini(&f);
}

#define INSTANT(query, want)                                                                       \
    { query, 300, 0, 0, want }

Test(engine, selectors_look_back_and_respect_stale_markers) {
    static const struct row rows[] = {
        INSTANT("gauge",
                "{__name__=\"gauge\", job=\"a\"} 300=6\n{__name__=\"gauge\", job=\"b\"} 300=7\n"),
        {"gauge", 240, 0, 0, "{__name__=\"gauge\", job=\"b\"} 240=3\n"},
        {"gauge{job=\"a\"}", 180, 300, 60, "{__name__=\"gauge\", job=\"a\"} 180=4 300=6\n"},
        {"gauge{job=\"a\"} offset 1m", 180, 300, 60,
         "{__name__=\"gauge\", job=\"a\"} 180=3 240=4\n"},
        {"gauge{job=\"a\"} @ 60", 180, 300, 60,
         "{__name__=\"gauge\", job=\"a\"} 180=2 240=2 300=2\n"},
        /* the sample at 300 s counts up to, and not at, 600 s */
        {"up{job=\"a\"}", 599, 600, 1, "{__name__=\"up\", job=\"a\", ver=\"x\"} 599=1\n"},
        {"timestamp(gauge{job=\"b\"})", 240, 0, 0, "{job=\"b\"} 240=120\n"},
        {"gauge{job=\"a\"}[2m]", 300, 0, 0, "{__name__=\"gauge\", job=\"a\"} 300=6\n"},
        {"gauge{job=\"a\"}[3m]", 240, 0, 0, "{__name__=\"gauge\", job=\"a\"} 120=3 180=4\n"},
        {"nothing", 300, 0, 0, ""},
    };
    check(rows, sizeof rows / sizeof *rows, 0);
}

Test(engine, rates_extrapolate_and_add_back_resets) {
    static const struct row rows[] = {
        /* (0, 300]: samples 60..300 at 60..300 s: 240 over 240 s, to both borders */
        INSTANT("increase(http_total{job=\"a\",i=\"1\"}[5m])", "{i=\"1\", job=\"a\"} 300=300\n"),
        INSTANT("rate(http_total{job=\"a\",i=\"1\"}[5m])", "{i=\"1\", job=\"a\"} 300=1\n"),
        /* 30 60 |10 40 70: 70 - 30 + 60 = 100 over 240 s; first value 30 puts zero 72 s back,
           beyond 60 s */
        INSTANT("increase(http_total{job=\"a\",i=\"2\"}[5m])", "{i=\"2\", job=\"a\"} 300=125\n"),
        INSTANT("delta(http_total{job=\"a\",i=\"2\"}[5m])", "{i=\"2\", job=\"a\"} 300=50\n"),
        INSTANT("resets(http_total{job=\"a\",i=\"2\"}[5m])", "{i=\"2\", job=\"a\"} 300=1\n"),
        INSTANT("changes(up{job=\"b\"}[5m])", "{job=\"b\", ver=\"y\"} 300=4\n"),
        INSTANT("irate(http_total{job=\"a\"}[5m])",
                "{i=\"1\", job=\"a\"} 300=1\n{i=\"2\", job=\"a\"} 300=0.5\n"),
        {"irate(http_total{job=\"a\",i=\"2\"}[5m])", 180, 0, 0,
         "{i=\"2\", job=\"a\"} 180=0.16666666666666666\n"},
        INSTANT("idelta(gauge{job=\"b\"}[5m])", "{job=\"b\"} 300=4\n"),
        INSTANT("sum(rate(http_total[5m]))", "{} 300=1.4166666666666667\n"),
        INSTANT("rate(gauge{job=\"a\"}[2m])", ""),
        INSTANT("rate(gauge{job=\"a\"}[5m])", "{job=\"a\"} 300=0.016666666666666666\n"
                                              "info PromQL info: metric might not be a counter, "
                                              "name does not end in _total/_sum/_count/_bucket: "
                                              "\"gauge\" (1:6)\n"),
        INSTANT("deriv(http_total{job=\"a\",i=\"1\"}[5m])", "{i=\"1\", job=\"a\"} 300=1\n"),
        INSTANT("predict_linear(http_total{job=\"a\",i=\"1\"}[5m], 60)",
                "{i=\"1\", job=\"a\"} 300=360\n"),
    };
    check(rows, sizeof rows / sizeof *rows, 0);
}

Test(engine, over_time_functions_see_what_is_in_the_window) {
    static const struct row rows[] = {
        INSTANT("sum_over_time(gauge{job=\"a\"}[5m])", "{job=\"a\"} 300=15\n"),
        INSTANT("avg_over_time(gauge{job=\"a\"}[5m])", "{job=\"a\"} 300=3.75\n"),
        INSTANT("count_over_time(gauge{job=\"a\"}[5m])", "{job=\"a\"} 300=4\n"),
        INSTANT("min_over_time(gauge{job=\"b\"}[6m])", "{job=\"b\"} 300=-1\n"),
        INSTANT("max_over_time(gauge{job=\"b\"}[5m])", "{job=\"b\"} 300=7\n"),
        INSTANT("last_over_time(gauge[5m])",
                "{__name__=\"gauge\", job=\"a\"} 300=6\n{__name__=\"gauge\", job=\"b\"} 300=7\n"),
        INSTANT("first_over_time(gauge{job=\"a\"}[5m])", "{__name__=\"gauge\", job=\"a\"} 300=2\n"),
        /* 2 3 4 6: mean 3.75, squares 3.0625 + 0.5625 + 0.0625 + 5.0625 = 8.75 */
        INSTANT("stdvar_over_time(gauge{job=\"a\"}[5m])", "{job=\"a\"} 300=2.1875\n"),
        INSTANT("quantile_over_time(0.5, gauge{job=\"a\"}[5m])", "{job=\"a\"} 300=3.5\n"),
        INSTANT("present_over_time(gauge{job=\"a\"}[5m])", "{job=\"a\"} 300=1\n"),
        {"max_over_time(gauge{job=\"a\"}[2m])", 60, 300, 60,
         "{job=\"a\"} 60=2 120=3 180=4 240=4 300=6\n"},
        /* a subquery's times are multiples of its step: 240 and 300 */
        INSTANT("sum_over_time(http_total{job=\"a\",i=\"1\"}[2m:1m])",
                "{i=\"1\", job=\"a\"} 300=540\n"),
        INSTANT("max_over_time(sum(http_total)[2m:1m])", "{} 300=375\n"),
        INSTANT("absent_over_time(nothing{a=\"b\"}[5m])", "{a=\"b\"} 300=1\n"),
        INSTANT("absent_over_time(gauge[5m])", ""),
        {"absent(gauge{job=\"a\"})", 180, 300, 60, "{job=\"a\"} 240=1\n"},
        INSTANT("quantile_over_time(2, gauge{job=\"a\"}[5m])",
                "{job=\"a\"} 300=+Inf\n"
                "warning PromQL warning: quantile value should be between 0 and 1, got 2 (1:20)\n"),
    };
    check(rows, sizeof rows / sizeof *rows, 0);
}

Test(engine, aggregations_group_and_compensate) {
    static const struct row rows[] = {
        INSTANT("sum(http_total)", "{} 300=375\n"),
        INSTANT("sum by (job) (http_total)", "{job=\"a\"} 300=370\n{job=\"b\"} 300=5\n"),
        INSTANT("sum without (i) (http_total)", "{job=\"a\"} 300=370\n{job=\"b\"} 300=5\n"),
        INSTANT("avg(http_total)", "{} 300=125\n"),
        INSTANT("count(http_total)", "{} 300=3\n"),
        INSTANT("group by (job) (http_total)", "{job=\"a\"} 300=1\n{job=\"b\"} 300=1\n"),
        INSTANT("min(http_total)", "{} 300=5\n"),
        {"max(gauge)", 60, 0, 0, "{} 60=2\n"},
        INSTANT("topk(2, http_total)",
                "{__name__=\"http_total\", i=\"1\", job=\"a\"} 300=300\n{__name__=\"http_total\", "
                "i=\"2\", job=\"a\"} 300=70\n"),
        /* equal values: the smaller label set */
        {"topk(1, up)", 0, 0, 0, "{__name__=\"up\", job=\"a\", ver=\"x\"} 0=1\n"},
        {"bottomk(1, up)", 0, 60, 60,
         "{__name__=\"up\", job=\"a\", ver=\"x\"} 0=1\n{__name__=\"up\", job=\"b\", ver=\"y\"} "
         "60=0\n"},
        INSTANT("topk(0, up)", ""),
        INSTANT("topk(NaN, up)", "error exec: Parameter value is NaN\n"),
        INSTANT("topk(scalar(up{job=\"a\"}), http_total)",
                "{__name__=\"http_total\", i=\"1\", job=\"a\"} 300=300\n"),
        INSTANT("stddev(http_total)", "{} 300=126.55697004379753\n"),
        INSTANT("quantile(0.5, http_total)", "{} 300=70\n"),
        INSTANT("count_values(\"v\", up)", "{v=\"0\"} 300=1\n{v=\"1\"} 300=1\n"),
        /* 1e308 + 1e308 overflows before -1e308 comes: Prometheus gives +Inf for the sum, and the
           mean survives */
        INSTANT("sum(big)", "{} 300=+Inf\n"),
        INSTANT("avg(big)", "{} 300=3.333333333333333e+307\n"),
        INSTANT("sum(gauge) by (job) > 6", "{job=\"b\"} 300=7\n"),
        INSTANT("limitk(1, http_total)",
                "error parse: 1:1: parse error: limitk() is experimental and must be enabled with "
                "--enable-feature=promql-experimental-functions\n"),
    };
    check(rows, sizeof rows / sizeof *rows, 0);
}

Test(engine, vectors_match_and_tell_when_they_cannot) {
    static const struct row rows[] = {
        INSTANT("http_total / on(job) group_left(ver) up",
                "{i=\"1\", job=\"a\", ver=\"x\"} 300=300\n{i=\"2\", job=\"a\", ver=\"x\"} 300=70\n"
                "{i=\"1\", job=\"b\", ver=\"y\"} 300=+Inf\n"),
        INSTANT("gauge * on(job) up", "{job=\"a\"} 300=6\n{job=\"b\"} 300=0\n"),
        INSTANT("gauge > 6", "{__name__=\"gauge\", job=\"b\"} 300=7\n"),
        INSTANT("gauge > bool 6", "{job=\"a\"} 300=0\n{job=\"b\"} 300=1\n"),
        INSTANT("6 < gauge", "{__name__=\"gauge\", job=\"b\"} 300=7\n"),
        INSTANT("2 ^ 3 ^ 2", "scalar 512\n"),
        INSTANT("-gauge{job=\"a\"}", "{job=\"a\"} 300=-6\n"),
        INSTANT("gauge and on(job) up == 1", "{__name__=\"gauge\", job=\"a\"} 300=6\n"),
        INSTANT("gauge unless on(job) up == 1", "{__name__=\"gauge\", job=\"b\"} 300=7\n"),
        INSTANT("gauge{job=\"a\"} or vector(9)",
                "{__name__=\"gauge\", job=\"a\"} 300=6\n{} 300=9\n"),
        INSTANT("gauge * scalar(gauge{job=\"b\"})", "{job=\"a\"} 300=42\n{job=\"b\"} 300=49\n"),
        INSTANT("gauge + on(job) http_total",
                "error exec: found duplicate series for the match group {job=\"a\"} on the right "
                "hand-side of the operation: "
                "[{__name__=\"http_total\", i=\"1\", job=\"a\"}, {__name__=\"http_total\", "
                "i=\"2\", job=\"a\"}];many-to-many "
                "matching not allowed: matching labels must be unique on one side\n"),
        INSTANT("http_total + on(job) gauge",
                "error exec: multiple matches for labels: many-to-one matching must be explicit "
                "(group_left/group_right)\n"),
        INSTANT("http_total{job=\"a\"} * on(job) group_left(i) up{job=\"a\"}",
                "error exec: multiple matches for labels: grouping labels must ensure unique "
                "matches\n"),
    };
    check(rows, sizeof rows / sizeof *rows, 0);
}

Test(engine, dropped_names_join_or_collide) {
    static const char collide[] =
        "error exec: vector cannot contain metrics with the same labelset\n";
    static const struct row rows[] = {
        INSTANT("{__name__=~\"dup_.\"} * 2", collide),
        INSTANT("sum({__name__=~\"dup_.\"} * 2)", collide),
        INSTANT("rate({__name__=~\"dup_.\"}[5m])", collide),
        INSTANT("sum(rate({__name__=~\"dup_.\"}[5m]))", collide),
        INSTANT("sum({__name__=~\"dup_.\"})", "{} 300=3\n"),
        /* the lookback makes both present at 120 s and later */
        {"abs({__name__=~\"(old|new)_name\"})", 0, 60, 60, "{x=\"1\"} 0=1 60=2\n"},
        {"sum(abs({__name__=~\"(old|new)_name\"}))", 0, 180, 60, collide},
        {"sum(last_over_time({__name__=~\"(old|new)_name\"}[1m]) * 10)", 0, 300, 60,
         "{} 0=10 60=20 120=30 180=40 240=50 300=60\n"},
    };
    check(rows, sizeof rows / sizeof *rows, 0);
    static const struct row delayed[] = {
        INSTANT("sum by (__name__) ({__name__=~\"dup_.\"} * 2)", collide),
        INSTANT("sum({__name__=~\"dup_.\"} * 2)", "{} 300=6\n"),
        INSTANT("{__name__=~\"dup_.\"} * 2", collide),
    };
    check(delayed, sizeof delayed / sizeof *delayed, FEATURE_DELAYED_NAME_REMOVAL);
}

Test(engine, functions_of_vectors_and_labels) {
    static const struct row rows[] = {
        /* rank 4 of 8 is in (1, 2], which holds ranks 2 to 6 */
        INSTANT("histogram_quantile(0.5, h_bucket)", "{} 300=1.5\n"),
        INSTANT("histogram_quantile(1, h_bucket)", "{} 300=2\n"),
        INSTANT("histogram_fraction(0, 1, h_bucket)", "{} 300=0.25\n"),
        INSTANT("label_replace(gauge{job=\"a\"}, \"new\", \"$1-x\", \"job\", \"(.*)\")",
                "{__name__=\"gauge\", job=\"a\", new=\"a-x\"} 300=6\n"),
        INSTANT("label_join(gauge{job=\"a\"}, \"new\", \"/\", \"job\", \"__name__\")",
                "{__name__=\"gauge\", job=\"a\", new=\"a/gauge\"} 300=6\n"),
        INSTANT("sort_desc(gauge)",
                "{__name__=\"gauge\", job=\"b\"} 300=7\n{__name__=\"gauge\", job=\"a\"} 300=6\n"),
        INSTANT("clamp(gauge, 0, 6.5)", "{job=\"a\"} 300=6\n{job=\"b\"} 300=6.5\n"),
        INSTANT("round(gauge / 4, 0.5)", "{job=\"a\"} 300=1.5\n{job=\"b\"} 300=2\n"),
        INSTANT("time()", "scalar 300\n"),
        {"hour(vector(86399))", 0, 0, 0, "{} 0=23\n"},
        {"day_of_week()", 0, 0, 0, "{} 0=4\n"}, /* 1 January 1970 was a Thursday */
        INSTANT("scalar(gauge)", "scalar NaN\n"),
        INSTANT("\"text\"", "string text\n"),
        {"time()", 0, 120, 60, "{} 0=0 60=60 120=120\n"},
        INSTANT("sgn(gauge - 6.5)", "{job=\"a\"} 300=-1\n{job=\"b\"} 300=1\n"),
    };
    check(rows, sizeof rows / sizeof *rows, 0);
}

/* Found by comparing with Prometheus 2.42 (tests/peers/promql_diff.py), whose answers these are. */
Test(engine, answers_are_those_of_prometheus_in_odd_places) {
    static const struct row rows[] = {
        /* one series of all, not a function of each */
        INSTANT("count by (job) (absent_over_time(gauge[5m]))", ""),
        INSTANT("count(absent_over_time(nothing{a=\"b\"}[5m]))", "{} 300=1\n"),
        INSTANT("absent(absent_over_time(gauge[5m]))", "{} 300=1\n"),
        /* a scalar with data below a subquery: one value for each of its points */
        INSTANT("last_over_time(clamp_max(gauge{job=\"b\"}, scalar(up{job=\"a\"}))[2m:1m])",
                "{job=\"b\"} 300=1\n"),
        /* dates outside of int64 are the last ones that Go's time.Time can tell */
        INSTANT("year(vector(Inf))", "{} 300=2.92277026596e+11\n"),
        INSTANT("hour(vector(NaN))", "{} 300=15\n"),
        INSTANT("month(vector(-1e30))", "{} 300=12\n"),
        /* the offset only limits what timestamp() can see */
        INSTANT("timestamp(up{job=\"a\"} @ 240 offset 1m)", "{job=\"a\", ver=\"x\"} 300=180\n"),
        INSTANT("timestamp(up{job=\"a\"} @ 120 offset -1m)", "{job=\"a\", ver=\"x\"} 300=120\n"),
        INSTANT("timestamp(up{job=\"a\"} @ 300 offset 5m)", ""),
        INSTANT("up{job=\"a\"} + (scalar(minute()) != bool 5)", "{job=\"a\", ver=\"x\"} 300=1\n"),
        INSTANT("topk(scalar(vector(1)), up{job=\"a\"})",
                "{__name__=\"up\", job=\"a\", ver=\"x\"} 300=1\n"),
        INSTANT("sinh(vector(710.2))", "{} 300=+Inf\n"),
        INSTANT("cosh(vector(-710.2))", "{} 300=+Inf\n"),
    };
    check(rows, sizeof rows / sizeof *rows, 0);
}
