/* SPDX-License-Identifier: Apache-2.0 */
/* Balancing by shortest chains of moves: from the most loaded member a breadth-first search over
 * "x could hand a replica to y" finds one with at least two less, and each member of the chain
 * hands one on. Every chain lowers the sum of squares, so it ends; where no chain is left, nothing
 * better can be reached by such moves. Inside one zone a chain of length one always exists. */
#include <assert.h>
#include <string.h>

#include "ring/placement_internal.h"

/* May x hand its replica of the shard to y? Never to one that has it, never at a zone's expense. */
static bool can_move(const struct placer *p, const struct ring_shard *s, unsigned x_at,
                     uint32_t y) {
    if (placer_has(s, y)) return false;
    uint16_t from = p->zone[s->replicas[x_at].node], to = p->zone[y];
    if (from == to || placer_in_zone(p, s, to, (int)x_at) == 0) return true;
    return placer_in_zone(p, s, from, (int)x_at) > 0;
}

static int replica_of(const struct ring_shard *s, uint32_t member) {
    for (unsigned i = 0; i < s->replicas_count; i++)
        if (s->replicas[i].node == member) return (int)i;
    return -1;
}

/* The most loaded member that is not stuck; MEMBER_NONE when all are. */
static uint32_t most_loaded(const struct placer *p) {
    uint32_t best = MEMBER_NONE;
    for (uint32_t i = 0; i < p->members_count; i++)
        if (!p->stuck[i] && (best == MEMBER_NONE || p->load[i] > p->load[best])) best = i;
    return best;
}

struct search {
    uint32_t from, count; /* queue[0..count) was reached, `before` says how */
    uint32_t level;       /* where in the queue the members of the newest distance begin */
};

static void search_begin(struct placer *p, struct search *q, uint32_t from) {
    memset(p->before, 0xff, p->members_count * sizeof *p->before);
    *q = (struct search){.from = from, .count = 1};
    p->queue[0] = (uint16_t)from;
    p->before[from] = (uint16_t)from;
}

static void search_reach(struct placer *p, struct search *q, uint32_t x, uint32_t y,
                         uint32_t shard) {
    if (p->before[y] != MEMBER_NONE) return;
    p->before[y] = (uint16_t)x;
    p->via[y] = shard;
    p->queue[q->count++] = (uint16_t)y;
}

/* Of the members at the newest distance the least loaded, if it has two less than the start. */
static uint32_t search_target(const struct placer *p, const struct search *q) {
    uint32_t best = MEMBER_NONE;
    for (uint32_t i = q->level; i < q->count; i++) {
        uint32_t y = p->queue[i];
        if (p->load[y] + 2 > p->load[q->from]) continue;
        if (best == MEMBER_NONE || p->load[y] < p->load[best]) best = y;
    }
    return best;
}

/* Goes on by one step from all members of the newest distance; false when none is new. */
static bool search_step(struct placer *p, struct search *q,
                        void (*expand)(struct placer *p, struct search *q, uint32_t x)) {
    uint32_t end = q->count;
    for (uint32_t i = q->level; i < end; i++)
        expand(p, q, p->queue[i]);
    q->level = end;
    return q->count > end;
}

static uint32_t search_run(struct placer *p, struct search *q, uint32_t from,
                           void (*expand)(struct placer *p, struct search *q, uint32_t x)) {
    uint32_t target = MEMBER_NONE;
    search_begin(p, q, from);
    while (target == MEMBER_NONE && search_step(p, q, expand))
        target = search_target(p, q);
    return target;
}

/* A search that found nothing would find nothing from whom it reached either: they have no more
 * than the start, and reach no others. */
static void search_give_up(struct placer *p, const struct search *q) {
    for (uint32_t i = 0; i < q->count; i++)
        p->stuck[p->queue[i]] = true;
}

/* ---- replicas ---- */

static void expand_replicas(struct placer *p, struct search *q, uint32_t x) {
    for (uint32_t s = 0; s < p->map->settings.shards_count && q->count < p->members_count; s++) {
        const struct ring_shard *shard = &p->map->shards[s];
        int at = replica_of(shard, x);
        for (uint32_t y = 0; at >= 0 && y < p->members_count; y++)
            if (p->before[y] == MEMBER_NONE && can_move(p, shard, (unsigned)at, y))
                search_reach(p, q, x, y, s);
    }
}

/* Which replica goes from x to y: one that has to be copied anyhow, if there is; one that comes
 * back home; then by score, as if it had been dealt to y at first. */
static bool hand_over(struct placer *p, uint32_t x, uint32_t y) {
    int best_cost = 2;
    uint64_t best_score = 0;
    struct ring_replica *best = NULL;
    for (uint32_t s = 0; s < p->map->settings.shards_count; s++) {
        struct ring_shard *shard = &p->map->shards[s];
        int at = replica_of(shard, x);
        if (at < 0 || !can_move(p, shard, (unsigned)at, y)) continue;
        int cost = (int)placer_held(p, s, x) - (int)placer_held(p, s, y);
        uint64_t score = placer_score(p, s, y);
        if (cost > best_cost || (cost == best_cost && score <= best_score)) continue;
        best = &shard->replicas[at];
        best_cost = cost;
        best_score = score;
    }
    if (best == NULL) return false;
    best->node = (uint16_t)y;
    p->load[x]--;
    p->load[y]++;
    return true;
}

void placer_balance(struct placer *p) {
    struct search q;
    memset(p->stuck, 0, p->members_count * sizeof *p->stuck);
    for (uint32_t from; (from = most_loaded(p)) != MEMBER_NONE;) {
        uint32_t y = search_run(p, &q, from, expand_replicas);
        if (y == MEMBER_NONE) search_give_up(p, &q);
        /* from the far end, so that nobody gets more than it had; a step that the later ones of
         * the chain made impossible ends it */
        for (; y != MEMBER_NONE && y != from; y = p->before[y]) {
            if (hand_over(p, p->before[y], y)) continue;
            p->stuck[from] = true;
            break;
        }
    }
}

/* ---- primaries ---- */

static bool can_lead(const struct ring_replica *r) {
    return r->state == REPLICA_FULL && r->in_sync;
}

static void expand_primaries(struct placer *p, struct search *q, uint32_t x) {
    for (uint32_t s = p->first[x]; s != UINT32_MAX; s = p->next[s]) {
        const struct ring_shard *shard = &p->map->shards[s];
        for (unsigned i = 0; i < shard->replicas_count; i++)
            if (can_lead(&shard->replicas[i])) search_reach(p, q, x, shard->replicas[i].node, s);
    }
}

static void primaries_list(struct placer *p, const int32_t *primary) {
    memset(p->first, 0xff, p->members_count * sizeof *p->first);
    for (uint32_t s = p->map->settings.shards_count; s-- > 0;) {
        uint32_t m = (uint32_t)primary[s];
        p->next[s] = p->first[m];
        p->first[m] = s;
    }
}

static void elect_first(struct placer *p, int32_t *primary) {
    memset(p->load, 0, p->members_count * sizeof *p->load);
    for (uint32_t s = 0; s < p->map->settings.shards_count; s++)
        if (primary[s] >= 0) p->load[primary[s]]++;
    for (uint32_t s = 0; s < p->map->settings.shards_count; s++) {
        const struct ring_shard *shard = &p->map->shards[s];
        if (primary[s] >= 0) continue;
        for (unsigned i = 0; i < shard->replicas_count; i++) {
            const struct ring_replica *r = &shard->replicas[i];
            if (can_lead(r) && (primary[s] < 0 || p->load[r->node] < p->load[primary[s]]))
                primary[s] = r->node;
        }
        assert(primary[s] >= 0); /* the caller has looked */
        p->load[primary[s]]++;
    }
}

void placer_elect(struct placer *p, int32_t *primary) {
    struct search q;
    elect_first(p, primary);
    memset(p->stuck, 0, p->members_count * sizeof *p->stuck);
    for (uint32_t from; (from = most_loaded(p)) != MEMBER_NONE;) {
        primaries_list(p, primary);
        uint32_t y = search_run(p, &q, from, expand_primaries);
        if (y == MEMBER_NONE) {
            search_give_up(p, &q);
            continue;
        }
        p->load[y]++;
        p->load[from]--;
        for (; y != from; y = p->before[y]) /* each shard of the chain has another primary */
            primary[p->via[y]] = (int32_t)y;
    }
}
