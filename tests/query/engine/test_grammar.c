/* SPDX-License-Identifier: Apache-2.0 */
/* Random queries over the whole grammar (gen_query.h) and data with edges (test_grammar_data.h):
 *   - a query ends well or with a status that a query may have, and with a text;
 *   - printed and parsed again, it prints the same;
 *   - series dealt to 1 to 8 sources in any way give what one source gives, to the bit;
 *   - a step of a range query is the instant query at that time;
 *   - damaged text is parsed without harm.
 * With the default seeds each function, aggregation and operator must have given a result.
 *
 *   test_grammar [--seeds=N] [--first=SEED | --random] */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "node/base/attr.h"
#include "node/base/num.h"
#include "node/base/rng.h"
#include "query/promql/functions.h"
#include "query/promql/parser.h"
#include "query/promql/printer.h"
#include "tests/query/engine/gen_query.h"
#include "tests/query/engine/test_grammar_data.h"

enum { FEATURES = FEATURE_EXPERIMENTAL_FUNCTIONS | FEATURE_FILL | FEATURE_EXTENDED_RANGES };

struct tally {
    uint64_t queries, ok, parse, exec, limit, steps;
    uint64_t functions[FN_COUNT], aggregates[AGG_OP_COUNT], operators[OP_COUNT];
};

struct test {
    struct grammar_data data;
    struct tally tally;
    uint64_t seed;
    struct buf text; /* of the query */
};

static int fail(const struct test *t, const char *what, const char *a, const char *b) {
    fprintf(stderr, "--seeds=1 --first=%llu: %s\nquery: %.*s\n  %s\n  %s\n",
            (unsigned long long)t->seed, what, (int)t->text.len, t->text.ptr, a, b);
    return 1;
}

/* -- results */

static void series_text(const struct result_series *s, struct buf *out) {
    buf_clear(out);
    label_list_print_braces(s->labels, s->labels_count, out);
    for (size_t i = 0; i < s->points_count && i < 40; i++) {
        buf_printf(out, " %lld=", (long long)s->points[i].time_ms);
        num_put_f64(out, s->points[i].value, 'g');
    }
    buf_put_char(out, '\0');
}

/* 0: the same bits, 1: the same but for rounding, 2: different */
static int value_differs(double a, double b) {
    if (memcmp(&a, &b, sizeof a) == 0 || (isnan(a) && isnan(b))) return 0;
    if (a == b) return signbit(a) == signbit(b) ? 0 : 1;
    return fabs(a - b) <= 1e-9 * fmax(fabs(a), fabs(b)) ? 1 : 2;
}

static int series_differ(const struct result_series *a, const struct result_series *b) {
    if (label_list_cmp(a->labels, a->labels_count, b->labels, b->labels_count) != 0) return 2;
    if (a->points_count != b->points_count) return 2;
    int worst = 0;
    for (size_t i = 0; i < a->points_count; i++) {
        if (a->points[i].time_ms != b->points[i].time_ms) return 2;
        worst = MAX(worst, value_differs(a->points[i].value, b->points[i].value));
    }
    return worst;
}

static int results_differ(const struct result *a, const struct result *b, struct buf *x,
                          struct buf *y) {
    buf_clear(x);
    buf_clear(y);
    buf_printf(x, "type %d, %zu series%c", (int)a->type, a->series_count, 0);
    buf_printf(y, "type %d, %zu series%c", (int)b->type, b->series_count, 0);
    if (a->type != b->type || a->series_count != b->series_count) return 2;
    int worst = a->type == VALUE_SCALAR ? value_differs(a->scalar, b->scalar) : 0;
    if (a->type == VALUE_STRING && !sv_eq(a->string, b->string)) return 2;
    for (size_t i = 0; i < a->series_count; i++) {
        int how = series_differ(&a->series[i], &b->series[i]);
        if (how > worst) {
            worst = how;
            series_text(&a->series[i], x);
            series_text(&b->series[i], y);
        }
    }
    return worst;
}

/* Which series or step is the first depends on the source; what it is about does not. */
static bool texts_same(const char *a, const char *b) {
    const char *got = strstr(a, "got");
    return got == NULL ? strcmp(a, b) == 0 : strncmp(a, b, (size_t)(got - a)) == 0;
}

static int notes_differ(char **a, size_t a_count, char **b, size_t b_count, const char **x,
                        const char **y) {
    for (size_t i = 0; i < MAX(a_count, b_count); i++) {
        *x = i < a_count ? a[i] : "(none)";
        *y = i < b_count ? b[i] : "(none)";
        if (!texts_same(*x, *y)) return 1;
    }
    return 0;
}

/* -- checks */

static int check_status(struct test *t, const struct grammar_run *run) {
    struct tally *n = &t->tally;
    n->queries++;
    if (run->status != OK && run->err.msg[0] == '\0') return fail(t, "no error text", "", "");
    switch ((int)run->status) {
    case OK: n->ok++; return 0;
    case ERR_PARSE: n->parse++; return 0;
    case ERR_EXEC: n->exec++; return 0;
    case ERR_LIMIT: n->limit++; return 0;
    default: return fail(t, "unexpected status", status_name(run->status), run->err.msg);
    }
}

static int check_split(struct test *t, const struct grammar_run *one,
                       const struct query_params *params) {
    struct grammar_run several;
    struct buf x = {0}, y = {0};
    const char *a = one->err.msg, *b;
    grammar_run(&t->data, buf_sv(&t->text), params, true, &several);
    b = several.err.msg;
    int bad = 0;
    bool limited = one->status == ERR_LIMIT || several.status == ERR_LIMIT;
    if (!limited && (one->status != several.status || !texts_same(a, b))) {
        bad = fail(t, "several sources end in another way", a, b);
    } else if (one->status == OK && several.status == OK) {
        int how = results_differ(&one->result, &several.result, &x, &y);
        if (how == 1) bad = fail(t, "several sources round otherwise", x.ptr, y.ptr);
        if (how == 2) bad = fail(t, "several sources give another result", x.ptr, y.ptr);
        const struct result *r = &one->result, *s = &several.result;
        if (bad == 0 &&
            (notes_differ(r->warnings, r->warnings_count, s->warnings, s->warnings_count, &a, &b) ||
             notes_differ(r->infos, r->infos_count, s->infos, s->infos_count, &a, &b)))
            bad = fail(t, "several sources give other annotations", a, b);
    }
    grammar_run_fini(&several);
    buf_fini(&x);
    buf_fini(&y);
    return bad;
}

static const struct result_point *point_at(const struct result *range, const struct label *labels,
                                           size_t count, int64_t time_ms) {
    for (size_t i = 0; i < range->series_count; i++) {
        const struct result_series *s = &range->series[i];
        if (label_list_cmp(s->labels, s->labels_count, labels, count) != 0) continue;
        for (size_t k = 0; k < s->points_count; k++)
            if (s->points[k].time_ms == time_ms) return &s->points[k];
        return NULL;
    }
    return NULL;
}

static size_t points_at(const struct result *range, int64_t time_ms) {
    size_t count = 0;
    for (size_t i = 0; i < range->series_count; i++)
        for (size_t k = 0; k < range->series[i].points_count; k++)
            count += range->series[i].points[k].time_ms == time_ms;
    return count;
}

static int compare_step(struct test *t, const struct result *range, const struct result *now,
                        int64_t time_ms) {
    char at[40], text[80];
    snprintf(at, sizeof at, "at %lld ms", (long long)time_ms);
    if (now->type == VALUE_SCALAR) {
        const struct result_point *p = point_at(range, NULL, 0, time_ms);
        bool same = p != NULL && value_differs(p->value, now->scalar) < 2;
        return same ? 0 : fail(t, "a step differs from the instant scalar", at, "");
    }
    size_t want = points_at(range, time_ms);
    snprintf(text, sizeof text, "%zu points, instant query: %zu", want, now->series_count);
    if (want != now->series_count) return fail(t, "a step has other series", at, text);
    for (size_t i = 0; i < now->series_count; i++) {
        const struct result_series *s = &now->series[i];
        const struct result_point *p = point_at(range, s->labels, s->labels_count, time_ms);
        if (p != NULL && value_differs(p->value, s->points[0].value) < 2) continue;
        struct buf b = {0};
        series_text(s, &b);
        snprintf(text, sizeof text, "%s: %.17g", at, p == NULL ? (double)NAN : p->value);
        fail(t, "a step differs from the instant query", text, b.ptr);
        buf_fini(&b);
        return 1;
    }
    return 0;
}

/* Three of the steps. What a range query refuses, one of its steps may answer, but not the other
 * way round. */
static int check_steps(struct test *t, const struct grammar_run *range, struct rng *rng) {
    struct query_params params = *query_params(range->q);
    int64_t start = params.start_ms, step = params.step_ms;
    uint64_t count = (uint64_t)((params.end_ms - start) / step) + 1;
    int bad = 0;
    for (int i = 0; i < 3 && bad == 0; i++) {
        struct grammar_run now;
        int64_t at = start + (int64_t)rng_below(rng, count) * step;
        params.instant = true;
        params.step_ms = 0;
        params.start_ms = params.end_ms = at;
        grammar_run(&t->data, buf_sv(&t->text), &params, false, &now);
        if (now.status == OK)
            bad = compare_step(t, &range->result, &now.result, at);
        else
            bad = fail(t, "the instant query at a step fails", now.err.msg, "");
        t->tally.steps++;
        grammar_run_fini(&now);
    }
    return bad;
}

/* Inf is printed as +Inf, which in front of ^ is read as a sign over the power: so in Prometheus.
 */
static bool prints_signed_power(struct sv text) {
    size_t at;
    return sv_find(text, SV("+Inf ^"), &at);
}

static int check_printing(struct test *t, const struct promql_options *options) {
    struct arena arena;
    struct buf once = {0}, twice = {0};
    struct expr *e = NULL;
    struct err err = {0};
    arena_init(&arena, 0);
    int bad = 0;
    if (promql_parse(buf_sv(&t->text), options, &arena, &e, NULL) == OK) {
        promql_print(e, &once);
        promql_free(e);
        bool signed_power = prints_signed_power(buf_sv(&once));
        if (promql_parse(buf_sv(&once), options, &arena, &e, &err) != OK) {
            buf_put_char(&once, '\0');
            bad = fail(t, "what is printed does not parse", once.ptr, err.msg);
        } else {
            promql_print(e, &twice);
            promql_free(e);
            bool same = sv_eq(buf_sv(&once), buf_sv(&twice));
            buf_put_char(&once, '\0');
            buf_put_char(&twice, '\0');
            if (!same && !signed_power)
                bad = fail(t, "printing is no fixed point", once.ptr, twice.ptr);
        }
    }
    buf_fini(&once);
    buf_fini(&twice);
    arena_fini(&arena);
    return bad;
}

static void count_nodes(struct tally *n, const struct expr *e) {
    if (e->kind == EXPR_CALL) n->functions[e->u.function->id]++;
    if (e->kind == EXPR_AGGREGATE) n->aggregates[e->u.aggregate.op]++;
    if (e->kind == EXPR_BINARY) n->operators[e->u.binary.op]++;
    for (size_t i = 0; i < e->children_count; i++)
        count_nodes(n, e->children[i]);
}

/* -- one seed */

static struct query_params params_of(struct rng *rng, bool instant, uint32_t features) {
    static const int64_t step_ms[] = {15000, 30000, 60000, 61000, 300000, 1000};
    struct query_params p = {
        .lookback_ms = 300000,
        .default_step_ms = 60000,
        .samples_max = 300000,
        .memory_bytes_max = 32 << 20,
        .features = features,
        .instant = instant,
    };
    p.start_ms = p.end_ms = (int64_t)rng_below(rng, GRAMMAR_END_MS + 400000);
    if (instant) return p;
    p.step_ms = step_ms[rng_below(rng, ARRAY_LEN(step_ms))];
    p.end_ms = p.start_ms + (int64_t)rng_below(rng, 25) * p.step_ms;
    return p;
}

static int check_query(struct test *t, const struct query_params *params, struct rng *rng,
                       bool steps) {
    struct grammar_run one;
    struct promql_options options = {.features = params->features};
    int bad = check_printing(t, &options);
    if (bad != 0) return bad;
    grammar_run(&t->data, buf_sv(&t->text), params, false, &one);
    bad = check_status(t, &one);
    if (bad == 0) bad = check_split(t, &one, params);
    if (bad == 0 && one.status == OK) count_nodes(&t->tally, query_root(one.q));
    if (bad == 0 && one.status == OK && steps && !params->instant) bad = check_steps(t, &one, rng);
    grammar_run_fini(&one);
    return bad;
}

static int check_seed(struct test *t) {
    struct rng rng;
    rng_init(&rng, t->seed);
    bool delayed = rng_below(&rng, 8) == 0, instant = rng_below(&rng, 3) == 0;
    struct gen_options options = {
        .depth_max = 1 + (unsigned)rng_below(&rng, 7),
        .wild = rng_below(&rng, 12) == 0 ? 0.1 : 0,
        .instant = instant,
        .same_at_any_grid = rng_below(&rng, 4) != 0,
    };
    uint32_t features = FEATURES | (delayed ? FEATURE_DELAYED_NAME_REMOVAL : 0);
    struct query_params params = params_of(&rng, instant, features);
    buf_clear(&t->text);
    gen_query(t->seed, &options, &t->text);
    grammar_data_deal(&t->data, t->seed);
    int bad = check_query(t, &params, &rng, options.same_at_any_grid && !delayed);
    if (bad != 0 || rng_below(&rng, 4) != 0) return bad;
    struct buf damaged = {0}, whole = t->text;
    gen_damage(t->seed, buf_sv(&whole), &damaged);
    t->text = damaged;
    bad = check_query(t, &params, &rng, false);
    buf_fini(&damaged);
    t->text = whole;
    return bad;
}

/* Some never give a result: their names say what is missing. */
static int check_coverage(const struct tally *n) {
    int bad = 0;
    for (size_t i = 0; i < FN_COUNT; i++) {
        bool folded = i == FN_START || i == FN_END || i == FN_RANGE || i == FN_STEP;
        if (n->functions[i] > 0 || folded) continue;
        bad = 1;
        fprintf(stderr, "%s never gave a result\n", functions[i].name);
    }
    for (int i = 0; i < AGG_OP_COUNT; i++) {
        if (n->aggregates[i] > 0) continue;
        bad = 1;
        fprintf(stderr, "%s never gave a result\n", aggregate_op_text((enum aggregate_op)i));
    }
    for (int i = 0; i < OP_COUNT; i++) {
        if (n->operators[i] > 0) continue;
        bad = 1;
        fprintf(stderr, "%s never gave a result\n", binary_op_text((enum binary_op)i));
    }
    return bad;
}

int main(int argc, char **argv) {
    uint64_t seeds = 4000, first = 1, i = 0;
    for (int a = 1; a < argc; a++) {
        if (strncmp(argv[a], "--seeds=", 8) == 0) seeds = strtoull(argv[a] + 8, NULL, 10);
        if (strncmp(argv[a], "--first=", 8) == 0) first = strtoull(argv[a] + 8, NULL, 10);
        if (strcmp(argv[a], "--random") == 0) first = (uint64_t)time(NULL) << 20;
    }
    struct test t = {0};
    int bad = 0;
    printf("first seed %llu\n", (unsigned long long)first);
    grammar_data_init(&t.data, 1);
    for (; i < seeds && bad == 0; i++) {
        t.seed = first + i;
        bad = check_seed(&t);
    }
    const struct tally *n = &t.tally;
    printf("%llu queries: %llu ok, %llu parse, %llu exec, %llu limit; %llu steps compared\n",
           (unsigned long long)n->queries, (unsigned long long)n->ok, (unsigned long long)n->parse,
           (unsigned long long)n->exec, (unsigned long long)n->limit, (unsigned long long)n->steps);
    if (bad == 0 && seeds >= 4000) bad = check_coverage(n);
    grammar_data_fini(&t.data);
    buf_fini(&t.text);
    return bad;
}
