/* SPDX-License-Identifier: Apache-2.0 */
/* Opening the data of a node: stores, the log with its recovery, and the flows of every core. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "node/base/log.h"
#include "node/daemon/config.h"
#include "node/daemon/node_internal.h"

enum { RESEND_MS = 10000, PART_TIMEOUT_MS = 5000, WAL_INTERVAL_MS = 1000 };
#define LOG_FILE_BYTES ((uint64_t)128 << 20)
#define LOG_FRAME_BYTES ((uint64_t)16 << 20)
enum { METADATA_BYTES_MAX = 64 << 20 }; /* of the node: some 300,000 families */
#define IN_FLIGHT_BYTES_PER_CORE ((uint64_t)256 << 20)
#define RETAINED_BYTES ((uint64_t)256 << 20)
enum { APPEND_BYTES = 4 << 20, APPENDS_IN_FLIGHT = 8 };

struct recovery {
    struct node *node;
    const struct node_view *view;
    uint64_t entries;
};

static enum status node_recover_entry(void *ctx, const struct entry *e, struct err *err) {
    struct recovery *r = ctx;
    r->entries++;
    if (e->shard >= r->view->map->settings.shards_count || r->view->core_of[e->shard] == 0xffff)
        return OK; /* of a replica that has moved away */
    return store_recover(r->node->cores[r->view->core_of[e->shard]].store, e, err);
}

static void node_recover_file(void *ctx, uint64_t first_frame) {
    const struct recovery *r = ctx;
    for (unsigned i = 0; i < r->node->rt->cores_count; i++)
        store_recover_file(r->node->cores[i].store, first_frame);
}

static void node_recover_lost(void *ctx, const struct err *why) {
    const struct recovery *r = ctx;
    for (unsigned i = 0; i < r->node->rt->cores_count; i++)
        store_recover_lost(r->node->cores[i].store, why);
}

static enum status node_open_store(struct node_core *nc, const struct ring_settings *set,
                                   struct err *err) {
    const struct node_options *o = &nc->node->options;
    unsigned cores = nc->node->rt->cores_count;
    struct store_options so = {
        .head = {.secret = set->secret,
                 .out_of_order_window_ms = o->out_of_order_window_ms,
                 .limits_shares = cores},
        .shards_count = set->shards_count,
        .memory_bytes_max = o->memory_bytes_max / cores,
        .exemplars_max = (CONFIG_EXEMPLARS_MAX + cores - 1) / cores,
        .metadata_bytes_max = METADATA_BYTES_MAX / cores,
        .block_range_ms = node_block_range_ms(nc->node),
    };
    TRY(store_new(nc->core, &so, &nc->store, err));
    if (nc->node->limits != NULL && store_set_limits(nc->store, nc->node->limits) != OK)
        return err_set(err, ERR_NOMEM, 0, "not enough memory for the limits of new series");
    store_ops_init(&nc->ops, nc->store);
    return OK;
}

enum status node_open_shards(struct node_core *nc, const struct node_view *view, struct err *err) {
    int self = ring_map_node_index(view->map, nc->node->seat.id);
    for (uint32_t s = 0; s < view->map->settings.shards_count; s++) {
        if (view->core_of[s] != nc->core->index) continue;
        struct store_shard_options o;
        if (!store_shard_of_map(view->map, self, s, &o)) continue;
        TRY(store_shard_open(nc->store, &o, err));
    }
    return OK;
}

static void node_log_dir(const struct node *node, char out[NODE_DIR_MAX]) {
    snprintf(out, NODE_DIR_MAX, "%s/log", node->options.data_dir);
}

static enum status node_open_log(struct node *node, const struct node_view *view,
                                 const struct log_end *known, uint64_t *out_entries,
                                 struct err *err) {
    char dir[NODE_DIR_MAX];
    node_log_dir(node, dir);
    TRY(disk_mkdir(node->rt->disk, dir, err));
    TRY(disk_sync_dir(node->rt->disk, node->options.data_dir, err));
    struct log_options lo = {
        .dir = dir,
        .file_bytes_max =
            node->options.log_file_bytes_max ? node->options.log_file_bytes_max : LOG_FILE_BYTES,
        .frame_bytes_max = LOG_FRAME_BYTES,
        .sync_every_frame = node->options.wal_sync_always,
        .sync_interval_ms = WAL_INTERVAL_MS,
        .on_file = node_recover_file,
        .on_lost = node_recover_lost,
        .known = *known,
    };
    struct recovery r = {.node = node, .view = view};
    bool damaged = false;
    TRY(log_open(node->rt, &lo, node_recover_entry, &r, &node->log, &damaged, err));
    if (damaged) log_error("log is damaged", "err", err->msg);
    *out_entries = r.entries;
    return OK;
}

static void node_on_block(struct store *store, uint64_t position, const struct store_block *block,
                          void *ctx) {
    (void)store;
    replicas_block(((struct node_core *)ctx)->replicas, position, block);
}

static void node_on_durable(struct store *store, uint64_t position, enum status status,
                            const struct err *err, void *ctx) {
    (void)store;
    replicas_durable(((struct node_core *)ctx)->replicas, position, status, err);
}

static enum status node_open_replicas(struct node_core *nc, struct err *err) {
    struct node *node = nc->node;
    struct replica_options ro = {
        .self = node->seat.id,
        .incarnation = node->seat.incarnation,
        .store = &nc->ops,
        .peers = nc->peers,
        .lease = &node->lease,
        .retained_bytes_max = RETAINED_BYTES / node->rt->cores_count,
        .append_bytes_max = APPEND_BYTES,
        .appends_in_flight = APPENDS_IN_FLIGHT,
        .sync_ms = node->options.sync_ms,
        .report = node_on_report,
        .changed = node_on_changed,
        .ctx = nc,
    };
    TRY(replicas_new(nc->core, &ro, &nc->replicas, err));
    store_set_log(nc->store, node->log, node_on_durable, nc);
    store_set_block_hook(nc->store, node_on_block, nc);
    return OK;
}

static enum status node_open_flows(struct node_core *nc, const struct node_view *view,
                                   struct err *err) {
    struct node *node = nc->node;
    const struct node_options *o = &node->options;
    TRY(node_open_replicas(nc, err));
    nc->gate = replica_gate(nc->replicas);
    struct distributor_options dopt = {
        .map = view->map,
        .self = node->seat.id,
        .core_of = view->core_of,
        .peers = nc->peers,
        .store = nc->store,
        .gate = &nc->gate,
        .lease = &node->lease,
        .resend_ms = RESEND_MS,
        .timeout_ms = PART_TIMEOUT_MS,
        .memory_bytes_max = o->memory_bytes_max / node->rt->cores_count / 8 * 9,
        .bytes_in_flight_max = IN_FLIGHT_BYTES_PER_CORE,
    };
    TRY(distributor_new(nc->core, &dopt, &nc->distributor, err));
    struct gather_options go = {
        .map = view->map,
        .self = node->seat.id,
        .core_of = view->core_of,
        .peers = nc->peers,
        .store = nc->store,
        .replicas = nc->replicas,
        .remote_timeout_ms = o->query_timeout_ms,
        .concurrency_max = o->query_concurrency,
        .active = o->active,
    };
    return gather_new(nc->core, &go, &nc->gather, err);
}

/* Fresh ones, in the place of those there are. */
static enum status node_open_stores(struct node *node, const struct node_view *view,
                                    struct err *err) {
    struct core *current = core_current();
    enum status st = OK;
    for (unsigned i = 0; i < node->rt->cores_count && st == OK; i++) {
        core_set_current(node->rt->cores[i]);
        store_free(node->cores[i].store);
        node->cores[i].store = NULL;
        st = node_open_store(&node->cores[i], &view->map->settings, err);
        if (st == OK) st = node_open_shards(&node->cores[i], view, err);
    }
    core_set_current(current);
    return st;
}

/* Stores with what a clean stop left, if it did, and what came behind that in the log. */
static enum status node_recover(struct node *node, const struct node_view *view, struct err *err) {
    struct node_head_load head = {.view = view};
    uint64_t entries, began_ns = core_mono_ns(node->rt->control_core);
    TRY(node_open_stores(node, view, err));
    char log_dir[NODE_DIR_MAX];
    node_log_dir(node, log_dir);
    node_head_load(node, log_dir, &head);
    if (head.spoiled) TRY(node_open_stores(node, view, err));
    TRY(node_blocks_open(node, view, head.end.frame > 0, err));
    TRY(node_open_log(node, view, &head.end, &entries, err));
    node_head_told(node, &head, entries, core_mono_ns(node->rt->control_core) - began_ns);
    return OK;
}

enum status node_data_open(struct node *node, const struct node_view *view, struct err *err) {
    struct core *current = core_current();
    enum status st = node_recover(node, view, err);
    for (unsigned i = 0; i < node->rt->cores_count && st == OK; i++) {
        core_set_current(node->rt->cores[i]);
        st = node_open_flows(&node->cores[i], view, err);
    }
    core_set_current(current);
    return st == OK ? node_blocks_start(node, err) : st;
}

void node_data_free(struct node *node) {
    struct core *current = core_current();
    unsigned cores = node->rt->cores_count;
    for (unsigned i = 0; i < cores; i++) { /* all before any store: they read each other's */
        core_set_current(node->rt->cores[i]);
        gather_free(node->cores[i].gather);
    }
    for (unsigned i = 0; i < cores; i++) { /* before the writes that wait for them */
        core_set_current(node->rt->cores[i]);
        node_look_stop(&node->cores[i]);
        replicas_free(node->cores[i].replicas);
    }
    for (unsigned i = 0; i < cores; i++) {
        struct node_core *nc = &node->cores[i];
        core_set_current(node->rt->cores[i]);
        flusher_free(nc->flusher);
        distributor_free(nc->distributor);
        peers_free(nc->peers);
        store_free(nc->store);
        free(nc->report.reports);
        free(nc->report.lags);
        memset(node->rt->cores[i]->locals, 0, sizeof node->rt->cores[i]->locals);
    }
    core_set_current(current);
    archive_free(node->archive);
    log_free(node->log);
}
