/* SPDX-License-Identifier: Apache-2.0 */
/* Percent-encoding, request targets and forms, with the results and error texts of Go's net/url. */
#include <assert.h>
#include <stdio.h>

#include "node/http/internal.h"

static int hex_digit(char c) {
    if (c >= '0' && c <= '9') return c - '0';
    if (c >= 'a' && c <= 'f') return c - 'a' + 10;
    if (c >= 'A' && c <= 'F') return c - 'A' + 10;
    return -1;
}

enum status url_decode(struct sv s, bool form, struct arena *arena, struct sv *out,
                       struct err *err) {
    char *to = arena_alloc(arena, s.len + 1);
    if (to == NULL) return err_set(err, ERR_NOMEM, 0, "no memory to decode %zu bytes", s.len);
    size_t n = 0;
    for (size_t i = 0; i < s.len; i++) {
        char c = s.ptr[i];
        if (c == '%') {
            int high = i + 2 < s.len ? hex_digit(s.ptr[i + 1]) : -1;
            int low = i + 2 < s.len ? hex_digit(s.ptr[i + 2]) : -1;
            if (high < 0 || low < 0) {
                struct sv bad = sv_take(sv_skip(s, i), 3);
                return err_set(err, ERR_PARSE, 0, "invalid URL escape \"%.*s\"", SV_ARG(bad));
            }
            c = (char)(high << 4 | low);
            i += 2;
        } else if (c == '+' && form) {
            c = ' ';
        }
        to[n++] = c;
    }
    to[n] = '\0';
    *out = sv_make(to, n);
    return OK;
}

struct sv http_trim_ows(struct sv s) {
    while (s.len > 0 && (s.ptr[0] == ' ' || s.ptr[0] == '\t'))
        s = sv_skip(s, 1);
    while (s.len > 0 && (s.ptr[s.len - 1] == ' ' || s.ptr[s.len - 1] == '\t'))
        s.len--;
    return s;
}

enum status http_target_split(struct sv target, struct arena *arena, struct sv *out_path,
                              struct sv *out_query, struct err *err) {
    size_t i;
    if (target.len > 0 && target.ptr[0] != '/' && sv_find(target, SV("://"), &i)) {
        struct sv rest = sv_skip(target, i + 3);
        size_t authority = 0;
        while (authority < rest.len && rest.ptr[authority] != '/' && rest.ptr[authority] != '?')
            authority++;
        target = sv_skip(rest, authority);
    }
    struct sv path;
    struct sv query = sv_cut(target, '?', &path);
    if (path.len == 0) path = SV("/");
    TRY(url_decode(path, false, arena, out_path, err));
    size_t nul;
    if (sv_find_char(*out_path, '\0', &nul)) return err_set(err, ERR_PARSE, 0, "NUL in the path");
    *out_query = query;
    return OK;
}

static void form_fail(struct http_exchange *x, const struct err *err) {
    if (x->form_status != OK) return; /* the first one is reported */
    x->form_status = err->code;
    snprintf(x->form_msg, sizeof x->form_msg, "%.*s", (int)sizeof x->form_msg - 1, err->msg);
}

/* Go's url.ParseQuery: a bad pair is an error, the others are kept. */
static void form_add(struct http_exchange *x, struct sv text, size_t *cap) {
    struct err err;
    while (text.len > 0) {
        struct sv pair, name;
        text = sv_cut(text, '&', &pair);
        size_t at;
        if (sv_find_char(pair, ';', &at)) {
            err_set(&err, ERR_PARSE, 0, "invalid semicolon separator in query");
            form_fail(x, &err);
            continue;
        }
        if (pair.len == 0) continue;
        struct sv value = sv_cut(pair, '=', &name);
        if (x->params_count == HTTP_PARAMS_MAX) {
            err_set(&err, ERR_LIMIT, 0, "more than %d form parameters", HTTP_PARAMS_MAX);
            form_fail(x, &err);
            return;
        }
        if (x->params_count == *cap) {
            size_t more = *cap == 0 ? 8 : *cap * 2;
            size_t size = sizeof *x->params;
            struct http_param *grown =
                arena_grow(x->req.arena, x->params, *cap * size, more * size);
            if (grown == NULL) {
                err_set(&err, ERR_NOMEM, 0, "no memory for form parameters");
                form_fail(x, &err);
                return;
            }
            x->params = grown;
            *cap = more;
        }
        struct http_param *p = &x->params[x->params_count];
        if (url_decode(name, true, x->req.arena, &p->name, &err) != OK ||
            url_decode(value, true, x->req.arena, &p->value, &err) != OK) {
            form_fail(x, &err);
            continue;
        }
        x->params_count++;
    }
}

static bool has_form_body(const struct http_request *req) {
    if (req->method != HTTP_POST && req->method != HTTP_PUT) return false;
    struct sv type;
    sv_cut(http_header_get(req, SV("content-type")), ';', &type);
    return sv_eq_nocase(http_trim_ows(type), SV("application/x-www-form-urlencoded"));
}

static void form_parse(struct http_exchange *x) {
    if (x->form_parsed) return;
    x->form_parsed = true;
    size_t cap = 0;
    if (has_form_body(&x->req)) form_add(x, x->req.body, &cap);
    form_add(x, x->req.raw_query, &cap);
}

bool http_form_get(struct http_request *req, struct sv name, struct sv *out) {
    struct http_exchange *x = http_exchange_of(req);
    form_parse(x);
    for (size_t i = 0; i < x->params_count; i++) {
        if (!sv_eq(x->params[i].name, name)) continue;
        *out = x->params[i].value;
        return true;
    }
    return false;
}

enum status http_form_all(struct http_request *req, struct sv name, struct sv **out,
                          size_t *out_count, struct err *err) {
    struct http_exchange *x = http_exchange_of(req);
    form_parse(x);
    if (x->form_status != OK) return err_set(err, x->form_status, 0, "%s", x->form_msg);
    size_t count = 0;
    for (size_t i = 0; i < x->params_count; i++)
        count += sv_eq(x->params[i].name, name);
    struct sv *values = arena_array(req->arena, count, sizeof *values);
    if (values == NULL) return err_set(err, ERR_NOMEM, 0, "no memory for form parameters");
    size_t n = 0;
    for (size_t i = 0; i < x->params_count; i++)
        if (sv_eq(x->params[i].name, name)) values[n++] = x->params[i].value;
    assert(n == count);
    *out = values;
    *out_count = count;
    return OK;
}
