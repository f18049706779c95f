/* SPDX-License-Identifier: Apache-2.0 */
/* What must be so at any moment, as far as the nodes' own state shows it. Looked at at each
 * acknowledgement and between the clients' calls:
 *   - one process at most may acknowledge in an epoch
 *   - in the eyes of an open primary all in-sync replicas have what is settled (so it may have been
 *     acknowledged), as one history: nothing of an older epoch that the primary has not */
#include <inttypes.h>
#include <string.h>

#include "ring/replica/internal.h"
#include "tests/cluster/world.h"

static const struct shard *shard_of(const struct world *w, unsigned node, uint32_t shard,
                                    struct replicas **out) {
    for (unsigned c = 0; c < w->options.cores; c++) {
        struct replicas *r = node_replicas(w->nodes[node], c);
        if (r == NULL || r->shards == NULL || r->shards[shard].role == ROLE_NONE) continue;
        *out = r;
        return &r->shards[shard];
    }
    return NULL;
}

static unsigned node_of(const struct world *w, node_id id) {
    for (unsigned n = 0; n < w->nodes_count; n++)
        if (world_node_serves(w, n) && node_self(w->nodes[n]) == id) return n;
    return WORLD_NODES_MAX;
}

static void check_opener(struct world *w, unsigned node, uint32_t shard, uint32_t epoch) {
    if (epoch >= WORLD_EPOCHS_MAX) return; /* world_look_at_maps tells */
    uint32_t *opener = &w->openers[shard][epoch];
    if (*opener == 0) *opener = w->processes[node];
    if (*opener != w->processes[node])
        world_fail(w,
                   "shard %" PRIu32 " is open in epoch %" PRIu32 " in a second process, at node %u",
                   shard, epoch, node);
}

/* An in-sync member with a head, on the same map, and the same run of it. */
static void check_member(struct world *w, unsigned primary, uint32_t shard,
                         const struct member *m) {
    struct replicas *at = NULL, *home = NULL;
    const struct shard *leads = shard_of(w, primary, shard, &home);
    unsigned node = node_of(w, home->fars[m->far]->id);
    const struct shard *s = node == WORLD_NODES_MAX ? NULL : shard_of(w, node, shard, &at);
    if (s == NULL || s->role != ROLE_FOLLOWER || s->epoch != leads->epoch || s->copy != m->copy ||
        s->own_tail)
        return;
    struct shard_held held = {0};
    at->o.store->held(at->o.store->ctx, shard, false, &held);
    struct place settled = leads->settled;
    if (held.damaged) return;
    if (!held.has_log || place_cmp(held.end, settled) < 0) {
        world_fail(w,
                   "shard %" PRIu32 ": node %u, in sync, holds it up to %" PRIu32 "/%" PRIu64
                   ", and its primary, node %u, says that all have %" PRIu32 "/%" PRIu64,
                   shard, node, held.end.epoch, held.end.seq, primary, settled.epoch, settled.seq);
        return;
    }
    if (held.history != home->o.store->history(home->o.store->ctx, shard, held.end.epoch))
        world_fail(w,
                   "shard %" PRIu32 ": what node %u, in sync, holds up to %" PRIu32 "/%" PRIu64
                   " is not what its primary, node %u, has",
                   shard, node, held.end.epoch, held.end.seq, primary);
}

void world_check_shard(struct world *w, uint32_t shard) {
    for (unsigned n = 0; n < w->nodes_count; n++) {
        struct replicas *r = NULL;
        if (!world_node_serves(w, n)) continue;
        const struct shard *s = shard_of(w, n, shard, &r);
        if (s == NULL || s->role != ROLE_OPEN) continue;
        check_opener(w, n, shard, s->epoch);
        if (r->alone) continue; /* places are not kept */
        for (unsigned i = 0; i < s->members_count; i++)
            if (s->members[i].in_sync && !s->members[i].tail)
                check_member(w, n, shard, &s->members[i]);
    }
}

void world_check_shards(struct world *w) {
    for (uint32_t s = 0; s < WORLD_SHARDS; s++)
        world_check_shard(w, s);
}
