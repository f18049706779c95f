/* SPDX-License-Identifier: Apache-2.0 */
#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include "node/base/attr.h"
#include "query/promql/functions.h"
#include "query/promql/parser.h"
#include "query/promql/printer.h"
#include "tests/query/promql/error_cases.h"
#include "tests/query/promql/error_cases_more.h"
#include "tests/query/promql/print_cases.h"
#include "tests/query/promql/tree_cases.h"
#include "tests/query/promql/tree_text.h"

static struct arena arena;
static struct buf text;
static struct err err;

static void setup(void) {
    arena_init(&arena, 0);
}
static void teardown(void) {
    arena_fini(&arena);
    buf_fini(&text);
}
TestSuite(parser, .init = setup, .fini = teardown);

static struct expr *parse(struct sv s, uint32_t features) {
    struct promql_options options = {.features = features};
    struct expr *e = NULL;
    enum status rc = promql_parse(s, &options, &arena, &e, &err);
    cr_assert((rc == OK) == (e != NULL));
    return e;
}

static struct expr *must_parse(const char *s) {
    struct expr *e = parse(sv_from(s), ALL);
    cr_assert(e != NULL, "%s: %s", s, err.msg);
    return e;
}

static const char *printed(const struct expr *e) {
    buf_clear(&text);
    promql_print(e, &text);
    cr_assert(buf_cstr(&text) != NULL && !text.failed);
    return text.ptr;
}

static void check_errors(const struct error_case *cases, size_t count) {
    for (size_t i = 0; i < count; i++) {
        struct expr *e = parse(sv_from(cases[i].text), cases[i].features);
        cr_expect(e == NULL, "`%s` is accepted", cases[i].text);
        if (e != NULL)
            promql_free(e);
        else
            cr_expect_str_eq(err.msg, cases[i].error, "`%s`\n  gives  %s\n  wanted %s",
                             cases[i].text, err.msg, cases[i].error);
        cr_expect(e != NULL || err.code == ERR_PARSE);
        arena_reset(&arena);
    }
}

Test(parser, errors_have_the_texts_of_prometheus) {
    check_errors(error_cases, ARRAY_LEN(error_cases));
    check_errors(error_cases_more, ARRAY_LEN(error_cases_more));
}

Test(parser, what_needs_a_feature_is_accepted_with_it) {
    size_t count = 0;
    for (size_t i = 0; i < ARRAY_LEN(error_cases_more); i++) {
        const struct error_case *c = &error_cases_more[i];
        if (c->features != NONE || strstr(c->error, "enabled") == NULL) continue;
        promql_free(must_parse(c->text));
        count++;
    }
    cr_assert(count >= 14, "%zu", count);
}

static void check_prints(const struct print_case *cases, size_t count,
                         void (*print)(const struct expr *, struct buf *)) {
    for (size_t i = 0; i < count; i++) {
        struct expr *e = must_parse(cases[i].text);
        buf_clear(&text);
        print(e, &text);
        cr_assert(buf_cstr(&text) != NULL && !text.failed);
        cr_expect_str_eq(text.ptr, cases[i].printed, "%s\n  gives  %s\n  wanted %s", cases[i].text,
                         text.ptr, cases[i].printed);
        promql_free(e);
    }
}

Test(parser, trees_print_as_in_prometheus) {
    check_prints(print_cases, ARRAY_LEN(print_cases), promql_print);
    check_prints(pretty_cases, ARRAY_LEN(pretty_cases), promql_pretty);
    check_prints(json_cases, ARRAY_LEN(json_cases), promql_put_json);
}

Test(parser, printed_and_pretty_forms_parse_to_the_same_tree) {
    for (size_t i = 0; i < ARRAY_LEN(print_cases) + ARRAY_LEN(pretty_cases); i++) {
        const struct print_case *c = i < ARRAY_LEN(print_cases)
                                         ? &print_cases[i]
                                         : &pretty_cases[i - ARRAY_LEN(print_cases)];
        struct expr *first = must_parse(c->text);
        const char *once = arena_strdup(&arena, sv_from(printed(first)));
        buf_clear(&text);
        promql_pretty(first, &text);
        const char *split = arena_strdup(&arena, buf_sv(&text));
        struct expr *second = must_parse(once), *third = must_parse(split);
        cr_expect_str_eq(printed(second), once, "%s", c->text);
        cr_expect_str_eq(printed(third), once, "%s", c->text);
        promql_free(first);
        promql_free(second);
        promql_free(third);
    }
}

Test(parser, nodes_have_the_positions_of_prometheus) {
    for (size_t i = 0; i < ARRAY_LEN(tree_cases); i++) {
        struct expr *e = must_parse(tree_cases[i].text);
        buf_clear(&text);
        tree_put_positions(e, &text);
        cr_expect_str_eq(buf_cstr(&text), tree_cases[i].tree, "%s\n  gives  %s\n  wanted %s",
                         tree_cases[i].text, text.ptr, tree_cases[i].tree);
        promql_free(e);
    }
}

/* Lowest first; '<' in the first column: operators of this row group to the left, '>' to the right.
 */
static const char *const precedence[][9] = {
    {"<", "or"},
    {"<", "and", "unless"},
    {"<", "== bool", "!= bool", "<= bool", "< bool", ">= bool", "> bool", "</", ">/"},
    {"<", "+", "-"},
    {"<", "*", "/", "%", "atan2"},
    {">", "^"},
};

static void check_grouping(const char *first, const char *second, bool left) {
    char s[64];
    snprintf(s, sizeof(s), "a %s b %s c", first, second);
    struct expr *e = must_parse(s);
    cr_assert(e->kind == EXPR_BINARY);
    bool is_left = e->children[0]->kind == EXPR_BINARY;
    cr_assert(is_left != (e->children[1]->kind == EXPR_BINARY));
    cr_expect(is_left == left, "%s groups to the %s", s, is_left ? "left" : "right");
    promql_free(e);
}

Test(parser, operators_group_by_precedence) {
    size_t rows = ARRAY_LEN(precedence), pairs = 0;
    for (size_t r1 = 0; r1 < rows; r1++)
        for (size_t r2 = 0; r2 < rows; r2++)
            for (size_t i = 1; i < 9 && precedence[r1][i] != NULL; i++)
                for (size_t j = 1; j < 9 && precedence[r2][j] != NULL; j++, pairs++) {
                    bool left = r1 == r2 ? precedence[r1][0][0] == '<' : r1 > r2;
                    check_grouping(precedence[r1][i], precedence[r2][j], left);
                }
    cr_assert(pairs == 18 * 18, "%zu", pairs);
}

Test(parser, a_unary_operator_binds_like_multiplication) {
    struct expr *e = must_parse("-a ^ b");
    cr_assert(e->kind == EXPR_UNARY && e->children[0]->kind == EXPR_BINARY);
    promql_free(e);
    e = must_parse("-a * b");
    cr_assert(e->kind == EXPR_BINARY && e->children[0]->kind == EXPR_UNARY);
    promql_free(e);
    e = must_parse("-1");
    cr_assert(e->kind == EXPR_NUMBER && e->u.number_value == -1);
}

static double seconds_now(void) {
    struct timespec ts;
    clock_gettime(CLOCK_MONOTONIC, &ts);
    return (double)ts.tv_sec + (double)ts.tv_nsec / 1e9;
}

/* before, then `open` count times, `middle`, `close` count times */
static struct sv nested(const char *open, const char *middle, const char *close, size_t count) {
    size_t o = strlen(open), m = strlen(middle), c = strlen(close);
    char *s = arena_alloc(&arena, (o + c) * count + m);
    cr_assert(s != NULL);
    for (size_t i = 0; i < count; i++)
        memcpy(s + i * o, open, o);
    memcpy(s + count * o, middle, m);
    for (size_t i = 0; i < count; i++)
        memcpy(s + count * o + m + i * c, close, c);
    return (struct sv){s, (o + c) * count + m};
}

Test(parser, nesting_is_limited) {
    static const char *const shapes[][3] = {
        {"(", "a", ")"},         {"-", "a", ""},
        {"abs(", "a", ")"},      {"sum(", "a", ")"},
        {"2^", "2", ""},         {"", "a", "+a"},
        {"", "a", "[5m:]"},      {"", "a", " or a"},
        {"(", "a", "+b)"},       {"sum by (x) (", "a", ")"},
        {"max_of(1,", "2", ")"}, {"last_over_time(", "a", "[5m:])"},
        {"a[", "1", ""},         {"(", "a[1", ")"},
    };
    static const char *const durations[][3] = {
        {"(", "1", ")"}, {"-", "1", ""}, {"2^", "1", ""}, {"", "1", "+1"}, {"min_of(1,", "1", ")"},
    };
    double start = seconds_now();
    for (size_t i = 0; i < ARRAY_LEN(shapes); i++) {
        struct sv s = nested(shapes[i][0], shapes[i][1], shapes[i][2], 100000);
        cr_assert(parse(s, ALL) == NULL, "%s", shapes[i][0]);
    }
    for (size_t i = 0; i < ARRAY_LEN(durations); i++) {
        struct sv inner = nested(durations[i][0], durations[i][1], durations[i][2], 100000);
        struct sv s = sv_from(arena_printf(&arena, "foo[%.*s]", SV_ARG(inner)));
        cr_assert(parse(s, ALL) == NULL, "%s", durations[i][0]);
        cr_assert(err.code == ERR_LIMIT, "%s: %s", durations[i][0], err.msg);
        s = sv_from(arena_printf(&arena, "foo offset (%.*s)", SV_ARG(inner)));
        cr_assert(parse(s, ALL) == NULL && err.code == ERR_LIMIT);
    }
    cr_assert(parse(nested("(", "a", ")", 100000), ALL) == NULL);
    cr_assert(err.code == ERR_LIMIT);
    cr_assert_str_eq(err.msg, "expression is nested too deeply, the limit is 1000 levels");
    cr_assert(parse(nested("", "a", " or a", 100000), ALL) == NULL && err.code == ERR_LIMIT);
    cr_assert(seconds_now() - start < 10); /* milliseconds each, with sanitizers too */
}

Test(parser, the_highest_tree_can_be_walked) {
    struct expr *e = parse(nested("", "a", " or a", EXPR_HEIGHT_MAX - 1), ALL);
    cr_assert(e != NULL, "%s", err.msg);
    struct expr *again = must_parse(arena_strdup(&arena, sv_from(printed(e))));
    buf_clear(&text);
    promql_pretty(again, &text);
    promql_put_json(again, &text);
    cr_assert(!text.failed);
    promql_free(e);
    promql_free(again);
    e = parse(nested("(", "a", ")", EXPR_HEIGHT_MAX - 1), ALL);
    cr_assert(e != NULL, "%s", err.msg);
    promql_free(e);
}

Test(parser, memory_is_limited_by_the_arena) {
    struct sv s = nested("a+", "a", "", 900);
    unsigned refused = 0, accepted = 0;
    for (size_t limit = 8 << 10; limit <= 8 << 20; limit *= 2) {
        struct arena small;
        struct expr *e = NULL;
        arena_init(&small, limit);
        enum status rc = promql_parse(s, NULL, &small, &e, &err);
        cr_assert(rc == OK || rc == ERR_NOMEM, "%s", err.msg);
        cr_assert(rc == OK || accepted == 0, "limit %zu", limit);
        accepted += rc == OK;
        refused += rc != OK;
        if (rc == OK) promql_free(e);
        arena_fini(&small);
    }
    cr_assert(accepted > 0 && refused > 4, "%u accepted, %u refused", accepted, refused);
}

Test(parser, an_empty_selection_prints_so_that_it_parses) {
    struct expr *e = must_parse("info(a,{})");
    cr_assert_str_eq(printed(e), "info(a, {})");
    promql_free(e);
}

/* -- selectors and series */

static const char *selector_text(const char *s) {
    struct matcher *matchers;
    size_t count;
    if (promql_parse_selector(sv_from(s), &arena, &matchers, &count, &err) != OK) return err.msg;
    buf_clear(&text);
    for (size_t i = 0; i < count; i++) {
        if (i > 0) buf_put_char(&text, ' ');
        promql_print_matcher(&matchers[i], &text);
    }
    if (promql_matchers_select_all(matchers, count)) buf_printf(&text, " all");
    promql_matchers_free(matchers, count);
    return buf_cstr(&text);
}

Test(parser, selectors_of_match_parameters) {
    static const struct print_case cases[] = {
        {"up", "__name__=\"up\""},
        {"up{job=~\"a.*\", x!=\"\"}", "job=~\"a.*\" x!=\"\" __name__=\"up\""},
        {"{\"a b\", \"c d\"=\"e\"}", "__name__=\"a b\" \"c d\"=\"e\""},
        {"{}", " all"},
        {"{a=\"\"}", "a=\"\" all"},
        {"{a!=\"\"}", "a!=\"\""},
        {"sum", "__name__=\"sum\""},
        {"", "unknown position: parse error: unexpected end of input"},
        {" ", "1:2: parse error: unexpected end of input"},
        {"5", "1:1: parse error: unexpected number \"5\""},
        {"up[5m]", "1:3: parse error: unexpected \"[\""},
        {"up offset 5m", "1:4: parse error: unexpected <offset>"},
        {"sum(up)", "1:4: parse error: unexpected \"(\""},
        {"up{a=~\"(\"}", "1:4: parse error: error parsing regexp: missing closing ): `(`"},
        {"up{a=~\"b|c(d\",e=~\"x.y\"} foo", "1:4: parse error: error parsing regexp: missing "
                                            "closing ): `b|c(d`"},
        {"up{e=~\"x.y\"} foo", "1:14: parse error: unexpected identifier \"foo\""},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++)
        cr_expect_str_eq(selector_text(cases[i].text), cases[i].printed, "%s: %s", cases[i].text,
                         selector_text(cases[i].text));
}

static const char *metric_text(const char *s) {
    struct promql_label *labels;
    size_t count;
    if (promql_parse_metric(sv_from(s), &arena, &labels, &count, &err) != OK) return err.msg;
    buf_clear(&text);
    for (size_t i = 0; i < count; i++)
        buf_printf(&text, "%.*s=%.*s;", SV_ARG(labels[i].name), SV_ARG(labels[i].value));
    return buf_cstr(&text) == NULL ? "" : text.ptr;
}

Test(parser, series_of_unit_tests) {
    static const struct print_case cases[] = {
        {"up", "__name__=up;"},
        {"up{job=\"b\",a='c'}", "__name__=up;a=c;job=b;"},
        {"{z=\"1\",\"a b\"=\"2\",\"m\",}", "__name__=m;a b=2;z=1;"},
        {"up{a=\"1\",a=\"2\"}", "__name__=up;a=2;"},
        {"", ""},
        {"{}", ""},
        {"up{a=~\"b\"}", "1:5: parse error: unexpected <op:=~> in label set, expected \"=\""},
        {"up{a=b}", "1:6: parse error: unexpected identifier \"b\" in label set, expected string"},
        {"up{1}", "1:4: parse error: unexpected character inside braces: '1'"},
        {"up{,}", "1:4: parse error: unexpected \",\" in label set, expected identifier or \"}\""},
        {"up{a=\"1\" b}", "1:10: parse error: unexpected identifier \"b\" in label set, expected "
                          "\",\" or \"}\""},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++)
        cr_expect_str_eq(metric_text(cases[i].text), cases[i].printed, "%s: %s", cases[i].text,
                         metric_text(cases[i].text));
}

/* -- the table of functions */

Test(parser, functions_are_sorted_and_found) {
    for (size_t i = 0; i < FN_COUNT; i++) {
        struct sv name = sv_from(functions[i].name);
        cr_expect(functions[i].id == (enum function_id)i);
        cr_expect(function_find(name) == &functions[i], "%s", functions[i].name);
        cr_expect(i == 0 || sv_cmp(sv_from(functions[i - 1].name), name) < 0);
        cr_expect(functions[i].args_count <= FUNCTION_ARGS_MAX);
        cr_expect(functions[i].variadic == 0 || functions[i].args_count > 0);
    }
    cr_assert(function_find(SV("")) == NULL && function_find(SV("zzz")) == NULL);
    cr_assert(function_find(SV("rat")) == NULL && function_find(SV("rates")) == NULL);
}

Test(parser, functions_that_depend_on_the_evaluation_time) {
    static const char *const unsafe[] = {
        "days_in_month", "day_of_month", "day_of_week", "day_of_year", "end",
        "hour",          "minute",       "month",       "year",        "predict_linear",
        "range",         "start",        "step",        "time",        "timestamp",
    };
    size_t count = 0;
    for (size_t i = 0; i < FN_COUNT; i++)
        count += functions[i].at_unsafe;
    cr_assert(count == ARRAY_LEN(unsafe));
    for (size_t i = 0; i < ARRAY_LEN(unsafe); i++)
        cr_expect(function_find(sv_from(unsafe[i]))->at_unsafe, "%s", unsafe[i]);
}
