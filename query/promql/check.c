/* SPDX-License-Identifier: Apache-2.0 */
/* Types and the rules that grammar alone cannot tell, checked after the whole text was read,
 * children first where Prometheus does so: of several mistakes the same one is reported. */
#include "query/promql/functions.h"
#include "query/promql/parse.h"

static bool check(struct parser *p, struct expr *e, bool may_select_all);

static bool is_space(char c) {
    return c == ' ' || c == '\t' || c == '\n' || c == '\r';
}

/* Where the operator between the sides begins. */
static uint32_t operator_pos(const struct parser *p, const struct expr *e) {
    struct sv text = p->lexer.input;
    uint32_t pos = e->children[0]->pos_end;
    while (pos < text.len && is_space(text.ptr[pos]))
        pos++;
    return pos;
}

static bool expect_type(struct parser *p, struct expr *e, enum value_type want, const char *where) {
    if (!check(p, e, false)) return false;
    if (e->type == want) return true;
    return parser_fail(p, e->pos_start, "expected type %s in %s, got %s",
                       value_type_documented(want), where, value_type_documented(e->type));
}

static bool check_aggregate(struct parser *p, struct expr *e) {
    if (!expect_type(p, e->children[0], VALUE_VECTOR, "aggregation expression")) return false;
    if (e->children_count < 2) return true;
    enum value_type want = e->u.aggregate.op == AGG_COUNT_VALUES ? VALUE_STRING : VALUE_SCALAR;
    return expect_type(p, e->children[1], want, "aggregation parameter");
}

static bool check_include(struct parser *p, const struct expr *e) {
    const struct binary *b = &e->u.binary;
    for (size_t i = 0; b->on && i < b->labels.count; i++)
        for (size_t j = 0; j < b->include.count; j++)
            if (sv_eq(b->labels.names[i], b->include.names[j]))
                return parser_fail(p, operator_pos(p, e),
                                   "label %s must not occur in ON and GROUP clause at once",
                                   parser_quote(p, b->labels.names[i]));
    return true;
}

static bool check_set_operator(struct parser *p, const struct expr *e) {
    const struct binary *b = &e->u.binary;
    if (b->card == CARD_ONE_TO_MANY || b->card == CARD_MANY_TO_ONE)
        return parser_fail(p, e->pos_start, "no grouping allowed for \"%s\" operation",
                           binary_op_text(b->op));
    if (b->fill_left.set || b->fill_right.set)
        return parser_fail(p, e->pos_start,
                           "filling in missing series not allowed for set operators");
    return true;
}

static bool check_scalar_side(struct parser *p, struct expr *e) {
    struct binary *b = &e->u.binary;
    if (b->labels.count > 0)
        return parser_fail(p, e->pos_start, "vector matching only allowed between instant vectors");
    if (b->fill_left.set || b->fill_right.set)
        return parser_fail(p, e->pos_start,
                           "filling in missing series only allowed between instant vectors");
    if (binary_op_is_set(b->op))
        return parser_fail(p, e->pos_start,
                           "set operator \"%s\" not allowed in binary scalar expression",
                           binary_op_text(b->op));
    b->matching_set = false;
    return true;
}

static bool check_binary(struct parser *p, struct expr *e) {
    struct expr *lhs = e->children[0], *rhs = e->children[1];
    struct binary *b = &e->u.binary;
    if (!check(p, lhs, false) || !check(p, rhs, false)) return false;
    if (b->return_bool && !binary_op_is_comparison(b->op))
        return parser_fail(p, operator_pos(p, e),
                           "bool modifier can only be used on comparison operators");
    bool scalars = lhs->type == VALUE_SCALAR && rhs->type == VALUE_SCALAR;
    if (binary_op_is_comparison(b->op) && !b->return_bool && scalars)
        return parser_fail(p, operator_pos(p, e),
                           "comparisons between scalars must use BOOL modifier");
    if (binary_op_is_set(b->op) && b->card == CARD_ONE_TO_ONE) b->card = CARD_MANY_TO_MANY;
    if (!check_include(p, e)) return false;
    const struct expr *sides[] = {lhs, rhs};
    for (size_t i = 0; i < 2; i++)
        if (sides[i]->type != VALUE_SCALAR && sides[i]->type != VALUE_VECTOR)
            return parser_fail(p, sides[i]->pos_start,
                               "binary expression must contain only scalar and instant vector "
                               "types");
    if (lhs->type != VALUE_VECTOR || rhs->type != VALUE_VECTOR) return check_scalar_side(p, e);
    return !binary_op_is_set(b->op) || check_set_operator(p, e);
}

static bool check_arity(struct parser *p, const struct expr *e) {
    const struct function_def *def = e->u.function;
    size_t got = e->children_count, least = def->args_count;
    const char *bound = "";
    if (def->variadic != 0) {
        least--;
        bound = "at least ";
    }
    bool ok = def->variadic == 0 ? got == least : got >= least;
    if (ok && def->variadic > 0 && got > least + (size_t)def->variadic) {
        least += (size_t)def->variadic;
        bound = "at most ";
        ok = false;
    }
    if (ok) return true;
    return parser_fail(p, e->pos_start, "expected %s%zu argument(s) in call to \"%s\", got %zu",
                       bound, least, def->name, got);
}

/* info's second argument is no vector to evaluate, only matchers in braces, and these may match
 * everything. */
static bool check_info(struct parser *p, const struct expr *e) {
    const struct expr *arg = e->children[1];
    if (arg->type != VALUE_VECTOR)
        return parser_fail(p, e->pos_start, "expected type %s in call to function \"info\", got %s",
                           value_type_documented(VALUE_VECTOR), value_type_documented(arg->type));
    if (arg->kind != EXPR_SELECTOR)
        return parser_fail(p, arg->pos_start, "expected label selectors only");
    if (arg->u.selector.name.len > 0)
        return parser_fail(p, arg->pos_start,
                           "expected label selectors only, got vector selector instead");
    return true;
}

static bool check_call(struct parser *p, struct expr *e) {
    const struct function_def *def = e->u.function;
    if (!check_arity(p, e)) return false;
    bool info = def->id == FN_INFO && e->children_count > 1;
    if (info && !check_info(p, e)) return false;
    for (size_t i = 0; i < e->children_count; i++) {
        struct expr *arg = e->children[i];
        enum value_type want = def->args[i < def->args_count ? i : def->args_count - 1];
        if (!check(p, arg, info && i == 1)) return false;
        if (arg->type != want)
            return parser_fail(
                p, arg->pos_start, "expected type %s in call to function \"%s\", got %s",
                value_type_documented(want), def->name, value_type_documented(arg->type));
    }
    return true;
}

static bool check_selector(struct parser *p, const struct expr *e, bool may_select_all) {
    const struct selector *s = &e->u.selector;
    if (s->name.len > 0) {
        for (size_t i = 0; i + 1 < s->matchers_count; i++)
            if (sv_eq(s->matchers[i].name, SV("__name__")))
                return parser_fail(p, e->pos_start, "metric name must not be set twice: %s or %s",
                                   parser_quote(p, s->name), parser_quote(p, s->matchers[i].value));
        return true;
    }
    if (may_select_all || !promql_matchers_select_all(s->matchers, s->matchers_count)) return true;
    return parser_fail(p, e->pos_start,
                       "vector selector must contain at least one non-empty matcher");
}

static bool check(struct parser *p, struct expr *e, bool may_select_all) {
    switch (e->kind) {
    case EXPR_AGGREGATE: return check_aggregate(p, e);
    case EXPR_BINARY: return check_binary(p, e);
    case EXPR_CALL: return check_call(p, e);
    case EXPR_SELECTOR: return check_selector(p, e, may_select_all);
    case EXPR_PAREN:
    case EXPR_MATRIX: return check(p, e->children[0], false);
    case EXPR_UNARY: {
        enum value_type type = e->type;
        if (!check(p, e->children[0], false)) return false;
        if (type == VALUE_SCALAR || type == VALUE_VECTOR) return true;
        return parser_fail(p, e->pos_start,
                           "unary expression only allowed on expressions of type scalar or "
                           "instant vector, got \"%s\"",
                           value_type_documented(type));
    }
    case EXPR_SUBQUERY: {
        enum value_type type = e->children[0]->type;
        if (!check(p, e->children[0], false)) return false;
        if (type == VALUE_VECTOR) return true;
        return parser_fail(p, e->pos_start,
                           "subquery is only allowed on instant vector, got %s instead",
                           value_type_name(type));
    }
    case EXPR_NUMBER:
    case EXPR_STRING:
    case EXPR_STEP_INVARIANT: return true;
    }
    return true;
}

bool check_types(struct parser *p, struct expr *root) {
    return check(p, root, false);
}

/* -- entry points */

static void regexes_free(struct parser *p) {
    for (struct regex_ref *ref = p->regexes; ref != NULL; ref = ref->next)
        regex_free(ref->regex);
}

static enum status too_long(struct sv text, struct err *err) {
    if (text.len <= PROMQL_TEXT_BYTES_MAX) return OK;
    return err_set(err, ERR_LIMIT, 0, "expression is too long: %zu bytes, the limit is %d",
                   text.len, PROMQL_TEXT_BYTES_MAX);
}

enum status promql_parse(struct sv text, const struct promql_options *options, struct arena *arena,
                         struct expr **out, struct err *err) {
    struct err local;
    struct parser p;
    TRY(too_long(text, err));
    parser_init(&p, text, arena, err != NULL ? err : &local);
    p.features = options == NULL ? 0 : options->features;
    struct expr *root = NULL;
    if (parser_peek(&p) == TOK_EOF)
        parser_fail(&p, 0, "no expression found in input");
    else
        root = parse_expr(&p, PREC_OR);
    bool ok = root != NULL && (parser_peek(&p) == TOK_EOF || parser_unexpected(&p));
    if (ok && check_types(&p, root)) {
        *out = root;
        return OK;
    }
    regexes_free(&p);
    return p.err->code;
}

void promql_free(struct expr *expr) {
    if (expr == NULL) return;
    if (expr->kind == EXPR_SELECTOR)
        promql_matchers_free(expr->u.selector.matchers, expr->u.selector.matchers_count);
    for (size_t i = 0; i < expr->children_count; i++)
        promql_free(expr->children[i]);
}

enum status promql_parse_selector(struct sv text, struct arena *arena,
                                  struct matcher **out_matchers, size_t *out_count,
                                  struct err *err) {
    struct err local;
    struct parser p;
    TRY(too_long(text, err));
    parser_init(&p, text, arena, err != NULL ? err : &local);
    struct expr *e = NULL;
    enum token_kind kind = parser_peek(&p);
    if (kind == TOK_LEFT_BRACE)
        e = parse_selector(&p);
    else if (token_is_metric_identifier(kind))
        e = parse_selector_named(&p, parser_take(&p));
    else
        parser_unexpected(&p);
    if (e != NULL && (parser_peek(&p) == TOK_EOF || parser_unexpected(&p))) {
        *out_matchers = e->u.selector.matchers;
        *out_count = e->u.selector.matchers_count;
        return OK;
    }
    regexes_free(&p);
    return p.err->code;
}

void promql_matchers_free(struct matcher *matchers, size_t count) {
    for (size_t i = 0; i < count; i++)
        matcher_fini(&matchers[i]);
}

bool promql_matchers_select_all(const struct matcher *matchers, size_t count) {
    for (size_t i = 0; i < count; i++)
        if (!matcher_matches_empty(&matchers[i])) return false;
    return true;
}
