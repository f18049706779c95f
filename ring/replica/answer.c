/* SPDX-License-Identifier: Apache-2.0 */
/* What is held here (PLACES), told when it is durable; and entries of it (FETCH). */
#include <assert.h>
#include <stdlib.h>

#include "ring/replica/serve.h"

static void places_durable(struct position_wait *w, enum status status) {
    struct served_part *part = container_of(w, struct served_part, wait);
    if (status != OK) part->answer.failed = true;
    served_part_done(part);
}

static void places_item(struct replicas *r, struct served_part *part,
                        const struct places_item *item) {
    struct places_answer a = {.shard = item->shard};
    a.result = (uint8_t)shard_check_asker(r, item->shard, item->epoch, part->served->from);
    if (a.result == RESULT_OK) {
        r->o.store->held(r->o.store->ctx, item->shard, false, &a.whole);
        r->o.store->held(r->o.store->ctx, item->shard, true, &a.tail);
    }
    places_answer_put(&a, &part->answer);
}

static void places_run(struct core *here, struct msg *m) {
    struct served_part *part = container_of(m, struct served_part, msg);
    struct replicas *r = replicas_of(here);
    struct sv rest = buf_sv(&part->served->payload);
    while (rest.len > 0 && r != NULL) {
        struct places_item item;
        if (places_item_get(&rest, &item, NULL) != OK) {
            part->answer.failed = true;
            break;
        }
        if (item.shard >= r->shards_count) continue;
        uint16_t core = r->core_of[item.shard];
        if (core == here->index || (core == 0xffff && here->index == 0))
            places_item(r, part, &item);
    }
    if (r == NULL)
        served_part_done(part);
    else
        replicas_wait_position(r, &part->wait, r->o.store->position(r->o.store->ctx),
                               places_durable);
}

void served_places(struct replicas *r, struct peer_request *req, struct sv payload) {
    served_by_all(r, req, payload, places_run);
}

/* -- FETCH: pieces go home one by one; the next is read when the one before was handed on */

static void fetch_resume(struct core *here, struct msg *m) {
    struct served_part *part = container_of(m, struct served_part, msg);
    struct replicas *r = replicas_of(here);
    r->o.store->read_resume(r->o.store->ctx, &part->read);
}

static void fetch_piece_home(struct core *here, struct msg *m) {
    (void)here;
    struct served_part *part = container_of(m, struct served_part, msg);
    struct served *s = part->served;
    if (s->req == NULL || !peer_reply(s->req, &part->answer, false)) {
        s->req = NULL;
        part->failed = true;
    }
    buf_clear(&part->answer);
    m->run = fetch_resume;
    core_post(part->core, m);
}

static bool fetch_piece(struct store_read *read, struct sv entries) {
    struct served_part *part = container_of(read, struct served_part, read);
    struct replicas *r = replicas_of(part->core);
    if (part->failed || r->stopping) return false;
    buf_clear(&part->answer);
    wire_begin(&part->answer);
    while (entries.len > 0) {
        struct entry_place e;
        struct sv rest = entries;
        if (r->o.store->entry_next(&rest, &e, NULL) != OK) return false;
        struct fetch_answer a = {.shard = e.shard,
                                 .result = RESULT_OK,
                                 .entries = sv_take(entries, entries.len - rest.len)};
        fetch_answer_put(&a, &part->answer);
        entries = rest;
    }
    part->msg.run = fetch_piece_home;
    core_post(part->served->replicas->core, &part->msg);
    return true;
}

static void fetch_done(struct store_read *read, enum status status, const struct err *err) {
    (void)status, (void)err;
    struct served_part *part = container_of(read, struct served_part, read);
    buf_clear(&part->answer);
    served_part_done(part);
}

static int from_cmp(const void *a, const void *b) {
    const struct store_read_from *x = a, *y = b;
    return (x->shard > y->shard) - (x->shard < y->shard);
}

static void fetch_run(struct core *here, struct msg *m) {
    struct served_part *part = container_of(m, struct served_part, msg);
    struct replicas *r = replicas_of(here);
    struct sv rest = buf_sv(&part->served->payload);
    size_t cap = 0;
    while (rest.len > 0 && r != NULL) {
        struct fetch_item item;
        if (fetch_item_get(&rest, &item, NULL) != OK) break;
        if (item.shard >= r->shards_count || r->core_of[item.shard] != here->index) continue;
        if (shard_check_asker(r, item.shard, item.epoch, part->served->from) != RESULT_OK) continue;
        if (part->from_count == cap) {
            cap = cap == 0 ? 8 : cap * 2;
            struct store_read_from *from = realloc(part->from, cap * sizeof *from);
            if (from == NULL) break;
            part->from = from;
        }
        part->from[part->from_count++] = (struct store_read_from){.shard = item.shard,
                                                                  .tail = item.tail,
                                                                  .from_start = item.from_start,
                                                                  .after = item.after};
    }
    if (part->from_count == 0) {
        served_part_done(part);
        return;
    }
    qsort(part->from, part->from_count, sizeof *part->from, from_cmp);
    part->read = (struct store_read){.from = part->from,
                                     .from_count = part->from_count,
                                     .piece_bytes_max = PIECE_BYTES,
                                     .piece = fetch_piece,
                                     .done = fetch_done};
    struct err err;
    if (r->o.store->read(r->o.store->ctx, &part->read, &err) != OK) served_part_done(part);
}

void served_fetch(struct replicas *r, struct peer_request *req, struct sv payload) {
    served_by_all(r, req, payload, fetch_run);
}
