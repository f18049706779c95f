/* SPDX-License-Identifier: Apache-2.0 */
/* ingest/scan.h: zero-copy scanner of remote write 1.0's prometheus.WriteRequest
 * (proto/remote.proto is its oracle; what it refuses beyond Go's generated code stands in
 * ingest/wire.h). A series whose label bytes are canonical (storage/labels.h), as senders send
 * them, is hashed where it lies; others are sorted and rewritten into the arena. Exemplars and
 * metadata are handed out in rows as storage keeps them: labels in canonical order, metadata with
 * its name's shard. Those that storage would not keep (too long, not UTF-8, repeated names, more
 * exemplars than samples_max) are left out silently. A native histogram is a row whose value is
 * nothing; one that breaks a rule (storage/histogram.h) is refused, and the others are kept.
 * Budget: <= 75 ns a sample of a 12-label series with one sample, <= 15 ns with ten (bench in
 * tests/ingest/bench_scan.c; libraries.md 14 measured 75 for a scanner and one hash). */
#pragma once

#include "ingest/rows.h"
#include "node/base/arena.h"

struct scan_options {
    uint64_t secret;
    uint32_t tenant, shards_count;
    uint32_t series_max, samples_max; /* a request beyond them: ERR_LIMIT; metadata counts as
                                         series */
    uint32_t label_bytes_max;         /* name and value of one label: ERR_LIMIT */
    uint32_t labels_bytes_max;        /* all label fields of one series: ERR_LIMIT */
    struct sv drop_label;             /* is taken out of each series (ingest/ha.h); empty: none */
};
struct scan_result {
    struct write_rows *rows;         /* given; its content is replaced */
    uint64_t skipped_series_samples; /* samples and histograms of series with invalid or repeated
                                        labels or without a name: dropped silently, counted */
    uint64_t histograms;             /* native histograms of valid series, refused ones too */
    uint64_t refused;                /* samples and histograms that break a rule: left out */
    char refused_text[480];          /* Prometheus' sentence for the first; "" when there is none.
                                        Of 1.0 only */
    struct sv
        errors; /* 2.0: a sentence for each, or for a series left out, in lines; in the arena */
    uint64_t exemplars, metadata; /* seen, kept or not */
};
/* Of 2.0 (io.prometheus.write.v2.Request): labels are written anew from its table of symbols; what
 * is wrong with a series takes it out, or the histogram or exemplar, and is said. Metadata is not
 * kept, as Prometheus does by default. */
MUST_USE enum status scan_write_request_v2(struct sv body, const struct scan_options *options,
                                           struct arena *arena, struct scan_result *out,
                                           struct err *err);
/* body is the uncompressed message and must outlive rows. ERR_PARSE says what and at which byte. */
MUST_USE enum status scan_write_request(struct sv body, const struct scan_options *options,
                                        struct arena *arena, struct scan_result *out,
                                        struct err *err);
