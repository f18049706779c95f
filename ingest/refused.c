/* SPDX-License-Identifier: Apache-2.0 */
#include <assert.h>

#include "ingest/internal.h"

static const struct metric_def refused_def = {
    .name = "cairn_ingest_refused_total",
    .help = "Writes of clients that were not taken, or not wholly, by the first reason.",
    .kind = METRIC_COUNTER};
static const char *const labels[] = {
    [WRITE_REFUSED_SAMPLE] = "reason=\"sample\"",
    [WRITE_REFUSED_REQUEST] = "reason=\"request\"",
    [WRITE_REFUSED_BUSY] = "reason=\"busy\"",
    [WRITE_REFUSED_MEMORY] = "reason=\"memory\"",
    [WRITE_REFUSED_MOVED] = "reason=\"moved\"",
    [WRITE_REFUSED_TIMEOUT] = "reason=\"timeout\"",
    [WRITE_REFUSED_UNAVAILABLE] = "reason=\"unavailable\"",
    [WRITE_REFUSED_HA] = "reason=\"ha\"",
    [WRITE_REFUSED_NO_CLUSTER] = "reason=\"no_cluster\"",
};
static_assert(ARRAY_LEN(labels) == WRITE_REFUSED_REASONS, "one label a reason");

void write_refused_register(void) {
    for (unsigned i = 0; i < WRITE_REFUSED_REASONS; i++)
        metric_get(&refused_def, labels[i]);
}

void write_count_refused(enum write_refused_reason reason) {
    metric_add(metric_get(&refused_def, labels[reason]), 1);
}

enum write_refused_reason write_refused_by(enum status status) {
    if (status == ERR_NOMEM || status == ERR_LIMIT) return WRITE_REFUSED_MEMORY;
    if (status == ERR_CONFLICT) return WRITE_REFUSED_MOVED;
    return status == ERR_TIMEOUT ? WRITE_REFUSED_TIMEOUT : WRITE_REFUSED_UNAVAILABLE;
}
