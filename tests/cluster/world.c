/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/cluster/world.h"

#include <assert.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tests/sim/sim.h"

enum { TICK_MS = 40, CLOSING_LIMIT_MS = 120000 };

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

/* -- nodes */

static void node_up(struct world *w, unsigned i) {
    struct runtime *rt = sim_start(w->sim, i);
    struct node_options o = {
        .data_dir = "data",
        .cluster_name = "sim",
        .discovery = w->discovery,
        .listen_addr = sim_addr(w->sim, i),
        .advertise_addr = sim_addr(w->sim, i),
        .shards_count = 24,
        .replication_factor = 1,
        .out_of_order_window_ms = 30 * 60 * 1000,
        .log_file_bytes_max = 16 << 10,
        .wal_sync_always = true,
        .query_timeout_ms = 8000,
        .query_concurrency = 4,
    };
    struct err err = {0};
    struct node *node = NULL;
    enum status st = node_open(rt, &o, &node, &err);
    if (st == OK) st = node_start(node, &err);
    if (st == OK) {
        w->nodes[i] = node;
        return;
    }
    node_free(node);
    if (st != ERR_IO)
        world_fail(w, "node %u did not start: %s", i,
                   err.msg); /* ERR_IO: the power went meanwhile */
}

static void restart_run(void *ctx) {
    struct restart *r = ctx;
    struct world *w = r->w;
    unsigned node = r->node;
    free(r);
    w->restart_planned[node] = false;
    if (w->nodes[node] != NULL || sim_is_up(w->sim, node)) return;
    w->restarts++;
    node_up(w, node);
}

static void plan_restart(struct world *w, unsigned node, uint64_t delay_ms) {
    if (w->restart_planned[node]) return;
    struct restart *r = malloc(sizeof *r);
    assert(r != NULL);
    *r = (struct restart){w, node};
    w->restart_planned[node] = true;
    sim_after(w->sim, delay_ms, restart_run, r);
}

static void on_crashed(void *ctx, unsigned node) {
    struct world *w = ctx;
    node_free(w->nodes[node]);
    w->nodes[node] = NULL;
    clients_drop(w, node);
    plan_restart(w, node, 5 + rng_below(sim_rng(w->sim), 3000));
}

/* -- the workload */

static void on_tick(void *ctx) {
    struct world *w = ctx;
    if (w->quiet) return;
    struct rng *rng = sim_rng(w->sim);
    sim_after(w->sim, 1 + rng_below(rng, TICK_MS), on_tick, w);
    unsigned node = (unsigned)rng_below(rng, w->options.nodes);
    if (w->nodes[node] == NULL) return;
    if (rng_chance(rng, 0.75))
        client_write_start(w, node);
    else
        client_query_start(w, node, false);
}

/* -- the end: faults off, everybody up, every node must answer completely and hold all that was
 * acknowledged */

static void closing_tick(void *ctx) {
    struct world *w = ctx;
    if (w->failure[0] != '\0' || w->all_verified) return;
    bool up = true;
    for (unsigned i = 0; i < w->options.nodes; i++) {
        up = up && w->nodes[i] != NULL;
        if (w->nodes[i] == NULL && !sim_is_up(w->sim, i)) plan_restart(w, i, 1);
    }
    if (!up || !list_is_empty(&w->clients)) {
        sim_after(w->sim, 50, closing_tick, w);
        return;
    }
    if (w->closing_left == 0) {
        w->all_verified = true;
        return;
    }
    client_query_start(w, w->closing_left - 1,
                       true); /* counts closing_left down when it was complete */
    sim_after(w->sim, 50, closing_tick, w);
}

static bool is_over(void *ctx) {
    struct world *w = ctx;
    return w->failure[0] != '\0' || w->all_verified;
}

static bool has_failed(void *ctx) {
    return ((struct world *)ctx)->failure[0] != '\0';
}

static void world_close(struct world *w) {
    w->quiet = true;
    w->closing_left = w->options.nodes;
    sim_set_faults(w->sim, false);
    sim_after(w->sim, 1, closing_tick, w);
    if (!sim_run(w->sim, is_over, w, sim_now_ms(w->sim) + CLOSING_LIMIT_MS))
        world_fail(w, "no complete answer from every node within %d ms without faults",
                   CLOSING_LIMIT_MS);
}

static void world_free(struct world *w) {
    for (unsigned i = 0; i < w->options.nodes; i++) {
        sim_kill(w->sim, i);
        node_free(w->nodes[i]);
        w->nodes[i] = NULL;
        clients_drop(w, i);
    }
    for (unsigned s = 0; s < WORLD_SERIES; s++)
        free(w->series[s].samples);
}

const double world_fault_rates[SIM_FAULT_COUNT] = {
    [SIM_FRAME_LOST] = 0.01, [SIM_FRAME_DELAYED] = 0.02, [SIM_FRAME_REORDERED] = 0.02,
    [SIM_CONN_CUT] = 0.005,  [SIM_PARTITION] = 0.002,    [SIM_CRASH] = 0.0006,
    [SIM_WRITE_TORN] = 0.3,  [SIM_WRITE_DROPPED] = 0.3,  [SIM_NAME_DROPPED] = 0.5,
    [SIM_STALL] = 0.0005,
};

static void world_set_faults(struct sim_options *so, struct rng *rng) {
    for (unsigned f = 0; f < SIM_FAULT_COUNT; f++)
        so->fault_rate[f] =
            rng_chance(rng, 0.3) ? 0 : world_fault_rates[f] * (0.2 + 1.6 * rng_unit(rng));
}

bool world_run(struct world *w, const struct world_options *options) {
    *w = (struct world){.options = *options, .value_next = 1};
    list_init(&w->clients);
    struct rng rng;
    rng_init(&rng, options->seed ^ 0x77);
    struct sim_options so = {.seed = options->seed,
                             .nodes_count = options->nodes,
                             .cores_per_node = options->cores,
                             .down_max = options->nodes - 1,
                             .crashed = on_crashed,
                             .ctx = w};
    if (options->faults) world_set_faults(&so, &rng);
    w->sim = sim_new(&so);
    size_t used = (size_t)snprintf(w->discovery, sizeof w->discovery, "static:");
    for (unsigned i = 0; i < options->nodes; i++)
        used += (size_t)snprintf(w->discovery + used, sizeof w->discovery - used, "%s%s",
                                 i == 0 ? "" : ",", sim_addr(w->sim, i));
    for (unsigned s = 0; s < WORLD_SERIES; s++) {
        w->series[s].samples = calloc(WORLD_SAMPLES_MAX, sizeof *w->series[s].samples);
        assert(w->series[s].samples != NULL);
    }
    for (unsigned i = 0; i < options->nodes && w->failure[0] == '\0'; i++)
        node_up(w, i);
    sim_after(w->sim, 1, on_tick, w);
    sim_run(w->sim, has_failed, w, options->duration_ms);
    if (w->failure[0] == '\0') world_close(w);
    bool ok = w->failure[0] == '\0';
    world_free(w);
    return ok;
}
