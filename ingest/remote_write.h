/* SPDX-License-Identifier: Apache-2.0 */
/* ingest/remote_write.h: POST /api/v1/write (remote write 1.0 and 2.0): headers, codes and texts of
 * Prometheus' receiver with the deviations of DESIGN 5: nothing is rolled back, 503 with
 * Retry-After while a shard cannot answer. The raw body is snappy (block format); its declared
 * length is checked before anything is allocated. Bodies over 16 KB are decoded on the least busy
 * core.
 *
 *   202  the sender is not the elected one of its HA pair (ingest/ha.h, when the core has a tracker
 *        in locals[CORE_HA]): nothing is kept
 *   204  all samples are durable
 *   400  malformed body, or why samples were refused (what was good is kept): 1.0 says it of the
 *        first, 2.0 of each series and histogram that the scanner left out, then of the first
 * sample 413  beyond a limit: body, series, samples, label bytes 415  another media type, message
 * or encoding 503  a shard gave no answer, or too much is under way: the same request may be sent
 * again 2.0 is told with every code in
 * X-Prometheus-Remote-Write-{Samples,Histograms,Exemplars}-Written how many were kept or held
 * already. */
#pragma once

#include "ingest/distributor.h"
#include "node/http/server.h"

enum {
    REMOTE_WRITE_BODY_MAX = 32 << 20,        /* as sent, and as declared by the snappy header */
    REMOTE_WRITE_SERIES_MAX = 1 << 20,       /* in one request */
    REMOTE_WRITE_SAMPLES_MAX = 1 << 20,      /* in one request */
    REMOTE_WRITE_LABEL_BYTES_MAX = 64 << 10, /* name and value of a label */
    REMOTE_WRITE_LABELS_BYTES_MAX = 1 << 20, /* label fields of a series */
};

void remote_write_register_metrics(void);
/* Route handler: raw_body, body_bytes_max REMOTE_WRITE_BODY_MAX. Finds its distributor in
 * core->locals[CORE_INGEST]. */
void remote_write_handle(struct http_request *req);
/* The two headers (empty: absent). 0, or the code to answer with the text. *out_v2 is set in any
 * case: whether they say that the message is 2.0's. */
enum { REMOTE_WRITE_TEXT_MAX = 512 };
int remote_write_check_headers(struct sv content_type, struct sv encoding, bool *out_v2,
                               char text[static REMOTE_WRITE_TEXT_MAX]);

/* Samples of this process itself (self-scrape, later rules and scrapes): text labels and values
 * through the same path. Everything is borrowed during the call only (labels may be put into
 * another order); done runs once on this core, later. Labels that are invalid, or no metric name:
 * ERR_PARSE or ERR_CONFLICT, and nothing is written. */
struct remote_write_sample {
    struct label *labels;
    size_t labels_count;
    int64_t time_ms;
    double value;
};
MUST_USE enum status
ingest_samples(struct core *core, const struct remote_write_sample *samples, size_t count,
               void (*done)(void *ctx, enum write_outcome outcome, const char *text), void *ctx,
               struct err *err);
