/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/sim/sim.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>

#include "tests/sim/internal.h"

enum {
    SIM_EVENT_NS_MIN = 200,
    SIM_EVENT_NS_MASK = 0xfff,      /* an event takes 0.2 to 4.3 us of virtual time */
    SIM_RESHUFFLE_EVENTS = 1 << 10, /* biased schedules change their favourites this often */
};

void *sim_zalloc(size_t size) {
    void *p = calloc(1, size);
    if (p == NULL) abort();
    return p;
}

void *sim_grow(void *ptr, size_t *cap, size_t count, size_t size) {
    if (count < *cap) return ptr;
    *cap = *cap == 0 ? 16 : *cap * 2;
    ptr = realloc(ptr, *cap * size);
    if (ptr == NULL) abort();
    return ptr;
}

void sim_slot_init(struct sim_slot *slot, enum sim_kind kind, struct sim_runtime *rt,
                   struct sim_core *core) {
    *slot = (struct sim_slot){.kind = kind, .ready_index = UINT32_MAX, .core = core, .rt = rt};
}

void sim_slot_set(struct sim *sim, struct sim_slot *slot, bool ready) {
    if (ready == (slot->ready_index != UINT32_MAX)) return;
    if (ready) {
        sim->ready = sim_grow(sim->ready, &sim->ready_cap, sim->ready_count, sizeof *sim->ready);
        slot->ready_index = (uint32_t)sim->ready_count;
        sim->ready[sim->ready_count++] = slot;
        return;
    }
    struct sim_slot *last = sim->ready[--sim->ready_count];
    sim->ready[slot->ready_index] = last;
    last->ready_index = slot->ready_index;
    slot->ready_index = UINT32_MAX;
}

void sim_agenda_set(struct sim *sim, struct sim_agenda *a, uint64_t due_ns) {
    if (heap_contains(&a->heap)) {
        if (a->heap.key == due_ns) return;
        heap_remove(&sim->agenda, &a->heap);
    }
    if (heap_push(&sim->agenda, &a->heap, due_ns) != OK) abort();
}

void sim_agenda_drop(struct sim *sim, struct sim_agenda *a) {
    if (heap_contains(&a->heap)) heap_remove(&sim->agenda, &a->heap);
}

void sim_core_refresh(struct sim_core *core) {
    struct sim *sim = core->rt->sim;
    bool runs = !core->busy && !core->rt->dead;
    sim_slot_set(sim, &core->mail, runs && core->mail_first != NULL);
    sim_slot_set(sim, &core->packets, runs && core->packet_first != NULL);
    sim_slot_set(sim, &core->timers, runs && core->timer_is_due);
}

void sim_core_block(struct sim_core *core, uint64_t until_ns) {
    struct sim *sim = core->rt->sim;
    if (core->busy && core->wake.heap.key >= until_ns) return;
    core->busy = true;
    sim_agenda_set(sim, &core->wake, until_ns);
    sim_core_refresh(core);
    if (core->packet_first != NULL) sim_net_blocked(core);
}

uint64_t sim_seen_ns(const struct sim *sim, const struct sim_runtime *rt) {
    return sim->running != NULL && sim->running->rt == rt ? sim->now_ns + sim->running->blocked_ns
                                                          : sim->now_ns;
}

static void sim_due(struct sim *sim, struct sim_agenda *a) {
    struct sim_core *core;
    switch (a->kind) {
    case SIM_AGENDA_TIMER:
        core = container_of(a, struct sim_core, timer_due);
        core->timer_is_due = true;
        sim_core_refresh(core);
        break;
    case SIM_AGENDA_WAKE:
        core = container_of(a, struct sim_core, wake);
        core->busy = false;
        sim_outbox_flush(core);
        sim_core_refresh(core);
        break;
    case SIM_AGENDA_RESUME: sim_work_refresh(container_of(a, struct sim_runtime, resume)); break;
    case SIM_AGENDA_PACKET: sim_net_arrive(sim, sim_packet_of(a)); break;
    case SIM_AGENDA_CALL: {
        struct sim_call *call = container_of(a, struct sim_call, agenda);
        call->next = NULL;
        if (sim->call_first == NULL)
            sim->call_first = call;
        else
            sim->call_last->next = call;
        sim->call_last = call;
        sim_slot_set(sim, &sim->call_slot, true);
        break;
    }
    }
}

static void sim_call_run(struct sim *sim) {
    struct sim_call call = *sim->call_first, *old = sim->call_first;
    sim->call_first = old->next;
    if (sim->call_first == NULL) sim_slot_set(sim, &sim->call_slot, false);
    old->next = sim->calls_free;
    sim->calls_free = old;
    call.fn(call.ctx);
}

void sim_after(struct sim *sim, uint64_t delay_ms, void (*fn)(void *ctx), void *ctx) {
    struct sim_call *call = sim->calls_free;
    if (call != NULL)
        sim->calls_free = call->next;
    else
        call = sim_zalloc(sizeof *call);
    *call = (struct sim_call){.agenda.kind = SIM_AGENDA_CALL, .fn = fn, .ctx = ctx};
    heap_node_init(&call->agenda.heap);
    sim_agenda_set(sim, &call->agenda, sim->now_ns + delay_ms * 1000000);
}

static void sim_timers_run(struct sim_core *core) {
    core->timer_is_due = false;
    sim_slot_set(core->rt->sim, &core->timers, false);
    core_timers_run(&core->core, sim_mono_at(core->rt, core->rt->sim->now_ns));
    sim_timers_changed(&core->core);
}

static void sim_crash_now(struct sim *sim, unsigned node) {
    struct sim_node *n = &sim->nodes[node];
    sim_fold(sim, (uint64_t)SIM_DOWN | node << 8);
    sim_disk_power_off(n->disk);
    sim_runtime_kill(n->rt);
    n->rt->next_dead = sim->dead;
    sim->dead = n->rt;
    n->rt = NULL;
    n->cut_call = 0;
    sim_disk_restart(n->disk);
    sim->totals[SIM_CRASH]++;
    if (sim->options.crashed != NULL) sim->options.crashed(sim->options.ctx, node);
}

static void sim_crash_lost(struct sim *sim) {
    sim->power_lost = false;
    for (unsigned i = 0; i < sim->options.nodes_count; i++) {
        struct sim_runtime *rt = sim->nodes[i].rt;
        if (rt != NULL && rt->power_lost) sim_crash_now(sim, i);
    }
}

/* In a biased schedule the favourite of two draws runs, mostly; so some cores lag behind by many
 * events. */
static struct sim_slot *sim_draw(struct sim *sim, uint64_t bits) {
    struct sim_slot *slot = sim->ready[((bits >> 32) * sim->ready_count) >> 32];
    if (!sim->biased || sim->ready_count < 2 || (bits >> 12 & 3) == 0) return slot;
    struct sim_slot *other = sim->ready[rng_below(&sim->sched, sim->ready_count)];
    uint64_t a = slot->core == NULL ? 1ULL << 63 : slot->core->priority;
    uint64_t b = other->core == NULL ? 1ULL << 63 : other->core->priority;
    return b > a ? other : slot;
}

static void sim_reshuffle(struct sim *sim) {
    for (unsigned i = 0; i < sim->options.nodes_count; i++) {
        struct sim_runtime *rt = sim->nodes[i].rt;
        for (unsigned k = 0; rt != NULL && k < rt->cores_count; k++)
            rt->cores[k].priority = rng_u64(&sim->sched);
    }
}

static void sim_run_slot(struct sim *sim, struct sim_slot *slot) {
    struct sim_core *core = slot->core;
    sim->running = core;
    sim->running_rt = slot->rt;
    core_set_current(core == NULL ? NULL : &core->core);
    switch (slot->kind) {
    case SIM_MAIL: sim_mail_run(core); break;
    case SIM_PACKET: sim_net_run(core); break;
    case SIM_TIMER: sim_timers_run(core); break;
    case SIM_WORK: sim_work_run(slot->rt); break;
    case SIM_CALL: sim_call_run(sim); break;
    case SIM_DOWN:
    case SIM_UP: abort();
    }
    core_set_current(NULL);
    sim->running = NULL;
    sim->running_rt = NULL;
    if (core != NULL && core->blocked_ns > 0) {
        sim_core_block(core, sim->now_ns + core->blocked_ns);
        core->blocked_ns = 0;
    }
}

/* Makes ready what is due; jumps when nothing is, but never to limit_ns or beyond. */
static bool sim_make_ready(struct sim *sim, uint64_t limit_ns) {
    for (;;) {
        struct heap_node *next = heap_peek(&sim->agenda);
        if (next != NULL && (next->key <= sim->now_ns || sim->ready_count == 0)) {
            if (next->key > sim->now_ns) {
                if (next->key >= limit_ns) return false;
                sim->now_ns = next->key;
            }
            heap_pop(&sim->agenda);
            sim_due(sim, container_of(next, struct sim_agenda, heap));
            continue;
        }
        return sim->ready_count > 0;
    }
}

static bool sim_step_before(struct sim *sim, uint64_t limit_ns) {
    if (sim->power_lost) sim_crash_lost(sim);
    if (!sim_make_ready(sim, limit_ns)) return false;
    uint64_t bits = rng_u64(&sim->sched);
    struct sim_slot *slot = sim_draw(sim, bits);
    struct sim_runtime *rt = slot->rt;
    uint64_t who = rt == NULL ? 0xff : rt->node->index;
    if (slot->core != NULL) who |= (uint64_t)slot->core->core.index << 8;
    sim_fold(sim, (uint64_t)slot->kind | who << 8);
    sim_fold(sim, sim->now_ns);
    struct sim_core *core = slot->core;
    sim_run_slot(sim, slot);
    sim->now_ns += SIM_EVENT_NS_MIN + (bits & SIM_EVENT_NS_MASK);
    if (rt != NULL && sim_runtime_is_live(rt)) sim_fault_after_event(sim, rt, core);
    if (sim->power_lost) sim_crash_lost(sim);
    if (++sim->events % SIM_RESHUFFLE_EVENTS == 0 && sim->biased) sim_reshuffle(sim);
    return true;
}

bool sim_step(struct sim *sim) {
    return sim_step_before(sim, UINT64_MAX);
}

bool sim_run(struct sim *sim, bool (*done)(void *ctx), void *ctx, uint64_t limit_ms) {
    uint64_t limit_ns = limit_ms * 1000000;
    while (!done(ctx)) {
        if (sim->now_ns >= limit_ns) return false;
        if (sim_step_before(sim, limit_ns)) continue;
        sim->now_ns = limit_ns;
        return done(ctx);
    }
    return true;
}

struct sim *sim_new(const struct sim_options *options) {
    assert(options->nodes_count >= 1 && options->nodes_count <= SIM_NODES_MAX);
    assert(options->cores_per_node >= 1 && options->cores_per_node <= SIM_DATA_CORES_MAX);
    struct sim *sim = sim_zalloc(sizeof *sim);
    uint64_t seed = options->seed;
    sim->options = *options;
    sim->net.ops = &sim_net_ops;
    sim->faults_on = true;
    rng_init(&sim->sched, rng_splitmix(&seed));
    rng_init(&sim->fault, rng_splitmix(&seed));
    rng_init(&sim->inner, rng_splitmix(&seed));
    rng_init(&sim->user, rng_splitmix(&seed));
    sim->biased = rng_chance(&sim->sched, 0.5);
    sim->now_ns = 1000000000;
    heap_init(&sim->agenda);
    sim_slot_init(&sim->call_slot, SIM_CALL, NULL, NULL);
    for (unsigned i = 0; i < options->nodes_count; i++) {
        struct sim_node *node = &sim->nodes[i];
        node->sim = sim;
        node->index = i;
        snprintf(node->addr, sizeof node->addr, options->ip_addrs ? "10.0.0.%u:1" : "n%u:1", i);
        node->drift_ppm = (int64_t)rng_below(&sim->inner, 10001) - 5000;
        node->disk = sim_disk_new(rng_u64(&sim->inner));
        sim_fault_attach_disk(node);
    }
    return sim;
}

void sim_free(struct sim *sim) {
    if (sim == NULL) return;
    assert(sim->running_rt == NULL);
    sim_net_free(sim);
    for (unsigned i = 0; i < sim->options.nodes_count; i++) {
        if (sim->nodes[i].rt != NULL) sim_runtime_free(sim->nodes[i].rt);
        sim_disk_free(sim->nodes[i].disk);
    }
    for (struct sim_runtime *rt = sim->dead, *next; rt != NULL; rt = next) {
        next = rt->next_dead;
        sim_runtime_free(rt);
    }
    for (struct heap_node *n; (n = heap_pop(&sim->agenda)) != NULL;) {
        struct sim_agenda *a = container_of(n, struct sim_agenda, heap);
        if (a->kind == SIM_AGENDA_CALL) free(a);
    }
    struct sim_call *lists[] = {sim->call_first, sim->calls_free};
    for (size_t i = 0; i < ARRAY_LEN(lists); i++)
        for (struct sim_call *c = lists[i], *next; c != NULL; c = next) {
            next = c->next;
            free(c);
        }
    heap_fini(&sim->agenda);
    free(sim->ready);
    free(sim);
}

struct runtime *sim_start(struct sim *sim, unsigned node) {
    struct sim_node *n = &sim->nodes[node];
    assert(node < sim->options.nodes_count && n->rt == NULL);
    sim_fold(sim, (uint64_t)SIM_UP | node << 8);
    n->was_up = true;
    n->rt = sim_runtime_new(sim, n);
    sim_fault_arm_boot(n);
    return &n->rt->rt;
}

static bool sim_may_end(struct sim *sim, unsigned node) {
    assert(node < sim->options.nodes_count);
    if (sim->nodes[node].rt == NULL) return false;
    assert(sim->running_rt != sim->nodes[node].rt);
    return true;
}

void sim_crash(struct sim *sim, unsigned node) {
    if (sim_may_end(sim, node)) sim_crash_now(sim, node);
}

void sim_crash_bare(struct sim *sim, unsigned node) {
    if (sim->nodes[node].rt == NULL) return;
    /* Until it starts again: sim_fault_attach_disk. */
    sim_disk_set_rates(sim->nodes[node].disk, (struct sim_disk_rates){.dropped = 1, .name = 1});
    sim_crash(sim, node);
}

void sim_kill(struct sim *sim, unsigned node) {
    if (!sim_may_end(sim, node)) return;
    struct sim_node *n = &sim->nodes[node];
    if (n->rt->power_lost) {
        sim_crash_now(sim, node);
        return;
    }
    sim_fold(sim, (uint64_t)SIM_DOWN | node << 8 | 1ULL << 32);
    sim_runtime_kill(n->rt);
    n->rt->next_dead = sim->dead;
    sim->dead = n->rt;
    n->rt = NULL;
    n->cut_call = 0;
    sim_disk_exit(n->disk);
}

void sim_disk_wipe(struct sim *sim, unsigned node) {
    assert(node < sim->options.nodes_count && sim->nodes[node].rt == NULL);
    sim_disk_clear(sim->nodes[node].disk);
}

bool sim_disk_rot(struct sim *sim, unsigned node, const char *dir, const char *suffix) {
    assert(node < sim->options.nodes_count);
    return sim_disk_rot_file(sim->nodes[node].disk, dir, suffix);
}

void sim_move(struct sim *sim, unsigned node) {
    struct sim_node *n = &sim->nodes[node];
    assert(node < sim->options.nodes_count && n->rt == NULL);
    snprintf(n->addr, sizeof n->addr, "n%u-%u:1", node, ++n->moves);
}

struct rng *sim_rng(struct sim *sim) {
    return &sim->user;
}
const char *sim_addr(struct sim *sim, unsigned node) {
    return sim->nodes[node].addr;
}
bool sim_is_up(struct sim *sim, unsigned node) {
    return sim->nodes[node].rt != NULL && !sim->nodes[node].rt->power_lost;
}
struct disk *sim_disk(struct sim *sim, unsigned node) {
    return sim_disk_as_disk(sim->nodes[node].disk);
}
uint64_t sim_now_ms(struct sim *sim) {
    return sim->now_ns / 1000000;
}
uint64_t sim_events(struct sim *sim) {
    return sim->events;
}
uint64_t sim_trace_hash(struct sim *sim) {
    return sim->hash;
}
