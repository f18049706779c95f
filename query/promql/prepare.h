/* SPDX-License-Identifier: Apache-2.0 */
/* query/promql/prepare.h: from a parsed tree to the one that is evaluated, for given times. The
 * parsed tree stays as it is (a rule keeps it and prepares it at every evaluation); the prepared
 * one is a copy that shares names, matchers and positions with it, so the parsed tree must outlive
 * it, and only the parsed one is given to promql_free(). The result depends on text and parameters
 * alone: every node of a cluster numbers the same nodes alike.
 *
 * What is done, as Prometheus' PreprocessExpr does it:
 *   - start() end() range() step() become numbers, which keep their positions;
 *   - duration expressions are computed into range_ms, step_ms, offset_ms (the expressions stay for
 * printing);
 *   - @ start() and @ end() get their at_ms;
 *   - parentheses around arguments of functions and aggregations go;
 *   - the highest parts that are the same at every step are put under an EXPR_STEP_INVARIANT,
 * except bare numbers and strings, range selectors and subqueries themselves;
 *   - nodes get their number (preorder, the aggregate's expression before its parameter) and
 * selectors their leaf. */
#pragma once

#include <stdint.h>

#include "node/base/arena.h"
#include "node/base/status.h"
#include "query/promql/ast.h"

struct prepare_params {
    int64_t start_ms, end_ms; /* equal for an instant query */
    int64_t step_ms;          /* 0 for an instant query */
};

struct prepared {
    struct expr *root;
    struct expr **nodes; /* by number */
    uint32_t nodes_count;
    struct expr **leaves; /* EXPR_SELECTOR by leaf number */
    uint32_t leaves_count;
};

/* ERR_PARSE ("1:5: duration must be greater than 0": here two byte offsets, as in Prometheus),
 * ERR_NOMEM. */
enum status promql_prepare(const struct expr *parsed, const struct prepare_params *params,
                           struct arena *arena, struct prepared *out, struct err *err) MUST_USE;
