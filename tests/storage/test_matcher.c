/* SPDX-License-Identifier: Apache-2.0 */
#include <criterion/criterion.h>
#include <stdio.h>

#include "node/base/attr.h"
#include "storage/matcher.h"

static struct arena arena;
static struct err err;

static void setup(void) {
    arena_init(&arena, 0);
}
static void teardown(void) {
    arena_fini(&arena);
}
TestSuite(matcher, .init = setup, .fini = teardown);

static struct matcher compile(enum match_kind kind, const char *value) {
    struct matcher m = {.kind = kind, .name = SV("a"), .value = sv_from(value)};
    cr_assert(matcher_compile(&m, &arena, &err) == OK, "%s: %s", value, err.msg);
    return m;
}

/* What a pattern must be turned into: the plan and, joined by a space, its literals. */
static const struct plan_case {
    const char *pattern;
    enum match_plan plan;
    const char *literals;
} plan_cases[] = {
    {"foo", PLAN_LITERALS, "foo"},
    {"", PLAN_LITERALS, ""},
    {"^foo$", PLAN_LITERALS, "foo"},
    {"^$", PLAN_LITERALS, ""},
    {"foo|bar", PLAN_LITERALS, "bar foo"},
    {"^foo|bar$", PLAN_LITERALS, "bar foo"},
    {"(foo|bar)", PLAN_LITERALS, "bar foo"},
    {"(?:foo|bar|foo)", PLAN_LITERALS, "bar foo"},
    {"foo|", PLAN_LITERALS, " foo"},
    {"fo(o|x)(1|2)", PLAN_LITERALS, "foo1 foo2 fox1 fox2"},
    {"api-(a|b(c|d))-x", PLAN_LITERALS, "api-a-x api-bc-x api-bd-x"},
    {"5[0-3]", PLAN_LITERALS, "50 51 52 53"},
    {"[45]0[14]|200", PLAN_LITERALS, "200 401 404 501 504"},
    {"10\\.0\\.0\\.1:9090", PLAN_LITERALS, "10.0.0.1:9090"},
    {"colou?r", PLAN_LITERALS, "color colour"},
    {"(http|ftp)s?", PLAN_LITERALS, "ftp ftps http https"},
    {"x\\d", PLAN_LITERALS, "x0 x1 x2 x3 x4 x5 x6 x7 x8 x9"},
    {"gr\303\274n|rot", PLAN_LITERALS, "gr\303\274n rot"},
    {"\303\274?x", PLAN_LITERALS, "x \303\274x"},
    {"a[.-]b", PLAN_REGEX, ""},
    {"a[\\.\\-]b", PLAN_LITERALS, "a-b a.b"},
    {"foo.*", PLAN_PREFIX, "foo"},
    {"^foo\\.bar.*$", PLAN_PREFIX, "foo.bar"},
    {".*foo", PLAN_SUFFIX, "foo"},
    {".*\\.foo$", PLAN_SUFFIX, ".foo"},
    {".*foo.*", PLAN_CONTAINS, "foo"},
    {".*(foo).*", PLAN_CONTAINS, "foo"},
    {".*", PLAN_ANY, ""},
    {"(.*)", PLAN_ANY, ""},
    {"^.*$", PLAN_ANY, ""},
    {".+", PLAN_NOT_EMPTY, ""},
    {"(?:.+)", PLAN_NOT_EMPTY, ""},
    {"foo.+", PLAN_REGEX, ""},
    {"(?i)foo", PLAN_REGEX, ""},
    {"(?i:foo)|bar", PLAN_REGEX, ""},
    {"foo.*|bar", PLAN_REGEX, ""},
    {".*foo|bar.*", PLAN_REGEX, ""},
    {"foo\\.*", PLAN_REGEX, ""},
    {"fo+", PLAN_REGEX, ""},
    {"[^a]", PLAN_REGEX, ""},
    {"[[:alpha:]]", PLAN_REGEX, ""},
    {"[a-z][a-z][a-z]", PLAN_REGEX, ""},
    {"x{2}", PLAN_REGEX, ""},
    {"a??", PLAN_REGEX, ""},
    {"\\w", PLAN_REGEX, ""},
    {"f.o", PLAN_REGEX, ""},
    {"(?P<n>foo)", PLAN_REGEX, ""},
    {"\\bfoo", PLAN_REGEX, ""},
    {"(^foo)", PLAN_REGEX, ""},
    {".*.*", PLAN_REGEX, ""},
};

Test(matcher, patterns_get_their_plans) {
    for (size_t i = 0; i < ARRAY_LEN(plan_cases); i++) {
        const struct plan_case *c = &plan_cases[i];
        struct matcher m = compile(MATCH_RE, c->pattern);
        char joined[256];
        size_t len = 0;
        joined[0] = '\0';
        for (size_t j = 0; j < m.literals_count; j++)
            len += (size_t)snprintf(joined + len, sizeof(joined) - len, "%s%.*s", j > 0 ? " " : "",
                                    SV_ARG(m.literals[j]));
        cr_expect(m.plan == c->plan, "%s: plan %d", c->pattern, (int)m.plan);
        cr_expect_str_eq(joined, c->literals, "%s: %s", c->pattern, joined);
        cr_expect((m.regex != NULL) == (c->plan == PLAN_REGEX), "%s", c->pattern);
        matcher_fini(&m);
    }
}

/* Pieces that are put together to patterns and to values: few, so that they meet. */
static const char *const pattern_parts[] = {
    "a", "b",     "ab",    "foo",      "|", "(a|b)", "(?:foo|bar)", ".*",  ".+",  "[ab]",
    "?", "[a-c]", "\\.",   ".",        "^", "$",     "(a|)",        "\\d", "+",   "(b|c)?",
    "1", "-",     "(foo)", "\303\274", "*", "\\|",   "(a(b|c))",    "x",   "{2}", "(?i)",
};
static const char *const value_parts[] = {"",    "a", "b", "c",  "ab",       "foo", "bar",
                                          "FOO", ".", "1", "-",  "\303\274", "x",   "\n",
                                          "|",   "$", "^", "aa", "A"};

static uint32_t next_random(uint64_t *state) {
    *state = *state * 6364136223846793005u + 1442695040888963407u;
    return (uint32_t)(*state >> 33);
}

static void join(char *out, size_t size, const char *const *parts, size_t count, uint64_t *state) {
    size_t len = 0, pieces = next_random(state) % 6;
    out[0] = '\0';
    for (size_t i = 0; i < pieces; i++)
        len += (size_t)snprintf(out + len, size - len, "%s", parts[next_random(state) % count]);
}

Test(matcher, plans_answer_like_the_regular_expression) {
    uint64_t state = 20240601;
    unsigned plans[PLAN_NOT_EMPTY + 1] = {0}, matches = 0, patterns = 0;
    for (unsigned round = 0; round < 10000; round++) {
        char pattern[128], value[128];
        char middle[100];
        join(middle, sizeof(middle), pattern_parts, ARRAY_LEN(pattern_parts), &state);
        uint32_t around = next_random(&state) % 8;
        snprintf(pattern, sizeof(pattern), "%s%s%s", around < 2 ? ".*" : "", middle,
                 around == 1 || around == 2 ? ".*" : "");
        struct regex *regex = NULL;
        struct matcher m = {.kind = MATCH_RE, .name = SV("a"), .value = sv_from(pattern)};
        enum status rc = matcher_compile(&m, &arena, &err);
        bool valid = regex_compile(m.value, &regex, NULL) == OK;
        cr_assert((rc == OK) == valid, "%s: plan %d", pattern, (int)m.plan);
        if (!valid) continue;
        patterns++;
        plans[m.plan]++;
        cr_assert(matcher_matches_empty(&m) == regex_match(regex, SV("")), "%s", pattern);
        for (unsigned i = 0; i < 60; i++) {
            join(value, sizeof(value), value_parts, ARRAY_LEN(value_parts), &state);
            bool want = regex_match(regex, sv_from(value));
            matches += want;
            cr_assert(matcher_match(&m, sv_from(value)) == want, "%s on %s: plan %d", pattern,
                      value, (int)m.plan);
        }
        for (size_t i = 0; i < m.literals_count && m.plan == PLAN_LITERALS; i++)
            cr_assert(regex_match(regex, m.literals[i]), "%s: %.*s", pattern,
                      SV_ARG(m.literals[i]));
        matcher_fini(&m);
        regex_free(regex);
    }
    cr_assert(patterns > 5000 && matches > 15000, "%u patterns, %u matches", patterns, matches);
    for (size_t i = 0; i < ARRAY_LEN(plans); i++)
        cr_assert(plans[i] > 20, "plan %zu was made %u times", i, plans[i]);
}

Test(matcher, kinds_and_the_empty_value) {
    static const struct {
        enum match_kind kind;
        const char *value;
        bool foo, bar, empty;
    } cases[] = {
        {MATCH_EQ, "foo", true, false, false},     {MATCH_NEQ, "foo", false, true, true},
        {MATCH_RE, "fo.", true, false, false},     {MATCH_NRE, "fo.", false, true, true},
        {MATCH_EQ, "", false, false, true},        {MATCH_NEQ, "", true, true, false},
        {MATCH_RE, "foo|", true, false, true},     {MATCH_NRE, "foo|", false, true, false},
        {MATCH_RE, ".+", true, true, false},       {MATCH_NRE, ".+", false, false, true},
        {MATCH_RE, ".*", true, true, true},        {MATCH_NRE, ".*", false, false, false},
        {MATCH_RE, "(?i)FOO", true, false, false}, {MATCH_EQ, "fo.", false, false, false},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct matcher m = compile(cases[i].kind, cases[i].value);
        cr_expect(matcher_match(&m, SV("foo")) == cases[i].foo, "%zu", i);
        cr_expect(matcher_match(&m, SV("bar")) == cases[i].bar, "%zu", i);
        cr_expect(matcher_match(&m, SV("")) == cases[i].empty, "%zu", i);
        cr_expect(matcher_matches_empty(&m) == cases[i].empty, "%zu", i);
        matcher_fini(&m);
    }
    cr_assert_str_eq(match_kind_text[MATCH_NRE], "!~");
}

Test(matcher, long_lists_stay_lists_and_large_products_do_not_explode) {
    char *list = arena_alloc(&arena, 1 << 16);
    size_t len = 0;
    for (unsigned i = 0; i < 3000; i++)
        len += (size_t)snprintf(list + len, (1 << 16) - len, "%snode-%u", i > 0 ? "|" : "", i);
    struct matcher m = compile(MATCH_RE, list);
    cr_assert(m.plan == PLAN_LITERALS && m.literals_count == 3000);
    cr_assert(matcher_match(&m, SV("node-2999")) && !matcher_match(&m, SV("node-3000")));
    matcher_fini(&m);
    m = compile(MATCH_RE, "[a-p][a-p][a-p][a-p][a-p][a-p][a-p][a-p]");
    cr_assert(m.plan == PLAN_REGEX && matcher_match(&m, SV("abcdabcd")));
    matcher_fini(&m);
}

Test(matcher, faults_are_told) {
    static const struct {
        const char *pattern, *error;
    } cases[] = {
        {"a(b", "error parsing regexp: missing closing ): `a(b`"},
        {"*", "error parsing regexp: missing argument to repetition operator: `*`"},
        {"[z-a]", "error parsing regexp: invalid character class range: `z-a`"},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct matcher m = {.kind = MATCH_RE, .value = sv_from(cases[i].pattern)};
        cr_expect(matcher_compile(&m, &arena, &err) == ERR_PARSE);
        cr_expect_str_eq(err.msg, cases[i].error, "%s", err.msg);
    }
    struct matcher bad = {.kind = MATCH_RE, .value = SV("foo\x80|bar")};
    cr_expect(matcher_compile(&bad, &arena, &err) == ERR_PARSE);
    struct arena small;
    arena_init(&small, 1);
    struct matcher m = {.kind = MATCH_RE, .value = SV("a|b|c")};
    cr_expect(matcher_compile(&m, &small, &err) == ERR_NOMEM);
    arena_fini(&small);
}
