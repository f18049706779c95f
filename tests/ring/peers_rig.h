/* SPDX-License-Identifier: Apache-2.0 */
/* tests/ring/peers_rig.h: three simulated nodes of two cores, each core with its peers. */
#pragma once

#include "ring/peers.h"
#include "tests/sim/sim.h"

enum { RIG_NODES = 3, RIG_CORES = 2 };

struct rig;
struct rig_seat { /* one core of one life of a node */
    struct rig *rig;
    unsigned node, core_index;
    struct core *core;
    struct peers *peers;
    bool closed; /* peers_stop came back */
    void *app;
};
struct rig {
    struct sim *sim;
    struct ring_map *maps[RIG_NODES]; /* what each node believes; the same one by default */
    struct rig_seat seats[RIG_NODES][RIG_CORES];
    uint32_t incarnations[RIG_NODES];
    uint64_t restart_ms_max;        /* after a power cut; 0: it stays down */
    const char *secrets[RIG_NODES]; /* NULL: none */
    void (*learned)(void *seat, node_id id, uint32_t incarnation, const char *addr);
    void (*up)(struct rig_seat *seat);   /* on the core, before it listens */
    void (*down)(struct rig_seat *seat); /* on the dead core, before its peers are freed */
};

/* A map of the nodes' addresses; ids are the node's number plus 100. */
struct ring_map *rig_map(struct rig *rig, const char *cluster_name, uint64_t version);
void rig_open(struct rig *rig, const struct sim_options *options);
void rig_start(struct rig *rig, unsigned node);
void rig_kill(struct rig *rig, unsigned node);
void rig_close(struct rig *rig); /* kills what is up */
/* Lets virtual time pass. */
void rig_run(struct rig *rig, uint64_t ms);
/* Stops the peers of every core that is up and waits for all to be closed. */
void rig_stop(struct rig *rig);
static inline node_id rig_id(unsigned node) {
    return 100 + node;
}
