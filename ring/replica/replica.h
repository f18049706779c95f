/* SPDX-License-Identifier: Apache-2.0 */
/* ring/replica/replica.h: replication of the shards of one core, as their primary and as a follower
 * of other primaries. Knows positions and opaque entries only (store_ops.h). One per core.
 *
 * Primary of a shard
 *   CLOSED -> PROMOTING -> OPEN; any -> CLOSED by a map
 *   PROMOTING (a map made this node primary of a new epoch, or this process is new): asks every
 *   in-sync member, and the others that can be reached, what it holds (FRAME_PLACES: answered only
 *   by who has that map installed, so it takes nothing older any more, and only when what it holds
 *   is durable); fetches the longest tail it lacks (FRAME_FETCH); opens the epoch; sends every
 *   member what it lacks; OPEN when all in-sync members are durable up to there.
 *   Entries missing that nobody has: REPORT_INCOMPLETE. Who holds more than the closed epoch's end,
 *   or an epoch this log does not know: REPORT_DIVERGED; of a complete replica when the primary's
 *   own blocks have been read, and what is bad of them was fetched as far as possible (sound.h).
 *
 * Streams. The bytes that the store hands to the log go, block by block (one per store_write), to
 * each follower: one stream per (core, node), frames FRAME_APPEND in flight up to a bound. A
 * block's number is the store's log position, so one number says how far each stream is durable
 * (ring/ack.h). Blocks are retained until all that need them have answered and the own log is
 * durable; beyond retained_bytes_max writes are refused. A broken stream is sent again from the
 * last answered block. Followers retain too, until the primary says that all have it (`settled` in
 * FRAME_APPEND): so a promoted follower can give a LOG substitute what its predecessor may lack.
 *
 * Members of a shard at its primary (map: in sync or not)
 *   UNKNOWN -> (places) -> FETCHING from the log (store_ops.read, one scan for all shards of a
 * node)
 *   or, holding nothing where the log begins at a base, as a whole (FRAME_TRANSFER), then UNKNOWN
 *   -> LIVE (gets blocks as they come) -> WAITED (not in sync, less than 1 s behind: waited for and
 *   reported CAUGHT_UP, irrevocably) -> in sync by the map. LOG substitutes that a map brings in
 * are waited for at once and get what is retained beyond what the removed member answered.
 *
 * Follower: FRAME_APPEND is refused when its epoch is older than the installed map's (STALE) or
 * newer (LATER), or from a node that is not that epoch's primary; a gap is answered with what is
 * held. Answered when durable and applied.
 *
 * Thread: the core. Reports go out through `report`, level-triggered, at most every 100 ms. */
#pragma once

#include "ring/ack.h"
#include "ring/control/heartbeat.h"
#include "ring/member/lease.h"
#include "ring/peers.h"
#include "ring/replica/store_ops.h"

struct replica_options {
    node_id self;
    uint32_t incarnation; /* of this process: it opens shards only by maps that know it */
    const struct store_ops *store;
    struct peers *peers; /* of this core; NULL: alone */
    const struct lease *lease;
    uint64_t retained_bytes_max; /* 256 MiB */
    uint64_t append_bytes_max;   /* of a frame: 4 MiB */
    unsigned appends_in_flight;  /* per stream: 8 */
    uint64_t sync_ms; /* how often some shards are compared with their primaries' (sync.h); 0: never
                       */
    /* What this core has to say to the controller (ring/control/heartbeat.h); arrays are borrowed.
     */
    void (*report)(void *ctx, const struct shard_report *reports, size_t reports_count,
                   const struct append_lag *lags, size_t lags_count, uint32_t unsynced_age_ms);
    /* A shard of this core became writable, readable, or ceased to be. */
    void (*changed)(void *ctx);
    void *ctx;
};
struct replicas;
MUST_USE enum status replicas_new(struct core *core, const struct replica_options *options,
                                  struct replicas **out, struct err *err);
void replicas_stop(struct replicas *r);
void replicas_free(struct replicas *r);

/* A map is in force here. core_of: by shard, the local core or 0xffff; shards of this core that
 * were another's or nobody's before begin; those that go are dropped. Both are borrowed (map: a
 * reference is taken). restarted: the first map after this process began. */
void replicas_install(struct replicas *r, struct ring_map *map, const uint16_t *core_of);

/* Up to where every in-sync member has the shard's log, as far as is known here. */
struct place replicas_settled(const struct replicas *r, uint32_t shard);
/* Some member of a shard that this core leads holds the log only. */
bool replicas_has_tail(const struct replicas *r, uint32_t shard);
/* What the store holds of shards that held nothing may be another by now: an import. */
void replicas_held_changed(struct replicas *r);
/* The store hands a block to the log, at that position; runs inside its call. */
void replicas_block(struct replicas *r, uint64_t position, const struct store_block *block);
/* This node's own log is durable up to position, or has failed. */
void replicas_durable(struct replicas *r, uint64_t position, enum status status,
                      const struct err *err);

/* May a write for this shard be taken, here and now? ERR_CONFLICT: not primary (of this epoch);
 * ERR_UNAVAILABLE: being opened, no lease, fewer in sync than min_insync, retained bytes at their
 * limit, log failed. now_ns: core_mono_ns in this turn. */
MUST_USE enum status replicas_may_write(const struct replicas *r, uint32_t shard, uint64_t now_ns,
                                        struct err *err);
/* May it be read, in this epoch of the asker's map? */
bool replicas_may_read(const struct replicas *r, uint32_t shard, uint32_t epoch);
/* The same for many, as bits by shard of the asker's map: those that may not are cleared. */
void replicas_keep_readable(const struct replicas *r, const struct ring_map *asked,
                            uint64_t *shards);

/* Waits until every in-sync (and WAITED) member of the shards is durable up to this core's log end
 * as of now. When the sets change meanwhile the wait is made anew with the new ones; when a shard
 * is no longer this core's to write in the same epoch, or the lease is not held at the end, it ends
 * with ERR_UNAVAILABLE. done never runs inside the call. shards: ascending, unique; copied. */
struct shard_wait;
struct position_wait { /* private: until the own log is durable up to a position */
    struct list_node node;
    uint64_t position;
    void (*done)(struct position_wait *w, enum status status);
};
struct replica_wait {
    /* private */
    struct list_node node;
    struct shard_wait *items;
    size_t count, open;
    struct replicas *replicas;
    struct position_wait own; /* of a node alone */
    enum status failed;
    struct err err;
    void (*done)(struct replica_wait *wait, enum status status, const struct err *err);
};
void replicas_wait(struct replicas *r, struct replica_wait *wait, const uint32_t *shards,
                   size_t count,
                   void (*done)(struct replica_wait *wait, enum status status,
                                const struct err *err));

/* peers_handle on every core: dispatches to the core that owns each shard. ctx: struct replicas of
 * the listening core. FRAME_APPEND, FRAME_PLACES, FRAME_FETCH, FRAME_TRANSFER,
 * FRAME_RANGES, FRAME_REPAIR, FRAME_VERIFY, FRAME_LOSS. */
void replicas_on_frame(struct peer_request *req, struct sv payload, void *ctx);

struct replica_counts {
    uint32_t primaries, open, promoting, following, readable, filling;
    uint64_t retained_bytes;
};
void replicas_counts(const struct replicas *r, struct replica_counts *out);
/* One line for a person: a shard as this core sees it. */
void replicas_describe(const struct replicas *r, uint32_t shard, struct buf *out);
/* Metrics: cairn_replica_appends_total{result}, cairn_replica_append_bytes_total,
 * cairn_replica_lag_seconds{node}, cairn_replica_promotions_total, cairn_replica_fills_total,
 * cairn_replica_retained_bytes, cairn_replica_shards{state}. */
