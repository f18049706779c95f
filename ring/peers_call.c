/* SPDX-License-Identifier: Apache-2.0 */
#include <assert.h>
#include <inttypes.h>
#include <stdlib.h>

#include "node/base/bytes.h"
#include "ring/peers_internal.h"

static bool slots_grow(struct peers *p) {
    uint32_t count = p->slots_count == 0 ? 64 : p->slots_count * 2;
    struct peer_call **slots = realloc(p->slots, count * sizeof *slots);
    if (slots == NULL) return false;
    p->slots = slots;
    uint32_t *free_slots = realloc(p->free_slots, count * sizeof *free_slots);
    if (free_slots == NULL) return false;
    p->free_slots = free_slots;
    for (uint32_t i = count; i > p->slots_count; i--) {
        slots[i - 1] = NULL;
        free_slots[p->free_count++] = i - 1;
    }
    p->slots_count = count;
    return true;
}

struct peer_call *peers_find_call(struct peers *peers, uint64_t id) {
    uint32_t slot = (uint32_t)id;
    if (slot >= peers->slots_count || peers->slots[slot] == NULL || peers->slots[slot]->id != id)
        return NULL;
    return peers->slots[slot];
}

void call_free(struct peer_call *call) {
    struct link *link = call->link;
    struct peers *p = link->peers;
    timer_stop(&call->deadline);
    list_remove(&call->link_node);
    uint32_t slot = (uint32_t)call->id;
    p->slots[slot] = NULL;
    p->free_slots[p->free_count++] = slot;
    buf_fini(&call->payload);
    free(call);
    if (list_is_empty(&link->calls)) link_unused(link);
    assert(p->calls_open > 0);
    p->calls_open--;
    peers_check_stopped(p);
}

void call_end(struct peer_call *call, const struct err *err) {
    struct peer_call_options o = call->options;
    struct err copy = *err;
    assert(copy.code != OK);
    call_free(call);
    o.reply(o.ctx, copy.code, (struct sv){0}, true, &copy);
}

/* The other side need not go on. */
static void call_withdraw(struct peer_call *call) {
    struct link *link = call->link;
    if (!call->sent || link->state != LINK_UP) return;
    struct frame f = peers_frame(link->peers, FRAME_CANCEL);
    f.request_id = call->id;
    peers_send(link->peers, link->conn, &f);
}

static void call_on_deadline(struct timer *t) {
    struct peer_call *call = container_of(t, struct peer_call, deadline);
    struct link *link = call->link;
    const char *addr = link_addr(link);
    struct err err = call->err;
    if (call->ended) { /* failed at birth: told from here, never from inside peers_call */
        call_end(call, &err);
        return;
    }
    if (link->state == LINK_UP || link->last.code == OK)
        err_set(&err, ERR_TIMEOUT, 0, "node %s did not answer within %" PRIu64 " ms", addr,
                call->options.timeout_ms);
    else
        err_set(&err, ERR_UNAVAILABLE, 0, "node %s: %s", addr, link->last.msg);
    call_withdraw(call);
    call_end(call, &err);
}

/* What is wrong with a call before it begins. */
static enum status call_check(const struct link *link, const struct buf *payload, struct err *err) {
    if (link->peers->stopping) return err_set(err, ERR_UNAVAILABLE, 0, "this node is stopping");
    if (payload->failed)
        return err_set(err, ERR_NOMEM, 0, "no memory for a request to another node");
    if (payload->len > NET_FRAME_BYTES_MAX - FRAME_HEADER_BYTES)
        return err_set(err, ERR_LIMIT, 0,
                       "a request of %zu bytes to another node, more than a frame may have",
                       payload->len);
    if (link->peer == NULL && link->addr[0] == '\0')
        return err_set(err, ERR_UNAVAILABLE, 0, "no address to ask, or one that is too long");
    if (link->peer != NULL && link->conn == NULL && peer_addr(link->peer)[0] == '\0')
        return err_set(err, ERR_UNAVAILABLE, 0, "no address of node %016" PRIx64 " is known",
                       link->peer->id);
    return OK;
}

static struct link *call_link(struct peers *peers, const struct peer_call_options *options) {
    if (options->to == 0) return link_probe(peers, options->addr);
    assert(options->to != peers->self);
    struct peer *peer = peer_find_or_new(peers, options->to, false);
    return peer == NULL ? NULL : &peer->link;
}

struct peer_call *peers_call(struct peers *peers, const struct peer_call_options *options,
                             struct buf *payload) {
    assert(core_is_current(peers->core) && options->reply != NULL);
    struct peer_call *call = calloc(1, sizeof *call);
    bool room = peers->free_count > 0 || slots_grow(peers);
    struct link *link = call_link(peers, options);
    if (call == NULL || !room || link == NULL)
        abort(); /* a few hundred bytes: the process is beyond help, and half a call is worse */
    *call = (struct peer_call){.link = link, .options = *options};
    call->options.addr = NULL;
    call->ended = call_check(link, payload, &call->err) != OK;
    call->payload = buf_move(payload);
    uint32_t slot = peers->free_slots[--peers->free_count];
    call->id = (uint64_t)++peers->generation << 32 | slot;
    peers->slots[slot] = call;
    peers->calls_open++;
    list_push_back(&link->calls, &call->link_node);
    timer_init(&call->deadline, peers->core, call_on_deadline);
    timer_start(&call->deadline, call->ended ? 0 : options->timeout_ms);
    if (!call->ended) link_need(link, call);
    return call;
}

void peer_call_cancel(struct peer_call *call) {
    assert(core_is_current(call->link->peers->core));
    call_withdraw(call);
    call_free(call);
}

/* A reply part begins with its number: a gap means that one was lost, and half an answer is none.
 */
void call_on_reply(struct peer_call *call, const struct frame *f) {
    struct err err;
    if (f->flags & FRAME_ERROR) {
        status_ignore(frame_error_get(f->payload, &err));
        call_end(call, &err);
        return;
    }
    if (f->payload.len < 4 || get_u32le(f->payload.ptr) != call->next_part) {
        err_set(&err, ERR_UNAVAILABLE, 0, "a part of the reply of node %s was lost",
                link_addr(call->link));
        call_withdraw(call);
        call_end(call, &err);
        return;
    }
    call->next_part++;
    struct sv part = sv_skip(f->payload, 4);
    struct peer_call_options o = call->options;
    bool last = f->flags & FRAME_LAST;
    if (last) call_free(call);
    o.reply(o.ctx, OK, part, last, NULL);
}
