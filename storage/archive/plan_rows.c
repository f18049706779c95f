/* SPDX-License-Identifier: Apache-2.0 */
#include <stdlib.h>

#include "storage/archive/cover.h"
#include "storage/archive/plan.h"
#include "storage/archive/rows.h"

struct planning {
    const struct manifest *m;
    const struct plan_options *options;
    struct plan_level *level;
    bool (*tried)(void *ctx, const struct merge_plan *plan);
    void *ctx;
    struct merge_plan *out;
    int64_t before_ms; /* windows that end later are too young */
    bool found;
};

static bool is_rows(const struct planning *p, const struct manifest_block *b) {
    return b->resolution_ms == p->level->resolution_ms;
}

enum covered { COVERED_NOT, COVERED_PARTLY, COVERED_LACKS, COVERED };

bool plan_rows_has(const struct manifest *m, const struct manifest_shard *s,
                   const struct merge_plan *plan) {
    struct cover_range range = {plan->resolution_ms, plan->from_ms, plan->to_ms};
    bool fine = plan->resolution_ms < DOWNSAMPLE_1H_MS;
    /* nobody needs those, and they would go again */
    if (s->floor_ms >= plan->to_ms || (fine && s->ended.fine_ms >= plan->to_ms)) return false;
    return s->from_ms > plan->to_ms && cover_gone_ms(s) <= plan->from_ms &&
           !cover_stands(m, s, &range);
}

/* Some shard has samples there and no rows, though others have: it was closed later, or has come
 * from another node. Of a part of the range its samples may be gone. */
static bool is_lacking(const struct planning *p, const struct manifest_block *rows, int64_t from_ms,
                       int64_t to_ms) {
    for (uint32_t i = 0, k = 0; i < p->m->shards_count; i++) {
        const struct manifest_shard *s = &p->m->shards[i];
        while (k < rows->parts_count && rows->parts[k].shard < s->shard)
            k++;
        if (k < rows->parts_count && rows->parts[k].shard == s->shard &&
            rows->parts[k].copy == s->copy)
            continue;
        struct merge_plan left = {.resolution_ms = p->level->resolution_ms,
                                  .from_ms = MAX(from_ms, cover_gone_ms(s)),
                                  .to_ms = to_ms};
        if (left.from_ms < to_ms && cover_has_samples(p->m, s, left.from_ms, to_ms) &&
            plan_rows_has(p->m, s, &left))
            return true;
    }
    return false;
}

static enum covered cover_of(const struct planning *p, int64_t from_ms, int64_t to_ms) {
    enum covered got = COVERED_NOT;
    for (uint32_t i = 0; i < p->m->blocks_count; i++) {
        const struct manifest_block *b = &p->m->blocks[i];
        if (!is_rows(p, b) || b->min_ms >= to_ms || b->max_ms < from_ms) continue;
        if (b->min_ms <= from_ms && b->max_ms >= to_ms - 1)
            return is_lacking(p, b, from_ms, to_ms) ? COVERED_LACKS : COVERED;
        got = COVERED_PARTLY;
    }
    return got;
}

/* The raw blocks of the range make rows; false: there are none, or too many. */
static bool make(struct planning *p, int64_t from_ms, int64_t to_ms) {
    struct merge_plan *out = p->out;
    bool any = false;
    *out = (struct merge_plan){.resolution_ms = p->level->resolution_ms,
                               .from_ms = from_ms,
                               .to_ms = to_ms,
                               .makes_rows = true};
    for (uint32_t i = 0; i < p->m->shards_count && !any; i++)
        any = plan_rows_has(p->m, &p->m->shards[i], out);
    for (uint32_t i = 0; i < p->m->blocks_count && any; i++) {
        const struct manifest_block *b = &p->m->blocks[i];
        if (b->resolution_ms != 0 || b->min_ms > to_ms || b->max_ms <= from_ms) continue;
        if (out->count == MERGE_INPUTS_MAX) return false;
        out->numbers[out->count++] = b->number;
    }
    return out->count > 0 && !p->tried(p->ctx, out);
}

/* Samples of a part of the range are gone. */
static bool is_gone_within(const struct planning *p, int64_t from_ms, int64_t to_ms) {
    for (uint32_t i = 0; i < p->m->shards_count; i++) {
        int64_t gone_ms = cover_gone_ms(&p->m->shards[i]);
        if (gone_ms > from_ms && gone_ms < to_ms) return true;
    }
    return false;
}

/* Where some of it is covered, in thirds, as ranges grow. Depth: log3 of the range. */
static void plan_range(struct planning *p, int64_t from_ms, int64_t length_ms) {
    int64_t to_ms = from_ms + length_ms;
    if (p->found || from_ms < -ROWS_TIME_MAX_MS || to_ms > ROWS_TIME_MAX_MS) return;
    enum covered covered = cover_of(p, from_ms, to_ms);
    bool lacks = covered == COVERED_NOT || covered == COVERED_LACKS;
    if (lacks && to_ms <= p->before_ms) p->found = make(p, from_ms, to_ms);
    bool in_parts = covered == COVERED_PARTLY || covered == COVERED_LACKS ||
                    (covered == COVERED_NOT && is_gone_within(p, from_ms, to_ms));
    if (p->found || !in_parts || length_ms % 3 != 0 ||
        length_ms / 3 % p->level->resolution_ms != 0 || length_ms / 3 < p->options->range_ms)
        return;
    for (int i = 0; i < 3; i++)
        plan_range(p, from_ms + i * (length_ms / 3), length_ms / 3);
}

/* 0: ranges of blocks are no multiples of the resolution. */
static int64_t shortest(const struct planning *p) {
    int64_t length_ms = p->options->range_ms;
    while (length_ms % p->level->resolution_ms != 0 && length_ms < ROWS_TIME_MAX_MS / 3)
        length_ms *= 3;
    if (length_ms % p->level->resolution_ms != 0) return 0;
    while (length_ms <= p->options->merged_ms_max / 3 && length_ms <= p->level->after_ms / 3)
        length_ms *= 3;
    return length_ms;
}

static void plan_block(struct planning *p, const struct manifest_block *b, int64_t least_ms) {
    int64_t length_ms = least_ms, first_ms = b->min_ms - 1;
    if (first_ms < -ROWS_TIME_MAX_MS || b->max_ms > ROWS_TIME_MAX_MS) return;
    while (length_ms <= p->options->merged_ms_max / 3 &&
           range_floor(b->min_ms, length_ms) + length_ms <= b->max_ms)
        length_ms *= 3;
    while (length_ms > least_ms && range_floor(b->min_ms, length_ms) + length_ms > p->before_ms)
        length_ms /= 3;
    for (int64_t from_ms = range_floor(first_ms, length_ms);
         from_ms < b->max_ms && from_ms + length_ms <= p->before_ms && !p->found;
         from_ms += length_ms)
        plan_range(p, from_ms, length_ms);
}

/* -- merging */

/* The outcome speaks for every shard that any of the inputs speaks for: what one of them alone says
 * of a shard would be lost. */
static bool keeps_all(const struct manifest *m, const struct merge_plan *plan) {
    for (uint32_t i = 0; i < m->shards_count; i++) {
        bool any = false;
        for (uint32_t k = 0; k < plan->count && !any; k++)
            any = cover_has_part(manifest_block_find(m, plan->numbers[k]), &m->shards[i]);
        if (any && !plan_merge_has(m, &m->shards[i], plan)) return false;
    }
    return true;
}

bool plan_merge_has(const struct manifest *m, const struct manifest_shard *s,
                    const struct merge_plan *plan) {
    int64_t at = plan->from_ms;
    for (uint32_t k = 0; k < plan->count && at < plan->to_ms; k++) { /* ascending by time */
        const struct manifest_block *b = manifest_block_find(m, plan->numbers[k]);
        if (b != NULL && b->min_ms <= at && cover_has_part(b, s)) at = MAX(at, b->max_ms + 1);
    }
    return at >= plan->to_ms;
}

static bool merge_put(struct merge_plan *out, const struct manifest_block *b) {
    if (out->count == MERGE_INPUTS_MAX) return false;
    if (out->count == 0) out->from_ms = b->min_ms;
    out->to_ms = out->count == 0 ? b->max_ms + 1 : MAX(out->to_ms, b->max_ms + 1);
    out->numbers[out->count++] = b->number;
    if (b->level >= out->level) out->level = (uint16_t)MIN(b->level + 1, UINT16_MAX);
    return true;
}

/* Blocks of rows in that range that follow one another without a gap. */
static bool merge_range(struct planning *p, const struct manifest_block *const *rows,
                        uint32_t count, const int64_t range_ms[2]) {
    struct merge_plan *out = p->out;
    *out = (struct merge_plan){.resolution_ms = p->level->resolution_ms};
    for (uint32_t i = 0; i < count; i++) {
        const struct manifest_block *b = rows[i];
        if (b->min_ms < range_ms[0] || b->max_ms >= range_ms[1]) continue;
        if ((out->count > 0 && b->min_ms != out->to_ms) || !merge_put(out, b)) return false;
    }
    return out->count > 1 && out->from_ms == range_ms[0] && out->to_ms == range_ms[1] &&
           keeps_all(p->m, out);
}

/* One block of rows whose range lies in another's: of other shards, or the same once more. */
static void plan_within(struct planning *p, const struct manifest_block *const *rows,
                        uint32_t count) {
    for (uint32_t i = 0; i < count && !p->found; i++)
        for (uint32_t k = i + 1; k < count && !p->found && rows[k]->min_ms <= rows[i]->max_ms;
             k++) {
            bool within =
                rows[k]->max_ms <= rows[i]->max_ms || (rows[k]->min_ms == rows[i]->min_ms);
            *p->out = (struct merge_plan){.resolution_ms = p->level->resolution_ms};
            p->found = within && merge_put(p->out, rows[i]) && merge_put(p->out, rows[k]) &&
                       keeps_all(p->m, p->out);
        }
}

static void plan_merging(struct planning *p, const struct manifest_block *const *rows,
                         uint32_t count, int64_t least_ms) {
    for (int64_t length_ms = least_ms * 3; length_ms <= p->options->merged_ms_max && !p->found;
         length_ms *= 3)
        for (uint32_t i = 0; i < count && !p->found; i++) {
            int64_t from_ms = range_floor(rows[i]->min_ms, length_ms);
            p->found = merge_range(p, rows, count, (int64_t[2]){from_ms, from_ms + length_ms});
        }
}

/* -- all */

/* What is to be made of a level now, by age and by what has ended; false: nothing. */
static bool level_due(struct planning *p, int at, int64_t closed_ms) {
    struct plan_level *level = p->level;
    bool fine = at == 0;
    int64_t ended_ms = 0;
    p->before_ms = INT64_MIN;
    if (level->resolution_ms != 0 &&
        __builtin_sub_overflow(closed_ms, level->after_ms, &p->before_ms))
        p->before_ms = INT64_MIN;
    for (uint32_t i = 0; i < p->m->shards_count; i++) {
        const struct manifest_shard *s = &p->m->shards[i];
        if (!fine)
            ended_ms = MAX(ended_ms, s->ended.fine_ms);
        else if (s->ended.raw_ms > s->ended.fine_ms)
            ended_ms = MAX(ended_ms, s->ended.raw_ms);
    }
    if (ended_ms > 0) p->before_ms = MAX(p->before_ms, MIN(ended_ms, closed_ms));
    if (ended_ms > 0 && level->resolution_ms == 0)
        level->resolution_ms = fine ? DOWNSAMPLE_5M_MS : DOWNSAMPLE_1H_MS;
    return level->resolution_ms != 0 && p->before_ms != INT64_MIN;
}

static void plan_of_level(struct planning *p, const struct manifest_block **sorted) {
    int64_t least_ms = shortest(p);
    uint32_t raw = 0, rows = 0;
    if (least_ms == 0) return;
    for (uint32_t i = 0; i < p->m->blocks_count; i++)
        if (p->m->blocks[i].resolution_ms == 0) sorted[raw++] = &p->m->blocks[i];
    qsort(sorted, raw, sizeof *sorted, plan_by_time);
    for (uint32_t i = 0; i < raw && !p->found; i++)
        plan_block(p, sorted[i], least_ms);
    if (p->found) return;
    for (uint32_t i = 0; i < p->m->blocks_count; i++)
        if (is_rows(p, &p->m->blocks[i])) sorted[rows++] = &p->m->blocks[i];
    qsort(sorted, rows, sizeof *sorted, plan_by_time);
    plan_within(p, sorted, rows);
    if (!p->found) plan_merging(p, sorted, rows, p->options->range_ms);
}

void plan_rows(const struct manifest *m, const struct plan_options *options,
               bool (*tried)(void *ctx, const struct merge_plan *plan), void *ctx,
               struct merge_plan *out) {
    struct planning p = {.m = m, .options = options, .tried = tried, .ctx = ctx, .out = out};
    const struct manifest_block **sorted = malloc((m->blocks_count + 1) * sizeof *sorted);
    int64_t closed_ms = plan_closed_before(m);
    for (int i = 0; i < PLAN_LEVELS && sorted != NULL && !p.found && closed_ms != INT64_MIN; i++) {
        struct plan_level level = options->levels[i];
        p.level = &level;
        if (level_due(&p, i, closed_ms - 1)) plan_of_level(&p, sorted);
    }
    if (!p.found) *out = (struct merge_plan){0};
    free(sorted);
}
