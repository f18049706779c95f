/* SPDX-License-Identifier: Apache-2.0 */
/* ring/control/state.h: what the Raft log makes: the cluster map and the elected replicas of HA
 * pairs. A deterministic state machine: every node that applies the same commands has the same
 * state. Commands carry what they were decided on, so that one which comes late or twice does
 * nothing. Encoding versioned; golden bytes in tests. */
#pragma once

#include "node/base/buf.h"
#include "ring/map.h"

struct ha_elected { /* reference/cluster.md section 5 */
    char *cluster, *replica;
    int64_t received_ms, elected_ms; /* the controller's clock */
};
struct ring_state {
    struct ring_map *map;  /* NULL before the founding command */
    struct ha_elected *ha; /* ascending by cluster */
    size_t ha_count, ha_cap;
    uint64_t ha_version;
};
enum command_type {
    COMMAND_FOUND = 1, /* the first map, whole */
    COMMAND_MAP = 2,   /* ring_delta */
    COMMAND_HA = 3     /* cluster, replica, received time, elected time */
};
void ring_state_init(struct ring_state *s);
void ring_state_fini(struct ring_state *s);
void command_found_put(const struct ring_map *map, struct buf *out);
void command_map_put(const struct ring_map *from, const struct ring_map *to, struct buf *out);
void command_ha_put(const struct ha_elected *e, struct buf *out);
/* *out_changed: the state is another one. A command that does not fit the state (a delta from
 * another version) is passed over: OK, unchanged. ERR_CORRUPT: not a command; ERR_UNSUPPORTED. */
MUST_USE enum status ring_state_apply(struct ring_state *s, struct sv command, bool *out_changed,
                                      struct err *err);
void ring_state_put(const struct ring_state *s, struct buf *out); /* snapshot */
MUST_USE enum status ring_state_get(struct sv bytes, struct ring_state *out, struct err *err);
const struct ha_elected *ring_state_ha(const struct ring_state *s, struct sv cluster);
