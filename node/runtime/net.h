/* SPDX-License-Identifier: Apache-2.0 */
/* node/runtime/net.h: connections between nodes that carry whole frames, so that a test can lose,
 * delay, reorder and cut them. On TCP a frame is [u32 length little-endian][bytes]; 1 <= length <=
 * NET_FRAME_BYTES_MAX, else the connection is closed. Nothing is promised about delivery: a frame
 * is received whole or not at all, and what was sent before a close may be lost. Reordering and
 * duplicates happen in the simulator (real nodes use several connections and send again), so
 * protocols carry ids. Thread: a
 * connection belongs to the core that dialled or accepted it. */
#pragma once

#include <stddef.h>
#include <stdint.h>

#include "node/base/buf.h"
#include "node/base/status.h"
#include "node/base/sv.h"
#include "node/runtime/core.h"

enum { NET_FRAME_BYTES_MAX = 64 << 20, NET_QUEUE_BYTES_MAX = 128 << 20 };

struct conn;
struct conn_events {
    void (*opened)(struct conn *c, void *ctx); /* dialled connections, once, before any frame */
    void (*frame)(struct conn *c, void *ctx, struct sv frame); /* borrowed until return */
    void (*closed)(struct conn *c, void *ctx,
                   const char *why); /* exactly once, last; c is dead after it */
};
typedef void (*net_accept_cb)(struct core *core, struct conn *c,
                              void *ctx); /* must call conn_set_events at once */

struct net_ops {
    /* Listens on the core (real: SO_REUSEPORT, each core has its own socket). addr "host:port".
     * Not on the control core (asserted), which may dial. */
    enum status (*listen)(struct net *net, struct core *core, struct sv addr, net_accept_cb accept,
                          void *ctx, struct err *err);
    void (*unlisten)(struct net *net, struct core *core);
    struct conn *(*dial)(struct net *net, struct core *core, struct sv addr,
                         const struct conn_events *ev, void *ctx);
    void (*send)(struct conn *c, struct buf *frame);
    void (*close)(struct conn *c);
};
struct net {
    const struct net_ops *ops;
};
struct conn {
    struct net *net;
    struct core *core;
    const struct conn_events *events;
    void *ctx;
};

MUST_USE enum status net_listen(struct core *core, struct sv addr, net_accept_cb accept, void *ctx,
                                struct err *err);
void net_unlisten(struct core *core);
/* Never fails at once: `closed` comes later when it cannot connect (after at most 5 s). */
struct conn *net_dial(struct core *core, struct sv addr, const struct conn_events *ev, void *ctx);
void conn_set_events(struct conn *c, const struct conn_events *ev, void *ctx);
/* Takes the bytes (the buf is empty after); from net_dial on, what is sent before `opened` waits. A
 * queue beyond NET_QUEUE_BYTES_MAX closes the connection. */
void conn_send(struct conn *c, struct buf *frame);
void conn_close(struct conn *c); /* `closed` still comes, later; idempotent */
