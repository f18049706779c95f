/* SPDX-License-Identifier: Apache-2.0 */
/* storage/archive/exemplars.h: exemplars of blocks: into the stores at a start, and how many a
 * merged block keeps. Both read the disk: start-up, a worker. */
#pragma once

#include "storage/archive/archive.h"

/* Fills the store with the newest exemplars that its shards have in blocks, up to its bound. After
 * store_shard_base, before the log is recovered, on the store's core. from_head: it has those that
 * a head snapshot had, and only those of blocks that were taken up at this start are added. What
 * cannot be read is logged and passed over: exemplars are best effort. ERR_NOMEM. */
MUST_USE enum status archive_fill_exemplars(const struct archive *a, struct store *store,
                                            bool from_head, struct err *err);

/* From when on the exemplars of these inputs together are no more than max: all, INT64_MIN. */
MUST_USE enum status archive_exemplars_from(const struct block_merge_input *inputs, size_t count,
                                            uint32_t shards_count, uint32_t max, int64_t *out_ms,
                                            struct err *err);
