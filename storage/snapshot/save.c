/* SPDX-License-Identifier: Apache-2.0 */
/* The file of a core, part after part; no more than a part is in memory. Records, beside shard.c's
 * and series_save.c's:
 *   PAIRS      varint len, canonical bytes of a label; by number, len 0 where there is none
 *   TIMES      varint count, varint len, column (storage/page); by number, 0 0 where there is none
 *   SERIES     in the order in which they came to the core, so that those of a target lie together
 *   EXEMPLARS  varint shard, u64 id high, u64 id low, i64 time, u64 value bits, varint len, labels;
 *              in the order in which they came
 *   METADATA   varint shard, varint len, a family's items as an entry has them, newest first
 *   END        u64 series */
#include "storage/internal.h"
#include "storage/snapshot/internal.h"

static enum status shards_save(const struct store *store, struct part_writer *w,
                               struct snapshot_told *told, struct err *err) {
    TRY(part_begin(w, PART_SHARDS, err));
    for (uint32_t i = 0; i < store->options.shards_count; i++) {
        if (!snapshot_shard_is_put(store, i)) continue;
        snapshot_shard_put(store, i, &w->part);
        told->shards++;
        TRY(part_flush(w, false, err));
    }
    return OK;
}

static enum status pairs_save(const struct head *head, struct part_writer *w, struct err *err) {
    TRY(part_begin(w, PART_PAIRS, err));
    for (uint32_t i = 0; i < head->symbols.pairs.count; i++) {
        const struct pair *p = symbols_pair(head->symbols.pairs.dir, i);
        buf_put_lenstr(&w->part, sv_make(p->bytes, p->bytes == NULL ? 0 : p->len_bytes));
        TRY(part_flush(w, false, err));
    }
    return OK;
}

static enum status times_save(const struct head *head, struct part_writer *w, struct err *err) {
    TRY(part_begin(w, PART_TIMES, err));
    for (uint32_t i = 0; i < head->times.count; i++) {
        const struct times *t = head->times.at[i].times;
        buf_put_varint(&w->part, t == NULL ? 0 : t->count);
        buf_put_lenstr(&w->part, t == NULL ? SV("") : sv_make(t->bytes, t->len_bytes));
        TRY(part_flush(w, false, err));
    }
    return OK;
}

static enum status all_series_save(const struct store *store, struct part_writer *w,
                                   struct snapshot_told *told, struct err *err) {
    const struct head *head = store->head;
    enum status status = part_begin(w, PART_SERIES, err);
    struct saved_columns *columns = status == OK ? saved_columns_new() : NULL;
    if (status == OK && columns == NULL)
        status = err_set(err, ERR_NOMEM, 0, "snapshot: not enough memory");
    for (uint32_t i = 0; i < head->orders.count && status == OK; i++) {
        uint32_t ref = orders_ref(&head->orders, i);
        if (ref == ORDERS_NONE || !head_is_live(head, ref)) continue;
        const struct series_cold *cold = head_cold(head, ref);
        if (cold->labels->order != i || !snapshot_shard_is_saved(store, cold->shard)) continue;
        snapshot_series_put(store, ref, columns, &w->part, &told->samples);
        told->series++;
        status = part_flush(w, false, err);
    }
    saved_columns_free(columns);
    return status;
}

struct exemplars_save {
    const struct store *store;
    struct part_writer *w;
    struct err *err;
    enum status status;
};

static void exemplar_save(void *ctx, uint32_t ref, const struct entry_exemplar *item) {
    struct exemplars_save *s = ctx;
    const struct head *head = s->store->head;
    struct buf *out = &s->w->part;
    if (s->status != OK || !head_series_is_live(head, ref)) return;
    if (!snapshot_shard_is_saved(s->store, head_series_shard(head, ref))) return;
    series_id id = head_series(head, ref)->id;
    buf_put_varint(out, head_series_shard(head, ref));
    buf_put_u64(out, id.hi);
    buf_put_u64(out, id.lo);
    buf_put_u64(out, (uint64_t)item->time_ms);
    buf_put_f64(out, item->value);
    buf_put_lenstr(out, item->labels);
    s->status = part_flush(s->w, false, s->err);
}

static enum status exemplars_save(const struct store *store, struct part_writer *w,
                                  struct err *err) {
    struct exemplars_save s = {store, w, err, OK};
    TRY(part_begin(w, PART_EXEMPLARS, err));
    exemplars_each(&store->exemplars, exemplar_save, &s);
    return s.status;
}

static enum status metadata_save(const struct store *store, struct part_writer *w,
                                 struct err *err) {
    struct entry_write items = {0};
    enum status status = part_begin(w, PART_METADATA, err);
    for (uint32_t i = 0; i < metadata_names(&store->meta) && status == OK; i++) {
        uint32_t shard = metadata_shard_at(&store->meta, i);
        if (!snapshot_shard_is_saved(store, shard)) continue;
        entry_write_clear(&items);
        metadata_read(&store->meta, i, &items);
        if (items.metadata.failed) w->part.failed = true;
        if (items.metadata_count == 0) continue;
        buf_put_varint(&w->part, shard);
        buf_put_lenstr(&w->part, buf_sv(&items.metadata));
        status = part_flush(w, false, err);
    }
    entry_write_fini(&items);
    return status;
}

static enum status parts_save(const struct store *store, struct part_writer *w,
                              struct snapshot_told *told, struct err *err) {
    TRY(shards_save(store, w, told, err));
    TRY(pairs_save(store->head, w, err));
    TRY(times_save(store->head, w, err));
    TRY(all_series_save(store, w, told, err));
    TRY(exemplars_save(store, w, err));
    TRY(metadata_save(store, w, err));
    TRY(part_begin(w, PART_END, err));
    buf_put_u64(&w->part, told->series);
    return part_writer_finish(w, err);
}

enum status snapshot_core_save(const struct snapshot_place *at, const struct snapshot_save *s,
                               unsigned core, struct snapshot_file *out, struct snapshot_told *told,
                               struct err *err) {
    struct part_writer w = {.goes_on = s->goes_on, .ctx = s->ctx};
    char path[SNAPSHOT_PATH_MAX];
    snapshot_core_path(at, core, path);
    enum status status = part_writer_open(&w, at->rt->disk, path, core, err);
    if (status == OK) status = parts_save(s->stores[core], &w, told, err);
    *out = w.at;
    told->bytes = w.at.bytes;
    part_writer_fini(&w);
    return status;
}
