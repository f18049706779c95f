/* SPDX-License-Identifier: Apache-2.0 */
#include "storage/index.h"

#include <stdlib.h>
#include <string.h>

enum { FEW = 2, SEGMENTS_MIN = 16 };

void orders_fini(struct orders *o) {
    for (uint32_t i = 0; i < o->segments_cap; i++)
        free(o->dir[i]);
    free(o->dir);
    *o = (struct orders){0};
}

enum status orders_reserve(struct orders *o) {
    uint32_t at = o->count / ORDERS_SEGMENT;
    if (at == o->segments_cap) {
        uint32_t cap = at == 0 ? SEGMENTS_MIN : at * 2;
        struct order_segment **dir = realloc(o->dir, cap * sizeof(*dir));
        if (dir == NULL) return ERR_NOMEM;
        memset(dir + at, 0, (cap - at) * sizeof(*dir));
        o->memory_bytes += (cap - at) * sizeof(*dir);
        o->dir = dir;
        o->segments_cap = cap;
    }
    if (o->dir[at] != NULL) return OK;
    o->dir[at] = calloc(1, sizeof *o->dir[at]);
    if (o->dir[at] == NULL) return ERR_NOMEM;
    o->memory_bytes += sizeof *o->dir[at];
    return OK;
}

uint32_t orders_put(struct orders *o, uint32_t ref) {
    struct order_segment *s = o->dir[o->count / ORDERS_SEGMENT];
    s->refs[o->count % ORDERS_SEGMENT] = ref;
    s->live++;
    return o->count++;
}

void orders_remove(struct orders *o, uint32_t order) {
    uint32_t at = order / ORDERS_SEGMENT;
    assert(orders_ref(o, order) != ORDERS_NONE);
    o->dir[at]->refs[order % ORDERS_SEGMENT] = ORDERS_NONE;
    /* one that still grows stays */
    if (--o->dir[at]->live > 0 || at == o->count / ORDERS_SEGMENT) return;
    free(o->dir[at]);
    o->dir[at] = NULL;
    o->memory_bytes -= sizeof *o->dir[at];
}

void index_init(struct index *ix) {
    *ix = (struct index){0};
    stable_init(&ix->postings, sizeof(struct posting));
}

static struct posting *index_at(const struct index *ix, uint32_t pair) {
    return STABLE_AT(ix->postings.dir, struct posting, pair);
}

void index_fini(struct index *ix) {
    for (uint32_t i = 0; i < ix->postings.count; i++)
        if (index_at(ix, i)->cap > 0) free(index_at(ix, i)->at);
    stable_fini(&ix->postings);
}

size_t index_memory_bytes(const struct index *ix) {
    return ix->postings.memory_bytes + ix->lists_bytes;
}

enum status index_reserve(struct index *ix, uint32_t pair) {
    while (ix->postings.count <= pair) {
        TRY(stable_reserve(&ix->postings));
        *index_at(ix, ix->postings.count++) = (struct posting){0};
    }
    struct posting *p = index_at(ix, pair);
    if (p->count < (p->cap == 0 ? FEW : p->cap)) return OK;
    /* By a quarter: the lists are a large part of what a series costs, and appending stays
     * amortised. */
    uint32_t cap = p->count < 16 ? p->count * 2 : p->count + p->count / 4;
    if (cap <= p->count) return ERR_NOMEM;
    uint32_t *at = realloc(p->cap == 0 ? NULL : p->at, cap * sizeof *at);
    if (at == NULL) return ERR_NOMEM;
    if (p->cap == 0) memcpy(at, p->few, sizeof p->few);
    ix->lists_bytes += (cap - p->cap) * sizeof *at;
    p->at = at;
    p->cap = cap;
    return OK;
}

void index_put(struct index *ix, uint32_t pair, uint32_t order) {
    struct posting *p = index_at(ix, pair);
    uint32_t *at = p->cap == 0 ? p->few : p->at;
    assert(p->count < (p->cap == 0 ? FEW : p->cap));
    assert(p->count == 0 || at[p->count - 1] < order);
    at[p->count++] = order;
}

/* Without memory for a shorter list the long one stays. */
static void posting_shrink(struct index *ix, struct posting *p) {
    if (p->cap == 0 || p->count > p->cap / 4) return;
    uint32_t *at = p->at, cap = p->count <= FEW ? 0 : p->count;
    if (cap == 0) {
        uint32_t few[FEW] = {0};
        memcpy(few, at, p->count * sizeof *at);
        free(at);
        memcpy(p->few, few, sizeof few);
    } else {
        at = realloc(at, cap * sizeof *at);
        if (at == NULL) return;
        p->at = at;
    }
    ix->lists_bytes -= (p->cap - cap) * sizeof *at;
    p->cap = cap;
}

uint32_t index_sweep(struct index *ix, uint32_t pair, const struct orders *orders) {
    if (pair >= ix->postings.count) return 0;
    struct posting *p = index_at(ix, pair);
    uint32_t *at = p->cap == 0 ? p->few : p->at, kept = 0;
    for (uint32_t k = 0; k < p->count; k++)
        if (orders_ref(orders, at[k]) != ORDERS_NONE) at[kept++] = at[k];
    p->count = kept;
    posting_shrink(ix, p);
    return kept;
}

struct posting_view index_get(const struct index *ix, uint32_t pair) {
    if (pair >= ix->postings.count) return (struct posting_view){NULL, 0};
    const struct posting *p = index_at(ix, pair);
    return (struct posting_view){p->cap == 0 ? p->few : p->at, p->count};
}

uint32_t posting_seek(struct posting_view p, uint32_t from, uint32_t order) {
    uint32_t low = from, step = 1;
    if (low >= p.count || p.at[low] >= order) return low;
    while (step < p.count - low && p.at[low + step] < order) {
        low += step;
        step *= 2;
    }
    uint32_t high = step < p.count - low ? low + step : p.count;
    while (high - low > 1) { /* at[low] < order, and at[high] >= order or the end */
        uint32_t middle = low + (high - low) / 2;
        if (p.at[middle] < order)
            low = middle;
        else
            high = middle;
    }
    return high;
}
