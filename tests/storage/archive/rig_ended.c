/* SPDX-License-Identifier: Apache-2.0 */
/* Samples that have ended their retention while rows go on: what is to be there, by a loop over the
 * samples that the model has. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "node/base/bytes.h"
#include "tests/storage/archive/archive_rig.h"

void archive_rig_choose_ended(struct archive_rig *rig) {
    struct retention_by_resolution by = {.has_fine = rig->levels[0].resolution_ms != 0,
                                         .has_coarse = rig->levels[1].resolution_ms != 0};
    if (rig->retention == NULL) return;
    if ((by.has_fine || by.has_coarse) && rng_chance(&rig->rng, 0.6)) {
        int64_t after_ms = 0;
        for (int i = 0; i < PLAN_LEVELS; i++) {
            if (rig->levels[i].resolution_ms != 0 && rng_chance(&rig->rng, 0.7))
                rig->levels[i].after_ms = (int64_t)(1 + rng_below(&rig->rng, 6)) * AR_HOUR_MS;
            if (rig->levels[i].resolution_ms != 0)
                after_ms = MAX(after_ms, rig->levels[i].after_ms);
        }
        by.raw_ms = after_ms + (int64_t)rng_below(&rig->rng, 8 * AR_HOUR_MS);
        if (by.has_fine && by.has_coarse && rng_chance(&rig->rng, 0.7))
            by.fine_ms = by.raw_ms + (int64_t)rng_below(&rig->rng, 8 * AR_HOUR_MS);
    }
    rig->retention->raw_ms = rig->retention->fine_ms = 0;
    retention_set_resolutions(rig->retention, &by);
}

static int64_t window_end(int64_t t, int64_t length_ms) {
    return (t + length_ms - 1) / length_ms * length_ms;
}

bool archive_rig_is_deleted(const struct ended *ended, int64_t time_ms, int64_t min_ms,
                            int64_t max_ms) {
    if (time_ms > ended->raw_ms) return time_ms >= min_ms && time_ms <= max_ms;
    int64_t end_ms = window_end(time_ms, AR_HOUR_MS); /* whole hours go */
    return end_ms - AR_HOUR_MS + 1 >= min_ms && end_ms <= max_ms;
}

int64_t archive_rig_resolution(const struct ended *ended, int64_t time_ms) {
    if (time_ms > ended->raw_ms) return 0;
    return time_ms > ended->fine_ms ? 5 * AR_HOUR_MS / 60 : AR_HOUR_MS;
}

static bool is_sure(const struct archive_rig *rig, const struct model_sample *m, int64_t floor_ms) {
    bool lost = rig->harmed != NULL && m->file >= rig->harmed->lost_from;
    return m->state == MODEL_HELD && m->time_ms >= floor_ms && !lost;
}

/* -- samples */

struct window {
    const struct model_series *s;
    size_t first, end; /* of its samples */
    int64_t end_ms;
};

/* The last float of the window may be this one. */
static bool may_be_last(const struct archive_rig *rig, const struct window *w, int64_t floor_ms,
                        double value) {
    for (size_t i = w->end; i > w->first; i--) {
        const struct model_sample *m = &w->s->samples[i - 1];
        bool lost = rig->harmed != NULL && m->file >= rig->harmed->lost_from;
        if (m->now.is_histogram || (m->state == MODEL_NONE && !lost)) continue;
        if (f64_bits(m->now.value) == f64_bits(value) ||
            (lost && f64_bits(m->before.value) == f64_bits(value)))
            return true;
        if (is_sure(rig, m, floor_ms)) return false;
    }
    return false;
}

static bool has_at(const struct samples *got, int64_t time_ms, bool is_histogram, double *out) {
    for (size_t i = 0; i < got->count; i++) {
        bool is = got->histograms != NULL && got->histograms[i] != NULL;
        if (got->times_ms[i] != time_ms || is != is_histogram) continue;
        *out = got->values[i];
        return true;
    }
    return false;
}

/* Histograms are as they were; of floats the last one is at the end. */
static size_t window_verify(struct archive_rig *rig, const struct window *w,
                            const struct samples *got, int64_t floor_ms) {
    size_t seen = 0;
    bool sure = false, hidden = false;
    double value = 0;
    for (size_t i = w->first; i < w->end; i++) {
        const struct model_sample *m = &w->s->samples[i];
        sure = sure || (!m->now.is_histogram && is_sure(rig, m, floor_ms));
        if (!m->now.is_histogram) continue;
        bool there = has_at(got, m->time_ms, true, &value);
        RIG_CHECK(there || !is_sure(rig, m, floor_ms),
                  "seed %" PRIu64 ": series %td lacks the histogram at %" PRId64
                  ", which has ended",
                  rig->seed, w->s - rig->model.series, m->time_ms);
        RIG_CHECK(!there || f64_bits(value) == f64_bits(m->now.value), "another histogram");
        seen += there;
        hidden = hidden || (there && m->time_ms == w->end_ms);
    }
    bool there = has_at(got, w->end_ms, false, &value);
    RIG_CHECK(there || !sure || hidden,
              "seed %" PRIu64 ": series %td (shard %u) has nothing of the bucket until %" PRId64,
              rig->seed, w->s - rig->model.series, w->s->shard, w->end_ms);
    RIG_CHECK(!there || may_be_last(rig, w, floor_ms, value),
              "seed %" PRIu64 ": series %td (shard %u): %g is not the last of the bucket until "
              "%" PRId64,
              rig->seed, w->s - rig->model.series, w->s->shard, value, w->end_ms);
    rig->counts.buckets += there;
    return seen + there;
}

size_t archive_rig_check_ended(struct archive_rig *rig, const struct model_series *s,
                               const struct samples *got, const struct store_archived *a,
                               int64_t floor_ms) {
    size_t seen = 0, count = 0;
    while (count < got->count && got->times_ms[count] <= a->ended.raw_ms)
        count++;
    struct samples part = *got;
    part.count = count;
    for (size_t i = 0, next; i < s->count && s->samples[i].time_ms <= a->ended.raw_ms; i = next) {
        int64_t r = archive_rig_resolution(&a->ended, s->samples[i].time_ms);
        struct window w = {s, i, i, window_end(s->samples[i].time_ms, r)};
        while (w.end < s->count && s->samples[w.end].time_ms <= w.end_ms)
            w.end++;
        next = w.end;
        seen += window_verify(rig, &w, &part, floor_ms);
    }
    RIG_CHECK(seen == count,
              "seed %" PRIu64 ": series %td (shard %u): %zu samples of what has ended, not %zu",
              rig->seed, s - rig->model.series, s->shard, count, seen);
    return count;
}

/* -- rows */

bool archive_rig_window(const struct archive_rig *rig, const struct model_series *s,
                        const int64_t range_ms[2], int64_t floor_ms, struct samples *out) {
    static struct histogram *const some = (struct histogram *)1;
    samples_clear(out);
    RIG_CHECK(samples_reserve(out, s->count + 1) == OK && samples_want_histograms(out) == OK, "!");
    for (size_t i = 0; i < s->count; i++) {
        const struct model_sample *m = &s->samples[i];
        if (m->time_ms <= range_ms[0] || m->time_ms > range_ms[1]) continue;
        bool lost = rig->harmed != NULL && m->file >= rig->harmed->lost_from;
        if (m->state == MODEL_NONE && !lost) continue;
        if (!is_sure(rig, m, floor_ms)) return false;
        out->times_ms[out->count] = m->time_ms;
        out->histograms[out->count] = m->now.is_histogram ? some : NULL;
        out->values[out->count++] = m->now.value;
    }
    return true;
}
