/* SPDX-License-Identifier: Apache-2.0 */
/* node/daemon/seat.h: the data directory as a node's identity: <data>/seat holds node id and
 * incarnation, <data>/ring/map the map. Opening raises the incarnation durably, so that no two
 * processes ever share one. */
#pragma once

#include "node/runtime/core.h"
#include "ring/map.h"

struct node_options;

struct seat {
    node_id id;
    uint32_t incarnation;
};
/* Finds or founds the seat and the map that --ring.discovery means, and checks that both agree.
 * ERR_CONFLICT where the stored map names other members, shards or settings than the flags: what
 * would have to be done is in the text. */
MUST_USE enum status seat_open(struct runtime *rt, const struct node_options *options,
                               struct seat *out, struct ring_map **out_map, struct err *err);
