/* SPDX-License-Identifier: Apache-2.0 */
/* A file in the OpenMetrics text format. What it has of samples must come out of its scans. */
#include <stdlib.h>

#include "storage/entry.h"
#include "storage/import/internal.h"
#include "storage/import/openmetrics.h"
#include "storage/metadata.h"
#include "tests/storage/import/memory_disk.h"

enum { EXEMPLARS_MAX = 3 };

static uint64_t scan(struct om_file *file, uint64_t *exemplars) {
    struct om_scan *scan;
    const struct prom_series *series;
    uint64_t samples = 0;
    if (om_scan_new(file, INT64_MIN, INT64_MAX, &scan, NULL) != OK) abort();
    while (om_scan_next(scan, &series, NULL) == OK && series != NULL) {
        bool bad = false;
        struct sv rest = series->canonical;
        for (struct label label; labels_next(&rest, &label, &bad);)
            if (label.value.len == 0) abort();
        if (bad || (series->samples.count == 0 && series->exemplars_count == 0)) abort();
        samples += series->samples.count;
        for (size_t i = 0; i < series->exemplars_count; i++)
            if (!entry_exemplar_labels_valid(series->exemplars[i].labels)) abort();
        *exemplars += series->exemplars_count;
    }
    om_scan_free(scan);
    return samples;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    struct memory_disk disk = memory_disk(data, size);
    struct prom_options options = {.disk = &disk.disk, .path = "text", .shards_count = 4};
    struct om_file *file;
    enum status got = om_file_open(&options, EXEMPLARS_MAX, &file, NULL);
    if (got != OK && got != ERR_PARSE && got != ERR_LIMIT) abort();
    if (got != OK) return 0;
    struct om_counts counts;
    om_file_counts(file, &counts);
    uint64_t exemplars = 0, left_out, samples = scan(file, &exemplars);
    if (exemplars > EXEMPLARS_MAX || exemplars > counts.exemplars) abort();
    struct metadata families;
    metadata_init(&families);
    if (om_file_families(file, &families, &left_out) != OK) abort();
    metadata_fini(&families);
    if (samples > counts.samples || (counts.samples > 0 && samples < counts.series)) abort();
    int64_t day;
    if (om_file_next(file, INT64_MIN, &day) != (counts.samples > 0)) abort();
    om_file_close(file);
    return 0;
}
