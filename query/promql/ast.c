/* SPDX-License-Identifier: Apache-2.0 */
#include "query/promql/ast.h"

#include <assert.h>

#include "node/base/attr.h"

static const char *const value_type_names[] = {
    [VALUE_NONE] = "none",     [VALUE_SCALAR] = "scalar", [VALUE_STRING] = "string",
    [VALUE_VECTOR] = "vector", [VALUE_MATRIX] = "matrix",
};

static const char *const binary_op_texts[] = {
    [OP_ADD] = "+",  [OP_SUB] = "-",         [OP_MUL] = "*",         [OP_DIV] = "/",
    [OP_MOD] = "%",  [OP_POW] = "^",         [OP_ATAN2] = "atan2",   [OP_EQL] = "==",
    [OP_NEQ] = "!=", [OP_GTR] = ">",         [OP_LSS] = "<",         [OP_GTE] = ">=",
    [OP_LTE] = "<=", [OP_TRIM_UPPER] = "</", [OP_TRIM_LOWER] = ">/", [OP_AND] = "and",
    [OP_OR] = "or",  [OP_UNLESS] = "unless",
};
static_assert(ARRAY_LEN(binary_op_texts) == OP_COUNT, "one text an operator");

static const char *const aggregate_op_texts[] = {
    [AGG_SUM] = "sum",
    [AGG_AVG] = "avg",
    [AGG_COUNT] = "count",
    [AGG_MIN] = "min",
    [AGG_MAX] = "max",
    [AGG_GROUP] = "group",
    [AGG_STDDEV] = "stddev",
    [AGG_STDVAR] = "stdvar",
    [AGG_TOPK] = "topk",
    [AGG_BOTTOMK] = "bottomk",
    [AGG_COUNT_VALUES] = "count_values",
    [AGG_QUANTILE] = "quantile",
    [AGG_LIMITK] = "limitk",
    [AGG_LIMIT_RATIO] = "limit_ratio",
};
static_assert(ARRAY_LEN(aggregate_op_texts) == AGG_OP_COUNT, "one text an aggregation");

const char *value_type_name(enum value_type type) {
    assert(type < ARRAY_LEN(value_type_names));
    return value_type_names[type];
}

const char *value_type_documented(enum value_type type) {
    if (type == VALUE_VECTOR) return "instant vector";
    if (type == VALUE_MATRIX) return "range vector";
    return value_type_name(type);
}

const char *binary_op_text(enum binary_op op) {
    assert(op < OP_COUNT);
    return binary_op_texts[op];
}

const char *aggregate_op_text(enum aggregate_op op) {
    assert(op < AGG_OP_COUNT);
    return aggregate_op_texts[op];
}

const struct expr *expr_unwrap(const struct expr *expr) {
    while (expr->kind == EXPR_PAREN || expr->kind == EXPR_STEP_INVARIANT)
        expr = expr->children[0];
    return expr;
}

void expr_line_col(struct sv query_text, uint32_t pos, unsigned *out_line, unsigned *out_col) {
    unsigned line = 1;
    size_t line_start = 0;
    for (size_t i = 0; i < query_text.len && i < pos; i++) {
        if (query_text.ptr[i] != '\n') continue;
        line++;
        line_start = i + 1;
    }
    *out_line = line;
    *out_col = (unsigned)(pos - line_start) + 1;
}
