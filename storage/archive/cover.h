/* SPDX-License-Identifier: Apache-2.0 */
/* storage/archive/cover.h: which samples of a shard have rows that stand for them, durably and
 * here: before that is so for all of them nothing ends by resolution (storage/ended.h), and until
 * it is so on a replica that replica keeps its samples. Pure; by what the manifest says of blocks.
 *
 * Samples go from the disk block by block, the oldest first and never one behind a block without
 * rows; up to where they have gone the manifest says for each shard: rows are made of what is
 * newer, and of nothing older. A raw block stays, beside its rows,
 *   - where these count histograms, which are in no row
 *   - where a deletion took a part of an hour before that hour ended: only its samples tell
 * until the floor. Rows of 5 m go likewise where rows of 1 h stand for them. */
#pragma once

#include "storage/archive/block_list.h"
#include "storage/archive/plan.h"

struct cover_wanted {
    uint32_t shard, copy;
    struct ended before;       /* ended already */
    int64_t floor_ms;          /* what is older needs no rows */
    int64_t range_ms;          /* of blocks: things end where ranges do, so that rows of the
                                  next ones can still be made */
    bool has_fine, has_coarse; /* rows of 5 m, of 1 h must stand */
};
/* As much of it as may end now; where nothing may: what had ended before. */
struct ended cover_limit(const struct block_list *list, const struct cover_wanted *wanted,
                         const struct ended *to);
/* Samples of the shard at or before it may not be there any more; INT64_MIN: all are. */
int64_t cover_gone_ms(const struct manifest_shard *s);
/* For another node, by what is there: manifest_shard.gone_ms is that or less. */
int64_t cover_gone_at_most(const struct block_list *list, const struct manifest_shard *s);
/* What the raw block has up to there goes. */
void cover_set_gone(struct manifest *m, const struct manifest_block *b, int64_t to_ms);

struct cover_range { /* windows that end in (from, to] */
    uint32_t resolution_ms;
    int64_t from_ms, to_ms;
};
/* Rows of that resolution stand for all of the shard's windows there. */
bool cover_stands(const struct manifest *m, const struct manifest_shard *s,
                  const struct cover_range *range);
/* Some raw block has the shard, with samples from > from to <= to: of any of its shards. */
bool cover_has_samples(const struct manifest *m, const struct manifest_shard *s, int64_t from_ms,
                       int64_t to_ms);
/* b may be NULL. */
bool cover_has_part(const struct manifest_block *b, const struct manifest_shard *s);

/* Blocks that stand in nobody's way any more. also: rows of these resolutions are to be there, too,
 * for a sample to go: they are made of samples only. */
struct cover_drops {
    const struct block_list *list;
    const struct manifest *manifest;
    bool also_fine, also_coarse;
};
/* Else a raw block more than half of which may go; false: there is none. */
bool cover_plan_trim(const struct cover_drops *d, struct merge_plan *out);
uint32_t cover_plan_drops(const struct cover_drops *d, uint64_t *out_numbers, uint32_t max);
