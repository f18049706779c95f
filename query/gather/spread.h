/* SPDX-License-Identifier: Apache-2.0 */
/* query/gather/spread.h: brings a question to one replica of every wanted shard, and to each shard
 * once. Knows nothing of what is asked: scatter.c (fragments) and list_scatter.c (lists) do.
 *
 *   ASKING -> OVER when every shard is claimed, or the error is not of the kind that others mend;
 *   ASKING -> PAUSED when shards are missing, another replica or a newer map may have them and
 * there is time -> ASKING by a new map or after a pause
 *
 * An attempt asks for each missing shard a readable replica of the newest map: this node's when it
 * has one, else another node's, spread over the replicas, those that failed last. A remote part
 * that takes much longer than usual is hedged: its shards are asked elsewhere too. Of answers that
 * overlap, the first counts and the others are dropped whole, so no shard is counted twice.
 *
 * An answer claims shards that its node held readable, in the epoch of the asker's map and under
 * lease, after its snapshot was taken. Thread: the core of the gather. */
#pragma once

#include "node/base/list.h"
#include "query/gather/gather.h"
#include "query/gather/part_call.h"

struct spread;
struct spread_plan;
enum { PLAN_CLUSTER, PLAN_OWN, SPREAD_PLANS }; /* own: of local_only */
enum spread_part_state { PART_OPEN, PART_USED, PART_UNUSED };
struct spread_part {
    struct list_node node; /* of spread->parts, in the order they began */
    struct spread *spread;
    enum spread_part_state state;
    struct ring_map *map; /* by which it was asked; a reference */
    uint64_t *asked;      /* shards */
    uint64_t *shards;     /* those, narrowed when it ends to what it answers for */
    node_id to;           /* 0: a core of this node */
    unsigned core;
    bool hedged, is_hedge;
    uint64_t began_ns, total_ns;
    struct part_call call; /* of another node */
    /* set before spread_part_done */
    enum status status;
    struct err err;
};
struct spread_ops {
    size_t part_bytes; /* of what begins with a struct spread_part */
    enum status (*start_local)(struct spread_part *part, struct core *core, struct err *err);
    void (*start_remote)(struct spread_part *part);
    void (*part_fini)(struct spread_part *part);
    void (*done)(struct spread *s); /* once, on the core, never inside spread_start */
};
struct spread_options {
    struct gather *g;
    const struct spread_ops *ops;
    const uint64_t *shards; /* wanted; NULL: all of the map. Borrowed until spread_start returns */
    bool local_only;        /* for another node: one attempt, on this node's cores */
    uint64_t timeout_ms;    /* of all attempts together */
};
enum spread_state { SPREAD_ASKING, SPREAD_PAUSED, SPREAD_OVER };
enum { SPREAD_FAILED_MAX = 16 };
struct spread {
    struct list_node node; /* of gather->spreads */
    struct spread_options o;
    enum spread_state state;
    struct list_node parts;
    size_t parts_open;
    uint64_t *wanted;
    uint64_t *claimed; /* union over the parts that are used */
    uint64_t *refused; /* shards that this node's cores did not claim by this map */
    node_id failed[SPREAD_FAILED_MAX];
    unsigned failed_count, attempts;
    uint64_t began_ns, map_version; /* of the last attempt */
    struct timer timer;             /* begin and end of an attempt, and the pause */
    struct timer hedge;
    bool canceled;
    enum status status;
    struct err err;
    /* Why a part could not read what is stored: its shards are asked elsewhere, and where nobody
     * else answers for them this is the reason. code OK: none. */
    struct err damage;
};
/* Errors are told by done. ERR_NOMEM: nothing was begun. */
MUST_USE enum status spread_start(struct spread *s, const struct spread_options *options,
                                  struct err *err);
/* No further attempt; remote calls are cancelled. done still comes when local parts have ended. */
void spread_cancel(struct spread *s);
void spread_fini(struct spread *s); /* after done, or when the node goes as a whole */
/* A part has ended, on the gather's core. Part may be freed only by spread_fini. */
void spread_part_done(struct spread_part *part);
/* The gather has a new map. */
void spread_on_map(struct spread *s);
/* Whom to ask is found out anew: the map, or the cores of its shards, have changed. */
void spread_forget_plans(struct gather *g);

/* On the core that holds the shards: narrows shards to those that may be read here and now. */
void spread_claim(struct core *here, const struct ring_map *asked, uint64_t *shards);
/* After the snapshot: they still may be, all of them. ERR_UNAVAILABLE. */
MUST_USE enum status spread_confirm(struct core *here, const struct ring_map *asked,
                                    const uint64_t *shards, struct err *err);
