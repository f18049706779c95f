/* SPDX-License-Identifier: Apache-2.0 */
/* Blocks that `cairnctl import` left beside the others:
 *   import-<name>.block -> import-<number>.block -> the manifest names the number -> <number>.block
 * After an end at any step the next start goes on: what the manifest does not name is taken up
 * anew, and what it names is looked for under both names.
 * What it left of metric families (families.h) goes into the manifest, too, and then the file goes;
 * to take it up again changes nothing. */
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "node/base/log.h"
#include "storage/archive/families.h"
#include "storage/archive/internal.h"

static bool is_import(const char *name) {
    size_t len = strlen(name);
    return len > 13 && strncmp(name, "import-", 7) == 0 && strcmp(name + len - 6, ".block") == 0;
}

/* import-<number>.block, with 16 hex digits. */
static bool is_numbered(const char *name, uint64_t *out_number) {
    char *end;
    if (!is_import(name)) return false;
    *out_number = strtoull(name + 7, &end, 16);
    return end == name + 7 + 16 && strlen(end) == 6;
}

static bool is_adopted(const struct archive *a, const char *name, uint64_t *out_number) {
    return is_numbered(name, out_number) && manifest_block_find(&a->manifest, *out_number) != NULL;
}

static char *import_path(const struct archive *a, uint64_t number) {
    struct buf b = {0};
    buf_printf(&b, "%s/import-%016" PRIx64 ".block", a->dir, number);
    return buf_cstr(&b);
}

static enum status move(struct archive *a, char *from, char *to, struct err *err) {
    enum status status = from == NULL || to == NULL
                             ? err_set(err, ERR_NOMEM, 0, "archive: not enough memory")
                             : disk_rename(a->rt->disk, from, to, err);
    free(from);
    free(to);
    return status == OK ? disk_sync_dir(a->rt->disk, a->dir, err) : status;
}

static enum status adopted_rename(struct archive *a, uint64_t number, struct err *err) {
    return move(a, import_path(a, number), archive_block_path(a, number), err);
}

enum status archive_adopt_finish(struct archive *a, struct err *err) {
    uint64_t number;
    for (uint32_t i = 0; i < a->files.count; i++)
        if (is_adopted(a, a->files.names[i], &number)) TRY(adopted_rename(a, number, err));
    return OK;
}

static bool is_families(const char *name) {
    size_t len = strlen(name), suffix_len = strlen(FAMILIES_SUFFIX);
    return len > 7 + suffix_len && strncmp(name, "import-", 7) == 0 &&
           strcmp(name + len - suffix_len, FAMILIES_SUFFIX) == 0;
}

/* A part counts only beside a record of its shard, and one that was never flushed has none. */
static enum status record_make(struct archive *a, const struct manifest_part *part,
                               struct err *err) {
    struct manifest_shard s = {.shard = part->shard,
                               .copy = part->copy,
                               .from_ms = INT64_MIN,
                               .floor_ms = INT64_MIN,
                               .cut_ms = INT64_MIN,
                               .newest_ms = INT64_MIN};
    const struct manifest_shard *old = manifest_shard_find(&a->manifest, part->shard);
    if (old != NULL && old->copy == part->copy) return OK;
    manifest_shard_remove(&a->manifest, part->shard); /* of a copy that is no more */
    if (manifest_shard_set(&a->manifest, &s) == OK) return OK;
    return err_set(err, ERR_NOMEM, 0, "archive: not enough memory");
}

/* Samples where only rows are kept would be visible to nobody. */
static enum status ended_refuse(const struct archive *a, const struct manifest_block *of,
                                struct err *err) {
    for (uint32_t i = 0; i < of->parts_count; i++) {
        const struct manifest_shard *s = manifest_shard_find(&a->manifest, of->parts[i].shard);
        if (s == NULL || s->copy != of->parts[i].copy || !ended_any(&s->ended) ||
            of->min_ms > s->ended.raw_ms)
            continue;
        return err_set(err, ERR_CONFLICT, 0,
                       "it has samples from %" PRId64 " on, and up to %" PRId64
                       " only downsampled ones are kept (storage.tsdb.retention.resolution.raw)",
                       of->min_ms, s->ended.raw_ms);
    }
    return OK;
}

static enum status adopt_one(struct archive *a, const char *name,
                             const struct archive_copies *copies, struct err *err) {
    struct list_block b = {.of.number = archive_take_number(a)};
    TRY(move(a, archive_file_path(a, name), import_path(a, b.of.number), err));
    char *path = import_path(a, b.of.number);
    if (path == NULL) return err_set(err, ERR_NOMEM, 0, "archive: not enough memory");
    enum status status = archive_block_open(a, path, copies, &b, err);
    if (status == OK) status = block_verify(b.block, &a->merge.canceled, err);
    if (status == OK) status = ended_refuse(a, &b.of, err);
    free(path);
    for (uint32_t i = 0; i < b.of.parts_count && status == OK; i++)
        status = record_make(a, &b.of.parts[i], err);
    block_unref(b.block);
    if (status == OK) archive_rows_forget(a, &a->manifest, b.of.min_ms, b.of.max_ms);
    if (status == OK && manifest_block_add(&a->manifest, &b.of) != OK)
        status = err_set(err, ERR_NOMEM, 0, "archive: not enough memory");
    if (status != OK) manifest_block_fini(&b.of);
    return status;
}

static enum status families_take(struct archive *a, const struct manifest *from,
                                 const struct archive_copies *copies, struct err *err) {
    for (uint32_t i = 0; i < from->shards_count; i++) {
        const struct manifest_shard *s = &from->shards[i];
        struct manifest_part part = {s->shard, copies->copy_of(copies->ctx, s->shard)};
        if (part.copy == 0) continue;
        TRY(record_make(a, &part, err));
        TRY(families_merge(manifest_shard_find(&a->manifest, s->shard), s, err));
    }
    return OK;
}

static enum status adopt_families(struct archive *a, const char *name,
                                  const struct archive_copies *copies, struct err *err) {
    const struct families_place place = {a->options.secret, a->options.tenant,
                                         a->options.shards_count};
    struct manifest from = {0};
    char *path = archive_file_path(a, name);
    if (path == NULL) return err_set(err, ERR_NOMEM, 0, "archive: not enough memory");
    enum status status = families_read(a->rt->disk, path, &place, &from, err);
    free(path);
    if (status == OK) status = families_take(a, &from, copies, err);
    manifest_fini(&from);
    return status;
}

static enum status families_remove(struct archive *a, struct err *err) {
    for (uint32_t i = 0; i < a->files.count; i++) {
        if (!is_families(a->files.names[i])) continue;
        char *path = archive_file_path(a, a->files.names[i]);
        enum status status = path == NULL ? err_set(err, ERR_NOMEM, 0, "archive: not enough memory")
                                          : disk_unlink(a->rt->disk, path, err);
        free(path);
        TRY(status);
    }
    return disk_sync_dir(a->rt->disk, a->dir, err);
}

/* Those that the manifest names have been renamed at the opening. */
static enum status adopt_all(struct archive *a, const struct archive_copies *copies,
                             uint32_t *out_blocks, uint32_t *out_families, struct err *err) {
    uint64_t number;
    for (uint32_t i = 0; i < a->files.count; i++) {
        const char *name = a->files.names[i];
        bool families = is_families(name);
        if (!families && (!is_import(name) || is_adopted(a, name, &number))) continue;
        enum status status =
            families ? adopt_families(a, name, copies, err) : adopt_one(a, name, copies, err);
        if (status != OK) err_prefix(err, "%s", name);
        TRY(status);
        ++*(families ? out_families : out_blocks);
    }
    return OK;
}

/* One that has its number since an earlier start keeps its file: nothing gets that name. */
static void numbers_skip(struct archive *a) {
    uint64_t number, next = atomic_load_explicit(&a->next_number, memory_order_relaxed);
    for (uint32_t i = 0; i < a->files.count; i++)
        if (is_numbered(a->files.names[i], &number) && number < INT64_MAX)
            next = MAX(next, number + 1);
    atomic_store_explicit(&a->next_number, next, memory_order_relaxed);
}

static enum status adopted_save(struct archive *a, uint64_t first, uint32_t count,
                                struct err *err) {
    a->manifest.next_number = atomic_load_explicit(&a->next_number, memory_order_relaxed);
    TRY(manifest_save(a->rt->disk, a->dir, &a->manifest, err));
    for (uint64_t number = first; number < first + count; number++)
        TRY(adopted_rename(a, number, err));
    a->adopted_from = count > 0 ? first : UINT64_MAX;
    return count > 0 ? archive_reopen(a, err) : OK;
}

enum status archive_adopt(struct archive *a, const struct archive_copies *copies, struct err *err) {
    uint32_t blocks = 0, families = 0;
    numbers_skip(a);
    uint64_t first = atomic_load_explicit(&a->next_number, memory_order_relaxed);
    enum status status = adopt_all(a, copies, &blocks, &families, err);
    if (status == OK && blocks + families > 0) status = adopted_save(a, first, blocks, err);
    if (status == OK && families > 0) status = families_remove(a, err);
    archive_files_fini(&a->files);
    if (status == OK && blocks + families > 0)
        log_infof("what was imported is taken up", "blocks", "%u", blocks);
    return status;
}
