/* SPDX-License-Identifier: Apache-2.0 */
/* node/runtime/net_tcp.h: what net_core.c (listeners, life) and net_tcp.c (connections) share. */
#pragma once

#include "node/base/list.h"
#include "node/runtime/internal.h"

enum { NET_CONNS_PER_CORE_MAX = 4096, NET_SCRATCH_BYTES = 128 << 10 };

struct net_core {
    struct loop_core *lc;
    struct list_node conns; /* every tcp_conn of the core until its closed has run */
    struct list_node dirty; /* those with frames that wait for the flush */
    unsigned conns_count;
    unsigned handles_open; /* listeners, flush and refused sockets */
    struct listener *listener;
    uv_prepare_t flush; /* active while dirty is not empty */
    char *scratch;
    bool stopping;
};

/* Takes the connection that waits at the listener. NULL when it failed already; else
 * conn_set_events must follow before control returns to the loop. The limit on connections is the
 * caller's. */
struct conn *tcp_accept(struct net_core *nc, uv_stream_t *server);
struct conn *tcp_dial(struct net *net, struct core *core, struct sv addr,
                      const struct conn_events *ev, void *ctx);
void tcp_send(struct conn *conn, struct buf *frame);
void tcp_close(struct conn *conn);
void tcp_stop_all(struct net_core *nc);      /* `closed` comes from the loop for each */
void net_check_stopped(struct net_core *nc); /* after a handle or connection has gone */
