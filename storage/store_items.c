/* SPDX-License-Identifier: Apache-2.0 */
/* Exemplars and metadata on their way in, beside the samples. */
#include <assert.h>
#include <inttypes.h>

#include "storage/store_internal.h"

static enum status name_shard(const struct store *store, struct sv name, uint32_t *out) {
    const struct head_options *o = &store->options.head;
    return metadata_shard(o->secret, o->tenant, store->options.shards_count, name, out);
}

enum status write_items_check(struct batch *b) {
    const struct write_columns *c = b->columns;
    for (size_t i = 0; i < c->exemplars_count; i++) {
        const struct write_exemplar *e = &c->exemplars[i];
        if (i == 0 || e->shard != e[-1].shard) TRY(b->shard_check(b, e->shard));
        if (store_shard_of(b->store, e->id) != e->shard)
            return err_set(b->err, ERR_CONFLICT, 0, "store: exemplar %zu is not of shard %" PRIu32,
                           i, e->shard);
    }
    for (size_t i = 0; i < c->metadata_count; i++) {
        const struct write_metadata *m = &c->metadata[i];
        uint32_t shard;
        if (i == 0 || m->shard != m[-1].shard) TRY(b->shard_check(b, m->shard));
        if (name_shard(b->store, m->item.name, &shard) != OK) return write_nomem(b->err);
        if (shard != m->shard)
            return err_set(b->err, ERR_CONFLICT, 0, "store: metadata %zu is not of shard %" PRIu32,
                           i, m->shard);
    }
    return OK;
}

/* Into the ring, and into the entry: all or nothing. */
static enum status exemplar_write(struct batch *b, const struct write_exemplar *e) {
    struct store *store = b->store;
    struct entry_exemplar item = {.time_ms = e->time_ms, .value = e->value, .labels = e->labels};
    uint32_t ref = head_find(store->head, e->id);
    if (ref == HEAD_NONE || !entry_exemplar_labels_valid(item.labels)) return OK;
    enum exemplar_verdict verdict = exemplars_judge(&store->exemplars, ref, &item);
    b->exemplars_out_of_order += verdict == EXEMPLAR_OUT_OF_ORDER;
    if (verdict != EXEMPLAR_ACCEPT) return OK;
    TRY(write_series_number(b, ref));
    TRY(write_reserve(b, &store->write.exemplars, entry_exemplar_bound(&item)));
    if (exemplars_add(&store->exemplars, ref, &item) != OK) return write_nomem(b->err);
    item.number = head_series_number(store->head, ref);
    entry_write_exemplar(&store->write, &item);
    assert(!store->write.exemplars.failed); /* reserved */
    b->result->exemplars_kept++;
    return OK;
}

static enum status metadata_write(struct batch *b, const struct entry_metadata *item) {
    struct store *store = b->store;
    uint64_t max = store->options.metadata_bytes_max;
    if (!entry_metadata_valid(item) || metadata_holds(&store->meta, item)) return OK;
    if (max != 0 && metadata_bytes(&store->meta) >= max) return OK;
    TRY(write_reserve(b, &store->write.metadata, entry_metadata_bound(item)));
    if (metadata_add(&store->meta, b->shard, item) != OK) return write_nomem(b->err);
    entry_write_metadata(&store->write, item);
    assert(!store->write.metadata.failed); /* reserved */
    b->result->metadata_kept++;
    return OK;
}

enum status write_items(struct batch *b) {
    const struct write_columns *c = b->columns;
    while (b->exemplars_at < c->exemplars_count && c->exemplars[b->exemplars_at].shard == b->shard)
        TRY(exemplar_write(b, &c->exemplars[b->exemplars_at++]));
    while (b->metadata_at < c->metadata_count && c->metadata[b->metadata_at].shard == b->shard)
        TRY(metadata_write(b, &c->metadata[b->metadata_at++].item));
    return OK;
}

void write_items_count(const struct batch *b) {
    const struct store *store = b->store;
    if (b->exemplars_out_of_order > 0)
        metric_add(store->metrics.exemplars_out_of_order, (double)b->exemplars_out_of_order);
    if (b->result->exemplars_kept == 0) return;
    metric_add(store->metrics.exemplars_appended, b->result->exemplars_kept);
    metric_set(store->metrics.exemplars_held, exemplars_count(&store->exemplars));
}

/* -- recovery */

enum status recover_items_check(const struct store *store, const struct store_shard *st,
                                uint32_t shard, const struct entry_write_view *v, struct err *err) {
    struct sv exemplars = v->exemplars, metadata = v->metadata, histograms = v->histograms;
    struct entry_exemplar e;
    struct entry_metadata m;
    struct entry_histogram h;
    while (entry_histogram_next(&histograms, &h)) {
        if (h.number < st->refs_count + v->series_count) continue;
        return err_set(err, ERR_CORRUPT, 0,
                       "store: shard %u: histogram of series number %u, and there are %zu", shard,
                       h.number, st->refs_count + v->series_count);
    }
    while (entry_exemplar_next(&exemplars, &e)) {
        if (e.number < st->refs_count + v->series_count) continue;
        return err_set(err, ERR_CORRUPT, 0,
                       "store: shard %u: exemplar of series number %u, and there are %zu", shard,
                       e.number, st->refs_count + v->series_count);
    }
    while (entry_metadata_next(&metadata, &m)) {
        uint32_t of;
        if (name_shard(store, m.name, &of) != OK)
            return err_set(err, ERR_NOMEM, 0, "store: shard %u: not enough memory", shard);
        if (of != shard)
            return err_set(err, ERR_CORRUPT, 0, "store: shard %u: metadata of another shard",
                           shard);
    }
    return OK;
}

enum status recover_items(struct store *store, const struct store_shard *st, uint32_t shard,
                          const struct entry_write_view *v) {
    struct sv exemplars = v->exemplars, metadata = v->metadata;
    struct entry_exemplar e;
    struct entry_metadata m;
    while (entry_exemplar_next(&exemplars, &e))
        TRY(exemplars_add(&store->exemplars, st->refs[e.number], &e));
    while (entry_metadata_next(&metadata, &m))
        TRY(metadata_add(&store->meta, shard, &m));
    return OK;
}

enum status recover_histograms(struct store *store, const struct store_shard *st,
                               const struct entry *e, const struct entry_write_view *v,
                               int64_t *newest_ms) {
    struct sv histograms = v->histograms;
    struct entry_histogram h;
    while (entry_histogram_next(&histograms, &h)) {
        uint32_t ref = st->refs[h.number];
        if (e->type == ENTRY_OFFER && head_judge_histogram(store->head, ref, h.time_ms, h.bytes,
                                                           st->newest_ms) != VERDICT_ACCEPT)
            continue;
        TRY(head_append_histogram(store->head, ref, h.time_ms, h.bytes));
        *newest_ms = MAX(*newest_ms, h.time_ms);
    }
    return OK;
}
