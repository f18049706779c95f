/* SPDX-License-Identifier: Apache-2.0 */
/* Any bytes as what a primary sends a follower, with a head and as a tail, in two portions: what it
 * takes it holds, what it refuses changes nothing but by what came before, and what the log got is
 * what comes back at a start. The first byte says where to part. */
#include <assert.h>
#include <stdlib.h>

#include "node/base/log.h"
#include "storage/store.h"
#include "tests/sim/sim.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { SHARDS = 4 };
static const struct store_options options = {
    .head = {.secret = 5, .out_of_order_window_ms = 1800000, .series_max = 0},
    .shards_count = SHARDS,
    .exemplars_max = 8};

struct node {
    struct runtime *rt;
    struct store *store;
    struct log *log;
    uint64_t durable;
};

static void on_durable(struct store *store, uint64_t position, enum status status,
                       const struct err *err, void *ctx) {
    (void)store, (void)err;
    assert(status == OK);
    ((struct node *)ctx)->durable = position;
}

static enum status apply(void *ctx, const struct entry *e, struct err *err) {
    return store_recover(((struct node *)ctx)->store, e, err);
}

static void node_start(struct node *n, struct sim *sim) {
    struct err err;
    bool damaged;
    *n = (struct node){.rt = sim_start(sim, 0)};
    assert(store_new(n->rt->cores[0], &options, &n->store, &err) == OK);
    for (uint32_t s = 0; s < SHARDS; s++) {
        struct store_shard_options o = {s, s % 2 == 0 ? STORE_FULL : STORE_LOG, false, 2, 1};
        assert(store_shard_open(n->store, &o, &err) == OK);
    }
    struct log_options lo = {.dir = "log",
                             .file_bytes_max = 1 << 20,
                             .frame_bytes_max = 1 << 20,
                             .sync_every_frame = true};
    assert(log_open(n->rt, &lo, apply, n, &n->log, &damaged, &err) == OK && !damaged);
    store_set_log(n->store, n->log, on_durable, n);
}

static void node_stop(struct node *n, struct sim *sim) {
    sim_kill(sim, 0);
    store_free(n->store);
    log_free(n->log);
}

static void follow(struct node *n, uint32_t shard, struct sv entries, uint64_t *position) {
    struct store_follow f = {.shard = shard, .copy = 2, .tail = shard % 2 != 0, .entries = entries};
    struct shard_held before, after;
    bool held = store_held(n->store, shard, f.tail, &before);
    struct err err;
    core_set_current(n->rt->cores[0]);
    enum status status = store_follow(n->store, &f, position, &err);
    core_set_current(NULL);
    bool holds = store_held(n->store, shard, f.tail, &after);
    assert(holds || !held);
    assert(!held || place_cmp(after.end, before.end) >= 0);
    if (status == ERR_CONFLICT) assert(held == holds && place_cmp(before.end, after.end) == 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    if (size < 2 || size > 1 << 16) return 0;
    log_setup(LOG_ERROR + 1, LOG_LOGFMT, 2);
    struct sim *sim =
        sim_new(&(struct sim_options){.seed = 1, .nodes_count = 1, .cores_per_node = 1});
    struct node n;
    struct shard_held held[SHARDS];
    struct sv all = sv_make(data + 1, size - 1);
    uint64_t position = 0;
    node_start(&n, sim);
    for (uint32_t s = 0; s < SHARDS; s++) {
        struct sv front = sv_make(all.ptr, MIN(all.len, (size_t)data[0]));
        follow(&n, s, front, &position);
        follow(&n, s, sv_skip(all, front.len), &position);
        follow(&n, s, all, &position);
    }
    while (n.durable < position)
        assert(sim_step(sim));
    for (uint32_t s = 0; s < SHARDS; s++)
        store_held(n.store, s, s % 2 != 0, &held[s]);
    node_stop(&n, sim);
    node_start(&n, sim);
    for (uint32_t s = 0; s < SHARDS; s++) {
        struct shard_held again;
        store_held(n.store, s, s % 2 != 0, &again);
        assert(again.has_log == held[s].has_log && !again.damaged);
        assert(!again.has_log || place_cmp(again.end, held[s].end) == 0);
    }
    node_stop(&n, sim);
    sim_free(sim);
    return 0;
}
