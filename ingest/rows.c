/* SPDX-License-Identifier: Apache-2.0 */
#include "ingest/rows.h"

#include <stdlib.h>
#include <string.h>

static bool grow(void **p, size_t count, size_t size) {
    void *q = realloc(*p, count * size);
    if (q == NULL) return false;
    *p = q;
    return true;
}

/* The columns that few requests have; what is new in them is nothing. */
static bool grow_rare(struct write_rows *rows, size_t cap) {
    void *starts = rows->starts_ms, *histograms = rows->histograms;
    size_t more = cap - rows->cap;
    if (starts != NULL) {
        if (!grow(&starts, cap + 1, sizeof *rows->starts_ms)) return false;
        rows->starts_ms = starts;
        memset(rows->starts_ms + rows->cap, 0, (more + 1) * sizeof *rows->starts_ms);
    }
    if (histograms != NULL) {
        if (!grow(&histograms, cap + 1, sizeof *rows->histograms)) return false;
        rows->histograms = histograms;
        memset(rows->histograms + rows->cap, 0, (more + 1) * sizeof *rows->histograms);
    }
    return true;
}

enum status write_rows_reserve(struct write_rows *rows, size_t count) {
    if (count <= rows->cap) return OK;
    size_t cap = rows->cap == 0 ? 512 : rows->cap * 2;
    if (cap < count) cap = count;
    if (cap > SIZE_MAX / sizeof(struct sv)) return ERR_NOMEM;
    void *ids = rows->ids, *shards = rows->shards, *times = rows->times_ms, *values = rows->values,
         *labels = rows->labels;
    bool ok = grow(&ids, cap, sizeof *rows->ids) && grow(&shards, cap, sizeof *rows->shards) &&
              grow(&times, cap, sizeof *rows->times_ms) &&
              grow(&values, cap, sizeof *rows->values) && grow(&labels, cap, sizeof *rows->labels);
    /* what did grow stays: the arrays are only ever longer than cap says */
    rows->ids = ids;
    rows->shards = shards;
    rows->times_ms = times;
    rows->values = values;
    rows->labels = labels;
    if (!ok || !grow_rare(rows, cap)) return ERR_NOMEM;
    rows->cap = cap;
    return OK;
}

enum status write_rows_want_starts(struct write_rows *rows) {
    if (rows->starts_ms == NULL) rows->starts_ms = calloc(rows->cap + 1, sizeof *rows->starts_ms);
    return rows->starts_ms == NULL ? ERR_NOMEM : OK;
}

enum status write_rows_want_histograms(struct write_rows *rows) {
    if (rows->histograms == NULL)
        rows->histograms = calloc(rows->cap + 1, sizeof *rows->histograms);
    return rows->histograms == NULL ? ERR_NOMEM : OK;
}

void write_rows_cut(struct write_rows *rows, size_t count) {
    size_t cut = rows->count - count;
    if (rows->starts_ms != NULL) memset(rows->starts_ms + count, 0, cut * sizeof *rows->starts_ms);
    if (rows->histograms != NULL)
        memset(rows->histograms + count, 0, cut * sizeof *rows->histograms);
    rows->count = count;
}

void write_rows_clear(struct write_rows *rows) {
    free(rows->starts_ms);
    free(rows->histograms);
    rows->starts_ms = NULL;
    rows->histograms = NULL;
    rows->count = rows->exemplars_count = rows->metadata_count = 0;
}

static bool grow_one(void **p, size_t count, size_t *cap, size_t size) {
    if (count < *cap) return true;
    size_t more = *cap == 0 ? 64 : *cap * 2;
    if (more > SIZE_MAX / size || !grow(p, more, size)) return false;
    *cap = more;
    return true;
}

enum status write_rows_add_exemplar(struct write_rows *rows, const struct write_exemplar *e) {
    void *p = rows->exemplars;
    if (!grow_one(&p, rows->exemplars_count, &rows->exemplars_cap, sizeof *e)) return ERR_NOMEM;
    rows->exemplars = p;
    rows->exemplars[rows->exemplars_count++] = *e;
    return OK;
}

enum status write_rows_add_metadata(struct write_rows *rows, const struct write_metadata *m) {
    void *p = rows->metadata;
    if (!grow_one(&p, rows->metadata_count, &rows->metadata_cap, sizeof *m)) return ERR_NOMEM;
    rows->metadata = p;
    rows->metadata[rows->metadata_count++] = *m;
    return OK;
}

void write_rows_fini(struct write_rows *rows) {
    free(rows->ids);
    free(rows->shards);
    free(rows->times_ms);
    free(rows->values);
    free(rows->labels);
    free(rows->starts_ms);
    free(rows->histograms);
    free(rows->exemplars);
    free(rows->metadata);
    *rows = (struct write_rows){0};
}
