/* SPDX-License-Identifier: Apache-2.0 */
/* node/base/pressure.h: how near the process is to its memory limit, for what can be refused. Set
 * by one watcher (node/daemon/memory.h; never in the simulator), read by any thread: a hint,
 * ordered with nothing. */
#pragma once

#include <stdbool.h>
#include <stddef.h>

#include "node/base/status.h"

enum pressure {
    PRESSURE_NONE,
    PRESSURE_HIGH, /* no query begins */
    PRESSURE_FULL, /* queries that run end, one each time it is set: the others may fit then */
    PRESSURE_OVER, /* accounts (node/base/budget.h) give nothing more: all of them end */
};
extern unsigned pressure_level, pressure_victims; /* private */
void pressure_set(enum pressure level);
static inline enum pressure pressure_now(void) {
    return (enum pressure)__atomic_load_n(&pressure_level, __ATOMIC_RELAXED);
}
/* True once each time FULL is set: who asks is the one that ends. */
bool pressure_take_victim(void);
/* What accounts give out. Each thread that was given PRESSURE_LOOK_BYTES more calls the watcher: a
 * timer alone may see memory only when it is gone. */
enum { PRESSURE_LOOK_BYTES = 2 << 20 };
extern _Thread_local size_t pressure_given; /* private */
void pressure_look(void);                   /* private */
static inline void pressure_give(size_t bytes) {
    pressure_given += bytes;
    if (pressure_given >= PRESSURE_LOOK_BYTES) pressure_look();
}
/* look may run on any thread, also a while after it was replaced by NULL; so ctx lives as long as
 * the process. */
void pressure_watch(void (*look)(void *ctx), void *ctx);
/* OK, or why a query must not begin: ERR_UNAVAILABLE. */
MUST_USE enum status pressure_check(struct err *err);
