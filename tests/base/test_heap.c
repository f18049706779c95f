/* SPDX-License-Identifier: Apache-2.0 */
/* The heap against a linear search for the least (key, insertion number). */
#include <criterion/criterion.h>

#include "node/base/heap.h"
#include "node/base/rng.h"

enum { NODES = 400 };
static struct heap_node nodes[NODES];

static struct heap_node *model_least(void) {
    struct heap_node *least = NULL;
    for (size_t i = 0; i < NODES; i++) {
        struct heap_node *n = &nodes[i];
        if (!heap_contains(n)) continue;
        if (least == NULL || n->key < least->key || (n->key == least->key && n->tie < least->tie))
            least = n;
    }
    return least;
}

Test(heap, agrees_with_a_model) {
    for (uint64_t seed = 1; seed <= 4; seed++) {
        cr_log_info("seed %llu", (unsigned long long)seed);
        struct rng rng;
        struct heap h;
        size_t count = 0;
        rng_init(&rng, seed);
        heap_init(&h);
        for (size_t i = 0; i < NODES; i++)
            heap_node_init(&nodes[i]);
        cr_assert(heap_pop(&h) == NULL);
        for (int step = 0; step < 20000; step++) {
            struct heap_node *n = &nodes[rng_below(&rng, NODES)];
            uint64_t what = rng_below(&rng, 10);
            if (!heap_contains(n) && what < 6) {
                cr_assert_eq(heap_push(&h, n, rng_below(&rng, 50)), OK); /* many equal keys */
                count++;
            } else if (heap_contains(n) && what < 8) {
                heap_remove(&h, n);
                count--;
                cr_assert(!heap_contains(n));
            } else {
                struct heap_node *want = model_least();
                cr_assert(heap_peek(&h) == want);
                cr_assert(heap_pop(&h) == want);
                count -= want != NULL;
            }
            cr_assert_eq(h.count, count);
        }
        uint64_t last_key = 0, last_tie = 0;
        for (struct heap_node *n; (n = heap_pop(&h)) != NULL;) {
            cr_assert(n->key > last_key || (n->key == last_key && n->tie >= last_tie));
            last_key = n->key;
            last_tie = n->tie;
        }
        cr_assert_eq(heap_push(&h, &nodes[0], 1), OK);
        heap_fini(&h);
        cr_assert(!heap_contains(&nodes[0]), "fini releases the nodes");
    }
}
