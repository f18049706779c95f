/* SPDX-License-Identifier: Apache-2.0 */
/* count_values and limit_ratio, over vectors. */
#include "query/engine/internal.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "node/base/num.h"

/* count_values groups by the grouping and the value; the value's label counts as one of `by`. */
static enum status count_series(struct eval *ev, struct agg *a, struct sv label,
                                const struct series *s) {
    struct labelset set;
    struct arena arena;
    arena_init(&arena, 0);
    enum status st = OK;
    for (size_t k = 0; st == OK && k < a->steps; k++) {
        if (s->col.kinds[k] == POINT_NONE) continue;
        char text[NUM_TEXT_MAX];
        size_t n = num_format_f64(text, s->col.values[k], 'f');
        arena_reset(&arena);
        if (!labelset_copy(&arena, &s->labels, 1, &set)) {
            st = eval_nomem(ev);
            break;
        }
        labelset_set(&set, label, sv_make(text, n));
        uint32_t g;
        if (agg_group(a, &set, false, &g) != OK) st = eval_nomem(ev);
        if (st != OK) break;
        a->groups.items[g].seen[k] = SEEN_FLOAT;
        a->groups.items[g].cols[0][k]++;
    }
    arena_fini(&arena);
    return st;
}

static enum status count_values(struct eval *ev, const struct expr *e, const struct vectors *in,
                                struct vectors *out) {
    struct sv label = label_string(e->children[1]);
    if (!label_name_valid(label)) {
        struct buf quoted = {0};
        label_put_quoted(&quoted, sv_take(label, 200));
        err_set(ev->err, ERR_EXEC, 0, "invalid label name %.*s", (int)quoted.len, quoted.ptr);
        buf_fini(&quoted);
        return ERR_EXEC;
    }
    struct agg a;
    agg_init(&a, &out->arena, e, in->grid.steps);
    a.op = AGG_COUNT;
    struct label_list by = {0};
    if (!a.without) {
        by.count = a.grouping->count + 1;
        by.names = arena_array(&out->arena, by.count, sizeof *by.names);
        if (by.names == NULL) return eval_nomem(ev);
        if (a.grouping->count > 0)
            memcpy(by.names, a.grouping->names, a.grouping->count * sizeof *by.names);
        by.names[by.count - 1] = label;
        a.grouping = &by;
    }
    enum status st = OK;
    for (size_t i = 0; st == OK && i < in->count; i++) {
        st = eval_poll(ev);
        if (st == OK) st = count_series(ev, &a, label, &in->series[i]);
    }
    if (st == OK) st = agg_finish(ev, &a, out);
    agg_fini(&a);
    return st;
}

static void note_ratio(struct eval *ev, const struct expr *at, double ratio, double to) {
    char text[NUM_TEXT_MAX];
    size_t n = num_format_f64(text, ratio, 'g');
    eval_note(ev, true, at, "ratio value should be between -1 and 1, got %.*s, capping to %g",
              (int)n, text, to);
}

static enum status ratio_params(struct eval *ev, const struct expr *e, const struct grid *grid,
                                double *ratio) {
    TRY(scalar_eval(ev, e->children[1], grid, ratio));
    double lo = HUGE_VAL, hi = -HUGE_VAL;
    bool nan = false;
    for (size_t k = 0; k < grid->steps; k++) {
        nan = nan || isnan(ratio[k]);
        lo = fmin(lo, ratio[k]);
        hi = fmax(hi, ratio[k]);
    }
    if (nan) return err_set(ev->err, ERR_EXEC, 0, "Ratio value is NaN");
    if (hi > 1) note_ratio(ev, e->children[1], hi, 1);
    if (lo < -1) note_ratio(ev, e->children[1], lo, -1);
    return OK;
}

static void put_string(struct buf *b, struct sv s) {
    if (s.len < 255) {
        buf_put_char(b, (char)s.len);
    } else {
        buf_put_char(b, (char)255);
        for (unsigned shift = 0; shift < 24; shift += 8)
            buf_put_char(b, (char)(s.len >> shift));
    }
    buf_put_sv(b, s);
}

/* Prometheus places a series at XXH64 / 2^64 of its labels in the "stringlabels" encoding: names
 * and values, each behind its length in one byte, or 255 and three. */
static double ratio_offset(const struct labelset *set, struct buf *scratch) {
    buf_clear(scratch);
    for (size_t i = 0; i < set->count; i++) {
        put_string(scratch, set->labels[i].name);
        put_string(scratch, set->labels[i].value);
    }
    return (double)hash_xxh64(scratch->ptr, scratch->len) / (double)UINT64_MAX;
}

static enum status limit_ratio(struct eval *ev, const struct expr *e, const struct vectors *in,
                               struct vectors *out) {
    double *ratio = arena_array(&out->arena, in->grid.steps + 1, sizeof *ratio);
    if (ratio == NULL) return eval_nomem(ev);
    TRY(ratio_params(ev, e, &in->grid, ratio));
    struct buf scratch = {0};
    for (size_t i = 0; i < in->count; i++) {
        const struct series *from = &in->series[i];
        double offset = ratio_offset(&from->labels, &scratch);
        struct series *to = vectors_add(out, &from->labels, 0);
        if (to == NULL || scratch.failed) {
            buf_fini(&scratch);
            return eval_nomem(ev);
        }
        to->drop_name = from->drop_name;
        for (size_t k = 0; k < in->grid.steps; k++) {
            double r = fmax(-1, fmin(1, ratio[k]));
            bool keep = r >= 0 ? offset < r : offset >= 1.0 + r;
            if (!keep || from->col.kinds[k] == POINT_NONE) continue;
            to->col.kinds[k] = from->col.kinds[k];
            to->col.values[k] = from->col.values[k];
        }
    }
    buf_fini(&scratch);
    vectors_drop_empty(out);
    return OK;
}

static enum status over_child(struct eval *ev, const struct expr *e, const struct grid *grid,
                              struct vectors **out) {
    struct vectors *in = NULL;
    TRY(eval_vector(ev, e->children[0], grid, &in));
    vectors_sort(in);
    struct vectors *v = eval_vectors_new(ev, grid);
    enum status st = OK;
    if (v == NULL)
        st = eval_nomem(ev);
    else if (e->u.aggregate.op == AGG_COUNT_VALUES)
        st = count_values(ev, e, in, v);
    else
        st = limit_ratio(ev, e, in, v);
    vectors_done(ev, in);
    if (st == OK) st = vectors_ready(ev, v);
    if (st != OK) {
        vectors_free(v);
        return st;
    }
    *out = v;
    return OK;
}

enum status agg_count_values(struct eval *ev, const struct expr *e, const struct grid *grid,
                             struct vectors **out) {
    return over_child(ev, e, grid, out);
}

enum status agg_limit_ratio(struct eval *ev, const struct expr *e, const struct grid *grid,
                            struct vectors **out) {
    return over_child(ev, e, grid, out);
}
