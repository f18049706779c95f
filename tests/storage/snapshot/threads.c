/* SPDX-License-Identifier: Apache-2.0 */
/* The cores' parts of a snapshot are written and loaded side by side, by threads of the real
 * runtime, with more and fewer cores behind than before. */
#include <ftw.h>
#include <inttypes.h>
#include <semaphore.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "node/base/log.h"
#include "node/runtime/disk.h"
#include "node/runtime/loop.h"
#include "storage/snapshot/snapshot.h"
#include "tests/storage/log_rig.h"

enum { SECRET = 3, SHARDS = 16, CORES_MAX = 6, SERIES = 3000, SAMPLES = 40 };

static struct runtime *runtime_new(unsigned cores) {
    struct loop_options options = {.cores_count = cores, .workers_count = 1};
    struct runtime *rt;
    struct err err;
    RIG_CHECK(loop_runtime_new(&options, &rt, &err) == OK, "%s", err.msg);
    return rt;
}

static void stores_open(struct runtime *rt, struct store **stores) {
    struct store_options options = {.head = {.secret = SECRET, .out_of_order_window_ms = 1800000},
                                    .shards_count = SHARDS};
    struct err err;
    for (unsigned i = 0; i < rt->cores_count; i++)
        RIG_CHECK(store_new(rt->cores[i], &options, &stores[i], &err) == OK, "%s", err.msg);
    for (uint32_t s = 0; s < SHARDS; s++) {
        struct store_shard_options o = {.shard = s, .role = STORE_FULL, .copy = 1, .epoch = 1};
        RIG_CHECK(store_shard_open(stores[s % rt->cores_count], &o, &err) == OK, "%s", err.msg);
    }
}

static void stores_close(struct runtime *rt, struct store **stores) {
    for (unsigned i = 0; i < rt->cores_count; i++)
        store_free(stores[i]);
    loop_runtime_stop(rt);
    loop_runtime_free(rt);
}

static void apply(struct store *store, struct entry e, const struct buf *body) {
    struct err err;
    e.body = buf_sv(body);
    RIG_CHECK(!body->failed && store_recover(store, &e, &err) == OK, "%s", err.msg);
    RIG_CHECK(!store_damage(store, e.shard, &err), "%s", err.msg);
}

static void shard_fill(struct store *store, uint32_t shard, struct entry_write *w) {
    struct buf body = {0}, canonical = {0};
    uint32_t numbers = 0;
    entry_epoch_put(0, 0, &body);
    apply(store, (struct entry){ENTRY_EPOCH, shard, 1, 1, 0, {0}}, &body);
    entry_write_clear(w);
    for (unsigned i = 0; i < SERIES; i++) {
        char path[16];
        snprintf(path, sizeof path, "/%u", i);
        struct label labels[] = {{SV("__name__"), SV("up")},
                                 {SV("job"), sv_from(i % 2 ? "a" : "b")},
                                 {SV("path"), sv_from(path)}};
        buf_clear(&canonical);
        RIG_CHECK(labels_encode(labels, 3, &canonical, NULL) == OK, "!");
        if (series_shard(series_id_of(SECRET, 0, buf_sv(&canonical)), SHARDS) != shard) continue;
        entry_write_series(w, buf_sv(&canonical));
        for (int64_t k = 0; k < SAMPLES; k++)
            RIG_CHECK(entry_write_float(w, numbers, 1000000 + k * 15000,
                                        (double)(i * (unsigned)(k + 1)) / 8) == OK,
                      "memory");
        numbers++;
    }
    buf_clear(&body);
    entry_write_finish(w, &body);
    apply(store, (struct entry){ENTRY_WRITE, shard, 1, 1, 1, {0}}, &body);
    buf_fini(&body);
    buf_fini(&canonical);
}

/* A log with a frame, which the snapshot can be of. */
static enum status on_entry(void *ctx, const struct entry *e, struct err *err) {
    (void)ctx, (void)e, (void)err;
    return OK;
}

struct logging {
    struct log *log;
    struct log_append append;
    struct log_end end;
    sem_t done;
};

static void frame_done(struct core *here, struct log_append *req, enum status status,
                       const struct err *err) {
    (void)here;
    RIG_CHECK(status == OK, "%s", err->msg);
    sem_post(&container_of(req, struct logging, append)->done);
}

static void append_here(struct core *here, void *ctx) {
    struct logging *l = ctx;
    log_append(l->log, here, &l->append);
}

static void end_here(struct core *here, void *ctx) {
    (void)here;
    struct logging *l = ctx;
    RIG_CHECK(log_get_end(l->log, &l->end), "!");
}

static struct log_end log_make(struct runtime *rt) {
    struct logging l = {.append = {.done = frame_done}};
    struct log_options options = {.dir = "log",
                                  .file_bytes_max = 1 << 20,
                                  .frame_bytes_max = 1 << 20,
                                  .sync_every_frame = true};
    struct err err;
    bool damaged;
    RIG_CHECK(log_open(rt, &options, on_entry, NULL, &l.log, &damaged, &err) == OK, "%s", err.msg);
    struct entry e = {ENTRY_FLOOR, 0, 1, 1, 1, SV("\x02")};
    entry_put(&e, &l.append.entries);
    RIG_CHECK(loop_runtime_start(rt, &err) == OK, "%s", err.msg);
    sem_init(&l.done, 0, 0);
    core_call(rt->cores[0], append_here, &l);
    while (sem_wait(&l.done) != 0)
        continue;
    core_call(rt->log_core, end_here, &l);
    sem_destroy(&l.done);
    loop_runtime_stop(rt);
    buf_fini(&l.append.entries);
    log_free(l.log);
    loop_runtime_free(rt);
    return l.end;
}

static struct snapshot_place place(struct runtime *rt) {
    return (struct snapshot_place){.rt = rt, .dir = "head", .shards_count = SHARDS};
}

static void save(const struct log_end *end, unsigned cores, struct snapshot_told *told) {
    struct runtime *rt = runtime_new(cores);
    struct store *stores[CORES_MAX];
    struct entry_write w = {0};
    struct snapshot_place at = place(rt);
    struct snapshot_save s = {.stores = stores, .stores_count = cores, .end = *end};
    struct err err;
    stores_open(rt, stores);
    for (uint32_t shard = 0; shard < SHARDS; shard++)
        shard_fill(stores[shard % cores], shard, &w);
    RIG_CHECK(snapshot_save(&at, &s, told, &err) == OK, "%s", err.msg);
    RIG_CHECK(told->series == SERIES && told->samples == SERIES * SAMPLES, "!");
    entry_write_fini(&w);
    stores_close(rt, stores);
}

static void load(unsigned cores, const struct snapshot_told *saved) {
    struct runtime *rt = runtime_new(cores);
    struct store *stores[CORES_MAX];
    struct snapshot_place at = place(rt);
    struct snapshot_load l = {.stores = stores, .stores_count = cores, .log_dir = "log"};
    struct snapshot_told told;
    struct log_end end;
    struct err err;
    bool spoiled;
    uint64_t series = 0;
    stores_open(rt, stores);
    RIG_CHECK(snapshot_load(&at, &l, &end, &told, &spoiled, &err) == OK, "%s", err.msg);
    for (unsigned i = 0; i < cores; i++) {
        struct head_stats stats;
        head_stats(store_head(stores[i]), &stats);
        series += stats.series;
    }
    RIG_CHECK(series == SERIES && told.series == SERIES && told.samples == saved->samples &&
                  told.shards == SHARDS,
              "%u cores: %" PRIu64 " series, %" PRIu64 " samples", cores, told.series,
              told.samples);
    stores_close(rt, stores);
}

static int entry_remove(const char *path, const struct stat *st, int type, struct FTW *at) {
    (void)st, (void)type, (void)at;
    return remove(path);
}

int main(void) {
    char dir[] = "/tmp/cairn-snapshot-threads-XXXXXX";
    struct snapshot_told told;
    log_setup(LOG_ERROR + 1, LOG_LOGFMT, 2);
    RIG_CHECK(mkdtemp(dir) != NULL && chdir(dir) == 0, "no directory");
    struct log_end end = log_make(runtime_new(1));
    for (unsigned before = 1; before <= 4; before += 3) {
        save(&end, before, &told);
        for (unsigned then = 1; then <= CORES_MAX; then++)
            load(then, &told);
    }
    printf("%" PRIu64 " samples, %" PRIu64 " bytes\n", told.samples, told.bytes);
    return nftw(dir, entry_remove, 16, FTW_DEPTH | FTW_PHYS);
}
