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

void write_rows_fini(struct write_rows *rows) {
    free(rows->ids);
    free(rows->shards);
    free(rows->times_ms);
    free(rows->values);
    free(rows->labels);
    *rows = (struct write_rows){0};
}
