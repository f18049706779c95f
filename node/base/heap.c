/* SPDX-License-Identifier: Apache-2.0 */
#include "node/base/heap.h"

#include <assert.h>
#include <stdlib.h>

void heap_init(struct heap *h) {
    *h = (struct heap){0};
}

void heap_fini(struct heap *h) {
    for (size_t i = 0; i < h->count; i++)
        h->nodes[i]->index = SIZE_MAX;
    free(h->nodes);
    *h = (struct heap){0};
}

static bool node_less(const struct heap_node *a, const struct heap_node *b) {
    return a->key != b->key ? a->key < b->key : a->tie < b->tie;
}

static void node_place(struct heap *h, struct heap_node *n, size_t index) {
    h->nodes[index] = n;
    n->index = index;
}

static void sift_up(struct heap *h, struct heap_node *n, size_t index) {
    while (index > 0) {
        size_t parent = (index - 1) / 2;
        if (!node_less(n, h->nodes[parent])) break;
        node_place(h, h->nodes[parent], index);
        index = parent;
    }
    node_place(h, n, index);
}

static void sift_down(struct heap *h, struct heap_node *n, size_t index) {
    for (;;) {
        size_t child = index * 2 + 1;
        if (child >= h->count) break;
        if (child + 1 < h->count && node_less(h->nodes[child + 1], h->nodes[child])) child++;
        if (!node_less(h->nodes[child], n)) break;
        node_place(h, h->nodes[child], index);
        index = child;
    }
    node_place(h, n, index);
}

enum status heap_push(struct heap *h, struct heap_node *n, uint64_t key) {
    assert(!heap_contains(n));
    if (h->count == h->cap) {
        size_t cap = h->cap == 0 ? 16 : h->cap * 2;
        struct heap_node **nodes = reallocarray(h->nodes, cap, sizeof *nodes);
        if (nodes == NULL) return ERR_NOMEM;
        h->nodes = nodes;
        h->cap = cap;
    }
    n->key = key;
    n->tie = h->next_tie++;
    sift_up(h, n, h->count++);
    return OK;
}

void heap_remove(struct heap *h, struct heap_node *n) {
    assert(n->index < h->count && h->nodes[n->index] == n);
    size_t index = n->index;
    struct heap_node *last = h->nodes[--h->count];
    n->index = SIZE_MAX;
    if (last == n) return;
    if (index > 0 && node_less(last, h->nodes[(index - 1) / 2]))
        sift_up(h, last, index);
    else
        sift_down(h, last, index);
}

struct heap_node *heap_pop(struct heap *h) {
    struct heap_node *n = heap_peek(h);
    if (n != NULL) heap_remove(h, n);
    return n;
}
