/* SPDX-License-Identifier: Apache-2.0 */
#include "ring/placement.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "node/base/hash.h"

/* State of one run: members in the order of their ids, so that every node computes the same. */
struct placer {
    const struct placement_member **members;
    uint32_t *load, *primaries; /* per member: replicas and primaries given so far */
    uint16_t *order;            /* scratch: members by preference for one shard */
    uint64_t *score;
    uint32_t members_count;
    uint32_t factor, load_max, primaries_max;
    const struct ring_map *previous;
};

static int member_cmp(const void *a, const void *b) {
    const struct placement_member *x = *(const struct placement_member *const *)a;
    const struct placement_member *y = *(const struct placement_member *const *)b;
    return x->id < y->id ? -1 : x->id > y->id;
}

static uint64_t rendezvous(uint32_t shard, node_id id) {
    uint64_t key[2] = {shard, id};
    return hash64(key, sizeof key, 0);
}

static bool had_replica(const struct placer *p, uint32_t shard, node_id id) {
    if (p->previous == NULL || shard >= p->previous->settings.shards_count) return false;
    const struct ring_shard *s = &p->previous->shards[shard];
    for (unsigned i = 0; i < s->replicas_count; i++)
        if (s->replicas[i].state != REPLICA_LEAVING &&
            p->previous->nodes[s->replicas[i].node].id == id)
            return true;
    return false;
}

/* Members by preference: those that hold the shard already, then by rendezvous score. */
static void placer_rank(struct placer *p, uint32_t shard) {
    for (uint32_t i = 0; i < p->members_count; i++) {
        node_id id = p->members[i]->id;
        uint64_t score =
            rendezvous(shard, id) >> 1 | (had_replica(p, shard, id) ? (uint64_t)1 << 63 : 0);
        uint32_t at = i;
        while (at > 0 && p->score[at - 1] < score) {
            p->score[at] = p->score[at - 1];
            p->order[at] = p->order[at - 1];
            at--;
        }
        p->score[at] = score;
        p->order[at] = (uint16_t)i;
    }
}

static bool zone_taken(const struct placer *p, const struct ring_shard *s, uint32_t member) {
    for (unsigned i = 0; i < s->replicas_count; i++)
        if (sv_eq(p->members[s->replicas[i].node]->zone, p->members[member]->zone)) return true;
    return false;
}

static bool is_replica(const struct ring_shard *s, uint32_t member) {
    for (unsigned i = 0; i < s->replicas_count; i++)
        if (s->replicas[i].node == member) return true;
    return false;
}

/* Zones first, then balance; each relaxed only when nothing else is left. */
static void placer_choose(struct placer *p, struct ring_shard *s) {
    for (unsigned relaxed = 0; relaxed < 4 && s->replicas_count < p->factor; relaxed++) {
        bool any_zone = relaxed & 1, any_load = relaxed & 2;
        for (uint32_t i = 0; i < p->members_count && s->replicas_count < p->factor; i++) {
            uint16_t m = p->order[i];
            if (is_replica(s, m) || (!any_zone && zone_taken(p, s, m))) continue;
            if (!any_load && p->load[m] >= p->load_max) continue;
            s->replicas[s->replicas_count++] = (struct ring_replica){
                .node = m, .state = REPLICA_FULL, .in_sync = true, .incarnation = 1};
            p->load[m]++;
        }
    }
}

static void placer_elect(struct placer *p, struct ring_shard *s) {
    unsigned best = 0;
    for (unsigned i = 1; i < s->replicas_count; i++) {
        uint32_t now = p->primaries[s->replicas[best].node],
                 other = p->primaries[s->replicas[i].node];
        if (now >= p->primaries_max && other < now) best = i;
    }
    s->primary = (uint8_t)best;
    p->primaries[s->replicas[best].node]++;
}

/* A shard that exists already: who holds it keeps its state, who is new must be filled, who goes
 * serves until then; the primary stays with one that holds everything. */
static void placer_carry_over(struct placer *p, uint32_t shard, struct ring_shard *s) {
    const struct ring_shard *old = &p->previous->shards[shard];
    s->epoch = old->epoch;
    struct ring_shard wanted = *s;
    int primary = -1;
    for (unsigned i = 0; i < wanted.replicas_count; i++) {
        struct ring_replica *r = &s->replicas[i];
        *r = (struct ring_replica){
            .node = wanted.replicas[i].node, .state = REPLICA_INIT, .incarnation = 1};
        for (unsigned k = 0; k < old->replicas_count; k++)
            if (p->previous->nodes[old->replicas[k].node].id == p->members[r->node]->id) {
                uint16_t node = r->node;
                *r = old->replicas[k];
                r->node = node;
                if (k == old->primary) primary = (int)i;
            }
    }
    for (unsigned k = 0; k < old->replicas_count && s->replicas_count < RING_REPLICAS_MAX; k++) {
        node_id id = p->previous->nodes[old->replicas[k].node].id;
        uint32_t m = 0;
        while (m < p->members_count && p->members[m]->id != id)
            m++;
        if (m == p->members_count || is_replica(s, m)) continue; /* the node itself has left */
        struct ring_replica r = old->replicas[k];
        r.node = (uint16_t)m;
        if (k == old->primary)
            primary = s->replicas_count; /* serves on until a successor is filled */
        else
            r.state = REPLICA_LEAVING;
        s->replicas[s->replicas_count++] = r;
    }
    for (unsigned i = 0; primary < 0 && i < s->replicas_count; i++)
        if (s->replicas[i].state == REPLICA_FULL && s->replicas[i].in_sync) {
            primary = (int)i;
            s->epoch++;
        }
    s->primary = (uint8_t)MAX(primary, 0);
}

static enum status placer_init(struct placer *p, const struct ring_settings *settings,
                               const struct placement_member *members, size_t count,
                               struct err *err) {
    p->members_count = (uint32_t)count;
    p->factor = MIN(settings->replication_factor, p->members_count);
    uint64_t total = (uint64_t)settings->shards_count * p->factor;
    p->load_max = (uint32_t)((total + count - 1) / count);
    p->primaries_max = (uint32_t)((settings->shards_count + count - 1) / count);
    p->members = calloc(count, sizeof *p->members);
    p->load = calloc(count, sizeof *p->load);
    p->primaries = calloc(count, sizeof *p->primaries);
    p->order = calloc(count, sizeof *p->order);
    p->score = calloc(count, sizeof *p->score);
    if (p->members == NULL || p->load == NULL || p->primaries == NULL || p->order == NULL ||
        p->score == NULL)
        return err_set(err, ERR_NOMEM, 0, "placement: out of memory");
    for (size_t i = 0; i < count; i++)
        p->members[i] = &members[i];
    qsort(p->members, count, sizeof *p->members, member_cmp);
    for (size_t i = 1; i < count; i++)
        if (p->members[i]->id == p->members[i - 1]->id)
            return err_set(err, ERR_CONFLICT, 0, "placement: two members have the same id");
    return OK;
}

static void placer_fini(struct placer *p) {
    free(p->members);
    free(p->load);
    free(p->primaries);
    free(p->order);
    free(p->score);
}

static enum status placer_fill(struct placer *p, struct ring_map *map, struct err *err) {
    for (uint32_t i = 0; i < map->nodes_count; i++) {
        struct ring_node *n = &map->nodes[i];
        const struct placement_member *m = p->members[i];
        if (m->addr.len >= sizeof n->addr || m->zone.len >= sizeof n->zone)
            return err_set(err, ERR_LIMIT, 0, "placement: address or zone of a member is too long");
        n->id = m->id;
        memcpy(n->addr, m->addr.ptr, m->addr.len);
        if (m->zone.len > 0) memcpy(n->zone, m->zone.ptr, m->zone.len);
    }
    for (uint32_t s = 0; s < map->settings.shards_count; s++) {
        struct ring_shard *shard = &map->shards[s];
        shard->epoch = 1;
        placer_rank(p, s);
        placer_choose(p, shard);
        placer_elect(p, shard);
        if (p->previous != NULL) placer_carry_over(p, s, shard);
    }
    return ring_map_check(map, err);
}

enum status placement_make(const struct ring_settings *settings,
                           const struct placement_member *members, size_t members_count,
                           const struct ring_map *previous, struct ring_map **out,
                           struct err *err) {
    if (members_count == 0 || members_count > RING_NODES_MAX)
        return err_set(err, ERR_LIMIT, 0, "placement: %zu members, 1 to %d are possible",
                       members_count, RING_NODES_MAX);
    if (settings->replication_factor == 0 || settings->replication_factor > RING_REPLICAS_MAX)
        return err_set(err, ERR_LIMIT, 0, "placement: replication factor must be 1 to %d",
                       RING_REPLICAS_MAX);
    assert(previous == NULL || previous->settings.shards_count == settings->shards_count);
    struct placer p = {.previous = previous};
    struct ring_map *map = NULL;
    enum status st = placer_init(&p, settings, members, members_count, err);
    if (st == OK) st = ring_map_new((uint32_t)members_count, settings->shards_count, &map, err);
    if (st == OK) {
        map->settings = *settings;
        map->version = previous == NULL ? 1 : previous->version + 1;
        st = placer_fill(&p, map, err);
    }
    placer_fini(&p);
    if (st != OK) {
        ring_map_unref(map);
        return st;
    }
    *out = map;
    return OK;
}

void placement_cores(const struct ring_map *map, node_id self, unsigned cores_count,
                     uint16_t *core_of) {
    int node = ring_map_node_index(map, self);
    unsigned next_primary = 0, next_other = 0;
    for (uint32_t s = 0; s < map->settings.shards_count; s++) {
        const struct ring_shard *shard = &map->shards[s];
        core_of[s] = 0xffff;
        for (unsigned i = 0; i < shard->replicas_count; i++) {
            if (shard->replicas[i].node != node) continue;
            unsigned *next = i == shard->primary ? &next_primary : &next_other;
            core_of[s] = (uint16_t)*next;
            *next = (*next + 1) % cores_count;
        }
    }
}
