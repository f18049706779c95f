/* SPDX-License-Identifier: Apache-2.0 */
/* Texts made to take long: each is parsed, planned, selected, evaluated or refused within 50 ms of
 * this thread's time (much more under a sanitizer), with a status and, when refused, a text. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "node/base/attr.h"
#include "tests/query/engine/test_grammar_data.h"

#if defined(__SANITIZE_ADDRESS__)
enum { TOOK_MS_MAX = 2000 };
#else
enum { TOOK_MS_MAX = 50 };
#endif

/* before, then `middle` count times (%u: another number each), then after */
struct nasty {
    const char *before, *middle, *after;
    unsigned count;
    enum status want;
    const char *error; /* begins so */
};

static const struct nasty cases[] = {
    {"count(c{job=~\"(a+)+$\"})", "", "", 0, OK, ""},
    {"count(c{job=~\"(a|aa)+(a|aa)+b\"})", "", "", 0, OK, ""},
    {"count(c{job=~\"(.*)(.*)(.*)(.*)(.*)(.*)[^b]\"})", "", "", 0, OK, ""},
    {"count(c{job=~\"((a{1,100}){1,100}){1,100}\"})", "", "", 0, ERR_PARSE, ""},
    {"count(c{job=~\"(", "a?", ")", 0, ERR_PARSE, ""},
    {"count(c{job=~\"", "(a*)*", "\"})", 2000, OK, ""},
    {"count(c{job=~\"", "x%u|", "a\"})", 5000, OK, ""},
    {"count(c{job!~\"", "x%u.?|", "a\"})", 2000, OK, ""},
    {"count(c{job=~\"", "(", "a\"})", 100000, ERR_PARSE, ""},
    {"", "(", "c", 100000, ERR_LIMIT, "expression is nested too deeply"},
    {"", "-", "c", 100000, ERR_LIMIT, "expression is nested too deeply"},
    {"", "{", "c", 100000, ERR_PARSE, ""},
    {"", "abs(", "c", 100000, ERR_LIMIT, "expression is nested too deeply"},
    {"", "sum by (job) (", "c", 100000, ERR_LIMIT, "expression is nested too deeply"},
    {"c", "+c", "", 100000, ERR_LIMIT, "expression is nested too deeply"},
    {"1", "^2", "", 100000, ERR_LIMIT, "expression is nested too deeply"},
    {"c[", "(", "", 100000, ERR_LIMIT, "expression is nested too deeply"},
    {"c[1m", "+1m", "]", 100000, ERR_LIMIT, "expression is nested too deeply"},
    {"c", "[1m:1s]", "", 100000, ERR_LIMIT, "expression is nested too deeply"},
    {"count(c{", "a!=\"b\",", "})", 100000, OK, ""},
    {"absent(c{", "a%u=\"b\",", "})", 20000, OK, ""},
    {"count(c{", "i!~\"b+%u\",", "})", 100000, ERR_LIMIT,
     "expression has more than 2000 regular expressions"},
    {"sum by (", "a%u,", "job) (c)", 20000, OK, ""},
    {"label_replace(c, \"x\", \"", "$1$1$1$1", "\", \"job\", \"(.*)\")", 1000, OK, ""},
    {"label_join(c, \"x\", \"-\"", ", \"job\"", ")", 5000, OK, ""},
    {"count_values(\"v\", c * g)", "", "", 0, OK, ""},
    {"c offset 292y", "", "", 0, OK, ""},
    {"c offset 293y", "", "", 0, ERR_PARSE, ""},
    {"c offset -9223372036854775807", "", "", 0, ERR_PARSE, ""},
    {"c @ 9223372036854775807", "", "", 0, ERR_PARSE, ""},
    {"max_over_time(c[100y:1ms])", "", "", 0, ERR_LIMIT, "query processing would load too many"},
    {"\"", "\\x41", "\"", 20000, OK, ""},
    {"\"", "\\", "", 100000, ERR_PARSE, ""},
    {"", "# note\n", "", 20000, ERR_PARSE, ""},
};

static void text_of(const struct nasty *n, struct buf *out) {
    const char *number = strstr(n->middle, "%u");
    buf_put_sv(out, sv_from(n->before));
    for (unsigned i = 0; i < n->count; i++) {
        if (number == NULL) {
            buf_put_sv(out, sv_from(n->middle));
            continue;
        }
        buf_put(out, n->middle, (size_t)(number - n->middle));
        buf_printf(out, "%u%s", i, number + 2);
    }
    buf_put_sv(out, sv_from(n->after));
}

static double ms_now(void) {
    struct timespec ts;
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &ts);
    return (double)ts.tv_sec * 1e3 + (double)ts.tv_nsec / 1e6;
}

static int check_case(struct grammar_data *d, size_t index) {
    const struct nasty *n = &cases[index];
    struct query_params params = {.start_ms = 1800000,
                                  .end_ms = 1800000,
                                  .instant = true,
                                  .lookback_ms = 300000,
                                  .default_step_ms = 60000,
                                  .samples_max = 1000000,
                                  .memory_bytes_max = 64 << 20,
                                  .features = FEATURE_EXPERIMENTAL_FUNCTIONS};
    struct buf text = {0};
    struct grammar_run run;
    text_of(n, &text);
    double best = 1e9;
    for (int i = 0; i < 3 && best > TOOK_MS_MAX; i++) {
        double began = ms_now();
        grammar_run(d, buf_sv(&text), &params, false, &run);
        best = ms_now() - began;
        if (i < 2 && best > TOOK_MS_MAX) grammar_run_fini(&run);
    }
    bool texts = run.status == OK || run.err.msg[0] != '\0';
    bool right = run.status == n->want && texts &&
                 (run.status == OK || strncmp(run.err.msg, n->error, strlen(n->error)) == 0);
    int bad = !right || best > TOOK_MS_MAX;
    if (bad != 0)
        fprintf(stderr, "%s%s...%s: %s (%.100s), not %s; %.1f ms\n", n->before, n->middle, n->after,
                status_name(run.status), run.status == OK ? "" : run.err.msg, status_name(n->want),
                best);
    grammar_run_fini(&run);
    buf_fini(&text);
    return bad;
}

/* Five billion steps of a range query. */
static int check_steps(struct grammar_data *d) {
    struct query_params params = {.end_ms = 5000000000000, .step_ms = 1, .lookback_ms = 300000};
    struct grammar_run run;
    grammar_run(d, SV("sum(c)"), &params, false, &run);
    int bad = run.status != ERR_LIMIT || strcmp(run.err.msg, "query has too many steps") != 0;
    if (bad != 0) fprintf(stderr, "too many steps: %s\n", status_name(run.status));
    grammar_run_fini(&run);
    return bad;
}

int main(void) {
    struct grammar_data d;
    grammar_data_init(&d, 1);
    int bad = check_steps(&d);
    for (size_t i = 0; i < ARRAY_LEN(cases); i++)
        bad |= check_case(&d, i);
    grammar_data_fini(&d);
    return bad;
}
