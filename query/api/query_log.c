/* SPDX-License-Identifier: Apache-2.0 */
#include "query/api/query_log.h"

#include <assert.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "node/base/duration.h"
#include "node/base/log.h"
#include "node/base/metrics.h"
#include "node/runtime/disk.h"
#include "query/api/internal.h"

enum { ENTRIES_MAX = 1024, SLOW_TEXT_BYTES_MAX = 2000 };

static const struct metric_def enabled_def = {.name = "prometheus_engine_query_log_enabled",
                                              .help = "State of the query log.",
                                              .kind = METRIC_GAUGE};
static const struct metric_def failures_def = {.name = "prometheus_engine_query_log_failures_total",
                                               .help = "The number of query log failures.",
                                               .kind = METRIC_COUNTER};

struct query_log {
    struct runtime *rt;
    struct file *file; /* NULL: none. The log core's, with offset and failed */
    uint64_t offset;
    bool failed; /* told once, until a line goes through again */
    uint64_t slower_than_ns;
    uint32_t entries; /* under way; atomic, relaxed: only a bound */
};

struct query_entry {
    struct msg msg;
    struct query_log *log;
    struct buf line; /* empty: not for the file */
    bool slow;
    struct buf query, total, queue, prepare, evaluate, finish;
};

/* -- on the log core */

static void write_line(struct query_log *log, const struct buf *line) {
    struct err err;
    if (file_pwrite(log->file, line->ptr, line->len, log->offset, &err) == OK) {
        log->offset += line->len;
        log->failed = false;
        return;
    }
    metric_add(metric_get(&failures_def, NULL), 1);
    if (!log->failed) log_error("can't log query", "err", err.msg);
    log->failed = true;
}

static void entry_write(struct core *here, struct msg *m) {
    (void)here;
    struct query_entry *e = container_of(m, struct query_entry, msg);
    struct buf *texts[] = {&e->query, &e->total, &e->queue, &e->prepare, &e->evaluate, &e->finish};
    bool whole = true;
    if (e->line.len > 0) write_line(e->log, &e->line);
    for (size_t i = 0; i < ARRAY_LEN(texts); i++)
        whole &= buf_cstr(texts[i]) != NULL;
    if (e->slow && whole)
        log_warn("slow query", "query", e->query.ptr, "total", e->total.ptr, "queue", e->queue.ptr,
                 "prepare", e->prepare.ptr, "evaluate", e->evaluate.ptr, "finish", e->finish.ptr);
    for (size_t i = 0; i < ARRAY_LEN(texts); i++)
        buf_fini(texts[i]);
    buf_fini(&e->line);
    __atomic_sub_fetch(&e->log->entries, 1, __ATOMIC_RELAXED);
    free(e);
}

/* -- on the query's core */

/* RFC 3339 with three decimals always, in quotes. */
static void put_time(struct buf *out, int64_t ms) {
    struct civil c = civil_from_ms(ms);
    buf_printf(out, "\"%04" PRId64 "-%02d-%02dT%02d:%02d:%02d.%03dZ\"", c.year, c.month, c.day,
               c.hour, c.minute, c.second, c.millisecond);
}

static struct sv client_ip(const struct http_request *req) {
    for (size_t i = req->remote.len; i > 0; i--)
        if (req->remote.ptr[i - 1] == ':') return sv_take(req->remote, i - 1);
    return req->remote;
}

static void put_entry(struct buf *out, const struct http_request *req,
                      const struct gather_query *q) {
    const struct query_params *p = &q->params;
    buf_put_char(out, '{');
    if (q->status != OK) {
        buf_put_sv(out, SV("\"error\":"));
        json_put_string(out, sv_from(q->err.msg));
        buf_put_char(out, ',');
    }
    buf_put_sv(out, SV("\"httpRequest\":{\"clientIP\":"));
    json_put_string(out, client_ip(req));
    buf_printf(out, ",\"method\":\"%s\",\"path\":", req->method == HTTP_POST ? "POST" : "GET");
    json_put_string(out, req->path);
    buf_put_sv(out, SV("},\"params\":{\"end\":"));
    put_time(out, p->end_ms);
    buf_put_sv(out, SV(",\"query\":"));
    json_put_string(out, q->text);
    buf_put_sv(out, SV(",\"start\":"));
    put_time(out, p->start_ms);
    buf_printf(out, ",\"step\":%" PRId64 "},\"stats\":", p->instant ? 0 : p->step_ms / 1000);
    api_put_stats(out, q);
    buf_put_sv(out, SV(",\"ts\":"));
    put_time(out, core_wall_ms(req->core));
    buf_put_sv(out, SV("}\n"));
}

static void put_slow(struct query_entry *e, const struct gather_query *q) {
    const struct gather_trace *t = q->trace;
    uint64_t evaluate = 0;
    for (size_t i = 0; i < t->rounds_count; i++)
        evaluate += t->rounds[i].scatter_ns + t->rounds[i].fold_ns;
    e->slow = true;
    buf_put_sv(&e->query, sv_take(q->text, SLOW_TEXT_BYTES_MAX));
    duration_put_go(&e->total, (int64_t)t->total_ns);
    duration_put_go(&e->queue, (int64_t)t->queue_ns);
    duration_put_go(&e->prepare, (int64_t)t->prepare_ns);
    duration_put_go(&e->evaluate, (int64_t)evaluate);
    duration_put_go(&e->finish, (int64_t)t->finish_ns);
}

void query_log_note(struct query_log *log, struct http_request *req, const struct gather_query *q) {
    if (log == NULL || q->trace == NULL) return;
    bool slow = log->slower_than_ns > 0 && q->trace->total_ns > log->slower_than_ns;
    if (log->file == NULL && !slow) return;
    if (__atomic_add_fetch(&log->entries, 1, __ATOMIC_RELAXED) > ENTRIES_MAX) {
        __atomic_sub_fetch(&log->entries, 1, __ATOMIC_RELAXED);
        metric_add(metric_get(&failures_def, NULL), 1);
        return;
    }
    struct query_entry *e = calloc(1, sizeof *e);
    if (e == NULL) abort(); /* a few hundred bytes: nothing could be answered either */
    *e = (struct query_entry){.msg.run = entry_write, .log = log};
    if (log->file != NULL) put_entry(&e->line, req, q);
    if (e->line.failed) buf_clear(&e->line);
    if (slow) put_slow(e, q);
    core_post(log->rt->log_core, &e->msg);
}

/* -- life */

enum status query_log_new(struct runtime *rt, const char *path, uint64_t slower_than_ns,
                          struct query_log **out, struct err *err) {
    struct query_log *log = calloc(1, sizeof *log);
    if (log == NULL) return err_set(err, ERR_NOMEM, 0, "out of memory");
    *log = (struct query_log){.rt = rt, .slower_than_ns = slower_than_ns};
    enum status st = OK;
    if (path != NULL && path[0] != '\0') {
        st = disk_open(rt->disk, path, DISK_READ | DISK_WRITE | DISK_CREATE, &log->file, err);
        if (st == OK) st = file_size(log->file, &log->offset, err);
    }
    if (st != OK) {
        query_log_free(log);
        return st;
    }
    metric_get(&failures_def, NULL);
    metric_set(metric_get(&enabled_def, NULL), log->file != NULL);
    *out = log;
    return OK;
}

void query_log_free(struct query_log *log) {
    if (log == NULL) return;
    file_close(log->file);
    free(log);
}
