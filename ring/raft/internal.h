/* SPDX-License-Identifier: Apache-2.0 */
/* ring/raft/internal.h: the core's own structures. A step changes the state first and makes all
 * that points into the log or the snapshot (appends, batch, applied) last, in raft_flush, so that
 * nothing in an out can dangle. */
#pragma once

#include "node/base/rng.h"
#include "ring/raft/raft.h"

enum {
    RAFT_INFLIGHT_MAX = 16,        /* messages with entries on their way to one follower */
    RAFT_PENDING_MAX = 4096,       /* proposed and not committed, then proposals are refused */
    RAFT_LOG_BYTES_MAX = 64 << 20, /* of entries in memory, likewise */
    RAFT_READS_MAX = 1024,
    RAFT_PROMOTE_LAG_MAX = 128, /* entries a learner may lack when it is promoted */
};

/* PROBE     where the logs agree is unknown; one message, then the answer is waited for
 * REPLICATE entries stream ahead of the answers
 * SNAPSHOT  a snapshot is on its way; heartbeats only
 * PROBE -> REPLICATE by a granting reply; REPLICATE -> PROBE by a refusing one;
 * PROBE, REPLICATE -> SNAPSHOT when the entry before the next is no longer in memory;
 * SNAPSHOT -> PROBE by a reply that covers it. */
enum peer_state { PEER_PROBE, PEER_REPLICATE, PEER_SNAPSHOT };
enum peer_vote { VOTE_NONE, VOTE_GRANTED, VOTE_REFUSED };

/* Any other member, in every role; the fields are meaningful for a leader, vote for a candidate. */
struct peer {
    uint64_t id;
    bool voter;
    enum peer_vote vote;
    enum peer_state state;
    uint64_t match; /* known to be durable there */
    uint64_t next;
    uint64_t answered_round, answered_ms;
    uint64_t sent_commit;
    uint64_t snapshot_index, snapshot_sent_ms;
    bool probing;                         /* PROBE: a message is on its way */
    uint64_t inflight[RAFT_INFLIGHT_MAX]; /* last index of each, ascending */
    unsigned inflight_count;
};

struct held_msg {
    uint64_t token; /* goes when this is durable; 0: not known before the end of the step */
    uint64_t term;  /* our own when it was made: dropped when that has changed */
    struct raft_msg msg;
};
struct pending_token {
    uint64_t token;
    uint64_t last; /* the log is durable up to here when the token is */
};
struct pending_read {
    uint64_t id, round, index;
};

struct raft {
    struct raft_config config;
    struct rng rng;
    uint64_t now_ms;

    enum raft_role role;
    enum status down;
    uint64_t term, vote, leader;
    bool hard_dirty;
    bool removed;
    bool heard;        /* heard_ms is valid */
    uint64_t heard_ms; /* of a leader */
    uint64_t election_deadline_ms;
    unsigned tries;         /* to be elected, since a leader was heard */
    bool transfer_campaign; /* the election under way was asked for by the leader */

    /* the log in memory: items[0] has index base_index + 1 */
    struct raft_entry *items;
    size_t items_count, items_cap;
    uint64_t base_index, base_term;
    uint64_t log_bytes;
    struct raft_snapshot snapshot; /* owned; index >= base_index */
    bool snapshot_dirty;

    /* applied <= min(commit, durable); handed: given to out->batch up to here */
    uint64_t commit, applied, durable, handed;
    uint64_t truncate_from;
    bool restore_due;
    uint64_t applied_bytes; /* of entries behind the snapshot */
    uint64_t last_token, durable_token;
    struct pending_token *tokens;
    size_t tokens_count, tokens_cap;

    struct raft_members members; /* in force */
    uint64_t members_index;      /* its entry, or the snapshot's index */
    struct peer *peers;          /* the other members, ascending by id */
    uint32_t peers_count;
    bool self_member, self_voter;
    /* What it was before a configuration in force that is not committed. Such a node may be the
     * only one that can be elected (thesis 4.2.2): with voters 1 and 2, node 1 appends its own
     * demotion and stops; node 2 lacks that entry, so only node 1 can lead, not counting itself. */
    bool prior_member, prior_voter;

    /* leader */
    uint64_t lead_since_ms, heartbeat_due_ms;
    uint64_t term_start; /* index of the no-op */
    uint64_t round;
    bool broadcast_due;
    uint64_t transfer_to, transfer_deadline_ms;
    bool transfer_sent;
    struct pending_read *reads;
    size_t reads_count, reads_cap;

    struct held_msg *held;
    size_t held_count, held_cap;
    uint64_t ignored;

    /* what the current step gives out */
    struct raft_batch batch;
    struct raft_msg *msgs;
    size_t msgs_count, msgs_cap;
    struct raft_read *reads_out;
    size_t reads_out_count, reads_out_cap;
    bool members_changed;
    struct raft_reply reply;
};

/* raft.c */
void raft_fail(struct raft *r, enum status why); /* DOWN for good */
/* Room for one more of `size` bytes; false (and DOWN) without memory. */
bool raft_grow(struct raft *r, void *items, size_t *cap, size_t count, size_t size);
struct raft_msg *raft_send(struct raft *r, enum raft_msg_type type, uint64_t to); /* NULL: DOWN */
void raft_hold(struct raft *r, const struct raft_msg *msg); /* sent when all so far is durable */
void raft_release(struct raft *r); /* what is durable by now, its own votes counted */
void raft_refuse(struct raft *r, enum status status, const char *reason);
bool raft_msg_is_sound(const struct raft_msg *m); /* msg.c */

/* log.c */
static inline uint64_t rlog_last(const struct raft *r) {
    return r->base_index + r->items_count;
}
static inline const struct raft_entry *rlog_at(const struct raft *r, uint64_t index) {
    return &r->items[index - r->base_index - 1];
}
uint64_t rlog_term(const struct raft *r, uint64_t index);     /* base_index <= index <= last */
bool rlog_append(struct raft *r, const struct raft_entry *e); /* copies the bytes */
void rlog_truncate(struct raft *r, uint64_t from);
void rlog_compact(struct raft *r, uint64_t to); /* entries up to `to` leave the memory */
void rlog_reset(struct raft *r, uint64_t base_index, uint64_t base_term);
/* Bytes of the newest configuration at or before index, in the log or else the snapshot's. */
MUST_USE enum status rlog_members_at(const struct raft *r, uint64_t index, struct raft_members *out,
                                     uint64_t *out_index);
bool snapshot_set(struct raft *r, const struct raft_snapshot *s); /* copies */

/* members.c */
void members_refresh(struct raft *r); /* after the log's newest configuration may have changed */
struct peer *peer_find(struct raft *r, uint64_t id);
uint32_t members_quorum(const struct raft *r);
void members_on_commit(struct raft *r, uint64_t old_commit);
void members_tell_removed(struct raft *r, uint64_t id);
void members_on_removed(struct raft *r, const struct raft_msg *m);
void members_change(struct raft *r, enum raft_change change, uint64_t id);

/* elect.c */
void elect_reset_deadline(struct raft *r);
void elect_follow(struct raft *r, uint64_t term, uint64_t leader); /* term >= ours */
void elect_timeout(struct raft *r);
void elect_campaign(struct raft *r, bool transfer);
void elect_on_request(struct raft *r, const struct raft_msg *m);
void elect_on_reply(struct raft *r, const struct raft_msg *m);
void elect_count(struct raft *r, uint64_t from, bool granted);

/* follow.c */
void follow_on_append(struct raft *r, const struct raft_msg *m);
void follow_on_snapshot(struct raft *r, const struct raft_msg *m);

/* lead.c */
void lead_begin(struct raft *r);
void lead_tick(struct raft *r);
void lead_on_reply(struct raft *r, const struct raft_msg *m);
void lead_commit(struct raft *r);
void lead_transfer(struct raft *r, uint64_t id);
void lead_propose(struct raft *r, enum raft_entry_type type, struct sv bytes);
void lead_read(struct raft *r, uint64_t id);
void lead_reads_fail(struct raft *r);
void lead_reads_confirm(struct raft *r);
uint64_t lead_deadline(const struct raft *r);
uint64_t lead_quorum_ms(const struct raft *r); /* 0: none in this term */

/* send.c */
void send_appends(struct raft *r); /* to all who need some */
