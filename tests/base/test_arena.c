/* SPDX-License-Identifier: Apache-2.0 */
#include <criterion/criterion.h>
#include <stdint.h>

#include "node/base/arena.h"

Test(arena, allocations_are_aligned_and_grow_in_place) {
    struct arena a;
    arena_init(&a, 0);
    char *p = arena_alloc(&a, 10);
    cr_assert(((uintptr_t)p & 15) == 0);
    char *q = arena_grow(&a, p, 10, 100);
    cr_assert(q == p);
    cr_assert(arena_alloc(&a, 1) != NULL);
    char *r = arena_grow(&a, q, 100, 200);
    cr_assert(r != q);
    arena_fini(&a);
}

Test(arena, limit_is_kept) {
    struct arena a;
    arena_init(&a, 64 << 10);
    size_t got = 0;
    while (arena_alloc(&a, 1000) != NULL)
        got += 1000;
    cr_assert(got >= 32 << 10 && got <= 64 << 10, "got %zu", got);
    arena_reset(&a);
    cr_assert(arena_alloc(&a, 1000) != NULL);
    cr_assert(arena_alloc(&a, SIZE_MAX) == NULL);
    arena_fini(&a);
}
