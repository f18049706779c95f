/* SPDX-License-Identifier: Apache-2.0 */
/* Writers on three simulated nodes while the test moves shards about, shards are closed and opened,
 * frames are lost, late and out of order, connections are cut and nodes cannot reach each other. A
 * write that is acknowledged is held by a node that was primary of its shard meanwhile; one that is
 * not ends in time; none is forgotten. Usage: sim_maps [seeds] [first seed] */
#include <inttypes.h>
#include <stdio.h>

#include "maps_rig.h"
#include "node/base/log.h"

enum { WRITES = 40, SERIES = 60, WRITE_EVERY_MS = 300, MAP_EVERY_MS = 700, RESEND_MS = 10000 };

struct run {
    struct maps_rig rig;
    struct rig_write *writes[WRITES];
    unsigned next;
    int64_t start_ms;
    uint64_t seed;
    bool quiet;
};
static struct { uint64_t ok, unavailable, samples, again, maps; } totals;

static struct rng *rng(struct run *r) {
    return sim_rng(r->rig.sim);
}

static int64_t write_time(const struct run *r, unsigned number) {
    return r->start_ms + number * 1000;
}

static void writer_next(void *ctx) {
    struct run *r = ctx;
    if (r->next == WRITES) return;
    unsigned n = r->next++;
    r->writes[n] = rig_write_new(&r->rig, (n % 3) * 20, SERIES, write_time(r, n), n);
    rig_write_start(&r->rig, r->writes[n], (unsigned)rng_below(rng(r), RIG_NODES), n % RIG_CORES);
    sim_after(r->rig.sim, WRITE_EVERY_MS, writer_next, r);
}

/* Copies do not begin anew: what a node held it goes on to hold, as replication would see to. */
static void map_next(void *ctx) {
    struct run *r = ctx;
    if (r->quiet) return;
    struct ring_map *map = rig_map_next(&r->rig);
    for (uint32_t s = 0; s < RIG_SHARDS; s++) {
        if (rng_below(rng(r), 6) != 0) continue;
        rig_move(map, s, (unsigned)rng_below(rng(r), RIG_NODES));
        map->shards[s].replicas[0].copy = 1;
    }
    rig_publish(&r->rig, map);
    totals.maps++;
    for (unsigned n = 0; n < RIG_NODES; n++) {
        rig_install_after(&r->rig, n, 1 + rng_below(rng(r), 1500));
        for (uint32_t s = 0; s < RIG_SHARDS; s++)
            r->rig.nodes[n].closed[s] = rng_below(rng(r), 8) == 0;
    }
    sim_after(r->rig.sim, 1 + rng_below(rng(r), MAP_EVERY_MS), map_next, r);
}

static bool all_done(void *ctx) {
    struct run *r = ctx;
    for (unsigned i = 0; i < WRITES; i++)
        if (r->writes[i] == NULL || !r->writes[i]->done) return false;
    return true;
}

/* Heads keep the newest sample only where one can ask; later writes of a series are newer. */
static void verify(struct run *r, unsigned number) {
    struct rig_write *w = r->writes[number];
    uint32_t sum = 0;
    for (unsigned v = 0; v < VERDICT_COUNT; v++)
        sum += w->op.counts[v];
    if (w->took_ms > RESEND_MS + 5500) { /* the last attempt began before resend_ms */
        fprintf(stderr, "seed %" PRIu64 ": write %u took %" PRIu64 " ms\n", r->seed, number,
                w->took_ms);
        abort();
    }
    if (w->op.outcome != WRITE_OK) {
        MUST(w->op.outcome == WRITE_UNAVAILABLE && strstr(w->op.text, "shard ") != NULL);
        totals.unavailable++;
        return;
    }
    MUST(sum == SERIES);
    totals.ok++;
    totals.again += w->op.counts[VERDICT_NOOP];
    for (unsigned i = 0; i < SERIES; i++) {
        bool held = false;
        for (unsigned n = 0; n < RIG_NODES && !held; n++) {
            int64_t time_ms;
            double value;
            held = rig_newest(&r->rig, n, (number % 3) * 20 + i, &time_ms, &value) &&
                   (time_ms > write_time(r, number) ||
                    (time_ms == write_time(r, number) && value == number + (number % 3) * 20 + i));
        }
        if (!held) {
            fprintf(stderr, "seed %" PRIu64 ": write %u lost series %u\n", r->seed, number, i);
            abort();
        }
        totals.samples++;
    }
}

static void run(uint64_t seed) {
    struct run r = {.seed = seed};
    rig_open(&r.rig, &(struct sim_options){.seed = seed,
                                           .fault_rate = {[SIM_FRAME_LOST] = 0.01,
                                                          [SIM_FRAME_DELAYED] = 0.05,
                                                          [SIM_FRAME_REORDERED] = 0.05,
                                                          [SIM_CONN_CUT] = 0.01,
                                                          [SIM_PARTITION] = 0.002,
                                                          [SIM_STALL] = 0.002}});
    r.start_ms = rig_now_ms(&r.rig);
    sim_set_faults(r.rig.sim, true);
    sim_after(r.rig.sim, 1, writer_next, &r);
    sim_after(r.rig.sim, 1, map_next, &r);
    rig_run(&r.rig, WRITES * WRITE_EVERY_MS + 1);
    sim_set_faults(r.rig.sim, false);
    r.quiet = true;
    for (unsigned n = 0; n < RIG_NODES; n++)
        memset(r.rig.nodes[n].closed, 0, sizeof r.rig.nodes[n].closed);
    MUST(sim_run(r.rig.sim, all_done, &r, sim_now_ms(r.rig.sim) + 60000));
    for (unsigned i = 0; i < WRITES; i++)
        verify(&r, i);
    rig_close(&r.rig);
    for (unsigned i = 0; i < WRITES; i++)
        rig_write_free(r.writes[i]);
}

int main(int argc, char **argv) {
    uint64_t seeds = argc > 1 ? strtoull(argv[1], NULL, 10) : 50,
             first = argc > 2 ? strtoull(argv[2], NULL, 10) : 1;
    log_setup(LOG_ERROR, LOG_LOGFMT, 2);
    for (uint64_t seed = first; seed < first + seeds; seed++) {
        fprintf(stderr, "seed %" PRIu64 "\n", seed);
        run(seed);
    }
    printf("%" PRIu64 " seeds: %" PRIu64 " acknowledged, %" PRIu64 " unavailable, %" PRIu64
           " maps; %" PRIu64 " samples held, %" PRIu64 " of them were sent more than once\n",
           seeds, totals.ok, totals.unavailable, totals.maps, totals.samples, totals.again);
    MUST(totals.ok > seeds * WRITES / 2 && (seeds < 20 || totals.unavailable > 0));
    return 0;
}
