/* SPDX-License-Identifier: Apache-2.0 */
/* The scanner of remote write 2.0 beside protobuf-c, on requests mutated by seed: both accept or
 * both refuse, and what they read is the same. Usage: test_scan_v2_oracle [mutations] [seed] The
 * one difference: the scanner refuses a field number over 2^29 - 1. */
#include <inttypes.h>

#include "node/base/utf8.h"
#include "remote2.pb-c.h"
#include "scan_oracle.h"

typedef Io__Prometheus__Write__V2__TimeSeries series_v2; /* protobuf-c's names are long */

enum { BASES = 64 };
static const char *const symbols[] = {"",    "__name__", "up",          "a",   "b",
                                      "job", "x",        "caf\xc3\xa9", "\xff"};

static void put_refs(struct buf *out, const uint8_t *refs, size_t count, bool packed) {
    struct buf b = {0};
    for (size_t i = 0; i < count; i++) {
        if (!packed) buf_put_u8(out, 0x08);
        request_varint(packed ? &b : out, refs[i], 0);
    }
    if (packed) request_bytes(out, 1, buf_sv(&b));
    buf_fini(&b);
}

static void put_series(struct buf *out, struct rng *rng) {
    struct buf s = {0}, item = {0};
    uint8_t refs[16] = {1, 2};
    size_t count = 2;
    for (uint64_t n = rng_below(rng, 4); n > 0; n--) {
        bool odd = rng_chance(rng, 0.05); /* a reference that leads nowhere, or a repeated name */
        refs[count++] = (uint8_t)(odd ? rng_below(rng, 12) : 3 + 2 * rng_below(rng, 2));
        refs[count++] = (uint8_t)(odd ? rng_below(rng, 12) : 4 + 2 * rng_below(rng, 2));
    }
    put_refs(&s, refs, count - (size_t)rng_chance(rng, 0.03), rng_chance(rng, 0.8));
    for (uint64_t n = rng_below(rng, 4); n > 0; n--) {
        buf_clear(&item);
        buf_put_u8(&item, 0x09);
        buf_put_u64(&item, rng_u64(rng));
        buf_put_u8(&item, 0x10);
        request_varint(&item, 1700000000000 + rng_below(rng, 9), 0);
        if (rng_chance(rng, 0.5)) {
            buf_put_u8(&item, 0x18);
            request_varint(&item, 1600000000000 + rng_below(rng, 9), 0);
        }
        request_bytes(&s, 2, buf_sv(&item));
    }
    if (rng_chance(rng, 0.5)) put_histogram_valid(&s, 3, rng);
    if (rng_chance(rng, 0.2)) put_histogram(&s, 3, rng);
    if (rng_chance(rng, 0.3)) {
        buf_clear(&item);
        put_refs(&item, refs + 2, count - 2, true);
        buf_put(&item, "\x18\x05", 2);
        request_bytes(&s, 4, buf_sv(&item));
    }
    if (rng_chance(rng, 0.3)) request_bytes(&s, 5, SV("\x08\x01\x18\x02"));
    request_bytes(out, 5, buf_sv(&s));
    buf_fini(&s);
    buf_fini(&item);
}

static void put_request(struct buf *out, struct rng *rng) {
    uint64_t before = rng_below(rng, 2);
    for (uint64_t n = 1 + rng_below(rng, 4); n > 0; n--)
        put_series(out, rng);
    struct buf series = *out;
    if (before == 1) *out = (struct buf){0};
    for (size_t i = 0; i < ARRAY_LEN(symbols); i++)
        request_bytes(out, 4, sv_from(symbols[i]));
    if (before == 1) {
        buf_put_sv(out, buf_sv(&series));
        buf_fini(&series);
    }
}

/* -- what the request says, by protobuf-c */

static int label_order(const void *a, const void *b) {
    return sv_cmp(((const struct label *)a)->name, ((const struct label *)b)->name);
}

/* Canonical bytes; false: the series is left out. */
static bool expect_labels(const Io__Prometheus__Write__V2__Request *r, const series_v2 *ts,
                          struct buf *out) {
    struct label labels[512];
    size_t count = 0;
    bool named = false;
    buf_clear(out);
    MUST(ts->n_labels_refs < 1024);
    if (ts->n_labels_refs % 2 != 0) return false;
    for (size_t i = 0; i < ts->n_labels_refs; i += 2) {
        uint32_t name = ts->labels_refs[i], value = ts->labels_refs[i + 1];
        if (name >= r->n_symbols || value >= r->n_symbols) return false;
        labels[count++] = (struct label){sv_make(r->symbols[name].data, r->symbols[name].len),
                                         sv_make(r->symbols[value].data, r->symbols[value].len)};
    }
    if (count > 0) qsort(labels, count, sizeof *labels, label_order);
    for (size_t i = 0; i < count; i++) {
        const struct label *l = &labels[i];
        if (l->name.len == 0 || !utf8_valid(l->name) || !utf8_valid(l->value)) return false;
        if (i > 0 && sv_eq(l->name, l[-1].name)) return false;
        if (sv_eq(l->name, SV("__name__"))) named = l->value.len > 0;
        if (l->value.len > 0) request_label(out, l->name, l->value);
    }
    return named && ts->n_samples + ts->n_histograms > 0;
}

/* The same fields but for the start, which 1.0 skips as unknown. */
static Prometheus__Histogram *as_v1(const Io__Prometheus__Write__V2__Histogram *h) {
    size_t len = io__prometheus__write__v2__histogram__get_packed_size(h);
    uint8_t *bytes = malloc(len + 1);
    MUST(bytes != NULL);
    io__prometheus__write__v2__histogram__pack(h, bytes);
    Prometheus__Histogram *out = prometheus__histogram__unpack(NULL, len, bytes);
    MUST(out != NULL);
    free(bytes);
    return out;
}

struct totals {
    uint64_t accepted, refused, tags, rows, left_out, histograms, histograms_refused, starts;
};

static void compare_series(const series_v2 *ts, struct sv canonical, const struct write_rows *rows,
                           size_t *row, uint64_t *refused, struct totals *t) {
    enum { HISTOGRAMS_MAX = 64 };
    Prometheus__Histogram *histograms[HISTOGRAMS_MAX];
    int64_t starts_ms[HISTOGRAMS_MAX];
    MUST(ts->n_histograms <= HISTOGRAMS_MAX);
    for (size_t i = 0; i < ts->n_histograms; i++) {
        histograms[i] = as_v1(ts->histograms[i]);
        starts_ms[i] = ts->histograms[i]->start_timestamp;
    }
    size_t first = *row, stored = count_stored(histograms, ts->n_histograms);
    size_t end = first + ts->n_samples + stored;
    series_id id = series_id_of(REQUEST_SECRET, 0, canonical);
    MUST(end <= rows->count);
    for (size_t i = first; i < end; i++)
        MUST(sv_eq(rows->labels[i], canonical) && series_id_eq(rows->ids[i], id));
    compare_histograms(histograms, ts->n_histograms, starts_ms, rows, first, end);
    for (size_t i = 0, at = first; i < ts->n_samples; i++, at++) {
        at = next_row(rows, at, end, false);
        MUST(at < end && rows->times_ms[at] == ts->samples[i]->timestamp);
        MUST(f64_bits(rows->values[at]) == f64_bits(ts->samples[i]->value));
        int64_t start_ms = rows->starts_ms == NULL ? 0 : rows->starts_ms[at];
        MUST(start_ms == ts->samples[i]->start_timestamp);
        t->starts += start_ms != 0;
    }
    for (size_t i = 0; i < ts->n_histograms; i++)
        prometheus__histogram__free_unpacked(histograms[i], NULL);
    *row = end;
    *refused += ts->n_histograms - stored;
    t->histograms += stored;
    t->histograms_refused += ts->n_histograms - stored;
}

static void compare(const Io__Prometheus__Write__V2__Request *want, const struct scan_result *got,
                    struct totals *t) {
    struct buf canonical = {0};
    size_t row = 0;
    uint64_t refused = 0, exemplars = 0;
    for (size_t k = 0; k < want->n_timeseries; k++) {
        const series_v2 *ts = want->timeseries[k];
        exemplars += ts->n_exemplars;
        if (expect_labels(want, ts, &canonical)) {
            compare_series(ts, buf_sv(&canonical), got->rows, &row, &refused, t);
        } else {
            refused++;
            t->left_out++;
        }
    }
    MUST(row == got->rows->count && refused == got->refused && exemplars == got->exemplars);
    MUST(refused == 0 || got->errors.len > 0);
    t->rows += row;
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
    enum status st = scan_write_request_v2(sv_make(exact, len), &o, &arena, &got, &err);
    Io__Prometheus__Write__V2__Request *want =
        io__prometheus__write__v2__request__unpack(NULL, len, exact);
    if (st == OK && want != NULL) {
        compare(want, &got, t);
        t->accepted++;
    } else if (st != OK && want != NULL) {
        MUST(st == ERR_PARSE && strstr(err.msg, "malformed tag") != NULL);
        t->tags++;
    } else {
        MUST(st == ERR_PARSE && want == NULL && rows->count == 0);
        t->refused++;
    }
    if (want != NULL) io__prometheus__write__v2__request__free_unpacked(want, NULL);
    arena_fini(&arena);
    free(exact);
}

int main(int argc, char **argv) {
    uint64_t mutations = argc > 1 ? strtoull(argv[1], NULL, 10) : 300000;
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
    printf("accepted %" PRIu64 " (%" PRIu64 " samples, %" PRIu64 " with starts, %" PRIu64
           " histograms, %" PRIu64 " invalid ones, %" PRIu64 " series left out), refused by both "
           "%" PRIu64 ", large field numbers %" PRIu64 "\n",
           t.accepted, t.rows, t.starts, t.histograms, t.histograms_refused, t.left_out, t.refused,
           t.tags);
    MUST(t.accepted > mutations / 10 && t.refused > mutations / 10 && t.tags < mutations / 100);
    MUST(t.histograms > mutations / 10 && t.histograms_refused > mutations / 100);
    MUST(t.starts > mutations / 10 && t.left_out > mutations / 100);
    free(work);
    buf_fini(&base);
    write_rows_fini(&rows);
    return 0;
}
