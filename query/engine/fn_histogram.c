/* SPDX-License-Identifier: Apache-2.0 */
/* histogram_quantile(s) and histogram_fraction of classic histograms: series with an `le` label,
 * grouped without it. */
#include "query/engine/histogram.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "node/base/num.h"

struct bucket_series {
    double le;
    const struct column *col;
};
struct classic { /* one histogram */
    struct labelset labels;
    bool drop_name;
    struct bucket_series *buckets;
    size_t count, cap;
};
struct classics {
    struct classic *items;
    size_t count;
};

static int classic_order(const void *a, const void *b, void *arg) {
    (void)arg;
    return labelset_cmp(&((const struct classic *)a)->labels, &((const struct classic *)b)->labels);
}

static void note_bad_bucket(struct eval *ev, const struct expr *arg, const struct labelset *labels,
                            struct sv le) {
    struct sv name = eval_delayed_names(ev) ? labelset_get(labels, SV("__name__")) : SV("");
    struct buf quoted = {0};
    label_put_quoted(&quoted, le);
    if (name.len > 0) {
        buf_put_sv(&quoted, SV(" for metric name "));
        label_put_quoted(&quoted, name);
    }
    eval_note(ev, true, arg, "bucket label \"le\" is missing or has a malformed value of %.*s",
              (int)quoted.len, quoted.ptr);
    buf_fini(&quoted);
}

/* Every series on its own first; equal labels then join into one histogram. */
static enum status classics_split(struct eval *ev, struct vectors *in, const struct expr *arg,
                                  struct classics *out) {
    static struct sv le_name[1];
    le_name[0] = SV("le");
    const struct label_list le_list = {le_name, 1};
    out->items = calloc(in->count + 1, sizeof *out->items);
    if (out->items == NULL) return eval_nomem(ev);
    for (size_t i = 0; i < in->count; i++) {
        struct series *s = &in->series[i];
        struct sv le = labelset_get(&s->labels, SV("le"));
        double bound;
        if (memchr(s->col.kinds, POINT_HISTOGRAM, in->grid.steps) != NULL &&
            s->col.histograms != NULL)
            return eval_unsupported(ev, "histogram_quantile");
        if (le.len == 0 || !num_parse_f64(le, &bound)) {
            note_bad_bucket(ev, arg, &s->labels, le);
            continue;
        }
        struct classic *c = &out->items[out->count];
        if (!labelset_copy(&in->arena, &s->labels, 1, &c->labels)) return eval_nomem(ev);
        TRY(eval_work(ev, 200));
        labelset_remove(&c->labels, &le_list, false, &c->labels);
        c->drop_name = s->drop_name;
        c->buckets = arena_alloc(&in->arena, sizeof *c->buckets);
        if (c->buckets == NULL) return eval_nomem(ev);
        c->buckets[0] = (struct bucket_series){bound, &s->col};
        c->count = c->cap = 1;
        out->count++;
    }
    return OK;
}

static int bucket_order(const void *a, const void *b, void *arg) {
    (void)arg;
    double x = ((const struct bucket_series *)a)->le, y = ((const struct bucket_series *)b)->le;
    return (x > y) - (x < y);
}

static enum status classics_join(struct eval *ev, struct vectors *in, struct classics *cs) {
    struct sort_by by = {classic_order, NULL};
    TRY(eval_sort(ev, cs->items, cs->count, sizeof *cs->items, &by));
    size_t n = 0;
    for (size_t i = 0; i < cs->count; i++) {
        struct classic *from = &cs->items[i], *into = n > 0 ? &cs->items[n - 1] : NULL;
        if (into == NULL || labelset_cmp(&into->labels, &from->labels) != 0) {
            cs->items[n++] = *from;
            continue;
        }
        if (into->count == into->cap) {
            size_t size = sizeof *into->buckets;
            struct bucket_series *grown =
                arena_grow(&in->arena, into->buckets, into->cap * size, into->cap * 4 * size);
            if (grown == NULL) return eval_nomem(ev);
            into->buckets = grown;
            into->cap *= 4;
        }
        into->buckets[into->count++] = from->buckets[0];
    }
    cs->count = n;
    by.cmp = bucket_order;
    for (size_t i = 0; i < n; i++)
        TRY(eval_sort(ev, cs->items[i].buckets, cs->items[i].count, sizeof *cs->items[i].buckets,
                      &by));
    return OK;
}

static size_t buckets_at(const struct classic *c, size_t k, struct bucket *out) {
    size_t n = 0;
    for (size_t i = 0; i < c->count; i++)
        if (c->buckets[i].col->kinds[k] == POINT_FLOAT)
            out[n++] = (struct bucket){c->buckets[i].le, c->buckets[i].col->values[k]};
    return n;
}

static void note_monotonic(struct eval *ev, const struct expr *arg, const struct classic *c,
                           int64_t t, const struct bucket_fix *fix) {
    struct note counters = {
        .min_bucket = fix->min_bucket, .max_bucket = fix->max_bucket, .max_diff = fix->max_diff};
    counters.min_ms = counters.max_ms = t;
    counters.count = 1;
    char text[700];
    struct sv name = eval_delayed_names(ev) ? labelset_get(&c->labels, SV("__name__")) : SV("");
    int n = snprintf(text, sizeof text, "%s", HISTOGRAM_MONOTONIC_TEXT);
    if (name.len > 0 && n > 0)
        snprintf(text + n, sizeof text - (size_t)n, " for metric name \"%.*s\"",
                 SV_ARG(sv_take(name, 300)));
    eval_note_counted(ev, arg, &counters, text);
}

/* What is asked of each histogram and step */
struct ask {
    struct eval *ev;
    const struct expr *arg; /* the vector argument, for annotations */
    const double *q;        /* quantile of each step; NULL: a fraction */
    const double *lower, *upper;
    size_t first, end; /* steps */
};

static double ask_step(const struct ask *a, const struct classic *c, size_t k, int64_t t,
                       struct bucket *b, size_t n) {
    if (a->q == NULL) return bucket_fraction(a->lower[k], a->upper[k], b, n);
    struct bucket_fix fix;
    double v = bucket_quantile(a->q[k], b, n, &fix);
    if (fix.forced) note_monotonic(a->ev, a->arg, c, t, &fix);
    return v;
}

static enum status ask_all(const struct ask *a, struct classics *cs, struct label *extra,
                           struct vectors *out) {
    size_t most = 0;
    for (size_t i = 0; i < cs->count; i++)
        most = MAX(most, cs->items[i].count);
    struct bucket *b = calloc(most + 1, sizeof *b);
    if (b == NULL) return eval_nomem(a->ev);
    enum status st = OK;
    for (size_t i = 0; st == OK && i < cs->count; i++) {
        struct series *s = vectors_add(out, &cs->items[i].labels, 1);
        st = s == NULL ? eval_nomem(a->ev) : eval_work(a->ev, 100);
        if (st != OK) break;
        s->drop_name = eval_delayed_names(a->ev);
        if (!s->drop_name) labelset_drop_metadata(&s->labels);
        if (extra != NULL) labelset_set(&s->labels, extra->name, extra->value);
        for (size_t k = a->first; st == OK && k < a->end; k++) {
            st = eval_work(a->ev, 20 + 10 * cs->items[i].count);
            size_t n = buckets_at(&cs->items[i], k, b);
            if (n == 0) continue;
            s->col.values[k] = ask_step(a, &cs->items[i], k, grid_time(&out->grid, k), b, n);
            s->col.kinds[k] = POINT_FLOAT;
        }
    }
    free(b);
    return st;
}

static enum status quantile_column(struct eval *ev, const struct expr *e, struct vectors *v,
                                   double **out) {
    double *q = arena_array(&v->arena, v->grid.steps + 1, sizeof *q);
    if (q == NULL) return eval_nomem(ev);
    TRY(scalar_eval(ev, e, &v->grid, q));
    *out = q;
    return OK;
}

static void note_quantiles(struct eval *ev, const struct expr *at, const double *q, size_t steps) {
    for (size_t k = 0; k < steps; k++) {
        if (q[k] >= 0 && q[k] <= 1) continue;
        if (k > 0 && memcmp(&q[k], &q[k - 1], sizeof q[k]) == 0) continue;
        char text[NUM_TEXT_MAX];
        size_t n = num_format_f64(text, q[k], 'g');
        eval_note(ev, true, at, "quantile value should be between 0 and 1, got %.*s", (int)n, text);
    }
}

/* Evaluates the histograms in child number `at`, then calls `run` on them. */
typedef enum status (*classic_fn)(struct eval *ev, const struct expr *e, struct classics *cs,
                                  struct vectors *out);

static enum status over_classics(struct eval *ev, const struct expr *e, size_t at, classic_fn run,
                                 struct vectors **out, const struct grid *grid) {
    struct vectors *in = NULL, *v = NULL;
    TRY(eval_vector(ev, e->children[at], grid, &in));
    struct classics cs = {0};
    v = eval_vectors_new(ev, grid);
    enum status st = v == NULL ? eval_nomem(ev) : classics_split(ev, in, e->children[at], &cs);
    if (st == OK) st = classics_join(ev, in, &cs);
    if (st == OK) st = run(ev, e, &cs, v);
    free(cs.items);
    vectors_done(ev, in);
    if (st == OK) {
        st = vectors_drop_empty(ev, v);
        if (st == OK && (!eval_delayed_names(ev) || grid->steps > 1))
            st = vectors_join(ev, v, false);
    }
    if (st == OK) st = vectors_ready(ev, v);
    if (st != OK) {
        vectors_free(v);
        return st;
    }
    *out = v;
    return OK;
}

static enum status run_quantile(struct eval *ev, const struct expr *e, struct classics *cs,
                                struct vectors *out) {
    struct ask a = {.ev = ev, .arg = e->children[1], .end = out->grid.steps};
    double *q = NULL;
    TRY(quantile_column(ev, e->children[0], out, &q));
    note_quantiles(ev, e->children[0], q, out->grid.steps);
    a.q = q;
    return ask_all(&a, cs, NULL, out);
}

/* The quantile is a label, so the steps at which it is another are other series. */
static enum status ask_quantiles(struct ask *a, struct classics *cs, struct sv label,
                                 struct vectors *out) {
    size_t steps = out->grid.steps;
    for (a->first = 0; a->first < steps; a->first = a->end) {
        for (a->end = a->first + 1; a->end < steps; a->end++)
            if (memcmp(&a->q[a->end], &a->q[a->first], sizeof *a->q) != 0) break;
        char *text = arena_alloc(&out->arena, NUM_TEXT_MAX + 2);
        if (text == NULL) return eval_nomem(a->ev);
        struct label extra = {.name = label, .value = quantile_label(a->q[a->first], text)};
        TRY(ask_all(a, cs, &extra, out));
    }
    return OK;
}

static enum status run_quantiles(struct eval *ev, const struct expr *e, struct classics *cs,
                                 struct vectors *out) {
    struct ask a = {.ev = ev, .arg = e->children[0]};
    for (size_t i = 2; i < e->children_count; i++) {
        double *q = NULL;
        TRY(quantile_column(ev, e->children[i], out, &q));
        note_quantiles(ev, e->children[i], q, out->grid.steps);
        a.q = q;
        TRY(ask_quantiles(&a, cs, label_string(e->children[1]), out));
    }
    return OK;
}

static enum status run_fraction(struct eval *ev, const struct expr *e, struct classics *cs,
                                struct vectors *out) {
    struct ask a = {.ev = ev, .arg = e->children[2], .end = out->grid.steps};
    double *lower = NULL, *upper = NULL;
    TRY(quantile_column(ev, e->children[0], out, &lower));
    TRY(quantile_column(ev, e->children[1], out, &upper));
    a.lower = lower;
    a.upper = upper;
    return ask_all(&a, cs, NULL, out);
}

enum status fn_histogram_quantile(struct eval *ev, const struct expr *e, const struct grid *grid,
                                  struct vectors **out) {
    return over_classics(ev, e, 1, run_quantile, out, grid);
}
enum status fn_histogram_quantiles(struct eval *ev, const struct expr *e, const struct grid *grid,
                                   struct vectors **out) {
    return over_classics(ev, e, 0, run_quantiles, out, grid);
}
enum status fn_histogram_fraction(struct eval *ev, const struct expr *e, const struct grid *grid,
                                  struct vectors **out) {
    return over_classics(ev, e, 2, run_fraction, out, grid);
}
