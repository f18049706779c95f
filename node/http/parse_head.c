/* SPDX-License-Identifier: Apache-2.0 */
/* The request head, RFC 9112 sections 2 to 6, without any of the leniencies it allows: whoever
 * reads a request in two ways (proxy and server) can be made to see two different requests, so
 * everything doubtful is refused. */
#include "node/http/parse.h"

#include <assert.h>
#include <string.h>

#include "node/http/internal.h"

enum { FIRST_HEADERS_CAP = 16 };

/* bit 0: token character (RFC 9110 5.6.2); bit 1: field value byte (VCHAR, SP, HTAB, obs-text);
 * bit 2: request target byte (VCHAR but '#', and bytes above 0x7f: Go's server takes unescaped
 * UTF-8 in queries); bit 3: character of a Host value */
enum { IS_TOKEN = 1, IS_VALUE = 2, IS_TARGET = 4, IS_HOST = 8 };

/* clang-format off */
static const uint8_t char_class[256] = {
    0, 0, 0, 0, 0, 0, 0, 0, 0, 2, 0, 0, 0, 0, 0, 0, /* %02x */
    0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, /* %02x */
    2, 15, 6, 3, 15, 15, 15, 15, 14, 14, 15, 15, 14, 15, 15, 6, /* %02x */
    15, 15, 15, 15, 15, 15, 15, 15, 15, 15, 14, 14, 6, 14, 6, 6, /* %02x */
    6, 15, 15, 15, 15, 15, 15, 15, 15, 15, 15, 15, 15, 15, 15, 15, /* %02x */
    15, 15, 15, 15, 15, 15, 15, 15, 15, 15, 15, 14, 6, 14, 7, 15, /* %02x */
    7, 15, 15, 15, 15, 15, 15, 15, 15, 15, 15, 15, 15, 15, 15, 15, /* %02x */
    15, 15, 15, 15, 15, 15, 15, 15, 15, 15, 15, 6, 7, 6, 15, 0, /* %02x */
    6, 6, 6, 6, 6, 6, 6, 6, 6, 6, 6, 6, 6, 6, 6, 6, /* %02x */
    6, 6, 6, 6, 6, 6, 6, 6, 6, 6, 6, 6, 6, 6, 6, 6, /* %02x */
    6, 6, 6, 6, 6, 6, 6, 6, 6, 6, 6, 6, 6, 6, 6, 6, /* %02x */
    6, 6, 6, 6, 6, 6, 6, 6, 6, 6, 6, 6, 6, 6, 6, 6, /* %02x */
    6, 6, 6, 6, 6, 6, 6, 6, 6, 6, 6, 6, 6, 6, 6, 6, /* %02x */
    6, 6, 6, 6, 6, 6, 6, 6, 6, 6, 6, 6, 6, 6, 6, 6, /* %02x */
    6, 6, 6, 6, 6, 6, 6, 6, 6, 6, 6, 6, 6, 6, 6, 6, /* %02x */
    6, 6, 6, 6, 6, 6, 6, 6, 6, 6, 6, 6, 6, 6, 6, 6, /* %02x */
};
/* clang-format on */

static bool all_are(struct sv s, uint8_t bits) {
    for (size_t i = 0; i < s.len; i++)
        if ((char_class[(uint8_t)s.ptr[i]] & bits) == 0) return false;
    return true;
}

bool http_is_token_char(char c) {
    return (char_class[(uint8_t)c] & IS_TOKEN) != 0;
}

static const struct {
    struct sv text;
    enum http_method method;
} methods[] = {
    {SV_INIT("GET"), HTTP_GET},       {SV_INIT("HEAD"), HTTP_HEAD},
    {SV_INIT("POST"), HTTP_POST},     {SV_INIT("PUT"), HTTP_PUT},
    {SV_INIT("DELETE"), HTTP_DELETE}, {SV_INIT("OPTIONS"), HTTP_OPTIONS},
};

/* Finds the empty line that ends the head. Every line must end in CRLF, which is checked on the
 * way, so that a client that sends bare LFs gets its 400 at once and not after the read timeout. */
static enum status head_end(struct sv input, size_t start, size_t *out_end, struct err *err) {
    size_t line = start;
    size_t limit = MIN(input.len, (size_t)HTTP_HEAD_BYTES_MAX);
    *out_end = 0;
    for (;;) {
        const char *lf = line < limit ? memchr(input.ptr + line, '\n', limit - line) : NULL;
        if (lf == NULL) break;
        size_t at = (size_t)(lf - input.ptr);
        if (at == line || input.ptr[at - 1] != '\r')
            return err_set(err, ERR_PARSE, 0, "line ends in a bare LF at byte %zu", at);
        if (at == line + 1) {
            *out_end = at + 1;
            return OK;
        }
        line = at + 1;
    }
    if (input.len >= HTTP_HEAD_BYTES_MAX)
        return err_set(err, ERR_LIMIT, 0, "request head is larger than %d bytes",
                       HTTP_HEAD_BYTES_MAX);
    return OK;
}

/* absolute-form, which a server must take (RFC 9112 3.2.2) */
static bool is_http_url(struct sv target) {
    return sv_eq_nocase(sv_take(target, 7), SV("http://")) ||
           sv_eq_nocase(sv_take(target, 8), SV("https://"));
}

static enum status request_line(struct sv line, struct http_head *out, struct err *err) {
    struct sv rest = sv_cut(line, ' ', &out->method_text);
    if (out->method_text.len == 0 || !all_are(out->method_text, IS_TOKEN))
        return err_set(err, ERR_PARSE, 0, "malformed method");
    struct sv version = sv_cut(rest, ' ', &out->target);
    if (out->target.len == 0 || !all_are(out->target, IS_TARGET))
        return err_set(err, ERR_PARSE, 0, "malformed request target");
    if (sv_eq(version, SV("HTTP/1.1")))
        out->minor_version = 1;
    else if (sv_eq(version, SV("HTTP/1.0")))
        out->minor_version = 0;
    else
        return err_set(err, ERR_PARSE, 0, "unsupported protocol version");
    for (size_t i = 0; i < ARRAY_LEN(methods); i++)
        if (sv_eq(out->method_text, methods[i].text)) out->method = methods[i].method;
    bool any_form = out->target.ptr[0] == '/' || is_http_url(out->target) ||
                    (out->method == HTTP_OPTIONS && sv_eq(out->target, SV("*")));
    /* CONNECT takes host:port; it is no method of ours but must not be called malformed */
    if (!any_form && !sv_eq(out->method_text, SV("CONNECT")))
        return err_set(err, ERR_PARSE, 0, "malformed request target");
    return OK;
}

static enum status header_line(struct sv line, size_t number, struct http_header *out,
                               struct err *err) {
    size_t colon;
    if (line.ptr[0] == ' ' || line.ptr[0] == '\t')
        return err_set(err, ERR_PARSE, 0, "header %zu is folded", number);
    if (!sv_find_char(line, ':', &colon))
        return err_set(err, ERR_PARSE, 0, "header %zu has no colon", number);
    out->name = sv_take(line, colon);
    if (out->name.len == 0 || !all_are(out->name, IS_TOKEN))
        return err_set(err, ERR_PARSE, 0, "header %zu has a malformed name", number);
    out->value = http_trim_ows(sv_skip(line, colon + 1));
    if (!all_are(out->value, IS_VALUE)) /* also bare CR and NUL */
        return err_set(err, ERR_PARSE, 0, "header %zu has a control byte in its value", number);
    return OK;
}

/* What the framing headers said so far. */
struct framing {
    unsigned hosts, lengths, codings;
    bool close, keep_alive;
};

static enum status content_length(struct sv value, struct http_head *out, struct framing *f,
                                  struct err *err) {
    if (f->lengths++ > 0) return err_set(err, ERR_PARSE, 0, "several Content-Length headers");
    if (value.len == 0) return err_set(err, ERR_PARSE, 0, "malformed Content-Length");
    uint64_t n = 0;
    for (size_t i = 0; i < value.len; i++) {
        unsigned digit = (unsigned)(uint8_t)value.ptr[i] - '0';
        if (digit > 9) return err_set(err, ERR_PARSE, 0, "malformed Content-Length");
        if (__builtin_mul_overflow(n, (uint64_t)10, &n) ||
            __builtin_add_overflow(n, (uint64_t)digit, &n))
            return err_set(err, ERR_PARSE, 0, "Content-Length is out of range");
    }
    out->has_length = true;
    out->content_length = n;
    return OK;
}

static void connection_options(struct sv value, struct framing *f) {
    while (value.len > 0) {
        struct sv option;
        value = sv_cut(value, ',', &option);
        option = http_trim_ows(option);
        if (sv_eq_nocase(option, SV("close"))) f->close = true;
        if (sv_eq_nocase(option, SV("keep-alive"))) f->keep_alive = true;
    }
}

/* A HTAB behind these values is optional whitespace to us and part of the value to others. */
static bool has_tab_behind(const struct http_header *h) {
    const char *p = h->value.ptr + h->value.len; /* the line ends in CR */
    while (*p == ' ')
        p++;
    return *p == '\t';
}

static enum status header_apply(const struct http_header *h, struct http_head *out,
                                struct framing *f, struct err *err) {
    if (sv_eq_nocase(h->name, SV("host"))) {
        if (f->hosts++ > 0) return err_set(err, ERR_PARSE, 0, "several Host headers");
        if (!all_are(h->value, IS_HOST)) return err_set(err, ERR_PARSE, 0, "malformed Host header");
    } else if (sv_eq_nocase(h->name, SV("content-length"))) {
        if (has_tab_behind(h)) return err_set(err, ERR_PARSE, 0, "malformed Content-Length");
        return content_length(h->value, out, f, err);
    } else if (sv_eq_nocase(h->name, SV("transfer-encoding"))) {
        if (f->codings++ > 0 || !sv_eq_nocase(h->value, SV("chunked")) || has_tab_behind(h))
            return err_set(err, ERR_PARSE, 0, "unsupported transfer encoding");
        out->chunked = true;
    } else if (sv_eq_nocase(h->name, SV("connection"))) {
        connection_options(h->value, f);
    } else if (sv_eq_nocase(h->name, SV("expect"))) {
        if (sv_eq_nocase(h->value, SV("100-continue"))) out->expect_continue = true;
    }
    return OK;
}

static enum status framing_check(const struct framing *f, struct http_head *out, struct err *err) {
    if (out->chunked && out->has_length)
        return err_set(err, ERR_PARSE, 0, "Content-Length together with Transfer-Encoding");
    if (out->chunked && out->minor_version == 0)
        return err_set(err, ERR_PARSE, 0, "Transfer-Encoding in an HTTP/1.0 request");
    if (out->minor_version == 1 && f->hosts == 0)
        return err_set(err, ERR_PARSE, 0, "missing Host header");
    if (out->minor_version == 0) out->expect_continue = false;
    out->keep_alive = !f->close && (out->minor_version == 1 || f->keep_alive);
    return OK;
}

static enum status headers_parse(struct sv lines, struct arena *arena, struct http_head *out,
                                 struct err *err) {
    struct framing framing = {0};
    size_t cap = 0;
    while (lines.len > 0) {
        size_t lf;
        if (!sv_find_char(lines, '\n', &lf)) break;
        assert(lf > 0 && lines.ptr[lf - 1] == '\r'); /* head_end saw to it */
        struct sv line = sv_take(lines, lf - 1);
        lines = sv_skip(lines, lf + 1);
        if (out->headers_count == HTTP_HEADERS_MAX)
            return err_set(err, ERR_LIMIT, 0, "more than %d headers", HTTP_HEADERS_MAX);
        if (out->headers_count == cap) {
            size_t more = cap == 0 ? FIRST_HEADERS_CAP : cap * 2;
            size_t size = sizeof *out->headers;
            struct http_header *grown = arena_grow(arena, out->headers, cap * size, more * size);
            if (grown == NULL) return err_set(err, ERR_NOMEM, 0, "no memory for headers");
            out->headers = grown;
            cap = more;
        }
        struct http_header *h = &out->headers[out->headers_count];
        TRY(header_line(line, out->headers_count + 1, h, err));
        TRY(header_apply(h, out, &framing, err));
        out->headers_count++;
    }
    return framing_check(&framing, out, err);
}

enum status http_head_parse(struct sv input, struct arena *arena, struct http_head *out,
                            size_t *out_used, struct err *err) {
    *out_used = 0;
    *out = (struct http_head){0};
    /* RFC 9112 2.2: one empty line before the request line is to be ignored (old clients end a body
     * with it) */
    size_t start = sv_starts(input, SV("\r\n")) ? 2 : 0;
    if (input.len <= start || (input.len == 1 && input.ptr[0] == '\r')) return OK;
    /* a TLS hello or another protocol is refused at its first byte */
    if ((char_class[(uint8_t)input.ptr[start]] & IS_TOKEN) == 0)
        return err_set(err, ERR_PARSE, 0, "malformed method");
    size_t end;
    TRY(head_end(input, start, &end, err));
    if (end == 0) return OK;
    struct sv head = sv_make(input.ptr + start, end - start - 2); /* without the empty line */
    size_t lf;
    bool found = sv_find_char(head, '\n', &lf);
    assert(found && lf > 0);
    (void)found;
    TRY(request_line(sv_take(head, lf - 1), out, err));
    TRY(headers_parse(sv_skip(head, lf + 1), arena, out, err));
    *out_used = end;
    return OK;
}
