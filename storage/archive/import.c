/* SPDX-License-Identifier: Apache-2.0 */
#include <assert.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "node/base/bytes.h"
#include "node/base/cancel.h"
#include "storage/archive/archive.h"
#include "storage/archive/rows.h"
#include "storage/archive/transfer.h"
#include "storage/store_internal.h"

/*   IDLE -> (piece) -> TAKING -> IDLE; with END -> CHANGING -> ENDED; an error -> ENDED */
enum import_state { IMPORT_IDLE, IMPORT_TAKING, IMPORT_CHANGING, IMPORT_ENDED };

struct store_importing {
    struct work work;
    struct store *store;
    struct archive *archive;
    struct store_import *job; /* NULL: stopped */
    struct store_importing *next, *before;
    enum import_state state;
    bool canceled, ended, installed;
    struct import_shard *shards;
    size_t shards_count;
    struct shard_span *spans;           /* NULL: shards that are new */
    struct archive_repair_shard *fixes; /* of the change */
    struct buf piece;
    struct file *file;
    char *path, *path_tmp; /* of the block that is coming */
    uint64_t number, file_bytes, offset;
    struct manifest_block rows; /* what that is said to be; resolution_ms 0: samples */
    int64_t *ended_ms;          /* by shard asked for: samples may lack up to there; 0 */
    struct list_block *blocks;
    uint32_t blocks_count, blocks_cap;
    struct manifest_shard *records;
    uint32_t records_count;
    struct archive_change change;
    enum status status;
    struct err err;
};

static enum status import_nomem(struct err *err) {
    return err_set(err, ERR_NOMEM, 0, "import: not enough memory");
}

static enum status import_corrupt(struct store_importing *x, const char *what) {
    return err_set(&x->err, ERR_CORRUPT, 0, "import: %s", what);
}

/* -- on the worker */

static const struct import_shard *shard_find(const struct store_importing *x, uint32_t shard) {
    for (size_t i = 0; i < x->shards_count; i++)
        if (x->shards[i].shard == shard) return &x->shards[i];
    return NULL;
}

static void file_end(struct store_importing *x) {
    struct err err;
    file_close(x->file);
    x->file = NULL;
    if (x->path_tmp != NULL && disk_unlink(archive_disk(x->archive), x->path_tmp, &err) != OK)
        err.code = OK; /* a stray: goes at the next start */
    free(x->path);
    free(x->path_tmp);
    x->path = x->path_tmp = NULL;
}

static uint32_t read_u32_varint(struct reader *r) {
    uint64_t v = read_varint(r);
    if (v > UINT32_MAX) r->failed = true;
    return (uint32_t)v;
}

/* A shard that rows speak for, and up to where its samples have ended for the giver. */
static void rows_part_read(struct store_importing *x, struct reader *r) {
    uint32_t shard = read_u32_varint(r), count = x->rows.parts_count;
    uint64_t hours = read_varint(r);
    const struct import_shard *wanted = shard_find(x, shard);
    bool ascends = count == 0 || x->rows.parts[count - 1].shard < shard;
    if (wanted == NULL || !ascends || hours > INT64_MAX / ENDED_HOUR_MS) r->failed = true;
    if (r->failed) return;
    x->rows.parts[x->rows.parts_count++] = (struct manifest_part){shard, wanted->copy};
    int64_t *ended_ms = &x->ended_ms[wanted - x->shards];
    *ended_ms = MAX(*ended_ms, (int64_t)hours * ENDED_HOUR_MS);
}

static enum status rows_read_head(struct store_importing *x, struct reader *r) {
    struct manifest_block *of = &x->rows;
    int64_t to_ms;
    of->resolution_ms = read_u32_varint(r);
    of->min_ms = read_zigzag(r);
    to_ms = read_zigzag(r);
    of->has_histograms = read_u8(r) != 0;
    uint64_t count = read_varint(r);
    if ((of->resolution_ms != DOWNSAMPLE_5M_MS && of->resolution_ms != DOWNSAMPLE_1H_MS) ||
        of->min_ms >= to_ms || of->min_ms < -ROWS_TIME_MAX_MS || to_ms > ROWS_TIME_MAX_MS ||
        of->min_ms % of->resolution_ms != 0 || to_ms % of->resolution_ms != 0 || count == 0 ||
        count > x->shards_count)
        r->failed = true;
    if (r->failed) return OK;
    of->max_ms = to_ms - 1;
    of->parts = calloc((size_t)count, sizeof *of->parts);
    if (of->parts == NULL) return import_nomem(&x->err);
    for (uint64_t i = 0; i < count && !r->failed; i++)
        rows_part_read(x, r);
    return OK;
}

static enum status take_block(struct store_importing *x, struct sv rest, bool is_rows) {
    struct reader r = reader_init(rest.ptr, rest.len);
    x->file_bytes = read_varint(&r);
    manifest_block_fini(&x->rows);
    if (is_rows && !r.failed) TRY(rows_read_head(x, &r));
    if (r.failed || reader_left(&r) != 0 || x->file != NULL)
        return import_corrupt(x, "a malformed beginning of a block");
    x->offset = 0;
    x->number = archive_take_number(x->archive);
    x->path = archive_block_path(x->archive, x->number);
    struct buf tmp = {0};
    buf_printf(&tmp, "%s.tmp", x->path == NULL ? "" : x->path);
    x->path_tmp = buf_cstr(&tmp);
    if (x->path == NULL || x->path_tmp == NULL) return import_nomem(&x->err);
    return disk_open(archive_disk(x->archive), x->path_tmp,
                     DISK_READ | DISK_WRITE | DISK_CREATE | DISK_EXCLUSIVE, &x->file, &x->err);
}

static uint32_t copy_of(void *ctx, uint32_t shard) {
    const struct import_shard *s = shard_find(ctx, shard);
    return s == NULL ? 0 : s->copy;
}

/* What a block of rows stands for the file does not say. */
static enum status block_is_as_said(struct store_importing *x, struct manifest_block *of) {
    struct manifest_block *rows = &x->rows;
    if (of->resolution_ms != rows->resolution_ms)
        return import_corrupt(x, "a block of another resolution than was said");
    if (rows->resolution_ms == 0) return OK;
    for (uint32_t i = 0, k = 0; i < of->parts_count; i++) {
        while (k < rows->parts_count && rows->parts[k].shard < of->parts[i].shard)
            k++;
        if (k == rows->parts_count || rows->parts[k].shard != of->parts[i].shard)
            return import_corrupt(x, "rows of a shard for which they do not speak");
    }
    free(of->parts);
    of->parts = rows->parts;
    of->parts_count = rows->parts_count;
    of->min_ms = rows->min_ms;
    of->max_ms = rows->max_ms;
    of->has_histograms = rows->has_histograms;
    *rows = (struct manifest_block){0};
    return OK;
}

/* All of its bytes are there: is it whole, and what is in it? */
static enum status block_take(struct store_importing *x) {
    const struct archive_options *o = archive_get_options(x->archive);
    struct disk *disk = archive_disk(x->archive);
    TRY(file_sync(x->file, &x->err));
    file_close(x->file);
    x->file = NULL;
    TRY(disk_rename(disk, x->path_tmp, x->path, &x->err));
    TRY(disk_sync_dir(disk, o->dir, &x->err));
    free(x->path_tmp);
    x->path_tmp = NULL;
    if (x->blocks_count == x->blocks_cap) {
        uint32_t cap = x->blocks_cap == 0 ? 16 : x->blocks_cap * 2;
        struct list_block *blocks = realloc(x->blocks, cap * sizeof *blocks);
        if (blocks == NULL) return import_nomem(&x->err);
        x->blocks = blocks;
        x->blocks_cap = cap;
    }
    struct list_block *b = &x->blocks[x->blocks_count];
    *b = (struct list_block){.of.number = x->number};
    TRY(archive_block_open(x->archive, x->path, &(struct archive_copies){copy_of, x}, b, &x->err));
    x->blocks_count++;
    TRY(block_is_as_said(x, &b->of));
    TRY(block_verify(b->block, &x->canceled, &x->err));
    file_end(x);
    return OK;
}

static enum status take_bytes(struct store_importing *x, struct sv rest) {
    if (x->file == NULL || rest.len > x->file_bytes - x->offset)
        return import_corrupt(x, "bytes of no block");
    TRY(file_pwrite(x->file, rest.ptr, rest.len, x->offset, &x->err));
    x->offset += rest.len;
    return x->offset == x->file_bytes ? block_take(x) : OK;
}

static enum status take_shard(struct store_importing *x, unsigned version, struct sv rest) {
    struct manifest_shard s;
    TRY(manifest_shard_get(rest, version, &s, &x->err));
    const struct import_shard *wanted = shard_find(x, s.shard);
    if (wanted == NULL || x->records_count == x->shards_count || x->file != NULL ||
        x->spans != NULL) {
        manifest_shard_fini(&s);
        return import_corrupt(x, "a shard that is not asked for");
    }
    s.copy = wanted->copy;
    x->records[x->records_count++] = s;
    return OK;
}

static void import_run(struct work *w) {
    struct store_importing *x = container_of(w, struct store_importing, work);
    struct sv piece = buf_sv(&x->piece);
    if (piece.len < 2 ||
        (piece.ptr[0] != TRANSFER_VERSION && piece.ptr[0] != TRANSFER_VERSION_ENDED)) {
        x->status = import_corrupt(x, "a piece of another version");
        return;
    }
    struct sv rest = sv_skip(piece, 2);
    switch (piece.ptr[1]) {
    case TRANSFER_BLOCK: x->status = take_block(x, rest, false); break;
    case TRANSFER_ROWS: x->status = take_block(x, rest, true); break;
    case TRANSFER_BYTES: x->status = take_bytes(x, rest); break;
    case TRANSFER_SHARD: x->status = take_shard(x, (unsigned)piece.ptr[0], rest); break;
    case TRANSFER_END:
        x->ended = true;
        if (x->file != NULL || (x->spans == NULL && x->records_count != x->shards_count))
            x->status = import_corrupt(x, "it ended before its end");
        break;
    default: x->status = import_corrupt(x, "a piece of an unknown kind");
    }
}

/* -- on the core */

static void import_free(struct store_importing *x) {
    if (x->before != NULL)
        x->before->next = x->next;
    else
        x->store->imports = x->next;
    if (x->next != NULL) x->next->before = x->before;
    file_end(x);
    for (uint32_t i = 0; i < x->blocks_count; i++) {
        block_unref(x->blocks[i].block);
        manifest_block_fini(&x->blocks[i].of);
    }
    for (uint32_t i = 0; i < x->records_count; i++)
        manifest_shard_fini(&x->records[i]);
    free(x->blocks);
    free(x->records);
    free(x->shards);
    free(x->spans);
    free(x->fixes);
    free(x->ended_ms);
    manifest_block_fini(&x->rows);
    buf_fini(&x->piece);
    free(x);
}

void imports_free(struct store *store) {
    while (store->imports != NULL)
        import_free(store->imports);
}

static void end_run(struct work *w) {
    struct store_importing *x = container_of(w, struct store_importing, work);
    file_end(x);
    for (uint32_t i = 0; i < x->blocks_count; i++) {
        if (!x->installed) block_set_obsolete(x->blocks[i].block);
        block_unref(x->blocks[i].block);
        x->blocks[i].block = NULL;
    }
}

static void end_ran(struct core *here, struct work *w) {
    (void)here;
    import_free(container_of(w, struct store_importing, work));
}

/* Files are closed and removed by a worker. */
static void import_end(struct store_importing *x) {
    x->state = IMPORT_ENDED;
    x->work = (struct work){.run = end_run, .done = end_ran};
    work_submit(x->store->core, &x->work);
}

static void import_tell(struct store_importing *x, bool last) {
    if (x->job == NULL) {
        import_end(x);
        return;
    }
    if (x->status != OK || last) x->state = IMPORT_ENDED;
    x->job->taken(x->job, x->status, last, x->status == OK ? NULL : &x->err);
}

static void import_changed(struct core *here, struct archive_change *c) {
    (void)here;
    struct store_importing *x = container_of(c, struct store_importing, change);
    x->installed = true;
    if (x->job != NULL) x->job->refused = c->refused;
    import_tell(x, true);
}

/* What of a span is in rows only must have ended here, too, or it would not be visible. */
static bool spans_have_ended(struct store_importing *x) {
    for (size_t i = 0; i < x->shards_count && x->spans != NULL; i++) {
        struct store_archived a;
        if (x->ended_ms[i] == 0 || !store_shard_archive(x->store, x->shards[i].shard, &a) ||
            x->ended_ms[i] <= a.ended.raw_ms)
            continue;
        x->status = err_set(&x->err, ERR_UNAVAILABLE, 0,
                            "import: samples of shard %" PRIu32 " have not ended here yet",
                            x->shards[i].shard);
        return false;
    }
    return true;
}

static void import_change(struct store_importing *x) {
    x->state = IMPORT_CHANGING;
    x->change = (struct archive_change){.adds = x->blocks,
                                        .adds_count = x->blocks_count,
                                        .shards = x->records,
                                        .shards_count = x->records_count,
                                        .is_import = x->spans == NULL,
                                        .repairs = x->fixes,
                                        .repairs_count = x->spans == NULL ? 0 : x->shards_count,
                                        .done = import_changed};
    archive_change_submit(x->archive, x->store->core, &x->change);
}

static void import_ran(struct core *here, struct work *w) {
    struct store_importing *x = container_of(w, struct store_importing, work);
    assert(here == x->store->core && x->state == IMPORT_TAKING);
    x->state = IMPORT_IDLE;
    if (x->job != NULL && x->status == OK && x->ended && spans_have_ended(x))
        import_change(x);
    else
        import_tell(x, false);
}

void import_piece(struct store *store, struct store_import *job, struct sv bytes) {
    struct store_importing *x = job->private_;
    assert(core_is_current(store->core) && x->state == IMPORT_IDLE && !x->ended);
    buf_clear(&x->piece);
    buf_put_sv(&x->piece, bytes);
    if (x->piece.failed) buf_clear(&x->piece); /* told as a bad piece: it is sent again */
    x->state = IMPORT_TAKING;
    x->work = (struct work){.run = import_run, .done = import_ran};
    work_submit(store->core, &x->work);
}

void import_stop(struct store *store, struct store_import *job) {
    struct store_importing *x = job->private_;
    assert(core_is_current(store->core));
    if (x == NULL) return;
    job->private_ = NULL;
    x->job = NULL;
    cancel_set(&x->canceled);
    if (x->state == IMPORT_IDLE || x->state == IMPORT_ENDED) import_end(x);
}

enum status import_start(struct store *store, struct store_import *job, struct err *err) {
    assert(core_is_current(store->core));
    if (store->archive == NULL)
        return err_set(err, ERR_UNAVAILABLE, 0, "import: there are no blocks here");
    struct store_importing *x = calloc(1, sizeof *x);
    if (x == NULL) return import_nomem(err);
    *x = (struct store_importing){
        .store = store, .archive = store->archive->archive, .job = job, .next = store->imports};
    if (x->next != NULL) x->next->before = x;
    store->imports = x;
    x->shards = calloc(job->shards_count + 1, sizeof *x->shards);
    x->records = calloc(job->shards_count + 1, sizeof *x->records);
    x->ended_ms = calloc(job->shards_count + 1, sizeof *x->ended_ms);
    if (job->spans != NULL) {
        x->spans = calloc(job->shards_count + 1, sizeof *x->spans);
        x->fixes = calloc(job->shards_count + 1, sizeof *x->fixes);
    }
    if (x->shards == NULL || x->records == NULL || x->ended_ms == NULL ||
        (job->spans != NULL && (x->spans == NULL || x->fixes == NULL))) {
        import_free(x);
        return import_nomem(err);
    }
    memcpy(x->shards, job->shards, job->shards_count * sizeof *x->shards);
    x->shards_count = job->shards_count;
    for (size_t i = 0; i < x->shards_count && x->spans != NULL; i++) {
        x->spans[i] = job->spans[i];
        x->fixes[i] =
            (struct archive_repair_shard){x->shards[i].shard, x->shards[i].copy, x->spans[i].min_ms,
                                          x->spans[i].max_ms, x->spans[i].only_bad};
    }
    job->private_ = x;
    return OK;
}
