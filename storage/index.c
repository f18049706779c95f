/* SPDX-License-Identifier: Apache-2.0 */
#include "storage/index.h"

#include <stdlib.h>
#include <string.h>

enum {
    FEW = 2,
    SEGMENTS_MIN = 16,
    RUNS_MIN = 8, /* a list of fewer stays one of orders */
    RUN_MIN = 4,  /* so long on average: half of the memory at least */
};

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

uint32_t orders_put(struct orders *o, uint32_t ref, uint16_t shard) {
    struct order_segment *s = o->dir[o->count / ORDERS_SEGMENT];
    s->refs[o->count % ORDERS_SEGMENT] = ref;
    s->shards[o->count % ORDERS_SEGMENT] = shard;
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
    stable_init(&ix->postings, sizeof(struct posting), 0);
}

static struct posting *index_at(const struct index *ix, uint32_t pair) {
    return STABLE_AT(ix->postings.dir, struct posting, pair);
}

static bool is_runs(const struct posting *p) {
    return (p->cap & POSTING_RUNS) != 0;
}

/* Of the memory beside the posting. */
static size_t list_bytes(uint32_t cap) {
    if ((cap & POSTING_RUNS) == 0) return cap * sizeof(uint32_t);
    return sizeof(struct posting_runs) + (cap & ~POSTING_RUNS) * sizeof(struct posting_run);
}

void index_fini(struct index *ix) {
    for (uint32_t i = 0; i < ix->postings.count; i++)
        if (index_at(ix, i)->cap > 0) free(index_at(ix, i)->at);
    stable_fini(&ix->postings);
}

size_t index_memory_bytes(const struct index *ix) {
    return ix->postings.memory_bytes + ix->lists_bytes;
}

static struct posting_view view_of(const struct posting *p) {
    if (is_runs(p)) return (struct posting_view){NULL, p->runs->at, p->runs->used};
    return (struct posting_view){p->cap == 0 ? p->few : p->at, NULL, p->count};
}

/* A list of another shape or size, to be filled by list_put. */
struct list_build {
    union {
        uint32_t *at;
        struct posting_runs *runs;
    };
    uint32_t count, cap;
};

static bool list_new(struct list_build *b, uint32_t cap) {
    *b = (struct list_build){.at = malloc(list_bytes(cap)), .cap = cap};
    if (b->at != NULL && (cap & POSTING_RUNS) != 0) b->runs->used = 0;
    return b->at != NULL;
}

static void runs_put(struct posting_runs *runs, uint32_t order) {
    struct posting_run *last = runs->used == 0 ? NULL : &runs->at[runs->used - 1];
    if (last != NULL && last->first + last->count == order)
        last->count++;
    else
        runs->at[runs->used++] = (struct posting_run){order, 1};
}

static void list_put(struct list_build *b, uint32_t order) {
    if ((b->cap & POSTING_RUNS) != 0)
        runs_put(b->runs, order);
    else
        b->at[b->count] = order;
    b->count++;
}

static void list_become(struct index *ix, struct posting *p, const struct list_build *b) {
    ix->lists_bytes += list_bytes(b->cap) - list_bytes(p->cap);
    if (p->cap > 0) free(p->at);
    p->at = b->at;
    p->count = b->count;
    p->cap = b->cap;
}

static uint32_t runs_in(const uint32_t *at, uint32_t count) {
    uint32_t runs = 1;
    for (uint32_t i = 1; i < count; i++)
        runs += at[i] != at[i - 1] + 1;
    return runs;
}

/* By a quarter: the lists are a large part of what a series costs, and appending stays amortised.
 */
static uint32_t cap_after(uint32_t count) {
    return count < 16 ? count * 2 : count + count / 4;
}

static enum status array_grow(struct index *ix, struct posting *p) {
    struct list_build b;
    const uint32_t *at = view_of(p).at;
    uint32_t runs = runs_in(at, p->count), cap = cap_after(p->count);
    if (cap <= p->count || cap >= POSTING_RUNS) return ERR_NOMEM;
    if (p->count < RUNS_MIN || runs > p->count / RUN_MIN) {
        uint32_t *grown = realloc(p->cap == 0 ? NULL : p->at, cap * sizeof *grown);
        if (grown == NULL) return ERR_NOMEM;
        if (p->cap == 0) memcpy(grown, p->few, sizeof p->few);
        ix->lists_bytes += (cap - p->cap) * sizeof *grown;
        p->at = grown;
        p->cap = cap;
        return OK;
    }
    if (!list_new(&b, POSTING_RUNS | cap_after(runs))) return ERR_NOMEM;
    for (uint32_t i = 0; i < p->count; i++)
        list_put(&b, at[i]);
    list_become(ix, p, &b);
    return OK;
}

/* To orders again where runs have become short. */
static enum status runs_grow(struct index *ix, struct posting *p) {
    const struct posting_runs *runs = p->runs;
    bool stays = runs->used <= p->count / 2;
    struct list_build b;
    if (!list_new(&b, stays ? POSTING_RUNS | cap_after(runs->used) : cap_after(p->count)))
        return ERR_NOMEM;
    if (stays) {
        memcpy(b.runs, runs, list_bytes(POSTING_RUNS | runs->used));
        b.count = p->count;
    } else {
        for (uint32_t i = 0; i < runs->used; i++)
            for (uint32_t k = 0; k < runs->at[i].count; k++)
                list_put(&b, runs->at[i].first + k);
    }
    list_become(ix, p, &b);
    return OK;
}

enum status index_reserve(struct index *ix, uint32_t pair) {
    while (ix->postings.count <= pair) {
        TRY(stable_reserve(&ix->postings));
        *index_at(ix, ix->postings.count++) = (struct posting){0};
    }
    struct posting *p = index_at(ix, pair);
    if (is_runs(p)) return p->runs->used < (p->cap & ~POSTING_RUNS) ? OK : runs_grow(ix, p);
    return p->count < (p->cap == 0 ? FEW : p->cap) ? OK : array_grow(ix, p);
}

void index_put(struct index *ix, uint32_t pair, uint32_t order) {
    struct posting *p = index_at(ix, pair);
    if (is_runs(p)) {
        assert(p->runs->used < (p->cap & ~POSTING_RUNS));
        runs_put(p->runs, order);
    } else {
        uint32_t *at = p->cap == 0 ? p->few : p->at;
        assert(p->count < (p->cap == 0 ? FEW : p->cap));
        assert(p->count == 0 || at[p->count - 1] < order);
        at[p->count] = order;
    }
    p->count++;
}

static void list_to_few(struct index *ix, struct posting *p, const uint32_t *few, uint32_t count) {
    ix->lists_bytes -= list_bytes(p->cap);
    free(p->at);
    p->count = count;
    p->cap = 0;
    for (uint32_t i = 0; i < count; i++)
        p->few[i] = few[i];
}

static void array_sweep(struct index *ix, struct posting *p, const struct orders *orders) {
    uint32_t *at = p->cap == 0 ? p->few : p->at, kept = 0;
    for (uint32_t k = 0; k < p->count; k++)
        if (orders_ref(orders, at[k]) != ORDERS_NONE) at[kept++] = at[k];
    p->count = kept;
    if (p->cap == 0 || kept > p->cap / 4) return;
    if (kept <= FEW) {
        uint32_t few[FEW] = {kept > 0 ? at[0] : 0, kept > 1 ? at[1] : 0};
        list_to_few(ix, p, few, kept);
        return;
    }
    at = realloc(at, kept * sizeof *at);
    if (at == NULL) return; /* the long one stays */
    ix->lists_bytes -= (p->cap - kept) * sizeof *at;
    p->at = at;
    p->cap = kept;
}

static void runs_sweep(struct index *ix, struct posting *p, const struct orders *orders) {
    uint32_t few[FEW], kept = 0, runs = 0, next = ORDERS_NONE;
    for (uint32_t i = 0; i < p->runs->used; i++)
        for (uint32_t k = 0; k < p->runs->at[i].count; k++) {
            uint32_t order = p->runs->at[i].first + k;
            if (orders_ref(orders, order) == ORDERS_NONE) continue;
            if (kept < FEW) few[kept] = order;
            kept++;
            runs += order != next;
            next = order + 1;
        }
    if (kept == p->count) return;
    if (kept <= FEW) {
        list_to_few(ix, p, few, kept);
        return;
    }
    struct list_build b;
    if (!list_new(&b, runs <= kept / 2 ? POSTING_RUNS | (runs + 1) : kept)) return;
    for (uint32_t i = 0; i < p->runs->used; i++)
        for (uint32_t k = 0; k < p->runs->at[i].count; k++) {
            uint32_t order = p->runs->at[i].first + k;
            if (orders_ref(orders, order) != ORDERS_NONE) list_put(&b, order);
        }
    list_become(ix, p, &b);
}

uint32_t index_sweep(struct index *ix, uint32_t pair, const struct orders *orders) {
    if (pair >= ix->postings.count) return 0;
    struct posting *p = index_at(ix, pair);
    if (is_runs(p))
        runs_sweep(ix, p, orders);
    else
        array_sweep(ix, p, orders);
    return p->count;
}

uint32_t index_count(const struct index *ix, uint32_t pair) {
    return pair >= ix->postings.count ? 0 : index_at(ix, pair)->count;
}

struct posting_view index_get(const struct index *ix, uint32_t pair) {
    if (pair >= ix->postings.count) return (struct posting_view){NULL, NULL, 0};
    return view_of(index_at(ix, pair));
}

/* The last order of an entry. */
static uint32_t entry_last(struct posting_view p, uint32_t entry) {
    if (p.runs == NULL) return p.at[entry];
    return p.runs[entry].first + p.runs[entry].count - 1;
}

uint32_t posting_seek(struct posting_view p, uint32_t *hint, uint32_t order) {
    uint32_t low = *hint, step = 1;
    if (low < p.entries && entry_last(p, low) < order) {
        while (step < p.entries - low && entry_last(p, low + step) < order) {
            low += step;
            step *= 2;
        }
        uint32_t high = step < p.entries - low ? low + step : p.entries;
        while (high - low > 1) { /* low ends before order, and high does not, or is the end */
            uint32_t middle = low + (high - low) / 2;
            if (entry_last(p, middle) < order)
                low = middle;
            else
                high = middle;
        }
        low = high;
    }
    *hint = low;
    if (low >= p.entries) return ORDERS_NONE;
    if (p.runs == NULL) return p.at[low];
    return p.runs[low].first < order ? order : p.runs[low].first;
}

uint32_t posting_take(struct posting_view p, uint32_t *hint, uint32_t order, uint32_t *out,
                      uint32_t max) {
    uint32_t count = 0;
    order = posting_seek(p, hint, order);
    if (order == ORDERS_NONE) return 0;
    uint32_t entry = *hint;
    if (p.runs == NULL) {
        count = MIN(max, p.entries - entry);
        memcpy(out, p.at + entry, count * sizeof *out);
        *hint = entry + count - 1;
        return count;
    }
    for (;;) {
        uint32_t end = p.runs[entry].first + p.runs[entry].count;
        while (order < end && count < max)
            out[count++] = order++;
        if (count == max || entry + 1 == p.entries) break;
        order = p.runs[++entry].first;
    }
    *hint = entry;
    return count;
}
