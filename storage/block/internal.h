/* SPDX-License-Identifier: Apache-2.0 */
/* storage/block/internal.h: what the files of this folder share: frames, and the parts of a block,
 * whose format is specified in writer.c. */
#pragma once

#include "node/base/bytes.h"
#include "storage/block/block.h"
#include "storage/symbols.h"

#define BLOCK_MAGIC "CAIRNBLK"
enum {
    BLOCK_FORMAT_VERSION = 1,
    BLOCK_HEADER_BYTES = 40,
    BLOCK_FOOTER_BYTES = 40,
    FRAME_HEADER_BYTES = 16,
    FRAME_BYTES_MAX = (1 << 24) - 1, /* with its header: what a reference can say */
    FRAME_RAW_MAX = 1 << 26,         /* of what a frame unpacks to */
    STREAM_FRAME_BYTES = 8 << 10,    /* a stream is cut here */
    PAGES_FRAME_BYTES = 4 << 10,     /* pages begin a new frame here; in a merged block: */
    PAGES_FRAME_BYTES_MERGED = 8 << 10,
    PAGES_KIND_BYTES = 2 << 10,       /* or here, when one of another kind follows */
    HISTOGRAMS_PAGE_BYTES = 16 << 10, /* a page of histograms ends when it has these */
    ITEMS_FRAME_BYTES = 1 << 20,
    GROUP_SERIES = 1024, /* of a frame of PART_LABELS */
    DIRECTORY_SERIES_MAX = 256,
    DIRECTORY_BYTES = 4 << 10, /* begins a new frame here */
    RESTART_SERIES = 32,
    RESTART_BYTES = 12,
    RESTARTS_MAX = DIRECTORY_SERIES_MAX / RESTART_SERIES,
    COLUMN_ENTRY_BYTES = 32,
    MISSING_MAX = 32, /* rows of a page that its series has not */
    SERIES_COUNT_MAX = 1 << 30,
};

/* A series' labels are two sets, by the names of the labels. */
enum block_side { SIDE_METRIC, SIDE_TARGET, SIDES };

/* Streams but for PART_LABELS, PART_DIRECTORY and PART_ITEMS, whose frames are each a thing of its
 * own. The frames of PART_PAGES are known from those of PART_DIRECTORY alone. */
enum block_part {
    PART_PAGES,
    PART_DIRECTORY,
    PART_LABELS,
    PART_ITEMS,
    PART_COLUMNS_AT,
    PART_COLUMNS,
    PART_POSTINGS,
    PART_NAMES,
    PART_PAIRS_AT,
    PART_PAIRS,
    PART_PAIR_SETS,
    PART_SETS_AT,               /* of the metric side */
    PART_SETS,                  /* likewise */
    PART_COUNT = PART_SETS + 3, /* and both of the target side */
};
static inline enum block_part part_of_side(enum block_part part, enum block_side side) {
    return (enum block_part)((int)part + 2 * (int)side);
}
extern const char *const block_part_names[PART_COUNT];

enum block_page_kind { KIND_FLOAT, KIND_HISTOGRAM };
enum page_flags {
    PAGE_KIND = 3, /* enum block_page_kind */
    PAGE_LAST = 4,
    PAGE_WHOLE = 8,
    PAGE_MISSING = 16,
    PAGE_STARTS = 32,
    PAGE_SAME = 64,
    PAGE_NEXT_FRAME = 128,
};

/* Where a frame is and how long: offset << 24 | bytes. */
static inline uint64_t ref_make(uint64_t offset, uint64_t bytes) {
    return offset << 24 | bytes;
}
static inline uint64_t ref_offset(uint64_t ref) {
    return ref >> 24;
}
static inline size_t ref_bytes(uint64_t ref) {
    return ref & 0xffffff;
}
#define BLOCK_FILE_BYTES_MAX (UINT64_C(1) << 40)

struct u64s {
    uint64_t *at;
    size_t count, cap;
};
enum status u64s_put(struct u64s *a, uint64_t v) MUST_USE;
void u64s_fini(struct u64s *a);

/* -- frame.c */

struct ZSTD_CCtx_s;
struct ZSTD_DCtx_s;

/* Appends to a file by frames. */
struct frames_out {
    struct file *file;
    uint64_t offset; /* of the end, with what is pending */
    struct buf pending, packed;
    int zstd_level;
    struct ZSTD_CCtx_s *zstd;
};
enum status frames_put(struct frames_out *o, struct sv raw, uint64_t *out_ref,
                       struct err *err) MUST_USE;
enum status frames_flush(struct frames_out *o, struct err *err) MUST_USE;

/* What of a frame's header does not depend on its payload. False: no frame can begin so. */
struct frame_header {
    uint64_t hash;
    uint32_t stored, raw;
};
bool frame_header_get(const uint8_t *p, struct frame_header *out);
uint64_t frame_hash(const uint8_t *frame, size_t bytes, uint64_t offset);

struct frames_in {
    struct file *file;
    const char *path; /* for messages */
    struct ZSTD_DCtx_s *zstd;
    struct buf packed;
};
void frames_in_fini(struct frames_in *in);
/* Replaces what is in out. ERR_CORRUPT names file and offset. */
enum status frames_get(struct frames_in *in, uint64_t ref, struct buf *out,
                       struct err *err) MUST_USE;

/* -- the block in memory */

struct part {
    uint64_t raw_bytes; /* of a stream */
    uint64_t *frames;
    size_t frames_count;
};

struct shard_entry {
    uint32_t shard;
    uint64_t series_first;
    uint32_t items_first, items_count; /* frames of PART_ITEMS */
    uint64_t items_bytes;
    struct block_shard info;
};

struct block_totals {
    uint64_t series_count, samples_count;
    uint64_t columns_count, names_count, pairs_count;
    uint64_t sets_count[SIDES];
    uint64_t data_bytes; /* of pages, columns and items */
    int64_t min_ms, max_ms;
};

struct block {
    unsigned refs;
    bool obsolete;
    bool suspect; /* atomic */
    struct disk *disk;
    struct file *file;
    char *path;
    uint64_t secret;
    uint32_t tenant, shards_count;
    uint16_t level;
    uint32_t resolution_ms;
    struct block_totals totals;
    uint64_t file_bytes;
    size_t memory_bytes;
    struct part parts[PART_COUNT];
    uint32_t *directory_first; /* first series of each frame of PART_DIRECTORY */
    struct shard_entry *shards;
    size_t shards_present;
};
const struct shard_entry *block_find_shard(const struct block *b, uint32_t shard);
enum status block_corrupt(const struct block *b, const char *what, struct err *err);

struct root { /* what root_put writes and root_get reads */
    struct block_totals totals;
    struct part parts[PART_COUNT];
    const uint64_t *directory_first;
    const struct shard_entry *shards;
    size_t shards_present;
};
void root_put(const struct root *root, struct buf *out);
/* Fills totals, parts, directory_first, shards; false: malformed, or ERR_NOMEM in *out_nomem. */
bool root_get(struct block *b, struct sv raw, bool *out_nomem);
