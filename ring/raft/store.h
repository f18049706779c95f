/* SPDX-License-Identifier: Apache-2.0 */
/* ring/raft/store.h: the durable state of a consensus core, in one directory. Blocks: one owner, on
 * a thread that may (the log core).
 *
 * Files, little-endian. Each begins with 8 bytes magic, u16 format version (1), u16 oldest reader's
 * version (1), u32 0.
 *   meta      "CAIRNRFM"; u64 term, u64 vote; XXH3-64 of all before.
 *   snapshot  "CAIRNRFS"; u64 index, u64 term, u32 length of members, members (raft_members_put),
 *             u32 length, bytes; XXH3-64 of all before. Missing: nothing yet.
 *   log       "CAIRNRFL"; u64 index and u64 term of the snapshot it follows; XXH3-64 of all before
 *             (40 bytes so far); then frames, one for each saved batch
 *     00-03 magic 0x52464152 "RAFR"     04-07 length of the payload
 *     08-15 frame number, from 1 in each file, without gaps
 *     16-23 XXH3-64 of the payload, seeded with the XXH3-64 of bytes 00-15
 *     24-   payload: records of u64 term, u64 index, u8 type, u32 length, bytes. Type: enum
 *           raft_entry_type, or 255: entries from index on are gone (term and length 0)
 * meta and snapshot are replaced as one (tmp, sync, rename, sync of the directory), and so is the
 * log with each snapshot and at each open; otherwise it is appended to and synced, one frame at a
 * time, the next not before this one's sync returned. So only the last frame can be torn: it is
 * left out, and a bad frame with a good one behind it is corruption, for which the node must not
 * start: it may have voted and acknowledged by what is lost.
 *
 * Order in a save: meta, snapshot, log. When power was lost after the snapshot, the log follows an
 * older one: what it has behind the new one stays if it holds the entry with which that ends, else
 * all of it goes. Each open writes the log anew, since reading back after a failed sync may show
 * what the disk does not have (https://lwn.net/Articles/752063/). */
#pragma once

#include "node/runtime/disk.h"
#include "ring/raft/raft.h"

struct raft_store;
/* dir is made when missing; one process at a time (its owner holds the data directory's lock).
 * *out_state is borrowed from the store until the first save. ERR_CORRUPT names file and offset;
 * ERR_UNSUPPORTED: written by a newer version. */
MUST_USE enum status raft_store_open(struct disk *disk, const char *dir, struct raft_store **out,
                                     struct raft_state *out_state, struct err *err);
/* All of the batch is durable when it returns OK. There was no room for it (raft_store_is_full of
 * the error): the same batch may be saved again, and must be before any other. After another error
 * the store is closed for good: every later save gives it again, and what of the batch is on disk
 * is unknown. */
MUST_USE enum status raft_store_save(struct raft_store *store, const struct raft_batch *batch,
                                     struct err *err);
bool raft_store_is_full(const struct raft_store *store, const struct err *err);
uint64_t raft_store_log_bytes(const struct raft_store *store);
void raft_store_close(struct raft_store *store); /* accepts NULL */

/* The decoders of the three files, which are what a fuzzer feeds. `name` is for errors. Entries and
 * members are owned by *state, bytes point into the file; free with raft_store_state_fini. */
MUST_USE enum status raft_store_meta_get(struct sv file, const char *name, struct raft_state *state,
                                         struct err *err);
MUST_USE enum status raft_store_snapshot_get(struct sv file, const char *name,
                                             struct raft_state *state, struct err *err);
/* After the snapshot. *out_torn_bytes: how many at the end were left out. */
MUST_USE enum status raft_store_log_get(struct sv file, const char *name, struct raft_state *state,
                                        uint64_t *out_torn_bytes, struct err *err);
void raft_store_state_fini(struct raft_state *state);
