/* SPDX-License-Identifier: Apache-2.0 */
/* ring/member/member.h: this node as a member of its cluster, on the control core: birth or join,
 * Raft and its storage (through the log core), heartbeats and the lease, the controller while it
 * leads, and the address table. Everything it decides reaches the data cores as a new map.
 *
 *   UNBORN -> JOINING -> MEMBER;  UNBORN -> FOUNDING -> MEMBER;  MEMBER -> REMOVED
 * UNBORN: no map on disk. A node that reaches anybody with a map joins it. With discovery it founds
 * only with bootstrap_expect and the durable, single promise of that many nodes to the one with the
 * lowest id; without discovery it founds a cluster of one. A seat that ever had a map never founds
 * another.
 *
 * A new map: committed by Raft -> saved to <data>/ring/map (the promise to take nothing of an older
 * epoch is durable with it) -> given to `install`, which answers with member_installed when every
 * core has it -> told in the next heartbeat. One at a time, the newest next.
 * Thread: open and free while no loop runs; the rest on the control core unless it says otherwise.
 */
#pragma once

#include "node/runtime/core.h"
#include "ring/cloudmap.h"
#include "ring/control/controller.h"
#include "ring/control/state.h"
#include "ring/discovery.h"
#include "ring/member/lease.h"
#include "ring/peers.h"

struct member_options {
    const char *dir; /* <data>/ring */
    node_id self;
    uint32_t incarnation;
    const char *cluster_name, *addr, *zone; /* addr: advertised, node to node */
    const struct discovery *discovery;      /* kept by the caller */
    /* Given for DISCOVERY_CLOUDMAP; outlives the member. */
    const struct cloudmap_ops *cloudmap;
    void *cloudmap_ctx;
    uint32_t bootstrap_expect;                             /* 0: not given */
    uint32_t shards_count, replication_factor, min_insync; /* seeds of a founded cluster */
    uint64_t replace_after_ms;
    struct lease *lease; /* written here */
    /* Takes a reference's worth: the map is borrowed during the call. */
    void (*install)(void *ctx, struct ring_map *map);
    /* The elected replicas of HA pairs are others: copy what is needed. May be NULL. */
    void (*ha_changed)(void *ctx, const struct ring_state *state);
    /* REMOVED, FENCED by a newer process, or Raft's storage failed: the node must not serve. */
    void (*lost)(void *ctx, const struct err *why);
    void *ctx;
};
struct member;
/* Reads what is on disk (blocks). *out_map: the map last saved, one reference, or NULL; the data
 * cores begin with it, it counts as installed. ERR_CORRUPT names the file. */
MUST_USE enum status member_open(struct runtime *rt, const struct member_options *options,
                                 struct member **out, struct ring_map **out_map, struct err *err);
/* Begins: timers, connections. peers: of the control core; the frames of enum frame_type that are
 * the member's reach it through member_on_frame from any core's listener. */
MUST_USE enum status member_start(struct member *m, struct peers *peers, struct err *err);
void member_stop(struct member *m, void (*stopped)(void *ctx), void *ctx);
void member_free(struct member *m);

void member_installed(struct member *m, uint64_t map_version);
/* From the data cores' replication, by way of a message: everything this core has to say now. */
struct core_report {
    unsigned core;
    uint64_t map_version;         /* by which the reports were made */
    struct shard_report *reports; /* heap, taken */
    size_t reports_count;
    struct append_lag *lags; /* heap, taken */
    size_t lags_count;
    uint32_t unsynced_age_ms;
    bool log_failed;
};
void member_report(struct member *m, struct core_report *report);
void member_set_draining(struct member *m, bool on); /* told in heartbeats */
bool member_is_controller(const struct member *m);
/* After lost(): the cluster has let this node go, as a drain does. Else something is wrong. */
bool member_was_removed(const struct member *m);
node_id member_leader(const struct member *m); /* 0: not known */
/* The newest committed map this node knows, installed or not; borrowed, may be NULL. */
struct ring_map *member_map(const struct member *m);
/* It leads, and those vote who should: the loss of one node does not stop a cluster of three. */
bool member_has_settled(const struct member *m);
/* One line for people: phase, map, and what Raft knows (voters with a *). */
void member_describe(const struct member *m, struct buf *out);

/* Handlers for peers_handle on any data core: they pass the frame on to the control core and its
 * reply back. FRAME_RAFT, FRAME_HEARTBEAT, FRAME_JOIN, FRAME_PROMISE, FRAME_ADMIN. */
void member_on_frame(struct peer_request *req, struct sv payload, void *member);
/* For the `learned` of any core's peers. The member tells the peers of all cores (locals of
 * CORE_PEERS, and its own). */
void member_learned(struct member *m, node_id id, uint32_t incarnation, const char *addr);

/* Asks the controller, wherever it is; from any core, done there. Verbs as in enum admin_verb. */
enum admin_verb {
    ADMIN_STATUS = 1,
    ADMIN_DRAIN,
    ADMIN_UNDRAIN,
    ADMIN_MOVE,
    ADMIN_ACCEPT_LOSS,
    ADMIN_REMOVE,
    ADMIN_HA
};
/* Elections of HA pairs, by the controller's clock. An election younger than two thirds of the
 * update time is not renewed: trackers ask from there on (the update time minus its jitter). */
enum { MEMBER_HA_CLUSTERS_MAX = 1000, MEMBER_HA_UPDATE_MS = 15000, MEMBER_HA_FAILOVER_MS = 30000 };
struct admin_call {
    struct msg msg; /* private */
    enum admin_verb verb;
    uint32_t shard;
    node_id node, to;
    char cluster[256], replica[256]; /* ADMIN_HA */
    /* outcome */
    enum status status;
    struct err err;
    struct buf answer; /* the caller's; ADMIN_STATUS: JSON of the controller's view; ADMIN_HA: the
                          elected replica, which is the sender or not */
    void (*done)(struct core *here, struct admin_call *call);
    struct core *home;     /* private */
    struct member *member; /* private */
};
void member_admin(struct member *m, struct core *from, struct admin_call *call);
