/* SPDX-License-Identifier: Apache-2.0 */
/* query/engine/internal.h: what the files of the engine share. Evaluation is series-major over
 * columns:
 *
 *   source series -> chain of stages (one column of steps each) -> group of an aggregation | series
 * of a vector
 *
 * A stage works on one column; the same stages run in fragments over a source and at the
 * coordinator over vectors. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "node/base/arena.h"
#include "node/base/budget.h"
#include "node/base/map.h"
#include "query/engine/engine.h"
#include "query/promql/functions.h"
#include "storage/labels.h"

/* -- evaluation times */
struct grid {
    int64_t start_ms, step_ms; /* step_ms >= 1 */
    size_t steps;              /* 0: an empty subquery */
};
enum { STEPS_MAX = 50000000 }; /* a column is 9 bytes a step */
static inline int64_t grid_time(const struct grid *g, size_t k) {
    return g->start_ms + (int64_t)k * g->step_ms;
}
static inline int64_t grid_end(const struct grid *g) {
    return g->steps == 0 ? g->start_ms : grid_time(g, g->steps - 1);
}
static inline bool grid_eq(const struct grid *a, const struct grid *b) {
    return a->start_ms == b->start_ms && a->step_ms == b->step_ms && a->steps == b->steps;
}
struct grid grid_of_query(const struct query_params *params);
/* The grid on which a child is evaluated: one step under a step-invariant node, own multiples under
 * a subquery. */
enum status grid_of_child(const struct query *q, const struct expr *parent, const struct grid *grid,
                          struct grid *out, struct err *err) MUST_USE;

/* -- label sets: labels sorted by name */
struct labelset {
    struct label *labels;
    size_t count;
};
struct sv labelset_get(const struct labelset *set, struct sv name);
uint64_t labelset_hash(const struct labelset *set);
series_id labelset_id(const struct labelset *set);
static inline int labelset_cmp(const struct labelset *a, const struct labelset *b) {
    return label_list_cmp(a->labels, a->count, b->labels, b->count);
}
bool label_is_metadata(struct sv name); /* __name__, __type__, __unit__ */
bool label_list_has(const struct label_list *list, struct sv name);
/* These write into out, which has room for in->count labels (labelset_set: one more), and borrow
 * the strings. */
void labelset_keep(const struct labelset *in, const struct label_list *names, struct labelset *out);
void labelset_remove(const struct labelset *in, const struct label_list *names, bool name_too,
                     struct labelset *out);
void labelset_drop_metadata(struct labelset *set); /* in place */
void labelset_set(struct labelset *set, struct sv name,
                  struct sv value); /* in place; an empty value deletes */
bool labelset_copy(struct arena *arena, const struct labelset *in, size_t spare,
                   struct labelset *out);

/* -- columns and vectors */
enum point_kind { POINT_NONE = 0, POINT_FLOAT = 1, POINT_HISTOGRAM = 2 };
struct column {
    double *values;
    uint8_t *kinds;                /* enum point_kind */
    struct histogram **histograms; /* NULL while there are none */
};
struct series {
    struct labelset labels;
    bool drop_name; /* delayed name removal: to be dropped at the end */
    struct column col;
};
struct vectors {
    struct arena arena;
    struct grid grid;
    struct series *series;
    size_t count, cap;
    uint64_t held_points; /* counted by vectors_ready */
};
struct vectors *vectors_new(const struct grid *grid, struct budget *budget);
void vectors_free(struct vectors *v);
/* A new series with its labels copied (room for `spare` more) and an empty column; NULL without
 * memory. */
struct series *vectors_add(struct vectors *v, const struct labelset *labels, size_t spare);
bool column_alloc(struct arena *arena, size_t steps, struct column *out);
size_t column_points(const struct column *c, size_t steps);
struct eval;
enum status vectors_sort(struct eval *ev, struct vectors *v) MUST_USE; /* by labels */
/* Takes out series without points. */
enum status vectors_drop_empty(struct eval *ev, struct vectors *v) MUST_USE;
enum status vectors_points(struct eval *ev, const struct vectors *v, uint64_t *out) MUST_USE;

/* -- annotations */
struct note {
    bool warning;
    uint32_t number; /* tree node: position; of equal texts the last one wins */
    char *text;      /* without "PromQL warning: " and position */
    size_t text_len;
    uint64_t hash;
    /* counters of monotonicity fixes and start time overlaps */
    bool counted;
    double min_bucket, max_bucket, max_diff;
    int64_t min_ms, max_ms;
    uint64_t count;
};
struct notes {
    struct note *items;
    size_t count, cap;
};
/* Subqueries are replaced before annotations see them, so Prometheus gives the query's start as the
 * place. */
#define NOTE_NOWHERE UINT32_MAX
enum { NOTES_MAX = 10000 };
void notes_fini(struct notes *n);
/* By tree node and text: which series came first does not show. */
void notes_sort(struct notes *n);
enum status notes_add(struct notes *n, const struct note *note) MUST_USE; /* copies the text */
enum status notes_merge(struct notes *into, const struct notes *from) MUST_USE;

/* -- samples read, see reads.c */
struct reads {
    uint64_t total;
    uint64_t *steps; /* NULL where they are not asked for (FEATURE_PER_STEP_STATS) */
    size_t count;
};
struct eval;
bool reads_wanted(const struct query *q);
enum status reads_init(struct eval *ev, struct reads *r, size_t steps) MUST_USE;
void reads_fini(struct reads *r, struct budget *budget);
static inline void reads_at(struct reads *r, size_t k, uint64_t samples) {
    r->total += samples;
    if (r->steps != NULL) r->steps[k] += samples;
}
void reads_add(struct reads *into, const struct reads *from); /* on the same grid */
void reads_add_each(struct reads *into, uint64_t samples);    /* at every step */

/* -- an evaluation under way: a fragment on a worker, or the coordinator */
struct bound { /* a scalar sub-expression computed before */
    uint32_t number;
    size_t steps;
    double *values;
};
struct map_entry { /* arguments of map_insert */
    uint64_t hash;
    uint32_t ref;
    map_hash rehash;
    const void *owner;
};
struct eval {
    const struct query *q;
    struct query_control *control;
    struct notes *notes;
    struct err *err;
    struct bound *bounds;
    size_t bounds_count;
    struct plan *plan;                 /* NULL in a fragment */
    uint64_t held, peak;               /* samples */
    size_t work;                       /* since the last look */
    uint64_t told_samples, told_bytes; /* to the control, of what is held here */
    struct budget *budget;             /* of the fragment's partial, or the plan */
    enum status note_status;
};
/* Tells the control what is held, where that has changed by much or by anything, and what all
 * together hold against the limits: ERR_LIMIT. */
enum status eval_tell(struct eval *ev, bool anything) MUST_USE;
/* Nothing else evaluates now: what others told is part of what is held here, or gone. */
void eval_tell_alone(struct eval *ev);
/* A look at the stop conditions. */
enum status eval_poll(struct eval *ev) MUST_USE;
/* Every loop says what it has done, in units of one to five nanoseconds, and there is a look
 * whenever that is enough: so a query stops within a fraction of a millisecond
 * (tests/query/engine/test_looks.c). */
enum { LOOK_WORK = 1 << 15, LOOK_STEPS = 1 << 12 };
static inline enum status eval_work(struct eval *ev, size_t units) {
    ev->work += units;
    return ev->work < LOOK_WORK ? OK : eval_poll(ev);
}
/* For a loop over steps, at each of them. */
static inline enum status eval_step(struct eval *ev, size_t k) {
    return k % LOOK_STEPS == LOOK_STEPS - 1 ? eval_work(ev, 2 * LOOK_STEPS) : OK;
}
/* Stable. An interrupted one leaves base in no order, with elements twice. */
typedef int (*sort_cmp)(const void *a, const void *b, void *arg);
struct sort_by {
    sort_cmp cmp;
    void *arg;
};
enum status eval_sort(struct eval *ev, void *base, size_t count, size_t size,
                      const struct sort_by *by) MUST_USE;
enum status eval_nomem(struct eval *ev) MUST_USE;
enum status eval_hold(struct eval *ev,
                      uint64_t samples) MUST_USE; /* counts samples held; ERR_LIMIT */
void eval_release(struct eval *ev, uint64_t samples);
/* An array for as long as one function runs, charged; NULL without memory. */
void *eval_alloc(struct eval *ev, size_t count, size_t size);
void eval_free(struct eval *ev, void *ptr, size_t count, size_t size);
/* As map_insert, charged. */
enum status map_insert_charged(struct map *map, struct budget *budget,
                               const struct map_entry *entry) MUST_USE;
enum status eval_unsupported(struct eval *ev, const char *what) MUST_USE;
bool eval_delayed_names(const struct eval *ev);
void eval_note(struct eval *ev, bool warning, const struct expr *at, const char *fmt, ...)
    PRINTF_LIKE(4, 5);
void eval_note_counted(struct eval *ev, const struct expr *at, const struct note *counters,
                       const char *text);
void note_float_trim(struct eval *ev, const struct expr *binary); /* </ or >/ between floats */

/* -- scalars */
const struct expr *node_unwrap(const struct expr *e); /* without parentheses */
const struct expr *
node_unwrap_invariant(const struct expr *e); /* without parentheses and step-invariant wraps */
bool expr_reads_data(const struct expr *e);
/* scalar() stands in it, which only the coordinator evaluates, also where it reads no data. */
bool scalar_needs_vector(const struct expr *e);
enum status scalar_eval(struct eval *ev, const struct expr *e, const struct grid *grid,
                        double *out) MUST_USE;
double binary_float(enum binary_op op, double a, double b); /* comparisons give 0 or 1 */
bool binary_keeps(enum binary_op op, double a, double b);   /* comparisons */
bool binary_changes_schema(enum binary_op op);

/* -- Kahan-Neumaier summation */
struct kahan {
    double sum, c;
};
static inline void kahan_add(struct kahan *k, double inc) {
    double t = k->sum + inc;
    if (__builtin_isinf(t))
        k->c = 0;
    else if (__builtin_fabs(k->sum) >= __builtin_fabs(inc))
        k->c += (k->sum - t) + inc;
    else
        k->c += (inc - t) + k->sum;
    k->sum = t;
}
/* The mean of n > 0 values in their order, as Prometheus takes it: true and *out the mean, taken
 * step by step from where the sum overflowed; else *out is the sum, which the caller divides. */
bool kahan_mean(const double *v, size_t n, struct kahan *out);
struct eval;
/* Changes the order of the values. */
enum status quantile_of(struct eval *ev, double q, double *values, size_t count,
                        double *out) MUST_USE;

/* -- stages */
enum stage_kind {
    STAGE_SELECT,    /* leaf: instant selector */
    STAGE_TIMESTAMP, /* leaf: timestamp(selector), start_timestamp(selector) */
    STAGE_WINDOW,    /* leaf over a range selector, or over the column of a subquery */
    STAGE_MAP,       /* one value to one value: math, dates, clamp, round */
    STAGE_SCALAR_OP, /* vector op scalar */
    STAGE_NEGATE,
    STAGE_BROADCAST, /* step-invariant */
    STAGE_NATIVE,    /* histogram_count and the like: floats are dropped */
};
enum { STAGE_ARGS_MAX = 2 };
struct stage {
    enum stage_kind kind;
    const struct expr *expr;
    const struct selector *selector; /* leaf */
    const struct expr *matrix;       /* STAGE_WINDOW: the EXPR_MATRIX or EXPR_SUBQUERY */
    enum function_id fn;
    bool changes_labels; /* drops the name */
    bool whole_unique;   /* range functions: label sets must be unique over all steps, not only per
                            step */
    bool swapped;        /* STAGE_SCALAR_OP: the scalar stands on the left */
    struct grid in, out;
    const struct expr *arg_exprs[STAGE_ARGS_MAX];
    size_t args_count;
    double *args[STAGE_ARGS_MAX]; /* columns on `out` */
};
/* Fills in what the node does to the column of its one vector or matrix argument, *child (NULL for
 * a leaf). false: the node is not of that kind. */
bool stage_describe(const struct expr *e, struct stage *out, const struct expr **child);
enum { CHAIN_STAGES_MAX = 64 };
/* true when e is a chain of stages over one selector (`depth` stages at most). */
bool chain_is(const struct expr *e);

struct windows { /* sample indexes (lo, hi] of each step */
    uint32_t *lo, *hi;
    size_t cap;
};
struct stage_run { /* scratch of one stage, reused from series to series */
    struct eval *ev;
    struct stage *stage;
    struct samples samples; /* what a window sees: borrowed from the input, or `own` */
    struct samples own;     /* a copy without stale markers */
    struct windows windows;
    double *scratch;
    size_t scratch_cap;
    size_t own_bytes;              /* charged for `own` */
    struct reads reads;            /* of a leaf or a window; steps from reads_init */
    const struct labelset *labels; /* of the series, names not dropped */
    bool name_dropped;             /* by a stage below */
    const struct ended *ended;     /* of the series; NULL: nothing has */
};
void stage_run_fini(struct stage_run *r);
/* Leaf: samples of the source to a column. */
enum status stage_read(struct stage_run *r, const struct samples *in, struct column *out) MUST_USE;
/* Rows of the leaf's resolution (window_rows.c) to a column. */
enum status stage_read_rows(struct stage_run *r, const struct downsample_rows *rows,
                            struct column *out) MUST_USE;
/* ended.c. How long the bucket is that a sample stands for; 0: it is one. e may be NULL. */
int64_t ended_bucket_ms(const struct ended *e, int64_t time_ms);
/* What is read of from < t <= to is downsampled, which the user is told. */
void ended_note(struct stage_run *r, const struct ended *e, int64_t from_ms, int64_t to_ms);
/* Rows tell what the leaf asks for. */
bool ended_rows_tell(const struct query_params *p, const struct stage *leaf);
/* Behind rows of what has ended come samples, each a row of its own, as far as windows reach from
 * there. ERR_NOMEM. */
enum status ended_rows_append(const struct stage *leaf, const struct ended *e,
                              const struct samples *samples, struct downsample_rows *rows) MUST_USE;
/* The resolution of the rows that the leaf reads in place of samples; 0: it reads samples. */
uint32_t stage_resolution(const struct query_params *p, const struct stage *leaf);
/* The same for steps whose window begins in what has ended (r->ended); the others stay. */
enum status stage_read_rows_ended(struct stage_run *r, const struct downsample_rows *rows,
                                  struct column *out) MUST_USE;
bool rows_tell(enum function_id fn, uint32_t features);
/* One bit for each column that the leaf's function looks at. */
uint32_t stage_columns(const struct stage *leaf);
/* Only samples tell what they are. */
bool rows_have_histograms(const struct downsample_rows *rows);
/* Other stages: column to column; in and out may be the same where the grids are. */
enum status stage_apply(struct stage_run *r, const struct column *in, struct column *out) MUST_USE;
/* The data a leaf reads: from_ms < t <= to_ms. */
void stage_range(const struct stage *leaf, int64_t lookback_ms, int64_t *out_from_ms,
                 int64_t *out_to_ms);

typedef enum status (*window_fn)(struct stage_run *r, struct column *out);
window_fn window_function(enum function_id fn);
enum status window_needs(struct stage_run *r, size_t count) MUST_USE; /* scratch doubles */
typedef double (*map_fn)(double v);
map_fn map_function(enum function_id fn);
enum status map_stage(struct stage_run *r, const struct column *in, struct column *out) MUST_USE;
struct sv stage_metric_name(const struct stage_run *r);
const struct expr *
stage_note_at(const struct stage_run *r); /* the first argument; NULL for a subquery */
/* Reference time of a range at step k: the window is (ref - range, ref]. */
int64_t stage_ref(const struct stage *s, size_t k);
int64_t stage_window_ms(const struct stage *s);
/* The same for a loop over steps: at + k * step. */
struct ref_times {
    int64_t first_ms, step_ms;
};
struct ref_times stage_refs(const struct stage *s);
static inline int64_t ref_time(const struct ref_times *refs, size_t k) {
    return refs->first_ms + (int64_t)k * refs->step_ms;
}
struct sv label_string(const struct expr *e); /* a string literal argument */

struct chain { /* with its stages behind it */
    struct stage *stages;
    struct stage_run *runs;
    struct column *cols;
    size_t count; /* stages[0] is the leaf */
    size_t memory_bytes;
    struct budget *budget;
    struct arena arena;
    bool changes_labels;
};
enum status chain_new(struct eval *ev, const struct expr *e, const struct grid *grid,
                      struct chain **out) MUST_USE;
void chain_free(struct chain *c);
enum status chain_run(struct chain *c, const struct samples *samples, const struct labelset *labels,
                      struct column **out) MUST_USE;
/* The same for a series of which e has ended. With rows (not NULL) these tell of windows that begin
 * there. */
enum status chain_run_ended(struct chain *c, const struct ended *e, const struct samples *samples,
                            const struct downsample_rows *rows, const struct labelset *labels,
                            struct column **out) MUST_USE;
struct stage_run *chain_leaf_run(struct chain *c);
enum status chain_run_rows(struct chain *c, const struct downsample_rows *rows,
                           const struct labelset *labels, struct column **out) MUST_USE;
/* The leaf of such a chain on its grid, without its arguments; false: e is none. */
bool chain_leaf(const struct query *q, const struct expr *e, const struct grid *grid,
                struct stage *out);
/* What it read until now, on the grid of its last stage. */
void chain_reads(const struct chain *c, struct reads *into);

/* -- aggregation */
enum { AGG_COLUMNS_MAX = 3, SEEN_FLOAT = 1, SEEN_HISTOGRAM = 2 };
struct topk_entry {
    double value;
    uint32_t series;
};
struct topk_heap { /* worst entry first */
    struct topk_entry *entries;
    uint32_t count, cap;
};
struct group {
    struct labelset labels;
    bool drop_name;
    uint64_t hash;
    double *cols[AGG_COLUMNS_MAX]; /* by operator: sum: value, compensation; avg: and count; count;
                                      min, max: value */
    double *rest;                  /* of sums that two doubles do not hold (exact.h); or NULL */
    bool not_finite;               /* a sum is not */
    uint8_t *seen;
    struct topk_heap *heaps; /* topk, bottomk, limitk: one a step */
};
struct groups {
    struct arena *arena; /* borrowed */
    struct group *items;
    uint32_t count, cap;
    struct map map;
};
/* What an aggregation node does; limit_ratio takes vectors at the coordinator. */
struct agg {
    enum aggregate_op op;
    const struct expr
        *expr; /* of the aggregation; absent() and absent_over_time() fold as group by () */
    const struct label_list *grouping;
    bool without;
    struct sv value_label; /* count_values */
    size_t steps;
    double *param; /* k of each step; NULL */
    bool order_free;
    struct groups groups;
    struct labelset *series_labels; /* of entries in heaps */
    bool *series_drop_name;
    uint32_t series_count, series_cap;
    struct labelset scratch;
    size_t scratch_cap;
};
size_t agg_columns(enum aggregate_op op);
bool agg_is_topk(enum aggregate_op op); /* topk, bottomk, limitk */
bool agg_pushable(enum aggregate_op op);
void agg_init(struct agg *a, struct arena *arena, const struct expr *e, size_t steps);
void agg_fini(struct agg *a);
enum status agg_group(struct agg *a, const struct labelset *labels, bool drop_name,
                      uint32_t *out) MUST_USE;
/* count_values: the value becomes a label before grouping. */
enum status agg_group_value(struct agg *a, const struct labelset *labels, struct sv value,
                            uint32_t *out) MUST_USE;
/* Folds one series into its group. */
enum status agg_fold(struct eval *ev, struct agg *a, const struct labelset *labels, bool drop_name,
                     const struct column *col) MUST_USE;
enum status agg_merge(struct eval *ev, struct agg *into,
                      struct agg *from) MUST_USE; /* labels are copied */
enum status agg_finish(struct eval *ev, struct agg *a, struct vectors *out) MUST_USE;
/* sum and avg (aggregate_sum.c). A group's share of a column, or of the same group of another
 * partial: ERR_NOMEM only, or what eval_step() says. The values of every step, those without any
 * included. */
enum status agg_sum_fold(struct agg *a, struct group *g, const struct column *col) MUST_USE;
enum status agg_sum_merge(struct eval *ev, struct agg *a, struct group *into,
                          const struct group *from) MUST_USE;
void agg_sum_finish(const struct agg *a, const struct group *g, double *values);
bool topk_better(const struct agg *a, const struct topk_entry *x, const struct topk_entry *y);
enum status topk_push(struct agg *a, struct topk_heap *heap, struct topk_entry entry,
                      size_t k) MUST_USE;
enum status topk_check_params(struct eval *ev, const struct agg *a, bool *out_empty) MUST_USE;
enum status agg_avg_in_order(struct eval *ev, const struct expr *e, const struct vectors *in,
                             struct vectors *out) MUST_USE;

/* -- partials */
struct raw_series { /* FRAGMENT_SAMPLES */
    struct labelset labels;
    int64_t *times_ms;
    double *values;
    size_t count;
};
struct id_set {
    struct map map;
    series_id *items;
    uint32_t count, cap;
};
struct partial {
    enum fragment_kind kind;
    const struct query *q; /* referenced */
    uint32_t number;
    struct budget budget; /* all that it holds, and while it is made what making it takes */
    struct arena arena;
    struct grid grid;
    struct agg agg;      /* FRAGMENT_PARTIAL */
    struct vectors *vec; /* FRAGMENT_VECTORS */
    uint64_t points;     /* in them */
    struct raw_series *raw;
    size_t raw_count, raw_cap;
    struct notes notes;
    struct id_set
        ids;        /* of output label sets, where names are dropped without an equality matcher */
    bool duplicate; /* one id twice */
    struct reads reads;
    uint64_t peak;
    uint64_t held_points; /* counted at the coordinator until the answer is used */
};
/* An empty partial of a fragment; evaluates the aggregation's parameter, so ev has the fragment's
 * bound inputs. */
enum status partial_new(struct eval *ev, const struct fragment *f, struct partial **out) MUST_USE;
uint64_t partial_points(const struct partial *p); /* as they count against the limit of samples */
/* Frees the groups of an aggregation whose result has been taken. */
void partial_drop_groups(struct partial *p);
struct raw_series *partial_add_raw(struct partial *p, const struct labelset *labels);
const struct expr *fragment_chain(const struct query *q,
                                  const struct fragment *f); /* what is evaluated per series */
enum status id_set_add(struct id_set *set, struct budget *budget, series_id id,
                       bool *out_duplicate) MUST_USE;
void id_set_fini(struct id_set *set);
bool partial_order_free(const struct partial *p);
enum status fragment_grid(const struct query *q, const struct fragment *f, struct grid *out,
                          struct err *err) MUST_USE;
/* An evaluation with the fragment's bound inputs; eval_fini frees these. */
enum status eval_of_fragment(const struct query *q, const struct fragment *f, struct eval *out,
                             struct err *err) MUST_USE;
void eval_fini(struct eval *ev);
void bound_put(struct buf *out, uint32_t number, const double *values, size_t steps);
enum status fragment_samples(struct eval *ev, struct partial *p, const struct stage *leaf,
                             const struct samples *in, const struct labelset *labels) MUST_USE;
/* true when output label sets of the chain may repeat: names dropped, and no equality matcher on
 * the name. */
bool chain_may_repeat(const struct expr *e, bool delayed_names);

/* Gives info(v) its selector of info metrics, and wraps it so that the times of samples are read.
 */
enum status info_rewrite(struct expr *parsed, struct arena *arena, struct err *err) MUST_USE;

/* -- the query */
struct query_node { /* what collecting found out about a tree node */
    const struct expr *expr;
    const struct expr *parent;
};
const struct expr *query_expr(const struct query *q, uint32_t number);
size_t query_numbers(const struct query *q);
const struct expr *query_leaf_expr(const struct query *q, uint32_t leaf);

/* -- the coordinator: nodes over vectors. *out is owned by the caller. */
enum status eval_vector(struct eval *ev, const struct expr *e, const struct grid *grid,
                        struct vectors **out) MUST_USE;
enum status eval_binary(struct eval *ev, const struct expr *e, const struct grid *grid,
                        struct vectors **out) MUST_USE;
enum status eval_aggregate(struct eval *ev, const struct expr *e, const struct grid *grid,
                           struct vectors **out) MUST_USE;
enum status eval_call(struct eval *ev, const struct expr *e, const struct grid *grid,
                      struct vectors **out) MUST_USE;
/* What e read by itself, at the coordinator; taken. */
enum status plan_count(struct eval *ev, const struct expr *e, struct reads *taken) MUST_USE;
/* The folded answer for this node, NULL when it has no fragment. */
struct partial *plan_partial(struct plan *p, uint32_t number);
enum status vectors_of_partial(struct eval *ev, struct partial *p, struct vectors **out) MUST_USE;
/* Joins series with equal labels; a step in two of them, or (whole) two series at all, is the
 * duplicate error. */
enum status vectors_join(struct eval *ev, struct vectors *v, bool whole) MUST_USE;
enum status fail_duplicate(struct eval *ev) MUST_USE;
/* Charged to the account of this evaluation. */
struct vectors *eval_vectors_new(struct eval *ev, const struct grid *grid);
/* A finished vector counts against the limit of samples until vectors_done frees it. */
enum status vectors_ready(struct eval *ev, struct vectors *v) MUST_USE;
void vectors_done(struct eval *ev, struct vectors *v);
typedef enum status (*call_fn)(struct eval *ev, const struct expr *e, const struct grid *grid,
                               struct vectors **out);
enum status fn_histogram_quantile(struct eval *, const struct expr *, const struct grid *,
                                  struct vectors **) MUST_USE;
enum status fn_histogram_quantiles(struct eval *, const struct expr *, const struct grid *,
                                   struct vectors **) MUST_USE;
enum status fn_histogram_fraction(struct eval *, const struct expr *, const struct grid *,
                                  struct vectors **) MUST_USE;
enum status fn_absent(struct eval *, const struct expr *, const struct grid *,
                      struct vectors **) MUST_USE;
enum status fn_label_replace(struct eval *, const struct expr *, const struct grid *,
                             struct vectors **) MUST_USE;
enum status fn_label_join(struct eval *, const struct expr *, const struct grid *,
                          struct vectors **) MUST_USE;
enum status fn_sort(struct eval *, const struct expr *, const struct grid *,
                    struct vectors **) MUST_USE;
enum status fn_vector(struct eval *, const struct expr *, const struct grid *,
                      struct vectors **) MUST_USE;
enum status fn_info(struct eval *, const struct expr *, const struct grid *,
                    struct vectors **) MUST_USE;
enum status agg_limit_ratio(struct eval *, const struct expr *, const struct grid *,
                            struct vectors **) MUST_USE;
enum status agg_ordered(struct eval *, const struct expr *, const struct grid *,
                        struct vectors **) MUST_USE;
