/* SPDX-License-Identifier: Apache-2.0 */
/* The samples of open chunks, as pages: the bits of a chunk take three times as many bytes. Their
 * times are the last rows of a column; series of a target have the same, and lie together, so the
 * newest columns are kept on both sides, and named by how long ago they came.
 *   column := varint 0 (none), 1 (a new one), n + 2 (that which came n before the newest);
 *             if new: varint rows, varint len, bytes (storage/page)
 *   open   := varint count; u8 full; if count is 0: i64 last time, u64 last bits;
 *             else varint len, page (storage/page)
 * How the samples came into a chunk is not kept: from the same samples the same chunk is made. */
#include <assert.h>
#include <stdlib.h>

#include "storage/snapshot/internal.h"

enum { COLUMN_NONE, COLUMN_NEW, COLUMN_OLD };

struct saved_columns *saved_columns_new(void) {
    struct saved_columns *c = calloc(1, sizeof *c);
    if (c != NULL) page_scratch_init(&c->scratch);
    return c;
}

void saved_columns_free(struct saved_columns *c) {
    free(c);
}

/* The place that the next one takes. */
static struct saved_column *column_next(struct saved_columns *c) {
    c->newest = (c->newest + 1) % SAVED_COLUMNS;
    c->count = MIN(c->count + 1, (uint32_t)SAVED_COLUMNS);
    return &c->at[c->newest];
}

static struct saved_column *column_before(struct saved_columns *c, uint64_t n) {
    if (n >= c->count) return NULL;
    return &c->at[(c->newest + SAVED_COLUMNS - (uint32_t)n) % SAVED_COLUMNS];
}

/* -- saving */

/* One sample is kept: it says what the series' newest is. */
void saved_open_take(struct saved_columns *c, const struct chunk_open *open, int64_t from_ms) {
    struct chunk_snapshot s = chunk_snapshot(open);
    enum status status = chunk_snapshot_read(&s, c->times_ms, c->values);
    assert(status == OK); /* it is the core's own */
    c->first = 0;
    c->end = s.count;
    while (c->first + 1 < c->end && c->times_ms[c->first] < from_ms)
        c->first++;
}

void saved_column_put(struct saved_columns *c, struct buf *out) {
    const int64_t *times_ms = c->times_ms + c->first;
    size_t count = c->end - c->first;
    if (count == 0) {
        buf_put_varint(out, COLUMN_NONE);
        return;
    }
    for (uint32_t n = 0; n < c->count; n++) {
        const struct saved_column *old = column_before(c, n);
        if (old->rows < count) continue;
        if (memcmp(old->ms + old->rows - count, times_ms, count * sizeof *times_ms) != 0) continue;
        buf_put_varint(out, COLUMN_OLD + n);
        return;
    }
    struct saved_column *column = column_next(c);
    memcpy(column->ms, times_ms, count * sizeof *times_ms);
    column->rows = count;
    size_t len = column_encode(&c->scratch, times_ms, count, c->bytes);
    buf_put_varint(out, COLUMN_NEW);
    buf_put_varint(out, count);
    buf_put_lenstr(out, sv_make(c->bytes, len));
}

void saved_open_put(struct saved_columns *c, const struct chunk_open *open, struct buf *out) {
    size_t count = c->end - c->first;
    buf_put_varint(out, count);
    buf_put_u8(out, open->full);
    if (count == 0) {
        buf_put_u64(out, (uint64_t)open->last_ms);
        buf_put_u64(out, open->last_bits);
        return;
    }
    size_t len = page_encode(&c->scratch, c->values + c->first, count, c->bytes);
    buf_put_lenstr(out, sv_make(c->bytes, len));
}

/* -- loading */

enum status saved_column_get(struct saved_columns *c, struct reader *r) {
    uint64_t which = read_varint(r);
    c->now = NULL;
    if (which == COLUMN_NONE) return r->failed ? ERR_CORRUPT : OK;
    if (which >= COLUMN_OLD) {
        c->now = column_before(c, which - COLUMN_OLD);
        return c->now == NULL ? ERR_CORRUPT : OK;
    }
    uint64_t rows = read_varint(r);
    struct sv bytes = read_lenstr(r);
    struct page page = {(const uint8_t *)bytes.ptr, bytes.len, (size_t)rows};
    if (r->failed || rows == 0 || rows > CHUNK_SAMPLES_MAX) return ERR_CORRUPT;
    struct saved_column *column = column_next(c);
    TRY(column_decode(&c->scratch, &page, column->ms));
    for (size_t i = 1; i < rows; i++)
        if (column->ms[i] <= column->ms[i - 1]) return ERR_CORRUPT;
    column->rows = (size_t)rows;
    c->now = column;
    return OK;
}

enum status saved_open_get(struct saved_columns *c, struct reader *r, struct chunk_slab *slab,
                           struct chunk_open *out) {
    uint64_t count = read_varint(r);
    out->full = read_u8(r);
    out->has_last = 1;
    if (out->full < 1 || out->full > CHUNK_SAMPLES_MAX || count > out->full) return ERR_CORRUPT;
    if (count == 0) {
        out->last_ms = (int64_t)read_u64(r);
        out->last_bits = read_u64(r);
        return r->failed ? ERR_CORRUPT : OK;
    }
    struct sv bytes = read_lenstr(r);
    struct page page = {(const uint8_t *)bytes.ptr, bytes.len, (size_t)count};
    if (r->failed || c->now == NULL || count > c->now->rows) return ERR_CORRUPT;
    TRY(page_decode(&c->scratch, &page, c->values));
    const int64_t *times_ms = c->now->ms + (c->now->rows - count);
    enum status status = OK;
    for (size_t i = 0; i < count && status == OK; i++)
        status = chunk_append(out, slab, times_ms[i], f64_bits(c->values[i]));
    if (status == OK || out->first == NULL) return status;
    chunk_slab_give(slab, out->first, out->tail);
    out->first = out->tail = NULL;
    return status;
}
