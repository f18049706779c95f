/* SPDX-License-Identifier: Apache-2.0 */
/* Verbs for the controller, wherever it is: done here when this node leads, else passed on once to
 * who does. A wish is answered when a map that was decided after it is committed, so that the next
 * leader goes on with it; an election of HA when the command is applied. */
#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "ring/member/internal.h"

static void admin_home(struct core *here, struct msg *msg) {
    struct admin_call *call = container_of(msg, struct admin_call, msg);
    call->done(here, call);
}

/* Ends a verb: status, err and answer of call are set. */
static void admin_end(struct admin_call *call, struct relay *relay) {
    if (relay != NULL && call->status == OK) {
        relay_reply(relay, &call->answer);
    } else if (relay != NULL) {
        relay_fail(relay, call->status, call->err.msg);
    } else {
        call->msg.run = admin_home;
        core_post(call->home, &call->msg);
    }
}

static void admin_fail(struct admin_call *call, struct relay *relay, enum status status,
                       const char *why) {
    call->status = err_set(&call->err, status, 0, "%s", why);
    admin_end(call, relay);
}

static void wait_end(struct admin_wait *w) {
    list_remove(&w->link);
    admin_end(w->call, w->relay);
    free(w);
}

void admin_fail_all(struct member *m, const char *why) {
    while (!list_is_empty(&m->lead.waits)) {
        struct admin_wait *w = container_of(m->lead.waits.next, struct admin_wait, link);
        w->call->status = err_set(&w->call->err, ERR_UNAVAILABLE, 0, "%s", why);
        wait_end(w);
    }
}

void admin_forget(struct member *m) {
    while (!list_is_empty(&m->lead.waits)) {
        struct admin_wait *w = container_of(m->lead.waits.next, struct admin_wait, link);
        list_remove(&w->link);
        free(w);
    }
}

static void admin_wait(struct member *m, struct admin_call *call, struct relay *relay) {
    struct admin_wait *w = calloc(1, sizeof *w);
    if (w == NULL) {
        admin_fail(call, relay, ERR_NOMEM, "out of memory");
        return;
    }
    *w = (struct admin_wait){
        .call = call, .relay = relay, .stage = ADMIN_NEW, .since_ms = member_now_ms(m)};
    call->status = OK;
    list_push_back(&m->lead.waits, &w->link);
    m->dirty = m->lead.news = true;
}

/* -- HA pairs: reference/cluster.md section 5; time is the controller's */

static bool ha_is_under_way(const struct member *m, const char *cluster) {
    LIST_FOREACH(n, &m->lead.waits) {
        const struct admin_wait *w = container_of(n, struct admin_wait, link);
        if (w->call->verb == ADMIN_HA && w->index != 0 && strcmp(w->call->cluster, cluster) == 0)
            return true;
    }
    return false;
}

/* true: answered, *w is gone. */
static bool ha_decide(struct member *m, struct admin_wait *w) {
    struct admin_call *call = w->call;
    const struct ha_elected *e = ring_state_ha(&m->r.state, sv_from(call->cluster));
    int64_t now_ms = core_wall_ms(m->core);
    bool same = e != NULL && strcmp(e->replica, call->replica) == 0;
    int64_t age_ms = e == NULL ? 0 : now_ms - e->received_ms;
    bool settled =
        e != NULL && (same ? age_ms < MEMBER_HA_UPDATE_MS / 3 * 2 : age_ms < MEMBER_HA_FAILOVER_MS);
    if (settled && age_ms >= -MEMBER_HA_FAILOVER_MS) { /* a clock that jumped back: elect anew */
        buf_put_sv(&call->answer, sv_from(e->replica));
        wait_end(w);
        return true;
    }
    if (e == NULL && m->r.state.ha_count >= MEMBER_HA_CLUSTERS_MAX) {
        call->status =
            err_set(&call->err, ERR_LIMIT, 0, "HA: more than %d clusters", MEMBER_HA_CLUSTERS_MAX);
        wait_end(w);
        return true;
    }
    struct ha_elected next = {.cluster = call->cluster,
                              .replica = call->replica,
                              .received_ms = now_ms,
                              .elected_ms = same ? e->elected_ms : now_ms};
    struct buf command = {0};
    command_ha_put(&next, &command);
    call->status = leader_propose(m, &command, &w->term, &w->index);
    if (call->status == OK) return false;
    err_set(&call->err, call->status, 0, "HA: the controller cannot write at present");
    wait_end(w);
    return true;
}

void admin_step(struct member *m) {
    if (m->lead.controller == NULL) return;
    LIST_FOREACH_SAFE(n, &m->lead.waits) {
        struct admin_wait *w = container_of(n, struct admin_wait, link);
        if (w->call->verb == ADMIN_HA && w->index == 0 && !ha_is_under_way(m, w->call->cluster))
            ha_decide(m, w);
    }
}

/* An election that is applied is decided anew: now it finds what was elected. */
void admin_applied(struct member *m, const struct raft_entry *entry) {
    LIST_FOREACH(n, &m->lead.waits) {
        struct admin_wait *w = container_of(n, struct admin_wait, link);
        if (w->index == entry->index) {
            w->index = 0;
            m->dirty = true;
        }
    }
}

/* -- wishes */

void admin_stepped(struct member *m, bool proposed, uint64_t now_ms) {
    LIST_FOREACH_SAFE(n, &m->lead.waits) {
        struct admin_wait *w = container_of(n, struct admin_wait, link);
        if (w->call->verb == ADMIN_HA || w->stage != ADMIN_NEW) continue;
        if (proposed)
            w->stage = ADMIN_ASKED;
        else if (now_ms - w->since_ms >= ADMIN_SETTLE_MS) /* a step may be a pause */
            wait_end(w);
    }
}

void admin_committed(struct member *m, bool ours) {
    LIST_FOREACH_SAFE(n, &m->lead.waits) {
        struct admin_wait *w = container_of(n, struct admin_wait, link);
        if (w->call->verb == ADMIN_HA || w->stage != ADMIN_ASKED) continue;
        if (ours)
            wait_end(w);
        else
            w->stage = ADMIN_NEW; /* the next proposal has it */
    }
}

static void admin_run(struct member *m, struct admin_call *call, struct relay *relay) {
    struct controller *c = m->lead.controller;
    enum status status = OK;
    struct err *err = &call->err;
    switch (call->verb) {
    case ADMIN_STATUS:
        status_put(m, &call->answer);
        call->status = call->answer.failed ? err_set(err, ERR_NOMEM, 0, "out of memory") : OK;
        admin_end(call, relay);
        return;
    case ADMIN_HA:
        if (call->cluster[0] == '\0' || call->replica[0] == '\0')
            status = err_set(err, ERR_PARSE, 0, "HA: cluster and replica must not be empty");
        break;
    case ADMIN_DRAIN: status = controller_drain(c, call->node, true, err); break;
    case ADMIN_UNDRAIN: status = controller_drain(c, call->node, false, err); break;
    case ADMIN_MOVE: status = controller_move(c, call->shard, call->node, call->to, err); break;
    case ADMIN_ACCEPT_LOSS: status = controller_accept_loss(c, call->shard, err); break;
    case ADMIN_REMOVE: status = controller_remove(c, call->node, err); break;
    }
    if (status == OK) {
        admin_wait(m, call, relay);
        return;
    }
    call->status = status;
    admin_end(call, relay);
}

static void passed_on(struct member *m, struct call *c, enum status status, const struct err *err) {
    struct admin_call *call = c->ctx;
    (void)m;
    call->status = status;
    if (status == OK)
        call->answer = buf_move(&c->reply);
    else
        call->err = *err;
    admin_end(call, NULL);
}

static void admin_on_call(struct core *here, struct msg *msg) {
    struct admin_call *call = container_of(msg, struct admin_call, msg);
    struct member *m = call->member;
    assert(here == m->core);
    call->answer = (struct buf){0};
    node_id leader = drive_leader(m);
    if (leader == 0) leader = m->beat.hint; /* who answers heartbeats, to a node new to Raft */
    if (m->leaving || m->lost || !m->started) {
        admin_fail(call, NULL, ERR_UNAVAILABLE, "this node is stopping");
    } else if (m->lead.controller != NULL) {
        admin_run(m, call, NULL);
    } else if (leader == 0 || leader == m->o.self) {
        admin_fail(call, NULL, ERR_UNAVAILABLE, "no controller is known at present");
    } else {
        struct buf payload = {0};
        struct call_options o = {.to = leader,
                                 .type = FRAME_ADMIN,
                                 .timeout_ms = ADMIN_CALL_MS,
                                 .ctx = call,
                                 .done = passed_on};
        admin_ask_put(call, &payload);
        member_call(m, &o, &payload);
    }
    member_settle(m);
}

void member_admin(struct member *m, struct core *from, struct admin_call *call) {
    assert(core_is_current(from) && call->done != NULL);
    call->home = from;
    call->member = m;
    call->msg.run = admin_on_call;
    core_post(m->core, &call->msg);
}

void admin_on_frame(struct member *m, struct relay *relay) {
    struct err err;
    enum status status =
        admin_ask_get(sv_make(relay->payload.ptr, relay->payload.len), &relay->call, &err);
    if (status != OK)
        relay_fail(relay, status, err.msg);
    else if (m->lead.controller == NULL || m->leaving)
        relay_fail(relay, ERR_UNAVAILABLE, "the controller is elsewhere now");
    else
        admin_run(m, &relay->call, relay);
}
