/* SPDX-License-Identifier: Apache-2.0 */
#include <stdlib.h>

#include "node/base/utf8.h"
#include "query/promql/parse.h"

static const struct sv label_metric_name = SV_INIT("__name__");

static const struct error_context in_matchers_start = {" in label matching",
                                                       ", expected identifier or \"}\""};
static const struct error_context in_matchers_next = {" in label matching",
                                                      ", expected \",\" or \"}\""};
static const struct error_context in_matcher_op = {" in label matching",
                                                   ", expected label matching operator"};
static const struct error_context in_matcher_value = {" in label matching", ", expected string"};
static const struct error_context in_grouping_start = {" in grouping opts", ", expected \"(\""};
static const struct error_context in_grouping_label = {" in grouping opts", ", expected label"};
static const struct error_context in_grouping_next = {" in grouping opts",
                                                      ", expected \",\" or \")\""};
static const struct error_context in_set_start = {" in label set",
                                                  ", expected identifier or \"}\""};
static const struct error_context in_set_next = {" in label set", ", expected \",\" or \"}\""};
static const struct error_context in_set_op = {" in label set", ", expected \"=\""};
static const struct error_context in_set_value = {" in label set", ", expected string"};

bool token_is_metric_identifier(enum token_kind kind) {
    return kind == TOK_IDENTIFIER || kind == TOK_METRIC_IDENTIFIER || token_is_aggregate(kind) ||
           (kind >= TOK_START && kind <= TOK_MIN_OF) || kind == TOK_AND || kind == TOK_OR ||
           kind == TOK_UNLESS || kind == TOK_ANCHORED || kind == TOK_SMOOTHED || kind == TOK_BY ||
           kind == TOK_WITHOUT || kind == TOK_OFFSET ||
           (kind >= TOK_FILL && kind <= TOK_FILL_RIGHT);
}

/* -- matchers */

struct matcher_list {
    struct matcher *items;
    size_t count, cap;
};

/* Some 20 us and some KB each. */
static bool regexes_add(struct parser *p, struct regex *regex) {
    struct regex_ref *ref = arena_zalloc(p->arena, sizeof(*ref));
    if (ref == NULL) {
        regex_free(regex);
        return parser_nomem(p);
    }
    *ref = (struct regex_ref){regex, p->regexes};
    p->regexes = ref;
    if (++p->regexes_count <= PROMQL_REGEXES_MAX) return true;
    p->failed = true;
    err_set(p->err, ERR_LIMIT, 0, "expression has more than %d regular expressions",
            PROMQL_REGEXES_MAX);
    return false;
}

static bool matchers_add(struct parser *p, struct matcher_list *list, struct matcher m,
                         uint32_t pos) {
    if (list->count == list->cap) {
        size_t cap = list->cap == 0 ? 4 : list->cap * 2;
        list->items = list->items == NULL ? arena_alloc(p->arena, cap * sizeof(m))
                                          : arena_grow(p->arena, list->items, list->cap * sizeof(m),
                                                       cap * sizeof(m));
        list->cap = cap;
        if (list->items == NULL) return parser_nomem(p);
    }
    struct err err = {0};
    enum status rc = matcher_compile(&m, p->arena, &err);
    if (rc == ERR_NOMEM) return parser_nomem(p);
    if (rc != OK) return parser_fail(p, pos, "%s", err.msg);
    list->items[list->count++] = m;
    return m.regex == NULL || regexes_add(p, m.regex);
}

static bool token_match_kind(enum token_kind kind, enum match_kind *out) {
    switch ((int)kind) {
    case TOK_EQL: *out = MATCH_EQ; return true;
    case TOK_NEQ: *out = MATCH_NEQ; return true;
    case TOK_EQL_REGEX: *out = MATCH_RE; return true;
    case TOK_NEQ_REGEX: *out = MATCH_NRE; return true;
    default: return false;
    }
}

/* name op "value", "name" op "value" or just "metric name" */
static bool parse_matcher(struct parser *p, struct matcher_list *list) {
    enum token_kind kind = parser_peek(p);
    if (kind != TOK_IDENTIFIER && kind != TOK_STRING)
        return parser_unexpected_in(p, in_matchers_start);
    struct token name = parser_take(p);
    struct matcher m = {.kind = MATCH_EQ, .name = name.text};
    if (kind == TOK_STRING && !parser_unquote(p, name, &m.name)) return false;
    if (!token_match_kind(parser_peek(p), &m.kind)) {
        if (p->failed) return false;
        if (kind == TOK_IDENTIFIER) return parser_unexpected_in(p, in_matcher_op);
        m.value = m.name;
        m.name = label_metric_name;
        return matchers_add(p, list, m, name.pos);
    }
    parser_take(p);
    if (parser_peek(p) != TOK_STRING) return parser_unexpected_in(p, in_matcher_value);
    return parser_unquote(p, parser_take(p), &m.value) && matchers_add(p, list, m, name.pos);
}

static bool parse_braces(struct parser *p, struct matcher_list *list) {
    parser_take(p);
    if (parser_accept(p, TOK_RIGHT_BRACE)) return true;
    for (;;) {
        if (!parse_matcher(p, list)) return false;
        if (parser_accept(p, TOK_RIGHT_BRACE)) return true;
        if (!parser_accept(p, TOK_COMMA)) return parser_unexpected_in(p, in_matchers_next);
        if (parser_accept(p, TOK_RIGHT_BRACE)) return true;
    }
}

struct expr *parse_selector(struct parser *p) {
    struct expr *e = parser_new(p, EXPR_SELECTOR, VALUE_VECTOR, 0);
    if (e == NULL) return NULL;
    struct matcher_list list = {0};
    e->pos_start = p->token.pos;
    if (!parse_braces(p, &list)) return NULL;
    e->pos_end = p->last_closing;
    e->u.selector.matchers = list.items;
    e->u.selector.matchers_count = list.count;
    return parser_check_height(p, e) ? e : NULL;
}

struct expr *parse_selector_named(struct parser *p, struct token name) {
    struct expr *e = parser_new(p, EXPR_SELECTOR, VALUE_VECTOR, 0);
    if (e == NULL) return NULL;
    struct matcher_list list = {0};
    e->pos_start = name.pos;
    e->pos_end = name.pos + (uint32_t)name.text.len;
    if (parser_peek(p) == TOK_LEFT_BRACE) {
        if (!parse_braces(p, &list)) return NULL;
        e->pos_end = p->last_closing;
    }
    struct matcher m = {.kind = MATCH_EQ, .name = label_metric_name, .value = name.text};
    if (p->failed || !matchers_add(p, &list, m, name.pos)) return NULL;
    e->u.selector.name = name.text;
    e->u.selector.matchers = list.items;
    e->u.selector.matchers_count = list.count;
    return parser_check_height(p, e) ? e : NULL;
}

/* -- label lists */

static bool token_is_label(enum token_kind kind) {
    return kind != TOK_WITHOUT &&
           (kind == TOK_IDENTIFIER || kind == TOK_METRIC_IDENTIFIER || token_is_aggregate(kind) ||
            token_is_keyword(kind) || (kind >= TOK_START && kind <= TOK_MIN_OF) ||
            kind == TOK_AND || kind == TOK_OR || kind == TOK_UNLESS || kind == TOK_ATAN2);
}

static bool parse_grouping_label(struct parser *p, struct sv *out) {
    enum token_kind kind = parser_peek(p);
    if (kind != TOK_STRING && !token_is_label(kind))
        return parser_unexpected_in(p, in_grouping_label);
    struct token t = parser_take(p);
    *out = t.text;
    if (kind == TOK_STRING && !parser_unquote(p, t, out)) return false;
    if (out->len > 0 && utf8_valid(*out)) return true;
    return parser_fail(p, t.pos, "invalid label name for grouping: %s", parser_quote(p, *out));
}

bool parse_grouping_labels(struct parser *p, struct label_list *out) {
    if (parser_peek(p) != TOK_LEFT_PAREN) return parser_unexpected_in(p, in_grouping_start);
    parser_take(p);
    *out = (struct label_list){0};
    if (parser_accept(p, TOK_RIGHT_PAREN)) return true;
    size_t cap = 0;
    for (;;) {
        struct sv name;
        if (!parse_grouping_label(p, &name)) return false;
        if (out->count == cap) {
            size_t old = cap * sizeof(name);
            cap = cap == 0 ? 4 : cap * 2;
            out->names = out->names == NULL
                             ? arena_alloc(p->arena, cap * sizeof(name))
                             : arena_grow(p->arena, out->names, old, cap * sizeof(name));
            if (out->names == NULL) return parser_nomem(p);
        }
        out->names[out->count++] = name;
        if (parser_accept(p, TOK_RIGHT_PAREN)) return true;
        if (!parser_accept(p, TOK_COMMA)) return parser_unexpected_in(p, in_grouping_next);
        if (parser_accept(p, TOK_RIGHT_PAREN)) return true;
    }
}

/* -- a series: name{label="value",...}, either part may be missing */

struct label_set {
    struct promql_label *items;
    size_t count, cap;
};

static bool label_set_put(struct parser *p, struct label_set *set, struct sv name,
                          struct sv value) {
    if (set->count == set->cap) {
        size_t cap = set->cap == 0 ? 8 : set->cap * 2, size = sizeof(*set->items);
        set->items = set->items == NULL
                         ? arena_alloc(p->arena, cap * size)
                         : arena_grow(p->arena, set->items, set->cap * size, cap * size);
        set->cap = cap;
        if (set->items == NULL) return parser_nomem(p);
    }
    set->items[set->count++] = (struct promql_label){name, value};
    return true;
}

static bool parse_label(struct parser *p, struct label_set *set) {
    enum token_kind kind = parser_peek(p);
    if (kind != TOK_IDENTIFIER && kind != TOK_STRING) return parser_unexpected_in(p, in_set_start);
    struct token t = parser_take(p);
    struct sv name = t.text, value;
    if (kind == TOK_STRING && !parser_unquote(p, t, &name)) return false;
    if (parser_peek(p) != TOK_EQL) {
        if (kind == TOK_IDENTIFIER) return parser_unexpected_in(p, in_set_op);
        return !p->failed && label_set_put(p, set, label_metric_name, name);
    }
    parser_take(p);
    if (parser_peek(p) != TOK_STRING) return parser_unexpected_in(p, in_set_value);
    return parser_unquote(p, parser_take(p), &value) && label_set_put(p, set, name, value);
}

static bool parse_label_set(struct parser *p, struct label_set *set) {
    parser_take(p);
    if (parser_accept(p, TOK_RIGHT_BRACE)) return true;
    for (;;) {
        if (!parse_label(p, set)) return false;
        if (parser_accept(p, TOK_RIGHT_BRACE)) return true;
        if (!parser_accept(p, TOK_COMMA)) return parser_unexpected_in(p, in_set_next);
        if (parser_accept(p, TOK_RIGHT_BRACE)) return true;
    }
}

static void label_set_sort(struct label_set *set) {
    size_t kept = 0; /* insertion sort, stable: a series has few labels, and later ones win */
    for (size_t i = 0; i < set->count; i++) {
        struct promql_label label = set->items[i];
        size_t at = kept;
        while (at > 0 && sv_cmp(set->items[at - 1].name, label.name) > 0)
            at--;
        if (at > 0 && sv_eq(set->items[at - 1].name, label.name)) {
            set->items[at - 1] = label;
            continue;
        }
        memmove(&set->items[at + 1], &set->items[at], (kept - at) * sizeof(label));
        set->items[at] = label;
        kept++;
    }
    set->count = kept;
}

enum status promql_parse_metric(struct sv text, struct arena *arena,
                                struct promql_label **out_labels, size_t *out_count,
                                struct err *err) {
    struct err local;
    struct parser p;
    if (text.len > PROMQL_TEXT_BYTES_MAX)
        return err_set(err, ERR_LIMIT, 0, "series is too long: %zu bytes", text.len);
    parser_init(&p, text, arena, err != NULL ? err : &local);
    struct label_set set = {0};
    struct sv name = {NULL, 0};
    if (token_is_metric_identifier(parser_peek(&p))) name = parser_take(&p).text;
    bool ok = parser_peek(&p) != TOK_LEFT_BRACE || parse_label_set(&p, &set);
    if (ok && parser_peek(&p) != TOK_EOF) ok = parser_unexpected(&p);
    if (ok && name.len > 0) ok = label_set_put(&p, &set, label_metric_name, name);
    if (!ok) return p.err->code;
    label_set_sort(&set);
    *out_labels = set.items;
    *out_count = set.count;
    return OK;
}
