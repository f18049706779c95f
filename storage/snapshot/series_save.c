/* SPDX-License-Identifier: Apache-2.0 */
/* A record:
 *   series := u32 length of what follows, column (open_chunks.c), varint shard,
 *             varint number in the shard's log + 1 (0: none),
 *             varint count { varint pair } by name, u8 what is there,
 *             [open], [sealed], [late], [histograms], [starts]
 *   open   := see open_chunks.c
 *   sealed := varint count { u8 kind (0 one value, 1 page), varint times, varint len, bytes },
 *             oldest first
 *   late   := varint count { i64 time, u64 bits }, ascending
 *   histograms := varint count { i64 time, varint len, bytes }, ascending
 *   starts := varint count { i64 time, i64 start }, ascending
 * pair and times are numbers in the tables of the file. What lies wholly before the times that the
 * head answers is left out; of an open chunk the samples there are.
 *
 * Up to format 3 there is no column; u64 id high, u64 id low follow the shard; and
 *   open   := i64 last time, u64 last bits, u32 predicted distance, u16 bits, u8 count, u8 run,
 *             u8 leading, u8 significant, u8 full, { u64 word of the stream } (storage/chunk.h) */
#include "storage/internal.h"
#include "storage/snapshot/internal.h"

struct series_rows {
    const struct extra_row *at;
    uint32_t count;
};
struct series_parts { /* what is answered */
    const struct chunk_open *open;
    const struct chunk *sealed;
    const struct late_sample *late;
    uint32_t sealed_count, late_count, open_count;
    struct series_rows histograms, starts;
};

static struct series_rows rows_from(const struct extra_rows *rows, int64_t from_ms) {
    uint32_t first = 0;
    if (rows == NULL) return (struct series_rows){0};
    while (first < rows->count && rows->at[first].time_ms < from_ms)
        first++;
    return (struct series_rows){rows->at + first, rows->count - first};
}

static void parts_of(const struct store *store, uint32_t ref, struct series_parts *out) {
    const struct head *head = store->head;
    const struct series_cold *cold = head_cold(head, ref);
    int64_t from_ms = head_from(head, cold->shard);
    *out = (struct series_parts){.open = &head_series(head, ref)->open,
                                 .sealed = cold->sealed,
                                 .sealed_count = head_chunks_kept(cold, from_ms)};
    if (cold->late != NULL) {
        uint32_t first = late_seek(cold->late->at, cold->late->count, from_ms);
        out->late = cold->late->at + first;
        out->late_count = cold->late->count - first;
    }
    if (!out->open->has_extras) return;
    const struct series_extra *e = head_extras_get(head, ref);
    out->histograms = rows_from(e->histograms, from_ms);
    out->starts = rows_from(e->starts, INT64_MIN);
}

static void labels_put(const struct head *head, uint32_t ref, struct buf *out) {
    struct labels_walk walk = {.labels = head_cold(head, ref)->labels,
                               .symbols = head->symbols.pairs.dir};
    buf_put_varint(out, labels_total(walk.labels));
    for (uint32_t pair; (pair = labels_walk_next(&walk)) != MAP_NONE;)
        buf_put_varint(out, pair);
}

static void chunk_put(const struct chunk *c, struct buf *out) {
    struct sv bytes = sv_make(c->bytes, c->len_bytes);
    if (c->kind == CHUNK_FAR) {
        struct spilled at = spilled_from(c->bytes);
        bytes = sv_make(spill_bytes(&at), at.len);
    }
    buf_put_u8(out, c->kind == CHUNK_CONST ? SAVED_CONST : SAVED_PAGE);
    buf_put_varint(out, c->times->place);
    buf_put_lenstr(out, bytes);
}

/* They are linked from the newest on. */
static void sealed_put(const struct series_parts *p, struct buf *out) {
    enum { AT_ONCE = 64 };
    const struct chunk *at[AT_ONCE];
    buf_put_varint(out, p->sealed_count);
    for (uint32_t left = p->sealed_count; left > 0;) {
        uint32_t n = left < AT_ONCE ? left : AT_ONCE;
        const struct chunk *c = p->sealed;
        for (uint32_t i = 0; i < left - n; i++)
            c = c->older;
        for (uint32_t i = 0; i < n; i++, c = c->older)
            at[i] = c;
        left -= n;
        while (n > 0)
            chunk_put(at[--n], out);
    }
}

static void late_put(const struct series_parts *p, struct buf *out) {
    buf_put_varint(out, p->late_count);
    for (uint32_t i = 0; i < p->late_count; i++) {
        buf_put_u64(out, (uint64_t)p->late[i].time_ms);
        buf_put_u64(out, p->late[i].bits);
    }
}

static void extras_put(const struct series_parts *p, struct buf *out) {
    if (p->histograms.count > 0) buf_put_varint(out, p->histograms.count);
    for (uint32_t i = 0; i < p->histograms.count; i++) {
        const struct extra_row *row = &p->histograms.at[i];
        buf_put_u64(out, (uint64_t)row->time_ms);
        buf_put_lenstr(out, sv_make(row->histogram->at, row->histogram->len));
    }
    if (p->starts.count > 0) buf_put_varint(out, p->starts.count);
    for (uint32_t i = 0; i < p->starts.count; i++) {
        buf_put_u64(out, (uint64_t)p->starts.at[i].time_ms);
        buf_put_u64(out, (uint64_t)p->starts.at[i].start_ms);
    }
}

static uint64_t samples_of(const struct series_parts *p) {
    uint64_t count = (uint64_t)p->open_count + p->late_count + p->histograms.count;
    const struct chunk *c = p->sealed;
    for (uint32_t left = p->sealed_count; left > 0; left--, c = c->older)
        count += c->times->count;
    return count;
}

/* Start times name samples, all of which are to be there then. */
static void open_take(const struct head *head, uint32_t ref, struct series_parts *p,
                      struct saved_columns *columns) {
    int64_t from_ms = head_from(head, head_cold(head, ref)->shard);
    saved_open_take(columns, p->open, p->open->has_extras ? INT64_MIN : from_ms);
    p->open_count = (uint32_t)(columns->end - columns->first);
}

void snapshot_series_put(const struct store *store, uint32_t ref, struct saved_columns *columns,
                         struct buf *out, uint64_t *samples) {
    const struct head *head = store->head;
    const struct series *s = head_series(head, ref);
    struct series_parts p;
    size_t start = out->len;
    parts_of(store, ref, &p);
    open_take(head, ref, &p, columns);
    *samples += samples_of(&p);
    unsigned what = (p.open->has_last ? SAVED_OPEN : 0) | (p.sealed_count > 0 ? SAVED_SEALED : 0) |
                    (p.late_count > 0 ? SAVED_LATE : 0) |
                    (p.histograms.count > 0 ? SAVED_HISTOGRAMS : 0) |
                    (p.starts.count > 0 ? SAVED_STARTS : 0);
    buf_put_u32(out, 0);
    saved_column_put(columns, out);
    buf_put_varint(out, head_cold(head, ref)->shard);
    buf_put_varint(out, s->open.owner == HEAD_NONE ? 0 : (uint64_t)s->open.owner + 1);
    labels_put(head, ref, out);
    buf_put_u8(out, (uint8_t)what);
    if (p.open->has_last) saved_open_put(columns, p.open, out);
    if (p.sealed_count > 0) sealed_put(&p, out);
    if (p.late_count > 0) late_put(&p, out);
    extras_put(&p, out);
    if (out->failed) return;
    size_t len = out->len - start - 4;
    if (len > UINT32_MAX)
        out->failed = true;
    else
        put_u32le(out->ptr + start, (uint32_t)len);
}
