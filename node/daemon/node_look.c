/* SPDX-License-Identifier: Apache-2.0 */
/* What a core counts about its replicas: soon after one changed (many do at once, and are counted
 * once), every LOOK_MS while some are not ready (a lease that comes or goes is no event), else once
 * a second. Core 0 makes the sums metrics. */
#include "node/base/metrics.h"
#include "node/daemon/node_internal.h"

enum { LOOK_MS = 100, LOOK_IDLE_MS = 1000 };

static const struct metric_def shards_def = {
    .name = "cairn_ring_shards",
    .help = "Shards of this node by the role of its replica; filling: copies elsewhere that its "
            "primaries do not wait for yet.",
    .kind = METRIC_GAUGE};
static const struct metric_def retained_def = {
    .name = "cairn_ring_retained_bytes",
    .help = "Entries kept in memory until all replicas have them.",
    .kind = METRIC_GAUGE};
static const struct metric_def unready_def = {
    .name = "cairn_ring_replicas_unready",
    .help = "Replicas of this node that cannot be read or, as primaries, written at present.",
    .kind = METRIC_GAUGE};
static const char *const role_labels[NODE_COUNTS] = {
    [COUNT_PRIMARIES] = "role=\"primary\"",   [COUNT_OPEN] = "role=\"open\"",
    [COUNT_PROMOTING] = "role=\"promoting\"", [COUNT_FOLLOWING] = "role=\"following\"",
    [COUNT_READABLE] = "role=\"readable\"",   [COUNT_FILLING] = "role=\"filling\"",
};

static void count_unready(struct node_core *nc) {
    const struct ring_map *map = nc->in->map;
    int self = ring_map_node_index(map, nc->node->seat.id);
    uint32_t unready = 0, undrained = 0;
    for (uint32_t s = 0; s < map->settings.shards_count; s++) {
        if (nc->in->core_of[s] != nc->core->index) continue;
        const struct ring_shard *shard = &map->shards[s];
        int mine = ring_shard_replica(shard, self);
        if (mine < 0) continue;
        const struct ring_replica *r = &shard->replicas[mine];
        if (r->state == REPLICA_FULL || r->state == REPLICA_INIT)
            unready += !replicas_may_read(nc->replicas, s, shard->epoch);
        bool other = false;
        for (unsigned i = 0; i < shard->replicas_count; i++)
            other = other || ((int)i != mine && ring_replica_is_readable(&shard->replicas[i]));
        undrained += shard->primary == mine || !other;
    }
    atomic_store_explicit(&nc->unready, unready, memory_order_relaxed);
    atomic_store_explicit(&nc->undrained, undrained, memory_order_relaxed);
    bool draining = self >= 0 && (map->nodes[self].flags & RING_NODE_DRAINING) != 0;
    atomic_store_explicit(&nc->draining, draining, memory_order_relaxed);
}

static void count_roles(struct node_core *nc) {
    struct replica_counts c;
    replicas_counts(nc->replicas, &c);
    const uint32_t counts[NODE_COUNTS] = {
        [COUNT_PRIMARIES] = c.primaries, [COUNT_OPEN] = c.open,
        [COUNT_PROMOTING] = c.promoting, [COUNT_FOLLOWING] = c.following,
        [COUNT_READABLE] = c.readable,   [COUNT_FILLING] = c.filling,
    };
    for (unsigned i = 0; i < NODE_COUNTS; i++)
        atomic_store_explicit(&nc->counts[i], counts[i], memory_order_relaxed);
    atomic_store_explicit(&nc->retained_bytes, c.retained_bytes, memory_order_relaxed);
}

static void put_metrics(const struct node *node) {
    uint64_t sums[NODE_COUNTS] = {0}, retained = 0, unready = 0;
    for (unsigned i = 0; i < node->rt->cores_count; i++) {
        const struct node_core *nc = &node->cores[i];
        for (unsigned k = 0; k < NODE_COUNTS; k++)
            sums[k] += atomic_load_explicit(&nc->counts[k], memory_order_relaxed);
        retained += atomic_load_explicit(&nc->retained_bytes, memory_order_relaxed);
        unready += atomic_load_explicit(&nc->unready, memory_order_relaxed);
    }
    for (unsigned k = 0; k < NODE_COUNTS; k++)
        metric_set(metric_get(&shards_def, role_labels[k]), (double)sums[k]);
    metric_set(metric_get(&retained_def, NULL), (double)retained);
    metric_set(metric_get(&unready_def, NULL), (double)unready);
}

void node_look(struct node_core *nc) {
    count_unready(nc);
    nc->look_changed = false;
    uint64_t now_ms = core_mono_ns(nc->core) / 1000000;
    if (now_ms < nc->counted_ms + LOOK_IDLE_MS && nc->counted_ms != 0) return;
    nc->counted_ms = now_ms;
    count_roles(nc);
    node_metrics_look(nc);
    if (nc->core->index > 0) return;
    put_metrics(nc->node);
    node_metrics_put(nc->node);
}

static void look_on_timer(struct timer *t) {
    struct node_core *nc = container_of(t, struct node_core, look);
    bool changed = nc->look_changed;
    node_look(nc);
    uint32_t unready = atomic_load_explicit(&nc->unready, memory_order_relaxed);
    timer_start(t, unready > 0 ? LOOK_MS : LOOK_IDLE_MS);
    if (changed) distributor_wake(nc->distributor);
}

void node_look_soon(struct node_core *nc) {
    if (nc->look_changed || nc->look_stopped) return;
    nc->look_changed = true;
    timer_start(&nc->look, 0);
}

void node_look_open(struct node_core *nc) {
    timer_init(&nc->look, nc->core, look_on_timer);
}

void node_look_stop(struct node_core *nc) {
    nc->look_stopped = true;
    if (nc->look.core != NULL) timer_stop(&nc->look);
}
