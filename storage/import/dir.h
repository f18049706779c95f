/* SPDX-License-Identifier: Apache-2.0 */
/* storage/import/dir.h: what an open directory is made of, for prometheus.c and scan.c. */
#pragma once

#include "storage/import/internal.h"

struct prom_dir {
    struct prom_options options; /* path is ours */
    struct prom_block *blocks;   /* by first time, then by name */
    size_t blocks_count, blocks_cap;
    struct prom_head head;
    struct prom_counts counts;
    bool scanned; /* by a scan that is not free yet */
};
