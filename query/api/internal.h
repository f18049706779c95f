/* SPDX-License-Identifier: Apache-2.0 */
/* query/api/internal.h: shared by the files of query/api only.
 *
 *   routes.c   the table of endpoints, and those that answer from nothing but the options
 *   answer.c   envelope, errors, JSON strings as Prometheus writes them
 *   params.c   times, durations, limits, selectors
 *   query.c    /query and /query_range: parameters, flow; result.c: the result as JSON; stream.c: a
 *              long one
 *   list.c     /series, /labels, /label/<name>/values text.c     /format_query, /parse_query
 * kept.c     /metadata, /query_exemplars status.c   /status/..., /features; tsdb.c: /status/tsdb
 * rules.c    /rules, /alerts, /targets and what stands beside them; admin.c: /admin/tsdb/... */
#pragma once

#include "node/base/json.h"
#include "node/base/num.h"
#include "query/api/api.h"

/* -- answer.c */
enum api_error {
    API_BAD_DATA,
    API_EXECUTION,
    API_CANCELED,
    API_TIMEOUT,
    API_INTERNAL,
    API_NOT_FOUND,
    API_UNAVAILABLE, /* what is switched off: 500, as in Prometheus */
    API_INCOMPLETE,  /* `unavailable` with 503: shards are missing, a retry may work */
    API_ERROR_COUNT
};
#define API_JSON SV("application/json")
/* Prometheus' two ways with strings: label names and values go as they are, but for quotes and
 * control bytes; everything else also escapes <, > and &, U+2028 and U+2029, and replaces bytes
 * that are not UTF-8. */
void api_put_label(struct buf *out, struct sv s);
/* {"name":"value",...} of canonical label bytes */
void api_put_label_bytes(struct buf *out, struct sv canonical);
void api_put_text(struct buf *out, struct sv s);
void api_put_label_set(struct buf *out, const struct label *labels, size_t count);

void api_fail(struct http_request *req, enum api_error error, const char *fmt, ...)
    PRINTF_LIKE(3, 4);
/* `invalid parameter "name": text` */
void api_fail_param(struct http_request *req, const char *name, const char *text);
/* What a flow ended with; a text that does not parse is told with `invalid parameter "query": ` in
 * front. */
void api_fail_status(struct http_request *req, enum status status, const struct err *err);
/* {"status":"success","data":<data>}; takes data. */
void api_answer(struct http_request *req, struct buf *data);
void api_answer_none(struct http_request *req); /* 204 */
/* What stands behind the data: warnings, infos and the closing brace. */
struct api_notes {
    const char *warning; /* one of the API's own, NULL for none */
    char **warnings, **gather_warnings, **infos;
    size_t warnings_count, gather_warnings_count, infos_count;
};
void api_put_notes(struct buf *out, const struct api_notes *notes);

/* -- params.c: false once the error has been answered */
struct sv api_form(struct http_request *req, const char *name); /* empty when absent */
#define API_MIN_MS (-9223309901257974000LL) /* Prometheus' MinTime and MaxTime */
#define API_MAX_MS 9223309901257974999LL
bool api_time_parse(struct sv s, int64_t *out_ms);
/* Absent: default_ms. */
bool api_time(struct http_request *req, const char *name, int64_t default_ms, int64_t *out_ms);
bool api_time_required(struct http_request *req, const char *name, int64_t *out_ms);
/* Nanoseconds; text: what is wrong. */
bool api_duration_parse(struct sv s, int64_t *out_ns, struct err *err);
bool api_limit(struct http_request *req, uint64_t *out);
/* match[] of the request as it stands there; one at least. */
bool api_match_required(struct http_request *req, struct sv **out, size_t *out_count);
/* match[] of the request; each parsed and refused when it selects everything. invalid_param: errors
 * are told as those of the parameter (/series) or bare (the others). */
bool api_selectors(struct http_request *req, bool invalid_param, struct sv **out,
                   size_t *out_count);
bool api_flag(struct http_request *req, const char *name); /* "true" or "1" */

static inline const struct api_options *api_options_of(const struct http_request *req) {
    return req->route_ctx;
}
static inline struct gather *api_gather(const struct http_request *req) {
    return req->core->locals[CORE_QUERY];
}

/* -- result.c: a result as JSON; a list in parts, which any threads may write at once */
/* The series of a range query share their times: how each begins is kept by place. Zeroed at first,
 * for one thread. */
enum { RESULT_STAMPS = 512 };
struct result_stamps {
    struct result_stamp {
        int64_t time_ms;
        uint8_t len; /* 0: none yet */
        char text[NUM_TIMESTAMP_MAX + 3];
    } at[RESULT_STAMPS];
};
struct result_pos { /* before that point of that series; (n, 0): behind all of the first n */
    size_t series, point;
};
struct result_part {
    struct result_pos from, to;
};
bool result_is_list(const struct result *r);                     /* a vector or a matrix */
void result_put_single(const struct result *r, struct buf *out); /* of the others */
/* The end of a part that begins there and takes about as long as so many points, more than a few;
 * samples of a vector are not cut. */
struct result_pos result_cut(const struct result *r, struct result_pos from, size_t series_end,
                             size_t points);
/* Its series with the commas before them; the list's brackets are the caller's. */
void result_put_part(const struct result *r, const struct result_part *part,
                     struct result_stamps *stamps, struct buf *out);

/* -- stream.c: a list that is long, written by workers ahead of the client, sent in order */
struct result_stream {
    struct http_request *req;
    const struct result *result;
    size_t series_end;
    /* Once, on the core: what stands behind the list, unless the client has gone; then the stream
     * is over, and no worker looks at the result any more. */
    void (*tail)(struct result_stream *s, struct buf *out);
    void (*over)(struct result_stream *s);
    /* private */
    struct result_ahead *ahead;
    struct result_pos next; /* of the part that is given out next */
    unsigned oldest, count; /* of the parts under way */
    bool gone, turning, posted, packs;
    struct msg msg;
};
/* head goes before the list's first series, and is taken. false: out of memory, nothing was
 * answered. over() may come before it returns. */
bool result_stream_start(struct result_stream *s, struct buf *head) MUST_USE;
void result_stream_gone(struct result_stream *s); /* the client: over() follows, maybe at once */

/* -- list.c: a gather list as an answer */
struct list_params {
    enum gather_list_kind kind;
    struct sv label;
    const struct sv *selectors;
    size_t selectors_count;
    uint64_t limit;
    int64_t start_ms, end_ms;
    /* The data, where it is no array of the items; then a cut at the limit is not told. */
    void (*put)(struct buf *out, const struct gather_list *l, uint64_t most);
    uint64_t put_most;
};
void api_list_start(struct http_request *req, const struct list_params *p);

/* -- trace.c */
void api_put_stats(struct buf *out, const struct gather_query *q);
void api_put_trace(struct buf *out, const struct gather *g, const struct gather_trace *t);

/* -- handlers */
void api_query(struct http_request *req);
void api_query_range(struct http_request *req);
void api_query_exemplars(struct http_request *req);
void api_format_query(struct http_request *req);
void api_parse_query(struct http_request *req);
void api_series(struct http_request *req);
void api_labels(struct http_request *req);
void api_label_values(struct http_request *req);
void api_metadata(struct http_request *req);
void api_rules(struct http_request *req);
void api_alerts(struct http_request *req);
void api_targets(struct http_request *req);
void api_targets_metadata(struct http_request *req);
void api_scrape_pools(struct http_request *req);
void api_alertmanagers(struct http_request *req);
void api_status_config(struct http_request *req);
void api_status_flags(struct http_request *req);
void api_status_runtimeinfo(struct http_request *req);
void api_status_buildinfo(struct http_request *req);
void api_status_walreplay(struct http_request *req);
void api_status_tsdb(struct http_request *req);
void api_status_tsdb_blocks(struct http_request *req);
void api_features(struct http_request *req);
void api_notifications(struct http_request *req);
void api_snapshot(struct http_request *req);
void api_clean_tombstones(struct http_request *req);
void api_delete_series(struct http_request *req);
void api_federate(struct http_request *req);
void api_federate_register(void); /* its metrics, so that they are there before the first error */
