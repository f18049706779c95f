/* SPDX-License-Identifier: Apache-2.0 */
#include "storage/index.h"

#include <stdlib.h>
#include <string.h>

enum { FEW = 2 };

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

void index_put(struct index *ix, uint32_t pair, uint32_t ref) {
    struct posting *p = index_at(ix, pair);
    uint32_t *at = p->cap == 0 ? p->few : p->at;
    assert(p->count < (p->cap == 0 ? FEW : p->cap));
    assert(p->count == 0 || at[p->count - 1] < ref);
    at[p->count++] = ref;
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

void index_remove(struct index *ix, const uint64_t *bits) {
    for (uint32_t i = 0; i < ix->postings.count; i++) {
        struct posting *p = index_at(ix, i);
        uint32_t *at = p->cap == 0 ? p->few : p->at, kept = 0;
        for (uint32_t k = 0; k < p->count; k++)
            if ((bits[at[k] / 64] >> (at[k] % 64) & 1) == 0) at[kept++] = at[k];
        p->count = kept;
        posting_shrink(ix, p);
    }
}

struct posting_view index_get(const struct index *ix, uint32_t pair) {
    if (pair >= ix->postings.count) return (struct posting_view){NULL, 0};
    const struct posting *p = index_at(ix, pair);
    return (struct posting_view){p->cap == 0 ? p->few : p->at, p->count};
}

uint32_t posting_seek(struct posting_view p, uint32_t from, uint32_t ref) {
    uint32_t low = from, step = 1;
    if (low >= p.count || p.at[low] >= ref) return low;
    while (step < p.count - low && p.at[low + step] < ref) {
        low += step;
        step *= 2;
    }
    uint32_t high = step < p.count - low ? low + step : p.count;
    while (high - low > 1) { /* at[low] < ref, and at[high] >= ref or the end */
        uint32_t middle = low + (high - low) / 2;
        if (p.at[middle] < ref)
            low = middle;
        else
            high = middle;
    }
    return high;
}
