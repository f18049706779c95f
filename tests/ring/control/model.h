/* SPDX-License-Identifier: Apache-2.0 */
/* tests/ring/control/model.h: a cluster on fake time around a real controller: nodes that crash,
 * return, stall, are cut off; a data plane that follows ring/replica/replica.h with sets of entries
 * for logs; maps that come late. It checks what must hold after every step. */
#pragma once

#include "node/base/rng.h"
#include "ring/control/controller.h"

enum { MODEL_NODES = 12, MODEL_SHARDS = 4, MODEL_WRITES = 8, MODEL_ENTRIES = 512, TICK_MS = 100 };

struct entries {
    uint64_t w[MODEL_ENTRIES / 64];
};
struct held {                       /* of one shard on one node's disk */
    uint32_t whole_copy, tail_copy; /* 0: nothing */
    struct entries whole, tail;
    bool damaged;
};
struct leading { /* of one shard, in memory */
    uint32_t epoch;
    bool open, incomplete;
    node_id waited[RING_REPLICAS_MAX];
    uint32_t waited_copy[RING_REPLICAS_MAX];
    unsigned waited_count;
};
struct model_node {
    node_id id;
    bool exists, up, cut, slow_install;
    uint32_t incarnation;
    uint64_t stalled_since_ms; /* 0: not */
    uint64_t lease_until_ms, beat_at_ms, sequence;
    struct ring_map *map; /* installed, also on disk */
    struct held held[MODEL_SHARDS];
    struct leading leading[MODEL_SHARDS];
    struct heartbeat beat; /* under way; id 0: none */
    uint64_t beat_sent_ms, beat_due_ms;
};
struct model_write {
    int entry; /* -1: none */
    node_id primary;
    uint32_t incarnation, epoch;
    uint64_t since_ms;
};
struct model {
    struct rng rng;
    uint64_t seed, now_ms;
    uint32_t shards, factor;
    unsigned nodes_count; /* ever */
    struct model_node nodes[MODEL_NODES];
    struct ring_map *map; /* committed */
    struct ring_map *proposed;
    uint64_t commit_at_ms;
    struct controller *controller;
    struct entries acked[MODEL_SHARDS];
    int next_entry[MODEL_SHARDS];
    struct model_write writes[MODEL_SHARDS][MODEL_WRITES];
    node_id primaries[MODEL_SHARDS][4096]; /* by epoch */
    unsigned damages[MODEL_SHARDS];
    bool accepting[MODEL_SHARDS];      /* people have given up on what is lost */
    uint32_t lost_epoch[MODEL_SHARDS]; /* and on what epochs before still acknowledge */
    uint64_t acks, maps, losses;
    uint64_t steps[9][9]; /* from state to state, see model_step_names */
    bool verbose;
    bool moved;        /* by people: then it is not for the controller to say what is balanced */
    char failure[256]; /* the first; "" : none */
};
extern const char *const model_state_names[9];

void model_init(struct model *m, uint64_t seed);
void model_fini(struct model *m);
/* Faults for that long, then until all is well again or time is up. false: m->failure. */
bool model_run(struct model *m, uint64_t faults_ms, uint64_t calm_ms);

/* model_data.c: one tick of the data plane; false: something acknowledged was lost. */
bool model_data_tick(struct model *m);
void model_install(struct model *m, struct model_node *n, struct ring_map *map);
void model_beat_fill(struct model *m, struct model_node *n, struct heartbeat *out);
struct model_node *model_node(struct model *m, node_id id);
void model_print(const struct model *m);
bool model_fail(struct model *m, const char *fmt, ...) PRINTF_LIKE(2, 3);
static inline bool entries_has(const struct entries *e, int i) {
    return e->w[i / 64] >> (i % 64) & 1;
}
static inline void entries_add(struct entries *e, int i) {
    e->w[i / 64] |= 1ULL << (i % 64);
}
static inline void entries_join(struct entries *e, const struct entries *o) {
    for (size_t i = 0; i < ARRAY_LEN(e->w); i++)
        e->w[i] |= o->w[i];
}
/* The first of `a` that is not in `b`; -1: none. */
int entries_missing(const struct entries *a, const struct entries *b);
