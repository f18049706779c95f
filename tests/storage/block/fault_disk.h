/* SPDX-License-Identifier: Apache-2.0 */
/* tests/storage/block/fault_disk.h: a disk of which one call fails, reads too, of which one file
 * cannot be opened, or that is full. */
#pragma once

#include "node/runtime/disk.h"

struct fault_disk {
    struct disk disk;
    struct disk *inner;
    uint64_t calls, fail_at; /* from 1; 0: none */
    int fail_errno;
    bool reads_only;    /* what changes something is not counted */
    const char *denied; /* a path: EACCES; NULL: none */
    bool full;          /* ENOSPC for what takes room, and full_hits counts it */
    uint64_t full_hits;
};
void fault_disk_init(struct fault_disk *d, struct disk *inner);
