/* SPDX-License-Identifier: Apache-2.0 */
#include <criterion/criterion.h>
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "node/base/bytes.h"
#include "node/base/hash.h"
#include "node/base/rng.h"
#include "storage/entry.h"
#include "storage/log_pack.h"
#include "tests/storage/log_rig.h"

enum { HEADER = 32, FRAME_HEADER = 24 };

/* -- the codec */

static void put_floats(struct buf *out, struct entry e, const uint32_t *numbers,
                       const int64_t *times_ms, const double *values, size_t count) {
    struct entry_write w = {0};
    struct buf body = {0};
    for (size_t i = 0; i < count; i++)
        cr_assert(entry_write_float(&w, numbers[i], times_ms[i], values[i]) == OK);
    entry_write_finish(&w, &body);
    e.type = ENTRY_WRITE;
    e.body = buf_sv(&body);
    entry_put(&e, out);
    entry_write_fini(&w);
    buf_fini(&body);
}

static void raw_frame(struct buf *frame, struct buf *raw) {
    buf_put_u32(raw, (uint32_t)frame->len);
    buf_put_sv(raw, buf_sv(frame));
    buf_clear(frame);
}

static void pack_frame(struct log_pack *p, struct buf *frame, struct buf *raw) {
    struct err err;
    cr_assert(log_pack_add(p, buf_sv(frame), &err) == OK, "%s", err.msg);
    raw_frame(frame, raw);
}

/* The entries of log_pack_reference.py, which said the bytes. */
static void put_golden(struct buf *frame, unsigned row) {
    static const uint32_t numbers[] = {0, 1};
    static const double rows[][2] = {{1, 2.5},      {1, 3.5},       {4097, 4.5}, {12289, 0.3},
                                     {12290, 4.25}, {12034, 1e300}, {12034, 7.5}};
    static const uint64_t odd[] = {0x3fd3333333333334, 0x3fd3333333333335, 0x3fd3333333333335,
                                   0xc01d000000000000, 0x7ff0000000000002, 0x7ff0000000000003,
                                   0x7ff0000000000003};
    const int64_t time_ms = 1000 + 15 * (int64_t)row, times[] = {time_ms, time_ms};
    double values[] = {rows[row][0], rows[row][1]}, value = f64_from_bits(odd[row]);
    if (values[1] == 0.3) values[1] = f64_from_bits(f64_bits(0.3) + 1); /* 0.1 + 0.2 */
    struct entry_write w = {0};
    struct buf body = {0};
    if (row == 0) entry_write_series(&w, SV("hi"));
    for (size_t i = 0; i < 2; i++)
        cr_assert(entry_write_float(&w, numbers[i], times[i], values[i]) == OK);
    if (row == 6) {
        entry_cut_put(1000, 2000, &body);
        entry_put(&(struct entry){ENTRY_CUT, 3, 1, 1, 8, buf_sv(&body)}, frame);
        buf_clear(&body);
    }
    entry_write_finish(&w, &body);
    uint64_t seq = row < 6 ? row + 1 : 9;
    entry_put(&(struct entry){ENTRY_WRITE, 3, 1, 1, seq, buf_sv(&body)}, frame);
    entry_write_fini(&w);
    buf_fini(&body);
    put_floats(frame, (struct entry){0, 5, 1, 1, row + 1, {0}}, numbers, times, &value, 1);
    if (row == 5) entry_put(&(struct entry){ENTRY_FLOOR, 3, 1, 1, 7, SV("\xaa\xbb")}, frame);
}

Test(log_pack, golden_pack) {
    static const uint8_t want[] = {
        0x00, 0x02, 0xe6, 0x02, 0x07, 0x07, 0x07, 0x02, 0x02, 0x02, 0x02, 0x02, 0x03, 0x03, 0x10,
        0x10, 0x17, 0x03, 0x05, 0x00, 0x04, 0x00, 0x04, 0x00, 0x04, 0x00, 0x04, 0x00, 0x80, 0x80,
        0x06, 0x00, 0x14, 0x14, 0x03, 0x02, 0x00, 0x00, 0x01, 0x01, 0x01, 0x05, 0x01, 0x00, 0x01,
        0x01, 0x01, 0x03, 0x02, 0x00, 0x00, 0x01, 0x01, 0x09, 0x08, 0x08, 0xd0, 0x0f, 0x1e, 0x1e,
        0x1e, 0x1e, 0x1e, 0x1e, 0x05, 0x05, 0x04, 0x01, 0x02, 0x68, 0x69, 0x3c, 0x3c, 0x00, 0xc0,
        0x2c, 0x72, 0x1b, 0x44, 0x5d, 0x4b, 0x6b, 0x8a, 0x64, 0xdf, 0xf4, 0x36, 0x81, 0x59, 0x98,
        0xa0, 0x24, 0x0f, 0x77, 0xe5, 0x29, 0x4d, 0x24, 0x0d, 0xf2, 0x44, 0x1d, 0x2f, 0x6c, 0x93,
        0x0c, 0x00, 0x00, 0x00, 0x00, 0x0f, 0xcc, 0xb9, 0x4e, 0x84, 0x76, 0xd6, 0x18, 0x84, 0x71,
        0x15, 0xdc, 0x0c, 0x89, 0xca, 0x04, 0xf7, 0x5b, 0x4b, 0x72, 0x9a, 0x93, 0x00, 0x14, 0x14,
        0x08, 0x04, 0x03, 0x01, 0x01, 0x07, 0x02, 0xaa, 0xbb, 0x0a, 0x02, 0x03, 0x01, 0x01, 0x08,
        0x04, 0xd0, 0x0f, 0xa0, 0x1f,
    };
    struct log_pack *in = log_pack_new(), *back = log_pack_new();
    struct buf frame = {0}, raw = {0};
    for (unsigned row = 0; row < 7; row++) {
        put_golden(&frame, row);
        pack_frame(in, &frame, &raw);
    }
    struct sv got, out;
    uint32_t frames;
    cr_assert(log_pack_finish(in, &got, NULL) == OK);
    for (size_t i = 0; i < MIN(got.len, sizeof want); i++)
        cr_assert((uint8_t)got.ptr[i] == want[i], "byte %zu: %02x, and should be %02x", i,
                  (unsigned)(uint8_t)got.ptr[i], (unsigned)want[i]);
    cr_assert(got.len == sizeof want);
    cr_assert(log_unpack(back, got, &out, &frames, NULL) == OK && frames == 7);
    cr_assert(sv_eq(out, buf_sv(&raw)));
    log_pack_free(in);
    log_pack_free(back);
    buf_fini(&frame);
    buf_fini(&raw);
}

/* By hand, from the head of storage/log_pack.h. Nothing so short is smaller by zstd. */
static const uint8_t pack_1[] = {
    0x68, 2,                                /* bytes, frames */
    2,    2,  2,    3,                      /* FRAMES */
    5,    5,  7,    3,    5,    0,    0x80, /* OPS */
    17,   17, 3,    2,    0,    1,    1,    1,    1,    5,    1,
    0,    1,  1,    1,    3,    2,    0,    1,                      /* PLACES */
    3,    3,  0xd0, 0x0f, 30,                                       /* TIMES: 1000, 15 */
    6,    6,  1,    2,    24,   0,    2,    17,                     /* CONTROLS */
    3,    3,  2,    50,   20,                                       /* DELTAS: 1, 2.5, 1.0 */
    9,    9,  0x34, 0x33, 0x33, 0x33, 0x33, 0x33, 0xd3, 0x3f, 1,    /* BYTES */
    9,    9,  8,    4,    3,    1,    1,    3,    2,    0xaa, 0xbb, /* LITERALS */
};

Test(log_pack, golden_pack_of_format_1) {
    static const uint32_t numbers[] = {0, 1};
    const int64_t first[] = {1000, 1000}, second[] = {1015, 1015};
    const double odd = f64_from_bits(0x3fd3333333333334), odder = f64_from_bits(0x3fd3333333333335);
    struct log_pack *back = log_pack_new();
    struct buf frame = {0}, raw = {0};
    put_floats(&frame, (struct entry){0, 3, 1, 1, 1, {0}}, numbers, first, (double[]){1, 2.5}, 2);
    put_floats(&frame, (struct entry){0, 5, 1, 1, 1, {0}}, numbers, first, &odd, 1);
    cr_assert(frame.len == 48);
    raw_frame(&frame, &raw);
    put_floats(&frame, (struct entry){0, 3, 1, 1, 2, {0}}, numbers, second, (double[]){1, 3.5}, 2);
    put_floats(&frame, (struct entry){0, 5, 1, 1, 2, {0}}, numbers, second, &odder, 1);
    entry_put(&(struct entry){ENTRY_FLOOR, 3, 1, 1, 3, SV("\xaa\xbb")}, &frame);
    raw_frame(&frame, &raw);
    struct sv out, pack = sv_make(pack_1, sizeof pack_1);
    uint32_t frames;
    cr_assert(log_unpack(back, pack, &out, &frames, NULL) == OK && frames == 2);
    cr_assert(sv_eq(out, buf_sv(&raw)));
    log_pack_free(back);
    buf_fini(&frame);
    buf_fini(&raw);
}

struct source { /* of entries much like a log's, and some unlike them */
    struct rng rng;
    uint64_t seqs[6];
    double values[6][40];
    int64_t time_ms;
};

static double next_value(struct source *s, double v) {
    switch (rng_below(&s->rng, 16)) {
    case 0: return v + 1;
    case 1: return v + 15;
    case 2: return round(v * 100) / 100 + 0.25;
    case 3: return v * 1.0000001;
    case 4: return f64_from_bits(rng_u64(&s->rng));
    case 5: return -v;
    case 6: return f64_from_bits(0x7ff0000000000002); /* a stale marker */
    case 7: return (double)rng_u64(&s->rng);
    case 8: return v + 0.1; /* some ulps beside a decimal */
    case 9: return v + 4096 * (double)rng_below(&s->rng, 9) - 4096 * 4;
    default: return v;
    }
}

static void put_new_series(struct source *s, struct buf *out) {
    static const char text[] =
        "any bytes do for a name, up to those that are many: "
        "0123456789012345678901234567890123456789012345678901234567890123456789";
    uint32_t shard = (uint32_t)rng_below(&s->rng, 5);
    struct entry_write w = {0};
    struct buf body = {0};
    for (uint64_t i = rng_below(&s->rng, 4); i < 4; i++)
        entry_write_series(&w, sv_make(text, 1 + (size_t)rng_below(&s->rng, sizeof text - 1)));
    for (uint32_t i = 0; i < 3; i++)
        cr_assert(entry_write_float(&w, i, s->time_ms, (double)rng_below(&s->rng, 9)) == OK);
    if (rng_below(&s->rng, 4) == 0) cr_assert(entry_write_start(&w, s->time_ms) == OK);
    entry_write_finish(&w, &body);
    entry_put(&(struct entry){ENTRY_WRITE, shard, 1, 1, ++s->seqs[shard], buf_sv(&body)}, out);
    entry_write_fini(&w);
    buf_fini(&body);
}

static void put_any(struct source *s, struct buf *out) {
    uint32_t shard = (uint32_t)rng_below(&s->rng, 6), numbers[40];
    struct entry e = {.shard = shard * (shard == 5 ? 1000000 : 1), .incarnation = 1, .epoch = 1};
    int64_t times[40];
    double values[40];
    size_t first = (size_t)rng_below(&s->rng, 30), count = 1 + (size_t)rng_below(&s->rng, 8);
    bool steps = rng_below(&s->rng, 8) == 0;
    s->seqs[shard] += 1 + (rng_below(&s->rng, 30) == 0 ? rng_u64(&s->rng) >> 8 : 0);
    e.seq = s->seqs[shard];
    if (rng_below(&s->rng, 40) == 0) e.epoch = (uint32_t)rng_u64(&s->rng);
    if (rng_below(&s->rng, 4) == 0) s->time_ms += (int64_t)rng_below(&s->rng, 20000) - 100;
    if (rng_below(&s->rng, 100) == 0) s->time_ms = (int64_t)rng_u64(&s->rng);
    for (size_t i = 0; i < count; i++) {
        numbers[i] = (uint32_t)(rng_below(&s->rng, 50) == 0 ? first : first + i);
        times[i] = (int64_t)((uint64_t)s->time_ms + (steps ? rng_below(&s->rng, 3) : 0));
        values[i] = s->values[shard][numbers[i]] = next_value(s, s->values[shard][numbers[i]]);
    }
    size_t at = out->len;
    put_floats(out, e, numbers, times, values, count);
    switch (rng_below(&s->rng, 24)) {
    case 0: /* the same, with a varint that is longer than it must be: the shard's */
        if (shard == 5) break;
        buf_put_u8(out, 0);
        memmove(out->ptr + at + 3, out->ptr + at + 2, out->len - at - 3);
        out->ptr[at + 1] = (char)(out->ptr[at + 1] | 0x80);
        out->ptr[at + 2] = 0;
        break;
    case 1: entry_put(&(struct entry){ENTRY_CUT, 1, 1, 1, 9, SV("what")}, out); break;
    case 2: entry_put(&(struct entry){ENTRY_WRITE, 1, 1, 1, 9, SV("")}, out); break;
    case 4: put_new_series(s, out); break;
    case 5: entry_put(&(struct entry){ENTRY_EPOCH, shard, 1, 1, 0, SV("")}, out); break;
    case 3: entry_put(&(struct entry){ENTRY_OFFER, 1, 1, 1, 9, SV("\2\1\0\0")}, out); break;
    default: break;
    }
}

/* Every frame comes back byte by byte, pack after pack. */
Test(log_pack, any_frames_come_back_alike) {
    for (uint64_t seed = 1; seed <= 200; seed++) {
        struct source s = {0};
        rng_init(&s.rng, seed);
        struct log_pack *in = log_pack_new(), *back = log_pack_new();
        struct buf frame = {0}, raw = {0};
        for (unsigned pack = 0; pack < 6; pack++) {
            struct sv got, out;
            struct err err;
            uint32_t frames, count = 1 + (uint32_t)rng_below(&s.rng, 5);
            buf_clear(&raw);
            for (uint32_t i = 0; i < count; i++) {
                for (uint64_t k = rng_below(&s.rng, 60) + 1; k > 0; k--)
                    put_any(&s, &frame);
                pack_frame(in, &frame, &raw);
            }
            cr_assert(log_pack_finish(in, &got, &err) == OK, "%s", err.msg);
            cr_assert(log_unpack(back, got, &out, &frames, &err) == OK, "seed %" PRIu64 ": %s",
                      seed, err.msg);
            cr_assert(frames == count && sv_eq(out, buf_sv(&raw)), "seed %" PRIu64, seed);
        }
        log_pack_free(in);
        log_pack_free(back);
        buf_fini(&frame);
        buf_fini(&raw);
    }
}

/* 120 scrapes of 300 series over 100 shards, of which a third count on by steps of their own. */
Test(log_pack, what_repeats_itself_takes_next_to_nothing) {
    struct log_pack *in = log_pack_new();
    struct buf frame = {0}, raw = {0};
    static const uint32_t numbers[] = {0, 1, 2};
    for (unsigned scrape = 0; scrape < 120; scrape++) {
        for (uint32_t shard = 0; shard < 100; shard++) {
            int64_t t = 1700000000000 + scrape * 15000, times[] = {t, t, t};
            double values[] = {1, shard, (double)scrape * shard / 4};
            put_floats(&frame, (struct entry){0, shard, 1, 1, scrape + 1, {0}}, numbers, times,
                       values, 3);
        }
        pack_frame(in, &frame, &raw);
    }
    struct sv got;
    cr_assert(log_pack_finish(in, &got, NULL) == OK);
    cr_assert(got.len < 36000 / 20, "%zu bytes of %zu for 36000 samples", got.len, raw.len);
    log_pack_free(in);
    buf_fini(&frame);
    buf_fini(&raw);
}

/* Nothing is as expected: short entries whose times jump far, or of which nothing is known. */
Test(log_pack, the_worst_entries_come_back_alike) {
    for (unsigned kind = 0; kind < 2; kind++) {
        struct log_pack *in = log_pack_new(), *back = log_pack_new();
        struct buf frame = {0}, raw = {0};
        for (uint32_t i = 0; i < 500; i++) {
            int64_t times[] = {i % 2 == 0 ? INT64_MIN / 3 : 0};
            struct entry e = {0, i % 100, i % 3, i % 5, i % 100 + 1, {0}};
            if (kind == 0)
                put_floats(&frame, e, &(uint32_t){i % 90}, times, &(double){1.0 / (i + 3)}, 1);
            else
                entry_put(&(struct entry){ENTRY_WRITE, 1, 1, 1, 1, SV("")}, &frame);
        }
        pack_frame(in, &frame, &raw);
        struct sv got, out;
        uint32_t frames;
        struct err err;
        cr_assert(log_pack_finish(in, &got, &err) == OK);
        cr_assert(log_unpack(back, got, &out, &frames, &err) == OK, "kind %u: %s", kind, err.msg);
        cr_assert(frames == 1 && sv_eq(out, buf_sv(&raw)));
        log_pack_free(in);
        log_pack_free(back);
        buf_fini(&frame);
        buf_fini(&raw);
    }
}

/* Behind a checksum this is a bug or a bad memory, and must be an error all the same. */
Test(log_pack, flipped_and_short_packs_end) {
    struct source s = {0};
    rng_init(&s.rng, 7);
    struct log_pack *in = log_pack_new();
    struct buf frame = {0}, raw = {0};
    for (unsigned i = 0; i < 3; i++) {
        for (unsigned k = 0; k < 12; k++)
            put_any(&s, &frame);
        pack_frame(in, &frame, &raw);
    }
    struct sv got, out;
    uint32_t frames;
    cr_assert(log_pack_finish(in, &got, NULL) == OK);
    for (size_t len = 0; len < got.len; len++) {
        struct log_pack *back = log_pack_new();
        cr_assert(log_unpack(back, sv_take(got, len), &out, &frames, NULL) == ERR_CORRUPT);
        log_pack_free(back);
    }
    struct buf flipped = {0};
    buf_put_sv(&flipped, got);
    for (size_t bit = 0; bit < got.len * 8; bit++) {
        flipped.ptr[bit / 8] = (char)(flipped.ptr[bit / 8] ^ 1 << bit % 8);
        struct log_pack *back = log_pack_new();
        enum status status = log_unpack(back, buf_sv(&flipped), &out, &frames, NULL);
        cr_assert(status == ERR_CORRUPT || (status == OK && out.len > 0), "bit %zu: %d", bit,
                  (int)status);
        log_pack_free(back);
        flipped.ptr[bit / 8] = (char)(flipped.ptr[bit / 8] ^ 1 << bit % 8);
    }
    log_pack_free(in);
    buf_fini(&flipped);
    buf_fini(&frame);
    buf_fini(&raw);
}

/* -- files */

static struct rig rig;

static uint64_t pack_all(bool last) {
    const bool canceled = false;
    bool more = true;
    uint64_t bytes, saved = 0;
    struct err err;
    for (; more; saved += bytes)
        cr_assert(log_pack_closed(rig.log, &canceled, last, &more, &bytes, &err) == OK, "%s",
                  err.msg);
    return saved;
}

static uint64_t bytes_of_files(unsigned *out_packed) {
    uint64_t firsts[64], bytes = 0;
    size_t n = rig_files(&rig, firsts, 64);
    *out_packed = 0;
    for (size_t i = 0; i < n; i++) {
        struct buf file = rig_file_read(&rig, firsts[i]);
        *out_packed += get_u32le(file.ptr + 12) == 2;
        bytes += file.len;
        buf_fini(&file);
    }
    return bytes;
}

static void go_on(void) {
    rig_append_to_all(&rig);
    rig_power_cut(&rig);
    rig_must_start(&rig);
}

Test(log_pack, closed_files_are_packed_and_recovered) {
    rig_make_log(&rig, 60, 1000);
    unsigned packed;
    uint64_t firsts[64], before = bytes_of_files(&packed);
    size_t n = rig_files(&rig, firsts, 64);
    cr_assert(n > 4 && packed == 0);
    uint64_t saved = pack_all(false);
    cr_assert(bytes_of_files(&packed) == before - saved && packed == n - 1, "%u of %zu", packed, n);
    cr_assert(pack_all(false) == 0); /* once */
    rig_power_cut(&rig);
    rig_must_start(&rig);
    cr_assert(!rig.damaged && rig.recovered_count == 120);
    go_on();
    pack_all(false);
    rig_power_cut(&rig);
    rig_must_start(&rig);
    cr_assert(rig.recovered_count == 128);
    rig_fini(&rig);
}

Test(log_pack, the_last_file_is_packed_when_nothing_comes_any_more) {
    rig_make_log(&rig, 30, 1000);
    for (unsigned start = 0; start < 3; start++) {
        core_set_current(rig.rt->log_core);
        cr_assert(log_stop(rig.log, NULL) == OK);
        core_set_current(NULL);
        pack_all(true);
        unsigned packed;
        uint64_t firsts[64];
        bytes_of_files(&packed);
        cr_assert(packed + (start > 0) >= rig_files(&rig, firsts, 64), "%u", packed);
        rig_power_cut(&rig);
        rig_must_start(&rig);
        cr_assert(!rig.damaged && rig.recovered_count == 60 + start * RIG_SHARDS);
        if (start < 2) go_on();
    }
    rig_fini(&rig);
}

/* Sums computed with XXH3_64bits_withSeed of libxxhash, apart from this code: they are checked. */
Test(log_pack, a_packed_file_is_laid_out_as_the_header_says) {
    rig_make_log(&rig, 20, 600);
    uint64_t firsts[64];
    rig_files(&rig, firsts, 64);
    pack_all(false);
    struct buf file = rig_file_read(&rig, 1);
    const uint8_t *p = (const uint8_t *)file.ptr, *end = p + file.len - FRAME_HEADER;
    cr_assert(memcmp(p, "CAIRNLOG\3\0\3\0\2\0\0\0\1\0\0\0\0\0\0\0", 24) == 0);
    cr_assert(get_u64le(p + 24) == hash64(p, 24, 0));
    p += HEADER;
    cr_assert(memcmp(p, "PACK", 4) == 0 && get_u64le(p + 8) == 1);
    size_t len = get_u32le(p + 4);
    cr_assert(p + FRAME_HEADER + len == end);
    cr_assert(get_u64le(p + 16) == hash64(p + FRAME_HEADER, len, hash64(p, 16, 0)));
    cr_assert(memcmp(end, "PEND\0\0\0\0", 8) == 0 && get_u64le(end + 8) == firsts[1]);
    cr_assert(get_u64le(end + 16) == hash64(end, 0, hash64(end, 16, 0)));
    buf_fini(&file);
    rig_fini(&rig);
}

static enum status entry_count(void *ctx, const struct entry *e, struct err *err) {
    (void)err;
    *(uint64_t *)ctx += e->seq;
    return OK;
}

static void put_header(struct buf *file, uint32_t magic, uint64_t number, struct sv payload) {
    size_t at = file->len;
    buf_put_u32(file, magic);
    buf_put_u32(file, (uint32_t)payload.len);
    buf_put_u64(file, number);
    buf_put_u64(file, hash64(payload.ptr, payload.len, hash64(file->ptr + at, 16, 0)));
    buf_put_sv(file, payload);
}

/* As older builds left it: version 2, and packs of format 1. */
Test(log_pack, a_file_of_version_2_is_read) {
    rig_make_log(&rig, 1, 1 << 20);
    rig_kill(&rig);
    struct buf file = {0};
    buf_put(&file, "CAIRNLOG\2\0\2\0\2\0\0\0\1\0\0\0\0\0\0\0", 24);
    buf_put_u64(&file, hash64(file.ptr, 24, 0));
    put_header(&file, 0x4b434150, 1, sv_make(pack_1, sizeof pack_1));
    put_header(&file, 0x444e4550, 3, SV(""));
    rig_file_write(&rig, 1, buf_sv(&file));
    uint64_t seqs = 0;
    struct log_look look = {.apply = entry_count, .ctx = &seqs};
    struct err err;
    cr_assert(log_look(sim_disk_as_disk(rig.sd), rig.options.dir, &look, &err) == OK, "%s",
              err.msg);
    cr_assert(look.files == 1 && look.frames == 2 && seqs == 1 + 1 + 2 + 2 + 3, "%s", err.msg);
    buf_fini(&file);
    rig_fini(&rig);
}

/* Whatever is flipped or missing: it is named, what is behind it in other files is there. */
Test(log_pack, a_damaged_packed_file_is_named) {
    rig_make_log(&rig, 24, 600);
    rig.allow_gaps = true;
    pack_all(false);
    rig_kill(&rig);
    uint64_t firsts[64];
    size_t n = rig_files(&rig, firsts, 64);
    cr_assert(n > 3);
    struct buf file = rig_file_read(&rig, firsts[1]), bad = {0};
    for (size_t bit = 0; bit < file.len * 8; bit += 3) {
        buf_clear(&bad);
        buf_put_sv(&bad, buf_sv(&file));
        bad.ptr[bit / 8] = (char)(bad.ptr[bit / 8] ^ 1 << bit % 8);
        rig_file_write(&rig, firsts[1], buf_sv(&bad));
        cr_assert(rig_start(&rig) == OK, "%s", rig.damage.msg);
        bool of_end = bit / 8 >= file.len - FRAME_HEADER; /* the next file says it, too */
        cr_assert(rig.damaged != of_end, "bit %zu", bit);
        if (rig.damaged) {
            cr_assert(strstr(rig.damage.msg, "log-") != NULL && rig.gaps_count > 0, "bit %zu", bit);
            uint64_t lost = (firsts[2] - firsts[1]) * 2;
            cr_assert(rig.recovered_count == 48 - lost, "%u", rig.recovered_count);
        }
        rig_kill(&rig);
    }
    for (size_t len = HEADER; len < file.len - FRAME_HEADER; len += 5) {
        rig_file_write(&rig, firsts[1], sv_take(buf_sv(&file), len));
        cr_assert(rig_start(&rig) == OK && rig.damaged, "at %zu", len);
        rig_kill(&rig);
    }
    buf_fini(&bad);
    buf_fini(&file);
    rig_fini(&rig);
}

/* The newest one, of which no other file says where it ended. */
Test(log_pack, a_damaged_last_file_is_told_at_every_start) {
    rig_make_log(&rig, 8, 1 << 20);
    rig.allow_gaps = true;
    core_set_current(rig.rt->log_core);
    cr_assert(log_stop(rig.log, NULL) == OK);
    core_set_current(NULL);
    pack_all(true);
    rig_kill(&rig);
    struct buf file = rig_file_read(&rig, 1);
    for (size_t at = HEADER; at < file.len; at++) {
        uint64_t firsts[8];
        size_t n = rig_files(&rig, firsts, 8);
        for (size_t i = 0; i < n; i++)
            rig_file_remove(&rig, firsts[i]);
        file.ptr[at] = (char)(file.ptr[at] ^ 4);
        rig_file_write(&rig, 1, buf_sv(&file));
        file.ptr[at] = (char)(file.ptr[at] ^ 4);
        for (unsigned start = 0; start < 2; start++) {
            cr_assert(rig_start(&rig) == OK && rig.damaged, "byte %zu, start %u", at, start);
            bool of_end = at >= file.len - FRAME_HEADER;
            cr_assert(rig.recovered_count == (of_end ? 16 : 0), "byte %zu", at);
            rig_kill(&rig);
        }
    }
    buf_fini(&file);
    rig_fini(&rig);
}

/* A damaged file is left as it is, a reader goes on in what it opened, and reads what is packed. */
static unsigned read_all(struct log_reader *r, unsigned max) {
    struct entry e;
    struct sv bytes;
    struct err err;
    unsigned count = 0;
    bool end = false;
    while (count < max) {
        cr_assert(log_reader_next(r, &e, &bytes, &end, &err) == OK, "%s", err.msg);
        if (end) break;
        count++;
    }
    return count;
}

Test(log_pack, readers_do_not_see_the_difference) {
    rig_make_log(&rig, 40, 800);
    struct log_reader *open = log_reader_new(rig.log, 0), *after;
    cr_assert(read_all(open, 5) == 5);
    cr_assert(pack_all(false) > 0);
    after = log_reader_new(rig.log, 0);
    cr_assert(read_all(open, UINT32_MAX) == 75);
    cr_assert(read_all(after, UINT32_MAX) == 80);
    log_reader_free(open);
    log_reader_free(after);
    rig_fini(&rig);
}

Test(log_pack, a_reader_names_a_bad_pack) {
    rig_make_log(&rig, 24, 600);
    pack_all(false);
    struct buf file = rig_file_read(&rig, 1);
    file.ptr[HEADER + FRAME_HEADER + 5] = (char)(file.ptr[HEADER + FRAME_HEADER + 5] ^ 1);
    rig_file_write(&rig, 1, buf_sv(&file));
    struct log_reader *r = log_reader_new(rig.log, 0);
    struct entry e;
    struct sv bytes;
    struct err err;
    bool end;
    cr_assert(log_reader_next(r, &e, &bytes, &end, &err) == ERR_CORRUPT);
    cr_assert(strstr(err.msg, "log-0000000000000001: offset 32: bad frame, 1 ") != NULL, "%s",
              err.msg);
    log_reader_free(r);
    /* Recovery reports it as lost, and then it is passed over. */
    rig.allow_gaps = true;
    rig_kill(&rig);
    cr_assert(rig_start(&rig) == OK && rig.damaged);
    r = log_reader_new(rig.log, 0);
    cr_assert(read_all(r, UINT32_MAX) == rig.recovered_count);
    log_reader_free(r);
    buf_fini(&file);
    rig_fini(&rig);
}

Test(log_pack, a_file_with_a_damage_stays_as_it_is) {
    rig_make_log(&rig, 24, 600);
    struct buf file = rig_file_read(&rig, 1);
    file.ptr[HEADER + FRAME_HEADER + 2] = (char)(file.ptr[HEADER + FRAME_HEADER + 2] ^ 1);
    rig_file_write(&rig, 1, buf_sv(&file));
    unsigned packed;
    uint64_t firsts[64];
    cr_assert(pack_all(false) > 0);
    bytes_of_files(&packed);
    cr_assert(packed == rig_files(&rig, firsts, 64) - 2);
    struct buf now = rig_file_read(&rig, 1);
    cr_assert(sv_eq(buf_sv(&now), buf_sv(&file)));
    buf_fini(&now);
    buf_fini(&file);
    rig_fini(&rig);
}
