/* SPDX-License-Identifier: Apache-2.0 */
/* The state of a shard as a function of its log: one entry after the other, none skipped, none
 * twice. */
#include <assert.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "node/base/arena.h"
#include "storage/store_internal.h"

static enum status apply_nomem(uint32_t shard, struct err *err) {
    return err_set(err, ERR_NOMEM, 0, "store: shard %" PRIu32 ": not enough memory", shard);
}

/* -- series */

static enum status apply_series(struct store *store, struct store_shard *st, uint32_t shard,
                                struct sv canonical, struct err *err) {
    const struct head_options *o = &store->options.head;
    series_id id = series_id_of(o->secret, o->tenant, canonical);
    if (store_shard_of(store, id) != shard) {
        return err_set(err, ERR_CORRUPT, 0, "store: shard %" PRIu32 ": series of another shard",
                       shard);
    }
    if (store_number_reserve(st) != OK) return apply_nomem(shard, err);
    uint32_t ref = head_find(store->head, id);
    if (ref == HEAD_NONE) TRY(head_series_new(store->head, id, shard, canonical, &ref, err));
    store_number_next(store, st, ref);
    return OK;
}

/* Takes back the numbers from `count` on, so that the entry can be applied again. */
static void numbers_take_back(struct store *store, struct store_shard *st, uint32_t count) {
    while (st->refs_count > count)
        head_series_set_number(store->head, st->refs[--st->refs_count], HEAD_NONE);
}

/* -- WRITE and OFFER */

static enum status apply_check(struct store *store, const struct store_shard *st,
                               const struct entry *e, const struct entry_write_view *v,
                               struct err *err) {
    if (v->series_count > UINT32_MAX - st->refs_count)
        return err_set(err, ERR_CORRUPT, 0, "store: shard %" PRIu32 ": too many series", e->shard);
    for (size_t i = 0; i < v->floats_count; i++) {
        if (v->numbers[i] < st->refs_count + v->series_count) continue;
        return err_set(err, ERR_CORRUPT, 0,
                       "store: shard %" PRIu32 ": series number %" PRIu32 ", and there are %zu",
                       e->shard, v->numbers[i], st->refs_count + v->series_count);
    }
    return recover_items_check(store, st, e->shard, v, err);
}

/* An offer was not judged by who wrote it, so everyone does, from the same state: that before the
 * entry. */
static enum status apply_floats(struct store *store, struct store_shard *st, const struct entry *e,
                                const struct entry_write_view *v, int64_t *newest_ms) {
    for (size_t i = 0; i < v->floats_count; i++) {
        uint32_t ref = st->refs[v->numbers[i]];
        if (v->times_ms[i] < st->cut_ms) continue;
        if (e->type == ENTRY_OFFER && head_judge(store->head, ref, v->times_ms[i], v->values[i],
                                                 st->newest_ms) != VERDICT_ACCEPT)
            continue;
        int64_t start_ms = v->starts_ms == NULL ? 0 : v->starts_ms[i];
        TRY(start_ms == 0
                ? head_append(store->head, ref, v->times_ms[i], v->values[i])
                : head_append_start(store->head, ref, v->times_ms[i], v->values[i], start_ms));
        *newest_ms = MAX(*newest_ms, v->times_ms[i]);
    }
    return OK;
}

static enum status apply_write(struct store *store, struct store_shard *st, const struct entry *e,
                               struct err *err) {
    struct entry_write_view v;
    arena_reset(&store->decode);
    TRY(entry_write_decode(e->body, &store->decode, &v, err));
    TRY(apply_check(store, st, e, &v, err));
    uint32_t numbers = st->refs_count;
    int64_t newest_ms = st->newest_ms;
    enum status status = OK;
    for (size_t i = 0; i < v.series_count && status == OK; i++)
        status = apply_series(store, st, e->shard, v.series[i], err);
    if (status == OK) {
        status = apply_floats(store, st, e, &v, &newest_ms);
        if (status == OK) status = recover_histograms(store, st, e, &v, &newest_ms);
        if (status == OK) status = recover_items(store, st, e->shard, &v);
        if (status != OK) status = apply_nomem(e->shard, err);
    }
    if (status == OK)
        st->newest_ms = newest_ms;
    else
        numbers_take_back(store, st, numbers);
    return status;
}

/* -- entries */

enum status store_apply(struct store *store, struct store_shard *st, const struct entry *e,
                        struct err *err) {
    int64_t from_ms, to_ms;
    bool new_epoch = st->log.has_log && e->epoch != st->log.end.epoch;
    if (new_epoch && epochs_reserve(st) != OK) return apply_nomem(e->shard, err);
    if (new_epoch) store_numbers_reset(store, st);
    switch (e->type) {
    case ENTRY_WRITE:
    case ENTRY_OFFER: TRY(apply_write(store, st, e, err)); break;
    case ENTRY_CUT:
        TRY(entry_cut_get(e->body, &from_ms, &to_ms, err));
        if (cuts_reserve(st) != OK) return apply_nomem(e->shard, err);
        cut_apply(store, st, (struct place){e->epoch, e->seq}, to_ms);
        break;
    case ENTRY_EPOCH: break;
    case ENTRY_DELETE:
        arena_reset(&store->decode);
        TRY(delete_apply(store, st, e, err));
        break;
    case ENTRY_FLOOR: TRY(floor_apply(store, st, e->shard, e, err)); break;
    }
    if (new_epoch) epochs_close(st);
    held_step(&st->log, store->file, (struct place){e->epoch, e->seq});
    return OK;
}

static enum status recover_whole(struct store *store, struct store_shard *st, const struct entry *e,
                                 struct err *err) {
    if (st->log.damaged) return OK;
    bool old;
    TRY(held_check(&st->log, false, e, &old, err));
    st->log.suspect = false; /* were entries lost ahead of it, it would not follow */
    if (old) return OK;
    TRY(store_apply(store, st, e, err));
#ifdef PLANT_APPLY_FRAME_TWICE
    if (e->type == ENTRY_WRITE && e->seq % 4 == 3) TRY(store_apply(store, st, e, err));
#endif
    return OK;
}

static enum status recover_tail(struct store *store, struct store_shard *st, const struct entry *e,
                                struct err *err) {
    if (tail_make(store, st) == NULL) return apply_nomem(e->shard, err);
    struct store_tail *tail = st->tail;
    bool old;
    if (tail->log.damaged) return OK;
    TRY(held_check(&tail->log, true, e, &old, err));
    tail->log.suspect = false;
    return old ? OK : tail_step(store, tail, e, err);
}

enum status store_recover(struct store *store, const struct entry *e, struct err *err) {
    if (e->shard >= store->options.shards_count) {
        return err_set(err, ERR_CONFLICT, 0,
                       "store: the log has shard %" PRIu32 ", and the cluster %" PRIu32 " shards",
                       e->shard, store->options.shards_count);
    }
    struct store_shard *st = &store->shards[e->shard];
    if (!st->open) return OK;
    bool has_head = st->role != STORE_LOG;
    bool is_tail = st->tail_copy != 0 && (!has_head || e->incarnation <= st->tail_copy);
    uint32_t copy = is_tail ? st->tail_copy : st->log.copy;
    if (e->incarnation < copy) return OK;
    if (e->incarnation > copy && is_tail) { /* begun anew after the map that is at hand */
        tail_free(st);
        st->tail_copy = e->incarnation;
    } else if (e->incarnation > copy) {
        store_whole_drop(store, e->shard);
        st->log.copy = e->incarnation;
    }
    struct err why;
    enum status status =
        is_tail ? recover_tail(store, st, e, &why) : recover_whole(store, st, e, &why);
    if (status == ERR_CORRUPT) {
        held_damage(is_tail ? &st->tail->log : &st->log, &why);
        return OK;
    }
    if (status != OK && err != NULL) *err = why;
    return status;
}

/* -- what the log has lost */

void store_recover_lost(struct store *store, const struct err *why) {
    store->lost = *why;
    for (uint32_t i = 0; i < store->options.shards_count; i++) {
        struct store_shard *st = &store->shards[i];
        if (!st->open) continue;
        st->log.suspect = st->role != STORE_LOG;
        if (st->tail != NULL) st->tail->log.suspect = true;
    }
}

static void suspect_settle(const struct store *store, uint32_t shard, struct held_log *held) {
    struct err why;
    if (!held->suspect || held->damaged) return;
    err_set(&why, ERR_CORRUPT, 0,
            "store: shard %" PRIu32 ": nothing of it follows epoch %" PRIu32 " seq %" PRIu64
            ", and it may have been in what is lost: %s",
            shard, held->end.epoch, held->end.seq, store->lost.msg);
    held_damage(held, &why);
}

void store_suspects_settle(struct store *store) {
    for (uint32_t i = 0; i < store->options.shards_count && store->lost.code != OK; i++) {
        struct store_shard *st = &store->shards[i];
        suspect_settle(store, i, &st->log);
        if (st->tail != NULL) suspect_settle(store, i, &st->tail->log);
    }
    store->lost = (struct err){0};
}
