/* SPDX-License-Identifier: Apache-2.0 */
#include <assert.h>
#include <stdlib.h>

#include "node/base/bytes.h"
#include "node/base/hash.h"
#include "query/gather/list.h"

/* A reply: pieces of the items' encoding; the last piece is the end: u64 items, u64 length and u64
 * XXH3-64 of all pieces, then the list of shards answered for. */
enum { END_BYTES = 24 };

/* -- asking */

static enum status remote_finish(struct list_part *part, struct sv end) {
    struct gather *g = part->scatter->o.g;
    struct sv body = buf_sv(&part->reply);
    if (end.len < END_BYTES || get_u64le(end.ptr + 8) != body.len ||
        get_u64le(end.ptr + 16) != hash64(body.ptr, body.len, 0))
        return err_set(&part->err, ERR_UNAVAILABLE, 0, "reply of another node is incomplete");
    enum status st =
        shard_list_narrow(g->options.map, sv_skip(end, END_BYTES), part->claimed, &part->err);
    if (st == OK) st = list_reply_get(body, &part->items, &part->err);
    if (st == OK) st = list_items_check(&part->items, part->scatter->o.query->kind, &part->err);
    if (st == OK && part->items.count != get_u64le(end.ptr))
        st = err_set(&part->err, ERR_CORRUPT, 0,
                     "reply of another node has another number of items than it says");
    return st;
}

static void remote_on_reply(void *ctx, enum status status, struct sv piece, bool last,
                            const struct err *err) {
    struct list_part *part = ctx;
    if (status == OK && !last) {
        part->reply.limit_bytes = LIST_PART_BYTES_MAX;
        buf_put_sv(&part->reply, piece);
        if (!part->reply.failed) return;
        peer_call_cancel(part->call);
        status =
            err_set(&part->err, ERR_LIMIT, 0, "reply of another node exceeds the memory of a list");
    } else if (status == OK) {
        status = remote_finish(part, piece);
    } else {
        part->err = *err;
    }
    part->call = NULL;
    part->status = status;
    list_part_done(part);
}

void list_remote_start(struct list_part *part, const uint64_t *shards) {
    struct list_scatter *s = part->scatter;
    struct gather *g = s->o.g;
    const struct list_query *q = s->o.query;
    bits_or(part->claimed, shards, g->words);
    struct buf list = {0}, payload = {0};
    shard_list_put(g->options.map, shards, &list);
    struct list_request r = {.ask = {.kind = q->kind,
                                     .label = q->label,
                                     .selectors = q->selectors,
                                     .selectors_count = q->sets_count,
                                     .from_ms = q->from_ms,
                                     .to_ms = q->to_ms,
                                     .keep_max = q->keep_max,
                                     .timeout_ms = q->timeout_ms},
                             .shards = buf_sv(&list)};
    list_request_put(&r, &payload);
    buf_fini(&list);
    struct peer_call_options o = {.to = g->options.map->nodes[part->node].id,
                                  .type = FRAME_SERIES,
                                  .timeout_ms = q->timeout_ms,
                                  .reply = remote_on_reply,
                                  .ctx = part};
    part->call = peers_call(g->options.peers, &o, &payload);
}

/* -- answering */

struct served_list {
    struct list_node node;
    struct gather *g;
    struct peer_request *req; /* NULL once the asker has gone */
    struct list_query *query;
    struct list_scatter *scatter;
    uint64_t *shards;
};

static void served_free(struct served_list *f) {
    list_remove(&f->node);
    list_scatter_free(f->scatter);
    list_query_free(f->query);
    free(f->shards);
    free(f);
}

static void served_on_gone(struct peer_request *req) {
    struct served_list *f = req->user;
    f->req = NULL;
    __atomic_store_n(&f->query->canceled, true, __ATOMIC_RELAXED);
}

static void served_answer(struct served_list *f) {
    struct list_scatter *s = f->scatter;
    struct buf body = {0}, end = {0};
    list_reply_put(&s->items, &body);
    buf_put_u64(&end, s->items.count);
    buf_put_u64(&end, body.len);
    buf_put_u64(&end, hash64(body.ptr, body.len, 0));
    shard_list_put(f->g->options.map, s->claimed, &end);
    gather_reply(&f->req, &body, &end);
}

static void served_on_done(struct list_scatter *s, void *ctx) {
    struct served_list *f = ctx;
    if (f->req == NULL) {
        served_free(f);
        return;
    }
    if (s->status != OK)
        peer_reply_error(f->req, s->status, s->err.msg);
    else if (!bits_any(s->claimed, f->g->words))
        peer_reply_error(f->req, ERR_CONFLICT, "none of the shards is this node's");
    else
        served_answer(f);
    served_free(f);
}

static enum status served_start(struct served_list *f, struct sv payload, struct arena *arena,
                                struct err *err) {
    struct gather *g = f->g;
    struct list_request r;
    TRY(list_request_get(payload, arena, &r, err));
    f->shards = calloc(g->words, sizeof *f->shards);
    if (f->shards == NULL) return err_set(err, ERR_NOMEM, 0, "list: out of memory");
    TRY(shard_list_get(g->options.map, r.shards, f->shards, err));
    TRY(list_query_new(&r.ask, &f->query, err));
    struct list_scatter_options o = {.g = g,
                                     .query = f->query,
                                     .shards = f->shards,
                                     .local_only = true,
                                     .done = served_on_done,
                                     .ctx = f};
    return list_scatter_new(&o, &f->scatter, err);
}

void gather_on_series(struct peer_request *req, struct sv payload, void *ctx) {
    struct gather *g = ctx;
    struct served_list *f = calloc(1, sizeof *f);
    if (f == NULL) {
        peer_reply_error(req, ERR_NOMEM, "out of memory");
        return;
    }
    *f = (struct served_list){.g = g, .req = req};
    list_push_back(&g->served_lists, &f->node);
    struct arena arena;
    struct err err;
    arena_init(&arena, 1 << 20);
    enum status st = served_start(f, payload, &arena, &err);
    arena_fini(&arena);
    if (st != OK) {
        peer_reply_error(req, st, err.msg);
        served_free(f);
        return;
    }
    req->user = f;
    req->gone = served_on_gone;
}

void gather_free_served_lists(struct gather *g) {
    while (!list_is_empty(&g->served_lists))
        served_free(container_of(g->served_lists.next, struct served_list, node));
}
