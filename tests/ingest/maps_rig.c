/* SPDX-License-Identifier: Apache-2.0 */
#include "maps_rig.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "storage/histogram.h"

/* -- the gate: as replication would say, for one replica a shard */

static enum status gate_may_write(void *ctx, uint32_t shard, uint64_t now_ns, struct err *err) {
    (void)now_ns;
    struct rig_core *c = ctx;
    const struct rig_node *node = c->node;
    if (node->map->nodes[ring_map_primary(node->map, shard)].id != rig_id(node->index) ||
        node->core_of[shard] != c->core->index)
        return err_set(err, ERR_CONFLICT, 0, "not primary of epoch %" PRIu32,
                       node->map->shards[shard].epoch);
    if (node->closed[shard]) return err_set(err, ERR_UNAVAILABLE, 0, "being opened");
    return OK;
}

struct gate_wait {
    struct ack_wait ack;
    struct rig_core *at;
    struct replica_wait *wait;
    uint32_t *shards, *epochs;
    size_t count;
};

static void gate_wait_free(struct gate_wait *w) {
    free(w->shards);
    free(w->epochs);
    free(w);
}

static void gate_on_durable(struct ack_wait *ack, enum status status, const struct err *err) {
    struct gate_wait *w = container_of(ack, struct gate_wait, ack);
    struct err gone;
    for (size_t i = 0; i < w->count && status == OK; i++) {
        const struct ring_map *map = w->at->node->map;
        if (map->shards[w->shards[i]].epoch == w->epochs[i]) continue;
        status = err_set(&gone, ERR_UNAVAILABLE, 0, "its epoch has ended");
        err = &gone;
    }
    w->wait->done(w->wait, status, err);
    gate_wait_free(w);
}

static void gate_wait_begin(void *ctx, struct replica_wait *wait, const uint32_t *shards,
                            size_t count,
                            void (*done)(struct replica_wait *wait, enum status status,
                                         const struct err *err)) {
    struct rig_core *c = ctx;
    struct gate_wait *w = calloc(1, sizeof *w);
    MUST(w != NULL && count > 0);
    *w = (struct gate_wait){.at = c, .wait = wait, .count = count};
    w->shards = calloc(count, sizeof *w->shards);
    w->epochs = calloc(count, sizeof *w->epochs);
    MUST(w->shards != NULL && w->epochs != NULL);
    for (size_t i = 0; i < count; i++) {
        MUST(i == 0 || shards[i] > shards[i - 1]); /* ascending, unique */
        w->shards[i] = shards[i];
        w->epochs[i] = c->node->map->shards[shards[i]].epoch;
    }
    wait->done = done;
    ack_wait_begin(&w->ack, gate_on_durable);
    ack_wait_need(&c->board, &w->ack, c->self_member,
                  container_of(wait, struct write_part, wait)->result.position);
    ack_wait_commit(&w->ack);
}

static void rig_on_durable(struct store *store, uint64_t position, enum status status,
                           const struct err *err, void *ctx) {
    struct rig_core *c = ctx;
    MUST(c->store == store);
    if (status == OK)
        ack_progress(&c->board, c->self_member, position);
    else
        ack_fail(&c->board, c->self_member, status, err);
}

/* -- maps */

static struct ring_map *rig_first_map(struct maps_rig *rig) {
    struct ring_map *map;
    MUST(ring_map_new(RIG_NODES, RIG_SHARDS, &map, NULL) == OK);
    map->version = 1;
    map->settings = (struct ring_settings){.cluster_id = "one",
                                           .cluster_name = "one",
                                           .secret = 7,
                                           .shards_count = RIG_SHARDS,
                                           .replication_factor = 1,
                                           .format_level = 1};
    for (unsigned i = 0; i < RIG_NODES; i++) {
        map->nodes[i].id = rig_id(i);
        snprintf(map->nodes[i].addr, sizeof map->nodes[i].addr, "%s", sim_addr(rig->sim, i));
    }
    for (uint32_t s = 0; s < RIG_SHARDS; s++) {
        map->shards[s] = (struct ring_shard){.epoch = 1, .replicas_count = 1};
        map->shards[s].replicas[0] = (struct ring_replica){
            .node = (uint16_t)(s % RIG_NODES), .state = REPLICA_FULL, .in_sync = true, .copy = 1};
    }
    return map;
}

struct ring_map *rig_map_next(struct maps_rig *rig) {
    struct buf b = {0};
    struct ring_map *map;
    ring_map_put(rig->map, &b);
    MUST(ring_map_get(buf_sv(&b), &map, NULL) == OK);
    buf_fini(&b);
    map->version++;
    return map;
}

void rig_publish(struct maps_rig *rig, struct ring_map *map) {
    MUST(map->version == rig->map->version + 1);
    ring_map_unref(rig->map);
    rig->map = map;
}

void rig_move(struct ring_map *map, uint32_t shard, unsigned node) {
    map->shards[shard].epoch++;
    map->shards[shard].replicas[0].node = (uint16_t)node;
    map->shards[shard].replicas[0].copy++;
}

static void node_take_map(struct rig_node *node, struct ring_map *map) {
    ring_map_unref(node->map);
    node->map = ring_map_ref(map);
    for (uint32_t s = 0; s < RIG_SHARDS; s++) {
        const struct ring_replica *r = &map->shards[s].replicas[0];
        bool ours = r->node == node->index;
        node->core_of[s] = ours ? (uint16_t)(s % RIG_CORES) : 0xffff;
        if (!ours) continue;
        struct store *store = node->cores[node->core_of[s]].store;
        struct store_shard_options o = {.shard = s,
                                        .role = r->state == REPLICA_LOG    ? STORE_LOG
                                                : r->state == REPLICA_INIT ? STORE_INIT
                                                                           : STORE_FULL,
                                        .in_sync = true,
                                        .copy = r->copy,
                                        .epoch = map->shards[s].epoch};
        MUST(store_shard_open(store, &o, NULL) == OK);
    }
}

static void node_open_epochs(struct rig_node *node) {
    for (uint32_t s = 0; s < RIG_SHARDS; s++) {
        uint64_t position;
        if (node->core_of[s] == 0xffff) continue;
        struct rig_core *c = &node->cores[node->core_of[s]];
        core_set_current(c->core);
        MUST(store_open_epoch(c->store, s, node->map->shards[s].epoch, &position, NULL) == OK);
    }
}

void rig_install(struct maps_rig *rig, unsigned node) {
    struct rig_node *n = &rig->nodes[node];
    if (!n->up || n->map->version == rig->map->version) return;
    for (unsigned i = 0; i < RIG_CORES; i++) {
        core_set_current(n->cores[i].core);
        if (i == 0) node_take_map(n, rig->map);
        peers_set_map(n->cores[i].peers, rig->map);
        MUST(distributor_set_map(n->cores[i].distributor, rig->map, n->core_of, NULL) == OK);
    }
    node_open_epochs(n);
    core_set_current(NULL);
}

struct later {
    struct list_node link; /* of rig->laters, freed with it */
    struct maps_rig *rig;
    unsigned node;
};

static void rig_on_install(void *ctx) {
    struct later *l = ctx;
    rig_install(l->rig, l->node);
}

void rig_install_after(struct maps_rig *rig, unsigned node, uint64_t ms) {
    struct later *l = malloc(sizeof *l);
    MUST(l != NULL);
    *l = (struct later){.rig = rig, .node = node};
    list_push_back(&rig->laters, &l->link);
    sim_after(rig->sim, ms, rig_on_install, l);
}

/* -- life */

static enum status rig_recover(void *ctx, const struct entry *e, struct err *err) {
    (void)ctx;
    (void)e;
    return err_set(err, ERR_CORRUPT, 0, "a new log has entries");
}

static void core_open(struct rig_node *node, struct rig_core *c) {
    struct maps_rig *rig = node->rig;
    struct peers_options po = {.map = rig->map,
                               .self = rig_id(node->index),
                               .incarnation = 1,
                               .listen_addr = sim_addr(rig->sim, node->index)};
    struct store_options so = {
        .head = {.secret = rig->map->settings.secret, .out_of_order_window_ms = 1800000},
        .shards_count = RIG_SHARDS,
        .exemplars_max = 1000};
    core_set_current(c->core);
    c->node = node;
    MUST(peers_new(c->core, &po, &c->peers, NULL) == OK);
    c->core->locals[CORE_PEERS] = c->peers;
    MUST(store_new(c->core, &so, &c->store, NULL) == OK);
    c->core->locals[CORE_STORE] = c->store;
    ack_board_init(&c->board);
    c->self_member = ack_member_add(&c->board, rig_id(node->index));
    c->gate = (struct write_gate){c, gate_may_write, gate_wait_begin};
}

static void core_open_distributor(struct rig_node *node, struct rig_core *c) {
    atomic_store(&node->lease.until_ns, UINT64_MAX); /* of a controller that always answers */
    struct distributor_options o = {.map = node->map,
                                    .self = rig_id(node->index),
                                    .core_of = node->core_of,
                                    .peers = c->peers,
                                    .store = c->store,
                                    .gate = &c->gate,
                                    .lease = &node->lease,
                                    .resend_ms = 10000,
                                    .timeout_ms = 5000,
                                    .bytes_in_flight_max = 1 << 28};
    core_set_current(c->core);
    MUST(distributor_new(c->core, &o, &c->distributor, NULL) == OK);
    c->core->locals[CORE_INGEST] = c->distributor;
    store_set_log(c->store, node->log, rig_on_durable, c);
    peers_handle(c->peers, FRAME_WRITE, distributor_on_frame, c->distributor);
    MUST(peers_start(c->peers, NULL) == OK);
}

void rig_open(struct maps_rig *rig, const struct sim_options *options) {
    struct sim_options o = *options;
    o.nodes_count = RIG_NODES;
    o.cores_per_node = RIG_CORES;
    *rig = (struct maps_rig){.sim = sim_new(&o)};
    list_init(&rig->laters);
    sim_set_faults(rig->sim, false);
    rig->map = rig_first_map(rig);
    for (unsigned i = 0; i < RIG_NODES; i++) {
        struct rig_node *node = &rig->nodes[i];
        struct runtime *rt = sim_start(rig->sim, i);
        struct log_options lo = {.dir = "log",
                                 .file_bytes_max = 1 << 20,
                                 .frame_bytes_max = 1 << 20,
                                 .sync_every_frame = true};
        bool damaged;
        node->rig = rig;
        node->index = i;
        node->up = true;
        for (unsigned k = 0; k < RIG_CORES; k++) {
            node->cores[k].core = rt->cores[k];
            core_open(node, &node->cores[k]);
        }
        node_take_map(node, rig->map);
        MUST(disk_mkdir(rt->disk, "log", NULL) == OK);
        MUST(log_open(rt, &lo, rig_recover, NULL, &node->log, &damaged, NULL) == OK);
        for (unsigned k = 0; k < RIG_CORES; k++)
            core_open_distributor(node, &node->cores[k]);
        node_open_epochs(node);
        core_set_current(NULL);
    }
}

void rig_kill(struct maps_rig *rig, unsigned node) {
    struct rig_node *n = &rig->nodes[node];
    sim_kill(rig->sim, node);
    n->up = false;
    for (unsigned k = 0; k < RIG_CORES; k++) {
        struct rig_core *c = &n->cores[k];
        core_set_current(c->core);
        distributor_free(c->distributor);
        peers_free(c->peers);
    }
    core_set_current(NULL);
    log_free(n->log);
}

void rig_close(struct maps_rig *rig) {
    for (unsigned i = 0; i < RIG_NODES; i++) {
        if (rig->nodes[i].up) rig_kill(rig, i);
        for (unsigned k = 0; k < RIG_CORES; k++)
            store_free(rig->nodes[i].cores[k].store);
        ring_map_unref(rig->nodes[i].map);
    }
    ring_map_unref(rig->map);
    sim_free(rig->sim);
    while (!list_is_empty(&rig->laters))
        free(container_of(list_pop_front(&rig->laters), struct later, link));
}

static bool never(void *ctx) {
    (void)ctx;
    return false;
}

void rig_run(struct maps_rig *rig, uint64_t ms) {
    sim_run(rig->sim, never, NULL, sim_now_ms(rig->sim) + ms);
}

/* -- writes */

static void put_series(unsigned series, struct buf *out) {
    char number[16];
    snprintf(number, sizeof number, "%u", series);
    request_label(out, SV("__name__"), SV("name"));
    request_label(out, SV("i"), sv_from(number));
}

static series_id id_of(struct maps_rig *rig, unsigned series) {
    struct buf b = {0};
    put_series(series, &b);
    series_id id = series_id_of(rig->map->settings.secret, 0, buf_sv(&b));
    buf_fini(&b);
    return id;
}

uint32_t rig_shard(struct maps_rig *rig, unsigned series) {
    return series_shard(id_of(rig, series), RIG_SHARDS);
}

static void write_on_done(struct core *here, struct write_op *op) {
    struct rig_write *w = container_of(op, struct rig_write, op);
    MUST(core_is_current(here) && !w->done);
    w->done = true;
    w->took_ms = sim_now_ms(w->sim) - w->began_ms;
}

/* Every third series is of native histograms with that sum, every third of floats with a start. */
static void row_of_kind(struct rig_write *w, unsigned series, size_t i) {
    struct write_rows *rows = &w->op.rows;
    if (series % 3 == 2) {
        MUST(write_rows_want_starts(rows) == OK);
        rows->starts_ms[i] = rows->times_ms[i] - series - 1;
    } else if (series % 3 == 1) {
        struct histogram h = {.sum = rows->values[i], .start_ms = 3};
        struct buf b = {0};
        histogram_put(&h, &b);
        MUST(write_rows_want_histograms(rows) == OK);
        rows->histograms[i] = arena_sv(&w->op.arena, buf_sv(&b));
        buf_fini(&b);
    }
}

struct rig_write *rig_write_new(struct maps_rig *rig, unsigned first, unsigned count,
                                int64_t time_ms, double value) {
    struct rig_write *w = calloc(1, sizeof *w);
    MUST(w != NULL && write_rows_reserve(&w->op.rows, count) == OK);
    w->sim = rig->sim;
    w->op.done = write_on_done;
    arena_init(&w->op.arena, 0);
    struct write_rows *rows = &w->op.rows;
    for (unsigned i = 0; i < count; i++) {
        struct buf b = {0};
        put_series(first + i, &b);
        rows->labels[i] = arena_sv(&w->op.arena, buf_sv(&b));
        buf_fini(&b);
        rows->ids[i] = id_of(rig, first + i);
        rows->shards[i] = series_shard(rows->ids[i], RIG_SHARDS);
        rows->times_ms[i] = time_ms;
        rows->values[i] = value + first + i;
        row_of_kind(w, first + i, i);
    }
    rows->count = count;
    return w;
}

static void write_on_core(struct core *here, struct msg *m) {
    struct rig_write *w = container_of(m, struct rig_write, msg);
    distributor_write(here->locals[CORE_INGEST], &w->op);
}

void rig_write_start(struct maps_rig *rig, struct rig_write *w, unsigned node, unsigned core) {
    w->began_ms = sim_now_ms(w->sim);
    w->msg.run = write_on_core;
    core_post(rig->nodes[node].cores[core].core, &w->msg);
}

static bool write_is_done(void *ctx) {
    return ((struct rig_write *)ctx)->done;
}

void rig_write_wait(struct maps_rig *rig, struct rig_write *w) {
    MUST(sim_run(rig->sim, write_is_done, w, sim_now_ms(rig->sim) + 60000));
}

void rig_write_free(struct rig_write *w) {
    write_rows_fini(&w->op.rows);
    arena_fini(&w->op.arena);
    buf_fini(&w->op.body);
    free(w);
}

int64_t rig_now_ms(struct maps_rig *rig) {
    for (unsigned i = 0; i < RIG_NODES; i++)
        if (rig->nodes[i].up) return core_wall_ms(rig->nodes[i].cores[0].core);
    abort();
}

static void read_series(struct store *store, series_id id, struct samples *out) {
    struct select_query query = {.from_ms = INT64_MIN, .to_ms = INT64_MAX};
    struct selection *sel;
    bool done = false;
    size_t count;
    MUST(select_new(store_head(store), &query, &sel, NULL) == OK);
    while (!done)
        MUST(select_step(sel, 0, &done, NULL) == OK);
    const struct series_view *views = selection_series(sel, &count);
    for (size_t i = 0; i < count; i++)
        if (series_id_eq(views[i].id, id))
            MUST(series_view_read(&views[i], INT64_MIN, INT64_MAX, out, NULL) == OK);
    selection_release(sel);
}

bool rig_newest(struct maps_rig *rig, unsigned node, unsigned series, int64_t *out_time_ms,
                double *out_value) {
    series_id id = id_of(rig, series);
    struct store *store = rig->nodes[node].cores[rig_shard(rig, series) % RIG_CORES].store;
    const struct head *head = store_head(store);
    uint32_t ref = head_find(head, id);
    if (ref == HEAD_NONE) return false;
    struct samples s = {0};
    read_series(store, id, &s);
    bool any = s.count > 0;
    if (any) {
        size_t last = s.count - 1;
        *out_time_ms = s.times_ms[last];
        *out_value = s.values[last];
        bool is_histogram = s.histograms != NULL && s.histograms[last] != NULL;
        int64_t start_ms = s.starts_ms == NULL ? 0 : s.starts_ms[last];
        MUST(is_histogram == (series % 3 == 1));
        if (is_histogram)
            MUST(start_ms == 3);
        else
            MUST(start_ms == (series % 3 == 2 ? s.times_ms[last] - series - 1 : 0));
    }
    samples_fini(&s);
    return any;
}
