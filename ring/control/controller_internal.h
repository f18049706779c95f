/* SPDX-License-Identifier: Apache-2.0 */
/* ring/control/controller_internal.h: what the controller remembers, and one run of its decisions,
 * shared by controller.c (interface, heartbeats), nodes.c (who lives), shard.c (one shard's next
 * state), cover.c (which entries survive where), moves.c (placement), wishes.c (people). */
#pragma once

#include "ring/control/controller.h"

enum {
    STEP_PAUSE_MS = 50,    /* between two proposals, so that what comes together goes together */
    STEP_EVERY_MS = 100,   /* timers are looked at so often */
    STEP_ANYWAY_MS = 1000, /* what led to nothing is decided again, if nothing is new, so often */
    NOTES_MAX = RING_REPLICAS_MAX
};

/* A member, as this leader has heard of it. In the order of map->nodes. */
struct ctl_node {
    node_id id;
    bool heard;                   /* by this leader */
    bool leased;                  /* answered OK by this leader */
    bool draining, log_failed;    /* as it says */
    uint32_t incarnation;         /* the newest */
    uint32_t own_age_ms;          /* unsynced, mailbox */
    uint32_t format_level;        /* 0: not heard */
    uint64_t map_version;         /* installed, by the heartbeat under way or the last one */
    bool loses;                   /* by the proposal under way: no lease until it is decided */
    uint64_t must_install;        /* no lease before: an older map may make it serve too much */
    uint64_t heard_ms, leased_ms; /* last */
    uint64_t install_since_ms;    /* waits for must_install since; 0: does not */
    struct append_lag *lags;
    size_t lags_count;
    char addr[RING_ADDR_MAX + 1], zone[64];
    /* by nodes_judge, as of the step */
    uint32_t age_ms; /* how far behind it is */
    bool slow;       /* gets no lease */
    bool gone;       /* dead, or too slow, and without a lease: may be taken out (rule 8) */
    bool usable;     /* heard lately, not slow: may get a part to play */
    bool restarted;  /* a newer process than the map knows */
    bool note_wait;  /* its restart cannot be noted yet */
    bool long_gone;  /* for replace_after_ms */
    uint64_t load;   /* replicas, in the next map */
    uint64_t primaries;
};

struct ctl_note {
    node_id about;
    uint8_t kind; /* CAUGHT_UP, DIVERGED or DAMAGED */
};
struct ctl_shard {
    uint64_t changed; /* map version; reports from before say nothing */
    bool open;        /* reported by the primary for this epoch */
    bool incomplete;
    bool accept_loss;           /* a wish */
    node_id move_from, move_to; /* a wish; 0: none */
    uint8_t notes_count, tried_count;
    struct ctl_note notes[NOTES_MAX];
    uint64_t tried_among; /* a hash of who was alive when `tried` were found incomplete */
    node_id tried[RING_REPLICAS_MAX];
    uint64_t restarts; /* a hash of the restarts that this epoch was begun for */
    uint32_t restarts_epoch;
};

struct controller {
    struct controller_options options;
    struct ring_map *map;  /* committed */
    struct ring_map *plan; /* placement aimed at, or NULL */
    uint64_t plan_members; /* a hash of the members it was made for */
    struct ctl_node *nodes;
    struct ctl_shard *shards;
    bool proposed;
    bool settled; /* by these inputs the map stays as it is, as of settled_ms */
    uint64_t settled_inputs, settled_ms;
    uint64_t lead_ms, step_ms, proposed_ms; /* lead: since */
    /* wishes: nodes that want to join, to leave, to be drained or not */
    struct ring_node *joins;
    size_t joins_count;
    struct {
        node_id id;
        enum { WISH_DRAIN = 1, WISH_UNDRAIN, WISH_REMOVE } kind;
    } wishes[64];
    size_t wishes_count;
};

/* One shard being decided. Replicas may move within the array: the primary is kept as a node. */
struct decision {
    struct controller *c;
    struct ring_shard *shard; /* of the next map */
    struct ctl_shard *known;
    uint32_t index;
    uint64_t version; /* of the next map */
    unsigned factor;
    int primary;    /* node; -1: none yet */
    bool new_epoch; /* also when the primary stays */
    bool deferred;  /* it stays as it is in this map */
};

/* nodes.c */
void nodes_judge(struct controller *c, uint64_t now_ms);
void nodes_count_loads(struct controller *c, const struct ring_map *map);
unsigned nodes_factor(const struct controller *c); /* replicas that a shard should have */
static inline bool node_may_serve_more(const struct controller *c, unsigned node) {
    return c->nodes[node].usable && !c->nodes[node].draining && !c->nodes[node].restarted &&
           (c->map->nodes[node].flags & RING_NODE_DRAINING) == 0;
}

/* shard.c */
void shard_decide(struct decision *d);
struct ring_replica *shard_add(struct decision *d, unsigned node);
void shard_remove(struct decision *d, struct ring_replica *r);
struct ring_replica *shard_find(const struct decision *d, int node);
bool shard_is_damaged(const struct decision *d, const struct ring_replica *r);
unsigned shard_readable(const struct decision *d); /* FULL, in sync, complete */
static inline bool replica_is_whole(const struct ring_replica *r) {
    return r->state == REPLICA_FULL && r->in_sync && r->until == 0;
}
/* Copy numbers: nothing that began at an earlier map has as high a one, and a LOG replica that
 * becomes INIT has one more. */
static inline uint32_t copy_of_log(uint64_t version) {
    return (uint32_t)(2 * version);
}
static inline uint32_t copy_of_init(uint64_t version) {
    return (uint32_t)(2 * version + 1);
}

/* cover.c */
bool cover_is_complete(const struct decision *d, const struct ring_replica *full);
bool cover_is_needed(const struct decision *d, const struct ring_replica *log);
void cover_call_in(struct decision *d, const struct ring_replica *full);
void cover_send_out(struct decision *d);
uint64_t cover_alive(const struct decision *d);
bool cover_was_tried(const struct decision *d, node_id id);
void cover_try_failed(struct decision *d, node_id id);

/* moves.c */
enum status moves_plan(struct controller *c, struct err *err);
void moves_make(struct controller *c, struct ring_map *next);
bool moves_wants(const struct controller *c, uint32_t shard, unsigned node);

/* wishes.c */
enum status wishes_make(struct controller *c, struct ring_map **out, struct err *err);
void wishes_accept_loss(struct decision *d);
