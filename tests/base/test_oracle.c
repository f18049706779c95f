/* SPDX-License-Identifier: Apache-2.0 */
/* Compares node/base with Go's standard library, case by case: `test_oracle ORACLE MODE [SEED]`,
 * where ORACLE is the program of tests/base/oracle ("" where there is no Go: the test is then
 * skipped with meson's code 77). */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "node/base/bytes.h"
#include "node/base/duration.h"
#include "node/base/json.h"
#include "node/base/num.h"
#include "node/base/regex.h"
#include "node/base/utf8.h"

enum { FIELDS_MAX = 16, FAILURES_SHOWN = 25, SKIPPED = 77 };

static size_t cases_count, failures_count;
static struct buf scratch; /* what our function wrote */

static void check(bool ok, struct sv input, const char *what, struct sv got, struct sv want) {
    cases_count++;
    if (ok) return;
    if (++failures_count > FAILURES_SHOWN) return;
    fprintf(stderr, "%s of %.*s: got %.*s, Go has %.*s\n", what, SV_ARG(sv_take(input, 200)),
            SV_ARG(sv_take(got, 300)), SV_ARG(sv_take(want, 300)));
}

/* Compares what stands in scratch and clears it. */
static void check_scratch(struct sv input, const char *what, struct sv want) {
    check(!scratch.failed && sv_eq(buf_sv(&scratch), want), input, what, buf_sv(&scratch), want);
    buf_clear(&scratch);
}

static void check_bool(struct sv input, const char *what, bool got, struct sv want) {
    struct sv text = got ? SV("true") : SV("false");
    check(sv_eq(text, want), input, what, text, want);
}

static int nibble(char c) {
    return c <= '9' ? c - '0' : c - 'a' + 10;
}

/* Decodes a field of hex in place. */
static struct sv unhex(struct sv s) {
    char *p = (char *)(uintptr_t)s.ptr;
    for (size_t i = 0; i + 1 < s.len; i += 2)
        p[i / 2] = (char)(nibble(s.ptr[i]) << 4 | nibble(s.ptr[i + 1]));
    return sv_make(p, s.len / 2);
}

static uint64_t parse_bits(struct sv s) {
    uint64_t v = 0;
    for (size_t i = 0; i < s.len; i++)
        v = v << 4 | (uint64_t)nibble(s.ptr[i]);
    return v;
}

static void format_line(struct sv *f, size_t n) {
    (void)n;
    double v = f64_from_bits(parse_bits(f[0]));
    num_put_f64(&scratch, v, 'f');
    check_scratch(f[0], "'f'", f[1]);
    num_put_f64(&scratch, v, 'e');
    check_scratch(f[0], "'e'", f[2]);
    num_put_f64(&scratch, v, 'g');
    check_scratch(f[0], "'g'", f[3]);
    num_put_json_value(&scratch, v);
    check_scratch(f[0], "JSON value", f[4]);
    struct json j = json_init(&scratch);
    json_f64(&j, v);
    check_scratch(f[0], "encoding/json", f[5]);
}

static void parse_line(struct sv *f, size_t n) {
    (void)n;
    struct sv s = unhex(f[0]);
    size_t at;
    bool underscore = sv_find_char(s, '_', &at);
    double v = 0, plain = 0;
    bool ok = num_parse_f64_literal(s, &v);
    check_bool(s, "ParseFloat ok", ok, f[1]);
    check_bool(s, "ParseFloat without underscores ok", num_parse_f64(s, &plain),
               underscore ? SV("false") : f[1]);
    buf_printf(&scratch, "%016llx", (unsigned long long)f64_bits(v));
    check_scratch(s, "ParseFloat", f[2]);
    if (!underscore)
        check(f64_bits(plain) == f64_bits(v), s, "num_parse_f64", SV("other bits"), f[2]);
}

static void integer_line(struct sv *f, size_t n) {
    (void)n;
    struct sv s = unhex(f[0]);
    int64_t base0 = 0, base10 = 0;
    uint64_t unsigned10 = 0;
    bool ok = num_parse_i64_base0(s, &base0);
    check_bool(s, "ParseInt(0) ok", ok, f[1]);
    num_put_i64(&scratch, base0);
    if (ok) check_scratch(s, "ParseInt(0)", f[2]);
    buf_clear(&scratch);
    ok = num_parse_i64(s, &base10);
    check_bool(s, "ParseInt(10) ok", ok, f[3]);
    num_put_i64(&scratch, base10);
    if (ok) check_scratch(s, "ParseInt(10)", f[4]);
    buf_clear(&scratch);
    ok = num_parse_u64(s, &unsigned10);
    check_bool(s, "ParseUint(10) ok", ok, f[5]);
    num_put_u64(&scratch, unsigned10);
    if (ok) check_scratch(s, "ParseUint(10)", f[6]);
    buf_clear(&scratch);
}

static void text_line(struct sv *f, size_t n) {
    (void)n;
    struct sv s = unhex(f[0]);
    go_put_quoted(&scratch, s);
    check_scratch(s, "Quote", unhex(f[1]));
    json_put_string(&scratch, s);
    check_scratch(s, "JSON string", unhex(f[2]));
    check_bool(s, "valid UTF-8", utf8_valid(s), f[3]);
    num_put_u64(&scratch, utf8_rune_count(s));
    check_scratch(s, "rune count", f[4]);
}

static int64_t parse_number(struct sv s) {
    int64_t v = 0;
    if (!num_parse_i64(s, &v)) abort();
    return v;
}

static void civil_line(struct sv *f) {
    int64_t ms = parse_number(f[1]);
    struct civil c = civil_from_ms(ms);
    buf_printf(&scratch, "%lld %d %d %d %d %d %d %d %d %d", (long long)c.year, c.month, c.day,
               c.hour, c.minute, c.second, c.millisecond, c.weekday, c.yearday,
               civil_days_in_month(c.year, c.month));
    check_scratch(f[1], "civil time", f[2]);
    civil_put_rfc3339(&scratch, ms);
    check_scratch(f[1], "RFC 3339", f[3]);
    num_put_i64(&scratch, civil_to_ms(c));
    check_scratch(f[1], "civil_to_ms", f[1]);
    int64_t again = 0;
    check_bool(f[3], "parse of what was written", civil_parse_rfc3339(f[3], &again) && again == ms,
               SV("true"));
}

static void time_line(struct sv *f, size_t n) {
    (void)n;
    if (sv_eq(f[0], SV("duration"))) {
        duration_put_go(&scratch, parse_number(f[1]));
        check_scratch(f[1], "Duration.String", f[2]);
    } else if (sv_eq(f[0], SV("civil"))) {
        civil_line(f);
    } else {
        struct sv s = unhex(f[1]);
        int64_t ms = 0;
        bool ok = civil_parse_rfc3339(s, &ms);
        check_bool(s, "time.Parse ok", ok, f[2]);
        num_put_i64(&scratch, ms);
        check_scratch(s, "time.Parse", f[3]);
    }
}

/* The regex the following text lines are for, and the groups of the last of them. */
static struct {
    struct regex *re;
    struct buf pattern, text;
    struct sv groups[REGEX_GROUPS_MAX];
    size_t groups_count;
} current;

/* Where Go itself has no fixed text: RE2 knows none of the nesting limit, and finds other faults
 * first. */
static bool text_may_differ(struct sv want) {
    size_t at;
    return sv_find(want, SV("nests too deeply"), &at) || sv_find(want, SV("too large"), &at);
}

static void regex_pattern_line(struct sv *f) {
    regex_free(current.re);
    current.re = NULL;
    struct sv pattern = unhex(f[1]), want = unhex(f[4]);
    bool anchored = sv_eq(f[2], SV("true"));
    struct err err = {0};
    enum status status = anchored ? regex_compile(pattern, &current.re, &err)
                                  : regex_compile_plain(pattern, &current.re, &err);
    buf_clear(&current.pattern);
    buf_printf(&current.pattern, "%.*s (%s)", SV_ARG(sv_take(pattern, 100)),
               anchored ? "anchored" : "plain");
    check_bool(buf_sv(&current.pattern), "compiles", status == OK, f[3]);
    if (status != OK && !text_may_differ(want))
        check(sv_eq(sv_from(err.msg), want), buf_sv(&current.pattern), "error", sv_from(err.msg),
              want);
}

static void regex_text_line(struct sv *f) {
    struct sv s = unhex(f[1]);
    buf_clear(&current.text);
    buf_put_sv(&current.text, s);
    s = sv_make(buf_cstr(&current.text), s.len);
    struct buf what = {0};
    buf_printf(&what, "match of %.*s", SV_ARG(buf_sv(&current.pattern)));
    check_bool(s, buf_cstr(&what), regex_match(current.re, s), f[2]);
    current.groups_count = regex_match_groups(current.re, s, current.groups, REGEX_GROUPS_MAX);
    for (size_t i = 0; i < current.groups_count; i++) {
        if (i > 0) buf_put_char(&scratch, ',');
        if (current.groups[i].ptr == NULL) buf_put_char(&scratch, '-');
        for (size_t k = 0; k < current.groups[i].len; k++)
            buf_printf(&scratch, "%02x", (unsigned char)current.groups[i].ptr[k]);
        if (current.groups[i].ptr != NULL) buf_put_char(&scratch, '.');
    }
    check_scratch(s, buf_cstr(&what), f[3]);
    struct regex_range range;
    if (regex_match(current.re, s) && regex_prefix_range(current.re, &range))
        check(sv_cmp(sv_make(range.min, range.min_len), s) <= 0 &&
                  sv_cmp(s, sv_make(range.max, range.max_len)) <= 0,
              s, "range", sv_make(range.min, range.min_len), sv_make(range.max, range.max_len));
    buf_fini(&what);
}

static void regex_line(struct sv *f, size_t n) {
    (void)n;
    if (sv_eq(f[0], SV("pattern"))) {
        regex_pattern_line(f);
        return;
    }
    if (current.re == NULL) return; /* reported already */
    if (sv_eq(f[0], SV("text"))) {
        regex_text_line(f);
    } else if (sv_eq(f[0], SV("expand"))) {
        struct sv template_text = unhex(f[1]);
        regex_expand(current.re, template_text, current.groups, current.groups_count, &scratch);
        check_scratch(template_text, "Expand", unhex(f[2]));
    } else {
        regex_replace_all(current.re, buf_sv(&current.text), unhex(f[1]), &scratch);
        check_scratch(buf_sv(&current.pattern), "ReplaceAll", unhex(f[2]));
    }
}

static const struct mode {
    const char *name;
    void (*line)(struct sv *fields, size_t n);
    size_t cases_min; /* an oracle that stops early must not pass */
} modes[] = {
    {"format", format_line, 1000000},  {"parse", parse_line, 1000000},
    {"integer", integer_line, 400000}, {"text", text_line, 500000},
    {"time", time_line, 500000},       {"regex", regex_line, 50000},
};

static int compare(const struct mode *mode, const char *oracle, const char *seed) {
    struct buf command = {0};
    buf_printf(&command, "'%s' %s %s", oracle, mode->name, seed);
    FILE *f = popen(buf_cstr(&command), "r");
    if (f == NULL) return EXIT_FAILURE;
    char *line = NULL;
    size_t cap = 0;
    for (ssize_t len; (len = getline(&line, &cap, f)) > 0;) {
        struct sv rest = sv_make(line, (size_t)len - 1), fields[FIELDS_MAX] = {0};
        size_t n = 0;
        for (size_t at; n + 1 < FIELDS_MAX && sv_find_char(rest, '\t', &at);
             rest = sv_skip(rest, at + 1))
            fields[n++] = sv_take(rest, at);
        fields[n++] = rest;
        mode->line(fields, n);
    }
    free(line);
    int rc = pclose(f);
    regex_free(current.re);
    buf_fini(&current.pattern);
    buf_fini(&current.text);
    buf_fini(&scratch);
    buf_fini(&command);
    printf("%s, seed %s: %zu comparisons, %zu differ\n", mode->name, seed, cases_count,
           failures_count);
    if (rc != 0 || cases_count < mode->cases_min) {
        fprintf(stderr, "the oracle ended early (code %d)\n", rc);
        return EXIT_FAILURE;
    }
    return failures_count == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}

int main(int argc, char **argv) {
    if (argc < 3) return EXIT_FAILURE;
    if (argv[1][0] == '\0') {
        puts("skipped: no Go compiler");
        return SKIPPED;
    }
    for (size_t i = 0; i < ARRAY_LEN(modes); i++)
        if (strcmp(modes[i].name, argv[2]) == 0)
            return compare(&modes[i], argv[1], argc > 3 ? argv[3] : "1");
    return EXIT_FAILURE;
}
