/* SPDX-License-Identifier: Apache-2.0 */
#include "ingest/deletes.h"

#include <assert.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "ingest/internal.h"

enum { SLICE_NS = 1000000, WHY_BYTES_MAX = 240 };

/* The shards of an op for one destination, in one round: OPEN -> back. While open, a local piece is
 * its core's. */
struct delete_piece {
    struct msg msg;
    struct list_node node; /* of op->pieces */
    struct delete_op *op;
    struct core *home;
    uint16_t dest;
    node_id to;             /* remote */
    struct peer_call *call; /* remote, while it is open */
    struct replica_wait wait;
    size_t next;                         /* of those to be written */
    uint32_t *shards, *written, *failed; /* ascending; the last two are filled by the core */
    size_t count, written_count, failed_count;
    enum status status; /* of the piece as a whole; OK: all but the failed are done */
    struct err err;     /* also the first failed one's */
    uint32_t items[];
};

static void round_start(struct delete_op *op);
static void piece_done(struct delete_piece *piece);

/* -- the end of an op */

static void op_end(struct core *here, struct msg *m) {
    struct delete_op *op = container_of(m, struct delete_op, msg);
    struct distributor *d = op->d;
    assert(here == d->core && op->pieces_open == 0);
    list_remove(&op->node);
    if (!op->is_served) d->deletes_count--;
    if (!op->is_served) free(op->left); /* else the answer names what is left */
    op->done(here, op);
}

/* Which shards, as many as there is room for, and why the first. */
void delete_op_tell(struct delete_op *op) {
    char shards[160];
    size_t len = 0;
    uint32_t named = 0;
    for (uint32_t s = 0; s < op->d->options.map->settings.shards_count; s++) {
        if (op->left == NULL || !op->left[s] || len + 14 > sizeof shards) continue;
        len += (size_t)snprintf(shards + len, sizeof shards - len, named == 0 ? "%u" : ", %u", s);
        named++;
    }
    snprintf(op->text, sizeof op->text,
             "samples were not deleted in %" PRIu32 " of %" PRIu32 " shards (%.*s%s): %.*s",
             op->left_count, op->asked_count, (int)len, shards,
             named < op->left_count ? ", ..." : "", WHY_BYTES_MAX,
             op->why.code == OK ? "they have not answered" : op->why.msg);
}

static void op_end_soon(struct delete_op *op, enum status status) {
    timer_stop(&op->retry);
    op->waiting = false;
    op->status = status;
    if (status != OK && !op->is_served) delete_op_tell(op);
    op->msg.run = op_end;
    core_post(op->d->core, &op->msg);
}

static void round_end(struct delete_op *op) {
    struct distributor *d = op->d;
    if (op->left_count == 0) {
        op_end_soon(op, OK);
    } else if (op->is_served || !distributor_may_retry(d, op->began_ns, op->why.code)) {
        op_end_soon(op, op->why.code);
    } else {
        uint32_t random;
        d->core->rt->ops->random(d->core->rt, &random, sizeof random);
        op->waiting = true;
        timer_start(&op->retry, RETRY_MIN_MS + random % (RETRY_MAX_MS - RETRY_MIN_MS + 1));
    }
}

static void op_piece_is_over(struct delete_op *op) {
    assert(op->pieces_open > 0);
    if (--op->pieces_open == 0) round_end(op);
}

/* -- on the core that owns the shards */

static void piece_at_home(struct core *here, struct msg *m) {
    struct delete_piece *piece = container_of(m, struct delete_piece, msg);
    assert(here == piece->home);
    piece_done(piece);
}

static void piece_go_home(struct delete_piece *piece) {
    piece->msg.run = piece_at_home;
    core_post(piece->home, &piece->msg);
}

static void piece_on_in_sync(struct replica_wait *wait, enum status status, const struct err *err) {
    struct delete_piece *piece = container_of(wait, struct delete_piece, wait);
    piece->status = status;
    if (status != OK) piece->err = *err;
    piece_go_home(piece);
}

static enum status shard_delete(struct distributor *d, const struct delete_op *op, uint32_t shard,
                                struct err *err) {
    TRY(distributor_may_write(d, shard, core_mono_ns(d->core), err));
    for (size_t i = 0; i < op->ranges_count; i++) {
        struct entry_delete e = {.min_ms = op->ranges[i].min_ms,
                                 .max_ms = op->ranges[i].max_ms,
                                 .matchers_bytes = op->ranges[i].matchers};
        uint64_t position;
        TRY(store_delete(d->options.store, shard, &e, &position, err));
    }
    return OK;
}

static void piece_fail_shard(struct delete_piece *piece, uint32_t shard, const struct err *why) {
    piece->failed[piece->failed_count++] = shard;
    if (piece->failed_count == 1)
        err_set(&piece->err, why->code, 0, "shard %" PRIu32 ": %s", shard, why->msg);
}

static void piece_run(struct core *here, struct msg *m) {
    struct delete_piece *piece = container_of(m, struct delete_piece, msg);
    struct distributor *d = here->locals[CORE_INGEST];
    uint64_t until_ns = core_mono_ns(here) + SLICE_NS;
    while (piece->next < piece->count) {
        uint32_t shard = piece->shards[piece->next++];
        struct err err;
        if (shard_delete(d, piece->op, shard, &err) == OK)
            piece->written[piece->written_count++] = shard;
        else
            piece_fail_shard(piece, shard, &err);
        if (core_mono_ns(here) < until_ns || piece->next == piece->count) continue;
        core_post(here, &piece->msg);
        return;
    }
    const struct write_gate *gate = d->options.gate;
    if (piece->written_count == 0)
        piece_go_home(piece);
    else
        gate->wait(gate->ctx, &piece->wait, piece->written, piece->written_count, piece_on_in_sync);
}

/* -- on another node */

static void piece_on_reply(void *ctx, enum status status, struct sv bytes, bool last,
                           const struct err *err) {
    struct delete_piece *piece = ctx;
    struct distributor *d = piece->op->d;
    struct delete_reply reply = {0};
    struct err local;
    struct peer_call *call = piece->call;
    piece->call = NULL;
    if (status == OK && !last) {
        peer_call_cancel(call);
        status = err_set(&local, ERR_CORRUPT, 0, "answered in several pieces");
        err = &local;
    } else if (status == OK) {
        status = delete_reply_get(bytes, &d->scratch, &reply, &local);
        err = &local;
    }
    if (status == OK && reply.failed_count > piece->count)
        status = err_set(&local, ERR_CORRUPT, 0, "more shards failed than were sent");
    if (status != OK) { /* its memory is not ours: another node, or it later, may have some */
        piece->status = status == ERR_NOMEM ? ERR_UNAVAILABLE : status;
        piece->err = *err;
    } else if (reply.failed_count > 0) {
        memcpy(piece->failed, reply.failed, reply.failed_count * sizeof *piece->failed);
        piece->failed_count = reply.failed_count;
        err_set(&piece->err, reply.status, 0, "%s", reply.text);
    }
    arena_reset(&d->scratch);
    piece_done(piece);
}

static void piece_send(struct delete_piece *piece) {
    struct delete_op *op = piece->op;
    struct distributor *d = op->d;
    struct delete_frame frame = {op->ranges, op->ranges_count, piece->shards, piece->count};
    struct buf payload = {0};
    delete_frame_put(&frame, &payload);
    struct peer_call_options o = {.to = piece->to,
                                  .type = FRAME_DELETE,
                                  .timeout_ms = d->options.timeout_ms,
                                  .reply = piece_on_reply,
                                  .ctx = piece};
    piece->call = peers_call(d->options.peers, &o, &payload);
}

/* -- rounds, on the op's core */

static void piece_free(struct delete_piece *piece) {
    list_remove(&piece->node);
    free(piece);
}

/* Names the node, where it is another one. */
static void piece_tell_why(struct delete_piece *piece) {
    struct delete_op *op = piece->op;
    const struct ring_map *map = op->d->options.map;
    if (op->why.code != OK) return;
    int node = piece->to == 0 ? -1 : ring_map_node_index(map, piece->to);
    if (node < 0)
        op->why = piece->err;
    else
        err_set(&op->why, piece->err.code, 0, "node %s: %s", map->nodes[node].addr, piece->err.msg);
}

static void piece_done(struct delete_piece *piece) {
    struct delete_op *op = piece->op;
    assert(core_is_current(op->d->core) && op->pieces_open > 0);
    if (piece->status == OK) {
        size_t failed = 0;
        for (size_t i = 0; i < piece->count; i++) {
            while (failed < piece->failed_count && piece->failed[failed] < piece->shards[i])
                failed++;
            if (failed < piece->failed_count && piece->failed[failed] == piece->shards[i]) continue;
            op->left[piece->shards[i]] = 0;
            op->left_count--;
        }
    }
    if (piece->status != OK || piece->failed_count > 0) piece_tell_why(piece);
    piece_free(piece);
    op_piece_is_over(op);
}

static enum status piece_may_start(const struct distributor *d, const struct delete_piece *piece,
                                   struct err *err) {
    if (piece->dest == DEST_NONE)
        return err_set(err, ERR_UNAVAILABLE, 0, "shard %" PRIu32 " is damaged on this node",
                       piece->shards[0]);
    if (piece->dest < d->cores_count) return OK;
    if (piece->op->is_served)
        return err_set(err, ERR_CONFLICT, 0, "shard %" PRIu32 " is not this node's",
                       piece->shards[0]);
    if (d->stopping) return err_set(err, ERR_UNAVAILABLE, 0, "this node is stopping");
    if (d->options.peers == NULL)
        return err_set(err, ERR_UNAVAILABLE, 0, "this node has no connections to others");
    return OK;
}

static void piece_start(struct distributor *d, struct delete_piece *piece) {
    piece->status = piece_may_start(d, piece, &piece->err);
    if (piece->status != OK) {
        piece_done(piece);
    } else if (piece->dest < d->cores_count) {
        piece->msg.run = piece_run;
        core_post(d->core->rt->cores[piece->dest], &piece->msg);
    } else {
        piece->to = d->options.map->nodes[piece->dest - d->cores_count].id;
        piece_send(piece);
    }
}

/* The piece of those that go there; NULL with *out_count 0: there are none. */
static struct delete_piece *piece_new(struct delete_op *op, uint16_t dest, bool *out_any) {
    const struct distributor *d = op->d;
    uint32_t shards = d->options.map->settings.shards_count;
    size_t count = 0;
    for (uint32_t s = 0; s < shards; s++)
        count += op->left[s] && d->dest_of[s] == dest;
    *out_any = count > 0;
    if (count == 0) return NULL;
    struct delete_piece *piece = calloc(1, sizeof *piece + 3 * count * sizeof piece->items[0]);
    if (piece == NULL) return NULL;
    piece->op = op;
    piece->home = d->core;
    piece->dest = dest;
    piece->shards = piece->items;
    piece->written = piece->items + count;
    piece->failed = piece->items + 2 * count;
    for (uint32_t s = 0; s < shards; s++)
        if (op->left[s] && d->dest_of[s] == dest) piece->shards[piece->count++] = s;
    return piece;
}

static void round_start_dest(struct delete_op *op, uint16_t dest) {
    bool any;
    struct delete_piece *piece = piece_new(op, dest, &any);
    if (piece == NULL) {
        if (any) err_set(&op->why, ERR_NOMEM, 0, "out of memory");
        return;
    }
    op->pieces_open++;
    list_push_back(&op->pieces, &piece->node);
    piece_start(op->d, piece);
}

static void round_start(struct delete_op *op) {
    struct distributor *d = op->d;
    unsigned dests = d->cores_count + d->options.map->nodes_count;
    op->waiting = false;
    op->why.code = OK;
    op->pieces_open++; /* held until all have started */
    for (unsigned dest = 0; dest < dests; dest++)
        round_start_dest(op, (uint16_t)dest);
    round_start_dest(op, DEST_NONE);
    op_piece_is_over(op);
}

static void op_on_retry(struct timer *t) {
    struct delete_op *op = container_of(t, struct delete_op, retry);
    if (op->waiting) round_start(op);
}

/* -- the beginning */

static void op_init(struct distributor *d, struct delete_op *op, bool is_served) {
    op->d = d;
    op->status = OK;
    op->text[0] = '\0';
    op->why = (struct err){.code = OK};
    op->pieces_open = 0;
    op->waiting = false;
    op->is_served = is_served;
    op->began_ns = core_mono_ns(d->core);
    list_init(&op->pieces);
    timer_init(&op->retry, d->core, op_on_retry);
    list_push_back(&d->deletes, &op->node);
    if (!is_served) d->deletes_count++;
    op->left = calloc(d->options.map->settings.shards_count, sizeof *op->left);
    op->left_count = op->asked_count = 0;
    if (op->left == NULL) err_set(&op->why, ERR_NOMEM, 0, "out of memory");
}

static void op_start(struct delete_op *op) {
    op->asked_count = op->left_count;
    if (op->why.code != OK)
        op_end_soon(op, op->why.code);
    else
        round_start(op);
}

void distributor_delete(struct distributor *d, struct delete_op *op) {
    assert(core_is_current(d->core) && d->options.gate != NULL);
    assert(op->ranges_count > 0 && op->ranges_count <= DELETE_RANGES_MAX);
    op_init(d, op, false);
    op->left_count = d->options.map->settings.shards_count;
    if (op->left != NULL) memset(op->left, 1, op->left_count);
    if (op->why.code == OK && d->deletes_count > DELETES_MAX)
        err_set(&op->why, ERR_UNAVAILABLE, 0, "too many deletions are under way");
    op_start(op);
}

/* -- the other side */

struct peer_delete {
    struct delete_op op;
    struct arena arena;
    struct buf payload;
    struct peer_request *req; /* NULL once the asker has gone; the deletion goes on */
};

static void peer_delete_free(struct peer_delete *p) {
    free(p->op.left);
    arena_fini(&p->arena);
    buf_fini(&p->payload);
    free(p);
}

static void peer_delete_on_gone(struct peer_request *req) {
    ((struct peer_delete *)req->user)->req = NULL;
}

static void peer_delete_done(struct core *here, struct delete_op *op) {
    (void)here;
    struct peer_delete *p = container_of(op, struct peer_delete, op);
    uint32_t *failed = arena_array(&p->arena, (size_t)op->left_count + 1, sizeof *failed);
    if (p->req != NULL && failed == NULL) {
        peer_reply_error(p->req, ERR_NOMEM, "out of memory");
    } else if (p->req != NULL) {
        struct delete_reply reply = {.failed = failed, .status = op->why.code};
        for (uint32_t s = 0; reply.failed_count < op->left_count; s++)
            if (op->left[s]) failed[reply.failed_count++] = s;
        snprintf(reply.text, sizeof reply.text, "%.*s", (int)sizeof reply.text - 1, op->why.msg);
        struct buf out = {0};
        delete_reply_put(&reply, &out);
        peer_reply(p->req, &out, true);
    }
    peer_delete_free(p);
}

static enum status peer_delete_read(struct distributor *d, struct peer_delete *p, struct sv payload,
                                    struct delete_frame *out, struct err *err) {
    buf_put_sv(&p->payload, payload); /* ranges' matchers point into it beyond this call */
    if (p->payload.failed) return err_set(err, ERR_NOMEM, 0, "out of memory");
    if (d->stopping) return err_set(err, ERR_UNAVAILABLE, 0, "this node is stopping");
    TRY(delete_frame_get(buf_sv(&p->payload), &p->arena, out, err));
    if (out->shards[out->shards_count - 1] < d->options.map->settings.shards_count) return OK;
    return err_set(err, ERR_CONFLICT, 0, "delete frame: shard %" PRIu32 ", but there are %" PRIu32,
                   out->shards[out->shards_count - 1], d->options.map->settings.shards_count);
}

void deletes_on_frame(struct peer_request *req, struct sv payload, void *ctx) {
    struct distributor *d = ctx;
    struct peer_delete *p = calloc(1, sizeof *p);
    struct delete_frame frame;
    struct err err;
    if (p == NULL) {
        peer_reply_error(req, ERR_NOMEM, "out of memory");
        return;
    }
    arena_init(&p->arena, 0);
    if (peer_delete_read(d, p, payload, &frame, &err) != OK) {
        peer_reply_error(req, err.code, err.msg);
        peer_delete_free(p);
        return;
    }
    p->req = req;
    req->user = p;
    req->gone = peer_delete_on_gone;
    p->op.ranges = frame.ranges;
    p->op.ranges_count = frame.ranges_count;
    p->op.done = peer_delete_done;
    op_init(d, &p->op, true);
    for (size_t i = 0; p->op.left != NULL && i < frame.shards_count; i++)
        p->op.left[frame.shards[i]] = 1;
    p->op.left_count = p->op.left == NULL ? 0 : (uint32_t)frame.shards_count;
    op_start(&p->op);
}

/* -- what happens to the distributor */

void deletes_wake(struct distributor *d) {
    LIST_FOREACH(n, &d->deletes) {
        struct delete_op *op = container_of(n, struct delete_op, node);
        if (op->waiting) timer_start(&op->retry, 0);
    }
}

static void remote_give_up(struct distributor *d, struct delete_piece *piece, const char *why) {
    if (piece->call == NULL) return;
    const struct ring_map *map = d->options.map;
    int node = ring_map_node_index(map, piece->to);
    if (!d->stopping && node >= 0 && !(map->nodes[node].flags & RING_NODE_DOWN)) return;
    peer_call_cancel(piece->call);
    piece->call = NULL;
    piece->status = err_set(&piece->err, ERR_UNAVAILABLE, 0, "%s", why);
    piece_done(piece);
}

/* A piece that is given up may end its round, which only arms a timer or posts a message. */
static void remotes_give_up(struct distributor *d, const char *why) {
    LIST_FOREACH(o, &d->deletes) {
        struct delete_op *op = container_of(o, struct delete_op, node);
        LIST_FOREACH_SAFE(n, &op->pieces)
        remote_give_up(d, container_of(n, struct delete_piece, node), why);
    }
}

void deletes_on_map(struct distributor *d) {
    remotes_give_up(d, "the node is down");
}

void deletes_stop(struct distributor *d) {
    remotes_give_up(d, "this node is stopping");
    LIST_FOREACH(n, &d->deletes) {
        struct delete_op *op = container_of(n, struct delete_op, node);
        if (op->waiting) op_end_soon(op, ERR_UNAVAILABLE);
    }
}

void deletes_free(struct distributor *d) {
    struct list_node *n;
    while ((n = list_pop_front(&d->deletes)) != NULL) {
        struct delete_op *op = container_of(n, struct delete_op, node);
        timer_stop(&op->retry);
        while (!list_is_empty(&op->pieces))
            piece_free(container_of(op->pieces.next, struct delete_piece, node));
        if (op->is_served)
            peer_delete_free(container_of(op, struct peer_delete, op));
        else
            free(op->left);
    }
}
