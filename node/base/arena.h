/* SPDX-License-Identifier: Apache-2.0 */
/* node/base/arena.h: a bump allocator with a byte limit, one per request, query, scrape or rule
 * evaluation. Reset or freed as a whole, never piecewise. Freed memory is poisoned under ASan.
 * Thread: one at a time; it may move with the request that owns it. */
#pragma once

#include <stddef.h>
#include <stdint.h>

#include "node/base/attr.h"
#include "node/base/sv.h"

struct arena_chunk;
struct budget;

struct arena {
    /* private */
    struct arena_chunk *head;
    char *cur, *end;
    size_t used_bytes;     /* bytes of all chunks */
    size_t limit_bytes;    /* 0: none */
    struct budget *budget; /* NULL: none */
};

/* limit_bytes bounds the sum of chunks, so it is accurate to one chunk (4 KiB growing to 1 MiB); 0
 * is unlimited. */
void arena_init(struct arena *arena, size_t limit_bytes);
/* Chunks are charged to the account (borrowed, outlives the arena), which limits the arena. */
void arena_init_budget(struct arena *arena, struct budget *budget);
void arena_fini(struct arena *arena);
void arena_reset(struct arena *arena); /* keeps one chunk */

/* 16-byte aligned, not zeroed; NULL past the limit or without memory. size 0 gives a valid pointer.
 */
void *arena_alloc(struct arena *arena, size_t size) MUST_USE;
void *arena_zalloc(struct arena *arena, size_t size) MUST_USE;
void *arena_array(struct arena *arena, size_t count,
                  size_t size) MUST_USE; /* checked product; zeroed */
/* Copies old_size bytes to a larger place (in place when ptr is the last allocation). */
void *arena_grow(struct arena *arena, void *ptr, size_t old_size, size_t new_size) MUST_USE;
char *arena_strdup(struct arena *arena, struct sv s) MUST_USE; /* NUL-terminated */
struct sv arena_sv(struct arena *arena, struct sv s) MUST_USE; /* ptr NULL without memory */
char *arena_printf(struct arena *arena, const char *fmt, ...) PRINTF_LIKE(2, 3) MUST_USE;
size_t arena_used_bytes(const struct arena *arena);
