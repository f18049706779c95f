/* SPDX-License-Identifier: Apache-2.0 */
/* A range selector as the whole query: the raw samples of each series, at the borders as anchored
 * and smoothed say. */
#include "query/engine/internal.h"

#include <string.h>

struct points {
    int64_t *t;
    double *v;
    size_t count;
};

static double between(const struct points *p, size_t i, int64_t t) {
    return p->v[i] +
           (p->v[i + 1] - p->v[i]) * (double)(t - p->t[i]) / (double)(p->t[i + 1] - p->t[i]);
}

/* Replaces what lies at or outside the borders by one point at each border. `p` has room for two
 * more. */
static void extend(struct points *p, int64_t start, int64_t end, bool smoothed) {
    size_t last = p->count - 1, first = 0;
    while (first < last && p->t[first] <= start)
        first++;
    if (first > 0 && (p->t[first] > start || first == last)) first--;
    if (smoothed)
        for (size_t i = 0; i <= last; i++)
            if (p->t[i] >= end) last = i;
    if (p->t[last] <= start) {
        p->count = 0;
        return;
    }
    double left = p->v[first], right = p->v[last];
    if (smoothed && p->t[first] < start) left = between(p, first, start);
    if (smoothed && last > 0 && p->t[last] > end) right = between(p, last - 1, end);
    size_t from = p->t[first] <= start ? first + 1 : first,
           to = p->t[last] >= end ? last : last + 1;
    size_t n = to > from ? to - from : 0;
    memmove(&p->t[1], &p->t[from], n * sizeof *p->t);
    memmove(&p->v[1], &p->v[from], n * sizeof *p->v);
    p->t[0] = start;
    p->v[0] = left;
    p->t[n + 1] = end;
    p->v[n + 1] = right;
    p->count = n + 2;
}

static enum status newest_sample(struct eval *ev, struct partial *p, const struct samples *in,
                                 const struct labelset *labels) {
    size_t last = in->count - 1;
    bool is_histogram = in->histograms != NULL && in->histograms[last] != NULL;
    if (is_histogram || value_is_stale(in->values[last])) return OK;
    struct raw_series *s = partial_add_raw(p, labels);
    if (s == NULL) return eval_nomem(ev);
    s->times_ms = arena_array(&p->arena, 1, sizeof *s->times_ms);
    s->values = arena_array(&p->arena, 1, sizeof *s->values);
    if (s->times_ms == NULL || s->values == NULL) {
        s->count = 0;
        return eval_nomem(ev);
    }
    s->times_ms[0] = in->times_ms[last];
    s->values[0] = in->values[last];
    s->count = 1;
    reads_at(&p->reads, 0, 1);
    return eval_hold(ev, 1);
}

enum status fragment_samples(struct eval *ev, struct partial *p, const struct stage *leaf,
                             const struct samples *in, const struct labelset *labels) {
    if (query_params(ev->q)->features & FEATURE_NEWEST_SAMPLE)
        return newest_sample(ev, p, in, labels);
    struct points pts = {
        .t = arena_array(&p->arena, in->count + 2, sizeof *pts.t),
        .v = arena_array(&p->arena, in->count + 2, sizeof *pts.v),
    };
    if (pts.t == NULL || pts.v == NULL) return eval_nomem(ev);
    for (size_t i = 0; i < in->count; i++) {
        if (in->histograms != NULL && in->histograms[i] != NULL)
            return eval_unsupported(ev, "range selector");
        if (value_is_stale(in->values[i])) continue;
        pts.t[pts.count] = in->times_ms[i];
        pts.v[pts.count++] = in->values[i];
    }
    int64_t end = stage_ref(leaf, 0), start = end - stage_window_ms(leaf);
    enum range_modifier m = leaf->selector->modifier;
    if (m != RANGE_PLAIN && pts.count > 0) extend(&pts, start, end, m == RANGE_SMOOTHED);
    if (pts.count == 0) return OK;
    reads_at(&p->reads, 0, pts.count);
    struct raw_series *s = partial_add_raw(p, labels);
    if (s == NULL) return eval_nomem(ev);
    s->times_ms = pts.t;
    s->values = pts.v;
    s->count = pts.count;
    return eval_hold(ev, pts.count);
}
