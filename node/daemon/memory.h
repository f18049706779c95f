/* SPDX-License-Identifier: Apache-2.0 */
/* node/daemon/memory.h: watches the process' memory against --node.memory-limit. What the process
 * had when it began (its program, before any data) comes on top of the limit. From 15/16 of it on
 * no query begins; at the limit one that runs is ended twice a second, beyond 9/8 of it all
 * are (node/base/pressure.h). New series end before that, by the heads' own accounts. On core 0,
 * every 50 ms; and by who takes much for a query, before that. */
#pragma once

#include <stdint.h>

#include "node/base/pressure.h"
#include "node/runtime/core.h"

struct memory_watch {
    /* private */
    struct timer timer;
    uint64_t limit_bytes, base_bytes;
    int fd; /* of /proc/self/statm, never closed; -1: nothing is watched */
    enum pressure told;
    unsigned full_looks; /* at the limit, one after the other */
    bool stopped;
};
/* Before there is data: what is resident now is the base. w lives as long as the process. */
void memory_watch_init(struct memory_watch *w, uint64_t limit_bytes);
void memory_watch_start(struct memory_watch *w, struct core *core); /* core_set_current */
void memory_watch_stop(struct memory_watch *w);                     /* on the core */
