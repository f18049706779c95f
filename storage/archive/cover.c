/* SPDX-License-Identifier: Apache-2.0 */
#include "storage/archive/cover.h"

#include <stdlib.h>

#include "storage/archive/rows.h"

static bool has_part(const struct manifest_block *b, const struct manifest_part *part) {
    return manifest_block_part(b, part->shard, part->copy) != NULL;
}

/* What blocks there are, of a manifest or of a list. */
struct blocks {
    const struct manifest *manifest;
    const struct block_list *list;
    uint32_t count;
};
static struct blocks blocks_of(const struct manifest *m, const struct block_list *list) {
    return (struct blocks){m, list, list != NULL ? list->count : m->blocks_count};
}
static const struct manifest_block *block_at(const struct blocks *b, uint32_t i) {
    return b->list != NULL ? &b->list->blocks[i].of : &b->manifest->blocks[i];
}
static bool is_readable(const struct blocks *b, uint32_t i) {
    return b->list == NULL || b->list->blocks[i].block != NULL;
}

enum { COVER_ANY = 0 };
struct covering {
    struct blocks blocks;
    struct manifest_part part;
    uint32_t resolution_ms; /* COVER_ANY: of whatever resolution */
    bool readable;          /* only these count */
    int64_t range_ms;
    bool has_histograms; /* outcome: some of those that stand have */
};

/* Up to where windows that end after `at` are all in rows of the shard. */
static int64_t covered_to(struct covering *c, int64_t at, int64_t to_ms) {
    for (uint32_t i = 0; i < c->blocks.count && at < to_ms;) {
        const struct manifest_block *b = block_at(&c->blocks, i);
        bool counts = b->resolution_ms != 0 && b->min_ms <= at && b->max_ms >= at &&
                      (c->resolution_ms == COVER_ANY || b->resolution_ms == c->resolution_ms) &&
                      (!c->readable || is_readable(&c->blocks, i)) && has_part(b, &c->part);
        if (!counts) {
            i++;
            continue;
        }
        c->has_histograms = c->has_histograms || b->has_histograms;
        at = b->max_ms + 1;
        i = 0;
    }
    return at;
}

/* The hours (from, to] that the block has something of. */
static void hours_of(const struct manifest_block *b, int64_t *from_ms, int64_t *to_ms) {
    bool is_rows = b->resolution_ms != 0;
    *from_ms = b->min_ms == INT64_MIN ? INT64_MIN : ended_hour_before(b->min_ms - !is_rows);
    *to_ms = ended_hour_after(b->max_ms + is_rows);
}

/* Blocks of finer things limit how far they may end: to where coarser rows stand for them. */
static int64_t limit_by(struct covering *c, uint32_t finer_than_ms, int64_t before_ms,
                        int64_t to_ms) {
    int64_t least_ms = MIN(before_ms, to_ms);
    for (uint32_t i = 0; i < c->blocks.count; i++) {
        const struct manifest_block *b = block_at(&c->blocks, i);
        int64_t from_ms, end_ms;
        hours_of(b, &from_ms, &end_ms);
        from_ms = MAX(from_ms, before_ms);
        end_ms = MIN(end_ms, to_ms);
        if (b->resolution_ms >= finer_than_ms || from_ms >= end_ms || !has_part(b, &c->part))
            continue;
        int64_t at = covered_to(c, from_ms, end_ms);
        if (at < end_ms) to_ms = ended_hour_before(range_floor(at, c->range_ms));
    }
    return MAX(to_ms, least_ms);
}

/* The last hour that ends before the floor. */
static int64_t under_floor(int64_t floor_ms) {
    return floor_ms == INT64_MIN ? INT64_MIN : ended_hour_before(floor_ms - 1);
}

struct ended cover_limit(const struct block_list *list, const struct cover_wanted *wanted,
                         const struct ended *to) {
#ifdef PLANT_ENDED_WITHOUT_ROWS
    return *to;
#endif
    struct ended out = *to, before = wanted->before;
    before.raw_ms = MAX(before.raw_ms, under_floor(wanted->floor_ms));
    before.fine_ms = MAX(before.fine_ms, under_floor(wanted->floor_ms));
    struct covering c = {
        .blocks = blocks_of(NULL, list), .part = {wanted->shard, wanted->copy}, .readable = true};
    c.range_ms = wanted->range_ms;
    if (!wanted->has_fine && !wanted->has_coarse) return wanted->before;
    if (wanted->has_fine) {
        c.resolution_ms = DOWNSAMPLE_5M_MS;
        out.raw_ms = limit_by(&c, 1, before.raw_ms, out.raw_ms);
    }
    c.resolution_ms = DOWNSAMPLE_1H_MS;
    if (wanted->has_coarse) out.raw_ms = limit_by(&c, 1, before.raw_ms, out.raw_ms);
    out.fine_ms = MIN(out.fine_ms, out.raw_ms);
    if (out.fine_ms > before.fine_ms)
        out.fine_ms = limit_by(&c, DOWNSAMPLE_1H_MS, before.fine_ms, out.fine_ms);
    /* without rows of 5 m in between samples end only where rows of 1 h stand for them */
    if (!wanted->has_fine) out.raw_ms = MAX(MIN(out.raw_ms, out.fine_ms), wanted->before.raw_ms);
    ended_raise(&out, &wanted->before);
    return out;
}

int64_t cover_gone_ms(const struct manifest_shard *s) {
    return s->gone_ms == 0 ? INT64_MIN : s->gone_ms;
}

/* Samples go the oldest first, and where rows stand for them: so of what is newer than the first
 * that has no rows, and of what has not ended, nothing is gone. */
int64_t cover_gone_at_most(const struct block_list *list, const struct manifest_shard *s) {
    struct covering c = {.blocks = blocks_of(NULL, list), .part = {s->shard, s->copy}};
    int64_t gone_ms = s->ended.raw_ms, under_ms = under_floor(s->floor_ms);
    for (uint32_t i = 0; i < c.blocks.count; i++) {
        const struct manifest_block *b = block_at(&c.blocks, i);
        int64_t from_ms, to_ms;
        hours_of(b, &from_ms, &to_ms);
        if (b->resolution_ms != 0 || b->min_ms > gone_ms || !has_part(b, &c.part)) continue;
        to_ms = MIN(to_ms, s->ended.raw_ms);
        if (to_ms > under_ms && covered_to(&c, MAX(from_ms, under_ms), to_ms) < to_ms)
            gone_ms = b->min_ms - 1;
    }
    return MAX(gone_ms, 0);
}

void cover_set_gone(struct manifest *m, const struct manifest_block *b, int64_t to_ms) {
    for (uint32_t i = 0; i < b->parts_count && b->resolution_ms == 0; i++) {
        struct manifest_shard *s = manifest_shard_find(m, b->parts[i].shard);
        if (s != NULL && s->copy == b->parts[i].copy) s->gone_ms = MAX(s->gone_ms, to_ms);
    }
}

bool cover_has_part(const struct manifest_block *b, const struct manifest_shard *s) {
    return b != NULL && manifest_block_part(b, s->shard, s->copy) != NULL;
}

bool cover_stands(const struct manifest *m, const struct manifest_shard *s,
                  const struct cover_range *range) {
    struct covering c = {.blocks = blocks_of(m, NULL),
                         .part = {s->shard, s->copy},
                         .resolution_ms = range->resolution_ms};
    return covered_to(&c, range->from_ms, range->to_ms) >= range->to_ms;
}

bool cover_has_samples(const struct manifest *m, const struct manifest_shard *s, int64_t from_ms,
                       int64_t to_ms) {
    bool any = false;
    for (uint32_t i = 0; i < m->blocks_count && !any; i++) {
        const struct manifest_block *b = &m->blocks[i];
        any = b->resolution_ms == 0 && b->max_ms > from_ms && b->min_ms <= to_ms &&
              cover_has_part(b, s);
    }
    return any;
}

/* -- what goes */

enum standing { STANDING_NOT, STANDING_KEEPS, STANDING }; /* KEEPS: it stays beside its rows */

static bool splits_hour(const struct manifest_shard *s, int64_t from_ms, int64_t to_ms) {
    for (uint32_t i = 0; i < s->tombstones_count; i++) {
        const struct tombstone *t = &s->tombstones[i];
        bool at_min = t->min_ms > from_ms && t->min_ms <= to_ms && t->min_ms != INT64_MIN &&
                      (t->min_ms - 1) % ENDED_HOUR_MS != 0;
        bool at_max = t->max_ms > from_ms && t->max_ms <= to_ms && t->max_ms % ENDED_HOUR_MS != 0;
        if (at_min || at_max) return true;
    }
    return false;
}

/* Whether coarser rows stand for what b has of the shard. */
static enum standing part_standing(const struct cover_drops *d, const struct manifest_block *b,
                                   const struct manifest_shard *s) {
    struct covering c = {
        .blocks = blocks_of(d->manifest, d->list), .part = {s->shard, s->copy}, .readable = true};
    int64_t from_ms, to_ms;
    hours_of(b, &from_ms, &to_ms);
    int64_t ended_ms = b->resolution_ms == 0 ? s->ended.raw_ms : s->ended.fine_ms;
    if (!ended_any(&s->ended) || b->max_ms + (b->resolution_ms != 0) > ended_ms)
        return STANDING_NOT;
#ifdef PLANT_ENDED_WITHOUT_ROWS
    return STANDING;
#endif
    from_ms = MAX(from_ms, under_floor(s->floor_ms));
    int64_t fine_from_ms = MAX(from_ms, s->ended.fine_ms);
    c.resolution_ms = DOWNSAMPLE_1H_MS;
    int64_t coarse_to_ms = d->also_coarse ? to_ms : MIN(to_ms, s->ended.fine_ms);
    if (from_ms < coarse_to_ms && covered_to(&c, from_ms, coarse_to_ms) < coarse_to_ms)
        return STANDING_NOT;
    c.resolution_ms = DOWNSAMPLE_5M_MS;
    if (b->resolution_ms == 0 && fine_from_ms < to_ms &&
        covered_to(&c, fine_from_ms, to_ms) < to_ms)
        return STANDING_NOT;
    if (b->resolution_ms != 0) return STANDING;
    return c.has_histograms || splits_hour(s, from_ms, to_ms) ? STANDING_KEEPS : STANDING;
}

static enum standing block_standing(const struct cover_drops *d, const struct manifest_block *b) {
    enum standing got = STANDING;
    for (uint32_t i = 0; i < b->parts_count && got != STANDING_NOT; i++) {
        const struct manifest_shard *s = manifest_shard_find(d->manifest, b->parts[i].shard);
        if (s == NULL || s->copy != b->parts[i].copy || s->floor_ms > b->max_ms) continue;
        enum standing one = part_standing(d, b, s);
        if (one < got) got = one;
    }
    return got;
}

static bool any_ended(const struct manifest *m) {
    bool any = false;
    for (uint32_t i = 0; i < m->shards_count && !any; i++)
        any = ended_any(&m->shards[i].ended);
    return any;
}

/* Of each block; *out_before: where the oldest raw one begins that still needs its samples. NULL:
 * there is nothing to look for, or no memory. */
static enum standing *all_standing(const struct cover_drops *d, int64_t *out_before) {
    const struct manifest *m = d->manifest;
    *out_before = INT64_MAX;
    enum standing *all = any_ended(m) ? malloc((m->blocks_count + 1) * sizeof *all) : NULL;
    for (uint32_t i = 0; all != NULL && i < m->blocks_count; i++) {
        const struct manifest_block *b = &m->blocks[i];
        bool coarse = b->resolution_ms >= DOWNSAMPLE_1H_MS;
        all[i] = coarse ? STANDING_NOT : block_standing(d, b);
        if (b->resolution_ms == 0 && all[i] == STANDING_NOT)
            *out_before = MIN(*out_before, b->min_ms);
    }
    return all;
}

uint32_t cover_plan_drops(const struct cover_drops *d, uint64_t *out_numbers, uint32_t max) {
    const struct manifest *m = d->manifest;
    uint32_t count = 0;
    int64_t before_ms;
    enum standing *standing = all_standing(d, &before_ms);
    for (uint32_t i = 0; standing != NULL && i < m->blocks_count && count < max; i++) {
        const struct manifest_block *b = &m->blocks[i];
        if (standing[i] == STANDING && (b->resolution_ms != 0 || b->max_ms < before_ms))
            out_numbers[count++] = b->number;
    }
    free(standing);
    return count;
}

/* Up to where samples of all its shards have ended; INT64_MAX: it has none. */
static int64_t all_ended_to(const struct manifest *m, const struct manifest_block *b) {
    int64_t to_ms = INT64_MAX;
    for (uint32_t i = 0; i < b->parts_count; i++) {
        const struct manifest_shard *s = manifest_shard_find(m, b->parts[i].shard);
        if (s != NULL && s->copy == b->parts[i].copy) to_ms = MIN(to_ms, s->ended.raw_ms);
    }
    return to_ms;
}

bool cover_plan_trim(const struct cover_drops *d, struct merge_plan *out) {
    const struct manifest *m = d->manifest;
    int64_t before_ms;
    bool found = false;
    enum standing *standing = all_standing(d, &before_ms);
    for (uint32_t i = 0; standing != NULL && i < m->blocks_count && !found; i++) {
        struct manifest_block part = m->blocks[i];
        int64_t to_ms = all_ended_to(m, &part), half_ms = part.max_ms / 2 + part.min_ms / 2;
        if (part.resolution_ms != 0 || standing[i] != STANDING_NOT || part.min_ms > before_ms ||
            to_ms < half_ms || to_ms >= part.max_ms || to_ms < part.min_ms)
            continue;
        part.max_ms = to_ms;
        found = block_standing(d, &part) == STANDING;
        *out = (struct merge_plan){.numbers = {part.number},
                                   .count = found,
                                   .level = part.level,
                                   .to_ms = to_ms,
                                   .trims = true};
    }
    free(standing);
    return found;
}
