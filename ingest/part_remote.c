/* SPDX-License-Identifier: Apache-2.0 */
#include <assert.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "ingest/internal.h"
#include "ingest/write_frame.h"

/* A part for another node:
 *   FRAME_WRITE without labels -> reply; ids it does not know -> again, with their labels, then
 * with all; no reply -> again, with back-off, until the op is resend_ms old. Resending is harmless:
 * what is held already is a no-op. */

static void part_send(struct write_part *part);

static void part_fail(struct write_part *part, enum status status, const struct err *why) {
    struct distributor *d = part->op->d;
    const struct ring_node *node = &d->options.map->nodes[part->dest - d->cores_count];
    part->status = err_set(&part->err, status, 0, "shard %" PRIu32 " (node %s): %s",
                           part_shard(part), node->addr, why->msg);
    part_end(part);
}

void part_on_retry(struct timer *t) {
    part_send(container_of(t, struct write_part, retry));
}

static void part_retry(struct write_part *part, enum status status, const struct err *why) {
    struct write_op *op = part->op;
    struct distributor *d = op->d;
    uint64_t spent_ms = (core_mono_ns(d->core) - op->began_ns) / 1000000;
    if (d->stopping || spent_ms + part->retry_ms >= d->options.resend_ms) {
        part_fail(part, status, why);
        return;
    }
    metric_add(d->resends, 1);
    timer_start(&part->retry, part->retry_ms);
    part->retry_ms = MIN(part->retry_ms * 2, (uint64_t)RETRY_MAX_MS);
}

static void part_take_reply(struct write_part *part, struct write_frame_reply *reply) {
    struct err err;
    if (reply->outcome == WRITE_UNAVAILABLE) {
        err_set(&err, ERR_UNAVAILABLE, 0, "%s", reply->text);
        part_retry(part, ERR_UNAVAILABLE, &err);
        return;
    }
    if (reply->unknown_count > 0) {
        if (part->labels_all) { /* it has them now: a fault of the other side */
            err_set(&err, ERR_CONFLICT, 0, "asked for labels again");
            part_retry(part, ERR_UNAVAILABLE, &err);
            return;
        }
        /* asked twice: it has lost power in between, and with it series that were not durable */
        part->labels_all = part->labels_asked;
        free(part->unknown);
        part->unknown = reply->unknown;
        part->unknown_count = reply->unknown_count;
        reply->unknown = NULL;
        part->labels_asked = true;
        part_send(part);
        return;
    }
    memcpy(part->result.counts, reply->counts, sizeof part->result.counts);
    part->result.refused = reply->outcome == WRITE_REFUSED && part->count > 0;
    part->result.first_index =
        part->count == 0 ? 0 : MIN((size_t)reply->first_refused, part->count - 1);
    snprintf(part->result.first_text, sizeof part->result.first_text, "%.*s",
             (int)sizeof part->result.first_text - 1, reply->text);
    part->result.first_plain_len = strlen(part->result.first_text);
    part_end(part);
}

static void part_on_reply(void *ctx, enum status status, struct sv bytes, bool last,
                          const struct err *err) {
    struct write_part *part = ctx;
    struct write_frame_reply reply = {0};
    struct err local;
    struct peer_call *call = part->call;
    part->call = NULL;
    if (status == OK && !last) { /* a write is answered in one part */
        peer_call_cancel(call);
        status = err_set(&local, ERR_CORRUPT, 0, "answered in several parts");
        err = &local;
    } else if (status == OK) {
        status = write_frame_reply_get(bytes, &reply, &local);
        err = &local;
    }
    for (size_t i = 0; status == OK && i < reply.unknown_count; i++)
        if (reply.unknown[i] >= part->count)
            status = err_set(&local, ERR_CORRUPT, 0, "asked for a row that was not sent");
    if (status != OK)
        part_retry(part, status, err);
    else
        part_take_reply(part, &reply);
    free(reply.unknown);
}

static void part_send(struct write_part *part) {
    struct write_op *op = part->op;
    struct distributor *d = op->d;
    const struct write_rows *rows = &op->sorted;
    struct sv *labels = NULL;
    struct buf payload = {0};
    if (part->labels_asked && !part->labels_all) {
        labels = calloc(part->count, sizeof *labels);
        for (size_t i = 0; labels != NULL && i < part->unknown_count; i++)
            labels[part->unknown[i]] = rows->labels[part->first + part->unknown[i]];
    }
    struct write_frame_rows frame = {
        .count = part->count,
        .ids = rows->ids + part->first,
        .shards = rows->shards + part->first,
        .times_ms = rows->times_ms + part->first,
        .values = rows->values + part->first,
        .labels = part->labels_all ? rows->labels + part->first : labels,
        .with_labels = part->labels_all || labels != NULL,
        .exemplars = rows->exemplars + part->first_exemplar,
        .exemplars_count = part->exemplars_count,
        .metadata = rows->metadata + part->first_metadata,
        .metadata_count = part->metadata_count,
    };
    write_frame_put(d->options.map, &frame, &payload);
    free(labels);
    if (payload.failed) {
        struct err err;
        buf_fini(&payload);
        part_fail(part, err_set(&err, ERR_NOMEM, 0, "out of memory"), &err);
        return;
    }
    struct peer_call_options o = {.to = d->options.map->nodes[part->dest - d->cores_count].id,
                                  .type = FRAME_WRITE,
                                  .timeout_ms = d->options.timeout_ms,
                                  .reply = part_on_reply,
                                  .ctx = part};
    part->call = peers_call(d->options.peers, &o, &payload);
}

void part_start_remote(struct write_part *part) {
    part->retry_ms = RETRY_MIN_MS;
    part_send(part);
}

void part_stop_remote(struct write_part *part) {
    if (part->call != NULL) peer_call_cancel(part->call);
    part->call = NULL;
    timer_stop(&part->retry);
    struct err err;
    part_fail(part, err_set(&err, ERR_UNAVAILABLE, 0, "this node is stopping"), &err);
}

/* -- the other side */

struct peer_write {
    struct write_op op;
    struct list_node node;    /* of d->served */
    struct peer_request *req; /* NULL once the asker has gone; the write goes on */
};

static void peer_write_free(struct peer_write *w) {
    list_remove(&w->node);
    write_rows_fini(&w->op.rows);
    buf_fini(&w->op.body);
    arena_fini(&w->op.arena);
    free(w->op.unknown);
    free(w);
}

static void peer_write_on_gone(struct peer_request *req) {
    ((struct peer_write *)req->user)->req = NULL;
}

static void peer_write_done(struct core *here, struct write_op *op) {
    (void)here;
    struct peer_write *w = container_of(op, struct peer_write, op);
    if (w->req != NULL) {
        struct write_frame_reply reply = {.outcome = op->outcome,
                                          .unknown = op->unknown,
                                          .unknown_count = op->unknown_count,
                                          .first_refused = (uint32_t)op->first_refused};
        memcpy(reply.counts, op->counts, sizeof reply.counts);
        memcpy(reply.text, op->text, sizeof reply.text);
        struct buf out = {0};
        write_frame_reply_put(&reply, &out);
        peer_reply(w->req, &out, true);
    }
    peer_write_free(w);
}

void distributor_on_frame(struct peer_request *req, struct sv payload, void *ctx) {
    struct distributor *d = ctx;
    struct peer_write *w = calloc(1, sizeof *w);
    if (w == NULL) {
        peer_reply_error(req, ERR_NOMEM, "out of memory");
        return;
    }
    w->req = req;
    w->op.local_only = true;
    w->op.done = peer_write_done;
    arena_init(&w->op.arena, 0);
    list_push_back(&d->served, &w->node);
    struct err err;
    bool with_labels;
    buf_put_sv(&w->op.body, payload); /* rows' labels point into it beyond this call */
    enum status st = w->op.body.failed ? err_set(&err, ERR_NOMEM, 0, "out of memory") : OK;
    if (st == OK && d->stopping) st = err_set(&err, ERR_UNAVAILABLE, 0, "node is stopping");
    if (st == OK)
        st = write_frame_get(d->options.map, buf_sv(&w->op.body), &w->op.rows, &with_labels, &err);
    if (st != OK) {
        peer_reply_error(req, st, err.msg);
        peer_write_free(w);
        return;
    }
    req->user = w;
    req->gone = peer_write_on_gone;
    distributor_write(d, &w->op);
}

void distributor_free_served(struct distributor *d) {
    while (!list_is_empty(&d->served))
        peer_write_free(container_of(d->served.next, struct peer_write, node));
}
