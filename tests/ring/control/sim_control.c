/* SPDX-License-Identifier: Apache-2.0 */
/* Random histories of a cluster around the controller. Arguments: first seed, count. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "ring/control/state.h"
#include "tests/ring/control/model.h"

static void print_map(const struct model *m) {
    static const char *const states[] = {"?", "FULL", "INIT", "LOG", "LEAVING"};
    fprintf(stderr, "map %" PRIu64 ", factor %u at %" PRIu64 "\n", m->map->version, m->factor,
            m->now_ms);
    for (uint32_t i = 0; i < m->map->nodes_count; i++) {
        const struct ring_node *n = &m->map->nodes[i];
        fprintf(stderr, "  node %u %" PRIx64 " flags %u incarnation %u\n", i, n->id, n->flags,
                n->incarnation);
    }
    for (uint32_t s = 0; s < m->shards; s++) {
        const struct ring_shard *shard = &m->map->shards[s];
        fprintf(stderr, "  shard %u epoch %u primary %u:", s, shard->epoch,
                ring_map_primary(m->map, s));
        for (unsigned i = 0; i < shard->replicas_count; i++) {
            const struct ring_replica *r = &shard->replicas[i];
            fprintf(stderr, " %u=%s%s copy %u since %" PRIu64 " until %" PRIu64 ";", r->node,
                    states[r->state], r->in_sync ? "+" : "-", r->copy, r->since, r->until);
        }
        fprintf(stderr, "\n");
    }
    for (unsigned i = 0; i < m->nodes_count; i++)
        fprintf(stderr, "  %" PRIx64 " up %d cut %d installed %" PRIu64 " lease %d stalled %d\n",
                m->nodes[i].id, m->nodes[i].up, m->nodes[i].cut,
                m->nodes[i].map == NULL ? 0 : m->nodes[i].map->version,
                m->now_ms < m->nodes[i].lease_until_ms, m->nodes[i].stalled_since_ms != 0);
}

/* What must have happened to a replica in that many histories. */
static const unsigned char wanted[][2] = {
    {1, 2}, {2, 1}, {0, 5}, {5, 3}, {3, 1}, {0, 4}, {4, 1}, {1, 7}, {7, 0},
    {5, 0}, {5, 6}, {6, 0}, {2, 0}, {3, 6}, {4, 0}, {2, 4}, {7, 2},
};

int main(int argc, char **argv) {
    uint64_t first = argc > 1 ? strtoull(argv[1], NULL, 10) : 1;
    uint64_t count = argc > 2 ? strtoull(argv[2], NULL, 10) : 2000;
    uint64_t total[9][9] = {0}, maps = 0, acks = 0;
    static struct model m;
    int failed = 0;
    for (uint64_t seed = first; seed < first + count; seed++) {
        model_init(&m, seed);
        bool good = model_run(&m, 15000, 60000);
        if (!good) {
            fprintf(stderr, "seed %" PRIu64 ": %s\n", seed, m.failure);
            print_map(&m);
        }
        for (unsigned i = 0; i < 9; i++)
            for (unsigned k = 0; k < 9; k++)
                total[i][k] += m.steps[i][k];
        maps += m.maps;
        acks += m.acks;
        model_fini(&m);
        if (!good) return 1;
    }
    printf("seeds %" PRIu64 " to %" PRIu64 ": %" PRIu64 " maps, %" PRIu64 " acknowledged writes\n",
           first, first + count - 1, maps, acks);
    printf("%12s", "");
    for (unsigned k = 0; k < 9; k++)
        printf("%12s", model_state_names[k]);
    for (unsigned i = 0; i < 9; i++) {
        printf("\n%12s", model_state_names[i]);
        for (unsigned k = 0; k < 9; k++)
            printf("%12" PRIu64, total[i][k]);
    }
    printf("\n");
    for (size_t i = 0; i < ARRAY_LEN(wanted) && count >= 1000; i++)
        if (total[wanted[i][0]][wanted[i][1]] == 0) {
            printf("never happened: %s -> %s\n", model_state_names[wanted[i][0]],
                   model_state_names[wanted[i][1]]);
            failed = 1;
        }
    return failed;
}
