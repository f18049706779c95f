/* SPDX-License-Identifier: Apache-2.0 */
#include <math.h>

#include "node/base/num.h"
#include "query/promql/parse.h"

static const struct error_context in_offset = {" in offset",
                                               ", expected number, duration, step(), or range()"};
static const struct error_context in_at = {" in @", ", expected timestamp"};
static const struct error_context in_range = {" in subquery or range selector",
                                              ", expected number, duration, step(), or range()"};
static const struct error_context after_range = {" in subquery or range",
                                                 ", expected \":\" or \"]\""};
static const struct error_context in_step = {
    " in subquery selector", ", expected number, duration, step(), range(), or \"]\""};
static const struct error_context after_step = {" in subquery selector", ", expected \"]\""};

/* -- numbers and durations */

struct unit {
    struct sv text;
    uint64_t ns;
};
#define MS_NS UINT64_C(1000000)
static const struct unit units[] = {
    /* in the order in which they may follow each other */
    {SV_INIT("y"), 365 * 86400 * UINT64_C(1000) * MS_NS},
    {SV_INIT("w"), 7 * 86400 * UINT64_C(1000) * MS_NS},
    {SV_INIT("d"), 86400 * 1000 * MS_NS},
    {SV_INIT("h"), 3600 * 1000 * MS_NS},
    {SV_INIT("m"), 60 * 1000 * MS_NS},
    {SV_INIT("s"), 1000 * MS_NS},
    {SV_INIT("ms"), MS_NS},
};

static bool digit(char c) {
    return c >= '0' && c <= '9';
}

static bool parse_duration_token(struct parser *p, struct token t, double *out_seconds) {
    struct sv s = t.text;
    uint64_t total = 0;
    size_t units_seen = 0; /* first of units[] that may still come */
    while (s.len > 0) {
        size_t digits = 0, letters = 0, u = 0;
        while (digits < s.len && digit(s.ptr[digits]))
            digits++;
        while (digits + letters < s.len && !digit(s.ptr[digits + letters]))
            letters++;
        uint64_t count;
        struct sv unit = {s.ptr + digits, letters};
        if (digits == 0 || letters == 0 || !num_parse_u64(sv_take(s, digits), &count))
            return parser_fail(p, t.pos, "not a valid duration string: %s",
                               parser_quote(p, t.text));
        while (u < ARRAY_LEN(units) && !sv_eq(units[u].text, unit))
            u++;
        if (u == ARRAY_LEN(units))
            return parser_fail(p, t.pos, "unknown unit %s in duration %s", parser_quote(p, unit),
                               parser_quote(p, t.text));
        if (u < units_seen)
            return parser_fail(p, t.pos, "not a valid duration string: %s",
                               parser_quote(p, t.text));
        units_seen = u + 1;
        uint64_t ns;
        if (__builtin_mul_overflow(count, units[u].ns, &ns) ||
            __builtin_add_overflow(total, ns, &total) || total > INT64_MAX)
            return parser_fail(p, t.pos, "duration out of range");
        s = sv_skip(s, digits + letters);
    }
    /* as Go's Duration.Seconds(): whole and fractional seconds apart */
    *out_seconds = (double)(total / (1000 * MS_NS)) + (double)(total % (1000 * MS_NS)) / 1e9;
    return true;
}

/* Copies without underscores; false where one does not stand between digits or after 0x. */
static bool strip_underscores(struct sv s, char *out, size_t *out_len) {
    size_t len = 0;
    for (size_t i = 0; i < s.len; i++) {
        if (s.ptr[i] != '_') {
            out[len++] = s.ptr[i];
            continue;
        }
        if (i == 0 || i + 1 == s.len || !digit(s.ptr[i - 1]) || !digit(s.ptr[i + 1])) return false;
    }
    *out_len = len;
    return true;
}

static bool parse_number_token(struct parser *p, struct token t, double *out) {
    int64_t whole;
    if (num_parse_i64_base0(t.text, &whole)) {
        *out = (double)whole;
        return true;
    }
    char *copy = arena_alloc(p->arena, t.text.len);
    size_t len = 0;
    if (copy == NULL) return parser_nomem(p);
    bool hex = t.text.len > 1 && (t.text.ptr[1] | 32) == 'x';
    const char *why = "invalid syntax";
    if (!hex && strip_underscores(t.text, copy, &len) && num_parse_f64(sv_make(copy, len), out)) {
        bool word = (copy[0] | 32) == 'i';
        if (!isinf(*out) || word) return true;
        why = "value out of range";
    }
    return parser_fail(p, t.pos, "error parsing number: strconv.ParseFloat: parsing %s: %s",
                       parser_quote(p, t.text), why);
}

bool parse_number_literal(struct parser *p, double *out_value, bool *out_is_duration) {
    enum token_kind kind = parser_peek(p);
    if (kind != TOK_NUMBER && kind != TOK_DURATION) return parser_unexpected(p);
    struct token t = parser_take(p);
    *out_is_duration = kind == TOK_DURATION;
    return kind == TOK_DURATION ? parse_duration_token(p, t, out_value)
                                : parse_number_token(p, t, out_value);
}

struct expr *parse_number(struct parser *p) {
    struct expr *e = parser_new(p, EXPR_NUMBER, VALUE_SCALAR, 0);
    if (e == NULL) return NULL;
    e->pos_start = p->token.pos;
    e->pos_end = p->token.pos + (uint32_t)p->token.text.len;
    if (!parse_number_literal(p, &e->u.number_value, &e->number_is_duration)) return NULL;
    return parser_check_height(p, e) ? e : NULL;
}

/* -- duration expressions */

static bool seconds_out_of_range(double seconds) { /* of int64 nanoseconds */
    return seconds > 0x1p63 / 1e9 || seconds < -0x1p63 / 1e9;
}

static int64_t seconds_to_ms(double seconds) {
    double ns = round(seconds * 1e9);
    if (isnan(ns)) return INT64_MIN / 1000000; /* `offset NaN`: what Go makes of it on amd64 */
    return ns >= 0x1p63 ? INT64_MAX / 1000000 : (int64_t)ns / 1000000;
}

static struct duration_expr *duration_new(struct parser *p, enum duration_kind kind, uint32_t start,
                                          uint32_t end) {
    struct duration_expr *d = arena_zalloc(p->arena, sizeof(*d));
    if (d == NULL) {
        parser_nomem(p);
        return NULL;
    }
    d->kind = kind;
    d->pos_start = start;
    d->pos_end = end;
    return d;
}

static struct duration_expr *parse_duration_expr(struct parser *p, int precedence_min);

static struct duration_expr *parse_duration_number(struct parser *p) {
    struct token t = p->token;
    struct duration_expr *d = duration_new(p, DUR_NUMBER, t.pos, t.pos + (uint32_t)t.text.len);
    if (d == NULL || !parse_number_literal(p, &d->seconds, &d->literal_is_duration)) return NULL;
    return d;
}

static struct duration_expr *duration_in_range(struct parser *p, struct duration_expr *d,
                                               uint32_t pos) {
    if (d == NULL || !seconds_out_of_range(d->seconds)) return d;
    parser_fail(p, pos, "duration out of range");
    return NULL;
}

/* step() range() max_of(a, b) min_of(a, b), at the word */
static struct duration_expr *parse_duration_call(struct parser *p) {
    struct token t = parser_take(p);
    struct duration_expr *d = duration_new(p, DUR_STEP, t.pos, 0);
    if (d == NULL || !parser_expect(p, TOK_LEFT_PAREN)) return NULL;
    if (t.kind == TOK_MAX_OF || t.kind == TOK_MIN_OF) {
        d->kind = t.kind == TOK_MAX_OF ? DUR_MAX_OF : DUR_MIN_OF;
        d->lhs = parse_duration_expr(p, PREC_OR);
        if (d->lhs == NULL || !parser_expect(p, TOK_COMMA)) return NULL;
        d->rhs = parse_duration_expr(p, PREC_OR);
        if (d->rhs == NULL) return NULL;
    } else if (t.kind == TOK_RANGE) {
        d->kind = DUR_RANGE;
    }
    if (!parser_expect(p, TOK_RIGHT_PAREN)) return NULL;
    d->pos_end = p->last_closing;
    if (d->lhs != NULL) {
        d->pos_start = d->lhs->pos_start;
        d->pos_end = d->rhs->pos_end;
    }
    return d;
}

static struct duration_expr *parse_duration_paren(struct parser *p) {
    struct token open = parser_take(p);
    struct duration_expr *inner = parse_duration_expr(p, PREC_OR);
    if (inner == NULL || !parser_expect(p, TOK_RIGHT_PAREN)) return NULL;
    if (inner->kind != DUR_NUMBER) {
        inner->wrapped = true;
        return inner;
    }
    struct duration_expr *d = duration_new(p, DUR_POS, open.pos, inner->pos_end);
    if (d == NULL) return NULL;
    d->rhs = inner;
    d->wrapped = true;
    return d;
}

static struct duration_expr *duration_signed(struct parser *p, struct token op,
                                             struct duration_expr *d) {
    if (d == NULL) return NULL;
    if (d->kind == DUR_NUMBER) {
        if (op.kind == TOK_SUB) d->seconds *= -1;
        d->pos_start = op.pos;
        return duration_in_range(p, d, op.pos);
    }
    if (op.kind != TOK_SUB) return d;
    struct duration_expr *negative = duration_new(p, DUR_NEG, op.pos, d->pos_end);
    if (negative != NULL) negative->rhs = d;
    return negative;
}

static struct duration_expr *parse_duration_primary(struct parser *p) {
    switch ((int)parser_peek(p)) {
    case TOK_NUMBER:
    case TOK_DURATION: {
        uint32_t pos = p->token.pos;
        return duration_in_range(p, parse_duration_number(p), pos);
    }
    case TOK_ADD:
    case TOK_SUB: {
        struct token op = parser_take(p);
        return duration_signed(p, op, parse_duration_expr(p, PREC_POW));
    }
    case TOK_STEP:
    case TOK_RANGE:
    case TOK_MAX_OF:
    case TOK_MIN_OF: return parse_duration_call(p);
    case TOK_LEFT_PAREN: return parse_duration_paren(p);
    default: parser_unexpected(p); return NULL;
    }
}

static struct duration_expr *duration_binary(struct parser *p, struct duration_expr *lhs,
                                             struct token op) {
    int precedence = token_precedence(op.kind);
    struct duration_expr *rhs =
        parse_duration_expr(p, op.kind == TOK_POW ? precedence : precedence + 1);
    if (rhs == NULL) return NULL;
    bool zero = rhs->kind == DUR_NUMBER && rhs->seconds == 0;
    if (zero && (op.kind == TOK_DIV || op.kind == TOK_MOD)) {
        parser_fail(p, op.pos, op.kind == TOK_DIV ? "division by zero" : "modulo by zero");
        return NULL;
    }
    struct duration_expr *d = duration_new(p, DUR_BINARY, lhs->pos_start, rhs->pos_end);
    if (d == NULL) return NULL;
    d->op = token_binary_op(op.kind);
    d->lhs = lhs;
    d->rhs = rhs;
    return d;
}

static bool token_is_arithmetic(enum token_kind kind) {
    return token_precedence(kind) >= PREC_ADD && kind != TOK_ATAN2;
}

/* Each operator counts as a level, since it makes the tree one higher. */
static struct duration_expr *duration_operators(struct parser *p, struct duration_expr *d,
                                                int precedence_min) {
    unsigned depth = p->depth;
    while (d != NULL) {
        enum token_kind kind = parser_peek(p);
        if (!token_is_arithmetic(kind) || token_precedence(kind) < precedence_min) break;
        if (!parser_enter(p)) return NULL;
        d = duration_binary(p, d, parser_take(p));
    }
    p->depth = depth;
    return p->failed ? NULL : d;
}

static struct duration_expr *parse_duration_expr(struct parser *p, int precedence_min) {
    if (!parser_enter(p)) return NULL;
    struct duration_expr *d = duration_operators(p, parse_duration_primary(p), precedence_min);
    parser_leave(p);
    return d;
}

/* An offset ends early: `foo offset -2 ^ 2` is (foo offset -2) ^ 2. Only what begins with a
 * parenthesis or with two signs goes on over operators. */
static struct duration_expr *parse_offset_duration(struct parser *p) {
    enum token_kind kind = parser_peek(p);
    if (kind == TOK_NUMBER || kind == TOK_DURATION || (kind >= TOK_STEP && kind <= TOK_MIN_OF))
        return parse_duration_primary(p);
    if (kind != TOK_ADD && kind != TOK_SUB) return parse_duration_expr(p, PREC_OR);
    struct token op = parser_take(p);
    kind = parser_peek(p);
    if (kind == TOK_NUMBER || kind == TOK_DURATION)
        return duration_signed(p, op, parse_duration_number(p));
    if (kind == TOK_LEFT_PAREN) return duration_signed(p, op, parse_duration_paren(p));
    if (kind >= TOK_STEP && kind <= TOK_MIN_OF) {
        struct duration_expr *call = parse_duration_call(p);
        struct duration_expr *d =
            call == NULL
                ? NULL
                : duration_new(p, op.kind == TOK_SUB ? DUR_NEG : DUR_POS, op.pos, call->pos_end);
        if (d != NULL) d->rhs = call;
        return d;
    }
    return duration_operators(p, duration_signed(p, op, parse_duration_expr(p, PREC_POW)), PREC_OR);
}

static void duration_store(struct duration_expr *d, int64_t *out_ms, struct duration_expr **out) {
    if (d->kind == DUR_NUMBER)
        *out_ms = seconds_to_ms(d->seconds);
    else
        *out = d;
}

/* -- what follows a selector */

static struct selector *selector_of(struct expr *e) {
    if (e->kind == EXPR_MATRIX) e = e->children[0];
    return e->kind == EXPR_SELECTOR ? &e->u.selector : NULL;
}

static struct time_shift *shift_of(struct expr *e) {
    if (e->kind == EXPR_SUBQUERY) return &e->u.range.shift;
    struct selector *selector = selector_of(e);
    return selector == NULL ? NULL : &selector->shift;
}

static bool parse_offset(struct parser *p, struct expr *e) {
    struct error_context outer = p->context;
    p->context = in_offset;
    parser_take(p);
    struct duration_expr *d = parse_offset_duration(p);
    if (d == NULL) return false;
    p->context = outer;
    struct time_shift *shift = shift_of(e);
    if (shift == NULL)
        return parser_fail(p, e->pos_start,
                           "offset modifier must be preceded by an instant vector selector or "
                           "range vector selector or a subquery");
    if (shift->offset_ms != 0 || shift->offset_expr != NULL)
        return parser_fail(p, e->pos_start, "offset may not be set multiple times");
    duration_store(d, &shift->offset_ms, &shift->offset_expr);
    e->pos_end = p->last_closing;
    return true;
}

static bool at_time(struct parser *p, struct expr *e, double seconds, int64_t *out_ms) {
    if (isnan(seconds))
        return parser_fail(p, e->pos_start, "timestamp out of bounds for @ modifier: NaN");
    if (isinf(seconds))
        return parser_fail(p, e->pos_start, "timestamp out of bounds for @ modifier: %cInf",
                           seconds < 0 ? '-' : '+');
    if (seconds >= 0x1p63 || seconds <= -0x1p63)
        return parser_fail(p, e->pos_start, "timestamp out of bounds for @ modifier: %f", seconds);
    double ms = round(seconds * 1000);
    *out_ms = ms >= 0x1p63 || ms < -0x1p63 ? INT64_MIN : (int64_t)ms; /* as amd64 converts */
    return true;
}

static bool parse_at(struct parser *p, struct expr *e) {
    struct error_context outer = p->context;
    p->context = in_at;
    parser_take(p);
    struct time_shift to = {.at = AT_TIMESTAMP};
    enum token_kind kind = parser_peek(p);
    if (kind == TOK_START || kind == TOK_END) {
        parser_take(p);
        to.at = kind == TOK_START ? AT_START : AT_END;
        if (!parser_expect(p, TOK_LEFT_PAREN) || !parser_expect(p, TOK_RIGHT_PAREN)) return false;
    } else {
        if (kind == TOK_ADD || kind == TOK_SUB) parser_take(p);
        double seconds;
        bool is_duration;
        if (!parse_number_literal(p, &seconds, &is_duration)) return false;
        if (kind == TOK_SUB) seconds = -seconds;
        if (!at_time(p, e, seconds, &to.at_ms)) return false;
    }
    p->context = outer;
    struct time_shift *shift = shift_of(e);
    if (shift == NULL)
        return parser_fail(p, e->pos_start,
                           "@ modifier must be preceded by an instant vector selector or range "
                           "vector selector or a subquery");
    if (shift->at != AT_NONE)
        return parser_fail(p, e->pos_start, "@ <timestamp> may not be set multiple times");
    shift->at = to.at;
    shift->at_ms = to.at_ms;
    e->pos_end = p->last_closing;
    return true;
}

static bool parse_range_modifier(struct parser *p, struct expr *e) {
    bool anchored = parser_take(p).kind == TOK_ANCHORED;
    const char *name = anchored ? "anchored" : "smoothed";
    if (!(p->features & PROMQL_EXTENDED_RANGES))
        return parser_fail(p, e->pos_start, "%s modifier is experimental and not enabled", name);
    if (e->kind == EXPR_SUBQUERY)
        return parser_fail(p, e->pos_start, "%s modifier is not supported for subqueries", name);
    struct selector *selector = selector_of(e);
    if (selector == NULL)
        return parser_fail(p, e->pos_start,
                           "%s modifier not "
                           "implemented",
                           name);
    enum range_modifier modifier = anchored ? RANGE_ANCHORED : RANGE_SMOOTHED;
    if (selector->modifier != RANGE_PLAIN && selector->modifier != modifier)
        return parser_fail(p, e->pos_start,
                           "anchored and smoothed modifiers cannot be used together");
    selector->modifier = modifier;
    return true;
}

static struct duration_expr *parse_positive_duration(struct parser *p) {
    struct duration_expr *d = parse_duration_expr(p, PREC_OR);
    if (d == NULL || d->kind != DUR_NUMBER || !(d->seconds <= 0)) return d;
    parser_fail(p, d->pos_start, "duration must be greater than 0");
    return NULL;
}

static bool matrix_of(struct parser *p, struct expr *e, uint32_t bracket_pos) {
    if (e->kind != EXPR_SELECTOR)
        return parser_fail(p, bracket_pos, "ranges only allowed for vector selectors");
    const struct time_shift *shift = &e->u.selector.shift;
    if (shift->offset_ms != 0 || shift->offset_expr != NULL)
        return parser_fail(p, bracket_pos, "no offset modifiers allowed before range");
    if (shift->at != AT_NONE)
        return parser_fail(p, bracket_pos, "no @ modifiers allowed before range");
    return true;
}

static struct expr *parse_range(struct parser *p, struct expr *inner) {
    struct error_context outer = p->context;
    struct token bracket = parser_take(p);
    p->context = in_range;
    struct duration_expr *range = parse_positive_duration(p), *step = NULL;
    if (range == NULL) return NULL;
    bool subquery = parser_peek(p) == TOK_COLON;
    if (subquery) {
        parser_take(p);
        p->context = in_step;
        if (parser_peek(p) != TOK_RIGHT_BRACKET && (step = parse_positive_duration(p)) == NULL)
            return NULL;
    }
    if (parser_peek(p) != TOK_RIGHT_BRACKET) {
        parser_unexpected_in(p, subquery ? after_step : after_range);
        return NULL;
    }
    parser_take(p);
    p->context = outer;
    if (!subquery && !matrix_of(p, inner, bracket.pos)) return NULL;
    struct expr *e = parser_new(p, subquery ? EXPR_SUBQUERY : EXPR_MATRIX, VALUE_MATRIX, 1);
    if (e == NULL) return NULL;
    duration_store(range, &e->u.range.range_ms, &e->u.range.range_expr);
    if (step != NULL) duration_store(step, &e->u.range.step_ms, &e->u.range.step_expr);
    e->children[0] = inner;
    e->pos_start = inner->pos_start;
    e->pos_end = p->last_closing;
    return parser_check_height(p, e) ? e : NULL;
}

struct expr *parse_postfix(struct parser *p, struct expr *e) {
    for (;;) {
        switch ((int)parser_peek(p)) {
        case TOK_LEFT_BRACKET:
            e = parse_range(p, e);
            if (e == NULL) return NULL;
            break;
        case TOK_OFFSET:
            if (!parse_offset(p, e)) return NULL;
            break;
        case TOK_AT:
            if (!parse_at(p, e)) return NULL;
            break;
        case TOK_ANCHORED:
        case TOK_SMOOTHED:
            if (!parse_range_modifier(p, e)) return NULL;
            break;
        default: return p->failed ? NULL : e;
        }
    }
}
