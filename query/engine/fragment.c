/* SPDX-License-Identifier: Apache-2.0 */
/* Fragments: their bytes, and their evaluation over one source, series by series. */
#include "query/engine/internal.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "node/base/bytes.h"

enum { FRAGMENT_VERSION = 1, BOUNDS_MAX = 1024 };
enum { PIECE_MS = 24 * 3600 * 1000, PIECE_SAMPLES = 100000 }; /* of one series, read at once */

/* u8 version, u8 kind, varint number, zigzag start, end, step, bound inputs: length, then varint
 * count and for each varint number, varint steps, f64... */
void fragment_put(const struct fragment *f, struct buf *out) {
    buf_put_u8(out, FRAGMENT_VERSION);
    buf_put_u8(out, (uint8_t)f->kind);
    buf_put_varint(out, f->number);
    buf_put_zigzag(out, f->start_ms);
    buf_put_zigzag(out, f->end_ms);
    buf_put_zigzag(out, f->step_ms);
    buf_put_lenstr(out, buf_sv(&f->bound));
}

enum status fragment_get(struct sv bytes, struct fragment *out, struct err *err) {
    struct reader r = reader_init(bytes.ptr, bytes.len);
    uint8_t version = read_u8(&r), kind = read_u8(&r);
    struct fragment f = {0};
    uint64_t number = read_varint(&r);
    f.start_ms = read_zigzag(&r);
    f.end_ms = read_zigzag(&r);
    f.step_ms = read_zigzag(&r);
    struct sv bound = read_lenstr(&r);
    if (r.failed || reader_left(&r) != 0 || version != FRAGMENT_VERSION ||
        kind > FRAGMENT_SAMPLES || number > UINT32_MAX || f.step_ms < 1)
        return err_set(err, ERR_CORRUPT, 0, "fragment is malformed");
    f.kind = (enum fragment_kind)kind;
    f.number = (uint32_t)number;
    buf_put_sv(&f.bound, bound);
    if (f.bound.failed) return err_set(err, ERR_NOMEM, 0, "fragment: out of memory");
    *out = f;
    return OK;
}

void fragment_fini(struct fragment *f) {
    buf_fini(&f->bound);
}

void bound_put(struct buf *out, uint32_t number, const double *values, size_t steps) {
    buf_put_varint(out, number);
    buf_put_varint(out, steps);
    buf_put(out, values, steps * sizeof *values);
}

const struct expr *fragment_chain(const struct query *q, const struct fragment *f) {
    const struct expr *e = query_expr(q, f->number);
    if (e == NULL || f->kind != FRAGMENT_PARTIAL) return e;
    if (e->kind == EXPR_AGGREGATE && agg_pushable(e->u.aggregate.op)) return e->children[0];
    if (e->kind != EXPR_CALL) return NULL;
    if (e->u.function->id == FN_ABSENT) return e->children[0];
    return e->u.function->id == FN_ABSENT_OVER_TIME ? e : NULL;
}

/* What a fragment names must be something that is pushed down: it may come from another node. */
static bool fragment_is_valid(const struct query *q, const struct fragment *f) {
    const struct expr *e = fragment_chain(q, f);
    if (e == NULL) return false;
    if (f->kind == FRAGMENT_SAMPLES) return node_unwrap(e)->kind == EXPR_MATRIX;
    return chain_is(e);
}

enum status fragment_grid(const struct query *q, const struct fragment *f, struct grid *out,
                          struct err *err) {
    if (!fragment_is_valid(q, f))
        return err_set(err, ERR_CORRUPT, 0,
                       "fragment names tree node %u, which is not evaluated per series", f->number);
    *out = (struct grid){.start_ms = f->start_ms, .step_ms = f->step_ms};
    if (f->end_ms < f->start_ms) return OK;
    uint64_t steps = ((uint64_t)f->end_ms - (uint64_t)f->start_ms) / (uint64_t)f->step_ms + 1;
    if (f->step_ms < 1 || steps > STEPS_MAX)
        return err_set(err, ERR_LIMIT, 0, "fragment has too many steps");
    out->steps = (size_t)steps;
    return OK;
}

enum status eval_of_fragment(const struct query *q, const struct fragment *f, struct eval *out,
                             struct err *err) {
    *out = (struct eval){.q = q, .err = err};
    struct reader r = reader_init(f->bound.ptr, f->bound.len);
    uint64_t count = f->bound.len == 0 ? 0 : read_varint(&r);
    if (count > BOUNDS_MAX)
        return err_set(err, ERR_CORRUPT, 0, "fragment has too many bound inputs");
    out->bounds = calloc((size_t)count + 1, sizeof *out->bounds);
    if (out->bounds == NULL) return eval_nomem(out);
    for (; out->bounds_count < count; out->bounds_count++) {
        struct bound *b = &out->bounds[out->bounds_count];
        uint64_t number = read_varint(&r), steps = read_varint(&r);
        const uint8_t *bytes =
            steps > reader_left(&r) / 8 ? NULL : read_bytes(&r, (size_t)steps * 8);
        if (r.failed || bytes == NULL) {
            eval_fini(out);
            return err_set(err, ERR_CORRUPT, 0, "bound inputs of the fragment are malformed");
        }
        b->number = (uint32_t)number;
        b->steps = (size_t)steps;
        b->values = malloc((b->steps + 1) * sizeof *b->values);
        if (b->values == NULL) {
            eval_fini(out);
            return eval_nomem(out);
        }
        memcpy(b->values, bytes, b->steps * sizeof *b->values);
    }
    return OK;
}

void eval_fini(struct eval *ev) {
    for (size_t i = 0; i < ev->bounds_count; i++)
        free(ev->bounds[i].values);
    free(ev->bounds);
    ev->bounds = NULL;
    ev->bounds_count = 0;
}

static const struct selector *leaf_of(const struct expr *e) {
    if (e->kind == EXPR_SELECTOR) return &e->u.selector;
    /* the vector or matrix argument is the only child that leads to the leaf; scalars are bound */
    for (size_t i = 0; i < e->children_count; i++) {
        enum value_type t = e->children[i]->type;
        if (t != VALUE_VECTOR && t != VALUE_MATRIX) continue;
        const struct selector *s = leaf_of(e->children[i]);
        if (s != NULL) return s;
    }
    return NULL;
}

size_t fragment_leaves(const struct query *q, const struct fragment *f, uint32_t *out_leaves,
                       size_t max) {
    const struct expr *e = fragment_is_valid(q, f) ? fragment_chain(q, f) : NULL;
    const struct selector *s = e == NULL ? NULL : leaf_of(e);
    if (s == NULL) return 0;
    if (max > 0) out_leaves[0] = s->leaf;
    return 1;
}

uint32_t fragment_resolution(const struct query *q, const struct fragment *f) {
    struct grid grid;
    struct stage leaf;
    if (f->kind == FRAGMENT_SAMPLES || fragment_grid(q, f, &grid, NULL) != OK ||
        !chain_leaf(q, fragment_chain(q, f), &grid, &leaf))
        return 0;
    return stage_resolution(query_params(q), &leaf);
}

struct run { /* one fragment_run */
    struct eval ev;
    struct partial *p;
    struct chain *chain;
    const struct source *src;
    struct stage leaf;
    int64_t from_ms, to_ms;
    struct labelset labels, out_labels; /* of the series; as they leave the chain */
    size_t labels_cap;
    struct samples samples;
    uint32_t resolution_ms; /* of rows; 0: samples */
    struct downsample_rows rows;
    struct ended ended;   /* of the series at hand, where it matters */
    size_t charged_bytes; /* for bound inputs and samples */
    bool may_repeat, drops, one_instant, needs_labels, needs_some; /* some: those asked for */
    struct labels_asked asked;
};

static enum status run_charge(struct run *r, size_t bytes) {
    if (!budget_take(r->ev.budget, bytes)) return eval_nomem(&r->ev);
    r->charged_bytes += bytes;
    return OK;
}

/* An aggregation into one group of what a selector gives asks nobody for labels. */
static bool needs_labels(const struct run *r) {
    const struct agg *a = &r->p->agg;
    bool one_group = r->p->kind == FRAGMENT_PARTIAL && !a->without && a->grouping->count == 0;
    if (!one_group || agg_is_topk(a->op) || a->op == AGG_COUNT_VALUES || r->drops) return true;
    for (size_t i = 0; i < r->chain->count; i++)
        if (r->chain->stages[i].kind == STAGE_WINDOW) return true; /* annotations name the metric */
    return false;
}

/* An aggregation by labels asks for these, and for what annotations and dropping names look at. */
static enum status needs_some(struct run *r) {
    static const struct sv always[] = {SV_INIT("__name__"), SV_INIT("__type__"),
                                       SV_INIT("__unit__")};
    const struct agg *a = &r->p->agg;
    if (r->p->kind != FRAGMENT_PARTIAL || a->without || agg_is_topk(a->op) || r->may_repeat ||
        r->src->ops->labels_asked == NULL)
        return OK;
    size_t count = a->grouping->count + ARRAY_LEN(always);
    struct sv *names = arena_array(&r->p->arena, count, sizeof *names);
    if (names == NULL) return eval_nomem(&r->ev);
    memcpy(names, always, sizeof always);
    for (size_t i = 0; i < a->grouping->count; i++)
        names[ARRAY_LEN(always) + i] = a->grouping->names[i];
    r->asked.names = names;
    r->asked.count = count;
    r->needs_some = true;
    return OK;
}

static size_t run_labels_get(struct run *r, size_t index) {
    const struct source_ops *ops = r->src->ops;
    uint32_t leaf = r->leaf.selector->leaf;
    struct label *to = r->labels.labels;
    return r->needs_some ? ops->labels_asked(r->src, leaf, index, &r->asked, to, r->labels_cap)
                         : ops->labels(r->src, leaf, index, to, r->labels_cap);
}

static enum status run_labels(struct run *r, size_t index) {
    if (!r->needs_labels) return OK;
    size_t n = run_labels_get(r, index);
    if (n > r->labels_cap) {
        struct label *a = reallocarray(r->labels.labels, n, sizeof *a);
        if (a != NULL) r->labels.labels = a;
        struct label *b = reallocarray(r->out_labels.labels, n, sizeof *b);
        if (b != NULL) r->out_labels.labels = b;
        if (a == NULL || b == NULL) return eval_nomem(&r->ev);
        r->labels_cap = n;
        n = run_labels_get(r, index);
    }
    r->labels.count = r->out_labels.count = n;
    if (n > 0) memcpy(r->out_labels.labels, r->labels.labels, n * sizeof *r->labels.labels);
    if (r->drops) labelset_drop_metadata(&r->out_labels);
    return OK;
}

/* Dropping names may give two series the same labels. */
static enum status run_repeats(struct run *r) {
    if (!r->drops || r->p->kind != FRAGMENT_PARTIAL) return OK;
    if (r->may_repeat) {
        enum status st =
            id_set_add(&r->p->ids, &r->p->budget, labelset_id(&r->out_labels), &r->p->duplicate);
        return st == OK ? OK : eval_nomem(&r->ev);
    }
    if (r->labels.count - r->out_labels.count > 1)
        r->p->agg.order_free = false; /* __type__, __unit__ */
    return OK;
}

static enum status run_column(struct run *r, const struct column *col) {
    struct partial *p = r->p;
    size_t points = column_points(col, p->grid.steps);
    if (points == 0) return OK;
    bool drop_name = r->chain->changes_labels && !r->drops;
    TRY(run_repeats(r));
    if (p->kind == FRAGMENT_PARTIAL) {
        uint32_t groups = p->agg.groups.count;
        TRY(agg_fold(&r->ev, &p->agg, &r->out_labels, drop_name, col));
        return eval_hold(&r->ev, (uint64_t)(p->agg.groups.count - groups) * p->grid.steps);
    }
    if (col->histograms != NULL) return eval_unsupported(&r->ev, "instant vector");
    TRY(eval_hold(&r->ev, points));
    struct series *s = vectors_add(p->vec, &r->out_labels, 0);
    if (s == NULL) return eval_nomem(&r->ev);
    s->drop_name = drop_name;
    p->points += points;
    memcpy(s->col.values, col->values, p->grid.steps * sizeof *col->values);
    memcpy(s->col.kinds, col->kinds, p->grid.steps);
    return OK;
}

enum { SERIES_WORK = 400 }; /* to find, label and group it */

/* What has been read is charged and counted. */
static enum status run_count(struct run *r, size_t cap_before, size_t count_before) {
    size_t columns = 2u + (r->samples.starts_ms != NULL) + (r->samples.histograms != NULL);
    if (r->samples.cap > cap_before)
        TRY(run_charge(r, (r->samples.cap - cap_before) * columns * sizeof(double)));
    TRY(eval_work(&r->ev, 2 * (r->samples.count - count_before)));
    return eval_hold(&r->ev, r->samples.count - count_before);
}

/* A long range is read in pieces once the first one shows that there are many samples. */
static enum status run_read(struct run *r, uint32_t leaf, size_t index, int64_t from_ms) {
    const struct source_ops *ops = r->src->ops;
    bool newest = r->one_instant && ops->read_newest != NULL;
    int64_t piece_ms = PIECE_MS;
    samples_clear(&r->samples);
    for (bool more = true; more;) {
        int64_t to_ms = r->to_ms;
        more =
            !newest && to_ms > from_ms && (uint64_t)to_ms - (uint64_t)from_ms > (uint64_t)piece_ms;
        if (more) to_ms = from_ms + piece_ms;
        size_t cap = r->samples.cap, count = r->samples.count;
        TRY((newest ? ops->read_newest : ops->read)(r->src, leaf, index, from_ms, to_ms,
                                                    &r->samples, r->ev.err));
        TRY(run_count(r, cap, count));
        size_t got = MAX(r->samples.count - count, (size_t)1);
        double wanted_ms = (double)(to_ms - from_ms) * PIECE_SAMPLES / (double)got;
        piece_ms = (int64_t)fmin(fmax(wanted_ms, PIECE_MS), 1e15);
        from_ms = to_ms;
    }
    return OK;
}

/* A bucket's length more, but not before all time. */
static int64_t hour_before(int64_t t) {
    return t < INT64_MIN + ENDED_HOUR_MS ? t : t - ENDED_HOUR_MS;
}

enum { ROW_BYTES = (1 + DOWNSAMPLE_COLUMNS) * sizeof(double) };

static enum status run_rows_read(struct run *r, size_t index) {
    const struct source_ops *ops = r->src->ops;
    uint32_t leaf = r->leaf.selector->leaf;
    size_t cap = r->rows.cap;
    if (ops->read_rows != NULL) {
        int64_t from_ms = ended_any(&r->ended) ? hour_before(r->from_ms) : r->from_ms;
        struct source_rows wanted = {from_ms, r->to_ms, stage_columns(&r->leaf)};
        TRY(ops->read_rows(r->src, leaf, index, &wanted, &r->rows, r->ev.err));
    } else {
        samples_clear(&r->samples);
        TRY(ops->read(r->src, leaf, index, r->from_ms, r->to_ms, &r->samples, r->ev.err));
        if (downsample_raw(&r->samples, r->resolution_ms, &r->rows) != OK)
            return eval_nomem(&r->ev);
    }
    if (r->rows.cap > cap) TRY(run_charge(r, (r->rows.cap - cap) * ROW_BYTES));
    return eval_work(&r->ev, 20 * r->rows.count);
}

/* *out_done false: it has histograms, of which only samples tell. */
static enum status run_rows(struct run *r, size_t index, bool *out_done) {
    struct column *col;
    TRY(run_rows_read(r, index));
    *out_done = !rows_have_histograms(&r->rows);
    if (!*out_done || r->rows.count == 0) return OK;
    uint64_t held = r->rows.count;
    TRY(eval_hold(&r->ev, held));
    chain_leaf_run(r->chain)->ended = ended_any(&r->ended) ? &r->ended : NULL;
    TRY(chain_run_rows(r->chain, &r->rows, &r->labels, &col));
    TRY(run_column(r, col));
    eval_release(&r->ev, held);
    return OK;
}

/* Rows for windows that begin in what has ended, in r->rows; false: only samples tell. */
static enum status run_ended_rows(struct run *r, size_t index, bool *out_any) {
    const struct source_ops *ops = r->src->ops;
    size_t cap = r->rows.cap;
    *out_any = false;
    if (!ended_rows_tell(query_params(r->ev.q), &r->leaf)) return OK;
    struct source_rows wanted = {hour_before(r->from_ms), MIN(r->to_ms, r->ended.raw_ms),
                                 stage_columns(&r->leaf)};
    TRY(ops->read_ended(r->src, r->leaf.selector->leaf, index, &wanted, &r->rows, r->ev.err));
    *out_any = r->samples.histograms == NULL && !rows_have_histograms(&r->rows);
    if (*out_any && ended_rows_append(&r->leaf, &r->ended, &r->samples, &r->rows) != OK)
        return eval_nomem(&r->ev);
    if (r->rows.cap > cap) TRY(run_charge(r, (r->rows.cap - cap) * ROW_BYTES));
    return eval_work(&r->ev, 20 * r->rows.count);
}

/* A series of which something in the range has ended. */
static enum status run_ended(struct run *r, size_t index) {
    bool has_rows = false, samples = r->p->kind == FRAGMENT_SAMPLES;
    int64_t from_ms = r->leaf.kind == STAGE_WINDOW ? r->from_ms : hour_before(r->from_ms);
    TRY(run_read(r, r->leaf.selector->leaf, index, from_ms));
    if (!samples) TRY(run_ended_rows(r, index, &has_rows));
    uint64_t held = r->samples.count;
    if (samples) {
        if (held == 0) return OK;
        TRY(fragment_samples(&r->ev, r->p, &r->leaf, &r->samples, &r->labels));
    } else {
        struct column *col;
        TRY(chain_run_ended(r->chain, &r->ended, &r->samples, has_rows ? &r->rows : NULL,
                            &r->labels, &col));
        TRY(run_column(r, col));
    }
    eval_release(&r->ev, held);
    return OK;
}

/* What of the range has ended; the user is told. */
static bool run_has_ended(struct run *r, size_t index) {
    const struct source_ops *ops = r->src->ops;
    r->ended = (struct ended){0};
    if (ops->ended != NULL) ops->ended(r->src, r->leaf.selector->leaf, index, &r->ended);
    if (!ended_any(&r->ended) || r->from_ms >= r->ended.raw_ms) {
        r->ended = (struct ended){0};
        return false;
    }
    struct stage_run at = {.ev = &r->ev, .stage = &r->leaf};
    ended_note(&at, &r->ended, r->from_ms, r->to_ms);
    return true;
}

static enum status run_series(struct run *r, size_t index) {
    bool done = false;
    TRY(eval_work(&r->ev, SERIES_WORK));
    TRY(run_labels(r, index));
    bool ended = run_has_ended(r, index);
    if (r->resolution_ms != 0) TRY(run_rows(r, index, &done));
    if (done) return OK;
    if (ended) return run_ended(r, index);
    TRY(run_read(r, r->leaf.selector->leaf, index, r->from_ms));
    uint64_t held = r->samples.count;
    if (held == 0) return OK;
    if (r->p->kind == FRAGMENT_SAMPLES) {
        TRY(fragment_samples(&r->ev, r->p, &r->leaf, &r->samples, &r->labels));
    } else {
        struct column *col;
        TRY(chain_run(r->chain, &r->samples, &r->labels, &col));
        TRY(run_column(r, col));
    }
    eval_release(&r->ev, held);
    return OK;
}

static enum status run_prepare(struct run *r, const struct fragment *f) {
    const struct query *q = r->ev.q;
    const struct expr *e = fragment_chain(q, f);
    TRY(partial_new(&r->ev, f, &r->p));
    r->ev.notes = &r->p->notes;
    for (size_t i = 0; i < r->ev.bounds_count; i++)
        TRY(run_charge(r, r->ev.bounds[i].steps * sizeof(double)));
    if (f->kind == FRAGMENT_SAMPLES) {
        const struct expr *m = node_unwrap(e);
        r->leaf =
            (struct stage){.kind = STAGE_WINDOW, .matrix = m, .fn = FN_COUNT, .out = r->p->grid};
        r->leaf.selector = &node_unwrap(m->children[0])->u.selector;
    } else {
        TRY(chain_new(&r->ev, e, &r->p->grid, &r->chain));
        r->leaf = r->chain->stages[0];
        r->drops = r->chain->changes_labels && !eval_delayed_names(&r->ev);
        r->may_repeat = chain_may_repeat(e, eval_delayed_names(&r->ev));
    }
    r->needs_labels = needs_labels(r);
    TRY(needs_some(r));
    r->one_instant = (r->leaf.kind == STAGE_SELECT || r->leaf.kind == STAGE_TIMESTAMP) &&
                     r->leaf.out.steps == 1 && r->leaf.selector->modifier == RANGE_PLAIN;
    stage_range(&r->leaf, query_params(q)->lookback_ms, &r->from_ms, &r->to_ms);
    if (f->kind != FRAGMENT_SAMPLES) r->resolution_ms = stage_resolution(query_params(q), &r->leaf);
    return OK;
}

static enum status run_all(struct run *r, const struct fragment *f) {
    TRY(run_prepare(r, f));
    if (r->leaf.out.steps == 0 || r->p->grid.steps == 0) return OK;
    size_t count = r->src->ops->series_count(r->src, r->leaf.selector->leaf);
    for (size_t i = 0; i < count; i++)
        TRY(run_series(r, i));
    TRY(eval_poll(&r->ev));
    return eval_tell(&r->ev, true);
}

enum status fragment_run(const struct query *q, const struct fragment *f, const struct source *src,
                         struct query_control *control, struct partial **out, struct err *err) {
    struct run r = {.src = src};
    TRY(eval_of_fragment(q, f, &r.ev, err));
    r.ev.control = control;
    enum status st = run_all(&r, f);
    if (r.chain != NULL && st == OK) chain_reads(r.chain, &r.p->reads);
    chain_free(r.chain);
    free(r.labels.labels);
    free(r.out_labels.labels);
    samples_fini(&r.samples);
    downsample_rows_fini(&r.rows);
    eval_fini(&r.ev);
    budget_give(r.ev.budget, r.charged_bytes);
    if (st != OK) {
        partial_free(r.p);
        return st;
    }
    r.p->peak = r.ev.peak;
    *out = r.p;
    return OK;
}
