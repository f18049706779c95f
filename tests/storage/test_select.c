/* SPDX-License-Identifier: Apache-2.0 */
#include <criterion/criterion.h>
#include <time.h>

#include "node/runtime/core.h"
#include "tests/storage/head_util.h"

#define T0 1600000000000LL

/* Series by letter, with what a selector must find among them. */
static const char *const series_specs[] = {
    "__name__=up,job=a,instance=1",      /* a */
    "__name__=up,job=a,instance=2",      /* b */
    "__name__=up,job=b,instance=1",      /* c */
    "__name__=up,instance=3",            /* d */
    "__name__=down,job=a,instance=1",    /* e */
    "__name__=down,job=ab,zone=eu-west", /* f */
    "job=ba",                            /* g */
};

struct select_case {
    enum match_kind kind;
    const char *name, *value;
    const char *want;
    enum match_kind kind2; /* with name2 */
    const char *name2, *value2;
};

/* Prometheus: a label that is absent has the value "". Worked out by hand. */
static const struct select_case select_cases[] = {
    {MATCH_EQ, "__name__", "up", "abcd", 0, NULL, NULL},
    {MATCH_EQ, "__name__", "u", "", 0, NULL, NULL},
    {MATCH_EQ, "job", "", "d", 0, NULL, NULL},
    {MATCH_EQ, "nope", "", "abcdefg", 0, NULL, NULL},
    {MATCH_EQ, "nope", "x", "", 0, NULL, NULL},
    {MATCH_NEQ, "job", "a", "cdfg", 0, NULL, NULL},
    {MATCH_NEQ, "job", "zz", "abcdefg", 0, NULL, NULL},
    {MATCH_NEQ, "job", "", "abcefg", 0, NULL, NULL},
    {MATCH_NEQ, "nope", "", "", 0, NULL, NULL},
    {MATCH_NEQ, "nope", "x", "abcdefg", 0, NULL, NULL},
    {MATCH_RE, "job", "a|b", "abce", 0, NULL, NULL},
    {MATCH_RE, "job", "a|a", "abe", 0, NULL, NULL},
    {MATCH_RE, "job", "a|", "abde", 0, NULL, NULL},
    {MATCH_RE, "job", "a.*", "abef", 0, NULL, NULL},
    {MATCH_RE, "job", ".*a", "abeg", 0, NULL, NULL},
    {MATCH_RE, "job", ".*b.*", "cfg", 0, NULL, NULL},
    {MATCH_RE, "job", ".+", "abcefg", 0, NULL, NULL},
    {MATCH_RE, "job", ".*", "abcdefg", 0, NULL, NULL},
    {MATCH_RE, "job", "", "d", 0, NULL, NULL},
    {MATCH_RE, "job", "[^a]a?", "cg", 0, NULL, NULL},
    {MATCH_RE, "nope", ".*", "abcdefg", 0, NULL, NULL},
    {MATCH_RE, "nope", ".+", "", 0, NULL, NULL},
    {MATCH_RE, "nope", "x|y", "", 0, NULL, NULL},
    {MATCH_NRE, "job", "a|b", "dfg", 0, NULL, NULL},
    {MATCH_NRE, "job", "a|", "cfg", 0, NULL, NULL},
    {MATCH_NRE, "job", "a.*", "cdg", 0, NULL, NULL},
    {MATCH_NRE, "job", ".+", "d", 0, NULL, NULL},
    {MATCH_NRE, "job", ".*", "", 0, NULL, NULL},
    {MATCH_NRE, "nope", ".+", "abcdefg", 0, NULL, NULL},
    {MATCH_EQ, "__name__", "up", "ab", MATCH_EQ, "job", "a"},
    {MATCH_EQ, "job", "a", "ae", MATCH_EQ, "instance", "1"},
    {MATCH_EQ, "__name__", "up", "cd", MATCH_NEQ, "job", "a"},
    {MATCH_EQ, "__name__", "up", "d", MATCH_EQ, "job", ""},
    {MATCH_RE, "__name__", "up|down", "ace", MATCH_EQ, "instance", "1"},
    {MATCH_RE, "__name__", "up|down", "abcdef", MATCH_RE, "__name__", ".+"},
    {MATCH_NEQ, "zone", "eu-west", "abde", MATCH_RE, "job", "a|"},
    {MATCH_EQ, "__name__", "up", "", MATCH_EQ, "__name__", "down"},
    {MATCH_NEQ, "job", "a", "cfg", MATCH_NEQ, "job", ""},
};

static struct head *letters_head(void) {
    struct head *head = util_head(0);
    for (size_t i = 0; i < ARRAY_LEN(series_specs); i++)
        cr_assert(head_append(head, util_series(head, series_specs[i]), T0 + (int64_t)i, 1) == OK);
    return head;
}

static void letters_of(struct head *head, const struct select_query *query, char out[32]) {
    struct selection *sel = util_select(head, query);
    size_t count;
    const struct series_view *views = selection_series(sel, &count);
    bool there[ARRAY_LEN(series_specs)] = {0};
    cr_assert(count <= ARRAY_LEN(series_specs));
    for (size_t i = 0; i < count; i++) {
        cr_assert(!there[views[i].ref]);
        there[views[i].ref] = true;
    }
    size_t n = 0;
    for (size_t i = 0; i < ARRAY_LEN(series_specs); i++)
        if (there[i]) out[n++] = (char)('a' + i);
    out[n] = '\0';
    selection_release(sel);
}

Test(select, matchers_mean_what_prometheus_means) {
    struct head *head = letters_head();
    for (size_t i = 0; i < ARRAY_LEN(select_cases); i++) {
        const struct select_case *c = &select_cases[i];
        struct arena arena;
        arena_init(&arena, 0);
        struct matcher m[2] = {
            {.kind = c->kind, .name = sv_from(c->name), .value = sv_from(c->value)},
            {.kind = c->kind2, .name = sv_from(c->name2), .value = sv_from(c->value2)}};
        size_t n = c->name2 == NULL ? 1 : 2;
        for (size_t k = 0; k < n; k++)
            cr_assert(matcher_compile(&m[k], &arena, NULL) == OK);
        char got[32];
        struct select_query query = util_query(m, n);
        letters_of(head, &query, got);
        cr_expect(strcmp(got, c->want) == 0, "case %zu: %s%s%s gave %s, not %s", i, c->name,
                  match_kind_text[c->kind], c->value, got, c->want);
        for (size_t k = 0; k < n; k++)
            matcher_fini(&m[k]);
        arena_fini(&arena);
    }
    head_free(head);
}

/* A text of 700 KB may hold so many; equal ones count once, and the others must not meet each
 * other. */
Test(select, a_hundred_thousand_matchers) {
    static const struct {
        enum match_kind kind;
        const char *name, *value; /* %u: another one each */
        const char *want;
    } cases[] = {
        {MATCH_NEQ, "job", "a", "cdfg"},      {MATCH_EQ, "job", "a", "abe"},
        {MATCH_RE, "job", "a|b", "abce"},     {MATCH_NRE, "nope", ".+", "abcdefg"},
        {MATCH_NEQ, "job", "x%u", "abcdefg"}, {MATCH_RE, "job", "a|x%u", "abe"},
        {MATCH_NRE, "job", "a|x%u", "cdfg"},  {MATCH_EQ, "job", "x%u", ""},
    };
    enum { MATCHERS = 100000 };
    struct head *head = letters_head();
    struct matcher *m = calloc(MATCHERS, sizeof *m);
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct arena arena;
        arena_init(&arena, 0);
        struct sv before, after = sv_cut(sv_from(cases[i].value), '%', &before);
        for (unsigned k = 0; k < MATCHERS; k++) {
            m[k] = (struct matcher){.kind = cases[i].kind, .name = sv_from(cases[i].name)};
            m[k].value = after.len == 0
                             ? before
                             : sv_from(arena_printf(&arena, "%.*s%u", SV_ARG(before), k));
            cr_assert(matcher_compile(&m[k], &arena, NULL) == OK);
        }
        char got[32];
        struct select_query query = util_query(m, MATCHERS);
        clock_t began = clock();
        letters_of(head, &query, got);
        double took_s = (double)(clock() - began) / CLOCKS_PER_SEC;
        cr_expect_str_eq(got, cases[i].want, "case %zu gave %s", i, got);
        cr_expect(took_s < 1, "case %zu took %.3f s", i, took_s); /* squared it would be minutes */
        arena_fini(&arena);
    }
    free(m);
    head_free(head);
}

Test(select, shards_and_times_narrow) {
    struct head *head = letters_head();
    char got[32];
    struct select_query query = util_query(NULL, 0);
    letters_of(head, &query, got);
    cr_expect(strcmp(got, "abcdefg") == 0);
    query.from_ms = T0 + 1;
    query.to_ms = T0 + 4;
    letters_of(head, &query, got);
    cr_expect(strcmp(got, "cde") == 0, "%s", got);
    query = util_query(NULL, 0);
    uint64_t bits = 0;
    struct shard_set shards = {&bits, UTIL_SHARDS};
    query.shards = &shards;
    letters_of(head, &query, got);
    cr_expect(strcmp(got, "") == 0);
    size_t all = 0;
    for (uint32_t shard = 0; shard < UTIL_SHARDS; shard++) {
        bits = 1ull << shard;
        letters_of(head, &query, got);
        all += strlen(got);
        for (size_t i = 0; i < strlen(got); i++)
            cr_expect(head_series_shard(head, (uint32_t)(got[i] - 'a')) == shard);
    }
    cr_expect(all == ARRAY_LEN(series_specs));
    head_free(head);
}

Test(select, limits_are_errors) {
    struct head *head = letters_head();
    struct select_query query = util_query(NULL, 0);
    struct selection *sel;
    struct err err = {0};
    bool done = false;
    query.series_max = 6;
    cr_assert(select_new(head, &query, &sel, &err) == OK);
    cr_expect(select_step(sel, 0, &done, &err) == ERR_LIMIT && !done);
    cr_expect(strcmp(err.msg, "select: more than 6 series match") == 0, "%s", err.msg);
    selection_release(sel);
    query.series_max = 7;
    selection_release(util_select(head, &query));
    query.memory_bytes_max = 100;
    cr_assert(select_new(head, &query, &sel, &err) == OK);
    cr_expect(select_step(sel, 0, &done, &err) == ERR_LIMIT && !done);
    selection_release(sel);
    head_free(head);
}

static void expect_list(const struct sv *got, size_t count, const char *want) {
    struct buf text = {0};
    for (size_t i = 0; i < count; i++)
        buf_printf(&text, "%s%.*s", i == 0 ? "" : " ", SV_ARG(got[i]));
    buf_put_char(&text, '\0');
    cr_expect(strcmp(text.ptr, want) == 0, "%s, not %s", text.ptr, want);
    buf_fini(&text);
}

Test(select, names_and_values_are_sorted_and_unique) {
    struct head *head = letters_head();
    struct arena arena;
    arena_init(&arena, 0);
    struct sv *out = NULL;
    size_t count = 0;
    struct select_query query = util_query(NULL, 0);
    cr_assert(head_label_names(head, &query, &arena, &out, &count, NULL) == OK);
    expect_list(out, count, "__name__ instance job zone");
    cr_assert(head_label_values(head, SV("job"), &query, &arena, &out, &count, NULL) == OK);
    expect_list(out, count, "a ab b ba");
    cr_assert(head_label_values(head, SV("nope"), &query, &arena, &out, &count, NULL) == OK);
    cr_expect(count == 0);
    struct matcher m = {.kind = MATCH_EQ, .name = SV("__name__"), .value = SV("down")};
    cr_assert(matcher_compile(&m, &arena, NULL) == OK);
    query = util_query(&m, 1);
    cr_assert(head_label_names(head, &query, &arena, &out, &count, NULL) == OK);
    expect_list(out, count, "__name__ instance job zone");
    cr_assert(head_label_values(head, SV("job"), &query, &arena, &out, &count, NULL) == OK);
    expect_list(out, count, "a ab");
    query.to_ms = T0 + 4;
    cr_assert(head_label_names(head, &query, &arena, &out, &count, NULL) == OK);
    expect_list(out, count, "__name__ instance job");
    query = util_query(NULL, 0);
    query.from_ms = T0 + 4;
    cr_assert(head_label_values(head, SV("job"), &query, &arena, &out, &count, NULL) == OK);
    expect_list(out, count, "ab ba");
    matcher_fini(&m);
    arena_fini(&arena);
    head_free(head);
}

/* A clock that moves by a millisecond whenever it is looked at. */
static uint64_t clock_ns;
static uint64_t fake_mono_ns(struct runtime *rt) {
    (void)rt;
    return clock_ns += 1000000;
}

struct slices_case {
    enum match_kind kind;
    const char *name, *value;
    size_t want;
    enum match_kind kind2; /* with name2 */
    const char *name2, *value2;
};

/* In each gap between slices new series come (some would match), postings and values grow, and all
 * series get samples. */
static size_t select_in_slices(struct head *head, const struct select_query *query,
                               int *next_series, size_t *slices) {
    struct selection *sel;
    bool done = false;
    uint32_t before = (uint32_t)*next_series;
    cr_assert(select_new(head, query, &sel, NULL) == OK);
    for (;;) {
        cr_assert(select_step(sel, clock_ns + 1000000, &done, NULL) == OK);
        if (done) break;
        ++*slices;
        for (int i = 0; i < 20; i++) {
            char spec[64];
            snprintf(spec, sizeof spec, "__name__=m%d,pod=p%d,kind=k%d", *next_series % 7,
                     *next_series, *next_series % 2);
            uint32_t ref = util_series(head, spec);
            cr_assert(head_append(head, ref, T0, ref) == OK);
            ++*next_series;
        }
        for (uint32_t ref = 0; ref < before; ref += 97) {
            int64_t newest_ms;
            double v;
            cr_assert(head_series_newest(head, ref, &newest_ms, &v));
            cr_assert(head_append(head, ref, newest_ms + 1000, ref) == OK);
        }
    }
    size_t count, found = 0;
    const struct series_view *views = selection_series(sel, &count);
    struct samples s = {0};
    for (size_t i = 0; i < count; i++) {
        found += views[i].ref < before;
        samples_clear(&s);
        cr_assert(series_view_read(&views[i], INT64_MIN, INT64_MAX, &s, NULL) == OK);
        cr_assert(s.count > 0 && s.times_ms[0] == T0);
        for (size_t k = 0; k < s.count; k++)
            cr_assert(s.values[k] == views[i].ref);
        struct label l[4];
        cr_assert(series_view_labels(&views[i], l, 4) == 3);
        for (size_t k = 0; k < query->matchers_count; k++)
            for (size_t j = 0; j < 3; j++)
                if (sv_eq(l[j].name, query->matchers[k].name))
                    cr_assert(matcher_match(&query->matchers[k], l[j].value));
    }
    samples_fini(&s);
    selection_release(sel);
    return found;
}

Test(select, slices_are_not_disturbed_by_appends, .timeout = 60) {
    enum { SERIES = 14000 };
    static const struct slices_case cases[] = {
        {MATCH_EQ, "kind", "k0", SERIES / 2, 0, NULL, NULL},
        {MATCH_NEQ, "kind", "k0", SERIES / 2, 0, NULL, NULL},
        {MATCH_RE, "pod", "p1.*", 5111, 0, NULL, NULL},
        {MATCH_NRE, "pod", "p1.*", SERIES - 5111, 0, NULL, NULL},
        {MATCH_RE, "pod", ".*[13579]", SERIES / 2, 0, NULL, NULL},
        {MATCH_NEQ, "nope", "x", SERIES, 0, NULL, NULL},
        {MATCH_RE, "pod", "(p1|p2|p3)", 3, 0, NULL, NULL},
        {MATCH_RE, "__name__", "m[0-2]", 6000, 0, NULL, NULL},
        {MATCH_RE, "__name__", "m[0-2]", 3000, MATCH_EQ, "kind", "k0"},
        {MATCH_EQ, "kind", "k1", 6945, MATCH_NRE, "pod", "p14.*[13579]|x"},
        {MATCH_EQ, "__name__", "m3", 1000, MATCH_RE, "pod", ".*[13579]"},
    };
    static struct runtime_ops ops = {.mono_ns = fake_mono_ns};
    static struct runtime rt = {.ops = &ops};
    static struct core core;
    core_init(&core, &rt, 0);
    core_set_current(&core);
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct head *head = util_head(0);
        int next = 0;
        for (; next < SERIES; next++) {
            char spec[64];
            snprintf(spec, sizeof spec, "__name__=m%d,pod=p%d,kind=k%d", next % 7, next, next % 2);
            cr_assert(head_append(head, util_series(head, spec), T0, next) == OK);
        }
        struct arena arena;
        arena_init(&arena, 0);
        const struct slices_case *c = &cases[i];
        struct matcher m[2] = {
            {.kind = c->kind, .name = sv_from(c->name), .value = sv_from(c->value)},
            {.kind = c->kind2, .name = sv_from(c->name2), .value = sv_from(c->value2)}};
        size_t n = c->name2 == NULL ? 1 : 2;
        for (size_t k = 0; k < n; k++)
            cr_assert(matcher_compile(&m[k], &arena, NULL) == OK);
        struct select_query query = util_query(m, n);
        size_t slices = 0, found = select_in_slices(head, &query, &next, &slices);
        cr_expect(found == c->want, "case %zu: %zu, not %zu", i, found, c->want);
        cr_expect(slices > 5 || c->want < 10, "%zu slices", slices);
        for (size_t k = 0; k < n; k++)
            matcher_fini(&m[k]);
        arena_fini(&arena);
        head_free(head);
    }
    core_set_current(NULL);
    core_fini(&core);
}

/* More names than are remembered at once, and series that are asked in turn. */
Test(select, labels_that_are_asked_for) {
    enum { SERIES = 4, OWN = 40 };
    struct head *head = util_head(0);
    for (unsigned i = 0; i < SERIES; i++) {
        char spec[OWN * 16 + 32] = "job=a";
        for (unsigned k = 0; k < OWN; k++)
            snprintf(spec + strlen(spec), 16, ",n%03u=v%u", i * OWN + k, k);
        cr_assert(head_append(head, util_series(head, spec), T0, 1) == OK);
    }
    struct sv names[] = {SV("n070"), SV("n006"), SV("n150"), SV("job")};
    struct labels_asked asked = {.names = names, .count = ARRAY_LEN(names)};
    static const char *const want[SERIES] = {"job=a n006=v6 ", "job=a n070=v30 ", "job=a ",
                                             "job=a n150=v30 "};
    struct select_query query = util_query(NULL, 0);
    struct selection *sel = util_select(head, &query);
    size_t count;
    const struct series_view *views = selection_series(sel, &count);
    cr_assert(count == SERIES);
    for (unsigned i = 0; i < 3 * SERIES; i++) {
        const struct series_view *v = &views[i % SERIES];
        struct label got[4];
        char text[80] = "";
        size_t n = series_view_labels_asked(v, &asked, got, 4);
        cr_assert(n <= 4);
        for (size_t k = 0; k < n; k++)
            snprintf(text + strlen(text), 20, "%.*s=%.*s ", SV_ARG(got[k].name),
                     SV_ARG(got[k].value));
        cr_expect_str_eq(text, want[v->ref], "series %u: %s", v->ref, text);
        cr_expect(series_view_labels_asked(v, &asked, got, 0) == n);
    }
    selection_release(sel);
    head_free(head);
}
