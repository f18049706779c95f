/* SPDX-License-Identifier: Apache-2.0 */
/* The bytes of a small snapshot, put together here by hand after the formats' descriptions. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "node/base/bytes.h"
#include "node/base/hash.h"
#include "node/runtime/disk.h"
#include "storage/histogram.h"
#include "storage/snapshot/snapshot.h"
#include "tests/storage/log_rig.h"

enum { SECRET = 7 };
static const char label_up[] = "\x0a\x0e\x0a\x08__name__\x12\x02up",
                  label_job[] = "\x0a\x08\x0a\x03job\x12\x01"
                                "a",
                  label_h[] = "\x0a\x0d\x0a\x08__name__\x12\x01h";
#define TEXT(s) ((struct sv){s, sizeof s - 1})

static void apply(struct store *store, enum entry_type type, uint64_t seq, struct sv body) {
    struct entry e = {type, 0, 3, 2, seq, body};
    struct err err;
    RIG_CHECK(store_recover(store, &e, &err) == OK && !store_damage(store, 0, &err), "%s", err.msg);
}

static void entries_apply(struct store *store, struct sv up, struct sv h, struct sv histogram) {
    struct entry_write w = {0};
    struct buf body = {0};
    struct entry_exemplar exemplar = {.number = 0, .time_ms = 1000000, .value = 2.5};
    struct entry_metadata family = {SV("up"), 2, SV("Help"), SV("s")};
    struct entry_histogram sample = {1, 1000000, histogram};
    entry_epoch_put(0, 0, &body);
    apply(store, ENTRY_EPOCH, 0, buf_sv(&body));
    entry_write_series(&w, up);
    entry_write_series(&w, h);
    RIG_CHECK(entry_write_float(&w, 0, 1000000, 1.5) == OK, "!");
    RIG_CHECK(entry_write_start(&w, 900000) == OK, "!");
    entry_write_exemplar(&w, &exemplar);
    entry_write_metadata(&w, &family);
    entry_write_histogram(&w, &sample);
    buf_clear(&body);
    entry_write_finish(&w, &body);
    apply(store, ENTRY_WRITE, 1, buf_sv(&body));
    entry_write_clear(&w);
    RIG_CHECK(entry_write_float(&w, 0, 985000, 2.5) == OK, "!"); /* late */
    buf_clear(&body);
    entry_write_finish(&w, &body);
    apply(store, ENTRY_WRITE, 2, buf_sv(&body));
    entry_write_fini(&w);
    buf_fini(&body);
}

/* -- by hand */

static void put_part(struct buf *file, uint64_t *check, uint32_t kind, const struct buf *payload) {
    size_t at = file->len;
    buf_put_u32(file, kind);
    buf_put_u32(file, (uint32_t)payload->len);
    *check = hash64(payload->ptr, payload->len, hash64(file->ptr + at, 8, *check));
    buf_put_u64(file, *check);
    buf_put_sv(file, buf_sv(payload));
}

static void put_id(struct buf *out, struct sv canonical) {
    series_id id = series_id_of(SECRET, 0, canonical);
    buf_put_u64(out, id.hi);
    buf_put_u64(out, id.lo);
}

/* The second time samples have ended: 300 h since the epoch, those of 5 m 2 h. */
static bool has_ended;

static void put_shards(struct buf *p) {
    static const uint8_t none[10] = {0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x01};
    if (has_ended)
        buf_put(p, "\x00\x05\x03\x02\x00\x02\x03\x00", 8);
    else /* shard, whole, copy, first, end, flags */
        buf_put(p, "\x00\x01\x03\x02\x00\x02\x02\x00", 8);
    buf_put_u64(p, 5);
    buf_put_u8(p, 1); /* mark */
    buf_put_u64(p, 5);
    buf_put(p, "\x02\x00", 2);
    buf_put(p, "\x80\x89\x7a", 3); /* zigzag of 1,000,000 */
    for (int i = 0; i < 3; i++)    /* cut, from, floor */
        buf_put(p, none, sizeof none);
    buf_put(p, "\x00\x00", 2); /* base */
    buf_put(p, none, sizeof none);
    buf_put(p, none, sizeof none);
    buf_put(p, "\x02\x00\x00\x00", 4); /* numbers, epochs, CUTs, deleted */
    if (has_ended) buf_put(p, "\xac\x02\x02", 3);
}

static void put_pairs(struct buf *p) {
    buf_put_u8(p, 16);
    buf_put_sv(p, TEXT(label_up));
    buf_put_u8(p, 10);
    buf_put_sv(p, TEXT(label_job));
    buf_put_u8(p, 15);
    buf_put_sv(p, TEXT(label_h));
}

static void put_series(struct buf *p, struct sv up, struct sv h, struct sv histogram) {
    buf_put_u32(p, 1 + 16 + 1 + 3 + 1 + 27 + 17 + 17);
    buf_put_u8(p, 0);
    put_id(p, up);
    buf_put(p, "\x01\x02\x00\x01\x15", 5); /* number, labels, open + late + starts */
    buf_put_u64(p, 1000000);
    buf_put_f64(p, 1.5);
    buf_put_u32(p, 0);
    buf_put_u16(p, 0);
    buf_put(p, "\x01\x00\x00\x00\x96", 5); /* count, run, window, full */
    buf_put_u8(p, 1);
    buf_put_u64(p, 985000);
    buf_put_f64(p, 2.5);
    buf_put_u8(p, 1);
    buf_put_u64(p, 1000000);
    buf_put_u64(p, 900000);

    buf_put_u32(p, (uint32_t)(1 + 16 + 1 + 3 + 1 + 1 + 8 + 1 + histogram.len));
    buf_put_u8(p, 0);
    put_id(p, h);
    buf_put(p, "\x02\x02\x02\x01\x08\x01", 6);
    buf_put_u64(p, 1000000);
    buf_put_u8(p, (uint8_t)histogram.len);
    buf_put_sv(p, histogram);
}

static uint64_t by_hand(struct buf *file, struct sv up, struct sv h, struct sv histogram) {
    struct buf p = {0};
    uint64_t check;
    buf_put(file, "CAIRNHSC\x02\x00\x02\x00\x00\x00\x00\x00", 16);
    check = hash64(file->ptr, 16, 0);
    buf_put_u64(file, check);
    put_shards(&p);
    put_part(file, &check, 1, &p);
    buf_clear(&p);
    put_pairs(&p);
    put_part(file, &check, 2, &p);
    buf_clear(&p);
    put_series(&p, up, h, histogram);
    put_part(file, &check, 4, &p);
    buf_clear(&p);
    buf_put_u8(&p, 0);
    put_id(&p, up);
    buf_put_u64(&p, 1000000);
    buf_put_f64(&p, 2.5);
    buf_put_u8(&p, 0);
    put_part(file, &check, 5, &p);
    buf_clear(&p);
    buf_put(&p, "\x00\x0b\x02up\x02\x04Help\x01s", 13);
    put_part(file, &check, 6, &p);
    buf_clear(&p);
    buf_put_u64(&p, 2);
    put_part(file, &check, 7, &p);
    buf_fini(&p);
    return check;
}

static void must_be(struct disk *disk, const char *path, const struct buf *want) {
    struct buf got = {0};
    struct err err;
    RIG_CHECK(disk_read_file(disk, path, 1 << 20, &got, &err) == OK, "%s", err.msg);
    for (size_t i = 0; i < MIN(got.len, want->len); i++)
        RIG_CHECK(got.ptr[i] == want->ptr[i], "%s: byte %zu is %02x instead of %02x", path, i,
                  (unsigned)(uint8_t)got.ptr[i], (unsigned)(uint8_t)want->ptr[i]);
    RIG_CHECK(got.len == want->len, "%s: %zu bytes instead of %zu", path, got.len, want->len);
    buf_fini(&got);
}

int main(void) {
    struct sim *sim =
        sim_new(&(struct sim_options){.seed = 1, .nodes_count = 1, .cores_per_node = 1});
    struct runtime *rt = sim_start(sim, 0);
    struct store_options options = {
        .head = {.secret = SECRET}, .shards_count = 1, .exemplars_max = 10};
    struct store_shard_options shard = {.role = STORE_FULL, .copy = 3, .epoch = 2};
    struct store *store;
    struct buf up = {0}, h = {0}, histogram = {0}, file = {0}, root = {0};
    struct err err;
    struct histogram sample = {.sum = 3};
    buf_put_sv(&up, TEXT(label_up));
    buf_put_sv(&up, TEXT(label_job));
    buf_put_sv(&h, TEXT(label_h));
    buf_put_sv(&h, TEXT(label_job));
    histogram_put(&sample, &histogram);
    RIG_CHECK(store_new(rt->cores[0], &options, &store, &err) == OK, "%s", err.msg);
    RIG_CHECK(store_shard_open(store, &shard, &err) == OK, "%s", err.msg);
    store_recover_file(store, 5);
    entries_apply(store, buf_sv(&up), buf_sv(&h), buf_sv(&histogram));

    struct snapshot_place at = {
        .rt = rt, .dir = "data/head", .cluster = "0123456789abcde", .shards_count = 1};
    struct store *stores[] = {store};
    struct snapshot_save save = {
        .stores = stores, .stores_count = 1, .end = {9, 0x1122334455667788}};
    struct snapshot_told told;
    RIG_CHECK(disk_mkdir(rt->disk, "data", &err) == OK, "%s", err.msg);
    RIG_CHECK(snapshot_save(&at, &save, &told, &err) == OK, "%s", err.msg);
    RIG_CHECK(told.series == 2 && told.samples == 3 && told.shards == 1, "!");

    uint64_t check = by_hand(&file, buf_sv(&up), buf_sv(&h), buf_sv(&histogram));
    must_be(rt->disk, "data/head/core-0", &file);
    RIG_CHECK(told.bytes == file.len, "!");
    buf_put(&root,
            "CAIRNHSR\x01\x00\x01\x00\x01\x00\x00\x00"
            "0123456789abcde\x00"
            "\x01\x00\x00\x00\x00\x00\x00\x00",
            40);
    buf_put_u64(&root, 9);
    buf_put_u64(&root, 0x1122334455667788);
    buf_put_u64(&root, file.len);
    buf_put_u64(&root, check);
    buf_put_u64(&root, hash64(root.ptr, root.len, 0));
    must_be(rt->disk, "data/head/ROOT", &root);

    buf_clear(&root);
    entry_floor_put(INT64_MIN, &(struct ended){300 * (int64_t)3600000, 2 * 3600000}, &root);
    apply(store, ENTRY_FLOOR, 3, buf_sv(&root));
    has_ended = true;
    RIG_CHECK(snapshot_save(&at, &save, &told, &err) == OK, "%s", err.msg);
    buf_clear(&file);
    by_hand(&file, buf_sv(&up), buf_sv(&h), buf_sv(&histogram));
    must_be(rt->disk, "data/head/core-0", &file);

    store_free(store);
    sim_kill(sim, 0);
    sim_free(sim);
    buf_fini(&up);
    buf_fini(&h);
    buf_fini(&histogram);
    buf_fini(&file);
    buf_fini(&root);
    printf("%llu bytes\n", (unsigned long long)told.bytes);
    return 0;
}
