/* SPDX-License-Identifier: Apache-2.0 */
#include "ring/peers.h"

#include <assert.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "node/base/bytes.h"
#include "node/base/log.h"
#include "ring/peers_internal.h"

static const struct metric_def frames_def = {
    .name = "cairn_ring_frames_total", .help = "Frames between nodes.", .kind = METRIC_COUNTER};
static const struct metric_def refused_def = {
    .name = "cairn_ring_refused_total",
    .help = "Connections, frames and requests of other nodes that were refused.",
    .kind = METRIC_COUNTER};
static const char *const type_names[] = {"unknown", "hello",     "reply",  "write",   "fragment",
                                         "series",  "cancel",    "append", "places",  "fetch",
                                         "raft",    "heartbeat", "join",   "promise", "admin"};
static_assert(ARRAY_LEN(type_names) == FRAME_TYPE_COUNT, "one name per frame type");
static const char *const refused_names[] = {"corrupt", "protocol",    "hello",
                                            "sender",  "map_version", "request"};
static_assert(ARRAY_LEN(refused_names) == REFUSED_COUNT, "one name per reason");

static void peers_metrics(struct peers *p) {
    char labels[80];
    for (unsigned i = 0; i < FRAME_TYPE_COUNT; i++) {
        snprintf(labels, sizeof labels, "direction=\"in\",type=\"%s\"", type_names[i]);
        p->frames_in[i] = metric_get(&frames_def, labels);
        snprintf(labels, sizeof labels, "direction=\"out\",type=\"%s\"", type_names[i]);
        p->frames_out[i] = metric_get(&frames_def, labels);
    }
    for (unsigned i = 0; i < REFUSED_COUNT; i++) {
        snprintf(labels, sizeof labels, "reason=\"%s\"", refused_names[i]);
        p->refused[i] = metric_get(&refused_def, labels);
    }
}

static void peers_on_all_closed(struct timer *t) {
    struct peers *p = container_of(t, struct peers, closed_timer);
    if (p->conns_open > 0 || p->calls_open > 0 || p->closed == NULL) return;
    void (*closed)(struct peers * peers, void *ctx) = p->closed;
    p->closed = NULL;
    closed(p, p->closed_ctx);
}

enum status peers_new(struct core *core, const struct peers_options *options, struct peers **out,
                      struct err *err) {
    struct peers *p = calloc(1, sizeof *p);
    if (p == NULL) return err_set(err, ERR_NOMEM, 0, "ring: out of memory");
    int self = ring_map_node_index(options->map, options->self);
    assert(self >= 0);
    *p = (struct peers){.core = core,
                        .map = ring_map_ref(options->map),
                        .self = (uint16_t)self,
                        .incarnation = options->incarnation};
    list_init(&p->inbounds);
    timer_init(&p->closed_timer, core, peers_on_all_closed);
    p->listen_addr = strdup(options->listen_addr == NULL ? "" : options->listen_addr);
    p->links = calloc(p->map->nodes_count, sizeof *p->links);
    if (p->listen_addr == NULL || p->links == NULL) {
        free(p->links);
        p->links = NULL;
        peers_free(p);
        return err_set(err, ERR_NOMEM, 0, "ring: out of memory");
    }
    peers_metrics(p);
    for (uint32_t i = 0; i < p->map->nodes_count; i++)
        link_init(&p->links[i], p, (uint16_t)i);
    *out = p;
    return OK;
}

enum status peers_start(struct peers *peers, struct err *err) {
    if (peers->listen_addr[0] == '\0') return OK;
    return net_listen(peers->core, sv_from(peers->listen_addr), inbound_accept, peers, err);
}

void peers_handle(struct peers *peers, enum frame_type type, peer_handler handler, void *ctx) {
    assert(type > FRAME_REPLY && type < FRAME_TYPE_COUNT && type != FRAME_CANCEL);
    peers->handlers[type].fn = handler;
    peers->handlers[type].ctx = ctx;
}

/* -- frames */

struct frame peers_frame(const struct peers *peers, enum frame_type type) {
    struct frame f = {.type = (uint8_t)type,
                      .map_version = peers->map->version,
                      .sender = peers->map->nodes[peers->self].id,
                      .incarnation = peers->incarnation};
    memcpy(f.cluster_id, peers->map->settings.cluster_id, sizeof f.cluster_id);
    return f;
}

void peers_send(struct peers *peers, struct conn *conn, const struct frame *f) {
    struct buf b = {0};
    frame_put(f, &b);
    if (b.failed) { /* no memory: an answer that never comes is worse than a broken connection */
        buf_fini(&b);
        conn_close(conn);
        return;
    }
    metric_add(peers->frames_out[f->type], 1);
    conn_send(conn, &b);
}

void peers_got(struct peers *peers, uint8_t type) {
    metric_add(peers->frames_in[type < FRAME_TYPE_COUNT ? type : 0], 1);
}

void peers_refused(struct peers *peers, enum refused reason, const struct err *why) {
    metric_add(peers->refused[reason], 1);
    uint64_t now_ns = core_mono_ns(peers->core);
    if (peers->refusal_logged_ns != 0 && now_ns - peers->refusal_logged_ns < 1000000000) return;
    peers->refusal_logged_ns = now_ns; /* whoever knocks every millisecond does not fill the log */
    log_warn("another node was refused", "reason", refused_names[reason], "err", why->msg);
}

void peers_put_hello(const struct peers *peers, struct buf *out) {
    struct hello h = {.format_level = RING_FORMAT_LEVEL};
    memcpy(h.cluster_name, peers->map->settings.cluster_name, sizeof h.cluster_name);
    memcpy(h.addr, peers->map->nodes[peers->self].addr, sizeof h.addr);
    hello_put(&h, out);
}

enum status peers_check_hello(const struct peers *peers, const struct frame *f, uint16_t *out_from,
                              struct err *err) {
    if (f->type != FRAME_HELLO)
        return err_set(err, ERR_CONFLICT, 0, "the first frame is not a hello");
    if (f->flags & FRAME_ERROR) {
        enum status st = frame_error_get(f->payload, err);
        if (err != NULL) err_prefix(err, "refused by the other node");
        return st;
    }
    struct hello h;
    TRY(hello_get(f->payload, &h, err));
    const struct ring_settings *set = &peers->map->settings;
    if (memcmp(f->cluster_id, set->cluster_id, sizeof set->cluster_id) != 0)
        return err_set(err, ERR_CONFLICT, 0, "node at %s belongs to another cluster (\"%s\")",
                       h.addr, h.cluster_name);
    if (h.format_level < set->format_level)
        return err_set(err, ERR_UNSUPPORTED, 0,
                       "node at %s speaks format level %" PRIu32 ", the cluster needs %" PRIu32,
                       h.addr, h.format_level, set->format_level);
    int from = ring_map_node_index(peers->map, f->sender);
    if (from < 0 || from == peers->self)
        return err_set(err, ERR_CONFLICT, 0,
                       "node %016" PRIx64 " at %s is no other member of the map", f->sender,
                       h.addr);
    *out_from = (uint16_t)from;
    return OK;
}

enum status peers_check_sender(const struct peers *peers, const struct frame *f, uint16_t from,
                               struct err *err) {
    const struct ring_node *node = &peers->map->nodes[from];
    if (memcmp(f->cluster_id, peers->map->settings.cluster_id, sizeof f->cluster_id) != 0)
        return err_set(err, ERR_CONFLICT, 0, "frame of another cluster on the connection of %s",
                       node->addr);
    if (f->sender != node->id)
        return err_set(err, ERR_CONFLICT, 0, "frame of node %016" PRIx64 " on the connection of %s",
                       f->sender, node->addr);
    return OK;
}

/* -- calls */

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

static void peers_check_stopped(struct peers *p) {
    if (p->stopping && p->conns_open == 0 && p->calls_open == 0 && p->closed != NULL)
        timer_start(&p->closed_timer, 0);
}

static void call_free(struct peer_call *call) {
    struct peers *p = call->link->peers;
    timer_stop(&call->deadline);
    list_remove(&call->link_node);
    uint32_t slot = (uint32_t)call->id;
    p->slots[slot] = NULL;
    p->free_slots[p->free_count++] = slot;
    buf_fini(&call->payload);
    free(call);
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
    const char *addr = link->peers->map->nodes[link->node].addr;
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
static enum status call_check(const struct peers *p, const struct buf *payload, struct err *err) {
    if (p->stopping) return err_set(err, ERR_UNAVAILABLE, 0, "this node is stopping");
    if (payload->failed)
        return err_set(err, ERR_NOMEM, 0, "no memory for a request to another node");
    if (payload->len > NET_FRAME_BYTES_MAX - FRAME_HEADER_BYTES)
        return err_set(err, ERR_LIMIT, 0,
                       "a request of %zu bytes to another node, more than a frame may have",
                       payload->len);
    return OK;
}

struct peer_call *peers_call(struct peers *peers, const struct peer_call_options *options,
                             struct buf *payload) {
    assert(core_is_current(peers->core) && options->reply != NULL);
    assert(options->node < peers->map->nodes_count && options->node != peers->self);
    struct peer_call *call = calloc(1, sizeof *call);
    bool room = peers->free_count > 0 || slots_grow(peers);
    if (call == NULL || !room)
        abort(); /* a few hundred bytes: the process is beyond help, and half a call is worse */
    struct link *link = &peers->links[options->node];
    *call = (struct peer_call){.link = link, .options = *options};
    call->ended = call_check(peers, payload, &call->err) != OK;
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
                call->link->peers->map->nodes[call->link->node].addr);
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

/* -- stopping */

void peers_conn_closed(struct peers *peers) {
    assert(peers->conns_open > 0);
    peers->conns_open--;
    peers_check_stopped(peers);
}

void peers_stop(struct peers *peers, void (*closed)(struct peers *peers, void *ctx), void *ctx) {
    assert(core_is_current(peers->core) && !peers->stopping && closed != NULL);
    peers->stopping = true;
    peers->closed = closed;
    peers->closed_ctx = ctx;
    if (peers->listen_addr[0] != '\0') net_unlisten(peers->core);
    LIST_FOREACH(n, &peers->inbounds) conn_close(container_of(n, struct inbound, node)->conn);
    struct err err;
    err_set(&err, ERR_UNAVAILABLE, 0, "this node is stopping");
    for (uint32_t i = 0; i < peers->map->nodes_count; i++) {
        link_close(&peers->links[i]);
        link_fail_calls(&peers->links[i], &err);
    }
    peers_check_stopped(peers);
}

void peers_free(struct peers *peers) {
    if (peers == NULL) return;
    for (uint32_t i = 0; peers->links != NULL && i < peers->map->nodes_count; i++) {
        struct link *link = &peers->links[i];
        timer_stop(&link->timer);
        if (link->state == LINK_UP) metric_add(link->connected, -1);
        while (!list_is_empty(&link->calls))
            call_free(container_of(link->calls.next, struct peer_call, link_node));
    }
    timer_stop(&peers->closed_timer);
    inbound_free_all(peers);
    ring_map_unref(peers->map);
    free(peers->links);
    free(peers->slots);
    free(peers->free_slots);
    free(peers->listen_addr);
    free(peers);
}

bool peers_is_connected(const struct peers *peers, uint16_t node) {
    return peers->links[node].state == LINK_UP;
}
struct ring_map *peers_map(const struct peers *peers) {
    return peers->map;
}
