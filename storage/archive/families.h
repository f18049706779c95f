/* SPDX-License-Identifier: Apache-2.0 */
/* storage/archive/families.h: what another program knows of metric families, on its way into a
 * node: import-<name>.families beside the node's blocks, which adopt.c takes up at a start. Its
 * bytes are those of a manifest (manifest.c) without blocks, of whose shards only the number and
 * the families are said. Start-up, or another program: both block on the disk. */
#pragma once

#include "node/runtime/disk.h"
#include "storage/archive/manifest.h"
#include "storage/metadata.h"

#define FAMILIES_SUFFIX ".families"

/* Durable, under its name. */
MUST_USE enum status families_write(struct disk *disk, const char *path, const struct metadata *m,
                                    uint32_t shards_count, struct err *err);
struct families_place { /* where a name belongs */
    uint64_t secret;
    uint32_t tenant, shards_count;
};
/* *out: owned by the caller. ERR_CORRUPT: also a family that is not of its shard. */
MUST_USE enum status families_read(struct disk *disk, const char *path,
                                   const struct families_place *place, struct manifest *out,
                                   struct err *err);
/* To the shard's own come those of the other, older than what it knows. */
MUST_USE enum status families_merge(struct manifest_shard *shard,
                                    const struct manifest_shard *other, struct err *err);
