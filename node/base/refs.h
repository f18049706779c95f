/* SPDX-License-Identifier: Apache-2.0 */
/* node/base/refs.h: reference counts of immutable objects that several threads share. */
#pragma once

#include <assert.h>
#include <stdbool.h>

/* relaxed: whoever takes a reference already holds one, so the object cannot go meanwhile */
static inline void refs_inc(unsigned *refs) {
    __atomic_fetch_add(refs, 1, __ATOMIC_RELAXED);
}
/* true for the last one; release so that all uses come before, acquire so that the freeing comes
 * after them */
static inline bool refs_dec(unsigned *refs) {
    unsigned before = __atomic_fetch_sub(refs, 1, __ATOMIC_ACQ_REL);
    assert(before > 0);
    return before == 1;
}
/* acquire: when it is 1, and the caller's, what others did with theirs has come before. */
static inline unsigned refs_count(const unsigned *refs) {
    return __atomic_load_n(refs, __ATOMIC_ACQUIRE);
}
