/* SPDX-License-Identifier: Apache-2.0 */
/* storage/head_histograms.h: what few series have beside their floats: native histograms and start
 * timestamps. A series that has any is marked in chunk_open.has_extras, so that the others pay a
 * bit test a sample.
 *
 *   series (marked) --map--> struct series_extra --> histograms: rows of (time, encoded bytes)
 *                                                --> starts: rows of (time, start)
 *
 * Rows ascend by time and are published like late samples (head_late.c): a view holds the array it
 * found and how many rows it had; a row is put behind them in place, anywhere else into a copy, and
 * what was replaced goes to the newest selection. Encoded bytes never change; those of rows that
 * are trimmed go with the array that is retired then.
 * A row of starts says: floats from that time on have this start (0: none is known), up to the next
 * row. So a counter that is not reset has one row, and a late float at most two.
 * Thread: as storage/head.h. */
#pragma once

#include <stdint.h>

#include "node/base/map.h"
#include "storage/head.h"

struct histogram_bytes { /* storage/histogram.h; immutable */
    uint32_t len;
    uint8_t at[];
};
struct extra_row {
    int64_t time_ms;
    union {
        const struct histogram_bytes *histogram;
        int64_t start_ms;
    };
};
struct extra_rows {
    struct extra_rows *next; /* when retired */
    uint32_t count, cap;
    uint32_t owned; /* when retired: the histograms of that many rows go with it */
    bool seen;      /* in a view */
    struct extra_row at[];
};
struct series_extra {
    uint32_t ref; /* HEAD_NONE: free, next_free links */
    uint32_t next_free;
    int64_t from_ms; /* histograms before it are hidden; the newest is kept to judge by */
    struct extra_rows *histograms, *starts; /* NULL: none */
};
struct head_extras {
    struct map by_ref;
    struct series_extra *series;
    uint32_t count, cap, free_first;
    uint64_t bytes; /* of rows and histograms */
};
void head_extras_init(struct head_extras *extras);
void head_extras_fini(struct head_extras *extras);
uint64_t head_extras_memory_bytes(const struct head_extras *extras);

/* -- the way in; bytes keep the rules of histogram_check */

/* As head_judge, of a histogram. Of float and histogram at one time the first stays: the other is
 * DUPLICATE at the series' newest time, else NOOP. */
enum verdict head_judge_histogram(const struct head *head, uint32_t ref, int64_t time_ms,
                                  struct sv bytes, int64_t shard_newest_ms);
/* As head_append. */
enum status head_append_histogram(struct head *head, uint32_t ref, int64_t time_ms,
                                  struct sv bytes) MUST_USE;
/* head_append of a float with a start; head_append says that none is known, as 0 does here. */
enum status head_append_start(struct head *head, uint32_t ref, int64_t time_ms, double value,
                              int64_t start_ms) MUST_USE;
/* Is there a histogram at that time? */
bool head_holds_histogram(const struct head *head, uint32_t ref, int64_t time_ms);
/* Is that very sample there: the float, or with bytes the histogram? */
bool head_holds_same(const struct head *head, uint32_t ref, int64_t time_ms, double value,
                     struct sv bytes);

/* -- for the head */

/* head_judge of a float in a marked series. */
enum verdict head_judge_marked(const struct head *head, uint32_t ref, int64_t time_ms, double value,
                               int64_t shard_newest_ms);
/* Before the float at that time is there. */
enum status head_set_start(struct head *head, uint32_t ref, int64_t time_ms,
                           int64_t start_ms) MUST_USE;
/* Of a marked series; valid until it changes. */
const struct series_extra *head_extras_get(const struct head *head, uint32_t ref);
/* From there on floats have this start, behind all such rows there are. */
enum status head_restore_start(struct head *head, uint32_t ref, int64_t time_ms,
                               int64_t start_ms) MUST_USE;
bool head_extras_overlap(const struct head *head, uint32_t ref, int64_t from_ms, int64_t to_ms);
void head_extras_view(const struct head *head, uint32_t ref, struct series_view *out);
/* Histograms before from_ms go, and starts that no later float has. True: no histogram is left. */
bool head_extras_trim(struct head *head, uint32_t ref, int64_t from_ms);
/* Histograms of these times go, both inclusive. ERR_NOMEM: none has. */
enum status head_extras_delete(struct head *head, uint32_t ref, int64_t min_ms,
                               int64_t max_ms) MUST_USE;
/* Of a marked series that is given. */
void head_extras_drop(struct head *head, uint32_t ref);
void head_extra_rows_free(struct head *head, struct extra_rows *rows); /* retired */
/* Rows of floats from out->count on, `rows` of them, get their starts, and the histograms of
 * (from, to] among them. */
enum status series_view_read_extras(const struct series_view *v, int64_t from_ms, int64_t to_ms,
                                    struct samples *out, size_t *rows, struct err *err) MUST_USE;
