/* SPDX-License-Identifier: Apache-2.0 */
#include <assert.h>
#include <inttypes.h>
#include <stdlib.h>

#include "node/base/bytes.h"
#include "node/base/log.h"
#include "ring/peers_internal.h"

static void served_free(struct served *s) {
    list_remove(&s->node);
    free(s);
}

static void inbound_free(struct inbound *in) {
    list_remove(&in->node);
    while (!list_is_empty(&in->requests)) {
        struct served *s = container_of(in->requests.next, struct served, node);
        s->in = NULL;
        list_remove(&s->node);
        if (s->req.gone != NULL) s->req.gone(&s->req);
        free(s);
    }
    free(in);
}

static void inbound_refuse(struct inbound *in, const struct frame *f, const struct err *why) {
    metric_add(in->peers->refused, 1);
    struct buf text = {0};
    frame_error_put(why->code, why->msg, &text);
    struct frame reply = peers_frame(in->peers, f->type == FRAME_HELLO ? FRAME_HELLO : FRAME_REPLY);
    reply.flags = FRAME_ERROR | FRAME_LAST;
    reply.request_id = f->request_id;
    reply.payload = buf_sv(&text);
    peers_send(in->peers, in->conn, &reply);
    buf_fini(&text);
}

static void inbound_greet(struct inbound *in, const struct frame *f) {
    struct err err;
    if (peers_check_hello(in->peers, f, &in->from, &err) != OK) {
        log_warn("connection of another node refused", "err", err.msg);
        inbound_refuse(in, f, &err);
        conn_close(in->conn);
        return;
    }
    in->greeted = true;
    struct buf hello = {0};
    peers_put_hello(in->peers, &hello);
    struct frame reply = peers_frame(in->peers, FRAME_HELLO);
    reply.payload = buf_sv(&hello);
    peers_send(in->peers, in->conn, &reply);
    buf_fini(&hello);
}

static void inbound_cancel(struct inbound *in, uint64_t id) {
    LIST_FOREACH(n, &in->requests) {
        struct served *s = container_of(n, struct served, node);
        if (s->req.id != id) continue;
        if (s->req.gone != NULL) s->req.gone(&s->req);
        served_free(s);
        return;
    }
}

static void inbound_serve(struct inbound *in, const struct frame *f) {
    struct peers *p = in->peers;
    struct err err = {0};
    if (f->type >= FRAME_TYPE_COUNT || p->handlers[f->type].fn == NULL)
        err_set(&err, ERR_UNSUPPORTED, 0, "request type %u is unknown here", f->type);
    else if (f->map_version != p->map->version)
        err_set(&err, ERR_CONFLICT, 0, "map version %" PRIu64 " was used, this node has %" PRIu64, f->map_version,
                p->map->version);
    else if (p->stopping)
        err_set(&err, ERR_UNAVAILABLE, 0, "node is stopping");
    struct served *s = err.code == OK ? calloc(1, sizeof *s) : NULL;
    if (s == NULL) {
        if (err.code == OK) err_set(&err, ERR_NOMEM, 0, "out of memory");
        inbound_refuse(in, f, &err);
        return;
    }
    *s = (struct served){.req = {.peers = p, .core = p->core, .from = in->from, .type = (enum frame_type)f->type,
                                 .id = f->request_id, .map_version = f->map_version},
                         .in = in};
    list_push_back(&in->requests, &s->node);
    p->handlers[f->type].fn(&s->req, f->payload, p->handlers[f->type].ctx);
}

static void inbound_on_opened(struct conn *c, void *ctx) {
    (void)c;
    (void)ctx; /* only dialled connections are told */
}

static void inbound_on_frame(struct conn *c, void *ctx, struct sv bytes) {
    struct inbound *in = ctx;
    struct frame f;
    struct err err;
    metric_add(in->peers->frames_in, 1);
    if (frame_get(bytes, &f, &err) != OK) {
        metric_add(in->peers->refused, 1);
        log_warn("frame of another node refused", "err", err.msg);
        conn_close(c);
    } else if (!in->greeted) {
        inbound_greet(in, &f);
    } else if (f.sender != in->peers->map->nodes[in->from].id) {
        conn_close(c);
    } else if (f.type == FRAME_CANCEL) {
        inbound_cancel(in, f.request_id);
    } else {
        inbound_serve(in, &f);
    }
}

static void inbound_on_closed(struct conn *c, void *ctx, const char *why) {
    (void)c;
    (void)why;
    struct inbound *in = ctx;
    struct peers *peers = in->peers;
    inbound_free(in);
    peers_conn_closed(peers);
}

static const struct conn_events inbound_events = {inbound_on_opened, inbound_on_frame, inbound_on_closed};

void inbound_accept(struct core *core, struct conn *conn, void *ctx) {
    struct peers *p = ctx;
    assert(core == p->core);
    struct inbound *in = calloc(1, sizeof *in);
    if (in == NULL) abort(); /* see peers_call */
    *in = (struct inbound){.peers = p, .conn = conn};
    list_init(&in->requests);
    list_push_back(&p->inbounds, &in->node);
    p->conns_open++;
    conn_set_events(conn, &inbound_events, in);
    if (p->stopping) conn_close(conn);
}

void inbound_free_all(struct peers *peers) {
    while (!list_is_empty(&peers->inbounds)) {
        struct inbound *in = container_of(peers->inbounds.next, struct inbound, node);
        LIST_FOREACH(n, &in->requests) container_of(n, struct served, node)->req.gone = NULL;
        inbound_free(in);
    }
}

bool peer_reply(struct peer_request *req, struct buf *part, bool last) {
    struct served *s = container_of(req, struct served, req);
    assert(core_is_current(req->core) && s->in != NULL);
    struct peers *p = req->peers;
    struct buf numbered = {0};
    buf_put_u32(&numbered, s->next_part++);
    buf_put_sv(&numbered, buf_sv(part));
    buf_fini(part);
    if (numbered.failed || numbered.len + FRAME_HEADER_BYTES > NET_FRAME_BYTES_MAX) {
        buf_fini(&numbered);
        peer_reply_error(req, ERR_LIMIT, "the reply is larger than a frame may be");
        return false;
    }
    struct frame f = peers_frame(p, FRAME_REPLY);
    f.flags = last ? FRAME_LAST : 0;
    f.request_id = req->id;
    f.payload = buf_sv(&numbered);
    peers_send(p, s->in->conn, &f);
    buf_fini(&numbered);
    if (last) served_free(s);
    return true;
}

void peer_reply_error(struct peer_request *req, enum status status, const char *text) {
    struct served *s = container_of(req, struct served, req);
    assert(core_is_current(req->core) && s->in != NULL);
    struct buf b = {0};
    frame_error_put(status, text, &b);
    struct frame f = peers_frame(req->peers, FRAME_REPLY);
    f.flags = FRAME_LAST | FRAME_ERROR;
    f.request_id = req->id;
    f.payload = buf_sv(&b);
    peers_send(req->peers, s->in->conn, &f);
    buf_fini(&b);
    served_free(s);
}
