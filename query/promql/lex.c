/* SPDX-License-Identifier: Apache-2.0 */
#include "query/promql/lex.h"

#include <assert.h>
#include <stdarg.h>
#include <stdio.h>

#include "node/base/attr.h"
#include "node/base/buf.h"
#include "node/base/json.h"
#include "node/base/utf8.h"

enum { RUNE_EOF = -1, RUNE_ERROR = 0xfffd };

struct keyword {
    struct sv word;
    enum token_kind kind;
};
#define KEYWORD(text, token)                                                                       \
    { SV_INIT(text), token }

static const struct keyword keywords[] = {
    KEYWORD("and", TOK_AND),
    KEYWORD("or", TOK_OR),
    KEYWORD("unless", TOK_UNLESS),
    KEYWORD("atan2", TOK_ATAN2),
    KEYWORD("sum", TOK_SUM),
    KEYWORD("avg", TOK_AVG),
    KEYWORD("count", TOK_COUNT),
    KEYWORD("min", TOK_MIN),
    KEYWORD("max", TOK_MAX),
    KEYWORD("group", TOK_GROUP),
    KEYWORD("stddev", TOK_STDDEV),
    KEYWORD("stdvar", TOK_STDVAR),
    KEYWORD("topk", TOK_TOPK),
    KEYWORD("bottomk", TOK_BOTTOMK),
    KEYWORD("count_values", TOK_COUNT_VALUES),
    KEYWORD("quantile", TOK_QUANTILE),
    KEYWORD("limitk", TOK_LIMITK),
    KEYWORD("limit_ratio", TOK_LIMIT_RATIO),
    KEYWORD("offset", TOK_OFFSET),
    KEYWORD("smoothed", TOK_SMOOTHED),
    KEYWORD("anchored", TOK_ANCHORED),
    KEYWORD("by", TOK_BY),
    KEYWORD("without", TOK_WITHOUT),
    KEYWORD("on", TOK_ON),
    KEYWORD("ignoring", TOK_IGNORING),
    KEYWORD("group_left", TOK_GROUP_LEFT),
    KEYWORD("group_right", TOK_GROUP_RIGHT),
    KEYWORD("fill", TOK_FILL),
    KEYWORD("fill_left", TOK_FILL_LEFT),
    KEYWORD("fill_right", TOK_FILL_RIGHT),
    KEYWORD("bool", TOK_BOOL),
    KEYWORD("start", TOK_START),
    KEYWORD("end", TOK_END),
    KEYWORD("step", TOK_STEP),
    KEYWORD("range", TOK_RANGE),
    KEYWORD("max_of", TOK_MAX_OF),
    KEYWORD("min_of", TOK_MIN_OF),
    KEYWORD("inf", TOK_NUMBER),
    KEYWORD("nan", TOK_NUMBER),
};

static enum token_kind keyword_find(struct sv word) {
    for (size_t i = 0; i < ARRAY_LEN(keywords); i++)
        if (sv_eq_nocase(keywords[i].word, word)) return keywords[i].kind;
    return TOK_EOF;
}

static bool is_space(int32_t r) {
    return r == ' ' || r == '\t' || r == '\n' || r == '\r';
}
static bool is_digit(int32_t r) {
    return r >= '0' && r <= '9';
}
static bool is_alpha(int32_t r) {
    return r == '_' || (r >= 'a' && r <= 'z') || (r >= 'A' && r <= 'Z');
}
static bool is_alnum(int32_t r) {
    return is_alpha(r) || is_digit(r);
}
static bool is_range_word_start(int32_t r) { /* step range max_of min_of */
    return r == 's' || r == 'r' || r == 'm' || r == 'S' || r == 'R' || r == 'M';
}

void lex_init(struct lexer *l, struct sv input) {
    assert(input.len <= LEX_INPUT_BYTES_MAX);
    l->input = input;
    l->state = LEX_NORMAL;
    l->pos = l->start = l->width = l->last_pos = 0;
    l->paren_depth = 0;
    l->brace_open = l->bracket_open = l->got_colon = l->got_duration = false;
    l->message[0] = '\0';
}

static int32_t next(struct lexer *l) {
    if (l->pos >= l->input.len) {
        l->width = 0;
        return RUNE_EOF;
    }
    uint32_t rune;
    l->width = (uint32_t)utf8_decode(sv_skip(l->input, l->pos), &rune);
    l->pos += l->width;
    return (int32_t)rune;
}

static void backup(struct lexer *l) {
    l->pos -= l->width;
}

static int32_t peek(struct lexer *l) {
    int32_t r = next(l);
    backup(l);
    return r;
}

static bool accept(struct lexer *l, const char *set) {
    int32_t r = next(l);
    if (r > 0 && r < 0x80 && strchr(set, r) != NULL) return true;
    backup(l);
    return false;
}

static bool peek_is(struct lexer *l, const char *set) {
    int32_t r = peek(l);
    return r > 0 && r < 0x80 && strchr(set, r) != NULL;
}

static struct sv pending(const struct lexer *l) {
    return (struct sv){l->input.ptr + l->start, l->pos - l->start};
}

static void emit(struct lexer *l, enum token_kind kind) {
    l->token = (struct token){.kind = kind, .pos = l->start, .text = pending(l)};
    l->start = l->pos;
}

static void fail(struct lexer *l, const char *fmt, ...) PRINTF_LIKE(2, 3);
static void fail(struct lexer *l, const char *fmt, ...) {
    va_list args;
    va_start(args, fmt);
    vsnprintf(l->message, sizeof(l->message), fmt, args);
    va_end(args);
    l->token = (struct token){.kind = TOK_ERROR, .pos = l->start, .text = sv_from(l->message)};
    l->state = LEX_DONE;
}

/* %q of a rune as Go prints it: 'x', with the end of input and bad bytes as U+FFFD. */
struct quoted_rune {
    char text[24];
};
static struct quoted_rune quote(int32_t rune) {
    struct quoted_rune q;
    if (rune == '"' || rune == '\'') {
        snprintf(q.text, sizeof(q.text), "%s", rune == '"' ? "'\"'" : "'\\''");
        return q;
    }
    char utf8[4];
    size_t len = utf8_encode(utf8, rune < 0 ? RUNE_ERROR : (uint32_t)rune);
    AUTO(buf_fini) struct buf b = {0};
    go_put_quoted(&b, sv_make(utf8, len));
    if (b.failed || b.len < 2)
        len = 0;
    else
        len = b.len - 2;
    snprintf(q.text, sizeof(q.text), "'%.*s'", (int)len, len == 0 ? "" : b.ptr + 1);
    return q;
}

static void fail_quoting(struct lexer *l, const char *what) {
    AUTO(buf_fini) struct buf b = {0};
    go_put_quoted(&b, pending(l));
    fail(l, "%s: %.*s", what, (int)b.len, b.ptr);
}

static void skip_spaces(struct lexer *l) {
    while (is_space(peek(l)))
        next(l);
    l->start = l->pos;
}

static void skip_comment(struct lexer *l) {
    int32_t r = next(l);
    while (r != '\n' && r != '\r' && r != RUNE_EOF)
        r = next(l);
    backup(l);
    l->start = l->pos;
}

/* -- strings */

static int digit_value(int32_t r) {
    if (is_digit(r)) return r - '0';
    if (r >= 'a' && r <= 'f') return r - 'a' + 10;
    if (r >= 'A' && r <= 'F') return r - 'A' + 10;
    return 16;
}

/* %#U: U+0063 'c', without the picture for what cannot be printed. */
static void fail_rune(struct lexer *l, const char *before, int32_t rune, const char *after) {
    struct quoted_rune q = quote(rune);
    bool printable = q.text[1] != '\\' || rune == '\'' || rune == '\\';
    if (!printable)
        fail(l, "%s U+%04X%s", before, (unsigned)rune, after);
    else if (rune == '\'')
        fail(l, "%s U+0027 '''%s", before, after);
    else if (rune == '\\')
        fail(l, "%s U+005C '\\'%s", before, after);
    else
        fail(l, "%s U+%04X %s%s", before, (unsigned)rune, q.text, after);
}

static bool lex_escape(struct lexer *l, int32_t quote_rune) {
    int32_t r = next(l);
    unsigned digits, base, value_max;
    if (r == quote_rune || (r > 0 && r < 0x80 && strchr("abfnrtv\\", r) != NULL)) return true;
    if (r >= '0' && r <= '7') {
        digits = 3, base = 8, value_max = 255;
    } else if (r == 'x' || r == 'u' || r == 'U') {
        digits = r == 'x' ? 2 : r == 'u' ? 4 : 8;
        base = 16;
        value_max = r == 'x' ? 255 : 0x10ffff;
        r = next(l);
    } else {
        if (r == RUNE_EOF)
            fail(l, "escape sequence not terminated");
        else
            fail_rune(l, "unknown escape sequence", r, "");
        return false;
    }
    uint64_t value = 0;
    for (; digits > 0; digits--) {
        unsigned d = (unsigned)digit_value(r);
        if (d >= base) {
            if (r == RUNE_EOF)
                fail(l, "escape sequence not terminated");
            else
                fail_rune(l, "illegal character", r, " in escape sequence");
            return false;
        }
        value = value * base + d;
        if (digits > 1) r = next(l);
    }
    if (value > value_max || (value >= 0xd800 && value < 0xe000)) {
        fail(l, "escape sequence is an invalid Unicode code point");
        return false;
    }
    return true;
}

static void lex_string(struct lexer *l, int32_t quote_rune) {
    for (;;) {
        int32_t r = next(l);
        if (r == '\\') {
            if (!lex_escape(l, quote_rune)) return;
        } else if (r == RUNE_ERROR) {
            fail(l, "invalid UTF-8 rune");
            return;
        } else if (r == RUNE_EOF || r == '\n') {
            fail(l, "unterminated quoted string");
            return;
        } else if (r == quote_rune) {
            emit(l, TOK_STRING);
            return;
        }
    }
}

static void lex_raw_string(struct lexer *l) {
    for (;;) {
        int32_t r = next(l);
        if (r == RUNE_ERROR) {
            fail(l, "invalid UTF-8 rune");
            return;
        }
        if (r == RUNE_EOF) {
            fail(l, "unterminated raw string");
            return;
        }
        if (r == '`') {
            emit(l, TOK_STRING);
            return;
        }
    }
}

/* -- numbers: Go's spellings, whose value the parser checks */

static bool scan_number(struct lexer *l) {
    uint32_t first = l->pos;
    const char *digits = "0123456789";
    bool hex = false;
    if (accept(l, "0") && accept(l, "xX")) {
        accept(l, "_");
        digits = "0123456789abcdefABCDEF";
        hex = true;
    }
    accept(l, ".");
    accept(l, digits);
    bool dot = false, exponent = false;
    while (peek_is(l, digits) || peek_is(l, "._eE")) {
        if (dot && accept(l, ".")) return false;
        if (exponent && accept(l, "eE")) return false;
        if (accept(l, ".")) {
            dot = true;
            if (accept(l, "_.") || hex) return false;
        } else if (accept(l, "eE")) {
            exponent = true;
            accept(l, "+-");
            if (accept(l, "._eE") || peek(l) == RUNE_EOF) return false;
        } else if (accept(l, "_")) {
            if (accept(l, "._eE") || peek(l) == RUNE_EOF) return false;
        } else {
            while (accept(l, digits))
                continue;
        }
    }
    return l->pos != first && !is_alnum(peek(l));
}

/* What follows the first number of a duration; a bad unit is found when the value is computed. */
static bool scan_duration_rest(struct lexer *l) {
    if (!accept(l, "smhdwy")) return false;
    accept(l, "s");
    while (accept(l, "0123456789")) {
        while (accept(l, "0123456789"))
            continue;
        if (!accept(l, "smhdw")) return false;
        accept(l, "s");
    }
    if (is_alnum(next(l))) return false;
    backup(l);
    return true;
}

static void lex_number(struct lexer *l) {
    if (scan_number(l))
        emit(l, TOK_NUMBER);
    else if (scan_duration_rest(l))
        emit(l, TOK_DURATION);
    else
        fail_quoting(l, "bad number or duration syntax");
}

/* -- words */

static bool left_paren_follows(const struct lexer *l) {
    for (size_t i = l->pos; i < l->input.len; i++)
        if (!is_space((unsigned char)l->input.ptr[i])) return l->input.ptr[i] == '(';
    return false;
}

static void lex_word(struct lexer *l) {
    int32_t r = next(l);
    while (is_alnum(r) || r == ':')
        r = next(l);
    backup(l);
    struct sv word = pending(l);
    enum token_kind kind = keyword_find(word);
    size_t at;
    /* fill is often a metric's name, so it is a keyword only where it can be one. */
    if (kind >= TOK_FILL && kind <= TOK_FILL_RIGHT && !left_paren_follows(l)) kind = TOK_IDENTIFIER;
    if (kind == TOK_EOF)
        kind = sv_find_char(word, ':', &at) ? TOK_METRIC_IDENTIFIER : TOK_IDENTIFIER;
    emit(l, kind);
}

static bool lex_range_word(struct lexer *l) {
    while (is_alpha(next(l)))
        continue;
    backup(l);
    enum token_kind kind = keyword_find(pending(l));
    if (kind < TOK_STEP || kind > TOK_MIN_OF) return false;
    emit(l, kind);
    return true;
}

/* -- states */

static void lex_braces(struct lexer *l) {
    int32_t r = next(l);
    if (is_alpha(r)) {
        while (is_alnum(next(l)))
            continue;
        backup(l);
        emit(l, TOK_IDENTIFIER);
        return;
    }
    switch (r) {
    case RUNE_EOF: fail(l, "unexpected end of input inside braces"); return;
    case ',': emit(l, TOK_COMMA); return;
    case '"':
    case '\'': lex_string(l, r); return;
    case '`': lex_raw_string(l); return;
    case '=': emit(l, accept(l, "~") ? TOK_EQL_REGEX : TOK_EQL); return;
    case '!':
        r = next(l);
        if (r == '~')
            emit(l, TOK_NEQ_REGEX);
        else if (r == '=')
            emit(l, TOK_NEQ);
        else
            fail(l, "unexpected character after '!' inside braces: %s", quote(r).text);
        return;
    case '{': fail(l, "unexpected left brace %s", quote(r).text); return;
    case '}':
        emit(l, TOK_RIGHT_BRACE);
        l->brace_open = false;
        return;
    default: fail(l, "unexpected character inside braces: %s", quote(r).text);
    }
}

static void lex_right_paren(struct lexer *l) {
    emit(l, TOK_RIGHT_PAREN);
    l->paren_depth--;
    if (l->paren_depth < 0) fail(l, "unexpected right parenthesis %s", quote(')').text);
}

static enum token_kind arithmetic(int32_t r) {
    switch (r) {
    case '+': return TOK_ADD;
    case '-': return TOK_SUB;
    case '*': return TOK_MUL;
    case '/': return TOK_DIV;
    case '%': return TOK_MOD;
    case '^': return TOK_POW;
    case ',': return TOK_COMMA;
    default: return TOK_EOF;
    }
}

/* Between '[' and the first number. */
static void lex_range(struct lexer *l) {
    int32_t r = next(l);
    if (arithmetic(r) != TOK_EOF) {
        emit(l, arithmetic(r));
    } else if (is_range_word_start(r)) {
        if (!lex_range_word(l))
            fail(l, "unexpected character in duration expression: %s", quote(r).text);
    } else if (is_digit(r) || (r == '.' && is_digit(peek(l)))) {
        backup(l);
        l->got_duration = true;
        l->state = LEX_NORMAL;
        lex_number(l);
    } else if (r == RUNE_EOF) {
        fail(l, "unexpected end of input in duration expression");
    } else if (r == ']') {
        emit(l, TOK_RIGHT_BRACKET);
        l->bracket_open = l->got_colon = false;
        l->state = LEX_NORMAL;
    } else if (r == ':') {
        emit(l, TOK_COLON);
        if (!l->got_duration)
            fail(l, "unexpected colon before duration in duration expression");
        else if (l->got_colon)
            fail(l, "unexpected repeated colon in duration expression");
        l->got_colon = true;
    } else if (r == '(') {
        emit(l, TOK_LEFT_PAREN);
        l->paren_depth++;
    } else if (r == ')') {
        lex_right_paren(l);
    } else {
        fail(l, "unexpected character in duration expression: %s", quote(r).text);
    }
}

static void lex_word_or_colon(struct lexer *l, int32_t r) {
    if (!l->bracket_open) {
        backup(l);
        lex_word(l);
        return;
    }
    if (r == ':') {
        if (l->got_colon) {
            fail(l, "unexpected colon %s", quote(r).text);
            return;
        }
        emit(l, TOK_COLON);
        l->got_colon = true;
        return;
    }
    if (is_range_word_start(r) && lex_range_word(l)) return;
    fail(l, "unexpected character: %s, expected %s", quote(r).text, quote(':').text);
}

static void lex_left_bracket(struct lexer *l) {
    if (l->bracket_open) {
        fail(l, "unexpected left bracket %s", quote('[').text);
        return;
    }
    l->got_colon = false;
    emit(l, TOK_LEFT_BRACKET);
    skip_spaces(l);
    l->bracket_open = true;
    l->state = LEX_RANGE;
}

static void lex_end(struct lexer *l) {
    if (l->paren_depth != 0)
        fail(l, "unclosed left parenthesis");
    else if (l->bracket_open)
        fail(l, "unclosed left bracket");
    else
        emit(l, TOK_EOF);
    l->state = LEX_DONE;
}

static void lex_punctuation(struct lexer *l, int32_t r) {
    switch (r) {
    case RUNE_EOF: lex_end(l); return;
    case '=':
        if (peek(l) == '~')
            fail(l, "unexpected character after '=': %s", quote('~').text);
        else
            emit(l, accept(l, "=") ? TOK_EQLC : TOK_EQL);
        return;
    case '!':
        r = next(l);
        if (r == '=')
            emit(l, TOK_NEQ);
        else
            fail(l, "unexpected character after '!': %s", quote(r).text);
        return;
    case '<': emit(l, accept(l, "=") ? TOK_LTE : accept(l, "/") ? TOK_TRIM_UPPER : TOK_LSS); return;
    case '>': emit(l, accept(l, "=") ? TOK_GTE : accept(l, "/") ? TOK_TRIM_LOWER : TOK_GTR); return;
    case '"':
    case '\'': lex_string(l, r); return;
    case '`': lex_raw_string(l); return;
    case '(':
        emit(l, TOK_LEFT_PAREN);
        l->paren_depth++;
        return;
    case ')': lex_right_paren(l); return;
    case '{':
        emit(l, TOK_LEFT_BRACE);
        l->brace_open = true;
        return;
    case '[': lex_left_bracket(l); return;
    case ']':
        if (!l->bracket_open) {
            fail(l, "unexpected right bracket %s", quote(r).text);
            return;
        }
        emit(l, TOK_RIGHT_BRACKET);
        l->bracket_open = false;
        return;
    case '@': emit(l, TOK_AT); return;
    default: fail(l, "unexpected character: %s", quote(r).text);
    }
}

static void lex_normal(struct lexer *l) {
    int32_t r = next(l);
    if (arithmetic(r) != TOK_EOF) {
        emit(l, arithmetic(r));
    } else if (is_digit(r) || (r == '.' && is_digit(peek(l)))) {
        backup(l);
        lex_number(l);
    } else if (is_alpha(r) || r == ':') {
        lex_word_or_colon(l, r);
    } else {
        lex_punctuation(l, r);
    }
}

struct token lex_next(struct lexer *l) {
    if (l->state == LEX_DONE) {
        emit(l, TOK_EOF);
        l->last_pos = l->token.pos;
        return l->token;
    }
    for (;;) { /* comments do not exist in front of a range's first number */
        int32_t r = peek(l);
        if (is_space(r))
            skip_spaces(l);
        else if (r == '#' && l->state == LEX_NORMAL)
            skip_comment(l);
        else
            break;
    }
    if (l->brace_open)
        lex_braces(l);
    else if (l->state == LEX_RANGE)
        lex_range(l);
    else
        lex_normal(l);
    l->last_pos = l->token.pos;
    return l->token;
}

/* -- descriptions */

void token_put_description(struct buf *out, struct token t) {
    if (t.kind == TOK_EOF) {
        buf_put_sv(out, SV("end of input"));
        return;
    }
    const char *kind = t.kind == TOK_IDENTIFIER          ? "identifier "
                       : t.kind == TOK_METRIC_IDENTIFIER ? "metric identifier "
                       : t.kind == TOK_STRING            ? "string "
                       : t.kind == TOK_NUMBER            ? "number "
                       : t.kind == TOK_DURATION          ? "duration "
                                                         : "";
    buf_put_sv(out, sv_from(kind));
    if (token_is_keyword(t.kind)) {
        buf_printf(out, "<%.*s>", SV_ARG(t.text));
    } else if (token_is_operator(t.kind)) {
        buf_printf(out, "<op:%.*s>", SV_ARG(t.text));
    } else if (token_is_aggregate(t.kind)) {
        buf_printf(out, "<aggr:%.*s>", SV_ARG(t.text));
    } else if (t.text.len > 10 && t.kind != TOK_IDENTIFIER && t.kind != TOK_METRIC_IDENTIFIER) {
        size_t len = 0;
        uint32_t rune;
        for (unsigned i = 0; i < 10 && len < t.text.len; i++)
            len += utf8_decode(sv_skip(t.text, len), &rune);
        go_put_quoted(out, sv_take(t.text, len));
        buf_put_sv(out, SV("..."));
    } else {
        go_put_quoted(out, t.text);
    }
}
