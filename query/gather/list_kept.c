/* SPDX-License-Identifier: Apache-2.0 */
#include <assert.h>

#include "node/base/bytes.h"
#include "query/gather/list_local.h"

/* Metadata and exemplars on one core: the store's table is walked in slices, place by place. */

static bool series_matches(const struct list_query *q, struct sv labels) {
    for (size_t i = 0; i < q->sets_count; i++) {
        const struct list_set *set = &q->sets[i];
        size_t k = 0;
        while (k < set->count &&
               matcher_match(&set->matchers[k], labels_get(labels, set->matchers[k].name)))
            k++;
        if (k == set->count) return true;
    }
    return false;
}

static enum status add_exemplars(struct list_local *lp, struct store *store, uint32_t place,
                                 struct list_scratch *s) {
    const struct list_query *q = lp->query;
    const struct exemplars *e = store_exemplars(store);
    struct head *head = store_head(store);
    uint32_t ref;
    int64_t oldest_ms, newest_ms;
    if (!exemplars_series(e, place, &ref, &oldest_ms, &newest_ms)) return OK;
    if (oldest_ms > q->to_ms || newest_ms <= q->from_ms) return OK;
    if (!shard_set_has(&lp->shards, head_series_shard(head, ref))) return OK;
    buf_clear(&s->labels);
    head_series_labels(head, ref, &s->labels);
    if (!s->labels.failed && !series_matches(q, buf_sv(&s->labels))) return OK;
    entry_write_clear(&s->items);
    if (exemplars_read(e, place, q->from_ms, q->to_ms, &s->items) == 0) return OK;
    buf_clear(&s->item);
    buf_put_lenstr(&s->item, buf_sv(&s->labels));
    buf_put_sv(&s->item, buf_sv(&s->items.exemplars));
    if (s->labels.failed || s->items.exemplars.failed || s->item.failed)
        return err_set(&lp->err, ERR_NOMEM, 0, "list: out of memory");
    return list_items_add(&lp->items, buf_sv(&s->item), &lp->err);
}

static enum status add_metadata(struct list_local *lp, const struct metadata *m, uint32_t place,
                                struct list_scratch *s) {
    if (!shard_set_has(&lp->shards, metadata_shard_at(m, place))) return OK;
    entry_write_clear(&s->items);
    metadata_read(m, place, &s->items);
    if (s->items.metadata.failed) return err_set(&lp->err, ERR_NOMEM, 0, "list: out of memory");
    return list_items_add(&lp->items, buf_sv(&s->items.metadata), &lp->err);
}

static enum status add_place(struct list_local *lp, struct store *store, uint32_t place,
                             struct list_scratch *s) {
    if (lp->query->kind == GATHER_METADATA)
        return add_metadata(lp, store_metadata(store), place, s);
    return add_exemplars(lp, store, place, s);
}

static uint32_t places(const struct list_local *lp, const struct store *store) {
    return lp->query->kind == GATHER_METADATA ? metadata_names(store_metadata(store))
                                              : exemplars_places(store_exemplars(store));
}

void list_local_kept(struct core *here, struct msg *m) {
    struct list_local *lp = container_of(m, struct list_local, msg);
    assert(here == lp->core);
    struct store *store = here->locals[CORE_STORE];
    const struct list_query *q = lp->query;
    uint64_t until_ns = core_mono_ns(here) + SELECT_SLICE_NS;
    if (q->kind == GATHER_METADATA && q->label.len > 0) {
        uint32_t place = metadata_place(store_metadata(store), q->label);
        if (place != MAP_NONE) lp->status = add_place(lp, store, place, &lp->scratch);
        list_local_end(lp);
        return;
    }
    for (; lp->place < places(lp, store) && lp->status == OK; lp->place++) {
        lp->status = add_place(lp, store, lp->place, &lp->scratch);
        if (lp->place % 64 == 63 && core_mono_ns(here) >= until_ns) {
            lp->place++;
            break;
        }
    }
    if (lp->status == OK && list_query_is_canceled(q))
        lp->status = err_set(&lp->err, ERR_CANCELED, 0, "list was canceled");
    if (lp->status == OK && lp->place < places(lp, store)) {
        core_post(here, &lp->msg);
        return;
    }
    if (lp->status == OK) list_items_finish(&lp->items, q->kind, q->keep_max);
    list_local_end(lp);
}
