/* SPDX-License-Identifier: Apache-2.0 */
#include <assert.h>
#include <string.h>

#include "storage/import/internal.h"

enum status prom_collect_add(struct prom_collect *c, const struct samples *more) {
    struct samples *s = &c->samples;
    size_t room;
    if (__builtin_add_overflow(s->count, more->count, &room)) return ERR_NOMEM;
    TRY(samples_reserve(s, room));
    if (more->histograms != NULL) TRY(samples_want_histograms(s));
    size_t next = 0; /* of the deleted ranges, while times ascend */
    for (size_t i = 0; i < more->count; i++) {
        int64_t t = more->times_ms[i];
        if (t < c->from_ms || t > c->to_ms) continue;
        if (next > 0 && i > 0 && t < more->times_ms[i - 1]) next = 0;
        while (next < c->deleted_count && c->deleted[next].max_ms < t)
            next++;
        if (next < c->deleted_count && c->deleted[next].min_ms <= t) continue;
        if (s->count > 0 && t <= s->times_ms[s->count - 1]) c->unsorted = true;
        if (s->histograms != NULL)
            s->histograms[s->count] = more->histograms == NULL ? NULL : more->histograms[i];
        s->times_ms[s->count] = t;
        s->values[s->count++] = more->values[i];
    }
    return OK;
}

static void copy(const struct samples *from, size_t at, struct samples *to, size_t i) {
    to->times_ms[i] = from->times_ms[at];
    to->values[i] = from->values[at];
    if (to->histograms != NULL) to->histograms[i] = from->histograms[at];
}

static bool differ(const struct samples *s, size_t a, size_t b) {
    const struct histogram *x = s->histograms == NULL ? NULL : s->histograms[a];
    const struct histogram *y = s->histograms == NULL ? NULL : s->histograms[b];
    if (x == NULL && y == NULL) return f64_bits(s->values[a]) != f64_bits(s->values[b]);
    return x == NULL || y == NULL || !histogram_equal(x, y);
}

/* Merges the ascending halves [low, mid) and [mid, high); of equal times the first half's come
 * first. */
static void merge(const struct samples *from, struct samples *to, size_t low, size_t mid,
                  size_t high) {
    size_t a = low, b = mid;
    for (size_t i = low; i < high; i++) {
        bool first = b == high || (a < mid && from->times_ms[a] <= from->times_ms[b]);
        copy(from, first ? a++ : b++, to, i);
    }
}

/* Stable, bottom up. */
static enum status sort(struct prom_collect *c) {
    size_t count = c->samples.count;
    TRY(samples_reserve(&c->scratch, count));
    if (c->samples.histograms != NULL) TRY(samples_want_histograms(&c->scratch));
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
            if (differ(s, n - 1, i)) c->conflicts++;
            n--;
        }
        copy(s, i, s, n++);
    }
    s->count = n;
    c->unsorted = false;
    return OK;
}

void prom_collect_reset(struct prom_collect *c) {
    samples_clear(&c->samples);
    samples_clear(&c->scratch);
    arena_reset(&c->histograms);
    c->unsorted = false;
    c->deleted = NULL;
    c->deleted_count = 0;
}

void prom_collect_fini(struct prom_collect *c) {
    samples_fini(&c->samples);
    samples_fini(&c->scratch);
    arena_fini(&c->histograms);
}
