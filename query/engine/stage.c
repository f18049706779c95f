/* SPDX-License-Identifier: Apache-2.0 */
/* Leaves (samples to a column of steps) and the stages that map a column to a column. */
#include "query/engine/internal.h"

#include <assert.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "node/base/bytes.h"

static inline bool is_stale(double v) {
    return f64_bits(v) == STALE_NAN_BITS;
}

/* Without an end in the middle, so that it is done four at a time. */
static bool any_stale(const double *values, size_t count) {
    bool any = false;
    for (size_t i = 0; i < count; i++)
        any |= is_stale(values[i]);
    return any;
}

enum { SAMPLE_BYTES = 24 }; /* time, value, start: what one may take in columns */

/* Charges samples for the capacity they are about to have. */
static enum status samples_charge(struct stage_run *r, size_t count) {
    size_t bytes = count * SAMPLE_BYTES;
    if (bytes <= r->own_bytes) return OK;
    if (!budget_take(r->ev->budget, bytes - r->own_bytes)) return eval_nomem(r->ev);
    r->own_bytes = bytes;
    return OK;
}

void stage_run_fini(struct stage_run *r) {
    if (r->ev != NULL)
        budget_give(r->ev->budget, r->own_bytes + r->scratch_cap * sizeof *r->scratch +
                                       r->windows.cap * 2 * sizeof *r->windows.lo);
    if (r->ev != NULL) reads_fini(&r->reads, r->ev->budget);
    samples_fini(&r->own);
    free(r->windows.lo);
    free(r->windows.hi);
    free(r->scratch);
}

static const struct time_shift *stage_shift(const struct stage *s) {
    if (s->kind == STAGE_WINDOW && s->matrix->kind == EXPR_SUBQUERY)
        return &s->matrix->u.range.shift;
    return &s->selector->shift;
}

int64_t stage_ref(const struct stage *s, size_t k) {
    const struct time_shift *shift = stage_shift(s);
    int64_t t = shift->at != AT_NONE ? shift->at_ms : grid_time(&s->out, k);
    return t - shift->offset_ms;
}

struct ref_times stage_refs(const struct stage *s) {
    bool fixed = stage_shift(s)->at != AT_NONE;
    return (struct ref_times){stage_ref(s, 0), fixed ? 0 : s->out.step_ms};
}

int64_t stage_window_ms(const struct stage *s) {
    return s->matrix->u.range.range_ms;
}

static enum range_modifier stage_modifier(const struct stage *s) {
    return s->selector == NULL ? RANGE_PLAIN : s->selector->modifier;
}

void stage_range(const struct stage *leaf, int64_t lookback_ms, int64_t *out_from_ms,
                 int64_t *out_to_ms) {
    int64_t first = stage_ref(leaf, 0),
            last = stage_ref(leaf, leaf->out.steps == 0 ? 0 : leaf->out.steps - 1);
    enum range_modifier m = stage_modifier(leaf);
    int64_t before = leaf->kind == STAGE_WINDOW ? stage_window_ms(leaf) : 0;
    if (leaf->kind != STAGE_WINDOW || m != RANGE_PLAIN) before += lookback_ms;
    *out_from_ms = first - before;
    *out_to_ms = last + (m == RANGE_SMOOTHED ? lookback_ms : 0);
}

struct sv stage_metric_name(const struct stage_run *r) {
    return r->name_dropped ? SV("") : labelset_get(r->labels, SV("__name__"));
}

const struct expr *stage_note_at(const struct stage_run *r) {
    const struct expr *first = r->stage->expr->children[0];
    return node_unwrap(first)->kind == EXPR_SUBQUERY ? NULL : first;
}

static enum status column_histogram(struct stage_run *r, struct column *out, size_t k,
                                    struct histogram *h) {
    if (out->histograms == NULL) {
        out->histograms = calloc(r->stage->out.steps + 1, sizeof(struct histogram *));
        if (out->histograms == NULL) return eval_nomem(r->ev);
    }
    out->kinds[k] = POINT_HISTOGRAM;
    out->histograms[k] = h;
    return OK;
}

/* How many of count times are <= ref, of which `next` are known to be. Samples and steps mostly
 * come at constant distances, so it is tried first whether as many follow as at the step before. */
static inline size_t times_step(const int64_t *t, size_t count, size_t next, size_t *stride,
                                int64_t ref) {
    size_t guess = next + *stride;
    if (guess > 0 && guess < count && t[guess - 1] <= ref && t[guess] > ref) return guess;
    size_t from = next;
    while (next < count && t[next] <= ref)
        next++;
    *stride = next - from;
    return next;
}

struct instant_floats {
    const int64_t *times_ms;
    const double *values;
    size_t count;
    int64_t lookback_ms;
    struct ref_times refs;
    size_t next, stride; /* see times_step */
};

/* Steps from .. to - 1; returns how many have a value. */
static uint64_t instant_floats(struct instant_floats *f, size_t from, size_t to, double *out,
                               uint8_t *kinds) {
    const int64_t *t = f->times_ms, step_ms = f->refs.step_ms, lookback_ms = f->lookback_ms;
    int64_t ref = ref_time(&f->refs, from);
    size_t next = f->next, stride = f->stride;
    uint64_t found = 0;
    for (size_t k = from; k < to; k++, ref += step_ms) {
        next = times_step(t, f->count, next, &stride, ref);
        if (next == 0) {
            kinds[k] = POINT_NONE;
            continue;
        }
        bool there = (t[next - 1] > ref - lookback_ms) & !is_stale(f->values[next - 1]);
        out[k] = f->values[next - 1];
        kinds[k] = there ? POINT_FLOAT : POINT_NONE;
        found += there;
    }
    f->next = next;
    f->stride = stride;
    return found;
}

static enum status read_instant_floats(struct stage_run *r, const struct samples *in,
                                       struct column *out) {
    size_t steps = r->stage->out.steps;
    struct instant_floats f = {.times_ms = in->times_ms,
                               .values = in->values,
                               .count = in->count,
                               .lookback_ms = query_params(r->ev->q)->lookback_ms,
                               .refs = stage_refs(r->stage)};
    for (size_t k = 0; k < steps; k += LOOK_STEPS) { /* not at each step: it would show */
        TRY(eval_work(r->ev, LOOK_STEPS / 4));
        r->reads.total +=
            instant_floats(&f, k, MIN(steps, k + LOOK_STEPS), out->values, out->kinds);
    }
    for (size_t k = 0; r->reads.steps != NULL && k < steps; k++)
        r->reads.steps[k] += out->kinds[k] != POINT_NONE;
    return OK;
}

/* The newest sample with ref - lookback < t <= ref; a stale marker hides the series. */
static enum status read_instant(struct stage_run *r, const struct samples *in, struct column *out) {
    const struct stage *s = r->stage;
    int64_t lookback = query_params(r->ev->q)->lookback_ms;
    const struct ref_times refs = stage_refs(s);
    if (s->kind == STAGE_SELECT && in->histograms == NULL && s->fn != FN_START_TIMESTAMP &&
        r->ended == NULL) {
        return read_instant_floats(r, in, out);
    }
    /* timestamp(m @ t offset d) looks for a sample at t, but only among those that it has for t - d
     * (rangeEvalTimestampFunctionOverVectorSelector in Prometheus) */
    bool fixed = s->kind == STAGE_TIMESTAMP && s->fn != FN_INFO && s->selector->shift.at != AT_NONE;
    size_t next = 0; /* samples before it are <= ref */
    for (size_t k = 0; k < s->out.steps; k++) {
        int64_t ref = ref_time(&refs, k), at = fixed ? s->selector->shift.at_ms : ref;
        TRY(eval_step(r->ev, k));
        while (next < in->count && in->times_ms[next] <= MIN(ref, at))
            next++;
        out->kinds[k] = POINT_NONE;
        if (next == 0) continue;
        size_t i = next - 1;
        int64_t bucket_ms = ended_bucket_ms(r->ended, in->times_ms[i]);
        if (in->times_ms[i] <= MAX(ref, at) - MAX(lookback, bucket_ms)) continue;
        struct histogram *h = in->histograms == NULL ? NULL : in->histograms[i];
        if (is_stale(in->values[i])) continue; /* a histogram's is its sum */
        reads_at(&r->reads, k, 1);
        if (s->kind == STAGE_SELECT && h != NULL) {
            TRY(column_histogram(r, out, k, h));
            continue;
        }
        if (s->fn == FN_START_TIMESTAMP) {
            if ((query_params(r->ev->q)->features & FEATURE_START_TIMESTAMPS) == 0) continue;
            out->values[k] = in->starts_ms == NULL ? 0 : (double)in->starts_ms[i] / 1000;
        } else {
            out->values[k] =
                s->kind == STAGE_TIMESTAMP ? (double)in->times_ms[i] / 1000 : in->values[i];
        }
        out->kinds[k] = POINT_FLOAT;
    }
    return OK;
}

/* smoothed: between two neighbours the value is interpolated, after the last one it is carried on.
 */
static enum status read_smoothed(struct stage_run *r, const struct samples *in,
                                 struct column *out) {
    const struct stage *s = r->stage;
    int64_t lookback = query_params(r->ev->q)->lookback_ms;
    const int64_t *t = in->times_ms;
    for (size_t k = 0; k < s->out.steps; k++) {
        int64_t ref = stage_ref(s, k);
        size_t lo = 0, hi = in->count;
        TRY(eval_work(r->ev, 30));
        while (lo < hi) { /* first sample at or after ref */
            size_t mid = lo + (hi - lo) / 2;
            if (t[mid] < ref)
                lo = mid + 1;
            else
                hi = mid;
        }
        bool next = lo < in->count && t[lo] <= ref + lookback,
             prev = lo > 0 && t[lo - 1] > ref - lookback;
        out->kinds[k] = POINT_FLOAT;
        if (next && t[lo] == ref) {
            out->values[k] = in->values[lo];
        } else if (next && prev) {
            double y1 = in->values[lo - 1], y2 = in->values[lo];
            out->values[k] =
                y1 + (y2 - y1) * (double)(ref - t[lo - 1]) / (double)(t[lo] - t[lo - 1]);
        } else if (prev) {
            out->values[k] = in->values[lo - 1];
        } else {
            out->kinds[k] = POINT_NONE;
        }
    }
    return OK;
}

/* A copy without stale markers, starting from the first one at index n. */
static enum status window_copy(struct stage_run *r, const struct samples *in, size_t n) {
    struct samples *to = &r->own;
    if (in->starts_ms != NULL && to->starts_ms == NULL) {
        samples_fini(to);
        to->starts_ms = malloc(sizeof *to->starts_ms); /* makes samples_reserve() grow it too */
        if (to->starts_ms == NULL) return eval_nomem(r->ev);
    }
    TRY(samples_charge(r, in->count));
    if (samples_reserve(to, in->count) != OK) return eval_nomem(r->ev);
    memcpy(to->times_ms, in->times_ms, n * sizeof *to->times_ms);
    memcpy(to->values, in->values, n * sizeof *to->values);
    for (size_t i = 0; i < n && to->starts_ms != NULL; i++)
        to->starts_ms[i] = in->starts_ms == NULL ? 0 : in->starts_ms[i];
    for (size_t i = n; i < in->count; i++) {
        if (is_stale(in->values[i])) continue;
        to->times_ms[n] = in->times_ms[i];
        to->values[n] = in->values[i];
        if (to->starts_ms != NULL) to->starts_ms[n] = in->starts_ms == NULL ? 0 : in->starts_ms[i];
        n++;
    }
    to->count = n;
    r->samples = *to;
    return OK;
}

/* What a range function sees: no stale markers; histograms only where the function counts samples.
 */
static enum status window_input(struct stage_run *r, const struct samples *in) {
    enum function_id fn = r->stage->fn;
    bool counts =
        fn == FN_COUNT_OVER_TIME || fn == FN_PRESENT_OVER_TIME || fn == FN_ABSENT_OVER_TIME;
    for (size_t i = 0; in->histograms != NULL && !counts && i < in->count; i++)
        if (in->histograms[i] != NULL) {
            const struct expr *e = r->stage->expr;
            return eval_unsupported(r->ev, e->kind == EXPR_CALL ? e->u.function->name : "smoothed");
        }
    r->samples = *in;
    if (!any_stale(in->values, in->count)) return OK;
    for (size_t i = 0; i < in->count; i++)
        if (is_stale(in->values[i])) return window_copy(r, in, i);
    return OK;
}

static enum status window_bounds(struct stage_run *r) {
    struct stage *s = r->stage;
    size_t steps = s->out.steps;
    struct windows *w = &r->windows;
    if (w->cap < steps) {
        if (!budget_take(r->ev->budget, (steps - w->cap) * 2 * sizeof *w->lo))
            return eval_nomem(r->ev);
        w->cap = steps;
        uint32_t *lo = reallocarray(w->lo, steps, sizeof *lo);
        if (lo != NULL) w->lo = lo;
        uint32_t *hi = lo == NULL ? NULL : reallocarray(w->hi, steps, sizeof *hi);
        if (hi != NULL) w->hi = hi;
        if (lo == NULL || hi == NULL) return eval_nomem(r->ev);
    }
    int64_t lookback = query_params(r->ev->q)->lookback_ms, range = stage_window_ms(s);
    enum range_modifier m = stage_modifier(s);
    int64_t before = range + (m == RANGE_PLAIN ? 0 : lookback),
            after = m == RANGE_SMOOTHED ? lookback : 0;
    const int64_t *t = r->samples.times_ms;
    size_t n = r->samples.count, lo = 0, hi = 0, look = 0, lo_stride = 0, hi_stride = 0;
    if (n > UINT32_MAX) return eval_nomem(r->ev);
    const struct ref_times refs = stage_refs(s);
    uint32_t *los = w->lo, *his = w->hi;
    uint64_t read = 0;
    for (size_t k = 0; k < steps; k++) {
        int64_t ref = ref_time(&refs, k);
        if (k == look) {
            TRY(eval_work(r->ev, LOOK_STEPS / 4));
            look += LOOK_STEPS;
        }
        hi = times_step(t, n, hi, &hi_stride, ref + after);
        lo = times_step(t, hi, lo, &lo_stride, ref - before);
        los[k] = (uint32_t)lo;
        his[k] = (uint32_t)hi;
        read += hi - lo;
    }
    r->reads.total += read;
    for (size_t k = 0; r->reads.steps != NULL && k < steps; k++)
        r->reads.steps[k] += his[k] - los[k];
    return OK;
}

enum status window_needs(struct stage_run *r, size_t count) {
    if (count <= r->scratch_cap) return OK;
    size_t size = sizeof *r->scratch;
    double *grown = budget_grow(r->ev->budget, r->scratch, r->scratch_cap * size, count * size);
    if (grown == NULL) return eval_nomem(r->ev);
    r->scratch = grown;
    r->scratch_cap = count;
    return OK;
}

static enum status window_stage(struct stage_run *r, const struct samples *in, struct column *out) {
    TRY(window_input(r, in));
    TRY(window_bounds(r));
    memset(out->kinds, POINT_NONE, r->stage->out.steps);
    if (r->samples.count == 0) return OK;
    return window_function(r->stage->fn)(r, out);
}

enum status stage_read(struct stage_run *r, const struct samples *in, struct column *out) {
    if (r->stage->kind == STAGE_WINDOW) return window_stage(r, in, out);
    if (r->stage->kind != STAGE_SELECT || stage_modifier(r->stage) != RANGE_SMOOTHED)
        return read_instant(r, in, out);
    TRY(window_input(r, in));
    return read_smoothed(r, &r->samples, out);
}

/* The column of a subquery as samples: its steps are the times. */
static enum status subquery_stage(struct stage_run *r, const struct column *in,
                                  struct column *out) {
    const struct grid *g = &r->stage->in;
    struct samples from = {0};
    if (!budget_take(r->ev->budget, g->steps * SAMPLE_BYTES)) return eval_nomem(r->ev);
    enum status st = samples_reserve(&from, g->steps);
    for (size_t k = 0; st == OK && k < g->steps; k++) {
        st = eval_step(r->ev, k);
        if (st != OK || in->kinds[k] == POINT_NONE) continue;
        if (in->kinds[k] == POINT_HISTOGRAM) {
            st = eval_unsupported(r->ev, r->stage->expr->u.function->name);
            break;
        }
        from.times_ms[from.count] = grid_time(g, k);
        from.values[from.count++] = in->values[k];
    }
    if (st == ERR_NOMEM) st = eval_nomem(r->ev);
    if (st == OK) st = eval_hold(r->ev, from.count);
    if (st == OK) st = window_stage(r, &from, out);
    eval_release(r->ev, from.count);
    samples_fini(&from);
    budget_give(r->ev->budget, g->steps * SAMPLE_BYTES);
    return st;
}

static enum status scalar_op_stage(struct stage_run *r, const struct column *in,
                                   struct column *out) {
    const struct stage *s = r->stage;
    enum binary_op op = s->expr->u.binary.op;
    bool compares = binary_op_is_comparison(op), as_bool = s->expr->u.binary.return_bool;
    bool trimmed = false;
    bool trims = binary_op_trims(op); /* floats have no buckets to trim */
    for (size_t k = 0; k < s->out.steps; k++) {
        uint8_t kind = in->kinds[k];
        TRY(eval_step(r->ev, k));
        if (kind == POINT_HISTOGRAM) return eval_unsupported(r->ev, binary_op_text(op));
        if (kind == POINT_FLOAT && trims) {
            kind = POINT_NONE;
            trimmed = true;
        } else if (kind == POINT_FLOAT) {
            double v = in->values[k], x = s->args[0][k];
            double a = s->swapped ? x : v, b = s->swapped ? v : x;
            if (!compares) {
                out->values[k] = binary_float(op, a, b);
            } else {
                bool keep = binary_keeps(op, a, b);
                out->values[k] = as_bool ? (keep ? 1 : 0) : v;
                if (!keep && !as_bool) kind = POINT_NONE;
            }
        }
        out->kinds[k] = kind;
    }
    if (trimmed) note_float_trim(r->ev, s->expr);
    return OK;
}

static enum status broadcast_stage(struct stage_run *r, const struct column *in,
                                   struct column *out) {
    size_t steps = r->stage->out.steps;
    if (steps == 0) return OK;
    if (in->kinds[0] == POINT_HISTOGRAM) return eval_unsupported(r->ev, "@");
    double v = in->values[0];
    memset(out->kinds, in->kinds[0], steps);
    for (size_t k = 0; k < steps; k++)
        out->values[k] = v;
    return eval_work(r->ev, steps / 2);
}

enum status stage_apply(struct stage_run *r, const struct column *in, struct column *out) {
    size_t steps = r->stage->out.steps;
    switch (r->stage->kind) {
    case STAGE_WINDOW: return subquery_stage(r, in, out);
    case STAGE_MAP: return map_stage(r, in, out);
    case STAGE_SCALAR_OP: return scalar_op_stage(r, in, out);
    case STAGE_BROADCAST: return broadcast_stage(r, in, out);
    case STAGE_NEGATE:
        for (size_t k = 0; k < steps; k++) {
            if (in->kinds[k] == POINT_HISTOGRAM) return eval_unsupported(r->ev, "unary minus");
            TRY(eval_step(r->ev, k));
            out->values[k] = -in->values[k];
            out->kinds[k] = in->kinds[k];
        }
        return OK;
    case STAGE_NATIVE:
        for (size_t k = 0; k < steps; k++) {
            if (in->kinds[k] == POINT_HISTOGRAM && r->stage->fn != FN_START_TIMESTAMP)
                return eval_unsupported(r->ev, r->stage->expr->u.function->name);
            out->kinds[k] = POINT_NONE;
        }
        return OK;
    case STAGE_SELECT:
    case STAGE_TIMESTAMP: break;
    }
    assert(!"a leaf has no input column");
    return ERR_EXEC;
}
