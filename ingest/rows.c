/* SPDX-License-Identifier: Apache-2.0 */
#include "ingest/rows.h"

#include <stdlib.h>

static bool grow(void **p, size_t count, size_t size) {
    void *q = realloc(*p, count * size);
    if (q == NULL) return false;
    *p = q;
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
    if (!ok) return ERR_NOMEM;
    rows->cap = cap;
    return OK;
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
    free(rows->exemplars);
    free(rows->metadata);
    *rows = (struct write_rows){0};
}
