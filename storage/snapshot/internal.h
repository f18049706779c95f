/* SPDX-License-Identifier: Apache-2.0 */
/* storage/snapshot/internal.h: what the files of this folder share. Only these include it. */
#pragma once

#include "node/base/bytes.h"
#include "node/runtime/disk.h"
#include "storage/chunk.h"
#include "storage/page/page.h"
#include "storage/snapshot/snapshot.h"
#include "storage/store_internal.h"

/* -- root.c */
struct snapshot_file {
    uint64_t bytes, check; /* of its last part, which vouches for all before it */
};
struct snapshot_root {
    uint8_t cluster[16];
    uint32_t shards_count;
    struct log_end end;
    struct snapshot_file *files; /* owned */
    uint32_t files_count;
};
void snapshot_root_fini(struct snapshot_root *root);
void snapshot_root_put(const struct snapshot_root *root, struct buf *out);
/* ERR_CORRUPT, ERR_UNSUPPORTED, ERR_NOMEM. */
MUST_USE enum status snapshot_root_get(struct sv bytes, struct snapshot_root *out, struct err *err);

/* -- parts.c: a core's file as a chain of parts with checksums, each of which vouches for those
 * before it, too. The format is specified there. */
enum part_kind {
    PART_SHARDS = 1,
    PART_PAIRS,
    PART_TIMES,
    PART_SERIES,
    PART_EXEMPLARS,
    PART_METADATA,
    PART_END,
    PART_KINDS
};
enum { CORE_FORMAT_WORDS = 3 }; /* the last one with ids, and open chunks as they are in memory */
enum { PART_BYTES = 1 << 20, PART_HEADER_BYTES = 16, CORE_HEADER_BYTES = 24 };

struct part_writer {
    struct file *file;
    struct snapshot_file at; /* so far */
    struct buf part;         /* header, then what is put */
    struct buf packed;       /* in its place */
    struct ZSTD_CCtx_s *zstd;
    enum part_kind kind;
    bool (*goes_on)(void *ctx);
    void *ctx;
};
MUST_USE enum status part_writer_open(struct part_writer *w, struct disk *disk, const char *path,
                                      uint32_t core, struct err *err);
/* What is put from here on is of that kind. */
MUST_USE enum status part_begin(struct part_writer *w, enum part_kind kind, struct err *err);
/* Between two records: a full part is written. */
MUST_USE enum status part_flush(struct part_writer *w, bool anyway, struct err *err);
/* What is left, and the file is durable, but for its name. */
MUST_USE enum status part_writer_finish(struct part_writer *w, struct err *err);
void part_writer_fini(struct part_writer *w);

struct part_reader {
    struct file *file;
    struct snapshot_file at; /* so far */
    uint64_t file_bytes;
    uint8_t *ptr;
    size_t cap;
    struct buf records; /* of a packed part */
    struct ZSTD_DCtx_s *zstd;
    uint16_t format;
    enum part_kind kind;
};
MUST_USE enum status part_reader_open(struct part_reader *r, struct disk *disk, const char *path,
                                      uint32_t core, struct err *err);
/* Borrowed until the next call. ERR_CORRUPT names the offset. */
MUST_USE enum status part_next(struct part_reader *r, struct sv *out, struct err *err);
void part_reader_fini(struct part_reader *r);

/* -- shard.c: a shard's record */
bool snapshot_shard_is_saved(const struct store *store, uint32_t shard); /* as a whole */
void snapshot_shard_put(const struct store *store, uint32_t shard, struct buf *out);
bool snapshot_shard_is_put(const struct store *store,
                           uint32_t shard); /* there is something to say of it */
/* Takes it over where it is this core's and not void; ours[shard]: its series are wanted.
 * ERR_CORRUPT (more than numbers_max series, too), ERR_NOMEM. */
MUST_USE enum status snapshot_shard_get(struct store *store, struct reader *r, uint64_t numbers_max,
                                        bool *ours, uint32_t *out_shard);
/* All numbers of its series are there. */
bool snapshot_shard_is_complete(const struct store *store, uint32_t shard);

/* -- open_chunks.c: those of one file. Loading answers ERR_CORRUPT without a text, ERR_NOMEM. */
enum { SAVED_COLUMNS = 16 };
struct saved_columns {
    struct saved_column {
        int64_t ms[CHUNK_SAMPLES_MAX + PAGE_PAD];
        size_t rows;
    } at[SAVED_COLUMNS];
    uint32_t newest, count;
    const struct saved_column *now; /* of the series at hand, when loading */
    int64_t times_ms[CHUNK_SAMPLES_MAX];
    double values[CHUNK_SAMPLES_MAX + PAGE_PAD];
    size_t first, end; /* of those, when saving: what is saved */
    uint8_t bytes[PAGE_BYTES_MAX > COLUMN_BYTES_MAX ? PAGE_BYTES_MAX : COLUMN_BYTES_MAX];
    struct page_scratch scratch;
};
struct saved_columns *saved_columns_new(void) MUST_USE; /* NULL: no memory */
void saved_columns_free(struct saved_columns *c);
/* The chunk's samples from there on, at least one of those it has; then its column and they are
 * put. */
void saved_open_take(struct saved_columns *c, const struct chunk_open *open, int64_t from_ms);
void saved_column_put(struct saved_columns *c, struct buf *out);
void saved_open_put(struct saved_columns *c, const struct chunk_open *open, struct buf *out);
MUST_USE enum status saved_column_get(struct saved_columns *c, struct reader *r);
/* Into an empty one. */
MUST_USE enum status saved_open_get(struct saved_columns *c, struct reader *r,
                                    struct chunk_slab *slab, struct chunk_open *out);

/* -- series_save.c, series_load.c */
enum saved_parts {
    SAVED_OPEN = 1,
    SAVED_SEALED = 2,
    SAVED_LATE = 4,
    SAVED_HISTOGRAMS = 8,
    SAVED_STARTS = 16,
    SAVED_ALL = 31
};
enum saved_kind { SAVED_CONST = 0, SAVED_PAGE = 1 };
struct saved_columns;
void snapshot_series_put(const struct store *store, uint32_t ref, struct saved_columns *columns,
                         struct buf *out, uint64_t *samples);

struct load_tables { /* of a file: by the numbers its core had for them */
    struct buf bytes;
    struct load_pair {
        size_t at;     /* in bytes */
        uint32_t len;  /* 0: it is no pair any more */
        uint32_t pair; /* here; MAP_NONE: not asked for yet */
    } * pairs;
    struct load_times {
        size_t at;
        uint16_t len, count; /* 0: none */
        struct times *times; /* here, counted once for the table; NULL: not asked for yet */
    } * times;
    uint32_t pairs_count, pairs_cap, times_count, times_cap;
    uint16_t format;               /* of the file */
    struct saved_columns *columns; /* NULL: not asked for yet */
    struct samples rows;           /* work space */
    struct buf canonical;          /* of the series at hand */
};
void snapshot_load_tables_fini(struct load_tables *t, struct store *store);
MUST_USE enum status snapshot_load_pairs(struct load_tables *t, struct reader *r, struct err *err);
MUST_USE enum status snapshot_load_times(struct load_tables *t, struct reader *r, struct err *err);
/* ERR_CORRUPT without a text. */
MUST_USE enum status snapshot_series_get(struct store *store, struct load_tables *t,
                                         const bool *ours, struct reader *r,
                                         struct snapshot_told *told);

/* -- save.c, load.c: a core's file */
MUST_USE enum status snapshot_core_save(const struct snapshot_place *at,
                                        const struct snapshot_save *s, unsigned core,
                                        struct snapshot_file *out, struct snapshot_told *told,
                                        struct err *err);
/* What the file has of the store's shards. */
MUST_USE enum status snapshot_core_load(const struct snapshot_place *at,
                                        const struct snapshot_root *root, unsigned file,
                                        struct store *store, struct snapshot_told *told,
                                        struct err *err);
#define SNAPSHOT_ROOT "ROOT"
enum { SNAPSHOT_PATH_MAX = 4400 };
void snapshot_core_path(const struct snapshot_place *at, unsigned core,
                        char out[SNAPSHOT_PATH_MAX]);
