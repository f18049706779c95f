/* SPDX-License-Identifier: Apache-2.0 */
/* What is retained of blocks with entries of several shards: two shards, of which one waits for
 * another node that never answers. */
#include <criterion/criterion.h>
#include <stdlib.h>

#include "ring/replica/replica.h"
#include "tests/sim/sim.h"

enum { SELF = 100, OTHER = 200, ALONE = 0, WAITS = 1, SHARDS = 2 };

static struct {
    struct sim *sim;
    struct core *core;
    struct replicas *replicas;
    struct lease lease;
    struct place ends[SHARDS];
    uint64_t position, version;
} rig;
static const uint16_t core_of[SHARDS];
static char bytes[20000]; /* of entries, which are opaque here */

static bool store_held(void *ctx, uint32_t shard, bool tail, struct shard_held *out) {
    (void)ctx;
    bool has_log = !tail && rig.ends[shard].epoch != 0;
    *out = (struct shard_held){.copy = 1, .has_log = has_log, .is_whole = has_log};
    if (has_log) out->first = (struct place){1, 0};
    if (has_log) out->end = rig.ends[shard];
    return has_log;
}
static uint64_t store_position(void *ctx) {
    (void)ctx;
    return rig.position;
}

struct part {
    uint32_t shard;
    size_t len;
    bool tail;
};

/* One entry of each, behind each other. */
static void hand_over(const struct part *parts, size_t count, uint64_t seq) {
    struct entry_at at[8];
    size_t len = 0;
    for (size_t i = 0; i < count; i++) {
        at[i] = (struct entry_at){.place = {1, seq},
                                  .at = len,
                                  .len = parts[i].len,
                                  .shard = parts[i].shard,
                                  .tail = parts[i].tail};
        len += parts[i].len;
        if (!parts[i].tail) rig.ends[parts[i].shard] = at[i].place;
    }
    cr_assert_leq(len, sizeof bytes);
    struct store_block block = {.entries = {bytes, len}, .places = at, .places_count = count};
    core_set_current(rig.core);
    replicas_block(rig.replicas, ++rig.position, &block);
}
static enum status store_open_epoch(void *ctx, uint32_t shard, uint32_t epoch,
                                    uint64_t *out_position, struct err *err) {
    (void)ctx, (void)err, (void)epoch;
    hand_over(&(struct part){.shard = shard, .len = 10}, 1, 0);
    *out_position = rig.position;
    return OK;
}
static const struct store_ops ops = {
    .held = store_held, .open_epoch = store_open_epoch, .position = store_position};

static void on_report(void *ctx, const struct shard_report *reports, size_t reports_count,
                      const struct append_lag *lags, size_t lags_count, uint32_t unsynced_age_ms) {
    (void)ctx, (void)reports, (void)reports_count, (void)lags, (void)lags_count;
    (void)unsynced_age_ms;
}

static void install(bool other) {
    struct ring_map *map;
    cr_assert_eq(ring_map_new(2, SHARDS, &map, NULL), OK);
    map->version = ++rig.version;
    map->settings.shards_count = SHARDS;
    map->settings.replication_factor = 1;
    map->settings.format_level = RING_FORMAT_LEVEL;
    map->nodes[0].id = SELF;
    map->nodes[0].incarnation = 5;
    map->nodes[1].id = OTHER;
    for (uint32_t i = 0; i < SHARDS; i++) {
        struct ring_shard *s = &map->shards[i];
        s->epoch = 1;
        s->replicas[s->replicas_count++] =
            (struct ring_replica){.node = 0, .state = REPLICA_FULL, .in_sync = true, .copy = 1};
        if (other && i == WAITS)
            s->replicas[s->replicas_count++] =
                (struct ring_replica){.node = 1, .state = REPLICA_LOG, .in_sync = true, .copy = 1};
    }
    core_set_current(rig.core);
    replicas_install(rig.replicas, map, core_of);
    ring_map_unref(map);
}

static void durable(void) {
    core_set_current(rig.core);
    replicas_durable(rig.replicas, rig.position, OK, NULL);
}

static uint64_t retained(void) {
    struct replica_counts counts;
    replicas_counts(rig.replicas, &counts);
    return counts.retained_bytes;
}

static void setup(void) {
    struct sim_options so = {.seed = 1, .nodes_count = 1, .cores_per_node = 1};
    rig.sim = sim_new(&so);
    rig.core = sim_start(rig.sim, 0)->cores[0];
    rig.lease.until_ns = UINT64_MAX;
    core_set_current(rig.core);
    struct replica_options o = {.self = SELF,
                                .incarnation = 5,
                                .store = &ops,
                                .lease = &rig.lease,
                                .retained_bytes_max = 1 << 20,
                                .append_bytes_max = 1 << 20,
                                .appends_in_flight = 8,
                                .report = on_report};
    cr_assert_eq(replicas_new(rig.core, &o, &rig.replicas, NULL), OK);
    install(false);
    durable();
    install(true); /* in the same epoch: both are open, and one waits */
    cr_assert_eq(retained(), 0);
}

static void teardown(void) {
    core_set_current(rig.core);
    replicas_stop(rig.replicas);
    replicas_free(rig.replicas);
    core_set_current(NULL);
    sim_kill(rig.sim, 0);
    sim_free(rig.sim);
}

TestSuite(replica_block, .init = setup, .fini = teardown);

Test(replica_block, one_shard_that_waits_does_not_keep_the_others_entries) {
    hand_over((struct part[]){{.shard = ALONE, .len = 8000}, {.shard = WAITS, .len = 100}}, 2, 1);
    cr_assert_eq(retained(), 8100, "it is durable nowhere");
    durable();
    cr_assert_eq(retained(), 100);
    install(false);
    cr_assert_eq(retained(), 0, "nobody is waited for any more");
}

Test(replica_block, a_block_that_is_mostly_held_stays_as_it_is) {
    hand_over((struct part[]){{.shard = ALONE, .len = 8000}, {.shard = WAITS, .len = 8000}}, 2, 1);
    durable();
    cr_assert_eq(retained(), 16000);
    install(false);
    cr_assert_eq(retained(), 0);
}

Test(replica_block, entries_of_the_run_that_is_not_sent_on_are_not_retained) {
    hand_over((struct part[]){{.shard = ALONE, .len = 8000},
                              {.shard = WAITS, .len = 8000, .tail = true},
                              {.shard = WAITS, .len = 50}},
              3, 1);
    durable();
    cr_assert_eq(retained(), 50);
}
