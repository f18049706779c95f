/* SPDX-License-Identifier: Apache-2.0 */
/* The next state of one shard: who comes into the in-sync set, who goes, who leads. Rules 2 to 5
 * and 8 of controller.h. */
#include <assert.h>
#include <string.h>

#include "node/base/hash.h"
#include "ring/control/controller_internal.h"

/* ---- replicas ---- */

struct ring_replica *shard_find(const struct decision *d, int node) {
    int at = ring_shard_replica(d->shard, node);
    return at < 0 ? NULL : &d->shard->replicas[at];
}

void shard_remove(struct decision *d, struct ring_replica *r) {
    struct ring_shard *s = d->shard;
    unsigned at = (unsigned)(r - s->replicas);
    assert(at < s->replicas_count);
    memmove(r, r + 1, (s->replicas_count - at - 1U) * sizeof *r);
    s->replicas_count--;
}

/* Who must be there when the shard becomes readable again. */
static bool is_awaited(const struct decision *d, const struct ring_replica *r) {
    return r->state == REPLICA_FULL || (r->state == REPLICA_LOG && cover_is_needed(d, r));
}

/* Room for one more: what is of the least use goes. NULL: all are needed. */
struct ring_replica *shard_add(struct decision *d, unsigned node) {
    struct ring_shard *s = d->shard;
    if (s->replicas_count == RING_REPLICAS_MAX) {
        struct ring_replica *worst = NULL;
        for (unsigned i = 0; i < s->replicas_count; i++) {
            struct ring_replica *r = &s->replicas[i];
            if (r->in_sync || (shard_readable(d) == 0 && is_awaited(d, r))) continue;
            if (worst == NULL || r->until < worst->until) worst = r;
        }
        if (worst == NULL) return NULL;
        shard_remove(d, worst);
    }
    struct ring_replica *r = &s->replicas[s->replicas_count++];
    *r = (struct ring_replica){.node = (uint16_t)node};
    d->c->nodes[node].load++;
    return r;
}

unsigned shard_readable(const struct decision *d) {
    unsigned count = 0;
    for (unsigned i = 0; i < d->shard->replicas_count; i++)
        count += replica_is_whole(&d->shard->replicas[i]);
    return count;
}

static unsigned in_sync_count(const struct decision *d) {
    unsigned count = 0;
    for (unsigned i = 0; i < d->shard->replicas_count; i++)
        count += d->shard->replicas[i].in_sync && d->shard->replicas[i].state != REPLICA_LEAVING &&
                 (d->shard->replicas[i].state != REPLICA_LOG || d->shard->replicas[i].until == 0);
    return count;
}

static struct ctl_node *node_of(const struct decision *d, const struct ring_replica *r) {
    return &d->c->nodes[r->node];
}

static bool is_noted(const struct decision *d, const struct ring_replica *r, int kind) {
    for (unsigned i = 0; i < d->known->notes_count; i++)
        if (d->known->notes[i].about == node_of(d, r)->id && d->known->notes[i].kind == kind)
            return true;
    return false;
}

bool shard_is_damaged(const struct decision *d, const struct ring_replica *r) {
    return is_noted(d, r, REPORT_DIVERGED) || is_noted(d, r, REPORT_DAMAGED);
}

/* It is not waited for any more; what it has stays known. */
static void take_out(struct decision *d, struct ring_replica *r) {
    if (r->state == REPLICA_INIT) { /* the fill is lost, the log it kept meanwhile is not */
        r->state = REPLICA_LOG;
        r->copy--;
    }
    if (r->state == REPLICA_LEAVING) {
        r->state = REPLICA_FULL;
        if (r->since != 0) r->until = r->since; /* see step_back */
        r->since = 0;
    }
    if (r->until == 0) r->until = d->version;
    r->in_sync = false;
}

/* A returned copy that may not open after all, and perhaps has: it is LEAVING until its node has
 * installed that (rule 8). `since` keeps what `until` says of its entries. */
static void step_back(struct decision *d, struct ring_replica *r) {
    r->state = REPLICA_LEAVING;
    r->since = r->until;
    r->until = d->version;
}

/* A complete replica on a node that goes on as it was. */
static bool has_constant_reader(const struct decision *d, const struct ring_replica *but) {
    for (unsigned i = 0; i < d->shard->replicas_count; i++) {
        const struct ring_replica *r = &d->shard->replicas[i];
        const struct ctl_node *n = node_of(d, r);
        if (r != but && replica_is_whole(r) && n->usable && !n->restarted && !n->gone) return true;
    }
    return false;
}

/* ---- what happened ---- */

/* A returned copy is complete when it has opened the shard as primary. */
static void decide_opened(struct decision *d) {
    for (unsigned i = 0; i < d->shard->replicas_count; i++) {
        struct ring_replica *r = &d->shard->replicas[i];
        bool installed = node_of(d, r)->map_version >= r->until;
        if (r->state == REPLICA_LEAVING && r->since != 0 && installed) take_out(d, r);
        if (r->state != REPLICA_FULL || !r->in_sync || r->until == 0) continue;
        if (r->node != d->primary)
            step_back(d, r);
        else if (d->known->open)
            r->until = 0;
    }
}

/* Rule 5. A replica that its primary waits for comes in, also when the primary has died since: it
 * has all that was acknowledged. If it is gone itself, the primary must hear that. */
static void decide_caught_up(struct decision *d) {
    const struct ring_replica *p = shard_find(d, d->primary);
    if (p == NULL || shard_is_damaged(d, p)) return; /* who knows what it was filled with */
    for (unsigned i = 0; i < d->shard->replicas_count; i++) {
        struct ring_replica *r = &d->shard->replicas[i];
        bool waits = r->state == REPLICA_FULL || r->state == REPLICA_INIT;
        if (!waits || !is_noted(d, r, REPORT_CAUGHT_UP)) continue;
        if (r->state == REPLICA_FULL && r->in_sync) continue;
        if (node_of(d, r)->restarted) {
            d->new_epoch = true; /* its end has to be compared again */
        } else if (!node_of(d, r)->gone) {
            *r = (struct ring_replica){
                .node = r->node, .state = REPLICA_FULL, .in_sync = true, .copy = r->copy};
        } else if (r->state == REPLICA_INIT && !r->in_sync) {
            shard_remove(d, r);
            i--;
        } else {
            d->new_epoch = true;
        }
    }
}

/* A run of the log that does not lead to the primary's ends in entries that nobody acknowledged (an
 * epoch that was never open); what comes before them a copy may lack that has not opened yet, or
 * not returned. So it is not waited for any more, and kept. */
static bool keep_diverged(struct decision *d, struct ring_replica *r) {
    bool runs = r->state == REPLICA_LOG || (r->state == REPLICA_INIT && r->in_sync);
    if (!runs || is_noted(d, r, REPORT_DAMAGED) || r->node == d->primary) return false;
    struct ring_replica before = *r;
    if (r->in_sync) take_out(d, r);
    if (cover_is_needed(d, r)) return true;
    *r = before;
    return false;
}

/* Rule 5. What a replica holds is of no use. One that is readable must hear that it is not before
 * it goes (rule 8). */
static void decide_damaged(struct decision *d) {
    for (unsigned i = 0; i < d->shard->replicas_count; i++) {
        struct ring_replica *r = &d->shard->replicas[i];
        if (!shard_is_damaged(d, r)) continue;
        if (r->state == REPLICA_LEAVING || keep_diverged(d, r)) continue;
        if (r->state == REPLICA_FULL && r->in_sync && has_constant_reader(d, r)) {
            r->state = REPLICA_LEAVING;
            if (r->until == 0) r->until = d->version;
        } else if (r->state == REPLICA_FULL && shard_readable(d) - replica_is_whole(r) == 0) {
            /* the last copy may be all that people can restart from: it keeps its data */
            r->state = REPLICA_INIT;
            r->in_sync = false;
            r->since = r->until = 0;
        } else if (r->state == REPLICA_LOG && !r->in_sync) {
            shard_remove(d, r);
            i--;
        } else if (r->state == REPLICA_LOG) {
            bool leads = d->primary == r->node;
            *r = (struct ring_replica){.node = r->node,
                                       .state = REPLICA_LOG,
                                       .in_sync = true,
                                       .copy = copy_of_log(d->version),
                                       .since = d->version};
            if (leads) d->primary = -1;
        } else {
            *r = (struct ring_replica){
                .node = r->node, .state = REPLICA_INIT, .copy = copy_of_init(d->version)};
        }
    }
}

static bool somebody_is_awaited(const struct decision *d) {
    for (unsigned i = 0; i < d->shard->replicas_count; i++) {
        const struct ctl_node *n = node_of(d, &d->shard->replicas[i]);
        if (d->shard->replicas[i].in_sync && !n->gone && !n->heard) return true;
    }
    return false;
}

static uint64_t restarts_of(const struct decision *d) {
    uint64_t sum = 0;
    for (unsigned i = 0; i < d->shard->replicas_count; i++) {
        const struct ctl_node *n = node_of(d, &d->shard->replicas[i]);
        uint64_t key[2] = {n->id, n->incarnation};
        if (d->shard->replicas[i].in_sync && n->restarted) sum += hash64(key, sizeof key, 0);
    }
    return sum;
}

/* Rule 2. While another complete replica serves on, a restarted one steps back until it has caught
 * up. Otherwise the shard opens anew: that compares all ends. */
static void decide_restarted(struct decision *d) {
    bool any = false, steps_back = d->known->open && !d->new_epoch;
    uint64_t restarts = restarts_of(d);
    if (restarts == d->known->restarts && d->known->restarts_epoch == d->shard->epoch) return;
    for (unsigned i = 0; i < d->shard->replicas_count; i++) {
        const struct ring_replica *r = &d->shard->replicas[i];
        any |= r->in_sync && node_of(d, r)->restarted &&
               (r->state == REPLICA_FULL || r->node == d->primary);
    }
    if (!any) return;
    steps_back = steps_back && has_constant_reader(d, NULL);
    if (!steps_back && somebody_is_awaited(d)) {
        d->deferred = true;
        return;
    }
    for (unsigned i = 0; steps_back && i < d->shard->replicas_count; i++) {
        struct ring_replica *r = &d->shard->replicas[i];
        if (r->in_sync && r->state == REPLICA_FULL && node_of(d, r)->restarted) take_out(d, r);
    }
    if (steps_back) return;
    d->new_epoch = true;
    d->known->restarts = restarts;
    d->known->restarts_epoch = d->shard->epoch + 1;
}

/* Rules 1, 3 and 8. */
static void decide_gone(struct decision *d) {
    for (unsigned i = 0; i < d->shard->replicas_count; i++) {
        struct ring_replica *r = &d->shard->replicas[i];
        if (!node_of(d, r)->gone) continue;
        if (r->in_sync) {
            take_out(d, r);
        } else if (r->state == REPLICA_INIT && shard_readable(d) > 0) {
            shard_remove(d, r);
            i--;
        }
    }
}

/* ---- who leads ---- */

static bool leads_better(const struct decision *d, const struct ring_replica *a,
                         const struct ring_replica *b) {
    const struct ctl_node *x = node_of(d, a), *y = node_of(d, b);
    bool x_good = node_may_serve_more(d->c, a->node), y_good = node_may_serve_more(d->c, b->node);
    if (x->usable != y->usable) return x->usable;
    if (x_good != y_good) return x_good;
    return x->primaries < y->primaries;
}

/* A complete replica. The one that leads goes on unless it drains and another does not. */
static bool lead_complete(struct decision *d) {
    struct ring_replica *now = shard_find(d, d->primary), *best = NULL;
    for (unsigned i = 0; i < d->shard->replicas_count; i++) {
        struct ring_replica *r = &d->shard->replicas[i];
        if (!replica_is_whole(r)) continue;
        if (best == NULL || leads_better(d, r, best)) best = r;
    }
    if (best == NULL) return false;
    bool stays = now != NULL && replica_is_whole(now) && !node_of(d, now)->slow;
    bool drains = stays && (node_of(d, now)->draining ||
                            (d->c->map->nodes[now->node].flags & RING_NODE_DRAINING) != 0);
    if (drains && node_may_serve_more(d->c, best->node)) stays = false;
    if (now != NULL && replica_is_whole(now) && !node_of(d, best)->usable) stays = true;
    if (!stays) d->primary = best->node;
    return true;
}

/* Rule 4: a returned copy that with the LOG replicas has everything. */
static bool lead_returned(struct decision *d) {
    struct ring_replica *now = shard_find(d, d->primary), *best = NULL;
    if (now != NULL && now->state == REPLICA_FULL && now->in_sync) {
        if (!d->known->incomplete && cover_is_complete(d, now)) return true;
        if (d->known->incomplete) {
            take_out(d, now);
            cover_try_failed(d, node_of(d, now)->id);
        } else {
            step_back(d, now);
        }
    }
    for (unsigned i = 0; i < d->shard->replicas_count; i++) {
        struct ring_replica *r = &d->shard->replicas[i];
        if (r->state != REPLICA_FULL || r->in_sync || !node_of(d, r)->usable) continue;
        if (cover_was_tried(d, node_of(d, r)->id) || !cover_is_complete(d, r)) continue;
        if (best == NULL || r->until > best->until) best = r;
    }
    if (best == NULL) return false;
    cover_call_in(d, best);
    best->in_sync = true;
    d->primary = best->node;
    d->new_epoch = true;
    return true;
}

static bool log_leads_better(const struct decision *d, const struct ring_replica *a,
                             const struct ring_replica *b) {
    if (node_of(d, a)->usable != node_of(d, b)->usable) return node_of(d, a)->usable;
    if (a->state != b->state) return a->state == REPLICA_LOG;
    if (a->since != b->since) return a->since < b->since;
    return node_of(d, a)->primaries < node_of(d, b)->primaries;
}

/* Rule 4: nobody is readable, writes go on. */
static bool lead_log(struct decision *d) {
    struct ring_replica *now = shard_find(d, d->primary), *best = NULL;
    for (unsigned i = 0; i < d->shard->replicas_count; i++) {
        struct ring_replica *r = &d->shard->replicas[i];
        if (!r->in_sync || (r->state != REPLICA_LOG && r->state != REPLICA_INIT)) continue;
        if (r->until != 0) continue;
        if (best == NULL || log_leads_better(d, r, best)) best = r;
    }
    if (best == NULL) return false;
    bool stays = now != NULL && now->in_sync && now->state != REPLICA_FULL &&
                 now->state != REPLICA_LEAVING && !node_of(d, now)->slow;
    if (!stays) d->primary = best->node;
#ifdef PLANT_PROMOTE_LOG
    if (!stays) best->state = REPLICA_FULL;
#endif
    return true;
}

/* ---- substitutes ---- */

static bool zone_is_new(const struct decision *d, unsigned node) {
    const struct ring_node *nodes = d->c->map->nodes;
    for (unsigned i = 0; i < d->shard->replicas_count; i++) {
        const struct ring_replica *r = &d->shard->replicas[i];
        if (r->in_sync && strcmp(nodes[r->node].zone, nodes[node].zone) == 0) return false;
    }
    return true;
}

/* Without a replica; another zone first, then where the plan wants a copy, then the least loaded.
 */
static int substitute_node(const struct decision *d) {
    int best = -1;
    unsigned best_rank = 0;
    for (uint32_t i = 0; i < d->c->map->nodes_count; i++) {
        if (!node_may_serve_more(d->c, i) || shard_find(d, (int)i) != NULL) continue;
        unsigned rank = 1 + (zone_is_new(d, i) ? 2U : 0U) + moves_wants(d->c, d->index, i);
        if (rank < best_rank) continue;
        if (rank == best_rank && d->c->nodes[i].load >= d->c->nodes[best].load) continue;
        best = (int)i;
        best_rank = rank;
    }
    return best;
}

/* A LOG replica that stepped back and has nothing that is needed may begin anew. */
static struct ring_replica *substitute_again(struct decision *d) {
    for (unsigned i = 0; i < d->shard->replicas_count; i++) {
        struct ring_replica *r = &d->shard->replicas[i];
        if (r->state == REPLICA_LOG && !r->in_sync && node_may_serve_more(d->c, r->node) &&
            !cover_is_needed(d, r))
            return r;
    }
    return NULL;
}

static void substitute(struct decision *d) {
    while (in_sync_count(d) < d->factor) {
        int node = substitute_node(d);
        struct ring_replica *r = node < 0 ? NULL : shard_add(d, (unsigned)node);
        if (r == NULL) r = substitute_again(d);
        if (r == NULL) return;
        *r = (struct ring_replica){.node = r->node,
                                   .state = REPLICA_LOG,
                                   .in_sync = true,
                                   .copy = copy_of_log(d->version),
                                   .since = d->version};
    }
}

/* ---- what is of no use any more ---- */

static struct ring_replica *youngest_log(const struct decision *d) {
    struct ring_replica *best = NULL;
    for (unsigned i = 0; i < d->shard->replicas_count; i++) {
        struct ring_replica *r = &d->shard->replicas[i];
        if (r->state != REPLICA_LOG || !r->in_sync || r->until != 0 || r->node == d->primary)
            continue;
        if (best == NULL || r->since > best->since) best = r;
    }
    return best;
}

static bool is_useless(const struct decision *d, const struct ring_replica *r, bool whole) {
    if (r->in_sync && !whole) return false;
    if (r->state == REPLICA_LOG) return whole || !cover_is_needed(d, r);
    if (r->state != REPLICA_FULL || r->in_sync || !whole) return false;
    return !moves_wants(d->c, d->index, r->node);
}

static void prune(struct decision *d) {
    struct ring_replica *p = shard_find(d, d->primary);
    bool open = d->known->open && !d->new_epoch && p != NULL && p->state == REPLICA_FULL &&
                d->primary == ring_map_primary(d->c->map, d->index);
    cover_send_out(d);
    bool whole = open && shard_readable(d) >= d->factor;
    for (unsigned i = 0; shard_readable(d) > 0 && i < d->shard->replicas_count; i++) {
        struct ring_replica *r = &d->shard->replicas[i];
        if (r->state != REPLICA_LEAVING) continue;
#ifndef PLANT_DROP_LEAVING_EARLY
        if (node_of(d, r)->map_version < r->until) continue;
#endif
        if (r->since != 0) continue;
        if (node_of(d, r)->restarted) continue;
        shard_remove(d, r);
        i--;
    }
    for (struct ring_replica *r; open && in_sync_count(d) > d->factor;) {
        if ((r = youngest_log(d)) == NULL) break;
        take_out(d, r);
    }
    for (unsigned i = 0; i < d->shard->replicas_count; i++)
        if (is_useless(d, &d->shard->replicas[i], whole)) {
            shard_remove(d, &d->shard->replicas[i]);
            i--;
        }
}

void shard_decide(struct decision *d) {
    struct ring_shard before = *d->shard;
    int primary = d->primary;
    decide_opened(d);
    if (d->known->accept_loss) {
        wishes_accept_loss(d);
    } else {
        decide_caught_up(d);
        decide_restarted(d);
    }
    if (!d->deferred) {
        if (!d->known->accept_loss) decide_damaged(d);
        decide_gone(d);
    }
    bool led = !d->deferred && (lead_complete(d) || lead_returned(d));
    if (!d->deferred) {
        substitute(d);
        if (!led) led = lead_log(d);
    }
    if (!led) { /* nobody is there who could: it stays as it is until somebody comes */
        *d->shard = before;
        d->primary = primary;
        d->new_epoch = !d->deferred && d->known->restarts_epoch == d->shard->epoch + 1;
        return;
    }
    prune(d);
}
