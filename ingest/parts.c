/* SPDX-License-Identifier: Apache-2.0 */
#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "ingest/internal.h"

/* The parts of an op, and what of exemplars and metadata goes with each. */

/* Where the i-th of a column of items of one size has its shard. */
struct shard_column {
    const char *at;
    size_t count, stride;
};

static uint32_t column_shard(const struct shard_column *c, size_t i) {
    uint32_t shard;
    memcpy(&shard, c->at + i * c->stride, sizeof shard);
    return shard;
}

static struct shard_column column_of(const uint32_t *first, size_t count, size_t stride) {
    return (struct shard_column){(const char *)first, count, stride};
}

/* to[i] is the place of item i in the order (destination, shard); stable. */
static uint32_t *column_order(struct distributor *d, const struct shard_column *c) {
    uint32_t shards = d->options.map->settings.shards_count;
    uint32_t *to = malloc(c->count * sizeof *to);
    if (to == NULL) return NULL;
    memset(d->counts, 0, ((size_t)shards + 1) * sizeof *d->counts);
    for (size_t i = 0; i < c->count; i++)
        d->counts[d->rank[column_shard(c, i)] + 1]++;
    for (uint32_t i = 0; i < shards; i++)
        d->counts[i + 1] += d->counts[i];
    for (size_t i = 0; i < c->count; i++)
        to[i] = d->counts[d->rank[column_shard(c, i)]]++;
    return to;
}

static enum status sort_exemplars(struct distributor *d, struct write_op *op) {
    const struct write_rows *from = &op->rows;
    size_t n = from->exemplars_count;
    if (n == 0) return OK;
    struct shard_column c = column_of(&from->exemplars->shard, n, sizeof *from->exemplars);
    uint32_t *to = column_order(d, &c);
    op->sorted.exemplars = malloc(n * sizeof *op->sorted.exemplars);
    if (to != NULL && op->sorted.exemplars != NULL) {
        for (size_t i = 0; i < n; i++)
            op->sorted.exemplars[to[i]] = from->exemplars[i];
        op->sorted.exemplars_count = op->sorted.exemplars_cap = n;
    }
    free(to);
    return op->sorted.exemplars_count == n ? OK : ERR_NOMEM;
}

static enum status sort_metadata(struct distributor *d, struct write_op *op) {
    const struct write_rows *from = &op->rows;
    size_t n = from->metadata_count;
    if (n == 0) return OK;
    struct shard_column c = column_of(&from->metadata->shard, n, sizeof *from->metadata);
    uint32_t *to = column_order(d, &c);
    op->sorted.metadata = malloc(n * sizeof *op->sorted.metadata);
    if (to != NULL && op->sorted.metadata != NULL) {
        for (size_t i = 0; i < n; i++)
            op->sorted.metadata[to[i]] = from->metadata[i];
        op->sorted.metadata_count = op->sorted.metadata_cap = n;
    }
    free(to);
    return op->sorted.metadata_count == n ? OK : ERR_NOMEM;
}

enum status op_sort_items(struct distributor *d, struct write_op *op) {
    TRY(sort_exemplars(d, op));
    return sort_metadata(d, op);
}

/* -- cutting: all three are in the same order of destinations */

/* The next item that has another destination than the one at `from`. */
static size_t run_end(const struct distributor *d, const struct shard_column *c, size_t from,
                      uint16_t dest) {
    while (from < c->count && d->dest_of[column_shard(c, from)] == dest)
        from++;
    return from;
}

static size_t part_count_most(const struct distributor *d, const struct shard_column *columns) {
    size_t most = 0;
    for (unsigned k = 0; k < 3; k++)
        for (size_t i = 0; i < columns[k].count; most++)
            i = run_end(d, &columns[k], i, d->dest_of[column_shard(&columns[k], i)]);
    return most;
}

enum status op_cut(struct distributor *d, struct write_op *op) {
    const struct write_rows *rows = &op->sorted;
    struct shard_column columns[3] = {column_of(rows->shards, rows->count, sizeof *rows->shards)};
    if (rows->exemplars_count > 0)
        columns[1] =
            column_of(&rows->exemplars->shard, rows->exemplars_count, sizeof *rows->exemplars);
    if (rows->metadata_count > 0)
        columns[2] =
            column_of(&rows->metadata->shard, rows->metadata_count, sizeof *rows->metadata);
    op->parts = calloc(part_count_most(d, columns), sizeof *op->parts);
    if (op->parts == NULL) return ERR_NOMEM;
    size_t at[3] = {0};
    for (;;) {
        uint16_t dest = 0;
        bool any = false;
        for (unsigned k = 0; k < 3; k++) {
            if (at[k] == columns[k].count) continue;
            uint16_t next = d->dest_of[column_shard(&columns[k], at[k])];
            dest = any ? MIN(dest, next) : next;
            any = true;
        }
        if (!any) return OK;
        size_t end[3];
        for (unsigned k = 0; k < 3; k++)
            end[k] = run_end(d, &columns[k], at[k], dest);
        op->parts[op->parts_count++] = (struct write_part){.op = op,
                                                           .dest = dest,
                                                           .first = at[0],
                                                           .count = end[0] - at[0],
                                                           .first_exemplar = at[1],
                                                           .exemplars_count = end[1] - at[1],
                                                           .first_metadata = at[2],
                                                           .metadata_count = end[2] - at[2],
                                                           .home = d->core};
        memcpy(at, end, sizeof at);
    }
}

uint32_t part_shard(const struct write_part *part) {
    const struct write_rows *rows = &part->op->sorted;
    if (part->count > 0) return rows->shards[part->first];
    if (part->exemplars_count > 0) return rows->exemplars[part->first_exemplar].shard;
    assert(part->metadata_count > 0);
    return rows->metadata[part->first_metadata].shard;
}
