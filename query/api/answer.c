/* SPDX-License-Identifier: Apache-2.0 */
#include <assert.h>
#include <stdarg.h>
#include <stdio.h>

#include "node/base/utf8.h"
#include "query/api/internal.h"

static const struct {
    const char *name;
    int code;
} errors[] = {
    [API_BAD_DATA] = {"bad_data", 400},       [API_EXECUTION] = {"execution", 422},
    [API_CANCELED] = {"canceled", 499},       [API_TIMEOUT] = {"timeout", 503},
    [API_INTERNAL] = {"internal", 500},       [API_NOT_FOUND] = {"not_found", 404},
    [API_UNAVAILABLE] = {"unavailable", 500}, [API_INCOMPLETE] = {"unavailable", 503},
};
static_assert(ARRAY_LEN(errors) == API_ERROR_COUNT, "one row an error");

/* -- strings */

static void put_u4(struct buf *out, uint32_t unit) {
    static const char hex[] = "0123456789abcdef";
    char text[6] = {
        '\\', 'u', hex[unit >> 12 & 15], hex[unit >> 8 & 15], hex[unit >> 4 & 15], hex[unit & 15]};
    buf_put(out, text, sizeof text);
}

static void put_escape(struct buf *out, char c) {
    switch (c) {
    case '"': buf_put_sv(out, SV("\\\"")); break;
    case '\\': buf_put_sv(out, SV("\\\\")); break;
    case '\n': buf_put_sv(out, SV("\\n")); break;
    case '\r': buf_put_sv(out, SV("\\r")); break;
    case '\t': buf_put_sv(out, SV("\\t")); break;
    default: put_u4(out, (unsigned char)c);
    }
}

static bool is_special(char c) {
    return (unsigned char)c < 0x20 || c == '"' || c == '\\';
}

void api_put_label(struct buf *out, struct sv s) {
    buf_put_char(out, '"');
    size_t from = 0;
    for (size_t i = 0; i < s.len; i++) {
        if (!is_special(s.ptr[i])) continue;
        buf_put(out, s.ptr + from, i - from);
        put_escape(out, s.ptr[i]);
        from = i + 1;
    }
    buf_put(out, s.ptr + from, s.len - from);
    buf_put_char(out, '"');
}

void api_put_text(struct buf *out, struct sv s) {
    buf_put_char(out, '"');
    while (s.len > 0) {
        size_t plain = 0;
        while (plain < s.len && (unsigned char)s.ptr[plain] < 0x80 && !is_special(s.ptr[plain]) &&
               s.ptr[plain] != '<' && s.ptr[plain] != '>' && s.ptr[plain] != '&')
            plain++;
        buf_put(out, s.ptr, plain);
        s = sv_skip(s, plain);
        if (s.len == 0) break;
        uint32_t rune;
        size_t width = utf8_decode(s, &rune);
        if (rune < 0x80)
            put_escape(out, (char)rune);
        else if (rune == 0x2028 || rune == 0x2029 || (rune == UTF8_INVALID && width == 1))
            put_u4(out, rune);
        else
            buf_put(out, s.ptr, width);
        s = sv_skip(s, width);
    }
    buf_put_char(out, '"');
}

void api_put_label_set(struct buf *out, const struct label *labels, size_t count) {
    buf_put_char(out, '{');
    for (size_t i = 0; i < count; i++) {
        if (i > 0) buf_put_char(out, ',');
        api_put_label(out, labels[i].name);
        buf_put_char(out, ':');
        api_put_label(out, labels[i].value);
    }
    buf_put_char(out, '}');
}

/* -- errors */

static void answer_error(struct http_request *req, enum api_error error, struct sv text) {
    struct buf b = {0};
    buf_put_sv(&b, SV("{\"status\":\"error\",\"errorType\":\""));
    buf_put_sv(&b, sv_from(errors[error].name));
    buf_put_sv(&b, SV("\",\"error\":"));
    api_put_text(&b, text);
    buf_put_char(&b, '}');
    if (error == API_INCOMPLETE) http_answer_header(req, SV("Retry-After"), SV("1"));
    http_answer_take(req, errors[error].code, API_JSON, &b);
}

void api_fail(struct http_request *req, enum api_error error, const char *fmt, ...) {
    struct buf text = {0};
    char local[1024];
    va_list ap;
    va_start(ap, fmt);
    int n = vsnprintf(local, sizeof local, fmt, ap);
    va_end(ap);
    if (n >= 0 && (size_t)n >= sizeof local) {
        char *p = buf_extend(&text, (size_t)n + 1);
        va_start(ap, fmt);
        if (p != NULL) vsnprintf(p, (size_t)n + 1, fmt, ap);
        va_end(ap);
    }
    bool is_long = text.len > 0;
    answer_error(req, error, is_long ? sv_make(text.ptr, text.len - 1) : sv_from(local));
    buf_fini(&text);
}

void api_fail_param(struct http_request *req, const char *name, const char *text) {
    api_fail(req, API_BAD_DATA, "invalid parameter \"%s\": %s", name, text);
}

static enum api_error error_of_status(enum status status) {
    switch (status) {
    case ERR_PARSE: return API_BAD_DATA;
    case ERR_EXEC:
    case ERR_LIMIT:
    case ERR_UNSUPPORTED: return API_EXECUTION;
    case ERR_CANCELED: return API_CANCELED;
    case ERR_TIMEOUT: return API_TIMEOUT;
    case ERR_UNAVAILABLE: return API_INCOMPLETE;
    case OK:
    case ERR_NOMEM:
    case ERR_IO:
    case ERR_CORRUPT:
    case ERR_CONFLICT:
    case STATUS_COUNT: break;
    }
    return API_INTERNAL;
}

void api_fail_status(struct http_request *req, enum status status, const struct err *err) {
    if (status == ERR_PARSE)
        api_fail_param(req, "query", err->msg);
    else
        api_fail(req, error_of_status(status), "%s", err->msg);
}

/* -- success */

void api_answer(struct http_request *req, struct buf *data) {
    struct buf b = {0};
    buf_put_sv(&b, SV("{\"status\":\"success\",\"data\":"));
    buf_put_sv(&b, buf_sv(data));
    buf_put_char(&b, '}');
    if (data->failed) b.failed = true;
    buf_fini(data);
    http_answer_take(req, 200, API_JSON, &b);
}

void api_answer_none(struct http_request *req) {
    http_answer(req, 204, (struct sv){0}, (struct sv){0});
}

static void put_texts(struct buf *out, char **texts, size_t count, bool *first) {
    for (size_t i = 0; i < count; i++) {
        if (!*first) buf_put_char(out, ',');
        *first = false;
        api_put_text(out, sv_from(texts[i]));
    }
}

void api_put_notes(struct buf *out, const struct api_notes *n) {
    bool first = true;
    if (n->warning != NULL || n->warnings_count + n->gather_warnings_count > 0) {
        buf_put_sv(out, SV(",\"warnings\":["));
        put_texts(out, n->gather_warnings, n->gather_warnings_count, &first);
        put_texts(out, n->warnings, n->warnings_count, &first);
        if (n->warning != NULL && !first) buf_put_char(out, ',');
        if (n->warning != NULL) api_put_text(out, sv_from(n->warning));
        buf_put_char(out, ']');
    }
    first = true;
    if (n->infos_count > 0) {
        buf_put_sv(out, SV(",\"infos\":["));
        put_texts(out, n->infos, n->infos_count, &first);
        buf_put_char(out, ']');
    }
    buf_put_char(out, '}');
}

void api_put_label_bytes(struct buf *out, struct sv canonical) {
    struct label l;
    bool first = true;
    buf_put_char(out, '{');
    while (labels_next(&canonical, &l, NULL)) {
        if (!first) buf_put_char(out, ',');
        first = false;
        api_put_label(out, l.name);
        buf_put_char(out, ':');
        api_put_label(out, l.value);
    }
    buf_put_char(out, '}');
}
