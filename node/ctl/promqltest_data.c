/* SPDX-License-Identifier: Apache-2.0 */
/* What test files load: series dealt at random over the sources that will answer, and the times of
 * their native histograms. */
#include <math.h>
#include <stdlib.h>

#include "node/base/num.h"
#include "node/ctl/promqltest.h"

void dataset_init(struct dataset *d, unsigned sources_count, uint64_t seed) {
    *d = (struct dataset){.sources_count = sources_count};
    mem_source_init(&d->all);
    for (unsigned i = 0; i < sources_count; i++) {
        mem_source_init(&d->views[i]);
        d->views[i].is_view = true;
        d->sources[i] = &d->views[i].source;
    }
    rng_init(&d->rng, seed);
}

void dataset_fini(struct dataset *d) {
    for (unsigned i = 0; i < d->sources_count; i++)
        mem_source_fini(&d->views[i]);
    mem_source_fini(&d->all);
    for (size_t i = 0; i < d->histograms_count; i++)
        free(d->histograms[i].times_ms);
    free(d->histograms);
    d->histograms = NULL;
    d->histograms_count = d->histograms_cap = 0;
}

void dataset_clear(struct dataset *d) {
    struct rng rng = d->rng;
    dataset_fini(d);
    dataset_init(d, d->sources_count, 0);
    d->rng = rng;
}

static enum status nomem(struct err *err) {
    return err_set(err, ERR_NOMEM, 0, "out of memory");
}

static enum status series_of(struct dataset *d, const struct label *labels, size_t count,
                             struct mem_series **out, struct err *err) {
    *out = mem_source_find(&d->all, labels, count);
    if (*out != NULL) return OK;
    TRY(mem_source_add(&d->all, labels, count, out, err));
    size_t view = rng_below(&d->rng, d->sources_count);
    return mem_source_view_add(&d->views[view], *out) == OK ? OK : nomem(err);
}

static struct histogram_times *histogram_times_find(const struct dataset *d,
                                                    const struct mem_series *s) {
    for (size_t i = 0; i < d->histograms_count; i++)
        if (d->histograms[i].series == s) return &d->histograms[i];
    return NULL;
}

static enum status histogram_add(struct dataset *d, struct mem_series *s, int64_t time_ms,
                                 struct err *err) {
    struct histogram_times *h = histogram_times_find(d, s);
    if (h == NULL) {
        if (d->histograms_count == d->histograms_cap) {
            size_t cap = d->histograms_cap == 0 ? 16 : d->histograms_cap * 2;
            void *grown = reallocarray(d->histograms, cap, sizeof *h);
            if (grown == NULL) return nomem(err);
            d->histograms = grown;
            d->histograms_cap = cap;
        }
        h = &d->histograms[d->histograms_count++];
        *h = (struct histogram_times){.series = s};
    }
    if (h->count == h->cap) {
        size_t cap = h->cap == 0 ? 16 : h->cap * 2;
        int64_t *grown = reallocarray(h->times_ms, cap, sizeof *grown);
        if (grown == NULL) return nomem(err);
        h->times_ms = grown;
        h->cap = cap;
    }
    h->times_ms[h->count++] = time_ms;
    return OK;
}

static enum status float_add(struct mem_series *s, int64_t time_ms, double value, int64_t start_ms,
                             struct err *err) {
    const struct samples *have = &s->samples;
    if (have->count > 0 && time_ms <= have->times_ms[have->count - 1]) {
        size_t i = have->count - 1;
        while (i > 0 && have->times_ms[i] > time_ms)
            i--;
        /* bits: NaN is equal to itself here */
        if (have->times_ms[i] == time_ms && memcmp(&have->values[i], &value, sizeof value) == 0)
            return OK;
        return err_set(err, ERR_CONFLICT, 0, "%s",
                       have->times_ms[i] == time_ms ? "duplicate sample for timestamp"
                                                    : "out of order sample");
    }
    return mem_series_append_start(s, time_ms, value, start_ms) == OK ? OK : nomem(err);
}

static bool same_labels(const struct series_line *a, const struct series_line *b) {
    return label_list_cmp(a->labels, a->labels_count, b->labels, b->labels_count) == 0;
}

/* The line that counts for the series of lines[i]: the last of its kind. */
static bool is_overridden(const struct series_line *lines, size_t count, size_t i) {
    for (size_t j = i + 1; j < count; j++)
        if (!lines[j].is_starts && same_labels(&lines[i], &lines[j])) return true;
    return false;
}

static enum status load_line(struct dataset *d, const struct series_line *line,
                             const struct series_line *starts, int64_t step_ms, struct err *err) {
    struct mem_series *s;
    TRY(series_of(d, line->labels, line->labels_count, &s, err));
    for (size_t i = 0; i < line->items_count; i++) {
        const struct item *item = &line->items[i];
        const struct item *start = starts == NULL ? NULL : &starts->items[i];
        int64_t time_ms, start_ms = 0;
        if (__builtin_mul_overflow((int64_t)i, step_ms, &time_ms))
            return err_set(err, ERR_LIMIT, 0, "samples leave the range of time");
        if (start != NULL && start->kind == ITEM_START &&
            __builtin_add_overflow(time_ms, start->offset_ms, &start_ms))
            return err_set(err, ERR_LIMIT, 0, "start timestamps leave the range of time");
        if (item->kind == ITEM_FLOAT) TRY(float_add(s, time_ms, item->value, start_ms, err));
        if (item->kind == ITEM_HISTOGRAM) TRY(histogram_add(d, s, time_ms, err));
    }
    return OK;
}

/* The part of a classic histogram: its base name, without le. false: the series is none. */
static bool classic_part(const struct series_line *line, struct label *out, size_t *out_count) {
    static const struct sv suffixes[] = {SV_INIT("_bucket"), SV_INIT("_count"), SV_INIT("_sum")};
    struct sv name = {0}, le = {0};
    for (size_t i = 0; i < line->labels_count; i++) {
        if (sv_eq(line->labels[i].name, SV("__name__"))) name = line->labels[i].value;
        if (sv_eq(line->labels[i].name, SV("le"))) le = line->labels[i].value;
    }
    size_t kind = 0;
    while (kind < ARRAY_LEN(suffixes) && !sv_ends(name, suffixes[kind]))
        kind++;
    if (kind == ARRAY_LEN(suffixes)) return false;
    double bound;
    if (kind == 0 && (!num_parse_f64(le, &bound) || isnan(bound))) return false;
    name.len -= suffixes[kind].len;
    *out_count = 0;
    for (size_t i = 0; i < line->labels_count; i++) {
        const struct label *l = &line->labels[i];
        if (kind == 0 && sv_eq(l->name, SV("le"))) continue;
        out[*out_count] = *l;
        if (sv_eq(l->name, SV("__name__"))) out[*out_count].value = name;
        (*out_count)++;
    }
    return true;
}

static enum status load_nhcb(struct dataset *d, const struct series_line *line, int64_t step_ms,
                             struct err *err) {
    struct label *labels = calloc(line->labels_count + 1, sizeof *labels);
    size_t count;
    struct mem_series *s;
    if (labels == NULL) return nomem(err);
    enum status st = OK;
    if (classic_part(line, labels, &count)) {
        st = series_of(d, labels, count, &s, err);
        for (size_t i = 0; st == OK && i < line->items_count; i++)
            if (line->items[i].kind == ITEM_FLOAT)
                st = histogram_add(d, s, (int64_t)i * step_ms, err);
    }
    free(labels);
    return st;
}

enum status dataset_load(struct dataset *d, const struct series_line *lines, size_t count,
                         int64_t step_ms, bool with_nhcb, struct err *err) {
    for (size_t i = 0; i < count; i++) {
        if (lines[i].is_starts || is_overridden(lines, count, i)) continue;
        const struct series_line *starts = i > 0 && lines[i - 1].is_starts ? &lines[i - 1] : NULL;
        TRY(load_line(d, &lines[i], starts, step_ms, err));
        if (with_nhcb) TRY(load_nhcb(d, &lines[i], step_ms, err));
    }
    return OK;
}

enum status dataset_select(struct dataset *d, const struct query *q) {
    for (unsigned i = 0; i < d->sources_count; i++)
        TRY(mem_source_select(&d->views[i], q));
    return OK;
}

static bool has_histogram(const struct dataset *d, const struct mem_series *s,
                          const struct query_leaf *leaf) {
    const struct histogram_times *h = histogram_times_find(d, s);
    for (size_t i = 0; h != NULL && i < h->count; i++)
        if (h->times_ms[i] > leaf->from_ms && h->times_ms[i] <= leaf->to_ms) return true;
    return false;
}

bool dataset_touches_histograms(const struct dataset *d, const struct query *q) {
    size_t leaves_count;
    const struct query_leaf *leaves = query_leaves(q, &leaves_count);
    for (size_t leaf = 0; leaf < leaves_count; leaf++)
        for (unsigned v = 0; v < d->sources_count; v++) {
            const struct mem_source *view = &d->views[v];
            for (size_t i = 0; i < view->matches_count[leaf]; i++)
                if (has_histogram(d, view->series[view->matches[leaf][i]], &leaves[leaf]))
                    return true;
        }
    return false;
}
