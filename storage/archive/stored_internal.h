/* SPDX-License-Identifier: Apache-2.0 */
/* storage/archive/stored_internal.h: what stored.c and stored_rows.c share. Only these include it.
 */
#pragma once

#include "storage/archive/rows.h"
#include "storage/archive/stored.h"

struct stored_block {
    const struct list_block *of;
    struct shard_set shards;
    struct block_selection *selection;
};
struct stored_scratch {
    struct archive_filter filter;
    struct label *labels;
    size_t labels_cap;
};
struct stored_run {       /* of a series in a block */
    uint32_t block, next; /* next: of the same series; RUN_NONE: the last */
    size_t index;
};
struct stored_series {
    series_id id;
    uint32_t shard;
    uint32_t first; /* run, by the order of blocks; RUN_NONE: in the head only */
    size_t view;    /* VIEW_NONE: in blocks only */
};
#define RUN_NONE UINT32_MAX
#define VIEW_NONE SIZE_MAX

enum status stored_nomem(struct err *err) MUST_USE;
/* On the core. The shards that are asked for, as this core's copy has them in the block; with rows,
 * as far as it is to be looked at for them. */
bool stored_bits(const struct stored *s, const struct list_block *b, uint64_t *bits);
/* On the core: raw blocks that overlap the query, by time; with rows, those that these leave, and
 * the blocks of rows. Damaged ones are an error, but in a stored that is `spare`. */
enum status stored_blocks_take(struct stored *s, struct err *err) MUST_USE;
/* The series' place by its id; SIZE_MAX: it is not there. Of a spare one. */
size_t stored_by_id(const struct stored *s, series_id id);
/* Labels of the series, in scratch. */
enum status stored_scratch_labels(const struct stored *s, size_t index, size_t *out_count,
                                  struct err *err) MUST_USE;
/* What reading the block came to; where that is its bytes' fault it is looked at as a whole then
 * (scrub.h). */
enum status stored_read_ended(const struct stored *s, uint32_t block, enum status status) MUST_USE;
/* Appends what raw blocks of s have of the series with from < t <= to, unfiltered. */
enum status stored_runs_read(const struct stored *s, size_t index, const int64_t range_ms[2],
                             struct samples *out, bool *out_in_order, struct err *err) MUST_USE;
/* The rest of reading: takes out of what raw blocks gave, from that sample on, what does not count
 * any more, appends what the head has, and sorts them where they are not in order. */
enum status stored_rest_read(const struct stored *s, size_t index, const int64_t range_ms[2],
                             size_t from, bool in_order, struct samples *out,
                             struct err *err) MUST_USE;

/* stored_rows.c. On the core, before blocks are taken: which block speaks for which shard, when. */
enum status stored_rows_take(struct stored *s, struct err *err) MUST_USE;
/* Whether the block is to be looked at for the shard; raw ones where no rows stand for them. */
bool stored_rows_want(const struct stored *s, const struct list_block *b, uint32_t shard);
/* Samples after all: rows do not stand for them. */
enum status stored_rows_samples(const struct stored *s, size_t index, int64_t from_ms,
                                int64_t to_ms, struct samples *out, struct err *err) MUST_USE;
void stored_rows_free(struct stored *s);
