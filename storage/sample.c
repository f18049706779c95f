/* SPDX-License-Identifier: Apache-2.0 */
#include "storage/sample.h"

#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>

static bool column_grow(void *old, size_t cap, size_t size, void **out) {
    size_t bytes;
    if (__builtin_mul_overflow(cap, size, &bytes)) return false;
    void *grown = realloc(old, bytes);
    if (grown == NULL) return false;
    *out = grown;
    return true;
}

enum status samples_reserve(struct samples *s, size_t count) {
    if (count <= s->cap) return OK;
    size_t cap = s->cap < 128 ? 128 : s->cap;
    while (cap < count)
        if (__builtin_mul_overflow(cap, 2, &cap)) return ERR_NOMEM;
    void *p;
    if (!column_grow(s->times_ms, cap, sizeof *s->times_ms, &p)) return ERR_NOMEM;
    s->times_ms = p;
    if (!column_grow(s->values, cap, sizeof *s->values, &p)) return ERR_NOMEM;
    s->values = p;
    if (s->histograms != NULL) {
        if (!column_grow(s->histograms, cap, sizeof *s->histograms, &p)) return ERR_NOMEM;
        s->histograms = p;
    }
    if (s->starts_ms != NULL) {
        if (!column_grow(s->starts_ms, cap, sizeof *s->starts_ms, &p)) return ERR_NOMEM;
        s->starts_ms = p;
    }
    s->cap = cap;
    return OK;
}

void samples_fini(struct samples *s) {
    free(s->times_ms);
    free(s->values);
    free(s->histograms);
    free(s->starts_ms);
    arena_fini(&s->arena);
    *s = (struct samples){0};
}

void samples_clear_histograms(struct samples *s) {
    free(s->histograms);
    s->histograms = NULL;
    arena_reset(&s->arena);
}

enum status samples_want_histograms(struct samples *s) {
    if (s->histograms == NULL) s->histograms = calloc(s->cap + 1, sizeof *s->histograms);
    return s->histograms == NULL ? ERR_NOMEM : OK;
}

enum status samples_want_starts(struct samples *s) {
    if (s->starts_ms == NULL) s->starts_ms = calloc(s->cap + 1, sizeof *s->starts_ms);
    return s->starts_ms == NULL ? ERR_NOMEM : OK;
}
