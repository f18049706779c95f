/* SPDX-License-Identifier: Apache-2.0 */
#include "storage/store.h"

#include <assert.h>
#include <inttypes.h>
#include <stdlib.h>

#include "node/base/arena.h"
#include "storage/archive/block_list.h"
#include "storage/archive/hidden.h"
#include "storage/archive/loss.h"
#include "storage/archive/transfer.h"
#include "storage/store_internal.h"

enum { ENTRIES_BYTES_KEPT_MAX = 1 << 20, APPENDS_KEPT = 64 };

static const struct metric_def store_metrics[] = {
    {"prometheus_tsdb_head_samples_appended_total", "Total number of appended samples.",
     METRIC_COUNTER, NULL, 0},
    {"prometheus_tsdb_out_of_order_samples_total",
     "Total number of out of order samples ingestion failed attempts due to out of order being "
     "disabled.",
     METRIC_COUNTER, NULL, 0},
    {"prometheus_tsdb_too_old_samples_total",
     "Total number of out of order samples ingestion failed attempts with out of support enabled, "
     "but sample outside of time window.",
     METRIC_COUNTER, NULL, 0},
    {"prometheus_tsdb_out_of_bound_samples_total",
     "Total number of out of bound samples ingestion failed attempts with out of order support "
     "disabled.",
     METRIC_COUNTER, NULL, 0},
    {"prometheus_tsdb_exemplar_exemplars_appended_total", "Total number of appended exemplars.",
     METRIC_COUNTER, NULL, 0},
    {"prometheus_tsdb_exemplar_out_of_order_exemplars_total",
     "Total number of out of order exemplar ingestion failed attempts.", METRIC_COUNTER, NULL, 0},
    {"prometheus_tsdb_exemplar_exemplars_in_storage",
     "Number of exemplars currently in circular storage.", METRIC_GAUGE, NULL, 0},
};

static void series_gone(void *ctx, uint32_t ref) {
    struct store *store = ctx;
    exemplars_forget(&store->exemplars, ref);
}

enum status store_new(struct core *core, const struct store_options *options, struct store **out,
                      struct err *err) {
    assert(options->shards_count > 0);
    struct store *store = calloc(1, sizeof *store);
    if (store == NULL) return err_set(err, ERR_NOMEM, 0, "store: not enough memory");
    store->core = core;
    store->options = *options;
    arena_init(&store->decode, 0);
    exemplars_init(&store->exemplars, options->exemplars_max, options->head.out_of_order_window_ms);
    metadata_init(&store->meta);
    uint32_t count = options->shards_count;
    store->shards_mask = (count & (count - 1)) == 0 ? count - 1 : 0;
    store->shards = calloc(count, sizeof *store->shards);
    /* The limit on series is ours: what was acknowledged must come back at recovery whatever the
     * limit is now. */
    struct head_options head_options = options->head;
    head_options.series_max = 0;
    head_options.shards_count = count;
    if (store->shards == NULL || head_new(&head_options, &store->head) != OK) {
        store_free(store);
        return err_set(err, ERR_NOMEM, 0, "store: not enough memory");
    }
    head_watch_gone(store->head, series_gone, store);
    for (uint32_t i = 0; i < count; i++) {
        held_init(&store->shards[i].log, 0);
        store->shards[i].newest_ms = INT64_MIN;
        store_archived_fini(&store->shards[i]);
    }
    store->metrics.appended = metric_get(&store_metrics[0], "type=\"float\"");
    store->metrics.out_of_order = metric_get(&store_metrics[1], "type=\"float\"");
    store->metrics.too_old = metric_get(&store_metrics[2], "type=\"float\"");
    store->metrics.out_of_bound = metric_get(&store_metrics[3], "type=\"float\"");
    store->metrics.exemplars_appended = metric_get(&store_metrics[4], NULL);
    store->metrics.exemplars_out_of_order = metric_get(&store_metrics[5], NULL);
    store->metrics.exemplars_held = metric_get(&store_metrics[6], NULL);
    store->metrics.refused_series = head_refused_metric("limit=\"series\"");
    store->metrics.refused_memory = head_refused_metric("limit=\"memory\"");
    *out = store;
    return OK;
}

void store_free(struct store *store) {
    if (store == NULL) return;
    store_readings_free(store);
    exports_free(store);
    imports_free(store);
    losses_free(store);
    hidden_free(store->hidden);
    for (struct store_append *a = store->all, *next; a != NULL; a = next) {
        next = a->next_all;
        buf_fini(&a->req.entries);
        free(a->places);
        free(a);
    }
    for (uint32_t i = 0; store->shards != NULL && i < store->options.shards_count; i++) {
        struct store_shard *st = &store->shards[i];
        free(st->refs);
        free(st->epochs);
        store_archived_fini(st);
        held_fini(&st->log);
        tail_free(st);
    }
    free(store->shards);
    block_list_unref(store->blocks);
    head_free(store->head);
    exemplars_fini(&store->exemplars);
    metadata_fini(&store->meta);
    entry_write_fini(&store->write);
    buf_fini(&store->body);
    buf_fini(&store->labels);
    arena_fini(&store->decode);
    free(store);
}

struct head *store_head(struct store *store) {
    return store->head;
}

struct core *store_core(struct store *store) {
    return store->core;
}

const struct exemplars *store_exemplars(const struct store *store) {
    return &store->exemplars;
}

const struct metadata *store_metadata(const struct store *store) {
    return &store->meta;
}

enum status store_shard_open(struct store *store, const struct store_shard_options *o,
                             struct err *err) {
    if (o->shard >= store->options.shards_count) {
        return err_set(err, ERR_CONFLICT, 0, "store: shard %" PRIu32 " of %" PRIu32, o->shard,
                       store->options.shards_count);
    }
    assert(o->role >= STORE_FULL && o->role <= STORE_LOG && o->copy > 0);
    struct store_shard *st = &store->shards[o->shard];
    uint32_t tail_copy = o->role == STORE_LOG                  ? o->copy
                         : o->role == STORE_INIT && o->in_sync ? o->copy - 1
                                                               : 0;
    if (st->role != o->role || o->epoch > st->map_epoch) st->writing = false;
    if (st->tail != NULL && st->tail->log.copy != tail_copy) tail_free(st);
    if (o->copy > st->log.copy) store_whole_drop(store, o->shard);
    st->log.copy = MAX(st->log.copy, o->copy);
    st->open = true;
    st->role = (uint8_t)o->role;
    st->tail_copy = tail_copy;
    st->map_epoch = MAX(st->map_epoch, o->epoch);
    return OK;
}

bool store_has_shard(const struct store *store, uint32_t shard) {
    return shard < store->options.shards_count && store->shards[shard].open;
}

bool store_shard_place(const struct store *store, uint32_t shard, struct shard_place *out) {
    if (!store_has_shard(store, shard)) return false;
    const struct store_shard *st = &store->shards[shard];
    *out = (struct shard_place){.epoch = st->log.has_log ? st->log.end.epoch : st->map_epoch,
                                .seq = st->log.end.seq,
                                .newest_ms = st->newest_ms,
                                .series_count = st->refs_count};
    return true;
}

static const struct held_log *shard_damaged(const struct store_shard *st) {
    if (st->log.damaged) return &st->log;
    return st->tail != NULL && st->tail->log.damaged ? &st->tail->log : NULL;
}

size_t store_damaged_shards(const struct store *store, uint32_t *out, size_t max) {
    size_t count = 0;
    for (uint32_t i = 0; i < store->options.shards_count; i++) {
        if (shard_damaged(&store->shards[i]) == NULL) continue;
        if (count < max) out[count] = i;
        count++;
    }
    return count;
}

bool store_damage(const struct store *store, uint32_t shard, struct err *out) {
    if (shard >= store->options.shards_count) return false;
    const struct held_log *held = shard_damaged(&store->shards[shard]);
    if (held == NULL) return false;
    err_set(out, ERR_CORRUPT, 0, "%s",
            held->damage == NULL ? "store: the shard is damaged" : held->damage);
    return true;
}

void store_set_log(struct store *store, struct log *log,
                   void (*durable)(struct store *store, uint64_t position, enum status status,
                                   const struct err *err, void *ctx),
                   void *ctx) {
    assert(log != NULL && durable != NULL);
    store_suspects_settle(store);
    store->log = log;
    store->durable = durable;
    store->durable_ctx = ctx;
}

void store_set_block_hook(struct store *store,
                          void (*block)(struct store *store, uint64_t position,
                                        const struct store_block *block, void *ctx),
                          void *ctx) {
    store->block = block;
    store->block_ctx = ctx;
}

void store_set_archive(struct store *store, struct archive_core *archive) {
    store->archive = archive;
}

enum status store_set_limits(struct store *store, const struct series_limits *limits) {
    TRY(head_set_limits(store->head, limits->at, limits->count));
    store->options.head.series_max = limits->series_max;
    return OK;
}

void store_set_blocks(struct store *store, struct block_list *list) {
    block_list_unref(store->blocks);
    store->blocks = list;
}

struct block_list *store_blocks(const struct store *store) {
    return store->blocks;
}

void store_recover_file(struct store *store, uint64_t first_frame) {
    store->file = first_frame;
}

/* -- to the log and back */

static void append_drop(struct store_append *a) {
    buf_fini(&a->req.entries);
    free(a->places);
    a->places = NULL;
    a->places_cap = 0;
}

/* What thousands of them needed that were under way at once is not kept. */
static void append_put_back(struct store_append *a) {
    struct store *store = a->store;
    bool keep = store->free_count < APPENDS_KEPT;
    struct store_append **list = keep ? &store->free : &store->free_bare;
    if (keep)
        store->free_count++;
    else
        append_drop(a);
    a->places_count = 0;
    a->next_free = *list;
    *list = a;
}

static void store_on_logged(struct core *here, struct log_append *req, enum status status,
                            const struct err *err) {
    struct store_append *a = container_of(req, struct store_append, req);
    struct store *store = a->store;
    assert(here == store->core);
    uint64_t position = a->position;
    if (req->entries.cap > ENTRIES_BYTES_KEPT_MAX) append_drop(a);
    if (status == OK) {
        store->file = MAX(store->file, req->file);
        store->durable_position = position;
    }
    append_put_back(a);
    store->durable(store, position, status, err, store->durable_ctx);
}

struct store_append *store_append_take(struct store *store) {
    struct store_append *a = store->free;
    if (a != NULL) {
        store->free = a->next_free;
        store->free_count--;
        return a;
    }
    a = store->free_bare;
    if (a != NULL) {
        store->free_bare = a->next_free;
        return a;
    }
    a = calloc(1, sizeof *a);
    if (a == NULL) return NULL;
    a->store = store;
    a->req.done = store_on_logged;
    a->next_all = store->all;
    store->all = a;
    return a;
}

bool store_append_reserve(struct store_append *a, size_t entries, size_t bytes) {
    size_t count = a->places_count + entries;
    bool ok = buf_reserve(&a->req.entries, bytes + entries * ENTRY_HEADER_BYTES_MAX);
    a->req.entries.failed = false; /* what is in it is whole, and goes into the log */
    if (!ok || count <= a->places_cap) return ok;
    size_t cap = MAX(count, a->places_cap * 2);
    struct entry_at *places = realloc(a->places, cap * sizeof *places);
    if (places == NULL) return false;
    a->places = places;
    a->places_cap = cap;
    return true;
}

void store_append_put(struct store_append *a, const struct entry *e, bool tail) {
    struct buf *out = &a->req.entries;
    size_t at = out->len;
    assert(a->places_count < a->places_cap);
    entry_put(e, out);
    assert(!out->failed);
    a->places[a->places_count++] = (struct entry_at){.place = {e->epoch, e->seq},
                                                     .at = at,
                                                     .len = out->len - at,
                                                     .shard = e->shard,
                                                     .tail = tail};
}

void store_append_hand(struct store *store, struct store_append *a, enum append_from from) {
    assert(!store->follows_many); /* positions are promised */
    if (a->req.entries.len == 0) {
        append_put_back(a);
        return;
    }
    a->position = ++store->position;
    if (store->block != NULL) {
        struct store_block block = {.entries = buf_sv(&a->req.entries),
                                    .places = a->places,
                                    .places_count = a->places_count,
                                    .followed = from == APPEND_FOLLOWED};
        store->block(store, a->position, &block, store->block_ctx);
    }
    log_append(store->log, store->core, &a->req);
}

/* -- series numbers */

enum status store_number_reserve(struct store_shard *st) {
    if (st->refs_count < st->refs_cap) return OK;
    if (st->refs_cap > UINT32_MAX / 2) return ERR_NOMEM;
    uint32_t cap = MAX(st->refs_cap * 2, 8);
    uint32_t *refs = realloc(st->refs, cap * sizeof *refs);
    if (refs == NULL) return ERR_NOMEM;
    st->refs = refs;
    st->refs_cap = cap;
    return OK;
}

uint32_t store_number_next(struct store *store, struct store_shard *st, uint32_t ref) {
    assert(st->refs_count < st->refs_cap);
    uint32_t number = st->refs_count++;
    st->refs[number] = ref;
    head_series_set_number(store->head, ref, number);
    return number;
}

void store_numbers_reset(struct store *store, struct store_shard *st) {
    for (uint32_t i = 0; i < st->refs_count; i++)
        head_series_set_number(store->head, st->refs[i], HEAD_NONE);
    st->refs_count = 0;
}
