/* SPDX-License-Identifier: Apache-2.0 */
/* Samples read at each step, counted by hand after Prometheus' rules: a sample counts in every
 * window that holds it; over a subquery its points count and not what lies below; what is the same
 * at every step counts at each. */
#include <criterion/criterion.h>
#include <stdlib.h>
#include <string.h>

#include "tests/query/engine/fixture.h"

static const char data[] = "m{a=1} 1 2 3 4\n"
                           "m{a=2} 5 _ _ 8\n"
                           "n{} 1 stale 3 4\n";

static const struct read_case {
    const char *query, *samples;
} cases[] = {
    {"m", "samples 2 2 2 2\n"}, /* the lookback spans the gap */
    {"n", "samples 1 0 1 1\n"},
    {"sum(m) + on () n", "samples 3 2 3 3\n"},
    {"count_over_time(m[2m])", "samples 2 3 2 3\n"},
    {"sum(rate(m[2m]))", "samples 2 3 2 3\n"},
    {"m @ 60", "samples 2 2 2 2\n"},
    {"sum(m) + on () (n @ 0)", "samples 3 3 3 3\n"},
    {"rate(m[2m] @ 180)", "samples 3 3 3 3\n"},
    {"max_over_time(m[2m:1m])", "samples 2 4 4 4\n"},
    {"max_over_time(sum(m)[2m:1m])", "samples 1 2 2 2\n"},
    {"absent_over_time(sum(m)[2m:1m])", "samples 1 2 2 2\n"},
    {"max_over_time(m[2m:1m] @ 180)", "samples 4 4 4 4\n"},
    {"max_over_time(max_over_time(m[2m:1m])[1m:1m])", "samples 2 2 2 2\n"},
    {"quantile_over_time(scalar(n), m[1m])", "samples 3 1 2 3\n"},
    {"absent(m)", "samples 2 2 2 2\n"},
    {"stddev(m)", "samples 2 2 2 2\n"},
    {"time()", "samples 0 0 0 0\n"},
    {"max_over_time(vector(1)[2m:1m])", "samples 2 2 2 2\n"},
};

static void check(const char *query, int64_t start_ms, int64_t step_ms, const char *want) {
    for (unsigned sources = 1; sources <= 3; sources++) {
        struct ask ask = {.query = query,
                          .start_ms = start_ms,
                          .end_ms = 180000,
                          .step_ms = step_ms,
                          .sources = sources,
                          .features = FEATURE_PER_STEP_STATS};
        struct fixture f;
        fixture_init(&f);
        fixture_load(&f, 60000, data);
        char *got = fixture_run(&f, &ask);
        const char *line = strstr(got, "samples ");
        cr_expect(line != NULL && strncmp(line, want, strlen(want)) == 0, "%s of %u: %s", query,
                  sources, got);
        free(got);
        fixture_fini(&f);
    }
}

Test(reads, are_counted_at_each_step) {
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
        check(cases[i].query, 0, 60000, cases[i].samples);
}

Test(reads, of_an_instant_query) {
    check("m", 180000, 0, "samples 2\n");
    check("m[3m]", 180000, 0, "samples 4\n");
    check("m[2m:1m]", 180000, 0, "samples 4\n");
    check("sum(m)[2m:1m]", 180000, 0, "samples 4\n"); /* two series at two times */
}

/* The sum of 1e308 is asked for a second time, as vectors: what the first round read is no part of
 * the answer. */
Test(reads, of_a_fragment_that_is_asked_again_count_once) {
    struct fixture f;
    fixture_init(&f);
    fixture_load(&f, 60000, "big{a=1} 1e308\nbig{a=2} 1e308\nbig{a=3} -1e308\n");
    struct ask ask = {.query = "sum(big)", .features = FEATURE_PER_STEP_STATS};
    char *got = fixture_run(&f, &ask);
    cr_expect(strstr(got, "samples 3\n") != NULL, "%s", got);
    free(got);
    fixture_fini(&f);
}
