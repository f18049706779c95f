/* SPDX-License-Identifier: Apache-2.0 */
/* What a node tells about its blocks and heads under Prometheus' names, where they mean the same.
 * Of a node's own data: what it holds as a follower counts, too. Told once a second
 * (node_look.c). */
#include "node/base/metrics.h"
#include "node/daemon/node_internal.h"

/* -- of the node */

static const struct metric_def blocks_def = {.name = "prometheus_tsdb_blocks_loaded",
                                             .help = "Number of currently loaded data blocks",
                                             .kind = METRIC_GAUGE};
static const struct metric_def bytes_def = {
    .name = "prometheus_tsdb_storage_blocks_bytes",
    .help = "The number of bytes that are currently used for local storage by all blocks.",
    .kind = METRIC_GAUGE};
static const struct metric_def bad_def = {
    .name = "cairn_blocks_bad",
    .help = "Blocks whose file is missing or cannot be read: what needs them is not answered.",
    .kind = METRIC_GAUGE};
static const struct metric_def merges_def = {
    .name = "prometheus_tsdb_compactions_total",
    .help = "Total number of compactions that were executed for the partition.",
    .kind = METRIC_COUNTER};
static const struct metric_def rows_blocks_def = {.name = "cairn_blocks_downsampled",
                                                  .help = "Blocks of downsampled rows.",
                                                  .kind = METRIC_GAUGE};
static const struct metric_def rows_bytes_def = {.name = "cairn_blocks_downsampled_bytes",
                                                 .help = "Bytes of blocks of downsampled rows.",
                                                 .kind = METRIC_GAUGE};
static const struct metric_def merges_failed_def = {
    .name = "prometheus_tsdb_compactions_failed_total",
    .help = "Total number of compactions that failed for the partition.",
    .kind = METRIC_COUNTER};
static const struct metric_def retention_bytes_def = {
    .name = "prometheus_tsdb_retention_limit_bytes",
    .help = "Max number of bytes to be retained in the tsdb blocks, configured 0 means disabled",
    .kind = METRIC_GAUGE};
static const struct metric_def retention_seconds_def = {
    .name = "prometheus_tsdb_retention_limit_seconds",
    .help = "How long to retain samples in storage.",
    .kind = METRIC_GAUGE};

static void put_count(const struct metric_def *def, uint64_t now, uint64_t *told) {
    metric_add(metric_get(def, NULL), (double)(now - *told));
    *told = now;
}

static void put_blocks(struct node *node) {
    struct archive_stats s;
    archive_get_stats(node->archive, &s);
    metric_set(metric_get(&blocks_def, NULL), (double)s.blocks);
    metric_set(metric_get(&bytes_def, NULL), (double)s.bytes);
    metric_set(metric_get(&bad_def, NULL), s.bad_blocks);
    metric_set(metric_get(&rows_blocks_def, NULL), (double)s.rows_blocks);
    metric_set(metric_get(&rows_bytes_def, NULL), (double)s.rows_bytes);
    put_count(&merges_def, s.merges, &node->merges_told);
    put_count(&merges_failed_def, s.merges_failed, &node->merges_failed_told);
    metric_set(metric_get(&retention_bytes_def, NULL), (double)atomic_load(&node->retention_bytes));
    metric_set(metric_get(&retention_seconds_def, NULL),
               (double)atomic_load(&node->retention_ms) / 1000);
}

/* -- of the heads: each core tells its own, core 0 the sums */

static const struct metric_def head_defs[HEAD_COUNTS] = {
    [HEAD_SERIES] = {.name = "prometheus_tsdb_head_series",
                     .help = "Total number of series in the head block.",
                     .kind = METRIC_GAUGE},
    [HEAD_CHUNKS] = {.name = "prometheus_tsdb_head_chunks",
                     .help = "Total number of chunks in the head block.",
                     .kind = METRIC_GAUGE},
};
static const struct metric_def min_def = {
    .name = "prometheus_tsdb_head_min_time",
    .help = "Minimum time bound of the head block. The unit is decided by the library consumer.",
    .kind = METRIC_GAUGE};
static const struct metric_def max_def = {
    .name = "prometheus_tsdb_head_max_time",
    .help = "Maximum timestamp of the head block. The unit is decided by the library consumer.",
    .kind = METRIC_GAUGE};
static const struct metric_def lowest_def = {
    .name = "prometheus_tsdb_lowest_timestamp",
    .help = "Lowest timestamp value stored in the database. The unit is decided by the library "
            "consumer.",
    .kind = METRIC_GAUGE};

void node_metrics_look(struct node_core *nc) {
    struct head_stats s;
    head_stats(store_head(nc->store), &s);
    const uint64_t counts[HEAD_COUNTS] = {[HEAD_SERIES] = s.series, [HEAD_CHUNKS] = s.chunks};
    for (unsigned i = 0; i < HEAD_COUNTS; i++)
        atomic_store_explicit(&nc->head_counts[i], counts[i], memory_order_relaxed);
    atomic_store_explicit(&nc->head_min_ms, s.min_time_ms, memory_order_relaxed);
    atomic_store_explicit(&nc->head_max_ms, s.max_time_ms, memory_order_relaxed);
}

void node_metrics_put(struct node *node) {
    uint64_t sums[HEAD_COUNTS] = {0};
    int64_t min_ms = INT64_MAX, max_ms = INT64_MIN, lowest_ms;
    for (unsigned i = 0; i < node->rt->cores_count; i++) {
        const struct node_core *nc = &node->cores[i];
        for (unsigned k = 0; k < HEAD_COUNTS; k++)
            sums[k] += atomic_load_explicit(&nc->head_counts[k], memory_order_relaxed);
        min_ms = MIN(min_ms, atomic_load_explicit(&nc->head_min_ms, memory_order_relaxed));
        max_ms = MAX(max_ms, atomic_load_explicit(&nc->head_max_ms, memory_order_relaxed));
    }
    lowest_ms = min_ms;
    const struct block_list *list = store_blocks(node->cores[0].store);
    for (uint32_t i = 0; list != NULL && i < list->count; i++)
        if (list->blocks[i].of.resolution_ms == 0)
            lowest_ms = MIN(lowest_ms, list->blocks[i].of.min_ms);
    for (unsigned k = 0; k < HEAD_COUNTS; k++)
        metric_set(metric_get(&head_defs[k], NULL), (double)sums[k]);
    metric_set(metric_get(&min_def, NULL), (double)min_ms);
    metric_set(metric_get(&max_def, NULL), (double)max_ms);
    metric_set(metric_get(&lowest_def, NULL), (double)lowest_ms);
    put_blocks(node);
}
