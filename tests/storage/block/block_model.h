/* SPDX-License-Identifier: Apache-2.0 */
/* tests/storage/block/block_model.h: series in plain arrays, to be compared with blocks that hold
 * them. A mismatch prints itself with the seed and aborts. */
#pragma once

#include "node/base/rng.h"
#include "storage/block/block.h"
#include "storage/histogram.h"
#include "tests/sim/sim.h"

enum { MODEL_SECRET = 0x5eed, MODEL_TENANT = 3, MODEL_LABELS_MAX = 16 };

extern uint64_t model_seed; /* printed with a failure */
#define CHECK(cond, ...)                                                                           \
    do {                                                                                           \
        if (!(cond)) model_fail(__FILE__, __LINE__, #cond, __VA_ARGS__);                           \
    } while (0)
NORETURN PRINTF_LIKE(4, 5) void model_fail(const char *file, int line, const char *cond,
                                           const char *fmt, ...);

struct model_series {
    struct buf canonical;
    struct label labels[MODEL_LABELS_MAX]; /* views of canonical */
    size_t labels_count;
    series_id id;
    uint32_t shard;
    struct samples samples;
};

struct model {
    uint32_t shards_count;
    struct model_series *at; /* by shard, then canonical bytes */
    size_t count;
};

struct model_options {
    size_t series_count; /* at most: label sets that come twice count once */
    size_t samples_max;  /* of a series */
    uint32_t shards_count;
    unsigned label_values; /* of an odd label: many sets */
};
void model_make(struct model *m, struct rng *rng, const struct model_options *options);
void model_free(struct model *m);
/* The same series, each with some of the samples; some samples have other values. */
void model_make_part(struct model *part, const struct model *whole, struct rng *rng);

struct block_writer_options model_writer_options(const struct model *m, struct disk *disk,
                                                 const char *path);
MUST_USE enum status model_write(const struct model *m, const struct block_writer_options *options,
                                 bool *out_written, struct err *err);
MUST_USE enum status model_open(struct disk *disk, const char *path, struct block **out,
                                struct err *err);

/* Reads all there is: OK when it is the model's, an error when the block gives one; anything else
 * fails. */
MUST_USE enum status model_compare(const struct model *m, struct block *b, struct err *err);
/* One selection with matchers, shards and times by rng, against a walk over the model. */
void model_check_select(const struct model *m, struct block *b, struct rng *rng);
/* Samples of one series with from < t <= to, bit by bit. */
bool samples_equal(const struct samples *all, int64_t from_ms, int64_t to_ms,
                   const struct samples *got);
void samples_put(struct samples *s, int64_t time_ms, double value, int64_t start_ms);
void samples_put_histogram(struct samples *s, int64_t time_ms, struct histogram *h); /* borrowed */
/* The i-th of another, whose histogram is borrowed; `value` instead of a float's. */
void samples_put_from(struct samples *s, const struct samples *from, size_t i, double value);
