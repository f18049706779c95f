/* SPDX-License-Identifier: Apache-2.0 */
#include "node/daemon/node.h"

#include <assert.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "node/base/log.h"
#include "node/daemon/seat.h"
#include "ring/placement.h"

enum { RESEND_MS = 10000, PART_TIMEOUT_MS = 5000, WAL_INTERVAL_MS = 1000 };
#define LOG_FILE_BYTES ((uint64_t)128 << 20)
#define LOG_FRAME_BYTES ((uint64_t)16 << 20)
/* Of the node: Prometheus' default of storage.exemplars.max_exemplars; some 300,000 families. */
enum { EXEMPLARS_MAX = 100000, METADATA_BYTES_MAX = 64 << 20 };
#define IN_FLIGHT_BYTES_PER_CORE ((uint64_t)256 << 20)

struct node_core {
    struct store *store;
    struct peers *peers;
    struct distributor *distributor;
    struct gather *gather;
    void (*stopped)(void *ctx);
    void *stopped_ctx;
};

struct node {
    struct runtime *rt;
    struct node_options options;
    struct file *lock;
    struct seat seat;
    struct ring_map *map;
    uint16_t *core_of; /* by shard */
    struct log *log;
    bool damaged;
    struct node_core *cores;
};

static bool node_has_peers(const struct node *node) {
    return node->map->nodes_count > 1;
}

static enum status node_recover_entry(void *ctx, const struct entry *e, struct err *err) {
    struct node *node = ctx;
    if (e->shard >= node->map->settings.shards_count || node->core_of[e->shard] == 0xffff)
        return err_set(err, ERR_CONFLICT, 0,
                       "log: entry of shard %" PRIu32 ", which the map does not give to this node",
                       e->shard);
    return store_recover(node->cores[node->core_of[e->shard]].store, e, err);
}

static enum status node_open_store(struct node *node, unsigned i, struct err *err) {
    const struct ring_settings *set = &node->map->settings;
    struct core *core = node->rt->cores[i];
    struct store_options so = {
        .head = {.secret = set->secret,
                 .out_of_order_window_ms = node->options.out_of_order_window_ms},
        .shards_count = set->shards_count,
        .memory_bytes_max = node->options.memory_bytes_max / node->rt->cores_count,
        .exemplars_max = (EXEMPLARS_MAX + node->rt->cores_count - 1) / node->rt->cores_count,
        .metadata_bytes_max = METADATA_BYTES_MAX / node->rt->cores_count,
    };
    TRY(store_new(core, &so, &node->cores[i].store, err));
    core->locals[CORE_STORE] = node->cores[i].store;
    return OK;
}

static enum status node_open_shards(struct node *node, struct err *err) {
    int self = ring_map_node_index(node->map, node->seat.id);
    for (uint32_t s = 0; s < node->map->settings.shards_count; s++) {
        if (node->core_of[s] == 0xffff) continue;
        const struct ring_shard *shard = &node->map->shards[s];
        for (unsigned r = 0; r < shard->replicas_count; r++)
            if (shard->replicas[r].node == self)
                TRY(store_shard_open(node->cores[node->core_of[s]].store, s,
                                     shard->replicas[r].copy, shard->epoch, err));
    }
    return OK;
}

/* A shard whose log has a gap is refused for reads and writes: silence would be a wrong answer. */
static enum status node_fence_damaged(struct node *node, struct err *err) {
    uint32_t *shards = calloc(node->map->settings.shards_count, sizeof *shards);
    if (shards == NULL) return err_set(err, ERR_NOMEM, 0, "node: out of memory");
    for (unsigned i = 0; i < node->rt->cores_count; i++) {
        size_t n =
            store_damaged_shards(node->cores[i].store, shards, node->map->settings.shards_count);
        for (size_t k = 0; k < n; k++) {
            node->core_of[shards[k]] = 0xffff;
            node->damaged = true;
            log_errorf("shard is damaged: its log has a gap; it is not served", "shard", "%" PRIu32,
                       shards[k]);
        }
    }
    free(shards);
    return OK;
}

static enum status node_open_log(struct node *node, struct err *err) {
    char dir[4200];
    snprintf(dir, sizeof dir, "%s/log", node->options.data_dir);
    TRY(disk_mkdir(node->rt->disk, dir, err));
    TRY(disk_sync_dir(node->rt->disk, node->options.data_dir, err));
    struct log_options lo = {
        .dir = dir,
        .file_bytes_max =
            node->options.log_file_bytes_max ? node->options.log_file_bytes_max : LOG_FILE_BYTES,
        .frame_bytes_max = LOG_FRAME_BYTES,
        .sync_every_frame = node->options.wal_sync_always,
        .sync_interval_ms = WAL_INTERVAL_MS,
    };
    bool damaged = false;
    TRY(log_open(node->rt, &lo, node_recover_entry, node, &node->log, &damaged, err));
    if (damaged) log_error("log is damaged", "err", err->msg);
    return node_fence_damaged(node, err);
}

static enum status node_open_flows(struct node *node, unsigned i, struct err *err) {
    struct core *core = node->rt->cores[i];
    struct node_core *nc = &node->cores[i];
    core_set_current(core);
    if (node_has_peers(node)) {
        struct peers_options po = {.map = node->map,
                                   .self = node->seat.id,
                                   .incarnation = node->seat.incarnation,
                                   .listen_addr = node->options.listen_addr};
        TRY(peers_new(core, &po, &nc->peers, err));
        core->locals[CORE_PEERS] = nc->peers;
    }
    struct distributor_options dopt = {
        .map = node->map,
        .self = node->seat.id,
        .core_of = node->core_of,
        .peers = nc->peers,
        .store = nc->store,
        .resend_ms = RESEND_MS,
        .timeout_ms = PART_TIMEOUT_MS,
        .memory_bytes_max = node->options.memory_bytes_max / node->rt->cores_count / 8 * 9,
        .bytes_in_flight_max = IN_FLIGHT_BYTES_PER_CORE,
    };
    TRY(distributor_new(core, &dopt, &nc->distributor, err));
    core->locals[CORE_INGEST] = nc->distributor;
    struct gather_options go = {
        .map = node->map,
        .self = node->seat.id,
        .core_of = node->core_of,
        .peers = nc->peers,
        .store = nc->store,
        .remote_timeout_ms = node->options.query_timeout_ms,
        .concurrency_max = node->options.query_concurrency,
        .active = node->options.active,
    };
    TRY(gather_new(core, &go, &nc->gather, err));
    core->locals[CORE_QUERY] = nc->gather;
    store_set_log(nc->store, node->log, distributor_on_durable, nc->distributor);
    if (nc->peers != NULL) {
        peers_handle(nc->peers, FRAME_WRITE, distributor_on_frame, nc->distributor);
        peers_handle(nc->peers, FRAME_FRAGMENT, gather_on_fragment, nc->gather);
        peers_handle(nc->peers, FRAME_SERIES, gather_on_series, nc->gather);
    }
    return OK;
}

static enum status node_open_all(struct node *node, struct err *err) {
    TRY(disk_mkdir(node->rt->disk, node->options.data_dir, err));
    char lock[4200];
    snprintf(lock, sizeof lock, "%s/lock", node->options.data_dir);
    TRY(disk_lock(node->rt->disk, lock, &node->lock, err));
    TRY(seat_open(node->rt, &node->options, &node->seat, &node->map, err));
    uint32_t shards = node->map->settings.shards_count;
    node->core_of = calloc(shards, sizeof *node->core_of);
    node->cores = calloc(node->rt->cores_count, sizeof *node->cores);
    if (node->core_of == NULL || node->cores == NULL)
        return err_set(err, ERR_NOMEM, 0, "node: out of memory");
    placement_cores(node->map, node->seat.id, node->rt->cores_count, node->core_of);
    for (unsigned i = 0; i < node->rt->cores_count; i++) {
        core_set_current(node->rt->cores[i]);
        TRY(node_open_store(node, i, err));
    }
    TRY(node_open_shards(node, err));
    TRY(node_open_log(node, err));
    for (unsigned i = 0; i < node->rt->cores_count; i++)
        TRY(node_open_flows(node, i, err));
    return OK;
}

enum status node_open(struct runtime *rt, const struct node_options *options, struct node **out,
                      struct err *err) {
    struct err local;
    if (err == NULL) err = &local;
    struct node *node = calloc(1, sizeof *node);
    if (node == NULL) return err_set(err, ERR_NOMEM, 0, "node: out of memory");
    node->rt = rt;
    node->options = *options;
    enum status st = node_open_all(node, err);
    core_set_current(NULL);
    if (st != OK) {
        node_free(node);
        return st;
    }
    *out = node;
    return OK;
}

enum status node_start(struct node *node, struct err *err) {
    enum status st = OK;
    for (unsigned i = 0; i < node->rt->cores_count && st == OK; i++) {
        if (node->cores[i].peers == NULL) continue;
        core_set_current(node->rt->cores[i]);
        st = peers_start(node->cores[i].peers, err);
    }
    core_set_current(NULL);
    return st;
}

static void node_on_peers_closed(struct peers *peers, void *ctx) {
    struct node_core *nc = ctx;
    assert(nc->peers == peers);
    nc->stopped(nc->stopped_ctx);
}

void node_stop_core(struct node *node, struct core *core, void (*stopped)(void *ctx), void *ctx) {
    struct node_core *nc = &node->cores[core->index];
    nc->stopped = stopped;
    nc->stopped_ctx = ctx;
    distributor_stop(nc->distributor);
    gather_stop(nc->gather);
    if (nc->peers != NULL)
        peers_stop(nc->peers, node_on_peers_closed, nc);
    else
        stopped(ctx);
}

void node_stop_log(struct node *node) {
    struct err err;
    if (log_stop(node->log, &err) != OK) log_error("log was not closed cleanly", "err", err.msg);
}

void node_free(struct node *node) {
    if (node == NULL) return;
    for (unsigned i = 0; node->cores != NULL && i < node->rt->cores_count; i++) {
        core_set_current(
            node->rt->cores[i]); /* all before any store: what they read may be another core's */
        gather_free(node->cores[i].gather);
    }
    for (unsigned i = 0; node->cores != NULL && i < node->rt->cores_count; i++) {
        struct node_core *nc = &node->cores[i];
        core_set_current(node->rt->cores[i]);
        distributor_free(nc->distributor);
        peers_free(nc->peers);
        store_free(nc->store);
        memset(node->rt->cores[i]->locals, 0, sizeof node->rt->cores[i]->locals);
    }
    core_set_current(NULL);
    log_free(node->log);
    ring_map_unref(node->map);
    file_close(node->lock);
    free(node->core_of);
    free(node->cores);
    free(node);
}

struct ring_map *node_map(struct node *node) {
    return node->map;
}
node_id node_self(const struct node *node) {
    return node->seat.id;
}
struct distributor *node_distributor(struct node *node, unsigned core) {
    return node->cores[core].distributor;
}
struct gather *node_gather(struct node *node, unsigned core) {
    return node->cores[core].gather;
}
struct store *node_store(struct node *node, unsigned core) {
    return node->cores[core].store;
}
bool node_is_ready(const struct node *node) {
    return !node->damaged && !log_is_failed(node->log);
}
