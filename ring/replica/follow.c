/* SPDX-License-Identifier: Apache-2.0 */
/* A follower: takes entries of the epoch's primary, and answers when they are durable and applied.
 */
#include <assert.h>
#include <stdlib.h>

#include "ring/replica/serve.h"

/* -- requests that all cores do a part of */

static void served_free(struct served *s) {
    list_remove(&s->node);
    for (size_t i = 0; i < s->parts_count; i++) {
        buf_fini(&s->parts[i].answer);
        free(s->parts[i].from);
    }
    free(s->parts);
    buf_fini(&s->payload);
    buf_fini(&s->answer);
    free(s);
}

void served_free_all(struct replicas *r) {
    while (!list_is_empty(&r->served))
        served_free(container_of(r->served.next, struct served, node));
}

static void served_on_gone(struct peer_request *req) {
    ((struct served *)req->user)->req = NULL;
}

static void part_at_home(struct core *here, struct msg *m) {
    (void)here;
    struct served_part *part = container_of(m, struct served_part, msg);
    struct served *s = part->served;
    buf_put_sv(&s->answer, buf_sv(&part->answer));
    if (part->answer.failed) s->answer.failed = true;
    s->handled += part->handled;
    assert(s->parts_open > 0);
    if (--s->parts_open > 0) return;
    /* while a map is being installed, a shard may be of no core: what nobody took is not taken */
    if (s->handled != part->items) s->answer.failed = true;
    if (s->req != NULL) peer_reply(s->req, &s->answer, true);
    served_free(s);
}

void served_part_done(struct served_part *part) {
    part->msg.run = part_at_home;
    core_post(part->served->replicas->core, &part->msg);
}

bool served_begin(struct replicas *r, struct peer_request *req, struct sv payload,
                  void (*run)(struct core *here, struct msg *m)) {
    struct runtime *rt = r->core->rt;
    struct served *s = calloc(1, sizeof *s);
    struct err err;
    enum status st = wire_open(&payload, &err);
    if (s != NULL) s->parts = calloc(rt->cores_count, sizeof *s->parts);
    if (st == OK && (s == NULL || s->parts == NULL))
        st = err_set(&err, ERR_NOMEM, 0, "out of memory");
    if (st == OK && r->stopping) st = err_set(&err, ERR_UNAVAILABLE, 0, "this node is stopping");
    if (st != OK) {
        peer_reply_error(req, st, err.msg);
        if (s != NULL) free(s->parts);
        free(s);
        return false;
    }
    s->replicas = r;
    s->req = req;
    s->from = req->from;
    s->run = run;
    buf_put_sv(&s->payload, payload);
    wire_begin(&s->answer);
    req->user = s;
    req->gone = served_on_gone;
    list_push_back(&r->served, &s->node);
    s->parts_count = s->parts_open = rt->cores_count;
    for (unsigned i = 0; i < rt->cores_count; i++) {
        s->parts[i] = (struct served_part){.msg = {.run = run}, .served = s, .core = rt->cores[i]};
        core_post(rt->cores[i], &s->parts[i].msg);
    }
    return true;
}

enum wire_result shard_check_asker(struct replicas *r, uint32_t shard, uint32_t epoch,
                                   node_id from) {
    const struct ring_shard *sh = &r->map->shards[shard];
#ifdef PLANT_ACCEPT_STALE_EPOCH
    if (epoch < sh->epoch && r->self >= 0 && ring_shard_replica(sh, r->self) >= 0) return RESULT_OK;
#endif
    if (epoch < sh->epoch) return RESULT_STALE;
    if (epoch > sh->epoch) return RESULT_LATER;
    if (r->map->nodes[ring_map_primary(r->map, shard)].id != from) return RESULT_FOREIGN;
    return r->self >= 0 && ring_shard_replica(sh, r->self) >= 0 ? RESULT_OK : RESULT_FOREIGN;
}

/* -- APPEND */

static uint32_t own_copy(const struct replicas *r, uint32_t shard, bool tail) {
    const struct ring_shard *sh = &r->map->shards[shard];
    const struct ring_replica *mine = &sh->replicas[ring_shard_replica(sh, r->self)];
    return tail && mine->state == REPLICA_INIT ? mine->copy - 1 : mine->copy;
}

static enum wire_result check_copy(const struct replicas *r, const struct append_item *item) {
    uint32_t own = own_copy(r, item->shard, (item->flags & APPEND_TAIL) != 0);
    if (item->copy == own) return RESULT_OK;
    return item->copy > own ? RESULT_LATER : RESULT_STALE;
}

static enum wire_result follow_target(struct replicas *r, const struct append_item *item, bool tail,
                                      uint64_t *position) {
    if (item->entries.len == 0) return RESULT_OK;
    struct err err;
    uint64_t at;
    enum status st =
        r->o.store->follow(r->o.store->ctx, item->shard, own_copy(r, item->shard, tail), tail,
                           item->entries, &at, &err);
    if (st == ERR_CONFLICT) return RESULT_GAP;
    if (st != OK) return RESULT_FAILED;
    *position = MAX(*position, at); /* what is new goes through replicas_block, too */
    return RESULT_OK;
}

static void follow_item(struct replicas *r, struct served_part *part,
                        const struct append_item *item, uint64_t *position) {
    struct shard *s = shard_at(r, item->shard);
    enum wire_result result = shard_check_asker(r, item->shard, item->epoch, part->served->from);
    if (result == RESULT_OK && s->role != ROLE_FOLLOWER) result = RESULT_FOREIGN;
    /* What is taken under another copy number than the primary means is void with the next map. */
    if (result == RESULT_OK) result = check_copy(r, item);
    if (result == RESULT_OK && (item->flags & APPEND_WHOLE))
        result = follow_target(r, item, false, position);
    if (result == RESULT_OK && (item->flags & APPEND_TAIL))
        result = follow_target(r, item, true, position);
    if (result != RESULT_OK) {
        struct append_answer a = {
            .shard = item->shard, .targets = item->flags & 3, .result = (uint8_t)result};
        append_answer_put(&a, &part->answer);
        return;
    }
    if (place_cmp(item->settled, s->settled) > 0) {
        s->settled = item->settled;
        struct place upto = place_cmp(s->settled, s->own) < 0 ? s->settled : s->own;
        shard_release(r, item->shard, upto);
    }
    if ((item->flags & APPEND_OPEN) && (item->flags & APPEND_WHOLE)) {
        s->told_open = item->epoch;
        replicas_complete(r, item->shard);
    }
}

static void append_durable(struct position_wait *w, enum status status) {
    struct served_part *part = container_of(w, struct served_part, wait);
    if (status != OK) part->answer.failed = true; /* the whole request is answered with an error */
    served_part_done(part);
}

static void append_run(struct core *here, struct msg *m) {
    struct served_part *part = container_of(m, struct served_part, msg);
    struct replicas *r = replicas_of(here);
    struct sv rest = buf_sv(&part->served->payload);
    uint64_t position = 0;
    const struct store_ops *ops = r == NULL ? NULL : r->o.store;
    if (ops != NULL && ops->follow_begin != NULL) ops->follow_begin(ops->ctx);
    while (rest.len > 0) {
        struct append_item item;
        if (append_item_get(&rest, &item, NULL) != OK) {
            part->answer.failed = true;
            break;
        }
        if (r == NULL || item.shard >= r->shards_count) continue;
        if (r->core_of[item.shard] != here->index) {
            /* nobody's: the first core tells */
            if (here->index == 0 && r->core_of[item.shard] == 0xffff) {
                struct append_answer a = {
                    .shard = item.shard, .targets = item.flags & 3, .result = RESULT_FOREIGN};
                append_answer_put(&a, &part->answer);
            }
            continue;
        }
        follow_item(r, part, &item, &position);
    }
    if (ops != NULL && ops->follow_end != NULL) ops->follow_end(ops->ctx);
    if (r != NULL && r->follow_failed) part->answer.failed = true;
    if (r != NULL) r->follow_failed = false;
#ifdef PLANT_ACK_BEFORE_APPLY
    served_part_done(part);
    return;
#endif
    if (position == 0)
        served_part_done(part);
    else
        replicas_wait_position(r, &part->wait, position, append_durable);
}

void served_append(struct replicas *r, struct peer_request *req, struct sv payload) {
    served_begin(r, req, payload, append_run);
}
