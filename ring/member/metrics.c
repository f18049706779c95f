/* SPDX-License-Identifier: Apache-2.0 */
/* The member as metrics, looked at once a second. What only a controller knows is 0 elsewhere, so
 * that sums over the nodes are right while one leads. */
#include <assert.h>
#include <inttypes.h>
#include <stdio.h>

#include "node/base/metrics.h"
#include "ring/member/internal.h"

enum { METRICS_MS = 1000 };

enum gauge {
    MAP_VERSION,
    MAP_INSTALLED,
    LEASE_SECONDS,
    IS_CONTROLLER,
    TERM,
    UNSYNCED_SECONDS,
    NODES_ALIVE,
    NODES_DEAD,
    SHARDS_UNDER_REPLICATED,
    SHARDS_UNREADABLE,
    SHARDS_MOVING,
    REPLICAS_FULL,
    REPLICAS_INIT,
    REPLICAS_LOG,
    REPLICAS_LEAVING,
    GAUGES
};
#define GAUGE(id, metric_name, label, text)                                                        \
    [id] = {{.name = metric_name, .help = text, .kind = METRIC_GAUGE}, label}
#define NODES_HELP "On the controller: members by whether they are alive."
#define REPLICAS_HELP "On the controller: replicas of all shards by their state in the map."
static const struct {
    struct metric_def def;
    const char *labels;
} gauges[] = {
    GAUGE(MAP_VERSION, "cairn_ring_map_version", NULL,
          "Version of the newest cluster map that this node knows."),
    GAUGE(MAP_INSTALLED, "cairn_ring_map_installed_version", NULL,
          "Version of the cluster map by which this node works."),
    GAUGE(LEASE_SECONDS, "cairn_ring_lease_remaining_seconds", NULL,
          "How much longer this node may serve without another answer of the controller."),
    GAUGE(IS_CONTROLLER, "cairn_ring_is_controller", NULL, "1: this node is the controller."),
    GAUGE(TERM, "cairn_ring_term", NULL, "Raft term of this node."),
    GAUGE(UNSYNCED_SECONDS, "cairn_ring_unsynced_seconds", NULL,
          "Age of the oldest append that this node's log has not synced."),
    GAUGE(NODES_ALIVE, "cairn_ring_nodes", "state=\"alive\"", NODES_HELP),
    GAUGE(NODES_DEAD, "cairn_ring_nodes", "state=\"dead\"", NODES_HELP),
    GAUGE(SHARDS_UNDER_REPLICATED, "cairn_ring_shards_under_replicated", NULL,
          "On the controller: shards with fewer copies in sync than they should have."),
    GAUGE(SHARDS_UNREADABLE, "cairn_ring_shards_unreadable", NULL,
          "On the controller: shards that nobody can answer for."),
    GAUGE(SHARDS_MOVING, "cairn_ring_shards_moving", NULL,
          "On the controller: shards that are on their way to another node."),
    GAUGE(REPLICAS_FULL, "cairn_ring_replicas", "state=\"full\"", REPLICAS_HELP),
    GAUGE(REPLICAS_INIT, "cairn_ring_replicas", "state=\"init\"", REPLICAS_HELP),
    GAUGE(REPLICAS_LOG, "cairn_ring_replicas", "state=\"log\"", REPLICAS_HELP),
    GAUGE(REPLICAS_LEAVING, "cairn_ring_replicas", "state=\"leaving\"", REPLICAS_HELP),
};
static_assert(ARRAY_LEN(gauges) == GAUGES, "one row a gauge");

static const struct metric_def heartbeats_def = {
    .name = "cairn_ring_heartbeats_total",
    .help = "Heartbeats of this node by what became of them: answered ones extend its lease.",
    .kind = METRIC_COUNTER};
static const struct metric_def lag_def = {
    .name = "cairn_ring_follower_lag_seconds",
    .help = "How long the oldest append of this node's primaries waits for the follower's answer.",
    .kind = METRIC_GAUGE};

static const char *const beat_labels[] = {[METRICS_BEAT_ANSWERED] = "result=\"answered\"",
                                          [METRICS_BEAT_REFUSED] = "result=\"refused\"",
                                          [METRICS_BEAT_LOST] = "result=\"lost\""};

void metrics_open(struct member *m) {
    for (unsigned i = 0; i < ARRAY_LEN(beat_labels); i++)
        m->metrics.beats[i] = metric_get(&heartbeats_def, beat_labels[i]);
    for (unsigned i = 0; i < GAUGES; i++)
        metric_get(&gauges[i].def, gauges[i].labels);
}

void metrics_beat(struct member *m, enum metrics_beat what) {
    metric_add(m->metrics.beats[what], 1);
}

static void put_controller(const struct member *m, uint64_t now_ms, double v[GAUGES]) {
    if (m->lead.controller == NULL) return;
    struct controller_counts c;
    controller_counts(m->lead.controller, now_ms, &c);
    v[IS_CONTROLLER] = 1;
    v[NODES_ALIVE] = c.nodes_alive;
    v[NODES_DEAD] = c.nodes_dead;
    v[SHARDS_UNDER_REPLICATED] = c.shards_under_replicated;
    v[SHARDS_UNREADABLE] = c.shards_unreadable;
    v[SHARDS_MOVING] = c.shards_moving;
    v[REPLICAS_FULL] = c.replicas[REPLICA_FULL];
    v[REPLICAS_INIT] = c.replicas[REPLICA_INIT];
    v[REPLICAS_LOG] = c.replicas[REPLICA_LOG];
    v[REPLICAS_LEAVING] = c.replicas[REPLICA_LEAVING];
}

/* The largest of all cores, for each other node of the map. */
static void put_lags(const struct member *m) {
    const struct ring_map *map = m->map.newest;
    for (uint32_t n = 0; map != NULL && n < map->nodes_count; n++) {
        node_id id = map->nodes[n].id;
        uint32_t age_ms = 0;
        if (id == m->o.self) continue;
        for (unsigned c = 0; c < m->rt->cores_count; c++) {
            const struct core_report *r = &m->beat.reports[c];
            for (size_t i = 0; i < r->lags_count; i++)
                if (r->lags[i].follower == id) age_ms = MAX(age_ms, r->lags[i].age_ms);
        }
        char label[40];
        snprintf(label, sizeof label, "node=\"%016" PRIx64 "\"", id);
        metric_set(metric_get(&lag_def, label), age_ms / 1000.0);
    }
}

struct metric *metrics_role(enum raft_role from, enum raft_role to) {
    static const struct metric_def def = {.name = "cairn_ring_raft_roles_total",
                                          .help = "Changes of this node's role in consensus.",
                                          .kind = METRIC_COUNTER};
    char labels[64];
    snprintf(labels, sizeof labels, "from=\"%s\",to=\"%s\"", raft_role_name(from),
             raft_role_name(to));
    return metric_get(&def, labels);
}

void metrics_step(struct member *m) {
    uint64_t now_ms = member_now_ms(m), now_ns = core_mono_ns(m->core);
    if (m->metrics.at_ms != 0 && now_ms < m->metrics.at_ms + METRICS_MS) return;
    m->metrics.at_ms = now_ms;
    uint64_t until_ns = atomic_load_explicit(&m->o.lease->until_ns, memory_order_relaxed);
    uint32_t unsynced_ms = 0;
    for (unsigned c = 0; c < m->rt->cores_count; c++)
        unsynced_ms = MAX(unsynced_ms, m->beat.reports[c].unsynced_age_ms);
    double v[GAUGES] = {
        [MAP_VERSION] = m->map.newest == NULL ? 0 : (double)m->map.newest->version,
        [MAP_INSTALLED] = (double)m->map.installed,
        [LEASE_SECONDS] = until_ns > now_ns ? (double)(until_ns - now_ns) / 1e9 : 0,
        [TERM] = m->r.raft == NULL ? 0 : (double)raft_info(m->r.raft).term,
        [UNSYNCED_SECONDS] = unsynced_ms / 1000.0,
    };
    put_controller(m, now_ms, v);
    for (unsigned i = 0; i < GAUGES; i++)
        metric_set(metric_get(&gauges[i].def, gauges[i].labels), v[i]);
    put_lags(m);
}
