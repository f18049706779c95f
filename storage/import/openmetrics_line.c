/* SPDX-License-Identifier: Apache-2.0 */
/*   line   := "# EOF" | "# " ("HELP" | "TYPE" | "UNIT") " " name " " text
 *           | [name] ["{" [label {"," label}] "}"] " " number " " seconds [" # " exemplar]
 *   label  := (name | string) "=" string, or a string alone: the metric's name
 *   string := quoted, with the escapes \\ \" \n */
#include "storage/import/openmetrics_line.h"

#include <math.h>
#include <stdlib.h>

#include "node/base/num.h"
#include "node/base/utf8.h"

static enum status bad(struct err *err, const char *what, struct sv at) {
    return err_set(err, ERR_PARSE, 0, "%s at \"%.*s\"", what, (int)MIN(at.len, (size_t)40),
                   at.ptr == NULL ? "" : at.ptr);
}

static bool is_name_char(char c, bool first, bool metric) {
    if ((c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_') return true;
    return metric && c == ':' ? true : !first && c >= '0' && c <= '9';
}

static struct sv take_name(struct sv *rest, bool metric) {
    size_t n = 0;
    while (n < rest->len && is_name_char(rest->ptr[n], n == 0, metric))
        n++;
    struct sv name = sv_take(*rest, n);
    *rest = sv_skip(*rest, n);
    return name;
}

static bool take(struct sv *rest, struct sv what) {
    if (!sv_starts(*rest, what)) return false;
    *rest = sv_skip(*rest, what.len);
    return true;
}

/* A quoted string, its escapes resolved into p->text, which has room and so does not move. */
static bool take_string(struct om_parser *p, struct sv *rest, struct sv *out) {
    if (!take(rest, SV("\""))) return false;
    size_t begin = p->text.len;
    for (size_t i = 0; i < rest->len; i++) {
        char c = rest->ptr[i];
        if (c == '"') {
            *out = sv_make(p->text.ptr + begin, p->text.len - begin);
            *rest = sv_skip(*rest, i + 1);
            return utf8_valid(*out);
        }
        if (c == '\\' && i + 1 < rest->len) {
            char next = rest->ptr[i + 1];
            bool known = next == '\\' || next == '"' || next == 'n';
            if (known) {
                c = next == 'n' ? '\n' : next;
                i++;
            }
        }
        buf_put_char(&p->text, c);
    }
    return false;
}

static enum status add_label(struct om_parser *p, struct sv name, struct sv value) {
    void *labels = p->labels;
    TRY(prom_grow(&labels, &p->labels_cap, p->labels_count, sizeof *p->labels));
    p->labels = labels;
    p->labels[p->labels_count++] = (struct label){name, value};
    return OK;
}

static enum status take_label(struct om_parser *p, struct sv *rest, struct err *err) {
    struct sv at = *rest, name, value;
    bool quoted = sv_starts(*rest, SV("\""));
    if (quoted) {
        if (!take_string(p, rest, &name) || name.len == 0)
            return bad(err, "malformed quoted name", at);
        if (!sv_starts(*rest, SV("="))) return add_label(p, SV("__name__"), name);
    } else {
        name = take_name(rest, false);
    }
    if (name.len == 0 || !take(rest, SV("="))) return bad(err, "expected a label", at);
    at = *rest;
    if (!take_string(p, rest, &value)) return bad(err, "malformed label value", at);
    return add_label(p, name, value);
}

static enum status take_series(struct om_parser *p, struct sv *rest, struct sv *out,
                               struct err *err) {
    p->labels_count = 0;
    buf_clear(&p->text);
    buf_clear(&p->canonical);
    if (!buf_reserve(&p->text, rest->len + 1)) return ERR_NOMEM;
    struct sv at = *rest, name = take_name(rest, true);
    if (name.len > 0) TRY(add_label(p, SV("__name__"), name));
    if (take(rest, SV("{")) && !take(rest, SV("}"))) {
        do
            TRY(take_label(p, rest, err));
        while (take(rest, SV(",")));
        if (!take(rest, SV("}"))) return bad(err, "expected , or }", *rest);
    }
    struct err inner;
    enum status got = labels_encode(p->labels, p->labels_count, &p->canonical, &inner);
    if (got == ERR_CONFLICT) return err_set(err, ERR_PARSE, 0, "%s", inner.msg);
    if (got != OK || p->canonical.failed) return ERR_NOMEM;
    *out = buf_sv(&p->canonical);
    if (labels_get(*out, SV("__name__")).len == 0) return bad(err, "expected a metric name", at);
    return OK;
}

static bool take_number(struct sv *rest, double *out) {
    size_t n = 0;
    while (n < rest->len && rest->ptr[n] != ' ')
        n++;
    struct sv text = sv_take(*rest, n);
    for (size_t i = 0; i < n; i++) /* Prometheus takes neither hexadecimals nor underscores */
        if (text.ptr[i] == 'p' || text.ptr[i] == 'P' || text.ptr[i] == '_') return false;
    *rest = sv_skip(*rest, n);
    return num_parse_f64(text, out);
}

static enum status parse_sample(struct om_parser *p, struct sv line, struct om_line *out,
                                struct err *err) {
    struct sv rest = line, at;
    out->kind = OM_SAMPLE;
    TRY(take_series(p, &rest, &out->canonical, err));
    at = rest;
    if (!take(&rest, SV(" ")) || !take_number(&rest, &out->value))
        return bad(err, "expected a value", at);
    at = rest;
    double seconds;
    if (rest.len == 0 || sv_starts(rest, SV(" # ")))
        return bad(err, "expected a timestamp for the series, got none", line);
    if (!take(&rest, SV(" ")) || !take_number(&rest, &seconds))
        return bad(err, "malformed timestamp", at);
    /* what a double holds to the millisecond; NaN is neither */
    if (!(fabs(seconds) < 1e12)) return bad(err, "timestamp out of range", at);
    out->time_ms = llround(seconds * 1000);
    out->has_exemplar = sv_starts(rest, SV(" # {"));
    if (rest.len > 0 && !out->has_exemplar) return bad(err, "unexpected text", rest);
    return OK;
}

static enum status parse_comment(struct sv line, struct om_line *out, struct err *err) {
    static const struct sv types[] = {
        SV_INIT("counter"), SV_INIT("gauge"), SV_INIT("histogram"), SV_INIT("gaugehistogram"),
        SV_INIT("summary"), SV_INIT("info"),  SV_INIT("stateset"),  SV_INIT("unknown")};
    struct sv rest = line;
    out->kind = OM_METADATA;
    bool type = take(&rest, SV("# TYPE "));
    if (!type && !take(&rest, SV("# HELP ")) && !take(&rest, SV("# UNIT ")))
        return bad(err, "expected # HELP, # TYPE, # UNIT or # EOF", line);
    if (sv_starts(rest, SV("\""))) {
        size_t end = 1;
        while (end < rest.len && rest.ptr[end] != '"')
            end += rest.ptr[end] == '\\' ? 2 : 1;
        rest = sv_skip(rest, end + 1);
    } else if (take_name(&rest, true).len == 0) {
        return bad(err, "expected a metric name", rest);
    }
    if (!take(&rest, SV(" "))) return rest.len == 0 && !type ? OK : bad(err, "malformed", line);
    if (!utf8_valid(rest)) return bad(err, "text that is not UTF-8", line);
    for (size_t i = 0; type && i < ARRAY_LEN(types); i++)
        if (sv_eq(rest, types[i])) return OK;
    return type ? bad(err, "unknown metric type", rest) : OK;
}

enum status om_parse(struct om_parser *p, struct sv line, struct om_line *out, struct err *err) {
    *out = (struct om_line){0};
    if (sv_eq(line, SV("# EOF"))) {
        out->kind = OM_EOF;
        return OK;
    }
    if (sv_starts(line, SV("#"))) return parse_comment(line, out, err);
    return parse_sample(p, line, out, err);
}

void om_parser_fini(struct om_parser *p) {
    free(p->labels);
    buf_fini(&p->text);
    buf_fini(&p->canonical);
}
