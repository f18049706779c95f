/* SPDX-License-Identifier: Apache-2.0 */
/* tests/storage/import/memory_disk.h: a disk on which every name is the same bytes, to read. */
#pragma once

#include <stdlib.h>
#include <string.h>

#include "node/base/attr.h"
#include "node/runtime/disk.h"

struct memory_disk {
    struct disk disk;
    const uint8_t *bytes;
    size_t len;
};

struct memory_file {
    struct file file;
    const struct memory_disk *disk;
};

static enum status memory_pread(struct file *f, void *p, size_t len, uint64_t offset,
                                size_t *out_len, UNUSED struct err *err) {
    const struct memory_disk *d = container_of(f, struct memory_file, file)->disk;
    size_t left = offset < d->len ? d->len - (size_t)offset : 0;
    *out_len = left < len ? left : len;
    if (*out_len > 0) memcpy(p, d->bytes + offset, *out_len);
    return OK;
}

static enum status memory_size(struct file *f, uint64_t *out, UNUSED struct err *err) {
    *out = container_of(f, struct memory_file, file)->disk->len;
    return OK;
}

static void memory_close(struct file *f) {
    free(f);
}

static const struct file_ops memory_file_ops = {
    .pread = memory_pread, .size = memory_size, .close = memory_close};

static enum status memory_open(struct disk *d, UNUSED const char *path, UNUSED int flags,
                               struct file **out, UNUSED struct err *err) {
    static char name[] = "memory";
    struct memory_file *f = malloc(sizeof *f);
    if (f == NULL) abort();
    *f = (struct memory_file){{&memory_file_ops, name}, container_of(d, struct memory_disk, disk)};
    *out = &f->file;
    return OK;
}

static bool memory_exists(UNUSED struct disk *d, UNUSED const char *path) {
    return true;
}

static const struct disk_ops memory_disk_ops = {.open = memory_open, .exists = memory_exists};

static inline struct memory_disk memory_disk(const void *bytes, size_t len) {
    return (struct memory_disk){{&memory_disk_ops}, bytes, len};
}
