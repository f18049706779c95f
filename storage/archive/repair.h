/* SPDX-License-Identifier: Apache-2.0 */
/* storage/archive/repair.h: what blocks have of some shards in some times is replaced by what
 * another replica had, in one change of the manifest (rows of these times go, but where samples
 * have ended, of which the others' rows come along): until then all stays as it was, and a bad
 * block stays bad. Where only what is bad is replaced, a sample may then be there twice: the same.
 * Who is right: a bad range is always taken from a replica that can read it. Where two can be read
 * and differ, the primary's counts (ring/replica/sync.h). A shard is refused (stays) when it is not
 * here any more under that copy number, when the times are not all closed, or when a block has it
 * in and out of them: it was merged meanwhile. A merge under way of what is replaced is thrown
 * away. Thread: the log core. */
#pragma once

#include "storage/archive/internal.h"

/* Nothing of the shard counts in the block any more, which goes with its last part. */
void repair_part_remove(struct archive *a, struct manifest *m, struct manifest_block *b,
                        const struct manifest_part *of);
MUST_USE enum status repair_apply(struct archive *a, struct manifest *m, struct archive_change *c);
