/* SPDX-License-Identifier: Apache-2.0 */
#include "ring/replica/ranges.h"

#include <stdlib.h>

#include "node/base/attr.h"
#include "node/base/hash.h"

void ranges_fini(struct shard_ranges *r) {
    free(r->at);
    *r = (struct shard_ranges){0};
}

bool ranges_have_bad(const struct shard_ranges *r) {
    for (uint32_t i = 0; i < r->count; i++)
        if (r->at[i].kind == RANGE_BAD) return true;
    return false;
}

static int range_cmp(const void *a, const void *b) {
    const struct shard_range *x = a, *y = b;
    if ((x->kind == RANGE_DELETED) != (y->kind == RANGE_DELETED))
        return x->kind == RANGE_DELETED ? 1 : -1;
    return (x->min_ms > y->min_ms) - (x->min_ms < y->min_ms);
}

/* Deletions are behind the others. */
static uint32_t ranges_sort(struct shard_ranges *r) {
    uint32_t count = 0;
    if (r->count > 0) qsort(r->at, r->count, sizeof *r->at, range_cmp);
    while (count < r->count && r->at[count].kind != RANGE_DELETED)
        count++;
    return count;
}

struct side {
    const struct shard_ranges *ranges;
    uint32_t count, next; /* of those that are no deletions */
    /* in the span */
    struct range_digest sum;
    uint64_t samples;
    int64_t max_ms;
    bool any, bad, unknown, overlaps;
};

static void side_add(struct side *s, const struct shard_range *r) {
    if (s->any && r->min_ms <= s->max_ms) s->overlaps = true;
    s->max_ms = s->any ? MAX(s->max_ms, r->max_ms) : r->max_ms;
    s->any = true;
    s->bad = s->bad || r->kind == RANGE_BAD;
    s->unknown = s->unknown || r->kind == RANGE_UNKNOWN;
    s->samples += r->samples;
    s->sum.lo += r->digest.lo;
    s->sum.hi += r->digest.hi + (s->sum.lo < r->digest.lo);
}

static bool side_has_more(const struct side *s) {
    return s->next < s->count;
}

/* The side whose next range begins first. */
static struct side *side_next(struct side *a, struct side *b) {
    if (!side_has_more(a)) return side_has_more(b) ? b : NULL;
    if (!side_has_more(b)) return a;
    return b->ranges->at[b->next].min_ms < a->ranges->at[a->next].min_ms ? b : a;
}

/* What was deleted of the span, as one number: what lies outside of it makes no difference. */
static uint64_t deleted_of(const struct shard_ranges *r, const struct shard_span *span) {
    uint64_t sum = 0;
    for (uint32_t i = 0; i < r->count; i++) {
        const struct shard_range *d = &r->at[i];
        if (d->kind != RANGE_DELETED || d->min_ms > span->max_ms || d->max_ms < span->min_ms)
            continue;
        uint64_t words[] = {d->digest.hi, d->digest.lo, (uint64_t)MAX(d->min_ms, span->min_ms),
                            (uint64_t)MIN(d->max_ms, span->max_ms)};
        sum += hash64(words, sizeof words, 0) | 1;
    }
    return sum;
}

static enum span_verdict span_judge(const struct side *own, const struct side *other,
                                    const struct shard_span *span) {
    const struct shard_ranges *a = own->ranges, *b = other->ranges;
    if (span->max_ms >= a->closed_ms || span->max_ms >= b->closed_ms) return SPAN_APART;
    if (own->bad) return other->bad ? SPAN_LOST : SPAN_BAD;
    bool other_bad = other->bad;
#ifdef PLANT_REPAIR_FROM_BAD
    other_bad = false;
#endif
    if (other_bad || own->overlaps || other->overlaps) return SPAN_APART;
    if (span->min_ms < MAX(a->floor_ms, b->floor_ms)) return SPAN_APART;
    if (deleted_of(a, span) != deleted_of(b, span)) return SPAN_LATER;
    if (own->unknown || other->unknown) return SPAN_LATER;
    bool equal = own->sum.hi == other->sum.hi && own->sum.lo == other->sum.lo;
    return equal ? SPAN_EQUAL : SPAN_DIFFERS;
}

/* All ranges that meet, from the first one on. */
static bool span_next(struct side *own, struct side *other, struct shard_span *out) {
    struct side *s = side_next(own, other);
    if (s == NULL) return false;
    const struct shard_range *first = &s->ranges->at[s->next];
    *out = (struct shard_span){.min_ms = first->min_ms, .max_ms = first->max_ms};
    own->sum = other->sum = (struct range_digest){0};
    own->samples = other->samples = 0;
    own->any = own->bad = own->unknown = own->overlaps = false;
    other->any = other->bad = other->unknown = other->overlaps = false;
    for (; s != NULL && s->ranges->at[s->next].min_ms <= out->max_ms; s = side_next(own, other)) {
        const struct shard_range *r = &s->ranges->at[s->next++];
        out->max_ms = MAX(out->max_ms, r->max_ms);
        side_add(s, r);
    }
    return true;
}

/* All that the other has deleted of the span is deleted here, too. */
static bool is_deleted_here(const struct shard_ranges *own, const struct shard_range *by,
                            const struct shard_span *span) {
    for (uint32_t i = 0; i < own->count; i++) {
        const struct shard_range *d = &own->at[i];
        if (d->kind == RANGE_DELETED && d->digest.hi == by->digest.hi &&
            d->digest.lo == by->digest.lo && d->min_ms <= MAX(by->min_ms, span->min_ms) &&
            d->max_ms >= MIN(by->max_ms, span->max_ms))
            return true;
    }
    return false;
}

static bool has_no_more_deleted(const struct shard_ranges *own, const struct shard_ranges *other,
                                const struct shard_span *span) {
    for (uint32_t i = 0; i < other->count; i++) {
        const struct shard_range *d = &other->at[i];
        if (d->kind == RANGE_DELETED && d->min_ms <= span->max_ms && d->max_ms >= span->min_ms &&
            !is_deleted_here(own, d, span))
            return false;
    }
    return span->min_ms >= other->floor_ms || own->floor_ms >= other->floor_ms;
}

static bool is_before(enum span_verdict a, enum span_verdict b) {
    static const int order[] = {[SPAN_BAD] = 0,  [SPAN_DIFFERS] = 1, [SPAN_LATER] = 2,
                                [SPAN_LOST] = 3, [SPAN_EQUAL] = 4,   [SPAN_APART] = 4};
    return order[a] < order[b];
}

void ranges_each(struct shard_ranges *own, struct shard_ranges *other,
                 bool (*fn)(void *ctx, const struct span_found *found), void *ctx) {
    struct side a = {.ranges = own, .count = ranges_sort(own)};
    struct side b = {.ranges = other, .count = ranges_sort(other)};
    struct shard_span span;
    while (span_next(&a, &b, &span)) {
        enum span_verdict verdict = span_judge(&a, &b, &span);
        if (!fn(ctx, &(struct span_found){verdict, span, a.samples, b.samples, a.sum, b.sum}))
            return;
    }
}

static bool span_take(void *ctx, const struct span_found *found) {
    struct span_found *out = ctx;
    if (is_before(found->verdict, out->verdict)) *out = *found;
    return true;
}

void ranges_compare(struct shard_ranges *own, struct shard_ranges *other, struct span_found *out) {
    *out = (struct span_found){.verdict = SPAN_EQUAL};
    ranges_each(own, other, span_take, out);
}

/* All of it is there, but what is deleted here anyway. */
static bool can_give(const struct shard_ranges *other, const struct shard_ranges *own,
                     const struct shard_span *span) {
    if (span->max_ms >= other->closed_ms || span->max_ms >= own->closed_ms) return false;
    for (uint32_t i = 0; i < other->count; i++) {
        const struct shard_range *r = &other->at[i];
        if (r->kind == RANGE_BAD && r->min_ms <= span->max_ms && r->max_ms >= span->min_ms)
            return false;
    }
    return has_no_more_deleted(own, other, span);
}

void ranges_compare_aside(struct shard_ranges *own, const struct shard_ranges *other,
                          struct span_found *out) {
    uint32_t count = ranges_sort(own), i = 0;
    *out = (struct span_found){.verdict = SPAN_EQUAL};
    while (i < count) {
        const struct shard_range *first = &own->at[i++];
        struct shard_span span = {first->min_ms, first->max_ms, true};
        if (first->kind != RANGE_BAD) continue;
        for (uint32_t k = i; k < count && own->at[k].min_ms <= span.max_ms; k++)
            if (own->at[k].kind == RANGE_BAD) span.max_ms = MAX(span.max_ms, own->at[k].max_ms);
        if (!can_give(other, own, &span)) continue;
        *out = (struct span_found){.verdict = SPAN_BAD, .span = span};
        return;
    }
}
