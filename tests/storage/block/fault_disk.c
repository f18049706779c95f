/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/storage/block/fault_disk.h"

#include <stdlib.h>
#include <string.h>

#include "node/base/attr.h"

struct fault_file {
    struct file file;
    struct file *inner;
    struct fault_disk *disk;
};

static enum status fault(struct fault_disk *d, struct err *err) {
    if (++d->calls != d->fail_at) return OK;
    return err_set(err, ERR_IO, d->fail_errno, "call %llu", (unsigned long long)d->calls);
}
static struct fault_disk *disk_of(struct disk *d) {
    return container_of(d, struct fault_disk, disk);
}
static struct fault_file *file_of(struct file *f) {
    return container_of(f, struct fault_file, file);
}

static enum status on_pwrite(struct file *f, const void *p, size_t len, uint64_t offset,
                             struct err *err) {
    TRY(fault(file_of(f)->disk, err));
    return file_pwrite(file_of(f)->inner, p, len, offset, err);
}
static enum status on_pread(struct file *f, void *p, size_t len, uint64_t offset, size_t *out_len,
                            struct err *err) {
    TRY(fault(file_of(f)->disk, err));
    return file_pread(file_of(f)->inner, p, len, offset, out_len, err);
}
static enum status on_sync(struct file *f, struct err *err) {
    TRY(fault(file_of(f)->disk, err));
    return file_sync(file_of(f)->inner, err);
}
static enum status on_truncate(struct file *f, uint64_t size, struct err *err) {
    TRY(fault(file_of(f)->disk, err));
    return file_truncate(file_of(f)->inner, size, err);
}
static enum status on_size(struct file *f, uint64_t *out, struct err *err) {
    TRY(fault(file_of(f)->disk, err));
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
    TRY(fault(disk_of(d), err));
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
    TRY(fault(disk_of(d), err));
    return disk_rename(disk_of(d)->inner, from, to, err);
}
static enum status on_unlink(struct disk *d, const char *path, struct err *err) {
    TRY(fault(disk_of(d), err));
    return disk_unlink(disk_of(d)->inner, path, err);
}
static enum status on_sync_dir(struct disk *d, const char *path, struct err *err) {
    TRY(fault(disk_of(d), err));
    return disk_sync_dir(disk_of(d)->inner, path, err);
}
static const struct disk_ops disk_ops = {
    .open = on_open, .rename = on_rename, .unlink = on_unlink, .sync_dir = on_sync_dir};

void fault_disk_init(struct fault_disk *d, struct disk *inner) {
    *d = (struct fault_disk){.disk = {&disk_ops}, .inner = inner};
}
