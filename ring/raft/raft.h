/* SPDX-License-Identifier: Apache-2.0 */
/* ring/raft/raft.h: consensus on one log (Raft: Ongaro and Ousterhout 2014; Ongaro's thesis 2014
 * for pre-vote 9.6, single member changes 4, leadership transfer 3.10, ReadIndex 6.4). Sans-I/O:
 * an event goes in, what to persist, send and apply comes out. No clock, no randomness but the
 * seed, no call-backs; not thread-safe, one owner.
 *
 * How to drive it, in this order after each raft_step:
 *   1. out->batch, if any: save it (raft_store_save, or raft_batch_clone and another thread), in
 *      the order of the tokens; then step RAFT_EV_PERSISTED with its token. Several batches may be
 *      under way; the newest durable token speaks for those before it. Could one not be saved, step
 *      RAFT_EV_PERSIST_FAILED: the role becomes DOWN for good (restart the process to heal).
 *   2. out->msgs: send them; losing, doubling and reordering them is harmless. What must not be
 *      told before it is durable (votes, acknowledgements) is held back inside until PERSISTED, so
 *      everything in out may be sent at once, also before the batch is durable.
 *   3. out->restore, then out->applied: feed the state machine, in this order. Only what is
 *      committed and durable here is given. Each index is given once in a life of the struct; after
 *      a restart everything behind the snapshot is given again.
 *   4. call again at out->deadline_ms with RAFT_EV_TICK at the latest. Ticks too early are
 * harmless. All that out points to lives until the next raft_step.
 *
 * Role
 *   FOLLOWER -> PRE_CANDIDATE   nothing heard of a leader for an election timeout; voters only
 *   PRE_CANDIDATE -> CANDIDATE  a quorum would vote
 *   FOLLOWER -> CANDIDATE       the leader said TIMEOUT_NOW, or a sole voter, which asks nobody
 *   CANDIDATE -> LEADER         a quorum voted, its own durable vote included
 *   PRE_CANDIDATE, CANDIDATE -> PRE_CANDIDATE  election timeout again
 *   PRE_CANDIDATE, CANDIDATE, LEADER -> FOLLOWER  a newer term, another leader of this term, a
 *                               quorum refused; a leader also without a quorum round for
 *                               election_max_ms, no longer a voter, or when its transfer was sent
 *                               and nobody took over
 *   any -> DOWN                 a batch could not be saved, or no memory; for good, silent
 * A learner is a FOLLOWER that never campaigns. A node of no configuration waits for a leader.
 *
 * Rules kept here: entries of older terms commit only below one of the leader's own term, which
 * begins with a no-op; a leader counts itself only up to what is durable; a sole voter raises the
 * term too; a configuration is in force when appended and out of force when truncated; one change
 * at a time and none before a commit of the own term; a node that heard a leader less than
 * election_min_ms ago (a start counts as hearing one) ignores candidates unless the leader asked
 * for the election. A node votes also when its own newest configuration calls it a learner: it may
 * not know of its promotion yet; candidates ask and count only the voters of theirs.
 *
 * Lease: while a leader's raft_quorum_age_ms is below election_min_ms no other node leads a newer
 * term (given clocks that advance alike). */
#pragma once

#include "ring/raft/msg.h"

enum raft_role { RAFT_FOLLOWER, RAFT_PRE_CANDIDATE, RAFT_CANDIDATE, RAFT_LEADER, RAFT_DOWN };

struct raft_config {
    uint64_t self;            /* never 0 */
    uint64_t election_min_ms; /* 0: 1000 */
    uint64_t election_max_ms; /* 0: twice the least; timeouts are drawn from [min, max) */
    uint64_t heartbeat_ms;    /* 0: 150 */
    uint64_t seed;
    uint32_t snapshot_entries;   /* 0: 1024 applied since the last one: out->snapshot_wanted */
    uint64_t snapshot_log_bytes; /* 0: 4 MiB of entries likewise */
    uint32_t trailing_entries;   /* 0: 128 kept in memory before a snapshot, for slow followers */
    uint64_t msg_bytes_max;      /* 0: 1 MiB of entries in one message, and at least one entry */
};

/* What is on disk; raft_store_open gives it, raft_new copies it. Empty (zeros): a node that waits
 * to be added. A founder saves a snapshot {index 1, term 1, members {itself, voter}, first state}
 * and term 1 before its first start. */
struct raft_state {
    uint64_t term, vote;
    struct raft_snapshot snapshot;
    const struct raft_entry *entries; /* from snapshot.index + 1, no gaps */
    size_t entries_count;
};

enum raft_change {
    RAFT_ADD_LEARNER = 1,
    RAFT_PROMOTE = 2, /* a learner that has nearly all of the log, else ERR_UNAVAILABLE */
    RAFT_DEMOTE = 3,
    RAFT_REMOVE = 4,
};

enum raft_event_type {
    RAFT_EV_TICK = 1,
    RAFT_EV_MSG = 2,            /* msg: borrowed; those for another node or malformed are dropped */
    RAFT_EV_PERSISTED = 3,      /* token */
    RAFT_EV_PERSIST_FAILED = 4, /* any token */
    RAFT_EV_PROPOSE = 5,        /* bytes, copied; answer in out->reply */
    RAFT_EV_CHANGE = 6,         /* change, id; answer in out->reply */
    RAFT_EV_TRANSFER = 7, /* id: a voter, 0 for the one that is furthest; answer in out->reply */
    RAFT_EV_READ = 8,     /* id: the caller's, comes back in out->reads; refusal in out->reply */
    RAFT_EV_SNAPSHOT = 9, /* index: applied, bytes: the state right after it, copied */
};
struct raft_event {
    enum raft_event_type type;
    const struct raft_msg *msg;
    uint64_t token;
    struct sv bytes;
    enum raft_change change;
    uint64_t id;
    uint64_t index;
};

/* Made durable as one: term and vote first, then the snapshot, then truncation, then entries. */
struct raft_batch {
    uint64_t token; /* 1, 2, 3... */
    bool hard_changed;
    uint64_t term, vote; /* always set, hard_changed or not */
    /* NULL: none. With one, entries are the whole log behind it: what was there before goes. */
    const struct raft_snapshot *snapshot;
    uint64_t truncate_from; /* 0: nothing; else entries from this index on go before these come */
    const struct raft_entry *entries;
    size_t entries_count;
};

struct raft_read {
    uint64_t id;
    bool ok;        /* false: leadership was lost, ask again elsewhere */
    uint64_t index; /* given to the state machine in or before this out, when ok */
};

/* The answer to PROPOSE, CHANGE, TRANSFER, READ. An accepted entry is committed when (term, index)
 * is applied; when another term's entry is applied at that index it is lost. Any other outcome is
 * unknown: it may be committed later. */
struct raft_reply {
    /* OK; ERR_UNAVAILABLE: not the leader, or not at present; ERR_CONFLICT: a change that is not
     * possible; ERR_LIMIT */
    enum status status;
    uint64_t term, index;
    uint64_t leader;    /* 0: unknown */
    const char *reason; /* one sentence when not OK */
};

struct raft_out {
    const struct raft_batch *batch; /* NULL: nothing to persist */
    const struct raft_msg *msgs;
    size_t msgs_count;
    const struct raft_snapshot *restore; /* NULL: none; else the machine's whole state is this */
    const struct raft_entry *applied;    /* NOOP and CONF are among them */
    size_t applied_count;
    const struct raft_read *reads;
    size_t reads_count;
    struct raft_reply reply;
    bool leader_changed; /* role, term or leader */
    bool members_changed;
    bool removed; /* told that it is no member any more: it does not campaign until a leader speaks
                   */
    bool snapshot_wanted; /* step RAFT_EV_SNAPSHOT some time; repeated until then */
    uint64_t deadline_ms; /* UINT64_MAX: none */
};

struct raft;
/* ERR_CORRUPT: the state contradicts itself. now_ms is monotonic, of the same clock as later ones.
 */
MUST_USE enum status raft_new(const struct raft_config *config, const struct raft_state *state,
                              uint64_t now_ms, struct raft **out, struct err *err);
void raft_free(struct raft *raft);
void raft_step(struct raft *raft, uint64_t now_ms, const struct raft_event *event,
               struct raft_out *out);

/* A leader: how long ago it sent the newest round that a quorum of voters (itself among them, when
 * it is one) answered; a sole voter: 0. UINT64_MAX: no leader, no such round in this term yet, or
 * leadership is being handed over. */
uint64_t raft_quorum_age_ms(const struct raft *raft, uint64_t now_ms);

struct raft_info {
    enum raft_role role;
    uint64_t term, vote, leader;                    /* leader 0: unknown */
    uint64_t commit, applied, durable, first, last; /* indexes; first > last: an empty log */
    uint64_t snapshot_index;
    uint64_t members_index;             /* of the configuration in force */
    const struct raft_members *members; /* in force; until the next step */
    bool removed;
    enum status down; /* why, when DOWN */
    uint64_t ignored; /* messages that no correct peer sends */
};
struct raft_info raft_info(const struct raft *raft);
/* NULL when it is not in memory; until the next step. */
const struct raft_entry *raft_entry_at(const struct raft *raft, uint64_t index);
/* Of a leader: how far a member is. false: not a leader or not a member. */
bool raft_peer(const struct raft *raft, uint64_t id, uint64_t *out_match,
               uint64_t *out_answered_ms);
const char *raft_role_name(enum raft_role role);

/* A deep copy, for saving on another thread; NULL without memory. */
struct raft_batch *raft_batch_clone(const struct raft_batch *batch);
void raft_batch_free(struct raft_batch *batch);
