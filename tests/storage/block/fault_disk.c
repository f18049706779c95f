/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/storage/block/fault_disk.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "node/base/attr.h"

struct fault_file {
    struct file file;
    struct file *inner;
    struct fault_disk *disk;
};

static enum status fault(struct fault_disk *d, const char *path, struct err *err) {
    if (++d->calls != d->fail_at) return OK;
    return err_set(err, ERR_IO, d->fail_errno, "%s: call %llu", path, (unsigned long long)d->calls);
}
/* Of a call that changes something. */
static enum status fault_change(struct fault_disk *d, const char *path, struct err *err) {
    return d->reads_only ? OK : fault(d, path, err);
}
/* Of a call that takes room. */
static enum status fault_room(struct fault_disk *d, const char *path, struct err *err) {
    if (!d->full) return fault_change(d, path, err);
    d->full_hits++;
    return err_set(err, ERR_IO, ENOSPC, "%s", path);
}
static struct fault_disk *disk_of(struct disk *d) {
    return container_of(d, struct fault_disk, disk);
}
static struct fault_file *file_of(struct file *f) {
    return container_of(f, struct fault_file, file);
}

static enum status on_pwrite(struct file *f, const void *p, size_t len, uint64_t offset,
                             struct err *err) {
    TRY(fault_room(file_of(f)->disk, f->path, err));
    return file_pwrite(file_of(f)->inner, p, len, offset, err);
}
static enum status on_pread(struct file *f, void *p, size_t len, uint64_t offset, size_t *out_len,
                            struct err *err) {
    TRY(fault(file_of(f)->disk, f->path, err));
    return file_pread(file_of(f)->inner, p, len, offset, out_len, err);
}
static enum status on_sync(struct file *f, struct err *err) {
    TRY(fault_change(file_of(f)->disk, f->path, err));
    return file_sync(file_of(f)->inner, err);
}
static enum status on_truncate(struct file *f, uint64_t size, struct err *err) {
    TRY(fault_change(file_of(f)->disk, f->path, err));
    return file_truncate(file_of(f)->inner, size, err);
}
static enum status on_size(struct file *f, uint64_t *out, struct err *err) {
    TRY(fault(file_of(f)->disk, f->path, err));
    return file_size(file_of(f)->inner, out, err);
}
static void on_close(struct file *f) {
    struct fault_file *file = file_of(f);
    file_close(file->inner);
    free(file);
}
static const struct file_ops file_ops = {.pwrite = on_pwrite,
                                         .pread = on_pread,
                                         .sync = on_sync,
                                         .truncate = on_truncate,
                                         .size = on_size,
                                         .close = on_close};

static enum status on_open(struct disk *d, const char *path, int flags, struct file **out,
                           struct err *err) {
    const char *denied = disk_of(d)->denied;
    TRY(fault(disk_of(d), path, err));
    if (denied != NULL && strcmp(denied, path) == 0)
        return err_set(err, ERR_IO, EACCES, "%s", path);
    if (disk_of(d)->full && (flags & DISK_CREATE) != 0 && !disk_exists(disk_of(d)->inner, path))
        TRY(fault_room(disk_of(d), path, err));
    struct fault_file *f = calloc(1, sizeof *f);
    if (f == NULL) abort();
    enum status status = disk_open(disk_of(d)->inner, path, flags, &f->inner, err);
    if (status != OK) {
        free(f);
        return status;
    }
    f->file = (struct file){&file_ops, f->inner->path};
    f->disk = disk_of(d);
    *out = &f->file;
    return OK;
}
static enum status on_rename(struct disk *d, const char *from, const char *to, struct err *err) {
    TRY(fault_change(disk_of(d), from, err));
    return disk_rename(disk_of(d)->inner, from, to, err);
}
static enum status on_unlink(struct disk *d, const char *path, struct err *err) {
    TRY(fault_change(disk_of(d), path, err));
    return disk_unlink(disk_of(d)->inner, path, err);
}
static enum status on_sync_dir(struct disk *d, const char *path, struct err *err) {
    TRY(fault_change(disk_of(d), path, err));
    return disk_sync_dir(disk_of(d)->inner, path, err);
}
static enum status on_mkdir(struct disk *d, const char *path, struct err *err) {
    TRY(fault_change(disk_of(d), path, err));
    return disk_mkdir(disk_of(d)->inner, path, err);
}
static enum status on_link(struct disk *d, const char *from, const char *to, struct err *err) {
    TRY(fault_change(disk_of(d), from, err));
    return disk_link(disk_of(d)->inner, from, to, err);
}
static enum status on_list(struct disk *d, const char *path,
                           bool (*fn)(void *ctx, const char *name), void *ctx, struct err *err) {
    TRY(fault(disk_of(d), path, err));
    return disk_list(disk_of(d)->inner, path, fn, ctx, err);
}
static bool on_exists(struct disk *d, const char *path) {
    return disk_exists(disk_of(d)->inner, path);
}
static enum status on_space(struct disk *d, const char *path, uint64_t *out, struct err *err) {
    TRY(fault(disk_of(d), path, err));
    return disk_space(disk_of(d)->inner, path, out, err);
}
static enum status on_lock(struct disk *d, const char *path, struct file **out, struct err *err) {
    const char *denied = disk_of(d)->denied;
    TRY(fault(disk_of(d), path, err));
    if (denied != NULL && strcmp(denied, path) == 0)
        return err_set(err, ERR_IO, EACCES, "%s", path);
    return disk_lock(disk_of(d)->inner, path, out, err);
}
static const struct disk_ops disk_ops = {on_open,     on_mkdir, on_rename, on_unlink, on_link,
                                         on_sync_dir, on_list,  on_exists, on_space,  on_lock};

void fault_disk_init(struct fault_disk *d, struct disk *inner) {
    *d = (struct fault_disk){.disk = {&disk_ops}, .inner = inner};
}
