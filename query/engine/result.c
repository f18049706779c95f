/* SPDX-License-Identifier: Apache-2.0 */
/* The end of a query: what the coordinator computes from the folded answers, as the result that the
 * API shows. */
#include <stdlib.h>
#include <string.h>

#include "node/base/duration.h"
#include "node/base/num.h"
#include "query/engine/plan.h"

enum { NOTES_SHOWN_MAX = 10 };

static enum status labels_out(struct plan *p, const struct labelset *in,
                              struct result_series *out) {
    struct labelset copy;
    if (!labelset_copy(&p->arena, in, 0, &copy)) return eval_nomem(&p->ev);
    out->labels = copy.labels;
    out->labels_count = copy.count;
    return OK;
}

static enum status points_out(struct plan *p, const struct series *s, const struct grid *grid,
                              struct result_series *out) {
    size_t n = column_points(&s->col, grid->steps);
    out->points = arena_array(&p->arena, n + 1, sizeof *out->points);
    if (out->points == NULL) return eval_nomem(&p->ev);
    TRY(eval_work(&p->ev, 300 + grid->steps));
    for (size_t k = 0; k < grid->steps; k++) {
        if (s->col.kinds[k] == POINT_NONE) continue;
        struct result_point *point = &out->points[out->points_count++];
        point->time_ms = grid_time(grid, k);
        point->value = s->col.values[k];
        if (s->col.kinds[k] == POINT_HISTOGRAM) point->histogram = s->col.histograms[k];
    }
    return OK;
}

static enum status series_out(struct plan *p, struct vectors *v, struct result *out) {
    out->series = arena_array(&p->arena, v->count + 1, sizeof *out->series);
    if (out->series == NULL) return eval_nomem(&p->ev);
    for (size_t i = 0; i < v->count; i++) {
        struct result_series *s = &out->series[out->series_count++];
        TRY(labels_out(p, &v->series[i].labels, s));
        TRY(points_out(p, &v->series[i], &v->grid, s));
    }
    return OK;
}

/* Delayed name removal ends here. */
static enum status names_drop(struct plan *p, struct vectors *v) {
    if (!eval_delayed_names(&p->ev)) return OK;
    for (size_t i = 0; i < v->count; i++)
        if (v->series[i].drop_name) labelset_drop_metadata(&v->series[i].labels);
    return vectors_join(&p->ev, v, false);
}

static enum status vector_out(struct plan *p, const struct expr *e, const struct grid *grid,
                              struct result *out) {
    bool matrix = out->type == VALUE_MATRIX;
    struct vectors *v = NULL;
    TRY(eval_vector(&p->ev, e, grid, &v));
    enum status st = names_drop(p, v);
    if (st == OK && matrix) st = vectors_sort(&p->ev, v);
    if (st == OK) st = series_out(p, v, out);
    vectors_done(&p->ev, v);
    return st;
}

static int raw_order(const void *a, const void *b, void *arg) {
    (void)arg;
    return labelset_cmp(&((const struct raw_series *)a)->labels,
                        &((const struct raw_series *)b)->labels);
}

static enum status raw_out(struct plan *p, struct partial *partial, struct result *out) {
    if (notes_merge(&p->notes, &partial->notes) != OK) return eval_nomem(&p->ev);
    struct sort_by by = {raw_order, NULL};
    TRY(eval_sort(&p->ev, partial->raw, partial->raw_count, sizeof *partial->raw, &by));
    out->series = arena_array(&p->arena, partial->raw_count + 1, sizeof *out->series);
    if (out->series == NULL) return eval_nomem(&p->ev);
    for (size_t i = 0; i < partial->raw_count; i++) {
        const struct raw_series *raw = &partial->raw[i];
        struct result_series *s = &out->series[out->series_count++];
        TRY(labels_out(p, &raw->labels, s));
        s->points = arena_array(&p->arena, raw->count + 1, sizeof *s->points);
        if (s->points == NULL) return eval_nomem(&p->ev);
        s->points_count = raw->count;
        TRY(eval_work(&p->ev, 300 + raw->count));
        for (size_t k = 0; k < raw->count; k++)
            s->points[k] =
                (struct result_point){.time_ms = raw->times_ms[k], .value = raw->values[k]};
    }
    return OK;
}

static enum status matrix_out(struct plan *p, const struct expr *e, const struct grid *grid,
                              struct result *out) {
    e = node_unwrap_invariant(e);
    if (e->kind == EXPR_MATRIX) {
        struct partial *partial = plan_partial(p, e->number);
        return partial == NULL ? OK : raw_out(p, partial, out);
    }
    struct grid inner;
    TRY(grid_of_child(p->q, e, grid, &inner, p->ev.err));
    return vector_out(p, e->children[0], &inner, out);
}

static enum status scalar_out(struct plan *p, const struct expr *e, const struct grid *grid,
                              struct result *out) {
    double *values = arena_array(&p->arena, grid->steps + 1, sizeof *values);
    if (values == NULL) return eval_nomem(&p->ev);
    TRY(scalar_eval(&p->ev, e, grid, values));
    if (query_params(p->q)->instant) {
        out->scalar = values[0];
        return OK;
    }
    out->type = VALUE_MATRIX;
    out->series = arena_array(&p->arena, 1, sizeof *out->series);
    if (out->series == NULL) return eval_nomem(&p->ev);
    out->series_count = 1;
    out->series[0].points = arena_array(&p->arena, grid->steps + 1, sizeof *out->series[0].points);
    if (out->series[0].points == NULL) return eval_nomem(&p->ev);
    for (size_t k = 0; k < grid->steps; k++)
        out->series[0].points[out->series[0].points_count++] =
            (struct result_point){.time_ms = grid_time(grid, k), .value = values[k]};
    return eval_hold(&p->ev, grid->steps);
}

static void counters_put(struct buf *b, const struct note *n) {
    if (n->min_ms == 0 && n->max_ms == 0 && n->max_diff == 0) { /* overlapping start times */
        if (n->count > 1) buf_printf(b, " (%llu occurrences)", (unsigned long long)n->count);
        return;
    }
    buf_put_sv(b, SV(", from buckets "));
    num_put_f64(b, n->min_bucket, 'g');
    buf_put_sv(b, SV(" to "));
    num_put_f64(b, n->max_bucket, 'g');
    buf_printf(b, ", with a max diff of %.2g, over %llu samples from ", n->max_diff,
               (unsigned long long)n->count);
    civil_put_rfc3339(b, n->min_ms / 1000 * 1000);
    buf_put_sv(b, SV(" to "));
    civil_put_rfc3339(b, n->max_ms / 1000 * 1000);
}

static enum status note_out(struct plan *p, const struct note *n, char **out) {
    struct buf b = {0};
    buf_put_sv(&b, n->warning ? SV("PromQL warning: ") : SV("PromQL info: "));
    buf_put(&b, n->text, n->text_len);
    if (n->counted) counters_put(&b, n);
    const struct expr *at = query_expr(p->q, n->number);
    unsigned line, col;
    expr_line_col(query_text(p->q), at == NULL ? 0 : at->pos_start, &line, &col);
    buf_printf(&b, " (%u:%u)", line, col);
    *out = b.failed ? NULL : arena_strdup(&p->arena, buf_sv(&b));
    buf_fini(&b);
    return *out == NULL ? eval_nomem(&p->ev) : OK;
}

static enum status notes_of_kind(struct plan *p, bool warning, char ***out, size_t *out_count) {
    char **texts = arena_array(&p->arena, NOTES_SHOWN_MAX + 1, sizeof(*texts));
    if (texts == NULL) return eval_nomem(&p->ev);
    size_t n = 0, omitted = 0;
    for (size_t i = 0; i < p->notes.count; i++) {
        if (p->notes.items[i].warning != warning) continue;
        if (n < NOTES_SHOWN_MAX)
            TRY(note_out(p, &p->notes.items[i], &texts[n++]));
        else
            omitted++;
    }
    if (omitted > 0) {
        texts[n] = arena_printf(&p->arena, "%zu more %s annotations omitted", omitted,
                                warning ? "warning" : "info");
        if (texts[n++] == NULL) return eval_nomem(&p->ev);
    }
    *out = texts;
    *out_count = n;
    return OK;
}

static enum status finish(struct plan *p, struct result *out) {
    const struct expr *root = query_root(p->q);
    struct grid grid = grid_of_query(query_params(p->q));
    out->time_ms = query_params(p->q)->end_ms;
    out->type = root->type;
    if (root->type == VALUE_VECTOR && !query_params(p->q)->instant) out->type = VALUE_MATRIX;
    switch ((int)root->type) {
    case VALUE_STRING: out->string = label_string(root); break;
    case VALUE_SCALAR: TRY(scalar_out(p, root, &grid, out)); break;
    case VALUE_MATRIX: TRY(matrix_out(p, root, &grid, out)); break;
    default: TRY(vector_out(p, root, &grid, out)); break;
    }
    TRY(eval_poll(&p->ev));
    notes_sort(&p->notes);
    TRY(notes_of_kind(p, true, &out->warnings, &out->warnings_count));
    return notes_of_kind(p, false, &out->infos, &out->infos_count);
}

static enum status reads_out(struct plan *p, struct result *out) {
    struct grid grid = grid_of_query(query_params(p->q));
    struct reads all;
    TRY(reads_init(&p->ev, &all, grid.steps));
    enum status st = plan_reads_below(p, query_root(p->q), &grid, &all);
    out->samples_read = all.total;
    if (st == OK && all.steps != NULL) {
        out->samples_steps = arena_array(&p->arena, all.count, sizeof *out->samples_steps);
        if (out->samples_steps == NULL) st = eval_nomem(&p->ev);
        if (st == OK) memcpy(out->samples_steps, all.steps, all.count * sizeof *all.steps);
        out->samples_steps_count = all.count;
    }
    reads_fini(&all, &p->budget);
    return st;
}

enum status plan_finish(struct plan *p, struct query_control *control, struct result *out,
                        struct err *err) {
    struct result result = {0};
    p->ev.control = control;
    p->ev.err = err;
    eval_tell_alone(&p->ev);
    TRY(finish(p, &result));
    TRY(reads_out(p, &result));
    result.samples_peak = MAX(p->peak, p->ev.peak);
    *out = result;
    return OK;
}
