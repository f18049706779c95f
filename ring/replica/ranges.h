/* SPDX-License-Identifier: Apache-2.0 */
/* ring/replica/ranges.h: what two replicas have of a shard, compared. Pure.
 *
 * Ranges that meet are taken together, of both sides (one may have merged what the other has not):
 * what then lies apart has a sum on each side. Of such a span:
 *   - a bad range of the own side is to be fetched, unless the other side has a bad one there, too
 *   - sums that differ are a difference: they are of what is not deleted, so both sides must know
 *     of the same deletions there. While one knows of another, or has not counted what they take,
 *     it is too early to say.
 *   - what floors are at work on (of what has ended one side may have more than the other), and
 *     what is not closed on both sides, is not looked at; nor where ranges of one side overlap (a
 *     sample may be in both). */
#pragma once

#include "ring/replica/store_ops.h"

enum span_verdict { /* numbers: verify.h */
                    SPAN_EQUAL = 0,
                    SPAN_APART = 1, /* not to be compared, as above */
                    SPAN_BAD = 2,   /* ours is bad, the other's is not */
                    SPAN_DIFFERS = 3,
                    SPAN_LATER = 4, /* too early to say */
                    SPAN_LOST = 5,  /* bad here and there */
};
struct span_found {
    enum span_verdict verdict;
    struct shard_span span; /* no range of either side is in and out of it */
    uint64_t own_samples, other_samples;
    struct range_digest own, other;
};
/* All spans, by time; until fn returns false. Sorts both. */
void ranges_each(struct shard_ranges *own, struct shard_ranges *other,
                 bool (*fn)(void *ctx, const struct span_found *found), void *ctx);
/* The first bad one that can be fetched; else the first that differs; else the first of which it is
 * too early to say; else the first that is lost; else EQUAL. */
void ranges_compare(struct shard_ranges *own, struct shard_ranges *other, struct span_found *out);
/* The first bad one that can be fetched from a replica that is not in sync; else EQUAL. No sums are
 * compared, so of either side good ranges may lie in and out of the span: those here stay
 * (only_bad), since the other may not be closed up to their ends. It may not have heard of
 * the newest deletions and floors, which count here all the same. But what only it has heard of was
 * never acknowledged, and what that took is missing there. Sorts own. */
void ranges_compare_aside(struct shard_ranges *own, const struct shard_ranges *other,
                          struct span_found *out);
bool ranges_have_bad(const struct shard_ranges *r);
void ranges_fini(struct shard_ranges *r);
