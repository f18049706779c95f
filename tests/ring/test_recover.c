/* SPDX-License-Identifier: Apache-2.0 */
#include "ring/control/recover.h"

#include <criterion/criterion.h>
#include <inttypes.h>

#include "node/base/rng.h"

#define FULL(n)                                                                                    \
    { .node = n, .state = REPLICA_FULL, .in_sync = true, .copy = 1 }
#define BEHIND(n, v)                                                                               \
    { .node = n, .state = REPLICA_FULL, .copy = 1, .until = v }
#define RETURNED(n, v)                                                                             \
    { .node = n, .state = REPLICA_FULL, .in_sync = true, .copy = 1, .until = v }
#define LOGS(n, v)                                                                                 \
    { .node = n, .state = REPLICA_LOG, .in_sync = true, .copy = 8, .since = v }
#define LOGGED(n, v, u)                                                                            \
    { .node = n, .state = REPLICA_LOG, .copy = 8, .since = v, .until = u }
#define INIT(n)                                                                                    \
    { .node = n, .state = REPLICA_INIT, .copy = 9 }
#define FILLS(n, v)                                                                                \
    { .node = n, .state = REPLICA_INIT, .in_sync = true, .copy = 9, .since = v }
#define LEAVES(n, v)                                                                               \
    { .node = n, .state = REPLICA_LEAVING, .in_sync = true, .copy = 1, .until = v }
#define STEPPED_BACK(n, s, v)                                                                      \
    { .node = n, .state = REPLICA_LEAVING, .in_sync = true, .copy = 1, .since = s, .until = v }

/* Nodes 0 to 4 with the ids 10, 20, 30, 40, 50, map version 100; survivors are a bit set. */
struct row {
    const char *name;
    struct ring_shard shard;
    unsigned survivors;
    enum recover_outcome outcome;
    int primary;     /* node of the old map; -1: any survivor */
    unsigned copies; /* FULL, in sync afterwards: a bit set of nodes; 0 with NONE: its primary */
};
static const struct row rows[] = {
    {"one of three whole copies",
     {.epoch = 3, .replicas_count = 3, .replicas = {FULL(0), FULL(1), FULL(2)}},
     2,
     RECOVER_WHOLE,
     1,
     2},
    {"two of three",
     {.epoch = 3, .replicas_count = 3, .replicas = {FULL(0), FULL(1), FULL(2)}},
     6,
     RECOVER_WHOLE,
     -1,
     6},
    {"none of two",
     {.epoch = 3, .replicas_count = 2, .replicas = {FULL(0), FULL(1)}},
     4,
     RECOVER_NONE,
     2,
     4},
    {"a copy beside a substitute that is lost",
     {.epoch = 3, .replicas_count = 3, .replicas = {FULL(0), BEHIND(1, 40), LOGS(2, 40)}},
     2,
     RECOVER_PART,
     1,
     2},
    {"a copy and the substitute that goes on from it",
     {.epoch = 3,
      .primary = 1,
      .replicas_count = 3,
      .replicas = {BEHIND(0, 40), FULL(1), LOGS(2, 40)}},
     5,
     RECOVER_TAIL,
     2,
     0},
    {"a substitute that began before the copy went",
     {.epoch = 3,
      .primary = 1,
      .replicas_count = 3,
      .replicas = {BEHIND(0, 40), FULL(1), LOGS(2, 39)}},
     5,
     RECOVER_TAIL,
     2,
     0},
    {"a gap between copy and substitute",
     {.epoch = 3,
      .primary = 1,
      .replicas_count = 3,
      .replicas = {BEHIND(0, 40), FULL(1), LOGS(2, 41)}},
     5,
     RECOVER_PART,
     0,
     1},
    {"a tail in two pieces",
     {.epoch = 3,
      .primary = 1,
      .replicas_count = 4,
      .replicas = {BEHIND(0, 40), FULL(1), LOGGED(3, 38, 60), LOGS(2, 60)}},
     13,
     RECOVER_TAIL,
     2,
     0},
    {"a tail in two pieces with a gap",
     {.epoch = 3,
      .primary = 1,
      .replicas_count = 4,
      .replicas = {BEHIND(0, 40), FULL(1), LOGGED(3, 38, 59), LOGS(2, 60)}},
     13,
     RECOVER_PART,
     0,
     1},
    {"a tail that ends",
     {.epoch = 3,
      .primary = 1,
      .replicas_count = 3,
      .replicas = {BEHIND(0, 40), FULL(1), LOGGED(2, 38, 60)}},
     5,
     RECOVER_PART,
     0,
     1},
    {"only a substitute",
     {.epoch = 3, .replicas_count = 2, .replicas = {FULL(0), LOGS(2, 9)}},
     4,
     RECOVER_NONE,
     2,
     4},
    {"who leaves has all",
     {.epoch = 3, .replicas_count = 2, .replicas = {FULL(0), LEAVES(1, 99)}},
     2,
     RECOVER_WHOLE,
     1,
     2},
    {"who leaves goes on leaving beside a copy",
     {.epoch = 3, .replicas_count = 2, .replicas = {FULL(0), LEAVES(1, 99)}},
     3,
     RECOVER_WHOLE,
     0,
     1},
    {"a returned copy that has not opened",
     {.epoch = 3, .replicas_count = 2, .replicas = {RETURNED(0, 70), LOGS(1, 70)}},
     3,
     RECOVER_TAIL,
     1,
     0},
    {"a returned copy without the substitute",
     {.epoch = 3, .replicas_count = 2, .replicas = {RETURNED(0, 70), LOGS(1, 70)}},
     1,
     RECOVER_PART,
     0,
     1},
    {"a copy that stepped back",
     {.epoch = 3,
      .primary = 1,
      .replicas_count = 2,
      .replicas = {STEPPED_BACK(0, 70, 90), LOGS(1, 70)}},
     3,
     RECOVER_TAIL,
     1,
     0},
    {"a copy that stepped back, alone",
     {.epoch = 3,
      .primary = 1,
      .replicas_count = 2,
      .replicas = {STEPPED_BACK(0, 70, 90), LOGS(1, 70)}},
     1,
     RECOVER_PART,
     0,
     1},
    {"the copy that was in sync last",
     {.epoch = 3, .replicas_count = 3, .replicas = {FULL(0), BEHIND(1, 40), BEHIND(2, 50)}},
     6,
     RECOVER_PART,
     2,
     4},
    {"a copy before one that fills",
     {.epoch = 3, .replicas_count = 3, .replicas = {FULL(0), INIT(1), BEHIND(2, 5)}},
     6,
     RECOVER_PART,
     2,
     4},
    {"one that fills is better than nothing",
     {.epoch = 3, .replicas_count = 2, .replicas = {FULL(0), INIT(1)}},
     6,
     RECOVER_PART,
     1,
     2},
    {"one that fills and logs has the tail",
     {.epoch = 3,
      .primary = 1,
      .replicas_count = 3,
      .replicas = {BEHIND(0, 40), FULL(1), FILLS(2, 40)}},
     5,
     RECOVER_TAIL,
     2,
     0},
    {"one that fills beside a whole copy goes on",
     {.epoch = 3, .replicas_count = 2, .replicas = {FULL(0), INIT(1)}},
     3,
     RECOVER_WHOLE,
     0,
     1},
};

static struct ring_map *map_of(const struct ring_shard *shard, uint32_t shards) {
    struct ring_map *map;
    cr_assert_eq(ring_map_new(5, shards, &map, NULL), OK);
    map->version = 100;
    map->settings = (struct ring_settings){.cluster_id = {1, 2, 3},
                                           .cluster_name = "cairn",
                                           .secret = 77,
                                           .shards_count = shards,
                                           .replication_factor = 2,
                                           .min_insync = 1,
                                           .format_level = 1};
    for (unsigned i = 0; i < 5; i++)
        map->nodes[i] = (struct ring_node){
            .id = 10 * (i + 1), .incarnation = i + 1, .flags = RING_NODE_DOWN | RING_NODE_DRAINING};
    for (uint32_t s = 0; s < shards; s++)
        map->shards[s] = shard[s];
    return map;
}

static size_t ids_of(unsigned survivors, node_id ids[5]) {
    size_t count = 0;
    for (unsigned i = 0; i < 5; i++)
        if (survivors & 1U << i) ids[count++] = 10 * (i + 1);
    return count;
}

static unsigned copies_of(const struct ring_map *map, const struct ring_shard *shard) {
    unsigned set = 0;
    for (unsigned i = 0; i < shard->replicas_count; i++)
        if (ring_replica_is_readable(&shard->replicas[i]))
            set |= 1U << (map->nodes[shard->replicas[i].node].id / 10 - 1);
    return set;
}

Test(recover, every_kind_of_what_is_left) {
    for (size_t k = 0; k < sizeof rows / sizeof rows[0]; k++) {
        const struct row *row = &rows[k];
        struct ring_map *old = map_of(&row->shard, 1), *map;
        node_id ids[5];
        uint8_t outcome = 0;
        size_t count = ids_of(row->survivors, ids);
        struct err err;
        cr_assert_eq(ring_map_check(old, &err), OK, "%s: %s", row->name, err.msg);
        cr_assert_eq(recover_map(old, ids, count, &outcome, &map, &err), OK, "%s: %s", row->name,
                     err.msg);
        const struct ring_shard *shard = &map->shards[0];
        cr_assert_eq(outcome, row->outcome, "%s: outcome %u", row->name, outcome);
        cr_assert(shard->epoch > row->shard.epoch, "%s", row->name);
        node_id leads = map->nodes[ring_map_primary(map, 0)].id;
        if (row->primary >= 0)
            cr_assert_eq(leads, 10 * (node_id)(row->primary + 1), "%s: led by %" PRIu64, row->name,
                         leads);
        unsigned copies = copies_of(map, shard);
        cr_assert_eq(copies, row->copies, "%s: copies %u", row->name, copies);
        ring_map_unref(map);
        ring_map_unref(old);
    }
}

Test(recover, the_new_cluster_is_another_with_the_same_series) {
    static const struct ring_shard shard = {
        .epoch = 7, .replicas_count = 2, .replicas = {FULL(1), FULL(3)}};
    struct ring_map *old = map_of(&shard, 1), *map, *again;
    uint8_t outcome;
    cr_assert_eq(recover_map(old, (node_id[]){20, 40}, 2, &outcome, &map, NULL), OK);
    cr_assert_eq(recover_map(old, (node_id[]){20, 40}, 2, &outcome, &again, NULL), OK);
    cr_assert_eq(map->settings.secret, 77);
    cr_assert_str_eq(map->settings.cluster_name, "cairn");
    cr_assert_eq(map->settings.min_insync, 1);
    cr_assert(map->version >= 100 + RECOVER_VERSIONS);
    cr_assert_neq(memcmp(map->settings.cluster_id, old->settings.cluster_id, 16), 0);
    cr_assert_eq(memcmp(map->settings.cluster_id, again->settings.cluster_id, 16), 0);
    cr_assert_eq(map->nodes_count, 2);
    cr_assert_eq(map->nodes[0].incarnation, 2);
    cr_assert_eq(map->nodes[1].incarnation, 4);
    cr_assert_eq(map->nodes[0].flags | map->nodes[1].flags, 0);
    ring_map_unref(again);
    cr_assert_eq(recover_map(old, (node_id[]){20}, 1, &outcome, &again, NULL), OK);
    cr_assert_neq(memcmp(map->settings.cluster_id, again->settings.cluster_id, 16), 0);
    ring_map_unref(again);
    ring_map_unref(map);
    cr_assert_eq(recover_map(old, (node_id[]){20, 41}, 2, &outcome, &map, NULL), ERR_CONFLICT);
    cr_assert_eq(recover_map(old, NULL, 0, &outcome, &map, NULL), ERR_CONFLICT);
    old->shards[0].epoch = UINT32_MAX - 5;
    cr_assert_eq(recover_map(old, (node_id[]){20}, 1, &outcome, &map, NULL), ERR_LIMIT);
    ring_map_unref(old);
}

Test(recover, copies_that_end_before_the_last_are_to_catch_up) {
    static const struct {
        struct place ends[3];
        uint8_t outcome;
        unsigned copies; /* in sync, by node */
    } cases[] = {
        {{{5, 7}, {5, 7}, {5, 7}}, RECOVER_WHOLE, 7},
        {{{5, 7}, {5, 9}, {5, 8}}, RECOVER_WHOLE, 2},
        {{{6, 0}, {5, 900}, {6, 0}}, RECOVER_WHOLE, 5}, /* a later epoch, without an entry yet */
        {{{0, 0}, {1, 0}, {0, 0}}, RECOVER_WHOLE, 2},
        {{{0, 0}, {0, 0}, {0, 0}}, RECOVER_PART, 7},
    };
    static const struct ring_shard shard = {
        .epoch = 7, .replicas_count = 3, .replicas = {FULL(0), FULL(1), FULL(2)}};
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct ring_map *old = map_of(&shard, 1), *map;
        uint8_t outcome;
        struct err err;
        cr_assert_eq(recover_map(old, (node_id[]){10, 20, 30}, 3, &outcome, &map, NULL), OK);
        recover_compare(map, cases[i].ends, &outcome);
        cr_assert_eq(ring_map_check(map, &err), OK, "case %zu: %s", i, err.msg);
        cr_assert_eq(outcome, cases[i].outcome, "case %zu: outcome %u", i, outcome);
        unsigned copies = copies_of(map, &map->shards[0]);
        cr_assert_eq(copies, cases[i].copies, "case %zu: copies %u", i, copies);
        cr_assert(copies >> (map->nodes[ring_map_primary(map, 0)].id / 10 - 1) & 1, "case %zu", i);
        for (unsigned k = 0; k < 3; k++) { /* who is behind was waited for until now */
            const struct ring_replica *r = &map->shards[0].replicas[k];
            cr_assert_eq(r->until, r->in_sync ? 0 : map->version, "case %zu", i);
        }
        ring_map_unref(map);
        ring_map_unref(old);
    }
}

Test(recover, empty_shards_and_primaries_are_spread) {
    struct ring_shard shards[60];
    for (unsigned s = 0; s < 60; s++)
        shards[s] =
            s < 30 ? (struct ring_shard){.epoch = 1, .replicas_count = 1, .replicas = {FULL(4)}}
                   : (struct ring_shard){
                         .epoch = 1, .replicas_count = 3, .replicas = {FULL(0), FULL(1), FULL(2)}};
    struct ring_map *old = map_of(shards, 60), *map;
    uint8_t outcomes[60];
    unsigned primaries[3] = {0}, replicas[3] = {0};
    cr_assert_eq(recover_map(old, (node_id[]){10, 20, 30}, 3, outcomes, &map, NULL), OK);
    for (uint32_t s = 0; s < 60; s++) {
        cr_assert_eq(outcomes[s], s < 30 ? RECOVER_NONE : RECOVER_WHOLE);
        primaries[ring_map_primary(map, s)]++;
        for (unsigned i = 0; i < map->shards[s].replicas_count; i++)
            replicas[map->shards[s].replicas[i].node]++;
    }
    for (unsigned n = 0; n < 3; n++) {
        cr_assert_eq(primaries[n], 20);
        cr_assert_eq(replicas[n], 40);
    }
    ring_map_unref(map);
    ring_map_unref(old);
}

/* Any map that obeys the rules gives one that does, names survivors only, and never takes a shard
 * for lost that has a whole copy among them, nor one for whole that has none. */
Test(recover, any_map) {
    uint64_t seed = 20260;
    struct rng rng;
    rng_init(&rng, seed);
    unsigned made = 0;
    for (unsigned round = 0; round < 20000; round++) {
        struct ring_shard shard = {.epoch = 1 + (uint32_t)rng_below(&rng, 50)};
        shard.replicas_count = (uint8_t)(1 + rng_below(&rng, 5));
        for (unsigned i = 0; i < shard.replicas_count; i++)
            shard.replicas[i] = (struct ring_replica){.node = (uint16_t)i,
                                                      .state = (uint8_t)(1 + rng_below(&rng, 4)),
                                                      .in_sync = rng_below(&rng, 2) == 0,
                                                      .copy = (uint32_t)rng_below(&rng, 9),
                                                      .since = rng_below(&rng, 3) * 30,
                                                      .until = rng_below(&rng, 3) * 30};
        shard.primary = (uint8_t)rng_below(&rng, shard.replicas_count);
        struct ring_map *old = map_of(&shard, 1), *map;
        if (ring_map_check(old, NULL) != OK) {
            ring_map_unref(old);
            continue;
        }
        made++;
        node_id ids[5];
        unsigned survivors = 1 + (unsigned)rng_below(&rng, 31);
        size_t count = ids_of(survivors, ids);
        uint8_t outcome;
        struct err err;
        cr_assert_eq(recover_map(old, ids, count, &outcome, &map, &err), OK, "round %u: %s", round,
                     err.msg);
        bool whole = false;
        for (unsigned i = 0; i < shard.replicas_count; i++) {
            const struct ring_replica *r = &shard.replicas[i];
            whole |= (survivors & 1U << i) != 0 && r->in_sync &&
                     ((r->state == REPLICA_FULL && r->until == 0) ||
                      (r->state == REPLICA_LEAVING && r->since == 0));
        }
        cr_assert_eq(outcome == RECOVER_WHOLE, whole, "round %u of seed %" PRIu64, round, seed);
        cr_assert_eq(map->nodes_count, count);
        ring_map_unref(map);
        ring_map_unref(old);
    }
    cr_assert(made > 2000, "%u maps", made);
}
