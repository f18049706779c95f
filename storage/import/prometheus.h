/* SPDX-License-Identifier: Apache-2.0 */
/* storage/import/prometheus.h: reads the data directory of a Prometheus (2.0 to 3.x) that is not
 * running: blocks (index version 2), write-ahead log with its checkpoint, out-of-order log, head
 * chunks. Nothing is written. Every byte that an answer depends on is under a CRC-32C, which is
 * checked: what is bad is ERR_CORRUPT, naming file and offset. (meta.json has no checksum.)
 *
 * What counts is what Prometheus would show after a start on that directory:
 * - a block that another one names as its parent, or that says that it may go, is left out;
 * - of the log, in-order samples before the end of the newest block that was not made of
 *   out-of-order samples are left out: they were compacted, and perhaps deleted there;
 * - deletions hold for the block, or for the in-order part of the head, in which they were made;
 * - the last segment of a log may end within a record: it ends before that, and so does the last
 *   file of head chunks, whose samples are in the logs too. Prometheus cuts a log at any bad
 *   record, with all that follows; here that is ERR_CORRUPT;
 * - late samples that a kill took from Prometheus' chunks, but not from its log, are kept, though
 *   Prometheus forgets them.
 * Samples of one series at one time that differ: which one Prometheus answers depends on where its
 * query begins. Here the later one of this order wins, and it is counted: blocks by their first
 * time, then by name; the head in order; out of order, by what was written when.
 *
 * Memory: the head's labels and those of its samples that are in no chunk (16 bytes a sample); for
 * a scan the symbols of the blocks it needs, 16 bytes a series and block, the labels of one
 * shard, the samples of one series. Thread: one; all calls block on the disk. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "node/base/status.h"
#include "node/base/sv.h"
#include "node/runtime/disk.h"
#include "storage/sample.h"

struct prom_options {
    struct disk *disk; /* borrowed until close */
    const char *path;
    uint64_t secret; /* of series ids, with the next two: they give the order */
    uint32_t tenant;
    uint32_t shards_count; /* at least 1 */
};

/* What was found; complete when a scan over all times has ended. */
struct prom_counts {
    uint64_t blocks, blocks_replaced;
    uint64_t blocks_unfinished; /* without meta.json: Prometheus takes no notice of them either */
    uint64_t wal_segments, wbl_segments, head_series;
    uint64_t wal_cut_bytes, head_chunks_cut_bytes; /* torn ends */
    uint64_t conflicts;                            /* samples that another one at its time beat */
    /* left out, for no series is known for them */
    uint64_t unknown_samples, unknown_head_chunks;
    /* left out, for they cannot be held */
    uint64_t histograms; /* samples of native histograms that break the rules of them */
    uint64_t encodings;  /* chunks of an encoding that is not known */
    uint64_t records;    /* of a type that is not known */
    uint64_t starts;     /* start timestamps; their samples are not left out */
    uint64_t exemplars;  /* of too many characters, or malformed */
};

struct prom_dir;
/* Reads the names, meta.json of every block, logs and head chunks. *out owned by the caller.
 * ERR_UNAVAILABLE: there is no such directory; ERR_PARSE: there is, but it is no Prometheus';
 * ERR_UNSUPPORTED: an older index. */
MUST_USE enum status prom_dir_open(const struct prom_options *options, struct prom_dir **out,
                                   struct err *err);
void prom_dir_close(struct prom_dir *dir); /* NULL too; no scan may be left */
void prom_dir_counts(const struct prom_dir *dir, struct prom_counts *out);
/* Of all samples, both inclusive, a little wide where deletions were; false: there are none. */
bool prom_dir_range(const struct prom_dir *dir, int64_t *out_min_ms, int64_t *out_max_ms);
/* No sample is at or after from_ms and before *out_ms: to skip times without any; false: there is
 * none any more. */
bool prom_dir_next(const struct prom_dir *dir, int64_t from_ms, int64_t *out_ms);

struct prom_exemplar {
    struct sv labels; /* canonical; valid for an entry (storage/entry.h) */
    int64_t time_ms;
    double value;
};
/* How many the log has, and a time, as low as can be, so that at most max of them are later.
 * ERR_NOMEM. */
MUST_USE enum status prom_dir_exemplars(const struct prom_dir *dir, size_t max, uint64_t *out_count,
                                        int64_t *out_ms);

/* What the log says of metric families, with the name that the type of a series gives its family:
 * what differs among series is there side by side, what was said last in front. Adds to m, of whose
 * shards the options are; families that an entry cannot carry are left out and counted.
 * ERR_NOMEM. */
struct metadata;
MUST_USE enum status prom_dir_families(const struct prom_dir *dir, struct metadata *m,
                                       uint64_t *out_left_out);

struct prom_series {
    uint32_t shard;
    struct sv canonical;                   /* labels, as in storage/labels.h */
    struct samples samples;                /* may be none, when there are exemplars */
    const struct prom_exemplar *exemplars; /* by time, value and labels; of the log */
    size_t exemplars_count;
};

/* Every series that has a sample or an exemplar with from_ms <= time <= to_ms, once: ascending by
 * shard, within it by canonical bytes. Several scans may be had, one after the other. */
struct prom_scan;
MUST_USE enum status prom_scan_new(struct prom_dir *dir, int64_t from_ms, int64_t to_ms,
                                   struct prom_scan **out, struct err *err);
/* *out is borrowed until the next call; NULL at the end. */
MUST_USE enum status prom_scan_next(struct prom_scan *scan, const struct prom_series **out,
                                    struct err *err);
void prom_scan_free(struct prom_scan *scan); /* NULL too */
