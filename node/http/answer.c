/* SPDX-License-Identifier: Apache-2.0 */
/* Answers: heads, whole bodies (compressed here or by a worker), streams. When the client is gone
 * everything is accepted and dropped, so that handlers need no second path. */
#include <assert.h>
#include <stdarg.h>
#include <stdio.h>

#include "node/base/num.h"
#include "node/http/internal.h"

static const struct {
    int code;
    struct sv text;
} code_texts[] = {
    {200, SV_INIT("OK")},
    {201, SV_INIT("Created")},
    {202, SV_INIT("Accepted")},
    {204, SV_INIT("No Content")},
    {301, SV_INIT("Moved Permanently")},
    {302, SV_INIT("Found")},
    {304, SV_INIT("Not Modified")},
    {307, SV_INIT("Temporary Redirect")},
    {308, SV_INIT("Permanent Redirect")},
    {400, SV_INIT("Bad Request")},
    {401, SV_INIT("Unauthorized")},
    {403, SV_INIT("Forbidden")},
    {404, SV_INIT("Not Found")},
    {405, SV_INIT("Method Not Allowed")},
    {406, SV_INIT("Not Acceptable")},
    {408, SV_INIT("Request Timeout")},
    {409, SV_INIT("Conflict")},
    {410, SV_INIT("Gone")},
    {412, SV_INIT("Precondition Failed")},
    {413, SV_INIT("Request Entity Too Large")},
    {414, SV_INIT("Request URI Too Long")},
    {415, SV_INIT("Unsupported Media Type")},
    {416, SV_INIT("Requested Range Not Satisfiable")},
    {417, SV_INIT("Expectation Failed")},
    {422, SV_INIT("Unprocessable Entity")},
    {429, SV_INIT("Too Many Requests")},
    {431, SV_INIT("Request Header Fields Too Large")},
    {499, SV_INIT("Client Closed Request")},
    {500, SV_INIT("Internal Server Error")},
    {501, SV_INIT("Not"
                  " Implemented")},
    {502, SV_INIT("Bad Gateway")},
    {503, SV_INIT("Service Unavailable")},
    {504, SV_INIT("Gateway Timeout")},
    {507, SV_INIT("Insufficient Storage")},
};

struct sv http_code_text(int code) {
    for (size_t i = 0; i < ARRAY_LEN(code_texts); i++)
        if (code_texts[i].code == code) return code_texts[i].text;
    return SV("Unknown");
}

struct sv http_header_get(const struct http_request *req, struct sv name) {
    for (size_t i = 0; i < req->headers_count; i++)
        if (sv_eq_nocase(req->headers[i].name, name)) return req->headers[i].value;
    return (struct sv){0};
}

void http_exchange_reset(struct http_exchange *x) {
    http_inflater_free(x->inflater);
    http_packer_free(x->packer);
    buf_fini(&x->body);
    buf_fini(&x->extra_headers);
    buf_fini(&x->plain);
    buf_fini(&x->packed);
    *x = (struct http_exchange){0};
}

static bool code_has_body(int code) {
    return code >= 200 && code != 204 && code != 304;
}

static void put_number(struct http_out *out, uint64_t n) {
    char text[24];
    int len = snprintf(text, sizeof text, "%llu", (unsigned long long)n);
    http_out_put(out, sv_make(text, (size_t)len));
}

static void put_header(struct http_out *out, struct sv name, struct sv value) {
    http_out_put(out, name);
    http_out_put(out, SV(": "));
    http_out_put(out, value);
    http_out_put(out, SV("\r\n"));
}

/* As Prometheus' web layer: only requests that name an Origin get the headers. */
static void put_cors(struct http_conn *c, const struct http_request *req) {
    struct sv origin = http_header_get(req, SV("origin"));
    if (origin.len == 0) return;
    const struct http_server *server = c->hc->server;
    put_header(&c->out, SV("Access-Control-Allow-Headers"),
               SV("Accept, Authorization, Content-Type, Origin"));
    put_header(&c->out, SV("Access-Control-Allow-Methods"), SV("GET, POST, OPTIONS"));
    put_header(&c->out, SV("Access-Control-Expose-Headers"), SV("Date"));
    put_header(&c->out, SV("Vary"), SV("Origin"));
    if (server->cors_any)
        put_header(&c->out, SV("Access-Control-Allow-Origin"), SV("*"));
    else if (regex_match(server->cors_origin, origin))
        put_header(&c->out, SV("Access-Control-Allow-Origin"), origin);
}

enum { LENGTH_UNKNOWN = -1 };

static void put_head(struct http_exchange *x, struct sv content_type, int64_t body_bytes) {
    struct http_conn *c = http_conn_of(x);
    struct http_out *out = &c->out;
    if (c->hc->stopping || c->surplus) x->close = true;
    http_out_put(out, SV("HTTP/1.1 "));
    put_number(out, (uint64_t)x->code);
    http_out_put(out, SV(" "));
    http_out_put(out, http_code_text(x->code));
    http_out_put(out, SV("\r\nDate: "));
    http_out_put(out, http_core_date(c->hc));
    http_out_put(out, SV("\r\n"));
    if (content_type.len > 0) put_header(out, SV("Content-Type"), content_type);
    if (code_has_body(x->code)) {
        http_out_put(out, SV("Vary: Accept-Encoding\r\n"));
        if (x->encoding != HTTP_IDENTITY)
            put_header(out, SV("Content-Encoding"), http_encoding_name(x->encoding));
        if (body_bytes >= 0) {
            http_out_put(out, SV("Content-Length: "));
            put_number(out, (uint64_t)body_bytes);
            http_out_put(out, SV("\r\n"));
        } else if (x->stream_chunked) {
            http_out_put(out, SV("Transfer-Encoding: chunked\r\n"));
        }
    }
    put_cors(c, &x->req);
    http_out_put(out, buf_sv(&x->extra_headers));
    if (x->extra_headers.failed) out->failed = true;
    if (x->close)
        http_out_put(out, SV("Connection: close\r\n"));
    else if (x->head.minor_version == 0)
        http_out_put(out, SV("Connection: keep-alive\r\n"));
    http_out_put(out, SV("\r\n"));
}

static void answer_finish(struct http_exchange *x) {
    struct http_conn *c = http_conn_of(x);
    x->answer = ANSWER_FINISHED;
    http_conn_changed(c);
}

/* body is owned when not NULL, else text is copied. */
static void answer_put(struct http_exchange *x, struct sv content_type, struct sv text,
                       struct buf *body) {
    struct http_conn *c = http_conn_of(x);
    if (body != NULL) text = buf_sv(body);
    bool gone = c->state == CONN_CLOSING;
    if (!gone) put_head(x, content_type, (int64_t)text.len);
    if (!gone && x->req.method != HTTP_HEAD && code_has_body(x->code)) {
        x->answer_bytes = text.len;
        if (body != NULL)
            http_out_take(&c->out, body);
        else
            http_out_put(&c->out, text);
    }
    if (body != NULL) buf_fini(body);
    answer_finish(x);
}

/* Images other than SVG, archives and the like are compressed already. */
static bool is_compressible(struct sv content_type) {
    return sv_starts(content_type, SV("text/")) ||
           sv_starts(content_type, SV("application/json")) ||
           sv_starts(content_type, SV("application/javascript")) ||
           sv_starts(content_type, SV("image/svg")) ||
           sv_starts(content_type, SV("application/openmetrics-text")) ||
           sv_starts(content_type, SV("application/x-ndjson"));
}

static enum http_encoding answer_encoding(const struct http_exchange *x, struct sv content_type) {
    if (x->has_encoding || x->req.method == HTTP_HEAD || !code_has_body(x->code) ||
        !is_compressible(content_type))
        return HTTP_IDENTITY;
    return http_encoding_accepted(&x->req);
}

static void compress_run(struct work *w) {
    struct http_exchange *x = container_of(w, struct http_exchange, work);
    if (!http_compress(NULL, x->encoding, buf_sv(&x->plain), &x->packed))
        x->encoding = HTTP_IDENTITY;
}

static void compress_done(struct core *here, struct work *w) {
    (void)here;
    struct http_exchange *x = container_of(w, struct http_exchange, work);
    assert(x->answer == ANSWER_COMPRESSED);
    struct buf body = buf_move(x->encoding == HTTP_IDENTITY ? &x->plain : &x->packed);
    answer_put(x, x->content_type, (struct sv){0}, &body);
}

static void compress_submit(struct http_exchange *x, struct sv content_type, struct buf *body) {
    x->content_type = arena_sv(x->req.arena, content_type);
    x->plain = buf_move(body);
    x->answer = ANSWER_COMPRESSED;
    x->work = (struct work){.run = compress_run, .done = compress_done};
    work_submit(x->req.core, &x->work);
}

static void compress_here(struct http_exchange *x, struct sv content_type, struct sv text,
                          struct buf *body) {
    struct http_core *hc = http_conn_of(x)->hc;
    struct buf packed = {0};
    if (http_compress(hc->compressor, x->encoding, text, &packed)) {
        if (body != NULL) buf_fini(body);
        answer_put(x, content_type, (struct sv){0}, &packed);
        return;
    }
    buf_fini(&packed);
    x->encoding = HTTP_IDENTITY;
    answer_put(x, content_type, text, body);
}

static struct http_exchange *answer_begin(struct http_request *req, int code) {
    struct http_exchange *x = http_exchange_of(req);
    assert(core_is_current(req->core));
    assert(x->answer == ANSWER_AWAITED); /* exactly one answer a request */
    assert(code >= 200 && code < 600);
    x->code = code;
    return x;
}

void http_answer(struct http_request *req, int code, struct sv content_type, struct sv body) {
    struct http_exchange *x = answer_begin(req, code);
    if (body.len >= HTTP_COMPRESS_BYTES_MIN) x->encoding = answer_encoding(x, content_type);
    if (x->encoding == HTTP_IDENTITY) {
        answer_put(x, content_type, body, NULL);
    } else if (body.len <= HTTP_COMPRESS_INLINE_MAX) {
        compress_here(x, content_type, body, NULL);
    } else {
        struct buf copy = {0};
        buf_put_sv(&copy, body);
        if (copy.failed) http_conn_close(http_conn_of(x));
        compress_submit(x, content_type, &copy);
    }
}

void http_answer_take(struct http_request *req, int code, struct sv content_type,
                      struct buf *body) {
    struct http_exchange *x = answer_begin(req, code);
    if (body->failed) { /* cut off for lack of memory: an error is better than half an answer */
        buf_fini(body);
        x->code = 500;
        answer_put(x, SV("text/plain; charset=utf-8"), SV("out of memory\n"), NULL);
        return;
    }
    if (body->len >= HTTP_COMPRESS_BYTES_MIN) x->encoding = answer_encoding(x, content_type);
    if (x->encoding == HTTP_IDENTITY)
        answer_put(x, content_type, (struct sv){0}, body);
    else if (body->len <= HTTP_COMPRESS_INLINE_MAX)
        compress_here(x, content_type, buf_sv(body), body);
    else
        compress_submit(x, content_type, body);
}

void http_answer_text(struct http_request *req, int code, const char *fmt, ...) {
    char text[512];
    struct buf longer = {0};
    va_list ap, again;
    va_start(ap, fmt);
    va_copy(again, ap);
    int n = vsnprintf(text, sizeof text, fmt, ap);
    assert(n >= 0);
    if ((size_t)n + 1 < sizeof text) {
        text[n] = '\n';
    } else if (buf_extend(&longer, (size_t)n + 1) != NULL) {
        vsnprintf(longer.ptr, longer.len, fmt, again);
        longer.ptr[n] = '\n';
    }
    va_end(again);
    va_end(ap);
    if (code >= 400) /* as Go's http.Error */
        http_answer_header(req, SV("X-Content-Type-Options"), SV("nosniff"));
    struct sv type = SV("text/plain; charset=utf-8");
    if (longer.ptr != NULL || longer.failed)
        http_answer_take(req, code, type, &longer);
    else
        http_answer(req, code, type, sv_make(text, (size_t)n + 1));
}

void http_answer_header(struct http_request *req, struct sv name, struct sv value) {
    struct http_exchange *x = http_exchange_of(req);
    assert(x->answer == ANSWER_AWAITED);
    if (sv_eq_nocase(name, SV("content-encoding"))) x->has_encoding = true;
    buf_put_sv(&x->extra_headers, name);
    buf_put_sv(&x->extra_headers, SV(": "));
    for (size_t i = 0; i < value.len;
         i++) { /* a value from outside must not add lines to the head */
        char c = value.ptr[i];
        buf_put_char(&x->extra_headers, c == '\r' || c == '\n' || c == '\0' ? ' ' : c);
    }
    buf_put_sv(&x->extra_headers, SV("\r\n"));
}

static void stream_put(struct http_exchange *x, struct buf *piece) {
    struct http_conn *c = http_conn_of(x);
    x->answer_bytes += piece->len;
    if (piece->len == 0) {
        buf_fini(piece);
        return;
    }
    char size[24];
    int n = snprintf(size, sizeof size, "%zx\r\n", piece->len);
    if (x->stream_chunked) http_out_put(&c->out, sv_make(size, (size_t)n));
    http_out_take(&c->out, piece);
    if (x->stream_chunked) http_out_put(&c->out, SV("\r\n"));
}

/* What stands before the first piece, or behind the last one. */
static void stream_frame(struct http_exchange *x, bool end) {
    struct buf b = {0};
    if (x->packer == NULL) return;
    if (end)
        http_pack_end(&x->sum, &b);
    else
        http_pack_begin(&x->sum, x->encoding, &b);
    stream_put(x, &b);
}

void http_stream_begin(struct http_request *req, int code, struct sv content_type) {
    struct http_exchange *x = answer_begin(req, code);
    x->answer = ANSWER_STREAMED;
    x->encoding = answer_encoding(x, content_type);
    if (x->encoding != HTTP_IDENTITY) x->packer = http_packer_new(x->encoding);
    if (x->packer == NULL) x->encoding = HTTP_IDENTITY;
    x->stream_chunked = x->head.minor_version == 1;
    if (!x->stream_chunked)
        x->close = true; /* HTTP/1.0: the end of the connection is the end of the body */
    struct http_conn *c = http_conn_of(x);
    if (c->state != CONN_CLOSING) put_head(x, content_type, LENGTH_UNKNOWN);
    if (c->state != CONN_CLOSING && req->method != HTTP_HEAD && code_has_body(code))
        stream_frame(x, false);
    http_conn_changed(c);
}

bool http_stream_write_packed(struct http_request *req, struct http_packed *piece) {
    struct http_exchange *x = http_exchange_of(req);
    struct http_conn *c = http_conn_of(x);
    assert(core_is_current(req->core));
    assert(x->answer == ANSWER_STREAMED);
    if (c->state == CONN_CLOSING || req->method == HTTP_HEAD || !code_has_body(x->code)) {
        buf_fini(&piece->bytes);
        return c->state != CONN_CLOSING;
    }
    if (x->packer != NULL) http_pack_add(&x->sum, piece);
    stream_put(x, &piece->bytes);
    if (c->out.bytes > HTTP_QUEUE_BYTES_MAX) http_conn_close(c);
    http_conn_changed(c);
    if (c->out.bytes > HTTP_QUEUE_FULL_BYTES) x->stream_full = true;
    return c->state != CONN_CLOSING;
}

bool http_stream_write(struct http_request *req, struct buf *piece) {
    struct http_packed packed;
    http_packer_put(http_exchange_of(req)->packer, piece, &packed);
    return http_stream_write_packed(req, &packed);
}

enum http_encoding http_stream_encoding(const struct http_request *req) {
    return container_of_const(req, struct http_exchange, req)->encoding;
}

bool http_stream_is_full(const struct http_request *req) {
    const char *x = (const char *)req - offsetof(struct http_exchange, req);
    const struct http_conn *c = (const void *)(x - offsetof(struct http_conn, x));
    return c->out.bytes > HTTP_QUEUE_FULL_BYTES;
}

void http_stream_on_writable(struct http_request *req,
                             void (*writable)(struct http_request *req, void *ctx), void *ctx) {
    struct http_exchange *x = http_exchange_of(req);
    x->writable = writable;
    x->writable_ctx = ctx;
}

void http_stream_end(struct http_request *req) {
    struct http_exchange *x = http_exchange_of(req);
    struct http_conn *c = http_conn_of(x);
    assert(core_is_current(req->core));
    assert(x->answer == ANSWER_STREAMED);
    if (c->state != CONN_CLOSING && req->method != HTTP_HEAD && code_has_body(x->code)) {
        stream_frame(x, true);
        if (x->stream_chunked) http_out_put(&c->out, SV("0\r\n\r\n"));
    }
    answer_finish(x);
}
