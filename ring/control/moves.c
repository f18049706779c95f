/* SPDX-License-Identifier: Apache-2.0 */
/* Rules 6 and 7: step by step towards the placement. */
#include <stdlib.h>
#include <string.h>

#include "node/base/hash.h"
#include "ring/control/controller_internal.h"
#include "ring/placement.h"

static bool is_placed(const struct controller *c, uint32_t node) {
    return (c->map->nodes[node].flags & RING_NODE_DRAINING) == 0 && !c->nodes[node].long_gone;
}

/* Makes the plan anew when other members are to be placed on. */
enum status moves_plan(struct controller *c, struct err *err) {
    uint64_t members_hash = c->map->settings.replication_factor + 1;
    size_t count = 0;
    struct placement_member *members = calloc(c->map->nodes_count, sizeof *members);
    if (members == NULL) return err_set(err, ERR_NOMEM, 0, "controller: out of memory");
    for (uint32_t i = 0; i < c->map->nodes_count; i++) {
        const struct ring_node *n = &c->map->nodes[i];
        if (!is_placed(c, i)) continue;
        members[count++] = (struct placement_member){
            .id = n->id, .addr = sv_from(n->addr), .zone = sv_from(n->zone)};
        members_hash = hash64(&n->id, sizeof n->id, members_hash);
        members_hash = hash64(n->zone, strlen(n->zone), members_hash);
    }
    enum status st = OK;
    if (count > 0 && (c->plan == NULL || members_hash != c->plan_members)) {
        struct ring_map *plan;
        st = placement_plan(&c->map->settings, members, count, c->map, &plan, err);
        if (st == OK) {
            ring_map_unref(c->plan);
            c->plan = plan;
            c->plan_members = members_hash;
        }
    }
    free(members);
    return st;
}

bool moves_wants(const struct controller *c, uint32_t shard, unsigned node) {
    if (c->plan == NULL) return true;
    int at = ring_map_node_index(c->plan, c->nodes[node].id);
    return at >= 0 && ring_shard_replica(&c->plan->shards[shard], at) >= 0;
}

struct mover {
    struct controller *c;
    struct ring_map *next;
    unsigned left;      /* fills that may begin */
    unsigned lead_left; /* primaries that may move */
    bool any_below;     /* a shard is under-replicated and can be healed */
};

static struct decision decision_of(const struct mover *m, uint32_t shard) {
    return (struct decision){.c = m->c,
                             .shard = &m->next->shards[shard],
                             .known = &m->c->shards[shard],
                             .index = shard,
                             .version = m->next->version,
                             .factor = nodes_factor(m->c),
                             .primary = ring_map_primary(m->next, shard)};
}

/* A shard that serves: its primary has it open in the epoch that the next map keeps. */
static bool is_quiet(const struct mover *m, uint32_t shard) {
    const struct ring_shard *s = &m->next->shards[shard];
    return m->c->shards[shard].open && s->epoch == m->c->map->shards[shard].epoch &&
           replica_is_whole(&s->replicas[s->primary]) &&
           m->c->nodes[s->replicas[s->primary].node].usable;
}

static bool has_fill(const struct ring_shard *s) {
    for (unsigned i = 0; i < s->replicas_count; i++)
        if (s->replicas[i].state == REPLICA_INIT) return true;
    return false;
}

/* A copy begins where the plan wants one. true: one did. */
static bool fill_begin(struct mover *m, struct decision *d) {
    for (uint32_t i = 0; i < m->next->nodes_count; i++) {
        struct ring_replica *r = shard_find(d, (int)i);
        if (!moves_wants(m->c, d->index, i) || !node_may_serve_more(m->c, i)) continue;
        if (r != NULL && r->state != REPLICA_LOG) continue;
        if (r != NULL && r->in_sync) { /* goes on as LOG besides */
            r->state = REPLICA_INIT;
            r->copy++;
            return true;
        }
        if (r == NULL) r = shard_add(d, i);
        if (r == NULL) return false;
        *r = (struct ring_replica){
            .node = (uint16_t)i, .state = REPLICA_INIT, .copy = copy_of_init(d->version)};
        return true;
    }
    return false;
}

static void lead_set(struct mover *m, struct decision *d, int node) {
    if (node == d->primary) return;
    d->shard->primary = (uint8_t)ring_shard_replica(d->shard, node);
    d->shard->epoch++;
    m->c->nodes[d->primary].primaries--;
    m->c->nodes[node].primaries++;
    d->primary = node;
}

static void primary_keep(struct decision *d) {
    d->shard->primary = (uint8_t)ring_shard_replica(d->shard, d->primary);
}

/* All that the plan wants are complete: the others leave, and the primary is one that stays. */
static void surplus_leave(struct mover *m, struct decision *d) {
    unsigned staying = 0;
    int leader = -1;
    for (unsigned i = 0; i < d->shard->replicas_count; i++) {
        struct ring_replica *r = &d->shard->replicas[i];
        if (!replica_is_whole(r) || !moves_wants(m->c, d->index, r->node)) continue;
        staying++;
        if (r->node == d->primary || leader < 0 ||
            (leader != d->primary &&
             m->c->nodes[r->node].primaries < m->c->nodes[leader].primaries))
            leader = r->node;
    }
    if (staying < d->factor || leader < 0 || !m->c->nodes[leader].usable) return;
    lead_set(m, d, leader);
    for (unsigned i = 0; i < d->shard->replicas_count; i++) {
        struct ring_replica *r = &d->shard->replicas[i];
        if (moves_wants(m->c, d->index, r->node)) continue;
        if (replica_is_whole(r)) {
            r->state = REPLICA_LEAVING;
            r->until = d->version;
        } else if (r->state == REPLICA_INIT) {
            shard_remove(d, r);
            i--;
        }
    }
    primary_keep(d);
}

static void balance_primary(struct mover *m, struct decision *d) {
    if (m->lead_left == 0 || m->c->plan == NULL) return;
    node_id wanted = m->c->plan->nodes[ring_map_primary(m->c->plan, d->index)].id;
    int node = ring_map_node_index(m->next, wanted);
    struct ring_replica *r = node < 0 ? NULL : shard_find(d, node);
    if (r == NULL || node == d->primary || !replica_is_whole(r)) return;
    if (!node_may_serve_more(m->c, (unsigned)node)) return;
    lead_set(m, d, node);
    m->lead_left--;
}

/* Fewer complete copies than there should be, and nobody on the way who could become one. */
static bool is_below(const struct mover *m, uint32_t shard) {
    const struct ring_shard *s = &m->next->shards[shard];
    unsigned whole = 0;
    for (unsigned i = 0; i < s->replicas_count; i++)
        whole += replica_is_whole(&s->replicas[i]);
    return whole > 0 && whole < nodes_factor(m->c);
}

static void wish_move(struct mover *m, uint32_t shard) {
    struct ctl_shard *k = &m->c->shards[shard];
    if (k->move_to == 0 || m->c->plan == NULL) return;
    struct ring_shard *planned = &m->c->plan->shards[shard];
    int from = ring_map_node_index(m->c->plan, k->move_from);
    int to = ring_map_node_index(m->c->plan, k->move_to);
    int at = from < 0 ? -1 : ring_shard_replica(planned, from);
    if (at >= 0 && to >= 0 && ring_shard_replica(planned, to) < 0)
        planned->replicas[at].node = (uint16_t)to;
    k->move_from = k->move_to = 0;
}

void moves_make(struct controller *c, struct ring_map *next) {
    struct mover m = {.c = c, .next = next, .lead_left = c->options.moves_max};
    unsigned fills = 0;
    for (uint32_t s = 0; s < next->settings.shards_count; s++) {
        wish_move(&m, s);
        fills += has_fill(&next->shards[s]);
        m.any_below |= is_below(&m, s);
    }
    if (c->plan == NULL) return;
    m.left = fills < c->options.moves_max ? c->options.moves_max - fills : 0;
    for (int pass = 0; pass < 2; pass++) /* under-replication goes before moves */
        for (uint32_t s = 0; s < next->settings.shards_count; s++) {
            struct decision d = decision_of(&m, s);
            bool below = is_below(&m, s);
            if (!is_quiet(&m, s) || below != (pass == 0)) continue;
            if (pass == 1 && !m.any_below) balance_primary(&m, &d);
            if (pass == 1) surplus_leave(&m, &d);
            if (pass == 1 && m.any_below) continue;
            if (m.left > 0 && !has_fill(d.shard) && fill_begin(&m, &d)) m.left--;
            primary_keep(&d);
        }
}
