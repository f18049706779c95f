/* SPDX-License-Identifier: Apache-2.0 */
#include "ring/replica/replica.h"

#include <assert.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "ring/replica/internal.h"
#include "ring/replica/loss.h"
#include "ring/replica/sound.h"
#include "ring/replica/sync.h"
#include "ring/replica/verifying.h"

static const struct metric_def defs[] = {
    {"cairn_replica_appends_total", "Frames of entries answered by followers.", METRIC_COUNTER,
     NULL, 0},
    {"cairn_replica_append_bytes_total", "Bytes of entries sent to followers.", METRIC_COUNTER,
     NULL, 0},
    {"cairn_replica_promotions_total", "Shards that this node began to open as their primary.",
     METRIC_COUNTER, NULL, 0},
    {"cairn_replica_fills_total", "Readings of the log for followers that were behind.",
     METRIC_COUNTER, NULL, 0},
    {"cairn_replica_transfers_total", "Transfers of whole shards to other nodes that were begun.",
     METRIC_COUNTER, NULL, 0},
    {"cairn_replica_retained_bytes", "Entries that not all replicas have yet.", METRIC_GAUGE, NULL,
     0},
};

/* -- timers */

void replicas_soon(struct replicas *r) {
    if (!timer_is_armed(&r->soon)) timer_start(&r->soon, 0);
}

static void replicas_on_soon(struct timer *t) {
    struct replicas *r = container_of(t, struct replicas, soon);
    for (size_t i = 0; i < r->fars_count; i++)
        far_flush(r->fars[i]);
    waits_end_ready(r);
}

void replicas_want_report(struct replicas *r) {
    r->report_wanted = true;
}

void replicas_changed(struct replicas *r) {
    if (r->o.changed != NULL) r->o.changed(r->o.ctx);
}

/* -- a node alone */

/* Until the next map: places are kept again from there on. */
static void alone_end(struct replicas *r) {
    struct err err;
    if (!r->alone) return;
    r->alone = false;
    err_set(&err, ERR_UNAVAILABLE, 0, "the map is changing");
    waits_fail_own(r, &err);
    if (blocks_begin(r) != OK) abort(); /* a few bytes a shard: nothing could be served either */
}

static void alone_try(struct replicas *r) {
    if (r->alone || !list_is_empty(&r->blocks) || r->log_failed != OK) return;
    for (uint32_t i = 0; i < r->shards_count; i++) {
        const struct shard *s = &r->shards[i];
        if (s->role != ROLE_NONE && (s->role != ROLE_OPEN || s->members_count > 0)) return;
    }
    r->alone = true;
    r->alone_position = r->durable;
}

/* -- reports */

static bool report_put(struct replicas *r, size_t *count, struct shard_report report) {
    if (*count == r->reports_cap) {
        size_t cap = r->reports_cap == 0 ? 64 : r->reports_cap * 2;
        struct shard_report *reports = realloc(r->reports, cap * sizeof *reports);
        if (reports == NULL) return false;
        r->reports = reports;
        r->reports_cap = cap;
    }
    r->reports[(*count)++] = report;
    return true;
}

static void report_shard(struct replicas *r, uint32_t shard, size_t *count) {
    struct shard *s = shard_at(r, shard);
    struct shard_held held;
    if (s->role == ROLE_NONE) return;
    for (int tail = 0; tail < 2; tail++) {
        r->o.store->held(r->o.store->ctx, shard, tail != 0, &held);
        if (held.damaged)
            report_put(r, count, (struct shard_report){shard, s->epoch, REPORT_DAMAGED, r->o.self});
    }
    if (s->role == ROLE_OPEN)
        report_put(r, count, (struct shard_report){shard, s->epoch, REPORT_OPEN, r->o.self});
    if (s->role == ROLE_PROMOTING && s->incomplete)
        report_put(r, count, (struct shard_report){shard, s->epoch, REPORT_INCOMPLETE, r->o.self});
    for (unsigned i = 0; i < s->members_count && !s->own_tail; i++) {
        const struct member *m = &s->members[i];
        node_id about = r->fars[m->far]->id;
        if (m->reported && s->role == ROLE_OPEN)
            report_put(r, count, (struct shard_report){shard, s->epoch, REPORT_CAUGHT_UP, about});
        if (m->diverged && !sound_holds(m))
            report_put(r, count, (struct shard_report){shard, s->epoch, REPORT_DIVERGED, about});
    }
}

static uint32_t age_ms(uint64_t now_ns, uint64_t since_ns) {
    return since_ns == 0 || since_ns > now_ns ? 0 : (uint32_t)((now_ns - since_ns) / 1000000);
}

/* A follower hears what is settled with the next entries: of idle shards by this. */
static void tell_settled(struct replicas *r) {
    for (uint32_t i = 0; i < r->shards_count; i++) {
        struct shard *s = shard_at(r, i);
        if (s->role != ROLE_OPEN || place_cmp(s->settled, s->end) < 0) continue;
        for (unsigned k = 0; k < s->members_count; k++) {
            s->members[k].told_open = false;
            member_dirty(r, i, &s->members[k]);
        }
    }
    replicas_soon(r);
}

static void replicas_on_report(struct timer *t) {
    struct replicas *r = container_of(t, struct replicas, report);
    uint64_t now_ns = core_mono_ns(r->core);
    size_t count = 0, lags_count = 0;
    timer_start(&r->report, REPORT_MS);
    sound_look(r);
    for (uint32_t i = 0; i < r->shards_count; i++) {
        struct shard *s = shard_at(r, i);
        report_shard(r, i, &count);
        if (s->role == ROLE_PROMOTING && !s->fetching && s->retry_ns != 0 && s->retry_ns <= now_ns)
            promote_step(r, i);
    }
    struct append_lag *lags = calloc(r->fars_count + 1, sizeof *lags);
    for (size_t i = 0; i < r->fars_count && lags != NULL; i++) {
        struct far *far = r->fars[i];
        if (far->users == 0) continue;
        uint64_t oldest = far->silent_since_ns;
        LIST_FOREACH(n, &far->frames) {
            uint64_t at = container_of(n, struct append_frame, node)->sent_ns;
            if (oldest == 0 || at < oldest) oldest = at;
        }
        if (oldest != 0) lags[lags_count++] = (struct append_lag){far->id, age_ms(now_ns, oldest)};
    }
    bool synced = r->alone ? r->alone_position <= r->durable : list_is_empty(&r->blocks);
    uint64_t unsynced = synced ? 0 : r->unsynced_since_ns;
    alone_try(r);
    if (++r->reports_done % TELL_SETTLED_REPORTS == 0) tell_settled(r);
    if (r->holds_bad && r->reports_done % HOLDS_BAD_REPORTS == 0) transfers_look(r);
    r->o.report(r->o.ctx, r->reports, count, lags, lags_count, age_ms(now_ns, unsynced));
    free(lags);
    metric_set(r->metrics.retained, (double)r->retained_bytes);
}

/* -- life */

enum status replicas_new(struct core *core, const struct replica_options *options,
                         struct replicas **out, struct err *err) {
    struct replicas *r = calloc(1, sizeof *r);
    if (r == NULL) return err_set(err, ERR_NOMEM, 0, "replication: out of memory");
    r->core = core;
    r->o = *options;
    r->self = -1;
    list_init(&r->blocks);
    list_init(&r->ready);
    list_init(&r->waits);
    list_init(&r->served);
    list_init(&r->position_waits);
    list_init(&r->fetches);
    list_init(&r->jobs);
    list_init(&r->transfers);
    list_init(&r->takings);
    list_init(&r->givings);
    if (sync_new(r, &r->sync, err) != OK) {
        free(r);
        return ERR_NOMEM;
    }
    timer_init(&r->soon, core, replicas_on_soon);
    timer_init(&r->report, core, replicas_on_report);
    r->metrics.appends = metric_get(&defs[0], "result=\"ok\"");
    r->metrics.failed = metric_get(&defs[0], "result=\"failed\"");
    r->metrics.bytes = metric_get(&defs[1], NULL);
    r->metrics.promotions = metric_get(&defs[2], NULL);
    r->metrics.fills = metric_get(&defs[3], NULL);
    r->metrics.transfers = metric_get(&defs[4], NULL);
    r->metrics.retained = metric_get(&defs[5], NULL);
    core->locals[CORE_REPLICA] = r;
    *out = r;
    return OK;
}

void replicas_stop(struct replicas *r) {
    struct err err;
    r->stopping = true;
    timer_stop(&r->report);
    err_set(&err, ERR_UNAVAILABLE, 0, "this node is stopping");
    waits_fail_own(r, &err);
    for (uint32_t i = 0; i < r->shards_count; i++)
        shard_fail_waits(r, i, &err);
    timer_stop(&r->soon);
    waits_end_ready(r);
    for (size_t i = 0; i < r->fars_count; i++)
        far_stop(r->fars[i]);
    transfers_stop(r);
    sync_stop(r->sync);
    givings_stop(r);
}

void replicas_free(struct replicas *r) {
    if (r == NULL) return;
    timer_stop(&r->report);
    timer_stop(&r->soon);
    while (!list_is_empty(&r->waits))
        free(container_of(list_pop_front(&r->waits), struct replica_wait, node)->items);
    while (!list_is_empty(&r->ready))
        free(container_of(list_pop_front(&r->ready), struct replica_wait, node)->items);
    for (size_t i = 0; i < r->fars_count; i++) {
        far_free(r->fars[i]);
    }
    for (uint32_t i = 0; i < r->shards_count; i++) {
        r->shards[i].pins = 0;
        shard_release_all(r, i);
        free(r->shards[i].members);
    }
    blocks_free_all(r);
    served_free_all(r);
    promote_free_all(r);
    catchup_free_all(r);
    transfers_free_all(r);
    givings_free_all(r);
    sync_free(r->sync);
    free(r->fars);
    free(r->shards);
    free(r->readable);
    free(r->reports);
    ring_map_unref(r->map);
    r->core->locals[CORE_REPLICA] = NULL;
    free(r);
}

/* -- maps */

static void shard_begin(struct replicas *r, uint32_t shard, bool own_tail, uint32_t copy) {
    struct shard *s = shard_at(r, shard);
    struct shard_held held = {0};
    shard_release_all(r, shard);
    r->o.store->held(r->o.store->ctx, shard, own_tail, &held);
    if (s->role == ROLE_NONE || s->copy != copy) s->told_open = 0;
    s->own_tail = own_tail;
    s->copy = copy;
    s->end = s->own = s->released = held.has_log ? held.end : (struct place){0};
    s->settled = (struct place){0};
    s->complete = false;
    if (s->role == ROLE_NONE) s->role = ROLE_FOLLOWER;
}

static void shard_leave_lead(struct replicas *r, uint32_t shard, const char *why) {
    struct shard *s = shard_at(r, shard);
    struct err err;
    err_set(&err, ERR_UNAVAILABLE, 0, "shard %" PRIu32 " %s", shard, why);
    shard_fail_waits(r, shard, &err);
    shard_free_members(r, shard);
    if (s->role != ROLE_NONE) s->role = ROLE_FOLLOWER;
    s->fetching = s->opening = s->incomplete = false;
    s->retry_ns = 0;
}

static void shard_end_here(struct replicas *r, uint32_t shard) {
    struct shard *s = shard_at(r, shard);
    shard_leave_lead(r, shard, "has left this node");
    shard_release_all(r, shard);
    r->o.store->drop(r->o.store->ctx, shard, 0);
    s->role = ROLE_NONE;
    s->complete = false;
}

void replicas_complete(struct replicas *r, uint32_t shard) {
    struct shard *s = shard_at(r, shard);
    const struct ring_shard *sh = &r->map->shards[shard];
    if (s->complete) return;
    int mine = r->self < 0 ? -1 : ring_shard_replica(sh, r->self);
    if (mine < 0 || s->told_open != sh->epoch) return;
    if (!ring_replica_is_readable(&sh->replicas[mine])) return;
    s->complete = true;
    shard_set_readable(r, shard);
    replicas_changed(r);
}

void shard_set_readable(struct replicas *r, uint32_t shard) {
    const struct shard *s = shard_at(r, shard);
    const struct ring_shard *sh = &r->map->shards[shard];
    int mine = r->self < 0 || s->role == ROLE_NONE ? -1 : ring_shard_replica(sh, r->self);
    uint64_t bit = UINT64_C(1) << (shard % 64);
    if (mine >= 0 && s->complete && ring_replica_is_readable(&sh->replicas[mine]))
        r->readable[shard / 64] |= bit;
    else
        r->readable[shard / 64] &= ~bit;
}

static void shard_lead(struct replicas *r, uint32_t shard, bool anew) {

    if (shard_set_members(r, shard) != OK) return; /* stays closed; told as not open */
    if (anew) promote_begin(r, shard);
}

static void shard_install(struct replicas *r, uint32_t shard) {
    struct shard *s = shard_at(r, shard);
    const struct ring_shard *sh = &r->map->shards[shard];
    int mine = r->self < 0 ? -1 : ring_shard_replica(sh, r->self);
    if (r->core_of[shard] != r->core->index || mine < 0) {
        if (s->role != ROLE_NONE) shard_end_here(r, shard);
        return;
    }
    const struct ring_replica *m = &sh->replicas[mine];
    bool own_tail = m->state == REPLICA_LOG || (m->state == REPLICA_INIT && m->in_sync);
    bool new_epoch = s->role == ROLE_NONE || s->epoch != sh->epoch;
    if (new_epoch && s->role != ROLE_NONE) shard_leave_lead(r, shard, "is changing hands");
    if (s->role == ROLE_NONE || own_tail != s->own_tail || m->copy != s->copy)
        shard_begin(r, shard, own_tail, m->copy);
    s->epoch = sh->epoch;
    s->primary = ring_map_primary(r->map, shard);
    s->is_init = m->state == REPLICA_INIT;
    /* It may have been out of the in-sync set in maps that never came here: then it has returned.
     */
    if (!ring_replica_is_readable(m) || (new_epoch && m->until != 0)) s->complete = false;
    bool leads = sh->primary == mine && r->may_open;
    if (!leads && s->members != NULL) shard_leave_lead(r, shard, "is changing hands");
    if (leads) shard_lead(r, shard, s->role == ROLE_FOLLOWER);
    replicas_complete(r, shard);
}

struct place replicas_settled(const struct replicas *r, uint32_t shard) {
    if (r->shards == NULL) return (struct place){0};
    if (r->alone) return (struct place){UINT32_MAX, UINT64_MAX}; /* all that is durable */
    const struct shard *s = &r->shards[shard];
    return s->role == ROLE_NONE ? (struct place){0} : s->settled;
}

bool replicas_has_tail(const struct replicas *r, uint32_t shard) {
    if (r->shards == NULL || r->alone) return false;
    const struct shard *s = &r->shards[shard];
    for (unsigned i = 0; i < s->members_count; i++)
        if (s->members[i].tail) return true;
    return false;
}

void replicas_held_changed(struct replicas *r) {
    for (uint32_t i = 0; i < r->shards_count; i++) {
        struct shard *s = shard_at(r, i);
        struct shard_held held = {0};
        if (s->role != ROLE_FOLLOWER || s->own_tail || !place_is_zero(s->end)) continue;
        r->o.store->held(r->o.store->ctx, i, false, &held);
        if (held.has_log) s->end = s->own = s->released = held.end;
    }
}

/* A process that is new to the map is asked anew what it holds. */
static void fars_install(struct replicas *r) {
    for (size_t i = 0; i < r->fars_count; i++) {
        struct far *far = r->fars[i];
        if (far->id == 0) continue;
        if (far->users == 0) {
            far_stop(far);
            far->id = 0;
            continue;
        }
        int node = ring_map_node_index(r->map, far->id);
        uint32_t incarnation = node < 0 ? 0 : r->map->nodes[node].incarnation;
        if (far->incarnation != incarnation && far->incarnation != 0) far_broke(far);
        far->incarnation = incarnation;
    }
}

void replicas_install(struct replicas *r, struct ring_map *map, const uint16_t *core_of) {
    assert(core_is_current(r->core));
    if (r->shards == NULL) {
        r->shards_count = map->settings.shards_count;
        r->shards = calloc(r->shards_count, sizeof *r->shards);
        r->readable = calloc((r->shards_count + 63) / 64, sizeof *r->readable);
        if (r->shards == NULL || r->readable == NULL) abort(); /* nothing could be served */
        for (uint32_t i = 0; i < r->shards_count; i++) {
            list_init(&r->shards[i].retained);
            list_init(&r->shards[i].waits);
        }
        timer_start(&r->report, REPORT_MS);
    }
    struct ring_map *old = r->map;
    r->map = ring_map_ref(map);
    ring_map_unref(old);
    r->core_of = core_of;
    r->self = ring_map_node_index(map, r->o.self);
    r->may_open = r->self >= 0 && map->nodes[r->self].incarnation == r->o.incarnation;
#ifdef PLANT_FORGET_EPOCH
    r->may_open = true;
#endif
    alone_end(r);
    for (uint32_t i = 0; i < r->shards_count; i++) {
        shard_install(r, i);
        shard_set_readable(r, i);
    }
    fars_install(r);
    for (uint32_t i = 0; i < r->shards_count; i++) {
        if (r->shards[i].role == ROLE_PROMOTING || r->shards[i].role == ROLE_OPEN)
            shard_settle(r, i);
    }
    for (size_t i = 0; i < r->fars_count; i++) {
        if (r->fars[i]->users == 0) continue;
        far_ask(r->fars[i]);
        catchup_start(r->fars[i]);
        transfer_start(r->fars[i]);
        far_flush(r->fars[i]);
    }
    sync_on_map(r->sync);
    replicas_changed(r);
}

/* -- entries */

void replicas_block(struct replicas *r, uint64_t position, const struct store_block *block) {
    if (r->alone) {
        if (r->alone_position <= r->durable) r->unsynced_since_ns = core_mono_ns(r->core);
        r->alone_position = position;
        return;
    }
    if (list_is_empty(&r->blocks)) r->unsynced_since_ns = core_mono_ns(r->core);
    if (block_add(r, position, block) != OK) { /* acknowledged when they come from the log */
        block_not_added(r, block);
        r->follow_failed = r->follow_failed || block->followed;
        return;
    }
    if (block->followed) return;
    const struct block *b = container_of(r->blocks.prev, struct block, node);
    for (uint32_t i = 0; i < b->items_count; i++) {
        struct shard *s = shard_at(r, b->items[i].shard);
        for (unsigned k = 0; k < s->members_count; k++)
            member_dirty(r, b->items[i].shard, &s->members[k]);
    }
    for (size_t i = 0; i < r->fars_count; i++)
        if (r->fars[i]->users > 0) far_flush(r->fars[i]);
}

void replicas_wait_position(struct replicas *r, struct position_wait *w, uint64_t position,
                            void (*done)(struct position_wait *w, enum status status)) {
    w->position = position;
    w->done = done;
    list_init(&w->node);
    if (r->log_failed != OK || position <= r->durable)
        done(w, r->log_failed);
    else
        list_push_back(&r->position_waits, &w->node);
}

void replicas_durable(struct replicas *r, uint64_t position, enum status status,
                      const struct err *err) {
    if (status != OK) {
        r->log_failed = status;
        if (err != NULL) r->log_err = *err;
        struct err why;
        err_set(&why, ERR_UNAVAILABLE, 0, "the log of this node has failed");
        for (uint32_t i = 0; i < r->shards_count; i++)
            shard_fail_waits(r, i, &why);
    } else {
        blocks_durable(r, position);
        r->unsynced_since_ns = core_mono_ns(r->core);
    }
    LIST_FOREACH_SAFE(n, &r->position_waits) {
        struct position_wait *w = container_of(n, struct position_wait, node);
        if (status == OK && w->position > position) continue;
        list_remove(&w->node);
        w->done(w, status);
    }
}

/* -- what others ask */

bool replicas_may_read(const struct replicas *r, uint32_t shard, uint32_t epoch) {
    return (r->readable[shard / 64] >> (shard % 64) & 1) != 0 && r->shards[shard].epoch == epoch &&
           lease_is_held(r->o.lease, core_mono_ns(r->core));
}

void replicas_keep_readable(const struct replicas *r, const struct ring_map *asked,
                            uint64_t *shards) {
    bool may = r->map != NULL && lease_is_held(r->o.lease, core_mono_ns(r->core));
    uint32_t count = asked->settings.shards_count;
    assert(r->map == NULL || r->shards_count == count);
    for (uint32_t i = 0; i < (count + 63) / 64; i++)
        shards[i] &= may ? r->readable[i] : 0;
    if (!may || asked->version == r->map->version) return; /* of the same epochs */
    for (uint32_t i = 0; i < count; i++)
        if (r->shards[i].epoch != asked->shards[i].epoch)
            shards[i / 64] &= ~(UINT64_C(1) << (i % 64));
}

void replicas_on_frame(struct peer_request *req, struct sv payload, void *ctx) {
    struct replicas *r = ctx;
    if (req->type == FRAME_APPEND)
        served_append(r, req, payload);
    else if (req->type == FRAME_PLACES)
        served_places(r, req, payload);
    else if (req->type == FRAME_TRANSFER)
        served_transfer(r, req, payload);
    else if (req->type == FRAME_RANGES)
        served_ranges(r, req, payload);
    else if (req->type == FRAME_REPAIR)
        served_repair(r, req, payload);
    else if (req->type == FRAME_VERIFY)
        served_verify(r, req, payload);
    else if (req->type == FRAME_LOSS)
        served_loss(r, req, payload);
    else
        served_fetch(r, req, payload);
}

void replicas_counts(const struct replicas *r, struct replica_counts *out) {
    *out = (struct replica_counts){.retained_bytes = r->retained_bytes};
    for (uint32_t i = 0; i < r->shards_count; i++) {
        const struct shard *s = &r->shards[i];
        if (s->role == ROLE_NONE) continue;
        out->primaries += s->members != NULL;
        out->open += s->role == ROLE_OPEN;
        out->promoting += s->role == ROLE_PROMOTING;
        out->following += s->role == ROLE_FOLLOWER;
        out->readable += s->complete;
        for (unsigned k = 0; k < s->members_count; k++)
            out->filling += !s->members[k].waited;
    }
}

/* One line for a person: a shard as this core sees it. */
void replicas_describe(const struct replicas *r, uint32_t shard, struct buf *out) {
    static const char *const roles[] = {"none", "follower", "promoting", "open"};
    const struct shard *s = &r->shards[shard];
    buf_printf(out,
               "%s%s%s epoch %u copy %u end %u/%" PRIu64 " own %u/%" PRIu64 " settled %u/%" PRIu64
               " released %u/%" PRIu64 "%s%s%s pins %u",
               roles[s->role], s->own_tail ? " tail" : "", s->complete ? " complete" : "", s->epoch,
               s->copy, s->end.epoch, s->end.seq, s->own.epoch, s->own.seq, s->settled.epoch,
               s->settled.seq, s->released.epoch, s->released.seq, s->opening ? " opening" : "",
               s->fetching ? " fetching" : "", s->incomplete ? " incomplete" : "", s->pins);
    for (unsigned i = 0; i < s->members_count; i++) {
        static const char *const states[] = {"unknown", "behind", "live"};
        const struct member *m = &s->members[i];
        const struct far *far = r->fars[m->far];
        buf_printf(out,
                   "; %04x%s copy %u %s%s%s%s%s%s%s%s%s acked %u/%" PRIu64 " sent %u/%" PRIu64
                   " far: frames %u%s%s%s dirty %zu",
                   (unsigned)(far->id & 0xffff), m->tail ? " tail" : "", m->copy, states[m->state],
                   m->in_sync ? " in-sync" : "", m->waited ? " waited" : "",
                   m->reported ? " reported" : "",
                   m->diverged ? sound_holds(m) ? " diverged, held back" : " diverged" : "",
                   m->answered ? " answered" : "", m->dirty ? " dirty" : "",
                   m->reading ? " reading" : "", m->has_log ? " has-log" : "", m->acked.epoch,
                   m->acked.seq, m->sent.epoch, m->sent.seq, far->frames_count,
                   far->asking ? " asking" : "", far->broken ? " broken" : "",
                   far->job != NULL ? " job" : "", far->dirty_count);
    }
}
