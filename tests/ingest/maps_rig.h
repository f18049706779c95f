/* SPDX-License-Identifier: Apache-2.0 */
/* tests/ingest/maps_rig.h: three simulated nodes of two cores with peers, log, store and
 * distributor, whose maps the test makes: it says when which node learns of which. One replica a
 * shard; a gate says which shards are open. */
#pragma once

#include "ingest/internal.h"
#include "request.h"
#include "tests/sim/sim.h"

enum { RIG_NODES = 3, RIG_CORES = 2, RIG_SHARDS = 32 };

struct maps_rig;
struct rig_node;
struct rig_core {
    struct rig_node *node;
    struct core *core;
    struct peers *peers;
    struct store *store;
    struct distributor *distributor;
    struct ack_board board;
    unsigned self_member;
    struct write_gate gate;
};
struct rig_node {
    struct maps_rig *rig;
    unsigned index;
    bool up;
    struct ring_map *map; /* installed */
    uint16_t core_of[RIG_SHARDS];
    bool closed[RIG_SHARDS]; /* not open for writing here */
    struct log *log;
    struct lease lease;
    struct rig_core cores[RIG_CORES];
};
struct maps_rig {
    struct sim *sim;
    struct ring_map *map;    /* the newest */
    struct list_node laters; /* private */
    struct rig_node nodes[RIG_NODES];
};

static inline node_id rig_id(unsigned node) {
    return 100 + node;
}
/* All nodes up with map version 1: shard s is of node s % 3. */
void rig_open(struct maps_rig *rig, const struct sim_options *options);
void rig_close(struct maps_rig *rig);
void rig_kill(struct maps_rig *rig, unsigned node);
/* A copy of the newest map, one version on, to change; rig_publish makes it the newest. */
struct ring_map *rig_map_next(struct maps_rig *rig);
void rig_publish(struct maps_rig *rig, struct ring_map *map);       /* takes it */
void rig_move(struct ring_map *map, uint32_t shard, unsigned node); /* and begins an epoch */
/* The node learns of the newest map now, or later. */
void rig_install(struct maps_rig *rig, unsigned node);
void rig_install_after(struct maps_rig *rig, unsigned node, uint64_t ms);
void rig_run(struct maps_rig *rig, uint64_t ms);

/* A write of series name{i="<n>"}, n from first on; each has value + n. */
struct rig_write {
    struct write_op op;
    struct sim *sim;
    bool done;
    uint64_t began_ms, took_ms;
    struct msg msg;
};
struct rig_write *rig_write_new(struct maps_rig *rig, unsigned first, unsigned count,
                                int64_t time_ms, double value);
void rig_write_start(struct maps_rig *rig, struct rig_write *w, unsigned node, unsigned core);
void rig_write_wait(struct maps_rig *rig, struct rig_write *w); /* up to 60 s */
void rig_write_free(struct rig_write *w);
uint32_t rig_shard(struct maps_rig *rig, unsigned series);
int64_t rig_now_ms(struct maps_rig *rig);
/* Whether the node holds the series, and its newest sample. */
bool rig_newest(struct maps_rig *rig, unsigned node, unsigned series, int64_t *out_time_ms,
                double *out_value);
