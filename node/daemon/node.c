/* SPDX-License-Identifier: Apache-2.0 */
#include "node/daemon/node.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "ingest/deletes.h"
#include "node/base/log.h"
#include "node/daemon/node_internal.h"

enum { REPLACE_AFTER_MS = 300000, READY_WAIT_MS = 300000, PACK_STOP_MS = 500 };

/* -- opening */

static bool node_has_discovery(const struct node *node) {
    return node->discovery.kind != DISCOVERY_NONE;
}

static const char *node_addr(const struct node *node) {
    const struct node_options *o = &node->options;
    return o->advertise_addr != NULL && o->advertise_addr[0] != '\0' ? o->advertise_addr : "";
}

static void node_on_lost(void *ctx, const struct err *why) {
    struct node *node = ctx;
    if (atomic_load(&node->lost)) return;
    node->lost_err = *why;
    atomic_store_explicit(&node->lost, true, memory_order_release);
    log_error("this node does not serve any more", "err", why->msg);
}

static enum status node_open_member(struct node *node, struct ring_map **out_map, struct err *err) {
    const struct node_options *o = &node->options;
    char dir[4200];
    snprintf(dir, sizeof dir, "%s/ring", o->data_dir);
    TRY(disk_mkdir(node->rt->disk, dir, err));
    TRY(disk_sync_dir(node->rt->disk, o->data_dir, err));
    struct member_options mo = {
        .dir = dir,
        .self = node->seat.id,
        .incarnation = node->seat.incarnation,
        .cluster_name = o->cluster_name,
        .addr = node_addr(node),
        .zone = o->zone == NULL ? "" : o->zone,
        .discovery = &node->discovery,
        .cloudmap = o->cloudmap,
        .cloudmap_ctx = o->cloudmap_ctx,
        .bootstrap_expect = o->bootstrap_expect,
        .shards_count = o->shards_count,
        .replication_factor = o->replication_factor,
        .min_insync = o->min_insync,
        .replace_after_ms = o->replace_after_ms == 0 ? REPLACE_AFTER_MS : o->replace_after_ms,
        .lease = &node->lease,
        .install = node_on_map,
        .ha_changed = node_ha_changed,
        .lost = node_on_lost,
        .ctx = node,
    };
    return member_open(node->rt, &mo, &node->member, out_map, err);
}

/* What the flags say against what the directory is. */
static enum status node_check_map(const struct node *node, const struct ring_map *map,
                                  struct err *err) {
    const struct node_options *o = &node->options;
    if (strcmp(map->settings.cluster_name, o->cluster_name) != 0)
        return err_set(err, ERR_CONFLICT, 0,
                       "%s belongs to cluster \"%s\", --ring.cluster-name is \"%s\"", o->data_dir,
                       map->settings.cluster_name, o->cluster_name);
    if (map->settings.shards_count != o->shards_count)
        return err_set(err, ERR_CONFLICT, 0,
                       "%s was founded with --ring.shards=%u, which is fixed; got %u", o->data_dir,
                       map->settings.shards_count, o->shards_count);
    if (!node_has_discovery(node) && map->nodes_count > 1)
        return err_set(err, ERR_CONFLICT, 0,
                       "%s belongs to a cluster of %u nodes, but --ring.discovery is not set",
                       o->data_dir, map->nodes_count);
    return OK;
}

static void node_on_learned(void *ctx, node_id id, uint32_t incarnation, const char *addr) {
    struct node *node = ctx;
    member_learned(node->member, id, incarnation, addr);
}

static enum status node_open_peers(struct node *node, struct core *core, struct ring_map *map,
                                   bool listens, struct peers **out, struct err *err) {
    struct peers_options po = {
        .map = map,
        .self = node->seat.id,
        .incarnation = node->seat.incarnation,
        .listen_addr = listens && node_has_discovery(node) ? node->options.listen_addr : NULL,
        .addr = node_addr(node),
        .cluster_name = node->options.cluster_name,
        .secret = node->options.secret,
        .learned = node_on_learned,
        .ctx = node,
    };
    core_set_current(core);
    TRY(peers_new(core, &po, out, err));
    core->locals[CORE_PEERS] = *out;
    return OK;
}

/* Handlers find the core's parts when a frame comes, and go on to the other cores' of this node:
 * they may not be there yet. */
static void on_frame_data(struct peer_request *req, struct sv payload, void *ctx) {
    struct node_core *nc = ctx;
    if (!node_is_open(nc->node)) {
        peer_reply_error(req, ERR_UNAVAILABLE, "this node has not opened its data yet");
        return;
    }
    if (req->type == FRAME_WRITE)
        distributor_on_frame(req, payload, nc->distributor);
    else if (req->type == FRAME_DELETE)
        deletes_on_frame(req, payload, nc->distributor);
    else if (req->type == FRAME_FRAGMENT)
        gather_on_fragment(req, payload, nc->gather);
    else if (req->type == FRAME_SERIES)
        gather_on_series(req, payload, nc->gather);
    else
        replicas_on_frame(req, payload, nc->replicas);
}

static void node_handle_frames(struct node *node, struct node_core *nc) {
    static const enum frame_type data[] = {
        FRAME_WRITE,    FRAME_FRAGMENT, FRAME_SERIES, FRAME_APPEND, FRAME_PLACES, FRAME_FETCH,
        FRAME_TRANSFER, FRAME_DELETE,   FRAME_RANGES, FRAME_REPAIR, FRAME_VERIFY, FRAME_LOSS};
    static const enum frame_type control[] = {FRAME_RAFT, FRAME_HEARTBEAT, FRAME_JOIN,
                                              FRAME_PROMISE, FRAME_ADMIN};
    for (unsigned i = 0; i < ARRAY_LEN(data); i++)
        peers_handle(nc->peers, data[i], on_frame_data, nc);
    for (unsigned i = 0; i < ARRAY_LEN(control); i++)
        peers_handle(nc->peers, control[i], member_on_frame, node->member);
}

static enum status node_open_cores(struct node *node, struct ring_map *map, struct err *err) {
    for (unsigned i = 0; i < node->rt->cores_count; i++) {
        struct node_core *nc = &node->cores[i];
        nc->node = node;
        nc->core = node->rt->cores[i];
        TRY(node_open_peers(node, nc->core, map, true, &nc->peers, err));
        node_handle_frames(node, nc);
        node_look_open(nc);
    }
    return node_open_peers(node, node->rt->control_core, map, false, &node->control_peers, err);
}

/* The data of a node that was in a cluster, by the map that it saved. */
static enum status node_open_saved(struct node *node, struct ring_map *map, struct err *err) {
    TRY(node_view_new(node, map, &node->view, err));
    TRY(node_data_open(node, node->view, err));
    for (unsigned i = 0; i < node->rt->cores_count; i++) {
        core_set_current(node->rt->cores[i]);
        node_core_install(&node->cores[i], node->view);
    }
    atomic_store_explicit(&node->open, true, memory_order_release);
    return OK;
}

static enum status node_open_all(struct node *node, struct err *err) {
    const struct node_options *o = &node->options;
    TRY(discovery_parse(sv_from(o->discovery == NULL ? "" : o->discovery), &node->arena,
                        &node->discovery, err));
    TRY(disk_mkdir(node->rt->disk, o->data_dir, err));
    char lock[4200];
    snprintf(lock, sizeof lock, "%s/lock", o->data_dir);
    TRY(disk_lock(node->rt->disk, lock, &node->lock, err));
    TRY(seat_open(node->rt, o->data_dir, &node->seat, err));
    node->cores = calloc(node->rt->cores_count, sizeof *node->cores);
    if (node->cores == NULL) return err_set(err, ERR_NOMEM, 0, "node: out of memory");
    struct ring_map *map = NULL;
    core_set_current(node->rt->control_core);
    TRY(node_ha_open(node, err));
    TRY(node_open_member(node, &map, err));
    enum status st = map == NULL ? OK : node_check_map(node, map, err);
    if (st == OK) st = node_open_cores(node, map, err);
    if (st == OK && map != NULL) st = node_open_saved(node, map, err);
    ring_map_unref(map);
    return st;
}

enum status node_open(struct runtime *rt, const struct node_options *options, struct node **out,
                      struct err *err) {
    struct err local;
    if (err == NULL) err = &local;
    struct node *node = calloc(1, sizeof *node);
    if (node == NULL) return err_set(err, ERR_NOMEM, 0, "node: out of memory");
    node->rt = rt;
    node->options = *options;
    arena_init(&node->arena, 1 << 20);
    node->started_ns = core_mono_ns(rt->control_core);
    node->limits = options->limits;
    atomic_init(&node->retention_bytes, options->retention_bytes);
    enum status st =
        options->retention == NULL ? retention_new(0, NULL, 0, &node->retention, err) : OK;
    if (options->retention != NULL) node->retention = retention_ref(options->retention);
    if (st == OK) atomic_init(&node->retention_ms, node->retention->longest_ms);
    if (st == OK) st = node_open_all(node, err);
    core_set_current(NULL);
    if (st != OK) {
        node_free(node);
        return st;
    }
    *out = node;
    return OK;
}

enum status node_start(struct node *node, struct err *err) {
    enum status st = OK;
    for (unsigned i = 0; i < node->rt->cores_count && st == OK; i++) {
        core_set_current(node->rt->cores[i]);
        st = peers_start(node->cores[i].peers, err);
    }
    core_set_current(node->rt->control_core);
    if (st == OK) st = peers_start(node->control_peers, err);
    if (st == OK) st = member_start(node->member, node->control_peers, err);
    core_set_current(NULL);
    return st;
}

/* -- stopping */

static void node_on_peers_closed(struct peers *peers, void *ctx) {
    (void)peers;
    struct node_core *nc = ctx;
    nc->stopped(nc->stopped_ctx);
}

static void node_on_control_closed(struct peers *peers, void *ctx) {
    (void)peers;
    struct node *node = ctx;
    node->stopped(node->stopped_ctx);
}

static void node_on_member_stopped(void *ctx) {
    struct node *node = ctx;
    peers_stop(node->control_peers, node_on_control_closed, node);
}

void node_stop_core(struct node *node, struct core *core, void (*stopped)(void *ctx), void *ctx) {
    if (core == node->rt->control_core) {
        node->stopping = true;
        node->stopped = stopped;
        node->stopped_ctx = ctx;
        member_stop(node->member, node_on_member_stopped, node);
        return;
    }
    struct node_core *nc = &node->cores[core->index];
    nc->stopped = stopped;
    nc->stopped_ctx = ctx;
    node_look_stop(nc);
    node_ha_stop_core(nc);
    if (nc->in != NULL) {
        distributor_stop(nc->distributor);
        gather_stop(nc->gather);
        replicas_stop(nc->replicas);
    }
    peers_stop(nc->peers, node_on_peers_closed, nc);
}

/* What is kept over a stop should be small, and a stop be short. */
static void node_pack_log(struct node *node) {
    uint64_t began_ns = core_mono_ns(node->rt->log_core), bytes;
    struct err err;
    bool more = true;
    const bool canceled = false;
    enum status status = OK;
    while (status == OK && more &&
           core_mono_ns(node->rt->log_core) - began_ns < (uint64_t)PACK_STOP_MS * 1000000)
        status = log_pack_closed(node->log, &canceled, true, &more, &bytes, &err);
    if (status != OK) log_warn("the log was not packed", "err", err.msg);
}

bool node_stop_log(struct node *node) {
    struct err err;
    if (node->log == NULL) return true;
    if (!log_is_quiet(node->log)) return false;
    if (log_stop(node->log, &err) == OK)
        node_pack_log(node);
    else
        log_error("log was not closed cleanly", "err", err.msg);
    return true;
}

void node_free(struct node *node) {
    if (node == NULL) return;
    struct core *current = core_current();
    if (node->cores != NULL) node_data_free(node);
    core_set_current(node->rt->control_core);
    member_free(node->member);
    node_ha_free(node);
    peers_free(node->control_peers);
    memset(node->rt->control_core->locals, 0, sizeof node->rt->control_core->locals);
    core_set_current(current);
    node_view_free(node->view);
    node_view_free(node->next);
    retention_unref(node->retention);
    file_close(node->lock);
    arena_fini(&node->arena);
    free(node->cores);
    free(node);
}

/* -- what others ask */

node_id node_self(const struct node *node) {
    return node->seat.id;
}

bool node_is_open(const struct node *node) {
    return atomic_load_explicit(&node->open, memory_order_acquire);
}

bool node_is_lost(const struct node *node, struct err *out) {
    if (!atomic_load_explicit(&node->lost, memory_order_acquire)) return false;
    if (out != NULL) *out = node->lost_err;
    return true;
}

bool node_was_removed(const struct node *node) {
    return node_is_lost(node, NULL) && member_was_removed(node->member);
}

bool node_is_ready(const struct node *node, const char **out_why) {
    const char *why = NULL;
    uint64_t now_ns = core_mono_ns(node->rt->control_core);
    uint32_t unready = 0;
    for (unsigned i = 0; i < node->rt->cores_count; i++)
        unready += atomic_load_explicit(&node->cores[i].unready, memory_order_relaxed);
    if (node_is_lost(node, NULL))
        why = "this node does not serve any more, see its log";
    else if (!node_is_open(node))
        why = "this node has not joined a cluster yet";
    else if (log_is_failed(node->log))
        why = "the log of this node has failed";
    else if (!lease_is_held(&node->lease, now_ns))
        why = "this node has no lease of the controller";
    else if (unready > 0 && (now_ns - node->started_ns) / 1000000 < READY_WAIT_MS)
        why = "replicas of this node are not in sync yet";
    if (out_why != NULL) *out_why = why;
    return why == NULL;
}

uint64_t node_log_corruptions(const struct node *node) {
    return node_is_open(node) ? log_corruptions(node->log) : 0;
}

const struct lease *node_lease(const struct node *node) {
    return &node->lease;
}
struct member *node_member(struct node *node) {
    return node->member;
}
struct ring_map *node_map(struct node *node) {
    return node_is_open(node) ? node->cores[0].in->map : NULL;
}
struct distributor *node_distributor(struct node *node, unsigned core) {
    return node_is_open(node) ? node->cores[core].distributor : NULL;
}
struct gather *node_gather(struct node *node, unsigned core) {
    return node_is_open(node) ? node->cores[core].gather : NULL;
}
struct store *node_store(struct node *node, unsigned core) {
    return node_is_open(node) ? node->cores[core].store : NULL;
}
struct replicas *node_replicas(struct node *node, unsigned core) {
    return node_is_open(node) ? node->cores[core].replicas : NULL;
}

/* -- draining */

static void on_drain(struct core *here, struct msg *m) {
    (void)here;
    member_set_draining(container_of(m, struct node, drain_msg)->member, true);
}

void node_drain(struct node *node) {
    if (atomic_exchange(&node->drain_asked, true)) return;
    node->drain_msg.run = on_drain;
    core_post(node->rt->control_core, &node->drain_msg);
}

bool node_is_draining(const struct node *node) {
    return atomic_load_explicit(&node->drain_asked, memory_order_relaxed) ||
           (node_is_open(node) &&
            atomic_load_explicit(&node->cores[0].draining, memory_order_relaxed));
}

uint32_t node_undrained(const struct node *node) {
    uint32_t count = 0;
    for (unsigned i = 0; node_is_open(node) && i < node->rt->cores_count; i++)
        count += atomic_load_explicit(&node->cores[i].undrained, memory_order_relaxed);
    return count;
}
