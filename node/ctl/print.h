/* SPDX-License-Identifier: Apache-2.0 */
/* node/ctl/print.h: answers of the API as promtool prints them. Appended to out, a newline at the
 * end; ERR_PARSE when the answer has not the API's shape (what was appended is then to be thrown
 * away). */
#pragma once

#include <jansson.h>

#include "node/ctl/ctl.h"

enum print_format { PRINT_PROMQL, PRINT_JSON };
/* data of /query and /query_range */
MUST_USE enum status print_result(const json_t *data, enum print_format format, struct buf *out,
                                  struct err *err);
MUST_USE enum status print_series(const json_t *list, enum print_format format, struct buf *out,
                                  struct err *err);
MUST_USE enum status print_values(const json_t *list, enum print_format format, struct buf *out,
                                  struct err *err);
