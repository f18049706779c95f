/* SPDX-License-Identifier: Apache-2.0 */
/* What must be so at any moment, as far as the nodes' own state shows it. Looked at at each
 * acknowledgement and between the clients' calls:
 *   - one process at most may acknowledge in an epoch
 *   - in the eyes of an open primary all in-sync replicas have what is settled (so it may have been
 *     acknowledged), as one history: nothing of an older epoch that the primary has not */
#include <assert.h>
#include <inttypes.h>
#include <string.h>

#include "ring/replica/internal.h"
#include "tests/cluster/world.h"

const char *const world_role_names[ROLES] = {"none", "follower", "promoting", "open"};
const char *const world_member_names[MEMBERS] = {"unknown", "behind", "live"};
static_assert(ROLES == ROLE_OPEN + 1 && MEMBERS == MEMBER_LIVE + 1, "a name for each");

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

/* -- how they change, for the table */

static void see_members(struct world *w, unsigned node, uint32_t shard, const struct replicas *r,
                        const struct shard *s) {
    bool leads = s->role == ROLE_PROMOTING || s->role == ROLE_OPEN;
    uint8_t now[WORLD_NODES_MAX][2] = {0};
    for (unsigned i = 0; i < s->members_count && leads; i++) {
        unsigned of = node_of(w, r->fars[s->members[i].far]->id);
        if (of < WORLD_NODES_MAX) now[of][s->members[i].tail] = s->members[i].state + 1;
    }
    for (unsigned n = 0; n < WORLD_NODES_MAX; n++)
        for (unsigned t = 0; t < 2; t++) {
            uint8_t was = w->member_of[node][shard][n][t];
            if (was != 0 && now[n][t] != 0) w->members[was - 1][now[n][t] - 1] += was != now[n][t];
            w->member_of[node][shard][n][t] = now[n][t];
        }
}

static void see_shard(struct world *w, unsigned node, uint32_t shard) {
    static const struct shard none;
    struct replicas *r = NULL;
    const struct shard *s = shard_of(w, node, shard, &r);
    if (s == NULL) s = &none;
    uint8_t *was = &w->role_of[node][shard];
    w->roles[*was][s->role] += *was != s->role;
    *was = s->role;
    see_members(w, node, shard, r, s);
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
    for (uint32_t s = 0; s < WORLD_SHARDS; s++) {
        for (unsigned n = 0; n < w->nodes_count; n++)
            if (world_node_serves(w, n)) see_shard(w, n, s);
        world_check_shard(w, s);
    }
}
