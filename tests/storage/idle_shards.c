/* SPDX-License-Identifier: Apache-2.0 */
/* What a shard costs in which nothing was ever written but the entry that opens its epoch:
 * thousands are opened when a node becomes their primary, and again with each later epoch. */
#include <inttypes.h>
#include <malloc.h>
#include <stdio.h>

#include "node/base/log.h"
#include "storage/store.h"
#include "tests/sim/sim.h"
#include "tests/storage/log_rig.h"

enum { SHARDS = 8192, EPOCHS = 5, BYTES_MAX = 1024 };

static uint64_t durable;

static size_t heap_bytes(void) {
    struct mallinfo2 m = mallinfo2();
    return m.uordblks + m.hblkhd;
}

static void on_durable(struct store *store, uint64_t position, enum status status,
                       const struct err *err, void *ctx) {
    (void)store, (void)err, (void)ctx;
    RIG_CHECK(status == OK, "%s", status_name(status));
    durable = position;
}

static enum status apply(void *ctx, const struct entry *e, struct err *err) {
    return store_recover(ctx, e, err);
}

int main(void) {
    log_setup(LOG_ERROR + 1, LOG_LOGFMT, 2);
    struct sim *sim =
        sim_new(&(struct sim_options){.seed = 1, .nodes_count = 1, .cores_per_node = 1});
    struct runtime *rt = sim_start(sim, 0);
    struct store_options options = {.head = {.secret = 1}, .shards_count = SHARDS};
    struct log_options lo = {.dir = "log",
                             .file_bytes_max = 8 << 20,
                             .frame_bytes_max = 16 << 20,
                             .sync_every_frame = true};
    struct store *store;
    struct log *log;
    struct err err;
    bool damaged;
    RIG_CHECK(store_new(rt->cores[0], &options, &store, &err) == OK, "%s", err.msg);
    for (uint32_t s = 0; s < SHARDS; s++) {
        struct store_shard_options o = {s, STORE_FULL, false, 1, 1};
        RIG_CHECK(store_shard_open(store, &o, &err) == OK, "%s", err.msg);
    }
    RIG_CHECK(log_open(rt, &lo, apply, store, &log, &damaged, &err) == OK, "%s", err.msg);
    store_set_log(store, log, on_durable, NULL);
    size_t before = heap_bytes();
    uint64_t position = 0;
    for (uint32_t epoch = 1; epoch <= EPOCHS; epoch++) {
        core_set_current(rt->cores[0]);
        for (uint32_t s = 0; s < SHARDS; s++)
            RIG_CHECK(store_open_epoch(store, s, epoch, &position, &err) == OK, "%s", err.msg);
        core_set_current(NULL);
        while (durable < position)
            RIG_CHECK(sim_step(sim), "never durable");
        size_t bytes = (heap_bytes() - before) / SHARDS;
        printf("%zu bytes an idle shard in epoch %" PRIu32 "\n", bytes, epoch);
        RIG_CHECK(bytes > 0 && bytes < BYTES_MAX, "%zu bytes a shard", bytes);
    }
    RIG_CHECK(position == (uint64_t)SHARDS * EPOCHS, "an entry for each");
    sim_kill(sim, 0);
    store_free(store);
    log_free(log);
    sim_free(sim);
    return 0;
}
