/* SPDX-License-Identifier: Apache-2.0 */
/* tests/storage/archive/archive_rig.h: stores, log, archive and flushers of one node on a simulated
 * runtime and a disk whose power can be cut, with a naive model: what was accepted, by series and
 * time. Writes are one by one and waited for; what was under way at a power cut may be there or
 * not, and the model takes over which. A broken promise prints itself and aborts.
 *   archive_rig.c: its life   rig_data.c: the model   rig_harm.c: files that go bad
 *   rig_retention.c: what ends by the rules of retention   rig_rows.c: rows of samples
 *   rig_ended.c: rows that stay when their samples have ended */
#pragma once

#include "storage/archive/flush.h"
#include "storage/archive/stored.h"
#include "storage/snapshot/snapshot.h"
#include "tests/storage/block/fault_disk.h"
#include "tests/storage/log_rig.h"

enum { AR_CORES = 2, AR_SHARDS = 6, AR_SERIES = 18, AR_SAMPLES_MAX = 700, AR_SECRET = 77 };
#define AR_START_MS 1767225600000
#define AR_HOUR_MS ((int64_t)3600000)

struct model_value {
    double value;     /* of a histogram: its sum, all there is of it */
    int64_t start_ms; /* 0: none */
    bool is_histogram;
};
enum model_state { MODEL_NONE, MODEL_HELD, MODEL_MAYBE };
struct model_sample {
    int64_t time_ms;
    struct model_value now, before; /* before: what was at that time, and went */
    enum model_state state;
    uint64_t file; /* of the log, that has the last word on it, or one behind */
};
struct model_series {
    char canonical[96];
    size_t canonical_len;
    series_id id;
    uint32_t shard;
    struct model_sample samples[AR_SAMPLES_MAX];
    size_t count;
};
struct archive_model {
    struct model_series series[AR_SERIES];
    int64_t newest_ms[AR_SHARDS];
    uint32_t copies[AR_SHARDS]; /* as the map has them */
};

/* What a file that went bad may cost. */
struct harm_allowed {
    char name[64];      /* of the file: errors name it */
    bool is_log;        /* errors name a file of the log */
    bool refused;       /* there is no start without it */
    uint64_t lost_from; /* what the log from that file on says may be gone; UINT64_MAX: nothing */
    uint64_t shards;    /* bits: of those reading may be an error */
};

struct archive_rig {
    uint64_t seed;
    struct rng rng;
    struct sim_disk *sd;
    struct fault_disk disk; /* over it: reads that fail, a file that cannot be opened */
    struct sim *sim;
    uint64_t full_until_ms; /* while the disk is full: of virtual time */
    const char *dir;        /* the data directory: AR_DIR, or a snapshot of it */
    struct runtime *rt;     /* NULL: down */
    struct log *log;
    struct archive *archive;
    struct store *stores[AR_CORES];
    struct archive_core cores[AR_CORES];
    struct flusher *flushers[AR_CORES];
    uint64_t durable[AR_CORES];
    uint64_t retention_bytes, scrub_ms;
    int64_t retention_ms, merged_ms_max;
    struct retention *retention; /* NULL: retention_ms alone */
    int64_t keeps_ms[AR_SERIES]; /* what it says of each, as the model sees it; 0: for ever */
    struct plan_level levels[PLAN_LEVELS]; /* of downsampling */
    bool is_settled;                       /* what is due was deleted: nothing more is there */
    bool floats_only;                      /* no histograms */
    bool failed;                           /* the log has ended */
    const struct harm_allowed *harmed;     /* NULL: no file is bad */
    bool hole;        /* the log has one for good: shards that it harms begin anew at a start */
    bool log_damaged; /* as log_open told, log_err with it */
    struct err log_err;
    struct log_end loaded; /* from a head snapshot; frame 0: from the log alone */
    char head_dir[128];
    struct err err;
    struct archive_model model;
    int64_t now_ms; /* of samples */
    int64_t cut_ms[AR_SHARDS], from_ms[AR_SHARDS];
    struct {
        unsigned accepted, histograms, starts, late, held, refused, deleted, cuts, flushes, floors,
            restarts, power_cuts, anew, reads, from_blocks, ruled, ended, ended_blocks, tombstones,
            loaded, rows, rows_blocks, rows_reads, buckets, ended_rows, ended_looks, raw_gone;
        uint64_t merges, log_files_removed;
    } counts;
};
#define AR_DIR "data"
void archive_rig_init(struct archive_rig *rig, uint64_t seed);
void archive_rig_fini(struct archive_rig *rig);
/* An error names a file. */
MUST_USE enum status archive_rig_start(struct archive_rig *rig);
/* As a clean stop does, where nothing is on its way to the log. */
void archive_rig_save(struct archive_rig *rig);
void archive_rig_kill(struct archive_rig *rig);
void archive_rig_power_cut(struct archive_rig *rig);
struct store *archive_rig_store(struct archive_rig *rig, uint32_t shard);
uint64_t archive_rig_log_file(struct archive_rig *rig);
/* The shard is dropped, and begins anew under the next copy number. False: the log has ended. */
bool archive_rig_anew(struct archive_rig *rig, uint32_t shard);
void archive_rig_step(struct archive_rig *rig); /* one event */
void archive_rig_run(struct archive_rig *rig, uint64_t ms);
bool archive_rig_wait_durable(struct archive_rig *rig, unsigned core, uint64_t position);

/* rig_data.c. False: the log has ended meanwhile. */
bool archive_rig_put(struct archive_rig *rig, size_t series, int64_t time_ms,
                     const struct model_value *value);
bool archive_rig_write(struct archive_rig *rig, size_t series, int64_t time_ms, double value);
bool archive_rig_delete(struct archive_rig *rig, const struct matcher *matchers, size_t count,
                        int64_t min_ms, int64_t max_ms);
void archive_model_init(struct archive_model *model);
void archive_model_forget(struct archive_model *model, uint32_t shard);
/* All of it, bit by bit, as the model has it; what may be there is taken over. */
void archive_rig_verify(struct archive_rig *rig);
/* The same, where reading may fail: says so, with the error that names a file. A wrong answer
 * aborts. While the rig is harmed the model stays as it is. */
MUST_USE enum status archive_rig_check(struct archive_rig *rig, uint64_t shards, struct err *err);

/* rig_retention.c: in general and by rules of which the first that matches counts, as chance has
 * it. */
void archive_rig_choose_retention(struct archive_rig *rig);
/* Samples of the series before that time may be gone. Once all is settled (checked) nothing is
 * there up to the last multiple of the block range before it. */
int64_t archive_rig_retention(struct archive_rig *rig, size_t series, const struct samples *got,
                              const struct store_archived *a);
/* Settled: the samples have gone, no more tombstones are kept than the rules and these need, and in
 * the end the bytes have gone. */
void archive_rig_settle_retention(struct archive_rig *rig, uint64_t deletes_by_hand);

/* rig_rows.c: of half of the rigs samples are downsampled; what has been made is used also when the
 * policy changes. */
void archive_rig_choose_levels(struct archive_rig *rig);
/* Rows of all series of these shards of the store, in some range. Reading may fail, as in
 * archive_rig_check. */
MUST_USE enum status archive_rig_check_rows(struct archive_rig *rig, struct store *store,
                                            const struct shard_set *shards, struct err *err);

/* rig_ended.c: where samples are downsampled they end sooner in some rigs; the node is down. */
void archive_rig_choose_ended(struct archive_rig *rig);
/* Whether that deletion, made when so much had ended, takes the sample. */
bool archive_rig_is_deleted(const struct ended *ended, int64_t time_ms, int64_t min_ms,
                            int64_t max_ms);
/* Of what is visible at that time; 0: samples. */
int64_t archive_rig_resolution(const struct ended *ended, int64_t time_ms);
/* Checks what has ended, and tells how many of got that are. Samples before floor_ms may be gone.
 * s is sorted. */
size_t archive_rig_check_ended(struct archive_rig *rig, const struct model_series *s,
                               const struct samples *got, const struct store_archived *a,
                               int64_t floor_ms);
/* The samples that were in a range; false: it is not known for sure. */
bool archive_rig_window(const struct archive_rig *rig, const struct model_series *s,
                        const int64_t range_ms[2], int64_t floor_ms, struct samples *out);
