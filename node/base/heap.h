/* SPDX-License-Identifier: Apache-2.0 */
/* node/base/heap.h: intrusive binary min-heap of u64 keys with stable index, for timers and ordered
 * waits. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "node/base/attr.h"
#include "node/base/status.h"

struct heap_node {
    uint64_t key;
    uint64_t tie; /* equal keys leave in insertion order */
    size_t index; /* SIZE_MAX when not in a heap */
};
struct heap {
    struct heap_node **nodes;
    size_t count, cap;
    uint64_t next_tie;
};
void heap_init(struct heap *h);
void heap_fini(struct heap *h);
static inline void heap_node_init(struct heap_node *n) {
    *n = (struct heap_node){.index = SIZE_MAX};
}
static inline bool heap_contains(const struct heap_node *n) {
    return n->index != SIZE_MAX;
}
enum status heap_push(struct heap *h, struct heap_node *n, uint64_t key) MUST_USE;
void heap_remove(struct heap *h, struct heap_node *n);
static inline struct heap_node *heap_peek(const struct heap *h) {
    return h->count == 0 ? NULL : h->nodes[0];
}
struct heap_node *heap_pop(struct heap *h);
