/* SPDX-License-Identifier: Apache-2.0 */
/* Entries are read back on workers while the same store writes and the log goes from file to file,
 * on the real runtime and the operating system's disk: each reading gives every entry that was
 * durable when it began, in order. */
#include <semaphore.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "node/base/arena.h"
#include "node/base/log.h"
#include "node/runtime/loop.h"
#include "storage/store.h"
#include "tests/storage/log_rig.h"

enum { WRITES = 1500, READINGS_MIN = 20, SHARDS = 2 };
#define START_MS 1767225600000

static sem_t finished;
static char dir[] = "/tmp/cairn-read-XXXXXX";
static struct store *store;
static struct store_ops ops;
static struct store_read job;
static struct store_read_from from[SHARDS];
static uint64_t next_seq[SHARDS], durable_seq[SHARDS], wanted_seq[SHARDS];
static uint64_t opened; /* position: writes lie behind it */
static unsigned writes, readings, pieces;
static char labels[2][64];
static struct sv canonical[2]; /* one series for each shard */
static series_id ids[2];

static const struct store_options options = {
    .head = {.secret = 5, .out_of_order_window_ms = 1800000}, .shards_count = SHARDS};

static void write_next(void) {
    uint32_t shards[2] = {0, 1}, *unknown;
    int64_t times_ms[2] = {START_MS + writes * 1000, START_MS + writes * 1000};
    double values[2] = {writes, writes};
    struct write_columns c = {2, ids, shards, times_ms, values, canonical, .starts_ms = NULL};
    struct write_result r;
    struct arena scratch;
    size_t unknown_count;
    struct err err;
    arena_init(&scratch, 0);
    RIG_CHECK(store_write(store, &c, times_ms[0], &scratch, &r, &unknown, &unknown_count, &err) ==
                  OK,
              "%s", err.msg);
    RIG_CHECK(r.counts[VERDICT_ACCEPT] == 2, "%s", r.first_text);
    arena_fini(&scratch);
    writes++;
}

static void end_if_done(void) {
    if (writes == WRITES && durable_seq[0] == WRITES && job.user == NULL) sem_post(&finished);
}

static void read_next(void);

static bool on_piece(struct store_read *j, struct sv entries) {
    struct entry_place e;
    pieces++;
    while (entries.len > 0) {
        RIG_CHECK(ops.entry_next(&entries, &e, NULL) == OK, "!");
        RIG_CHECK(e.place.epoch == 1 && e.place.seq == next_seq[e.shard]++, "shard %u: %lu",
                  e.shard, (unsigned long)e.place.seq);
    }
    ops.read_resume(ops.ctx, j);
    return true;
}

static void on_done(struct store_read *j, enum status status, const struct err *err) {
    RIG_CHECK(status == OK, "%s", err->msg);
    for (uint32_t s = 0; s < SHARDS; s++)
        RIG_CHECK(next_seq[s] > wanted_seq[s], "read to %lu of %lu", (unsigned long)next_seq[s],
                  (unsigned long)wanted_seq[s]);
    j->user = NULL;
    readings++;
    if (writes < WRITES || readings < READINGS_MIN)
        read_next();
    else
        end_if_done();
}

static void read_next(void) {
    for (uint32_t s = 0; s < SHARDS; s++) {
        wanted_seq[s] = durable_seq[s];
        bool all = readings % 2 == 0;
        uint64_t after = durable_seq[s] / 2;
        from[s] = (struct store_read_from){.shard = s, .from_start = all, .after = {1, after}};
        next_seq[s] = all ? 0 : after + 1;
    }
    job = (struct store_read){.from = from,
                              .from_count = SHARDS,
                              .piece_bytes_max = 2000,
                              .piece = on_piece,
                              .done = on_done,
                              .user = &job};
    RIG_CHECK(ops.read(ops.ctx, &job, NULL) == OK, "!");
}

static void on_durable(struct store *s, uint64_t position, enum status status,
                       const struct err *err, void *ctx) {
    (void)ctx;
    RIG_CHECK(s == store && status == OK, "%s", err->msg);
    if (position < opened) return;
    if (position == opened) {
        write_next();
        write_next();
        read_next();
        return;
    }
    durable_seq[0] = durable_seq[1] = position - opened;
    if (writes < WRITES)
        write_next();
    else
        end_if_done();
}

static enum status apply(void *ctx, const struct entry *e, struct err *err) {
    (void)ctx;
    return store_recover(store, e, err);
}

static void start(struct core *here, void *ctx) {
    (void)here, (void)ctx;
    for (uint32_t s = 0; s < SHARDS; s++)
        RIG_CHECK(store_open_epoch(store, s, 1, &opened, NULL) == OK, "!");
}

static bool remove_name(void *ctx, const char *name) {
    (void)ctx;
    char path[512];
    snprintf(path, sizeof path, "%s/%s", dir, name);
    return unlink(path) == 0;
}

static void series_find(void) {
    for (uint32_t i = 0, found = 0; found != 3; i++) {
        char job_name[24];
        struct buf b = {0};
        snprintf(job_name, sizeof job_name, "job-%u", i);
        struct label list[] = {{SV("__name__"), SV("up")}, {SV("job"), sv_from(job_name)}};
        RIG_CHECK(labels_encode(list, 2, &b, NULL) == OK && b.len <= sizeof labels[0], "!");
        series_id id = series_id_of(options.head.secret, 0, buf_sv(&b));
        uint32_t shard = series_shard(id, SHARDS);
        memcpy(labels[shard], b.ptr, b.len);
        canonical[shard] = sv_make(labels[shard], b.len);
        ids[shard] = id;
        found |= 1u << shard;
        buf_fini(&b);
    }
}

int main(void) {
    struct runtime *rt;
    struct log *log;
    struct err err;
    bool damaged;
    series_find();
    RIG_CHECK(sem_init(&finished, 0, 0) == 0 && mkdtemp(dir) != NULL, "start");
    log_setup(LOG_ERROR, LOG_LOGFMT, 2);
    RIG_CHECK(loop_runtime_new(&(struct loop_options){.cores_count = 1, .workers_count = 2}, &rt,
                               &err) == OK,
              "%s", err.msg);
    RIG_CHECK(store_new(rt->cores[0], &options, &store, &err) == OK, "%s", err.msg);
    for (uint32_t s = 0; s < SHARDS; s++) {
        struct store_shard_options o = {s, STORE_FULL, false, 1, 1};
        RIG_CHECK(store_shard_open(store, &o, &err) == OK, "%s", err.msg);
    }
    struct log_options lo = {.dir = dir,
                             .file_bytes_max = 8 << 10,
                             .frame_bytes_max = 16 << 20,
                             .sync_every_frame = true};
    RIG_CHECK(log_open(rt, &lo, apply, NULL, &log, &damaged, &err) == OK, "%s", err.msg);
    store_set_log(store, log, on_durable, NULL);
    store_ops_init(&ops, store);
    RIG_CHECK(loop_runtime_start(rt, &err) == OK, "%s", err.msg);
    core_call(rt->cores[0], start, NULL);
    while (sem_wait(&finished) != 0) {
    }
    loop_runtime_stop(rt);
    store_free(store);
    log_free(log);
    loop_runtime_free(rt);
    printf("%u readings in %u pieces beside %u writes\n", readings, pieces, writes);
    RIG_CHECK(disk_list(disk_real(), dir, remove_name, NULL, NULL) == OK && rmdir(dir) == 0, "rm");
    return 0;
}
