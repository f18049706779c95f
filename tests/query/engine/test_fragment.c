/* SPDX-License-Identifier: Apache-2.0 */
/* Fragments and partials as bytes: what comes back is what was sent, and damaged bytes are refused.
 */
#include <criterion/criterion.h>
#include <stdlib.h>
#include <string.h>

#include "tests/query/engine/fixture.h"

static const char data[] =
    "m{a=x,b=1} 1 2 3 4\nm{a=x,b=2} 5 NaN _ 7\nm{a=y,b=1} 0.1 stale 0.3 0.4\n";

struct sent {
    struct fixture f;
    struct query *q;
    struct plan *plan;
    const struct fragment *fragment;
    struct partial *partial;
    struct buf bytes;
};

static void send_with(struct sent *s, const char *text, uint32_t features) {
    struct err err = {0};
    struct ask ask = {.query = text, .start_ms = 0, .end_ms = 180000, .step_ms = 60000};
    if (text[strlen(text) - 1] == ']') ask = (struct ask){.query = text, .start_ms = 180000};
    ask.features = features;
    struct query_params params = ask_params(&ask);
    fixture_init(&s->f);
    fixture_load(&s->f, 60000, data);
    cr_assert_eq(query_new(sv_from(text), &params, &s->q, &err), OK, "%s", err.msg);
    cr_assert_eq(mem_source_select(&s->f.all, s->q), OK);
    cr_assert_eq(plan_new(s->q, &s->plan, &err), OK, "%s", err.msg);
    cr_assert_eq(plan_round(s->plan, &s->fragment, 1), 1);
    cr_assert_eq(fragment_run(s->q, s->fragment, &s->f.all.source, NULL, &s->partial, &err), OK,
                 "%s", err.msg);
    status_ignore(partial_put(s->partial, NULL, &s->bytes, NULL));
    cr_assert(!s->bytes.failed);
}

static void send(struct sent *s, const char *text) {
    send_with(s, text, 0);
}

static void done(struct sent *s) {
    partial_free(s->partial);
    plan_free(s->plan);
    query_unref(s->q);
    buf_fini(&s->bytes);
    fixture_fini(&s->f);
}

static const char *const queries[] = {
    "m",
    "sum by (a) (m)",
    "avg(rate(m[2m]))",
    "count without (b) (m)",
    "topk(2, m)",
    "min(m)",
    "group(m)",
    "m[3m]",
    "quantile_over_time(3, m[2m])",
    "sum({a=\"x\"} * 2)",
    "absent(m)",
    "bottomk by (a) (1, m)",
    "count_values without (b) (\"v\", m)",
};

Test(fragment, partials_survive_the_wire) {
    for (size_t i = 0; i < 2 * (sizeof queries / sizeof *queries); i++) {
        struct sent s = {0};
        send_with(&s, queries[i / 2], i % 2 == 0 ? 0 : FEATURE_PER_STEP_STATS);
        struct partial *back = NULL;
        struct err err = {0};
        cr_assert_eq(partial_get(&(struct partial_bytes){s.q, s.fragment, buf_sv(&s.bytes)}, NULL,
                                 &back, &err),
                     OK, "%s: %s", queries[i / 2], err.msg);
        cr_assert_eq(partial_rows(back), partial_rows(s.partial));
        cr_assert_gt(partial_rows(back), 0, "%s", queries[i / 2]);
        struct buf again = {0};
        status_ignore(partial_put(back, NULL, &again, NULL));
        cr_assert_eq(again.len, s.bytes.len, "%s", queries[i / 2]);
        cr_assert_eq(memcmp(again.ptr, s.bytes.ptr, again.len), 0, "%s", queries[i / 2]);
        buf_fini(&again);
        partial_free(back);
        done(&s);
    }
}

Test(fragment, every_truncation_is_refused) {
    for (size_t i = 0; i < 2 * (sizeof queries / sizeof *queries); i++) {
        struct sent s = {0};
        send_with(&s, queries[i / 2], i % 2 == 0 ? 0 : FEATURE_PER_STEP_STATS);
        for (size_t n = 0; n < s.bytes.len; n++) {
            struct partial *back = NULL;
            struct err err = {0};
            enum status st =
                partial_get(&(struct partial_bytes){s.q, s.fragment, sv_make(s.bytes.ptr, n)}, NULL,
                            &back, &err);
            cr_assert_eq(st, ERR_CORRUPT, "%s cut to %zu of %zu bytes", queries[i / 2], n,
                         s.bytes.len);
        }
        done(&s);
    }
}

Test(fragment, counts_of_steps_that_do_not_add_up_are_refused) {
    struct sent s = {0};
    send_with(&s, "sum(m)", FEATURE_PER_STEP_STATS);
    struct partial *back = NULL;
    struct err err;
    /* version, kind, number, steps, flags, read, peak, read at the first step */
    cr_assert_eq(s.bytes.ptr[0], 2);
    cr_assert_eq(s.bytes.ptr[3], 4);
    s.bytes.ptr[7]++;
    cr_assert_eq(
        partial_get(&(struct partial_bytes){s.q, s.fragment, buf_sv(&s.bytes)}, NULL, &back, &err),
        ERR_CORRUPT);
    done(&s);
}

Test(fragment, an_answer_to_another_fragment_is_refused) {
    struct sent a = {0}, b = {0};
    send(&a, "sum(m)");
    send(&b, "sum(m) + sum(m)");
    struct partial *back = NULL;
    struct err err;
    cr_assert_eq(
        partial_get(&(struct partial_bytes){b.q, b.fragment, buf_sv(&a.bytes)}, NULL, &back, &err),
        ERR_CORRUPT);
    done(&a);
    done(&b);
}

Test(fragment, fragments_survive_the_wire_and_name_their_selector) {
    struct sent s = {0};
    send(&s, "vector(1) + on() group_right sum by (a) (m)");
    struct buf bytes = {0};
    fragment_put(s.fragment, &bytes);
    struct fragment got;
    struct err err;
    cr_assert_eq(fragment_get(buf_sv(&bytes), &got, &err), OK);
    cr_assert_eq(got.number, s.fragment->number);
    cr_assert_eq(got.kind, FRAGMENT_PARTIAL);
    cr_assert_eq(got.start_ms, 0);
    cr_assert_eq(got.end_ms, 180000);
    uint32_t leaves[4];
    cr_assert_eq(fragment_leaves(s.q, &got, leaves, 4), 1);
    cr_assert_eq(leaves[0], 0);
    fragment_fini(&got);
    for (size_t n = 0; n < bytes.len; n++)
        cr_assert_eq(fragment_get(sv_make(bytes.ptr, n), &got, &err), ERR_CORRUPT);
    buf_fini(&bytes);
    done(&s);
}

Test(fragment, what_is_not_evaluated_per_series_is_refused) {
    struct sent s = {0};
    send(&s, "m + on(a, b) m");
    struct fragment f = {
        .kind = FRAGMENT_VECTORS, .number = 0, .start_ms = 0, .end_ms = 0, .step_ms = 1};
    struct partial *p = NULL;
    struct err err;
    cr_assert_eq(fragment_run(s.q, &f, &s.f.all.source, NULL, &p, &err), ERR_CORRUPT);
    f.number = 999;
    cr_assert_eq(fragment_run(s.q, &f, &s.f.all.source, NULL, &p, &err), ERR_CORRUPT);
    done(&s);
}

Test(fragment, a_missing_bound_input_is_an_error) {
    struct sent s = {0};
    send(&s, "m * scalar(m)");
    struct fragment f = {
        .kind = FRAGMENT_VECTORS, .number = 0, .start_ms = 0, .end_ms = 0, .step_ms = 1};
    struct partial *p = NULL;
    struct err err;
    cr_assert_eq(fragment_run(s.q, &f, &s.f.all.source, NULL, &p, &err), ERR_CORRUPT);
    done(&s);
}

Test(fragment, selectors_tell_their_range) {
    struct err err;
    struct query *q = NULL;
    struct ask ask = {
        .query =
            "m + on(a,b) rate(m[2m] offset 1m) + on(a,b) max_over_time(m[10m:1m]) + on(a,b) m @ 7",
        .start_ms = 600000,
        .end_ms = 660000,
        .step_ms = 60000};
    struct query_params params = ask_params(&ask);
    cr_assert_eq(query_new(sv_from(ask.query), &params, &q, &err), OK, "%s", err.msg);
    size_t n;
    const struct query_leaf *leaves = query_leaves(q, &n);
    cr_assert_eq(n, 4);
    cr_assert_eq(leaves[0].from_ms, 300000);
    cr_assert_eq(leaves[0].to_ms, 660000);
    cr_assert_eq(leaves[1].from_ms, 420000);
    cr_assert_eq(leaves[1].to_ms, 600000);
    cr_assert_eq(leaves[2].from_ms, 60000 - 300000); /* the first step after 0 is 60 s */
    cr_assert_eq(leaves[2].to_ms, 660000);
    cr_assert_eq(leaves[3].from_ms, 7000 - 300000);
    cr_assert_eq(leaves[3].to_ms, 7000);
    query_unref(q);
}

/* By the sentence in engine.h: groups, one pass, no labels made. */
Test(fragment, light_is_what_costs_hardly_more_than_reading) {
    static const struct {
        const char *query;
        bool light;
    } cases[] = {
        {"sum by (a) (rate(m[2m]))", true},
        {"count(m)", true},
        {"max without (a) (clamp_max(-abs(m) * 8, 100))", true},
        {"avg(max_over_time(m[2m] offset 1m))", true},
        {"m", false},
        {"rate(m[2m])", false},
        {"topk(2, m)", false},
        {"quantile(0.5, m)", false},
        {"sum(quantile_over_time(0.5, m[2m]))", false},
        {"sum(deriv(m[2m]))", false},
        {"sum(rate(m[2m])) by (a) + 1", true}, /* the fragment is the sum */
        {"sum(max_over_time(rate(m[1m])[2m:1m]))", false},
        {"sum(label_replace(m, \"c\", \"$1\", \"a\", \"(.*)\"))", false},
        {"sum(------abs(-abs(-m)))", false}, /* too many at once */
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct sent s = {0};
        send(&s, cases[i].query);
        cr_expect_eq(fragment_is_light(s.q, s.fragment), cases[i].light, "%s", cases[i].query);
        done(&s);
    }
}
