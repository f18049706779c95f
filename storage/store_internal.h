/* SPDX-License-Identifier: Apache-2.0 */
/* storage/store_internal.h: what the store*.c files share. Only these
 * include it. */
#pragma once

#include "node/base/map.h"
#include "node/base/metrics.h"
#include "ring/replica/store_ops.h"
#include "storage/head_histograms.h"
#include "storage/store.h"

/* What is held of a shard's log under one copy number. */
struct held_mark { /* what lies behind `place` lies in this log file or a later one */
    uint64_t file;
    struct place place;
};
struct held_log {
    uint32_t copy;
    bool has_log; /* first and end are entries; before, they are 0/0 */
    bool damaged;
    bool suspect;     /* the log has lost frames since its last entry was recovered */
    bool based;       /* `first` is a CUT, and what was before it is in blocks */
    bool marks_short; /* a mark was lost for lack of memory */
    struct place end;
    uint64_t marked_file; /* of the last mark that was due */
    struct place first;
    struct held_mark *marks;
    uint32_t marks_count, marks_cap;
    char *damage; /* owned; NULL also when there was no memory for it */
};

struct tail_series {
    series_id id;
    uint32_t number;
};
/* A log-only run: nothing but its places, and as a primary's the numbers of the series offered. */
struct store_tail {
    struct store *store;
    struct held_log log;
    uint32_t series_count;      /* of the epoch, numbered so far */
    struct tail_series *series; /* those numbered here since the process began */
    struct map by_id;           /* of their places there */
    uint32_t offered_count, offered_cap;
};

enum { EPOCHS_MAX = 256 };
struct epoch_end {
    uint32_t epoch;
    uint64_t last_seq;
    uint64_t history; /* hash of this end and of all before it, also of those not kept any more */
};

struct shard_cut {
    struct place place;
    int64_t to_ms, newest_ms; /* the shard's, behind it */
    uint64_t position;        /* durable when that is */
};

/* What a batch needs of each of its shards stands together: they are many, and seldom in a cache.
 */
struct store_shard {
    bool open;    /* this core's */
    bool writing; /* open_epoch ran, and nothing since made another node the writer */
    uint8_t role; /* enum store_role */
    uint32_t refs_count, refs_cap;
    uint32_t *refs;          /* by series number: what entries of this epoch name */
    int64_t newest_ms;       /* INT64_MIN: no sample */
    int64_t cut_ms;          /* older samples are not taken any more; INT64_MIN */
    struct store_tail *tail; /* NULL: nothing is held of it */
    struct held_log log;
    uint32_t map_epoch;
    uint32_t tail_copy;       /* 0: keeps no tail */
    struct epoch_end *epochs; /* closed ones of `log`, ascending */
    uint32_t epochs_count, epochs_cap;

    /* store_cut.c, store_base.c; times are INT64_MIN where there is none */
    int64_t from_ms;                /* older ones are in blocks, and the head does not show them */
    int64_t floor_ms;               /* older ones have ended their retention */
    struct ended ended, ended_told; /* told: as the manifest has it */
    struct place ended_place;       /* of the FLOOR that said it last */
    uint64_t ended_position;        /* durable when that is */
    struct place base;
    int64_t base_cut_ms, base_newest_ms; /* cut_ms and newest_ms at base */
    struct shard_cut *cuts;              /* behind base, ascending */
    struct tombstone *tombstones;
    struct tombstone
        *superseded; /* by tombstones some of which are not durable: they still count */
    uint32_t cuts_count, cuts_cap, tombstones_count, tombstones_cap;
    uint32_t superseded_count, superseded_cap;
    struct place seen_end;  /* of the log, when looked at last, */
    uint64_t idle_since_ns; /* and since when it is so */
    /* when retention by matcher was looked at last: of which id, and at which times */
    uint64_t retained;
    int64_t retained_newest_ms, retained_from_ms;
};

struct store_append {
    struct log_append req;
    struct store *store;
    uint64_t position;
    struct entry_at *places; /* of the entries in req */
    size_t places_count, places_cap;
    struct store_append *next_free, *next_all;
};

struct store {
    struct core *core;
    struct store_options options;
    struct head *head;
    struct exemplars exemplars;
    struct metadata meta;
    struct store_shard *shards; /* options.shards_count of them */
    uint32_t shards_mask;       /* shards_count - 1 when that is a power of two, else 0 */

    struct err lost; /* while the log is recovered: what it has lost; code OK: nothing */
    struct log *log;
    void (*durable)(struct store *store, uint64_t position, enum status status,
                    const struct err *err, void *ctx);
    void *durable_ctx;
    void (*block)(struct store *store, uint64_t position, const struct store_block *block,
                  void *ctx);
    void *block_ctx;
    struct archive_core *archive;
    struct place (*settled)(void *ctx, uint32_t shard); /* NULL: what is durable here */
    void *settled_ctx;
    bool (*repeats)(void *ctx, uint32_t shard); /* NULL: never */
    void *repeats_ctx;
    struct store_exporting *exports; /* storage/archive/transfer.h */
    struct store_importing *imports;
    struct store_losing *losses; /* storage/archive/loss.h */
    struct hidden *hidden;     /* storage/archive/hidden.h; NULL: not asked for yet */
    struct block_list *blocks; /* a reference; NULL: none yet */
    uint64_t position;         /* of the buffer handed last */
    uint64_t durable_position;
    /* Between store_follow_begin and _end: what is followed goes to the log as one buffer, which
     * will have the next position. NULL: nothing yet. */
    struct store_append *followed;
    bool follows_many;
    int64_t ended_max_ms; /* no shard's samples have ended beyond it */
    uint64_t file;        /* of the log: what is handed now goes into this one or a later one */
    struct store_append *free, *all;
    struct store_append *free_bare; /* taken when no other is free: those have their memory still */
    unsigned free_count;            /* of free */
    struct store_reading *readings; /* under way */
    uint64_t offered_count;         /* series of all tails' numbers */

    /* scratch, reused: no allocation per shard or sample once they have grown */
    struct entry_write write;
    struct buf body, labels;
    struct arena decode;

    struct {
        struct metric *appended, *out_of_order, *too_old, *out_of_bound;
        struct metric *exemplars_appended, *exemplars_out_of_order, *exemplars_held;
        struct metric *refused_series, *refused_memory;
    } metrics;
};

/* A call of store_write. */
struct batch {
    struct store *store;
    enum status (*shard_check)(const struct batch *b, uint32_t shard);
    const struct write_columns *columns;
    uint32_t *refs; /* HEAD_NONE: unknown when the batch began */
    int64_t future_ms;
    struct store_append *append;
    struct write_result *result;
    struct err *err;
    uint32_t shard;
    struct store_shard *st;
    int64_t newest_ms;       /* the shard's before the batch */
    struct store_tail *tail; /* of an offer */
    size_t left;             /* samples of the run not judged yet */
    size_t exemplars_at, metadata_at, exemplars_out_of_order;
};
/* store_write.c */
enum status write_nomem(struct err *err);
/* Room for the rest of the run and that many bytes more in one section, in the entry, its body and
 * the buffer of entries. */
enum status write_reserve(struct batch *b, struct buf *section, size_t more) MUST_USE;
/* A sample of an unknown series brings its labels, or stands behind one of the same series that
 * does. */
bool write_labels_given(const struct write_columns *c, size_t i, struct sv *out);
enum status write_labels_check(const struct batch *b, size_t i, struct sv labels) MUST_USE;
/* Bytes of sample i; ptr NULL: it is a float. */
static inline struct sv write_histogram(const struct write_columns *c, size_t i) {
    return c->histograms == NULL ? (struct sv){0} : c->histograms[i];
}
/* The series has a number in the shard's log. */
enum status write_series_number(struct batch *b, uint32_t ref) MUST_USE;
/* By the limit on all series, count of them there are; err says so, and it is counted. */
bool store_series_are_full(const struct store *store, uint64_t count, struct err *err);
/* A buffer for entries; NULL: no memory. Handed over, or put back when it is empty. */
struct store_append *store_append_take(struct store *store) MUST_USE;
enum append_from { APPEND_OWN, APPEND_FOLLOWED };
/* Room for so many more entries, of so many bytes together. */
bool store_append_reserve(struct store_append *a, size_t entries, size_t bytes) MUST_USE;
/* There is room for it. */
void store_append_put(struct store_append *a, const struct entry *e, bool tail);
void store_append_hand(struct store *store, struct store_append *a, enum append_from from);

/* store_held.c */
void held_init(struct held_log *held, uint32_t copy);
void held_fini(struct held_log *held);
/* Whether the entry follows what is held (*out_old: it is held already); ERR_CORRUPT: it does not.
 * The first one: anywhere, or from the shard's very first. */
enum status held_check(const struct held_log *held, bool anywhere, const struct entry *e,
                       bool *out_old, struct err *err) MUST_USE;
void held_mark(struct held_log *held, uint64_t file, struct place at);
/* The entry at that place is held now. */
static inline void held_step(struct held_log *held, uint64_t file, struct place at) {
    if (!held->has_log) {
        held->has_log = true;
        held->first = at;
    }
    if (held->marked_file != file) held_mark(held, file, at);
    held->end = at;
}
/* The file where reading what is behind the place must begin; NULL: all that is held. */
uint64_t held_file(const struct held_log *held, const struct place *after);
void held_damage(struct held_log *held, const struct err *why);
/* Remembers where the epoch ended that is at hand. */
enum status epochs_reserve(struct store_shard *st) MUST_USE;
void epochs_close(struct store_shard *st);
struct store_tail *tail_make(struct store *store,
                             struct store_shard *st) MUST_USE; /* NULL: no memory */
void tail_free(struct store_shard *st);
void tail_numbers_reset(struct store_tail *tail);
/* An entry that follows the tail, and is on its way to the log or from it. */
enum status tail_step(struct store *store, struct store_tail *tail, const struct entry *e,
                      struct err *err) MUST_USE;
/* Forgets what is held with a head. */
void store_whole_drop(struct store *store, uint32_t shard);
/* The end of recovery: whose entries may have been in what the log has lost is damaged. */
void store_suspects_settle(struct store *store);

/* Marks that reading from `from` on does not need. */
void held_marks_trim(struct held_log *held, struct place from);

/* store_cut.c. Room for one more CUT, then cut_apply cannot fail. */
enum status cuts_reserve(struct store_shard *st) MUST_USE;
void cut_apply(struct store *store, struct store_shard *st, struct place at, int64_t to_ms);
enum status floor_apply(struct store *store, struct store_shard *st, uint32_t shard,
                        const struct entry *e, struct err *err) MUST_USE;
/* An entry of this node's own, applied and put; the shard takes them (store_takes_own). */
enum status store_own_put(struct store *store, uint32_t shard, enum entry_type type, struct sv body,
                          struct store_append *append, struct err *err) MUST_USE;
bool store_takes_own(const struct store *store, uint32_t shard);
/* store_delete.c */
void tombstones_trim(struct store_shard *st); /* those under the floor go */
void tombstones_fini(struct store_shard *st);
struct manifest_shard;
enum status tombstones_merge(const struct store *store, struct store_shard *st,
                             const struct manifest_shard *from) MUST_USE; /* ERR_NOMEM */
/* What a manifest may say, whatever becomes of the log's end: borrowed, in an array of the caller's
 * (tombstones_count + superseded_count); returns how many. */
uint32_t tombstones_durable(const struct store *store, const struct store_shard *st,
                            struct tombstone *out);
enum status delete_apply(struct store *store, struct store_shard *st, const struct entry *e,
                         struct err *err) MUST_USE;
void store_archived_fini(struct store_shard *st);
static inline bool place_is_none(struct place p) {
    return p.epoch == 0 && p.seq == 0;
}

/* store_read.c: the oldest file that a reading under way may want; UINT64_MAX: none. */
uint64_t store_readings_floor(const struct store *store);
/* store_read.c: the runtime is gone, and nobody is told */
void store_readings_free(struct store *store);

/* store_recover.c: changes the shard as the entry says; it must follow. What fails with ERR_NOMEM
 * or ERR_CORRUPT can be applied again: nothing of it counts. */
enum status store_apply(struct store *store, struct store_shard *st, const struct entry *e,
                        struct err *err) MUST_USE;
/* store_items.c */
/* Every exemplar and metadata is of the shard it says, and that is of this core and whole. */
enum status write_items_check(struct batch *b) MUST_USE;
/* Those of the run's shard that are next. */
enum status write_items(struct batch *b) MUST_USE;
void write_items_count(const struct batch *b);
enum status write_shard_check(const struct batch *b, uint32_t shard) MUST_USE;
/* Applies what a decoded entry has of histograms, as store_apply does floats. */
enum status recover_histograms(struct store *store, const struct store_shard *st,
                               const struct entry *e, const struct entry_write_view *v,
                               int64_t *newest_ms) MUST_USE;
/* Applies what a decoded entry has of them. */
enum status recover_items_check(const struct store *store, const struct store_shard *st,
                                uint32_t shard, const struct entry_write_view *v,
                                struct err *err) MUST_USE;
enum status recover_items(struct store *store, const struct store_shard *st, uint32_t shard,
                          const struct entry_write_view *v) MUST_USE;

/* Room for one more number; then the shard takes the series under its next one, which cannot fail.
 */
MUST_USE enum status store_number_reserve(struct store_shard *st);
uint32_t store_number_next(struct store *store, struct store_shard *st, uint32_t ref);
/* A new epoch, or a CUT: numbers start again. */
void store_numbers_reset(struct store *store, struct store_shard *st);
static inline uint32_t store_shard_of(const struct store *store, series_id id) {
    return store->shards_mask != 0 ? (uint32_t)id.hi & store->shards_mask
                                   : series_shard(id, store->options.shards_count);
}
