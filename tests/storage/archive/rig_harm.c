/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/storage/archive/rig_harm.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

const char *const harm_file_names[HARM_FILES] = {"newest log file", "log file", "block", "manifest",
                                                 "note of the log's ends"};
const char *const harm_kind_names[HARM_KINDS] = {"bit flip", "truncated", "removed", "unreadable"};
static const char *const dirs[] = {AR_DIR "/log", AR_DIR "/blocks"};

/* -- all files */

struct listing {
    struct harm *harm;
    const char *dir;
};

static bool file_found(void *ctx, const char *name) {
    const struct listing *l = ctx;
    RIG_CHECK(l->harm->count < HARM_FILES_MAX, "too many files");
    snprintf(l->harm->files[l->harm->count++].path, sizeof l->harm->path, "%s/%s", l->dir, name);
    return true;
}

static void files_list(struct harm *h, struct disk *disk) {
    struct err err;
    h->count = 0;
    for (size_t i = 0; i < ARRAY_LEN(dirs); i++) {
        struct listing l = {h, dirs[i]};
        enum status status = disk_list(disk, dirs[i], file_found, &l, &err);
        RIG_CHECK(status == OK || status == ERR_UNAVAILABLE, "%s", err.msg);
    }
}

/* A new file: the one before may have another name in a snapshot. */
static void file_write(struct disk *disk, const char *path, struct sv bytes) {
    struct file *f;
    struct err err;
    RIG_CHECK(disk_unlink(disk, path, &err) == OK, "%s", err.msg);
    enum status status = disk_open(disk, path, DISK_WRITE | DISK_CREATE | DISK_EXCLUSIVE, &f, &err);
    if (status == OK && bytes.len > 0) status = file_pwrite(f, bytes.ptr, bytes.len, 0, &err);
    if (status == OK) status = file_sync(f, &err);
    RIG_CHECK(status == OK, "%s", err.msg);
    file_close(f);
}

static void dirs_sync(struct disk *disk) {
    struct err err;
    for (size_t i = 0; i < ARRAY_LEN(dirs); i++) {
        enum status status = disk_sync_dir(disk, dirs[i], &err);
        RIG_CHECK(status == OK || status == ERR_UNAVAILABLE, "%s", err.msg);
    }
}

void harm_undo(struct harm *h, struct archive_rig *rig, bool all) {
    struct disk *disk = sim_disk_as_disk(rig->sd);
    static struct harm now;
    files_list(&now, disk);
    for (size_t i = 0; i < now.count && all; i++)
        RIG_CHECK(disk_unlink(disk, now.files[i].path, NULL) == OK, "unlink");
    for (size_t i = 0; i < h->count; i++) {
        if (all || strcmp(h->files[i].path, h->path) == 0)
            file_write(disk, h->files[i].path, buf_sv(&h->files[i].bytes));
        buf_fini(&h->files[i].bytes);
    }
    h->count = 0;
    dirs_sync(disk);
    rig->disk.denied = NULL;
}

void harm_keep(struct harm *h) {
    for (size_t i = 0; i < h->count; i++)
        buf_fini(&h->files[i].bytes);
    h->count = 0;
}

/* -- one of them */

static bool file_is(const struct harm *h, size_t i, enum harm_file what, size_t newest) {
    const char *name = strrchr(h->files[i].path, '/') + 1;
    size_t len = strlen(name);
    switch (what) {
    case HARM_LOG_NEWEST: return i == newest;
    case HARM_LOG: return strncmp(name, "log-", 4) == 0 && i != newest;
    case HARM_BLOCK: return len == 22 && strcmp(name + 16, ".block") == 0;
    case HARM_MANIFEST: return strcmp(name, "MANIFEST") == 0;
    case HARM_LOG_END: return strcmp(name, "OLDEST") == 0 || strcmp(name, "NEWEST") == 0;
    case HARM_FILES: break;
    }
    return false;
}

static bool file_choose(struct harm *h, struct rng *rng, size_t *out) {
    size_t newest = SIZE_MAX, fitting = 0;
    for (size_t i = 0; i < h->count; i++)
        if (strstr(h->files[i].path, "/log/log-") != NULL) newest = i; /* they are sorted */
    for (size_t i = 0; i < h->count; i++)
        if (file_is(h, i, h->file, newest) && rng_below(rng, ++fitting) == 0) *out = i;
    return fitting > 0;
}

static bool any_block(const struct harm *h) {
    for (size_t i = 0; i < h->count; i++)
        if (file_is(h, i, HARM_BLOCK, SIZE_MAX)) return true;
    return false;
}

static void shards_of_block(struct harm *h, struct disk *disk, uint64_t number) {
    struct manifest m;
    struct err err;
    RIG_CHECK(manifest_load(disk, AR_DIR "/blocks", &m, &err) == OK, "%s", err.msg);
    const struct manifest_block *b = manifest_block_find(&m, number);
    for (uint32_t i = 0; b != NULL && i < b->parts_count; i++)
        h->allowed.shards |= 1ULL << b->parts[i].shard;
    manifest_fini(&m);
}

/* The end of the newest looks like one that was under way at a power cut. Its first frame may be
 * the last one of the file before. */
static uint64_t log_file_before(const struct harm *h, size_t at) {
    const char *before = at == 0 ? NULL : strstr(h->files[at - 1].path, "/log-");
    const char *own = strstr(h->files[at].path, "/log-");
    return strtoull((before == NULL ? own : before) + 5, NULL, 16);
}

static void allowed_make(struct harm *h, size_t at, struct disk *disk) {
    const char *name = strrchr(h->path, '/') + 1;
    h->allowed = (struct harm_allowed){.lost_from = UINT64_MAX};
    snprintf(h->allowed.name, sizeof h->allowed.name, "%s", name);
    h->allowed.is_log = h->file == HARM_LOG || h->file == HARM_LOG_NEWEST;
    if (h->file == HARM_BLOCK) shards_of_block(h, disk, strtoull(name, NULL, 16));
    h->allowed.refused = h->kind == HARM_UNREADABLE && h->file != HARM_BLOCK;
    if (h->file == HARM_MANIFEST) h->allowed.refused = h->kind != HARM_REMOVED || any_block(h);
    if (h->file == HARM_LOG_NEWEST && h->kind != HARM_REMOVED)
        h->allowed.lost_from = log_file_before(h, at);
}

static void file_harm(struct harm *h, struct archive_rig *rig, struct sv bytes) {
    struct disk *disk = sim_disk_as_disk(rig->sd);
    char *harmed = malloc(bytes.len + 1);
    RIG_CHECK(harmed != NULL, "memory");
    memcpy(harmed, bytes.ptr, bytes.len);
    switch (h->kind) {
    case HARM_FLIP:
        harmed[rng_below(&rig->rng, bytes.len)] ^= (char)(1u << rng_below(&rig->rng, 8));
        file_write(disk, h->path, sv_make(harmed, bytes.len));
        break;
    case HARM_TRUNCATED:
        file_write(disk, h->path, sv_make(harmed, (size_t)rng_below(&rig->rng, bytes.len)));
        break;
    case HARM_REMOVED: RIG_CHECK(disk_unlink(disk, h->path, NULL) == OK, "unlink"); break;
    case HARM_UNREADABLE: rig->disk.denied = h->path; break;
    case HARM_KINDS: break;
    }
    free(harmed);
    dirs_sync(disk);
}

bool harm_do(struct harm *h, struct archive_rig *rig, enum harm_file file, enum harm_kind kind) {
    struct disk *disk = sim_disk_as_disk(rig->sd);
    struct err err;
    size_t at = 0;
    RIG_CHECK(rig->rt == NULL, "still up");
    h->file = file;
    h->kind = kind;
    files_list(h, disk);
    if (!file_choose(h, &rig->rng, &at)) return false;
    for (size_t i = 0; i < h->count; i++) {
        h->files[i].bytes = (struct buf){0};
        enum status status =
            disk_read_file(disk, h->files[i].path, 64 << 20, &h->files[i].bytes, &err);
        RIG_CHECK(status == OK, "%s", err.msg);
    }
    snprintf(h->path, sizeof h->path, "%s", h->files[at].path);
    allowed_make(h, at, disk);
    RIG_CHECK(h->files[at].bytes.len > 0, "%s is empty", h->path);
    file_harm(h, rig, buf_sv(&h->files[at].bytes));
    return true;
}
