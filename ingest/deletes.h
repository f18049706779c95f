/* SPDX-License-Identifier: Apache-2.0 */
/* ingest/deletes.h: deleting by matcher: a DELETE entry for each range in every shard, written by
 * the shard's primary, as writes are brought there (ingest/distributor.h, whose routes, gate and
 * limits count here too). The way of a delete_op, one flow, in rounds:
 *
 *   the shards that are left, by the newest map: one piece per local core (message) and per remote
 *   node (FRAME_DELETE: there the same runs, local only, once)
 *   local piece: may each shard be written -> store_delete, in slices -> wait for the in-sync sets
 *   all pieces back -> none is left: done; else 50 to 200 ms, or the next map -> the next round,
 *   until resend_ms have passed
 *
 * Nothing is rolled back. A shard may be asked twice when an answer was lost: what was written to
 * it between the two goes as well, where it matches. Thread: the distributor's core. */
#pragma once

#include "ingest/delete_frame.h"
#include "ingest/distributor.h"

enum { DELETES_MAX = 16 /* under way on a core; beyond: ERR_UNAVAILABLE at once */ };

struct delete_op {
    /* given, borrowed until done; within the limits of ingest/delete_frame.h */
    const struct delete_range *ranges;
    size_t ranges_count;
    /* Once, on the core of distributor_delete, not inside it. */
    void (*done)(struct core *here, struct delete_op *op);
    /* outcome: OK, every shard has it durably; else text says which have not, and why the first */
    enum status status;
    char text[480];
    /* private */
    struct list_node node; /* of the distributor's */
    struct distributor *d;
    struct msg msg;
    struct timer retry;
    struct list_node pieces;
    size_t pieces_open;
    bool waiting, is_served;
    uint8_t *left; /* by shard: 1: not done */
    uint32_t left_count, asked_count;
    uint64_t began_ns;
    struct err why; /* of the first that failed in this round */
};
/* The distributor has a gate. */
void distributor_delete(struct distributor *d, struct delete_op *op);
/* Before done, text as it is by now: a shard whose replicas neither answer nor are replaced is
 * waited for without an end. */
void delete_op_tell(struct delete_op *op);
/* For peers_handle(FRAME_DELETE): ctx is the distributor. */
void deletes_on_frame(struct peer_request *req, struct sv payload, void *ctx);
