/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

#include "ring/raft/store.h"

enum {
    STORE_FORMAT = 1,
    STORE_HEAD_BYTES = 16,
    STORE_META_BYTES = STORE_HEAD_BYTES + 24,
    STORE_LOG_HEAD_BYTES = STORE_HEAD_BYTES + 24,
    STORE_FRAME_MAGIC = 0x52464152,
    STORE_FRAME_HEAD_BYTES = 24,
    STORE_RECORD_HEAD_BYTES = 21,
    STORE_TRUNCATE = 255,
    STORE_FILE_BYTES_MAX = 1 << 30,
};
static const char store_meta_magic[8] = {'C', 'A', 'I', 'R', 'N', 'R', 'F', 'M'};
static const char store_snapshot_magic[8] = {'C', 'A', 'I', 'R', 'N', 'R', 'F', 'S'};
static const char store_log_magic[8] = {'C', 'A', 'I', 'R', 'N', 'R', 'F', 'L'};

struct buf;
void store_head_put(const char magic[8], struct buf *out);
void store_sum_put(struct buf *out); /* XXH3-64 of all before */
void store_log_head_put(uint64_t index, uint64_t term, struct buf *out);
/* Entries, after a truncation when truncate_from is not 0, as one frame. */
void store_frame_put(uint64_t number, uint64_t truncate_from, const struct raft_entry *entries,
                     size_t entries_count, struct buf *out);
