/* SPDX-License-Identifier: Apache-2.0 */
/* query/engine/source.h: the data a fragment reads. Behind it is a selection of a core's head (and
 * blocks), pinned for the query, or a set of series in memory (tests, cairnctl test promql).
 * Thread: read-only and callable from the one worker that evaluates the fragment. */
#pragma once

#include <stddef.h>
#include <stdint.h>

#include "node/base/status.h"
#include "query/promql/ast.h"
#include "storage/downsample/downsample.h"
#include "storage/ended.h"
#include "storage/labels.h"
#include "storage/sample.h"

struct source;
struct source_rows { /* from < end <= to, both multiples of the resolution */
    int64_t from_ms, to_ms;
    uint32_t columns; /* one bit for each that is looked at */
};
struct source_ops {
    /* Series matched by selector number `leaf` of the query, in any order. */
    size_t (*series_count)(const struct source *src, uint32_t leaf);
    /* Labels sorted by name; views valid while the source lives. Returns how many there are (may
     * exceed max). */
    size_t (*labels)(const struct source *src, uint32_t leaf, size_t index, struct label *out,
                     size_t max);
    /* Only those with the names asked for are needed; more do not harm. NULL: labels() does it. */
    size_t (*labels_asked)(const struct source *src, uint32_t leaf, size_t index,
                           struct labels_asked *asked, struct label *out, size_t max);
    series_id (*id)(const struct source *src, uint32_t leaf, size_t index);
    /* All samples with from_ms < t <= to_ms, appended to *out, stale markers included. */
    enum status (*read)(const struct source *src, uint32_t leaf, size_t index, int64_t from_ms,
                        int64_t to_ms, struct samples *out, struct err *err);
    /* Only the newest of them is needed; more do not harm. NULL: read() does it. */
    enum status (*read_newest)(const struct source *src, uint32_t leaf, size_t index,
                               int64_t from_ms, int64_t to_ms, struct samples *out,
                               struct err *err);
    /* Rows of the fragment's resolution in place of what out has. NULL: they are made of what
     * read() gives. */
    enum status (*read_rows)(const struct source *src, uint32_t leaf, size_t index,
                             const struct source_rows *wanted, struct downsample_rows *out,
                             struct err *err);
    /* Up to where the series has ended as samples (ended.c): read() gives the last one of each
     * bucket there, and may be asked for two hours more than the leaf's range. NULL: nothing has.
     */
    void (*ended)(const struct source *src, uint32_t leaf, size_t index, struct ended *out);
    /* Rows of that, of whatever resolution they are, with from < end <= to, in place of what out
     * has. Not NULL where ended is not. */
    enum status (*read_ended)(const struct source *src, uint32_t leaf, size_t index,
                              const struct source_rows *wanted, struct downsample_rows *out,
                              struct err *err);
};
struct source {
    const struct source_ops *ops;
};
