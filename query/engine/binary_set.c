/* SPDX-License-Identifier: Apache-2.0 */
/* and, or, unless, and the entry of all operators between two vectors. */
#include "query/engine/binary.h"

#include <stdlib.h>
#include <string.h>

static enum status copy_masked(struct eval *ev, const struct series *from, const uint8_t *mask,
                               bool where, struct vectors *out) {
    struct series *to = vectors_add(out, &from->labels, 0);
    if (to == NULL) return eval_nomem(ev);
    to->drop_name = from->drop_name;
    TRY(eval_work(ev, 300 + out->grid.steps));
    for (size_t k = 0; k < out->grid.steps; k++) {
        TRY(eval_step(ev, k));
        if (mask != NULL && (mask[k] != 0) != where) continue;
        if (from->col.kinds[k] == POINT_HISTOGRAM) return eval_unsupported(ev, "set operator");
        to->col.kinds[k] = from->col.kinds[k];
        to->col.values[k] = from->col.values[k];
    }
    return OK;
}

static enum status side_mask(struct eval *ev, const struct sig_side *side, uint8_t *mask,
                             size_t steps) {
    memset(mask, 0, steps);
    for (uint32_t i = 0; i < side->count; i++) {
        for (size_t k = 0; k < steps; k++)
            mask[k] |= side->series[i]->col.kinds[k];
        TRY(eval_work(ev, 16 + steps / 8));
    }
    return OK;
}

enum status binary_set(struct eval *ev, const struct expr *e, struct matching *m,
                       struct vectors *out) {
    enum binary_op op = e->u.binary.op;
    uint8_t *mask = eval_alloc(ev, out->grid.steps + 1, 1);
    if (mask == NULL) return eval_nomem(ev);
    enum status st = OK;
    for (uint32_t g = 0; st == OK && g < m->count; g++) {
        struct sig *sig = &m->sigs[g];
        st = side_mask(ev, &sig->one, mask, out->grid.steps);
        for (uint32_t i = 0; st == OK && i < sig->many.count; i++)
            st = copy_masked(ev, sig->many.series[i], op == OP_OR ? NULL : mask, op == OP_AND, out);
        if (op != OP_OR) continue;
        if (st == OK) st = side_mask(ev, &sig->many, mask, out->grid.steps);
        for (uint32_t i = 0; st == OK && i < sig->one.count; i++)
            st = copy_masked(ev, sig->one.series[i], mask, false, out);
    }
    eval_free(ev, mask, out->grid.steps + 1, 1);
    return st;
}

static enum status combine(struct eval *ev, const struct expr *e, struct vectors *lhs,
                           struct vectors *rhs, struct vectors *out) {
    const struct binary *b = &e->u.binary;
    bool swapped = b->card == CARD_ONE_TO_MANY;
    struct matching m;
    enum status st = matching_init(ev, &m, b, swapped ? rhs : lhs, swapped ? lhs : rhs);
    if (st == ERR_NOMEM) st = eval_nomem(ev);
    if (st == OK)
        st = binary_op_is_set(b->op) ? binary_set(ev, e, &m, out)
                                     : binary_arithmetic(ev, e, &m, out);
    matching_fini(&m);
    if (st != OK) return st;
    TRY(vectors_drop_empty(ev, out));
    if (binary_op_is_set(b->op) && b->op != OP_OR) TRY(vectors_sort(ev, out));
    /* An instant query with delayed names joins at the very end. */
    if (!eval_delayed_names(ev) || out->grid.steps > 1) st = vectors_join(ev, out, false);
    return st;
}

enum status eval_binary(struct eval *ev, const struct expr *e, const struct grid *grid,
                        struct vectors **out) {
    struct vectors *lhs = NULL, *rhs = NULL, *result = NULL;
    enum status st = eval_vector(ev, e->children[0], grid, &lhs);
    if (st == OK) st = eval_vector(ev, e->children[1], grid, &rhs);
    if (st == OK) {
        result = eval_vectors_new(ev, grid);
        st = result == NULL ? eval_nomem(ev) : combine(ev, e, lhs, rhs, result);
    }
    vectors_done(ev, lhs);
    vectors_done(ev, rhs);
    if (st == OK) st = vectors_ready(ev, result);
    if (st != OK) {
        vectors_free(result);
        return st;
    }
    *out = result;
    return OK;
}
