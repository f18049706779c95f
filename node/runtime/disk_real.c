/* SPDX-License-Identifier: Apache-2.0 */
/* node/runtime/disk_real.c: the operating system's files. Statuses: what is missing is
 * ERR_UNAVAILABLE, what is there but must not be is ERR_CONFLICT, all else ERR_IO with errno; every
 * text names the path. */
#include <assert.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include "node/base/attr.h"
#include "node/runtime/disk.h"

struct real_file {
    struct file file; /* at offset 0 */
    int fd;
};

static int file_fd(struct file *f) {
    return container_of(f, struct real_file, file)->fd;
}

static enum status os_error(struct err *err, int os, const char *verb, const char *path) {
    enum status code = ERR_IO;
    if (os == ENOENT) code = ERR_UNAVAILABLE;
    if (os == EEXIST) code = ERR_CONFLICT;
    return err_set(err, code, os, "disk: %s %s", verb, path);
}

/* ---- file ---- */

static enum status real_pwrite(struct file *f, const void *p, size_t len, uint64_t offset,
                               struct err *err) {
    const char *cur = p;
    uint64_t end;
    if (__builtin_add_overflow(offset, len, &end) || end > INT64_MAX)
        return err_set(err, ERR_IO, EFBIG, "disk: write %s at %" PRIu64, f->path, offset);
    while (len > 0) {
        ssize_t n = pwrite(file_fd(f), cur, len, (off_t)offset);
        if (n < 0 && errno == EINTR) continue;
        if (n < 0)
            return err_set(err, ERR_IO, errno, "disk: write %s at %" PRIu64, f->path, offset);
        if (n == 0)
            return err_set(err, ERR_IO, ENOSPC, "disk: write %s at %" PRIu64, f->path, offset);
        cur += n;
        offset += (uint64_t)n;
        len -= (size_t)n;
    }
    return OK;
}

static enum status real_pread(struct file *f, void *p, size_t len, uint64_t offset, size_t *out_len,
                              struct err *err) {
    char *cur = p;
    size_t got = 0;
    if (offset > INT64_MAX - len)
        return err_set(err, ERR_IO, EINVAL, "disk: read %s at %" PRIu64, f->path, offset);
    while (got < len) {
        ssize_t n = pread(file_fd(f), cur + got, len - got, (off_t)(offset + got));
        if (n < 0 && errno == EINTR) continue;
        if (n < 0)
            return err_set(err, ERR_IO, errno, "disk: read %s at %" PRIu64, f->path, offset + got);
        if (n == 0) break;
        got += (size_t)n;
    }
    *out_len = got;
    return OK;
}

/* EINTR: the state of the data is unknown only after other errors, so asking again is sound. */
static enum status real_sync(struct file *f, struct err *err) {
    while (fdatasync(file_fd(f)) != 0)
        if (errno != EINTR) return err_set(err, ERR_IO, errno, "disk: sync %s", f->path);
    return OK;
}

static enum status real_truncate(struct file *f, uint64_t size, struct err *err) {
    if (size > INT64_MAX)
        return err_set(err, ERR_IO, EFBIG, "disk: truncate %s to %" PRIu64, f->path, size);
    while (ftruncate(file_fd(f), (off_t)size) != 0)
        if (errno != EINTR)
            return err_set(err, ERR_IO, errno, "disk: truncate %s to %" PRIu64, f->path, size);
    return OK;
}

static enum status real_size(struct file *f, uint64_t *out_size, struct err *err) {
    struct stat st;
    if (fstat(file_fd(f), &st) != 0)
        return err_set(err, ERR_IO, errno, "disk: size of %s", f->path);
    *out_size = (uint64_t)st.st_size;
    return OK;
}

static void real_close(struct file *f) {
    struct real_file *rf = container_of(f, struct real_file, file);
    close(rf->fd); /* after EINTR the descriptor is gone too (Linux) */
    free(f->path);
    free(rf);
}

static const struct file_ops real_file_ops = {
    .pwrite = real_pwrite,
    .pread = real_pread,
    .sync = real_sync,
    .truncate = real_truncate,
    .size = real_size,
    .close = real_close,
};

/* ---- disk ---- */

static int open_retrying(const char *path, int oflags) {
    for (;;) {
        int fd = open(path, oflags | O_CLOEXEC, 0666);
        if (fd >= 0 || errno != EINTR) return fd;
    }
}

static enum status real_open(struct disk *d, const char *path, int flags, struct file **out,
                             struct err *err) {
    (void)d;
    int oflags = O_RDONLY;
    if ((flags & DISK_WRITE) != 0) oflags = (flags & DISK_READ) != 0 ? O_RDWR : O_WRONLY;
    if ((flags & DISK_CREATE) != 0) oflags |= O_CREAT;
    if ((flags & DISK_EXCLUSIVE) != 0) oflags |= O_EXCL;
    struct real_file *rf = calloc(1, sizeof *rf);
    if (rf == NULL || (rf->file.path = strdup(path)) == NULL) {
        free(rf);
        return err_set(err, ERR_NOMEM, 0, "disk: no memory to open %s", path);
    }
    rf->file.ops = &real_file_ops;
    rf->fd = open_retrying(path, oflags);
    if (rf->fd < 0) {
        enum status status =
            os_error(err, errno, (flags & DISK_CREATE) != 0 ? "create" : "open", path);
        free(rf->file.path);
        free(rf);
        return status;
    }
    *out = &rf->file;
    return OK;
}

static enum status real_mkdir(struct disk *d, const char *path, struct err *err) {
    (void)d;
    char *partial = strdup(path);
    if (partial == NULL) return err_set(err, ERR_NOMEM, 0, "disk: no memory to create %s", path);
    const size_t len = strlen(partial);
    enum status status = OK;
    for (size_t i = 1; i <= len && status == OK; i++) {
        if (partial[i] != '/' && partial[i] != '\0') continue;
        char cut = partial[i];
        partial[i] = '\0';
        struct stat st;
        if (mkdir(partial, 0777) != 0) {
            int os = errno;
            /* also a parent on a read-only file system that is there is fine */
            if (stat(partial, &st) != 0)
                status = os_error(err, os, "create directory", partial);
            else if (!S_ISDIR(st.st_mode))
                status = os_error(err, ENOTDIR, "create directory", partial);
        }
        partial[i] = cut;
    }
    free(partial);
    return status;
}

static enum status real_rename(struct disk *d, const char *from, const char *to, struct err *err) {
    (void)d;
    if (rename(from, to) == 0) return OK;
    int os = errno;
    return err_set(err, os == ENOENT ? ERR_UNAVAILABLE : ERR_IO, os, "disk: rename %s to %s", from,
                   to);
}

static enum status real_unlink(struct disk *d, const char *path, struct err *err) {
    (void)d;
    if (unlink(path) == 0 || errno == ENOENT) return OK;
    return os_error(err, errno, "remove", path);
}

static enum status real_link(struct disk *d, const char *from, const char *to, struct err *err) {
    (void)d;
    if (link(from, to) == 0) return OK;
    int os = errno;
    enum status status = ERR_IO;
    if (os == EEXIST) status = ERR_CONFLICT;
    if (os == ENOENT) status = ERR_UNAVAILABLE;
    return err_set(err, status, os, "disk: link %s to %s", from, to);
}

static enum status real_sync_dir(struct disk *d, const char *path, struct err *err) {
    (void)d;
    int fd = open_retrying(path, O_RDONLY | O_DIRECTORY);
    if (fd < 0) return os_error(err, errno, "open directory", path);
    enum status status = OK;
    while (status == OK && fsync(fd) != 0)
        if (errno != EINTR) status = os_error(err, errno, "sync directory", path);
    close(fd);
    return status;
}

struct names {
    char **names;
    size_t count, cap;
};

static void names_fini(struct names *n) {
    for (size_t i = 0; i < n->count; i++)
        free(n->names[i]);
    free(n->names);
}

static bool names_add(struct names *n, const char *name) {
    if (n->count == n->cap) {
        size_t cap = n->cap == 0 ? 64 : n->cap * 2;
        char **grown = reallocarray(n->names, cap, sizeof *grown);
        if (grown == NULL) return false;
        n->names = grown;
        n->cap = cap;
    }
    char *copy = strdup(name);
    if (copy == NULL) return false;
    n->names[n->count++] = copy;
    return true;
}

static int name_cmp(const void *a, const void *b) {
    return strcmp(*(char *const *)a, *(char *const *)b);
}

static enum status names_read(struct names *n, DIR *dir, const char *path, struct err *err) {
    for (;;) {
        errno = 0;
        const struct dirent *entry = readdir(dir);
        if (entry == NULL) break;
        if (strcmp(entry->d_name, ".") == 0 || strcmp(entry->d_name, "..") == 0) continue;
        if (!names_add(n, entry->d_name))
            return err_set(err, ERR_NOMEM, 0, "disk: no memory to list %s", path);
    }
    return errno == 0 ? OK : os_error(err, errno, "list", path);
}

static enum status real_list(struct disk *d, const char *path,
                             bool (*fn)(void *ctx, const char *name), void *ctx, struct err *err) {
    (void)d;
    DIR *dir = opendir(path);
    if (dir == NULL) return os_error(err, errno, "list", path);
    struct names names = {0};
    enum status status = names_read(&names, dir, path, err);
    closedir(dir);
    if (status == OK && names.count > 0)
        qsort(names.names, names.count, sizeof names.names[0], name_cmp);
    for (size_t i = 0; status == OK && i < names.count; i++)
        if (!fn(ctx, names.names[i])) break;
    names_fini(&names);
    return status;
}

static bool real_exists(struct disk *d, const char *path) {
    (void)d;
    struct stat st;
    return stat(path, &st) == 0;
}

static enum status real_space(struct disk *d, const char *path, uint64_t *out_free_bytes,
                              struct err *err) {
    (void)d;
    struct statvfs vfs;
    while (statvfs(path, &vfs) != 0)
        if (errno != EINTR) return os_error(err, errno, "free space of", path);
    uint64_t bytes;
    if (__builtin_mul_overflow((uint64_t)vfs.f_bavail, (uint64_t)vfs.f_frsize, &bytes))
        bytes = UINT64_MAX;
    *out_free_bytes = bytes;
    return OK;
}

/* An open-file-description lock: unlike a process's lock it does not vanish when the same process
 * opens and closes the file elsewhere, and it conflicts inside one process too. NFS maps it to a
 * byte-range lock on the server. */
static enum status real_lock(struct disk *d, const char *path, struct file **out, struct err *err) {
    struct file *f = NULL;
    TRY(real_open(d, path, DISK_READ | DISK_WRITE | DISK_CREATE, &f, err));
    struct flock fl = {.l_type = F_WRLCK, .l_whence = SEEK_SET};
    while (fcntl(file_fd(f), F_OFD_SETLK, &fl) != 0) {
        int os = errno;
        if (os == EINTR) continue;
        real_close(f);
        if (os == EAGAIN || os == EACCES)
            return err_set(err, ERR_CONFLICT, 0, "disk: %s is locked by another process", path);
        return os_error(err, os, "lock", path);
    }
    *out = f;
    return OK;
}

struct disk *disk_real(void) {
    static const struct disk_ops ops = {
        .open = real_open,
        .mkdir = real_mkdir,
        .rename = real_rename,
        .unlink = real_unlink,
        .link = real_link,
        .sync_dir = real_sync_dir,
        .list = real_list,
        .exists = real_exists,
        .space = real_space,
        .lock = real_lock,
    };
    static struct disk disk = {.ops = &ops};
    return &disk;
}
