/* SPDX-License-Identifier: Apache-2.0 */
/* tests/cluster/world.h: three shipped nodes in the simulator with clients that write and query at
 * random, and a model of what was acknowledged. Checks, after every answer:
 *   - an answer that claims to be complete holds every sample that was acknowledged before the
 * query began
 *   - no answer holds a sample that nobody sent, or one sample twice */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "node/base/list.h"
#include "node/daemon/node.h"
#include "tests/sim/sim.h"

enum { WORLD_NODES_MAX = 5, WORLD_SERIES = 32, WORLD_SAMPLES_MAX = 4096, WORLD_FAILURE_MAX = 512 };

enum sample_state { SAMPLE_SENT = 1, SAMPLE_ACKED = 2 };
struct model_sample {
    int64_t time_ms;
    double value;
    enum sample_state state;
    uint64_t acked_at; /* the world's count of acknowledgements when it was */
};
struct model_series {
    struct model_sample *samples; /* ascending by time */
    size_t count;
    int64_t next_time_ms;
};

struct world_options {
    uint64_t seed;
    unsigned nodes, cores;
    uint64_t duration_ms; /* of virtual time with faults */
    bool faults;
};

struct world {
    struct world_options options;
    struct sim *sim;
    struct node *nodes[WORLD_NODES_MAX];
    bool starting[WORLD_NODES_MAX], restart_planned[WORLD_NODES_MAX];
    char discovery[256];
    struct model_series series[WORLD_SERIES];
    uint64_t value_next, acks;
    struct list_node clients; /* under way */
    bool quiet;               /* no new clients */
    bool all_verified;        /* the closing queries have been answered, all complete */
    unsigned closing_left;
    /* totals */
    uint64_t writes_ok, writes_unavailable, queries_ok, queries_failed, queries_partial, restarts,
        samples_acked;
    char failure[WORLD_FAILURE_MAX]; /* empty: none */
};

/* Each seed has its own mix of them: some off, others frequent. 0: not for this world. */
extern const double world_fault_rates[SIM_FAULT_COUNT];

void world_fail(struct world *w, const char *fmt, ...) PRINTF_LIKE(2, 3);
/* Runs one seed to its end; false when a check failed (w->failure tells). Frees all but the totals.
 */
bool world_run(struct world *w, const struct world_options *options);

/* -- world_client.c */
void client_write_start(struct world *w, unsigned node);
void client_query_start(struct world *w, unsigned node, bool closing);
void clients_drop(struct world *w, unsigned node); /* the node crashed: its clients got no answer */
