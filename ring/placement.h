/* SPDX-License-Identifier: Apache-2.0 */
/* ring/placement.h: which node holds which shard: a pure function of members and settings.
 * Replicas stay where they are; new ones go to the member of the highest score (rendezvous hashing)
 * that has room (bounded loads: Mirrokni, Thorup, Zadimoghaddam 2018); then the fewest moves bring
 * the loads within one of each other. Zones first: a shard is in as many zones as it can be; then
 * balance inside what zones allow; primaries balanced apart. */
#pragma once

#include "ring/map.h"

struct placement_member {
    node_id id;
    struct sv addr, zone;
};
/* previous may be NULL (birth: all replicas are FULL). Otherwise who is new is INIT, who goes is
 * LEAVING if it was waited for (else it is left out), a primary that goes hands over to a full
 * in-sync replica that stays, or, where there is none yet, serves on as FULL. The new map has
 * version previous + 1 (or 1); epochs rise where the primary changes. ERR_LIMIT for too many nodes
 * or shards; ERR_CONFLICT for equal ids, or when the last full in-sync replica of a shard would go
 * with its node. */
MUST_USE enum status placement_make(const struct ring_settings *settings,
                                    const struct placement_member *members, size_t members_count,
                                    const struct ring_map *previous, struct ring_map **out,
                                    struct err *err);

/* Where the controller wants to get to: each shard's replicas all FULL and in sync on the members
 * that shall hold it, and the primary that balances best; as few moves from previous as can be.
 * A LOG replica in sync is preferred to a node that has nothing. Epochs mean nothing in it. */
MUST_USE enum status placement_plan(const struct ring_settings *settings,
                                    const struct placement_member *members, size_t members_count,
                                    const struct ring_map *previous, struct ring_map **out,
                                    struct err *err);

/* The node's own shards dealt to its cores: core_of[shard] = core index, or 0xffff when the node
 * has no replica. Primaries, the others and all together differ by one at most between cores; a
 * pure function, so a start with another number of cores deals anew. */
void placement_cores(const struct ring_map *map, node_id self, unsigned cores_count,
                     uint16_t *core_of);
