/* SPDX-License-Identifier: Apache-2.0 */
#include "storage/sample.h"

#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

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

struct sample_at {
    int64_t time_ms;
    size_t at;
};

static int sample_at_cmp(const void *a, const void *b) {
    const struct sample_at *x = a, *y = b;
    if (x->time_ms != y->time_ms) return x->time_ms < y->time_ms ? -1 : 1;
    return (x->at > y->at) - (x->at < y->at);
}

static void column_order(void *column, size_t item_bytes, const struct sample_at *order,
                         size_t count, char *scratch) {
    if (column == NULL) return;
    for (size_t i = 0; i < count; i++)
        memcpy(scratch + i * item_bytes, (char *)column + order[i].at * item_bytes, item_bytes);
    memcpy(column, scratch, count * item_bytes);
}

enum status samples_order(struct samples *s, size_t from) {
    size_t count = s->count - from, kept = 0, i = 1;
    while (i < count && s->times_ms[from + i] > s->times_ms[from + i - 1])
        i++;
    if (i >= count) return OK;
    struct samples part = samples_from(s, from);
    struct sample_at *order = malloc(count * sizeof *order);
    char *scratch = malloc(count * 8);
    if (order == NULL || scratch == NULL) {
        free(order);
        free(scratch);
        return ERR_NOMEM;
    }
    for (i = 0; i < count; i++)
        order[i] = (struct sample_at){part.times_ms[i], i};
    qsort(order, count, sizeof *order, sample_at_cmp);
    for (i = 0; i < count; i++)
        if (kept == 0 || order[i].time_ms != order[kept - 1].time_ms) order[kept++] = order[i];
    column_order(part.times_ms, sizeof *part.times_ms, order, kept, scratch);
    column_order(part.values, sizeof *part.values, order, kept, scratch);
    column_order((void *)part.histograms, sizeof *part.histograms, order, kept, scratch);
    column_order(part.starts_ms, sizeof *part.starts_ms, order, kept, scratch);
    s->count = from + kept;
    free(order);
    free(scratch);
    return OK;
}
