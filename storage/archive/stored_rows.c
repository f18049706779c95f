/* SPDX-License-Identifier: Apache-2.0 */
/* Rows of stored series. For each shard the range of the query is cut into segments: those for
 * which a block of rows speaks, and the others, whose rows are made of samples. Raw blocks that
 * rows stand for are looked at only where a deletion or the floor cuts through windows of a series,
 * or somebody wants its histograms: then all of them, as another stored ("spare").
 *
 * Where samples have ended (storage/ended.h) rows are what there is, for who wants samples, too
 * (ended_rows.h): segments there have their own resolution, whatever the query's is. */
#include <assert.h>
#include <stdlib.h>

#include "node/base/bytes.h"
#include "storage/archive/plan.h"
#include "storage/archive/stored_internal.h"

struct segment { /* (from, to] */
    int64_t from_ms, to_ms;
    uint32_t resolution_ms;      /* of the rows; 0: nobody asks for rows */
    bool ended;                  /* there are no samples any more */
    const struct list_block *of; /* NULL: samples */
};
struct cut { /* of segments, by time */
    uint32_t first, end;
    struct ended ended;
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
    struct downsample_rows part, coarse, shown;
};

void stored_rows_free(struct stored *s) {
    struct stored_rows *r = s->rows;
    if (r == NULL) return;
    stored_release(&r->spare);
    samples_fini(&r->samples);
    downsample_rows_fini(&r->part);
    downsample_rows_fini(&r->coarse);
    downsample_rows_fini(&r->shown);
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

/* Such rows of it can be given. */
static bool has_rows_of(const struct list_block *b, uint32_t resolution_ms) {
    uint32_t r = b->of.resolution_ms;
    return r != 0 && resolution_ms % r == 0 && b->of.min_ms % resolution_ms == 0 &&
           rows_end(b) % resolution_ms == 0;
}

static bool is_of_use(const struct stored *s, const struct list_block *b) {
    if (b->of.resolution_ms == 0 || rows_end(b) <= s->query.from_ms ||
        b->of.min_ms > s->query.to_ms)
        return false;
    if (s->widened) return true;
    return s->resolution_ms != 0 && has_rows_of(b, s->resolution_ms) && b->block != NULL;
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

/* The coarsest that speaks for the shard right after g->from_ms; else g->to_ms is where one begins.
 * A bad one is an error where there is nothing but rows, and no other one. */
static enum status block_after(const struct stored *s, uint32_t shard, struct segment *g,
                               struct err *err) {
    uint32_t copy = store_shard_copy(s->store, shard);
    const struct list_block *bad = NULL;
    int64_t next_ms = g->to_ms;
    g->of = NULL;
    for (uint32_t i = 0; i < s->rows->blocks_count; i++) {
        const struct list_block *b = s->rows->blocks[i];
        if (rows_end(b) <= g->from_ms || !has_rows_of(b, g->resolution_ms) ||
            !list_block_has(b, shard, copy))
            continue;
        if (b->of.min_ms > g->from_ms)
            next_ms = MIN(next_ms, b->of.min_ms);
        else if (b->block == NULL)
            bad = b;
        else if (g->of == NULL || b->of.resolution_ms > g->of->of.resolution_ms)
            g->of = b;
    }
    g->to_ms = g->of != NULL ? MIN(g->to_ms, rows_end(g->of)) : next_ms;
    if (g->of != NULL || bad == NULL || !g->ended) return OK;
    return err_set(err, ERR_UNAVAILABLE, 0, "a block of this range is damaged: %s", bad->why.msg);
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
    struct store_archived now = {0};
    bool known = store_shard_archive(s->store, shard, &now);
    bool all = all_speak(s, shard);
    if (all && r->all.end > r->all.first && known && now.ended.raw_ms == r->all.ended.raw_ms &&
        now.ended.fine_ms == r->all.ended.fine_ms) {
        *cut = r->all;
        return OK;
    }
    cut->first = r->segments_count;
    if (!known) now.ended = (struct ended){0};
    for (int64_t at = s->query.from_ms; at < s->query.to_ms;) {
        struct segment g = {.from_ms = at};
        uint32_t visible_ms = ended_resolution(&now.ended, at, &g.to_ms);
        g.to_ms = MIN(g.to_ms, s->query.to_ms);
        g.ended = visible_ms != 0;
        g.resolution_ms = MAX(s->resolution_ms, visible_ms);
        if (g.resolution_ms != 0) TRY(block_after(s, shard, &g, err));
        TRY(segment_put(r, g, err));
        at = g.to_ms;
    }
    cut->end = r->segments_count;
    cut->ended = now.ended;
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
    if (!any && !s->widened) return OK;
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

struct reading {
    const struct stored *s;
    size_t index, labels_count;
    uint32_t columns;
    struct filter_windows windows;
    bool has_windows;
};

static enum status rows_of_samples(const struct reading *rd, const struct segment *g,
                                   const int64_t range_ms[2], bool spare, struct err *err) {
    struct stored_rows *r = rd->s->rows;
    samples_clear(&r->samples);
    TRY(samples_read(rd->s, rd->index, range_ms, spare, &r->samples, err));
    return downsample_raw(&r->samples, g->resolution_ms, &r->part) == OK ? OK : stored_nomem(err);
}

static const struct stored_run *run_in(const struct stored *s, size_t index,
                                       const struct list_block *of) {
    for (uint32_t i = s->series[index].first; i != RUN_NONE; i = s->runs[i].next)
        if (s->blocks[s->runs[i].block].of == of) return &s->runs[i];
    return NULL;
}

/* More deletions of the series; false: there are none. */
static bool windows_next(const struct reading *rd, struct filter_windows *w) {
    const struct stored *s = rd->s;
    return w->is_short && archive_filter_windows(&s->scratch->filter, s->series[rd->index].shard,
                                                 s->scratch->labels, rd->labels_count, w);
}

/* A range of a segment that is read at once. */
struct piece {
    int64_t range_ms[2]; /* multiples of the segment's resolution */
    bool split;          /* of some window a deletion took a part: samples tell */
};

/* The first hour behind `at` that a deletion began or ended in: its end. */
static int64_t split_hour(const struct filter_windows *w, int64_t at) {
    int64_t first_ms = INT64_MAX;
    for (uint32_t i = 0; i < w->deleted_count; i++) {
        int64_t edges_ms[2] = {w->deleted[i].min_ms - (w->deleted[i].min_ms != INT64_MIN),
                               w->deleted[i].max_ms};
        for (int k = 0; k < 2; k++)
            if (edges_ms[k] > ended_hour_before(at) && edges_ms[k] % ENDED_HOUR_MS != 0)
                first_ms = MIN(first_ms, ended_hour_after(edges_ms[k]));
    }
    return first_ms;
}

/* What is read next of g behind `at`. Of what has ended there are samples of split hours only, and
 * of these all (cover.h). */
static struct piece piece_next(const struct reading *rd, const struct segment *g, int64_t at,
                               int64_t to_ms) {
    struct piece p = {{at, to_ms}, false};
    struct filter_windows w = rd->windows;
    int64_t hour_ms = INT64_MAX;
    if (g->of == NULL || !rd->has_windows) return p;
    do {
        p.split = p.split || filter_splits_windows(&w, at, to_ms, g->of->of.resolution_ms);
        hour_ms = MIN(hour_ms, split_hour(&w, at));
    } while (windows_next(rd, &w));
    if (!g->ended) return p;
    p.split = hour_ms - ENDED_HOUR_MS <= at;
    p.range_ms[1] = MIN(to_ms, p.split ? hour_ms : hour_ms - ENDED_HOUR_MS);
    return p;
}

static void windows_take_out(const struct reading *rd, uint32_t own_ms) {
    struct filter_windows w = rd->windows;
    if (!rd->has_windows) return;
    do
        rows_filter_by(&w, own_ms, &rd->s->rows->part);
    while (windows_next(rd, &w));
}

static enum status rows_of_block(const struct reading *rd, const struct segment *g,
                                 const struct piece *p, struct err *err) {
    const struct stored *s = rd->s;
    const int64_t *range_ms = p->range_ms;
    struct stored_rows *r = s->rows;
    uint32_t own_ms = g->of->of.resolution_ms;
    r->part.count = 0;
    if (p->split) return rows_of_samples(rd, g, range_ms, true, err);
    const struct stored_run *run = run_in(s, rd->index, g->of);
    if (run == NULL) return OK;
    struct block_columns wanted = {range_ms[0], range_ms[1], rd->columns};
    TRY(stored_read_ended(s, run->block,
                          rows_read(s->blocks[run->block].selection, run->index, &wanted, &r->part,
                                    &r->samples, err)));
    windows_take_out(rd, own_ms);
    if (own_ms == g->resolution_ms) return OK;
    struct downsample_rows fine = r->part;
    r->part = r->coarse;
    r->coarse = fine;
    return downsample_rows(&fine, g->resolution_ms, &r->part) == OK ? OK : stored_nomem(err);
}

static enum status reading_begin(struct reading *rd, int64_t from_ms, int64_t to_ms,
                                 struct err *err) {
    const struct stored *s = rd->s;
    uint32_t shard = s->series[rd->index].shard;
    /* a row that ends in the range may begin before it */
    from_ms = ended_hour_before(from_ms);
    if (!archive_filter_has(&s->scratch->filter, shard, from_ms, to_ms)) return OK;
    TRY(stored_scratch_labels(s, rd->index, &rd->labels_count, err));
    rd->has_windows = archive_filter_windows(&s->scratch->filter, shard, s->scratch->labels,
                                             rd->labels_count, &rd->windows);
    return OK;
}

/* Rows of a segment, appended; range_ms: multiples of its resolution. */
static enum status segment_rows(const struct reading *rd, const struct segment *g,
                                const int64_t range_ms[2], struct downsample_rows *out,
                                struct err *err) {
    struct piece p;
    for (int64_t at = range_ms[0]; at < range_ms[1]; at = p.range_ms[1]) {
        p = piece_next(rd, g, at, range_ms[1]);
        TRY(g->of == NULL ? rows_of_samples(rd, g, p.range_ms, false, err)
                          : rows_of_block(rd, g, &p, err));
        if (downsample_append(out, &rd->s->rows->part) != OK) return stored_nomem(err);
    }
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
        /* a coarser one counts where its end does */
        int64_t range_ms[2] = {MAX(g->from_ms, range_floor(from_ms, g->resolution_ms)),
                               MIN(g->to_ms, range_floor(to_ms, g->resolution_ms))};
        if (range_ms[0] >= range_ms[1]) continue;
        TRY(segment_rows(&rd, g, range_ms, out, err));
    }
    return OK;
}

void stored_ended(const struct stored *s, size_t index, struct ended *out) {
    *out = (struct ended){0};
    if (s->widened && s->rows != NULL && s->series != NULL)
        *out = s->rows->cuts[s->series[index].shard].ended;
}

enum status stored_read_ended_rows(const struct stored *s, size_t index,
                                   const struct block_columns *wanted, struct downsample_rows *out,
                                   struct err *err) {
    struct reading rd = {.s = s, .index = index, .columns = wanted->columns};
    const struct cut *cut = &s->rows->cuts[s->series[index].shard];
    out->count = 0;
    TRY(reading_begin(&rd, wanted->from_ms, wanted->to_ms, err));
    for (uint32_t i = cut->first; i < cut->end; i++) {
        const struct segment *g = &s->rows->segments[i];
        if (!g->ended) continue;
        int64_t range_ms[2] = {MAX(g->from_ms, range_floor(wanted->from_ms, g->resolution_ms)),
                               MIN(g->to_ms, range_floor(wanted->to_ms, g->resolution_ms))};
        if (range_ms[0] < range_ms[1]) TRY(segment_rows(&rd, g, range_ms, out, err));
    }
    return OK;
}

/* -- samples after all */

static enum status shown_put(struct samples *out, int64_t time_ms, double value) {
    TRY(samples_reserve(out, out->count + 1));
    if (out->histograms != NULL) out->histograms[out->count] = NULL;
    if (out->starts_ms != NULL) out->starts_ms[out->count] = 0;
    out->times_ms[out->count] = time_ms;
    out->values[out->count++] = value;
    return OK;
}

/* A row as samples: the last value at the end of its bucket, or, where a series goes stale in it,
 * that and the marker at their own times. */
static enum status row_show(const struct downsample_rows *rows, size_t i, const int64_t range_ms[2],
                            struct samples *out) {
    int64_t end_ms = rows->ends_ms[i];
    double stale_ago = rows->columns[DOWNSAMPLE_STALE_AGO][i];
    int64_t last_ms = end_ms, stale_ms = end_ms - (int64_t)stale_ago;
    if (stale_ago >= 0) last_ms -= (int64_t)rows->columns[DOWNSAMPLE_LAST_AGO][i];
    if (rows->columns[DOWNSAMPLE_COUNT][i] != 0 && last_ms > range_ms[0] && last_ms <= range_ms[1])
        TRY(shown_put(out, last_ms, rows->columns[DOWNSAMPLE_LAST][i]));
    if (stale_ago >= 0 && stale_ms > range_ms[0] && stale_ms <= range_ms[1])
        TRY(shown_put(out, stale_ms, f64_from_bits(STALE_NAN_BITS)));
    return OK;
}

/* Samples that are in no row. */
static enum status histograms_show(const struct reading *rd, const int64_t range_ms[2],
                                   struct samples *out, struct err *err) {
    size_t from = out->count, kept = from;
    TRY(samples_read(rd->s, rd->index, range_ms, true, out, err));
    for (size_t i = from; i < out->count && out->histograms != NULL; i++) {
        if (out->histograms[i] == NULL) continue;
        out->times_ms[kept] = out->times_ms[i];
        out->values[kept] = out->values[i];
        out->histograms[kept] = out->histograms[i];
        if (out->starts_ms != NULL) out->starts_ms[kept] = out->starts_ms[i];
        kept++;
    }
    out->count = kept;
    return OK;
}

/* Where a histogram and a bucket's end meet the histogram counts: it is the later one. */
static enum status ended_show(const struct reading *rd, const struct segment *g,
                              const int64_t range_ms[2], struct samples *out, struct err *err) {
    struct stored_rows *r = rd->s->rows;
    int64_t rows_ms[2] = {MAX(g->from_ms, range_floor(range_ms[0], g->resolution_ms)),
                          MIN(g->to_ms, ended_hour_after(range_ms[1]))};
    int64_t part_ms[2] = {MAX(g->from_ms, range_ms[0]), MIN(g->to_ms, range_ms[1])};
    bool has_histograms = false;
    size_t from = out->count;
    if (rows_ms[0] >= rows_ms[1]) return OK;
    r->shown.count = 0;
    TRY(segment_rows(rd, g, rows_ms, &r->shown, err));
    for (size_t i = 0; i < r->shown.count && !has_histograms; i++)
        has_histograms = r->shown.columns[DOWNSAMPLE_HISTOGRAMS][i] != 0;
    if (has_histograms && part_ms[0] < part_ms[1]) TRY(histograms_show(rd, part_ms, out, err));
    for (size_t i = 0; i < r->shown.count; i++)
        if (row_show(&r->shown, i, range_ms, out) != OK) return stored_nomem(err);
    if (!has_histograms) return OK;
    return samples_order(out, from) == OK ? OK : stored_nomem(err);
}

enum status stored_rows_samples(const struct stored *s, size_t index, int64_t from_ms,
                                int64_t to_ms, struct samples *out, struct err *err) {
    struct reading rd = {.s = s,
                         .index = index,
                         .columns = 1U << DOWNSAMPLE_COUNT | 1U << DOWNSAMPLE_LAST |
                                    1U << DOWNSAMPLE_LAST_AGO | 1U << DOWNSAMPLE_STALE_AGO |
                                    1U << DOWNSAMPLE_HISTOGRAMS};
    const struct cut *cut = &s->rows->cuts[s->series[index].shard];
    if (!s->widened) return samples_read(s, index, (int64_t[2]){from_ms, to_ms}, true, out, err);
    TRY(reading_begin(&rd, ended_hour_before(from_ms), ended_hour_after(to_ms), err));
    for (uint32_t i = cut->first; i < cut->end; i++) {
        const struct segment *g = &s->rows->segments[i];
        int64_t range_ms[2] = {MAX(g->from_ms, from_ms), MIN(g->to_ms, to_ms)};
        if (g->ended && g->from_ms < to_ms && g->to_ms > from_ms)
            TRY(ended_show(&rd, g, (int64_t[2]){from_ms, to_ms}, out, err));
        else if (!g->ended && range_ms[0] < range_ms[1])
            TRY(samples_read(s, index, range_ms, s->resolution_ms != 0, out, err));
    }
    return OK;
}
