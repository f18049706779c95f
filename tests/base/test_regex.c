/* SPDX-License-Identifier: Apache-2.0 */
/* A table to run everywhere; expectations are Go's. test_oracle.c compares more of it with Go
 * itself. */
#include <criterion/criterion.h>
#include <stdio.h>

#include "node/base/attr.h"
#include "node/base/buf.h"
#include "node/base/regex.h"

static struct regex *compile(const char *pattern, bool anchored) {
    struct regex *re = NULL;
    struct err err = {0};
    enum status status = anchored ? regex_compile(sv_from(pattern), &re, &err)
                                  : regex_compile_plain(sv_from(pattern), &re, &err);
    cr_assert_eq(status, OK, "%s: %s", pattern, err.msg);
    return re;
}

Test(regex, matches_whole_texts) {
    static const struct {
        const char *pattern, *text;
        bool match;
    } rows[] = {
        {"", "", true},
        {"", "a", false},
        {"5..", "500", true},
        {"5..", "5000", false},
        {"a|b", "b", true},
        {"a|b", "ab", false},
        {"a|ab", "ab", true},
        {".*", "x\ny", true},
        {"(?-s:.*)", "x\ny", false},
        {"(?i:foo.*)", "FOObar", true},
        {".*-prod-.*", "a-prod-b", true},
        {"^a$", "a", true},
        {"a$|b", "b", true},
        {"(?<n>x)y", "xy", true},
        {"[(?<n>]+", "<(>", true},
        {"\\Q(?<\\E", "(?<", true},
        {"\\Qa.b", "a.b", true},
        {"\\Qa.b", "axb", false},
        {"\\\\C", "\\C", true},
        {"(a+)+", "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa!", false},
        {"é.", "é😀", true},
    };
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        struct regex *re = compile(rows[i].pattern, true);
        cr_expect_eq(regex_match(re, sv_from(rows[i].text)), rows[i].match, "%s on %s",
                     rows[i].pattern, rows[i].text);
        regex_free(re);
    }
    struct regex *re = compile("a*", true);
    cr_assert(regex_match(re, (struct sv){0}));
    regex_free(re);
    regex_free(NULL);
}

Test(regex, errors_read_as_in_go) {
    static const struct {
        const char *pattern, *error;
    } rows[] = {
        {"a(b", "missing closing ): `a(b`"},
        {"a)(b", "unexpected ): `a)(b`"},
        {"[a", "missing closing ]: `[a`"},
        {"*a", "missing argument to repetition operator: `*`"},
        {"a**", "invalid nested repetition operator: `**`"},
        {"a{1001}", "invalid repeat count: `{1001}`"},
        {"a{99999999999}", "invalid repeat count: `{99999999999}`"},
        {"[z-a]", "invalid character class range: `z-a`"},
        {"\\C", "invalid escape sequence: `\\C`"},
        {"a\\", "trailing backslash at end of expression: ``"},
        {"(?=a)", "invalid or unsupported Perl syntax: `(?=`"},
        {"(?P<a-b>c)", "invalid named capture: `(?P<a-b>`"},
        {"(?<a-b>c)", "invalid named capture: `(?<a-b>`"},
        {"a\xff"
         "b",
         "invalid UTF-8: `\xff"
         "b`"},
    };
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        struct regex *re = (struct regex *)&rows;
        struct err err = {0};
        cr_assert_eq(regex_compile(sv_from(rows[i].pattern), &re, &err), ERR_PARSE, "%s",
                     rows[i].pattern);
        cr_expect(re == (struct regex *)&rows, "untouched on failure");
        cr_expect(sv_starts(sv_from(err.msg), SV("error parsing regexp: ")), "%s", err.msg);
        cr_expect_str_eq(err.msg + strlen("error parsing regexp: "), rows[i].error);
        cr_assert_eq(regex_compile_plain(sv_from(rows[i].pattern), &re, NULL), ERR_PARSE);
    }
}

Test(regex, groups_and_expansion) {
    struct regex *re = compile("(?P<host>[^:]+)(:(\\d+))?", true);
    struct sv groups[8];
    cr_assert_eq(regex_groups_count(re), 3);
    cr_assert_eq(regex_group_index(re, SV("host")), 1);
    cr_assert_eq(regex_group_index(re, SV("port")), -1);
    cr_assert_eq(regex_match_groups(re, SV("a:b"), groups, 8), 0);
    size_t n = regex_match_groups(re, SV("db1:90"), groups, 8);
    cr_assert_eq(n, 4);
    struct buf b = {0};
    regex_expand(re, SV("${host}|$3|$0|$1x|${1}x|$$|$|${|$9|$nope"), groups, n, &b);
    cr_assert(sv_eq(buf_sv(&b), SV("db1|90|db1:90||db1x|$|$|${||")), "%.*s", SV_ARG(buf_sv(&b)));
    n = regex_match_groups(re, SV("db1"), groups, 8);
    cr_assert_eq(n, 4);
    cr_assert(groups[2].ptr == NULL && groups[3].ptr == NULL);
    cr_assert_eq(regex_match_groups(re, SV("db1:90"), groups, 1), 1);
    regex_free(re);
    re = compile("a*", false);
    buf_clear(&b);
    regex_replace_all(re, SV("baaac"), SV("<$0>"), &b);
    cr_assert(sv_eq(buf_sv(&b), SV("<>b<aaa>c<>")), "%.*s", SV_ARG(buf_sv(&b)));
    regex_free(re);
    buf_fini(&b);
}

Test(regex, range_holds_every_match) {
    struct regex_range range;
    struct regex *re = compile("app-[0-9]+-(prod|dev).*", true);
    cr_assert(regex_prefix_range(re, &range));
    cr_assert(sv_starts(sv_make(range.min, range.min_len), SV("app-0")));
    cr_assert(sv_cmp(SV("app-99-prod-zz"), sv_make(range.max, range.max_len)) <= 0);
    cr_assert(sv_cmp(SV("apq"), sv_make(range.max, range.max_len)) > 0);
    regex_free(re);
    re = compile("app", false);
    cr_assert(!regex_prefix_range(re, &range), "a plain regex matches anywhere");
    regex_free(re);
}

Test(regex, large_alternation_stays_fast_and_sound) {
    struct buf b = {0};
    for (int i = 0; i < 5000; i++)
        buf_printf(&b, "%svalue-%d-x", i == 0 ? "" : "|", i * 7919);
    struct regex *re = compile(buf_cstr(&b), true);
    for (int i = 0; i < 5000; i++) {
        char text[64];
        int n = snprintf(text, sizeof text, "value-%d-x", i * 7919);
        cr_assert(regex_match(re, sv_make(text, (size_t)n)));
        cr_assert(!regex_match(re, sv_make(text, (size_t)n - 1)));
    }
    regex_free(re);
    buf_fini(&b);
}
