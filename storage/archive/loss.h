/* SPDX-License-Identifier: Apache-2.0 */
/* storage/archive/loss.h: what blocks that cannot be read have of a shard is given up, since a
 * person accepts that: of those blocks the manifest does not name the shard any more. Other shards
 * that are in them still wait for another replica. Before, the file gets a second name,
 * <number>.block.lost, in the same directory, which nothing here removes; what is given up is named
 * in the log.
 *
 *   worker: second names -> change of the manifest (archive.h) -> done
 *
 * Thread: the store's core; loss_apply: the log core. */
#pragma once

#include "ring/replica/store_ops.h"
#include "storage/archive/archive.h"

MUST_USE enum status loss_start(struct store *store, struct store_loss *job, struct err *err);
/* The runtime is gone, and nobody is told. */
void losses_free(struct store *store);
/* c->losses, of c->removes. */
void loss_apply(struct archive *a, struct manifest *m, const struct archive_change *c);
