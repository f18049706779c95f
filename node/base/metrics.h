/* SPDX-License-Identifier: Apache-2.0 */
/* node/base/metrics.h: the process's own metrics. A metric is defined by one static metric_def (a
 * row of a module's table); its values are kept per thread slot, so that an increment is one
 * relaxed store to the caller's cache line. Thread: metric_add/set/observe from a thread that
 * called metrics_thread_init(slot); reading sums the slots. */
#pragma once

#include <stddef.h>
#include <stdint.h>

#include "node/base/buf.h"
#include "node/base/status.h"
#include "node/base/sv.h"

enum metric_kind { METRIC_COUNTER, METRIC_GAUGE, METRIC_HISTOGRAM };

struct metric_def {
    const char *name; /* with unit and _total where due */
    const char *help;
    enum metric_kind kind;
    const double *bounds; /* histograms: ascending upper bounds without +Inf */
    size_t bounds_count;
};

struct metric; /* one (def, label values) */

enum { METRIC_SLOTS_MAX = 130 };
void metrics_thread_init(unsigned slot); /* slot < METRIC_SLOTS_MAX, one per thread; threads without
                                            one share slot 0 atomically */

/* Finds or makes the child. labels: canonical text such as `code="200",handler="/x"` or NULL,
 * values escaped by the caller. Any thread; takes a lock, so keep the pointer. Never NULL: running
 * out of memory aborts at start-up, where children are made. Children live as long as the process.
 */
struct metric *metric_get(const struct metric_def *def, const char *labels);
void metric_add(struct metric *m, double delta);
void metric_set(struct metric *m, double value); /* gauges; one writer at a time */
void metric_observe(struct metric *m, double value);
double metric_value(const struct metric *m);   /* counters and gauges: the sum over slots */
uint64_t metric_count(const struct metric *m); /* histograms */

/* A metric computed when it is read (head series, resident memory). fn must be callable from any
 * thread, with no lock of the registry held. Once per def and labels, before they are read. */
void metric_collect(const struct metric_def *def, const char *labels, double (*fn)(void *ctx),
                    void *ctx);

/* Text exposition 0.0.4, families sorted by name. */
void metrics_put_text(struct buf *out);
/* Every sample (histograms as _bucket, _sum, _count): name, labels in text form, value. For the
 * node scraping itself. */
typedef void (*metrics_sample_cb)(void *ctx, struct sv name, struct sv labels_text, double value);
void metrics_each_sample(metrics_sample_cb cb, void *ctx);
/* process_* metrics (cpu, rss, fds, start time, max fds) and cairn_build_info are registered here.
 */
void metrics_register_process(void);
