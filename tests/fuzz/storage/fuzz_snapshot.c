/* SPDX-License-Identifier: Apache-2.0 */
/* Any bytes as the parts of a head snapshot whose checksums are right: { u8 kind (+ 128: packed),
 * u32 length, payload }. What is taken can be read, and saved again. */
#include <assert.h>
#include <stdio.h>
#include <stdlib.h>

#include "node/base/bytes.h"
#include "node/base/hash.h"
#include "node/base/log.h"
#include "node/runtime/disk.h"
#include "storage/snapshot/snapshot.h"
#include "tests/sim/sim.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { SHARDS = 6 };
static const struct store_options options = {
    .head = {.secret = 91, .out_of_order_window_ms = 300000},
    .shards_count = SHARDS,
    .exemplars_max = 100};
static struct runtime *rt;
static struct log_end end;

static enum status apply(void *ctx, const struct entry *e, struct err *err) {
    (void)ctx, (void)e, (void)err;
    return OK;
}

static void on_done(struct core *here, struct log_append *req, enum status status,
                    const struct err *err) {
    (void)here, (void)req, (void)err;
    assert(status == OK);
}

/* Once: a log with a frame. */
static void begin(void) {
    struct sim *sim =
        sim_new(&(struct sim_options){.seed = 1, .nodes_count = 1, .cores_per_node = 1});
    struct log_options lo = {.dir = "log",
                             .file_bytes_max = 1 << 20,
                             .frame_bytes_max = 1 << 20,
                             .sync_every_frame = true};
    struct log *log;
    bool damaged;
    rt = sim_start(sim, 0);
    assert(log_open(rt, &lo, apply, NULL, &log, &damaged, NULL) == OK);
    struct log_append append = {.done = on_done};
    entry_put(&(struct entry){ENTRY_FLOOR, 0, 1, 1, 1, SV("\x02")}, &append.entries);
    core_set_current(rt->cores[0]);
    log_append(log, rt->cores[0], &append);
    core_set_current(NULL);
    while (!log_get_end(log, &end))
        assert(sim_step(sim));
    buf_fini(&append.entries);
    log_free(log);
    assert(disk_mkdir(rt->disk, "head", NULL) == OK);
}

static void file_put(const char *path, struct buf *bytes) {
    assert(!bytes->failed && disk_write_file(rt->disk, path, buf_sv(bytes), NULL) == OK);
    buf_fini(bytes);
}

static void files_put(struct reader r) {
    struct buf core = {0}, root = {0};
    buf_put(&core, "CAIRNHSC\x03\x00\x03\x00\x00\x00\x00\x00", 16);
    uint64_t check = hash64(core.ptr, 16, 0);
    buf_put_u64(&core, check);
    while (reader_left(&r) >= 5) {
        uint8_t kind = read_u8(&r);
        uint32_t len = read_u32(&r);
        const uint8_t *payload = read_bytes(&r, MIN((size_t)len, reader_left(&r)));
        size_t taken = (size_t)(r.cur - payload), at = core.len;
        buf_put_u16(&core, kind & 0x7f);
        buf_put_u16(&core, kind >> 7);
        buf_put_u32(&core, (uint32_t)taken);
        check = hash64(payload, taken, hash64(core.ptr + at, 8, check));
        buf_put_u64(&core, check);
        buf_put(&core, payload, taken);
    }
    buf_put(&root, "CAIRNHSR\x01\x00\x01\x00\x01\x00\x00\x00", 16);
    buf_put(&root, (const char[16]){0}, 16);
    buf_put_u64(&root, SHARDS);
    buf_put_u64(&root, end.frame);
    buf_put_u64(&root, end.check);
    buf_put_u64(&root, core.len);
    buf_put_u64(&root, check);
    buf_put_u64(&root, hash64(root.ptr, root.len, 0));
    file_put("head/core-0", &core);
    file_put("head/ROOT", &root);
}

static void read_all(struct store *store) {
    struct select_query q = {.from_ms = INT64_MIN, .to_ms = INT64_MAX};
    struct samples samples = {0};
    struct selection *sel;
    bool done = false;
    size_t count;
    core_set_current(store_core(store));
    assert(select_new(store_head(store), &q, &sel, NULL) == OK);
    assert(select_step(sel, 0, &done, NULL) == OK && done);
    const struct series_view *views = selection_series(sel, &count);
    for (size_t i = 0; i < count; i++) {
        samples_clear(&samples);
        assert(series_view_read(&views[i], INT64_MIN, INT64_MAX, &samples, NULL) == OK);
        for (size_t k = 1; k < samples.count; k++)
            assert(samples.times_ms[k] > samples.times_ms[k - 1]);
    }
    selection_release(sel);
    samples_fini(&samples);
    core_set_current(NULL);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    struct store *store;
    log_setup(LOG_ERROR + 1, LOG_LOGFMT, 2);
    if (rt == NULL) begin();
    files_put(reader_init(data, size));
    assert(store_new(rt->cores[0], &options, &store, NULL) == OK);
    for (uint32_t s = 0; s < SHARDS; s++) {
        struct store_shard_options o = {s, s == 4 ? STORE_LOG : STORE_FULL, false, 2, 1};
        assert(store_shard_open(store, &o, NULL) == OK);
    }
    struct snapshot_place at = {.rt = rt, .dir = "head", .shards_count = SHARDS};
    struct snapshot_load l = {.stores = &store, .stores_count = 1, .log_dir = "log"};
    struct snapshot_save s = {.stores = &store, .stores_count = 1, .end = end};
    struct snapshot_told told;
    struct log_end loaded;
    struct err err;
    bool spoiled;
    enum status status = snapshot_load(&at, &l, &loaded, &told, &spoiled, &err);
    assert(status == OK || (status == ERR_CORRUPT && err.msg[0] != '\0'));
    if (status == OK) {
        read_all(store);
        assert(snapshot_save(&at, &s, &told, &err) == OK);
    }
    store_free(store);
    return 0;
}
