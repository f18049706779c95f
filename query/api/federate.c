/* SPDX-License-Identifier: Apache-2.0 */
/* /federate: the newest sample of each selected series for another Prometheus to scrape, in the
 * text format 0.0.4, which cannot carry a warning: an incomplete answer is refused. */
#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "node/base/metrics.h"
#include "node/base/num.h"
#include "query/api/internal.h"
#include "query/promql/parser.h"

enum { TURN_NS = 1000000, PIECE_BYTES = 64 << 10, SELECTORS_MAX = 1024 };

static const struct metric_def errors_def = {
    .name = "prometheus_web_federation_errors_total",
    .help = "Total number of errors that occurred while sending federation responses.",
    .kind = METRIC_COUNTER};
static const struct metric_def warnings_def = {
    .name = "prometheus_web_federation_warnings_total",
    .help = "Total number of warnings that occurred while sending federation responses.",
    .kind = METRIC_COUNTER};

struct newest {
    struct sv name;
    const struct result_series *series;
};

/* One request; as in query.c the HTTP request stays valid until it is answered.
 *   QUERY (one selector after the other) -> SORT (worker) -> turns of at most 1 ms (POSTED, or
 * WAITING for the client) -> ended */
enum federate_state { FEDERATE_QUERY, FEDERATE_SORT, FEDERATE_POSTED, FEDERATE_WAITING };
struct federate {
    struct http_request *req;
    enum federate_state state;
    bool gone;     /* the client */
    bool any_name; /* it takes names beyond [a-zA-Z0-9_:] */
    struct sv *selectors;
    struct gather_query *queries;
    size_t queries_count, queries_at; /* those before queries_at have been started */
    int64_t now_ms;
    struct newest *newest;
    size_t newest_count, at;
    struct sv family; /* that of the last line written */
    struct msg msg;
    struct work work;
};

void api_federate_register(void) {
    metric_get(&errors_def, NULL);
    metric_get(&warnings_def, NULL);
}

static void federate_free(struct federate *f) {
    for (size_t i = 0; i < f->queries_at; i++)
        gather_query_fini(&f->queries[i]);
    free(f->newest);
    free(f->queries);
    free(f);
}

static void federate_fail(struct federate *f, int code, const char *text) {
    metric_add(metric_get(&errors_def, NULL), 1);
    http_answer_text(f->req, code, "%s", text);
    federate_free(f);
}

/* -- text format */

static bool name_is_legacy(struct sv s, bool colon) {
    for (size_t i = 0; i < s.len; i++) {
        char c = s.ptr[i];
        bool letter = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_';
        if (!letter && !(colon && c == ':') && !(i > 0 && c >= '0' && c <= '9')) return false;
    }
    return s.len > 0;
}

static void put_escaped(struct buf *out, struct sv s) {
    buf_put_char(out, '"');
    for (size_t i = 0; i < s.len; i++) {
        if (s.ptr[i] == '\n')
            buf_put_sv(out, SV("\\n"));
        else if (s.ptr[i] == '\\' || s.ptr[i] == '"')
            buf_put(out, (char[]){'\\', s.ptr[i]}, 2);
        else
            buf_put_char(out, s.ptr[i]);
    }
    buf_put_char(out, '"');
}

/* A name beyond the old alphabet: quoted for a client that says it reads these, else each other
 * character as an underscore ("underscores" escaping). */
static void put_name(const struct federate *f, struct buf *out, struct sv name, bool colon) {
    if (name_is_legacy(name, colon)) {
        buf_put_sv(out, name);
    } else if (f->any_name) {
        put_escaped(out, name);
    } else {
        for (size_t i = 0; i < name.len; i++) {
            if (((unsigned char)name.ptr[i] & 0xc0) == 0x80) continue; /* inside a character */
            bool keeps = name_is_legacy(sv_take(sv_skip(name, i), 1), colon) ||
                         (i > 0 && name.ptr[i] >= '0' && name.ptr[i] <= '9');
            buf_put_char(out, keeps ? name.ptr[i] : '_');
        }
    }
}

static void put_pair(const struct federate *f, struct buf *out, const struct label *l,
                     bool *first) {
    if (!*first) buf_put_char(out, ',');
    *first = false;
    put_name(f, out, l->name, false);
    buf_put_char(out, '=');
    put_escaped(out, l->value);
}

static bool has_label(const struct result_series *s, struct sv name) {
    for (size_t i = 0; i < s->labels_count; i++)
        if (sv_eq(s->labels[i].name, name)) return true;
    return false;
}

/* External labels and instance="", in order, unless the series has them. */
static void put_added_labels(const struct federate *f, struct buf *out,
                             const struct result_series *s, bool *first) {
    const struct api_options *o = api_options_of(f->req);
    const struct label instance = {SV("instance"), SV("")};
    bool instance_left = !has_label(s, instance.name);
    for (size_t i = 0; i < o->external_labels_count; i++) {
        const struct label *l = &o->external_labels[i];
        int order = sv_cmp(l->name, instance.name);
        if (instance_left && order > 0) put_pair(f, out, &instance, first);
        if (order >= 0) instance_left = false;
        if (!has_label(s, l->name)) put_pair(f, out, l, first);
    }
    if (instance_left) put_pair(f, out, &instance, first);
}

static void put_sample(struct federate *f, struct buf *out, const struct newest *n) {
    bool quoted = f->any_name && !name_is_legacy(n->name, true), first = true;
    if (!sv_eq(n->name, f->family)) {
        buf_put_sv(out, SV("# TYPE "));
        put_name(f, out, n->name, true);
        buf_put_sv(out, SV(" untyped\n"));
        f->family = n->name;
    }
    if (!quoted) put_name(f, out, n->name, true);
    buf_put_char(out, '{');
    if (quoted) {
        put_name(f, out, n->name, true);
        first = false;
    }
    for (size_t i = 0; i < n->series->labels_count; i++)
        if (!sv_eq(n->series->labels[i].name, SV("__name__")))
            put_pair(f, out, &n->series->labels[i], &first);
    put_added_labels(f, out, n->series, &first);
    buf_put_sv(out, SV("} "));
    double value = n->series->points[0].value;
    num_put_f64(out, value == 0 ? 0 : value, 'g'); /* Prometheus' text format has no -0 */
    buf_put_char(out, ' ');
    num_put_i64(out, n->series->points[0].time_ms);
    buf_put_char(out, '\n');
}

/* -- turns */

static void federate_end(struct federate *f) {
    http_stream_end(f->req);
    federate_free(f);
}

static void federate_turn(struct core *here, struct msg *m) {
    struct federate *f = container_of(m, struct federate, msg);
    uint64_t until_ns = core_mono_ns(here) + TURN_NS;
    bool open = !f->gone;
    while (open && f->at < f->newest_count && !http_stream_is_full(f->req) &&
           core_mono_ns(here) < until_ns) {
        struct buf piece = {0};
        while (f->at < f->newest_count && piece.len < PIECE_BYTES)
            put_sample(f, &piece, &f->newest[f->at++]);
        open = http_stream_write(f->req, &piece);
    }
    if (!open || f->at == f->newest_count) {
        federate_end(f);
    } else if (http_stream_is_full(f->req)) {
        f->state = FEDERATE_WAITING;
    } else {
        f->state = FEDERATE_POSTED;
        core_post(here, &f->msg);
    }
}

static void federate_on_writable(struct http_request *req, void *ctx) {
    struct federate *f = ctx;
    if (f->state != FEDERATE_WAITING) return;
    f->state = FEDERATE_POSTED;
    core_post(req->core, &f->msg);
}

/* -- sorting */

static int newest_order(const void *a, const void *b) {
    const struct newest *x = a, *y = b;
    int c = sv_cmp(x->name, y->name);
    if (c != 0) return c;
    return label_list_cmp(x->series->labels, x->series->labels_count, y->series->labels,
                          y->series->labels_count);
}

static struct sv series_name(const struct result_series *s) {
    for (size_t i = 0; i < s->labels_count; i++)
        if (sv_eq(s->labels[i].name, SV("__name__"))) return s->labels[i].value;
    return (struct sv){0};
}

/* Series without a name cannot be scraped; one that several selectors match counts once. */
static void sort_run(struct work *w) {
    struct federate *f = container_of(w, struct federate, work);
    size_t total = 0, n = 0;
    for (size_t i = 0; i < f->queries_count; i++)
        total += f->queries[i].result.series_count;
    f->newest = calloc(total + 1, sizeof *f->newest);
    if (f->newest == NULL) return;
    for (size_t i = 0; i < f->queries_count; i++) {
        const struct result *r = &f->queries[i].result;
        for (size_t k = 0; k < r->series_count; k++) {
            struct sv name = series_name(&r->series[k]);
            if (name.len == 0 || r->series[k].points_count == 0) continue;
            f->newest[f->newest_count++] = (struct newest){name, &r->series[k]};
        }
    }
    qsort(f->newest, f->newest_count, sizeof *f->newest, newest_order);
    for (size_t i = 0; i < f->newest_count; i++)
        if (n == 0 || newest_order(&f->newest[n - 1], &f->newest[i]) != 0)
            f->newest[n++] = f->newest[i];
    f->newest_count = n;
}

static void sort_ran(struct core *here, struct work *w) {
    struct federate *f = container_of(w, struct federate, work);
    if (f->newest == NULL) {
        federate_fail(f, 500, "out of memory");
        return;
    }
    http_stream_begin(f->req, 200,
                      f->any_name ? SV("text/plain; version=0.0.4; charset=utf-8; "
                                       "escaping=allow-utf-8")
                                  : SV("text/plain; version=0.0.4; charset=utf-8; "
                                       "escaping=underscores"));
    http_stream_on_writable(f->req, federate_on_writable, f);
    f->msg.run = federate_turn;
    f->state = FEDERATE_POSTED;
    core_post(here, &f->msg);
}

/* -- queries */

static void federate_next(struct federate *f);

static void federate_on_done(struct core *here, struct gather_query *q) {
    (void)here;
    struct federate *f = q->user;
    if (q->status != OK) {
        federate_fail(f, q->status == ERR_UNAVAILABLE || q->status == ERR_TIMEOUT ? 503 : 500,
                      q->err.msg);
        return;
    }
    size_t warnings = q->result.warnings_count + q->warnings_count;
    if (warnings > 0) metric_add(metric_get(&warnings_def, NULL), (double)warnings);
    federate_next(f);
}

static void federate_next(struct federate *f) {
    if (f->queries_at == f->queries_count) {
        f->state = FEDERATE_SORT;
        f->work = (struct work){.run = sort_run, .done = sort_ran};
        work_submit(f->req->core, &f->work);
        return;
    }
    const struct api_options *o = api_options_of(f->req);
    struct gather_query *q = &f->queries[f->queries_at];
    *q = (struct gather_query){
        .text = f->selectors[f->queries_at],
        .params = {.start_ms = f->now_ms,
                   .end_ms = f->now_ms,
                   .instant = true,
                   .lookback_ms = o->lookback_ms,
                   .default_step_ms = o->default_step_ms,
                   .samples_max = o->samples_max,
                   .memory_bytes_max = o->memory_bytes_max,
                   .features = o->features | FEATURE_NEWEST_SAMPLE},
        .timeout_ms = (uint64_t)o->query_timeout_ms,
        .done = federate_on_done,
        .user = f,
    };
    f->queries_at++;
    gather_query_start(api_gather(f->req), q);
}

static void federate_on_canceled(struct http_request *req, void *ctx) {
    (void)req;
    struct federate *f = ctx;
    f->gone = true;
    if (f->state == FEDERATE_QUERY)
        gather_query_cancel(&f->queries[f->queries_at - 1]); /* done still comes and answers */
    if (f->state == FEDERATE_WAITING) federate_end(f);
}

/* A selector as a range selector over the lookback. NULL text: it does not parse, or no memory. */
static enum status selector_as_range(struct http_request *req, struct sv selector, struct sv *out,
                                     struct err *err) {
    struct matcher *matchers;
    size_t count;
    struct buf text = {0};
    TRY(promql_parse_selector(selector, req->arena, &matchers, &count, err));
    if (promql_matchers_select_all(matchers, count)) selector = SV("{__name__!=\"\"}");
    promql_matchers_free(matchers, count);
    buf_put_sv(&text, selector);
    buf_put_sv(&text, SV("\n[")); /* on a line of its own: the selector may end in a comment */
    num_put_i64(&text, MAX(api_options_of(req)->lookback_ms, (int64_t)1));
    buf_put_sv(&text, SV("ms]"));
    *out = text.failed ? (struct sv){0} : arena_sv(req->arena, buf_sv(&text));
    buf_fini(&text);
    return out->ptr == NULL ? err_set(err, ERR_NOMEM, 0, "out of memory") : OK;
}

void api_federate(struct http_request *req) {
    struct err err = {0};
    struct federate *f = calloc(1, sizeof *f);
    if (f == NULL) {
        http_answer_text(req, 500, "out of memory");
        return;
    }
    size_t at;
    *f = (struct federate){.req = req, .now_ms = core_wall_ms(req->core)};
    f->any_name = sv_find(http_header_get(req, SV("accept")), SV("escaping=allow-utf-8"), &at);
    enum status st = http_form_all(req, SV("match[]"), &f->selectors, &f->queries_count, &err);
    if (st == OK && f->queries_count > SELECTORS_MAX)
        st = err_set(&err, ERR_LIMIT, 0, "more than %d selectors", SELECTORS_MAX);
    for (size_t i = 0; st == OK && i < f->queries_count; i++)
        st = selector_as_range(req, f->selectors[i], &f->selectors[i], &err);
    if (st == OK) f->queries = calloc(f->queries_count + 1, sizeof *f->queries);
    if (st == OK && f->queries == NULL) st = err_set(&err, ERR_NOMEM, 0, "out of memory");
    if (st != OK) {
        http_answer_text(req, st == ERR_NOMEM ? 500 : 400, "%s", err.msg);
        federate_free(f);
        return;
    }
    req->canceled = federate_on_canceled;
    req->canceled_ctx = f;
    federate_next(f);
}
