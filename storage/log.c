/* SPDX-License-Identifier: Apache-2.0 */
#include "storage/log.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>

#include "node/base/log.h"
#include "storage/log_internal.h"

enum { FULL_RETRY_MS = 1000 };
/* A sync costs as much as thousands of samples, and what several nodes send comes one by one. So
 * where frames have several appends, and follow each other closely, each waits a little for more,
 * until one has waited in vain: "commit_delay" of PostgreSQL. Whoever is alone, or comes after a
 * pause, is not held up. */
enum { COMPANY_MIN = 3, COMPANY_STAYS = 2, GATHER_US = 1000, GATHER_PAUSE_MS = 10 };
enum { FRAME_BYTES_KEPT_MAX = 4 << 20, DIR_BYTES_MAX = LOG_PATH_MAX - 32 };

static const double fsync_bounds[] = {0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05,
                                      0.1,    0.2,   0.5,   1,     2,    5,    10};
static const struct metric_def log_metrics[] = {
    {"prometheus_tsdb_wal_fsync_duration_seconds", "Duration of write log fsync.", METRIC_HISTOGRAM,
     fsync_bounds, ARRAY_LEN(fsync_bounds)},
    {"prometheus_tsdb_wal_storage_size_bytes", "Size of the write log directory.", METRIC_GAUGE,
     NULL, 0},
    {"prometheus_tsdb_wal_writes_failed_total", "Total number of write log writes that failed.",
     METRIC_COUNTER, NULL, 0},
    {"prometheus_tsdb_wal_corruptions_total", "Total number of write log corruptions.",
     METRIC_COUNTER, NULL, 0},
    {"cairn_log_frames_total", "Frames (group commits) written to the log.", METRIC_COUNTER, NULL,
     0},
    {"cairn_log_appends_total", "Appends that came to the log.", METRIC_COUNTER, NULL, 0},
    {"cairn_log_written_bytes_total", "Bytes of frames written to the log.", METRIC_COUNTER, NULL,
     0},
};

static void log_on_append(struct core *here, struct msg *m);
static void log_on_step(struct core *here, struct msg *m);
static void log_on_sync_timer(struct timer *t);
static void log_on_full_timer(struct timer *t);
static void log_on_done(struct core *here, struct msg *m);

static void log_metrics_init(struct log *log) {
    log->metrics.fsync_seconds = metric_get(&log_metrics[0], NULL);
    log->metrics.size_bytes = metric_get(&log_metrics[1], NULL);
    log->metrics.writes_failed = metric_get(&log_metrics[2], NULL);
    log->metrics.corruptions = metric_get(&log_metrics[3], NULL);
    log->metrics.frames = metric_get(&log_metrics[4], NULL);
    log->metrics.appends = metric_get(&log_metrics[5], NULL);
    log->metrics.written_bytes = metric_get(&log_metrics[6], NULL);
}

enum status log_open(struct runtime *rt, const struct log_options *options, log_apply apply,
                     void *ctx, struct log **out, bool *out_damaged, struct err *err) {
    assert(options->file_bytes_max > 0 && options->frame_bytes_max > 0);
    assert(options->frame_bytes_max <= UINT32_MAX);
    assert(options->sync_every_frame || options->sync_interval_ms > 0);
    if (strlen(options->dir) > DIR_BYTES_MAX) {
        return err_set(err, ERR_LIMIT, 0, "log: the directory's name is longer than %d bytes",
                       DIR_BYTES_MAX);
    }
    struct err unwanted;
    if (err == NULL) err = &unwanted;
    struct log *log = calloc(1, sizeof *log);
    if (log == NULL) return err_set(err, ERR_NOMEM, 0, "log: not enough memory");
    log->rt = rt;
    log->options = *options;
    log->dir = strdup(options->dir);
    log->options.dir = log->dir;
    log->step.run = log_on_step;
    atomic_init(&log->failed, false);
    atomic_init(&log->full, false);
    atomic_init(&log->durable_frame, 0);
    log_metrics_init(log);
    timer_init(&log->sync_timer, rt->log_core, log_on_sync_timer);
    timer_init(&log->full_timer, rt->log_core, log_on_full_timer);
    enum status status = log->dir == NULL ? err_set(err, ERR_NOMEM, 0, "not enough memory") : OK;
    if (status == OK) status = log_recover(log, apply, ctx, out_damaged, err);
    if (status != OK) {
        log_free(log);
        return err_prefix(err, "log");
    }
    metric_set(log->metrics.size_bytes, (double)log->total_bytes);
    *out = log;
    return OK;
}

void log_free(struct log *log) {
    if (log == NULL) return;
    file_close(log->file);
    buf_fini(&log->frame);
    free(log->lost);
    free(log->dir);
    free(log);
}

uint64_t log_corruptions(const struct log *log) {
    return (uint64_t)metric_value(log->metrics.corruptions);
}

bool log_is_full(const struct log *log) {
    return atomic_load_explicit(&log->full, memory_order_relaxed);
}

enum status log_refusal(const struct log *log, struct err *err) {
    struct err failure;
    if (log_failure(log, &failure)) {
        if (err != NULL) *err = failure;
        return failure.code;
    }
    if (!log_is_full(log)) return OK;
    return err_set(err, ERR_UNAVAILABLE, 0, "log: the disk is full");
}

bool log_failure(const struct log *log, struct err *out) {
    if (!atomic_load_explicit(&log->failed, memory_order_acquire)) return false;
    if (out != NULL) *out = log->failure;
    return true;
}

bool log_get_end(const struct log *log, struct log_end *out) {
    if (log_is_failed(log) || log->damaged || log->dirty || log->state != LOG_IDLE) return false;
    *out = log->end;
    return log->end.frame > 0 && log->end.frame + 1 == log->frame_number;
}

static void queue_push(struct log_queue *q, struct log_append *req) {
    req->next = NULL;
    if (q->head == NULL)
        q->head = req;
    else
        q->tail->next = req;
    q->tail = req;
}

static struct log_append *queue_pop(struct log_queue *q) {
    struct log_append *req = q->head;
    if (req != NULL) q->head = req->next;
    return req;
}

/* -- on a data core */

void log_append(struct log *log, struct core *from, struct log_append *req) {
    assert(core_is_current(from));
    assert(req->entries.len > 0 && !req->entries.failed && req->done != NULL);
    req->log = log;
    req->home = from;
    req->taken_bytes = 0;
    req->failure = NULL;
    req->msg.run = log_on_append;
    core_post(log->rt->log_core, &req->msg);
}

static void log_on_done(struct core *here, struct msg *m) {
    struct log_append *req = container_of(m, struct log_append, msg);
    buf_clear(&req->entries);
    const struct err *failure = req->failure;
    req->done(here, req, failure == NULL ? OK : failure->code, failure);
}

/* -- on the log core */

static void log_reply(struct log *log, struct log_append *req, const struct err *failure) {
    req->failure = failure;
    req->file = log->file_first;
    req->msg.run = log_on_done;
    core_post(req->home, &req->msg);
}

static void log_reply_group(struct log *log) {
    atomic_store_explicit(&log->durable_frame, log->frame_number, memory_order_release);
    log->in_company = log->group_count >= (log->in_company ? COMPANY_STAYS : COMPANY_MIN);
    log->group_count = 0;
    log->replied_ns = core_mono_ns(log->rt->log_core);
    for (struct log_append *req; (req = queue_pop(&log->group)) != NULL;)
        log_reply(log, req, NULL);
}

static void log_go(struct log *log, enum log_state state) {
    assert(log->state != LOG_FAILED);
    log->state = state;
    if (state == LOG_GATHER || state == LOG_FLUSH || state == LOG_SYNC)
        core_post(log->rt->log_core, &log->step);
}

static void log_go_flush(struct log *log) {
    uint64_t pause_ns = core_mono_ns(log->rt->log_core) - log->replied_ns;
    bool gather = log->options.sync_every_frame && log->in_company &&
                  pause_ns < GATHER_PAUSE_MS * UINT64_C(1000000);
    log_go(log, gather ? LOG_GATHER : LOG_FLUSH);
}

/* The kernel may have dropped what it could not write, and a later sync would not say so again: so
 * the log is closed and nothing that was not acknowledged ever is. */
static void log_fail(struct log *log, const struct err *err) {
    log->failure = *err;
    err_prefix(&log->failure, "log: closed for writing until the next start");
    log->state = LOG_FAILED;
    atomic_store_explicit(&log->failed, true, memory_order_release);
    log_errorf("the log cannot be written; nothing is taken any more", "err", "%s",
               log->failure.msg);
    metric_add(log->metrics.writes_failed, 1);
    if (timer_is_armed(&log->sync_timer)) timer_stop(&log->sync_timer);
    if (timer_is_armed(&log->full_timer)) timer_stop(&log->full_timer);
    file_close(log->file);
    log->file = NULL;
    for (struct log_append *req; (req = queue_pop(&log->group)) != NULL;)
        log_reply(log, req, &log->failure);
    for (struct log_append *req; (req = queue_pop(&log->pending)) != NULL;)
        log_reply(log, req, &log->failure);
}

static void log_on_append(struct core *here, struct msg *m) {
    struct log_append *req = container_of(m, struct log_append, msg);
    struct log *log = req->log;
    assert(here == log->rt->log_core);
    metric_add(log->metrics.appends, 1);
    if (log->state == LOG_FAILED) {
        log_reply(log, req, &log->failure);
        return;
    }
    queue_push(&log->pending, req);
    if (log->state == LOG_IDLE) log_go_flush(log);
}

/* How many bytes of whole entries fit into room, at least one entry when the frame is empty. */
static size_t entries_prefix(struct sv entries, size_t room, bool frame_empty) {
    size_t taken = 0;
    struct sv rest = entries;
    while (rest.len > 0) {
        struct entry e;
        struct err err;
        enum status status = entry_next(&rest, &e, &err);
        assert(status == OK); /* the caller's promise: whole entries */
        size_t end = entries.len - rest.len;
        if (end > room && !(frame_empty && taken == 0)) break;
        taken = end;
    }
    return taken;
}

/* Moves pending entries into one frame; requests that are wholly in it to the group. */
static enum status log_build_frame(struct log *log, struct err *err) {
    struct buf *frame = &log->frame;
    buf_clear(frame);
    char *header = buf_extend(frame, LOG_FRAME_HEADER_BYTES);
    if (header == NULL) return err_set(err, ERR_NOMEM, 0, "not enough memory for a frame");
    const size_t payload_max = (size_t)log->options.frame_bytes_max;
    for (struct log_append *req; (req = log->pending.head) != NULL;) {
        size_t room = payload_max - MIN(payload_max, frame->len - LOG_FRAME_HEADER_BYTES);
        bool frame_empty = frame->len == LOG_FRAME_HEADER_BYTES;
        struct sv entries = sv_skip(buf_sv(&req->entries), req->taken_bytes);
        size_t take = entries.len <= room ? entries.len : 0;
        if (take == 0 && frame_empty) take = entries_prefix(entries, room, frame_empty);
        if (take > UINT32_MAX) return err_set(err, ERR_LIMIT, 0, "an entry of %zu bytes", take);
        if (take == 0) break;
        buf_put(frame, entries.ptr, take);
        if (frame->failed) return err_set(err, ERR_NOMEM, 0, "not enough memory for a frame");
        req->taken_bytes += take;
        if (take < entries.len) break;
        queue_push(&log->group, queue_pop(&log->pending));
        log->group_count++;
    }
    log_frame_seal(frame, log->frame_number);
    log->frame_ready = true;
    return OK;
}

static enum status log_sync(struct log *log, struct err *err) {
    uint64_t start_ns = core_mono_ns(log->rt->log_core);
    enum status status = file_sync(log->file, err);
    log->sync_failed = status != OK;
    if (status != OK) return status;
    log->dirty = false;
    metric_observe(log->metrics.fsync_seconds,
                   (double)(core_mono_ns(log->rt->log_core) - start_ns) / 1e9);
    return OK;
}

static enum status log_rotate(struct log *log, struct err *err) {
    if (log->dirty) TRY(log_sync(log, err));
    return log_file_start(log, log->frame_number, SV(""), err);
}

static enum status log_write_frame(struct log *log, struct err *err) {
    if (!log->frame_ready) {
        if (log->file_bytes > log->options.file_bytes_max) TRY(log_rotate(log, err));
        TRY(log_build_frame(log, err));
    }
    TRY(file_pwrite(log->file, log->frame.ptr, log->frame.len, log->file_bytes, err));
    log->frame_ready = false;
    log->end = (struct log_end){log->frame_number, log_frame_check(log->frame.ptr)};
    log->file_bytes += log->frame.len;
    log->total_bytes += log->frame.len;
    log->frame_number++;
    metric_add(log->metrics.frames, 1);
    metric_add(log->metrics.written_bytes, (double)log->frame.len);
    metric_set(log->metrics.size_bytes, (double)log->total_bytes);
    if (log->frame.cap > FRAME_BYTES_KEPT_MAX) buf_fini(&log->frame);
    return OK;
}

/* No room is not a broken disk: what could not be written was said by the write itself, lies behind
 * all good frames, and is written again, the same bytes at the same place. A sync that failed is
 * never passed over, whatever it says. */
static bool log_is_passing(const struct log *log, const struct err *err) {
    return !log->sync_failed && (err->os == ENOSPC || err->os == EDQUOT);
}

static void log_wait_for_room(struct log *log, const struct err *err) {
    if (!log_is_full(log))
        log_errorf("the log's disk is full; nothing is taken until there is room", "err", "%s",
                   err->msg);
    atomic_store_explicit(&log->full, true, memory_order_relaxed);
    log_go(log, LOG_FULL);
    timer_start(&log->full_timer, FULL_RETRY_MS);
}

static void log_on_full_timer(struct timer *t) {
    struct log *log = container_of(t, struct log, full_timer);
    if (log->state == LOG_FULL) log_go(log, LOG_FLUSH);
}

/* After a frame: on with what came meanwhile, else wait for it. */
static void log_next(struct log *log) {
    log_reply_group(log);
    if (log->pending.head != NULL)
        log_go_flush(log);
    else
        log_go(log, LOG_IDLE);
}

static void log_flush_step(struct log *log) {
    struct err err;
    if (log_write_frame(log, &err) != OK) {
        if (log_is_passing(log, &err))
            log_wait_for_room(log, &err);
        else
            log_fail(log, &err);
        return;
    }
    if (log_is_full(log)) {
        atomic_store_explicit(&log->full, false, memory_order_relaxed);
        log_warn("the log's disk has room again", "file", log->file->path);
    }
#ifdef PLANT_ACK_BEFORE_SYNC
    log_reply_group(log);
#endif
    if (log->options.sync_every_frame) {
        log_go(log, LOG_SYNC);
        return;
    }
    log->dirty = true;
    if (!timer_is_armed(&log->sync_timer))
        timer_start(&log->sync_timer, log->options.sync_interval_ms);
    log_next(log);
}

static void log_gather_step(struct log *log) {
    core_nap(log->rt->log_core, GATHER_US);
    log_go(log, LOG_FLUSH); /* behind what has come meanwhile */
}

static void log_sync_step(struct log *log) {
    struct err err;
    if (log_sync(log, &err) != OK)
        log_fail(log, &err);
    else
        log_next(log);
}

static void log_on_step(struct core *here, struct msg *m) {
    struct log *log = container_of(m, struct log, step);
    assert(here == log->rt->log_core);
    switch (log->state) {
    case LOG_GATHER: log_gather_step(log); break;
    case LOG_FLUSH: log_flush_step(log); break;
    case LOG_SYNC: log_sync_step(log); break;
    case LOG_IDLE: assert(!"a step while idle"); break;
    case LOG_FULL: assert(!"a step while waiting for room"); break;
    case LOG_FAILED: break; /* the timer's sync failed while FLUSH was posted */
    }
}

static void log_on_sync_timer(struct timer *t) {
    struct log *log = container_of(t, struct log, sync_timer);
    struct err err;
    if (log->state == LOG_FAILED || !log->dirty) return;
    if (log_sync(log, &err) != OK) log_fail(log, &err);
}

bool log_is_quiet(const struct log *log) {
    assert(core_is_current(log->rt->log_core));
    return log->state == LOG_IDLE || log->state == LOG_FULL || log->state == LOG_FAILED;
}

enum status log_stop(struct log *log, struct err *err) {
    assert(core_is_current(log->rt->log_core));
    if (timer_is_armed(&log->sync_timer)) timer_stop(&log->sync_timer);
    if (log->state == LOG_FULL) {
        struct err full;
        err_set(&full, ERR_IO, ENOSPC, "there was no room up to the end");
        log_fail(log, &full);
    }
    if (log_failure(log, err)) return log->failure.code;
    assert(log->state == LOG_IDLE);
    if (!log->dirty) return OK;
    struct err cause;
    if (log_sync(log, &cause) == OK) return OK;
    log_fail(log, &cause);
    if (err != NULL) *err = log->failure;
    return log->failure.code;
}
