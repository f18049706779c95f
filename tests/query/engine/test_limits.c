/* SPDX-License-Identifier: Apache-2.0 */
/* Limits and stop conditions, with Prometheus' texts. */
#include <criterion/criterion.h>
#include <stdlib.h>
#include <string.h>

#include "tests/query/engine/fixture.h"

static const char data[] = "m{a=1} 1 2 3 4 5 6 7 8 9 10\nm{a=2} 1 2 3 4 5 6 7 8 9 10\n";

static void check(const struct ask *ask, const char *want_prefix) {
    struct fixture f;
    fixture_init(&f);
    fixture_load(&f, 60000, data);
    char *got = fixture_run(&f, ask);
    cr_expect_eq(strncmp(got, want_prefix, strlen(want_prefix)), 0, "%s: %s", ask->query, got);
    free(got);
    fixture_fini(&f);
}

Test(limits, too_many_samples) {
    static const char text[] =
        "error limit: query processing would load too many samples into memory in query execution";
    struct ask ask = {
        .query = "m", .end_ms = 540000, .step_ms = 60000, .samples_max = 15, .sources = 1};
    check(&ask, text);
    ask.samples_max = 40;
    check(&ask, "{__name__=\"m\", a=\"1\"}");
    /* groups are what is held, not their series */
    ask.query = "sum(m)";
    ask.samples_max = 20;
    check(&ask, "{} 0=2");
    ask.query = "m[100y:1ms]";
    ask.step_ms = 0;
    check(&ask, text);
}

/* Two cores of a node evaluate at once: the limit is for both. */
Test(limits, parts_share_them) {
    struct fixture f;
    fixture_init(&f);
    fixture_load(&f, 60000, data);
    struct ask ask = {
        .query = "m", .end_ms = 540000, .step_ms = 60000, .samples_max = 35, .sources = 1};
    for (int by_memory = 0; by_memory < 2; by_memory++) {
        struct query_params params = ask_params(&ask);
        struct query *q = NULL;
        struct plan *plan = NULL;
        const struct fragment *fragment;
        struct err err = {0};
        struct query_control control = {0};
        struct partial *one = NULL, *two = NULL;
        if (by_memory) {
            params.samples_max = 0;
            params.memory_bytes_max = 1 << 20;
            control.held_bytes = (1 << 20) - 1000; /* of another part */
        }
        cr_assert_eq(query_new(sv_from(ask.query), &params, &q, &err), OK);
        cr_assert_eq(mem_source_select(&f.all, q), OK);
        cr_assert_eq(plan_new(q, &plan, &err), OK);
        cr_assert_eq(plan_round(plan, &fragment, 1), 1);
        enum status st = fragment_run(q, fragment, &f.all.source, &control, &one, &err);
        cr_expect_eq(st, by_memory ? ERR_LIMIT : OK, "%s", err.msg);
        if (!by_memory)
            cr_expect_eq(fragment_run(q, fragment, &f.all.source, &control, &two, &err), ERR_LIMIT);
        partial_free(one);
        plan_free(plan);
        query_unref(q);
    }
    fixture_fini(&f);
}

Test(limits, memory) {
    struct ask ask = {.query = "m", .end_ms = 600000, .step_ms = 1, .memory_bytes_max = 64 << 10};
    check(&ask, "error limit: query evaluation would use more than 65536 bytes of memory");
}

Test(limits, types_of_range_queries) {
    struct ask ask = {.query = "m[5m]", .end_ms = 60000, .step_ms = 60000};
    check(&ask, "error parse: invalid expression type \"range vector\" for range query, must be "
                "Scalar or instant Vector");
    ask.query = "\"a\"";
    check(&ask, "error parse: invalid expression type \"string\" for range query, must be Scalar "
                "or instant Vector");
}

static uint64_t late(void *ctx) {
    (void)ctx;
    return 100;
}

static enum status run_stopped(struct query_control *control, struct err *err) {
    struct fixture f;
    fixture_init(&f);
    fixture_load(&f, 60000, data);
    struct ask ask = {.query = "sum(rate(m[5m]))", .start_ms = 540000};
    struct query_params params = ask_params(&ask);
    struct query *q = NULL;
    struct plan *plan = NULL;
    struct partial *p = NULL;
    const struct fragment *fragment;
    cr_assert_eq(query_new(sv_from(ask.query), &params, &q, err), OK);
    cr_assert_eq(mem_source_select(&f.all, q), OK);
    cr_assert_eq(plan_new(q, &plan, err), OK);
    cr_assert_eq(plan_round(plan, &fragment, 1), 1);
    enum status st = fragment_run(q, fragment, &f.all.source, control, &p, err);
    partial_free(p);
    plan_free(plan);
    query_unref(q);
    fixture_fini(&f);
    return st;
}

Test(limits, cancel_and_deadline) {
    struct err err = {0};
    struct query_control control = {.canceled = true};
    cr_assert_eq(run_stopped(&control, &err), ERR_CANCELED);
    cr_assert_str_eq(err.msg, "query was canceled in expression evaluation");
    control = (struct query_control){.deadline_ns = 100, .mono_ns = late};
    cr_assert_eq(run_stopped(&control, &err), ERR_TIMEOUT);
    cr_assert_str_eq(err.msg, "query timed out in expression evaluation");
    control.deadline_ns = 101;
    cr_assert_eq(run_stopped(&control, &err), OK);
}
