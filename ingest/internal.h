/* SPDX-License-Identifier: Apache-2.0 */
/* ingest/internal.h: shared by distributor.c (the op), parts.c, part_local.c and part_remote.c (its
 * parts) only. */
#pragma once

#include "ingest/distributor.h"
#include "node/base/metrics.h"

enum { DEST_NONE = 0xffff, RETRY_MIN_MS = 100, RETRY_MAX_MS = 1000 };

/* The rows of an op for one destination: a local core (dest < cores) or a node (cores + its index
 * in the map). */
struct write_part {
    struct msg msg;
    struct write_op *op;
    uint16_t dest;
    bool open;
    size_t first, count; /* of op->sorted; there may be none */
    size_t first_exemplar, exemplars_count, first_metadata, metadata_count;
    /* outcome */
    enum status status;
    struct err err;
    struct write_result result; /* first_index counts from `first` */
    uint32_t *unknown;          /* rows of the part whose labels are needed */
    size_t unknown_count;
    /* local */
    struct core *home;
    struct ack_wait wait;
    /* remote */
    struct peer_call *call;
    struct timer retry;
    uint64_t retry_ms;
    bool labels_asked, labels_all; /* those of unknown go with it; those of every row */
};

struct distributor {
    struct core *core;
    struct distributor_options options;
    unsigned cores_count;
    struct ack_board board;
    unsigned self_member;
    struct arena scratch; /* of store_write on this core */
    uint16_t *dest_of;    /* by shard */
    uint32_t *rank;       /* by shard: its place in the order (destination, shard) */
    uint32_t *counts;     /* scratch of the sort, by rank */
    struct list_node ops;
    struct list_node served; /* of struct peer_write */
    uint64_t bytes_in_flight;
    bool stopping;
    struct metric *samples[VERDICT_COUNT], *resends, *unavailable;
};

/* parts.c */
MUST_USE enum status op_sort_items(struct distributor *d, struct write_op *op);
MUST_USE enum status op_cut(struct distributor *d, struct write_op *op);
uint32_t part_shard(const struct write_part *part); /* the first one */
void part_start_local(struct write_part *part);
void part_start_remote(struct write_part *part);
void part_stop_remote(struct write_part *part); /* no further try */
void part_on_retry(struct timer *t);            /* of part->retry: sends again */
void part_end(struct write_part *part); /* on the op's core; part->status and result are set */
void distributor_free_served(struct distributor *d);
void write_op_free_private(struct write_op *op);
