/* SPDX-License-Identifier: Apache-2.0 */
/* Which fragments cost little beside the reading: in one pass over the samples of a series, without
 * memory for each, and without labels made anew. */
#include "query/engine/internal.h"

enum { LIGHT_NODES_MAX = 8 };

static bool function_is_light(enum function_id fn) {
    switch ((int)fn) {
    case FN_ABS:
    case FN_AVG_OVER_TIME:
    case FN_CEIL:
    case FN_CHANGES:
    case FN_CLAMP:
    case FN_CLAMP_MAX:
    case FN_CLAMP_MIN:
    case FN_COUNT_OVER_TIME:
    case FN_DELTA:
    case FN_FLOOR:
    case FN_IDELTA:
    case FN_INCREASE:
    case FN_IRATE:
    case FN_LAST_OVER_TIME:
    case FN_MAX_OVER_TIME:
    case FN_MIN_OVER_TIME:
    case FN_PRESENT_OVER_TIME:
    case FN_RATE:
    case FN_RESETS:
    case FN_SUM_OVER_TIME: return true;
    default: return false;
    }
}

static bool node_is_light(const struct expr *e, unsigned *nodes) {
    switch ((int)e->kind) {
    case EXPR_NUMBER:
    case EXPR_PAREN:
    case EXPR_UNARY:
    case EXPR_STEP_INVARIANT: break;
    case EXPR_SELECTOR:
    case EXPR_MATRIX:
        if (e->kind == EXPR_SELECTOR && e->u.selector.modifier != RANGE_PLAIN) return false;
        break;
    case EXPR_BINARY:
        if (e->u.binary.matching_set) return false;
        break;
    case EXPR_CALL:
        if (!function_is_light(e->u.function->id)) return false;
        break;
    default: return false; /* subqueries, and what is no chain */
    }
    if (++*nodes > LIGHT_NODES_MAX) return false;
    for (size_t i = 0; i < e->children_count; i++)
        if (!node_is_light(e->children[i], nodes)) return false;
    return true;
}

bool fragment_is_light(const struct query *q, const struct fragment *f) {
    const struct expr *e = query_expr(q, f->number);
    unsigned nodes = 0;
    if (e == NULL || f->kind != FRAGMENT_PARTIAL || f->bound.len > 0) return false;
    return e->kind == EXPR_AGGREGATE && e->u.aggregate.op <= AGG_GROUP && e->children_count == 1 &&
           node_is_light(e->children[0], &nodes);
}
