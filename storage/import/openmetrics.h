/* SPDX-License-Identifier: Apache-2.0 */
/* storage/import/openmetrics.h: samples with timestamps from a file in the OpenMetrics text format
 * (1.0, with the quoted names of 2.0), as `promtool tsdb create-blocks-from openmetrics` takes it:
 * lines in any order of series and time, a timestamp in each, "# EOF" as the last line.
 *
 * Timestamps are seconds, taken to the nearest millisecond. Of equal times of a series the last
 * line counts, and of what is said of a family what was said last. Of exemplars the newest
 * exemplars_max are taken.
 * The file is read when it is opened, to check all of it and to know its series, and again by each
 * scan. Memory: the labels of all series, what is known of families, the samples of a scan (16
 * bytes each) and its exemplars.
 * Thread: one; all calls block on the disk. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "node/base/status.h"
#include "storage/import/prometheus.h"

enum { OM_LINE_BYTES_MAX = 1 << 20 };

struct om_counts {
    uint64_t series, samples;
    uint64_t exemplars, exemplars_bad; /* those that a series can have; left out: too long, or a
                                          label twice */
    uint64_t exemplars_same;           /* that came before; of scans */
    uint64_t conflicts; /* samples that a later line at the same time beat; of scans */
};

struct om_file;
/* Options as of a directory; path is the file. ERR_PARSE names file and line; ERR_LIMIT: a line is
 * too long; ERR_UNAVAILABLE: there is no such file. */
MUST_USE enum status om_file_open(const struct prom_options *options, size_t exemplars_max,
                                  struct om_file **out, struct err *err);
void om_file_close(struct om_file *file); /* NULL too; no scan may be left */
void om_file_counts(const struct om_file *file, struct om_counts *out);
/* As prom_dir_families: families are named as in the file. */
MUST_USE enum status om_file_families(const struct om_file *file, struct metadata *m,
                                      uint64_t *out_left_out);
/* The begin of the first day (UTC) with samples at or after from_ms, which begins a day, or is the
 * smallest time; false: there is none any more. */
bool om_file_next(const struct om_file *file, int64_t from_ms, int64_t *out_ms);

/* As prom_scan_new and prom_scan_next. ERR_CORRUPT: the file was changed. */
struct om_scan;
MUST_USE enum status om_scan_new(struct om_file *file, int64_t from_ms, int64_t to_ms,
                                 struct om_scan **out, struct err *err);
MUST_USE enum status om_scan_next(struct om_scan *scan, const struct prom_series **out,
                                  struct err *err);
void om_scan_free(struct om_scan *scan); /* NULL too */
