/* SPDX-License-Identifier: Apache-2.0 */
#include "ring/placement.h"

#include <assert.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "node/base/hash.h"
#include "ring/placement_internal.h"

uint64_t placer_score(const struct placer *p, uint32_t shard, uint32_t member) {
    uint64_t key[2] = {shard, p->members[member]->id};
    return hash64(key, sizeof key, 0);
}

static const struct ring_shard *old_shard(const struct placer *p, uint32_t shard) {
    return p->previous == NULL ? NULL : &p->previous->shards[shard];
}

static uint16_t old_member(const struct placer *p, const struct ring_replica *r) {
    return p->member_of[r->node];
}

/* It has the shard's data, or is getting them. */
static bool is_copy(const struct ring_replica *r) {
    return r->state == REPLICA_FULL || r->state == REPLICA_INIT;
}

bool placer_held(const struct placer *p, uint32_t shard, uint32_t member) {
    const struct ring_shard *old = old_shard(p, shard);
    for (unsigned i = 0; old != NULL && i < old->replicas_count; i++)
        if (is_copy(&old->replicas[i]) && old_member(p, &old->replicas[i]) == member) return true;
    return false;
}

bool placer_has(const struct ring_shard *s, uint32_t member) {
    for (unsigned i = 0; i < s->replicas_count; i++)
        if (s->replicas[i].node == member) return true;
    return false;
}

unsigned placer_in_zone(const struct placer *p, const struct ring_shard *s, uint16_t zone,
                        int except) {
    unsigned count = 0;
    for (unsigned i = 0; i < s->replicas_count; i++)
        if ((int)i != except && p->zone[s->replicas[i].node] == zone) count++;
    return count;
}

/* ---- who stays ---- */

static unsigned zones_of(const struct placer *p, const struct ring_shard *s) {
    unsigned count = 0;
    for (unsigned i = 0; i < s->replicas_count; i++) {
        uint16_t zone = p->zone[s->replicas[i].node];
        unsigned k = 0;
        while (p->zone[s->replicas[k].node] != zone)
            k++;
        count += k == i;
    }
    return count;
}

/* The replica that a shard can spare best: one whose zone has another, on the most loaded member.
 */
static void placer_drop_one(struct placer *p, struct ring_shard *s) {
    unsigned best = 0;
    bool best_shared = false;
    for (unsigned i = 0; i < s->replicas_count; i++) {
        uint16_t m = s->replicas[i].node, b = s->replicas[best].node;
        bool shared = placer_in_zone(p, s, p->zone[m], (int)i) > 0;
        if (i == 0 || (shared && !best_shared) ||
            (shared == best_shared && p->load[m] >= p->load[b])) {
            best = i;
            best_shared = shared;
        }
    }
    p->load[s->replicas[best].node]--;
    s->replicas[best] = s->replicas[--s->replicas_count];
}

static void placer_keep(struct placer *p) {
    uint32_t shards_count = p->map->settings.shards_count;
    for (uint32_t i = 0; i < shards_count; i++) {
        struct ring_shard *s = &p->map->shards[i];
        const struct ring_shard *old = old_shard(p, i);
        for (unsigned k = 0; old != NULL && k < 2U * old->replicas_count; k++) {
            /* copies first; where room is left, who logs for one that is lost has the next call */
            const struct ring_replica *r = &old->replicas[k % old->replicas_count];
            uint16_t m = old_member(p, r);
            bool wanted = k < old->replicas_count ? is_copy(r)
                                                  : r->state == REPLICA_LOG && r->in_sync &&
                                                        s->replicas_count < p->factor;
            if (m == MEMBER_NONE || !wanted) continue;
            s->replicas[s->replicas_count++].node = m;
            p->load[m]++;
        }
    }
    unsigned zones_wanted = MIN(p->factor, p->zones_count);
    for (uint32_t i = 0; i < shards_count; i++) {
        struct ring_shard *s = &p->map->shards[i];
        while (s->replicas_count > p->factor)
            placer_drop_one(p, s);
        /* room for a zone that the shard could have and has not */
        while (s->replicas_count > 0 &&
               zones_of(p, s) + (p->factor - s->replicas_count) < zones_wanted)
            placer_drop_one(p, s);
    }
}

/* ---- who is added ---- */

/* Zones first, then balance; each relaxed only where nothing else is left. */
static void placer_add_one(struct placer *p, struct ring_shard *s) {
    for (unsigned relaxed = 0; relaxed < 4; relaxed++) {
        bool any_load = relaxed & 1, any_zone = relaxed & 2;
        uint32_t best = MEMBER_NONE;
        for (uint32_t m = 0; m < p->members_count; m++) {
            if (best != MEMBER_NONE && p->score[m] <= p->score[best] && !any_load) continue;
            if (placer_has(s, m) || (!any_load && p->load[m] >= p->load_max)) continue;
            if (!any_zone && placer_in_zone(p, s, p->zone[m], -1) > 0) continue;
            if (best == MEMBER_NONE || !any_load || p->load[m] < p->load[best]) best = m;
        }
        if (best == MEMBER_NONE) continue;
        s->replicas[s->replicas_count++].node = (uint16_t)best;
        p->load[best]++;
        return;
    }
    assert(!"fewer members than the factor");
}

static void placer_add(struct placer *p) {
    for (uint32_t i = 0; i < p->map->settings.shards_count; i++) {
        struct ring_shard *s = &p->map->shards[i];
        if (s->replicas_count == p->factor) continue;
        for (uint32_t m = 0; m < p->members_count; m++)
            p->score[m] = placer_score(p, i, m);
        while (s->replicas_count < p->factor)
            placer_add_one(p, s);
    }
}

/* ---- states ---- */

/* Who holds a shard keeps its state, who is new must be filled, who goes serves until then. The
 * primary goes on while it stays, or while nobody who stays holds everything; -1: to be elected.
 * MEMBER_NONE: nobody is left who could lead. */
static int32_t placer_carry_over(const struct placer *p, uint32_t shard) {
    struct ring_shard *s = &p->map->shards[shard];
    const struct ring_shard *old = old_shard(p, shard);
    int32_t old_primary = old_member(p, &old->replicas[old->primary]);
    bool can_lead = false;
    for (unsigned i = 0; i < s->replicas_count; i++) {
        struct ring_replica *r = &s->replicas[i];
        *r = (struct ring_replica){.node = r->node, .state = REPLICA_INIT, .copy = 1};
        for (unsigned k = 0; k < old->replicas_count; k++) {
            if (old_member(p, &old->replicas[k]) != r->node) continue;
            uint16_t node = r->node;
            *r = old->replicas[k];
            r->node = node;
            if (r->state == REPLICA_LEAVING) {
                r->state = r->in_sync ? REPLICA_FULL : REPLICA_INIT;
                r->until = 0;
            } else if (r->state == REPLICA_LOG) {
                r->state = REPLICA_INIT;
                r->copy++;
            }
        }
        can_lead |= r->state == REPLICA_FULL && r->in_sync;
    }
    bool stays = old_primary != MEMBER_NONE && placer_has(s, (uint32_t)old_primary);
    unsigned serving = old->primary;
    for (unsigned k = 0; !can_lead && old_primary == MEMBER_NONE && k < old->replicas_count; k++) {
        if (!ring_replica_is_readable(&old->replicas[k])) continue;
        old_primary = old_member(p, &old->replicas[k]);
        serving = k;
    }
    bool serves_on = !stays && !can_lead && old_primary != MEMBER_NONE;
    for (unsigned k = 0; k < old->replicas_count && s->replicas_count < RING_REPLICAS_MAX; k++) {
        struct ring_replica r = old->replicas[k];
        r.node = old_member(p, &r);
        if (r.node == MEMBER_NONE || placer_has(s, r.node)) continue; /* the node itself is gone */
        if (!r.in_sync || r.state == REPLICA_LOG) continue;           /* nobody waits for it */
        if (!serves_on || k != serving) {
            r.state = REPLICA_LEAVING;
            r.until = p->map->version;
        }
        s->replicas[s->replicas_count++] = r;
    }
    if (stays || (serves_on && placer_has(s, (uint32_t)old_primary))) return old_primary;
    return can_lead ? -1 : MEMBER_NONE;
}

static enum status placer_states(struct placer *p, int32_t *primary, struct err *err) {
    for (uint32_t i = 0; i < p->map->settings.shards_count; i++) {
        struct ring_shard *s = &p->map->shards[i];
        primary[i] = -1;
        if (p->previous != NULL && !p->plan) {
            primary[i] = placer_carry_over(p, i);
            if (primary[i] == MEMBER_NONE)
                return err_set(
                    err, ERR_CONFLICT, 0,
                    "placement: no full in-sync replica of shard %" PRIu32 " would be left", i);
            continue;
        }
        if (p->previous != NULL) {
            uint16_t m = old_member(p, &old_shard(p, i)->replicas[old_shard(p, i)->primary]);
            if (m != MEMBER_NONE && placer_has(s, m)) primary[i] = m;
        }
        for (unsigned k = 0; k < s->replicas_count; k++)
            s->replicas[k] = (struct ring_replica){
                .node = s->replicas[k].node, .state = REPLICA_FULL, .in_sync = true, .copy = 1};
    }
    placer_elect(p, primary);
    for (uint32_t i = 0; i < p->map->settings.shards_count; i++) {
        struct ring_shard *s = &p->map->shards[i];
        const struct ring_shard *old = old_shard(p, i);
        while (s->replicas[s->primary].node != primary[i])
            s->primary++;
        s->epoch = old == NULL ? 1 : old->epoch;
        if (old != NULL && old_member(p, &old->replicas[old->primary]) != primary[i]) s->epoch++;
    }
    return OK;
}

/* ---- one run ---- */

static int member_cmp(const void *a, const void *b) {
    const struct placement_member *x = *(const struct placement_member *const *)a;
    const struct placement_member *y = *(const struct placement_member *const *)b;
    return x->id < y->id ? -1 : x->id > y->id;
}

static enum status placer_members(struct placer *p, const struct placement_member *members,
                                  struct err *err) {
    for (uint32_t i = 0; i < p->members_count; i++)
        p->members[i] = &members[i];
    qsort(p->members, p->members_count, sizeof *p->members, member_cmp);
    for (uint32_t i = 0; i < p->members_count; i++) {
        const struct placement_member *m = p->members[i];
        struct ring_node *n = &p->map->nodes[i];
        if (m->id == 0 || (i > 0 && m->id == p->members[i - 1]->id))
            return err_set(err, ERR_CONFLICT, 0, "placement: %s",
                           m->id == 0 ? "a member has no id" : "two members have the same id");
        if (m->addr.len >= sizeof n->addr || m->zone.len >= sizeof n->zone)
            return err_set(err, ERR_LIMIT, 0, "placement: address or zone of a member is too long");
        n->id = m->id;
        if (m->addr.len > 0) memcpy(n->addr, m->addr.ptr, m->addr.len);
        if (m->zone.len > 0) memcpy(n->zone, m->zone.ptr, m->zone.len);
        uint32_t k = 0;
        while (!sv_eq(p->members[k]->zone, m->zone))
            k++;
        p->zone[i] = k < i ? p->zone[k] : (uint16_t)p->zones_count++;
    }
    for (uint32_t i = 0; p->previous != NULL && i < p->previous->nodes_count; i++) {
        int m = ring_map_node_index(p->map, p->previous->nodes[i].id);
        p->member_of[i] = m < 0 ? MEMBER_NONE : (uint16_t)m;
    }
    return OK;
}

static bool placer_alloc(struct placer *p, uint32_t shards_count) {
    size_t n = p->members_count, old = p->previous == NULL ? 0 : p->previous->nodes_count;
    p->members = calloc(n, sizeof *p->members);
    p->zone = calloc(n, sizeof *p->zone);
    p->load = calloc(n, sizeof *p->load);
    p->score = calloc(n, sizeof *p->score);
    p->queue = calloc(n, sizeof *p->queue);
    p->before = calloc(n, sizeof *p->before);
    p->via = calloc(n, sizeof *p->via);
    p->stuck = calloc(n, sizeof *p->stuck);
    p->first = calloc(n, sizeof *p->first);
    p->next = calloc(shards_count, sizeof *p->next);
    p->member_of = calloc(old + 1, sizeof *p->member_of);
    return p->members != NULL && p->zone != NULL && p->load != NULL && p->score != NULL &&
           p->queue != NULL && p->before != NULL && p->via != NULL && p->stuck != NULL &&
           p->first != NULL && p->next != NULL && p->member_of != NULL;
}

static void placer_fini(struct placer *p) {
    free(p->members);
    free(p->zone);
    free(p->load);
    free(p->score);
    free(p->queue);
    free(p->before);
    free(p->via);
    free(p->stuck);
    free(p->first);
    free(p->next);
    free(p->member_of);
}

static enum status placer_run(struct placer *p, const struct placement_member *members,
                              struct err *err) {
    uint32_t shards_count = p->map->settings.shards_count;
    int32_t *primary = calloc(shards_count, sizeof *primary);
    enum status st = OK;
    if (primary == NULL || !placer_alloc(p, shards_count))
        st = err_set(err, ERR_NOMEM, 0, "placement: out of memory");
    if (st == OK) st = placer_members(p, members, err);
    if (st == OK) {
        placer_keep(p);
        placer_add(p);
        placer_balance(p);
        st = placer_states(p, primary, err);
    }
    if (st == OK) st = ring_map_check(p->map, err);
    free(primary);
    placer_fini(p);
    return st;
}

static enum status placer_make(struct placer *base, const struct ring_settings *settings,
                               const struct placement_member *members, struct ring_map **out,
                               struct err *err) {
    const struct ring_map *previous = base->previous;
    size_t members_count = base->members_count;
    if (members_count == 0 || members_count > RING_NODES_MAX)
        return err_set(err, ERR_LIMIT, 0, "placement: %zu members, 1 to %d are possible",
                       members_count, RING_NODES_MAX);
    if (settings->replication_factor == 0 || settings->replication_factor > RING_REPLICAS_MAX)
        return err_set(err, ERR_LIMIT, 0, "placement: replication factor must be 1 to %d",
                       RING_REPLICAS_MAX);
    assert(previous == NULL || previous->settings.shards_count == settings->shards_count);
    struct ring_map *map;
    TRY(ring_map_new((uint32_t)members_count, settings->shards_count, &map, err));
    map->settings = *settings;
    map->version = previous == NULL ? 1 : previous->version + 1;
    uint32_t factor = MIN(settings->replication_factor, (uint32_t)members_count);
    uint64_t replicas = (uint64_t)settings->shards_count * factor;
    struct placer p = {.previous = previous,
                       .plan = base->plan,
                       .map = map,
                       .members_count = (uint32_t)members_count,
                       .factor = factor,
                       .load_max = (uint32_t)((replicas + members_count - 1) / members_count)};
    enum status st = placer_run(&p, members, err);
    if (st == OK)
        *out = map;
    else
        ring_map_unref(map);
    return st;
}

enum status placement_make(const struct ring_settings *settings,
                           const struct placement_member *members, size_t members_count,
                           const struct ring_map *previous, struct ring_map **out,
                           struct err *err) {
    struct placer base = {.previous = previous, .members_count = (uint32_t)members_count};
    if (members_count > RING_NODES_MAX) base.members_count = RING_NODES_MAX + 1;
    return placer_make(&base, settings, members, out, err);
}

enum status placement_plan(const struct ring_settings *settings,
                           const struct placement_member *members, size_t members_count,
                           const struct ring_map *previous, struct ring_map **out,
                           struct err *err) {
    struct placer base = {
        .previous = previous, .plan = true, .members_count = (uint32_t)members_count};
    if (members_count > RING_NODES_MAX) base.members_count = RING_NODES_MAX + 1;
    return placer_make(&base, settings, members, out, err);
}

/* Primaries are dealt first, the others go on where these end: so the cores differ by one at most
 * in either and in the sum. */
void placement_cores(const struct ring_map *map, node_id self, unsigned cores_count,
                     uint16_t *core_of) {
    assert(cores_count > 0 && cores_count < 0xffff);
    int node = ring_map_node_index(map, self);
    unsigned next = 0;
    memset(core_of, 0xff, map->settings.shards_count * sizeof *core_of);
    for (int primaries = 1; primaries >= 0; primaries--)
        for (uint32_t s = 0; s < map->settings.shards_count; s++) {
            const struct ring_shard *shard = &map->shards[s];
            for (unsigned i = 0; i < shard->replicas_count; i++) {
                if (shard->replicas[i].node != node || (i == shard->primary) != primaries) continue;
                core_of[s] = (uint16_t)next;
                next = (next + 1) % cores_count;
            }
        }
}
