/* SPDX-License-Identifier: Apache-2.0 */
#include "storage/archive/stored_internal.h"

#include <assert.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

enum status stored_nomem(struct err *err) {
    return err_set(err, ERR_NOMEM, 0, "select: not enough memory");
}

void stored_init(struct stored *s, struct store *store, const struct select_query *query) {
    assert(query->shards != NULL);
    *s = (struct stored){.store = store, .query = *query};
}

/* -- which blocks */

bool stored_bits(const struct stored *s, const struct list_block *b, uint64_t *bits) {
    bool any = false;
    for (uint32_t i = 0; i < b->of.parts_count; i++) {
        const struct manifest_part *p = &b->of.parts[i];
        if (p->shard >= s->query.shards->shards_count ||
            !shard_set_has(s->query.shards, p->shard) ||
            store_shard_copy(s->store, p->shard) != p->copy ||
            (s->rows != NULL && !stored_rows_want(s, b, p->shard)))
            continue;
        bits[p->shard / 64] |= (uint64_t)1 << (p->shard % 64);
        any = true;
    }
    return any;
}

static bool overlaps(const struct stored *s, const struct list_block *b) {
    if (b->of.resolution_ms != 0 && (s->rows == NULL || b->block == NULL)) return false;
    int64_t last_ms = b->of.max_ms + (b->of.resolution_ms != 0); /* rows.h */
    return last_ms > s->query.from_ms && b->of.min_ms <= s->query.to_ms;
}

static int by_time(const void *a, const void *b) {
    const struct manifest_block *x = &((const struct stored_block *)a)->of->of;
    const struct manifest_block *y = &((const struct stored_block *)b)->of->of;
    if (x->min_ms != y->min_ms) return x->min_ms < y->min_ms ? -1 : 1;
    return (x->number > y->number) - (x->number < y->number);
}

/* Deletions and floors of the shards, as they are now. */
static enum status filter_make(struct stored *s, struct err *err) {
    s->scratch = calloc(1, sizeof *s->scratch);
    if (s->scratch == NULL) return stored_nomem(err);
    TRY(archive_filter_init(&s->scratch->filter, NULL, err));
    for (uint32_t i = 0; i < s->query.shards->shards_count; i++) {
        struct store_archived a;
        if (!shard_set_has(s->query.shards, i) || !store_shard_archive(s->store, i, &a)) continue;
        struct filter_rules rules = {i, a.floor_ms, a.tombstones, a.tombstones_count};
        TRY(archive_filter_add(&s->scratch->filter, &rules, err));
    }
    return OK;
}

enum status stored_blocks_take(struct stored *s, struct err *err) {
    struct block_list *list = store_blocks(s->store);
    uint32_t count = 0, words = (s->query.shards->shards_count + 63) / 64;
    for (uint32_t i = 0; list != NULL && i < list->count; i++)
        count += overlaps(s, &list->blocks[i]);
    if (count == 0) return OK;
    s->list = block_list_ref(list);
    s->blocks = calloc(count, sizeof *s->blocks);
    s->bits = calloc((size_t)count * words, sizeof *s->bits);
    if (s->blocks == NULL || s->bits == NULL) return stored_nomem(err);
    for (uint32_t i = 0; i < list->count; i++) {
        const struct list_block *b = &list->blocks[i];
        uint64_t *bits = s->bits + (size_t)s->blocks_count * words;
        if (!overlaps(s, b) || !stored_bits(s, b, bits)) continue;
        if (b->block == NULL && !s->spare)
            return err_set(err, ERR_UNAVAILABLE, 0, "a block of this range is damaged: %s",
                           b->why.msg);
        s->blocks[s->blocks_count++] =
            (struct stored_block){.of = b, .shards = {bits, s->query.shards->shards_count}};
    }
    if (s->blocks_count == 0) return OK;
    qsort(s->blocks, s->blocks_count, sizeof *s->blocks, by_time);
    return s->spare ? OK : filter_make(s, err);
}

/* -- on the core */

/* Where samples have ended, buckets count that lie partly in the range. */
static void query_widen(struct stored *s) {
    struct select_query *q = &s->query;
    int64_t ended_ms = 0;
    if (store_ended_max(s->store) <= MAX(q->from_ms, INT64_C(0)) || q->from_ms > q->to_ms) return;
    for (uint32_t i = 0; i < q->shards->shards_count; i++) {
        struct store_archived a;
        if (shard_set_has(q->shards, i) && store_shard_archive(s->store, i, &a))
            ended_ms = MAX(ended_ms, a.ended.raw_ms);
    }
    if (ended_ms == 0 || ended_ms <= q->from_ms) return;
    s->widened = true;
    /* and who looks back or takes a window looks for a bucket's length more */
    if (q->from_ms >= INT64_MIN + 2 * ENDED_HOUR_MS)
        q->from_ms = ended_hour_before(q->from_ms) - ENDED_HOUR_MS;
    if (q->to_ms < ended_ms) q->to_ms = ended_hour_after(q->to_ms);
}

enum status stored_select(struct stored *s, uint64_t until_ns, bool *out_done, struct err *err) {
    *out_done = false;
    if (s->selection == NULL) query_widen(s);
    if (s->selection == NULL) TRY(select_new(store_head(s->store), &s->query, &s->selection, err));
    TRY(select_step(s->selection, until_ns, out_done, err));
    if (!*out_done) return OK;
    s->views = selection_series(s->selection, &s->views_count);
    s->count = s->views_count;
    if (s->resolution_ms != 0 || s->widened) TRY(stored_rows_take(s, err));
    return stored_blocks_take(s, err);
}

void stored_release(struct stored *s) {
    stored_rows_free(s);
    if (s->selection != NULL) selection_release(s->selection);
    for (uint32_t i = 0; i < s->blocks_count; i++)
        block_selection_free(s->blocks[i].selection);
    if (s->scratch != NULL) {
        archive_filter_fini(&s->scratch->filter);
        free(s->scratch->labels);
    }
    block_list_unref(s->list);
    free(s->blocks);
    free(s->bits);
    free(s->series);
    free(s->runs);
    free(s->scratch);
    free(s->slots);
    *s = (struct stored){.store = s->store, .query = s->query, .resolution_ms = s->resolution_ms};
}

/* -- on a worker: one series from many */

static size_t *table_slot(const struct stored *s, series_id id) {
    size_t at = (size_t)id.lo & s->slots_mask;
    while (s->slots[at] != 0 && !series_id_eq(s->series[s->slots[at] - 1].id, id))
        at = (at + 1) & s->slots_mask;
    return &s->slots[at];
}

size_t stored_by_id(const struct stored *s, series_id id) {
    return *table_slot(s, id) - 1;
}

static void series_add(struct stored *s, const struct stored_series *one) {
    size_t *slot = table_slot(s, one->id);
    if (*slot != 0) return;
    s->series[s->count++] = *one;
    *slot = s->count;
}

/* Runs are given block by block, the newest first, so that each series' list is by time. */
static void run_add(struct stored *s, uint32_t block, size_t index, const struct block_series *of) {
    struct stored_series fresh = {of->id, of->shard, RUN_NONE, VIEW_NONE};
    series_add(s, &fresh);
    struct stored_series *one = &s->series[*table_slot(s, of->id) - 1];
    s->runs[s->runs_count] = (struct stored_run){block, one->first, index};
    one->first = (uint32_t)s->runs_count++;
}

static enum status series_merge(struct stored *s, struct err *err) {
    size_t total = s->views_count, count, slots = 16;
    for (uint32_t i = 0; i < s->blocks_count; i++) {
        block_selection_series(s->blocks[i].selection, &count);
        total += count;
    }
    if (total - s->views_count >= RUN_NONE)
        return err_set(err, ERR_LIMIT, 0, "select: too many series");
    while (slots < total * 2)
        slots *= 2;
    s->slots = calloc(slots, sizeof *s->slots);
    s->slots_mask = slots - 1;
    s->series = malloc((total + 1) * sizeof *s->series);
    s->runs = malloc((total - s->views_count + 1) * sizeof *s->runs);
    if (s->slots == NULL || s->series == NULL || s->runs == NULL) return stored_nomem(err);
    s->count = 0;
    for (size_t i = 0; i < s->views_count; i++)
        series_add(s, &(struct stored_series){s->views[i].id, s->views[i].shard, RUN_NONE, i});
    for (uint32_t i = s->blocks_count; i > 0; i--) {
        const struct block_series *of = block_selection_series(s->blocks[i - 1].selection, &count);
        for (size_t k = 0; k < count; k++)
            run_add(s, i - 1, k, &of[k]);
    }
    if (s->spare) return OK; /* it is asked by id */
    free(s->slots);
    s->slots = NULL;
    return OK;
}

enum status stored_read_ended(const struct stored *s, uint32_t block, enum status status) {
    if (status == ERR_CORRUPT || status == ERR_IO) block_set_suspect(s->blocks[block].of->block);
    return status;
}

uint64_t stored_samples(const struct stored *s, uint64_t most) {
    return series_views_samples(s->views, s->views_count, s->query.from_ms, s->query.to_ms, most);
}

enum status stored_find(struct stored *s, struct err *err) {
    for (uint32_t i = 0; i < s->blocks_count; i++) {
        struct select_query q = s->query;
        q.shards = &s->blocks[i].shards;
        const struct list_block *of = s->blocks[i].of;
        if (of->block == NULL)
            return err_set(err, ERR_UNAVAILABLE, 0, "a block of this range is damaged: %s",
                           of->why.msg);
        TRY(stored_read_ended(
            s, i, block_select(of->block, &q, s->canceled, &s->blocks[i].selection, err)));
    }
    return s->blocks_count == 0 ? OK : series_merge(s, err);
}

/* -- names */

enum status stored_names(struct stored *s, struct sv label, struct arena *arena, struct sv **out,
                         size_t *out_count, struct err *err) {
    struct head *head = store_head(s->store);
    query_widen(s);
    if (label.ptr == NULL)
        TRY(head_label_names(head, &s->query, arena, out, out_count, err));
    else
        TRY(head_label_values(head, label, &s->query, arena, out, out_count, err));
    if (s->widened) TRY(stored_rows_take(s, err));
    return stored_blocks_take(s, err);
}

/* Both sorted and unique. */
static enum status names_join(struct arena *arena, struct sv **found, size_t *count,
                              const struct sv *more, size_t more_count, struct err *err) {
    struct sv *to = arena_alloc(arena, (*count + more_count + 1) * sizeof *to);
    size_t n = 0, i = 0, k = 0;
    if (to == NULL) return err_set(err, ERR_LIMIT, 0, "list: too many names");
    while (i < *count || k < more_count) {
        int order = i == *count ? 1 : k == more_count ? -1 : sv_cmp((*found)[i], more[k]);
        to[n++] = order <= 0 ? (*found)[i] : more[k];
        i += order <= 0;
        k += order >= 0;
    }
    *found = to;
    *count = n;
    return OK;
}

enum status stored_names_find(struct stored *s, struct sv label, struct arena *arena,
                              struct sv **found, size_t *count, struct err *err) {
    for (uint32_t i = 0; i < s->blocks_count; i++) {
        struct select_query q = s->query;
        struct sv *more = NULL;
        size_t more_count = 0;
        q.shards = &s->blocks[i].shards;
        struct block *block = s->blocks[i].of->block;
        enum status status =
            label.ptr == NULL
                ? block_label_names(block, &q, arena, &more, &more_count, err)
                : block_label_values(block, label, &q, arena, &more, &more_count, err);
        TRY(stored_read_ended(s, i, status));
        TRY(names_join(arena, found, count, more, more_count, err));
    }
    return OK;
}

/* -- reading */

/* NULL: it is only in blocks. */
static const struct series_view *stored_view(const struct stored *s, size_t index) {
    if (s->series == NULL) return &s->views[index];
    size_t view = s->series[index].view;
    return view == VIEW_NONE ? NULL : &s->views[view];
}

size_t stored_labels(const struct stored *s, size_t index, struct label *out, size_t max) {
    const struct series_view *view = stored_view(s, index);
    if (view != NULL) return series_view_labels(view, out, max);
    const struct stored_run *run = &s->runs[s->series[index].first];
    return block_series_labels(s->blocks[run->block].selection, run->index, out, max);
}

size_t stored_labels_asked(const struct stored *s, size_t index, struct labels_asked *asked,
                           struct label *out, size_t max) {
    const struct series_view *view = stored_view(s, index);
    return view != NULL ? series_view_labels_asked(view, asked, out, max)
                        : stored_labels(s, index, out, max);
}

series_id stored_id(const struct stored *s, size_t index) {
    return s->series == NULL ? s->views[index].id : s->series[index].id;
}

static void views_touch(const struct stored *s, size_t view, int64_t ms, bool newest) {
    if (view % SERIES_TOUCH_MAX == 0)
        series_views_touch(&s->views[view], MIN(s->views_count - view, (size_t)SERIES_TOUCH_MAX),
                           ms, newest);
}

/* Of the head. */
static enum status view_read(const struct stored *s, size_t view, int64_t from_ms, int64_t to_ms,
                             struct samples *out, struct err *err) {
    views_touch(s, view, from_ms, false);
    return series_view_read(&s->views[view], from_ms, to_ms, out, err);
}

enum status stored_scratch_labels(const struct stored *s, size_t index, size_t *out_count,
                                  struct err *err) {
    struct stored_scratch *x = s->scratch;
    size_t count = stored_labels(s, index, x->labels, x->labels_cap);
    if (count > x->labels_cap) {
        struct label *labels = realloc(x->labels, count * sizeof *labels);
        if (labels == NULL) return stored_nomem(err);
        x->labels = labels;
        x->labels_cap = count;
        count = stored_labels(s, index, x->labels, x->labels_cap);
    }
    *out_count = count;
    return OK;
}

/* Whether those from that one on come behind those before it. */
static bool is_behind(const struct samples *s, size_t from, size_t first) {
    return first == from || first == s->count || s->times_ms[first] > s->times_ms[first - 1];
}

enum status stored_runs_read(const struct stored *s, size_t index, const int64_t range_ms[2],
                             struct samples *out, bool *out_in_order, struct err *err) {
    size_t from = out->count;
    *out_in_order = true; /* each block gives its own in order */
    for (uint32_t r = s->series[index].first; r != RUN_NONE; r = s->runs[r].next) {
        const struct stored_block *b = &s->blocks[s->runs[r].block];
        const struct manifest_block *of = &b->of->of;
        if (of->resolution_ms != 0 || of->max_ms <= range_ms[0] || of->min_ms > range_ms[1])
            continue;
        size_t before = out->count;
        enum status status =
            block_series_read(b->selection, s->runs[r].index, range_ms[0], range_ms[1], out, err);
        TRY(stored_read_ended(s, s->runs[r].block, status));
        *out_in_order = *out_in_order && is_behind(out, from, before);
    }
    return OK;
}

/* What the blocks gave of the series: samples from `from` on. */
static enum status blocks_filter(const struct stored *s, size_t index, size_t from,
                                 struct samples *out, struct err *err) {
    struct stored_scratch *x = s->scratch;
    size_t count = 0;
    TRY(stored_scratch_labels(s, index, &count, err));
    struct samples part = samples_from(out, from);
    archive_filter_run(&x->filter, s->series[index].shard, (struct sv){0}, x->labels, count, &part);
    out->count = from + part.count;
    return OK;
}

enum status stored_rest_read(const struct stored *s, size_t index, const int64_t range_ms[2],
                             size_t from, bool in_order, struct samples *out, struct err *err) {
    const struct stored_series *one = &s->series[index];
    if (out->count > from &&
        archive_filter_has(&s->scratch->filter, one->shard, range_ms[0], range_ms[1]))
        TRY(blocks_filter(s, index, from, out, err));
    size_t before = out->count;
    if (one->view != VIEW_NONE) TRY(view_read(s, one->view, range_ms[0], range_ms[1], out, err));
    if (in_order && is_behind(out, from, before)) return OK;
    /* Where times meet it is the same sample, which went from the head to a block meanwhile. */
    return samples_order(out, from) == OK ? OK : stored_nomem(err);
}

enum status stored_read(const struct stored *s, size_t index, int64_t from_ms, int64_t to_ms,
                        struct samples *out, struct err *err) {
    int64_t range_ms[2] = {from_ms, to_ms};
    if (s->series == NULL) return view_read(s, index, from_ms, to_ms, out, err);
    if (s->rows != NULL) return stored_rows_samples(s, index, from_ms, to_ms, out, err);
    size_t from = out->count;
    bool in_order;
    TRY(stored_runs_read(s, index, range_ms, out, &in_order, err));
    return stored_rest_read(s, index, range_ms, from, in_order, out, err);
}

enum status stored_newest(const struct stored *s, size_t index, int64_t from_ms, int64_t to_ms,
                          struct samples *out, struct err *err) {
    if (s->series != NULL && s->series[index].first != RUN_NONE)
        return stored_read(s, index, from_ms, to_ms, out, err);
    size_t view = s->series == NULL ? index : s->series[index].view;
    views_touch(s, view, to_ms, true);
    return series_view_newest(&s->views[view], from_ms, to_ms, out, err);
}
