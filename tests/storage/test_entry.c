/* SPDX-License-Identifier: Apache-2.0 */
#include <criterion/criterion.h>
#include <stdio.h>

#include "node/base/arena.h"
#include "node/base/bytes.h"
#include "node/base/rng.h"
#include "storage/entry.h"
#include "storage/labels.h"

/* "0105 ..." to bytes, blanks skipped */
static struct buf hex(const char *text) {
    struct buf out = {0};
    for (const char *p = text; *p != '\0';) {
        unsigned byte;
        if (*p == ' ') {
            p++;
            continue;
        }
        cr_assert(sscanf(p, "%2x", &byte) == 1);
        buf_put_u8(&out, (uint8_t)byte);
        p += 2;
    }
    return out;
}

static void expect_bytes(const struct buf *got, const char *want_hex) {
    struct buf want = hex(want_hex);
    struct buf text = {0};
    for (size_t i = 0; i < got->len; i++)
        buf_printf(&text, "%02x", (uint8_t)got->ptr[i]);
    cr_expect(sv_eq(buf_sv(got), buf_sv(&want)), "got %s, want %s", buf_cstr(&text), want_hex);
    buf_fini(&text);
    buf_fini(&want);
}

/* {__name__="up"} in remote write 1.0 */
static const char up_labels[] = "\x0a\x0e\x0a\x08__name__\x12\x02up";
#define UP_HEX "0a0e0a085f5f6e616d655f5f12027570"

/* {t="v"} */
static const char t_v[] = "\x0a\x06\x0a\x01t\x12\x01v";

Test(entry, golden_header_and_body) {
    struct buf out = {0};
    entry_put(&(struct entry){ENTRY_WRITE, 5, 1, 2, 300, SV("ab")}, &out);
    expect_bytes(&out, "01 05 01 02 ac02 02 6162");
    buf_clear(&out);
    entry_put(&(struct entry){ENTRY_FLOOR, UINT32_MAX, 128, 0, UINT64_MAX, SV("")}, &out);
    expect_bytes(&out, "04 ffffffff0f 8001 00 ffffffffffffffffff01 00");
    buf_fini(&out);
}

Test(entry, golden_epoch_and_cut) {
    struct buf body = {0}, out = {0};
    entry_epoch_put(3, 1000, &body);
    expect_bytes(&body, "03 e807");
    entry_put(&(struct entry){ENTRY_EPOCH, 7, 2, 4, 0, buf_sv(&body)}, &out);
    expect_bytes(&out, "05 07 02 04 00 03 03e807");
    uint32_t epoch;
    uint64_t seq;
    cr_assert(entry_epoch_get(buf_sv(&body), &epoch, &seq, NULL) == OK);
    cr_assert(epoch == 3 && seq == 1000);
    cr_assert(entry_epoch_get(SV("\x03"), &epoch, &seq, NULL) == ERR_CORRUPT);
    cr_assert(entry_epoch_get(SV("\x03\x01\x01"), &epoch, &seq, NULL) == ERR_CORRUPT);
    buf_clear(&out);
    entry_put(&(struct entry){ENTRY_OFFER, 7, 2, 4, 1, SV("ab")}, &out);
    expect_bytes(&out, "06 07 02 04 01 02 6162");
    buf_clear(&body);
    entry_cut_put(-1, 7200000, &body);
    expect_bytes(&body, "01 80f4ee06");
    int64_t from, to;
    cr_assert(entry_cut_get(buf_sv(&body), &from, &to, NULL) == OK);
    cr_assert(from == -1 && to == 7200000);
    buf_fini(&body);
    buf_fini(&out);
}

Test(entry, golden_write_body) {
    struct entry_write w = {0};
    struct buf body = {0};
    cr_assert(entry_write_is_empty(&w));
    entry_write_series(&w, SV(up_labels));
    cr_assert(entry_write_float(&w, 0, 1000, 1.0) == OK);
    cr_assert(entry_write_float(&w, 1, 1010, -2.5) == OK);
    cr_assert(!entry_write_is_empty(&w));
    entry_write_finish(&w, &body);
    expect_bytes(&body, "03 01 10" UP_HEX "02 d00f 00 01 14 000000000000f03f 00000000000004c0");

    /* One start known: the other's is time 0. Times that run back, numbers of two bytes. */
    entry_write_clear(&w);
    buf_clear(&body);
    cr_assert(entry_write_float(&w, 300, 1010, 0.0) == OK);
    cr_assert(entry_write_float(&w, 2, 1000, 0.0) == OK);
    cr_assert(entry_write_start(&w, 900) == OK);
    entry_write_finish(&w, &body);
    expect_bytes(&body, "06 02 e40f ac02 02 13 0000000000000000 0000000000000000 e40f c801");

    entry_write_clear(&w);
    buf_clear(&body);
    entry_write_exemplar(&w, &(struct entry_exemplar){300, 1000, 1.0, SV(t_v)});
    entry_write_exemplar(&w, &(struct entry_exemplar){0, -1, -2.5, SV("")});
    entry_write_metadata(&w, &(struct entry_metadata){SV("up"), 2, SV("Is up."), SV("s")});
    entry_write_finish(&w, &body);
    expect_bytes(&body, "18 02 20"
                        "ac02 d00f 000000000000f03f 08 0a060a0174120176"
                        "00 01 00000000000004c0 00"
                        "01 0d 02 7570 02 06 49732075702e 01 73");
    entry_write_fini(&w);
    buf_fini(&body);
}

/* The stale marker of storage/histogram.h: 3 bytes, count 0, sum. */
Test(entry, golden_histograms) {
    struct entry_write w = {0};
    struct buf body = {0}, bytes = hex("01000000020000000000f07f");
    struct entry_histogram h = {300, 1000, buf_sv(&bytes)};
    cr_expect(entry_write_is_empty(&w));
    entry_write_histogram(&w, &h);
    cr_expect_not(entry_write_is_empty(&w));
    cr_expect(entry_histogram_bound(&h) >= w.histograms.len);
    entry_write_finish(&w, &body);
    expect_bytes(&body, "20 01 11 ac02 d00f 0c 01000000020000000000f07f");
    buf_clear(&body);
    cr_assert_eq(entry_write_float(&w, 0, 5, 1.0), OK);
    h = (struct entry_histogram){1, -1, buf_sv(&bytes)};
    entry_write_histogram(&w, &h);
    entry_write_finish(&w, &body);
    expect_bytes(&body, "22 01 0a 00 000000000000f03f 02 20 ac02 d00f 0c 01000000020000000000f07f"
                        "01 01 0c 01000000020000000000f07f");
    struct arena scratch;
    arena_init(&scratch, 0);
    struct entry_write_view v;
    struct err err;
    cr_assert_eq(entry_write_decode(buf_sv(&body), &scratch, &v, &err), OK);
    cr_expect(v.histograms_count == 2 && v.floats_count == 1);
    struct entry_histogram first, second;
    cr_assert(entry_histogram_next(&v.histograms, &first));
    cr_assert(entry_histogram_next(&v.histograms, &second));
    cr_expect_not(entry_histogram_next(&v.histograms, &first));
    cr_expect(first.number == 300 && first.time_ms == 1000 && sv_eq(first.bytes, buf_sv(&bytes)));
    cr_expect(second.number == 1 && second.time_ms == -1 && sv_eq(second.bytes, buf_sv(&bytes)));
    arena_fini(&scratch);
    buf_fini(&bytes);
    buf_fini(&body);
    entry_write_fini(&w);
}

static const int64_t times[] = {0, 1, -1, 1767225600000, INT64_MAX, INT64_MIN, 1767225615000};
static const uint64_t values[] = {
    0, 0x8000000000000000, 0x7ff0000000000002, 0x7ff8000000000001, 0x7ff0000000000000,
    1, 0x4045000000000000};

struct model {
    uint32_t numbers[64];
    int64_t times_ms[64], starts_ms[64];
    uint64_t bits[64];
    size_t floats_count, series_count;
    bool has_starts;
    char series[16][40];
};

static void model_make(struct model *m, struct rng *rng, struct entry_write *w) {
    *m = (struct model){0};
    m->series_count = rng_below(rng, 16);
    for (size_t i = 0; i < m->series_count; i++) {
        int n = snprintf(m->series[i], sizeof m->series[i], "s%d%*s", (int)rng_below(rng, 1000),
                         (int)rng_below(rng, 30), "");
        entry_write_series(w, sv_make(m->series[i], (size_t)n));
    }
    m->floats_count = rng_below(rng, 64);
    if (m->series_count == 0 && m->floats_count == 0) m->floats_count = 1;
    for (size_t i = 0; i < m->floats_count; i++) {
        m->numbers[i] = (uint32_t)(rng_u64(rng) >> (32 + rng_below(rng, 32)));
        m->times_ms[i] =
            rng_chance(rng, 0.5) ? times[rng_below(rng, ARRAY_LEN(times))] : (int64_t)rng_u64(rng);
        m->bits[i] =
            rng_chance(rng, 0.5) ? values[rng_below(rng, ARRAY_LEN(values))] : rng_u64(rng);
        cr_assert(entry_write_float(w, m->numbers[i], m->times_ms[i], f64_from_bits(m->bits[i])) ==
                  OK);
        if (!rng_chance(rng, 0.3)) continue;
        m->has_starts = true;
        m->starts_ms[i] = times[rng_below(rng, ARRAY_LEN(times))];
        cr_assert(entry_write_start(w, m->starts_ms[i]) == OK);
    }
}

static void model_expect(const struct model *m, const struct entry_write_view *v) {
    cr_assert(v->series_count == m->series_count && v->floats_count == m->floats_count);
    for (size_t i = 0; i < m->series_count; i++)
        cr_assert(sv_eq(v->series[i], sv_from(m->series[i])));
    cr_assert((v->starts_ms != NULL) == m->has_starts);
    for (size_t i = 0; i < m->floats_count; i++) {
        cr_assert(v->numbers[i] == m->numbers[i] && v->times_ms[i] == m->times_ms[i]);
        cr_assert(f64_bits(v->values[i]) == m->bits[i]);
        if (m->has_starts) cr_assert(v->starts_ms[i] == m->starts_ms[i]);
    }
}

Test(entry, decoding_gives_back_what_was_encoded) {
    struct rng rng;
    rng_init(&rng, 20260102);
    struct entry_write w = {0};
    struct arena scratch;
    arena_init(&scratch, 1 << 20);
    static struct model m;
    unsigned peeks = 0;
    for (int round = 0; round < 3000; round++) {
        struct buf body = {0}, out = {0};
        entry_write_clear(&w);
        model_make(&m, &rng, &w);
        size_t bound = entry_write_bound(&w, 0, 0);
        entry_write_finish(&w, &body);
        cr_assert(body.len <= bound && bound <= entry_write_bound(&w, 3, 100));
        struct entry e = {ENTRY_WRITE,
                          (uint32_t)rng_u64(&rng),
                          (uint32_t)rng_u64(&rng),
                          (uint32_t)rng_u64(&rng),
                          1 + (rng_u64(&rng) >> 1),
                          buf_sv(&body)};
        entry_put(&e, &out);
        entry_put(&e, &out);
        struct sv rest = buf_sv(&out);
        for (int i = 0; i < 2; i++) {
            struct entry got;
            cr_assert(entry_next(&rest, &got, NULL) == OK);
            cr_assert(got.type == e.type && got.shard == e.shard && got.epoch == e.epoch);
            cr_assert(got.incarnation == e.incarnation && got.seq == e.seq);
            struct entry_write_view v;
            struct err err = {0};
            cr_assert(entry_write_decode(got.body, &scratch, &v, &err) == OK, "%s", err.msg);
            model_expect(&m, &v);
            uint32_t peeked[8];
            size_t n = entry_write_peek_numbers(got.body, peeked, ARRAY_LEN(peeked));
            cr_assert(n == (v.series_count > 0 ? 0 : MIN(v.floats_count, ARRAY_LEN(peeked))));
            for (size_t k = 0; k < n; k++)
                cr_assert(peeked[k] == v.numbers[k]);
            peeks += n > 0;
        }
        cr_assert(rest.len == 0);
        arena_reset(&scratch);
        buf_fini(&body);
        buf_fini(&out);
    }
    cr_assert(peeks > 100);
    entry_write_fini(&w);
    arena_fini(&scratch);
}

Test(entry, every_truncation_is_corrupt) {
    struct rng rng;
    rng_init(&rng, 7);
    struct entry_write w = {0};
    struct arena scratch;
    arena_init(&scratch, 1 << 20);
    static struct model m;
    for (int round = 0; round < 40; round++) {
        struct buf body = {0}, out = {0};
        entry_write_clear(&w);
        model_make(&m, &rng, &w);
        entry_write_finish(&w, &body);
        entry_put(&(struct entry){ENTRY_WRITE, 900, 1, 1, 7, buf_sv(&body)}, &out);
        for (size_t len = 0; len < body.len; len++) {
            struct entry_write_view v;
            struct sv part = sv_take(buf_sv(&body), len);
            uint32_t peeked[8];
            cr_assert(entry_write_peek_numbers(part, peeked, ARRAY_LEN(peeked)) <= len);
            cr_assert(entry_write_decode(part, &scratch, &v, NULL) == ERR_CORRUPT, "at %zu", len);
            arena_reset(&scratch);
        }
        for (size_t len = 0; len < out.len; len++) {
            struct entry e;
            struct sv rest = sv_take(buf_sv(&out), len);
            cr_assert(entry_next(&rest, &e, NULL) == ERR_CORRUPT, "at %zu", len);
            cr_assert(rest.len == len);
        }
        buf_fini(&body);
        buf_fini(&out);
    }
    entry_write_fini(&w);
    arena_fini(&scratch);
}

static const struct bad_entry {
    const char *hex;
    enum status status;
    const char *text; /* must be in the message */
} bad_entries[] = {
    {"00 00 00 00 01 00", ERR_UNSUPPORTED, "type 0"},
    {"07 00 00 00 01 00", ERR_UNSUPPORTED, "type 7"},
    {"01 00 00 00 00 00", ERR_CORRUPT, "seq 0"},
    {"05 00 00 00 01 00", ERR_CORRUPT, "seq 1"},
    {"01 8080808010 00 00 01 00", ERR_CORRUPT, "byte 1: shard 4294967296 is beyond"},
    {"01 00 00 8080808010 01 00", ERR_CORRUPT, "byte 3: epoch"},
    {"01 00 00 00 ffffffffffffffffff02 00", ERR_CORRUPT, "byte 4: seq"},
    {"01 00 00 00 01 02 61", ERR_CORRUPT, "byte 6: a body of 2 bytes, and 1 are left"},
    {"01 00 00 00 01 ffffffffffffffffff01 61", ERR_CORRUPT, "18446744073709551615"},
};

Test(entry, malformed_headers_are_named) {
    for (size_t i = 0; i < ARRAY_LEN(bad_entries); i++) {
        struct buf bytes = hex(bad_entries[i].hex);
        struct sv rest = buf_sv(&bytes);
        struct entry e;
        struct err err = {0};
        cr_expect(entry_next(&rest, &e, &err) == bad_entries[i].status, "%s", bad_entries[i].hex);
        cr_expect(strstr(err.msg, bad_entries[i].text) != NULL, "%s: %s", bad_entries[i].hex,
                  err.msg);
        buf_fini(&bytes);
    }
}

static const struct bad_entry bad_bodies[] = {
    {"00", ERR_CORRUPT, "byte 1: malformed sections"},
    {"42 01", ERR_UNSUPPORTED, "sections 0x40"},
    {"8180808010", ERR_UNSUPPORTED, "sections 0x100000000"},
    {"01 00", ERR_CORRUPT, "series count"},
    {"01 01 00", ERR_CORRUPT, "series"},
    {"01 02 01 61 01", ERR_CORRUPT, "series"},
    {"01 ffffffffffffffff7f 01 61", ERR_CORRUPT, "series count"},
    {"01 01 01 61 00", ERR_CORRUPT, "left over"},
    {"02 00 00", ERR_CORRUPT, "float count"},
    {"02 ffffffffffffffff7f 00 0000000000000000 00", ERR_CORRUPT, "float count"},
    {"02 01 00 8080808010 0000000000000000", ERR_CORRUPT, "series numbers"},
    {"04 01", ERR_CORRUPT, "start times"},
    {"08 01 00", ERR_CORRUPT, "exemplars"},
    {"08 00 01 61", ERR_CORRUPT, "exemplars"},
    {"20 01 00", ERR_CORRUPT, "histograms"},
    {"20 02 0f 00 00 0c 01000000020000000000f07f", ERR_CORRUPT, "histograms"},
    {"20 01 0e 00 00 0b 010000000200000000f07f", ERR_CORRUPT,
     "histograms: byte 0: histogram: byte"},
    {"20 01 0f 00 00 0c 01000001000000000000f03f", ERR_CORRUPT,
     "histograms: byte 0: 0 observations found in buckets, but the Count field is 1"},
    {"10 01 02 61", ERR_CORRUPT, "metadata"},
};

Test(entry, malformed_bodies_are_named_and_nothing_big_is_allocated) {
    struct arena scratch;
    arena_init(&scratch, 64 << 10); /* a trusted count would give ERR_NOMEM here */
    for (size_t i = 0; i < ARRAY_LEN(bad_bodies); i++) {
        struct buf bytes = hex(bad_bodies[i].hex);
        struct entry_write_view v;
        struct err err = {0};
        cr_expect(entry_write_decode(buf_sv(&bytes), &scratch, &v, &err) == bad_bodies[i].status,
                  "%s: %s", bad_bodies[i].hex, err.msg);
        cr_expect(strstr(err.msg, bad_bodies[i].text) != NULL, "%s: %s", bad_bodies[i].hex,
                  err.msg);
        buf_fini(&bytes);
    }
    arena_fini(&scratch);
}

static struct sv exemplar_labels(struct buf *out, size_t pairs, size_t value_len, char c) {
    char value[600];
    memset(value, c, sizeof value);
    buf_clear(out);
    for (size_t i = 0; i < pairs; i++) {
        char name[2] = {(char)('!' + i), 0};
        struct label l = {sv_from(name), sv_make(value, value_len)};
        cr_assert(labels_encode(&l, 1, out, NULL) == OK);
    }
    return buf_sv(out);
}

Test(entry, exemplar_labels_have_at_most_128_characters) {
    struct buf b = {0};
    cr_expect(entry_exemplar_labels_valid(SV("")));
    cr_expect(entry_exemplar_labels_valid(exemplar_labels(&b, 1, 127, 'x')));
    cr_expect(!entry_exemplar_labels_valid(exemplar_labels(&b, 1, 128, 'x')));
    cr_expect(entry_exemplar_labels_valid(exemplar_labels(&b, 64, 1, 'x')));
    cr_expect(!entry_exemplar_labels_valid(exemplar_labels(&b, 65, 1, 'x')));
    cr_expect(!entry_exemplar_labels_valid(exemplar_labels(&b, 1, 2, (char)0xff)));
    char wide[4 * 127]; /* U+1F600 127 times */
    for (size_t i = 0; i < sizeof wide; i++)
        wide[i] = "\xf0\x9f\x98\x80"[i % 4];
    struct label l = {SV("k"), sv_make(wide, sizeof wide)};
    buf_clear(&b);
    cr_assert(labels_encode(&l, 1, &b, NULL) == OK);
    cr_expect(entry_exemplar_labels_valid(buf_sv(&b)));
    static const struct sv wrong[] = {
        SV_INIT("x"),
        SV_INIT("\x0a\x06\x0a\x01t\x12\x02v"),
        SV_INIT("\x0a\x05\x0a\x01t\x12\x00"),
        SV_INIT("\x0a\x05\x0a\x00\x12\x01v"),
        SV_INIT("\x0a\x86\x00\x0a\x01t\x12\x01v"),
        SV_INIT("\x0a\x06\x0a\x01t\x12\x01v\x0a\x06\x0a\x01t\x12\x01v"),
        SV_INIT("\x0a\x06\x0a\x01z\x12\x01v\x0a\x06\x0a\x01t\x12\x01v"),
        SV_INIT("\x0a\x08\x0a\x01t\x12\x01v\x18\x01")};
    for (size_t i = 0; i < ARRAY_LEN(wrong); i++)
        cr_expect(!entry_exemplar_labels_valid(wrong[i]), "%zu", i);
    buf_fini(&b);
}

Test(entry, malformed_exemplars_and_metadata_are_refused) {
    static const char *const bodies[] = {
        "08 01 0c 00 d00f 000000000000f03f 01 78",    /* labels */
        "08 02 0c 00 d00f 000000000000f03f 00",       /* two, of which one is there */
        "08 01 0a 8080808010 00 0000000000000000 00", /* number beyond 32 bits */
        "08 01 0b 00 00 000000000000f03f",            /* cut off */
        "10 01 05 00 02 00 00 00",                    /* no name */
        "10 01 05 01 61 08 00 00",                    /* type 8 */
        "10 02 05 01 61 02 00 00",                    /* count */
        "10 01 06 01 61 02 01 ff 00",                 /* not UTF-8 */
        "10 01 04 01 61 02 05",                       /* cut off */
    };
    struct arena scratch;
    arena_init(&scratch, 0);
    struct entry_write_view v;
    for (size_t i = 0; i < ARRAY_LEN(bodies); i++) {
        struct buf body = hex(bodies[i]);
        cr_expect(entry_write_decode(buf_sv(&body), &scratch, &v, NULL) == ERR_CORRUPT, "%zu", i);
        buf_fini(&body);
    }
    struct buf body = hex("10 01 05 01 61 07 00 00");
    cr_assert(entry_write_decode(buf_sv(&body), &scratch, &v, NULL) == OK && v.metadata_count == 1);
    struct entry_metadata m;
    struct sv rest = v.metadata;
    cr_assert(entry_metadata_next(&rest, &m) && sv_eq(m.name, SV("a")) && m.type == 7);
    cr_assert(!entry_metadata_next(&rest, &m));
    buf_fini(&body);
    arena_fini(&scratch);
}
