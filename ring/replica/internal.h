/* SPDX-License-Identifier: Apache-2.0 */
/* ring/replica/internal.h: what the files of ring/replica share. Only these include it.
 *
 *   replicas.c  life, maps, reports, what others may ask
 *   shard.c     a shard's members, what all of them have (settled), waits that this completes
 *   block.c     entries as they go to the log, retained until settled
 *   send.c      frames to a node: entries to its members, answers
 *   catchup.c   members that are behind: what they hold, entries read back from the log
 *   transfer.c  members that hold nothing of a shard whose log begins at a base
 *   ranges.c    what two replicas have, compared
 *   sync.c      what is bad here, or differs, is asked for and, sync_take.c, taken from another
 *               replica; sync_give.c: given
 *   sound.c     before a replica is given up, the primary's own blocks are read through
 *   promote.c   opening a new epoch
 *   follow.c    the other side of APPEND
 *   answer.c    the other side of PLACES and FETCH */
#pragma once

#include "node/base/metrics.h"
#include "ring/replica/replica.h"
#include "ring/replica/wire.h"

enum {
    REPORT_MS = 100,
    TELL_SETTLED_REPORTS = 300,
    HOLDS_BAD_REPORTS = 10,
    RETRY_MS = 100,
    CALL_TIMEOUT_MS = 5000,
    PIECE_BYTES = 1 << 20,
    MEMBERS_MAX = 2 * RING_REPLICAS_MAX, /* an INIT replica in sync is two */
};

/* Entries of one call of the store, as handed to the log at that position; what is followed: of one
 * frame. */
struct block_item {
    struct list_node node; /* of shard->retained, ascending by place; on no list: released */
    struct block *block;
    struct place place;
    char *bytes;
    uint32_t bytes_len, shard;
};
struct block {
    struct list_node node; /* of replicas->blocks until the own log has it */
    uint64_t position;
    uint32_t items_count, items_held;
    bool told; /* its shards, that it is durable here: it goes with its last item */
    size_t bytes_len, bytes_held;
    char *bytes; /* behind the items */
    struct block_item items[];
};

/* What the primary knows of another node's run of the shard.
 *   UNKNOWN -> (PLACES) -> BEHIND -> (entries from the log) -> BEHIND or LIVE; LIVE -> UNKNOWN when
 *   its node did not answer. `waited`: it counts for settled; in_sync by the map or forever since
 *   caught up. */
enum member_state { MEMBER_UNKNOWN, MEMBER_BEHIND, MEMBER_LIVE };
struct member {
    uint16_t far; /* index of replicas->fars */
    uint8_t state;
    bool tail;      /* the log-only run */
    bool in_sync;   /* by the map */
    bool waited;    /* counts for settled */
    bool reported;  /* CAUGHT_UP */
    bool diverged;  /* must begin anew */
    bool answered;  /* PLACES, since it is UNKNOWN */
    bool dirty;     /* on its node's list */
    bool reading;   /* a job reads for it */
    bool told_open; /* that the shard is open in this epoch */
    bool has_log;   /* else it holds nothing: sent and acked are unused */
    bool begins;    /* a tail that holds nothing: it may begin anywhere */
    uint32_t copy;
    uint32_t asked_epoch; /* the shard's, when it was asked last */
    struct place sent, acked;
    uint8_t sound; /* enum sound_state, while diverged, and what follows */
    uint8_t sound_refusals;
    uint32_t sound_process;                  /* of the member: its node's incarnation */
    bool sound_told;                         /* that it cannot help */
    uint64_t sound_since_ns, sound_again_ns; /* held back; asked again no earlier */
    struct place goal;                       /* once waited: CAUGHT_UP when acked is there */
    struct shard_held whole_held, tail_held; /* as answered */
};

/* Of one that diverged: what keeps its primary from saying so (sound.h). */
enum sound_state { SOUND_NONE, SOUND_ASKED, SOUND_READING, SOUND_BAD, SOUND_OVER };

enum shard_role {
    ROLE_NONE,      /* no replica on this core */
    ROLE_FOLLOWER,  /* also a primary without the right to open: of another process of this node */
    ROLE_PROMOTING, /* primary, not open */
    ROLE_OPEN
};
/* What a batch needs of each of its shards stands together: they are many, and seldom in a cache.
 */
struct shard {
    uint8_t role;
    uint8_t members_count;
    bool own_tail;          /* this node's log for it is the log-only run */
    bool complete;          /* in this process: holds all that was acknowledged */
    bool is_init;           /* by the map, as is what follows */
    uint16_t primary;       /* its node's index */
    uint32_t epoch;         /* of the map */
    uint32_t copy;          /* of this node's replica */
    uint32_t told_open;     /* the epoch in which its primary said that it is open */
    unsigned pins;          /* jobs that read for members: nothing is released */
    struct member *members; /* members_count; NULL unless primary */
    struct list_node retained;
    struct list_node waits; /* of struct shard_wait, ascending by place */
    struct place end;       /* of what went to the log here */
    struct place own;       /* of what is durable here */
    struct place settled;   /* that all who are waited for have; at a follower: as it was told */
    struct place released;  /* what comes behind it is retained */
    struct place open_at;   /* PROMOTING: open when settled is there */
    uint64_t retry_ns;      /* PROMOTING: not before; 0: at once */
    bool fetching, opening;
    bool incomplete;      /* REPORT_INCOMPLETE */
    uint8_t synced_early; /* so often it was too early to compare it (sync.c) */
    uint32_t synced;      /* the round in which it was */
};

struct shard_wait {
    struct list_node node;
    struct replica_wait *wait;
    uint32_t shard;
    struct place place;
};

/* Another node, as far as this core sends to it. */
struct far {
    node_id id;           /* 0: free */
    uint32_t incarnation; /* of its process, by the map */
    unsigned users;
    struct replicas *replicas;
    struct list_node frames; /* in flight */
    unsigned frames_count;
    uint32_t *dirty; /* shards with members that have something to be sent */
    size_t dirty_count, dirty_cap;
    bool asking;              /* PLACES under way */
    bool broken;              /* waits for the timer */
    uint64_t silent_since_ns; /* it has not answered since; 0: it does */
    struct timer retry;
    struct peer_call *places_call;
    struct catchup *job;
    struct transfer *transfer;
};

struct frame_part {
    uint32_t shard, epoch, copy;
    bool tail, open;
    struct place upto;
    bool has_entries;
};
struct append_frame {
    struct list_node node;
    struct far *far;
    struct peer_call *call;
    struct frame_part *parts;
    size_t parts_count;
    struct catchup *job; /* NULL: live */
    uint64_t sent_ns;
};

struct replicas {
    struct core *core;
    struct replica_options o;
    struct ring_map *map;
    int self; /* index in the map, -1 */
    const uint16_t *core_of;
    uint32_t shards_count;
    struct shard *shards;
    uint64_t *readable; /* bits of the shards that may be read here, under lease, by this map */
    bool may_open;      /* the map knows this process of the node */
    /* No shard of this core has a member elsewhere: nothing is retained, and what is waited for is
     * the own log alone. Places (end, own, settled) are not kept then but asked of the store at the
     * next map. It saves reading every entry twice. */
    bool alone;
    uint64_t alone_position; /* of the last block */
    struct far **fars;       /* each on the heap: timers and calls point to them */
    size_t fars_count;
    struct list_node blocks; /* not durable here */
    uint64_t durable;
    enum status log_failed;
    struct err log_err;
    uint64_t retained_bytes;
    uint64_t unsynced_since_ns; /* the oldest block that is not durable here, at the earliest */
    struct list_node waits;     /* of struct replica_wait: open, and */
    struct list_node ready;     /* those whose done comes from the timer */
    struct list_node served;    /* of struct served */
    struct list_node position_waits;
    struct list_node fetches,
        jobs; /* of struct fetch, struct catchup: freed with it after a crash */
    struct list_node transfers, takings; /* of struct transfer, struct taking: the same */
    struct list_node givings;            /* of struct giving */
    bool holds_bad; /* shards are not given away, since something of them is bad */
    uint64_t holds_told_ns;
    struct sync *sync;
    struct {
        struct store_scrub scrub;
        bool reads, any; /* the store does; some member is held back */
    } sound;
    uint32_t streams; /* transfers begun */
    struct timer soon, report;
    bool stopping, report_wanted;
    unsigned reports_done;
    bool follow_failed; /* a block of what is followed could not be retained */
    struct shard_report *reports;
    size_t reports_cap;
    struct {
        struct metric *appends, *failed, *bytes, *promotions, *fills, *transfers, *retained;
    } metrics;
};

static inline struct place place_next(struct place p) {
    return (struct place){p.epoch, p.seq + 1};
}
static inline bool place_is_zero(struct place p) {
    return p.epoch == 0;
}
static inline uint16_t far_index(const struct far *far) {
    uint16_t i = 0;
    while (far->replicas->fars[i] != far)
        i++;
    return i;
}
static inline struct shard *shard_at(struct replicas *r, uint32_t shard) {
    return &r->shards[shard];
}

/* A batch is of hundreds of shards, and each is in other memory. */
static inline void shard_prefetch(const struct replicas *r, uint32_t shard) {
    const char *at = (const char *)&r->shards[shard];
    for (size_t i = 0; i < sizeof(struct shard); i += 64)
        __builtin_prefetch(at + i, 1);
}

/* replicas.c */
void replicas_want_report(struct replicas *r);
void replicas_soon(struct replicas *r);
void replicas_changed(struct replicas *r);
/* `complete` has changed, or the map. */
void shard_set_readable(struct replicas *r, uint32_t shard);
/* The follower has all that was acknowledged, if the map says so and its primary has opened. */
void replicas_complete(struct replicas *r, uint32_t shard);

/* shard.c */
/* The own log has the shard's entries up to there. */
void shard_own_durable(struct replicas *r, uint32_t shard, struct place place);
void shard_settle(struct replicas *r, uint32_t shard);
void shard_fail_waits(struct replicas *r, uint32_t shard, const struct err *err);
struct member *shard_member(struct shard *s, uint16_t far, bool tail);
void wait_check(struct replicas *r, struct replica_wait *wait);
void waits_end_ready(struct replicas *r);
void waits_fail_own(struct replicas *r, const struct err *err); /* those of a node alone */
void member_lost(struct replicas *r, uint32_t shard, struct member *m);
MUST_USE enum status shard_set_members(struct replicas *r, uint32_t shard);
void shard_free_members(struct replicas *r, uint32_t shard);

/* block.c */
/* Nothing is retained before this; each shard's end counts as durable here when what has been
 * handed to the log so far is. */
MUST_USE enum status blocks_begin(struct replicas *r);
void blocks_free_all(struct replicas *r); /* after all shards have released theirs */
MUST_USE enum status block_add(struct replicas *r, uint64_t position, const struct store_block *of);
/* There was no memory for it: of its shards nothing is retained. */
void block_not_added(struct replicas *r, const struct store_block *of);
void blocks_durable(struct replicas *r, uint64_t position);
void shard_release(struct replicas *r, uint32_t shard, struct place upto);
void shard_release_all(struct replicas *r, uint32_t shard);
/* The first retained item behind the place; NULL: none. */
struct block_item *shard_retained_after(struct shard *s, struct place after);

/* send.c */
int far_get(struct replicas *r, node_id id); /* its index; -1: no memory */
void far_put(struct replicas *r, uint16_t far);
void member_dirty(struct replicas *r, uint32_t shard, struct member *m);
void far_flush(struct far *far);
void far_broke(struct far *far);
void far_stop(struct far *far);
void far_free(struct far *far); /* memory only, its calls too */
bool far_send(struct far *far, struct buf *payload, struct frame_part *parts, size_t count,
              struct catchup *job);

/* catchup.c */
void far_ask(struct far *far); /* PLACES for members that are UNKNOWN, then entries from the log */
void member_place(struct replicas *r, uint32_t shard, struct member *m);
/* A whole log that ends so is the beginning of ours. */
bool held_is_on_our_log(const struct replicas *r, uint32_t shard, const struct shard_held *held);
void catchup_start(struct far *far);
void catchup_answered(struct catchup *job, bool ok);
void catchup_stop(struct far *far);
void catchup_free_all(struct replicas *r);

/* transfer.c */
/* It holds nothing, and the log here begins at a base. */
/* No other process, core or transfer of this node uses it. */
uint64_t stream_new(struct replicas *r);
/* Of one core of a process. */
static inline bool stream_is_of_same(uint64_t a, uint64_t b) {
    return a >> 24 == b >> 24;
}
bool transfer_is_needed(struct replicas *r, uint32_t shard, const struct member *m);
void transfer_start(struct far *far);
void transfer_stop(struct far *far);
void served_transfer(struct replicas *r, struct peer_request *req, struct sv payload);
void transfers_look(struct replicas *r); /* what was held back may be good again, or given up */
void transfers_stop(struct replicas *r); /* what is taken; giving ends with the fars */
void transfers_free_all(struct replicas *r);

/* promote.c */
void promote_begin(struct replicas *r, uint32_t shard);
void promote_step(struct replicas *r, uint32_t shard);
void promote_free_all(struct replicas *r);

/* follow.c, answer.c: requests of others, of which each core does its part */
struct served;
void served_append(struct replicas *r, struct peer_request *req, struct sv payload);
void served_places(struct replicas *r, struct peer_request *req, struct sv payload);
void served_fetch(struct replicas *r, struct peer_request *req, struct sv payload);
void served_free_all(struct replicas *r);
/* done may run inside. */
void replicas_wait_position(struct replicas *r, struct position_wait *w, uint64_t position,
                            void (*done)(struct position_wait *w, enum status status));
/* May the asker, as primary of that epoch, tell this node about the shard? */
enum wire_result shard_check_asker(struct replicas *r, uint32_t shard, uint32_t epoch,
                                   node_id from);
