/* SPDX-License-Identifier: Apache-2.0 */
/* Merges of which blocks of rows come. The same raw blocks and deletions give the same rows, to the
 * bit, on every node. */
#include <stdlib.h>

#include "storage/archive/cover.h"
#include "storage/archive/internal.h"
#include "storage/archive/rows.h"

/* -- on the log core */

static bool is_unreadable(void *ctx, const struct merge_plan *plan) {
    return !archive_plan_is_readable(ctx, plan);
}

void archive_rows_plan(struct archive *a, const struct plan_options *options,
                       struct merge_plan *out) {
    plan_rows(&a->manifest, options, is_unreadable, a, out);
}

/* Its samples may be gone: nobody here could make it anew. */
static bool is_all_there_is(const struct manifest *m, const struct manifest_block *b) {
    for (uint32_t i = 0; i < b->parts_count; i++) {
        const struct manifest_shard *s = manifest_shard_find(m, b->parts[i].shard);
        if (s != NULL && s->copy == b->parts[i].copy && cover_gone_ms(s) > b->min_ms) return true;
    }
    return false;
}

bool archive_rows_are_all(const struct archive *a, uint64_t number) {
    const struct manifest_block *b = manifest_block_find(&a->manifest, number);
    return b != NULL && is_all_there_is(&a->manifest, b);
}

/* They go, and are made anew; where samples have gone they are fetched (repair.h). */
uint32_t archive_rows_bad(const struct archive *a, uint64_t *out_numbers, uint32_t max) {
    uint32_t count = 0;
    for (uint32_t i = 0; i < a->list->count && count < max; i++) {
        const struct manifest_block *b = &a->list->blocks[i].of;
        if (a->list->blocks[i].block == NULL && b->resolution_ms != 0 &&
            !is_all_there_is(&a->manifest, b))
            out_numbers[count++] = b->number;
    }
    return count;
}

static bool plan_has(const struct merge_plan *plan, uint64_t number) {
    for (uint32_t i = 0; i < plan->count; i++)
        if (plan->numbers[i] == number) return true;
    return false;
}

void archive_rows_forget(struct archive *a, struct manifest *m, int64_t min_ms, int64_t max_ms) {
    struct merge *merge = &a->merge;
    bool makes = merge->running && merge->plan.makes_rows;
    if (makes && merge->plan.from_ms < max_ms && merge->plan.to_ms >= min_ms) merge->voided = true;
    for (uint32_t i = m->blocks_count; i > 0; i--) {
        const struct manifest_block *b = &m->blocks[i - 1];
        if (b->resolution_ms == 0 || b->min_ms >= max_ms || b->max_ms + 1 < min_ms ||
            is_all_there_is(m, b))
            continue;
        if (merge->running && plan_has(&merge->plan, b->number)) merge->voided = true;
        manifest_block_remove(m, b->number);
    }
}

/* -- on the worker */

static bool inputs_have_histograms(const struct merge *m) {
    bool any = false;
    for (uint32_t k = 0; k < m->plan.count; k++) {
        const struct manifest_block *b = manifest_block_find(&m->manifest, m->plan.numbers[k]);
        any = any || (b != NULL && b->has_histograms);
    }
    return any;
}

enum status archive_rows_write(struct merge *m, struct block_merge_options *o,
                               struct archive_filter *filter) {
    struct rows_writing w = {.filter = filter,
                             .from_ms = m->plan.from_ms,
                             .to_ms = m->plan.to_ms,
                             .resolution_ms = m->plan.resolution_ms};
    o->filter = m->plan.makes_rows ? rows_make : rows_leave;
    o->filter_items = rows_leave_items;
    o->replaces = m->plan.makes_rows;
    o->writer.even_empty = true; /* that there is nothing is said, too */
    o->ctx = &w;
    enum status status = block_merge(o, &m->written, &m->err);
    m->has_histograms = w.has_histograms || inputs_have_histograms(m);
    rows_writing_fini(&w);
    if (status == OK && w.failed)
        status = err_set(&m->err, ERR_NOMEM, 0, "merge: not enough memory for rows");
    return status;
}

enum status archive_rows_parts(struct merge *m) {
    struct manifest_block *of = &m->added.of;
    struct manifest_part *parts = calloc(m->manifest.shards_count + 1, sizeof *parts);
    if (parts == NULL) return err_set(&m->err, ERR_NOMEM, 0, "merge: not enough memory");
    free(of->parts);
    of->parts = parts;
    of->parts_count = 0;
    of->min_ms = m->plan.from_ms;
    of->max_ms = m->plan.to_ms - 1;
    of->has_histograms = m->has_histograms;
    for (uint32_t i = 0; i < m->manifest.shards_count; i++) {
        const struct manifest_shard *s = &m->manifest.shards[i];
        if (m->plan.makes_rows ? plan_rows_has(&m->manifest, s, &m->plan)
                               : plan_merge_has(&m->manifest, s, &m->plan))
            parts[of->parts_count++] = (struct manifest_part){s->shard, s->copy};
    }
    return OK;
}
