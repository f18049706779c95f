/* SPDX-License-Identifier: Apache-2.0 */
/* ring/control/controller.h: the decisions of the Raft leader: who is alive, who may be waited for,
 * who is primary, what moves. Sans-I/O: heartbeats, commands and the clock in, at most one proposed
 * next map out; it is in force when the Raft log has committed it. Pure in (committed map, what was
 * heard since it leads, now), so that a new leader decides as the old one did. Lives from the
 * leader's own no-op being committed until it steps down.
 *
 * Rules (each a test; DESIGN 7):
 *   1 A node is dead MEMBER_TIMEOUT_MS after its last answered heartbeat, never within
 *     LEADER_GRACE_MS of becoming leader. A node whose log failed or whose progress (unsynced,
 *     mailbox, an append unanswered at its primaries) is MEMBER_BEHIND_MS old is taken out like a
 *     dead one, unless a third of the living nodes are slow at once.
 *   2 A heartbeat with a newer incarnation: the map notes it, and before it has, and the node has
 *     installed that, there is no lease for it. While another readable member serves on, it leaves
 *     the in-sync set (as 3) and comes back by CAUGHT_UP; otherwise, as when a whole cluster comes
 *     back, it stays and the shard opens in a new epoch, which compares all ends, once all in-sync
 *     members are back or dead. An older incarnation is FENCED.
 *   3 Taking out: in the same map change in_sync goes off, a live node without a replica of the
 *     shard comes in as LOG, in sync (where there is one; replicas that are INIT or FULL and not in
 *     sync on live nodes do not count), and a primary that goes is replaced by a readable replica
 *     with the next epoch (the fewest primaries first).
 *   4 No readable replica left: RF live nodes hold the shard as LOG, in sync, one of them primary,
 *     in a new epoch. The first FULL copy to return that with the living LOG replicas has every
 *     acknowledged entry (cover.c) is made in sync and primary in a new epoch, and these are waited
 *     for; it keeps its `until` until it is open. REPORT_INCOMPLETE of it undoes that (next epoch,
 *     LOG primary again) until somebody else is alive. Where no node can take a LOG replica the
 *     shard stays as it is.
 *   5 CAUGHT_UP of the map's epoch: the replica becomes FULL and in sync, LOG ones beyond RF go.
 *     If its node is dead instead, INIT goes, FULL gets a new epoch. DIVERGED, DAMAGED: INIT with a
 *     higher copy, out of the in-sync set; one that is readable is LEAVING first (rule 8), the last
 *     copy there is keeps its copy number. A LOG replica that DIVERGED and has entries that a copy
 *     may lack (cover.c) goes out of the in-sync set and keeps them. Who says DAMAGED of itself
 *     serves it no more.
 *   6 After replace_after_ms a dead node's LOG substitute becomes INIT, in sync (copy + 1); the
 *     dead one's replica, which may be the last hope, goes when RF copies are complete.
 *   7 Moves: towards placement_plan over the members that are neither long dead nor draining, at
 *     most moves_max shards at once, none while a shard is under-replicated: INIT at the new place;
 *     when it is FULL and in sync the old one becomes LEAVING, in sync; the primary moves to a
 *     readable replica (new epoch); LEAVING goes when its node has installed a map that says
 *     LEAVING, or is dead. The same for a drain; a drained node without replicas leaves the map.
 *   8 A readable replica leaves the in-sync set only when its node has installed a map that says so
 *     (LEAVING), or MEMBER_TIMEOUT_MS after its last answered heartbeat. A LOG replica that led
 *     and was taken out gets no lease either before its node has installed that: it would go on
 *     acknowledging alone, and its writes would come before its successor's in the log.
 *   9 Joins, restarts with another address or zone, and format levels become map changes.
 */
#pragma once

#include "ring/control/heartbeat.h"

struct controller_options {
    node_id self;
    uint64_t replace_after_ms;
    unsigned moves_max; /* shards under way at once: 64 */
};
struct controller;
/* map: committed, a reference is taken. */
MUST_USE enum status controller_new(const struct controller_options *options, struct ring_map *map,
                                    uint64_t now_ms, struct controller **out, struct err *err);
void controller_free(struct controller *c);
/* The answer is OK, NO_QUORUM (no lease for this node just now), UNKNOWN or FENCED; the caller adds
 * what Raft knows (leader, quorum). It counts as answered (rule 1) only if the caller says so by
 * answered = true. */
void controller_heartbeat(struct controller *c, uint64_t now_ms, const struct heartbeat *h,
                          bool answered, struct heartbeat_reply *out);
/* The next map to propose, or NULL: nothing to do, or one is under way. The caller commits it
 * through Raft and calls controller_committed, or controller_dropped when Raft refused it. */
MUST_USE enum status controller_step(struct controller *c, uint64_t now_ms, struct ring_map **out,
                                     struct err *err);
void controller_committed(struct controller *c, struct ring_map *map, uint64_t now_ms);
void controller_dropped(struct controller *c);
uint64_t
controller_next_ms(const struct controller *c); /* when step should run again at the latest */

/* Wishes of people and joining nodes; kept until the map has them (they are in node flags, so that
 * a next leader goes on). ERR_CONFLICT says why not. */
MUST_USE enum status controller_join(struct controller *c, const struct ring_node *node,
                                     struct err *err);
MUST_USE enum status controller_drain(struct controller *c, node_id id, bool on, struct err *err);
MUST_USE enum status controller_move(struct controller *c, uint32_t shard, node_id from, node_id to,
                                     struct err *err);
/* Restarts a shard from what is left: the live replica with the longest history becomes FULL, in
 * sync and primary, or, where there is none, an empty one. */
MUST_USE enum status controller_accept_loss(struct controller *c, uint32_t shard, struct err *err);
MUST_USE enum status controller_remove(struct controller *c, node_id id, struct err *err);

struct controller_counts { /* for metrics and /api/v1/status/ring */
    uint32_t nodes_alive, nodes_dead;
    uint32_t shards_under_replicated, shards_unreadable, shards_moving, replicas[5];
};
void controller_counts(const struct controller *c, uint64_t now_ms, struct controller_counts *out);
/* Milliseconds since a member's last answered heartbeat; UINT64_MAX: never. */
uint64_t controller_age_ms(const struct controller *c, node_id id, uint64_t now_ms);
