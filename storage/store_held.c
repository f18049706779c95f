/* SPDX-License-Identifier: Apache-2.0 */
/* What is held of the shards' logs: places, ends of epochs, where in the log's files to begin to
 * read. */
#include <assert.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "node/base/hash.h"
#include "storage/store_internal.h"

enum { MARKS_MAX = 64 };

void held_init(struct held_log *held, uint32_t copy) {
    *held = (struct held_log){.copy = copy, .marked_file = UINT64_MAX};
}

void held_fini(struct held_log *held) {
    free(held->marks);
    free(held->damage);
    held_init(held, 0);
}

void held_damage(struct held_log *held, const struct err *why) {
    held->damaged = true;
    free(held->damage);
    held->damage = strdup(why->msg);
}

/* -- order */

static enum status held_conflict(const struct held_log *held, const struct entry *e,
                                 struct err *err) {
    if (!held->has_log)
        return err_set(err, ERR_CORRUPT, 0,
                       "store: shard %" PRIu32 ": epoch %" PRIu32 " seq %" PRIu64 " (copy %" PRIu32
                       ") is not the shard's first entry, and nothing is held",
                       e->shard, e->epoch, e->seq, held->copy);
    return err_set(err, ERR_CORRUPT, 0,
                   "store: shard %" PRIu32 ": epoch %" PRIu32 " seq %" PRIu64
                   " does not follow epoch %" PRIu32 " seq %" PRIu64 " (copy %" PRIu32 ")",
                   e->shard, e->epoch, e->seq, held->end.epoch, held->end.seq, held->copy);
}

enum status held_check(const struct held_log *held, bool anywhere, const struct entry *e,
                       bool *out_old, struct err *err) {
    struct place at = {e->epoch, e->seq};
    uint32_t previous_epoch = 0;
    uint64_t last_seq = 0;
    *out_old = false;
    if (e->type == ENTRY_EPOCH) TRY(entry_epoch_get(e->body, &previous_epoch, &last_seq, err));
    if (!held->has_log) {
        bool is_first = e->type == ENTRY_EPOCH && previous_epoch == 0 && last_seq == 0;
        if (anywhere || is_first) return OK;
        if (e->type != ENTRY_EPOCH) return held_conflict(held, e, err);
        return err_set(err, ERR_CORRUPT, 0,
                       "store: shard %" PRIu32 ": epoch %" PRIu32 " opens after epoch %" PRIu32
                       " seq %" PRIu64 ", and nothing is held (copy %" PRIu32 ")",
                       e->shard, e->epoch, previous_epoch, last_seq, held->copy);
    }
    *out_old = place_cmp(at, held->end) <= 0;
    if (*out_old) return OK;
    if (e->type == ENTRY_EPOCH) {
        /* Entries beyond the end that it names were never acknowledged: a LOG replica led on from
         * there while no copy with a head lived, and the copy that follows it keeps what it has.
         * That a follower has more than its primary closed is found by comparing places. */
        struct place previous = {previous_epoch, last_seq};
        if (place_cmp(previous, held->end) <= 0) return OK;
        return err_set(err, ERR_CORRUPT, 0,
                       "store: shard %" PRIu32 ": epoch %" PRIu32 " opens after epoch %" PRIu32
                       " seq %" PRIu64 ", and the log here ends at epoch %" PRIu32 " seq %" PRIu64,
                       e->shard, e->epoch, previous_epoch, last_seq, held->end.epoch,
                       held->end.seq);
    }
    if (at.epoch == held->end.epoch && at.seq == held->end.seq + 1) return OK;
    return held_conflict(held, e, err);
}

/* -- where it is in the log */

/* When there are many, every second one goes: reading begins a little further back. */
static void marks_thin(struct held_log *held) {
    uint32_t kept = 1;
    for (uint32_t i = 2; i < held->marks_count; i += 2)
        held->marks[kept++] = held->marks[i];
    held->marks_count = kept;
}

void held_mark(struct held_log *held, uint64_t file, struct place at) {
    held->marked_file = file;
    if (held->marks_count == MARKS_MAX) marks_thin(held);
    if (held->marks_count == held->marks_cap) {
        uint32_t cap = held->marks_cap == 0 ? 2 : held->marks_cap * 2;
        struct held_mark *marks = realloc(held->marks, cap * sizeof *marks);
        if (marks == NULL) { /* the mark before it serves */
            held->marks_short |= held->marks_count == 0;
            return;
        }
        held->marks = marks;
        held->marks_cap = cap;
    }
    held->marks[held->marks_count++] = (struct held_mark){file, at};
}

uint64_t held_file(const struct held_log *held, const struct place *after) {
    uint32_t i = held->marks_count;
    while (i > 0 && (after == NULL || place_cmp(held->marks[i - 1].place, *after) > 0))
        i--;
    if (i > 0) return held->marks[i - 1].file;
    if (held->based && !held->marks_short)
        return held->marks_count > 0 ? held->marks[0].file : UINT64_MAX;
    /* The first mark is that of the first entry, unless there was no memory for it. */
    bool has_first = held->marks_count > 0 && place_cmp(held->marks[0].place, held->first) == 0;
    return has_first ? held->marks[0].file : 0;
}

void held_marks_trim(struct held_log *held, struct place from) {
    uint32_t gone = 0;
    while (gone + 1 < held->marks_count && place_cmp(held->marks[gone + 1].place, from) <= 0)
        gone++;
    held->marks_count -= gone;
    memmove(held->marks, held->marks + gone, held->marks_count * sizeof *held->marks);
}

/* -- ends of epochs */

enum status epochs_reserve(struct store_shard *st) {
    if (st->epochs_count < st->epochs_cap || st->epochs_cap == EPOCHS_MAX) return OK;
    uint32_t cap = st->epochs_cap == 0 ? 4 : st->epochs_cap * 2;
    struct epoch_end *epochs = realloc(st->epochs, cap * sizeof *epochs);
    if (epochs == NULL) return ERR_NOMEM;
    st->epochs = epochs;
    st->epochs_cap = cap;
    return OK;
}

void epochs_close(struct store_shard *st) {
    if (!st->log.has_log) return;
    uint64_t end[2] = {st->log.end.epoch, st->log.end.seq};
    uint64_t history = st->epochs_count > 0 ? st->epochs[st->epochs_count - 1].history : 0;
    if (st->epochs_count == EPOCHS_MAX)
        memmove(st->epochs, st->epochs + 1, --st->epochs_count * sizeof *st->epochs);
    assert(st->epochs_count < st->epochs_cap);
    st->epochs[st->epochs_count++] =
        (struct epoch_end){st->log.end.epoch, st->log.end.seq, hash64(end, sizeof end, history)};
}

bool store_epoch_end(const struct store *store, uint32_t shard, uint32_t epoch,
                     uint64_t *out_last_seq) {
    if (!store_has_shard(store, shard)) return false;
    const struct store_shard *st = &store->shards[shard];
    for (uint32_t i = st->epochs_count; i > 0; i--) {
        if (st->epochs[i - 1].epoch != epoch) continue;
        *out_last_seq = st->epochs[i - 1].last_seq;
        return true;
    }
    return false;
}

uint64_t store_history(const struct store *store, uint32_t shard, uint32_t epoch) {
    if (!store_has_shard(store, shard)) return 0;
    const struct store_shard *st = &store->shards[shard];
    uint32_t i = st->epochs_count;
    while (i > 0 && st->epochs[i - 1].epoch >= epoch)
        i--;
    return i > 0 ? st->epochs[i - 1].history : 0;
}

/* -- tails */

struct store_tail *tail_make(struct store *store, struct store_shard *st) {
    if (st->tail != NULL) return st->tail;
    struct store_tail *tail = calloc(1, sizeof *tail);
    if (tail == NULL) return NULL;
    tail->store = store;
    held_init(&tail->log, st->tail_copy);
    map_init(&tail->by_id);
    st->tail = tail;
    return tail;
}

void tail_free(struct store_shard *st) {
    struct store_tail *tail = st->tail;
    if (tail == NULL) return;
    held_fini(&tail->log);
    tail_numbers_reset(tail);
    free(tail);
    st->tail = NULL;
}

void tail_numbers_reset(struct store_tail *tail) {
    map_fini(&tail->by_id);
    free(tail->series);
    tail->store->offered_count -= tail->offered_count;
    tail->series = NULL;
    tail->series_count = tail->offered_count = tail->offered_cap = 0;
}

enum status tail_step(struct store *store, struct store_tail *tail, const struct entry *e,
                      struct err *err) {
    uint32_t series_count = 0;
    bool numbers = e->type == ENTRY_WRITE || e->type == ENTRY_OFFER;
    if (numbers) TRY(entry_write_series_count(e->body, &series_count, err));
    bool anew = e->type == ENTRY_EPOCH || e->type == ENTRY_CUT || e->epoch != tail->log.end.epoch;
    if (!anew && series_count > UINT32_MAX - tail->series_count)
        return err_set(err, ERR_CORRUPT, 0, "store: shard %" PRIu32 ": too many series", e->shard);
    if (anew) tail_numbers_reset(tail);
    tail->series_count += series_count;
    held_step(&tail->log, store->file, (struct place){e->epoch, e->seq});
    return OK;
}

/* -- telling */

bool store_held(const struct store *store, uint32_t shard, bool tail, struct shard_held *out) {
    *out = (struct shard_held){0};
    if (!store_has_shard(store, shard)) return false;
    const struct store_shard *st = &store->shards[shard];
    if (tail && st->tail == NULL) {
        out->copy = st->tail_copy;
        return false;
    }
    const struct held_log *held = tail ? &st->tail->log : &st->log;
    *out = (struct shard_held){.copy = held->copy,
                               .has_log = held->has_log,
                               .is_whole = !tail && held->has_log,
                               .damaged = held->damaged,
                               .based = held->based,
                               .first = held->first,
                               .end = held->end};
    if (!tail && held->has_log) out->history = store_history(store, shard, held->end.epoch);
    return held->has_log || held->damaged;
}
