/* SPDX-License-Identifier: Apache-2.0 */
#include "storage/block/pages_in.h"

#include <assert.h>
#include <stdlib.h>

#include "storage/histogram.h"

void pages_in_fini(struct pages_in *p) {
    u64s_fini(&p->pages);
}

void pages_in_forget(struct pages_in *p) {
    p->loaded = false;
}

static enum status pages_corrupt(const struct pages_in *p, struct err *err) {
    return io_corrupt(p->io, PART_DIRECTORY,
                      ref_offset(p->io->block->parts[PART_DIRECTORY].frames[p->frame]), err);
}

/* The frame of the directory that has the series. */
static size_t directory_find(const struct block *b, uint64_t series) {
    size_t low = 0, high = b->parts[PART_DIRECTORY].frames_count;
    while (high - low > 1) {
        size_t middle = (low + high) / 2;
        if (b->directory_first[middle] <= series)
            low = middle;
        else
            high = middle;
    }
    return low;
}

static enum status directory_read_frames(struct pages_in *p, struct reader *r, struct err *err) {
    uint64_t count = read_varint(r), end = read_varint(r);
    p->pages.count = 0;
    if (r->failed || count > reader_left(r)) return pages_corrupt(p, err);
    for (uint64_t i = 0; i < count; i++) {
        uint64_t offset = end + read_varint(r), bytes = read_varint(r);
        if (r->failed || offset >= p->io->block->file_bytes || bytes > FRAME_BYTES_MAX)
            return pages_corrupt(p, err);
        if (u64s_put(&p->pages, ref_make(offset, bytes)) != OK)
            return err_set(err, ERR_NOMEM, 0, "block: out of memory");
        end = offset + bytes;
    }
    return OK;
}

static enum status directory_load(struct pages_in *p, size_t frame, struct err *err) {
    const struct block *b = p->io->block;
    const struct part *part = &b->parts[PART_DIRECTORY];
    struct sv raw;
    p->loaded = false;
    p->frame = frame;
    TRY(io_frame(p->io, PART_DIRECTORY, part->frames[frame], &raw, err));
    struct reader r = reader_init(raw.ptr, raw.len);
    p->first = read_varint(&r);
    p->count = read_varint(&r);
    uint64_t end =
        frame + 1 < part->frames_count ? b->directory_first[frame + 1] : b->totals.series_count;
    if (r.failed || p->first != b->directory_first[frame] || p->count == 0 ||
        p->count > DIRECTORY_SERIES_MAX || p->first + p->count != end)
        return pages_corrupt(p, err);
    TRY(directory_read_frames(p, &r, err));
    size_t restarts = (p->count + RESTART_SERIES - 1) / RESTART_SERIES;
    p->restarts = read_bytes(&r, restarts * RESTART_BYTES);
    if (p->restarts == NULL) return pages_corrupt(p, err);
    p->records = r.cur;
    p->end = r.end;
    p->loaded = true;
    p->now.series = p->begin.series = UINT64_MAX;
    p->in_series = false;
    return OK;
}

static enum status pages_restart(struct pages_in *p, uint64_t series, struct err *err) {
    const uint8_t *restart = p->restarts + (series - p->first) / RESTART_SERIES * RESTART_BYTES;
    uint32_t at = get_u32le(restart);
    if (at > (size_t)(p->end - p->records)) return pages_corrupt(p, err);
    p->now.next = reader_init(p->records + at, (size_t)(p->end - p->records) - at);
    p->now.page_frame = get_u32le(restart + 4);
    p->now.page_at = get_u32le(restart + 8);
    p->now.series = series - (series - p->first) % RESTART_SERIES;
    p->in_series = false;
    return OK;
}

static void missing_read(struct reader *r, struct page_at *out) {
    uint64_t count = read_varint(r);
    r->failed = r->failed || count == 0 || count > MISSING_MAX;
    if (r->failed) return;
    out->missing_count = (uint32_t)count;
    out->missing = *r;
    for (uint64_t i = 0; i < count; i++)
        (void)read_varint(r);
}

static enum status page_read(struct pages_in *p, struct page_at *out, struct err *err) {
    struct reader *r = &p->now.next;
    unsigned flags = read_u8(r);
    *out = (struct page_at){.kind = (enum block_page_kind)(flags & PAGE_KIND)};
    out->has_starts = flags & PAGE_STARTS;
    out->last = flags & PAGE_LAST;
    out->column = (uint64_t)(p->column + read_zigzag(r));
    p->column = (int64_t)out->column + 1;
    if ((flags & PAGE_WHOLE) == 0) {
        out->first = read_varint(r);
        out->span = read_varint(r);
        r->failed = r->failed || out->span == 0 || out->span > PAGE_SAMPLES_MAX;
    }
    if (flags & PAGE_MISSING) missing_read(r, out);
    if (flags & PAGE_STARTS) out->starts = out->column + (uint64_t)read_zigzag(r);
    uint64_t frame = p->now.page_frame;
    if (flags & PAGE_SAME) {
        frame = read_varint(r);
        out->at = read_varint(r);
        out->len = read_varint(r);
    } else {
        if (flags & PAGE_NEXT_FRAME) {
            frame = ++p->now.page_frame;
            p->now.page_at = 0;
        }
        out->at = p->now.page_at;
        out->len = read_varint(r);
        p->now.page_at += out->len;
    }
    bool good = !r->failed && frame < p->pages.count && out->at <= FRAME_RAW_MAX &&
                out->len <= FRAME_RAW_MAX;
    if (!good) return pages_corrupt(p, err);
    out->ref = p->pages.at[frame];
    p->in_series = !out->last;
    if (out->last) p->now.series++;
    return OK;
}

enum status pages_seek(struct pages_in *p, uint64_t series, uint32_t target, struct err *err) {
    struct page_at page;
    assert(series < p->io->block->totals.series_count);
    if (!p->loaded || series < p->first || series >= p->first + p->count)
        TRY(directory_load(p, directory_find(p->io->block, series), err));
    uint64_t restart = series - (series - p->first) % RESTART_SERIES;
    bool goes_on = p->now.series > restart && p->now.series + p->in_series <= series;
    if (p->begin.series == series) /* a long series is read in pieces */
        p->now = p->begin;
    else if (!goes_on)
        TRY(pages_restart(p, series, err));
    while (p->now.series < series)
        TRY(page_read(p, &page, err));
    p->begin = p->now;
    p->in_series = true;
    p->column = target;
    return OK;
}

enum status pages_next(struct pages_in *p, struct page_at *out, bool *out_more, struct err *err) {
    *out_more = p->in_series;
    if (!p->in_series) return OK;
    TRY(page_read(p, out, err));
    /* known only here: what was passed by counted from another target */
    return out->column <= UINT32_MAX ? OK : pages_corrupt(p, err);
}

static enum status page_rows_check(struct block_io *io, const struct page_at *p, uint64_t rows,
                                   struct err *err) {
    if (p->span == 0 || (p->first < rows && p->span <= rows - p->first)) return OK;
    return io_corrupt(io, PART_COLUMNS_AT, p->column, err);
}

enum status page_ends(struct block_io *io, const struct page_at *p, int64_t out[2],
                      struct err *err) {
    if (p->span == 0) return io_column_ends(io, p->column, out, err);
    const struct io_column *column;
    TRY(io_column(io, p->column, &column, err));
    TRY(page_rows_check(io, p, column->rows, err));
    out[0] = column->ints[p->first];
    out[1] = column->ints[p->first + p->span - 1];
    return OK;
}

/* Copies rows but the missing ones; 0: malformed. */
static size_t times_copy(const struct page_at *p, const int64_t *rows, size_t count, int64_t *out) {
    struct reader r = p->missing;
    size_t row = 0, done = 0;
    for (uint32_t i = 0; i < p->missing_count; i++) {
        uint64_t gap = read_varint(&r);
        if (r.failed || gap >= count - row) return 0;
        memcpy(out + done, rows + row, gap * sizeof *out);
        done += gap;
        row += gap + 1;
    }
    memcpy(out + done, rows + row, (count - row) * sizeof *out);
    return done + (count - row);
}

enum status page_get_times(struct block_io *io, const struct page_at *p, struct page_times *out,
                           struct err *err) {
    const struct io_column *column;
    TRY(io_column(io, p->column, &column, err));
    TRY(page_rows_check(io, p, column->rows, err));
    const int64_t *rows = column->ints + (p->span == 0 ? 0 : p->first);
    size_t count = p->span == 0 ? column->rows : p->span;
    out->ms = rows;
    out->count = count;
    if (p->missing_count > 0) {
        out->ms = out->room;
        out->count = times_copy(p, rows, count, out->room);
    }
    if (out->count == 0) return io_corrupt(io, PART_COLUMNS_AT, p->column, err);
    return OK;
}

enum status page_get_starts(struct block_io *io, const struct page_at *p, size_t count,
                            const int64_t **out, struct err *err) {
    const struct io_column *column;
    *out = NULL;
    if (!p->has_starts) return OK;
    TRY(io_column(io, p->starts, &column, err));
    if (column->rows != count) return io_corrupt(io, PART_COLUMNS_AT, p->starts, err);
    *out = column->ints;
    return OK;
}

enum status page_get(struct block_io *io, const struct page_at *p, size_t count, struct page *out,
                     struct err *err) {
    struct sv raw;
    TRY(io_frame(io, PART_PAGES, p->ref, &raw, err));
    if (p->at > raw.len || p->len > raw.len - p->at)
        return io_corrupt(io, PART_PAGES, ref_offset(p->ref), err);
    *out = (struct page){(const uint8_t *)raw.ptr + p->at, p->len, count};
    return OK;
}

static enum status page_bad(const struct block_io *io, const struct page_at *p, struct err *err) {
    return io_corrupt(io, PART_PAGES, ref_offset(p->ref), err);
}

static enum status page_nomem(struct err *err) {
    return err_set(err, ERR_NOMEM, 0, "block: out of memory");
}

static enum status floats_append(struct block_io *io, const struct page_at *p,
                                 const struct page *page, const size_t range[2],
                                 struct samples *out, struct err *err) {
    const int64_t *starts;
    size_t bytes = (range[1] - range[0]) * sizeof *out->values, at = out->count;
    TRY(io_scratch(io, err));
    TRY(page_get_starts(io, p, page->count, &starts, err));
    if (starts != NULL && samples_want_starts(out) != OK) return page_nomem(err);
    if (page_decode_range(io->scratch, page, range[0], range[1], out->values + at) != OK)
        return page_bad(io, p, err);
    if (out->histograms != NULL)
        memset(out->histograms + at, 0, (range[1] - range[0]) * sizeof(*out->histograms));
    if (starts != NULL)
        memcpy(out->starts_ms + at, starts + range[0], bytes);
    else if (out->starts_ms != NULL)
        memset(out->starts_ms + at, 0, bytes);
    return OK;
}

static enum status histograms_append(struct block_io *io, const struct page_at *p,
                                     const struct page *page, const size_t range[2],
                                     struct samples *out, struct err *err) {
    struct reader r = reader_init(page->bytes, page->len);
    if (samples_want_histograms(out) != OK) return page_nomem(err);
    for (size_t i = 0; i < page->count; i++) {
        struct sv bytes = read_lenstr(&r);
        if (r.failed) return page_bad(io, p, err);
        if (i < range[0] || i >= range[1]) continue;
        struct histogram *h = arena_alloc(&out->arena, sizeof *h);
        if (h == NULL) return page_nomem(err);
        enum status status = histogram_get(bytes, &out->arena, h, err);
        if (status == ERR_CORRUPT) return page_bad(io, p, err);
        if (status != OK) return status;
        if (h->start_ms != 0 && samples_want_starts(out) != OK) return page_nomem(err);
        size_t at = out->count + i - range[0];
        out->histograms[at] = h;
        out->values[at] = h->sum;
        if (out->starts_ms != NULL) out->starts_ms[at] = h->start_ms;
    }
    return reader_left(&r) == 0 ? OK : page_bad(io, p, err);
}

enum status page_append(struct block_io *io, const struct page_at *p, const struct page_times *t,
                        const size_t range[2], struct samples *out, struct err *err) {
    struct page page;
    size_t count = range[1] - range[0];
    if (count == 0) return OK;
    TRY(page_get(io, p, t->count, &page, err));
    if (samples_reserve(out, out->count + count) != OK) return page_nomem(err);
    if (p->kind == KIND_FLOAT)
        TRY(floats_append(io, p, &page, range, out, err));
    else if (p->kind == KIND_HISTOGRAM)
        TRY(histograms_append(io, p, &page, range, out, err));
    else
        return page_bad(io, p, err);
    memcpy(out->times_ms + out->count, t->ms + range[0], count * sizeof *out->times_ms);
    out->count += count;
    return OK;
}
