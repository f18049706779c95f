/* SPDX-License-Identifier: Apache-2.0 */
#include <inttypes.h>
#include <stdio.h>

#include "tests/storage/archive/archive_rig.h"

enum { RULES_MAX = 4 };
static const struct matcher matchers[] = {
    {.kind = MATCH_EQ, .name = {"job", 3}, .value = {"api", 3}},
    {.kind = MATCH_NRE, .name = {"job", 3}, .value = {"db|nothing", 10}},
    {.kind = MATCH_EQ, .name = {"instance", 8}, .value = {"host-1", 6}},
    {.kind = MATCH_RE, .name = {"instance", 8}, .value = {"host-1.*", 8}},
};

/* -- as a user reads it: the first rule that matches */

static bool rule_matches(const struct retention_rule *rule, size_t series) {
    static const char *const jobs[] = {"api", "db", "web"};
    char instance[16];
    snprintf(instance, sizeof instance, "host-%zu", series);
    for (size_t k = 0; k < rule->matchers_count; k++) {
        const struct matcher *m = &rule->matchers[k];
        struct sv value = sv_from(sv_eq(m->name, SV("job")) ? jobs[series % 3] : instance);
        bool is = false;
        switch (m->kind) {
        case MATCH_EQ: is = sv_eq(value, m->value); break;
        case MATCH_NRE: is = !sv_eq(value, SV("db")); break;
        case MATCH_RE: is = sv_eq(sv_take(value, 6), SV("host-1")); break;
        case MATCH_NEQ: break;
        }
        if (!is) return false;
    }
    return true;
}

static int64_t keeps_of(const struct retention_rule *rules, size_t count, size_t series,
                        int64_t general_ms) {
    for (size_t i = 0; i < count; i++)
        if (rule_matches(&rules[i], series)) return rules[i].time_ms;
    return general_ms;
}

void archive_rig_choose_retention(struct archive_rig *rig) {
    static const int64_t times_ms[] = {0, 8 * AR_HOUR_MS, 20 * AR_HOUR_MS, 50 * AR_HOUR_MS};
    struct retention_rule rules[RULES_MAX];
    size_t count = rng_chance(&rig->rng, 0.5) ? rng_below(&rig->rng, RULES_MAX + 1) : 0;
    for (size_t i = 0; i < count; i++) {
        size_t from = rng_below(&rig->rng, ARRAY_LEN(matchers) - 1);
        rules[i] = (struct retention_rule){matchers + from, 1 + rng_below(&rig->rng, 2),
                                           times_ms[rng_below(&rig->rng, ARRAY_LEN(times_ms))]};
    }
    rig->retention_ms = rng_chance(&rig->rng, 0.5) ? 30 * AR_HOUR_MS : 0;
    RIG_CHECK(retention_new(rig->retention_ms, rules, count, &rig->retention, &rig->err) == OK,
              "%s", rig->err.msg);
    for (size_t i = 0; i < AR_SERIES; i++)
        rig->keeps_ms[i] = keeps_of(rules, count, i, rig->retention_ms);
    rig->counts.ruled += count > 0;
}

/* -- what is to be gone */

/* Before it, and at it, nothing of the series is there once that is settled; INT64_MIN. */
static int64_t gone_ms_of(struct archive_rig *rig, size_t series) {
    uint32_t shard = rig->model.series[series].shard;
    struct store *store = archive_rig_store(rig, shard);
    struct store_archived a;
    struct shard_place place;
    RIG_CHECK(store_shard_place(store, shard, &place), "!");
    RIG_CHECK(store_shard_archive(store, shard, &a), "!");
    if (rig->keeps_ms[series] == 0 || place.newest_ms == INT64_MIN || a.from_ms == INT64_MIN)
        return INT64_MIN;
    int64_t gone_ms = MIN(place.newest_ms - rig->keeps_ms[series], a.from_ms - 1);
    return gone_ms - gone_ms % (2 * AR_HOUR_MS);
}

int64_t archive_rig_retention(struct archive_rig *rig, size_t series, const struct samples *got,
                              const struct store_archived *a) {
    const struct model_series *s = &rig->model.series[series];
    struct shard_place place;
    RIG_CHECK(store_shard_place(archive_rig_store(rig, s->shard), s->shard, &place), "!");
    if (rig->keeps_ms[series] == 0 || place.newest_ms == INT64_MIN) return a->floor_ms;
    int64_t gone_ms = gone_ms_of(rig, series);
    for (size_t i = 0; i < s->count; i++)
        rig->counts.ended += s->samples[i].time_ms < gone_ms;
    if (rig->is_settled && got->count > 0)
        RIG_CHECK(got->times_ms[0] >= gone_ms,
                  "seed %" PRIu64 ": series %zu still has %" PRId64 ", %" PRId64
                  " ms before the end of its retention",
                  rig->seed, series, got->times_ms[0], gone_ms - got->times_ms[0]);
    /* what the log has lost may have been newer, and have deleted */
    int64_t newest_ms = MAX(place.newest_ms, rig->model.newest_ms[s->shard]);
    return MAX(a->floor_ms, newest_ms - rig->keeps_ms[series] + 1);
}

/* One for each kind of deletion that retention needs, however long it goes on, beside what was
 * deleted by hand. */
static void tombstones_check(struct archive_rig *rig, uint64_t deletes_by_hand) {
    for (uint32_t shard = 0; shard < AR_SHARDS; shard++) {
        struct store_archived a;
        RIG_CHECK(store_shard_archive(archive_rig_store(rig, shard), shard, &a), "!");
        RIG_CHECK(a.tombstones_count <= rig->retention->deletes_count + deletes_by_hand,
                  "seed %" PRIu64 ": %u tombstones", rig->seed, a.tombstones_count);
        rig->counts.tombstones += a.tombstones_count;
    }
}

/* What it has of a shard that began anew counts no more, and goes with the next merge. */
static bool has_part(const struct manifest_block *b, uint32_t shard) {
    for (uint32_t i = 0; i < b->parts_count; i++)
        if (b->parts[i].shard == shard) return true;
    return false;
}

/* Blocks that lie wholly before the end of a series' retention have nothing of it any more. */
static void bytes_check(struct archive_rig *rig, const int64_t gone_ms[AR_SERIES]) {
    const struct block_list *list = archive_blocks(rig->archive);
    struct select_query all = {.from_ms = INT64_MIN, .to_ms = INT64_MAX};
    for (uint32_t i = 0; i < list->count; i++) {
        struct block_selection *found;
        size_t count;
        const struct list_block *b = &list->blocks[i];
        RIG_CHECK(block_select(b->block, &all, NULL, &found, &rig->err) == OK, "%s", rig->err.msg);
        const struct block_series *of = block_selection_series(found, &count);
        for (size_t k = 0; k < AR_SERIES; k++) {
            if (!has_part(&b->of, rig->model.series[k].shard)) continue;
            for (size_t n = 0; n < count && b->of.max_ms < gone_ms[k]; n++)
                RIG_CHECK(!series_id_eq(of[n].id, rig->model.series[k].id),
                          "seed %" PRIu64 ": block %" PRIu64 " still has series %zu", rig->seed,
                          b->of.number, k);
            rig->counts.ended_blocks += b->of.max_ms < gone_ms[k];
        }
        block_selection_free(found);
    }
}

void archive_rig_settle_retention(struct archive_rig *rig, uint64_t deletes_by_hand) {
    int64_t gone_ms[AR_SERIES];
    rig->is_settled = true;
    archive_rig_verify(rig);
    tombstones_check(rig, deletes_by_hand);
    for (size_t i = 0; i < AR_SERIES; i++)
        gone_ms[i] = gone_ms_of(rig, i);
    /* The manifest hears of deletions with the next flush; then blocks are looked at, one by one.
     */
    for (unsigned n = 0; n < 2; n++) {
        rig->now_ms += 5 * AR_HOUR_MS;
        for (size_t i = 0; i < AR_SERIES; i++)
            RIG_CHECK(archive_rig_write(rig, i, rig->now_ms / 15000 * 15000, 1), "!");
        archive_rig_run(rig, 300000);
    }
    bytes_check(rig, gone_ms);
}
