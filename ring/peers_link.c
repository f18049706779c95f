/* SPDX-License-Identifier: Apache-2.0 */
#include <assert.h>
#include <stdio.h>
#include <string.h>

#include "node/base/bytes.h"
#include "ring/peers_internal.h"

static void link_dial(struct link *link);

static const struct metric_def connected_def = {
    .name = "cairn_ring_connected",
    .help = "Connections to another node that this node has dialled and that are up.",
    .kind = METRIC_GAUGE};

/* Closes the connection; it goes on in link_on_closed. The first reason is kept. */
static void link_break(struct link *link, const struct err *why) {
    if (link->broken.code == OK) link->broken = *why;
    conn_close(link->conn);
}

static void link_on_timer(struct timer *t) {
    struct link *link = container_of(t, struct link, timer);
    if (link->state == LINK_BACKOFF) {
        link->state = LINK_IDLE;
        if (!list_is_empty(&link->calls)) link_dial(link);
        return;
    }
    assert(link->state == LINK_HELLO || link->state == LINK_DIALING);
    struct err err;
    err_set(&err, ERR_TIMEOUT, 0, "%s within %d ms",
            link->state == LINK_HELLO ? "no hello" : "no connection", LINK_HELLO_TIMEOUT_MS);
    link_break(link, &err);
}

void link_init(struct link *link, struct peers *peers, uint16_t node) {
    *link = (struct link){.peers = peers, .node = node, .backoff_ms = LINK_BACKOFF_MIN_MS};
    list_init(&link->calls);
    timer_init(&link->timer, peers->core, link_on_timer);
    char labels[RING_ADDR_MAX + 16];
    snprintf(labels, sizeof labels, "node=\"%s\"", peers->map->nodes[node].addr);
    for (char *p = labels + 6; p < labels + strlen(labels) - 1; p++)
        if (*p == '"' || *p == '\\' || (unsigned char)*p < ' ') *p = '?';
    link->connected = metric_get(&connected_def, labels);
}

static void link_on_opened(struct conn *c, void *ctx) {
    struct link *link = ctx;
    assert(link->state == LINK_DIALING && link->conn == c);
    link->state = LINK_HELLO;
    struct buf hello = {0};
    peers_put_hello(link->peers, &hello);
    struct frame f = peers_frame(link->peers, FRAME_HELLO);
    f.payload = buf_sv(&hello);
    peers_send(link->peers, c, &f);
    buf_fini(&hello);
}

static void link_send_call(struct link *link, struct peer_call *call) {
    assert(link->state == LINK_UP && !call->sent && !call->ended);
    struct frame f = peers_frame(link->peers, call->options.type);
    f.request_id = call->id;
    f.payload = buf_sv(&call->payload);
    call->sent = true;
    peers_send(link->peers, link->conn, &f);
    buf_fini(&call->payload);
}

static void link_up(struct link *link) {
    link->state = LINK_UP;
    link->backoff_ms = LINK_BACKOFF_MIN_MS;
    link->last = (struct err){.code = OK};
    timer_stop(&link->timer);
    metric_add(link->connected, 1);
    LIST_FOREACH(n, &link->calls) {
        struct peer_call *call = container_of(n, struct peer_call, link_node);
        if (!call->sent && !call->ended) link_send_call(link, call);
    }
}

/* A frame before the connection is UP: the hello of the other side. */
static enum status link_greet(struct link *link, const struct frame *f, struct err *err) {
    uint16_t from;
    TRY(peers_check_hello(link->peers, f, &from, err));
    if (from != link->node)
        return err_set(err, ERR_CONFLICT, 0, "node %s of the cluster answers at this address",
                       link->peers->map->nodes[from].addr);
    link_up(link);
    return OK;
}

static void link_on_frame(struct conn *c, void *ctx, struct sv bytes) {
    struct link *link = ctx;
    struct peers *peers = link->peers;
    struct frame f;
    struct err err;
    enum refused reason = REFUSED_SENDER;
    assert(link->conn == c);
    enum status st = frame_get(bytes, &f, &err);
    peers_got(peers, st == OK ? f.type : 0);
    if (st != OK) {
        reason = st == ERR_UNSUPPORTED ? REFUSED_PROTOCOL : REFUSED_CORRUPT;
    } else if (link->state != LINK_UP) {
        reason = REFUSED_HELLO;
        st = link_greet(link, &f, &err);
    } else if ((st = peers_check_sender(peers, &f, link->node, &err)) == OK) {
        struct peer_call *call =
            f.type == FRAME_REPLY ? peers_find_call(peers, f.request_id) : NULL;
        if (call != NULL && call->link == link && call->sent) call_on_reply(call, &f);
        return; /* the link may be closing by now */
    }
    if (st == OK) return;
    peers_refused(peers, reason, &err);
    link_break(link, &err);
}

/* What a callback starts comes behind and is left alone. */
void link_fail_calls(struct link *link, const struct err *err) {
    struct list_node failed, *n;
    list_init(&failed);
    while ((n = list_pop_front(&link->calls)) != NULL)
        list_push_back(&failed, n);
    while (!list_is_empty(&failed)) { /* a callback may cancel others of it */
        struct peer_call *call = container_of(failed.next, struct peer_call, link_node);
        struct err why = call->ended ? call->err : *err;
        call_end(call, &why);
    }
}

static void link_on_closed(struct conn *c, void *ctx, const char *why) {
    struct link *link = ctx;
    assert(link->conn == c);
    struct peers *peers = link->peers;
    bool was_up = link->state == LINK_UP;
    if (was_up) metric_add(link->connected, -1);
    link->conn = NULL;
    link->state = LINK_IDLE;
    timer_stop(&link->timer);
    if (link->broken.code != OK)
        link->last = link->broken;
    else
        err_set(&link->last, ERR_UNAVAILABLE, 0, "%s: %s",
                was_up ? "connection lost" : "cannot connect", why);
    if (!peers->stopping) {
        link->state = LINK_BACKOFF;
        timer_start(&link->timer, link->backoff_ms);
        link->backoff_ms = MIN(link->backoff_ms * 2, LINK_BACKOFF_MAX_MS);
    }
    /* what was sent may or may not have been acted on */
    struct err err;
    err_set(&err, ERR_UNAVAILABLE, 0, "node %s: %s", peers->map->nodes[link->node].addr,
            link->last.msg);
    link_fail_calls(link, &err);
    peers_conn_closed(peers);
}

static const struct conn_events link_events = {link_on_opened, link_on_frame, link_on_closed};

static void link_dial(struct link *link) {
    assert(link->state == LINK_IDLE && link->conn == NULL && !link->peers->stopping);
    link->state = LINK_DIALING;
    link->broken = (struct err){.code = OK};
    link->peers->conns_open++;
    timer_start(&link->timer, LINK_HELLO_TIMEOUT_MS);
    struct sv addr = sv_from(link->peers->map->nodes[link->node].addr);
    link->conn = net_dial(link->peers->core, addr, &link_events, link);
}

void link_need(struct link *link, struct peer_call *call) {
    if (link->state == LINK_IDLE)
        link_dial(link);
    else if (link->state == LINK_UP)
        link_send_call(link, call);
}

void link_close(struct link *link) {
    timer_stop(&link->timer);
    if (link->state == LINK_BACKOFF) link->state = LINK_IDLE;
    if (link->conn != NULL) conn_close(link->conn);
}
