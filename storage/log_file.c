/* SPDX-License-Identifier: Apache-2.0 */
#include <assert.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "node/base/bytes.h"
#include "node/base/hash.h"
#include "storage/log_internal.h"

void log_file_path(const struct log *log, uint64_t first_frame, char out[LOG_PATH_MAX]) {
    int n = snprintf(out, LOG_PATH_MAX, "%s/log-%016" PRIx64, log->dir, first_frame);
    assert(n > 0 && n < LOG_PATH_MAX); /* log_open checked the directory's length */
}

bool log_file_name_parse(const char *name, uint64_t *out_first_frame) {
    if (strlen(name) != LOG_NAME_LEN || strncmp(name, "log-", 4) != 0) return false;
    uint64_t v = 0;
    for (const char *p = name + 4; *p != '\0'; p++) {
        bool digit = *p >= '0' && *p <= '9', letter = *p >= 'a' && *p <= 'f';
        if (!digit && !letter) return false;
        v = v << 4 | (uint64_t)(digit ? *p - '0' : *p - 'a' + 10);
    }
    *out_first_frame = v;
    return v >= 1 && v <= INT64_MAX; /* numbers behind it can be counted on without overflow */
}

void log_file_header_put(const struct log_file_header *h, uint8_t out[LOG_HEADER_BYTES]) {
    memcpy(out, LOG_FILE_MAGIC, 8);
    uint16_t version = (h->flags & LOG_FILE_PACKED) != 0 ? LOG_FORMAT_VERSION : LOG_FORMAT_PLAIN;
    put_u16le(out + 8, version);
    put_u16le(out + 10, version);
    put_u32le(out + 12, h->flags);
    put_u64le(out + 16, h->first_frame);
    put_u64le(out + 24, hash64(out, 24, 0));
}

enum status log_file_header_get(const uint8_t bytes[LOG_HEADER_BYTES], struct log_file_header *out,
                                struct err *err) {
    if (memcmp(bytes, LOG_FILE_MAGIC, 8) != 0 || get_u64le(bytes + 24) != hash64(bytes, 24, 0)) {
        return err_set(err, ERR_CORRUPT, 0, "bad file header");
    }
    if (get_u16le(bytes + 10) > LOG_FORMAT_VERSION) {
        return err_set(
            err, ERR_UNSUPPORTED, 0,
            "written in format %u, which asks for a reader of format %u; this build has %u",
            get_u16le(bytes + 8), get_u16le(bytes + 10), LOG_FORMAT_VERSION);
    }
    *out = (struct log_file_header){get_u32le(bytes + 12), get_u64le(bytes + 16)};
    return OK;
}

struct log_names {
    uint64_t *firsts;
    size_t count, cap;
    bool nomem;
};

static bool log_on_name(void *ctx, const char *name) {
    struct log_names *names = ctx;
    uint64_t first;
    if (!log_file_name_parse(name, &first)) return true;
    if (names->count == names->cap) {
        size_t cap = MAX(names->cap * 2, 16);
        uint64_t *p = realloc(names->firsts, cap * sizeof *p);
        if (p == NULL) {
            names->nomem = true;
            return false;
        }
        names->firsts = p;
        names->cap = cap;
    }
    names->firsts[names->count++] = first; /* the names are sorted and as wide as each other */
    return true;
}

enum status log_file_list(const struct log *log, uint64_t **out, size_t *out_count,
                          struct err *err) {
    struct log_names names = {0};
    enum status status = disk_list(log->rt->disk, log->dir, log_on_name, &names, err);
    if (status == OK && names.nomem) {
        status = err_set(err, ERR_NOMEM, 0, "not enough memory for the file names");
    }
    if (status != OK) {
        free(names.firsts);
        return status;
    }
    *out = names.firsts;
    *out_count = names.count;
    return OK;
}

static enum status file_fill(struct log *log, uint64_t first_frame, struct sv frame,
                             struct file *file, struct err *err) {
    struct log_file_header header = {.flags = log->options.sync_every_frame ? 0 : LOG_FILE_LAZY,
                                     .first_frame = first_frame};
    uint8_t bytes[LOG_HEADER_BYTES];
    log_file_header_put(&header, bytes);
    TRY(file_truncate(file, 0, err)); /* a start that was cut short may have left it */
    TRY(file_pwrite(file, bytes, sizeof bytes, 0, err));
    if (frame.len > 0) TRY(file_pwrite(file, frame.ptr, frame.len, sizeof bytes, err));
    enum status status = file_sync(file, err);
    log->sync_failed = log->sync_failed || status != OK;
    return status;
}

enum status log_file_start(struct log *log, uint64_t first_frame, struct sv frame,
                           struct err *err) {
    char path[LOG_PATH_MAX], path_new[LOG_PATH_MAX];
    log_file_path(log, first_frame, path);
    int n = snprintf(path_new, sizeof path_new, "%s/log.new", log->dir);
    assert(n > 0 && n < LOG_PATH_MAX);
    struct disk *disk = log->rt->disk;
    struct file *file;
    TRY(disk_open(disk, path_new, DISK_READ | DISK_WRITE | DISK_CREATE, &file, err));
    enum status status = file_fill(log, first_frame, frame, file, err);
    if (status == OK) status = disk_rename(disk, path_new, path, err);
#ifndef PLANT_LOG_NO_DIR_SYNC
    if (status == OK) {
        status = disk_sync_dir(disk, log->dir, err);
        log->sync_failed = status != OK;
    }
    if (status == OK) status = log_newest_save(log, first_frame, err);
#endif
    if (status != OK) {
        file_close(file);
        return status;
    }
    file_close(log->file);
    log->file = file;
    log->file_first = first_frame;
    log->file_bytes = LOG_HEADER_BYTES + frame.len;
    log->total_bytes += log->file_bytes;
    return OK;
}

static uint64_t payload_hash(const uint8_t *p, size_t len, uint64_t seed) {
#ifdef PLANT_LOG_CHECKSUM_SHORT
    len /= 2;
#endif
    return hash64(p, len, seed);
}

void log_frame_header_put(uint32_t magic, uint64_t number, struct sv payload,
                          uint8_t out[LOG_FRAME_HEADER_BYTES]) {
    assert(payload.len <= UINT32_MAX);
    put_u32le(out, magic);
    put_u32le(out + 4, (uint32_t)payload.len);
    put_u64le(out + 8, number);
    uint64_t seed = hash64(out, 16, 0);
    put_u64le(out + 16, payload_hash((const uint8_t *)payload.ptr, payload.len, seed));
}

void log_frame_seal(struct buf *frame, uint64_t number) {
    struct sv payload = sv_skip(buf_sv(frame), LOG_FRAME_HEADER_BYTES);
    assert(payload.len > 0);
    log_frame_header_put(LOG_FRAME_MAGIC, number, payload, (uint8_t *)frame->ptr);
}

bool log_frame_is_good(const uint8_t *p, uint64_t len, uint32_t magic) {
    if (len <= LOG_FRAME_HEADER_BYTES || get_u32le(p) != magic) return false;
    uint64_t payload_len = get_u32le(p + 4);
    if (payload_len == 0 || payload_len > len - LOG_FRAME_HEADER_BYTES) return false;
    uint64_t seed = hash64(p, 16, 0);
    return get_u64le(p + 16) == payload_hash(p + LOG_FRAME_HEADER_BYTES, (size_t)payload_len, seed);
}

/* -- what is not needed any more */

static enum status file_remove(const struct log *log, uint64_t first, uint64_t *bytes,
                               struct err *err) {
    char path[LOG_PATH_MAX];
    struct file *file;
    uint64_t size;
    log_file_path(log, first, path);
    TRY(disk_open(log->rt->disk, path, DISK_READ, &file, err));
    enum status status = file_size(file, &size, err);
    file_close(file);
    TRY(status);
    TRY(disk_unlink(log->rt->disk, path, err));
    *bytes += size;
    return disk_sync_dir(log->rt->disk, log->dir, err);
}

enum status log_remove_before(const struct log *log, uint64_t file, uint64_t *out_files,
                              uint64_t *out_bytes, struct err *err) {
    uint64_t *firsts;
    size_t count;
    *out_files = *out_bytes = 0;
    TRY(log_file_list(log, &firsts, &count, err));
    size_t going = 0;
    /* A file ends ahead of the frame with which the next one begins. */
    while (going + 1 < count && firsts[going + 1] <= file)
        going++;
    enum status status = going > 0 ? log_oldest_save(log, firsts[going], err) : OK;
    for (size_t i = 0; i < going && status == OK; i++) {
        status = file_remove(log, firsts[i], out_bytes, err);
        if (status == OK) (*out_files)++;
    }
    free(firsts);
    return status;
}

void log_removed(struct log *log, uint64_t bytes) {
    assert(core_is_current(log->rt->log_core));
    log->total_bytes -= MIN(bytes, log->total_bytes);
    metric_set(log->metrics.size_bytes, (double)log->total_bytes);
}

uint64_t log_current_file(const struct log *log) {
    return log->file_first;
}
