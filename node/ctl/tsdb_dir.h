/* SPDX-License-Identifier: Apache-2.0 */
/* node/ctl/tsdb_dir.h: a node's data directory (or a snapshot of one) for the `tsdb` verbs. Nothing
 * in it is changed. Blocks alone are read without a lock, beside a node that runs: what its merges
 * take away meanwhile is looked up anew. With the log the directory's lock is taken, so that no
 * node runs on it; where there is no file `lock`, as in a snapshot, none has ever.
 * Memory: what block_open keeps of each block; with the log besides the head that a node would have
 * after a start. Thread: the one of the program. */
#pragma once

#include "node/base/buf.h"
#include "node/runtime/loop.h"
#include "ring/seat.h"
#include "storage/archive/block_list.h"
#include "storage/log.h"
#include "storage/store.h"

struct tsdb_dir {
    const char *path; /* given; borrowed */
    struct disk *disk;
    struct file *lock;
    struct ring_map *map;
    struct seat seat;
    struct manifest manifest; /* with what `cairnctl import` left, under numbers to come */
    /* In the order of times; of each its path. A block that is bad, or a part of it that is of no
     * replica here, does not count. */
    struct block_list *blocks;
    /* with the log */
    struct runtime *rt;
    struct store *store;
    struct log_look look;
    uint32_t tails;    /* shards of which only a tail of the log is here */
    bool torn;         /* the log ends in bytes that a crash left */
    uint64_t damages;  /* of the log */
    struct err damage; /* the first */
    void (*log_bad)(void *ctx, bool torn, const struct err *what); /* private */
    void *log_bad_ctx;                                             /* private */
};
struct tsdb_dir_options {
    const char *path;
    bool with_log;
    /* Told of what is bad in the log; may be NULL. */
    void (*log_bad)(void *ctx, bool torn, const struct err *what);
    void *ctx;
};
MUST_USE enum status tsdb_dir_open(const struct tsdb_dir_options *options, struct tsdb_dir *out,
                                   struct err *err);
void tsdb_dir_close(struct tsdb_dir *dir); /* after a failure too */

/* Samples of the series that match, series by series in the order of shards; each in pieces that
 * ascend in time and are not empty. With the log only. */
struct tsdb_query {
    const struct matcher *matchers;
    size_t matchers_count;
    int64_t min_ms, max_ms; /* both inclusive */
    enum status (*piece)(void *ctx, const struct label *labels, size_t labels_count,
                         const struct samples *samples, struct err *err);
    void *ctx;
};
MUST_USE enum status tsdb_dir_each(struct tsdb_dir *dir, const struct tsdb_query *query,
                                   struct err *err);

/* As Go prints a time.Duration; both inclusive. */
void tsdb_put_span(struct buf *out, int64_t min_ms, int64_t max_ms);
