/* SPDX-License-Identifier: Apache-2.0 */
/* What is older than a CUT does not change any more, and goes from the head into blocks
 * (storage/archive). From when on a shard's log is needed then: `base`, the newest CUT such that
 * all that was written before it is in blocks. */
#include <assert.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "storage/archive/cover.h"
#include "storage/archive/plan.h"
#include "storage/store_internal.h"

/* A sender that comes back after an hour still finds its window open; one that has been away for
 * longer sends what is newer than anything the shard has. */
#define IDLE_NS ((uint64_t)3 * 3600 * 1000000000)
#define EMPTY_NS ((uint64_t)60 * 1000000000) /* without a sample there is no window */

/* -- applying */

enum status cuts_reserve(struct store_shard *st) {
    if (st->cuts_count < st->cuts_cap) return OK;
    uint32_t cap = st->cuts_cap == 0 ? 2 : st->cuts_cap * 2;
    struct shard_cut *cuts = realloc(st->cuts, cap * sizeof *cuts);
    if (cuts == NULL) return ERR_NOMEM;
    st->cuts = cuts;
    st->cuts_cap = cap;
    return OK;
}

void cut_apply(struct store *store, struct store_shard *st, struct place at, int64_t to_ms) {
    assert(st->cuts_count < st->cuts_cap);
    store_numbers_reset(store, st);
    st->cut_ms = MAX(st->cut_ms, to_ms);
    st->cuts[st->cuts_count++] =
        (struct shard_cut){.place = at,
                           .to_ms = st->cut_ms,
                           .newest_ms = st->newest_ms,
                           .position = store->log == NULL ? 0 : store->position + 1};
}

enum status floor_apply(struct store *store, struct store_shard *st, uint32_t shard,
                        const struct entry *e, struct err *err) {
    int64_t floor_ms;
    struct ended ended;
    TRY(entry_floor_get(e->body, &floor_ms, &ended, err));
    if (ended.raw_ms > st->ended.raw_ms || ended.fine_ms > st->ended.fine_ms) {
        st->ended_place = (struct place){e->epoch, e->seq};
        st->ended_position = store->log == NULL ? 0 : store->position + 1;
    }
    ended_raise(&st->ended, &ended);
    store->ended_max_ms = MAX(store->ended_max_ms, ended.raw_ms);
    st->floor_ms = ended_floor(&st->ended, MAX(st->floor_ms, floor_ms));
    tombstones_trim(st);
    head_shard_set_from(store->head, shard, MAX(st->from_ms, st->floor_ms));
    return OK;
}

void store_archived_fini(struct store_shard *st) {
    tombstones_fini(st);
    free(st->cuts);
    st->cuts = NULL;
    st->cuts_count = st->cuts_cap = 0;
    st->cut_ms = st->from_ms = st->floor_ms = INT64_MIN;
    st->ended = st->ended_told = (struct ended){0};
    st->ended_place = (struct place){0};
    st->ended_position = 0;
    st->base = (struct place){0};
    st->base_cut_ms = st->base_newest_ms = INT64_MIN;
}

/* -- writing */

enum status store_own_put(struct store *store, uint32_t shard, enum entry_type type, struct sv body,
                          struct store_append *append, struct err *err) {
    struct store_shard *st = &store->shards[shard];
    struct entry e = {type, shard, st->log.copy, st->log.end.epoch, st->log.end.seq + 1, body};
    if (!store_append_reserve(append, 1, body.len))
        return err_set(err, ERR_NOMEM, 0, "store: not enough memory for an entry");
    TRY(store_apply(store, st, &e, err));
    store_append_put(append, &e, false);
    return OK;
}

bool store_takes_own(const struct store *store, uint32_t shard) {
    const struct store_shard *st = &store->shards[shard];
    return st->open && st->writing && st->role == STORE_FULL && !st->log.damaged && st->log.has_log;
}

/* Where the shard should be cut now; false: not now. */
static bool cut_wanted(const struct store *store, struct store_shard *st, uint64_t now_ns,
                       int64_t *out_to_ms) {
    int64_t at = head_in_order_ms(store->head, st->newest_ms);
    if (place_cmp(st->seen_end, st->log.end) != 0) {
        st->seen_end = st->log.end;
        st->idle_since_ns = now_ns;
    }
    if (at != INT64_MIN) {
        *out_to_ms = range_floor(at, store->options.block_range_ms);
        if (*out_to_ms > st->cut_ms) return true;
    }
    struct place last = st->cuts_count > 0 ? st->cuts[st->cuts_count - 1].place : st->base;
    uint64_t idle_ns = st->newest_ms == INT64_MIN ? EMPTY_NS : IDLE_NS;
    if (now_ns - st->idle_since_ns < idle_ns || place_cmp(last, st->log.end) >= 0) return false;
    *out_to_ms =
        st->newest_ms == INT64_MIN || st->newest_ms < st->cut_ms ? st->cut_ms : st->newest_ms + 1;
    return true;
}

enum status store_cut_due(struct store *store, uint64_t now_ns, const struct store_may *may,
                          struct err *err) {
    assert(core_is_current(store->core) && store->log != NULL && store->options.block_range_ms > 0);
    struct store_append *append = NULL;
    enum status status = log_refusal(store->log, err);
    for (uint32_t i = 0; i < store->options.shards_count && status == OK; i++) {
        int64_t to_ms;
        if (!store_takes_own(store, i) || !cut_wanted(store, &store->shards[i], now_ns, &to_ms) ||
            !may->write(may->ctx, i))
            continue;
        if (append == NULL) append = store_append_take(store);
        if (append == NULL) return err_set(err, ERR_NOMEM, 0, "store: not enough memory to cut");
        buf_clear(&store->body);
        entry_cut_put(store->shards[i].cut_ms, to_ms, &store->body);
        status = store->body.failed
                     ? ERR_NOMEM
                     : store_own_put(store, i, ENTRY_CUT, buf_sv(&store->body), append, err);
        store->shards[i].seen_end = store->shards[i].log.end;
    }
    if (append != NULL) store_append_hand(store, append, APPEND_OWN);
    return status;
}

/* By age, and only what is closed: later samples of open ranges are of now. */
static int64_t aged(const struct store *store, const struct store_shard *st, int64_t age_ms) {
    int64_t to_ms;
    if (age_ms == 0 || st->newest_ms == INT64_MIN || st->from_ms == INT64_MIN ||
        __builtin_sub_overflow(st->newest_ms, age_ms, &to_ms))
        return INT64_MIN;
    return MIN(range_floor(to_ms, store->options.block_range_ms), st->from_ms);
}

/* The same in whole hours that are closed, up to where a range ends. */
static int64_t hours_aged(const struct store *store, const struct store_shard *st, int64_t age_ms) {
    int64_t to_ms = MIN(aged(store, st, age_ms), st->from_ms - 1);
    return ended_hour_before(range_floor(to_ms, store->options.block_range_ms));
}

/* What is to end by resolution now, as far as rows of it are here, durably. */
static struct ended ended_due(const struct store *store, uint32_t shard,
                              const struct store_floors *floors) {
    const struct store_shard *st = &store->shards[shard];
    struct ended to = st->ended;
    if (floors->raw_ms == 0 || store->blocks == NULL || st->from_ms == INT64_MIN) return to;
    int64_t raw_ms = hours_aged(store, st, floors->raw_ms);
    int64_t fine_ms = hours_aged(store, st, floors->fine_ms);
    if (!floors->has_fine) fine_ms = raw_ms;
    struct ended due = {MAX(raw_ms, 0), MAX(MIN(fine_ms, raw_ms), 0)};
    ended_raise(&to, &due);
    if (to.raw_ms == st->ended.raw_ms && to.fine_ms == st->ended.fine_ms) return to;
    struct cover_wanted wanted = {.shard = shard,
                                  .copy = st->log.copy,
                                  .before = st->ended,
                                  .floor_ms = st->floor_ms,
                                  .range_ms = store->options.block_range_ms,
                                  .has_fine = floors->has_fine,
                                  .has_coarse = floors->has_coarse};
    return cover_limit(store->blocks, &wanted, &to);
}

static bool floor_rises(const struct store_shard *st, int64_t floor_ms, const struct ended *ended) {
    return floor_ms > st->floor_ms || ended->raw_ms > st->ended.raw_ms ||
           ended->fine_ms > st->ended.fine_ms;
}

enum status store_floor_due(struct store *store, const struct store_floors *floors,
                            struct err *err) {
    assert(core_is_current(store->core) && store->log != NULL && store->options.block_range_ms > 0);
    struct store_append *append = NULL;
    enum status status = log_refusal(store->log, err);
    for (uint32_t i = 0; i < store->options.shards_count && status == OK; i++) {
        struct store_shard *st = &store->shards[i];
        if (!store_takes_own(store, i)) continue;
        int64_t floor_ms =
            MAX(MIN(floors->at_least_ms, st->from_ms), aged(store, st, floors->retention_ms));
        struct ended ended = ended_due(store, i, floors);
        floor_ms = ended_floor(&ended, floor_ms);
        if (!floor_rises(st, floor_ms, &ended) || !floors->may.write(floors->may.ctx, i)) continue;
        if (append == NULL) append = store_append_take(store);
        if (append == NULL) return err_set(err, ERR_NOMEM, 0, "store: not enough memory");
        buf_clear(&store->body);
        entry_floor_put(MAX(floor_ms, st->floor_ms), &ended, &store->body);
        status = store->body.failed
                     ? ERR_NOMEM
                     : store_own_put(store, i, ENTRY_FLOOR, buf_sv(&store->body), append, err);
    }
    if (append != NULL) store_append_hand(store, append, APPEND_OWN);
    return status;
}
