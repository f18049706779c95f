/* SPDX-License-Identifier: Apache-2.0 */
/* node/daemon/node.h: one node wired together on a runtime, real or simulated: seat, membership,
 * log, and per core store, peers, replication, distributor and gather. No HTTP here
 * (node/daemon/serve.h), so that the simulator runs exactly this.
 *
 * Data directory: lock, seat (node id, incarnation), ring/ (map, Raft, addresses), log/log-*,
 * blocks/ (MANIFEST, *.block), head/ (between a clean stop and the next start), snapshots/.
 *
 * A node that was in a cluster opens its data by the map it saved. One that was not first is born
 * or joins (ring/member), and opens its data by the first map. Until every core has its parts
 * node_is_open is false, the parts below are NULL, and nobody may hand a core a request. After it
 * maps come one by one and reach every core by message.
 *
 * Thread: node_open, node_start, node_free while no loop runs (or in the simulator's one thread).
 */
#pragma once

#include "ingest/distributor.h"
#include "ingest/ha.h"
#include "node/runtime/core.h"
#include "query/gather/gather.h"
#include "ring/map.h"
#include "ring/member/member.h"
#include "ring/peers.h"
#include "ring/replica/replica.h"
#include "storage/archive/archive.h"
#include "storage/log.h"
#include "storage/store.h"

struct node_options { /* strings live as long as the node */
    const char *data_dir;
    const char *cluster_name;
    const char *discovery;      /* --ring.discovery */
    const char *listen_addr;    /* node to node */
    const char *advertise_addr; /* where others reach this node; "" only without discovery */
    const char *zone;           /* NULL: none */
    const struct cloudmap_ops *cloudmap; /* given for a discovery by Cloud Map */
    void *cloudmap_ctx;
    struct sv secret;          /* that nodes prove to each other; empty: none */
    uint32_t bootstrap_expect; /* 0: this node founds no cluster with discovery */
    uint32_t shards_count;
    uint32_t replication_factor, min_insync; /* of a cluster that this node founds */
    uint64_t replace_after_ms;               /* 0: the default */
    int64_t out_of_order_window_ms;
    uint64_t memory_bytes_max;   /* of all heads; 0: none */
    uint64_t log_file_bytes_max; /* 0: the default */
    bool wal_sync_always;
    int64_t block_range_ms;      /* 0: 2 h */
    int64_t block_merged_ms_max; /* longest range of merged blocks; 0: the default */
    struct retention *retention; /* borrowed; NULL: for ever */
    uint64_t retention_bytes;    /* 0: no bound */
    struct plan_level downsample[PLAN_LEVELS];
    const struct series_limits *limits; /* of new series, of all cores together; NULL: none */
    uint64_t blocks_tick_ms;            /* 0: the default */
    uint64_t scrub_ms;                  /* each block is read through once in that time; 0: never */
    uint64_t sync_ms;                   /* how often replicas are compared; 0: never */
    uint64_t query_timeout_ms;
    unsigned query_concurrency;
    struct active *active;       /* of running queries; NULL: not kept */
    const struct ha_options *ha; /* pairs of senders are told apart; NULL: they are not */
};

struct node;
MUST_USE enum status node_open(struct runtime *rt, const struct node_options *options,
                               struct node **out, struct err *err);
/* Opens the node-to-node listeners on every core (none without discovery) and begins membership. */
MUST_USE enum status node_start(struct node *node, struct err *err);
/* Before all that follows, on the control core: no further map is installed; stopped when the one
 * under way is on all cores, or could not be: a node has all of its parts then, or none. */
void node_stop_maps(struct node *node, void (*stopped)(void *ctx), void *ctx);
/* Ends what is under way on this core: writes fail with 503, queries are cancelled, connections
 * close. The control core, then each data core. */
void node_stop_core(struct node *node, struct core *core, void (*stopped)(void *ctx), void *ctx);
/* Before that, each data core, then the log core: blocks that are being written are given up. */
void node_stop_blocks(struct node *node, struct core *core, void (*stopped)(void *ctx), void *ctx);
/* After every core has stopped, on the log core: what an interval sync still owes is synced. false:
 * the log is still at work on what a core gave it last: again. */
MUST_USE bool node_stop_log(struct node *node);
/* Behind that, when no loop runs: the heads are written for the next start (<data>/head), which
 * needs them not, but is faster. goes_on as in storage/snapshot/snapshot.h. */
void node_save_head(struct node *node, bool (*goes_on)(void *ctx), void *ctx);
void node_free(struct node *node); /* memory and files; after every core has stopped, or after a
                                      simulated crash */

/* Any thread. */
node_id node_self(const struct node *node);
bool node_is_open(const struct node *node);
/* Under lease, and every replica that the map gives to this node is readable (after five minutes:
 * whether or not), none is damaged, and the log takes writes. why, where it is not. */
bool node_is_ready(const struct node *node, const char **out_why);
/* Frames of its log that were bad when it was read. */
uint64_t node_log_corruptions(const struct node *node);
const struct lease *node_lease(const struct node *node);
struct member *node_member(struct node *node);
/* Set once this node must not serve any more (removed, fenced by a newer process of its seat). */
bool node_is_lost(const struct node *node, struct err *out);
/* It is lost because the cluster let it go (drained): nothing is wrong. */
bool node_was_removed(const struct node *node);

/* In the simulator, or on the core itself. NULL while the node is not open. */
struct ring_map *node_map(struct node *node);
struct distributor *node_distributor(struct node *node, unsigned core);
struct gather *node_gather(struct node *node, unsigned core);
struct store *node_store(struct node *node, unsigned core);
struct replicas *node_replicas(struct node *node, unsigned core);

/* What changes while the node runs: how long samples are kept, and as what; and which series are
 * taken. */
struct node_keeping {
    struct retention *retention; /* a reference is taken */
    uint64_t retention_bytes;
    struct plan_level downsample[PLAN_LEVELS];
    const struct series_limits *limits; /* of new series; live as long as the node, once it is OK */
};
/* From now on. Any thread, on a loop or not. ERR_NOMEM. */
MUST_USE enum status node_keep(struct node *node, const struct node_keeping *keeping,
                               struct err *err);

/* A directory to restore from: <data>/snapshots/<name> (node_snapshot.c). A node that is started on
 * it, or on a copy, with the same flags, is this node as it was; without the head: as far as blocks
 * go. The node is open. */
struct node_snapshot {
    /* given */
    bool skip_head;
    void (*done)(struct core *here, struct node_snapshot *s); /* once, on the home core */
    /* outcome */
    enum status status;
    struct err err;
    char name[64];
    /* private */
    struct node *node;
    struct core *home;
    struct msg msg;
    struct archive_tell tell;
    struct archive_hold hold;
    struct work work;
    char path[4200];
};
void node_snapshot_start(struct node *node, struct core *home, struct node_snapshot *s);

/* What was deleted goes from the blocks of this node. The node is open. */
struct node_clean {
    void (*done)(struct core *here, struct node_clean *c); /* given; once, on the home core */
    enum status status;                                    /* outcome */
    struct err err;
    /* private */
    struct node *node;
    struct core *home;
    struct msg msg;
    uint64_t began_ns;
    struct archive_clean clean;
};
void node_clean_start(struct node *node, struct core *home, struct node_clean *c);

/* Draining (SIGTERM): tells the controller to move primaries away. On any thread. */
void node_drain(struct node *node);
/* It was told to, by node_drain or by the map: who balances load sends elsewhere from now on. */
bool node_is_draining(const struct node *node);
/* Shards of this node that have no other readable replica, or their primary here. */
uint32_t node_undrained(const struct node *node);
