/* SPDX-License-Identifier: Apache-2.0 */
/* ring/replica/store_ops.h over a store. */
#include "storage/archive/digest.h"
#include "storage/archive/loss.h"
#include "storage/archive/scrub.h"
#include "storage/archive/transfer.h"
#include "storage/store.h"
#include "storage/store_internal.h"

static bool ops_held(void *ctx, uint32_t shard, bool tail, struct shard_held *out) {
    return store_held(ctx, shard, tail, out);
}

static bool ops_epoch_end(void *ctx, uint32_t shard, uint32_t epoch, uint64_t *out_last_seq) {
    return store_epoch_end(ctx, shard, epoch, out_last_seq);
}

static uint64_t ops_history(void *ctx, uint32_t shard, uint32_t epoch) {
    return store_history(ctx, shard, epoch);
}

static enum status ops_entry_next(struct sv *rest, struct entry_place *out, struct err *err) {
    struct entry e;
    size_t before = rest->len;
    TRY(entry_next(rest, &e, err));
    *out = (struct entry_place){
        .shard = e.shard, .place = {e.epoch, e.seq}, .len = before - rest->len};
    return OK;
}

static enum status ops_follow(void *ctx, uint32_t shard, uint32_t copy, bool tail,
                              struct sv entries, uint64_t *out_position, struct err *err) {
    struct store_follow f = {.shard = shard, .copy = copy, .tail = tail, .entries = entries};
    return store_follow(ctx, &f, out_position, err);
}

static void ops_follow_begin(void *ctx) {
    store_follow_begin(ctx);
}

static void ops_follow_end(void *ctx) {
    store_follow_end(ctx);
}

static void ops_follow_ahead(void *ctx, const struct store_ahead *next, size_t count) {
    store_follow_ahead(ctx, next, count);
}

static enum status ops_open_epoch(void *ctx, uint32_t shard, uint32_t epoch, uint64_t *out_position,
                                  struct err *err) {
    return store_open_epoch(ctx, shard, epoch, out_position, err);
}

static void ops_drop(void *ctx, uint32_t shard, uint32_t copy) {
    store_drop(ctx, shard, copy);
}

static uint64_t ops_position(void *ctx) {
    const struct store *store = ctx;
    return store->position;
}

static enum status ops_read(void *ctx, struct store_read *job, struct err *err) {
    return store_read_start(ctx, job, err);
}

static void ops_read_resume(void *ctx, struct store_read *job) {
    store_read_resume(ctx, job);
}

static void scrub_done(void *ctx, uint32_t blocks) {
    struct store_scrub *job = ctx;
    job->blocks = blocks;
    job->done(job);
}

static enum status ops_scrub(void *ctx, struct store_scrub *job) {
    struct store *store = ctx;
    if (store->archive == NULL) return ERR_UNAVAILABLE;
    return scrub_ask(store->archive->archive, store->core, job->shard, scrub_done, job);
}

static bool ops_has_bad(void *ctx) {
    return digest_has_bad(ctx);
}

static enum status ops_ranges(void *ctx, uint32_t shard, struct shard_ranges *out,
                              struct err *err) {
    return digest_ranges(ctx, shard, out, err);
}

static enum status ops_loss_start(void *ctx, struct store_loss *job, struct err *err) {
    return loss_start(ctx, job, err);
}

static enum status ops_export_start(void *ctx, struct store_export *job, struct err *err) {
    return export_start(ctx, job, err);
}

static void ops_export_resume(void *ctx, struct store_export *job) {
    export_resume(ctx, job);
}

static enum status ops_import_start(void *ctx, struct store_import *job, struct err *err) {
    return import_start(ctx, job, err);
}

static void ops_import_piece(void *ctx, struct store_import *job, struct sv bytes) {
    import_piece(ctx, job, bytes);
}

static void ops_import_stop(void *ctx, struct store_import *job) {
    import_stop(ctx, job);
}

void store_ops_init(struct store_ops *out, struct store *store) {
    *out = (struct store_ops){
        .ctx = store,
        .held = ops_held,
        .epoch_end = ops_epoch_end,
        .history = ops_history,
        .entry_next = ops_entry_next,
        .follow = ops_follow,
        .follow_begin = ops_follow_begin,
        .follow_end = ops_follow_end,
        .follow_ahead = ops_follow_ahead,
        .open_epoch = ops_open_epoch,
        .drop = ops_drop,
        .position = ops_position,
        .read = ops_read,
        .read_resume = ops_read_resume,
        .scrub = ops_scrub,
        .has_bad = ops_has_bad,
        .ranges = ops_ranges,
        .loss_start = ops_loss_start,
        .export_start = ops_export_start,
        .export_resume = ops_export_resume,
        .import_start = ops_import_start,
        .import_piece = ops_import_piece,
        .import_stop = ops_import_stop,
    };
}
