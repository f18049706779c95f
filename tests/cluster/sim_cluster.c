/* SPDX-License-Identifier: Apache-2.0 */
/* Three nodes in one process on fake clock, network and disk. Prints how often each fault struck,
 * and fails when one never did, when a check of world.h fails, or when the same seed gives another
 * trace. sim_cluster [--seeds=N] [--seed=S] [--random] [--seconds=T] [--nodes=3] [--cores=2]
 * [--expect-bug] [--faults-off=BITS] */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <time.h>

#include "node/base/log.h"
#include "node/base/metrics.h"
#include "node/base/num.h"
#include "ring/member/internal.h"
#include "tests/cluster/world.h"

struct totals {
    uint64_t thinned, faults[SIM_FAULT_COUNT], plans[PLAN_COUNT],
        transitions[VIEW_COUNT][VIEW_COUNT];
    uint64_t roles[ROLES][ROLES], members[MEMBERS][MEMBERS];
    uint64_t maps, primaries, events, ok, unavailable, acked, queries, partial, failed, restarts,
        deletes, lists, seeds;
};

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

static bool run_seed(uint64_t seed, const struct world_options *base, struct totals *t,
                     uint64_t *out_hash, char *failure) {
    static struct world w;
    struct world_options o = *base;
    o.seed = seed;
    o.faults = o.plans = true;
    bool ok = world_run(&w, &o);
    *out_hash = sim_trace_hash(w.sim);
    t->events += sim_events(w.sim);
    for (unsigned f = 0; f < SIM_FAULT_COUNT; f++)
        t->faults[f] += sim_fault_total(w.sim, (enum sim_fault)f);
    t->thinned += w.thin.left_out > 0;
    t->ok += w.writes_ok;
    t->unavailable += w.writes_unavailable;
    t->acked += w.samples_acked;
    t->queries += w.queries_ok;
    t->partial += w.queries_partial;
    t->failed += w.queries_failed;
    t->restarts += w.restarts;
    t->deletes += w.deletes_ok;
    t->lists += w.lists_ok;
    t->seeds++;
    t->maps += w.maps_seen;
    t->primaries += w.primaries_seen;
    for (unsigned p = 0; p < PLAN_COUNT; p++)
        t->plans[p] += w.plans[p];
    for (unsigned a = 0; a < VIEW_COUNT; a++)
        for (unsigned b = 0; b < VIEW_COUNT; b++)
            t->transitions[a][b] += w.transitions[a][b];
    for (unsigned a = 0; a < ROLES; a++)
        for (unsigned b = 0; b < ROLES; b++)
            t->roles[a][b] += w.roles[a][b];
    for (unsigned a = 0; a < MEMBERS; a++)
        for (unsigned b = 0; b < MEMBERS; b++)
            t->members[a][b] += w.members[a][b];
    memcpy(failure, w.failure, sizeof w.failure);
    sim_free(w.sim);
    return ok;
}

static double now_seconds(void) {
    struct timespec ts;
    clock_gettime(CLOCK_MONOTONIC, &ts);
    return (double)ts.tv_sec + (double)ts.tv_nsec / 1e9;
}

/* counts: of count rows and as many columns */
static void put_table(const char *what, const char *const *names, const uint64_t *counts,
                      unsigned count) {
    printf("%s from (row) to (column):\n%9s", what, "");
    for (unsigned b = 0; b < count; b++)
        printf(" %9s", names[b]);
    for (unsigned a = 0; a < count; a++) {
        printf("\n%9s", names[a]);
        for (unsigned b = 0; b < count; b++)
            printf(" %9" PRIu64, counts[a * count + b]);
    }
    printf("\n");
}

static void put_transitions(const struct totals *t) {
    printf("%" PRIu64 " maps seen, %" PRIu64 " primaries\n", t->maps, t->primaries);
    put_table("replicas, by the map,", world_view_names, t->transitions[0], VIEW_COUNT);
    put_table("shards at their nodes", world_role_names, t->roles[0], ROLES);
    put_table("members at their primaries", world_member_names, t->members[0], MEMBERS);
}

/* Those that faults and plans bring about, often enough to miss them in a hundred seeds. */
static const struct {
    enum replica_view from, to;
} expected_views[] = {
    {VIEW_NONE, VIEW_INIT_OUT},     {VIEW_NONE, VIEW_LOG_IN},      {VIEW_FULL_IN, VIEW_FULL_OUT},
    {VIEW_FULL_IN, VIEW_LEAVING},   {VIEW_FULL_OUT, VIEW_NONE},    {VIEW_FULL_OUT, VIEW_FULL_IN},
    {VIEW_INIT_IN, VIEW_FULL_IN},   {VIEW_INIT_OUT, VIEW_FULL_IN}, {VIEW_LOG_IN, VIEW_NONE},
    {VIEW_LOG_IN, VIEW_INIT_IN},    {VIEW_LOG_IN, VIEW_LOG_OUT},   {VIEW_LOG_OUT, VIEW_NONE},
    {VIEW_LOG_OUT, VIEW_LOG_IN},    {VIEW_LEAVING, VIEW_NONE},     {VIEW_LEAVING, VIEW_FULL_IN},
    {VIEW_LEAVING, VIEW_FULL_OUT},  {VIEW_INIT_IN, VIEW_LOG_OUT},  {VIEW_INIT_OUT, VIEW_NONE},
    {VIEW_FULL_OUT, VIEW_INIT_OUT},
};
static const struct {
    uint8_t from, to; /* enum shard_role */
} expected_shards[] = {{0, 1}, {1, 0}, {1, 2}, {2, 3}, {2, 1}, {3, 1}, {3, 2}};
static const struct {
    uint8_t from, to; /* enum member_state */
} expected_members[] = {{0, 1}, {1, 2}, {0, 2}, {2, 0}, {1, 0}};
static const struct {
    enum raft_role from, to;
} expected_roles[] = {
    {RAFT_FOLLOWER, RAFT_PRE_CANDIDATE}, {RAFT_PRE_CANDIDATE, RAFT_CANDIDATE},
    {RAFT_PRE_CANDIDATE, RAFT_FOLLOWER}, {RAFT_CANDIDATE, RAFT_LEADER},
    {RAFT_CANDIDATE, RAFT_FOLLOWER},     {RAFT_LEADER, RAFT_FOLLOWER},
    {RAFT_FOLLOWER, RAFT_CANDIDATE},     {RAFT_CANDIDATE, RAFT_PRE_CANDIDATE},
    {RAFT_FOLLOWER, RAFT_DOWN},          {RAFT_LEADER, RAFT_DOWN},
};

static double role_changes(enum raft_role from, enum raft_role to) {
    return from == to ? 0 : metric_value(metrics_role(from, to));
}

static void put_roles(void) {
    printf("roles in consensus from (row) to (column):\n%13s", "");
    for (int b = 0; b <= RAFT_DOWN; b++)
        printf(" %13s", raft_role_name((enum raft_role)b));
    for (int a = 0; a <= RAFT_DOWN; a++) {
        printf("\n%13s", raft_role_name((enum raft_role)a));
        for (int b = 0; b <= RAFT_DOWN; b++)
            printf(" %13.0f", role_changes((enum raft_role)a, (enum raft_role)b));
    }
    printf("\n");
}

static int transitions_missing(const struct totals *t) {
    int missing = 0;
    for (size_t i = 0; i < ARRAY_LEN(expected_views); i++) {
        if (t->transitions[expected_views[i].from][expected_views[i].to] > 0) continue;
        printf("never: a replica from %s to %s\n", world_view_names[expected_views[i].from],
               world_view_names[expected_views[i].to]);
        missing++;
    }
    for (size_t i = 0; i < ARRAY_LEN(expected_shards); i++) {
        if (t->roles[expected_shards[i].from][expected_shards[i].to] > 0) continue;
        printf("never: a shard from %s to %s\n", world_role_names[expected_shards[i].from],
               world_role_names[expected_shards[i].to]);
        missing++;
    }
    for (size_t i = 0; i < ARRAY_LEN(expected_members); i++) {
        if (t->members[expected_members[i].from][expected_members[i].to] > 0) continue;
        printf("never: a member from %s to %s\n", world_member_names[expected_members[i].from],
               world_member_names[expected_members[i].to]);
        missing++;
    }
    for (size_t i = 0; i < ARRAY_LEN(expected_roles); i++) {
        if (role_changes(expected_roles[i].from, expected_roles[i].to) > 0) continue;
        printf("never: a role from %s to %s\n", raft_role_name(expected_roles[i].from),
               raft_role_name(expected_roles[i].to));
        missing++;
    }
    return missing;
}

/* Ranges that were closed, shards that went to other nodes as a whole, and what was compared and
 * repaired. */
static int stored_missing(void) {
    static const struct metric_def counted[] = {
        {"cairn_blocks_written_total", "", METRIC_COUNTER, NULL, 0},
        {"cairn_replica_transfers_total", "", METRIC_COUNTER, NULL, 0},
        {"cairn_scrub_blocks_total", "", METRIC_COUNTER, NULL, 0},
        {"cairn_scrub_bad_blocks_total", "", METRIC_COUNTER, NULL, 0},
        {"cairn_sync_compared_shards_total", "", METRIC_COUNTER, NULL, 0},
        {"cairn_head_snapshots_written_total", "", METRIC_COUNTER, NULL, 0},
        {"cairn_head_snapshots_loaded_total", "", METRIC_COUNTER, NULL, 0},
    };
    int missing = 0;
    for (size_t i = 0; i < ARRAY_LEN(counted); i++) {
        double n = metric_value(metric_get(&counted[i], NULL));
        printf("  %-30s %.0f\n", counted[i].name, n);
        missing += n == 0;
    }
    static const struct metric_def repaired_def = {"cairn_sync_repaired_total", "", METRIC_COUNTER,
                                                   NULL, 0};
    double repaired = metric_value(metric_get(&repaired_def, "reason=\"bad\""));
    printf("  %-30s %.0f\n", repaired_def.name, repaired);
    return missing + (repaired == 0);
}

static int report(const struct totals *t, double seconds, bool all_faults) {
    printf("%" PRIu64 " seeds in %.1f s: %" PRIu64 " events, %" PRIu64
           " writes acknowledged (%" PRIu64 " samples), %" PRIu64 " unavailable; %" PRIu64
           " complete answers, %" PRIu64 " partial, %" PRIu64 " errors; %" PRIu64 " restarts\n",
           t->seeds, seconds, t->events, t->ok, t->acked, t->unavailable, t->queries, t->partial,
           t->failed, t->restarts);
    printf("as nodes opened: %" PRIu64 " deletions in vain, %" PRIu64 " lists of nothing\n",
           t->deletes, t->lists);
    int missing = stored_missing() + (t->deletes == 0) + (t->lists == 0);
    put_transitions(t);
    put_roles();
    if (t->seeds >= 100) missing += transitions_missing(t);
    for (unsigned p = 0; p < PLAN_COUNT; p++) {
        printf("  %-18s %" PRIu64 "\n", world_plan_names[p], t->plans[p]);
        if (t->plans[p] == 0) missing++;
    }
    printf("  made to differ     %" PRIu64 "\n", t->thinned);
    missing += t->thinned == 0 && t->seeds >= 20;
    for (unsigned f = 0; f < SIM_FAULT_COUNT; f++) {
        if (world_fault_rates[f] == 0 && t->faults[f] == 0) continue;
        printf("  %-18s %" PRIu64 "\n", sim_fault_names[f], t->faults[f]);
        if (t->faults[f] == 0) missing++;
    }
    if (missing > 0 && all_faults)
        printf("FAILED: %d faults, plans or transitions never were\n", missing);
    return missing > 0 && all_faults;
}

int main(int argc, char **argv) {
    uint64_t seeds = option(argc, argv, "--seeds", 100), first = option(argc, argv, "--seed", 1);
    uint64_t seconds = option(argc, argv, "--seconds", 0);
    bool expect_bug = option(argc, argv, "--expect-bug", 0);
    if (option(argc, argv, "--random", 0)) {
        /* of two that run side by side neither walks over the other's */
        uint32_t high = 0;
        if (getrandom(&high, sizeof high, 0) != sizeof high) abort();
        first = (uint64_t)high << 20;
    }
    struct world_options base = {.nodes = (unsigned)option(argc, argv, "--nodes", 0),
                                 .cores = (unsigned)option(argc, argv, "--cores", 2),
                                 .duration_ms = option(argc, argv, "--duration-ms", 25000),
                                 .replication_factor = (unsigned)option(argc, argv, "--rf", 0),
                                 .shard_told = (uint32_t)option(argc, argv, "--shard", 0),
                                 .faults_off = option(argc, argv, "--faults-off", 0),
                                 .verbose = option(argc, argv, "--verbose", 0) != 0};
    log_setup(option(argc, argv, "--verbose", 0) ? LOG_DEBUG : LOG_ERROR + 1, LOG_LOGFMT, 2);
    struct totals t = {0};
    double began = now_seconds();
    char failure[WORLD_FAILURE_MAX];
    printf("first seed %" PRIu64 "\n", first);
    for (uint64_t i = 0; seconds > 0 ? now_seconds() - began < (double)seconds : i < seeds; i++) {
        uint64_t hash, again;
        if (!run_seed(first + i, &base, &t, &hash, failure)) {
            printf("seed %" PRIu64 ": %s\n", first + i, failure);
            if (expect_bug) printf("found after %" PRIu64 " seeds\n", i + 1);
            return expect_bug ? 0 : 1;
        }
        if (i % 50 == 0 && (!run_seed(first + i, &base, &t, &again, failure) || again != hash)) {
            printf("seed %" PRIu64 ": the same seed gave another trace\n", first + i);
            return 1;
        }
    }
    if (expect_bug) {
        printf("the planted bug was not found\n");
        return 1;
    }
    /* new seeds look for what fails; how often all comes about is the fixed ones' to show */
    return report(&t, now_seconds() - began, t.seeds >= 50 && seconds == 0);
}
