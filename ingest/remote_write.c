/* SPDX-License-Identifier: Apache-2.0 */
#include "ingest/remote_write.h"

#include <assert.h>
#include <snappy-c.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>

#include "ingest/internal.h"
#include "ingest/scan.h"

/* One request:
 *
 *   headers -> declared length -> decode (here, or message to the least busy core and back) ->
 * distributor_write -> answer
 *
 * The request stays valid until it is answered, also when its client has gone: the write then goes
 * on and the answer is dropped by the server. Owner: the core of the request; while it is decoded
 * elsewhere nobody touches it here. */

enum { DECODE_HERE_MAX = 16 << 10, SAMPLE_BYTES_GUESS = 256 };
#define DECODE_QUEUE_BYTES_MAX ((uint64_t)256 << 20) /* declared, of one core; beyond it: 503 */

struct remote_write {
    struct write_op op;
    struct msg msg;
    struct http_request *req;
    struct core *home;
    size_t decoded_bytes; /* as declared */
    unsigned decoder;     /* index of its core */
    /* what the decoder says */
    enum status status;
    struct err err;
    uint64_t histograms, invalid_samples;
};

/* Declared bytes that wait for a core's decoder, one cache line a core. Any core reads all of them
 * to pick the lowest and adds to one; relaxed, as they order nothing: a stale value costs a worse
 * choice. */
static struct { _Alignas(64) _Atomic uint64_t bytes; } decode_queue[METRIC_SLOTS_MAX];

static const struct metric_def invalid_labels_def = {
    .name = "prometheus_api_remote_write_invalid_labels_samples_total",
    .help = "The total number of received remote write samples and histogram samples which were "
            "rejected due to invalid "
            "labels.",
    .kind = METRIC_COUNTER,
};
static const struct metric_def decoded_def = {
    .name = "cairn_remote_write_decoded_total",
    .help = "Remote write requests by the core that decoded them: the one that accepted the "
            "connection, or another.",
    .kind = METRIC_COUNTER,
};
static struct metric *invalid_labels_metric, *decoded_here_metric, *decoded_elsewhere_metric;

void remote_write_register_metrics(void) {
    invalid_labels_metric = metric_get(&invalid_labels_def, NULL);
    decoded_here_metric = metric_get(&decoded_def, "core=\"own\"");
    decoded_elsewhere_metric = metric_get(&decoded_def, "core=\"other\"");
}

static void remote_write_free(struct remote_write *w) {
    write_rows_fini(&w->op.rows);
    buf_fini(&w->op.body);
    arena_fini(&w->op.arena);
    free(w);
}

static void answer_busy(struct http_request *req, const char *why) {
    http_answer_header(req, SV("Retry-After"), SV("1"));
    http_answer_text(req, 503, "%s", why);
}

static void remote_write_on_done(struct core *here, struct write_op *op) {
    struct remote_write *w = container_of(op, struct remote_write, op);
    assert(here == w->home);
    switch (op->outcome) {
    case WRITE_UNAVAILABLE: answer_busy(w->req, op->text); break;
    case WRITE_REFUSED: http_answer_text(w->req, 400, "%s", op->text); break;
    case WRITE_OK:
        if (w->histograms > 0)
            http_answer_text(w->req, 400, "native histograms are not supported by this version");
        else
            http_answer(w->req, 204, (struct sv){0}, (struct sv){0});
        break;
    }
    remote_write_free(w);
}

static enum status remote_write_decode(struct remote_write *w,
                                       const struct ring_settings *settings) {
    struct sv raw = w->req->body;
    size_t len = w->decoded_bytes;
    /* one byte more, so that an empty message has a place as well */
    if (!buf_reserve(&w->op.body, len + 1)) return err_set(&w->err, ERR_NOMEM, 0, "out of memory");
    if (snappy_uncompress(raw.ptr, raw.len, w->op.body.ptr, &len) != SNAPPY_OK ||
        len != w->decoded_bytes)
        return err_set(&w->err, ERR_PARSE, 0, "snappy: corrupt input");
    w->op.body.len = len;
    if (write_rows_reserve(&w->op.rows, len / SAMPLE_BYTES_GUESS) != OK)
        return err_set(&w->err, ERR_NOMEM, 0, "out of memory");
    struct scan_options o = {
        .secret = settings->secret,
        .shards_count = settings->shards_count,
        .series_max = REMOTE_WRITE_SERIES_MAX,
        .samples_max = REMOTE_WRITE_SAMPLES_MAX,
        .label_bytes_max = REMOTE_WRITE_LABEL_BYTES_MAX,
        .labels_bytes_max = REMOTE_WRITE_LABELS_BYTES_MAX,
    };
    struct scan_result result = {.rows = &w->op.rows};
    TRY(scan_write_request(buf_sv(&w->op.body), &o, &w->op.arena, &result, &w->err));
    w->histograms = result.histograms;
    w->invalid_samples = result.skipped_series_samples;
    return OK;
}

static void remote_write_proceed(struct remote_write *w) {
    if (w->status == OK) {
        if (w->invalid_samples > 0) metric_add(invalid_labels_metric, (double)w->invalid_samples);
        distributor_write(w->home->locals[CORE_INGEST], &w->op);
        return;
    }
    if (w->status == ERR_NOMEM)
        answer_busy(w->req, w->err.msg);
    else
        http_answer_text(w->req, w->status == ERR_LIMIT ? 413 : 400, "%s", w->err.msg);
    remote_write_free(w);
}

static void remote_write_at_home(struct core *here, struct msg *m) {
    struct remote_write *w = container_of(m, struct remote_write, msg);
    assert(here == w->home);
    remote_write_proceed(w);
}

static void remote_write_at_decoder(struct core *here, struct msg *m) {
    struct remote_write *w = container_of(m, struct remote_write, msg);
    assert(here->index == w->decoder);
    const struct distributor *d = here->locals[CORE_INGEST]; /* data cores open together */
    w->status = remote_write_decode(w, &d->options.map->settings);
    atomic_fetch_sub_explicit(&decode_queue[w->decoder].bytes, w->decoded_bytes,
                              memory_order_relaxed);
    w->msg.run = remote_write_at_home;
    core_post(w->home, &w->msg);
}

/* Ties go to the core that has the request: decoding there costs no messages. */
static unsigned least_busy_core(const struct core *home, uint64_t *out_bytes) {
    unsigned best = home->index;
    uint64_t best_bytes = atomic_load_explicit(&decode_queue[best].bytes, memory_order_relaxed);
    for (unsigned i = 0; i < home->rt->cores_count && i < METRIC_SLOTS_MAX && best_bytes > 0; i++) {
        uint64_t bytes = atomic_load_explicit(&decode_queue[i].bytes, memory_order_relaxed);
        if (bytes >= best_bytes) continue;
        best = i;
        best_bytes = bytes;
    }
    *out_bytes = best_bytes;
    return best;
}

/* Another core may be asked even where this one decodes next: the choice is made by what waits, and
 * what is decoded in this turn never waits. So a body is queued here as well, behind the messages
 * that came before it. */
static void remote_write_queue(struct remote_write *w) {
    uint64_t waiting;
    w->decoder = least_busy_core(w->home, &waiting);
    if (waiting > DECODE_QUEUE_BYTES_MAX) {
        answer_busy(w->req, "too many writes are under way");
        remote_write_free(w);
        return;
    }
    metric_add(w->decoder == w->home->index ? decoded_here_metric : decoded_elsewhere_metric, 1);
    atomic_fetch_add_explicit(&decode_queue[w->decoder].bytes, w->decoded_bytes,
                              memory_order_relaxed);
    w->msg.run = remote_write_at_decoder;
    core_post(w->home->rt->cores[w->decoder], &w->msg);
}

void remote_write_handle(struct http_request *req) {
    char text[REMOTE_WRITE_TEXT_MAX];
    int code = remote_write_check_headers(http_header_get(req, SV("content-type")),
                                          http_header_get(req, SV("content-encoding")), text);
    if (code != 0) {
        http_answer_text(req, code, "%s", text);
        return;
    }
    const struct distributor *d = req->core->locals[CORE_INGEST];
    if (d == NULL) {
        answer_busy(req, "this node is of no cluster yet");
        return;
    }
    size_t decoded_bytes = 0;
    if (snappy_uncompressed_length(req->body.ptr, req->body.len, &decoded_bytes) != SNAPPY_OK) {
        http_answer_text(req, 400, "snappy: corrupt input");
        return;
    }
    if (decoded_bytes > REMOTE_WRITE_BODY_MAX) {
        http_answer_text(req, 400, "snappy: decoded block is too large: %zu bytes, at most %d",
                         decoded_bytes, REMOTE_WRITE_BODY_MAX);
        return;
    }
    struct remote_write *w = calloc(1, sizeof *w);
    if (w == NULL) {
        answer_busy(req, "out of memory");
        return;
    }
    w->op.done = remote_write_on_done;
    w->req = req;
    w->home = req->core;
    w->decoded_bytes = decoded_bytes;
    arena_init(
        &w->op.arena,
        2 * (size_t)REMOTE_WRITE_BODY_MAX); /* rewritten labels are no longer than sent ones */
    if (req->body.len > DECODE_HERE_MAX) {
        remote_write_queue(w);
        return;
    }
    metric_add(decoded_here_metric, 1);
    w->status = remote_write_decode(w, &d->options.map->settings);
    remote_write_proceed(w);
}
