/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/storage/store_rig.h"

#include <stdio.h>
#include <stdlib.h>

#include "node/base/bytes.h"
#include "node/base/log.h"
#include "storage/histogram.h"

enum { BATCH_SAMPLES_MAX = 24 };
#define STORE_NOW_MS (STORE_START_MS + STORE_SLOTS * (int64_t)STORE_SLOT_MS)

struct store_batch {
    struct store_batch *next;
    unsigned core;
    uint64_t position;
    size_t count;
    uint16_t series[BATCH_SAMPLES_MAX], slots[BATCH_SAMPLES_MAX];
};

double store_rig_value(size_t series, size_t slot) {
    return (double)(series * 1000 + slot) / 8;
}

void store_rig_init(struct store_rig *rig, uint64_t seed) {
    *rig = (struct store_rig){
        .log_options = {.dir = "data/log",
                        .file_bytes_max = 8 << 10,
                        .frame_bytes_max = 16 << 20,
                        .sync_every_frame = true},
        .options = {.head = {.secret = STORE_SECRET, .out_of_order_window_ms = 1800000},
                    .shards_count = STORE_SHARDS},
        .sd = sim_disk_new(seed),
        .sim = sim_new(
            &(struct sim_options){.seed = seed, .nodes_count = 1, .cores_per_node = STORE_CORES}),
        .epoch = 1,
    };
    rng_init(&rig->rng, seed);
    log_setup(LOG_ERROR + 1, LOG_LOGFMT, 2);
    for (size_t i = 0; i < STORE_SERIES; i++) {
        char job[16];
        snprintf(job, sizeof job, "job-%zu", i);
        struct label labels[] = {{SV("__name__"), SV("up")}, {SV("job"), sv_from(job)}};
        struct buf b = {0};
        RIG_CHECK(labels_encode(labels, 2, &b, NULL) == OK && b.len <= sizeof rig->series[i], "!");
        memcpy(rig->series[i], b.ptr, b.len);
        rig->series_len[i] = b.len;
        rig->ids[i] = series_id_of(STORE_SECRET, 0, buf_sv(&b));
        rig->shards[i] = series_shard(rig->ids[i], STORE_SHARDS);
        buf_fini(&b);
    }
}

void store_rig_fini(struct store_rig *rig) {
    store_rig_kill(rig);
    sim_free(rig->sim);
    sim_disk_free(rig->sd);
}

static enum status rig_apply(void *ctx, const struct entry *e, struct err *err) {
    struct store_rig *rig = ctx;
    return store_recover(rig->stores[e->shard % rig->cores_count], e, err);
}

static void batch_acked(struct store_rig *rig, struct store_batch *b) {
    for (size_t i = 0; i < b->count; i++)
        rig->acked[b->series[i]][b->slots[i]] = true;
    free(b);
}

static void rig_on_durable(struct store *store, uint64_t position, enum status status,
                           const struct err *err, void *ctx) {
    struct store_rig *rig = ctx;
    RIG_CHECK((status == OK) == (err == NULL), "%s", status_name(status));
    unsigned core = store_core(store)->index;
    RIG_CHECK(position == rig->durable[core] + 1, "positions out of order");
    rig->durable[core] = position;
    if (status != OK) rig->failed_count++;
    for (struct store_batch **at = &rig->batches, *b; (b = *at) != NULL;) {
        if (b->core != core || b->position > position) {
            at = &b->next;
            continue;
        }
        *at = b->next;
        if (status == OK)
            batch_acked(rig, b);
        else
            free(b);
    }
}

static void rig_on_file(void *ctx, uint64_t first_frame) {
    struct store_rig *rig = ctx;
    for (unsigned i = 0; i < rig->cores_count; i++)
        store_recover_file(rig->stores[i], first_frame);
}

uint64_t store_rig_open_epoch(struct store_rig *rig, uint32_t shard, uint32_t epoch) {
    struct store *store = rig->stores[shard % rig->cores_count];
    uint64_t position;
    core_set_current(store_core(store));
    enum status status = store_open_epoch(store, shard, epoch, &position, &rig->err);
    core_set_current(NULL);
    RIG_CHECK(status == OK, "%s", rig->err.msg);
    return position;
}

/* As a primary that was alone all the time does. */
static void rig_open_epochs(struct store_rig *rig) {
    for (uint32_t s = 0; s < STORE_SHARDS && !rig->follows; s++) {
        if (store_damage(rig->stores[s % rig->cores_count], s, NULL) || rig->roles[s].copy != 0)
            continue;
        store_rig_open_epoch(rig, s, rig->epoch);
    }
}

void store_rig_settle(struct store_rig *rig, unsigned core) {
    struct store_ops ops;
    store_ops_init(&ops, rig->stores[core]);
    while (rig->durable[core] < ops.position(ops.ctx))
        RIG_CHECK(sim_step(rig->sim), "not durable");
}

enum status store_rig_start(struct store_rig *rig, unsigned cores_count) {
    RIG_CHECK(rig->rt == NULL, "still up");
    rig->rt = sim_start(rig->sim, 0);
    rig->rt->disk = sim_disk_as_disk(rig->sd);
    rig->cores_count = cores_count;
    memset(rig->durable, 0, sizeof rig->durable);
    for (unsigned i = 0; i < cores_count; i++)
        RIG_CHECK(store_new(rig->rt->cores[i], &rig->options, &rig->stores[i], NULL) == OK, "!");
    for (uint32_t s = 0; s < STORE_SHARDS; s++) {
        struct store_shard_options o = {
            .shard = s, .role = STORE_FULL, .copy = 1, .epoch = rig->epoch};
        if (rig->roles[s].copy != 0) o = rig->roles[s];
        enum status open = store_shard_open(rig->stores[s % cores_count], &o, &rig->err);
        RIG_CHECK(open == OK, "%s", rig->err.msg);
    }
    rig->log_options.on_file = rig_on_file;
    enum status status =
        log_open(rig->rt, &rig->log_options, rig_apply, rig, &rig->log, &rig->damaged, &rig->err);
    if (status != OK) {
        rig->log = NULL;
        store_rig_kill(rig);
        return status;
    }
    for (unsigned i = 0; i < cores_count; i++)
        store_set_log(rig->stores[i], rig->log, rig_on_durable, rig);
    rig_open_epochs(rig);
    return OK;
}

void store_rig_must_start(struct store_rig *rig, unsigned cores_count) {
    enum status status = store_rig_start(rig, cores_count);
    RIG_CHECK(status == OK && !rig->damaged, "%s", rig->err.msg);
    for (uint32_t s = 0; s < STORE_SHARDS; s++)
        RIG_CHECK(!store_damage(rig->stores[s % cores_count], s, &rig->err), "%s", rig->err.msg);
    for (unsigned core = 0; core < cores_count; core++)
        store_rig_settle(rig, core);
}

void store_rig_kill(struct store_rig *rig) {
    if (rig->rt == NULL) return;
    sim_kill(rig->sim, 0);
    for (unsigned i = 0; i < STORE_CORES; i++) {
        store_free(rig->stores[i]);
        rig->stores[i] = NULL;
    }
    log_free(rig->log);
    for (struct store_batch *b; (b = rig->batches) != NULL;) {
        rig->batches = b->next;
        free(b);
    }
    rig->log = NULL;
    rig->rt = NULL;
}

void store_rig_power_cut(struct store_rig *rig) {
    store_rig_kill(rig);
    sim_disk_restart(rig->sd);
}

enum status store_rig_write(struct store_rig *rig, const struct write_columns *columns,
                            int64_t now_ms, struct write_result *out, struct err *err) {
    struct arena scratch;
    arena_init(&scratch, 0);
    uint32_t *unknown;
    size_t unknown_count;
    uint32_t shard = columns->count > 0 ? columns->shards[0] : 0;
    struct store *store = rig->stores[shard % rig->cores_count];
    core_set_current(store_core(store));
    enum status status =
        store_write(store, columns, now_ms, &scratch, out, &unknown, &unknown_count, err);
    core_set_current(NULL);
    RIG_CHECK(unknown_count == 0, "series without labels");
    arena_fini(&scratch);
    return status;
}

/* -- the workload */

static void batch_add(struct store_rig *rig, struct store_batch *b, size_t series, size_t slot) {
    if (b->count == BATCH_SAMPLES_MAX || slot >= STORE_SLOTS) return;
    b->series[b->count] = (uint16_t)series;
    b->slots[b->count++] = (uint16_t)slot;
    rig->sent[series][slot] = true;
    rig->next_slot[series] = MAX(rig->next_slot[series], (unsigned)slot + 1);
}

static void batch_fill(struct store_rig *rig, struct store_batch *b) {
    for (uint32_t shard = b->core; shard < STORE_SHARDS; shard += rig->cores_count) {
        for (size_t i = 0; i < STORE_SERIES; i++) {
            if (rig->shards[i] != shard || !rng_chance(&rig->rng, 0.25)) continue;
            unsigned slot = rig->next_slot[i] + (unsigned)rng_below(&rig->rng, 3);
            batch_add(rig, b, i, slot);
            if (rng_chance(&rig->rng, 0.5)) batch_add(rig, b, i, slot + 1);
            if (slot > 0 && rng_chance(&rig->rng, 0.3)) /* late, or once more */
                batch_add(rig, b, i, rng_below(&rig->rng, slot));
        }
    }
}

struct sv store_rig_histogram(size_t series, double value, struct buf *out) {
    struct histogram_span span = {2, 1};
    int64_t delta = 7;
    struct histogram h = {
        .count = 7, .sum = value, .start_ms = 5, .positive = {&span, 1, 1, .deltas = &delta}};
    size_t before = out->len;
    if (!store_rig_is_histogram(series)) return (struct sv){0};
    RIG_CHECK(out->cap - before >= STORE_HISTOGRAM_BYTES, "no room");
    histogram_put(&h, out);
    return sv_make(out->ptr + before, out->len - before);
}

static void batch_send(struct store_rig *rig, struct store_batch *b) {
    static char histogram_bytes[BATCH_SAMPLES_MAX * STORE_HISTOGRAM_BYTES];
    struct buf bytes = {.ptr = histogram_bytes, .cap = sizeof histogram_bytes};
    struct sv histograms[BATCH_SAMPLES_MAX];
    int64_t starts_ms[BATCH_SAMPLES_MAX];
    series_id ids[BATCH_SAMPLES_MAX];
    uint32_t shards[BATCH_SAMPLES_MAX];
    int64_t times_ms[BATCH_SAMPLES_MAX];
    double values[BATCH_SAMPLES_MAX];
    struct sv labels[BATCH_SAMPLES_MAX];
    for (size_t i = 0; i < b->count; i++) {
        size_t s = b->series[i];
        ids[i] = rig->ids[s];
        shards[i] = rig->shards[s];
        times_ms[i] = STORE_START_MS + b->slots[i] * (int64_t)STORE_SLOT_MS;
        values[i] = store_rig_value(s, b->slots[i]);
        labels[i] = sv_make(rig->series[s], rig->series_len[s]);
        histograms[i] = store_rig_histogram(s, values[i], &bytes);
        starts_ms[i] = store_rig_start_ms(s, b->slots[i]);
    }
    struct write_columns columns = {b->count, ids,    shards,    times_ms,
                                    values,   labels, starts_ms, .histograms = histograms};
    struct write_result r;
    struct err err = {0};
    enum status status = store_rig_write(rig, &columns, STORE_NOW_MS, &r, &err);
    if (status == ERR_IO) { /* the log is closed */
        rig->failed_count++;
        free(b);
        return;
    }
    RIG_CHECK(status == OK, "%s", err.msg);
    RIG_CHECK(r.counts[VERDICT_ACCEPT] + r.counts[VERDICT_NOOP] == b->count && !r.refused, "%s",
              r.first_text);
    rig->accepted += r.counts[VERDICT_ACCEPT];
    rig->noops += r.counts[VERDICT_NOOP];
    b->position = r.position;
    if (b->position <= rig->durable[b->core]) { /* nothing new in it, and all before is durable */
        if (rig->failed_count == 0)
            batch_acked(rig, b);
        else
            free(b);
        return;
    }
    b->next = rig->batches;
    rig->batches = b;
}

static bool rig_is_idle(void *ctx) {
    const struct store_rig *rig = ctx;
    return rig->batches == NULL;
}

void store_rig_drain(struct store_rig *rig) {
    if (rig->batches == NULL) return;
    bool done = sim_run(rig->sim, rig_is_idle, rig, sim_now_ms(rig->sim) + 3600000);
    RIG_CHECK(done, "batches never came back");
}

void store_rig_work(struct store_rig *rig, unsigned batches_count) {
    while (batches_count > 0 && rig->failed_count == 0) {
        for (unsigned core = 0; core < rig->cores_count && batches_count > 0; core++) {
            struct store_batch *b = calloc(1, sizeof *b);
            RIG_CHECK(b != NULL, "memory");
            b->core = core;
            batch_fill(rig, b);
            if (b->count == 0) {
                free(b);
                continue;
            }
            batches_count--;
            batch_send(rig, b);
        }
        /* Sometimes batches pile up and make one frame. */
        if (rng_chance(&rig->rng, 0.8)) store_rig_drain(rig);
    }
    store_rig_drain(rig);
}

/* -- what is there */

static struct selection *select_all(struct store *store) {
    struct select_query query = {.from_ms = INT64_MIN, .to_ms = INT64_MAX};
    struct selection *sel;
    bool done = false;
    struct err err;
    RIG_CHECK(select_new(store_head(store), &query, &sel, &err) == OK, "%s", err.msg);
    while (!done)
        RIG_CHECK(select_step(sel, 0, &done, &err) == OK, "%s", err.msg);
    return sel;
}

size_t store_rig_read(struct store *store, series_id id, int64_t *times_ms, double *values,
                      size_t max) {
    struct selection *sel = select_all(store);
    size_t count, n = 0;
    const struct series_view *views = selection_series(sel, &count);
    struct samples samples = {0};
    for (size_t i = 0; i < count; i++) {
        if (!series_id_eq(views[i].id, id)) continue;
        RIG_CHECK(series_view_read(&views[i], INT64_MIN, INT64_MAX, &samples, NULL) == OK, "!");
        n = MIN(samples.count, max);
        memcpy(times_ms, samples.times_ms, n * sizeof *times_ms);
        memcpy(values, samples.values, n * sizeof *values);
    }
    samples_fini(&samples);
    selection_release(sel);
    return n;
}

typedef bool rig_slots[STORE_SERIES][STORE_SLOTS];

static void series_collect(const struct store_rig *rig, const struct series_view *v,
                           rig_slots found) {
    size_t s = 0;
    while (s < STORE_SERIES && !series_id_eq(rig->ids[s], v->id))
        s++;
    RIG_CHECK(s < STORE_SERIES && v->shard == rig->shards[s], "a series that was never sent");
    struct samples samples = {0};
    RIG_CHECK(series_view_read(v, INT64_MIN, INT64_MAX, &samples, NULL) == OK, "!");
    for (size_t i = 0; i < samples.count; i++) {
        int64_t offset_ms = samples.times_ms[i] - STORE_START_MS;
        size_t slot = (size_t)(offset_ms / STORE_SLOT_MS);
        RIG_CHECK(offset_ms >= 0 && offset_ms % STORE_SLOT_MS == 0 && slot < STORE_SLOTS &&
                      rig->sent[s][slot],
                  "series %zu: a sample that was never sent", s);
        RIG_CHECK(samples.values[i] == store_rig_value(s, slot), "series %zu slot %zu: %g", s, slot,
                  samples.values[i]);
        const struct histogram *h = samples.histograms == NULL ? NULL : samples.histograms[i];
        int64_t start_ms = samples.starts_ms == NULL ? 0 : samples.starts_ms[i];
        bool whole = h == NULL || (h->count == 7 && h->positive.deltas[0] == 7);
        RIG_CHECK((h != NULL) == store_rig_is_histogram(s) && whole, "series %zu slot %zu", s,
                  slot);
        RIG_CHECK(start_ms == (h != NULL ? 5 : store_rig_start_ms(s, slot)),
                  "series %zu slot %zu: start %lld", s, slot, (long long)start_ms);
        RIG_CHECK(!found[s][slot], "series %zu slot %zu: twice", s, slot);
        found[s][slot] = true;
    }
    samples_fini(&samples);
}

static void rig_collect(const struct store_rig *rig, rig_slots found) {
    memset(found, 0, sizeof(rig_slots));
    for (unsigned i = 0; i < rig->cores_count; i++) {
        struct selection *sel = select_all(rig->stores[i]);
        size_t count;
        const struct series_view *views = selection_series(sel, &count);
        for (size_t k = 0; k < count; k++)
            series_collect(rig, &views[k], found);
        selection_release(sel);
    }
}

void store_rig_verify(struct store_rig *rig, bool exact) {
    static rig_slots found;
    rig_collect(rig, found);
    for (size_t s = 0; s < STORE_SERIES; s++) {
        for (size_t slot = 0; slot < STORE_SLOTS; slot++) {
            bool must = exact ? rig->sent[s][slot] : rig->acked[s][slot];
            RIG_CHECK(found[s][slot] || !must, "series %zu slot %zu is gone", s, slot);
        }
    }
}

void store_rig_heal(struct store_rig *rig) {
    rig_collect(rig, rig->acked);
    memcpy(rig->sent, rig->acked, sizeof rig->sent);
    for (size_t s = 0; s < STORE_SERIES; s++) {
        rig->next_slot[s] = 0;
        for (unsigned slot = 0; slot < STORE_SLOTS; slot++)
            if (rig->sent[s][slot]) rig->next_slot[s] = slot + 1;
    }
    rig->failed_count = 0;
}
