/* SPDX-License-Identifier: Apache-2.0 */
/* ring/replica/ranges.h: what two replicas have of a shard, compared. Pure.
 *
 * Ranges that meet are taken together, of both sides (one may have merged what the other has not):
 * what then lies apart has a sum on each side. Of such a span:
 *   - a bad range of the own side is to be fetched, unless the other side has a bad one there, too
 *   - sums that differ are a difference, unless deletions or floors are at work there (of what is
 *     not visible one side may have more than the other), or ranges of one side overlap (a sample
 *     may be in both)
 *   - what is not closed on both sides is not looked at. */
#pragma once

#include "ring/replica/store_ops.h"

enum span_verdict {
    SPAN_EQUAL,
    SPAN_BAD, /* ours is bad, the other's is not */
    SPAN_DIFFERS,
    SPAN_LOST, /* bad here and there */
};
struct span_found {
    enum span_verdict verdict;
    struct shard_span span; /* no range of either side is in and out of it */
    uint64_t own_samples, other_samples;
    struct range_digest own, other;
};
/* The first bad one that can be fetched; else the first that differs; else the first that is lost;
 * else EQUAL. Sorts both. */
void ranges_compare(struct shard_ranges *own, struct shard_ranges *other, struct span_found *out);
bool ranges_have_bad(const struct shard_ranges *r);
void ranges_fini(struct shard_ranges *r);
