/* SPDX-License-Identifier: Apache-2.0 */
/* What a leader does besides: the controller from its own no-op on, the maps it proposes, and who
 * votes. */
#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "node/base/log.h"
#include "ring/member/internal.h"

enum { VOTERS_MS = 300, MOVES_MAX = 64 };

static void leader_on_timer(struct timer *t) {
    struct member *m = container_of(t, struct member, lead.timer);
    member_settle(m);
}

static void next_drop(struct member *m) {
    ring_map_unref(m->lead.next);
    m->lead.next = NULL;
}

static void leader_drop(struct member *m, const char *why) {
    if (m->lead.controller == NULL) return;
    controller_free(m->lead.controller);
    m->lead.controller = NULL;
    next_drop(m);
    m->lead.seen_count = 0;
    timer_stop(&m->lead.timer);
    admin_fail_all(m, why);
    log_info("this node is the controller no more");
}

void leader_fini(struct member *m) {
    if (m->lead.timer.core != NULL) leader_drop(m, "this node is stopping");
    admin_fail_all(m, "this node is stopping");
    free(m->lead.seen);
    m->lead.seen = NULL;
    m->lead.seen_count = m->lead.seen_cap = 0;
}

void leader_open(struct member *m) {
    timer_init(&m->lead.timer, m->core, leader_on_timer);
}

static void leader_begin(struct member *m, uint64_t term, uint64_t now_ms) {
    struct controller_options o = {
        .self = m->o.self, .replace_after_ms = m->o.replace_after_ms, .moves_max = MOVES_MAX};
    struct err err;
    if (controller_new(&o, m->r.state.map, now_ms, &m->lead.controller, &err) != OK) {
        m->lead.controller = NULL; /* the next heartbeat's timer tries again */
        log_error("the controller cannot start", "err", err.msg);
        return;
    }
    m->lead.term = term;
    m->lead.since_ms = now_ms;
    m->lead.news = true;
    m->lead.voters_at_ms = now_ms;
    log_infof("this node is the controller", "term", "%llu", (unsigned long long)term);
    beat_now(m);
}

/* -- who is alive, for the choice of voters */

static struct seen *seen_get(const struct member *m, node_id id) {
    for (size_t i = 0; i < m->lead.seen_count; i++)
        if (m->lead.seen[i].id == id) return &m->lead.seen[i];
    return NULL;
}

void leader_saw(struct member *m, node_id id, uint64_t now_ms) {
    struct seen *s = seen_get(m, id);
    if (s == NULL) {
        if (m->lead.seen_count == m->lead.seen_cap) {
            size_t cap = m->lead.seen_cap == 0 ? 16 : 2 * m->lead.seen_cap;
            struct seen *items =
                cap > 4 * RING_NODES_MAX ? NULL : realloc(m->lead.seen, cap * sizeof *items);
            if (items == NULL) return;
            m->lead.seen = items;
            m->lead.seen_cap = cap;
        }
        s = &m->lead.seen[m->lead.seen_count++];
        *s = (struct seen){.id = id, .first_ms = now_ms, .last_ms = now_ms};
    }
    if (now_ms - s->last_ms >= VOTER_ALIVE_MS) s->first_ms = now_ms;
    s->last_ms = now_ms;
}

uint64_t leader_age_ms(const struct member *m, node_id id, uint64_t now_ms) {
    const struct seen *s = seen_get(m, id);
    return now_ms - (s == NULL ? m->lead.since_ms : s->last_ms);
}

/* -- voters */

static void voter_view_fill(const struct member *m, const struct raft_members *members,
                            uint64_t now_ms, struct voter_view *v) {
    const struct ring_map *map = m->r.state.map;
    int node = ring_map_node_index(map, v->id);
    const struct raft_member *member = raft_members_find(members, v->id);
    const struct seen *s = seen_get(m, v->id);
    v->in_map = node >= 0;
    v->member = member != NULL;
    v->voter = member != NULL && member->voter;
    v->age_ms = leader_age_ms(m, v->id, now_ms);
    if (s == NULL) v->age_ms = MAX(v->age_ms, (uint64_t)VOTER_ALIVE_MS);
    v->alive_ms = s == NULL ? 0 : now_ms - s->first_ms;
    if (v->id == m->o.self) v->age_ms = 0;
    if (node < 0) return;
    v->zone = sv_from(map->nodes[node].zone);
    v->draining = (map->nodes[node].flags & RING_NODE_DRAINING) != 0;
}

static struct voters_step voters_look(const struct member *m, uint64_t now_ms, bool *out_enough) {
    struct raft_info info = raft_info(m->r.raft);
    const struct ring_map *map = m->r.state.map;
    struct voters_step none = {VOTERS_NOTHING, 0};
    struct voter_view *views = calloc(map->nodes_count + info.members->count, sizeof *views);
    *out_enough = false;
    if (views == NULL) return none;
    size_t count = 0;
    uint32_t a = 0, b = 0; /* both ascend by id: merge them */
    while (a < map->nodes_count || b < info.members->count) {
        uint64_t x = a < map->nodes_count ? map->nodes[a].id : UINT64_MAX;
        uint64_t y = b < info.members->count ? info.members->items[b].id : UINT64_MAX;
        views[count].id = MIN(x, y);
        if (a < map->nodes_count && x == views[count].id) a++;
        if (b < info.members->count && y == views[count].id) b++;
        voter_view_fill(m, info.members, now_ms, &views[count++]);
    }
    struct voters_step step = voters_next(views, count, m->o.self);
    *out_enough = voters_are_enough(views, count) && info.members_index <= info.commit;
    free(views);
    return step;
}

bool member_has_settled(const struct member *m) {
    bool enough = false;
    return m->lead.controller != NULL &&
           voters_look(m, member_now_ms(m), &enough).what == VOTERS_NOTHING && enough;
}

static void voters_change(struct member *m, uint64_t now_ms) {
    if (now_ms < m->lead.voters_at_ms) return;
    m->lead.voters_at_ms = now_ms + VOTERS_MS;
    static const enum raft_change changes[] = {[VOTERS_ADD] = RAFT_ADD_LEARNER,
                                               [VOTERS_PROMOTE] = RAFT_PROMOTE,
                                               [VOTERS_DEMOTE] = RAFT_DEMOTE,
                                               [VOTERS_REMOVE] = RAFT_REMOVE};
    bool enough;
    struct voters_step step = voters_look(m, now_ms, &enough);
    if (step.what == VOTERS_NOTHING) return;
    struct raft_event event = {.type = RAFT_EV_TRANSFER};
    if (step.what != VOTERS_HAND_OVER)
        event = (struct raft_event){
            .type = RAFT_EV_CHANGE, .change = changes[step.what], .id = step.id};
    drive_step(m, &event, NULL); /* refused: the next look decides anew */
}

/* -- maps */

enum status leader_propose(struct member *m, struct buf *command, uint64_t *out_term,
                           uint64_t *out_index) {
    struct raft_reply reply = {.status = ERR_NOMEM};
    struct raft_event event = {.type = RAFT_EV_PROPOSE, .bytes = buf_sv(command)};
    if (!command->failed) drive_step(m, &event, &reply);
    buf_fini(command);
    if (reply.status != OK) return reply.status;
    *out_term = reply.term;
    *out_index = reply.index;
    return OK;
}

static void maps_propose(struct member *m, uint64_t now_ms) {
    if (m->lead.next != NULL) return;
    if (!m->lead.news && now_ms < controller_next_ms(m->lead.controller)) return;
    struct ring_map *next = NULL;
    struct err err;
    m->lead.news = false;
    if (controller_step(m->lead.controller, now_ms, &next, &err) != OK) {
        log_error("the controller cannot decide", "err", err.msg);
        return;
    }
    admin_stepped(m, next != NULL, now_ms);
    if (next == NULL) return;
    struct buf command = {0};
    command_map_put(m->r.state.map, next, &command);
    if (leader_propose(m, &command, &m->lead.proposed_term, &m->lead.proposed_index) == OK) {
        m->lead.next = next;
        return;
    }
    ring_map_unref(next);
    controller_dropped(m->lead.controller);
    admin_committed(m, false);
}

void leader_applied(struct member *m, const struct raft_entry *entry, bool changed) {
    struct raft_info info = raft_info(m->r.raft);
    if (entry->type == RAFT_ENTRY_NOOP && info.role == RAFT_LEADER && entry->term == info.term)
        m->lead.no_op_term = entry->term;
    if (m->lead.controller == NULL) return;
    /* What follows is due at once: while voters are few the loss of one can stop the cluster. */
    if (entry->type == RAFT_ENTRY_CONF) m->lead.voters_at_ms = 0;
    admin_applied(m, entry);
    if (m->lead.next == NULL || entry->index != m->lead.proposed_index) return;
    next_drop(m);
    m->lead.news = true;
    bool ours = entry->term == m->lead.proposed_term && changed;
    if (ours)
        controller_committed(m->lead.controller, m->r.state.map, member_now_ms(m));
    else
        controller_dropped(m->lead.controller);
    admin_committed(m, ours);
}

void leader_step(struct member *m) {
    if (m->r.raft == NULL) return;
    struct raft_info info = raft_info(m->r.raft);
    bool leads = info.role == RAFT_LEADER;
    uint64_t now_ms = member_now_ms(m);
    if (!leads || info.term != m->lead.term) leader_drop(m, "the controller has changed");
    if (!leads || m->lead.no_op_term != info.term || m->r.state.map == NULL) return;
    if (m->lead.controller == NULL) leader_begin(m, info.term, now_ms);
    if (m->lead.controller == NULL || m->leaving) return;
    maps_propose(m, now_ms);
    voters_change(m, now_ms);
    uint64_t due_ms = MIN(controller_next_ms(m->lead.controller), m->lead.voters_at_ms);
    timer_start(&m->lead.timer, due_ms > now_ms ? due_ms - now_ms : 1);
}
