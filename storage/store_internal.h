/* SPDX-License-Identifier: Apache-2.0 */
/* storage/store_internal.h: what store.c, store_write.c and store_recover.c share. Only these
 * include it. */
#pragma once

#include "node/base/metrics.h"
#include "storage/store.h"

struct store_shard {
    bool open;    /* this core's */
    bool has_log; /* epoch and seq are those of an entry; before, the shard has none */
    bool damaged;
    char *damage; /* owned; NULL also when there was no memory for it */
    /* As last opened; the next entry is written with these. When the epoch is above the log's, an
     * EPOCH entry goes first. */
    uint32_t map_incarnation, map_epoch;
    uint32_t incarnation, epoch; /* the last entry's */
    uint64_t seq;
    int64_t newest_ms; /* INT64_MIN: no sample */
    uint32_t *refs;    /* by series number: what entries of this epoch name */
    uint32_t refs_count, refs_cap;
};

struct store_append {
    struct log_append req;
    struct store *store;
    uint64_t position;
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

    struct log *log;
    void (*durable)(struct store *store, uint64_t position, enum status status,
                    const struct err *err, void *ctx);
    void *durable_ctx;
    uint64_t position; /* of the buffer handed last */
    struct store_append *free, *all;

    /* scratch, reused: no allocation per shard or sample once they have grown */
    struct entry_write write;
    struct buf body, labels;
    struct arena decode;

    struct {
        struct metric *appended, *out_of_order, *too_old, *out_of_bound;
        struct metric *exemplars_appended, *exemplars_out_of_order, *exemplars_held;
    } metrics;
};

/* A call of store_write. */
struct batch {
    struct store *store;
    const struct write_columns *columns;
    uint32_t *refs; /* HEAD_NONE: unknown when the batch began */
    int64_t future_ms;
    struct buf *entries;
    struct write_result *result;
    struct err *err;
    uint32_t shard;
    struct store_shard *st;
    int64_t newest_ms; /* the shard's before the batch */
    size_t left;       /* samples of the run not judged yet */
    size_t exemplars_at, metadata_at, exemplars_out_of_order;
};
/* store_write.c */
enum status write_nomem(struct err *err);
/* Room for the rest of the run and that many bytes more in one section, in the entry, its body and
 * the buffer of entries. */
enum status write_reserve(struct batch *b, struct buf *section, size_t more) MUST_USE;
/* The series has a number in the shard's log. */
enum status write_series_number(struct batch *b, uint32_t ref) MUST_USE;
/* store_items.c */
/* Every exemplar and metadata is of the shard it says, and that is of this core and whole. */
enum status write_items_check(struct batch *b) MUST_USE;
/* Those of the run's shard that are next. */
enum status write_items(struct batch *b) MUST_USE;
void write_items_count(const struct batch *b);
enum status write_shard_check(const struct batch *b, uint32_t shard) MUST_USE;
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
