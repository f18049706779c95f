/* SPDX-License-Identifier: Apache-2.0 */
/* node/base/json.h: a JSON writer into a buf. Strings are escaped as Go's encoding/json with
 * SetEscapeHTML(false): control bytes \u00XX (\n \r \t \b \f short), invalid UTF-8 becomes \ufffd,
 * U+2028/9 escaped. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "node/base/buf.h"
#include "node/base/sv.h"

void json_put_string(struct buf *b, struct sv s); /* with quotes */
/* Go's strconv.Quote, for error texts and PromQL printing: \x.. for invalid bytes, \u.... for
 * unprintables. */
void go_put_quoted(struct buf *b, struct sv s);

/* A small state so that callers do not track commas. Depth below JSON_DEPTH_MAX: it is the caller's
 * shape, not input. */
enum { JSON_DEPTH_MAX = 64 };
struct json {
    struct buf *out;
    uint64_t has_item; /* bit per depth */
    unsigned depth;
};
static inline struct json json_init(struct buf *out) {
    return (struct json){.out = out};
}
void json_object_begin(struct json *j);
void json_object_end(struct json *j);
void json_array_begin(struct json *j);
void json_array_end(struct json *j);
void json_key(struct json *j, struct sv key);
void json_string(struct json *j, struct sv s);
void json_i64(struct json *j, int64_t v);
void json_u64(struct json *j, uint64_t v);
void json_f64(struct json *j,
              double v); /* a JSON number as Go writes it; NaN and Inf become null */
void json_bool(struct json *j, bool v);
void json_null(struct json *j);
void json_raw(struct json *j, struct sv json_text); /* already encoded */
/* key and value in one line */
void json_key_string(struct json *j, struct sv key, struct sv s);
void json_key_i64(struct json *j, struct sv key, int64_t v);
void json_key_bool(struct json *j, struct sv key, bool v);
void json_key_f64(struct json *j, struct sv key, double v);
