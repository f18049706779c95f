/* SPDX-License-Identifier: Apache-2.0 */
/* storage/import/openmetrics_line.h: one line of the OpenMetrics text format. */
#pragma once

#include "storage/import/internal.h"

enum om_line_kind { OM_SAMPLE, OM_METADATA, OM_EOF };
struct om_line {
    enum om_line_kind kind;
    struct sv canonical; /* of a sample; in the parser's buffer, until the next line */
    int64_t time_ms;
    double value;
    bool has_exemplar;
};
struct om_parser {
    struct label *labels;
    size_t labels_count, labels_cap;
    struct buf text, canonical; /* unescaped values; the labels */
};
/* Without its line feed. ERR_PARSE: err says what is wrong, without the place. */
MUST_USE enum status om_parse(struct om_parser *p, struct sv line, struct om_line *out,
                              struct err *err);
void om_parser_fini(struct om_parser *p);
