/* SPDX-License-Identifier: Apache-2.0 */
/* query/gather/active.h: the queries that run right now, in memory that outlives the process: a
 * shared mapping of <data>/queries.active, which node/daemon makes and reads at the next start. It
 * has Prometheus' format: `[`, then entries of ACTIVE_ENTRY_BYTES, each zeros or
 * `{"query":"...","timestamp_sec":N},` filled up with zeros.
 * Thread: each core writes to slots of its own. */
#pragma once

#include "node/base/buf.h"

enum { ACTIVE_ENTRY_BYTES = 1000, ACTIVE_NONE = UINT32_MAX };
struct active {
    char *bytes; /* NULL: nothing is kept */
    uint32_t per_core;
};
static inline size_t active_bytes(uint32_t cores, uint32_t per_core) {
    return 1 + (size_t)cores * per_core * ACTIVE_ENTRY_BYTES;
}
/* The slot, or ACTIVE_NONE when all of the core's are taken. A long text is cut. */
uint32_t active_begin(struct active *a, unsigned core, struct sv query, int64_t unix_s);
void active_end(struct active *a, uint32_t slot);
/* What a file says: a JSON array of the entries. Returns how many there are. */
size_t active_put_left(struct sv file, struct buf *out);
