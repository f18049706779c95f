/* SPDX-License-Identifier: Apache-2.0 */
#include <criterion/criterion.h>
#include <math.h>
#include <stdio.h>
#include <time.h>
#include <unistd.h>

#include "node/base/num.h"
#include "tests/base/metrics_sample.h"

Test(metrics, text_exposition) {
    struct buf b = {0};
    sample_fill();
    metrics_put_text(&b);
    cr_assert_str_eq(buf_cstr(&b), sample_text);
    buf_fini(&b);
}

Test(metrics, one_child_per_label_text) {
    struct metric *m = metric_get(&sample_requests, "a=\"1\"");
    cr_assert(metric_get(&sample_requests, "a=\"1\"") == m);
    cr_assert(metric_get(&sample_requests, NULL) == metric_get(&sample_requests, ""));
    cr_assert(metric_get(&sample_requests, NULL) != m);
    metric_add(m, 2);
    cr_assert_eq(metric_value(m), 2);
    cr_assert_eq(metric_value(metric_get(&sample_requests, NULL)), 0);
}

Test(metrics, a_gauge_set_overrides_what_was_added) {
    struct metric *m = metric_get(&sample_queue, NULL);
    metric_set(m, 5);
    metrics_thread_init(3);
    metric_add(m, 2);
    cr_assert_eq(metric_value(m), 7);
    metric_set(m, 1);
    cr_assert_eq(metric_value(m), 1);
    metrics_thread_init(129);
    metric_add(m, 0.5);
    cr_assert_eq(metric_value(m), 1.5);
    metric_set(m, -INFINITY);
    cr_assert_eq(metric_value(m), -INFINITY);
}

Test(metrics, more_children_than_a_page_of_cells) {
    metrics_thread_init(2);
    for (int i = 0; i < 3000; i++) {
        char labels[64];
        snprintf(labels, sizeof labels, "i=\"%d\"", i);
        struct metric *m = metric_get(&sample_latency, labels);
        for (int k = 0; k < i % 7; k++)
            metric_observe(m, i);
        cr_assert_eq(metric_count(m), (uint64_t)(i % 7));
        if (i == 1500) metrics_thread_init(9); /* a slot taken later gets the older pages too */
    }
    cr_assert_eq(metric_count(metric_get(&sample_latency, "i=\"6\"")), 6);
    metric_observe(metric_get(&sample_latency, "i=\"6\""), NAN);
    cr_assert_eq(metric_count(metric_get(&sample_latency, "i=\"6\"")), 7);
}

struct collected {
    size_t count;
    double requests, buckets, sum, sample_count;
};

static void collect_sample(void *ctx, struct sv name, struct sv labels, double value) {
    struct collected *c = ctx;
    c->count++;
    if (sv_eq(name, SV("test_http_requests_total"))) c->requests += value;
    if (sv_eq(labels, SV("op=\"get\",le=\"1\""))) c->buckets = value;
    if (sv_eq(name, SV("test_latency_seconds_sum")) && labels.len > 0) c->sum = value;
    if (sv_eq(name, SV("test_latency_seconds_count")) && labels.len > 0) c->sample_count = value;
}

Test(metrics, each_sample) {
    struct collected c = {0};
    sample_fill();
    metrics_each_sample(collect_sample, &c);
    cr_assert_eq(c.count, 18);
    cr_assert_eq(c.requests, 4.5);
    cr_assert_eq(c.buckets, 5);
    cr_assert_float_eq(c.sum, 3000001.9111, 1e-6);
    cr_assert_eq(c.sample_count, 6);
}

static double value_in(struct sv text, const char *line_start) {
    size_t at;
    double v = -1;
    struct sv line;
    cr_assert(sv_find(text, sv_from(line_start), &at), "%s", line_start);
    sv_cut(sv_skip(text, at + strlen(line_start)), '\n', &line);
    cr_assert(num_parse_f64(line, &v), "%.*s", SV_ARG(line));
    return v;
}

Test(metrics, process) {
    struct buf b = {0};
    int fds[2];
    metrics_register_process();
    metrics_put_text(&b);
    struct sv text = buf_sv(&b);
    double rss = value_in(text, "\nprocess_resident_memory_bytes ");
    cr_assert(rss > 100000 && rss < value_in(text, "\nprocess_virtual_memory_bytes "));
    double age = difftime(time(NULL), 0) - value_in(text, "\nprocess_start_time_seconds ");
    cr_assert(age > -2 && age < 600, "started %f s ago", age);
    double open_before = value_in(text, "\nprocess_open_fds ");
    cr_assert_eq(value_in(text, "\nprocess_max_fds "), (double)sysconf(_SC_OPEN_MAX));
    cr_assert(value_in(text, "\nprocess_cpu_seconds_total ") >= 0);
    size_t at;
    cr_assert(sv_find(text, SV("cairn_build_info{version=\""), &at));
    cr_assert_eq(pipe(fds), 0);
    buf_clear(&b);
    metrics_put_text(&b);
    cr_assert_eq(value_in(buf_sv(&b), "\nprocess_open_fds "), open_before + 2);
    buf_fini(&b);
}
