/* SPDX-License-Identifier: Apache-2.0 */
/* info(v) and info(v, {data labels}) before preparation: the selector of info metrics is made
 * explicit, takes the time shift of v's first selector, and stands under an inner info() node,
 * which reads the times of its samples:
 *
 *   info(v, {l="x"})  ->  info(v, info({l="x", __name__="target_info"})) */
#include <string.h>

#include "query/engine/internal.h"

static struct duration_expr *offset_node(struct arena *arena, const struct time_shift *s) {
    if (s->offset_expr != NULL) return s->offset_expr;
    struct duration_expr *d = arena_zalloc(arena, sizeof *d);
    if (d == NULL) return NULL;
    d->kind = DUR_NUMBER;
    d->seconds = (double)s->offset_ms / 1000;
    return d;
}

/* Offsets of enclosing subqueries add up until an @ pins the time. */
static bool shift_add(struct arena *arena, struct time_shift *into,
                      const struct time_shift *outer) {
    if (into->offset_expr == NULL && outer->offset_expr == NULL) {
        into->offset_ms += outer->offset_ms;
    } else {
        struct duration_expr *sum = arena_zalloc(arena, sizeof *sum);
        if (sum == NULL) return false;
        sum->kind = DUR_BINARY;
        sum->op = OP_ADD;
        sum->lhs = offset_node(arena, into);
        sum->rhs = offset_node(arena, outer);
        if (sum->lhs == NULL || sum->rhs == NULL) return false;
        into->offset_expr = sum;
    }
    into->at = outer->at;
    into->at_ms = outer->at_ms;
    return true;
}

/* The shift of the first selector below e; found tells whether there is one. */
static bool shift_of_first(struct arena *arena, const struct expr *e, struct time_shift *out,
                           bool *found) {
    if (e->kind == EXPR_SELECTOR) {
        *out = e->u.selector.shift;
        *found = true;
        return true;
    }
    for (size_t i = 0; i < e->children_count && !*found; i++)
        if (!shift_of_first(arena, e->children[i], out, found)) return false;
    if (*found && e->kind == EXPR_SUBQUERY && out->at == AT_NONE)
        return shift_add(arena, out, &e->u.range.shift);
    return true;
}

/* Without a positive matcher of the name: target_info, or any .+_info when some names are excluded.
 */
static enum status name_matcher_add(struct selector *sel, struct arena *arena, struct err *err) {
    bool named = false;
    for (size_t i = 0; i < sel->matchers_count; i++) {
        const struct matcher *m = &sel->matchers[i];
        if (!sv_eq(m->name, SV("__name__"))) continue;
        if (m->kind == MATCH_EQ || m->kind == MATCH_RE) return OK;
        named = true;
    }
    struct matcher *grown = arena_array(arena, sel->matchers_count + 1, sizeof *grown);
    if (grown == NULL) return err_set(err, ERR_NOMEM, 0, "query: out of memory");
    if (sel->matchers_count > 0) memcpy(grown, sel->matchers, sel->matchers_count * sizeof *grown);
    struct matcher *m = &grown[sel->matchers_count];
    m->name = SV("__name__");
    m->kind = named ? MATCH_RE : MATCH_EQ;
    m->value = named ? SV(".+_info") : SV("target_info");
    TRY(matcher_compile(m, arena, err));
    sel->matchers = grown;
    sel->matchers_count++;
    return OK;
}

static struct expr *node_new(struct arena *arena, const struct expr *like, enum expr_kind kind,
                             size_t children) {
    struct expr *e = arena_zalloc(arena, sizeof *e);
    if (e == NULL) return NULL;
    e->kind = kind;
    e->type = VALUE_VECTOR;
    e->pos_start = like->pos_start;
    e->pos_end = like->pos_end;
    e->children = arena_array(arena, children + 1, sizeof(*e->children));
    e->children_count = children;
    return e->children == NULL ? NULL : e;
}

static enum status rewrite_call(struct expr *e, struct arena *arena, struct err *err) {
    struct expr *sel = NULL;
    if (e->children_count > 1) {
        sel = e->children[1];
        while (sel->kind == EXPR_PAREN)
            sel = sel->children[0];
        if (sel->kind != EXPR_SELECTOR)
            return err_set(err, ERR_EXEC, 0,
                           "expected label selectors as the second argument to info()");
    } else {
        sel = node_new(arena, e, EXPR_SELECTOR, 0);
    }
    struct expr *times = node_new(arena, e, EXPR_CALL, 1);
    struct expr **args = arena_array(arena, 2, sizeof(*args));
    struct time_shift shift = {0};
    bool found = false;
    if (sel == NULL || times == NULL || args == NULL ||
        !shift_of_first(arena, e->children[0], &shift, &found))
        return err_set(err, ERR_NOMEM, 0, "query: out of memory");
    sel->u.selector.shift = shift;
    TRY(name_matcher_add(&sel->u.selector, arena, err));
    times->u.function = e->u.function;
    times->children[0] = sel;
    args[0] = e->children[0];
    args[1] = times;
    e->children = args;
    e->children_count = 2;
    return OK;
}

enum status info_rewrite(struct expr *e, struct arena *arena, struct err *err) {
    for (size_t i = 0; i < e->children_count; i++)
        TRY(info_rewrite(e->children[i], arena, err));
    if (e->kind == EXPR_CALL && e->u.function->id == FN_INFO) return rewrite_call(e, arena, err);
    return OK;
}
