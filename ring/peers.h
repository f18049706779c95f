/* SPDX-License-Identifier: Apache-2.0 */
/* ring/peers.h: a core's connections to the other nodes: dialling with back-off, hello both ways,
 * requests with deadlines and replies in parts. Nodes are known by id; where one listens says the
 * address table (hellos, peers_set_addr), else the map. Frames of another cluster or protocol are
 * refused by name; another map version is not: handlers compare epochs, shard by shard. Thread: the
 * core's. Nothing here blocks; replies may come in any order.
 * Who may ask what: a node without a cluster (no map yet) may be asked by and may ask for
 * FRAME_JOIN and FRAME_PROMISE only; a node of our cluster that our map does not name may besides
 * send HEARTBEAT, RAFT and ADMIN; a member everything. A process older than one that was already
 * seen with its id is refused as fenced.
 * With a shared secret nothing but hellos is taken before both sides have proved that they know it
 * (it authenticates the connection's beginning; it does not encrypt).
 * When a dial fails or a connection dies, all calls to that node fail at once with ERR_UNAVAILABLE
 * and the reason (the receiver may or may not have acted: requests are idempotent). Calls that come
 * while the next dial is held back (50 ms, doubling up to 2 s) wait for it and share its fate.
 * Callbacks may do anything here but free: call, cancel, reply, set, stop. */
#pragma once

#include <stdint.h>

#include "node/base/buf.h"
#include "node/base/status.h"
#include "node/runtime/core.h"
#include "ring/frame.h"
#include "ring/map.h"

struct peers_options {    /* all is copied */
    struct ring_map *map; /* a reference is taken; NULL: no cluster yet */
    node_id self;
    uint32_t incarnation; /* of this process: higher than any before it with this id */
    const char
        *listen_addr; /* NULL or "": opens nothing (a node alone, or a core that dials only) */
    const char *addr; /* where others reach this node, told in hellos; NULL: the map's, else
                         listen_addr */
    const char *cluster_name; /* while there is no map; NULL: "" */
    struct sv secret;         /* shared by the cluster; empty: none */
    /* An accepted hello told an address or incarnation that was not known here; may be NULL. */
    void (*learned)(void *ctx, node_id id, uint32_t incarnation, const char *addr);
    void *ctx;
};
struct peers;
MUST_USE enum status peers_new(struct core *core, const struct peers_options *options,
                               struct peers **out, struct err *err);
/* Listens; connections are dialled when first needed and kept. */
MUST_USE enum status peers_start(struct peers *peers, struct err *err);
/* Once. Fails everything pending with ERR_UNAVAILABLE and closes; `closed` comes from the loop when
 * nothing is left, also of what callbacks have started meanwhile (it fails, too). It may free. */
void peers_stop(struct peers *peers, void (*closed)(struct peers *peers, void *ctx), void *ctx);
void peers_free(struct peers *peers); /* memory only: after closed, or after a simulated crash */

/* A newer map (a reference is taken) of the same cluster, or the first. Connections stay; those to
 * nodes that have left are closed when no call uses them. An older one is passed over. */
void peers_set_map(struct peers *peers, struct ring_map *map);
/* The address table: where the node listens now, from discovery or from what another core learned;
 * the next dial uses it. Ignored when addr is too long. NULL or "": forget. */
void peers_set_addr(struct peers *peers, node_id id, const char *addr);
/* The same as the node's process of that incarnation told it, perhaps to another core. What is
 * older is fenced: its connections close here, and its frames are refused. */
void peers_set_process(struct peers *peers, node_id id, uint32_t incarnation, const char *addr);
const char *peers_addr(const struct peers *peers, node_id id); /* what would be dialled; "": none */

struct peer_call; /* a request under way; valid until its last reply callback */
struct peer_call_options {
    node_id to;       /* 0: whoever answers at addr */
    const char *addr; /* for to == 0 only; copied */
    enum frame_type type;
    uint64_t timeout_ms; /* for the last part */
    /* OK with a part (last says whether more come), or once with an error and last = true. Never
     * called inside peers_call. */
    void (*reply)(void *ctx, enum status status, struct sv part, bool last, const struct err *err);
    void *ctx;
};
/* Takes payload. Waits for the connection if there is none (within timeout_ms). Never NULL. A
 * payload that is too large for a frame or has failed ends with ERR_LIMIT or ERR_NOMEM; a node
 * without a known address with ERR_UNAVAILABLE. */
struct peer_call *peers_call(struct peers *peers, const struct peer_call_options *options,
                             struct buf *payload);
/* Of a call that failed: the other node has seen a later process with our id. */
bool peers_is_fenced(enum status status, const struct err *err);
void peer_call_cancel(struct peer_call *call); /* reply will not be called; the peer is told */

/* Requests from others. The handler answers now or later on this core, with peer_reply any number
 * of times, the last with last = true, or once with peer_reply_error. `gone` (may be NULL) is
 * called when the asker cancelled or vanished before the last reply; after it the request is dead.
 */
struct peer_request {
    struct peers *peers;
    struct core *core;
    node_id from;
    uint32_t incarnation; /* of the sender */
    enum frame_type type;
    uint64_t id;
    uint64_t map_version; /* of the sender, 0: it has none; may be older or newer than ours */
    void *user;           /* the handler's */
    void (*gone)(struct peer_request *req);
};
typedef void (*peer_handler)(struct peer_request *req, struct sv payload,
                             void *ctx); /* payload borrowed until return */
void peers_handle(struct peers *peers, enum frame_type type, peer_handler handler, void *ctx);
/* Takes part. false: the asker is gone or was told of an error (a part that is too large or has
 * failed); the request is dead then and `gone` is not called. */
bool peer_reply(struct peer_request *req, struct buf *part, bool last);
void peer_reply_error(struct peer_request *req, enum status status, const char *text);

bool peers_is_connected(const struct peers *peers, node_id node); /* by a connection we dialled */
struct ring_map *
peers_map(const struct peers *peers); /* borrowed until the next set; may be NULL */
/* cairn_ring_frames_total{type,direction}, cairn_ring_refused_total{reason},
 * cairn_ring_connected{node} (id in hex) */
