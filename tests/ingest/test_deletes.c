/* SPDX-License-Identifier: Apache-2.0 */
/* A deletion's way to all shards, on one and on three simulated nodes, each shard on one of them.
 */
#include <criterion/criterion.h>
#include <inttypes.h>

#include "cluster.h"
#include "ingest/deletes.h"

enum { SERIES = 200 };

struct deletion {
    struct delete_op op;
    struct delete_range range;
    struct buf matchers;
    struct msg msg;
    bool done;
};

static void deletion_on_done(struct core *here, struct delete_op *op) {
    struct deletion *x = container_of(op, struct deletion, op);
    cr_assert(core_is_current(here) && !x->done);
    x->done = true;
}

static void deletion_on_core(struct core *here, struct msg *m) {
    struct deletion *x = container_of(m, struct deletion, msg);
    distributor_delete(here->locals[CORE_INGEST], &x->op);
}

static bool deletion_is_done(void *x) {
    return ((struct deletion *)x)->done;
}

/* i =~ "1.*" from min to max */
static void deletion_start(struct cluster *c, struct deletion *x, unsigned node, unsigned core,
                           int64_t min_ms, int64_t max_ms) {
    struct matcher m = {.kind = MATCH_RE, .name = SV("i"), .value = SV("1.*")};
    *x = (struct deletion){.op = {.done = deletion_on_done}};
    entry_matchers_put(&m, 1, &x->matchers);
    x->range = (struct delete_range){min_ms, max_ms, buf_sv(&x->matchers)};
    x->op.ranges = &x->range;
    x->op.ranges_count = 1;
    x->msg.run = deletion_on_core;
    core_post(store_core(node_store(c->nodes[node].node, core)), &x->msg);
}

static void deletion_wait(struct cluster *c, struct deletion *x, uint64_t ms) {
    cr_assert(sim_run(c->sim, deletion_is_done, x, sim_now_ms(c->sim) + ms), "not done");
}

static void start_cluster(struct cluster *c, unsigned nodes, uint64_t seed) {
    cluster_init(c, &(struct sim_options){.seed = seed, .nodes_count = nodes});
    for (unsigned i = 0; i < nodes; i++)
        cluster_start(c, i);
    cluster_wait(c);
}

static void write_all(struct cluster *c, int64_t time_ms) {
    static struct client_sample samples[SERIES];
    for (unsigned i = 0; i < SERIES; i++)
        samples[i] = (struct client_sample){i, time_ms, i};
    struct client *w = client_new(c, samples, SERIES);
    client_write(c, w, 0, 0);
    cr_assert_eq(w->op.outcome, WRITE_OK, "%s", w->op.text);
    client_free(w);
}

static size_t samples_of(struct head *head, int64_t from_ms, int64_t to_ms) {
    struct select_query q = {.from_ms = from_ms, .to_ms = to_ms};
    struct selection *sel = NULL;
    struct samples samples = {0};
    struct err err;
    bool done = false;
    size_t count;
    cr_assert(select_new(head, &q, &sel, &err) == OK, "%s", err.msg);
    while (!done)
        cr_assert(select_step(sel, 0, &done, &err) == OK, "%s", err.msg);
    const struct series_view *views = selection_series(sel, &count);
    for (size_t i = 0; i < count; i++)
        cr_assert(series_view_read(&views[i], from_ms, to_ms, &samples, &err) == OK);
    count = samples.count;
    samples_fini(&samples);
    selection_release(sel);
    return count;
}

/* On all nodes: from < t <= to. */
static size_t held(struct cluster *c, int64_t from_ms, int64_t to_ms) {
    size_t count = 0;
    for (unsigned n = 0; n < c->nodes_count; n++)
        for (unsigned i = 0; i < CLUSTER_CORES && c->nodes[n].node != NULL; i++) {
            struct store *store = node_store(c->nodes[n].node, i);
            core_set_current(store_core(store));
            count += samples_of(store_head(store), from_ms, to_ms);
            core_set_current(NULL);
        }
    return count;
}

/* 1, 10 to 19, 100 to 199 */
enum { MATCHING = 1 + 10 + 100 };

Test(deletes, what_matches_is_gone_from_every_shard_and_stays_gone) {
    for (unsigned nodes = 1; nodes <= 3; nodes += 2) {
        struct cluster c;
        struct deletion x;
        start_cluster(&c, nodes, 1);
        int64_t now = cluster_now_ms(&c);
        write_all(&c, now);
        write_all(&c, now + 15000);
        cr_assert_eq(held(&c, now - 1, now + 15000), 2 * SERIES);
        deletion_start(&c, &x, nodes - 1, 1, now + 1, now + 15000);
        deletion_wait(&c, &x, 5000);
        cr_assert_eq(x.op.status, OK, "%s", x.op.text);
        cr_assert_eq(held(&c, now - 1, now), SERIES);
        cr_assert_eq(held(&c, now, now + 15000), SERIES - MATCHING);
        for (unsigned i = 0; i < nodes; i++)
            cluster_kill(&c, i);
        for (unsigned i = 0; i < nodes; i++)
            cluster_start(&c, i);
        cluster_wait(&c);
        cr_assert_eq(held(&c, now - 1, now), SERIES);
        cr_assert_eq(held(&c, now, now + 15000), SERIES - MATCHING);
        buf_fini(&x.matchers);
        cluster_fini(&c);
    }
}

Test(deletes, a_node_that_is_down_is_waited_for_and_then_its_shards_are_named) {
    struct cluster c;
    struct deletion x;
    start_cluster(&c, 3, 2);
    int64_t now = cluster_now_ms(&c);
    write_all(&c, now);
    struct ring_map *map = node_map(c.nodes[0].node);
    unsigned down = 0;
    int gone = -1;
    for (uint32_t s = 0; s < CLUSTER_SHARDS; s++)
        if (strcmp(map->nodes[ring_map_primary(map, s)].addr, sim_addr(c.sim, 2)) == 0) {
            gone = gone < 0 ? (int)s : gone;
            down++;
        }
    cr_assert(down > 0 && down < CLUSTER_SHARDS);
    cluster_kill(&c, 2);
    uint64_t began_ms = sim_now_ms(c.sim);
    deletion_start(&c, &x, 0, 0, now, now);
    deletion_wait(&c, &x, 30000);
    uint64_t took_ms = sim_now_ms(c.sim) - began_ms;
    cr_assert(x.op.status == ERR_UNAVAILABLE || x.op.status == ERR_CONFLICT, "%d", x.op.status);
    char want[64];
    snprintf(want, sizeof want, "not deleted in %u of %u shards (%d", down, CLUSTER_SHARDS, gone);
    cr_assert(strstr(x.op.text, want) != NULL, "%s", x.op.text);
    cr_assert(took_ms >= 9000 && took_ms < 16000, "%" PRIu64 " ms", took_ms);
    buf_fini(&x.matchers);

    /* those that were reached have it; with the node back the rest gets it within the time */
    deletion_start(&c, &x, 1, 0, now, now);
    cr_assert(!sim_run(c.sim, deletion_is_done, &x, sim_now_ms(c.sim) + 3000));
    cluster_start(&c, 2);
    deletion_wait(&c, &x, 10000);
    cr_assert_eq(x.op.status, OK, "%s", x.op.text);
    cluster_wait(&c);
    cr_assert_eq(held(&c, now - 1, now), SERIES - MATCHING);
    buf_fini(&x.matchers);
    cluster_fini(&c);
}

Test(deletes, no_more_than_a_few_at_once) {
    enum { COUNT = DELETES_MAX + 3 };
    static struct deletion all[COUNT];
    struct cluster c;
    unsigned refused = 0;
    start_cluster(&c, 1, 3);
    for (unsigned i = 0; i < COUNT; i++)
        deletion_start(&c, &all[i], 0, 0, 0, 1);
    for (unsigned i = 0; i < COUNT; i++) {
        deletion_wait(&c, &all[i], 5000);
        refused += all[i].op.status == ERR_UNAVAILABLE;
        if (all[i].op.status != OK)
            cr_assert(strstr(all[i].op.text, "too many deletions") != NULL, "%s", all[i].op.text);
        buf_fini(&all[i].matchers);
    }
    cr_assert_eq(refused, COUNT - DELETES_MAX);
    cluster_fini(&c);
}

/* Nobody is left to tell; what is under way goes with the memory. */
Test(deletes, a_node_that_dies_takes_its_deletions_along) {
    struct cluster c;
    struct deletion x;
    start_cluster(&c, 3, 4);
    for (unsigned steps = 1; steps < 200; steps += 7) {
        deletion_start(&c, &x, 0, 0, 0, 1);
        for (unsigned i = 0; i < steps; i++)
            sim_step(c.sim);
        cluster_kill(&c, 0);
        cluster_start(&c, 0);
        cluster_wait(&c);
        buf_fini(&x.matchers);
    }
    cluster_fini(&c);
}
