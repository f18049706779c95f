/* SPDX-License-Identifier: Apache-2.0 */
#include "query/gather/served.h"

#include <stdlib.h>

#include "node/base/cancel.h"

static void served_free(struct served *s) {
    list_remove(&s->node);
    s->ops->fini(s);
    ring_map_unref(s->map);
    free(s->shards);
    free(s);
}

static void served_on_gone(struct peer_request *req) {
    struct served *s = req->user;
    s->req = NULL;
    cancel_set(s->canceled);
}

enum status served_shards(struct served *s, struct sv list, struct err *err) {
    s->shards = calloc(s->g->words, sizeof *s->shards);
    if (s->shards == NULL) return err_set(err, ERR_NOMEM, 0, "query: out of memory");
    s->map = ring_map_ref(s->g->options.map);
    struct epochs epochs = gather_epochs(s->g, s->map);
    return shard_list_get(&epochs, list, s->shards, err);
}

void served_take(struct gather *g, const struct served_ops *ops, struct peer_request *req,
                 struct sv payload) {
    struct served *s = calloc(1, ops->bytes);
    if (s == NULL) {
        peer_reply_error(req, ERR_NOMEM, "out of memory");
        return;
    }
    s->ops = ops;
    s->g = g;
    s->req = req;
    list_push_back(&g->served, &s->node);
    struct err err;
    enum status st = ops->start(s, payload, &err);
    if (st != OK) {
        peer_reply_error(req, st, err.msg);
        served_free(s);
        return;
    }
    req->user = s;
    req->gone = served_on_gone;
}

void served_done(struct served *s, const struct spread *spread, enum status status,
                 const struct err *err) {
    if (s->req != NULL) {
        if (status != OK)
            peer_reply_error(s->req, status, err->msg);
        else if (!bits_any(spread->claimed, s->g->words))
            peer_reply_error(s->req, ERR_CONFLICT, "none of the shards is this node's");
        else
            s->ops->answer(s);
    }
    served_free(s);
}

/* The asker may go, or its connection break, at any piece: then s->req is NULL. */
void served_reply(struct served *s, struct buf *body, struct buf *end) {
    if (body->failed || end->failed) {
        peer_reply_error(s->req, ERR_NOMEM, "out of memory for the reply");
        s->req = NULL;
    }
    for (size_t at = 0; at < body->len && s->req != NULL; at += REPLY_PIECE_BYTES) {
        struct buf piece = {0};
        buf_put(&piece, body->ptr + at, MIN(body->len - at, (size_t)REPLY_PIECE_BYTES));
        if (!peer_reply(s->req, &piece, false)) s->req = NULL; /* dead, and told so */
    }
    if (s->req != NULL)
        peer_reply(s->req, end, true);
    else
        buf_fini(end);
    s->req = NULL;
    buf_fini(body);
}

void gather_free_served(struct gather *g) {
    while (!list_is_empty(&g->served))
        served_free(container_of(g->served.next, struct served, node));
}
