/* SPDX-License-Identifier: Apache-2.0 */
/* A new map on every core:
 *   control core (member's install) -> [log core: opens the data, by the first map] -> each core ->
 *   control core: member_installed when all have it.
 * With the first one a core gets its parts. What begins on a core goes on to others of the node, so
 * nothing may before all have theirs: who lets requests in (frames, HTTP, the node's own metrics)
 * asks node_is_open. Of a later map a core may know more, or less, than the one that hands it
 * something: it judges by its own, and who asked tries again.
 * And what the cores have to say to the controller: core -> control core (member_report). */
#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "node/base/hash.h"
#include "node/base/log.h"
#include "node/daemon/node_internal.h"
#include "ring/placement.h"

/* -- views */

/* A shard stays on its core as long as the node has it; a new one goes to the core with the fewest.
 */
static void deal_cores(const struct node *node, const struct node_view *before,
                       struct node_view *view) {
    const struct ring_map *map = view->map;
    int self = ring_map_node_index(map, node->seat.id);
    uint32_t shards = map->settings.shards_count;
    unsigned cores = node->rt->cores_count;
    uint32_t *load = calloc(cores, sizeof *load);
    if (load == NULL) abort(); /* a few bytes */
    for (uint32_t s = 0; s < shards; s++) {
        bool here = self >= 0 && ring_shard_replica(&map->shards[s], self) >= 0;
        view->core_of[s] = here ? before->core_of[s] : 0xffff;
        if (view->core_of[s] != 0xffff) load[view->core_of[s]]++;
    }
    for (uint32_t s = 0; s < shards && self >= 0; s++) {
        if (view->core_of[s] != 0xffff || ring_shard_replica(&map->shards[s], self) < 0) continue;
        unsigned least = 0;
        for (unsigned c = 1; c < cores; c++)
            if (load[c] < load[least]) least = c;
        view->core_of[s] = (uint16_t)least;
        load[least]++;
    }
    free(load);
}

enum status node_view_new(const struct node *node, struct ring_map *map, struct node_view **out,
                          struct err *err) {
    struct node_view *view = calloc(1, sizeof *view);
    if (view != NULL) view->core_of = calloc(map->settings.shards_count, sizeof *view->core_of);
    if (view == NULL || view->core_of == NULL) {
        free(view);
        return err_set(err, ERR_NOMEM, 0, "node: out of memory");
    }
    view->map = ring_map_ref(map);
    if (node->view == NULL)
        placement_cores(map, node->seat.id, node->rt->cores_count, view->core_of);
    else
        deal_cores(node, node->view, view);
    *out = view;
    return OK;
}

void node_view_free(struct node_view *view) {
    if (view == NULL) return;
    ring_map_unref(view->map);
    free(view->core_of);
    free(view);
}

/* -- on a core */

void node_on_changed(void *ctx) {
    struct node_core *nc = ctx;
    if (nc->in == NULL) return;
    node_look_soon(nc);
}

void node_core_install(struct node_core *nc, const struct node_view *view) {
    struct core *core = nc->core;
    core->locals[CORE_STORE] = nc->store;
    core->locals[CORE_INGEST] = nc->distributor;
    core->locals[CORE_QUERY] = nc->gather;
    nc->in = view;
    struct err err;
    if (node_open_shards(nc, view, &err) != OK) /* out of memory: not served, so not silently */
        log_error("a shard was not opened", "err", err.msg);
    peers_set_map(nc->peers, view->map); /* before replication calls by it */
    replicas_install(nc->replicas, view->map, view->core_of);
    if (distributor_set_map(nc->distributor, view->map, view->core_of, &err) != OK)
        log_error("writes go by the map before", "err", err.msg);
    gather_set_map(nc->gather, view->map, view->core_of);
    flusher_start(nc->flusher);
    node_look(nc);
    node_look_soon(nc);
}

/* -- on the control core */

static void maps_look(struct node *node) {
    if (node->installing || node->maps_stopped == NULL) return;
    void (*stopped)(void *ctx) = node->maps_stopped;
    node->maps_stopped = NULL;
    stopped(node->maps_stopped_ctx);
}

void node_stop_maps(struct node *node, void (*stopped)(void *ctx), void *ctx) {
    assert(core_is_current(node->rt->control_core));
    node->maps_end = true;
    node->maps_stopped = stopped;
    node->maps_stopped_ctx = ctx;
    maps_look(node);
}

static void on_core_installed(struct core *here, struct msg *m) {
    (void)here;
    struct node_core *nc = container_of(m, struct node_core, install);
    struct node *node = nc->node;
    assert(node->installs_open > 0);
    if (--node->installs_open > 0) return;
    node_view_free(node->view);
    node->view = node->next;
    node->next = NULL;
    node->installing = false;
    atomic_store_explicit(&node->open, true, memory_order_release); /* what cores did before it */
    member_installed(node->member, node->view->map->version);
    maps_look(node);
}

static void core_on_install(struct core *here, struct msg *m) {
    struct node_core *nc = container_of(m, struct node_core, install);
    node_core_install(nc, nc->node->next);
    m->run = on_core_installed;
    core_post(here->rt->control_core, m);
}

static void node_install_next(struct node *node) {
    node->installs_open = node->rt->cores_count;
    for (unsigned i = 0; i < node->rt->cores_count; i++) {
        node->cores[i].install.run = core_on_install;
        core_post(node->rt->cores[i], &node->cores[i].install);
    }
}

static void node_lose(struct node *node, const struct err *why) {
    if (atomic_load(&node->lost)) return;
    node->lost_err = *why;
    atomic_store_explicit(&node->lost, true, memory_order_release);
    log_error("this node does not serve any more", "err", why->msg);
}

static void on_data_opened(struct core *here, struct msg *m) {
    (void)here;
    struct node *node = container_of(m, struct node, open_msg);
    if (node->open_status == OK) {
        node_install_next(node);
        return;
    }
    node_lose(node, &node->open_err);
    node->installing = false;
    maps_look(node);
}

static void log_open_data(struct core *here, struct msg *m) {
    struct node *node = container_of(m, struct node, open_msg);
    node->open_status = node_data_open(node, node->next, &node->open_err);
    m->run = on_data_opened;
    core_post(here->rt->control_core, m);
}

void node_on_map(void *ctx, struct ring_map *map) {
    struct node *node = ctx;
    if (node->maps_end) return; /* the member waits for it in vain until it is stopped, too */
    assert(node->next == NULL);
    struct err err;
    if (node_view_new(node, map, &node->next, &err) != OK) {
        node_lose(node, &err);
        return;
    }
    node->installing = true;
    if (node->log != NULL) {
        node_install_next(node);
        return;
    }
    node->open_msg.run = log_open_data;
    core_post(node->rt->log_core, &node->open_msg);
}

/* -- reports: one at a time from each core; what is not said now is said again soon. One like that
 * before it, of a core that waits for nothing, is said only now and then: it would wake the control
 * core for nothing. */

static void on_report(struct core *here, struct msg *m) {
    (void)here;
    struct node_core *nc = container_of(m, struct node_core, report_msg);
    member_report(nc->node->member, &nc->report);
    nc->report = (struct core_report){0};
    atomic_store_explicit(&nc->reporting, false, memory_order_release);
}

static void *copy_of(const void *p, size_t bytes) {
    void *to = bytes == 0 ? NULL : malloc(bytes);
    if (to != NULL) memcpy(to, p, bytes);
    return to;
}

static uint64_t report_hash(const struct core_report *r, const struct shard_report *reports,
                            size_t count) {
    const uint64_t head[] = {r->map_version, r->log_failed, count};
    uint64_t h = hash64(head, sizeof head, 0);
    for (size_t i = 0; i < count; i++) {
        const struct shard_report *s = &reports[i];
        const uint64_t facts[] = {(uint64_t)s->shard << 32 | s->epoch, s->kind, s->about};
        h = hash64(facts, sizeof facts, h);
    }
    return h;
}

static bool is_said_already(struct node_core *nc, bool waits, uint64_t hash) {
    enum { SAY_AGAIN = 10 };
    if (!waits && !nc->said_waits && hash == nc->said && ++nc->said_ago < SAY_AGAIN) return true;
    nc->said = hash;
    nc->said_waits = waits;
    nc->said_ago = 0;
    return false;
}

void node_on_report(void *ctx, const struct shard_report *reports, size_t reports_count,
                    const struct append_lag *lags, size_t lags_count, uint32_t unsynced_age_ms) {
    struct node_core *nc = ctx;
    if (atomic_load_explicit(&nc->reporting, memory_order_acquire)) return;
    nc->report = (struct core_report){.core = nc->core->index,
                                      .map_version = nc->in == NULL ? 0 : nc->in->map->version,
                                      .unsynced_age_ms = unsynced_age_ms,
                                      .log_failed = log_is_failed(nc->node->log)};
    bool waits = lags_count > 0 || unsynced_age_ms > 0;
    if (is_said_already(nc, waits, report_hash(&nc->report, reports, reports_count))) return;
    nc->report.reports = copy_of(reports, reports_count * sizeof *reports);
    nc->report.lags = copy_of(lags, lags_count * sizeof *lags);
    nc->report.reports_count = nc->report.reports == NULL ? 0 : reports_count;
    nc->report.lags_count = nc->report.lags == NULL ? 0 : lags_count;
    if (nc->report.reports_count < reports_count) nc->said_waits = true; /* all of it is not said */
    atomic_store_explicit(&nc->reporting, true, memory_order_relaxed);
    nc->report_msg.run = on_report;
    core_post(nc->core->rt->control_core, &nc->report_msg);
}
