/* SPDX-License-Identifier: Apache-2.0 */
/* storage/ended.h: up to where samples of a shard, and its rows of 5 m, have ended their retention
 * while coarser rows (storage/downsample) go on. A part of the shard's state, as its floor is: the
 * primary says it in a FLOOR.
 *
 *   floor <= t <= fine_ms   rows of 1 h         fine_ms < t <= raw_ms   rows of 5 m
 *   raw_ms < t              samples
 *
 * That is what is visible, on every replica, whatever it still has on its disk: what has no rows
 * yet makes them of its samples, to the same bits. Both are multiples of an hour, so that no window
 * of rows lies on both sides; 0: nothing has ended (nor does it before 1970). Native histograms are
 * in no row: they stay as they are until the floor.
 *
 * A deletion takes whole hours of what has ended: a bucket that it covers in part stays as it is.
 * The floor, too, takes whole hours there. Thread: values. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "node/base/attr.h"

enum { ENDED_HOUR_MS = 3600 * 1000, ENDED_FINE_MS = 300 * 1000 };

struct ended {
    int64_t raw_ms, fine_ms; /* fine_ms <= raw_ms */
};
static inline bool ended_any(const struct ended *e) {
    return e->raw_ms > 0;
}
static inline bool ended_is_valid(const struct ended *e) {
    return e->fine_ms >= 0 && e->fine_ms <= e->raw_ms && e->raw_ms % ENDED_HOUR_MS == 0 &&
           e->fine_ms % ENDED_HOUR_MS == 0;
}
/* Both, in both. */
static inline void ended_raise(struct ended *e, const struct ended *to) {
    e->raw_ms = MAX(e->raw_ms, to->raw_ms);
    e->fine_ms = MAX(e->fine_ms, to->fine_ms);
}
/* The multiples of an hour around a time; what does not fit stays at the end of all time. */
static inline int64_t ended_hour_before(int64_t t) {
    int64_t rest = t % ENDED_HOUR_MS, to;
    if (rest < 0) rest += ENDED_HOUR_MS;
    return __builtin_sub_overflow(t, rest, &to) ? INT64_MIN : to;
}
static inline int64_t ended_hour_after(int64_t t) {
    int64_t before = ended_hour_before(t), to;
    if (before == t) return t;
    return __builtin_add_overflow(before, ENDED_HOUR_MS, &to) ? INT64_MAX : to;
}
/* The resolution of what is visible right after a time, and up to where it is so; 0: samples. */
static inline uint32_t ended_resolution(const struct ended *e, int64_t after_ms,
                                        int64_t *out_to_ms) {
    if (ended_any(e) && after_ms < e->fine_ms) {
        *out_to_ms = e->fine_ms;
        return ENDED_HOUR_MS;
    }
    *out_to_ms = ended_any(e) && after_ms < e->raw_ms ? e->raw_ms : INT64_MAX;
    return *out_to_ms == INT64_MAX ? 0 : ENDED_FINE_MS;
}
/* A floor (what is older is gone) as it is in what has ended: the first ms behind whole hours. */
static inline int64_t ended_floor(const struct ended *e, int64_t floor_ms) {
    if (floor_ms == INT64_MIN || !ended_any(e) || floor_ms - 1 > e->raw_ms) return floor_ms;
    return ended_hour_after(floor_ms - 1) + 1;
}
/* A deletion's ends, both inclusive; false: nothing is left of it. */
static inline bool ended_delete(const struct ended *e, int64_t *min_ms, int64_t *max_ms) {
    if (!ended_any(e)) return *min_ms <= *max_ms;
    if (*min_ms != INT64_MIN && *min_ms <= e->raw_ms) *min_ms = ended_hour_after(*min_ms - 1) + 1;
    if (*max_ms <= e->raw_ms) *max_ms = ended_hour_before(*max_ms);
    return *min_ms <= *max_ms;
}
