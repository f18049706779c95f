/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/storage/archive/archive_rig.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "node/base/bytes.h"
#include "node/base/log.h"
#include "storage/entry.h"

static const char *const jobs[] = {"api", "db", "web"};

void archive_rig_init(struct archive_rig *rig, uint64_t seed) {
    *rig = (struct archive_rig){.seed = seed,
                                .sd = sim_disk_new(seed),
                                .sim = sim_new(&(struct sim_options){
                                    .seed = seed, .nodes_count = 1, .cores_per_node = AR_CORES}),
                                .merged_ms_max = 18 * AR_HOUR_MS,
                                .now_ms = AR_START_MS};
    rng_init(&rig->rng, seed);
    log_setup(LOG_ERROR + 1, LOG_LOGFMT, 2);
    for (size_t i = 0; i < AR_SERIES; i++) {
        char instance[16];
        snprintf(instance, sizeof instance, "host-%zu", i);
        struct label labels[] = {{SV("__name__"), SV("up")},
                                 {SV("instance"), sv_from(instance)},
                                 {SV("job"), sv_from(jobs[i % ARRAY_LEN(jobs)])}};
        struct buf b = {0};
        struct model_series *s = &rig->series[i];
        RIG_CHECK(labels_encode(labels, 3, &b, NULL) == OK && b.len <= sizeof s->canonical, "!");
        memcpy(s->canonical, b.ptr, b.len);
        s->canonical_len = b.len;
        s->id = series_id_of(AR_SECRET, 0, buf_sv(&b));
        s->shard = series_shard(s->id, AR_SHARDS);
        buf_fini(&b);
    }
    for (uint32_t i = 0; i < AR_SHARDS; i++) {
        rig->newest_ms[i] = INT64_MIN;
        rig->copies[i] = 1;
    }
}

void archive_rig_fini(struct archive_rig *rig) {
    archive_rig_kill(rig);
    sim_free(rig->sim);
    sim_disk_free(rig->sd);
}

/* -- life */

static struct store *store_of(struct archive_rig *rig, uint32_t shard) {
    return rig->stores[shard % AR_CORES];
}

static enum status rig_apply(void *ctx, const struct entry *e, struct err *err) {
    return store_recover(store_of(ctx, e->shard), e, err);
}

static void rig_on_file(void *ctx, uint64_t first_frame) {
    struct archive_rig *rig = ctx;
    for (unsigned i = 0; i < AR_CORES; i++)
        store_recover_file(rig->stores[i], first_frame);
}

static void rig_on_durable(struct store *store, uint64_t position, enum status status,
                           const struct err *err, void *ctx) {
    struct archive_rig *rig = ctx;
    (void)err;
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
            store_of(rig, s),
            &(struct store_shard_options){
                .shard = s, .role = STORE_FULL, .copy = rig->copies[s], .epoch = 1},
            &rig->err));
    return OK;
}

static uint32_t copy_of_shard(void *ctx, uint32_t shard) {
    return store_shard_copy(store_of(ctx, shard), shard);
}

static enum status archive_open_all(struct archive_rig *rig) {
    struct archive_options ao = {.dir = "data/blocks",
                                 .secret = AR_SECRET,
                                 .shards_count = AR_SHARDS,
                                 .range_ms = 2 * AR_HOUR_MS,
                                 .merged_ms_max = rig->merged_ms_max,
                                 .bytes_max = rig->retention_bytes,
                                 .round_ms = 10000};
    TRY(archive_open(rig->rt, &ao, &rig->archive, &rig->err));
    TRY(archive_adopt(rig->archive, &(struct archive_copies){copy_of_shard, rig}, &rig->err));
    for (unsigned i = 0; i < AR_CORES; i++) {
        rig->cores[i] = (struct archive_core){.core = rig->rt->cores[i], .store = rig->stores[i]};
        archive_add_core(rig->archive, &rig->cores[i]);
    }
    const struct manifest *m = archive_manifest(rig->archive);
    for (uint32_t i = 0; i < m->shards_count; i++) {
        bool taken;
        struct store *store = store_of(rig, m->shards[i].shard);
        TRY(store_shard_base(store, &m->shards[i], &taken, &rig->err));
        RIG_CHECK(taken == (m->shards[i].copy == rig->copies[m->shards[i].shard]),
                  "shard %u of the manifest: taken %d", m->shards[i].shard, taken);
    }
    return OK;
}

static enum status flushers_open(struct archive_rig *rig) {
    for (unsigned i = 0; i < AR_CORES; i++) {
        struct flush_options fo = {.core = &rig->cores[i],
                                   .may = {may_write, NULL},
                                   .retention_ms = rig->retention_ms,
                                   .tick_ms = 10000,
                                   .patience_ms = 60000};
        core_set_current(rig->rt->cores[i]);
        enum status status = flusher_new(&fo, &rig->flushers[i], &rig->err);
        core_set_current(NULL);
        TRY(status);
    }
    archive_start(rig->archive, rig->log);
    return OK;
}

static enum status start_all(struct archive_rig *rig) {
    bool damaged = false;
    struct log_options lo = {.dir = "data/log",
                             .file_bytes_max = 4 << 10,
                             .frame_bytes_max = 16 << 20,
                             .sync_every_frame = true,
                             .on_file = rig_on_file};
    TRY(stores_open(rig));
    TRY(archive_open_all(rig));
    TRY(log_open(rig->rt, &lo, rig_apply, rig, &rig->log, &damaged, &rig->err));
    RIG_CHECK(!damaged, "seed %" PRIu64 ": %s", rig->seed, rig->err.msg);
    for (unsigned i = 0; i < AR_CORES; i++)
        store_set_log(rig->stores[i], rig->log, rig_on_durable, rig);
    for (uint32_t s = 0; s < AR_SHARDS; s++) {
        struct store *store = store_of(rig, s);
        uint64_t position;
        RIG_CHECK(!store_damage(store, s, &rig->err), "seed %" PRIu64 ": %s", rig->seed,
                  rig->err.msg);
        core_set_current(store_core(store));
        enum status status = store_open_epoch(store, s, 1, &position, &rig->err);
        core_set_current(NULL);
        TRY(status);
    }
    return flushers_open(rig);
}

enum status archive_rig_start(struct archive_rig *rig) {
    RIG_CHECK(rig->rt == NULL, "still up");
    rig->rt = sim_start(rig->sim, 0);
    rig->rt->disk = sim_disk_as_disk(rig->sd);
    rig->failed = false;
    memset(rig->durable, 0, sizeof rig->durable);
    rig->counts.restarts++;
    enum status status = start_all(rig);
    if (status != OK) archive_rig_kill(rig);
    return status;
}

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

void archive_rig_run(struct archive_rig *rig, uint64_t ms) {
    uint64_t end = sim_now_ms(rig->sim) + ms;
    while (sim_now_ms(rig->sim) < end && !rig->failed)
        RIG_CHECK(sim_step(rig->sim), "nothing is pending");
}

/* -- the workload */

static bool wait_durable(struct archive_rig *rig, unsigned core, uint64_t position) {
    while (rig->durable[core] < position && !rig->failed)
        RIG_CHECK(sim_step(rig->sim), "not durable");
    return !rig->failed;
}

static struct model_sample *model_find(struct model_series *s, int64_t time_ms) {
    for (size_t i = 0; i < s->count; i++)
        if (s->samples[i].time_ms == time_ms && s->samples[i].state != MODEL_NONE)
            return &s->samples[i];
    return NULL;
}

bool archive_rig_write(struct archive_rig *rig, size_t series, int64_t time_ms, double value) {
    struct model_series *s = &rig->series[series];
    struct store *store = store_of(rig, s->shard);
    struct sv labels = sv_make(s->canonical, s->canonical_len);
    struct write_columns columns = {.count = 1,
                                    .ids = &s->id,
                                    .shards = &s->shard,
                                    .times_ms = &time_ms,
                                    .values = &value,
                                    .labels = &labels};
    struct write_result r = {0};
    struct arena scratch;
    uint32_t *unknown;
    size_t unknown_count;
    struct model_sample *held = model_find(s, time_ms);
    arena_init(&scratch, 0);
    core_set_current(store_core(store));
    enum status status =
        store_write(store, &columns, time_ms, &scratch, &r, &unknown, &unknown_count, &rig->err);
    core_set_current(NULL);
    arena_fini(&scratch);
    if (status != OK) return false;
    if (r.counts[VERDICT_ACCEPT] == 0) {
        /* Refused only when it is old: nothing is, within the window. */
        rig->counts.refused++;
        RIG_CHECK(held != NULL || time_ms < rig->newest_ms[s->shard] - 1800000,
                  "seed %" PRIu64 ": %s", rig->seed, r.first_text);
        return true;
    }
    RIG_CHECK(held == NULL || held->state == MODEL_MAYBE, "seed %" PRIu64 ": taken twice",
              rig->seed);
    rig->counts.accepted++;
    rig->newest_ms[s->shard] = MAX(rig->newest_ms[s->shard], time_ms);
    RIG_CHECK(s->count < AR_SAMPLES_MAX, "too many samples");
    struct model_sample *at = held != NULL ? held : &s->samples[s->count++];
    *at = (struct model_sample){time_ms, value, MODEL_MAYBE};
    if (!wait_durable(rig, store_core(store)->index, r.position)) return false;
    at->state = MODEL_HELD;
    return true;
}

static bool model_matches(const struct model_series *s, const struct matcher *matchers,
                          size_t count) {
    for (size_t i = 0; i < count; i++) {
        struct sv rest = sv_make(s->canonical, s->canonical_len), value = {0};
        struct label label;
        while (labels_next(&rest, &label, NULL))
            if (sv_eq(label.name, matchers[i].name)) value = label.value;
        if (!matcher_match(&matchers[i], value)) return false;
    }
    return true;
}

static void model_mark(struct archive_rig *rig, uint32_t shard, const struct matcher *matchers,
                       size_t count, struct model_sample range, bool surely) {
    for (size_t i = 0; i < AR_SERIES; i++) {
        struct model_series *s = &rig->series[i];
        if (s->shard != shard || !model_matches(s, matchers, count)) continue;
        for (size_t k = 0; k < s->count; k++) {
            struct model_sample *at = &s->samples[k];
            if (at->state == MODEL_NONE || at->time_ms < range.time_ms ||
                (double)at->time_ms > range.value)
                continue;
            rig->counts.deleted += surely;
            at->state = surely ? MODEL_NONE : MODEL_MAYBE;
        }
    }
}

bool archive_rig_delete(struct archive_rig *rig, const struct matcher *matchers, size_t count,
                        int64_t min_ms, int64_t max_ms) {
    struct buf bytes = {0};
    entry_matchers_put(matchers, count, &bytes);
    struct entry_delete d = {.min_ms = min_ms, .max_ms = max_ms, .matchers_bytes = buf_sv(&bytes)};
    struct model_sample range = {min_ms, (double)max_ms, MODEL_NONE};
    bool ok = true;
    for (uint32_t shard = 0; shard < AR_SHARDS && ok; shard++) {
        struct store *store = store_of(rig, shard);
        uint64_t position;
        core_set_current(store_core(store));
        ok = store_delete(store, shard, &d, &position, &rig->err) == OK;
        core_set_current(NULL);
        if (!ok) break;
        model_mark(rig, shard, matchers, count, range, false);
        ok = wait_durable(rig, store_core(store)->index, position);
        if (ok) model_mark(rig, shard, matchers, count, range, true);
    }
    buf_fini(&bytes);
    return ok;
}

bool archive_rig_anew(struct archive_rig *rig, uint32_t shard) {
    struct store *store = store_of(rig, shard);
    uint64_t position;
    core_set_current(store_core(store));
    store_drop(store, shard, ++rig->copies[shard]);
    enum status status = store_open_epoch(store, shard, 1, &position, &rig->err);
    core_set_current(NULL);
    rig->newest_ms[shard] = INT64_MIN;
    for (size_t i = 0; i < AR_SERIES; i++)
        if (rig->series[i].shard == shard) rig->series[i].count = 0;
    rig->counts.anew++;
    return status == OK;
}

/* -- what is there */

static int by_time(const void *a, const void *b) {
    const struct model_sample *x = a, *y = b;
    if ((x->state == MODEL_NONE) != (y->state == MODEL_NONE))
        return x->state == MODEL_NONE ? 1 : -1;
    return (x->time_ms > y->time_ms) - (x->time_ms < y->time_ms);
}

/* Those that are there and may be: there from now on; those that are not: gone. */
static void series_verify(struct archive_rig *rig, size_t series, const struct samples *got,
                          int64_t floor_ms) {
    struct model_series *s = &rig->series[series];
    size_t at = 0;
    qsort(s->samples, s->count, sizeof *s->samples, by_time);
    while (s->count > 0 && s->samples[s->count - 1].state == MODEL_NONE)
        s->count--;
    for (size_t i = 0; i < s->count; i++) {
        struct model_sample *want = &s->samples[i];
        bool there = at < got->count && got->times_ms[at] == want->time_ms;
        if (want->time_ms < floor_ms && !there) { /* until the floor is durable, it may come back */
            want->state = MODEL_MAYBE;
            continue;
        }
        RIG_CHECK(there || want->state == MODEL_MAYBE,
                  "seed %" PRIu64 ": series %zu (shard %u) lacks %" PRId64 ", %" PRId64
                  " ms before its shard's newest",
                  rig->seed, series, s->shard, want->time_ms,
                  rig->newest_ms[s->shard] - want->time_ms);
        if (!there) {
            want->state = MODEL_NONE;
            continue;
        }
        RIG_CHECK(f64_bits(got->values[at]) == f64_bits(want->value), "seed %" PRIu64 ": value",
                  rig->seed);
        want->state = MODEL_HELD;
        at++;
    }
    RIG_CHECK(at == got->count,
              "seed %" PRIu64 ": series %zu (shard %u) has %" PRId64
              ", which was not sent, or deleted, or is there twice",
              rig->seed, series, s->shard, got->times_ms[at]);
}

static size_t series_of(const struct archive_rig *rig, series_id id) {
    for (size_t i = 0; i < AR_SERIES; i++)
        if (series_id_eq(rig->series[i].id, id)) return i;
    RIG_CHECK(false, "a series that nobody sent");
    return 0;
}

static void core_verify(struct archive_rig *rig, unsigned core, bool seen[AR_SERIES]) {
    struct store *store = rig->stores[core];
    uint64_t bits = (1 << AR_SHARDS) - 1;
    struct shard_set all = {&bits, AR_SHARDS};
    struct select_query q = {.shards = &all, .from_ms = INT64_MIN, .to_ms = INT64_MAX};
    struct stored stored;
    struct samples got = {0};
    bool done = false;
    core_set_current(rig->rt->cores[core]);
    stored_init(&stored, store, &q);
    while (!done)
        RIG_CHECK(stored_select(&stored, 0, &done, &rig->err) == OK, "%s", rig->err.msg);
    rig->counts.from_blocks += stored_needs_disk(&stored);
    RIG_CHECK(stored_find(&stored, &rig->err) == OK, "%s", rig->err.msg);
    for (size_t i = 0; i < stored.count; i++) {
        size_t s = series_of(rig, stored_id(&stored, i));
        struct label labels[8];
        struct buf canonical = {0};
        struct store_archived a;
        RIG_CHECK(!seen[s], "series %zu twice", s);
        seen[s] = true;
        size_t count = stored_labels(&stored, i, labels, ARRAY_LEN(labels));
        RIG_CHECK(labels_encode(labels, count, &canonical, NULL) == OK, "!");
        RIG_CHECK(sv_eq(buf_sv(&canonical),
                        sv_make(rig->series[s].canonical, rig->series[s].canonical_len)),
                  "labels of series %zu", s);
        buf_fini(&canonical);
        samples_clear(&got);
        RIG_CHECK(stored_read(&stored, i, INT64_MIN, INT64_MAX, &got, &rig->err) == OK, "%s",
                  rig->err.msg);
        RIG_CHECK(store_shard_archive(store, rig->series[s].shard, &a), "!");
        series_verify(rig, s, &got, a.floor_ms);
    }
    samples_fini(&got);
    stored_release(&stored);
    core_set_current(NULL);
}

void archive_rig_verify(struct archive_rig *rig) {
    bool seen[AR_SERIES] = {false};
    struct samples none = {0};
    rig->counts.reads++;
    for (unsigned i = 0; i < AR_CORES; i++)
        core_verify(rig, i, seen);
    for (size_t i = 0; i < AR_SERIES; i++) {
        struct store_archived a;
        if (seen[i]) continue;
        RIG_CHECK(
            store_shard_archive(store_of(rig, rig->series[i].shard), rig->series[i].shard, &a),
            "!");
        series_verify(rig, i, &none, a.floor_ms);
    }
}
