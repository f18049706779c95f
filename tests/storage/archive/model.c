/* SPDX-License-Identifier: Apache-2.0 */
/* A naive model and a node's storage get the same random operations, and always answer the same:
 * samples in order, late, twice and too old, histograms; deletions; hours that pass (cuts, blocks,
 * merges, rows, retention), cleaning, snapshots, shards that begin anew; ends, and at any call to
 * the disk a power cut, EIO or ENOSPC. Of files that go bad while the node is down it says so, with
 * a name, or answers as if they were good (rig_harm.h says what a log may lose). archive_model
 * [--expect-bug] [seeds] [first seed] */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

#include "node/daemon/node_internal.h"
#include "tests/storage/archive/rig_harm.h"

enum { STEPS = 100, SEEDS_OF_ALL = 400 };

static struct archive_rig rig;
static uint64_t deletes_by_hand; /* of the seed */

enum fault { FAULT_POWER, FAULT_EIO, FAULT_ENOSPC, FAULT_READ, FAULT_FULL, FAULTS };
static const char *const fault_names[FAULTS] = {"power cut at a call", "EIO at a call that changes",
                                                "ENOSPC at a call", "EIO at a call that reads",
                                                "calls to a full disk"};
static struct {
    enum fault fault;
    uint64_t at; /* call; 0: none is planned */
} plan;

static struct {
    uint64_t cleanings, snapshots, restored, steps, kills, faults[FAULTS];
    uint64_t harms[HARM_FILES][HARM_KINDS], refused, reported, errors, passed_over, holes;
} totals;

/* -- faults at a call */

static uint64_t calls_now(void) {
    return plan.fault == FAULT_READ ? rig.disk.calls : sim_disk_calls(rig.sd);
}

static void plan_make(void) {
    plan.fault = (enum fault)rng_below(&rig.rng, FAULTS);
    if (plan.fault == FAULT_FULL) { /* for a while */
        rig.disk.full = true;
        rig.full_until_ms = sim_now_ms(rig.sim) + rng_below(&rig.rng, 60000);
        return;
    }
    plan.at = calls_now() + 1 + rng_below(&rig.rng, plan.fault == FAULT_READ ? 200 : 60);
    switch (plan.fault) {
    case FAULT_POWER: sim_disk_cut_at(rig.sd, plan.at); break;
    case FAULT_EIO: sim_disk_fail_at(rig.sd, plan.at, EIO); break;
    case FAULT_ENOSPC: sim_disk_fail_at(rig.sd, plan.at, ENOSPC); break;
    case FAULT_READ:
        rig.disk.fail_at = plan.at;
        rig.disk.fail_errno = EIO;
        break;
    case FAULT_FULL:
    case FAULTS: break;
    }
}

static bool plan_struck(void) {
    return plan.at != 0 && calls_now() >= plan.at;
}

/* Something may have failed since the step began. */
static uint64_t full_hits_before;
static bool trouble(void) {
    return plan_struck() || rig.disk.full_hits > full_hits_before || log_is_full(rig.log);
}

static bool power_is_due(void) {
    return plan_struck() && plan.fault == FAULT_POWER;
}

/* It is over, whether it struck or not. */
static void plan_end(void) {
    totals.faults[plan.fault] += plan_struck();
    plan.at = 0;
    rig.disk.fail_at = 0;
    sim_disk_fail_at(rig.sd, 0, 0);
    sim_disk_cut_at(rig.sd, 0);
}

static void error_check(const struct err *err) {
    RIG_CHECK(strstr(err->msg, AR_DIR) != NULL, "seed %" PRIu64 ": no file is named: %s", rig.seed,
              err->msg);
}

/* -- ends and starts */

/* A fault may strike in the end itself: blocks that nobody reads any more go. */
static void end(bool power) {
    if (rig.rt != NULL && !rig.failed && rng_chance(&rig.rng, 0.5)) archive_rig_save(&rig);
    archive_rig_kill(&rig);
    power = power || power_is_due();
    totals.kills += !power;
    if (power) archive_rig_power_cut(&rig);
    if (plan_struck()) plan_end();
}

static void must_start(void) {
    enum status status = archive_rig_start(&rig);
    RIG_CHECK(status == OK, "seed %" PRIu64 ": %s", rig.seed, rig.err.msg);
}

static void start_again(void) {
    bool before = plan_struck();
    enum status status = archive_rig_start(&rig);
    bool struck = !before && plan_struck();
    if (status == OK && !struck) return;
    if (status != OK && rig.disk.full) { /* no start without room */
        rig.disk.full = false;
        start_again();
        return;
    }
    RIG_CHECK(status == OK || (status == ERR_IO && struck), "seed %" PRIu64 ": %s", rig.seed,
              rig.err.msg);
    if (status == OK && !rig.failed && plan.fault == FAULT_READ) { /* a block may be missed */
        struct err err;
        if (archive_rig_check(&rig, (1 << AR_SHARDS) - 1, &err) != OK) error_check(&err);
    }
    end(rng_chance(&rig.rng, 0.5));
    plan_end();
    must_start();
}

static void verify(void) {
    struct err err;
    bool before = plan_struck();
    if (archive_rig_check(&rig, (1 << AR_SHARDS) - 1, &err) == OK) return;
    RIG_CHECK(!before && plan_struck() && plan.fault == FAULT_READ, "seed %" PRIu64 ": %s",
              rig.seed, err.msg);
    error_check(&err);
    archive_rig_verify(&rig);
}

/* -- operations */

static bool some_writes(void) {
    for (unsigned n = 1 + (unsigned)rng_below(&rig.rng, 20); n > 0; n--) {
        size_t series = rng_below(&rig.rng, AR_SERIES);
        int64_t late_ms = 0;
        if (rng_chance(&rig.rng, 0.2)) late_ms = (int64_t)rng_below(&rig.rng, 1800000);
        if (rng_chance(&rig.rng, 0.05)) late_ms = (int64_t)rng_below(&rig.rng, 20 * AR_HOUR_MS);
        int64_t time_ms = (rig.now_ms - late_ms) / 15000 * 15000;
        struct model_value v = {.value = (double)rng_below(&rig.rng, 1000) / 8,
                                .is_histogram = !rig.floats_only && rng_chance(&rig.rng, 0.1)};
        if (rng_chance(&rig.rng, 0.1)) v.start_ms = AR_START_MS - (int64_t)rng_below(&rig.rng, 9);
        if (!archive_rig_put(&rig, series, time_ms, &v)) return false;
        rig.now_ms += (int64_t)rng_below(&rig.rng, 30000);
    }
    return true;
}

static bool some_delete(void) {
    static const char *const patterns[] = {"api|db", "a.*", "web", "nothing"};
    struct arena arena;
    struct err err;
    struct matcher m = {.kind = (enum match_kind)rng_below(&rig.rng, 4),
                        .name = SV("job"),
                        .value = sv_from(patterns[rng_below(&rig.rng, ARRAY_LEN(patterns))])};
    arena_init(&arena, 0);
    RIG_CHECK(matcher_compile(&m, &arena, &err) == OK, "%s", err.msg);
    int64_t max_ms = rig.now_ms - (int64_t)rng_below(&rig.rng, 12 * AR_HOUR_MS);
    int64_t min_ms = max_ms - (int64_t)rng_below(&rig.rng, 6 * AR_HOUR_MS);
    deletes_by_hand++;
    bool ok = archive_rig_delete(&rig, &m, 1, min_ms, max_ms);
    matcher_fini(&m);
    arena_fini(&arena);
    return ok;
}

static bool is_over(bool done) {
    return done || rig.failed || power_is_due();
}

/* Until it is done, or the power goes, or the log ends. */
static void run_until(const bool *done) {
    for (unsigned i = 0; i < 100000 && !is_over(*done); i++)
        archive_rig_step(&rig);
    RIG_CHECK(is_over(*done), "seed %" PRIu64 ": it does not end", rig.seed);
}

struct cleaning {
    struct archive_clean clean;
    bool done;
};

static void on_cleaned(struct archive_clean *clean, enum status status, const struct err *err) {
    struct cleaning *c = container_of(clean, struct cleaning, clean);
    RIG_CHECK(status == OK || rig.failed || trouble(), "clean: %s", err->msg);
    if (status != OK) error_check(err);
    totals.cleanings += status == OK;
    c->done = true;
}

static void some_clean(void) {
    static struct cleaning c; /* a power cut leaves it behind */
    c = (struct cleaning){.clean.done = on_cleaned};
    core_set_current(rig.rt->log_core);
    archive_clean(rig.archive, &c.clean);
    core_set_current(NULL);
    run_until(&c.done);
}

/* The node's own, of one that has what a snapshot looks at. */
static struct {
    struct node node;
    struct node_snapshot job;
    struct archive_model model; /* as it was */
    int64_t retention_ms;
    char dir[sizeof((struct node_snapshot *)0)->path];
    bool done, there;
} snapshot;

static void on_snapshot(struct core *here, struct node_snapshot *s) {
    (void)here;
    RIG_CHECK(s->status == OK || rig.failed || trouble(), "snapshot: %s", s->err.msg);
    if (s->status != OK) error_check(&s->err);
    snapshot.done = true;
}

static void snapshot_prepare(void) {
    struct disk *disk = sim_disk_as_disk(rig.sd);
    RIG_CHECK(disk_mkdir(disk, AR_DIR "/ring/raft", NULL) == OK, "mkdir");
    RIG_CHECK(disk_write_file(disk, AR_DIR "/seat", SV("seat"), NULL) == OK, "seat");
    RIG_CHECK(disk_sync_dir(disk, AR_DIR, NULL) == OK, "sync");
    snapshot.there = false;
}

static void some_snapshot(void) {
    snapshot.node.rt = rig.rt;
    snapshot.node.archive = rig.archive;
    snapshot.node.options.data_dir = AR_DIR;
    snapshot.job = (struct node_snapshot){.done = on_snapshot};
    snapshot.done = snapshot.there = false;
    node_snapshot_start(&snapshot.node, rig.rt->cores[0], &snapshot.job);
    run_until(&snapshot.done);
    if (!snapshot.done || snapshot.job.status != OK) return;
    snapshot.there = true;
    snapshot.model = rig.model;
    memcpy(snapshot.dir, snapshot.job.path, sizeof snapshot.dir);
    totals.snapshots++;
}

/* The node starts on the snapshot, and then again on its own data. */
static void restore(void) {
    static struct archive_model own;
    if (!snapshot.there) return;
    end(rng_chance(&rig.rng, 0.3));
    own = rig.model;
    rig.model = snapshot.model;
    rig.dir = snapshot.dir;
    must_start();
    archive_rig_verify(&rig);
    archive_rig_run(&rig, rng_below(&rig.rng, 60000));
    archive_rig_verify(&rig);
    archive_rig_kill(&rig);
    rig.model = own;
    rig.dir = AR_DIR;
    snapshot.there = false; /* the model of what it is now is gone */
    totals.restored++;
    must_start();
}

/* -- files that go bad */

static void harmed_check(const struct harm *h) {
    for (uint32_t s = 0; s < AR_SHARDS; s++) {
        struct err err;
        if (store_damage(archive_rig_store(&rig, s), s, &err)) continue; /* it is not served */
        if (archive_rig_check(&rig, 1ULL << s, &err) == OK) continue;
        RIG_CHECK((h->allowed.shards >> s) & 1, "seed %" PRIu64 ": %s %s: shard %u: %s", rig.seed,
                  harm_file_names[h->file], harm_kind_names[h->kind], s, err.msg);
        RIG_CHECK(strstr(err.msg, h->allowed.name) != NULL, "seed %" PRIu64 ": not named: %s",
                  rig.seed, err.msg);
        totals.errors++;
    }
}

/* It goes on with what is left of the files, and is told what is not. */
static void harmed_run(const struct harm *h) {
    totals.reported += rig.log_damaged;
    totals.passed_over += !rig.log_damaged;
    harmed_check(h);
    archive_rig_run(&rig, rng_below(&rig.rng, 60000));
    if (!rig.failed) harmed_check(h);
    archive_rig_kill(&rig);
}

/* Life goes on with a hole in the log where it is known what was in it: of the shards that it does
 * not harm nothing. */
static bool hole_stays(const struct harm *h) {
    return rig.log_damaged && h->allowed.is_log && h->allowed.lost_from == UINT64_MAX &&
           rng_chance(&rig.rng, 0.5);
}

/* Then the file is as it was before; after a start that was refused the others are, too. */
static void some_harm(void) {
    static struct harm h;
    end(rng_chance(&rig.rng, 0.5));
    enum harm_file file = (enum harm_file)rng_below(&rig.rng, HARM_FILES);
    enum harm_kind kind = (enum harm_kind)rng_below(&rig.rng, HARM_KINDS);
    if (!harm_do(&h, &rig, file, kind)) {
        must_start();
        return;
    }
    totals.harms[file][kind]++;
    rig.harmed = &h.allowed;
    enum status status = archive_rig_start(&rig);
    RIG_CHECK(status == OK || strstr(rig.err.msg, h.allowed.name) != NULL,
              "seed %" PRIu64 ": not named: %s", rig.seed, rig.err.msg);
    RIG_CHECK(status != OK || !h.allowed.refused, "seed %" PRIu64 ": %s %s was passed over",
              rig.seed, harm_file_names[file], harm_kind_names[kind]);
    totals.refused += status != OK;
    if (status == OK) harmed_run(&h);
    rig.harmed = NULL;
    if (status == OK && hole_stays(&h)) {
        harm_keep(&h);
        rig.hole = true;
        totals.holes++;
    } else {
        harm_undo(&h, &rig, status == OK);
    }
    must_start();
    archive_rig_verify(&rig);
}

/* -- runs */

static void one_step(void) {
    bool ok = true;
    double what = (double)rng_below(&rig.rng, 1000) / 1000;
    totals.steps++;
    full_hits_before = rig.disk.full_hits;
    if (what < 0.52)
        ok = some_writes();
    else if (what < 0.57)
        ok = some_delete();
    else if (what < 0.59)
        some_clean();
    else if (what < 0.61)
        some_snapshot();
    else if (what < 0.63)
        ok = archive_rig_anew(&rig, (uint32_t)rng_below(&rig.rng, AR_SHARDS));
    else if (what < 0.75)
        rig.now_ms += (int64_t)rng_below(&rig.rng, 3 * AR_HOUR_MS);
    else if (what < 0.95)
        archive_rig_run(&rig, rng_below(&rig.rng, 120000));
    else {
        end(rng_chance(&rig.rng, 0.6));
        if (rng_chance(&rig.rng, 0.2)) archive_rig_choose_levels(&rig);
        start_again();
    }
    bool ended = rig.failed || log_is_failed(rig.log);
    RIG_CHECK(ok || ended || trouble(), "seed %" PRIu64 ": %s", rig.seed, rig.err.msg);
    if (ended || power_is_due()) {
        end(rng_chance(&rig.rng, 0.5));
        plan_end();
        start_again();
    }
    if (plan_struck()) plan_end();
}

static void run(uint64_t seed, unsigned steps) {
    archive_rig_init(&rig, seed);
    plan.at = deletes_by_hand = 0;
    archive_rig_choose_retention(&rig);
    archive_rig_choose_levels(&rig);
    rig.floats_only = rng_chance(&rig.rng, 0.5);
    rig.retention_bytes = rng_chance(&rig.rng, 0.2) ? 20000 : 0;
    snapshot_prepare();
    must_start();
    for (unsigned i = 0; i < steps; i++) {
        if (plan.at == 0 && !rig.disk.full && rng_chance(&rig.rng, 0.1)) plan_make();
        one_step();
        if (rng_chance(&rig.rng, 0.15)) verify();
        bool quiet = plan.at == 0 && !rig.disk.full;
        if (quiet && rng_chance(&rig.rng, 0.02)) some_harm();
        if (quiet && rng_chance(&rig.rng, 0.02)) restore();
    }
    rig.disk.full = false;
    if (plan.at != 0) {
        end(false);
        plan_end();
        start_again();
    }
    archive_rig_run(&rig, 300000);
    archive_rig_settle_retention(&rig, deletes_by_hand);
    archive_rig_kill(&rig);
}

/* -- the table */

static bool all_happened;

static void row(const char *what, uint64_t count) {
    printf("  %-40s %10" PRIu64 "\n", what, count);
    all_happened = all_happened && count > 0;
}

static struct archive_rig sum; /* counts of all seeds */

static void counts_add(void) {
    totals.faults[FAULT_FULL] += rig.disk.full_hits;
    unsigned *to = (unsigned *)&sum.counts;
    const unsigned *from = (const unsigned *)&rig.counts;
    for (size_t i = 0; i < offsetof(struct archive_rig, counts.merges) / sizeof *to -
                               offsetof(struct archive_rig, counts) / sizeof *to;
         i++)
        to[i] += from[i];
    sum.counts.merges += rig.counts.merges;
    sum.counts.log_files_removed += rig.counts.log_files_removed;
}

static void table_print(void) {
    all_happened = true;
    row("samples accepted", sum.counts.accepted);
    row("of them histograms", sum.counts.histograms);
    row("of them floats with a start", sum.counts.starts);
    row("of them late", sum.counts.late);
    row("samples held already", sum.counts.held);
    row("samples too old", sum.counts.refused);
    row("samples deleted", sum.counts.deleted);
    row("shards cut", sum.counts.cuts);
    row("shards flushed to blocks", sum.counts.flushes);
    row("merges", sum.counts.merges);
    row("shards with a retention floor, looks", sum.counts.floors);
    row("seeds with rules of retention", sum.counts.ruled);
    row("samples beyond their rule, looks", sum.counts.ended);
    row("blocks that a series has left, looks", sum.counts.ended_blocks);
    row("tombstones in the end", sum.counts.tombstones);
    row("files of the log removed", sum.counts.log_files_removed);
    row("cleanings", totals.cleanings);
    row("snapshots", totals.snapshots);
    row("starts on a snapshot", totals.restored);
    row("shards begun anew", sum.counts.anew);
    row("starts", sum.counts.restarts);
    row("of them with a head snapshot", sum.counts.loaded);
    row("ends of the process", totals.kills);
    row("power cuts", sum.counts.power_cuts);
    row("looks at all samples", sum.counts.reads);
    row("of them in blocks", sum.counts.from_blocks);
    row("rows", sum.counts.rows);
    row("blocks of rows, looks", sum.counts.rows_blocks);
    row("looks at rows in blocks", sum.counts.rows_reads);
    row("shards whose samples have ended, looks", sum.counts.ended_looks);
    row("of them buckets shown as samples", sum.counts.buckets);
    row("of them rows, all columns", sum.counts.ended_rows);
    row("ranges of rows without samples, looks", sum.counts.raw_gone);
    for (int i = 0; i < FAULTS; i++)
        row(fault_names[i], totals.faults[i]);
    for (int f = 0; f < HARM_FILES; f++)
        for (int k = 0; k < HARM_KINDS; k++) {
            char what[64];
            snprintf(what, sizeof what, "%s: %s", harm_file_names[f], harm_kind_names[k]);
            row(what, totals.harms[f][k]);
        }
    row("starts refused, the file named", totals.refused);
    row("damage told at the start, named", totals.reported);
    row("of it holes in the log that stay", totals.holes);
    row("answers refused, the file named", totals.errors);
    row("starts that did without the file", totals.passed_over);
}

static int run_all(uint64_t first, uint64_t seeds) {
    for (uint64_t seed = first; seed < first + seeds; seed++) {
        run(seed, STEPS);
        counts_add();
        archive_rig_fini(&rig);
    }
    printf("%" PRIu64 " seeds from %" PRIu64 ", %" PRIu64 " steps\n", seeds, first, totals.steps);
    table_print();
    if (!all_happened && seeds >= SEEDS_OF_ALL) fprintf(stderr, "something never happened\n");
    return all_happened || seeds < SEEDS_OF_ALL ? 0 : 1;
}

/* The program has a bug on purpose: a promise is broken soon. */
static int expect_bug(uint64_t first, uint64_t seeds) {
    pid_t pid = fork();
    if (pid == 0) _exit(run_all(first, seeds));
    int status = 0;
    if (pid < 0 || waitpid(pid, &status, 0) != pid) return 1;
    bool found = WIFSIGNALED(status);
    printf("%s\n", found ? "the bug was found" : "the bug was not found");
    return found ? 0 : 1;
}

int main(int argc, char **argv) {
    bool expect = argc > 1 && strcmp(argv[1], "--expect-bug") == 0;
    argc -= expect;
    argv += expect;
    uint64_t seeds = argc > 1 ? strtoull(argv[1], NULL, 10) : SEEDS_OF_ALL;
    uint64_t first = argc > 2 ? strtoull(argv[2], NULL, 10) : 1;
    return expect ? expect_bug(first, seeds) : run_all(first, seeds);
}
