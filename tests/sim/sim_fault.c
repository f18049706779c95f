/* SPDX-License-Identifier: Apache-2.0 */
#include <assert.h>

#include "tests/sim/internal.h"

#define US 1000ULL
#define MS 1000000ULL
#define CLOCK_JUMP_MS_MAX INT64_C(600000)

const char *const sim_fault_names[SIM_FAULT_COUNT] = {
    [SIM_FRAME_LOST] = "frame_lost",
    [SIM_FRAME_DELAYED] = "frame_delayed",
    [SIM_FRAME_REORDERED] = "frame_reordered",
    [SIM_CONN_CUT] = "conn_cut",
    [SIM_PARTITION] = "partition",
    [SIM_CRASH] = "crash",
    [SIM_WRITE_TORN] = "write_torn",
    [SIM_WRITE_DROPPED] = "write_dropped",
    [SIM_NAME_DROPPED] = "name_dropped",
    [SIM_STALL] = "stall",
    [SIM_PARTITION_ONE_WAY] = "partition_one_way",
    [SIM_FRAME_DUPLICATED] = "frame_duplicated",
    [SIM_DISK_STALL] = "disk_stall",
    [SIM_DISK_FULL] = "disk_full",
    [SIM_PAUSE] = "pause",
    [SIM_CLOCK_JUMP] = "clock_jump",
    [SIM_PREEMPT] = "preempt",
};

bool sim_draws(struct sim *sim, enum sim_fault fault) {
    double rate = sim->options.fault_rate[fault];
    return rate > 0 && sim->faults_on && rng_chance(&sim->fault, rate);
}

bool sim_strikes(struct sim *sim, enum sim_fault fault) {
    if (!sim_draws(sim, fault)) return false;
    sim->totals[fault]++;
    return true;
}

uint64_t sim_between(struct sim *sim, uint64_t low, uint64_t high) {
    assert(low < high);
    return low + rng_below(&sim->fault, high - low);
}

const struct sim_partition *sim_partition_get(struct sim *sim, unsigned a, unsigned b) {
    const struct sim_partition *p = &sim->partitions[a][b];
    return p->heal_ns > sim->now_ns ? p : NULL;
}

static void partition_pair(struct sim *sim, unsigned a, unsigned b, struct sim_partition p) {
    sim->partitions[a][b] = sim->partitions[b][a] = p;
    if (!p.holds) sim_net_cut_between(&sim->nodes[a], &sim->nodes[b]);
}

static void partition_plan(struct sim *sim, unsigned a, unsigned b, uint64_t duration_ms,
                           bool holds) {
    assert(a != b && a < sim->options.nodes_count && b < sim->options.nodes_count);
    if (duration_ms == 0) {
        sim->partitions[a][b] = sim->partitions[b][a] = (struct sim_partition){0};
        return;
    }
    sim->totals[SIM_PARTITION]++;
    partition_pair(
        sim, a, b,
        (struct sim_partition){.heal_ns = sim->now_ns + duration_ms * MS, .holds = holds});
}

void sim_partition(struct sim *sim, unsigned a, unsigned b, uint64_t duration_ms) {
    partition_plan(sim, a, b, duration_ms, rng_chance(&sim->fault, 0.5));
}

void sim_hold(struct sim *sim, unsigned a, unsigned b, uint64_t duration_ms) {
    partition_plan(sim, a, b, duration_ms, true);
}

/* Of a pair, or of one node against all others: that is what a dead switch port does. */
void sim_partition_strike(struct sim *sim, unsigned a, unsigned b) {
    bool is_long = rng_chance(&sim->fault, 0.3), is_alone = rng_chance(&sim->fault, 0.25);
    struct sim_partition p = {.heal_ns =
                                  sim->now_ns + sim_between(sim, 50, is_long ? 8000 : 1000) * MS};
    p.holds = rng_chance(&sim->fault, 0.5);
    for (unsigned i = 0; i < sim->options.nodes_count; i++)
        if (i != a && (i == b || is_alone)) partition_pair(sim, a, i, p);
}

uint64_t sim_one_way_heal_ns(struct sim *sim, unsigned from, unsigned to) {
    uint64_t heal_ns = sim->one_way_heal_ns[from][to];
    return heal_ns > sim->now_ns ? heal_ns : 0;
}

void sim_partition_one_way(struct sim *sim, unsigned from, unsigned to, uint64_t duration_ms) {
    assert(from != to && from < sim->options.nodes_count && to < sim->options.nodes_count);
    if (duration_ms > 0) sim->totals[SIM_PARTITION_ONE_WAY]++;
    sim->one_way_heal_ns[from][to] = sim->now_ns + duration_ms * MS;
    sim_net_heal(sim);
}

/* From a to b or back, or all that a node sends, or all that is sent to it. */
void sim_one_way_strike(struct sim *sim, unsigned a, unsigned b) {
    bool is_long = rng_chance(&sim->fault, 0.3), is_alone = rng_chance(&sim->fault, 0.25);
    bool is_back = rng_chance(&sim->fault, 0.5);
    uint64_t heal_ns = sim->now_ns + sim_between(sim, 50, is_long ? 30000 : 3000) * MS;
    for (unsigned i = 0; i < sim->options.nodes_count; i++)
        if (i != a && (i == b || is_alone))
            sim->one_way_heal_ns[is_back ? i : a][is_back ? a : i] = heal_ns;
}

static bool crash_is_allowed(struct sim *sim) {
    if (sim->options.down_max == 0) return true;
    unsigned down = 0;
    for (unsigned i = 0; i < sim->options.nodes_count; i++) {
        const struct sim_node *n = &sim->nodes[i];
        down += n->was_up && (n->rt == NULL || n->rt->power_lost);
    }
    return down < sim->options.down_max;
}

static void power_lose(struct sim_runtime *rt) {
    rt->power_lost = true;
    rt->sim->power_lost = true;
    sim_disk_power_off(rt->node->disk);
}

/* Half of the crashes wait for one of the node's next disk calls, since those are where it hurts.
 */
static void crash_strike(struct sim *sim, struct sim_runtime *rt) {
    struct sim_node *n = rt->node;
    if (rng_chance(&sim->fault, 0.5)) {
        if (crash_is_allowed(sim)) power_lose(rt);
        return;
    }
    n->cut_call = sim_disk_calls(n->disk) + sim_between(sim, 1, 9);
    n->cut_latest_ns = sim->now_ns + 2000 * MS;
}

void sim_fault_arm_boot(struct sim_node *node) {
    struct sim *sim = node->sim;
    if (sim->options.fault_rate[SIM_CRASH] <= 0 || !sim->faults_on) return;
    if (!rng_chance(&sim->fault, 1.0 / 16)) return;
    node->cut_call = sim_disk_calls(node->disk) + sim_between(sim, 1, 33);
    node->cut_latest_ns = sim->now_ns + 2000 * MS;
}

static void stall_strike(struct sim *sim, struct sim_runtime *rt, struct sim_core *core) {
    bool is_long = rng_chance(&sim->fault, 0.25);
    uint64_t until_ns = sim->now_ns + sim_between(sim, MS, (is_long ? 3000 : 100) * MS);
    bool is_node = rng_chance(&sim->fault, 0.5) || core == NULL;
    for (unsigned i = 0; i < rt->cores_count; i++)
        if (is_node || &rt->cores[i] == core) sim_core_block(&rt->cores[i], until_ns);
}

static void node_pause(struct sim_runtime *rt, uint64_t until_ns) {
    for (unsigned i = 0; i < rt->cores_count; i++)
        sim_core_block(&rt->cores[i], until_ns);
    if (heap_contains(&rt->resume.heap) && rt->resume.heap.key >= until_ns) return;
    sim_agenda_set(rt->sim, &rt->resume, until_ns);
    sim_work_refresh(rt);
}

void sim_pause(struct sim *sim, unsigned node, uint64_t duration_ms) {
    assert(node < sim->options.nodes_count && sim->nodes[node].rt != NULL);
    sim->totals[SIM_PAUSE]++;
    node_pause(sim->nodes[node].rt, sim->now_ns + duration_ms * MS);
}

void sim_clock_jump(struct sim *sim, unsigned node, int64_t delta_ms) {
    assert(node < sim->options.nodes_count && sim->nodes[node].rt != NULL);
    sim->totals[SIM_CLOCK_JUMP]++;
    sim->nodes[node].rt->wall_jump_ms += delta_ms;
}

static void clock_jump_strike(struct sim *sim, struct sim_runtime *rt) {
    int64_t delta_ms = (int64_t)sim_between(sim, 0, 2 * CLOCK_JUMP_MS_MAX + 1) - CLOCK_JUMP_MS_MAX;
    rt->wall_jump_ms = MAX(-CLOCK_JUMP_MS_MAX, MIN(CLOCK_JUMP_MS_MAX, rt->wall_jump_ms + delta_ms));
}

void sim_disk_stall(struct sim *sim, unsigned node, uint64_t duration_ms) {
    assert(node < sim->options.nodes_count);
    if (duration_ms > 0) sim->totals[SIM_DISK_STALL]++;
    sim->nodes[node].disk_stall_until_ns = sim->now_ns + duration_ms * MS;
}

void sim_sync_stall(struct sim *sim, unsigned node, uint64_t duration_ms) {
    assert(node < sim->options.nodes_count);
    if (duration_ms > 0) sim->totals[SIM_DISK_STALL]++;
    sim->nodes[node].sync_stall_until_ns = sim->now_ns + duration_ms * MS;
}

void sim_disk_error(struct sim *sim, unsigned node, const char *part) {
    assert(node < sim->options.nodes_count);
    sim_disk_fail_on(sim->nodes[node].disk, part);
}

void sim_disk_full(struct sim *sim, unsigned node, bool on) {
    assert(node < sim->options.nodes_count);
    if (on) sim->totals[SIM_DISK_FULL]++;
    sim->nodes[node].disk_full_until_ns = on ? UINT64_MAX : 0;
}

void sim_fault_after_event(struct sim *sim, struct sim_runtime *rt, struct sim_core *core) {
    struct sim_node *n = rt->node;
    if (!sim->faults_on) return;
    if (n->cut_call != 0) {
        if (sim->now_ns >= n->cut_latest_ns) {
            n->cut_call = 0;
            if (crash_is_allowed(sim)) power_lose(rt);
            return;
        }
    } else if (sim_draws(sim, SIM_CRASH)) {
        crash_strike(sim, rt);
    }
    if (sim_strikes(sim, SIM_STALL)) stall_strike(sim, rt, core);
    if (sim_strikes(sim, SIM_PAUSE))
        node_pause(rt, sim->now_ns + sim_between(sim, 1000, 10000) * MS);
    if (sim_strikes(sim, SIM_CLOCK_JUMP)) clock_jump_strike(sim, rt);
}

uint64_t sim_preempt_ns(struct sim *sim) {
    if (!sim_strikes(sim, SIM_PREEMPT)) return 0;
    bool is_long = rng_chance(&sim->fault, 0.25);
    return sim_between(sim, US, is_long ? 5 * MS : 100 * US);
}

/* What a call of the disk takes: the core that waits for it runs nothing else. */
static uint64_t disk_call_ns(struct sim *sim, enum sim_disk_call call, size_t len) {
    switch (call) {
    case SIM_DISK_WRITE: return 3 * US + len / 2;
    case SIM_DISK_TRUNCATE: return 3 * US;
    case SIM_DISK_CREATE:
    case SIM_DISK_NAME: return 5 * US;
    case SIM_DISK_SYNC:
    case SIM_DISK_SYNC_DIR: break;
    }
    uint64_t slowest_us = rng_below(&sim->sched, 64) == 0 ? 30000 : 2000;
    return (100 + rng_below(&sim->sched, slowest_us)) * US;
}

static uint64_t disk_stall_ns(struct sim *sim, struct sim_node *n, enum sim_disk_call call) {
    uint64_t seen_ns = sim_seen_ns(sim, n->rt);
    if (sim_strikes(sim, SIM_DISK_STALL))
        n->disk_stall_until_ns = seen_ns + sim_between(sim, 1000, 8000) * MS;
    uint64_t until_ns = n->disk_stall_until_ns;
    if (call == SIM_DISK_SYNC) until_ns = MAX(until_ns, n->sync_stall_until_ns);
    return until_ns > seen_ns ? until_ns - seen_ns : 0;
}

static bool disk_is_full(void *ctx) {
    const struct sim_node *n = ctx;
    return n->disk_full_until_ns > n->sim->now_ns;
}

static uint64_t disk_now_ns(void *ctx) {
    const struct sim_node *n = ctx;
    return n->rt == NULL ? n->sim->now_ns : sim_seen_ns(n->sim, n->rt);
}

static bool disk_called(void *ctx, enum sim_disk_call call, size_t len) {
    struct sim_node *n = ctx;
    struct sim *sim = n->sim;
    struct sim_runtime *rt = n->rt;
    if (rt == NULL || rt->power_lost) return false;
    if (sim->running != NULL && sim->running->rt == rt) {
        /* node/runtime/disk.h: never from a data core's handler. */
        assert(&sim->running->core == rt->rt.log_core);
        sim->running->blocked_ns += disk_call_ns(sim, call, len) + disk_stall_ns(sim, n, call);
    }
    if (sim_strikes(sim, SIM_DISK_FULL))
        n->disk_full_until_ns = sim->now_ns + sim_between(sim, 500, 20000) * MS;
    sim_fold(sim, (uint64_t)call | n->index << 8 | (uint64_t)len << 16);
    if (n->cut_call == 0 || sim_disk_calls(n->disk) < n->cut_call) return false;
    n->cut_call = 0;
    if (!crash_is_allowed(sim)) return false;
    power_lose(rt);
    return true;
}

static void disk_rates_set(struct sim *sim, struct sim_disk *d) {
    const double *rate = sim->options.fault_rate;
    sim_disk_set_rates(d, sim->faults_on
                              ? (struct sim_disk_rates){.torn = rate[SIM_WRITE_TORN],
                                                        .dropped = rate[SIM_WRITE_DROPPED],
                                                        .name = rate[SIM_NAME_DROPPED]}
                              : (struct sim_disk_rates){0});
}

void sim_fault_attach_disk(struct sim_node *node) {
    sim_disk_watch(node->disk,
                   (struct sim_disk_watch){disk_called, disk_is_full, disk_now_ns, node});
    disk_rates_set(node->sim, node->disk);
}

void sim_set_faults(struct sim *sim, bool on) {
    sim->faults_on = on;
    for (unsigned a = 0; a < sim->options.nodes_count; a++) {
        disk_rates_set(sim, sim->nodes[a].disk);
        if (on) continue;
        sim->nodes[a].cut_call = 0;
        sim->nodes[a].disk_stall_until_ns = sim->nodes[a].sync_stall_until_ns = 0;
        sim->nodes[a].disk_full_until_ns = 0;
        if (sim->nodes[a].rt != NULL) sim->nodes[a].rt->wall_jump_ms = 0;
        for (unsigned b = 0; b < sim->options.nodes_count; b++) {
            sim->partitions[a][b] = (struct sim_partition){0};
            sim->one_way_heal_ns[a][b] = 0;
        }
    }
    sim_net_heal(sim);
}

uint64_t sim_fault_total(struct sim *sim, enum sim_fault fault) {
    uint64_t total = sim->totals[fault];
    for (unsigned i = 0; i < sim->options.nodes_count; i++)
        total += sim_disk_total(sim->nodes[i].disk, fault);
    return total;
}
