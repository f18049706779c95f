/* SPDX-License-Identifier: Apache-2.0 */
/* Writes while maps change, shards are opened and nodes go. */
#include <criterion/criterion.h>

#include "maps_rig.h"
#include "node/base/log.h"

enum { SERIES = 200 };
static struct maps_rig rig;

static void open_rig(void) {
    log_setup(LOG_ERROR, LOG_LOGFMT, 2);
    rig_open(&rig, &(struct sim_options){.seed = 1});
}

static struct rig_write *start_all(unsigned node, int64_t time_ms) {
    struct rig_write *w = rig_write_new(&rig, 0, SERIES, time_ms, 1);
    rig_write_start(&rig, w, node, 0);
    return w;
}

/* All were accepted, and no sample reached a store that had it already. */
static void expect_once(struct rig_write *w, uint64_t from_ms, uint64_t to_ms) {
    rig_write_wait(&rig, w);
    cr_assert_eq(w->op.outcome, WRITE_OK, "%s", w->op.text);
    cr_assert(w->op.counts[VERDICT_ACCEPT] == SERIES && w->op.counts[VERDICT_NOOP] == 0,
              "%u accepted, %u there already", w->op.counts[VERDICT_ACCEPT],
              w->op.counts[VERDICT_NOOP]);
    cr_assert(w->took_ms >= from_ms && w->took_ms <= to_ms, "after %lu ms",
              (unsigned long)w->took_ms);
    rig_write_free(w);
}

static unsigned series_of(uint32_t shard) {
    unsigned n = 0;
    for (unsigned i = 0; i < SERIES; i++)
        n += rig_shard(&rig, i) == shard;
    return n;
}

static bool holds(unsigned node, unsigned series, int64_t time_ms) {
    int64_t got_ms = 0;
    double value = 0;
    return rig_newest(&rig, node, series, &got_ms, &value) && got_ms == time_ms &&
           value == 1 + series;
}

static void expect_at(unsigned node, uint32_t shard, int64_t time_ms) {
    for (unsigned i = 0; i < SERIES; i++)
        cr_assert(rig_shard(&rig, i) != shard || holds(node, i, time_ms), "series %u", i);
}

Test(distributor_maps, a_shard_that_is_not_open_holds_up_itself_alone) {
    for (unsigned owner = 0; owner < 2; owner++) { /* of the asked node, of another one */
        open_rig();
        uint32_t shard = owner + 3;
        unsigned there = series_of(shard);
        cr_assert(there > 0);
        rig.nodes[owner].closed[shard] = true;
        int64_t now = rig_now_ms(&rig);
        struct rig_write *w = start_all(0, now);
        rig_write_wait(&rig, w);
        cr_assert_eq(w->op.outcome, WRITE_UNAVAILABLE);
        cr_assert(w->took_ms > 9000 && w->took_ms <= 10000);
        char text[40];
        snprintf(text, sizeof text, "shard %u", (unsigned)shard);
        cr_assert(strstr(w->op.text, text) != NULL && strstr(w->op.text, "being opened") != NULL,
                  "%s", w->op.text);
        cr_assert_eq(w->op.counts[VERDICT_ACCEPT], SERIES - there);
        cr_assert_eq(w->op.counts[VERDICT_NOOP], 0, "what has answered is not sent again");
        for (uint32_t s = 0; s < RIG_SHARDS; s++)
            if (s != shard) expect_at(s % RIG_NODES, s, now);
        rig_write_free(w);
        rig_close(&rig);
    }
}

static void on_open(void *ctx) {
    struct rig_node *node = ctx;
    memset(node->closed, 0, sizeof node->closed);
}

Test(distributor_maps, a_shard_that_opens_in_time_is_not_noticed) {
    for (unsigned owner = 0; owner < 2; owner++) {
        open_rig();
        for (uint32_t s = owner; s < RIG_SHARDS; s += RIG_NODES)
            rig.nodes[owner].closed[s] = s % 4 != 1;
        sim_after(rig.sim, 3000, on_open, &rig.nodes[owner]);
        expect_once(start_all(0, rig_now_ms(&rig)), 3000, 3250);
        rig_close(&rig);
    }
}

Test(distributor_maps, a_refused_sample_is_told_although_other_shards_came_later) {
    open_rig();
    int64_t now = rig_now_ms(&rig);
    expect_once(start_all(0, now), 0, 100);
    struct rig_write *w = rig_write_new(&rig, 0, SERIES, now + 1000, 1);
    unsigned bad = 0, closed = 0;
    while (rig_shard(&rig, bad) % RIG_NODES != 1)
        bad++;
    while (rig_shard(&rig, closed) % RIG_NODES != 1 ||
           rig_shard(&rig, closed) == rig_shard(&rig, bad))
        closed++;
    w->op.rows.times_ms[bad] = now; /* another value at the newest time */
    w->op.rows.values[bad] = -1;
    rig.nodes[1].closed[rig_shard(&rig, closed)] = true;
    sim_after(rig.sim, 1000, on_open, &rig.nodes[1]);
    rig_write_start(&rig, w, 0, 1);
    rig_write_wait(&rig, w);
    cr_assert_eq(w->op.outcome, WRITE_REFUSED, "%s", w->op.text);
    cr_assert(strstr(w->op.text, "duplicate sample for timestamp") != NULL, "%s", w->op.text);
    cr_assert(w->op.counts[VERDICT_ACCEPT] == SERIES - 1 && w->op.counts[VERDICT_DUPLICATE] == 1 &&
              w->op.counts[VERDICT_NOOP] == 0);
    cr_assert_eq(w->op.first_refused, bad);
    rig_write_free(w);
    rig_close(&rig);
}

/* Node 1 is no more; the map gives its shards to node 2. */
static void publish_without_1(bool down) {
    struct ring_map *map = rig_map_next(&rig);
    for (uint32_t s = 1; s < RIG_SHARDS; s += RIG_NODES)
        rig_move(map, s, 2);
    if (down) map->nodes[1].flags = RING_NODE_DOWN;
    rig_publish(&rig, map);
}

Test(distributor_maps, a_dead_nodes_shards_are_written_elsewhere_as_soon_as_a_map_says_so) {
    open_rig();
    int64_t now = rig_now_ms(&rig);
    expect_once(start_all(0, now), 0, 100);
    rig_kill(&rig, 1);
    publish_without_1(true);
    rig_install_after(&rig, 2, 1500);
    rig_install_after(&rig, 0, 2000);
    expect_once(start_all(0, now + 1000), 2000, 2060);
    for (uint32_t s = 1; s < RIG_SHARDS; s += RIG_NODES)
        expect_at(2, s, now + 1000);
    rig_close(&rig);
}

Test(distributor_maps, a_silent_node_is_left_as_soon_as_a_map_says_so) {
    open_rig();
    int64_t now = rig_now_ms(&rig);
    expect_once(start_all(0, now), 0, 100);
    sim_partition(rig.sim, 0, 1, 30000);
    publish_without_1(true);
    rig_install_after(&rig, 2, 500);
    rig_install_after(&rig, 0, 1000);
    struct rig_write *w = start_all(0, now + 1000);
    expect_once(w, 1000, 1060);
    rig_close(&rig);
}

Test(distributor_maps, shards_that_moved_are_followed_whoever_learns_first) {
    /* when each of the three learns of the map */
    static const uint64_t delays[][RIG_NODES] = {
        {0, 0, 0}, {2000, 0, 0}, {0, 2000, 2000}, {1000, 3000, 2000}, {3000, 1000, 2000}};
    for (size_t i = 0; i < ARRAY_LEN(delays); i++) {
        open_rig();
        struct ring_map *map = rig_map_next(&rig);
        for (uint32_t s = 0; s < RIG_SHARDS; s++)
            if (s % 4 == 0) rig_move(map, s, (s + 1) % RIG_NODES); /* all give and all take */
        rig_publish(&rig, map);
        uint64_t last_ms = 0;
        for (unsigned n = 0; n < RIG_NODES; n++) {
            last_ms = MAX(last_ms, delays[i][n]);
            if (delays[i][n] == 0)
                rig_install(&rig, n);
            else
                rig_install_after(&rig, n, delays[i][n]);
        }
        int64_t now = rig_now_ms(&rig);
        struct rig_write *w = start_all(0, now);
        rig_write_wait(&rig, w);
        cr_assert_eq(w->op.outcome, WRITE_OK, "%zu: %s", i, w->op.text);
        cr_assert(w->took_ms <= last_ms + 250, "%zu: after %lu ms", i, (unsigned long)w->took_ms);
        for (unsigned k = 0; k < SERIES; k++) /* one that knew no better may have taken its own */
            cr_assert(holds(rig_shard(&rig, k) % RIG_NODES, k, now) ||
                      holds(rig.map->shards[rig_shard(&rig, k)].replicas[0].node, k, now));
        rig_write_free(w);
        rig_close(&rig);
    }
}

static uint32_t shard_of_name(const char *name) {
    uint32_t shard;
    MUST(metadata_shard(rig.map->settings.secret, 0, RIG_SHARDS, sv_from(name), &shard) == OK);
    return shard;
}

Test(distributor_maps, exemplars_and_metadata_go_with_their_shards) {
    open_rig();
    int64_t now = rig_now_ms(&rig);
    expect_once(start_all(0, now), 0, 100);
    struct rig_write *w = rig_write_new(&rig, 0, 40, now + 1000, 1);
    char names[40][16];
    for (unsigned i = 0; i < 40; i++) {
        struct write_exemplar e = {.id = w->op.rows.ids[39 - i],
                                   .shard = w->op.rows.shards[39 - i],
                                   .time_ms = now,
                                   .value = 1,
                                   .labels = (struct sv){"", 0}};
        snprintf(names[i], sizeof names[i], "metric_%u", i);
        struct write_metadata m = {.item = {.name = sv_from(names[i]), .help = SV("h")}};
        m.shard = shard_of_name(names[i]);
        cr_assert_eq(write_rows_add_exemplar(&w->op.rows, &e), OK);
        cr_assert_eq(write_rows_add_metadata(&w->op.rows, &m), OK);
    }
    struct ring_map *map = rig_map_next(&rig);
    for (uint32_t s = 0; s < RIG_SHARDS; s += 3)
        rig_move(map, s, 1 + s % 2); /* away from the asked node */
    rig_publish(&rig, map);
    memset(rig.nodes[0].closed, 1, sizeof rig.nodes[0].closed); /* so that none stays there */
    rig_install_after(&rig, 1, 500);
    rig_install_after(&rig, 2, 500);
    rig_install_after(&rig, 0, 700);
    rig_write_start(&rig, w, 0, 0);
    rig_write_wait(&rig, w);
    cr_assert_eq(w->op.outcome, WRITE_OK, "%s", w->op.text);
    cr_assert(w->took_ms >= 700 && w->took_ms < 800);
    unsigned found = 0;
    for (unsigned i = 0; i < 40; i++) {
        uint32_t shard = shard_of_name(names[i]);
        struct rig_node *node = &rig.nodes[rig.map->shards[shard].replicas[0].node];
        struct store *store = node->cores[shard % RIG_CORES].store;
        found += metadata_has_name(store_metadata(store), sv_from(names[i]));
    }
    cr_assert_eq(found, 40);
    rig_write_free(w);
    rig_close(&rig);
}

/* Node 1 was the last with the history of its shards: nodes 0 and 2 take their writes as LOG,
 * beside shards of which they have heads. */
Test(distributor_maps, shards_without_a_head_anywhere_are_logged) {
    open_rig();
    int64_t now = rig_now_ms(&rig);
    rig_kill(&rig, 1);
    struct ring_map *map = rig_map_next(&rig);
    unsigned logged = 0;
    for (uint32_t s = 1; s < RIG_SHARDS; s += RIG_NODES) {
        rig_move(map, s, s % 2 == 0 ? 0 : 2);
        map->shards[s].replicas[0].state = REPLICA_LOG;
        logged += series_of(s);
    }
    map->nodes[1].flags = RING_NODE_DOWN;
    cr_assert_eq(ring_map_check(map, NULL), OK);
    rig_publish(&rig, map);
    rig_install(&rig, 0);
    rig_install(&rig, 2);
    expect_once(start_all(0, now), 0, 100);
    for (unsigned i = 0; i < SERIES; i++) {
        uint32_t shard = rig_shard(&rig, i);
        unsigned node = rig.map->shards[shard].replicas[0].node;
        cr_assert_eq(holds(node, i, now), shard % RIG_NODES != 1, "series %u", i);
    }
    struct rig_write *w = start_all(2, now); /* what has no head cannot know that it is held */
    rig_write_wait(&rig, w);
    cr_assert_eq(w->op.outcome, WRITE_OK, "%s", w->op.text);
    cr_assert(logged > 0 && w->op.counts[VERDICT_ACCEPT] == logged &&
              w->op.counts[VERDICT_NOOP] == SERIES - logged);
    rig_write_free(w);
    rig_close(&rig);
}

Test(distributor_maps, the_future_begins_by_the_clusters_clock) {
    enum { MINUTE_MS = 60000 };
    static const struct {
        int64_t offset_min, ahead_min;
        bool taken;
    } cases[] = {{0, 9, true}, {0, 11, false}, {5, 14, true}, {5, 16, false}, {-5, 6, false}};
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        open_rig();
        for (unsigned n = 0; n < RIG_NODES; n++)
            atomic_store(&rig.nodes[n].lease.wall_offset_ms, cases[i].offset_min * MINUTE_MS);
        struct rig_write *w = start_all(0, rig_now_ms(&rig) + cases[i].ahead_min * MINUTE_MS);
        rig_write_wait(&rig, w);
        cr_assert_eq(w->op.outcome, cases[i].taken ? WRITE_OK : WRITE_REFUSED, "%zu: %s", i,
                     w->op.text);
        cr_assert_eq(w->op.counts[VERDICT_FUTURE], cases[i].taken ? 0 : SERIES);
        rig_write_free(w);
        rig_close(&rig);
    }
}

Test(distributor_maps, what_waits_ends_with_its_reason_when_the_node_stops) {
    open_rig();
    memset(rig.nodes[0].closed, 1, sizeof rig.nodes[0].closed);
    struct rig_write *w = start_all(0, rig_now_ms(&rig));
    rig_run(&rig, 1000);
    cr_assert(!w->done);
    core_set_current(rig.nodes[0].cores[0].core);
    distributor_stop(rig.nodes[0].cores[0].distributor);
    core_set_current(NULL);
    rig_run(&rig, 1);
    cr_assert(w->done && w->op.outcome == WRITE_UNAVAILABLE);
    cr_assert(strstr(w->op.text, "being opened") != NULL, "%s", w->op.text);
    rig_write_free(w);
    rig_close(&rig);
}
