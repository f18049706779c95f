/* SPDX-License-Identifier: Apache-2.0 */
/* tests/ingest/scan_oracle.h: histograms, and mutations of requests, for the tests that compare the
 * scanners with protobuf-c. */
#pragma once

#include "request.h"
#include "remote.pb-c.h"
#include "storage/histogram.h"

/* One that keeps all rules, and another of floats with custom bounds. */
UNUSED static void put_histogram_valid(struct buf *series, uint32_t field, struct rng *rng) {
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
    request_bytes(series, field, buf_sv(&h));
    buf_fini(&h);
    buf_fini(&packed);
}

UNUSED static void put_histogram(struct buf *series, uint32_t field, struct rng *rng) {
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
    request_bytes(series, field, buf_sv(&h));
    buf_fini(&h);
    buf_fini(&span);
}

/* -- mutations; room for 16 more bytes behind *len */

UNUSED static void mutate(struct rng *rng, uint8_t *p, size_t *len) {
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

/* Buckets of eight bytes, which making them coarser rewrites. */
UNUSED static void *copied(const void *from, size_t count, struct arena *arena) {
    void *to = arena_array(arena, count + 1, 8);
    MUST(to != NULL);
    if (count > 0) memcpy(to, from, count * 8);
    return to;
}

/* What prompb's ToIntHistogram and ToFloatHistogram make of it. */
UNUSED static struct histogram expect_histogram(Prometheus__Histogram *p, struct arena *arena) {
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
        h.negative.counts = copied(p->negative_counts, p->n_negative_counts, arena);
        h.positive.counts = copied(p->positive_counts, p->n_positive_counts, arena);
        h.negative.buckets_count = (uint32_t)p->n_negative_counts;
        h.positive.buckets_count = (uint32_t)p->n_positive_counts;
    } else {
        if (p->count_case == PROMETHEUS__HISTOGRAM__COUNT_COUNT_INT) h.count = p->count_int;
        if (zero_int) h.zero_count = p->zero_count_int;
        h.negative.deltas = copied(p->negative_deltas, p->n_negative_deltas, arena);
        h.positive.deltas = copied(p->positive_deltas, p->n_positive_deltas, arena);
        h.negative.buckets_count = (uint32_t)p->n_negative_deltas;
        h.positive.buckets_count = (uint32_t)p->n_positive_deltas;
    }
    return h;
}

/* The next row of the series that is a histogram, or none. */
UNUSED static size_t next_row(const struct write_rows *rows, size_t row, size_t end,
                              bool histogram) {
    while (row < end &&
           histogram != (rows->histograms != NULL && rows->histograms[row].ptr != NULL))
        row++;
    return row;
}

/* What is stored of it; false: it breaks a rule. */
UNUSED static bool expect_stored(Prometheus__Histogram *p, struct arena *arena,
                                 struct histogram *out) {
    *out = expect_histogram(p, arena);
    bool finer = out->schema > 8 && out->schema <= 52;
    if (finer) out->schema = 8;
    if (histogram_validate(out, NULL) != OK) return false;
    out->schema = p->schema;
    if (finer) histogram_reduce(out, 8);
    return histogram_validate(out, NULL) == OK;
}

UNUSED static size_t count_stored(Prometheus__Histogram **histograms, size_t count) {
    struct arena arena;
    struct histogram h;
    size_t stored = 0;
    arena_init(&arena, 0);
    for (size_t i = 0; i < count; i++)
        stored += expect_stored(histograms[i], &arena, &h);
    arena_fini(&arena);
    return stored;
}

/* Rows [first, end) are of the series; starts_ms NULL: none. */
UNUSED static void compare_histograms(Prometheus__Histogram **histograms, size_t count,
                                      const int64_t *starts_ms, const struct write_rows *rows,
                                      size_t first, size_t end) {
    struct arena arena;
    struct buf bytes = {0};
    size_t row = first;
    arena_init(&arena, 0);
    for (size_t i = 0; i < count; i++) {
        struct histogram h;
        if (!expect_stored(histograms[i], &arena, &h)) continue;
        if (starts_ms != NULL) h.start_ms = starts_ms[i];
        row = next_row(rows, row, end, true);
        buf_clear(&bytes);
        histogram_put(&h, &bytes);
        MUST(row < end && sv_eq(rows->histograms[row], buf_sv(&bytes)));
        MUST(rows->times_ms[row] == histograms[i]->timestamp);
        row++;
    }
    MUST(next_row(rows, row, end, true) == end);
    arena_fini(&arena);
    buf_fini(&bytes);
}
