/* SPDX-License-Identifier: Apache-2.0 */
/* Entries that another node's primary ordered, and epochs that this one opens. What is followed
 * goes the way of what is written here: one buffer to the log for each call, and into the head, so
 * that recovery finds what a follower had. */
#include <assert.h>
#include <inttypes.h>

#include "storage/store_internal.h"

static enum status follow_nomem(uint32_t shard, struct err *err) {
    return err_set(err, ERR_NOMEM, 0, "store: shard %" PRIu32 ": not enough memory to follow",
                   shard);
}

/* The run that the entries are for, which may begin here. */
static enum status follow_target(struct store *store, const struct store_follow *f,
                                 struct held_log **out, struct err *err) {
    if (!store_has_shard(store, f->shard))
        return err_set(err, ERR_CONFLICT, 0, "store: shard %" PRIu32 " is not here", f->shard);
    struct store_shard *st = &store->shards[f->shard];
    if (f->tail && st->tail == NULL && f->copy > st->tail_copy) st->tail_copy = f->copy;
    if (f->tail && tail_make(store, st) == NULL) return follow_nomem(f->shard, err);
    struct held_log *held = f->tail ? &st->tail->log : &st->log;
    if (!held->has_log && !held->damaged && f->copy > held->copy) {
        held->copy = f->copy;
        if (f->tail) st->tail_copy = f->copy;
    }
    /* On disk the two are told apart by the copy number alone. */
    bool mixed = !f->tail && st->tail != NULL && f->copy <= st->tail->log.copy;
    bool below = f->tail && st->log.has_log && f->copy >= st->log.copy;
    if (held->copy != f->copy || mixed || below)
        return err_set(err, ERR_CONFLICT, 0,
                       "store: shard %" PRIu32 ": entries for copy %" PRIu32 ", and copy %" PRIu32
                       " is here",
                       f->shard, f->copy, held->copy);
    if (held->damaged) {
        if (!store_damage(store, f->shard, err)) assert(!"damaged");
        return ERR_CORRUPT;
    }
    *out = held;
    return OK;
}

/* Of the entries, those that are not held: the first, which is read already, and what is behind. */
struct follow_rest {
    struct entry first;
    struct sv behind;
    size_t count, bytes;
};

/* Are they whole, of the shard, and without a gap? */
static enum status follow_check(const struct store_follow *f, const struct held_log *held,
                                struct follow_rest *out, struct err *err) {
    struct held_log ahead; /* its places only */
    const struct held_log *at = held;
    struct sv left = f->entries;
    out->count = 0;
    while (left.len > 0) {
        size_t bytes = left.len;
        struct entry e;
        bool old;
        TRY(entry_next(&left, &e, err));
        if (e.shard != f->shard)
            return err_set(err, ERR_CONFLICT, 0,
                           "store: an entry of shard %" PRIu32 " among those of %" PRIu32, e.shard,
                           f->shard);
        enum status status = held_check(at, f->tail, &e, &old, err);
        bool gap = status == ERR_CORRUPT;
        if (gap && err != NULL) err->code = ERR_CONFLICT;
        if (status != OK) return gap ? ERR_CONFLICT : status;
        if (old && out->count > 0)
            return err_set(err, ERR_CONFLICT, 0,
                           "store: shard %" PRIu32 ": epoch %" PRIu32 " seq %" PRIu64
                           " comes behind a later entry",
                           e.shard, e.epoch, e.seq);
        if (old) continue;
        if (out->count++ == 0) {
            out->first = e;
            out->behind = left;
            out->bytes = bytes;
        }
        if (left.len == 0) return OK;
        if (at == held) ahead = *held;
        at = &ahead;
        ahead.has_log = true;
        ahead.end = (struct place){e.epoch, e.seq};
    }
    return OK;
}

static enum status follow_apply(struct store *store, const struct store_follow *f,
                                struct follow_rest *rest, struct store_append *append,
                                struct err *err) {
    struct store_shard *st = &store->shards[f->shard];
    struct entry e = rest->first;
    for (;;) {
        e.incarnation = f->copy;
        if (f->tail)
            TRY(tail_step(store, st->tail, &e, err));
        else
            TRY(store_apply(store, st, &e, err));
        store_append_put(append, &e, f->tail);
        if (rest->behind.len == 0) return OK;
        TRY(entry_next(&rest->behind, &e, err));
    }
}

enum status store_follow(struct store *store, const struct store_follow *f, uint64_t *out_position,
                         struct err *err) {
    assert(core_is_current(store->core) && store->log != NULL && f->copy > 0);
    struct err unwanted;
    if (err == NULL) err = &unwanted;
    struct held_log *held = NULL;
    struct follow_rest rest;
    TRY(log_refusal(store->log, err));
    TRY(follow_target(store, f, &held, err));
    TRY(follow_check(f, held, &rest, err));
    store->shards[f->shard].writing = false;
    enum status status = OK;
    if (rest.count > 0) {
        struct store_append *append = store->followed;
        if (append == NULL) append = store_append_take(store);
        if (append == NULL) return follow_nomem(f->shard, err);
        if (store->follows_many) store->followed = append;
        if (store_append_reserve(append, rest.count, rest.bytes))
            status = follow_apply(store, f, &rest, append, err);
        else
            status = follow_nomem(f->shard, err);
        if (!store->follows_many) store_append_hand(store, append, APPEND_FOLLOWED);
    }
    *out_position = store->position + (store->followed != NULL);
    return status;
}

void store_follow_begin(struct store *store) {
    assert(!store->follows_many && store->followed == NULL);
    store->follows_many = true;
}

void store_follow_end(struct store *store) {
    struct store_append *append = store->followed;
    assert(store->follows_many);
    store->follows_many = false;
    store->followed = NULL;
    if (append != NULL) store_append_hand(store, append, APPEND_FOLLOWED);
}

/* -- ahead: the samples of a frame are of hundreds of series, and each is in other memory, four
 * steps away (shard, its series by number, the series, its open chunk). Step by step for many
 * entries, their waiting is side by side. */

enum { AHEAD_NUMBERS_MAX = 8 }; /* of an entry, which has some two samples in a batch */
struct ahead {
    const struct store_shard *st;
    uint32_t numbers_count;
    uint32_t numbers[AHEAD_NUMBERS_MAX]; /* then references */
};

static void ahead_numbers(const struct store_shard *st, struct sv entries, struct ahead *a) {
    struct entry e;
    a->st = st;
    a->numbers_count = 0;
    while (st->open && entries.len > 0 && a->numbers_count < AHEAD_NUMBERS_MAX) {
        if (entry_next(&entries, &e, NULL) != OK || e.type != ENTRY_WRITE) return;
        uint32_t *numbers = a->numbers + a->numbers_count;
        size_t n = entry_write_peek_numbers(e.body, numbers, AHEAD_NUMBERS_MAX - a->numbers_count);
        for (size_t i = 0; i < n; i++) {
            if (numbers[i] >= st->refs_count) continue;
            __builtin_prefetch(&st->refs[numbers[i]]);
            a->numbers[a->numbers_count++] = numbers[i];
        }
    }
}

void store_follow_ahead(const struct store *store, const struct store_ahead *next, size_t count) {
    struct ahead ahead[STORE_AHEAD_MAX];
    size_t n = 0;
    assert(core_is_current(store->core) && count <= STORE_AHEAD_MAX);
    for (size_t i = 0; i < count; i++) {
        if (next[i].shard >= store->options.shards_count) continue;
        const struct store_shard *st = &store->shards[next[i].shard];
        __builtin_prefetch(st);
        __builtin_prefetch(&st->log, 1);
    }
    for (size_t i = 0; i < count; i++)
        if (next[i].shard < store->options.shards_count)
            ahead_numbers(&store->shards[next[i].shard], next[i].entries, &ahead[n++]);
    for (size_t i = 0; i < n; i++)
        for (uint32_t k = 0; k < ahead[i].numbers_count; k++) {
            ahead[i].numbers[k] = ahead[i].st->refs[ahead[i].numbers[k]];
            head_prefetch_ref(store->head, ahead[i].numbers[k]);
        }
    for (size_t i = 0; i < n; i++)
        for (uint32_t k = 0; k < ahead[i].numbers_count; k++)
            head_prefetch_open(store->head, ahead[i].numbers[k]);
}

/* -- opening an epoch */

static enum status epoch_put(struct store *store, uint32_t shard, struct held_log *held,
                             uint32_t epoch, struct err *err) {
    struct store_shard *st = &store->shards[shard];
    bool tail = held != &st->log;
    struct store_append *append = store_append_take(store);
    if (append == NULL) return follow_nomem(shard, err);
    buf_clear(&store->body);
    entry_epoch_put(held->end.epoch, held->end.seq, &store->body);
    if (store->body.failed || (!tail && epochs_reserve(st) != OK) ||
        !store_append_reserve(append, 1, store->body.len)) {
        store_append_hand(store, append, APPEND_OWN);
        return follow_nomem(shard, err);
    }
    struct entry e = {ENTRY_EPOCH, shard, held->copy, epoch, 0, buf_sv(&store->body)};
    store_append_put(append, &e, tail);
    /* Neither needs memory for this entry. */
    enum status status =
        tail ? tail_step(store, st->tail, &e, err) : store_apply(store, st, &e, err);
    assert(status == OK);
    store_append_hand(store, append, APPEND_OWN);
    return OK;
}

enum status store_open_epoch(struct store *store, uint32_t shard, uint32_t epoch,
                             uint64_t *out_position, struct err *err) {
    assert(core_is_current(store->core) && store->log != NULL);
    struct err unwanted;
    if (err == NULL) err = &unwanted;
    TRY(log_refusal(store->log, err));
    if (!store_has_shard(store, shard))
        return err_set(err, ERR_CONFLICT, 0, "store: shard %" PRIu32 " is not here", shard);
    struct store_shard *st = &store->shards[shard];
    bool tail = st->role != STORE_FULL;
    if (tail && st->tail_copy == 0)
        return err_set(err, ERR_CONFLICT, 0, "store: shard %" PRIu32 " takes no writes here",
                       shard);
    if (tail && tail_make(store, st) == NULL) return follow_nomem(shard, err);
    struct held_log *held = tail ? &st->tail->log : &st->log;
    if (held->damaged) {
        if (!store_damage(store, shard, err)) assert(!"damaged");
        return ERR_CORRUPT;
    }
    if (held->has_log && epoch < held->end.epoch)
        return err_set(err, ERR_CONFLICT, 0,
                       "store: shard %" PRIu32 ": epoch %" PRIu32
                       " is to be opened, and the log here is in epoch %" PRIu32,
                       shard, epoch, held->end.epoch);
    if (!held->has_log || epoch > held->end.epoch) TRY(epoch_put(store, shard, held, epoch, err));
    st->writing = true;
    st->map_epoch = MAX(st->map_epoch, epoch);
    *out_position = store->position;
    return OK;
}
