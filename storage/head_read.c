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
    if (s->open.has_extras) head_extras_view(head, ref, out);
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
    if (open->has_extras && head_extras_overlap(head, ref, from_ms, to_ms)) return true;
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

struct chunk_rows { /* of the oldest chunk that overlaps, which is the one that begins too early */
    size_t first, count;
    int64_t times_ms[CHUNK_SAMPLES_MAX];
    double values[CHUNK_SAMPLES_MAX];
};

/* Reads the chunk, or the open one when c is NULL. */
static enum status rows_decode(const struct chunk *c, const struct chunk_snapshot *open,
                               int64_t *times_ms, double *values) {
    if (c == NULL) return chunk_snapshot_read(open, times_ms, values);
    return chunk_decode(c->bytes, c->len_bytes, c->min_ms, c->count, times_ms, values);
}

/* Rows from after from_ms to the end of the last chunk that overlaps, written from the end: chunks
 * are linked from the newest and know their counts. */
static enum status view_decode(const struct series_view *v, int64_t from_ms, int64_t to_ms,
                               struct samples *out, size_t *out_rows) {
    struct chunk_snapshot open = view_open(v);
    bool with_open = open_overlaps(&open, from_ms, to_ms);
    size_t rows = with_open ? open.count : 0;
    const struct chunk *newest = v->sealed, *oldest = NULL;
    while (newest != NULL && newest->min_ms > to_ms)
        newest = newest->older;
    for (const struct chunk *c = newest; c != NULL && c->max_ms > from_ms; c = c->older) {
        rows += c->count;
        oldest = c;
    }
    struct chunk_rows begin = {.count = oldest != NULL ? oldest->count : rows};
    if (begin.count > 0) TRY(rows_decode(oldest, &open, begin.times_ms, begin.values));
    begin.first = times_seek_after(begin.times_ms, begin.count, from_ms);
    rows -= begin.first;
    TRY(samples_reserve(out, out->count + rows + v->late_count));
    size_t kept = begin.count - begin.first, at = out->count + rows;
    if (kept > 0) {
        memcpy(out->times_ms + out->count, begin.times_ms + begin.first,
               kept * sizeof *out->times_ms);
        memcpy(out->values + out->count, begin.values + begin.first, kept * sizeof *out->values);
    }
    if (with_open && oldest != NULL) {
        at -= open.count;
        TRY(rows_decode(NULL, &open, out->times_ms + at, out->values + at));
    }
    for (const struct chunk *c = newest; oldest != NULL && c != oldest; c = c->older) {
        at -= c->count;
        TRY(rows_decode(c, &open, out->times_ms + at, out->values + at));
    }
    *out_rows = times_seek_after(out->times_ms + out->count, rows, to_ms);
    return OK;
}

/* Chains of chunks are read by following links, each a line that no cache has: over some series at
 * once their waits overlap. The link of a chain's last block is not followed. */
void series_views_touch(const struct series_view *views, size_t count, int64_t from_ms) {
    const struct chunk_block *open[SERIES_TOUCH_MAX];
    const struct chunk *sealed[SERIES_TOUCH_MAX];
    unsigned links[SERIES_TOUCH_MAX];
    assert(count <= SERIES_TOUCH_MAX);
    for (size_t i = 0; i < count; i++) {
        open[i] = views[i].open_first;
        links[i] = views[i].open_bits == 0 ? 0 : (views[i].open_bits - 1u) / CHUNK_BLOCK_BITS;
        sealed[i] = views[i].sealed;
        __builtin_prefetch(views[i].pairs);
    }
    for (bool more = true; more;) {
        more = false;
        for (size_t i = 0; i < count; i++) {
            if (links[i] > 0) {
                open[i] = open[i]->next;
                links[i]--;
                more = true;
            } else if (open[i] != NULL) {
                __builtin_prefetch(open[i]);
                open[i] = NULL;
            }
            if (sealed[i] == NULL) continue;
            for (size_t at = 0; at < sealed[i]->len_bytes; at += 64)
                __builtin_prefetch(sealed[i]->bytes + at);
            sealed[i] = sealed[i]->max_ms > from_ms ? sealed[i]->older : NULL;
            more = true;
        }
    }
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
    if (v->late_count > 0) {
        const struct late *late = v->late;
        uint32_t first = late_seek(late->at, v->late_count, from_ms + 1);
        uint32_t end =
            to_ms == INT64_MAX ? v->late_count : late_seek(late->at, v->late_count, to_ms + 1);
        rows = rows_merge_late(out, rows, late->at + first, end - first);
    }
    if (v->histograms_count > 0 || v->starts_count > 0 || out->histograms != NULL ||
        out->starts_ms != NULL)
        TRY(series_view_read_extras(v, from_ms, to_ms, out, &rows, err));
    out->count += rows;
    return OK;
}

enum status series_view_newest(const struct series_view *v, int64_t from_ms, int64_t to_ms,
                               struct samples *out, struct err *err) {
    /* A view has samples, and the last one in order is the newest of all, also when its chunk was
     * sealed. */
    if (v->open_last_ms <= from_ms || v->open_last_ms > to_ms || out->histograms != NULL ||
        out->starts_ms != NULL || v->histograms_count > 0 || v->starts_count > 0)
        return series_view_read(v, from_ms, to_ms, out, err);
    if (samples_reserve(out, out->count + 1) != OK)
        return err_set(err, ERR_NOMEM, 0, "head: out of memory for the samples of a series");
    out->times_ms[out->count] = v->open_last_ms;
    out->values[out->count++] = f64_from_bits(v->open_last_bits);
    return OK;
}
