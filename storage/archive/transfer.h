/* SPDX-License-Identifier: Apache-2.0 */
/* storage/archive/transfer.h: shards as a whole from one node to another, where the log of the
 * giver begins at a base: what its blocks have of them, block by block, and a record of each. The
 * taker has what the giver had when it began; the log from the base on goes the usual way.
 * Implements the exports and imports of ring/replica/store_ops.h.
 *
 *   giver: a piece is read by a worker, given on the core, the next one when it is resumed. What
 * the log has from the bases on stays there until done. taker: pieces are written by a worker;
 * blocks are verified as a whole; with the last piece one change of the manifest makes them count.
 *
 * Rows go along only where samples have ended (storage/ended.h), for there samples may have gone;
 * of the rest the taker makes its own.
 *
 * A piece: u8 version (1), u8 kind, and
 *   1 BLOCK  varint bytes of the file     2 BYTES  the next bytes of it
 *   3 SHARD  a record (manifest_shard_put) 4 END
 * or, where something has ended, with version 2:
 *   3 SHARD  a record as of version 2     5 ROWS   varint bytes of the file, varint resolution ms,
 *            zigzag from ms, zigzag to ms, u8 flags (1: their windows may have histograms),
 *            varint count { varint shard, varint hours up to which its samples have ended };
 *            BYTES follow
 * So whoever knows version 1 only refuses what it could not keep.
 * Thread: the core; memory is freed with the store. */
#pragma once

#include "ring/replica/store_ops.h"
#include "storage/store.h"

enum { TRANSFER_VERSION = 1, TRANSFER_VERSION_ENDED = 2, TRANSFER_HISTOGRAMS = 1 };
enum transfer_kind {
    TRANSFER_BLOCK = 1,
    TRANSFER_BYTES = 2,
    TRANSFER_SHARD = 3,
    TRANSFER_END = 4,
    TRANSFER_ROWS = 5
};

MUST_USE enum status export_start(struct store *store, struct store_export *job, struct err *err);
void export_resume(struct store *store, struct store_export *job);
/* The runtime is gone, and nobody is told. */
void exports_free(struct store *store);
/* The oldest file of the log that an export keeps; UINT64_MAX: none. */
uint64_t exports_floor(const struct store *store);

MUST_USE enum status import_start(struct store *store, struct store_import *job, struct err *err);
void import_piece(struct store *store, struct store_import *job, struct sv bytes);
void import_stop(struct store *store, struct store_import *job);
void imports_free(struct store *store);
