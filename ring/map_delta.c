/* SPDX-License-Identifier: Apache-2.0 */
/* What changed between two maps. u8 format, varint version before, varint version after, varint
 * replication factor, min_insync, format level; varint count, u64 ids of the nodes that go; varint
 * count, nodes that come or changed, whole, ascending by id; varint count, shards that changed:
 * varint how many unchanged ones lie between, then the shard. Node numbers are the new map's. A
 * shard is unchanged when it says the same of the same nodes. */
#include <assert.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "ring/map_internal.h"

enum { DELTA_FORMAT = 1 };

static bool node_equal(const struct ring_node *a, const struct ring_node *b) {
    return a->id == b->id && a->incarnation == b->incarnation && a->flags == b->flags &&
           strcmp(a->addr, b->addr) == 0 && strcmp(a->zone, b->zone) == 0;
}

/* Is `from` (its node numbers translated) the same as `to`? -1 in node_of: gone. */
static bool shard_equal(const struct ring_shard *from, const struct ring_shard *to,
                        const int32_t *node_of) {
    if (from->epoch != to->epoch || from->primary != to->primary ||
        from->replicas_count != to->replicas_count)
        return false;
    for (unsigned i = 0; i < from->replicas_count; i++) {
        const struct ring_replica *a = &from->replicas[i], *b = &to->replicas[i];
        if (node_of[a->node] != b->node || a->state != b->state || a->in_sync != b->in_sync ||
            a->copy != b->copy || a->since != b->since || a->until != b->until)
            return false;
    }
    return true;
}

static void delta_put_nodes(const struct ring_map *from, const struct ring_map *to,
                            struct buf *out) {
    uint32_t gone = 0, put = 0;
    for (uint32_t i = 0; i < from->nodes_count; i++)
        gone += ring_map_node_index(to, from->nodes[i].id) < 0;
    buf_put_varint(out, gone);
    for (uint32_t i = 0; i < from->nodes_count; i++)
        if (ring_map_node_index(to, from->nodes[i].id) < 0) buf_put_u64(out, from->nodes[i].id);
    for (int pass = 0; pass < 2; pass++) {
        for (uint32_t i = 0; i < to->nodes_count; i++) {
            int at = ring_map_node_index(from, to->nodes[i].id);
            if (at >= 0 && node_equal(&from->nodes[at], &to->nodes[i])) continue;
            if (pass == 0)
                put++;
            else
                map_put_node(&to->nodes[i], out);
        }
        if (pass == 0) buf_put_varint(out, put);
    }
}

void ring_delta_put(const struct ring_map *from, const struct ring_map *to, struct buf *out) {
    const struct ring_settings *set = &to->settings;
    assert(set->shards_count == from->settings.shards_count);
    int32_t node_of[RING_NODES_MAX];
    for (uint32_t i = 0; i < from->nodes_count; i++)
        node_of[i] = ring_map_node_index(to, from->nodes[i].id);
    buf_put_u8(out, DELTA_FORMAT);
    buf_put_varint(out, from->version);
    buf_put_varint(out, to->version);
    buf_put_varint(out, set->replication_factor);
    buf_put_varint(out, set->min_insync);
    buf_put_varint(out, set->format_level);
    delta_put_nodes(from, to, out);
    uint32_t changed = 0, next = 0;
    for (uint32_t s = 0; s < set->shards_count; s++)
        changed += !shard_equal(&from->shards[s], &to->shards[s], node_of);
    buf_put_varint(out, changed);
    for (uint32_t s = 0; s < set->shards_count; s++) {
        if (shard_equal(&from->shards[s], &to->shards[s], node_of)) continue;
        buf_put_varint(out, s - next);
        map_put_shard(&to->shards[s], out);
        next = s + 1;
    }
}

static int node_cmp(const void *a, const void *b) {
    const struct ring_node *x = a, *y = b;
    return x->id < y->id ? -1 : x->id > y->id;
}

/* The new list of nodes, ascending: those that stay, changed, come. */
static uint32_t delta_get_nodes(struct reader *r, const struct ring_map *from,
                                struct ring_node *nodes) {
    uint32_t count = from->nodes_count;
    memcpy(nodes, from->nodes, count * sizeof *nodes);
    uint32_t gone = map_get_u32(r);
    for (uint32_t i = 0; i < gone && !r->failed; i++) {
        uint64_t id = read_u64(r);
        uint32_t k = 0;
        while (k < count && nodes[k].id != id)
            k++;
        if (k == count) {
            r->failed = true;
            return 0;
        }
        memmove(&nodes[k], &nodes[k + 1], (count - k - 1) * sizeof *nodes);
        count--;
    }
    uint32_t put = map_get_u32(r);
    for (uint32_t i = 0; i < put && !r->failed; i++) {
        struct ring_node node = {0};
        map_get_node(r, &node);
        uint32_t k = 0;
        while (k < count && nodes[k].id != node.id)
            k++;
        if (k == RING_NODES_MAX) r->failed = true;
        if (r->failed) return 0;
        nodes[k] = node;
        if (k == count) count++;
    }
    qsort(nodes, count, sizeof *nodes, node_cmp);
    return count;
}

/* Those that the delta names; the others go over with their nodes' new numbers. */
static void delta_get_shards(struct reader *r, const struct ring_map *from, struct ring_map *map) {
    uint32_t shards_count = from->settings.shards_count;
    int32_t node_of[RING_NODES_MAX];
    for (uint32_t i = 0; i < from->nodes_count; i++)
        node_of[i] = ring_map_node_index(map, from->nodes[i].id);
    uint32_t left = map_get_u32(r), next = 0;
    bool skipped = false; /* next is the shard that comes next in the delta */
    for (uint32_t s = 0; s < shards_count && !r->failed; s++) {
        if (left > 0 && !skipped) {
            uint32_t skip = map_get_u32(r);
            if (skip >= shards_count - s) r->failed = true;
            next = s + skip;
            skipped = true;
        }
        if (left > 0 && s == next && !r->failed) {
            map_get_shard(r, &map->shards[s]);
            left--;
            skipped = false;
            continue;
        }
        map->shards[s] = from->shards[s];
        for (unsigned i = 0; i < map->shards[s].replicas_count; i++) {
            int32_t node = node_of[map->shards[s].replicas[i].node];
            if (node < 0) r->failed = true;
            map->shards[s].replicas[i].node = (uint16_t)node;
        }
    }
    if (left > 0) r->failed = true;
}

static enum status delta_apply(struct reader *r, const struct ring_map *from,
                               struct ring_node *nodes, struct ring_map **out, struct err *err) {
    uint64_t from_version = read_varint(r), version = read_varint(r);
    struct ring_settings set = from->settings;
    set.replication_factor = map_get_u32(r);
    set.min_insync = map_get_u32(r);
    set.format_level = map_get_u32(r);
    if (r->failed) return err_set(err, ERR_CORRUPT, 0, "map delta: cut off or malformed");
    if (from_version != from->version)
        return err_set(err, ERR_CONFLICT, 0,
                       "map delta: made from version %" PRIu64 ", applied to %" PRIu64,
                       from_version, from->version);
    if (version <= from_version)
        return err_set(err, ERR_CORRUPT, 0, "map delta: from version %" PRIu64 " to %" PRIu64,
                       from_version, version);
    uint32_t count = delta_get_nodes(r, from, nodes);
    if (r->failed || count == 0)
        return err_set(err, ERR_CORRUPT, 0, "map delta: nodes are cut off or malformed");
    struct ring_map *map;
    TRY(ring_map_new(count, set.shards_count, &map, err));
    map->version = version;
    map->settings = set;
    memcpy(map->nodes, nodes, count * sizeof *nodes);
    delta_get_shards(r, from, map);
    enum status st = OK;
    if (r->failed || reader_left(r) != 0)
        st = err_set(err, ERR_CORRUPT, 0, "map delta: shards are cut off or malformed");
    if (st == OK) st = ring_map_check(map, err);
    if (st == OK)
        *out = map;
    else
        ring_map_unref(map);
    return st;
}

enum status ring_delta_apply(const struct ring_map *from, struct sv delta, struct ring_map **out,
                             struct err *err) {
    struct reader r = reader_init(delta.ptr, delta.len);
    uint8_t format = read_u8(&r);
    if (r.failed) return err_set(err, ERR_CORRUPT, 0, "map delta: empty");
    if (format != DELTA_FORMAT)
        return err_set(err, ERR_UNSUPPORTED, 0, "map delta: format %u, this program reads %d",
                       format, DELTA_FORMAT);
    struct ring_node *nodes = calloc(RING_NODES_MAX, sizeof *nodes);
    if (nodes == NULL) return err_set(err, ERR_NOMEM, 0, "map delta: out of memory");
    enum status st = delta_apply(&r, from, nodes, out, err);
    free(nodes);
    return st;
}
