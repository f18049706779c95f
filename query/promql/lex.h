/* SPDX-License-Identifier: Apache-2.0 */
/* query/promql/lex.h: cuts PromQL text into tokens. Works lazily, as the parser asks: the first
 * error in text order wins, be it one of spelling or of grammar. Within [..] and {..} other rules
 * hold, so the lexer tracks what is open. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "node/base/sv.h"

/* Groups are ranges: error texts tell operators, aggregations and keywords apart. */
enum token_kind {
    TOK_EOF,
    TOK_ERROR, /* text is the message */
    TOK_IDENTIFIER,
    TOK_METRIC_IDENTIFIER, /* has a colon */
    TOK_NUMBER,
    TOK_DURATION,
    TOK_STRING, /* with its quotes */
    TOK_COLON,
    TOK_COMMA,
    TOK_LEFT_BRACE,
    TOK_RIGHT_BRACE,
    TOK_LEFT_BRACKET,
    TOK_RIGHT_BRACKET,
    TOK_LEFT_PAREN,
    TOK_RIGHT_PAREN,
    TOK_EQL, /* = */

    TOK_OPERATOR_FIRST,
    TOK_ADD = TOK_OPERATOR_FIRST,
    TOK_DIV,
    TOK_EQLC,
    TOK_EQL_REGEX,
    TOK_GTE,
    TOK_GTR,
    TOK_TRIM_UPPER,
    TOK_TRIM_LOWER,
    TOK_AND,
    TOK_OR,
    TOK_LSS,
    TOK_LTE,
    TOK_UNLESS,
    TOK_MOD,
    TOK_MUL,
    TOK_NEQ,
    TOK_NEQ_REGEX,
    TOK_POW,
    TOK_SUB,
    TOK_AT,
    TOK_ATAN2,
    TOK_OPERATOR_LAST = TOK_ATAN2,

    TOK_AGGREGATE_FIRST,
    TOK_AVG = TOK_AGGREGATE_FIRST,
    TOK_BOTTOMK,
    TOK_COUNT,
    TOK_COUNT_VALUES,
    TOK_GROUP,
    TOK_LIMITK,
    TOK_LIMIT_RATIO,
    TOK_MAX,
    TOK_MIN,
    TOK_QUANTILE,
    TOK_STDDEV,
    TOK_STDVAR,
    TOK_SUM,
    TOK_TOPK,
    TOK_AGGREGATE_LAST = TOK_TOPK,

    TOK_KEYWORD_FIRST,
    TOK_ANCHORED = TOK_KEYWORD_FIRST,
    TOK_BOOL,
    TOK_BY,
    TOK_FILL,
    TOK_FILL_LEFT,
    TOK_FILL_RIGHT,
    TOK_GROUP_LEFT,
    TOK_GROUP_RIGHT,
    TOK_IGNORING,
    TOK_OFFSET,
    TOK_ON,
    TOK_SMOOTHED,
    TOK_WITHOUT,
    TOK_KEYWORD_LAST = TOK_WITHOUT,

    TOK_START,
    TOK_END,
    TOK_STEP,
    TOK_RANGE,
    TOK_MAX_OF,
    TOK_MIN_OF,
    TOK_COUNT_OF_KINDS
};

struct token {
    enum token_kind kind;
    uint32_t pos;
    struct sv text; /* as written, or an error's message, which lives in the lexer */
};

enum lex_state { LEX_NORMAL, LEX_RANGE, LEX_DONE };

struct lexer {
    struct sv input; /* borrowed */
    enum lex_state state;
    uint32_t pos, start; /* bytes; start of the token being read */
    uint32_t width;      /* of the last rune read */
    uint32_t last_pos;   /* where the last token began */
    int paren_depth;
    bool brace_open, bracket_open, got_colon, got_duration;
    struct token token;
    char message[512];
};

enum { LEX_INPUT_BYTES_MAX = 1 << 30 };

void lex_init(struct lexer *l, struct sv input); /* input.len <= LEX_INPUT_BYTES_MAX */
/* After TOK_EOF or TOK_ERROR comes TOK_EOF for ever. Comments are skipped. */
struct token lex_next(struct lexer *l);

static inline bool token_is_aggregate(enum token_kind kind) {
    return kind >= TOK_AGGREGATE_FIRST && kind <= TOK_AGGREGATE_LAST;
}
static inline bool token_is_keyword(enum token_kind kind) {
    return kind >= TOK_KEYWORD_FIRST && kind <= TOK_KEYWORD_LAST;
}
static inline bool token_is_operator(enum token_kind kind) {
    return kind >= TOK_OPERATOR_FIRST && kind <= TOK_OPERATOR_LAST;
}

struct buf;
/* How an error text names a token: `identifier "x"`, `<op:+>`, `<by>`, `end of input`. */
void token_put_description(struct buf *out, struct token t);
