/* SPDX-License-Identifier: Apache-2.0 */
#include "ingest/scan.h"

#include <assert.h>
#include <string.h>

#include "ingest/wire.h"
#include "node/base/utf8.h"

enum { LABELS_STACK = 64 };

struct scanner {
    const struct scan_options *o;
    struct arena *arena;
    struct scan_result *out;
    struct err *err;
    const uint8_t *begin;
    uint32_t series_count;
    size_t metadata_cap, exemplars_cap;
};

static enum status bad(const struct scanner *s, const uint8_t *at, const char *what) {
    return err_set(s->err, ERR_PARSE, 0, "remote write: %s at byte %zu", what,
                   (size_t)(at - s->begin));
}

/* -- labels */

/* What the scan of a TimeSeries found about its label fields. */
struct series_labels {
    const uint8_t *first, *end; /* the run of label fields */
    bool contiguous;            /* they are one run */
    bool canonical;             /* that run is canonical bytes as it stands */
    bool has_name;
    bool invalid; /* empty name, bad UTF-8 */
    uint32_t count;
    struct sv last_name;
};

static inline bool ascii(const uint8_t *p, const uint8_t *end) {
    uint64_t high = 0;
    for (; end - p >= 8; p += 8)
        high |= get_u64le(p);
    for (; p < end; p++)
        high |= (uint64_t)*p;
    return (high & 0x8080808080808080ULL) == 0;
}

static enum status scan_label(struct scanner *s, struct wire w, struct sv *out_name,
                              struct sv *out_value, bool *out_plain) {
    struct sv name = {"", 0}, value = {"", 0};
    unsigned seen = 0;
    *out_plain = true; /* exactly name, then value */
    while (w.cur < w.end) {
        const uint8_t *at = w.cur;
        uint32_t field;
        unsigned type;
        struct wire inner;
        if (!wire_tag(&w, &field, &type)) return bad(s, at, "malformed label");
        if (field == 1 || field == 2) {
            if (type != WIRE_BYTES || !wire_bytes(&w, &inner)) return bad(s, at, "malformed label");
            if (field == 1)
                name = wire_sv(inner);
            else
                value = wire_sv(inner);
            if (field != ++seen) *out_plain = false;
        } else {
            *out_plain = false;
            if (!wire_skip(&w, type)) return bad(s, at, "malformed label");
        }
    }
    if (seen != 2) *out_plain = false;
    if (name.len + value.len > s->o->label_bytes_max)
        return err_set(s->err, ERR_LIMIT, 0,
                       "remote write: label of %zu bytes, at most %u, at byte %zu",
                       name.len + value.len, s->o->label_bytes_max,
                       (size_t)((const uint8_t *)name.ptr - s->begin));
    *out_name = name;
    *out_value = value;
    return OK;
}

/* Varint lengths under 128 are minimal in one byte; longer ones are when their last byte is not 0.
 */
static inline bool minimal(uint64_t value, size_t bytes) {
    return bytes == (value < 0x80         ? 1U
                     : value < 0x4000     ? 2U
                     : value < 0x200000   ? 3U
                     : value < 0x10000000 ? 4U
                                          : 5U);
}

static enum status scan_series_label(struct scanner *s, const uint8_t *tag_at,
                                     const uint8_t *len_at, struct wire label,
                                     struct series_labels *ls) {
    struct sv name, value;
    bool plain;
    TRY(scan_label(s, label, &name, &value, &plain));
    if (ls->count == 0)
        ls->first = tag_at;
    else if (ls->end != tag_at)
        ls->contiguous = false;
    ls->end = label.end;
    size_t inner = (size_t)(label.end - label.cur);
    /* name and value with minimal lengths take exactly these bytes */
    size_t name_len_bytes = (size_t)((const uint8_t *)name.ptr - label.cur) - 1;
    if (!plain || value.len == 0 || !minimal(inner, (size_t)(label.cur - len_at)) ||
        label.cur[0] != 0x0a || !minimal(name.len, name_len_bytes) ||
        ((const uint8_t *)name.ptr)[name.len] != 0x12 ||
        !minimal(value.len, (size_t)(value.ptr - name.ptr) - name.len - 1))
        ls->canonical = false;
    if (ls->count > 0 && sv_cmp(ls->last_name, name) >= 0) ls->canonical = false;
    if (name.len == 0) ls->invalid = true;
    if (!ascii(label.cur, label.end) && (!utf8_valid(name) || !utf8_valid(value)))
        ls->invalid = true;
    if (name.len == 8 && value.len > 0 && memcmp(name.ptr, "__name__", 8) == 0) ls->has_name = true;
    ls->last_name = name;
    ls->count++;
    return OK;
}

/* The slow path: collects the labels again, sorts, drops empty ones, rewrites. Sets ls->invalid on
 * a repeated name. */
static enum status rewrite_labels(struct scanner *s, struct wire series, struct series_labels *ls,
                                  struct sv *out) {
    struct label stack[LABELS_STACK], *labels = stack;
    if (ls->count > LABELS_STACK) labels = arena_array(s->arena, ls->count, sizeof *labels);
    if (labels == NULL) return err_set(s->err, ERR_NOMEM, 0, "remote write: out of memory");
    size_t n = 0;
    while (series.cur < series.end) {
        uint32_t field = 0;
        unsigned type = 0;
        struct wire inner;
        bool plain, ok = wire_tag(&series, &field, &type);
        if (ok && field == 1) {
            ok = wire_bytes(&series, &inner);
            if (ok) TRY(scan_label(s, inner, &labels[n].name, &labels[n].value, &plain));
            n++;
        } else if (ok) {
            ok = wire_skip(&series, type);
        }
        assert(ok); /* scan_series has read all of it once */
    }
    struct buf b = {0};
    enum status st = labels_encode(labels, n, &b, s->err);
    if (st == ERR_CONFLICT)
        ls->invalid = true;
    else if (st != OK || b.failed) {
        buf_fini(&b);
        return err_set(s->err, ERR_NOMEM, 0, "remote write: out of memory");
    } else {
        *out = arena_sv(s->arena, buf_sv(&b));
    }
    buf_fini(&b);
    return ls->invalid || out->ptr != NULL
               ? OK
               : err_set(s->err, ERR_NOMEM, 0, "remote write: out of memory");
}

/* -- samples */

static enum status scan_sample(struct scanner *s, struct wire w, size_t row) {
    double value = 0;
    int64_t time_ms = 0;
    while (w.cur < w.end) {
        const uint8_t *at = w.cur;
        uint32_t field;
        unsigned type;
        uint64_t v;
        if (!wire_tag(&w, &field, &type)) return bad(s, at, "malformed sample");
        if (field == 1) {
            if (type != WIRE_FIXED64 || !wire_fixed64(&w, &v))
                return bad(s, at, "malformed sample");
            value = f64_from_bits(v);
        } else if (field == 2) {
            if (type != WIRE_VARINT || !wire_varint(&w, &v)) return bad(s, at, "malformed sample");
            time_ms = (int64_t)v;
        } else if (!wire_skip(&w, type)) {
            return bad(s, at, "malformed sample");
        }
    }
    s->out->rows->values[row] = value;
    s->out->rows->times_ms[row] = time_ms;
    return OK;
}

static enum status scan_exemplar(struct scanner *s, struct wire w, const uint8_t *at, size_t row) {
    if (s->out->exemplars_count == s->exemplars_cap) {
        size_t cap = s->exemplars_cap == 0 ? 64 : s->exemplars_cap * 2;
        void *p =
            arena_grow(s->arena, s->out->exemplars, s->exemplars_cap * sizeof *s->out->exemplars,
                       cap * sizeof *s->out->exemplars);
        if (p == NULL) return err_set(s->err, ERR_LIMIT, 0, "remote write: too many exemplars");
        s->out->exemplars = p;
        s->exemplars_cap = cap;
    }
    struct scan_exemplar e = {.row = row};
    const uint8_t *labels_first = NULL, *labels_end = NULL;
    while (w.cur < w.end) {
        const uint8_t *field_at = w.cur;
        uint32_t field;
        unsigned type;
        uint64_t v;
        struct wire inner;
        if (!wire_tag(&w, &field, &type)) return bad(s, at, "malformed exemplar");
        if (field == 1 && type == WIRE_BYTES && wire_bytes(&w, &inner)) {
            if (labels_first == NULL) labels_first = field_at;
            labels_end = w.cur;
        } else if (field == 2 && type == WIRE_FIXED64 && wire_fixed64(&w, &v)) {
            e.value = f64_from_bits(v);
        } else if (field == 3 && type == WIRE_VARINT && wire_varint(&w, &v)) {
            e.time_ms = (int64_t)v;
        } else if (field <= 3 || !wire_skip(&w, type)) {
            return bad(s, at, "malformed exemplar");
        }
    }
    if (labels_first != NULL) e.labels = sv_make(labels_first, (size_t)(labels_end - labels_first));
    s->out->exemplars[s->out->exemplars_count++] = e;
    return OK;
}

static enum status check_room(struct scanner *s, size_t count) {
    if (count > s->o->samples_max)
        return err_set(s->err, ERR_LIMIT, 0, "remote write: more than %u samples in one request",
                       s->o->samples_max);
    if (write_rows_reserve(s->out->rows, count) != OK)
        return err_set(s->err, ERR_NOMEM, 0, "remote write: out of memory");
    return OK;
}

static enum status scan_series_fields(struct scanner *s, struct wire w, struct series_labels *ls) {
    struct write_rows *rows = s->out->rows;
    while (w.cur < w.end) {
        const uint8_t *at = w.cur;
        uint32_t field;
        unsigned type;
        struct wire inner;
        if (!wire_tag(&w, &field, &type)) return bad(s, at, "malformed series");
        if (field > 4) {
            if (!wire_skip(&w, type)) return bad(s, at, "malformed series");
            continue;
        }
        const uint8_t *len_at = w.cur;
        if (type != WIRE_BYTES || !wire_bytes(&w, &inner)) return bad(s, at, "malformed series");
        if (field == 1) {
            TRY(scan_series_label(s, at, len_at, inner, ls));
        } else if (field == 2) {
            if (rows->count == rows->cap || rows->count >= s->o->samples_max)
                TRY(check_room(s, rows->count + 1));
            TRY(scan_sample(s, inner, rows->count));
            rows->count++;
        } else if (field == 3) {
            TRY(scan_exemplar(s, inner, at, rows->count));
        } else {
            s->out->histograms++;
        }
    }
    return OK;
}

static enum status scan_series(struct scanner *s, struct wire w) {
    struct write_rows *rows = s->out->rows;
    if (++s->series_count > s->o->series_max)
        return err_set(s->err, ERR_LIMIT, 0, "remote write: more than %u series in one request",
                       s->o->series_max);
    struct series_labels ls = {.contiguous = true, .canonical = true};
    size_t first = rows->count, first_exemplar = s->out->exemplars_count;
    TRY(scan_series_fields(s, w, &ls));
    struct sv labels = {0};
    if (!ls.has_name) ls.invalid = true;
    if (!ls.invalid) {
        if (ls.canonical && ls.contiguous)
            labels = sv_make(ls.first, (size_t)(ls.end - ls.first));
        else
            TRY(rewrite_labels(s, w, &ls, &labels));
    }
    if (ls.invalid) {
        s->out->skipped_series_samples += rows->count - first;
        s->out->exemplars_count = first_exemplar;
        rows->count = first;
        return OK;
    }
    for (size_t i = first_exemplar; i < s->out->exemplars_count; i++) {
        s->out->exemplars[i].row = rows->count > first ? first : SIZE_MAX;
        s->out->exemplars[i].series_labels = labels;
    }
    if (rows->count == first) return OK;
    series_id id = series_id_of(s->o->secret, s->o->tenant, labels);
    uint32_t shard = series_shard(id, s->o->shards_count);
    for (size_t i = first; i < rows->count; i++) {
        rows->ids[i] = id;
        rows->shards[i] = shard;
        rows->labels[i] = labels;
    }
    return OK;
}

static enum status scan_metadata(struct scanner *s, struct wire w, const uint8_t *at) {
    if (s->out->metadata_count == s->metadata_cap) {
        size_t cap = s->metadata_cap == 0 ? 64 : s->metadata_cap * 2;
        void *p = arena_grow(s->arena, s->out->metadata, s->metadata_cap * sizeof *s->out->metadata,
                             cap * sizeof *s->out->metadata);
        if (p == NULL) return err_set(s->err, ERR_LIMIT, 0, "remote write: too much metadata");
        s->out->metadata = p;
        s->metadata_cap = cap;
    }
    struct scan_metadata m = {0};
    while (w.cur < w.end) {
        uint32_t field;
        unsigned type;
        uint64_t v;
        struct wire inner;
        if (!wire_tag(&w, &field, &type)) return bad(s, at, "malformed metadata");
        if (field == 1 && type == WIRE_VARINT && wire_varint(&w, &v))
            m.type = (uint32_t)v;
        else if ((field == 2 || field == 4 || field == 5) && type == WIRE_BYTES &&
                 wire_bytes(&w, &inner)) {
            struct sv *to = field == 2 ? &m.family : field == 4 ? &m.help : &m.unit;
            *to = wire_sv(inner);
        } else if (field == 1 || field == 2 || field == 4 || field == 5 || !wire_skip(&w, type)) {
            return bad(s, at, "malformed metadata");
        }
    }
    s->out->metadata[s->out->metadata_count++] = m;
    return OK;
}

enum status scan_write_request(struct sv body, const struct scan_options *options,
                               struct arena *arena, struct scan_result *out, struct err *err) {
    struct write_rows *rows = out->rows;
    *out = (struct scan_result){.rows = rows};
    write_rows_clear(rows);
    struct scanner s = {
        .o = options, .arena = arena, .out = out, .err = err, .begin = (const uint8_t *)body.ptr};
    struct wire w = {s.begin, s.begin + body.len};
    while (w.cur < w.end) {
        const uint8_t *at = w.cur;
        uint32_t field;
        unsigned type;
        struct wire inner;
        if (!wire_tag(&w, &field, &type)) return bad(&s, at, "malformed request");
        if (field == 1 || field == 3) {
            if (type != WIRE_BYTES || !wire_bytes(&w, &inner))
                return bad(&s, at, "malformed request");
            TRY(field == 1 ? scan_series(&s, inner) : scan_metadata(&s, inner, at));
        } else if (!wire_skip(&w, type)) {
            return bad(&s, at, "malformed request");
        }
    }
    return OK;
}
