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
#include "node/base/num.h"

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
    bool is_v2;            /* remote write 2.0 */
    bool charged;          /* its bytes count in that core's queue */
    struct ha_check check; /* the decoder's, while it waits */
    /* what the decoder says */
    enum status status;
    struct err err;
    uint64_t refused, invalid_samples;
    char refused_text[480]; /* of the first that the scanner refused */
    struct sv errors;       /* 2.0: of all, in op.arena */
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

/* 2.0: what is held now. */
static void put_written(struct http_request *req, const struct write_op *op) {
    uint64_t all = (uint64_t)op->counts[VERDICT_ACCEPT] + op->counts[VERDICT_NOOP];
    const uint64_t counts[] = {all - op->histograms_written, op->histograms_written,
                               op->exemplars_kept};
    static const char *const names[] = {"X-Prometheus-Remote-Write-Samples-Written",
                                        "X-Prometheus-Remote-Write-Histograms-Written",
                                        "X-Prometheus-Remote-Write-Exemplars-Written"};
    static_assert(ARRAY_LEN(counts) == ARRAY_LEN(names), "one name a count");
    for (size_t i = 0; i < ARRAY_LEN(counts); i++) {
        char text[NUM_U64_MAX];
        size_t len = num_format_u64(text, counts[i]);
        http_answer_header(req, sv_from(names[i]), sv_make(text, len));
    }
}

/* 2.0: what the scanner left out, then the first that was refused. */
static void answer_refused_v2(struct remote_write *w) {
    const struct write_op *op = &w->op;
    bool both = w->errors.len > 0 && op->outcome == WRITE_REFUSED;
    http_answer_text(w->req, 400, "%.*s%s%s", SV_ARG(w->errors), both ? "\n" : "",
                     op->outcome == WRITE_REFUSED ? op->text : "");
}

static void answer_refused(struct remote_write *w) {
    const struct write_op *op = &w->op;
    if (w->is_v2)
        answer_refused_v2(w);
    else if (op->outcome == WRITE_REFUSED)
        http_answer_text(w->req, 400, "%.*s", (int)op->plain_len, op->text);
    else
        http_answer_text(w->req, 400, "%s", w->refused_text);
}

static void remote_write_on_done(struct core *here, struct write_op *op) {
    struct remote_write *w = container_of(op, struct remote_write, op);
    assert(here == w->home);
    if (w->is_v2) put_written(w->req, op);
    if (op->outcome == WRITE_OK && w->refused > 0) write_count_refused(WRITE_REFUSED_SAMPLE);
    if (op->outcome == WRITE_UNAVAILABLE)
        answer_busy(w->req, op->text);
    else if (op->outcome == WRITE_REFUSED || w->refused > 0)
        answer_refused(w);
    else
        http_answer(w->req, 204, (struct sv){0}, (struct sv){0});
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
    struct sv body = buf_sv(&w->op.body);
    TRY(w->is_v2 ? scan_write_request_v2(body, &o, &w->op.arena, &result, &w->err)
                 : scan_write_request(body, &o, &w->op.arena, &result, &w->err));
    w->refused = result.refused + (result.errors.len > 0);
    w->errors = result.errors;
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
    if (w->is_v2) put_written(w->req, &w->op);
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
    bool pair = ha != NULL && (w->is_v2 ? ha_find_labels_v2 : ha_find_labels)(
                                  ha_options(ha), body, &check->cluster, &check->replica);
    uint64_t samples = 0;
    if (ha != NULL) samples = w->is_v2 ? ha_count_samples_v2(body) : ha_count_samples(body);
    if (!pair) {
        if (ha != NULL) ha_count_plain(samples);
        remote_write_judged(here, w, HA_ACCEPT, (struct sv){0});
        return;
    }
    const struct distributor *d = here->locals[CORE_INGEST];
    int64_t now_ms = core_wall_ms(here);
    if (d->options.lease != NULL) now_ms = lease_cluster_ms(d->options.lease, now_ms);
    check->samples = samples;
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
        if (w->is_v2) put_written(w->req, &w->op);
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

/* False: answered. */
static bool remote_write_admit(struct http_request *req, bool *out_v2, size_t *out_decoded_bytes) {
    static const struct write_op none;
    char text[REMOTE_WRITE_TEXT_MAX];
    int code =
        remote_write_check_headers(http_header_get(req, SV("content-type")),
                                   http_header_get(req, SV("content-encoding")), out_v2, text);
    bool cluster = req->core->locals[CORE_INGEST] != NULL;
    *out_decoded_bytes = 0;
    bool whole =
        snappy_uncompressed_length(req->body.ptr, req->body.len, out_decoded_bytes) == SNAPPY_OK;
    if (code == 0 && cluster && whole && *out_decoded_bytes <= REMOTE_WRITE_BODY_MAX) return true;
    if (*out_v2) put_written(req, &none);
    if (code != 0) {
        http_answer_text(req, code, "%s", text);
    } else if (!cluster) {
        write_count_refused(WRITE_REFUSED_NO_CLUSTER);
        answer_busy(req, "this node is of no cluster yet");
    } else if (!whole) {
        http_answer_text(req, 400, "snappy: corrupt input");
    } else {
        http_answer_text(req, 400, "snappy: decoded block is too large: %zu bytes, at most %d",
                         *out_decoded_bytes, REMOTE_WRITE_BODY_MAX);
    }
    return false;
}

void remote_write_handle(struct http_request *req) {
    bool is_v2;
    size_t decoded_bytes;
    if (!remote_write_admit(req, &is_v2, &decoded_bytes)) return;
    struct remote_write *w = calloc(1, sizeof *w);
    if (w == NULL) {
        answer_busy(req, "out of memory");
        return;
    }
    w->op.done = remote_write_on_done;
    w->req = req;
    w->home = req->core;
    w->is_v2 = is_v2;
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
