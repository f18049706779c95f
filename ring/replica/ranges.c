/* SPDX-License-Identifier: Apache-2.0 */
#include "ring/replica/ranges.h"

#include <stdlib.h>

#include "node/base/attr.h"

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
    bool any, bad, overlaps;
};

static void side_add(struct side *s, const struct shard_range *r) {
    if (s->any && r->min_ms <= s->max_ms) s->overlaps = true;
    s->max_ms = s->any ? MAX(s->max_ms, r->max_ms) : r->max_ms;
    s->any = true;
    s->bad = s->bad || r->kind == RANGE_BAD;
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

static bool is_deleted_from(const struct shard_ranges *r, const struct shard_span *span) {
    for (uint32_t i = 0; i < r->count; i++)
        if (r->at[i].kind == RANGE_DELETED && r->at[i].min_ms <= span->max_ms &&
            r->at[i].max_ms >= span->min_ms)
            return true;
    return false;
}

static enum span_verdict span_judge(const struct side *own, const struct side *other,
                                    const struct shard_span *span) {
    const struct shard_ranges *a = own->ranges, *b = other->ranges;
    if (span->max_ms >= a->closed_ms || span->max_ms >= b->closed_ms) return SPAN_EQUAL;
    if (own->bad) return other->bad ? SPAN_LOST : SPAN_BAD;
    bool other_bad = other->bad;
#ifdef PLANT_REPAIR_FROM_BAD
    other_bad = false;
#endif
    bool equal = own->sum.hi == other->sum.hi && own->sum.lo == other->sum.lo;
    if (equal || other_bad || own->overlaps || other->overlaps) return SPAN_EQUAL;
    if (span->min_ms < MAX(a->floor_ms, b->floor_ms)) return SPAN_EQUAL;
    if (is_deleted_from(a, span) || is_deleted_from(b, span)) return SPAN_EQUAL;
    return SPAN_DIFFERS;
}

/* All ranges that meet, from the first one on. */
static bool span_next(struct side *own, struct side *other, struct shard_span *out) {
    struct side *s = side_next(own, other);
    if (s == NULL) return false;
    const struct shard_range *first = &s->ranges->at[s->next];
    *out = (struct shard_span){first->min_ms, first->max_ms};
    own->sum = other->sum = (struct range_digest){0};
    own->samples = other->samples = 0;
    own->any = own->bad = own->overlaps = other->any = other->bad = other->overlaps = false;
    for (; s != NULL && s->ranges->at[s->next].min_ms <= out->max_ms; s = side_next(own, other)) {
        const struct shard_range *r = &s->ranges->at[s->next++];
        out->max_ms = MAX(out->max_ms, r->max_ms);
        side_add(s, r);
    }
    return true;
}

static bool is_before(enum span_verdict a, enum span_verdict b) {
    static const int order[] = {
        [SPAN_BAD] = 0, [SPAN_DIFFERS] = 1, [SPAN_LOST] = 2, [SPAN_EQUAL] = 3};
    return order[a] < order[b];
}

void ranges_compare(struct shard_ranges *own, struct shard_ranges *other, struct span_found *out) {
    struct side a = {.ranges = own, .count = ranges_sort(own)};
    struct side b = {.ranges = other, .count = ranges_sort(other)};
    struct shard_span span;
    *out = (struct span_found){.verdict = SPAN_EQUAL};
    while (span_next(&a, &b, &span)) {
        enum span_verdict verdict = span_judge(&a, &b, &span);
        if (!is_before(verdict, out->verdict)) continue;
        *out = (struct span_found){verdict, span, a.samples, b.samples, a.sum, b.sum};
    }
}
