/* SPDX-License-Identifier: Apache-2.0 */
/* storage/block/pages_in.h: the pages of a series, by the directory. */
#pragma once

#include "storage/block/io.h"

struct page_at {
    enum block_page_kind kind;
    bool has_starts, last;
    uint64_t column, starts; /* ids of columns */
    uint64_t first, span;    /* rows; span 0: all */
    uint32_t missing_count;
    struct reader missing; /* their varints */
    uint64_t ref;          /* the page's frame */
    uint64_t at, len;      /* in it */
};

struct pages_in { /* one a reader: it alone looks at PART_DIRECTORY */
    struct block_io *io;
    bool loaded;
    size_t frame; /* of PART_DIRECTORY */
    uint64_t first, count;
    struct u64s pages; /* frames of pages */
    const uint8_t *restarts, *records, *end;
    struct pages_place {
        uint64_t series; /* whose record, or the rest of it, is next */
        struct reader next;
        uint64_t page_frame, page_at;
    } now, begin; /* begin: of the series that was sought last */
    bool in_series;
    int64_t column;
};
void pages_in_fini(struct pages_in *p);
void pages_in_forget(struct pages_in *p); /* after block_io_trim */
/* To the first page of a series whose target set is given. Fast where series ascend. */
enum status pages_seek(struct pages_in *p, uint64_t series, uint32_t target,
                       struct err *err) MUST_USE;
/* false at *out_more: the series has no more. */
enum status pages_next(struct pages_in *p, struct page_at *out, bool *out_more,
                       struct err *err) MUST_USE;

/* First and last time. */
enum status page_ends(struct block_io *io, const struct page_at *p, int64_t out[2],
                      struct err *err) MUST_USE;
/* Times (in the block_io, or in room) of the page's samples. */
struct page_times {
    const int64_t *ms;
    size_t count;
    int64_t room[PAGE_SAMPLES_MAX];
};
enum status page_get_times(struct block_io *io, const struct page_at *p, struct page_times *out,
                           struct err *err) MUST_USE;
/* NULL at *out: it has none. */
enum status page_get_starts(struct block_io *io, const struct page_at *p, size_t count,
                            const int64_t **out, struct err *err) MUST_USE;
enum status page_get(struct block_io *io, const struct page_at *p, size_t count, struct page *out,
                     struct err *err) MUST_USE;
/* Appends the samples from .. to - 1 of the page. */
enum status page_append(struct block_io *io, const struct page_at *p, const struct page_times *t,
                        const size_t range[2], struct samples *out, struct err *err) MUST_USE;
