/* SPDX-License-Identifier: Apache-2.0 */
/* Rows, from blocks of them and made of samples, against those that a loop makes of the samples
 * which are read without them. */
#include <inttypes.h>
#include <stdio.h>

#include "node/base/bytes.h"
#include "tests/storage/archive/archive_rig.h"

void archive_rig_choose_levels(struct archive_rig *rig) {
    memset(rig->levels, 0, sizeof rig->levels);
    if (rng_chance(&rig->rng, 0.4)) {
        archive_rig_choose_ended(rig);
        return;
    }
    for (int i = 0; i < PLAN_LEVELS; i++)
        rig->levels[i] =
            (struct plan_level){.after_ms = (int64_t)(2 + rng_below(&rig->rng, 30)) * AR_HOUR_MS,
                                .resolution_ms = i == 0 ? DOWNSAMPLE_5M_MS : DOWNSAMPLE_1H_MS};
    if (rng_chance(&rig->rng, 0.3)) rig->levels[rng_below(&rig->rng, 2)].resolution_ms = 0;
    archive_rig_choose_ended(rig);
}

/* The row of a window, as its words say it; the values are such that sums are exact. */
static void row_naive(const struct samples *s, int64_t end_ms, int64_t resolution_ms,
                      double row[DOWNSAMPLE_COLUMNS]) {
    double before = 0;
    for (int k = 0; k < DOWNSAMPLE_COLUMNS; k++)
        row[k] = k == DOWNSAMPLE_STALE_AGO ? -1 : 0;
    for (size_t i = 0; i < s->count; i++) {
        double v = s->values[i];
        if (s->times_ms[i] <= end_ms - resolution_ms || s->times_ms[i] > end_ms) continue;
        if (s->histograms != NULL && s->histograms[i] != NULL) {
            row[DOWNSAMPLE_HISTOGRAMS]++;
            continue;
        }
        if (row[DOWNSAMPLE_COUNT]++ == 0) {
            row[DOWNSAMPLE_MIN] = row[DOWNSAMPLE_MAX] = row[DOWNSAMPLE_FIRST] = v;
            row[DOWNSAMPLE_FIRST_AGO] = (double)(end_ms - s->times_ms[i]);
        } else if (v < before) {
            row[DOWNSAMPLE_RESETS]++;
            row[DOWNSAMPLE_CORRECTION] += before;
        }
        row[DOWNSAMPLE_SUM] += v;
        if (v < row[DOWNSAMPLE_MIN]) row[DOWNSAMPLE_MIN] = v;
        if (v > row[DOWNSAMPLE_MAX]) row[DOWNSAMPLE_MAX] = v;
        row[DOWNSAMPLE_LAST] = before = v;
        row[DOWNSAMPLE_LAST_AGO] = (double)(end_ms - s->times_ms[i]);
    }
}

struct looking { /* at all series of some shards of a core, in some range */
    struct archive_rig *rig;
    struct stored raw, rows;
    int64_t from_ms, to_ms;
    uint32_t resolution_ms;
    size_t series; /* that is looked at */
    struct samples samples, again;
    struct downsample_rows got;
};

/* Of samples that have ended the model alone knows; false: not for sure. */
static bool ended_naive(const struct looking *l, const struct store_archived *a, int64_t end_ms,
                        double want[DOWNSAMPLE_COLUMNS]) {
    const struct model_series *s = &l->rig->model.series[l->series];
    struct samples had = {0};
    int64_t r = MAX(archive_rig_resolution(&a->ended, end_ms), (int64_t)l->resolution_ms);
    struct samples none = {0};
    int64_t floor_ms = archive_rig_retention(l->rig, l->series, &none, a);
    for (int k = 0; k < DOWNSAMPLE_COLUMNS; k++)
        want[k] = 0;
    if (end_ms % r != 0) return true; /* the coarser row has its own end */
    bool sure = archive_rig_window(l->rig, s, (int64_t[2]){end_ms - r, end_ms}, floor_ms, &had);
    row_naive(&had, end_ms, r, want);
    had.count = 0;
    samples_fini(&had);
    l->rig->counts.ended_rows += sure && want[DOWNSAMPLE_COUNT] > 0;
    return sure;
}

static void rows_compare(const struct looking *l, uint32_t shard) {
    uint64_t seed = l->rig->seed;
    size_t at = 0;
    struct store_archived a;
    RIG_CHECK(store_shard_archive(archive_rig_store(l->rig, shard), shard, &a), "!");
    for (int64_t end_ms = l->from_ms + l->resolution_ms; end_ms <= l->to_ms;
         end_ms += l->resolution_ms) {
        double want[DOWNSAMPLE_COLUMNS];
        bool sure = true;
        if (end_ms <= a.ended.raw_ms)
            sure = ended_naive(l, &a, end_ms, want);
        else
            row_naive(&l->samples, end_ms, l->resolution_ms, want);
        if (!sure) {
            at += at < l->got.count && l->got.ends_ms[at] == end_ms;
            continue;
        }
        if (want[DOWNSAMPLE_COUNT] + want[DOWNSAMPLE_HISTOGRAMS] == 0) continue;
        RIG_CHECK(at < l->got.count && l->got.ends_ms[at] == end_ms,
                  "seed %" PRIu64 ": shard %u lacks the row of %u ms until %" PRId64, seed, shard,
                  l->resolution_ms, end_ms);
        for (int k = 0; k < DOWNSAMPLE_COLUMNS; k++)
            RIG_CHECK(f64_bits(l->got.columns[k][at]) == f64_bits(want[k]),
                      "seed %" PRIu64 ": shard %u, row of %u ms until %" PRId64
                      ", column %d: %g, not %g",
                      seed, shard, l->resolution_ms, end_ms, k, l->got.columns[k][at], want[k]);
        at++;
    }
    RIG_CHECK(at == l->got.count, "seed %" PRIu64 ": shard %u has the row of %" PRId64 " too many",
              seed, shard, l->got.ends_ms[at]);
    l->rig->counts.rows += (unsigned)at;
}

/* Who reads rows may want the samples, too. */
static void samples_compare(const struct looking *l) {
    struct samples all[2] = {l->samples, l->again};
    struct store_archived now;
    uint32_t shard = l->rig->model.series[l->series].shard;
    RIG_CHECK(store_shard_archive(archive_rig_store(l->rig, shard), shard, &now), "!");
    for (int i = 0; i < 2; i++)
        while (all[i].count > 0 && all[i].times_ms[0] <= now.ended.raw_ms)
            all[i] = samples_from(&all[i], 1);
    const struct samples *a = &all[0], *b = &all[1];
    RIG_CHECK(a->count == b->count, "seed %" PRIu64 ": %zu samples where rows are, not %zu",
              l->rig->seed, b->count, a->count);
    for (size_t i = 0; i < a->count; i++)
        RIG_CHECK(a->times_ms[i] == b->times_ms[i] &&
                      f64_bits(a->values[i]) == f64_bits(b->values[i]),
                  "seed %" PRIu64 ": another sample at %" PRId64 " where rows are", l->rig->seed,
                  a->times_ms[i]);
}

static size_t find(const struct stored *s, series_id id) {
    size_t i = 0;
    while (i < s->count && !series_id_eq(stored_id(s, i), id))
        i++;
    return i;
}

/* One that only the rows know has none in the range. */
static enum status series_check(struct looking *l, size_t series, struct err *err) {
    series_id id = l->rig->model.series[series].id;
    l->series = series;
    size_t raw = find(&l->raw, id), rows = find(&l->rows, id);
    samples_clear(&l->samples);
    samples_clear(&l->again);
    l->got.count = 0;
    if (raw < l->raw.count) TRY(stored_read(&l->raw, raw, l->from_ms, l->to_ms, &l->samples, err));
    if (rows < l->rows.count) {
        struct block_columns all = {l->from_ms, l->to_ms, UINT32_MAX};
        TRY(stored_read_rows(&l->rows, rows, &all, &l->got, err));
        TRY(stored_read(&l->rows, rows, l->from_ms, l->to_ms, &l->again, err));
    }
    rows_compare(l, series_shard(id, AR_SHARDS));
    samples_compare(l);
    return OK;
}

static enum status stored_open(struct stored *s, struct err *err) {
    bool done = false;
    while (!done)
        TRY(stored_select(s, 0, &done, err));
    return stored_find(s, err);
}

static enum status all_check(struct looking *l, struct err *err) {
    TRY(stored_open(&l->raw, err));
    TRY(stored_open(&l->rows, err));
    l->rig->counts.rows_reads += l->rows.rows != NULL;
    for (size_t i = 0; i < AR_SERIES; i++)
        if (shard_set_has(l->raw.query.shards, l->rig->model.series[i].shard))
            TRY(series_check(l, i, err));
    return OK;
}

/* All there is, or some of it. */
static void range_choose(struct looking *l) {
    struct archive_rig *rig = l->rig;
    int64_t ends[2], r = l->resolution_ms, span_ms = rig->now_ms - AR_START_MS + AR_HOUR_MS;
    for (int i = 0; i < 2; i++)
        ends[i] = (AR_START_MS + (int64_t)rng_below(&rig->rng, (uint64_t)span_ms)) / r * r;
    bool all = ends[0] > ends[1] || rng_chance(&rig->rng, 0.5);
    l->from_ms = all ? AR_START_MS - 30 * AR_HOUR_MS : ends[0];
    l->to_ms = all ? (rig->now_ms / AR_HOUR_MS + 1) * AR_HOUR_MS : ends[1];
}

static enum status rows_check(struct archive_rig *rig, struct store *store,
                              const struct shard_set *shards, uint32_t resolution_ms,
                              struct err *err) {
    struct looking l = {.rig = rig, .resolution_ms = resolution_ms};
    range_choose(&l);
    struct select_query q = {.shards = shards, .from_ms = l.from_ms, .to_ms = l.to_ms};
    stored_init(&l.raw, store, &q);
    stored_init(&l.rows, store, &q);
    l.rows.resolution_ms = resolution_ms;
    core_set_current(store_core(store));
    enum status status = all_check(&l, err);
    stored_release(&l.rows);
    stored_release(&l.raw);
    core_set_current(NULL);
    samples_fini(&l.samples);
    samples_fini(&l.again);
    downsample_rows_fini(&l.got);
    return status;
}

enum status archive_rig_check_rows(struct archive_rig *rig, struct store *store,
                                   const struct shard_set *shards, struct err *err) {
    const struct block_list *list = archive_blocks(rig->archive);
    for (uint32_t i = 0; i < list->count; i++) {
        const struct manifest_block *b = &list->blocks[i].of;
        bool has_raw = b->resolution_ms == 0;
        rig->counts.rows_blocks += b->resolution_ms != 0;
        for (uint32_t k = 0; k < list->count; k++)
            has_raw = has_raw || (list->blocks[k].of.resolution_ms == 0 &&
                                  list->blocks[k].of.min_ms <= b->max_ms + 1 &&
                                  list->blocks[k].of.max_ms > b->min_ms);
        rig->counts.raw_gone += !has_raw;
    }
    TRY(rows_check(rig, store, shards, DOWNSAMPLE_5M_MS, err));
    return rows_check(rig, store, shards, DOWNSAMPLE_1H_MS, err);
}
