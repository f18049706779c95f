/* SPDX-License-Identifier: Apache-2.0 */
#include <assert.h>
#include <string.h>

#include "node/base/bytes.h"
#include "ring/peers_internal.h"

static void link_dial(struct link *link);

static void link_on_timer(struct timer *t) {
    struct link *link = container_of(t, struct link, timer);
    if (link->state == LINK_BACKOFF) {
        link->state = LINK_IDLE;
        if (!list_is_empty(&link->calls)) link_dial(link);
        return;
    }
    assert(link->state == LINK_HELLO || link->state == LINK_DIALING);
    err_set(&link->last, ERR_TIMEOUT, 0, "no hello within %d ms", LINK_HELLO_TIMEOUT_MS);
    conn_close(link->conn); /* goes on in link_on_closed */
}

void link_init(struct link *link, struct peers *peers, uint16_t node) {
    *link = (struct link){.peers = peers, .node = node, .backoff_ms = LINK_BACKOFF_MIN_MS};
    list_init(&link->calls);
    timer_init(&link->timer, peers->core, link_on_timer);
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

void link_send_call(struct link *link, struct peer_call *call) {
    assert(link->state == LINK_UP && !call->sent);
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
    link->last.msg[0] = '\0';
    timer_stop(&link->timer);
    LIST_FOREACH_SAFE(n, &link->calls) {
        struct peer_call *call = container_of(n, struct peer_call, link_node);
        if (!call->sent && !call->ended) link_send_call(link, call);
    }
}

static void link_on_frame(struct conn *c, void *ctx, struct sv bytes) {
    struct link *link = ctx;
    struct peers *peers = link->peers;
    struct frame f;
    uint16_t from = 0;
    metric_add(peers->frames_in, 1);
    enum status st = frame_get(bytes, &f, &link->last);
    if (st == OK && link->state == LINK_HELLO) {
        st = peers_check_hello(peers, &f, &from, &link->last);
        if (st == OK && from != link->node)
            st = err_set(&link->last, ERR_CONFLICT, 0, "another node of the cluster answers at this address");
        if (st == OK) {
            link_up(link);
            return;
        }
    }
    if (st != OK) {
        metric_add(peers->refused, 1);
        conn_close(c);
        return;
    }
    if (link->state != LINK_UP || f.type != FRAME_REPLY) return; /* closing, or nothing that we asked for */
    struct peer_call *call = peers_find_call(peers, f.request_id);
    if (call != NULL && call->link == link && call->sent) call_on_reply(call, &f);
}

static void link_on_closed(struct conn *c, void *ctx, const char *why) {
    struct link *link = ctx;
    assert(link->conn == c);
    struct peers *peers = link->peers;
    bool was_up = link->state == LINK_UP;
    link->conn = NULL;
    timer_stop(&link->timer);
    link->state = LINK_BACKOFF;
    if (was_up || link->last.msg[0] == '\0') err_set(&link->last, ERR_UNAVAILABLE, 0, "connection closed: %s", why);
    timer_start(&link->timer, link->backoff_ms);
    link->backoff_ms = MIN(link->backoff_ms * 2, LINK_BACKOFF_MAX_MS);
    struct err err = link->last;
    /* what was sent may or may not have been acted on; what was not waits for the next connection */
    struct list_node sent;
    list_init(&sent);
    LIST_FOREACH_SAFE(n, &link->calls) {
        if (!container_of(n, struct peer_call, link_node)->sent) continue;
        list_remove(n);
        list_push_back(&sent, n);
    }
    while (!list_is_empty(&sent))
        call_end(container_of(sent.next, struct peer_call, link_node), ERR_UNAVAILABLE, &err);
    peers_conn_closed(peers);
}

static const struct conn_events link_events = {link_on_opened, link_on_frame, link_on_closed};

static void link_dial(struct link *link) {
    assert(link->state == LINK_IDLE && link->conn == NULL);
    if (link->peers->stopping) return;
    link->state = LINK_DIALING;
    link->peers->conns_open++;
    timer_start(&link->timer, LINK_HELLO_TIMEOUT_MS);
    link->conn = net_dial(link->peers->core, sv_from(link->peers->map->nodes[link->node].addr), &link_events, link);
}

void link_need(struct link *link) {
    if (link->state == LINK_IDLE) {
        link_dial(link);
    } else if (link->state == LINK_UP) {
        struct peer_call *call = container_of(link->calls.prev, struct peer_call, link_node);
        if (!call->sent) link_send_call(link, call);
    }
}

void link_close(struct link *link) {
    timer_stop(&link->timer);
    if (link->conn != NULL) conn_close(link->conn);
}
