/* SPDX-License-Identifier: Apache-2.0 */
/* A plain program, so that ThreadSanitizer can run it (Criterion aborts there): writers with and
 * without a slot of their own, children made meanwhile, readers all the time; no increment may be
 * lost. */
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>

#include "node/base/regex.h"
#include "tests/base/metrics_sample.h"

enum { WRITERS = 6, ROUNDS = 20000, CHILDREN = 200 };

static struct regex *shared_regex;

static void fail(const char *what, double got, double want) {
    fprintf(stderr, "%s: %g, want %g\n", what, got, want);
    exit(EXIT_FAILURE);
}

/* Even writers have a slot, odd ones share slot 0. */
static void *write_metrics(void *ctx) {
    unsigned number = *(unsigned *)ctx;
    if (number % 2 == 0) metrics_thread_init(number / 2 + 1);
    struct metric *counter = metric_get(&sample_requests, "shared=\"yes\"");
    struct metric *histogram = metric_get(&sample_latency, "shared=\"yes\"");
    for (unsigned i = 0; i < ROUNDS; i++) {
        metric_add(counter, 1);
        metric_observe(histogram, i % 2);
        if (i % (ROUNDS / CHILDREN) != 0) continue;
        char labels[64];
        snprintf(labels, sizeof labels, "child=\"%u\"", i);
        metric_add(metric_get(&sample_requests, labels), 1);
        if (!regex_match(shared_regex, sv_from(labels))) fail("regex", 0, 1);
    }
    return NULL;
}

static void *read_metrics(void *ctx) {
    (void)ctx;
    double last = 0;
    for (int i = 0; i < 50; i++) {
        struct buf b = {0};
        metrics_put_text(&b);
        buf_fini(&b);
        double now = metric_value(metric_get(&sample_requests, "shared=\"yes\""));
        if (now < last) fail("a counter fell", now, last);
        last = now;
    }
    return NULL;
}

int main(void) {
    pthread_t writers[WRITERS], reader;
    unsigned numbers[WRITERS];
    struct err err;
    if (regex_compile(SV("child=\"[0-9]+\""), &shared_regex, &err) != OK) return EXIT_FAILURE;
    if (pthread_create(&reader, NULL, read_metrics, NULL) != 0) return EXIT_FAILURE;
    for (unsigned i = 0; i < WRITERS; i++) {
        numbers[i] = i;
        if (pthread_create(&writers[i], NULL, write_metrics, &numbers[i]) != 0) return EXIT_FAILURE;
    }
    for (unsigned i = 0; i < WRITERS; i++)
        pthread_join(writers[i], NULL);
    pthread_join(reader, NULL);
    double total = metric_value(metric_get(&sample_requests, "shared=\"yes\""));
    if (total != WRITERS * ROUNDS) fail("counter", total, WRITERS * ROUNDS);
    uint64_t count = metric_count(metric_get(&sample_latency, "shared=\"yes\""));
    if (count != WRITERS * ROUNDS) fail("histogram", (double)count, WRITERS * ROUNDS);
    double child = metric_value(metric_get(&sample_requests, "child=\"0\""));
    if (child != WRITERS) fail("child", child, WRITERS);
    regex_free(shared_regex);
    return EXIT_SUCCESS;
}
