/* SPDX-License-Identifier: Apache-2.0 */
#include <assert.h>
#include <inttypes.h>
#include <stdlib.h>

#include "node/base/bytes.h"
#include "node/base/hash.h"
#include "query/gather/internal.h"

/* A reply: pieces of encoded partial; the last piece is the end (struct reply_end). Nothing is
 * folded before the end has come and agrees. */

/* -- asking */

static enum status remote_finish(struct scatter_part *part, struct sv end) {
    struct scatter *s = part->scatter;
    struct sv body = buf_sv(&part->reply);
    struct reply_end e;
    TRY(reply_end_get(end, &e, &part->err));
    if (e.body_len != body.len || e.body_hash != hash64(body.ptr, body.len, 0))
        return err_set(&part->err, ERR_UNAVAILABLE, 0, "reply of another node is incomplete");
    part->times = e.times;
    part->times.rows = e.rows;
    part->times.bytes = body.len;
    TRY(shard_list_narrow(s->o.g->options.map, e.shards, part->claimed, &part->err));
    TRY(partial_get(s->o.query, s->o.fragment, body, &part->partial, &part->err));
    if (partial_rows(part->partial) != e.rows)
        return err_set(&part->err, ERR_CORRUPT, 0,
                       "reply of another node has another number of rows than it says");
    return OK;
}

static void remote_on_reply(void *ctx, enum status status, struct sv piece, bool last,
                            const struct err *err) {
    struct scatter_part *part = ctx;
    struct scatter *s = part->scatter;
    if (status != OK) {
        part->call = NULL;
        part->status = status;
        part->err = *err;
        scatter_part_done(part);
        return;
    }
    if (!last) {
        part->reply.limit_bytes = query_params(s->o.query)->memory_bytes_max;
        buf_put_sv(&part->reply, piece);
        if (!part->reply.failed) return;
        peer_call_cancel(part->call);
        part->status = err_set(&part->err, ERR_LIMIT, 0,
                               "reply of another node exceeds the memory of a query");
    } else {
        part->status = remote_finish(part, piece);
    }
    part->call = NULL;
    scatter_part_done(part);
}

void remote_part_start(struct scatter_part *part, const uint64_t *shards) {
    struct scatter *s = part->scatter;
    struct gather *g = s->o.g;
    struct buf fragment = {0}, list = {0}, payload = {0};
    bits_or(part->claimed, shards, g->words);
    fragment_put(s->o.fragment, &fragment);
    shard_list_put(g->options.map, shards, &list);
    struct fragment_request r = {.text = query_text(s->o.query),
                                 .params = *query_params(s->o.query),
                                 .timeout_ms = s->o.timeout_ms,
                                 .fragment = buf_sv(&fragment),
                                 .shards = buf_sv(&list)};
    fragment_request_put(&r, &payload);
    buf_fini(&fragment);
    buf_fini(&list);
    struct peer_call_options o = {.to = g->options.map->nodes[part->node].id,
                                  .type = FRAME_FRAGMENT,
                                  .timeout_ms = s->o.timeout_ms,
                                  .reply = remote_on_reply,
                                  .ctx = part};
    part->call = peers_call(g->options.peers, &o, &payload);
}

/* -- answering */

/* A fragment for another node: scattered over this node's cores, answered in pieces. */
struct served_fragment {
    struct list_node node;
    struct gather *g;
    struct peer_request *req; /* NULL once the asker has gone */
    struct query *query;
    struct fragment fragment;
    struct query_control control;
    struct scatter *scatter;
    uint64_t *shards;
};

static void served_free(struct served_fragment *f) {
    list_remove(&f->node);
    scatter_free(f->scatter);
    fragment_fini(&f->fragment);
    query_unref(f->query);
    free(f->shards);
    free(f);
}

static void served_on_gone(struct peer_request *req) {
    struct served_fragment *f = req->user;
    f->req = NULL;
    __atomic_store_n(&f->control.canceled, true, __ATOMIC_RELAXED);
}

static struct part_times scatter_times(const struct scatter *s) {
    struct part_times sum = {0};
    for (size_t i = 0; i < s->parts_count; i++) {
        sum.select_ns += s->parts[i].times.select_ns;
        sum.evaluate_ns += s->parts[i].times.evaluate_ns;
        sum.series += s->parts[i].times.series;
        sum.cores += s->parts[i].times.cores;
    }
    return sum;
}

/* body in pieces, then end; both are taken. *req is NULL after it, or when the asker goes
 * meanwhile. */
void gather_reply(struct peer_request **req, struct buf *body, struct buf *end) {
    if (body->failed || end->failed) {
        peer_reply_error(*req, ERR_NOMEM, "out of memory for the reply");
        *req = NULL;
    }
    for (size_t at = 0; at < body->len && *req != NULL; at += REPLY_PIECE_BYTES) {
        struct buf piece = {0};
        buf_put(&piece, body->ptr + at, MIN(body->len - at, (size_t)REPLY_PIECE_BYTES));
        if (!peer_reply(*req, &piece, false)) *req = NULL; /* dead, and told so */
    }
    if (*req != NULL)
        peer_reply(*req, end, true);
    else
        buf_fini(end);
    *req = NULL;
    buf_fini(body);
}

static void served_answer(struct served_fragment *f) {
    struct scatter *s = f->scatter;
    struct buf body = {0}, end = {0}, shards = {0};
    partial_put(s->partial, &body);
    shard_list_put(f->g->options.map, s->claimed, &shards);
    struct reply_end e = {.rows = partial_rows(s->partial),
                          .body_len = body.len,
                          .body_hash = hash64(body.ptr, body.len, 0),
                          .times = scatter_times(s),
                          .shards = buf_sv(&shards)};
    reply_end_put(&e, &end);
    bool failed = body.failed || end.failed || shards.failed;
    buf_fini(&shards);
    if (failed) end.failed = true;
    gather_reply(&f->req, &body, &end);
}

static void served_on_done(struct scatter *s, void *ctx) {
    struct served_fragment *f = ctx;
    if (f->req != NULL) {
        if (s->status != OK)
            peer_reply_error(f->req, s->status, s->err.msg);
        else if (s->partial == NULL)
            peer_reply_error(f->req, ERR_CONFLICT, "none of the shards is this node's");
        else
            served_answer(f);
    }
    served_free(f);
}

static enum status served_start(struct served_fragment *f, struct sv payload, struct err *err) {
    struct gather *g = f->g;
    struct fragment_request r;
    TRY(fragment_request_get(payload, &r, err));
    f->shards = calloc(g->words, sizeof *f->shards);
    if (f->shards == NULL) return err_set(err, ERR_NOMEM, 0, "query: out of memory");
    TRY(shard_list_get(g->options.map, r.shards, f->shards, err));
    TRY(query_new(r.text, &r.params, &f->query, err));
    TRY(fragment_get(r.fragment, &f->fragment, err));
    f->control.deadline_ns = core_mono_ns(g->core) + r.timeout_ms * 1000000;
    struct scatter_options o = {.g = g,
                                .query = f->query,
                                .fragment = &f->fragment,
                                .shards = f->shards,
                                .local_only = true,
                                .timeout_ms = r.timeout_ms,
                                .control = &f->control,
                                .done = served_on_done,
                                .ctx = f};
    return scatter_new(&o, &f->scatter, err);
}

static uint64_t control_mono(void *ctx) {
    return core_mono_ns(ctx);
}

void gather_on_fragment(struct peer_request *req, struct sv payload, void *ctx) {
    struct gather *g = ctx;
    struct served_fragment *f = calloc(1, sizeof *f);
    if (f == NULL) {
        peer_reply_error(req, ERR_NOMEM, "out of memory");
        return;
    }
    *f = (struct served_fragment){
        .g = g, .req = req, .control = {.mono_ns = control_mono, .ctx = g->core}};
    list_push_back(&g->served, &f->node);
    struct err err;
    enum status st = served_start(f, payload, &err);
    if (st != OK) {
        peer_reply_error(req, st, err.msg);
        served_free(f);
        return;
    }
    req->user = f;
    req->gone = served_on_gone;
}

void gather_free_served(struct gather *g) {
    while (!list_is_empty(&g->served))
        served_free(container_of(g->served.next, struct served_fragment, node));
}
