/* SPDX-License-Identifier: Apache-2.0 */
/* Range functions over rows of downsampled windows in place of samples: those that rows tell
 * exactly, where all windows are whole windows of the rows (storage/downsample/downsample.h). What
 * they give is what samples give, but for the last bit of sums of fractions, where resets or sums
 * are added up in another order; and it does not depend on who has rows, for others make them of
 * samples. */
#include "query/engine/window.h"

#include <math.h>

bool rows_tell(enum function_id fn, uint32_t features) {
    switch ((int)fn) {
    case FN_ABSENT_OVER_TIME:
    case FN_AVG_OVER_TIME:
    case FN_COUNT_OVER_TIME:
    case FN_DELTA:
    case FN_FIRST_OVER_TIME:
    case FN_LAST_OVER_TIME:
    case FN_MAX_OVER_TIME:
    case FN_MIN_OVER_TIME:
    case FN_PRESENT_OVER_TIME:
    case FN_SUM_OVER_TIME: return true;
    case FN_INCREASE:
    case FN_RATE:
    case FN_RESETS: return (features & FEATURE_START_TIMESTAMPS) == 0;
    default: return false;
    }
}

uint32_t stage_resolution(const struct query_params *p, const struct stage *leaf) {
    static const struct {
        uint32_t feature, resolution_ms;
    } all[] = {{FEATURE_ROWS_1H, DOWNSAMPLE_1H_MS}, {FEATURE_ROWS_5M, DOWNSAMPLE_5M_MS}};
    if (leaf->kind != STAGE_WINDOW || leaf->selector == NULL || leaf->out.steps == 0 ||
        leaf->selector->modifier != RANGE_PLAIN || !rows_tell(leaf->fn, p->features))
        return 0;
    const struct ref_times refs = stage_refs(leaf);
    for (size_t i = 0; i < ARRAY_LEN(all); i++) {
        int64_t r = all[i].resolution_ms;
        if ((p->features & all[i].feature) != 0 && stage_window_ms(leaf) % r == 0 &&
            refs.first_ms % r == 0 && (leaf->out.steps == 1 || refs.step_ms % r == 0))
            return all[i].resolution_ms;
    }
    return 0;
}

#define BIT(column) (1U << DOWNSAMPLE_##column)

uint32_t stage_columns(const struct stage *leaf) {
    uint32_t bits = BIT(COUNT) | BIT(HISTOGRAMS);
    switch ((int)leaf->fn) {
    case FN_AVG_OVER_TIME:
    case FN_SUM_OVER_TIME: return bits | BIT(SUM);
    case FN_FIRST_OVER_TIME: return bits | BIT(FIRST);
    case FN_LAST_OVER_TIME: return bits | BIT(LAST);
    case FN_MAX_OVER_TIME: return bits | BIT(MAX);
    case FN_MIN_OVER_TIME: return bits | BIT(MIN);
    case FN_RESETS: return bits | BIT(FIRST) | BIT(LAST) | BIT(RESETS);
    case FN_DELTA:
    case FN_INCREASE:
    case FN_RATE:
        return bits | BIT(FIRST) | BIT(LAST) | BIT(FIRST_AGO) | BIT(LAST_AGO) | BIT(CORRECTION);
    default: return bits;
    }
}

bool rows_have_histograms(const struct downsample_rows *rows) {
    bool any = false;
    for (size_t i = 0; i < rows->count; i++)
        any |= rows->columns[DOWNSAMPLE_HISTOGRAMS][i] != 0;
    return any;
}

/* As window_sum does it of samples; where a sum overflows the mean of samples may not. */
static double mean_of(const double *c) {
    return c[DOWNSAMPLE_SUM] / c[DOWNSAMPLE_COUNT];
}

static bool row_value(const struct stage *st, const struct downsample_row *row, double *out) {
    const double *c = row->columns;
    switch ((int)st->fn) {
    case FN_ABSENT_OVER_TIME:
    case FN_PRESENT_OVER_TIME: *out = 1; break;
    case FN_AVG_OVER_TIME: *out = mean_of(c); break;
    case FN_COUNT_OVER_TIME: *out = c[DOWNSAMPLE_COUNT]; break;
    case FN_FIRST_OVER_TIME: *out = c[DOWNSAMPLE_FIRST]; break;
    case FN_LAST_OVER_TIME: *out = c[DOWNSAMPLE_LAST]; break;
    case FN_MAX_OVER_TIME: *out = c[DOWNSAMPLE_MAX]; break;
    case FN_MIN_OVER_TIME: *out = c[DOWNSAMPLE_MIN]; break;
    case FN_RESETS: *out = c[DOWNSAMPLE_RESETS]; break;
    case FN_SUM_OVER_TIME: *out = c[DOWNSAMPLE_SUM]; break;
    default: return rate_of_row(st, row, out);
    }
    return true;
}

/* Rows (lo, hi] of the window of step k, as window_bounds has samples. */
struct row_window {
    size_t lo, hi;
};
static void window_move(struct row_window *w, const struct downsample_rows *rows, int64_t ref_ms,
                        int64_t range_ms) {
    while (w->lo > 0 && rows->ends_ms[w->lo - 1] > ref_ms - range_ms)
        w->lo--; /* it was shorter at the step before */
    while (w->hi < rows->count && rows->ends_ms[w->hi] <= ref_ms)
        w->hi++;
    while (w->lo < w->hi && rows->ends_ms[w->lo] <= ref_ms - range_ms)
        w->lo++;
}

static double sum_in(const struct row_window *w, const double *column) {
    struct kahan k = {0};
    for (size_t i = w->lo; i < w->hi; i++)
        kahan_add(&k, column[i]);
    return k.sum + k.c;
}

/* As downsample_fold has MIN and MAX. */
static double extreme_in(const struct row_window *w, const double *column, const double *counts,
                         bool max) {
    double best = NAN;
    for (size_t i = w->lo; i < w->hi; i++)
        if (counts[i] != 0 && (isnan(best) || (max ? column[i] > best : column[i] < best)))
            best = column[i];
    return best;
}

/* Of rows with samples: what the function looks at of downsample_fold, which does all columns. */
static void fold_for(const struct stage *st, const struct downsample_rows *rows,
                     const struct row_window *w, struct downsample_row *out) {
    double *const *c = rows->columns;
    double *to = out->columns;
    size_t first = w->lo, last = w->hi - 1;
    while (c[DOWNSAMPLE_COUNT][first] == 0)
        first++;
    while (c[DOWNSAMPLE_COUNT][last] == 0)
        last--;
    double first_later = (double)(out->end_ms - rows->ends_ms[first]);
    to[DOWNSAMPLE_FIRST] = c[DOWNSAMPLE_FIRST][first];
    to[DOWNSAMPLE_FIRST_AGO] = c[DOWNSAMPLE_FIRST_AGO][first] + first_later;
    to[DOWNSAMPLE_LAST] = c[DOWNSAMPLE_LAST][last];
    to[DOWNSAMPLE_LAST_AGO] =
        c[DOWNSAMPLE_LAST_AGO][last] + (double)(out->end_ms - rows->ends_ms[last]);
    switch ((int)st->fn) {
    case FN_AVG_OVER_TIME:
    case FN_SUM_OVER_TIME: to[DOWNSAMPLE_SUM] = sum_in(w, c[DOWNSAMPLE_SUM]); break;
    case FN_MAX_OVER_TIME:
        to[DOWNSAMPLE_MAX] = extreme_in(w, c[DOWNSAMPLE_MAX], c[DOWNSAMPLE_COUNT], true);
        break;
    case FN_MIN_OVER_TIME:
        to[DOWNSAMPLE_MIN] = extreme_in(w, c[DOWNSAMPLE_MIN], c[DOWNSAMPLE_COUNT], false);
        break;
    default: break;
    }
}

/* Resets in the rows and between them, added up as downsample_fold does. */
static void resets_in(const struct downsample_rows *rows, const struct row_window *w,
                      struct downsample_row *out) {
    double *const *c = rows->columns;
    struct kahan correction = {0};
    double resets = 0, before = 0;
    bool any = false;
    for (size_t i = w->lo; i < w->hi; i++) {
        if (c[DOWNSAMPLE_COUNT][i] == 0) continue;
        if (any && c[DOWNSAMPLE_FIRST][i] < before) {
            resets++;
            kahan_add(&correction, before);
        }
        resets += c[DOWNSAMPLE_RESETS][i];
        if (c[DOWNSAMPLE_CORRECTION][i] != 0) kahan_add(&correction, c[DOWNSAMPLE_CORRECTION][i]);
        before = c[DOWNSAMPLE_LAST][i];
        any = true;
    }
    out->columns[DOWNSAMPLE_RESETS] = resets;
    out->columns[DOWNSAMPLE_CORRECTION] = correction.sum + correction.c;
}

/* The value of the window in rows[w); POINT_NONE: there is none. */
static enum point_kind window_value(struct stage_run *r, const struct downsample_rows *rows,
                                    const struct row_window *w, struct downsample_row *row,
                                    double *out) {
    const struct stage *st = r->stage;
    if (row->columns[DOWNSAMPLE_COUNT] == 0) return POINT_NONE;
    fold_for(st, rows, w, row);
    if (st->fn == FN_RATE || st->fn == FN_INCREASE || st->fn == FN_RESETS) resets_in(rows, w, row);
    return row_value(st, row, out) ? POINT_FLOAT : POINT_NONE;
}

/* Buckets of what has ended may be longer than the range. */
static int64_t range_at(const struct stage_run *r, int64_t ref_ms) {
    int64_t range_ms = stage_window_ms(r->stage);
    return MAX(range_ms, ended_bucket_ms(r->ended, ref_ms - range_ms + 1));
}

static enum status rows_walk(struct stage_run *r, const struct downsample_rows *rows,
                             const struct ended *only, struct column *out) {
    const struct stage *st = r->stage;
    const struct ref_times refs = stage_refs(st);
    struct row_window w = {0};
    for (size_t k = 0; k < st->out.steps; k++) {
        int64_t ref_ms = ref_time(&refs, k);
        if (only != NULL && ref_ms - stage_window_ms(st) >= only->raw_ms) break;
        window_move(&w, rows, ref_ms, range_at(r, ref_ms));
        TRY(eval_work(r->ev, 4 + 3 * (w.hi - w.lo)));
        out->kinds[k] = POINT_NONE;
        if (w.hi == w.lo) continue;
        struct downsample_row row = {.end_ms = ref_ms};
        for (size_t i = w.lo; i < w.hi; i++)
            row.columns[DOWNSAMPLE_COUNT] += rows->columns[DOWNSAMPLE_COUNT][i];
        reads_at(&r->reads, k, (uint64_t)row.columns[DOWNSAMPLE_COUNT]);
        out->kinds[k] = (uint8_t)window_value(r, rows, &w, &row, &out->values[k]);
    }
    if (st->fn == FN_RATE || st->fn == FN_INCREASE) note_not_counter(r, out);
    return OK;
}

enum status stage_read_rows(struct stage_run *r, const struct downsample_rows *rows,
                            struct column *out) {
    memset(out->kinds, POINT_NONE, r->stage->out.steps);
    return rows_walk(r, rows, NULL, out);
}

enum status stage_read_rows_ended(struct stage_run *r, const struct downsample_rows *rows,
                                  struct column *out) {
    return rows_walk(r, rows, r->ended, out);
}
