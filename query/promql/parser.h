/* SPDX-License-Identifier: Apache-2.0 */
/* query/promql/parser.h: PromQL text to a checked tree, as Prometheus 3.14 reads it: same grammar,
 * same positions, same error texts ("1:5: parse error: ..."; only the first error is told). Nesting
 * and the height of the tree are limited to EXPR_HEIGHT_MAX, so no walk over a tree needs a depth
 * check. Memory: everything lives in the caller's arena, except compiled regular expressions:
 * promql_free() or promql_matchers_free() must run before the arena is reset. Text is borrowed:
 * names in the tree point into it. Thread: any. */
#pragma once

#include <stdint.h>

#include "node/base/arena.h"
#include "node/base/status.h"
#include "node/base/sv.h"
#include "query/promql/ast.h"

enum {
    EXPR_HEIGHT_MAX = 1000,
    PROMQL_TEXT_BYTES_MAX = 64 << 20,
    PROMQL_REGEXES_MAX = 2000, /* compiled: lists of words, prefixes and the like are not */
};

/* What --enable-feature adds to the language. */
enum promql_feature {
    PROMQL_EXPERIMENTAL_FUNCTIONS = 1, /* promql-experimental-functions */
    PROMQL_FILL = 2,                   /* promql-binop-fill-modifiers */
    PROMQL_EXTENDED_RANGES = 4,        /* promql-extended-range-selectors: anchored, smoothed */
};

struct promql_options {
    uint32_t features; /* enum promql_feature; other bits are ignored */
};

/* ERR_PARSE with Prometheus' text, ERR_LIMIT for size or nesting, ERR_NOMEM. options NULL: no
 * features. */
enum status promql_parse(struct sv text, const struct promql_options *options, struct arena *arena,
                         struct expr **out, struct err *err) MUST_USE;
/* Frees the regular expressions of a parsed tree (not of a prepared one, which shares them). NULL
 * is allowed. */
void promql_free(struct expr *expr);

/* One match[] parameter or anything else that is a bare instant selector: {job="x"}, up,
 * up{job="x"}, {"up"}. Empty selections pass: see promql_matchers_select_all(). */
enum status promql_parse_selector(struct sv text, struct arena *arena,
                                  struct matcher **out_matchers, size_t *out_count,
                                  struct err *err) MUST_USE;
void promql_matchers_free(struct matcher *matchers, size_t count);
/* No matcher asks for a non-empty value: the API refuses these ("match[] must contain at least one
 * non-empty matcher"). */
bool promql_matchers_select_all(const struct matcher *matchers, size_t count);

struct promql_label {
    struct sv name, value;
};
/* A series as in rule unit tests: up{job="x"}. Labels are sorted by name; the last of equal names
 * wins. */
enum status promql_parse_metric(struct sv text, struct arena *arena,
                                struct promql_label **out_labels, size_t *out_count,
                                struct err *err) MUST_USE;
