/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/cluster/world.h"

#include <assert.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "node/base/metrics.h"
#include "tests/sim/sim.h"

/* As the simulator has it, without skew and jumps. */
#define WALL_BASE_MS ((int64_t)SIM_WALL_START_MS)
enum { TICK_MS = 60, CLOSING_LIMIT_MS = 180000 };

struct restart {
    struct world *w;
    unsigned node;
};

void world_fail(struct world *w, const char *fmt, ...) {
    if (w->failure[0] != '\0') return;
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(w->failure, sizeof w->failure, fmt, ap);
    va_end(ap);
}

int64_t world_true_ms(const struct world *w) {
    return w->wall_base_ms + (int64_t)sim_now_ms(w->sim);
}

int64_t world_sample_ms(const struct world *w) {
    enum { AGE_MS = 2400000, FAST_AGE_MS = 24 * 3600 * 1000, FAST = 500 };
    int64_t since_ms = (int64_t)sim_now_ms(w->sim);
    if (w->options.seed % 2 == 0) return w->wall_base_ms + since_ms - AGE_MS;
    return w->wall_base_ms + MIN(since_ms * FAST - FAST_AGE_MS, since_ms);
}

bool world_node_serves(const struct world *w, unsigned node) {
    return w->nodes[node] != NULL && sim_is_up(w->sim, node) && node_is_open(w->nodes[node]) &&
           !node_is_lost(w->nodes[node], NULL);
}

/* -- nodes */

/* What --ring.discovery says: the founders' addresses of now. */
void world_name_nodes(struct world *w) {
    size_t used = (size_t)snprintf(w->discovery, sizeof w->discovery, "static:");
    for (unsigned i = 0; i < w->options.nodes; i++)
        used += (size_t)snprintf(w->discovery + used, sizeof w->discovery - used, "%s%s",
                                 i == 0 ? "" : ",", sim_addr(w->sim, i));
}

static struct node_options node_flags(struct world *w, unsigned i) {
    return (struct node_options){
        .data_dir = "data",
        .cluster_name = "sim",
        .discovery = w->discovery,
        .listen_addr = sim_addr(w->sim, i),
        .advertise_addr = sim_addr(w->sim, i),
        .zone = w->zones[i],
        .bootstrap_expect = w->options.nodes,
        .shards_count = WORLD_SHARDS,
        .replication_factor = w->options.replication_factor,
        .replace_after_ms = 15000,
        .out_of_order_window_ms = 30 * 60 * 1000,
        .log_file_bytes_max = 16 << 10,
        .block_range_ms = 600000,
        .block_merged_ms_max = 5400000,
        .blocks_tick_ms = 500,
        .scrub_ms = 4000,
        .sync_ms = 600,
        .wal_sync_always = true,
        .query_timeout_ms = 8000,
        .query_concurrency = 4,
    };
}

void world_start_node(struct world *w, unsigned i) {
    if (i >= w->nodes_count) w->nodes_count = i + 1;
    if (w->options.shard_told > 0)
        fprintf(stderr, "%" PRIu64 " ms node %u starts\n", sim_now_ms(w->sim), i);
    w->processes[i] = ++w->processes_count;
    memset(w->role_of[i], 0, sizeof w->role_of[i]);
    memset(w->member_of[i], 0, sizeof w->member_of[i]);
    struct runtime *rt = sim_start(w->sim, i);
    struct node_options o = node_flags(w, i);
    if (i >= w->options.nodes || w->wiped[i]) o.bootstrap_expect = 0;
    struct err err = {0};
    struct node *node = NULL;
    enum status st = node_open(rt, &o, &node, &err);
    if (st == OK) st = node_start(node, &err);
    if (st == OK) {
        w->nodes[i] = node;
        w->opening[i] = !node_is_open(node);
        return;
    }
    node_free(node);
    if (st == ERR_IO || st == ERR_LIMIT) { /* the power went meanwhile, or the disk is full */
        if (sim_is_up(w->sim, i)) {
            sim_kill(w->sim, i);
            world_plan_restart(w, i, 500);
        }
        return;
    }
    world_fail(w, "node %u did not start: %s", i, err.msg);
}

static void restart_run(void *ctx) {
    struct restart *r = ctx;
    struct world *w = r->w;
    unsigned node = r->node;
    free(r);
    w->restart_planned[node] = false;
    if (w->nodes[node] != NULL || sim_is_up(w->sim, node) || w->retired[node]) return;
    w->restarts++;
    world_start_node(w, node);
}

void world_plan_restart(struct world *w, unsigned node, uint64_t delay_ms) {
    if (w->restart_planned[node]) return;
    struct restart *r = malloc(sizeof *r);
    assert(r != NULL);
    *r = (struct restart){w, node};
    w->restart_planned[node] = true;
    sim_after(w->sim, delay_ms, restart_run, r);
}

void world_forget_node(struct world *w, unsigned node) {
    node_free(w->nodes[node]);
    w->nodes[node] = NULL;
    w->opening[node] = false;
    clients_drop(w, node);
    world_drain_forget(w, node);
    world_thin_forget(w, node);
}

static void on_crashed(void *ctx, unsigned node) {
    struct world *w = ctx;
    if (w->options.shard_told > 0)
        fprintf(stderr, "%" PRIu64 " ms node %u crashed\n", sim_now_ms(w->sim), node);
    world_forget_node(w, node);
    struct rng *rng = sim_rng(w->sim);
    world_plan_restart(w, node,
                       5 + rng_below(rng, w->rotten == 0 && rng_chance(rng, 0.2) ? 20000 : 3000));
}

/* -- the workload */

/* A node that cannot go on ends, and whoever runs it starts another process. */
static bool lost_restarts(struct world *w, unsigned i) {
    struct node *n = w->nodes[i];
    if (n == NULL || !node_is_lost(n, NULL) || node_was_removed(n)) return false;
    sim_kill(w->sim, i);
    world_forget_node(w, i);
    world_plan_restart(w, i, 1 + rng_below(sim_rng(w->sim), 2000));
    return true;
}

static void on_tick(void *ctx) {
    struct world *w = ctx;
    world_look_at_maps(w);
    world_check_shards(w);
    for (unsigned i = 0; i < w->nodes_count; i++)
        lost_restarts(w, i);
    if (w->quiet) return;
    struct rng *rng = sim_rng(w->sim);
    sim_after(w->sim, 1 + rng_below(rng, TICK_MS), on_tick, w);
    unsigned node = (unsigned)rng_below(rng, w->nodes_count);
    if (!world_node_serves(w, node)) return;
    if (rng_chance(rng, 0.75))
        client_write_start(w, node, WRITE_SERIES_MAX);
    else
        client_query_start(w, node, false);
}

/* -- the end: faults off, everybody up, every node must answer completely and hold all that was
 * acknowledged */

static bool all_up(struct world *w) {
    bool up = true;
    for (unsigned i = 0; i < w->nodes_count; i++) {
        if (w->retired[i]) continue;
        if (w->draining == i + 1 && w->nodes[i] != NULL && node_was_removed(w->nodes[i])) {
            w->retired[i] = true; /* the drain ended after the faults */
            w->plans[PLAN_DRAIN]++;
            sim_kill(w->sim, i);
            world_forget_node(w, i);
            continue;
        }
        if (lost_restarts(w, i)) up = false;
        if (!world_node_serves(w, i)) {
            struct node *n = w->nodes[i];
            const char *why = "it is not there";
            if (n != NULL) node_is_ready(n, &why);
            snprintf(w->waiting_for, sizeof w->waiting_for, "node %u does not serve: %s%s", i, why,
                     w->restart_planned[i] ? ", planned" : "");
            up = false;
        }
        if (w->nodes[i] == NULL && !sim_is_up(w->sim, i)) world_plan_restart(w, i, 1);
    }
    return up;
}

static void closing_tick(void *ctx) {
    struct world *w = ctx;
    if (w->failure[0] != '\0' || w->all_verified) return;
    world_look_at_maps(w);
    world_check_shards(w);
    if (!all_up(w) || !list_is_empty(&w->clients) || !world_is_whole(w) || !world_rot_is_over(w)) {
        sim_after(w->sim, 50, closing_tick, w);
        return;
    }
    if (!w->rot_tried) {
        w->rot_tried = true;
        if (w->options.plans && w->rotten == 0) world_rot_last(w);
        sim_after(w->sim, 50, closing_tick, w);
        return;
    }
    if (!world_thin_is_over(w)) {
        sim_after(w->sim, 50, closing_tick, w);
        return;
    }
    while (w->closing_at < w->nodes_count && w->retired[w->closing_at])
        w->closing_at++;
    if (w->closing_at >= w->nodes_count && !world_ranges_are_equal(w)) { /* or not known yet */
        sim_after(w->sim, 50, closing_tick, w);
        return;
    }
    if (w->closing_at >= w->nodes_count) {
        world_compare_replicas(w);
        w->all_verified = true;
        return;
    }
    snprintf(w->waiting_for, sizeof w->waiting_for, "node %u has not answered", w->closing_at);
    client_query_start(w, w->closing_at, true); /* counts closing_at up when it was complete */
    sim_after(w->sim, 50, closing_tick, w);
}

/* After each event: clients have waited for the node to open, and come at once. */
static void greet(struct world *w) {
    for (unsigned i = 0; i < w->nodes_count; i++) {
        if (!w->opening[i] || w->nodes[i] == NULL || !node_is_open(w->nodes[i])) continue;
        w->opening[i] = false;
        clients_greet(w, i);
    }
}

static bool is_over(void *ctx) {
    struct world *w = ctx;
    return w->failure[0] != '\0' || w->all_verified;
}

static bool has_failed(void *ctx) {
    struct world *w = ctx;
    greet(w);
    return w->failure[0] != '\0';
}

/* Nobody has planted any. */
static double differences(void) {
    static const struct metric_def def = {"cairn_sync_differences_total", "", METRIC_COUNTER, NULL,
                                          0};
    return metric_value(metric_get(&def, NULL));
}

static void world_close(struct world *w) {
    w->quiet = true;
    sim_set_faults(w->sim, false);
    sim_after(w->sim, 1, closing_tick, w);
    if (!sim_run(w->sim, is_over, w, sim_now_ms(w->sim) + CLOSING_LIMIT_MS))
        world_fail(w, "the cluster is not whole after %d ms without faults: %s", CLOSING_LIMIT_MS,
                   w->waiting_for);
}

static void world_free(struct world *w) {
    for (unsigned i = 0; i < w->nodes_count; i++) {
        sim_kill(w->sim, i);
        world_forget_node(w, i);
    }
    for (unsigned s = 0; s < WORLD_SERIES; s++)
        free(w->series[s].samples);
    ring_map_unref(w->map);
    w->map = NULL;
    buf_fini(&w->thin.matchers);
}

const double world_fault_rates[SIM_FAULT_COUNT] = {
    [SIM_FRAME_LOST] = 0.01,
    [SIM_FRAME_DELAYED] = 0.02,
    [SIM_FRAME_REORDERED] = 0.02,
    [SIM_CONN_CUT] = 0.005,
    [SIM_PARTITION] = 0.002,
    [SIM_CRASH] = 0.0006,
    [SIM_WRITE_TORN] = 0.3,
    [SIM_WRITE_DROPPED] = 0.3,
    [SIM_NAME_DROPPED] = 0.5,
    [SIM_STALL] = 0.0005,
    [SIM_PARTITION_ONE_WAY] = 0.001,
    [SIM_FRAME_DUPLICATED] = 0.005,
    [SIM_DISK_STALL] = 0.0005,
    [SIM_DISK_FULL] = 0.0003,
    [SIM_PAUSE] = 0.0001,
    [SIM_CLOCK_JUMP] = 0.0001,
    [SIM_PREEMPT] = 0.02,
};

static void world_set_faults(struct sim_options *so, struct rng *rng) {
    for (unsigned f = 0; f < SIM_FAULT_COUNT; f++)
        so->fault_rate[f] =
            rng_chance(rng, 0.3) ? 0 : world_fault_rates[f] * (0.2 + 1.6 * rng_unit(rng));
}

static void world_choose(struct world *w, struct rng *rng) {
    struct world_options *o = &w->options;
    static const unsigned sizes[] = {3, 3, 3, 4, 5, 5, 7, 9}, factors[] = {1, 2, 3, 3};
    if (o->nodes == 0) o->nodes = sizes[rng_below(rng, ARRAY_LEN(sizes))];
    if (o->replication_factor == 0)
        o->replication_factor = factors[rng_below(rng, ARRAY_LEN(factors))];
    unsigned zones = 1 + (unsigned)rng_below(rng, 3);
    for (unsigned i = 0; i < WORLD_NODES_MAX; i++)
        snprintf(w->zones[i], sizeof w->zones[i], zones == 1 ? "" : "z%u", i % zones);
}

bool world_run(struct world *w, const struct world_options *options) {
    double before = differences();
    *w = (struct world){.options = *options, .value_next = 1};
    list_init(&w->clients);
    struct rng rng;
    rng_init(&rng, options->seed ^ 0x77);
    world_choose(w, &rng);
    struct sim_options so = {.seed = options->seed,
                             .nodes_count = WORLD_NODES_MAX,
                             .cores_per_node = options->cores,
                             .down_max = w->options.nodes - 1,
                             .crashed = on_crashed,
                             .ctx = w};
    if (options->faults) world_set_faults(&so, &rng);
    for (unsigned f = 0; f < SIM_FAULT_COUNT; f++)
        if (options->faults_off >> f & 1) so.fault_rate[f] = 0;
    w->sim = sim_new(&so);
    world_name_nodes(w);
    for (unsigned s = 0; s < WORLD_SERIES; s++) {
        w->series[s].samples = calloc(WORLD_SAMPLES_MAX, sizeof *w->series[s].samples);
        assert(w->series[s].samples != NULL);
    }
    w->wall_base_ms = WALL_BASE_MS;
    for (unsigned i = 0; i < w->options.nodes && w->failure[0] == '\0'; i++)
        world_start_node(w, i);
    sim_after(w->sim, 1, on_tick, w);
    if (options->plans) world_plan_troubles(w);
    sim_run(w->sim, has_failed, w, options->duration_ms);
    if (w->failure[0] == '\0') world_close(w);
    if (w->failure[0] == '\0' && w->thin.left_out == 0 && differences() != before)
        world_fail(w, "replicas found a difference that nobody had made");
    if (w->failure[0] == '\0' && differences() == before && world_thin_must_be_seen(w))
        world_fail(w, "shard %" PRIu32 " had %" PRIu64 " samples less at a node, and nobody saw it",
                   w->thin.shard, w->thin.left_out);
    bool ok = w->failure[0] == '\0';
    if (!ok && options->verbose) world_describe(w);
    world_free(w);
    return ok;
}
