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
static const char *const type_names[] = {
    "unknown", "hello",    "reply",  "write",  "fragment",  "series", "cancel",
    "append",  "places",   "fetch",  "raft",   "heartbeat", "join",   "promise",
    "admin",   "transfer", "delete", "ranges", "repair",    "verify", "loss"};
static_assert(ARRAY_LEN(type_names) == FRAME_TYPE_COUNT, "one name per frame type");
static const char *const refused_names[] = {"corrupt", "protocol", "hello",  "secret",
                                            "sender",  "member",   "request"};
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

static bool peers_copy_texts(struct peers *p, const struct peers_options *o) {
    p->listen_addr = strdup(o->listen_addr == NULL ? "" : o->listen_addr);
    p->cluster_name = strdup(o->cluster_name == NULL ? "" : o->cluster_name);
    if (o->addr != NULL) p->addr = strdup(o->addr);
    buf_put_sv(&p->secret, o->secret);
    return p->listen_addr != NULL && p->cluster_name != NULL && !p->secret.failed &&
           (p->addr != NULL) == (o->addr != NULL);
}

enum status peers_new(struct core *core, const struct peers_options *options, struct peers **out,
                      struct err *err) {
    struct peers *p = calloc(1, sizeof *p);
    if (p == NULL) return err_set(err, ERR_NOMEM, 0, "ring: out of memory");
    assert(options->self != 0 && options->secret.len <= INT32_MAX);
    *p = (struct peers){.core = core,
                        .map = options->map == NULL ? NULL : ring_map_ref(options->map),
                        .self = options->self,
                        .incarnation = options->incarnation,
                        .learned = options->learned,
                        .ctx = options->ctx};
    list_init(&p->inbounds);
    list_init(&p->probes);
    timer_init(&p->closed_timer, core, peers_on_all_closed);
    if (!peers_copy_texts(p, options)) {
        peers_free(p);
        return err_set(err, ERR_NOMEM, 0, "ring: out of memory");
    }
    peers_metrics(p);
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
    struct frame f = {
        .type = (uint8_t)type, .sender = peers->self, .incarnation = peers->incarnation};
    if (peers->map == NULL) return f;
    f.map_version = peers->map->version;
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

/* -- stopping */

void peers_check_stopped(struct peers *p) {
    if (p->stopping && p->conns_open == 0 && p->calls_open == 0 && p->closed != NULL)
        timer_start(&p->closed_timer, 0);
}

void peers_conn_closed(struct peers *peers) {
    assert(peers->conns_open > 0);
    peers->conns_open--;
    peers_check_stopped(peers);
}

static void link_stop(struct link *link, const struct err *err) {
    link_close(link);
    link_fail_calls(link, err);
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
    /* callbacks may make more known, which moves what stands behind up: then one comes twice */
    for (uint32_t i = 0; i < peers->known_count; i++)
        link_stop(&peers->known[i]->link, &err);
    struct list_node probes, *n;
    list_init(&probes);
    while ((n = list_pop_front(&peers->probes)) != NULL)
        list_push_back(&probes, n);
    while ((n = list_pop_front(&probes)) != NULL) {
        struct link *link = container_of(n, struct link, probe_node);
        bool dialled = link->conn != NULL; /* then it is freed when that is closed */
        if (dialled) list_push_back(&peers->probes, n);
        link_stop(link, &err);
        if (!dialled) link_free_probe(link);
    }
    peers_check_stopped(peers);
}

static void link_forget_calls(struct link *link) {
    while (!list_is_empty(&link->calls))
        call_free(container_of(link->calls.next, struct peer_call, link_node));
}

void peers_free(struct peers *peers) {
    if (peers == NULL) return;
    struct list_node *n;
    while ((n = list_pop_front(&peers->probes)) != NULL) {
        struct link *link = container_of(n, struct link, probe_node);
        link_forget_calls(link);
        timer_stop(&link->timer);
        free(link); /* its connection is gone with the loop */
    }
    inbound_free_all(peers);
    for (uint32_t i = 0; i < peers->known_count; i++) {
        link_forget_calls(&peers->known[i]->link);
        peer_free(peers->known[i]);
    }
    timer_stop(&peers->closed_timer);
    ring_map_unref(peers->map);
    free(peers->known);
    free(peers->slots);
    free(peers->free_slots);
    free(peers->listen_addr);
    free(peers->addr);
    free(peers->cluster_name);
    buf_fini(&peers->secret);
    free(peers);
}

bool peers_is_connected(const struct peers *peers, node_id node) {
    const struct peer *peer = peer_get(peers, node);
    return peer != NULL && peer->link.state == LINK_UP;
}
struct ring_map *peers_map(const struct peers *peers) {
    return peers->map;
}
