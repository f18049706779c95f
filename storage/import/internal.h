/* SPDX-License-Identifier: Apache-2.0 */
/* storage/import/internal.h: the parts of storage/import/prometheus.h. Prometheus' integers are
 * big-endian or Go's varints; its checksums CRC-32C. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "node/base/arena.h"
#include "node/base/buf.h"
#include "node/base/bytes.h"
#include "node/base/map.h"
#include "storage/histogram.h"
#include "storage/import/prometheus.h"
#include "storage/labels.h"

static inline uint16_t get_u16be(const void *p) {
    return __builtin_bswap16(get_u16le(p));
}
static inline uint32_t get_u32be(const void *p) {
    return __builtin_bswap32(get_u32le(p));
}
static inline uint64_t get_u64be(const void *p) {
    return __builtin_bswap64(get_u64le(p));
}
static inline uint64_t read_u64be(struct reader *r) {
    return __builtin_bswap64(read_u64(r));
}
static inline uint32_t read_u32be(struct reader *r) {
    return __builtin_bswap32(read_u32(r));
}

uint32_t prom_crc32c(uint32_t crc, const void *p, size_t len); /* crc: 0, or of what came before */

/* -- file.c: a file that is read through a window */

struct prom_file {
    struct file *file;
    uint64_t size;
    uint8_t *window;
    uint64_t window_at;
    size_t window_len, window_cap, ahead_bytes;
};
MUST_USE enum status prom_file_open(struct disk *disk, const char *path, size_t ahead_bytes,
                                    struct prom_file *out, struct err *err);
void prom_file_close(struct prom_file *f); /* zeroed too */
/* len bytes at offset, borrowed until the next call. ERR_CORRUPT: the file ends before. */
MUST_USE enum status prom_file_read(struct prom_file *f, uint64_t offset, size_t len,
                                    const uint8_t **out, struct err *err);
static inline size_t prom_file_left(const struct prom_file *f, uint64_t offset, size_t max) {
    return offset >= f->size ? 0 : (size_t)MIN(f->size - offset, (uint64_t)max);
}
enum status prom_corrupt(const struct prom_file *f, uint64_t offset, struct err *err,
                         const char *what) MUST_USE;
/* [u32 length][bytes][u32 checksum of them] at offset; reads all of it in steps. */
MUST_USE enum status prom_file_check_section(struct prom_file *f, uint64_t offset,
                                             uint32_t *out_len, struct err *err);
bool prom_file_is_zero(struct prom_file *f, uint64_t offset); /* from there to the end */
/* Names in a directory that are numbers of digits digits (0: any), ascending; no directory: none.
 */
struct prom_numbers {
    uint64_t *items;
    size_t count, cap;
    bool failed;
};
MUST_USE enum status prom_list_numbers(struct disk *disk, const char *path, struct sv prefix,
                                       struct prom_numbers *out, struct err *err);
char *prom_path(const char *fmt, ...) PRINTF_LIKE(1, 2); /* heap; NULL without memory */

/* -- intervals.c: deleted ranges, both ends inclusive */

struct prom_interval {
    uint64_t ref;
    int64_t min_ms, max_ms;
};
struct prom_intervals {
    struct prom_interval *items;
    size_t count, cap;
    bool sorted;
};
MUST_USE enum status prom_intervals_add(struct prom_intervals *list, struct prom_interval item);
void prom_intervals_sort(struct prom_intervals *list); /* by ref; overlaps are joined */
void prom_intervals_fini(struct prom_intervals *list);
/* Those of ref, of a sorted list. */
const struct prom_interval *prom_intervals_of(const struct prom_intervals *list, uint64_t ref,
                                              size_t *out_count);
/* The tombstones file of a block. Missing: none. */
MUST_USE enum status prom_tombstones_read(struct disk *disk, const char *path,
                                          struct prom_intervals *out, struct err *err);

/* -- collect.c: the samples of one series from all places, merged by time */

struct prom_collect {
    struct samples samples;
    int64_t from_ms, to_ms;
    /* what follows is left out where these are */
    const struct prom_interval *deleted;
    size_t deleted_count;
    bool unsorted;
    struct samples scratch;
    struct arena histograms; /* of chunks, until it is reset */
    uint64_t conflicts;
};
/* Of more, its columns are borrowed; histograms have to live as long as c is not reset. */
MUST_USE enum status prom_collect_add(struct prom_collect *c, const struct samples *more);
/* Ascending; of equal times the one that was added last stays. */
MUST_USE enum status prom_collect_finish(struct prom_collect *c);
void prom_collect_reset(struct prom_collect *c);
void prom_collect_fini(struct prom_collect *c);

/* -- chunk.c */

enum prom_encoding {
    PROM_NONE = 0,
    PROM_XOR = 1,
    PROM_HISTOGRAM = 2,
    PROM_FLOAT_HISTOGRAM = 3,
    PROM_XOR2 = 4,
    PROM_OUT_OF_ORDER = 0x80, /* a flag, in head chunks */
};
/* Appends the samples of an XOR chunk to out. ERR_CORRUPT without a message. */
MUST_USE enum status prom_chunk_decode(const uint8_t *bytes, size_t len, struct samples *out);
/* Likewise of an XOR2 chunk; start timestamps are counted. */
MUST_USE enum status prom_chunk_decode_2(const uint8_t *bytes, size_t len, struct samples *out,
                                         struct prom_counts *counts);
/* Decodes a chunk of any encoding into the collection; counts what cannot be held. scratch is
 * reused. ERR_CORRUPT without a message. */
MUST_USE enum status prom_chunk_collect(uint8_t encoding, const uint8_t *bytes, size_t len,
                                        struct samples *scratch, struct prom_collect *into,
                                        struct prom_counts *counts);

/* -- histograms.c */

/* Appends the samples of a histogram chunk; those that break the rules of storage/histogram.h are
 * counted and left out. ERR_CORRUPT without a message. */
MUST_USE enum status prom_histogram_chunk(bool is_float, const uint8_t *bytes, size_t len,
                                          struct arena *arena, struct samples *out,
                                          struct prom_counts *counts);
/* A histogram of a log. *out NULL: left out, counted. ERR_CORRUPT without a message. */
MUST_USE enum status prom_histogram_read(struct reader *r, bool is_float, struct arena *arena,
                                         struct prom_counts *counts, struct histogram **out);

/* -- index.c: the index of a block, version 2 */

struct prom_index {
    struct prom_file file;
    uint64_t series_begin, series_end;
    char *symbols;
    uint32_t *symbol_offsets; /* of the length before each, in symbols */
    uint32_t symbols_count, symbols_bytes;
    uint32_t *refs; /* of all series, ascending */
    uint32_t refs_count;
    struct label *labels; /* scratch */
    size_t labels_cap;
};
struct prom_chunk_place {
    int64_t min_ms, max_ms;
    uint64_t ref;
};
struct prom_chunk_places {
    struct prom_chunk_place *items;
    size_t count, cap;
};
MUST_USE enum status prom_index_open(struct disk *disk, const char *path, struct prom_index *out,
                                     struct err *err);
void prom_index_close(struct prom_index *index); /* zeroed too */
/* Canonical bytes of a series are appended to labels, unless NULL; its chunks replace places. */
MUST_USE enum status prom_index_series(struct prom_index *index, uint32_t ref, struct buf *labels,
                                       struct prom_chunk_places *places, struct err *err);

/* -- block.c */

enum { PROM_ULID_LEN = 26 };
struct prom_block {
    char ulid[PROM_ULID_LEN + 1];
    char *path;
    int64_t min_ms, max_ms; /* half open, as in meta.json */
    bool deletable, in_order;
    char (*parents)[PROM_ULID_LEN + 1];
    size_t parents_count;
    /* while a scan has it open */
    struct prom_index index;
    struct prom_file *chunk_files;
    size_t chunk_files_count;
    struct prom_intervals tombstones;
    struct samples decoded; /* scratch */
};
/* Reads meta.json alone. */
MUST_USE enum status prom_block_meta(struct disk *disk, const char *dir, const char *ulid,
                                     struct prom_block *out, struct err *err);
MUST_USE enum status prom_meta_parse(struct sv json, struct prom_block *out, struct err *err);
void prom_block_fini(struct prom_block *block);
MUST_USE enum status prom_block_open(struct disk *disk, struct prom_block *block, struct err *err);
void prom_block_close(struct prom_block *block);
MUST_USE enum status prom_block_collect(struct prom_block *block, uint32_t ref,
                                        const struct prom_chunk_places *places,
                                        struct prom_collect *into, struct prom_counts *counts,
                                        struct err *err);

/* -- wal.c: segments of a log */

struct prom_record_sink {
    /* A record as it was logged; ERR_CORRUPT without a message: its content. */
    enum status (*record)(void *ctx, struct sv bytes);
    void *ctx;
};
/* Reads a segment. may_be_torn: it is the last one, and its end may be cut; *out_cut_bytes. */
MUST_USE enum status prom_segment_read(struct prom_file *f, bool may_be_torn,
                                       const struct prom_record_sink *sink, uint64_t *out_cut_bytes,
                                       struct err *err);
/* All segments of a directory from the number on. */
MUST_USE enum status prom_log_read(struct disk *disk, const char *path, uint64_t from,
                                   bool may_be_torn, const struct prom_record_sink *sink,
                                   uint64_t *out_segments, uint64_t *out_cut_bytes,
                                   struct err *err);

/* -- head.c: what is in no block */

struct prom_head_chunk {
    uint64_t ref;   /* of the series, as the log names it */
    uint64_t place; /* file number << 32 | offset */
    int64_t min_ms, max_ms;
    uint32_t next; /* of the same series and kind, or MAP_NONE */
};
struct prom_head_series {
    struct sv canonical;
    uint32_t shard;
    struct samples in_order, late;      /* those that are in no chunk */
    size_t late_open;                   /* from here on late ones go into one chunk, and ascend */
    uint32_t chunks[2], chunks_last[2]; /* in order, and not */
    int64_t chunks_max_ms;              /* of those in order */
    struct prom_intervals deleted;
    struct prom_exemplar *exemplars;
    size_t exemplars_count, exemplars_cap;
    uint64_t metadata_at; /* that many records were read before, and this one; 0: none */
    uint8_t metadata_type;
    struct sv unit, help;
};
struct prom_head_ref {
    uint64_t ref;
    uint32_t series; /* MAP_NONE: only chunks are known yet */
    uint32_t chunks[2], chunks_last[2];
};
struct prom_head {
    const struct prom_options *options;
    struct prom_counts *counts;
    int64_t min_valid_ms;
    int64_t min_ms, max_ms; /* of samples; min > max: none */
    struct arena arena;     /* labels, unit and help */
    struct prom_head_series *series;
    size_t series_count, series_cap;
    struct map by_labels;
    uint64_t metadata_records;
    struct prom_head_ref *refs;
    size_t refs_count, refs_cap;
    struct map by_ref;
    struct prom_head_chunk *chunks;
    size_t chunks_count, chunks_cap;
    uint64_t chunk_last_place;
    struct prom_file *chunk_files;
    uint64_t chunk_files_first; /* the number of the first */
    size_t chunk_files_count;
    struct buf scratch;
    struct label *labels;
    size_t labels_cap;
    struct samples decoded;
};
void prom_head_init(struct prom_head *head, const struct prom_options *options,
                    struct prom_counts *counts, int64_t min_valid_ms);
void prom_head_fini(struct prom_head *head);
/* Chunks first, then the logs: what is in a chunk is not taken from a log. */
MUST_USE enum status prom_head_read_chunks(struct prom_head *head, struct err *err);
MUST_USE enum status prom_head_read_logs(struct prom_head *head, struct err *err);
MUST_USE enum status prom_head_record(struct prom_head *head, struct sv bytes);
MUST_USE enum status prom_head_late_record(struct prom_head *head, struct sv bytes);
MUST_USE enum status prom_head_collect(struct prom_head *head, uint32_t series,
                                       struct prom_collect *into, struct err *err);
/* For records.c. NULL: unknown. */
struct prom_head_series *prom_head_find(struct prom_head *head, uint64_t ref);
struct prom_head_ref *prom_head_ref(struct prom_head *head, uint64_t ref); /* made when unknown */
MUST_USE enum status prom_head_add_series(struct prom_head *head, uint64_t ref,
                                          struct label *labels, size_t count);
struct prom_sample {
    uint64_t ref;
    int64_t time_ms;
    double value;
    struct histogram *histogram; /* in the head's arena, or NULL */
    bool late;
};
MUST_USE enum status prom_head_add_sample(struct prom_head *head, const struct prom_sample *sample);
void prom_head_mark(struct prom_head *head, uint64_t ref, uint64_t place);
MUST_USE enum status prom_head_delete(struct prom_head *head, uint64_t ref, int64_t min_ms,
                                      int64_t max_ms);
void prom_head_sort(struct prom_head *head); /* deletions and exemplars, when all is read */
MUST_USE enum status prom_head_add_exemplar(struct prom_head *head, uint64_t ref, int64_t time_ms,
                                            double value, struct sv canonical);

/* -- families.c: exemplars of any source */

/* By time, value and labels, each once; how many that are. */
size_t prom_exemplars_sort(struct prom_exemplar *exemplars, size_t count);
/* Reorders them. A time, as low as can be, so that at most max of them are later. */
int64_t prom_newest_after(int64_t *times, size_t count, size_t max);

/* Room for one more of size bytes; ERR_NOMEM. */
MUST_USE enum status prom_grow(void **items, size_t *cap, size_t count, size_t size);
