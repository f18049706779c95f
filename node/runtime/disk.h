/* SPDX-License-Identifier: Apache-2.0 */
/* node/runtime/disk.h: files behind a small interface, so that a test can lose power at any call.
 * All calls block: use them from the log core, from a worker, or at start-up, never from a data
 * core's or the control core's handler. Durability: file bytes are durable after file_sync, names
 * (create, rename, unlink, link) after disk_sync_dir. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "node/base/status.h"
#include "node/base/sv.h"

enum disk_open_flags {
    DISK_READ = 1,
    DISK_WRITE = 2,
    DISK_CREATE = 4, /* when missing; with DISK_EXCLUSIVE fail with ERR_CONFLICT when present */
    DISK_EXCLUSIVE = 8,
};

struct disk;
struct file;
struct disk_ops {
    enum status (*open)(struct disk *d, const char *path, int flags, struct file **out,
                        struct err *err);
    enum status (*mkdir)(struct disk *d, const char *path,
                         struct err *err); /* OK when it is there; parents too */
    enum status (*rename)(struct disk *d, const char *from, const char *to,
                          struct err *err);                                   /* replaces */
    enum status (*unlink)(struct disk *d, const char *path, struct err *err); /* OK when missing */
    /* A second name of the same file. ERR_CONFLICT when `to` is there, ERR_UNAVAILABLE when `from`
     * is not. */
    enum status (*link)(struct disk *d, const char *from, const char *to, struct err *err);
    enum status (*sync_dir)(struct disk *d, const char *path, struct err *err);
    /* Names in the directory without . and .., sorted; stops when fn returns false. Missing:
     * ERR_UNAVAILABLE. */
    enum status (*list)(struct disk *d, const char *path, bool (*fn)(void *ctx, const char *name),
                        void *ctx, struct err *err);
    bool (*exists)(struct disk *d, const char *path);
    enum status (*space)(struct disk *d, const char *path, uint64_t *out_free_bytes,
                         struct err *err);
    /* Exclusive lock for the process's life (data directory); ERR_CONFLICT when another holds it.
     */
    enum status (*lock)(struct disk *d, const char *path, struct file **out, struct err *err);
};
struct file_ops {
    /* All of it or an error; a short write is retried inside. */
    enum status (*pwrite)(struct file *f, const void *p, size_t len, uint64_t offset,
                          struct err *err);
    /* *out_len < len only at the end of the file. */
    enum status (*pread)(struct file *f, void *p, size_t len, uint64_t offset, size_t *out_len,
                         struct err *err);
    enum status (*sync)(struct file *f, struct err *err); /* fdatasync */
    enum status (*truncate)(struct file *f, uint64_t size, struct err *err);
    enum status (*size)(struct file *f, uint64_t *out_size, struct err *err);
    void (*close)(struct file *f);
};
struct disk {
    const struct disk_ops *ops;
};
struct file {
    const struct file_ops *ops;
    char *path; /* for error texts; owned by the implementation */
};

struct disk *disk_real(void); /* the operating system; a singleton, any thread */

MUST_USE enum status disk_open(struct disk *d, const char *path, int flags, struct file **out,
                               struct err *err);
MUST_USE enum status disk_mkdir(struct disk *d, const char *path, struct err *err);
MUST_USE enum status disk_rename(struct disk *d, const char *from, const char *to, struct err *err);
MUST_USE enum status disk_unlink(struct disk *d, const char *path, struct err *err);
MUST_USE enum status disk_link(struct disk *d, const char *from, const char *to, struct err *err);
MUST_USE enum status disk_sync_dir(struct disk *d, const char *path, struct err *err);
MUST_USE enum status disk_list(struct disk *d, const char *path,
                               bool (*fn)(void *ctx, const char *name), void *ctx, struct err *err);
bool disk_exists(struct disk *d, const char *path);
MUST_USE enum status disk_space(struct disk *d, const char *path, uint64_t *out_free_bytes,
                                struct err *err);
MUST_USE enum status disk_lock(struct disk *d, const char *path, struct file **out,
                               struct err *err);
MUST_USE enum status file_pwrite(struct file *f, const void *p, size_t len, uint64_t offset,
                                 struct err *err);
MUST_USE enum status file_pread(struct file *f, void *p, size_t len, uint64_t offset,
                                size_t *out_len, struct err *err);
MUST_USE enum status file_sync(struct file *f, struct err *err);
MUST_USE enum status file_truncate(struct file *f, uint64_t size, struct err *err);
MUST_USE enum status file_size(struct file *f, uint64_t *out_size, struct err *err);
void file_close(struct file *f); /* accepts NULL */

struct buf;
/* The whole file appended to out; ERR_LIMIT above limit_bytes, ERR_UNAVAILABLE when missing. */
MUST_USE enum status disk_read_file(struct disk *d, const char *path, size_t limit_bytes,
                                    struct buf *out, struct err *err);
/* Atomic replacement: path.tmp, sync, rename, sync of the directory. */
MUST_USE enum status disk_write_file(struct disk *d, const char *path, struct sv content,
                                     struct err *err);
