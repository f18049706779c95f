/* SPDX-License-Identifier: Apache-2.0 */
/* A block, format 1. Integers are little-endian, varints LEB128 of u64, "zigzag" a varint of a
 * zigzag code, [n] a count or position that is said elsewhere.
 *
 *   file    header (40 bytes), frames, footer (40 bytes): every byte is in one of them
 *   header  0 "CAIRNBLK" | 8 u16 format | 10 u16 oldest reader's format | 12 u32 tenant
 *           16 u32 shards_count | 20 u16 level | 22 u16 PAGE_FORMAT | 24 u32 resolution_ms
 *           28 u32 0 | 32 u64 XXH3-64 of 0..31
 *   footer  0 u64 offset, 8 u64 bytes of the root's frame | 16 u64 bytes of the file
 *           24 u64 0 | 32 u64 XXH3-64 of 0..31, seeded with the header's
 *   frame   0 u64 XXH3-64 of all that follows, seeded with the frame's offset | 8 u32 stored bytes
 *           12 u32 raw bytes | 16 stored bytes: zstd where they are fewer than raw, else raw
 *   stream  bytes cut into frames of 8 KiB, the last may be shorter; a position counts bytes
 *
 * A reference to a frame is offset << 24 | bytes with its header. Series are numbered from 0 in the
 * order of the file, shard by shard. Their labels are two sets, those whose names are in a list of
 * words for where a series comes from (job, instance, pod: the target side) and the others (the
 * metric side); both are numbered from 0.
 *
 *   PAGES       one or more whole pages, 4 KiB together (8 in a merged block) where no one is
 *               longer: of floats as in storage/page; of histograms for each varint len, the bytes
 *               of storage/histogram.h
 *   DIRECTORY   up to 256 series:
 *                 varint first series, varint series
 *                 varint n, varint end, n times: varint offset - end of the one before, varint
 *                 bytes: the frames of pages; for the first, end is its own offset
 *                 for each 32nd series: u32 position of its record behind these, u32 frame (among
 *                 those n) and u32 position in it at which its pages begin
 *                 records: for each series its pages, ascending by time:
 *                   u8 flags: bits 0-1 kind (0 floats, 1 histograms), 4 last of the series, 8 whole
 *                   column, 16 rows are missing, 32 start times, 64 the same bytes as a page
 *                   before, 128 begins the next frame
 *                   zigzag column - expected: at first the series' target set, then the column
 *                   before + 1
 *                   unless 8: varint first row, varint rows; else all rows of the column
 *                   if 16: varint m, m times varint rows that are there since the last missing one
 *                   if 32: zigzag column of start times - column of times; it has a row a sample
 *                   if 64: varint frame, varint position
 *                   varint bytes of the page
 *   LABELS      1024 series: varint len, len bytes: a column (storage/page) of sets of the metric
 *               side; then one of the target side
 *   ITEMS       of one shard: its exemplars, see storage/exemplar_items.h; opaque here
 *   COLUMNS_AT  stream; for each column u64 position in COLUMNS, u32 bytes, u32 rows, i64 first,
 *               i64 last
 *   COLUMNS     stream of columns (storage/page)
 *   POSTINGS    stream; for each set: varint first series, then varints of steps to the next
 *   SETS        stream; for each set of a side: varint position in POSTINGS, varint series, varint
 *               n, n varints of steps from pair to pair, the first from 0; SETS_AT: u64 positions
 *   PAIRS       stream; label pairs by name, then by value: varint len, the value, varint position
 *               in PAIR_SETS, varint sets; PAIRS_AT: u64 positions
 *   PAIR_SETS   stream; for each pair the sets that have it: varint steps, the first from 0
 *   NAMES       stream; by name: varint len, the name, u8 side, varint pairs
 *   root        see root.c: totals, shards, and for each part but PAGES its frames */
#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <zstd.h>

#include "node/base/cancel.h"
#include "node/base/hash.h"
#include "storage/block/writer_internal.h"

static_assert(BLOCK_HEADER_BYTES == 8 + 2 + 2 + 4 + 4 + 2 + 2 + 4 + 4 + 8, "header");
static_assert(BLOCK_FOOTER_BYTES == 8 + 8 + 8 + 8 + 8, "footer");
static_assert(FRAME_HEADER_BYTES == 8 + 4 + 4, "frame");
static_assert(COLUMN_ENTRY_BYTES == 8 + 4 + 4 + 8 + 8, "an entry of COLUMNS_AT");
static_assert(RESTART_BYTES == 3 * 4, "of each 32nd series");
static_assert(STREAM_FRAME_BYTES % COLUMN_ENTRY_BYTES == 0, "no entry stands across frames");
static_assert(FRAME_BYTES_MAX < 1 << 24, "the low part of a reference");
static_assert(PAGE_SAMPLES_MAX >= 960, "rows of a page from level 2 on");
static_assert((PAGE_KIND & (PAGE_LAST | PAGE_WHOLE | PAGE_MISSING | PAGE_STARTS | PAGE_SAME |
                            PAGE_NEXT_FRAME)) == 0,
              "flags are apart from the kind");

const char *const block_part_names[PART_COUNT] = {
    [PART_PAGES] = "page",
    [PART_DIRECTORY] = "directory",
    [PART_LABELS] = "labels of series",
    [PART_ITEMS] = "items",
    [PART_COLUMNS_AT] = "position of a column",
    [PART_COLUMNS] = "column",
    [PART_POSTINGS] = "posting list",
    [PART_NAMES] = "label name",
    [PART_PAIRS_AT] = "position of a label",
    [PART_PAIRS] = "label",
    [PART_PAIR_SETS] = "sets of a label",
    [PART_SETS_AT] = "position of a label set",
    [PART_SETS] = "label set",
    [PART_SETS_AT + 2] = "position of a target",
    [PART_SETS + 2] = "target",
};

enum status writer_nomem(struct err *err) {
    return err_set(err, ERR_NOMEM, 0, "block: out of memory");
}

enum status writer_canceled(const struct block_writer *w, struct err *err) {
    if (!cancel_is_set(w->options.canceled)) return OK;
    return err_set(err, ERR_CANCELED, 0, "block %s: writing was canceled", w->path);
}

enum status stream_put(struct block_writer *w, enum block_part part, struct sv bytes,
                       struct err *err) {
    struct stream_out *s = &w->streams[part];
    s->raw_bytes += bytes.len;
    while (bytes.len > 0) {
        size_t n = MIN(bytes.len, STREAM_FRAME_BYTES - s->open.len);
        buf_put_sv(&s->open, sv_take(bytes, n));
        bytes = sv_skip(bytes, n);
        if (s->open.failed) return writer_nomem(err);
        if (s->open.len == STREAM_FRAME_BYTES) TRY(stream_end(w, part, err));
    }
    return OK;
}

enum status stream_end(struct block_writer *w, enum block_part part, struct err *err) {
    struct stream_out *s = &w->streams[part];
    uint64_t ref;
    if (s->open.len == 0) return OK;
    TRY(frames_put(&w->out, buf_sv(&s->open), &ref, err));
    if (part == PART_COLUMNS) w->data_bytes += ref_bytes(ref);
    buf_clear(&s->open);
    return u64s_put(&s->frames, ref) == OK ? OK : writer_nomem(err);
}

static enum status header_write(struct block_writer *w, struct err *err) {
    const struct block_writer_options *o = &w->options;
    uint8_t p[BLOCK_HEADER_BYTES] = {0};
    memcpy(p, BLOCK_MAGIC, 8);
    put_u16le(p + 8, BLOCK_FORMAT_VERSION);
    put_u16le(p + 10, BLOCK_FORMAT_VERSION);
    put_u32le(p + 12, o->tenant);
    put_u32le(p + 16, o->shards_count);
    put_u16le(p + 20, o->level);
    put_u16le(p + 22, PAGE_FORMAT);
    put_u32le(p + 24, o->resolution_ms);
    put_u64le(p + 32, hash64(p, 32, 0));
    buf_put(&w->out.pending, p, sizeof p);
    w->out.offset = sizeof p;
    w->header_hash = get_u64le(p + 32);
    return w->out.pending.failed ? writer_nomem(err) : OK;
}

/* Of frames of pages, beside level 1: 6 takes 2 % off their bytes for 2 ns more a byte,
 * and they unpack faster; 12 takes 3 % off for 24 ns, and they unpack no slower. A merge happens
 * beside the writing of samples, and what it makes stays. */
enum { ZSTD_LEVEL_HEAD = 6, ZSTD_LEVEL_MERGED = 12 };

static enum status writer_open(struct block_writer *w, struct err *err) {
    const char *path = w->options.path;
    size_t bytes = strlen(path) + sizeof ".tmp";
    w->path = strdup(path);
    w->path_new = malloc(bytes);
    w->scratch = malloc(sizeof *w->scratch);
    if (w->path == NULL || w->path_new == NULL || w->scratch == NULL) return writer_nomem(err);
    snprintf(w->path_new, bytes, "%s.tmp", path);
    page_scratch_init(w->scratch);
    TRY(disk_open(w->options.disk, w->path_new, DISK_READ | DISK_WRITE | DISK_CREATE, &w->out.file,
                  err));
    TRY(file_truncate(w->out.file, 0, err)); /* one that was cut short may have left it */
    return header_write(w, err);
}

enum status block_writer_new(const struct block_writer_options *options, struct block_writer **out,
                             struct err *err) {
    assert(options->shards_count > 0);
    struct block_writer *w = calloc(1, sizeof *w);
    if (w == NULL) return writer_nomem(err);
    w->options = *options;
    w->out.zstd_level = options->level == 0 ? ZSTD_LEVEL_HEAD : ZSTD_LEVEL_MERGED;
    w->directory.generation = 1;
    for (int side = 0; side < SIDES; side++)
        map_init(&w->sets[side].map);
    enum status status = writer_open(w, err);
    if (status != OK) {
        block_writer_free(w);
        return status;
    }
    *out = w;
    return OK;
}

void block_writer_free(struct block_writer *w) {
    if (w == NULL) return;
    bool made = w->out.file != NULL;
    file_close(w->out.file);
    if (made && !w->finished)
        status_ignore(disk_unlink(w->options.disk, w->renamed ? w->path : w->path_new, NULL));
    for (int side = 0; side < SIDES; side++) {
        map_fini(&w->sets[side].map);
        free(w->sets[side].at);
        buf_fini(&w->sets[side].bytes);
        buf_fini(&w->side_bytes[side]);
    }
    for (int part = 0; part < PART_COUNT; part++) {
        u64s_fini(&w->streams[part].frames);
        buf_fini(&w->streams[part].open);
    }
    buf_fini(&w->directory.records);
    buf_fini(&w->directory.raw);
    buf_fini(&w->directory.pages);
    u64s_fini(&w->directory.frames);
    u64s_fini(&w->directory.firsts);
    columns_fini(&w->columns);
    buf_fini(&w->histogram);
    buf_fini(&w->histograms);
    ZSTD_freeCCtx(w->out.zstd);
    buf_fini(&w->out.pending);
    buf_fini(&w->out.packed);
    buf_fini(&w->before);
    free(w->shards);
    free(w->items);
    free(w->scratch);
    free(w->path);
    free(w->path_new);
    free(w);
}

enum status block_writer_add(struct block_writer *w, uint32_t shard, struct sv canonical,
                             const struct samples *samples, struct err *err) {
    assert(samples->count > 0 && shard < w->options.shards_count);
    series_id id = series_id_of(w->options.secret, w->options.tenant, canonical);
    assert(series_shard(id, w->options.shards_count) == shard);
    TRY(writer_canceled(w, err));
    TRY(writer_begin_series(w, shard, canonical, err));
    TRY(writer_put_samples(w, samples, err));
    if (block_digest_add(writer_digest(w), id, samples) != OK) return writer_nomem(err);
    return writer_end_series(w, err);
}

enum status block_writer_items(struct block_writer *w, uint32_t shard, struct sv items,
                               struct err *err) {
    struct stream_out *s = &w->streams[PART_ITEMS];
    TRY(writer_canceled(w, err));
    if (items.len == 0) return OK;
    if (w->items_count == w->items_cap) {
        size_t cap = MAX(w->items_cap * 2, 16);
        struct shard_items *p = realloc(w->items, cap * sizeof *p);
        if (p == NULL) return writer_nomem(err);
        w->items = p;
        w->items_cap = cap;
    }
    struct shard_items *entry = &w->items[w->items_count++];
    *entry = (struct shard_items){
        .shard = shard, .first = (uint32_t)s->frames.count, .bytes = items.len};
    while (items.len > 0) {
        uint64_t ref;
        TRY(frames_put(&w->out, sv_take(items, ITEMS_FRAME_BYTES), &ref, err));
        if (u64s_put(&s->frames, ref) != OK) return writer_nomem(err);
        items = sv_skip(items, ITEMS_FRAME_BYTES);
        w->data_bytes += ref_bytes(ref);
        entry->count++;
    }
    return OK;
}
