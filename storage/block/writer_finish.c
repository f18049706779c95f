/* SPDX-License-Identifier: Apache-2.0 */
/* The end of a block: tables of labels, root, footer, name. */
#include <assert.h>
#include <stdlib.h>

#include "node/base/hash.h"
#include "storage/block/writer_internal.h"

static int items_order(const void *a, const void *b) {
    uint32_t x = ((const struct shard_items *)a)->shard, y = ((const struct shard_items *)b)->shard;
    return (x > y) - (x < y);
}

/* The root says how many frames of items a shard has, in the order of shards. */
static enum status items_sort(struct block_writer *w, struct err *err) {
    struct u64s *frames = &w->streams[PART_ITEMS].frames, sorted = {0};
    if (w->items_count > 1) qsort(w->items, w->items_count, sizeof *w->items, items_order);
    for (size_t i = 0; i < w->items_count; i++) {
        for (uint32_t k = 0; k < w->items[i].count; k++) {
            if (u64s_put(&sorted, frames->at[w->items[i].first + k]) == OK) continue;
            u64s_fini(&sorted);
            return writer_nomem(err);
        }
    }
    u64s_fini(frames);
    *frames = sorted;
    return OK;
}

/* Shards that have series, or items, or both. */
static enum status shards_join(struct block_writer *w, struct err *err) {
    struct shard_entry *all = calloc(w->shards_present + w->items_count + 1, sizeof *all);
    if (all == NULL) return writer_nomem(err);
    size_t count = 0, s = 0;
    uint64_t series = 0;
    for (size_t i = 0; s < w->shards_present || i < w->items_count;) {
        bool has_items = i < w->items_count &&
                         (s == w->shards_present || w->items[i].shard <= w->shards[s].shard);
        bool has_series =
            s < w->shards_present && (!has_items || w->shards[s].shard == w->items[i].shard);
        struct shard_entry *e = &all[count++];
        *e = has_series ? w->shards[s++]
                        : (struct shard_entry){.shard = w->items[i].shard, .series_first = series};
        series += e->info.series_count;
        if (!has_items) continue;
        assert(count < 2 || e[-1].shard < e->shard); /* once per shard */
        e->items_count = w->items[i].count;
        e->items_bytes = w->items[i++].bytes;
    }
    free(w->shards);
    w->shards = all;
    w->shards_present = count;
    w->shard = NULL;
    return OK;
}

static void totals_fill(const struct block_writer *w, struct block_totals *t) {
    t->series_count = w->series_count;
    t->samples_count = w->samples_count;
    t->columns_count = w->columns.count;
    t->names_count = w->names_count;
    t->pairs_count = w->pairs_count;
    for (int side = 0; side < SIDES; side++)
        t->sets_count[side] = w->sets[side].count;
    t->min_ms = INT64_MAX;
    t->max_ms = INT64_MIN;
    for (size_t i = 0; i < w->shards_present; i++) {
        if (w->shards[i].info.series_count == 0) continue;
        t->min_ms = MIN(t->min_ms, w->shards[i].info.min_ms);
        t->max_ms = MAX(t->max_ms, w->shards[i].info.max_ms);
    }
    t->data_bytes = w->data_bytes;
}

static enum status root_write(struct block_writer *w, uint64_t *out_ref, struct err *err) {
    struct root root = {.shards = w->shards, .shards_present = w->shards_present};
    struct buf raw = {0};
    totals_fill(w, &root.totals);
    for (int part = 0; part < PART_COUNT; part++)
        root.parts[part] = (struct part){w->streams[part].raw_bytes, w->streams[part].frames.at,
                                         w->streams[part].frames.count};
    root.directory_first = w->directory.firsts.at;
    root_put(&root, &raw);
    enum status status =
        raw.failed ? writer_nomem(err) : frames_put(&w->out, buf_sv(&raw), out_ref, err);
    buf_fini(&raw);
    return status;
}

static enum status footer_write(struct block_writer *w, uint64_t root_ref, struct err *err) {
    uint8_t p[BLOCK_FOOTER_BYTES] = {0};
    put_u64le(p, ref_offset(root_ref));
    put_u64le(p + 8, ref_bytes(root_ref));
    put_u64le(p + 16, w->out.offset + sizeof p);
    put_u64le(p + 32, hash64(p, 32, w->header_hash));
    buf_put(&w->out.pending, p, sizeof p);
    w->out.offset += sizeof p;
    return frames_flush(&w->out, err);
}

static enum status directory_sync(struct block_writer *w, struct err *err) {
    char *slash = strrchr(w->path, '/');
    if (slash == NULL) return disk_sync_dir(w->options.disk, ".", err);
    *slash = '\0';
    enum status status = disk_sync_dir(w->options.disk, slash == w->path ? "/" : w->path, err);
    *slash = '/';
    return status;
}

enum status block_writer_finish(struct block_writer *w, bool *out_written, struct err *err) {
    uint64_t root_ref;
    assert(!w->finished);
    if (w->series_count == 0 && !w->options.even_empty) {
        *out_written = false;
        return OK;
    }
    TRY(directory_finish(w, err));
    TRY(stream_end(w, PART_COLUMNS_AT, err));
    TRY(stream_end(w, PART_COLUMNS, err));
    TRY(tables_write(w, err));
    TRY(items_sort(w, err));
    TRY(shards_join(w, err));
    TRY(root_write(w, &root_ref, err));
    TRY(footer_write(w, root_ref, err));
    TRY(writer_canceled(w, err));
    TRY(file_sync(w->out.file, err));
    TRY(disk_rename(w->options.disk, w->path_new, w->path, err));
    w->renamed = true;
    TRY(directory_sync(w, err));
    w->finished = true;
    *out_written = true;
    return OK;
}
