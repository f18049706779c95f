/* SPDX-License-Identifier: Apache-2.0 */
/* Bytes by hand, as the headers and the first comment of each file say them. */
#include <criterion/criterion.h>
#include <stdlib.h>

#include "node/base/rng.h"
#include "ring/control/heartbeat.h"
#include "ring/control/state.h"
#include "ring/placement.h"

static const uint8_t golden_heartbeat[] = {
    5, 0,    0,   0,   0, 0,   0,   0,            /* id */
    3, 0x96, 1,   7,   1,                         /* incarnation, sequence 150, map, level */
    3, 'a',  ':', '1', 2, 'z', '1',               /* address, zone */
    3, 0xac, 2,   5,                              /* draining, log failed; 300 ms, 5 ms */
    1, 9,    0,   0,   0, 0,   0,   0, 0, 100,    /* node 9 is 100 ms behind */
    2,                                            /* reports */
    2, 20,   2,   9,   0, 0,   0,   0, 0, 0,   0, /* shard 10, epoch 2: 9 has caught up */
    5, 5,    1,   5,   0, 0,   0,   0, 0, 0,   0, /* shard 7, epoch 1: own copy damaged */
};
static const uint8_t golden_reply[] = {1, 0x96, 1, 9, 0, 0, 0, 0, 0, 0, 0, 7, 0xd0, 0x0f};
/* from version 1 to 2: node 9 goes, 5 restarts, 7 comes, which logs both shards */
static const uint8_t golden_delta[] = {
    1,   1,    2, 2, 0, 1,                /* format, versions, settings */
    1,   9,    0, 0, 0, 0,    0,    0, 0, /* who goes */
    2,   5,    0, 0, 0, 0,    0,    0, 0,    4,    0, 3, 'a', ':', '1', 2, 'z',
    '1', 7,    0, 0, 0, 0,    0,    0, 0,    1,    0, 3, 'c', ':', '1', 0, 2, /* shards */
    0,   2,    0, 2, 0, 0x81, 1,    1, 0xc3, 4,    2, 0,                      /* epoch 2 */
    0,   0xad, 2, 0, 2, 0,    0x81, 1, 1,    0xc3, 4, 2, 0,                   /* epoch 301 */
};

static void expect_bytes(struct buf *b, const uint8_t *golden, size_t len) {
    cr_assert_eq(b->len, len, "%zu bytes, not %zu", b->len, len);
    for (size_t i = 0; i < len; i++)
        cr_assert_eq((uint8_t)b->ptr[i], golden[i], "byte %zu is %02x", i, (uint8_t)b->ptr[i]);
    buf_fini(b);
}

static char *exact(const uint8_t *p, size_t len) { /* ASan sees a read past the end */
    char *copy = malloc(len + (len == 0));
    cr_assert_not_null(copy);
    memcpy(copy, p, len);
    return copy;
}

Test(control_codec, heartbeat_golden) {
    struct append_lag lag = {.follower = 9, .age_ms = 100};
    struct shard_report reports[] = {
        {.shard = 10, .epoch = 2, .kind = REPORT_CAUGHT_UP, .about = 9},
        {.shard = 7, .epoch = 1, .kind = REPORT_DAMAGED, .about = 5}};
    struct heartbeat h = {.id = 5,
                          .incarnation = 3,
                          .sequence = 150,
                          .map_version = 7,
                          .format_level = 1,
                          .addr = "a:1",
                          .zone = "z1",
                          .draining = true,
                          .log_failed = true,
                          .unsynced_age_ms = 300,
                          .mailbox_age_ms = 5,
                          .lags = &lag,
                          .lags_count = 1,
                          .reports = reports,
                          .reports_count = 2};
    struct buf b = {0};
    heartbeat_put(&h, &b);
    expect_bytes(&b, golden_heartbeat, sizeof golden_heartbeat);
    struct heartbeat r;
    cr_assert_eq(heartbeat_get(sv_make(golden_heartbeat, sizeof golden_heartbeat), &r, NULL), OK);
    cr_assert(r.id == 5 && r.incarnation == 3 && r.sequence == 150 && r.map_version == 7);
    cr_assert(r.draining && r.log_failed && r.unsynced_age_ms == 300 && r.mailbox_age_ms == 5);
    cr_assert(r.lags_count == 1 && r.lags[0].follower == 9 && r.lags[0].age_ms == 100);
    cr_assert(r.reports_count == 2 && r.reports[0].shard == 10 && r.reports[1].shard == 7);
    cr_assert(r.reports[1].kind == REPORT_DAMAGED && r.reports[1].about == 5);
    cr_assert_str_eq(r.addr, "a:1");
    cr_assert_str_eq(r.zone, "z1");
    heartbeat_fini(&r);
}

Test(control_codec, heartbeats_that_are_cut_or_long_are_refused) {
    for (size_t len = 0; len < sizeof golden_heartbeat; len++) {
        char *p = exact(golden_heartbeat, len);
        struct heartbeat h;
        struct err err = {0};
        cr_assert_eq(heartbeat_get(sv_make(p, len), &h, &err), ERR_CORRUPT, "cut at %zu", len);
        cr_assert(strncmp(err.msg, "heartbeat: ", 11) == 0);
        free(p);
    }
    uint8_t longer[sizeof golden_heartbeat + 1] = {0};
    struct heartbeat h;
    memcpy(longer, golden_heartbeat, sizeof golden_heartbeat);
    cr_assert_eq(heartbeat_get(sv_make(longer, sizeof longer), &h, NULL), ERR_CORRUPT);
    static const struct {
        size_t at;
        uint8_t byte;
        const char *what;
    } bad[] = {{0, 0, "id 0"},    {20, 4, "unknown flag"}, {35, 6, "report kind"},
               {35, 0, "kind 0"}, {36, 1, "shard -1"},     {24, 0x7f, "lags that are not there"}};
    for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
        memcpy(longer, golden_heartbeat, sizeof golden_heartbeat);
        longer[bad[i].at] = bad[i].byte;
        cr_assert_eq(heartbeat_get(sv_make(longer, sizeof golden_heartbeat), &h, NULL), ERR_CORRUPT,
                     "%s", bad[i].what);
    }
}

Test(control_codec, reply_golden) {
    struct heartbeat_reply r = {
        .answer = HEARTBEAT_OK, .sequence = 150, .leader = 9, .map_version = 7, .wall_ms = 1000};
    struct buf b = {0};
    heartbeat_reply_put(&r, &b);
    expect_bytes(&b, golden_reply, sizeof golden_reply);
    struct heartbeat_reply q = {0};
    cr_assert_eq(heartbeat_reply_get(sv_make(golden_reply, sizeof golden_reply), &q, NULL), OK);
    cr_assert(q.answer == 1 && q.sequence == 150 && q.leader == 9 && q.map_version == 7 &&
              q.wall_ms == 1000);
    for (size_t len = 0; len < sizeof golden_reply; len++) {
        char *p = exact(golden_reply, len);
        cr_assert_eq(heartbeat_reply_get(sv_make(p, len), &q, NULL), ERR_CORRUPT);
        free(p);
    }
}

/* ---- deltas ---- */

static struct ring_map *tiny(void) {
    struct ring_map *map;
    cr_assert_eq(ring_map_new(2, 2, &map, NULL), OK);
    map->version = 1;
    map->settings = (struct ring_settings){
        .cluster_name = "cairn", .shards_count = 2, .replication_factor = 2, .format_level = 1};
    map->nodes[0] = (struct ring_node){.id = 5, .incarnation = 3, .addr = "a:1", .zone = "z1"};
    map->nodes[1] = (struct ring_node){.id = 9, .flags = RING_NODE_DOWN, .addr = "b:1"};
    for (uint32_t s = 0; s < 2; s++)
        map->shards[s] = (struct ring_shard){
            .epoch = s == 0 ? 1 : 300,
            .replicas_count = 2,
            .replicas = {{.node = 0, .state = REPLICA_FULL, .in_sync = true, .copy = 1},
                         {.node = 1, .state = REPLICA_FULL, .in_sync = true, .copy = 7}}};
    return map;
}

static struct ring_map *tiny_next(void) {
    struct ring_map *map = tiny();
    map->version = 2;
    map->nodes[0].incarnation = 4;
    map->nodes[1] = (struct ring_node){.id = 7, .incarnation = 1, .addr = "c:1"};
    for (uint32_t s = 0; s < 2; s++) {
        map->shards[s].epoch++;
        map->shards[s].replicas[1] = (struct ring_replica){
            .node = 1, .state = REPLICA_LOG, .in_sync = true, .copy = 4, .since = 2};
    }
    return map;
}

static void expect_same(const struct ring_map *a, const struct ring_map *b) {
    struct buf x = {0}, y = {0};
    ring_map_put(a, &x);
    ring_map_put(b, &y);
    cr_assert(sv_eq(buf_sv(&x), buf_sv(&y)));
    buf_fini(&x);
    buf_fini(&y);
}

Test(control_codec, delta_golden) {
    struct ring_map *from = tiny(), *to = tiny_next(), *made = NULL;
    struct buf b = {0};
    struct err err = {0};
    ring_delta_put(from, to, &b);
    expect_bytes(&b, golden_delta, sizeof golden_delta);
    struct sv delta = sv_make(golden_delta, sizeof golden_delta);
    cr_assert_eq(ring_delta_apply(from, delta, &made, &err), OK, "%s", err.msg);
    expect_same(made, to);
    struct ring_map *none = NULL;
    cr_assert_eq(ring_delta_apply(made, delta, &none, &err), ERR_CONFLICT);
    cr_assert_str_eq(err.msg, "map delta: made from version 1, applied to 2");
    for (size_t len = 0; len < sizeof golden_delta; len++) {
        char *p = exact(golden_delta, len);
        cr_assert_eq(ring_delta_apply(from, sv_make(p, len), &none, &err), ERR_CORRUPT, "%zu", len);
        cr_assert(none == NULL && strncmp(err.msg, "map delta: ", 11) == 0);
        free(p);
    }
    ring_map_unref(from);
    ring_map_unref(to);
    ring_map_unref(made);
}

Test(control_codec, deltas_of_random_maps_make_them_again) {
    for (uint64_t seed = 1; seed <= 200; seed++) {
        struct rng rng;
        rng_init(&rng, seed);
        struct placement_member members[24];
        size_t count = 2 + rng_below(&rng, 20);
        for (size_t i = 0; i < count; i++)
            members[i] = (struct placement_member){
                .id = rng_u64(&rng) | 1, .addr = SV("host:9095"), .zone = SV("a")};
        struct ring_settings set = {
            .cluster_name = "x", .shards_count = 64, .replication_factor = 2, .format_level = 1};
        struct ring_map *from, *to, *made = NULL;
        struct buf b = {0};
        cr_assert_eq(placement_make(&set, members, count, NULL, &from, NULL), OK);
        members[rng_below(&rng, count)].addr = SV("other:1");
        members[count++] = (struct placement_member){.id = rng_u64(&rng) | 1, .addr = SV("new:1")};
        if (rng_below(&rng, 2) == 0) {
            count--;
            members[rng_below(&rng, count)] = members[count];
        }
        struct err err = {0};
        cr_assert_eq(placement_make(&set, members, count, from, &to, &err), OK, "%s", err.msg);
        ring_delta_put(from, to, &b);
        cr_assert_eq(ring_delta_apply(from, buf_sv(&b), &made, NULL), OK, "seed %lu",
                     (unsigned long)seed);
        expect_same(to, made);
        ring_map_unref(from);
        ring_map_unref(to);
        ring_map_unref(made);
        buf_fini(&b);
    }
}

/* ---- state ---- */

static bool apply(struct ring_state *s, struct buf *command) {
    bool changed;
    struct err err = {0};
    cr_assert_eq(ring_state_apply(s, buf_sv(command), &changed, &err), OK, "%s", err.msg);
    buf_fini(command);
    *command = (struct buf){0};
    return changed;
}

Test(control_codec, commands_apply_once_and_in_order) {
    struct ring_map *one = tiny(), *two = tiny_next();
    struct ring_state s;
    struct buf b = {0};
    ring_state_init(&s);
    command_map_put(one, two, &b);
    cr_assert_eq((uint8_t)b.ptr[0], 1);
    cr_assert_eq((uint8_t)b.ptr[1], COMMAND_MAP);
    cr_assert_eq(memcmp(b.ptr + 2, golden_delta, sizeof golden_delta), 0);
    cr_assert(!apply(&s, &b) && s.map == NULL, "there is nothing to change yet");
    command_found_put(one, &b);
    cr_assert(apply(&s, &b) && s.map->version == 1);
    command_found_put(two, &b);
    cr_assert(!apply(&s, &b) && s.map->version == 1, "founded once");
    command_map_put(one, two, &b);
    cr_assert(apply(&s, &b) && s.map->version == 2);
    command_map_put(one, two, &b);
    cr_assert(!apply(&s, &b) && s.map->version == 2);
    bool changed = true;
    struct err err = {0};
    cr_assert_eq(ring_state_apply(&s, SV(""), &changed, &err), ERR_CORRUPT);
    cr_assert_eq(ring_state_apply(&s, SV("\2\1"), &changed, &err), ERR_UNSUPPORTED);
    cr_assert_eq(ring_state_apply(&s, SV("\1\4"), &changed, &err), ERR_UNSUPPORTED);
    cr_assert(!changed);
    ring_state_fini(&s);
    ring_map_unref(one);
    ring_map_unref(two);
}

/* What a tracker decides comes as commands; late and repeated ones change nothing. */
Test(control_codec, elected_replicas) {
    static const struct {
        char cluster[8], replica[4];
        int64_t received, elected;
        bool changed;
        const char *then;
    } steps[] = {
        {"prod", "a", 1000, 1000, true, "a"},    {"prod", "a", 1000, 1000, false, "a"},
        {"prod", "a", 16000, 1000, true, "a"},   {"prod", "b", 46001, 46001, true, "b"},
        {"prod", "a", 31000, 1000, false, "b"},  /* late */
        {"prod", "c", 46001, 46001, false, "b"}, /* two were elected at once: the first */
        {"dev", "x", 50000, 50000, true, "x"},   {"edge", "y", 3700000, 3700000, true, "y"},
    };
    struct ring_state s, again;
    struct buf b = {0}, c = {0};
    ring_state_init(&s);
    for (size_t i = 0; i < ARRAY_LEN(steps); i++) {
        char cluster[8], replica[4];
        memcpy(cluster, steps[i].cluster, sizeof cluster);
        memcpy(replica, steps[i].replica, sizeof replica);
        struct ha_elected e = {cluster, replica, steps[i].received, steps[i].elected};
        command_ha_put(&e, &b);
        cr_assert_eq(apply(&s, &b), steps[i].changed, "step %zu", i);
        cr_assert_str_eq(ring_state_ha(&s, sv_from(cluster))->replica, steps[i].then);
    }
    cr_assert_eq(s.ha_version, 5);
    cr_assert_null(ring_state_ha(&s, SV("prod")), "an hour without a sample");
    cr_assert_eq(s.ha_count, 1);
    ring_state_put(&s, &b);
    cr_assert_eq(ring_state_get(buf_sv(&b), &again, NULL), OK);
    ring_state_put(&again, &c);
    cr_assert(sv_eq(buf_sv(&b), buf_sv(&c)));
    cr_assert_str_eq(ring_state_ha(&again, SV("edge"))->replica, "y");
    ring_state_fini(&s);
    ring_state_fini(&again);
    buf_fini(&b);
    buf_fini(&c);
}

Test(control_codec, snapshot_golden) {
    static const uint8_t golden[] = {1, 0,   7,   1, /* no map, ha version 7, one */
                                     4, 'p', 'r', 'o', 'd', 1, 'a', 0xc0, 0x0c, 0x90, 3};
    struct ring_state s;
    struct buf b = {0};
    cr_assert_eq(ring_state_get(sv_make(golden, sizeof golden), &s, NULL), OK);
    const struct ha_elected *e = ring_state_ha(&s, SV("prod"));
    cr_assert(e != NULL && e->received_ms == 800 && e->elected_ms == 200 && s.ha_version == 7);
    ring_state_put(&s, &b);
    expect_bytes(&b, golden, sizeof golden);
    ring_state_fini(&s);
    for (size_t len = 0; len < sizeof golden; len++) {
        char *p = exact(golden, len);
        cr_assert_neq(ring_state_get(sv_make(p, len), &s, NULL), OK, "cut at %zu", len);
        free(p);
    }
}
