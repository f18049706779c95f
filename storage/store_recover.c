/* SPDX-License-Identifier: Apache-2.0 */
/* The state of a shard as a function of its log: one entry after the other, none skipped, none
 * twice. */
#include <assert.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "node/base/arena.h"
#include "storage/store_internal.h"

static enum status shard_damage(struct store_shard *st, const struct err *why) {
    st->damaged = true;
    st->damage = strdup(why->msg);
    return OK;
}

static enum status place_conflict(const struct store_shard *st, const struct entry *e,
                                  struct err *err) {
    return err_set(err, ERR_CORRUPT, 0,
                   "store: shard %u: epoch %u seq %" PRIu64 " (incarnation %u) does not follow "
                   "epoch %u seq %" PRIu64 " (incarnation %u)",
                   e->shard, e->epoch, e->seq, e->incarnation, st->epoch, st->seq, st->incarnation);
}

/* Sets *out_old for an entry that was applied before. ERR_CORRUPT: it does not follow. */
static enum status place_check(const struct store_shard *st, const struct entry *e, bool *out_old,
                               struct err *err) {
    *out_old = false;
    if (e->type == ENTRY_EPOCH) {
        uint32_t previous_epoch;
        uint64_t last_seq;
        TRY(entry_epoch_get(e->body, &previous_epoch, &last_seq, err));
        *out_old = st->has_log && e->epoch <= st->epoch;
        if (*out_old) return OK;
        bool follows =
            st->has_log ? previous_epoch == st->epoch && last_seq == st->seq : last_seq == 0;
        if (follows && e->incarnation >= st->incarnation) return OK;
        return err_set(err, ERR_CORRUPT, 0,
                       "store: shard %u: epoch %u opens after epoch %u seq %" PRIu64
                       ", and the log here ends at epoch %u seq %" PRIu64,
                       e->shard, e->epoch, previous_epoch, last_seq, st->epoch, st->seq);
    }
    if (!st->has_log) return e->seq == 1 ? OK : place_conflict(st, e, err);
    *out_old = e->epoch < st->epoch || (e->epoch == st->epoch && e->seq <= st->seq);
    if (*out_old) return OK;
    if (e->epoch == st->epoch && e->seq == st->seq + 1 && e->incarnation >= st->incarnation)
        return OK;
    return place_conflict(st, e, err);
}

static enum status apply_series(struct store *store, struct store_shard *st, uint32_t shard,
                                struct sv canonical, struct err *err) {
    const struct head_options *o = &store->options.head;
    series_id id = series_id_of(o->secret, o->tenant, canonical);
    if (store_shard_of(store, id) != shard) {
        return err_set(err, ERR_CORRUPT, 0, "store: shard %u: series of another shard", shard);
    }
    if (store_number_reserve(st) != OK) return err_set(err, ERR_NOMEM, 0, "not enough memory");
    uint32_t ref = head_find(store->head, id);
    if (ref == HEAD_NONE) TRY(head_series_new(store->head, id, shard, canonical, &ref, err));
    store_number_next(store, st, ref);
    return OK;
}

static enum status apply_write(struct store *store, struct store_shard *st, const struct entry *e,
                               struct err *err) {
    struct entry_write_view v;
    arena_reset(&store->decode);
    TRY(entry_write_decode(e->body, &store->decode, &v, err));
    for (size_t i = 0; i < v.floats_count; i++) {
        if (v.numbers[i] < st->refs_count + v.series_count) continue;
        return err_set(err, ERR_CORRUPT, 0, "store: shard %u: series number %u, and there are %zu",
                       e->shard, v.numbers[i], st->refs_count + v.series_count);
    }
    TRY(recover_items_check(store, st, e->shard, &v, err));
    for (size_t i = 0; i < v.series_count; i++)
        TRY(apply_series(store, st, e->shard, v.series[i], err));
    for (size_t i = 0; i < v.floats_count; i++) {
        if (head_append(store->head, st->refs[v.numbers[i]], v.times_ms[i], v.values[i]) != OK) {
            return err_set(err, ERR_NOMEM, 0, "store: shard %u: not enough memory", e->shard);
        }
        st->newest_ms = MAX(st->newest_ms, v.times_ms[i]);
    }
    if (recover_items(store, st, e->shard, &v) != OK)
        return err_set(err, ERR_NOMEM, 0, "store: shard %u: not enough memory", e->shard);
    return OK;
}

static enum status apply(struct store *store, struct store_shard *st, const struct entry *e,
                         struct err *err) {
    int64_t from_ms, to_ms;
    switch (e->type) {
    case ENTRY_WRITE: TRY(apply_write(store, st, e, err)); break;
    case ENTRY_CUT:
        TRY(entry_cut_get(e->body, &from_ms, &to_ms, err));
        store_numbers_reset(store, st);
        break;
    case ENTRY_EPOCH: store_numbers_reset(store, st); break;
    case ENTRY_DELETE:
    case ENTRY_FLOOR:
        return err_set(err, ERR_UNSUPPORTED, 0,
                       "store: shard %u: an entry of type %u, which this build cannot apply",
                       e->shard, e->type);
    }
    st->has_log = true;
    st->epoch = e->epoch;
    st->seq = e->seq;
    st->incarnation = e->incarnation;
    return OK;
}

enum status store_recover(struct store *store, const struct entry *e, struct err *err) {
    if (e->shard >= store->options.shards_count) {
        return err_set(err, ERR_CONFLICT, 0,
                       "store: the log has shard %u, and the cluster %u shards", e->shard,
                       store->options.shards_count);
    }
    struct store_shard *st = &store->shards[e->shard];
    if (st->damaged) return OK;
    struct err why;
    bool old;
    enum status status = place_check(st, e, &old, &why);
    if (status == OK && old) return OK;
    if (status == OK) status = apply(store, st, e, &why);
#ifdef PLANT_APPLY_FRAME_TWICE
    if (status == OK && e->type == ENTRY_WRITE && e->seq % 4 == 3)
        status = apply(store, st, e, &why);
#endif
    if (status == ERR_CORRUPT) return shard_damage(st, &why);
    if (status != OK && err != NULL) *err = why;
    return status;
}
