/* SPDX-License-Identifier: Apache-2.0 */
/* storage/index.h: for every label pair the series that have it, ascending by their order: series
 * are counted as they come, for ever, so lists grow at their ends, and the order of a series that
 * went never comes to mean another. Thread: the core. */
#pragma once

#include <stdint.h>

#include "storage/symbols.h"

/* Orders that follow each other: the series of a target come together, and most labels are its. */
struct posting_run {
    uint32_t first, count;
};
struct posting_runs {
    uint32_t used;
    struct posting_run at[];
};
/* Up to two orders stand in the list itself: most values of a churning label have one series. */
struct posting {
    union {
        uint32_t *at;
        struct posting_runs *runs;
        uint32_t few[2];
    };
    uint32_t count; /* of series */
    uint32_t cap;   /* 0: few; POSTING_RUNS + that many runs */
};
static_assert(sizeof(struct posting) == 16, "part of the memory per series");
#define POSTING_RUNS 0x80000000u

/* From the order of a series to its reference, and to its shard without a look at the series. A
 * segment goes with the last of its series. */
enum { ORDERS_SEGMENT = 255 }; /* 1.5 KiB with its count */
struct order_segment {
    uint32_t live;
    uint32_t refs[ORDERS_SEGMENT];
    uint16_t shards[ORDERS_SEGMENT];
};
static_assert(sizeof(struct order_segment) == 1536, "part of the memory per series");
struct orders {
    struct order_segment **dir; /* NULL: all its series went */
    uint32_t segments_cap;
    uint32_t count; /* of all that came */
    size_t memory_bytes;
};
enum { ORDERS_NONE = UINT32_MAX };
void orders_fini(struct orders *o);
enum status orders_reserve(struct orders *o) MUST_USE; /* for one more */
/* Reserved before; returns its order. */
uint32_t orders_put(struct orders *o, uint32_t ref, uint16_t shard);
void orders_remove(struct orders *o, uint32_t order);
/* ORDERS_NONE: it went. */
static inline uint32_t orders_ref(const struct orders *o, uint32_t order) {
    const struct order_segment *s = o->dir[order / ORDERS_SEGMENT];
    return s == NULL ? ORDERS_NONE : s->refs[order % ORDERS_SEGMENT];
}
/* Also of a series that went, unless its segment did: 0. */
static inline uint16_t orders_shard(const struct orders *o, uint32_t order) {
    const struct order_segment *s = o->dir[order / ORDERS_SEGMENT];
    return s == NULL ? 0 : s->shards[order % ORDERS_SEGMENT];
}

struct index {
    struct stable postings; /* by pair */
    size_t lists_bytes;
};
void index_init(struct index *ix);
void index_fini(struct index *ix);
size_t index_memory_bytes(const struct index *ix);

/* Room for the pair's list and one more series in it. */
enum status index_reserve(struct index *ix, uint32_t pair) MUST_USE;
/* Reserved before; order above all others of the pair. */
void index_put(struct index *ix, uint32_t pair, uint32_t order);
/* Takes out the series that went, and gives back memory; without memory for a list of another shape
 * it stays as it is. Returns how many are left. */
uint32_t index_sweep(struct index *ix, uint32_t pair, const struct orders *orders);

/* How many series, with those that went since the list was swept. */
uint32_t index_count(const struct index *ix, uint32_t pair);
struct posting_view { /* orders, or runs of them */
    const uint32_t *at;
    const struct posting_run *runs;
    uint32_t entries;
};
/* Valid until the next index_reserve. */
struct posting_view index_get(const struct index *ix, uint32_t pair);
/* The first order in the list that is >= order, or ORDERS_NONE. *hint: 0 at first, then as it was
 * left for a smaller order: doubling steps, then bisection, so that walking two lists together
 * costs the logarithm of their ratio per step. A sweep makes hints void. */
uint32_t posting_seek(struct posting_view p, uint32_t *hint, uint32_t order);
/* The orders in the list from `order` on, at most max > 0 of them; *hint as for posting_seek.
 * Returns how many. */
uint32_t posting_take(struct posting_view p, uint32_t *hint, uint32_t order, uint32_t *out,
                      uint32_t max);
