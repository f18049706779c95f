/* SPDX-License-Identifier: Apache-2.0 */
/* Shards that are dropped and filled again: who selected before keeps what it saw, who is under way
 * misses nothing of the others, and memory does not grow. Plain program: many rounds. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "node/base/bytes.h"
#include "node/base/rng.h"
#include "storage/head.h"
#include "tests/storage/log_rig.h"

enum { SHARDS = 4, SERIES = 3000, ROUNDS = 120, SELECTIONS = 6 };
#define START_MS 1767225600000

static struct head *head;
static struct rng rng;
static uint32_t refs[SHARDS][SERIES];
static double stamp[SHARDS]; /* value of all samples of the shard as filled last */

static series_id id_of(uint32_t shard, uint32_t i) {
    return (series_id){.hi = shard, .lo = ((uint64_t)shard << 32 | i) * 0x9e3779b97f4a7c15};
}

static void fill(uint32_t shard, double value) {
    struct buf canonical = {0};
    stamp[shard] = value;
    for (uint32_t i = 0; i < SERIES; i++) {
        char instance[24], own[24];
        snprintf(instance, sizeof instance, "i-%u", i % 50);
        snprintf(own, sizeof own, "%u/%u", shard, i);
        struct label list[80] = {{SV("__name__"), SV("m")},
                                 {SV("instance"), sv_from(instance)},
                                 {SV("own"), sv_from(own)}};
        char names[80][8];
        size_t n = 3;
        for (; i % 500 == 7 && n < 80; n++) { /* more labels than arrays are kept for */
            snprintf(names[n], sizeof names[n], "x%03zu", n);
            list[n] = (struct label){sv_from(names[n]), SV("y")};
        }
        buf_clear(&canonical);
        RIG_CHECK(labels_encode(list, n, &canonical, NULL) == OK, "!");
        struct err err;
        RIG_CHECK(head_series_new(head, id_of(shard, i), shard, buf_sv(&canonical), &refs[shard][i],
                                  &err) == OK,
                  "%s", err.msg);
        for (int64_t k = 0; k < 4; k++) /* noisy times: blocks of open chunks are in use */
            RIG_CHECK(head_append(head, refs[shard][i],
                                  START_MS + k * 15000 + k * k * (int64_t)(i % 90), value) == OK,
                      "!");
        /* a late one, and sealed chunks */
        RIG_CHECK(head_append(head, refs[shard][i], START_MS - 1 - i % 7, value) == OK, "!");
        for (int64_t k = 10; i % 64 == 0 && k < 300; k++)
            RIG_CHECK(head_append(head, refs[shard][i], START_MS + k * 15000, value) == OK, "!");
    }
    buf_fini(&canonical);
}

/* A selection in some state, with what it must give. */
struct watch {
    struct selection *sel;
    struct matcher matcher;
    struct select_query query;
    bool done;
    bool dropped[SHARDS]; /* since it began: may be missing when it was not done */
    double stamp[SHARDS];
};
static struct watch watches[SELECTIONS];
static struct arena arena; /* of matchers */

/* A slice ends at its first look at the clock. */
static uint64_t clock_ns = 1;
static uint64_t fake_mono_ns(struct runtime *rt) {
    (void)rt;
    return clock_ns++;
}

static void watch_begin(struct watch *w) {
    *w = (struct watch){0};
    struct err err;
    struct sv value = rng_chance(&rng, 0.5) ? SV("m") : SV("i-7");
    struct sv name = sv_eq(value, SV("m")) ? SV("__name__") : SV("instance");
    w->matcher = (struct matcher){.kind = MATCH_EQ, .name = name, .value = value};
    RIG_CHECK(matcher_compile(&w->matcher, &arena, &err) == OK, "%s", err.msg);
    w->query = (struct select_query){.matchers = &w->matcher,
                                     .matchers_count = rng_chance(&rng, 0.8) ? 1 : 0,
                                     .from_ms = INT64_MIN,
                                     .to_ms = INT64_MAX};
    memcpy(w->stamp, stamp, sizeof stamp);
    RIG_CHECK(select_new(head, &w->query, &w->sel, &err) == OK, "%s", err.msg);
}

static void watch_step(struct watch *w) {
    if (!w->done) RIG_CHECK(select_step(w->sel, 1, &w->done, NULL) == OK, "!");
}

static void watch_end(struct watch *w) {
    while (!w->done)
        watch_step(w);
    size_t count, per_shard[SHARDS] = {0};
    const struct series_view *views = selection_series(w->sel, &count);
    for (size_t i = 0; i < count; i++) {
        struct samples samples = {0};
        struct label labels[100];
        uint32_t shard = views[i].shard;
        RIG_CHECK(series_view_read(&views[i], INT64_MIN, INT64_MAX, &samples, NULL) == OK, "!");
        RIG_CHECK(samples.count >= 5, "%zu samples", samples.count);
        for (size_t k = 0; k < samples.count; k++)
            RIG_CHECK(samples.values[k] == w->stamp[shard], "shard %u: %g, not %g", shard,
                      samples.values[k], w->stamp[shard]);
        size_t n = series_view_labels(&views[i], labels, 100);
        RIG_CHECK(n == 3 || n == 80, "%zu labels", n);
        RIG_CHECK(sv_eq(labels[0].value, SV("m")), "labels");
        samples_fini(&samples);
        per_shard[shard]++;
    }
    bool all = w->query.matchers_count == 0 || sv_eq(w->matcher.value, SV("m"));
    for (uint32_t s = 0; s < SHARDS; s++)
        RIG_CHECK(w->dropped[s] || per_shard[s] == (all ? SERIES : SERIES / 50),
                  "shard %u: %zu series", s, per_shard[s]);
    selection_release(w->sel);
    matcher_fini(&w->matcher);
}

static uint64_t memory(void) {
    struct head_stats stats;
    head_stats(head, &stats);
    RIG_CHECK(stats.series == SHARDS * SERIES, "%" PRIu64 " series", stats.series);
    return stats.memory_bytes;
}

int main(void) {
    static const struct runtime_ops runtime_ops = {.mono_ns = fake_mono_ns};
    struct runtime runtime = {.ops = &runtime_ops};
    struct core core = {.rt = &runtime};
    arena_init(&arena, 0);
    core_set_current(&core);
    rng_init(&rng, 3);
    RIG_CHECK(head_new(&(struct head_options){.secret = 1, .out_of_order_window_ms = 1800000},
                       &head) == OK,
              "!");
    for (uint32_t s = 0; s < SHARDS; s++)
        fill(s, s);
    uint64_t early = 0, peak = 0;
    for (unsigned round = 1; round <= ROUNDS; round++) {
        for (unsigned i = 0; i < SELECTIONS; i++) {
            struct watch *w = &watches[i];
            if (w->sel == NULL) watch_begin(w);
            for (uint64_t k = rng_below(&rng, 4); k > 0; k--)
                watch_step(w);
        }
        uint32_t shard = (uint32_t)rng_below(&rng, SHARDS);
        head_shard_drop(head, shard);
        RIG_CHECK(head_find(head, id_of(shard, 5)) == HEAD_NONE, "still there");
        for (unsigned i = 0; i < SELECTIONS; i++)
            watches[i].dropped[shard] = watches[i].dropped[shard] || !watches[i].done;
        for (unsigned i = 0; i < SELECTIONS; i++) {
            if (!rng_chance(&rng, 0.5)) continue;
            watch_end(&watches[i]);
            watches[i].sel = NULL;
        }
        fill(shard, round * 10.0 + shard);
        if (round <= 30) early = MAX(early, memory());
        peak = MAX(peak, memory());
    }
    for (unsigned i = 0; i < SELECTIONS; i++)
        if (watches[i].sel != NULL) watch_end(&watches[i]);
    RIG_CHECK(peak < early + early / 4, "%" PRIu64 " bytes early, %" PRIu64 " later", early, peak);
    for (uint32_t s = 0; s < SHARDS; s++)
        head_shard_drop(head, s);
    struct head_stats stats;
    head_stats(head, &stats);
    RIG_CHECK(stats.series == 0 && stats.chunks == 0, "%" PRIu64 " chunks", stats.chunks);
    printf("%" PRIu64 " bytes early, %" PRIu64 " at most, %" PRIu64 " at the end\n", early, peak,
           stats.memory_bytes);
    head_free(head);
    arena_fini(&arena);
    core_set_current(NULL);
    return 0;
}
