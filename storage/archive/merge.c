/* SPDX-License-Identifier: Apache-2.0 */
/* Blocks that become one, and blocks of which nothing is left. On a worker, one at a time. */
#include <assert.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "node/base/log.h"
#include "storage/archive/cover.h"
#include "storage/archive/exemplars.h"
#include "storage/archive/filter.h"
#include "storage/archive/internal.h"

#define RETRY_NS ((uint64_t)60 * 1000000000)

/* -- on the worker */

/* Parts of the outcome: those of the inputs, as far as something is left of them. */
static uint32_t copy_of(void *ctx, uint32_t shard) {
    const struct manifest_shard *s = manifest_shard_find(&((struct merge *)ctx)->manifest, shard);
    return s == NULL ? 0 : s->copy;
}

static bool makes_rows_of(const struct merge *m, uint32_t shard) {
    return !m->plan.makes_rows ||
           plan_rows_has(&m->manifest, manifest_shard_find(&m->manifest, shard), &m->plan);
}

static void inputs_make(struct merge *m, struct block_merge_input *inputs, uint64_t *bits,
                        uint32_t words) {
    for (uint32_t i = 0, n = 0; i < m->list->count; i++) {
        const struct list_block *b = &m->list->blocks[i];
        bool wanted = false;
        for (uint32_t k = 0; k < m->plan.count && !wanted; k++)
            wanted = m->plan.numbers[k] == b->of.number;
        if (!wanted) continue;
        inputs[n] = (struct block_merge_input){b->block, bits + (size_t)n * words};
        for (uint32_t k = 0; k < b->of.parts_count; k++) {
            uint32_t shard = b->of.parts[k].shard;
            if (b->of.parts[k].copy != copy_of(m, shard) || !makes_rows_of(m, shard)) continue;
            bits[(size_t)n * words + shard / 64] |= (uint64_t)1 << (shard % 64);
        }
        n++;
    }
}

static enum status merge_write(struct merge *m, struct archive_filter *filter) {
    struct archive *a = m->archive;
    uint32_t words = (a->options.shards_count + 63) / 64;
    struct block_merge_input *inputs = calloc(m->plan.count, sizeof *inputs);
    uint64_t *bits = calloc((size_t)m->plan.count * words, sizeof *bits);
    char *path = archive_block_path(a, m->added.of.number);
    enum status status = inputs == NULL || bits == NULL || path == NULL
                             ? err_set(&m->err, ERR_NOMEM, 0, "merge: not enough memory")
                             : OK;
    if (status == OK) inputs_make(m, inputs, bits, words);
    struct block_merge_options o = {.writer = {.disk = a->rt->disk,
                                               .path = path,
                                               .secret = a->options.secret,
                                               .tenant = a->options.tenant,
                                               .shards_count = a->options.shards_count,
                                               .level = m->plan.level,
                                               .resolution_ms = m->plan.resolution_ms,
                                               .canceled = &m->canceled},
                                    .inputs = inputs,
                                    .inputs_count = m->plan.count,
                                    .filter = archive_filter_run,
                                    .filter_items = archive_filter_items,
                                    .ctx = filter};
    if (status == OK && a->options.exemplars_max > 0 && m->plan.resolution_ms == 0)
        status =
            archive_exemplars_from(inputs, m->plan.count, a->options.shards_count,
                                   a->options.exemplars_max, &filter->exemplars_from_ms, &m->err);
    if (status == OK)
        status = m->plan.resolution_ms == 0 ? block_merge(&o, &m->written, &m->err)
                                            : archive_rows_write(m, &o, filter);
    if (status == OK && m->written)
        status =
            archive_block_open(a, path, &(struct archive_copies){copy_of, m}, &m->added, &m->err);
    if (status == OK && m->written && m->plan.resolution_ms != 0) status = archive_rows_parts(m);
    free(path);
    free(bits);
    free(inputs);
    return status;
}

static void merge_run(struct work *w) {
    struct merge *m = container_of(w, struct merge, work);
    struct archive_filter filter;
    if (m->sweeps) {
        bool has = false;
        m->status = archive_sweep_probe(m, &has);
        m->is_swept = m->status == OK && !has;
        if (m->status != OK || !has) return;
    }
    m->status = archive_filter_init(&filter, &m->manifest, &m->err);
    if (m->status != OK) return;
    if (m->plan.trims) filter.trim_ms = m->plan.to_ms;
    m->status = merge_write(m, &filter);
    archive_filter_fini(&filter);
}

/* -- on the log core */

void archive_merge_free(struct merge *m) {
    block_list_unref(m->list);
    manifest_fini(&m->manifest);
    block_unref(m->added.block);
    manifest_block_fini(&m->added.of);
    struct archive *a = m->archive;
    bool canceled = m->canceled;
    *m = (struct merge){.archive = a, .canceled = canceled};
}

static void merge_end(struct archive *a) {
    archive_merge_free(&a->merge);
    if (a->stopping)
        archive_stopped_check(a);
    else if (!list_is_empty(&a->cleans))
        archive_merge_next(a);
}

static void merge_installed(struct core *here, struct archive_change *c) {
    (void)here;
    merge_end(container_of(c, struct merge, change)->archive);
}

/* Which of them it was the error says, but not to us. */
static void inputs_suspect(const struct merge *m) {
    for (uint32_t i = 0; i < m->list->count; i++)
        for (uint32_t k = 0; k < m->plan.count; k++)
            if (m->list->blocks[i].of.number == m->plan.numbers[k])
                block_set_suspect(m->list->blocks[i].block);
}

static void merge_ran(struct core *here, struct work *w) {
    struct merge *m = container_of(w, struct merge, work);
    struct archive *a = m->archive;
    if (m->status != OK) {
        if (m->status != ERR_CANCELED) {
            log_warn("blocks were not merged", "err", m->err.msg);
            if (m->status == ERR_CORRUPT || m->status == ERR_IO) inputs_suspect(m);
            atomic_fetch_add_explicit(&a->merges_failed, 1, memory_order_relaxed);
        }
        if (m->cleans) archive_clean_fail(a, m->status, m->err.msg);
        a->merge_not_before_ns = core_mono_ns(here) + RETRY_NS;
        merge_end(a);
        return;
    }
    if (a->stopping || m->voided) { /* the file is a stray, and goes at the next start */
        merge_end(a);
        return;
    }
    if (m->is_swept) {
        archive_sweep_mark(a, m);
        merge_end(a);
        return;
    }
    if (m->plan.level > 0 || m->cleans || m->plan.makes_rows)
        atomic_fetch_add_explicit(&a->merges, 1, memory_order_relaxed);
    m->change = (struct archive_change){.adds = &m->added,
                                        .adds_count = m->written,
                                        .removes = m->plan.numbers,
                                        .removes_count = m->plan.makes_rows ? 0 : m->plan.count,
                                        .ended_to_ms = m->plan.trims ? m->plan.to_ms : 0,
                                        .done = merge_installed};
    archive_change_submit(a, a->rt->log_core, &m->change);
}

/* A bad block is merged with nothing: it would be lost for repair. */
bool archive_plan_is_readable(const struct archive *a, const struct merge_plan *plan) {
    for (uint32_t i = 0; i < plan->count; i++)
        for (uint32_t k = 0; k < a->list->count; k++)
            if (a->list->blocks[k].of.number == plan->numbers[i] &&
                a->list->blocks[k].block == NULL)
                return false;
    return true;
}

static bool merge_begin(struct archive *a) {
    struct merge *m = &a->merge;
    if (manifest_copy(&a->manifest, &m->manifest) != OK) return false;
    m->running = true;
    m->list = block_list_ref(a->list);
    m->added.of.number = archive_take_number(a);
    m->work = (struct work){.run = merge_run, .done = merge_ran};
    work_submit(a->rt->log_core, &m->work);
    return true;
}

/* Those blocks go, and nothing comes. */
static void drop_begin(struct archive *a, uint32_t count, int64_t ended_to_ms) {
    struct merge *m = &a->merge;
    m->running = true;
    m->plan.count = count;
    m->change = (struct archive_change){.removes = m->plan.numbers,
                                        .removes_count = count,
                                        .ended_to_ms = ended_to_ms,
                                        .done = merge_installed};
    archive_change_submit(a, a->rt->log_core, &m->change);
}

/* Rows are made anew, of cleaned samples, where these are there. false: nothing is to be cleaned.
 */
static bool clean_begin(struct archive *a) {
    struct merge *m = &a->merge;
    while (archive_clean_plan(a, &m->plan)) {
        if (m->plan.resolution_ms != 0 && !archive_rows_are_all(a, m->plan.numbers[0])) {
            drop_begin(a, 1, 0);
            return true;
        }
        if (!archive_plan_is_readable(a, &m->plan)) continue;
        m->cleans = true;
        if (merge_begin(a)) return true;
        m->cleans = false;
        archive_clean_fail(a, ERR_NOMEM, "out of memory");
    }
    return false;
}

/* Samples and rows whose coarser rows go on. */
static struct cover_drops ended_drops(const struct archive *a) {
    return (struct cover_drops){.list = a->list,
                                .manifest = &a->manifest,
                                .also_fine = a->options.levels[0].resolution_ms != 0,
                                .also_coarse = a->options.levels[1].resolution_ms != 0};
}

void archive_merge_next(struct archive *a) {
    struct merge *m = &a->merge;
    if (m->running || a->stopping || clean_begin(a)) return;
    if (core_mono_ns(a->rt->log_core) < a->merge_not_before_ns) return;
    struct cover_drops ended = ended_drops(a);
    uint32_t drops = plan_drops(&a->manifest, m->plan.numbers, MERGE_INPUTS_MAX);
    if (drops == 0) drops = archive_rows_bad(a, m->plan.numbers, MERGE_INPUTS_MAX);
    bool has_ended = drops == 0;
    if (has_ended) drops = cover_plan_drops(&ended, m->plan.numbers, MERGE_INPUTS_MAX);
    if (drops > 0) {
        drop_begin(a, drops, has_ended ? INT64_MAX : 0);
        return;
    }
    struct plan_options o = {.range_ms = a->options.range_ms,
                             .merged_ms_max = a->options.merged_ms_max,
                             .raw_merged_ms_max = a->options.raw_ms / 10};
    memcpy(o.levels, a->options.levels, sizeof o.levels);
    if (!cover_plan_trim(&ended, &m->plan)) plan_merge(&a->manifest, &o, &m->plan);
    if (m->plan.count == 0) archive_rows_plan(a, &o, &m->plan);
    if (m->plan.count == 0) m->sweeps = archive_sweep_plan(a, &m->plan);
    if (m->plan.count == 0 || !archive_plan_is_readable(a, &m->plan)) return;
    if (!merge_begin(a)) m->sweeps = false; /* tried again after the next round */
}
