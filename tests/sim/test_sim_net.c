/* SPDX-License-Identifier: Apache-2.0 */
/* Single connections and single power cuts: what the application of pingpong.h does not look at. */
#include <assert.h>
#include <criterion/criterion.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "node/base/bytes.h"
#include "tests/sim/ends.h"

Test(sim_net, a_dial_that_cannot_connect_is_closed_within_5_s) {
    static const struct {
        const char *addr;
        bool partitioned;
        const char *why;
        uint64_t ms_max;
    } rows[] = {
        {"n1:1", false, "connection refused", 5}, /* up, nobody listens */
        {"n2:1", false, "connection refused", 5}, /* down */
        {"n7:1", false, "connection refused", 5}, /* no such node */
        {"nowhere", false, "connection refused", 5},
        {"n1:1", true, "connection timed out", 5005},
        {"a-name-that-is-longer-than-any-address:12345", false, "address too long", 5},
    };
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        struct sim *sim = sim_quiet(i + 1, 3);
        struct runtime *rt = sim_start(sim, 0);
        struct end e = {.sim = sim};
        sim_start(sim, 1);
        if (rows[i].partitioned) sim_partition(sim, 0, 1, 10000);
        uint64_t start_ms = sim_now_ms(sim);
        end_dial(&e, rt, rows[i].addr);
        run_dry(sim);
        cr_assert(e.opened == 0 && e.closed == 1, "row %zu", i);
        cr_assert_str_eq(e.why, rows[i].why);
        cr_assert(e.closed_ms - start_ms <= rows[i].ms_max, "row %zu", i);
        sim_free(sim);
    }
}

Test(sim_net, what_is_sent_while_dialling_comes_first_and_a_close_tells_both_ends) {
    unsigned all = 0;
    for (uint64_t seed = 1; seed <= 50; seed++) {
        struct sim *sim = sim_quiet(seed, 2);
        struct runtime *from = sim_start(sim, 0), *to = sim_start(sim, 1);
        struct end a = {.sim = sim}, b = {.sim = sim};
        end_listen(&b, to, 1);
        end_dial(&a, from, "n1:1");
        for (char i = 0; i < 3; i++)
            end_send(&a, i, 10);
        while (a.opened == 0)
            cr_assert(sim_step(sim));
        for (char i = 3; i < 6; i++)
            end_send(&a, i, 10);
        if (seed % 2 == 0) {
            core_set_current(a.conn->core);
            conn_close(a.conn);
            conn_close(a.conn);
            core_set_current(NULL);
        }
        run_dry(sim);
        cr_assert(b.frames == 0 || b.in_order, "seed %" PRIu64, seed);
        cr_assert(seed % 2 == 0 ? a.closed == 1 && b.closed == 1
                                : a.closed + b.closed == 0 && b.frames == 6);
        all += b.frames == 6;
        sim_free(sim);
    }
    cr_assert(all > 40 && all < 50, "%u: a close may lose what was sent before, mostly it does not",
              all);
}

Test(sim_net, a_queue_beyond_its_limit_closes_the_connection) {
    struct sim *sim = sim_quiet(1, 2);
    struct runtime *from = sim_start(sim, 0), *to = sim_start(sim, 1);
    struct end a = {.sim = sim}, b = {.sim = sim};
    end_listen(&b, to, 1);
    end_dial(&a, from, "n1:1");
    while (a.opened == 0)
        cr_assert(sim_step(sim));
    for (char i = 0; i < 3; i++)
        end_send(&a, i, 48U << 20);
    run_dry(sim);
    cr_assert(a.closed == 1 && b.closed == 1 && b.frames <= 2);
    sim_free(sim);
}

Test(sim_net, a_crash_closes_the_peer_and_late_calls_of_the_dead_are_harmless) {
    for (uint64_t seed = 1; seed <= 20; seed++) {
        struct sim *sim = sim_quiet(seed, 2);
        struct runtime *from = sim_start(sim, 0), *to = sim_start(sim, 1);
        struct end a = {.sim = sim}, b = {.sim = sim}, c = {.sim = sim};
        end_listen(&b, to, 1);
        end_dial(&a, from, "n1:1");
        while (a.opened == 0)
            cr_assert(sim_step(sim));
        end_send(&a, 0, 10);
        uint64_t start_ms = sim_now_ms(sim);
        sim_crash(sim, 1);
        end_send(&b, 0, 10);
        core_set_current(b.conn->core);
        conn_close(b.conn);
        core_set_current(NULL);
        struct runtime *again = sim_start(sim, 1);
        end_listen(&c, again, 1);
        run_dry(sim);
        cr_assert(a.closed == 1 && a.frames == 0 && a.closed_ms - start_ms <= 2005);
        cr_assert(b.closed == 0 && b.frames == 0 &&
                  c.conn == NULL); /* the old connection is not the new life's */
        sim_free(sim);
    }
}

/* Three frames on an open connection, under one fault that strikes each of them. */
Test(sim_net, each_network_fault_does_what_its_name_says) {
    static const struct {
        enum sim_fault fault;
        uint64_t frames_min, frames_max, after_ms_min, after_ms_max;
        bool closes;
    } rows[] = {
        {SIM_FRAME_LOST, 0, 0, 1, 206, true},
        {SIM_CONN_CUT, 0, 0, 1, 2000, true},
        {SIM_FRAME_DELAYED, 3, 3, 50, 9010, false},
        {SIM_FRAME_REORDERED, 3, 3, 0, 25, false},
    };
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        unsigned disordered = 0;
        for (uint64_t seed = 1; seed <= 40; seed++) {
            struct sim_options o = {.seed = seed, .nodes_count = 2, .cores_per_node = 1};
            o.fault_rate[rows[i].fault] = 1;
            struct sim *sim = sim_new(&o);
            struct runtime *from = sim_start(sim, 0), *to = sim_start(sim, 1);
            struct end a = {.sim = sim}, b = {.sim = sim};
            sim_set_faults(sim, false);
            end_listen(&b, to, 1);
            end_dial(&a, from, "n1:1");
            while (a.opened == 0)
                cr_assert(sim_step(sim));
            sim_set_faults(sim, true);
            uint64_t start_ms = sim_now_ms(sim);
            for (char k = 0; k < 3; k++)
                end_send(&a, k, 10);
            run_dry(sim);
            uint64_t after_ms = sim_now_ms(sim) - start_ms;
            cr_assert(b.frames >= rows[i].frames_min && b.frames <= rows[i].frames_max);
            cr_assert(after_ms >= rows[i].after_ms_min && after_ms <= rows[i].after_ms_max,
                      "%s: %" PRIu64 " ms", sim_fault_names[rows[i].fault], after_ms);
            cr_assert(a.closed == rows[i].closes && b.closed == rows[i].closes);
            disordered += b.frames > 0 && !b.in_order;
            sim_free(sim);
        }
        cr_assert(rows[i].fault == SIM_FRAME_REORDERED ? disordered > 10 : disordered == 0);
    }
}

Test(sim_net, a_partition_cuts_or_holds_until_it_heals) {
    unsigned held = 0;
    for (uint64_t seed = 1; seed <= 40; seed++) {
        struct sim *sim = sim_quiet(seed, 2);
        struct runtime *from = sim_start(sim, 0), *to = sim_start(sim, 1);
        struct end a = {.sim = sim}, b = {.sim = sim};
        end_listen(&b, to, 1);
        end_dial(&a, from, "n1:1");
        while (a.opened == 0)
            cr_assert(sim_step(sim));
        uint64_t start_ms = sim_now_ms(sim);
        sim_partition(sim, 0, 1, 700);
        end_send(&a, 0, 10);
        while (b.frames == 0 && sim_step(sim))
            cr_assert(b.frames == 0 || sim_now_ms(sim) >= start_ms + 700);
        cr_assert(b.frames == 1 ? a.closed + b.closed == 0 : a.closed == 1 && b.closed == 1);
        held += b.frames == 1;
        sim_free(sim);
    }
    cr_assert(held > 5 && held < 35, "%u", held);
}

static unsigned nodes_down(struct sim *sim, unsigned count) {
    unsigned down = 0;
    for (unsigned i = 0; i < count; i++)
        down += !sim_is_up(sim, i);
    return down;
}

static void timer_again(struct timer *t) {
    timer_start(t, 1);
}

Test(sim_net, crashes_by_seed_respect_the_bound_of_nodes_down) {
    struct sim *sim = sim_new(&(struct sim_options){.seed = 1,
                                                    .nodes_count = 3,
                                                    .cores_per_node = 1,
                                                    .fault_rate = {[SIM_CRASH] = 0.05},
                                                    .down_max = 1});
    static struct timer timers[3];
    for (unsigned round = 0; round < 50; round++) {
        for (unsigned i = 0; i < 3; i++) {
            if (sim_is_up(sim, i)) continue;
            struct runtime *rt = sim_start(sim, i);
            core_set_current(rt->cores[0]);
            timer_init(&timers[i], rt->cores[0], timer_again);
            timer_start(&timers[i], 1);
            core_set_current(NULL);
        }
        for (unsigned k = 0; k < 3000; k++) {
            sim_step(sim);
            cr_assert(nodes_down(sim, 3) <= 1);
        }
    }
    cr_assert(sim_fault_total(sim, SIM_CRASH) > 20);
    sim_free(sim);
}

/* ---- a power cut in the middle of an event ---- */

/* Node 0's log core appends, syncs, and tells both its core 0 and node 1, whether that went well or
 * not: a node whose power was cut tells nobody. */
struct logger {
    struct msg log, acks[5];
    struct end end; /* on the log core */
    struct runtime *rt;
    struct file *file;
    unsigned acked;
};
static struct logger *logger_now; /* of the one test that runs */

static void logger_ack(struct core *here, struct msg *m) {
    (void)here;
    (void)m;
    logger_now->acked++;
}

static void logger_log(struct core *here, struct msg *m) {
    struct logger *l = container_of(m, struct logger, log);
    struct disk *d = here->rt->disk;
    if (disk_open(d, "log", DISK_WRITE | DISK_CREATE, &l->file, NULL) != OK) return;
    if (disk_sync_dir(d, "", NULL) != OK) return;
    for (size_t i = 0; i < ARRAY_LEN(l->acks); i++) {
        if (file_pwrite(l->file, "12345678", 8, i * 8, NULL) == OK)
            status_ignore(file_sync(l->file, NULL));
        l->acks[i].run = logger_ack;
        core_post(here->rt->cores[0], &l->acks[i]);
        struct buf b = {0};
        buf_put_u8(&b, (uint8_t)i);
        if (l->end.closed == 0) conn_send(l->end.conn, &b);
    }
}

/* An event before, at whose end the cut may be planned. */
static void logger_on_opened(struct conn *c, void *ctx) {
    struct logger *l = container_of((struct end *)ctx, struct logger, end);
    l->end.opened++;
    l->log.run = logger_log;
    core_post(c->core, &l->log);
}

static const struct conn_events logger_events = {logger_on_opened, end_on_frame, end_on_closed};

static unsigned logger_durable(struct disk *d) {
    struct buf b = {0};
    unsigned count = 0;
    if (disk_read_file(d, "log", 100, &b, NULL) == OK)
        while (count * 8 + 8 <= b.len && memcmp(b.ptr + (size_t)count * 8, "12345678", 8) == 0)
            count++;
    buf_fini(&b);
    return count;
}

static void logger_on_crashed(void *ctx, unsigned node) {
    if (node == 0) ++*(unsigned *)ctx;
}

Test(sim_net, a_cut_in_the_middle_of_an_event_lets_nothing_out) {
    unsigned ahead = 0, finished = 0, nothing = 0, partly = 0, told = 0;
    for (uint64_t seed = 1; seed <= 600; seed++) {
        unsigned crashes = 0;
        struct sim *sim = sim_new(
            &(struct sim_options){.seed = seed,
                                  .nodes_count = 2,
                                  .cores_per_node = 1,
                                  .fault_rate = {[SIM_CRASH] = 1, [SIM_WRITE_DROPPED] = 0.5},
                                  .crashed = logger_on_crashed,
                                  .ctx = &crashes});
        static struct logger l;
        l = (struct logger){.end.sim = sim, .rt = sim_start(sim, 0)};
        logger_now = &l;
        struct end b = {.sim = sim};
        end_listen(&b, sim_start(sim, 1), 1);
        core_set_current(l.rt->log_core);
        l.end.conn = net_dial(l.rt->log_core, SV("n1:1"), &logger_events, &l.end);
        core_set_current(NULL);
        run_dry(sim);
        sim_crash(sim, 0);
        cr_assert(crashes == 1);
        file_close(l.file);
        sim_set_faults(sim, false);
        sim_start(sim, 0);
        unsigned durable = logger_durable(sim_disk(sim, 0));
        cr_assert(l.acked <= durable, "seed %" PRIu64 ": %u acked, %u durable", seed, l.acked,
                  durable);
        cr_assert(b.frames <= durable, "seed %" PRIu64 ": %" PRIu64 " sent, %u durable", seed,
                  b.frames, durable);
        ahead += durable > l.acked;
        nothing += durable == 0;
        finished += l.acked == 5;
        partly += durable > 0 && durable < 5;
        told += b.frames > 0;
        sim_free(sim);
    }
    cr_log_info("ahead %u nothing %u partly %u finished %u told %u", ahead, nothing, partly,
                finished, told);
    cr_assert(ahead > 20 && nothing > 20 && partly > 20 && finished > 2 && told > 20);
}

/* ---- schedules ---- */

struct order {
    struct msg a, b;
    struct work works[4];
    int first;
    unsigned ran, firsts[4], worked, newest, overtaken;
};

static struct order *order_now;

static void order_a(struct core *here, struct msg *m) {
    (void)here;
    (void)m;
    if (order_now->first == 0) order_now->first = 'a';
}

static void order_b(struct core *here, struct msg *m) {
    (void)here;
    (void)m;
    if (order_now->first == 0) order_now->first = 'b';
}

static void order_work(struct work *w) {
    unsigned i = (unsigned)(w - order_now->works);
    order_now->firsts[i] += order_now->ran++ == 0;
    order_now->overtaken += i < order_now->newest;
    order_now->newest = MAX(order_now->newest, i);
}

static void order_done(struct core *here, struct work *w) {
    cr_assert(here == w->home);
    order_now->worked++;
}

Test(sim_net, cores_and_work_run_in_any_order) {
    unsigned a_first = 0, overtaken = 0, firsts[4] = {0};
    for (uint64_t seed = 1; seed <= 100; seed++) {
        struct sim *sim =
            sim_new(&(struct sim_options){.seed = seed, .nodes_count = 1, .cores_per_node = 2});
        struct runtime *rt = sim_start(sim, 0);
        static struct order o;
        o = (struct order){.a.run = order_a, .b.run = order_b};
        order_now = &o;
        core_post(rt->cores[0], &o.a);
        core_post(rt->cores[1], &o.b);
        core_set_current(rt->cores[0]);
        for (size_t i = 0; i < ARRAY_LEN(o.works); i++) {
            o.works[i] = (struct work){.run = order_work, .done = order_done};
            work_submit(rt->cores[0], &o.works[i]);
        }
        core_set_current(NULL);
        run_dry(sim);
        cr_assert(o.worked == 4);
        a_first += o.first == 'a';
        overtaken += o.overtaken > 0;
        for (size_t i = 0; i < ARRAY_LEN(firsts); i++)
            firsts[i] += o.firsts[i];
        sim_free(sim);
    }
    for (size_t i = 0; i < ARRAY_LEN(firsts); i++)
        cr_assert(firsts[i] > 5, "%zu: %u", i, firsts[i]);
    cr_assert(a_first > 20 && a_first < 80 && overtaken > 50, "%u %u", a_first, overtaken);
}
