/* SPDX-License-Identifier: Apache-2.0 */
#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "tests/sim/internal.h"

static void mail_push(struct sim_core *core, struct msg *m) {
    m->next = NULL;
    if (core->mail_first == NULL)
        core->mail_first = m;
    else
        core->mail_last->next = m;
    core->mail_last = m;
    sim_slot_set(core->rt->sim, &core->mail, !core->busy);
}

static void sim_post(struct core *to, struct msg *m) {
    struct sim_core *core = sim_core_of(to), *from = core->rt->sim->running;
    assert(m->run != NULL);
    if (!sim_runtime_is_live(core->rt)) return;
    if (from == NULL || from->blocked_ns == 0) {
        mail_push(core, m);
        if (from != NULL) from->blocked_ns = sim_preempt_ns(core->rt->sim);
        return;
    }
    /* The sender blocked before it posted, so nobody sees this before it wakes. */
    from->outbox =
        sim_grow(from->outbox, &from->outbox_cap, from->outbox_count, sizeof *from->outbox);
    from->outbox[from->outbox_count++] = (struct sim_post){core, m};
}

void sim_outbox_flush(struct sim_core *core) {
    for (size_t i = 0; i < core->outbox_count; i++)
        mail_push(core->outbox[i].to, core->outbox[i].msg);
    core->outbox_count = 0;
}

void sim_mail_run(struct sim_core *core) {
    struct msg *m = core->mail_first;
    core->mail_first = m->next;
    if (core->mail_first == NULL) sim_slot_set(core->rt->sim, &core->mail, false);
    m->next = NULL;
    m->run(&core->core, m);
}

/* In whole milliseconds' worth of drift, so that 64 bits do: a million virtual ns are
 * 1000000 + drift_ppm on the node's clock. */
enum { DRIFT_SPAN_NS = 1000000 };

uint64_t sim_mono_at(const struct sim_runtime *rt, uint64_t virtual_ns) {
    uint64_t span_ns = (uint64_t)(DRIFT_SPAN_NS + rt->node->drift_ppm);
    return rt->mono_base_ns + virtual_ns / DRIFT_SPAN_NS * span_ns +
           virtual_ns % DRIFT_SPAN_NS * span_ns / DRIFT_SPAN_NS;
}

uint64_t sim_mono_when(const struct sim_runtime *rt, uint64_t mono_ns) {
    if (mono_ns <= rt->mono_base_ns) return 0;
    uint64_t span_ns = (uint64_t)(DRIFT_SPAN_NS + rt->node->drift_ppm);
    uint64_t spans = (mono_ns - rt->mono_base_ns) / span_ns;
    uint64_t rest = (mono_ns - rt->mono_base_ns) % span_ns;
    if (spans >= UINT64_MAX / DRIFT_SPAN_NS - 1) return UINT64_MAX;
    return spans * DRIFT_SPAN_NS + (rest * DRIFT_SPAN_NS + span_ns - 1) / span_ns;
}

static int64_t sim_wall_ms(struct runtime *rt) {
    struct sim_runtime *r = sim_runtime_of(rt);
    return SIM_WALL_START_MS + (int64_t)(sim_seen_ns(r->sim, r) / 1000000) + r->wall_skew_ms +
           r->wall_jump_ms;
}

static uint64_t sim_mono_ns(struct runtime *rt) {
    struct sim_runtime *r = sim_runtime_of(rt);
    return sim_mono_at(r, sim_seen_ns(r->sim, r));
}

void sim_timers_changed(struct core *c) {
    struct sim_core *core = sim_core_of(c);
    struct sim *sim = core->rt->sim;
    if (core->rt->dead) return;
    struct heap_node *first = heap_peek(&c->timers);
    bool was_due = core->timer_is_due;
    core->timer_is_due = false;
    if (first == NULL || first->key == UINT64_MAX) { /* never */
        sim_agenda_drop(sim, &core->timer_due);
    } else {
        uint64_t due_ns = sim_mono_when(core->rt, first->key);
        core->timer_is_due = due_ns <= sim->now_ns;
        if (core->timer_is_due)
            sim_agenda_drop(sim, &core->timer_due);
        else
            sim_agenda_set(sim, &core->timer_due, due_ns);
    }
    if (was_due || core->timer_is_due) sim_core_refresh(core);
}

static void work_done(struct core *here, struct msg *m) {
    struct work *w = container_of(m, struct work, msg);
    w->done(here, w);
}

void sim_work_refresh(struct sim_runtime *rt) {
    sim_slot_set(rt->sim, &rt->work_slot,
                 rt->work_count > 0 && !rt->dead && !heap_contains(&rt->resume.heap));
}

static void sim_submit(struct runtime *rt, struct work *w) {
    struct sim_runtime *r = sim_runtime_of(rt);
    assert(w->run != NULL && w->done != NULL && w->home != NULL);
    if (!sim_runtime_is_live(r)) return;
    r->work = sim_grow(r->work, &r->work_cap, r->work_count, sizeof(struct work *));
    r->work[r->work_count++] = w;
    sim_work_refresh(r);
}

/* Any of them: pool threads overtake each other. */
void sim_work_run(struct sim_runtime *rt) {
    size_t i = (size_t)rng_below(&rt->sim->sched, rt->work_count);
    struct work *w = rt->work[i];
    rt->work[i] = rt->work[--rt->work_count];
    sim_work_refresh(rt);
    w->run(w);
    w->msg.run = work_done;
    sim_post(w->home, &w->msg);
}

static void sim_random(struct runtime *rt, void *out, size_t len) {
    struct sim *sim = sim_runtime_of(rt)->sim;
    for (uint8_t *p = out; len > 0;) {
        uint64_t v = rng_u64(&sim->inner);
        size_t n = MIN(len, sizeof v);
        memcpy(p, &v, n);
        p += n;
        len -= n;
    }
}

/* The scheduler has its own mind about how late a message runs. */
static void sim_nap(struct core *core, unsigned us) {
    assert(core_is_current(core));
    (void)us;
}

static void sim_each(struct runtime *rt, unsigned count, void (*run)(void *ctx, unsigned i),
                     void *ctx) {
    (void)rt;
    for (unsigned i = 0; i < count; i++)
        run(ctx, i);
}

static const struct runtime_ops sim_runtime_ops = {
    sim_post,   sim_wall_ms, sim_mono_ns, sim_timers_changed,
    sim_submit, sim_random,  sim_nap,     sim_each};

static void agenda_init(struct sim_agenda *a, enum sim_agenda_kind kind) {
    a->kind = kind;
    heap_node_init(&a->heap);
}

struct sim_runtime *sim_runtime_new(struct sim *sim, struct sim_node *node) {
    struct sim_runtime *rt = sim_zalloc(sizeof *rt);
    unsigned data_cores = sim->options.cores_per_node;
    rt->sim = sim;
    rt->node = node;
    rt->cores_count = data_cores + 2;
    rt->mono_base_ns =
        rng_below(&sim->inner, 1000) * 1000000007; /* each boot counts from elsewhere */
    rt->wall_skew_ms = (int64_t)rng_below(&sim->inner, 201) - 100;
    list_init(&rt->conns);
    sim_slot_init(&rt->work_slot, SIM_WORK, rt, NULL);
    agenda_init(&rt->resume, SIM_AGENDA_RESUME);
    rt->rt = (struct runtime){.ops = &sim_runtime_ops,
                              .cores = rt->core_ptrs,
                              .cores_count = data_cores,
                              .log_core = &rt->cores[data_cores].core,
                              .control_core = &rt->cores[data_cores + 1].core,
                              .disk = sim_disk_as_disk(node->disk),
                              .net = &sim->net};
    for (unsigned i = 0; i < rt->cores_count; i++) {
        struct sim_core *core = &rt->cores[i];
        core_init(&core->core, &rt->rt, i);
        core->rt = rt;
        core->priority = rng_u64(&sim->sched);
        rt->core_ptrs[i] = &core->core;
        sim_slot_init(&core->mail, SIM_MAIL, rt, core);
        sim_slot_init(&core->packets, SIM_PACKET, rt, core);
        sim_slot_init(&core->timers, SIM_TIMER, rt, core);
        agenda_init(&core->timer_due, SIM_AGENDA_TIMER);
        agenda_init(&core->wake, SIM_AGENDA_WAKE);
    }
    return rt;
}

void sim_runtime_kill(struct sim_runtime *rt) {
    struct sim *sim = rt->sim;
    rt->dead = true;
    sim_net_kill(rt);
    rt->work_count = 0;
    sim_work_refresh(rt);
    sim_agenda_drop(sim, &rt->resume);
    for (unsigned i = 0; i < rt->cores_count; i++) {
        struct sim_core *core = &rt->cores[i];
        struct heap *timers = &core->core.timers;
        for (size_t k = 0; k < timers->count; k++)
            timers->nodes[k]->index = SIZE_MAX;
        timers->count = 0;
        core->mail_first = core->mail_last = NULL;
        core->outbox_count = 0;
        core->accept = NULL;
        sim_packets_drop(sim, core->packet_first);
        core->packet_first = core->packet_last = NULL;
        sim_agenda_drop(sim, &core->timer_due);
        sim_agenda_drop(sim, &core->wake);
        sim_core_refresh(core);
    }
}

void sim_runtime_free(struct sim_runtime *rt) {
    sim_conns_free(rt);
    for (unsigned i = 0; i < rt->cores_count; i++) {
        struct sim_core *core = &rt->cores[i];
        core->core.timers.count = 0; /* whoever armed them may be freed by now */
        core_fini(&core->core);
        sim_agenda_drop(rt->sim, &core->timer_due);
        sim_agenda_drop(rt->sim, &core->wake);
        free(core->outbox);
    }
    sim_agenda_drop(rt->sim, &rt->resume);
    free(rt->work);
    free(rt);
}
