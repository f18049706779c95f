/* SPDX-License-Identifier: Apache-2.0 */
/* ingest/rows.h: samples on their way to their shards, in columns. Labels are canonical bytes that
 * point into the request's body (or arena); ptr NULL when only the id is known (between nodes).
 * Growable arrays on the heap. */
#pragma once

#include <stdint.h>

#include "node/base/status.h"
#include "storage/labels.h"

struct write_rows {
    size_t count, cap;
    series_id *ids;
    uint32_t *shards;
    int64_t *times_ms;
    double *values;
    struct sv *labels;
};
MUST_USE enum status write_rows_reserve(struct write_rows *rows, size_t count);
void write_rows_fini(struct write_rows *rows);
static inline void write_rows_clear(struct write_rows *rows) {
    rows->count = 0;
}
