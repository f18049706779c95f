/* SPDX-License-Identifier: Apache-2.0 */
/* Which files of the log there must be: <dir>/OLDEST and <dir>/NEWEST, each the header of a file
 * (log.h) with the first frame of the file it is about. A file that is missing before the oldest
 * one there, or behind the newest, would leave no trace else.
 *
 * NEWEST is replaced when a file has been started, before a frame counts on it; OLDEST when the log
 * begins, and before files are removed. So there may be more files than they say. One that is
 * missing or bad is named, and made anew. Thread: NEWEST is the log core's, OLDEST the worker's
 * that removes files; both are read at a start. */
#include <inttypes.h>
#include <stdio.h>

#include "node/base/log.h"
#include "storage/log_internal.h"

static void end_path(const struct log *log, const char *name, char out[LOG_PATH_MAX]) {
    snprintf(out, LOG_PATH_MAX, "%s/%s", log->dir, name);
}

static enum status end_save(const struct log *log, const char *name, uint64_t first_frame,
                            struct err *err) {
    char path[LOG_PATH_MAX];
    uint8_t bytes[LOG_HEADER_BYTES];
    end_path(log, name, path);
    log_file_header_put(&(struct log_file_header){.first_frame = first_frame}, bytes);
    return disk_write_file(log->rt->disk, path, sv_make(bytes, sizeof bytes), err);
}

/* 0: it does not say. */
static enum status end_load(const struct log *log, const char *name, uint64_t *out,
                            struct err *err) {
    char path[LOG_PATH_MAX];
    struct buf bytes = {0};
    struct log_file_header header = {0};
    *out = 0;
    end_path(log, name, path);
    if (!disk_exists(log->rt->disk, path)) return OK;
    enum status status = disk_read_file(log->rt->disk, path, LOG_PATH_MAX, &bytes, err);
    if (status == ERR_LIMIT) status = err_set(err, ERR_CORRUPT, 0, "too long");
    if (status == OK)
        status = bytes.len == LOG_HEADER_BYTES
                     ? log_file_header_get((const uint8_t *)bytes.ptr, &header, err)
                     : err_set(err, ERR_CORRUPT, 0, "%zu bytes", bytes.len);
    buf_fini(&bytes);
    if (status == OK) *out = header.first_frame;
    if (status != ERR_CORRUPT) return status == OK ? OK : err_prefix(err, "%s", path);
    log_errorf("a file of the log is damaged; files that are missing may go unnoticed", "err",
               "%s: %s", path, err->msg);
    return OK;
}

enum status log_ends_load(const struct log *log, struct log_ends *out, struct err *err) {
    TRY(end_load(log, "OLDEST", &out->oldest, err));
    return end_load(log, "NEWEST", &out->newest, err);
}

enum status log_oldest_save(const struct log *log, uint64_t first_frame, struct err *err) {
    return end_save(log, "OLDEST", first_frame, err);
}

enum status log_newest_save(const struct log *log, uint64_t first_frame, struct err *err) {
    return end_save(log, "NEWEST", first_frame, err);
}
