/* SPDX-License-Identifier: Apache-2.0 */
#include "query/promql/parse.h"

#include <assert.h>
#include <stdarg.h>
#include <stdio.h>

#include "node/base/buf.h"
#include "node/base/json.h"
#include "node/base/utf8.h"
#include "query/promql/functions.h"

/* -- tokens and errors */

void parser_init(struct parser *p, struct sv text, struct arena *arena, struct err *err) {
    *p = (struct parser){.arena = arena, .err = err, .context = {"", ""}};
    lex_init(&p->lexer, text);
}

bool parser_fail(struct parser *p, uint32_t pos, const char *fmt, ...) {
    if (p->failed) return false;
    char text[sizeof(p->err->msg)];
    va_list args;
    va_start(args, fmt);
    vsnprintf(text, sizeof(text), fmt, args);
    va_end(args);
    p->failed = true;
    unsigned line, col;
    expr_line_col(p->lexer.input, pos, &line, &col);
    if (p->lexer.input.len == 0)
        err_set(p->err, ERR_PARSE, 0, "unknown position: parse error: %s", text);
    else
        err_set(p->err, ERR_PARSE, 0, "%u:%u: parse error: %s", line, col, text);
    return false;
}

bool parser_nomem(struct parser *p) {
    if (!p->failed) err_set(p->err, ERR_NOMEM, 0, "not enough memory to parse the expression");
    p->failed = true;
    return false;
}

enum token_kind parser_peek(struct parser *p) {
    if (p->failed) return TOK_ERROR;
    if (p->peeked) return p->token.kind;
    p->token = lex_next(&p->lexer);
    p->peeked = true;
    switch ((int)p->token.kind) {
    case TOK_ERROR: parser_fail(p, p->token.pos, "%s", p->token.text.ptr); break;
    case TOK_RIGHT_BRACE:
    case TOK_RIGHT_BRACKET:
    case TOK_RIGHT_PAREN:
    case TOK_NUMBER:
    case TOK_DURATION: p->last_closing = p->token.pos + (uint32_t)p->token.text.len; break;
    default: break;
    }
    return p->token.kind;
}

struct token parser_take(struct parser *p) {
    assert(p->failed || p->peeked);
    p->peeked = false;
    return p->token;
}

bool parser_accept(struct parser *p, enum token_kind kind) {
    if (parser_peek(p) != kind) return false;
    parser_take(p);
    return true;
}

bool parser_expect(struct parser *p, enum token_kind kind) {
    return parser_accept(p, kind) || parser_unexpected(p);
}

bool parser_unexpected_in(struct parser *p, struct error_context where) {
    if (parser_peek(p) == TOK_ERROR) return false; /* the lexer has complained */
    AUTO(buf_fini) struct buf b = {0};
    token_put_description(&b, p->token);
    return parser_fail(p, p->token.pos, "unexpected %.*s%s%s", (int)b.len, b.ptr, where.where,
                       where.expected);
}

bool parser_unexpected(struct parser *p) {
    return parser_unexpected_in(p, p->context);
}

bool parser_enter(struct parser *p) {
    if (p->depth < EXPR_HEIGHT_MAX) {
        p->depth++;
        return true;
    }
    if (!p->failed)
        err_set(p->err, ERR_LIMIT, 0, "expression is nested too deeply, the limit is %d levels",
                EXPR_HEIGHT_MAX);
    p->failed = true;
    return false;
}

const char *parser_quote(struct parser *p, struct sv text) {
    AUTO(buf_fini) struct buf b = {0};
    go_put_quoted(&b, text);
    const char *s = b.failed ? NULL : arena_strdup(p->arena, buf_sv(&b));
    return s != NULL ? s : "\"\"";
}

static unsigned unquote_number(struct sv s, size_t *i, unsigned digits, unsigned base) {
    unsigned value = 0;
    for (; digits > 0 && *i < s.len; digits--, ++*i) {
        char c = s.ptr[*i];
        unsigned d = c <= '9' ? (unsigned)(c - '0') : ((unsigned)c | 32) - 'a' + 10;
        value = value * base + d;
    }
    return value;
}

bool parser_unquote(struct parser *p, struct token t, struct sv *out) {
    assert(t.kind == TOK_STRING && t.text.len >= 2); /* the lexer has checked every escape */
    struct sv s = {t.text.ptr + 1, t.text.len - 2};
    size_t at;
    *out = s;
    if (t.text.ptr[0] == '`' || !sv_find_char(s, '\\', &at)) return true;
    char *text = arena_alloc(p->arena, s.len);
    if (text == NULL) return parser_nomem(p);
    size_t len = 0;
    for (size_t i = 0; i < s.len;) {
        char c = s.ptr[i++];
        if (c != '\\') {
            text[len++] = c;
            continue;
        }
        c = s.ptr[i++];
        switch (c) {
        case 'a': text[len++] = '\a'; break;
        case 'b': text[len++] = '\b'; break;
        case 'f': text[len++] = '\f'; break;
        case 'n': text[len++] = '\n'; break;
        case 'r': text[len++] = '\r'; break;
        case 't': text[len++] = '\t'; break;
        case 'v': text[len++] = '\v'; break;
        case 'x': text[len++] = (char)unquote_number(s, &i, 2, 16); break;
        case 'u':
        case 'U': {
            char rune[4];
            size_t n = utf8_encode(rune, unquote_number(s, &i, c == 'u' ? 4 : 8, 16));
            memcpy(text + len, rune, n);
            len += n;
            break;
        }
        default:
            if (c >= '0' && c <= '7') {
                i--;
                text[len++] = (char)unquote_number(s, &i, 3, 8);
            } else {
                text[len++] = c;
            }
        }
    }
    *out = (struct sv){text, len};
    return true;
}

struct expr *parser_new(struct parser *p, enum expr_kind kind, enum value_type type,
                        unsigned children_count) {
    struct expr *e = arena_zalloc(p->arena, sizeof(*e));
    if (e != NULL && children_count > 0)
        e->children = arena_array(p->arena, children_count, sizeof(*e->children));
    if (e == NULL || (children_count > 0 && e->children == NULL)) {
        parser_nomem(p);
        return NULL;
    }
    e->kind = kind;
    e->type = type;
    e->children_count = children_count;
    return e;
}

bool parser_check_height(struct parser *p, struct expr *e) {
    uint32_t height = 0;
    for (size_t i = 0; i < e->children_count; i++)
        if (e->children[i]->number > height) height = e->children[i]->number;
    e->number = height + 1; /* numbers proper are given when the tree is prepared */
    if (e->number <= EXPR_HEIGHT_MAX) return true;
    p->depth = EXPR_HEIGHT_MAX;
    return parser_enter(p);
}

/* -- binary expressions */

int token_precedence(enum token_kind kind) {
    switch ((int)kind) {
    case TOK_OR: return PREC_OR;
    case TOK_AND:
    case TOK_UNLESS: return PREC_AND;
    case TOK_EQLC:
    case TOK_GTE:
    case TOK_GTR:
    case TOK_LSS:
    case TOK_LTE:
    case TOK_NEQ:
    case TOK_TRIM_UPPER:
    case TOK_TRIM_LOWER: return PREC_COMPARE;
    case TOK_ADD:
    case TOK_SUB: return PREC_ADD;
    case TOK_MUL:
    case TOK_DIV:
    case TOK_MOD:
    case TOK_ATAN2: return PREC_MUL;
    case TOK_POW: return PREC_POW;
    default: return 0;
    }
}

enum binary_op token_binary_op(enum token_kind kind) {
    switch ((int)kind) {
    case TOK_ADD: return OP_ADD;
    case TOK_SUB: return OP_SUB;
    case TOK_MUL: return OP_MUL;
    case TOK_DIV: return OP_DIV;
    case TOK_MOD: return OP_MOD;
    case TOK_POW: return OP_POW;
    case TOK_ATAN2: return OP_ATAN2;
    case TOK_EQLC: return OP_EQL;
    case TOK_NEQ: return OP_NEQ;
    case TOK_GTR: return OP_GTR;
    case TOK_LSS: return OP_LSS;
    case TOK_GTE: return OP_GTE;
    case TOK_LTE: return OP_LTE;
    case TOK_TRIM_UPPER: return OP_TRIM_UPPER;
    case TOK_TRIM_LOWER: return OP_TRIM_LOWER;
    case TOK_AND: return OP_AND;
    case TOK_OR: return OP_OR;
    default: assert(kind == TOK_UNLESS); return OP_UNLESS;
    }
}

static bool token_starts_expr(enum token_kind kind) {
    return kind == TOK_ADD || kind == TOK_SUB || kind == TOK_LEFT_PAREN || kind == TOK_LEFT_BRACE ||
           kind == TOK_STRING || kind == TOK_NUMBER || kind == TOK_DURATION ||
           token_is_metric_identifier(kind);
}

static bool parse_fill_value(struct parser *p, struct fill *out) {
    parser_take(p);
    if (!parser_expect(p, TOK_LEFT_PAREN)) return false;
    enum token_kind sign = parser_peek(p);
    if (sign == TOK_ADD || sign == TOK_SUB) parser_take(p);
    bool is_duration;
    double value;
    if (!parse_number_literal(p, &value, &is_duration)) return false;
    if (!parser_expect(p, TOK_RIGHT_PAREN)) return false;
    *out = (struct fill){.set = true, .value = sign == TOK_SUB ? -value : value};
    return true;
}

/* bool, then on or ignoring, then group_left or group_right, then fill: each may be missing, the
 * order is fixed. */
static bool parse_modifiers(struct parser *p, struct binary *out) {
    out->return_bool = parser_accept(p, TOK_BOOL);
    out->card = CARD_ONE_TO_ONE;
    out->matching_set = true;
    enum token_kind kind = parser_peek(p);
    if (kind == TOK_ON || kind == TOK_IGNORING) {
        parser_take(p);
        out->on = kind == TOK_ON;
        if (!parse_grouping_labels(p, &out->labels)) return false;
        kind = parser_peek(p);
        if (kind == TOK_GROUP_LEFT || kind == TOK_GROUP_RIGHT) {
            parser_take(p);
            out->card = kind == TOK_GROUP_LEFT ? CARD_MANY_TO_ONE : CARD_ONE_TO_MANY;
            kind = parser_peek(p);
            bool labels = kind == TOK_LEFT_PAREN || !token_starts_expr(kind);
            if (labels && !parse_grouping_labels(p, &out->include)) return false;
        }
    }
    kind = parser_peek(p);
    if (kind == TOK_FILL) {
        if (!parse_fill_value(p, &out->fill_left)) return false;
        out->fill_right = out->fill_left;
    } else if (kind == TOK_FILL_LEFT || kind == TOK_FILL_RIGHT) {
        bool left = kind == TOK_FILL_LEFT;
        if (!parse_fill_value(p, left ? &out->fill_left : &out->fill_right)) return false;
        if (parser_peek(p) == (left ? TOK_FILL_RIGHT : TOK_FILL_LEFT) &&
            !parse_fill_value(p, left ? &out->fill_right : &out->fill_left))
            return false;
    }
    return !p->failed;
}

static struct expr *parse_binary(struct parser *p, struct expr *lhs, struct token op) {
    struct expr *e = parser_new(p, EXPR_BINARY, VALUE_VECTOR, 2);
    if (e == NULL || !parse_modifiers(p, &e->u.binary)) return NULL;
    int precedence = token_precedence(op.kind);
    struct expr *rhs = parse_expr(p, op.kind == TOK_POW ? precedence : precedence + 1);
    if (rhs == NULL) return NULL;
    struct binary *binary = &e->u.binary;
    binary->op = token_binary_op(op.kind);
    e->children[0] = lhs;
    e->children[1] = rhs;
    e->pos_start = lhs->pos_start;
    e->pos_end = rhs->pos_end;
    if (lhs->type == VALUE_SCALAR && rhs->type == VALUE_SCALAR) e->type = VALUE_SCALAR;
    if ((binary->fill_left.set || binary->fill_right.set) && !(p->features & PROMQL_FILL)) {
        parser_fail(p, e->pos_start, "binop fill modifiers are experimental and not enabled");
        return NULL;
    }
    return parser_check_height(p, e) ? e : NULL;
}

/* -- calls and aggregations */

static struct expr **parse_arguments(struct parser *p, size_t *out_count) {
    struct expr **args = arena_alloc(p->arena, 0);
    size_t count = 0, cap = 0;
    if (args == NULL) parser_nomem(p);
    if (!parser_expect(p, TOK_LEFT_PAREN)) return NULL;
    *out_count = 0;
    if (parser_accept(p, TOK_RIGHT_PAREN)) return args;
    for (;;) {
        struct expr *arg = parse_expr(p, PREC_OR);
        if (arg == NULL) return NULL;
        if (count == cap) {
            size_t cap_new = cap == 0 ? 4 : cap * 2;
            args = arena_grow(p->arena, args, cap * sizeof(*args), cap_new * sizeof(*args));
            cap = cap_new;
            if (args == NULL) {
                parser_nomem(p);
                return NULL;
            }
        }
        args[count++] = arg;
        if (parser_peek(p) != TOK_COMMA) break;
        struct token comma = parser_take(p);
        enum token_kind kind = parser_peek(p);
        if (!token_starts_expr(kind)) {
            parser_fail(p, comma.pos, "trailing commas not allowed in function call args");
            return NULL;
        }
    }
    *out_count = count;
    return parser_expect(p, TOK_RIGHT_PAREN) ? args : NULL;
}

static struct expr *parse_call(struct parser *p, struct token name) {
    size_t count;
    struct expr **args = parse_arguments(p, &count);
    if (args == NULL) return NULL;
    const struct function_def *def = function_find(name.text);
    if (def == NULL) {
        parser_fail(p, name.pos, "unknown function with name %s", parser_quote(p, name.text));
        return NULL;
    }
    if (def->experimental && !(p->features & PROMQL_EXPERIMENTAL_FUNCTIONS)) {
        parser_fail(p, name.pos, "function %s is not enabled", parser_quote(p, name.text));
        return NULL;
    }
    struct expr *e = parser_new(p, EXPR_CALL, def->returns, 0);
    if (e == NULL) return NULL;
    e->u.function = def;
    e->children = args;
    e->children_count = count;
    e->pos_start = name.pos;
    e->pos_end = p->last_closing;
    return parser_check_height(p, e) ? e : NULL;
}

static enum aggregate_op token_aggregate_op(enum token_kind kind) {
    static const enum aggregate_op ops[] = {
        [TOK_AVG - TOK_AGGREGATE_FIRST] = AGG_AVG,
        [TOK_BOTTOMK - TOK_AGGREGATE_FIRST] = AGG_BOTTOMK,
        [TOK_COUNT - TOK_AGGREGATE_FIRST] = AGG_COUNT,
        [TOK_COUNT_VALUES - TOK_AGGREGATE_FIRST] = AGG_COUNT_VALUES,
        [TOK_GROUP - TOK_AGGREGATE_FIRST] = AGG_GROUP,
        [TOK_LIMITK - TOK_AGGREGATE_FIRST] = AGG_LIMITK,
        [TOK_LIMIT_RATIO - TOK_AGGREGATE_FIRST] = AGG_LIMIT_RATIO,
        [TOK_MAX - TOK_AGGREGATE_FIRST] = AGG_MAX,
        [TOK_MIN - TOK_AGGREGATE_FIRST] = AGG_MIN,
        [TOK_QUANTILE - TOK_AGGREGATE_FIRST] = AGG_QUANTILE,
        [TOK_STDDEV - TOK_AGGREGATE_FIRST] = AGG_STDDEV,
        [TOK_STDVAR - TOK_AGGREGATE_FIRST] = AGG_STDVAR,
        [TOK_SUM - TOK_AGGREGATE_FIRST] = AGG_SUM,
        [TOK_TOPK - TOK_AGGREGATE_FIRST] = AGG_TOPK,
    };
    static_assert(ARRAY_LEN(ops) == AGG_OP_COUNT, "one token an aggregation");
    return ops[kind - TOK_AGGREGATE_FIRST];
}

static bool parse_aggregate_modifier(struct parser *p, struct aggregate *out) {
    out->without = parser_peek(p) == TOK_WITHOUT;
    parser_take(p);
    return parse_grouping_labels(p, &out->grouping);
}

/* With no modifier the parser has read one token past the end, which may itself be a ')': then the
 * end is the one before it (prometheus/prometheus#16053). */
static uint32_t aggregate_end(const struct parser *p) {
    struct sv text = p->lexer.input;
    uint32_t at = p->lexer.last_pos, fallback = p->last_closing;
    if (at == 0 || at >= text.len || text.ptr[at] != ')') return fallback;
    for (uint32_t i = at - 1; i > 0; i--) {
        char c = text.ptr[i];
        if (c == ')') return i + 1;
        if (c != ' ' && c != '\t' && c != '\n' && c != '\r') return fallback;
    }
    return fallback;
}

static struct expr *aggregate_finish(struct parser *p, struct expr *e, struct expr **args,
                                     size_t count) {
    enum aggregate_op op = e->u.aggregate.op;
    if (count == 0) {
        parser_fail(p, e->pos_start, "no arguments for aggregate expression provided");
        return NULL;
    }
    bool experimental = op == AGG_LIMITK || op == AGG_LIMIT_RATIO;
    if (experimental && !(p->features & PROMQL_EXPERIMENTAL_FUNCTIONS)) {
        parser_fail(p, e->pos_start,
                    "%s() is experimental and must be enabled with "
                    "--enable-feature=promql-experimental-functions",
                    aggregate_op_text(op));
        return NULL;
    }
    size_t wanted = op == AGG_TOPK || op == AGG_BOTTOMK || op == AGG_COUNT_VALUES ||
                            op == AGG_QUANTILE || experimental
                        ? 2
                        : 1;
    if (count != wanted) {
        parser_fail(
            p, e->pos_start,
            "wrong number of arguments for aggregate expression provided, expected %zu, got "
            "%zu",
            wanted, count);
        return NULL;
    }
    e->children_count = wanted;
    e->children[0] = args[wanted - 1];
    if (wanted == 2) e->children[1] = args[0];
    return parser_check_height(p, e) ? e : NULL;
}

static struct expr *parse_aggregate(struct parser *p, struct token op) {
    struct error_context outer = p->context;
    p->context = (struct error_context){" in aggregation", ""};
    struct expr *e = parser_new(p, EXPR_AGGREGATE, VALUE_VECTOR, 2);
    if (e == NULL) return NULL;
    struct aggregate *aggregate = &e->u.aggregate;
    size_t count;
    bool modifier_first = parser_peek(p) != TOK_LEFT_PAREN;
    if (modifier_first && !parse_aggregate_modifier(p, aggregate)) return NULL;
    struct expr **args = parse_arguments(p, &count);
    if (args == NULL) return NULL;
    bool overread = false;
    if (!modifier_first) {
        enum token_kind kind = parser_peek(p);
        overread = kind != TOK_BY && kind != TOK_WITHOUT;
        if (p->failed || (!overread && !parse_aggregate_modifier(p, aggregate))) return NULL;
    }
    p->context = outer;
    aggregate->op = token_aggregate_op(op.kind);
    e->pos_start = op.pos;
    e->pos_end = overread ? aggregate_end(p) : p->last_closing;
    return aggregate_finish(p, e, args, count);
}

/* -- primaries and unary operators */

static struct expr *parse_paren(struct parser *p) {
    struct token open = parser_take(p);
    struct expr *inner = parse_expr(p, PREC_OR);
    if (inner == NULL || !parser_expect(p, TOK_RIGHT_PAREN)) return NULL;
    struct expr *e = parser_new(p, EXPR_PAREN, inner->type, 1);
    if (e == NULL) return NULL;
    e->children[0] = inner;
    e->pos_start = open.pos;
    e->pos_end = p->last_closing;
    return parser_check_height(p, e) ? e : NULL;
}

static struct expr *parse_string(struct parser *p) {
    struct token t = parser_take(p);
    struct expr *e = parser_new(p, EXPR_STRING, VALUE_STRING, 0);
    if (e == NULL || !parser_unquote(p, t, &e->u.string)) return NULL;
    e->pos_start = t.pos;
    e->pos_end = t.pos + (uint32_t)t.text.len;
    return parser_check_height(p, e) ? e : NULL;
}

static struct expr *parse_word(struct parser *p) {
    struct token t = parser_take(p);
    enum token_kind next = parser_peek(p);
    bool function = t.kind == TOK_IDENTIFIER || (t.kind >= TOK_START && t.kind <= TOK_MIN_OF);
    if (function && next == TOK_LEFT_PAREN) return parse_call(p, t);
    if (token_is_aggregate(t.kind) &&
        (next == TOK_LEFT_PAREN || next == TOK_BY || next == TOK_WITHOUT))
        return parse_aggregate(p, t);
    return parse_selector_named(p, t);
}

static struct expr *parse_primary(struct parser *p) {
    enum token_kind kind = parser_peek(p);
    if (kind == TOK_NUMBER || kind == TOK_DURATION) return parse_number(p);
    if (kind == TOK_STRING) return parse_string(p);
    if (kind == TOK_LEFT_PAREN) return parse_paren(p);
    if (kind == TOK_LEFT_BRACE) return parse_selector(p);
    if (token_is_metric_identifier(kind)) return parse_word(p);
    parser_unexpected(p);
    return NULL;
}

static struct expr *parse_unary(struct parser *p) {
    enum token_kind kind = parser_peek(p);
    if (kind != TOK_ADD && kind != TOK_SUB) {
        struct expr *e = parse_primary(p);
        return e == NULL ? NULL : parse_postfix(p, e);
    }
    struct token op = parser_take(p);
    struct expr *operand = parse_expr(p, PREC_POW);
    if (operand == NULL) return NULL;
    if (operand->kind == EXPR_NUMBER) {
        if (kind == TOK_SUB) operand->u.number_value *= -1;
        operand->pos_start = op.pos;
        return operand;
    }
    struct expr *e = parser_new(p, EXPR_UNARY, operand->type, 1);
    if (e == NULL) return NULL;
    e->u.unary_minus = kind == TOK_SUB;
    e->children[0] = operand;
    e->pos_start = op.pos;
    e->pos_end = operand->pos_end;
    return parser_check_height(p, e) ? e : NULL;
}

struct expr *parse_expr(struct parser *p, int precedence_min) {
    if (!parser_enter(p)) return NULL;
    struct expr *e = parse_unary(p);
    while (e != NULL) {
        int precedence = token_precedence(parser_peek(p));
        if (precedence == 0 || precedence < precedence_min) break;
        e = parse_binary(p, e, parser_take(p));
    }
    parser_leave(p);
    return p->failed ? NULL : e;
}
