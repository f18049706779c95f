/* SPDX-License-Identifier: Apache-2.0 */
#include "storage/downsample/downsample.h"

#include <assert.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "storage/labels.h"

/* A row that grows. Sums are compensated (Neumaier 1974) and end as one double. */
struct growing {
    struct downsample_row row;
    double sum_low, correction_low;
};

/* As Prometheus adds up (util/kahansum): what got lost does not turn an infinity into NaN. */
static void add(double *sum, double *low, double x) {
    double t = *sum + x;
    if (isinf(t))
        *low = 0;
    else if (fabs(*sum) >= fabs(x))
        *low += (*sum - t) + x;
    else
        *low += (x - t) + *sum;
    *sum = t;
}

static struct growing growing_at(int64_t end_ms) {
    struct growing g = {.row = {.end_ms = end_ms}};
    g.row.columns[DOWNSAMPLE_STALE_AGO] = -1;
    return g;
}

static struct downsample_row growing_end(const struct growing *g) {
    struct downsample_row row = g->row;
    row.columns[DOWNSAMPLE_SUM] += g->sum_low;
    row.columns[DOWNSAMPLE_CORRECTION] += g->correction_low;
    return row;
}

/* A row of later samples, as seen from the same end. A sample is a row too. */
static void grow(struct growing *g, const double *next) {
    double *c = g->row.columns;
    c[DOWNSAMPLE_HISTOGRAMS] += next[DOWNSAMPLE_HISTOGRAMS];
    if (next[DOWNSAMPLE_COUNT] == 0) { /* markers after a marker say nothing new */
        if (c[DOWNSAMPLE_STALE_AGO] < 0) c[DOWNSAMPLE_STALE_AGO] = next[DOWNSAMPLE_STALE_AGO];
        return;
    }
    c[DOWNSAMPLE_STALE_AGO] = next[DOWNSAMPLE_STALE_AGO];
    if (c[DOWNSAMPLE_COUNT] == 0) {
        c[DOWNSAMPLE_FIRST] = next[DOWNSAMPLE_FIRST];
        c[DOWNSAMPLE_FIRST_AGO] = next[DOWNSAMPLE_FIRST_AGO];
        c[DOWNSAMPLE_MIN] = next[DOWNSAMPLE_MIN];
        c[DOWNSAMPLE_MAX] = next[DOWNSAMPLE_MAX];
    } else {
        if (next[DOWNSAMPLE_FIRST] < c[DOWNSAMPLE_LAST]) {
            c[DOWNSAMPLE_RESETS]++;
            add(&c[DOWNSAMPLE_CORRECTION], &g->correction_low, c[DOWNSAMPLE_LAST]);
        }
        if (next[DOWNSAMPLE_MIN] < c[DOWNSAMPLE_MIN] || isnan(c[DOWNSAMPLE_MIN]))
            c[DOWNSAMPLE_MIN] = next[DOWNSAMPLE_MIN];
        if (next[DOWNSAMPLE_MAX] > c[DOWNSAMPLE_MAX] || isnan(c[DOWNSAMPLE_MAX]))
            c[DOWNSAMPLE_MAX] = next[DOWNSAMPLE_MAX];
    }
    c[DOWNSAMPLE_COUNT] += next[DOWNSAMPLE_COUNT];
    add(&c[DOWNSAMPLE_SUM], &g->sum_low, next[DOWNSAMPLE_SUM]);
    c[DOWNSAMPLE_LAST] = next[DOWNSAMPLE_LAST];
    c[DOWNSAMPLE_LAST_AGO] = next[DOWNSAMPLE_LAST_AGO];
    c[DOWNSAMPLE_RESETS] += next[DOWNSAMPLE_RESETS];
    add(&c[DOWNSAMPLE_CORRECTION], &g->correction_low, next[DOWNSAMPLE_CORRECTION]);
}

static void grow_sample(struct growing *g, int64_t time_ms, double value, bool is_histogram) {
    double ago = (double)(g->row.end_ms - time_ms);
    double c[DOWNSAMPLE_COLUMNS] = {[DOWNSAMPLE_STALE_AGO] = -1};
    if (value_is_stale(value)) { /* of a histogram it is the sum */
        c[DOWNSAMPLE_STALE_AGO] = ago;
    } else if (is_histogram) {
        c[DOWNSAMPLE_HISTOGRAMS] = 1;
    } else {
        c[DOWNSAMPLE_COUNT] = 1;
        c[DOWNSAMPLE_SUM] = c[DOWNSAMPLE_MIN] = c[DOWNSAMPLE_MAX] = value;
        c[DOWNSAMPLE_FIRST] = c[DOWNSAMPLE_LAST] = value;
        c[DOWNSAMPLE_FIRST_AGO] = c[DOWNSAMPLE_LAST_AGO] = ago;
    }
    grow(g, c);
}

static void grow_row(struct growing *g, const struct downsample_rows *rows, size_t i) {
    double c[DOWNSAMPLE_COLUMNS];
    for (int k = 0; k < DOWNSAMPLE_COLUMNS; k++)
        c[k] = rows->columns[k][i];
    double later = (double)(g->row.end_ms - rows->ends_ms[i]);
    assert(later >= 0);
    if (c[DOWNSAMPLE_COUNT] != 0) {
        c[DOWNSAMPLE_FIRST_AGO] += later;
        c[DOWNSAMPLE_LAST_AGO] += later;
    }
    if (c[DOWNSAMPLE_STALE_AGO] >= 0) c[DOWNSAMPLE_STALE_AGO] += later;
    grow(g, c);
}

/* -- tables */

enum status downsample_reserve(struct downsample_rows *rows, size_t count) {
    if (count <= rows->cap) return OK;
    size_t cap = MAX(rows->cap < 16 ? 16 : rows->cap * 2, count);
    int64_t *ends_ms = realloc(rows->ends_ms, cap * sizeof *ends_ms);
    if (ends_ms == NULL) return ERR_NOMEM;
    rows->ends_ms = ends_ms;
    for (int k = 0; k < DOWNSAMPLE_COLUMNS; k++) {
        double *column = realloc(rows->columns[k], cap * sizeof *column);
        if (column == NULL) return ERR_NOMEM;
        rows->columns[k] = column;
    }
    rows->cap = cap;
    return OK;
}

static enum status put(struct downsample_rows *rows, const struct growing *g) {
    TRY(downsample_reserve(rows, rows->count + 1));
    struct downsample_row row = growing_end(g);
    rows->ends_ms[rows->count] = row.end_ms;
    for (int k = 0; k < DOWNSAMPLE_COLUMNS; k++)
        rows->columns[k][rows->count] = row.columns[k];
    rows->count++;
    return OK;
}

int64_t downsample_end_ms(int64_t time_ms, int64_t resolution_ms) {
    int64_t over = time_ms % resolution_ms, end;
    if (over < 0) over += resolution_ms;
    if (over == 0) return time_ms;
    /* the last window of all time is shorter */
    return __builtin_add_overflow(time_ms, resolution_ms - over, &end) ? INT64_MAX : end;
}

static enum status of_raw(const struct samples *raw, struct downsample_rows *out) {
    out->count = 0;
    for (size_t i = 0; i < raw->count;) {
        struct growing g = growing_at(downsample_end_ms(raw->times_ms[i], DOWNSAMPLE_5M_MS));
        for (; i < raw->count && raw->times_ms[i] <= g.row.end_ms; i++) {
            assert_slow(i == 0 || raw->times_ms[i] > raw->times_ms[i - 1]);
            grow_sample(&g, raw->times_ms[i], raw->values[i],
                        raw->histograms != NULL && raw->histograms[i] != NULL);
        }
        TRY(put(out, &g));
    }
    return OK;
}

enum status downsample_rows(const struct downsample_rows *fine, int64_t resolution_ms,
                            struct downsample_rows *out) {
    assert(resolution_ms > 0 && fine != out);
    out->count = 0;
    for (size_t i = 0; i < fine->count;) {
        struct growing g = growing_at(downsample_end_ms(fine->ends_ms[i], resolution_ms));
        for (; i < fine->count && fine->ends_ms[i] <= g.row.end_ms; i++)
            grow_row(&g, fine, i);
        TRY(put(out, &g));
    }
    return OK;
}

enum status downsample_raw(const struct samples *raw, int64_t resolution_ms,
                           struct downsample_rows *out) {
    assert(resolution_ms >= DOWNSAMPLE_5M_MS && resolution_ms % DOWNSAMPLE_5M_MS == 0);
    if (resolution_ms == DOWNSAMPLE_5M_MS) return of_raw(raw, out);
    struct downsample_rows fine = {0};
    enum status got = of_raw(raw, &fine);
    if (got == OK) got = downsample_rows(&fine, resolution_ms, out);
    downsample_rows_fini(&fine);
    return got;
}

enum status downsample_append(struct downsample_rows *rows, const struct downsample_rows *more) {
    if (more->count == 0) return OK;
    assert(rows->count == 0 || rows->ends_ms[rows->count - 1] < more->ends_ms[0]);
    TRY(downsample_reserve(rows, rows->count + more->count));
    memcpy(rows->ends_ms + rows->count, more->ends_ms, more->count * sizeof *rows->ends_ms);
    for (int k = 0; k < DOWNSAMPLE_COLUMNS; k++)
        memcpy(rows->columns[k] + rows->count, more->columns[k],
               more->count * sizeof *rows->columns[k]);
    rows->count += more->count;
    return OK;
}

void downsample_rows_fini(struct downsample_rows *rows) {
    free(rows->ends_ms);
    for (int k = 0; k < DOWNSAMPLE_COLUMNS; k++)
        free(rows->columns[k]);
    *rows = (struct downsample_rows){0};
}

struct samples downsample_column(const struct downsample_rows *rows, enum downsample_column c) {
    assert((unsigned)c < DOWNSAMPLE_COLUMNS);
    return (struct samples){
        .times_ms = rows->ends_ms, .values = rows->columns[c], .count = rows->count};
}

struct downsample_row downsample_fold(const struct downsample_rows *rows, size_t from, size_t to,
                                      int64_t end_ms) {
    assert(from < to && to <= rows->count && rows->ends_ms[to - 1] <= end_ms);
    struct growing g = growing_at(end_ms);
    for (size_t i = from; i < to; i++)
        grow_row(&g, rows, i);
    return growing_end(&g);
}
