/* SPDX-License-Identifier: Apache-2.0 */
#include "storage/archive/flush.h"

#include <assert.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "node/base/cancel.h"
#include "node/base/log.h"
#include "node/base/metrics.h"
#include "storage/archive/flush_group.h"
#include "storage/exemplar_items.h"

enum { GROUPS = 32, SLICE_NS = 1000000 };

enum flush_state {
    FLUSH_IDLE,
    FLUSH_ITEMS,
    FLUSH_SELECTING,
    FLUSH_WRITING,
    FLUSH_FINISHING,
    FLUSH_CHANGING
};

struct flusher {
    struct flush_options o;
    struct archive *archive;
    struct core *core;
    struct store *store;
    enum flush_state state;
    bool started, stopping, canceled;
    void (*stopped)(void *ctx);
    void *stopped_ctx;
    struct timer tick;
    struct msg msg; /* the next slice */
    uint64_t due_since_ns;

    struct flush_shard *shards; /* of this flush, ascending */
    uint32_t shards_count, at;  /* groups begin at `at` */
    struct exemplar_walk items; /* its picks are those of shards */
    struct selection *selection;
    uint64_t *bits;
    struct shard_set set;
    struct work work;
    struct flush_group group;
    struct block_writer *writer;
    bool written;
    char *path;
    struct list_block added;
    struct manifest_shard *records;
    uint32_t records_count;
    struct archive_change change;
    enum status status;
    struct err err;
    struct {
        struct metric *written, *failed;
    } metrics;
};

static const struct metric_def flush_metrics[] = {
    {"cairn_blocks_written_total", "Blocks written from the heads of cores.", METRIC_COUNTER, NULL,
     0},
    {"cairn_blocks_write_failures_total",
     "Closed ranges that could not be written as a block, and are tried again.", METRIC_COUNTER,
     NULL, 0},
};

/* -- the end */

static void flush_end(struct flusher *f) {
    if (f->selection != NULL) selection_release(f->selection);
    for (uint32_t i = 0; i < f->records_count; i++)
        manifest_shard_fini(&f->records[i]);
    for (uint32_t i = 0; i < f->items.picks_count; i++)
        buf_fini(&f->items.picks[i].items);
    free(f->items.picks);
    exemplar_walk_fini(&f->items);
    block_writer_free(f->writer);
    block_unref(f->added.block);
    manifest_block_fini(&f->added.of);
    flush_group_fini(&f->group);
    free(f->records);
    free(f->shards);
    free(f->path);
    f->selection = NULL;
    f->writer = NULL;
    f->added = (struct list_block){0};
    f->records = NULL;
    f->records_count = f->shards_count = f->at = 0;
    f->shards = NULL;
    f->path = NULL;
    f->written = false;
    f->state = FLUSH_IDLE;
}

static void flush_idle(struct flusher *f) {
    flush_end(f);
    if (!f->stopping || f->stopped == NULL) return;
    void (*stopped)(void *ctx) = f->stopped;
    f->stopped = NULL;
    stopped(f->stopped_ctx);
}

static void fail_run(struct work *w) {
    struct flusher *f = container_of(w, struct flusher, work);
    block_writer_free(f->writer);
    f->writer = NULL;
}

static void fail_ran(struct core *here, struct work *w) {
    (void)here;
    flush_idle(container_of(w, struct flusher, work));
}

/* What was begun on the disk is taken away by a worker. */
static void flush_fail(struct flusher *f) {
    if (f->status != ERR_CANCELED) {
        log_warn("a closed range was not written, it is tried again", "err", f->err.msg);
        metric_add(f->metrics.failed, 1);
    }
    f->state = FLUSH_FINISHING;
    f->work = (struct work){.run = fail_run, .done = fail_ran};
    work_submit(f->core, &f->work);
}

/* -- the change */

static void flush_changed(struct core *here, struct archive_change *c) {
    struct flusher *f = container_of(c, struct flusher, change);
    assert(here == f->core);
    metric_add(f->metrics.written, f->added.block != NULL);
    flush_idle(f);
}

/* What the shards are now; those that began anew meanwhile are left out. */
static enum status records_make(struct flusher *f) {
    f->records = calloc(f->shards_count, sizeof *f->records);
    if (f->records == NULL) return ERR_NOMEM;
    for (uint32_t i = 0; i < f->shards_count; i++) {
        const struct flush_shard *s = &f->shards[i];
        struct store_archived now;
        if (!store_shard_archive(f->store, s->shard, &now) || now.copy != s->copy || now.damaged)
            continue;
        TRY(store_shard_record(f->store, s->shard, s->to_ms, &f->records[f->records_count]));
        f->records_count++;
    }
    return OK;
}

static void flush_change(struct flusher *f) {
    if (records_make(f) != OK) {
        f->status = err_set(&f->err, ERR_NOMEM, 0, "flush: not enough memory");
        flush_fail(f);
        return;
    }
    f->change = (struct archive_change){.adds = &f->added,
                                        .adds_count = f->added.block != NULL,
                                        .shards = f->records,
                                        .shards_count = f->records_count,
                                        .done = flush_changed};
    f->state = FLUSH_CHANGING;
    archive_change_submit(f->archive, f->core, &f->change);
}

/* -- the file */

static uint32_t copy_of(void *ctx, uint32_t shard) {
    const struct flusher *f = ctx;
    for (uint32_t i = 0; i < f->shards_count; i++)
        if (f->shards[i].shard == shard) return f->shards[i].copy;
    return 0;
}

static void finish_run(struct work *w) {
    struct flusher *f = container_of(w, struct flusher, work);
    f->status = OK;
    for (uint32_t i = 0; i < f->items.picks_count && f->status == OK; i++) {
        const struct exemplar_pick *p = &f->items.picks[i];
        f->status = block_writer_items(f->writer, p->shard, buf_sv(&p->items), &f->err);
    }
    if (f->status == OK) f->status = block_writer_finish(f->writer, &f->written, &f->err);
    block_writer_free(f->writer);
    f->writer = NULL;
    if (f->status == OK && f->written)
        f->status = archive_block_open(f->archive, f->path, &(struct archive_copies){copy_of, f},
                                       &f->added, &f->err);
}

static void finish_ran(struct core *here, struct work *w) {
    struct flusher *f = container_of(w, struct flusher, work);
    assert(here == f->core && f->state == FLUSH_FINISHING);
    if (f->status != OK)
        flush_fail(f);
    else
        flush_change(f);
}

static void flush_finish(struct flusher *f) {
    if (f->writer == NULL) { /* nothing is in the ranges */
        flush_change(f);
        return;
    }
    f->state = FLUSH_FINISHING;
    f->work = (struct work){.run = finish_run, .done = finish_ran};
    work_submit(f->core, &f->work);
}

/* -- groups of shards */

static void select_slice(struct core *here, struct msg *m);

static enum status writer_make(struct flusher *f) {
    const struct archive_options *o = archive_get_options(f->archive);
    if (f->writer != NULL) return OK;
    f->added.of.number = archive_take_number(f->archive);
    f->path = archive_block_path(f->archive, f->added.of.number);
    if (f->path == NULL) return err_set(&f->err, ERR_NOMEM, 0, "flush: not enough memory");
    struct block_writer_options wo = {.disk = archive_disk(f->archive),
                                      .path = f->path,
                                      .secret = o->secret,
                                      .tenant = o->tenant,
                                      .shards_count = o->shards_count,
                                      .canceled = &f->canceled};
    return block_writer_new(&wo, &f->writer, &f->err);
}

static void group_run(struct work *w) {
    struct flusher *f = container_of(w, struct flusher, work);
    f->status = writer_make(f);
    if (f->status == OK) f->status = flush_group_write(&f->group, f->writer, &f->err);
}

static uint32_t group_size(const struct flusher *f) {
    uint32_t size = f->shards_count / GROUPS + 1;
    return MIN(size, f->shards_count - f->at);
}

/* Of some shards only the base rises: they have no range. */
static bool group_is_empty(const struct flusher *f) {
    for (uint32_t i = f->at; i < f->at + group_size(f); i++)
        if (f->shards[i].from_ms < f->shards[i].to_ms) return false;
    return true;
}

static enum status group_select(struct flusher *f) {
    uint32_t shards_count = archive_get_options(f->archive)->shards_count;
    int64_t from_ms = INT64_MAX, to_ms = INT64_MIN;
    memset(f->bits, 0, (shards_count + 63) / 64 * sizeof *f->bits);
    for (uint32_t i = f->at; i < f->at + group_size(f); i++) {
        const struct flush_shard *s = &f->shards[i];
        if (s->from_ms >= s->to_ms) continue;
        f->bits[s->shard / 64] |= (uint64_t)1 << (s->shard % 64);
        from_ms = MIN(from_ms, s->from_ms);
        to_ms = MAX(to_ms, s->to_ms);
    }
    f->set = (struct shard_set){f->bits, shards_count};
    struct select_query q = {.shards = &f->set,
                             .from_ms = from_ms == INT64_MIN ? INT64_MIN : from_ms - 1,
                             .to_ms = to_ms - 1};
    return select_new(store_head(f->store), &q, &f->selection, &f->err);
}

static void group_next(struct flusher *f) {
    if (f->stopping) {
        f->status = ERR_CANCELED;
        flush_fail(f);
        return;
    }
    while (f->at < f->shards_count && group_is_empty(f))
        f->at += group_size(f);
    if (f->at == f->shards_count) {
        flush_finish(f);
        return;
    }
    f->state = FLUSH_SELECTING;
    f->msg.run = select_slice;
    core_post(f->core, &f->msg);
}

static void group_ran(struct core *here, struct work *w) {
    struct flusher *f = container_of(w, struct flusher, work);
    assert(here == f->core && f->state == FLUSH_WRITING);
    selection_release(f->selection);
    f->selection = NULL;
    if (f->status != OK) {
        flush_fail(f);
        return;
    }
    f->at += group_size(f);
    group_next(f);
}

static void select_slice(struct core *here, struct msg *m) {
    struct flusher *f = container_of(m, struct flusher, msg);
    bool done = false;
    f->status = f->selection == NULL ? group_select(f) : OK;
    if (f->status == OK)
        f->status = select_step(f->selection, core_mono_ns(here) + SLICE_NS, &done, &f->err);
    if (f->status == OK && !done) {
        core_post(here, m);
        return;
    }
    size_t count = 0;
    const struct series_view *views =
        f->status == OK ? selection_series(f->selection, &count) : NULL;
    if (f->status != OK) {
        flush_fail(f);
        return;
    }
    f->state = FLUSH_WRITING;
    if (count == 0) {
        selection_release(f->selection);
        f->selection = NULL;
        f->at += group_size(f);
        group_next(f);
        return;
    }
    f->group.views = views;
    f->group.views_count = count;
    f->group.shards = f->shards + f->at;
    f->group.shards_count = group_size(f);
    f->group.canceled = &f->canceled;
    f->work = (struct work){.run = group_run, .done = group_ran};
    work_submit(here, &f->work);
}

/* -- the beginning */

static void items_slice(struct core *here, struct msg *m) {
    struct flusher *f = container_of(m, struct flusher, msg);
    bool done = false;
    f->status = exemplar_walk_step(&f->items, f->store, core_mono_ns(here) + SLICE_NS, &done);
    if (f->status != OK) {
        err_set(&f->err, f->status, 0, "flush: not enough memory");
        flush_fail(f);
    } else if (done) {
        group_next(f);
    } else {
        core_post(here, m);
    }
}

static void items_begin(struct flusher *f) {
    f->items.picks = calloc(f->shards_count + 1, sizeof *f->items.picks);
    if (f->items.picks == NULL) {
        f->status = err_set(&f->err, ERR_NOMEM, 0, "flush: not enough memory");
        flush_fail(f);
        return;
    }
    for (uint32_t i = 0; i < f->shards_count; i++) {
        const struct flush_shard *s = &f->shards[i];
        f->items.picks[i] =
            (struct exemplar_pick){.shard = s->shard, .from_ms = s->from_ms, .to_ms = s->to_ms};
    }
    f->items.picks_count = f->shards_count;
    f->state = FLUSH_ITEMS;
    f->msg.run = items_slice;
    core_post(f->core, &f->msg);
}

static void flush_begin(struct flusher *f) {
    uint32_t shards_count = archive_get_options(f->archive)->shards_count;
    f->shards = calloc(shards_count, sizeof *f->shards);
    if (f->shards == NULL) return;
    for (uint32_t i = 0; i < shards_count; i++) {
        struct store_archived a;
        if (!store_shard_is_due(f->store, i) || !store_shard_archive(f->store, i, &a)) continue;
        f->shards[f->shards_count++] =
            (struct flush_shard){i, a.copy, a.from_ms, store_shard_closed(f->store, i)};
    }
    f->due_since_ns = 0;
    items_begin(f);
}

/* All that are cut have it durably, or some have waited long enough for the others. */
static bool flush_is_due(struct flusher *f) {
    uint32_t due = 0, others = 0, shards_count = archive_get_options(f->archive)->shards_count;
    uint64_t now_ns = core_mono_ns(f->core);
    int64_t newest_ms = INT64_MIN;
    for (uint32_t i = 0; i < shards_count; i++) {
        if (!store_shard_is_due(f->store, i)) continue;
        due++;
        newest_ms = MAX(newest_ms, store_shard_closed(f->store, i));
    }
    if (due == 0) return false;
    for (uint32_t i = 0; i < shards_count; i++) {
        struct store_archived a;
        if (store_shard_archive(f->store, i, &a) && a.has_head && !a.damaged)
            others += store_shard_closed(f->store, i) < newest_ms;
    }
    if (f->due_since_ns == 0) f->due_since_ns = now_ns;
    return others == 0 || now_ns - f->due_since_ns >= f->o.patience_ms * 1000000;
}

static void flush_on_tick(struct timer *t) {
    struct flusher *f = container_of(t, struct flusher, tick);
    struct err err;
    uint64_t now_ns = core_mono_ns(f->core);
    const struct retention *r = f->o.retention;
    struct store_floors floors = {.may = f->o.may,
                                  .retention_ms = r->longest_ms,
                                  .raw_ms = r->raw_ms,
                                  .fine_ms = r->fine_ms,
                                  .has_fine = r->has_fine,
                                  .has_coarse = r->has_coarse,
                                  .at_least_ms = archive_size_floor(f->archive)};
    enum status status = store_cut_due(f->store, now_ns, &f->o.may, &err);
    if (status == OK) status = store_floor_due(f->store, &floors, &err);
    if (status == OK) status = store_retain_due(f->store, &f->o.may, f->o.retention, &err);
    if (status != OK && status != ERR_UNAVAILABLE && status != ERR_IO)
        log_warn("shards were not cut", "err", err.msg);
    bool trimmed = head_trim(store_head(f->store), now_ns + SLICE_NS);
    if (f->state == FLUSH_IDLE && flush_is_due(f)) flush_begin(f);
    timer_start(&f->tick, trimmed ? f->o.tick_ms : 1);
}

/* -- life */

enum status flusher_new(const struct flush_options *options, struct flusher **out,
                        struct err *err) {
    struct flusher *f = calloc(1, sizeof *f);
    if (f == NULL) return err_set(err, ERR_NOMEM, 0, "flush: not enough memory");
    f->o = *options;
    retention_ref(f->o.retention);
    f->archive = options->core->archive;
    f->core = options->core->core;
    f->store = options->core->store;
    f->bits = calloc((archive_get_options(f->archive)->shards_count + 63) / 64, sizeof *f->bits);
    if (f->bits == NULL) {
        retention_unref(f->o.retention);
        free(f);
        return err_set(err, ERR_NOMEM, 0, "flush: not enough memory");
    }
    f->metrics.written = metric_get(&flush_metrics[0], NULL);
    f->metrics.failed = metric_get(&flush_metrics[1], NULL);
    timer_init(&f->tick, f->core, flush_on_tick);
    *out = f;
    return OK;
}

void flusher_start(struct flusher *f) {
    assert(core_is_current(f->core));
    if (f->started || f->stopping) return;
    f->started = true;
    timer_start(&f->tick, f->o.tick_ms);
}

void flusher_set_retention(struct flusher *f, struct retention *retention) {
    assert(core_is_current(f->core));
    retention_unref(f->o.retention);
    f->o.retention = retention_ref(retention);
}

void flusher_stop(struct flusher *f, void (*done)(void *ctx), void *ctx) {
    assert(core_is_current(f->core) && !f->stopping);
    f->stopping = true;
    f->stopped = done;
    f->stopped_ctx = ctx;
    cancel_set(&f->canceled);
    timer_stop(&f->tick);
    if (f->state == FLUSH_IDLE) flush_idle(f);
}

void flusher_free(struct flusher *f) {
    if (f == NULL) return;
    flush_end(f);
    retention_unref(f->o.retention);
    free(f->bits);
    free(f);
}
