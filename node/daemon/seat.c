/* SPDX-License-Identifier: Apache-2.0 */
#include "node/daemon/seat.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "node/base/bytes.h"
#include "node/base/hash.h"
#include "node/daemon/node.h"
#include "node/runtime/disk.h"
#include "ring/discovery.h"
#include "ring/placement.h"

/* <data>/seat: 00-07 "CAIRNSEA", 08-09 format version (1), 10-11 oldest reader's version (1), 12-15
 * incarnation, 16-23 node id, 24-31 XXH3-64 of bytes 00-23 */
enum { SEAT_BYTES = 32, SEAT_VERSION = 1 };
static const char seat_magic[8] = {'C', 'A', 'I', 'R', 'N', 'S', 'E', 'A'};

static enum status seat_load(struct disk *disk, const char *path, struct seat *out,
                             struct err *err) {
    struct buf b = {0};
    enum status st = disk_read_file(disk, path, 4096, &b, err);
    if (st == OK) {
        if (b.len != SEAT_BYTES || memcmp(b.ptr, seat_magic, sizeof seat_magic) != 0 ||
            get_u64le(b.ptr + 24) != hash64(b.ptr, 24, 0))
            st = err_set(err, ERR_CORRUPT, 0, "seat: %s is not a valid seat file", path);
        else if (get_u16le(b.ptr + 10) > SEAT_VERSION)
            st = err_set(err, ERR_UNSUPPORTED, 0, "seat: %s has format %u, this program reads %u",
                         path, get_u16le(b.ptr + 8), (unsigned)SEAT_VERSION);
        else
            *out = (struct seat){.id = get_u64le(b.ptr + 16), .incarnation = get_u32le(b.ptr + 12)};
    }
    buf_fini(&b);
    return st;
}

static enum status seat_save(struct disk *disk, const char *path, const struct seat *seat,
                             struct err *err) {
    uint8_t p[SEAT_BYTES] = {0};
    memcpy(p, seat_magic, sizeof seat_magic);
    put_u16le(p + 8, SEAT_VERSION);
    put_u16le(p + 10, SEAT_VERSION);
    put_u32le(p + 12, seat->incarnation);
    put_u64le(p + 16, seat->id);
    put_u64le(p + 24, hash64(p, 24, 0));
    return disk_write_file(disk, path, sv_make(p, sizeof p), err);
}

/* The map that the flags mean for a cluster that is born now. */
static enum status seat_found_map(struct runtime *rt, const struct node_options *o,
                                  const struct discovery *d, struct ring_map **out,
                                  struct err *err) {
    switch (d->kind) {
    case DISCOVERY_NONE: {
        uint8_t random[48];
        rt->ops->random(rt, random, sizeof random);
        return placement_single(sv_from(o->cluster_name), o->shards_count, random,
                                sv_from(o->listen_addr), out, err);
    }
    case DISCOVERY_STATIC:
        return placement_static(sv_from(o->cluster_name), o->shards_count, o->replication_factor,
                                d->addrs, d->addrs_count, out, err);
    case DISCOVERY_DNS_A:
    case DISCOVERY_DNS_SRV:
    case DISCOVERY_CLOUDMAP: break;
    }
    return err_set(
        err, ERR_UNSUPPORTED, 0,
        "--ring.discovery=%s: only static:host:port,... can found a cluster in this version",
        o->discovery);
}

static bool map_same_members(const struct ring_map *a, const struct ring_map *b) {
    if (a->nodes_count != b->nodes_count) return false;
    for (uint32_t i = 0; i < a->nodes_count; i++)
        if (a->nodes[i].id != b->nodes[i].id) return false;
    return true;
}

static enum status seat_check_map(const struct node_options *o, const struct discovery *d,
                                  const struct ring_map *stored, const struct ring_map *wanted,
                                  struct err *err) {
    if (strcmp(stored->settings.cluster_name, o->cluster_name) != 0)
        return err_set(err, ERR_CONFLICT, 0,
                       "%s belongs to cluster \"%s\", --ring.cluster-name is \"%s\"", o->data_dir,
                       stored->settings.cluster_name, o->cluster_name);
    if (stored->settings.shards_count != o->shards_count)
        return err_set(err, ERR_CONFLICT, 0,
                       "%s was founded with --ring.shards=%" PRIu32
                       ", which is fixed; got %" PRIu32,
                       o->data_dir, stored->settings.shards_count, o->shards_count);
    if (d->kind == DISCOVERY_STATIC && !map_same_members(stored, wanted))
        return err_set(err, ERR_CONFLICT, 0,
                       "%s belongs to a cluster with other members than --ring.discovery names; "
                       "members can only be changed "
                       "by replication, which this version does not have",
                       o->data_dir);
    if (d->kind == DISCOVERY_NONE && stored->nodes_count > 1)
        return err_set(err, ERR_CONFLICT, 0,
                       "%s belongs to a cluster of %" PRIu32
                       " nodes, but --ring.discovery is not set",
                       o->data_dir, stored->nodes_count);
    return OK;
}

static enum status seat_identify(const struct node_options *o, const struct discovery *d,
                                 const struct ring_map *map, struct seat *seat, struct err *err) {
    node_id self = 0;
    if (d->kind == DISCOVERY_NONE) {
        self = map->nodes[0].id;
    } else {
        for (uint32_t i = 0; i < map->nodes_count; i++)
            if (strcmp(map->nodes[i].addr, o->advertise_addr) == 0) self = map->nodes[i].id;
        if (self == 0)
            return err_set(
                err, ERR_CONFLICT, 0,
                "--ring.advertise-address=%s is not among the nodes of --ring.discovery=%s",
                o->advertise_addr, o->discovery);
    }
    if (seat->id != 0 && seat->id != self)
        return err_set(err, ERR_CONFLICT, 0, "%s is the seat of another node of this cluster",
                       o->data_dir);
    seat->id = self;
    return OK;
}

static enum status seat_open_map(struct runtime *rt, const struct node_options *o,
                                 const struct discovery *d, struct ring_map **out,
                                 struct err *err) {
    char dir[4200];
    snprintf(dir, sizeof dir, "%s/ring", o->data_dir);
    TRY(disk_mkdir(rt->disk, dir, err));
    TRY(disk_sync_dir(rt->disk, o->data_dir, err));
    struct ring_map *stored = NULL, *wanted = NULL;
    enum status st = ring_map_load(rt->disk, dir, &stored, err);
    if (st == OK) {
        if (d->kind == DISCOVERY_STATIC) st = seat_found_map(rt, o, d, &wanted, err);
        if (st == OK) st = seat_check_map(o, d, stored, wanted, err);
        ring_map_unref(wanted);
    } else if (st == ERR_UNAVAILABLE) {
        st = seat_found_map(rt, o, d, &stored, err);
        if (st == OK) st = ring_map_save(rt->disk, dir, stored, err);
    }
    if (st != OK) {
        ring_map_unref(stored);
        return st;
    }
    *out = stored;
    return OK;
}

enum status seat_open(struct runtime *rt, const struct node_options *o, struct seat *out,
                      struct ring_map **out_map, struct err *err) {
    struct arena arena;
    arena_init(&arena, 1 << 20);
    struct discovery d = {0};
    struct ring_map *map = NULL;
    struct seat seat = {0};
    char path[4200];
    snprintf(path, sizeof path, "%s/seat", o->data_dir);

    enum status st = discovery_parse(sv_from(o->discovery), &arena, &d, err);
    if (st == OK) {
        st = seat_load(rt->disk, path, &seat, err);
        if (st == ERR_UNAVAILABLE) st = OK;
    }
    if (st == OK) st = seat_open_map(rt, o, &d, &map, err);
    if (st == OK) st = seat_identify(o, &d, map, &seat, err);
    if (st == OK) {
        seat.incarnation++;
        st = seat_save(rt->disk, path, &seat, err);
    }
    arena_fini(&arena);
    if (st != OK) {
        ring_map_unref(map);
        return st;
    }
    *out = seat;
    *out_map = map;
    return OK;
}
