/* SPDX-License-Identifier: Apache-2.0 */
/* node/daemon/ask_nodes.h: one question of an HTTP request to all nodes of the cluster at once: a
 * frame to the others, and on this node's own cores what that frame does there. When all have
 * answered, or failed, the request is answered. Thread: the request's core, but for near. */
#pragma once

#include "node/daemon/node.h"
#include "node/http/server.h"

struct ask_far { /* what one node says */
    struct ask_nodes *ask;
    node_id id;
    char addr[RING_ADDR_MAX + 1];
    struct buf parts; /* behind the version byte */
    enum status status;
    struct err err;
};
struct ask_near { /* what one core of this node says */
    struct msg msg;
    struct ask_nodes *ask;
    struct core *core;
    struct buf part;
    void *user;
};
struct ask_nodes {
    /* given */
    struct http_request *req; /* NULL once the client has gone */
    enum frame_type type;
    /* The frame's payload, for each of the others. */
    void (*put)(struct ask_nodes *ask, struct buf *out);
    /* On each core: fills part, then ask_near_done, there, now or later. */
    void (*near)(struct ask_near *near);
    /* Once; req is not NULL. */
    void (*answer)(struct ask_nodes *ask);
    void (*free)(struct ask_nodes *ask); /* of the struct around it; once, at the very end */
    /* outcome */
    struct ask_far *fars; /* the first is this node */
    size_t fars_count;
    /* private */
    struct core *core;
    struct ask_near *nears;
    size_t nears_count, open, nears_open;
};
/* OK: answer and free follow, not inside it. Else nothing was begun, and free does not run.
 * ERR_UNAVAILABLE: this node has no map, or is not in it. */
MUST_USE enum status ask_nodes_start(struct ask_nodes *ask, const struct node *node,
                                     struct err *err);
void ask_near_done(struct ask_near *near);
/* {"id", "address", "error" where it has one: then *out is false. The object stays open. */
struct json;
bool ask_far_begin(const struct ask_far *far, struct json *j);
