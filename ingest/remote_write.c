/* SPDX-License-Identifier: Apache-2.0 */
#include "ingest/remote_write.h"

#include <assert.h>
#include <snappy-c.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "ingest/ha.h"
#include "ingest/internal.h"
#include "ingest/scan.h"

/* One request:
 *
 *   headers -> declared length -> decode (here, or message to the least busy core and back) ->
 * distributor_write -> answer
 *   decode: snappy -> is its sender elected (ingest/ha.h; may wait for an election) -> scan
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
    size_t decoded_bytes;  /* as declared */
    unsigned decoder;      /* index of its core */
    bool charged;          /* its bytes count in that core's queue */
    struct ha_check check; /* the decoder's, while it waits */
    /* what the decoder says */
    enum status status;
    struct err err;
    uint64_t refused, invalid_samples;
    char refused_text[480]; /* of the first that the scanner refused */
    bool dropped;           /* its sender is not the elected one */
    int limit_code;         /* of ERR_LIMIT */
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
    case WRITE_REFUSED: http_answer_text(w->req, 400, "%.*s", (int)op->plain_len, op->text); break;
    case WRITE_OK:
        if (w->refused > 0)
            http_answer_text(w->req, 400, "%s", w->refused_text);
        else
            http_answer(w->req, 204, (struct sv){0}, (struct sv){0});
        break;
    }
    remote_write_free(w);
}

static enum status remote_write_inflate(struct remote_write *w) {
    struct sv raw = w->req->body;
    size_t len = w->decoded_bytes;
    /* one byte more, so that an empty message has a place as well */
    if (!buf_reserve(&w->op.body, len + 1)) return err_set(&w->err, ERR_NOMEM, 0, "out of memory");
    if (snappy_uncompress(raw.ptr, raw.len, w->op.body.ptr, &len) != SNAPPY_OK ||
        len != w->decoded_bytes)
        return err_set(&w->err, ERR_PARSE, 0, "snappy: corrupt input");
    w->op.body.len = len;
    return OK;
}

static enum status remote_write_scan(struct remote_write *w, const struct ring_settings *settings,
                                     struct sv drop_label) {
    if (write_rows_reserve(&w->op.rows, w->op.body.len / SAMPLE_BYTES_GUESS) != OK)
        return err_set(&w->err, ERR_NOMEM, 0, "out of memory");
    struct scan_options o = {
        .secret = settings->secret,
        .shards_count = settings->shards_count,
        .series_max = REMOTE_WRITE_SERIES_MAX,
        .samples_max = REMOTE_WRITE_SAMPLES_MAX,
        .label_bytes_max = REMOTE_WRITE_LABEL_BYTES_MAX,
        .labels_bytes_max = REMOTE_WRITE_LABELS_BYTES_MAX,
        .drop_label = drop_label,
    };
    struct scan_result result = {.rows = &w->op.rows};
    TRY(scan_write_request(buf_sv(&w->op.body), &o, &w->op.arena, &result, &w->err));
    w->refused = result.refused;
    memcpy(w->refused_text, result.refused_text, sizeof w->refused_text);
    w->invalid_samples = result.skipped_series_samples;
    return OK;
}

static void remote_write_fail(struct remote_write *w) {
    if (w->status == ERR_NOMEM || w->status == ERR_UNAVAILABLE) {
        write_count_refused(w->status == ERR_NOMEM ? WRITE_REFUSED_MEMORY : WRITE_REFUSED_HA);
        answer_busy(w->req, w->err.msg);
    } else {
        write_count_refused(WRITE_REFUSED_REQUEST);
        http_answer_text(w->req, w->status == ERR_LIMIT ? w->limit_code : 400, "%s", w->err.msg);
    }
}

static void remote_write_proceed(struct remote_write *w) {
    if (w->status == OK && !w->dropped) {
        if (w->invalid_samples > 0) metric_add(invalid_labels_metric, (double)w->invalid_samples);
        distributor_write(w->home->locals[CORE_INGEST], &w->op);
        return;
    }
    if (w->status == OK) /* another replica of its pair is the elected one: no error */
        http_answer(w->req, 202, (struct sv){0}, (struct sv){0});
    else
        remote_write_fail(w);
    remote_write_free(w);
}

static void remote_write_at_home(struct core *here, struct msg *m) {
    struct remote_write *w = container_of(m, struct remote_write, msg);
    assert(here == w->home);
    remote_write_proceed(w);
}

/* On the decoder's core, at its end. */
static void remote_write_go_home(struct core *here, struct remote_write *w) {
    if (w->charged)
        atomic_fetch_sub_explicit(&decode_queue[w->decoder].bytes, w->decoded_bytes,
                                  memory_order_relaxed);
    if (here == w->home) {
        remote_write_proceed(w);
        return;
    }
    w->msg.run = remote_write_at_home;
    core_post(w->home, &w->msg);
}

static void remote_write_judged(struct core *here, struct remote_write *w, enum ha_verdict verdict,
                                struct sv drop_label) {
    const struct distributor *d = here->locals[CORE_INGEST]; /* data cores open together */
    switch (verdict) {
    case HA_ACCEPT: w->status = remote_write_scan(w, &d->options.map->settings, drop_label); break;
    case HA_DROP: w->dropped = true; break;
    case HA_REFUSE:
        w->status = ERR_LIMIT;
        w->limit_code = 400;
        break;
    case HA_UNAVAILABLE: w->status = ERR_UNAVAILABLE; break;
    case HA_WAIT: return; /* remote_write_on_judged */
    }
    remote_write_go_home(here, w);
}

static void remote_write_on_judged(struct ha_check *check, enum ha_verdict verdict,
                                   const struct err *err) {
    struct remote_write *w = container_of(check, struct remote_write, check);
    struct core *here = w->home->rt->cores[w->decoder];
    assert(core_is_current(here));
    if (err != NULL) w->err = *err;
    remote_write_judged(here, w, verdict,
                        sv_from(ha_options(here->locals[CORE_HA])->replica_label));
}

/* Inflates, asks whether its sender is the elected one of a pair, scans. */
static void remote_write_decode(struct core *here, struct remote_write *w) {
    struct ha *ha = here->locals[CORE_HA];
    w->decoder = here->index;
    w->status = remote_write_inflate(w);
    if (w->status != OK) {
        remote_write_go_home(here, w);
        return;
    }
    struct sv body = buf_sv(&w->op.body);
    struct ha_check *check = &w->check;
    if (ha == NULL || !ha_find_labels(ha_options(ha), body, &check->cluster, &check->replica)) {
        if (ha != NULL) ha_count_plain(ha_count_samples(body));
        remote_write_judged(here, w, HA_ACCEPT, (struct sv){0});
        return;
    }
    const struct distributor *d = here->locals[CORE_INGEST];
    int64_t now_ms = core_wall_ms(here);
    if (d->options.lease != NULL) now_ms = lease_cluster_ms(d->options.lease, now_ms);
    check->samples = ha_count_samples(body);
    check->done = remote_write_on_judged;
    enum ha_verdict verdict = ha_begin(ha, check, now_ms, &w->err);
    remote_write_judged(here, w, verdict, sv_from(ha_options(ha)->replica_label));
}

static void remote_write_at_decoder(struct core *here, struct msg *m) {
    struct remote_write *w = container_of(m, struct remote_write, msg);
    assert(here->index == w->decoder);
    remote_write_decode(here, w);
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
        write_count_refused(WRITE_REFUSED_BUSY);
        answer_busy(w->req, "too many writes are under way");
        remote_write_free(w);
        return;
    }
    metric_add(w->decoder == w->home->index ? decoded_here_metric : decoded_elsewhere_metric, 1);
    atomic_fetch_add_explicit(&decode_queue[w->decoder].bytes, w->decoded_bytes,
                              memory_order_relaxed);
    w->charged = true;
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
    if (req->core->locals[CORE_INGEST] == NULL) {
        write_count_refused(WRITE_REFUSED_NO_CLUSTER);
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
    w->limit_code = 413;
    w->decoded_bytes = decoded_bytes;
    arena_init(
        &w->op.arena,
        2 * (size_t)REMOTE_WRITE_BODY_MAX); /* rewritten labels are no longer than sent ones */
    if (req->body.len > DECODE_HERE_MAX) {
        remote_write_queue(w);
        return;
    }
    metric_add(decoded_here_metric, 1);
    remote_write_decode(w->home, w);
}
