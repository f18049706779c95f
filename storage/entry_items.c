/* SPDX-License-Identifier: Apache-2.0 */
/* Exemplars, metadata and histograms in the body of a WRITE entry. */
#include <assert.h>

#include "node/base/bytes.h"
#include "node/base/utf8.h"
#include "storage/entry.h"
#include "storage/histogram.h"
#include "storage/labels.h"

/* -- exemplars */

/* A varint without padding; 0 bytes read: none. */
static bool minimal_len(struct reader *r, size_t *out) {
    const uint8_t *at = r->cur;
    uint64_t v = read_varint(r);
    if (r->failed || v > reader_left(r) || (r->cur - at > 1 && r->cur[-1] == 0)) return false;
    *out = (size_t)v;
    return true;
}

static bool canonical_text(struct reader *r, uint8_t tag, struct sv *out) {
    size_t len;
    if (read_u8(r) != tag || !minimal_len(r, &len) || len == 0) return false;
    *out = sv_make(read_bytes(r, len), len);
    return utf8_valid(*out);
}

bool entry_exemplar_labels_valid(struct sv labels) {
    if (labels.len > ENTRY_EXEMPLAR_LABELS_BYTES_MAX) return false;
    struct reader r = reader_init(labels.ptr, labels.len);
    struct sv before = SV(""), name, value;
    size_t runes = 0, len;
    while (reader_left(&r) > 0) {
        if (read_u8(&r) != 0x0a || !minimal_len(&r, &len)) return false;
        struct reader label = reader_init(r.cur, len);
        r.cur += len;
        if (!canonical_text(&label, 0x0a, &name) || !canonical_text(&label, 0x12, &value) ||
            reader_left(&label) != 0 || sv_cmp(before, name) >= 0)
            return false;
        before = name;
        runes += utf8_rune_count(name) + utf8_rune_count(value);
    }
    return runes <= ENTRY_EXEMPLAR_RUNES_MAX;
}

size_t entry_exemplar_bound(const struct entry_exemplar *e) {
    return 5 + VARINT_BYTES_MAX + 8 + 2 + e->labels.len;
}

void entry_write_exemplar(struct entry_write *w, const struct entry_exemplar *e) {
    assert(entry_exemplar_labels_valid(e->labels));
    buf_put_varint(&w->exemplars, e->number);
    buf_put_zigzag(&w->exemplars, e->time_ms);
    buf_put_f64(&w->exemplars, e->value);
    buf_put_lenstr(&w->exemplars, e->labels);
    w->exemplars_count++;
}

static bool exemplar_read(struct reader *r, struct entry_exemplar *out) {
    uint64_t number = read_varint(r);
    out->number = (uint32_t)number;
    out->time_ms = read_zigzag(r);
    out->value = read_f64(r);
    out->labels = read_lenstr(r);
    return !r->failed && number <= UINT32_MAX;
}

bool entry_exemplar_next(struct sv *rest, struct entry_exemplar *out) {
    struct reader r = reader_init(rest->ptr, rest->len);
    if (rest->len == 0 || !exemplar_read(&r, out)) return false;
    *rest = sv_make(r.cur, reader_left(&r));
    return true;
}

enum status entry_exemplars_check(struct sv items, uint64_t *out_count, struct err *err) {
    struct reader r = reader_init(items.ptr, items.len);
    struct entry_exemplar e;
    uint64_t count = 0;
    for (; reader_left(&r) > 0; count++) {
        size_t offset = (size_t)(r.cur - (const uint8_t *)items.ptr);
        if (!exemplar_read(&r, &e) || !entry_exemplar_labels_valid(e.labels))
            return err_set(err, ERR_CORRUPT, 0, "exemplars: byte %zu: malformed exemplar", offset);
    }
    *out_count = count;
    return OK;
}

/* -- metadata */

bool entry_metadata_valid(const struct entry_metadata *m) {
    return m->type < ENTRY_METADATA_TYPES && metric_name_valid(m->name) &&
           m->name.len <= ENTRY_METADATA_BYTES_MAX && m->help.len <= ENTRY_METADATA_BYTES_MAX &&
           m->unit.len <= ENTRY_METADATA_BYTES_MAX &&
           m->name.len + m->help.len + m->unit.len <= ENTRY_METADATA_BYTES_MAX &&
           utf8_valid(m->help) && utf8_valid(m->unit);
}

size_t entry_metadata_bound(const struct entry_metadata *m) {
    return 1 + 3 * 3 + m->name.len + m->help.len + m->unit.len;
}

void entry_write_metadata(struct entry_write *w, const struct entry_metadata *m) {
    assert(entry_metadata_valid(m));
    buf_put_lenstr(&w->metadata, m->name);
    buf_put_u8(&w->metadata, m->type);
    buf_put_lenstr(&w->metadata, m->help);
    buf_put_lenstr(&w->metadata, m->unit);
    w->metadata_count++;
}

static bool metadata_read(struct reader *r, struct entry_metadata *out) {
    out->name = read_lenstr(r);
    out->type = read_u8(r);
    out->help = read_lenstr(r);
    out->unit = read_lenstr(r);
    return !r->failed;
}

bool entry_metadata_next(struct sv *rest, struct entry_metadata *out) {
    struct reader r = reader_init(rest->ptr, rest->len);
    if (rest->len == 0 || !metadata_read(&r, out)) return false;
    *rest = sv_make(r.cur, reader_left(&r));
    return true;
}

enum status entry_metadata_check(struct sv items, uint64_t *out_count, struct err *err) {
    struct reader r = reader_init(items.ptr, items.len);
    struct entry_metadata m;
    uint64_t count = 0;
    for (; reader_left(&r) > 0; count++) {
        size_t offset = (size_t)(r.cur - (const uint8_t *)items.ptr);
        if (!metadata_read(&r, &m) || !entry_metadata_valid(&m))
            return err_set(err, ERR_CORRUPT, 0, "metadata: byte %zu: malformed metadata", offset);
    }
    *out_count = count;
    return OK;
}

/* -- histograms */

size_t entry_histogram_bound(const struct entry_histogram *h) {
    return 5 + VARINT_BYTES_MAX + VARINT_BYTES_MAX + h->bytes.len;
}

void entry_write_histogram(struct entry_write *w, const struct entry_histogram *h) {
    buf_put_varint(&w->histograms, h->number);
    buf_put_zigzag(&w->histograms, h->time_ms);
    buf_put_lenstr(&w->histograms, h->bytes);
    w->histograms_count++;
}

static bool histogram_read(struct reader *r, struct entry_histogram *out) {
    uint64_t number = read_varint(r);
    out->number = (uint32_t)number;
    out->time_ms = read_zigzag(r);
    out->bytes = read_lenstr(r);
    return !r->failed && number <= UINT32_MAX;
}

bool entry_histogram_next(struct sv *rest, struct entry_histogram *out) {
    struct reader r = reader_init(rest->ptr, rest->len);
    if (rest->len == 0 || !histogram_read(&r, out)) return false;
    *rest = sv_make(r.cur, reader_left(&r));
    return true;
}

enum status entry_histograms_check(struct sv items, struct arena *scratch, uint64_t *out_count,
                                   struct err *err) {
    struct reader r = reader_init(items.ptr, items.len);
    struct entry_histogram h;
    uint64_t count = 0;
    for (; reader_left(&r) > 0; count++) {
        size_t offset = (size_t)(r.cur - (const uint8_t *)items.ptr);
        struct err why = {.msg = "malformed"};
        enum status status =
            histogram_read(&r, &h) ? histogram_check(h.bytes, scratch, &why) : ERR_CORRUPT;
        if (status != OK)
            return err_set(err, status, 0, "histograms: byte %zu: %s", offset, why.msg);
    }
    *out_count = count;
    return OK;
}
