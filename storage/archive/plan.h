/* SPDX-License-Identifier: Apache-2.0 */
/* storage/archive/plan.h: which blocks become one. Ranges grow threefold (2 h, 6 h, 18 h, ...), at
 * multiples of their length since the epoch, as in Prometheus; a range is merged when it is closed
 * for all shards, and it has two blocks or more. Pure. */
#pragma once

#include <stdbool.h>

#include "storage/archive/manifest.h"

/* The multiple of `length_ms` at or before t; INT64_MIN where there is none, as of INT64_MIN. */
static inline int64_t range_floor(int64_t t, int64_t length_ms) {
    int64_t rest = t % length_ms, floor_ms;
    if (rest < 0) rest += length_ms;
    return __builtin_sub_overflow(t, rest, &floor_ms) ? INT64_MIN : floor_ms;
}

/* What is older does not change any more for the shards that are written to; what comes late from
 * others makes another block, which is merged when there are more. INT64_MIN. */
int64_t plan_closed_before(const struct manifest *m);
/* For qsort, of pointers to const struct manifest_block: by time, then by number. */
int plan_by_time(const void *a, const void *b);

enum { MERGE_INPUTS_MAX = 256 };
struct merge_plan {
    uint64_t numbers[MERGE_INPUTS_MAX]; /* ascending by time; 0 of them: nothing to do */
    uint32_t count;
    uint16_t level;
    uint32_t resolution_ms; /* of what is made; 0: raw */
    int64_t from_ms, to_ms; /* rows: of windows that end in (from, to] */
    bool makes_rows;        /* from raw blocks, which stay */
    bool trims;             /* of one: samples at or before to_ms go */
};
struct plan_level { /* rows of that resolution for what is older than `after`; 0: none */
    int64_t after_ms;
    uint32_t resolution_ms;
};
enum { PLAN_LEVELS = 2 };
struct plan_options {
    int64_t range_ms, merged_ms_max;
    int64_t raw_merged_ms_max; /* of raw blocks; 0: as the others */
    struct plan_level levels[PLAN_LEVELS];
};
void plan_merge(const struct manifest *m, const struct plan_options *options,
                struct merge_plan *out);
/* Rows that are to be made next: of the oldest range of raw blocks (a merged range as a whole, or
 * the longest merged range that is not longer than `after`) that is old enough and has none, and of
 * which `tried` does not say that there is nothing in it; or blocks of rows that follow one another
 * are merged, as raw ones are. Age counts from the newest closed range. Where samples of a shard
 * have ended (storage/ended.h) rows are made at any age, and without a level for them: what is
 * visible of it are rows, and then its samples can go. */
void plan_rows(const struct manifest *m, const struct plan_options *options,
               bool (*tried)(void *ctx, const struct merge_plan *plan), void *ctx,
               struct merge_plan *out);
/* The shards for which such a block of rows speaks: whose copy the record is of, closed, and of
 * which all samples are there (cover.h), and not all of these rows. */
bool plan_rows_has(const struct manifest *m, const struct manifest_shard *s,
                   const struct merge_plan *plan);
/* The shards for which a merge of rows speaks: for all of its range some input does. */
bool plan_merge_has(const struct manifest *m, const struct manifest_shard *s,
                    const struct merge_plan *plan);
/* The block with the lowest number from `from` on and below `before` that has samples of times of
 * which something was deleted; as a merge of one, or, where it has rows, as one that goes. false:
 * there is none. */
bool plan_clean(const struct manifest *m, uint64_t from, uint64_t before, struct merge_plan *out);
/* Blocks of which nothing is left: all is older than the shards' floors, or of no shard. Fills up
 * to max, returns how many. */
uint32_t plan_drops(const struct manifest *m, uint64_t *out_numbers, uint32_t max);
/* The time before which all is to go so that what is left has at most bytes_max; INT64_MIN. */
int64_t plan_size_floor(const struct manifest *m, uint64_t bytes_max);
