/* SPDX-License-Identifier: Apache-2.0 */
/* Range functions over counters and differences: rate, increase, delta, irate, idelta, resets,
 * changes, also with start timestamps, and rate, increase, delta on anchored and smoothed ranges.
 * The order of additions is Prometheus', so that results agree to the bit. */
#include "query/engine/window.h"

#include <math.h>
#include <string.h>

/* A start timestamp between two samples is a reset; one that points at the previous sample only for
 * deltas. */
static bool start_is_reset(int64_t prev_start, int64_t prev_t, int64_t start, int64_t t) {
    if (start == 0 || start >= t || start < prev_t) return false;
    if (start > prev_t) return true;
    return prev_start <= prev_t && prev_start != 0 && prev_start != prev_t;
}

static bool start_overlaps(int64_t prev_start, int64_t prev_t, int64_t start) {
    return start != 0 && start < prev_t && start != prev_start;
}

static const int64_t *start_column(const struct stage_run *r) {
    bool on = (query_params(r->ev->q)->features & FEATURE_START_TIMESTAMPS) != 0;
    return on ? r->samples.starts_ms : NULL;
}

static bool pair_is_reset(const struct samples *s, const int64_t *starts, size_t i) {
    if (s->values[i] < s->values[i - 1]) return true;
    return starts != NULL &&
           start_is_reset(starts[i - 1], s->times_ms[i - 1], starts[i], s->times_ms[i]);
}

/* Resets are found once a series; a window then adds only its own, in order. */
static enum status resets_find(struct stage_run *r, const int64_t *starts, size_t *out_count) {
    const struct samples *s = &r->samples;
    size_t count = 0;
    TRY(window_needs(r, s->count + 1));
    double *found = r->scratch;
    const double *v = s->values;
    if (starts == NULL) {
        for (size_t i = 1; i < s->count; i++) { /* written always, kept where there is one */
            found[count] = (double)i;
            count += v[i] < v[i - 1];
        }
    } else {
        for (size_t i = 1; i < s->count; i++)
            if (pair_is_reset(s, starts, i)) found[count++] = (double)i;
    }
    *out_count = count;
    return OK;
}

static void note_overlaps(struct stage_run *r, const int64_t *starts, size_t lo, size_t hi) {
    const struct samples *s = &r->samples;
    for (size_t i = lo + 1; i < hi; i++) {
        if (!start_overlaps(starts[i - 1], s->times_ms[i - 1], starts[i])) continue;
        struct sv name = stage_metric_name(r);
        char text[400];
        struct note counters = {.warning = true, .count = 1};
        snprintf(text, sizeof text,
                 "sample has start time that overlaps with previous sample timestamp for metric "
                 "\"%.*s\"",
                 SV_ARG(sv_take(name, 256)));
        eval_note_counted(r->ev, stage_note_at(r), &counters, text);
        return;
    }
}

struct rate_window {
    size_t lo, hi;
    int64_t start_ms, end_ms;
    double increase; /* last - first, resets added */
    bool counter, per_second;
};

/* Extrapolation to the borders of the range: promql/functions.go of Prometheus 3.14,
 * extrapolatedRate. */
static bool rate_of_window(const struct stage_run *r, const struct rate_window *w,
                           const int64_t *starts, double *out) {
    const struct samples *s = &r->samples;
    size_t intervals = w->hi - w->lo - 1;
    int64_t first = s->times_ms[w->lo], last = s->times_ms[w->hi - 1];
    double increase = w->increase;
    double to_start = (double)(first - w->start_ms) / 1000,
           to_end = (double)(w->end_ms - last) / 1000;
    double sampled = (double)(last - first) / 1000;
    double average = intervals > 0 ? sampled / (double)intervals : 0;
    double threshold = average * 1.1;
    int64_t born = starts == NULL ? 0 : starts[w->lo];
    if (w->counter && born != 0 && born > w->start_ms && born < first) {
        to_start = 0;
        sampled = (double)(last - born) / 1000;
        increase += s->values[w->lo];
    } else if (intervals == 0) {
        return false;
    } else {
        if (to_start >= threshold) to_start = average / 2;
        if (w->counter) {
            double to_zero = to_start;
            if (increase > 0 && s->values[w->lo] >= 0)
                to_zero = sampled * (s->values[w->lo] / increase);
            if (to_zero < to_start) to_start = to_zero;
        }
    }
    if (to_end >= threshold) to_end = average / 2;
    double factor = 1.0;
    if (sampled != 0) factor = (sampled + to_start + to_end) / sampled;
    if (w->per_second) factor /= (double)stage_window_ms(r->stage) / 1000;
    *out = increase * factor;
    return true;
}

/* What extrapolation makes of the times of a window alone. Windows of one series mostly have the
 * same ones, relative to their borders: then only the last one's are kept, and no step divides. */
struct rate_edges {
    int64_t before_ms,
        after_ms; /* start to first sample, last one to end; with the range: between */
    size_t intervals;
    double to_start, to_end, sampled; /* seconds */
    double factor;                    /* when zero is not reached before to_start */
};

struct rate_kind {
    int64_t range_ms;
    double range_s;
    bool counter, per_second;
};

static void edges_find(struct rate_edges *e, const struct rate_kind *kind) {
    e->to_start = (double)e->before_ms / 1000;
    e->to_end = (double)e->after_ms / 1000;
    e->sampled = (double)(kind->range_ms - e->before_ms - e->after_ms) / 1000;
    double average = e->sampled / (double)e->intervals, threshold = average * 1.1;
    if (e->to_start >= threshold) e->to_start = average / 2;
    if (e->to_end >= threshold) e->to_end = average / 2;
    e->factor = 1.0;
    if (e->sampled != 0) e->factor = (e->sampled + e->to_start + e->to_end) / e->sampled;
    if (kind->per_second) e->factor /= kind->range_s;
}

/* Whether a counter that was `first` surely was zero no later than to_start before, by margins far
 * beyond what rounding does to normal numbers. */
static inline bool edges_are_safe(const struct rate_edges *e, double increase, double first) {
    return increase > 1e-290 && first * e->sampled > e->to_start * increase * 1.000001;
}

/* The same as rate_of_window() without start timestamps, to the bit. */
static double rate_to_zero(const struct rate_edges *e, const struct rate_kind *kind,
                           double increase, double first) {
    double to_zero = e->sampled * (first / increase);
    if (!(increase > 0) || !(first >= 0) || !(to_zero < e->to_start)) return increase * e->factor;
    double factor = 1.0;
    if (e->sampled != 0) factor = (e->sampled + to_zero + e->to_end) / e->sampled;
    if (kind->per_second) factor /= kind->range_s;
    return increase * factor;
}

/* Adds the resets in (lo, hi) of `count`; those up to lo are passed for good. Returns how many. */
static size_t resets_add(const struct stage_run *r, size_t count, size_t *next, size_t lo,
                         size_t hi, double *increase) {
    const double *reset = r->scratch, *values = r->samples.values;
    while (*next < count && reset[*next] <= (double)lo)
        (*next)++;
    size_t i = *next;
    for (; i < count && reset[i] < (double)hi; i++)
        *increase += values[(size_t)reset[i] - 1];
    return i - *next;
}

/* Steps from `from` on, before `to`. */
static enum status rate_steps(struct stage_run *r, size_t resets, size_t from, size_t to,
                              struct column *out) {
    const struct stage *st = r->stage;
    const int64_t *times_ms = r->samples.times_ms, range_ms = stage_window_ms(st);
    const double *values = r->samples.values;
    const uint32_t *los = r->windows.lo, *his = r->windows.hi;
    double *to_values = out->values;
    uint8_t *kinds = out->kinds;
    const struct ref_times refs = stage_refs(st);
    const struct rate_kind kind = {range_ms, (double)range_ms / 1000, st->fn != FN_DELTA,
                                   st->fn == FN_RATE};
    struct rate_edges e = {.intervals = 0};
    size_t next = 0;
    int64_t end = ref_time(&refs, from);
    for (size_t k = from; k < to; k++, end += refs.step_ms) {
        size_t lo = los[k], hi = his[k];
        if (hi - lo < 2) continue;
        int64_t before = times_ms[lo] - end + range_ms, after = end - times_ms[hi - 1];
        double first = values[lo], increase = values[hi - 1] - first;
        if (next < resets) {
            size_t added = resets_add(r, resets, &next, lo, hi, &increase);
            if (added > 0) TRY(eval_work(r->ev, added));
        }
        if (e.before_ms != before || e.after_ms != after || e.intervals != hi - lo - 1) {
            e = (struct rate_edges){
                .before_ms = before, .after_ms = after, .intervals = hi - lo - 1};
            edges_find(&e, &kind);
        }
        to_values[k] = !kind.counter || edges_are_safe(&e, increase, first)
                           ? increase * e.factor
                           : rate_to_zero(&e, &kind, increase, first);
        kinds[k] = POINT_FLOAT;
    }
    return OK;
}

static enum status rate_plain(struct stage_run *r, size_t resets, struct column *out) {
    size_t steps = r->stage->out.steps;
    for (size_t k = 0; k < steps; k += LOOK_STEPS) {
        TRY(rate_steps(r, resets, k, MIN(steps, k + LOOK_STEPS), out));
        TRY(eval_work(r->ev, MIN(steps, (size_t)LOOK_STEPS)));
    }
    return OK;
}

bool rate_of_row(const struct stage *st, const struct downsample_row *row, double *out) {
    const double *c = row->columns;
    const int64_t range_ms = stage_window_ms(st), after_ms = (int64_t)c[DOWNSAMPLE_LAST_AGO];
    if (c[DOWNSAMPLE_COUNT] < 2) return false;
    const struct rate_kind kind = {range_ms, (double)range_ms / 1000, st->fn != FN_DELTA,
                                   st->fn == FN_RATE};
    struct rate_edges e = {.before_ms = range_ms - (int64_t)c[DOWNSAMPLE_FIRST_AGO],
                           .after_ms = after_ms,
                           .intervals = (size_t)c[DOWNSAMPLE_COUNT] - 1};
    double increase = c[DOWNSAMPLE_LAST] - c[DOWNSAMPLE_FIRST];
    if (kind.counter) increase += c[DOWNSAMPLE_CORRECTION];
    edges_find(&e, &kind);
    *out =
        kind.counter ? rate_to_zero(&e, &kind, increase, c[DOWNSAMPLE_FIRST]) : increase * e.factor;
    return true;
}

void note_not_counter(struct stage_run *r, const struct column *out) {
    struct sv name = stage_metric_name(r);
    if (name.len == 0 || column_points(out, r->stage->out.steps) == 0) return;
    if ((query_params(r->ev->q)->features & FEATURE_TYPE_AND_UNIT) != 0) {
        struct sv type = labelset_get(r->labels, SV("__type__"));
        if (sv_eq(type, SV("counter")) || sv_eq(type, SV("histogram"))) return;
        eval_note(r->ev, false, stage_note_at(r),
                  "metric might not be a counter, __type__ label is not set to \"counter\" or "
                  "\"histogram\", "
                  "got \"%.*s\": \"%.*s\"",
                  SV_ARG(sv_take(type, 200)), SV_ARG(sv_take(name, 400)));
        return;
    }
    if (sv_ends(name, SV("_total")) || sv_ends(name, SV("_sum")) || sv_ends(name, SV("_count")) ||
        sv_ends(name, SV("_bucket")))
        return;
    eval_note(
        r->ev, false, stage_note_at(r),
        "metric might not be a counter, name does not end in _total/_sum/_count/_bucket: \"%.*s\"",
        SV_ARG(sv_take(name, 400)));
}

enum status window_rate(struct stage_run *r, struct column *out) {
    const struct stage *st = r->stage;
    bool counter = st->fn != FN_DELTA, per_second = st->fn == FN_RATE;
    if (st->selector != NULL && st->selector->modifier != RANGE_PLAIN) {
        TRY(window_extended_rate(r, out));
        if (counter) note_not_counter(r, out);
        return OK;
    }
    const struct samples *s = &r->samples;
    const int64_t *starts = counter ? start_column(r) : NULL;
    size_t resets = 0, next = 0;
    if (counter) TRY(resets_find(r, starts, &resets));
    if (starts == NULL) {
        TRY(rate_plain(r, resets, out));
        if (counter) note_not_counter(r, out);
        return OK;
    }
    for (size_t k = 0; k < st->out.steps; k++) {
        struct rate_window w = {.lo = r->windows.lo[k], .hi = r->windows.hi[k]};
        TRY(eval_work(r->ev, 8 + w.hi - w.lo));
        if (w.hi == w.lo) continue;
        w.end_ms = stage_ref(st, k);
        w.start_ms = w.end_ms - stage_window_ms(st);
        w.counter = counter;
        w.per_second = per_second;
        w.increase = s->values[w.hi - 1] - s->values[w.lo];
        while (next < resets && r->scratch[next] <= (double)w.lo)
            next++;
        for (size_t i = next; i < resets && r->scratch[i] < (double)w.hi; i++)
            w.increase += s->values[(size_t)r->scratch[i] - 1];
        if (starts != NULL) note_overlaps(r, starts, w.lo, w.hi);
        if (rate_of_window(r, &w, starts, &out->values[k])) out->kinds[k] = POINT_FLOAT;
    }
    if (counter) note_not_counter(r, out);
    return OK;
}

enum status window_instant(struct stage_run *r, struct column *out) {
    const struct samples *s = &r->samples;
    bool rate = r->stage->fn == FN_IRATE;
    const int64_t *starts = rate ? start_column(r) : NULL;
    for (size_t k = 0; k < r->stage->out.steps; k++) {
        size_t lo = r->windows.lo[k], hi = r->windows.hi[k];
        TRY(eval_step(r->ev, k));
        if (hi - lo < 2) continue;
        double last = s->values[hi - 1], v = last;
        if (!rate || !pair_is_reset(s, starts, hi - 1)) v = last - s->values[hi - 2];
        if (rate) v /= (double)(s->times_ms[hi - 1] - s->times_ms[hi - 2]) / 1000;
        out->values[k] = v;
        out->kinds[k] = POINT_FLOAT;
    }
    return OK;
}

/* An anchored range begins at its last sample at or before the start; false when nothing follows
 * the start. */
static bool window_anchor(const struct stage_run *r, size_t k, size_t *lo) {
    const struct stage *st = r->stage;
    if (st->selector == NULL || st->selector->modifier != RANGE_ANCHORED) return true;
    int64_t start = stage_ref(st, k) - stage_window_ms(st);
    size_t hi = r->windows.hi[k];
    if (r->samples.times_ms[hi - 1] <= start) return false;
    while (*lo + 1 < hi && r->samples.times_ms[*lo + 1] <= start)
        (*lo)++;
    return true;
}

enum status window_changes(struct stage_run *r, struct column *out) {
    const struct samples *s = &r->samples;
    bool resets = r->stage->fn == FN_RESETS;
    const int64_t *starts = resets ? start_column(r) : NULL;
    /* running[i]: events up to sample i, so that a window is a difference */
    TRY(window_needs(r, s->count + 1));
    double *running = r->scratch;
    running[0] = 0;
    for (size_t i = 1; i < s->count; i++) {
        double a = s->values[i - 1], b = s->values[i];
        bool event = resets ? pair_is_reset(s, starts, i) : a != b && !(isnan(a) && isnan(b));
        running[i] = running[i - 1] + (event ? 1 : 0);
    }
    for (size_t k = 0; k < r->stage->out.steps; k++) {
        size_t lo = r->windows.lo[k], hi = r->windows.hi[k];
        TRY(eval_step(r->ev, k));
        if (hi == lo || !window_anchor(r, k, &lo)) continue;
        out->values[k] = running[hi - 1] - running[lo];
        out->kinds[k] = POINT_FLOAT;
    }
    return OK;
}
