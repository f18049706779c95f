/* SPDX-License-Identifier: Apache-2.0 */
#include "ring/replica/loss.h"

#include <stdlib.h>

#include "node/base/bytes.h"
#include "ring/replica/ranges.h"
#include "ring/replica/serve.h"
#include "ring/replica/sync.h"

/* -- bytes */

void loss_ask_put(const struct loss_ask *ask, struct buf *out) {
    wire_begin(out);
    buf_put_u8(out, ask->accept);
    buf_put_varint(out, ask->only == LOSS_ALL ? 0 : (uint64_t)ask->only + 1);
}

enum status loss_ask_get(struct sv items, struct loss_ask *out, struct err *err) {
    struct reader r = reader_init(items.ptr, items.len);
    uint8_t bits = read_u8(&r);
    uint64_t only = read_varint(&r);
    bool accept = bits == 1;
    if (r.failed || reader_left(&r) > 0 || bits > 1 || only > UINT32_MAX || (accept && only == 0))
        return err_set(err, ERR_CORRUPT, 0, "replica: a malformed ask about a loss");
    *out = (struct loss_ask){accept, only == 0 ? LOSS_ALL : (uint32_t)only - 1};
    return OK;
}

void loss_item_put(const struct loss_item *item, struct buf *out) {
    buf_put_varint(out, item->shard);
    buf_put_u8(out, (uint8_t)item->what);
    buf_put_zigzag(out, item->span.min_ms);
    buf_put_zigzag(out, item->span.max_ms);
    buf_put_lenstr(out, item->text);
}

enum status loss_item_get(struct sv *rest, struct loss_item *out, struct err *err) {
    struct reader r = reader_init(rest->ptr, rest->len);
    uint64_t shard = read_varint(&r);
    uint8_t what = read_u8(&r);
    int64_t min_ms = read_zigzag(&r), max_ms = read_zigzag(&r);
    struct sv text = read_lenstr(&r);
    if (r.failed || shard >= RING_SHARDS_MAX || what < LOSS_BAD || what > LOSS_FAILED)
        return err_set(err, ERR_CORRUPT, 0, "replica: a malformed item of a loss");
    *out = (struct loss_item){
        (uint32_t)shard, (enum loss_what)what, {.min_ms = min_ms, .max_ms = max_ms}, text};
    *rest = sv_make((const char *)r.cur, reader_left(&r));
    return OK;
}

/* -- on the core */

static bool leads(const struct replicas *r, uint32_t shard) {
    const struct shard *s = &r->shards[shard];
    return s->complete && !s->own_tail && (s->role == ROLE_OPEN || s->role == ROLE_PROMOTING);
}

/* true: there is something that nobody else has. */
static bool shard_tell(struct replicas *r, uint32_t shard, struct buf *out) {
    struct shard_ranges own = {0};
    bool asked = sync_has_source(r, shard), any = false;
    if (r->o.store->ranges(r->o.store->ctx, shard, &own, NULL) == OK) {
        for (uint32_t i = 0; i < own.count; i++) {
            const struct shard_range *range = &own.at[i];
            if (range->kind != RANGE_BAD) continue;
            loss_item_put(&(struct loss_item){.shard = shard,
                                              .what = asked ? LOSS_ASKED : LOSS_BAD,
                                              .span = {range->min_ms, range->max_ms}},
                          out);
            any = !asked;
        }
    }
    ranges_fini(&own);
    return any;
}

static void call_fail(struct loss_call *call, const struct err *why) {
    buf_clear(&call->out);
    loss_item_put(&(struct loss_item){.shard = call->ask.only,
                                      .what = LOSS_FAILED,
                                      .text = sv_from(why->msg)},
                  &call->out);
}

static void call_accepted(struct store_loss *job, enum status status, const struct err *err) {
    struct loss_call *call = container_of(job, struct loss_call, job);
    struct replicas *r = call->replicas;
    if (status != OK) {
        call_fail(call, err);
    } else {
        buf_clear(&call->out);
        for (uint32_t i = 0; i < job->lost_count; i++) {
            const char *kept = job->lost[i].kept;
            loss_item_put(&(struct loss_item){.shard = call->ask.only,
                                              .what = LOSS_ACCEPTED,
                                              .span = job->lost[i].span,
                                              .text = sv_from(kept == NULL ? "" : kept)},
                          &call->out);
        }
        transfers_look(r);
    }
    call->done(call);
}

void replicas_loss(struct replicas *r, struct loss_call *call) {
    struct err err;
    bool any = false;
    call->replicas = r;
    for (uint32_t i = 0; i < r->shards_count && r->o.store->has_bad(r->o.store->ctx); i++)
        if ((call->ask.only == LOSS_ALL || call->ask.only == i) && leads(r, i))
            any = shard_tell(r, i, &call->out) || any;
    if (any && call->ask.accept && !r->stopping) {
        call->job = (struct store_loss){.shard = call->ask.only, .done = call_accepted};
        if (r->o.store->loss_start(r->o.store->ctx, &call->job, &err) == OK) return;
        call_fail(call, &err);
    }
    call->done(call);
}

/* -- for another node */

static void part_done(struct loss_call *call) {
    struct served_part *part = call->user;
    buf_put_sv(&part->answer, buf_sv(&call->out));
    if (call->out.failed) part->answer.failed = true;
    served_part_done(part);
}

static void loss_run(struct core *here, struct msg *m) {
    struct served_part *part = container_of(m, struct served_part, msg);
    part->loss = calloc(1, sizeof *part->loss);
    if (part->loss == NULL ||
        loss_ask_get(buf_sv(&part->served->payload), &part->loss->ask, NULL) != OK) {
        part->answer.failed = true;
        served_part_done(part);
        return;
    }
    part->loss->done = part_done;
    part->loss->user = part;
    replicas_loss(replicas_of(here), part->loss);
}

void served_loss(struct replicas *r, struct peer_request *req, struct sv payload) {
    served_by_all(r, req, payload, loss_run);
}
