/* SPDX-License-Identifier: Apache-2.0 */
#include "ring/replica/sync.h"

#include <assert.h>
#include <inttypes.h>
#include <stdlib.h>

#include "node/base/bytes.h"
#include "node/base/log.h"
#include "ring/replica/ranges.h"
#include "ring/replica/sound.h"
#include "ring/replica/syncing.h"

enum { LOOK_MS = 1000, FAILED_MS = 5000, FAILED_MS_MAX = 60000 };
enum { EARLY_MAX = 16 }; /* in a round: the next one compares it again */

static const struct metric_def defs[] = {
    {"cairn_sync_compared_shards_total",
     "Shards of which what is here was compared with what another replica has.", METRIC_COUNTER,
     NULL, 0},
    {"cairn_sync_differences_total", "Ranges in which this replica differed from its primary's.",
     METRIC_COUNTER, NULL, 0},
    {"cairn_sync_repaired_total", "Ranges of shards that were taken from another replica.",
     METRIC_COUNTER, NULL, 0},
    {"cairn_sync_failures_total", "Repairs that failed, and are tried again.", METRIC_COUNTER, NULL,
     0},
};

void sync_pause(struct sync *s, uint64_t ms) {
    s->state = SYNC_IDLE;
    if (ms == LOOK_MS && s->verify.phase == VERIFY_COMPARING) ms = VERIFY_LOOK_MS;
    if (!s->stopping) timer_start(&s->timer, ms);
}

/* Until it is looked again for what is bad or due. */
static uint64_t look_ms(const struct sync *s) {
    uint64_t sync_ms = s->r->o.sync_ms;
    return sync_ms == 0 ? LOOK_MS : MIN(sync_ms, (uint64_t)LOOK_MS);
}

/* Again soon, then later and later, until the map changes. */
static void sync_again(struct sync *s) {
    uint64_t ms = (uint64_t)FAILED_MS << MIN(s->attempts, 4U);
    s->attempts++;
    sync_pause(s, MIN(ms, (uint64_t)FAILED_MS_MAX));
}

void sync_fail(struct sync *s) {
    metric_add(s->metrics.failures, 1);
    if (s->aside)
        sync_pause(s, LOOK_MS);
    else
        sync_again(s);
}

/* -- comparing */

static bool is_mine(const struct replicas *r, uint32_t shard) {
    const struct shard *s = &r->shards[shard];
    return s->role != ROLE_NONE && s->complete && !s->own_tail;
}

static void difference_tell(struct sync *s, uint32_t shard, const struct span_found *f) {
    log_errorf("a replica differs from its primary's, which counts", "what",
               "shard %" PRIu32 ", %" PRId64 " to %" PRId64 ": %" PRIu64 " samples %016" PRIx64
               "%016" PRIx64 " here, %" PRIu64 " samples %016" PRIx64 "%016" PRIx64 " there",
               shard, f->span.min_ms, f->span.max_ms, f->own_samples, f->own.hi, f->own.lo,
               f->other_samples, f->other.hi, f->other.lo);
    metric_add(s->metrics.differences, 1);
}

/* All shards of a taking are of one core there, ascending. false: not now. */
static bool fix_add(struct sync *s, const struct ranges_answer *a, const struct span_found *f) {
    size_t at = s->count;
    if (s->count == SYNC_SHARDS_MAX || (s->count > 0 && a->core != s->core)) return false;
    while (at > 0 && s->shards[at - 1].shard >= a->shard) {
        if (s->shards[at - 1].shard == a->shard) return false;
        at--;
    }
    for (size_t i = s->count; i > at; i--) {
        s->shards[i] = s->shards[i - 1];
        s->spans[i] = s->spans[i - 1];
        s->differs[i] = s->differs[i - 1];
    }
    s->core = a->core;
    s->shards[at] = (struct import_shard){a->shard, shard_at(s->r, a->shard)->copy};
    s->spans[at] = f->span;
    s->differs[at] = f->verdict == SPAN_DIFFERS;
    s->count++;
    return true;
}

/* Soon again, in the same round. */
static void early_note(struct sync *s, uint32_t at, bool is_early) {
    struct shard *shard = shard_at(s->r, at);
    if (!is_early || s->urgent || shard->synced_early == EARLY_MAX) {
        shard->synced_early = 0;
        return;
    }
    shard->synced_early++;
    shard->synced = s->round - 1;
    s->compare_ns = MIN(s->compare_ns, core_mono_ns(s->r->core));
}

/* A replica that is not in sync may have what was never acknowledged: what its blocks have is of
 * use only where all of it is of the log here, too. That ends at the CUT that closed them
 * (store_shard_closed_at), which is not the base: they reach further. */
static bool is_closed_on_our_log(struct replicas *r, const struct ranges_answer *a) {
    struct shard_held upto = {.has_log = true,
                              .is_whole = true,
                              .end = a->ranges.closed_at,
                              .history = a->ranges.closed_history};
    return held_is_on_our_log(r, a->shard, &upto);
}

static void answer_compare_aside(struct sync *s, struct ranges_answer *a) {
    struct replicas *r = s->r;
    struct shard_ranges own = {0};
    struct span_found found = {.verdict = SPAN_EQUAL};
    if (r->o.store->ranges(r->o.store->ctx, a->shard, &own, NULL) == OK) {
        if (is_closed_on_our_log(r, a)) ranges_compare_aside(&own, &a->ranges, &found);
        metric_add(s->metrics.compared, 1);
        if (found.verdict == SPAN_BAD)
            (void)fix_add(s, a, &found); /* else it is asked for again */
        else if (s->aside)
            sound_cannot(r, a->shard, s->from);
    }
    ranges_fini(&own);
}

static void answer_compare(struct sync *s, struct ranges_answer *a) {
    struct replicas *r = s->r;
    struct shard_ranges own = {0};
    struct span_found found;
    struct err err;
    if (!is_mine(r, a->shard)) return;
    if (r->o.store->ranges(r->o.store->ctx, a->shard, &own, &err) == OK) {
        ranges_compare(&own, &a->ranges, &found);
#ifdef PLANT_COMPARE_NOTHING_DELETED
        if (own.count > 0 && own.at[own.count - 1].kind == RANGE_DELETED &&
            found.verdict == SPAN_DIFFERS)
            found.verdict = SPAN_EQUAL;
#endif
        metric_add(s->metrics.compared, 1);
        int primary = ring_map_primary(r->map, a->shard);
        bool leads = r->map->nodes[primary].id == s->from;
        if (s->aside && found.verdict != SPAN_BAD) sound_cannot(r, a->shard, s->from);
        if (leads) verify_compared(&s->verify, a->shard, &own, &a->ranges);
        bool differs = found.verdict == SPAN_DIFFERS && leads;
        bool taken = (found.verdict == SPAN_BAD || differs) && fix_add(s, a, &found);
        if (differs && taken) difference_tell(s, a->shard, &found); /* once for each */
        early_note(s, a->shard, found.verdict == SPAN_LATER || (differs && !taken));
    }
    ranges_fini(&own);
}

static void answer_take(struct sync *s, struct ranges_answer *a) {
    if (a->shard >= s->r->shards_count) return;
    if (a->result == RESULT_OK)
        answer_compare(s, a);
    else if (a->result == RESULT_ASIDE && is_mine(s->r, a->shard))
        answer_compare_aside(s, a);
    else
        return;
    for (size_t i = 0; i < s->asked_count; i++)
        if (s->asked[i] == a->shard) s->asked[i] = UINT32_MAX;
}

/* Of these the replica that is held back said nothing. */
static void answers_end(struct sync *s) {
    for (size_t i = 0; i < s->asked_count && s->aside; i++)
        if (s->asked[i] != UINT32_MAX) sound_refused(s->r, s->asked[i], s->from);
}

static void ask_on_reply(void *ctx, enum status status, struct sv part, bool last,
                         const struct err *err) {
    struct sync *s = ctx;
    (void)err;
    if (status == OK && !last) peer_call_cancel(s->call);
    s->call = NULL;
    s->count = 0;
    bool ok = status == OK && last && wire_open(&part, NULL) == OK;
    while (ok && part.len > 0) {
        struct ranges_answer a;
        ok = ranges_answer_get(&part, &a, NULL) == OK;
        if (ok) answer_take(s, &a);
        if (ok) ranges_fini(&a.ranges);
    }
    if (status == OK) answers_end(s);
    if (s->count > 0) {
        sync_take_begin(s);
    } else if (s->urgent && !s->aside) {
        sync_again(s);
    } else {
        sync_pause(s, look_ms(s));
    }
}

/* -- who is asked, about what */

/* The primary first, then the other whole in-sync replicas; 0: there is none. */
static node_id source_of(const struct replicas *r, uint32_t shard, unsigned attempt) {
    const struct ring_shard *sh = &r->map->shards[shard];
    node_id ids[RING_REPLICAS_MAX];
    unsigned count = 0;
    for (unsigned i = 0; i < sh->replicas_count; i++) {
        unsigned at = (sh->primary + i) % sh->replicas_count;
        const struct ring_replica *m = &sh->replicas[at];
        if (m->node != r->self && ring_replica_is_readable(m))
            ids[count++] = r->map->nodes[m->node].id;
    }
    return count == 0 ? 0 : ids[attempt % count];
}

bool sync_has_source(const struct replicas *r, uint32_t shard) {
    return source_of(r, shard, 0) != 0;
}

bool sync_is_bad(struct replicas *r, uint32_t shard) {
    struct shard_ranges own = {0};
    bool bad = is_mine(r, shard) && r->o.store->ranges(r->o.store->ctx, shard, &own, NULL) == OK &&
               ranges_have_bad(&own);
    ranges_fini(&own);
    return bad;
}

/* After a failure one at a time, each in its turn: one that cannot be given holds up no other. */
static void choose_bad(struct sync *s) {
    struct replicas *r = s->r;
    size_t max = s->attempts == 0 ? SYNC_SHARDS_MAX : 1;
    uint32_t first = s->attempts == 0 ? 0 : s->turn;
    s->urgent = true;
    for (uint32_t i = 0; i < r->shards_count && s->asked_count < max; i++) {
        uint32_t shard = (first + i) % r->shards_count;
        if (!sync_is_bad(r, shard)) continue;
        node_id from = source_of(r, shard, s->attempts);
        if (from == 0 || (s->asked_count > 0 && from != s->from)) continue;
        s->from = from;
        s->asked[s->asked_count++] = shard;
        s->turn = (shard + 1) % r->shards_count;
    }
}

/* What is bad here, of those that would be given up otherwise. */
static void choose_aside(struct sync *s) {
    struct replicas *r = s->r;
    for (uint32_t n = 0; n < r->shards_count && s->asked_count < SYNC_SHARDS_MAX; n++) {
        uint32_t i = (s->aside_turn + n) % r->shards_count;
        node_id from = is_mine(r, i) ? sound_source(r, i) : 0;
        if (from == 0 || (s->asked_count > 0 && from != s->from)) continue;
        s->from = from;
        s->asked[s->asked_count++] = i;
    }
    s->urgent = s->aside = s->asked_count > 0;
    if (s->aside) s->aside_turn = (s->asked[s->asked_count - 1] + 1) % r->shards_count;
}

/* The same of those that somebody wants to have compared now; not always the first. */
static void choose_verify(struct sync *s) {
    struct replicas *r = s->r;
    s->urgent = false;
    for (uint32_t n = 0; n < r->shards_count && s->asked_count < SYNC_SHARDS_MAX; n++) {
        uint32_t i = (s->turn + n) % r->shards_count;
        if (!verify_wants(&s->verify, i) || !is_mine(r, i) || shard_at(r, i)->role != ROLE_FOLLOWER)
            continue;
        node_id from = r->map->nodes[ring_map_primary(r->map, i)].id;
        if (from == r->o.self || (s->asked_count > 0 && from != s->from)) continue;
        s->from = from;
        s->asked[s->asked_count++] = i;
    }
    if (s->asked_count > 0) s->turn = (s->asked[s->asked_count - 1] + 1) % r->shards_count;
}

/* Of one primary, those that were not compared in this round. */
static void choose_rest(struct sync *s) {
    struct replicas *r = s->r;
    for (uint32_t i = 0; i < r->shards_count && s->asked_count < SYNC_SHARDS_MAX; i++) {
        struct shard *shard = shard_at(r, i);
        if (!is_mine(r, i) || shard->role != ROLE_FOLLOWER || shard->synced == s->round) continue;
        node_id from = r->map->nodes[ring_map_primary(r->map, i)].id;
        if (from == r->o.self || (s->asked_count > 0 && from != s->from)) continue;
        shard->synced = s->round;
        s->from = from;
        s->asked[s->asked_count++] = i;
    }
}

static void choose_due(struct sync *s) {
    struct replicas *r = s->r;
    uint64_t now_ns = core_mono_ns(r->core);
    s->urgent = false;
    if (r->o.sync_ms == 0 || now_ns < s->compare_ns) return;
    s->compare_ns = now_ns + r->o.sync_ms * UINT64_C(1000000);
    choose_rest(s);
    if (s->asked_count > 0) return;
    s->round++;
    choose_rest(s);
}

static void ask_begin(struct sync *s) {
    struct replicas *r = s->r;
    struct buf payload = {0};
    s->state = SYNC_ASKING;
    wire_begin(&payload);
    for (size_t i = 0; i < s->asked_count; i++)
        places_item_put(&(struct places_item){s->asked[i], shard_at(r, s->asked[i])->epoch},
                        &payload);
    struct peer_call_options o = {.to = s->from,
                                  .type = FRAME_RANGES,
                                  .timeout_ms = CALL_TIMEOUT_MS,
                                  .reply = ask_on_reply,
                                  .ctx = s};
    s->call = peers_call(r->o.peers, &o, &payload);
}

static void sync_on_timer(struct timer *t) {
    struct sync *s = container_of(t, struct sync, timer);
    struct replicas *r = s->r;
    assert(s->state == SYNC_IDLE);
    s->asked_count = 0;
    s->aside = false;
    verify_look(&s->verify);
    if (r->map != NULL && r->self >= 0 && r->map->nodes_count > 1) {
        if (sound_holds_any(r)) choose_aside(s);
        if (s->asked_count == 0 && r->o.store->has_bad(r->o.store->ctx)) choose_bad(s);
        if (s->asked_count == 0) choose_verify(s);
        if (s->asked_count == 0) choose_due(s);
    }
    if (s->asked_count > 0)
        ask_begin(s);
    else
        sync_pause(s, look_ms(s));
}

/* -- life */

enum status sync_new(struct replicas *r, struct sync **out, struct err *err) {
    struct sync *s = calloc(1, sizeof *s);
    if (s == NULL) return err_set(err, ERR_NOMEM, 0, "replication: out of memory");
    s->r = r;
    timer_init(&s->timer, r->core, sync_on_timer);
    s->metrics.compared = metric_get(&defs[0], NULL);
    s->metrics.differences = metric_get(&defs[1], NULL);
    s->metrics.repaired_bad = metric_get(&defs[2], "reason=\"bad\"");
    s->metrics.repaired_differs = metric_get(&defs[2], "reason=\"differs\"");
    s->metrics.failures = metric_get(&defs[3], NULL);
    *out = s;
    return OK;
}

void sync_on_map(struct sync *s) {
    s->attempts = 0;
    if (s->began || s->stopping || s->r->o.peers == NULL) return;
    s->began = true;
    s->compare_ns = core_mono_ns(s->r->core) + s->r->o.sync_ms * UINT64_C(1000000);
    timer_start(&s->timer, look_ms(s));
}

void sync_hurry(struct sync *s) {
    if (s->began && !s->stopping && s->state == SYNC_IDLE) timer_start(&s->timer, 0);
}

void sync_stop(struct sync *s) {
    s->stopping = true;
    timer_stop(&s->timer);
    if (s->call != NULL) peer_call_cancel(s->call);
    s->call = NULL;
    if (s->state == SYNC_TAKING) s->r->o.store->import_stop(s->r->o.store->ctx, &s->import);
    s->state = SYNC_IDLE;
}

struct verify *sync_verify(struct sync *s) {
    return &s->verify;
}

void sync_free(struct sync *s) {
    if (s == NULL) return;
    timer_stop(&s->timer);
    verify_fini(&s->verify);
    free(s);
}
