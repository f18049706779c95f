/* SPDX-License-Identifier: Apache-2.0 */
/* What people and joining nodes want, and what heartbeats say of the nodes themselves. */
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "ring/control/controller_internal.h"

enum status controller_join(struct controller *c, const struct ring_node *node, struct err *err) {
    if (node->id == 0) return err_set(err, ERR_CONFLICT, 0, "join: a node without an id");
    int at = ring_map_node_index(c->map, node->id);
    if (at >= 0 && node->incarnation < MAX(c->nodes[at].incarnation, c->map->nodes[at].incarnation))
        return err_set(err, ERR_CONFLICT, 0,
                       "join: a newer process of node %016" PRIx64 " is a member", node->id);
    if (at >= 0) return OK; /* its heartbeats say the rest */
    for (size_t i = 0; i < c->joins_count; i++)
        if (c->joins[i].id == node->id) {
            c->joins[i] = *node;
            return OK;
        }
    if (c->map->nodes_count + c->joins_count >= RING_NODES_MAX)
        return err_set(err, ERR_CONFLICT, 0, "join: the cluster has %" PRIu32 " nodes, %d can be",
                       c->map->nodes_count, RING_NODES_MAX);
    struct ring_node *joins = realloc(c->joins, (c->joins_count + 1) * sizeof *joins);
    if (joins == NULL) return err_set(err, ERR_NOMEM, 0, "join: out of memory");
    c->joins = joins;
    joins[c->joins_count] = *node;
    joins[c->joins_count++].flags = 0;
    return OK;
}

static enum status wish(struct controller *c, node_id id, int kind, struct err *err) {
    if (ring_map_node_index(c->map, id) < 0)
        return err_set(err, ERR_CONFLICT, 0, "node %016" PRIx64 " is not a member", id);
    size_t at = 0;
    while (at < c->wishes_count && c->wishes[at].id != id)
        at++;
    if (at == ARRAY_LEN(c->wishes))
        return err_set(err, ERR_CONFLICT, 0, "%zu changes of members are waiting", at);
    c->wishes[at].id = id;
    c->wishes[at].kind = kind;
    if (at == c->wishes_count) c->wishes_count++;
    return OK;
}

enum status controller_drain(struct controller *c, node_id id, bool on, struct err *err) {
    uint32_t staying = 0;
    for (uint32_t i = 0; i < c->map->nodes_count; i++)
        staying += c->map->nodes[i].id != id && (c->map->nodes[i].flags & RING_NODE_DRAINING) == 0;
    if (on && staying == 0) return err_set(err, ERR_CONFLICT, 0, "drain: no other node would stay");
    return wish(c, id, on ? WISH_DRAIN : WISH_UNDRAIN, err);
}

enum status controller_remove(struct controller *c, node_id id, struct err *err) {
    int at = ring_map_node_index(c->map, id);
    if (at >= 0 && c->nodes[at].heard && !c->nodes[at].gone)
        return err_set(err, ERR_CONFLICT, 0,
                       "remove: node %016" PRIx64 " is alive; drain it instead", id);
    for (uint32_t s = 0; at >= 0 && s < c->map->settings.shards_count; s++) {
        const struct ring_shard *shard = &c->map->shards[s];
        int mine = ring_shard_replica(shard, at);
        bool other = false;
        for (unsigned i = 0; i < shard->replicas_count; i++)
            other |= (int)i != mine && replica_is_whole(&shard->replicas[i]);
        if (mine >= 0 && !other)
            return err_set(err, ERR_CONFLICT, 0,
                           "remove: shard %" PRIu32 " has no other complete copy; accept its loss "
                           "first, if nothing else is left",
                           s);
    }
    return wish(c, id, WISH_REMOVE, err);
}

enum status controller_move(struct controller *c, uint32_t shard, node_id from, node_id to,
                            struct err *err) {
    int f = ring_map_node_index(c->map, from), t = ring_map_node_index(c->map, to);
    if (shard >= c->map->settings.shards_count)
        return err_set(err, ERR_CONFLICT, 0, "move: there is no shard %" PRIu32, shard);
    if (f < 0 || t < 0)
        return err_set(err, ERR_CONFLICT, 0, "move: node %016" PRIx64 " is not a member",
                       f < 0 ? from : to);
    if (ring_shard_replica(&c->map->shards[shard], f) < 0)
        return err_set(err, ERR_CONFLICT, 0, "move: shard %" PRIu32 " is not on node %016" PRIx64,
                       shard, from);
    if (!node_may_serve_more(c, (unsigned)t))
        return err_set(err, ERR_CONFLICT, 0, "move: node %016" PRIx64 " is down or being drained",
                       to);
    int at = ring_shard_replica(&c->map->shards[shard], t);
    if (at >= 0 && c->map->shards[shard].replicas[at].state != REPLICA_LOG)
        return err_set(err, ERR_CONFLICT, 0, "move: shard %" PRIu32 " is on node %016" PRIx64,
                       shard, to);
    c->shards[shard].move_from = from;
    c->shards[shard].move_to = to;
    return OK;
}

static bool says_damaged(const struct controller *c, uint32_t shard, const struct ring_replica *r) {
    const struct ctl_shard *k = &c->shards[shard];
    for (unsigned i = 0; i < k->notes_count; i++)
        if (k->notes[i].kind == REPORT_DAMAGED && k->notes[i].about == c->nodes[r->node].id)
            return true;
    return false;
}

enum status controller_accept_loss(struct controller *c, uint32_t shard, struct err *err) {
    if (shard >= c->map->settings.shards_count)
        return err_set(err, ERR_CONFLICT, 0, "accept-loss: there is no shard %" PRIu32, shard);
    const struct ring_shard *s = &c->map->shards[shard];
    for (unsigned i = 0; i < s->replicas_count; i++) {
        const struct ring_replica *r = &s->replicas[i];
        if (!ring_replica_is_readable(r) || c->nodes[r->node].gone || says_damaged(c, shard, r))
            continue;
        if (i != s->primary || c->shards[shard].open)
            return err_set(err, ERR_CONFLICT, 0,
                           "accept-loss: shard %" PRIu32 " has a complete copy", shard);
    }
    c->shards[shard].accept_loss = true;
    return OK;
}

/* FULL before INIT, then who was in sync last; then any node at all, empty. Entries that only LOG
 * replicas have go. */
void wishes_accept_loss(struct decision *d) {
    struct ring_replica *best = NULL;
    for (unsigned i = 0; i < d->shard->replicas_count; i++) {
        struct ring_replica *r = &d->shard->replicas[i];
        bool copy = r->state == REPLICA_FULL || (r->state == REPLICA_INIT && !r->in_sync);
        if (!copy || !d->c->nodes[r->node].usable || shard_is_damaged(d, r)) continue;
        if (best == NULL || r->state < best->state ||
            (r->state == best->state && r->until > best->until))
            best = r;
    }
    struct ring_replica chosen;
    if (best != NULL) {
        chosen = *best;
    } else {
        uint32_t node = 0;
        while (node < d->c->map->nodes_count && !node_may_serve_more(d->c, node))
            node++;
        if (node == d->c->map->nodes_count) return; /* the wish stays */
        chosen = (struct ring_replica){.node = (uint16_t)node, .copy = copy_of_init(d->version)};
    }
    for (unsigned i = 0; i < d->shard->replicas_count; i++) {
        struct ring_replica *r = &d->shard->replicas[i];
        if (r->state == REPLICA_FULL && r->node != chosen.node && !shard_is_damaged(d, r)) {
            if (r->until == 0) r->until = d->version;
            r->in_sync = false;
            continue;
        }
        shard_remove(d, r);
        i--;
    }
    struct ring_replica *r = shard_add(d, chosen.node);
    if (r == NULL) return;
    *r = (struct ring_replica){
        .node = chosen.node, .state = REPLICA_FULL, .in_sync = true, .copy = chosen.copy};
    d->primary = chosen.node;
    d->new_epoch = true;
}

/* ---- a map with other nodes ---- */

static bool has_any_replica(const struct ring_map *map, uint32_t node) {
    for (uint32_t s = 0; s < map->settings.shards_count; s++)
        if (ring_shard_replica(&map->shards[s], (int)node) >= 0) return true;
    return false;
}

/* No shard waits for it, or would be without a complete copy. */
static bool may_remove(const struct ring_map *map, uint32_t node) {
    for (uint32_t s = 0; s < map->settings.shards_count; s++) {
        const struct ring_shard *shard = &map->shards[s];
        int at = ring_shard_replica(shard, (int)node);
        bool whole = false;
        if (at < 0) continue;
        for (unsigned i = 0; i < shard->replicas_count; i++)
            whole |= (int)i != at && replica_is_whole(&shard->replicas[i]);
        if (shard->replicas[at].in_sync || shard->primary == at || !whole) return false;
    }
    return true;
}

static int wish_for(const struct controller *c, node_id id) {
    for (size_t i = 0; i < c->wishes_count; i++)
        if (c->wishes[i].id == id) return (int)c->wishes[i].kind;
    return 0;
}

static bool node_goes(const struct controller *c, uint32_t node) {
    const struct ring_node *n = &c->map->nodes[node];
    if (wish_for(c, n->id) == WISH_REMOVE) return may_remove(c->map, node);
    return (n->flags & RING_NODE_DRAINING) != 0 && wish_for(c, n->id) != WISH_UNDRAIN &&
           !has_any_replica(c->map, node) && c->map->nodes_count > 1;
}

/* Rule 9: what its heartbeat and the wishes say of it. */
static struct ring_node node_next(const struct controller *c, uint32_t node) {
    struct ring_node n = c->map->nodes[node];
    const struct ctl_node *k = &c->nodes[node];
    if (k->heard && k->incarnation >= n.incarnation) {
        if (k->addr[0] != '\0') memcpy(n.addr, k->addr, sizeof n.addr);
        memcpy(n.zone, k->zone, sizeof n.zone);
        if (n.incarnation == 0)
            n.incarnation = k->incarnation; /* the first time: nothing to lose */
    }
    int kind = wish_for(c, n.id);
    if (kind == WISH_DRAIN) n.flags |= RING_NODE_DRAINING;
    if (kind == WISH_UNDRAIN) n.flags &= (uint8_t)~RING_NODE_DRAINING;
    return n;
}

static int node_cmp(const void *a, const void *b) {
    const struct ring_node *x = a, *y = b;
    return x->id < y->id ? -1 : x->id > y->id;
}

static void shards_carry(const struct ring_map *from, struct ring_map *to) {
    int32_t node_of[RING_NODES_MAX];
    for (uint32_t i = 0; i < from->nodes_count; i++)
        node_of[i] = ring_map_node_index(to, from->nodes[i].id);
    for (uint32_t s = 0; s < from->settings.shards_count; s++) {
        const struct ring_shard *old = &from->shards[s];
        struct ring_shard *shard = &to->shards[s];
        *shard = (struct ring_shard){.epoch = old->epoch};
        for (unsigned i = 0; i < old->replicas_count; i++) {
            struct ring_replica r = old->replicas[i];
            if (node_of[r.node] < 0) continue;
            r.node = (uint16_t)node_of[r.node];
            if (i == old->primary) shard->primary = shard->replicas_count;
            shard->replicas[shard->replicas_count++] = r;
        }
    }
}

static uint32_t format_level(const struct controller *c) {
    uint32_t lowest = RING_FORMAT_LEVEL;
    for (uint32_t i = 0; i < c->map->nodes_count; i++)
        lowest = MIN(lowest, c->nodes[i].format_level);
    return MAX(lowest, c->map->settings.format_level); /* it never falls; 0: somebody is unknown */
}

/* The next map with the nodes as they should be and the shards as they are. *out_changed: it is
 * another one. */
enum status wishes_make(struct controller *c, struct ring_map **out, struct err *err) {
    struct ring_node *nodes = calloc(c->map->nodes_count + c->joins_count, sizeof *nodes);
    uint32_t count = 0;
    if (nodes == NULL) return err_set(err, ERR_NOMEM, 0, "controller: out of memory");
    for (uint32_t i = 0; i < c->map->nodes_count; i++)
        if (!node_goes(c, i)) nodes[count++] = node_next(c, i);
    for (size_t i = 0; i < c->joins_count; i++)
        if (ring_map_node_index(c->map, c->joins[i].id) < 0) nodes[count++] = c->joins[i];
    qsort(nodes, count, sizeof *nodes, node_cmp);
    struct ring_map *map = NULL;
    enum status st = ring_map_new(count, c->map->settings.shards_count, &map, err);
    if (st == OK) {
        map->version = c->map->version + 1;
        map->settings = c->map->settings;
        map->settings.format_level = format_level(c);
        memcpy(map->nodes, nodes, count * sizeof *nodes);
        shards_carry(c->map, map);
        *out = map;
    }
    free(nodes);
    return st;
}
