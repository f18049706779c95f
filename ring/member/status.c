/* SPDX-License-Identifier: Apache-2.0 */
/* The controller's view as JSON: ADMIN_STATUS. Ids are hexadecimal texts, as JSON's numbers end at
 * 2^53; an age of null: never heard. */
#include <inttypes.h>
#include <stdio.h>

#include "node/base/json.h"
#include "ring/member/internal.h"

static void put_id(struct json *j, struct sv key, node_id id) {
    char text[20];
    snprintf(text, sizeof text, "%016" PRIx64, id);
    json_key_string(j, key, sv_from(text));
}

static void put_count(struct json *j, const char *key, uint64_t v) {
    json_key(j, sv_from(key));
    json_u64(j, v);
}

static const char *const replica_names[] = {"", "full", "init", "log", "leaving"};

static void put_replicas(struct json *j, const uint32_t counts[5]) {
    for (int state = REPLICA_FULL; state <= REPLICA_LEAVING; state++)
        put_count(j, replica_names[state], counts[state]);
}

static void put_node(struct json *j, const struct member *m, uint32_t index, uint64_t now_ms) {
    const struct ring_map *map = m->r.state.map;
    const struct ring_node *n = &map->nodes[index];
    struct raft_info info = raft_info(m->r.raft);
    const struct raft_member *member = raft_members_find(info.members, n->id);
    bool down = (n->flags & RING_NODE_DOWN) != 0;
    uint32_t counts[5] = {0}, primaries = 0, in_sync = 0;
    for (uint32_t s = 0; s < map->settings.shards_count; s++) {
        const struct ring_shard *shard = &map->shards[s];
        int r = ring_shard_replica(shard, (int)index);
        if (r < 0) continue;
        counts[shard->replicas[r].state]++;
        primaries += shard->primary == r;
        in_sync += shard->replicas[r].in_sync;
    }
    json_object_begin(j);
    put_id(j, SV("id"), n->id);
    json_key_string(j, SV("address"), sv_from(address_of(m, n->id)));
    json_key_string(j, SV("zone"), sv_from(n->zone));
    json_key_string(j, SV("state"), down ? SV("down") : SV("alive"));
    json_key_bool(j, SV("draining"), (n->flags & RING_NODE_DRAINING) != 0);
    put_count(j, "incarnation", n->incarnation);
    json_key(j, SV("heartbeatAgeMs"));
    uint64_t age_ms = controller_age_ms(m->lead.controller, n->id, now_ms);
    if (age_ms == UINT64_MAX)
        json_null(j);
    else
        json_u64(j, age_ms);
    json_key_bool(j, SV("voter"), member != NULL && member->voter);
    put_count(j, "primaries", primaries);
    put_count(j, "inSync", in_sync);
    json_key(j, SV("replicas"));
    json_object_begin(j);
    put_replicas(j, counts);
    json_object_end(j);
    json_object_end(j);
}

static void put_members(struct json *j, const struct raft_members *members, bool voters) {
    json_array_begin(j);
    for (uint32_t i = 0; i < members->count; i++) {
        char text[20];
        if (members->items[i].voter != voters) continue;
        snprintf(text, sizeof text, "%016" PRIx64, members->items[i].id);
        json_string(j, sv_from(text));
    }
    json_array_end(j);
}

void status_put(struct member *m, struct buf *out) {
    uint64_t now_ms = member_now_ms(m);
    const struct ring_map *map = m->r.state.map;
    struct raft_info info = raft_info(m->r.raft);
    struct controller_counts counts;
    controller_counts(m->lead.controller, now_ms, &counts);
    struct json j = json_init(out);
    json_object_begin(&j);
    json_key_string(&j, SV("cluster"), sv_from(map->settings.cluster_name));
    put_id(&j, SV("leader"), m->o.self);
    put_count(&j, "term", info.term);
    put_count(&j, "mapVersion", map->version);
    put_count(&j, "formatLevel", map->settings.format_level);
    put_count(&j, "shards", map->settings.shards_count);
    put_count(&j, "replicationFactor", map->settings.replication_factor);
    json_key(&j, SV("voters"));
    put_members(&j, info.members, true);
    json_key(&j, SV("learners"));
    put_members(&j, info.members, false);
    json_key(&j, SV("nodes"));
    json_array_begin(&j);
    for (uint32_t i = 0; i < map->nodes_count; i++)
        put_node(&j, m, i, now_ms);
    json_array_end(&j);
    put_count(&j, "nodesAlive", counts.nodes_alive);
    put_count(&j, "nodesDead", counts.nodes_dead);
    put_count(&j, "shardsUnderReplicated", counts.shards_under_replicated);
    put_count(&j, "shardsUnreadable", counts.shards_unreadable);
    put_count(&j, "shardsMoving", counts.shards_moving);
    json_key(&j, SV("replicas"));
    json_object_begin(&j);
    put_replicas(&j, counts.replicas);
    json_object_end(&j);
    json_object_end(&j);
}

void member_describe(const struct member *m, struct buf *out) {
    static const char *const phases[] = {"?", "unborn", "founding", "joining", "member", "removed"};
    const struct ring_map *map = m->map.newest;
    buf_printf(out, "%s, map %" PRIu64, phases[m->phase], map == NULL ? 0 : map->version);
    if (m->r.raft == NULL) {
        buf_printf(out, ", no consensus yet, joins through %s", m->birth.join_addr);
        return;
    }
    struct raft_info info = raft_info(m->r.raft);
    buf_printf(out,
               ", %s of term %" PRIu64 ", leader %04x, log %" PRIu64 "..%" PRIu64
               " committed to %" PRIu64 "%s, members",
               raft_role_name(info.role), info.term, (unsigned)(info.leader & 0xffff), info.first,
               info.last, info.commit, info.removed ? ", removed" : "");
    for (uint32_t i = 0; i < info.members->count; i++)
        buf_printf(out, " %04x%s", (unsigned)(info.members->items[i].id & 0xffff),
                   info.members->items[i].voter ? "*" : "");
}
