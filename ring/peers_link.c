/* SPDX-License-Identifier: Apache-2.0 */
#include <assert.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "node/base/bytes.h"
#include "ring/peers_internal.h"

static void link_dial(struct link *link);

static const struct metric_def connected_def = {
    .name = "cairn_ring_connected",
    .help = "Connections to another node that this node has dialled and that are up.",
    .kind = METRIC_GAUGE};

/* Closes the connection; it goes on in link_on_closed. The first reason is kept. */
void link_break(struct link *link, const struct err *why) {
    if (link->broken.code == OK) link->broken = *why;
    conn_close(link->conn);
}

const char *link_addr(const struct link *link) {
    if (link->addr[0] != '\0' || link->peer == NULL) return link->addr;
    return peer_addr(link->peer);
}

static bool link_is_kept(const struct link *link) {
    return link->peer != NULL && link->peer->member != NULL;
}

static void link_on_timer(struct timer *t) {
    struct link *link = container_of(t, struct link, timer);
    struct err err;
    switch (link->state) {
    case LINK_BACKOFF:
        link->state = LINK_IDLE;
        if (!list_is_empty(&link->calls)) link_dial(link);
        return;
    case LINK_UP:
        err_set(&err, ERR_UNAVAILABLE, 0, "closed: unused, and not to a member");
        if (list_is_empty(&link->calls) && !link_is_kept(link)) link_break(link, &err);
        return;
    case LINK_DIALING:
    case LINK_HELLO:
    case LINK_PROVING:
        err_set(&err, ERR_TIMEOUT, 0, "%s within %d ms",
                link->state == LINK_DIALING ? "no connection" : "no hello", LINK_HELLO_TIMEOUT_MS);
        link_break(link, &err);
        return;
    case LINK_IDLE: break;
    }
    assert(false);
}

void link_init(struct link *link, struct peers *peers, struct peer *peer) {
    *link = (struct link){.peers = peers, .peer = peer, .backoff_ms = LINK_BACKOFF_MIN_MS};
    list_init(&link->calls);
    list_init(&link->probe_node);
    timer_init(&link->timer, peers->core, link_on_timer);
}

void link_free_probe(struct link *link) {
    assert(link->peer == NULL && link->conn == NULL && list_is_empty(&link->calls));
    list_remove(&link->probe_node);
    free(link);
}

struct link *link_probe(struct peers *peers, const char *addr) {
    LIST_FOREACH(n, &peers->probes) {
        struct link *link = container_of(n, struct link, probe_node);
        if (strcmp(link->addr, addr) == 0 && link->broken.code == OK) return link;
    }
    struct link *link = calloc(1, sizeof *link);
    if (link == NULL) abort(); /* see peers_call */
    link_init(link, peers, NULL);
    if (strlen(addr) < sizeof link->addr) memcpy(link->addr, addr, strlen(addr) + 1);
    list_push_back(&peers->probes, &link->probe_node);
    return link;
}

void link_unused(struct link *link) {
    assert(list_is_empty(&link->calls));
    bool listed = !list_is_empty(&link->probe_node); /* else whoever took it out frees it */
    if (link->state == LINK_IDLE && listed)
        link_free_probe(link);
    else if (link->state == LINK_UP && !link_is_kept(link) && !timer_is_armed(&link->timer))
        timer_start(&link->timer, LINK_IDLE_MS);
}

static void link_on_opened(struct conn *c, void *ctx) {
    struct link *link = ctx;
    struct peers *peers = link->peers;
    assert(link->state == LINK_DIALING && link->conn == c);
    link->state = LINK_HELLO;
    if (peers->secret.len > 0)
        peers->core->rt->ops->random(peers->core->rt, link->nonce, sizeof link->nonce);
    peers_send_hello(peers, c, link->nonce, NULL);
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
    if (link->peer != NULL) {
        char label[40];
        snprintf(label, sizeof label, "node=\"%016" PRIx64 "\"", link->peer->id);
        if (link->connected == NULL) link->connected = metric_get(&connected_def, label);
        metric_add(link->connected, 1);
    }
    LIST_FOREACH(n, &link->calls) {
        struct peer_call *call = container_of(n, struct peer_call, link_node);
        if (!call->sent && !call->ended) link_send_call(link, call);
    }
    if (list_is_empty(&link->calls)) link_unused(link);
}

/* Another node than we want. The address is of no use; the map's may be. */
static enum status link_check_who(struct link *link, const struct frame *f, struct err *err) {
    struct peer *peer = link->peer;
    if (link->state == LINK_PROVING && link->from != f->sender)
        return err_set(err, ERR_CONFLICT, 0, "two nodes answer on one connection");
    if (peer == NULL || f->sender == peer->id) return OK;
    if (strcmp(peer->addr, link->addr) == 0) peer->addr[0] = '\0';
    return err_set(err, ERR_CONFLICT, 0, "another node (%016" PRIx64 ") answers at this address",
                   f->sender);
}

/* A frame before the connection is UP: a hello of the other side. */
static enum status link_greet(struct link *link, const struct frame *f, enum refused *out_reason,
                              struct err *err) {
    struct peers *peers = link->peers;
    struct hello h;
    *out_reason = REFUSED_HELLO;
    TRY(peers_check_hello(peers, f, &h, err));
    TRY(link_check_who(link, f, err));
    struct handshake shake = {.dialled = true,
                              .theirs = f->sender,
                              .their_incarnation = f->incarnation,
                              .nonce = link->nonce,
                              .nonce_theirs = link->nonce_theirs};
    *out_reason = REFUSED_SECRET;
    if (peers->secret.len > 0 && link->state == LINK_HELLO) {
        if (!h.has_nonce)
            return err_set(err, ERR_CONFLICT, 0, "it has no secret, this node has one");
        memcpy(link->nonce_theirs, h.nonce, sizeof h.nonce);
        link->state = LINK_PROVING;
        link->from = f->sender;
        link->incarnation = f->incarnation;
        peers_send_hello(peers, link->conn, link->nonce, &shake);
        return OK;
    }
    TRY(peers_check_proof(peers, &h, &shake, err));
    struct peer *peer = link->peer != NULL ? link->peer : peer_find_or_new(peers, f->sender, true);
    if (peer == NULL) return err_set(err, ERR_NOMEM, 0, "out of memory, or too many nodes known");
    link->from = f->sender;
    link->incarnation = f->incarnation;
    link_up(link);
    peer_learn(peers, peer, f->incarnation, h.addr);
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
        st = link_greet(link, &f, &reason, &err);
    } else {
        st = peers_check_sender(peers, &f, link->from, link->incarnation, &err);
        if (st == OK) {
            struct peer_call *call =
                f.type == FRAME_REPLY ? peers_find_call(peers, f.request_id) : NULL;
            if (call != NULL && call->link == link && call->sent) call_on_reply(call, &f);
            return; /* the link may be closing by now */
        }
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

static bool link_has_moved(const struct link *link) {
    return link->peer != NULL && peer_addr(link->peer)[0] != '\0' &&
           strcmp(link->addr, peer_addr(link->peer)) != 0;
}

void link_moved(struct link *link) {
    if (!link_has_moved(link)) return;
    struct err err;
    err_set(&err, ERR_UNAVAILABLE, 0, "the node listens elsewhere now");
    if (link->state == LINK_BACKOFF) {
        link->backoff_ms = LINK_BACKOFF_MIN_MS; /* that was another address' */
        timer_start(&link->timer, 0);
    } else if (link->state == LINK_DIALING || link->state == LINK_HELLO ||
               link->state == LINK_PROVING) {
        link_break(link, &err);
    }
}

static void link_on_closed(struct conn *c, void *ctx, const char *why) {
    struct link *link = ctx;
    assert(link->conn == c);
    struct peers *peers = link->peers;
    bool was_up = link->state == LINK_UP;
    if (was_up && link->peer != NULL) metric_add(link->connected, -1);
    link->conn = NULL;
    link->state = LINK_IDLE;
    timer_stop(&link->timer);
    if (link->broken.code != OK)
        link->last = link->broken;
    else
        err_set(&link->last, ERR_UNAVAILABLE, 0, "%s: %s",
                was_up ? "connection lost" : "cannot connect", why);
    if (!peers->stopping && link->peer != NULL) {
        link->state = LINK_BACKOFF;
        timer_start(&link->timer, link->backoff_ms);
        link->backoff_ms = MIN(link->backoff_ms * 2, LINK_BACKOFF_MAX_MS);
    }
    if (link->state == LINK_BACKOFF && !was_up && link_has_moved(link)) {
        timer_start(&link->timer, 0); /* nothing was sent yet: calls wait for the other address */
        peers_conn_closed(peers);
        return;
    }
    /* what was sent may or may not have been acted on */
    struct err err;
    err_set(&err, ERR_UNAVAILABLE, 0, "node %s: %s", link->addr, link->last.msg);
    list_remove(&link->probe_node); /* what callbacks start with that address begins anew */
    link_fail_calls(link, &err);
    if (link->peer == NULL) link_free_probe(link);
    peers_conn_closed(peers);
}

static const struct conn_events link_events = {link_on_opened, link_on_frame, link_on_closed};

static void link_dial(struct link *link) {
    struct peers *peers = link->peers;
    assert(link->state == LINK_IDLE && link->conn == NULL && !peers->stopping);
    if (link->peer != NULL) snprintf(link->addr, sizeof link->addr, "%s", peer_addr(link->peer));
    if (link->addr[0] == '\0') { /* it was forgotten while calls waited */
        struct err err;
        err_set(&err, ERR_UNAVAILABLE, 0, "no address of node %016" PRIx64 " is known",
                link->peer->id);
        link_fail_calls(link, &err);
        return;
    }
    link->state = LINK_DIALING;
    link->broken = (struct err){.code = OK};
    peers->conns_open++;
    timer_start(&link->timer, LINK_HELLO_TIMEOUT_MS);
    link->conn = net_dial(peers->core, sv_from(link->addr), &link_events, link);
}

void link_need(struct link *link, struct peer_call *call) {
    if (link->state == LINK_IDLE) {
        link_dial(link);
    } else if (link->state == LINK_UP) {
        timer_stop(&link->timer);
        link_send_call(link, call);
    }
}

void link_close(struct link *link) {
    timer_stop(&link->timer);
    if (link->state == LINK_BACKOFF) link->state = LINK_IDLE;
    if (link->conn != NULL) conn_close(link->conn);
}
