/* SPDX-License-Identifier: Apache-2.0 */
#include "storage/archive/rows.h"

#include <assert.h>
#include <string.h>

/* -- writing */

static bool fits(const struct rows_writing *w) {
    return w->from_ms >= -ROWS_TIME_MAX_MS && w->to_ms <= ROWS_TIME_MAX_MS;
}

static enum status rows_put(const struct downsample_rows *rows, struct samples *out) {
    samples_clear(out);
    TRY(samples_reserve(out, rows->count * DOWNSAMPLE_COLUMNS));
    for (int k = 0; k < DOWNSAMPLE_COLUMNS; k++)
        for (size_t i = 0; i < rows->count; i++) {
            out->times_ms[out->count] = rows->ends_ms[i] + k * BLOCK_COLUMN_MS;
            out->values[out->count++] = rows->columns[k][i];
        }
    assert(out->histograms == NULL);
    if (out->starts_ms != NULL) memset(out->starts_ms, 0, out->count * sizeof *out->starts_ms);
    return OK;
}

void rows_make(void *ctx, uint32_t shard, struct sv canonical, const struct label *labels,
               size_t labels_count, struct samples *samples) {
    struct rows_writing *w = ctx;
    archive_filter_run(w->filter, shard, canonical, labels, labels_count, samples);
    size_t from = 0, to = samples->count;
    while (from < to && samples->times_ms[from] <= w->from_ms)
        from++;
    while (to > from && samples->times_ms[to - 1] > w->to_ms)
        to--;
    struct samples part = samples_from(samples, from);
    part.count = to - from;
    w->rows.count = 0;
    if (fits(w) && part.count > 0)
        w->failed |= downsample_raw(&part, w->resolution_ms, &w->rows) != OK;
    for (size_t i = 0; i < w->rows.count && !w->has_histograms; i++)
        w->has_histograms = w->rows.columns[DOWNSAMPLE_HISTOGRAMS][i] != 0;
    if (w->failed || rows_put(&w->rows, samples) != OK) {
        w->failed = true;
        samples_clear(samples);
    }
}

/* The row's end of a sample in a block of rows. */
static int64_t end_of(int64_t time_ms) {
    return time_ms - (time_ms + BLOCK_COLUMN_MS / 2) / BLOCK_COLUMN_MS * BLOCK_COLUMN_MS;
}

void rows_leave(void *ctx, uint32_t shard, struct sv canonical, const struct label *labels,
                size_t labels_count, struct samples *samples) {
    struct rows_writing *w = ctx;
    struct filter_windows f = {.next = 0}; /* of some deletions, which is enough: reading asks */
    (void)canonical;
    if (!archive_filter_windows(w->filter, shard, labels, labels_count, &f)) return;
    size_t kept = 0;
    for (size_t i = 0; i < samples->count; i++) {
        int64_t end_ms = end_of(samples->times_ms[i]);
        if (filter_takes_window(&f, end_ms, w->resolution_ms)) continue;
        samples->times_ms[kept] = samples->times_ms[i];
        samples->values[kept++] = samples->values[i];
    }
    samples->count = kept;
}

void rows_leave_items(void *ctx, uint32_t shard, struct buf *items) {
    (void)ctx, (void)shard;
    buf_clear(items);
}

void rows_writing_fini(struct rows_writing *w) {
    downsample_rows_fini(&w->rows);
}

/* -- reading */

/* Of a block that says of one series more of one column than of another. */
static enum status rows_corrupt(size_t count, int column, struct err *err) {
    return err_set(err, ERR_CORRUPT, 0,
                   "a block of rows does not have %zu values in column %d as in the first", count,
                   column);
}

enum status rows_read(struct block_selection *s, size_t index, const struct block_columns *wanted,
                      struct downsample_rows *out, struct samples *scratch, struct err *err) {
    struct block_columns w = {MAX(wanted->from_ms, -ROWS_TIME_MAX_MS),
                              MIN(wanted->to_ms, ROWS_TIME_MAX_MS),
                              wanted->columns | 1U << DOWNSAMPLE_COUNT};
    size_t count = 0, at = 0;
    out->count = 0;
    samples_clear(scratch);
    TRY(block_series_read_columns(s, index, &w, scratch, err));
    while (count < scratch->count && scratch->times_ms[count] < BLOCK_COLUMN_MS / 2)
        count++;
    if (downsample_reserve(out, count) != OK)
        return err_set(err, ERR_NOMEM, 0, "select: not enough memory");
    for (int k = 0; k < DOWNSAMPLE_COLUMNS && count > 0; k++) {
        double *to = out->columns[k];
        if ((w.columns >> k & 1) == 0) {
            memset(to, 0, count * sizeof *to);
            continue;
        }
        if (scratch->count - at < count ||
            scratch->times_ms[at] - scratch->times_ms[0] != k * BLOCK_COLUMN_MS)
            return rows_corrupt(count, k, err);
        memcpy(to, scratch->values + at, count * sizeof *to);
        at += count;
    }
    if (at != scratch->count) return rows_corrupt(count, DOWNSAMPLE_COLUMNS, err);
    if (count > 0) memcpy(out->ends_ms, scratch->times_ms, count * sizeof *out->ends_ms);
    out->count = count;
    return OK;
}

void rows_filter_by(const struct filter_windows *w, uint32_t resolution_ms,
                    struct downsample_rows *rows) {
    size_t kept = 0;
    for (size_t i = 0; i < rows->count; i++) {
        if (filter_takes_window(w, rows->ends_ms[i], resolution_ms)) continue;
        rows->ends_ms[kept] = rows->ends_ms[i];
        for (int k = 0; k < DOWNSAMPLE_COLUMNS; k++)
            rows->columns[k][kept] = rows->columns[k][i];
        kept++;
    }
    rows->count = kept;
}
