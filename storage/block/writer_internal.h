/* SPDX-License-Identifier: Apache-2.0 */
/* storage/block/writer_internal.h: a block that is being written. Memory: the label sets, the
 * references of the index's frames, and else a bound that does not depend on what is written. */
#pragma once

#include "storage/block/internal.h"
#include "storage/page/page.h"

struct stream_out {
    struct u64s frames;
    struct buf open; /* the last frame, not full */
    uint64_t raw_bytes;
};

/* -- label sets: writer_sets.c */

struct label_set {
    size_t at; /* of its canonical labels in set_table.bytes */
    uint32_t len;
    uint32_t series_count;
};
struct set_table {
    struct map map;
    struct label_set *at;
    uint32_t count, cap;
    struct buf bytes;
};
static inline struct sv set_bytes(const struct set_table *t, uint32_t id) {
    return (struct sv){t->bytes.ptr + t->at[id].at, t->at[id].len};
}
enum block_side label_side(struct sv name);

/* -- columns: writer_columns.c */

/* Which rows of a column are the times of a page. */
struct column_use {
    uint32_t column, rows; /* of the column */
    uint32_t first, span;
    uint32_t missing_count;
    uint32_t missing[MISSING_MAX]; /* relative to first, ascending */
    size_t count;                  /* of samples: span - missing_count */
};

struct column_seen {
    struct hash128 hash; /* of its times */
    int64_t first_ms, last_ms;
    uint32_t id, rows;
    uint32_t at, bytes; /* of its encoding in columns.bytes */
    uint32_t older;     /* of the same target; MAP_NONE */
};
struct starts_seen {
    struct hash128 hash;
    uint32_t id;
    bool used;
};
enum { STARTS_SEEN = 1024, COLUMNS_SEEN_MAX = 1 << 16, COLUMNS_SEEN_BYTES = 8 << 20 };
struct columns {
    uint32_t *newest; /* by target; index into seen */
    uint32_t newest_count, newest_cap;
    struct column_seen *seen;
    uint32_t seen_count, seen_cap;
    struct buf bytes;
    struct starts_seen starts[STARTS_SEEN];
    uint64_t count;
    int64_t ints[PAGE_SAMPLES_MAX + PAGE_PAD];
    uint8_t encoded[COLUMN_BYTES_MAX];
};

/* -- pages and directory: writer_pages.c */

enum { SAME_SLOTS = 1024, SAME_BYTES_MIN = 24 };
struct page_seen {
    struct hash128 hash;
    uint32_t frame, at, generation;
};
struct directory {
    struct buf records, raw;
    uint32_t series_count;
    uint64_t series_first;
    uint32_t restarts[RESTARTS_MAX][3];
    struct buf pages; /* of the open frame */
    enum block_page_kind pages_kind;
    struct u64s frames; /* of pages, of this directory frame */
    struct page_seen seen[SAME_SLOTS];
    uint32_t generation;
    bool next_frame; /* the next page begins one */
    size_t flags_at; /* of the last page */
    int64_t column_before;
    struct u64s firsts; /* first series of each frame */
};

struct shard_items {
    uint32_t shard, first, count; /* frames of PART_ITEMS */
    uint64_t bytes;
};

struct block_writer {
    struct block_writer_options options;
    char *path, *path_new;
    struct frames_out out;
    struct stream_out streams[PART_COUNT];
    struct page_scratch *scratch;
    struct set_table sets[SIDES];
    struct buf side_bytes[SIDES];
    struct columns columns;
    struct directory directory;
    int64_t group[SIDES][GROUP_SERIES];
    struct shard_entry *shards;
    size_t shards_present, shards_cap;
    struct shard_entry *shard; /* of the series at hand: the last */
    struct shard_items *items;
    size_t items_count, items_cap;
    struct buf before;   /* canonical bytes of the series before it */
    uint32_t target;     /* set of the series at hand */
    uint64_t data_bytes; /* pages, columns and items */
    uint64_t series_count, samples_count;
    uint64_t names_count, pairs_count, header_hash;
    bool renamed, finished;
    double values[PAGE_SAMPLES_MAX];
    uint8_t page[PAGE_BYTES_MAX];
    struct buf histogram, histograms; /* one, and a page of them */
};

enum status writer_nomem(struct err *err);
enum status writer_canceled(const struct block_writer *w, struct err *err) MUST_USE;
static inline size_t writer_page_rows(const struct block_writer *w) {
    return w->options.level >= 2 ? 960 : 480;
}
/* Of two hours a query takes few bytes of each frame, of a merged block's longer pages more; and a
 * scan is a tenth faster for frames of twice the size. */
static inline size_t writer_frame_bytes(const struct block_writer *w) {
    return w->options.level >= 1 ? PAGES_FRAME_BYTES_MERGED : PAGES_FRAME_BYTES;
}

enum status stream_put(struct block_writer *w, enum block_part part, struct sv bytes,
                       struct err *err) MUST_USE;
enum status stream_end(struct block_writer *w, enum block_part part, struct err *err) MUST_USE;

/* Finds or adds the set; *out_id. */
enum status set_intern(struct set_table *t, struct sv bytes, uint32_t *out_id) MUST_USE;
/* Splits canonical labels; ERR_CORRUPT. */
enum status labels_split(struct block_writer *w, struct sv canonical, uint32_t out[SIDES],
                         struct err *err) MUST_USE;
/* Writes postings and the tables of labels. */
enum status tables_write(struct block_writer *w, struct err *err) MUST_USE;

/* Names a column for the first of these times, at most page_rows; exactly `count` when `all`. */
enum status column_find(struct block_writer *w, const int64_t *times_ms, size_t count, bool all,
                        struct column_use *out, struct err *err) MUST_USE;
enum status column_find_starts(struct block_writer *w, const int64_t *starts_ms, size_t count,
                               uint32_t *out, struct err *err) MUST_USE;
/* Only the first count samples: some of those it had. */
void column_cut(struct column_use *use, size_t count);
void columns_fini(struct columns *c);

/* A page that is encoded, with the columns of its times and start times (NULL: none). */
struct page_out {
    enum block_page_kind kind;
    struct column_use times;
    const uint32_t *starts;
    struct sv bytes;
};
enum status directory_put_page(struct block_writer *w, const struct page_out *p,
                               struct err *err) MUST_USE;
/* What is left of the last series. */
enum status directory_finish(struct block_writer *w, struct err *err) MUST_USE;

/* A series by pages: what block_writer_add is made of, and merging. */
enum status writer_begin_series(struct block_writer *w, uint32_t shard, struct sv canonical,
                                struct err *err) MUST_USE;
enum status writer_put_samples(struct block_writer *w, const struct samples *samples,
                               struct err *err) MUST_USE;
/* A page as it is in another block. times_ms: count of them; starts_ms may be NULL. */
enum status writer_put_page(struct block_writer *w, enum block_page_kind kind,
                            const struct page *page, const int64_t *times_ms,
                            const int64_t *starts_ms, struct err *err) MUST_USE;
enum status writer_end_series(struct block_writer *w, struct err *err) MUST_USE;
/* Of the shard at hand. */
static inline struct block_digest *writer_digest(struct block_writer *w) {
    return &w->shard->info.digest;
}
