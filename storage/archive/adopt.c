/* SPDX-License-Identifier: Apache-2.0 */
/* Blocks that `cairnctl import` left beside the others:
 *   import-<name>.block -> import-<number>.block -> the manifest names the number -> <number>.block
 * After an end at any step the next start goes on: what the manifest does not name is taken up
 * anew, and what it names is looked for under both names. */
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "node/base/log.h"
#include "storage/archive/internal.h"

struct found {
    char **names;
    uint32_t count, cap;
    bool nomem;
};

static bool is_import(const char *name) {
    size_t len = strlen(name);
    return len > 13 && strncmp(name, "import-", 7) == 0 && strcmp(name + len - 6, ".block") == 0;
}

static bool found_add(void *ctx, const char *name) {
    struct found *f = ctx;
    if (!is_import(name)) return true;
    if (f->count == f->cap) {
        uint32_t cap = f->cap == 0 ? 16 : f->cap * 2;
        char **names = realloc(f->names, cap * sizeof *names);
        f->nomem = names == NULL;
        if (f->nomem) return false;
        f->names = names;
        f->cap = cap;
    }
    f->names[f->count] = strdup(name);
    f->nomem = f->names[f->count] == NULL;
    f->count += !f->nomem;
    return !f->nomem;
}

static void found_fini(struct found *f) {
    for (uint32_t i = 0; i < f->count; i++)
        free(f->names[i]);
    free(f->names);
}

static char *path_of(const struct archive *a, const char *name) {
    struct buf b = {0};
    buf_printf(&b, "%s/%s", a->dir, name);
    return buf_cstr(&b);
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

enum status archive_adopt_finish(struct archive *a, struct err *err) {
    for (uint32_t i = 0; i < a->manifest.blocks_count; i++) {
        char *from = import_path(a, a->manifest.blocks[i].number);
        bool there = from != NULL && disk_exists(a->rt->disk, from);
        if (there)
            TRY(move(a, from, archive_block_path(a, a->manifest.blocks[i].number), err));
        else
            free(from);
    }
    return OK;
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

static enum status adopt_one(struct archive *a, const char *name,
                             const struct archive_copies *copies, struct err *err) {
    struct list_block b = {.of.number = archive_take_number(a)};
    TRY(move(a, path_of(a, name), import_path(a, b.of.number), err));
    char *path = import_path(a, b.of.number);
    if (path == NULL) return err_set(err, ERR_NOMEM, 0, "archive: not enough memory");
    enum status status = archive_block_open(a, path, copies, &b, err);
    if (status == OK) status = block_verify(b.block, &a->merge.canceled, err);
    free(path);
    for (uint32_t i = 0; i < b.of.parts_count && status == OK; i++)
        status = record_make(a, &b.of.parts[i], err);
    block_unref(b.block);
    if (status == OK && manifest_block_add(&a->manifest, &b.of) != OK)
        status = err_set(err, ERR_NOMEM, 0, "archive: not enough memory");
    if (status != OK) manifest_block_fini(&b.of);
    return status;
}

enum status archive_adopt(struct archive *a, const struct archive_copies *copies, struct err *err) {
    struct found f = {0};
    enum status status = disk_list(a->rt->disk, a->dir, found_add, &f, err);
    if (status == OK && f.nomem) status = err_set(err, ERR_NOMEM, 0, "archive: not enough memory");
    for (uint32_t i = 0; i < f.count && status == OK; i++) {
        status = adopt_one(a, f.names[i], copies, err);
        if (status != OK) err_prefix(err, "%s", f.names[i]);
    }
    if (status == OK && f.count > 0) {
        a->manifest.next_number = atomic_load_explicit(&a->next_number, memory_order_relaxed);
        status = manifest_save(a->rt->disk, a->dir, &a->manifest, err);
        if (status == OK) status = archive_adopt_finish(a, err);
        if (status == OK) status = archive_reopen(a, err);
        if (status == OK) log_infof("imported blocks are taken up", "blocks", "%u", f.count);
    }
    found_fini(&f);
    return status;
}
