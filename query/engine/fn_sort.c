/* SPDX-License-Identifier: Apache-2.0 */
/* sort, sort_desc, sort_by_label, sort_by_label_desc: an order of instant vectors. */
#include "query/engine/internal.h"

#include <math.h>
#include <stdlib.h>

/* Natural order (github.com/facette/natsort): runs of digits compare as numbers, others as bytes.
 * true: a < b */
static bool is_digit(char c) {
    return c >= '0' && c <= '9';
}

static struct sv chunk(struct sv *rest) {
    size_t n = 0;
    bool digits = is_digit(rest->ptr[0]);
    while (n < rest->len && is_digit(rest->ptr[n]) == digits)
        n++;
    struct sv c = sv_take(*rest, n);
    *rest = sv_skip(*rest, n);
    return c;
}

static int digits_cmp(struct sv a, struct sv b) {
    while (a.len > 1 && a.ptr[0] == '0')
        a = sv_skip(a, 1);
    while (b.len > 1 && b.ptr[0] == '0')
        b = sv_skip(b, 1);
    if (a.len != b.len) return a.len < b.len ? -1 : 1;
    return sv_cmp(a, b);
}

static bool natural_less(struct sv a, struct sv b) {
    while (a.len > 0 && b.len > 0) {
        struct sv x = chunk(&a), y = chunk(&b);
        if (sv_eq(x, y)) continue;
        if (is_digit(x.ptr[0]) && is_digit(y.ptr[0])) {
            int c = digits_cmp(x, y);
            if (c != 0) return c < 0;
            if (a.len == 0 || b.len == 0) return x.len < y.len;
            continue;
        }
        return sv_cmp(x, y) < 0;
    }
    return a.len < b.len;
}

struct sorter {
    const struct expr *e;
    bool by_label, descending;
};

static int by_label(const struct sorter *s, const struct series *a, const struct series *b) {
    int sign = s->descending ? -1 : 1;
    for (size_t i = 1; i < s->e->children_count; i++) {
        struct sv name = label_string(s->e->children[i]);
        struct sv x = labelset_get(&a->labels, name), y = labelset_get(&b->labels, name);
        if (sv_eq(x, y)) continue;
        return natural_less(x, y) ? -sign : sign;
    }
    return sign * labelset_cmp(&a->labels, &b->labels);
}

static int sorter_order(const void *x, const void *y, void *arg) {
    const struct sorter *s = arg;
    const struct series *a = x, *b = y;
    if (s->by_label) return by_label(s, a, b);
    double v = a->col.values[0], w = b->col.values[0];
    if (isnan(v) || isnan(w)) {
        if (isnan(v) != isnan(w)) return isnan(v) ? 1 : -1;
    } else if (v != w) {
        return (v < w) != s->descending ? -1 : 1;
    }
    return labelset_cmp(&a->labels, &b->labels);
}

enum status fn_sort(struct eval *ev, const struct expr *e, const struct grid *grid,
                    struct vectors **out) {
    enum function_id fn = e->u.function->id;
    struct sorter s = {.e = e};
    s.by_label = fn == FN_SORT_BY_LABEL || fn == FN_SORT_BY_LABEL_DESC;
    s.descending = fn == FN_SORT_DESC || fn == FN_SORT_BY_LABEL_DESC;
    struct vectors *v = NULL;
    TRY(eval_vector(ev, e->children[0], grid, &v));
    if (grid->steps > 1)
        eval_note(
            ev, true, e,
            "sort is ineffective for range queries since results are always ordered by labels");
    struct sort_by by = {sorter_order, &s};
    enum status st =
        grid->steps > 1 ? OK : eval_sort(ev, v->series, v->count, sizeof *v->series, &by);
    if (st != OK) vectors_done(ev, v);
    if (st == OK) *out = v;
    return st;
}
