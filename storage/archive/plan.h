/* SPDX-License-Identifier: Apache-2.0 */
/* storage/archive/plan.h: which blocks become one. Ranges grow threefold (2 h, 6 h, 18 h, ...), at
 * multiples of their length since the epoch, as in Prometheus; a range is merged when it is closed
 * for all shards, and it has two blocks or more. Pure. */
#pragma once

#include "storage/archive/manifest.h"

/* The multiple of `length_ms` at or before t. */
static inline int64_t range_floor(int64_t t, int64_t length_ms) {
    int64_t rest = t % length_ms;
    return t - (rest < 0 ? rest + length_ms : rest);
}

enum { MERGE_INPUTS_MAX = 256 };
struct merge_plan {
    uint64_t numbers[MERGE_INPUTS_MAX]; /* ascending by time; 0 of them: nothing to do */
    uint32_t count;
    uint16_t level;
};
struct plan_options {
    int64_t range_ms, merged_ms_max;
};
void plan_merge(const struct manifest *m, const struct plan_options *options,
                struct merge_plan *out);
/* The block with the lowest number from `from` on and below `before` that has samples of times of
 * which something was deleted; as a merge of one. false: there is none. */
bool plan_clean(const struct manifest *m, uint64_t from, uint64_t before, struct merge_plan *out);
/* Blocks of which nothing is left: all is older than the shards' floors, or of no shard. Fills up
 * to max, returns how many. */
uint32_t plan_drops(const struct manifest *m, uint64_t *out_numbers, uint32_t max);
/* The time before which all is to go so that what is left has at most bytes_max; INT64_MIN. */
int64_t plan_size_floor(const struct manifest *m, uint64_t bytes_max);
