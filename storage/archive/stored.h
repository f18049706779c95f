/* SPDX-License-Identifier: Apache-2.0 */
/* storage/archive/stored.h: series of a core that match, from its head and from blocks, each once.
 *
 *   stored_init -> stored_select (on the core, in slices, until done) -> where stored_needs_disk
 *   says so: stored_find (a worker) -> reading (a worker) -> stored_release (on the core)
 *
 * The list of blocks is taken when the head has been looked at: what went from the head to blocks
 * in between is in both, and answered once. Thread: as said; reading by one thread at a time. */
#pragma once

#include "storage/archive/block_list.h"
#include "storage/archive/filter.h"
#include "storage/block/block.h"
#include "storage/downsample/downsample.h"
#include "storage/store.h"

struct stored {
    /* given */
    struct store *store;
    struct select_query query; /* what it points to lives until released; shards are given */
    const bool *canceled;      /* for blocks; may be NULL */
    uint32_t resolution_ms;    /* of rows, where stored_read_rows is to be called; 0 */
    /* outcome */
    size_t count; /* of series */
    /* private */
    struct selection *selection;
    const struct series_view *views;
    size_t views_count;
    struct block_list *list;
    struct stored_block *blocks; /* that may have something, by time */
    uint32_t blocks_count;
    uint64_t *bits;               /* shards of each block */
    struct stored_series *series; /* those in blocks, and those in both; NULL: the views are all */
    struct stored_run *runs;
    size_t runs_count;
    struct stored_scratch *scratch; /* of reading; NULL: nothing is in blocks */
    size_t *slots;                  /* places in series, by id; while they are found */
    size_t slots_mask;
    struct stored_rows *rows; /* NULL: no block of rows is used */
    bool spare;               /* a part of another one's rows */
    bool widened;             /* to whole hours: some of it has ended as samples (ended.h) */
};
void stored_init(struct stored *s, struct store *store, const struct select_query *query);
/* ERR_LIMIT, ERR_NOMEM; ERR_UNAVAILABLE names a block that is needed and bad. */
MUST_USE enum status stored_select(struct stored *s, uint64_t until_ns, bool *out_done,
                                   struct err *err);
static inline bool stored_needs_disk(const struct stored *s) {
    return s->blocks_count > 0;
}
/* series_views_samples of what the head has. */
uint64_t stored_samples(const struct stored *s, uint64_t most);
MUST_USE enum status stored_find(struct stored *s, struct err *err);
void stored_release(struct stored *s); /* twice is good */

/* Instead: label names, or the values of one, over all series of the shards; sorted, unique. label:
 * ptr NULL for names. stored_names (on the core) -> where stored_needs_disk says so:
 * stored_names_find (a worker), which adds those of blocks -> stored_release. All lies in the
 * arena. */
MUST_USE enum status stored_names(struct stored *s, struct sv label, struct arena *arena,
                                  struct sv **out, size_t *out_count, struct err *err);
MUST_USE enum status stored_names_find(struct stored *s, struct sv label, struct arena *arena,
                                       struct sv **found, size_t *count, struct err *err);

/* Sorted by name; returns how many there are (may exceed max); views live until released. */
size_t stored_labels(const struct stored *s, size_t index, struct label *out, size_t max);
/* Those with the names asked for, and maybe others. */
size_t stored_labels_asked(const struct stored *s, size_t index, struct labels_asked *asked,
                           struct label *out, size_t max);
series_id stored_id(const struct stored *s, size_t index);
/* Appends the samples with from < t <= to, ascending. Fast where indexes ascend. */
MUST_USE enum status stored_read(const struct stored *s, size_t index, int64_t from_ms,
                                 int64_t to_ms, struct samples *out, struct err *err);
/* Rows of resolution_ms (storage/downsample), those with from < end <= to, both multiples of it,
 * in place of what out has: from blocks of rows where there are any, else made of samples; the same
 * in either case, to the bit. Columns that are not wanted may be anything. Where a row counts
 * histograms, stored_read tells what they are. */
MUST_USE enum status stored_read_rows(const struct stored *s, size_t index,
                                      const struct block_columns *wanted,
                                      struct downsample_rows *out, struct err *err);
/* Up to where the series has ended as samples (storage/ended.h), as far as the query goes: there
 * samples are the last of each bucket, at its end. Reading may begin two hours before the query. */
void stored_ended(const struct stored *s, size_t index, struct ended *out);
/* Rows of that with from < end <= to, in place of what out has, of whatever resolution they are. */
MUST_USE enum status stored_read_ended_rows(const struct stored *s, size_t index,
                                            const struct block_columns *wanted,
                                            struct downsample_rows *out, struct err *err);
/* At least the newest of them. */
MUST_USE enum status stored_newest(const struct stored *s, size_t index, int64_t from_ms,
                                   int64_t to_ms, struct samples *out, struct err *err);
