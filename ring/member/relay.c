/* SPDX-License-Identifier: Apache-2.0 */
/* Frames of other nodes come in on any data core's listener, go to the control core as a message,
 * and the answer comes back the same way. */
#include <assert.h>
#include <stdlib.h>

#include "ring/member/internal.h"

static void relay_free(struct relay *relay) {
    list_remove(&relay->link);
    buf_fini(&relay->payload);
    buf_fini(&relay->answer);
    buf_fini(&relay->call.answer);
    free(relay);
}

static void relay_on_gone(struct peer_request *req) {
    struct relay *relay = req->user;
    relay->req = NULL;
}

/* On the data core again. */
static void relay_on_back(struct core *here, struct msg *msg) {
    struct relay *relay = container_of(msg, struct relay, msg);
    assert(here == relay->home);
    if (relay->req != NULL && relay->status == OK)
        peer_reply(relay->req, &relay->answer, true);
    else if (relay->req != NULL)
        peer_reply_error(relay->req, relay->status, relay->err.msg);
    relay_free(relay);
}

static void relay_send_back(struct relay *relay) {
    assert(!relay->sent_back && core_is_current(relay->m->core));
    relay->sent_back = true;
    relay->msg.run = relay_on_back;
    core_post(relay->home, &relay->msg);
}

void relay_reply(struct relay *relay, struct buf *answer) {
    relay->status = answer->failed ? err_set(&relay->err, ERR_NOMEM, 0, "out of memory") : OK;
    relay->answer = buf_move(answer);
    relay_send_back(relay);
}

void relay_fail(struct relay *relay, enum status status, const char *text) {
    relay->status = err_set(&relay->err, status, 0, "%s", text);
    relay_send_back(relay);
}

static void relay_on_control(struct core *here, struct msg *msg) {
    struct relay *relay = container_of(msg, struct relay, msg);
    struct member *m = relay->m;
    assert(here == m->core);
    if (relay->type == FRAME_HELLO) {
        if (!m->stopping) address_learn(m, relay->from, relay->incarnation, relay->payload.ptr);
        relay_fail(relay, ERR_CANCELED, "");
        return;
    }
    if (m->stopping || m->lost || !m->started) {
        relay_fail(relay, ERR_UNAVAILABLE, "this node is stopping");
        return;
    }
    switch (relay->type) { /* each answers now or later */
    case FRAME_RAFT: drive_on_frame(m, relay); break;
    case FRAME_HEARTBEAT: beat_on_frame(m, relay); break;
    case FRAME_JOIN: join_on_frame(m, relay); break;
    case FRAME_PROMISE: promise_on_frame(m, relay); break;
    case FRAME_ADMIN: admin_on_frame(m, relay); break;
    case FRAME_HELLO:
    case FRAME_REPLY:
    case FRAME_WRITE:
    case FRAME_FRAGMENT:
    case FRAME_SERIES:
    case FRAME_CANCEL:
    case FRAME_APPEND:
    case FRAME_PLACES:
    case FRAME_FETCH:
    case FRAME_TRANSFER:
    case FRAME_DELETE:
    case FRAME_RANGES:
    case FRAME_REPAIR:
    case FRAME_VERIFY:
    case FRAME_LOSS:
    case FRAME_TYPE_COUNT: relay_fail(relay, ERR_UNSUPPORTED, "not a member's frame"); break;
    }
    member_settle(m);
}

static struct relay *relay_new(struct member *m, struct core *home, enum frame_type type,
                               struct sv payload) {
    struct relay *relay = calloc(1, sizeof *relay);
    if (relay == NULL) return NULL;
    *relay = (struct relay){.msg.run = relay_on_control, .m = m, .home = home, .type = type};
    buf_put_sv(&relay->payload, payload);
    if (buf_cstr(&relay->payload) == NULL) {
        buf_fini(&relay->payload);
        free(relay);
        return NULL;
    }
    list_push_back(&m->relays[home->index], &relay->link);
    return relay;
}

void member_on_frame(struct peer_request *req, struct sv payload, void *member) {
    struct member *m = member;
    assert(core_is_current(req->core) && req->core->index < m->rt->cores_count);
    struct relay *relay = relay_new(m, req->core, req->type, payload);
    if (relay == NULL) {
        peer_reply_error(req, ERR_NOMEM, "out of memory");
        return;
    }
    relay->req = req;
    relay->from = req->from;
    relay->incarnation = req->incarnation;
    req->user = relay;
    req->gone = relay_on_gone;
    core_post(m->core, &relay->msg);
}

void member_learned(struct member *m, node_id id, uint32_t incarnation, const char *addr) {
    struct core *here = core_current();
    assert(here != NULL);
    if (here == m->core) {
        address_learn(m, id, incarnation, addr);
        return;
    }
    assert(here->index < m->rt->cores_count);
    struct relay *relay = relay_new(m, here, FRAME_HELLO, sv_from(addr));
    if (relay == NULL) return; /* the next hello tells it again */
    relay->from = id;
    relay->incarnation = incarnation;
    core_post(m->core, &relay->msg);
}

void relay_fini_all(struct member *m) {
    if (m->relays == NULL) return;
    for (unsigned i = 0; i < m->rt->cores_count; i++)
        while (!list_is_empty(&m->relays[i]))
            relay_free(container_of(m->relays[i].next, struct relay, link));
    free(m->relays);
    m->relays = NULL;
}
