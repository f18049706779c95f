/* SPDX-License-Identifier: Apache-2.0 */
/* storage/import/openmetrics_line.h: one line of the OpenMetrics text format. */
#pragma once

#include "storage/import/internal.h"

enum om_line_kind { OM_SAMPLE, OM_METADATA, OM_EOF };
enum om_said { OM_TYPE, OM_HELP, OM_UNIT };
struct om_line { /* texts are in the parser's buffers, or the line, until the next line */
    enum om_line_kind kind;
    /* of a sample */
    struct sv canonical;
    int64_t time_ms;
    double value;
    bool has_exemplar;
    bool exemplar_fits;            /* an entry may carry it (storage/entry.h) */
    struct prom_exemplar exemplar; /* without a time of its own it has the sample's */
    /* of metadata: of a family */
    enum om_said said;
    struct sv name, text; /* of HELP and UNIT */
    uint8_t type;         /* of TYPE: as storage/entry.h has it */
};
struct om_parser {
    struct label *labels;
    size_t labels_count, labels_cap;
    struct buf text, canonical, exemplar; /* unescaped values; the labels; those of an exemplar */
};
/* Without its line feed. ERR_PARSE: err says what is wrong, without the place. */
MUST_USE enum status om_parse(struct om_parser *p, struct sv line, struct om_line *out,
                              struct err *err);
void om_parser_fini(struct om_parser *p);
