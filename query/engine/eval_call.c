/* SPDX-License-Identifier: Apache-2.0 */
/* Functions that need whole vectors: vector(), absent(), sort and dates without an argument; the
 * table of all such. */
#include "query/engine/internal.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

static const call_fn call_functions[FN_COUNT] = {
    [FN_ABSENT] = fn_absent,
    [FN_ABSENT_OVER_TIME] = fn_absent,
    [FN_DAY_OF_MONTH] = fn_vector,
    [FN_DAY_OF_WEEK] = fn_vector,
    [FN_DAY_OF_YEAR] = fn_vector,
    [FN_DAYS_IN_MONTH] = fn_vector,
    [FN_HISTOGRAM_FRACTION] = fn_histogram_fraction,
    [FN_HISTOGRAM_QUANTILE] = fn_histogram_quantile,
    [FN_HISTOGRAM_QUANTILES] = fn_histogram_quantiles,
    [FN_HOUR] = fn_vector,
    [FN_INFO] = fn_info,
    [FN_LABEL_JOIN] = fn_label_join,
    [FN_LABEL_REPLACE] = fn_label_replace,
    [FN_MINUTE] = fn_vector,
    [FN_MONTH] = fn_vector,
    [FN_SORT] = fn_sort,
    [FN_SORT_BY_LABEL] = fn_sort,
    [FN_SORT_BY_LABEL_DESC] = fn_sort,
    [FN_SORT_DESC] = fn_sort,
    [FN_VECTOR] = fn_vector,
    [FN_YEAR] = fn_vector,
};

enum status eval_call(struct eval *ev, const struct expr *e, const struct grid *grid,
                      struct vectors **out) {
    call_fn fn = call_functions[e->u.function->id];
    if (fn == NULL)
        return err_set(ev->err, ERR_UNSUPPORTED, 0, "function %s is not evaluated",
                       e->u.function->name);
    return fn(ev, e, grid, out);
}

/* One series without labels: vector(s), or a date function of the evaluation time (whole seconds).
 */
enum status fn_vector(struct eval *ev, const struct expr *e, const struct grid *grid,
                      struct vectors **out) {
    static const struct labelset none;
    struct vectors *v = eval_vectors_new(ev, grid);
    struct series *s = v == NULL ? NULL : vectors_add(v, &none, 0);
    enum status st = s == NULL ? eval_nomem(ev) : OK;
    if (st == OK && e->children_count > 0) {
        st = scalar_eval(ev, e->children[0], grid, s->col.values);
    } else if (st == OK) {
        map_fn fn = map_function(e->u.function->id);
        for (size_t k = 0; k < grid->steps; k++)
            s->col.values[k] = fn((double)(grid_time(grid, k) / 1000));
    }
    if (st == OK) memset(s->col.kinds, POINT_FLOAT, grid->steps);
    if (st == OK) st = vectors_ready(ev, v);
    if (st != OK) {
        vectors_free(v);
        return st;
    }
    *out = v;
    return OK;
}

static int matcher_order(const void *a, const void *b) {
    const struct matcher *const *x = a, *const *y = b;
    int c = sv_cmp((*x)->name, (*y)->name);
    return c != 0 ? c : (*x > *y) - (*x < *y);
}

/* A name's first equality gives its value, and each further matcher of the name takes it away: the
 * only equality stays, when it is the last. */
static void absent_set(const struct matcher *const *sorted, size_t count, struct labelset *out) {
    size_t equalities = 0;
    for (size_t i = 0; i < count; i++) {
        const struct matcher *m = sorted[i];
        equalities += m->kind == MATCH_EQ;
        if (i + 1 < count && sv_eq(m->name, sorted[i + 1]->name)) continue;
        if (m->kind == MATCH_EQ && equalities == 1 && m->value.len > 0)
            out->labels[out->count++] = (struct label){m->name, m->value};
        equalities = 0;
    }
}

/* Labels of an absent() result: those of equality matchers, unless a label is matched twice. */
static enum status absent_labels(struct eval *ev, struct vectors *v, const struct expr *arg) {
    arg = arg->kind == EXPR_MATRIX ? arg->children[0] : arg;
    struct labelset set = {0};
    size_t max = arg->kind == EXPR_SELECTOR ? arg->u.selector.matchers_count : 0, n = 0;
    set.labels = arena_array(&v->arena, max + 1, sizeof *set.labels);
    const struct matcher **sorted = arena_array(&v->arena, max + 1, sizeof(*sorted));
    if (set.labels == NULL || sorted == NULL) return eval_nomem(ev);
    for (size_t i = 0; i < max; i++)
        if (!sv_eq(arg->u.selector.matchers[i].name, SV("__name__")))
            sorted[n++] = &arg->u.selector.matchers[i];
    qsort(sorted, n, sizeof(*sorted), matcher_order);
    absent_set(sorted, n, &set);
    return vectors_add(v, &set, 0) == NULL ? eval_nomem(ev) : OK;
}

static enum status absent_present(struct eval *ev, const struct expr *e, const struct grid *grid,
                                  struct vectors **out) {
    struct partial *p = plan_partial(ev->plan, e->number);
    if (p != NULL) return vectors_of_partial(ev, p, out);
    if (e->u.function->id == FN_ABSENT) return eval_vector(ev, e->children[0], grid, out);
    /* absent_over_time of a subquery over vectors: a step is present when its range has any point
     */
    const struct expr *sub = node_unwrap(e->children[0]);
    struct grid inner;
    TRY(grid_of_child(ev->q, sub, grid, &inner, ev->err));
    struct vectors *in = NULL;
    TRY(eval_vector(ev, sub->children[0], &inner, &in));
    struct stage s = {.kind = STAGE_WINDOW,
                      .expr = e,
                      .matrix = sub,
                      .fn = FN_ABSENT_OVER_TIME,
                      .in = inner,
                      .out = *grid};
    struct stage_run run = {.ev = ev, .stage = &s};
    struct vectors *v = eval_vectors_new(ev, grid);
    enum status st = v == NULL ? eval_nomem(ev) : reads_init(ev, &run.reads, grid->steps);
    for (size_t i = 0; st == OK && i < in->count; i++) {
        struct series *to = vectors_add(v, &in->series[i].labels, 0);
        run.labels = &in->series[i].labels;
        st = to == NULL ? eval_nomem(ev) : stage_apply(&run, &in->series[i].col, &to->col);
    }
    if (st == OK) st = plan_count(ev, e, &run.reads);
    stage_run_fini(&run);
    if (st == OK) st = vectors_ready(ev, v);
    vectors_done(ev, in);
    if (st != OK) vectors_free(v);
    if (st == OK) *out = v;
    return st;
}

enum status fn_absent(struct eval *ev, const struct expr *e, const struct grid *grid,
                      struct vectors **out) {
    struct vectors *in = NULL, *v = NULL;
    TRY(absent_present(ev, e, grid, &in));
    v = eval_vectors_new(ev, grid);
    enum status st = v == NULL ? eval_nomem(ev) : absent_labels(ev, v, e->children[0]);
    for (size_t k = 0; st == OK && k < grid->steps; k++) {
        bool present = false;
        for (size_t i = 0; st == OK && i < in->count && !present; i++) {
            present = in->series[i].col.kinds[k] != POINT_NONE;
            st = eval_work(ev, 4);
        }
        if (present) continue;
        v->series[0].col.kinds[k] = POINT_FLOAT;
        v->series[0].col.values[k] = 1;
    }
    vectors_done(ev, in);
    if (st == OK) st = vectors_ready(ev, v);
    if (st != OK) {
        vectors_free(v);
        return st;
    }
    v->series[0].drop_name = eval_delayed_names(ev) && e->u.function->id == FN_ABSENT_OVER_TIME;
    st = vectors_drop_empty(ev, v);
    if (st != OK) vectors_free(v);
    if (st == OK) *out = v;
    return st;
}
