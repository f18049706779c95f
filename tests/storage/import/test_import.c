/* SPDX-License-Identifier: Apache-2.0 */
/* The parts of storage/import against bytes that Prometheus wrote, and against its formats by hand;
 * test_prometheus.py compares the whole with the program. */
#include <criterion/criterion.h>
#include <snappy-c.h>
#include <stdio.h>
#include <zstd.h>

#include "storage/import/internal.h"
#include "tests/storage/import/memory_disk.h"

static size_t unhex(const char *hex, uint8_t *out) {
    size_t n = 0;
    for (unsigned byte; sscanf(hex + 2 * n, "%2x", &byte) == 1; n++)
        out[n] = (uint8_t)byte;
    return n;
}

/* promtool 2.42 create-blocks-from openmetrics of a{b="c"} with the samples below */
static const char chunk_hex[] =
    "0007809c8deebe633ff000000000000098754000e032006fffb0018030000000000003e0000000000138803000"
    "4000000000000f80000000002370444ffe0000000000fd1fffffffffff5e41c320040000000003f400";
static const char index_hex[] = "baaad70002000000140000000500085f5f6e616d655f5f016101620163a9bed912"
                                "00000000000000000000000000000011"
                                "020102030401809c8deebe63819bee02088572b0fe00000000000c000000010000"
                                "00010000000206747c4e0000000c0000"
                                "0001000000010000000420d59ba6000000080000000100000003a7692ed2000000"
                                "080000000100000003a7692ed2000000"
                                "080000000100000003a7692ed2000000130000000201085f5f6e616d655f5f4801"
                                "01625c685d63fd0000001d0000000302"
                                "00007002085f5f6e616d655f5f016180010201620163900108e6370b0000000000"
                                "00000500000000000000210000000000"
                                "00004600000000000000a0000000000000007000000000000000bbc8064030";
static const struct {
    int64_t time_ms;
    uint64_t bits;
} samples[] = {{1709244000000, 0x3ff0000000000000}, {1709244015000, 0x3ff0000000000000},
               {1709244030001, 0xbfe0000000000000}, {1709244045000, 0x7ff8000000000001},
               {1709244700000, 0x7ff0000000000000}, {1709250000000, 2024}, /* 1e-320 / 2^-1074 */
               {1709250000001, 0x4008000000000000}};

static size_t pack(const char *bits, uint8_t *out) {
    size_t n = 0;
    for (; *bits != '\0'; bits++) {
        if (*bits == ' ') continue;
        if (n % 8 == 0) out[n / 8] = 0;
        if (*bits == '1') out[n / 8] |= (uint8_t)(0x80 >> n % 8);
        n++;
    }
    return (n + 7) / 8;
}

Test(import, checksums_are_castagnolis) {
    /* RFC 3720, B.4, and the check value of the catalogue of CRCs */
    uint8_t bytes[32] = {0};
    cr_expect_eq(prom_crc32c(0, "123456789", 9), 0xE3069283);
    cr_expect_eq(prom_crc32c(0, bytes, 32), 0x8A9136AA);
    memset(bytes, 0xff, sizeof bytes);
    cr_expect_eq(prom_crc32c(0, bytes, 32), 0x62A8AB43);
    cr_expect_eq(prom_crc32c(prom_crc32c(0, "1234", 4), "56789", 5), 0xE3069283);
}

Test(import, chunk_of_prometheus_is_read) {
    uint8_t bytes[256];
    size_t len = unhex(chunk_hex, bytes);
    struct samples got = {0};
    cr_assert_eq(prom_chunk_decode(bytes, len, &got), OK);
    cr_assert_eq(got.count, ARRAY_LEN(samples));
    for (size_t i = 0; i < got.count; i++) {
        cr_expect_eq(got.times_ms[i], samples[i].time_ms, "time %zu", i);
        cr_expect_eq(f64_bits(got.values[i]), samples[i].bits, "value %zu", i);
    }
    for (size_t cut = 0; cut + 1 < len; cut++) { /* the last byte ends in bits that are not used */
        samples_clear(&got);
        cr_expect_eq(prom_chunk_decode(bytes, cut, &got), ERR_CORRUPT, "%zu bytes", cut);
    }
    samples_fini(&got);
}

/* tsdb/chunkenc/xor.go: a change of n bits is -(2^(n-1) - 1) to 2^(n-1). */
Test(import, largest_changes_of_distance_are_positive) {
    uint8_t bytes[64];
    size_t len = pack("0000000000000100 00000000 " /* 4 samples, time 0 */
                      "0000000000000000000000000000000000000000000000000000000000000000 "
                      "00001010 0 "           /* +10 */
                      "10 10000000000000 0 "  /* +8192: +8202 */
                      "10 10000000000001 0 ", /* -8191: +11 */
                      bytes);
    struct samples got = {0};
    cr_assert_eq(prom_chunk_decode(bytes, len, &got), OK);
    cr_expect_eq(got.times_ms[1], 10);
    cr_expect_eq(got.times_ms[2], 10 + 8202);
    cr_expect_eq(got.times_ms[3], 10 + 8202 + 11);
    samples_fini(&got);
}

/* By the description in Prometheus 3.14's tsdb/chunkenc/xor2.go, bit by bit. */
#define ZEROS_52 "0000000000000000000000000000000000000000000000000000"
static const char xor2_bits[] =
    "0000000000001010 00000000 "            /* 10 samples, no starts */
    "11010000 00001111 "                    /* time 1000 */
    "001111111111 " ZEROS_52 " "            /* 1.0 */
    "10010110 00000001 "                    /* +150 */
    "110 00010 000001 1 "                   /* leading 2, 1 bit: 1.0 ^ 1 << 61 */
    "0 "                                    /* 1300, the same */
    "10 0 1 "                               /* 1450, that bit again: 1.0 */
    "11111 "                                /* 1600, stale */
    "0 "                                    /* 1750: 1.0 */
    "110 1111111111111 0 "                  /* -1: +149, 1899, the same */
    "1110 00000000000000000010 111 "        /* +2: +151, 2050, stale */
    "10 1 01011 000010 11 "                 /* 2201: leading 11, 2 bits: ^ 3 << 51 */
    "11110 " ZEROS_52 "000000000001 10 01"; /* +1: +152, 2353; in that window 01 */

Test(import, xor2_chunks_are_read) {
    uint8_t bytes[128];
    size_t len = pack(xor2_bits, bytes);
    static const int64_t times[] = {1000, 1150, 1300, 1450, 1600, 1750, 1899, 2050, 2201, 2353};
    const uint64_t one = 0x3ff0000000000000, other = one ^ 1ULL << 61, third = one ^ 3ULL << 51;
    const uint64_t want[] = {one, other, other,          one,   STALE_NAN_BITS,
                             one, one,   STALE_NAN_BITS, third, third ^ 1ULL << 51};
    struct samples got = {0};
    struct prom_counts counts = {0};
    cr_assert_eq(prom_chunk_decode_2(bytes, len, &got, &counts), OK);
    cr_assert_eq(got.count, ARRAY_LEN(times));
    for (size_t i = 0; i < got.count; i++) {
        cr_expect_eq(got.times_ms[i], times[i], "time %zu is %lld", i, (long long)got.times_ms[i]);
        cr_expect_eq(f64_bits(got.values[i]), want[i], "value %zu", i);
    }
    for (size_t cut = 0; cut + 1 < len; cut++) {
        samples_clear(&got);
        cr_expect_eq(prom_chunk_decode_2(bytes, cut, &got, &counts), ERR_CORRUPT, "%zu", cut);
    }
    /* the smallest change of 13 bits; a stale marker at first: the last value is 0 */
    len = pack("0000000000000011 00000000 00000000 "
               "0111111111110000000000000000000000000000000000000000000000000010 "
               "10001000 00100111 0 110 1000000000000 0", /* +5000 */
               bytes);
    samples_clear(&got);
    cr_assert_eq(prom_chunk_decode_2(bytes, len, &got, &counts), OK);
    cr_expect(got.times_ms[1] == 5000 && got.times_ms[2] == 5000 + 904);
    cr_expect_eq(f64_bits(got.values[0]), STALE_NAN_BITS);
    cr_expect_eq(f64_bits(got.values[1]), 0);
    /* starts of the first sample, and from the second on */
    len = pack("0000000000000011 10000001 11010000 00001111 001111111111 " ZEROS_52 " 00000010 "
               "10010110 00000001 0 10 011 0 0",
               bytes);
    samples_clear(&got);
    counts.starts = 0;
    cr_assert_eq(prom_chunk_decode_2(bytes, len, &got, &counts), OK);
    cr_expect(got.count == 3 && got.times_ms[2] == 1300 && got.values[2] == 1);
    cr_expect_eq(counts.starts, 3);
    samples_fini(&got);
}

Test(import, chunks_of_no_known_encoding_are_counted) {
    const uint8_t bytes[] = {0, 9, 1, 2, 3};
    struct prom_collect c = {.from_ms = INT64_MIN, .to_ms = INT64_MAX};
    struct prom_counts n = {0};
    struct samples scratch = {0};
    cr_expect_eq(prom_chunk_collect(77, bytes, 5, &scratch, &c, &n), OK);
    cr_expect_eq(n.encodings, 1);
    cr_expect_eq(c.samples.count, 0);
}

Test(import, index_of_prometheus_is_read) {
    uint8_t bytes[512];
    size_t len = unhex(index_hex, bytes);
    struct memory_disk disk = memory_disk(bytes, len);
    struct prom_index index;
    struct err err;
    cr_assert_eq(prom_index_open(&disk.disk, "index", &index, &err), OK, "%s", err.msg);
    cr_assert_eq(index.refs_count, 1);
    struct buf labels = {0};
    struct prom_chunk_places places = {0};
    cr_assert_eq(prom_index_series(&index, index.refs[0], &labels, &places, &err), OK, "%s",
                 err.msg);
    cr_assert(sv_eq(buf_sv(&labels), SV("\x0a\x0d\x0a\x08__name__\x12\x01"
                                        "a\x0a\x06\x0a\x01"
                                        "b\x12\x01"
                                        "c")));
    cr_assert_eq(places.count, 1);
    cr_expect_eq(places.items[0].min_ms, 1709244000000);
    cr_expect_eq(places.items[0].max_ms, 1709250000001);
    cr_expect_eq(places.items[0].ref, 8);
    free(places.items);
    buf_fini(&labels);
    prom_index_close(&index);
}

/* Whatever bit is wrong: an error that names the file and a place, or the same series. */
Test(import, flipped_bits_of_an_index_are_found) {
    uint8_t bytes[512];
    size_t len = unhex(index_hex, bytes);
    unsigned errors = 0;
    for (size_t bit = 0; bit < len * 8; bit++) {
        bytes[bit / 8] ^= (uint8_t)(1u << bit % 8);
        struct memory_disk disk = memory_disk(bytes, len);
        struct prom_index index;
        struct err err = {0};
        struct buf labels = {0};
        struct prom_chunk_places places = {0};
        enum status got = prom_index_open(&disk.disk, "index", &index, &err);
        if (got == OK) {
            got = prom_index_series(&index, index.refs[0], &labels, &places, &err);
            if (got == OK) cr_expect(labels.len == 23 && places.items[0].ref == 8, "bit %zu", bit);
            prom_index_close(&index);
        }
        if (got == ERR_CORRUPT) cr_expect(strstr(err.msg, "memory: at ") != NULL, "%s", err.msg);
        cr_expect(got == OK || got == ERR_CORRUPT || got == ERR_UNSUPPORTED);
        errors += got != OK;
        buf_fini(&labels);
        free(places.items);
        bytes[bit / 8] ^= (uint8_t)(1u << bit % 8);
    }
    cr_expect_gt(errors, 600);
}

/* -- logs */

static void put_fragment(struct buf *to, uint8_t flags, struct sv bytes) {
    uint8_t head[7] = {flags, (uint8_t)(bytes.len >> 8), (uint8_t)bytes.len};
    uint32_t crc = __builtin_bswap32(prom_crc32c(0, bytes.ptr, bytes.len));
    memcpy(head + 3, &crc, 4);
    buf_put(to, head, 7);
    buf_put_sv(to, bytes);
}

struct seen {
    struct buf text;
    unsigned count;
};

static enum status see(void *ctx, struct sv bytes) {
    struct seen *s = ctx;
    s->count++;
    buf_put_sv(&s->text, bytes);
    buf_put_char(&s->text, '|');
    return OK;
}

static enum status read_segment(const struct buf *bytes, bool may_be_torn, struct seen *seen,
                                uint64_t *cut, struct err *err) {
    struct memory_disk disk = memory_disk(bytes->ptr, bytes->len);
    struct prom_file f;
    cr_assert_eq(prom_file_open(&disk.disk, "segment", 4096, &f, err), OK);
    struct prom_record_sink sink = {see, seen};
    *seen = (struct seen){0};
    *cut = 0;
    enum status got = prom_segment_read(&f, may_be_torn, &sink, cut, err);
    prom_file_close(&f);
    return got;
}

enum { FULL = 1, FIRST, MIDDLE, LAST, SNAPPY = 8, ZSTD = 16 };

Test(import, records_are_joined_and_unpacked) {
    struct buf b = {0};
    char packed[256];
    size_t len = sizeof packed;
    cr_assert_eq(snappy_compress("snap", 4, packed, &len), SNAPPY_OK);
    put_fragment(&b, FULL, SV("one"));
    put_fragment(&b, FULL | SNAPPY, sv_make(packed, len));
    len = ZSTD_compress(packed, sizeof packed, "zstd", 4, 3);
    put_fragment(&b, FIRST | ZSTD, sv_make(packed, 3));
    put_fragment(&b, MIDDLE | ZSTD, sv_make(packed + 3, 4));
    put_fragment(&b, LAST | ZSTD, sv_make(packed + 7, len - 7));
    memset(buf_extend(&b, 32768 - b.len), 0, 32768 - b.len); /* the page's rest */
    put_fragment(&b, FULL, SV("two"));
    struct seen seen;
    uint64_t cut;
    struct err err;
    cr_assert_eq(read_segment(&b, false, &seen, &cut, &err), OK, "%s", err.msg);
    cr_expect(sv_eq(buf_sv(&seen.text), SV("one|snap|zstd|two|")), "%.*s",
              SV_ARG(buf_sv(&seen.text)));
    buf_fini(&seen.text);
    buf_fini(&b);
}

Test(import, torn_end_of_the_last_segment_is_cut) {
    struct buf b = {0};
    put_fragment(&b, FULL, SV("kept"));
    size_t whole = b.len;
    put_fragment(&b, FIRST, SV("this record"));
    put_fragment(&b, LAST, SV(" is not whole"));
    size_t all = b.len;
    for (b.len = whole + 1; b.len < all; b.len++) {
        struct seen seen;
        uint64_t cut;
        struct err err = {0};
        cr_assert_eq(read_segment(&b, true, &seen, &cut, &err), OK, "%zu: %s", b.len, err.msg);
        cr_expect_eq(cut, b.len - whole);
        cr_expect_eq(seen.count, 1);
        buf_fini(&seen.text);
        cr_assert_eq(read_segment(&b, false, &seen, &cut, &err), ERR_CORRUPT, "%zu", b.len);
        cr_expect(strstr(err.msg, "memory: at ") != NULL, "%s", err.msg);
        buf_fini(&seen.text);
    }
    buf_fini(&b);
}

Test(import, bad_record_before_good_ones_is_corruption) {
    struct buf b = {0};
    put_fragment(&b, FULL, SV("first"));
    size_t at = b.len;
    put_fragment(&b, FULL, SV("second"));
    put_fragment(&b, FULL, SV("third"));
    b.ptr[at + 8] ^= 1;
    struct seen seen;
    uint64_t cut;
    struct err err;
    cr_assert_eq(read_segment(&b, true, &seen, &cut, &err), ERR_CORRUPT);
    cr_expect_str_eq(err.msg, "memory: at 12: a fragment fails its checksum");
    buf_fini(&seen.text);
    buf_fini(&b);
}

Test(import, fragments_that_cannot_follow_are_corruption) {
    static const uint8_t kinds[][2] = {{FULL, LAST},     {FULL, MIDDLE}, {FIRST, FULL},
                                       {FIRST, FIRST},   {FULL, 5},      {FULL, 7},
                                       {FULL, FULL | 32}};
    for (size_t i = 0; i < ARRAY_LEN(kinds); i++) {
        struct buf b = {0};
        put_fragment(&b, kinds[i][0], SV("first"));
        put_fragment(&b, kinds[i][1], SV("second"));
        struct seen seen;
        uint64_t cut;
        struct err err;
        cr_expect_eq(read_segment(&b, true, &seen, &cut, &err), ERR_CORRUPT, "%zu", i);
        cr_expect_str_eq(err.msg, "memory: at 12: a fragment of another kind than can follow");
        buf_fini(&seen.text);
        buf_fini(&b);
    }
}

/* -- records */

static const struct prom_options options = {.path = "dir", .shards_count = 1};

static enum status record(struct prom_head *head, const char *hex, bool late) {
    uint8_t bytes[512];
    struct sv s = sv_make(bytes, unhex(hex, bytes));
    return late ? prom_head_late_record(head, s) : prom_head_record(head, s);
}

static struct prom_collect collect(struct prom_head *head) {
    struct prom_collect c = {.from_ms = INT64_MIN, .to_ms = INT64_MAX};
    cr_assert_eq(prom_head_collect(head, 0, &c, NULL), OK);
    cr_assert_eq(prom_collect_finish(&c), OK);
    return c;
}

static void expect_samples(struct prom_head *head, size_t count, const int64_t *times_ms,
                           const double *values) {
    struct prom_collect c = collect(head);
    cr_assert_eq(c.samples.count, count, "%zu samples", c.samples.count);
    for (size_t i = 0; i < count; i++) {
        cr_expect_eq(c.samples.times_ms[i], times_ms[i]);
        cr_expect_eq(c.samples.values[i], values[i]);
    }
    prom_collect_fini(&c);
}

#define SERIES_5 "01 0000000000000005 01 01 61 01 62" /* series 5: a="b" */
static const char *squeeze(const char *spaced) {
    static char out[2048];
    size_t n = 0;
    for (; *spaced != '\0'; spaced++)
        if (*spaced != ' ') out[n++] = *spaced;
    out[n] = '\0';
    return out;
}

Test(import, samples_go_to_their_series) {
    struct prom_counts n = {0};
    struct prom_head head;
    prom_head_init(&head, &options, &n, 1000);
    cr_assert_eq(record(&head, squeeze(SERIES_5), false), OK);
    /* first reference 5, first time 1000; (0, 0, 1.0), (0, -1, 2.0: before what is in blocks),
     * (0, +10, 3.0), (0, +10, 4.0: not newer), (+1, 0, 5.0: no such series) */
    cr_assert_eq(record(&head,
                        squeeze("02 0000000000000005 00000000000003e8"
                                "00 00 3ff0000000000000  00 01 4000000000000000"
                                "00 14 4008000000000000  00 14 4010000000000000"
                                "02 00 4014000000000000"),
                        false),
                 OK);
    expect_samples(&head, 2, (int64_t[]){1000, 1010}, (double[]){1, 3});
    cr_expect_eq(n.unknown_samples, 1);
    /* type 11: reference 5, time 1020, start 7, 6.0; same, +10, same start, 7.0; +20, none, 8.0 */
    cr_assert_eq(record(&head,
                        squeeze("0b 0a f80f 0e 4018000000000000  00 14 01 401c000000000000"
                                "00 28 00 4020000000000000"),
                        false),
                 OK);
    expect_samples(&head, 5, (int64_t[]){1000, 1010, 1020, 1030, 1040}, (double[]){1, 3, 6, 7, 8});
    cr_expect_eq(n.starts, 2);
    /* deleted: 1010 to 1025 */
    cr_assert_eq(record(&head, squeeze("03 0000000000000005 e40f 8210"), false), OK);
    prom_intervals_sort(&head.series[0].deleted);
    expect_samples(&head, 3, (int64_t[]){1000, 1030, 1040}, (double[]){1, 7, 8});
    prom_head_fini(&head);
}

Test(import, late_samples_are_not_deleted_and_the_first_of_a_chunk_stays) {
    struct prom_counts n = {0};
    struct prom_head head;
    prom_head_init(&head, &options, &n, 1000);
    cr_assert_eq(record(&head, squeeze(SERIES_5), false), OK);
    cr_assert_eq(record(&head, squeeze("03 0000000000000005 00 e80f"), false), OK); /* 0..1012 */
    prom_intervals_sort(&head.series[0].deleted);
    /* 1000: 1.0, 990: 2.0, 1000 again: 3.0 */
    const char *late = squeeze("02 0000000000000005 00000000000003e8 00 00 3ff0000000000000"
                               "00 13 4000000000000000  00 00 4008000000000000");
    cr_assert_eq(record(&head, late, true), OK);
    expect_samples(&head, 2, (int64_t[]){990, 1000}, (double[]){2, 1});
    /* a chunk is begun, and the one before is not on disk: of both the later one counts */
    cr_assert_eq(record(&head, squeeze("05 0000000000000005 0000000100000008"), true), OK);
    late = squeeze("02 0000000000000005 00000000000003e8 00 00 4010000000000000");
    cr_assert_eq(record(&head, late, true), OK);
    struct prom_collect c = collect(&head);
    cr_expect_eq(c.samples.count, 2);
    cr_expect_eq(c.samples.values[1], 4);
    cr_expect_eq(c.conflicts, 1);
    prom_collect_fini(&c);
    /* the next is: it holds what came since */
    head.chunk_last_place = 0x200000008;
    cr_assert_eq(record(&head, squeeze("05 0000000000000005 0000000200000008"), true), OK);
    expect_samples(&head, 2, (int64_t[]){990, 1000}, (double[]){2, 1});
    prom_head_fini(&head);
}

Test(import, exemplars_and_metadata_are_kept) {
    struct prom_counts n = {0};
    struct prom_head head;
    prom_head_init(&head, &options, &n, INT64_MIN);
    cr_assert_eq(record(&head, squeeze(SERIES_5), false), OK);
    cr_assert_eq(record(&head,
                        squeeze("04 0000000000000005 00000000000003e8"
                                "00 00 3ff0000000000000 01 01 78 01 79"
                                "00 00 4000000000000000 01 01 78 01 7a" /* at the same time */
                                "00 02 4008000000000000 00"
                                "00 01 4010000000000000 00"               /* late: 999 */
                                "00 00 3ff0000000000000 01 01 78 01 79"), /* the same again */
                        false),
                 OK);
    prom_head_sort(&head);
    const struct prom_head_series *s = &head.series[0];
    static const struct {
        int64_t time_ms;
        double value;
        const char *labels;
    } want[] = {{999, 4, ""},
                {1000, 1, "\x0a\x06\x0a\x01x\x12\x01y"},
                {1000, 2, "\x0a\x06\x0a\x01x\x12\x01z"},
                {1001, 3, ""}};
    cr_assert_eq(s->exemplars_count, ARRAY_LEN(want));
    for (size_t i = 0; i < ARRAY_LEN(want); i++) {
        cr_expect_eq(s->exemplars[i].time_ms, want[i].time_ms);
        cr_expect_eq(s->exemplars[i].value, want[i].value);
        cr_expect(sv_eq(s->exemplars[i].labels, sv_from(want[i].labels)));
    }
    /* counter, UNIT=s, an unknown field, HELP=? */
    cr_assert_eq(
        record(&head, squeeze("06 05 01 03 04554e4954 0173 0141 0142 0448454c50 013f"), false), OK);
    cr_expect(s->metadata_at == 1 && s->metadata_type == 1);
    cr_expect(sv_eq(s->unit, SV("s")) && sv_eq(s->help, SV("?")));
    prom_head_fini(&head);
}

/* Histograms as Prometheus 3.14's encoder (tsdb/record) lays them out. */
#define HISTOGRAM "00 02 3ff0000000000000 01 06 4000000000000000 01 0202 01 0001 02 02 04 01 02"
#define FLOAT_HISTOGRAM                                                                            \
    "03 02 3ff0000000000000 3ff0000000000000 4008000000000000 4000000000000000 01 0001 00 01"      \
    "4000000000000000 00"
#define CUSTOM                                                                                     \
    "00 69 0000000000000000 00 03 4000000000000000 01 0001 00 01 06 00 01 3ff0000000000000"

Test(import, histograms_of_logs_are_read) {
    struct prom_counts n = {0};
    struct prom_head head;
    prom_head_init(&head, &options, &n, INT64_MIN);
    cr_assert_eq(record(&head, squeeze(SERIES_5), false), OK);
    cr_assert_eq(
        record(&head,
               squeeze("07 0000000000000005 00000000000003e8 00 00" HISTOGRAM "00 02" HISTOGRAM),
               false),
        OK);
    cr_assert_eq(
        record(&head, squeeze("08 0000000000000005 00000000000003ea 00 00" FLOAT_HISTOGRAM), false),
        OK);
    cr_assert_eq(record(&head, squeeze("09 0000000000000005 00000000000003eb 00 00" CUSTOM), false),
                 OK);
    /* first 5, 1004, no start; then +0, +1, start 2 */
    cr_assert_eq(record(&head, squeeze("0c 0a d80f 00" HISTOGRAM "00 02 02 04" HISTOGRAM), false),
                 OK);
    struct prom_collect c = collect(&head);
    cr_assert_eq(c.samples.count, 6);
    cr_assert(c.samples.histograms != NULL);
    for (int i = 0; i < 6; i++) {
        cr_expect_eq(c.samples.times_ms[i], 1000 + i);
        cr_assert(c.samples.histograms[i] != NULL);
        cr_expect_eq(c.samples.values[i], 2);
    }
    const struct histogram *h = c.samples.histograms[0];
    cr_expect(!h->is_float && h->schema == 1 && h->zero_threshold == 1 && h->zero_count == 1);
    cr_expect(h->count == 6 && h->hint == HISTOGRAM_UNKNOWN);
    cr_assert(h->positive.spans_count == 1 && h->positive.buckets_count == 2);
    cr_expect(h->positive.spans[0].offset == 1 && h->positive.spans[0].length == 2);
    cr_expect(h->positive.deltas[0] == 1 && h->positive.deltas[1] == 2);
    cr_expect(h->negative.buckets_count == 1 && h->negative.deltas[0] == 1);
    h = c.samples.histograms[2];
    cr_expect(h->is_float && h->hint == HISTOGRAM_GAUGE && h->count_float == 3);
    cr_expect(h->zero_count_float == 1 && h->positive.counts[0] == 2);
    h = c.samples.histograms[3];
    cr_expect(h->schema == HISTOGRAM_SCHEMA_CUSTOM && h->bounds_count == 1 && h->bounds[0] == 1);
    cr_expect_eq(n.histograms, 0);
    cr_expect_eq(n.starts, 1);
    prom_collect_fini(&c);
    /* a schema that is not known, and a type */
    cr_assert_eq(record(&head,
                        squeeze("07 0000000000000005 00000000000007e8 00 00"
                                "00 c801 3ff0000000000000 01 01 4000000000000000 00 00 00 00"),
                        false),
                 OK);
    cr_expect_eq(n.histograms, 1);
    cr_assert_eq(record(&head, squeeze("63 00"), false), OK);
    cr_expect_eq(n.records, 1);
    prom_head_fini(&head);
}

Test(import, malformed_records_are_corrupt) {
    struct prom_counts n = {0};
    struct prom_head head;
    prom_head_init(&head, &options, &n, INT64_MIN);
    static const char *const bad[] = {"01 00000000000005",
                                      "01 0000000000000005 02 01 61 01 62",
                                      "02 0000000000000005 00000000000003e8 00 00 3ff0",
                                      "02 0000000000000005",
                                      "03 0000000000000005 00",
                                      "06 05 01 03 04554e4954",
                                      "05 0000000000000005 00",
                                      "07 0000000000000005 00000000000003e8 00 00 00",
                                      "01 0000000000000005 02 0161 0162 0161 0163"};
    for (size_t i = 0; i < ARRAY_LEN(bad); i++)
        cr_expect_eq(record(&head, squeeze(bad[i]), false), ERR_CORRUPT, "%s", bad[i]);
    prom_head_fini(&head);
}

/* -- the rest of a block */

Test(import, tombstones_are_joined) {
    /* by tsdb/docs/format/tombstones.md; Go's varints are zigzag */
    uint8_t bytes[64];
    size_t len = unhex(squeeze("0130ba30 01 05 14 28  03 00 02  05 28 3c  05 c801 d001"), bytes);
    uint32_t crc = __builtin_bswap32(prom_crc32c(0, bytes + 5, len - 5));
    memcpy(bytes + len, &crc, 4);
    struct memory_disk disk = memory_disk(bytes, len + 4);
    struct prom_intervals list;
    struct err err;
    cr_assert_eq(prom_tombstones_read(&disk.disk, "tombstones", &list, &err), OK, "%s", err.msg);
    size_t count;
    const struct prom_interval *of = prom_intervals_of(&list, 5, &count);
    cr_assert_eq(count, 2);
    cr_expect(of[0].min_ms == 10 && of[0].max_ms == 30);
    cr_expect(of[1].min_ms == 100 && of[1].max_ms == 104);
    prom_intervals_of(&list, 4, &count);
    cr_expect_eq(count, 0);
    prom_intervals_fini(&list);
    bytes[7] ^= 1;
    cr_expect_eq(prom_tombstones_read(&disk.disk, "tombstones", &list, &err), ERR_CORRUPT);
    cr_expect(strstr(err.msg, "memory: at ") != NULL, "%s", err.msg);
}

Test(import, meta_is_read) {
    struct prom_block block = {0};
    struct err err;
    cr_assert_eq(
        prom_meta_parse(
            SV("{\"ulid\":\"01M812TKZ4HE90MWEZV5HM55W8\",\"minTime\":1709222400000,"
               "\"maxTime\":1709229600000,\"stats\":{\"numSamples\":3},\"compaction\":{\"level\":1,"
               "\"parents\":[{\"ulid\":\"01M812TJ94M7YVNHFMERBGC8XK\",\"minTime\":0,\"maxTime\":1}"
               "],\"hints\":[\"from-out-of-order\"]},\"version\":1}"),
            &block, &err),
        OK, "%s", err.msg);
    cr_expect_str_eq(block.ulid, "01M812TKZ4HE90MWEZV5HM55W8");
    cr_expect(block.min_ms == 1709222400000 && block.max_ms == 1709229600000);
    cr_expect(!block.in_order && !block.deletable);
    cr_assert_eq(block.parents_count, 1);
    cr_expect_str_eq(block.parents[0], "01M812TJ94M7YVNHFMERBGC8XK");
    prom_block_fini(&block);
    cr_expect_eq(prom_meta_parse(SV("{\"version\":1}"), &block, &err), ERR_CORRUPT);
    prom_block_fini(&block);
    cr_expect_eq(prom_meta_parse(SV("{"), &block, &err), ERR_CORRUPT);
    prom_block_fini(&block);
}

Test(import, of_equal_times_the_last_added_stays) {
    struct prom_interval deleted[] = {{0, 3, 4}, {0, 7, 7}};
    struct prom_collect c = {.from_ms = 1, .to_ms = 9, .deleted = deleted, .deleted_count = 2};
    struct samples first = {.times_ms = (int64_t[]){0, 2, 3, 4, 5, 7, 9, 10},
                            .values = (double[]){0, 2, 3, 4, 5, 7, 9, 10},
                            .count = 8};
    struct samples second = {
        .times_ms = (int64_t[]){1, 2, 5, 8}, .values = (double[]){1, 20, 5, 8}, .count = 4};
    cr_assert_eq(prom_collect_add(&c, &first), OK);
    cr_assert_eq(prom_collect_add(&c, &second), OK);
    cr_assert_eq(prom_collect_finish(&c), OK);
    static const int64_t times[] = {1, 2, 5, 8, 9};
    static const double values[] = {1, 20, 5, 8, 9};
    cr_assert_eq(c.samples.count, ARRAY_LEN(times));
    for (size_t i = 0; i < c.samples.count; i++)
        cr_expect(c.samples.times_ms[i] == times[i] && c.samples.values[i] == values[i], "%zu", i);
    cr_expect_eq(c.conflicts, 1);
    prom_collect_fini(&c);
}
