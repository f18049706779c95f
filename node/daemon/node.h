/* SPDX-License-Identifier: Apache-2.0 */
/* node/daemon/node.h: one node wired together on a runtime, real or simulated: seat, map, log, and
 * per core store, peers, distributor and gather. No HTTP here (node/daemon/serve.h), so that the
 * simulator runs exactly this.
 *
 * Data directory: lock, seat (node id, incarnation), ring/map, log/log-*.
 * Thread: node_open, node_start, node_free while no loop runs (or in the simulator's one thread).
 */
#pragma once

#include "node/runtime/core.h"
#include "ingest/distributor.h"
#include "query/gather/gather.h"
#include "ring/map.h"
#include "ring/peers.h"
#include "storage/log.h"
#include "storage/store.h"

struct node_options {
    const char *data_dir;
    const char *cluster_name;
    const char *discovery;      /* --ring.discovery */
    const char *listen_addr;    /* node to node */
    const char *advertise_addr; /* how discovery names this node; "" only without discovery */
    uint32_t shards_count;
    uint32_t replication_factor; /* as asked; 0: the default */
    int64_t out_of_order_window_ms;
    uint64_t memory_bytes_max;   /* of all heads; 0: none */
    uint64_t log_file_bytes_max; /* 0: the default */
    bool wal_sync_always;
    uint64_t query_timeout_ms;
    unsigned query_concurrency;
    struct active *active; /* of running queries; NULL: not kept */
};

struct node;
MUST_USE enum status node_open(struct runtime *rt, const struct node_options *options,
                               struct node **out, struct err *err);
/* Opens the node-to-node listeners (none without peers) on every core. */
MUST_USE enum status node_start(struct node *node, struct err *err);
/* Ends what is under way on this core: writes fail with 503, queries are cancelled, connections
 * close. Each core. */
void node_stop_core(struct node *node, struct core *core, void (*stopped)(void *ctx), void *ctx);
/* After every core has stopped, on the log core: what an interval sync still owes is synced. */
void node_stop_log(struct node *node);
void node_free(struct node *node); /* memory and files; after every core has stopped, or after a
                                      simulated crash */

struct ring_map *node_map(struct node *node);
node_id node_self(const struct node *node);
struct distributor *node_distributor(struct node *node, unsigned core);
struct gather *node_gather(struct node *node, unsigned core);
struct store *node_store(struct node *node, unsigned core);
/* All shards that the map gives to this node are served (none is damaged) and the log takes writes.
 */
bool node_is_ready(const struct node *node);
