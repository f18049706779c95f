/* SPDX-License-Identifier: Apache-2.0 */
/* A shard at its primary: who must have its entries, up to where all of them do, and who waits for
 * that. */
#include <assert.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "ring/replica/internal.h"

struct member *shard_member(struct shard *s, uint16_t far, bool tail) {
    for (unsigned i = 0; i < s->members_count; i++)
        if (s->members[i].far == far && s->members[i].tail == tail) return &s->members[i];
    return NULL;
}

/* -- members */

static enum status members_add(struct replicas *r, struct member *to, unsigned *count,
                               const struct ring_replica *replica, bool tail, bool in_sync) {
    int far = far_get(r, r->map->nodes[replica->node].id);
    if (far < 0) return ERR_NOMEM;
    to[(*count)++] = (struct member){
        .far = (uint16_t)far,
        .tail = tail,
        .in_sync = in_sync,
        .waited = in_sync,
        .copy = tail && replica->state == REPLICA_INIT ? replica->copy - 1 : replica->copy};
    return OK;
}

/* A log-only primary leads other runs of its kind. What FULL copies lack of its past it cannot
 * tell, so they get nothing from it: the first to return leads and fills the others. One that is
 * LEAVING may still be read until it has heard so: it is waited for, in vain, until the map lets it
 * go. */
static enum status members_of_map(struct replicas *r, uint32_t shard, struct member *to,
                                  unsigned *count) {
    const struct ring_shard *sh = &r->map->shards[shard];
    bool tails_only = shard_at(r, shard)->own_tail;
    *count = 0;
    for (unsigned i = 0; i < sh->replicas_count; i++) {
        const struct ring_replica *m = &sh->replicas[i];
        if (m->node == r->self) continue;
        switch ((enum replica_state)m->state) {
        case REPLICA_FULL:
            if (!tails_only || m->in_sync) TRY(members_add(r, to, count, m, false, m->in_sync));
            break;
        case REPLICA_INIT:
            if (!tails_only) TRY(members_add(r, to, count, m, false, false));
            if (m->in_sync) TRY(members_add(r, to, count, m, true, true));
            break;
        case REPLICA_LOG:
            if (m->in_sync) TRY(members_add(r, to, count, m, true, true));
            break;
        case REPLICA_LEAVING:
            if (m->in_sync) TRY(members_add(r, to, count, m, false, true));
            break;
        }
    }
    return OK;
}

/* By the map; what is known of a member that stays under its copy number is kept. */
enum status shard_set_members(struct replicas *r, uint32_t shard) {
    struct shard *s = shard_at(r, shard);
    struct member next[MEMBERS_MAX];
    unsigned count;
    if (members_of_map(r, shard, next, &count) != OK) {
        for (unsigned i = 0; i < count; i++)
            far_put(r, next[i].far);
        return ERR_NOMEM;
    }
    struct member *members = calloc(count + 1, sizeof *members);
    if (members == NULL) {
        for (unsigned i = 0; i < count; i++)
            far_put(r, next[i].far);
        return ERR_NOMEM;
    }
    for (unsigned i = 0; i < count; i++) {
        const struct member *old = shard_member(s, next[i].far, next[i].tail);
        members[i] = next[i];
        if (old == NULL || old->copy != next[i].copy) continue;
        members[i] = *old;
        members[i].in_sync = next[i].in_sync;
        members[i].waited = next[i].in_sync || old->waited;
        /* taken out, or taken in: what it was waited for before says nothing any more */
        if (old->in_sync != next[i].in_sync) members[i].reported = false;
        if (old->in_sync && !next[i].in_sync) {
            members[i].waited = false;
            member_lost(r, shard, &members[i]);
        }
    }
    shard_free_members(r, shard);
    s->members = members;
    s->members_count = (uint8_t)count;
    return OK;
}

void shard_free_members(struct replicas *r, uint32_t shard) {
    struct shard *s = shard_at(r, shard);
    for (unsigned i = 0; i < s->members_count; i++)
        far_put(r, s->members[i].far);
    free(s->members);
    s->members = NULL;
    s->members_count = 0;
}

/* Its node did not answer: what it holds is asked before anything is sent again. */
void member_lost(struct replicas *r, uint32_t shard, struct member *m) {
    m->state = MEMBER_UNKNOWN;
    m->answered = false;
    m->told_open = false;
    m->sent = m->acked;
    m->dirty = false;
    if (!m->in_sync && !m->reported) m->waited = false; /* the controller has not been told */
    (void)r, (void)shard;
}

/* -- settled */

static bool member_has(const struct member *m, struct place p) {
    if (!m->has_log && !m->begins) return place_is_zero(p);
    return place_cmp(m->acked, p) >= 0;
}

/* What all have who are waited for. */
static struct place shard_low(const struct shard *s) {
    struct place low = s->own;
    for (unsigned i = 0; i < s->members_count; i++) {
        const struct member *m = &s->members[i];
        if (!m->waited) continue;
#ifdef PLANT_ACK_BEFORE_FOLLOWER
        continue;
#endif
        struct place has = m->has_log || m->begins ? m->acked : (struct place){0};
        if (place_cmp(has, low) < 0) low = has;
    }
    return low;
}

void shard_own_durable(struct replicas *r, uint32_t shard, struct place place) {
    struct shard *s = shard_at(r, shard);
    if (s->role == ROLE_NONE) return;
    if (place_cmp(place, s->own) > 0) s->own = place;
    /* Of an open shard, this alone can move nothing but what is settled. */
    if (s->role == ROLE_OPEN && place_cmp(shard_low(s), s->settled) <= 0) return;
    shard_settle(r, shard);
}

void shard_settle(struct replicas *r, uint32_t shard) {
    struct shard *s = shard_at(r, shard);
    if (s->role != ROLE_OPEN && s->role != ROLE_PROMOTING) return;
    struct place low = shard_low(s);
    if (place_cmp(low, s->settled) > 0) s->settled = low;
    for (unsigned i = 0; i < s->members_count; i++) {
        struct member *m = &s->members[i];
        if (m->in_sync || m->reported || !m->waited || !member_has(m, m->goal)) continue;
        m->reported = true;
        replicas_want_report(r);
    }
    if (s->role == ROLE_PROMOTING) promote_step(r, shard);
    if (s->role != ROLE_OPEN) return;
    shard_release(r, shard, s->settled);
    while (!list_is_empty(&s->waits)) {
        struct shard_wait *w = container_of(s->waits.next, struct shard_wait, node);
        if (place_cmp(w->place, s->settled) > 0) break;
        list_remove(&w->node);
        wait_check(r, w->wait);
    }
}

/* -- waits */

static void wait_end(struct replica_wait *wait, enum status status, const struct err *err) {
    list_remove(&wait->node);
    for (size_t i = 0; i < wait->count; i++)
        list_remove(&wait->items[i].node);
    free(wait->items);
    wait->items = NULL;
    wait->count = 0;
    wait->done(wait, status, err);
}

static unsigned shard_in_sync(const struct shard *s) {
    unsigned n = 1;
    for (unsigned i = 0; i < s->members_count; i++)
        n += s->members[i].in_sync;
    return n;
}

static unsigned min_insync(const struct replicas *r) {
    const struct ring_settings *set = &r->map->settings;
    uint32_t nodes = r->map->nodes_count;
    if (set->min_insync != 0) return MIN(set->min_insync, nodes);
    return nodes <= 2 ? 1 : MIN(2, set->replication_factor);
}

static enum status wait_verdict(struct replica_wait *wait, struct err *err) {
    struct replicas *r = wait->replicas;
    if (wait->failed != OK) {
        *err = wait->err;
        return wait->failed;
    }
    if (r->stopping) return err_set(err, ERR_UNAVAILABLE, 0, "this node is stopping");
    for (size_t i = 0; i < wait->count; i++)
        if (shard_in_sync(shard_at(r, wait->items[i].shard)) < min_insync(r))
            return err_set(err, ERR_UNAVAILABLE, 0,
                           "shard %" PRIu32 " has too few replicas in sync", wait->items[i].shard);
    if (!lease_is_held(r->o.lease, core_mono_ns(r->core)))
        return err_set(err, ERR_UNAVAILABLE, 0, "this node has lost its lease");
    return OK;
}

void waits_end_ready(struct replicas *r) {
    struct list_node ready;
    list_init(&ready);
    while (!list_is_empty(&r->ready))
        list_push_back(&ready, list_pop_front(&r->ready));
    while (!list_is_empty(&ready)) {
        struct replica_wait *wait = container_of(ready.next, struct replica_wait, node);
        struct err err;
        enum status st = wait_verdict(wait, &err);
        wait_end(wait, st, &err);
    }
}

void wait_check(struct replicas *r, struct replica_wait *wait) {
    assert(wait->open > 0);
    if (--wait->open > 0) return;
    list_remove(&wait->node);
    list_push_back(&r->ready, &wait->node);
    replicas_soon(r);
}

void shard_fail_waits(struct replicas *r, uint32_t shard, const struct err *err) {
    struct shard *s = shard_at(r, shard);
    while (!list_is_empty(&s->waits)) {
        struct shard_wait *w = container_of(s->waits.next, struct shard_wait, node);
        list_remove(&w->node);
        if (w->wait->failed == OK) {
            w->wait->failed = err->code;
            w->wait->err = *err;
        }
        wait_check(r, w->wait);
    }
}

static void wait_own_done(struct position_wait *w, enum status status) {
    struct replica_wait *wait = container_of(w, struct replica_wait, own);
    if (status != OK && wait->failed == OK)
        wait->failed = err_set(&wait->err, ERR_UNAVAILABLE, 0, "the log of this node has failed");
    wait_check(wait->replicas, wait);
}

void waits_fail_own(struct replicas *r, const struct err *err) {
    LIST_FOREACH_SAFE(n, &r->position_waits) {
        struct position_wait *w = container_of(n, struct position_wait, node);
        if (w->done != wait_own_done) continue;
        struct replica_wait *wait = container_of(w, struct replica_wait, own);
        list_remove(&w->node);
        wait->failed = err->code;
        wait->err = *err;
        wait_check(r, wait);
    }
}

void replicas_wait(struct replicas *r, struct replica_wait *wait, const uint32_t *shards,
                   size_t count,
                   void (*done)(struct replica_wait *wait, enum status status,
                                const struct err *err)) {
    assert(core_is_current(r->core));
    *wait = (struct replica_wait){.replicas = r, .done = done, .open = 1};
    list_push_back(&r->waits, &wait->node);
    if (r->alone) {
        replicas_wait_position(r, &wait->own, r->alone_position, wait_own_done);
        return;
    }
    wait->items = calloc(count + 1, sizeof *wait->items);
    if (wait->items == NULL) {
        wait->failed = err_set(&wait->err, ERR_NOMEM, 0, "out of memory");
        count = 0;
    }
    wait->count = count;
    for (size_t i = 0; i < count; i++) {
        struct shard *s = shard_at(r, shards[i]);
        struct shard_wait *w = &wait->items[i];
        *w = (struct shard_wait){.wait = wait, .shard = shards[i], .place = s->end};
        list_init(&w->node);
        if (s->role != ROLE_OPEN) {
            wait->failed = err_set(&wait->err, ERR_UNAVAILABLE, 0,
                                   "shard %" PRIu32 " is changing hands", shards[i]);
            continue;
        }
        if (place_cmp(s->end, s->settled) <= 0) continue;
        wait->open++;
        list_push_back(&s->waits, &w->node);
    }
    wait_check(r, wait);
}

enum status replicas_may_write(const struct replicas *r, uint32_t shard, uint64_t now_ns,
                               struct err *err) {
    const struct shard *s = &r->shards[shard];
    if (s->role == ROLE_NONE || s->role == ROLE_FOLLOWER)
        return err_set(err,
                       s->role == ROLE_NONE || s->members == NULL ? ERR_CONFLICT : ERR_UNAVAILABLE,
                       0, "this node is not its primary");
    if (r->log_failed != OK)
        return err_set(err, ERR_UNAVAILABLE, 0, "the log of this node has failed");
    if (s->role == ROLE_PROMOTING) return err_set(err, ERR_UNAVAILABLE, 0, "it is changing hands");
    if (shard_in_sync(s) < min_insync(r))
        return err_set(err, ERR_UNAVAILABLE, 0, "it has too few replicas in sync");
    if (r->retained_bytes > r->o.retained_bytes_max)
        return err_set(err, ERR_UNAVAILABLE, 0, "replicas are behind");
    if (!lease_is_held(r->o.lease, now_ns))
        return err_set(err, ERR_UNAVAILABLE, 0, "this node has no lease of the controller");
    return OK;
}
