/* SPDX-License-Identifier: Apache-2.0 */
#include "node/base/arena.h"

#include <assert.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "node/base/budget.h"

#if defined(__SANITIZE_ADDRESS__)
#include <sanitizer/asan_interface.h>
#define POISON(p, n) ASAN_POISON_MEMORY_REGION((p), (n))
#define UNPOISON(p, n) ASAN_UNPOISON_MEMORY_REGION((p), (n))
#else
#define POISON(p, n) ((void)(p), (void)(n))
#define UNPOISON(p, n) ((void)(p), (void)(n))
#endif

enum { ARENA_ALIGN = 16, ARENA_CHUNK_MIN = 4096, ARENA_CHUNK_MAX = 1 << 20 };

struct arena_chunk {
    struct arena_chunk *next;
    size_t size_bytes; /* with this header */
};
static_assert(sizeof(struct arena_chunk) == ARENA_ALIGN,
              "the first allocation of a chunk is aligned");

void arena_init(struct arena *arena, size_t limit_bytes) {
    *arena = (struct arena){.limit_bytes = limit_bytes};
}

static void chunk_free(struct arena_chunk *chunk) {
    UNPOISON(chunk, chunk->size_bytes);
    free(chunk);
}

void arena_init_budget(struct arena *arena, struct budget *budget) {
    *arena = (struct arena){.budget = budget};
}

void arena_fini(struct arena *arena) {
    budget_give(arena->budget, arena->used_bytes);
    for (struct arena_chunk *c = arena->head, *next; c != NULL; c = next) {
        next = c->next;
        chunk_free(c);
    }
    *arena = (struct arena){.limit_bytes = arena->limit_bytes, .budget = arena->budget};
}

static void chunk_use(struct arena *arena, struct arena_chunk *c) {
    arena->cur = (char *)c + sizeof *c;
    arena->end = (char *)c + c->size_bytes;
    POISON(arena->cur, (size_t)(arena->end - arena->cur));
}

void arena_reset(struct arena *arena) {
    struct arena_chunk *keep = arena->head;
    if (keep == NULL) return;
    for (struct arena_chunk *c = keep->next, *next; c != NULL; c = next) {
        next = c->next;
        chunk_free(c);
    }
    keep->next = NULL;
    budget_give(arena->budget, arena->used_bytes - keep->size_bytes);
    arena->used_bytes = keep->size_bytes;
    chunk_use(arena, keep);
}

static bool chunk_add(struct arena *arena, size_t need) {
    size_t size = arena->head == NULL ? ARENA_CHUNK_MIN : arena->head->size_bytes * 2;
    if (size > ARENA_CHUNK_MAX) size = ARENA_CHUNK_MAX;
    if (__builtin_add_overflow(need, sizeof(struct arena_chunk), &need)) return false;
    if (size < need) size = need;
    if (arena->limit_bytes != 0 &&
        size > arena->limit_bytes - MIN(arena->used_bytes, arena->limit_bytes)) {
        size = need;
        if (size > arena->limit_bytes - MIN(arena->used_bytes, arena->limit_bytes)) return false;
    }
    if (!budget_take(arena->budget, size)) {
        size = need;
        if (!budget_take(arena->budget, size)) return false;
    }
    struct arena_chunk *c = malloc(size);
    if (c == NULL) {
        budget_give(arena->budget, size);
        return false;
    }
    *c = (struct arena_chunk){.next = arena->head, .size_bytes = size};
    arena->head = c;
    arena->used_bytes += size;
    chunk_use(arena, c);
    return true;
}

void *arena_alloc(struct arena *arena, size_t size) {
    if (size > SIZE_MAX / 2) return NULL;
    size_t rounded = (size + ARENA_ALIGN - 1) & ~(size_t)(ARENA_ALIGN - 1);
    if (arena->cur == NULL || (size_t)(arena->end - arena->cur) < rounded)
        if (!chunk_add(arena, rounded)) return NULL;
    void *p = arena->cur;
    arena->cur += rounded;
    UNPOISON(p, size);
    return p;
}

void *arena_zalloc(struct arena *arena, size_t size) {
    void *p = arena_alloc(arena, size);
    if (p != NULL) memset(p, 0, size);
    return p;
}

void *arena_array(struct arena *arena, size_t count, size_t size) {
    size_t bytes;
    if (__builtin_mul_overflow(count, size, &bytes)) return NULL;
    return arena_zalloc(arena, bytes);
}

void *arena_grow(struct arena *arena, void *ptr, size_t old_size, size_t new_size) {
    assert(new_size >= old_size);
    if (new_size > SIZE_MAX / 2) return NULL;
    size_t old_rounded = (old_size + ARENA_ALIGN - 1) & ~(size_t)(ARENA_ALIGN - 1);
    size_t new_rounded = (new_size + ARENA_ALIGN - 1) & ~(size_t)(ARENA_ALIGN - 1);
    if (ptr != NULL && (char *)ptr + old_rounded == arena->cur &&
        new_rounded - old_rounded <= (size_t)(arena->end - arena->cur)) {
        arena->cur += new_rounded - old_rounded;
        UNPOISON(ptr, new_size);
        return ptr;
    }
    void *p = arena_alloc(arena, new_size);
    if (p != NULL && old_size > 0) memcpy(p, ptr, old_size);
    return p;
}

char *arena_strdup(struct arena *arena, struct sv s) {
    char *p = arena_alloc(arena, s.len + 1);
    if (p == NULL) return NULL;
    if (s.len > 0) memcpy(p, s.ptr, s.len);
    p[s.len] = '\0';
    return p;
}

struct sv arena_sv(struct arena *arena, struct sv s) {
    char *p = arena_strdup(arena, s);
    return (struct sv){p, p == NULL ? 0 : s.len};
}

char *arena_printf(struct arena *arena, const char *fmt, ...) {
    va_list ap;
    va_start(ap, fmt);
    va_list again;
    va_copy(again, ap);
    int n = vsnprintf(NULL, 0, fmt, ap);
    va_end(ap);
    char *p = n < 0 ? NULL : arena_alloc(arena, (size_t)n + 1);
    if (p != NULL) vsnprintf(p, (size_t)n + 1, fmt, again);
    va_end(again);
    return p;
}

size_t arena_used_bytes(const struct arena *arena) {
    return arena->used_bytes;
}
