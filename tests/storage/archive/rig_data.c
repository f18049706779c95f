/* SPDX-License-Identifier: Apache-2.0 */
/* What is written, and what must be there. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "node/base/bytes.h"
#include "storage/entry.h"
#include "storage/histogram.h"
#include "tests/storage/archive/archive_rig.h"

void archive_model_init(struct archive_model *model) {
    static const char *const jobs[] = {"api", "db", "web"};
    for (size_t i = 0; i < AR_SERIES; i++) {
        char instance[16];
        snprintf(instance, sizeof instance, "host-%zu", i);
        struct label labels[] = {{SV("__name__"), SV("up")},
                                 {SV("instance"), sv_from(instance)},
                                 {SV("job"), sv_from(jobs[i % ARRAY_LEN(jobs)])}};
        struct buf b = {0};
        struct model_series *s = &model->series[i];
        RIG_CHECK(labels_encode(labels, 3, &b, NULL) == OK && b.len <= sizeof s->canonical, "!");
        memcpy(s->canonical, b.ptr, b.len);
        s->canonical_len = b.len;
        s->id = series_id_of(AR_SECRET, 0, buf_sv(&b));
        s->shard = series_shard(s->id, AR_SHARDS);
        buf_fini(&b);
    }
    for (uint32_t i = 0; i < AR_SHARDS; i++) {
        model->newest_ms[i] = INT64_MIN;
        model->copies[i] = 1;
    }
}

void archive_model_forget(struct archive_model *model, uint32_t shard) {
    model->newest_ms[shard] = INT64_MIN;
    for (size_t i = 0; i < AR_SERIES; i++)
        if (model->series[i].shard == shard) model->series[i].count = 0;
}

/* -- writing */

static struct model_sample *model_find(struct model_series *s, int64_t time_ms) {
    for (size_t i = 0; i < s->count; i++)
        if (s->samples[i].time_ms == time_ms) return &s->samples[i];
    return NULL;
}

static struct model_sample *model_put(struct model_series *s, int64_t time_ms,
                                      const struct model_value *value) {
    struct model_sample *at = model_find(s, time_ms);
    if (at == NULL) {
        RIG_CHECK(s->count < AR_SAMPLES_MAX, "too many samples");
        at = &s->samples[s->count++];
        *at = (struct model_sample){.time_ms = time_ms, .now = *value};
    }
    at->before = at->now;
    at->now = *value;
    at->state = MODEL_MAYBE;
    at->file = UINT64_MAX;
    return at;
}

static enum status put_one(struct archive_rig *rig, const struct model_series *s, int64_t time_ms,
                           const struct model_value *value, struct write_result *out) {
    struct store *store = archive_rig_store(rig, s->shard);
    struct sv labels = sv_make(s->canonical, s->canonical_len), histogram = {0};
    struct buf bytes = {0};
    struct arena scratch;
    uint32_t *unknown;
    size_t unknown_count;
    if (value->is_histogram) {
        struct histogram h = {.sum = value->value, .start_ms = value->start_ms, .schema = 3};
        histogram_put(&h, &bytes);
        histogram = buf_sv(&bytes);
    }
    struct write_columns columns = {.count = 1,
                                    .ids = &s->id,
                                    .shards = &s->shard,
                                    .times_ms = &time_ms,
                                    .values = &value->value,
                                    .labels = &labels,
                                    .starts_ms = &value->start_ms,
                                    .histograms = &histogram};
    arena_init(&scratch, 0);
    core_set_current(store_core(store));
    enum status status =
        store_write(store, &columns, time_ms, &scratch, out, &unknown, &unknown_count, &rig->err);
    core_set_current(NULL);
    arena_fini(&scratch);
    buf_fini(&bytes);
    return status;
}

bool archive_rig_put(struct archive_rig *rig, size_t series, int64_t time_ms,
                     const struct model_value *value) {
    struct model_series *s = &rig->model.series[series];
    struct write_result r = {0};
    int64_t newest_ms = rig->model.newest_ms[s->shard];
    const struct model_sample *held = model_find(s, time_ms);
    if (held != NULL && held->state == MODEL_NONE) held = NULL;
    if (put_one(rig, s, time_ms, value, &r) != OK) return false;
    if (r.counts[VERDICT_ACCEPT] == 0) {
        /* Refused only when it is old: nothing is, within the window. */
        rig->counts.held += held != NULL;
        rig->counts.refused += held == NULL;
        RIG_CHECK(held != NULL || time_ms < newest_ms - 1800000, "seed %" PRIu64 ": %s", rig->seed,
                  r.first_text);
        return true;
    }
    RIG_CHECK(held == NULL || held->state == MODEL_MAYBE, "seed %" PRIu64 ": taken twice",
              rig->seed);
    rig->counts.accepted++;
    rig->counts.histograms += value->is_histogram;
    rig->counts.starts += !value->is_histogram && value->start_ms != 0;
    rig->counts.late += time_ms < newest_ms;
    rig->model.newest_ms[s->shard] = MAX(newest_ms, time_ms);
    struct model_sample *at = model_put(s, time_ms, value);
    unsigned core = store_core(archive_rig_store(rig, s->shard))->index;
    if (!archive_rig_wait_durable(rig, core, r.position)) return false;
    at->state = MODEL_HELD;
    at->file = archive_rig_log_file(rig);
    return true;
}

bool archive_rig_write(struct archive_rig *rig, size_t series, int64_t time_ms, double value) {
    return archive_rig_put(rig, series, time_ms, &(struct model_value){.value = value});
}

/* -- deleting */

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

struct deletion {
    const struct matcher *matchers;
    size_t count;
    int64_t min_ms, max_ms;
    struct ended ended; /* of the shard, then */
};

static void model_mark(struct archive_rig *rig, uint32_t shard, const struct deletion *d,
                       bool surely) {
    uint64_t file = surely ? archive_rig_log_file(rig) : UINT64_MAX;
    for (size_t i = 0; i < AR_SERIES; i++) {
        struct model_series *s = &rig->model.series[i];
        if (s->shard != shard || !model_matches(s, d->matchers, d->count)) continue;
        for (size_t k = 0; k < s->count; k++) {
            struct model_sample *at = &s->samples[k];
            if (at->state == MODEL_NONE ||
                !archive_rig_is_deleted(&d->ended, at->time_ms, d->min_ms, d->max_ms))
                continue;
            rig->counts.deleted += surely;
            at->state = surely ? MODEL_NONE : MODEL_MAYBE;
            at->file = file;
        }
    }
}

bool archive_rig_delete(struct archive_rig *rig, const struct matcher *matchers, size_t count,
                        int64_t min_ms, int64_t max_ms) {
    struct buf bytes = {0};
    entry_matchers_put(matchers, count, &bytes);
    struct entry_delete e = {.min_ms = min_ms, .max_ms = max_ms, .matchers_bytes = buf_sv(&bytes)};
    struct deletion d = {matchers, count, min_ms, max_ms, {0}};
    bool ok = true;
    for (uint32_t shard = 0; shard < AR_SHARDS && ok; shard++) {
        struct store *store = archive_rig_store(rig, shard);
        uint64_t position;
        struct store_archived a;
        RIG_CHECK(store_shard_archive(store, shard, &a), "!");
        d.ended = a.ended;
        core_set_current(store_core(store));
        ok = store_delete(store, shard, &e, &position, &rig->err) == OK;
        core_set_current(NULL);
        if (!ok) break;
        model_mark(rig, shard, &d, false);
        ok = archive_rig_wait_durable(rig, store_core(store)->index, position);
        if (ok) model_mark(rig, shard, &d, true);
    }
    buf_fini(&bytes);
    return ok;
}

/* -- what is there */

static int by_time(const void *a, const void *b) {
    const struct model_sample *x = a, *y = b;
    return (x->time_ms > y->time_ms) - (x->time_ms < y->time_ms);
}

static bool value_is(const struct samples *got, size_t at, const struct model_value *want) {
    bool is_histogram = got->histograms != NULL && got->histograms[at] != NULL;
    int64_t start_ms = got->starts_ms == NULL ? 0 : got->starts_ms[at];
    return is_histogram == want->is_histogram && start_ms == want->start_ms &&
           f64_bits(got->values[at]) == f64_bits(want->value) &&
           (!is_histogram || got->histograms[at]->schema == 3);
}

/* Its file of the log may be gone: there, as before, or not there. */
static bool may_be_lost(const struct archive_rig *rig, const struct model_sample *want) {
    return rig->harmed != NULL && want->file >= rig->harmed->lost_from;
}

static const char *harm_name(const struct archive_rig *rig) {
    return rig->harmed == NULL ? "all files are good" : rig->harmed->name;
}

/* What may be there, and is: there from now on; what is not: gone. */
static void sample_settle(struct archive_rig *rig, struct model_sample *at,
                          enum model_state state) {
    if (rig->harmed != NULL || at->state == state) return;
    at->state = state;
    at->file = archive_rig_log_file(rig);
}

static void sample_verify(struct archive_rig *rig, const struct model_series *s,
                          struct model_sample *want, const struct samples *got, size_t *at) {
    bool there = *at < got->count && got->times_ms[*at] == want->time_ms;
    bool lost = may_be_lost(rig, want);
    if (!there) {
        RIG_CHECK(want->state != MODEL_HELD || lost,
                  "seed %" PRIu64 ": %s: series %td (shard %u) lacks %" PRId64 ", %" PRId64
                  " ms before its shard's newest; log file %" PRIu64,
                  rig->seed, harm_name(rig), s - rig->model.series, s->shard, want->time_ms,
                  rig->model.newest_ms[s->shard] - want->time_ms, want->file);
        sample_settle(rig, want, MODEL_NONE);
        return;
    }
    RIG_CHECK(want->state != MODEL_NONE || lost,
              "seed %" PRIu64 ": %s: series %td (shard %u) has %" PRId64
              ", which was deleted or lost",
              rig->seed, harm_name(rig), s - rig->model.series, s->shard, want->time_ms);
    bool right = value_is(got, *at, &want->now) || (lost && value_is(got, *at, &want->before));
    RIG_CHECK(right, "seed %" PRIu64 ": %s: another value at %" PRId64, rig->seed, harm_name(rig),
              want->time_ms);
    sample_settle(rig, want, MODEL_HELD);
    ++*at;
}

static void series_verify(struct archive_rig *rig, struct model_series *s,
                          const struct samples *got, const struct store_archived *a) {
    int64_t floor_ms = archive_rig_retention(rig, (size_t)(s - rig->model.series), got, a);
    qsort(s->samples, s->count, sizeof *s->samples, by_time);
    size_t at = archive_rig_check_ended(rig, s, got, a, floor_ms);
    for (size_t i = 0; i < s->count; i++) {
        struct model_sample *want = &s->samples[i];
        if (want->time_ms <= a->ended.raw_ms) continue;
        bool there = at < got->count && got->times_ms[at] == want->time_ms;
        if (want->time_ms < floor_ms && !there) { /* until the floor is durable, it may come back */
            if (rig->harmed == NULL && want->state == MODEL_HELD) want->state = MODEL_MAYBE;
            continue;
        }
        sample_verify(rig, s, want, got, &at);
    }
    RIG_CHECK(at == got->count,
              "seed %" PRIu64 ": %s: series %td (shard %u) has %" PRId64
              ", which was not sent, or is there twice",
              rig->seed, harm_name(rig), s - rig->model.series, s->shard, got->times_ms[at]);
}

static size_t series_of(const struct archive_rig *rig, series_id id) {
    for (size_t i = 0; i < AR_SERIES; i++)
        if (series_id_eq(rig->model.series[i].id, id)) return i;
    RIG_CHECK(false, "a series that nobody sent");
    return 0;
}

static enum status one_verify(struct archive_rig *rig, const struct stored *stored, size_t i,
                              struct samples *got, struct err *err) {
    struct model_series *s = &rig->model.series[series_of(rig, stored_id(stored, i))];
    struct label labels[8];
    struct buf canonical = {0};
    struct store_archived a;
    size_t count = stored_labels(stored, i, labels, ARRAY_LEN(labels));
    RIG_CHECK(labels_encode(labels, count, &canonical, NULL) == OK, "!");
    RIG_CHECK(sv_eq(buf_sv(&canonical), sv_make(s->canonical, s->canonical_len)), "labels of %.*s",
              (int)s->canonical_len, s->canonical);
    buf_fini(&canonical);
    samples_clear(got);
    TRY(stored_read(stored, i, INT64_MIN, INT64_MAX, got, err));
    RIG_CHECK(store_shard_archive(stored->store, s->shard, &a), "!");
    series_verify(rig, s, got, &a);
    return OK;
}

static enum status stored_verify(struct archive_rig *rig, struct stored *stored, bool *seen,
                                 struct err *err) {
    bool done = false;
    while (!done)
        TRY(stored_select(stored, 0, &done, err));
    rig->counts.from_blocks += stored_needs_disk(stored);
    TRY(stored_find(stored, err));
    struct samples got = {0};
    enum status status = OK;
    for (size_t i = 0; i < stored->count && status == OK; i++) {
        size_t s = series_of(rig, stored_id(stored, i));
        RIG_CHECK(!seen[s], "series %zu twice", s);
        seen[s] = true;
        status = one_verify(rig, stored, i, &got, err);
    }
    samples_fini(&got);
    return status;
}

/* Shards of one core. */
static enum status shards_verify(struct archive_rig *rig, struct store *store, uint64_t shards,
                                 struct err *err) {
    struct shard_set set = {&shards, AR_SHARDS};
    struct select_query q = {.shards = &set, .from_ms = INT64_MIN, .to_ms = INT64_MAX};
    struct stored stored;
    struct samples none = {0};
    bool seen[AR_SERIES] = {false};
    core_set_current(store_core(store));
    stored_init(&stored, store, &q);
    enum status status = stored_verify(rig, &stored, seen, err);
    stored_release(&stored);
    core_set_current(NULL);
    for (size_t i = 0; i < AR_SERIES && status == OK; i++) {
        struct model_series *s = &rig->model.series[i];
        struct store_archived a;
        if (seen[i] || !shard_set_has(&set, s->shard)) continue;
        RIG_CHECK(store_shard_archive(store, s->shard, &a), "!");
        series_verify(rig, s, &none, &a);
    }
    return status == OK ? archive_rig_check_rows(rig, store, &set, err) : status;
}

enum status archive_rig_check(struct archive_rig *rig, uint64_t shards, struct err *err) {
    rig->counts.reads++;
    for (unsigned core = 0; core < AR_CORES; core++) {
        uint64_t own = 0;
        for (uint32_t s = core; s < AR_SHARDS; s += AR_CORES)
            own |= shards & (1ULL << s);
        if (own != 0) TRY(shards_verify(rig, rig->stores[core], own, err));
    }
    return OK;
}

void archive_rig_verify(struct archive_rig *rig) {
    enum status status = archive_rig_check(rig, (1 << AR_SHARDS) - 1, &rig->err);
    RIG_CHECK(status == OK, "seed %" PRIu64 ": %s", rig->seed, rig->err.msg);
}
