/* SPDX-License-Identifier: Apache-2.0 */
#include <assert.h>
#include <stdlib.h>

#include "node/base/utf8.h"
#include "query/api/internal.h"

/* One request; as in query.c the HTTP request stays valid until it is answered. RUNNING (gather) ->
 * written, by a worker when there is much -> answered. */
struct list_request {
    struct http_request *req;
    struct gather_list l;
    struct work work;
    struct buf body;
    bool written;
    void (*put)(struct buf *out, const struct gather_list *l, uint64_t most); /* NULL: an array */
    uint64_t put_most;
};

static void list_write_array(struct list_request *r) {
    const struct gather_list *l = &r->l;
    buf_put_char(&r->body, '[');
    for (size_t i = 0; i < l->items_count; i++) {
        if (i > 0) buf_put_char(&r->body, ',');
        if (l->kind == GATHER_SERIES)
            api_put_label_bytes(&r->body, l->items[i]);
        else
            api_put_text(&r->body, l->items[i]);
    }
    buf_put_char(&r->body, ']');
}

static void list_write(struct list_request *r) {
    const struct gather_list *l = &r->l;
    buf_put_sv(&r->body, SV("{\"status\":\"success\",\"data\":"));
    if (r->put != NULL)
        r->put(&r->body, l, r->put_most);
    else
        list_write_array(r);
    struct api_notes notes = {
        .warning = l->truncated && r->put == NULL ? "results truncated due to limit" : NULL,
        .gather_warnings = l->warnings,
        .gather_warnings_count = l->warnings_count,
    };
    api_put_notes(&r->body, &notes);
}

static void write_run(struct work *w) {
    list_write(container_of(w, struct list_request, work));
}

static void write_ran(struct core *here, struct work *w) {
    (void)here;
    struct list_request *r = container_of(w, struct list_request, work);
    http_answer_take(r->req, 200, API_JSON, &r->body);
    gather_list_fini(&r->l);
    free(r);
}

static void list_on_done(struct core *here, struct gather_list *l) {
    enum { ITEMS_AT_ONCE = 1000 }; /* a few hundred microseconds of the core */
    struct list_request *r = l->user;
    r->written = true;
    if (l->status != OK) {
        api_fail_status(r->req, l->status, &l->err);
        gather_list_fini(l);
        free(r);
        return;
    }
    r->work = (struct work){.run = write_run, .done = write_ran};
    if (l->items_count > ITEMS_AT_ONCE) {
        work_submit(here, &r->work);
        return;
    }
    list_write(r);
    write_ran(here, &r->work);
}

static void list_on_canceled(struct http_request *req, void *ctx) {
    (void)req;
    struct list_request *r = ctx;
    if (!r->written)
        gather_list_cancel(&r->l); /* done still comes and answers, which nobody reads */
}

static bool get_times(struct http_request *req, struct list_params *p) {
    return api_limit(req, &p->limit) && api_time(req, "start", API_MIN_MS, &p->start_ms) &&
           api_time(req, "end", API_MAX_MS, &p->end_ms);
}

void api_list_start(struct http_request *req, const struct list_params *p) {
    struct list_request *r = calloc(1, sizeof *r);
    if (r == NULL) {
        api_fail(req, API_INTERNAL, "out of memory");
        return;
    }
    r->req = req;
    r->put = p->put;
    r->put_most = p->put_most;
    r->l = (struct gather_list){
        .kind = p->kind,
        .label = p->label,
        .selectors = p->selectors,
        .selectors_count = p->selectors_count,
        .from_ms =
            p->start_ms == INT64_MIN ? INT64_MIN : p->start_ms - 1, /* the range is (from, to] */
        .to_ms = p->end_ms,
        .limit = p->limit,
        .timeout_ms = (uint64_t)api_options_of(req)->query_timeout_ms,
        .partial_response = api_flag(req, "partial_response"),
        .done = list_on_done,
        .user = r,
    };
    req->canceled = list_on_canceled;
    req->canceled_ctx = r;
    gather_list_start(api_gather(req), &r->l);
}

static void list_selected(struct http_request *req, struct list_params *p) {
    struct sv *selectors;
    if (!get_times(req, p)) return;
    if (!api_selectors(req, p->kind == GATHER_SERIES, &selectors, &p->selectors_count)) return;
    p->selectors = selectors;
    api_list_start(req, p);
}

void api_series(struct http_request *req) {
    struct sv *selectors;
    size_t count;
    if (!api_match_required(req, &selectors, &count)) return;
    struct list_params p = {.kind = GATHER_SERIES};
    list_selected(req, &p);
}

void api_labels(struct http_request *req) {
    struct list_params p = {.kind = GATHER_LABEL_NAMES};
    list_selected(req, &p);
}

static int hex_digit(char c) {
    if (c >= '0' && c <= '9') return c - '0';
    if (c >= 'a' && c <= 'f') return c - 'a' + 10;
    if (c >= 'A' && c <= 'F') return c - 'A' + 10;
    return -1;
}

/* `_2e_` behind an underscore: the code point. Returns the bytes read, closing underscore included;
 * 0: malformed. */
static size_t read_code_point(struct sv s, uint32_t *out) {
    uint32_t v = 0;
    for (size_t i = 0; i < s.len && i <= 6; i++) {
        if (s.ptr[i] == '_') {
            *out = v;
            return v > 0x10ffff || (v >= 0xd800 && v <= 0xdfff) ? 0 : i + 1;
        }
        int digit = hex_digit(s.ptr[i]);
        if (digit < 0 || i == 6) return 0;
        v = v * 16 + (uint32_t)digit;
    }
    return 0;
}

/* Prometheus' "value encoding" of names behind U__: __ is an underscore, _HEX_ a code point. A
 * malformed name stays as it is. */
static struct sv unescape_name(struct http_request *req, struct sv name) {
    if (!sv_starts(name, SV("U__"))) return name;
    char *out = arena_alloc(req->arena, name.len + 4);
    if (out == NULL) return name;
    size_t n = 0;
    for (struct sv rest = sv_skip(name, 3); rest.len > 0;) {
        if (rest.ptr[0] != '_') {
            out[n++] = rest.ptr[0];
            rest = sv_skip(rest, 1);
        } else if (rest.len > 1 && rest.ptr[1] == '_') {
            out[n++] = '_';
            rest = sv_skip(rest, 2);
        } else {
            uint32_t rune;
            size_t used = read_code_point(sv_skip(rest, 1), &rune);
            if (used == 0) return name;
            n += utf8_encode(out + n, rune); /* never longer than the escape */
            rest = sv_skip(rest, 1 + used);
        }
    }
    return sv_make(out, n);
}

void api_label_values(struct http_request *req) {
    struct sv name = unescape_name(req, req->path_param);
    if (!label_name_valid(name)) {
        struct buf quoted = {0};
        go_put_quoted(&quoted, sv_take(name, 200));
        api_fail(req, API_BAD_DATA, "invalid label name: %.*s", SV_ARG(buf_sv(&quoted)));
        buf_fini(&quoted);
        return;
    }
    struct list_params p = {.kind = GATHER_LABEL_VALUES, .label = name};
    list_selected(req, &p);
}
