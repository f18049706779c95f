/* SPDX-License-Identifier: Apache-2.0 */
#include "storage/archive/flush_group.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "node/base/cancel.h"

struct flush_item {
    size_t view;
    uint32_t shard; /* index in shards */
    uint32_t len;
    size_t offset; /* in canonical */
    const char *bytes;
};

static enum status group_nomem(struct err *err) {
    return err_set(err, ERR_NOMEM, 0, "flush: not enough memory");
}

static int item_cmp(const void *a, const void *b) {
    const struct flush_item *x = a, *y = b;
    if (x->shard != y->shard) return x->shard < y->shard ? -1 : 1;
    int order = memcmp(x->bytes, y->bytes, MIN(x->len, y->len));
    return order != 0 ? order : (x->len > y->len) - (x->len < y->len);
}

static uint32_t shard_index(const struct flush_group *g, uint32_t shard) {
    uint32_t low = 0, high = g->shards_count;
    while (low < high) {
        uint32_t mid = low + (high - low) / 2;
        if (g->shards[mid].shard < shard)
            low = mid + 1;
        else
            high = mid;
    }
    assert(low < g->shards_count && g->shards[low].shard == shard);
    return low;
}

static enum status item_make(struct flush_group *g, size_t view, struct err *err) {
    const struct series_view *v = &g->views[view];
    size_t count = series_view_labels(v, g->labels, g->labels_cap);
    if (count > g->labels_cap) {
        struct label *labels = realloc(g->labels, count * sizeof *labels);
        if (labels == NULL) return group_nomem(err);
        g->labels = labels;
        g->labels_cap = count;
        count = series_view_labels(v, g->labels, g->labels_cap);
    }
    size_t offset = g->canonical.len;
    TRY(labels_encode(g->labels, count, &g->canonical, err));
    if (g->canonical.failed) return group_nomem(err);
    g->items[view] = (struct flush_item){.view = view,
                                         .shard = shard_index(g, v->shard),
                                         .offset = offset,
                                         .len = (uint32_t)(g->canonical.len - offset)};
    return OK;
}

static enum status items_make(struct flush_group *g, struct err *err) {
    if (g->items_cap < g->views_count) {
        struct flush_item *items = realloc(g->items, g->views_count * sizeof *items);
        if (items == NULL) return group_nomem(err);
        g->items = items;
        g->items_cap = g->views_count;
    }
    buf_clear(&g->canonical);
    for (size_t i = 0; i < g->views_count; i++)
        TRY(item_make(g, i, err));
    for (size_t i = 0; i < g->views_count; i++)
        g->items[i].bytes = g->canonical.ptr + g->items[i].offset;
    qsort(g->items, g->views_count, sizeof *g->items, item_cmp);
    return OK;
}

enum status flush_group_write(struct flush_group *g, struct block_writer *w, struct err *err) {
    TRY(items_make(g, err));
    for (size_t i = 0; i < g->views_count; i++) {
        const struct flush_item *item = &g->items[i];
        const struct flush_shard *s = &g->shards[item->shard];
        if (cancel_is_set(g->canceled)) return err_set(err, ERR_CANCELED, 0, "flush: canceled");
        if (s->from_ms >= s->to_ms) continue;
        samples_clear(&g->samples);
        TRY(series_view_read(&g->views[item->view],
                             s->from_ms == INT64_MIN ? INT64_MIN : s->from_ms - 1, s->to_ms - 1,
                             &g->samples, err));
        if (g->samples.count == 0) continue;
        TRY(block_writer_add(w, s->shard, sv_make(item->bytes, item->len), &g->samples, err));
    }
    return OK;
}

void flush_group_fini(struct flush_group *g) {
    free(g->items);
    free(g->labels);
    buf_fini(&g->canonical);
    samples_fini(&g->samples);
    *g = (struct flush_group){0};
}
