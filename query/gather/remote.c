/* SPDX-License-Identifier: Apache-2.0 */
#include "node/base/bytes.h"
#include "node/base/hash.h"
#include "query/gather/internal.h"
#include "query/gather/served.h"

/* A reply: pieces of encoded partial; the last piece is the end (struct reply_end). Nothing is
 * folded before the end has come and agrees. */

enum { DECODE_HERE_BYTES_MAX = 32 << 10 };

/* -- asking */

enum status remote_part_decode(struct scatter_part *part, struct err *err) {
    struct scatter *s = scatter_of(part);
    struct partial_bytes from = {s->o.query, s->o.fragment, buf_sv(&part->base.call.reply)};
    TRY(partial_get(&from, s->o.control, &part->partial, err));
    if (partial_rows(part->partial) != part->times.rows)
        return err_set(err, ERR_CORRUPT, 0,
                       "reply of another node has another number of rows than it says");
    return OK;
}

static enum status remote_finish(struct spread_part *base, struct sv end) {
    struct scatter_part *part = container_of(base, struct scatter_part, base);
    struct sv body = buf_sv(&base->call.reply);
    struct reply_end e;
    TRY(reply_end_get(end, &e, &base->err));
    if (e.body_len != body.len || e.body_hash != hash64(body.ptr, body.len, 0))
        return err_set(&base->err, ERR_UNAVAILABLE, 0, "reply of another node is incomplete");
    part->times = e.times;
    part->times.rows = e.rows;
    part->times.bytes = body.len;
    struct epochs epochs = gather_epochs(base->spread->o.g, base->map);
    TRY(shard_list_narrow(&epochs, e.shards, base->shards, &base->err));
    return body.len > DECODE_HERE_BYTES_MAX ? OK : remote_part_decode(part, &base->err);
}

void remote_part_start(struct scatter_part *part) {
    struct scatter *s = scatter_of(part);
    struct gather *g = s->o.g;
    struct buf fragment = {0}, list = {0}, payload = {0};
    fragment_put(s->o.fragment, &fragment);
    struct epochs epochs = gather_epochs(g, part->base.map);
    shard_list_put(&epochs, part->base.asked, &list);
    struct fragment_request r = {.text = query_text(s->o.query),
                                 .params = *query_params(s->o.query),
                                 .timeout_ms = s->o.timeout_ms,
                                 .fragment = buf_sv(&fragment),
                                 .shards = buf_sv(&list)};
    fragment_request_put(&r, &payload);
    buf_fini(&fragment);
    buf_fini(&list);
    struct part_call_options o = {.peers = g->options.peers,
                                  .type = FRAME_FRAGMENT,
                                  .timeout_ms = s->o.timeout_ms,
                                  .reply_bytes_max = query_params(s->o.query)->memory_bytes_max,
                                  .what = "a query",
                                  .finish = remote_finish};
    part_call_start(&part->base, &o, &payload);
}

/* -- answering */

/* A fragment for another node, scattered over this node's cores. */
struct served_fragment {
    struct served base;
    struct query *query;
    struct fragment fragment;
    struct query_control control;
    struct scatter *scatter;
};

static void fragment_served_fini(struct served *s) {
    struct served_fragment *f = container_of(s, struct served_fragment, base);
    scatter_free(f->scatter);
    fragment_fini(&f->fragment);
    query_unref(f->query);
}

static struct part_times scatter_times(const struct scatter *s) {
    struct part_times sum = {0};
    LIST_FOREACH(n, &s->spread.parts) {
        const struct part_times *t = &container_of(n, struct scatter_part, base.node)->times;
        sum.select_ns += t->select_ns;
        sum.evaluate_ns += t->evaluate_ns;
        sum.series += t->series;
        sum.cores += t->cores;
    }
    return sum;
}

static void fragment_served_answer(struct served *served) {
    struct scatter *s = container_of(served, struct served_fragment, base)->scatter;
    struct buf body = s->bytes, end = {0}, shards = {0};
    s->bytes = (struct buf){0};
    struct epochs epochs = gather_epochs(served->g, served->map);
    shard_list_put(&epochs, s->spread.claimed, &shards);
    struct reply_end e = {.rows = partial_rows(s->partial),
                          .body_len = body.len,
                          .body_hash = hash64(body.ptr, body.len, 0),
                          .times = scatter_times(s),
                          .shards = buf_sv(&shards)};
    reply_end_put(&e, &end);
    if (shards.failed) end.failed = true;
    buf_fini(&shards);
    served_reply(served, &body, &end);
}

static void fragment_served_on_done(struct scatter *s, void *ctx) {
    struct served_fragment *f = ctx;
    served_done(&f->base, &s->spread, s->status, &s->err);
}

static uint64_t control_mono(void *ctx) {
    return core_mono_ns(ctx);
}

static enum status fragment_served_start(struct served *served, struct sv payload,
                                         struct err *err) {
    struct served_fragment *f = container_of(served, struct served_fragment, base);
    struct gather *g = served->g;
    struct fragment_request r;
    f->control = (struct query_control){.mono_ns = control_mono, .ctx = g->core};
    served->canceled = &f->control.canceled;
    TRY(fragment_request_get(payload, &r, err));
    TRY(served_shards(served, r.shards, err));
    TRY(query_new(r.text, &r.params, &f->query, err));
    TRY(fragment_get(r.fragment, &f->fragment, err));
    f->control.deadline_ns = core_mono_ns(g->core) + r.timeout_ms * 1000000;
    struct scatter_options o = {.g = g,
                                .query = f->query,
                                .fragment = &f->fragment,
                                .shards = served->shards,
                                .local_only = true,
                                .encode = true,
                                .timeout_ms = r.timeout_ms,
                                .control = &f->control,
                                .done = fragment_served_on_done,
                                .ctx = f};
    return scatter_new(&o, &f->scatter, err);
}

static const struct served_ops fragment_served_ops = {
    .bytes = sizeof(struct served_fragment),
    .start = fragment_served_start,
    .answer = fragment_served_answer,
    .fini = fragment_served_fini,
};

void gather_on_fragment(struct peer_request *req, struct sv payload, void *ctx) {
    served_take(ctx, &fragment_served_ops, req, payload);
}
