/* SPDX-License-Identifier: Apache-2.0 */
/* node/ctl/print.h: answers of the API as promtool prints them. Appended to out, a newline at the
 * end; ERR_PARSE when the answer has not the API's shape (what was appended is then to be thrown
 * away). */
#pragma once

#include <jansson.h>

#include "node/ctl/ctl.h"

enum print_format { PRINT_PROMQL, PRINT_JSON, PRINT_TABLE, PRINT_GRAPH };
/* -- parts of it */
void print_unix_s(struct buf *out, double unix_s);
void print_time(struct buf *out, const json_t *unix_s);
bool print_metric(struct buf *out, json_t *metric); /* name{a="b"}; false: malformed */
/* list: a vector, a matrix, or series as /series gives them */
MUST_USE enum status print_table(const json_t *list, bool is_series, struct buf *out,
                                 struct err *err);
void print_graph(json_t *list, bool is_matrix, struct buf *out);
/* -- answers */
/* data of /query and /query_range */
MUST_USE enum status print_result(const json_t *data, enum print_format format, struct buf *out,
                                  struct err *err);
MUST_USE enum status print_series(const json_t *list, enum print_format format, struct buf *out,
                                  struct err *err);
MUST_USE enum status print_values(const json_t *list, enum print_format format, struct buf *out,
                                  struct err *err);
