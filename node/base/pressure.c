/* SPDX-License-Identifier: Apache-2.0 */
#include "node/base/pressure.h"

unsigned pressure_level, pressure_victims;
_Thread_local size_t pressure_given;
static void (*watcher)(void *ctx);
static void *watcher_ctx;

void pressure_watch(void (*look)(void *ctx), void *ctx) {
    if (look != NULL) watcher_ctx = ctx;
    __atomic_store_n(&watcher, look, __ATOMIC_RELEASE);
}

void pressure_look(void) {
    void (*look)(void *ctx) = __atomic_load_n(&watcher, __ATOMIC_ACQUIRE);
    pressure_given = 0;
    if (look != NULL) look(watcher_ctx);
}

void pressure_set(enum pressure level) {
    __atomic_store_n(&pressure_victims, level == PRESSURE_FULL, __ATOMIC_RELAXED);
    __atomic_store_n(&pressure_level, (unsigned)level, __ATOMIC_RELAXED);
}

bool pressure_take_victim(void) {
    return pressure_now() == PRESSURE_FULL &&
           __atomic_exchange_n(&pressure_victims, 0, __ATOMIC_RELAXED) != 0;
}

enum status pressure_check(struct err *err) {
    if (pressure_now() == PRESSURE_NONE) return OK;
    return err_set(err, ERR_UNAVAILABLE, 0,
                   "the memory of this node is full (--node.memory-limit), queries are refused");
}
