/* SPDX-License-Identifier: Apache-2.0 */
/* tests/base/metrics_sample.h: a few metrics and the exposition they must give, written by hand
 * from the text format 0.0.4; promtool reads the same in test_metrics_promtool. */
#pragma once

#include "node/base/attr.h"
#include "node/base/metrics.h"

static const double sample_bounds[] = {0.005, 0.1, 1, 2.5e6};
static const struct metric_def sample_requests = {
    "test_http_requests_total", "Requests \\ by code\nand handler.", METRIC_COUNTER, NULL, 0};
static const struct metric_def sample_queue = {"test_queue_length", "Items waiting.", METRIC_GAUGE,
                                               NULL, 0};
static const struct metric_def sample_latency = {"test_latency_seconds", "Time a request took.",
                                                 METRIC_HISTOGRAM, sample_bounds,
                                                 ARRAY_LEN(sample_bounds)};
static const struct metric_def sample_series = {"test_head_series", "Series in the head.",
                                                METRIC_GAUGE, NULL, 0};

static inline double sample_collect(void *ctx) {
    return *(double *)ctx;
}

static inline void sample_fill(void) {
    static double series = 12345678;
    metric_add(metric_get(&sample_requests, "code=\"200\",handler=\"/b\""), 3);
    metric_add(metric_get(&sample_requests, "code=\"200\",handler=\"/a\""), 1);
    metric_add(metric_get(&sample_requests, "code=\"200\",handler=\"/b\""), 0.5);
    metric_set(metric_get(&sample_queue, NULL), 7);
    metric_add(metric_get(&sample_queue, NULL), -9);
    static const double values[] = {0.001, 0.005, 0.0051, 0.9, 1, 3e6};
    for (size_t i = 0; i < ARRAY_LEN(values); i++)
        metric_observe(metric_get(&sample_latency, "op=\"get\""), values[i]);
    metric_observe(metric_get(&sample_latency, NULL), 0);
    metric_collect(&sample_series, NULL, sample_collect, &series);
}

static const char sample_text[] =
    "# HELP test_head_series Series in the head.\n"
    "# TYPE test_head_series gauge\n"
    "test_head_series 1.2345678e+07\n"
    "# HELP test_http_requests_total Requests \\\\ by code\\nand handler.\n"
    "# TYPE test_http_requests_total counter\n"
    "test_http_requests_total{code=\"200\",handler=\"/a\"} 1\n"
    "test_http_requests_total{code=\"200\",handler=\"/b\"} 3.5\n"
    "# HELP test_latency_seconds Time a request took.\n"
    "# TYPE test_latency_seconds histogram\n"
    "test_latency_seconds_bucket{le=\"0.005\"} 1\n"
    "test_latency_seconds_bucket{le=\"0.1\"} 1\n"
    "test_latency_seconds_bucket{le=\"1\"} 1\n"
    "test_latency_seconds_bucket{le=\"2.5e+06\"} 1\n"
    "test_latency_seconds_bucket{le=\"+Inf\"} 1\n"
    "test_latency_seconds_sum 0\n"
    "test_latency_seconds_count 1\n"
    "test_latency_seconds_bucket{op=\"get\",le=\"0.005\"} 2\n"
    "test_latency_seconds_bucket{op=\"get\",le=\"0.1\"} 3\n"
    "test_latency_seconds_bucket{op=\"get\",le=\"1\"} 5\n"
    "test_latency_seconds_bucket{op=\"get\",le=\"2.5e+06\"} 5\n"
    "test_latency_seconds_bucket{op=\"get\",le=\"+Inf\"} 6\n"
    "test_latency_seconds_sum{op=\"get\"} 3.0000019111e+06\n"
    "test_latency_seconds_count{op=\"get\"} 6\n"
    "# HELP test_queue_length Items waiting.\n"
    "# TYPE test_queue_length gauge\n"
    "test_queue_length -2\n";
