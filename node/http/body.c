/* SPDX-License-Identifier: Apache-2.0 */
/* The request body: wire bytes -> transfer coding -> content coding -> x->body. The limit holds for
 * what comes out of either coding, so a small request cannot become a large one. */
#include <assert.h>

#include "node/http/internal.h"

enum { RESERVE_FIRST_MAX = 256 << 10 }; /* more only as bytes arrive: a length is but a claim */

int http_body_begin(struct http_exchange *x) {
    x->body_bytes_max =
        x->route->body_bytes_max != 0 ? x->route->body_bytes_max : (size_t)HTTP_BODY_BYTES_DEFAULT;
    if (x->head.has_length && x->head.content_length > x->body_bytes_max) return 413;
    enum http_encoding encoding = HTTP_IDENTITY;
    if (!x->route->raw_body) {
        bool seen = false;
        for (size_t i = 0; i < x->req.headers_count; i++) {
            if (!sv_eq_nocase(x->req.headers[i].name, SV("content-encoding"))) continue;
            if (seen || !http_encoding_parse(x->req.headers[i].value, &encoding)) return 415;
            seen = true;
        }
    }
    if (encoding != HTTP_IDENTITY) {
        x->inflater = http_inflater_new(encoding);
        if (x->inflater == NULL) return 503;
    } else if (x->head.has_length && x->head.content_length > 0) {
        buf_reserve(&x->body, (size_t)MIN(x->head.content_length, (uint64_t)RESERVE_FIRST_MAX));
    }
    return 0;
}

static enum body_result refuse(struct http_conn *c, enum status code, const char *text) {
    http_conn_refuse(c, code == ERR_LIMIT ? 413 : code == ERR_NOMEM ? 503 : 400, text);
    return BODY_REFUSED;
}

/* bytes: of the body, transfer coding removed. */
static enum status body_add(struct http_exchange *x, struct sv bytes, struct err *err) {
    if (bytes.len > x->body_bytes_max - MIN(x->wire_bytes, x->body_bytes_max))
        return err_set(err, ERR_LIMIT, 0, "request body is larger than %zu bytes",
                       x->body_bytes_max);
    x->wire_bytes += bytes.len;
    if (x->inflater != NULL)
        return http_inflater_feed(x->inflater, bytes, x->body_bytes_max, &x->body, err);
    buf_put_sv(&x->body, bytes);
    if (x->body.failed) return err_set(err, ERR_NOMEM, 0, "no memory for the request body");
    return OK;
}

static enum status read_counted(struct http_conn *c, bool *out_done, struct err *err) {
    struct http_exchange *x = &c->x;
    uint64_t left = x->head.content_length - x->wire_bytes;
    struct sv bytes = sv_take(c->input, left < c->input.len ? (size_t)left : c->input.len);
    TRY(body_add(x, bytes, err));
    c->input = sv_skip(c->input, bytes.len);
    *out_done = x->wire_bytes == x->head.content_length;
    return OK;
}

static enum status read_chunked(struct http_conn *c, bool *out_done, struct err *err) {
    struct http_exchange *x = &c->x;
    struct buf bytes = {0};
    size_t used;
    enum status rc = http_chunked_feed(&x->chunked, c->input, &bytes, &used, out_done, err);
    if (rc == OK) rc = body_add(x, buf_sv(&bytes), err);
    buf_fini(&bytes);
    c->input = sv_skip(c->input, used);
    return rc;
}

enum body_result http_body_read(struct http_conn *c) {
    struct http_exchange *x = &c->x;
    struct err err = {0};
    bool done = false;
    enum status rc = x->head.chunked ? read_chunked(c, &done, &err) : read_counted(c, &done, &err);
    if (rc != OK) return refuse(c, rc, err.msg);
    if (!done) return BODY_MORE;
    if (x->inflater != NULL && x->wire_bytes > 0 && !http_inflater_is_complete(x->inflater))
        return refuse(c, ERR_PARSE, "the compressed request body is cut off");
    http_inflater_free(x->inflater);
    x->inflater = NULL;
    x->req.body = buf_sv(&x->body);
    return BODY_DONE;
}
