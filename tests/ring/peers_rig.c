/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/ring/peers_rig.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>

#include "ring/placement.h"

struct ring_map *rig_map(struct rig *rig, const char *cluster_name, uint64_t version) {
    struct placement_member members[RIG_NODES];
    for (unsigned i = 0; i < RIG_NODES; i++)
        members[i] =
            (struct placement_member){.id = 100 + i, .addr = sv_from(sim_addr(rig->sim, i))};
    struct ring_settings set = {.shards_count = 8, .replication_factor = 1, .format_level = 1};
    snprintf(set.cluster_name, sizeof set.cluster_name, "%s", cluster_name);
    memcpy(set.cluster_id, cluster_name, strnlen(cluster_name, sizeof set.cluster_id));
    struct ring_map *map = NULL;
    if (placement_make(&set, members, RIG_NODES, NULL, &map, NULL) != OK) abort();
    map->version = version;
    return map;
}

static void seat_open(struct rig_seat *seat) {
    struct rig *rig = seat->rig;
    struct peers_options o = {.map = rig->maps[seat->node],
                              .self = rig_id(seat->node),
                              .incarnation = rig->incarnations[seat->node],
                              .listen_addr = sim_addr(rig->sim, seat->node),
                              .addr = sim_addr(rig->sim, seat->node),
                              .cluster_name = "one",
                              .learned = rig->learned,
                              .ctx = seat};
    if (rig->secrets[seat->node] != NULL) o.secret = sv_from(rig->secrets[seat->node]);
    struct err err;
    core_set_current(seat->core);
    if (peers_new(seat->core, &o, &seat->peers, &err) != OK) abort();
    if (rig->up != NULL) rig->up(seat);
    if (peers_start(seat->peers, &err) != OK) {
        fprintf(stderr, "%s\n", err.msg);
        abort();
    }
    core_set_current(NULL);
}

void rig_start(struct rig *rig, unsigned node) {
    struct runtime *rt = sim_start(rig->sim, node);
    rig->incarnations[node]++;
    for (unsigned i = 0; i < RIG_CORES; i++) {
        struct rig_seat *seat = &rig->seats[node][i];
        *seat = (struct rig_seat){.rig = rig, .node = node, .core_index = i, .core = rt->cores[i]};
        seat_open(seat);
    }
}

static void rig_bury(struct rig *rig, unsigned node) {
    for (unsigned i = 0; i < RIG_CORES; i++) {
        struct rig_seat *seat = &rig->seats[node][i];
        if (seat->peers == NULL) continue;
        core_set_current(seat->core);
        if (rig->down != NULL) rig->down(seat);
        peers_free(seat->peers);
        seat->peers = NULL;
        core_set_current(NULL);
    }
}

struct restart {
    struct rig *rig;
    unsigned node;
};

static void rig_on_restart(void *ctx) {
    struct restart *r = ctx;
    rig_start(r->rig, r->node);
    free(r);
}

static void rig_on_crashed(void *ctx, unsigned node) {
    struct rig *rig = ctx;
    rig_bury(rig, node);
    if (rig->restart_ms_max == 0) return;
    struct restart *r = malloc(sizeof *r);
    if (r == NULL) abort();
    *r = (struct restart){rig, node};
    sim_after(rig->sim, 1 + rng_below(sim_rng(rig->sim), rig->restart_ms_max), rig_on_restart, r);
}

void rig_open(struct rig *rig, const struct sim_options *options) {
    struct sim_options o = *options;
    o.nodes_count = RIG_NODES;
    o.cores_per_node = RIG_CORES;
    o.crashed = rig_on_crashed;
    o.ctx = rig;
    rig->sim = sim_new(&o);
    struct ring_map *map = rig_map(rig, "one", 1);
    for (unsigned i = 0; i < RIG_NODES; i++)
        rig->maps[i] = ring_map_ref(map);
    ring_map_unref(map);
}

void rig_kill(struct rig *rig, unsigned node) {
    sim_kill(rig->sim, node);
    rig_bury(rig, node);
}

void rig_close(struct rig *rig) {
    for (unsigned i = 0; i < RIG_NODES; i++) {
        if (sim_is_up(rig->sim, i)) rig_kill(rig, i);
        ring_map_unref(rig->maps[i]);
    }
    sim_free(rig->sim);
}

static bool never(void *ctx) {
    (void)ctx;
    return false;
}

void rig_run(struct rig *rig, uint64_t ms) {
    sim_run(rig->sim, never, NULL, sim_now_ms(rig->sim) + ms);
}

static void seat_on_closed(struct peers *peers, void *ctx) {
    struct rig_seat *seat = ctx;
    assert(seat->peers == peers && !seat->closed && core_is_current(seat->core));
    seat->closed = true;
}

static bool all_closed(void *ctx) {
    struct rig *rig = ctx;
    for (unsigned n = 0; n < RIG_NODES; n++)
        for (unsigned i = 0; i < RIG_CORES; i++)
            if (rig->seats[n][i].peers != NULL && !rig->seats[n][i].closed) return false;
    return true;
}

void rig_stop(struct rig *rig) {
    for (unsigned n = 0; n < RIG_NODES; n++)
        for (unsigned i = 0; i < RIG_CORES; i++) {
            struct rig_seat *seat = &rig->seats[n][i];
            if (seat->peers == NULL) continue;
            core_set_current(seat->core);
            peers_stop(seat->peers, seat_on_closed, seat);
            assert(!seat->closed); /* never from inside */
            core_set_current(NULL);
        }
    bool done = sim_run(rig->sim, all_closed, rig, sim_now_ms(rig->sim) + 10000);
    assert(done);
}
