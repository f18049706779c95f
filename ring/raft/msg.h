/* SPDX-License-Identifier: Apache-2.0 */
/* ring/raft/msg.h: the values of the consensus core (entry, members, snapshot, message) and their
 * bytes. Members are ids only; who an id is and where it listens is the caller's matter.
 *
 * Encodings are little-endian and carry no version of their own: the frame around a message and the
 * header of a file do. A decoder borrows from its input, checks every length, and refuses what no
 * correct peer sends (entries out of order, members twice, unknown types) with ERR_PARSE. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "node/base/buf.h"
#include "node/base/status.h"
#include "node/base/sv.h"

enum {
    RAFT_MEMBERS_MAX = 1024,
    RAFT_VOTERS_MAX = 7,
    RAFT_ENTRY_BYTES_MAX = 8 << 20,
    RAFT_SNAPSHOT_BYTES_MAX = 32 << 20,
    RAFT_ENTRIES_PER_MSG_MAX = 4096,
};

struct raft_member {
    uint64_t id; /* never 0 */
    bool voter;  /* false: a learner, fed but never asked and never counted */
};
struct raft_members {
    struct raft_member *items; /* ascending by id; owned by whoever owns the struct */
    uint32_t count;
};

enum raft_entry_type {
    RAFT_ENTRY_DATA = 1,
    RAFT_ENTRY_NOOP = 2, /* a leader's first; no bytes */
    RAFT_ENTRY_CONF = 3, /* all members, raft_members_put */
};
struct raft_entry {
    uint64_t term, index; /* index from 1, without gaps */
    enum raft_entry_type type;
    struct sv bytes;
};

/* The state of the caller's machine after entry `index`, and the members committed by then. */
struct raft_snapshot {
    uint64_t index, term; /* 0, 0: nothing yet */
    struct raft_members members;
    struct sv bytes;
};

enum raft_msg_type {
    RAFT_MSG_PREVOTE = 1,
    RAFT_MSG_PREVOTE_REPLY = 2,
    RAFT_MSG_VOTE = 3,
    RAFT_MSG_VOTE_REPLY = 4,
    RAFT_MSG_APPEND = 5, /* without entries: the heartbeat */
    RAFT_MSG_APPEND_REPLY = 6,
    RAFT_MSG_SNAPSHOT = 7,    /* answered by APPEND_REPLY */
    RAFT_MSG_TIMEOUT_NOW = 8, /* leadership is transferred to the receiver */
    RAFT_MSG_ASK = 9,         /* a learner that hears no leader: am I still a member? */
    RAFT_MSG_REMOVED = 10,    /* you are not among the members committed at `index` */
};
struct raft_msg {
    enum raft_msg_type type;
    bool granted;  /* the replies: vote given, entries taken */
    bool transfer; /* VOTE: the leader asked for it, so having heard of it is no reason to refuse */
    uint64_t from, to;
    uint64_t term; /* of the sender; PREVOTE: the term it would campaign in, likewise granted */
    /* VOTE, PREVOTE: the last entry; APPEND: the one before the first; a refusing APPEND_REPLY: a
     * place where the logs may agree; a granting one: index up to which they do; REMOVED: index */
    uint64_t index, index_term;
    uint64_t commit;         /* APPEND */
    uint64_t round, sent_ms; /* APPEND, SNAPSHOT; echoed by replies; 0: to one of an older term */
    const struct raft_entry *entries;
    uint32_t entries_count;
    struct raft_snapshot snapshot; /* SNAPSHOT */
};

/* u32 count, then count times u64 id, u8 voter (0, 1). */
void raft_members_put(const struct raft_members *members, struct buf *out);
/* *out owned by the caller: raft_members_fini. */
MUST_USE enum status raft_members_get(struct sv bytes, struct raft_members *out, struct err *err);
MUST_USE enum status raft_members_copy(const struct raft_members *from, struct raft_members *out);
void raft_members_fini(struct raft_members *members);
/* NULL: not a member. */
const struct raft_member *raft_members_find(const struct raft_members *members, uint64_t id);
uint32_t raft_members_voters(const struct raft_members *members); /* how many */

void raft_msg_put(const struct raft_msg *msg, struct buf *out);
/* Bytes point into the input; the arrays of entries and members are the caller's:
 * raft_msg_fini. */
MUST_USE enum status raft_msg_get(struct sv bytes, struct raft_msg *out, struct err *err);
void raft_msg_fini(struct raft_msg *msg); /* of one that raft_msg_get made */
const char *raft_msg_name(enum raft_msg_type type);
