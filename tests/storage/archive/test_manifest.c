/* SPDX-License-Identifier: Apache-2.0 */
#include <criterion/criterion.h>
#include <stdlib.h>
#include <string.h>

#include "node/base/bytes.h"
#include "node/base/hash.h"
#include "storage/archive/manifest.h"

static void sample_make(struct manifest *m) {
    *m = (struct manifest){.next_number = 1};
    struct manifest_block b = {.number = 5,
                               .level = 1,
                               .min_ms = -1,
                               .max_ms = 300,
                               .file_bytes = 200,
                               .parts = calloc(2, sizeof *b.parts),
                               .parts_count = 2};
    b.parts[0] = (struct manifest_part){3, 7};
    b.parts[1] = (struct manifest_part){4, 9};
    cr_assert_eq(manifest_block_add(m, &b), OK);
    struct manifest_shard s = {.shard = 3,
                               .copy = 7,
                               .from_ms = 400,
                               .floor_ms = INT64_MIN,
                               .ended = {300 * (int64_t)3600000, 2 * 3600000},
                               .gone_ms = 1000,
                               .base = {2, 130},
                               .cut_ms = 200,
                               .newest_ms = 399,
                               .epochs = calloc(1, sizeof *s.epochs),
                               .epochs_count = 1,
                               .tombstones = calloc(1, sizeof *s.tombstones),
                               .tombstones_count = 1,
                               .items = strdup("xyz"),
                               .items_len = 3};
    s.epochs[0] = (struct manifest_epoch){1, 12, 0x1122334455667788};
    s.tombstones[0] = (struct tombstone){{2, 99}, 0, 10, strdup("abc"), 3, 0};
    cr_assert_eq(manifest_shard_set(m, &s), OK);
}

/* By hand from the format at the top of manifest.c. */
static const uint8_t golden[] = {
    'C',  'A',  'I',  'R',  'N',  'M',  'A',  'N',  2,    0,    2,    0, 0, 0, 0, 0, /* header */
    67,   0,    0,    0,    0,    0,    0,    0,                      /* length of the body */
    6,                                                                /* next number */
    1,    5,    1,    0,    1,    0xd8, 0x04,                         /* block: -1 to 300 */
    0xc8, 0x01, 0,    2,    3,    7,    4,    9,                      /* bytes, flags, parts */
    1,    3,    7,    0xa0, 0x06,                                     /* shard, from 400 */
    0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x01,       /* no floor */
    0xac, 0x02, 2,    0xe8, 0x07,                                     /* ended, in hours; gone */
    2,    0x82, 0x01, 0x90, 0x03, 0x9e, 0x06,                         /* base, cut, newest */
    1,    1,    12,   0x88, 0x77, 0x66, 0x55, 0x44, 0x33, 0x22, 0x11, /* epoch */
    1,    2,    99,   0,    20,   3,    'a',  'b',  'c',              /* tombstone */
    3,    'x',  'y',  'z',                                            /* metadata */
};

Test(manifest, golden) {
    struct manifest m;
    struct buf out = {0};
    sample_make(&m);
    manifest_put(&m, &out);
    cr_assert_eq(out.len, sizeof golden + 8, "%zu bytes", out.len);
    cr_assert_arr_eq(out.ptr, golden, sizeof golden);
    cr_assert_eq(get_u64le(out.ptr + sizeof golden), hash64(golden, sizeof golden, 0));
    buf_fini(&out);
    manifest_fini(&m);
}

/* As version 1 had it, with rows: whether these count histograms nobody said. */
static const uint8_t golden_1[] = {
    'C',  'A',  'I',  'R',  'N',  'M',  'A',  'N',  1,    0,    1,    0, 0, 0, 0, 0, /* header */
    71,   0,    0,    0,    0,    0,    0,    0,                      /* length of the body */
    7,                                                                /* next number */
    2,    5,    1,    0,    1,    0xd8, 0x04,                         /* block: -1 to 300 */
    0xc8, 0x01, 2,    3,    7,    4,    9,                            /* bytes, parts */
    6,    0,    0xac, 0x02, 0,    2,    3,    1,    3,    7,          /* rows of 300 ms: 0 to 1 */
    1,    3,    7,    0xa0, 0x06,                                     /* shard, from 400 */
    0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x01,       /* no floor */
    2,    0x82, 0x01, 0x90, 0x03, 0x9e, 0x06,                         /* base, cut, newest */
    1,    1,    12,   0x88, 0x77, 0x66, 0x55, 0x44, 0x33, 0x22, 0x11, /* epoch */
    1,    2,    99,   0,    20,   3,    'a',  'b',  'c',              /* tombstone */
    3,    'x',  'y',  'z',                                            /* metadata */
};

Test(manifest, version_1_is_read) {
    struct manifest m;
    struct buf bytes = {0};
    struct err err;
    buf_put(&bytes, golden_1, sizeof golden_1);
    buf_put_u64(&bytes, hash64(golden_1, sizeof golden_1, 0));
    cr_assert_eq(manifest_get(buf_sv(&bytes), &m, &err), OK, "%s", err.msg);
    cr_assert_eq(m.blocks_count, 2);
    cr_assert(!m.blocks[0].has_histograms);
    cr_assert(m.blocks[1].has_histograms);
    cr_assert_eq(m.blocks[1].max_ms, 1);
    const struct manifest_shard *s = manifest_shard_find(&m, 3);
    cr_assert(!ended_any(&s->ended));
    cr_assert_eq(s->base.seq, 130);
    cr_assert_eq(s->items_len, 3);
    manifest_fini(&m);
    buf_fini(&bytes);
}

Test(manifest, what_is_written_is_read) {
    struct manifest m, back, copy;
    struct buf out = {0}, again = {0};
    struct err err;
    sample_make(&m);
    manifest_put(&m, &out);
    cr_assert_eq(manifest_get(buf_sv(&out), &back, &err), OK, "%s", err.msg);
    cr_assert_eq(manifest_copy(&back, &copy), OK);
    manifest_put(&copy, &again);
    cr_assert_eq(again.len, out.len);
    cr_assert_arr_eq(again.ptr, out.ptr, out.len);
    struct manifest_shard *s = manifest_shard_find(&copy, 3);
    cr_assert_eq(s->base.seq, 130);
    cr_assert_eq(s->floor_ms, INT64_MIN);
    cr_assert_eq(s->ended.raw_ms, 300 * (int64_t)3600000);
    cr_assert_eq(s->ended.fine_ms, 2 * 3600000);
    cr_assert_eq(s->gone_ms, 1000);
    cr_assert_null(manifest_shard_find(&copy, 4));
    manifest_fini(&m);
    manifest_fini(&back);
    manifest_fini(&copy);
    buf_fini(&out);
    buf_fini(&again);
}

Test(manifest, any_flipped_bit_and_any_cut_is_found) {
    struct manifest m, back;
    struct buf out = {0};
    struct err err;
    sample_make(&m);
    manifest_put(&m, &out);
    for (size_t bit = 0; bit < out.len * 8; bit++) {
        out.ptr[bit / 8] = (char)(out.ptr[bit / 8] ^ (1 << (bit % 8)));
        enum status status = manifest_get(buf_sv(&out), &back, &err);
        cr_assert(status == ERR_CORRUPT || status == ERR_UNSUPPORTED, "bit %zu", bit);
        out.ptr[bit / 8] = (char)(out.ptr[bit / 8] ^ (1 << (bit % 8)));
    }
    for (size_t len = 0; len < out.len; len++) {
        char *part = malloc(len + 1);
        memcpy(part, out.ptr, len);
        cr_assert_eq(manifest_get(sv_make(part, len), &back, &err), ERR_CORRUPT, "length %zu", len);
        free(part);
    }
    manifest_fini(&m);
    buf_fini(&out);
}

/* Whatever the body is, under a good checksum: an error or a manifest, no crash. */
Test(manifest, bad_bodies) {
    struct manifest m, back;
    struct buf out = {0};
    struct err err;
    sample_make(&m);
    manifest_put(&m, &out);
    for (size_t at = 24; at < out.len - 8; at++)
        for (unsigned v = 0; v < 256; v += 5) {
            char was = out.ptr[at];
            out.ptr[at] = (char)v;
            put_u64le(out.ptr + out.len - 8, hash64(out.ptr, out.len - 8, 0));
            if (manifest_get(buf_sv(&out), &back, &err) == OK) manifest_fini(&back);
            out.ptr[at] = was;
        }
    manifest_fini(&m);
    buf_fini(&out);
}

Test(manifest, a_newer_format_is_refused_by_version) {
    struct manifest m, back;
    struct buf out = {0};
    struct err err;
    sample_make(&m);
    manifest_put(&m, &out);
    out.ptr[8] = out.ptr[10] = 3;
    cr_assert_eq(manifest_get(buf_sv(&out), &back, &err), ERR_UNSUPPORTED);
    cr_assert_str_eq(err.msg, "manifest: format version 3, this build reads 2");
    manifest_fini(&m);
    buf_fini(&out);
}

Test(manifest, editing) {
    struct manifest m;
    sample_make(&m);
    struct manifest_block b = {.number = 2, .parts = calloc(1, sizeof *b.parts), .parts_count = 1};
    b.parts[0] = (struct manifest_part){3, 7};
    cr_assert_eq(manifest_block_add(&m, &b), OK);
    cr_assert_eq(m.blocks[0].number, 2);
    cr_assert_eq(m.blocks[1].number, 5);
    cr_assert_eq(m.next_number, 6);
    struct manifest_shard s = {.shard = 1, .copy = 2};
    cr_assert_eq(manifest_shard_set(&m, &s), OK);
    s = (struct manifest_shard){.shard = 3, .copy = 8};
    cr_assert_eq(manifest_shard_set(&m, &s), OK);
    cr_assert_eq(m.shards_count, 2);
    cr_assert_eq(m.shards[0].shard, 1);
    cr_assert_eq(manifest_shard_find(&m, 3)->copy, 8);
    manifest_shard_remove(&m, 3);
    cr_assert_eq(m.blocks_count, 1, "a block without parts goes");
    cr_assert_eq(m.blocks[0].number, 5);
    cr_assert_eq(m.blocks[0].parts_count, 1);
    cr_assert_eq(m.blocks[0].parts[0].shard, 4);
    manifest_block_remove(&m, 5);
    manifest_block_remove(&m, 5);
    cr_assert_eq(m.blocks_count, 0);
    cr_assert_eq(m.shards_count, 1);
    manifest_fini(&m);
}
