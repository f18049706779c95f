/* SPDX-License-Identifier: Apache-2.0 */
/* storage/archive/rows.h: blocks of downsampled rows (storage/downsample), made from raw blocks.
 *
 * In a block of resolution r column k of the row that ends at e is a sample at e + k *
 * BLOCK_COLUMN_MS of the row's series: so a block of rows is read, merged, verified and digested as
 * any other, a column is a run of pages of its own, and those of one target share their times. Rows
 * beyond +-2^50 ms are not made. It covers the windows that end in (from, to], which the manifest
 * says as min_ms = from, max_ms = to - 1 (a raw block's range, less what stands on its first
 * millisecond, with that of the next); its parts are the shards of which these windows were closed
 * when it was made, also those with nothing in them: for any other shard it says nothing.
 *
 * What is closed changes by deletion and floors, which rows are held against when they are
 * read: a window of which a deletion took a part, or through which the floor goes, is computed anew
 * from raw (a deletion of everything up to a multiple of the resolution, as retention has them,
 * takes whole windows). Imported blocks and repairs bring samples: rows of these times go with them
 * and are made anew, as a bad block of rows is. Whoever writes rows leaves out windows that are
 * deleted or under the floor as a whole.
 * Thread: values; a worker. */
#pragma once

#include "storage/archive/filter.h"
#include "storage/block/block.h"
#include "storage/downsample/downsample.h"

#define ROWS_TIME_MAX_MS ((int64_t)1 << 50)

/* A filter of block_merge. failed: no memory, what was written is not to be used. */
struct rows_writing {
    struct archive_filter *filter;
    int64_t from_ms, to_ms;
    uint32_t resolution_ms;
    bool failed;
    bool has_histograms; /* of some samples there is no more than their count */
    struct downsample_rows rows;
};
/* Raw samples -> the samples of rows that end in (from, to]. block_merge_options.replaces. */
void rows_make(void *ctx, uint32_t shard, struct sv canonical, const struct label *labels,
               size_t labels_count, struct samples *samples);
/* Samples of rows -> those that are left. */
void rows_leave(void *ctx, uint32_t shard, struct sv canonical, const struct label *labels,
                size_t labels_count, struct samples *samples);
/* block_merge_options.filter_items: exemplars stay in raw blocks only. */
void rows_leave_items(void *ctx, uint32_t shard, struct buf *items);
void rows_writing_fini(struct rows_writing *w);

/* The rows of a series in a block of rows, with from < end <= to; columns that are not wanted may
 * be 0, COUNT always is there. scratch is reused. */
MUST_USE enum status rows_read(struct block_selection *s, size_t index,
                               const struct block_columns *wanted, struct downsample_rows *out,
                               struct samples *scratch, struct err *err);
/* Takes rows out whose windows are left out as a whole. */
void rows_filter_by(const struct filter_windows *w, uint32_t resolution_ms,
                    struct downsample_rows *rows);
