/* SPDX-License-Identifier: Apache-2.0 */
/* Reading a series through its view: any thread. */
#include <assert.h>
#include <string.h>

#include "node/base/bytes.h"
#include "storage/internal.h"

void series_view_take(const struct head *head, uint32_t ref, struct series_view *out) {
    const struct series *s = head_series(head, ref);
    const struct series_cold *cold = head_cold(head, ref);
    if (cold->late != NULL) cold->late->seen = true;
    *out = (struct series_view){
        .id = s->id,
        .ref = ref,
        .shard = cold->shard,
        .symbols = head->symbols.pairs.dir,
        .pairs = cold->pairs,
        .sealed = cold->sealed,
        .late = cold->late,
        .late_count = cold->late == NULL ? 0 : cold->late->count,
        .open_delta_ms = s->open.delta_ms,
        .open_first = s->open.first,
        .open_last_ms = s->open.last_ms,
        .open_last_bits = s->open.last_bits,
        .open_bits = s->open.bits,
        .open_count = s->open.count,
        .open_run = s->open.run,
    };
}

static struct chunk_snapshot view_open(const struct series_view *v) {
    return (struct chunk_snapshot){v->open_first,    v->open_last_ms, v->open_last_bits,
                                   v->open_delta_ms, v->open_bits,    v->open_count,
                                   v->open_run};
}

size_t series_view_labels(const struct series_view *v, struct label *out, size_t max) {
    uint32_t count = v->pairs[0];
    for (uint32_t i = 0; i < count && i < max; i++)
        out[i] = pair_label(symbols_pair(v->symbols, v->pairs[1 + i]));
    return count;
}

static bool open_overlaps(const struct chunk_snapshot *open, int64_t from_ms, int64_t to_ms) {
    return open->count > 0 && open->last_ms > from_ms && chunk_snapshot_first_ms(open) <= to_ms;
}

/* Says so when the span of a chunk overlaps, without looking into it. */
bool head_series_overlaps(const struct head *head, uint32_t ref, int64_t from_ms, int64_t to_ms) {
    const struct chunk_open *open = &head_series(head, ref)->open;
    if (!open->has_last || open->last_ms <= from_ms) return false;
    if (open->last_ms <= to_ms) return true;
    struct chunk_snapshot s = chunk_snapshot(open);
    if (open_overlaps(&s, from_ms, to_ms)) return true;
    const struct series_cold *cold = head_cold(head, ref);
    for (const struct chunk *c = cold->sealed; c != NULL && c->max_ms > from_ms; c = c->older)
        if (c->min_ms <= to_ms) return true;
    if (cold->late == NULL || from_ms == INT64_MAX) return false;
    uint32_t i = late_seek(cold->late->at, cold->late->count, from_ms + 1);
    return i < cold->late->count && cold->late->at[i].time_ms <= to_ms;
}

/* Rows of all chunks that overlap, decoded whole, oldest first, written from the end: chunks are
 * linked from the newest and know their counts. */
static enum status view_decode(const struct series_view *v, int64_t from_ms, int64_t to_ms,
                               struct samples *out, size_t *out_rows) {
    struct chunk_snapshot open = view_open(v);
    size_t open_rows = open_overlaps(&open, from_ms, to_ms) ? open.count : 0, rows = open_rows;
    const struct chunk *newest = v->sealed;
    while (newest != NULL && newest->min_ms > to_ms)
        newest = newest->older;
    for (const struct chunk *c = newest; c != NULL && c->max_ms > from_ms; c = c->older)
        rows += c->count;
    TRY(samples_reserve(out, out->count + rows + v->late_count));
    size_t at = out->count + rows - open_rows;
    if (open_rows > 0) TRY(chunk_snapshot_read(&open, out->times_ms + at, out->values + at));
    for (const struct chunk *c = newest; c != NULL && c->max_ms > from_ms; c = c->older) {
        at -= c->count;
        TRY(chunk_decode(c->bytes, c->len_bytes, c->min_ms, c->count, out->times_ms + at,
                         out->values + at));
    }
    *out_rows = rows;
    return OK;
}

/* The first of count ascending times that is > ms. */
static size_t times_seek_after(const int64_t *times_ms, size_t count, int64_t ms) {
    size_t low = 0;
    while (count > 0) {
        size_t half = count / 2;
        if (times_ms[low + half] <= ms) {
            low += half + 1;
            count -= half + 1;
        } else {
            count = half;
        }
    }
    return low;
}

static size_t rows_cut(struct samples *out, size_t rows, int64_t from_ms, int64_t to_ms) {
    int64_t *times_ms = out->times_ms + out->count;
    double *values = out->values + out->count;
    size_t first = times_seek_after(times_ms, rows, from_ms);
    size_t end = times_seek_after(times_ms, rows, to_ms);
    if (first > 0) {
        memmove(times_ms, times_ms + first, (end - first) * sizeof *times_ms);
        memmove(values, values + first, (end - first) * sizeof *values);
    }
    return end - first;
}

/* Merges from the end, in place; no time is in both. */
static size_t rows_merge_late(struct samples *out, size_t rows, const struct late_sample *late,
                              size_t late_rows) {
    int64_t *times_ms = out->times_ms + out->count;
    double *values = out->values + out->count;
    size_t i = rows, j = late_rows;
    while (j > 0) {
        size_t to = i + j - 1;
        if (i > 0 && times_ms[i - 1] > late[j - 1].time_ms) {
            i--;
            times_ms[to] = times_ms[i];
            values[to] = values[i];
        } else {
            j--;
            times_ms[to] = late[j].time_ms;
            values[to] = f64_from_bits(late[j].bits);
        }
    }
    return rows + late_rows;
}

enum status series_view_read(const struct series_view *v, int64_t from_ms, int64_t to_ms,
                             struct samples *out, struct err *err) {
    if (from_ms >= to_ms) return OK;
    size_t rows = 0;
    enum status status = view_decode(v, from_ms, to_ms, out, &rows);
    if (status == ERR_NOMEM)
        return err_set(err, status, 0, "head: out of memory for the samples of a series");
    if (status != OK)
        return err_set(err, status, 0, "head: a chunk of series %u cannot be decoded", v->ref);
    rows = rows_cut(out, rows, from_ms, to_ms);
    if (v->late_count > 0) {
        const struct late *late = v->late;
        uint32_t first = late_seek(late->at, v->late_count, from_ms + 1);
        uint32_t end =
            to_ms == INT64_MAX ? v->late_count : late_seek(late->at, v->late_count, to_ms + 1);
        rows = rows_merge_late(out, rows, late->at + first, end - first);
    }
    if (out->histograms != NULL)
        memset(out->histograms + out->count, 0, rows * sizeof(struct histogram *));
    if (out->starts_ms != NULL) memset(out->starts_ms + out->count, 0, rows * sizeof(int64_t));
    out->count += rows;
    return OK;
}
