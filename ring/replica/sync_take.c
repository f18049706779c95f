/* SPDX-License-Identifier: Apache-2.0 */
/* Ranges of some shards taken from another replica, piece by piece. */
#include <assert.h>

#include "node/base/log.h"
#include "ring/replica/sound.h"
#include "ring/replica/syncing.h"

enum { PIECE_TIMEOUT_MS = 60000 };

static void take_next(struct sync *s);

/* The other replica has answered, and gives nothing. */
static void take_refused(struct sync *s) {
    for (size_t i = 0; i < s->count && s->aside; i++)
        sound_refused(s->r, s->shards[i].shard, s->from);
}

static void take_ended(struct sync *s, enum status status, const struct err *err) {
    struct replicas *r = s->r;
    r->o.store->import_stop(r->o.store->ctx, &s->import);
    if (status != OK) {
        log_warnf("ranges were not repaired, it is tried again", "err", "%s", err->msg);
        sync_fail(s);
        return;
    }
    for (size_t i = 0; i < s->count && s->import.refused == 0; i++)
        metric_add(s->differs[i] ? s->metrics.repaired_differs : s->metrics.repaired_bad, 1);
    if (s->import.refused == 0) {
        log_infof("ranges were repaired from another replica", "shards", "%zu", s->count);
        for (size_t i = 0; i < s->count; i++)
            verify_repaired(&s->verify, s->shards[i].shard, &s->spans[i]);
        s->attempts = 0;
        sync_pause(s, 0);
    } else {
        take_refused(s);
        sync_fail(s);
    }
}

static void take_on_taken(struct store_import *import, enum status status, bool last,
                          const struct err *err) {
    struct sync *s = container_of(import, struct sync, import);
    assert(s->state == SYNC_TAKING);
    if (status != OK || last)
        take_ended(s, status, err);
    else
        take_next(s);
}

static void take_on_reply(void *ctx, enum status status, struct sv part, bool last,
                          const struct err *err) {
    struct sync *s = ctx;
    struct replicas *r = s->r;
    struct err why;
    if (status == OK && !last) peer_call_cancel(s->call);
    s->call = NULL;
    if (status != OK)
        why = *err;
    else if (!last || wire_open(&part, &why) != OK || part.len < 1 || part.ptr[0] != RESULT_OK) {
        status = err_set(&why, ERR_UNAVAILABLE, 0, "the other replica cannot give them");
        take_refused(s);
    }
    if (status != OK)
        take_ended(s, status, &why);
    else
        r->o.store->import_piece(r->o.store->ctx, &s->import, sv_skip(part, 1));
}

static void take_next(struct sync *s) {
    struct replicas *r = s->r;
    struct buf payload = {0};
    wire_begin(&payload);
    repair_ask_put(&(struct repair_ask){.core = s->core, .stream = s->stream, .number = s->number},
                   &payload);
    for (size_t i = 0; i < s->count && s->number == 0; i++)
        repair_item_put(&(struct repair_item){s->shards[i].shard,
                                              shard_at(r, s->shards[i].shard)->epoch, s->spans[i]},
                        &payload);
    s->number++;
    struct peer_call_options o = {.to = s->from,
                                  .type = FRAME_REPAIR,
                                  .timeout_ms = PIECE_TIMEOUT_MS,
                                  .reply = take_on_reply,
                                  .ctx = s};
    s->call = peers_call(r->o.peers, &o, &payload);
}

void sync_take_begin(struct sync *s) {
    struct replicas *r = s->r;
    struct err err;
    s->state = SYNC_TAKING;
    s->stream = stream_new(r);
    s->number = 0;
    s->import = (struct store_import){
        .shards = s->shards, .shards_count = s->count, .spans = s->spans, .taken = take_on_taken};
    if (r->o.store->import_start(r->o.store->ctx, &s->import, &err) == OK) {
        take_next(s);
        return;
    }
    log_warnf("ranges were not repaired, it is tried again", "err", "%s", err.msg);
    sync_fail(s);
}
