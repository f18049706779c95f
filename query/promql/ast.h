/* SPDX-License-Identifier: Apache-2.0 */
/* query/promql/ast.h: the syntax tree of a PromQL expression. Built by the parser in the query's
 * arena, immutable after promql_prepare() (query/promql/prepare.h), shared by all threads that
 * evaluate the query. Every node has a number (its index in preorder), so that a fragment can name
 * the tree node it evaluates. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "node/base/regex.h"
#include "node/base/sv.h"
#include "storage/matcher.h"

enum value_type { VALUE_NONE, VALUE_SCALAR, VALUE_STRING, VALUE_VECTOR, VALUE_MATRIX };
/* "none", "scalar", "string", "vector", "matrix": resultType of the API */
const char *value_type_name(enum value_type type);
/* "instant vector", "range vector", ...: in error texts */
const char *value_type_documented(enum value_type type);

enum expr_kind {
    EXPR_NUMBER,    /* u.number */
    EXPR_STRING,    /* u.string */
    EXPR_PAREN,     /* child 0 */
    EXPR_UNARY,     /* child 0, u.unary_minus */
    EXPR_BINARY,    /* children 0 and 1, u.binary */
    EXPR_AGGREGATE, /* child 0 is the expression, child 1 (when children_count 2) the parameter,
                       u.aggregate */
    EXPR_CALL,      /* children are the arguments, u.call */
    EXPR_SELECTOR,  /* instant vector selector, u.selector */
    EXPR_MATRIX,    /* range selector: child 0 is the EXPR_SELECTOR, u.range */
    EXPR_SUBQUERY,  /* child 0, u.range */
    EXPR_STEP_INVARIANT, /* child 0 gives the same at every step: evaluated once (put in by
                            promql_prepare) */
};

enum binary_op {
    OP_ADD,
    OP_SUB,
    OP_MUL,
    OP_DIV,
    OP_MOD,
    OP_POW,
    OP_ATAN2,
    OP_EQL,
    OP_NEQ,
    OP_GTR,
    OP_LSS,
    OP_GTE,
    OP_LTE,
    OP_TRIM_UPPER,
    OP_TRIM_LOWER, /* </ and >/ */
    OP_AND,
    OP_OR,
    OP_UNLESS,
    OP_COUNT
};
const char *binary_op_text(enum binary_op op);
static inline bool binary_op_is_comparison(enum binary_op op) {
    return op >= OP_EQL && op <= OP_LTE;
}
static inline bool binary_op_trims(enum binary_op op) {
    return op == OP_TRIM_UPPER || op == OP_TRIM_LOWER;
}
static inline bool binary_op_is_set(enum binary_op op) {
    return op >= OP_AND;
}

enum match_card { CARD_ONE_TO_ONE, CARD_MANY_TO_ONE, CARD_ONE_TO_MANY, CARD_MANY_TO_MANY };

enum aggregate_op {
    AGG_SUM,
    AGG_AVG,
    AGG_COUNT,
    AGG_MIN,
    AGG_MAX,
    AGG_GROUP,
    AGG_STDDEV,
    AGG_STDVAR,
    AGG_TOPK,
    AGG_BOTTOMK,
    AGG_COUNT_VALUES,
    AGG_QUANTILE,
    AGG_LIMITK,
    AGG_LIMIT_RATIO,
    AGG_OP_COUNT
};
const char *aggregate_op_text(enum aggregate_op op);

/* A duration expression inside [..] or offset; literal ones are folded to a number by the parser.
 * Evaluated against the query's step and range by promql_prepare into the *_ms fields. */
enum duration_kind {
    DUR_NUMBER,
    DUR_STEP,
    DUR_RANGE,
    DUR_POS, /* rhs only: a number that stood in parentheses */
    DUR_NEG, /* rhs only */
    DUR_BINARY,
    DUR_MIN_OF,
    DUR_MAX_OF
};
struct duration_expr {
    enum duration_kind kind;
    enum binary_op op;        /* DUR_BINARY: + - * / % ^ */
    bool wrapped;             /* was in parentheses: printed so */
    bool literal_is_duration; /* DUR_NUMBER written as 5m: printed so */
    double seconds;           /* DUR_NUMBER */
    struct duration_expr *lhs, *rhs;
    uint32_t pos_start, pos_end;
};

enum at_kind { AT_NONE, AT_TIMESTAMP, AT_START, AT_END };
enum range_modifier { RANGE_PLAIN, RANGE_ANCHORED, RANGE_SMOOTHED };

/* offset and @ of selectors and subqueries */
struct time_shift {
    int64_t offset_ms;                 /* literal, or resolved by promql_prepare from offset_expr */
    struct duration_expr *offset_expr; /* NULL when no offset or a literal one was written */
    enum at_kind at;
    int64_t at_ms; /* AT_TIMESTAMP; AT_START and AT_END are resolved into it by promql_prepare */
};

struct selector {
    struct sv
        name; /* metric name written in front of the braces, else empty: {"x"} is only a matcher */
    struct matcher *matchers; /* as written, then the __name__ one of `name` */
    size_t matchers_count;
    struct time_shift shift;
    enum range_modifier modifier;
    uint32_t leaf; /* number among the query's selectors, in preorder; equal selectors share data
                      but keep their leaf */
};

struct label_list {
    struct sv *names;
    size_t count;
};

struct fill {
    bool set;
    double value;
};

struct binary {
    enum binary_op op;
    bool return_bool;
    bool matching_set; /* both sides are vectors: the fields below count; card is MANY_TO_MANY for
                          set operators */
    enum match_card card;
    bool on; /* on(labels) rather than ignoring(labels) */
    struct label_list labels;
    struct label_list include; /* group_left(..) / group_right(..) */
    struct fill fill_left, fill_right;
};

struct aggregate {
    enum aggregate_op op;
    bool without;
    struct label_list grouping;
};

struct function_def; /* query/promql/functions.h */

struct range {
    int64_t range_ms; /* literal, or resolved by promql_prepare from range_expr */
    int64_t step_ms;  /* subquery; 0: the default step */
    struct duration_expr *range_expr, *step_expr; /* NULL for literals */
    struct time_shift shift;                      /* subquery only; a matrix has its selector's */
};

struct expr {
    enum expr_kind kind;
    enum value_type type;
    uint32_t number; /* preorder index in the prepared tree */
    /* byte offsets in the query text, end exclusive; annotations name pos_start */
    uint32_t pos_start, pos_end;
    struct expr **children;
    size_t children_count;
    union {
        double number_value;
        struct sv string;
        bool unary_minus; /* false: unary plus */
        struct binary binary;
        struct aggregate aggregate;
        const struct function_def *function;
        struct selector selector;
        struct range range;
    } u;
    bool number_is_duration; /* EXPR_NUMBER written as a duration, printed so */
};

/* Without parentheses and STEP_INVARIANT wrappers around it. */
const struct expr *expr_unwrap(const struct expr *expr);

/* 1-based line and column (in bytes) of a position, as in parse errors and annotations. */
void expr_line_col(struct sv query_text, uint32_t pos, unsigned *out_line, unsigned *out_col);
