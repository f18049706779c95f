/* SPDX-License-Identifier: Apache-2.0 */
/* Pages, and the directory that says where they are. A frame of the directory ends with a series,
 * and then the frame of pages that is open ends too: so each is complete when it is written. */
#include <assert.h>
#include <stdlib.h>

#include "node/base/hash.h"
#include "storage/block/writer_internal.h"
#include "storage/histogram.h"

/* The frame of pages that is open. */
static uint32_t page_frame(const struct directory *d) {
    return (uint32_t)d->frames.count;
}

static enum status pages_flush(struct block_writer *w, struct err *err) {
    struct directory *d = &w->directory;
    uint64_t ref;
    if (d->pages.failed) return writer_nomem(err);
    if (d->pages.len == 0) return OK;
    TRY(frames_put(&w->out, buf_sv(&d->pages), &ref, err));
    if (u64s_put(&d->frames, ref) != OK) return writer_nomem(err);
    w->data_bytes += ref_bytes(ref);
    buf_clear(&d->pages);
    d->next_frame = true;
    return OK;
}

static void restart_put(struct directory *d) {
    if (d->series_count % RESTART_SERIES != 0) return;
    uint32_t *restart = d->restarts[d->series_count / RESTART_SERIES];
    restart[0] = (uint32_t)d->records.len;
    restart[1] = page_frame(d);
    restart[2] = (uint32_t)d->pages.len;
    d->next_frame = false;
}

/* The same bytes among the pages of this directory frame; remembers them when there are none. */
static const struct page_seen *page_find(struct directory *d, const struct page_out *p) {
    struct hash128 hash = hash128(p->bytes.ptr, p->bytes.len, p->kind);
    struct page_seen *seen = &d->seen[hash.lo % SAME_SLOTS];
    if (seen->generation == d->generation && seen->hash.hi == hash.hi && seen->hash.lo == hash.lo)
        return seen->frame == page_frame(d) ? NULL : seen; /* packing the frame finds those */
    *seen = (struct page_seen){hash, page_frame(d), (uint32_t)d->pages.len, d->generation};
    return NULL;
}

static void column_put(struct buf *out, struct directory *d, const struct column_use *use) {
    buf_put_zigzag(out, (int64_t)use->column - d->column_before);
    d->column_before = (int64_t)use->column + 1;
    if (use->first > 0 || use->span < use->rows) {
        buf_put_varint(out, use->first);
        buf_put_varint(out, use->span);
    }
    if (use->missing_count > 0) {
        uint32_t next = 0;
        buf_put_varint(out, use->missing_count);
        for (uint32_t i = 0; i < use->missing_count; i++) {
            buf_put_varint(out, use->missing[i] - next);
            next = use->missing[i] + 1;
        }
    }
}

enum status directory_put_page(struct block_writer *w, const struct page_out *p, struct err *err) {
    struct directory *d = &w->directory;
    const struct column_use *use = &p->times;
    size_t len = p->bytes.len;
    bool full = d->pages.len + len > writer_frame_bytes(w) ||
                (d->pages_kind != p->kind && d->pages.len > PAGES_KIND_BYTES);
    if (d->pages.len > 0 && full) TRY(pages_flush(w, err));
    d->pages_kind = p->kind;
    const struct page_seen *same = len >= SAME_BYTES_MIN ? page_find(d, p) : NULL;
    unsigned flags = p->kind;
    if (use->first == 0 && use->span == use->rows) flags |= PAGE_WHOLE;
    if (use->missing_count > 0) flags |= PAGE_MISSING;
    if (p->starts != NULL) flags |= PAGE_STARTS;
    if (same != NULL) flags |= PAGE_SAME;
    if (same == NULL && d->next_frame) flags |= PAGE_NEXT_FRAME;
    d->flags_at = d->records.len;
    buf_put_u8(&d->records, (uint8_t)flags);
    column_put(&d->records, d, use);
    if (p->starts != NULL) buf_put_zigzag(&d->records, (int64_t)*p->starts - use->column);
    if (same != NULL) {
        buf_put_varint(&d->records, same->frame);
        buf_put_varint(&d->records, same->at);
    } else {
        buf_put_sv(&d->pages, p->bytes);
        d->next_frame = false;
    }
    buf_put_varint(&d->records, len);
    return d->records.failed || d->pages.failed ? writer_nomem(err) : OK;
}

static void directory_put_frames(const struct directory *d, struct buf *out) {
    uint64_t end = d->frames.count > 0 ? ref_offset(d->frames.at[0]) : 0;
    buf_put_varint(out, d->frames.count);
    buf_put_varint(out, end);
    for (size_t i = 0; i < d->frames.count; i++) {
        uint64_t ref = d->frames.at[i];
        buf_put_varint(out, ref_offset(ref) - end);
        buf_put_varint(out, ref_bytes(ref));
        end = ref_offset(ref) + ref_bytes(ref);
    }
}

static enum status directory_flush(struct block_writer *w, struct err *err) {
    struct directory *d = &w->directory;
    uint64_t ref;
    if (d->series_count == 0) return OK;
    TRY(pages_flush(w, err));
    buf_clear(&d->raw);
    buf_put_varint(&d->raw, d->series_first);
    buf_put_varint(&d->raw, d->series_count);
    directory_put_frames(d, &d->raw);
    for (uint32_t i = 0; i * RESTART_SERIES < d->series_count; i++)
        for (int k = 0; k < 3; k++)
            buf_put_u32(&d->raw, d->restarts[i][k]);
    buf_put_sv(&d->raw, buf_sv(&d->records));
    if (d->raw.failed) return writer_nomem(err);
    TRY(frames_put(&w->out, buf_sv(&d->raw), &ref, err));
    if (u64s_put(&w->streams[PART_DIRECTORY].frames, ref) != OK ||
        u64s_put(&d->firsts, d->series_first) != OK)
        return writer_nomem(err);
    buf_clear(&d->records);
    d->series_first += d->series_count;
    d->series_count = 0;
    d->frames.count = 0;
    d->next_frame = false;
    d->generation++;
    return OK;
}

static enum status group_flush(struct block_writer *w, struct err *err) {
    size_t count = (w->series_count - 1) % GROUP_SERIES + 1;
    struct buf *raw = &w->directory.raw;
    uint64_t ref;
    buf_clear(raw);
    for (int side = 0; side < SIDES; side++) {
        uint8_t *encoded = w->columns.encoded;
        size_t len = column_encode(w->scratch, w->group[side], count, encoded);
        if (side + 1 < SIDES) buf_put_varint(raw, len);
        buf_put(raw, encoded, len);
    }
    if (raw->failed) return writer_nomem(err);
    TRY(frames_put(&w->out, buf_sv(raw), &ref, err));
    return u64s_put(&w->streams[PART_LABELS].frames, ref) == OK ? OK : writer_nomem(err);
}

static enum status writer_enter_shard(struct block_writer *w, uint32_t shard, struct err *err) {
    if (w->shard != NULL && w->shard->shard == shard) return OK;
    assert(w->shard == NULL || w->shard->shard < shard);
    if (w->shards_present == w->shards_cap) {
        size_t cap = MAX(w->shards_cap * 2, 64);
        struct shard_entry *shards = realloc(w->shards, cap * sizeof *shards);
        if (shards == NULL) return writer_nomem(err);
        w->shards = shards;
        w->shards_cap = cap;
    }
    w->shard = &w->shards[w->shards_present++];
    *w->shard = (struct shard_entry){.shard = shard,
                                     .series_first = w->series_count,
                                     .info = {.min_ms = INT64_MAX, .max_ms = INT64_MIN}};
    buf_clear(&w->before);
    return OK;
}

enum status writer_begin_series(struct block_writer *w, uint32_t shard, struct sv canonical,
                                struct err *err) {
    uint32_t sets[SIDES];
    TRY(writer_enter_shard(w, shard, err));
    assert(w->shard->info.series_count == 0 || sv_cmp(buf_sv(&w->before), canonical) < 0);
    buf_clear(&w->before);
    buf_put_sv(&w->before, canonical);
    if (w->before.failed) return writer_nomem(err);
    if (w->series_count == SERIES_COUNT_MAX)
        return err_set(err, ERR_LIMIT, 0, "block: more than %d series", SERIES_COUNT_MAX);
    TRY(labels_split(w, canonical, sets, err));
    for (int side = 0; side < SIDES; side++)
        w->group[side][w->series_count % GROUP_SERIES] = sets[side];
    w->target = sets[SIDE_TARGET];
    w->directory.column_before = w->target;
    restart_put(&w->directory);
    w->directory.flags_at = SIZE_MAX;
    return OK;
}

static void writer_count(struct block_writer *w, const int64_t *times_ms, size_t count) {
    struct block_shard *s = &w->shard->info;
    s->min_ms = MIN(s->min_ms, times_ms[0]);
    s->max_ms = MAX(s->max_ms, times_ms[count - 1]);
    s->samples_count += count;
    w->samples_count += count;
}

static bool ints_are_zero(const int64_t *ints, size_t count) {
    int64_t any = 0;
    for (size_t i = 0; i < count; i++)
        any |= ints[i];
    return any == 0;
}

static enum status writer_put_encoded(struct block_writer *w, struct page_out *p,
                                      const int64_t *times_ms, const int64_t *starts_ms,
                                      struct err *err) {
    size_t count = p->times.count;
    uint32_t starts;
    if (starts_ms != NULL && !ints_are_zero(starts_ms, count)) {
        TRY(column_find_starts(w, starts_ms, count, &starts, err));
        p->starts = &starts;
    }
    TRY(directory_put_page(w, p, err));
    writer_count(w, times_ms, count);
    return OK;
}

enum status writer_put_page(struct block_writer *w, enum block_page_kind kind,
                            const struct page *page, const int64_t *times_ms,
                            const int64_t *starts_ms, struct err *err) {
    struct page_out p = {.kind = kind, .bytes = sv_make(page->bytes, page->len)};
    TRY(column_find(w, times_ms, page->count, true, &p.times, err));
    return writer_put_encoded(w, &p, times_ms, starts_ms, err);
}

/* As many of these histograms as make a page; returns how many, 0: no memory. */
static size_t histograms_encode(struct block_writer *w, struct histogram *const *histograms,
                                size_t count) {
    size_t done = 0;
    buf_clear(&w->histograms);
    while (done < count && w->histograms.len < HISTOGRAMS_PAGE_BYTES) {
        buf_clear(&w->histogram);
        histogram_put(histograms[done++], &w->histogram);
        buf_put_lenstr(&w->histograms, buf_sv(&w->histogram));
        if (w->histogram.failed) return 0;
    }
    return w->histograms.failed ? 0 : done;
}

/* How many samples from i on are of the kind of that one, at most max. */
static size_t kind_run(const struct samples *samples, size_t i, size_t max) {
    struct histogram *const *h = samples->histograms == NULL ? NULL : samples->histograms + i;
    size_t n = 1;
    if (h == NULL) return max;
    while (n < max && (h[n] != NULL) == (h[0] != NULL))
        n++;
    return n;
}

/* How many of them are of the column of the first. */
static size_t column_run(const struct block_writer *w, const int64_t *times_ms, size_t count) {
    size_t n = 1;
    if (w->options.resolution_ms == 0) return count;
    while (n < count && times_ms[n] - times_ms[0] < BLOCK_COLUMN_MS / 2)
        n++;
    return n;
}

enum status writer_put_samples(struct block_writer *w, const struct samples *samples,
                               struct err *err) {
    for (size_t i = 0; i < samples->count;) {
        struct page_out p = {.kind = KIND_FLOAT};
        const int64_t *times_ms = samples->times_ms + i;
        const int64_t *starts_ms = samples->starts_ms == NULL ? NULL : samples->starts_ms + i;
        size_t run = column_run(w, times_ms, samples->count - i);
        TRY(column_find(w, times_ms, run, false, &p.times, err));
        size_t count = kind_run(samples, i, p.times.count);
        if (samples->histograms != NULL && samples->histograms[i] != NULL) {
            count = histograms_encode(w, samples->histograms + i, count);
            if (count == 0) return writer_nomem(err);
            p.kind = KIND_HISTOGRAM;
            p.bytes = buf_sv(&w->histograms);
            starts_ms = NULL; /* they have their own */
        } else {
            size_t len = page_encode(w->scratch, samples->values + i, count, w->page);
            p.bytes = sv_make(w->page, len);
        }
        if (count < p.times.count) column_cut(&p.times, count);
        TRY(writer_put_encoded(w, &p, times_ms, starts_ms, err));
        i += count;
    }
    return OK;
}

enum status writer_end_series(struct block_writer *w, struct err *err) {
    struct directory *d = &w->directory;
    assert(d->flags_at != SIZE_MAX); /* a page at least */
    d->records.ptr[d->flags_at] = (char)(d->records.ptr[d->flags_at] | PAGE_LAST);
    d->series_count++;
    w->series_count++;
    w->shard->info.series_count++;
    if (w->series_count % GROUP_SERIES == 0) TRY(group_flush(w, err));
    if (d->series_count == DIRECTORY_SERIES_MAX || d->records.len >= DIRECTORY_BYTES)
        return directory_flush(w, err);
    return OK;
}

enum status directory_finish(struct block_writer *w, struct err *err) {
    TRY(directory_flush(w, err));
    return w->series_count % GROUP_SERIES != 0 ? group_flush(w, err) : OK;
}
