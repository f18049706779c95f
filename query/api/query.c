/* SPDX-License-Identifier: Apache-2.0 */
#include <assert.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "node/base/num.h"
#include "query/api/internal.h"

enum { WHOLE_POINTS = 3000, POINTS_MAX = 11000 };

/* One request. Its memory is its own: the HTTP request stays valid until it is answered, also when
 * the client has gone. RUNNING (gather) -> answered at once, or STREAMING (stream.c) -> ended */
enum query_state { QUERY_RUNNING, QUERY_STREAMING };

struct query_request {
    struct http_request *req;
    struct gather_query q;
    enum query_state state;
    uint64_t limit;
    struct sv stats; /* in the request's arena */
    char own_warning[400];
    struct result_stream stream;
    struct result_stamps stamps;
};

static void request_free(struct query_request *r) {
    gather_query_fini(&r->q);
    free(r);
}

/* -- the answer */

static void put_tail(struct query_request *r, struct buf *out) {
    if (r->stats.len > 0) {
        buf_put_sv(out, SV(",\"stats\":"));
        api_put_stats(out, &r->q);
    }
    if (api_flag(r->req, "trace")) {
        buf_put_sv(out, SV(",\"trace\":"));
        api_put_trace(out, api_gather(r->req), r->q.trace);
    }
    buf_put_char(out, '}');
    struct api_notes notes = {
        .warning = r->own_warning[0] == '\0' ? NULL : r->own_warning,
        .warnings = r->q.result.warnings,
        .warnings_count = r->q.result.warnings_count,
        .gather_warnings = r->q.warnings,
        .gather_warnings_count = r->q.warnings_count,
        .infos = r->q.result.infos,
        .infos_count = r->q.result.infos_count,
    };
    api_put_notes(out, &notes);
}

static void add_warning(struct query_request *r, const char *text) {
    if (r->own_warning[0] == '\0') snprintf(r->own_warning, sizeof r->own_warning, "%s", text);
}

static void request_answer_whole(struct query_request *r, struct buf *body) {
    put_tail(r, body);
    http_answer_take(r->req, 200, API_JSON, body);
    request_free(r);
}

static void request_tail(struct result_stream *s, struct buf *out) {
    put_tail(container_of(s, struct query_request, stream), out);
}

static void request_over(struct result_stream *s) {
    request_free(container_of(s, struct query_request, stream));
}

static void request_answer(struct query_request *r) {
    const struct result *result = &r->q.result;
    size_t series_end = result->series_count;
    if (result_is_list(result) && r->limit != 0 && series_end > r->limit) {
        series_end = (size_t)r->limit;
        add_warning(r, "results truncated due to limit");
    }
    struct buf head = {0};
    buf_put_sv(&head, SV("{\"status\":\"success\",\"data\":{\"resultType\":\""));
    buf_put_sv(&head, sv_from(value_type_name(result->type)));
    buf_put_sv(&head, SV("\",\"result\":"));
    if (!result_is_list(result)) {
        result_put_single(result, &head);
        request_answer_whole(r, &head);
        return;
    }
    buf_put_char(&head, '[');
    struct result_part all = {
        .to = result_cut(result, (struct result_pos){0}, series_end, WHOLE_POINTS)};
    if (all.to.series == series_end) {
        result_put_part(result, &all, &r->stamps, &head);
        buf_put_char(&head, ']');
        request_answer_whole(r, &head);
        return;
    }
    r->stream = (struct result_stream){.req = r->req,
                                       .result = result,
                                       .series_end = series_end,
                                       .tail = request_tail,
                                       .over = request_over};
    r->state = QUERY_STREAMING;
    if (result_stream_start(&r->stream, &head)) return;
    head.failed = true;
    request_answer_whole(r, &head);
}

static void request_on_done(struct core *here, struct gather_query *q) {
    (void)here;
    struct query_request *r = q->user;
    query_log_note(api_options_of(r->req)->query_log, r->req, q);
    if (q->status == OK) {
        request_answer(r);
        return;
    }
    api_fail_status(r->req, q->status, &q->err);
    request_free(r);
}

static void request_on_canceled(struct http_request *req, void *ctx) {
    (void)req;
    struct query_request *r = ctx;
    if (r->state == QUERY_RUNNING) {
        gather_query_cancel(&r->q); /* done still comes and answers, which nobody reads */
        return;
    }
    result_stream_gone(&r->stream);
}

/* -- parameters */

struct query_times {
    int64_t start_ms, end_ms, step_ms;
    bool instant;
};

static bool get_timeout(struct http_request *req, uint64_t *out_ms) {
    struct sv s = api_form(req, "timeout");
    int64_t ns;
    struct err err;
    *out_ms = (uint64_t)api_options_of(req)->query_timeout_ms;
    if (s.len == 0) return true;
    if (!api_duration_parse(s, &ns, &err)) {
        api_fail_param(req, "timeout", err.msg);
        return false;
    }
    *out_ms = MIN(*out_ms, (uint64_t)(MAX(ns, (int64_t)0) / 1000000));
    return true;
}

static bool get_lookback(struct http_request *req, int64_t *out_ms) {
    struct sv s = api_form(req, "lookback_delta");
    int64_t ns;
    struct err err;
    *out_ms = api_options_of(req)->lookback_ms;
    if (s.len == 0) return true;
    if (!api_duration_parse(s, &ns, &err)) {
        api_fail(req, API_BAD_DATA, "error parsing lookback delta duration: %s", err.msg);
        return false;
    }
    if (ns / 1000000 > 0) *out_ms = ns / 1000000;
    return true;
}

/* As Thanos has it: auto (by the policy of downsampling), raw, or the coarsest that may be used. */
static bool get_rows(struct http_request *req, uint32_t *out_features) {
    const struct api_options *o = api_options_of(req);
    struct sv s = api_form(req, "max_source_resolution");
    int64_t ns;
    struct err err;
    *out_features = 0;
    if (sv_eq(s, SV("raw"))) return true;
    if (s.len == 0 || sv_eq(s, SV("auto"))) {
        if (o->rows != NULL) *out_features = o->rows(o->ctx);
        return true;
    }
    if (!api_duration_parse(s, &ns, &err) || ns < 0) {
        api_fail_param(req, "max_source_resolution",
                       "it must be \"auto\", \"raw\" or a duration, such as \"5m\" or \"1h\"");
        return false;
    }
    if (ns / 1000000 >= DOWNSAMPLE_5M_MS) *out_features |= FEATURE_ROWS_5M;
    if (ns / 1000000 >= DOWNSAMPLE_1H_MS) *out_features |= FEATURE_ROWS_1H;
    return true;
}

static void warn_of_stats(struct query_request *r) {
    if (r->stats.len == 0 || sv_eq(r->stats, SV("true")) || sv_eq(r->stats, SV("all"))) return;
    struct buf quoted = {0};
    char text[400];
    go_put_quoted(&quoted, sv_take(r->stats, 60));
    snprintf(text, sizeof text,
             "value %.*s for parameter \"stats\" is deprecated and will be rejected in the next "
             "major release, use "
             "\"true\" or \"all\"",
             SV_ARG(buf_sv(&quoted)));
    buf_fini(&quoted);
    add_warning(r, text);
}

static void request_start(struct http_request *req, const struct query_times *times,
                          uint64_t limit) {
    const struct api_options *o = api_options_of(req);
    uint64_t timeout_ms;
    int64_t lookback_ms;
    uint32_t rows;
    if (!get_timeout(req, &timeout_ms) || !get_lookback(req, &lookback_ms) || !get_rows(req, &rows))
        return;
    struct query_request *r = calloc(1, sizeof *r);
    if (r == NULL) {
        api_fail(req, API_INTERNAL, "out of memory");
        return;
    }
    *r = (struct query_request){.req = req, .limit = limit, .stats = api_form(req, "stats")};
    warn_of_stats(r);
    r->q = (struct gather_query){
        .text = api_form(req, "query"),
        .params = {.start_ms = times->start_ms,
                   .end_ms = times->end_ms,
                   .step_ms = times->step_ms,
                   .instant = times->instant,
                   .lookback_ms = lookback_ms,
                   .default_step_ms = o->default_step_ms,
                   .samples_max = o->samples_max,
                   .memory_bytes_max = o->memory_bytes_max,
                   .features = rows | (sv_eq(r->stats, SV("all"))
                                           ? o->features
                                           : o->features & ~(uint32_t)FEATURE_PER_STEP_STATS)},
        .timeout_ms = timeout_ms,
        .partial_response = api_flag(req, "partial_response"),
        .done = request_on_done,
        .user = r,
    };
    req->canceled = request_on_canceled;
    req->canceled_ctx = r;
    gather_query_start(api_gather(req), &r->q);
}

void api_query(struct http_request *req) {
    uint64_t limit;
    int64_t time_ms;
    if (!api_limit(req, &limit) || !api_time(req, "time", core_wall_ms(req->core), &time_ms))
        return;
    struct query_times times = {.start_ms = time_ms, .end_ms = time_ms, .instant = true};
    request_start(req, &times, limit);
}

static bool get_range(struct http_request *req, struct query_times *out) {
    struct err err;
    int64_t step_ns;
    if (!api_time_required(req, "start", &out->start_ms)) return false;
    if (!api_time_required(req, "end", &out->end_ms)) return false;
    if (out->end_ms < out->start_ms) {
        api_fail_param(req, "end", "end timestamp must not be before start time");
        return false;
    }
    if (!api_duration_parse(api_form(req, "step"), &step_ns, &err)) {
        api_fail_param(req, "step", err.msg);
        return false;
    }
    out->step_ms = step_ns / 1000000;
    if (out->step_ms <=
        0) { /* also below a millisecond, on which Prometheus trips while it evaluates */
        api_fail_param(req, "step",
                       "zero or negative query resolution step widths are not accepted. Try a "
                       "positive integer");
        return false;
    }
    /* as time.Duration, a difference beyond 292 years is the longest there is */
    uint64_t width_ms = (uint64_t)out->end_ms - (uint64_t)out->start_ms;
    int64_t width_ns = width_ms > INT64_MAX / 1000000 ? INT64_MAX : (int64_t)width_ms * 1000000;
    if (width_ns / step_ns > POINTS_MAX) {
        api_fail(req, API_BAD_DATA,
                 "exceeded maximum resolution of 11,000 points per timeseries. Try decreasing the "
                 "query resolution "
                 "(?step=XX)");
        return false;
    }
    return true;
}

void api_query_range(struct http_request *req) {
    uint64_t limit;
    struct query_times times = {0};
    if (api_limit(req, &limit) && get_range(req, &times)) request_start(req, &times, limit);
}
