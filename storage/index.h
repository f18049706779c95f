/* SPDX-License-Identifier: Apache-2.0 */
/* storage/index.h: for every label pair the series that have it, ascending. References are only
 * ever appended, so a position in a list stays what it was while series are added. Thread: the
 * core. */
#pragma once

#include <stdint.h>

#include "storage/symbols.h"

/* Up to two references stand in the list itself: most values of a churning label have one series.
 */
struct posting {
    union {
        uint32_t *at;
        uint32_t few[2];
    };
    uint32_t count, cap; /* cap 0: few */
};
static_assert(sizeof(struct posting) == 16, "part of the memory per series");

struct index {
    struct stable postings; /* by pair */
    size_t lists_bytes;
};
void index_init(struct index *ix);
void index_fini(struct index *ix);
size_t index_memory_bytes(const struct index *ix);

/* Room for the pair's list and one more reference in it. */
enum status index_reserve(struct index *ix, uint32_t pair) MUST_USE;
/* Reserved before; ref above all others of the pair. */
void index_put(struct index *ix, uint32_t pair, uint32_t ref);

/* Takes out the references whose bit is set; gives back memory of lists that became short. */
void index_remove(struct index *ix, const uint64_t *bits);

struct posting_view {
    const uint32_t *at;
    uint32_t count;
};
/* Valid until the next index_reserve. */
struct posting_view index_get(const struct index *ix, uint32_t pair);
/* The first position from `from` on whose reference is >= ref, or count: doubling steps, then
 * bisection, so that walking two lists together costs the logarithm of their ratio per step. */
uint32_t posting_seek(struct posting_view p, uint32_t from, uint32_t ref);
