/* SPDX-License-Identifier: Apache-2.0 */
/* storage/archive/digest.h: what a core's blocks have of a shard, as (range, digest): has_bad and
 * ranges of ring/replica/store_ops.h. By what the blocks say of themselves, without what was
 * deleted (hidden.h), which a worker counts first: RANGE_UNKNOWN until then. No disk here. What is
 * bad has the range of its whole block. Thread: the core. */
#pragma once

#include "ring/replica/store_ops.h"
#include "storage/store.h"

bool digest_has_bad(const struct store *store);
MUST_USE enum status digest_ranges(struct store *store, uint32_t shard, struct shard_ranges *out,
                                   struct err *err);
