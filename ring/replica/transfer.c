/* SPDX-License-Identifier: Apache-2.0 */
/* Members that hold nothing, of shards whose log here begins at a base: what is before it goes to
 * them as opaque pieces (store_ops.h), one at a time, for some shards of a node together; then they
 * are asked anew what they hold, and the log does the rest.
 *   FRAME_TRANSFER  ask     v stream, v number of the piece,
 *                           with the first: v count, { v shard, v epoch, v copy },
 *                           then the piece
 *                   answer  u8 result (RESULT_OK: taken)
 * Behind the version byte of wire.h. */
#include <assert.h>
#include <inttypes.h>
#include <stdlib.h>

#include "node/base/bytes.h"
#include "node/base/log.h"
#include "ring/replica/internal.h"
#include "ring/replica/sync.h"

enum { TRANSFER_SHARDS_MAX = 64, TRANSFER_TIMEOUT_MS = 60000, TAKING_IDLE_MS = 90000 };
enum { HELD_TEXT_BYTES = 200, HELD_TELL_MS = 60000 };

/* -- giving */

struct transfer {
    struct list_node node; /* of replicas->transfers */
    struct store_export export_;
    struct far *far; /* NULL: nobody cares any more */
    struct replicas *replicas;
    uint32_t shards[TRANSFER_SHARDS_MAX], copies[TRANSFER_SHARDS_MAX];
    size_t count;
    uint64_t stream, number;
    struct peer_call *call;
    bool failed;
};

static struct member *transfer_member(struct transfer *t, size_t i) {
    if (t->far == NULL) return NULL;
    struct shard *s = shard_at(t->replicas, t->shards[i]);
    if (s->role != ROLE_OPEN && s->role != ROLE_PROMOTING) return NULL;
    struct member *m = shard_member(s, far_index(t->far), false);
    return m != NULL && m->reading && m->copy == t->copies[i] ? m : NULL;
}

static void transfer_on_reply(void *ctx, enum status status, struct sv part, bool last,
                              const struct err *err) {
    struct transfer *t = ctx;
    struct replicas *r = t->replicas;
    if (status == OK && !last) peer_call_cancel(t->call);
    t->call = NULL;
    bool ok = status == OK && last && wire_open(&part, NULL) == OK && part.len == 1 &&
              part.ptr[0] == RESULT_OK;
    if (!ok) {
        log_warnf("shards could not be given to another node", "err", "%s",
                  err != NULL ? err->msg : "it refused them");
        t->failed = true;
    }
    r->o.store->export_resume(r->o.store->ctx, &t->export_);
}

static bool transfer_piece(struct store_export *x, struct sv bytes) {
    struct transfer *t = container_of(x, struct transfer, export_);
    struct replicas *r = t->replicas;
    if (t->failed || t->far == NULL || r->stopping) return false;
    struct buf payload = {0};
    wire_begin(&payload);
    buf_put_varint(&payload, t->stream);
    buf_put_varint(&payload, t->number);
    if (t->number++ == 0) {
        buf_put_varint(&payload, t->count);
        for (size_t i = 0; i < t->count; i++) {
            buf_put_varint(&payload, t->shards[i]);
            buf_put_varint(&payload, shard_at(r, t->shards[i])->epoch);
            buf_put_varint(&payload, t->copies[i]);
        }
    }
    buf_put_sv(&payload, bytes);
    struct peer_call_options o = {.to = t->far->id,
                                  .type = FRAME_TRANSFER,
                                  .timeout_ms = TRANSFER_TIMEOUT_MS,
                                  .reply = transfer_on_reply,
                                  .ctx = t};
    t->call = peers_call(r->o.peers, &o, &payload);
    return true;
}

static void transfer_free(struct transfer *t) {
    list_remove(&t->node);
    free(t);
}

static void transfer_done(struct store_export *x, enum status status, const struct err *err) {
    struct transfer *t = container_of(x, struct transfer, export_);
    struct replicas *r = t->replicas;
    struct far *far = t->far;
    if (status != OK && !t->failed)
        log_warnf("shards could not be given to another node", "err", "%s", err->msg);
    if (far != NULL) far->transfer = NULL;
    for (size_t i = 0; i < t->count; i++) {
        struct member *m = transfer_member(t, i);
        if (m == NULL) continue;
        m->reading = false;
        member_lost(r, t->shards[i], m);
    }
    bool ok = status == OK && !t->failed;
    transfer_free(t);
    if (far == NULL || r->stopping) return;
    if (!ok) {
        far_broke(far);
        return;
    }
    far_ask(far);
    transfer_start(far);
}

bool transfer_is_needed(struct replicas *r, uint32_t shard, const struct member *m) {
    struct shard_held held = {0};
    if (m->has_log || m->tail || shard_at(r, shard)->own_tail) return false;
    r->o.store->held(r->o.store->ctx, shard, false, &held);
    return held.based;
}

uint64_t stream_new(struct replicas *r) {
    return (uint64_t)r->o.incarnation << 32 | (uint64_t)r->core->index << 24 |
           (++r->streams & 0xffffff);
}

/* One that is bad would hold up all that go with it. Without a replica that it can be fetched from
 * it is for people to say what becomes of it (loss.h). */
static bool hold_bad(struct replicas *r, uint32_t shard, struct buf *out_lost) {
    if (!r->o.store->has_bad(r->o.store->ctx) || !sync_is_bad(r, shard)) return false;
    r->holds_bad = true;
    if (!sync_has_source(r, shard) && out_lost->len < HELD_TEXT_BYTES)
        buf_printf(out_lost, "%s%" PRIu32, out_lost->len == 0 ? "" : ", ", shard);
    return true;
}

static void tell_held(struct replicas *r, struct buf *lost) {
    uint64_t now_ns = core_mono_ns(r->core);
    const char *shards = lost->len == 0 ? NULL : buf_cstr(lost);
    bool again = now_ns - r->holds_told_ns > HELD_TELL_MS * UINT64_C(1000000);
    if (shards != NULL && (r->holds_told_ns == 0 || again)) {
        log_errorf("shards are held back here: they have bad blocks, and nobody else has these; "
                   "cairnctl ring accept-loss gives up what is bad",
                   "shards", "%s", shards);
        r->holds_told_ns = now_ns;
    }
    buf_fini(lost);
}

void transfers_look(struct replicas *r) {
    r->holds_bad = false;
    for (size_t i = 0; i < r->fars_count; i++) {
        struct far *far = r->fars[i];
        if (far->users == 0) continue;
        if (far->transfer != NULL || far->broken) r->holds_bad = true; /* looked at again */
        transfer_start(far);
    }
}

void transfer_start(struct far *far) {
    struct replicas *r = far->replicas;
    struct buf lost = {0};
    if (far->transfer != NULL || r->stopping || far->broken) return;
    struct transfer *t = calloc(1, sizeof *t);
    if (t == NULL) return;
    *t = (struct transfer){.far = far, .replicas = r, .stream = stream_new(r)};
    list_push_back(&r->transfers, &t->node);
    uint16_t index = far_index(far);
    for (uint32_t i = 0; i < r->shards_count && t->count < TRANSFER_SHARDS_MAX; i++) {
        struct shard *s = shard_at(r, i);
        if (s->role != ROLE_OPEN && !(s->role == ROLE_PROMOTING && s->opening)) continue;
        struct member *m = shard_member(s, index, false);
        if (m == NULL || m->state != MEMBER_BEHIND || m->diverged || m->reading ||
            !transfer_is_needed(r, i, m) || hold_bad(r, i, &lost))
            continue;
        m->reading = true;
        t->shards[t->count] = i;
        t->copies[t->count++] = m->copy;
    }
    tell_held(r, &lost);
    if (t->count == 0) {
        transfer_free(t);
        return;
    }
    far->transfer = t;
    metric_add(r->metrics.transfers, 1);
    t->export_ = (struct store_export){.shards = t->shards,
                                       .shards_count = t->count,
                                       .piece = transfer_piece,
                                       .done = transfer_done};
    struct err err;
    if (r->o.store->export_start(r->o.store->ctx, &t->export_, &err) != OK)
        transfer_done(&t->export_, err.code, &err);
}

void transfer_stop(struct far *far) {
    struct transfer *t = far->transfer;
    if (t == NULL) return;
    far->transfer = NULL;
    t->far = NULL;
    t->failed = true;
    if (t->call == NULL) return; /* a piece is being read; it finds nobody */
    peer_call_cancel(t->call);
    t->call = NULL;
    t->replicas->o.store->export_resume(t->replicas->o.store->ctx, &t->export_);
}

/* -- taking */

struct taking {
    struct list_node node; /* of replicas->takings */
    struct replicas *replicas;
    node_id from;
    uint64_t stream, number;
    struct import_shard *shards;
    size_t count;
    struct store_import import;
    struct peer_request
        *req; /* of the piece that is being taken; NULL: the asker is gone, or none */
    bool busy, ended;
    struct timer idle;
};

static void taking_free(struct taking *t) {
    timer_stop(&t->idle);
    list_remove(&t->node);
    free(t->shards);
    free(t);
}

static void taking_end(struct taking *t) {
    t->replicas->o.store->import_stop(t->replicas->o.store->ctx, &t->import);
    taking_free(t);
}

static void taking_on_idle(struct timer *timer) {
    struct taking *t = container_of(timer, struct taking, idle);
    if (t->busy)
        timer_start(&t->idle, TAKING_IDLE_MS);
    else
        taking_end(t);
}

static void taking_on_gone(struct peer_request *req) {
    ((struct taking *)req->user)->req = NULL;
}

static void taking_on_taken(struct store_import *import, enum status status, bool last,
                            const struct err *err) {
    struct taking *t = container_of(import, struct taking, import);
    struct peer_request *req = t->req;
    t->busy = false;
    t->req = NULL;
    if (status != OK)
        log_warnf("shards could not be taken from another node", "err", "%s", err->msg);
    if (req != NULL && status != OK) {
        peer_reply_error(req, status, err->msg);
    } else if (req != NULL) {
        struct buf answer = {0};
        wire_begin(&answer);
        buf_put_u8(&answer, RESULT_OK);
        peer_reply(req, &answer, true);
    }
    if (status != OK || last)
        taking_end(t);
    else
        timer_start(&t->idle, TAKING_IDLE_MS);
}

static struct taking *taking_find(struct replicas *r, node_id from, uint64_t stream) {
    LIST_FOREACH(n, &r->takings) {
        struct taking *t = container_of(n, struct taking, node);
        if (t->from == from && t->stream == stream) return t;
    }
    return NULL;
}

/* The first piece: which shards, under which copy numbers. */
static enum status taking_begin(struct replicas *r, struct peer_request *req, struct reader *rd,
                                uint64_t stream, struct taking **out) {
    uint64_t count = read_varint(rd);
    if (rd->failed || count == 0 || count > TRANSFER_SHARDS_MAX) return ERR_CORRUPT;
    struct taking *t = calloc(1, sizeof *t);
    struct import_shard *shards = calloc((size_t)count, sizeof *shards);
    enum status status = t == NULL || shards == NULL ? ERR_NOMEM : OK;
    for (size_t i = 0; i < count && status == OK; i++) {
        uint64_t shard = read_varint(rd), epoch = read_varint(rd), copy = read_varint(rd);
        if (rd->failed || shard >= r->shards_count || copy > UINT32_MAX || epoch > UINT32_MAX ||
            (i > 0 && shard <= shards[i - 1].shard))
            status = ERR_CORRUPT;
        else if (shard_check_asker(r, (uint32_t)shard, (uint32_t)epoch, req->from) != RESULT_OK)
            status = ERR_CONFLICT;
        else
            shards[i] = (struct import_shard){(uint32_t)shard, (uint32_t)copy};
    }
    if (status != OK) {
        free(t);
        free(shards);
        return status;
    }
    *t = (struct taking){.replicas = r,
                         .from = req->from,
                         .stream = stream,
                         .shards = shards,
                         .count = (size_t)count};
    t->import = (struct store_import){
        .shards = shards, .shards_count = (size_t)count, .taken = taking_on_taken};
    struct err err;
    status = r->o.store->import_start(r->o.store->ctx, &t->import, &err);
    if (status != OK) {
        free(t);
        free(shards);
        return status;
    }
    timer_init(&t->idle, r->core, taking_on_idle);
    list_push_back(&r->takings, &t->node);
    *out = t;
    return OK;
}

void served_transfer(struct replicas *r, struct peer_request *req, struct sv payload) {
    struct err err;
    if (r->stopping || wire_open(&payload, &err) != OK) {
        peer_reply_error(req, ERR_UNAVAILABLE, r->stopping ? "this node is stopping" : err.msg);
        return;
    }
    struct reader rd = reader_init(payload.ptr, payload.len);
    uint64_t stream = read_varint(&rd), number = read_varint(&rd);
    struct taking *t = taking_find(r, req->from, stream);
    enum status status = rd.failed ? ERR_CORRUPT : OK;
    if (status == OK && number == 0 && t == NULL) status = taking_begin(r, req, &rd, stream, &t);
    if (status == OK && (t == NULL || t->busy || t->number != number)) status = ERR_CONFLICT;
    if (status != OK) {
        peer_reply_error(req, status, "the shards cannot be taken");
        return;
    }
    t->number++;
    t->busy = true;
    t->req = req;
    req->user = t;
    req->gone = taking_on_gone;
    timer_start(&t->idle, TAKING_IDLE_MS);
    r->o.store->import_piece(r->o.store->ctx, &t->import,
                             sv_make((const char *)rd.cur, reader_left(&rd)));
}

/* -- both */

void transfers_stop(struct replicas *r) {
    while (!list_is_empty(&r->takings))
        taking_end(container_of(r->takings.next, struct taking, node));
}

void transfers_free_all(struct replicas *r) {
    while (!list_is_empty(&r->takings))
        taking_free(container_of(r->takings.next, struct taking, node));
    while (!list_is_empty(&r->transfers))
        transfer_free(container_of(r->transfers.next, struct transfer, node));
}
