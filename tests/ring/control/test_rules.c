/* SPDX-License-Identifier: Apache-2.0 */
/* The nine rules of ring/control/controller.h, one by one, on a cluster that does what each test
 * says: nodes send heartbeats every 300 ms unless they are silent, and install maps at once unless
 * they are held back. */
#include <criterion/criterion.h>
#include <stdio.h>
#include <string.h>

#include "ring/control/controller.h"
#include "ring/placement.h"

enum { NODES = 10, SHARD = 0, REPORTS = 16 };
static const char *const zones[NODES] = {"a", "b", "c", "d", "e", "f", "g", "h", "i", "j"};

struct rig {
    struct controller *c;
    struct ring_map *map;
    uint64_t now;
    unsigned count;
    bool silent[NODES], held[NODES], draining[NODES], closed; /* closed: no primary opens */
    uint32_t incarnation[NODES], behind_ms[NODES];
    uint64_t installed[NODES];
    uint8_t answer[NODES]; /* of the last heartbeat */
    struct shard_report more[REPORTS];
    node_id more_from[REPORTS];
    size_t more_count;
};

static node_id id_of(unsigned i) {
    return (i + 1) * 16;
}

static void lead(struct rig *r) {
    struct controller_options options = {
        .self = id_of(r->count - 1), .replace_after_ms = 300000, .moves_max = 2};
    controller_free(r->c);
    cr_assert_eq(controller_new(&options, r->map, r->now, &r->c, NULL), OK);
}

static void rig_init(struct rig *r, unsigned nodes, uint32_t factor, uint32_t shards) {
    struct placement_member members[NODES];
    *r = (struct rig){.now = 1000000, .count = nodes};
    for (unsigned i = 0; i < nodes; i++) {
        members[i] =
            (struct placement_member){.id = id_of(i), .addr = SV("h:1"), .zone = sv_from(zones[i])};
        r->incarnation[i] = 1;
        r->installed[i] = 1;
    }
    struct ring_settings set = {.cluster_name = "t",
                                .shards_count = shards,
                                .replication_factor = factor,
                                .format_level = RING_FORMAT_LEVEL};
    cr_assert_eq(placement_make(&set, members, nodes, NULL, &r->map, NULL), OK);
    for (unsigned i = 0; i < nodes; i++)
        r->map->nodes[i].incarnation = 1;
    lead(r);
}

static void rig_fini(struct rig *r) {
    controller_free(r->c);
    ring_map_unref(r->map);
}

static void beat(struct rig *r, unsigned i) {
    struct shard_report reports[256];
    struct heartbeat h = {.id = id_of(i),
                          .incarnation = r->incarnation[i],
                          .map_version = r->installed[i],
                          .format_level = 1,
                          .addr = "h:1",
                          .draining = r->draining[i],
                          .unsynced_age_ms = r->behind_ms[i],
                          .reports = reports};
    struct heartbeat_reply reply;
    snprintf(h.zone, sizeof h.zone, "%s", zones[i]);
    int at = ring_map_node_index(r->map, id_of(i));
    for (uint32_t s = 0; s < r->map->settings.shards_count && !r->closed; s++)
        if (at == ring_map_primary(r->map, s) && r->installed[i] == r->map->version)
            reports[h.reports_count++] = (struct shard_report){
                .shard = s, .epoch = r->map->shards[s].epoch, .kind = REPORT_OPEN};
    for (size_t k = 0; k < r->more_count; k++)
        if (r->more_from[k] == id_of(i)) reports[h.reports_count++] = r->more[k];
    controller_heartbeat(r->c, r->now, &h, true, &reply);
    r->answer[i] = reply.answer;
}

static bool step(struct rig *r) {
    struct ring_map *next;
    struct err err = {0};
    cr_assert_eq(controller_step(r->c, r->now, &next, &err), OK, "%s", err.msg);
    if (next == NULL) return false;
    cr_assert_eq(ring_map_check(next, NULL), OK);
    controller_committed(r->c, next, r->now);
    ring_map_unref(r->map);
    r->map = next;
    return true;
}

static void run(struct rig *r, uint64_t ms) {
    for (uint64_t end = r->now + ms; r->now < end; r->now += 100) {
        step(r);
        for (unsigned i = 0; i < r->count; i++) {
            if (r->silent[i]) continue;
            if (!r->held[i]) r->installed[i] = r->map->version;
            if (r->now % 300 == 0) beat(r, i);
        }
    }
}

static void report(struct rig *r, node_id from, int kind, node_id about) {
    r->more_from[r->more_count] = from;
    r->more[r->more_count++] = (struct shard_report){.shard = SHARD,
                                                     .epoch = r->map->shards[SHARD].epoch,
                                                     .kind = (uint8_t)kind,
                                                     .about = about};
}

static const struct ring_replica *replica(const struct rig *r, uint32_t s, unsigned node) {
    int at = ring_map_node_index(r->map, id_of(node));
    int k = at < 0 ? -1 : ring_shard_replica(&r->map->shards[s], at);
    return k < 0 ? NULL : &r->map->shards[s].replicas[k];
}

static void expect(const struct rig *r, unsigned node, int state, bool in_sync) {
    const struct ring_replica *x = replica(r, SHARD, node);
    cr_assert(state == 0 ? x == NULL : x != NULL && x->state == state && x->in_sync == in_sync,
              "node %u is %d %d, not %d %d", node, x == NULL ? 0 : x->state,
              x != NULL && x->in_sync, state, in_sync);
}

static unsigned primary(const struct rig *r) {
    return (unsigned)(r->map->nodes[ring_map_primary(r->map, SHARD)].id / 16 - 1);
}

/* The n-th node (0: primary) that holds the shard FULL; n >= factor: one that does not hold it. */
static unsigned holder(const struct rig *r, unsigned n) {
    unsigned seen = 0;
    if (n == 0) return primary(r);
    for (unsigned i = 0; i < r->count; i++)
        if (i != primary(r) && replica(r, SHARD, i) != NULL && ++seen == n) return i;
    for (unsigned i = 0; i < r->count; i++)
        if (replica(r, SHARD, i) == NULL && ++seen == n) return i;
    return NODES;
}

Test(control_rules, r1_dead_after_its_time_and_never_within_the_grace) {
    struct rig r;
    rig_init(&r, 3, 2, 1);
    unsigned b = holder(&r, 1);
    run(&r, 3000);
    r.silent[b] = true; /* its last heartbeat was 300 ms ago at most */
    run(&r, 1600);
    expect(&r, b, REPLICA_FULL, true);
    run(&r, 800);
    expect(&r, b, REPLICA_FULL, false);
    r.silent[b] = false;
    run(&r, 1000);
    cr_assert_eq(r.answer[b], HEARTBEAT_OK);
    lead(&r); /* a new leader has heard nobody yet */
    for (unsigned i = 0; i < 3; i++)
        r.silent[i] = true;
    uint64_t version = r.map->version;
    run(&r, LEADER_GRACE_MS - 100);
    cr_assert_eq(r.map->version, version);
    rig_fini(&r);
}

Test(control_rules, r1_a_slow_node_is_taken_out_but_not_when_many_are) {
    struct rig r;
    rig_init(&r, 4, 2, 1);
    unsigned b = holder(&r, 1);
    run(&r, 3000);
    for (uint64_t end = r.now + 4500; r.now < end;) {
        r.behind_ms[b] += 100;
        run(&r, 100);
        if (r.behind_ms[b] < MEMBER_BEHIND_MS) expect(&r, b, REPLICA_FULL, true);
    }
    expect(&r, b, REPLICA_FULL, false);
    cr_assert_eq(r.answer[b], HEARTBEAT_NO_QUORUM);
    rig_fini(&r);
    rig_init(&r, 4, 2, 1);
    b = holder(&r, 1);
    run(&r, 3000);
    r.behind_ms[b] = r.behind_ms[holder(&r, 2)] = 10000;
    run(&r, 6000);
    expect(&r, b, REPLICA_FULL, true);
    cr_assert_eq(r.answer[b], HEARTBEAT_OK);
    rig_fini(&r);
}

Test(control_rules, r2_a_restarted_member_steps_back_and_an_older_process_is_fenced) {
    struct rig r;
    rig_init(&r, 3, 2, 1);
    unsigned a = holder(&r, 0), b = holder(&r, 1);
    run(&r, 3000);
    r.incarnation[b] = 2;
    beat(&r, b);
    cr_assert_eq(r.answer[b], HEARTBEAT_NO_QUORUM, "no lease before the map knows it");
    run(&r, 600);
    expect(&r, b, REPLICA_FULL, false);
    cr_assert_eq(r.map->shards[SHARD].epoch, 1, "its primary goes on");
    cr_assert_eq(r.map->nodes[ring_map_node_index(r.map, id_of(b))].incarnation, 2);
    r.incarnation[b] = 1;
    beat(&r, b);
    cr_assert_eq(r.answer[b], HEARTBEAT_FENCED);
    r.incarnation[b] = 2;
    run(&r, 600);
    report(&r, id_of(a), REPORT_CAUGHT_UP, id_of(b));
    run(&r, 900);
    expect(&r, b, REPLICA_FULL, true);
    expect(&r, holder(&r, 2), 0, false); /* the substitute is gone again */
    r.more_count = 0;
    r.incarnation[a] = 2; /* the primary: the other one leads */
    run(&r, 600);
    cr_assert_eq(primary(&r), b);
    cr_assert_eq(r.map->shards[SHARD].epoch, 2);
    expect(&r, a, REPLICA_FULL, false);
    rig_fini(&r);
}

Test(control_rules, r2_a_cold_start_opens_every_shard_anew_once) {
    struct rig r;
    rig_init(&r, 3, 2, 8);
    for (unsigned i = 0; i < 3; i++) {
        r.incarnation[i] = 2;
        r.silent[i] = i > 0;
    }
    r.closed = true;
    run(&r, 1000);
    r.silent[1] = false;
    run(&r, 1000);
    for (uint32_t s = 0; s < 8; s++) /* those that wait for the third one wait */
        cr_assert_leq(r.map->shards[s].epoch, 2);
    r.silent[2] = false;
    run(&r, 1000);
    for (uint32_t s = 0; s < 8; s++) {
        cr_assert_eq(r.map->shards[s].epoch, 2, "shard %u", s);
        cr_assert_eq(r.map->shards[s].replicas_count, 2);
        for (unsigned i = 0; i < 2; i++)
            cr_assert(ring_replica_is_readable(&r.map->shards[s].replicas[i]));
    }
    for (unsigned i = 0; i < 3; i++) {
        cr_assert_eq(r.map->nodes[i].incarnation, 2);
        cr_assert_eq(r.answer[i], HEARTBEAT_OK);
    }
    rig_fini(&r);
}

Test(control_rules, r3_taking_out_brings_a_substitute_and_a_primary_in_one_map) {
    struct rig r;
    rig_init(&r, 4, 2, 64);
    run(&r, 3000);
    unsigned dead = holder(&r, 0), b = holder(&r, 1);
    r.silent[dead] = true;
    uint64_t version = r.map->version;
    while (r.map->version == version)
        run(&r, 100);
    for (uint32_t s = 0; s < 64; s++) {
        const struct ring_shard *shard = &r.map->shards[s];
        unsigned in_sync = 0;
        for (unsigned i = 0; i < shard->replicas_count; i++)
            in_sync += shard->replicas[i].in_sync;
        cr_assert_eq(in_sync, 2, "shard %u", s);
        cr_assert_neq(r.map->nodes[ring_map_primary(r.map, s)].id, id_of(dead));
        cr_assert(replica(&r, s, dead) == NULL || !replica(&r, s, dead)->in_sync);
    }
    cr_assert_eq(primary(&r), b);
    cr_assert_eq(r.map->shards[SHARD].epoch, 2);
    cr_assert_eq(r.map->nodes[dead].flags, RING_NODE_DOWN);
    rig_fini(&r);
}

Test(control_rules, r4_without_a_readable_copy_logs_take_the_writes) {
    struct rig r;
    rig_init(&r, 4, 2, 1);
    unsigned a = holder(&r, 0), b = holder(&r, 1), c = holder(&r, 2), d = holder(&r, 3);
    run(&r, 3000);
    r.silent[a] = r.silent[b] = true;
    run(&r, 2500);
    expect(&r, c, REPLICA_LOG, true);
    expect(&r, d, REPLICA_LOG, true);
    expect(&r, a, REPLICA_FULL, false);
    cr_assert(primary(&r) == c || primary(&r) == d);
    cr_assert_eq(r.map->shards[SHARD].epoch, 2);
    r.silent[b] = false; /* the first copy to return leads, in a new epoch */
    r.closed = true;
    r.incarnation[b] = 2;
    run(&r, 600);
    cr_assert_eq(primary(&r), b);
    expect(&r, b, REPLICA_FULL, true);
    cr_assert_neq(replica(&r, SHARD, b)->until, 0, "not complete before it is open");
    uint32_t epoch = r.map->shards[SHARD].epoch;
    report(&r, id_of(b), REPORT_INCOMPLETE, id_of(b));
    run(&r, 600);
    cr_assert(primary(&r) == c || primary(&r) == d);
    cr_assert_gt(r.map->shards[SHARD].epoch, epoch);
    epoch = r.map->shards[SHARD].epoch;
    run(&r, 3000);
    cr_assert_eq(r.map->shards[SHARD].epoch, epoch, "it is not tried again");
    r.silent[a] = false;
    run(&r, 600);
    cr_assert(primary(&r) == a || primary(&r) == b);
    r.closed = false;
    r.more_count = 0;
    run(&r, 600);
    cr_assert_eq(replica(&r, SHARD, primary(&r))->until, 0);
    rig_fini(&r);
}

/* Each that takes the writes dies with entries that nobody else has: there is no room for one more
 * than the shard can name, but none of those goes that the first needs to be complete again. */
Test(control_rules, r4_who_has_what_nobody_else_has_makes_no_room) {
    struct rig r;
    rig_init(&r, NODES, 1, 1);
    run(&r, 3000);
    unsigned first = primary(&r), dead[RING_REPLICAS_MAX], deaths = 0;
    r.silent[first] = true;
    dead[deaths++] = first;
    run(&r, 4000);
    while (deaths < RING_REPLICAS_MAX) {
        unsigned last = primary(&r);
        expect(&r, last, REPLICA_LOG, true);
        r.silent[last] = true;
        dead[deaths++] = last;
        run(&r, 4000);
    }
    for (unsigned i = 0; i < deaths; i++)
        cr_assert(replica(&r, SHARD, dead[i]) != NULL, "who died as number %u is forgotten", i);
    for (unsigned i = 0; i < deaths; i++)
        r.silent[dead[i]] = false;
    run(&r, 4000);
    cr_assert_eq(primary(&r), first);
    expect(&r, first, REPLICA_FULL, true);
    cr_assert_eq(replica(&r, SHARD, first)->until, 0, "it is complete");
    rig_fini(&r);
}

Test(control_rules, r5_reports_count_in_their_epoch_only) {
    struct rig r;
    rig_init(&r, 3, 2, 1);
    unsigned a = holder(&r, 0), b = holder(&r, 1), c = holder(&r, 2);
    run(&r, 3000);
    r.incarnation[b] = 2;
    run(&r, 600);
    expect(&r, b, REPLICA_FULL, false);
    expect(&r, c, REPLICA_LOG, true);
    report(&r, id_of(c), REPORT_CAUGHT_UP, id_of(b)); /* not the primary */
    report(&r, id_of(a), REPORT_CAUGHT_UP, id_of(b));
    r.more[1].epoch = 7;
    run(&r, 900);
    expect(&r, b, REPLICA_FULL, false);
    uint32_t copy = replica(&r, SHARD, b)->copy;
    r.more_count = 0;
    report(&r, id_of(a), REPORT_DIVERGED, id_of(b));
    run(&r, 300);
    r.more_count = 0;
    run(&r, 300);
    expect(&r, b, REPLICA_INIT, false);
    cr_assert_gt(replica(&r, SHARD, b)->copy, copy);
    report(&r, id_of(a), REPORT_CAUGHT_UP, id_of(b));
    run(&r, 900);
    expect(&r, b, REPLICA_FULL, true);
    expect(&r, c, 0, false);
    r.more_count = 0;
    r.held[b] = true; /* a readable copy is damaged: it must hear of it before it goes */
    report(&r, id_of(b), REPORT_DAMAGED, id_of(b));
    run(&r, 900);
    expect(&r, b, REPLICA_LEAVING, true);
    expect(&r, c, REPLICA_LOG, true);
    r.held[b] = false;
    run(&r, 300);
    r.more_count = 0;
    run(&r, 600);
    expect(&r, b, REPLICA_INIT, false);
    rig_fini(&r);
}

/* In that map it may have held the entries; by this one its copy is another. */
Test(control_rules, r5_a_heartbeat_that_was_overtaken_says_nothing_of_copies) {
    struct rig r;
    rig_init(&r, 3, 2, 1);
    unsigned a = holder(&r, 0), b = holder(&r, 1);
    run(&r, 3000);
    uint64_t before = r.map->version;
    r.incarnation[b] = 2;
    run(&r, 1200);
    expect(&r, b, REPLICA_FULL, false);
    uint64_t now = r.installed[a];
    cr_assert_gt(now, before);
    report(&r, id_of(a), REPORT_CAUGHT_UP, id_of(b));
    r.installed[a] = before;
    beat(&r, a);
    r.more_count = 0;
    r.installed[a] = now;
    run(&r, 900);
    expect(&r, b, REPLICA_FULL, false);
    report(&r, id_of(a), REPORT_CAUGHT_UP, id_of(b));
    run(&r, 900);
    expect(&r, b, REPLICA_FULL, true);
    rig_fini(&r);
}

/* b led for a while, then c. A promotion of `a` died when b alone had heard of its epoch, so what b
 * holds does not lead to what `a` is opening now: but it has entries that `a` may lack until it is
 * open. */
Test(control_rules, r5_a_log_replica_that_diverged_is_kept_while_it_is_needed) {
    struct rig r;
    rig_init(&r, 3, 1, 1);
    unsigned a = holder(&r, 0), b = holder(&r, 1), c;
    run(&r, 3000);
    r.silent[a] = true;
    run(&r, 3000);
    b = primary(&r);
    c = 3 - a - b;
    expect(&r, b, REPLICA_LOG, true);
    r.silent[b] = true;
    run(&r, 3000);
    cr_assert_eq(primary(&r), c);
    r.silent[a] = r.silent[b] = false;
    r.closed = true;
    run(&r, 900);
    cr_assert_eq(primary(&r), a);
    expect(&r, b, REPLICA_LOG, true);
    expect(&r, c, REPLICA_LOG, true);
    struct ring_replica before = *replica(&r, SHARD, b);
    uint32_t epoch = r.map->shards[SHARD].epoch;
    report(&r, id_of(a), REPORT_DIVERGED, id_of(b));
    run(&r, 600);
    r.more_count = 0;
    run(&r, 600);
    expect(&r, b, REPLICA_LOG, false);
    expect(&r, a, REPLICA_FULL, true);
    cr_assert_eq(replica(&r, SHARD, b)->copy, before.copy);
    cr_assert_eq(replica(&r, SHARD, b)->since, before.since);
    cr_assert_eq(replica(&r, SHARD, b)->until, before.until);
    cr_assert(primary(&r) == a && r.map->shards[SHARD].epoch == epoch, "it goes on opening");
    r.closed = false;
    run(&r, 900);
    cr_assert_eq(replica(&r, SHARD, a)->until, 0);
    expect(&r, b, 0, false);
    rig_fini(&r);
}

Test(control_rules, r6_a_dead_replica_is_replaced_by_its_substitute) {
    struct rig r;
    rig_init(&r, 3, 2, 1);
    unsigned a = holder(&r, 0), b = holder(&r, 1), c = holder(&r, 2);
    run(&r, 3000);
    r.silent[b] = true;
    run(&r, 299000);
    expect(&r, c, REPLICA_LOG, true);
    uint32_t copy = replica(&r, SHARD, c)->copy;
    run(&r, 3000);
    expect(&r, c, REPLICA_INIT, true);
    cr_assert_eq(replica(&r, SHARD, c)->copy, copy + 1);
    report(&r, id_of(a), REPORT_CAUGHT_UP, id_of(c));
    run(&r, 900);
    expect(&r, c, REPLICA_FULL, true);
    expect(&r, b, 0, false);
    rig_fini(&r);
}

Test(control_rules, r7_moves_go_by_init_leaving_and_installed) {
    struct rig r;
    rig_init(&r, 3, 2, 1);
    unsigned a = holder(&r, 0), b = holder(&r, 1), c = holder(&r, 2);
    run(&r, 3000);
    cr_assert_eq(controller_move(r.c, SHARD, id_of(a), id_of(c), NULL), OK);
    run(&r, 300);
    expect(&r, c, REPLICA_INIT, false);
    run(&r, 600);
    r.held[a] = true;
    report(&r, id_of(a), REPORT_CAUGHT_UP, id_of(c));
    run(&r, 900);
    expect(&r, a, REPLICA_LEAVING, true);
    expect(&r, c, REPLICA_FULL, true);
    cr_assert_neq(primary(&r), a);
    cr_assert_eq(r.map->shards[SHARD].epoch, 2);
    r.held[a] = false;
    run(&r, 600);
    expect(&r, a, 0, false);
    expect(&r, b, REPLICA_FULL, true);
    /* a drain: the rest of it goes too, then the node itself */
    r.more_count = 0;
    cr_assert_eq(controller_drain(r.c, id_of(b), true, NULL), OK);
    run(&r, 600);
    expect(&r, a, REPLICA_INIT, false);
    report(&r, id_of(primary(&r)), REPORT_CAUGHT_UP, id_of(a));
    run(&r, 1500);
    cr_assert_eq(ring_map_node_index(r.map, id_of(b)), -1);
    cr_assert_eq(r.map->nodes_count, 2);
    rig_fini(&r);
}

Test(control_rules, r8_a_reader_keeps_its_place_while_it_may_have_a_lease) {
    struct rig r;
    rig_init(&r, 3, 2, 1);
    unsigned b = holder(&r, 1);
    run(&r, 3000);
    beat(&r, b);
    uint64_t leased = r.now;
    r.silent[b] = true;
    while (replica(&r, SHARD, b)->in_sync)
        run(&r, 100);
    cr_assert_geq(r.now, leased + MEMBER_TIMEOUT_MS);
    cr_assert_leq(r.now, leased + MEMBER_TIMEOUT_MS + 300);
    r.silent[b] = false; /* back with the old map: no lease before it has the new one */
    r.held[b] = true;
    run(&r, 900);
    cr_assert_eq(r.answer[b], HEARTBEAT_NO_QUORUM);
    r.held[b] = false;
    run(&r, 600);
    cr_assert_eq(r.answer[b], HEARTBEAT_OK);
    rig_fini(&r);
}

/* By the map it has it is the primary, and nobody else is in sync: it would order and acknowledge
 * writes beside its successor. */
Test(control_rules, r8_a_log_primary_has_no_lease_before_it_hears_of_its_successor) {
    struct rig r;
    rig_init(&r, 3, 1, 1);
    unsigned a = holder(&r, 0), b, c;
    run(&r, 3000);
    r.silent[a] = true;
    run(&r, 3000);
    b = primary(&r);
    c = 3 - a - b;
    expect(&r, b, REPLICA_LOG, true);
    r.silent[b] = r.held[b] = true;
    run(&r, 3000);
    cr_assert_eq(primary(&r), c);
    r.silent[b] = false;
    run(&r, 900);
    cr_assert_eq(r.answer[b], HEARTBEAT_NO_QUORUM);
    r.held[b] = false;
    run(&r, 900);
    cr_assert_eq(r.answer[b], HEARTBEAT_OK);
    rig_fini(&r);
}

Test(control_rules, r9_joins_and_new_addresses_are_map_changes) {
    struct rig r;
    rig_init(&r, 2, 2, 4);
    run(&r, 3000);
    struct ring_node node = {.id = id_of(2), .incarnation = 1, .addr = "new:1", .zone = "c"};
    struct heartbeat stranger = {.id = id_of(2), .incarnation = 1};
    struct heartbeat_reply reply;
    controller_heartbeat(r.c, r.now, &stranger, true, &reply);
    cr_assert_eq(reply.answer, HEARTBEAT_UNKNOWN);
    cr_assert_eq(controller_join(r.c, &node, NULL), OK);
    cr_assert_eq(controller_join(r.c, &node, NULL), OK);
    r.incarnation[2] = 1;
    r.count = 3;
    run(&r, 1000);
    cr_assert_eq(r.map->nodes_count, 3);
    cr_assert_str_eq(r.map->nodes[2].addr, "h:1", "as its heartbeats say");
    struct err err;
    node.id = 0;
    cr_assert_eq(controller_join(r.c, &node, &err), ERR_CONFLICT);
    cr_assert_eq(controller_remove(r.c, id_of(1), &err), ERR_CONFLICT);
    cr_assert(strstr(err.msg, "is alive") != NULL);
    r.silent[2] = true; /* it has no data yet */
    run(&r, 3000);
    cr_assert_eq(controller_remove(r.c, id_of(2), &err), OK, "%s", err.msg);
    run(&r, 300);
    cr_assert_eq(r.map->nodes_count, 2);
    rig_fini(&r);
}
