/* SPDX-License-Identifier: Apache-2.0 */
#include "ingest/scan_internal.h"
#include "storage/histogram.h"

/* Native histograms of both protocols: the same fields, but for the start timestamp that 2.0 has.
 * The form is checked first, so that reading the fields cannot fail. Of a repeated field the last
 * counts, of `count` and of `zero_count` the flavour that comes last. */

enum {
    FIELD_COUNT_INT = 1,
    FIELD_COUNT_FLOAT = 2,
    FIELD_SUM = 3,
    FIELD_SCHEMA = 4,
    FIELD_ZERO_THRESHOLD = 5,
    FIELD_ZERO_INT = 6,
    FIELD_ZERO_FLOAT = 7,
    FIELD_NEGATIVE_SPANS = 8, /* then deltas, counts */
    FIELD_POSITIVE_SPANS = 11,
    FIELD_RESET_HINT = 14,
    FIELD_TIMESTAMP = 15,
    FIELD_CUSTOM_VALUES = 16,
    FIELD_START = 17
};

struct reading {
    struct histogram h;
    int64_t time_ms;
    bool is_v2, zero_is_float;
    size_t len; /* of the message, which bounds the arrays */
    uint32_t negative_deltas, negative_counts, positive_deltas, positive_counts;
};

static struct wire wire_of(struct sv s) {
    return (struct wire){(const uint8_t *)s.ptr, (const uint8_t *)s.ptr + s.len};
}

static bool arrays_alloc(struct arena *arena, struct reading *r) {
    struct histogram *h = &r->h;
    struct histogram_side *sides[] = {&h->negative, &h->positive};
    for (size_t i = 0; i < ARRAY_LEN(sides); i++) {
        /* a span takes two bytes, a difference one, a float eight */
        sides[i]->spans = arena_alloc(arena, r->len / 2 * sizeof *sides[i]->spans);
        sides[i]->deltas = arena_alloc(arena, r->len * sizeof *sides[i]->deltas);
        sides[i]->counts = arena_alloc(arena, r->len / 8 * sizeof *sides[i]->counts);
        if (sides[i]->spans == NULL || sides[i]->deltas == NULL || sides[i]->counts == NULL)
            return false;
    }
    h->bounds = arena_alloc(arena, r->len / 8 * sizeof *h->bounds);
    return h->bounds != NULL;
}

static struct histogram_span read_span(struct sv bytes) {
    struct histogram_span span = {0, 0};
    struct scan_field f;
    struct wire w = wire_of(bytes);
    while (scan_next_field(&w, &f)) {
        if (f.field == 1) span.offset = (int32_t)unzigzag((uint32_t)f.number);
        if (f.field == 2) span.length = (uint32_t)f.number;
    }
    return span;
}

static void add_deltas(int64_t *to, uint32_t *count, const struct scan_field *f) {
    struct wire w = wire_of(f->bytes);
    uint64_t v = f->number;
    if (f->type == WIRE_VARINT) to[(*count)++] = unzigzag(v);
    while (f->type == WIRE_BYTES && w.cur < w.end && wire_varint(&w, &v))
        to[(*count)++] = unzigzag(v);
}

static void add_floats(double *to, uint32_t *count, const struct scan_field *f) {
    struct wire w = wire_of(f->bytes);
    uint64_t v = f->number;
    if (f->type == WIRE_FIXED64) to[(*count)++] = f64_from_bits(v);
    while (f->type == WIRE_BYTES && w.cur < w.end && wire_fixed64(&w, &v))
        to[(*count)++] = f64_from_bits(v);
}

static enum histogram_hint hint_of(uint32_t number) {
    return number <= HISTOGRAM_GAUGE ? (enum histogram_hint)number : HISTOGRAM_UNKNOWN;
}

static void read_number(struct reading *r, const struct scan_field *f) {
    struct histogram *h = &r->h;
    double v = f64_from_bits(f->number);
    switch (f->field) {
    case FIELD_COUNT_INT: h->count = f->number; break;
    case FIELD_COUNT_FLOAT: h->count_float = v; break;
    case FIELD_SUM: h->sum = v; break;
    case FIELD_SCHEMA: h->schema = (int32_t)unzigzag((uint32_t)f->number); break;
    case FIELD_ZERO_THRESHOLD: h->zero_threshold = v; break;
    case FIELD_ZERO_INT: h->zero_count = f->number; break;
    case FIELD_ZERO_FLOAT: h->zero_count_float = v; break;
    case FIELD_RESET_HINT: h->hint = hint_of((uint32_t)f->number); break;
    case FIELD_TIMESTAMP: r->time_ms = (int64_t)f->number; break;
    case FIELD_START: h->start_ms = r->is_v2 ? (int64_t)f->number : 0; break;
    default: break;
    }
    if (f->field <= FIELD_COUNT_FLOAT) h->is_float = f->field == FIELD_COUNT_FLOAT;
    if (f->field == FIELD_ZERO_INT || f->field == FIELD_ZERO_FLOAT)
        r->zero_is_float = f->field == FIELD_ZERO_FLOAT;
}

static void read_fields(struct reading *r, struct wire w) {
    struct histogram *h = &r->h;
    struct scan_field f;
    while (scan_next_field(&w, &f)) {
        switch (f.field) {
        case FIELD_NEGATIVE_SPANS:
            h->negative.spans[h->negative.spans_count++] = read_span(f.bytes);
            break;
        case FIELD_NEGATIVE_SPANS + 1:
            add_deltas(h->negative.deltas, &r->negative_deltas, &f);
            break;
        case FIELD_NEGATIVE_SPANS + 2:
            add_floats(h->negative.counts, &r->negative_counts, &f);
            break;
        case FIELD_POSITIVE_SPANS:
            h->positive.spans[h->positive.spans_count++] = read_span(f.bytes);
            break;
        case FIELD_POSITIVE_SPANS + 1:
            add_deltas(h->positive.deltas, &r->positive_deltas, &f);
            break;
        case FIELD_POSITIVE_SPANS + 2:
            add_floats(h->positive.counts, &r->positive_counts, &f);
            break;
        case FIELD_CUSTOM_VALUES: add_floats(h->bounds, &h->bounds_count, &f); break;
        default: read_number(r, &f); break;
        }
    }
}

/* As prompb's ToIntHistogram and ToFloatHistogram: what is of the other flavour is passed over. */
static void take_flavour(struct reading *r) {
    struct histogram *h = &r->h;
    if (h->is_float) {
        h->negative.deltas = h->positive.deltas = NULL;
        h->negative.buckets_count = r->negative_counts;
        h->positive.buckets_count = r->positive_counts;
        if (!r->zero_is_float) h->zero_count_float = 0;
        h->count = h->zero_count = 0;
    } else {
        h->negative.counts = h->positive.counts = NULL;
        h->negative.buckets_count = r->negative_deltas;
        h->positive.buckets_count = r->positive_deltas;
        if (r->zero_is_float) h->zero_count = 0;
        h->count_float = h->zero_count_float = 0;
    }
}

/* Finer schemas than are kept are made coarser (remoteWriteAppender in Prometheus), once it is sure
 * that they keep the other rules. */
static enum status check_rules(struct histogram *h, struct err *err) {
    int32_t schema = h->schema;
    bool finer = schema > HISTOGRAM_SCHEMA_MAX && schema <= HISTOGRAM_SCHEMA_REDUCED_MAX;
    if (finer) h->schema = HISTOGRAM_SCHEMA_MAX;
    TRY(histogram_validate(h, err));
    h->schema = schema;
    if (finer) histogram_reduce(h, HISTOGRAM_SCHEMA_MAX);
    return finer ? histogram_validate(h, err) : OK;
}

static enum status histogram_nomem(const struct scanner *s) {
    return err_set(s->err, ERR_NOMEM, 0, "remote write: out of memory");
}

static enum status histogram_row(struct scanner *s, const struct reading *r) {
    struct write_rows *rows = s->out->rows;
    buf_clear(&s->histogram);
    histogram_put(&r->h, &s->histogram);
    if (s->histogram.failed) return histogram_nomem(s);
    TRY(scan_reserve(s, rows->count + 1));
    if (write_rows_want_histograms(rows) != OK) return histogram_nomem(s);
    struct sv bytes = arena_sv(s->arena, buf_sv(&s->histogram));
    if (bytes.ptr == NULL) return histogram_nomem(s);
    rows->values[rows->count] = 0;
    rows->times_ms[rows->count] = r->time_ms;
    rows->histograms[rows->count] = bytes;
    rows->count++;
    return OK;
}

enum status scan_histogram(struct scanner *s, struct wire w, bool is_v2) {
    struct reading r = {.is_v2 = is_v2, .len = wire_left(&w)};
    struct err why;
    TRY(scan_form(s, w, is_v2 ? &form_histogram_v2 : &form_histogram));
    if (wire_left(&w) > HISTOGRAM_BYTES_MAX) {
        scan_refuse(s, SV("histogram is too large"), SCAN_REFUSED_HISTOGRAM);
        return OK;
    }
    arena_reset(&s->scratch);
    if (!arrays_alloc(&s->scratch, &r)) return histogram_nomem(s);
    read_fields(&r, w);
    take_flavour(&r);
    if (check_rules(&r.h, &why) == OK) return histogram_row(s, &r);
    scan_refuse(s, sv_from(why.msg), SCAN_REFUSED_HISTOGRAM);
    return OK;
}
