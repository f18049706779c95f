/* SPDX-License-Identifier: Apache-2.0 */
/* node/runtime/net_tcp.c: frames over TCP; one connection is one flow:
 *
 *   dial: RESOLVE -> CONNECT -> OPEN -> CLOSING          accept: OPEN -> CLOSING
 *                    ^     v
 *                    RETRY          (the failed socket is closed, the name's next address is tried)
 *
 *   any state -> CLOSING on an error, the deadline, conn_close or a stop of the core; the first
 *   reason wins.
 *
 * Reading goes straight into one scratch buffer per core; frames that are whole in it are handed up
 * in place, and only the begin of a frame that is not is copied to the connection, where the rest
 * is read behind it. That buffer grows as bytes come, not as the length says, so a peer cannot make
 * us allocate by a header alone.
 *
 * Writing: frames sent during one turn of the loop leave together, by one system call just before
 * it polls; what the socket does not take is libuv's, and the next ones gather behind it. */
#include "node/runtime/net_tcp.h"

#include <assert.h>
#include <errno.h>
#include <inttypes.h>
#include <netinet/tcp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "node/base/bytes.h"
#include "node/runtime/resolve.h"

enum {
    NET_DIAL_TIMEOUT_MS = 5000,
    NET_KEEPALIVE_S = 15,
    NET_DEAD_PEER_MS = 30000,
    NET_GROW_BYTES_MIN = 64 << 10,
    NET_KEEP_BYTES_MAX = 256 << 10, /* a larger receive buffer is given back after its frame */
    NET_BATCH_FRAMES_MAX = 64,      /* of one uv_write */
    NET_BATCH_BYTES_MAX = 4 << 20,
    NET_HEADER_BYTES = 4,
};

struct tcp_frame {
    struct tcp_frame *next;
    struct buf bytes;
    uint8_t header[NET_HEADER_BYTES];
};

enum tcp_state {
    CONN_RESOLVE,
    CONN_CONNECT,
    CONN_RETRY,
    CONN_OPEN,
    CONN_CLOSING,
    CONN_STATE_COUNT
};
static const struct tcp_state_def {
    const char *name;
    unsigned next; /* bits of the states that may follow */
} tcp_states[] = {
    [CONN_RESOLVE] = {"resolve", 1U << CONN_CONNECT | 1U << CONN_CLOSING},
    [CONN_CONNECT] = {"connect", 1U << CONN_OPEN | 1U << CONN_RETRY | 1U << CONN_CLOSING},
    [CONN_RETRY] = {"retry", 1U << CONN_CONNECT | 1U << CONN_CLOSING},
    [CONN_OPEN] = {"open", 1U << CONN_CLOSING},
    [CONN_CLOSING] = {"closing", 0},
};
static_assert(ARRAY_LEN(tcp_states) == CONN_STATE_COUNT, "one row per state");

/* Owner: nc->conns. Freed only in tcp_finish(), when its handle is closed. */
struct tcp_conn {
    struct conn conn; /* at offset 0 */
    struct net_core *nc;
    struct list_node link;
    struct list_node dirty;
    enum tcp_state state;
    uv_tcp_t tcp; /* initialised in every state; .data = this */
    uv_connect_t connect_req;
    uv_write_t write_req;
    struct timer deadline;
    uint64_t deadline_ns;    /* of the whole dial; each address gets its share of what is left */
    struct resolve *resolve; /* in RESOLVE when the host is a name */
    union address addrs[RESOLVE_ADDRS_MAX];
    unsigned addrs_count, addr_next;
    struct buf in;                            /* a frame that has not come whole, with its header */
    struct tcp_frame *wait_first, *wait_last; /* not given to libuv */
    struct tcp_frame *flight;                 /* being written by write_req */
    size_t queued_bytes;                      /* of both lists, bookkeeping included */
    char peer[80];
    char why[240];
};

static void tcp_connect_next(struct tcp_conn *c);
static void tcp_flush(struct tcp_conn *c);

static void tcp_move(struct tcp_conn *c, enum tcp_state next) {
    assert((tcp_states[c->state].next >> next & 1U) != 0);
    c->state = next;
}

/* ---- close ---- */

static void frames_free(struct tcp_frame *f) {
    while (f != NULL) {
        struct tcp_frame *next = f->next;
        buf_fini(&f->bytes);
        free(f);
        f = next;
    }
}

static void tcp_finish(struct tcp_conn *c) {
    struct net_core *nc = c->nc;
    assert(c->state == CONN_CLOSING && c->flight == NULL && c->resolve == NULL);
    list_remove(&c->link);
    assert(nc->conns_count > 0);
    nc->conns_count--;
    /* NULL: it failed before anyone was told of it */
    if (c->conn.events != NULL) c->conn.events->closed(&c->conn, c->conn.ctx, c->why);
    frames_free(c->wait_first);
    buf_fini(&c->in);
    free(c);
    net_check_stopped(nc);
}

static void tcp_on_closed(uv_handle_t *handle) {
    tcp_finish(handle->data);
}

PRINTF_LIKE(2, 3) static void tcp_fail(struct tcp_conn *c, const char *fmt, ...) {
    if (c->state == CONN_CLOSING) return;
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(c->why, sizeof c->why, fmt, ap);
    va_end(ap);
    bool handle_is_closing = c->state == CONN_RETRY; /* then tcp_on_retry_closed finishes */
    tcp_move(c, CONN_CLOSING);
    timer_stop(&c->deadline);
    list_remove(&c->dirty);
    if (c->resolve != NULL) resolve_abandon(c->resolve);
    c->resolve = NULL;
    if (!handle_is_closing) uv_close((uv_handle_t *)&c->tcp, tcp_on_closed);
}

/* ---- write ---- */

static void tcp_flight_over(struct tcp_conn *c) {
    for (struct tcp_frame *f = c->flight; f != NULL; f = f->next)
        c->queued_bytes -= f->bytes.len + sizeof *f;
    frames_free(c->flight);
    c->flight = NULL;
}

static void tcp_on_written(uv_write_t *req, int rc) {
    struct tcp_conn *c = container_of(req, struct tcp_conn, write_req);
    tcp_flight_over(c);
    if (c->state == CONN_CLOSING) return;
    if (rc < 0)
        tcp_fail(c, "write to %s: %s", c->peer, uv_strerror(rc));
    else
        tcp_flush(c);
}

/* The oldest waiting frames as buffers for libuv; *out_last is the last one taken. */
static unsigned tcp_batch(struct tcp_conn *c, uv_buf_t bufs[2 * NET_BATCH_FRAMES_MAX],
                          struct tcp_frame **out_last) {
    unsigned count = 0;
    size_t bytes = 0;
    for (struct tcp_frame *f = c->wait_first; f != NULL; f = f->next) {
        if (count == 2 * NET_BATCH_FRAMES_MAX ||
            (count > 0 && bytes + f->bytes.len > NET_BATCH_BYTES_MAX))
            break;
        bufs[count++] = uv_buf_init((char *)f->header, NET_HEADER_BYTES);
        bufs[count++] = uv_buf_init(f->bytes.ptr, (unsigned)f->bytes.len);
        bytes += f->bytes.len;
        *out_last = f;
    }
    return count;
}

/* Hands the oldest waiting frames to the socket, and what it does not take to libuv: uv_write alone
 * would cost an epoll_ctl and a turn of its own also where nothing is left. */
static int tcp_write_batch(struct tcp_conn *c) {
    uv_buf_t bufs[2 * NET_BATCH_FRAMES_MAX];
    struct tcp_frame *last = NULL;
    unsigned count = tcp_batch(c, bufs, &last), first = 0;
    c->flight = c->wait_first;
    c->wait_first = last->next;
    if (c->wait_first == NULL) c->wait_last = NULL;
    last->next = NULL;
    int rc = uv_try_write((uv_stream_t *)&c->tcp, bufs, count);
    if (rc < 0 && rc != UV_EAGAIN) return rc;
    size_t taken = rc < 0 ? 0 : (size_t)rc;
    for (; first < count && taken >= bufs[first].len; first++)
        taken -= bufs[first].len;
    if (first == count) {
        tcp_flight_over(c);
        return 0;
    }
    bufs[first].base += taken;
    bufs[first].len -= taken;
    return uv_write(&c->write_req, (uv_stream_t *)&c->tcp, bufs + first, count - first,
                    tcp_on_written);
}

static void tcp_flush(struct tcp_conn *c) {
    list_remove(&c->dirty);
    while (c->state == CONN_OPEN && c->flight == NULL && c->wait_first != NULL) {
        int rc = tcp_write_batch(c);
        if (rc >= 0) continue;
        tcp_flight_over(c);
        tcp_fail(c, "write to %s: %s", c->peer, uv_strerror(rc));
    }
}

static void net_on_flush(uv_prepare_t *flush) {
    struct net_core *nc = container_of(flush, struct net_core, flush);
    while (!list_is_empty(&nc->dirty))
        tcp_flush(container_of(nc->dirty.next, struct tcp_conn, dirty));
    uv_prepare_stop(flush);
}

static void tcp_mark_dirty(struct tcp_conn *c) {
    if (c->state != CONN_OPEN || c->flight != NULL || c->wait_first == NULL ||
        !list_is_empty(&c->dirty))
        return;
    if (list_is_empty(&c->nc->dirty)) uv_prepare_start(&c->nc->flush, net_on_flush);
    list_push_back(&c->nc->dirty, &c->dirty);
}

void tcp_send(struct conn *conn, struct buf *frame) {
    struct tcp_conn *c = container_of(conn, struct tcp_conn, conn);
    struct tcp_frame *f = NULL;
    if (c->state == CONN_CLOSING) goto drop;
    if (frame->len > NET_FRAME_BYTES_MAX) {
        tcp_fail(c, "frame of %zu bytes for %s, more than the limit of %d", frame->len, c->peer,
                 NET_FRAME_BYTES_MAX);
        goto drop;
    }
    f = frame->failed ? NULL : malloc(sizeof *f);
    if (f == NULL) {
        tcp_fail(c, "no memory for a frame to %s", c->peer);
        goto drop;
    }
    size_t bytes = frame->len + sizeof *f;
    if (bytes > NET_QUEUE_BYTES_MAX - c->queued_bytes) {
        free(f);
        tcp_fail(c, "%zu bytes wait to be sent to %s, the limit is %d", c->queued_bytes + bytes,
                 c->peer, NET_QUEUE_BYTES_MAX);
        goto drop;
    }
    put_u32le(f->header, (uint32_t)frame->len);
    f->bytes = buf_move(frame);
    f->next = NULL;
    c->queued_bytes += bytes;
    if (c->wait_first == NULL)
        c->wait_first = f;
    else
        c->wait_last->next = f;
    c->wait_last = f;
    tcp_mark_dirty(c);
    return;

drop:
    buf_fini(frame);
}

/* What was just sent is offered to the socket once, so that "send a refusal, close" usually
 * arrives. */
void tcp_close(struct conn *conn) {
    struct tcp_conn *c = container_of(conn, struct tcp_conn, conn);
    if (c->state == CONN_OPEN && c->flight == NULL && c->wait_first != NULL) {
        uv_buf_t bufs[2 * NET_BATCH_FRAMES_MAX];
        struct tcp_frame *last = NULL;
        unsigned count = tcp_batch(c, bufs, &last);
        uv_try_write((uv_stream_t *)&c->tcp, bufs,
                     count); /* nothing is promised: the result does not matter */
    }
    tcp_fail(c, "closed by this node");
}

/* ---- read ---- */

static bool tcp_frame_len(struct tcp_conn *c, const char *header, size_t *out_len) {
    uint32_t len = get_u32le(header);
    if (len == 0 || len > NET_FRAME_BYTES_MAX) {
        tcp_fail(c, "frame of %" PRIu32 " bytes from %s, the limits are 1 and %d", len, c->peer,
                 NET_FRAME_BYTES_MAX);
        return false;
    }
    *out_len = len;
    return true;
}

static void tcp_on_alloc(uv_handle_t *handle, size_t suggested, uv_buf_t *out) {
    (void)suggested;
    struct tcp_conn *c = handle->data;
    if (c->in.len == 0) {
        *out = uv_buf_init(c->nc->scratch, NET_SCRATCH_BYTES);
        return;
    }
    size_t missing = NET_HEADER_BYTES;
    if (c->in.len >= NET_HEADER_BYTES) missing += get_u32le(c->in.ptr); /* checked when it came */
    missing -= c->in.len;
    missing = MIN(missing, MAX(c->in.len, (size_t)NET_GROW_BYTES_MIN));
    *out = uv_buf_init(NULL, 0); /* read as ENOBUFS */
    if (buf_reserve(&c->in, missing)) *out = uv_buf_init(c->in.ptr + c->in.len, (unsigned)missing);
}

/* More of the frame in c->in, and nothing behind it. */
static void tcp_take_rest(struct tcp_conn *c, size_t got) {
    size_t len, had = c->in.len;
    c->in.len += got;
    if (c->in.len < NET_HEADER_BYTES) return;
    if (had < NET_HEADER_BYTES) {
        if (!tcp_frame_len(c, c->in.ptr, &len)) return;
    } else {
        len = get_u32le(c->in.ptr);
    }
    assert(c->in.len <= NET_HEADER_BYTES + len);
    if (c->in.len < NET_HEADER_BYTES + len) return;
    c->conn.events->frame(&c->conn, c->conn.ctx, sv_make(c->in.ptr + NET_HEADER_BYTES, len));
    if (c->in.cap > NET_KEEP_BYTES_MAX) buf_fini(&c->in);
    buf_clear(&c->in);
}

static void tcp_take_scratch(struct tcp_conn *c, struct sv left) {
    size_t len;
    while (left.len >= NET_HEADER_BYTES) {
        if (!tcp_frame_len(c, left.ptr, &len)) return;
        if (left.len - NET_HEADER_BYTES < len) break;
        c->conn.events->frame(&c->conn, c->conn.ctx, sv_make(left.ptr + NET_HEADER_BYTES, len));
        if (c->state != CONN_OPEN) return;
        left = sv_skip(left, NET_HEADER_BYTES + len);
    }
    buf_put_sv(&c->in, left);
    if (c->in.failed) tcp_fail(c, "no memory for a frame from %s", c->peer);
}

static void tcp_on_read(uv_stream_t *stream, ssize_t got, const uv_buf_t *buf) {
    struct tcp_conn *c = stream->data;
    if (c->state != CONN_OPEN || got == 0) return;
    if (got == UV_EOF)
        tcp_fail(c, "closed by %s", c->peer);
    else if (got < 0)
        tcp_fail(c, "read from %s: %s", c->peer, uv_strerror((int)got));
    else if (buf->base == c->nc->scratch)
        tcp_take_scratch(c, sv_make(buf->base, (size_t)got));
    else
        tcp_take_rest(c, (size_t)got);
}

/* ---- open ---- */

static void tcp_on_deadline(struct timer *t);

static struct tcp_conn *tcp_new(struct net_core *nc, enum tcp_state state) {
    struct tcp_conn *c = calloc(1, sizeof *c);
    if (c == NULL) abort(); /* a small object, counted by the limits on connections */
    struct core *core = &nc->lc->core;
    c->conn.net = core->rt->net;
    c->conn.core = core;
    c->nc = nc;
    c->state = state;
    list_init(&c->dirty);
    timer_init(&c->deadline, core, tcp_on_deadline);
    uv_tcp_init(&nc->lc->loop, &c->tcp); /* cannot fail: makes no socket */
    c->tcp.data = c;
    list_push_back(&nc->conns, &c->link);
    nc->conns_count++;
    return c;
}

/* A peer that lost its power says nothing: what we sent, or a probe when we are silent, must be
 * answered within NET_DEAD_PEER_MS. */
static int tcp_start_reading(struct tcp_conn *c) {
    uv_os_fd_t fd;
    int rc = uv_fileno((uv_handle_t *)&c->tcp, &fd);
    if (rc >= 0) rc = uv_tcp_nodelay(&c->tcp, 1);
    if (rc >= 0) rc = uv_tcp_keepalive(&c->tcp, 1, NET_KEEPALIVE_S);
    const unsigned dead_ms = NET_DEAD_PEER_MS;
    if (rc >= 0 && setsockopt(fd, IPPROTO_TCP, TCP_USER_TIMEOUT, &dead_ms, sizeof dead_ms) != 0)
        rc = -errno;
    return rc < 0 ? rc : uv_read_start((uv_stream_t *)&c->tcp, tcp_on_alloc, tcp_on_read);
}

static void tcp_on_retry_closed(uv_handle_t *handle) {
    struct tcp_conn *c = handle->data;
    if (c->state == CONN_CLOSING) {
        tcp_finish(c);
        return;
    }
    uv_tcp_init(&c->nc->lc->loop, &c->tcp);
    tcp_connect_next(c);
}

static void tcp_attempt_failed(struct tcp_conn *c, const char *reason) {
    assert(c->state == CONN_CONNECT);
    timer_stop(&c->deadline);
    if (c->addr_next == c->addrs_count) {
        tcp_fail(c, "connect to %s: %s", c->peer, reason);
        return;
    }
    tcp_move(c, CONN_RETRY);
    uv_close((uv_handle_t *)&c->tcp, tcp_on_retry_closed);
}

static void tcp_on_deadline(struct timer *t) {
    struct tcp_conn *c = container_of(t, struct tcp_conn, deadline);
    if (c->state == CONN_CONNECT)
        tcp_attempt_failed(c, "no answer in time");
    else
        tcp_fail(c, "look up %s: no answer in time", c->peer);
}

static void tcp_on_connect(uv_connect_t *req, int rc) {
    struct tcp_conn *c = container_of(req, struct tcp_conn, connect_req);
    if (c->state != CONN_CONNECT) return; /* late event after a close */
    if (rc >= 0) rc = tcp_start_reading(c);
    if (rc < 0) {
        tcp_attempt_failed(c, uv_strerror(rc));
        return;
    }
    timer_stop(&c->deadline);
    tcp_move(c, CONN_OPEN);
    tcp_mark_dirty(c); /* what was sent while it was dialled */
    c->conn.events->opened(&c->conn, c->conn.ctx);
}

static void tcp_connect_next(struct tcp_conn *c) {
    tcp_move(c, CONN_CONNECT);
    assert(c->addr_next < c->addrs_count);
    uint64_t now_ns = core_mono_ns(c->conn.core);
    uint64_t left_ms = c->deadline_ns > now_ns ? (c->deadline_ns - now_ns) / 1000000 : 0;
    timer_start(&c->deadline, left_ms / (c->addrs_count - c->addr_next));
    const union address *addr = &c->addrs[c->addr_next++];
    int rc = uv_tcp_connect(&c->connect_req, &c->tcp, &addr->any, tcp_on_connect);
    if (rc < 0) tcp_attempt_failed(c, uv_strerror(rc));
}

static void tcp_on_resolved(struct core *here, struct resolve *r) {
    (void)here;
    struct tcp_conn *c = r->ctx;
    assert(c->state == CONN_RESOLVE && c->resolve == r);
    c->resolve = NULL;
    if (r->status == OK) {
        c->addrs_count = r->addrs_count;
        memcpy(c->addrs, r->addrs, r->addrs_count * sizeof r->addrs[0]);
        tcp_connect_next(c);
    } else {
        tcp_fail(c, "%s", r->err.msg);
    }
    resolve_free(r);
}

struct conn *tcp_dial(struct net *net, struct core *core, struct sv addr,
                      const struct conn_events *ev, void *ctx) {
    (void)net;
    struct net_core *nc = loop_core_of(core)->net;
    struct tcp_conn *c = tcp_new(nc, CONN_RESOLVE);
    c->conn.events = ev;
    c->conn.ctx = ctx;
    snprintf(c->peer, sizeof c->peer, "%.*s", (int)MIN(addr.len, sizeof c->peer), addr.ptr);
    c->deadline_ns = core_mono_ns(core) + NET_DIAL_TIMEOUT_MS * UINT64_C(1000000);
    timer_start(&c->deadline, NET_DIAL_TIMEOUT_MS);
    char host[RESOLVE_HOST_BYTES_MAX + 1];
    uint16_t port;
    struct err err;
    if (nc->stopping) {
        tcp_fail(c, "connect to %s: the node stops", c->peer);
    } else if (address_split(addr, host, &port, &err) != OK) {
        tcp_fail(c, "%s", err.msg);
    } else if (address_parse(host, port, &c->addrs[0])) {
        c->addrs_count = 1;
        tcp_connect_next(c);
    } else if (resolve_start(core, host, port, &c->resolve, &err) != OK) {
        tcp_fail(c, "%s", err.msg);
    } else {
        c->resolve->done = tcp_on_resolved;
        c->resolve->ctx = c;
    }
    return &c->conn;
}

/* ---- accept and stop ---- */

static void tcp_name_peer(struct tcp_conn *c) {
    union address a = {0};
    int len = sizeof a;
    char host[INET6_ADDRSTRLEN] = "?";
    if (uv_tcp_getpeername(&c->tcp, &a.any, &len) == 0) uv_ip_name(&a.any, host, sizeof host);
    unsigned port = ntohs(a.any.sa_family == AF_INET ? a.v4.sin_port : a.v6.sin6_port);
    snprintf(c->peer, sizeof c->peer, strchr(host, ':') != NULL ? "[%s]:%u" : "%s:%u", host, port);
}

struct conn *tcp_accept(struct net_core *nc, uv_stream_t *server) {
    struct tcp_conn *c = tcp_new(nc, CONN_OPEN);
    int rc = uv_accept(server, (uv_stream_t *)&c->tcp);
    tcp_name_peer(c);
    if (rc >= 0) rc = tcp_start_reading(c);
    if (rc >= 0) return &c->conn;
    tcp_fail(c, "accept %s: %s", c->peer, uv_strerror(rc));
    return NULL;
}

void tcp_stop_all(struct net_core *nc) {
    /* tcp_fail calls nobody, so the list stays as it is */
    LIST_FOREACH(n, &nc->conns)
    tcp_fail(container_of(n, struct tcp_conn, link), "the node stops");
}
