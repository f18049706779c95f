/* SPDX-License-Identifier: Apache-2.0 */
/* ingest/scan.h: zero-copy scanner of remote write 1.0's prometheus.WriteRequest (proto/remote.proto is its oracle). A
 * series whose label bytes are canonical (storage/labels.h), as senders send them, is hashed where it lies; others are
 * sorted and rewritten into the arena. Accepts what Go's generated code accepts: unknown fields are skipped, field number 0
 * and a known field with a foreign wire type are refused.
 * Budget: <= 70 ns a sample of a 12-label series with one sample (libraries.md 14: 58 ns scanning, 118 with snappy and hash). */
#pragma once

#include "ingest/rows.h"
#include "node/base/arena.h"

struct scan_options {
    uint64_t secret;
    uint32_t tenant, shards_count;
    uint32_t series_max, samples_max; /* a request beyond them: ERR_LIMIT */
    uint32_t label_bytes_max;         /* one label name or value: ERR_LIMIT (default 64 KiB name+value) */
};
struct scan_metadata { /* of field 3; views into the body */
    uint32_t type;
    struct sv family, help, unit;
};
struct scan_exemplar {
    size_t row; /* of the series' first sample, or SIZE_MAX when it has none */
    struct sv series_labels; /* canonical */
    struct sv labels;        /* as sent */
    double value;
    int64_t time_ms;
};
struct scan_result {
    struct write_rows *rows;
    struct scan_metadata *metadata; /* in the arena */
    size_t metadata_count;
    struct scan_exemplar *exemplars; /* in the arena */
    size_t exemplars_count;
    uint64_t skipped_series_samples; /* of series with invalid labels or without a name: dropped silently, counted */
    uint64_t histograms;             /* native histograms seen (not yet stored) */
};
/* body is the uncompressed message and must outlive rows. ERR_PARSE says what and at which byte. */
MUST_USE enum status scan_write_request(struct sv body, const struct scan_options *options, struct arena *arena,
                                        struct scan_result *out, struct err *err);
