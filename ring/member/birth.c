/* SPDX-License-Identifier: Apache-2.0 */
/* From no map to the first one (DESIGN 7, Birth), and the probes of discovery's addresses, which
 * go on later: they tell where a node listens now. */
#include <assert.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "node/base/log.h"
#include "ring/member/internal.h"
#include "ring/placement.h"

static void birth_on_timer(struct timer *t) {
    struct member *m = container_of(t, struct member, birth.timer);
    timer_start(t, PROBE_MS);
    member_settle(m);
}

enum status birth_open(struct member *m, struct err *err) {
    timer_init(&m->birth.timer, m->core, birth_on_timer);
    TRY(discover_open(m, err));
    char path[600];
    struct buf bytes = {0};
    struct err why;
    member_path(m, "promise", path);
    enum status status = disk_read_file(m->rt->disk, path, WIRE_FILE_BYTES_MAX, &bytes, &why);
    if (status == OK) {
        status = promise_file_get(buf_sv(&bytes), &m->birth.promised, &why);
        if (status != OK) err_prefix(&why, "%s", path);
    } else if (status == ERR_UNAVAILABLE) {
        status = OK;
    }
    buf_fini(&bytes);
    if (status != OK && err != NULL) *err = why;
    return status;
}

void birth_start(struct member *m) {
    bool alone = m->o.discovery == NULL || m->o.discovery->kind == DISCOVERY_NONE;
    if (!alone) timer_start(&m->birth.timer, 0);
}

void birth_fini(struct member *m) {
    free(m->birth.targets);
    m->birth.targets = NULL;
    m->birth.targets_count = 0;
}

/* -- probes */

static void probe_done(struct member *m, struct call *call, enum status status,
                       const struct err *err) {
    (void)err;
    struct target *t = discover_find(m, call->addr);
    if (t != NULL) t->asking = false;
    struct join_answer answer;
    struct sv bytes = buf_sv(&call->reply);
    if (status != OK || join_answer_get(bytes, &answer, NULL) != OK) return;
    if (strcmp(answer.cluster_name, m->o.cluster_name) != 0 || answer.id == m->o.self) return;
    answer.map = (struct sv){0};
    address_learn(m, answer.id, answer.incarnation, answer.addr);
    if (t == NULL) return;
    if (t->last.id != answer.id) t->granted = false;
    t->last = answer;
    t->heard_ms = member_now_ms(m);
    if (answer.phase == MEMBER_MEMBER && m->phase == MEMBER_UNBORN && !m->birth.promise_writing)
        join_begin(m, call->addr);
}

static void probe_send(struct member *m, struct target *t) {
    struct join_ask ask = {.verb = JOIN_PROBE,
                           .id = m->o.self,
                           .incarnation = m->o.incarnation,
                           .format_level = RING_FORMAT_LEVEL,
                           .bootstrap_expect = m->o.bootstrap_expect};
    snprintf(ask.addr, sizeof ask.addr, "%s", m->o.addr);
    snprintf(ask.zone, sizeof ask.zone, "%s", m->o.zone);
    snprintf(ask.cluster_name, sizeof ask.cluster_name, "%s", m->o.cluster_name);
    struct buf payload = {0};
    join_ask_put(&ask, &payload);
    struct call_options o = {
        .addr = t->addr, .type = FRAME_JOIN, .timeout_ms = PROBE_TIMEOUT_MS, .done = probe_done};
    t->asking = true;
    member_call(m, &o, &payload);
}

static void probe_all(struct member *m, uint64_t now_ms) {
    if (now_ms < m->birth.probe_at_ms) return;
    bool idle = m->phase == MEMBER_MEMBER && drive_leader(m) != 0 && m->beat.answered > 0;
    m->birth.probe_at_ms = now_ms + (idle ? PROBE_IDLE_MS : PROBE_MS);
    for (size_t i = 0; i < m->birth.targets_count; i++)
        if (!m->birth.targets[i].asking) probe_send(m, &m->birth.targets[i]);
}

/* -- founding */

static enum status found_map(struct member *m, const struct placement_member *members, size_t count,
                             struct ring_map **out, struct err *err) {
    struct ring_settings set = {.shards_count = m->o.shards_count,
                                .replication_factor = m->o.replication_factor,
                                .min_insync = m->o.min_insync,
                                .format_level = RING_FORMAT_LEVEL};
    snprintf(set.cluster_name, sizeof set.cluster_name, "%s", m->o.cluster_name);
    m->rt->ops->random(m->rt, set.cluster_id, sizeof set.cluster_id);
    m->rt->ops->random(m->rt, &set.secret, sizeof set.secret);
    struct ring_map *map;
    TRY(placement_make(&set, members, count, NULL, &map, err));
    for (uint32_t i = 0; i < map->nodes_count; i++) {
        struct ring_node *n = &map->nodes[i];
        if (n->id == m->o.self) n->incarnation = m->o.incarnation;
        for (size_t t = 0; t < m->birth.targets_count; t++)
            if (m->birth.targets[t].last.id == n->id)
                n->incarnation = m->birth.targets[t].last.incarnation;
    }
    *out = map;
    return OK;
}

/* This node and all whose promise it has. */
static void birth_found(struct member *m) {
    struct placement_member *members = calloc(m->birth.targets_count + 1, sizeof *members);
    if (members == NULL) return; /* the next tick tries again */
    size_t count = 1;
    members[0] = (struct placement_member){
        .id = m->o.self, .addr = sv_from(m->o.addr), .zone = sv_from(m->o.zone)};
    for (size_t i = 0; i < m->birth.targets_count; i++) {
        const struct target *t = &m->birth.targets[i];
        bool twice = false;
        for (size_t k = 0; k < count; k++)
            twice = twice || members[k].id == t->last.id;
        if (!t->listed || !t->granted || twice) continue;
        members[count++] = (struct placement_member){
            .id = t->last.id, .addr = sv_from(t->last.addr), .zone = sv_from(t->last.zone)};
    }
    struct ring_map *map;
    struct err err;
    enum status status = found_map(m, members, count, &map, &err);
    free(members);
    if (status != OK) {
        err_prefix(&err, "founding a cluster");
        member_lose(m, &err);
        return;
    }
    log_infof("this node founds a cluster", "nodes", "%zu", count);
    drive_found(m, map);
    ring_map_unref(map);
}

/* Promises that are needed: as many as the operator expects, and never so few that two founders
 * could both have them from the nodes that discovery lists. (Lists that differ by one node are safe
 * too: majorities of k and of k + 1 nodes share one.) */
static size_t birth_need(const struct member *m) {
    size_t listed = 1;
    for (size_t i = 0; i < m->birth.targets_count; i++)
        listed += m->birth.targets[i].listed;
    return MAX((size_t)m->o.bootstrap_expect, listed / 2 + 1);
}

static void birth_tell(struct member *m, uint64_t now_ms, size_t there, size_t granted) {
    if (now_ms < m->birth.log_at_ms) return;
    if (m->birth.log_at_ms != 0) {
        char text[160];
        snprintf(text, sizeof text,
                 "%zu of %zu nodes are there, %zu promises, own promise to %" PRIx64, there,
                 birth_need(m), granted, m->birth.promised);
        if (m->o.bootstrap_expect == 0)
            log_info("waiting for a node with a cluster (no --ring.bootstrap-expect)");
        else
            log_info("waiting for nodes to found a cluster", "state", text);
    }
    m->birth.log_at_ms = now_ms + 10000;
}

static void birth_unborn(struct member *m, uint64_t now_ms) {
    if (m->o.discovery == NULL || m->o.discovery->kind == DISCOVERY_NONE) {
        birth_found(m);
        return;
    }
    size_t there = 1, granted = 1;
    bool lowest = true;
    for (size_t i = 0; i < m->birth.targets_count; i++) {
        struct target *t = &m->birth.targets[i];
        if (!t->listed) continue; /* the majority is one of discovery's list */
        granted += t->granted;
        if (t->heard_ms == 0 || now_ms - t->heard_ms > PROBE_FRESH_MS) continue;
        if (t->last.phase != MEMBER_UNBORN && t->last.phase != MEMBER_FOUNDING) continue;
        there++;
        if (t->last.bootstrap_expect > 0 && t->last.id < m->o.self) lowest = false;
    }
    birth_tell(m, now_ms, there, granted);
    if (m->o.bootstrap_expect == 0 || m->birth.promise_writing) return;
    bool own = m->birth.promised == m->o.self;
    if (own && granted >= birth_need(m)) {
        birth_found(m);
        return;
    }
    if (lowest && there >= birth_need(m) && (own || m->birth.promised == 0))
        promise_step(m, now_ms);
}

void birth_step(struct member *m) {
    bool alone = m->o.discovery == NULL || m->o.discovery->kind == DISCOVERY_NONE;
    uint64_t now_ms = member_now_ms(m);
    if (!alone) {
        discover_step(m, now_ms);
        probe_all(m, now_ms);
    }
    if (m->phase == MEMBER_UNBORN) birth_unborn(m, now_ms);
    if (m->phase == MEMBER_JOINING) join_step(m, now_ms);
}
