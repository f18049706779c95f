/* SPDX-License-Identifier: Apache-2.0 */
/* /admin/tsdb/...: changes of the data. Only with --web.enable-admin-api. */
#include <stdlib.h>

#include "ingest/deletes.h"
#include "query/api/internal.h"
#include "query/promql/parser.h"
#include "storage/entry.h"

static bool admin_is_on(struct http_request *req) {
    if (api_options_of(req)->admin) return true;
    api_fail(req, API_UNAVAILABLE, "admin APIs disabled");
    return false;
}

/* -- delete_series: parameters -> ranges -> distributor_delete (all shards) -> 204; after
 * DELETE_WAIT_MS 503, and the rest goes on without a request. */

enum { DELETE_WAIT_MS = 20000 }; /* above what a failover takes and resending lasts */

struct api_delete {
    struct delete_op op;
    struct arena arena;       /* of ranges */
    struct http_request *req; /* NULL once it is answered */
    struct timer deadline;
};

static void delete_answer(struct api_delete *a) {
    const struct delete_op *op = &a->op;
    if (op->status == OK)
        api_answer_none(a->req);
    else if (op->status == ERR_NOMEM || op->status == ERR_LIMIT)
        api_fail(a->req, API_INTERNAL, "%s", op->text);
    else
        api_fail(a->req, API_INCOMPLETE, "%s", op->text);
}

static void delete_free(struct api_delete *a) {
    timer_stop(&a->deadline);
    arena_fini(&a->arena);
    free(a);
}

static void delete_on_done(struct core *here, struct delete_op *op) {
    (void)here;
    struct api_delete *a = container_of(op, struct api_delete, op);
    if (a->req != NULL) delete_answer(a);
    delete_free(a);
}

static void delete_on_deadline(struct timer *t) {
    struct api_delete *a = container_of(t, struct api_delete, deadline);
    delete_op_tell(&a->op);
    api_fail(a->req, API_INCOMPLETE, "%s", a->op.text);
    a->req = NULL;
}

/* The matchers' bytes of one selector, in the arena; empty: it selects no series. false: an error
 * was answered. */
static bool selector_get(struct http_request *req, struct sv text, struct arena *arena,
                         struct sv *out) {
    struct matcher *matchers;
    size_t count;
    struct err err;
    enum status st = promql_parse_selector(text, req->arena, &matchers, &count, &err);
    if (st != OK) {
        if (st == ERR_NOMEM)
            api_fail(req, API_INTERNAL, "%s", err.msg);
        else
            api_fail_param(req, "match[]", err.msg);
        return false;
    }
    struct buf bytes = {0};
    if (count > 0) entry_matchers_put(matchers, count, &bytes);
    promql_matchers_free(matchers, count);
    *out = arena_sv(arena, buf_sv(&bytes));
    bool failed = bytes.failed || out->ptr == NULL;
    buf_fini(&bytes);
    if (failed)
        api_fail(req, API_INTERNAL, "out of memory");
    else if (count > ENTRY_DELETE_MATCHERS_MAX)
        api_fail(req, API_BAD_DATA, "a selector of a deletion may have %d matchers, not %zu",
                 ENTRY_DELETE_MATCHERS_MAX, count);
    return !failed && count <= ENTRY_DELETE_MATCHERS_MAX;
}

/* Into a->op. false: an error was answered. */
static bool ranges_get(struct api_delete *a, const struct sv *selectors, size_t count) {
    struct http_request *req = a->req;
    int64_t min_ms, max_ms;
    if (!api_time(req, "start", API_MIN_MS, &min_ms) || !api_time(req, "end", API_MAX_MS, &max_ms))
        return false;
    struct delete_range *ranges = arena_array(&a->arena, DELETE_RANGES_MAX, sizeof *ranges);
    if (ranges == NULL) {
        api_fail(req, API_INTERNAL, "out of memory");
        return false;
    }
    size_t n = 0, bytes = 0;
    for (size_t i = 0; i < count; i++) {
        struct sv matchers;
        if (!selector_get(req, selectors[i], &a->arena, &matchers)) return false;
        if (matchers.len == 0 || min_ms > max_ms) continue;
        bytes += matchers.len;
        if (n == DELETE_RANGES_MAX || bytes > DELETE_BYTES_MAX) {
            api_fail(req, API_BAD_DATA,
                     "a deletion may have %d selectors of %d bytes in all: send several",
                     DELETE_RANGES_MAX, DELETE_BYTES_MAX);
            return false;
        }
        ranges[n++] = (struct delete_range){min_ms, max_ms, matchers};
    }
    a->op.ranges = ranges;
    a->op.ranges_count = n;
    return true;
}

static void delete_start(struct api_delete *a) {
    timer_start(&a->deadline, DELETE_WAIT_MS);
    distributor_delete(a->req->core->locals[CORE_INGEST], &a->op);
}

void api_delete_series(struct http_request *req) {
    struct sv *selectors;
    size_t count;
    if (!admin_is_on(req)) return;
    if (!api_match_required(req, &selectors, &count)) return;
    struct api_delete *a = calloc(1, sizeof *a);
    if (a == NULL) {
        api_fail(req, API_INTERNAL, "out of memory");
        return;
    }
    a->req = req;
    a->op.done = delete_on_done;
    arena_init(&a->arena, 0);
    timer_init(&a->deadline, req->core, delete_on_deadline);
    if (!ranges_get(a, selectors, count)) {
        delete_free(a);
    } else if (a->op.ranges_count == 0) {
        api_answer_none(req);
        delete_free(a);
    } else {
        delete_start(a);
    }
}

/* -- snapshot, clean_tombstones: a job of the daemon */

struct api_work {
    struct api_job job;
    struct http_request *req;
};

static struct api_work *work_new(struct http_request *req,
                                 void (*done)(struct core *here, struct api_job *job)) {
    struct api_work *w = calloc(1, sizeof *w);
    if (w == NULL) {
        api_fail(req, API_INTERNAL, "out of memory");
        return NULL;
    }
    w->job.done = done;
    w->req = req;
    return w;
}

/* false: it failed, and was answered. */
static bool work_is_good(const struct api_work *w) {
    const struct api_job *job = &w->job;
    if (job->status == OK) return true;
    api_fail(w->req, job->status == ERR_UNAVAILABLE ? API_INCOMPLETE : API_INTERNAL, "%s",
             job->err.msg);
    return false;
}

static void snapshot_on_done(struct core *here, struct api_job *job) {
    (void)here;
    struct api_work *w = container_of(job, struct api_work, job);
    if (work_is_good(w)) {
        struct buf data = {0};
        buf_put_sv(&data, SV("{\"name\":"));
        api_put_text(&data, sv_from(job->name));
        buf_put_char(&data, '}');
        api_answer(w->req, &data);
    }
    free(w);
}

/* As Go's strconv.ParseBool. */
static bool flag_get(struct http_request *req, const char *name, bool *out) {
    static const char *const words[] = {"1", "t", "T", "TRUE",  "true",  "True",
                                        "0", "f", "F", "FALSE", "false", "False"};
    struct sv s = api_form(req, name);
    *out = false;
    if (s.len == 0) return true;
    for (size_t i = 0; i < ARRAY_LEN(words); i++) {
        if (!sv_eq(s, sv_from(words[i]))) continue;
        *out = i < ARRAY_LEN(words) / 2;
        return true;
    }
    struct buf quoted = {0};
    go_put_quoted(&quoted, sv_take(s, 200));
    api_fail(req, API_BAD_DATA,
             "invalid parameter \"%s\": unable to parse boolean: strconv.ParseBool: parsing %.*s: "
             "invalid syntax",
             name, SV_ARG(buf_sv(&quoted)));
    buf_fini(&quoted);
    return false;
}

void api_snapshot(struct http_request *req) {
    bool skip_head;
    if (!admin_is_on(req) || !flag_get(req, "skip_head", &skip_head)) return;
    struct api_work *w = work_new(req, snapshot_on_done);
    if (w == NULL) return;
    w->job.skip_head = skip_head;
    const struct api_options *o = api_options_of(req);
    o->snapshot(o->ctx, req->core, &w->job);
}

static void clean_on_done(struct core *here, struct api_job *job) {
    (void)here;
    struct api_work *w = container_of(job, struct api_work, job);
    if (work_is_good(w)) api_answer_none(w->req);
    free(w);
}

void api_clean_tombstones(struct http_request *req) {
    if (!admin_is_on(req)) return;
    struct api_work *w = work_new(req, clean_on_done);
    if (w == NULL) return;
    const struct api_options *o = api_options_of(req);
    o->clean(o->ctx, req->core, &w->job);
}
