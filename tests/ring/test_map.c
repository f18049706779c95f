/* SPDX-License-Identifier: Apache-2.0 */
#include "ring/map.h"

#include <criterion/criterion.h>
#include <stdio.h>

#include "node/base/bytes.h"
#include "node/base/hash.h"
#include "node/base/rng.h"
#include "node/runtime/disk.h"
#include "ring/placement.h"
#include "tests/sim/sim.h"

/* Two nodes, two shards; the bytes by hand (ring/map.h and map.c say the layout), the checksum by
 * libxxhash from Python. */
static const uint8_t golden[] = {
    'C',  'A',  'I',  'R',  'N',  'M',  'A',  'P', /* magic */
    1,    0,    1,    0,                           /* format, oldest reader's */
    1,                                             /* version */
    0,    1,    2,    3,    4,    5,    6,    7,    8,    9, 10, 11,  12,  13,  14,
    15,                                             /* cluster id */
    5,    'c',  'a',  'i',  'r',  'n',              /* cluster name */
    0x88, 0x77, 0x66, 0x55, 0x44, 0x33, 0x22, 0x11, /* secret */
    2,    2,    0,    1,                            /* shards, rf, min, level */
    2,                                              /* nodes */
    5,    0,    0,    0,    0,    0,    0,    0,    3,    0, 3,  'a', ':', '1', 2,
    'z',  '1', /* node 5 in zone z1 */
    9,    0,    0,    0,    0,    0,    0,    0,    0,    1, 3,  'b', ':', '1', 0, /* node 9 */
    1,    0,    2,    0,    0x81, 1,    1,    0x81, 1,       /* both full, in sync */
    0xac, 2,    1,    2,    0,    2,    1,    1,    0x81, 7, /* epoch 300; node 5 fills */
    0xd9, 0xe6, 0x45, 0xc5, 0xed, 0xf6, 0x92, 0xeb,          /* XXH3-64 */
};

static struct ring_map *tiny(void) {
    struct ring_map *map;
    cr_assert_eq(ring_map_new(2, 2, &map, NULL), OK);
    map->version = 1;
    map->settings = (struct ring_settings){.cluster_name = "cairn",
                                           .secret = 0x1122334455667788,
                                           .shards_count = 2,
                                           .replication_factor = 2,
                                           .format_level = 1};
    for (unsigned i = 0; i < 16; i++)
        map->settings.cluster_id[i] = (uint8_t)i;
    map->nodes[0] = (struct ring_node){.id = 5, .incarnation = 3, .addr = "a:1", .zone = "z1"};
    map->nodes[1] = (struct ring_node){.id = 9, .flags = RING_NODE_DOWN, .addr = "b:1"};
    map->shards[0] = (struct ring_shard){
        .epoch = 1,
        .replicas_count = 2,
        .replicas = {{.node = 0, .state = REPLICA_FULL, .in_sync = true, .copy = 1},
                     {.node = 1, .state = REPLICA_FULL, .in_sync = true, .copy = 1}}};
    map->shards[1] = (struct ring_shard){
        .epoch = 300,
        .primary = 1,
        .replicas_count = 2,
        .replicas = {{.node = 0, .state = REPLICA_INIT, .copy = 1},
                     {.node = 1, .state = REPLICA_FULL, .in_sync = true, .copy = 7}}};
    return map;
}

static struct sv golden_sv(void) {
    return sv_make(golden, sizeof golden);
}

static void expect_same(const struct ring_map *a, const struct ring_map *b) {
    cr_assert_eq(a->version, b->version);
    cr_assert_eq(memcmp(&a->settings, &b->settings, sizeof a->settings), 0);
    cr_assert_eq(a->nodes_count, b->nodes_count);
    for (uint32_t i = 0; i < a->nodes_count; i++) {
        cr_assert_eq(a->nodes[i].id, b->nodes[i].id);
        cr_assert_str_eq(a->nodes[i].addr, b->nodes[i].addr);
        cr_assert_str_eq(a->nodes[i].zone, b->nodes[i].zone);
    }
    for (uint32_t s = 0; s < a->settings.shards_count; s++) {
        const struct ring_shard *x = &a->shards[s], *y = &b->shards[s];
        cr_assert(x->epoch == y->epoch && x->primary == y->primary &&
                  x->replicas_count == y->replicas_count);
        for (unsigned i = 0; i < x->replicas_count; i++) {
            const struct ring_replica *p = &x->replicas[i], *q = &y->replicas[i];
            cr_assert(p->node == q->node && p->state == q->state && p->in_sync == q->in_sync &&
                      p->copy == q->copy);
        }
    }
}

Test(map, golden_bytes) {
    struct ring_map *map = tiny(), *read = NULL;
    struct buf b = {0};
    struct err err;
    ring_map_put(map, &b);
    cr_assert_eq(b.len, sizeof golden);
    for (size_t i = 0; i < sizeof golden; i++)
        cr_assert_eq((uint8_t)b.ptr[i], golden[i], "byte %zu is %02x", i, (uint8_t)b.ptr[i]);
    cr_assert_eq(ring_map_get(golden_sv(), &read, &err), OK, "%s", err.msg);
    expect_same(map, read);
    cr_assert_eq(ring_map_node_index(read, 5), 0);
    cr_assert_eq(ring_map_node_index(read, 9), 1);
    cr_assert_eq(ring_map_node_index(read, 6), -1);
    cr_assert_eq(ring_map_node_index(read, 10), -1);
    cr_assert_eq(ring_map_primary(read, 1), 1);
    ring_map_unref(ring_map_ref(map));
    ring_map_unref(map);
    ring_map_unref(read);
    buf_fini(&b);
}

static void expect_refused(struct sv bytes, const char *what, size_t at) {
    struct ring_map *map = NULL;
    struct err err = {0};
    enum status st = ring_map_get(bytes, &map, &err);
    cr_assert(st == ERR_CORRUPT || st == ERR_UNSUPPORTED, "%s at %zu: status %d", what, at, st);
    cr_assert(strncmp(err.msg, "map: ", 5) == 0 && map == NULL, "%s", err.msg);
}

static char *exact(struct sv bytes) { /* ASan sees a read past the end */
    char *p = malloc(bytes.len + (bytes.len == 0));
    cr_assert_not_null(p);
    memcpy(p, bytes.ptr, bytes.len);
    return p;
}

Test(map, truncation_and_bit_flips_are_refused) {
    for (size_t len = 0; len < sizeof golden; len++) {
        char *p = exact(sv_take(golden_sv(), len));
        expect_refused(sv_make(p, len), "cut", len);
        free(p);
    }
    for (size_t i = 0; i < sizeof golden; i++)
        for (int bit = 0; bit < 8; bit++) {
            char *p = exact(golden_sv());
            p[i] = (char)(p[i] ^ (1 << bit));
            expect_refused(sv_make(p, sizeof golden), "flip", i);
            free(p);
        }
}

/* Behind a right checksum, as from a program that writes rubbish. */
Test(map, a_body_that_ends_early_is_refused) {
    for (size_t len = 12; len < sizeof golden - 8; len++) {
        char *p = exact(sv_take(golden_sv(), len + 8));
        put_u64le(p + len, hash64(p, len, 0));
        expect_refused(sv_make(p, len + 8), "body cut", len);
        free(p);
    }
}

struct bad_map {
    const char *name;
    void (*spoil)(struct ring_map *map);
    enum status status;
    const char *text;
};
#define SPOIL(name, statement)                                                                     \
    static void name(struct ring_map *m) {                                                         \
        statement;                                                                                 \
    }
SPOIL(spoil_version, m->version = 0)
SPOIL(spoil_factor_0, m->settings.replication_factor = 0)
SPOIL(spoil_factor_9, m->settings.replication_factor = 9)
SPOIL(spoil_min, m->settings.min_insync = 9)
SPOIL(spoil_level_0, m->settings.format_level = 0)
SPOIL(spoil_level_2, m->settings.format_level = 2)
SPOIL(spoil_id_0, m->nodes[0].id = 0)
SPOIL(spoil_id_order, m->nodes[0].id = 10)
SPOIL(spoil_id_twice, m->nodes[0].id = 9)
SPOIL(spoil_epoch, m->shards[1].epoch = 0)
SPOIL(spoil_count, m->shards[1].replicas_count = 0)
SPOIL(spoil_primary, m->shards[1].primary = 2)
SPOIL(spoil_node, m->shards[0].replicas[1].node = 2)
SPOIL(spoil_state_0, m->shards[0].replicas[1].state = 0)
SPOIL(spoil_state_5, m->shards[0].replicas[1].state = 5)
SPOIL(spoil_twice, m->shards[0].replicas[1].node = 0)
SPOIL(spoil_primary_init, m->shards[1].primary = 0)
SPOIL(spoil_primary_out, m->shards[0].replicas[0].in_sync = false)

static const struct bad_map bad_maps[] = {
    {"version", spoil_version, ERR_CORRUPT, "version 0"},
    {"factor 0", spoil_factor_0, ERR_CORRUPT, "replication factor 0"},
    {"factor 9", spoil_factor_9, ERR_CORRUPT, "replication factor 9"},
    {"min insync", spoil_min, ERR_CORRUPT, "9 in-sync"},
    {"level 0", spoil_level_0, ERR_UNSUPPORTED, "format level 0"},
    {"level 2", spoil_level_2, ERR_UNSUPPORTED, "format level 2, this program speaks 1"},
    {"id 0", spoil_id_0, ERR_CORRUPT, "not ascending at 0"},
    {"id order", spoil_id_order, ERR_CORRUPT, "not ascending at 1"},
    {"id twice", spoil_id_twice, ERR_CORRUPT, "not ascending at 1"},
    {"epoch", spoil_epoch, ERR_CORRUPT, "shard 1 has epoch 0"},
    {"no replica", spoil_count, ERR_CORRUPT, "shard 1 has 0 replicas"},
    {"primary index", spoil_primary, ERR_CORRUPT, "shard 1 has 2 replicas, primary 2"},
    {"node index", spoil_node, ERR_CORRUPT, "shard 0 replica 1 names node 2"},
    {"state 0", spoil_state_0, ERR_CORRUPT, "in state 0"},
    {"state 5", spoil_state_5, ERR_CORRUPT, "in state 5"},
    {"twice", spoil_twice, ERR_CORRUPT, "shard 0 is twice on node 0"},
    {"primary init", spoil_primary_init, ERR_CORRUPT, "primary of shard 1 is not a full"},
    {"primary out", spoil_primary_out, ERR_CORRUPT, "primary of shard 0 is not a full"},
};

Test(map, each_rule_is_checked_also_when_reading) {
    for (size_t i = 0; i < ARRAY_LEN(bad_maps); i++) {
        const struct bad_map *bad = &bad_maps[i];
        struct ring_map *map = tiny(), *read = NULL;
        struct err err = {0};
        struct buf b = {0};
        cr_assert_eq(ring_map_check(map, NULL), OK);
        bad->spoil(map);
        cr_assert_eq(ring_map_check(map, &err), bad->status, "%s", bad->name);
        cr_assert(strstr(err.msg, bad->text) != NULL, "%s: %s", bad->name, err.msg);
        ring_map_put(map, &b);
        cr_assert_eq(ring_map_get(buf_sv(&b), &read, &err), bad->status, "%s", bad->name);
        ring_map_unref(map);
        buf_fini(&b);
    }
}

Test(map, sizes_are_bounded) {
    struct ring_map *map = NULL;
    cr_assert_eq(ring_map_new(0, 1, &map, NULL), ERR_LIMIT);
    cr_assert_eq(ring_map_new(RING_NODES_MAX + 1, 1, &map, NULL), ERR_LIMIT);
    cr_assert_eq(ring_map_new(1, 0, &map, NULL), ERR_LIMIT);
    cr_assert_eq(ring_map_new(1, RING_SHARDS_MAX + 1, &map, NULL), ERR_LIMIT);
    cr_assert_null(map);
    cr_assert_eq(ring_map_new(RING_NODES_MAX, RING_SHARDS_MAX, &map, NULL), OK);
    ring_map_unref(map);
    ring_map_unref(NULL);
}

Test(map, round_trip_of_random_maps) {
    for (uint64_t seed = 1; seed <= 50; seed++) {
        struct rng rng;
        rng_init(&rng, seed);
        struct placement_member members[20];
        size_t count = 1 + rng_below(&rng, 20);
        for (size_t i = 0; i < count; i++)
            members[i] = (struct placement_member){
                .id = rng_u64(&rng) | 1, .addr = SV("host:9095"), .zone = SV("eu-1a")};
        struct ring_settings set = {.cluster_name = "x",
                                    .secret = rng_u64(&rng),
                                    .shards_count = 1 + (uint32_t)rng_below(&rng, 300),
                                    .replication_factor = 1 + (uint32_t)rng_below(&rng, 8),
                                    .min_insync = (uint32_t)rng_below(&rng, 4),
                                    .format_level = 1};
        struct ring_map *map, *read;
        struct buf b = {0};
        cr_assert_eq(placement_make(&set, members, count, NULL, &map, NULL), OK);
        map->version = 1 + (rng_u64(&rng) >> rng_below(&rng, 63));
        for (uint32_t s = 0; s < set.shards_count; s++)
            map->shards[s].epoch = 1 + (uint32_t)(rng_u64(&rng) >> (33 + rng_below(&rng, 31)));
        ring_map_put(map, &b);
        cr_assert_eq(ring_map_get(buf_sv(&b), &read, NULL), OK, "seed %lu", (unsigned long)seed);
        expect_same(map, read);
        ring_map_unref(map);
        ring_map_unref(read);
        buf_fini(&b);
    }
}

/* ---- on disk ---- */

static uint64_t calls_of_a_save(void) {
    struct sim_disk *sd = sim_disk_new(1);
    struct ring_map *map = tiny();
    cr_assert_eq(disk_mkdir(sim_disk_as_disk(sd), "ring", NULL), OK);
    uint64_t before = sim_disk_calls(sd);
    cr_assert_eq(ring_map_save(sim_disk_as_disk(sd), "ring", map, NULL), OK);
    uint64_t calls = sim_disk_calls(sd) - before;
    sim_disk_free(sd);
    ring_map_unref(map);
    return calls;
}

/* One save over an old map (or none) with the power cut at a call; which version is there after it.
 */
static uint64_t version_after_cut(uint64_t seed, uint64_t call, bool had_old, bool *out_saved) {
    struct sim_disk *sd = sim_disk_new(seed);
    struct disk *d = sim_disk_as_disk(sd);
    struct ring_map *map = tiny(), *read = NULL;
    struct err err;
    uint64_t version = 0;
    cr_assert_eq(disk_mkdir(d, "ring", NULL), OK);
    if (had_old) cr_assert_eq(ring_map_save(d, "ring", map, NULL), OK);
    map->version = 2;
    sim_disk_cut_at(sd, sim_disk_calls(sd) + call);
    *out_saved = ring_map_save(d, "ring", map, NULL) == OK;
    sim_disk_restart(sd);
    enum status st = ring_map_load(d, "ring", &read, &err);
    cr_assert(st == OK || st == ERR_UNAVAILABLE, "cut at %d: %s", (int)call, err.msg);
    if (st == OK) version = read->version;
    ring_map_unref(read);
    /* and a later save goes through whatever was left behind */
    map->version = 3;
    cr_assert_eq(ring_map_save(d, "ring", map, NULL), OK);
    cr_assert_eq(ring_map_load(d, "ring", &read, NULL), OK);
    cr_assert_eq(read->version, 3);
    ring_map_unref(read);
    ring_map_unref(map);
    sim_disk_free(sd);
    return version;
}

Test(map, a_power_cut_leaves_the_old_map_or_the_new_one) {
    uint64_t calls = calls_of_a_save();
    unsigned old = 0, new = 0;
    cr_assert_geq(calls, 5); /* create, write, sync, rename, sync of the directory */
    for (uint64_t seed = 1; seed <= 40; seed++)
        for (uint64_t call = 1; call <= calls + 1; call++)
            for (int had_old = 0; had_old <= 1; had_old++) {
                bool saved;
                uint64_t version = version_after_cut(seed, call, had_old, &saved);
                cr_assert(version == 2 || version == (uint64_t)had_old, "seed %d, cut at %d: %d",
                          (int)seed, (int)call, (int)version);
                if (saved) cr_assert_eq(version, 2, "a save that returned OK is durable");
                cr_assert_eq(saved, call == calls + 1);
                old += version != 2;
                new += version == 2;
            }
    cr_assert(old > 100 && new > 80, "both happen: %u, %u", old, new);
}

Test(map, load_says_what_is_wrong) {
    struct sim_disk *sd = sim_disk_new(1);
    struct disk *d = sim_disk_as_disk(sd);
    struct ring_map *read = NULL;
    struct err err;
    cr_assert_eq(disk_mkdir(d, "ring", NULL), OK);
    cr_assert_eq(ring_map_load(d, "ring", &read, &err), ERR_UNAVAILABLE);
    cr_assert_eq(disk_write_file(d, "ring/map", SV("no map"), NULL), OK);
    cr_assert_eq(ring_map_load(d, "ring", &read, &err), ERR_CORRUPT);
    cr_assert_str_eq(err.msg, "ring/map: map: not a cluster map");
    char longer[5000];
    memset(longer, 'd', sizeof longer - 1);
    longer[sizeof longer - 1] = '\0';
    cr_assert_eq(ring_map_load(d, longer, &read, &err), ERR_LIMIT);
    cr_assert_null(read);
    sim_disk_free(sd);
}
