/* SPDX-License-Identifier: Apache-2.0 */
/* ring/replica/verify.h: replicas are looked at because somebody asks: each core of a node reads
 * what its blocks have, then compares what it follows with what the primaries have, until there is
 * no difference, nothing bad and nothing too early to say, and looks at what it leads, until
 * nothing of it is bad. What is found is repaired (sync.h). A shard of which nothing comes any more
 * for VERIFY_STALL_MS has failed.
 *
 * A core has one verification at a time, by its id: who asks for another begins anew. */
#pragma once

#include "ring/replica/ranges.h"
#include "ring/replica/replica.h"

enum { VERIFY_FINDINGS_MAX = 256, VERIFY_STALL_MS = 30000 };
#define VERIFY_ALL UINT32_MAX
enum verify_phase { /* numbers: of the wire, as are the next */
                    VERIFY_OFF = 0,
                    VERIFY_SCRUBBING = 1,
                    VERIFY_COMPARING = 2,
                    VERIFY_OVER = 3
};
enum verify_state { VERIFY_NONE = 0, VERIFY_OPEN = 1, VERIFY_DONE = 2, VERIFY_FAILED = 3 };

struct verify_shard {
    uint8_t state;
    bool leads;
    uint32_t equal, apart; /* spans, when they were compared last; apart: not to be compared */
};
struct verify_finding {
    uint32_t shard;
    uint8_t verdict; /* SPAN_BAD, SPAN_DIFFERS or SPAN_LOST */
    bool repaired;
    struct shard_span span;
    uint64_t own_samples, other_samples;
};
/* FRAME_VERIFY, an ask: a version byte (1), v id, u8 bits (1: begin), v shard + 1, 0: all.
 * A reply: a version byte, and of each core { v id, u8 phase, v blocks read,
 * v count { v shard, u8 state, u8 bits (1: primary), v equal, v apart }, v count { v shard, u8
 * verdict, u8 repaired, z min, z max, v own samples, v other samples } } */
struct verify_ask {
    uint64_t id;
    bool begin;
    uint32_t only;
};
void verify_ask_put(const struct verify_ask *ask, struct buf *out);
/* Behind the version. ERR_CORRUPT. */
MUST_USE enum status verify_ask_get(struct sv items, struct verify_ask *out, struct err *err);
/* What a core says: begins, where the ask says so, and appends its part of a reply. On the core. */
void replicas_verify(struct replicas *r, const struct verify_ask *ask, struct buf *out);
/* Of a reply's part, from the front of *rest. ERR_CORRUPT. */
struct verify_part {
    uint64_t id;
    uint8_t phase;
    uint64_t blocks;
    struct sv shards, findings; /* so many items */
    uint64_t shards_count, findings_count;
};
MUST_USE enum status verify_part_get(struct sv *rest, struct verify_part *out, struct err *err);
bool verify_shard_next(struct sv *rest, uint32_t *out_shard, struct verify_shard *out);
bool verify_finding_next(struct sv *rest, struct verify_finding *out);
