/* SPDX-License-Identifier: Apache-2.0 */
#include "node/daemon/limits.h"

#include <inttypes.h>
#include <sched.h>
#include <stdio.h>
#include <unistd.h>

#include "node/base/attr.h"

/* The first number of a file; 0 when there is none ("max" or no such file). */
static uint64_t read_number(const char *path, uint64_t *out_second) {
    FILE *f = fopen(path, "r");
    if (f == NULL) return 0;
    uint64_t first = 0, second = 0;
    int n = fscanf(f, "%" SCNu64 " %" SCNu64, &first, &second);
    fclose(f);
    if (out_second != NULL) *out_second = n == 2 ? second : 0;
    return n >= 1 ? first : 0;
}

unsigned limits_cpus(void) {
    cpu_set_t set;
    unsigned cpus = 1;
    if (sched_getaffinity(0, sizeof set, &set) == 0 && CPU_COUNT(&set) > 0)
        cpus = (unsigned)CPU_COUNT(&set);
    uint64_t period = 0, quota = read_number("/sys/fs/cgroup/cpu.max", &period);
    if (quota > 0 && period > 0)
        cpus = (unsigned)MIN((uint64_t)cpus, MAX((quota + period - 1) / period, 1));
    return MIN(cpus, 64U);
}

uint64_t limits_memory_bytes(void) {
    uint64_t bytes = (uint64_t)sysconf(_SC_PHYS_PAGES) * (uint64_t)sysconf(_SC_PAGESIZE);
    static const char *const files[] = {"/sys/fs/cgroup/memory.max",
                                        "/sys/fs/cgroup/memory/memory.limit_in_bytes"};
    for (unsigned i = 0; i < ARRAY_LEN(files); i++) {
        uint64_t limit = read_number(files[i], NULL);
        if (limit > 0 && limit < bytes) bytes = limit;
    }
    return bytes;
}
