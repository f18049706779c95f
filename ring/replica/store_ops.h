/* SPDX-License-Identifier: Apache-2.0 */
/* ring/replica/store_ops.h: what replication needs of the storage of a core: positions and opaque
 * entries. storage/ implements it, node/daemon wires it. All calls on the owning core. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "node/base/buf.h"
#include "node/base/status.h"
#include "node/base/sv.h"

/* A place in a shard's log: the entry (epoch, seq); seq 0 is the entry that opens the epoch. */
struct place {
    uint32_t epoch;
    uint64_t seq;
};
static inline int place_cmp(struct place a, struct place b) {
    if (a.epoch != b.epoch) return a.epoch < b.epoch ? -1 : 1;
    return a.seq < b.seq ? -1 : a.seq > b.seq;
}
/* What of a shard's log this node holds: everything from `first` to `end`, under a copy number. */
struct shard_held {
    uint32_t copy;
    bool has_log;  /* else there is nothing */
    bool is_whole; /* from the shard's very first entry (FULL, INIT), with a head */
    bool damaged;
    bool based; /* is_whole: what was before `first`, that entry too, is in blocks and not in the
                   log */
    struct place first, end;
    /* Of a whole replica: a hash of where each closed epoch ended. Two logs that end in one epoch
     * are of one history only if these are equal; else one has entries that were never
     * acknowledged. */
    uint64_t history;
};
struct entry_place {
    uint32_t shard;
    struct place place;
    size_t len; /* of the whole entry */
};

/* An entry of a block. */
struct entry_at {
    struct place place;
    size_t at, len; /* its bytes, all of them, in the block's */
    uint32_t shard;
    bool tail; /* of the log-only run */
};
/* Entries that the store hands to the log together; borrowed. */
struct store_block {
    struct sv entries;
    const struct entry_at *places; /* in their order */
    size_t places_count;
    bool followed; /* of another node's primary, with the copy numbers of this one */
};

/* Of what will be followed: entries of one shard, not looked at yet. */
enum { STORE_AHEAD_MAX = 16 };
struct store_ahead {
    uint32_t shard;
    struct sv entries;
};

struct store_read_from {
    uint32_t shard;
    bool tail;          /* of the log-only run */
    bool from_start;    /* all that is held; after is unused */
    struct place after; /* the last one that is not wanted */
};
struct store_read {
    const struct store_read_from *from; /* ascending by shard; the caller's, until done */
    size_t from_count;
    size_t piece_bytes_max; /* more only for a single entry */
    bool (*piece)(struct store_read *job, struct sv entries);
    void (*done)(struct store_read *job, enum status status, const struct err *err);
    void *user;
    void *private_;
};

/* What is durably in closed ranges of a whole replica, by what lies together: ranges of two
 * replicas need not be the same, but what is in the same times has the same sum. */
enum range_kind {
    RANGE_GOOD = 1,    /* digest and count are of the samples in it that are not deleted */
    RANGE_BAD = 2,     /* cannot be read, or not wholly */
    RANGE_DELETED = 4, /* no range of samples: what was deleted of that time; its digest says which
                          series: equal for the same matchers */
    RANGE_UNKNOWN = 5, /* can be read, and something of it was deleted: digest and count are not
                          known yet, and will be */
};                     /* 3 was RANGE_DELETED without a digest */
struct range_digest {  /* a sum modulo 2^128 */
    uint64_t hi, lo;
};
struct shard_range {
    int64_t min_ms, max_ms; /* both inclusive */
    enum range_kind kind;
    uint64_t samples;
    struct range_digest digest;
};
struct shard_ranges {
    int64_t closed_ms; /* what is older is all there; INT64_MIN: nothing */
    /* All there up to this place of the log, and nothing from behind it, but that more may have
     * been deleted; 0/0: not known. With the history (shard_held) of a log that ends there. */
    struct place closed_at;
    uint64_t closed_history;
    int64_t floor_ms;       /* what is older may be gone, or not yet */
    struct shard_range *at; /* on the heap */
    uint32_t count, cap;
};
struct shard_span { /* both inclusive */
    int64_t min_ms, max_ms;
    bool only_bad; /* of an import: what can be read of it stays, too */
};

/* Whole replicas whose log begins at a base (shard_held.based), as opaque pieces. */
struct store_export {
    const uint32_t *shards; /* ascending; the caller's, until done */
    size_t shards_count;
    /* NULL: all of it. Else what is in blocks of that time, for each shard, and nothing of its log
     * and state. */
    const struct shard_span *spans;
    /* On the core; the next one is read when export_resume is called. false: no more are wanted. */
    bool (*piece)(struct store_export *job, struct sv bytes);
    void (*done)(struct store_export *job, enum status status, const struct err *err);
    void *private_;
};
struct import_shard {
    uint32_t shard, copy;
};
struct store_import {
    const struct import_shard *shards; /* ascending; the caller's, until it is stopped */
    size_t shards_count;
    /* NULL: shards of which nothing is held. Else an export of these spans, which takes the place
     * of what is held of them; a shard of which no range ends in its span any more, or that is
     * another by now, stays as it is: `refused` counts them, with the last piece. */
    const struct shard_span *spans;
    uint32_t refused;
    /* After each piece: the next one can be given. last: with this one all is durable and held, but
     * for shards that meanwhile were something else. An error: nothing more can be given. */
    void (*taken)(struct store_import *job, enum status status, bool last, const struct err *err);
    void *private_;
};

/* All that blocks have of a shard, or of any, is read now, to find what is bad. */
struct store_scrub {
    uint32_t shard;  /* UINT32_MAX: any */
    uint64_t blocks; /* outcome: so many were read */
    /* On the core, when what was found is RANGE_BAD; never once the node is stopping. */
    void (*done)(struct store_scrub *job);
};

/* What a whole replica has in ranges that are bad is given up: a person accepts that it is lost. */
struct store_lost {
    struct shard_span span;
    char *kept; /* where the bad file is, under a name that stays; NULL: it is missing */
};
struct store_loss {
    uint32_t shard;
    /* On the core, once, not inside loss_start: the ranges are bad no more, durably; or an error,
     * and nothing has changed. */
    void (*done)(struct store_loss *job, enum status status, const struct err *err);
    const struct store_lost *lost; /* outcome, while done runs */
    uint32_t lost_count;
};

struct store_ops {
    void *ctx;
    /* tail: of the log-only run that an INIT or LOG replica keeps; else of the replica with a head.
     * false: nothing is held. */
    bool (*held)(void *ctx, uint32_t shard, bool tail, struct shard_held *out);
    /* Where the closed epoch ended, by the epoch table of the whole replica. false: not known. */
    bool (*epoch_end)(void *ctx, uint32_t shard, uint32_t epoch, uint64_t *out_last_seq);
    /* What `history` of a whole replica is whose log ends in that epoch and is like ours. */
    uint64_t (*history)(void *ctx, uint32_t shard, uint32_t epoch);
    /* The entry at the front of the bytes. */
    enum status (*entry_next)(struct sv *rest, struct entry_place *out, struct err *err);
    /* From a primary: entries of one shard, which follow each other and what is held (what was held
     * before is passed over; ERR_CONFLICT: a gap, nothing of it is done). Rewrites the copy number,
     * hands them to the node's log, applies them (not for the tail). *out_position: this core's
     * stream of log appends, durable up to which they are when store tells so; also when all was
     * passed over. The first entries of a tail may be anywhere; of the rest the very first is an
     * EPOCH that names 0/0. An EPOCH may name a place before the end of what is held: that stays,
     * and `history` tells. */
    enum status (*follow)(void *ctx, uint32_t shard, uint32_t copy, bool tail, struct sv entries,
                          uint64_t *out_position, struct err *err);
    /* Around many calls of follow, within one turn; both may be NULL. They become one append to the
     * log, and one block for replicas_block; the positions told are right from follow_end on. */
    void (*follow_begin)(void *ctx);
    void (*follow_end)(void *ctx);
    /* What comes next, at most STORE_AHEAD_MAX of it: asks for the memory that following it will
     * touch, and waits for none. Changes nothing, checks nothing; may be NULL. */
    void (*follow_ahead)(void *ctx, const struct store_ahead *next, size_t count);
    /* As primary: opens the epoch with an EPOCH entry that names the end before it, 0/0 where there
     * is no log (nothing is written when the shard is in that epoch). */
    enum status (*open_epoch)(void *ctx, uint32_t shard, uint32_t epoch, uint64_t *out_position,
                              struct err *err);
    /* Forgets what is held (both kinds) and begins anew under that copy number. */
    void (*drop)(void *ctx, uint32_t shard, uint32_t copy);
    /* The end of this core's stream of log appends, as handed over. */
    uint64_t (*position)(void *ctx);
    /* Reads entries back from the node's log, on a worker: for each shard those behind `after` up
     * to what was durable when it began, in order. piece runs on the core with whole entries (of
     * several shards) until it returns false, and the next piece is read only when resume is
     * called; then done. Cancel: piece returns false. */
    enum status (*read)(void *ctx, struct store_read *job, struct err *err);
    void (*read_resume)(void *ctx, struct store_read *job);
    /* Several may be under way. ERR_NOMEM, ERR_UNAVAILABLE: there are no blocks here. */
    enum status (*scrub)(void *ctx, struct store_scrub *job);
    /* A range of some shard is bad. */
    bool (*has_bad)(void *ctx);
    /* *out: empty; its memory is the caller's. ERR_UNAVAILABLE: it is not whole here. */
    enum status (*ranges)(void *ctx, uint32_t shard, struct shard_ranges *out, struct err *err);
    /* The job lives until done, or until the store is gone. ERR_NOMEM, ERR_UNAVAILABLE: nothing of
     * it is in blocks. */
    enum status (*loss_start)(void *ctx, struct store_loss *job, struct err *err);
    /* ERR_UNAVAILABLE: one of the shards is not whole here, or the spans are not closed. With the
     * last piece given (resumed) comes done; until then the log keeps what comes behind the bases.
     */
    enum status (*export_start)(void *ctx, struct store_export *job, struct err *err);
    void (*export_resume)(void *ctx, struct store_export *job);
    /* import_piece: bytes as piece gave them elsewhere, in their order; copied. import_stop: taken
     * does not run any more, and what is unfinished is thrown away; also after the last. */
    enum status (*import_start)(void *ctx, struct store_import *job, struct err *err);
    void (*import_piece)(void *ctx, struct store_import *job, struct sv bytes);
    void (*import_stop)(void *ctx, struct store_import *job);
};
