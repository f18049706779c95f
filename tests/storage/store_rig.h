/* SPDX-License-Identifier: Apache-2.0 */
/* tests/storage/store_rig.h: the shipped stores of a node's cores over the shipped log, on a
 * simulated runtime and a disk whose power can be cut, with a model of the samples that were sent,
 * acknowledged and must come back. The value of a sample is a function of (series, slot); every
 * third series is of native histograms with that sum, every third of floats with a start. */
#pragma once

#include "storage/store.h"
#include "tests/storage/log_rig.h"

enum {
    STORE_CORES = 3,
    STORE_SHARDS = 12,
    STORE_SERIES = 48,
    STORE_SLOTS = 100,
    STORE_SECRET = 77
};
#define STORE_START_MS 1767225600000
#define STORE_SLOT_MS 15000 /* all slots lie within the out-of-order window */

struct store_batch;
struct store_rig {
    struct log_options log_options;
    struct store_options options;
    struct sim_disk *sd;
    struct sim *sim;
    struct runtime *rt; /* NULL: down */
    struct log *log;
    struct store *stores[STORE_CORES];
    unsigned cores_count; /* a shard is of core shard % cores_count */
    uint32_t epoch;
    bool follows;                                   /* a start opens no epochs */
    struct store_shard_options roles[STORE_SHARDS]; /* copy 0: FULL, copy 1, and opened */
    struct err err;
    bool damaged;

    struct rng rng;
    char series[STORE_SERIES][64]; /* canonical */
    size_t series_len[STORE_SERIES];
    series_id ids[STORE_SERIES];
    uint32_t shards[STORE_SERIES];
    bool sent[STORE_SERIES][STORE_SLOTS], acked[STORE_SERIES][STORE_SLOTS];
    unsigned next_slot[STORE_SERIES];
    struct store_batch *batches; /* not durable yet */
    uint64_t durable[STORE_CORES];
    unsigned batches_left, failed_count;
    uint64_t accepted, noops;
};

void store_rig_init(struct store_rig *rig, uint64_t seed);
void store_rig_fini(struct store_rig *rig);
MUST_USE enum status store_rig_start(struct store_rig *rig, unsigned cores_count);
/* Until the epochs it opens are durable. */
void store_rig_must_start(struct store_rig *rig, unsigned cores_count);
/* In one shard, as replication does; its core's position. */
uint64_t store_rig_open_epoch(struct store_rig *rig, uint32_t shard, uint32_t epoch);
/* Until what that core handed to the log is durable. */
void store_rig_settle(struct store_rig *rig, unsigned core);
void store_rig_kill(struct store_rig *rig);
void store_rig_power_cut(struct store_rig *rig);
/* Batches of new, repeated and late samples from every core until so many were sent and all came
 * back. */
void store_rig_work(struct store_rig *rig, unsigned batches_count);
/* acknowledged <= there <= sent, values right, each series once; when exact, everything sent is
 * there. */
void store_rig_verify(struct store_rig *rig, bool exact);
void store_rig_heal(struct store_rig *rig); /* the model takes over what is there */
double store_rig_value(size_t series, size_t slot);
/* Bytes for a sample of the series, into out, which must not move; ptr NULL: it is of floats. */
enum { STORE_HISTOGRAM_BYTES = 64 };
struct sv store_rig_histogram(size_t series, double value, struct buf *out);
static inline bool store_rig_is_histogram(size_t series) {
    return series % 3 == 1;
}
static inline int64_t store_rig_start_ms(size_t series, size_t slot) { /* 0: none */
    return series % 3 == 2 ? STORE_START_MS - 1 - (int64_t)(slot / 3) : 0;
}
/* Writes on the core that owns all the shards. */
enum status store_rig_write(struct store_rig *rig, const struct write_columns *columns,
                            int64_t now_ms, struct write_result *out, struct err *err);
/* Until what was handed to the log came back. */
void store_rig_drain(struct store_rig *rig);
/* Samples of a series of the store; returns how many, at most max. */
size_t store_rig_read(struct store *store, series_id id, int64_t *times_ms, double *values,
                      size_t max);
