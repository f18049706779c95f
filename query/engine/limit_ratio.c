/* SPDX-License-Identifier: Apache-2.0 */
/* limit_ratio: the series whose hash lies below a ratio, over vectors. */
#include "query/engine/internal.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "node/base/num.h"

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
        enum status st =
            to == NULL || scratch.failed ? eval_nomem(ev) : eval_work(ev, 100 + 4 * in->grid.steps);
        if (st != OK) {
            buf_fini(&scratch);
            return st;
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
    return vectors_drop_empty(ev, out);
}

enum status agg_limit_ratio(struct eval *ev, const struct expr *e, const struct grid *grid,
                            struct vectors **out) {
    struct vectors *in = NULL;
    TRY(eval_vector(ev, e->children[0], grid, &in));
    enum status st = vectors_sort(ev, in);
    struct vectors *v = eval_vectors_new(ev, grid);
    if (st == OK) st = v == NULL ? eval_nomem(ev) : limit_ratio(ev, e, in, v);
    vectors_done(ev, in);
    if (st == OK) st = vectors_ready(ev, v);
    if (st != OK) {
        vectors_free(v);
        return st;
    }
    *out = v;
    return OK;
}
