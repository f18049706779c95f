/* SPDX-License-Identifier: Apache-2.0 */
/* tests/cluster/world.h: a cluster of shipped nodes in the simulator with clients that write and
 * query at random, also in the moment when a node opens, faults and planned troubles, and a model
 * of what was acknowledged. Checks:
 *   - an answer that claims to be complete holds every sample that was acknowledged before the
 *     query began (world_client.c)
 *   - no answer holds a sample that nobody sent, or one sample twice
 *   - in the maps that nodes have, a shard has one primary in an epoch (world_maps.c)
 *   - in the end, faults off and everybody up: every node answers completely, every shard has all
 *     its replicas in sync, and they hold the same samples bit by bit, no block is bad, and what
 *     they say of their blocks is the same; and no replica ever found another's to differ, but
 *     where one was made to (world_thin.c) */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "ingest/deletes.h"
#include "node/base/list.h"
#include "node/daemon/node.h"
#include "tests/sim/sim.h"

enum {
    WORLD_NODES_MAX = 12,
    WRITE_SERIES_MAX = 10,
    WORLD_SHARDS = 24,
    WORLD_EPOCHS_MAX = 4096,
    WORLD_SERIES = 32,
    WORLD_SAMPLES_MAX = 4096,
    WORLD_FAILURE_MAX = 512
};

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
    uint32_t shard;
};

/* A replica as maps show it, for the table of transitions. */
enum replica_view {
    VIEW_NONE,
    VIEW_FULL_IN,
    VIEW_FULL_OUT,
    VIEW_INIT_IN,
    VIEW_INIT_OUT,
    VIEW_LOG_IN,
    VIEW_LOG_OUT,
    VIEW_LEAVING,
    VIEW_COUNT
};
extern const char *const world_view_names[VIEW_COUNT];
/* What replication is about at a node for a shard, and at a primary for another's run of it, as it
 * is when looked at. */
enum { ROLES = 4, MEMBERS = 3 };
extern const char *const world_role_names[ROLES], *const world_member_names[MEMBERS];

struct world_options {
    uint64_t seed;
    unsigned nodes;              /* founders; 0: 3 to 9 by seed */
    unsigned replication_factor; /* 0: 1 to 3 by seed */
    unsigned cores;
    uint64_t duration_ms; /* of virtual time with faults */
    bool faults, plans, verbose;
    uint64_t faults_off; /* a bit for each enum sim_fault, to find what a seed needs */
    uint32_t shard_told; /* + 1: each map's view of it, on stderr */
};

/* Troubles by plan, each by chance once or more per run. */
enum world_plan {
    PLAN_JOIN,        /* a node more */
    PLAN_DRAIN,       /* a node gives away all it has and goes */
    PLAN_WIPE,        /* a node is replaced by one with an empty disk */
    PLAN_ALL_DOWN,    /* power cut of all, and all come back at other addresses */
    PLAN_FULLS_DOWN,  /* all readable copies of one shard die */
    PLAN_ROT,         /* bits of a node's blocks change, while it runs */
    PLAN_ROLL,        /* all nodes one after the other are restarted, as a deployment does */
    PLAN_CUT_PRIMARY, /* what a primary sends arrives when others have taken over */
    PLAN_POWER,       /* power cut of all at an acknowledgement, while disks do not sync */
    PLAN_BLINK,       /* power cut of one, which is back before anybody has missed it */
    PLAN_FILL_DIES,   /* a node dies whose replica is being filled */
    PLAN_DISK_ERROR,  /* one call of a disk fails */
    PLAN_COUNT
};
extern const char *const world_plan_names[PLAN_COUNT];

/* world_thin.c */
enum thin_state { THIN_START, THIN_DELETING, THIN_CHOOSING, THIN_REPAIRING, THIN_OVER };
struct world_thin {
    enum thin_state state;
    unsigned on, series; /* deleting: at which node, which series */
    struct buf matchers;
    struct delete_range range;
    struct delete_op op;
    struct msg msg;
    uint64_t until_ms;
    uint32_t shard;    /* of which samples were left out */
    uint64_t left_out; /* so many */
    unsigned at;       /* at this node, of this copy */
    uint32_t copy;
    double bad_before; /* ranges that had been fetched as bad then */
};

struct world {
    struct world_options options;
    struct sim *sim;
    unsigned nodes_count; /* that were ever started */
    struct node *nodes[WORLD_NODES_MAX];
    bool opening[WORLD_NODES_MAX]; /* it was started without a map, and has not opened yet */
    bool restart_planned[WORLD_NODES_MAX];
    bool retired[WORLD_NODES_MAX]; /* drained, or its disk was wiped: its seat does not come back */
    bool wiped[WORLD_NODES_MAX];   /* starts next with an empty disk */
    char discovery[512];
    char zones[WORLD_NODES_MAX][8];
    int64_t wall_base_ms; /* the true time when the run began */
    struct model_series series[WORLD_SERIES];
    uint64_t value_next, acks;
    struct list_node clients; /* under way */
    bool quiet;               /* no new clients */
    bool all_verified;        /* the closing queries have been answered, all complete */
    unsigned closing_at;
    char waiting_for[160]; /* why the end is not reached */
    /* maps */
    struct ring_map *map; /* the newest that any node has */
    node_id primaries[WORLD_SHARDS][WORLD_EPOCHS_MAX];
    uint32_t openers[WORLD_SHARDS][WORLD_EPOCHS_MAX]; /* processes; 0: none */
    uint32_t processes[WORLD_NODES_MAX], processes_count;
    uint64_t transitions[VIEW_COUNT][VIEW_COUNT];
    /* replication: of live processes; members + 1, 0: none known */
    uint8_t role_of[WORLD_NODES_MAX][WORLD_SHARDS];
    uint8_t member_of[WORLD_NODES_MAX][WORLD_SHARDS][WORLD_NODES_MAX][2];
    uint64_t roles[ROLES][ROLES], members[MEMBERS][MEMBERS];
    /* totals */
    uint64_t plans[PLAN_COUNT]; /* carried out */
    unsigned rolled;
    unsigned draining; /* node + 1 */
    struct admin_call drain_call;
    bool drain_asked; /* drain_call is under way at that node */
    unsigned wiping;  /* node */
    bool wipe_cuts;   /* the others lose power with it */
    bool calm;        /* no faults any more */
    bool power_armed; /* all lose it when a write is acknowledged that began since then */
    uint64_t power_ms;
    unsigned cut; /* node */
    uint64_t cut_until_ms;
    bool rot_cuts;  /* others, when the disk has changed bits */
    bool rot_tried; /* in the end */
    struct world_thin thin;
    unsigned rotten; /* node + 1: no other replica may be lost */
    unsigned broken; /* node */
    uint64_t writes_ok, writes_unavailable, writes_too_old, queries_ok, queries_failed,
        queries_partial, restarts, samples_acked, maps_seen, primaries_seen, deletes_ok, lists_ok;
    char failure[WORLD_FAILURE_MAX]; /* empty: none */
};

/* Each seed has its own mix of them: some off, others frequent. 0: not for this world. */
extern const double world_fault_rates[SIM_FAULT_COUNT];

void world_fail(struct world *w, const char *fmt, ...) PRINTF_LIKE(2, 3);
/* Runs one seed to its end; false when a check failed (w->failure tells). Frees all but the totals.
 */
bool world_run(struct world *w, const struct world_options *options);
int64_t world_true_ms(const struct world *w);
/* Of the next samples. In every second seed hours pass in seconds, so that ranges are closed and go
 * to blocks. */
int64_t world_sample_ms(const struct world *w);
bool world_node_serves(const struct world *w, unsigned node);
void world_name_nodes(struct world *w);
void world_forget_node(struct world *w, unsigned node); /* it is dead: frees what there is of it */
void world_drain_forget(struct world *w, unsigned node);
void world_start_node(struct world *w, unsigned node);
void world_plan_restart(struct world *w, unsigned node, uint64_t delay_ms);

/* -- world_client.c */
void client_write_start(struct world *w, unsigned node, unsigned series_max);
void client_query_start(struct world *w, unsigned node, bool closing);
/* One of each kind on each core. The deletion matches nothing, and what is listed nobody has sent:
 * all cores and nodes are asked all the same. */
void clients_greet(struct world *w, unsigned node);
void clients_drop(struct world *w, unsigned node); /* the node crashed: its clients got no answer */

/* -- world_maps.c */
void world_look_at_maps(struct world *w);
/* Every shard has its replicas, all readable, and nobody is on the move; else why not. */
bool world_is_whole(struct world *w);
/* Of the shards that both have: what is closed in blocks of the node is so in those of the other,
 * and of some the node's log has not all any more. */
bool world_has_closed(struct world *w, unsigned node, unsigned other);
/* What is closed in blocks of the node is so in all others' that have the same shards. */
bool world_have_closed(struct world *w, unsigned node);
/* All readable replicas of each shard hold the same. */
void world_compare_replicas(struct world *w);

/* -- world_thin.c: in the end, when all is whole; called until it is true. */
bool world_thin_is_over(struct world *w);
struct shard_ranges;
/* What a node says of a shard's closed ranges (storage/archive/digest.h); false: it has not all. */
bool world_ranges_of(struct node *node, uint32_t shard, struct shard_ranges *out);
/* Samples were left out of a replica that is the same still: not while its node was down another
 * took its place; nor were they fetched with a bad block in the same times. */
bool world_thin_must_be_seen(const struct world *w);
/* Of each shard, as far as the replicas can tell now. */
bool world_ranges_are_equal(struct world *w);
void world_thin_forget(struct world *w, unsigned node); /* it is dead */

/* Every shard as the map and the nodes see it, on stderr. */
void world_describe(struct world *w);

/* -- world_checks.c */
void world_check_shard(struct world *w, uint32_t shard);
void world_check_shards(struct world *w);

/* -- world_plans.c */
void world_plan_acknowledged(struct world *w, uint64_t began_ms); /* a write, just now */
/* All is whole, and everybody up: a disk changes bits now. */
void world_rot_last(struct world *w);
/* No node has a bad block, also none that nobody has noticed yet. */
bool world_rot_is_over(struct world *w);
void world_plan_troubles(struct world *w);
