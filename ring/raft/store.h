/* SPDX-License-Identifier: Apache-2.0 */
/* ring/raft/store.h: the durable state of a consensus core, in one directory. Blocks: one owner, on
 * a thread that may.
 *
 * Files, little-endian, each begun by 8 bytes magic, u16 format version, u16 oldest reader's
 * version, u32 0:
 *   meta      "CAIRNRFM"; u64 term, u64 vote; XXH3-64 of all before. Replaced as one (tmp, sync,
 *             rename, sync of the directory).
 *   snapshot  "CAIRNRFS"; u64 index, u64 term, u32 length of members, members (raft_members_put),
 *             u32 length, bytes; XXH3-64 of all before. Replaced as one. Missing: nothing yet.
 *   log       "CAIRNRFL"; u64 index and u64 term of the snapshot it follows; XXH3-64 of all before;
 *             then records
 *     00-03 magic 0x52464152 "RAFR"     04-07 length of the bytes
 *     08-15 record number, from 1 in each file without gaps
 *     16-23 term                        24-31 index
 *     32    type: enum raft_entry_type; 255 = truncate: entries from index on are gone
 *     33-39 0
 *     40-47 XXH3-64 of bytes 00-39 and of the bytes, seeded with the log header's checksum
 *     48-   bytes
 * A save writes its records with one pwrite and one fdatasync before the next save writes any, so
 * only the end of the log can be torn. A record that is bad with a good one behind it in the order
 * of numbers is ERR_CORRUPT with file and offset: the node must not start. Records of one save may
 * be torn in any order, so those of the last save carry bit 7 of byte 33 but for its first: a good
 * record with that bit does not prove anything about what is before it in the same save.
 *
 * A snapshot is written first, then a new log (tmp, sync, rename) that follows it. When power was
 * lost between the two, the log follows an older snapshot: what it has behind the new one stays if
 * it holds the entry the snapshot ends with, else all of it goes. Each open writes the log anew,
 * as reading back after a failed sync may show what the disk does not have
 * (https://lwn.net/Articles/752063/). */
#pragma once

#include "node/runtime/disk.h"
#include "ring/raft/raft.h"

struct raft_store;
/* dir is made when missing. *out_state is borrowed from the store until the first save. ERR_CORRUPT
 * names file and offset; ERR_UNSUPPORTED: written by a newer version. */
MUST_USE enum status raft_store_open(struct disk *disk, const char *dir, struct raft_store **out,
                                     struct raft_state *out_state, struct err *err);
/* All of the batch is durable when it returns OK. After an error the store is closed for good:
 * this and every later save gets it. */
MUST_USE enum status raft_store_save(struct raft_store *store, const struct raft_batch *batch,
                                     struct err *err);
uint64_t raft_store_log_bytes(const struct raft_store *store);
void raft_store_close(struct raft_store *store); /* accepts NULL */
