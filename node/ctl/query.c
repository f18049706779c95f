/* SPDX-License-Identifier: Apache-2.0 */
#include <math.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "node/base/duration.h"
#include "node/base/num.h"
#include "node/ctl/print.h"

enum { QUERY_TIMEOUT_S = 120, RANGE_DEFAULT_S = 300, STEPS_DEFAULT = 250, EVER_HOURS = 9999 };

struct query_options {
    union flag_value help, version, format, header, time, start, end, step, match;
};
#define AT(field) offsetof(struct query_options, field)
#define COMMON                                                                                     \
    {"help", 'h', FLAG_BOOL, NULL, "Show this help.", AT(help), false},                            \
        {"version", 0, FLAG_BOOL, NULL, "Show the version.", AT(version), false}, {                \
        "format", 'o', FLAG_STRING, "promql",                                                      \
            "Output format of the query: promql, json, table or graph.", AT(format), false         \
    }

static const struct flag_def instant_defs[] = {
    COMMON,
    {"time", 0, FLAG_STRING, "", "Query evaluation time (RFC3339 or Unix timestamp).", AT(time),
     false},
    {"header", 0, FLAG_LIST, NULL, "Extra headers to send to server.", AT(header), false},
};
static const struct flag_def range_defs[] = {
    COMMON,
    {"header", 0, FLAG_LIST, NULL, "Extra headers to send to server.", AT(header), false},
    {"start", 0, FLAG_STRING, "", "Query range start time (RFC3339 or Unix timestamp).", AT(start),
     false},
    {"end", 0, FLAG_STRING, "", "Query range end time (RFC3339 or Unix timestamp).", AT(end),
     false},
    {"step", 0, FLAG_DURATION, NULL, "Query step size (duration).", AT(step), false},
};
static const struct flag_def list_defs[] = {
    COMMON,
    {"match", 0, FLAG_LIST, NULL, "Series selector. Can be specified multiple times.", AT(match),
     false},
    {"start", 0, FLAG_STRING, "", "Start time (RFC3339 or Unix timestamp).", AT(start), false},
    {"end", 0, FLAG_STRING, "", "End time (RFC3339 or Unix timestamp).", AT(end), false},
};

struct verb {
    const char *name, *arguments, *summary;
    const struct flag_def *defs;
    size_t defs_count;
    size_t arguments_count;
};

/* Parsed arguments. done: the exit code is *exit_code already. */
struct query_call {
    struct query_options o;
    struct flag_list arguments; /* server first */
    enum print_format format;
    struct buf form;
};

static bool get_format(const char *text, enum print_format *out) {
    static const char *const names[] = {"promql", "json", "table", "graph"}; /* by print_format */
    for (size_t i = 0; i < ARRAY_LEN(names); i++) {
        if (strcmp(text, names[i]) != 0) continue;
        *out = (enum print_format)i;
        return true;
    }
    return false;
}

static bool begin(const struct verb *v, int argc, char **argv, struct query_call *q,
                  int *exit_code) {
    struct err err = {0};
    *q = (struct query_call){0};
    if (flags_parse(v->defs, v->defs_count, argc, argv, &q->o, &q->arguments, &err) != OK) {
        *exit_code = ctl_fail("%s, try --help", err.msg);
    } else if (q->o.help.boolean) {
        *exit_code = ctl_help(v->name, v->arguments, v->summary, v->defs, v->defs_count);
    } else if (q->o.version.boolean) {
        *exit_code = printf("cairnctl, version %s\n", CAIRN_VERSION) < 0;
    } else if (!get_format(q->o.format.string, &q->format)) {
        *exit_code = ctl_fail("enum value must be one of promql,json,table,graph, got '%s', try "
                              "--help",
                              q->o.format.string);
    } else if (q->arguments.count < v->arguments_count) {
        *exit_code = ctl_fail("%s takes %s, try --help", v->name, v->arguments);
    } else if (q->arguments.count > v->arguments_count) {
        *exit_code = ctl_fail("unexpected %s, try --help", q->arguments.items[v->arguments_count]);
    } else {
        return true;
    }
    return false;
}

/* -- the answer */

static int fail_query(const char *text) {
    fprintf(stderr, "query error: %s\n", text);
    return 1;
}

/* As client_golang tells errors: those of the API by type and text, others by class and with the
 * body. */
static int fail_answer(const struct http_call *call, const json_t *answer) {
    const char *type = json_string_value(json_object_get(answer, "errorType"));
    const char *text = json_string_value(json_object_get(answer, "error"));
    if ((call->code == 400 || call->code == 422) && type != NULL && text != NULL) {
        fprintf(stderr, "query error: %s: %s\n", type, text);
        return 1;
    }
    const char *kind =
        call->code / 100 == 4 ? "client_error: client error" : "server_error: server error";
    fprintf(stderr, "query error: %s: %ld (detail: %.*s)\n", kind, call->code,
            SV_ARG(sv_trim(buf_sv(&call->body))));
    return 1;
}

static void put_warnings(const json_t *answer) {
    json_t *text;
    size_t i;
    json_array_foreach(json_object_get(answer, "warnings"), i, text) if (json_is_string(text))
        fprintf(stderr, "query warning: %s\n", json_string_value(text));
}

typedef enum status (*print_fn)(const json_t *data, enum print_format format, struct buf *out,
                                struct err *err);

static int print_answer(const struct query_call *q, const json_t *data, print_fn print) {
    struct buf out = {0};
    struct err err;
    enum status st = print(data, q->format, &out, &err);
    if (st == OK && out.failed) st = err_set(&err, ERR_NOMEM, 0, "out of memory");
    bool written = st != OK || out.len == 0 ||
                   (fwrite(out.ptr, 1, out.len, stdout) == out.len && fflush(stdout) == 0);
    buf_fini(&out);
    if (st != OK) return fail_query(err.msg);
    return written ? 0 : ctl_fail("cannot write the answer");
}

static int ask(struct query_call *q, const char *path, bool post, print_fn print) {
    struct err err = {0};
    struct http_call call = {.server = q->arguments.items[0],
                             .path = path,
                             .headers = &q->o.header.list,
                             .timeout_s = QUERY_TIMEOUT_S};
    struct buf target = {0};
    if (post) {
        call.form = &q->form;
    } else {
        buf_printf(&target, "%s?%.*s", path, SV_ARG(buf_sv(&q->form)));
        call.path = buf_cstr(&target);
    }
    int code = 1;
    if (call.path == NULL) {
        code = ctl_fail("out of memory");
    } else if (http_call_run(&call, &err) != OK) {
        code = fail_query(err.msg);
    } else {
        json_error_t at;
        json_t *answer = json_loadb(call.body.ptr == NULL ? "" : call.body.ptr, call.body.len,
                                    JSON_ALLOW_NUL | JSON_DECODE_INT_AS_REAL, &at);
        if (call.code / 100 == 2 && answer == NULL) {
            code = fail_query("the server's answer is not JSON");
        } else if (call.code / 100 != 2) {
            code = fail_answer(&call, answer);
        } else {
            put_warnings(answer);
            code = print_answer(q, json_object_get(answer, "data"), print);
        }
        json_decref(answer);
    }
    buf_fini(&call.body);
    buf_fini(&target);
    buf_fini(&q->form);
    return code;
}

/* -- times */

static double now_s(void) {
    struct timespec ts;
    clock_gettime(CLOCK_REALTIME, &ts);
    return (double)ts.tv_sec + (double)ts.tv_nsec / 1e9;
}

/* "": default_s. */
static bool get_time(const char *text, const char *what, double default_s, double *out_s) {
    struct sv s = sv_from(text);
    int64_t ms;
    *out_s = default_s;
    if (s.len == 0) return true;
    if (num_parse_f64_literal(s, out_s) && isfinite(*out_s)) return true;
    if (civil_parse_rfc3339(s, &ms)) {
        *out_s = (double)ms / 1000;
        return true;
    }
    struct buf quoted = {0};
    text_put_quoted(&quoted, s);
    fprintf(stderr, "error parsing %s time: cannot parse %.*s to a valid timestamp\n", what,
            SV_ARG(buf_sv(&quoted)));
    buf_fini(&quoted);
    return false;
}

static void form_put_f64(struct buf *form, const char *name, double v) {
    struct buf text = {0};
    num_put_f64(&text, v, 'f');
    form_put(form, name, buf_sv(&text));
    buf_fini(&text);
}

/* -- the verbs */

int query_instant(int argc, char **argv) {
    static const struct verb verb = {"query instant", "<server> <expr>",       "Run instant query.",
                                     instant_defs,    ARRAY_LEN(instant_defs), 2};
    static struct query_call q; /* flags live as long as the process */
    int code;
    double time_s;
    if (!begin(&verb, argc, argv, &q, &code)) return code;
    if (!get_time(q.o.time.string, "evaluation", now_s(), &time_s)) return 1;
    form_put(&q.form, "query", sv_from(q.arguments.items[1]));
    form_put_f64(&q.form, "time", time_s);
    return ask(&q, "/api/v1/query", true, print_result);
}

int query_range(int argc, char **argv) {
    static const struct verb verb = {"query range", "<server> <expr>",     "Run range query.",
                                     range_defs,    ARRAY_LEN(range_defs), 2};
    static struct query_call q; /* flags live as long as the process */
    int code;
    double start_s, end_s;
    if (!begin(&verb, argc, argv, &q, &code)) return code;
    if (!get_time(q.o.end.string, "end", now_s(), &end_s)) return 1;
    if (!get_time(q.o.start.string, "start", end_s - RANGE_DEFAULT_S, &start_s)) return 1;
    if (!(start_s < end_s)) {
        fprintf(stderr, "start time is not before end time\n");
        return 1;
    }
    double step_s = (double)q.o.step.duration_ms / 1000;
    if (step_s <= 0) step_s = fmax(floor((end_s - start_s) / STEPS_DEFAULT), 1);
    form_put(&q.form, "query", sv_from(q.arguments.items[1]));
    form_put_f64(&q.form, "start", start_s);
    form_put_f64(&q.form, "end", end_s);
    form_put_f64(&q.form, "step", step_s);
    return ask(&q, "/api/v1/query_range", true, print_result);
}

static bool put_list_form(struct query_call *q) {
    double start_s, end_s, ever_s = (double)EVER_HOURS * 3600;
    if (!get_time(q->o.start.string, "start", now_s() - ever_s, &start_s)) return false;
    if (!get_time(q->o.end.string, "end", now_s() + ever_s, &end_s)) return false;
    form_put_f64(&q->form, "start", start_s);
    form_put_f64(&q->form, "end", end_s);
    for (size_t i = 0; i < q->o.match.list.count; i++)
        form_put(&q->form, "match[]", sv_from(q->o.match.list.items[i]));
    return true;
}

int query_series(int argc, char **argv) {
    static const struct verb verb = {"query series", "<server>",           "Run series query.",
                                     list_defs,      ARRAY_LEN(list_defs), 1};
    static struct query_call q; /* flags live as long as the process */
    int code;
    if (!begin(&verb, argc, argv, &q, &code)) return code;
    if (q.o.match.list.count == 0)
        return ctl_fail("required flag --match not provided, try --help");
    if (!put_list_form(&q)) return 1;
    return ask(&q, "/api/v1/series", true, print_series);
}

int query_labels(int argc, char **argv) {
    static const struct verb verb = {"query labels", "<server> <name>",    "Run labels query.",
                                     list_defs,      ARRAY_LEN(list_defs), 2};
    static struct query_call q; /* flags live as long as the process */
    int code;
    if (!begin(&verb, argc, argv, &q, &code)) return code;
    if (!put_list_form(&q)) return 1;
    struct buf path = {0}, name = {0};
    form_put(&name, "", sv_from(q.arguments.items[1])); /* "=escaped" */
    buf_printf(&path, "/api/v1/label/%.*s/values", SV_ARG(sv_skip(buf_sv(&name), 1)));
    code = buf_cstr(&path) == NULL ? ctl_fail("out of memory")
                                   : ask(&q, path.ptr, false, print_values);
    buf_fini(&path);
    buf_fini(&name);
    return code;
}
