/* SPDX-License-Identifier: Apache-2.0 */
/* /metadata and /query_exemplars: what stores keep beside samples. */
#include "node/base/bytes.h"
#include "node/base/num.h"
#include "query/api/internal.h"
#include "query/promql/parser.h"

/* -- metadata */

static const char *const type_names[] = {"unknown",        "counter", "gauge", "histogram",
                                         "gaugehistogram", "summary", "info",  "stateset"};
static_assert(ARRAY_LEN(type_names) == ENTRY_METADATA_TYPES, "one name a type");

static void put_family(struct buf *out, struct sv items, uint64_t most) {
    struct entry_metadata m;
    for (uint64_t n = 0; (most == 0 || n < most) && entry_metadata_next(&items, &m); n++) {
        if (n == 0) api_put_text(out, m.name);
        buf_put_sv(out, n == 0 ? SV(":[{\"type\":\"") : SV(",{\"type\":\""));
        buf_put_sv(out, sv_from(type_names[m.type]));
        buf_put_sv(out, SV("\",\"help\":"));
        api_put_text(out, m.help);
        buf_put_sv(out, SV(",\"unit\":"));
        api_put_text(out, m.unit);
        buf_put_char(out, '}');
    }
    buf_put_char(out, ']');
}

static void put_metadata(struct buf *out, const struct gather_list *l, uint64_t most) {
    buf_put_char(out, '{');
    for (size_t i = 0; i < l->items_count; i++) {
        if (i > 0) buf_put_char(out, ',');
        put_family(out, l->items[i], most);
    }
    buf_put_char(out, '}');
}

/* Absent: -1, as in Prometheus. */
static bool get_count(struct http_request *req, const char *name, int64_t *out) {
    struct sv s = api_form(req, name);
    *out = -1;
    if (s.len == 0 || num_parse_i64(s, out)) return true;
    api_fail(req, API_BAD_DATA, "%s must be a number", name);
    return false;
}

void api_metadata(struct http_request *req) {
    int64_t limit, per_metric;
    if (!get_count(req, "limit", &limit) || !get_count(req, "limit_per_metric", &per_metric))
        return;
    if (limit == 0) {
        struct buf none = {0};
        buf_put_sv(&none, SV("{}"));
        api_answer(req, &none);
        return;
    }
    struct list_params p = {.kind = GATHER_METADATA,
                            .label = api_form(req, "metric"),
                            .limit = limit < 0 ? 0 : (uint64_t)limit,
                            .start_ms = API_MIN_MS,
                            .end_ms = API_MAX_MS,
                            .put = put_metadata,
                            .put_most = per_metric < 0 ? 0 : (uint64_t)per_metric};
    api_list_start(req, &p);
}

/* -- exemplars */

static void put_exemplars(struct buf *out, const struct gather_list *l, uint64_t most) {
    (void)most;
    buf_put_char(out, '[');
    for (size_t i = 0; i < l->items_count; i++) {
        struct reader r = reader_init(l->items[i].ptr, l->items[i].len);
        struct entry_exemplar e;
        buf_put_sv(out, i == 0 ? SV("{\"seriesLabels\":") : SV(",{\"seriesLabels\":"));
        api_put_label_bytes(out, read_lenstr(&r));
        buf_put_sv(out, SV(",\"exemplars\":["));
        struct sv rest = sv_make(r.cur, reader_left(&r));
        for (bool first = true; entry_exemplar_next(&rest, &e); first = false) {
            buf_put_sv(out, first ? SV("{\"labels\":") : SV(",{\"labels\":"));
            api_put_label_bytes(out, e.labels);
            buf_put_sv(out, SV(",\"value\":\""));
            num_put_json_value(out, e.value);
            buf_put_sv(out, SV("\",\"timestamp\":"));
            num_put_timestamp_ms(out, e.time_ms);
            buf_put_char(out, '}');
        }
        buf_put_sv(out, SV("]}"));
    }
    buf_put_char(out, ']');
}

/* A selector's matchers as a selector of their own, without times. */
static struct sv selector_text(struct http_request *req, const struct selector *s) {
    struct buf text = {0};
    buf_put_char(&text, '{');
    for (size_t i = 0; i < s->matchers_count; i++) {
        const struct matcher *m = &s->matchers[i];
        if (i > 0) buf_put_char(&text, ',');
        label_put_quoted(&text, m->name);
        buf_put_sv(&text, sv_from(match_kind_text[m->kind]));
        label_put_quoted(&text, m->value);
    }
    buf_put_char(&text, '}');
    struct sv copy = text.failed ? (struct sv){0} : arena_sv(req->arena, buf_sv(&text));
    buf_fini(&text);
    return copy;
}

static size_t count_selectors(const struct expr *e) {
    size_t n = e->kind == EXPR_SELECTOR;
    for (size_t i = 0; i < e->children_count; i++)
        n += count_selectors(e->children[i]);
    return n;
}

/* Recursion: the parser bounds the height. False: out of memory. */
static bool take_selectors(struct http_request *req, const struct expr *e, struct sv *out,
                           size_t *count) {
    if (e->kind == EXPR_SELECTOR) {
        out[*count] = selector_text(req, &e->u.selector);
        return out[(*count)++].ptr != NULL;
    }
    for (size_t i = 0; i < e->children_count; i++)
        if (!take_selectors(req, e->children[i], out, count)) return false;
    return true;
}

static void exemplars_start(struct http_request *req, const struct expr *expr,
                            struct list_params *p) {
    size_t n = count_selectors(expr), count = 0;
    if (n == 0) {
        api_answer_none(req);
        return;
    }
    struct sv *selectors = arena_array(req->arena, n, sizeof *selectors);
    if (selectors == NULL || !take_selectors(req, expr, selectors, &count)) {
        api_fail(req, API_INTERNAL, "out of memory");
        return;
    }
    p->selectors = selectors;
    p->selectors_count = count;
    api_list_start(req, p);
}

void api_query_exemplars(struct http_request *req) {
    struct list_params p = {.kind = GATHER_EXEMPLARS, .put = put_exemplars};
    if (!api_time(req, "start", API_MIN_MS, &p.start_ms) ||
        !api_time(req, "end", API_MAX_MS, &p.end_ms))
        return;
    if (p.end_ms < p.start_ms) {
        api_fail(req, API_BAD_DATA, "end timestamp must not be before start timestamp");
        return;
    }
    struct promql_options options = {.features = api_options_of(req)->features};
    struct expr *expr;
    struct err err;
    if (promql_parse(api_form(req, "query"), &options, req->arena, &expr, &err) != OK) {
        api_fail(req, API_BAD_DATA, "%s", err.msg);
        return;
    }
    exemplars_start(req, expr, &p);
    promql_free(expr);
}
