/* SPDX-License-Identifier: Apache-2.0 */
/* What this node has of shards, told and given to other replicas. An export runs on the core that
 * has the shards; asks for its pieces come to any core. */
#include <assert.h>
#include <stdlib.h>

#include "node/base/bytes.h"
#include "node/base/log.h"
#include "ring/replica/serve.h"
#include "ring/replica/sync.h"

enum { GIVING_IDLE_MS = 30000, GIVINGS_MAX = 16 };

/* All of the shard is here, but it may not be read. */
static bool is_aside(const struct replicas *r, uint32_t shard) {
    const struct shard *s = &r->shards[shard];
    const struct ring_shard *sh = &r->map->shards[shard];
    int mine = r->self < 0 ? -1 : ring_shard_replica(sh, r->self);
    struct shard_held held = {0};
    if (mine < 0 || sh->replicas[mine].state != REPLICA_FULL || s->role != ROLE_FOLLOWER ||
        s->own_tail || !r->o.store->held(r->o.store->ctx, shard, false, &held))
        return false;
    return held.is_whole && !held.damaged && held.copy == sh->replicas[mine].copy;
}

/* By the map of both: another replica of the shard asks, and what is here is whole. ASIDE: it may
 * not be read, but the primary, which would give it up, may have what it lacks itself. */
static enum wire_result check_asker(const struct replicas *r, uint32_t shard, uint32_t epoch,
                                    node_id from) {
    const struct ring_shard *sh = &r->map->shards[shard];
    if (epoch != sh->epoch) return epoch < sh->epoch ? RESULT_STALE : RESULT_LATER;
    int node = ring_map_node_index(r->map, from);
    if (node < 0 || ring_shard_replica(sh, node) < 0) return RESULT_FOREIGN;
    if ((r->readable[shard / 64] >> (shard % 64) & 1) != 0) return RESULT_OK;
    return node == ring_map_primary(r->map, shard) && is_aside(r, shard) ? RESULT_ASIDE
                                                                         : RESULT_GAP;
}

/* -- RANGES */

static void ranges_item(struct replicas *r, struct served_part *part,
                        const struct places_item *item) {
    struct ranges_answer a = {.shard = item->shard, .core = (uint16_t)r->core->index};
    a.result = (uint8_t)check_asker(r, item->shard, item->epoch, part->served->from);
    if ((a.result == RESULT_OK || a.result == RESULT_ASIDE) &&
        r->o.store->ranges(r->o.store->ctx, item->shard, &a.ranges, NULL) != OK)
        a.result = RESULT_FAILED;
    ranges_answer_put(&a, &part->answer);
    free(a.ranges.at);
}

static void ranges_run(struct core *here, struct msg *m) {
    struct served_part *part = container_of(m, struct served_part, msg);
    struct replicas *r = replicas_of(here);
    struct sv rest = buf_sv(&part->served->payload);
    unsigned count = 0;
    while (rest.len > 0 && r != NULL && r->map != NULL) {
        struct places_item item;
        if (++count > SYNC_SHARDS_MAX || places_item_get(&rest, &item, NULL) != OK) {
            part->answer.failed = true;
            break;
        }
        if (item.shard < r->shards_count && r->core_of[item.shard] == here->index)
            ranges_item(r, part, &item);
    }
    served_part_done(part);
}

void served_ranges(struct replicas *r, struct peer_request *req, struct sv payload) {
    served_by_all(r, req, payload, ranges_run);
}

/* -- REPAIR */

struct giving {
    struct list_node node; /* of replicas->givings */
    struct replicas *replicas;
    node_id from;
    uint64_t stream, number;
    uint32_t shards[SYNC_SHARDS_MAX];
    struct shard_span spans[SYNC_SHARDS_MAX];
    size_t count;
    struct store_export export_;
    struct served_part *part; /* waits for a piece; NULL: none does */
    bool filling, failed;
    struct timer idle;
};

static void giving_answer(struct giving *g, enum wire_result result, struct sv piece) {
    struct served_part *part = g->part;
    if (part == NULL) return;
    g->part = NULL;
    buf_put_u8(&part->answer, (uint8_t)result);
    buf_put_sv(&part->answer, piece);
    served_part_done(part);
}

static void giving_free(struct giving *g) {
    timer_stop(&g->idle);
    list_remove(&g->node);
    free(g);
}

static void giving_done(struct store_export *x, enum status status, const struct err *err) {
    struct giving *g = container_of(x, struct giving, export_);
    if (status != OK && !g->failed)
        log_warnf("ranges could not be given to another replica", "err", "%s", err->msg);
    giving_answer(g, RESULT_FAILED, (struct sv){0});
    giving_free(g);
}

static bool giving_piece(struct store_export *x, struct sv bytes) {
    struct giving *g = container_of(x, struct giving, export_);
    g->filling = false;
    if (g->failed || g->replicas->stopping || g->part == NULL) return false;
    giving_answer(g, RESULT_OK, bytes);
    timer_start(&g->idle, GIVING_IDLE_MS);
    return true;
}

/* It ends at the next piece, which nobody takes. */
static void giving_end(struct giving *g) {
    g->failed = true;
    if (g->filling) return;
    g->filling = true;
    g->replicas->o.store->export_resume(g->replicas->o.store->ctx, &g->export_);
}

static void giving_on_idle(struct timer *t) {
    giving_end(container_of(t, struct giving, idle));
}

static struct giving *giving_find(struct replicas *r, node_id from, uint64_t stream) {
    LIST_FOREACH(n, &r->givings) {
        struct giving *g = container_of(n, struct giving, node);
        if (g->from == from && g->stream == stream) return g;
    }
    return NULL;
}

static bool giving_read_items(struct giving *g, struct sv items) {
    struct replicas *r = g->replicas;
    while (items.len > 0) {
        struct repair_item item;
        if (repair_item_get(&items, &item, NULL) != OK || g->count == SYNC_SHARDS_MAX) return false;
        if (item.shard >= r->shards_count || r->core_of[item.shard] != r->core->index ||
            (g->count > 0 && item.shard <= g->shards[g->count - 1]))
            return false;
        enum wire_result may = check_asker(r, item.shard, item.epoch, g->from);
        if (may != RESULT_OK && may != RESULT_ASIDE) return false;
        g->shards[g->count] = item.shard;
        g->spans[g->count++] = item.span;
    }
    return g->count > 0;
}

/* A core of another node takes one at a time: what it took before it has given up. */
static bool giving_may_begin(struct replicas *r, node_id from, uint64_t stream) {
    unsigned count = 0;
    LIST_FOREACH_SAFE(n, &r->givings) {
        struct giving *g = container_of(n, struct giving, node);
        count++;
        if (g->from == from && stream_is_of_same(g->stream, stream)) giving_end(g);
    }
    return count < GIVINGS_MAX;
}

/* NULL: not possible. */
static struct giving *giving_begin(struct replicas *r, node_id from, const struct repair_ask *ask) {
    if (!giving_may_begin(r, from, ask->stream)) return NULL;
    struct giving *g = calloc(1, sizeof *g);
    if (g == NULL) return NULL;
    *g = (struct giving){.replicas = r, .from = from, .stream = ask->stream};
    timer_init(&g->idle, r->core, giving_on_idle);
    list_push_back(&r->givings, &g->node);
    g->export_ = (struct store_export){
        .shards = g->shards, .spans = g->spans, .piece = giving_piece, .done = giving_done};
    struct err err;
    bool ok = giving_read_items(g, ask->items);
    g->export_.shards_count = g->count;
    if (ok && r->o.store->export_start(r->o.store->ctx, &g->export_, &err) != OK) {
        log_warnf("ranges could not be given to another replica", "err", "%s", err.msg);
        ok = false;
    }
    if (ok) return g;
    giving_free(g);
    return NULL;
}

static void repair_run(struct core *here, struct msg *m) {
    struct served_part *part = container_of(m, struct served_part, msg);
    struct replicas *r = replicas_of(here);
    struct repair_ask ask;
    bool is_read = repair_ask_get(buf_sv(&part->served->payload), &ask, NULL) == OK;
    if (r == NULL || r->map == NULL || !is_read || ask.core != here->index) {
        served_part_done(part);
        return;
    }
    struct giving *g = giving_find(r, part->served->from, ask.stream);
    bool fresh = g == NULL && ask.number == 0 && !r->stopping;
    if (fresh) g = giving_begin(r, part->served->from, &ask);
    if (g == NULL || g->failed || g->part != NULL || g->number != ask.number) {
        buf_put_u8(&part->answer, RESULT_FAILED);
        served_part_done(part);
        return;
    }
    g->number++;
    g->part = part;
    g->filling = true;
    timer_stop(&g->idle);
    if (!fresh) r->o.store->export_resume(r->o.store->ctx, &g->export_);
}

void served_repair(struct replicas *r, struct peer_request *req, struct sv payload) {
    served_by_all(r, req, payload, repair_run);
}

void givings_stop(struct replicas *r) {
    LIST_FOREACH_SAFE(n, &r->givings) {
        struct giving *g = container_of(n, struct giving, node);
        timer_stop(&g->idle);
        giving_end(g);
    }
}

void givings_free_all(struct replicas *r) {
    while (!list_is_empty(&r->givings))
        giving_free(container_of(r->givings.next, struct giving, node));
}
