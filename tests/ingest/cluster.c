/* SPDX-License-Identifier: Apache-2.0 */
#include "cluster.h"

#include <inttypes.h>

#include "node/base/log.h"
#include "ring/placement.h"

static void cluster_on_restart(void *ctx) {
    struct cluster *c = ctx;
    for (unsigned i = 0; i < c->nodes_count; i++)
        if (!sim_is_up(c->sim, i)) cluster_start(c, i);
}

static void cluster_on_crash(void *ctx, unsigned node) {
    struct cluster *c = ctx;
    node_free(c->nodes[node].node);
    c->nodes[node].node = NULL;
    if (c->restart_after_ms > 0) sim_after(c->sim, c->restart_after_ms, cluster_on_restart, c);
}

void cluster_init(struct cluster *c, const struct sim_options *options) {
    log_setup(LOG_ERROR + 1, LOG_LOGFMT, 2);
    *c = (struct cluster){.nodes_count = options->nodes_count};
    struct sim_options o = *options;
    o.cores_per_node = CLUSTER_CORES;
    o.crashed = cluster_on_crash;
    o.ctx = c;
    c->sim = sim_new(&o);
    size_t len = 0;
    for (unsigned i = 0; i < c->nodes_count; i++) {
        snprintf(c->nodes[i].dir, sizeof c->nodes[i].dir, "data");
        len += (size_t)snprintf(c->discovery + len, sizeof c->discovery - len, "%s%s",
                                i == 0 ? "static:" : ",", sim_addr(c->sim, i));
    }
    if (c->nodes_count == 1) c->discovery[0] = '\0';
}

void cluster_start(struct cluster *c, unsigned node) {
    struct cluster_node *n = &c->nodes[node];
    struct runtime *rt = sim_start(c->sim, node);
    if (n->disk != NULL) rt->disk = sim_disk_as_disk(n->disk);
    struct node_options o = {
        .data_dir = n->dir,
        .cluster_name = "test",
        .discovery = c->discovery,
        .listen_addr = sim_addr(c->sim, node),
        .advertise_addr = c->nodes_count == 1 ? "" : sim_addr(c->sim, node),
        .bootstrap_expect = c->nodes_count == 1 ? 0 : c->nodes_count,
        .shards_count = CLUSTER_SHARDS,
        .replication_factor = 1,
        .out_of_order_window_ms = 1800000,
        .wal_sync_always = true,
        .query_timeout_ms = 10000,
        .query_concurrency = 4,
    };
    struct err err;
    enum status st = node_open(rt, &o, &n->node, &err);
    if (st == OK) st = node_start(n->node, &err);
    if (st != OK) {
        fprintf(stderr, "node %u: %s\n", node, err.msg);
        n->node = NULL; /* power may be cut while it opens: the next step crashes it */
    }
}

static bool all_are_ready(void *ctx) {
    const struct cluster *c = ctx;
    for (unsigned i = 0; i < c->nodes_count; i++)
        if (c->nodes[i].node != NULL && !node_is_ready(c->nodes[i].node, NULL)) return false;
    return true;
}

static bool never(void *ctx) {
    (void)ctx;
    return false;
}

void cluster_wait(struct cluster *c) {
    enum { VOTERS_MS = 3000 };
    MUST(sim_run(c->sim, all_are_ready, c, sim_now_ms(c->sim) + 60000));
    MUST(!sim_run(c->sim, never, NULL, sim_now_ms(c->sim) + VOTERS_MS));
    MUST(sim_run(c->sim, all_are_ready, c, sim_now_ms(c->sim) + 60000));
}

void cluster_kill(struct cluster *c, unsigned node) {
    sim_kill(c->sim, node);
    node_free(c->nodes[node].node);
    c->nodes[node].node = NULL;
}

void cluster_fini(struct cluster *c) {
    for (unsigned i = 0; i < c->nodes_count; i++) {
        if (sim_is_up(c->sim, i)) cluster_kill(c, i);
        if (c->nodes[i].disk != NULL) sim_disk_free(c->nodes[i].disk);
    }
    sim_free(c->sim);
}

static struct node *any_node(struct cluster *c) {
    for (unsigned i = 0; i < c->nodes_count; i++)
        if (c->nodes[i].node != NULL) return c->nodes[i].node;
    abort();
}

static void put_series(unsigned series, struct buf *out) {
    char number[16];
    snprintf(number, sizeof number, "%u", series);
    request_label(out, SV("__name__"), SV("name"));
    request_label(out, SV("i"), sv_from(number));
}

static series_id id_of(struct cluster *c, unsigned series) {
    struct buf b = {0};
    put_series(series, &b);
    series_id id = series_id_of(node_map(any_node(c))->settings.secret, 0, buf_sv(&b));
    buf_fini(&b);
    return id;
}

static void client_on_done(struct core *here, struct write_op *op) {
    struct client *w = container_of(op, struct client, op);
    MUST(core_is_current(here) && !w->done);
    w->done = true;
    w->took_ms = sim_now_ms(w->sim) - w->began_ms;
}

struct client *client_new(struct cluster *c, const struct client_sample *samples, size_t count) {
    struct client *w = calloc(1, sizeof *w);
    MUST(w != NULL && write_rows_reserve(&w->op.rows, count) == OK);
    w->sim = c->sim;
    w->op.done = client_on_done;
    arena_init(&w->op.arena, 0);
    struct write_rows *rows = &w->op.rows;
    for (size_t i = 0; i < count; i++) {
        struct buf b = {0};
        put_series(samples[i].series, &b);
        rows->labels[i] = arena_sv(&w->op.arena, buf_sv(&b));
        buf_fini(&b);
        rows->ids[i] = id_of(c, samples[i].series);
        rows->shards[i] = series_shard(rows->ids[i], CLUSTER_SHARDS);
        rows->times_ms[i] = samples[i].time_ms;
        rows->values[i] = samples[i].value;
    }
    rows->count = count;
    return w;
}

void client_free(struct client *w) {
    write_rows_fini(&w->op.rows);
    arena_fini(&w->op.arena);
    buf_fini(&w->op.body);
    free(w);
}

static void client_on_core(struct core *here, struct msg *m) {
    struct client *w = container_of(m, struct client, msg);
    distributor_write(here->locals[CORE_INGEST], &w->op);
}

void client_start(struct cluster *c, struct client *w, unsigned node, unsigned core) {
    struct store *store = node_store(c->nodes[node].node, core);
    w->done = false;
    w->started = true;
    w->began_ms = sim_now_ms(c->sim);
    w->msg.run = client_on_core;
    core_post(store_core(store), &w->msg);
}

bool client_is_done(void *w) {
    return ((struct client *)w)->done;
}

void client_write(struct cluster *c, struct client *w, unsigned node, unsigned core) {
    client_start(c, w, node, core);
    MUST(sim_run(c->sim, client_is_done, w, sim_now_ms(c->sim) + 60000));
}

unsigned cluster_node_of(struct cluster *c, unsigned series) {
    struct ring_map *map = node_map(any_node(c));
    uint16_t index = ring_map_primary(map, series_shard(id_of(c, series), CLUSTER_SHARDS));
    for (unsigned i = 0; i < c->nodes_count; i++)
        if (c->nodes_count == 1 || strcmp(map->nodes[index].addr, sim_addr(c->sim, i)) == 0)
            return i;
    abort();
}

bool cluster_newest(struct cluster *c, unsigned series, int64_t *out_time_ms, double *out_value) {
    struct node *node = c->nodes[cluster_node_of(c, series)].node;
    series_id id = id_of(c, series);
    for (unsigned core = 0; core < CLUSTER_CORES; core++) {
        const struct head *head = store_head(node_store(node, core));
        uint32_t ref = head_find(head, id);
        if (ref == HEAD_NONE) continue;
        struct buf got = {0}, want = {0};
        head_series_labels(head, ref, &got);
        put_series(series, &want);
        MUST(sv_eq(buf_sv(&got), buf_sv(&want)));
        buf_fini(&got);
        buf_fini(&want);
        return head_series_newest(head, ref, out_time_ms, out_value);
    }
    return false;
}

size_t cluster_series_count(struct cluster *c, unsigned node) {
    size_t count = 0;
    for (unsigned core = 0; core < CLUSTER_CORES; core++) {
        struct head_stats stats;
        head_stats(store_head(node_store(c->nodes[node].node, core)), &stats);
        count += stats.series;
    }
    return count;
}

int64_t cluster_now_ms(struct cluster *c) {
    return core_wall_ms(store_core(node_store(any_node(c), 0)));
}
