/* SPDX-License-Identifier: Apache-2.0 */
#include "query/engine/mem_source.h"

#include <stdlib.h>
#include <string.h>

static const struct mem_source *mem_of(const struct source *src) {
    return (const struct mem_source *)(const void *)src;
}

static size_t mem_count(const struct source *src, uint32_t leaf) {
    const struct mem_source *m = mem_of(src);
    return leaf < m->leaves_count ? m->matches_count[leaf] : 0;
}

static struct mem_series *mem_series_at(const struct source *src, uint32_t leaf, size_t index) {
    const struct mem_source *m = mem_of(src);
    return m->series[m->matches[leaf][index]];
}

static size_t mem_labels(const struct source *src, uint32_t leaf, size_t index, struct label *out,
                         size_t max) {
    const struct mem_series *s = mem_series_at(src, leaf, index);
    size_t n = MIN(max, s->labels_count);
    if (n > 0) memcpy(out, s->labels, n * sizeof *out);
    return s->labels_count;
}

static series_id mem_id(const struct source *src, uint32_t leaf, size_t index) {
    return mem_series_at(src, leaf, index)->id;
}

static enum status mem_read(const struct source *src, uint32_t leaf, size_t index, int64_t from_ms,
                            int64_t to_ms, struct samples *out, struct err *err) {
    const struct samples *s = &mem_series_at(src, leaf, index)->samples;
    size_t lo = 0, hi = 0;
    while (lo < s->count && s->times_ms[lo] <= from_ms)
        lo++;
    for (hi = lo; hi < s->count && s->times_ms[hi] <= to_ms;)
        hi++;
    size_t n = hi - lo;
    if (s->starts_ms != NULL && out->starts_ms == NULL) {
        out->starts_ms = calloc(out->cap + 1, sizeof *out->starts_ms);
        if (out->starts_ms == NULL) return err_set(err, ERR_NOMEM, 0, "samples: out of memory");
    }
    if (samples_reserve(out, out->count + n) != OK)
        return err_set(err, ERR_NOMEM, 0, "samples: out of memory");
    if (n == 0) return OK;
    memcpy(out->times_ms + out->count, s->times_ms + lo, n * sizeof *s->times_ms);
    memcpy(out->values + out->count, s->values + lo, n * sizeof *s->values);
    for (size_t i = 0; out->starts_ms != NULL && i < n; i++)
        out->starts_ms[out->count + i] = s->starts_ms == NULL ? 0 : s->starts_ms[lo + i];
    out->count += n;
    return OK;
}

static const struct source_ops mem_ops = {
    .series_count = mem_count, .labels = mem_labels, .id = mem_id, .read = mem_read};

void mem_source_init(struct mem_source *m) {
    *m = (struct mem_source){.source = {.ops = &mem_ops}};
}

static void matches_free(struct mem_source *m) {
    for (size_t i = 0; i < m->leaves_count; i++)
        free(m->matches[i]);
    free(m->matches);
    free(m->matches_count);
    m->matches = NULL;
    m->matches_count = NULL;
    m->leaves_count = 0;
}

void mem_source_fini(struct mem_source *m) {
    matches_free(m);
    for (size_t i = 0; i < m->count && !m->is_view; i++) {
        samples_fini(&m->series[i]->samples);
        free(m->series[i]->labels);
        free(m->series[i]->text);
        free(m->series[i]);
    }
    free(m->series);
    mem_source_init(m);
}

static enum status series_push(struct mem_source *m, struct mem_series *s) {
    if (m->count == m->cap) {
        size_t cap = m->cap == 0 ? 16 : m->cap * 2;
        struct mem_series **grown = reallocarray(m->series, cap, sizeof(*grown));
        if (grown == NULL) return ERR_NOMEM;
        m->series = grown;
        m->cap = cap;
    }
    m->series[m->count++] = s;
    return OK;
}

enum status mem_source_add(struct mem_source *m, const struct label *labels, size_t count,
                           struct mem_series **out, struct err *err) {
    struct mem_series *s = calloc(1, sizeof *s);
    struct label *sorted = calloc(count + 1, sizeof *sorted);
    struct buf canonical = {0};
    enum status st =
        s == NULL || sorted == NULL ? err_set(err, ERR_NOMEM, 0, "series: out of memory") : OK;
    if (st == OK && count > 0) memcpy(sorted, labels, count * sizeof *sorted);
    if (st == OK) st = labels_encode(sorted, count, &canonical, err);
    if (st == OK && series_push(m, s) != OK)
        st = err_set(err, ERR_NOMEM, 0, "series: out of memory");
    if (st != OK) {
        free(s);
        free(sorted);
        buf_fini(&canonical);
        return st;
    }
    s->text = canonical.ptr; /* labels point into the canonical bytes */
    s->id = series_id_of(0, 0, buf_sv(&canonical));
    struct sv rest = buf_sv(&canonical);
    while (labels_next(&rest, &sorted[s->labels_count], NULL))
        s->labels_count++;
    s->labels = sorted;
    *out = s;
    return OK;
}

struct mem_series *mem_source_find(struct mem_source *m, const struct label *labels, size_t count) {
    struct label *sorted = calloc(count + 1, sizeof *sorted);
    struct buf canonical = {0};
    struct mem_series *found = NULL;
    if (sorted == NULL) return NULL;
    if (count > 0) memcpy(sorted, labels, count * sizeof *sorted);
    if (labels_encode(sorted, count, &canonical, NULL) == OK) {
        series_id id = series_id_of(0, 0, buf_sv(&canonical));
        for (size_t i = 0; i < m->count && found == NULL; i++)
            if (series_id_eq(m->series[i]->id, id)) found = m->series[i];
    }
    buf_fini(&canonical);
    free(sorted);
    return found;
}

enum status mem_series_append(struct mem_series *s, int64_t time_ms, double value) {
    return mem_series_append_start(s, time_ms, value, 0);
}

enum status mem_series_append_start(struct mem_series *s, int64_t time_ms, double value,
                                    int64_t start_ms) {
    struct samples *to = &s->samples;
    if (start_ms != 0 && to->starts_ms == NULL) {
        to->starts_ms = calloc(to->cap + 1, sizeof *to->starts_ms);
        if (to->starts_ms == NULL) return ERR_NOMEM;
    }
    TRY(samples_reserve(to, to->count + 1));
    to->times_ms[to->count] = time_ms;
    to->values[to->count] = value;
    if (to->starts_ms != NULL) to->starts_ms[to->count] = start_ms;
    to->count++;
    return OK;
}

enum status mem_source_view_add(struct mem_source *view, struct mem_series *s) {
    view->is_view = true;
    return series_push(view, s);
}

static struct sv series_value(const struct mem_series *s, struct sv name) {
    for (size_t j = 0; j < s->labels_count; j++)
        if (sv_eq(s->labels[j].name, name)) return s->labels[j].value;
    return SV("");
}

static bool matcher_eq(const struct matcher *a, const struct matcher *b) {
    return a->kind == b->kind && sv_eq(a->name, b->name) && sv_eq(a->value, b->value);
}

/* Matcher by matcher: the same one many times over costs nothing. */
static size_t series_select(const struct mem_source *m, const struct selector *sel, uint32_t *out) {
    size_t count = m->count;
    for (size_t i = 0; i < count; i++)
        out[i] = (uint32_t)i;
    for (size_t i = 0; i < sel->matchers_count; i++) {
        const struct matcher *matcher = &sel->matchers[i];
        if (i > 0 && matcher_eq(matcher, matcher - 1)) continue;
        size_t kept = 0;
        for (size_t j = 0; j < count; j++)
            if (matcher_match(matcher, series_value(m->series[out[j]], matcher->name)))
                out[kept++] = out[j];
        count = kept;
    }
    return count;
}

enum status mem_source_select(struct mem_source *m, const struct query *q) {
    matches_free(m);
    size_t leaves_count;
    const struct query_leaf *leaves = query_leaves(q, &leaves_count);
    m->matches = calloc(leaves_count + 1, sizeof *m->matches);
    m->matches_count = calloc(leaves_count + 1, sizeof *m->matches_count);
    if (m->matches == NULL || m->matches_count == NULL) {
        matches_free(m);
        return ERR_NOMEM;
    }
    for (; m->leaves_count < leaves_count; m->leaves_count++) {
        size_t leaf = m->leaves_count;
        m->matches[leaf] = calloc(m->count + 1, sizeof **m->matches);
        if (m->matches[leaf] == NULL) return ERR_NOMEM;
        m->matches_count[leaf] = series_select(m, leaves[leaf].selector, m->matches[leaf]);
    }
    return OK;
}
