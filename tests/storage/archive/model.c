/* SPDX-License-Identifier: Apache-2.0 */
/* A naive model and a node's storage get the same random operations, and always answer the same:
 * samples in order, late, twice and too old; deletions; hours that pass (cuts, blocks, merges,
 * retention), and cleaning; ends and power cuts at any call to the disk.
 *   model [seeds] [first seed] */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "tests/storage/archive/archive_rig.h"

static struct archive_rig rig;
static uint64_t cut_at; /* call to the disk; 0: none is planned */
static uint64_t cleaned;

struct cleaning {
    struct archive_clean clean;
    bool done;
};

static bool power_is_due(void) {
    return cut_at != 0 && sim_disk_calls(rig.sd) >= cut_at;
}

static bool some_writes(void) {
    for (unsigned n = 1 + (unsigned)rng_below(&rig.rng, 20); n > 0; n--) {
        size_t series = rng_below(&rig.rng, AR_SERIES);
        int64_t late_ms = 0;
        if (rng_chance(&rig.rng, 0.2)) late_ms = (int64_t)rng_below(&rig.rng, 1800000);
        if (rng_chance(&rig.rng, 0.05)) late_ms = (int64_t)rng_below(&rig.rng, 20 * AR_HOUR_MS);
        int64_t time_ms = (rig.now_ms - late_ms) / 15000 * 15000;
        if (!archive_rig_write(&rig, series, time_ms, (double)rng_below(&rig.rng, 1000) / 8))
            return false;
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
    bool ok = archive_rig_delete(&rig, &m, 1, min_ms, max_ms);
    matcher_fini(&m);
    arena_fini(&arena);
    return ok;
}

static void on_cleaned(struct archive_clean *clean, enum status status, const struct err *err) {
    struct cleaning *c = container_of(clean, struct cleaning, clean);
    RIG_CHECK(status == OK || rig.failed, "clean: %s", err->msg);
    c->done = true;
}

/* To its end, unless the power goes. */
static void some_clean(void) {
    static struct cleaning c; /* a power cut leaves it behind */
    c = (struct cleaning){.clean.done = on_cleaned};
    core_set_current(rig.rt->log_core);
    archive_clean(rig.archive, &c.clean);
    core_set_current(NULL);
    for (unsigned i = 0; i < 100000 && !c.done && !rig.failed && !power_is_due(); i++)
        RIG_CHECK(sim_step(rig.sim), "nothing is pending");
    RIG_CHECK(c.done || rig.failed || power_is_due(), "seed %" PRIu64 ": not cleaned", rig.seed);
    cleaned += c.done;
}

static void start_again(void) {
    enum status status = archive_rig_start(&rig);
    if (status == ERR_IO) { /* the power went, as planned */
        cut_at = 0;
        archive_rig_power_cut(&rig);
        status = archive_rig_start(&rig);
    }
    RIG_CHECK(status == OK, "seed %" PRIu64 ": %s", rig.seed, rig.err.msg);
}

static void some_end(void) {
    if (rng_chance(&rig.rng, 0.4))
        archive_rig_kill(&rig);
    else
        archive_rig_power_cut(&rig);
    start_again();
}

static void one_step(void) {
    bool ok = true;
    double what = (double)rng_below(&rig.rng, 1000) / 1000;
    if (what < 0.55)
        ok = some_writes();
    else if (what < 0.60)
        ok = some_delete();
    else if (what < 0.62)
        some_clean();
    else if (what < 0.75)
        rig.now_ms += (int64_t)rng_below(&rig.rng, 3 * AR_HOUR_MS);
    else if (what < 0.95)
        archive_rig_run(&rig, rng_below(&rig.rng, 120000));
    else
        some_end();
    if (!ok || rig.failed || power_is_due()) {
        cut_at = 0; /* the power went, as planned */
        archive_rig_power_cut(&rig);
        start_again();
    }
}

static void run(uint64_t seed, unsigned steps) {
    archive_rig_init(&rig, seed);
    cut_at = 0;
    rig.retention_ms = rng_chance(&rig.rng, 0.5) ? 30 * AR_HOUR_MS : 0;
    rig.retention_bytes = rng_chance(&rig.rng, 0.2) ? 20000 : 0;
    start_again();
    for (unsigned i = 0; i < steps; i++) {
        if (rng_chance(&rig.rng, 0.1)) {
            cut_at = sim_disk_calls(rig.sd) + 1 + rng_below(&rig.rng, 60);
            sim_disk_cut_at(rig.sd, cut_at);
        }
        one_step();
        if (rng_chance(&rig.rng, 0.2) && !rig.failed) archive_rig_verify(&rig);
    }
    if (cut_at != 0) {
        cut_at = 0;
        archive_rig_power_cut(&rig);
        start_again();
    }
    archive_rig_run(&rig, 300000);
    archive_rig_verify(&rig);
}

int main(int argc, char **argv) {
    uint64_t seeds = argc > 1 ? strtoull(argv[1], NULL, 10) : 40;
    uint64_t first = argc > 2 ? strtoull(argv[2], NULL, 10) : 1;
    uint64_t accepted = 0, refused = 0, deleted = 0, cuts = 0, merges = 0, files = 0, blocks = 0;
    for (uint64_t seed = first; seed < first + seeds; seed++) {
        run(seed, 250);
        archive_rig_kill(&rig);
        accepted += rig.counts.accepted;
        refused += rig.counts.refused;
        deleted += rig.counts.deleted;
        cuts += rig.counts.power_cuts;
        merges += rig.counts.merges;
        files += rig.counts.log_files_removed;
        blocks += rig.counts.from_blocks;
        archive_rig_fini(&rig);
    }
    printf("%" PRIu64 " seeds from %" PRIu64 ": %" PRIu64 " samples accepted, %" PRIu64
           " refused, %" PRIu64 " deleted; %" PRIu64 " power cuts, %" PRIu64 " merges, %" PRIu64
           " files of the log removed, %" PRIu64 " reads from blocks, %" PRIu64 " cleanings\n",
           seeds, first, accepted, refused, deleted, cuts, merges, files, blocks, cleaned);
    bool all = accepted > 0 && refused > 0 && deleted > 0 && cuts > 0 && merges > 0 && files > 0 &&
               blocks > 0 && cleaned > 0;
    if (!all && seeds >= 20) fprintf(stderr, "something never happened\n");
    return all || seeds < 20 ? 0 : 1;
}
