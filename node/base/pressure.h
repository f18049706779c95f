/* SPDX-License-Identifier: Apache-2.0 */
/* node/base/pressure.h: how near the process is to its memory limit, for what can be refused. Set
 * by one watcher (node/daemon/memory.h; never in the simulator), read by any thread: a hint,
 * ordered with nothing. */
#pragma once

#include <stdbool.h>

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
/* OK, or why a query must not begin: ERR_UNAVAILABLE. */
MUST_USE enum status pressure_check(struct err *err);
