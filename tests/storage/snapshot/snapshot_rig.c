/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/storage/snapshot/snapshot_rig.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "node/base/arena.h"
#include "node/base/bytes.h"
#include "node/base/log.h"
#include "node/runtime/disk.h"
#include "storage/histogram.h"

enum { SECRET = 91, BATCH_MAX = 24, WINDOW_MS = 300000, RANGE_MS = 600000 };
static const char data_dir[] = "data", log_dir[] = "data/log", head_dir[] = "data/head";

struct store *sr_store(const struct sr_node *n, uint32_t shard) {
    return n->stores[shard % n->cores_count];
}

struct snapshot_place sr_place(const struct sr_node *n) {
    return (struct snapshot_place){
        .rt = n->rt, .dir = head_dir, .cluster = {1, 2, 3}, .shards_count = SR_SHARDS};
}

/* -- the world */

void sr_world_init(struct sr_world *w, uint64_t seed) {
    struct rng rng;
    rng_init(&rng, seed);
    *w = (struct sr_world){.sim = sim_new(&(struct sim_options){
                               .seed = seed, .nodes_count = 3, .cores_per_node = SR_CORES}),
                           .with_archive = rng_chance(&rng, 0.5),
                           .with_drops = rng_chance(&rng, 0.5)};
    w->exemplars_max = w->with_drops || w->with_archive ? 10000 : 12;
    log_setup(LOG_ERROR + 1, LOG_LOGFMT, 2);
    for (size_t i = 0; i < SR_SERIES; i++) {
        char job[16], path[24];
        snprintf(job, sizeof job, "job-%zu", i % 3);
        snprintf(path, sizeof path, "/%zu", i);
        snprintf(w->names[i], sizeof w->names[i], "family_%zu", i);
        struct label labels[] = {{SV("__name__"), sv_from(i % 2 ? "a_total" : "b")},
                                 {SV("env"), SV("test")},
                                 {SV("instance"), sv_from(i % 3 ? "x:1" : "y:2")},
                                 {SV("job"), sv_from(job)},
                                 {SV("path"), sv_from(path)}};
        struct buf b = {0};
        RIG_CHECK(labels_encode(labels, ARRAY_LEN(labels), &b, NULL) == OK, "!");
        RIG_CHECK(b.len <= sizeof w->labels[i], "labels");
        memcpy(w->labels[i], b.ptr, b.len);
        w->labels_len[i] = b.len;
        w->ids[i] = series_id_of(SECRET, 0, buf_sv(&b));
        w->shards[i] = series_shard(w->ids[i], SR_SHARDS);
        buf_fini(&b);
    }
}

void sr_world_fini(struct sr_world *w) {
    sim_free(w->sim);
}

void sr_node_init(struct sr_node *n, struct sr_world *w, unsigned index, uint64_t seed) {
    *n = (struct sr_node){
        .world = w, .index = index, .disk = sim_disk_new(seed), .now_ms = SR_START_MS};
    rng_init(&n->rng, seed);
    for (uint32_t s = 0; s < SR_SHARDS; s++) {
        n->copies[s] = 2;
        n->epochs[s] = 1;
    }
}

void sr_node_fini(struct sr_node *n) {
    sr_kill(n);
    for (uint32_t s = 0; s < SR_SHARDS; s++)
        manifest_shard_fini(&n->manifest[s]);
    sim_disk_free(n->disk);
}

/* -- life */

static enum status on_entry(void *ctx, const struct entry *e, struct err *err) {
    struct sr_node *n = ctx;
    n->entries++;
    return store_recover(sr_store(n, e->shard), e, err);
}

static void on_file(void *ctx, uint64_t first_frame) {
    struct sr_node *n = ctx;
    for (unsigned i = 0; i < n->cores_count; i++)
        store_recover_file(n->stores[i], first_frame);
}

static void on_durable(struct store *store, uint64_t position, enum status status,
                       const struct err *err, void *ctx) {
    struct sr_node *n = ctx;
    (void)err;
    if (status == OK) n->durable[store_core(store)->index] = position;
}

static void on_block(struct store *store, uint64_t position, const struct store_block *block,
                     void *ctx) {
    struct sr_node *n = ctx;
    (void)store;
    (void)position;
    if (n->told != NULL) buf_put_sv(n->told, block->entries);
}

static void shard_open(struct sr_node *n, uint32_t shard) {
    struct store_shard_options o = {.shard = shard,
                                    .role = shard == SR_LOG    ? STORE_LOG
                                            : shard == SR_INIT ? STORE_INIT
                                                               : STORE_FULL,
                                    .in_sync = shard == SR_INIT,
                                    .copy = n->copies[shard],
                                    .epoch = n->epochs[shard]};
    struct err err;
    RIG_CHECK(store_shard_open(sr_store(n, shard), &o, &err) == OK, "%s", err.msg);
}

static void stores_open(struct sr_node *n) {
    struct store_options options = {
        .head = {.secret = SECRET, .out_of_order_window_ms = WINDOW_MS},
        .shards_count = SR_SHARDS,
        .exemplars_max = n->world->exemplars_max,
        .block_range_ms = RANGE_MS,
    };
    for (unsigned i = 0; i < n->cores_count; i++) {
        store_free(n->stores[i]);
        n->stores[i] = NULL;
        RIG_CHECK(store_new(n->rt->cores[i], &options, &n->stores[i], NULL) == OK, "!");
    }
    for (uint32_t s = 0; s < SR_SHARDS; s++)
        shard_open(n, s);
}

static struct log_end snapshot_use(struct sr_node *n, bool *out_spoiled) {
    struct snapshot_place at = sr_place(n);
    struct snapshot_load l = {
        .stores = n->stores, .stores_count = n->cores_count, .log_dir = log_dir};
    struct log_end end = {0};
    n->why = (struct err){0};
    n->loaded = snapshot_load(&at, &l, &end, &n->snapshot, out_spoiled, &n->why) == OK;
    return n->loaded ? end : (struct log_end){0};
}

static bool epoch_open(struct sr_node *n, uint32_t shard) {
    struct store *store = sr_store(n, shard);
    struct err err;
    uint64_t position;
    core_set_current(store_core(store));
    enum status status = store_open_epoch(store, shard, n->epochs[shard], &position, &err);
    core_set_current(NULL);
    RIG_CHECK(status == OK, "shard %u: %s", shard, err.msg);
    return true;
}

bool sr_start(struct sr_node *n, unsigned cores_count) {
    struct err err;
    bool damaged = false;
    n->rt = sim_start(n->world->sim, n->index);
    n->rt->disk = n->real != NULL ? n->real : sim_disk_as_disk(n->disk);
    n->cores_count = cores_count;
    n->entries = 0;
    memset(n->durable, 0, sizeof n->durable);
    stores_open(n);
    bool spoiled;
    struct log_options lo = {.dir = log_dir,
                             .file_bytes_max = 9000,
                             .frame_bytes_max = 1 << 20,
                             .sync_every_frame = true,
                             .on_file = on_file,
                             .known = snapshot_use(n, &spoiled)};
    if (spoiled) stores_open(n);
    for (uint32_t s = 0; s < SR_SHARDS; s++) {
        bool taken;
        if (n->manifest[s].copy == 0) continue;
        RIG_CHECK(store_shard_base(sr_store(n, s), &n->manifest[s], &taken, &err) == OK, "%s",
                  err.msg);
    }
    enum status status = log_open(n->rt, &lo, on_entry, n, &n->log, &damaged, &err);
    struct snapshot_place at = sr_place(n);
    if (status == OK) status = snapshot_remove(&at, &err);
    if (status != OK) {
        RIG_CHECK(err.os != 0 || status == ERR_IO, "%s", err.msg);
        sr_kill(n);
        return false;
    }
    RIG_CHECK(!damaged, "%s", err.msg);
    for (unsigned i = 0; i < cores_count; i++) {
        RIG_CHECK(store_damaged_shards(n->stores[i], NULL, 0) == 0, "damaged");
        store_set_log(n->stores[i], n->log, on_durable, n);
        store_set_block_hook(n->stores[i], on_block, n);
    }
    return true;
}

void sr_kill(struct sr_node *n) {
    if (n->rt == NULL) return;
    sim_kill(n->world->sim, n->index);
    for (unsigned i = 0; i < SR_CORES; i++) {
        store_free(n->stores[i]);
        n->stores[i] = NULL;
    }
    log_free(n->log);
    n->log = NULL;
    n->rt = NULL;
}

void sr_power_cut(struct sr_node *n) {
    sr_kill(n);
    sim_disk_restart(n->disk);
}

void sr_probe_stores(struct sr_node *n) {
    if (n->rt == NULL) {
        n->rt = sim_start(n->world->sim, n->index);
        n->rt->disk = n->real != NULL ? n->real : sim_disk_as_disk(n->disk);
        n->cores_count = 1;
    }
    stores_open(n);
}

enum status sr_probe_load(struct sr_node *n, struct err *err) {
    bool spoiled;
    (void)snapshot_use(n, &spoiled);
    *err = n->why;
    return n->loaded ? OK : n->why.code;
}

enum status sr_probe(struct sr_node *n, struct err *err) {
    sr_probe_stores(n);
    return sr_probe_load(n, err);
}

struct copying {
    struct disk *from, *to;
    const char *dir;
};

static bool file_copy(void *ctx, const char *name) {
    const struct copying *c = ctx;
    char path[256];
    struct buf bytes = {0};
    struct err err;
    snprintf(path, sizeof path, "%s/%s", c->dir, name);
    RIG_CHECK(disk_read_file(c->from, path, 1 << 26, &bytes, &err) == OK, "%s", err.msg);
    RIG_CHECK(disk_write_file(c->to, path, buf_sv(&bytes), &err) == OK, "%s", err.msg);
    buf_fini(&bytes);
    return true;
}

static bool name_count(void *ctx, const char *name) {
    (void)name;
    ++*(size_t *)ctx;
    return true;
}

static bool file_remove(void *ctx, const char *name) {
    const struct copying *c = ctx;
    char path[256];
    snprintf(path, sizeof path, "%s/%s", c->dir, name);
    RIG_CHECK(disk_unlink(c->to, path, NULL) == OK, "!");
    return false;
}

static void dir_clear(const struct copying *c) {
    struct copying at = *c;
    for (size_t left = 1; left > 0;) {
        left = 0;
        RIG_CHECK(disk_list(c->to, c->dir, name_count, &left, NULL) == OK, "!");
        if (left > 0) RIG_CHECK(disk_list(c->to, c->dir, file_remove, &at, NULL) == OK, "!");
    }
}

void sr_copy(struct sr_node *to, const struct sr_node *from, bool with_snapshot) {
    struct copying c = {sim_disk_as_disk(from->disk), sim_disk_as_disk(to->disk), log_dir};
    RIG_CHECK(disk_mkdir(c.to, data_dir, NULL) == OK && disk_mkdir(c.to, log_dir, NULL) == OK, "!");
    dir_clear(&c);
    RIG_CHECK(disk_list(c.from, log_dir, file_copy, &c, NULL) == OK, "!");
    c.dir = head_dir;
    if (with_snapshot) {
        RIG_CHECK(disk_mkdir(c.to, head_dir, NULL) == OK, "!");
        dir_clear(&c);
        RIG_CHECK(disk_list(c.from, head_dir, file_copy, &c, NULL) == OK, "!");
    }
    for (uint32_t s = 0; s < SR_SHARDS; s++) {
        to->copies[s] = from->copies[s];
        to->epochs[s] = from->epochs[s];
        manifest_shard_fini(&to->manifest[s]);
        to->manifest[s] = (struct manifest_shard){0};
        if (from->manifest[s].copy == 0) continue;
        RIG_CHECK(manifest_shard_copy(&from->manifest[s], &to->manifest[s]) == OK, "memory");
    }
    to->now_ms = from->now_ms;
}

static bool is_settled(void *ctx) {
    const struct sr_node *n = ctx;
    for (unsigned i = 0; i < n->cores_count; i++) {
        struct store_ops ops;
        store_ops_init(&ops, n->stores[i]);
        if (n->durable[i] < ops.position(ops.ctx)) return false;
    }
    return true;
}

void sr_settle(struct sr_node *n) {
    RIG_CHECK(sim_run(n->world->sim, is_settled, n, sim_now_ms(n->world->sim) + 3600000),
              "the log does not end");
    struct log_end end;
    for (unsigned i = 0; i < 100 && !log_get_end(n->log, &end); i++)
        if (!sim_step(n->world->sim)) break;
}

enum status sr_save(struct sr_node *n, struct err *err) {
    struct snapshot_place at = sr_place(n);
    struct snapshot_save s = {.stores = n->stores,
                              .stores_count = n->cores_count,
                              .goes_on = n->goes_on,
                              .ctx = n->goes_on_ctx};
    struct snapshot_told told;
    sr_settle(n);
    RIG_CHECK(log_get_end(n->log, &s.end) || s.end.frame == 0, "the log's end is not known");
    return snapshot_save(&at, &s, &told, err);
}

/* -- operations */

static struct sv histogram_of(struct sr_node *n, double sum, struct buf *out) {
    struct histogram_span span = {(int32_t)rng_below(&n->rng, 4), 2};
    int64_t deltas[2] = {3, (int64_t)rng_below(&n->rng, 3)};
    struct histogram h = {.sum = sum,
                          .start_ms = (int64_t)rng_below(&n->rng, 2) * 9,
                          .count = 6 + (uint64_t)deltas[1],
                          .positive = {&span, 1, 2, .deltas = deltas}};
    size_t before = out->len;
    histogram_put(&h, out);
    return sv_make(out->ptr + before, out->len - before);
}

struct batch {
    series_id ids[BATCH_MAX];
    uint32_t shards[BATCH_MAX];
    int64_t times_ms[BATCH_MAX], starts_ms[BATCH_MAX];
    double values[BATCH_MAX];
    struct sv labels[BATCH_MAX], histograms[BATCH_MAX];
    struct write_exemplar exemplars[BATCH_MAX];
    struct write_metadata metadata[4];
    struct write_columns columns;
    char bytes[BATCH_MAX * 64];
    struct buf histogram_bytes;
};

static void batch_sample(struct sr_node *n, struct batch *b, size_t s) {
    struct sr_world *w = n->world;
    size_t i = b->columns.count++;
    uint64_t back = rng_chance(&n->rng, 0.8) ? 0 : rng_below(&n->rng, 40);
    bool is_histogram = s % 4 == 1 || (s % 4 == 2 && rng_chance(&n->rng, 0.3));
    b->ids[i] = w->ids[s];
    b->shards[i] = w->shards[s];
    b->times_ms[i] = n->now_ms - (int64_t)back * SR_SLOT_MS;
    b->values[i] = s % 5 == 0 ? 7 : (double)rng_below(&n->rng, 1000) / 8;
    b->labels[i] = sv_make(w->labels[s], w->labels_len[s]);
    b->histograms[i] =
        is_histogram ? histogram_of(n, b->values[i], &b->histogram_bytes) : (struct sv){0};
    b->starts_ms[i] =
        s % 4 == 3 && rng_chance(&n->rng, 0.7) ? SR_START_MS - (int64_t)rng_below(&n->rng, 3) : 0;
    if (w->with_archive || !rng_chance(&n->rng, 0.2)) return;
    b->exemplars[b->columns.exemplars_count++] = (struct write_exemplar){
        w->ids[s], w->shards[s], b->times_ms[i], (double)rng_below(&n->rng, 3), SV("")};
}

static void batch_metadata(struct sr_node *n, struct batch *b, uint32_t shard) {
    static const char *const helps[] = {"one", "two", "three"};
    for (size_t i = 0; i < SR_SERIES && b->columns.metadata_count < 4; i++) {
        struct sv name = sv_from(n->world->names[i]);
        uint32_t of;
        RIG_CHECK(metadata_shard(SECRET, 0, SR_SHARDS, name, &of) == OK, "!");
        if (of != shard || !rng_chance(&n->rng, 0.1)) continue;
        b->metadata[b->columns.metadata_count++] = (struct write_metadata){
            shard, {name, 1, sv_from(helps[rng_below(&n->rng, 3)]), SV("s")}};
    }
}

static void step_write(struct sr_node *n) {
    static struct batch b;
    uint32_t shard = (uint32_t)rng_below(&n->rng, SR_SHARDS), *unknown;
    size_t unknown_count;
    struct write_result r;
    struct err err;
    struct arena scratch;
    b.columns = (struct write_columns){.ids = b.ids,
                                       .shards = b.shards,
                                       .times_ms = b.times_ms,
                                       .values = b.values,
                                       .labels = b.labels,
                                       .starts_ms = b.starts_ms,
                                       .histograms = b.histograms,
                                       .exemplars = b.exemplars,
                                       .metadata = b.metadata};
    b.histogram_bytes = (struct buf){.ptr = b.bytes, .cap = sizeof b.bytes};
    n->now_ms += (int64_t)rng_below(&n->rng, 3) * SR_SLOT_MS;
    for (size_t s = 0; s < SR_SERIES && b.columns.count < BATCH_MAX; s++)
        if (n->world->shards[s] == shard && rng_chance(&n->rng, 0.8)) batch_sample(n, &b, s);
    if (shard < SR_FULL && rng_chance(&n->rng, 0.2)) batch_metadata(n, &b, shard);
    if (shard >= SR_FULL) b.columns.exemplars_count = b.columns.metadata_count = 0;
    if (b.columns.count == 0) return;
    struct store *store = sr_store(n, shard);
    arena_init(&scratch, 0);
    core_set_current(store_core(store));
    enum status status = shard < SR_FULL ? store_write(store, &b.columns, n->now_ms, &scratch, &r,
                                                       &unknown, &unknown_count, &err)
                                         : store_offer(store, &b.columns, n->now_ms, &scratch, &r,
                                                       &unknown, &unknown_count, &err);
    core_set_current(NULL);
    arena_fini(&scratch);
    RIG_CHECK(status == OK, "%s", err.msg);
    for (unsigned v = 0; v < VERDICT_COUNT && n->told != NULL; v++)
        buf_printf(n->told, " %u", r.counts[v]);
    if (n->told != NULL)
        buf_printf(n->told, " %u %u %s\n", r.exemplars_kept, r.metadata_kept,
                   r.refused ? r.first_text : "");
}

static void step_delete(struct sr_node *n) {
    static const char *const jobs[] = {"job-0", "job-1", "job-.*"};
    uint32_t shard = (uint32_t)rng_below(&n->rng, SR_FULL);
    struct store *store = sr_store(n, shard);
    struct matcher m = {.kind = MATCH_RE, .name = SV("job"), .value = SV("")};
    struct buf bytes = {0};
    struct err err;
    uint64_t position;
    m.value = sv_from(jobs[rng_below(&n->rng, 3)]);
    int64_t from_ms = n->now_ms - (int64_t)rng_below(&n->rng, 300) * SR_SLOT_MS;
    entry_matchers_put(&m, 1, &bytes);
    struct entry_delete d = {.min_ms = from_ms,
                             .max_ms = from_ms + (int64_t)rng_below(&n->rng, 40) * SR_SLOT_MS,
                             .matchers_bytes = buf_sv(&bytes)};
    core_set_current(store_core(store));
    enum status status = store_delete(store, shard, &d, &position, &err);
    core_set_current(NULL);
    buf_fini(&bytes);
    RIG_CHECK(status == OK, "%s", err.msg);
}

static bool may_write(void *ctx, uint32_t shard) {
    struct sr_node *n = ctx;
    (void)shard;
    return rng_chance(&n->rng, 0.8);
}

static void step_cut(struct sr_node *n) {
    struct store *store = n->stores[rng_below(&n->rng, n->cores_count)];
    struct store_may may = {may_write, n};
    struct err err;
    core_set_current(store_core(store));
    RIG_CHECK(store_cut_due(store, 1, &may, &err) == OK, "%s", err.msg);
    core_set_current(NULL);
}

/* As a flush does it; sometimes the process ends before the store is told. */
static void step_advance(struct sr_node *n) {
    uint32_t shard = (uint32_t)rng_below(&n->rng, SR_FULL);
    struct store *store = sr_store(n, shard);
    struct manifest_shard s;
    sr_settle(n);
    if (!n->world->with_archive || !store_shard_is_due(store, shard)) return;
    core_set_current(store_core(store));
    int64_t closed_ms = store_shard_closed(store, shard);
    RIG_CHECK(store_shard_record(store, shard, closed_ms, &s) == OK, "memory");
    if (rng_chance(&n->rng, 0.9)) store_shard_advance(store, &s);
    core_set_current(NULL);
    manifest_shard_fini(&n->manifest[shard]);
    n->manifest[shard] = s;
}

static void step_floor(struct sr_node *n) {
    struct store *store = n->stores[rng_below(&n->rng, n->cores_count)];
    struct store_floors floors = {
        .may = {may_write, n}, .retention_ms = 90 * 60000, .at_least_ms = INT64_MIN};
    struct err err;
    core_set_current(store_core(store));
    RIG_CHECK(store_floor_due(store, &floors, &err) == OK, "%s", err.msg);
    /* with a series its exemplars go, which a log that is read again does not know */
    if (n->world->with_archive) (void)head_trim(store_head(store), 0);
    core_set_current(NULL);
}

static void step_drop(struct sr_node *n) {
    uint32_t shard = (uint32_t)rng_below(&n->rng, SR_SHARDS);
    if (!n->world->with_drops || !rng_chance(&n->rng, 0.3)) return;
    n->copies[shard] += 2;
    n->epochs[shard]++;
    core_set_current(store_core(sr_store(n, shard)));
    store_drop(sr_store(n, shard), shard, n->copies[shard]);
    core_set_current(NULL);
    manifest_shard_fini(&n->manifest[shard]);
    n->manifest[shard] = (struct manifest_shard){0};
    shard_open(n, shard);
    epoch_open(n, shard);
}

static void step_epoch(struct sr_node *n) {
    uint32_t shard = (uint32_t)rng_below(&n->rng, SR_SHARDS);
    n->epochs[shard] += 1 + (uint32_t)rng_below(&n->rng, 2);
    epoch_open(n, shard);
}

void sr_work(struct sr_node *n, unsigned steps) {
    for (uint32_t s = 0; s < SR_SHARDS; s++) /* no-op where it is */
        epoch_open(n, s);
    for (unsigned i = 0; i < steps; i++) {
        uint64_t r = rng_below(&n->rng, 100);
        if (r < 84)
            step_write(n);
        else if (r < 87)
            step_delete(n);
        else if (r < 90)
            step_cut(n);
        else if (r < 94)
            step_advance(n);
        else if (r < 96)
            step_floor(n);
        else if (r < 98)
            step_epoch(n);
        else
            step_drop(n);
        if (rng_chance(&n->rng, 0.3)) sr_settle(n);
    }
    sr_settle(n);
}
