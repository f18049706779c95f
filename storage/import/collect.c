/* SPDX-License-Identifier: Apache-2.0 */
#include <assert.h>
#include <string.h>

#include "storage/import/internal.h"

enum status prom_collect_add(struct prom_collect *c, const int64_t *times_ms, const double *values,
                             size_t count) {
    struct samples *s = &c->samples;
    size_t room;
    if (__builtin_add_overflow(s->count, count, &room)) return ERR_NOMEM;
    TRY(samples_reserve(s, room));
    size_t next = 0; /* of the deleted ranges, while times ascend */
    for (size_t i = 0; i < count; i++) {
        int64_t t = times_ms[i];
        if (t < c->from_ms || t > c->to_ms) continue;
        if (next > 0 && i > 0 && t < times_ms[i - 1]) next = 0;
        while (next < c->deleted_count && c->deleted[next].max_ms < t)
            next++;
        if (next < c->deleted_count && c->deleted[next].min_ms <= t) continue;
        if (s->count > 0 && t <= s->times_ms[s->count - 1]) c->unsorted = true;
        s->times_ms[s->count] = t;
        s->values[s->count++] = values[i];
    }
    return OK;
}

/* Merges the ascending halves [low, mid) and [mid, high); of equal times the first half's come
 * first. */
static void merge(const struct samples *from, struct samples *to, size_t low, size_t mid,
                  size_t high) {
    size_t a = low, b = mid;
    for (size_t i = low; i < high; i++) {
        bool first = b == high || (a < mid && from->times_ms[a] <= from->times_ms[b]);
        size_t at = first ? a++ : b++;
        to->times_ms[i] = from->times_ms[at];
        to->values[i] = from->values[at];
    }
}

/* Stable, bottom up. */
static enum status sort(struct prom_collect *c) {
    size_t count = c->samples.count;
    TRY(samples_reserve(&c->scratch, count));
    for (size_t width = 1; width < count; width *= 2) {
        for (size_t low = 0; low < count; low += 2 * width)
            merge(&c->samples, &c->scratch, low, MIN(low + width, count),
                  MIN(low + 2 * width, count));
        struct samples swap = c->samples;
        c->samples = c->scratch;
        c->scratch = swap;
        c->samples.count = count;
    }
    return OK;
}

enum status prom_collect_finish(struct prom_collect *c) {
    if (!c->unsorted) return OK;
    TRY(sort(c));
    struct samples *s = &c->samples;
    size_t n = 0;
    for (size_t i = 0; i < s->count; i++) {
        if (n > 0 && s->times_ms[n - 1] == s->times_ms[i]) {
            if (f64_bits(s->values[n - 1]) != f64_bits(s->values[i])) c->conflicts++;
            n--;
        }
        s->times_ms[n] = s->times_ms[i];
        s->values[n++] = s->values[i];
    }
    s->count = n;
    c->unsorted = false;
    return OK;
}

void prom_collect_reset(struct prom_collect *c) {
    samples_clear(&c->samples);
    c->unsorted = false;
    c->deleted = NULL;
    c->deleted_count = 0;
}

void prom_collect_fini(struct prom_collect *c) {
    samples_fini(&c->samples);
    samples_fini(&c->scratch);
}
