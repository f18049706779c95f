/* SPDX-License-Identifier: Apache-2.0 */
/* Reading a series through its view: any thread. */
#include <assert.h>
#include <string.h>

#include "node/base/bytes.h"
#include "storage/internal.h"

/* Times up to this one are not the shard's any more. */
static int64_t after_ms(const struct head *head, const struct series_cold *cold) {
    int64_t from_ms = head_from(head, cold->shard);
    return from_ms == INT64_MIN ? INT64_MIN : from_ms - 1;
}

void series_view_take(const struct head *head, uint32_t ref, struct series_view *out) {
    const struct series *s = head_series(head, ref);
    const struct series_cold *cold = head_cold(head, ref);
    if (cold->late != NULL) cold->late->seen = true;
    *out = (struct series_view){
        .id = s->id,
        .ref = ref,
        .shard = cold->shard,
        .symbols = head->symbols.pairs.dir,
        .labels = cold->labels,
        .sealed = cold->sealed,
        .after_ms = after_ms(head, cold),
        .sealed_count = cold->sealed_count,
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

/* Two runs of pairs by name, as one. */
struct pairs_merge {
    char *const *symbols;
    const uint32_t *at[2], *end[2];
    struct labels_asked *asked; /* NULL: all are */
    const struct pair *next[2]; /* NULL: the end */
};

static bool name_is_asked(struct labels_asked *asked, char *const *symbols, uint32_t pair) {
    uint32_t name = symbols_pair_name(symbols, pair), slot = name % LABELS_ASKED_KNOWN;
    if (asked->known[slot].number == name + 1) return asked->known[slot].asked;
    bool found = false;
    for (size_t i = 0; i < asked->count && !found; i++)
        found = sv_eq(asked->names[i], pair_name(symbols_pair(symbols, pair)));
    asked->known[slot].number = name + 1;
    asked->known[slot].asked = found;
    return found;
}

static void merge_step(struct pairs_merge *m, unsigned side) {
    m->next[side] = NULL;
    while (m->at[side] < m->end[side]) {
        uint32_t pair = *m->at[side]++;
        if (m->asked != NULL && !name_is_asked(m->asked, m->symbols, pair)) continue;
        m->next[side] = symbols_pair(m->symbols, pair);
        return;
    }
}

static size_t view_labels(const struct series_view *v, struct labels_asked *asked,
                          struct label *out, size_t max) {
    const struct series_labels *l = v->labels;
    struct pairs_merge m = {v->symbols, {l->pairs}, {l->pairs + l->own}, asked, {NULL, NULL}};
    if (l->shared != NULL) {
        m.at[1] = l->shared->pairs;
        m.end[1] = l->shared->pairs + l->shared->count;
    }
    merge_step(&m, 0);
    merge_step(&m, 1);
    size_t count = 0;
    while (m.next[0] != NULL || m.next[1] != NULL) {
        unsigned side = m.next[0] == NULL;
        if (m.next[0] != NULL && m.next[1] != NULL)
            side = sv_cmp(pair_name(m.next[0]), pair_name(m.next[1])) > 0;
        if (count < max) out[count] = pair_label(m.next[side]);
        count++;
        merge_step(&m, side);
    }
    return count;
}

size_t series_view_labels(const struct series_view *v, struct label *out, size_t max) {
    return view_labels(v, NULL, out, max);
}

size_t series_view_labels_asked(const struct series_view *v, struct labels_asked *asked,
                                struct label *out, size_t max) {
    return view_labels(v, asked, out, max);
}

static bool open_overlaps(const struct chunk_snapshot *open, int64_t from_ms, int64_t to_ms) {
    return open->count > 0 && open->last_ms > from_ms && chunk_snapshot_first_ms(open) <= to_ms;
}

/* Nothing that was sealed before is later than that. */
static bool open_covers(const struct chunk_snapshot *open, int64_t ms) {
    return open->count > 0 && chunk_snapshot_first_ms(open) <= ms;
}

/* Says so when the span of a chunk overlaps, without looking into it. */
bool head_series_overlaps(const struct head *head, uint32_t ref, int64_t from_ms, int64_t to_ms) {
    const struct chunk_open *open = &head_series(head, ref)->open;
    const struct series_cold *cold = head_cold(head, ref);
    if (open->has_extras &&
        head_extras_overlap(head, ref, MAX(from_ms, after_ms(head, cold)), to_ms))
        return true;
    if (!open->has_last || open->last_ms <= from_ms) return false;
    if (from_ms < head->from_max_ms) from_ms = MAX(from_ms, after_ms(head, cold));
    if (open->last_ms <= from_ms || from_ms >= to_ms) return false;
    if (open->last_ms <= to_ms) return true;
    struct chunk_snapshot s = chunk_snapshot(open);
    if (open_overlaps(&s, from_ms, to_ms)) return true;
    const struct chunk *c = cold->sealed;
    for (uint32_t left = cold->sealed_count; left > 0 && c->times->last_ms > from_ms; left--) {
        if (c->times->first_ms <= to_ms) return true;
        c = c->older;
    }
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

/* The chunks of a view that overlap (from, to], newest to oldest; count 0: none. */
struct span {
    const struct chunk *newest, *oldest;
    size_t count, rows;
};

static struct span view_span(const struct series_view *v, int64_t from_ms, int64_t to_ms) {
    const struct chunk *c = v->sealed;
    uint32_t left = v->sealed_count;
    struct span span = {0};
    for (; left > 0 && c->times->first_ms > to_ms; left--)
        c = c->older;
    span.newest = c;
    for (; left > 0 && c->times->last_ms > from_ms; left--, c = c->older) {
        span.oldest = c;
        span.count++;
        span.rows += c->times->count;
    }
    return span;
}

static enum status read_open(const struct chunk_snapshot *open, int64_t from_ms,
                             struct samples *out, size_t *out_rows) {
    TRY(samples_reserve(out, out->count + open->count));
    int64_t *times_ms = out->times_ms + out->count;
    double *values = out->values + out->count;
    TRY(chunk_snapshot_read(open, times_ms, values));
    size_t before = times_seek_after(times_ms, open->count, from_ms);
    *out_rows = open->count - before;
    memmove(times_ms, times_ms + before, *out_rows * sizeof *times_ms);
    memmove(values, values + before, *out_rows * sizeof *values);
    return OK;
}

/* Rows after from_ms to the end of the span, and of the open chunk, written from the end: chunks
 * are linked from the newest and know their counts. The times of the oldest one, which may begin
 * too early, say how many of its rows are left out. */
static enum status read_sealed(const struct span *span, const struct chunk_snapshot *open,
                               int64_t from_ms, struct samples *out, size_t *out_rows) {
    struct page_scratch scratch;
    int64_t times_ms[CHUNK_JOINED_MAX];
    size_t count = span->oldest->times->count;
    page_scratch_init(&scratch);
    times_read(span->oldest->times, &scratch, times_ms);
    size_t before = times_seek_after(times_ms, count, from_ms);
    size_t open_rows = open == NULL ? 0 : open->count, rows = span->rows - before + open_rows;
    TRY(samples_reserve(out, out->count + rows));
    memcpy(out->times_ms + out->count, times_ms + before, (count - before) * sizeof *times_ms);
    TRY(chunk_values(span->oldest, &scratch, before, out->values + out->count));
    size_t at = out->count + rows - open_rows;
    if (open != NULL) TRY(chunk_snapshot_read(open, out->times_ms + at, out->values + at));
    for (const struct chunk *c = span->newest; c != span->oldest; c = c->older) {
        at -= c->times->count;
        times_read(c->times, &scratch, out->times_ms + at);
        TRY(chunk_values(c, &scratch, 0, out->values + at));
    }
    *out_rows = rows;
    return OK;
}

static enum status view_decode(const struct series_view *v, int64_t from_ms, int64_t to_ms,
                               struct samples *out, size_t *out_rows) {
    struct chunk_snapshot open = view_open(v);
    bool with_open = open_overlaps(&open, from_ms, to_ms);
    struct span span = {0};
    if (!open_covers(&open, from_ms)) span = view_span(v, from_ms, to_ms);
    size_t rows = 0;
    if (span.count > 0)
        TRY(read_sealed(&span, with_open ? &open : NULL, from_ms, out, &rows));
    else if (with_open)
        TRY(read_open(&open, from_ms, out, &rows));
    TRY(samples_reserve(out, out->count + rows + v->late_count));
    *out_rows = times_seek_after(out->times_ms + out->count, rows, to_ms);
    return OK;
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
    from_ms = MAX(from_ms, v->after_ms);
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

/* The first time of the newest chunk that begins at or before to_ms: no older one has the newest
 * sample up to there. INT64_MIN: there is none. */
static int64_t view_chunk_first(const struct series_view *v, int64_t to_ms) {
    struct chunk_snapshot open = view_open(v);
    if (open.count > 0) {
        int64_t first_ms = chunk_snapshot_first_ms(&open);
        if (first_ms <= to_ms) return first_ms;
    }
    const struct chunk *c = v->sealed;
    for (uint32_t left = v->sealed_count; left > 0; left--, c = c->older)
        if (c->times->first_ms <= to_ms) return c->times->first_ms;
    return INT64_MIN;
}

/* The last samples are a run at one distance: then the times of these, and of the one before, are
 * known, and all have the last value. Nothing but what came late lies between them. */
static bool view_run_newest(const struct series_view *v, int64_t to_ms, int64_t *out_ms) {
    if (v->open_delta_ms <= 0 || v->open_count == 0 || v->late_count > 0) return false;
    uint64_t delta = (uint64_t)v->open_delta_ms, last = (uint64_t)v->open_last_ms;
    uint64_t past = last - (uint64_t)to_ms, back = past / delta + (past % delta != 0);
    if (back > v->open_run) return false;
    *out_ms = v->open_last_ms - (int64_t)(back * delta);
    return true;
}

static enum status newest_put(struct samples *out, int64_t time_ms, uint64_t bits,
                              struct err *err) {
    if (samples_reserve(out, out->count + 1) != OK)
        return err_set(err, ERR_NOMEM, 0, "head: out of memory for the samples of a series");
    out->times_ms[out->count] = time_ms;
    out->values[out->count++] = f64_from_bits(bits);
    return OK;
}

enum status series_view_newest(const struct series_view *v, int64_t from_ms, int64_t to_ms,
                               struct samples *out, struct err *err) {
    bool plain = out->histograms == NULL && out->starts_ms == NULL && v->histograms_count == 0 &&
                 v->starts_count == 0;
    from_ms = MAX(from_ms, v->after_ms);
    if (!plain || v->open_last_ms <= from_ms || from_ms >= to_ms)
        return series_view_read(v, from_ms, to_ms, out, err);
    /* A view has samples, and the last one in order is the newest of all, also when its chunk was
     * sealed. */
    if (v->open_last_ms <= to_ms) return newest_put(out, v->open_last_ms, v->open_last_bits, err);
    int64_t run_ms;
    if (view_run_newest(v, to_ms, &run_ms))
        return run_ms > from_ms ? newest_put(out, run_ms, v->open_last_bits, err) : OK;
    int64_t first_ms = view_chunk_first(v, to_ms);
    if (first_ms > from_ms) from_ms = first_ms - 1;
    return series_view_read(v, from_ms, to_ms, out, err);
}

static uint64_t view_samples(const struct series_view *v, int64_t from_ms, int64_t to_ms) {
    uint64_t delta = v->open_delta_ms > 0 ? (uint64_t)v->open_delta_ms : 1000;
    uint64_t sealed = (uint64_t)v->sealed_count * CHUNK_SAMPLES_MAX;
    int64_t first_ms = (int64_t)((uint64_t)v->open_last_ms - delta * v->open_count);
    if (from_ms >= MIN(first_ms, to_ms)) return v->open_count + v->late_count;
    uint64_t wanted = ((uint64_t)MIN(first_ms, to_ms) - (uint64_t)from_ms) / delta;
    return MIN(sealed, wanted + CHUNK_SAMPLES_MAX / 2) + v->open_count + v->late_count;
}

uint64_t series_views_samples(const struct series_view *views, size_t count, int64_t from_ms,
                              int64_t to_ms, uint64_t most) {
    uint64_t samples = 0;
    for (size_t i = 0; i < count && samples < most; i++) {
        if (views[i].histograms_count > 0 || views[i].starts_count > 0) return most;
        samples += view_samples(&views[i], from_ms, to_ms);
    }
    return samples;
}

/* Chains of chunks are read by following links, each a line that no cache has: over some series at
 * once their waits overlap. The link of a chain's last block is not followed. */
struct touch {
    const struct chunk_block *open;
    const struct chunk *sealed;
    unsigned links;
    uint32_t left;
    int64_t from_ms;
};

/* The first lines, which lead to the others. */
static void touch_begin(struct touch *t, const struct series_view *v, int64_t ms, bool newest) {
    int64_t run_ms;
    __builtin_prefetch(v->labels);
    *t = (struct touch){.from_ms = MAX(ms, v->after_ms)};
    if (newest && (v->open_last_ms <= ms || view_run_newest(v, ms, &run_ms))) return;
    t->open = v->open_first;
    t->links = v->open_bits == 0 ? 0 : (v->open_bits - 1u) / CHUNK_BLOCK_BITS;
    t->sealed = v->sealed;
    t->left = v->sealed_count;
    if (t->open != NULL) __builtin_prefetch(t->open);
}

static void touch_covered(struct touch *t, const struct series_view *v) {
    const struct series_labels *labels = v->labels;
    struct chunk_snapshot open = view_open(v);
    __builtin_prefetch(labels->shared);
    if (t->left > 0 && open_covers(&open, t->from_ms)) t->left = 0;
    if (t->left > 0) __builtin_prefetch(t->sealed);
}

/* false: nothing is left to touch. */
static bool touch_step(struct touch *t) {
    bool more = t->links > 0 || t->left > 0;
    if (t->links > 0) {
        t->open = t->open->next;
        t->links--;
    } else if (t->open != NULL) {
        __builtin_prefetch(t->open);
        t->open = NULL;
    }
    if (t->left == 0) return more;
    for (size_t at = 0; at < t->sealed->len_bytes; at += 64)
        __builtin_prefetch(t->sealed->bytes + at);
    t->left = t->sealed->times->last_ms > t->from_ms ? t->left - 1 : 0;
    if (t->left > 0) t->sealed = t->sealed->older;
    return more;
}

void series_views_touch(const struct series_view *views, size_t count, int64_t ms, bool newest) {
    struct touch touches[SERIES_TOUCH_MAX];
    assert(count <= SERIES_TOUCH_MAX);
    for (size_t i = 0; i < count; i++)
        touch_begin(&touches[i], &views[i], ms, newest);
    for (size_t i = 0; i < count; i++)
        touch_covered(&touches[i], &views[i]);
    for (bool more = true; more;) {
        more = false;
        for (size_t i = 0; i < count; i++)
            more |= touch_step(&touches[i]);
    }
}
