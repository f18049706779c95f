/* SPDX-License-Identifier: Apache-2.0 */
/* The scheduler, the clock, the network and the faults, seen through a small application
 * (pingpong.h). */
#include <assert.h>
#include <criterion/criterion.h>
#include <inttypes.h>
#include <signal.h>
#include <string.h>

#include "tests/sim/pingpong.h"

static const struct sim_options all_faults = {
    .fault_rate = {[SIM_FRAME_LOST] = 0.002,
                   [SIM_FRAME_DELAYED] = 0.005,
                   [SIM_FRAME_REORDERED] = 0.02,
                   [SIM_CONN_CUT] = 0.002,
                   [SIM_PARTITION] = 0.001,
                   [SIM_CRASH] = 0.0005,
                   [SIM_WRITE_TORN] = 0.3,
                   [SIM_WRITE_DROPPED] = 0.3,
                   [SIM_NAME_DROPPED] = 0.5,
                   [SIM_STALL] = 0.001,
                   [SIM_PARTITION_ONE_WAY] = 0.001,
                   [SIM_FRAME_DUPLICATED] = 0.02,
                   [SIM_DISK_STALL] = 0.001,
                   [SIM_DISK_FULL] = 0.001,
                   [SIM_PAUSE] = 0.0002,
                   [SIM_CLOCK_JUMP] = 0.001,
                   [SIM_PREEMPT] = 0.01},
};

Test(sim, without_faults_everything_arrives_in_order) {
    static struct world w;
    uint64_t hash, totals[SIM_FAULT_COUNT];
    for (uint64_t seed = 1; seed <= 20; seed++) {
        struct sim_options o = {.seed = seed};
        cr_assert(world_run(&o, 3000, &w, &hash, totals), "seed %" PRIu64, seed);
        cr_assert(w.overtaken == 0, "seed %" PRIu64, seed);
        cr_assert(w.boots == WORLD_NODES && w.opened >= WORLD_NODES && w.works > 0);
        cr_assert(w.echoed > 3 * 300 && w.sent >= w.delivered);
        cr_assert(w.events < 3 * w.sent, "%" PRIu64 " events, most of them idle", w.events);
        for (unsigned i = 0; i < SIM_FAULT_COUNT; i++)
            cr_assert(totals[i] == 0, "%s", sim_fault_names[i]);
    }
}

Test(sim, same_seed_same_run_and_another_seed_another_run) {
    static struct world a, b;
    uint64_t hash_before = 0, hash_a, hash_b, totals_a[SIM_FAULT_COUNT], totals_b[SIM_FAULT_COUNT];
    for (uint64_t seed = 1; seed <= 30; seed++) {
        struct sim_options o = all_faults;
        o.seed = seed;
        cr_assert(world_run(&o, 2000, &a, &hash_a, totals_a) ==
                  world_run(&o, 2000, &b, &hash_b, totals_b));
        cr_assert(hash_a == hash_b, "seed %" PRIu64, seed);
        cr_assert(memcmp(totals_a, totals_b, sizeof totals_a) == 0, "seed %" PRIu64, seed);
        cr_assert(a.sent == b.sent && a.delivered == b.delivered && a.boots == b.boots);
        cr_assert(hash_a != hash_before, "seed %" PRIu64, seed);
        hash_before = hash_a;
    }
}

Test(sim, every_fault_strikes_and_the_cluster_recovers) {
    static struct world w;
    uint64_t hash, totals[SIM_FAULT_COUNT], sums[SIM_FAULT_COUNT] = {0};
    uint64_t overtaken = 0, refused = 0, boots_failed = 0, delivered = 0, sent = 0;
    for (uint64_t seed = 1; seed <= 200; seed++) {
        struct sim_options o = all_faults;
        o.seed = seed;
        cr_assert(world_run(&o, 5000, &w, &hash, totals), "no recovery with seed %" PRIu64, seed);
        for (unsigned i = 0; i < SIM_FAULT_COUNT; i++)
            sums[i] += totals[i];
        cr_assert(w.boots == WORLD_NODES + totals[SIM_CRASH], "seed %" PRIu64, seed);
        overtaken += w.overtaken;
        refused += w.refused;
        boots_failed += w.boots_failed;
        delivered += w.delivered;
        sent += w.sent;
    }
    for (unsigned i = 0; i < SIM_FAULT_COUNT; i++) {
        cr_log_info("%s: %" PRIu64, sim_fault_names[i], sums[i]);
        cr_assert(sums[i] > 0, "%s struck %" PRIu64 " times", sim_fault_names[i], sums[i]);
    }
    cr_log_info("sent %" PRIu64 " delivered %" PRIu64 " overtaken %" PRIu64 " refused %" PRIu64
                " failed boots %" PRIu64,
                sent, delivered, overtaken, refused, boots_failed);
    cr_assert(overtaken > 100 && refused > 100 && boots_failed > 0);
    cr_assert(delivered < sent && delivered > sent / 2);
}

/* Each fault alone leaves its own trace and no other. */
Test(sim, a_fault_alone_is_counted_alone) {
    static const enum sim_fault alone[] = {
        SIM_FRAME_LOST,       SIM_FRAME_DELAYED, SIM_FRAME_REORDERED, SIM_CONN_CUT,
        SIM_PARTITION,        SIM_CRASH,         SIM_STALL,           SIM_PARTITION_ONE_WAY,
        SIM_FRAME_DUPLICATED, SIM_DISK_STALL,    SIM_DISK_FULL,       SIM_PAUSE,
        SIM_CLOCK_JUMP,       SIM_PREEMPT};
    static struct world w;
    uint64_t hash, totals[SIM_FAULT_COUNT];
    for (size_t k = 0; k < ARRAY_LEN(alone); k++) {
        uint64_t sum = 0, notes_failed = 0;
        for (uint64_t seed = 1; seed <= 10; seed++) {
            struct sim_options o = {.seed = seed};
            o.fault_rate[alone[k]] = all_faults.fault_rate[alone[k]] * 2;
            cr_assert(world_run(&o, 3000, &w, &hash, totals), "%s seed %" PRIu64,
                      sim_fault_names[alone[k]], seed);
            sum += totals[alone[k]];
            for (unsigned i = 0; i < SIM_FAULT_COUNT; i++)
                cr_assert(i == alone[k] || totals[i] == 0, "%s", sim_fault_names[i]);
            cr_assert(alone[k] == SIM_FRAME_REORDERED || w.overtaken == 0);
            cr_assert(w.copies == totals[SIM_FRAME_DUPLICATED]);
            cr_assert((w.notes_failed > 0) <= (alone[k] == SIM_DISK_FULL || alone[k] == SIM_CRASH));
            notes_failed += w.notes_failed;
        }
        cr_assert(sum > 0, "%s", sim_fault_names[alone[k]]);
        cr_assert(alone[k] != SIM_DISK_FULL || notes_failed > 0);
    }
}

/* ---- single promises ---- */

struct ticker {
    struct timer timer;
    struct sim *sim;
    uint64_t fired, at_ms;
};

static void ticker_fire(struct timer *t) {
    struct ticker *k = container_of(t, struct ticker, timer);
    k->fired++;
    k->at_ms = sim_now_ms(k->sim);
}

Test(sim, time_jumps_to_the_next_timer_and_a_crash_disarms) {
    struct sim *sim =
        sim_new(&(struct sim_options){.seed = 5, .nodes_count = 1, .cores_per_node = 1});
    struct runtime *rt = sim_start(sim, 0);
    struct ticker soon = {.sim = sim}, late = {.sim = sim}, stopped = {.sim = sim};
    uint64_t start_ms = sim_now_ms(sim);
    core_set_current(rt->cores[0]);
    timer_init(&soon.timer, rt->cores[0], ticker_fire);
    timer_init(&late.timer, rt->cores[0], ticker_fire);
    timer_init(&stopped.timer, rt->cores[0], ticker_fire);
    timer_start(&soon.timer, 1000);
    timer_start(&late.timer, 3600 * 1000);
    timer_start(&stopped.timer, 500);
    timer_stop(&stopped.timer);
    cr_assert(sim_step(sim) && soon.fired == 1 && late.fired == 0 && stopped.fired == 0);
    /* on the node's own clock, which is up to 0.5 % wrong */
    cr_assert(soon.at_ms >= start_ms + 995 && soon.at_ms <= start_ms + 1005);
    sim_crash(sim, 0);
    cr_assert(!timer_is_armed(&late.timer));
    core_set_current(rt->cores[0]);
    timer_stop(&late.timer);
    core_set_current(NULL);
    cr_assert(!sim_is_up(sim, 0) && !sim_step(sim) && late.fired == 0);
    sim_free(sim);
}

static void call_note(void *ctx) {
    *(uint64_t *)ctx += 1;
}
static bool call_seen(void *ctx) {
    return *(uint64_t *)ctx > 0;
}

Test(sim, run_stops_at_its_limit_and_calls_come_in_time) {
    struct sim *sim =
        sim_new(&(struct sim_options){.seed = 5, .nodes_count = 1, .cores_per_node = 1});
    uint64_t calls = 0, start_ms = sim_now_ms(sim);
    sim_after(sim, 2000, call_note, &calls);
    cr_assert(!sim_run(sim, call_seen, &calls, start_ms + 1500));
    cr_assert(sim_now_ms(sim) == start_ms + 1500 && calls == 0);
    cr_assert(sim_run(sim, call_seen, &calls, start_ms + 9000));
    cr_assert(sim_now_ms(sim) == start_ms + 2000 && calls == 1);
    cr_assert(!sim_step(sim));
    sim_free(sim);
}

/* A message posted after a sync is not seen before the sync is over, and the clock in between
 * agrees. */
struct sync_probe {
    struct msg to_log, to_home;
    struct runtime *rt;
    uint64_t before_ns, after_ns, seen_ns;
};

static void probe_home(struct core *here, struct msg *m) {
    struct sync_probe *p = container_of(m, struct sync_probe, to_home);
    p->seen_ns = core_mono_ns(here);
}

static void probe_log(struct core *here, struct msg *m) {
    struct sync_probe *p = container_of(m, struct sync_probe, to_log);
    struct file *f = NULL;
    p->before_ns = core_mono_ns(here);
    cr_assert(disk_open(here->rt->disk, "a", DISK_WRITE | DISK_CREATE, &f, NULL) == OK);
    cr_assert(file_pwrite(f, "a", 1, 0, NULL) == OK && file_sync(f, NULL) == OK);
    file_close(f);
    p->after_ns = core_mono_ns(here);
    core_post(here->rt->cores[0], &p->to_home);
}

Test(sim, a_sync_blocks_its_core_and_what_it_posts_then) {
    struct sim *sim =
        sim_new(&(struct sim_options){.seed = 5, .nodes_count = 1, .cores_per_node = 1});
    struct runtime *rt = sim_start(sim, 0);
    struct sync_probe p = {.to_log.run = probe_log, .to_home.run = probe_home};
    core_post(rt->log_core, &p.to_log);
    while (sim_step(sim)) {
    }
    cr_assert(p.after_ns >= p.before_ns + 100000 && p.seen_ns >= p.after_ns);
    sim_free(sim);
}

/* The first to be told tells the second, before or after the sender does. */
struct word {
    struct msg msg;
    char letter;
};
struct gossip {
    struct word begin, to_first, to_second, on_to_second;
    char heard[4];
    size_t heard_count;
    uint64_t told_ns, between_ns; /* on the sender's clock */
};
static struct gossip gossip;

static void second_hears(struct core *here, struct msg *m) {
    (void)here;
    gossip.heard[gossip.heard_count++] = container_of(m, struct word, msg)->letter;
}
static void first_hears(struct core *here, struct msg *m) {
    (void)m;
    core_post(here->rt->cores[1], &gossip.on_to_second.msg);
}
static void sender_tells(struct core *here, struct msg *m) {
    (void)m;
    gossip.told_ns = core_mono_ns(here);
    core_post(here->rt->cores[0], &gossip.to_first.msg);
    gossip.between_ns = core_mono_ns(here);
    core_post(here->rt->cores[1], &gossip.to_second.msg);
}

static bool is_overtaken(uint64_t seed, double rate, bool *out_stood_still) {
    gossip = (struct gossip){.begin = {{.run = sender_tells}, 0},
                             .to_first = {{.run = first_hears}, 0},
                             .to_second = {{.run = second_hears}, 's'},
                             .on_to_second = {{.run = second_hears}, 'f'}};
    struct sim *sim = sim_new(&(struct sim_options){
        .seed = seed, .nodes_count = 1, .cores_per_node = 2, .fault_rate = {[SIM_PREEMPT] = rate}});
    core_post(sim_start(sim, 0)->control_core, &gossip.begin.msg);
    while (sim_step(sim)) {
    }
    cr_assert(gossip.heard_count == 2);
    *out_stood_still = gossip.between_ns > gossip.told_ns;
    sim_free(sim);
    return gossip.heard[0] == 'f';
}

Test(sim, a_sender_that_stands_still_between_two_messages_is_overtaken) {
    unsigned overtaken = 0, stood_still = 0;
    bool stands;
    for (uint64_t seed = 1; seed <= 100; seed++) {
        cr_assert(!is_overtaken(seed, 0, &stands) && !stands, "seed %" PRIu64, seed);
        overtaken += is_overtaken(seed, 0.5, &stands);
        stood_still += stands;
    }
    cr_assert(stood_still > 25 && stood_still < 75, "%u of 100", stood_still);
    cr_assert(overtaken > 0 && overtaken <= stood_still, "%u of %u", overtaken, stood_still);
}

/* ---- the control core ---- */

struct control_probe {
    struct msg msg;
    struct work work;
    struct ticker tick;
    uint64_t worked;
};
static void control_run_work(struct work *w) {
    cr_assert(w->home != NULL && core_current() == NULL);
}
static void control_worked(struct core *here, struct work *w) {
    struct control_probe *p = container_of(w, struct control_probe, work);
    cr_assert(here == here->rt->control_core && core_is_current(here));
    p->worked++;
    timer_init(&p->tick.timer, here, ticker_fire);
    timer_start(&p->tick.timer, 7);
}
static void control_run(struct core *here, struct msg *m) {
    struct control_probe *p = container_of(m, struct control_probe, msg);
    cr_assert(here == here->rt->control_core && core_is_current(here));
    p->work = (struct work){.run = control_run_work, .done = control_worked};
    work_submit(here, &p->work);
}

Test(sim, the_control_core_has_mail_works_and_timers) {
    struct sim *sim =
        sim_new(&(struct sim_options){.seed = 5, .nodes_count = 1, .cores_per_node = 4});
    struct runtime *rt = sim_start(sim, 0);
    cr_assert(rt->log_core->index == 4 && rt->control_core->index == 5);
    struct control_probe p = {.msg.run = control_run, .tick.sim = sim};
    uint64_t start_ms = sim_now_ms(sim);
    core_post(rt->control_core, &p.msg);
    while (sim_step(sim)) {
    }
    cr_assert(p.worked == 1 && p.tick.fired == 1 && p.tick.at_ms >= start_ms + 6);
    sim_free(sim);
}

static void control_writes(struct core *here, struct msg *m) {
    struct file *f = NULL;
    (void)m;
    status_ignore(disk_open(here->rt->disk, "a", DISK_WRITE | DISK_CREATE, &f, NULL));
}

Test(sim, the_control_core_may_not_write, .signal = SIGABRT) {
    struct sim *sim =
        sim_new(&(struct sim_options){.seed = 5, .nodes_count = 1, .cores_per_node = 1});
    struct runtime *rt = sim_start(sim, 0);
    struct msg m = {.run = control_writes};
    core_post(rt->control_core, &m);
    while (sim_step(sim)) {
    }
}

static void accept_nobody(struct core *core, struct conn *c, void *ctx) {
    (void)core;
    (void)c;
    (void)ctx;
}

Test(sim, the_control_core_does_not_listen, .signal = SIGABRT) {
    struct sim *sim =
        sim_new(&(struct sim_options){.seed = 5, .nodes_count = 1, .cores_per_node = 1});
    struct runtime *rt = sim_start(sim, 0);
    core_set_current(rt->control_core);
    status_ignore(
        net_listen(rt->control_core, sv_from(sim_addr(sim, 0)), accept_nobody, NULL, NULL));
}

Test(sim, a_killed_process_loses_nothing_on_disk_but_its_lock) {
    struct sim *sim = sim_new(
        &(struct sim_options){.seed = 5,
                              .nodes_count = 1,
                              .cores_per_node = 1,
                              .fault_rate = {[SIM_WRITE_DROPPED] = 1, [SIM_NAME_DROPPED] = 1}});
    struct file *f = NULL, *lock = NULL;
    sim_start(sim, 0);
    cr_assert(disk_lock(sim_disk(sim, 0), "lock", &lock, NULL) == OK);
    cr_assert(disk_open(sim_disk(sim, 0), "a", DISK_WRITE | DISK_CREATE, &f, NULL) == OK);
    cr_assert(file_pwrite(f, "a", 1, 0, NULL) == OK);
    sim_kill(sim, 0);
    sim_start(sim, 0);
    cr_assert(disk_exists(sim_disk(sim, 0), "a"));
    cr_assert(disk_lock(sim_disk(sim, 0), "lock", &lock, NULL) == OK);
    sim_crash(sim, 0);
    sim_start(sim, 0);
    cr_assert(!disk_exists(sim_disk(sim, 0), "a") && sim_fault_total(sim, SIM_NAME_DROPPED) == 2);
    sim_free(sim);
}
