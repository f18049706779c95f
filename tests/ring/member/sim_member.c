/* SPDX-License-Identifier: Apache-2.0 */
/* Seeds of whole clusters of members: birth, faults, rest. --seeds=N --seed=FIRST --verbose=1
 * --expect-bug=1 (a planted one must be found). */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "node/base/log.h"
#include "tests/ring/member/world.h"

enum { FAULTS_MS = 20000, CALM_MS = 60000 };

struct totals {
    uint64_t seeds, maps, losses, boots, events, moved, stopped, founded_within;
    uint64_t faults[SIM_FAULT_COUNT];
};

static uint64_t option(int argc, char **argv, const char *name, uint64_t otherwise) {
    size_t len = strlen(name);
    for (int i = 1; i < argc; i++)
        if (strncmp(argv[i], name, len) == 0 && argv[i][len] == '=')
            return strtoull(argv[i] + len + 1, NULL, 10);
    return otherwise;
}

/* The kinds of weather; a seed draws one. */
static void weather(uint64_t seed, struct sim_options *o) {
    static const double some[SIM_FAULT_COUNT] = {[SIM_FRAME_LOST] = 0.004,
                                                 [SIM_FRAME_DELAYED] = 0.03,
                                                 [SIM_FRAME_REORDERED] = 0.05,
                                                 [SIM_CONN_CUT] = 0.004,
                                                 [SIM_PARTITION] = 0.002,
                                                 [SIM_CRASH] = 0.0002,
                                                 [SIM_WRITE_TORN] = 0.3,
                                                 [SIM_WRITE_DROPPED] = 0.3,
                                                 [SIM_NAME_DROPPED] = 0.3,
                                                 [SIM_STALL] = 0.001,
                                                 [SIM_PARTITION_ONE_WAY] = 0.001,
                                                 [SIM_FRAME_DUPLICATED] = 0.01,
                                                 [SIM_DISK_STALL] = 0.005,
                                                 [SIM_DISK_FULL] = 0.001,
                                                 [SIM_PAUSE] = 0.0002,
                                                 [SIM_CLOCK_JUMP] = 0.0002,
                                                 [SIM_PREEMPT] = 0.005};
    o->seed = seed;
    if (seed % 8 == 0) return; /* fine */
    for (int f = 0; f < SIM_FAULT_COUNT; f++)
        if (seed % 8 < 4 || (seed >> 3) % 5 == (uint64_t)f % 5) o->fault_rate[f] = some[f];
    o->fault_rate[SIM_WRITE_TORN] = some[SIM_WRITE_TORN];
    o->down_max = seed % 3 == 0 ? 0 : 1;
}

/* All nodes go down, all addresses change, all come back. */
static void world_move_all(struct world *w) {
    for (unsigned i = 0; i < w->seats_count; i++) {
        w->seats[i].stays_down = true;
        world_kill(w, i);
    }
    for (unsigned i = 0; i < w->seats_count; i++)
        sim_move(w->sim, i);
    for (unsigned i = 0; i < w->seats_count; i++)
        world_start(w, i);
}

/* As ring/member/voters.h says, some time after all is calm. */
static bool voters_are_right(struct world *w) {
    unsigned nodes = w->newest->nodes_count, want = nodes >= 5 ? 5 : nodes >= 3 ? 3 : 1, have = 0;
    for (int tries = 0; tries < 20; tries++) {
        struct admin_call call = {.verb = ADMIN_STATUS};
        if (!world_run(w, 2000)) return false;
        if (world_admin(w, (unsigned)rng_below(sim_rng(w->sim), w->seats_count), &call)) {
            const char *end, *p = buf_cstr(&call.answer);
            if (p == NULL || (p = strstr(p, "\"voters\":[")) == NULL) abort();
            end = strchr(p, ']');
            have = 0;
            for (p += strlen("\"voters\":["); p < end; p++)
                have += *p == '"';
            have /= 2;
        }
        buf_fini(&call.answer);
        if (have == want) return true;
    }
    return world_fail(w, "%u nodes and %u voters", nodes, have);
}

/* Power cuts and partitions while the cluster is born. */
static bool world_hard_birth(struct world *w) {
    struct rng *rng = sim_rng(w->sim);
    for (int i = 0; i < 12; i++) {
        unsigned a = (unsigned)rng_below(rng, w->seats_count);
        unsigned b = (unsigned)rng_below(rng, w->seats_count);
        if (!world_run(w, rng_below(rng, 400))) return false;
        if (rng_below(rng, 2) == 0 && w->seats[a].rt != NULL)
            sim_crash(w->sim, a);
        else if (a != b)
            sim_partition(w->sim, a, b, rng_below(rng, 2000));
    }
    return true;
}

static bool world_live(struct world *w, struct totals *t) {
    struct rng *rng = sim_rng(w->sim);
    if (rng_below(rng, 3) == 0 && !world_hard_birth(w)) return false;
    if (!world_run(w, FAULTS_MS)) return false;
    unsigned what = (unsigned)rng_below(rng, 6), node = (unsigned)rng_below(rng, w->seats_count);
    if (what == 0) {
        world_move_all(w);
        t->moved++;
    } else if (what == 1 && w->seats[node].member != NULL && !w->seats[node].lost) {
        world_stop(w, node); /* a rolling restart's step */
        world_run(w, 3000);
        world_start(w, node);
        t->stopped++;
    } else if (what == 2 && w->seats_count < WORLD_NODES_MAX && !w->o.alone) {
        world_start(w, w->seats_count++); /* one more */
    }
    if (!world_run(w, FAULTS_MS / 2)) return false;
    sim_set_faults(w->sim, false);
    return world_converge(w, CALM_MS) && voters_are_right(w);
}

static bool print; /* --verbose */

static bool run_seed(uint64_t seed, struct totals *t, uint64_t *out_hash,
                     char failure[WORLD_FAILURE_MAX]) {
    static const unsigned sizes[] = {3, 5, 3, 1, 2, 4};
    struct world *w = calloc(1, sizeof *w);
    if (w == NULL) abort();
    struct world_options o = {.nodes = sizes[seed % 6],
                              .rf = 1 + (unsigned)(seed % 3),
                              .print = print,
                              .alone = seed % 6 == 3 && seed % 4 == 1,
                              .restart_ms_max = 3000,
                              .start_ms_max = seed % 5 == 0 ? 8000 : 1000};
    if (o.nodes >= 3 && seed % 7 < 3) o.expect = o.nodes / 2 + 1;
    weather(seed, &o.sim);
    world_open(w, &o);
    bool good = world_live(w, t);
    *out_hash = sim_trace_hash(w->sim);
    t->seeds++;
    t->maps += w->maps;
    t->losses += w->losses;
    t->boots += w->boots;
    t->events += sim_events(w->sim);
    for (int f = 0; f < SIM_FAULT_COUNT; f++)
        t->faults[f] += sim_fault_total(w->sim, (enum sim_fault)f);
    memcpy(failure, w->failure, WORLD_FAILURE_MAX);
    world_close(w);
    free(w);
    return good;
}

static double now_seconds(void) {
    struct timespec ts;
    clock_gettime(CLOCK_MONOTONIC, &ts);
    return (double)ts.tv_sec + (double)ts.tv_nsec / 1e9;
}

static int report(const struct totals *t, double seconds) {
    printf("%" PRIu64 " seeds in %.1f s: %" PRIu64 " maps, %" PRIu64 " boots, %" PRIu64
           " members lost, %" PRIu64 " moves of all, %" PRIu64 " clean stops, %" PRIu64 " events\n",
           t->seeds, seconds, t->maps, t->boots, t->losses, t->moved, t->stopped, t->events);
    int bad = 0;
    for (int f = 0; f < SIM_FAULT_COUNT; f++) {
        printf("  %s %" PRIu64 "\n", sim_fault_names[f], t->faults[f]);
        if (t->faults[f] == 0 && t->seeds >= 100) bad = 1;
    }
    if (bad) printf("a fault never struck\n");
    return bad;
}

int main(int argc, char **argv) {
    uint64_t seeds = option(argc, argv, "--seeds", 100), first = option(argc, argv, "--seed", 1);
    bool expect_bug = option(argc, argv, "--expect-bug", 0) != 0;
    print = option(argc, argv, "--verbose", 0) != 0;
    setvbuf(stdout, NULL, _IOLBF, 0);
    log_setup(print ? LOG_DEBUG : LOG_ERROR + 1, LOG_LOGFMT, 2);
    struct totals t = {0};
    double began = now_seconds();
    char failure[WORLD_FAILURE_MAX];
    printf("first seed %" PRIu64 "\n", first);
    for (uint64_t i = 0; i < seeds; i++) {
        uint64_t hash, again;
        if (!run_seed(first + i, &t, &hash, failure)) {
            printf("seed %" PRIu64 ": %s\n", first + i, failure);
            if (expect_bug) printf("found after %" PRIu64 " seeds\n", i + 1);
            return expect_bug ? 0 : 1;
        }
        if (i % 50 == 0 && (!run_seed(first + i, &t, &again, failure) || again != hash)) {
            printf("seed %" PRIu64 ": the same seed gave another trace\n", first + i);
            return 1;
        }
    }
    if (expect_bug) {
        printf("the planted bug was not found\n");
        return 1;
    }
    return report(&t, now_seconds() - began);
}
