/* SPDX-License-Identifier: Apache-2.0 */
/* The scanner beside protobuf-c, on requests mutated by seed: both accept or both refuse, and what
 * they read is the same. Usage: test_scan_oracle [mutations] [seed] The one difference: the scanner
 * refuses a field number over 2^29 - 1, which protobuf-c cuts to 32 bits. */
#include <inttypes.h>

#include "node/base/utf8.h"
#include "scan_oracle.h"

enum { SAMPLES_PER_SERIES_MAX = 4, BASES = 64 };

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
    if (rng_chance(rng, 0.2)) put_histogram(&series, 4, rng);
    if (rng_chance(rng, 0.4)) put_histogram_valid(&series, 4, rng);
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

struct totals {
    uint64_t accepted, refused, tags, rows, skipped, histograms, histograms_refused;
};

static void compare(Prometheus__WriteRequest *want, const struct scan_result *got,
                    struct totals *t) {
    struct buf canonical = {0};
    const struct write_rows *rows = got->rows;
    size_t row = 0;
    uint64_t skipped = 0, histograms = 0, exemplars = 0, refused = 0;
    for (size_t k = 0; k < want->n_timeseries; k++) {
        Prometheus__TimeSeries *ts = want->timeseries[k];
        exemplars += ts->n_exemplars;
        if (!expect_labels(ts, &canonical)) {
            skipped += ts->n_samples + ts->n_histograms;
            continue;
        }
        histograms += ts->n_histograms;
        series_id id = series_id_of(REQUEST_SECRET, 0, buf_sv(&canonical));
        size_t stored = count_stored(ts->histograms, ts->n_histograms);
        size_t end = row + ts->n_samples + stored;
        refused += ts->n_histograms - stored;
        MUST(end <= rows->count);
        for (size_t i = row; i < end; i++) {
            MUST(sv_eq(rows->labels[i], buf_sv(&canonical)) && series_id_eq(rows->ids[i], id));
            MUST(rows->shards[i] == id.hi % REQUEST_SHARDS);
        }
        compare_histograms(ts->histograms, ts->n_histograms, NULL, rows, row, end);
        t->histograms += stored;
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
