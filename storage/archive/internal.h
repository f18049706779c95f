/* SPDX-License-Identifier: Apache-2.0 */
/* storage/archive/internal.h: what archive.c, open.c and merge.c share. Only these include it. */
#pragma once

#include "storage/archive/archive.h"
#include "storage/archive/filter.h"
#include "storage/archive/plan.h"
#include "storage/archive/scrub.h"
#include "storage/block/block.h"

enum archive_state {
    ARCHIVE_IDLE,
    ARCHIVE_SAVING,
    ARCHIVE_INSTALLING,
    ARCHIVE_CLEANING,
    ARCHIVE_HELD
};

struct merge { /* one at a time, beside the rounds */
    struct work work;
    struct archive *archive;
    bool running;
    bool cleans;   /* it is a clean's */
    bool sweeps;   /* of one block, of which retention by matcher may have something to take out */
    bool is_swept; /* it had not */
    bool canceled; /* read by the worker */
    struct merge_plan plan;
    struct block_list *list;  /* the inputs' */
    struct manifest manifest; /* as it was: tombstones and floors of the shards */
    struct list_block added;  /* the outcome; block NULL: nothing is left */
    bool written, has_histograms;
    bool voided; /* what it has read does not count any more */
    enum status status;
    struct err err;
    struct archive_change change;
};

struct archive_files { /* names in the directory, sorted, as they were before the start */
    char **names;
    uint32_t count, cap;
};

struct archive {
    struct runtime *rt;
    struct archive_options options;
    char *dir;                  /* owned */
    struct archive_files files; /* until archive_adopt */
    struct log *log;
    enum archive_state state;
    bool started, stopping;
    struct timer timer;
    struct archive_core **cores; /* rt->cores_count */
    struct manifest manifest, next;
    struct block_list *list;   /* of manifest */
    struct block_list *before; /* until cleaned */
    struct block **obsolete;   /* whose files go when nobody reads them any more */
    uint32_t obsolete_count, obsolete_cap;
    struct block_list *saved; /* of next */
    struct list_node waiting; /* changes */
    struct list_node current; /* those of the round */
    struct list_node holds;   /* that wait */
    struct list_node cleans;  /* the first is under way */
    struct list_node tells;   /* under way */
    struct work work;         /* SAVING, CLEANING */
    enum status status;
    struct err err;
    unsigned installs_open;
    uint64_t log_floor, log_bytes_removed;
    uint32_t *own;              /* by shard: the copy that a core has; 0: none here */
    struct archive_change drop; /* of shards that are not here any more */
    bool dropping;
    struct manifest_part *drops;
    struct merge merge;
    struct sweep *sweeps; /* blocks that were looked at */
    uint32_t sweeps_count, sweeps_cap;
    struct scrub *scrub;
    uint64_t merge_not_before_ns;
    void (*stopped)(void *ctx);
    void *stopped_ctx;
    uint64_t adopted_from; /* blocks from that number on were taken up at this start */
    atomic_uint_least64_t next_number;
    atomic_int_least64_t size_floor_ms;
    atomic_uint_least64_t blocks_count, blocks_bytes, rows_blocks, rows_bytes, merges,
        merges_failed, log_files_removed;
    atomic_uint bad_blocks;
};

/* archive.c */
void archive_round(struct archive *a); /* when something waits, or at the timer */
void archive_stopped_check(struct archive *a);
/* A block that c adds. passed: one bit for each shard whose parts do not count anyhow; NULL. */
MUST_USE enum status archive_change_block(struct manifest *m, const struct archive_change *c,
                                          const struct manifest_block *from,
                                          const uint64_t *passed);
void archive_count(struct archive *a); /* what archive_get_stats tells */

void archive_files_fini(struct archive_files *f); /* open.c */
/* open.c: the path of a name in the directory: heap memory; NULL: no memory. */
char *archive_file_path(const struct archive *a, const char *name) MUST_USE;
/* open.c: the list anew, from the manifest. Start-up. */
MUST_USE enum status archive_reopen(struct archive *a, struct err *err);
/* adopt.c: imported blocks that the manifest names get their names. Start-up. */
MUST_USE enum status archive_adopt_finish(struct archive *a, struct err *err);
/* clean.c: memory, when the runtime is gone. */
void archive_tells_free(struct archive *a);
/* The next block that the first of the cleans wants written anew; false: none does. */
bool archive_clean_plan(struct archive *a, struct merge_plan *out);
void archive_clean_fail(struct archive *a, enum status status, const char *why); /* all of them */

/* sweep.c. The next block that is to be looked at; false: none is. */
bool archive_sweep_plan(struct archive *a, struct merge_plan *out);
/* On the worker: whether m's block has anything to take out. */
enum status archive_sweep_probe(struct merge *m, bool *out_has) MUST_USE;
void archive_sweep_mark(struct archive *a, const struct merge *m); /* it has been looked at */

/* merge_rows.c. The rows that are to be made or merged next; count 0: none. */
void archive_rows_plan(struct archive *a, const struct plan_options *options,
                       struct merge_plan *out);
/* On the worker: writes what m's plan says of rows. */
enum status archive_rows_write(struct merge *m, struct block_merge_options *o,
                               struct archive_filter *filter) MUST_USE;
/* The same: which range and which shards the block speaks for. ERR_NOMEM. */
enum status archive_rows_parts(struct merge *m) MUST_USE;
/* Samples that the block has rows of may be gone. */
bool archive_rows_are_all(const struct archive *a, uint64_t number);
uint32_t archive_rows_bad(const struct archive *a, uint64_t *out_numbers, uint32_t max);
/* Samples with these times, both inclusive, come or change: rows that m has of them do not count
 * any more, nor what a merge under way makes of them. They are made anew. */
void archive_rows_forget(struct archive *a, struct manifest *m, int64_t min_ms, int64_t max_ms);

/* merge.c: on the log core, after a round. */
void archive_merge_next(struct archive *a);
bool archive_plan_is_readable(const struct archive *a, const struct merge_plan *plan);
void archive_merge_free(struct merge *m);
