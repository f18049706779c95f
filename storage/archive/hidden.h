/* SPDX-License-Identifier: Apache-2.0 */
/* storage/archive/hidden.h: how many samples of a block's shard were deleted, and their digest:
 * what the block says of itself without that is the digest of what can be seen. It is equal on all
 * replicas that know of the same deletions, whichever of them have cleaned their blocks yet.
 *
 * A worker reads the series that deletions match, of the times they are about; one shard at a time,
 * of those that were asked for. What it found is kept while the block and what was deleted of its
 * times stay the same: 48 bytes a block and shard with deletions.
 *
 * Thread: the store's core. */
#pragma once

#include "storage/archive/block_list.h"
#include "storage/store.h"

struct hidden_sum {
    uint64_t samples;
    struct block_digest digest;
};
enum hidden_answer {
    HIDDEN_NOTHING, /* nothing of its times was deleted */
    HIDDEN_KNOWN,   /* *out */
    HIDDEN_LATER    /* it will be looked at: ask again */
};
/* in: what b, which can be read, has of the shard. a: of now. */
enum hidden_answer hidden_ask(struct store *store, const struct list_block *b, uint32_t shard,
                              const struct block_shard *in, const struct store_archived *a,
                              struct hidden_sum *out);
/* What the deletion is about, as one number: equal for equal matchers. */
struct block_digest hidden_rule(const struct tombstone *t);
struct hidden;
void hidden_free(struct hidden *hidden); /* with the store; NULL too */
