/* SPDX-License-Identifier: Apache-2.0 */
/* The faults that replication has to live with, one by one, by plan and by seed: what happens
 * to nodes, their threads, disks, clocks and addresses. */
#include <criterion/criterion.h>
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "tests/sim/ends.h"

/* ---- threads that stand still ---- */

struct beat {
    struct timer timer;
    struct sim *sim;
    uint64_t beats, last_ms, gap_max_ms;
};
static void beat_fire(struct timer *t) {
    struct beat *b = container_of(t, struct beat, timer);
    uint64_t now_ms = sim_now_ms(b->sim);
    b->gap_max_ms = MAX(b->gap_max_ms, now_ms - b->last_ms);
    b->beats++;
    b->last_ms = now_ms;
    timer_start(t, 300);
}
static void beat_start(struct beat *b, struct core *core, struct sim *sim) {
    *b = (struct beat){.sim = sim, .last_ms = sim_now_ms(sim)};
    core_set_current(core);
    timer_init(&b->timer, core, beat_fire);
    timer_start(&b->timer, 300);
    core_set_current(NULL);
}

struct writer {
    struct msg msg;
    struct sim *sim;
    uint64_t done_ms, seen_ns;
    int os_errno;
    enum status status;
};
static void writer_run(struct core *here, struct msg *m) {
    struct writer *w = container_of(m, struct writer, msg);
    struct file *f = NULL;
    struct err err = {0};
    uint64_t before_ns = core_mono_ns(here);
    w->status = disk_open(here->rt->disk, "f", DISK_WRITE | DISK_CREATE, &f, &err);
    if (w->status == OK) w->status = file_pwrite(f, "12345678", 8, 0, &err);
    if (w->status == OK) w->status = file_sync(f, &err);
    file_close(f);
    w->os_errno = err.os;
    w->seen_ns = core_mono_ns(here) - before_ns;
    w->done_ms = sim_now_ms(w->sim);
}
static void writer_post(struct writer *w, struct runtime *rt, struct sim *sim) {
    *w = (struct writer){.msg.run = writer_run, .sim = sim};
    core_post(rt->log_core, &w->msg);
}

Test(sim_faults, a_disk_stall_holds_the_log_core_alone) {
    for (unsigned by_seed = 0; by_seed < 2; by_seed++) {
        struct sim_options o = {.seed = by_seed + 1};
        if (by_seed == 1) o.fault_rate[SIM_DISK_STALL] = 0.4;
        struct pair p;
        pair_open(&p, &o);
        struct beat control, data, log;
        struct writer w;
        beat_start(&control, p.from->control_core, p.sim);
        beat_start(&data, p.from->cores[0], p.sim);
        beat_start(&log, p.from->log_core, p.sim);
        if (by_seed == 0)
            sim_disk_stall(p.sim, 0, 4000);
        else
            sim_set_faults(p.sim, true);
        do {
            writer_post(&w, p.from, p.sim);
            run_for(p.sim, 20000);
            cr_assert(w.status == OK);
        } while (sim_fault_total(p.sim, SIM_DISK_STALL) == 0);
        cr_assert(control.gap_max_ms < 310 && data.gap_max_ms < 310);
        cr_assert(log.gap_max_ms >= (by_seed ? 990 : 3900), "%" PRIu64, log.gap_max_ms);
        cr_assert(by_seed ? w.seen_ns >= 990000000 : w.seen_ns / 1000000 >= 3900, "%" PRIu64,
                  w.seen_ns);
        sim_free(p.sim);
    }
}

struct job {
    struct work work;
    unsigned ran, done;
};
static void job_run(struct work *w) {
    container_of(w, struct job, work)->ran++;
}
static void job_done(struct core *here, struct work *w) {
    (void)here;
    container_of(w, struct job, work)->done++;
}

static void name_run(struct core *here, struct msg *m) {
    struct file *f = NULL;
    (void)m;
    cr_assert(disk_open(here->rt->disk, "f", DISK_WRITE | DISK_CREATE, &f, NULL) == OK);
    file_close(f);
    cr_assert(disk_sync_dir(here->rt->disk, "", NULL) == OK);
}

/* The power goes so long after a write whose sync takes a second, and nothing unsynced is kept. */
static bool survives_cut(uint64_t after_ms) {
    struct sim *sim = sim_quiet(1, 1);
    struct runtime *rt = sim_start(sim, 0);
    struct writer w;
    struct file *f = NULL;
    struct msg name = {.run = name_run};
    char got[8] = "";
    size_t len = 0;
    core_post(rt->log_core, &name);
    run_for(sim, 100);
    sim_sync_stall(sim, 0, 1000);
    writer_post(&w, rt, sim);
    run_for(sim, after_ms);
    cr_assert(w.status == OK && w.seen_ns >= 900000000, "the sync waits, %" PRIu64, w.seen_ns);
    sim_crash_bare(sim, 0);
    sim_start(sim, 0);
    cr_assert(disk_open(sim_disk(sim, 0), "f", DISK_READ, &f, NULL) == OK);
    cr_assert(file_pread(f, got, sizeof got, 0, &len, NULL) == OK);
    file_close(f);
    sim_kill(sim, 0);
    sim_free(sim);
    return len == sizeof got && memcmp(got, "12345678", len) == 0;
}

Test(sim_faults, a_power_cut_in_the_middle_of_a_sync_loses_what_it_covers) {
    cr_assert(!survives_cut(500));
    cr_assert(survives_cut(1500));
}

Test(sim_faults, a_pause_stops_all_of_a_node_and_not_its_clock) {
    for (unsigned by_seed = 0; by_seed < 2; by_seed++) {
        struct pair p;
        pair_open(
            &p, &(struct sim_options){.seed = by_seed + 1, .fault_rate = {[SIM_PAUSE] = by_seed}});
        struct beat beats[3], other;
        beat_start(&beats[0], p.from->cores[0], p.sim);
        beat_start(&beats[1], p.from->log_core, p.sim);
        beat_start(&beats[2], p.from->control_core, p.sim);
        beat_start(&other, p.to->control_core, p.sim);
        struct job job = {.work = {.run = job_run, .done = job_done}};
        uint64_t mono_ns = core_mono_ns(p.from->cores[0]), start_ms = sim_now_ms(p.sim);
        if (by_seed == 0) {
            sim_pause(p.sim, 0, 5000);
        } else {
            sim_set_faults(p.sim, true);
            while (sim_fault_total(p.sim, SIM_PAUSE) == 0)
                cr_assert(sim_step(p.sim));
            sim_set_faults(p.sim, false);
        }
        bool is_other = by_seed == 1 && beats[0].beats + beats[1].beats + beats[2].beats == 0;
        struct core *home = is_other ? p.to->cores[0] : p.from->cores[0];
        core_set_current(home);
        work_submit(home, &job.work);
        core_set_current(NULL);
        end_send(is_other ? &p.a : &p.b, 0, 10);
        run_for(p.sim, by_seed ? 900 : 4900);
        cr_assert(job.ran == 0 && p.a.frames + p.b.frames == 0, "nothing runs");
        run_for(p.sim, 12000);
        cr_assert(job.ran == 1 && job.done == 1 && p.a.frames + p.b.frames == 1,
                  "and then all of it");
        for (size_t i = 0; i < ARRAY_LEN(beats) && by_seed == 0; i++)
            cr_assert(beats[i].last_ms > start_ms && beats[i].beats >= 30 && beats[i].beats <= 43);
        if (by_seed == 0) {
            cr_assert(other.gap_max_ms < 310, "another node");
            uint64_t own_ms = (core_mono_ns(p.from->cores[0]) - mono_ns) / 1000000;
            uint64_t took_ms = sim_now_ms(p.sim) - start_ms;
            cr_assert(own_ms >= took_ms * 994 / 1000 && own_ms <= took_ms * 1006 / 1000);
        }
        sim_free(p.sim);
    }
}

/* A dial to a node that is paused for longer than a dial may take. */
Test(sim_faults, a_dial_to_a_paused_node_times_out) {
    struct pair p;
    pair_open(&p, &(struct sim_options){.seed = 3});
    for (unsigned during = 0; during < 2; during++) {
        struct end e = {.sim = p.sim};
        uint64_t start_ms = sim_now_ms(p.sim);
        p.b = (struct end){.sim = p.sim};
        if (during == 0) sim_pause(p.sim, 1, 9000);
        if (during == 1) sim_pause(p.sim, 1, 3000);
        end_dial(&e, p.from, "n1:1");
        run_for(p.sim, 2000);
        if (during == 1) sim_pause(p.sim, 1, 9000); /* longer than it looked */
        run_for(p.sim, 3005);
        cr_assert(e.closed == 1 && e.opened == 0 && e.closed_ms - start_ms <= 5005, "%u", during);
        cr_assert_str_eq(e.why, "connection timed out");
        run_for(p.sim, 10000);
        cr_assert(p.b.conn == NULL, "nobody accepts what nobody waits for");
    }
    sim_free(p.sim);
}

/* Both ends stand still: the dial has timed out before either knows, so no half of it stays. */
Test(sim_faults, a_dial_that_timed_out_is_not_accepted) {
    struct pair p;
    pair_open(&p, &(struct sim_options){.seed = 4});
    struct end e = {.sim = p.sim};
    p.b = (struct end){.sim = p.sim};
    sim_pause(p.sim, 1, 9000);
    end_dial(&e, p.from, "n1:1");
    run_for(p.sim, 10);
    sim_pause(p.sim, 0, 12000);
    run_for(p.sim, 20000);
    cr_assert(e.closed == 1 && e.opened == 0 && p.b.conn == NULL);
    sim_free(p.sim);
}

/* ---- a full disk ---- */

Test(sim_faults, a_full_disk_refuses_what_takes_space_and_nothing_else) {
    struct pair p;
    pair_open(&p, &(struct sim_options){.seed = 1});
    struct disk *d = sim_disk(p.sim, 0);
    struct file *f = NULL, *g = NULL;
    struct err err = {0};
    char byte = 0;
    size_t len = 0;
    uint64_t free_bytes = 0;
    cr_assert(disk_open(d, "old", DISK_READ | DISK_WRITE | DISK_CREATE, &f, NULL) == OK);
    cr_assert(file_pwrite(f, "x", 1, 0, NULL) == OK);
    sim_disk_full(p.sim, 0, true);
    cr_assert(file_pwrite(f, "y", 1, 1, &err) == ERR_IO && err.os == ENOSPC);
    cr_assert(disk_open(d, "new", DISK_WRITE | DISK_CREATE, &g, &err) == ERR_IO);
    cr_assert(err.os == ENOSPC && !disk_exists(d, "new"));
    cr_assert(disk_mkdir(d, "dir", &err) == ERR_IO && err.os == ENOSPC && !disk_exists(d, "dir"));
    cr_assert(disk_space(d, "", &free_bytes, NULL) == OK && free_bytes == 0);
    cr_assert(file_pread(f, &byte, 1, 0, &len, NULL) == OK && len == 1 && byte == 'x');
    cr_assert(file_sync(f, NULL) == OK && disk_rename(d, "old", "moved", NULL) == OK);
    cr_assert(file_truncate(f, 0, NULL) == OK && disk_unlink(d, "moved", NULL) == OK);
    struct disk *other = sim_disk(p.sim, 1);
    cr_assert(disk_open(other, "new", DISK_WRITE | DISK_CREATE, &g, NULL) == OK);
    file_close(g);
    sim_disk_full(p.sim, 0, false);
    cr_assert(file_pwrite(f, "y", 1, 0, NULL) == OK);
    cr_assert(disk_space(d, "", &free_bytes, NULL) == OK && free_bytes > 0);
    cr_assert(sim_fault_total(p.sim, SIM_DISK_FULL) == 1);
    file_close(f);
    sim_free(p.sim);
}

Test(sim_faults, disks_fill_up_by_seed_and_have_space_again) {
    struct pair p;
    pair_open(&p, &(struct sim_options){.seed = 1, .fault_rate = {[SIM_DISK_FULL] = 0.02}});
    sim_set_faults(p.sim, true);
    unsigned refused = 0, written = 0, turns = 0;
    bool was_ok = true;
    for (unsigned i = 0; i < 2000; i++) {
        struct writer w;
        writer_post(&w, p.from, p.sim);
        run_for(p.sim, 100);
        cr_assert(w.status == OK || (w.status == ERR_IO && w.os_errno == ENOSPC));
        refused += w.status != OK;
        written += w.status == OK;
        turns += was_ok != (w.status == OK);
        was_ok = w.status == OK;
    }
    cr_assert(refused > 100 && written > 100 && turns > 3, "%u %u %u", refused, written, turns);
    sim_set_faults(p.sim, false);
    struct writer w;
    writer_post(&w, p.from, p.sim);
    run_for(p.sim, 100);
    cr_assert(w.status == OK);
    sim_free(p.sim);
}

/* ---- clocks ---- */

Test(sim_faults, the_wall_clock_jumps_and_the_monotonic_one_does_not) {
    struct pair p;
    pair_open(&p, &(struct sim_options){.seed = 1});
    struct core *core = p.from->cores[0], *other = p.to->cores[0];
    int64_t wall_ms = core_wall_ms(core), other_ms = core_wall_ms(other);
    uint64_t mono_ns = core_mono_ns(core);
    sim_clock_jump(p.sim, 0, -600000);
    cr_assert(core_wall_ms(core) == wall_ms - 600000 && core_mono_ns(core) == mono_ns);
    cr_assert(core_wall_ms(other) == other_ms);
    sim_clock_jump(p.sim, 0, 5000);
    cr_assert(core_wall_ms(core) == wall_ms - 595000);
    sim_set_faults(p.sim, false);
    cr_assert(core_wall_ms(core) == wall_ms);
    cr_assert(sim_fault_total(p.sim, SIM_CLOCK_JUMP) == 2);
    sim_free(p.sim);
}

Test(sim_faults, wall_clocks_jump_by_seed_within_ten_minutes) {
    struct pair p;
    pair_open(&p, &(struct sim_options){.seed = 1, .fault_rate = {[SIM_CLOCK_JUMP] = 0.5}});
    struct beat beat;
    beat_start(&beat, p.from->cores[0], p.sim);
    sim_set_faults(p.sim, true);
    int64_t base_ms = core_wall_ms(p.from->cores[0]) - (int64_t)sim_now_ms(p.sim), low = 0,
            high = 0;
    uint64_t mono_ns = core_mono_ns(p.from->cores[0]);
    for (unsigned i = 0; i < 2000; i++) {
        cr_assert(sim_step(p.sim));
        int64_t off_ms = core_wall_ms(p.from->cores[0]) - (int64_t)sim_now_ms(p.sim) - base_ms;
        low = MIN(low, off_ms);
        high = MAX(high, off_ms);
        cr_assert(core_mono_ns(p.from->cores[0]) >= mono_ns);
        mono_ns = core_mono_ns(p.from->cores[0]);
    }
    cr_assert(low >= -600001 && low < -300000 && high <= 600001 && high > 300000);
    cr_assert(sim_fault_total(p.sim, SIM_CLOCK_JUMP) > 500);
    sim_free(p.sim);
}

/* Each node counts from elsewhere and at its own rate, and no timer is early on its own clock. */
struct alarm_clock {
    struct timer timer;
    uint64_t due_ns, rings;
    struct rng *rng;
};
static void alarm_set(struct alarm_clock *a, uint64_t delay_ms) {
    a->due_ns = core_mono_ns(a->timer.core) + delay_ms * 1000000;
    timer_start(&a->timer, delay_ms);
}
static void alarm_fire(struct timer *t) {
    struct alarm_clock *a = container_of(t, struct alarm_clock, timer);
    uint64_t now_ns = core_mono_ns(t->core);
    cr_assert(now_ns >= a->due_ns && now_ns < a->due_ns + 1000000, "%" PRIu64, now_ns - a->due_ns);
    a->rings++;
    alarm_set(a, 1 + rng_below(a->rng, 5000));
}

Test(sim_faults, monotonic_clocks_have_their_own_origin_and_rate) {
    double slowest = 2, fastest = 0;
    for (uint64_t seed = 1; seed <= 10; seed++) {
        struct pair p;
        pair_open(&p, &(struct sim_options){.seed = seed});
        struct runtime *rts[] = {p.from, p.to};
        struct alarm_clock alarms[2];
        uint64_t start_ns[2], start_ms = sim_now_ms(p.sim);
        for (size_t i = 0; i < 2; i++) {
            struct core *core = rts[i]->control_core;
            start_ns[i] = core_mono_ns(core);
            alarms[i] = (struct alarm_clock){.rng = sim_rng(p.sim)};
            core_set_current(core);
            timer_init(&alarms[i].timer, core, alarm_fire);
            alarm_set(&alarms[i], 1);
            core_set_current(NULL);
        }
        cr_assert(start_ns[0] != start_ns[1]);
        run_for(p.sim, 1000000);
        for (size_t i = 0; i < 2; i++) {
            double ms = (double)(core_mono_ns(rts[i]->control_core) - start_ns[i]) / 1e6;
            double rate = ms / (double)(sim_now_ms(p.sim) - start_ms);
            cr_assert(rate > 0.9949 && rate < 1.0051 && alarms[i].rings > 200, "%g", rate);
            slowest = MIN(slowest, rate);
            fastest = MAX(fastest, rate);
        }
        sim_free(p.sim);
    }
    cr_assert(slowest < 0.998 && fastest > 1.002, "%g to %g", slowest, fastest);
}

/* ---- nodes that come, go and move ---- */

static bool count_name(void *ctx, const char *name) {
    (void)name;
    ++*(unsigned *)ctx;
    return true;
}

Test(sim_faults, a_node_joins_late_with_an_empty_disk_and_was_not_down_before) {
    struct sim *sim = sim_new(&(struct sim_options){.seed = 1,
                                                    .nodes_count = 12,
                                                    .cores_per_node = 1,
                                                    .fault_rate = {[SIM_CRASH] = 0.01},
                                                    .down_max = 1});
    struct end a = {.sim = sim}, b = {.sim = sim};
    sim_set_faults(sim, false);
    struct runtime *first = sim_start(sim, 0);
    run_for(sim, 5000);
    struct runtime *late = sim_start(sim, 11);
    unsigned names = 0;
    cr_assert(disk_list(sim_disk(sim, 11), "", count_name, &names, NULL) == OK && names == 0);
    end_listen(&b, late, 11);
    end_dial(&a, first, "n11:1");
    run_for(sim, 100);
    cr_assert(a.opened == 1 && b.conn != NULL);
    struct beat beat;
    beat_start(&beat, first->cores[0], sim);
    sim_set_faults(sim, true);
    for (unsigned i = 0; i < 5000 && sim_is_up(sim, 0) && sim_is_up(sim, 11); i++)
        sim_step(sim);
    cr_assert(sim_fault_total(sim, SIM_CRASH) == 1, "ten nodes that never started are not down");
    sim_free(sim);
}

Test(sim_faults, a_wiped_disk_is_empty) {
    for (unsigned crash = 0; crash < 2; crash++) {
        struct sim *sim = sim_quiet(1, 2);
        unsigned names = 0;
        struct file *f = NULL, *g = NULL;
        sim_start(sim, 0);
        cr_assert(disk_mkdir(sim_disk(sim, 0), "a/b", NULL) == OK);
        cr_assert(disk_open(sim_disk(sim, 0), "a/b/f", DISK_WRITE | DISK_CREATE, &f, NULL) == OK);
        cr_assert(file_pwrite(f, "x", 1, 0, NULL) == OK && file_sync(f, NULL) == OK);
        cr_assert(disk_lock(sim_disk(sim, 0), "lock", &g, NULL) == OK);
        cr_assert(disk_sync_dir(sim_disk(sim, 0), "a/b", NULL) == OK);
        if (crash)
            sim_crash(sim, 0);
        else
            sim_kill(sim, 0);
        sim_disk_wipe(sim, 0);
        cr_assert(file_sync(f, NULL) == ERR_IO, "a file of the old disk");
        file_close(f);
        sim_start(sim, 0);
        cr_assert(disk_list(sim_disk(sim, 0), "", count_name, &names, NULL) == OK && names == 0);
        cr_assert(disk_lock(sim_disk(sim, 0), "lock", &g, NULL) == OK);
        sim_crash(sim, 0);
        sim_free(sim);
    }
}

static void accept_nobody(struct core *core, struct conn *c, void *ctx) {
    (void)core;
    (void)c;
    (void)ctx;
}

Test(sim_faults, a_moved_node_answers_at_its_new_address_only) {
    struct pair p;
    pair_open(&p, &(struct sim_options){.seed = 1, .nodes_count = 12});
    struct end to_old[3],
        to_new[3]; /* outlive the loop: the last life's end is heard in the next */
    for (unsigned move = 0; move < 3; move++) {
        char old[32];
        snprintf(old, sizeof old, "%s", sim_addr(p.sim, 1));
        sim_kill(p.sim, 1);
        sim_move(p.sim, 1);
        cr_assert_str_neq(old, sim_addr(p.sim, 1));
        p.b = (struct end){.sim = p.sim};
        p.to = sim_start(p.sim, 1);
        to_old[move] = to_new[move] = (struct end){.sim = p.sim};
        core_set_current(p.to->cores[0]);
        cr_assert(net_listen(p.to->cores[0], sv_from(old), accept_nobody, NULL, NULL) != OK);
        core_set_current(NULL);
        end_listen(&p.b, p.to, 1);
        end_dial(&to_old[move], p.from, old);
        run_for(p.sim, 50);
        cr_assert(to_old[move].closed == 1 && to_old[move].opened == 0);
        cr_assert_str_eq(to_old[move].why, "connection refused");
        end_dial(&to_new[move], p.from, sim_addr(p.sim, 1));
        end_send(&to_new[move], 0, 10);
        run_for(p.sim, 50);
        cr_assert(to_new[move].opened == 1 && p.b.frames == 1);
    }
    /* partitions follow the node, not the address */
    struct end e = {.sim = p.sim};
    sim_partition(p.sim, 0, 1, 20000);
    end_dial(&e, p.from, sim_addr(p.sim, 1));
    run_for(p.sim, 5010);
    cr_assert_str_eq(e.why, "connection timed out");
    sim_free(p.sim);
}
