/* SPDX-License-Identifier: Apache-2.0 */
/* The scanner beside protobuf-c, on requests mutated by seed: both accept or both refuse, and what
 * they read is the same. Usage: test_scan_oracle [mutations] [seed] The one difference: the scanner
 * refuses a field number over 2^29 - 1, which protobuf-c cuts to 32 bits. */
#include <inttypes.h>

#include "node/base/utf8.h"
#include "storage/histogram.h"
#include "request.h"
#include "remote.pb-c.h"

enum { SAMPLES_PER_SERIES_MAX = 4, BASES = 64 };

/* One that keeps all rules, and another of floats with custom bounds. */
static void put_histogram_valid(struct buf *series, struct rng *rng) {
    struct buf h = {0}, packed = {0};
    if (rng_chance(rng, 0.5)) {
        buf_put(&h, "\x08\x05\x20\x02\x30\x01\x5a\x02\x10\x02\x5a\x04\x08\x02\x10\x01", 16);
        buf_put(&h, "\x62\x03\x02\x02\x01\x70\x02", 7);
    } else {
        buf_put_u8(&h, 0x11);
        buf_put_f64(&h, 3.5);
        buf_put(&h, "\x20\x69\x5a\x02\x10\x02", 6); /* schema -53, a span of two */
        for (unsigned i = 0; i < 2; i++)
            buf_put_f64(&packed, rng_unit(rng));
        request_bytes(&h, 13, buf_sv(&packed));
        buf_clear(&packed);
        for (unsigned i = 0; i < 2; i++)
            buf_put_f64(&packed, (double)i + rng_unit(rng));
        request_bytes(&h, 16, buf_sv(&packed));
    }
    buf_put_u8(&h, 0x78);
    request_varint(&h, 1700000000000 + rng_below(rng, 5), 0);
    request_bytes(series, 4, buf_sv(&h));
    buf_fini(&h);
    buf_fini(&packed);
}

static void put_histogram(struct buf *series, struct rng *rng) {
    struct buf h = {0}, span = {0};
    buf_put_u8(&h, 0x08); /* count_int */
    request_varint(&h, rng_below(rng, 100000), 0);
    buf_put_u8(&h, 0x19); /* sum */
    buf_put_f64(&h, rng_unit(rng));
    buf_put_u8(&span, 0x08);
    request_varint(&span, 3, 0);
    buf_put_u8(&span, 0x10);
    request_varint(&span, 2, 0);
    request_bytes(&h, 11, buf_sv(&span));
    buf_clear(&span);
    for (unsigned i = 0; i < 2; i++)
        request_varint(&span, rng_below(rng, 1000), 0);
    request_bytes(&h, 12, buf_sv(&span)); /* packed */
    buf_put_u8(&h, 0x60);                 /* and one that is not */
    request_varint(&h, 7, 0);
    buf_clear(&span);
    buf_put_f64(&span, 0.5);
    request_bytes(&h, 16, buf_sv(&span));
    buf_put_u8(&h, 0x78);
    request_varint(&h, 1700000000000, 0);
    request_bytes(series, 4, buf_sv(&h));
    buf_fini(&h);
    buf_fini(&span);
}

static void put_exemplar(struct buf *series) {
    struct buf e = {0};
    request_label(&e, SV("trace_id"), SV("abc"));
    buf_put_u8(&e, 0x11);
    buf_put_f64(&e, 1.5);
    buf_put_u8(&e, 0x18);
    request_varint(&e, 1700000000000, 0);
    request_bytes(series, 3, buf_sv(&e));
    buf_fini(&e);
}

static void put_series(struct buf *out, struct rng *rng) {
    static const char *const names[] = {"__name__", "a",  "alpha",     "cluster",      "instance",
                                        "job",      "le", "namespace", "namespace_id", "z"};
    static const char *const values[] = {"up",  "x", "", "caf\xc3\xa9", "node-1.example.org:9100",
                                         "\xff"};
    struct buf series = {0};
    for (size_t i = 0; i < ARRAY_LEN(names); i++) {
        if (i > 0 && rng_chance(rng, 0.4)) continue;
        uint64_t pick = rng_below(rng, rng_chance(rng, 0.1) ? ARRAY_LEN(values) : 2);
        request_label(&series, sv_from(names[i]), sv_from(values[pick]));
    }
    if (rng_chance(rng, 0.05)) request_label(&series, SV("job"), SV("late"));
    for (uint64_t n = rng_below(rng, SAMPLES_PER_SERIES_MAX + 1); n > 0; n--)
        request_sample_bits(
            &series, rng_chance(rng, 0.1) ? -5 : 1700000000000 + (int64_t)rng_below(rng, 60000),
            rng_chance(rng, 0.2) ? STALE_NAN_BITS : rng_u64(rng));
    if (rng_chance(rng, 0.2)) put_exemplar(&series);
    if (rng_chance(rng, 0.2)) put_histogram(&series, rng);
    if (rng_chance(rng, 0.4)) put_histogram_valid(&series, rng);
    request_series(out, &series);
    buf_fini(&series);
}

static void put_request(struct buf *out, struct rng *rng) {
    for (uint64_t n = 1 + rng_below(rng, 4); n > 0; n--)
        put_series(out, rng);
    if (rng_chance(rng, 0.3)) {
        struct buf m = {0};
        buf_put_u8(&m, 0x08);
        request_varint(&m, 1, 0);
        request_bytes(&m, 2, SV("up"));
        request_bytes(&m, 4, SV("help"));
        request_bytes(out, 3, buf_sv(&m));
        buf_fini(&m);
    }
}

/* -- mutations; room for 16 more bytes behind *len */

static void mutate(struct rng *rng, uint8_t *p, size_t *len) {
    static const uint8_t likely[] = {0x00, 0x01, 0x07, 0x08, 0x09, 0x0a, 0x0b, 0x0d,
                                     0x10, 0x11, 0x12, 0x18, 0x1a, 0x22, 0x3a, 0x60,
                                     0x62, 0x7f, 0x80, 0x81, 0x8a, 0xff};
    size_t at = *len == 0 ? 0 : (size_t)rng_below(rng, *len);
    uint8_t byte =
        rng_chance(rng, 0.5) ? likely[rng_below(rng, sizeof likely)] : (uint8_t)rng_u64(rng);
    switch (rng_below(rng, 6)) {
    case 0:
        if (*len > 0) p[at] = byte;
        break;
    case 1:
        if (*len > 0) p[at] ^= (uint8_t)(1u << rng_below(rng, 8));
        break;
    case 2: /* insert */
        memmove(p + at + 1, p + at, *len - at);
        p[at] = byte;
        ++*len;
        break;
    case 3: /* remove */
        if (*len == 0) break;
        memmove(p + at, p + at + 1, *len - at - 1);
        --*len;
        break;
    case 4: /* cut off */
        if (rng_chance(rng, 0.1)) *len = at;
        break;
    default: /* copy a run over another */
        if (*len > 8) {
            size_t n = 1 + (size_t)rng_below(rng, 7), from = (size_t)rng_below(rng, *len - n);
            memmove(p + MIN(at, *len - n), p + from, n);
        }
        break;
    }
}

/* -- what the request says, by protobuf-c */

static int label_order(const void *a, const void *b) {
    const Prometheus__Label *const *x = a, *const *y = b;
    return sv_cmp(sv_make((*x)->name.data, (*x)->name.len),
                  sv_make((*y)->name.data, (*y)->name.len));
}

/* Canonical bytes by storage/labels.h's definition; false: to be skipped. */
static bool expect_labels(Prometheus__TimeSeries *ts, struct buf *out) {
    bool named = false;
    struct sv before = {0};
    buf_clear(out);
    if (ts->n_labels > 0) qsort(ts->labels, ts->n_labels, sizeof *ts->labels, label_order);
    for (size_t i = 0; i < ts->n_labels; i++) {
        struct sv name = sv_make(ts->labels[i]->name.data, ts->labels[i]->name.len);
        struct sv value = sv_make(ts->labels[i]->value.data, ts->labels[i]->value.len);
        if (name.len == 0 || !utf8_valid(name) || !utf8_valid(value)) return false;
        if (i > 0 && sv_eq(before, name)) return false;
        if (sv_eq(name, SV("__name__"))) named = value.len > 0;
        if (value.len > 0) request_label(out, name, value);
        before = name;
    }
    return named;
}

/* What prompb's ToIntHistogram and ToFloatHistogram make of it. */
static struct histogram expect_histogram(Prometheus__Histogram *p, struct arena *arena) {
    struct histogram h = {
        .is_float = p->count_case == PROMETHEUS__HISTOGRAM__COUNT_COUNT_FLOAT,
        .schema = p->schema,
        .sum = p->sum,
        .zero_threshold = p->zero_threshold,
        .bounds = p->custom_values,
        .bounds_count = (uint32_t)p->n_custom_values,
    };
    struct histogram_side *sides[] = {&h.negative, &h.positive};
    Prometheus__BucketSpan **spans[] = {p->negative_spans, p->positive_spans};
    size_t counts[] = {p->n_negative_spans, p->n_positive_spans};
    for (size_t k = 0; k < 2; k++) {
        sides[k]->spans = arena_array(arena, counts[k] + 1, sizeof *sides[k]->spans);
        sides[k]->spans_count = (uint32_t)counts[k];
        for (size_t i = 0; i < counts[k]; i++)
            sides[k]->spans[i] = (struct histogram_span){spans[k][i]->offset, spans[k][i]->length};
    }
    if (p->reset_hint >= 0 && p->reset_hint <= 3) h.hint = (enum histogram_hint)p->reset_hint;
    bool zero_float = p->zero_count_case == PROMETHEUS__HISTOGRAM__ZERO_COUNT_ZERO_COUNT_FLOAT;
    bool zero_int = p->zero_count_case == PROMETHEUS__HISTOGRAM__ZERO_COUNT_ZERO_COUNT_INT;
    if (h.is_float) {
        h.count_float = p->count_float;
        if (zero_float) h.zero_count_float = p->zero_count_float;
        h.negative.counts = p->negative_counts;
        h.positive.counts = p->positive_counts;
        h.negative.buckets_count = (uint32_t)p->n_negative_counts;
        h.positive.buckets_count = (uint32_t)p->n_positive_counts;
    } else {
        if (p->count_case == PROMETHEUS__HISTOGRAM__COUNT_COUNT_INT) h.count = p->count_int;
        if (zero_int) h.zero_count = p->zero_count_int;
        h.negative.deltas = p->negative_deltas;
        h.positive.deltas = p->positive_deltas;
        h.negative.buckets_count = (uint32_t)p->n_negative_deltas;
        h.positive.buckets_count = (uint32_t)p->n_positive_deltas;
    }
    return h;
}

/* The next row of the series that is a histogram, or none. */
static size_t next_row(const struct write_rows *rows, size_t row, size_t end, bool histogram) {
    while (row < end &&
           histogram != (rows->histograms != NULL && rows->histograms[row].ptr != NULL))
        row++;
    return row;
}

static void compare_histograms(Prometheus__TimeSeries *ts, const struct write_rows *rows,
                               size_t first, size_t end, uint64_t *refused) {
    struct arena arena;
    struct buf bytes = {0};
    size_t row = first;
    arena_init(&arena, 0);
    for (size_t i = 0; i < ts->n_histograms; i++) {
        struct histogram h = expect_histogram(ts->histograms[i], &arena);
        /* finer schemas are in test_histogram.c */
        if (h.schema > 8 && h.schema <= 52) {
            row = end;
            break;
        }
        if (histogram_validate(&h, NULL) != OK) {
            ++*refused;
            continue;
        }
        row = next_row(rows, row, end, true);
        buf_clear(&bytes);
        histogram_put(&h, &bytes);
        MUST(row < end && sv_eq(rows->histograms[row], buf_sv(&bytes)));
        MUST(rows->times_ms[row] == ts->histograms[i]->timestamp);
        row++;
    }
    MUST(next_row(rows, row, end, true) == end);
    arena_fini(&arena);
    buf_fini(&bytes);
}

struct totals {
    uint64_t accepted, refused, tags, rows, skipped, histograms, histograms_refused;
};

static void compare(Prometheus__WriteRequest *want, const struct scan_result *got,
                    struct totals *t) {
    struct buf canonical = {0};
    const struct write_rows *rows = got->rows;
    size_t row = 0;
    uint64_t skipped = 0, histograms = 0, exemplars = 0, refused = 0;
    struct arena arena;
    arena_init(&arena, 0);
    for (size_t k = 0; k < want->n_timeseries; k++) {
        Prometheus__TimeSeries *ts = want->timeseries[k];
        exemplars += ts->n_exemplars;
        if (!expect_labels(ts, &canonical)) {
            skipped += ts->n_samples + ts->n_histograms;
            continue;
        }
        histograms += ts->n_histograms;
        series_id id = series_id_of(REQUEST_SECRET, 0, buf_sv(&canonical));
        size_t end = row;
        for (size_t i = 0; i < ts->n_histograms; i++) {
            struct histogram h = expect_histogram(ts->histograms[i], &arena);
            if (h.schema > 8 && h.schema <= 52) h.schema = 8;
            bool valid = histogram_validate(&h, NULL) == OK;
            end += valid;
            refused += !valid;
        }
        end += ts->n_samples;
        MUST(end <= rows->count);
        for (size_t i = row; i < end; i++) {
            MUST(sv_eq(rows->labels[i], buf_sv(&canonical)) && series_id_eq(rows->ids[i], id));
            MUST(rows->shards[i] == id.hi % REQUEST_SHARDS);
        }
        uint64_t again = 0;
        compare_histograms(ts, rows, row, end, &again);
        t->histograms += end - row - ts->n_samples;
        for (size_t i = 0; i < ts->n_samples; i++, row++) {
            row = next_row(rows, row, end, false);
            MUST(row < end && rows->times_ms[row] == ts->samples[i]->timestamp);
            MUST(f64_bits(rows->values[row]) == f64_bits(ts->samples[i]->value));
        }
        MUST(next_row(rows, row, end, false) == end);
        row = end;
    }
    MUST(refused == got->refused && (refused == 0) == (got->refused_text[0] == '\0'));
    t->histograms_refused += refused;
    arena_fini(&arena);
    MUST(row == rows->count && skipped == got->skipped_series_samples &&
         histograms == got->histograms);
    MUST(exemplars == got->exemplars && want->n_metadata == got->metadata);
    t->rows += row;
    t->skipped += skipped;
    buf_fini(&canonical);
}

static void one(const uint8_t *p, size_t len, struct write_rows *rows, struct totals *t) {
    struct scan_options o = request_scan_options();
    struct scan_result got = {.rows = rows};
    struct arena arena;
    struct err err;
    uint8_t *exact = malloc(len + (len == 0)); /* its end is where ASan looks */
    MUST(exact != NULL);
    memcpy(exact, p, len);
    arena_init(&arena, 0);
    enum status st = scan_write_request(sv_make(exact, len), &o, &arena, &got, &err);
    Prometheus__WriteRequest *want = prometheus__write_request__unpack(NULL, len, exact);
    if (st == OK && want != NULL) {
        compare(want, &got, t);
        t->accepted++;
    } else if (st != OK && want != NULL) {
        MUST(st == ERR_PARSE && strstr(err.msg, "malformed tag") != NULL);
        t->tags++;
    } else {
        MUST(st == ERR_PARSE && want == NULL);
        t->refused++;
    }
    if (want != NULL) prometheus__write_request__free_unpacked(want, NULL);
    arena_fini(&arena);
    free(exact);
}

int main(int argc, char **argv) {
    uint64_t mutations = argc > 1 ? strtoull(argv[1], NULL, 10) : 500000;
    uint64_t seed = argc > 2 ? strtoull(argv[2], NULL, 10) : 20261122;
    printf("seed %" PRIu64 "\n", seed);
    struct rng rng;
    rng_init(&rng, seed);
    struct write_rows rows = {0};
    struct totals t = {0};
    struct buf base = {0};
    uint8_t *work = NULL;
    for (uint64_t i = 0; i < mutations; i++) {
        if (i % (mutations / BASES + 1) == 0 || rng_chance(&rng, 0.01)) {
            buf_clear(&base);
            put_request(&base, &rng);
            work = realloc(work, base.len + 16);
            MUST(work != NULL);
            one((const uint8_t *)base.ptr, base.len, &rows, &t);
        }
        size_t len = base.len;
        memcpy(work, base.ptr, len);
        for (uint64_t n = 1 + rng_below(&rng, 3); n > 0; n--)
            mutate(&rng, work, &len);
        one(work, len, &rows, &t);
    }
    printf("accepted %" PRIu64 " (%" PRIu64 " samples, %" PRIu64
           " skipped), refused by both %" PRIu64 ", large field numbers %" PRIu64
           ", histograms %" PRIu64 ", invalid ones %" PRIu64 "\n",
           t.accepted, t.rows, t.skipped, t.refused, t.tags, t.histograms, t.histograms_refused);
    MUST(t.histograms > mutations / 10 && t.histograms_refused > mutations / 10);
    /* the mutations must reach both sides, else nothing was compared */
    MUST(t.accepted > mutations / 10 && t.refused > mutations / 10 && t.skipped > 0 &&
         t.tags < mutations / 100);
    free(work);
    buf_fini(&base);
    write_rows_fini(&rows);
    return 0;
}
