/* SPDX-License-Identifier: Apache-2.0 */
/* Which parts are evaluated on the core itself: those that take it less than about half a
 * millisecond. The way to a worker and back is two threads woken, and on a busy machine each waits
 * for its turn. */
#include "query/gather/internal.h"
#include "query/gather/selected.h"

enum {
    SHORT_SERIES_MAX = 8,
    SHORT_WORK_MAX = 300000, /* samples looked at */
    LIGHT_SERIES_WORK = 100, /* what a series costs beside its samples, in these */
};

bool text_has_subquery(struct sv text) {
    for (bool in_range = false; text.len > 0; text = sv_skip(text, 1)) {
        if (in_range && text.ptr[0] == ':') return true;
        if (text.ptr[0] == '[' || text.ptr[0] == ']') in_range = text.ptr[0] == '[';
    }
    return false;
}

struct extent {
    uint64_t series, range_ms, width_ms, steps;
};

/* Few series, and windows with few samples even at one a second: whatever is done with them. */
static bool is_small(const struct extent *x, const struct query *q) {
    uint64_t range_s = x->range_ms / 1000 + 1;
    if (x->series > SHORT_SERIES_MAX || range_s > SHORT_WORK_MAX || x->steps > SHORT_WORK_MAX)
        return false;
    uint64_t window_s = range_s > x->width_ms / 1000 ? range_s - x->width_ms / 1000 : 0;
    return (range_s + x->steps * (1 + window_s)) * x->series <= SHORT_WORK_MAX &&
           !text_has_subquery(query_text(q));
}

/* By the samples that there are. A window has its share of those of the range, at each step. */
static bool is_light(const struct extent *x, const struct selected *s) {
    if (x->series > SHORT_WORK_MAX / LIGHT_SERIES_WORK || x->steps > SHORT_WORK_MAX) return false;
    uint64_t samples = selected_samples(s, SHORT_WORK_MAX);
    uint64_t window_ms = x->range_ms > x->width_ms ? x->range_ms - x->width_ms : 0;
    double share = x->range_ms == 0 ? 0 : (double)window_ms / (double)x->range_ms;
    uint64_t in_window = (uint64_t)((double)samples * share);
    return samples + x->series * LIGHT_SERIES_WORK + x->steps * (x->series + in_window) <=
           SHORT_WORK_MAX;
}

bool fragment_is_short(const struct query *q, const struct fragment *f,
                       const struct selected *const *selected, size_t count) {
    struct extent x = {.steps = 1};
    if (f->end_ms < f->start_ms || f->step_ms < 1) return true;
    for (size_t i = 0; i < count; i++) {
        const struct select_query *read = &selected[i]->query;
        if (selected_reads_disk(selected[i])) return false;
        x.series += selected[i]->count;
        uint64_t range_ms = (uint64_t)read->to_ms - (uint64_t)read->from_ms;
        if (read->to_ms > read->from_ms &&
            __builtin_add_overflow(x.range_ms, range_ms, &x.range_ms))
            return false;
    }
    x.width_ms = (uint64_t)f->end_ms - (uint64_t)f->start_ms;
    x.steps = x.width_ms / (uint64_t)f->step_ms + 1;
    if (is_small(&x, q)) return true;
    return count == 1 && fragment_is_light(q, f) && is_light(&x, selected[0]);
}
