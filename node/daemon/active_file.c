/* SPDX-License-Identifier: Apache-2.0 */
#include "node/daemon/active_file.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "node/base/log.h"
#include "node/runtime/disk.h"

enum { FILE_BYTES_MAX = 1 << 30 };

static void log_left(const char *path) {
    struct buf file = {0}, left = {0};
    struct err err;
    if (disk_read_file(disk_real(), path, FILE_BYTES_MAX, &file, &err) == OK &&
        active_put_left(buf_sv(&file), &left) > 0 && buf_cstr(&left) != NULL)
        log_warn("These queries didn't finish in cairn's last run:", "queries", left.ptr);
    buf_fini(&file);
    buf_fini(&left);
}

/* 0 or errno. All blocks exist before the file is mapped: a full disk must not be a signal in a
 * query. */
static int map_file(struct active_file *a) {
    int fd = open(a->path, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0666);
    if (fd < 0) return errno;
    int rc = posix_fallocate(fd, 0, (off_t)a->len_bytes);
    void *p =
        rc != 0 ? MAP_FAILED : mmap(NULL, a->len_bytes, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    if (rc == 0 && p == MAP_FAILED) rc = errno;
    close(fd);
    if (rc != 0) return rc;
    memset(p, 0, a->len_bytes);
    a->active.bytes = p;
    a->active.bytes[0] = '[';
    return 0;
}

void active_file_open(struct active_file *a, const char *data_dir, unsigned cores,
                      unsigned per_core) {
    *a = (struct active_file){.active.per_core = per_core,
                              .len_bytes = active_bytes(cores, per_core)};
    snprintf(a->path, sizeof a->path, "%s/queries.active", data_dir);
    log_left(a->path);
    int rc = map_file(a);
    if (rc != 0)
        log_warn("running queries are not kept for the next start", "file", a->path, "err",
                 strerror(rc));
}

void active_file_close(struct active_file *a) {
    if (a->active.bytes == NULL) return;
    munmap(a->active.bytes, a->len_bytes);
    a->active.bytes = NULL;
    unlink(a->path);
}
