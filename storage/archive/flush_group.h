/* SPDX-License-Identifier: Apache-2.0 */
/* storage/archive/flush_group.h: the series of some shards, in the order of a block. On a worker.
 */
#pragma once

#include "storage/block/block.h"

struct flush_shard { /* closed: from_ms <= t < to_ms */
    uint32_t shard, copy;
    int64_t from_ms, to_ms;
};
struct flush_item;
struct flush_group {
    const struct series_view *views; /* of a live selection */
    size_t views_count;
    const struct flush_shard *shards; /* ascending */
    uint32_t shards_count;
    const bool *canceled;
    /* private, reused from group to group */
    struct flush_item *items;
    size_t items_cap;
    struct buf canonical;
    struct label *labels;
    size_t labels_cap;
    struct samples samples;
};
MUST_USE enum status flush_group_write(struct flush_group *g, struct block_writer *w,
                                       struct err *err);
void flush_group_fini(struct flush_group *g); /* memory; it can be used again */
