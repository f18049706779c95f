/* SPDX-License-Identifier: Apache-2.0 */
/* What blocks say of what can be seen (digest.h) against the model's own samples: with deletions
 * that meet each other and cut through blocks, before and after blocks are merged and written anew
 * without what was deleted, and after a start; and which place of the log closed them.
 *   archive_hidden [seeds] [first seed] */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "ring/replica/ranges.h"
#include "storage/archive/digest.h"
#include "tests/storage/archive/archive_rig.h"

static struct archive_rig rig;
static struct {
    unsigned deletes, unknown, under, merges, beyond;
    uint64_t samples;
} counts;

/* Each that was written, and where the log ended then. */
static struct {
    uint32_t shard;
    int64_t time_ms;
    struct place end;
} written[1024];
static size_t written_count;

static struct shard_held held_of(uint32_t shard) {
    struct shard_held held;
    RIG_CHECK(store_held(archive_rig_store(&rig, shard), shard, false, &held), "nothing is held");
    return held;
}

static void written_add(uint32_t shard) {
    RIG_CHECK(written_count < ARRAY_LEN(written), "too many");
    written[written_count].shard = shard;
    written[written_count].time_ms = rig.now_ms;
    written[written_count++].end = held_of(shard).end;
}

static void write_hours(unsigned hours) {
    int64_t end_ms = rig.now_ms + hours * AR_HOUR_MS;
    for (; rig.now_ms < end_ms; rig.now_ms += 100000) {
        size_t series = rng_below(&rig.rng, AR_SERIES);
        double value = (double)rng_below(&rig.rng, 1000) / 8;
        RIG_CHECK(archive_rig_write(&rig, series, rig.now_ms, value), "%s", rig.err.msg);
        written_add(rig.model.series[series].shard);
    }
}

static void delete_some(void) {
    static const char *const values[] = {"db", "api|db", ".*", "web"};
    struct arena arena;
    size_t which = rng_below(&rig.rng, ARRAY_LEN(values));
    struct matcher m = {.kind = MATCH_RE, .name = SV("job"), .value = sv_from(values[which])};
    if (rng_chance(&rig.rng, 0.2)) m.kind = MATCH_NRE;
    arena_init(&arena, 0);
    RIG_CHECK(matcher_compile(&m, &arena, NULL) == OK, "!");
    int64_t span_ms = rig.now_ms - AR_START_MS;
    int64_t min_ms = AR_START_MS + (int64_t)rng_below(&rig.rng, (uint64_t)span_ms);
    int64_t max_ms = min_ms + (int64_t)rng_below(&rig.rng, (uint64_t)(3 * AR_HOUR_MS));
    if (rng_chance(&rig.rng, 0.2)) min_ms = INT64_MIN;
    RIG_CHECK(archive_rig_delete(&rig, &m, 1, min_ms, max_ms), "%s", rig.err.msg);
    counts.deletes++;
    matcher_fini(&m);
    arena_fini(&arena);
}

/* -- what the model has */

static void model_sum(uint32_t shard, int64_t closed_ms, uint64_t *out_count,
                      struct block_digest *out) {
    *out_count = 0;
    *out = (struct block_digest){0};
    for (size_t i = 0; i < AR_SERIES; i++) {
        const struct model_series *s = &rig.model.series[i];
        if (s->shard != shard) continue;
        for (size_t k = 0; k < s->count; k++) {
            int64_t time_ms = s->samples[k].time_ms;
            double value = s->samples[k].now.value;
            struct samples one = {.times_ms = &time_ms, .values = &value, .count = 1};
            if (s->samples[k].state != MODEL_HELD || time_ms >= closed_ms) continue;
            RIG_CHECK(block_digest_add(out, s->id, &one) == OK, "memory");
            ++*out_count;
        }
    }
}

static void ranges_of(uint32_t shard, struct shard_ranges *out) {
    *out = (struct shard_ranges){0};
    core_set_current(rig.rt->cores[shard % AR_CORES]);
    enum status status = digest_ranges(rig.stores[shard % AR_CORES], shard, out, &rig.err);
    core_set_current(NULL);
    RIG_CHECK(status == OK, "%s", rig.err.msg);
}

static bool has_unknown(const struct shard_ranges *r) {
    for (uint32_t i = 0; i < r->count; i++)
        if (r->at[i].kind == RANGE_UNKNOWN) return true;
    return false;
}

/* All that is older than what is closed came before the place that closed it. Some of it came after
 * the base. */
static void verify_closed_at(uint32_t shard, const struct shard_ranges *r) {
    if (r->closed_ms == INT64_MIN) {
        RIG_CHECK(r->closed_at.epoch == 0, "nothing is closed");
        return;
    }
    struct shard_held held = held_of(shard);
    RIG_CHECK(r->closed_at.epoch != 0 && place_cmp(r->closed_at, held.end) <= 0,
              "seed %" PRIu64 ": shard %" PRIu32 " does not know what closed it", rig.seed, shard);
    RIG_CHECK(r->closed_history == held.history, "of another history");
    for (size_t i = 0; i < written_count; i++) {
        if (written[i].shard != shard || written[i].time_ms >= r->closed_ms) continue;
        RIG_CHECK(place_cmp(written[i].end, r->closed_at) <= 0,
                  "seed %" PRIu64 ": shard %" PRIu32 " has in blocks what came after %" PRIu64,
                  rig.seed, shard, r->closed_at.seq);
        counts.beyond += held.based && place_cmp(written[i].end, held.first) > 0;
    }
}

static void verify_shard(uint32_t shard) {
    struct shard_ranges r;
    struct block_digest want, got = {0};
    uint64_t want_count, count = 0;
    ranges_of(shard, &r);
    verify_closed_at(shard, &r);
    counts.unknown += has_unknown(&r);
    for (unsigned n = 0; n < 100000 && has_unknown(&r); n++) {
        RIG_CHECK(sim_step(rig.sim), "nothing is pending");
        ranges_fini(&r);
        ranges_of(shard, &r);
    }
    RIG_CHECK(!has_unknown(&r), "seed %" PRIu64 ": shard %" PRIu32 " stays unknown", rig.seed,
              shard);
    for (uint32_t i = 0; i < r.count; i++) {
        counts.under += r.at[i].kind == RANGE_DELETED;
        if (r.at[i].kind != RANGE_GOOD) continue;
        count += r.at[i].samples;
        block_digest_sum(&got, (struct block_digest){r.at[i].digest.hi, r.at[i].digest.lo});
    }
    model_sum(shard, r.closed_ms, &want_count, &want);
    RIG_CHECK(count == want_count && got.hi == want.hi && got.lo == want.lo,
              "seed %" PRIu64 ": shard %" PRIu32 ": %" PRIu64 " samples, the model has %" PRIu64
              "%s",
              rig.seed, shard, count, want_count, count == want_count ? ", but others" : "");
    counts.samples += count;
    ranges_fini(&r);
}

static void verify(void) {
    for (uint32_t i = 0; i < AR_SHARDS; i++)
        verify_shard(i);
}

/* -- one seed */

static void on_cleaned(struct archive_clean *clean, enum status status, const struct err *err) {
    (void)clean;
    RIG_CHECK(status == OK, "%s", err->msg);
    rig.err.code = ERR_CANCELED; /* told */
}

static void clean_all(void) {
    struct archive_clean clean = {.done = on_cleaned};
    rig.err.code = OK;
    core_set_current(rig.rt->log_core);
    archive_clean(rig.archive, &clean);
    core_set_current(NULL);
    for (unsigned n = 0; n < 1000000 && rig.err.code == OK; n++)
        RIG_CHECK(sim_step(rig.sim), "nothing is pending");
    RIG_CHECK(rig.err.code == ERR_CANCELED, "it is not cleaned");
}

static void run(uint64_t seed) {
    archive_rig_init(&rig, seed);
    written_count = 0;
    rig.merged_ms_max = (seed % 2 == 0 ? 2 : 18) * AR_HOUR_MS;
    RIG_CHECK(archive_rig_start(&rig) == OK, "%s", rig.err.msg);
    for (unsigned n = 0; n < 3; n++) {
        write_hours(4);
        archive_rig_run(&rig, rng_chance(&rig.rng, 0.5) ? 150000 : 0);
        for (uint64_t k = rng_below(&rig.rng, 4); k > 0; k--)
            delete_some();
        if (rng_chance(&rig.rng, 0.5)) verify();
    }
    delete_some();
    archive_rig_run(&rig, 150000);
    verify();
    clean_all();
    verify();
    delete_some();
    verify();
    archive_rig_power_cut(&rig);
    RIG_CHECK(archive_rig_start(&rig) == OK, "%s", rig.err.msg);
    verify();
    archive_rig_verify(&rig);
    struct archive_stats stats;
    archive_get_stats(rig.archive, &stats);
    counts.merges += stats.merges > 0;
    archive_rig_kill(&rig);
    archive_rig_fini(&rig);
}

int main(int argc, char **argv) {
    uint64_t seeds = argc > 1 ? strtoull(argv[1], NULL, 10) : 30;
    uint64_t first = argc > 2 ? strtoull(argv[2], NULL, 10) : 1;
    for (uint64_t seed = first; seed < first + seeds; seed++)
        run(seed);
    printf("%" PRIu64 " seeds: %u deletions, %u shards had to be counted first, %u ranges under "
           "deletions, %" PRIu64 " samples, of %u in blocks the base knows nothing\n",
           seeds, counts.deletes, counts.unknown, counts.under, counts.samples, counts.beyond);
    if (seeds >= 30)
        RIG_CHECK(counts.unknown > 50 && counts.under > 100 && counts.samples > 1000 &&
                      counts.beyond > 100,
                  "too little");
    return 0;
}
