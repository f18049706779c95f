/* SPDX-License-Identifier: Apache-2.0 */
#include <inttypes.h>
#include <math.h>
#include <stdio.h>

#include "node/base/duration.h"
#include "node/base/num.h"
#include "query/api/internal.h"
#include "query/promql/parser.h"

struct sv api_form(struct http_request *req, const char *name) {
    struct sv value;
    if (http_form_get(req, sv_from(name), &value) && value.len > 0) return value;
    return SV("");
}

bool api_flag(struct http_request *req, const char *name) {
    struct sv v = api_form(req, name);
    return sv_eq(v, SV("true")) || sv_eq(v, SV("1"));
}

/* `cannot parse "text" to a valid <what>` */
static void put_cannot_parse(struct sv s, const char *what, char *out, size_t size) {
    struct buf quoted = {0};
    go_put_quoted(&quoted, sv_take(s, 200));
    snprintf(out, size, "cannot parse %.*s to a valid %s", SV_ARG(buf_sv(&quoted)), what);
    buf_fini(&quoted);
}

/* Seconds as a float keep three decimals, as Prometheus' parseTime rounds them; the truncation of
 * nanoseconds that follows is part of the answer. */
bool api_time_parse(struct sv s, int64_t *out_ms) {
    double t;
    if (s.len > 0 && num_parse_f64_literal(s, &t)) {
        if (!(fabs(t) <= 9.2e15)) return false;
        double seconds, fraction = modf(t, &seconds);
        fraction = round(fraction * 1000) / 1000;
        int64_t ns = (int64_t)(fraction * 1e9);
        int64_t ms = ns / 1000000 - (ns % 1000000 < 0);
        *out_ms = (int64_t)seconds * 1000 + ms;
        return true;
    }
    if (civil_parse_rfc3339(s, out_ms)) return true;
    if (sv_eq(s, SV("-292273086-05-16T16:47:06Z"))) {
        *out_ms = API_MIN_MS;
        return true;
    }
    if (sv_eq(s, SV("292277025-08-18T07:12:54.999999999Z"))) {
        *out_ms = API_MAX_MS;
        return true;
    }
    return false;
}

bool api_time(struct http_request *req, const char *name, int64_t default_ms, int64_t *out_ms) {
    struct sv s = api_form(req, name);
    *out_ms = default_ms;
    if (s.len == 0 || api_time_parse(s, out_ms)) return true;
    char text[1100], full[1300];
    put_cannot_parse(s, "timestamp", text, sizeof text);
    snprintf(full, sizeof full, "invalid time value for '%s': %s", name, text);
    api_fail_param(req, name, full);
    return false;
}

bool api_time_required(struct http_request *req, const char *name, int64_t *out_ms) {
    struct sv s = api_form(req, name);
    if (api_time_parse(s, out_ms)) return true;
    char text[1100];
    put_cannot_parse(s, "timestamp", text, sizeof text);
    api_fail_param(req, name, text);
    return false;
}

bool api_duration_parse(struct sv s, int64_t *out_ns, struct err *err) {
    char text[400];
    double seconds;
    int64_t ms;
    put_cannot_parse(sv_take(s, 60), "duration", text, sizeof text);
    if (s.len > 0 && num_parse_f64_literal(s, &seconds)) {
        double ns = seconds * 1e9;
        if (!(ns < 9223372036854775807.0 && ns > -9223372036854775808.0)) {
            status_ignore(err_set(err, ERR_PARSE, 0, "%s. It overflows int64", text));
            return false;
        }
        *out_ns = (int64_t)ns;
        return true;
    }
    if (duration_parse(s, &ms) && !__builtin_mul_overflow(ms, (int64_t)1000000, out_ns))
        return true;
    status_ignore(err_set(err, ERR_PARSE, 0, "%s", text));
    return false;
}

bool api_limit(struct http_request *req, uint64_t *out) {
    struct sv s = api_form(req, "limit");
    int64_t v = 0;
    *out = 0;
    if (s.len == 0) return true;
    if (num_parse_i64(s, &v)) {
        *out = (uint64_t)v;
        if (v >= 0) return true;
        api_fail_param(req, "limit", "limit must be non-negative");
        return false;
    }
    bool digits = true;
    for (size_t i = s.ptr[0] == '-' || s.ptr[0] == '+'; i < s.len; i++)
        digits &= s.ptr[i] >= '0' && s.ptr[i] <= '9';
    digits &= s.len > (s.ptr[0] == '-' || s.ptr[0] == '+');
    struct buf quoted = {0};
    go_put_quoted(&quoted, sv_take(s, 200));
    char text[1100];
    snprintf(text, sizeof text, "strconv.Atoi: parsing %.*s: %s", SV_ARG(buf_sv(&quoted)),
             digits ? "value out of range" : "invalid syntax");
    buf_fini(&quoted);
    api_fail_param(req, "limit", text);
    return false;
}

static bool match_texts(struct http_request *req, struct sv **out, size_t *out_count) {
    struct err err = {0};
    if (http_form_all(req, SV("match[]"), out, out_count, &err) == OK) return true;
    api_fail(req, API_BAD_DATA, "error parsing form values: %s", err.msg);
    return false;
}

bool api_match_required(struct http_request *req, struct sv **out, size_t *out_count) {
    if (!match_texts(req, out, out_count)) return false;
    if (*out_count > 0) return true;
    api_fail(req, API_BAD_DATA, "no match[] parameter provided");
    return false;
}

bool api_selectors(struct http_request *req, bool invalid_param, struct sv **out,
                   size_t *out_count) {
    struct err err = {0};
    if (!match_texts(req, out, out_count)) return false;
    enum status st = OK;
    bool all = false;
    for (size_t i = 0; i < *out_count && st == OK; i++) {
        struct matcher *matchers;
        size_t count;
        st = promql_parse_selector((*out)[i], req->arena, &matchers, &count, &err);
        if (st != OK) break;
        all |= promql_matchers_select_all(matchers, count);
        promql_matchers_free(matchers, count);
    }
    if (st == OK && all)
        st = err_set(&err, ERR_PARSE, 0, "match[] must contain at least one non-empty matcher");
    if (st == OK) return true;
    if (st == ERR_NOMEM)
        api_fail(req, API_INTERNAL, "%s", err.msg);
    else if (invalid_param)
        api_fail_param(req, "match[]", err.msg);
    else
        api_fail(req, API_BAD_DATA, "%s", err.msg);
    return false;
}
