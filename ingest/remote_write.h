/* SPDX-License-Identifier: Apache-2.0 */
/* ingest/remote_write.h: POST /api/v1/write (remote write 1.0): headers, codes and texts of Prometheus' receiver with
 * the deviations of DESIGN 5: nothing is rolled back, 503 with Retry-After while a shard cannot answer. The raw body is
 * snappy (block format); its declared length is checked before anything is allocated. Bodies over 16 KB are decoded on the
 * least busy core. */
#pragma once

#include "ingest/distributor.h"
#include "node/http/server.h"

enum { REMOTE_WRITE_BODY_MAX = 32 << 20 };
struct remote_write_options {
    unsigned cores_count;
};
void remote_write_register_metrics(void);
/* Route handler: raw_body, body_bytes_max REMOTE_WRITE_BODY_MAX. Finds its distributor in core->locals[CORE_INGEST]. */
void remote_write_handle(struct http_request *req);
/* Samples of this process itself (self-scrape, later rules and scrapes): text labels and values through the same path. */
struct remote_write_sample {
    struct label *labels;
    size_t labels_count;
    int64_t time_ms;
    double value;
};
MUST_USE enum status ingest_samples(struct core *core, const struct remote_write_sample *samples, size_t count,
                                    void (*done)(void *ctx, enum write_outcome outcome, const char *text), void *ctx,
                                    struct err *err);
