/* SPDX-License-Identifier: Apache-2.0 */
/* Writes for shards of which no copy with a head lives: ordered and made durable now, judged when a
 * head takes them up. All that is known of a series here is the number it has in the epoch. */
#include <assert.h>
#include <inttypes.h>
#include <stdlib.h>

#include "node/base/arena.h"
#include "storage/store_internal.h"

static const int64_t FUTURE_MS = 600000; /* as store_write has it */
enum { OFFERED_SERIES_BYTES = 64 };      /* of the tables, about */

static bool offered_eq(const void *owner, uint32_t place, const void *key) {
    return series_id_eq(((const struct store_tail *)owner)->series[place].id,
                        *(const series_id *)key);
}

static uint64_t offered_hash(const void *owner, uint32_t place) {
    return ((const struct store_tail *)owner)->series[place].id.lo;
}

static bool offered_find(const struct store_tail *tail, series_id id, uint32_t *out_number) {
    uint32_t place = map_find(&tail->by_id, id.lo, offered_eq, tail, &id);
    if (place != MAP_NONE) *out_number = tail->series[place].number;
    return place != MAP_NONE;
}

static enum status offered_add(struct store_tail *tail, series_id id) {
    if (tail->series_count == UINT32_MAX - 1) return ERR_NOMEM;
    if (tail->offered_count == tail->offered_cap) {
        uint32_t cap = tail->offered_cap < 8 ? 16 : tail->offered_cap * 2;
        struct tail_series *series = realloc(tail->series, cap * sizeof *series);
        if (series == NULL) return ERR_NOMEM;
        tail->series = series;
        tail->offered_cap = cap;
    }
    uint32_t place = tail->offered_count;
    tail->series[place] = (struct tail_series){id, tail->series_count};
    TRY(map_insert(&tail->by_id, id.lo, place, offered_hash, tail));
    tail->offered_count++;
    tail->series_count++;
    tail->store->offered_count++;
    return OK;
}

/* -- before anything is done */

static enum status offer_shard_check(const struct batch *b, uint32_t shard) {
    const struct store *store = b->store;
    if (!store_has_shard(store, shard))
        return err_set(b->err, ERR_CONFLICT, 0, "store: shard %" PRIu32 " is not here", shard);
    const struct store_shard *st = &store->shards[shard];
    if (!st->writing || st->role == STORE_FULL || st->tail == NULL)
        return err_set(b->err, ERR_CONFLICT, 0, "store: shard %" PRIu32 " is not open for offers",
                       shard);
    return OK;
}

static enum status offer_find(struct batch *b, struct arena *scratch, uint32_t **out_unknown,
                              size_t *out_unknown_count) {
    const struct write_columns *c = b->columns;
    uint32_t *unknown = NULL, number;
    size_t unknown_count = 0;
    for (size_t i = 0; i < c->count; i++) {
        if (i == 0 || c->shards[i] != c->shards[i - 1]) TRY(offer_shard_check(b, c->shards[i]));
        if (store_shard_of(b->store, c->ids[i]) != c->shards[i])
            return err_set(b->err, ERR_CONFLICT, 0, "store: sample %zu is not of shard %" PRIu32, i,
                           c->shards[i]);
        if (offered_find(b->store->shards[c->shards[i]].tail, c->ids[i], &number)) continue;
        struct sv labels;
        if (write_labels_given(c, i, &labels)) {
            if (c->labels[i].ptr != NULL) TRY(write_labels_check(b, i, labels));
            continue;
        }
        if (unknown == NULL) unknown = arena_alloc(scratch, c->count * sizeof *unknown);
        if (unknown == NULL) return write_nomem(b->err);
        unknown[unknown_count++] = (uint32_t)i;
    }
    TRY(write_items_check(b));
    *out_unknown = unknown;
    *out_unknown_count = unknown_count;
    return OK;
}

/* -- samples */

static void offer_refuse(struct batch *b, size_t i, enum verdict verdict) {
    struct write_result *r = b->result;
    r->counts[verdict]++;
    if (r->refused) return;
    struct sv text = verdict == VERDICT_FUTURE
                         ? SV("out of bounds: timestamp is too far in the future")
                         : SV("the limit of new series is reached");
    r->refused = true;
    r->first_verdict = verdict;
    r->first_index = i;
    r->first_plain_len = text.len;
    memcpy(r->first_text, text.ptr, text.len);
    r->first_text[text.len] = '\0';
}

/* b->err says why not. */
static bool offer_has_room(struct batch *b, struct sv canonical) {
    struct store *store = b->store;
    const struct store_options *o = &store->options;
    struct head_stats stats;
    head_stats(store->head, &stats);
    uint64_t bytes = stats.memory_bytes + store->offered_count * OFFERED_SERIES_BYTES;
    if (store_series_are_full(store, stats.series + store->offered_count, b->err)) return false;
    if (o->memory_bytes_max != 0 && bytes >= o->memory_bytes_max) {
        metric_add(store->metrics.refused_memory, 1);
        return false;
    }
    return head_series_allowed(store->head, canonical, b->err) == OK;
}

/* What has been put is whole when it returns an error. */
static enum status offer_sample(struct batch *b, size_t i) {
    const struct write_columns *c = b->columns;
    struct entry_write *w = &b->store->write;
    uint32_t number;
    if (c->times_ms[i] > b->future_ms) {
        offer_refuse(b, i, VERDICT_FUTURE);
        return OK;
    }
    if (!offered_find(b->tail, c->ids[i], &number)) {
        struct sv canonical;
        if (!write_labels_given(c, i, &canonical)) assert(!"checked before anything was done");
        if (!offer_has_room(b, canonical)) {
            offer_refuse(b, i, VERDICT_LIMIT);
            return OK;
        }
        TRY(write_reserve(b, &w->series, canonical.len));
        number = b->tail->series_count;
        if (offered_add(b->tail, c->ids[i]) != OK) return write_nomem(b->err);
        entry_write_series(w, canonical);
    }
    struct entry_histogram item = {number, c->times_ms[i], write_histogram(c, i)};
    if (item.bytes.ptr != NULL) {
        TRY(write_reserve(b, &w->histograms, entry_histogram_bound(&item)));
        entry_write_histogram(w, &item);
        b->result->counts[VERDICT_ACCEPT]++;
        b->result->histograms_written++;
        return OK;
    }
    enum status status = entry_write_float(w, number, c->times_ms[i], c->values[i]);
    if (status == OK && c->starts_ms != NULL && c->starts_ms[i] != 0)
        status = entry_write_start(w, c->starts_ms[i]);
    assert(status == OK); /* reserved */
    b->result->counts[VERDICT_ACCEPT]++;
    return OK;
}

static enum status offer_items(struct batch *b) {
    const struct write_columns *c = b->columns;
    struct entry_write *w = &b->store->write;
    for (; b->exemplars_at < c->exemplars_count; b->exemplars_at++) {
        const struct write_exemplar *e = &c->exemplars[b->exemplars_at];
        struct entry_exemplar item = {.time_ms = e->time_ms, .value = e->value};
        if (e->shard != b->shard) break;
        item.labels = e->labels;
        if (!offered_find(b->tail, e->id, &item.number) || !entry_exemplar_labels_valid(e->labels))
            continue;
        TRY(write_reserve(b, &w->exemplars, entry_exemplar_bound(&item)));
        entry_write_exemplar(w, &item);
        b->result->exemplars_kept++;
    }
    for (; b->metadata_at < c->metadata_count; b->metadata_at++) {
        const struct write_metadata *m = &c->metadata[b->metadata_at];
        if (m->shard != b->shard) break;
        if (!entry_metadata_valid(&m->item)) continue;
        TRY(write_reserve(b, &w->metadata, entry_metadata_bound(&m->item)));
        entry_write_metadata(w, &m->item);
        b->result->metadata_kept++;
    }
    return OK;
}

static enum status offer_run(struct batch *b, uint32_t shard, size_t from, size_t to) {
    struct store *store = b->store;
    b->shard = shard;
    b->st = &store->shards[shard];
    b->tail = b->st->tail;
    b->left = to - from;
    entry_write_clear(&store->write);
    TRY(write_reserve(b, &store->write.series, 0));
    enum status status = OK;
    for (size_t i = from; i < to && status == OK; i++) {
        status = offer_sample(b, i);
        b->left--;
    }
    b->left = 0;
    if (status == OK) status = offer_items(b);
    if (entry_write_is_empty(&store->write)) return status;
    buf_clear(&store->body);
    entry_write_finish(&store->write, &store->body);
    struct held_log *held = &b->tail->log;
    struct place at = {held->end.epoch, held->end.seq + 1};
    assert(!store->body.failed); /* reserved */
    store_append_put(
        b->append,
        &(struct entry){ENTRY_OFFER, shard, held->copy, at.epoch, at.seq, buf_sv(&store->body)},
        true);
    held_step(held, store->file, at);
    return status;
}

static enum status offer_runs(struct batch *b) {
    const struct write_columns *c = b->columns;
    for (size_t from = 0, to; from < c->count; from = to) {
        to = from + 1;
        while (to < c->count && c->shards[to] == c->shards[from])
            to++;
        TRY(offer_run(b, c->shards[from], from, to));
    }
    while (b->exemplars_at < c->exemplars_count)
        TRY(offer_run(b, c->exemplars[b->exemplars_at].shard, 0, 0));
    while (b->metadata_at < c->metadata_count)
        TRY(offer_run(b, c->metadata[b->metadata_at].shard, 0, 0));
    return OK;
}

enum status store_offer(struct store *store, const struct write_columns *columns,
                        int64_t cluster_now_ms, struct arena *scratch, struct write_result *out,
                        uint32_t **out_unknown, size_t *out_unknown_count, struct err *err) {
    assert(core_is_current(store->core) && store->log != NULL);
    assert(columns->count <= UINT32_MAX);
    struct err unwanted;
    if (err == NULL) err = &unwanted;
    *out_unknown = NULL;
    *out_unknown_count = 0;
    TRY(log_refusal(store->log, err));
    struct write_result result = {0};
    struct batch b = {.store = store,
                      .shard_check = offer_shard_check,
                      .columns = columns,
                      .result = &result,
                      .err = err};
    if (__builtin_add_overflow(cluster_now_ms, FUTURE_MS, &b.future_ms)) b.future_ms = INT64_MAX;
    TRY(offer_find(&b, scratch, out_unknown, out_unknown_count));
    if (*out_unknown_count > 0)
        return err_set(err, ERR_UNAVAILABLE, 0, "store: labels of %zu samples are not known",
                       *out_unknown_count);
    b.append = store_append_take(store);
    if (b.append == NULL) return write_nomem(err);
    enum status status = offer_runs(&b);
    store_append_hand(store, b.append, APPEND_OWN);
    result.position = store->position;
    *out = result;
    return status;
}
