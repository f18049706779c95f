/* SPDX-License-Identifier: Apache-2.0 */
#include "storage/archive/plan.h"

#include <stdlib.h>

/* A large block is not written anew for less than that part of it, unless there are many. */
enum { SMALL_PART = 20, SMALL_COUNT = 10 };

int64_t plan_closed_before(const struct manifest *m) {
    int64_t closed_ms = INT64_MIN;
    for (uint32_t i = 0; i < m->shards_count; i++)
        closed_ms = MAX(closed_ms, m->shards[i].from_ms);
    return closed_ms;
}

int plan_by_time(const void *a, const void *b) {
    const struct manifest_block *const *x = a, *const *y = b;
    if ((*x)->min_ms != (*y)->min_ms) return (*x)->min_ms < (*y)->min_ms ? -1 : 1;
    return (*x)->number < (*y)->number ? -1 : 1;
}

/* The first window of that length that has two blocks or more. */
static bool plan_level(const struct manifest_block *const *blocks, uint32_t count,
                       int64_t length_ms, int64_t closed_ms, struct merge_plan *out) {
    for (uint32_t from = 0, to; from < count; from = to) {
        int64_t start_ms = range_floor(blocks[from]->min_ms, length_ms), end_ms;
        to = from + 1;
        if (__builtin_add_overflow(start_ms, length_ms, &end_ms) || end_ms > closed_ms) continue;
        out->count = 0;
        uint16_t level = 0;
        uint64_t bytes = 0, largest = 0;
        for (uint32_t i = from; i < count && blocks[i]->min_ms < end_ms; i++) {
            to = i + 1;
            if (blocks[i]->max_ms >= end_ms || out->count == MERGE_INPUTS_MAX) continue;
            out->numbers[out->count++] = blocks[i]->number;
            level = MAX(level, blocks[i]->level);
            bytes += blocks[i]->file_bytes;
            largest = MAX(largest, blocks[i]->file_bytes);
        }
        bool worth = bytes - largest >= bytes / SMALL_PART || out->count >= SMALL_COUNT;
        if (out->count < 2 || !worth) continue;
        out->level = (uint16_t)MIN(level + 1, UINT16_MAX);
        return true;
    }
    return false;
}

void plan_merge(const struct manifest *m, const struct plan_options *options,
                struct merge_plan *out) {
    *out = (struct merge_plan){0};
    const struct manifest_block **blocks = malloc((m->blocks_count + 1) * sizeof *blocks);
    if (blocks == NULL) return;
    uint32_t count = 0;
    for (uint32_t i = 0; i < m->blocks_count; i++)
        if (m->blocks[i].resolution_ms == 0) blocks[count++] = &m->blocks[i];
    qsort(blocks, count, sizeof *blocks, plan_by_time);
    int64_t closed_ms = plan_closed_before(m), length_ms = options->range_ms;
    int64_t length_ms_max = options->merged_ms_max;
    bool found = false;
    if (options->raw_merged_ms_max > 0)
        length_ms_max = MIN(length_ms_max, options->raw_merged_ms_max);
    while (!found && !__builtin_mul_overflow(length_ms, 3, &length_ms) &&
           length_ms <= length_ms_max)
        found = plan_level(blocks, count, length_ms, closed_ms, out);
    if (!found) out->count = 0;
    free(blocks);
}

static bool is_over(const struct manifest *m, const struct manifest_block *b) {
    for (uint32_t i = 0; i < b->parts_count; i++) {
        const struct manifest_shard *s = manifest_shard_find(m, b->parts[i].shard);
        if (s != NULL && s->copy == b->parts[i].copy && s->floor_ms <= b->max_ms) return false;
    }
    return true;
}

static bool is_under_tombstone(const struct manifest *m, const struct manifest_block *b) {
    for (uint32_t i = 0; i < b->parts_count; i++) {
        const struct manifest_shard *s = manifest_shard_find(m, b->parts[i].shard);
        if (s == NULL || s->copy != b->parts[i].copy) continue;
        for (uint32_t k = 0; k < s->tombstones_count; k++)
            if (s->tombstones[k].min_ms <= b->max_ms + (b->resolution_ms != 0) &&
                s->tombstones[k].max_ms >= b->min_ms)
                return true;
    }
    return false;
}

bool plan_clean(const struct manifest *m, uint64_t from, uint64_t before, struct merge_plan *out) {
    const struct manifest_block *lowest = NULL;
    for (uint32_t i = 0; i < m->blocks_count; i++) {
        const struct manifest_block *b = &m->blocks[i];
        if (b->number < from || b->number >= before) continue;
        if (lowest != NULL && lowest->number < b->number) continue;
        if (is_under_tombstone(m, b)) lowest = b;
    }
    if (lowest == NULL) return false;
    *out = (struct merge_plan){.numbers = {lowest->number},
                               .count = 1,
                               .level = lowest->level,
                               .resolution_ms = lowest->resolution_ms};
    if (lowest->resolution_ms == 0) return true;
    out->from_ms = lowest->min_ms;
    out->to_ms = lowest->max_ms + 1;
    return true;
}

uint32_t plan_drops(const struct manifest *m, uint64_t *out_numbers, uint32_t max) {
    uint32_t count = 0;
    for (uint32_t i = 0; i < m->blocks_count && count < max; i++)
        if (is_over(m, &m->blocks[i])) out_numbers[count++] = m->blocks[i].number;
    return count;
}

int64_t plan_size_floor(const struct manifest *m, uint64_t bytes_max) {
    int64_t floor_ms = INT64_MIN;
    uint64_t left = 0;
    for (uint32_t i = 0; i < m->blocks_count; i++)
        left += m->blocks[i].file_bytes;
    while (bytes_max > 0 && left > bytes_max) {
        const struct manifest_block *oldest = NULL;
        for (uint32_t i = 0; i < m->blocks_count; i++) {
            const struct manifest_block *b = &m->blocks[i];
            if (b->max_ms >= floor_ms && (oldest == NULL || b->max_ms < oldest->max_ms)) oldest = b;
        }
        if (oldest == NULL || oldest->max_ms == INT64_MAX) break;
        floor_ms = oldest->max_ms + 1;
        left = 0;
        for (uint32_t i = 0; i < m->blocks_count; i++)
            if (m->blocks[i].max_ms >= floor_ms) left += m->blocks[i].file_bytes;
    }
    return floor_ms;
}
