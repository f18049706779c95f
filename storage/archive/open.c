/* SPDX-License-Identifier: Apache-2.0 */
/* What is there at the start. */
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "node/base/log.h"
#include "storage/archive/internal.h"

enum { NAME_LEN = 16 + 6 }; /* <16 hex digits>.block */

char *archive_file_path(const struct archive *a, const char *name) {
    struct buf b = {0};
    buf_printf(&b, "%s/%s", a->dir, name);
    return buf_cstr(&b);
}

void archive_files_fini(struct archive_files *f) {
    for (uint32_t i = 0; i < f->count; i++)
        free(f->names[i]);
    free(f->names);
    *f = (struct archive_files){0};
}

struct file_walk {
    struct archive_files *files;
    bool nomem;
};
static bool file_add(void *ctx, const char *name) {
    struct file_walk *walk = ctx;
    struct archive_files *f = walk->files;
    walk->nomem = true; /* unless: */
    if (f->count == f->cap) {
        uint32_t cap = f->cap == 0 ? 16 : f->cap * 2;
        char **names = realloc(f->names, cap * sizeof *names);
        if (names == NULL) return false;
        f->names = names;
        f->cap = cap;
    }
    f->names[f->count] = strdup(name);
    if (f->names[f->count] == NULL) return false;
    f->count++;
    walk->nomem = false;
    return true;
}

static enum status files_list(struct archive *a, struct err *err) {
    struct file_walk walk = {.files = &a->files};
    TRY(disk_list(a->rt->disk, a->dir, file_add, &walk, err));
    return walk.nomem ? err_set(err, ERR_NOMEM, 0, "archive: not enough memory") : OK;
}

/* Of ours, and in the manifest? Files of other names than ours are left alone. */
static bool name_is_block(const char *name, uint64_t *out_number) {
    char *end;
    if (strlen(name) != NAME_LEN || strcmp(name + 16, ".block") != 0) return false;
    *out_number = strtoull(name, &end, 16);
    return end == name + 16;
}

static bool name_is_stray(const struct manifest *m, const char *name) {
    size_t len = strlen(name);
    uint64_t number;
    if (len > 4 && strcmp(name + len - 4, ".tmp") == 0) return true;
    return name_is_block(name, &number) && manifest_block_find(m, number) == NULL;
}

/* There is one from the first start on, before any block: without it blocks would be strays. */
static enum status manifest_open(struct archive *a, struct err *err) {
    const char *block = NULL;
    uint64_t number;
    for (uint32_t i = 0; i < a->files.count; i++) {
        if (strcmp(a->files.names[i], "MANIFEST") == 0)
            return manifest_load(a->rt->disk, a->dir, &a->manifest, err);
        if (name_is_block(a->files.names[i], &number)) block = a->files.names[i];
    }
    if (block != NULL)
        return err_set(err, ERR_CORRUPT, 0, "archive: %s/MANIFEST is missing, and there is %s",
                       a->dir, block);
    TRY(manifest_load(a->rt->disk, a->dir, &a->manifest, err));
    return manifest_save(a->rt->disk, a->dir, &a->manifest, err);
}

/* Blocks that never were in a manifest, or are not any more: a process ended before it said so. */
static enum status strays_remove(struct archive *a, struct err *err) {
    bool any = false;
    for (uint32_t i = 0; i < a->files.count; i++) {
        if (!name_is_stray(&a->manifest, a->files.names[i])) continue;
        char *path = archive_file_path(a, a->files.names[i]);
        enum status status = path == NULL ? err_set(err, ERR_NOMEM, 0, "archive: not enough memory")
                                          : disk_unlink(a->rt->disk, path, err);
        free(path);
        TRY(status);
        any = true;
    }
    return any ? disk_sync_dir(a->rt->disk, a->dir, err) : OK;
}

static enum status blocks_open(struct archive *a, struct err *err) {
    struct list_block *blocks = calloc(a->manifest.blocks_count + 1, sizeof *blocks);
    enum status status = blocks == NULL ? ERR_NOMEM : OK;
    for (uint32_t i = 0; i < a->manifest.blocks_count && status == OK; i++) {
        struct list_block *b = &blocks[i];
        b->of = a->manifest.blocks[i];
        char *path = archive_block_path(a, b->of.number);
        enum status opened = path == NULL ? ERR_NOMEM
                                          : block_open(a->rt->disk, path, a->options.secret,
                                                       a->options.tenant, &b->block, &b->why);
        if (opened == ERR_NOMEM) status = ERR_NOMEM;
        if (opened != OK) b->block = NULL;
        if (opened != OK && opened != ERR_NOMEM)
            log_error("a block cannot be read; queries that need it fail", "err", b->why.msg);
        free(path);
    }
    if (status == OK) {
        a->list = block_list_new(&a->manifest, NULL, blocks, a->manifest.blocks_count);
        if (a->list == NULL) status = ERR_NOMEM;
    }
    for (uint32_t i = 0; blocks != NULL && i < a->manifest.blocks_count; i++)
        block_unref(blocks[i].block);
    free(blocks);
    return status == OK ? OK : err_set(err, ERR_NOMEM, 0, "archive: not enough memory");
}

static enum status parts_fill(const struct archive *a, const struct archive_copies *copies,
                              struct list_block *b, struct err *err) {
    struct manifest_part *parts = calloc(a->options.shards_count, sizeof *parts);
    if (parts == NULL) return err_set(err, ERR_NOMEM, 0, "archive: not enough memory");
    for (uint32_t i = 0; i < a->options.shards_count; i++) {
        struct block_shard in;
        if (!block_get_shard(b->block, i, &in)) continue;
        uint32_t copy = copies->copy_of(copies->ctx, i);
        if (copy != 0) parts[b->of.parts_count++] = (struct manifest_part){i, copy};
    }
    b->of.parts = parts;
    return OK;
}

enum status archive_block_open(const struct archive *a, const char *path,
                               const struct archive_copies *copies, struct list_block *b,
                               struct err *err) {
    struct block_info info;
    *b = (struct list_block){.of.number = b->of.number};
    TRY(block_open(a->rt->disk, path, a->options.secret, a->options.tenant, &b->block, err));
    block_get_info(b->block, &info);
    b->of.level = info.level;
    b->of.resolution_ms = info.resolution_ms;
    b->of.min_ms = info.min_ms;
    b->of.max_ms = info.max_ms;
    b->of.file_bytes = info.file_bytes;
    enum status status = parts_fill(a, copies, b, err);
    if (status == OK) return OK;
    block_unref(b->block);
    b->block = NULL;
    return status;
}

enum status archive_reopen(struct archive *a, struct err *err) {
    block_list_unref(a->list);
    a->list = NULL;
    TRY(blocks_open(a, err));
    archive_count(a);
    return OK;
}

static enum status open_all(struct archive *a, struct err *err) {
    TRY(disk_mkdir(a->rt->disk, a->dir, err));
    TRY(files_list(a, err));
    TRY(manifest_open(a, err));
    TRY(archive_adopt_finish(a, err));
    TRY(strays_remove(a, err));
    TRY(blocks_open(a, err));
    atomic_init(&a->next_number, a->manifest.next_number);
    archive_count(a);
    return OK;
}

enum status archive_open(struct runtime *rt, const struct archive_options *options,
                         struct archive **out, struct err *err) {
    struct archive *a = calloc(1, sizeof *a);
    if (a == NULL) return err_set(err, ERR_NOMEM, 0, "archive: not enough memory");
    a->rt = rt;
    a->options = *options;
    a->dir = strdup(options->dir);
    a->adopted_from = UINT64_MAX;
    a->options.dir = a->dir;
    a->cores = calloc(rt->cores_count, sizeof *a->cores);
    a->own = calloc(options->shards_count, sizeof *a->own);
    a->drops = calloc(options->shards_count, sizeof *a->drops);
    a->merge.archive = a;
    list_init(&a->waiting);
    list_init(&a->current);
    list_init(&a->holds);
    list_init(&a->cleans);
    list_init(&a->tells);
    enum status status = a->dir == NULL || a->cores == NULL || a->own == NULL || a->drops == NULL
                             ? err_set(err, ERR_NOMEM, 0, "archive: not enough memory")
                             : scrub_new(a, &a->scrub, err);
    if (status == OK) status = open_all(a, err);
    if (status == OK)
        *out = a;
    else
        archive_free(a);
    return status;
}
