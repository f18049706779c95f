/* SPDX-License-Identifier: Apache-2.0 */
#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "node/base/bytes.h"
#include "ring/peers_internal.h"

static void served_free(struct served *s) {
    if (s->in != NULL) s->in->requests_count--;
    list_remove(&s->node);
    free(s);
}

/* The asker no longer waits. From here on the request is dead for the handler. */
static void served_gone(struct served *s) {
    s->in->requests_count--;
    s->in = NULL;
    list_remove(&s->node);
    if (s->req.gone != NULL) s->req.gone(&s->req);
    free(s);
}

static void inbound_free(struct inbound *in) {
    timer_stop(&in->deadline);
    if (in->peer != NULL) in->peer->inbounds--;
    in->peers->inbounds_count--;
    list_remove(&in->node);
    while (!list_is_empty(&in->requests))
        served_gone(container_of(in->requests.next, struct served, node));
    free(in);
}

/* Says why, in a frame of our own version: the other side then names both. */
static void inbound_refuse(struct inbound *in, const struct frame *f, enum refused reason,
                           const struct err *why) {
    peers_refused(in->peers, reason, why);
    struct buf text = {0};
    frame_error_put(why->code, why->msg, &text);
    struct frame reply =
        peers_frame(in->peers, in->state == INBOUND_UP ? FRAME_REPLY : FRAME_HELLO);
    reply.flags = FRAME_ERROR | FRAME_LAST;
    reply.request_id = f->request_id;
    reply.payload = buf_sv(&text);
    peers_send(in->peers, in->conn, &reply);
    buf_fini(&text);
}

/* The first hello: challenge who must prove something. The second: did it? */
static enum status inbound_try_greet(struct inbound *in, const struct frame *f,
                                     enum refused *out_reason, struct err *err) {
    struct peers *p = in->peers;
    struct hello h;
    *out_reason = REFUSED_HELLO;
    TRY(peers_check_hello(p, f, &h, err));
    struct handshake shake = {.theirs = f->sender,
                              .their_incarnation = f->incarnation,
                              .nonce = in->nonce,
                              .nonce_theirs = in->nonce_theirs};
    *out_reason = REFUSED_SECRET;
    if (p->secret.len > 0 && in->state == INBOUND_NEW) {
        if (!h.has_nonce)
            return err_set(err, ERR_CONFLICT, 0, "node at %s has no secret, this node asks for one",
                           h.addr);
        in->from = f->sender;
        in->incarnation = f->incarnation;
        memcpy(in->nonce_theirs, h.nonce, sizeof h.nonce);
        p->core->rt->ops->random(p->core->rt, in->nonce, sizeof in->nonce);
        in->state = INBOUND_CHALLENGED;
        peers_send_hello(p, in->conn, in->nonce, NULL);
        return OK;
    }
    if (in->state == INBOUND_CHALLENGED)
        TRY(peers_check_sender(p, f, in->from, in->incarnation, err));
    TRY(peers_check_proof(p, &h, &shake, err));
    *out_reason = REFUSED_HELLO;
    in->peer = peer_find_or_new(p, f->sender, true);
    if (in->peer == NULL)
        return err_set(err, ERR_UNAVAILABLE, 0, "out of memory, or too many nodes known");
    in->peer->inbounds++;
    in->from = f->sender;
    in->incarnation = f->incarnation;
    in->state = INBOUND_UP;
    timer_stop(&in->deadline);
    peers_send_hello(p, in->conn, in->nonce, &shake);
    peer_learn(p, in->peer, f->incarnation, h.addr);
    return OK;
}

static void inbound_greet(struct inbound *in, const struct frame *f) {
    struct err err;
    enum refused reason;
    if (inbound_try_greet(in, f, &reason, &err) == OK) return;
    inbound_refuse(in, f, reason, &err);
    conn_close(in->conn);
}

static void inbound_cancel(struct inbound *in, uint64_t id) {
    LIST_FOREACH(n, &in->requests) {
        struct served *s = container_of(n, struct served, node);
        if (s->req.id != id) continue;
        served_gone(s);
        return;
    }
}

/* Whether a request is taken; else why not. */
static enum status inbound_check(const struct inbound *in, const struct frame *f,
                                 enum refused *out_reason, struct err *err) {
    const struct peers *p = in->peers;
    *out_reason = REFUSED_REQUEST;
    if (f->type >= FRAME_TYPE_COUNT || p->handlers[f->type].fn == NULL)
        return err_set(err, ERR_UNSUPPORTED, 0, "request type %u is unknown here", f->type);
    if (p->stopping) return err_set(err, ERR_UNAVAILABLE, 0, "node is stopping");
    if (in->requests_count >= INBOUND_REQUESTS_MAX)
        return err_set(err, ERR_UNAVAILABLE, 0, "%d requests of this connection are under way",
                       INBOUND_REQUESTS_MAX);
    *out_reason = REFUSED_MEMBER;
    return peers_check_request(p, f, in->peer, err);
}

static void inbound_serve(struct inbound *in, const struct frame *f) {
    struct peers *p = in->peers;
    struct err err;
    enum refused reason;
    enum status st = inbound_check(in, f, &reason, &err);
    struct served *s = st == OK ? calloc(1, sizeof *s) : NULL;
    if (s == NULL) {
        if (st == OK) err_set(&err, ERR_NOMEM, 0, "out of memory");
        inbound_refuse(in, f, reason, &err);
        return;
    }
    *s = (struct served){.req = {.peers = p,
                                 .core = p->core,
                                 .from = in->from,
                                 .incarnation = in->incarnation,
                                 .type = (enum frame_type)f->type,
                                 .id = f->request_id,
                                 .map_version = f->map_version},
                         .in = in};
    list_push_back(&in->requests, &s->node);
    in->requests_count++;
    p->handlers[f->type].fn(&s->req, f->payload, p->handlers[f->type].ctx);
}

static void inbound_on_opened(struct conn *c, void *ctx) {
    (void)c;
    (void)ctx; /* only dialled connections are told */
}

static void inbound_on_frame(struct conn *c, void *ctx, struct sv bytes) {
    struct inbound *in = ctx;
    struct frame f = {.type = FRAME_HELLO}; /* how a frame is answered that cannot be read */
    struct err err;
    enum status st = frame_get(bytes, &f, &err);
    peers_got(in->peers, st == OK ? f.type : 0);
    if (st == ERR_UNSUPPORTED) {
        inbound_refuse(in, &f, REFUSED_PROTOCOL, &err);
        conn_close(c);
    } else if (st != OK) {
        peers_refused(in->peers, REFUSED_CORRUPT, &err);
        conn_close(c);
    } else if (in->state != INBOUND_UP) {
        inbound_greet(in, &f);
    } else if (peers_check_sender(in->peers, &f, in->from, in->incarnation, &err) != OK) {
        inbound_refuse(in, &f, REFUSED_SENDER, &err);
        conn_close(c);
    } else if (f.type == FRAME_CANCEL) {
        inbound_cancel(in, f.request_id);
    } else {
        inbound_serve(in, &f);
    }
}

static void inbound_on_deadline(struct timer *t) {
    struct inbound *in = container_of(t, struct inbound, deadline);
    struct err err;
    err_set(&err, ERR_TIMEOUT, 0, "a connection sent no hello within %d ms", LINK_HELLO_TIMEOUT_MS);
    peers_refused(in->peers, REFUSED_HELLO, &err);
    conn_close(in->conn);
}

static void inbound_on_closed(struct conn *c, void *ctx, const char *why) {
    (void)c;
    (void)why;
    struct inbound *in = ctx;
    struct peers *peers = in->peers;
    in->conn = NULL; /* answers to what is left come to nothing */
    inbound_free(in);
    peers_conn_closed(peers);
}

static const struct conn_events inbound_events = {inbound_on_opened, inbound_on_frame,
                                                  inbound_on_closed};

void inbound_accept(struct core *core, struct conn *conn, void *ctx) {
    struct peers *p = ctx;
    assert(core == p->core);
    struct inbound *in = calloc(1, sizeof *in);
    if (in == NULL) abort(); /* see peers_call */
    *in = (struct inbound){.peers = p, .conn = conn};
    list_init(&in->requests);
    list_push_back(&p->inbounds, &in->node);
    p->conns_open++;
    p->inbounds_count++;
    timer_init(&in->deadline, core, inbound_on_deadline);
    conn_set_events(conn, &inbound_events, in);
    if (p->stopping || p->inbounds_count > INBOUNDS_MAX)
        conn_close(conn);
    else
        timer_start(&in->deadline, LINK_HELLO_TIMEOUT_MS);
}

void inbound_free_all(struct peers *peers) {
    while (!list_is_empty(&peers->inbounds)) {
        struct inbound *in = container_of(peers->inbounds.next, struct inbound, node);
        LIST_FOREACH(n, &in->requests) container_of(n, struct served, node)->req.gone = NULL;
        inbound_free(in);
    }
}

/* false: nobody is there to hear it; the request is freed. */
static bool served_send(struct served *s, uint8_t flags, struct buf *payload) {
    struct peers *p = s->req.peers;
    struct conn *conn = s->in->conn;
    if (conn != NULL) {
        struct frame f = peers_frame(p, FRAME_REPLY);
        f.flags = flags;
        f.request_id = s->req.id;
        f.payload = buf_sv(payload);
        peers_send(p, conn, &f);
    }
    buf_fini(payload);
    if (conn == NULL || (flags & FRAME_LAST)) served_free(s);
    return conn != NULL;
}

bool peer_reply(struct peer_request *req, struct buf *part, bool last) {
    struct served *s = container_of(req, struct served, req);
    assert(core_is_current(req->core) && s->in != NULL);
    struct buf numbered = {0};
    buf_put_u32(&numbered, s->next_part++);
    buf_put_sv(&numbered, buf_sv(part));
    bool no_memory = numbered.failed || part->failed;
    buf_fini(part);
    if (no_memory || numbered.len + FRAME_HEADER_BYTES > NET_FRAME_BYTES_MAX) {
        buf_fini(&numbered);
        peer_reply_error(req, no_memory ? ERR_NOMEM : ERR_LIMIT,
                         no_memory ? "no memory for a reply"
                                   : "a part of a reply is larger than a frame may be");
        return false;
    }
    return served_send(s, last ? FRAME_LAST : 0, &numbered);
}

void peer_reply_error(struct peer_request *req, enum status status, const char *text) {
    struct served *s = container_of(req, struct served, req);
    assert(core_is_current(req->core) && s->in != NULL && status != OK);
    struct buf b = {0};
    frame_error_put(status, text, &b);
    (void)served_send(s, FRAME_LAST | FRAME_ERROR, &b);
}
