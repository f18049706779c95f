/* SPDX-License-Identifier: Apache-2.0 */
/* Runs raft_world.h for many seeds, prints how often each transition, fault and happening came, and
 * fails when a check failed or one of them never came. sim_raft [--seeds=N] [--seed=S]
 * [--chaos-ms=T] [--trace] [--expect-bug] */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "node/base/num.h"
#include "tests/ring/raft/raft_world.h"

static uint64_t option(int argc, char **argv, const char *name, uint64_t otherwise) {
    for (int i = 1; i < argc; i++) {
        uint64_t v = 1;
        size_t n = strlen(name);
        if (strncmp(argv[i], name, n) != 0) continue;
        if (argv[i][n] == '\0') return 1;
        if (argv[i][n] == '=' && num_parse_u64(sv_from(argv[i] + n + 1), &v)) return v;
    }
    return otherwise;
}

static double now_seconds(void) {
    struct timespec ts;
    clock_gettime(CLOCK_MONOTONIC, &ts);
    return (double)ts.tv_sec + (double)ts.tv_nsec / 1e9;
}

struct totals {
    uint64_t faults[FAULT_COUNT], did[DID_COUNT], roles[RAFT_DOWN + 1][RAFT_DOWN + 1], steps;
};

static void add(struct totals *t, const struct world *w) {
    t->steps += w->steps;
    for (unsigned i = 0; i < FAULT_COUNT; i++)
        t->faults[i] += w->faults[i];
    for (unsigned i = 0; i < DID_COUNT; i++)
        t->did[i] += w->did[i];
    for (unsigned a = 0; a <= RAFT_DOWN; a++)
        for (unsigned b = 0; b <= RAFT_DOWN; b++)
            t->roles[a][b] += w->roles[a][b];
}

/* The transitions of raft.h; no other may come. */
static bool is_known(enum raft_role from, enum raft_role to) {
    if (to == RAFT_DOWN) return true;
    if (to == RAFT_FOLLOWER) return from != RAFT_DOWN;
    switch (from) {
    case RAFT_FOLLOWER: return to == RAFT_PRE_CANDIDATE || to == RAFT_CANDIDATE;
    case RAFT_PRE_CANDIDATE: return to == RAFT_CANDIDATE;
    case RAFT_CANDIDATE: return to == RAFT_PRE_CANDIDATE || to == RAFT_LEADER;
    case RAFT_LEADER:
    case RAFT_DOWN: break;
    }
    return false;
}

/* A save fails seldom just then. */
static bool is_rare(enum raft_role from, enum raft_role to) {
    return to == RAFT_DOWN && (from == RAFT_PRE_CANDIDATE || from == RAFT_CANDIDATE);
}

static int report(const struct totals *t, uint64_t seeds) {
    bool all = seeds >= 1000;
    int bad = 0;
    for (unsigned i = 0; i < FAULT_COUNT; i++) {
        printf("  fault %-12s %" PRIu64 "\n", fault_names[i], t->faults[i]);
        bad += t->faults[i] == 0;
    }
    for (unsigned i = 0; i < DID_COUNT; i++) {
        printf("  %-18s %" PRIu64 "\n", happening_names[i], t->did[i]);
        bad += t->did[i] == 0;
    }
    if (!all) bad = 0;
    for (enum raft_role a = RAFT_FOLLOWER; a <= RAFT_DOWN; a++)
        for (enum raft_role b = RAFT_FOLLOWER; b <= RAFT_DOWN; b++) {
            bool known = a != b && is_known(a, b);
            if (!known && t->roles[a][b] == 0) continue;
            printf("  %-13s -> %-13s %" PRIu64 "%s\n", raft_role_name(a), raft_role_name(b),
                   t->roles[a][b], known ? "" : "  not in the diagram");
            bool expected = all && (seeds >= 50000 || !is_rare(a, b));
            bad += !known || (expected && t->roles[a][b] == 0);
        }
    if (bad > 0) printf("FAILED: %d of these never came, or must not\n", bad);
    return bad > 0;
}

int main(int argc, char **argv) {
    static struct world w;
    struct totals totals = {0};
    uint64_t seeds = option(argc, argv, "--seeds", 100), first = option(argc, argv, "--seed", 1);
    bool expect_bug = option(argc, argv, "--expect-bug", 0) != 0;
    struct world_options options = {.chaos_ms = option(argc, argv, "--chaos-ms", 4000),
                                    .trace = option(argc, argv, "--trace", 0) != 0};
    if (option(argc, argv, "--seed", 0) != 0) seeds = option(argc, argv, "--seeds", 1);
    double begin = now_seconds();
    for (uint64_t seed = first; seed < first + seeds; seed++) {
        options.seed = seed;
        bool ok = world_run(&w, &options);
        add(&totals, &w);
        if (ok) continue;
        printf("--seed=%" PRIu64 " at %" PRIu64 " ms: %s\n", seed, w.now_ms, w.failure);
        if (expect_bug) printf("found after %" PRIu64 " seeds, as it should\n", seed - first + 1);
        return expect_bug ? 0 : 1;
    }
    printf("%" PRIu64 " seeds, %" PRIu64 " steps in %.1f s\n", seeds, totals.steps,
           now_seconds() - begin);
    if (expect_bug) {
        printf("FAILED: the planted bug was not found\n");
        return 1;
    }
    return report(&totals, seeds);
}
