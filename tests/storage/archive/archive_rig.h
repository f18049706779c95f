/* SPDX-License-Identifier: Apache-2.0 */
/* tests/storage/archive/archive_rig.h: stores, log, archive and flushers of one node on a simulated
 * runtime and a disk whose power can be cut, with a naive model: what was accepted, by series and
 * time. Writes are one by one and waited for; what was under way at a power cut may be there or
 * not, and the model takes over which. A broken promise prints itself and aborts. */
#pragma once

#include "storage/archive/flush.h"
#include "storage/archive/stored.h"
#include "tests/storage/log_rig.h"

enum { AR_CORES = 2, AR_SHARDS = 6, AR_SERIES = 18, AR_SAMPLES_MAX = 4000, AR_SECRET = 77 };
#define AR_START_MS 1767225600000
#define AR_HOUR_MS ((int64_t)3600000)

enum model_state { MODEL_NONE, MODEL_HELD, MODEL_MAYBE };
struct model_sample {
    int64_t time_ms;
    double value;
    enum model_state state;
};
struct model_series {
    char canonical[96];
    size_t canonical_len;
    series_id id;
    uint32_t shard;
    struct model_sample samples[AR_SAMPLES_MAX];
    size_t count;
};

struct archive_rig {
    uint64_t seed;
    struct rng rng;
    struct sim_disk *sd;
    struct sim *sim;
    struct runtime *rt; /* NULL: down */
    struct log *log;
    struct archive *archive;
    struct store *stores[AR_CORES];
    struct archive_core cores[AR_CORES];
    struct flusher *flushers[AR_CORES];
    uint64_t durable[AR_CORES];
    uint64_t retention_bytes;
    int64_t retention_ms, merged_ms_max;
    bool failed; /* the log has ended */
    struct err err;
    struct model_series series[AR_SERIES];
    int64_t now_ms; /* of samples */
    int64_t newest_ms[AR_SHARDS];
    uint32_t copies[AR_SHARDS]; /* as the map has them */
    struct {
        unsigned accepted, refused, deleted, restarts, power_cuts, anew, reads, from_blocks;
        uint64_t merges, log_files_removed;
    } counts;
};
void archive_rig_init(struct archive_rig *rig, uint64_t seed);
void archive_rig_fini(struct archive_rig *rig);
MUST_USE enum status archive_rig_start(struct archive_rig *rig);
void archive_rig_kill(struct archive_rig *rig);
void archive_rig_power_cut(struct archive_rig *rig);
/* False: the log has ended meanwhile. */
bool archive_rig_write(struct archive_rig *rig, size_t series, int64_t time_ms, double value);
bool archive_rig_delete(struct archive_rig *rig, const struct matcher *matchers, size_t count,
                        int64_t min_ms, int64_t max_ms);
/* The shard is dropped, and begins anew under the next copy number. False: the log has ended. */
bool archive_rig_anew(struct archive_rig *rig, uint32_t shard);
void archive_rig_run(struct archive_rig *rig, uint64_t ms);
/* All of it, bit by bit, as the model has it; what may be there is taken over. */
void archive_rig_verify(struct archive_rig *rig);
