/* SPDX-License-Identifier: Apache-2.0 */
#include <assert.h>

#include "query/api/internal.h"
#include "query/promql/parser.h"
#include "query/promql/printer.h"

static_assert((int)FEATURE_EXPERIMENTAL_FUNCTIONS == (int)PROMQL_EXPERIMENTAL_FUNCTIONS &&
                  (int)FEATURE_FILL == (int)PROMQL_FILL &&
                  (int)FEATURE_EXTENDED_RANGES == (int)PROMQL_EXTENDED_RANGES,
              "the parser reads the query's feature bits");

static enum status parse_form(struct http_request *req, struct expr **out, struct err *err) {
    struct promql_options options = {.features = api_options_of(req)->features};
    return promql_parse(api_form(req, "query"), &options, req->arena, out, err);
}

/* In JSON text <, > and & stand in strings only. */
static void put_escaped(struct buf *out, struct sv json) {
    for (size_t i = 0; i < json.len; i++) {
        char c = json.ptr[i];
        if (c == '<' || c == '>' || c == '&')
            buf_printf(out, "\\u%04x", (unsigned)c);
        else
            buf_put_char(out, c);
    }
}

static void answer_printed(struct http_request *req,
                           void (*print)(const struct expr *expr, struct buf *out), bool is_json) {
    struct expr *expr;
    struct err err;
    if (parse_form(req, &expr, &err) != OK) {
        api_fail_param(req, "query", err.msg);
        return;
    }
    struct buf text = {0}, data = {0};
    print(expr, &text);
    promql_free(expr);
    if (is_json)
        put_escaped(&data, buf_sv(&text));
    else
        api_put_text(&data, buf_sv(&text));
    data.failed |= text.failed;
    buf_fini(&text);
    api_answer(req, &data);
}

void api_format_query(struct http_request *req) {
    answer_printed(req, promql_pretty, false);
}

void api_parse_query(struct http_request *req) {
    answer_printed(req, promql_put_json, true);
}
