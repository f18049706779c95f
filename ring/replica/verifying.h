/* SPDX-License-Identifier: Apache-2.0 */
/* ring/replica/verifying.h: of a verification, who is to be compared yet, and what came of it:
 *   OFF -> SCRUBBING (the store reads its blocks) -> COMPARING -> OVER
 * Comparing and repairing is sync.c's. Thread: the core. */
#pragma once

#include "ring/replica/internal.h"
#include "ring/replica/verify.h"

enum { VERIFY_LOOK_MS = 50 };
struct verify {
    struct replicas *r;
    uint64_t id;
    uint32_t only; /* a shard, or VERIFY_ALL */
    enum verify_phase phase;
    bool scrubs, again; /* the store reads; for another one than was asked for last */
    uint64_t progress_ns;
    struct verify_shard *shards; /* r->shards_count */
    uint32_t shards_count, open_count;
    struct verify_finding findings[VERIFY_FINDINGS_MAX];
    uint32_t findings_count;
    struct store_scrub scrub;
};
void verify_begin(struct verify *v, struct replicas *r, uint64_t id, uint32_t only);
void verify_fini(struct verify *v);
/* It is to be compared with its primary's. */
bool verify_wants(const struct verify *v, uint32_t shard);
/* It was: both sides are as ranges_compare takes them. */
void verify_compared(struct verify *v, uint32_t shard, struct shard_ranges *own,
                     struct shard_ranges *other);
void verify_repaired(struct verify *v, uint32_t shard, const struct shard_span *span);
/* While COMPARING, now and then: what this node leads, and what does not go on. */
void verify_look(struct verify *v);
void served_verify(struct replicas *r, struct peer_request *req, struct sv payload);
