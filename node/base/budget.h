/* SPDX-License-Identifier: Apache-2.0 */
/* node/base/budget.h: an account of bytes for one request or query. Arenas and arrays that grow
 * charge it before they allocate. An account may be part of another one (an answer that is handed
 * over with its memory): then both are charged. Thread: one at a time. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdlib.h>

#include "node/base/attr.h"
#include "node/base/pressure.h"

struct budget {
    size_t used_bytes, limit_bytes; /* limit 0: none */
    struct budget *parent;          /* borrowed; NULL: none */
};

/* false, and nothing is charged, when an account has not as much left, or the process has not. b
 * may be NULL. */
static inline bool budget_take(struct budget *b, size_t bytes) {
    if (b != NULL && pressure_now() == PRESSURE_OVER) return false;
    for (const struct budget *at = b; at != NULL; at = at->parent)
        if (at->limit_bytes != 0 &&
            (at->used_bytes > at->limit_bytes || bytes > at->limit_bytes - at->used_bytes))
            return false;
    if (b != NULL) pressure_give(bytes);
    for (; b != NULL; b = b->parent)
        b->used_bytes += bytes;
    return true;
}

static inline void budget_give(struct budget *b, size_t bytes) {
    for (; b != NULL; b = b->parent)
        b->used_bytes -= bytes <= b->used_bytes ? bytes : b->used_bytes;
}

/* realloc(); old and new bytes are both there while it copies. NULL leaves ptr as it was. */
static inline void *budget_grow(struct budget *b, void *ptr, size_t old_bytes, size_t new_bytes) {
    if (!budget_take(b, new_bytes)) return NULL;
    void *grown = realloc(ptr, new_bytes);
    budget_give(b, grown == NULL ? new_bytes : old_bytes);
    return grown;
}

/* From now on `part` is charged to `whole` too; false when that has no room. */
static inline bool budget_join(struct budget *whole, struct budget *part) {
    if (!budget_take(whole, part->used_bytes)) return false;
    part->parent = whole;
    return true;
}

static inline void budget_leave(struct budget *part) {
    budget_give(part->parent, part->used_bytes);
    part->parent = NULL;
}
