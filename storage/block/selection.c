/* SPDX-License-Identifier: Apache-2.0 */
/* A selection: the series that match, with their labels resolved: a list of labels by (name, value)
 * and for each set the numbers of its labels, which ascend by name. */
#include <assert.h>
#include <stdlib.h>

#include "storage/block/find.h"
#include "storage/block/labels_in.h"

struct block_selection {
    struct block *block;
    struct find *find; /* io, names, arena */
    struct labels_in labels;
    struct block_series *series;
    struct page_times times;
};

static enum status selection_nomem(struct err *err) {
    return err_set(err, ERR_NOMEM, 0, "select: out of memory");
}

void block_selection_free(struct block_selection *s) {
    if (s == NULL) return;
    labels_in_fini(&s->labels);
    find_free(s->find);
    free(s->series);
    block_unref(s->block);
    free(s);
}

/* Ids, which no block keeps: from the labels. */
static enum status selection_identify(struct block_selection *s, struct err *err) {
    struct find *f = s->find;
    struct buf canonical = {0};
    enum status status = find_check_memory(f, f->count * sizeof *s->series);
    if (status != OK) return status;
    s->series = malloc((f->count + 1) * sizeof *s->series);
    if (s->series == NULL) return selection_nomem(err);
    for (size_t i = 0; i < f->count && status == OK; i++) {
        labels_in_canonical(&s->labels, &f->found[i], &canonical);
        if (canonical.failed) status = selection_nomem(err);
        if (status != OK) break;
        series_id id = series_id_of(s->block->secret, s->block->tenant, buf_sv(&canonical));
        s->series[i] = (struct block_series){id, f->found[i].shard};
        if (series_shard(id, s->block->shards_count) != f->found[i].shard)
            status = err_set(err, ERR_CORRUPT, 0,
                             "block %s: series %u is not of shard %u, or of another cluster",
                             s->block->path, f->found[i].series, f->found[i].shard);
    }
    buf_fini(&canonical);
    return status;
}

static enum status selection_fill(struct block_selection *s, struct err *err) {
    struct find *f = s->find;
    TRY(find_series(f));
    TRY(labels_in_load(&s->labels, f, false));
    TRY(selection_identify(s, err));
    /* what finding looked at is not needed to read */
    block_io_trim(f->io);
    pages_in_forget(f->pages);
    for (int side = 0; side < SIDES; side++) {
        free(f->allowed[side].at);
        f->allowed[side] = (struct set_bits){0};
    }
    free(f->series.at);
    f->series = (struct set_bits){0};
    f->query = NULL;
    f->canceled = NULL;
    f->err = NULL;
    return OK;
}

enum status block_select(struct block *b, const struct select_query *query, const bool *canceled,
                         struct block_selection **out, struct err *err) {
    struct block_selection *s = calloc(1, sizeof *s);
    if (s == NULL) return selection_nomem(err);
    s->block = block_ref(b);
    enum status status = find_new(b, query, canceled, &s->find, err);
    if (status == OK) status = selection_fill(s, err);
    if (status != OK) {
        block_selection_free(s);
        return status;
    }
    *out = s;
    return OK;
}

const struct block_series *block_selection_series(const struct block_selection *s,
                                                  size_t *out_count) {
    *out_count = s->find->count;
    return s->series;
}

size_t block_series_labels(const struct block_selection *s, size_t index, struct label *out,
                           size_t max) {
    assert(index < s->find->count);
    return labels_in_get(&s->labels, &s->find->found[index], out, max);
}

/* The first of the times that is > t. */
static size_t times_after(const struct page_times *times, int64_t t) {
    size_t low = 0, high = times->count;
    while (low < high) {
        size_t middle = (low + high) / 2;
        if (times->ms[middle] <= t)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

enum status block_series_read(struct block_selection *s, size_t index, int64_t from_ms,
                              int64_t to_ms, struct samples *out, struct err *err) {
    struct find *f = s->find;
    const struct found *found = &f->found[index];
    struct page_at page;
    bool more;
    assert(index < f->count);
    if (from_ms >= to_ms) return OK;
    TRY(pages_seek(f->pages, found->series, found->sets[SIDE_TARGET], err));
    for (;;) {
        int64_t ends[2];
        TRY(pages_next(f->pages, &page, &more, err));
        if (!more) return OK;
        TRY(page_ends(f->io, &page, ends, err));
        if (ends[0] > to_ms) return OK;
        if (ends[1] <= from_ms) continue;
        TRY(page_get_times(f->io, &page, &s->times, err));
        size_t range[2] = {0, s->times.count}; /* mostly all */
        if (ends[0] <= from_ms) range[0] = times_after(&s->times, from_ms);
        if (ends[1] > to_ms) range[1] = times_after(&s->times, to_ms);
        TRY(page_append(f->io, &page, &s->times, range, out, err));
    }
}

enum status block_series_extent(struct block_selection *s, size_t index, struct block_extent *out,
                                void (*page)(void *ctx, size_t samples), void *ctx,
                                struct err *err) {
    struct find *f = s->find;
    const struct found *found = &f->found[index];
    struct page_at at;
    bool more;
    assert(index < f->count);
    *out = (struct block_extent){.min_ms = INT64_MAX, .max_ms = INT64_MIN};
    TRY(pages_seek(f->pages, found->series, found->sets[SIDE_TARGET], err));
    for (;;) {
        TRY(pages_next(f->pages, &at, &more, err));
        if (!more) return OK;
        TRY(page_get_times(f->io, &at, &s->times, err));
        out->min_ms = MIN(out->min_ms, s->times.ms[0]);
        out->max_ms = MAX(out->max_ms, s->times.ms[s->times.count - 1]);
        out->samples += s->times.count;
        out->pages++;
        if (page != NULL) page(ctx, s->times.count);
    }
}

static enum status pages_count(struct find *f, uint64_t *out, struct err *err) {
    for (uint64_t series = 0; series < f->block->totals.series_count; series++) {
        struct found found = {0};
        struct page_at at;
        bool more = true;
        TRY(find_sets(f, series, &found));
        TRY(pages_seek(f->pages, series, found.sets[SIDE_TARGET], err));
        for (; more; *out += more)
            TRY(pages_next(f->pages, &at, &more, err));
    }
    return OK;
}

enum status block_count_pages(struct block *b, uint64_t *out, struct err *err) {
    static const struct select_query all = {.from_ms = INT64_MIN, .to_ms = INT64_MAX};
    struct find *f;
    *out = 0;
    TRY(find_new(b, &all, NULL, &f, err));
    enum status status = pages_count(f, out, err);
    find_free(f);
    return status;
}

/* Which column a page is of is in the time of its first sample: within one, times lie closer to 0
 * than half of what is between two. */
static int64_t column_of(int64_t time_ms) {
    return (time_ms + BLOCK_COLUMN_MS / 2) / BLOCK_COLUMN_MS;
}

enum status block_series_read_columns(struct block_selection *s, size_t index,
                                      const struct block_columns *wanted, struct samples *out,
                                      struct err *err) {
    struct find *f = s->find;
    const struct found *found = &f->found[index];
    struct page_at page;
    bool more;
    assert(index < f->count && s->block->resolution_ms != 0);
    if (wanted->from_ms >= wanted->to_ms) return OK;
    TRY(pages_seek(f->pages, found->series, found->sets[SIDE_TARGET], err));
    for (;;) {
        int64_t ends[2];
        TRY(pages_next(f->pages, &page, &more, err));
        if (!more) return OK;
        TRY(page_ends(f->io, &page, ends, err));
        int64_t column = column_of(ends[0]), later_ms = column * BLOCK_COLUMN_MS;
        if (column < 0 || column > 31 || (wanted->columns >> column & 1) == 0 ||
            ends[0] - later_ms > wanted->to_ms || ends[1] - later_ms <= wanted->from_ms)
            continue;
        TRY(page_get_times(f->io, &page, &s->times, err));
        size_t range[2] = {times_after(&s->times, wanted->from_ms + later_ms),
                           times_after(&s->times, wanted->to_ms + later_ms)};
        TRY(page_append(f->io, &page, &s->times, range, out, err));
    }
}
