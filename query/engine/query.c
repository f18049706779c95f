/* SPDX-License-Identifier: Apache-2.0 */
/* A query: text, parameters and prepared tree, immutable and shared; and the time ranges its
 * selectors read. */
#include <assert.h>
#include <stdlib.h>

#include "query/engine/internal.h"
#include "query/promql/parser.h"
#include "query/promql/prepare.h"

struct query {
    struct arena arena;
    struct sv text;
    struct query_params params;
    struct expr *parsed;
    struct prepared prepared;
    struct query_leaf *leaves;
    unsigned refs; /* atomic */
};

static_assert((int)FEATURE_EXPERIMENTAL_FUNCTIONS == (int)PROMQL_EXPERIMENTAL_FUNCTIONS,
              "features are passed on");
static_assert((int)FEATURE_FILL == (int)PROMQL_FILL, "features are passed on");
static_assert((int)FEATURE_EXTENDED_RANGES == (int)PROMQL_EXTENDED_RANGES,
              "features are passed on");

/* Walks with the grid of each node; a leaf's range follows from the grid above it. */
static enum status leaves_find(struct query *q, const struct expr *e, const struct grid *grid,
                               struct err *err) {
    struct stage leaf = {.kind = STAGE_SELECT, .expr = e, .out = *grid};
    const struct expr *sel = e;
    if (e->kind == EXPR_MATRIX) {
        leaf.kind = STAGE_WINDOW;
        leaf.matrix = e;
        sel = node_unwrap(e->children[0]);
    }
    if (sel->kind == EXPR_SELECTOR) {
        struct query_leaf *out = &q->leaves[sel->u.selector.leaf];
        leaf.selector = out->selector = &sel->u.selector;
        if (grid->steps > 0) stage_range(&leaf, q->params.lookback_ms, &out->from_ms, &out->to_ms);
        return OK;
    }
    for (size_t i = 0; i < e->children_count; i++) {
        struct grid g;
        TRY(grid_of_child(q, e, grid, &g, err));
        TRY(leaves_find(q, e->children[i], &g, err));
    }
    return OK;
}

static enum status query_build(struct query *q, struct sv text, struct err *err) {
    q->text = arena_sv(&q->arena, text);
    if (q->text.ptr == NULL) return err_set(err, ERR_LIMIT, 0, "query text is too long");
    struct promql_options options = {.features = q->params.features};
    TRY(promql_parse(q->text, &options, &q->arena, &q->parsed, err));
    enum value_type type = q->parsed->type;
    if (!q->params.instant && type != VALUE_SCALAR && type != VALUE_VECTOR)
        return err_set(
            err, ERR_PARSE, 0,
            "invalid expression type \"%s\" for range query, must be Scalar or instant Vector",
            type == VALUE_MATRIX ? "range vector" : "string");
    TRY(info_rewrite(q->parsed, &q->arena, err));
    struct prepare_params times = {q->params.start_ms, q->params.end_ms,
                                   q->params.instant ? 0 : q->params.step_ms};
    TRY(promql_prepare(q->parsed, &times, &q->arena, &q->prepared, err));
    q->leaves = arena_array(&q->arena, q->prepared.leaves_count + 1, sizeof *q->leaves);
    if (q->leaves == NULL) return err_set(err, ERR_NOMEM, 0, "query: out of memory");
    struct grid grid = grid_of_query(&q->params);
    if (grid.steps > STEPS_MAX) return err_set(err, ERR_LIMIT, 0, "query has too many steps");
    return leaves_find(q, q->prepared.root, &grid, err);
}

enum status query_new(struct sv text, const struct query_params *params, struct query **out,
                      struct err *err) {
    if (params->end_ms < params->start_ms || (!params->instant && params->step_ms <= 0))
        return err_set(err, ERR_PARSE, 0, "query times are out of order");
    struct query *q = calloc(1, sizeof *q);
    if (q == NULL) return err_set(err, ERR_NOMEM, 0, "query: out of memory");
    arena_init(&q->arena, 0);
    q->params = *params;
    q->refs = 1;
    enum status st = query_build(q, text, err);
    if (st != OK) {
        query_unref(q);
        return st;
    }
    *out = q;
    return OK;
}

struct query *query_ref(struct query *q) {
    __atomic_add_fetch(&q->refs, 1, __ATOMIC_RELAXED);
    return q;
}

/* The last release must see all uses of the others before it frees. */
void query_unref(struct query *q) {
    if (q == NULL || __atomic_sub_fetch(&q->refs, 1, __ATOMIC_ACQ_REL) > 0) return;
    promql_free(q->parsed);
    arena_fini(&q->arena);
    free(q);
}

const struct expr *query_root(const struct query *q) {
    return q->prepared.root;
}
struct sv query_text(const struct query *q) {
    return q->text;
}
const struct query_params *query_params(const struct query *q) {
    return &q->params;
}
const struct query_leaf *query_leaves(const struct query *q, size_t *out_count) {
    *out_count = q->prepared.leaves_count;
    return q->leaves;
}
const struct expr *query_expr(const struct query *q, uint32_t number) {
    return number < q->prepared.nodes_count ? q->prepared.nodes[number] : NULL;
}
size_t query_numbers(const struct query *q) {
    return q->prepared.nodes_count;
}
