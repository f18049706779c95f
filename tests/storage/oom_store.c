/* SPDX-License-Identifier: Apache-2.0 */
/* Every allocation of a batch with new series fails in turn: what was applied is in the log and the
 * other way round, so that the batch can be sent again, and a start gives what was there. */
#include <stdio.h>
#include <stdlib.h>

#include "node/base/bytes.h"
#include "tests/storage/nomem.h"
#include "tests/storage/store_rig.h"

static bool tries; /* allocations of the store may fail */

/* From here on it is the simulator that allocates. */
void __real_log_append(struct log *log, struct core *from, struct log_append *req);
void __wrap_log_append(struct log *log, struct core *from, struct log_append *req);
void __wrap_log_append(struct log *log, struct core *from, struct log_append *req) {
    nomem_on(false);
    __real_log_append(log, from, req);
}

static struct store_rig rig;
enum { SAMPLES = STORE_SERIES * 2 };

/* All series, grouped by shard, two samples each; from slot `slot` on. */
static enum status write_all(unsigned slot, struct write_result *r) {
    series_id ids[SAMPLES];
    uint32_t shards[SAMPLES], *unknown;
    int64_t times_ms[SAMPLES];
    double values[SAMPLES];
    struct sv labels[SAMPLES], histograms[SAMPLES];
    int64_t starts_ms[SAMPLES];
    static char histogram_bytes[SAMPLES * STORE_HISTOGRAM_BYTES];
    struct buf bytes = {.ptr = histogram_bytes, .cap = sizeof histogram_bytes};
    size_t n = 0, unknown_count;
    for (uint32_t shard = 0; shard < STORE_SHARDS; shard++) {
        for (size_t s = 0; s < STORE_SERIES; s++) {
            for (unsigned k = 0; k < 2 && rig.shards[s] == shard; k++, n++) {
                ids[n] = rig.ids[s];
                shards[n] = shard;
                times_ms[n] = STORE_START_MS + (slot + k) * (int64_t)STORE_SLOT_MS;
                values[n] = store_rig_value(s, slot + k);
                labels[n] = sv_make(rig.series[s], rig.series_len[s]);
                histograms[n] = store_rig_histogram(s, values[n], &bytes);
                starts_ms[n] = store_rig_start_ms(s, slot + k);
                rig.sent[s][slot + k] = true;
            }
        }
    }
    struct write_columns c = {n,      ids,    shards,    times_ms,
                              values, labels, starts_ms, .histograms = histograms};
    struct arena scratch;
    arena_init(&scratch, 0);
    core_set_current(rig.rt->cores[0]);
    nomem_on(tries);
    enum status status = store_write(rig.stores[0], &c, STORE_START_MS + 3600000, &scratch, r,
                                     &unknown, &unknown_count, NULL);
    nomem_on(false);
    core_set_current(NULL);
    arena_fini(&scratch);
    return status;
}

/* False when nothing failed: there are fewer allocations. */
static bool run(long n, bool new_epoch) {
    struct write_result r;
    store_rig_init(&rig, 1);
    store_rig_must_start(&rig, 1);
    if (new_epoch) { /* the series are known, and need numbers again */
        RIG_CHECK(write_all(0, &r) == OK, "!");
        while (rig.durable[0] < r.position)
            RIG_CHECK(sim_step(rig.sim), "!");
        store_rig_kill(&rig);
        rig.epoch++;
        store_rig_must_start(&rig, 1);
    }
    tries = true;
    nomem_arm((uint64_t)n, false);
    enum status status = write_all(2, &r);
    tries = false;
    /* Memory that only makes reading the log faster may be missing. */
    bool taken = status == OK && r.counts[VERDICT_ACCEPT] == SAMPLES;
    bool failed = nomem_failed() > 0;
    RIG_CHECK(taken || (failed && status == ERR_NOMEM), "%s", status_name(status));
    store_rig_verify(&rig, false);
    if (n % 2 == 0) { /* sent again, as a client would */
        RIG_CHECK(write_all(2, &r) == OK && !r.refused, "%s", r.first_text);
        store_rig_verify(&rig, true);
    }
    RIG_CHECK(write_all(4, &r) == OK && r.counts[VERDICT_ACCEPT] == SAMPLES, "%s", r.first_text);
    while (rig.durable[0] < r.position)
        RIG_CHECK(sim_step(rig.sim), "!");
    store_rig_heal(&rig); /* the head of now is what must come back, no more and no less */
    store_rig_power_cut(&rig);
    store_rig_must_start(&rig, 1 + (unsigned)n % STORE_CORES);
    store_rig_verify(&rig, true);
    store_rig_fini(&rig);
    return failed;
}

/* -- a follower: the same, for entries of another node's log */

static struct buf blocks[STORE_SHARDS];

static void on_block(struct store *store, uint64_t position, const struct store_block *block,
                     void *ctx) {
    (void)store, (void)position, (void)ctx;
    for (size_t i = 0; i < block->places_count; i++) {
        const struct entry_at *e = &block->places[i];
        buf_put(&blocks[e->shard], block->entries.ptr + e->at, e->len);
    }
}

static enum status follow_all(uint64_t *position) {
    enum status status = OK;
    core_set_current(rig.rt->cores[0]);
    for (uint32_t s = 0; s < STORE_SHARDS && status == OK; s++) {
        if (blocks[s].len == 0) continue;
        struct store_follow f = {.shard = s, .copy = 1, .entries = buf_sv(&blocks[s])};
        nomem_on(tries);
        status = store_follow(rig.stores[0], &f, position, NULL);
        nomem_on(false);
    }
    core_set_current(NULL);
    return status;
}

static bool run_follow(long n, bool once) {
    uint64_t position = 0;
    store_rig_init(&rig, 1);
    rig.follows = true;
    store_rig_must_start(&rig, 1);
    for (size_t s = 0; s < STORE_SERIES; s++)
        for (unsigned slot = 0; slot < 4; slot++)
            rig.sent[s][slot] = true;
    tries = true;
    nomem_arm((uint64_t)n, once);
    enum status status = follow_all(&position);
    tries = false;
    bool failed = nomem_failed() > 0;
    RIG_CHECK(status == OK || (failed && status == ERR_NOMEM), "%s", status_name(status));
    RIG_CHECK(follow_all(&position) == OK, "sent again");
    store_rig_verify(&rig, true);
    while (rig.durable[0] < position)
        RIG_CHECK(sim_step(rig.sim), "!");
    store_rig_power_cut(&rig);
    store_rig_must_start(&rig, 1 + (unsigned)n % STORE_CORES);
    store_rig_verify(&rig, true);
    store_rig_fini(&rig);
    return failed;
}

static void follow_in_turn(void) {
    struct write_result r;
    store_rig_init(&rig, 1);
    rig.follows = true;
    store_rig_must_start(&rig, 1);
    store_set_block_hook(rig.stores[0], on_block, NULL);
    for (uint32_t s = 0; s < STORE_SHARDS; s++)
        store_rig_open_epoch(&rig, s, 1);
    RIG_CHECK(write_all(0, &r) == OK && write_all(2, &r) == OK, "!");
    store_rig_fini(&rig);
    for (int once = 0; once < 2; once++) {
        long n = 1;
        while (run_follow(n, once != 0))
            n++;
        RIG_CHECK(n > 10, "%ld allocations", n);
        printf("%ld allocations of a follower failed in turn\n", n - 1);
    }
    for (uint32_t s = 0; s < STORE_SHARDS; s++)
        buf_fini(&blocks[s]);
}

int main(void) {
    follow_in_turn();
    for (int new_epoch = 0; new_epoch < 2; new_epoch++) {
        long n = 1;
        while (run(n, new_epoch != 0))
            n++;
        RIG_CHECK(n > 10, "%ld allocations", n);
        printf("%ld allocations failed in turn\n", n - 1);
    }
    return 0;
}
