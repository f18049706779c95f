/* SPDX-License-Identifier: Apache-2.0 */
#include "node/ctl/tsdb_dir.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "node/base/attr.h"
#include "node/base/duration.h"
#include "storage/archive/stored.h"

enum { OPEN_TRIES = 5 };
#define BLOCK_RANGE_MS (INT64_C(2) * 3600 * 1000) /* nothing is cut here: any will do */

static enum status nomem(struct err *err) {
    return err_set(err, ERR_NOMEM, 0, "out of memory");
}

static enum status path_put(struct buf *out, const struct tsdb_dir *dir, const char *name,
                            struct err *err) {
    buf_clear(out);
    buf_printf(out, "%s/%s", dir->path, name);
    return buf_cstr(out) == NULL ? nomem(err) : OK;
}

/* -- whose it is */

static enum status identity_read(struct tsdb_dir *dir, bool with_log, struct buf *path,
                                 struct err *err) {
    TRY(path_put(path, dir, "seat", err));
    if (!disk_exists(dir->disk, path->ptr))
        return err_set(err, ERR_UNAVAILABLE, 0, "%s is no data directory of a node: %s is missing",
                       dir->path, path->ptr);
    TRY(path_put(path, dir, "lock", err));
    if (with_log && disk_exists(dir->disk, path->ptr))
        TRY(disk_lock(dir->disk, path->ptr, &dir->lock, err));
    TRY(path_put(path, dir, "seat", err));
    TRY(seat_load(dir->disk, path->ptr, &dir->seat, err));
    TRY(path_put(path, dir, "ring", err));
    enum status got = ring_map_load(dir->disk, path->ptr, &dir->map, err);
    if (got == ERR_UNAVAILABLE)
        return err_set(err, got, 0, "%s: the node was in no cluster yet", dir->path);
    return got;
}

/* -- blocks */

struct imports {
    struct tsdb_dir *dir;
    struct buf names; /* each with its NUL */
};

/* Those that the manifest does not name (storage/archive/adopt.c). */
static bool on_name(void *ctx, const char *name) {
    struct imports *im = ctx;
    size_t len = strlen(name);
    bool is_import =
        len > 13 && strncmp(name, "import-", 7) == 0 && strcmp(name + len - 6, ".block") == 0;
    if (!is_import) return true;
    uint64_t number;
    int end = 0;
    if (sscanf(name, "import-%16" SCNx64 ".block%n", &number, &end) == 1 && (size_t)end == len &&
        len == 29 && manifest_block_find(&im->dir->manifest, number) != NULL)
        return true;
    buf_put(&im->names, name, len + 1);
    return !im->names.failed;
}

/* A node takes them up only where it is alone; its shards are then the map's. */
static enum status parts_fill(const struct tsdb_dir *dir, struct list_block *b, struct err *err) {
    uint32_t count = dir->map->settings.shards_count;
    int self = ring_map_node_index(dir->map, dir->seat.id);
    b->of.parts = calloc(count, sizeof *b->of.parts);
    if (b->of.parts == NULL) return nomem(err);
    for (uint32_t i = 0; i < count && dir->map->nodes_count == 1; i++) {
        struct store_shard_options o;
        struct block_shard in;
        if (block_get_shard(b->block, i, &in) && store_shard_of_map(dir->map, self, i, &o))
            b->of.parts[b->of.parts_count++] = (struct manifest_part){i, o.copy};
    }
    return OK;
}

static enum status import_add(struct tsdb_dir *dir, const char *name, struct list_block *b,
                              struct err *err) {
    AUTO(buf_fini) struct buf path = {0};
    struct block_info info;
    buf_printf(&path, "%s/blocks/%s", dir->path, name);
    if (buf_cstr(&path) == NULL) return nomem(err);
    *b = (struct list_block){.of.number = dir->manifest.next_number++};
    enum status status =
        block_open(dir->disk, path.ptr, dir->map->settings.secret, 0, &b->block, &b->why);
    if (status == ERR_NOMEM) return nomem(err);
    if (status == OK) {
        block_get_info(b->block, &info);
        b->of.level = info.level;
        b->of.min_ms = info.min_ms;
        b->of.max_ms = info.max_ms;
        b->of.file_bytes = info.file_bytes;
        TRY(parts_fill(dir, b, err));
    }
    struct manifest_block of = b->of; /* the manifest's from now on */
    if (manifest_block_add(&dir->manifest, &of) == OK) return OK;
    manifest_block_fini(&of);
    return nomem(err);
}

static enum status block_add(struct tsdb_dir *dir, const struct manifest_block *of,
                             struct list_block *b, struct err *err) {
    AUTO(buf_fini) struct buf path = {0};
    *b = (struct list_block){.of = *of};
    buf_printf(&path, "%s/blocks/import-%016" PRIx64 ".block", dir->path, of->number);
    if (buf_cstr(&path) == NULL) return nomem(err);
    if (!disk_exists(dir->disk, path.ptr)) { /* it is under its own name already */
        buf_clear(&path);
        buf_printf(&path, "%s/blocks/%016" PRIx64 ".block", dir->path, of->number);
        if (buf_cstr(&path) == NULL) return nomem(err);
    }
    return block_open(dir->disk, path.ptr, dir->map->settings.secret, 0, &b->block, &b->why);
}

static int by_time(const void *a, const void *b) {
    const struct manifest_block *x = a, *y = b;
    if (x->min_ms != y->min_ms) return x->min_ms < y->min_ms ? -1 : 1;
    if (x->max_ms != y->max_ms) return x->max_ms < y->max_ms ? -1 : 1;
    return x->number < y->number ? -1 : x->number > y->number;
}

/* *out_missing: one that the manifest names is not there. */
static enum status blocks_open(struct tsdb_dir *dir, struct imports *im, struct list_block **opened,
                               uint32_t *count, bool *out_missing, struct err *err) {
    AUTO(buf_fini) struct buf path = {0};
    TRY(path_put(&path, dir, "blocks", err));
    *out_missing = false;
    if (!disk_exists(dir->disk, path.ptr)) return OK;
    TRY(manifest_load(dir->disk, path.ptr, &dir->manifest, err));
    TRY(disk_list(dir->disk, path.ptr, on_name, im, err));
    if (im->names.failed) return nomem(err);
    uint32_t max = dir->manifest.blocks_count;
    for (size_t at = 0; at < im->names.len; at += strlen(im->names.ptr + at) + 1)
        max++;
    *opened = calloc(max + 1, sizeof **opened);
    if (*opened == NULL) return nomem(err);
    for (; *count < dir->manifest.blocks_count; (*count)++) {
        struct list_block *b = &(*opened)[*count];
        enum status got = block_add(dir, &dir->manifest.blocks[*count], b, err);
        if (got == ERR_NOMEM) return nomem(err);
        *out_missing = *out_missing || got == ERR_UNAVAILABLE;
    }
    for (size_t at = 0; at < im->names.len; at += strlen(im->names.ptr + at) + 1)
        TRY(import_add(dir, im->names.ptr + at, &(*opened)[(*count)++], err));
    if (dir->manifest.blocks_count > 0)
        qsort(dir->manifest.blocks, dir->manifest.blocks_count, sizeof *dir->manifest.blocks,
              by_time);
    dir->blocks = block_list_new(&dir->manifest, NULL, *opened, *count);
    return dir->blocks == NULL ? nomem(err) : OK;
}

static enum status blocks_read(struct tsdb_dir *dir, struct err *err) {
    for (int tried = 0;; tried++) {
        struct imports im = {.dir = dir};
        struct list_block *opened = NULL;
        uint32_t count = 0;
        bool missing;
        manifest_fini(&dir->manifest);
        enum status status = blocks_open(dir, &im, &opened, &count, &missing, err);
        for (uint32_t i = 0; opened != NULL && i < count; i++)
            block_unref(opened[i].block);
        free(opened);
        buf_fini(&im.names);
        if (status != OK || !missing || tried == OPEN_TRIES || dir->lock != NULL) return status;
        block_list_unref(dir->blocks); /* merged away by a node that runs */
        dir->blocks = NULL;
    }
}

/* -- the head */

static enum status apply(void *ctx, const struct entry *e, struct err *err) {
    struct tsdb_dir *dir = ctx;
    if (e->shard >= dir->map->settings.shards_count) return OK;
    return store_recover(dir->store, e, err);
}

static void on_bad(void *ctx, bool torn, const struct err *what) {
    struct tsdb_dir *dir = ctx;
    if (torn)
        dir->torn = true;
    else if (dir->damages++ == 0)
        dir->damage = *what;
    if (dir->log_bad != NULL) dir->log_bad(dir->log_bad_ctx, torn, what);
}

static enum status shards_open(struct tsdb_dir *dir, struct err *err) {
    int self = ring_map_node_index(dir->map, dir->seat.id);
    for (uint32_t i = 0; i < dir->map->settings.shards_count; i++) {
        struct store_shard_options o;
        if (!store_shard_of_map(dir->map, self, i, &o)) continue;
        TRY(store_shard_open(dir->store, &o, err));
        dir->tails += o.role == STORE_LOG;
    }
    for (uint32_t i = 0; i < dir->manifest.shards_count; i++) {
        const struct manifest_shard *s = &dir->manifest.shards[i];
        bool taken;
        if (s->shard < dir->map->settings.shards_count && store_has_shard(dir->store, s->shard))
            TRY(store_shard_base(dir->store, s, &taken, err));
    }
    if (dir->blocks != NULL) store_set_blocks(dir->store, block_list_ref(dir->blocks));
    return OK;
}

/* As a node does at its start, but that nothing is written. */
static enum status head_read(struct tsdb_dir *dir, struct err *err) {
    AUTO(buf_fini) struct buf path = {0};
    struct loop_options lo = {.cores_count = 1, .workers_count = 1};
    const struct ring_settings *set = &dir->map->settings;
    struct store_options so = {.head.secret = set->secret,
                               .shards_count = set->shards_count,
                               .block_range_ms = BLOCK_RANGE_MS};
    TRY(loop_runtime_new(&lo, &dir->rt, err));
    core_set_current(dir->rt->cores[0]);
    TRY(store_new(dir->rt->cores[0], &so, &dir->store, err));
    TRY(shards_open(dir, err));
    TRY(path_put(&path, dir, "log", err));
    return log_look(dir->disk, path.ptr, &dir->look, err);
}

enum status tsdb_dir_open(const struct tsdb_dir_options *options, struct tsdb_dir *out,
                          struct err *err) {
    AUTO(buf_fini) struct buf path = {0};
    *out = (struct tsdb_dir){.path = options->path,
                             .disk = disk_real(),
                             .log_bad = options->log_bad,
                             .log_bad_ctx = options->ctx,
                             .look = {.apply = apply, .on_bad = on_bad, .ctx = out}};
    TRY(identity_read(out, options->with_log, &path, err));
    TRY(blocks_read(out, err));
    return options->with_log ? head_read(out, err) : OK;
}

void tsdb_dir_close(struct tsdb_dir *dir) {
    store_free(dir->store);
    block_list_unref(dir->blocks);
    if (dir->rt != NULL) {
        core_set_current(NULL);
        loop_runtime_stop(dir->rt);
        loop_runtime_free(dir->rt);
    }
    manifest_fini(&dir->manifest);
    ring_map_unref(dir->map);
    file_close(dir->lock);
    *dir = (struct tsdb_dir){0};
}

void tsdb_put_span(struct buf *out, int64_t min_ms, int64_t max_ms) {
    uint64_t span_ms = (uint64_t)max_ms - (uint64_t)min_ms;
    bool fits = span_ms < INT64_MAX / 1000000;
    duration_put_go(out, fits ? (int64_t)(span_ms + 1) * 1000000 : INT64_MAX);
}

/* -- series */

enum { SERIES_BATCH = 1 << 16, LABELS_FIRST = 64 };
#define WINDOW_MS (INT64_C(31) * 86400 * 1000) /* of a series that are in memory at once */

struct walk {
    struct tsdb_dir *dir;
    const struct tsdb_query *query;
    uint64_t *bits; /* of the shards of the batch */
    struct stored stored;
    struct label *labels;
    size_t labels_cap;
    struct samples samples;
    int64_t begin_ms, end_ms; /* of all there is; both inclusive */
};

/* What there is in the query's range, and how many series at most. */
static uint64_t shard_look(struct walk *w, uint32_t shard) {
    struct head_shard_stats stats;
    struct store_archived a;
    uint64_t count;
    head_shard_stats(store_head(w->dir->store), shard, &stats);
    count = stats.series;
    if (stats.series > 0) {
        w->begin_ms = MIN(w->begin_ms, stats.min_time_ms);
        w->end_ms = MAX(w->end_ms, stats.max_time_ms);
    }
    for (uint32_t i = 0; w->dir->blocks != NULL && i < w->dir->blocks->count; i++) {
        const struct list_block *b = &w->dir->blocks->blocks[i];
        struct block_shard in;
        bool shown = b->of.resolution_ms == 0 || (store_shard_archive(w->dir->store, shard, &a) &&
                                                  b->of.min_ms < a.ended.raw_ms);
        if (b->block == NULL || !shown || !block_get_shard(b->block, shard, &in) ||
            in.series_count == 0)
            continue;
        count += in.series_count;
        if (b->of.resolution_ms != 0) { /* columns of rows lie beyond */
            in.min_ms = b->of.min_ms;
            in.max_ms = b->of.max_ms + 1;
        }
        w->begin_ms = MIN(w->begin_ms, in.min_ms);
        w->end_ms = MAX(w->end_ms, in.max_ms);
    }
    return count;
}

static enum status labels_get_all(struct walk *w, size_t index, size_t *out_count,
                                  struct err *err) {
    *out_count = stored_labels(&w->stored, index, w->labels, w->labels_cap);
    if (*out_count <= w->labels_cap) return OK;
    size_t cap = MAX(*out_count, (size_t)LABELS_FIRST);
    struct label *labels = realloc(w->labels, cap * sizeof *labels);
    if (labels == NULL) return nomem(err);
    w->labels = labels;
    w->labels_cap = cap;
    *out_count = stored_labels(&w->stored, index, w->labels, w->labels_cap);
    return OK;
}

static enum status series_tell(struct walk *w, size_t index, struct err *err) {
    const struct tsdb_query *q = w->query;
    int64_t first_ms = MAX(q->min_ms, w->begin_ms), last_ms = MIN(q->max_ms, w->end_ms);
    size_t count;
    TRY(labels_get_all(w, index, &count, err));
    while (first_ms <= last_ms) {
        int64_t to_ms;
        if (__builtin_add_overflow(first_ms, WINDOW_MS - 1, &to_ms)) to_ms = INT64_MAX;
        to_ms = MIN(to_ms, last_ms);
        samples_clear(&w->samples);
        TRY(stored_read(&w->stored, index, first_ms == INT64_MIN ? INT64_MIN : first_ms - 1, to_ms,
                        &w->samples, err));
        if (w->samples.count > 0) TRY(q->piece(q->ctx, w->labels, count, &w->samples, err));
        if (to_ms == INT64_MAX) break;
        first_ms = to_ms + 1;
    }
    return OK;
}

static enum status batch_run(struct walk *w, const struct shard_set *shards, struct err *err) {
    const struct tsdb_query *q = w->query;
    struct select_query sq = {.matchers = q->matchers,
                              .matchers_count = q->matchers_count,
                              .shards = shards,
                              .from_ms = q->min_ms == INT64_MIN ? INT64_MIN : q->min_ms - 1,
                              .to_ms = q->max_ms};
    bool done = false;
    stored_init(&w->stored, w->dir->store, &sq);
    enum status status = OK;
    while (status == OK && !done)
        status = stored_select(&w->stored, 0, &done, err);
    if (status == OK) status = stored_find(&w->stored, err);
    for (size_t i = 0; status == OK && i < w->stored.count; i++)
        status = series_tell(w, i, err);
    stored_release(&w->stored);
    return status;
}

static enum status walk_run(struct walk *w, struct err *err) {
    uint32_t count = w->dir->map->settings.shards_count, words = (count + 63) / 64;
    struct shard_set shards = {w->bits, count};
    for (uint32_t i = 0; i < count;) {
        uint64_t series = 0;
        memset(w->bits, 0, words * sizeof *w->bits);
        w->begin_ms = INT64_MAX;
        w->end_ms = INT64_MIN;
        for (; i < count && series < SERIES_BATCH; i++) {
            if (!store_has_shard(w->dir->store, i)) continue;
            series += shard_look(w, i);
            w->bits[i / 64] |= UINT64_C(1) << (i % 64);
        }
        if (series > 0) TRY(batch_run(w, &shards, err));
    }
    return OK;
}

enum status tsdb_dir_each(struct tsdb_dir *dir, const struct tsdb_query *query, struct err *err) {
    struct walk w = {.dir = dir, .query = query};
    w.bits = calloc((dir->map->settings.shards_count + 63) / 64, sizeof *w.bits);
    enum status status = w.bits == NULL ? nomem(err) : walk_run(&w, err);
    samples_fini(&w.samples);
    free(w.labels);
    free(w.bits);
    return status;
}
