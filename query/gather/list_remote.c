/* SPDX-License-Identifier: Apache-2.0 */
#include "node/base/bytes.h"
#include "node/base/hash.h"
#include "query/gather/list.h"
#include "query/gather/served.h"

/* A reply: pieces of the items' encoding; the last piece is the end: u64 items, u64 length and u64
 * XXH3-64 of all pieces, then the list of shards answered for. */
enum { END_BYTES = 24 };

/* -- asking */

static enum status remote_finish(struct spread_part *base, struct sv end) {
    struct list_part *part = container_of(base, struct list_part, base);
    const struct list_scatter *s = list_scatter_of(part);
    struct sv body = buf_sv(&base->call.reply);
    if (end.len < END_BYTES || get_u64le(end.ptr + 8) != body.len ||
        get_u64le(end.ptr + 16) != hash64(body.ptr, body.len, 0))
        return err_set(&base->err, ERR_UNAVAILABLE, 0, "reply of another node is incomplete");
    struct epochs epochs = gather_epochs(s->o.g, base->map);
    TRY(shard_list_narrow(&epochs, sv_skip(end, END_BYTES), base->shards, &base->err));
    TRY(list_reply_get(body, &part->items, &base->err));
    TRY(list_items_check(&part->items, s->o.query->kind, &base->err));
    if (part->items.count != get_u64le(end.ptr))
        return err_set(&base->err, ERR_CORRUPT, 0,
                       "reply of another node has another number of items than it says");
    return OK;
}

void list_remote_start(struct list_part *part) {
    struct list_scatter *s = list_scatter_of(part);
    struct gather *g = s->o.g;
    const struct list_query *q = s->o.query;
    struct buf list = {0}, payload = {0};
    list_items_init(&part->items);
    struct epochs epochs = gather_epochs(g, part->base.map);
    shard_list_put(&epochs, part->base.asked, &list);
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
    struct part_call_options o = {.peers = g->options.peers,
                                  .type = FRAME_SERIES,
                                  .timeout_ms = q->timeout_ms,
                                  .reply_bytes_max = LIST_PART_BYTES_MAX,
                                  .what = "a list",
                                  .finish = remote_finish};
    part_call_start(&part->base, &o, &payload);
}

/* -- answering */

struct served_list {
    struct served base;
    struct list_query *query;
    struct list_scatter *scatter;
};

static void list_served_fini(struct served *s) {
    struct served_list *f = container_of(s, struct served_list, base);
    list_scatter_free(f->scatter);
    list_query_free(f->query);
}

static void list_served_answer(struct served *served) {
    struct list_scatter *s = container_of(served, struct served_list, base)->scatter;
    struct buf body = {0}, end = {0};
    list_reply_put(&s->items, &body);
    buf_put_u64(&end, s->items.count);
    buf_put_u64(&end, body.len);
    buf_put_u64(&end, hash64(body.ptr, body.len, 0));
    struct epochs epochs = gather_epochs(served->g, served->map);
    shard_list_put(&epochs, s->spread.claimed, &end);
    served_reply(served, &body, &end);
}

static void list_served_on_done(struct list_scatter *s, void *ctx) {
    struct served_list *f = ctx;
    served_done(&f->base, &s->spread, s->status, &s->err);
}

static enum status list_served_begin(struct served_list *f, const struct list_request *r,
                                     struct err *err) {
    TRY(served_shards(&f->base, r->shards, err));
    TRY(list_query_new(&r->ask, &f->query, err));
    f->base.canceled = &f->query->canceled;
    struct list_scatter_options o = {.g = f->base.g,
                                     .query = f->query,
                                     .shards = f->base.shards,
                                     .local_only = true,
                                     .done = list_served_on_done,
                                     .ctx = f};
    return list_scatter_new(&o, &f->scatter, err);
}

static enum status list_served_start(struct served *served, struct sv payload, struct err *err) {
    struct arena arena;
    struct list_request r;
    arena_init(&arena, 1 << 20);
    enum status st = list_request_get(payload, &arena, &r, err);
    if (st == OK) st = list_served_begin(container_of(served, struct served_list, base), &r, err);
    arena_fini(&arena);
    return st;
}

static const struct served_ops list_served_ops = {
    .bytes = sizeof(struct served_list),
    .start = list_served_start,
    .answer = list_served_answer,
    .fini = list_served_fini,
};

void gather_on_series(struct peer_request *req, struct sv payload, void *ctx) {
    served_take(ctx, &list_served_ops, req, payload);
}
