/* SPDX-License-Identifier: Apache-2.0 */
/* The bytes of a small block, frame by frame, as the head of storage/block/writer.c specifies them.
 * The digest is from a calculation outside of this program: products of MurmurHash3's fmix64 over
 * the ids. */
#include <inttypes.h>
#include <stdio.h>
#include <zstd.h>

#include "node/base/bytes.h"
#include "node/base/hash.h"
#include "storage/page/page.h"
#include "tests/storage/block/block_model.h"

struct frame_want {
    const char *what;
    const char *bytes;
    size_t len;
};
#define FRAME(what, text)                                                                          \
    { what, text, sizeof(text) - 1 }

/* One column of storage/page, which has golden bytes of its own. */
static size_t column_of(const int64_t *ints, size_t count, char *out) {
    static struct page_scratch scratch;
    static uint8_t bytes[COLUMN_BYTES_MAX];
    page_scratch_init(&scratch);
    size_t len = column_encode(&scratch, ints, count, bytes);
    memcpy(out, bytes, len);
    return len;
}

/* Two series of shard 0, levels and all; the second has one row less, the first start times. */
static void block_put(struct disk *disk) {
    struct block_writer_options options = {.disk = disk,
                                           .path = "block",
                                           .secret = 7,
                                           .tenant = 3,
                                           .shards_count = 1,
                                           .level = 1,
                                           .resolution_ms = 300000};
    int64_t times[] = {1000, 2000, 3000, 4000, 5000, 6000};
    int64_t times_b[] = {1000, 3000, 4000, 5000, 6000};
    int64_t starts[] = {500, 500, 500, 500, 500, 500};
    double values[] = {1, 1, 1, 1, 1, 1};
    struct samples a = {.times_ms = times, .values = values, .starts_ms = starts, .count = 6};
    struct samples b = {.times_ms = times_b, .values = values, .count = 5};
    struct sv labels_a = SV("\x0a\x0e\x0a\x08__name__\x12\x02up\x0a\x08\x0a\x03job\x12\x01"
                            "a");
    struct sv labels_b = SV("\x0a\x0e\x0a\x08__name__\x12\x02uq\x0a\x08\x0a\x03job\x12\x01"
                            "a");
    struct block_writer *w;
    struct err err;
    bool written = false;
    CHECK(block_writer_new(&options, &w, &err) == OK, "%s", err.msg);
    CHECK(block_writer_items(w, 0, SV("items"), &err) == OK, "%s", err.msg);
    CHECK(block_writer_add(w, 0, labels_a, &a, &err) == OK, "%s", err.msg);
    CHECK(block_writer_add(w, 0, labels_b, &b, &err) == OK, "%s", err.msg);
    CHECK(block_writer_finish(w, &written, &err) == OK && written, "%s", err.msg);
    block_writer_free(w);
}

static size_t frame_check(const uint8_t *file, size_t at, const struct frame_want *want) {
    char raw[4096];
    uint32_t stored = get_u32le(file + at + 8), len = get_u32le(file + at + 12);
    const char *bytes = (const char *)file + at + 16;
    CHECK(get_u64le(file + at) == hash64(file + at + 8, stored + 8, at), "%s", want->what);
    CHECK(len == want->len && stored <= len, "%s: %u bytes, %zu wanted", want->what, len,
          want->len);
    if (stored < len) {
        CHECK(ZSTD_decompress(raw, sizeof raw, bytes, stored) == len, "%s", want->what);
        bytes = raw;
    }
    for (size_t i = 0; i < len; i++)
        CHECK(bytes[i] == want->bytes[i], "%s: byte %zu is %02x, %02x wanted", want->what, i,
              (uint8_t)bytes[i], (uint8_t)want->bytes[i]);
    return at + 16 + stored;
}

int main(void) {
    static const int64_t metric_sets[] = {0, 1}, target_sets[] = {0, 0};
    static const int64_t times[] = {1000, 2000, 3000, 4000, 5000, 6000};
    static const int64_t starts[] = {500, 500, 500, 500, 500, 500};
    struct sim_disk *sd = sim_disk_new(1);
    struct disk *disk = sim_disk_as_disk(sd);
    struct buf file = {0};
    struct err err;
    char labels[64], columns[64], at[64] = {0};
    block_put(disk);
    CHECK(disk_read_file(disk, "block", 1 << 20, &file, &err) == OK, "%s", err.msg);
    const uint8_t *p = (const uint8_t *)file.ptr;

    static const char header[32] = "CAIRNBLK\1\0\1\0\3\0\0\0\1\0\0\0\1\0\1\0\xe0\x93\x04";
    CHECK(memcmp(p, header, 32) == 0 && get_u64le(p + 32) == hash64(header, 32, 0), "header");

    size_t metric_len = column_of(metric_sets, 2, labels + 1);
    labels[0] = (char)metric_len;
    size_t labels_len = 1 + metric_len + column_of(target_sets, 2, labels + 1 + metric_len);
    size_t times_len = column_of(times, 6, columns);
    size_t columns_len = times_len + column_of(starts, 6, columns + times_len);
    /* position, bytes, rows, first, last; twice */
    put_u32le(at + 8, (uint32_t)times_len);
    put_u32le(at + 12, 6);
    put_u64le(at + 16, 1000);
    put_u64le(at + 24, 6000);
    put_u64le(at + 32, times_len);
    put_u32le(at + 40, (uint32_t)(columns_len - times_len));
    put_u32le(at + 44, 6);
    put_u64le(at + 48, 500);
    put_u64le(at + 56, 500);

    struct frame_want frames[] = {
        FRAME("items", "items"),
        FRAME("pages", "\x08\x08"), /* twice the constant 1 */
        /* series 0, two; one frame at 61 of 18 bytes, no gap; a restart at record 0, frame 0, 0 */
        FRAME("directory", "\0\2\1\x3d\0\x12"
                           "\0\0\0\0\0\0\0\0\0\0\0\0"
                           /* whole, last, starts: column 0 as its target is 0; starts: 1 on */
                           "\x2c\0\2\1"
                           /* whole, last, missing: column 0; 1 row, after 1 that is there */
                           "\x1c\0\1\1\1"),
        {"labels", labels, labels_len},
        {"columns at", at, sizeof at},
        {"columns", columns, columns_len},
        FRAME("positions of metric sets", "\0\0\0\0\0\0\0\0\4\0\0\0\0\0\0\0"),
        FRAME("metric sets", "\0\1\1\0\1\1\1\1"), /* at 0, 1 series, 1 pair: 0; at 1: pair 1 */
        FRAME("positions of targets", "\0\0\0\0\0\0\0\0"),
        FRAME("targets", "\2\2\1\2"),  /* postings at 2, 2 series, 1 pair: 2 */
        FRAME("postings", "\0\1\0\1"), /* 0; 1; 0, 1 */
        FRAME("sets of pairs", "\0\1\0"),
        FRAME("positions of pairs", "\0\0\0\0\0\0\0\0\5\0\0\0\0\0\0\0\12\0\0\0\0\0\0\0"),
        FRAME("pairs", "\2up\0\1\2uq\1\1\1a\2\1"), /* value, sets at, how many */
        FRAME("names", "\10__name__\0\2\3job\1\1"),
    };
    size_t pos = 40, ends[ARRAY_LEN(frames)], starts_at[ARRAY_LEN(frames)];
    for (size_t i = 0; i < ARRAY_LEN(frames); i++) {
        starts_at[i] = pos;
        pos = ends[i] = frame_check(p, pos, &frames[i]);
    }

    /* The root: totals; the shard; where each part's frames are. */
    struct buf root = {0};
    static const uint64_t totals[] = {2, 11, 2, 2, 3, 2, 1};
    for (size_t i = 0; i < ARRAY_LEN(totals); i++)
        buf_put_varint(&root, totals[i]);
    /* bytes of items, pages and columns */
    buf_put_varint(&root, (ends[0] - 40) + (ends[1] - ends[0]) + (ends[5] - ends[4]));
    buf_put_zigzag(&root, 1000);
    buf_put_zigzag(&root, 6000);
    buf_put(&root, "\1\0\2\13", 4); /* one shard: 0, of two series, eleven samples */
    buf_put_zigzag(&root, 1000);
    buf_put_zigzag(&root, 6000);
    buf_put_u64(&root, 0xb8b1d14df8d67b15);
    buf_put_u64(&root, 0xa94c9937e63efed0);
    buf_put(&root, "\1\5", 2); /* a frame of items, 5 bytes */
    static const int order[] = {2, 3, 0, 4, 5, 10, 14, 12, 13, 11, 6, 7, 8, 9};
    for (size_t i = 0; i < ARRAY_LEN(order); i++) {
        const struct frame_want *f = &frames[order[i]];
        buf_put_varint(&root, i < 3 ? 0 : f->len); /* these three are no streams */
        buf_put_varint(&root, 1);
        buf_put_zigzag(&root, (int64_t)starts_at[order[i]]);
        buf_put_varint(&root, ends[order[i]] - starts_at[order[i]]);
        if (i == 0) buf_put_varint(&root, 0); /* its first series */
    }
    struct frame_want want = {"root", root.ptr, root.len};
    size_t root_end = frame_check(p, pos, &want);

    uint8_t footer[40] = {0};
    put_u64le(footer, pos);
    put_u64le(footer + 8, root_end - pos);
    put_u64le(footer + 16, root_end + 40);
    put_u64le(footer + 32, hash64(footer, 32, get_u64le(p + 32)));
    CHECK(file.len == root_end + 40 && memcmp(p + root_end, footer, 40) == 0, "footer");
    buf_fini(&root);
    buf_fini(&file);
    sim_disk_free(sd);
    printf("%zu bytes\n", root_end + 40);
    return 0;
}
