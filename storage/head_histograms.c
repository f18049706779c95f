/* SPDX-License-Identifier: Apache-2.0 */
#include "storage/head_histograms.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "node/base/bytes.h"
#include "storage/histogram.h"
#include "storage/internal.h"

enum { ROWS_MIN = 4 };

/* -- series that have extras */

void head_extras_init(struct head_extras *extras) {
    *extras = (struct head_extras){.free_first = HEAD_NONE};
    map_init(&extras->by_ref);
}

static uint64_t ref_hash(uint32_t ref) {
    uint64_t h = (ref + 1) * 0x9e3779b97f4a7c15ULL;
    return h ^ h >> 32;
}

static bool extra_is(const void *owner, uint32_t i, const void *key) {
    return ((const struct head_extras *)owner)->series[i].ref == *(const uint32_t *)key;
}

static uint64_t extra_rehash(const void *owner, uint32_t i) {
    return ref_hash(((const struct head_extras *)owner)->series[i].ref);
}

static struct series_extra *extra_find(const struct head *head, uint32_t ref) {
    if (!head_series(head, ref)->open.has_extras) return NULL;
    const struct head_extras *extras = &head->extras;
    uint32_t i = map_find(&extras->by_ref, ref_hash(ref), extra_is, extras, &ref);
    assert(i != MAP_NONE);
    return &extras->series[i];
}

static struct series_extra *extra_make(struct head *head, uint32_t ref) {
    struct head_extras *extras = &head->extras;
    struct series_extra *e = extra_find(head, ref);
    if (e != NULL) return e;
    uint32_t i = extras->free_first;
    if (i == HEAD_NONE && extras->count == extras->cap) {
        uint32_t cap = extras->cap == 0 ? 16 : extras->cap * 2;
        e = realloc(extras->series, cap * sizeof *e);
        if (e == NULL) return NULL;
        extras->series = e;
        extras->cap = cap;
    }
    if (i == HEAD_NONE) i = extras->count;
    e = &extras->series[i];
    uint32_t next_free = i == extras->count ? HEAD_NONE : e->next_free;
    if (map_insert(&extras->by_ref, ref_hash(ref), i, extra_rehash, extras) != OK) return NULL;
    if (i == extras->count)
        extras->count++;
    else
        extras->free_first = next_free;
    *e = (struct series_extra){.ref = ref, .from_ms = INT64_MIN};
    head_series(head, ref)->open.has_extras = 1;
    return e;
}

static size_t rows_bytes(uint32_t cap) {
    return sizeof(struct extra_rows) + cap * sizeof(struct extra_row);
}

static void histogram_free(struct head_extras *extras, const struct histogram_bytes *h) {
    extras->bytes -= sizeof *h + h->len;
    free((void *)(uintptr_t)h);
}

static void rows_free(struct head_extras *extras, struct extra_rows *rows, uint32_t owned) {
    if (rows == NULL) return;
    for (uint32_t i = 0; i < owned; i++)
        histogram_free(extras, rows->at[i].histogram);
    extras->bytes -= rows_bytes(rows->cap);
    free(rows);
}

void head_extra_rows_free(struct head *head, struct extra_rows *rows) {
    rows_free(&head->extras, rows, rows->owned);
}

static void extra_fini(struct head_extras *extras, struct series_extra *e) {
    if (e->histograms != NULL) rows_free(extras, e->histograms, e->histograms->count);
    rows_free(extras, e->starts, 0);
}

void head_extras_drop(struct head *head, uint32_t ref) {
    struct head_extras *extras = &head->extras;
    struct series_extra *e = extra_find(head, ref);
    uint32_t i = (uint32_t)(e - extras->series);
    bool was_there = map_remove(&extras->by_ref, ref_hash(ref), i);
    assert(was_there);
    extra_fini(extras, e);
    *e = (struct series_extra){.ref = HEAD_NONE, .next_free = extras->free_first};
    extras->free_first = i;
    head_series(head, ref)->open.has_extras = 0;
}

void head_extras_fini(struct head_extras *extras) {
    for (uint32_t i = 0; i < extras->count; i++)
        if (extras->series[i].ref != HEAD_NONE) extra_fini(extras, &extras->series[i]);
    free(extras->series);
    map_fini(&extras->by_ref);
    *extras = (struct head_extras){0};
}

uint64_t head_extras_memory_bytes(const struct head_extras *extras) {
    return map_memory_bytes(&extras->by_ref) + extras->cap * sizeof *extras->series + extras->bytes;
}

/* -- rows */

/* The first with time >= time_ms. */
static uint32_t rows_seek(const struct extra_row *at, uint32_t count, int64_t time_ms) {
    uint32_t low = 0;
    while (count > 0) {
        uint32_t half = count / 2;
        if (at[low + half].time_ms < time_ms) {
            low += half + 1;
            count -= half + 1;
        } else {
            count = half;
        }
    }
    return low;
}

static uint32_t rows_seek_after(const struct extra_row *at, uint32_t count, int64_t time_ms) {
    return time_ms == INT64_MAX ? count : rows_seek(at, count, time_ms + 1);
}

/* A copy of rows [first, count) with room for more; NULL: no memory. */
static struct extra_rows *rows_copy(struct head_extras *extras, const struct extra_rows *rows,
                                    uint32_t first, uint32_t more) {
    uint32_t count = rows == NULL ? 0 : rows->count - first;
    uint32_t cap = MAX(count + more + (more > 0 ? count / 2 : 0), (uint32_t)ROWS_MIN);
    struct extra_rows *copy = cap < count ? NULL : malloc(rows_bytes(cap));
    if (copy == NULL) return NULL;
    *copy = (struct extra_rows){.count = count, .cap = cap};
    if (count > 0) memcpy(copy->at, rows->at + first, count * sizeof *copy->at);
    extras->bytes += rows_bytes(cap);
    return copy;
}

/* Rows into which `more` may be put at place i; they replace *rows. */
static enum status rows_open(struct head *head, struct extra_rows **rows, uint32_t i,
                             uint32_t more) {
    struct extra_rows *old = *rows;
    if (old != NULL && head->newest == NULL) old->seen = false;
    if (old != NULL && old->cap - old->count >= more && (i == old->count || !old->seen)) return OK;
    struct extra_rows *copy = rows_copy(&head->extras, old, 0, more);
    if (copy == NULL) return ERR_NOMEM;
    *rows = copy;
    if (old != NULL) head_retire_extra(head, old);
    return OK;
}

static void rows_put(struct extra_rows *rows, uint32_t i, struct extra_row row) {
    memmove(&rows->at[i + 1], &rows->at[i], (rows->count - i) * sizeof *rows->at);
    rows->at[i] = row;
    rows->count++;
}

static const struct extra_row *rows_find(const struct extra_rows *rows, int64_t time_ms) {
    if (rows == NULL) return NULL;
    uint32_t i = rows_seek(rows->at, rows->count, time_ms);
    return i < rows->count && rows->at[i].time_ms == time_ms ? &rows->at[i] : NULL;
}

static struct sv row_bytes(const struct extra_row *row) {
    return sv_make(row->histogram->at, row->histogram->len);
}

/* -- judging */

enum held { HELD_NOT, HELD_SAME, HELD_OTHER };

static bool series_newest_ms(const struct head *head, uint32_t ref, int64_t *out) {
    const struct chunk_open *open = &head_series(head, ref)->open;
    const struct series_extra *e = extra_find(head, ref);
    bool any = open->has_last;
    *out = any ? open->last_ms : INT64_MIN;
    if (e == NULL || e->histograms == NULL) return any;
    *out = MAX(*out, e->histograms->at[e->histograms->count - 1].time_ms);
    return true;
}

static enum held held_float(const struct head *head, uint32_t ref, int64_t time_ms,
                            const double *value) {
    const struct chunk_open *open = &head_series(head, ref)->open;
    uint64_t bits;
    if (!open->has_last || time_ms > open->last_ms || !head_holds(head, ref, time_ms, &bits))
        return HELD_NOT;
    return value != NULL && bits == f64_bits(*value) ? HELD_SAME : HELD_OTHER;
}

/* bytes.ptr NULL: of a float. */
static enum held held_histogram(const struct head *head, uint32_t ref, int64_t time_ms,
                                struct sv bytes) {
    const struct series_extra *e = extra_find(head, ref);
    const struct extra_row *row = e == NULL ? NULL : rows_find(e->histograms, time_ms);
    if (row == NULL) return HELD_NOT;
    bool same = bytes.ptr != NULL && histogram_bytes_equal(row_bytes(row), bytes);
    return same ? HELD_SAME : HELD_OTHER;
}

/* As head_judge (head.c), of a float (value) or a histogram. */
static enum verdict judge(const struct head *head, uint32_t ref, int64_t time_ms,
                          const double *value, struct sv bytes, int64_t shard_newest_ms) {
    int64_t newest_ms, window_ms = head->options.out_of_order_window_ms;
    int64_t in_order_ms = head_in_order_ms(head, shard_newest_ms);
    if (!series_newest_ms(head, ref, &newest_ms) || time_ms > newest_ms)
        return time_ms >= in_order_ms ? VERDICT_ACCEPT : VERDICT_TOO_OLD;
    enum held held = held_histogram(head, ref, time_ms, bytes);
    if (held == HELD_NOT) held = held_float(head, ref, time_ms, value);
    if (held == HELD_SAME) return VERDICT_NOOP;
    if (time_ms == newest_ms) return time_ms >= in_order_ms ? VERDICT_DUPLICATE : VERDICT_TOO_OLD;
    if (window_ms > 0) {
        int64_t floor_ms;
        if (!__builtin_sub_overflow(shard_newest_ms, window_ms, &floor_ms) && time_ms < floor_ms)
            return VERDICT_TOO_OLD;
        return held == HELD_OTHER ? VERDICT_NOOP : VERDICT_ACCEPT;
    }
    return time_ms < in_order_ms ? VERDICT_TOO_OLD : VERDICT_OUT_OF_ORDER;
}

enum verdict head_judge_histogram(const struct head *head, uint32_t ref, int64_t time_ms,
                                  struct sv bytes, int64_t shard_newest_ms) {
    return judge(head, ref, time_ms, NULL, bytes, shard_newest_ms);
}

enum verdict head_judge_marked(const struct head *head, uint32_t ref, int64_t time_ms, double value,
                               int64_t shard_newest_ms) {
    return judge(head, ref, time_ms, &value, (struct sv){0}, shard_newest_ms);
}

bool head_holds_histogram(const struct head *head, uint32_t ref, int64_t time_ms) {
    return held_histogram(head, ref, time_ms, (struct sv){0}) != HELD_NOT;
}

bool head_holds_same(const struct head *head, uint32_t ref, int64_t time_ms, double value,
                     struct sv bytes) {
    enum held held = bytes.ptr != NULL ? held_histogram(head, ref, time_ms, bytes)
                                       : held_float(head, ref, time_ms, &value);
    return held == HELD_SAME;
}

/* -- appending */

enum status head_append_histogram(struct head *head, uint32_t ref, int64_t time_ms,
                                  struct sv bytes) {
    if (head_is_before(head, ref, time_ms) || head_holds_histogram(head, ref, time_ms) ||
        held_float(head, ref, time_ms, NULL) != HELD_NOT)
        return OK;
    struct series_extra *e = extra_make(head, ref);
    if (e == NULL || bytes.len > UINT32_MAX) return ERR_NOMEM;
    uint32_t count = e->histograms == NULL ? 0 : e->histograms->count;
    uint32_t i = count == 0 ? 0 : rows_seek(e->histograms->at, count, time_ms);
    struct histogram_bytes *h = malloc(sizeof *h + bytes.len);
    if (h == NULL) return ERR_NOMEM;
    if (rows_open(head, &e->histograms, i, 1) != OK) {
        free(h);
        return ERR_NOMEM;
    }
    h->len = (uint32_t)bytes.len;
    memcpy(h->at, bytes.ptr, bytes.len);
    head->extras.bytes += sizeof *h + h->len;
    rows_put(e->histograms, i, (struct extra_row){.time_ms = time_ms, .histogram = h});
    head_count_sample(head, time_ms);
    return OK;
}

enum status head_set_start(struct head *head, uint32_t ref, int64_t time_ms, int64_t start_ms) {
    struct series_extra *e = extra_find(head, ref);
    int64_t newest_ms;
    if (start_ms == 0 && (e == NULL || e->starts == NULL)) return OK;
    bool late = series_newest_ms(head, ref, &newest_ms) && time_ms <= newest_ms;
    if (e == NULL) e = extra_make(head, ref);
    if (e == NULL) return ERR_NOMEM;
    uint32_t count = e->starts == NULL ? 0 : e->starts->count;
    uint32_t i = count == 0 ? 0 : rows_seek_after(e->starts->at, count, time_ms);
    int64_t before_ms = i == 0 ? 0 : e->starts->at[i - 1].start_ms;
    if (before_ms == start_ms) return OK;
    bool replaces = i > 0 && e->starts->at[i - 1].time_ms == time_ms;
    TRY(rows_open(head, &e->starts, replaces ? i - 1 : i, 2));
    struct extra_rows *rows = e->starts;
    if (replaces)
        rows->at[i - 1].start_ms = start_ms;
    else
        rows_put(rows, i++, (struct extra_row){.time_ms = time_ms, .start_ms = start_ms});
    /* the floats behind it keep theirs */
    bool ends =
        late && time_ms < INT64_MAX && (i == rows->count || rows->at[i].time_ms > time_ms + 1);
    if (ends) rows_put(rows, i, (struct extra_row){.time_ms = time_ms + 1, .start_ms = before_ms});
    return OK;
}

/* -- as another head had it */

const struct series_extra *head_extras_get(const struct head *head, uint32_t ref) {
    return extra_find(head, ref);
}

enum status head_restore_start(struct head *head, uint32_t ref, int64_t time_ms, int64_t start_ms) {
    struct series_extra *e = extra_make(head, ref);
    if (e == NULL) return ERR_NOMEM;
    uint32_t count = e->starts == NULL ? 0 : e->starts->count;
    if (count > 0 && e->starts->at[count - 1].time_ms >= time_ms) return ERR_CORRUPT;
    TRY(rows_open(head, &e->starts, count, 1));
    rows_put(e->starts, count, (struct extra_row){.time_ms = time_ms, .start_ms = start_ms});
    return OK;
}

/* -- trimming */

static void histograms_trim(struct head *head, struct series_extra *e, int64_t from_ms) {
    struct extra_rows *rows = e->histograms;
    uint32_t freed = MIN(rows_seek(rows->at, rows->count, from_ms), rows->count - 1);
    if (freed == 0) return;
    struct extra_rows *copy = rows_copy(&head->extras, rows, freed, 0);
    if (copy == NULL) return; /* hidden; freed the next time */
    e->histograms = copy;
    rows->owned = freed;
    head_retire_extra(head, rows);
}

static void starts_trim(struct head *head, struct series_extra *e, int64_t from_ms) {
    struct extra_rows *rows = e->starts;
    uint32_t later = rows_seek_after(rows->at, rows->count, from_ms);
    if (later < 2) return; /* the row before it is in force at from_ms */
    struct extra_rows *copy = rows_copy(&head->extras, rows, later - 1, 0);
    if (copy == NULL) return;
    e->starts = copy;
    head_retire_extra(head, rows);
}

bool head_extras_trim(struct head *head, uint32_t ref, int64_t from_ms) {
    struct series_extra *e = extra_find(head, ref);
    e->from_ms = MAX(e->from_ms, from_ms);
    if (e->histograms != NULL) histograms_trim(head, e, from_ms);
    if (e->starts != NULL) starts_trim(head, e, from_ms);
    return e->histograms == NULL || e->histograms->at[e->histograms->count - 1].time_ms < from_ms;
}

enum status head_extras_delete(struct head *head, uint32_t ref, int64_t min_ms, int64_t max_ms) {
    struct series_extra *e = extra_find(head, ref);
    struct extra_rows *rows = e->histograms;
    if (rows == NULL) return OK;
    uint32_t first = rows_seek(rows->at, rows->count, min_ms);
    uint32_t end = rows_seek_after(rows->at, rows->count, max_ms), gone = end - first;
    if (end <= first) return OK;
    struct extra_rows *copy = rows_copy(&head->extras, rows, 0, 0);
    struct extra_rows *lost = copy == NULL ? NULL : rows_copy(&head->extras, NULL, 0, gone);
    if (lost == NULL) {
        if (copy != NULL) rows_free(&head->extras, copy, 0);
        return ERR_NOMEM;
    }
    /* The deleted ones go with an array of their own, when nobody sees them any more. */
    memcpy(lost->at, rows->at + first, gone * sizeof *lost->at);
    lost->count = lost->owned = gone;
    memmove(copy->at + first, copy->at + end, (copy->count - end) * sizeof *copy->at);
    copy->count -= gone;
    e->histograms = copy;
    if (copy->count == 0) {
        rows_free(&head->extras, copy, 0);
        e->histograms = NULL;
    }
    head_retire_extra(head, rows);
    head_retire_extra(head, lost);
    return OK;
}

/* -- reading */

bool head_extras_overlap(const struct head *head, uint32_t ref, int64_t from_ms, int64_t to_ms) {
    const struct series_extra *e = extra_find(head, ref);
    if (e == NULL || e->histograms == NULL || from_ms == INT64_MAX) return false;
    const struct extra_rows *rows = e->histograms;
    uint32_t i = rows_seek(rows->at, rows->count, MAX(from_ms + 1, e->from_ms));
    return i < rows->count && rows->at[i].time_ms <= to_ms;
}

void head_extras_view(const struct head *head, uint32_t ref, struct series_view *out) {
    const struct series_extra *e = extra_find(head, ref);
    if (e->histograms != NULL) {
        struct extra_rows *rows = e->histograms;
        uint32_t first = rows_seek(rows->at, rows->count, e->from_ms);
        rows->seen = true;
        out->histograms = rows->at + first;
        out->histograms_count = rows->count - first;
    }
    if (e->starts != NULL) {
        e->starts->seen = true;
        out->starts = e->starts->at;
        out->starts_count = e->starts->count;
    }
}

static enum status read_nomem(struct err *err) {
    return err_set(err, ERR_NOMEM, 0, "head: out of memory for the samples of a series");
}

/* Merges from the end, in place; no time is in both. */
static enum status merge_histograms(struct samples *out, size_t rows, const struct extra_row *at,
                                    size_t count, struct err *err) {
    int64_t *times_ms = out->times_ms + out->count;
    double *values = out->values + out->count;
    struct histogram **histograms = out->histograms + out->count;
    for (size_t i = rows, j = count; i + j > 0;) {
        size_t to = i + j - 1;
        if (j == 0 || (i > 0 && times_ms[i - 1] > at[j - 1].time_ms)) {
            i--;
            times_ms[to] = times_ms[i];
            values[to] = values[i];
            histograms[to] = NULL;
            continue;
        }
        struct histogram *h = arena_alloc(&out->arena, sizeof *h);
        if (h == NULL) return read_nomem(err);
        TRY(histogram_get(row_bytes(&at[--j]), &out->arena, h, err));
        times_ms[to] = at[j].time_ms;
        values[to] = h->sum;
        histograms[to] = h;
    }
    return OK;
}

static void fill_starts(const struct series_view *v, struct samples *out, size_t rows) {
    const struct extra_row *at = v->starts;
    uint32_t next = 0;
    for (size_t i = out->count; i < out->count + rows; i++) {
        while (next < v->starts_count && at[next].time_ms <= out->times_ms[i])
            next++;
        const struct histogram *h = out->histograms == NULL ? NULL : out->histograms[i];
        out->starts_ms[i] = h != NULL ? h->start_ms : next == 0 ? 0 : at[next - 1].start_ms;
    }
}

enum status series_view_read_extras(const struct series_view *v, int64_t from_ms, int64_t to_ms,
                                    struct samples *out, size_t *rows, struct err *err) {
    const struct extra_row *at = v->histograms;
    uint32_t first = rows_seek_after(at, v->histograms_count, from_ms);
    uint32_t end = rows_seek_after(at, v->histograms_count, to_ms);
    bool starts = v->starts_count > 0;
    if (end > first) {
        size_t all = *rows + (end - first);
        if (samples_reserve(out, out->count + all) != OK || samples_want_histograms(out) != OK)
            return read_nomem(err);
        TRY(merge_histograms(out, *rows, at + first, end - first, err));
        *rows = all;
        for (uint32_t i = first; i < end && !starts; i++)
            starts = histogram_bytes_start_ms(row_bytes(&at[i])) != 0;
    } else if (out->histograms != NULL) {
        memset(out->histograms + out->count, 0, *rows * sizeof *out->histograms);
    }
    if (starts && samples_want_starts(out) != OK) return read_nomem(err);
    if (out->starts_ms != NULL) fill_starts(v, out, *rows);
    return OK;
}
