/* SPDX-License-Identifier: Apache-2.0 */
#include <criterion/criterion.h>

#include "request.h"

/* Everything a scan gives; freed by the process's end or scan_fini. */
struct scan {
    struct write_rows rows;
    struct scan_result result;
    struct arena arena;
    struct err err;
};

static enum status scan_with(struct scan *t, const struct scan_options *o, struct sv body) {
    *t = (struct scan){0};
    arena_init(&t->arena, 0);
    t->result.rows = &t->rows;
    return scan_write_request(body, o, &t->arena, &t->result, &t->err);
}
static enum status scan(struct scan *t, struct sv body) {
    struct scan_options o = request_scan_options();
    return scan_with(t, &o, body);
}
static void scan_fini(struct scan *t) {
    write_rows_fini(&t->rows);
    arena_fini(&t->arena);
}

static struct sv hex(const char *text) {
    static char bytes[256];
    size_t n = 0;
    for (const char *p = text; *p != '\0'; p++) {
        unsigned v;
        if (*p == ' ') continue;
        cr_assert(sscanf(p, "%2x", &v) == 1);
        bytes[n++] = (char)v;
        p++;
    }
    static char *exact; /* until the next call */
    free(exact);
    exact = malloc(n + 1);
    memcpy(exact, bytes, n);
    return sv_make(exact, n);
}

/* Written by hand from the specification's field numbers. */
Test(scan, reads_a_request_by_hand) {
    struct scan t;
    /* timeseries { labels {__name__="up"} labels {a="b"} samples {1.0 @ 1000} samples {-2.5 @ -1} }
     */
    struct sv body = hex("0a 3c"
                         "0a 0e 0a 08 5f5f6e616d655f5f 12 02 7570"
                         "0a 06 0a 01 61 12 01 62"
                         "12 0c 09 000000000000f03f 10 e807"
                         "12 14 09 00000000000004c0 10 ffffffffffffffffff01");
    cr_assert_eq(scan(&t, body), OK, "%s", t.err.msg);
    cr_assert_eq(t.rows.count, 2);
    cr_assert_eq(t.rows.times_ms[0], 1000);
    cr_assert_eq(t.rows.times_ms[1], -1);
    cr_assert(t.rows.values[0] == 1.0 && t.rows.values[1] == -2.5);
    struct sv canonical = sv_make(body.ptr + 2, 24);
    cr_assert(sv_eq(t.rows.labels[0], canonical) && t.rows.labels[0].ptr == t.rows.labels[1].ptr);
    cr_assert(series_id_eq(t.rows.ids[1], series_id_of(REQUEST_SECRET, 0, canonical)));
    cr_assert_eq(t.rows.shards[1], t.rows.ids[1].hi % REQUEST_SHARDS);
    scan_fini(&t);
}

static const struct {
    const char *name, *bytes, *text;
} refused[] = {
    {"tag cut off", "0a 03 0a 02 0a", "malformed series at byte 2"},
    {"series longer than the body", "0a 05 00", "malformed request at byte 0"},
    {"label of 1 GB", "0a 08 0a ffffffff03 61 61", "malformed series at byte 2"},
    {"field number 0", "0a 02 02 00", "malformed tag at byte 2"},
    {"field 1 as a varint", "08 01", "malformed request at byte 0"},
    {"sample value as a varint", "0a 04 12 02 08 01", "malformed sample at byte 4"},
    {"sample time as fixed64", "0a 0b 12 09 11 0000000000000000", "malformed sample at byte 4"},
    {"sample value of 4 bytes", "0a 07 12 05 09 00000000", "malformed sample at byte 4"},
    {"group", "0b 0c", "malformed request at byte 0"},
    {"unknown field cut off", "0a 02 32 05", "malformed series at byte 2"},
    {"varint of 11 bytes", "0a 0e 12 0c 10 8080808080808080808001", "malformed sample at byte 4"},
    {"label name as a varint", "0a 04 0a 02 08 01", "malformed label at byte 4"},
    {"exemplar cut off", "0a 03 1a 01 11", "malformed exemplar at byte 4"},
    {"histogram with a packed half", "0a 06 22 04 52 02 0000", "malformed histogram at byte 4"},
    {"metadata with a foreign type", "1a 02 10 01", "malformed metadata at byte 2"},
};

Test(scan, malformed_bytes_are_named_with_their_place) {
    for (size_t i = 0; i < ARRAY_LEN(refused); i++) {
        struct scan t;
        cr_assert_eq(scan(&t, hex(refused[i].bytes)), ERR_PARSE, "%s", refused[i].name);
        cr_assert(strstr(t.err.msg, refused[i].text) != NULL, "%s: %s", refused[i].name, t.err.msg);
        cr_assert_eq(t.rows.count, 0);
        scan_fini(&t);
    }
}

static void put_label_set(struct buf *series, size_t count) {
    char text[32];
    request_label(series, SV("__name__"), SV("up"));
    for (size_t i = 0; i < count; i++) {
        snprintf(text, sizeof text, "l%04zu", i);
        request_label(series, sv_from(text), SV("v"));
    }
}

Test(scan, limits_are_kept_to_the_one) {
    struct scan_options o = request_scan_options();
    o.series_max = 3;
    o.samples_max = 40;
    o.label_bytes_max = 100;
    o.labels_bytes_max = 200;
    static const struct {
        unsigned series, samples; /* a series */
        unsigned value_bytes, labels;
        enum status want;
        const char *text;
    } cases[] = {
        {3, 1, 1, 0, OK, ""},
        {4, 1, 1, 0, ERR_LIMIT, "more than 3 series"},
        {1, 40, 1, 0, OK, ""},
        {2, 20, 1, 0, OK, ""},
        {1, 41, 1, 0, ERR_LIMIT, "more than 40 samples"},
        {3, 14, 1, 0, ERR_LIMIT, "more than 40 samples"},
        {1, 1, 99, 0, OK, ""}, /* and 1 of the name */
        {1, 1, 100, 0, ERR_LIMIT, "label of 101 bytes, at most 100"},
        {1, 1, 1, 14, OK, ""}, /* 16 + 8 + 14 * 12 = 192 */
        {1, 1, 1, 15, ERR_LIMIT, "labels of 204 bytes in one series, at most 200"},
    };
    char value[100];
    memset(value, 'x', sizeof value);
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct buf body = {0}, series = {0};
        for (unsigned k = 0; k < cases[i].series; k++) {
            put_label_set(&series, cases[i].labels);
            request_label(&series, SV("z"), sv_make(value, cases[i].value_bytes));
            for (unsigned n = 0; n < cases[i].samples; n++)
                request_sample(&series, 1000 + n, 1);
            request_series(&body, &series);
        }
        struct scan t;
        cr_assert_eq(scan_with(&t, &o, buf_sv(&body)), cases[i].want, "case %zu: %s", i, t.err.msg);
        if (cases[i].want != OK)
            cr_assert(strstr(t.err.msg, cases[i].text) != NULL, "case %zu: %s", i, t.err.msg);
        else
            cr_assert_eq(t.rows.count, cases[i].series * cases[i].samples);
        scan_fini(&t);
        buf_fini(&body);
        buf_fini(&series);
    }
}

Test(scan, value_bits_survive) {
    static const uint64_t bits[] = {STALE_NAN_BITS,
                                    NORMAL_NAN_BITS,
                                    0x7ff0000000000001ULL,
                                    0xfff8dead0000beefULL,
                                    0x8000000000000000ULL,
                                    0x7ff0000000000000ULL,
                                    0xfff0000000000000ULL,
                                    1,
                                    0};
    static const int64_t times[] = {
        0, 1, -1, INT64_MAX, INT64_MIN, 127, 128, 1700000000000, (int64_t)1 << 56};
    struct buf body = {0}, series = {0};
    request_label(&series, SV("__name__"), SV("x"));
    for (size_t i = 0; i < ARRAY_LEN(bits); i++)
        request_sample_bits(&series, times[i], bits[i]);
    request_series(&body, &series);
    struct scan t;
    cr_assert_eq(scan(&t, buf_sv(&body)), OK);
    cr_assert_eq(t.rows.count, ARRAY_LEN(bits));
    for (size_t i = 0; i < ARRAY_LEN(bits); i++) {
        cr_assert_eq(f64_bits(t.rows.values[i]), bits[i]);
        cr_assert_eq(t.rows.times_ms[i], times[i]);
    }
    scan_fini(&t);
    buf_fini(&body);
    buf_fini(&series);
}

Test(scan, series_with_bad_labels_are_skipped_and_counted) {
    static const struct {
        struct label labels[3];
        bool kept;
    } cases[] = {
        {{{SV_INIT("__name__"), SV_INIT("up")}}, true},
        {{{SV_INIT("a"), SV_INIT("b")}}, false},
        {{{SV_INIT("__name__"), SV_INIT("")}}, false},
        {{{SV_INIT("__name__"), SV_INIT("up")},
          {SV_INIT("a"), SV_INIT("1")},
          {SV_INIT("a"), SV_INIT("1")}},
         false},
        {{{SV_INIT("__name__"), SV_INIT("up")},
          {SV_INIT("a"), SV_INIT("1")},
          {SV_INIT("a"), SV_INIT("")}},
         false},
        {{{SV_INIT(""), SV_INIT("x")}, {SV_INIT("__name__"), SV_INIT("up")}}, false},
        {{{SV_INIT("__name__"), SV_INIT("up")}, {SV_INIT("a"), SV_INIT("\xff")}}, false},
        {{{SV_INIT("__name__"), SV_INIT("up")}, {SV_INIT("\xc3"), SV_INIT("v")}}, false},
        {{{SV_INIT("__name__"), SV_INIT("caf\xc3\xa9 total")},
          {SV_INIT("gr\xc3\xb6\xc3\x9f"
                   "e"),
           SV_INIT("\xe2\x82\xac")}},
         true},
        {{{SV_INIT("__name__"), SV_INIT("a\0b")}}, true},
    };
    struct buf body = {0}, series = {0};
    size_t kept = 0;
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        for (size_t k = 0; k < 3 && cases[i].labels[k].name.ptr != NULL; k++)
            request_label(&series, cases[i].labels[k].name, cases[i].labels[k].value);
        request_sample(&series, 1000 + (int64_t)i, 1);
        request_series(&body, &series);
        kept += cases[i].kept;
    }
    struct scan t;
    cr_assert_eq(scan(&t, buf_sv(&body)), OK);
    cr_assert_eq(t.rows.count, kept);
    cr_assert_eq(t.result.skipped_series_samples, ARRAY_LEN(cases) - kept);
    for (size_t i = 0, row = 0; i < ARRAY_LEN(cases); i++)
        if (cases[i].kept) cr_assert_eq(t.rows.times_ms[row++], 1000 + (int64_t)i);
    scan_fini(&t);
    buf_fini(&body);
    buf_fini(&series);
}

/* -- one label set, one id, however it is written */

enum { VARIED_LABELS_MAX = 12 };

static void put_varied_label(struct buf *series, struct rng *rng, const struct label *l) {
    struct buf b = {0};
    bool name_first = rng_chance(rng, 0.7);
    if (rng_chance(rng, 0.1)) request_bytes(&b, 1, SV("overwritten"));
    for (unsigned i = 0; i < 2; i++) {
        bool name = (i == 0) == name_first;
        struct sv s = name ? l->name : l->value;
        if (s.len == 0) continue;
        request_varint(&b, name ? 0x0a : 0x12, rng_chance(rng, 0.1) ? 2 : 0);
        request_varint(&b, s.len, rng_chance(rng, 0.1) ? 3 : 0);
        buf_put_sv(&b, s);
    }
    if (rng_chance(rng, 0.1)) request_bytes(&b, 7, SV("unknown"));
    request_varint(series, 0x0a, rng_chance(rng, 0.1) ? 5 : 0);
    request_varint(series, b.len, rng_chance(rng, 0.1) ? 5 : 0);
    buf_put_sv(series, buf_sv(&b));
    buf_fini(&b);
}

static void put_varied_series(struct buf *body, struct rng *rng, struct label *labels,
                              size_t count) {
    struct buf series = {0};
    if (rng_chance(rng, 0.8))
        for (size_t i = count; i > 1; i--) {
            size_t k = (size_t)rng_below(rng, i);
            struct label l = labels[i - 1];
            labels[i - 1] = labels[k];
            labels[k] = l;
        }
    bool sampled = false, emptied = false;
    for (size_t i = 0; i < count; i++) {
        if (!emptied && rng_chance(rng, 0.05)) {
            request_label(&series, SV("zzz_empty"), SV(""));
            emptied = true;
        }
        if (rng_chance(rng, 0.05)) request_bytes(&series, 9, SV("unknown"));
        if (!sampled && rng_chance(rng, 0.05)) {
            request_sample(&series, 5, 5);
            sampled = true;
        }
        put_varied_label(&series, rng, &labels[i]);
    }
    if (!sampled) request_sample(&series, 5, 5);
    request_series(body, &series);
    buf_fini(&series);
}

static size_t random_labels(struct rng *rng, char texts[][2][64], struct label *labels) {
    size_t count = 1 + (size_t)rng_below(rng, VARIED_LABELS_MAX);
    labels[0] = (struct label){SV("__name__"), SV("requests_total")};
    for (size_t i = 1; i < count; i++) {
        /* shared prefixes of up to 8 bytes and more, so that the comparison by words is put to the
         * test */
        snprintf(texts[i][0], 64, "%.*s%c%zu", (int)rng_below(rng, 12), "abcdefghijkl",
                 'a' + (int)rng_below(rng, 26), i);
        snprintf(texts[i][1], 64, "v%.*s", (int)rng_below(rng, 60),
                 "caf\xc3\xa9 0123456789 0123456789 0123456789 0123456789 0123");
        labels[i] = (struct label){sv_from(texts[i][0]), sv_from(texts[i][1])};
        if (rng_chance(rng, 0.1))
            labels[i].value.len = 1;
        else if (labels[i].value.len == 5)
            labels[i].value.len = 4; /* not within the two bytes of the letter */
    }
    return count;
}

Test(scan, a_label_set_has_one_id_however_it_is_written) {
    struct rng rng;
    rng_init(&rng, 4711);
    unsigned rewritten = 0, in_place = 0;
    for (unsigned round = 0; round < 20000; round++) {
        char texts[VARIED_LABELS_MAX + 1][2][64];
        struct label labels[VARIED_LABELS_MAX + 1], sorted[VARIED_LABELS_MAX + 1];
        size_t count = random_labels(&rng, texts, labels);
        memcpy(sorted, labels, sizeof sorted);
        struct buf canonical = {0}, body = {0};
        cr_assert_eq(labels_encode(sorted, count, &canonical, NULL), OK);
        put_varied_series(&body, &rng, rng_chance(&rng, 0.1) ? sorted : labels, count);
        struct scan t;
        cr_assert_eq(scan(&t, buf_sv(&body)), OK, "%s", t.err.msg);
        cr_assert_eq(t.rows.count, 1);
        cr_assert(sv_eq(t.rows.labels[0], buf_sv(&canonical)), "round %u", round);
        cr_assert(series_id_eq(t.rows.ids[0], series_id_of(REQUEST_SECRET, 0, buf_sv(&canonical))));
        bool inside =
            t.rows.labels[0].ptr >= body.ptr && t.rows.labels[0].ptr < body.ptr + body.len;
        *(inside ? &in_place : &rewritten) += 1;
        scan_fini(&t);
        buf_fini(&canonical);
        buf_fini(&body);
    }
    cr_assert(in_place > 300 && rewritten > 10000, "in place %u, rewritten %u", in_place,
              rewritten);
}

/* What senders send must not take the general path: it costs ten times as much. */
Test(scan, canonical_series_are_read_in_place) {
    static const unsigned value_bytes[] = {1,   100, 119, 120, 121, 122,  123,  124,
                                           125, 126, 127, 128, 129, 1000, 16000};
    struct buf body = {0}, series = {0};
    char *value = calloc(1, 16000);
    memset(value, 'y', 16000);
    for (size_t i = 0; i < ARRAY_LEN(value_bytes); i++) {
        request_label(&series, SV("__name__"), SV("up"));
        request_label(&series, SV("a"), sv_make(value, value_bytes[i]));
        request_label(&series, SV("ab"), SV("gr\xc3\xbcn"));
        request_sample(&series, 1700000000000, 1);
        request_series(&body, &series);
    }
    struct scan t;
    cr_assert_eq(scan(&t, buf_sv(&body)), OK);
    cr_assert_eq(t.rows.count, ARRAY_LEN(value_bytes));
    for (size_t i = 0; i < t.rows.count; i++) {
        cr_assert(t.rows.labels[i].ptr >= body.ptr && t.rows.labels[i].ptr < body.ptr + body.len,
                  "value of %u bytes", value_bytes[i]);
        cr_assert_eq(labels_count(t.rows.labels[i]), 3);
    }
    scan_fini(&t);
    buf_fini(&body);
    buf_fini(&series);
    free(value);
}

/* A series that is dropped, or a request before, leaves nothing in the columns of the next. */
Test(scan, a_float_behind_a_dropped_histogram_is_a_float) {
    struct buf body = {0}, series = {0};
    request_label(&series, SV("unnamed"), SV("x"));
    request_bytes(&series, 4, SV("\x78\x05"));
    request_series(&body, &series);
    request_label(&series, SV("__name__"), SV("up"));
    request_sample(&series, 1, 1);
    request_series(&body, &series);
    struct scan t;
    cr_assert_eq(scan(&t, buf_sv(&body)), OK);
    cr_assert(t.rows.count == 1 && t.rows.histograms != NULL);
    cr_assert(t.rows.histograms[0].ptr == NULL);
    cr_assert_eq(t.result.skipped_series_samples, 1);
    scan_fini(&t);
    buf_fini(&body);
    buf_fini(&series);
}

Test(scan, histograms_are_rows_and_invalid_ones_are_refused) {
    struct buf body = {0}, series = {0};
    request_label(&series, SV("__name__"), SV("h"));
    request_bytes(&series, 4, SV("\x08\x05")); /* five observations, and no bucket */
    /* count 5, sum 1.5, schema 1, zero threshold 0.5, zero count 1, spans (0, 2) (1, 1), deltas 1 1
     * -1, hint 2, time 1000, and a field that 1.0 does not have */
    request_bytes(&series, 4,
                  hex("0805 19000000000000f83f 2002 29000000000000e03f 3001"
                      "5a021002 5a0408021001 6203020201 7002 78e807 8801 07"));
    request_sample(&series, 2000, 2);
    request_series(&body, &series);
    request_label(&series, SV("__name__"), SV("up"));
    request_sample(&series, 1, 1);
    request_series(&body, &series);
    request_label(&series, SV("unnamed"), SV("x"));
    request_bytes(&series, 4, SV(""));
    request_series(&body, &series);
    struct scan t;
    cr_assert_eq(scan(&t, buf_sv(&body)), OK);
    cr_assert_eq(t.rows.count, 3);
    cr_assert_eq(t.result.histograms, 2);
    cr_assert_eq(t.result.skipped_series_samples, 1);
    cr_assert_eq(t.result.refused, 1);
    cr_expect_str_eq(t.result.refused_text,
                     "0 observations found in buckets, but the Count field is 5: histogram's "
                     "observation count should equal the number of observations found in the "
                     "buckets (in absence of NaN)");
    cr_assert(t.rows.times_ms[0] == 1000 && t.rows.times_ms[1] == 2000);
    cr_assert(t.rows.histograms[1].ptr == NULL && t.rows.histograms[2].ptr == NULL);
    /* as tests/storage/test_histogram.c has them, without the start */
    cr_assert(sv_eq(t.rows.histograms[0], hex("01940105000000000000f83f000000000000e03f01"
                                              "0200020201020201")));
    cr_assert(t.rows.values[1] == 2 && t.rows.values[2] == 1);
    scan_fini(&t);
    buf_fini(&body);
    buf_fini(&series);
}
