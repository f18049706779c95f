/* SPDX-License-Identifier: Apache-2.0 */
/* node/base/cancel.h: a flag by which work on another thread is told to end early. It orders
 * nothing, and is looked at where there is time for it. */
#pragma once

#include <stdbool.h>
#include <stddef.h>

static inline void cancel_set(bool *flag) {
    __atomic_store_n(flag, true, __ATOMIC_RELAXED);
}

static inline bool cancel_is_set(const bool *flag) { /* NULL: never */
    return flag != NULL && __atomic_load_n(flag, __ATOMIC_RELAXED);
}
