/* SPDX-License-Identifier: Apache-2.0 */
#include "ring/placement.h"

#include <criterion/criterion.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include "node/base/rng.h"

enum { NODES_MAX = 60 };
static const char *const zone_names[] = {"a", "b", "c", "d", "e"};

struct cluster {
    struct placement_member members[RING_NODES_MAX];
    char addrs[RING_NODES_MAX][24];
    size_t count;
};

static void cluster_add(struct cluster *c, uint64_t id, const char *zone) {
    char *addr = c->addrs[c->count];
    snprintf(addr, sizeof c->addrs[0], "n%" PRIx64 ":1", id >> 8);
    c->members[c->count++] =
        (struct placement_member){.id = id, .addr = sv_from(addr), .zone = sv_from(zone)};
}

/* zones_count 0: no zones at all */
static void cluster_init(struct cluster *c, struct rng *rng, size_t count, unsigned zones_count) {
    c->count = 0;
    while (c->count < count)
        cluster_add(c, rng_u64(rng) | 1,
                    zones_count == 0 ? "" : zone_names[c->count % zones_count]);
}

static struct ring_settings settings_of(uint32_t shards, uint32_t factor) {
    return (struct ring_settings){.cluster_name = "t",
                                  .shards_count = shards,
                                  .replication_factor = factor,
                                  .format_level = RING_FORMAT_LEVEL};
}

static struct ring_map *make(const struct cluster *c, uint32_t shards, uint32_t factor,
                             const struct ring_map *previous) {
    struct ring_settings set = settings_of(shards, factor);
    struct ring_map *map = NULL;
    struct err err;
    enum status st = placement_make(&set, c->members, c->count, previous, &map, &err);
    cr_assert(st == OK, "%s", err.msg);
    cr_assert_eq(ring_map_check(map, NULL), OK);
    cr_assert_eq(map->nodes_count, c->count);
    return map;
}

/* A replica that is to stay: all but LEAVING ones. */
struct loads {
    uint32_t replicas[RING_NODES_MAX], primaries[RING_NODES_MAX];
};
static void loads_of(const struct ring_map *map, struct loads *l) {
    *l = (struct loads){0};
    for (uint32_t s = 0; s < map->settings.shards_count; s++) {
        const struct ring_shard *shard = &map->shards[s];
        for (unsigned i = 0; i < shard->replicas_count; i++)
            if (shard->replicas[i].state != REPLICA_LEAVING) l->replicas[shard->replicas[i].node]++;
        l->primaries[ring_map_primary(map, s)]++;
    }
}

static uint32_t ceil_div(uint64_t a, uint64_t b) {
    return (uint32_t)((a + b - 1) / b);
}

static void expect_balance(const struct ring_map *map, bool zones, uint32_t primaries_over) {
    struct loads l;
    loads_of(map, &l);
    uint32_t shards = map->settings.shards_count, n = map->nodes_count;
    uint32_t factor = MIN(map->settings.replication_factor, n);
    for (uint32_t i = 0; i < n; i++) {
        cr_assert_leq(l.primaries[i], ceil_div(shards, n) + primaries_over, "%u of %u primaries",
                      l.primaries[i], shards);
        if (!zones) cr_assert_leq(l.replicas[i], ceil_div((uint64_t)shards * factor, n));
        for (uint32_t k = 0; k < i; k++) {
            if (strcmp(map->nodes[i].zone, map->nodes[k].zone) != 0) continue;
            cr_assert_leq(abs((int)l.replicas[i] - (int)l.replicas[k]), 1, "inside of a zone");
        }
    }
}

static unsigned zones_in(const struct ring_map *map, const struct ring_shard *s) {
    unsigned count = 0;
    for (unsigned i = 0; i < s->replicas_count; i++) {
        if (s->replicas[i].state == REPLICA_LEAVING) continue;
        bool seen = false;
        for (unsigned k = 0; k < i; k++)
            seen |= s->replicas[k].state != REPLICA_LEAVING &&
                    strcmp(map->nodes[s->replicas[k].node].zone,
                           map->nodes[s->replicas[i].node].zone) == 0;
        count += !seen;
    }
    return count;
}

static unsigned zones_of(const struct cluster *c) {
    unsigned count = 0;
    for (size_t i = 0; i < c->count; i++) {
        size_t k = 0;
        while (!sv_eq(c->members[k].zone, c->members[i].zone))
            k++;
        count += k == i;
    }
    return count;
}

static void expect_zones(const struct ring_map *map, const struct cluster *c) {
    unsigned wanted = MIN(map->settings.replication_factor, zones_of(c));
    for (uint32_t s = 0; s < map->settings.shards_count; s++)
        cr_assert_eq(zones_in(map, &map->shards[s]), wanted, "shard %u", s);
}

/* Replicas that have to be copied. */
static uint32_t moved(const struct ring_map *from, const struct ring_map *to) {
    uint32_t count = 0;
    for (uint32_t s = 0; s < to->settings.shards_count; s++)
        for (unsigned i = 0; i < to->shards[s].replicas_count; i++) {
            const struct ring_replica *r = &to->shards[s].replicas[i];
            bool had = false;
            for (unsigned k = 0; k < from->shards[s].replicas_count; k++)
                had |= from->nodes[from->shards[s].replicas[k].node].id == to->nodes[r->node].id;
            cr_assert_eq(had, r->state != REPLICA_INIT, "who is new is filled, nobody else");
            count += !had;
        }
    return count;
}

/* What a controller does when all copies are done. */
static void fill(struct ring_map *map) {
    for (uint32_t s = 0; s < map->settings.shards_count; s++) {
        struct ring_shard *shard = &map->shards[s];
        struct ring_shard done = {.epoch = shard->epoch};
        uint32_t factor = MIN(map->settings.replication_factor, map->nodes_count), init = 0;
        for (unsigned i = 0; i < shard->replicas_count; i++)
            init += shard->replicas[i].state == REPLICA_INIT;
        uint16_t primary = ring_map_primary(map, s);
        for (unsigned i = 0; i < shard->replicas_count; i++) {
            struct ring_replica r = shard->replicas[i];
            if (r.state == REPLICA_LEAVING || (i >= factor && init > 0)) continue;
            r.state = REPLICA_FULL;
            r.in_sync = true;
            if (r.node == primary) done.primary = done.replicas_count;
            done.replicas[done.replicas_count++] = r;
        }
        done.epoch += done.replicas[done.primary].node != primary;
        *shard = done;
    }
    cr_assert_eq(ring_map_check(map, NULL), OK);
}

Test(placement, births_are_balanced) {
    static const uint32_t shards[] = {1, 7, 64, 1000, 1024}, factors[] = {1, 2, 3, 5, 8};
    struct rng rng;
    static struct cluster c;
    rng_init(&rng, 1);
    for (size_t s = 0; s < ARRAY_LEN(shards); s++)
        for (size_t f = 0; f < ARRAY_LEN(factors); f++)
            for (size_t n = 1; n <= NODES_MAX; n += n < 12 ? 1 : 12) {
                cluster_init(&c, &rng, n, 0);
                struct ring_map *map = make(&c, shards[s], factors[f], NULL);
                expect_balance(map, false, 0);
                for (uint32_t i = 0; i < shards[s]; i++) {
                    cr_assert_eq(map->shards[i].replicas_count, MIN(factors[f], n));
                    cr_assert_eq(map->shards[i].epoch, 1);
                }
                ring_map_unref(map);
            }
}

Test(placement, zones_come_before_balance) {
    struct rng rng;
    static struct cluster c;
    rng_init(&rng, 2);
    for (unsigned zones = 2; zones <= 5; zones++)
        for (size_t n = zones; n <= 30; n += 3)
            for (uint32_t factor = 1; factor <= 4; factor++) {
                cluster_init(&c, &rng, n, zones);
                struct ring_map *map = make(&c, 256, factor, NULL);
                expect_zones(map, &c);
                expect_balance(map, n % zones != 0, n % zones != 0 ? 256 : 0);
                ring_map_unref(map);
            }
    /* one node alone in its zone must hold every shard, the other five share the rest */
    c.count = 0;
    cluster_add(&c, 1000, "lonely");
    for (uint64_t i = 1; i < 6; i++)
        cluster_add(&c, 1000 + i * 256, "crowd");
    struct ring_map *map = make(&c, 100, 2, NULL);
    struct loads l;
    loads_of(map, &l);
    cr_assert_eq(l.replicas[0], 100);
    for (int i = 1; i < 6; i++)
        cr_assert_eq(l.replicas[i], 20);
    ring_map_unref(map);
}

Test(placement, order_of_members_does_not_matter) {
    struct rng rng;
    static struct cluster c;
    rng_init(&rng, 3);
    cluster_init(&c, &rng, 17, 3);
    struct ring_map *first = make(&c, 512, 3, NULL);
    struct buf a = {0}, b = {0};
    ring_map_put(first, &a);
    for (int round = 0; round < 20; round++) {
        for (size_t i = c.count - 1; i > 0; i--) {
            size_t k = rng_below(&rng, i + 1);
            struct placement_member m = c.members[i];
            c.members[i] = c.members[k];
            c.members[k] = m;
        }
        struct ring_map *again = make(&c, 512, 3, NULL);
        buf_clear(&b);
        ring_map_put(again, &b);
        cr_assert(sv_eq(buf_sv(&a), buf_sv(&b)));
        ring_map_unref(again);
    }
    ring_map_unref(first);
    buf_fini(&a);
    buf_fini(&b);
}

Test(placement, nothing_moves_without_a_reason) {
    struct rng rng;
    static struct cluster c;
    rng_init(&rng, 4);
    for (unsigned zones = 0; zones <= 3; zones += 3) {
        cluster_init(&c, &rng, 13, zones);
        struct ring_map *map = make(&c, 700, 3, NULL), *again = make(&c, 700, 3, map);
        cr_assert_eq(moved(map, again), 0);
        cr_assert_eq(again->version, 2);
        for (uint32_t s = 0; s < 700; s++) {
            cr_assert_eq(again->shards[s].epoch, 1);
            cr_assert_eq(ring_map_primary(map, s), ring_map_primary(again, s));
        }
        ring_map_unref(map);
        ring_map_unref(again);
    }
}

/* One step of a history: the map before it, the map after it, and after that the copies are done.
 */
static struct ring_map *history_step(const struct cluster *c, struct ring_map *map) {
    uint32_t shards = map->settings.shards_count, factor = map->settings.replication_factor;
    struct ring_map *next = make(c, shards, factor, map);
    uint32_t n = MAX(map->nodes_count, next->nodes_count);
    cr_assert_eq(next->version, map->version + 1);
    uint32_t count = moved(map, next);
    if (MIN(map->nodes_count, next->nodes_count) >= factor) {
        double most = 1.1 * shards * factor / MIN(map->nodes_count, next->nodes_count);
        if (next->nodes_count > map->nodes_count) most = 1.1 * shards * factor / n;
        cr_assert_leq(count, most + 1, "%u of %u moved, %u nodes", count, shards * factor, n);
    }
    for (uint32_t s = 0; s < shards; s++) {
        bool same =
            map->nodes[ring_map_primary(map, s)].id == next->nodes[ring_map_primary(next, s)].id;
        cr_assert_eq(next->shards[s].epoch, map->shards[s].epoch + !same);
    }
    fill(next);
    expect_balance(next, false, shards);
    ring_map_unref(map);
    struct ring_map *settled = make(c, shards, factor, next); /* primaries follow */
    cr_assert_eq(moved(next, settled), 0);
    expect_balance(settled, false, 1);
    ring_map_unref(next);
    return settled;
}

Test(placement, histories_move_little_and_stay_balanced, .timeout = 100) {
    static struct cluster c;
    for (uint64_t seed = 1; seed <= 200; seed++) {
        struct rng rng;
        rng_init(&rng, seed);
        uint32_t factor = 2 + (uint32_t)rng_below(&rng, 2);
        uint32_t shards = 64 + (uint32_t)rng_below(&rng, 400);
        cluster_init(&c, &rng, 1 + rng_below(&rng, NODES_MAX), 0);
        struct ring_map *map = make(&c, shards, factor, NULL);
        for (int step = 0; step < 6; step++) {
            bool joins = c.count <= 2 || (c.count < NODES_MAX && rng_below(&rng, 2) == 0);
            if (joins) {
                cluster_add(&c, rng_u64(&rng) | 1, "");
                c.members[c.count - 1].addr = SV("joined:1");
            } else {
                size_t gone = rng_below(&rng, c.count);
                c.members[gone] = c.members[--c.count];
            }
            map = history_step(&c, map);
        }
        ring_map_unref(map);
    }
}

Test(placement, zones_that_appear_are_used) {
    struct rng rng;
    static struct cluster c;
    rng_init(&rng, 5);
    cluster_init(&c, &rng, 6, 1);
    struct ring_map *map = make(&c, 128, 2, NULL);
    for (int i = 0; i < 6; i++)
        cluster_add(&c, rng_u64(&rng) | 1, "b");
    struct ring_map *next = make(&c, 128, 2, map);
    expect_zones(next, &c);
    fill(next);
    expect_balance(next, false, 128);
    ring_map_unref(map);
    ring_map_unref(next);
}

Test(placement, the_primary_goes_on_until_a_successor_is_filled) {
    static struct cluster c;
    c.count = 0;
    cluster_add(&c, 0x100, "");
    struct ring_map *one = make(&c, 10, 1, NULL);
    cluster_add(&c, 0x200, "");
    struct ring_map *two = make(&c, 10, 1, one);
    unsigned moving = 0;
    for (uint32_t s = 0; s < 10; s++) {
        const struct ring_shard *shard = &two->shards[s];
        cr_assert_eq(ring_map_primary(two, s), 0);
        cr_assert_eq(shard->epoch, 1);
        moving += shard->replicas_count == 2;
        if (shard->replicas_count != 2) continue;
        cr_assert_eq(shard->replicas[0].node, 1);
        cr_assert_eq(shard->replicas[0].state, REPLICA_INIT);
        cr_assert_eq(shard->replicas[1].state, REPLICA_FULL);
    }
    cr_assert_eq(moving, 5);
    /* the only holder goes: nobody has the data */
    struct ring_settings set = settings_of(10, 1);
    struct ring_map *none = NULL;
    struct err err;
    cr_assert_eq(placement_make(&set, c.members + 1, 1, two, &none, &err), ERR_CONFLICT);
    cr_assert(strstr(err.msg, "no full in-sync replica of shard 0") != NULL, "%s", err.msg);
    cr_assert_null(none);
    ring_map_unref(one);
    ring_map_unref(two);
}

Test(placement, bad_members_are_refused) {
    static struct cluster c;
    struct ring_settings set = settings_of(8, 2);
    struct ring_map *map = NULL;
    struct err err;
    c.count = 0;
    cluster_add(&c, 7, "");
    cluster_add(&c, 7, "");
    cr_assert_eq(placement_make(&set, c.members, 2, NULL, &map, &err), ERR_CONFLICT);
    c.members[1].id = 0;
    cr_assert_eq(placement_make(&set, c.members, 2, NULL, &map, &err), ERR_CONFLICT);
    c.members[1].id = 8;
    char longer[RING_ADDR_MAX + 1];
    memset(longer, 'x', sizeof longer);
    c.members[1].addr = sv_make(longer, sizeof longer);
    cr_assert_eq(placement_make(&set, c.members, 2, NULL, &map, &err), ERR_LIMIT);
    cr_assert_eq(placement_make(&set, c.members, 0, NULL, &map, &err), ERR_LIMIT);
    cr_assert_eq(placement_make(&set, c.members, RING_NODES_MAX + 1, NULL, &map, &err), ERR_LIMIT);
    set.replication_factor = RING_REPLICAS_MAX + 1;
    cr_assert_eq(placement_make(&set, c.members, 1, NULL, &map, &err), ERR_LIMIT);
    set.replication_factor = 1;
    set.shards_count = RING_SHARDS_MAX + 1;
    cr_assert_eq(placement_make(&set, c.members, 1, NULL, &map, &err), ERR_LIMIT);
    cr_assert_null(map);
}

/* The plan that a controller works towards, over histories of joins and losses up to 200 nodes,
 * with zones and without: zones first, nobody over the average by more than one shard (without
 * zones, or as many members in each), few moves. Prints the worst it saw. */
Test(placement, plans_of_long_histories, .timeout = 100) {
    static struct cluster c;
    double worst_join = 0, worst_leave = 0;
    unsigned steps = 0, most_nodes = 0;
    uint32_t worst_over = 0;
    for (uint64_t seed = 1; seed <= 24; seed++) {
        struct rng rng;
        rng_init(&rng, seed);
        unsigned zones = seed % 2 == 0 ? 3 : 0;
        uint32_t factor = 2 + (uint32_t)rng_below(&rng, 2), shards = 256;
        cluster_init(&c, &rng, 4 + rng_below(&rng, seed % 4 == 0 ? 190 : 40), zones);
        struct ring_map *map = make(&c, shards, factor, NULL), *next;
        for (int step = 0; step < 8; step++) {
            bool joins = c.count <= 4 || (c.count < 200 && rng_below(&rng, 2) == 0);
            if (joins)
                cluster_add(&c, rng_u64(&rng) | 1, zones == 0 ? "" : zone_names[step % 3]);
            else
                c.members[rng_below(&rng, c.count)] = c.members[c.count - 1];
            if (!joins) c.count--;
            struct ring_settings set = settings_of(shards, factor);
            cr_assert_eq(placement_plan(&set, c.members, c.count, map, &next, NULL), OK);
            uint32_t moves = 0;
            for (uint32_t s = 0; s < shards; s++) {
                cr_assert_eq(next->shards[s].replicas_count, factor);
                for (unsigned i = 0; i < factor; i++) {
                    node_id id = next->nodes[next->shards[s].replicas[i].node].id;
                    int at = ring_map_node_index(map, id);
                    moves += at < 0 || ring_shard_replica(&map->shards[s], at) < 0;
                }
            }
            expect_zones(next, &c);
            struct loads l;
            loads_of(next, &l);
            for (size_t i = 0; i < c.count && zones == 0; i++)
                worst_over =
                    MAX(worst_over,
                        (uint32_t)MAX(0, (int)l.replicas[i] - (int)(shards * factor / c.count)));
            size_t n = joins ? c.count : c.count + 1;
            double share = (double)moves / ((double)shards * factor / (double)n);
            if (joins)
                worst_join = MAX(worst_join, share);
            else if (zones == 0)
                worst_leave = MAX(worst_leave, share);
            if (joins) cr_assert_leq(share, 1.1 + (double)n / (shards * factor), "%g", share);
            steps++;
            most_nodes = MAX(most_nodes, (unsigned)c.count);
            ring_map_unref(map);
            map = next;
        }
        ring_map_unref(map);
    }
    cr_assert_leq(worst_over, 1);
    fprintf(
        stderr,
        "%u steps, up to %u nodes: over the average by %u; moved by a join %.2f, by a loss %.2f "
        "(of S*RF/N)\n",
        steps, most_nodes, worst_over, worst_join, worst_leave);
}

/* Processor time, so that a loaded machine does not matter. 1024 shards on 60 nodes is the common
 * large cluster; the largest map that is possible must still come before anyone gives up. */
Test(placement, time_is_bounded, .timeout = 100) {
    static const struct {
        size_t nodes;
        uint32_t shards;
        double seconds_max;
    } cases[] = {{60, 1024, 0.5}, {RING_NODES_MAX, RING_SHARDS_MAX, 30}};
    struct rng rng;
    static struct cluster c;
    rng_init(&rng, 6);
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        cluster_init(&c, &rng, cases[i].nodes, 3);
        clock_t start = clock();
        struct ring_map *map = make(&c, cases[i].shards, 3, NULL);
        double seconds = (double)(clock() - start) / CLOCKS_PER_SEC;
        cr_assert_leq(seconds, cases[i].seconds_max, "%zu nodes took %g s", cases[i].nodes,
                      seconds);
        fprintf(stderr, "%zu nodes, %u shards: %g s\n", cases[i].nodes, cases[i].shards, seconds);
        ring_map_unref(map);
    }
}

Test(placement, cores_are_balanced_within_one) {
    struct rng rng;
    static struct cluster c;
    static uint16_t core_of[1024];
    rng_init(&rng, 7);
    for (unsigned cores = 1; cores <= 9; cores++) {
        cluster_init(&c, &rng, 1 + rng_below(&rng, 9), 0);
        struct ring_map *map = make(&c, 1024, 2, NULL);
        for (uint32_t n = 0; n < map->nodes_count; n++) {
            unsigned total[9] = {0}, primaries[9] = {0};
            placement_cores(map, map->nodes[n].id, cores, core_of);
            for (uint32_t s = 0; s < 1024; s++) {
                bool mine = false;
                for (unsigned i = 0; i < map->shards[s].replicas_count; i++)
                    mine |= map->shards[s].replicas[i].node == n;
                cr_assert_eq(mine, core_of[s] != 0xffff);
                if (!mine) continue;
                cr_assert_lt(core_of[s], cores);
                total[core_of[s]]++;
                primaries[core_of[s]] += ring_map_primary(map, s) == n;
            }
            for (unsigned i = 1; i < cores; i++) {
                cr_assert_leq(abs((int)total[i] - (int)total[0]), 1);
                cr_assert_leq(abs((int)primaries[i] - (int)primaries[0]), 1);
            }
        }
        placement_cores(map, 2, cores, core_of); /* no member: ids here are odd */
        for (uint32_t s = 0; s < 1024; s++)
            cr_assert_eq(core_of[s], 0xffff);
        ring_map_unref(map);
    }
}
