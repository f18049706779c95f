/* SPDX-License-Identifier: Apache-2.0 */
/* Troubles by plan: what chance alone would hardly bring about. */
#include <assert.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "storage/archive/block_list.h"
#include "tests/cluster/world.h"

const char *const world_plan_names[PLAN_COUNT] = {
    "join",      "drain",           "wipe",        "all_down_and_moved", "fulls_down",
    "rot",       "rolling_restart", "cut_primary", "power_at_ack",       "blink",
    "fill_dies", "disk_error"};
enum { LOOK_MS = 200, WIPE_STALL_MS = 400, CALM_LIMIT_MS = 60000 };

/* For who looks for the cause of a failure, between the maps. */
static void plan_tell(const struct world *w, enum world_plan plan, unsigned node) {
    if (w->options.shard_told == 0) return;
    fprintf(stderr, "%" PRIu64 " ms plan %s, node %u\n", sim_now_ms(w->sim), world_plan_names[plan],
            node);
}

static unsigned any_other(struct world *w, unsigned a);
static void cut_strike(struct world *w, unsigned node);

static void node_kill(struct world *w, unsigned node) {
    sim_kill(w->sim, node);
    world_forget_node(w, node);
}

static bool all_serve(const struct world *w) {
    for (unsigned i = 0; i < w->nodes_count; i++)
        if (!w->retired[i] && !world_node_serves(w, i)) return false;
    return true;
}

/* -- more nodes */

static void plan_join(struct world *w) {
    if (w->nodes_count >= WORLD_NODES_MAX || w->nodes_count >= w->options.nodes + 2) return;
    w->plans[PLAN_JOIN]++;
    world_start_node(w, w->nodes_count);
}

/* -- fewer nodes */

static void drain_asked(struct core *here, struct admin_call *call) {
    (void)here;
    struct world *w = container_of(call, struct world, drain_call);
    buf_fini(&call->answer);
    w->drain_asked = false;
}

static void drain_ask(struct world *w, unsigned node) {
    if (w->drain_asked) return;
    w->drain_asked = true;
    w->drain_call = (struct admin_call){
        .verb = ADMIN_DRAIN, .node = node_self(w->nodes[node]), .done = drain_asked};
    struct core *core = store_core(node_store(w->nodes[node], 0));
    core_set_current(core);
    member_admin(node_member(w->nodes[node]), core, &w->drain_call);
    core_set_current(NULL);
}

/* The node that was asked is dead, and the answer with it. */
void world_drain_forget(struct world *w, unsigned node) {
    if (w->draining != node + 1 || !w->drain_asked) return;
    buf_fini(&w->drain_call.answer);
    w->drain_asked = false;
}

static void drain_look(void *ctx) {
    struct world *w = ctx;
    if (w->draining == 0 || w->failure[0] != '\0' || w->quiet) return;
    unsigned node = w->draining - 1;
    if (w->nodes[node] != NULL && world_node_serves(w, node)) drain_ask(w, node);
    bool gone = w->nodes[node] != NULL && node_was_removed(w->nodes[node]);
    if (gone) {
        w->plans[PLAN_DRAIN]++;
        plan_tell(w, PLAN_DRAIN, node);
        w->retired[node] = true;
        node_kill(w, node);
        w->draining = 0;
        return;
    }
    sim_after(w->sim, LOOK_MS * 5, drain_look, w);
}

static void plan_drain(struct world *w) {
    unsigned left = 0;
    for (unsigned i = 0; i < w->nodes_count; i++)
        left += !w->retired[i];
    if (w->draining != 0 || w->rotten != 0 || left < 4) return;
    unsigned node = (unsigned)rng_below(sim_rng(w->sim), w->nodes_count);
    if (w->retired[node] || !world_node_serves(w, node)) return;
    w->draining = node + 1;
    drain_look(w);
}

/* -- a node comes back with an empty disk: no data may be lost when all was whole before */

/* The controller has answered each lately: it is not about to take out another node. */
static bool all_ready(const struct world *w) {
    for (unsigned i = 0; i < w->nodes_count; i++)
        if (!w->retired[i] && (!world_node_serves(w, i) || !node_is_ready(w->nodes[i], NULL)))
            return false;
    return true;
}

/* The power goes everywhere, and one disk with it: what was acknowledged is durable elsewhere. */
static void wipe_cut_others(struct world *w, unsigned wiped) {
    sim_set_faults(w->sim, true); /* so that unsynced writes may be lost */
    for (unsigned i = 0; i < w->nodes_count; i++) {
        if (i == wiped || w->retired[i] || !sim_is_up(w->sim, i)) continue;
        world_plan_restart(w, i, 1 + rng_below(sim_rng(w->sim), 300));
        sim_crash(w->sim, i);
    }
    sim_set_faults(w->sim, false);
}

static void wipe_strike(void *ctx) {
    struct world *w = ctx;
    unsigned node = w->wiping;
    if (w->failure[0] != '\0' || w->nodes[node] == NULL || w->rotten != 0) return;
    w->plans[PLAN_WIPE]++;
    plan_tell(w, PLAN_WIPE, node);
    node_kill(w, node);
    if (w->wipe_cuts) wipe_cut_others(w, node);
    sim_disk_wipe(w->sim, node);
    w->wiped[node] = true;
    world_plan_restart(w, node, 1 + rng_below(sim_rng(w->sim), 5000));
}

static void wipe_look(void *ctx) {
    struct world *w = ctx;
    if (w->failure[0] != '\0' || w->quiet || w->rotten != 0) return;
    world_look_at_maps(w);
    if (!all_ready(w) || !world_is_whole(w)) {
        sim_after(w->sim, LOOK_MS, wipe_look, w);
        return;
    }
    w->wiping = (unsigned)rng_below(sim_rng(w->sim), w->nodes_count);
    if (w->retired[w->wiping]) return;
    if (!rng_chance(sim_rng(w->sim), 0.5)) {
        wipe_strike(w);
        return;
    }
    /* First the others' disks hang for a while, so that much is written there and not synced. */
    for (unsigned i = 0; i < w->nodes_count; i++)
        if (i != w->wiping && !w->retired[i]) sim_disk_stall(w->sim, i, 2 * WIPE_STALL_MS);
    w->wipe_cuts = true;
    sim_after(w->sim, WIPE_STALL_MS, wipe_strike, w);
}

static void plan_wipe(struct world *w) {
    if (w->options.replication_factor < 2 || w->draining != 0 || w->rotten != 0) return;
    w->calm = true; /* for the rest of the run: only one loss can be survived */
    sim_set_faults(w->sim, false);
    wipe_look(w);
}

/* -- a disk that changes bits: what else it takes is repaired from the other replicas */

static void rot_crash(void *ctx) {
    struct world *w = ctx;
    unsigned node = (unsigned)rng_below(sim_rng(w->sim), w->nodes_count);
    if (w->failure[0] == '\0' && !w->all_verified && !w->retired[node] && sim_is_up(w->sim, node))
        sim_crash(w->sim, node);
}

/* false: it has no blocks yet. cut: another node with shards of it returns with what nobody has
 * acknowledged, and has the last good copy. Without, each of the others may return so, by another
 * plan. Who does must have in blocks what the rotten one has: what is in a diverged log cannot be
 * told from what was never acknowledged. */
static bool rot_strike(struct world *w, unsigned node, bool cut) {
    struct rng *rng = sim_rng(w->sim);
    unsigned other = cut ? any_other(w, node) : WORLD_NODES_MAX;
    if (cut && (other >= WORLD_NODES_MAX || !world_has_closed(w, node, other))) return false;
    if (!cut && !w->quiet && !world_have_closed(w, node)) return false;
    if (!sim_disk_rot(w->sim, node, "data/blocks", ".block")) return false;
    w->plans[PLAN_ROT]++;
    plan_tell(w, PLAN_ROT, node);
    w->rotten = node + 1;
    while (rng_chance(rng, 0.5))
        sim_disk_rot(w->sim, node, "data/blocks", ".block");
    if (cut) cut_strike(w, other);
    while (rng_chance(rng, 0.4)) /* while it is being repaired */
        sim_after(w->sim, rng_below(rng, 9000), rot_crash, w);
    return true;
}

static void rot_look(void *ctx) {
    struct world *w = ctx;
    if (w->failure[0] != '\0' || w->quiet || w->plans[PLAN_WIPE] > 0 || w->draining != 0) return;
    world_look_at_maps(w);
    unsigned node = (unsigned)rng_below(sim_rng(w->sim), w->nodes_count);
    if (!all_ready(w) || !world_is_whole(w) || w->retired[node] ||
        !rot_strike(w, node, w->rot_cuts))
        sim_after(w->sim, LOOK_MS, rot_look, w);
}

static void plan_rot(struct world *w) {
    if (w->options.replication_factor < 2) return;
    w->calm = true; /* as for a wiped disk */
    w->rot_cuts = rng_chance(sim_rng(w->sim), 0.5);
    sim_set_faults(w->sim, false);
    rot_look(w);
}

void world_rot_last(struct world *w) {
    unsigned node = (unsigned)rng_below(sim_rng(w->sim), w->nodes_count);
    if (w->options.replication_factor >= 2 && !w->retired[node]) rot_strike(w, node, false);
}

static bool is_sound(const struct block_list *list) {
    struct err err;
    for (uint32_t i = 0; list != NULL && i < list->count; i++)
        if (list->blocks[i].block == NULL || block_verify(list->blocks[i].block, NULL, &err) != OK)
            return false;
    return true;
}

bool world_rot_is_over(struct world *w) {
    for (unsigned i = 0; i < w->nodes_count && w->rotten != 0; i++) {
        if (w->nodes[i] == NULL || is_sound(store_blocks(node_store(w->nodes[i], 0)))) continue;
        snprintf(w->waiting_for, sizeof w->waiting_for, "node %u has a bad block", i);
        return false;
    }
    return true;
}

/* -- many at once */

static void plan_all_down(struct world *w) {
    w->plans[PLAN_ALL_DOWN]++;
    plan_tell(w, PLAN_ALL_DOWN, w->nodes_count);
    for (unsigned i = 0; i < w->nodes_count; i++) {
        if (!w->retired[i] && sim_is_up(w->sim, i)) sim_crash(w->sim, i);
        if (!w->retired[i]) sim_move(w->sim, i);
    }
    world_name_nodes(w);
}

static void plan_fulls_down(struct world *w) {
    if (w->map == NULL) return;
    const struct ring_shard *shard =
        &w->map->shards[rng_below(sim_rng(w->sim), w->map->settings.shards_count)];
    w->plans[PLAN_FULLS_DOWN]++;
    for (unsigned r = 0; r < shard->replicas_count; r++) {
        if (!ring_replica_is_readable(&shard->replicas[r])) continue;
        for (unsigned i = 0; i < w->nodes_count; i++)
            if (w->nodes[i] != NULL && sim_is_up(w->sim, i) &&
                node_self(w->nodes[i]) == w->map->nodes[shard->replicas[r].node].id) {
                plan_tell(w, PLAN_FULLS_DOWN, i);
                sim_crash(w->sim, i);
            }
    }
}

static void roll_look(void *ctx) {
    struct world *w = ctx;
    if (w->failure[0] != '\0' || w->quiet) return;
    if (w->rolled >= w->nodes_count) {
        w->plans[PLAN_ROLL]++;
        return;
    }
    sim_after(w->sim, LOOK_MS * 5, roll_look, w);
    if (!all_serve(w)) return;
    unsigned node = w->rolled++;
    if (w->retired[node]) return;
    plan_tell(w, PLAN_ROLL, node);
    /* a clean stop, where nothing is on its way to the log just now */
    if (w->nodes[node] != NULL && rng_chance(sim_rng(w->sim), 0.7))
        node_save_head(w->nodes[node], NULL, NULL);
    node_kill(w, node);
    world_plan_restart(w, node, 100 + rng_below(sim_rng(w->sim), 1000));
}

static void plan_roll(struct world *w) {
    w->rolled = 0;
    roll_look(w);
}

/* -- a primary of whom others have taken over, and what it sent arrives then */

/* TAKEN_OUT: it may be, since it is silent. The next epoch is not open before SLOW has an end. */
enum { TAKEN_OUT_MS = MEMBER_TIMEOUT_MS + HEARTBEAT_MS, SLOW_FROM_MS = 1600, SLOW_MS = 1800 };
enum { CUT_WRITE_MS = 15 };

static unsigned any_other(struct world *w, unsigned a) {
    unsigned from = (unsigned)rng_below(sim_rng(w->sim), w->nodes_count);
    for (unsigned i = 0; i < w->nodes_count; i++) {
        unsigned n = (from + i) % w->nodes_count;
        if (n != a && world_node_serves(w, n) && !member_is_controller(node_member(w->nodes[n])))
            return n;
    }
    return WORLD_NODES_MAX;
}

static void cut_write(void *ctx) {
    struct world *w = ctx;
    if (w->failure[0] != '\0' || w->quiet || sim_now_ms(w->sim) > w->cut_until_ms) return;
    if (world_node_serves(w, w->cut)) client_write_start(w, w->cut, WRITE_SERIES_MAX);
    sim_after(w->sim, CUT_WRITE_MS, cut_write, w);
}

/* One of those that the next epoch waits for: only the controller hears it. */
static void cut_slow(void *ctx) {
    struct world *w = ctx;
    unsigned slow = any_other(w, w->cut);
    if (w->failure[0] != '\0' || w->quiet || slow >= WORLD_NODES_MAX) return;
    for (unsigned i = 0; i < w->nodes_count; i++)
        if (i != slow && i != w->cut && w->nodes[i] != NULL && world_node_serves(w, i) &&
            !member_is_controller(node_member(w->nodes[i])))
            sim_hold(w->sim, slow, i, SLOW_MS);
}

static void cut_strike(struct world *w, unsigned node) {
    uint64_t held_ms = TAKEN_OUT_MS + rng_below(sim_rng(w->sim), 900);
    w->plans[PLAN_CUT_PRIMARY]++;
    plan_tell(w, PLAN_CUT_PRIMARY, node);
    w->cut = node;
    w->cut_until_ms = sim_now_ms(w->sim) + LEASE_MS;
    for (unsigned i = 0; i < w->nodes_count; i++)
        if (i != node) sim_hold(w->sim, node, i, held_ms);
    cut_write(w);
    sim_after(w->sim, SLOW_FROM_MS, cut_slow, w);
}

static void cut_over(void *ctx) {
    struct world *w = ctx;
    if (!w->quiet && !w->calm) sim_set_faults(w->sim, true);
}

/* When nobody else is missing: the others have to go on. */
static void cut_look(void *ctx) {
    struct world *w = ctx;
    if (w->failure[0] != '\0' || w->quiet) return;
    unsigned node = all_ready(w) ? any_other(w, WORLD_NODES_MAX) : WORLD_NODES_MAX;
    if (node >= WORLD_NODES_MAX) {
        sim_after(w->sim, LOOK_MS, cut_look, w);
        return;
    }
    cut_strike(w, node);
    sim_after(w->sim, SLOW_FROM_MS + SLOW_MS, cut_over, w);
}

static void plan_cut_primary(struct world *w) {
    sim_set_faults(w->sim, false);
    cut_look(w);
}

/* -- the power goes at the worst moment */

static void power_cut(void *ctx) {
    struct world *w = ctx;
    if (!w->power_armed) return;
    w->power_armed = false;
    if (w->failure[0] != '\0' || w->quiet) return;
    w->plans[PLAN_POWER]++;
    plan_tell(w, PLAN_POWER, w->nodes_count);
    for (unsigned i = 0; i < w->nodes_count; i++)
        if (!w->retired[i] && sim_is_up(w->sim, i)) {
            world_plan_restart(w, i, 1 + rng_below(sim_rng(w->sim), 300));
            sim_crash_bare(w->sim, i);
        }
}

void world_plan_acknowledged(struct world *w, uint64_t began_ms) {
    if (w->power_armed && began_ms >= w->power_ms) sim_after(w->sim, 0, power_cut, w);
}

/* No disk syncs for a while, so nothing that is written from now on may be acknowledged. */
static void plan_power(struct world *w) {
    enum { STALL_MS = 1000, CUT_AT_LATEST_MS = 400 };
    for (unsigned i = 0; i < w->nodes_count; i++)
        if (!w->retired[i]) sim_sync_stall(w->sim, i, STALL_MS);
    unsigned node = any_other(w, WORLD_NODES_MAX);
    if (node < WORLD_NODES_MAX) client_write_start(w, node, 1);
    w->power_armed = true;
    w->power_ms = sim_now_ms(w->sim);
    sim_after(w->sim, CUT_AT_LATEST_MS, power_cut, w);
}

/* -- a new process before the old one is missed */

static void plan_blink(struct world *w) {
    unsigned node = any_other(w, WORLD_NODES_MAX);
    if (node >= WORLD_NODES_MAX) return;
    w->plans[PLAN_BLINK]++;
    plan_tell(w, PLAN_BLINK, node);
    world_plan_restart(w, node, 1 + rng_below(sim_rng(w->sim), HEARTBEAT_MS));
    sim_crash(w->sim, node);
}

/* -- a node dies while a copy is made on it: in sync by its log alone, or not yet */

static int filling(const struct world *w) {
    for (uint32_t s = 0; w->map != NULL && s < w->map->settings.shards_count; s++)
        for (unsigned i = 0; i < w->map->shards[s].replicas_count; i++) {
            const struct ring_replica *r = &w->map->shards[s].replicas[i];
            for (unsigned n = 0; n < w->nodes_count && r->state == REPLICA_INIT; n++)
                if (world_node_serves(w, n) && node_self(w->nodes[n]) == w->map->nodes[r->node].id)
                    return (int)n;
        }
    return -1;
}

static void fill_look(void *ctx) {
    enum { FILL_LOOK_MS = 10, GONE_MS = 4000 };
    struct world *w = ctx;
    if (w->failure[0] != '\0' || w->quiet) return;
    world_look_at_maps(w);
    int node = filling(w);
    if (node < 0) {
        sim_after(w->sim, FILL_LOOK_MS, fill_look, w);
        return;
    }
    w->plans[PLAN_FILL_DIES]++;
    plan_tell(w, PLAN_FILL_DIES, (unsigned)node);
    world_plan_restart(w, (unsigned)node, GONE_MS);
    sim_crash(w->sim, (unsigned)node);
    sim_after(w->sim, GONE_MS, fill_look, w);
}

static void plan_fill_dies(struct world *w) {
    fill_look(w);
}

/* -- a disk fails; the process cannot go on, and whoever runs it starts another; and again */

static void error_look(void *ctx);

static void error_end(void *ctx) {
    struct world *w = ctx;
    unsigned node = w->broken;
    if (w->failure[0] != '\0') return;
    sim_disk_error(w->sim, node, NULL);
    sim_after(w->sim, LOOK_MS, error_look, w);
    if (w->nodes[node] == NULL || !sim_is_up(w->sim, node) || w->retired[node]) return;
    node_kill(w, node);
    world_plan_restart(w, node, 1 + rng_below(sim_rng(w->sim), 1000));
}

static void error_look(void *ctx) {
    enum { BROKEN_MS = 3500 };
    struct world *w = ctx;
    struct rng *rng = sim_rng(w->sim);
    unsigned node = (unsigned)rng_below(rng, w->nodes_count);
    bool leads = rng_chance(rng, 0.5);
    if (w->failure[0] != '\0' || w->quiet) return;
    for (unsigned i = 0; i < w->nodes_count && leads; i++)
        if (world_node_serves(w, i) && member_is_controller(node_member(w->nodes[i]))) node = i;
    if (!world_node_serves(w, node) || w->retired[node]) {
        sim_after(w->sim, LOOK_MS, error_look, w);
        return;
    }
    w->plans[PLAN_DISK_ERROR]++;
    plan_tell(w, PLAN_DISK_ERROR, node);
    w->broken = node;
    sim_disk_error(w->sim, node, rng_chance(rng, 0.7) ? "raft" : "log-");
    sim_after(w->sim, BROKEN_MS, error_end, w);
}

static void plan_disk_error(struct world *w) {
    error_look(w);
}

static void (*const plans[PLAN_COUNT])(struct world *w) = {
    [PLAN_JOIN] = plan_join,
    [PLAN_DRAIN] = plan_drain,
    [PLAN_WIPE] = plan_wipe,
    [PLAN_ALL_DOWN] = plan_all_down,
    [PLAN_FULLS_DOWN] = plan_fulls_down,
    [PLAN_ROT] = plan_rot,
    [PLAN_ROLL] = plan_roll,
    [PLAN_CUT_PRIMARY] = plan_cut_primary,
    [PLAN_POWER] = plan_power,
    [PLAN_BLINK] = plan_blink,
    [PLAN_FILL_DIES] = plan_fill_dies,
    [PLAN_DISK_ERROR] = plan_disk_error,
};

struct trouble {
    struct world *w;
    enum world_plan plan;
};

static void trouble_run(void *ctx) {
    struct trouble *t = ctx;
    struct world *w = t->w;
    enum world_plan plan = t->plan;
    free(t);
    if (w->failure[0] == '\0' && !w->quiet) plans[plan](w);
}

void world_plan_troubles(struct world *w) {
    struct rng *rng = sim_rng(w->sim);
    for (unsigned i = 0; i < PLAN_COUNT; i++) {
        if (!rng_chance(rng, i == PLAN_CUT_PRIMARY ? 0.4 : 0.25)) continue;
        struct trouble *t = malloc(sizeof *t);
        assert(t != NULL);
        *t = (struct trouble){w, (enum world_plan)i};
        sim_after(w->sim, 3000 + rng_below(rng, w->options.duration_ms * 3 / 4), trouble_run, t);
    }
}
