/* SPDX-License-Identifier: Apache-2.0 */
/* tests/query/promql/tree_text.h: trees as the text of tree_cases.h. */
#pragma once

#include <inttypes.h>

#include "node/base/buf.h"
#include "node/base/num.h"
#include "query/promql/ast.h"

static const char *const kind_names[] = {
    [EXPR_NUMBER] = "number",
    [EXPR_STRING] = "string",
    [EXPR_PAREN] = "paren",
    [EXPR_UNARY] = "unary",
    [EXPR_BINARY] = "binary",
    [EXPR_AGGREGATE] = "aggregate",
    [EXPR_CALL] = "call",
    [EXPR_SELECTOR] = "selector",
    [EXPR_MATRIX] = "matrix",
    [EXPR_SUBQUERY] = "subquery",
    [EXPR_STEP_INVARIANT] = "invariant",
};

static inline void tree_put_positions(const struct expr *e, struct buf *out) {
    buf_printf(out, "%s %u-%u;", kind_names[e->kind], e->pos_start, e->pos_end);
    for (size_t i = 0; i < e->children_count; i++)
        tree_put_positions(e->children[i], out);
}

static inline void tree_put_at(const struct time_shift *shift, struct buf *out) {
    if (shift->at != AT_NONE) buf_printf(out, " at=%" PRId64, shift->at_ms);
}

/* What preparation decides: wrappers, numbers, times. */
static inline void tree_put_prepared(const struct expr *e, struct buf *out) {
    const struct range *r = &e->u.range;
    buf_printf(out, "%s", kind_names[e->kind]);
    if (e->kind == EXPR_NUMBER) {
        buf_put_char(out, '=');
        num_put_f64(out, e->u.number_value, 'g');
    } else if (e->kind == EXPR_SELECTOR) {
        buf_printf(out, " off=%" PRId64, e->u.selector.shift.offset_ms);
        tree_put_at(&e->u.selector.shift, out);
    } else if (e->kind == EXPR_MATRIX) {
        buf_printf(out, " range=%" PRId64, r->range_ms);
    } else if (e->kind == EXPR_SUBQUERY) {
        buf_printf(out, " range=%" PRId64 " step=%" PRId64 " off=%" PRId64, r->range_ms, r->step_ms,
                   r->shift.offset_ms);
        tree_put_at(&r->shift, out);
    }
    buf_put_char(out, '(');
    for (size_t i = 0; i < e->children_count; i++)
        tree_put_prepared(e->children[i], out);
    buf_put_char(out, ')');
}
