/* SPDX-License-Identifier: Apache-2.0 */
/* ingest/replica_gate.h: replication as the gate of a distributor; for who wires both. */
#pragma once

#include "ingest/distributor.h"

static inline enum status replica_gate_may_write(void *ctx, uint32_t shard, uint64_t now_ns,
                                                 struct err *err) {
    return replicas_may_write(ctx, shard, now_ns, err);
}
static inline void replica_gate_wait(void *ctx, struct replica_wait *wait, const uint32_t *shards,
                                     size_t count,
                                     void (*done)(struct replica_wait *wait, enum status status,
                                                  const struct err *err)) {
    replicas_wait(ctx, wait, shards, count, done);
}
static inline struct write_gate replica_gate(struct replicas *r) {
    return (struct write_gate){r, replica_gate_may_write, replica_gate_wait};
}
