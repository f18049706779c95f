/* SPDX-License-Identifier: Apache-2.0 */
/* A start from a head snapshot and what came behind it gives the same stores as a start that reads
 * all of the log: by seed, under all kinds of operations, with any number of cores before and
 * behind. The same further operations then get the same verdicts and make the same entries. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "tests/storage/snapshot/snapshot_rig.h"

static uint64_t shards_loaded, samples_loaded, entries_behind, entries_all, bases;

/* The same operations on both; what they told. */
static void go_on(struct sr_node *a, struct sr_node *b, uint64_t seed) {
    struct buf told[2] = {{0}}, dumps[2] = {{0}};
    struct sr_node *nodes[2] = {a, b};
    for (int i = 0; i < 2; i++) {
        rng_init(&nodes[i]->rng, seed + 1);
        nodes[i]->told = &told[i];
        sr_work(nodes[i], 150);
        sr_dump(nodes[i], &dumps[i]);
    }
    RIG_CHECK(told[0].len > 1000, "nothing was done");
    sr_must_equal(&told[0], &told[1], "verdicts or entries", seed);
    sr_must_equal(&dumps[0], &dumps[1], "what is there then", seed);
    for (int i = 0; i < 2; i++) {
        buf_fini(&told[i]);
        buf_fini(&dumps[i]);
    }
}

static void run(uint64_t seed) {
    struct sr_world w;
    struct sr_node n, loaded, replayed;
    struct buf dumps[2] = {{0}};
    struct err err;
    struct rng rng;
    rng_init(&rng, seed * 7 + 1);
    sr_world_init(&w, seed);
    sr_node_init(&n, &w, 0, seed);
    sr_node_init(&loaded, &w, 1, seed);
    sr_node_init(&replayed, &w, 2, seed);
    /* where the ring of exemplars is small, what it has is a matter of the core */
    unsigned cores = 1 + (unsigned)rng_below(&rng, SR_CORES);
    unsigned then = w.exemplars_max < 100 ? cores : 1 + (unsigned)rng_below(&rng, SR_CORES);
    RIG_CHECK(sr_start(&n, cores), "!");
    sr_work(&n, 100 + (unsigned)rng_below(&rng, 1600));
    if (rng_chance(&rng, 0.3)) { /* from one to the next */
        RIG_CHECK(sr_save(&n, &err) == OK, "%s", err.msg);
        sr_kill(&n);
        RIG_CHECK(sr_start(&n, cores) && n.loaded, "%s", n.why.msg);
        sr_work(&n, 100);
    }
    RIG_CHECK(sr_save(&n, &err) == OK, "seed %" PRIu64 ": %s", seed, err.msg);
    sr_work(&n, (unsigned)rng_below(&rng, 5) * 120);
    sr_kill(&n);
    sr_copy(&loaded, &n, true);
    sr_copy(&replayed, &n, false);
    RIG_CHECK(sr_start(&loaded, then), "!");
    RIG_CHECK(loaded.loaded, "seed %" PRIu64 ": %s", seed, loaded.why.msg);
    RIG_CHECK(sr_start(&replayed, then) && !replayed.loaded, "!");
    sr_dump(&loaded, &dumps[0]);
    sr_dump(&replayed, &dumps[1]);
    sr_must_equal(&dumps[0], &dumps[1], "what is there", seed);
    for (unsigned i = 0; i < then; i++)
        RIG_CHECK(store_log_floor(loaded.stores[i]) <= store_log_floor(replayed.stores[i]),
                  "seed %" PRIu64 ": a file of the log would go that is needed", seed);
    shards_loaded += loaded.snapshot.shards;
    samples_loaded += loaded.snapshot.samples;
    entries_behind += loaded.entries;
    entries_all += replayed.entries;
    for (uint32_t s = 0; s < SR_SHARDS; s++)
        bases += n.manifest[s].base.epoch > 0;
    go_on(&loaded, &replayed, seed);
    buf_fini(&dumps[0]);
    buf_fini(&dumps[1]);
    sr_node_fini(&n);
    sr_node_fini(&loaded);
    sr_node_fini(&replayed);
    sr_world_fini(&w);
}

int main(int argc, char **argv) {
    uint64_t first = argc > 1 ? strtoull(argv[1], NULL, 10) : 1;
    uint64_t count = argc > 2 ? strtoull(argv[2], NULL, 10) : argc > 1 ? 1 : 60;
    for (uint64_t seed = first; seed < first + count; seed++)
        run(seed);
    printf("%" PRIu64 " shards with %" PRIu64 " samples from snapshots, %" PRIu64 " of %" PRIu64
           " entries applied, %" PRIu64 " bases\n",
           shards_loaded, samples_loaded, entries_behind, entries_all, bases);
    fflush(stdout);
    RIG_CHECK(count < 20 || (bases > 20 && samples_loaded > 50000), "too little was tried");
    return 0;
}
