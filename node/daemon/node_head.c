/* SPDX-License-Identifier: Apache-2.0 */
/* The heads of a node over a clean stop (storage/snapshot), in <data>/head. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "node/base/log.h"
#include "node/base/metrics.h"
#include "node/daemon/node_internal.h"

static const struct metric_def start_metrics[] = {
    {"cairn_start_seconds", "How long this process took to have its data in memory.", METRIC_GAUGE,
     NULL, 0},
    {"cairn_start_snapshot_shards", "Shards that came from the head snapshot at the start.",
     METRIC_GAUGE, NULL, 0},
    {"cairn_start_replayed_entries", "Entries of the log that were read at the start.",
     METRIC_GAUGE, NULL, 0},
};
static const struct metric_def count_metrics[] = {
    {"cairn_head_snapshots_written_total", "Head snapshots that were left at a clean stop.",
     METRIC_COUNTER, NULL, 0},
    {"cairn_head_snapshots_loaded_total", "Head snapshots that a start began with.", METRIC_COUNTER,
     NULL, 0},
};

static void head_place(const struct node *node, const struct ring_map *map, char dir[NODE_DIR_MAX],
                       struct snapshot_place *out) {
    snprintf(dir, NODE_DIR_MAX, "%s/head", node->options.data_dir);
    *out = (struct snapshot_place){
        .rt = node->rt, .dir = dir, .shards_count = map->settings.shards_count};
    memcpy(out->cluster, map->settings.cluster_id, sizeof out->cluster);
}

static uint64_t ms_since(const struct node *node, uint64_t began_ns) {
    return (core_mono_ns(node->rt->control_core) - began_ns) / 1000000;
}

/* -- at a start */

/* Owned; NULL: no memory. */
static struct store **stores_of(const struct node *node) {
    struct store **out = calloc(node->rt->cores_count, sizeof(*out));
    for (unsigned i = 0; out != NULL && i < node->rt->cores_count; i++)
        out[i] = node->cores[i].store;
    return out;
}

void node_head_load(struct node *node, const char *log_dir, struct node_head_load *h) {
    struct store **stores = stores_of(node);
    char dir[NODE_DIR_MAX];
    struct snapshot_place at;
    struct err err;
    head_place(node, h->view->map, dir, &at);
    struct snapshot_load l = {
        .stores = stores, .stores_count = node->rt->cores_count, .log_dir = log_dir};
    enum status status = stores == NULL
                             ? err_set(&err, ERR_NOMEM, 0, "not enough memory")
                             : snapshot_load(&at, &l, &h->end, &h->told, &h->spoiled, &err);
    free(stores);
    if (status == OK || status == ERR_UNAVAILABLE) return;
    h->end = (struct log_end){0};
    h->told = (struct snapshot_told){0};
    log_warn("the head snapshot is not used, the log is replayed", "why", err.msg);
}

void node_head_told(struct node *node, const struct node_head_load *h, uint64_t entries,
                    uint64_t took_ns) {
    char dir[NODE_DIR_MAX], took[32], shards[32], series[32], replayed[32];
    struct snapshot_place at;
    struct err err;
    metric_set(metric_get(&start_metrics[0], NULL), (double)took_ns / 1e9);
    metric_set(metric_get(&start_metrics[1], NULL), h->told.shards);
    metric_set(metric_get(&start_metrics[2], NULL), (double)entries);
    metric_add(metric_get(&count_metrics[1], NULL), h->end.frame > 0);
    snprintf(took, sizeof took, "%.3fs", (double)took_ns / 1e9);
    snprintf(shards, sizeof shards, "%" PRIu32, h->told.shards);
    snprintf(series, sizeof series, "%" PRIu64, h->told.series);
    snprintf(replayed, sizeof replayed, "%" PRIu64, entries);
    log_info(h->end.frame > 0 ? "data loaded from the head snapshot" : "data loaded from the log",
             "took", took, "snapshot_shards", shards, "snapshot_series", series, "replayed_entries",
             replayed);
    head_place(node, h->view->map, dir, &at);
    if (snapshot_remove(&at, &err) != OK)
        log_warn("the head snapshot could not be removed", "err", err.msg);
}

/* -- at the end */

void node_save_head(struct node *node, bool (*goes_on)(void *ctx), void *ctx) {
    char dir[NODE_DIR_MAX], took[32], series[32], bytes[32];
    struct snapshot_place at;
    struct snapshot_told told;
    struct err err;
    struct snapshot_save s = {
        .stores_count = node->rt->cores_count, .goes_on = goes_on, .ctx = ctx};
    if (!node_is_open(node) || node_is_lost(node, NULL)) return;
    if (!log_get_end(node->log, &s.end)) {
        log_info("no head snapshot is left: the log is empty, was damaged, or has failed");
        return;
    }
    uint64_t began_ns = core_mono_ns(node->rt->control_core);
    struct store **stores = stores_of(node);
    s.stores = stores;
    head_place(node, node->cores[0].in->map, dir, &at);
    enum status status = stores == NULL ? err_set(&err, ERR_NOMEM, 0, "not enough memory")
                                        : snapshot_save(&at, &s, &told, &err);
    free(stores);
    if (status != OK) {
        log_warn("no head snapshot is left, the next start replays the log", "why", err.msg);
        return;
    }
    metric_add(metric_get(&count_metrics[0], NULL), 1);
    snprintf(took, sizeof took, "%.3fs", (double)ms_since(node, began_ns) / 1e3);
    snprintf(series, sizeof series, "%" PRIu64, told.series);
    snprintf(bytes, sizeof bytes, "%" PRIu64, told.bytes);
    log_info("head snapshot written", "took", took, "series", series, "bytes", bytes);
}
