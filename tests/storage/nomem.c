/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/storage/nomem.h"

#include <stddef.h>

static uint64_t allocations, failed, fail_at;
static bool is_on, fails_once;

void nomem_arm(uint64_t n, bool once) {
    allocations = failed = 0;
    fail_at = n;
    is_on = false;
    fails_once = once;
}

void nomem_on(bool on) {
    is_on = on;
}

uint64_t nomem_failed(void) {
    return failed;
}

uint64_t nomem_allocations(void) {
    return allocations;
}

static bool fails(void) {
    if (!is_on) return false;
    allocations++;
    bool fail = fail_at > 0 && (allocations == fail_at || (allocations > fail_at && !fails_once));
    failed += fail;
    return fail;
}

void *__real_malloc(size_t size);
void *__real_calloc(size_t count, size_t size);
void *__real_realloc(void *p, size_t size);
void *__real_aligned_alloc(size_t align, size_t size);
void *__wrap_malloc(size_t size);
void *__wrap_calloc(size_t count, size_t size);
void *__wrap_realloc(void *p, size_t size);
void *__wrap_aligned_alloc(size_t align, size_t size);

void *__wrap_malloc(size_t size) {
    return fails() ? NULL : __real_malloc(size);
}
void *__wrap_calloc(size_t count, size_t size) {
    return fails() ? NULL : __real_calloc(count, size);
}
void *__wrap_realloc(void *p, size_t size) {
    return fails() ? NULL : __real_realloc(p, size);
}
void *__wrap_aligned_alloc(size_t align, size_t size) {
    return fails() ? NULL : __real_aligned_alloc(align, size);
}
