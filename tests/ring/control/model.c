/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/ring/control/model.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "ring/placement.h"

const char *const model_state_names[9] = {"none",    "FULL in",    "FULL out",
                                          "INIT in", "INIT out",   "LOG in",
                                          "LOG out", "LEAVING in", "LEAVING out"};

/* ---- maps ---- */

static unsigned state_of(const struct ring_map *map, uint32_t s, node_id id) {
    int at = map == NULL ? -1 : ring_map_node_index(map, id);
    int r = at < 0 ? -1 : ring_shard_replica(&map->shards[s], at);
    if (r < 0) return 0;
    const struct ring_replica *x = &map->shards[s].replicas[r];
    return 2U * x->state - (x->in_sync ? 1U : 0U);
}

void model_print(const struct model *m) {
    static const char *const states[] = {"?", "FULL", "INIT", "LOG", "LEAVING"};
    fprintf(stderr, "map %" PRIu64 ", factor %u at %" PRIu64 "\n", m->map->version, m->factor,
            m->now_ms);
    for (uint32_t i = 0; i < m->map->nodes_count; i++) {
        const struct ring_node *n = &m->map->nodes[i];
        fprintf(stderr, "  node %u %" PRIx64 " flags %u incarnation %u\n", i, n->id, n->flags,
                n->incarnation);
    }
    for (uint32_t s = 0; s < m->shards; s++) {
        const struct ring_shard *shard = &m->map->shards[s];
        fprintf(stderr, "  shard %u epoch %u primary %u:", s, shard->epoch,
                ring_map_primary(m->map, s));
        for (unsigned i = 0; i < shard->replicas_count; i++) {
            const struct ring_replica *r = &shard->replicas[i];
            fprintf(stderr, " %u=%s%s copy %u since %" PRIu64 " until %" PRIu64 ";", r->node,
                    states[r->state], r->in_sync ? "+" : "-", r->copy, r->since, r->until);
        }
        fprintf(stderr, "\n");
    }
    for (unsigned i = 0; i < m->nodes_count; i++)
        fprintf(stderr, "  %" PRIx64 " up %d cut %d installed %" PRIu64 " lease %d stalled %d\n",
                m->nodes[i].id, m->nodes[i].up, m->nodes[i].cut,
                m->nodes[i].map == NULL ? 0 : m->nodes[i].map->version,
                m->now_ms < m->nodes[i].lease_until_ms, m->nodes[i].stalled_since_ms != 0);
}

static bool commit(struct model *m, struct ring_map *map) {
    struct err err = {0};
    if (ring_map_check(map, &err) != OK)
        return model_fail(m, "map %lu: %s", (unsigned long)map->version, err.msg);
    if (m->map != NULL && map->version != m->map->version + 1)
        return model_fail(m, "map %lu after %lu", (unsigned long)map->version,
                          (unsigned long)m->map->version);
    for (uint32_t s = 0; s < m->shards; s++) {
        const struct ring_shard *shard = &map->shards[s];
        node_id *known = &m->primaries[s][shard->epoch % ARRAY_LEN(m->primaries[s])];
        node_id leads = map->nodes[ring_map_primary(map, s)].id;
        if (*known != 0 && *known != leads)
            return model_fail(m, "shard %u has two primaries in epoch %u", s, shard->epoch);
        *known = leads;
        if (m->map != NULL && shard->epoch < m->map->shards[s].epoch)
            return model_fail(m, "shard %u goes back to epoch %u", s, shard->epoch);
        for (unsigned i = 0; i < m->nodes_count; i++)
            m->steps[state_of(m->map, s, m->nodes[i].id)][state_of(map, s, m->nodes[i].id)]++;
    }
    ring_map_unref(m->map);
    m->map = ring_map_ref(map);
    m->maps++;
    if (m->verbose) model_print(m);
    return true;
}

static void lead_anew(struct model *m) {
    struct controller_options options = {
        .self = m->nodes[0].id, .replace_after_ms = 4000, .moves_max = 2};
    controller_free(m->controller);
    m->controller = NULL;
    /* what the one before had proposed is decided before this one leads */
    if (m->proposed != NULL && rng_below(&m->rng, 2) == 0) commit(m, m->proposed);
    ring_map_unref(m->proposed);
    m->proposed = NULL;
    if (controller_new(&options, m->map, m->now_ms, &m->controller, NULL) != OK) abort();
}

/* ---- life ---- */

static struct model_node *node_new(struct model *m) {
    struct model_node *n = &m->nodes[m->nodes_count++];
    *n = (struct model_node){.id = (rng_u64(&m->rng) << 4 | m->nodes_count) | 1ULL << 63,
                             .up = true,
                             .exists = true,
                             .incarnation = 1};
    return n;
}

void model_init(struct model *m, uint64_t seed) {
    struct placement_member members[MODEL_NODES];
    *m = (struct model){.seed = seed, .now_ms = 100000};
    rng_init(&m->rng, seed);
    m->shards = 1 + (uint32_t)rng_below(&m->rng, MODEL_SHARDS);
    m->factor = 1 + (uint32_t)rng_below(&m->rng, 3);
    size_t count = 1 + rng_below(&m->rng, rng_below(&m->rng, 2) == 0 ? 4 : 8);
    for (uint32_t s = 0; s < m->shards; s++)
        for (unsigned i = 0; i < MODEL_WRITES; i++)
            m->writes[s][i].entry = -1;
    for (size_t i = 0; i < count; i++)
        members[i] = (struct placement_member){.id = node_new(m)->id, .addr = SV("a:1")};
    struct ring_settings set = {.cluster_name = "m",
                                .shards_count = m->shards,
                                .replication_factor = m->factor,
                                .format_level = RING_FORMAT_LEVEL};
    struct ring_map *map;
    if (placement_make(&set, members, count, NULL, &map, NULL) != OK) abort();
    for (uint32_t i = 0; i < map->nodes_count; i++)
        map->nodes[i].incarnation = 1;
    commit(m, map);
    for (unsigned i = 0; i < m->nodes_count; i++)
        model_install(m, &m->nodes[i], map);
    ring_map_unref(map);
    lead_anew(m);
}

void model_fini(struct model *m) {
    for (unsigned i = 0; i < m->nodes_count; i++) {
        ring_map_unref(m->nodes[i].map);
        heartbeat_fini(&m->nodes[i].beat);
    }
    controller_free(m->controller);
    ring_map_unref(m->map);
    ring_map_unref(m->proposed);
}

/* ---- faults ---- */

static void node_stop(struct model_node *n) {
    n->up = false;
    n->lease_until_ms = n->stalled_since_ms = 0;
    memset(n->leading, 0, sizeof n->leading);
    heartbeat_fini(&n->beat);
    n->beat = (struct heartbeat){0};
}

static void node_start(struct model *m, struct model_node *n) {
    n->up = true;
    n->incarnation++;
    n->beat_at_ms = m->now_ms;
    for (uint32_t s = 0; n->map != NULL && s < m->shards; s++)
        n->leading[s].epoch = n->map->shards[s].epoch;
}

static bool is_member(const struct model *m, const struct model_node *n) {
    return ring_map_node_index(m->map, n->id) >= 0;
}

/* A log with a gap, where others have all of it. */
static void damage(struct model *m, struct model_node *n) {
    uint32_t s = (uint32_t)rng_below(&m->rng, m->shards);
    unsigned others = 0;
    for (unsigned i = 0; i < m->nodes_count; i++)
        others += &m->nodes[i] != n && m->nodes[i].up && state_of(m->map, s, m->nodes[i].id) == 1 &&
                  !m->nodes[i].held[s].damaged;
    if (others == 0 || n->map == NULL || n->held[s].whole_copy == 0) return;
    n->held[s].damaged = true;
    m->damages[s]++;
    if (m->verbose) fprintf(stderr, "damage %u at %" PRIx64 "\n", s, n->id);
    n->held[s].whole = (struct entries){0};
}

static void fault(struct model *m) {
    struct model_node *n = &m->nodes[rng_below(&m->rng, m->nodes_count)];
    struct model_node *o = &m->nodes[rng_below(&m->rng, m->nodes_count)];
    uint32_t s = (uint32_t)rng_below(&m->rng, m->shards);
    static const unsigned char kinds[40] = {0, 0,  0,  0,  0,  2,  2,  2,  3,  3,  3, 3, 3, 3,
                                            3, 5,  5,  6,  6,  6,  6,  7,  7,  8,  8, 8, 9, 9,
                                            9, 10, 10, 10, 10, 12, 12, 13, 13, 11, 0, 3};
    switch (kinds[rng_below(&m->rng, 40)]) {
    case 0:
        if (n->up) node_stop(n);
        break;
    case 2: /* a quick restart */
        if (n->up) {
            node_stop(n);
            node_start(m, n);
        }
        break;
    case 3:
        if (!n->up) node_start(m, n);
        break;
    case 5: n->cut = !n->cut; break;
    case 6: n->cut = false; break;
    case 7: n->stalled_since_ms = n->stalled_since_ms == 0 && n->up ? m->now_ms : 0; break;
    case 8: n->stalled_since_ms = 0; break;
    case 9:
        if (m->nodes_count < MODEL_NODES) {
            n = node_new(m);
            struct ring_node join = {.id = n->id, .incarnation = 1, .addr = "a:1"};
            status_ignore(controller_join(m->controller, &join, NULL));
        }
        break;
    case 10:
        status_ignore(controller_drain(m->controller, n->id, rng_below(&m->rng, 2) == 0, NULL));
        break;
    case 11:
        if (controller_move(m->controller, s, n->id, o->id, NULL) == OK) m->moved = true;
        break;
    case 12: lead_anew(m); break;
    default: damage(m, n); break;
    }
}

/* Everything works again, and whoever wanted to leave may. */
static void calm(struct model *m) {
    for (unsigned i = 0; i < m->nodes_count; i++) {
        struct model_node *n = &m->nodes[i];
        n->cut = false;
        n->stalled_since_ms = 0;
        if (!n->up) node_start(m, n);
        if (is_member(m, n)) status_ignore(controller_drain(m->controller, n->id, false, NULL));
    }
}

/* Logs were damaged, and the copies that were whole went: somebody has to decide. */
static void accept_losses(struct model *m) {
    for (uint32_t s = 0; s < m->shards; s++) {
        if (m->accepting[s] || m->damages[s] == 0) continue;
        if (controller_accept_loss(m->controller, s, NULL) != OK) continue;
        m->accepting[s] = true;
    }
}

/* ---- time ---- */

static void beats(struct model *m) {
    for (unsigned i = 0; i < m->nodes_count; i++) {
        struct model_node *n = &m->nodes[i];
        if (!n->up) continue;
        if (n->beat.id != 0 && m->now_ms >= n->beat_due_ms) {
            struct heartbeat_reply reply;
            controller_heartbeat(m->controller, m->now_ms, &n->beat, true, &reply);
            if (reply.answer == HEARTBEAT_OK && !n->cut)
                n->lease_until_ms = MAX(n->lease_until_ms, n->beat_sent_ms + LEASE_MS);
            heartbeat_fini(&n->beat);
            n->beat = (struct heartbeat){0};
        }
        if (n->beat.id != 0 || m->now_ms < n->beat_at_ms || n->cut) continue;
        model_beat_fill(m, n, &n->beat);
        n->beat_sent_ms = m->now_ms;
        n->beat_due_ms = m->now_ms + TICK_MS * rng_below(&m->rng, 3);
        n->beat_at_ms = m->now_ms + HEARTBEAT_MS;
    }
}

static bool maps(struct model *m) {
    struct err err = {0};
    if (m->proposed != NULL && m->now_ms >= m->commit_at_ms) {
        if (rng_below(&m->rng, 20) != 0) {
            if (!commit(m, m->proposed)) return false;
            controller_committed(m->controller, m->proposed, m->now_ms);
        } else {
            controller_dropped(m->controller);
        }
        ring_map_unref(m->proposed);
        m->proposed = NULL;
    }
    struct ring_map *next = NULL;
    if (controller_step(m->controller, m->now_ms, &next, &err) != OK)
        return model_fail(m, "step: %s", err.msg);
    if (next != NULL) {
        m->proposed = next;
        m->commit_at_ms = m->now_ms + TICK_MS * rng_below(&m->rng, 2);
    }
    for (unsigned i = 0; i < m->nodes_count; i++) {
        struct model_node *n = &m->nodes[i];
        if (n->up && !n->cut && rng_below(&m->rng, 2) == 0) model_install(m, n, m->map);
        if (n->up && n->cut && rng_below(&m->rng, 20) == 0) model_install(m, n, m->map);
    }
    return true;
}

static bool is_well(const struct model *m) {
    unsigned loads[MODEL_NODES] = {0}, primaries[MODEL_NODES] = {0};
    unsigned factor = MIN(m->factor, m->map->nodes_count);
    for (uint32_t i = 0; i < m->map->nodes_count; i++)
        if (m->map->nodes[i].flags != 0) return false;
    for (uint32_t s = 0; s < m->shards; s++) {
        const struct ring_shard *shard = &m->map->shards[s];
        if (shard->replicas_count != factor) return false;
        for (unsigned i = 0; i < factor; i++) {
            if (!ring_replica_is_readable(&shard->replicas[i])) return false;
            if (shard->replicas[i].until != 0) return false;
            loads[shard->replicas[i].node]++;
        }
        primaries[ring_map_primary(m->map, s)]++;
        node_id leads = m->map->nodes[ring_map_primary(m->map, s)].id;
        for (unsigned i = 0; i < m->nodes_count; i++)
            if (m->nodes[i].id == leads && !m->nodes[i].leading[s].open) return false;
    }
    for (uint32_t i = 0; i < m->map->nodes_count; i++)
        for (uint32_t k = 0; k < i && !m->moved; k++)
            if (loads[i] > loads[k] + 1 || loads[k] > loads[i] + 1 ||
                primaries[i] > primaries[k] + 1 || primaries[k] > primaries[i] + 1)
                return false;
    return true;
}

bool model_run(struct model *m, uint64_t faults_ms, uint64_t calm_ms) {
    uint64_t calm_at = m->now_ms + faults_ms, end = calm_at + calm_ms, well_since = 0;
    double rate = 0.05 + 0.4 * rng_unit(&m->rng) * rng_unit(&m->rng);
    bool calmed = false;
    for (; m->now_ms < end; m->now_ms += TICK_MS) {
        if (m->now_ms >= calm_at && !calmed) {
            calm(m);
            calmed = true;
        }
        if (m->now_ms >= calm_at + 15000 && (m->now_ms - calm_at) % 5000 == 0) accept_losses(m);
        if (!calmed && rng_chance(&m->rng, rate)) fault(m);
        beats(m);
        if (!maps(m) || !model_data_tick(m)) return false;
        if (!calmed || !is_well(m) || m->proposed != NULL)
            well_since = 0;
        else if (well_since == 0)
            well_since = m->now_ms;
        else if (m->now_ms - well_since >= 2000)
            return true;
    }
    return model_fail(m, "not well %lu ms after the last fault", (unsigned long)calm_ms);
}
