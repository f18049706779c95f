/* SPDX-License-Identifier: Apache-2.0 */
/* tests/ingest/cluster.h: simulated nodes with the daemon's own wiring (node/daemon/node.h), and
 * clients that write to them. */
#pragma once

#include "node/daemon/node.h"
#include "request.h"
#include "tests/sim/sim.h"

enum { CLUSTER_NODES_MAX = 3, CLUSTER_CORES = 2, CLUSTER_SHARDS = 64 };

struct cluster_node {
    struct node *node; /* NULL: down */
    char dir[16];
    struct sim_disk *disk; /* instead of the simulated machine's, when not NULL */
};
struct cluster {
    struct sim *sim;
    unsigned nodes_count;
    struct cluster_node nodes[CLUSTER_NODES_MAX];
    char discovery[128];
    uint64_t restart_after_ms; /* after a power cut by fault; 0: stays down */
};

void cluster_init(struct cluster *c, const struct sim_options *options);
void cluster_fini(struct cluster *c);
void cluster_start(struct cluster *c, unsigned node);
/* Until every node that is up is ready, and the cluster as founded as it gets (who votes). */
void cluster_wait(struct cluster *c);
void cluster_kill(struct cluster *c, unsigned node);

/* One write: samples of series name{i="<series>"}. */
struct client_sample {
    unsigned series;
    int64_t time_ms;
    double value;
};
struct client {
    struct write_op op;
    bool started, done;
    uint64_t began_ms, took_ms;
    struct sim *sim;
    struct distributor *distributor;
    struct msg msg;
};
struct client *client_new(struct cluster *c, const struct client_sample *samples, size_t count);
void client_free(struct client *w);
/* Hands the op to the node's core; client_done tells when it is back (never, when the node dies).
 */
void client_start(struct cluster *c, struct client *w, unsigned node, unsigned core);
bool client_is_done(void *w);
/* Starts and waits, up to 60 s of virtual time. */
void client_write(struct cluster *c, struct client *w, unsigned node, unsigned core);

/* Where the series is: at its primary. false: there is none there. */
bool cluster_newest(struct cluster *c, unsigned series, int64_t *out_time_ms, double *out_value);
unsigned cluster_node_of(struct cluster *c, unsigned series);
size_t cluster_series_count(struct cluster *c, unsigned node);
int64_t cluster_now_ms(struct cluster *c); /* wall clock */
