/* SPDX-License-Identifier: Apache-2.0 */
/* Series whose samples have ended while rows go on (storage/ended.h). What is read of them there is
 * the last sample of each bucket, at its end; so
 *   - an instant selector looks back for as long as a bucket is, at least
 *   - functions that rows tell (window_rows.c) take the rows that end in the window, and all of
 *     their columns; a window is as long as a bucket at least, wherever it begins. That is exact
 *     where windows are whole buckets
 *   - other functions see the samples that are left
 * and whoever asks is told, with the place in the query. Windows behind what has ended are of
 * samples, as ever. */
#include "query/engine/window.h"

#include "node/base/duration.h"
#include "storage/ended.h"

int64_t ended_bucket_ms(const struct ended *e, int64_t time_ms) {
    if (e == NULL || !ended_any(e) || time_ms > e->raw_ms) return 0;
    return time_ms > e->fine_ms ? ENDED_FINE_MS : ENDED_HOUR_MS;
}

static void note_put(struct stage_run *r, const struct expr *at, int64_t to_ms, const char *what) {
    struct buf text = {0};
    civil_put_rfc3339(&text, to_ms);
    if (!text.failed)
        eval_note(r->ev, false, at, "samples until %.*s are downsampled to %s",
                  SV_ARG(buf_sv(&text)), what);
    buf_fini(&text);
}

void ended_note(struct stage_run *r, const struct ended *e, int64_t from_ms, int64_t to_ms) {
    const struct stage *st = r->stage;
    const struct expr *at = st->kind == STAGE_WINDOW ? st->matrix : st->expr;
    if (from_ms < e->fine_ms) note_put(r, at, e->fine_ms, "1h");
    if (from_ms < e->raw_ms && to_ms > e->fine_ms && e->raw_ms > e->fine_ms)
        note_put(r, at, e->raw_ms, "5m");
}

bool ended_rows_tell(const struct query_params *p, const struct stage *leaf) {
    return leaf->kind == STAGE_WINDOW && leaf->selector != NULL &&
           leaf->selector->modifier == RANGE_PLAIN && rows_tell(leaf->fn, p->features);
}

enum status ended_rows_append(const struct stage *leaf, const struct ended *e,
                              const struct samples *samples, struct downsample_rows *rows) {
    const struct ref_times refs = stage_refs(leaf);
    int64_t last_ms = INT64_MIN; /* of windows that begin in what has ended */
    for (size_t k = 0; k < leaf->out.steps; k++) {
        int64_t ref_ms = ref_time(&refs, k);
        if (ref_ms - stage_window_ms(leaf) < e->raw_ms) last_ms = MAX(last_ms, ref_ms);
    }
    for (size_t i = 0; i < samples->count; i++) {
        int64_t t = samples->times_ms[i];
        double v = samples->values[i];
        if (t <= e->raw_ms || t > last_ms) continue;
        TRY(downsample_reserve(rows, rows->count + 1));
        for (int c = 0; c < DOWNSAMPLE_COLUMNS; c++)
            rows->columns[c][rows->count] = 0;
        bool stale = value_is_stale(v);
        rows->columns[DOWNSAMPLE_COUNT][rows->count] = !stale;
        rows->columns[DOWNSAMPLE_STALE_AGO][rows->count] = stale ? 0 : -1;
        for (int c = DOWNSAMPLE_SUM; c <= DOWNSAMPLE_LAST && !stale; c++)
            rows->columns[c][rows->count] = v;
        rows->ends_ms[rows->count++] = t;
    }
    return OK;
}
