/* SPDX-License-Identifier: Apache-2.0 */
/* ingest/internal.h: shared by distributor.c (the op), route.c (where shards go), parts.c
 * (cutting), part_local.c and part_remote.c (a part's way) only. */
#pragma once

#include "ingest/distributor.h"
#include "ingest/write_frame.h"
#include "node/base/metrics.h"

enum { DEST_NONE = 0xffff, RETRY_MIN_MS = 50, RETRY_MAX_MS = 200, NO_LEASE_RESEND_MS = 1000 };
enum item_kind { ITEM_ROWS, ITEM_EXEMPLARS, ITEM_METADATA, ITEM_KINDS };

/* The items of an op for one destination: a local core (dest < cores) or a node (cores + its index
 * in the map it was routed by).
 *   ROUTED -> OPEN -> DONE;  OPEN -> WAITING -> OPEN, or replaced by parts of the newest map
 * Home is the op's core. While OPEN, a local part is its core's: it may reorder the part's stretch
 * of op->sorted, and nobody else touches it. */
enum part_state { PART_ROUTED, PART_OPEN, PART_WAITING, PART_DONE };
struct write_part {
    struct msg msg;
    struct write_op *op;
    struct list_node node; /* of op->parts */
    enum part_state state;
    uint16_t dest;
    uint64_t routing; /* d->routing when it was cut */
    /* stretches of op->sorted, each ascending by shard; not all are empty */
    size_t first[ITEM_KINDS], count[ITEM_KINDS];
    /* outcome */
    enum status status;
    struct err err;
    struct write_result result; /* first_index counts from first[ITEM_ROWS] */
    uint32_t *unknown;          /* rows of the part whose labels are needed */
    size_t unknown_count;
    struct write_part *left;  /* what could not be done of this part, with status and err */
    struct write_part *apart; /* what the store takes in another way: is started again from home */
    /* local */
    struct core *home;
    struct ack_wait own_log;
    struct replica_wait wait;
    /* remote */
    node_id to;
    struct peer_call *call;
    bool labels_asked, labels_all; /* those of unknown go with it; those of every row */
    /* WAITING */
    struct timer retry;
    struct list_node waiting; /* of d->waiting */
};

struct distributor {
    struct core *core;
    struct distributor_options options;
    unsigned cores_count;
    struct ack_board board; /* of the own log, without a gate */
    unsigned self_member;
    struct arena scratch; /* of a local part on this core */
    uint16_t *dest_of;    /* by shard, as are: */
    uint32_t *epochs;     /* of the map, dense: a batch needs those of nearly all shards */
    bool *offered;        /* no living copy has a head (part_local.c) */
    uint32_t *rank;       /* by shard: its place in the order (destination, shard) */
    uint32_t *marks;      /* by shard: 1 for a failed one; all 0 between calls */
    uint32_t *counts;     /* scratch of sorts, by key */
    struct list_node ops, waiting;
    struct list_node served;  /* of struct peer_write */
    struct list_node deletes; /* of struct delete_op */
    unsigned deletes_count;   /* of clients */
    uint64_t routing;         /* counts the maps, and the cores of its shards, that were set */
    uint64_t bytes_in_flight;
    bool stopping;
    struct metric *samples[VERDICT_COUNT], *resends, *unavailable;
};

/* refused.c */
void write_refused_register(void);
enum write_refused_reason write_refused_by(enum status status); /* of a part */

/* route.c */
MUST_USE enum status distributor_route(struct distributor *d, struct ring_map *map,
                                       const uint16_t *core_of, struct err *err);
MUST_USE enum status op_sort(struct distributor *d, struct write_op *op);
/* Puts a part's items in the order of the newest map. Nothing has changed when it fails. */
MUST_USE enum status part_sort(struct distributor *d, struct write_part *part);
/* Takes the items of marked shards out, into a part of its own; the marks are cleared in any case.
 * ERR_NOMEM: all stay. */
MUST_USE enum status part_split(struct distributor *d, struct write_part *part,
                                struct write_part **out_marked);

/* parts.c */
/* One part for each destination in these stretches of op->sorted, which are in the order of the
 * newest map; added to `out`. None is when it fails. */
MUST_USE enum status op_cut(struct distributor *d, struct write_op *op, const size_t *first,
                            const size_t *count, struct list_node *out);
struct write_part *part_new(struct write_op *op);
void part_free(struct write_part *part);
static inline bool part_is_empty(const struct write_part *part) {
    return part->count[ITEM_ROWS] + part->count[ITEM_EXEMPLARS] + part->count[ITEM_METADATA] == 0;
}
uint32_t part_shard(const struct write_part *part); /* the lowest; it is not empty */
uint32_t item_shard(const struct write_op *op, enum item_kind kind, size_t i);
/* The shards of a part, ascending and unique, from the arena; NULL: no memory. */
uint32_t *part_shards(const struct write_part *part, struct arena *arena, size_t *out_count);

/* distributor.c */
void part_done(struct write_part *part); /* on the op's core; status, result and left are set */
void part_on_retry(struct timer *t);
/* Whether what failed so, of what began then, is worth another try. */
bool distributor_may_retry(const struct distributor *d, uint64_t began_ns, enum status status);

/* deletes.c */
void deletes_on_map(struct distributor *d); /* a newer one is in force */
void deletes_wake(struct distributor *d);
void deletes_stop(struct distributor *d);
void deletes_free(struct distributor *d);

/* part_local.c, part_remote.c */
enum status distributor_may_write(const struct distributor *d, uint32_t shard, uint64_t now_ns,
                                  struct err *err) MUST_USE;
void part_start_local(struct write_part *part);
void part_start_remote(struct write_part *part);
void part_cancel_remote(struct write_part *part); /* OPEN: no answer is waited for any more */
void distributor_free_served(struct distributor *d);
