/* SPDX-License-Identifier: Apache-2.0 */
/* The bytes of a small snapshot, put together here by hand after the formats' descriptions: as it
 * is written now, as older builds wrote it, and with its parts packed. What is loaded from those is
 * saved again as the first. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "node/base/bytes.h"
#include "node/base/hash.h"
#include "node/runtime/disk.h"
#include "storage/histogram.h"
#include "storage/snapshot/snapshot.h"
#include "tests/storage/log_rig.h"

enum { SECRET = 7, NEWEST = 4, PACKED_FROM = 3, PAGES_FROM = 4 };
static const char label_up[] = "\x0a\x0e\x0a\x08__name__\x12\x02up",
                  label_job[] = "\x0a\x08\x0a\x03job\x12\x01"
                                "a",
                  label_h[] = "\x0a\x0d\x0a\x08__name__\x12\x01h",
                  label_v[] = "\x0a\x0d\x0a\x08__name__\x12\x01v";
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

enum { BROKEN_NONE, BROKEN_LENGTH, BROKEN_FRAME, BROKEN_SHORT };
static struct {
    char format;
    bool packed;
    bool varies; /* there is a third series, of floats that vary */
    int broken;  /* of the part of series */
} made = {.format = NEWEST};

/* As a zstd frame (RFC 8878, 3.1.1) of one block that is as it is. */
static void put_packed(struct buf *out, uint32_t kind, struct sv records) {
    int broken = kind == 4 ? made.broken : BROKEN_NONE;
    buf_put_u32(out, (uint32_t)records.len + (broken == BROKEN_LENGTH));
    if (broken == BROKEN_SHORT) out->len--;
    if (broken == BROKEN_SHORT) return;
    buf_put(out, "\x28\xb5\x2f\xfd\xa0", 5); /* one segment, its length in four bytes */
    buf_put_u32(out, (uint32_t)records.len);
    uint32_t block = 1 | (uint32_t)records.len << 3; /* the last one */
    buf_put(out, (uint8_t[]){(uint8_t)block, (uint8_t)(block >> 8), (uint8_t)(block >> 16)}, 3);
    buf_put_sv(out, records);
    if (broken == BROKEN_FRAME) out->len--;
}

static void put_part(struct buf *file, uint64_t *check, uint32_t kind, const struct buf *records) {
    struct buf payload = {0};
    if (made.packed)
        put_packed(&payload, kind, buf_sv(records));
    else
        buf_put_sv(&payload, buf_sv(records));
    size_t at = file->len;
    buf_put_u16(file, (uint16_t)kind);
    buf_put_u16(file, made.packed);
    buf_put_u32(file, (uint32_t)payload.len);
    *check = hash64(payload.ptr, payload.len, hash64(file->ptr + at, 8, *check));
    buf_put_u64(file, *check);
    buf_put_sv(file, buf_sv(&payload));
    buf_fini(&payload);
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
    if (!made.varies) return;
    buf_put_u8(p, 15);
    buf_put_sv(p, TEXT(label_v));
}

static void put_up_rest(struct buf *p) {
    buf_put_u8(p, 1);
    buf_put_u64(p, 985000);
    buf_put_f64(p, 2.5);
    buf_put_u8(p, 1);
    buf_put_u64(p, 1000000);
    buf_put_u64(p, 900000);
}

static void put_series(struct buf *p, struct sv histogram) {
    buf_put_u32(p, 8 + 1 + 1 + 3 + 1 + 5 + 17 + 17);
    buf_put(p, "\x01\x01\x05", 3); /* a new column: rows, length; one integer, 1,000,000 */
    buf_put(p, "\x00\x18\x80\x89\x7a", 5);
    buf_put(p, "\x00\x01\x02\x00\x01\x15", 6); /* shard, number, labels, open + late + starts */
    buf_put(p, "\x01\x96\x02\x09\x1e", 5);     /* count, full, length; all are 15 / 10 */
    put_up_rest(p);
    buf_put_u32(p, (uint32_t)(1 + 1 + 1 + 3 + 1 + 1 + 8 + 1 + histogram.len));
    buf_put(p, "\x00\x00\x02\x02\x02\x01\x08\x01", 8); /* no column, shard 0 */
    buf_put_u64(p, 1000000);
    buf_put_u8(p, (uint8_t)histogram.len);
    buf_put_sv(p, histogram);
}

/* 1, 1, 3 at 1000, 1015, 1030 s. */
static void put_third(struct buf *p) {
    buf_put_u32(p, 11 + 1 + 1 + 3 + 1 + 9);
    buf_put(p, "\x01\x03\x08",
            3); /* integers of 2 bits, from 1,000,000 in steps of 15,000: 0 1 2 */
    buf_put(p, "\x02\x1a\x80\x89\x7a\x98\x75\x24", 8);
    buf_put(p, "\x00\x00\x02\x03\x01\x01", 6);
    buf_put(p, "\x03\x96\x06",
            3); /* decimals without a point, of 1 bit, from 1 in steps of 2: 0 0 1 */
    buf_put(p, "\x02\x01\x1a\x02\x02\x04", 6);
}

/* The stream, lowest bit first: header, a run of one (00), not predicted (1), predicted time (0),
 * a new window (11) that 1 bit leads (5) of 12 (6, less one), and its bits, all ones. */
static void put_third_words(struct buf *p, struct sv v) {
    uint64_t tokens = 1 << 2 | 3 << 4 | 1 << 6 | 11 << 11 | 0xfff << 17;
    buf_put_u32(p, 1 + 16 + 1 + 3 + 1 + 27 + 24);
    buf_put_u8(p, 0);
    put_id(p, v);
    buf_put(p, "\x00\x02\x03\x01\x01", 5);
    buf_put_u64(p, 1030000);
    buf_put_f64(p, 3);
    buf_put_u32(p, 15000);
    buf_put_u16(p, 64 + 64 + 32 + 29);
    buf_put(p, "\x03\x00\x01\x0c\x96", 5);
    buf_put_u64(p, 1000000);
    buf_put_f64(p, 1);
    buf_put_u64(p, 15000 | tokens << 32);
}

/* Up to format 3. */
static void put_series_words(struct buf *p, struct sv up, struct sv h, struct sv histogram) {
    buf_put_u32(p, 1 + 16 + 1 + 3 + 1 + 27 + 17 + 17);
    buf_put_u8(p, 0);
    put_id(p, up);
    buf_put(p, "\x01\x02\x00\x01\x15", 5); /* number, labels, open + late + starts */
    buf_put_u64(p, 1000000);
    buf_put_f64(p, 1.5);
    buf_put_u32(p, 0);
    buf_put_u16(p, 0);
    buf_put(p, "\x01\x00\x00\x00\x96", 5); /* count, run, window, full */
    put_up_rest(p);

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
    buf_clear(file);
    buf_put(file, "CAIRNHSC", 8);
    buf_put(file, (char[]){made.format, 0, made.format, 0, 0, 0, 0, 0}, 8);
    check = hash64(file->ptr, 16, 0);
    buf_put_u64(file, check);
    put_shards(&p);
    put_part(file, &check, 1, &p);
    buf_clear(&p);
    put_pairs(&p);
    put_part(file, &check, 2, &p);
    buf_clear(&p);
    if (made.format >= PAGES_FROM)
        put_series(&p, histogram);
    else
        put_series_words(&p, up, h, histogram);
    if (made.varies && made.format >= PAGES_FROM) put_third(&p);
    if (made.varies && made.format < PAGES_FROM)
        put_third_words(&p, SV("\x0a\x0d\x0a\x08__name__\x12\x01v\x0a\x08\x0a\x03job\x12\x01\x61"));
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
    buf_put_u64(&p, made.varies ? 3 : 2);
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

/* -- loading */

static struct store *store_fresh(struct runtime *rt) {
    struct store_options options = {
        .head = {.secret = SECRET}, .shards_count = 1, .exemplars_max = 10};
    struct store_shard_options shard = {.role = STORE_FULL, .copy = 3, .epoch = 2};
    struct store *store;
    struct err err;
    RIG_CHECK(store_new(rt->cores[0], &options, &store, &err) == OK, "%s", err.msg);
    RIG_CHECK(store_shard_open(store, &shard, &err) == OK, "%s", err.msg);
    return store;
}

static enum status nothing_applied(void *ctx, const struct entry *e, struct err *err) {
    (void)ctx, (void)e, (void)err;
    return OK;
}

static void on_appended(struct core *here, struct log_append *req, enum status status,
                        const struct err *err) {
    (void)here, (void)req;
    RIG_CHECK(status == OK, "%s", err->msg);
}

/* The end of a log with one frame, which is there then. */
static struct log_end log_made(struct sim *sim, struct runtime *rt) {
    struct log_options options = {.dir = "data/log",
                                  .file_bytes_max = 1 << 20,
                                  .frame_bytes_max = 1 << 20,
                                  .sync_every_frame = true};
    struct log_append append = {.done = on_appended};
    struct log_end end;
    struct log *log;
    struct err err;
    bool damaged;
    RIG_CHECK(log_open(rt, &options, nothing_applied, NULL, &log, &damaged, &err) == OK, "%s",
              err.msg);
    entry_put(&(struct entry){ENTRY_FLOOR, 0, 3, 2, 1, SV("\x02")}, &append.entries);
    core_set_current(rt->cores[0]);
    log_append(log, rt->cores[0], &append);
    core_set_current(NULL);
    while (!log_get_end(log, &end))
        RIG_CHECK(sim_step(sim), "the log does not end");
    buf_fini(&append.entries);
    log_free(log);
    return end;
}

static void root_by_hand(struct buf *root, struct log_end end, size_t file_bytes, uint64_t check) {
    buf_clear(root);
    buf_put(root,
            "CAIRNHSR\x01\x00\x01\x00\x01\x00\x00\x00"
            "0123456789abcde\x00"
            "\x01\x00\x00\x00\x00\x00\x00\x00",
            40);
    buf_put_u64(root, end.frame);
    buf_put_u64(root, end.check);
    buf_put_u64(root, file_bytes);
    buf_put_u64(root, check);
    buf_put_u64(root, hash64(root->ptr, root->len, 0));
}

struct texts {
    struct buf up, h, histogram;
};

static uint64_t file_by_hand(struct buf *file, const struct texts *t) {
    return by_hand(file, buf_sv(&t->up), buf_sv(&t->h), buf_sv(&t->histogram));
}

/* Puts what `made` says in the place and loads it. */
static enum status load_made(const struct snapshot_place *at, const struct texts *t,
                             struct log_end end, struct store *store, struct err *err) {
    struct snapshot_load l = {.stores = &store, .stores_count = 1, .log_dir = "data/log"};
    struct buf file = {0}, root = {0};
    struct snapshot_told told;
    struct log_end loaded;
    bool spoiled;
    uint64_t check = file_by_hand(&file, t);
    root_by_hand(&root, end, file.len, check);
    RIG_CHECK(disk_write_file(at->rt->disk, "data/head/core-0", buf_sv(&file), err) == OK, "%s",
              err->msg);
    RIG_CHECK(disk_write_file(at->rt->disk, "data/head/ROOT", buf_sv(&root), err) == OK, "%s",
              err->msg);
    enum status status = snapshot_load(at, &l, &loaded, &told, &spoiled, err);
    uint64_t series = made.varies ? 3 : 2, samples = made.varies ? 6 : 3;
    bool right = told.series == series && told.samples == samples && told.shards == 1;
    RIG_CHECK(status != OK || right, "!");
    buf_fini(&file);
    buf_fini(&root);
    return status;
}

static void must_load(const struct snapshot_place *at, const struct texts *t, struct log_end end) {
    struct store *store = store_fresh(at->rt);
    struct snapshot_save save = {.stores = &store, .stores_count = 1, .end = end};
    struct snapshot_told told;
    struct buf file = {0};
    struct err err;
    RIG_CHECK(load_made(at, t, end, store, &err) == OK, "format %d: %s", made.format, err.msg);
    RIG_CHECK(snapshot_save(at, &save, &told, &err) == OK, "%s", err.msg);
    made.format = NEWEST;
    made.packed = false;
    file_by_hand(&file, t);
    must_be(at->rt->disk, "data/head/core-0", &file);
    buf_fini(&file);
    store_free(store);
}

static void must_not_load(const struct snapshot_place *at, const struct texts *t,
                          struct log_end end, const char *text) {
    struct store *store = store_fresh(at->rt);
    struct err err;
    RIG_CHECK(load_made(at, t, end, store, &err) == ERR_CORRUPT && strstr(err.msg, text), "%s",
              err.msg);
    store_free(store);
}

static void loads(struct sim *sim, const struct snapshot_place *at, const struct texts *t) {
    struct log_end end = log_made(sim, at->rt);
    for (has_ended = false;; has_ended = true) {
        for (char format = has_ended ? 2 : 1; format <= NEWEST; format++) {
            made.format = format;
            must_load(at, t, end);
            made.format = format;
            made.packed = format >= PACKED_FROM;
            if (made.packed) must_load(at, t, end);
        }
        if (has_ended) break;
    }
    made.varies = true;
    for (char format = 2; format <= NEWEST; format++) {
        made.format = format;
        must_load(at, t, end);
    }
    made.varies = false;
    made.packed = true;
    made.format = 2; /* has none that are packed */
    must_not_load(at, t, end, "core-0: offset 24: no part is there");
    made.format = NEWEST;
    for (made.broken = BROKEN_LENGTH; made.broken <= BROKEN_SHORT; made.broken++)
        must_not_load(at, t, end, "what is packed makes no sense");
}

/* -- saving */

static void saves(const struct snapshot_place *at, const struct texts *t) {
    struct store *store = store_fresh(at->rt);
    struct snapshot_save save = {
        .stores = &store, .stores_count = 1, .end = {9, 0x1122334455667788}};
    struct snapshot_told told;
    struct buf file = {0}, root = {0}, body = {0};
    struct err err;
    store_recover_file(store, 5);
    entries_apply(store, buf_sv(&t->up), buf_sv(&t->h), buf_sv(&t->histogram));
    RIG_CHECK(snapshot_save(at, &save, &told, &err) == OK, "%s", err.msg);
    RIG_CHECK(told.series == 2 && told.samples == 3 && told.shards == 1, "!");
    uint64_t check = file_by_hand(&file, t);
    must_be(at->rt->disk, "data/head/core-0", &file);
    RIG_CHECK(told.bytes == file.len, "!");
    root_by_hand(&root, save.end, file.len, check);
    must_be(at->rt->disk, "data/head/ROOT", &root);

    entry_floor_put(INT64_MIN, &(struct ended){300 * (int64_t)3600000, 2 * 3600000}, &body);
    apply(store, ENTRY_FLOOR, 3, buf_sv(&body));
    has_ended = true;
    RIG_CHECK(snapshot_save(at, &save, &told, &err) == OK, "%s", err.msg);
    file_by_hand(&file, t);
    must_be(at->rt->disk, "data/head/core-0", &file);
    printf("%llu bytes\n", (unsigned long long)told.bytes);
    store_free(store);
    buf_fini(&file);
    buf_fini(&root);
    buf_fini(&body);
}

int main(void) {
    struct sim *sim =
        sim_new(&(struct sim_options){.seed = 1, .nodes_count = 1, .cores_per_node = 1});
    struct runtime *rt = sim_start(sim, 0);
    struct histogram sample = {.sum = 3};
    struct texts t = {{0}, {0}, {0}};
    struct err err;
    buf_put_sv(&t.up, TEXT(label_up));
    buf_put_sv(&t.up, TEXT(label_job));
    buf_put_sv(&t.h, TEXT(label_h));
    buf_put_sv(&t.h, TEXT(label_job));
    histogram_put(&sample, &t.histogram);
    struct snapshot_place at = {
        .rt = rt, .dir = "data/head", .cluster = "0123456789abcde", .shards_count = 1};
    RIG_CHECK(disk_mkdir(rt->disk, "data", &err) == OK, "%s", err.msg);
    saves(&at, &t);
    loads(sim, &at, &t);
    sim_kill(sim, 0);
    sim_free(sim);
    buf_fini(&t.up);
    buf_fini(&t.h);
    buf_fini(&t.histogram);
    return 0;
}
