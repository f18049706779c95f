/* SPDX-License-Identifier: Apache-2.0 */
#include <assert.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "node/base/bytes.h"
#include "storage/archive/archive.h"
#include "storage/archive/cover.h"
#include "storage/archive/filter.h"
#include "storage/archive/transfer.h"
#include "storage/store_internal.h"

enum { PIECE_BYTES = 1 << 20 };

/*   FILLING -> (worker done) -> GIVING -> WAITING -> (resume) -> FILLING; after END: done */
enum export_state { EXPORT_FILLING, EXPORT_GIVING, EXPORT_WAITING };

struct store_exporting {
    struct work work;
    struct store *store;
    struct archive *archive;
    struct store_export *job;
    struct store_exporting *next, *before;
    enum export_state state;
    bool resumed; /* while GIVING */
    bool ended;
    uint64_t pinned_file;
    struct block_list *list;
    struct manifest_shard *records;
    uint32_t records_count, record_at, block_at;
    struct shard_span *spans; /* of each record; NULL: all */
    uint64_t *bits;
    char *path; /* of the extract */
    struct file *file;
    uint64_t file_bytes, offset;
    struct buf piece;
    enum status status;
    struct err err;
};

/* -- on the worker */

static enum status export_nomem(struct err *err) {
    return err_set(err, ERR_NOMEM, 0, "export: not enough memory");
}

static void piece_begin(struct store_exporting *x, enum transfer_kind kind) {
    buf_clear(&x->piece);
    buf_put_u8(&x->piece, TRANSFER_VERSION);
    buf_put_u8(&x->piece, (uint8_t)kind);
}

/* As one who knows nothing of what has ended must not read it. */
static void piece_is_of_ended(struct store_exporting *x) {
    x->piece.ptr[0] = TRANSFER_VERSION_ENDED;
}

static void extract_end(struct store_exporting *x) {
    struct err err;
    file_close(x->file);
    x->file = NULL;
    /* What stays is a stray, and goes at the next start. */
    if (x->path != NULL && disk_unlink(archive_disk(x->archive), x->path, &err) != OK)
        err.code = OK;
    free(x->path);
    x->path = NULL;
}

static bool span_is_met(const struct store_exporting *x, uint32_t record,
                        const struct list_block *b) {
    if (x->spans == NULL) return true;
    const struct shard_span *s = &x->spans[record];
    return b->of.max_ms + (b->of.resolution_ms != 0) >= s->min_ms && b->of.min_ms <= s->max_ms;
}

/* Of rows those that samples may have gone for. */
static bool is_wanted(const struct store_exporting *x, uint32_t record,
                      const struct list_block *b) {
    const struct manifest_shard *s = &x->records[record];
    bool needed = b->of.resolution_ms == 0 || b->of.min_ms < s->ended.raw_ms;
    return needed && list_block_has(b, s->shard, s->copy) && span_is_met(x, record, b);
}

static void spans_filter(void *ctx, uint32_t shard, struct sv canonical, const struct label *labels,
                         size_t labels_count, struct samples *samples) {
    const struct store_exporting *x = ctx;
    (void)canonical, (void)labels, (void)labels_count;
    uint32_t i = 0;
    while (x->records[i].shard != shard)
        i++;
    const struct shard_span *s = &x->spans[i];
    if (s->min_ms > INT64_MIN) samples_leave_out(samples, INT64_MIN, s->min_ms - 1);
    if (s->max_ms < INT64_MAX) samples_leave_out(samples, s->max_ms + 1, INT64_MAX);
}

/* What the block has of the shards, as a file of its own. */
static enum status extract_make(struct store_exporting *x, const struct list_block *b,
                                bool *written) {
    const struct archive_options *o = archive_get_options(x->archive);
    uint32_t words = (o->shards_count + 63) / 64;
    bool any = false;
    *written = false;
    memset(x->bits, 0, words * sizeof *x->bits);
    for (uint32_t i = 0; i < x->records_count; i++) {
        const struct manifest_shard *s = &x->records[i];
        if (!is_wanted(x, i, b)) continue;
        x->bits[s->shard / 64] |= (uint64_t)1 << (s->shard % 64);
        any = true;
    }
    if (!any) return OK;
#ifdef PLANT_REPAIR_FROM_BAD
    if (b->block == NULL) return OK;
#endif
    if (b->block == NULL)
        return err_set(&x->err, ERR_CORRUPT, 0, "export: a block is damaged: %s", b->why.msg);
    struct buf path = {0};
    buf_printf(&path, "%s/%016" PRIx64 ".export.tmp", o->dir, archive_take_number(x->archive));
    x->path = buf_cstr(&path);
    if (x->path == NULL) return export_nomem(&x->err);
    struct block_merge_input input = {b->block, x->bits};
    struct block_merge_options mo = {
        .writer = {.disk = archive_disk(x->archive),
                   .path = x->path,
                   .secret = o->secret,
                   .tenant = o->tenant,
                   .shards_count = o->shards_count,
                   .level = b->of.level,
                   .resolution_ms = b->of.resolution_ms},
        .inputs = &input,
        .inputs_count = 1,
        .filter = x->spans == NULL || b->of.resolution_ms != 0 ? NULL : spans_filter,
        .ctx = x};
    enum status status = block_merge(&mo, written, &x->err);
    if (status == ERR_CORRUPT || status == ERR_IO) block_set_suspect(b->block);
    return status;
}

static void rows_begin(struct store_exporting *x, const struct list_block *b) {
    uint32_t count = 0;
    piece_begin(x, TRANSFER_ROWS);
    piece_is_of_ended(x);
    buf_put_varint(&x->piece, x->file_bytes);
    buf_put_varint(&x->piece, b->of.resolution_ms);
    buf_put_zigzag(&x->piece, b->of.min_ms);
    buf_put_zigzag(&x->piece, b->of.max_ms + 1);
    buf_put_u8(&x->piece, b->of.has_histograms ? TRANSFER_HISTOGRAMS : 0);
    for (uint32_t i = 0; i < x->records_count; i++)
        count += is_wanted(x, i, b);
    buf_put_varint(&x->piece, count);
    for (uint32_t i = 0; i < x->records_count; i++) {
        if (!is_wanted(x, i, b)) continue;
        buf_put_varint(&x->piece, x->records[i].shard);
        buf_put_varint(&x->piece, (uint64_t)(x->records[i].ended.raw_ms / ENDED_HOUR_MS));
    }
}

static enum status file_begin(struct store_exporting *x) {
    const struct list_block *b = NULL;
    bool written = false;
    while (x->block_at < x->list->count && !written) {
        b = &x->list->blocks[x->block_at++];
        TRY(extract_make(x, b, &written));
        if (!written) extract_end(x);
    }
    if (!written) return OK;
    TRY(disk_open(archive_disk(x->archive), x->path, DISK_READ, &x->file, &x->err));
    TRY(file_size(x->file, &x->file_bytes, &x->err));
    x->offset = 0;
    if (b->of.resolution_ms != 0) {
        rows_begin(x, b);
        return OK;
    }
    piece_begin(x, TRANSFER_BLOCK);
    buf_put_varint(&x->piece, x->file_bytes);
    return OK;
}

static enum status file_next(struct store_exporting *x) {
    size_t len = (size_t)MIN((uint64_t)PIECE_BYTES, x->file_bytes - x->offset), got;
    piece_begin(x, TRANSFER_BYTES);
    char *to = buf_extend(&x->piece, len);
    if (to == NULL) return export_nomem(&x->err);
    TRY(file_pread(x->file, to, len, x->offset, &got, &x->err));
    if (got != len)
        return err_set(&x->err, ERR_IO, 0, "export: %s: it has become shorter", x->path);
    x->offset += len;
    if (x->offset == x->file_bytes) extract_end(x);
    return OK;
}

static void export_run(struct work *w) {
    struct store_exporting *x = container_of(w, struct store_exporting, work);
    buf_clear(&x->piece);
    if (x->file != NULL)
        x->status = file_next(x);
    else
        x->status = file_begin(x);
    if (x->status != OK || x->piece.len > 0) return;
    if (x->record_at < x->records_count && x->spans == NULL) {
        piece_begin(x, TRANSFER_SHARD);
        const struct manifest_shard *s = &x->records[x->record_at++];
        if (ended_any(&s->ended)) piece_is_of_ended(x);
        manifest_shard_put(s, ended_any(&s->ended) ? MANIFEST_FORMAT : 1, &x->piece);
    } else {
        piece_begin(x, TRANSFER_END);
        x->ended = true;
    }
    if (x->piece.failed) x->status = export_nomem(&x->err);
}

/* -- on the core */

static void export_free(struct store_exporting *x) {
    if (x->before != NULL)
        x->before->next = x->next;
    else
        x->store->exports = x->next;
    if (x->next != NULL) x->next->before = x->before;
    extract_end(x);
    block_list_unref(x->list);
    for (uint32_t i = 0; i < x->records_count; i++)
        manifest_shard_fini(&x->records[i]);
    free(x->records);
    free(x->spans);
    free(x->bits);
    buf_fini(&x->piece);
    free(x);
}

void exports_free(struct store *store) {
    while (store->exports != NULL)
        export_free(store->exports);
}

uint64_t exports_floor(const struct store *store) {
    uint64_t floor = UINT64_MAX;
    for (const struct store_exporting *x = store->exports; x != NULL; x = x->next)
        floor = MIN(floor, x->pinned_file);
    return floor;
}

static void end_run(struct work *w) {
    extract_end(container_of(w, struct store_exporting, work));
}

static void end_ran(struct core *here, struct work *w) {
    (void)here;
    struct store_exporting *x = container_of(w, struct store_exporting, work);
    struct store_export *job = x->job;
    enum status status = x->status;
    struct err err = x->err;
    export_free(x);
    job->private_ = NULL;
    job->done(job, status, status == OK ? NULL : &err);
}

static void export_finish(struct store_exporting *x, enum status status) {
    x->status = status;
    x->work = (struct work){.run = end_run, .done = end_ran};
    x->state = EXPORT_FILLING;
    work_submit(x->store->core, &x->work);
}

static void export_ran(struct core *here, struct work *w);

static void export_fill(struct store_exporting *x) {
    x->state = EXPORT_FILLING;
    x->work = (struct work){.run = export_run, .done = export_ran};
    work_submit(x->store->core, &x->work);
}

static void export_go_on(struct store_exporting *x) {
    if (x->ended)
        export_finish(x, OK);
    else
        export_fill(x);
}

static void export_ran(struct core *here, struct work *w) {
    struct store_exporting *x = container_of(w, struct store_exporting, work);
    assert(here == x->store->core);
    if (x->status != OK) {
        export_finish(x, x->status);
        return;
    }
    x->state = EXPORT_GIVING;
    x->resumed = false;
    if (!x->job->piece(x->job, buf_sv(&x->piece))) {
        err_set(&x->err, ERR_CANCELED, 0, "export: canceled");
        export_finish(x, ERR_CANCELED);
    } else if (x->resumed) {
        export_go_on(x);
    } else {
        x->state = EXPORT_WAITING;
    }
}

void export_resume(struct store *store, struct store_export *job) {
    struct store_exporting *x = job->private_;
    assert(core_is_current(store->core) && x != NULL && x->state != EXPORT_FILLING);
    if (x->state == EXPORT_GIVING)
        x->resumed = true;
    else
        export_go_on(x);
}

/* One view of the shards: the list of blocks and the records are of this moment. */
static enum status records_make(struct store_exporting *x, const struct store_export *job,
                                struct err *err) {
    struct store *store = x->store;
    for (size_t i = 0; i < job->shards_count; i++) {
        uint32_t shard = job->shards[i];
        const struct store_shard *st = &store->shards[shard];
        bool based = st->log.based || x->spans != NULL; /* of spans no log follows */
        if (!store_has_shard(store, shard) || st->role == STORE_LOG || st->log.damaged || !based)
            return err_set(err, ERR_UNAVAILABLE, 0, "export: shard %" PRIu32 " is not whole here",
                           shard);
        if (x->spans != NULL && (st->from_ms == INT64_MIN || x->spans[i].max_ms >= st->from_ms))
            return err_set(err, ERR_UNAVAILABLE, 0,
                           "export: shard %" PRIu32 " is not closed up to there", shard);
        struct manifest_shard *s = &x->records[x->records_count];
        if (store_shard_record(store, shard, st->from_ms, s) != OK) return export_nomem(err);
        x->records_count++;
        s->gone_ms = cover_gone_at_most(x->list, s);
        if (x->spans == NULL) x->pinned_file = MIN(x->pinned_file, held_file(&st->log, &s->base));
    }
    return OK;
}

enum status export_start(struct store *store, struct store_export *job, struct err *err) {
    assert(core_is_current(store->core));
    if (store->archive == NULL || store->blocks == NULL)
        return err_set(err, ERR_UNAVAILABLE, 0, "export: there are no blocks here");
    struct store_exporting *x = calloc(1, sizeof *x);
    if (x == NULL) return export_nomem(err);
    *x = (struct store_exporting){.store = store,
                                  .archive = store->archive->archive,
                                  .job = job,
                                  .pinned_file = UINT64_MAX,
                                  .next = store->exports};
    if (x->next != NULL) x->next->before = x;
    store->exports = x;
    x->list = block_list_ref(store->blocks);
    x->records = calloc(job->shards_count + 1, sizeof *x->records);
    x->bits = calloc((store->options.shards_count + 63) / 64, sizeof *x->bits);
    if (job->spans != NULL && (x->spans = calloc(job->shards_count, sizeof *x->spans)) != NULL)
        memcpy(x->spans, job->spans, job->shards_count * sizeof *x->spans);
    bool nomem = x->records == NULL || x->bits == NULL || (job->spans != NULL && x->spans == NULL);
    enum status status = nomem ? export_nomem(err) : records_make(x, job, err);
    if (status != OK) {
        export_free(x);
        return status;
    }
    job->private_ = x;
    export_fill(x);
    return OK;
}
