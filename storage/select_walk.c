/* SPDX-License-Identifier: Apache-2.0 */
/* Candidates of a selection, in batches. Between batches only a position is kept. */
#include <string.h>

#include "storage/select.h"

enum {
    SLICE_LISTS = 64,
    SLICE_TRIES = 256,
    SHARDS_COST = 4, /* a series of a shard is a line that no cache has; one of a list is not */
};

static const uint32_t *driver_pairs(const struct select_set *driver, uint32_t *out_count) {
    *out_count = driver->kind == SET_ONE ? 1 : driver->pairs.count;
    return driver->kind == SET_ONE ? &driver->pair : driver->pairs.at;
}

/* Whether the other single pairs have the series; when one has not, *next is the first order it
 * could be again. A series has few pairs, so one of many sets soon fails. */
static bool candidate_passes(struct selection *sel, uint32_t order, uint32_t *next) {
    for (uint32_t i = 0; i < sel->ones_count; i++) {
        const struct select_set *set = sel->checks[i];
        if (set == sel->driver) continue;
        struct posting_view p = index_get(&sel->head->index, set->pair);
        uint32_t found = posting_seek(p, &sel->cursors[i], order);
        if (found == order) continue;
        *next = found;
        return false;
    }
    return true;
}

/* The next list of the driver; false when there is none. */
static bool driver_next_list(struct selection *sel) {
    memset(sel->cursors, 0, sel->ones_count * sizeof *sel->cursors);
    sel->driver_position = sel->driver_hint = 0;
    sel->driver_list++;
    uint32_t lists;
    (void)driver_pairs(sel->driver, &lists);
    return sel->driver_list < lists;
}

void selections_forget_hints(struct head *head) {
    for (struct selection *sel = head->newest; sel != NULL; sel = sel->older) {
        if (sel->state != SELECT_MATCH) continue;
        sel->driver_hint = 0;
        memset(sel->cursors, 0, sel->ones_count * sizeof *sel->cursors);
    }
}

bool select_shards_are_fewer(const struct head *head, const struct shard_set *shards,
                             uint64_t candidates) {
    if (shards == NULL) return false;
    uint64_t cost = 0;
    uint32_t end = MIN(shards->shards_count, head->shards_count);
    for (uint32_t i = 0; i < end && cost < candidates; i++)
        if (shard_set_has(shards, i)) cost += head->shards[i].series_count * (uint64_t)SHARDS_COST;
    return cost < candidates;
}

/* A series that died in between still has its link: it is given only when the selection is
 * released. */
static uint32_t batch_of_shards(struct selection *sel, uint32_t *batch, bool *out_more) {
    const struct head *head = sel->head;
    uint32_t count = 0;
    while (count < SELECT_BATCH && *out_more) {
        if (sel->driver_position != HEAD_NONE) {
            batch[count++] = sel->driver_position;
            sel->driver_position = head_cold(head, sel->driver_position)->next_in_shard;
        } else if (sel->driver_list < MIN(sel->query.shards->shards_count, head->shards_count)) {
            uint32_t shard = sel->driver_list++;
            if (shard_set_has(sel->query.shards, shard))
                sel->driver_position = head->shards[shard].first;
        } else {
            *out_more = false;
        }
    }
    return count;
}

static uint32_t batch_of_all(struct selection *sel, uint32_t *batch, bool *out_more) {
    uint32_t count = 0, end = sel->head->series.count;
    while (count < SELECT_BATCH && sel->driver_position < end)
        batch[count++] = sel->driver_position++;
    *out_more = sel->driver_position < end;
    return count;
}

/* Whether the lists of the driver alone say who is a candidate. */
static bool driver_is_alone(const struct selection *sel) {
    for (uint32_t i = 0; i < sel->ones_count; i++)
        if (sel->checks[i] != sel->driver) return false;
    return true;
}

/* The next orders of the driver's lists, some at once where nothing else lets go of those between;
 * 0: that list has no more. */
static uint32_t driver_take(struct selection *sel, uint32_t pair, uint32_t *orders, uint32_t max) {
    struct posting_view p = index_get(&sel->head->index, pair);
    uint32_t count = posting_take(p, &sel->driver_hint, sel->driver_position, orders, max);
    while (count > 0 && orders[count - 1] >= sel->orders_end)
        count--;
    if (count > 0) sel->driver_position = orders[count - 1] + 1;
    return count;
}

/* Their shards and references lie some lines apart, which no cache may have: asked for together. */
static void orders_fetch(const struct orders *all, const uint32_t *orders, uint32_t count) {
    for (uint32_t i = 0; i < count; i++) {
        const struct order_segment *s = all->dir[orders[i] / ORDERS_SEGMENT];
        if (s == NULL) continue;
        __builtin_prefetch(&s->shards[orders[i] % ORDERS_SEGMENT]);
        __builtin_prefetch(&s->refs[orders[i] % ORDERS_SEGMENT]);
    }
}

/* Shards are asked first: where others have the other half, it is what most fail by. */
static uint32_t batch_of_pairs(struct selection *sel, uint32_t *batch, bool *out_more) {
    const struct orders *all = &sel->head->orders;
    uint32_t orders[SELECT_BATCH], count = 0, lists, lists_seen = 0, tried = 0;
    const uint32_t *pairs = driver_pairs(sel->driver, &lists);
    bool alone = driver_is_alone(sel);
    while (count < SELECT_BATCH && lists_seen < SLICE_LISTS && tried < SLICE_TRIES) {
        uint32_t got =
            driver_take(sel, pairs[sel->driver_list], orders, alone ? SELECT_BATCH - count : 1);
        if (got == 0) {
            lists_seen++;
            if (driver_next_list(sel)) continue;
            sel->driver_list--;
            sel->driver_position = ORDERS_NONE;
            *out_more = false;
            return count;
        }
        tried += got;
        if (alone) orders_fetch(all, orders, got);
        for (uint32_t i = 0; i < got; i++) {
            if (!shard_is_asked(sel->query.shards, orders_shard(all, orders[i]))) continue;
            if (!alone && !candidate_passes(sel, orders[i], &sel->driver_position)) continue;
            uint32_t ref = orders_ref(all, orders[i]);
            if (ref != ORDERS_NONE) batch[count++] = ref;
        }
    }
    return count;
}

uint32_t select_batch(struct selection *sel, uint32_t *batch, bool *out_more) {
    *out_more = true;
    switch (sel->walk) {
    case WALK_PAIRS: return batch_of_pairs(sel, batch, out_more);
    case WALK_SHARDS: return batch_of_shards(sel, batch, out_more);
    case WALK_ALL: break;
    }
    return batch_of_all(sel, batch, out_more);
}
