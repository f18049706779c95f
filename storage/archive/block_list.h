/* SPDX-License-Identifier: Apache-2.0 */
/* storage/archive/block_list.h: the blocks that count at one moment, as each core has it for
 * reading. Immutable and refcounted; any thread. */
#pragma once

#include "storage/archive/manifest.h"
#include "storage/block/block.h"

struct list_block {
    struct manifest_block of; /* owned */
    struct block *block;      /* a reference; NULL: its file is missing or bad, as `why` says: */
    struct err why;           /* what it holds must not be answered for */
    /* A reference: it was opened before it was found to be bad, and its directory is in memory.
     * Only that may be asked. */
    struct block *was;
};
struct block_list {
    unsigned refs; /* node/base/refs.h */
    uint32_t count;
    struct list_block blocks[];
};
/* Of all blocks of the manifest. Those in `before` (may be NULL) are taken from there, the others
 * from `added`: references are taken. NULL: no memory. */
struct block_list *block_list_new(const struct manifest *m, const struct block_list *before,
                                  const struct list_block *added, uint32_t added_count) MUST_USE;
struct block_list *block_list_ref(struct block_list *list);
void block_list_unref(struct block_list *list); /* NULL too */
/* What the block has of the shard under that copy number. */
bool list_block_has(const struct list_block *b, uint32_t shard, uint32_t copy);
/* How much it has of the shard; of a bad block, what it said before. false: no samples, or a bad
 * one of which nothing is known. */
bool list_block_shard(const struct list_block *b, uint32_t shard, struct block_shard *out);
