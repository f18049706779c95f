/* SPDX-License-Identifier: Apache-2.0 */
/* Stores on several cores over one log: power is cut at every call to the disk. After a start with
 * another number of cores every acknowledged sample is in a head, none is invented or doubled, and
 * writing goes on, across a new epoch, too. */
#include <inttypes.h>
#include <stdio.h>

#include "tests/storage/store_rig.h"

static struct store_rig rig;

static uint64_t run(uint64_t n, uint64_t seed) {
    store_rig_init(&rig, seed);
    if (n > 0) sim_disk_cut_at(rig.sd, n);
    if (store_rig_start(&rig, 1 + (unsigned)seed % STORE_CORES) == OK) store_rig_work(&rig, 360);
    uint64_t calls = sim_disk_calls(rig.sd);
    if (rig.rt != NULL) store_rig_verify(&rig, false);
    for (unsigned round = 0; n > 0 && round < 3; round++) {
        store_rig_power_cut(&rig);
        rig.epoch += round == 1;
        store_rig_must_start(&rig, 1 + (unsigned)(seed + n + round) % STORE_CORES);
        store_rig_verify(&rig, false);
        store_rig_heal(&rig);
        store_rig_work(&rig, 12);
        store_rig_verify(&rig, true);
        RIG_CHECK(rig.failed_count == 0, "%s", rig.err.msg);
    }
    store_rig_fini(&rig);
    return calls;
}

int main(void) {
    uint64_t calls = run(0, 2);
    for (uint64_t n = 1; n <= calls; n++)
        for (uint64_t seed = 0; seed < 3; seed++)
            run(n, n * 3 + seed);
    printf("power cut at each of %" PRIu64 " calls\n", calls);
    return 0;
}
