/* SPDX-License-Identifier: Apache-2.0 */
/* A node without a map joins who has one; and the answers to those who ask. The joining node asks
 * the leader, which proposes the map that names it; asked again it gets that map. So it has a
 * durable map before Raft begins to feed it. */
#include <stdio.h>
#include <string.h>

#include "node/base/log.h"
#include "ring/member/internal.h"

void join_begin(struct member *m, const char *addr) {
    m->phase = MEMBER_JOINING;
    snprintf(m->birth.join_addr, sizeof m->birth.join_addr, "%s", addr);
    m->birth.join_at_ms = 0;
    m->birth.join_backoff_ms = JOIN_RETRY_MIN_MS;
    m->dirty = true;
    log_info("this node joins the cluster", "through", addr);
}

static void join_later(struct member *m) {
    m->birth.join_at_ms = member_now_ms(m) + m->birth.join_backoff_ms;
    m->birth.join_backoff_ms = MIN(2 * m->birth.join_backoff_ms, (unsigned)JOIN_RETRY_MAX_MS);
}

/* Somebody else who has a map: whom we asked does not answer. */
static void join_elsewhere(struct member *m) {
    uint64_t now_ms = member_now_ms(m);
    for (size_t i = 0; i < m->birth.targets_count; i++) {
        const struct target *t = &m->birth.targets[i];
        if (t->heard_ms == 0 || now_ms - t->heard_ms > PROBE_FRESH_MS ||
            t->last.phase != MEMBER_MEMBER || strcmp(t->addr, m->birth.join_addr) == 0)
            continue;
        snprintf(m->birth.join_addr, sizeof m->birth.join_addr, "%s", t->addr);
        return;
    }
}

static void join_taken(struct member *m, const struct join_answer *answer) {
    struct ring_map *map;
    struct err err;
    if (ring_map_get(answer->map, &map, &err) != OK) {
        log_warn("joining: the map that came is unusable", "err", err.msg);
        join_later(m);
        return;
    }
    if (strcmp(map->settings.cluster_name, m->o.cluster_name) != 0 ||
        ring_map_node_index(map, m->o.self) < 0)
        join_later(m);
    else
        install_newer(m, map); /* when it is saved this node is a member */
    ring_map_unref(map);
}

static void join_done(struct member *m, struct call *call, enum status status,
                      const struct err *err) {
    m->birth.join_asking = false;
    if (m->phase != MEMBER_JOINING || m->map.newest != NULL) return;
    struct join_answer answer;
    struct err why;
    if (status == OK) {
        status = join_answer_get(buf_sv(&call->reply), &answer, &why);
        err = &why;
    }
    if (status != OK) {
        if (status == ERR_CONFLICT || status == ERR_UNSUPPORTED)
            log_error("the cluster does not take this node in", "err", err->msg);
        join_later(m);
        join_elsewhere(m);
        return;
    }
    if (answer.outcome == JOIN_TAKEN) {
        join_taken(m, &answer);
        return;
    }
    if (answer.leader_addr[0] != '\0')
        snprintf(m->birth.join_addr, sizeof m->birth.join_addr, "%s", answer.leader_addr);
    join_later(m);
}

void join_step(struct member *m, uint64_t now_ms) {
    if (m->birth.join_asking || m->map.newest != NULL || now_ms < m->birth.join_at_ms) return;
    struct join_ask ask = {.verb = JOIN_ASK,
                           .id = m->o.self,
                           .incarnation = m->o.incarnation,
                           .format_level = RING_FORMAT_LEVEL,
                           .bootstrap_expect = m->o.bootstrap_expect};
    snprintf(ask.addr, sizeof ask.addr, "%s", m->o.addr);
    snprintf(ask.zone, sizeof ask.zone, "%s", m->o.zone);
    snprintf(ask.cluster_name, sizeof ask.cluster_name, "%s", m->o.cluster_name);
    struct buf payload = {0};
    join_ask_put(&ask, &payload);
    struct call_options o = {.addr = m->birth.join_addr,
                             .type = FRAME_JOIN,
                             .timeout_ms = 2 * PROBE_TIMEOUT_MS,
                             .done = join_done};
    m->birth.join_asking = true;
    member_call(m, &o, &payload);
}

/* -- answering */

static void join_tell(struct member *m, struct relay *relay, enum join_outcome outcome,
                      const struct ring_map *map) {
    struct join_answer a = {.outcome = (uint8_t)outcome,
                            .phase = (uint8_t)m->phase,
                            .id = m->o.self,
                            .incarnation = m->o.incarnation,
                            .bootstrap_expect = m->o.bootstrap_expect,
                            .promised = m->birth.promised,
                            .leader = drive_leader(m)};
    if (m->phase == MEMBER_MEMBER && m->map.saved == 0) a.phase = MEMBER_FOUNDING;
    snprintf(a.addr, sizeof a.addr, "%s", m->o.addr);
    snprintf(a.zone, sizeof a.zone, "%s", m->o.zone);
    snprintf(a.cluster_name, sizeof a.cluster_name, "%s", m->o.cluster_name);
    if (a.leader != 0) snprintf(a.leader_addr, sizeof a.leader_addr, "%s", address_of(m, a.leader));
    struct buf bytes = {0}, out = {0};
    if (map != NULL) ring_map_put(map, &bytes);
    a.map = buf_sv(&bytes);
    join_answer_put(&a, &out);
    if (bytes.failed) out.failed = true;
    buf_fini(&bytes);
    relay_reply(relay, &out);
}

void join_on_frame(struct member *m, struct relay *relay) {
    struct join_ask ask;
    struct err err;
    if (join_ask_get(sv_make(relay->payload.ptr, relay->payload.len), &ask, &err) != OK) {
        relay_fail(relay, ERR_CORRUPT, err.msg);
        return;
    }
    if (strcmp(ask.cluster_name, m->o.cluster_name) != 0) {
        err_set(&err, ERR_CONFLICT, 0, "join: this cluster is called \"%s\"", m->o.cluster_name);
        relay_fail(relay, ERR_CONFLICT, err.msg);
        return;
    }
    if (ask.id != relay->from) {
        relay_fail(relay, ERR_CONFLICT, "join: a request of another node than its sender");
        return;
    }
    address_learn(m, ask.id, ask.incarnation, ask.addr);
    discover_learn(m, ask.addr);
    const struct ring_map *map = m->r.state.map; /* committed */
    if (ask.verb == JOIN_PROBE) {
        join_tell(m, relay, JOIN_TOLD, NULL);
        return;
    }
    if (map != NULL && ring_map_node_index(map, ask.id) >= 0) {
        join_tell(m, relay, JOIN_TAKEN, map);
        return;
    }
    if (m->lead.controller != NULL) {
        struct ring_node node = {.id = ask.id, .incarnation = ask.incarnation};
        snprintf(node.addr, sizeof node.addr, "%s", ask.addr);
        snprintf(node.zone, sizeof node.zone, "%s", ask.zone);
        enum status status = ask.format_level < map->settings.format_level
                                 ? err_set(&err, ERR_UNSUPPORTED, 0,
                                           "join: this cluster is written at format level %u",
                                           map->settings.format_level)
                                 : controller_join(m->lead.controller, &node, &err);
        if (status != OK) {
            relay_fail(relay, status, err.msg);
            return;
        }
        m->dirty = m->lead.news = true;
    }
    join_tell(m, relay, JOIN_LATER, NULL);
}
