/* SPDX-License-Identifier: Apache-2.0 */
/* A shard begins anew under a later copy number at any moment of flushes and merges: what blocks
 * have of the earlier copy never counts for the later one, in the manifest and in answers. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "tests/storage/archive/archive_rig.h"

enum { SEEDS = 3, PHASE_MS = 40000 };
static struct archive_rig rig;

/* Of every series one sample in ten minutes; values of another life differ. */
static void write_until(int64_t to_ms, double value) {
    for (; rig.now_ms < to_ms; rig.now_ms += 600000)
        for (size_t i = 0; i < AR_SERIES; i++)
            RIG_CHECK(archive_rig_write(&rig, i, rig.now_ms, value + (double)i), "log");
}

/* Each part of a block is of the copy that the manifest has. */
static void parts_check(uint64_t at) {
    const struct manifest *m = archive_manifest(rig.archive);
    for (uint32_t i = 0; i < m->blocks_count; i++)
        for (uint32_t k = 0; k < m->blocks[i].parts_count; k++) {
            const struct manifest_part *p = &m->blocks[i].parts[k];
            const struct manifest_shard *s = manifest_shard_find(m, p->shard);
            RIG_CHECK(s != NULL && s->copy == p->copy,
                      "seed %" PRIu64 ", anew at event %" PRIu64 ": block %" PRIu64
                      " has shard %u of copy %u",
                      rig.seed, at, m->blocks[i].number, p->shard, p->copy);
        }
}

/* Two blocks, and a third is due, with which they are merged. */
static void prepare(uint64_t seed) {
    archive_rig_init(&rig, seed);
    RIG_CHECK(archive_rig_start(&rig) == OK, "%s", rig.err.msg);
    for (int hours = 3; hours <= 5; hours += 2) {
        write_until(AR_START_MS + hours * AR_HOUR_MS + AR_HOUR_MS / 3, 0);
        archive_rig_run(&rig, 60000);
    }
    write_until(AR_START_MS + 7 * AR_HOUR_MS + AR_HOUR_MS / 3, 0);
}

/* Returns how many events there were. at UINT64_MAX: at none of them. */
static uint64_t run(uint64_t seed, uint64_t at, uint64_t *merges) {
    struct archive_stats stats;
    uint64_t events = 0, end_ms;
    prepare(seed);
    for (end_ms = sim_now_ms(rig.sim) + PHASE_MS; sim_now_ms(rig.sim) < end_ms; events++) {
        if (events == at) archive_rig_anew(&rig, (uint32_t)(at % AR_SHARDS));
        RIG_CHECK(sim_step(rig.sim), "nothing is pending");
        parts_check(at);
    }
    archive_get_stats(rig.archive, &stats);
    *merges += stats.merges;
    for (int hours = 9; hours <= 19 && at != UINT64_MAX; hours += 5) {
        write_until(AR_START_MS + hours * AR_HOUR_MS + AR_HOUR_MS / 3, 100);
        archive_rig_run(&rig, 60000);
        parts_check(at);
    }
    archive_rig_verify(&rig);
    archive_rig_fini(&rig);
    return events;
}

int main(void) {
    uint64_t moments = 0, merges = 0;
    for (uint64_t seed = 1; seed <= SEEDS; seed++) {
        uint64_t events = run(seed, UINT64_MAX, &merges);
        RIG_CHECK(merges >= seed, "nothing was merged");
        for (uint64_t at = 0; at < events; at++)
            run(seed, at, &merges);
        moments += events;
    }
    printf("a shard began anew at each of %" PRIu64 " moments, %" PRIu64 " merges\n", moments,
           merges);
    return 0;
}
