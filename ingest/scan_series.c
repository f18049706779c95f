/* SPDX-License-Identifier: Apache-2.0 */
#include <stdio.h>
#include <stdlib.h>

#include "ingest/scan_internal.h"
#include "node/base/utf8.h"

/* A series as the wire format allows it: fields in any order, labels unsorted, empty values, padded
 * lengths, unknown fields, errors. Its labels are collected, sorted and written anew, so that one
 * label set has one id however it was sent. */

struct series_parts {
    size_t label_bytes;
    uint64_t samples, histograms; /* refused ones too */
};

enum status scan_add_label(struct scanner *s, const struct label *l, const uint8_t *at) {
    if (l->name.len + l->value.len > s->o->label_bytes_max)
        return err_set(s->err, ERR_LIMIT, 0,
                       "remote write: label of %zu bytes, at most %u, at byte %zu",
                       l->name.len + l->value.len, s->o->label_bytes_max, (size_t)(at - s->begin));
    if (s->labels_count == s->labels_cap) {
        size_t cap = s->labels_cap == 0 ? 64 : 2 * s->labels_cap;
        void *p = realloc(s->labels, cap * sizeof *s->labels);
        if (p == NULL) return err_set(s->err, ERR_NOMEM, 0, "remote write: out of memory");
        s->labels = p;
        s->labels_cap = cap;
    }
    s->labels[s->labels_count++] = *l;
    return OK;
}

static enum status scan_label(struct scanner *s, struct wire w) {
    struct label l = {{"", 0}, {"", 0}};
    const uint8_t *begin = w.cur;
    while (w.cur < w.end) {
        const uint8_t *at = w.cur;
        uint32_t field;
        unsigned type;
        struct wire inner;
        if (!wire_tag(&w, &field, &type)) return scan_bad(s, at, "tag");
        if (field > 2) {
            if (!wire_skip(&w, type)) return scan_bad(s, at, "label");
            continue;
        }
        if (type != WIRE_BYTES || !wire_bytes(&w, &inner)) return scan_bad(s, at, "label");
        *(field == 1 ? &l.name : &l.value) =
            wire_sv(inner); /* of a repeated field the last counts */
    }
    return scan_add_label(s, &l, begin);
}

static enum status scan_sample(struct scanner *s, struct wire w) {
    struct write_rows *rows = s->out->rows;
    uint64_t value_bits = 0, time_ms = 0;
    while (w.cur < w.end) {
        const uint8_t *at = w.cur;
        uint32_t field;
        unsigned type;
        bool ok = true;
        if (!wire_tag(&w, &field, &type)) return scan_bad(s, at, "tag");
        if (field == 1)
            ok = type == WIRE_FIXED64 && wire_fixed64(&w, &value_bits);
        else if (field == 2)
            ok = type == WIRE_VARINT && wire_varint(&w, &time_ms);
        else
            ok = wire_skip(&w, type);
        if (!ok) return scan_bad(s, at, "sample");
    }
    TRY(scan_reserve(s, rows->count + 1));
    rows->values[rows->count] = f64_from_bits(value_bits);
    rows->times_ms[rows->count] = (int64_t)time_ms;
    rows->count++;
    return OK;
}

static enum status scan_fields(struct scanner *s, struct wire w, struct series_parts *parts) {
    while (w.cur < w.end) {
        const uint8_t *at = w.cur;
        uint32_t field;
        unsigned type;
        struct wire inner;
        if (!wire_tag(&w, &field, &type)) return scan_bad(s, at, "tag");
        if (field > 4) {
            if (!wire_skip(&w, type)) return scan_bad(s, at, "series");
            continue;
        }
        if (type != WIRE_BYTES || !wire_bytes(&w, &inner)) return scan_bad(s, at, "series");
        if (field == 1) {
            TRY(scan_label(s, inner));
            parts->label_bytes += (size_t)(inner.end - at);
        } else if (field == 2) {
            TRY(scan_sample(s, inner));
            parts->samples++;
        } else if (field == 3) {
            TRY(scan_exemplar(s, inner));
        } else {
            TRY(scan_histogram(s, inner, false));
            parts->histograms++;
        }
    }
    return OK;
}

void scan_drop_label(struct scanner *s) {
    size_t kept = 0;
    for (size_t i = 0; i < s->labels_count; i++)
        if (!sv_eq(s->labels[i].name, s->o->drop_label)) s->labels[kept++] = s->labels[i];
    s->labels_count = kept;
}

bool scan_labels_are_valid(const struct scanner *s) {
    bool has_name = false;
    for (size_t i = 0; i < s->labels_count; i++) {
        const struct label *l = &s->labels[i];
        if (!label_name_valid(l->name) || !utf8_valid(l->value)) return false;
        if (sv_eq(l->name, SV("__name__"))) {
            if (l->value.len == 0) return false;
            has_name = true;
        }
    }
    return has_name;
}

/* ptr NULL: a name is repeated. */
enum status scan_rewrite_labels(struct scanner *s, struct sv *out) {
    struct err ignored;
    buf_clear(&s->canonical);
    enum status st = labels_encode(s->labels, s->labels_count, &s->canonical, &ignored);
    *out = (struct sv){0};
    if (st == ERR_CONFLICT) return OK;
    if (st == OK) *out = arena_sv(s->arena, buf_sv(&s->canonical));
    return out->ptr != NULL ? OK : err_set(s->err, ERR_NOMEM, 0, "remote write: out of memory");
}

void scan_refuse(struct scanner *s, struct sv why, enum scan_refused what) {
    buf_put_u8(&s->refusals, (uint8_t)what);
    buf_put_sv(&s->refusals, why);
    buf_put_u8(&s->refusals, '\n');
}

/* The first sentence of all is what 1.0 is answered with. */
static void refusals_count(struct scanner *s, uint64_t refused) {
    struct scan_result *out = s->out;
    struct sv first;
    if (refused > 0 && out->refused == 0) {
        sv_cut(buf_sv(&s->refusals), '\n', &first);
        first = sv_skip(first, 1);
        snprintf(out->refused_text, sizeof out->refused_text, "%.*s", SV_ARG(first));
    }
    out->refused += refused;
}

enum status scan_series_any(struct scanner *s, struct wire w) {
    struct write_rows *rows = s->out->rows;
    struct series_parts parts = {0};
    size_t first = rows->count, first_exemplar = rows->exemplars_count;
    const uint8_t *begin = w.cur;
    s->labels_count = 0;
    buf_clear(&s->refusals);
    TRY(scan_fields(s, w, &parts));
    if (parts.label_bytes > s->o->labels_bytes_max)
        return err_set(s->err, ERR_LIMIT, 0,
                       "remote write: labels of %zu bytes in one series, at most %u, at byte %zu",
                       parts.label_bytes, s->o->labels_bytes_max, (size_t)(begin - s->begin));
    struct sv labels = {0};
    if (s->o->drop_label.len > 0) scan_drop_label(s);
    if (scan_labels_are_valid(s)) TRY(scan_rewrite_labels(s, &labels));
    scan_set_exemplars(s, first_exemplar, labels);
    if (labels.ptr == NULL) {
        s->out->skipped_series_samples += parts.samples + parts.histograms;
        write_rows_cut(rows, first);
        return OK;
    }
    refusals_count(s, parts.samples + parts.histograms - (rows->count - first));
    s->out->histograms += parts.histograms;
    scan_set_series(s, first, labels);
    return OK;
}
