/* SPDX-License-Identifier: Apache-2.0 */
/* Deleting samples: a series that has some of them is built anew from those that stay, in order, so
 * that what is deleted leaves no trace, not even as the newest sample of its series. Selections
 * keep the chunks they have. */
#include <stdlib.h>

#include "node/base/bytes.h"
#include "storage/internal.h"

struct rebuild {
    struct chunk_open open;
    struct chain sealed;
};

static void rebuild_drop(struct head *head, struct rebuild *b) {
    if (b->open.first != NULL) chunk_slab_give(&head->blocks, b->open.first, b->open.tail);
    head_chain_free(head, &b->sealed);
}

static enum status rebuild_append(struct head *head, struct rebuild *b, int64_t time_ms,
                                  double value) {
    if (b->open.count == b->open.full) {
        TRY(head_chain_seal(head, &b->sealed, &b->open, false));
        if (b->open.first != NULL) chunk_slab_give(&head->blocks, b->open.first, b->open.tail);
        chunk_reset(&b->open);
    }
    return chunk_append(&b->open, &head->blocks, time_ms, f64_bits(value));
}

/* What was there goes as when it is sealed or trimmed; fails before anything has changed. */
static enum status rebuild_commit(struct head *head, uint32_t ref, const struct rebuild *b) {
    struct chunk_open *open = &head_series(head, ref)->open;
    struct series_cold *cold = head_cold(head, ref);
    TRY(head_retire_chunks(head, cold->sealed, cold->sealed_count));
    if (open->first != NULL) head_retire_blocks(head, open->first, open->tail);
    if (cold->late != NULL) head_retire_late(head, cold->late);
    head->chunks_count -= cold->sealed_count + (open->count > 0);
    head->chunks_count += b->sealed.count + (b->open.count > 0);
    *open = b->open;
    cold->sealed = b->sealed.newest;
    cold->sealed_count = b->sealed.count;
    cold->late = NULL;
    return OK;
}

static enum status series_delete(struct head *head, uint32_t ref, int64_t min_ms, int64_t max_ms,
                                 struct samples *rows) {
    struct series_view view;
    series_view_take(head, ref, &view);
    samples_clear(rows);
    TRY(series_view_read(&view, INT64_MIN, INT64_MAX, rows, NULL));
    size_t kept = 0, floats = 0;
    for (size_t i = 0; i < rows->count; i++) {
        if (rows->histograms != NULL && rows->histograms[i] != NULL) continue;
        floats++;
        if (rows->times_ms[i] >= min_ms && rows->times_ms[i] <= max_ms) continue;
        rows->times_ms[kept] = rows->times_ms[i];
        rows->values[kept++] = rows->values[i];
    }
    const struct chunk_open *open = &head_series(head, ref)->open;
    if (open->has_extras) TRY(head_extras_delete(head, ref, min_ms, max_ms));
    if (kept == floats) return OK;
    struct rebuild b = {.open = {.full = open->full, .owner = open->owner}};
    b.open.has_extras = open->has_extras;
    enum status status = OK;
    for (size_t i = 0; i < kept && status == OK; i++)
        status = rebuild_append(head, &b, rows->times_ms[i], rows->values[i]);
    if (status == OK) status = rebuild_commit(head, ref, &b);
    if (status != OK) rebuild_drop(head, &b);
    return status;
}

enum status head_delete(struct head *head, uint32_t shard, const struct matcher *matchers,
                        size_t count, int64_t min_ms, int64_t max_ms, struct err *err) {
    if (shard >= head->shards_count || min_ms > max_ms) return OK;
    uint64_t *bits = calloc(shard / 64 + 1, sizeof *bits);
    if (bits == NULL) return err_set(err, ERR_NOMEM, 0, "head: out of memory for deleting");
    bits[shard / 64] = 1ULL << (shard % 64);
    struct shard_set shards = {bits, shard + 1};
    struct select_query query = {.matchers = matchers,
                                 .matchers_count = count,
                                 .shards = &shards,
                                 .from_ms = INT64_MIN,
                                 .to_ms = INT64_MAX};
    struct u32s refs = {0};
    struct samples rows = {0};
    enum status status = select_refs(head, &query, &refs, err);
    for (uint32_t i = 0; i < refs.count && status == OK; i++) {
        if (!head_series_overlaps(head, refs.at[i], INT64_MIN, max_ms)) continue;
        status = series_delete(head, refs.at[i], min_ms, max_ms, &rows);
        if (status == ERR_NOMEM)
            status = err_set(err, ERR_NOMEM, 0, "head: out of memory for deleting");
    }
    if (refs.count > 0) head_trim_want(head, shard);
    samples_fini(&rows);
    u32s_fini(&refs);
    free(bits);
    return status;
}
