/* SPDX-License-Identifier: Apache-2.0 */
/* query/gather/part_call.h: a question to another node while its answer comes in: the pieces,
 * within their limit, then the end. What is asked, and what the end says, belongs to remote.c
 * (fragments) and list_remote.c (lists). Thread: the core of the gather. */
#pragma once

#include "node/base/buf.h"
#include "ring/peers.h"

struct spread_part;
struct part_call_options {
    struct peers *peers;
    enum frame_type type;
    uint64_t timeout_ms;
    uint64_t reply_bytes_max;
    const char *what; /* whose memory that is: "a query" */
    /* All has come: what part->call.reply and the end hold becomes the part's, or an error. */
    enum status (*finish)(struct spread_part *part, struct sv end);
};
struct part_call { /* embedded in struct spread_part, which is told by spread_part_done */
    struct part_call_options o;
    struct peer_call *peer; /* NULL: not asked, answered, or given up */
    struct buf reply;
};
/* Asks part->to; takes payload. */
void part_call_start(struct spread_part *part, const struct part_call_options *options,
                     struct buf *payload);
void part_call_cancel(struct spread_part *part); /* nothing is told any more */
void part_call_fini(struct part_call *c);
