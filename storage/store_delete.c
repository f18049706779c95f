/* SPDX-License-Identifier: Apache-2.0 */
/* DELETE: what it does to the head, and what stays of it for blocks. Those of retention by matcher
 * are written here, too.
 *
 * Of what has ended by resolution (storage/ended.h) a DELETE takes whole hours: the first hour that
 * begins in it to the last one that ends in it. A bucket that it covers in part stays as it is: its
 * samples are gone, and nobody could say what it would be without some of them. What was deleted
 * before an hour ended is not in its rows, to the sample. */
#include <assert.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "storage/archive/plan.h"
#include "storage/archive/retention.h"
#include "storage/store_internal.h"

/* -- applying */

static enum status tombstones_reserve(struct tombstone **items, uint32_t count, uint32_t more,
                                      uint32_t *cap) {
    if (*cap - count >= more) return OK;
    uint32_t grown = MAX(*cap == 0 ? 2 : *cap * 2, count + more);
    struct tombstone *to = realloc(*items, grown * sizeof *to);
    if (to == NULL) return ERR_NOMEM;
    *items = to;
    *cap = grown;
    return OK;
}

static void tombstones_clear(struct tombstone *items, uint32_t *count) {
    for (uint32_t i = 0; i < *count; i++)
        free(items[i].matchers);
    *count = 0;
}

void tombstones_fini(struct store_shard *st) {
    tombstones_clear(st->tombstones, &st->tombstones_count);
    tombstones_clear(st->superseded, &st->superseded_count);
    free(st->tombstones);
    free(st->superseded);
    st->tombstones = st->superseded = NULL;
    st->tombstones_cap = st->superseded_cap = 0;
}

static uint32_t put_durable(const struct store *store, const struct tombstone *items,
                            uint32_t count, struct tombstone *out) {
    uint32_t put = 0;
    for (uint32_t i = 0; i < count; i++) {
        if (items[i].position > store->durable_position) continue;
        out[put] = items[i];
        out[put++].position = 0; /* of this process alone */
    }
    return put;
}

uint32_t tombstones_durable(const struct store *store, const struct store_shard *st,
                            struct tombstone *out) {
    uint32_t count = put_durable(store, st->tombstones, st->tombstones_count, out);
    if (count == st->tombstones_count) return count;
    return count + put_durable(store, st->superseded, st->superseded_count, out + count);
}

static bool tombstone_is_of(const struct tombstone *t, struct sv matchers) {
    return sv_eq(sv_make(t->matchers, t->matchers_len), matchers);
}

/* It is there, when entries are applied again, or what it says is said. */
static bool tombstone_is_there(const struct store_shard *st, const struct tombstone *t) {
    for (uint32_t i = 0; i < st->tombstones_count; i++) {
        const struct tombstone *old = &st->tombstones[i];
        if (place_cmp(old->place, t->place) == 0) return true;
        if (old->min_ms <= t->min_ms && old->max_ms >= t->max_ms &&
            tombstone_is_of(old, sv_make(t->matchers, t->matchers_len)))
            return true;
    }
    return t->max_ms < st->floor_ms;
}

void tombstones_trim(struct store_shard *st) {
    uint32_t kept = 0;
    for (uint32_t i = 0; i < st->tombstones_count; i++) {
        if (st->tombstones[i].max_ms < st->floor_ms)
            free(st->tombstones[i].matchers);
        else
            st->tombstones[kept++] = st->tombstones[i];
    }
    st->tombstones_count = kept;
}

static bool is_within(const struct tombstone *t, const struct tombstone *by) {
    return t->min_ms >= by->min_ms && t->max_ms <= by->max_ms &&
           tombstone_is_of(t, sv_make(by->matchers, by->matchers_len));
}

/* The others keep their order. There is room. */
static void tombstones_supersede(struct store_shard *st, const struct tombstone *by) {
    uint32_t kept = 0;
    for (uint32_t i = 0; i < st->tombstones_count; i++) {
        if (is_within(&st->tombstones[i], by))
            st->superseded[st->superseded_count++] = st->tombstones[i];
        else
            st->tombstones[kept++] = st->tombstones[i];
    }
    st->tombstones_count = kept;
}

static bool all_durable(const struct store *store, const struct store_shard *st) {
    for (uint32_t i = 0; i < st->tombstones_count; i++)
        if (st->tombstones[i].position > store->durable_position) return false;
    return true;
}

/* What is in a closed range was all accepted before, and nothing comes to it any more: so the same
 * tombstone is right for every block, however often it is applied, and one that says more takes the
 * place of older ones. */
static enum status tombstone_add(const struct store *store, struct store_shard *st,
                                 struct tombstone *t, struct sv matchers) {
    if (all_durable(store, st)) tombstones_clear(st->superseded, &st->superseded_count);
    t->matchers = malloc(matchers.len + 1);
    if (t->matchers == NULL ||
        tombstones_reserve(&st->tombstones, st->tombstones_count, 1, &st->tombstones_cap) != OK ||
        tombstones_reserve(&st->superseded, st->superseded_count, st->tombstones_count,
                           &st->superseded_cap) != OK) {
        free(t->matchers);
        return ERR_NOMEM;
    }
    memcpy(t->matchers, matchers.ptr, matchers.len);
    tombstones_supersede(st, t);
    st->tombstones[st->tombstones_count++] = *t;
    return OK;
}

/* A head snapshot may be older than the manifest: what was deleted before a part of the shard ended
 * is to be there when the log is applied, for then it has ended already. */
enum status tombstones_merge(const struct store *store, struct store_shard *st,
                             const struct manifest_shard *from) {
    for (uint32_t i = 0; i < from->tombstones_count; i++) {
        struct tombstone t = from->tombstones[i];
        if (tombstone_is_there(st, &t)) continue;
        TRY(tombstone_add(store, st, &t, sv_make(t.matchers, t.matchers_len)));
    }
    return OK;
}

/* What is not in a closed range is in the head. */
enum status delete_apply(struct store *store, struct store_shard *st, const struct entry *e,
                         struct err *err) {
    struct entry_delete d;
    TRY(entry_delete_get(e->body, &store->decode, &d, err));
    int64_t max_ms = st->cut_ms == INT64_MIN ? INT64_MIN : MIN(d.max_ms, st->cut_ms - 1);
    struct tombstone t = {.place = {e->epoch, e->seq}, .min_ms = d.min_ms, .max_ms = max_ms};
    bool any = ended_delete(&st->ended, &t.min_ms, &t.max_ms);
    t.matchers = (char *)(uintptr_t)d.matchers_bytes.ptr; /* looked at only */
    t.matchers_len = d.matchers_bytes.len;
    t.position = store->log == NULL ? 0 : store->position + 1;
    enum status status = OK;
    if (any && st->cut_ms != INT64_MIN && !tombstone_is_there(st, &t))
        status = tombstone_add(store, st, &t, d.matchers_bytes);
    if (status != OK) err_set(err, ERR_NOMEM, 0, "store: not enough memory to delete");
    /* the head does not show what is in blocks */
    if (status == OK && d.max_ms >= st->from_ms && ended_delete(&st->ended, &d.min_ms, &d.max_ms))
        status = head_delete(store->head, e->shard, d.matchers, d.matchers_count, d.min_ms,
                             d.max_ms, err);
    entry_delete_fini(&d);
    return status;
}

/* -- writing */

enum status store_delete(struct store *store, uint32_t shard, const struct entry_delete *d,
                         uint64_t *out_position, struct err *err) {
    assert(core_is_current(store->core) && store->log != NULL);
    TRY(log_refusal(store->log, err));
    if (shard >= store->options.shards_count || !store_takes_own(store, shard))
        return err_set(err, ERR_CONFLICT, 0, "store: shard %" PRIu32 " is not open for writing",
                       shard);
    struct store_append *append = store_append_take(store);
    if (append == NULL) return err_set(err, ERR_NOMEM, 0, "store: not enough memory to delete");
    buf_clear(&store->body);
    entry_delete_put(d, &store->body);
    enum status status =
        store->body.failed
            ? err_set(err, ERR_NOMEM, 0, "store: not enough memory to delete")
            : store_own_put(store, shard, ENTRY_DELETE, buf_sv(&store->body), append, err);
    store_append_hand(store, append, APPEND_OWN);
    *out_position = store->position;
    return status;
}

/* -- retention by matcher */

static bool delete_is_said(const struct store_shard *st, const struct retention_delete *d,
                           int64_t max_ms) {
    for (uint32_t i = 0; i < st->tombstones_count; i++)
        if (st->tombstones[i].min_ms == INT64_MIN && st->tombstones[i].max_ms >= max_ms &&
            tombstone_is_of(&st->tombstones[i], d->matchers))
            return true;
    return false;
}

/* Up to where it deletes in the shard now, a multiple of the block range; INT64_MIN: nothing. */
static int64_t delete_to(const struct store *store, const struct store_shard *st,
                         const struct retention_delete *d) {
    int64_t to_ms;
    if (st->newest_ms == INT64_MIN || st->from_ms == INT64_MIN ||
        __builtin_sub_overflow(st->newest_ms, d->time_ms, &to_ms))
        return INT64_MIN;
    to_ms = range_floor(MIN(to_ms, st->from_ms - 1), store->options.block_range_ms);
    if (ended_any(&st->ended) && to_ms <= st->ended.raw_ms) to_ms = ended_hour_before(to_ms);
    return to_ms < st->floor_ms ? INT64_MIN : to_ms;
}

struct retaining {
    struct store *store;
    const struct retention *retention;
    struct store_append *append;
    uint32_t left; /* entries that may be written */
    struct err *err;
};

static enum status shard_retain(struct retaining *r, uint32_t shard) {
    struct store *store = r->store;
    struct store_shard *st = &store->shards[shard];
    for (size_t i = 0; i < r->retention->deletes_count; i++) {
        const struct retention_delete *d = &r->retention->deletes[i];
        int64_t to_ms = delete_to(store, st, d);
        if (to_ms == INT64_MIN || delete_is_said(st, d, to_ms)) continue;
        if (r->left == 0) return OK;
        if (r->append == NULL) r->append = store_append_take(store);
        if (r->append == NULL)
            return err_set(r->err, ERR_NOMEM, 0, "store: not enough memory to delete");
        struct entry_delete e = {
            .min_ms = INT64_MIN, .max_ms = to_ms, .matchers_bytes = d->matchers};
        buf_clear(&store->body);
        entry_delete_put(&e, &store->body);
        if (store->body.failed)
            return err_set(r->err, ERR_NOMEM, 0, "store: not enough memory to delete");
        TRY(store_own_put(store, shard, ENTRY_DELETE, buf_sv(&store->body), r->append, r->err));
        r->left--;
    }
    st->retained = r->retention->id;
    st->retained_newest_ms = st->newest_ms;
    st->retained_from_ms = st->from_ms;
    return OK;
}

/* Nothing is due before the newest sample or the blocks have come a range further. */
static bool retain_is_new(const struct store *store, const struct store_shard *st,
                          const struct retention *retention) {
    int64_t range_ms = store->options.block_range_ms, before_ms = st->retained_newest_ms;
    if (st->retained != retention->id || st->retained_from_ms != st->from_ms) return true;
    if (before_ms == INT64_MIN) return st->newest_ms != INT64_MIN;
    return range_floor(before_ms, range_ms) != range_floor(st->newest_ms, range_ms);
}

enum status store_retain_due(struct store *store, const struct store_may *may,
                             const struct retention *retention, struct err *err) {
    assert(core_is_current(store->core) && store->log != NULL && store->options.block_range_ms > 0);
    if (retention->deletes_count == 0) return OK;
    uint64_t all = (uint64_t)store->options.shards_count * retention->deletes_count;
    struct retaining r = {.store = store, .retention = retention, .err = err};
    r.left = 16 + (uint32_t)(all / 64);
    enum status status = log_refusal(store->log, err);
    for (uint32_t i = 0; i < store->options.shards_count && status == OK; i++) {
        const struct store_shard *st = &store->shards[i];
        if (!store_takes_own(store, i) || !retain_is_new(store, st, retention) ||
            !may->write(may->ctx, i))
            continue;
        status = shard_retain(&r, i);
    }
    if (r.append != NULL) store_append_hand(store, r.append, APPEND_OWN);
    return status;
}
