/* SPDX-License-Identifier: Apache-2.0 */
/* query/promql/printer.h: a parsed tree as text again. All append to a buf; the caller checks
 * buf.failed, and sets buf.limit_bytes where the text comes from outside: what a deep tree is
 * indented by may be much longer than its text. */
#pragma once

#include "node/base/buf.h"
#include "query/promql/ast.h"

/* Prometheus' canonical form: rules' "query", error texts. Parses to an equal tree, and prints the
 * same again. */
void promql_print(const struct expr *expr, struct buf *out);
/* /api/v1/format_query: as above, but what is longer than 100 bytes is split over indented lines.
 */
void promql_pretty(const struct expr *expr, struct buf *out);
/* /api/v1/parse_query: the tree as JSON, keys sorted. */
void promql_put_json(const struct expr *expr, struct buf *out);

void promql_print_duration(const struct duration_expr *d, struct buf *out);
/* name="value", as selectors show it */
void promql_print_matcher(const struct matcher *m, struct buf *out);
