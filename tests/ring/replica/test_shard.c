/* SPDX-License-Identifier: Apache-2.0 */
/* One core with replication and a store in memory, without other nodes: what a primary may
 * acknowledge and a replica may answer, map by map. */
#include <criterion/criterion.h>
#include <stdlib.h>
#include <string.h>

#include "node/base/bytes.h"
#include "ring/replica/replica.h"
#include "tests/sim/sim.h"

enum { SELF = 100, OTHER = 200, ENTRY_BYTES = 16, RETAINED_MAX = 10 * ENTRY_BYTES };

/* An entry is its shard, epoch and seq; the log is a count of blocks. */
struct rig {
    struct sim *sim;
    struct core *core;
    struct replicas *replicas;
    struct lease lease;
    struct place end;
    uint64_t position, version;
};
static struct rig rig;
static const uint16_t core_of[1];

static bool store_held(void *ctx, uint32_t shard, bool tail, struct shard_held *out) {
    (void)ctx, (void)shard;
    *out = (struct shard_held){.copy = 1};
    if (tail || rig.end.epoch == 0) return false;
    out->has_log = out->is_whole = true;
    out->first = (struct place){1, 0};
    out->end = rig.end;
    return true;
}
static bool store_epoch_end(void *ctx, uint32_t shard, uint32_t epoch, uint64_t *out) {
    (void)ctx, (void)shard, (void)epoch, (void)out;
    return false;
}
static uint64_t store_history(void *ctx, uint32_t shard, uint32_t epoch) {
    (void)ctx, (void)shard, (void)epoch;
    return 0;
}
static enum status store_entry_next(struct sv *rest, struct entry_place *out, struct err *err) {
    if (rest->len < ENTRY_BYTES) return err_set(err, ERR_CORRUPT, 0, "a short entry");
    out->shard = get_u32le(rest->ptr);
    out->place = (struct place){get_u32le(rest->ptr + 4), get_u64le(rest->ptr + 8)};
    out->len = ENTRY_BYTES;
    *rest = sv_skip(*rest, ENTRY_BYTES);
    return OK;
}
static enum status store_follow(void *ctx, uint32_t shard, uint32_t copy, bool tail,
                                struct sv entries, uint64_t *out_position, struct err *err) {
    (void)ctx, (void)shard, (void)copy, (void)tail, (void)entries, (void)out_position;
    return err_set(err, ERR_CONFLICT, 0, "nobody sends anything here");
}
static void store_hand_over(struct place place) {
    char entry[ENTRY_BYTES];
    put_u32le(entry, 0);
    put_u32le(entry + 4, place.epoch);
    put_u64le(entry + 8, place.seq);
    rig.end = place;
    struct entry_at at = {.place = place, .len = sizeof entry};
    struct store_block block = {sv_make(entry, sizeof entry), &at, 1, false};
    replicas_block(rig.replicas, ++rig.position, &block);
}
static enum status store_open_epoch(void *ctx, uint32_t shard, uint32_t epoch,
                                    uint64_t *out_position, struct err *err) {
    (void)ctx, (void)shard, (void)err;
    if (rig.end.epoch != epoch) store_hand_over((struct place){epoch, 0});
    *out_position = rig.position;
    return OK;
}
static void store_drop(void *ctx, uint32_t shard, uint32_t copy) {
    (void)ctx, (void)shard, (void)copy;
    rig.end = (struct place){0};
}
static uint64_t store_position(void *ctx) {
    (void)ctx;
    return rig.position;
}
static enum status store_read(void *ctx, struct store_read *job, struct err *err) {
    (void)ctx, (void)job;
    return err_set(err, ERR_IO, 0, "nothing is read here");
}
static void store_read_resume(void *ctx, struct store_read *job) {
    (void)ctx, (void)job;
}
static const struct store_ops ops = {.held = store_held,
                                     .epoch_end = store_epoch_end,
                                     .history = store_history,
                                     .entry_next = store_entry_next,
                                     .follow = store_follow,
                                     .open_epoch = store_open_epoch,
                                     .drop = store_drop,
                                     .position = store_position,
                                     .read = store_read,
                                     .read_resume = store_read_resume};

static void on_report(void *ctx, const struct shard_report *reports, size_t reports_count,
                      const struct append_lag *lags, size_t lags_count, uint32_t unsynced_age_ms) {
    (void)ctx, (void)reports, (void)reports_count, (void)lags, (void)lags_count;
    (void)unsynced_age_ms;
}

/* -- maps */

struct view {
    uint32_t epoch, min_insync;
    bool led_by_other;        /* else by this node */
    bool other_in_sync;       /* OTHER is a LOG replica that is waited for */
    uint64_t until;           /* of this node's replica */
    uint32_t own_incarnation; /* 0: as this process has it */
};

static void install(struct view v) {
    struct ring_map *map;
    cr_assert_eq(ring_map_new(2, 1, &map, NULL), OK);
    map->version = ++rig.version;
    map->settings.shards_count = 1;
    map->settings.replication_factor = 1;
    map->settings.min_insync = v.min_insync;
    map->settings.format_level = RING_FORMAT_LEVEL;
    map->nodes[0].id = SELF;
    map->nodes[0].incarnation = v.own_incarnation == 0 ? 5 : v.own_incarnation;
    map->nodes[1].id = OTHER;
    map->nodes[1].incarnation = 9;
    struct ring_shard *s = &map->shards[0];
    s->epoch = v.epoch;
    s->replicas[s->replicas_count++] = (struct ring_replica){
        .node = 0, .state = REPLICA_FULL, .in_sync = true, .copy = 1, .until = v.until};
    if (v.led_by_other || v.other_in_sync)
        s->replicas[s->replicas_count++] =
            (struct ring_replica){.node = 1,
                                  .state = v.led_by_other ? REPLICA_FULL : REPLICA_LOG,
                                  .in_sync = true,
                                  .copy = 1};
    s->primary = v.led_by_other ? 1 : 0;
    core_set_current(rig.core);
    replicas_install(rig.replicas, map, core_of);
    ring_map_unref(map);
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
                                .retained_bytes_max = RETAINED_MAX,
                                .append_bytes_max = 1 << 20,
                                .appends_in_flight = 8,
                                .report = on_report};
    cr_assert_eq(replicas_new(rig.core, &o, &rig.replicas, NULL), OK);
}

static void teardown(void) {
    core_set_current(rig.core);
    replicas_stop(rig.replicas);
    replicas_free(rig.replicas);
    core_set_current(NULL);
    sim_kill(rig.sim, 0);
    sim_free(rig.sim);
}

static void durable(void) {
    core_set_current(rig.core);
    replicas_durable(rig.replicas, rig.position, OK, NULL);
}

static void write_one(void) {
    core_set_current(rig.core);
    store_hand_over((struct place){rig.end.epoch, rig.end.seq + 1});
}

static bool never(void *ctx) {
    (void)ctx;
    return false;
}

static void pass_ms(uint64_t ms) {
    core_set_current(NULL);
    sim_run(rig.sim, never, NULL, sim_now_ms(rig.sim) + ms);
    core_set_current(rig.core);
}

static enum status may_write(void) {
    return replicas_may_write(rig.replicas, 0, core_mono_ns(rig.core), NULL);
}

static void open_alone(void) {
    install((struct view){.epoch = 1});
    cr_assert_eq(may_write(), ERR_UNAVAILABLE, "its epoch is not durable yet");
    durable();
    cr_assert_eq(may_write(), OK);
}

/* -- waits */

static struct {
    struct replica_wait wait;
    unsigned called;
    enum status status;
} waiter;

static void on_done(struct replica_wait *wait, enum status status, const struct err *err) {
    (void)wait;
    cr_assert(status == OK || err->code == status);
    waiter.called++;
    waiter.status = status;
}

static void wait_now(void) {
    core_set_current(rig.core);
    replicas_wait(rig.replicas, &waiter.wait, &(uint32_t){0}, 1, on_done);
    cr_assert_eq(waiter.called, 0, "never inside the call");
}

static void expect_end(enum status status) {
    pass_ms(5);
    cr_assert_eq(waiter.called, 1, "called %u times", waiter.called);
    cr_assert_eq(waiter.status, status, "%s", status_name(waiter.status));
}

TestSuite(replica_shard, .init = setup, .fini = teardown);

Test(replica_shard, a_wait_ends_when_the_log_has_it) {
    open_alone();
    write_one();
    wait_now();
    pass_ms(500);
    cr_assert_eq(waiter.called, 0, "it is not durable");
    durable();
    cr_assert_eq(waiter.called, 0, "never inside another call either");
    expect_end(OK);
}

Test(replica_shard, a_wait_for_nothing_ends_later_too) {
    open_alone();
    wait_now();
    expect_end(OK);
}

Test(replica_shard, a_wait_fails_when_the_shard_changes_hands) {
    open_alone();
    write_one();
    wait_now();
    install((struct view){.epoch = 2, .led_by_other = true});
    cr_assert_eq(waiter.called, 0, "never inside the installation of a map");
    expect_end(ERR_UNAVAILABLE);
    durable();
    expect_end(ERR_UNAVAILABLE);
    cr_assert_eq(may_write(), ERR_CONFLICT);
}

Test(replica_shard, a_wait_fails_when_the_epoch_changes_and_the_primary_stays) {
    open_alone();
    write_one();
    wait_now();
    install((struct view){.epoch = 2});
    durable();
    expect_end(ERR_UNAVAILABLE);
    cr_assert_eq(may_write(), OK, "open again in the new one");
}

Test(replica_shard, a_wait_fails_without_a_lease_at_its_end) {
    open_alone();
    write_one();
    wait_now();
    durable();
    rig.lease.until_ns = 0;
    expect_end(ERR_UNAVAILABLE);
    cr_assert_eq(may_write(), ERR_UNAVAILABLE);
    cr_assert(!replicas_may_read(rig.replicas, 0, 1));
    rig.lease.until_ns = UINT64_MAX;
    cr_assert(replicas_may_read(rig.replicas, 0, 1));
}

Test(replica_shard, a_wait_fails_with_too_few_in_sync) {
    open_alone();
    write_one();
    wait_now();
    install((struct view){.epoch = 1, .min_insync = 2});
    durable();
    expect_end(ERR_UNAVAILABLE);
    cr_assert_eq(may_write(), ERR_UNAVAILABLE);
    install((struct view){.epoch = 1, .min_insync = 1});
    cr_assert_eq(may_write(), OK);
}

Test(replica_shard, a_wait_is_also_for_who_comes_in_meanwhile) {
    open_alone();
    write_one();
    wait_now();
    install((struct view){.epoch = 1, .other_in_sync = true});
    durable();
    pass_ms(2000);
    cr_assert_eq(waiter.called, 0, "the other has nothing");
    install((struct view){.epoch = 1});
    expect_end(OK);
}

Test(replica_shard, a_wait_fails_when_the_log_does) {
    open_alone();
    write_one();
    wait_now();
    struct err err;
    enum status st = err_set(&err, ERR_IO, 5, "the disk is gone");
    replicas_durable(rig.replicas, rig.position, st, &err);
    expect_end(ERR_UNAVAILABLE);
    cr_assert_eq(may_write(), ERR_UNAVAILABLE);
}

Test(replica_shard, retained_bytes_refuse_writes) {
    open_alone();
    for (unsigned i = 0; i <= RETAINED_MAX / ENTRY_BYTES; i++) {
        cr_assert_eq(may_write(), OK, "after %u entries", i);
        write_one();
    }
    cr_assert_eq(may_write(), ERR_UNAVAILABLE);
    struct replica_counts counts;
    replicas_counts(rig.replicas, &counts);
    cr_assert_eq(counts.retained_bytes, RETAINED_MAX + ENTRY_BYTES);
    durable();
    cr_assert_eq(may_write(), OK, "all who must have them do");
    replicas_counts(rig.replicas, &counts);
    cr_assert_eq(counts.retained_bytes, 0);
}

Test(replica_shard, a_process_that_the_map_does_not_know_opens_nothing) {
    install((struct view){.epoch = 1, .own_incarnation = 4});
    durable();
    cr_assert_eq(rig.position, 0, "no epoch was opened");
    cr_assert_eq(may_write(), ERR_CONFLICT);
    cr_assert(!replicas_may_read(rig.replicas, 0, 1));
    open_alone();
}

struct reading {
    const char *what;
    struct view next;
    uint32_t asked_epoch;
    bool may;
};
static const struct reading readings[] = {
    {"in sync all the time", {.epoch = 2, .led_by_other = true}, 2, true},
    {"out in maps that never came here", {.epoch = 3, .led_by_other = true, .until = 4}, 3, false},
    {"asked by an older map", {.epoch = 2, .led_by_other = true}, 1, false},
    {"asked by a newer map", {.epoch = 2, .led_by_other = true}, 3, false},
};

Test(replica_shard, who_was_out_unseen_may_not_be_read) {
    for (size_t i = 0; i < sizeof readings / sizeof readings[0]; i++) {
        const struct reading *t = &readings[i];
        if (i > 0) {
            teardown();
            memset(&rig, 0, sizeof rig);
            setup();
        }
        open_alone();
        cr_assert(replicas_may_read(rig.replicas, 0, 1));
        rig.version += 5;
        install(t->next);
        cr_assert_eq(replicas_may_read(rig.replicas, 0, t->asked_epoch), t->may, "%s", t->what);
    }
}
