/* SPDX-License-Identifier: Apache-2.0 */
/* What a cluster of members does by plan, without faults by chance. Times are virtual. */
#include <criterion/criterion.h>
#include <inttypes.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tests/ring/member/world.h"

static struct world *world_seeded(unsigned nodes, unsigned rf, uint64_t seed) {
    struct world *w = calloc(1, sizeof *w);
    cr_assert_not_null(w);
    world_open(w, &(struct world_options){.nodes = nodes, .rf = rf, .sim.seed = seed});
    return w;
}

static struct world *world_of(unsigned nodes, unsigned rf) {
    return world_seeded(nodes, rf, 7);
}

static void end(struct world *w) {
    cr_expect_str_eq(w->failure, "");
    world_close(w);
    free(w);
}

static void calm(struct world *w) {
    cr_assert(world_converge(w, 30000), "%s", w->failure);
}

static unsigned seat_number(struct world *w, const struct seat *seat) {
    cr_assert_not_null(seat);
    return (unsigned)(seat - w->seats);
}

static json_t *status_of(struct world *w, unsigned node) {
    struct admin_call call = {.verb = ADMIN_STATUS};
    cr_assert(world_admin(w, node, &call), "%s", call.err.msg);
    json_error_t e;
    json_t *j = json_loadb(call.answer.ptr, call.answer.len, 0, &e);
    cr_assert_not_null(j, "%s", e.text);
    buf_fini(&call.answer);
    return j;
}

static size_t voters(struct world *w, unsigned node) {
    json_t *j = status_of(w, node);
    size_t n = json_array_size(json_object_get(j, "voters"));
    json_decref(j);
    return n;
}

static bool votes(struct world *w, unsigned ask, unsigned node) {
    char id[20];
    snprintf(id, sizeof id, "%016" PRIx64, w->seats[node].id);
    json_t *j = status_of(w, ask), *v = json_object_get(j, "voters");
    bool found = false;
    for (size_t i = 0; i < json_array_size(v); i++)
        found = found || strcmp(json_string_value(json_array_get(v, i)), id) == 0;
    json_decref(j);
    return found;
}

Test(life, a_node_alone_founds_at_once_and_comes_back) {
    struct world *w = calloc(1, sizeof *w);
    world_open(w, &(struct world_options){.nodes = 1, .rf = 1, .alone = true, .sim.seed = 7});
    cr_assert(world_converge(w, 2000), "%s", w->failure);
    uint8_t id[16];
    memcpy(id, w->cluster_id, sizeof id);
    for (int i = 0; i < 3; i++) {
        world_kill(w, 0);
        world_start(w, 0);
        cr_assert_eq(memcmp(id, w->seats[0].map->settings.cluster_id, sizeof id), 0);
        cr_assert(world_converge(w, 2000), "%s", w->failure);
    }
    uint64_t began_ms = sim_now_ms(w->sim);
    world_stop(w, 0); /* nobody to hand over to */
    cr_assert_lt(sim_now_ms(w->sim) - began_ms, 200);
    end(w);
}

Test(life, three_found_one_cluster_and_any_of_them_tells_its_status) {
    struct world *w = world_of(3, 2);
    calm(w);
    cr_assert(world_run(w, 5000));
    for (unsigned i = 0; i < 3; i++) {
        json_t *j = status_of(w, i);
        char leader[20];
        snprintf(leader, sizeof leader, "%016" PRIx64, world_controller(w)->id);
        cr_expect_str_eq(json_string_value(json_object_get(j, "leader")), leader);
        cr_expect_eq(json_array_size(json_object_get(j, "voters")), 3);
        cr_expect_eq(json_array_size(json_object_get(j, "learners")), 0);
        cr_expect_eq(json_integer_value(json_object_get(j, "nodesAlive")), 3);
        cr_expect_eq(json_integer_value(json_object_get(j, "shardsUnderReplicated")), 0);
        json_t *nodes = json_object_get(j, "nodes");
        cr_expect_eq(json_array_size(nodes), 3);
        json_int_t full = 0, primaries = 0;
        for (size_t n = 0; n < 3; n++) {
            json_t *node = json_array_get(nodes, n);
            cr_expect_str_eq(json_string_value(json_object_get(node, "state")), "alive");
            cr_expect_lt(json_integer_value(json_object_get(node, "heartbeatAgeMs")), 400);
            full += json_integer_value(json_object_get(json_object_get(node, "replicas"), "full"));
            primaries += json_integer_value(json_object_get(node, "primaries"));
        }
        cr_expect_eq(full, 2 * WORLD_SHARDS);
        cr_expect_eq(primaries, WORLD_SHARDS);
        json_decref(j);
    }
    end(w);
}

Test(life, two_of_three_do_not_found) {
    struct world *w = world_of(3, 2);
    w->seats[1].stays_down = true;
    cr_assert(world_run(w, 60000));
    cr_assert(!w->founded);
    world_start(w, 1);
    calm(w);
    end(w);
}

Test(life, without_bootstrap_expect_a_node_only_joins) {
    struct world *w = world_of(3, 2);
    for (unsigned i = 0; i < 3; i++)
        w->seats[i].expect = 0;
    cr_assert(world_run(w, 60000));
    cr_assert(!w->founded);
    world_kill(w, 1);
    w->seats[1].expect = 2; /* it founds with another one, the third joins */
    world_start(w, 1);
    calm(w);
    cr_assert_eq(w->newest->nodes_count, 3);
    end(w);
}

Test(life, voters_follow_the_number_of_nodes) {
    struct world *w = world_of(2, 2);
    static const size_t wanted[] = {0, 0, 1, 3, 3, 5, 5};
    calm(w);
    for (;;) {
        cr_assert(world_run(w, 5000), "%s", w->failure);
        cr_expect_eq(voters(w, 0), wanted[w->seats_count], "%u nodes: %zu voters", w->seats_count,
                     voters(w, 0));
        if (w->seats_count == WORLD_NODES_MAX) break;
        world_start(w, w->seats_count++);
        calm(w);
    }
    end(w);
}

Test(life, a_dead_voter_is_replaced_after_a_while) {
    struct world *w = world_of(4, 2);
    calm(w);
    cr_assert(world_run(w, 5000));
    unsigned leader = seat_number(w, world_controller(w)), dead = 0;
    while (dead == leader || !votes(w, leader, dead))
        dead++;
    w->seats[dead].stays_down = true;
    world_kill(w, dead);
    cr_assert(world_run(w, 8000));
    cr_assert(votes(w, leader, dead), "too early");
    cr_assert(world_run(w, 6000));
    cr_assert(!votes(w, leader, dead));
    cr_assert_eq(voters(w, leader), 3);
    end(w);
}

Test(life, a_drained_node_gives_all_away_and_is_told_to_go) {
    for (int leader = 0; leader < 2; leader++) {
        struct world *w = world_of(4, 2);
        calm(w);
        cr_assert(world_run(w, 5000));
        unsigned controller = seat_number(w, world_controller(w));
        unsigned gone = leader ? controller : (controller + 1) % 4;
        struct admin_call call = {.verb = ADMIN_DRAIN, .node = w->seats[gone].id};
        cr_assert(world_admin(w, (gone + 2) % 4, &call), "%s", call.err.msg);
        w->seats[gone].stays_down = true; /* it is not awaited any more */
        for (int i = 0; i < 60 && !w->seats[gone].lost; i++)
            cr_assert(world_run(w, 500), "%s", w->failure);
        cr_assert(w->seats[gone].lost, "still a member");
        cr_assert_eq(w->seats[gone].lost_why.code, ERR_CONFLICT);
        cr_assert(!lease_is_held(&w->seats[gone].lease, 0));
        calm(w);
        cr_assert_eq(w->newest->nodes_count, 3);
        cr_assert(world_run(w, 5000));
        cr_assert_eq(voters(w, (gone + 1) % 4), 3);
        end(w);
    }
}

Test(life, who_was_removed_while_it_was_down_is_told) {
    struct world *w = world_of(3, 2);
    calm(w);
    cr_assert(world_run(w, 5000));
    unsigned leader = seat_number(w, world_controller(w)), gone = (leader + 1) % 3;
    w->seats[gone].stays_down = true;
    world_kill(w, gone);
    cr_assert(world_run(w, 4000));
    struct admin_call call = {.verb = ADMIN_REMOVE, .node = w->seats[gone].id};
    cr_assert(world_admin(w, leader, &call), "%s", call.err.msg);
    cr_assert(world_run(w, 3000));
    cr_assert_eq(w->newest->nodes_count, 2);
    cr_assert(world_run(w, 5000));
    cr_assert_eq(voters(w, leader), 1);
    world_start(w, gone);
    w->seats[gone].stays_down = true;
    cr_assert(world_run(w, 3000), "%s", w->failure);
    cr_assert(w->seats[gone].lost);
    calm(w);
    end(w);
}

static bool others_hold_leases(struct world *w, unsigned but) {
    for (unsigned i = 0; i < w->seats_count; i++) {
        struct seat *s = &w->seats[i];
        if (i != but && !lease_is_held(&s->lease, s->rt->ops->mono_ns(s->rt))) return false;
    }
    return true;
}

Test(life, a_leader_that_stops_hands_over_and_nobody_loses_its_lease) {
    struct world *w = world_of(3, 2);
    calm(w);
    cr_assert(world_run(w, 5000));
    for (int round = 0; round < 3; round++) {
        unsigned leader = seat_number(w, world_controller(w));
        uint64_t began_ms = sim_now_ms(w->sim);
        world_stop(w, leader);
        cr_assert_lt(sim_now_ms(w->sim) - began_ms, 500);
        for (int i = 0; i < 100; i++) {
            cr_assert(world_run(w, 20), "%s", w->failure);
            cr_assert(others_hold_leases(w, leader), "after %d ms", 20 * i);
        }
        cr_assert_not_null(world_controller(w));
        world_start(w, leader);
        calm(w);
        cr_assert(world_run(w, 3000));
    }
    end(w);
}

static bool leads_a_shard(const struct ring_map *map, node_id id) {
    for (uint32_t s = 0; s < map->settings.shards_count; s++)
        if (map->nodes[ring_map_primary(map, s)].id == id) return true;
    return false;
}

/* DESIGN 10: 5 s from the kill to the next acknowledgement, of which this is the part without
 * data: until all others have installed a map in which nobody waits for the dead node. */
Test(life, failover_after_a_kill) {
    uint64_t worst_ms[2] = {0};
    for (uint64_t seed = 1; seed <= 40; seed++) {
        struct world *w = world_seeded(3, 2, seed);
        calm(w);
        cr_assert(world_run(w, 5000 + 37 * seed));
        bool leader = seed % 2 == 0;
        unsigned dead = (seat_number(w, world_controller(w)) + !leader) % 3;
        uint64_t began_ms = sim_now_ms(w->sim);
        w->seats[dead].stays_down = true;
        world_kill(w, dead);
        for (bool over = false; !over;) {
            cr_assert(world_run(w, 10), "%s", w->failure);
            over = true;
            for (unsigned i = 0; i < 3; i++)
                over = over && (i == dead || !leads_a_shard(w->seats[i].map, w->seats[dead].id));
            cr_assert_lt(sim_now_ms(w->sim) - began_ms, 6000);
        }
        worst_ms[leader] = MAX(worst_ms[leader], sim_now_ms(w->sim) - began_ms);
        end(w);
    }
    printf("slowest of 20: a follower's %" PRIu64 " ms, the leader's %" PRIu64 " ms\n", worst_ms[0],
           worst_ms[1]);
    cr_expect_lt(worst_ms[0], 2800);
    cr_expect_lt(worst_ms[1], 5000);
}

static void elect(struct world *w, unsigned node, const char *replica, const char *expected) {
    struct admin_call call = {.verb = ADMIN_HA, .cluster = "eu"};
    snprintf(call.replica, sizeof call.replica, "%s", replica);
    cr_assert(world_admin(w, node, &call), "%s", call.err.msg);
    cr_expect(sv_eq(buf_sv(&call.answer), sv_from(expected)), "%s: got %.*s, not %s", replica,
              SV_ARG(buf_sv(&call.answer)), expected);
    buf_fini(&call.answer);
}

/* The table of reference/cluster.md section 5: update 15 s, failover 30 s. */
Test(life, ha_replicas_are_elected) {
    struct world *w = world_of(3, 2);
    calm(w);
    cr_assert(world_run(w, 3000));
    elect(w, 0, "a", "a");
    elect(w, 1, "b", "a");
    cr_assert(world_run(w, 20000));
    elect(w, 2, "b", "a"); /* 20 s of silence are not enough */
    elect(w, 2, "a", "a"); /* seen again: later than 15 s, so noted */
    cr_assert(world_run(w, 14000));
    unsigned leader = seat_number(w, world_controller(w));
    world_stop(w, leader); /* the next controller knows */
    cr_assert(world_run(w, 5000));
    unsigned other = (leader + 1) % 3;
    elect(w, other, "b", "a"); /* 19 s since it was noted */
    cr_assert(world_run(w, 12000));
    elect(w, other, "b", "b"); /* 31 s */
    elect(w, other, "a", "b");
    struct admin_call bad = {.verb = ADMIN_HA, .cluster = "eu"};
    cr_assert(!world_admin(w, other, &bad));
    cr_assert_eq(bad.status, ERR_PARSE);
    end(w);
}

/* -- a disk that was copied: two processes of one id */

static struct {
    char path[64];
    struct buf bytes;
} copied[16];
static size_t copied_count;

static void copy_dir(struct disk *disk, const char *dir);
static bool copy_one(void *ctx, const char *name) {
    struct disk *disk = ((void **)ctx)[0];
    const char *dir = ((void **)ctx)[1];
    char path[64];
    snprintf(path, sizeof path, "%s/%s", dir, name);
    struct buf b = {0};
    if (disk_read_file(disk, path, 1 << 20, &b, NULL) != OK) {
        buf_fini(&b);
        copy_dir(disk, path);
        return true;
    }
    cr_assert_lt(copied_count, ARRAY_LEN(copied));
    memcpy(copied[copied_count].path, path, sizeof path);
    copied[copied_count++].bytes = b;
    return true;
}
static void copy_dir(struct disk *disk, const char *dir) {
    char text[64];
    snprintf(text, sizeof text, "%s", dir);
    void *ctx[2] = {disk, text};
    status_ignore(disk_list(disk, dir, copy_one, ctx, NULL));
}

static void paste(struct seat *seat) {
    if (seat->node != 4) return;
    struct disk *disk = seat->rt->disk;
    cr_assert_eq(disk_mkdir(disk, "ring/raft", NULL), OK);
    for (size_t i = 0; i < copied_count; i++)
        cr_assert_eq(disk_write_file(disk, copied[i].path, buf_sv(&copied[i].bytes), NULL), OK);
}

Test(life, the_older_of_two_processes_with_one_id_is_fenced) {
    struct world *w = world_of(4, 3);
    calm(w);
    cr_assert(world_run(w, 5000));
    unsigned leader = seat_number(w, world_controller(w)), old = 0;
    while (votes(w, leader, old)) /* the learner: a disk that is copied votes twice */
        old++;
    copy_dir(sim_disk(w->sim, old), "ring");
    cr_assert_gt(copied_count, 2);
    w->seats[4].id = w->seats[old].id;
    w->seats[4].incarnation = w->seats[old].incarnation;
    w->seats[old].stays_down = true; /* it is not awaited any more */
    w->prepare = paste;
    w->seats_count = 5;
    world_start(w, 4);
    for (size_t i = 0; i < copied_count; i++)
        buf_fini(&copied[i].bytes);
    cr_assert(world_run(w, 2500), "%s", w->failure);
    struct seat *s = &w->seats[old];
    cr_assert(!lease_is_held(&s->lease, s->rt->ops->mono_ns(s->rt)));
    calm(w);
    cr_assert(world_run(w, 10000), "%s", w->failure);
    cr_assert(!lease_is_held(&s->lease, s->rt->ops->mono_ns(s->rt)));
    cr_assert(s->lost, "it was not told");
    int at = ring_map_node_index(w->newest, s->id);
    cr_assert_eq(w->newest->nodes[at].incarnation, w->seats[4].incarnation);
    end(w);
}
