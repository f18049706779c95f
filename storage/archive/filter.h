/* SPDX-License-Identifier: Apache-2.0 */
/* storage/archive/filter.h: what of blocks does not count any more: deleted, or older than the
 * shard's floor. Thread: one at a time. */
#pragma once

#include "node/base/arena.h"
#include "storage/archive/manifest.h"
#include "storage/labels.h"
#include "storage/matcher.h"
#include "storage/sample.h"

/* In place; both ends inclusive. */
void samples_leave_out(struct samples *s, int64_t min_ms, int64_t max_ms);

struct archive_filter {
    /* private */
    struct arena arena;
    struct filter_shard *shards; /* ascending; those with anything to leave out */
    uint32_t shards_count;
    int64_t exemplars_from_ms; /* older ones go, whatever the floor; INT64_MIN: none do */
    int64_t trim_ms;           /* samples at or before it go, of all shards; INT64_MIN */
};
/* Of these records' shards; strings are copied. ERR_CORRUPT names a tombstone that cannot be read.
 */
MUST_USE enum status archive_filter_init(struct archive_filter *f, const struct manifest *m,
                                         struct err *err);
void archive_filter_fini(struct archive_filter *f);
struct filter_rules { /* borrowed during the call */
    uint32_t shard;
    int64_t floor_ms;
    const struct tombstone *tombstones;
    uint32_t tombstones_count;
};
/* One shard more; ascending. */
MUST_USE enum status archive_filter_add(struct archive_filter *f, const struct filter_rules *rules,
                                        struct err *err);
bool archive_filter_is_empty(const struct archive_filter *f);
/* Whether it may leave out any of the shard's samples with from < t <= to. */
bool archive_filter_has(const struct archive_filter *f, uint32_t shard, int64_t from_ms,
                        int64_t to_ms);
/* What is left out of one series, for windows (end - resolution, end] instead of samples. */
enum { FILTER_WINDOWS_MAX = 64 };
struct filter_windows {
    int64_t floor_ms;
    struct {
        int64_t min_ms, max_ms; /* both inclusive */
    } deleted[FILTER_WINDOWS_MAX];
    uint32_t deleted_count;
    bool is_short; /* there are more: the next call with it gives them */
    uint32_t next; /* private; 0: from the first one on */
};
/* false: nothing is. */
bool archive_filter_windows(const struct archive_filter *f, uint32_t shard,
                            const struct label *labels, size_t labels_count,
                            struct filter_windows *out);
/* All of the window is left out by one of them. */
bool filter_takes_window(const struct filter_windows *w, int64_t end_ms, uint32_t resolution_ms);
/* Of some window that ends in (from, to], multiples of the resolution, a part may be left out and a
 * part not. */
bool filter_splits_windows(const struct filter_windows *w, int64_t from_ms, int64_t to_ms,
                           uint32_t resolution_ms);
/* block_merge_options.filter with ctx the filter: leaves samples out, in place. labels: sorted by
 * name. */
void archive_filter_run(void *ctx, uint32_t shard, struct sv canonical, const struct label *labels,
                        size_t labels_count, struct samples *samples);
/* Of the shard's deletions, which count in the order they were added, only those before `count`. */
void archive_filter_run_first(const struct archive_filter *f, uint32_t shard, uint32_t count,
                              const struct label *labels, size_t labels_count,
                              struct samples *samples);
/* Of one of them; borrowed. */
void archive_filter_matchers(const struct archive_filter *f, uint32_t shard, uint32_t at,
                             const struct matcher **out, size_t *out_count);
/* block_merge_options.filter_items: exemplars before the shard's floor or exemplars_from_ms go. */
void archive_filter_items(void *ctx, uint32_t shard, struct buf *items);
