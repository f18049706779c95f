/* SPDX-License-Identifier: Apache-2.0 */
/* ring/map.h: the cluster map: who belongs to the cluster and which node holds which shard in which
 * role. An immutable, versioned, reference-counted value; the only thing in a cluster that needs
 * agreement. ring/placement.h makes it, the seat keeps it (<data>/ring/map), every node-to-node
 * frame names its version. Encoding: magic "CAIRNMAP", u16 format version, u16 oldest reader's
 * version, body, XXH3-64 of all before. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "node/base/buf.h"
#include "node/base/status.h"
#include "node/base/sv.h"

enum {
    RING_REPLICAS_MAX = 8,
    RING_NODES_MAX = 1024,
    RING_SHARDS_MAX = 1 << 16,
    RING_ADDR_MAX = 255
};
enum { RING_FORMAT_LEVEL = 1 }; /* what this build speaks and writes */

/* What a replica is, and with it what in_sync means (a member of the in-sync set is waited for by
 * every acknowledgement):
 *   FULL     in_sync: holds every acknowledged entry, may be read under lease and be made primary.
 *            not in_sync: holds a part, catches up from the primary and is not read
 *   INIT     being filled from the primary from the shard's first entry on. in_sync: besides, it
 *            goes on as a LOG replica (one copy number less) until the fill has caught up
 *   LOG      a substitute: logs and fsyncs entries from where it began, builds no head, is not
 *            read. not in_sync: kept for its entries, which a returning FULL copy may need
 *   LEAVING  in_sync: still waited for, no longer read or made primary; a source for others
 * A node that is named by no replica of a shard drops what it has of it. */
enum replica_state { REPLICA_FULL = 1, REPLICA_INIT = 2, REPLICA_LOG = 3, REPLICA_LEAVING = 4 };
enum ring_node_flag {
    RING_NODE_DOWN = 1,    /* the controller has taken it out of all in-sync sets */
    RING_NODE_DRAINING = 2 /* gets no new replicas and gives away what it has */
};

typedef uint64_t node_id; /* never 0 */

struct ring_node {
    node_id id;
    uint32_t incarnation; /* of its process, that the cluster has taken note of; 0: never seen */
    uint8_t flags;        /* enum ring_node_flag */
    char addr[RING_ADDR_MAX + 1]; /* node to node, published copy; the address table may be newer */
    char zone[64];
};
struct ring_replica {
    uint16_t node; /* index into nodes */
    uint8_t state; /* enum replica_state */
    bool in_sync;
    uint32_t copy; /* rises each time this node begins the replica anew: entries of a lower one in
                      its log are void ("replica incarnation" of storage/entry.h) */
};
struct ring_shard {
    uint32_t epoch;  /* >= 1 */
    uint8_t primary; /* index into replicas */
    uint8_t replicas_count;
    struct ring_replica replicas[RING_REPLICAS_MAX];
};
struct ring_settings {
    uint8_t cluster_id[16];
    char cluster_name[64];
    uint64_t secret; /* seeds the series ids */
    uint32_t shards_count;
    uint32_t replication_factor;
    uint32_t min_insync; /* 0: the default rule */
    uint32_t format_level;
};
struct ring_map {
    /* read-only after ring_map_new */
    uint64_t version; /* >= 1 */
    struct ring_settings settings;
    struct ring_node *nodes; /* ascending by id */
    uint32_t nodes_count;
    struct ring_shard *shards; /* settings.shards_count of them */
    unsigned refs;             /* private */
};

/* Zeroed nodes and shards to fill in, one reference held. */
MUST_USE enum status ring_map_new(uint32_t nodes_count, uint32_t shards_count,
                                  struct ring_map **out, struct err *err);
struct ring_map *ring_map_ref(struct ring_map *map); /* atomic */
void ring_map_unref(struct ring_map *map);
int ring_map_node_index(const struct ring_map *map, node_id id); /* -1: not a member */
/* The replica of a node (index), or -1. */
int ring_shard_replica(const struct ring_shard *shard, int node);
static inline bool ring_replica_is_readable(const struct ring_replica *r) {
    return r->state == REPLICA_FULL && r->in_sync;
}
static inline uint16_t ring_map_primary(const struct ring_map *map, uint32_t shard) {
    const struct ring_shard *s = &map->shards[shard];
    return s->replicas[s->primary].node;
}
/* Every rule a map must obey (ids ascending and unique; the primary is FULL and in sync, or LOG or
 * INIT and in sync where no FULL replica is in sync: then the shard takes writes and is not read;
 * ...); ERR_CORRUPT names the first broken. */
MUST_USE enum status ring_map_check(const struct ring_map *map, struct err *err);
void ring_map_put(const struct ring_map *map, struct buf *out);
MUST_USE enum status ring_map_get(struct sv bytes, struct ring_map **out, struct err *err);

/* What changed from one map to the next, for the Raft log: the header says both versions. Applying
 * to another version than it was made from: ERR_CONFLICT. */
void ring_delta_put(const struct ring_map *from, const struct ring_map *to, struct buf *out);
MUST_USE enum status ring_delta_apply(const struct ring_map *from, struct sv delta,
                                      struct ring_map **out, struct err *err);

struct disk;
/* <dir>/map, replaced atomically. Load: ERR_UNAVAILABLE when there is none. */
MUST_USE enum status ring_map_save(struct disk *disk, const char *dir, const struct ring_map *map,
                                   struct err *err);
MUST_USE enum status ring_map_load(struct disk *disk, const char *dir, struct ring_map **out,
                                   struct err *err);
