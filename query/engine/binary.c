/* SPDX-License-Identifier: Apache-2.0 */
/* Operators between two vectors. A match group is evaluated over all steps at once: the "one" side
 * is brought to one column (two of its series at one step are an error), then each series of the
 * "many" side is combined with it. */
#include "query/engine/binary.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

struct out_series { /* of one match group, to find grouping labels that are not unique */
    size_t index;   /* in out */
    uint64_t hash;
    uint8_t *matched;
};

struct pairing {
    struct eval *ev;
    const struct expr *e;
    struct matching *m;
    struct vectors *out;
    bool swapped, one_to_one, as_bool;
    size_t steps;
    uint32_t *pick;    /* series of the "one" side at each step, UINT32_MAX: none */
    uint8_t *matched;  /* steps of the group that have a match */
    uint8_t *many_any; /* steps at which the "many" side has anything at all */
    struct out_series *outs;
    size_t outs_count, outs_cap;
    struct arena arena; /* of one group */
};

static void print_series(struct buf *b, const struct labelset *l) {
    label_list_print_braces(l->labels, l->count, b);
}

static enum status fail_many_to_many(struct pairing *p, const struct sig *sig, uint32_t i,
                                     uint32_t j) {
    struct buf group = {0}, a = {0}, b = {0};
    print_series(&group, &sig->labels);
    print_series(&a, &sig->one.series[i]->labels);
    print_series(&b, &sig->one.series[j]->labels);
    bool ordered = sv_cmp(buf_sv(&a), buf_sv(&b)) <= 0;
    err_set(p->ev->err, ERR_EXEC, 0,
            "found duplicate series for the match group %.*s on the %s hand-side of the operation: "
            "[%.*s, %.*s];"
            "many-to-many matching not allowed: matching labels must be unique on one side",
            (int)group.len, group.ptr, p->swapped ? "left" : "right", (int)(ordered ? a : b).len,
            (ordered ? a : b).ptr, (int)(ordered ? b : a).len, (ordered ? b : a).ptr);
    buf_fini(&group);
    buf_fini(&a);
    buf_fini(&b);
    return ERR_EXEC;
}

/* Which series of the "one" side is present at each step. Prometheus only looks when both sides
 * have something. */
static enum status pick_one(struct pairing *p, const struct sig *sig) {
    const struct binary *b = &p->e->u.binary;
    bool fills = b->fill_left.set || b->fill_right.set;
    for (size_t k = 0; k < p->steps; k++)
        p->pick[k] = UINT32_MAX;
    for (uint32_t i = 0; i < sig->one.count; i++) {
        const uint8_t *kinds = sig->one.series[i]->col.kinds;
        TRY(eval_work(p->ev, 16 + MIN(p->steps, (size_t)LOOK_STEPS)));
        for (size_t k = 0; k < p->steps; k++) {
            TRY(eval_step(p->ev, k));
            if (kinds[k] == POINT_NONE) continue;
            if (p->pick[k] != UINT32_MAX && (p->many_any[k] != 0 || fills))
                return fail_many_to_many(p, sig, p->pick[k], i);
            p->pick[k] = i;
        }
    }
    return OK;
}

static enum status result_labels(struct pairing *p, const struct labelset *many,
                                 const struct labelset *one, struct labelset *out) {
    const struct binary *b = &p->e->u.binary;
    if (!labelset_copy(&p->arena, many, b->include.count + 1, out)) return eval_nomem(p->ev);
    bool delayed = eval_delayed_names(p->ev);
    if (binary_changes_schema(b->op) || (p->as_bool && !delayed)) labelset_drop_metadata(out);
    if (p->one_to_one) {
        if (b->on)
            labelset_keep(out, &b->labels, out);
        else
            labelset_remove(out, &b->labels, false, out);
    }
    for (size_t i = 0; i < b->include.count; i++)
        labelset_set(out, b->include.names[i], labelset_get(one, b->include.names[i]));
    return OK;
}

/* The output series of the group with these labels, and where it already has matches. */
static enum status out_find(struct pairing *p, const struct labelset *labels,
                            struct out_series **out) {
    uint64_t hash = labelset_hash(labels);
    TRY(eval_work(p->ev, 300 + p->outs_count));
    for (size_t i = 0; i < p->outs_count; i++)
        if (p->outs[i].hash == hash &&
            labelset_cmp(&p->out->series[p->outs[i].index].labels, labels) == 0) {
            *out = &p->outs[i];
            return OK;
        }
    if (p->outs_count == p->outs_cap) {
        size_t cap = p->outs_cap == 0 ? 8 : p->outs_cap * 2;
        struct out_series *grown = reallocarray(p->outs, cap, sizeof *grown);
        if (grown == NULL) return eval_nomem(p->ev);
        p->outs = grown;
        p->outs_cap = cap;
    }
    struct series *s = vectors_add(p->out, labels, 0);
    uint8_t *matched = arena_array(&p->arena, p->steps + 1, 1);
    if (s == NULL || matched == NULL) return eval_nomem(p->ev);
    s->drop_name = p->as_bool;
    p->outs[p->outs_count] = (struct out_series){p->out->count - 1, hash, matched};
    *out = &p->outs[p->outs_count++];
    return OK;
}

static enum status mark_matched(struct pairing *p, struct out_series *o, size_t k) {
    uint8_t *flag = p->one_to_one ? &p->matched[k] : &o->matched[k];
    if (*flag != 0)
        return err_set(
            p->ev->err, ERR_EXEC, 0,
            p->one_to_one
                ? "multiple matches for labels: many-to-one matching must be explicit "
                  "(group_left/group_right)"
                : "multiple matches for labels: grouping labels must ensure unique matches");
    *flag = 1;
    p->matched[k] = 1;
    return OK;
}

static enum status pair_step(struct pairing *p, struct out_series *o, size_t k, double many,
                             double one) {
    enum binary_op op = p->e->u.binary.op;
    TRY(mark_matched(p, o, k));
    double a = p->swapped ? one : many, b = p->swapped ? many : one;
    struct column *col = &p->out->series[o->index].col;
    bool keep = true;
    if (binary_op_is_comparison(op)) {
        keep = binary_keeps(op, a, b);
        col->values[k] = p->as_bool ? (keep ? 1 : 0) : a;
        keep = keep || p->as_bool;
    } else {
        col->values[k] = binary_float(op, a, b);
    }
    if (keep) col->kinds[k] = POINT_FLOAT;
    return OK;
}

/* One pair of series (either may be missing and filled) at the steps where `use` says so. */
struct pair {
    const struct series *many, *one;
    double fill_many, fill_one;
};

static enum status pair_run(struct pairing *p, const struct sig *sig, const struct pair *pair,
                            uint32_t one_index) {
    const struct labelset *ml = pair->many != NULL ? &pair->many->labels : &sig->labels;
    const struct labelset *ol = pair->one != NULL ? &pair->one->labels : &sig->labels;
    struct out_series *o = NULL;
    TRY(eval_work(p->ev, 8 + MIN(p->steps, (size_t)LOOK_STEPS)));
    for (size_t k = 0; k < p->steps; k++) {
        TRY(eval_step(p->ev, k));
        if (pair->many != NULL ? pair->many->col.kinds[k] == POINT_NONE : p->matched[k] != 0)
            continue;
        if (p->pick[k] != one_index) continue;
        if ((pair->many != NULL && pair->many->col.kinds[k] == POINT_HISTOGRAM) ||
            (pair->one != NULL && pair->one->col.kinds[k] == POINT_HISTOGRAM))
            return eval_unsupported(p->ev, binary_op_text(p->e->u.binary.op));
        if (o == NULL) {
            struct labelset labels;
            TRY(result_labels(p, ml, ol, &labels));
            TRY(out_find(p, &labels, &o));
        }
        double many = pair->many != NULL ? pair->many->col.values[k] : pair->fill_many;
        double one = pair->one != NULL ? pair->one->col.values[k] : pair->fill_one;
        TRY(pair_step(p, o, k, many, one));
    }
    return OK;
}

static enum status group_run(struct pairing *p, const struct sig *sig) {
    const struct binary *b = &p->e->u.binary;
    /* As in Prometheus, with group_right too: fill_left is for the "many" side. */
    const struct fill *fill_many = &b->fill_left, *fill_one = &b->fill_right;
    arena_reset(&p->arena);
    p->outs_count = 0;
    memset(p->matched, 0, p->steps);
    TRY(pick_one(p, sig));
    for (uint32_t i = 0; i < sig->many.count; i++) {
        struct pair pair = {.many = sig->many.series[i], .fill_one = fill_one->value};
        for (uint32_t j = 0; j < sig->one.count; j++) {
            pair.one = sig->one.series[j];
            TRY(pair_run(p, sig, &pair, j));
        }
        pair.one = NULL;
        if (fill_one->set) TRY(pair_run(p, sig, &pair, UINT32_MAX));
    }
    for (uint32_t j = 0; fill_many->set && j < sig->one.count; j++) {
        struct pair pair = {.one = sig->one.series[j], .fill_many = fill_many->value};
        TRY(pair_run(p, sig, &pair, j));
    }
    return OK;
}

enum status binary_arithmetic(struct eval *ev, const struct expr *e, struct matching *m,
                              struct vectors *out) {
    const struct binary *b = &e->u.binary;
    if (binary_op_trims(b->op)) {
        if (m->count > 0) note_float_trim(ev, e);
        return OK;
    }
    struct pairing p = {
        .ev = ev, .e = e, .m = m, .out = out, .as_bool = b->return_bool, .steps = out->grid.steps};
    p.swapped = b->card == CARD_ONE_TO_MANY;
    p.one_to_one = b->card == CARD_ONE_TO_ONE;
    arena_init_budget(&p.arena, ev->budget);
    p.pick = eval_alloc(ev, p.steps + 1, sizeof *p.pick);
    p.matched = eval_alloc(ev, p.steps + 1, 1);
    p.many_any = eval_alloc(ev, p.steps + 1, 1);
    enum status st =
        p.pick == NULL || p.matched == NULL || p.many_any == NULL ? eval_nomem(ev) : OK;
    for (uint32_t g = 0; st == OK && g < m->count; g++)
        for (uint32_t i = 0; st == OK && i < m->sigs[g].many.count; i++) {
            for (size_t k = 0; k < p.steps; k++)
                p.many_any[k] |= m->sigs[g].many.series[i]->col.kinds[k];
            st = eval_work(ev, 16 + p.steps / 8);
        }
    for (uint32_t i = 0; st == OK && i < m->count; i++) {
        st = eval_work(ev, 50);
        if (st == OK) st = group_run(&p, &m->sigs[i]);
    }
    eval_free(ev, p.pick, p.steps + 1, sizeof *p.pick);
    eval_free(ev, p.matched, p.steps + 1, 1);
    eval_free(ev, p.many_any, p.steps + 1, 1);
    free(p.outs);
    arena_fini(&p.arena);
    return st;
}
