/* SPDX-License-Identifier: Apache-2.0 */
/* Who is alive, who is slow, who may be taken out. */
#include <stdlib.h>

#include "ring/control/controller_internal.h"

static bool heard_lately(const struct ctl_node *n, uint64_t now_ms) {
    return n->heard && now_ms - n->heard_ms < MEMBER_TIMEOUT_MS;
}

static unsigned accusers_of(const struct controller *c, uint32_t node, uint64_t now_ms,
                            uint32_t *out_age_ms) {
    unsigned count = 0;
    *out_age_ms = 0;
    for (uint32_t i = 0; i < c->map->nodes_count; i++) {
        const struct ctl_node *a = &c->nodes[i];
        if (i == node || a->age_ms >= MEMBER_BEHIND_MS / 2 || !heard_lately(a, now_ms)) continue;
        for (size_t k = 0; k < a->lags_count; k++) {
            if (a->lags[k].follower != c->nodes[node].id) continue;
            if (a->lags[k].age_ms < MEMBER_BEHIND_MS / 2) continue;
            *out_age_ms = MAX(*out_age_ms, a->lags[k].age_ms);
            count++;
        }
    }
    return count;
}

/* Whom most others wait for is slow, and what it says of others counts no more; then the next. Two
 * that wait for each other: the controller's own node is believed, then the smaller id. */
static void accuse(struct controller *c, uint64_t now_ms) {
    for (;;) {
        unsigned most = 0;
        uint32_t worst = 0, worst_age = 0;
        for (uint32_t i = 0; i < c->map->nodes_count; i++) {
            uint32_t age;
            if (c->nodes[i].age_ms >= MEMBER_BEHIND_MS / 2) continue;
            if (!heard_lately(&c->nodes[i], now_ms)) continue;
            unsigned count = accusers_of(c, i, now_ms, &age);
            bool self = c->nodes[i].id == c->options.self;
            if (count == 0 || count < most || (count == most && self)) continue;
            most = count;
            worst = i;
            worst_age = age;
        }
        if (most == 0) return;
        c->nodes[worst].age_ms = worst_age;
    }
}

static bool any_lag(const struct controller *c) {
    for (uint32_t i = 0; i < c->map->nodes_count; i++)
        for (size_t k = 0; k < c->nodes[i].lags_count; k++)
            if (c->nodes[i].lags[k].age_ms >= MEMBER_BEHIND_MS / 2) return true;
    return false;
}

/* A node half way to being too slow gets no lease, so that it has none when it is. Nobody, while
 * more than a third are slow (but one may always be), or while it is alone. */
static void judge_slow(struct controller *c, uint64_t now_ms) {
    uint32_t alive = 0, slow = 0;
    for (uint32_t i = 0; i < c->map->nodes_count; i++) {
        struct ctl_node *n = &c->nodes[i];
        n->age_ms = n->own_age_ms;
        if (n->install_since_ms != 0)
            n->age_ms = MAX(n->age_ms, (uint32_t)MIN(now_ms - n->install_since_ms, UINT32_MAX));
        alive += heard_lately(n, now_ms);
    }
    if (any_lag(c)) accuse(c, now_ms);
    for (uint32_t i = 0; i < c->map->nodes_count; i++)
        slow += heard_lately(&c->nodes[i], now_ms) && c->nodes[i].age_ms >= MEMBER_BEHIND_MS / 2;
    bool spare = alive <= 1 || slow > MAX(1, alive / 3);
    for (uint32_t i = 0; i < c->map->nodes_count; i++) {
        struct ctl_node *n = &c->nodes[i];
        n->slow = (n->age_ms >= MEMBER_BEHIND_MS / 2 && !spare) || (n->log_failed && alive > 1);
    }
}

void nodes_judge(struct controller *c, uint64_t now_ms) {
    bool grace = now_ms - c->lead_ms < LEADER_GRACE_MS;
    judge_slow(c, now_ms);
    for (uint32_t i = 0; i < c->map->nodes_count; i++) {
        struct ctl_node *n = &c->nodes[i];
        uint32_t known = c->map->nodes[i].incarnation;
        bool lately = heard_lately(n, now_ms);
        bool expired = !grace && (!n->leased || now_ms - n->leased_ms >= MEMBER_TIMEOUT_MS);
        bool too_slow = n->slow && (n->age_ms >= MEMBER_BEHIND_MS || n->log_failed);
        n->gone = expired && (!lately || too_slow);
        n->usable = lately && !n->slow;
        n->restarted = n->heard && known != 0 && n->incarnation > known;
        n->note_wait = false;
        uint64_t silent_ms = now_ms - (n->heard ? n->heard_ms : c->lead_ms);
        n->long_gone = !lately && silent_ms >= c->options.replace_after_ms && n->gone;
    }
}

void nodes_count_loads(struct controller *c, const struct ring_map *map) {
    for (uint32_t i = 0; i < map->nodes_count; i++)
        c->nodes[i].load = c->nodes[i].primaries = 0;
    for (uint32_t s = 0; s < map->settings.shards_count; s++) {
        const struct ring_shard *shard = &map->shards[s];
        for (unsigned i = 0; i < shard->replicas_count; i++)
            c->nodes[shard->replicas[i].node].load++;
        c->nodes[ring_map_primary(map, s)].primaries++;
    }
}

unsigned nodes_factor(const struct controller *c) {
    uint32_t staying = 0;
    for (uint32_t i = 0; i < c->map->nodes_count; i++)
        staying += (c->map->nodes[i].flags & RING_NODE_DRAINING) == 0;
    return MIN(c->map->settings.replication_factor, MAX(staying, 1));
}
