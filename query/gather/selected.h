/* SPDX-License-Identifier: Apache-2.0 */
/* query/gather/selected.h: the only place where queries and lists get at stored series: those of
 * some shards that match, in a range of time. What lies behind it (a core's head, and
 * blocks) is known here and nowhere else.
 *
 *   selected_start -> found in slices of a millisecond on the core that holds the shards -> done
 *   -> read on a worker -> selected_release on the core
 * Thread: starting, done and releasing on that core; reading by one thread at a time. */
#pragma once

#include "query/gather/gather.h"
#include "storage/archive/stored.h"

enum { SELECT_SLICE_NS = 1000000 };

struct selected {
    /* given */
    struct core *core;
    struct select_query query;        /* what it points to lives until released */
    uint32_t resolution_ms;           /* of rows that will be read; 0: samples */
    const bool *canceled;             /* set (relaxed) by any thread; looked at between slices */
    void (*done)(struct selected *s); /* once; inside selected_start when one slice was enough */
    void *ctx;
    /* outcome */
    enum status status;
    struct err err;
    size_t count; /* of series; 0 after an error */
    uint64_t spent_ns;
    /* private */
    struct msg msg;
    struct work work;
    bool begun;
    struct stored stored;
};
/* ERR_LIMIT, ERR_NOMEM or ERR_CANCELED in status. */
void selected_start(struct selected *s);
void selected_release(
    struct selected *s); /* after done, or when nothing has begun; twice is good */

/* Reading goes to the disk: not for a core. */
bool selected_reads_disk(const struct selected *s);

/* About how many samples reading all of it decodes, when it reads no disk (series_views_samples).
 */
uint64_t selected_samples(const struct selected *s, uint64_t most);

/* As in struct source_ops; indexes are below count. */
size_t selected_labels(const struct selected *s, size_t index, struct label *out, size_t max);
size_t selected_labels_asked(const struct selected *s, size_t index, struct labels_asked *asked,
                             struct label *out, size_t max);
series_id selected_id(const struct selected *s, size_t index);
MUST_USE enum status selected_read(const struct selected *s, size_t index, int64_t from_ms,
                                   int64_t to_ms, struct samples *out, struct err *err);
MUST_USE enum status selected_newest(const struct selected *s, size_t index, int64_t from_ms,
                                     int64_t to_ms, struct samples *out, struct err *err);

MUST_USE enum status selected_read_rows(const struct selected *s, size_t index,
                                        const struct block_columns *wanted,
                                        struct downsample_rows *out, struct err *err);

/* As in struct source_ops. */
void selected_ended(const struct selected *s, size_t index, struct ended *out);
MUST_USE enum status selected_read_ended(const struct selected *s, size_t index,
                                         const struct block_columns *wanted,
                                         struct downsample_rows *out, struct err *err);

/* Label names, or the values of one, over all series of some shards; sorted, unique. */
struct selected_names {
    /* given */
    struct core *core;
    struct select_query query;              /* without matchers; lives until done */
    struct sv label;                        /* values of this label; ptr NULL: names */
    struct arena *arena;                    /* what is found lies in it */
    void (*done)(struct selected_names *n); /* once; may be inside selected_names_start */
    void *ctx;
    /* outcome */
    enum status status;
    struct err err;
    struct sv *found;
    size_t count;
    /* private */
    struct work work;
    struct stored stored;
};
void selected_names_start(struct selected_names *n);
/* When done never comes: the node went in the middle of it. */
void selected_names_release(struct selected_names *n);
