/* SPDX-License-Identifier: Apache-2.0 */
#include "ring/map.h"

#include <assert.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "node/base/bytes.h"
#include "node/base/hash.h"
#include "node/base/refs.h"
#include "node/runtime/disk.h"

/* 00-07 magic, 08-09 format version, 10-11 oldest reader's version, then the body (map_put_body),
 * XXH3-64 of all before. */
static const char map_magic[8] = {'C', 'A', 'I', 'R', 'N', 'M', 'A', 'P'};
enum {
    MAP_FORMAT = 1,
    MAP_HEADER_BYTES = 12,
    MAP_FILE_BYTES_MAX = 32 << 20,
    MAP_PATH_BYTES = 4096
};

enum status ring_map_new(uint32_t nodes_count, uint32_t shards_count, struct ring_map **out,
                         struct err *err) {
    if (nodes_count == 0 || nodes_count > RING_NODES_MAX)
        return err_set(err, ERR_LIMIT, 0, "map: %" PRIu32 " nodes, 1 to %d are possible",
                       nodes_count, RING_NODES_MAX);
    if (shards_count == 0 || shards_count > RING_SHARDS_MAX)
        return err_set(err, ERR_LIMIT, 0, "map: %" PRIu32 " shards, 1 to %d are possible",
                       shards_count, RING_SHARDS_MAX);
    struct ring_map *map = calloc(1, sizeof *map);
    if (map == NULL) return err_set(err, ERR_NOMEM, 0, "map: out of memory");
    *map = (struct ring_map){
        .nodes_count = nodes_count, .refs = 1, .settings.shards_count = shards_count};
    map->nodes = calloc(nodes_count, sizeof *map->nodes);
    map->shards = calloc(shards_count, sizeof *map->shards);
    if (map->nodes == NULL || map->shards == NULL) {
        ring_map_unref(map);
        return err_set(err, ERR_NOMEM, 0, "map: out of memory");
    }
    *out = map;
    return OK;
}

struct ring_map *ring_map_ref(struct ring_map *map) {
    refs_inc(&map->refs);
    return map;
}

void ring_map_unref(struct ring_map *map) {
    if (map == NULL || !refs_dec(&map->refs)) return;
    free(map->nodes);
    free(map->shards);
    free(map);
}

int ring_map_node_index(const struct ring_map *map, node_id id) {
    uint32_t lo = 0, hi = map->nodes_count;
    while (lo < hi) {
        uint32_t mid = (lo + hi) / 2;
        if (map->nodes[mid].id < id)
            lo = mid + 1;
        else
            hi = mid;
    }
    return lo < map->nodes_count && map->nodes[lo].id == id ? (int)lo : -1;
}

int ring_shard_replica(const struct ring_shard *shard, int node) {
    for (int i = 0; i < shard->replicas_count; i++)
        if (shard->replicas[i].node == node) return i;
    return -1;
}

static enum status map_check_shard(const struct ring_map *map, uint32_t shard, struct err *err) {
    const struct ring_shard *s = &map->shards[shard];
    if (s->epoch == 0)
        return err_set(err, ERR_CORRUPT, 0, "map: shard %" PRIu32 " has epoch 0", shard);
    if (s->replicas_count == 0 || s->replicas_count > RING_REPLICAS_MAX ||
        s->primary >= s->replicas_count)
        return err_set(err, ERR_CORRUPT, 0, "map: shard %" PRIu32 " has %u replicas, primary %u",
                       shard, s->replicas_count, s->primary);
    for (unsigned i = 0; i < s->replicas_count; i++) {
        const struct ring_replica *r = &s->replicas[i];
        if (r->node >= map->nodes_count || r->state < REPLICA_FULL || r->state > REPLICA_LEAVING)
            return err_set(err, ERR_CORRUPT, 0,
                           "map: shard %" PRIu32 " replica %u names node %u in state %u", shard, i,
                           r->node, r->state);
        for (unsigned k = 0; k < i; k++)
            if (s->replicas[k].node == r->node)
                return err_set(err, ERR_CORRUPT, 0, "map: shard %" PRIu32 " is twice on node %u",
                               shard, r->node);
    }
    const struct ring_replica *p = &s->replicas[s->primary];
    bool any_readable = false;
    for (unsigned i = 0; i < s->replicas_count; i++)
        any_readable = any_readable || ring_replica_is_readable(&s->replicas[i]);
    if (!p->in_sync || p->state == REPLICA_LEAVING || (any_readable && p->state != REPLICA_FULL))
        return err_set(err, ERR_CORRUPT, 0,
                       "map: primary of shard %" PRIu32 " is not a full in-sync replica", shard);
    return OK;
}

enum status ring_map_check(const struct ring_map *map, struct err *err) {
    const struct ring_settings *set = &map->settings;
    if (map->version == 0) return err_set(err, ERR_CORRUPT, 0, "map: version 0");
    if (set->replication_factor == 0 || set->replication_factor > RING_REPLICAS_MAX)
        return err_set(err, ERR_CORRUPT, 0, "map: replication factor %" PRIu32,
                       set->replication_factor);
    if (set->min_insync > RING_REPLICAS_MAX)
        return err_set(err, ERR_CORRUPT, 0,
                       "map: at least %" PRIu32 " in-sync replicas are asked for", set->min_insync);
    if (set->format_level == 0 || set->format_level > RING_FORMAT_LEVEL)
        return err_set(err, ERR_UNSUPPORTED, 0,
                       "map: format level %" PRIu32 ", this program speaks %d", set->format_level,
                       RING_FORMAT_LEVEL);
    for (uint32_t i = 0; i < map->nodes_count; i++) {
        if (map->nodes[i].id == 0 || (i > 0 && map->nodes[i].id <= map->nodes[i - 1].id))
            return err_set(err, ERR_CORRUPT, 0, "map: node ids are not ascending at %" PRIu32, i);
    }
    for (uint32_t s = 0; s < set->shards_count; s++)
        TRY(map_check_shard(map, s, err));
    return OK;
}

static void map_put_body(const struct ring_map *map, struct buf *out) {
    const struct ring_settings *set = &map->settings;
    buf_put_varint(out, map->version);
    buf_put(out, set->cluster_id, sizeof set->cluster_id);
    buf_put_lenstr(out, sv_from(set->cluster_name));
    buf_put_u64(out, set->secret);
    buf_put_varint(out, set->shards_count);
    buf_put_varint(out, set->replication_factor);
    buf_put_varint(out, set->min_insync);
    buf_put_varint(out, set->format_level);
    buf_put_varint(out, map->nodes_count);
    for (uint32_t i = 0; i < map->nodes_count; i++) {
        buf_put_u64(out, map->nodes[i].id);
        buf_put_varint(out, map->nodes[i].incarnation);
        buf_put_u8(out, map->nodes[i].flags);
        buf_put_lenstr(out, sv_from(map->nodes[i].addr));
        buf_put_lenstr(out, sv_from(map->nodes[i].zone));
    }
    for (uint32_t s = 0; s < set->shards_count; s++) {
        const struct ring_shard *shard = &map->shards[s];
        buf_put_varint(out, shard->epoch);
        buf_put_u8(out, shard->primary);
        buf_put_u8(out, shard->replicas_count);
        for (unsigned i = 0; i < shard->replicas_count; i++) {
            const struct ring_replica *r = &shard->replicas[i];
            buf_put_varint(out, r->node);
            buf_put_u8(out, (uint8_t)(r->state | (r->in_sync ? 0x80 : 0)));
            buf_put_varint(out, r->copy);
        }
    }
}

void ring_map_put(const struct ring_map *map, struct buf *out) {
    size_t start = out->len;
    buf_put(out, map_magic, sizeof map_magic);
    buf_put_u16(out, MAP_FORMAT);
    buf_put_u16(out, MAP_FORMAT);
    map_put_body(map, out);
    if (!out->failed) buf_put_u64(out, hash64(out->ptr + start, out->len - start, 0));
}

static void read_text(struct reader *r, char *out, size_t size) {
    struct sv s = read_lenstr(r);
    if (s.len >= size || (s.len > 0 && memchr(s.ptr, 0, s.len) != NULL)) r->failed = true;
    if (r->failed) return;
    memcpy(out, s.ptr, s.len);
    out[s.len] = '\0';
}

static uint32_t read_u32_varint(struct reader *r) {
    uint64_t v = read_varint(r);
    if (v > UINT32_MAX) r->failed = true;
    return (uint32_t)v;
}

static void map_get_members(struct reader *r, struct ring_map *map) {
    for (uint32_t i = 0; i < map->nodes_count && !r->failed; i++) {
        map->nodes[i].id = read_u64(r);
        map->nodes[i].incarnation = read_u32_varint(r);
        map->nodes[i].flags = read_u8(r);
        read_text(r, map->nodes[i].addr, sizeof map->nodes[i].addr);
        read_text(r, map->nodes[i].zone, sizeof map->nodes[i].zone);
    }
    for (uint32_t s = 0; s < map->settings.shards_count && !r->failed; s++) {
        struct ring_shard *shard = &map->shards[s];
        shard->epoch = read_u32_varint(r);
        shard->primary = read_u8(r);
        shard->replicas_count = read_u8(r);
        if (shard->replicas_count > RING_REPLICAS_MAX) r->failed = true;
        for (unsigned i = 0; i < shard->replicas_count && !r->failed; i++) {
            struct ring_replica *rep = &shard->replicas[i];
            uint32_t node = read_u32_varint(r);
            if (node > UINT16_MAX) r->failed = true;
            rep->node = (uint16_t)node;
            uint8_t state = read_u8(r);
            rep->state = state & 0x7f;
            rep->in_sync = state >> 7;
            rep->copy = read_u32_varint(r);
        }
    }
}

static enum status map_get_body(struct reader *r, struct ring_map **out, struct err *err) {
    struct ring_settings set = {0};
    uint64_t version = read_varint(r);
    const uint8_t *id = read_bytes(r, sizeof set.cluster_id);
    if (id != NULL) memcpy(set.cluster_id, id, sizeof set.cluster_id);
    read_text(r, set.cluster_name, sizeof set.cluster_name);
    set.secret = read_u64(r);
    set.shards_count = read_u32_varint(r);
    set.replication_factor = read_u32_varint(r);
    set.min_insync = read_u32_varint(r);
    set.format_level = read_u32_varint(r);
    uint32_t nodes_count = read_u32_varint(r);
    if (r->failed) return err_set(err, ERR_CORRUPT, 0, "map: settings are cut off or malformed");
    if (nodes_count == 0 || nodes_count > RING_NODES_MAX || set.shards_count == 0 ||
        set.shards_count > RING_SHARDS_MAX)
        return err_set(err, ERR_CORRUPT, 0, "map: %" PRIu32 " nodes and %" PRIu32 " shards",
                       nodes_count, set.shards_count);
    struct ring_map *map;
    TRY(ring_map_new(nodes_count, set.shards_count, &map, err));
    map->version = version;
    map->settings = set;
    map_get_members(r, map);
    enum status st = OK;
    if (r->failed || reader_left(r) != 0)
        st = err_set(err, ERR_CORRUPT, 0, "map: members are cut off or malformed");
    if (st == OK) st = ring_map_check(map, err);
    if (st != OK) {
        ring_map_unref(map);
        return st;
    }
    *out = map;
    return OK;
}

enum status ring_map_get(struct sv bytes, struct ring_map **out, struct err *err) {
    if (bytes.len < MAP_HEADER_BYTES + 8 || memcmp(bytes.ptr, map_magic, sizeof map_magic) != 0)
        return err_set(err, ERR_CORRUPT, 0, "map: not a cluster map");
    if (get_u16le(bytes.ptr + 10) >
        MAP_FORMAT) /* before the checksum: another format may have another one */
        return err_set(err, ERR_UNSUPPORTED, 0, "map: format %u, this program reads %d",
                       get_u16le(bytes.ptr + 8), MAP_FORMAT);
    size_t end = bytes.len - 8;
    if (get_u64le(bytes.ptr + end) != hash64(bytes.ptr, end, 0))
        return err_set(err, ERR_CORRUPT, 0, "map: bad checksum");
    struct reader r = reader_init(bytes.ptr + MAP_HEADER_BYTES, end - MAP_HEADER_BYTES);
    return map_get_body(&r, out, err);
}

/* "<dir>/map"; out has MAP_PATH_BYTES. */
static enum status map_path(const char *dir, char *out, struct err *err) {
    int n = snprintf(out, MAP_PATH_BYTES, "%s/map", dir);
    if (n < 0 || n >= MAP_PATH_BYTES) return err_set(err, ERR_LIMIT, 0, "map: path of %d bytes", n);
    return OK;
}

enum status ring_map_save(struct disk *disk, const char *dir, const struct ring_map *map,
                          struct err *err) {
    char path[MAP_PATH_BYTES];
    TRY(map_path(dir, path, err));
    struct buf b = {0};
    ring_map_put(map, &b);
    enum status st = b.failed ? err_set(err, ERR_NOMEM, 0, "map: out of memory")
                              : disk_write_file(disk, path, buf_sv(&b), err);
    buf_fini(&b);
    return st;
}

enum status ring_map_load(struct disk *disk, const char *dir, struct ring_map **out,
                          struct err *err) {
    char path[MAP_PATH_BYTES];
    TRY(map_path(dir, path, err));
    struct buf b = {0};
    enum status st = disk_read_file(disk, path, MAP_FILE_BYTES_MAX, &b, err);
    if (st == OK) {
        st = ring_map_get(buf_sv(&b), out, err);
        if (st != OK && err != NULL) err_prefix(err, "%s", path);
    }
    buf_fini(&b);
    return st;
}
