/* SPDX-License-Identifier: Apache-2.0 */
#include <assert.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "ingest/internal.h"

/* A part for another node:
 *   FRAME_WRITE without labels -> reply; ids it does not know -> again, with their labels, then
 * with all. No reply, or a node that is not the primary: part_done decides. Resending is harmless:
 * what is held already is a no-op. */

static void part_send(struct write_part *part);

static void part_fail(struct write_part *part, enum status status, const struct err *why) {
    part->status = status;
    part->err = *why;
    part_done(part);
}

/* The other side could not do all: what is left goes into a part of its own. */
static enum status part_leave(struct write_part *part, const struct write_frame_reply *reply,
                              struct err *err) {
    struct write_op *op = part->op;
    struct distributor *d = op->d;
    uint32_t shards = d->options.map->settings.shards_count;
    for (size_t i = 0; i < reply->failed_count; i++)
        if (reply->failed[i] < shards) d->marks[reply->failed[i]] = 1;
    enum status st = part_split(d, part, &part->left);
    for (size_t i = 0; i < reply->failed_count; i++) /* those that are not of the part, too */
        if (reply->failed[i] < shards) d->marks[reply->failed[i]] = 0;
    if (st != OK) return err_set(err, st, 0, "out of memory");
    if (part_is_empty(part->left)) {
        part_free(part->left);
        part->left = NULL;
        return err_set(err, ERR_CORRUPT, 0, "a shard failed that was not sent");
    }
    part->left->status =
        err_set(&part->left->err, reply->failed_status, 0, "%s", reply->failed_text);
    return OK;
}

static void part_take_unknown(struct write_part *part, struct write_frame_reply *reply) {
    if (part->labels_all) { /* it has them now: a fault of the other side */
        struct err err;
        part_fail(part, err_set(&err, ERR_UNAVAILABLE, 0, "asked for labels again"), &err);
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
}

static void part_take_reply(struct write_part *part, struct write_frame_reply *reply) {
    struct err err;
    if (reply->outcome == WRITE_UNAVAILABLE) {
        part_fail(part, err_set(&err, ERR_UNAVAILABLE, 0, "%s", reply->text), &err);
        return;
    }
    if (reply->unknown_count > 0) {
        part_take_unknown(part, reply);
        return;
    }
    struct write_result *r = &part->result;
    size_t count = part->count[ITEM_ROWS];
    memcpy(r->counts, reply->counts, sizeof r->counts);
    r->histograms_written = reply->histograms_written;
    r->exemplars_kept = reply->exemplars_kept;
    r->refused = reply->outcome == WRITE_REFUSED && count > 0;
    size_t row = r->refused ? MIN((size_t)reply->first_refused, count - 1) : 0;
    uint32_t number = r->refused ? part->op->order[part->first[ITEM_ROWS] + row] : 0;
    snprintf(r->first_text, sizeof r->first_text, "%.*s", (int)sizeof r->first_text - 1,
             reply->text);
    r->first_plain_len = MIN((size_t)reply->plain_len, strlen(r->first_text));
    if (reply->failed_count > 0 && part_leave(part, reply, &err) != OK) {
        part_fail(part, err.code, &err);
        return;
    }
    /* the row has moved when something was left */
    r->first_index = 0;
    while (r->refused && r->first_index < part->count[ITEM_ROWS] &&
           part->op->order[part->first[ITEM_ROWS] + r->first_index] != number)
        r->first_index++;
    if (r->first_index == part->count[ITEM_ROWS]) r->refused = false; /* of a shard that failed */
    part->status = OK;
    part_done(part);
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
        if (reply.unknown[i] >= part->count[ITEM_ROWS])
            status = err_set(&local, ERR_CORRUPT, 0, "asked for a row that was not sent");
    if (status != OK) /* its memory is not ours: another node, or the same later, may have some */
        part_fail(part, status == ERR_NOMEM ? ERR_UNAVAILABLE : status, err);
    else
        part_take_reply(part, &reply);
    free(reply.unknown);
    free(reply.failed);
}

static void part_send(struct write_part *part) {
    struct write_op *op = part->op;
    struct distributor *d = op->d;
    const struct write_rows *rows = &op->sorted;
    size_t first = part->first[ITEM_ROWS], count = part->count[ITEM_ROWS];
    struct sv *labels = NULL;
    struct buf payload = {0};
    if (part->labels_asked && !part->labels_all) {
        labels = calloc(count, sizeof *labels);
        for (size_t i = 0; labels != NULL && i < part->unknown_count; i++)
            labels[part->unknown[i]] = rows->labels[first + part->unknown[i]];
    }
    struct write_frame_rows frame = {
        .count = count,
        .ids = rows->ids + first,
        .shards = rows->shards + first,
        .times_ms = rows->times_ms + first,
        .values = rows->values + first,
        .labels = part->labels_all ? rows->labels + first : labels,
        .with_labels = part->labels_all || labels != NULL,
        .starts_ms = rows->starts_ms == NULL ? NULL : rows->starts_ms + first,
        .histograms = rows->histograms == NULL ? NULL : rows->histograms + first,
        .exemplars = rows->exemplars + part->first[ITEM_EXEMPLARS],
        .exemplars_count = part->count[ITEM_EXEMPLARS],
        .metadata = rows->metadata + part->first[ITEM_METADATA],
        .metadata_count = part->count[ITEM_METADATA],
    };
    write_frame_put(d->options.map, &frame, &payload);
    free(labels);
    if (payload.failed) {
        struct err err;
        buf_fini(&payload);
        part_fail(part, err_set(&err, ERR_NOMEM, 0, "out of memory"), &err);
        return;
    }
    struct peer_call_options o = {.to = part->to,
                                  .type = FRAME_WRITE,
                                  .timeout_ms = d->options.timeout_ms,
                                  .reply = part_on_reply,
                                  .ctx = part};
    part->call = peers_call(d->options.peers, &o, &payload);
}

void part_start_remote(struct write_part *part) {
    part_send(part);
}

void part_cancel_remote(struct write_part *part) {
    assert(part->state == PART_OPEN);
    if (part->call != NULL) peer_call_cancel(part->call);
    part->call = NULL;
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
    free(w->op.failed);
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
                                          .histograms_written = op->histograms_written,
                                          .exemplars_kept = op->exemplars_kept,
                                          .first_refused = (uint32_t)op->first_refused,
                                          .plain_len = (uint32_t)op->plain_len,
                                          .failed = op->failed,
                                          .failed_count = op->failed_count,
                                          .failed_status = op->failed_status};
        memcpy(reply.counts, op->counts, sizeof reply.counts);
        memcpy(reply.text, op->text, sizeof reply.text);
        memcpy(reply.failed_text, op->failed_text, sizeof reply.failed_text);
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
