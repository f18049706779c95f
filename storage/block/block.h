/* SPDX-License-Identifier: Apache-2.0 */
/* storage/block/block.h: a block: samples of some shards over a closed range of time, in one
 * immutable checksummed file. Which blocks count is in the manifest (storage/block/manifest.h), not
 * here. The format is specified in writer.c.
 *
 * A file is written under another name, synced, renamed and its name synced; so one that has its
 * name is whole, or its disk is bad. Everything that is read is checked: what is bad is named (file
 * and offset), is ERR_CORRUPT, and nothing of it is answered. Reading goes by pread: a truncated
 * file or a disk that fails is an error, not a signal.
 *
 * Thread: writing, opening, selecting and reading block on the disk: a worker or start-up. A struct
 * block is immutable and may be used by many threads; a selection by one at a time. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "node/base/arena.h"
#include "node/base/buf.h"
#include "node/base/status.h"
#include "node/runtime/disk.h"
#include "storage/head.h"
#include "storage/labels.h"
#include "storage/sample.h"

/* Sum modulo 2^128 over samples of a hash of (series id, time, value or histogram; not the start
 * time): equal for equal contents, whatever block or order they are in. */
struct block_digest {
    uint64_t hi, lo;
};
/* ERR_NOMEM: a histogram is encoded to be hashed; *d is as it was. */
MUST_USE enum status block_digest_add(struct block_digest *d, series_id id,
                                      const struct samples *samples);
static inline void block_digest_sum(struct block_digest *d, struct block_digest other) {
    d->lo += other.lo;
    d->hi += other.hi + (d->lo < other.lo);
}

/* -- writing */

struct block_writer_options {
    struct disk *disk;
    const char *path; /* of the file to be; path.tmp until then */
    uint64_t secret;  /* of series ids */
    uint32_t tenant;
    uint32_t shards_count;
    uint16_t level;         /* 0: from the head, +1 by each merge */
    uint32_t resolution_ms; /* 0: raw; else downsampled to that */
    const bool *canceled;   /* may be NULL */
    bool even_empty;        /* a block without a series is written, too */
};
/* In a block with a resolution (storage/archive/rows.h) column k of a series has its times
 * k * BLOCK_COLUMN_MS later, and no page has samples of two columns. */
#define BLOCK_COLUMN_MS ((int64_t)1 << 52)
/* After an error of any call only block_writer_free may follow. */
struct block_writer;
MUST_USE enum status block_writer_new(const struct block_writer_options *options,
                                      struct block_writer **out, struct err *err);
/* Series ascending by shard, which is that of their id, within it by canonical bytes; samples
 * ascending by time, at least one, any number of them. Everything is borrowed during the call. */
MUST_USE enum status block_writer_add(struct block_writer *w, uint32_t shard, struct sv canonical,
                                      const struct samples *samples, struct err *err);
/* Exemplars of a shard (storage/exemplar_items.h): opaque here. Any order, once per shard. */
MUST_USE enum status block_writer_items(struct block_writer *w, uint32_t shard, struct sv items,
                                        struct err *err);
/* Durable, under its name. Without a series nothing is written (but for even_empty): *out_written
 * false. */
MUST_USE enum status block_writer_finish(struct block_writer *w, bool *out_written,
                                         struct err *err);
void block_writer_free(struct block_writer *w); /* unfinished: the file under the other name goes */

/* -- reading */

struct block;
/* Reads the ends and what of the index stays in memory: some 60 bytes per thousand series and 70
 * per shard. ERR_UNSUPPORTED: written by a later version; ERR_CONFLICT: of another tenant. */
MUST_USE enum status block_open(struct disk *disk, const char *path, uint64_t secret,
                                uint32_t tenant, struct block **out, struct err *err);
struct block *block_ref(struct block *b);
void block_unref(struct block *b); /* NULL too; the last one closes the file, and unlinks it if: */
bool block_is_shared(const struct block *b); /* there is another reference than the caller's */
void block_set_obsolete(struct block *b);    /* the file goes with the last reference */

struct block_info {
    const char *path;
    uint16_t level;
    uint32_t resolution_ms;
    int64_t min_ms, max_ms; /* of samples, both inclusive */
    uint64_t series_count, samples_count, file_bytes;
    uint64_t index_bytes;  /* all but pages of samples, their times, and items */
    uint64_t memory_bytes; /* that the open block holds */
};
void block_get_info(const struct block *b, struct block_info *out);
struct block_shard {
    uint64_t series_count, samples_count;
    int64_t min_ms, max_ms; /* both inclusive */
    struct block_digest digest;
};
/* False: nothing of that shard is in it. Items alone: no series, no times. No disk. */
bool block_get_shard(const struct block *b, uint32_t shard, struct block_shard *out);
/* ERR_UNAVAILABLE: it has none. */
MUST_USE enum status block_read_items(const struct block *b, uint32_t shard, struct buf *out,
                                      struct err *err);
/* Reads on from *at (0: the beginning) for some bytes_max, and checks the checksum of every frame
 * there; *at is the file's length when all is read. */
MUST_USE enum status block_verify_frames(struct block *b, uint64_t *at, uint64_t bytes_max,
                                         struct err *err);
/* Somebody could not read it: it is to be looked at. Any thread. */
void block_set_suspect(struct block *b);
void block_clear_suspect(struct block *b);
bool block_is_suspect(const struct block *b);
/* Reads all of it, checks every checksum, decodes every page and compares the digests. */
MUST_USE enum status block_verify(struct block *b, const bool *canceled, struct err *err);
/* The same, but what is bad is told (file and offset, or shard and series), and the rest looked at;
 * ERR_CORRUPT does not come back then. */
struct block_inspect {
    const bool *canceled; /* may be NULL */
    void (*bad)(void *ctx, const struct err *what);
    void *ctx;
};
MUST_USE enum status block_inspect(struct block *b, const struct block_inspect *check,
                                   struct err *err);

/* Series that match, of the shards that are asked for, with a page that overlaps (from, to]; the
 * order is that of the file. No matchers: all. The query's memory and series limits hold:
 * ERR_LIMIT. Posting lists are met smallest first; a regular expression is asked of each value of
 * its name once, or not at all where it is a prefix, a list of words or "not empty"
 * (storage/matcher.h). */
struct block_selection;
MUST_USE enum status block_select(struct block *b, const struct select_query *query,
                                  const bool *canceled, struct block_selection **out,
                                  struct err *err);
void block_selection_free(struct block_selection *s);
struct block_series {
    series_id id;
    uint32_t shard;
};
const struct block_series *block_selection_series(const struct block_selection *s,
                                                  size_t *out_count);
/* Sorted by name; views live as long as the selection. Returns how many there are (may exceed max).
 */
size_t block_series_labels(const struct block_selection *s, size_t index, struct label *out,
                           size_t max);
/* Appends the samples with from < t <= to, ascending. Fast where indexes ascend: neighbours lie
 * side by side in the file. */
MUST_USE enum status block_series_read(struct block_selection *s, size_t index, int64_t from_ms,
                                       int64_t to_ms, struct samples *out, struct err *err);
/* What there is of the series, without its values. */
struct block_extent {
    int64_t min_ms, max_ms; /* both inclusive */
    uint64_t samples, pages;
};
/* page: told how many samples each page has; may be NULL. */
MUST_USE enum status block_series_extent(struct block_selection *s, size_t index,
                                         struct block_extent *out,
                                         void (*page)(void *ctx, size_t samples), void *ctx,
                                         struct err *err);
/* Pages of all series; reads the directory. */
MUST_USE enum status block_count_pages(struct block *b, uint64_t *out, struct err *err);

/* The same for a block with a resolution: of each column k that is asked for (bit k) those with
 * from + k * BLOCK_COLUMN_MS < t <= to + k * BLOCK_COLUMN_MS, column by column. */
struct block_columns {
    int64_t from_ms, to_ms;
    uint32_t columns;
};
MUST_USE enum status block_series_read_columns(struct block_selection *s, size_t index,
                                               const struct block_columns *wanted,
                                               struct samples *out, struct err *err);

/* Label names, or the values of one, of series that match (as head_label_names; no matchers: all of
 * the shards asked for); sorted, unique, from the arena. */
MUST_USE enum status block_label_names(struct block *b, const struct select_query *query,
                                       struct arena *arena, struct sv **out, size_t *out_count,
                                       struct err *err);
MUST_USE enum status block_label_values(struct block *b, struct sv name,
                                        const struct select_query *query, struct arena *arena,
                                        struct sv **out, size_t *out_count, struct err *err);

/* -- merging */

struct block_merge_input {
    struct block *block;
    const uint64_t *shards; /* one bit per shard: what counts of it; NULL: all it has */
};
struct block_merge_options {
    struct block_writer_options writer;
    /* Of what is in several inputs at the same time of the same series the first input's counts. */
    const struct block_merge_input *inputs;
    size_t inputs_count;
    /* What to leave out of a series' samples, in place; may be NULL. For deletes and retention. */
    void (*filter)(void *ctx, uint32_t shard, struct sv canonical, const struct label *labels,
                   size_t labels_count, struct samples *samples);
    /* The same of a shard's items; may be NULL. */
    void (*filter_items)(void *ctx, uint32_t shard, struct buf *items);
    void *ctx;
    bool replaces; /* the filter may put others in their place, from their memory (sample.h) */
};
/* One file from many; items of a shard are those of its inputs, one after the other. Pages that are
 * unchanged are copied as they are where that is no larger than encoding them anew. Memory: a bound
 * that does not grow with the number of series, but for the new index's part of block_open and the
 * tables of labels. */
MUST_USE enum status block_merge(const struct block_merge_options *options, bool *out_written,
                                 struct err *err);
