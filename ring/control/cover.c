/* SPDX-License-Identifier: Apache-2.0 */
/* Which acknowledged entries survive where. An entry acknowledged under map version v is on every
 * replica that was waited for in v: a FULL replica has those of all versions before `until`, a LOG
 * replica (and INIT in sync) those from `since` to before `until`, or to now if that is 0. */
#include "node/base/hash.h"
#include "ring/control/controller_internal.h"

static bool has_log(const struct ring_replica *r) {
    return r->state == REPLICA_LOG || (r->state == REPLICA_INIT && r->in_sync);
}

/* A FULL copy with the LOG replicas that are alive has every acknowledged entry. */
bool cover_is_complete(const struct decision *d, const struct ring_replica *full) {
    uint64_t at = full->until;
    while (at < d->version) {
        uint64_t next = at;
        for (unsigned i = 0; i < d->shard->replicas_count; i++) {
            const struct ring_replica *r = &d->shard->replicas[i];
            if (!has_log(r) || r->since > at || !d->c->nodes[r->node].usable) continue;
            if (r->until == 0) return true;
            next = MAX(next, r->until);
        }
        if (next == at) return false;
        at = next;
    }
    return true;
}

/* A LOG replica that is not in sync any more has entries that a FULL copy may lack when it returns,
 * and that no LOG replica in sync has. */
bool cover_is_needed(const struct decision *d, const struct ring_replica *log) {
    for (unsigned i = 0; i < d->shard->replicas_count; i++) {
        const struct ring_replica *full = &d->shard->replicas[i];
        bool copy = full->state == REPLICA_FULL || full->state == REPLICA_LEAVING;
        uint64_t has =
            full->state == REPLICA_LEAVING && full->since != 0 ? full->since : full->until;
        if (!copy || has == 0 || has >= log->until) continue;
        uint64_t from = MAX(has, log->since);
        bool covered = false;
        for (unsigned k = 0; k < d->shard->replicas_count && !covered; k++) {
            const struct ring_replica *r = &d->shard->replicas[k];
            covered = has_log(r) && r->until == 0 && r->since <= from;
        }
        if (!covered) return true;
    }
    return false;
}

/* A returned copy is being made primary: it must not open before it has heard the LOG replicas that
 * fill its gap, so these are waited for, also those that have gone out meanwhile. They keep their
 * `until`: what they missed in between they have not. */
void cover_call_in(struct decision *d, const struct ring_replica *full) {
    for (unsigned i = 0; i < d->shard->replicas_count; i++) {
        struct ring_replica *r = &d->shard->replicas[i];
        if (r->state == REPLICA_LOG && !r->in_sync && r->until > full->until &&
            d->c->nodes[r->node].usable)
            r->in_sync = true;
    }
}

/* The copy has opened, or has not come through. */
void cover_send_out(struct decision *d) {
    for (unsigned i = 0; i < d->shard->replicas_count; i++) {
        const struct ring_replica *r = &d->shard->replicas[i];
        if (r->state == REPLICA_FULL && r->in_sync && r->until != 0) return;
    }
    for (unsigned i = 0; i < d->shard->replicas_count; i++) {
        struct ring_replica *r = &d->shard->replicas[i];
        if (r->state == REPLICA_LOG && r->in_sync && r->until != 0) r->in_sync = false;
    }
}

/* Who of the shard is alive, and in which process. */
uint64_t cover_alive(const struct decision *d) {
    uint64_t sum = 0;
    for (unsigned i = 0; i < d->shard->replicas_count; i++) {
        const struct ctl_node *n = &d->c->nodes[d->shard->replicas[i].node];
        uint64_t key[2] = {n->id, n->incarnation};
        if (n->usable) sum += hash64(key, sizeof key, 0);
    }
    return sum;
}

bool cover_was_tried(const struct decision *d, node_id id) {
    if (d->known->tried_count == 0 || d->known->tried_among != cover_alive(d)) return false;
    for (unsigned i = 0; i < d->known->tried_count; i++)
        if (d->known->tried[i] == id) return true;
    return false;
}

void cover_try_failed(struct decision *d, node_id id) {
    struct ctl_shard *k = d->known;
    uint64_t among = cover_alive(d);
    if (k->tried_count == RING_REPLICAS_MAX || k->tried_among != among) k->tried_count = 0;
    k->tried_among = among;
    k->tried[k->tried_count++] = id;
}
