/* SPDX-License-Identifier: Apache-2.0 */
/* The body of a WRITE entry, both ways. Both run per sample (a batch of 2,000 has some 2 per
 * shard), so that loops work on bare pointers into memory that was reserved before, and varints are
 * inline with the one-byte case first. */
#include <assert.h>
#include <stdlib.h>

#include "node/base/arena.h"
#include "node/base/bytes.h"
#include "storage/entry.h"

enum {
    SECTIONS_KNOWN = SECTION_SERIES | SECTION_FLOATS | SECTION_STARTS | SECTION_EXEMPLARS |
                     SECTION_METADATA | SECTION_HISTOGRAMS,
    /* number, time delta, value, start at their longest */
    FLOAT_BYTES_MAX = 5 + VARINT_BYTES_MAX + 8 + VARINT_BYTES_MAX,
    /* number, value, and a time delta from the second float on, at their shortest */
    FLOAT_BYTES_MIN = 1 + 8 + 1,
    FLOATS_MIN_CAP = 16,
    WRITE_FIXED_BYTES_MAX = 1 + 2 * (1 + VARINT_BYTES_MAX) + 6 * VARINT_BYTES_MAX,
};

void entry_write_clear(struct entry_write *w) {
    buf_clear(&w->series);
    buf_clear(&w->exemplars);
    buf_clear(&w->metadata);
    buf_clear(&w->histograms);
    w->series_count = w->exemplars_count = w->metadata_count = w->histograms_count = 0;
    w->floats_count = 0;
    w->has_starts = false;
}

void entry_write_fini(struct entry_write *w) {
    buf_fini(&w->series);
    buf_fini(&w->exemplars);
    buf_fini(&w->metadata);
    buf_fini(&w->histograms);
    free(w->numbers);
    free(w->times_ms);
    free(w->values);
    free(w->starts_ms);
    *w = (struct entry_write){0};
}

static bool column_grow(void **column, size_t cap, size_t item_bytes) {
    size_t bytes;
    if (__builtin_mul_overflow(cap, item_bytes, &bytes)) return false;
    void *p = realloc(*column, bytes);
    if (p == NULL) return false;
    *column = p;
    return true;
}

enum status entry_write_reserve(struct entry_write *w, size_t floats_count) {
    if (w->floats_cap - w->floats_count >= floats_count) return OK;
    size_t need;
    if (__builtin_add_overflow(w->floats_count, floats_count, &need) || need > UINT32_MAX) {
        return ERR_NOMEM;
    }
    size_t cap = MAX(MAX(w->floats_cap * 2, need), FLOATS_MIN_CAP);
    void *numbers = w->numbers, *times = w->times_ms, *values = w->values, *starts = w->starts_ms;
    /* A column that grew before the one that failed just has room to spare. */
    bool ok = column_grow(&numbers, cap, sizeof *w->numbers);
    w->numbers = numbers;
    ok = ok && column_grow(&times, cap, sizeof *w->times_ms);
    w->times_ms = times;
    ok = ok && column_grow(&values, cap, sizeof *w->values);
    w->values = values;
    ok = ok && column_grow(&starts, cap, sizeof *w->starts_ms);
    w->starts_ms = starts;
    if (!ok) return ERR_NOMEM;
    w->floats_cap = cap;
    return OK;
}

void entry_write_series(struct entry_write *w, struct sv canonical) {
    assert(canonical.len > 0);
    buf_put_lenstr(&w->series, canonical);
    w->series_count++;
}

enum status entry_write_float(struct entry_write *w, uint32_t number, int64_t time_ms,
                              double value) {
    if (__builtin_expect(w->floats_count == w->floats_cap, 0)) TRY(entry_write_reserve(w, 1));
    size_t i = w->floats_count++;
    w->numbers[i] = number;
    w->times_ms[i] = time_ms;
    w->values[i] = value;
    if (w->has_starts) w->starts_ms[i] = 0;
    return OK;
}

enum status entry_write_start(struct entry_write *w, int64_t start_ms) {
    assert(w->floats_count > 0);
    if (!w->has_starts) memset(w->starts_ms, 0, w->floats_count * sizeof *w->starts_ms);
    w->has_starts = true;
    w->starts_ms[w->floats_count - 1] = start_ms;
    return OK;
}

bool entry_write_is_empty(const struct entry_write *w) {
    return w->series_count == 0 && w->floats_count == 0 && w->exemplars_count == 0 &&
           w->metadata_count == 0 && w->histograms_count == 0;
}

size_t entry_write_bound(const struct entry_write *w, size_t floats_more, size_t series_len) {
    return WRITE_FIXED_BYTES_MAX + w->series.len + w->exemplars.len + w->metadata.len +
           w->histograms.len + (w->floats_count + floats_more) * FLOAT_BYTES_MAX +
           VARINT_BYTES_MAX + series_len;
}

static inline uint8_t *write_varint(uint8_t *p, uint64_t v) {
    if (__builtin_expect(v < 0x80, 1)) {
        *p = (uint8_t)v;
        return p + 1;
    }
    return p + put_varint(p, v);
}

static inline int64_t time_diff(int64_t a, int64_t b) {
    return (int64_t)((uint64_t)a - (uint64_t)b);
}

static uint8_t *write_floats(const struct entry_write *w, uint8_t *p) {
    const size_t n = w->floats_count;
    p = write_varint(p, n);
    p = write_varint(p, zigzag(w->times_ms[0]));
    for (size_t i = 0; i < n; i++)
        p = write_varint(p, w->numbers[i]);
    for (size_t i = 1; i < n; i++)
        p = write_varint(p, zigzag(time_diff(w->times_ms[i], w->times_ms[i - 1])));
    memcpy(p, w->values, n * sizeof *w->values); /* host order, see bytes.h */
    return p + n * sizeof *w->values;
}

static uint8_t *write_items(uint8_t *p, uint32_t count, const struct buf *items) {
    p = write_varint(p, count);
    p = write_varint(p, items->len);
    memcpy(p, items->ptr, items->len);
    return p + items->len;
}

void entry_write_finish(const struct entry_write *w, struct buf *out_body) {
    if (w->series.failed || w->exemplars.failed || w->metadata.failed || w->histograms.failed) {
        out_body->failed = true;
        return;
    }
    if (!buf_reserve(out_body, entry_write_bound(w, 0, 0))) return;
    unsigned sections = 0;
    if (w->series_count > 0) sections |= SECTION_SERIES;
    if (w->floats_count > 0) sections |= SECTION_FLOATS;
    if (w->floats_count > 0 && w->has_starts) sections |= SECTION_STARTS;
    if (w->exemplars_count > 0) sections |= SECTION_EXEMPLARS;
    if (w->metadata_count > 0) sections |= SECTION_METADATA;
    if (w->histograms_count > 0) sections |= SECTION_HISTOGRAMS;
    uint8_t *start = (uint8_t *)out_body->ptr + out_body->len, *p = start;
    p = write_varint(p, sections);
    if (sections & SECTION_SERIES) {
        p = write_varint(p, w->series_count);
        memcpy(p, w->series.ptr, w->series.len);
        p += w->series.len;
    }
    if (sections & SECTION_FLOATS) p = write_floats(w, p);
    if (sections & SECTION_STARTS) {
        for (size_t i = 0; i < w->floats_count; i++)
            p = write_varint(p, zigzag(time_diff(w->times_ms[i], w->starts_ms[i])));
    }
    if (sections & SECTION_EXEMPLARS) p = write_items(p, w->exemplars_count, &w->exemplars);
    if (sections & SECTION_METADATA) p = write_items(p, w->metadata_count, &w->metadata);
    if (sections & SECTION_HISTOGRAMS) p = write_items(p, w->histograms_count, &w->histograms);
    out_body->len += (size_t)(p - start);
}

/* -- decoding */

static inline uint64_t decode_varint(struct reader *r) {
    if (__builtin_expect(r->cur != r->end && *r->cur < 0x80, 1)) return *r->cur++;
    return read_varint(r);
}

static enum status decode_fail(const struct reader *r, struct sv body, const char *what,
                               struct err *err) {
    return err_set(err, ERR_CORRUPT, 0, "entry: WRITE body: byte %zu: malformed %s",
                   (size_t)(r->cur - (const uint8_t *)body.ptr), what);
}

static enum status decode_nomem(struct err *err) {
    return err_set(err, ERR_NOMEM, 0, "entry: WRITE body: not enough memory to decode it");
}

static enum status decode_series(struct reader *r, struct sv body, struct arena *scratch,
                                 struct entry_write_view *v, struct err *err) {
    uint64_t count = decode_varint(r);
    /* Each takes a length and at least one byte. */
    if (r->failed || count == 0 || count > reader_left(r) / 2) {
        return decode_fail(r, body, "series count", err);
    }
    v->series = arena_alloc(scratch, (size_t)count * sizeof *v->series);
    if (v->series == NULL) return decode_nomem(err);
    v->series_count = (size_t)count;
    for (size_t i = 0; i < v->series_count; i++) {
        v->series[i] = read_lenstr(r);
        if (r->failed || v->series[i].len == 0) return decode_fail(r, body, "series", err);
    }
    return OK;
}

static enum status decode_floats(struct reader *r, struct sv body, struct arena *scratch,
                                 struct entry_write_view *v, struct err *err) {
    uint64_t count = decode_varint(r);
    int64_t time_ms = unzigzag(decode_varint(r));
    /* The first float has no time delta. */
    if (r->failed || count == 0 || count > (reader_left(r) + 1) / FLOAT_BYTES_MIN) {
        return decode_fail(r, body, "float count", err);
    }
    const size_t n = v->floats_count = (size_t)count;
    v->numbers = arena_alloc(scratch, n * sizeof *v->numbers);
    v->times_ms = arena_alloc(scratch, n * sizeof *v->times_ms);
    v->values = arena_alloc(scratch, n * sizeof *v->values);
    if (v->numbers == NULL || v->times_ms == NULL || v->values == NULL) return decode_nomem(err);
    uint64_t bad = 0;
    for (size_t i = 0; i < n; i++) {
        uint64_t number = decode_varint(r);
        bad |= number >> 32;
        v->numbers[i] = (uint32_t)number;
    }
    if (r->failed || bad != 0) return decode_fail(r, body, "series numbers", err);
    v->times_ms[0] = time_ms;
    for (size_t i = 1; i < n; i++) {
        time_ms = (int64_t)((uint64_t)time_ms + (uint64_t)unzigzag(decode_varint(r)));
        v->times_ms[i] = time_ms;
    }
    const uint8_t *values = r->failed ? NULL : read_bytes(r, n * sizeof *v->values);
    if (values == NULL) return decode_fail(r, body, "times or values", err);
    memcpy(v->values, values, n * sizeof *v->values);
    return OK;
}

static enum status decode_starts(struct reader *r, struct sv body, struct arena *scratch,
                                 struct entry_write_view *v, struct err *err) {
    if (v->floats_count == 0 || v->floats_count > reader_left(r)) {
        return decode_fail(r, body, "start times", err);
    }
    v->starts_ms = arena_alloc(scratch, v->floats_count * sizeof *v->starts_ms);
    if (v->starts_ms == NULL) return decode_nomem(err);
    for (size_t i = 0; i < v->floats_count; i++)
        v->starts_ms[i] = time_diff(v->times_ms[i], unzigzag(decode_varint(r)));
    return r->failed ? decode_fail(r, body, "start times", err) : OK;
}

typedef enum status (*items_check)(struct sv items, uint64_t *out_count, struct err *err);

static enum status decode_items(struct reader *r, struct sv body, items_check check, struct sv *out,
                                uint32_t *out_count, struct err *err) {
    const char *what = check == entry_exemplars_check ? "exemplars" : "metadata";
    uint64_t count = decode_varint(r);
    struct sv items = read_lenstr(r);
    if (r->failed || count == 0 || count > items.len) return decode_fail(r, body, what, err);
    uint64_t found = 0;
    struct err why;
    if (check(items, &found, &why) != OK)
        return err_set(err, ERR_CORRUPT, 0, "entry: WRITE body: %s", why.msg);
    if (found != count || count > UINT32_MAX) return decode_fail(r, body, what, err);
    *out = items;
    *out_count = (uint32_t)count;
    return OK;
}

static enum status decode_histograms(struct reader *r, struct sv body, struct arena *scratch,
                                     struct entry_write_view *v, struct err *err) {
    uint64_t count = decode_varint(r), found = 0;
    struct sv items = read_lenstr(r);
    if (r->failed || count == 0 || count > items.len)
        return decode_fail(r, body, "histograms", err);
    struct err why;
    enum status status = entry_histograms_check(items, scratch, &found, &why);
    if (status == ERR_NOMEM) return decode_nomem(err);
    if (status != OK) return err_set(err, ERR_CORRUPT, 0, "entry: WRITE body: %s", why.msg);
    if (found != count || count > UINT32_MAX) return decode_fail(r, body, "histograms", err);
    v->histograms = items;
    v->histograms_count = (uint32_t)count;
    return OK;
}

enum status entry_write_decode(struct sv body, struct arena *scratch, struct entry_write_view *out,
                               struct err *err) {
    struct entry_write_view v = {0};
    struct reader r = reader_init(body.ptr, body.len);
    uint64_t sections = decode_varint(&r);
    if (r.failed || sections == 0) return decode_fail(&r, body, "sections", err);
    if ((sections & ~(uint64_t)SECTIONS_KNOWN) != 0) {
        return err_set(err, ERR_UNSUPPORTED, 0,
                       "entry: WRITE body: sections 0x%llx are not known to this build",
                       (unsigned long long)(sections & ~(uint64_t)SECTIONS_KNOWN));
    }
    if (sections & SECTION_SERIES) TRY(decode_series(&r, body, scratch, &v, err));
    if (sections & SECTION_FLOATS) TRY(decode_floats(&r, body, scratch, &v, err));
    if (sections & SECTION_STARTS) TRY(decode_starts(&r, body, scratch, &v, err));
    if (sections & SECTION_EXEMPLARS)
        TRY(decode_items(&r, body, entry_exemplars_check, &v.exemplars, &v.exemplars_count, err));
    if (sections & SECTION_METADATA)
        TRY(decode_items(&r, body, entry_metadata_check, &v.metadata, &v.metadata_count, err));
    if (sections & SECTION_HISTOGRAMS) TRY(decode_histograms(&r, body, scratch, &v, err));
    if (reader_left(&r) != 0) return decode_fail(&r, body, "end: bytes are left over", err);
    *out = v;
    return OK;
}

enum status entry_write_series_count(struct sv body, uint32_t *out, struct err *err) {
    struct reader r = reader_init(body.ptr, body.len);
    uint64_t sections = decode_varint(&r);
    uint64_t count = (sections & SECTION_SERIES) != 0 ? decode_varint(&r) : 0;
    if (r.failed || sections == 0) return decode_fail(&r, body, "sections", err);
    if (count > reader_left(&r) / 2 || count > UINT32_MAX)
        return decode_fail(&r, body, "series count", err);
    *out = (uint32_t)count;
    return OK;
}

size_t entry_write_peek_numbers(struct sv body, uint32_t *out, size_t max) {
    struct reader r = reader_init(body.ptr, body.len);
    uint64_t sections = decode_varint(&r);
    if ((sections & (SECTION_SERIES | SECTION_FLOATS)) != SECTION_FLOATS) return 0;
    uint64_t count = decode_varint(&r);
    decode_varint(&r); /* the first time */
    size_t n = 0;
    for (; n < max && n < count; n++) {
        uint64_t number = decode_varint(&r);
        if (r.failed || number > UINT32_MAX) return 0;
        out[n] = (uint32_t)number;
    }
    return n;
}
