/* SPDX-License-Identifier: Apache-2.0 */
/* storage/exemplars.h: the newest exemplars of a core's series, in one ring over all of them: a new
 * one takes the place of the one that came first. After Prometheus' CircularExemplarStorage
 * (tsdb/exemplar.go).
 *
 * What is taken, against the newest exemplar of the same series: the same again is a duplicate; one
 * at a later time is kept; at the same time, one that is greater by (value, labels); an older one
 * within the out-of-order window, at its place in time, unless it is there already or its place is
 * more than EXEMPLARS_WALK_MAX steps back. Judging is for the shard's primary; what it took is in
 * the log, and applying the log in order gives the same ring.
 * Memory: about 64 bytes and its labels an exemplar. Thread: the owning core. */
#pragma once

#include <stdint.h>

#include "node/base/map.h"
#include "storage/entry.h"

enum { EXEMPLARS_WALK_MAX = 128 };
#define EXEMPLARS_NONE UINT32_MAX

enum exemplar_verdict { EXEMPLAR_ACCEPT, EXEMPLAR_DUPLICATE, EXEMPLAR_OUT_OF_ORDER };

struct exemplars {
    /* private */
    uint32_t max; /* 0: none are kept */
    int64_t window_ms;
    struct exemplar_slot *slots; /* grows up to max */
    uint32_t slots_count, slots_cap, next;
    uint32_t empty_count; /* slots of series that went */
    struct exemplar_series *series;
    uint32_t series_count, series_cap, series_free;
    struct map by_ref;
    uint64_t bytes; /* of labels */
};
void exemplars_init(struct exemplars *e, uint32_t max, int64_t out_of_order_window_ms);
void exemplars_fini(struct exemplars *e);
/* ref: of the series in the head; item.number is not looked at. */
enum exemplar_verdict exemplars_judge(const struct exemplars *e, uint32_t ref,
                                      const struct entry_exemplar *item);
/* Of what was judged, here or on the primary: without asking for the window. One that is there
 * already is left alone. ERR_NOMEM. */
enum status exemplars_add(struct exemplars *e, uint32_t ref,
                          const struct entry_exemplar *item) MUST_USE;
static inline uint32_t exemplars_count(const struct exemplars *e) {
    return e->slots_count - e->empty_count;
}
/* Forgets those of the series for which gone says so. */
void exemplars_drop(struct exemplars *e, bool (*gone)(void *ctx, uint32_t ref), void *ctx);
/* Those of one series, which is told of before its reference may be another's (head_watch_gone). */
void exemplars_forget(struct exemplars *e, uint32_t ref);

/* All, as they came. */
void exemplars_each(const struct exemplars *e,
                    void (*fn)(void *ctx, uint32_t ref, const struct entry_exemplar *item),
                    void *ctx);

/* Reading, in parts: places from 0 to exemplars_places. A place keeps its series while that has
 * exemplars; false: the place is empty. Times are those of the oldest and newest. */
uint32_t exemplars_places(const struct exemplars *e);
bool exemplars_series(const struct exemplars *e, uint32_t place, uint32_t *out_ref,
                      int64_t *out_oldest_ms, int64_t *out_newest_ms);
/* Those with from < time <= to, by time, as the items of an entry, numbered 0. Returns how many. */
uint32_t exemplars_read(const struct exemplars *e, uint32_t place, int64_t from_ms, int64_t to_ms,
                        struct entry_write *out);
