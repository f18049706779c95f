/* SPDX-License-Identifier: Apache-2.0 */
#include "storage/archive/loss.h"

#include <assert.h>
#include <inttypes.h>
#include <stdlib.h>

#include "node/base/log.h"
#include "node/base/metrics.h"
#include "storage/archive/repair.h"
#include "storage/store_internal.h"

static const struct metric_def lost_def = {
    "cairn_blocks_lost_total", "Blocks of which the loss of a shard's samples was accepted.",
    METRIC_COUNTER, NULL, 0};

struct store_losing {
    struct work work;
    struct store *store;
    struct archive *archive;
    struct store_loss *job;
    struct store_losing *next, *before;
    struct manifest_part part;
    uint64_t *numbers;
    struct store_lost *lost;
    uint32_t count;
    struct archive_change change;
    enum status status;
    struct err err;
};

static enum status loss_nomem(struct err *err) {
    return err_set(err, ERR_NOMEM, 0, "loss: not enough memory");
}

/* -- on the worker */

/* A second name for the file; of one that is missing nothing can be kept. */
static enum status loss_keep(struct store_losing *x, uint32_t i) {
    struct disk *disk = archive_disk(x->archive);
    char *path = archive_block_path(x->archive, x->numbers[i]);
    struct buf b = {0};
    buf_printf(&b, "%s.lost", path == NULL ? "" : path);
    char *kept = buf_cstr(&b);
    if (path == NULL || kept == NULL) {
        free(path);
        free(kept);
        return loss_nomem(&x->err);
    }
    enum status status = disk_link(disk, path, kept, &x->err);
    if (status == ERR_CONFLICT) status = OK; /* for another shard's sake, before */
    free(path);
    if (status == OK)
        x->lost[i].kept = kept;
    else
        free(kept);
    return status == ERR_UNAVAILABLE ? OK : status;
}

static void loss_run(struct work *w) {
    struct store_losing *x = container_of(w, struct store_losing, work);
    for (uint32_t i = 0; i < x->count && x->status == OK; i++)
        x->status = loss_keep(x, i);
    if (x->status == OK)
        x->status =
            disk_sync_dir(archive_disk(x->archive), archive_get_options(x->archive)->dir, &x->err);
}

/* -- on the core */

static void losing_free(struct store_losing *x) {
    if (x->before != NULL)
        x->before->next = x->next;
    else
        x->store->losses = x->next;
    if (x->next != NULL) x->next->before = x->before;
    for (uint32_t i = 0; x->lost != NULL && i < x->count; i++)
        free(x->lost[i].kept);
    free(x->lost);
    free(x->numbers);
    free(x);
}

void losses_free(struct store *store) {
    while (store->losses != NULL)
        losing_free(store->losses);
}

static void loss_end(struct store_losing *x) {
    struct store_loss *job = x->job;
    job->lost = x->lost;
    job->lost_count = x->status == OK ? x->count : 0;
    job->done(job, x->status, x->status == OK ? NULL : &x->err);
    losing_free(x);
}

static void loss_changed(struct core *here, struct archive_change *c) {
    struct store_losing *x = container_of(c, struct store_losing, change);
    (void)here;
    for (uint32_t i = 0; i < x->count; i++) {
        const struct store_lost *l = &x->lost[i];
        log_errorf("samples are lost, as was accepted", "what",
                   "shard %" PRIu32 ", %" PRId64 " to %" PRId64 ": %s%s", x->part.shard,
                   l->span.min_ms, l->span.max_ms,
                   l->kept == NULL ? "the block's file is missing" : "the bad block is kept as ",
                   l->kept == NULL ? "" : l->kept);
    }
    metric_add(metric_get(&lost_def, NULL), x->count);
    loss_end(x);
}

static void loss_ran(struct core *here, struct work *w) {
    struct store_losing *x = container_of(w, struct store_losing, work);
    assert(here == x->store->core);
    if (x->status != OK) {
        loss_end(x);
        return;
    }
    x->change = (struct archive_change){.removes = x->numbers,
                                        .removes_count = x->count,
                                        .losses = &x->part,
                                        .losses_count = 1,
                                        .done = loss_changed};
    archive_change_submit(x->archive, here, &x->change);
}

/* Blocks that cannot be read, by the core's list: where nothing is known of what they hold of the
 * shard, the manifest says the block's times. */
static void loss_collect(struct store_losing *x, const struct block_list *list, int64_t from_ms) {
    for (uint32_t i = 0; i < list->count; i++) {
        const struct list_block *b = &list->blocks[i];
        if (b->block != NULL || !list_block_has(b, x->part.shard, x->part.copy)) continue;
        struct block_shard in;
        bool known = list_block_shard(b, x->part.shard, &in);
        int64_t max_ms = MIN(known ? in.max_ms : b->of.max_ms, from_ms - 1);
        x->lost[x->count].span = (struct shard_span){
            .min_ms = MIN(known ? in.min_ms : b->of.min_ms, max_ms), .max_ms = max_ms};
        x->numbers[x->count++] = b->of.number;
    }
}

enum status loss_start(struct store *store, struct store_loss *job, struct err *err) {
    struct store_archived a;
    const struct block_list *list = store_blocks(store);
    assert(core_is_current(store->core));
    if (store->archive == NULL || list == NULL || !store_shard_archive(store, job->shard, &a) ||
        !a.has_head)
        return err_set(err, ERR_UNAVAILABLE, 0, "loss: nothing of shard %" PRIu32 " is in blocks",
                       job->shard);
    struct store_losing *x = calloc(1, sizeof *x);
    if (x == NULL) return loss_nomem(err);
    *x = (struct store_losing){.store = store,
                               .archive = store->archive->archive,
                               .job = job,
                               .next = store->losses,
                               .part = {job->shard, a.copy},
                               .numbers = calloc(list->count + 1, sizeof *x->numbers),
                               .lost = calloc(list->count + 1, sizeof *x->lost)};
    if (x->next != NULL) x->next->before = x;
    store->losses = x;
    if (x->numbers == NULL || x->lost == NULL) {
        losing_free(x);
        return loss_nomem(err);
    }
    loss_collect(x, list, a.from_ms);
    x->work = (struct work){.run = loss_run, .done = loss_ran};
    work_submit(store->core, &x->work);
    return OK;
}

/* -- on the log core */

void loss_apply(struct archive *a, struct manifest *m, const struct archive_change *c) {
    for (uint32_t i = 0; i < c->losses_count; i++) {
        const struct manifest_part *p = &c->losses[i];
        for (uint32_t k = 0; k < c->removes_count; k++) {
            struct manifest_block *b = manifest_block_find(m, c->removes[k]);
            if (b != NULL && manifest_block_part(b, p->shard, p->copy) != NULL)
                repair_part_remove(a, m, b, p);
        }
    }
}
