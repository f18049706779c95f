/* SPDX-License-Identifier: Apache-2.0 */
/* A follower: takes entries of the epoch's primary, and answers when they are durable and applied.
 */
#include <assert.h>
#include <stdlib.h>

#include "ring/replica/loss.h"
#include "ring/replica/serve.h"

/* -- requests that all cores do a part of */

static void served_free(struct served *s) {
    list_remove(&s->node);
    for (size_t i = 0; i < s->parts_count; i++) {
        buf_fini(&s->parts[i].answer);
        free(s->parts[i].from);
        if (s->parts[i].loss != NULL) buf_fini(&s->parts[i].loss->out);
        free(s->parts[i].loss);
    }
    free(s->parts);
    free(s->items);
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

static void served_end(struct served *s) {
    if (s->req != NULL) peer_reply(s->req, &s->answer, true);
    served_free(s);
}

static void part_at_home(struct core *here, struct msg *m) {
    (void)here;
    struct served_part *part = container_of(m, struct served_part, msg);
    struct served *s = part->served;
    buf_put_sv(&s->answer, buf_sv(&part->answer));
    if (part->answer.failed) s->answer.failed = true;
    assert(s->parts_open > 0);
    if (--s->parts_open == 0) served_end(s);
}

void served_part_done(struct served_part *part) {
    part->msg.run = part_at_home;
    core_post(part->served->replicas->core, &part->msg);
}

/* NULL: the asker was told why. */
static struct served *served_new(struct replicas *r, struct peer_request *req, struct sv payload) {
    struct runtime *rt = r->core->rt;
    struct served *s = calloc(1, sizeof *s);
    struct err err;
    enum status st = wire_open(&payload, &err);
    if (s != NULL) s->parts = calloc(rt->cores_count, sizeof *s->parts);
    if (s != NULL) buf_put_sv(&s->payload, payload);
    if (st == OK && (s == NULL || s->parts == NULL || s->payload.failed))
        st = err_set(&err, ERR_NOMEM, 0, "out of memory");
    if (st == OK && r->stopping) st = err_set(&err, ERR_UNAVAILABLE, 0, "this node is stopping");
    if (st != OK) {
        peer_reply_error(req, st, err.msg);
        if (s == NULL) return NULL;
        free(s->parts);
        buf_fini(&s->payload);
        free(s);
        return NULL;
    }
    s->replicas = r;
    s->req = req;
    s->from = req->from;
    wire_begin(&s->answer);
    req->user = s;
    req->gone = served_on_gone;
    list_push_back(&r->served, &s->node);
    s->parts_count = rt->cores_count;
    for (unsigned i = 0; i < rt->cores_count; i++)
        s->parts[i] = (struct served_part){
            .served = s, .core = rt->cores[i], .first = ITEM_NONE, .last = ITEM_NONE};
    return s;
}

static void served_post(struct served_part *part, void (*run)(struct core *here, struct msg *m)) {
    part->msg.run = run;
    core_post(part->core, &part->msg);
}

void served_by_all(struct replicas *r, struct peer_request *req, struct sv payload,
                   void (*run)(struct core *here, struct msg *m)) {
    struct served *s = served_new(r, req, payload);
    if (s == NULL) return;
    s->parts_open = s->parts_count;
    for (size_t i = 0; i < s->parts_count; i++)
        served_post(&s->parts[i], run);
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

static uint32_t own_copy(const struct shard *s, bool tail) {
    return tail && s->is_init ? s->copy - 1 : s->copy;
}

static enum wire_result check_copy(const struct shard *s, const struct append_item *item) {
    uint32_t own = own_copy(s, (item->flags & APPEND_TAIL) != 0);
    if (item->copy == own) return RESULT_OK;
    return item->copy > own ? RESULT_LATER : RESULT_STALE;
}

static enum wire_result follow_target(struct replicas *r, const struct append_item *item, bool tail,
                                      uint64_t *position) {
    if (item->entries.len == 0) return RESULT_OK;
    struct err err;
    uint64_t at;
    enum status st =
        r->o.store->follow(r->o.store->ctx, item->shard, own_copy(shard_at(r, item->shard), tail),
                           tail, item->entries, &at, &err);
    if (st == ERR_CONFLICT) return RESULT_GAP;
    if (st != OK) return RESULT_FAILED;
    *position = MAX(*position, at); /* what is new goes through replicas_block, too */
    return RESULT_OK;
}

static void append_refuse(const struct append_item *item, enum wire_result result,
                          struct buf *answer) {
    struct append_answer a = {
        .shard = item->shard, .targets = item->flags & 3, .result = (uint8_t)result};
    append_answer_put(&a, answer);
}

/* shard_check_asker by what the shard keeps of the map; the asker as its node's index. */
static enum wire_result check_primary(const struct shard *s, uint32_t epoch, int from) {
#ifdef PLANT_ACCEPT_STALE_EPOCH
    if (epoch < s->epoch) return RESULT_OK;
#endif
    if (epoch != s->epoch) return epoch < s->epoch ? RESULT_STALE : RESULT_LATER;
    return s->primary == from ? RESULT_OK : RESULT_FOREIGN;
}

static void follow_item(struct replicas *r, struct served_part *part, int from,
                        const struct append_item *item, uint64_t *position) {
    struct shard *s = shard_at(r, item->shard);
    enum wire_result result =
        s->role == ROLE_NONE ? shard_check_asker(r, item->shard, item->epoch, part->served->from)
                             : check_primary(s, item->epoch, from);
    if (result == RESULT_OK && s->role != ROLE_FOLLOWER) result = RESULT_FOREIGN;
    /* What is taken under another copy number than the primary means is void with the next map. */
    if (result == RESULT_OK) result = check_copy(s, item);
    if (result == RESULT_OK && (item->flags & APPEND_WHOLE))
        result = follow_target(r, item, false, position);
    if (result == RESULT_OK && (item->flags & APPEND_TAIL))
        result = follow_target(r, item, true, position);
    if (result != RESULT_OK) {
        append_refuse(item, result, &part->answer);
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

/* From item i of the part on; returns the first that was not looked at. */
static uint32_t items_ahead(struct replicas *r, const struct served *s, uint32_t i) {
    struct store_ahead ahead[STORE_AHEAD_MAX];
    size_t count = 0;
    for (; i != ITEM_NONE && count < STORE_AHEAD_MAX; i = s->items[i].next) {
        const struct append_item *item = &s->items[i].item;
        if (item->shard < r->shards_count) shard_prefetch(r, item->shard);
        ahead[count++] = (struct store_ahead){item->shard, item->entries};
    }
    r->o.store->follow_ahead(r->o.store->ctx, ahead, count);
    return i;
}

static void append_items(struct replicas *r, struct served_part *part, uint64_t *position) {
    const struct store_ops *ops = r->o.store;
    const struct served *s = part->served;
    int from = r->map == NULL ? -1 : ring_map_node_index(r->map, s->from);
    if (ops->follow_begin != NULL) ops->follow_begin(ops->ctx);
    uint32_t unseen = part->first;
    for (uint32_t i = part->first; i != ITEM_NONE; i = s->items[i].next) {
        if (i == unseen && ops->follow_ahead != NULL) unseen = items_ahead(r, s, i);
        const struct append_item *item = &s->items[i].item;
        /* while a map is being installed, the listening core may take it for another's */
        if (item->shard >= r->shards_count || r->core_of[item->shard] != r->core->index)
            append_refuse(item, RESULT_LATER, &part->answer);
        else
            follow_item(r, part, from, item, position);
    }
    if (ops->follow_end != NULL) ops->follow_end(ops->ctx);
    if (r->follow_failed) part->answer.failed = true;
    r->follow_failed = false;
}

static void append_run(struct core *here, struct msg *m) {
    struct served_part *part = container_of(m, struct served_part, msg);
    struct replicas *r = replicas_of(here);
    uint64_t position = 0;
    if (r == NULL)
        part->answer.failed = true;
    else
        append_items(r, part, &position);
#ifdef PLANT_ACK_BEFORE_APPLY
    served_part_done(part);
    return;
#endif
    if (position == 0)
        served_part_done(part);
    else
        replicas_wait_position(r, &part->wait, position, append_durable);
}

static bool items_grow(struct served *s) {
    uint32_t cap = s->items_cap == 0 ? 64 : s->items_cap * 2;
    struct served_item *items = realloc(s->items, cap * sizeof *items);
    if (items == NULL) return false;
    s->items = items;
    s->items_cap = cap;
    return true;
}

/* To the core that has its shard. */
static void item_deal(struct replicas *r, struct served *s) {
    uint32_t i = s->items_count++;
    const struct append_item *item = &s->items[i].item;
    uint16_t core = item->shard < r->shards_count ? r->core_of[item->shard] : 0xffff;
    s->items[i].next = ITEM_NONE;
    if (core >= s->parts_count) {
        append_refuse(item, RESULT_FOREIGN, &s->answer);
        return;
    }
    struct served_part *part = &s->parts[core];
    if (part->first == ITEM_NONE)
        part->first = i;
    else
        s->items[part->last].next = i;
    part->last = i;
}

void served_append(struct replicas *r, struct peer_request *req, struct sv payload) {
    struct served *s = served_new(r, req, payload);
    if (s == NULL) return;
    struct sv rest = buf_sv(&s->payload);
    while (rest.len > 0 && !s->answer.failed) {
        if ((s->items_count == s->items_cap && !items_grow(s)) ||
            append_item_get(&rest, &s->items[s->items_count].item, NULL) != OK)
            s->answer.failed = true;
        else
            item_deal(r, s);
    }
    s->parts_open = 1; /* held until all are under way */
    for (size_t i = 0; i < s->parts_count && !s->answer.failed; i++) {
        if (s->parts[i].first == ITEM_NONE) continue;
        s->parts_open++;
        served_post(&s->parts[i], append_run);
    }
    if (--s->parts_open == 0) served_end(s);
}
