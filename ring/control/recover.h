/* SPDX-License-Identifier: Apache-2.0 */
/* ring/control/recover.h: the map of a cluster that goes on with a few of its nodes only, when the
 * others, a quorum among them, are lost for good. Pure. `newest` must be the newest map that any
 * survivor knows of: what the lost ones have agreed on later, and what was acknowledged under it,
 * cannot be seen from here.
 *
 * The new map has another cluster id, made of the old one, its own version and the survivors: lost
 * nodes that come back after all are strangers to it, as they must be, since their Raft log could
 * elect a leader of the old history and their shards would go on in the old epochs. Name, secret,
 * shards and settings stay, so series ids and logs do. Versions and epochs jump far ahead. Replicas
 * on lost nodes are struck; in each shard
 *   WHOLE  a survivor holds every acknowledged entry (FULL or LEAVING, in sync): one leads
 *   TAIL   a FULL copy that was not in sync, with LOG replicas that have all it lacks: the
 *          controller brings them together, until then the shard takes writes and is not read
 *   PART   a copy that may lack acknowledged entries: it becomes the truth. LOG replicas, which
 *          begin behind a gap, go
 *   NONE   no copy: it begins empty, somewhere
 */
#pragma once

#include "ring/map.h"
#include "ring/replica/store_ops.h"

enum { RECOVER_VERSIONS = 1 << 20, RECOVER_EPOCHS = 1000 };
enum recover_outcome { RECOVER_WHOLE = 1, RECOVER_TAIL, RECOVER_PART, RECOVER_NONE };

/* survivors: ascending, unique, members of newest. out_outcomes: one byte per shard, enum
 * recover_outcome. ERR_CONFLICT: somebody is no member; ERR_LIMIT: an epoch is at its end. */
MUST_USE enum status recover_map(const struct ring_map *newest, const node_id *survivors,
                                 size_t count, uint8_t *out_outcomes, struct ring_map **out,
                                 struct err *err);
/* Copies that were in sync end alike, but for what was never acknowledged; snapshots that were
 * taken one after the other do not. The copy that ends last leads, and those that end before it are
 * to catch up before they count. ends: by node of the map and shard, what its directory has of that
 * copy; 0/0: nothing, which no shard has that was ever opened: an outcome WHOLE becomes PART where
 * no copy has more. */
void recover_compare(struct ring_map *map, const struct place *ends, uint8_t *outcomes);
/* The cluster id that recover_map gives to a map of this version. */
void recover_cluster_id(const uint8_t old[16], uint64_t version, const node_id *survivors,
                        size_t count, uint8_t out[16]);
