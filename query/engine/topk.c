/* SPDX-License-Identifier: Apache-2.0 */
/* topk, bottomk, limitk as heaps a group and step, and the results of aggregations as vectors. The
 * order of entries is total (value, then label set), so that the k best do not depend on the order
 * of folding. */
#include "query/engine/internal.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "node/base/num.h"

/* NaN comes last; limitk takes label order alone. */
bool topk_better(const struct agg *a, const struct topk_entry *x, const struct topk_entry *y) {
    if (a->op != AGG_LIMITK) {
        bool xn = isnan(x->value), yn = isnan(y->value);
        if (xn != yn) return yn;
        if (!xn && x->value != y->value)
            return a->op == AGG_TOPK ? x->value > y->value : x->value < y->value;
    }
    return labelset_cmp(&a->series_labels[x->series], &a->series_labels[y->series]) < 0;
}

static void heap_swap(struct topk_entry *x, struct topk_entry *y) {
    struct topk_entry t = *x;
    *x = *y;
    *y = t;
}

static void sift_down(const struct agg *a, struct topk_entry *e, uint32_t count) {
    for (uint32_t i = 0;;) {
        uint32_t worst = i, l = 2 * i + 1, r = l + 1;
        if (l < count && topk_better(a, &e[worst], &e[l])) worst = l;
        if (r < count && topk_better(a, &e[worst], &e[r])) worst = r;
        if (worst == i) return;
        heap_swap(&e[i], &e[worst]);
        i = worst;
    }
}

enum status topk_push(struct agg *a, struct topk_heap *heap, struct topk_entry entry, size_t k) {
    if (heap->count >= k) {
        if (k == 0 || !topk_better(a, &entry, &heap->entries[0])) return OK;
        heap->entries[0] = entry;
        sift_down(a, heap->entries, heap->count);
        return OK;
    }
    if (heap->count == heap->cap) {
        uint32_t cap =
            heap->cap == 0 ? (uint32_t)MIN(k, 4) : (uint32_t)MIN(k, (size_t)heap->cap * 2);
        size_t size = sizeof *heap->entries;
        struct topk_entry *grown =
            arena_grow(a->groups.arena, heap->entries, heap->cap * size, cap * size);
        if (grown == NULL) return ERR_NOMEM;
        heap->entries = grown;
        heap->cap = cap;
    }
    uint32_t i = heap->count++;
    heap->entries[i] = entry;
    while (i > 0 && topk_better(a, &heap->entries[(i - 1) / 2], &heap->entries[i])) {
        heap_swap(&heap->entries[i], &heap->entries[(i - 1) / 2]);
        i = (i - 1) / 2;
    }
    return OK;
}

static enum status fail_scalar(struct eval *ev, double v, const char *what) {
    char text[NUM_TEXT_MAX];
    size_t n = num_format_f64(text, v, 'g');
    return err_set(ev->err, ERR_EXEC, 0, "Scalar value %.*s %s int64", (int)n, text, what);
}

enum status topk_check_params(struct eval *ev, const struct agg *a, bool *out_empty) {
    double lo = HUGE_VAL, hi = -HUGE_VAL;
    bool nan = false;
    for (size_t k = 0; k < a->steps; k++) {
        nan = nan || isnan(a->param[k]);
        if (a->param[k] < lo) lo = a->param[k];
        if (a->param[k] > hi) hi = a->param[k];
    }
    *out_empty = !nan && hi < 1;
    if (*out_empty) return OK;
    if (nan) return err_set(ev->err, ERR_EXEC, 0, "Parameter value is NaN");
    if (lo <= -0x1p63) return fail_scalar(ev, lo, "underflows");
    if (hi >= 0x1p63) return fail_scalar(ev, hi, "overflows");
    return OK;
}

static int entry_order(const void *x, const void *y, void *agg) {
    const struct agg *a = agg;
    if (topk_better(a, x, y)) return -1;
    return topk_better(a, y, x) ? 1 : 0;
}

static int group_order(const void *x, const void *y, void *agg) {
    const struct agg *a = agg;
    const uint32_t *i = x, *j = y;
    return labelset_cmp(&a->groups.items[*i].labels, &a->groups.items[*j].labels);
}

static enum status finish_topk(struct eval *ev, struct agg *a, const uint32_t *order,
                               struct vectors *out) {
    uint32_t *slot = malloc(((size_t)a->series_count + 1) * sizeof *slot);
    if (slot == NULL) return eval_nomem(ev);
    for (uint32_t i = 0; i < a->series_count; i++)
        slot[i] = UINT32_MAX;
    enum status st = OK;
    for (uint32_t i = 0; st == OK && i < a->groups.count; i++) {
        struct group *g = &a->groups.items[order[i]];
        for (size_t k = 0; st == OK && k < a->steps; k++) {
            struct topk_heap *h = &g->heaps[k];
            struct sort_by by = {entry_order, a};
            st = eval_sort(ev, h->entries, h->count, sizeof *h->entries, &by);
            if (st == OK) st = eval_work(ev, 4 + 8 * (size_t)h->count);
            for (uint32_t j = 0; st == OK && j < h->count; j++) {
                struct topk_entry *e = &h->entries[j];
                st = eval_work(ev, 8);
                if (st != OK) break;
                if (slot[e->series] == UINT32_MAX) {
                    struct series *s = vectors_add(out, &a->series_labels[e->series], 0);
                    st = s == NULL ? eval_nomem(ev) : eval_work(ev, 50 + a->steps);
                    if (st != OK) break;
                    s->drop_name = a->series_drop_name[e->series];
                    slot[e->series] = (uint32_t)(out->count - 1);
                }
                struct column *col = &out->series[slot[e->series]].col;
                col->values[k] = e->value;
                col->kinds[k] = POINT_FLOAT;
            }
        }
    }
    free(slot);
    return st == OK && a->steps > 1 ? vectors_sort(ev, out) : st;
}

/* Steps that nothing was seen at have a value too, which nobody looks at. */
static void finish_values(const struct agg *a, const struct group *g, double *values) {
    if (a->op == AGG_SUM || a->op == AGG_AVG)
        agg_sum_finish(a, g, values);
    else if (a->op != AGG_GROUP)
        memcpy(values, g->cols[0], a->steps * sizeof *values);
    else
        for (size_t k = 0; k < a->steps; k++)
            values[k] = 1;
}

enum status agg_finish(struct eval *ev, struct agg *a, struct vectors *out) {
    uint32_t *order = malloc(((size_t)a->groups.count + 1) * sizeof *order);
    if (order == NULL) return eval_nomem(ev);
    for (uint32_t i = 0; i < a->groups.count; i++)
        order[i] = i;
    struct sort_by by = {group_order, a};
    enum status st = eval_sort(ev, order, a->groups.count, sizeof *order, &by);
    if (st == OK && agg_is_topk(a->op)) {
        st = finish_topk(ev, a, order, out);
        free(order);
        return st;
    }
    for (uint32_t i = 0; st == OK && i < a->groups.count; i++) {
        struct group *g = &a->groups.items[order[i]];
        struct series *s = vectors_add(out, &g->labels, 0);
        if (s == NULL) st = eval_nomem(ev);
        if (s == NULL) break;
        s->drop_name = g->drop_name;
        st = eval_work(ev, 50 + 2 * a->steps);
        finish_values(a, g, s->col.values);
        for (size_t k = 0; k < a->steps; k++)
            s->col.kinds[k] = g->seen[k] == 0 ? POINT_NONE : POINT_FLOAT;
    }
    free(order);
    return st == OK ? vectors_drop_empty(ev, out) : st;
}
