/* SPDX-License-Identifier: Apache-2.0 */
/* node/daemon/node_internal.h: what node.c (life), node_data.c (opening the data) and node_maps.c
 * (a new map on every core, reports of the cores) share. Only these include it. */
#pragma once

#include <stdatomic.h>

#include "ingest/ha.h"
#include "ingest/replica_gate.h"
#include "node/base/arena.h"
#include "node/daemon/node.h"
#include "ring/seat.h"
#include "storage/archive/flush.h"
#include "storage/snapshot/snapshot.h"

/* A map with the cores of this node's shards. Immutable; the one before stays until no core uses
 * it.
 */
struct node_view {
    struct ring_map *map; /* a reference */
    uint16_t *core_of;    /* by shard: local core, 0xffff: none here */
};

enum node_count {
    COUNT_PRIMARIES,
    COUNT_OPEN,
    COUNT_PROMOTING,
    COUNT_FOLLOWING,
    COUNT_READABLE,
    COUNT_FILLING,
    NODE_COUNTS
};

enum node_head_count { HEAD_SERIES, HEAD_CHUNKS, HEAD_COUNTS };

/* Of one core: its parts, and its side of the installation of a map. */
struct node_core {
    struct node *node;
    struct core *core;
    struct store *store;
    struct archive_core blocks;
    struct flusher *flusher;
    struct peers *peers;
    struct replicas *replicas;
    struct distributor *distributor;
    struct gather *gather;
    struct store_ops ops;
    struct write_gate gate;
    struct msg install;         /* control core -> core -> control core */
    const struct node_view *in; /* in force here */
    struct msg report_msg;      /* core -> control core, with report */
    struct core_report report;
    atomic_bool reporting; /* report is the control core's */
    uint64_t said;         /* a hash of the last one, */
    bool said_waits;       /* whether it had something that is waited for */
    unsigned said_ago;     /* and how many like it were left out since */
    struct timer look;     /* counts what is below anew, soon after a change */
    bool look_changed, look_stopped;
    uint64_t counted_ms;
    struct node_ha_core *ha; /* NULL: without HA pairs */
    /* Replicas that are not what the map wants them to be: FULL and readable, open where primary.
     */
    _Atomic uint32_t unready;
    _Atomic uint32_t undrained; /* shards that only this node can serve, or is primary of */
    atomic_bool draining;       /* by the map */
    _Atomic uint32_t counts[NODE_COUNTS]; /* of replicas_counts */
    _Atomic uint64_t retained_bytes;
    _Atomic uint64_t head_counts[HEAD_COUNTS];
    _Atomic int64_t head_min_ms, head_max_ms;
    void (*stopped)(void *ctx);
    void *stopped_ctx;
};

struct node {
    struct runtime *rt;
    struct node_options options;
    struct arena arena; /* of the discovery */
    struct discovery discovery;
    struct file *lock;
    struct seat seat;
    struct lease lease;
    struct member *member;
    struct peers *control_peers;
    struct log *log;
    struct archive *archive;
    struct node_core *cores;
    uint64_t started_ns;
    uint64_t merges_told, merges_failed_told; /* core 0's, as metrics */

    /* the control core's */
    struct node_view *view, *next; /* on all cores; on its way to them */
    bool installing, maps_end;     /* next is on its way; no further one is taken */
    void (*maps_stopped)(void *ctx);
    void *maps_stopped_ctx;
    unsigned installs_open;
    struct node_ha *ha;
    struct msg open_msg; /* control core -> log core -> control core: opens the data */
    enum status open_status;
    struct err open_err;
    bool stopping;
    struct retention *retention;        /* the log core's, once the loops run */
    const struct series_limits *limits; /* the log core's, once the loops run; NULL: none */
    atomic_uint_least64_t retention_bytes;
    atomic_int_least64_t retention_ms;
    struct msg drain_msg; /* who drains -> control core */
    atomic_bool drain_asked;

    atomic_bool open, lost, damaged;
    struct err lost_err; /* set once, before lost */
    void (*stopped)(void *ctx);
    void *stopped_ctx;
};

/* node_data.c: stores, log with recovery, flows of every core, by node->next's map. Before the
 * loops run, or on the log core while the cores know nothing of it yet. */
MUST_USE enum status node_data_open(struct node *node, const struct node_view *view,
                                    struct err *err);
void node_data_free(struct node *node);
MUST_USE enum status node_open_shards(struct node_core *nc, const struct node_view *view,
                                      struct err *err);

/* node_head.c: what a clean stop leaves of the heads, and the next start begins with. */
enum { NODE_DIR_MAX = 4200 };
struct node_head_load {
    const struct node_view *view; /* given */
    struct log_end end;           /* frame 0: it was not used */
    struct snapshot_told told;
    bool spoiled; /* the stores have a part of it */
};
/* Into fresh stores. */
void node_head_load(struct node *node, const char *log_dir, struct node_head_load *h);
/* The log was applied, too: tells, and removes it. */
void node_head_told(struct node *node, const struct node_head_load *h, uint64_t entries,
                    uint64_t took_ns);

/* node_blocks.c */
int64_t node_block_range_ms(const struct node *node);
/* from_head: a head snapshot was loaded, which has the exemplars. */
MUST_USE enum status node_blocks_open(struct node *node, const struct node_view *view,
                                      bool from_head, struct err *err);
MUST_USE enum status node_blocks_start(struct node *node, struct err *err);

/* node_maps.c */
MUST_USE enum status node_view_new(const struct node *node, struct ring_map *map,
                                   struct node_view **out, struct err *err);
void node_view_free(struct node_view *view);
/* On the core. */
void node_core_install(struct node_core *nc, const struct node_view *view);
void node_on_map(void *ctx, struct ring_map *map); /* member's install */
void node_on_report(void *ctx, const struct shard_report *reports, size_t reports_count,
                    const struct append_lag *lags, size_t lags_count, uint32_t unsynced_age_ms);
void node_on_changed(void *ctx);

/* node_look.c: what each core counts about its replicas, and its sums as metrics. */
void node_look_open(struct node_core *nc);
void node_look(struct node_core *nc);      /* by the map in force on the core */
void node_look_soon(struct node_core *nc); /* a replica changed */
void node_look_stop(struct node_core *nc);

/* node_metrics.c */
void node_metrics_look(struct node_core *nc); /* on the core */
void node_metrics_put(struct node *node);     /* on core 0 */

/* node_ha.c: HA pairs of senders; nothing without options.ha. */
MUST_USE enum status node_ha_open(struct node *node, struct err *err);
void node_ha_stop_core(struct node_core *nc); /* fails what waits for an election */
void node_ha_free(struct node *node);
void node_ha_changed(void *ctx, const struct ring_state *state); /* member's ha_changed */
