/* SPDX-License-Identifier: Apache-2.0 */
/* Rows of stored series. For each shard the range of the query is cut into segments: those for
 * which a block of rows speaks, and the others, whose rows are made of samples. Raw blocks that
 * rows stand for are looked at only where a deletion or the floor cuts through windows of a series,
 * or somebody wants its histograms: then all of them, as another stored ("spare"). */
#include <assert.h>
#include <stdlib.h>

#include "storage/archive/stored_internal.h"

struct segment { /* (from, to] */
    int64_t from_ms, to_ms;
    const struct list_block *of; /* NULL: samples */
};
struct cut { /* of segments, by time */
    uint32_t first, end;
};
struct stored_rows {
    const struct list_block **blocks; /* of rows, that may be of use */
    uint32_t blocks_count;
    struct segment *segments;
    uint32_t segments_count, segments_cap;
    struct cut *cuts; /* by shard */
    struct cut all;   /* of the shards that all blocks speak for, as mostly all do */
    const struct list_block *wanted_block; /* of which that was asked for those */
    bool wanted;
    struct stored spare;
    bool spare_found;
    /* scratch of reading */
    struct samples samples;
    struct downsample_rows part, coarse;
};

void stored_rows_free(struct stored *s) {
    struct stored_rows *r = s->rows;
    if (r == NULL) return;
    stored_release(&r->spare);
    samples_fini(&r->samples);
    downsample_rows_fini(&r->part);
    downsample_rows_fini(&r->coarse);
    free(r->blocks);
    free(r->segments);
    free(r->cuts);
    free(r);
    s->rows = NULL;
}

/* -- on the core */

static int64_t rows_end(const struct list_block *b) {
    return b->of.max_ms + 1;
}

static bool is_of_use(const struct stored *s, const struct list_block *b) {
    uint32_t r = b->of.resolution_ms;
    return r != 0 && s->resolution_ms % r == 0 && b->block != NULL &&
           b->of.min_ms % s->resolution_ms == 0 && rows_end(b) % s->resolution_ms == 0 &&
           rows_end(b) > s->query.from_ms && b->of.min_ms < s->query.to_ms;
}

static enum status segment_put(struct stored_rows *r, struct segment segment, struct err *err) {
    if (r->segments_count == r->segments_cap) {
        uint32_t cap = r->segments_cap == 0 ? 64 : r->segments_cap * 2;
        struct segment *to = realloc(r->segments, cap * sizeof *to);
        if (to == NULL) return stored_nomem(err);
        r->segments = to;
        r->segments_cap = cap;
    }
    r->segments[r->segments_count++] = segment;
    return OK;
}

/* The coarsest that speaks for the shard right after `at`; else *out_next is where one begins. */
static const struct list_block *block_after(const struct stored *s, uint32_t shard, int64_t at,
                                            int64_t *out_next) {
    const struct list_block *best = NULL;
    uint32_t copy = store_shard_copy(s->store, shard);
    *out_next = s->query.to_ms;
    for (uint32_t i = 0; i < s->rows->blocks_count; i++) {
        const struct list_block *b = s->rows->blocks[i];
        if (rows_end(b) <= at || !list_block_has(b, shard, copy)) continue;
        if (b->of.min_ms > at)
            *out_next = MIN(*out_next, b->of.min_ms);
        else if (best == NULL || b->of.resolution_ms > best->of.resolution_ms)
            best = b;
    }
    return best;
}

static bool all_speak(const struct stored *s, uint32_t shard) {
    uint32_t copy = store_shard_copy(s->store, shard);
    for (uint32_t i = 0; i < s->rows->blocks_count; i++)
        if (!list_block_has(s->rows->blocks[i], shard, copy)) return false;
    return true;
}

static enum status shard_cut(struct stored *s, uint32_t shard, struct err *err) {
    struct stored_rows *r = s->rows;
    struct cut *cut = &r->cuts[shard];
    bool all = all_speak(s, shard);
    if (all && r->all.end > r->all.first) {
        *cut = r->all;
        return OK;
    }
    cut->first = r->segments_count;
    for (int64_t at = s->query.from_ms, next; at < s->query.to_ms; at = next) {
        const struct list_block *b = block_after(s, shard, at, &next);
        if (b != NULL) next = MIN(rows_end(b), s->query.to_ms);
        TRY(segment_put(r, (struct segment){at, next, b}, err));
    }
    cut->end = r->segments_count;
    if (all) r->all = *cut;
    return OK;
}

static enum status blocks_gather(struct stored *s, struct err *err) {
    const struct block_list *list = store_blocks(s->store);
    struct stored_rows *r = s->rows;
    r->blocks = calloc(list->count + 1, sizeof *r->blocks);
    r->cuts = calloc((size_t)s->query.shards->shards_count + 1, sizeof *r->cuts);
    if (r->blocks == NULL || r->cuts == NULL) return stored_nomem(err);
    for (uint32_t i = 0; i < list->count; i++)
        if (is_of_use(s, &list->blocks[i])) r->blocks[r->blocks_count++] = &list->blocks[i];
    return OK;
}

enum status stored_rows_take(struct stored *s, struct err *err) {
    const struct block_list *list = store_blocks(s->store);
    bool any = false;
    for (uint32_t i = 0; list != NULL && i < list->count && !any; i++)
        any = is_of_use(s, &list->blocks[i]);
    if (!any) return OK;
    s->rows = calloc(1, sizeof *s->rows);
    if (s->rows == NULL) return stored_nomem(err);
    struct stored_rows *r = s->rows;
    stored_init(&r->spare, s->store, &s->query);
    r->spare.spare = true;
    r->spare.canceled = s->canceled;
    TRY(blocks_gather(s, err));
    for (uint32_t shard = 0; shard < s->query.shards->shards_count; shard++)
        if (shard_set_has(s->query.shards, shard)) TRY(shard_cut(s, shard, err));
    return stored_blocks_take(&r->spare, err);
}

static bool cut_wants(const struct stored_rows *r, const struct list_block *b,
                      const struct cut *cut) {
    bool is_raw = b->of.resolution_ms == 0;
    for (uint32_t i = cut->first; i < cut->end; i++) {
        const struct segment *g = &r->segments[i];
        if (g->of != (is_raw ? NULL : b)) continue;
        if (!is_raw || (b->of.max_ms > g->from_ms && b->of.min_ms <= g->to_ms)) return true;
    }
    return false;
}

bool stored_rows_want(const struct stored *s, const struct list_block *b, uint32_t shard) {
    struct stored_rows *r = s->rows;
    const struct cut *cut = &r->cuts[shard];
    if (cut->first != r->all.first || cut->end != r->all.end) return cut_wants(r, b, cut);
    if (r->wanted_block != b) r->wanted = cut_wants(r, b, cut);
    r->wanted_block = b;
    return r->wanted;
}

/* -- on a worker */

/* What raw blocks that rows stand for have of the series. */
static enum status spare_read(const struct stored *s, size_t index, const int64_t range_ms[2],
                              struct samples *out, bool *out_in_order, struct err *err) {
    struct stored *spare = &s->rows->spare;
    *out_in_order = true;
    if (spare->blocks_count == 0) return OK;
    if (!s->rows->spare_found) {
        TRY(stored_find(spare, err));
        s->rows->spare_found = true;
    }
    size_t at = stored_by_id(spare, s->series[index].id);
    return at == SIZE_MAX ? OK : stored_runs_read(spare, at, range_ms, out, out_in_order, err);
}

static enum status samples_read(const struct stored *s, size_t index, const int64_t range_ms[2],
                                bool spare, struct samples *out, struct err *err) {
    size_t from = out->count;
    bool in_order;
    TRY(spare ? spare_read(s, index, range_ms, out, &in_order, err)
              : stored_runs_read(s, index, range_ms, out, &in_order, err));
    return stored_rest_read(s, index, range_ms, from, in_order, out, err);
}

enum status stored_rows_samples(const struct stored *s, size_t index, int64_t from_ms,
                                int64_t to_ms, struct samples *out, struct err *err) {
    return samples_read(s, index, (int64_t[2]){from_ms, to_ms}, true, out, err);
}

static enum status rows_of_samples(const struct stored *s, size_t index, const int64_t range_ms[2],
                                   bool spare, struct downsample_rows *out, struct err *err) {
    struct stored_rows *r = s->rows;
    samples_clear(&r->samples);
    TRY(samples_read(s, index, range_ms, spare, &r->samples, err));
    return downsample_raw(&r->samples, s->resolution_ms, out) == OK ? OK : stored_nomem(err);
}

static const struct stored_run *run_in(const struct stored *s, size_t index,
                                       const struct list_block *of) {
    for (uint32_t i = s->series[index].first; i != RUN_NONE; i = s->runs[i].next)
        if (s->blocks[s->runs[i].block].of == of) return &s->runs[i];
    return NULL;
}

struct reading {
    const struct stored *s;
    size_t index, labels_count;
    uint32_t columns;
    struct filter_windows windows;
    bool has_windows;
};

static enum status rows_of_block(const struct reading *rd, const struct segment *g,
                                 const int64_t range_ms[2], struct err *err) {
    const struct stored *s = rd->s;
    struct stored_rows *r = s->rows;
    uint32_t own_ms = g->of->of.resolution_ms;
    r->part.count = 0;
    if (rd->has_windows && filter_splits_windows(&rd->windows, range_ms[0], range_ms[1], own_ms))
        return rows_of_samples(s, rd->index, range_ms, true, &r->part, err);
    const struct stored_run *run = run_in(s, rd->index, g->of);
    if (run == NULL) return OK;
    struct block_columns wanted = {range_ms[0], range_ms[1], rd->columns};
    TRY(stored_read_ended(s, run->block,
                          rows_read(s->blocks[run->block].selection, run->index, &wanted, &r->part,
                                    &r->samples, err)));
    if (rd->has_windows) rows_filter_by(&rd->windows, own_ms, &r->part);
    if (own_ms == s->resolution_ms) return OK;
    struct downsample_rows fine = r->part;
    r->part = r->coarse;
    r->coarse = fine;
    return downsample_rows(&fine, s->resolution_ms, &r->part) == OK ? OK : stored_nomem(err);
}

static enum status reading_begin(struct reading *rd, int64_t from_ms, int64_t to_ms,
                                 struct err *err) {
    const struct stored *s = rd->s;
    uint32_t shard = s->series[rd->index].shard;
    if (!archive_filter_has(&s->scratch->filter, shard, from_ms, to_ms)) return OK;
    TRY(stored_scratch_labels(s, rd->index, &rd->labels_count, err));
    rd->has_windows = archive_filter_windows(&s->scratch->filter, shard, s->scratch->labels,
                                             rd->labels_count, &rd->windows);
    return OK;
}

/* Without a block of rows. */
static enum status rows_made(const struct stored *s, size_t index, const int64_t range_ms[2],
                             struct downsample_rows *out, struct err *err) {
    struct samples samples = {0};
    enum status status = stored_read(s, index, range_ms[0], range_ms[1], &samples, err);
    if (status == OK && downsample_raw(&samples, s->resolution_ms, out) != OK)
        status = stored_nomem(err);
    samples_fini(&samples);
    return status;
}

enum status stored_read_rows(const struct stored *s, size_t index,
                             const struct block_columns *wanted, struct downsample_rows *out,
                             struct err *err) {
    int64_t from_ms = wanted->from_ms, to_ms = wanted->to_ms;
    assert(s->resolution_ms != 0 && from_ms % s->resolution_ms == 0 &&
           to_ms % s->resolution_ms == 0);
    if (s->rows == NULL || s->series == NULL)
        return rows_made(s, index, (int64_t[2]){from_ms, to_ms}, out, err);
    struct reading rd = {.s = s, .index = index, .columns = wanted->columns};
    uint32_t shard = s->series[index].shard;
    struct stored_rows *r = s->rows;
    out->count = 0;
    TRY(reading_begin(&rd, from_ms, to_ms, err));
    for (uint32_t i = r->cuts[shard].first; i < r->cuts[shard].end; i++) {
        const struct segment *g = &r->segments[i];
        int64_t range_ms[2] = {MAX(g->from_ms, from_ms), MIN(g->to_ms, to_ms)};
        if (range_ms[0] >= range_ms[1]) continue;
        if (g->of == NULL)
            TRY(rows_of_samples(s, index, range_ms, false, &r->part, err));
        else
            TRY(rows_of_block(&rd, g, range_ms, err));
        if (downsample_append(out, &r->part) != OK) return stored_nomem(err);
    }
    return OK;
}
