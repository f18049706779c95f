/* SPDX-License-Identifier: Apache-2.0 */
/* storage/snapshot/snapshot.h: what a node's stores have in memory, written at a clean stop, so
 * that the next start need not apply the whole log. It says of which frame of which log it is the
 * state; whatever came behind that frame is applied to it. So it is right for as long as that frame
 * is there, and one that is not removed does no harm.
 *
 *   <dir>/core-<n>   of each core, by save.c and load.c
 *   <dir>/ROOT       names them (root.c); written last, replaced as a whole
 *
 * Not in it: what the map says (roles, epochs to be opened), what blocks have, and what a process
 * knows beside its log (numbers of offers, positions). A shard's state is taken where the map has
 * it in the role and under the copy number that the log's entries would be applied under.
 *
 * Thread: at the start or the end of a process, while no loop runs; the cores' parts run side by
 * side (runtime_ops.each). */
#pragma once

#include <stdint.h>

#include "node/runtime/core.h"
#include "storage/log.h"
#include "storage/store.h"

struct snapshot_place {
    struct runtime *rt;
    const char *dir;
    uint8_t cluster[16];
    uint32_t shards_count;
};

struct snapshot_told {
    uint32_t shards;
    uint64_t series, samples, bytes;
};

struct snapshot_save {
    struct store *const *stores; /* of all cores */
    unsigned stores_count;
    struct log_end end; /* of the log: all that the stores have is in it (log_get_end) */
    /* Asked now and then, by any of the cores: false ends it with ERR_CANCELED. NULL: goes on. */
    bool (*goes_on)(void *ctx);
    void *ctx;
};
/* Durable when it returns OK. What was there before is gone, whatever comes. ERR_CONFLICT: there is
 * no state to be saved: a shard is damaged, or something is not in the log. */
MUST_USE enum status snapshot_save(const struct snapshot_place *at, const struct snapshot_save *s,
                                   struct snapshot_told *out, struct err *err);

struct snapshot_load {
    struct store *const *stores; /* fresh, their shards open; as many as there are now */
    unsigned stores_count;
    const char *log_dir;
};
/* *out_end: what to begin the log behind. ERR_UNAVAILABLE: there is none. Else: it is not used, and
 * why; with *out_spoiled the stores have a part of it, and are good for nothing. */
MUST_USE enum status snapshot_load(const struct snapshot_place *at, const struct snapshot_load *l,
                                   struct log_end *out_end, struct snapshot_told *out,
                                   bool *out_spoiled, struct err *err);
/* Its files, those of one that was not finished too. */
MUST_USE enum status snapshot_remove(const struct snapshot_place *at, struct err *err);
