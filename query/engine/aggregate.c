/* SPDX-License-Identifier: Apache-2.0 */
/* Aggregations with partial states: sum, avg, count, min, max, group (topk, bottomk, limitk in
 * topk.c). A state is columns of doubles a group: sum (value, compensation), avg (and count),
 * count, min and max (value). */
#include "query/engine/internal.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "node/base/bytes.h"
#include "node/base/num.h"

enum { TOPK_WORK = 16 }; /* an entry that is looked at, or put in its place */

static const uint8_t columns_of_op[AGG_OP_COUNT] = {
    [AGG_SUM] = 2, [AGG_AVG] = 3, [AGG_COUNT] = 1,
    [AGG_MIN] = 1, [AGG_MAX] = 1, [AGG_COUNT_VALUES] = 1,
};

size_t agg_columns(enum aggregate_op op) {
    return columns_of_op[op];
}

bool agg_is_topk(enum aggregate_op op) {
    return op == AGG_TOPK || op == AGG_BOTTOMK || op == AGG_LIMITK;
}

bool agg_pushable(enum aggregate_op op) {
    return columns_of_op[op] > 0 || op == AGG_GROUP || agg_is_topk(op);
}

void agg_init(struct agg *a, struct arena *arena, const struct expr *e, size_t steps) {
    static const struct label_list none;
    *a = (struct agg){
        .op = AGG_GROUP, .expr = e, .grouping = &none, .steps = steps, .order_free = true};
    if (e->kind == EXPR_AGGREGATE) {
        a->op = e->u.aggregate.op;
        a->grouping = &e->u.aggregate.grouping;
        a->without = e->u.aggregate.without;
        if (a->op == AGG_COUNT_VALUES) a->value_label = label_string(e->children[1]);
    }
    a->groups.arena = arena;
    map_init(&a->groups.map);
}

void agg_fini(struct agg *a) {
    struct budget *b = a->groups.arena == NULL ? NULL : a->groups.arena->budget;
    budget_give(b, map_memory_bytes(&a->groups.map) + a->groups.cap * sizeof *a->groups.items +
                       a->series_cap * (sizeof *a->series_labels + 1));
    map_fini(&a->groups.map);
    free(a->groups.items);
    free(a->series_labels);
    free(a->series_drop_name);
    free(a->scratch.labels);
}

static bool group_eq(const void *owner, uint32_t ref, const void *key) {
    const struct groups *g = owner;
    return labelset_cmp(&g->items[ref].labels, key) == 0;
}
static uint64_t group_hash(const void *owner, uint32_t ref) {
    const struct groups *g = owner;
    return g->items[ref].hash;
}

static bool group_columns(struct agg *a, struct group *g) {
    size_t steps = a->steps == 0 ? 1 : a->steps;
    g->seen = arena_array(a->groups.arena, steps, 1);
    if (g->seen == NULL) return false;
    if (agg_is_topk(a->op)) {
        g->heaps = arena_array(a->groups.arena, steps, sizeof *g->heaps);
        return g->heaps != NULL;
    }
    for (size_t i = 0; i < agg_columns(a->op); i++) {
        g->cols[i] = arena_array(a->groups.arena, steps, sizeof(double));
        if (g->cols[i] == NULL) return false;
    }
    return true;
}

static enum status group_intern(struct agg *a, const struct labelset *key, uint32_t *out) {
    struct groups *gs = &a->groups;
    uint64_t hash = labelset_hash(key);
    uint32_t found = map_find(&gs->map, hash, group_eq, gs, key);
    if (found != MAP_NONE) {
        *out = found;
        return OK;
    }
    if (gs->count == gs->cap) {
        uint32_t cap = gs->cap == 0 ? 16 : gs->cap * 2;
        size_t size = sizeof *gs->items;
        struct group *grown = budget_grow(gs->arena->budget, gs->items, gs->cap * size, cap * size);
        if (grown == NULL) return ERR_NOMEM;
        gs->items = grown;
        gs->cap = cap;
    }
    struct group g = {.hash = hash};
    if (!labelset_copy(gs->arena, key, 0, &g.labels) || !group_columns(a, &g)) return ERR_NOMEM;
    gs->items[gs->count] = g;
    struct map_entry entry = {hash, gs->count, group_hash, gs};
    TRY(map_insert_charged(&gs->map, gs->arena->budget, &entry));
    *out = gs->count++;
    return OK;
}

static enum status group_scratch(struct agg *a, const struct labelset *labels) {
    if (a->scratch_cap < labels->count + 1) {
        struct label *grown = reallocarray(a->scratch.labels, labels->count + 1, sizeof *grown);
        if (grown == NULL) return ERR_NOMEM;
        a->scratch.labels = grown;
        a->scratch_cap = labels->count + 1;
    }
    if (a->without)
        labelset_remove(labels, a->grouping, true, &a->scratch);
    else
        labelset_keep(labels, a->grouping, &a->scratch);
    return OK;
}

enum status agg_group(struct agg *a, const struct labelset *labels, bool drop_name, uint32_t *out) {
    TRY(group_scratch(a, labels));
    TRY(group_intern(a, &a->scratch, out));
    struct group *g = &a->groups.items[*out];
    g->drop_name = g->drop_name || drop_name;
    return OK;
}

enum status agg_group_value(struct agg *a, const struct labelset *labels, struct sv value,
                            uint32_t *out) {
    TRY(group_scratch(a, labels));
    bool removed = a->without && (label_list_has(a->grouping, a->value_label) ||
                                  sv_eq(a->value_label, SV("__name__")));
    if (!removed) labelset_set(&a->scratch, a->value_label, value);
    return group_intern(a, &a->scratch, out);
}

/* Both have a float at every step: then no step needs to ask. */
static bool fold_is_full(const struct agg *a, const struct group *g, const struct column *col) {
    return col->histograms == NULL && memchr(col->kinds, POINT_NONE, a->steps) == NULL &&
           memchr(g->seen, 0, a->steps) == NULL;
}

/* Of 0 and -0 the first one stays. */
static bool zeros_differ(double a, double b) {
    return a == 0 && b == 0 && signbit(a) != signbit(b);
}

/* Both full: no branch a step, so that it is done several at a time. */
static void fold_extreme_full(struct agg *a, double *restrict best, const double *restrict values) {
    const uint64_t sign = (uint64_t)1 << 63;
    bool zeros = false;
    for (size_t k = 0; k < a->steps; k++)
        zeros |= best[k] == 0 && (f64_bits(best[k]) ^ f64_bits(values[k])) == sign;
    if (zeros) a->order_free = false;
    if (a->op == AGG_MAX)
        for (size_t k = 0; k < a->steps; k++) {
            double b = best[k], v = values[k];
            best[k] = v > b || b != b ? v : b;
        }
    else
        for (size_t k = 0; k < a->steps; k++) {
            double b = best[k], v = values[k];
            best[k] = v < b || b != b ? v : b;
        }
}

static void fold_extreme(struct agg *a, struct group *g, const struct column *col) {
    double *best = g->cols[0];
    if (fold_is_full(a, g, col)) {
        fold_extreme_full(a, best, col->values);
        return;
    }
    for (size_t k = 0; k < a->steps; k++) {
        if (col->kinds[k] != POINT_FLOAT) continue;
        double v = col->values[k];
        bool better = a->op == AGG_MAX ? best[k] < v : best[k] > v;
        if (g->seen[k] != 0 && zeros_differ(best[k], v)) a->order_free = false;
        if (g->seen[k] == 0 || better || isnan(best[k])) best[k] = v;
        g->seen[k] = SEEN_FLOAT;
    }
}

static void fold_count(struct agg *a, struct group *g, const struct column *col) {
    for (size_t k = 0; k < a->steps; k++) {
        if (col->kinds[k] == POINT_NONE) continue;
        g->seen[k] = SEEN_FLOAT;
        if (a->op == AGG_COUNT) g->cols[0][k]++;
    }
}

static enum status series_reserve(struct agg *a, uint32_t cap) {
    struct budget *b = a->groups.arena->budget;
    size_t old = a->series_cap, size = sizeof *a->series_labels;
    struct labelset *ls = budget_grow(b, a->series_labels, old * size, cap * size);
    if (ls == NULL) return ERR_NOMEM;
    a->series_labels = ls;
    bool *dn = budget_grow(b, a->series_drop_name, old, cap);
    if (dn == NULL) { /* the longer labels count as the shorter ones: nothing goes on after this */
        budget_give(b, (cap - old) * size);
        return ERR_NOMEM;
    }
    a->series_drop_name = dn;
    a->series_cap = cap;
    return OK;
}

static enum status fold_topk(struct eval *ev, struct agg *a, struct group *g,
                             const struct labelset *labels, bool drop_name,
                             const struct column *col) {
    uint32_t series = UINT32_MAX;
    for (size_t k = 0; k < a->steps; k++) {
        TRY(eval_work(ev, TOPK_WORK));
        if (col->kinds[k] != POINT_FLOAT || a->param[k] < 1) continue;
        if (series == UINT32_MAX) {
            if (a->series_count == a->series_cap) {
                uint32_t cap = a->series_cap == 0 ? 32 : a->series_cap * 2;
                TRY(series_reserve(a, cap));
            }
            series = a->series_count;
            if (!labelset_copy(a->groups.arena, labels, 0, &a->series_labels[series]))
                return ERR_NOMEM;
            a->series_drop_name[series] = drop_name;
            a->series_count++;
        }
        g->seen[k] = SEEN_FLOAT;
        size_t limit = a->param[k] >= (double)UINT32_MAX ? UINT32_MAX : (size_t)a->param[k];
        TRY(topk_push(a, &g->heaps[k], (struct topk_entry){col->values[k], series}, limit));
    }
    return OK;
}

static enum status fold_values(struct eval *ev, struct agg *a, const struct labelset *labels,
                               const struct column *col) {
    uint32_t g = 0;
    bool known = false;
    double last = 0;
    for (size_t k = 0; k < a->steps; k++) {
        if (col->kinds[k] != POINT_FLOAT) continue;
        double v = col->values[k];
        TRY(eval_step(ev, k));
        if (!known || memcmp(&v, &last, sizeof v) != 0) {
            TRY(eval_work(ev, 200));
            char text[NUM_TEXT_MAX];
            size_t n = num_format_f64(text, v, 'f');
            TRY(agg_group_value(a, labels, sv_make(text, n), &g));
        }
        known = true;
        last = v;
        a->groups.items[g].seen[k] = SEEN_FLOAT;
        a->groups.items[g].cols[0][k]++;
    }
    return OK;
}

/* Histograms count in count and group; others ignore them with an info, and sums of them are not
 * evaluated. */
static enum status fold_histograms(struct eval *ev, const struct agg *a, const struct column *col) {
    if (col->histograms == NULL || memchr(col->kinds, POINT_HISTOGRAM, a->steps) == NULL) return OK;
    if (a->op == AGG_COUNT || a->op == AGG_GROUP) return OK;
    if (a->op == AGG_SUM || a->op == AGG_AVG || a->op == AGG_LIMITK || a->op == AGG_COUNT_VALUES)
        return eval_unsupported(ev, aggregate_op_text(a->op));
    const struct expr *at = agg_is_topk(a->op) ? a->expr : a->expr->children[0];
    eval_note(ev, false, at, "ignored histogram in %s aggregation", aggregate_op_text(a->op));
    return OK;
}

enum status agg_fold(struct eval *ev, struct agg *a, const struct labelset *labels, bool drop_name,
                     const struct column *col) {
    if (a->steps == 0) return OK;
    if (memchr(col->kinds, POINT_FLOAT, a->steps) == NULL && col->histograms == NULL) return OK;
    TRY(fold_histograms(ev, a, col));
    TRY(eval_work(ev, 50 + a->steps));
    if (a->op == AGG_COUNT_VALUES) {
        enum status st = fold_values(ev, a, labels, col);
        return st == ERR_NOMEM ? eval_nomem(ev) : st;
    }
    uint32_t i;
    if (agg_group(a, labels, drop_name, &i) != OK) return eval_nomem(ev);
    struct group *g = &a->groups.items[i];
    switch ((int)a->op) {
    case AGG_SUM:
    case AGG_AVG: return agg_sum_fold(a, g, col) == OK ? OK : eval_nomem(ev);
    case AGG_MIN:
    case AGG_MAX: fold_extreme(a, g, col); return OK;
    case AGG_COUNT:
    case AGG_GROUP: fold_count(a, g, col); return OK;
    default: break;
    }
    enum status st = fold_topk(ev, a, g, labels, drop_name, col);
    return st == ERR_NOMEM ? eval_nomem(ev) : st;
}

static enum status merge_group(struct eval *ev, struct agg *a, struct group *into,
                               const struct group *from, const uint32_t *remap) {
    into->drop_name = into->drop_name || from->drop_name;
    if (a->op == AGG_SUM || a->op == AGG_AVG) return agg_sum_merge(ev, a, into, from);
    for (size_t k = 0; k < a->steps; k++) {
        TRY(eval_step(ev, k));
        if (from->seen[k] == 0) continue;
        bool fresh = into->seen[k] == 0;
        into->seen[k] |= from->seen[k];
        if (agg_is_topk(a->op)) {
            size_t limit = a->param[k] >= (double)UINT32_MAX ? UINT32_MAX : (size_t)a->param[k];
            for (uint32_t i = 0; i < from->heaps[k].count; i++) {
                struct topk_entry e = from->heaps[k].entries[i];
                e.series = remap[e.series];
                TRY(topk_push(a, &into->heaps[k], e, limit));
                TRY(eval_work(ev, TOPK_WORK));
            }
        } else if (fresh) {
            for (size_t i = 0; i < agg_columns(a->op); i++)
                into->cols[i][k] = from->cols[i][k];
        } else if (a->op == AGG_COUNT || a->op == AGG_COUNT_VALUES) {
            into->cols[0][k] += from->cols[0][k];
        } else if (a->op == AGG_MIN || a->op == AGG_MAX) {
            double v = from->cols[0][k], *best = &into->cols[0][k];
            if (zeros_differ(*best, v)) a->order_free = false;
            if ((a->op == AGG_MAX ? *best < v : *best > v) || isnan(*best)) *best = v;
        }
    }
    return OK;
}

static enum status merge_series(struct eval *ev, struct agg *into, struct agg *from,
                                uint32_t *remap) {
    size_t need = (size_t)into->series_count + from->series_count;
    if (need > into->series_cap) {
        if (need > UINT32_MAX) return ERR_NOMEM;
        TRY(series_reserve(into, (uint32_t)need));
    }
    for (uint32_t i = 0; i < from->series_count; i++) {
        remap[i] = into->series_count;
        TRY(eval_work(ev, 100));
        if (!labelset_copy(into->groups.arena, &from->series_labels[i], 0,
                           &into->series_labels[remap[i]]))
            return ERR_NOMEM;
        into->series_drop_name[remap[i]] = from->series_drop_name[i];
        into->series_count++;
    }
    return OK;
}

enum status agg_merge(struct eval *ev, struct agg *into, struct agg *from) {
    uint32_t *remap = calloc((size_t)from->series_count + 1, sizeof *remap);
    if (remap == NULL) return ERR_NOMEM;
    into->order_free = into->order_free && from->order_free;
    enum status st = merge_series(ev, into, from, remap);
    for (uint32_t i = 0; st == OK && i < from->groups.count; i++) {
        uint32_t at;
        st = eval_work(ev, 100 + MIN(into->steps, (size_t)LOOK_STEPS));
        if (st == OK) st = group_intern(into, &from->groups.items[i].labels, &at);
        if (st == OK)
            st = merge_group(ev, into, &into->groups.items[at], &from->groups.items[i], remap);
    }
    free(remap);
    return st;
}
