/* SPDX-License-Identifier: Apache-2.0 */
/*   line   := "# EOF" | "# " ("HELP" | "TYPE" | "UNIT") " " name " " text
 *           | [name] ["{" [label {"," label}] "}"] " " number " " seconds
 *             [" # {" [label {"," label}] "} " number [" " seconds]]
 *   label  := (name | string) "=" string, or a string alone: the metric's name
 *   string := quoted, with the escapes \\ \" \n, which the text of HELP has, too
 * An exemplar may be at any sample, as in later versions of Prometheus; escapes in its labels count
 * as the specification says, where Prometheus leaves them as they are. */
#include "storage/import/openmetrics_line.h"

#include <assert.h>
#include <math.h>
#include <stdlib.h>

#include "node/base/num.h"
#include "node/base/utf8.h"
#include "storage/entry.h"

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

/* The character at *at of the text, or what its escape stands for; *at moves behind it. */
static char take_char(struct sv text, size_t *at) {
    char c = text.ptr[(*at)++];
    if (c != '\\' || *at == text.len) return c;
    char next = text.ptr[*at];
    if (next != '\\' && next != '"' && next != 'n') return c;
    ++*at;
    return next == 'n' ? '\n' : next;
}

/* A quoted string, its escapes resolved into p->text, which has room and so does not move. */
static bool take_string(struct om_parser *p, struct sv *rest, struct sv *out) {
    if (!take(rest, SV("\""))) return false;
    size_t begin = p->text.len;
    for (size_t i = 0; i < rest->len;) {
        if (rest->ptr[i] == '"') {
            *out = sv_make(p->text.ptr + begin, p->text.len - begin);
            *rest = sv_skip(*rest, i + 1);
            return utf8_valid(*out);
        }
        buf_put_char(&p->text, take_char(*rest, &i));
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

static enum status take_label(struct om_parser *p, struct sv *rest, bool names_metric,
                              struct err *err) {
    struct sv at = *rest, name, value;
    bool quoted = sv_starts(*rest, SV("\""));
    if (quoted) {
        if (!take_string(p, rest, &name) || name.len == 0)
            return bad(err, "malformed quoted name", at);
        if (names_metric && !sv_starts(*rest, SV("="))) return add_label(p, SV("__name__"), name);
    } else {
        name = take_name(rest, false);
    }
    if (name.len == 0 || !take(rest, SV("="))) return bad(err, "expected a label", at);
    at = *rest;
    if (!take_string(p, rest, &value)) return bad(err, "malformed label value", at);
    return add_label(p, name, value);
}

/* Behind the {. */
static enum status take_labels(struct om_parser *p, struct sv *rest, bool names_metric,
                               struct err *err) {
    if (take(rest, SV("}"))) return OK;
    do
        TRY(take_label(p, rest, names_metric, err));
    while (take(rest, SV(",")));
    return take(rest, SV("}")) ? OK : bad(err, "expected , or }", *rest);
}

static enum status take_series(struct om_parser *p, struct sv *rest, struct sv *out,
                               struct err *err) {
    p->labels_count = 0;
    buf_clear(&p->text);
    buf_clear(&p->canonical);
    if (!buf_reserve(&p->text, rest->len + 1)) return ERR_NOMEM;
    struct sv at = *rest, name = take_name(rest, true);
    if (name.len > 0) TRY(add_label(p, SV("__name__"), name));
    if (take(rest, SV("{"))) TRY(take_labels(p, rest, true, err));
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

static enum status take_time(struct sv *rest, int64_t *out_ms, struct err *err) {
    struct sv at = *rest;
    double seconds;
    if (!take(rest, SV(" ")) || !take_number(rest, &seconds))
        return bad(err, "malformed timestamp", at);
    /* what a double holds to the millisecond; NaN is neither */
    if (!(fabs(seconds) < 1e12)) return bad(err, "timestamp out of range", at);
    *out_ms = llround(seconds * 1000);
    return OK;
}

/* Behind " # {". Labels that repeat a name, or that are too long, do not make the file a bad one.
 */
static enum status take_exemplar(struct om_parser *p, struct sv *rest, struct om_line *out,
                                 struct err *err) {
    p->labels_count = 0;
    buf_clear(&p->text);
    buf_clear(&p->exemplar);
    out->has_exemplar = true;
    TRY(take_labels(p, rest, false, err));
    struct err inner;
    enum status got = labels_encode(p->labels, p->labels_count, &p->exemplar, &inner);
    if ((got != OK && got != ERR_CONFLICT) || p->exemplar.failed) return ERR_NOMEM;
    struct prom_exemplar *e = &out->exemplar;
    e->labels = buf_sv(&p->exemplar);
    e->time_ms = out->time_ms;
    out->exemplar_fits = got == OK && entry_exemplar_labels_valid(e->labels);
    struct sv at = *rest;
    if (!take(rest, SV(" ")) || !take_number(rest, &e->value))
        return bad(err, "expected a value of the exemplar", at);
    return rest->len == 0 ? OK : take_time(rest, &e->time_ms, err);
}

static enum status parse_sample(struct om_parser *p, struct sv line, struct om_line *out,
                                struct err *err) {
    struct sv rest = line, at;
    out->kind = OM_SAMPLE;
    TRY(take_series(p, &rest, &out->canonical, err));
    at = rest;
    if (!take(&rest, SV(" ")) || !take_number(&rest, &out->value))
        return bad(err, "expected a value", at);
    if (rest.len == 0 || sv_starts(rest, SV(" # ")))
        return bad(err, "expected a timestamp for the series, got none", line);
    TRY(take_time(&rest, &out->time_ms, err));
    if (take(&rest, SV(" # {"))) TRY(take_exemplar(p, &rest, out, err));
    return rest.len == 0 ? OK : bad(err, "unexpected text", rest);
}

static enum status take_family(struct om_parser *p, struct sv *rest, struct sv *out,
                               struct err *err) {
    struct sv at = *rest;
    if (!sv_starts(*rest, SV("\""))) {
        *out = take_name(rest, true);
        return out->len == 0 ? bad(err, "expected a metric name", at) : OK;
    }
    bool whole = take_string(p, rest, out) && out->len > 0;
    return whole ? OK : bad(err, "malformed quoted name", at);
}

/* In the order of storage/entry.h: of prometheus.MetricMetadata. */
static enum status take_type(struct sv text, uint8_t *out, struct err *err) {
    static const struct sv types[] = {
        SV_INIT("unknown"),        SV_INIT("counter"), SV_INIT("gauge"), SV_INIT("histogram"),
        SV_INIT("gaugehistogram"), SV_INIT("summary"), SV_INIT("info"),  SV_INIT("stateset")};
    static_assert(ARRAY_LEN(types) == ENTRY_METADATA_TYPES, "one name each");
    for (uint8_t i = 0; i < ARRAY_LEN(types); i++) {
        if (!sv_eq(text, types[i])) continue;
        *out = i;
        return OK;
    }
    return bad(err, "unknown metric type", text);
}

static enum status take_unit(const struct om_line *line, struct err *err) {
    struct sv name = line->name, unit = line->text;
    bool is_suffix = name.len > unit.len && name.ptr[name.len - unit.len - 1] == '_' &&
                     sv_eq(sv_skip(name, name.len - unit.len), unit);
    return unit.len == 0 || is_suffix ? OK
                                      : bad(err, "a unit that its metric does not end with", unit);
}

static enum status parse_comment(struct om_parser *p, struct sv line, struct om_line *out,
                                 struct err *err) {
    struct sv rest = line;
    out->kind = OM_METADATA;
    if (take(&rest, SV("# TYPE ")))
        out->said = OM_TYPE;
    else if (take(&rest, SV("# HELP ")))
        out->said = OM_HELP;
    else if (take(&rest, SV("# UNIT ")))
        out->said = OM_UNIT;
    else
        return bad(err, "expected # HELP, # TYPE, # UNIT or # EOF", line);
    buf_clear(&p->text);
    if (!buf_reserve(&p->text, rest.len + 1)) return ERR_NOMEM;
    TRY(take_family(p, &rest, &out->name, err));
    if (rest.len == 0 && out->said != OM_TYPE) return OK;
    if (!take(&rest, SV(" "))) return bad(err, "malformed", line);
    if (!utf8_valid(rest)) return bad(err, "text that is not UTF-8", line);
    size_t begin = p->text.len;
    for (size_t i = 0; out->said == OM_HELP && i < rest.len;)
        buf_put_char(&p->text, take_char(rest, &i));
    out->text = rest;
    if (out->said == OM_HELP) out->text = sv_make(p->text.ptr + begin, p->text.len - begin);
    if (out->said == OM_TYPE) return take_type(rest, &out->type, err);
    return out->said == OM_UNIT ? take_unit(out, err) : OK;
}

enum status om_parse(struct om_parser *p, struct sv line, struct om_line *out, struct err *err) {
    *out = (struct om_line){0};
    if (sv_eq(line, SV("# EOF"))) {
        out->kind = OM_EOF;
        return OK;
    }
    if (sv_starts(line, SV("#"))) return parse_comment(p, line, out, err);
    return parse_sample(p, line, out, err);
}

void om_parser_fini(struct om_parser *p) {
    free(p->labels);
    buf_fini(&p->text);
    buf_fini(&p->canonical);
    buf_fini(&p->exemplar);
}
