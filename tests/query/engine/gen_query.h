/* SPDX-License-Identifier: Apache-2.0 */
/* tests/query/engine/gen_query.h: random PromQL over the whole grammar: every function by its
 * signature in query/promql/functions.h, every aggregation, operator, matching mode, modifier,
 * subquery, @, offset, duration expression, fill, anchored and smoothed range, quoted name. The
 * same seed and options give the same text. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "node/base/buf.h"
#include "query/promql/ast.h"

struct gen_options {
    unsigned depth_max; /* of nesting */
    double wild;  /* chance, at each place, of an operand of a type that is not allowed there */
    bool instant; /* range vectors and strings may be the whole query */
    bool heavy;   /* long ranges, tiny subquery steps, whole-database selectors */
    bool same_at_any_grid; /* nothing that reads the query's start, end or step */
};

/* Appends one query and returns the type it should have. */
enum value_type gen_query(uint64_t seed, const struct gen_options *options, struct buf *out);
/* Appends text with some bytes deleted, doubled, exchanged or replaced. */
void gen_damage(uint64_t seed, struct sv text, struct buf *out);

/* The label and metric names that queries are made of: series for them are the test's. */
extern const char *const gen_metrics[];
extern const unsigned gen_metrics_count;
