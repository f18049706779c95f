/* SPDX-License-Identifier: Apache-2.0 */
/* storage/store.h: a core's part of the data: its shards' places in their logs (epoch, seq, newest
 * time, series numbers), its head, and the way in: judge, order, hand to the log, apply. Recovery
 * comes in by the same entries.
 *
 * Write path on the primary's core, within one turn: judge each sample against the head -> number
 * new series -> one WRITE entry per shard with the next seq -> entries to the log core -> apply to
 * the head. Durability is reported by position: each handed buffer gets the next position of this
 * core's stream; `durable` runs when the log says so (ring/ack.h counts it as this node's own
 * progress). Thread: the owning core; store_recover at start-up before the loops run. */
#pragma once

#include <stdint.h>

#include "ring/replica/store_ops.h"
#include "storage/archive/manifest.h"
#include "storage/exemplars.h"
#include "storage/head.h"
#include "storage/log.h"
#include "storage/metadata.h"

struct store_options {
    struct head_options head;
    uint32_t shards_count;
    uint32_t exemplars_max;      /* of this core; 0: none are kept */
    uint64_t metadata_bytes_max; /* of this core: names beyond it are not taken; 0: no bound */
    uint64_t
        memory_bytes_max; /* of this core's head: beyond it new series get VERDICT_LIMIT; 0: none */
    int64_t block_range_ms; /* CUTs are at its multiples: 2 h */
};

struct store;
MUST_USE enum status store_new(struct core *core, const struct store_options *options,
                               struct store **out, struct err *err);
void store_free(struct store *store); /* memory only */
struct head *store_head(struct store *store);
struct core *store_core(struct store *store);
/* Limits of new series from now on; of several stores together where options.head.limits_shares
 * says so. Copied. ERR_NOMEM: they are as they were. */
struct series_limits {
    uint64_t series_max; /* 0: none */
    const struct head_limit *at;
    size_t count;
};
MUST_USE enum status store_set_limits(struct store *store, const struct series_limits *limits);
/* For reading, on the owning core. */
const struct exemplars *store_exemplars(const struct store *store);
const struct metadata *store_metadata(const struct store *store);

/* What the map says of this node's replica of a shard (ring/map.h).
 *   FULL  a head, from the shard's first entry on
 *   INIT  the same, being filled; in_sync: besides, the tail of one copy number less goes on
 *   LOG   a tail only: a run of entries that are in the log and nowhere else, from anywhere */
enum store_role { STORE_FULL = 1, STORE_INIT, STORE_LOG };
struct store_shard_options {
    uint32_t shard;
    enum store_role role;
    bool in_sync; /* asked for INIT only */
    uint32_t copy;
    uint32_t epoch;
};
/* The shard is this core's from now on, in that role. Before recovery, and with every map after it:
 * what the map makes void (a lower copy number; the tail of a FULL replica) is forgotten, and a
 * newer epoch must be opened before it is written in. The map must be on disk before entries are
 * taken under its copy numbers. */
MUST_USE enum status store_shard_open(struct store *store,
                                      const struct store_shard_options *options, struct err *err);
bool store_has_shard(const struct store *store, uint32_t shard);
struct ring_map;
/* What the map says of the shard at that node (its index); false: nothing of it is there. */
bool store_shard_of_map(const struct ring_map *map, int node, uint32_t shard,
                        struct store_shard_options *out);

/* One entry of the recovered log. Entries of a shard under one copy number must follow each other:
 * seq by seq within an epoch, and from epoch to epoch by an EPOCH entry that names the end of the
 * one before, or an earlier place (what is held behind that was never acknowledged, and stays). The
 * very first entry is an EPOCH that names 0/0.
 * Entries of shards that are not open, of a void copy number, and those applied before are passed
 * over; a copy number above the map's begins the replica anew. The first gap (or entry that
 * contradicts the shard's) makes the shard damaged: that one and its later entries are not applied,
 * the reason is kept for store_damage, and OK is returned. ERR_NOMEM, ERR_UNSUPPORTED: the entry
 * was not, or not wholly, applied; recovery must stop. */
MUST_USE enum status store_recover(struct store *store, const struct entry *e, struct err *err);
/* What is recovered from here on is of the log file of that first frame (log_options.on_file). */
void store_recover_file(struct store *store, uint64_t first_frame);
/* Frames of the log ahead of what is recovered from here on are lost. A shard with an entry behind
 * them shows whether it had some in them; one without is taken for damaged when store_set_log ends
 * recovery. */
void store_recover_lost(struct store *store, const struct err *why);
/* Shards whose log has a gap, or may have; they must not be served. Returns the count, fills up to
 * max. */
size_t store_damaged_shards(const struct store *store, uint32_t *out, size_t max);
/* False when the shard is not damaged. */
bool store_damage(const struct store *store, uint32_t shard, struct err *out);

/* Before the first store_write. */
void store_set_log(struct store *store, struct log *log,
                   void (*durable)(struct store *store, uint64_t position, enum status status,
                                   const struct err *err, void *ctx),
                   void *ctx);
/* Runs inside the call (of store_write, store_offer, store_open_epoch; of store_follow, or in its
 * place store_follow_end) before a buffer of entries goes to the log: for replication. */
void store_set_block_hook(struct store *store,
                          void (*block)(struct store *store, uint64_t position,
                                        const struct store_block *block, void *ctx),
                          void *ctx);

/* What ring/replica/store_ops.h asks for, which says what each does. */
bool store_held(const struct store *store, uint32_t shard, bool tail, struct shard_held *out);
bool store_epoch_end(const struct store *store, uint32_t shard, uint32_t epoch,
                     uint64_t *out_last_seq);
/* A hash of where each epoch before that one ended here: what shard_held.history is of a log that
 * ends in it. */
uint64_t store_history(const struct store *store, uint32_t shard, uint32_t epoch);
struct store_follow {
    uint32_t shard, copy;
    bool tail;
    struct sv entries;
};
/* ERR_CONFLICT also: not this core's, or the copy number is not what goes on here. ERR_CORRUPT: an
 * entry cannot be read or contradicts the shard; ERR_NOMEM: those before it are done. */
MUST_USE enum status store_follow(struct store *store, const struct store_follow *f,
                                  uint64_t *out_position, struct err *err);
/* What is followed in between (of many shards, within one turn of the core, and nothing else is
 * written) goes to the log at once: one buffer for a frame, not one for each of its shards.
 * Positions that store_follow tells are right from _end on. */
void store_follow_begin(struct store *store);
void store_follow_end(struct store *store);
/* See store_ops.h. */
struct store_ahead;
void store_follow_ahead(const struct store *store, const struct store_ahead *next, size_t count);
/* From here on store_write takes the shard (FULL), or store_offer (INIT, LOG). An EPOCH entry is
 * written, unless the log here is in that epoch. ERR_CONFLICT: the
 * log here is in a later epoch. */
MUST_USE enum status store_open_epoch(struct store *store, uint32_t shard, uint32_t epoch,
                                      uint64_t *out_position, struct err *err);
/* copy 0: the shard is no longer this core's. Live selections keep what they see; those that are
 * still selecting may or may not find the shard's series. */
void store_drop(struct store *store, uint32_t shard, uint32_t copy);
/* The same in the simulator and out of it: reading happens in work_submit. done runs with
 * ERR_CANCELED when piece returned false, with ERR_CORRUPT when an entry that should be there is
 * not. Only with the last piece taken (resume) comes done. */
MUST_USE enum status store_read_start(struct store *store, struct store_read *job, struct err *err);
void store_read_resume(struct store *store, struct store_read *job);
/* All of them, for replication. */
void store_ops_init(struct store_ops *out, struct store *store);

/* Beside samples. Exemplars are best effort: one whose series is not known, that is not valid, or
 * that the rules of storage/exemplars.h do not take is passed over, as is metadata that is held
 * already, not valid, or beyond the bound. */
struct write_exemplar {
    series_id id;
    uint32_t shard;
    int64_t time_ms;
    double value;
    struct sv labels; /* canonical */
};
struct write_metadata {
    uint32_t shard; /* metadata_shard() of the name */
    struct entry_metadata item;
};

/* A batch for shards of this core, in columns, sorted or grouped by shard. Everything is borrowed
 * during the call only. A shard's exemplars and metadata go into the entry of its samples where all
 * are in the same order of shards. */
struct write_columns {
    size_t count;
    const series_id *ids;
    const uint32_t *shards;
    const int64_t *times_ms;
    const double *values;
    const struct sv *labels;  /* canonical bytes, ptr NULL where not known; NULL: none is */
    const int64_t *starts_ms; /* of floats, 0 where not known; NULL: none is */
    /* bytes that keep the rules of histogram_check; ptr NULL: the sample is a float. NULL: all are.
     * Of a histogram the value is not looked at, and its start is in its bytes. */
    const struct sv *histograms;
    const struct write_exemplar *exemplars;
    const struct write_metadata *metadata;
    size_t exemplars_count, metadata_count;
};
struct write_result {
    uint32_t counts[VERDICT_COUNT];
    uint32_t histograms_written; /* of those ACCEPT or NOOP */
    uint32_t exemplars_kept, metadata_kept;
    /* first refused sample (DUPLICATE, TOO_OLD, OUT_OF_ORDER, FUTURE, LIMIT): its index and
     * Prometheus' text */
    bool refused;
    enum verdict first_verdict;
    size_t first_index;
    char first_text[400];
    size_t first_plain_len; /* remote write 1.0 answers with that much of it; 2.0 with all: " for
                               series {...}" */
    uint64_t position; /* wait for `durable` up to here: the log's end as of now, even if nothing
                          was kept */
};
/* Nothing is done when labels are missing for an unknown id: returns ERR_UNAVAILABLE with their
 * indexes in *out_unknown (from the arena). A sample without labels right behind one of the same id
 * that has them is not missing any. ERR_CONFLICT: a shard is not this core's, or not opened for
 * writing, or the id not of that shard (leases are the caller's). ERR_CORRUPT: the shard is
 * damaged, or labels are not canonical or not those of the id. ERR_IO: the log is closed, nothing
 * is done; ERR_UNAVAILABLE without unknown ids: its disk is full. ERR_NOMEM or ERR_CORRUPT may come
 * in the middle: what was judged before is kept and in the log; a resend is harmless. Verdicts
 * count the window from the shard's newest time before the batch, so that a batch does not make its
 * own samples too old; within a series each sample is judged after those before it. cluster_now_ms:
 * for the 10-minute future cap. */
MUST_USE enum status store_write(struct store *store, const struct write_columns *columns,
                                 int64_t cluster_now_ms, struct arena *scratch,
                                 struct write_result *out, uint32_t **out_unknown,
                                 size_t *out_unknown_count, struct err *err);

/* The same for shards that have no living copy with a head (role INIT or LOG, opened by
 * store_open_epoch): nothing is judged but the future and the limits of new series; who applies it
 * judges. Labels of ids that are new in the epoch are asked for as unknown ones are. */
MUST_USE enum status store_offer(struct store *store, const struct write_columns *columns,
                                 int64_t cluster_now_ms, struct arena *scratch,
                                 struct write_result *out, uint32_t **out_unknown,
                                 size_t *out_unknown_count, struct err *err);

struct shard_place {
    uint32_t epoch;
    uint64_t seq;
    int64_t newest_ms;
    uint32_t series_count;
};
/* The end of the shard's log here; false: not this core's. */
bool store_shard_place(const struct store *store, uint32_t shard, struct shard_place *out);
/* -- CUT, DELETE, FLOOR, and what is in blocks (storage/archive). A shard is cut at the newest
 * multiple of block_range_ms that is older than the out-of-order window (an hour at least) before
 * its newest sample, and up to its newest sample when nothing was written for three hours (a minute
 * while it has none), so that it needs no old file of the log. */
struct store_may { /* leases and the like are the caller's */
    bool (*write)(void *ctx, uint32_t shard);
    void *ctx;
};
/* Writes a CUT to each shard that is open for writing here and due. ERR_NOMEM, or as store_write
 * has them: some may be written. */
MUST_USE enum status store_cut_due(struct store *store, uint64_t now_ns,
                                   const struct store_may *may, struct err *err);
struct store_floors {
    struct store_may may;
    int64_t retention_ms; /* before the shard's newest; 0: for ever */
    /* The same for samples and rows of 5 m (storage/ended.h); 0: as long as anything. */
    int64_t raw_ms, fine_ms;
    bool has_fine, has_coarse; /* rows of 5 m, of 1 h are made: without one nothing ends */
    int64_t at_least_ms;       /* what is older goes anyhow; INT64_MIN: nothing */
};
/* The same with a FLOOR to each shard whose floor is to rise; only what is in blocks goes, and by
 * resolution only that of which this replica has the rows, durably. */
MUST_USE enum status store_floor_due(struct store *store, const struct store_floors *floors,
                                     struct err *err);
/* Deletes samples of the series that match; done when it is durable up to *out_position on the
 * in-sync set. ERR_CONFLICT as store_write. */
MUST_USE enum status store_delete(struct store *store, uint32_t shard, const struct entry_delete *d,
                                  uint64_t *out_position, struct err *err);

/* Up to where every in-sync member has the shard's log (replication tells). Only what is closed by
 * a CUT up to there goes to blocks, and the base only rises up to there: who leads next must not
 * need from the log what is in blocks only. Without it: what is durable here. */
void store_set_settled(struct store *store, struct place (*settled)(void *ctx, uint32_t shard),
                       void *ctx);

/* Must a sample that is held already, and comes again, be logged again? Else what is acknowledged
 * of it is that it is held here. Where a member has the log only, another copy may be filled from
 * that; and this one may hold what it took without its being acknowledged, and what that log has
 * not: an earlier leader went on without it. Asked of such samples only; without it: never. */
void store_set_repeats(struct store *store, bool (*repeats)(void *ctx, uint32_t shard), void *ctx);

/* Writes to each shard that is open for writing here the DELETEs of retention by matcher that are
 * due, some at a time: what is left comes with the next call. Errors as store_cut_due. */
struct retention;
MUST_USE enum status store_retain_due(struct store *store, const struct store_may *may,
                                      const struct retention *retention, struct err *err);

struct store_archived {
    uint32_t copy;
    bool has_head; /* else its role is LOG */
    bool damaged;
    int64_t from_ms, cut_ms, floor_ms;
    struct ended ended;
    const struct tombstone *tombstones; /* borrowed until the store changes */
    uint32_t tombstones_count;
};
/* false: not this core's. */
bool store_shard_archive(const struct store *store, uint32_t shard, struct store_archived *out);
/* Of no shard have samples ended beyond it; 0: of none. */
int64_t store_ended_max(const struct store *store);
/* There are closed ranges that are not in blocks, or its base can rise, or more has ended than the
 * manifest says. */
bool store_shard_is_due(const struct store *store, uint32_t shard);
/* The copy number of what this core has of the shard; 0: it has none. */
uint32_t store_shard_copy(const struct store *store, uint32_t shard);
/* What is older does not change any more, durably. */
int64_t store_shard_closed(const struct store *store, uint32_t shard);
/* The CUT by which what is in blocks was closed; 0/0: nothing is in blocks. Blocks have nothing of
 * what came behind it in the log, since from there on older samples are refused. They do have of
 * what came between the base (shard_held.first) and it: the base is before all that is newer than
 * the blocks. But for deletions, which tombstones tell. */
struct place store_shard_closed_at(const struct store *store, uint32_t shard);
/* What the manifest is to say once all that is older than from_ms is in blocks. ERR_NOMEM. */
MUST_USE enum status store_shard_record(const struct store *store, uint32_t shard, int64_t from_ms,
                                        struct manifest_shard *out);
/* The manifest says so, durably, and store_set_blocks has given the blocks. Passed over when the
 * copy number is another by now. */
void store_shard_advance(struct store *store, const struct manifest_shard *s);
/* The same for a shard of which nothing is held (*out_taken), as at start-up before any entry is
 * recovered: its log goes on behind the base. What a head snapshot gave is kept and advanced, but
 * where it ends before the base. */
MUST_USE enum status store_shard_base(struct store *store, const struct manifest_shard *s,
                                      bool *out_taken, struct err *err);
/* The first file of the log that this core needs; UINT64_MAX: none. All, while a shard is damaged.
 */
uint64_t store_log_floor(const struct store *store);
/* Where this core's blocks are; before the first flush, export or import. */
struct archive_core;
void store_set_archive(struct store *store, struct archive_core *archive);
/* The blocks that count now (storage/archive/block_list.h): takes the reference. */
struct block_list;
void store_set_blocks(struct store *store, struct block_list *list);
struct block_list *store_blocks(const struct store *store); /* borrowed; may be NULL */
/* Metrics: prometheus_tsdb_head_samples_appended_total, prometheus_tsdb_out_of_order_samples_total,
 * prometheus_tsdb_too_old_samples_total, prometheus_tsdb_out_of_bound_samples_total,
 * prometheus_tsdb_exemplar_exemplars_appended_total,
 * prometheus_tsdb_exemplar_out_of_order_exemplars_total,
 * prometheus_tsdb_exemplar_exemplars_in_storage, cairn_new_series_refused_total. */
