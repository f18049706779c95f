/* SPDX-License-Identifier: Apache-2.0 */
/* tests/storage/block/fault_disk.h: a disk of which one call fails, reads too, or one file cannot
 * be opened. */
#pragma once

#include "node/runtime/disk.h"

struct fault_disk {
    struct disk disk;
    struct disk *inner;
    uint64_t calls, fail_at; /* from 1; 0: none */
    int fail_errno;
    bool reads_only;    /* what changes something is not counted */
    const char *denied; /* a path: EACCES; NULL: none */
};
void fault_disk_init(struct fault_disk *d, struct disk *inner);
