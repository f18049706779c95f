/* SPDX-License-Identifier: Apache-2.0 */
/* tests/ring/raft/raft_world.h: some nodes of ring/raft in one thread, on a fake clock, network and
 * disk, all by one seed. Faults: drop, double, delay (hence reorder), one-way and two-way
 * partition, crash with a part of the unsaved batches kept, slow and failing saves, late ticks.
 * Messages travel as bytes. Chaos runs for a while, then everything heals and the cluster has to
 * converge.
 *
 * Checked after every step (raft_check.c):
 *   election safety       one leader a term
 *   log matching          (index, term) has one content and one predecessor term, everywhere
 *   leader completeness   a new leader has all that was ever committed
 *   commit                an index commits once, with one term, durable on a quorum of the
 *                         committing leader's configuration; per life it never regresses
 *   machine               digests of the applied prefix are equal on all nodes; nothing is applied
 *                         that is not durable on that node
 *   lease                 while a leader's quorum age is below election_min_ms nobody leads a newer
 *                         term and nothing of a newer term is committed
 *   reads                 a confirmed read's index is not below any commit known when it was asked
 *   roles                 only the transitions of raft.h (sim_raft.c)
 * and in the end that all members have the leader's log and a removed node knows it.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "node/base/heap.h"
#include "node/base/rng.h"
#include "ring/raft/raft.h"

enum {
    NODES_MAX = 8,
    TERMS_MAX = 1 << 12,
    INDEX_MAX = 1 << 13,
    SLOTS_MAX = 1 << 14,
    PENDING_MAX = 64,
    READS_MAX = 64,
};

enum fault {
    FAULT_DROP,
    FAULT_DOUBLE,
    FAULT_DELAY,
    FAULT_PARTITION,
    FAULT_ONE_WAY,
    FAULT_CRASH,
    FAULT_LOST_BATCH,
    FAULT_TORN_BATCH,
    FAULT_SLOW_SAVE,
    FAULT_SAVE_FAILED,
    FAULT_LATE_TICK,
    FAULT_STORM,
    FAULT_COUNT
};
enum happening {
    DID_PROPOSE,
    DID_COMMIT,
    DID_READ,
    DID_READ_FAIL,
    DID_TRANSFER,
    DID_TAKE_OVER, /* a transfer's target won */
    DID_ADD,
    DID_PROMOTE,
    DID_DEMOTE,
    DID_REMOVE,
    DID_ROLL_BACK, /* of a configuration */
    DID_TELL,      /* removed, and told */
    DID_SNAPSHOT,
    DID_INSTALL,
    DID_TRUNCATE,
    DID_LEASE, /* checks of a held lease */
    DID_COUNT
};
extern const char *const fault_names[FAULT_COUNT];
extern const char *const happening_names[DID_COUNT];

struct saved { /* a node's disk */
    uint64_t term, vote;
    struct raft_snapshot snapshot;
    struct raft_entry *entries;
    size_t count, cap;
};
struct pending_batch {
    struct raft_batch *batch;
    uint64_t due_ms;
};
struct asked_read {
    uint64_t id, floor;
};
struct sim_node {
    uint64_t id, skew_ms;
    struct raft *raft; /* NULL: down */
    unsigned life;
    struct saved disk;
    struct pending_batch pending[PENDING_MAX];
    unsigned pending_count;
    uint64_t digest, applied; /* the machine */
    uint64_t commit_seen, members_seen;
    uint64_t deadline_ms, tick_due_ms;
    enum raft_role role;
    uint64_t term;
    bool transfer_target, told;
    struct asked_read reads[READS_MAX];
    unsigned reads_count;
};
struct slot { /* of (index, term) */
    uint64_t index, term, before_term, content;
};

struct world_options {
    uint64_t seed, chaos_ms;
    bool trace;
};
struct world {
    struct world_options options;
    struct rng rng;
    struct heap agenda;
    uint64_t now_ms;
    struct sim_node nodes[NODES_MAX];
    unsigned nodes_count, voters_count;
    uint64_t cut[NODES_MAX][NODES_MAX]; /* messages from, to are lost until then */
    bool healed;
    /* the seed's character */
    double storm;      /* a new leader proposes, and it or a voter is soon gone or cut off */
    double entry_drop; /* of messages with entries, so that few nodes have them */
    double vote_delay, vote_crash; /* requests arrive late; who has voted restarts */
    double drop, dup, crash, propose, change, transfer, read, partition, save_failed, slow;
    uint64_t delay_max_ms, save_max_ms, slow_max_ms;
    struct raft_config config;
    /* what all nodes must agree on */
    uint64_t leader_of[TERMS_MAX];
    struct {
        uint64_t term, digest;
        uint64_t seen_term; /* of the node that first knew */
    } committed[INDEX_MAX];
    uint64_t commit_max;      /* known to any node */
    uint64_t commit_term_max; /* newest term of a committed entry */
    struct slot slots[SLOTS_MAX];
    unsigned slots_count;
    uint64_t next_payload, next_read;
    uint64_t faults[FAULT_COUNT], did[DID_COUNT], roles[RAFT_DOWN + 1][RAFT_DOWN + 1], steps;
    char failure[256];
};

/* false: w->failure says what broke. */
bool world_run(struct world *w, const struct world_options *options);

/* raft_world.c */
void world_fail(struct world *w, const char *fmt, ...) PRINTF_LIKE(2, 3);
struct sim_node *world_node(struct world *w, uint64_t id);

/* saved.c */
void saved_apply(struct saved *s, const struct raft_batch *b, unsigned part); /* 4: all of it */
struct raft_state saved_state(const struct saved *s);
void saved_snapshot(struct saved *s, const struct raft_snapshot *from);
void saved_clone(const struct saved *s, struct saved *out);
bool saved_holds(const struct saved *s, uint64_t index, uint64_t term);
uint64_t saved_last(const struct saved *s);
void saved_fini(struct saved *s);

/* raft_check.c */
uint64_t entry_digest(uint64_t before, const struct raft_entry *e);
void check_step(struct world *w, struct sim_node *n, const struct raft_out *out);
void check_converged(struct world *w);
