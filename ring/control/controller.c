/* SPDX-License-Identifier: Apache-2.0 */
#include "ring/control/controller.h"

#include <assert.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "node/base/hash.h"
#include "ring/control/controller_internal.h"

/* ---- life ---- */

enum status controller_new(const struct controller_options *options, struct ring_map *map,
                           uint64_t now_ms, struct controller **out, struct err *err) {
    struct controller *c = calloc(1, sizeof *c);
    if (c == NULL) return err_set(err, ERR_NOMEM, 0, "controller: out of memory");
    c->options = *options;
    if (c->options.moves_max == 0) c->options.moves_max = 64;
    c->map = ring_map_ref(map);
    c->lead_ms = now_ms;
    c->nodes = calloc(map->nodes_count, sizeof *c->nodes);
    c->shards = calloc(map->settings.shards_count, sizeof *c->shards);
    if (c->nodes == NULL || c->shards == NULL) {
        controller_free(c);
        return err_set(err, ERR_NOMEM, 0, "controller: out of memory");
    }
    for (uint32_t i = 0; i < map->nodes_count; i++) {
        c->nodes[i].id = map->nodes[i].id;
        c->nodes[i].must_install = map->version; /* what it may have lost before is not known */
    }
    for (uint32_t s = 0; s < map->settings.shards_count; s++)
        c->shards[s].changed = map->version;
    *out = c;
    return OK;
}

void controller_free(struct controller *c) {
    if (c == NULL) return;
    for (uint32_t i = 0; c->nodes != NULL && i < c->map->nodes_count; i++)
        free(c->nodes[i].lags);
    free(c->nodes);
    free(c->shards);
    free(c->joins);
    ring_map_unref(c->plan);
    ring_map_unref(c->map);
    free(c);
}

/* ---- heartbeats ---- */

static void note_put(struct ctl_shard *k, node_id about, uint8_t kind) {
    for (unsigned i = 0; i < k->notes_count; i++)
        if (k->notes[i].about == about && k->notes[i].kind == kind) return;
    if (k->notes_count == NOTES_MAX) return; /* it is said again */
    k->notes[k->notes_count++] = (struct ctl_note){.about = about, .kind = kind};
}

static void report_take(struct controller *c, uint32_t node, const struct shard_report *r) {
    if (r->shard >= c->map->settings.shards_count) return;
    const struct ring_shard *s = &c->map->shards[r->shard];
    struct ctl_shard *k = &c->shards[r->shard];
    bool leads = s->replicas[s->primary].node == node;
    bool fresh = c->nodes[node].map_version >= k->changed;
    if (r->epoch != s->epoch) return;
    switch (r->kind) {
    case REPORT_OPEN:
        if (leads) k->open = true;
        break;
    case REPORT_INCOMPLETE:
        if (leads && !k->open) k->incomplete = true;
        break;
    case REPORT_CAUGHT_UP:
    case REPORT_DIVERGED:
        /* a LOG primary does not know what whole copies should hold */
        if (leads && fresh && s->replicas[s->primary].state == REPLICA_FULL &&
            r->about != c->nodes[node].id)
            note_put(k, r->about, r->kind);
        break;
    case REPORT_DAMAGED:
        if (fresh) note_put(k, c->nodes[node].id, r->kind);
        break;
    default: break;
    }
}

static void progress_take(struct ctl_node *n, const struct heartbeat *h) {
    n->draining = h->draining;
    n->log_failed = h->log_failed;
    n->own_age_ms = MAX(h->unsynced_age_ms, h->mailbox_age_ms);
    n->format_level = h->format_level;
    memcpy(n->addr, h->addr, sizeof n->addr);
    memcpy(n->zone, h->zone, sizeof n->zone);
    n->lags_count = 0;
    if (h->lags_count == 0) return;
    struct append_lag *lags = realloc(n->lags, h->lags_count * sizeof *lags);
    if (lags == NULL) return;
    n->lags = lags;
    n->lags_count = h->lags_count;
    memcpy(lags, h->lags, h->lags_count * sizeof *lags);
}

void controller_heartbeat(struct controller *c, uint64_t now_ms, const struct heartbeat *h,
                          bool answered, struct heartbeat_reply *out) {
    int at = ring_map_node_index(c->map, h->id);
    *out = (struct heartbeat_reply){.answer = HEARTBEAT_UNKNOWN,
                                    .sequence = h->sequence,
                                    .leader = c->options.self,
                                    .map_version = c->map->version};
    if (at < 0) return;
    struct ctl_node *n = &c->nodes[at];
    uint32_t known = c->map->nodes[at].incarnation;
    out->answer = HEARTBEAT_FENCED;
    if (h->incarnation < MAX(known, n->incarnation)) return;
    if (h->incarnation > n->incarnation) n->map_version = 0; /* another process */
    n->incarnation = h->incarnation;
    n->map_version = h->map_version;
    progress_take(n, h);
    for (size_t i = 0; i < h->reports_count; i++)
        report_take(c, (uint32_t)at, &h->reports[i]);
    bool installed = h->map_version >= n->must_install;
    if (installed)
        n->install_since_ms = 0;
    else if (n->install_since_ms == 0)
        n->install_since_ms = MAX(now_ms, 1);
    if (answered) {
        n->heard = true;
        n->heard_ms = now_ms;
    }
    out->answer = HEARTBEAT_NO_QUORUM; /* no lease: too slow, or it must install a map first */
    if (n->slow || n->loses || !installed || h->incarnation != known) return;
    out->answer = HEARTBEAT_OK;
    if (!answered) return;
    n->leased = true;
    n->leased_ms = now_ms;
}

uint64_t controller_age_ms(const struct controller *c, node_id id, uint64_t now_ms) {
    int at = ring_map_node_index(c->map, id);
    if (at < 0 || !c->nodes[at].heard) return UINT64_MAX;
    return now_ms - c->nodes[at].heard_ms;
}

/* ---- the next map ---- */

static bool shard_equal(const struct ring_shard *a, const struct ring_shard *b) {
    if (a->epoch != b->epoch || a->primary != b->primary || a->replicas_count != b->replicas_count)
        return false;
    for (unsigned i = 0; i < a->replicas_count; i++) {
        const struct ring_replica *x = &a->replicas[i], *y = &b->replicas[i];
        if (x->node != y->node || x->state != y->state || x->in_sync != y->in_sync ||
            x->copy != y->copy || x->since != y->since || x->until != y->until)
            return false;
    }
    return true;
}

static bool nodes_equal(const struct ring_map *a, const struct ring_map *b) {
    if (a->nodes_count != b->nodes_count) return false;
    for (uint32_t i = 0; i < a->nodes_count; i++) {
        const struct ring_node *x = &a->nodes[i], *y = &b->nodes[i];
        if (x->id != y->id || x->incarnation != y->incarnation || x->flags != y->flags ||
            strcmp(x->addr, y->addr) != 0 || strcmp(x->zone, y->zone) != 0)
            return false;
    }
    return true;
}

static bool map_equal(const struct ring_map *a, const struct ring_map *b) {
    if (!nodes_equal(a, b) || a->settings.format_level != b->settings.format_level) return false;
    for (uint32_t s = 0; s < a->settings.shards_count; s++)
        if (!shard_equal(&a->shards[s], &b->shards[s])) return false;
    return true;
}

static void shards_decide(struct controller *c, struct ring_map *next) {
    for (uint32_t s = 0; s < next->settings.shards_count; s++) {
        struct ring_shard *shard = &next->shards[s];
        struct ring_shard before = *shard;
        struct decision d = {.c = c,
                             .shard = shard,
                             .known = &c->shards[s],
                             .index = s,
                             .version = next->version,
                             .factor = nodes_factor(c),
                             .primary = shard->replicas[shard->primary].node};
        int primary = d.primary;
        shard_decide(&d);
        for (unsigned i = 0; d.deferred && i < before.replicas_count; i++)
            c->nodes[before.replicas[i].node].note_wait = true;
        if (d.primary != primary) {
            c->nodes[primary].primaries--;
            c->nodes[d.primary].primaries++;
        }
        shard->primary = (uint8_t)ring_shard_replica(shard, d.primary);
        if (d.primary != primary || d.new_epoch) shard->epoch++;
    }
    for (uint32_t i = 0; i < next->nodes_count; i++) {
        struct ring_node *n = &next->nodes[i];
        if (c->nodes[i].restarted && !c->nodes[i].note_wait)
            n->incarnation = c->nodes[i].incarnation;
        if (c->nodes[i].gone) n->flags |= RING_NODE_DOWN;
        if (c->nodes[i].usable) n->flags &= (uint8_t)~RING_NODE_DOWN;
    }
}

/* Does the new map take a readable replica away, or a shard from the LOG replica that leads it and
 * that no successor waits for? */
static bool loses_replica(const struct ring_shard *before, unsigned i,
                          const struct ring_shard *next, int node) {
    const struct ring_replica *r = &before->replicas[i];
    int at = ring_shard_replica(next, node);
    if (ring_replica_is_readable(r))
        return at < 0 || !ring_replica_is_readable(&next->replicas[at]);
    return before->primary == i && (at < 0 || !next->replicas[at].in_sync);
}

/* Marks the nodes that the new map takes something away from: a replica, or the process that the
 * old one knows. What they have installed before may make them serve too much. */
static void losers_mark(struct controller *c, const struct ring_map *next) {
    int32_t node_of[RING_NODES_MAX];
    for (uint32_t i = 0; i < c->map->nodes_count; i++) {
        node_of[i] = ring_map_node_index(next, c->map->nodes[i].id);
        c->nodes[i].loses =
            node_of[i] < 0 || next->nodes[node_of[i]].incarnation != c->map->nodes[i].incarnation;
    }
    for (uint32_t s = 0; s < next->settings.shards_count; s++)
        for (unsigned i = 0; i < c->map->shards[s].replicas_count; i++) {
            uint16_t node = c->map->shards[s].replicas[i].node;
            if (node_of[node] < 0) continue;
            if (loses_replica(&c->map->shards[s], i, &next->shards[s], node_of[node]))
                c->nodes[node].loses = true;
        }
}

/* All that a decision is made from, but for the time, which nodes_judge has turned into flags. */
static uint64_t inputs_hash(const struct controller *c) {
    uint64_t h = hash64(c->shards, c->map->settings.shards_count * sizeof *c->shards, 0);
    for (uint32_t i = 0; i < c->map->nodes_count; i++) {
        const struct ctl_node *n = &c->nodes[i];
        const uint64_t facts[] = {n->id,        n->incarnation, n->format_level, n->heard,
                                  n->draining,  n->log_failed,  n->slow,         n->gone,
                                  n->long_gone, n->usable,      n->restarted,    n->map_version};
        h = hash64(facts, sizeof facts, h);
        h = hash64(n->addr, strlen(n->addr), h);
        h = hash64(n->zone, strlen(n->zone), h);
    }
    const uint64_t counts[] = {c->map->version, c->joins_count, c->wishes_count};
    h = hash64(counts, sizeof counts, h);
    if (c->joins_count > 0) h = hash64(c->joins, c->joins_count * sizeof *c->joins, h);
    return hash64(c->wishes, c->wishes_count * sizeof c->wishes[0], h);
}

enum status controller_step(struct controller *c, uint64_t now_ms, struct ring_map **out,
                            struct err *err) {
    struct ring_map *next;
    *out = NULL;
    c->step_ms = now_ms;
    nodes_judge(c, now_ms);
    if (c->proposed || (c->proposed_ms != 0 && now_ms - c->proposed_ms < STEP_PAUSE_MS)) return OK;
    uint64_t inputs = inputs_hash(c);
    if (c->settled && inputs == c->settled_inputs && now_ms - c->settled_ms < STEP_ANYWAY_MS)
        return OK;
    c->settled = false;
    TRY(moves_plan(c, err));
    TRY(wishes_make(c, &next, err));
    if (nodes_equal(c->map, next)) { /* else the nodes first, then what follows from it */
        nodes_count_loads(c, next);
        shards_decide(c, next);
        moves_make(c, next);
    }
    if (map_equal(c->map, next)) {
        ring_map_unref(next);
        c->settled = inputs_hash(c) == inputs; /* nothing was noted, either */
        c->settled_inputs = inputs;
        c->settled_ms = now_ms;
        return OK;
    }
    enum status st = ring_map_check(next, err);
    if (st != OK) {
        ring_map_unref(next);
        return st;
    }
    losers_mark(c, next);
    c->proposed = true;
    c->proposed_ms = MAX(now_ms, 1);
    *out = next;
    return OK;
}

void controller_dropped(struct controller *c) {
    c->proposed = false;
    for (uint32_t i = 0; i < c->map->nodes_count; i++)
        c->nodes[i].loses = false;
}

/* ---- a map is in force ---- */

static void nodes_carry(struct controller *c, struct ring_map *map, struct ctl_node *nodes) {
    for (uint32_t i = 0; i < map->nodes_count; i++) {
        int at = ring_map_node_index(c->map, map->nodes[i].id);
        if (at < 0) {
            nodes[i] = (struct ctl_node){.id = map->nodes[i].id, .must_install = map->version};
            continue;
        }
        nodes[i] = c->nodes[at];
        c->nodes[at].lags = NULL;
        if (nodes[i].loses) nodes[i].must_install = map->version;
        nodes[i].loses = false;
    }
}

static void shards_carry(struct controller *c, const struct ring_map *map) {
    int32_t node_of[RING_NODES_MAX];
    for (uint32_t i = 0; i < c->map->nodes_count; i++)
        node_of[i] = ring_map_node_index(map, c->map->nodes[i].id);
    for (uint32_t s = 0; s < map->settings.shards_count; s++) {
        struct ring_shard old = c->map->shards[s];
        struct ctl_shard *k = &c->shards[s];
        for (unsigned i = 0; i < old.replicas_count; i++)
            old.replicas[i].node = (uint16_t)node_of[old.replicas[i].node];
        if (shard_equal(&old, &map->shards[s])) continue;
        k->changed = map->version;
        k->notes_count = 0;
        if (old.epoch == map->shards[s].epoch) continue;
        k->open = k->incomplete = false;
        if (k->accept_loss && replica_is_whole(&map->shards[s].replicas[map->shards[s].primary]))
            k->accept_loss = false;
    }
}

static void wishes_settle(struct controller *c) {
    size_t kept = 0;
    for (size_t i = 0; i < c->wishes_count; i++) {
        int at = ring_map_node_index(c->map, c->wishes[i].id);
        bool drains = at >= 0 && (c->map->nodes[at].flags & RING_NODE_DRAINING) != 0;
        bool done = at < 0 || (c->wishes[i].kind == WISH_DRAIN && drains) ||
                    (c->wishes[i].kind == WISH_UNDRAIN && !drains);
        if (!done) c->wishes[kept++] = c->wishes[i];
    }
    c->wishes_count = kept;
    kept = 0;
    for (size_t i = 0; i < c->joins_count; i++)
        if (ring_map_node_index(c->map, c->joins[i].id) < 0) c->joins[kept++] = c->joins[i];
    c->joins_count = kept;
}

void controller_committed(struct controller *c, struct ring_map *map, uint64_t now_ms) {
    assert(map->settings.shards_count == c->map->settings.shards_count);
    c->proposed = false;
    if (map->version <= c->map->version) return;
    losers_mark(c, map);
    struct ctl_node *nodes = calloc(map->nodes_count, sizeof *nodes);
    assert(nodes != NULL); /* a leader without memory for its members cannot lead */
    nodes_carry(c, map, nodes);
    shards_carry(c, map);
    for (uint32_t i = 0; i < c->map->nodes_count; i++)
        free(c->nodes[i].lags);
    free(c->nodes);
    c->nodes = nodes;
    struct ring_map *old = c->map;
    c->map = ring_map_ref(map);
    ring_map_unref(old);
    wishes_settle(c);
    nodes_judge(c, now_ms);
}

/* ---- what others ask ---- */

uint64_t controller_next_ms(const struct controller *c) {
    return c->step_ms + STEP_EVERY_MS;
}

void controller_counts(const struct controller *c, uint64_t now_ms, struct controller_counts *out) {
    const struct ring_map *map = c->map;
    *out = (struct controller_counts){0};
    for (uint32_t i = 0; i < map->nodes_count; i++) {
        bool alive = c->nodes[i].heard && now_ms - c->nodes[i].heard_ms < MEMBER_TIMEOUT_MS;
        out->nodes_alive += alive;
        out->nodes_dead += !alive;
    }
    for (uint32_t s = 0; s < map->settings.shards_count; s++) {
        const struct ring_shard *shard = &map->shards[s];
        unsigned whole = 0;
        bool moving = false;
        for (unsigned i = 0; i < shard->replicas_count; i++) {
            const struct ring_replica *r = &shard->replicas[i];
            out->replicas[r->state]++;
            whole += replica_is_whole(r);
            moving |= r->state == REPLICA_INIT || r->state == REPLICA_LEAVING;
        }
        out->shards_under_replicated += whole < nodes_factor(c);
        out->shards_unreadable += whole == 0;
        out->shards_moving += moving;
    }
}
