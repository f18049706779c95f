/* SPDX-License-Identifier: Apache-2.0 */
#include <assert.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include "ingest/internal.h"

/* Where shards go, and items in that order: by destination, then shard, stable, so that a series'
 * samples keep their order. */

static int rank_cmp(const void *a, const void *b) {
    uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
    return x < y ? -1 : x > y;
}

static void route_shards(const struct distributor *d, const struct ring_map *map,
                         const uint16_t *core_of, uint64_t *keys) {
    int self = ring_map_node_index(map, d->options.self);
    for (uint32_t s = 0; s < map->settings.shards_count; s++) {
        uint16_t node = ring_map_primary(map, s);
        uint16_t dest = node == self ? core_of[s] : (uint16_t)(d->cores_count + node);
        keys[s] = (uint64_t)dest << 32 | s;
    }
    qsort(keys, map->settings.shards_count, sizeof *keys, rank_cmp);
}

static bool route_alloc(struct distributor *d, uint32_t shards) {
    if (d->dest_of != NULL) return true;
    d->dest_of = calloc(shards, sizeof *d->dest_of);
    d->rank = calloc(shards, sizeof *d->rank);
    d->marks = calloc(shards, sizeof *d->marks);
    d->counts = calloc((size_t)shards + 2, sizeof *d->counts); /* a key's place is behind it */
    return d->dest_of != NULL && d->rank != NULL && d->marks != NULL && d->counts != NULL;
}

enum status distributor_route(struct distributor *d, struct ring_map *map, const uint16_t *core_of,
                              struct err *err) {
    uint32_t shards = map->settings.shards_count;
    assert(shards == d->options.map->settings.shards_count);
    uint64_t *keys = calloc(shards, sizeof *keys);
    if (keys == NULL || !route_alloc(d, shards)) {
        free(keys);
        return err_set(err, ERR_NOMEM, 0, "ingest: out of memory");
    }
    route_shards(d, map, core_of, keys);
    for (uint32_t i = 0; i < shards; i++) {
        d->rank[(uint32_t)keys[i]] = i;
        d->dest_of[(uint32_t)keys[i]] = (uint16_t)(keys[i] >> 32);
    }
    free(keys);
    return OK;
}

/* -- sorting: counting, by a key of the shard */

struct sort_keys {
    const uint32_t *of; /* by shard */
    uint32_t count;     /* keys are below it */
    uint32_t *places;   /* scratch, count + 1 */
};

static struct sort_keys keys_by_rank(const struct distributor *d) {
    return (struct sort_keys){d->rank, d->options.map->settings.shards_count, d->counts};
}

/* A stretch of items of one size, each with its shard at the same place. */
struct items {
    char *at;
    size_t count, stride, shard_at;
};

static struct items op_items(const struct write_op *op, enum item_kind kind, size_t first,
                             size_t count) {
    const struct write_rows *rows = &op->sorted;
    switch (kind) {
    case ITEM_ROWS:
        return (struct items){(char *)(rows->shards + first), count, sizeof *rows->shards, 0};
    case ITEM_EXEMPLARS:
        return (struct items){(char *)(rows->exemplars + first), count, sizeof *rows->exemplars,
                              offsetof(struct write_exemplar, shard)};
    case ITEM_METADATA:
        return (struct items){(char *)(rows->metadata + first), count, sizeof *rows->metadata,
                              offsetof(struct write_metadata, shard)};
    case ITEM_KINDS: break;
    }
    abort();
}

static uint32_t items_shard(const struct items *items, size_t i) {
    uint32_t shard;
    memcpy(&shard, items->at + i * items->stride + items->shard_at, sizeof shard);
    return shard;
}

uint32_t item_shard(const struct write_op *op, enum item_kind kind, size_t i) {
    struct items items = op_items(op, kind, i, 1);
    return items_shard(&items, 0);
}

/* to[i] is the place of item i in the order of its key; stable. */
static void items_places(const struct sort_keys *keys, const struct items *items, uint32_t *to) {
    memset(keys->places, 0, ((size_t)keys->count + 1) * sizeof *keys->places);
    for (size_t i = 0; i < items->count; i++)
        keys->places[keys->of[items_shard(items, i)] + 1]++;
    for (uint32_t i = 0; i < keys->count; i++)
        keys->places[i + 1] += keys->places[i];
    for (size_t i = 0; i < items->count; i++)
        to[i] = keys->places[keys->of[items_shard(items, i)]]++;
}

/* scratch has room for all of them. */
static void column_permute(void *column, size_t size, size_t count, const uint32_t *to,
                           char *scratch) {
    memcpy(scratch, column, count * size);
    for (size_t i = 0; i < count; i++)
        memcpy((char *)column + to[i] * size, scratch + i * size, size);
}

static void rows_permute(struct write_op *op, size_t first, size_t n, const uint32_t *to,
                         char *scratch) {
    struct write_rows *rows = &op->sorted;
    column_permute(rows->ids + first, sizeof *rows->ids, n, to, scratch);
    column_permute(rows->shards + first, sizeof *rows->shards, n, to, scratch);
    column_permute(rows->times_ms + first, sizeof *rows->times_ms, n, to, scratch);
    column_permute(rows->values + first, sizeof *rows->values, n, to, scratch);
    column_permute(rows->labels + first, sizeof *rows->labels, n, to, scratch);
    if (rows->starts_ms != NULL)
        column_permute(rows->starts_ms + first, sizeof *rows->starts_ms, n, to, scratch);
    if (rows->histograms != NULL)
        column_permute(rows->histograms + first, sizeof *rows->histograms, n, to, scratch);
    column_permute(op->order + first, sizeof *op->order, n, to, scratch);
}

/* Sorts stretches of op->sorted in place. */
static enum status sort_in_place(const struct sort_keys *keys, struct write_op *op,
                                 const size_t *first, const size_t *count) {
    size_t most = 0, bytes = 0;
    for (unsigned kind = 0; kind < ITEM_KINDS; kind++) {
        struct items items = op_items(op, (enum item_kind)kind, first[kind], count[kind]);
        most = MAX(most, count[kind]);
        bytes = MAX(bytes, count[kind] * MAX(items.stride, sizeof(struct sv)));
    }
    if (most == 0) return OK;
    uint32_t *to = malloc(most * sizeof *to);
    char *scratch = malloc(bytes);
    for (unsigned kind = 0; kind < ITEM_KINDS && to != NULL && scratch != NULL; kind++) {
        struct items items = op_items(op, (enum item_kind)kind, first[kind], count[kind]);
        if (count[kind] == 0) continue;
        items_places(keys, &items, to);
        if (kind == ITEM_ROWS)
            rows_permute(op, first[kind], count[kind], to, scratch);
        else
            column_permute(items.at, items.stride, count[kind], to, scratch);
    }
    enum status st = to != NULL && scratch != NULL ? OK : ERR_NOMEM;
    free(to);
    free(scratch);
    return st;
}

enum status part_sort(struct distributor *d, struct write_part *part) {
    struct sort_keys keys = keys_by_rank(d);
    return sort_in_place(&keys, part->op, part->first, part->count);
}

/* -- the first sort: copies */

static bool copy_items(void **out, const void *from, size_t count, size_t size) {
    if (count == 0) return true;
    *out = malloc(count * size);
    if (*out == NULL) return false;
    memcpy(*out, from, count * size);
    return true;
}

static enum status op_sort_beside(struct distributor *d, struct write_op *op) {
    const struct write_rows *from = &op->rows;
    void *exemplars = NULL, *metadata = NULL;
    bool ok =
        copy_items(&exemplars, from->exemplars, from->exemplars_count, sizeof *from->exemplars) &&
        copy_items(&metadata, from->metadata, from->metadata_count, sizeof *from->metadata);
    op->sorted.exemplars = exemplars;
    op->sorted.metadata = metadata;
    if (!ok) return ERR_NOMEM;
    op->sorted.exemplars_count = op->sorted.exemplars_cap = from->exemplars_count;
    op->sorted.metadata_count = op->sorted.metadata_cap = from->metadata_count;
    struct sort_keys keys = keys_by_rank(d);
    size_t first[ITEM_KINDS] = {0};
    size_t count[ITEM_KINDS] = {0, from->exemplars_count, from->metadata_count};
    return sort_in_place(&keys, op, first, count);
}

/* The columns that few requests have. */
static enum status op_sort_rare(struct write_op *op) {
    const struct write_rows *from = &op->rows;
    struct write_rows *to = &op->sorted;
    if (from->starts_ms != NULL) TRY(write_rows_want_starts(to));
    if (from->histograms != NULL) TRY(write_rows_want_histograms(to));
    for (size_t k = 0; from->starts_ms != NULL && k < to->count; k++)
        to->starts_ms[k] = from->starts_ms[op->order[k]];
    for (size_t k = 0; from->histograms != NULL && k < to->count; k++)
        to->histograms[k] = from->histograms[op->order[k]];
    return OK;
}

enum status op_sort(struct distributor *d, struct write_op *op) {
    size_t n = op->rows.count;
    TRY(op_sort_beside(d, op));
    if (n == 0) return OK;
    op->order = malloc(n * sizeof *op->order);
    if (op->order == NULL || write_rows_reserve(&op->sorted, n) != OK) return ERR_NOMEM;
    uint32_t shards = d->options.map->settings.shards_count;
    memset(d->counts, 0, ((size_t)shards + 1) * sizeof *d->counts);
    for (size_t i = 0; i < n; i++)
        d->counts[d->rank[op->rows.shards[i]] + 1]++;
    for (uint32_t i = 0; i < shards; i++)
        d->counts[i + 1] += d->counts[i];
    for (size_t i = 0; i < n; i++)
        op->order[d->counts[d->rank[op->rows.shards[i]]]++] = (uint32_t)i;
    struct write_rows *to = &op->sorted;
    for (size_t k = 0; k < n; k++) {
        uint32_t i = op->order[k];
        to->ids[k] = op->rows.ids[i];
        to->shards[k] = op->rows.shards[i];
        to->times_ms[k] = op->rows.times_ms[i];
        to->values[k] = op->rows.values[i];
        to->labels[k] = op->rows.labels[i];
    }
    to->count = n;
    return op_sort_rare(op);
}

/* -- splitting */

static void marks_clear(struct distributor *d, const struct write_part *part) {
    for (unsigned kind = 0; kind < ITEM_KINDS; kind++)
        for (size_t i = 0; i < part->count[kind]; i++)
            d->marks[item_shard(part->op, (enum item_kind)kind, part->first[kind] + i)] = 0;
}

enum status part_split(struct distributor *d, struct write_part *part,
                       struct write_part **out_marked) {
    struct write_part *marked = part_new(part->op);
    struct sort_keys keys = {d->marks, 2, d->counts};
    if (marked == NULL || sort_in_place(&keys, part->op, part->first, part->count) != OK) {
        marks_clear(d, part);
        part_free(marked);
        return ERR_NOMEM;
    }
    marked->home = part->home;
    marked->dest = part->dest;
    marked->to = part->to;
    marked->routing = part->routing;
    for (unsigned kind = 0; kind < ITEM_KINDS; kind++) {
        size_t first = part->first[kind], end = first + part->count[kind], at = first;
        while (at < end && d->marks[item_shard(part->op, (enum item_kind)kind, at)] == 0)
            at++;
        part->count[kind] = at - first;
        marked->first[kind] = at;
        marked->count[kind] = end - at;
    }
    marks_clear(d, marked);
    *out_marked = marked;
    return OK;
}
