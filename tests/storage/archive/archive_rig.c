/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/storage/archive/archive_rig.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "node/base/log.h"

void archive_rig_init(struct archive_rig *rig, uint64_t seed) {
    *rig = (struct archive_rig){.seed = seed,
                                .sd = sim_disk_new(seed),
                                .sim = sim_new(&(struct sim_options){
                                    .seed = seed, .nodes_count = 1, .cores_per_node = AR_CORES}),
                                .dir = AR_DIR,
                                .merged_ms_max = 18 * AR_HOUR_MS,
                                .now_ms = AR_START_MS};
    rng_init(&rig->rng, seed);
    fault_disk_init(&rig->disk, sim_disk_as_disk(rig->sd));
    rig->disk.reads_only = true;
    log_setup(LOG_ERROR + 1, LOG_LOGFMT, 2);
    archive_model_init(&rig->model);
}

void archive_rig_fini(struct archive_rig *rig) {
    archive_rig_kill(rig);
    retention_unref(rig->retention);
    sim_free(rig->sim);
    sim_disk_free(rig->sd);
}

/* -- opening */

struct store *archive_rig_store(struct archive_rig *rig, uint32_t shard) {
    return rig->stores[shard % AR_CORES];
}

static enum status rig_apply(void *ctx, const struct entry *e, struct err *err) {
    return store_recover(archive_rig_store(ctx, e->shard), e, err);
}

static void rig_on_file(void *ctx, uint64_t first_frame) {
    struct archive_rig *rig = ctx;
    for (unsigned i = 0; i < AR_CORES; i++)
        store_recover_file(rig->stores[i], first_frame);
}

static void rig_on_lost(void *ctx, const struct err *why) {
    struct archive_rig *rig = ctx;
    for (unsigned i = 0; i < AR_CORES; i++)
        store_recover_lost(rig->stores[i], why);
}

static void rig_on_durable(struct store *store, uint64_t position, enum status status,
                           const struct err *err, void *ctx) {
    struct archive_rig *rig = ctx;
    RIG_CHECK(status == OK || strstr(err->msg, rig->dir) != NULL, "no file is named: %s", err->msg);
    if (status != OK) rig->failed = true;
    if (status == OK) rig->durable[store_core(store)->index] = position;
}

static bool may_write(void *ctx, uint32_t shard) {
    (void)ctx, (void)shard;
    return true;
}

static enum status stores_open(struct archive_rig *rig) {
    struct store_options so = {
        .head = {.secret = AR_SECRET, .out_of_order_window_ms = 1800000, .shards_count = AR_SHARDS},
        .shards_count = AR_SHARDS,
        .block_range_ms = 2 * AR_HOUR_MS};
    for (unsigned i = 0; i < AR_CORES; i++)
        RIG_CHECK(store_new(rig->rt->cores[i], &so, &rig->stores[i], NULL) == OK, "!");
    for (uint32_t s = 0; s < AR_SHARDS; s++)
        TRY(store_shard_open(
            archive_rig_store(rig, s),
            &(struct store_shard_options){
                .shard = s, .role = STORE_FULL, .copy = rig->model.copies[s], .epoch = 1},
            &rig->err));
    return OK;
}

static uint32_t copy_of_shard(void *ctx, uint32_t shard) {
    return store_shard_copy(archive_rig_store(ctx, shard), shard);
}

static enum status archive_open_all(struct archive_rig *rig) {
    char dir[128];
    struct archive_options ao = {.dir = dir,
                                 .secret = AR_SECRET,
                                 .shards_count = AR_SHARDS,
                                 .range_ms = 2 * AR_HOUR_MS,
                                 .merged_ms_max = rig->merged_ms_max,
                                 .bytes_max = rig->retention_bytes,
                                 .round_ms = 10000,
                                 .scrub_ms = rig->scrub_ms};
    memcpy(ao.levels, rig->levels, sizeof ao.levels);
    snprintf(dir, sizeof dir, "%s/blocks", rig->dir);
    TRY(archive_open(rig->rt, &ao, &rig->archive, &rig->err));
    TRY(archive_adopt(rig->archive, &(struct archive_copies){copy_of_shard, rig}, &rig->err));
    for (unsigned i = 0; i < AR_CORES; i++) {
        rig->cores[i] = (struct archive_core){.core = rig->rt->cores[i], .store = rig->stores[i]};
        archive_add_core(rig->archive, &rig->cores[i]);
    }
    const struct manifest *m = archive_manifest(rig->archive);
    for (uint32_t i = 0; i < m->shards_count; i++) {
        bool taken;
        uint32_t shard = m->shards[i].shard;
        TRY(store_shard_base(archive_rig_store(rig, shard), &m->shards[i], &taken, &rig->err));
        RIG_CHECK(rig->loaded.frame > 0 || taken == (m->shards[i].copy == rig->model.copies[shard]),
                  "shard %u of the manifest: taken %d", shard, taken);
    }
    return OK;
}

static enum status flushers_open(struct archive_rig *rig) {
    if (rig->retention == NULL)
        TRY(retention_new(rig->retention_ms, NULL, 0, &rig->retention, &rig->err));
    for (unsigned i = 0; i < AR_CORES; i++) {
        struct flush_options fo = {.core = &rig->cores[i],
                                   .may = {may_write, NULL},
                                   .retention = rig->retention,
                                   .tick_ms = 10000,
                                   .patience_ms = 60000};
        core_set_current(rig->rt->cores[i]);
        enum status status = flusher_new(&fo, &rig->flushers[i], &rig->err);
        if (status == OK) flusher_start(rig->flushers[i]);
        core_set_current(NULL);
        TRY(status);
    }
    archive_start(rig->archive, rig->log);
    return OK;
}

static struct snapshot_place snapshot_at(const struct archive_rig *rig) {
    return (struct snapshot_place){.rt = rig->rt, .dir = rig->head_dir, .shards_count = AR_SHARDS};
}

/* What a clean stop left; else all of the log is read. */
static enum status snapshot_use(struct archive_rig *rig) {
    char log_dir[128];
    struct snapshot_place at = snapshot_at(rig);
    struct snapshot_load l = {.stores = rig->stores, .stores_count = AR_CORES, .log_dir = log_dir};
    snprintf(log_dir, sizeof log_dir, "%s/log", rig->dir);
    snprintf(rig->head_dir, sizeof rig->head_dir, "%s/head", rig->dir);
    rig->loaded = (struct log_end){0};
    if (rig->harmed != NULL) return snapshot_remove(&at, &rig->err); /* the log is to tell */
    struct snapshot_told told;
    struct log_end end = {0};
    bool spoiled;
    enum status status = snapshot_load(&at, &l, &end, &told, &spoiled, &rig->err);
    rig->loaded = end;
    rig->counts.loaded += status == OK;
    if (status == ERR_UNAVAILABLE || status == OK) return OK;
    /* one that was kept for longer than the files of the log that it needs */
    if (status == ERR_CORRUPT && strstr(rig->err.msg, "of another log") != NULL) return OK;
    RIG_CHECK(status == ERR_IO, "seed %" PRIu64 ": %s", rig->seed, rig->err.msg);
    return status;
}

void archive_rig_save(struct archive_rig *rig) {
    struct snapshot_place at = snapshot_at(rig);
    struct snapshot_save s = {.stores = rig->stores, .stores_count = AR_CORES};
    struct snapshot_told told;
    if (!log_get_end(rig->log, &s.end)) return;
    enum status status = snapshot_save(&at, &s, &told, &rig->err);
    RIG_CHECK(status == OK || status == ERR_IO || status == ERR_CONFLICT, "seed %" PRIu64 ": %s",
              rig->seed, rig->err.msg);
}

static enum status log_open_all(struct archive_rig *rig) {
    char dir[128];
    struct log_options lo = {.dir = dir,
                             .file_bytes_max = 4 << 10,
                             .frame_bytes_max = 16 << 20,
                             .sync_every_frame = true,
                             .on_file = rig_on_file,
                             .on_lost = rig_on_lost,
                             .known = rig->loaded};
    snprintf(dir, sizeof dir, "%s/log", rig->dir);
    TRY(log_open(rig->rt, &lo, rig_apply, rig, &rig->log, &rig->log_damaged, &rig->err));
    if (rig->log_damaged) rig->log_err = rig->err;
    RIG_CHECK(!rig->log_damaged || rig->hole || (rig->harmed != NULL && rig->harmed->is_log),
              "seed %" PRIu64 ": %s", rig->seed, rig->err.msg);
    RIG_CHECK(!rig->log_damaged || strstr(rig->err.msg, "/log-") != NULL, "no file is named: %s",
              rig->err.msg);
    for (unsigned i = 0; i < AR_CORES; i++)
        store_set_log(rig->stores[i], rig->log, rig_on_durable, rig);
    return OK;
}

static enum status shard_start(struct archive_rig *rig, uint32_t shard) {
    struct store *store = archive_rig_store(rig, shard);
    uint64_t position;
    if (store_damage(store, shard, &rig->err)) {
        bool by_manifest = rig->harmed != NULL && !rig->harmed->is_log;
        RIG_CHECK(rig->log_damaged || by_manifest, "seed %" PRIu64 ": %s", rig->seed, rig->err.msg);
        return !rig->hole || archive_rig_anew(rig, shard) ? OK : ERR_IO;
    }
    core_set_current(store_core(store));
    enum status status = store_open_epoch(store, shard, 1, &position, &rig->err);
    core_set_current(NULL);
    return status;
}

static enum status start_all(struct archive_rig *rig) {
    TRY(stores_open(rig));
    TRY(snapshot_use(rig));
    TRY(archive_open_all(rig));
    TRY(log_open_all(rig));
    if (rng_chance(&rig->rng, 0.7)) { /* it is right for longer */
        struct snapshot_place at = snapshot_at(rig);
        TRY(snapshot_remove(&at, &rig->err));
    }
    for (uint32_t s = 0; s < AR_SHARDS; s++)
        TRY(shard_start(rig, s));
    return flushers_open(rig);
}

/* What is cut and in blocks is counted from here on. */
static void marks_take(struct archive_rig *rig, bool count) {
    for (uint32_t s = 0; s < AR_SHARDS; s++) {
        struct store_archived a;
        if (!store_shard_archive(archive_rig_store(rig, s), s, &a)) continue;
        rig->counts.cuts += count && a.cut_ms > rig->cut_ms[s];
        rig->counts.flushes += count && a.from_ms > rig->from_ms[s];
        rig->counts.floors += count && a.floor_ms != INT64_MIN;
        rig->counts.ended_looks += count && ended_any(&a.ended);
        rig->cut_ms[s] = a.cut_ms;
        rig->from_ms[s] = a.from_ms;
    }
}

enum status archive_rig_start(struct archive_rig *rig) {
    RIG_CHECK(rig->rt == NULL, "still up");
    rig->rt = sim_start(rig->sim, 0);
    rig->rt->disk = &rig->disk.disk;
    rig->failed = rig->log_damaged = false;
    memset(rig->durable, 0, sizeof rig->durable);
    rig->counts.restarts++;
    enum status status = start_all(rig);
    if (status == OK) {
        marks_take(rig, false);
        return OK;
    }
    RIG_CHECK(strstr(rig->err.msg, rig->dir) != NULL, "seed %" PRIu64 ": no file is named: %s",
              rig->seed, rig->err.msg);
    archive_rig_kill(rig);
    return status;
}

/* -- life */

void archive_rig_kill(struct archive_rig *rig) {
    if (rig->rt == NULL) return;
    struct archive_stats stats = {0};
    if (rig->archive != NULL) archive_get_stats(rig->archive, &stats);
    rig->counts.merges += stats.merges;
    rig->counts.log_files_removed += stats.log_files_removed;
    sim_kill(rig->sim, 0);
    for (unsigned i = 0; i < AR_CORES; i++) {
        core_set_current(rig->rt->cores[i]);
        flusher_free(rig->flushers[i]);
        store_free(rig->stores[i]);
        rig->flushers[i] = NULL;
        rig->stores[i] = NULL;
    }
    core_set_current(NULL);
    archive_free(rig->archive);
    log_free(rig->log);
    rig->archive = NULL;
    rig->log = NULL;
    rig->rt = NULL;
}

void archive_rig_power_cut(struct archive_rig *rig) {
    rig->counts.power_cuts++;
    archive_rig_kill(rig);
    sim_disk_restart(rig->sd);
}

void archive_rig_step(struct archive_rig *rig) {
    RIG_CHECK(sim_step(rig->sim), "nothing is pending");
    if (rig->disk.full && sim_now_ms(rig->sim) >= rig->full_until_ms) rig->disk.full = false;
}

void archive_rig_run(struct archive_rig *rig, uint64_t ms) {
    uint64_t end = sim_now_ms(rig->sim) + ms;
    while (sim_now_ms(rig->sim) < end && !rig->failed)
        archive_rig_step(rig);
    marks_take(rig, true);
}

bool archive_rig_wait_durable(struct archive_rig *rig, unsigned core, uint64_t position) {
    while (rig->durable[core] < position && !rig->failed)
        archive_rig_step(rig);
    return !rig->failed;
}

uint64_t archive_rig_log_file(struct archive_rig *rig) {
    struct core *current = core_current();
    core_set_current(rig->rt->log_core);
    uint64_t file = log_current_file(rig->log);
    core_set_current(current);
    return file;
}

bool archive_rig_anew(struct archive_rig *rig, uint32_t shard) {
    struct store *store = archive_rig_store(rig, shard);
    uint64_t position;
    while (log_is_full(rig->log) && !rig->failed) /* it waits for room to begin in */
        archive_rig_step(rig);
    core_set_current(store_core(store));
    store_drop(store, shard, ++rig->model.copies[shard]);
    enum status status = store_open_epoch(store, shard, 1, &position, &rig->err);
    core_set_current(NULL);
    archive_model_forget(&rig->model, shard);
    rig->counts.anew++;
    return status == OK;
}
