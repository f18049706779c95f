/* SPDX-License-Identifier: Apache-2.0 */
#include "node/runtime/disk.h"

#include <assert.h>
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "node/base/buf.h"

enum status disk_open(struct disk *d, const char *path, int flags, struct file **out,
                      struct err *err) {
    assert((flags & (DISK_READ | DISK_WRITE)) != 0);
    assert((flags & DISK_CREATE) == 0 || (flags & DISK_WRITE) != 0);
    assert((flags & DISK_EXCLUSIVE) == 0 || (flags & DISK_CREATE) != 0);
    return d->ops->open(d, path, flags, out, err);
}

enum status disk_mkdir(struct disk *d, const char *path, struct err *err) {
    assert(path[0] != '\0');
    return d->ops->mkdir(d, path, err);
}

enum status disk_rename(struct disk *d, const char *from, const char *to, struct err *err) {
    return d->ops->rename(d, from, to, err);
}

enum status disk_unlink(struct disk *d, const char *path, struct err *err) {
    return d->ops->unlink(d, path, err);
}

enum status disk_link(struct disk *d, const char *from, const char *to, struct err *err) {
    return d->ops->link(d, from, to, err);
}

enum status disk_sync_dir(struct disk *d, const char *path, struct err *err) {
    return d->ops->sync_dir(d, path, err);
}

enum status disk_list(struct disk *d, const char *path, bool (*fn)(void *ctx, const char *name),
                      void *ctx, struct err *err) {
    assert(fn != NULL);
    return d->ops->list(d, path, fn, ctx, err);
}

bool disk_exists(struct disk *d, const char *path) {
    return d->ops->exists(d, path);
}

enum status disk_space(struct disk *d, const char *path, uint64_t *out_free_bytes,
                       struct err *err) {
    return d->ops->space(d, path, out_free_bytes, err);
}

enum status disk_lock(struct disk *d, const char *path, struct file **out, struct err *err) {
    return d->ops->lock(d, path, out, err);
}

enum status file_pwrite(struct file *f, const void *p, size_t len, uint64_t offset,
                        struct err *err) {
    assert(len == 0 || p != NULL);
    return f->ops->pwrite(f, p, len, offset, err);
}

enum status file_pread(struct file *f, void *p, size_t len, uint64_t offset, size_t *out_len,
                       struct err *err) {
    assert(len == 0 || p != NULL);
    return f->ops->pread(f, p, len, offset, out_len, err);
}

enum status file_sync(struct file *f, struct err *err) {
    return f->ops->sync(f, err);
}

enum status file_truncate(struct file *f, uint64_t size, struct err *err) {
    return f->ops->truncate(f, size, err);
}

enum status file_size(struct file *f, uint64_t *out_size, struct err *err) {
    return f->ops->size(f, out_size, err);
}

void file_close(struct file *f) {
    if (f != NULL) f->ops->close(f);
}

static enum status read_all(struct file *f, size_t limit_bytes, struct buf *out, struct err *err) {
    uint64_t size;
    TRY(file_size(f, &size, err));
    if (size > limit_bytes)
        return err_set(err, ERR_LIMIT, 0,
                       "disk: %s has %" PRIu64 " bytes, more than the limit of %zu", f->path, size,
                       limit_bytes);
    const size_t start = out->len;
    char *p = buf_extend(out, (size_t)size);
    if (p == NULL && size > 0)
        return err_set(err, ERR_NOMEM, 0, "disk: no memory to read %s", f->path);
    size_t got = 0;
    enum status status = size == 0 ? OK : file_pread(f, p, (size_t)size, 0, &got, err);
    out->len = status == OK ? start + got : start; /* shorter when it was truncated meanwhile */
    return status;
}

enum status disk_read_file(struct disk *d, const char *path, size_t limit_bytes, struct buf *out,
                           struct err *err) {
    struct file *f = NULL;
    TRY(disk_open(d, path, DISK_READ, &f, err));
    enum status status = read_all(f, limit_bytes, out, err);
    file_close(f);
    return status;
}

static enum status write_synced(struct disk *d, const char *path, struct sv content,
                                struct err *err) {
    struct file *f = NULL;
    TRY(disk_open(d, path, DISK_WRITE | DISK_CREATE, &f, err));
    enum status status = file_truncate(f, 0, err); /* what an interrupted attempt left */
    if (status == OK) status = file_pwrite(f, content.ptr, content.len, 0, err);
#ifndef PLANT_REPLACE_NO_SYNC
    if (status == OK) status = file_sync(f, err);
#endif
    file_close(f);
    return status;
}

/* "a/b" -> "a", "/b" -> "/", "b" -> "."; owned by the caller, NULL without memory. */
static char *path_parent(const char *path) {
    const char *slash = strrchr(path, '/');
    if (slash == NULL) return strdup(".");
    return slash == path ? strdup("/") : strndup(path, (size_t)(slash - path));
}

enum status disk_write_file(struct disk *d, const char *path, struct sv content, struct err *err) {
    struct buf tmp = {0};
    buf_printf(&tmp, "%s.tmp", path);
    const char *tmp_path = buf_cstr(&tmp);
    char *parent = path_parent(path);
    enum status status = OK;
    if (tmp_path == NULL || parent == NULL) {
        status = err_set(err, ERR_NOMEM, 0, "disk: no memory to write %s", path);
    } else {
        status = write_synced(d, tmp_path, content, err);
        if (status == OK) status = disk_rename(d, tmp_path, path, err);
        if (status != OK) status_ignore(disk_unlink(d, tmp_path, NULL));
#ifndef PLANT_REPLACE_NO_DIR_SYNC
        if (status == OK) status = disk_sync_dir(d, parent, err);
#endif
    }
    free(parent);
    buf_fini(&tmp);
    return status;
}
