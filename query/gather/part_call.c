/* SPDX-License-Identifier: Apache-2.0 */
#include "query/gather/part_call.h"

#include "query/gather/spread.h"

static void part_call_on_reply(void *ctx, enum status status, struct sv piece, bool last,
                               const struct err *err) {
    struct spread_part *part = ctx;
    struct part_call *c = &part->call;
    if (status == OK && !last) {
        c->reply.limit_bytes = c->o.reply_bytes_max;
        buf_put_sv(&c->reply, piece);
        if (!c->reply.failed) return;
        peer_call_cancel(c->peer);
        status = err_set(&part->err, ERR_LIMIT, 0, "reply of another node exceeds the memory of %s",
                         c->o.what);
    } else if (status == OK) {
        status = c->o.finish(part, piece);
    } else {
        part->err = *err;
    }
    c->peer = NULL;
    part->status = status;
    spread_part_done(part);
}

void part_call_start(struct spread_part *part, const struct part_call_options *options,
                     struct buf *payload) {
    struct peer_call_options o = {.to = part->to,
                                  .type = options->type,
                                  .timeout_ms = options->timeout_ms,
                                  .reply = part_call_on_reply,
                                  .ctx = part};
    part->call.o = *options;
    part->call.peer = peers_call(options->peers, &o, payload);
}

void part_call_cancel(struct spread_part *part) {
    if (part->call.peer != NULL) peer_call_cancel(part->call.peer);
    part->call.peer = NULL;
}

void part_call_fini(struct part_call *c) {
    buf_fini(&c->reply);
}
