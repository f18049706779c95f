/* SPDX-License-Identifier: Apache-2.0 */
#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "ingest/internal.h"

/* The parts of an op, and what of exemplars and metadata goes with each. */

struct write_part *part_new(struct write_op *op) {
    struct write_part *part = calloc(1, sizeof *part);
    if (part == NULL) return NULL;
    part->op = op;
    part->home = op->d->core;
    list_init(&part->node);
    list_init(&part->waiting);
    timer_init(&part->retry, op->d->core, part_on_retry);
    return part;
}

void part_free(struct write_part *part) {
    if (part == NULL) return;
    timer_stop(&part->retry);
    list_remove(&part->node);
    list_remove(&part->waiting);
    part_free(part->left); /* these have none themselves */
    part_free(part->apart);
    free(part->unknown);
    free(part);
}

static void parts_free(struct list_node *parts) {
    while (!list_is_empty(parts))
        part_free(container_of(parts->next, struct write_part, node));
}

/* -- cutting: all kinds are in the same order of destinations */

static uint16_t item_dest(const struct distributor *d, const struct write_op *op, unsigned kind,
                          size_t i) {
    return d->dest_of[item_shard(op, (enum item_kind)kind, i)];
}

/* The next item that has another destination than `dest`. */
static size_t run_end(const struct distributor *d, const struct write_op *op, unsigned kind,
                      size_t from, size_t end, uint16_t dest) {
    if (kind == ITEM_ROWS) {
        while (from < end && d->dest_of[op->sorted.shards[from]] == dest)
            from++;
        return from;
    }
    while (from < end && item_dest(d, op, kind, from) == dest)
        from++;
    return from;
}

/* false: nothing is left. */
static bool next_dest(const struct distributor *d, const struct write_op *op, const size_t *at,
                      const size_t *end, uint16_t *out) {
    bool any = false;
    for (unsigned kind = 0; kind < ITEM_KINDS; kind++) {
        if (at[kind] == end[kind]) continue;
        uint16_t dest = item_dest(d, op, kind, at[kind]);
        *out = any ? MIN(*out, dest) : dest;
        any = true;
    }
    return any;
}

enum status op_cut(struct distributor *d, struct write_op *op, const size_t *first,
                   const size_t *count, struct list_node *out) {
    struct list_node parts;
    size_t at[ITEM_KINDS], end[ITEM_KINDS];
    uint16_t dest = 0;
    list_init(&parts);
    for (unsigned kind = 0; kind < ITEM_KINDS; kind++) {
        at[kind] = first[kind];
        end[kind] = first[kind] + count[kind];
    }
    while (next_dest(d, op, at, end, &dest)) {
        struct write_part *part = part_new(op);
        if (part == NULL) {
            parts_free(&parts);
            return ERR_NOMEM;
        }
        list_push_back(&parts, &part->node);
        part->dest = dest;
        part->routing = d->routing;
        if (dest >= d->cores_count && dest != DEST_NONE)
            part->to = d->options.map->nodes[dest - d->cores_count].id;
        for (unsigned kind = 0; kind < ITEM_KINDS; kind++) {
            size_t to = run_end(d, op, kind, at[kind], end[kind], dest);
            part->first[kind] = at[kind];
            part->count[kind] = to - at[kind];
            at[kind] = to;
        }
    }
    struct list_node *n;
    while ((n = list_pop_front(&parts)) != NULL)
        list_push_back(out, n);
    return OK;
}

/* -- the shards of a part */

/* The lowest of those at the places; false: all are at their ends. */
static bool lowest_shard(const struct write_part *part, const size_t *at, uint32_t *out) {
    bool any = false;
    for (unsigned kind = 0; kind < ITEM_KINDS; kind++) {
        if (at[kind] == part->first[kind] + part->count[kind]) continue;
        uint32_t shard = item_shard(part->op, (enum item_kind)kind, at[kind]);
        *out = any ? MIN(*out, shard) : shard;
        any = true;
    }
    return any;
}

uint32_t part_shard(const struct write_part *part) {
    uint32_t shard = 0;
    bool any = lowest_shard(part, part->first, &shard);
    assert(any);
    return shard;
}

/* Nearly always: samples only. */
static size_t rows_shards(const struct write_part *part, uint32_t *out) {
    const uint32_t *shards = part->op->sorted.shards + part->first[ITEM_ROWS];
    size_t count = 0;
    for (size_t i = 0; i < part->count[ITEM_ROWS]; i++)
        if (count == 0 || shards[i] != out[count - 1]) out[count++] = shards[i];
    return count;
}

uint32_t *part_shards(const struct write_part *part, struct arena *arena, size_t *out_count) {
    size_t most = part->count[ITEM_ROWS] + part->count[ITEM_EXEMPLARS] + part->count[ITEM_METADATA];
    uint32_t *shards = arena_array(arena, most, sizeof *shards);
    if (shards == NULL) return NULL;
    if (most == part->count[ITEM_ROWS]) {
        *out_count = rows_shards(part, shards);
        return shards;
    }
    size_t at[ITEM_KINDS], count = 0;
    uint32_t shard = 0;
    memcpy(at, part->first, sizeof at);
    while (lowest_shard(part, at, &shard)) {
        shards[count++] = shard;
        for (unsigned kind = 0; kind < ITEM_KINDS; kind++)
            while (at[kind] < part->first[kind] + part->count[kind] &&
                   item_shard(part->op, (enum item_kind)kind, at[kind]) == shard)
                at[kind]++;
    }
    *out_count = count;
    return shards;
}
