/* SPDX-License-Identifier: Apache-2.0 */
/* ring/ack.h: waiting until every member of the in-sync sets of some shards is durable: a wait is
 * on a set of replica positions. Each member has one ordered stream per core (this node's own log,
 * or what is sent to a follower), and a position is a place in it; positions only grow. Sans-I/O;
 * one per core. Invariant: durable <= sent for each member; a wait is done when all its positions
 * are durable, never before. */
#pragma once

#include <stdint.h>

#include "node/base/list.h"
#include "node/base/status.h"
#include "ring/map.h"

struct ack_member {
    node_id node;
    uint64_t sent, durable;
    enum status failed;     /* not OK: the stream broke, nothing more will become durable */
    struct list_node waits; /* of struct ack_need, in order of position */
};
struct ack_board {
    struct ack_member members[64];
    unsigned members_count;
};
struct ack_need { /* private */
    struct list_node link;
    struct ack_wait *wait;
    uint64_t position;
};
struct ack_wait {
    /* private */
    struct ack_need needs[RING_REPLICAS_MAX];
    unsigned needs_count, open;
    void (*done)(struct ack_wait *wait, enum status status, const struct err *err);
};

void ack_board_init(struct ack_board *board);
unsigned ack_member_add(struct ack_board *board,
                        node_id node); /* its index; one that is there already is returned */
/* begin; need once per member that must be durable up to position; then commit: done may run inside
 * it. */
void ack_wait_begin(struct ack_wait *wait,
                    void (*done)(struct ack_wait *wait, enum status status, const struct err *err));
void ack_wait_need(struct ack_board *board, struct ack_wait *wait, unsigned member,
                   uint64_t position);
void ack_wait_commit(struct ack_wait *wait);
void ack_wait_cancel(struct ack_wait *wait); /* done will not run */
/* The member is durable up to position; runs done of the waits that this completes, in order. */
void ack_progress(struct ack_board *board, unsigned member, uint64_t position);
/* The member's stream broke (log closed, follower lost): its waits end with status. A caller asks
 * ack_member_failed before it begins a wait that needs the member; a wait begun all the same stays
 * open until it is cancelled. */
void ack_fail(struct ack_board *board, unsigned member, enum status status, const struct err *err);
enum status ack_member_failed(const struct ack_board *board, unsigned member);
