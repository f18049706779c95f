/* SPDX-License-Identifier: Apache-2.0 */
/* Writers on three simulated nodes under faults by seed: frames lost, late and out of order,
 * connections cut, partitions, stalls, power cuts. P1 for one replica: whatever was acknowledged is
 * held, bit by bit, after everything has healed. Usage: sim_distributor [seeds] [first seed] */
#include <inttypes.h>

#include "cluster.h"

enum { WRITES = 40, SERIES = 30, WRITE_EVERY_MS = 500 };

struct writer {
    struct cluster *cluster;
    struct client *clients[WRITES];
    unsigned next;
    int64_t start_ms;
};

static void fill(struct writer *wr, unsigned number, struct client_sample *samples) {
    for (unsigned i = 0; i < SERIES; i++)
        samples[i] =
            (struct client_sample){i + (number % 4) * 10, wr->start_ms + (int64_t)number * 1000,
                                   (double)(number * 1000 + i)};
}

static void writer_next(void *ctx) {
    struct writer *wr = ctx;
    struct cluster *c = wr->cluster;
    if (wr->next == WRITES) return;
    unsigned node = (unsigned)rng_below(sim_rng(c->sim), c->nodes_count);
    struct client_sample samples[SERIES];
    fill(wr, wr->next, samples);
    if (c->nodes[node].node != NULL && sim_is_up(c->sim, node)) {
        wr->clients[wr->next] = client_new(c, samples, SERIES);
        client_start(c, wr->clients[wr->next], node, wr->next % CLUSTER_CORES);
    }
    wr->next++;
    sim_after(c->sim, WRITE_EVERY_MS, writer_next, wr);
}

static bool all_are_up(void *ctx) {
    struct cluster *c = ctx;
    for (unsigned i = 0; i < c->nodes_count; i++)
        if (c->nodes[i].node == NULL) return false;
    return true;
}

/* Acknowledged writes are sent again: every sample must be there already. */
static unsigned verify(struct writer *wr) {
    unsigned acknowledged = 0;
    for (unsigned k = 0; k < WRITES; k++) {
        struct client *w = wr->clients[k];
        if (w == NULL || !w->done || w->op.outcome != WRITE_OK) continue;
        struct client_sample samples[SERIES];
        fill(wr, k, samples);
        struct client *again = client_new(wr->cluster, samples, SERIES);
        client_write(wr->cluster, again, k % 3, 0);
        if (again->op.outcome != WRITE_OK || again->op.counts[VERDICT_NOOP] != SERIES) {
            fprintf(stderr, "write %u: %u of %u samples are held: %s\n", k,
                    again->op.counts[VERDICT_NOOP], SERIES, again->op.text);
            abort();
        }
        client_free(again);
        acknowledged++;
    }
    return acknowledged;
}

struct sums {
    unsigned acknowledged, refused, lost;
    uint64_t faults[SIM_FAULT_COUNT];
};

static void run(uint64_t seed, struct sums *sums) {
    fprintf(stderr, "seed %" PRIu64 "\n", seed);
    struct cluster c;
    cluster_init(&c, &(struct sim_options){
                         .seed = seed,
                         .nodes_count = 3,
                         .fault_rate = {[SIM_FRAME_LOST] = 0.02,
                                        [SIM_FRAME_DELAYED] = 0.05,
                                        [SIM_CONN_CUT] = 0.002,
                                        [SIM_FRAME_REORDERED] = 0.05,
                                        [SIM_PARTITION] = 0.0002,
                                        [SIM_CRASH] = 0.0001,
                                        [SIM_STALL] = 0.0002,
                                        [SIM_WRITE_TORN] = 0.3,
                                        [SIM_WRITE_DROPPED] = 0.3,
                                        [SIM_NAME_DROPPED] = 0.3},
                         .down_max = 2,
                     });
    c.restart_after_ms = 1500;
    sim_set_faults(c.sim, false);
    for (unsigned i = 0; i < 3; i++)
        cluster_start(&c, i);
    cluster_wait(&c);
    sim_set_faults(c.sim, true);
    struct writer wr = {.cluster = &c, .start_ms = cluster_now_ms(&c)};
    sim_after(c.sim, 1, writer_next, &wr);
    uint64_t until = sim_now_ms(c.sim) + WRITES * WRITE_EVERY_MS + 20000;
    while (sim_now_ms(c.sim) < until && sim_step(c.sim)) {
    }
    sim_set_faults(c.sim, false);
    MUST(sim_run(c.sim, all_are_up, &c, sim_now_ms(c.sim) + 60000));
    cluster_wait(&c);
    sums->acknowledged += verify(&wr);
    for (unsigned k = 0; k < WRITES; k++) {
        if (wr.clients[k] == NULL) continue;
        sums->lost += !wr.clients[k]->done; /* its node lost power */
        sums->refused += wr.clients[k]->done && wr.clients[k]->op.outcome != WRITE_OK;
    }
    for (unsigned f = 0; f < SIM_FAULT_COUNT; f++)
        sums->faults[f] += sim_fault_total(c.sim, (enum sim_fault)f);
    cluster_fini(&c);
    for (unsigned k = 0; k < WRITES; k++)
        if (wr.clients[k] != NULL) client_free(wr.clients[k]);
}

int main(int argc, char **argv) {
    uint64_t seeds = argc > 1 ? strtoull(argv[1], NULL, 10) : 50,
             first = argc > 2 ? strtoull(argv[2], NULL, 10) : 1;
    struct sums sums = {0};
    for (uint64_t seed = first; seed < first + seeds; seed++) {
        run(seed, &sums);
    }
    printf("%" PRIu64 " seeds: %u acknowledged, %u unavailable, %u without an answer\n", seeds,
           sums.acknowledged, sums.refused, sums.lost);
    for (unsigned f = 0; f < SIM_FAULT_COUNT; f++)
        printf("  %s %" PRIu64 "\n", sim_fault_names[f], sums.faults[f]);
    fflush(stdout);
    MUST(sums.acknowledged > seeds * WRITES / 4);
    MUST(seeds < 100 ||
         (sums.faults[SIM_CRASH] > 0 && sums.faults[SIM_FRAME_LOST] > 0 && sums.refused > 0));
    return 0;
}
