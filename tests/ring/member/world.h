/* SPDX-License-Identifier: Apache-2.0 */
/* tests/ring/member/world.h: simulated nodes that have members only. What stands for the data plane
 * installs every map at once and reports what a perfect one would: each primary's shard is open,
 * and whoever is up and has the primary's map has caught up. The checker looks at all nodes after
 * every event. */
#pragma once

#include "node/base/arena.h"
#include "ring/discovery.h"
#include "ring/member/member.h"
#include "tests/sim/sim.h"

enum {
    WORLD_NODES_MAX = 6,
    WORLD_CORES = 2,
    WORLD_SHARDS = 8,
    WORLD_EPOCHS = 1 << 12,
    WORLD_VERSIONS = 1 << 14,
    WORLD_FAILURE_MAX = 512
};

struct world;
struct seat { /* one node; its disk and id outlive the process */
    struct world *world;
    unsigned node;
    node_id id;
    uint32_t incarnation;
    const char *zone;
    unsigned expect; /* --ring.bootstrap-expect */
    bool stays_down; /* until the scenario starts it */
    bool lost;       /* its member is none any more */
    bool restart_planned;
    struct err lost_why;
    /* of the process; NULL while it is down */
    struct runtime *rt;
    struct member *member;
    struct peers *peers[WORLD_CORES + 1]; /* the last: the control core's */
    struct ring_map *map;                 /* installed */
    struct lease lease;
    struct timer reports;
    struct arena arena;
    struct discovery discovery;
    char addr[64], list[512];
    bool stopped;
};
struct world_options {
    struct sim_options sim;
    unsigned nodes;  /* that found the cluster */
    unsigned expect; /* --ring.bootstrap-expect; 0: the number of nodes */
    unsigned rf;
    bool print;                          /* every map */
    bool alone;                          /* without discovery */
    const struct cloudmap_ops *cloudmap; /* NULL: a static list; else their ctx is the seat */
    uint64_t restart_ms_max;
    uint64_t start_ms_max; /* nodes start spread over that long */
};
struct world {
    struct sim *sim;
    struct world_options o;
    struct seat seats[WORLD_NODES_MAX];
    unsigned seats_count;
    struct ring_map *newest; /* committed, as far as anybody has seen */
    uint8_t cluster_id[16];
    bool founded;
    uint64_t version_hash[WORLD_VERSIONS];
    node_id primaries[WORLD_SHARDS][WORLD_EPOCHS];
    void (*prepare)(struct seat *seat); /* may be NULL: before it opens what is on its disk */
    uint64_t maps, losses, controllers, boots;
    char failure[WORLD_FAILURE_MAX]; /* "" so far */
};

void world_open(struct world *w, const struct world_options *options);
void world_close(struct world *w);
void world_start(struct world *w, unsigned node);
void world_kill(struct world *w, unsigned node);
/* A clean stop: member_stop, then the process ends. */
void world_stop(struct world *w, unsigned node);
/* false: the checker has found something. */
bool world_run(struct world *w, uint64_t ms);
/* Until all nodes that are up agree, hold leases, and every shard has all its replicas. */
bool world_converge(struct world *w, uint64_t ms);
struct seat *world_controller(struct world *w); /* NULL: none or two */
/* A verb through a node, from its core 0; false: it failed (the text is in call->err). */
bool world_admin(struct world *w, unsigned node, struct admin_call *call);
bool world_fail(struct world *w, const char *fmt, ...) PRINTF_LIKE(2, 3); /* false */
