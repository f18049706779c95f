/* SPDX-License-Identifier: Apache-2.0 */
#include "storage/archive/exemplars.h"

#include <stdlib.h>

#include "node/base/log.h"
#include "storage/archive/internal.h"
#include "storage/exemplar_items.h"
#include "storage/store_internal.h"

/* OK with nothing in *out where there are none. */
static enum status items_read(const struct block *b, uint32_t shard, struct buf *out,
                              struct err *err) {
    buf_clear(out);
    struct block_shard in;
    if (!block_get_shard(b, shard, &in)) return OK;
    enum status status = block_read_items(b, shard, out, err);
    return status == ERR_UNAVAILABLE ? OK : status;
}

/* -- at a start */

static enum status fill_shard(const struct list_block *b, uint32_t shard, int64_t floor_ms,
                              struct exemplar_fill *fill, struct buf *items, struct err *err) {
    enum status status = items_read(b->block, shard, items, err);
    if (status == OK) status = exemplar_fill_add(fill, shard, floor_ms, buf_sv(items), err);
    if (status == OK || status == ERR_NOMEM) return status;
    log_warn("exemplars of a block were not read", "err", err->msg);
    return OK;
}

static enum status fill_block(const struct archive *a, const struct list_block *b,
                              const struct store *store, struct exemplar_fill *fill,
                              struct err *err) {
    struct buf items = {0};
    enum status status = OK;
    for (uint32_t i = 0; i < b->of.parts_count && status == OK; i++) {
        const struct manifest_part *part = &b->of.parts[i];
        struct store_archived s;
        if (part->shard >= a->options.shards_count ||
            !store_shard_archive(store, part->shard, &s) || s.copy != part->copy || !s.has_head)
            continue;
        status = fill_shard(b, part->shard, s.floor_ms, fill, &items, err);
    }
    buf_fini(&items);
    return status;
}

static int newest_first(const void *a, const void *b) {
    const struct list_block *x = *(const struct list_block *const *)a;
    const struct list_block *y = *(const struct list_block *const *)b;
    if (x->of.max_ms != y->of.max_ms) return x->of.max_ms > y->of.max_ms ? -1 : 1;
    return (x->of.number < y->of.number) - (x->of.number > y->of.number);
}

static enum status fill_from(const struct archive *a, struct store *store, uint64_t first_number,
                             struct exemplar_fill *fill, struct err *err) {
    const struct block_list *list = a->list;
    const struct list_block **blocks = calloc(list->count + 1, sizeof *blocks);
    uint32_t count = 0;
    if (blocks == NULL) return err_set(err, ERR_NOMEM, 0, "archive: not enough memory");
    for (uint32_t i = 0; i < list->count; i++)
        if (list->blocks[i].block != NULL && list->blocks[i].of.resolution_ms == 0 &&
            list->blocks[i].of.number >= first_number)
            blocks[count++] = &list->blocks[i];
    qsort(blocks, count, sizeof *blocks, newest_first);
    enum status status = OK;
    size_t before = fill->count, max = store->options.exemplars_max;
    for (uint32_t i = 0; i < count && status == OK && fill->count - before < max; i++)
        status = fill_block(a, blocks[i], store, fill, err);
    free(blocks);
    return status;
}

enum status archive_fill_exemplars(const struct archive *a, struct store *store, bool from_head,
                                   struct err *err) {
    struct exemplar_fill fill = {0};
    struct err unwanted;
    enum status status = OK;
    if (err == NULL) err = &unwanted;
    if (from_head && a->adopted_from == UINT64_MAX) return OK;
    if (from_head) status = exemplar_fill_take(&fill, store, err);
    if (status == OK) status = fill_from(a, store, from_head ? a->adopted_from : 0, &fill, err);
    if (status == OK) status = exemplar_fill_store(&fill, store, err);
    exemplar_fill_fini(&fill);
    return status;
}

/* -- in a merge */

struct times {
    int64_t *at;
    size_t count, cap;
};

static enum status times_add(struct times *t, struct sv items, struct err *err) {
    struct sv labels, exemplars;
    struct entry_exemplar e;
    uint64_t count;
    if (exemplar_items_check(items, &count, NULL) != OK) return OK; /* they stay as they are */
    if (count > t->cap - t->count) {
        size_t cap = t->cap * 2 + (size_t)count;
        int64_t *at = realloc(t->at, cap * sizeof *at);
        if (at == NULL) return err_set(err, ERR_NOMEM, 0, "archive: not enough memory");
        t->at = at;
        t->cap = cap;
    }
    while (exemplar_items_next(&items, &labels, &exemplars))
        while (entry_exemplar_next(&exemplars, &e))
            t->at[t->count++] = e.time_ms;
    return OK;
}

static int time_cmp(const void *a, const void *b) {
    int64_t x = *(const int64_t *)a, y = *(const int64_t *)b;
    return (x > y) - (x < y);
}

enum status archive_exemplars_from(const struct block_merge_input *inputs, size_t count,
                                   uint32_t shards_count, uint32_t max, int64_t *out_ms,
                                   struct err *err) {
    struct times t = {0};
    struct buf items = {0};
    enum status status = OK;
    *out_ms = INT64_MIN;
    for (size_t i = 0; i < count; i++) {
        for (uint32_t shard = 0; shard < shards_count && status == OK; shard++) {
            if ((inputs[i].shards[shard / 64] >> (shard % 64) & 1) == 0) continue;
            status = items_read(inputs[i].block, shard, &items, err);
            if (status == OK) status = times_add(&t, buf_sv(&items), err);
        }
    }
    if (status == OK && t.count > max) {
        qsort(t.at, t.count, sizeof *t.at, time_cmp);
        size_t first = t.count - max; /* of those equal to the last that goes, all go */
        *out_ms = t.at[first - 1] == INT64_MAX ? INT64_MAX : t.at[first - 1] + 1;
    }
    free(t.at);
    buf_fini(&items);
    return status;
}
