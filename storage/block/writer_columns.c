/* SPDX-License-Identifier: Apache-2.0 */
/* Times are interned: series of one target mostly have the same. A page's times are a column, a
 * slice of one, or a slice without some rows; where none of the target's columns fits, they become
 * one. Columns are remembered with their encodings up to a bound; then they are forgotten and
 * written again when they come up. */
#include <assert.h>
#include <stdlib.h>

#include "node/base/hash.h"
#include "storage/block/writer_internal.h"

enum { DECODES_MAX = 2 /* columns a page is compared with row by row */ };

void columns_fini(struct columns *c) {
    free(c->newest);
    free(c->seen);
    buf_fini(&c->bytes);
}

static struct hash128 ints_hash(const int64_t *ints, size_t count) {
    return hash128(ints, count * sizeof *ints, 0);
}

static bool hash_eq(struct hash128 a, struct hash128 b) {
    return a.hi == b.hi && a.lo == b.lo;
}

static void columns_forget(struct columns *c) {
    for (uint32_t i = 0; i < c->newest_count; i++)
        c->newest[i] = MAP_NONE;
    c->seen_count = 0;
    buf_clear(&c->bytes);
}

static enum status targets_reserve(struct columns *c, uint32_t target) {
    if (target >= c->newest_cap) {
        uint32_t cap = MAX(target + 1, c->newest_cap * 2);
        uint32_t *newest = realloc(c->newest, cap * sizeof *newest);
        if (newest == NULL) return ERR_NOMEM;
        c->newest = newest;
        c->newest_cap = cap;
    }
    while (c->newest_count <= target)
        c->newest[c->newest_count++] = MAP_NONE;
    return OK;
}

static enum status seen_reserve(struct columns *c) {
    if (c->seen_count < c->seen_cap) return OK;
    uint32_t cap = c->seen_cap == 0 ? 64 : c->seen_cap * 2;
    struct column_seen *seen = realloc(c->seen, cap * sizeof *seen);
    if (seen == NULL) return ERR_NOMEM;
    c->seen = seen;
    c->seen_cap = cap;
    return OK;
}

/* Writes a column; its encoding is left in columns.encoded. */
static enum status column_add(struct block_writer *w, const int64_t *ints, size_t count,
                              uint32_t *out_id, size_t *out_bytes, struct err *err) {
    struct columns *c = &w->columns;
    uint8_t entry[COLUMN_ENTRY_BYTES];
    if (c->count >= UINT32_MAX) return err_set(err, ERR_LIMIT, 0, "block: too many columns");
    size_t bytes = column_encode(w->scratch, ints, count, c->encoded);
    put_u64le(entry, w->streams[PART_COLUMNS].raw_bytes);
    put_u32le(entry + 8, (uint32_t)bytes);
    put_u32le(entry + 12, (uint32_t)count);
    put_u64le(entry + 16, (uint64_t)ints[0]);
    put_u64le(entry + 24, (uint64_t)ints[count - 1]);
    TRY(stream_put(w, PART_COLUMNS_AT, sv_make(entry, sizeof entry), err));
    TRY(stream_put(w, PART_COLUMNS, sv_make(c->encoded, bytes), err));
    *out_id = (uint32_t)c->count++;
    *out_bytes = bytes;
    return OK;
}

static enum status column_new(struct block_writer *w, const int64_t *times_ms, size_t count,
                              struct column_use *out, struct err *err) {
    struct columns *c = &w->columns;
    size_t bytes;
    uint32_t id;
    TRY(column_add(w, times_ms, count, &id, &bytes, err));
    if (c->seen_count == COLUMNS_SEEN_MAX || c->bytes.len + bytes > COLUMNS_SEEN_BYTES)
        columns_forget(c);
    if (seen_reserve(c) != OK) return writer_nomem(err);
    uint32_t at = (uint32_t)c->bytes.len;
    buf_put(&c->bytes, c->encoded, bytes);
    if (c->bytes.failed) return writer_nomem(err);
    c->seen[c->seen_count] = (struct column_seen){.hash = ints_hash(times_ms, count),
                                                  .first_ms = times_ms[0],
                                                  .last_ms = times_ms[count - 1],
                                                  .id = id,
                                                  .rows = (uint32_t)count,
                                                  .at = at,
                                                  .bytes = (uint32_t)bytes,
                                                  .older = c->newest[w->target]};
    c->newest[w->target] = c->seen_count++;
    *out = (struct column_use){
        .column = id, .rows = (uint32_t)count, .span = (uint32_t)count, .count = count};
    return OK;
}

static bool column_is_whole(const struct column_seen *s, const int64_t *times_ms, size_t count) {
    return s->first_ms == times_ms[0] && s->rows <= count && times_ms[s->rows - 1] == s->last_ms &&
           hash_eq(s->hash, ints_hash(times_ms, s->rows));
}

/* Another of the target's columns goes on where this one ends. */
static bool column_begins(const struct block_writer *w, int64_t time_ms) {
    const struct columns *c = &w->columns;
    for (uint32_t i = c->newest[w->target]; i != MAP_NONE; i = c->seen[i].older)
        if (c->seen[i].first_ms == time_ms) return true;
    return false;
}

/* How many of the times are rows of the column, from the row of the first on; what is missing may
 * be some rows only. 0: it does not fit. */
static size_t rows_match(const int64_t *rows, size_t rows_count, const int64_t *times_ms,
                         size_t count, struct column_use *out) {
    size_t low = 0, high = rows_count;
    while (low < high) {
        size_t middle = (low + high) / 2;
        if (rows[middle] < times_ms[0])
            low = middle + 1;
        else
            high = middle;
    }
    size_t row = low, done = 0;
    out->first = (uint32_t)low;
    out->missing_count = 0;
    for (; row < rows_count && done < count && times_ms[done] <= rows[rows_count - 1]; row++) {
        if (rows[row] == times_ms[done]) {
            done++;
            out->span = (uint32_t)(row - low + 1);
            continue;
        }
        bool fits = rows[row] < times_ms[done] && out->missing_count < MISSING_MAX;
        if (!fits) return 0;
        out->missing[out->missing_count++] = (uint32_t)(row - low);
    }
    return out->missing_count * 4 <= done ? done : 0;
}

/* Whether a page may end where this column does, though the series goes on. */
static bool column_may_end(const struct block_writer *w, size_t rows, const int64_t *times_ms,
                           size_t done, size_t count) {
    return done == count || rows >= writer_page_rows(w) || column_begins(w, times_ms[done]);
}

static bool column_whole(const struct block_writer *w, const int64_t *times_ms, size_t count,
                         bool all, struct column_use *out) {
    const struct columns *c = &w->columns;
    const struct column_seen *best = NULL;
    for (uint32_t i = c->newest[w->target]; i != MAP_NONE; i = c->seen[i].older) {
        const struct column_seen *s = &c->seen[i];
        if ((all ? s->rows != count : best != NULL && s->rows <= best->rows)) continue;
        if (column_is_whole(s, times_ms, count)) best = s;
    }
    if (best == NULL) return false;
    if (!column_may_end(w, best->rows, times_ms, best->rows, count)) return false;
    *out = (struct column_use){
        .column = best->id, .rows = best->rows, .span = best->rows, .count = best->rows};
    return true;
}

static enum status column_part(struct block_writer *w, const int64_t *times_ms, size_t count,
                               bool all, struct column_use *out) {
    struct columns *c = &w->columns;
    int decodes = 0;
    out->count = 0;
    for (uint32_t i = c->newest[w->target]; i != MAP_NONE; i = c->seen[i].older) {
        const struct column_seen *s = &c->seen[i];
        if (times_ms[0] < s->first_ms || times_ms[0] > s->last_ms) continue;
        if (decodes++ == DECODES_MAX) break;
        struct page page = {(const uint8_t *)c->bytes.ptr + s->at, s->bytes, s->rows};
        enum status status = column_decode(w->scratch, &page, c->ints);
        assert(status == OK);
        size_t done = rows_match(c->ints, s->rows, times_ms, count, out);
        if (done == 0 || (all && done < count)) continue;
        if (!column_may_end(w, s->rows, times_ms, done, count)) continue;
        out->column = s->id;
        out->rows = s->rows;
        out->count = done;
        return OK;
    }
    return OK;
}

enum status column_find(struct block_writer *w, const int64_t *times_ms, size_t count, bool all,
                        struct column_use *out, struct err *err) {
    if (targets_reserve(&w->columns, w->target) != OK) return writer_nomem(err);
    if (column_whole(w, times_ms, count, all, out)) return OK;
    TRY(column_part(w, times_ms, count, all, out));
    if (out->count > 0) return OK;
    return column_new(w, times_ms, all ? count : MIN(count, writer_page_rows(w)), out, err);
}

void column_cut(struct column_use *use, size_t count) {
    uint32_t missing = 0, row = 0;
    assert(count >= 1 && count <= use->count);
    for (size_t done = 0; done < count; row++) {
        if (missing < use->missing_count && use->missing[missing] == row)
            missing++;
        else
            done++;
    }
    use->span = row;
    use->missing_count = missing;
    use->count = count;
}

enum status column_find_starts(struct block_writer *w, const int64_t *starts_ms, size_t count,
                               uint32_t *out, struct err *err) {
    struct hash128 hash = ints_hash(starts_ms, count);
    struct starts_seen *seen = &w->columns.starts[hash.lo % STARTS_SEEN];
    if (!seen->used || !hash_eq(seen->hash, hash)) {
        size_t bytes;
        uint32_t id;
        TRY(column_add(w, starts_ms, count, &id, &bytes, err));
        *seen = (struct starts_seen){hash, id, true};
    }
    *out = seen->id;
    return OK;
}
