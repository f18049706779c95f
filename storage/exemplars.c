/* SPDX-License-Identifier: Apache-2.0 */
#include "storage/exemplars.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "node/base/bytes.h"
#include "node/base/hash.h"

/* An exemplar is in two orders: the ring's, by arrival, and its series' list, by time. */
struct exemplar_slot {
    int64_t time_ms;
    double value;
    char *labels; /* owned; NULL: none */
    uint32_t labels_len;
    uint32_t series;       /* place */
    uint32_t older, newer; /* of the series */
};
struct exemplar_series {
    uint32_t ref; /* EXEMPLARS_NONE: the place is free */
    uint32_t oldest, newest;
    uint32_t next_free;
};

void exemplars_init(struct exemplars *e, uint32_t max, int64_t out_of_order_window_ms) {
    *e = (struct exemplars){
        .max = max, .window_ms = out_of_order_window_ms, .series_free = EXEMPLARS_NONE};
    map_init(&e->by_ref);
}

void exemplars_fini(struct exemplars *e) {
    for (uint32_t i = 0; i < e->slots_count; i++)
        free(e->slots[i].labels);
    free(e->slots);
    free(e->series);
    map_fini(&e->by_ref);
    *e = (struct exemplars){0};
}

static uint64_t ref_hash(uint32_t ref) {
    return hash64(&ref, sizeof ref, 0);
}

static bool series_eq(const void *owner, uint32_t place, const void *key) {
    return ((const struct exemplars *)owner)->series[place].ref == *(const uint32_t *)key;
}

static uint64_t series_hash(const void *owner, uint32_t place) {
    return ref_hash(((const struct exemplars *)owner)->series[place].ref);
}

static struct sv slot_labels(const struct exemplar_slot *s) {
    return sv_make(s->labels, s->labels_len);
}

static bool slot_is(const struct exemplar_slot *s, const struct entry_exemplar *item) {
    return s->time_ms == item->time_ms && f64_bits(s->value) == f64_bits(item->value) &&
           sv_eq(slot_labels(s), item->labels);
}

/* The exemplar behind which the item goes; EXEMPLARS_NONE: in front of all. False: it is there
 * already, or too far back. */
static bool place_find(const struct exemplars *e, const struct exemplar_series *s,
                       const struct entry_exemplar *item, uint32_t *out) {
    uint32_t at = s->newest;
    for (unsigned steps = 0; at != EXEMPLARS_NONE; steps++) {
        const struct exemplar_slot *slot = &e->slots[at];
        if (slot->time_ms < item->time_ms) break;
        if (slot_is(slot, item) || steps == EXEMPLARS_WALK_MAX) return false;
        at = slot->older;
    }
    /* equal times stay in the order they came in */
    uint32_t newer = at == EXEMPLARS_NONE ? s->oldest : e->slots[at].newer;
    for (unsigned steps = 0; newer != EXEMPLARS_NONE && steps <= EXEMPLARS_WALK_MAX &&
                             e->slots[newer].time_ms == item->time_ms;
         steps++) {
        at = newer;
        newer = e->slots[at].newer;
    }
    *out = at;
    return true;
}

enum exemplar_verdict exemplars_judge(const struct exemplars *e, uint32_t ref,
                                      const struct entry_exemplar *item) {
    if (e->max == 0) return EXEMPLAR_DUPLICATE; /* as Prometheus: nobody is told */
    uint32_t place = map_find(&e->by_ref, ref_hash(ref), series_eq, e, &ref), at;
    if (place == MAP_NONE) return EXEMPLAR_ACCEPT;
    const struct exemplar_series *s = &e->series[place];
    const struct exemplar_slot *newest = &e->slots[s->newest];
    if (slot_is(newest, item)) return EXEMPLAR_DUPLICATE;
    if (item->time_ms > newest->time_ms) return EXEMPLAR_ACCEPT;
    if (item->time_ms == newest->time_ms) {
        if (item->value < newest->value) return EXEMPLAR_OUT_OF_ORDER;
        if (f64_bits(item->value) == f64_bits(newest->value) &&
            sv_cmp(item->labels, slot_labels(newest)) < 0)
            return EXEMPLAR_OUT_OF_ORDER;
    } else {
        int64_t floor_ms;
        if (__builtin_sub_overflow(newest->time_ms, e->window_ms, &floor_ms)) floor_ms = INT64_MIN;
        if (item->time_ms <= floor_ms) return EXEMPLAR_OUT_OF_ORDER;
    }
    return place_find(e, s, item, &at) ? EXEMPLAR_ACCEPT : EXEMPLAR_DUPLICATE;
}

/* -- taking one in */

static void series_release(struct exemplars *e, uint32_t place) {
    struct exemplar_series *s = &e->series[place];
    map_remove(&e->by_ref, ref_hash(s->ref), place);
    *s = (struct exemplar_series){.ref = EXEMPLARS_NONE, .next_free = e->series_free};
    e->series_free = place;
}

/* The series at place `kept` stays, also without exemplars: it gets one right after. */
static void slot_unlink(struct exemplars *e, uint32_t at, uint32_t kept) {
    struct exemplar_slot *slot = &e->slots[at];
    struct exemplar_series *s = &e->series[slot->series];
    if (slot->older != EXEMPLARS_NONE)
        e->slots[slot->older].newer = slot->newer;
    else
        s->oldest = slot->newer;
    if (slot->newer != EXEMPLARS_NONE)
        e->slots[slot->newer].older = slot->older;
    else
        s->newest = slot->older;
    if (s->oldest == EXEMPLARS_NONE && slot->series != kept) series_release(e, slot->series);
    e->bytes -= slot->labels_len;
    free(slot->labels);
    *slot = (struct exemplar_slot){0};
}

static void slot_link(struct exemplars *e, uint32_t at, uint32_t behind) {
    struct exemplar_slot *slot = &e->slots[at];
    struct exemplar_series *s = &e->series[slot->series];
    slot->older = behind;
    slot->newer = behind == EXEMPLARS_NONE ? s->oldest : e->slots[behind].newer;
    if (slot->older != EXEMPLARS_NONE)
        e->slots[slot->older].newer = at;
    else
        s->oldest = at;
    if (slot->newer != EXEMPLARS_NONE)
        e->slots[slot->newer].older = at;
    else
        s->newest = at;
}

static void *grow(void *p, uint32_t *cap, uint32_t max, size_t item_bytes) {
    uint32_t more = *cap == 0 ? 64 : *cap > max / 2 ? max : *cap * 2;
    void *q = realloc(p, (size_t)more * item_bytes);
    if (q != NULL) *cap = more;
    return q;
}

/* Room for one more exemplar and one more series. */
static enum status reserve(struct exemplars *e) {
    if (e->slots_count == e->slots_cap && e->slots_cap < e->max) {
        struct exemplar_slot *slots = grow(e->slots, &e->slots_cap, e->max, sizeof *slots);
        if (slots == NULL) return ERR_NOMEM;
        e->slots = slots;
    }
    if (e->series_free == EXEMPLARS_NONE && e->series_count == e->series_cap) {
        struct exemplar_series *series =
            grow(e->series, &e->series_cap, EXEMPLARS_NONE - 1, sizeof *series);
        if (series == NULL) return ERR_NOMEM;
        e->series = series;
    }
    return OK;
}

static enum status series_take(struct exemplars *e, uint32_t ref, uint32_t *out) {
    uint32_t place = e->series_free != EXEMPLARS_NONE ? e->series_free : e->series_count;
    uint32_t next_free = place == e->series_count ? EXEMPLARS_NONE : e->series[place].next_free;
    e->series[place] =
        (struct exemplar_series){.ref = ref, .oldest = EXEMPLARS_NONE, .newest = EXEMPLARS_NONE};
    enum status st = map_insert(&e->by_ref, ref_hash(ref), place, series_hash, e);
    if (st != OK) {
        if (place != e->series_count)
            e->series[place] =
                (struct exemplar_series){.ref = EXEMPLARS_NONE, .next_free = next_free};
        return st;
    }
    if (place == e->series_count)
        e->series_count++;
    else
        e->series_free = next_free;
    *out = place;
    return OK;
}

enum status exemplars_add(struct exemplars *e, uint32_t ref, const struct entry_exemplar *item) {
    if (e->max == 0) return OK;
    uint32_t place = map_find(&e->by_ref, ref_hash(ref), series_eq, e, &ref);
    uint32_t behind = EXEMPLARS_NONE;
    if (place != MAP_NONE && !place_find(e, &e->series[place], item, &behind)) return OK;
    TRY(reserve(e));
    char *labels = NULL;
    if (item->labels.len > 0) {
        labels = malloc(item->labels.len);
        if (labels == NULL) return ERR_NOMEM;
        memcpy(labels, item->labels.ptr, item->labels.len);
    }
    if (place == MAP_NONE && series_take(e, ref, &place) != OK) {
        free(labels);
        return ERR_NOMEM;
    }
    uint32_t at;
    if (e->slots_count < e->max) {
        at = e->slots_count++;
    } else {
        at = e->next;
        e->next = at + 1 == e->max ? 0 : at + 1;
        if (e->slots[at].series == EXEMPLARS_NONE) {
            e->empty_count--;
        } else {
            if (behind == at) behind = e->slots[at].older;
            slot_unlink(e, at, place);
        }
    }
    e->slots[at] = (struct exemplar_slot){.time_ms = item->time_ms,
                                          .value = item->value,
                                          .labels = labels,
                                          .labels_len = (uint32_t)item->labels.len,
                                          .series = place};
    e->bytes += item->labels.len;
    slot_link(e, at, behind);
    return OK;
}

static void series_drop(struct exemplars *e, uint32_t place) {
    for (uint32_t at = e->series[place].oldest, newer; at != EXEMPLARS_NONE; at = newer) {
        newer = e->slots[at].newer;
        e->bytes -= e->slots[at].labels_len;
        free(e->slots[at].labels);
        e->slots[at] = (struct exemplar_slot){.series = EXEMPLARS_NONE};
        e->empty_count++;
    }
    series_release(e, place);
}

void exemplars_drop(struct exemplars *e, bool (*gone)(void *ctx, uint32_t ref), void *ctx) {
    for (uint32_t place = 0; place < e->series_count; place++) {
        const struct exemplar_series *s = &e->series[place];
        if (s->ref != EXEMPLARS_NONE && gone(ctx, s->ref)) series_drop(e, place);
    }
}

void exemplars_forget(struct exemplars *e, uint32_t ref) {
    uint32_t place = map_find(&e->by_ref, ref_hash(ref), series_eq, e, &ref);
    if (place != MAP_NONE) series_drop(e, place);
}

/* -- reading */

uint32_t exemplars_places(const struct exemplars *e) {
    return e->series_count;
}

bool exemplars_series(const struct exemplars *e, uint32_t place, uint32_t *out_ref,
                      int64_t *out_oldest_ms, int64_t *out_newest_ms) {
    assert(place < e->series_count);
    const struct exemplar_series *s = &e->series[place];
    if (s->ref == EXEMPLARS_NONE) return false;
    *out_ref = s->ref;
    *out_oldest_ms = e->slots[s->oldest].time_ms;
    *out_newest_ms = e->slots[s->newest].time_ms;
    return true;
}

uint32_t exemplars_read(const struct exemplars *e, uint32_t place, int64_t from_ms, int64_t to_ms,
                        struct entry_write *out) {
    uint32_t count = 0;
    for (uint32_t at = e->series[place].oldest; at != EXEMPLARS_NONE; at = e->slots[at].newer) {
        const struct exemplar_slot *slot = &e->slots[at];
        if (slot->time_ms > to_ms) break;
        if (slot->time_ms <= from_ms) continue;
        struct entry_exemplar item = {
            .time_ms = slot->time_ms, .value = slot->value, .labels = slot_labels(slot)};
        entry_write_exemplar(out, &item);
        count++;
    }
    return count;
}

void exemplars_each(const struct exemplars *e,
                    void (*fn)(void *ctx, uint32_t ref, const struct entry_exemplar *item),
                    void *ctx) {
    for (uint32_t i = 0; i < e->slots_count; i++) {
        uint32_t at = e->next + i < e->slots_count ? e->next + i : e->next + i - e->slots_count;
        const struct exemplar_slot *slot = &e->slots[at];
        if (slot->series == EXEMPLARS_NONE) continue;
        struct entry_exemplar item = {
            .time_ms = slot->time_ms, .value = slot->value, .labels = slot_labels(slot)};
        fn(ctx, e->series[slot->series].ref, &item);
    }
}
