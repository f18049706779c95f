/* SPDX-License-Identifier: Apache-2.0 */
/* node/ctl/promqltest.h: the language of Prometheus' PromQL tests (promql/promqltest of 3.14): load
 * series, evaluate queries, compare. Queries go through the engine's fragments, encoded partials
 * and plan, with the series dealt over any number of sources.
 *
 *   file -> lines -> commands (load, clear, eval) -> dataset | eval_cmd -> queries -> verdict
 *
 * Native histograms are read and loaded, but not evaluated: an eval that touches one is skipped.
 * Memory: what a command parses lives in the arena it is given; texts borrow from the file. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include "node/base/arena.h"
#include "node/base/buf.h"
#include "node/base/regex.h"
#include "node/base/rng.h"
#include "node/base/status.h"
#include "node/base/sv.h"
#include "query/engine/mem_source.h"

enum {
    TEST_ITEMS_MAX = 1 << 20, /* of a line */
    TEST_EXPECTS_MAX = 32,    /* of a kind, of an eval */
    TEST_SOURCES_MAX = 64,
};

/* -- promqltest_series.c: a metric and its sequence of values */
enum item_kind { ITEM_NONE, ITEM_FLOAT, ITEM_HISTOGRAM, ITEM_START };
struct item {
    enum item_kind kind;
    double value;      /* ITEM_FLOAT */
    int64_t offset_ms; /* ITEM_START: of a start timestamp, from its sample's time */
};
struct series_line {
    struct label *labels; /* sorted by name */
    size_t labels_count;
    struct item *items;
    size_t items_count;
    bool is_starts;      /* metric@st: the items are ITEM_START and ITEM_NONE */
    bool has_histograms; /* there is an ITEM_HISTOGRAM */
};
enum status series_line_parse(struct sv text, struct arena *arena, struct series_line *out,
                              struct err *err) MUST_USE;
bool test_number(struct sv text, double *out);   /* Go's ParseInt of base 0, else ParseFloat */
bool test_time_ms(struct sv text, int64_t *out); /* a duration or seconds, signed */

/* -- promqltest_histogram.c: {{schema:1 sum:2 count:3 buckets:[1 2]}} at the head of *rest. */
struct histogram_literal {
    int64_t schema; /* HISTOGRAM_SCHEMA_CUSTOM: custom bucket bounds */
};
enum { HISTOGRAM_SCHEMA_CUSTOM = -53 };
enum status histogram_literal_parse(struct sv *rest, struct histogram_literal *out,
                                    struct err *err) MUST_USE;

/* -- promqltest_data.c: what was loaded, over the sources that answer */
struct histogram_times { /* of the histogram samples of a series: the engine gets floats only */
    struct mem_series *series;
    int64_t *times_ms;
    size_t count, cap;
};
struct dataset {
    struct mem_source all;
    struct mem_source views[TEST_SOURCES_MAX];
    const struct source *sources[TEST_SOURCES_MAX];
    unsigned sources_count;
    struct histogram_times *histograms;
    size_t histograms_count, histograms_cap;
    struct rng rng;
};
void dataset_init(struct dataset *d, unsigned sources_count, uint64_t seed);
void dataset_clear(
    struct dataset *d); /* drops the series; new ones are dealt on with the same rng */
void dataset_fini(struct dataset *d);
/* One load command: sample i at i * step. Series given twice: the last wins. with_nhcb: classic
 * histograms are also native ones with custom buckets. */
enum status dataset_load(struct dataset *d, const struct series_line *lines, size_t count,
                         int64_t step_ms, bool with_nhcb, struct err *err) MUST_USE;
enum status dataset_select(struct dataset *d, const struct query *q) MUST_USE;
/* After dataset_select: does a selector of q read a histogram? */
bool dataset_touches_histograms(const struct dataset *d, const struct query *q);

/* -- promqltest_eval.c: eval and expect lines */
struct lines {
    struct sv *items; /* trimmed; comments are empty */
    size_t count;
};
struct expectation {
    enum { EXPECT_ANY, EXPECT_TEXT, EXPECT_REGEX } kind;
    struct sv text;
    struct regex *regex;
};
struct expectations {
    struct expectation items[TEST_EXPECTS_MAX];
    size_t count;
};
struct eval_cmd {
    size_t line; /* index */
    struct sv query;
    bool instant;
    int64_t start_ms, end_ms, step_ms; /* of the points: start_ms is the instant's time */
    bool fail, ordered, no_warn, no_info;
    struct expectations fails, warns, infos;
    bool expects_scalar, expects_string, expects_matrix, expects_histograms;
    int64_t matrix_start_ms, matrix_end_ms, matrix_step_ms;
    double scalar;
    struct sv string;
    struct series_line *series;
    size_t series_count, series_cap;
};
/* Reads the command at lines[*index] and its body; *index becomes the last line read, also on
 * failure: the one to blame. */
enum status eval_cmd_parse(const struct lines *lines, size_t *index, struct arena *arena,
                           struct eval_cmd *out, struct err *err) MUST_USE;
void eval_cmd_fini(struct eval_cmd *cmd); /* frees the regular expressions */
bool expectation_holds(const struct expectation *e, struct sv text);

/* -- promqltest_compare.c */
bool test_values_equal(double a, double b); /* relative error below 1e-6 */
/* All append to *why what was expected and what came, and return false. */
bool compare_result(const struct eval_cmd *cmd, const struct result *result, struct buf *why);
bool compare_notes(const struct eval_cmd *cmd, const struct result *result, struct buf *why);
/* Only whether there are any of a kind, not their texts. */
bool compare_notes_presence(const struct eval_cmd *cmd, const struct result *result,
                            struct buf *why);
void test_put_result(struct buf *out, const struct result *result);
bool result_is_sorted(const struct result *result); /* a matrix, by labels */

/* -- promqltest_run.c */
enum verdict { VERDICT_PASS, VERDICT_FAIL, VERDICT_SKIP };
/* Evaluates, also in the other ways that must give the same result. *why: what failed, or the
 * reason to skip. */
enum verdict eval_cmd_run(const struct eval_cmd *cmd, struct dataset *d, struct buf *why);

/* -- promqltest_file.c */
enum { TALLY_REASONS_MAX = 8 };
struct tally {
    size_t passed, failed, skipped;
    struct {
        char text[64];
        size_t count;
    } reasons[TALLY_REASONS_MAX]; /* of skipping */
    size_t reasons_count;
};
struct test_run {
    /* given */
    const char *path; /* in messages */
    FILE *out;
    bool verbose; /* names what is skipped */
    unsigned sources_count;
    uint64_t seed;
    /* outcome */
    struct tally tally;
    bool broken; /* a line could not be read: what follows it did not run */
    /* private */
    struct lines lines;
    struct dataset data;
};
/* true when everything was read and nothing failed */
bool test_text_run(struct sv text, struct test_run *t);
void tally_skip(struct tally *t, const char *reason, size_t count);
