/* SPDX-License-Identifier: Apache-2.0 */
/* rate, increase and delta on anchored and smoothed ranges: no extrapolation; the value at a border
 * is the sample before it (anchored) or interpolated between its neighbours (smoothed). */
#include "query/engine/window.h"

static double interpolate(const struct samples *s, size_t i, int64_t t, bool counter) {
    double y1 = s->values[i], y2 = s->values[i + 1];
    if (counter && y2 < y1) y1 = 0;
    return y1 +
           (y2 - y1) * (double)(t - s->times_ms[i]) / (double)(s->times_ms[i + 1] - s->times_ms[i]);
}

/* The first index in [lo, hi) for which t > limit (or >= with `inclusive`), hi when none. */
static size_t search(const struct samples *s, size_t lo, size_t hi, int64_t limit, bool inclusive) {
    while (lo < hi) {
        size_t mid = lo + (hi - lo) / 2;
        if (s->times_ms[mid] > limit || (inclusive && s->times_ms[mid] == limit))
            hi = mid;
        else
            lo = mid + 1;
    }
    return lo;
}

static double resets_between(const struct samples *s, size_t first, size_t end, double left,
                             double right) {
    double correction = 0, prev = left;
    for (size_t i = first; i < end; i++) {
        if (s->values[i] < prev) correction += prev;
        prev = s->values[i];
    }
    if (right < prev) correction += prev;
    return correction;
}

static bool extended_step(const struct stage_run *r, size_t k, double *out) {
    const struct stage *st = r->stage;
    const struct samples *s = &r->samples;
    size_t lo = r->windows.lo[k], hi = r->windows.hi[k];
    if (lo == hi) return false;
    bool counter = st->fn != FN_DELTA, smoothed = st->selector->modifier == RANGE_SMOOTHED;
    int64_t end = stage_ref(st, k), start = end - stage_window_ms(st);
    size_t last = hi - 1, first = search(s, lo, last, start, false);
    if (first > lo) first--;
    if (smoothed) last = search(s, lo, last, end, true);
    if (s->times_ms[last] <= start || (smoothed && s->times_ms[first] > end)) return false;
    double left = s->values[first], right = s->values[last];
    if (smoothed && s->times_ms[first] < start) left = interpolate(s, first, start, counter);
    if (smoothed && last > lo && s->times_ms[last] > end)
        right = interpolate(s, last - 1, end, counter);
    double v = right - left;
    if (counter) {
        size_t from = s->times_ms[first] <= start ? first + 1 : first;
        size_t to = s->times_ms[last] >= end ? last : last + 1;
        v += resets_between(s, from, to, left, right);
    }
    *out = st->fn == FN_RATE ? v / ((double)stage_window_ms(st) / 1000) : v;
    return true;
}

enum status window_extended_rate(struct stage_run *r, struct column *out) {
    for (size_t k = 0; k < r->stage->out.steps; k++) {
        TRY(eval_work(r->ev, 30 + r->windows.hi[k] - r->windows.lo[k]));
        if (extended_step(r, k, &out->values[k])) out->kinds[k] = POINT_FLOAT;
    }
    return OK;
}
