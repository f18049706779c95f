/* SPDX-License-Identifier: Apache-2.0 */
#include "node/base/json.h"
#include "node/ctl/ctl.h"

void text_put_quoted(struct buf *out, struct sv s) {
    go_put_quoted(out, s);
}

void text_put_json(struct buf *out, struct sv s) {
    struct buf text = {0};
    json_put_string(&text, s);
    for (size_t i = 0; i < text.len; i++) {
        char c = text.ptr[i];
        if (c == '<' || c == '>' || c == '&')
            buf_printf(out, "\\u%04x", c);
        else
            buf_put_char(out, c);
    }
    if (text.failed) out->failed = true;
    buf_fini(&text);
}
