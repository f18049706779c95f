/* SPDX-License-Identifier: Apache-2.0 */
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "ingest/scan_internal.h"
#include "storage/entry.h"

/* Remote write 2.0: a table of symbols, to which labels refer. It may stand behind the series, so
 * the request is walked twice. What is wrong with a series takes that series (or a sample of it)
 * out, with Prometheus' sentence; the rest is kept. */

enum { FIELD_SYMBOLS = 4, FIELD_SERIES = 5 };
enum { SERIES_REFS = 1, SERIES_SAMPLES, SERIES_HISTOGRAMS, SERIES_EXEMPLARS, SERIES_METADATA };
enum { ERRORS_BYTES_MAX = 64 << 10 }; /* of all sentences: an answer, not a log */
enum { LABEL_FIELD_BYTES = 6 };       /* tags and lengths that a label has in 1.0 */

static const struct form_field sample_fields[] = {
    {1, WIRE_FIXED64, false, NULL}, {2, WIRE_VARINT, false, NULL}, {3, WIRE_VARINT, false, NULL}};
static const struct form form_sample = {"sample", sample_fields, ARRAY_LEN(sample_fields)};

static const struct form_field exemplar_fields[] = {
    {1, WIRE_VARINT, true, NULL}, {2, WIRE_FIXED64, false, NULL}, {3, WIRE_VARINT, false, NULL}};
static const struct form form_exemplar_v2 = {"exemplar", exemplar_fields,
                                             ARRAY_LEN(exemplar_fields)};

static const struct form_field metadata_fields[] = {
    {1, WIRE_VARINT, false, NULL}, {3, WIRE_VARINT, false, NULL}, {4, WIRE_VARINT, false, NULL}};
static const struct form form_metadata_v2 = {"metadata", metadata_fields,
                                             ARRAY_LEN(metadata_fields)};

struct refs {
    uint32_t *at;
    size_t count, cap;
};
struct scanner_v2 {
    struct scanner s;
    struct sv *symbols;
    size_t symbols_count, symbols_cap;
    struct refs refs, exemplar_refs;
    struct buf errors, text;
    size_t samples, histograms; /* of the series at hand, refused ones too */
};

static enum status v2_nomem(const struct scanner_v2 *v) {
    return err_set(v->s.err, ERR_NOMEM, 0, "remote write: out of memory");
}

static bool grow(void **p, size_t count, size_t *cap, size_t size) {
    if (count < *cap) return true;
    size_t more = *cap == 0 ? 64 : 2 * *cap;
    void *q = more > SIZE_MAX / size ? NULL : realloc(*p, more * size);
    if (q == NULL) return false;
    *p = q;
    *cap = more;
    return true;
}

/* -- sentences */

/* Appends the text at hand as a line. */
static void error_end(struct scanner_v2 *v) {
    v->text.failed = false; /* cut at its limit */
    if (v->errors.len + v->text.len < ERRORS_BYTES_MAX) {
        if (v->errors.len > 0) buf_put_u8(&v->errors, '\n');
        buf_put_sv(&v->errors, buf_sv(&v->text));
    }
    buf_clear(&v->text);
}

static int by_name(const void *a, const void *b) {
    return sv_cmp(((const struct label *)a)->name, ((const struct label *)b)->name);
}

static void put_labels(struct scanner_v2 *v) {
    label_list_print_braces(v->s.labels, v->s.labels_count, &v->text);
}

static void put_refs(struct scanner_v2 *v, const struct refs *refs) {
    for (size_t i = 0; i < refs->count; i++)
        buf_printf(&v->text, "%s%" PRIu32, i == 0 ? "[" : " ", refs->at[i]);
    buf_put_sv(&v->text, refs->count == 0 ? SV("[]") : SV("]"));
}

/* -- labels */

static bool refs_add(struct refs *refs, uint64_t ref) {
    void *p = refs->at;
    if (!grow(&p, refs->count, &refs->cap, sizeof *refs->at)) return false;
    refs->at = p;
    refs->at[refs->count++] = (uint32_t)ref;
    return true;
}

/* One field of references, packed or not; its form is right. */
static bool refs_read(struct refs *refs, const struct scan_field *f) {
    struct wire w = {(const uint8_t *)f->bytes.ptr, (const uint8_t *)f->bytes.ptr + f->bytes.len};
    uint64_t ref;
    if (f->type == WIRE_VARINT) return refs_add(refs, f->number);
    while (w.cur < w.end && wire_varint(&w, &ref))
        if (!refs_add(refs, ref)) return false;
    return true;
}

/* The first pair that leads nowhere; refs->count: none does. */
static size_t refs_astray(const struct scanner_v2 *v, const struct refs *refs) {
    size_t i = 0;
    while (i + 1 < refs->count && refs->at[i] < v->symbols_count &&
           refs->at[i + 1] < v->symbols_count)
        i += 2;
    return i;
}

static void put_astray(struct scanner_v2 *v, const struct refs *refs, size_t i) {
    if (refs->count % 2 != 0)
        buf_printf(&v->text, "invalid labelRefs length %zu", refs->count);
    else
        buf_printf(&v->text,
                   "labelRefs %" PRIu32 " (name) = %" PRIu32
                   " (value) outside of symbols table (size %zu)",
                   refs->at[i], refs->at[i + 1], v->symbols_count);
}

/* *out false: the series is taken out, and why is said. */
static enum status labels_resolve(struct scanner_v2 *v, bool *out) {
    struct scanner *s = &v->s;
    *out = false;
    size_t bytes = 0, astray = refs_astray(v, &v->refs);
    if (astray != v->refs.count) {
        buf_put_sv(&v->text, SV("parsing labels for series "));
        put_refs(v, &v->refs);
        buf_put_sv(&v->text, SV(": "));
        put_astray(v, &v->refs, astray);
        error_end(v);
        return OK;
    }
    s->labels_count = 0;
    for (size_t i = 0; i < v->refs.count; i += 2) {
        struct label l = {v->symbols[v->refs.at[i]], v->symbols[v->refs.at[i + 1]]};
        bytes += LABEL_FIELD_BYTES + l.name.len + l.value.len;
        if (bytes > s->o->labels_bytes_max)
            return err_set(s->err, ERR_LIMIT, 0,
                           "remote write: labels of over %u bytes in one series",
                           s->o->labels_bytes_max);
        TRY(scan_add_label(s, &l, s->begin));
    }
    if (s->labels_count > 0) qsort(s->labels, s->labels_count, sizeof *s->labels, by_name);
    *out = true;
    return OK;
}

/* False: why is said. */
static bool labels_pass(struct scanner_v2 *v) {
    struct scanner *s = &v->s;
    if (s->o->drop_label.len > 0) scan_drop_label(s);
    if (!scan_labels_are_valid(s)) {
        buf_put_sv(&v->text, SV("invalid metric name or labels, got "));
        put_labels(v);
        return false;
    }
    for (size_t i = 1; i < s->labels_count; i++) {
        if (!sv_eq(s->labels[i].name, s->labels[i - 1].name)) continue;
        buf_put_sv(&v->text, SV("invalid labels for series, labels "));
        put_labels(v);
        buf_printf(&v->text, ", duplicated label %.*s", SV_ARG(s->labels[i].name));
        return false;
    }
    if (v->samples + v->histograms > 0) return true;
    buf_put_sv(&v->text,
               SV("TimeSeries must contain at least one sample or histogram for series "));
    put_labels(v);
    return false;
}

/* -- items */

static enum status sample_v2(struct scanner_v2 *v, struct wire w) {
    struct write_rows *rows = v->s.out->rows;
    uint64_t value = 0, time_ms = 0, start_ms = 0;
    struct scan_field f;
    TRY(scan_form(&v->s, w, &form_sample));
    while (scan_next_field(&w, &f)) {
        if (f.field == 1) value = f.number;
        if (f.field == 2) time_ms = f.number;
        if (f.field == 3) start_ms = f.number;
    }
    TRY(scan_reserve(&v->s, rows->count + 1));
    if (start_ms != 0 && write_rows_want_starts(rows) != OK) return v2_nomem(v);
    rows->values[rows->count] = f64_from_bits(value);
    rows->times_ms[rows->count] = (int64_t)time_ms;
    if (start_ms != 0) rows->starts_ms[rows->count] = (int64_t)start_ms;
    rows->count++;
    v->samples++;
    return OK;
}

/* Kept when storage would keep it, as 1.0's are; references that lead nowhere are told by the
 * series. */
static enum status exemplar_v2(struct scanner_v2 *v, struct wire w) {
    struct scanner *s = &v->s;
    struct write_exemplar e = {0};
    struct scan_field f;
    TRY(scan_form(s, w, &form_exemplar_v2));
    s->out->exemplars++;
    v->exemplar_refs.count = 0;
    while (scan_next_field(&w, &f)) {
        if (f.field == 1 && !refs_read(&v->exemplar_refs, &f)) return v2_nomem(v);
        if (f.field == 2) e.value = f64_from_bits(f.number);
        if (f.field == 3) e.time_ms = (int64_t)f.number;
    }
    const struct refs *refs = &v->exemplar_refs;
    size_t astray = refs_astray(v, refs);
    if (astray != refs->count) {
        put_astray(v, refs, astray);
        scan_refuse(s, buf_sv(&v->text), SCAN_REFUSED_EXEMPLAR);
        buf_clear(&v->text);
        return OK;
    }
    if (refs->count / 2 > ENTRY_EXEMPLAR_RUNES_MAX ||
        s->out->rows->exemplars_count >= s->o->samples_max)
        return OK;
    struct label labels[ENTRY_EXEMPLAR_RUNES_MAX];
    for (size_t i = 0; i < refs->count; i += 2)
        labels[i / 2] = (struct label){v->symbols[refs->at[i]], v->symbols[refs->at[i + 1]]};
    TRY(scan_exemplar_labels(s, labels, refs->count / 2, &e.labels));
    if (e.labels.ptr == NULL) return OK;
    return write_rows_add_exemplar(s->out->rows, &e) == OK ? OK : v2_nomem(v);
}

static enum status series_item(struct scanner_v2 *v, uint32_t field, struct wire inner) {
    switch (field) {
    case SERIES_SAMPLES: return sample_v2(v, inner);
    case SERIES_HISTOGRAMS: v->histograms++; return scan_histogram(&v->s, inner, true);
    case SERIES_EXEMPLARS: return exemplar_v2(v, inner);
    default: return scan_form(&v->s, inner, &form_metadata_v2);
    }
}

static enum status series_fields(struct scanner_v2 *v, struct wire w) {
    struct scanner *s = &v->s;
    while (w.cur < w.end) {
        const uint8_t *at = w.cur;
        struct scan_field f = {0};
        struct wire inner;
        if (!wire_tag(&w, &f.field, &f.type)) return scan_bad(s, at, "tag");
        if (f.field == SERIES_REFS && f.type == WIRE_VARINT) {
            if (!wire_varint(&w, &f.number)) return scan_bad(s, at, "series");
        } else if (f.field > SERIES_METADATA) {
            if (!wire_skip(&w, f.type)) return scan_bad(s, at, "series");
            continue;
        } else if (f.type != WIRE_BYTES || !wire_bytes(&w, &inner)) {
            return scan_bad(s, at, "series");
        }
        if (f.field != SERIES_REFS) {
            TRY(series_item(v, f.field, inner));
            continue;
        }
        if (f.type == WIRE_BYTES && !scan_packed_is_whole(inner, WIRE_VARINT))
            return scan_bad(s, at, "series");
        if (f.type == WIRE_BYTES) f.bytes = wire_sv(inner);
        if (!refs_read(&v->refs, &f)) return v2_nomem(v);
    }
    return OK;
}

/* What of the series was refused, a sentence each. */
static void put_refusals(struct scanner_v2 *v) {
    struct scanner *s = &v->s;
    struct sv rest = buf_sv(&s->refusals), line;
    while (rest.len > 0) {
        rest = sv_cut(rest, '\n', &line);
        bool exemplar = line.ptr[0] == SCAN_REFUSED_EXEMPLAR;
        line = sv_skip(line, 1);
        if (exemplar) {
            buf_put_sv(&v->text, SV("parsing exemplar for series "));
            put_labels(v);
            buf_printf(&v->text, ": %.*s", SV_ARG(line));
        } else {
            buf_printf(&v->text, "%.*s for series ", SV_ARG(line));
            put_labels(v);
        }
        error_end(v);
    }
}

static enum status series_v2(struct scanner_v2 *v, struct wire w) {
    struct scanner *s = &v->s;
    struct write_rows *rows = s->out->rows;
    size_t first = rows->count, first_exemplar = rows->exemplars_count;
    struct sv labels = {0};
    if (++s->series_count > s->o->series_max)
        return err_set(s->err, ERR_LIMIT, 0, "remote write: more than %u series in one request",
                       s->o->series_max);
    v->refs.count = v->samples = v->histograms = 0;
    buf_clear(&s->refusals);
    TRY(series_fields(v, w));
    bool resolved, good = false;
    TRY(labels_resolve(v, &resolved));
    if (resolved) {
        good = labels_pass(v);
        if (!good) error_end(v);
        if (!good && v->samples + v->histograms > 0)
            s->out->skipped_series_samples += v->samples + v->histograms;
    }
    if (good) TRY(scan_rewrite_labels(s, &labels));
    scan_set_exemplars(s, first_exemplar, labels);
    if (labels.ptr == NULL) {
        s->out->refused++;
        write_rows_cut(rows, first);
        return OK;
    }
    put_refusals(v);
    s->out->histograms += v->histograms;
    s->out->refused += v->samples + v->histograms - (rows->count - first);
    scan_set_series(s, first, labels);
    return OK;
}

/* -- the request */

static enum status add_symbol(struct scanner_v2 *v, struct wire w) {
    void *p = v->symbols;
    if (!grow(&p, v->symbols_count, &v->symbols_cap, sizeof *v->symbols)) return v2_nomem(v);
    v->symbols = p;
    v->symbols[v->symbols_count++] = wire_left(&w) == 0 ? SV("") : wire_sv(w);
    return OK;
}

static enum status walk(struct scanner_v2 *v, struct wire w, uint32_t wanted) {
    while (w.cur < w.end) {
        const uint8_t *at = w.cur;
        uint32_t field;
        unsigned type;
        struct wire inner;
        if (!wire_tag(&w, &field, &type)) return scan_bad(&v->s, at, "tag");
        if (field != FIELD_SYMBOLS && field != FIELD_SERIES) {
            if (!wire_skip(&w, type)) return scan_bad(&v->s, at, "request");
            continue;
        }
        if (type != WIRE_BYTES || !wire_bytes(&w, &inner)) return scan_bad(&v->s, at, "request");
        if (field != wanted) continue;
        TRY(field == FIELD_SYMBOLS ? add_symbol(v, inner) : series_v2(v, inner));
    }
    return OK;
}

static enum status scan_all(struct scanner_v2 *v) {
    struct wire all = {v->s.begin, v->s.end};
    TRY(walk(v, all, FIELD_SYMBOLS));
    TRY(walk(v, all, FIELD_SERIES));
    if (v->errors.failed) return v2_nomem(v);
    if (v->errors.len == 0) return OK;
    v->s.out->errors = arena_sv(v->s.arena, buf_sv(&v->errors));
    return v->s.out->errors.ptr == NULL ? v2_nomem(v) : OK;
}

enum status scan_write_request_v2(struct sv body, const struct scan_options *options,
                                  struct arena *arena, struct scan_result *out, struct err *err) {
    struct scanner_v2 v = {0};
    v.text.limit_bytes = ERRORS_BYTES_MAX;
    scanner_init(&v.s, body, options, arena, out, err);
    enum status st = scan_all(&v);
    free(v.symbols);
    free(v.refs.at);
    free(v.exemplar_refs.at);
    buf_fini(&v.errors);
    buf_fini(&v.text);
    scanner_fini(&v.s, st);
    return st;
}
