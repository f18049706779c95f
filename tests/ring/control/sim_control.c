/* SPDX-License-Identifier: Apache-2.0 */
/* Random histories of a cluster around the controller. Arguments: first seed, count. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "ring/control/state.h"
#include "tests/ring/control/model.h"

/* What must have happened to a replica in that many histories. */
static const unsigned char wanted[][2] = {
    {1, 2}, {2, 1}, {0, 5}, {5, 3}, {3, 1}, {0, 4}, {4, 1}, {1, 7}, {7, 0},
    {5, 0}, {5, 6}, {6, 0}, {2, 0}, {3, 6}, {4, 0}, {2, 4}, {7, 2},
};

int main(int argc, char **argv) {
    uint64_t first = argc > 1 ? strtoull(argv[1], NULL, 10) : 1;
    uint64_t count = argc > 2 ? strtoull(argv[2], NULL, 10) : 2000;
    uint64_t total[9][9] = {0}, maps = 0, acks = 0, losses = 0;
    static struct model m;
    int failed = 0;
    for (uint64_t seed = first; seed < first + count; seed++) {
        model_init(&m, seed);
        m.verbose = getenv("MODEL_VERBOSE") != NULL;
        bool good = model_run(&m, 15000, 60000);
        if (!good) {
            fprintf(stderr, "seed %" PRIu64 ": %s\n", seed, m.failure);
            model_print(&m);
        }
        for (unsigned i = 0; i < 9; i++)
            for (unsigned k = 0; k < 9; k++)
                total[i][k] += m.steps[i][k];
        maps += m.maps;
        acks += m.acks;
        losses += m.losses;
        model_fini(&m);
        if (!good) return 1;
    }
    printf("seeds %" PRIu64 " to %" PRIu64 ": %" PRIu64 " maps, %" PRIu64
           " acknowledged writes, %" PRIu64 " accepted losses\n",
           first, first + count - 1, maps, acks, losses);
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
