/* SPDX-License-Identifier: Apache-2.0 */
/* node/runtime/net_core.c: the network's part of a core: its listener, and its start and stop. */
#include <assert.h>
#include <stdlib.h>
#include <unistd.h>

#include "node/runtime/loop.h"
#include "node/runtime/net_tcp.h"

enum { NET_BACKLOG = 1024 };

struct net_tcp {
    struct net net; /* at offset 0 */
    atomic_uint listeners_count;
};

struct listener {
    uv_tcp_t tcp;
    struct net_core *nc;
    net_accept_cb accept;
    void *ctx;
    unsigned port;
};

void net_check_stopped(struct net_core *nc) {
    if (!nc->stopping || nc->conns_count > 0 || nc->handles_open > 0) return;
    nc->lc->net_stopped = true;
    loop_check_quiet(nc->lc);
}

/* ---- listen ---- */

static void net_on_refused_closed(uv_handle_t *handle) {
    struct net_core *nc = handle->data;
    free(handle);
    nc->handles_open--;
    net_check_stopped(nc);
}

/* A connection above the limit: it must be accepted to get out of the kernel's queue. */
static void net_refuse(struct net_core *nc, uv_stream_t *server) {
    uv_tcp_t *tcp = calloc(1, sizeof *tcp);
    if (tcp == NULL) abort();
    uv_tcp_init(&nc->lc->loop, tcp);
    tcp->data = nc;
    nc->handles_open++;
    uv_accept(server, (uv_stream_t *)tcp);
    uv_close((uv_handle_t *)tcp, net_on_refused_closed);
}

static void net_on_connection(uv_stream_t *server, int rc) {
    if (rc < 0) return; /* gone again, or no descriptor left: libuv has closed it then */
    struct listener *l = server->data;
    struct net_core *nc = l->nc;
    if (nc->conns_count >= NET_CONNS_PER_CORE_MAX) {
        net_refuse(nc, server);
        return;
    }
    struct conn *conn = tcp_accept(nc, server);
    if (conn == NULL) return;
    l->accept(&nc->lc->core, conn, l->ctx);
    assert(conn->events != NULL);
}

static enum status tcp_listen(struct net *net, struct core *core, struct sv addr,
                              net_accept_cb accept, void *ctx, struct err *err) {
    struct net_tcp *nt = container_of(net, struct net_tcp, net);
    struct net_core *nc = loop_core_of(core)->net;
    if (nc->listener != NULL || nc->stopping)
        return err_set(err, ERR_CONFLICT, 0, "listen on %.*s: core %u %s", SV_ARG(addr),
                       core->index, nc->stopping ? "stops" : "already listens");
    struct listener *l = calloc(1, sizeof *l);
    if (l == NULL) return err_set(err, ERR_NOMEM, 0, "listen on %.*s: no memory", SV_ARG(addr));
    int fd;
    /* relaxed: listeners are opened at start-up, one after the other */
    bool first = atomic_load_explicit(&nt->listeners_count, memory_order_relaxed) == 0;
    enum status status = loop_tcp_bind(addr, first, &fd, &l->port, err);
    if (status != OK) {
        free(l);
        return status;
    }
    l->nc = nc;
    l->accept = accept;
    l->ctx = ctx;
    uv_tcp_init(&nc->lc->loop, &l->tcp);
    l->tcp.data = l;
    nc->handles_open++;
    nc->listener = l;
    atomic_fetch_add_explicit(&nt->listeners_count, 1, memory_order_relaxed);
    int rc = uv_tcp_open(&l->tcp, fd);
    if (rc < 0)
        close(fd);
    else
        rc = uv_listen((uv_stream_t *)&l->tcp, NET_BACKLOG, net_on_connection);
    if (rc >= 0) return OK;
    net->ops->unlisten(net, core);
    return err_set(err, rc == UV_EADDRINUSE ? ERR_CONFLICT : ERR_IO, -rc, "listen on %.*s",
                   SV_ARG(addr));
}

static void net_on_listener_closed(uv_handle_t *handle) {
    struct listener *l = handle->data;
    struct net_core *nc = l->nc;
    free(l);
    nc->handles_open--;
    net_check_stopped(nc);
}

static void tcp_unlisten(struct net *net, struct core *core) {
    struct net_core *nc = loop_core_of(core)->net;
    if (nc->listener == NULL) return;
    atomic_fetch_sub_explicit(&container_of(net, struct net_tcp, net)->listeners_count, 1,
                              memory_order_relaxed);
    uv_close((uv_handle_t *)&nc->listener->tcp, net_on_listener_closed);
    nc->listener = NULL;
}

unsigned loop_net_port(struct core *core) {
    assert(core_is_current(core));
    const struct listener *l = loop_core_of(core)->net->listener;
    return l == NULL ? 0 : l->port;
}

/* ---- life ---- */

enum status net_tcp_new(struct net **out, struct err *err) {
    static const struct net_ops ops = {
        .listen = tcp_listen,
        .unlisten = tcp_unlisten,
        .dial = tcp_dial,
        .send = tcp_send,
        .close = tcp_close,
    };
    struct net_tcp *nt = calloc(1, sizeof *nt);
    if (nt == NULL) return err_set(err, ERR_NOMEM, 0, "runtime: no memory for the network");
    nt->net.ops = &ops;
    atomic_init(&nt->listeners_count, 0);
    *out = &nt->net;
    return OK;
}

void net_tcp_free(struct net *net) {
    if (net != NULL) free(container_of(net, struct net_tcp, net));
}

enum status net_core_new(struct loop_core *lc, struct err *err) {
    struct net_core *nc = calloc(1, sizeof *nc);
    char *scratch = malloc(NET_SCRATCH_BYTES);
    if (nc == NULL || scratch == NULL) {
        free(nc);
        free(scratch);
        return err_set(err, ERR_NOMEM, 0, "runtime: no memory for the network of core %u",
                       lc->core.index);
    }
    nc->lc = lc;
    nc->scratch = scratch;
    list_init(&nc->conns);
    list_init(&nc->dirty);
    uv_prepare_init(&lc->loop, &nc->flush); /* cannot fail */
    nc->flush.data = nc;
    nc->handles_open = 1;
    lc->net = nc;
    return OK;
}

static void net_on_flush_closed(uv_handle_t *handle) {
    struct net_core *nc = handle->data;
    nc->handles_open--;
    net_check_stopped(nc);
}

void net_core_stop(struct net_core *nc) {
    assert(core_is_current(&nc->lc->core) && !nc->stopping);
    nc->stopping = true;
    tcp_unlisten(nc->lc->core.rt->net, &nc->lc->core);
    tcp_stop_all(nc);
    uv_close((uv_handle_t *)&nc->flush, net_on_flush_closed);
}

void net_core_free(struct net_core *nc) {
    if (nc == NULL) return;
    assert(list_is_empty(&nc->conns) && nc->handles_open == 0);
    free(nc->scratch);
    free(nc);
}
