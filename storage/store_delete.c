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

static enum status tombstones_reserve(struct store_shard *st) {
    if (st->tombstones_count < st->tombstones_cap) return OK;
    uint32_t cap = st->tombstones_cap == 0 ? 2 : st->tombstones_cap * 2;
    struct tombstone *to = realloc(st->tombstones, cap * sizeof *to);
    if (to == NULL) return ERR_NOMEM;
    st->tombstones = to;
    st->tombstones_cap = cap;
    return OK;
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

/* Those that `dead` says go; the others keep their order. */
static void tombstones_keep(struct store_shard *st, const struct tombstone *by,
                            bool (*dead)(const struct store_shard *st, const struct tombstone *t,
                                         const struct tombstone *by)) {
    uint32_t kept = 0;
    for (uint32_t i = 0; i < st->tombstones_count; i++) {
        if (dead(st, &st->tombstones[i], by))
            free(st->tombstones[i].matchers);
        else
            st->tombstones[kept++] = st->tombstones[i];
    }
    st->tombstones_count = kept;
}

static bool is_under_floor(const struct store_shard *st, const struct tombstone *t,
                           const struct tombstone *by) {
    (void)by;
    return t->max_ms < st->floor_ms;
}

void tombstones_trim(struct store_shard *st) {
    tombstones_keep(st, NULL, is_under_floor);
}

static bool is_within(const struct store_shard *st, const struct tombstone *t,
                      const struct tombstone *by) {
    (void)st;
    return t->min_ms >= by->min_ms && t->max_ms <= by->max_ms &&
           tombstone_is_of(t, sv_make(by->matchers, by->matchers_len));
}

/* What is in a closed range was all accepted before, and nothing comes to it any more: so the same
 * tombstone is right for every block, however often it is applied, and one that says more takes the
 * place of older ones. */
static enum status tombstone_add(struct store_shard *st, struct tombstone *t, struct sv matchers) {
    t->matchers = malloc(matchers.len + 1);
    if (t->matchers == NULL || tombstones_reserve(st) != OK) {
        free(t->matchers);
        return ERR_NOMEM;
    }
    memcpy(t->matchers, matchers.ptr, matchers.len);
    tombstones_keep(st, t, is_within);
    st->tombstones[st->tombstones_count++] = *t;
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
    enum status status = OK;
    if (any && st->cut_ms != INT64_MIN && !tombstone_is_there(st, &t))
        status = tombstone_add(st, &t, d.matchers_bytes);
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
