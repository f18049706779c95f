/* SPDX-License-Identifier: Apache-2.0 */
/* The faults that replication has to live with, one by one, by plan and by seed: what happens
 * to frames on their way. */
#include <criterion/criterion.h>
#include <inttypes.h>

#include "tests/sim/ends.h"

/* ---- one way ---- */

Test(sim_oneway, frames_vanish_one_way_and_pass_the_other) {
    for (uint64_t seed = 1; seed <= 40; seed++) {
        struct pair p;
        pair_open(&p, &(struct sim_options){.seed = seed});
        uint64_t start_ms = sim_now_ms(p.sim);
        sim_partition_one_way(p.sim, 0, 1, 60000);
        for (char i = 0; i < 3; i++) {
            end_send(&p.a, i, 10);
            end_send(&p.b, i, 10);
        }
        run_for(p.sim, 9000);
        cr_assert(p.a.frames == 3 && p.a.in_order && p.b.frames == 0);
        cr_assert(p.a.closed + p.b.closed == 0, "the sender thinks all is well");
        run_for(p.sim, 51000);
        cr_assert(p.a.closed == 1 && p.b.closed == 1 && p.b.frames == 0);
        cr_assert_str_eq(p.a.why, "connection timed out");
        uint64_t after_ms = p.a.closed_ms - start_ms;
        cr_assert(after_ms >= 10000 && after_ms <= 30001, "%" PRIu64 " ms", after_ms);
        cr_assert(sim_fault_total(p.sim, SIM_PARTITION_ONE_WAY) == 1);
        sim_free(p.sim);
    }
}

/* What is lost is not made good: the connection ends soon after the heal, and a new one works. */
Test(sim_oneway, a_healed_one_way_partition_ends_the_connections_that_lost_frames) {
    for (unsigned how = 0; how < 3; how++) {
        struct pair p;
        pair_open(&p, &(struct sim_options){.seed = how + 1});
        struct end quiet_a = {.sim = p.sim}, quiet_b = {.sim = p.sim};
        sim_partition_one_way(p.sim, 0, 1, how == 0 ? 2000 : 100000);
        end_send(&p.a, 0, 10);
        run_for(p.sim, 1900);
        cr_assert(p.a.closed == 0);
        if (how == 1) sim_partition_one_way(p.sim, 0, 1, 0);
        if (how == 2) sim_set_faults(p.sim, false);
        run_for(p.sim, 100);
        end_send(&p.a, 1, 10); /* open as it looks, the stream has a hole */
        run_for(p.sim, 60);
        cr_assert(p.a.closed == 1 && p.b.frames == 0, "%u", how);
        run_for(p.sim, 2100);
        cr_assert(p.b.closed == 1);
        p.b = quiet_b;
        end_dial(&quiet_a, p.from, "n1:1");
        end_send(&quiet_a, 0, 10);
        run_for(p.sim, 100);
        cr_assert(quiet_a.opened == 1 && p.b.frames == 1);
        sim_free(p.sim);
    }
}

Test(sim_oneway, an_idle_connection_survives_a_one_way_partition_and_dials_do_not) {
    for (uint64_t seed = 1; seed <= 10; seed++) {
        struct pair p;
        pair_open(&p, &(struct sim_options){.seed = seed});
        struct end there = {.sim = p.sim}, back = {.sim = p.sim};
        end_listen(&there, p.from, 0);
        sim_partition_one_way(p.sim, 0, 1, 8000);
        uint64_t start_ms = sim_now_ms(p.sim);
        struct end dial_there = {.sim = p.sim};
        end_dial(&dial_there, p.from, "n1:1");
        end_dial(&back, p.to, "n0:1");
        run_for(p.sim, 7000);
        cr_assert(dial_there.closed == 1 && dial_there.opened == 0);
        cr_assert(back.closed == 1 && back.opened == 0 && there.conn == NULL);
        cr_assert_str_eq(back.why, "connection timed out");
        cr_assert(back.closed_ms - start_ms <= 5005);
        run_for(p.sim, 2000);
        end_send(&p.a, 0, 10);
        end_send(&p.b, 0, 10);
        run_for(p.sim, 100);
        cr_assert(p.a.frames == 1 && p.b.frames == 1 && p.a.closed + p.b.closed == 0);
        sim_free(p.sim);
    }
}

/* Neither a close nor the death of the process is heard where nothing arrives. */
Test(sim_oneway, the_end_of_a_connection_is_not_heard_through_a_one_way_partition) {
    for (unsigned how = 0; how < 2; how++) {
        struct pair p;
        pair_open(&p, &(struct sim_options){.seed = how + 1});
        sim_partition_one_way(p.sim, 0, 1, 6000);
        if (how == 0) {
            core_set_current(p.a.conn->core);
            conn_close(p.a.conn);
            core_set_current(NULL);
        } else {
            sim_kill(p.sim, 0);
        }
        run_for(p.sim, 5900);
        cr_assert(p.a.closed == (how == 0) && p.b.closed == 0);
        run_for(p.sim, 200);
        cr_assert(p.b.closed == 1);
        sim_free(p.sim);
    }
}

Test(sim_oneway, one_way_partitions_strike_by_seed_in_both_directions_and_end) {
    unsigned there = 0, back = 0;
    for (uint64_t seed = 1; seed <= 60; seed++) {
        struct pair p;
        pair_open(&p,
                  &(struct sim_options){.seed = seed, .fault_rate = {[SIM_PARTITION_ONE_WAY] = 1}});
        sim_set_faults(p.sim, true);
        end_send(&p.a, 0, 10);
        cr_assert(sim_fault_total(p.sim, SIM_PARTITION_ONE_WAY) == 1);
        run_for(p.sim, 40);
        there += p.b.frames == 0;
        back += p.b.frames == 1;
        run_for(p.sim, 40000);
        cr_assert(p.b.frames == 1 ? p.a.closed == 0 : p.a.closed == 1 && p.b.closed == 1);
        sim_free(p.sim);
    }
    cr_assert(there > 15 && back > 15, "%u there, %u back", there, back);
}

/* ---- duplicates ---- */

Test(sim_oneway, a_duplicated_frame_comes_twice) {
    for (uint64_t seed = 1; seed <= 40; seed++) {
        struct pair p;
        pair_open(&p,
                  &(struct sim_options){.seed = seed, .fault_rate = {[SIM_FRAME_DUPLICATED] = 1}});
        sim_set_faults(p.sim, true);
        for (char i = 0; i < 20; i++)
            end_send(&p.a, i, 10);
        run_for(p.sim, 205);
        cr_assert(p.b.frames == 40 && p.b.copies == 20 && p.b.bytes == 400);
        cr_assert(p.b.seen == (1ULL << 20) - 1);
        cr_assert(sim_fault_total(p.sim, SIM_FRAME_DUPLICATED) == 20);
        cr_assert(p.a.closed + p.b.closed == 0);
        sim_free(p.sim);
    }
}

/* ---- both ways, by plan ---- */

Test(sim_oneway, a_planned_partition_ends_at_once_with_duration_0) {
    for (uint64_t seed = 1; seed <= 20; seed++) {
        struct pair p;
        pair_open(&p, &(struct sim_options){.seed = seed});
        struct end e = {.sim = p.sim}, there = {.sim = p.sim};
        end_listen(&there, p.from, 0);
        sim_partition(p.sim, 0, 1, 0);
        end_send(&p.a, 0, 10);
        run_for(p.sim, 10);
        cr_assert(p.b.frames == 1 && p.a.closed + p.b.closed == 0, "there was none");
        sim_partition(p.sim, 0, 1, 60000);
        sim_partition(p.sim, 0, 1, 0);
        end_dial(&e, p.to, "n0:1");
        run_for(p.sim, 10);
        cr_assert(e.opened == 1 && sim_fault_total(p.sim, SIM_PARTITION) == 1);
        sim_free(p.sim);
    }
}
