/* SPDX-License-Identifier: Apache-2.0 */
/* What the manifest says of this core's shards, and what it is to say next. */
#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "ring/map.h"
#include "storage/archive/transfer.h"
#include "storage/store_internal.h"

/* -- asking */

static enum store_role role_of(const struct ring_replica *r) {
    if (r->state == REPLICA_INIT) return STORE_INIT;
    return r->state == REPLICA_LOG ? STORE_LOG : STORE_FULL;
}

bool store_shard_of_map(const struct ring_map *map, int node, uint32_t shard,
                        struct store_shard_options *out) {
    int at = node < 0 ? -1 : ring_shard_replica(&map->shards[shard], node);
    if (at < 0) return false;
    const struct ring_replica *r = &map->shards[shard].replicas[at];
    *out = (struct store_shard_options){.shard = shard,
                                        .role = role_of(r),
                                        .in_sync = r->in_sync,
                                        .copy = r->copy,
                                        .epoch = map->shards[shard].epoch};
    return true;
}

/* -- telling */

bool store_shard_archive(const struct store *store, uint32_t shard, struct store_archived *out) {
    if (!store_has_shard(store, shard)) return false;
    const struct store_shard *st = &store->shards[shard];
    *out = (struct store_archived){.copy = st->log.copy,
                                   .has_head = st->role != STORE_LOG,
                                   .damaged = st->log.damaged,
                                   .from_ms = st->from_ms,
                                   .cut_ms = st->cut_ms,
                                   .floor_ms = st->floor_ms,
                                   .ended = st->ended,
                                   .tombstones = st->tombstones,
                                   .tombstones_count = st->tombstones_count};
    return true;
}

void store_set_settled(struct store *store, struct place (*settled)(void *ctx, uint32_t shard),
                       void *ctx) {
    store->settled = settled;
    store->settled_ctx = ctx;
}

void store_set_repeats(struct store *store, bool (*repeats)(void *ctx, uint32_t shard), void *ctx) {
    store->repeats = repeats;
    store->repeats_ctx = ctx;
}

int64_t store_ended_max(const struct store *store) {
    return store->ended_max_ms;
}

uint32_t store_shard_copy(const struct store *store, uint32_t shard) {
    return store_has_shard(store, shard) ? store->shards[shard].log.copy : 0;
}

/* All who are in sync have it: whoever leads next will, too, and the log is not asked for it. */
static bool is_settled(const struct store *store, uint32_t shard, uint64_t position,
                       struct place place) {
    if (position > store->durable_position) return false;
    return store->settled == NULL ||
           place_cmp(store->settled(store->settled_ctx, shard), place) >= 0;
}

static bool cut_is_settled(const struct store *store, uint32_t shard, const struct shard_cut *c) {
    return is_settled(store, shard, c->position, c->place);
}

/* Nothing goes from the disk for what might not have been said. */
static struct ended ended_settled(const struct store *store, uint32_t shard) {
    const struct store_shard *st = &store->shards[shard];
    return is_settled(store, shard, st->ended_position, st->ended_place) ? st->ended
                                                                         : st->ended_told;
}

static bool ended_is_due(const struct store *store, uint32_t shard) {
    const struct store_shard *st = &store->shards[shard];
    struct ended now = ended_settled(store, shard);
    return now.raw_ms > st->ended_told.raw_ms || now.fine_ms > st->ended_told.fine_ms;
}

/* The newest CUT before which all that was written is older than from_ms; -1: none but the base. */
static int cut_before(const struct store *store, uint32_t shard, int64_t from_ms) {
    const struct store_shard *st = &store->shards[shard];
    for (uint32_t i = st->cuts_count; i > 0; i--) {
        const struct shard_cut *c = &st->cuts[i - 1];
#ifdef PLANT_BASE_TOO_HIGH
        if (cut_is_settled(store, shard, c)) return (int)i - 1;
#endif
        if (cut_is_settled(store, shard, c) &&
            (c->newest_ms == INT64_MIN || c->newest_ms < from_ms))
            return (int)i - 1;
    }
    return -1;
}

int64_t store_shard_closed(const struct store *store, uint32_t shard) {
    const struct store_shard *st = &store->shards[shard];
    int64_t closed_ms = st->from_ms;
    for (uint32_t i = 0; i < st->cuts_count; i++)
        if (cut_is_settled(store, shard, &st->cuts[i]))
            closed_ms = MAX(closed_ms, st->cuts[i].to_ms);
    return closed_ms;
}

struct place store_shard_closed_at(const struct store *store, uint32_t shard) {
    const struct store_shard *st = &store->shards[shard];
    if (st->from_ms == INT64_MIN) return (struct place){0};
    if (st->base_cut_ms >= st->from_ms) return st->base;
    for (uint32_t i = 0; i < st->cuts_count; i++)
        if (st->cuts[i].to_ms >= st->from_ms) return st->cuts[i].place;
    return (struct place){0};
}

bool store_shard_is_due(const struct store *store, uint32_t shard) {
    if (!store_has_shard(store, shard)) return false;
    const struct store_shard *st = &store->shards[shard];
    if (st->role == STORE_LOG || st->log.damaged) return false;
    if (ended_is_due(store, shard)) return true;
    if (st->cuts_count == 0) return false;
    return store_shard_closed(store, shard) > st->from_ms ||
           cut_before(store, shard, st->from_ms) >= 0;
}

/* What is known of its metric families would be lost with the log. */
static enum status items_make(const struct store *store, uint32_t shard,
                              struct manifest_shard *out) {
    struct buf body = {0};
    if (metadata_put_shard(&store->meta, shard, &body) != OK) {
        buf_fini(&body);
        manifest_shard_fini(out);
        return ERR_NOMEM;
    }
    out->items = body.ptr;
    out->items_len = body.len;
    return OK;
}

/* Newest first, and older than what the store knows already. */
static enum status items_restore(struct store *store, const struct manifest_shard *s,
                                 struct err *err) {
    return metadata_get_shard(&store->meta, s->shard, sv_make(s->items, s->items_len),
                              &store->decode, err);
}

enum status store_shard_record(const struct store *store, uint32_t shard, int64_t from_ms,
                               struct manifest_shard *out) {
    const struct store_shard *st = &store->shards[shard];
    int cut = cut_before(store, shard, from_ms);
    struct manifest_shard s = {.shard = shard,
                               .copy = st->log.copy,
                               .from_ms = from_ms,
                               .floor_ms = st->floor_ms,
                               .ended = ended_settled(store, shard),
                               .base = cut < 0 ? st->base : st->cuts[cut].place,
                               .cut_ms = cut < 0 ? st->base_cut_ms : st->cuts[cut].to_ms,
                               .newest_ms = cut < 0 ? st->base_newest_ms : st->cuts[cut].newest_ms};
    size_t tombstones = (size_t)st->tombstones_count + st->superseded_count;
    struct manifest_epoch *epochs = calloc(st->epochs_count + 1, sizeof *epochs);
    s.tombstones = calloc(tombstones + 1, sizeof *s.tombstones);
    if (epochs == NULL || s.tombstones == NULL) {
        free(epochs);
        free(s.tombstones);
        return ERR_NOMEM;
    }
    s.tombstones_count = tombstones_durable(store, st, s.tombstones);
    for (uint32_t i = 0; i < st->epochs_count && st->epochs[i].epoch < s.base.epoch; i++)
        epochs[s.epochs_count++] = (struct manifest_epoch){
            st->epochs[i].epoch, st->epochs[i].last_seq, st->epochs[i].history};
    s.epochs = epochs;
    enum status status = manifest_shard_copy(&s, out);
    free(epochs);
    free(s.tombstones);
    return status == OK ? items_make(store, shard, out) : status;
}

/* -- being told */

static void base_set(struct store_shard *st, const struct manifest_shard *s) {
    st->base = s->base;
    st->base_cut_ms = s->cut_ms;
    st->base_newest_ms = s->newest_ms;
    if (!place_is_none(s->base)) {
        st->log.first = s->base;
        st->log.based = true;
    }
}

void store_shard_advance(struct store *store, const struct manifest_shard *s) {
    if (!store_has_shard(store, s->shard)) return;
    struct store_shard *st = &store->shards[s->shard];
    if (st->log.copy != s->copy || st->role == STORE_LOG || !st->log.has_log) return;
    ended_raise(&st->ended_told, &s->ended);
    if (place_cmp(s->base, st->base) > 0) {
        base_set(st, s);
        uint32_t kept = 0;
        for (uint32_t i = 0; i < st->cuts_count; i++)
            if (place_cmp(st->cuts[i].place, st->base) > 0) st->cuts[kept++] = st->cuts[i];
        st->cuts_count = kept;
        held_marks_trim(&st->log, st->base);
    }
    if (s->from_ms <= st->from_ms) return;
    st->from_ms = s->from_ms;
    head_shard_set_from(store->head, s->shard, MAX(st->from_ms, st->floor_ms));
}

static enum status epochs_restore(struct store_shard *st, const struct manifest_shard *s) {
    if (s->epochs_count == 0) return OK;
    struct epoch_end *epochs = malloc(s->epochs_count * sizeof *epochs);
    if (epochs == NULL) return ERR_NOMEM;
    for (uint32_t i = 0; i < s->epochs_count; i++)
        epochs[i] =
            (struct epoch_end){s->epochs[i].epoch, s->epochs[i].last_seq, s->epochs[i].history};
    free(st->epochs);
    st->epochs = epochs;
    st->epochs_count = st->epochs_cap = s->epochs_count;
    return OK;
}

/* A head snapshot has the shard already. What the manifest says is of the same log, and may be
 * later: it is written before the store is told. True: the snapshot's state goes on. */
static bool base_is_passed(struct store *store, const struct manifest_shard *s) {
    struct store_shard *st = &store->shards[s->shard];
    if (store->log != NULL || !st->log.has_log || st->role == STORE_LOG || s->copy < st->log.copy)
        return true;
    if (s->copy == st->log.copy && place_cmp(s->base, st->log.end) <= 0) {
        st->floor_ms = MAX(st->floor_ms, s->floor_ms);
        ended_raise(&st->ended, &s->ended);
        store->ended_max_ms = MAX(store->ended_max_ms, s->ended.raw_ms);
        store_shard_advance(store, s);
        return true;
    }
    store_whole_drop(store, s->shard);
    return false;
}

/* At a start, of what a snapshot gave: families that came with imported blocks. */
static bool base_has_more(const struct store *store, const struct manifest_shard *s) {
    const struct store_shard *st = &store->shards[s->shard];
    return store->log == NULL && st->role != STORE_LOG && s->copy == st->log.copy;
}

enum status store_shard_base(struct store *store, const struct manifest_shard *s, bool *out_taken,
                             struct err *err) {
    *out_taken = false;
    if (!store_has_shard(store, s->shard)) return OK;
    struct store_shard *st = &store->shards[s->shard];
    if (st->log.has_log && base_is_passed(store, s)) {
        if (!base_has_more(store, s)) return OK;
        if (tombstones_merge(store, st, s) != OK)
            return err_set(err, ERR_NOMEM, 0, "store: not enough memory for shard %u", s->shard);
        return items_restore(store, s, err);
    }
    bool is_tail = st->tail_copy != 0 && st->role == STORE_LOG;
    if (is_tail || st->log.has_log || st->log.damaged || s->copy < st->log.copy) return OK;
    struct manifest_shard own;
    TRY(items_restore(store, s, err));
    if (manifest_shard_copy(s, &own) != OK || epochs_restore(st, s) != OK)
        return err_set(err, ERR_NOMEM, 0, "store: not enough memory for shard %u", s->shard);
    st->log.copy = s->copy;
    st->tombstones = own.tombstones;
    st->tombstones_count = st->tombstones_cap = own.tombstones_count;
    own.tombstones = NULL;
    own.tombstones_count = 0;
    manifest_shard_fini(&own);
    st->from_ms = s->from_ms;
    st->floor_ms = s->floor_ms;
    st->ended = st->ended_told = s->ended;
    store->ended_max_ms = MAX(store->ended_max_ms, s->ended.raw_ms);
    head_shard_set_from(store->head, s->shard, MAX(st->from_ms, st->floor_ms));
    base_set(st, s);
    *out_taken = true;
    if (place_is_none(s->base)) return OK;
    st->log.has_log = true;
    st->log.end = s->base;
    st->cut_ms = s->cut_ms;
    st->newest_ms = s->newest_ms;
    return OK;
}

/* -- the log */

uint64_t store_log_floor(const struct store *store) {
    uint64_t floor = UINT64_MAX;
    for (uint32_t i = 0; i < store->options.shards_count; i++) {
        const struct store_shard *st = &store->shards[i];
        if (!st->open) continue;
        /* What shows it stays: without its hole the log would be whole at the next start. */
        if (store_damage(store, i, NULL)) return 0;
        if (st->tail != NULL && st->tail->log.has_log)
            floor = MIN(floor, held_file(&st->tail->log, NULL));
        if (!st->log.has_log || st->role == STORE_LOG) continue;
        /* Nothing came behind its base, maybe for ever. What will goes into a file of now. */
        if (st->log.based && place_cmp(st->log.end, st->base) <= 0) continue;
        floor = MIN(floor, held_file(&st->log, st->log.based ? &st->base : NULL));
    }
    floor = MIN(floor, exports_floor(store));
    return MIN(floor, store_readings_floor(store));
}
