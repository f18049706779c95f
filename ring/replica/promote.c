/* SPDX-License-Identifier: Apache-2.0 */
/* Opening a shard in a new epoch:
 *   all in-sync members say what they hold (they have the map, so they take nothing older any more)
 *   -> the longest tail that is lacked here is fetched -> the epoch's entry -> everybody gets what
 *   they lack -> OPEN when all have everything up to there. */
#include <assert.h>
#include <inttypes.h>
#include <stdlib.h>

#include "node/base/log.h"
#include "ring/replica/internal.h"

struct fetch {
    struct list_node node; /* of replicas->fetches */
    struct replicas *replicas;
    uint32_t shard, epoch;
    bool got;
};

static void promote_pause(struct replicas *r, struct shard *s) {
    s->retry_ns = core_mono_ns(r->core) + RETRY_MS * UINT64_C(1000000);
}

void promote_begin(struct replicas *r, uint32_t shard) {
    struct shard *s = shard_at(r, shard);
    s->role = ROLE_PROMOTING;
    s->opening = s->fetching = s->incomplete = false;
    s->open_at = (struct place){0};
    metric_add(r->metrics.promotions, 1);
}

static void promote_open(struct replicas *r, uint32_t shard) {
    struct shard *s = shard_at(r, shard);
    uint64_t position;
    struct err err;
    s->opening = true; /* its entry comes back through replicas_block */
    if (r->o.store->open_epoch(r->o.store->ctx, shard, s->epoch, &position, &err) != OK) {
        log_warnf("a shard could not be opened", "err", "%s", err.msg);
        s->opening = false;
        promote_pause(r, s);
        return;
    }
    s->open_at = s->end;
    for (unsigned i = 0; i < s->members_count; i++)
        if (s->members[i].answered) member_place(r, shard, &s->members[i]);
    promote_step(r, shard);
}

/* -- a longer tail elsewhere */

static void fetch_follow(struct replicas *r, struct fetch *f, const struct fetch_answer *a) {
    struct shard *s = shard_at(r, f->shard);
    uint64_t position;
    struct err err;
    if (a->result != RESULT_OK || a->entries.len == 0) return;
    struct place before = s->end;
    enum status st = r->o.store->follow(r->o.store->ctx, f->shard, s->copy, s->own_tail, a->entries,
                                        &position, &err);
    if (st != OK)
        log_warnf("a fetched tail does not fit", "err", "%s", err.msg);
    else if (place_cmp(s->end, before) > 0) /* they came through replicas_block */
        f->got = true;
}

static void fetch_on_reply(void *ctx, enum status status, struct sv part, bool last,
                           const struct err *err) {
    (void)err;
    struct fetch *f = ctx;
    struct replicas *r = f->replicas;
    struct shard *s = shard_at(r, f->shard);
    bool ours = !r->stopping && s->epoch == f->epoch && s->role == ROLE_PROMOTING;
    bool ok = status == OK && ours && wire_open(&part, NULL) == OK;
    while (ok && part.len > 0) {
        struct fetch_answer a;
        if (fetch_answer_get(&part, &a, NULL) != OK) break;
        if (a.shard == f->shard) fetch_follow(r, f, &a);
    }
    if (status == OK && !last) return;
    if (ours) {
        s->fetching = false;
        s->retry_ns = 0;
        if (!f->got) promote_pause(r, s);
        promote_step(r, f->shard);
    }
    list_remove(&f->node);
    free(f);
}

void promote_free_all(struct replicas *r) {
    while (!list_is_empty(&r->fetches))
        free(container_of(list_pop_front(&r->fetches), struct fetch, node));
}

static void promote_fetch(struct replicas *r, uint32_t shard, const struct member *m) {
    struct shard *s = shard_at(r, shard);
    struct fetch *f = calloc(1, sizeof *f);
    if (f == NULL) {
        promote_pause(r, s);
        return;
    }
    *f = (struct fetch){.replicas = r, .shard = shard, .epoch = s->epoch};
    list_push_back(&r->fetches, &f->node);
    struct buf payload = {0};
    wire_begin(&payload);
    fetch_item_put(&(struct fetch_item){.shard = shard,
                                        .epoch = s->epoch,
                                        .tail = m->tail,
                                        .from_start = place_is_zero(s->end),
                                        .after = s->end},
                   &payload);
    struct peer_call_options o = {.to = r->fars[m->far]->id,
                                  .type = FRAME_FETCH,
                                  .timeout_ms = CALL_TIMEOUT_MS,
                                  .reply = fetch_on_reply,
                                  .ctx = f};
    s->fetching = true;
    peers_call(r->o.peers, &o, &payload);
}

static const struct shard_held *member_held(const struct member *m) {
    return m->tail ? &m->tail_held : &m->whole_held;
}

/* Whose entries come next behind ours. A run that began later may not be taken before one that
 * began earlier: its first entry may follow anything (an offer of a primary that held nothing), and
 * what lies between would be lost. *out_longest: the end of all. */
static const struct member *next_of(const struct shard *s, struct place *out_longest) {
    const struct member *best = NULL;
    struct place best_from = {0};
    *out_longest = s->end;
    for (unsigned i = 0; i < s->members_count; i++) {
        const struct member *m = &s->members[i];
        const struct shard_held *held = member_held(m);
        if (!m->answered || !m->in_sync || !held->has_log || held->damaged) continue;
        if (s->own_tail && !m->tail) continue;
        if (place_cmp(held->end, *out_longest) > 0) *out_longest = held->end;
        if (place_cmp(held->end, s->end) <= 0) continue;
        struct place from = place_cmp(held->first, s->end) > 0 ? held->first : s->end;
        int order = best == NULL ? -1 : place_cmp(from, best_from);
        if (order > 0 || (order == 0 && place_cmp(held->end, member_held(best)->end) <= 0))
            continue;
        best = m;
        best_from = from;
    }
    return best;
}

static bool is_gap(const struct shard *s, const struct member *m) {
    const struct shard_held *held = member_held(m);
    if (held->is_whole || place_cmp(held->first, s->end) <= 0) return false;
    if (held->first.epoch == s->end.epoch) return held->first.seq > s->end.seq + 1;
    return held->first.seq > 1;
}

static void promote_became_open(struct replicas *r, uint32_t shard) {
    struct shard *s = shard_at(r, shard);
    s->role = ROLE_OPEN;
    s->complete = !s->own_tail;
    shard_set_readable(r, shard);
    s->told_open = s->epoch;
    for (unsigned i = 0; i < s->members_count; i++)
        member_dirty(r, shard, &s->members[i]);
    replicas_want_report(r);
    replicas_changed(r);
    shard_settle(r, shard);
}

void promote_step(struct replicas *r, uint32_t shard) {
    struct shard *s = shard_at(r, shard);
    if (s->role != ROLE_PROMOTING || s->fetching || r->stopping) return;
    if (s->opening) {
        if (place_cmp(s->settled, s->open_at) >= 0) promote_became_open(r, shard);
        return;
    }
    struct shard_held own = {0};
    r->o.store->held(r->o.store->ctx, shard, s->own_tail, &own);
    if (own.damaged) return; /* reported; the controller decides */
    for (unsigned i = 0; i < s->members_count; i++) {
        const struct member *m = &s->members[i];
        if (m->in_sync && !m->answered) {
#ifdef PLANT_SKIP_PLACES
            continue;
#endif
            return;
        }
    }
    if (s->retry_ns > core_mono_ns(r->core)) return;
    struct place longest;
    const struct member *from = next_of(s, &longest);
    if (from != NULL && is_gap(s, from)) from = NULL;
#ifdef PLANT_PROMOTE_LAGGING
    from = NULL, longest = s->end;
#endif
    if (from == NULL && place_cmp(longest, s->end) <= 0) {
        promote_open(r, shard);
    } else if (from != NULL) {
        promote_fetch(r, shard, from);
    } else if (!s->incomplete && !s->own_tail) {
        s->incomplete = true;
        replicas_want_report(r);
    } else if (s->own_tail) {
        promote_open(r, shard); /* offers need no past */
    }
}
