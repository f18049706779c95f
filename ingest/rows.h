/* SPDX-License-Identifier: Apache-2.0 */
/* ingest/rows.h: samples on their way to their shards, in columns. Labels are canonical bytes that
 * point into the request's body (or arena); ptr NULL when only the id is known (between nodes).
 * Growable arrays on the heap. Exemplars and metadata, which few requests have, lie beside them. */
#pragma once

#include <stdint.h>

#include "node/base/status.h"
#include "storage/store.h"

struct write_rows {
    size_t count, cap;
    series_id *ids;
    uint32_t *shards;
    int64_t *times_ms;
    double *values;
    struct sv *labels;
    int64_t *starts_ms;    /* of floats, 0: none known; NULL: none is */
    struct sv *histograms; /* bytes as struct write_columns has them; NULL: all are floats */
    struct write_exemplar *exemplars; /* labels as those of rows */
    struct write_metadata *metadata;
    size_t exemplars_count, exemplars_cap, metadata_count, metadata_cap;
};
MUST_USE enum status write_rows_reserve(struct write_rows *rows, size_t count);
/* Makes the column, which has nothing in it yet: rows that are made from then on need not set it.
 */
MUST_USE enum status write_rows_want_starts(struct write_rows *rows);
MUST_USE enum status write_rows_want_histograms(struct write_rows *rows);
/* Takes back the rows from `count` on. */
void write_rows_cut(struct write_rows *rows, size_t count);
MUST_USE enum status write_rows_add_exemplar(struct write_rows *rows,
                                             const struct write_exemplar *e);
MUST_USE enum status write_rows_add_metadata(struct write_rows *rows,
                                             const struct write_metadata *m);
static inline bool write_rows_is_empty(const struct write_rows *rows) {
    return rows->count == 0 && rows->exemplars_count == 0 && rows->metadata_count == 0;
}
void write_rows_fini(struct write_rows *rows);
void write_rows_clear(struct write_rows *rows);
