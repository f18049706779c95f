/* SPDX-License-Identifier: Apache-2.0 */
/* A file of the log that is not written to any more is written anew, packed, beside it: read back
 * and compared pack by pack, synced, and renamed onto it. Who has the old one open reads on in it.
 * A file with a damage stays as it is. */
#include <assert.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "node/base/bytes.h"
#include "node/base/cancel.h"
#include "node/base/log.h"
#include "storage/log_internal.h"
#include "storage/log_pack.h"

enum { PACK_BYTES = 4 << 20 };

struct packing {
    const struct log *log;
    const bool *canceled;
    struct log_cursor from;
    struct log_pack *in, *out; /* the writing side, and the reading one */
    struct buf raw;            /* frames of the pack at hand, as log_unpack gives them */
    uint64_t pack_first;       /* its first frame */
    struct file *to;
    uint64_t to_bytes;
    bool whole; /* all frames were good, and it is smaller now */
};

static enum status packing_nomem(struct err *err) {
    return err_set(err, ERR_NOMEM, 0, "not enough memory to pack");
}

static enum status packing_put(struct packing *p, uint32_t magic, uint64_t number, struct sv bytes,
                               struct err *err) {
    uint8_t header[LOG_FRAME_HEADER_BYTES];
    log_frame_header_put(magic, number, bytes, header);
    TRY(file_pwrite(p->to, header, sizeof header, p->to_bytes, err));
    p->to_bytes += sizeof header;
    if (bytes.len > 0) TRY(file_pwrite(p->to, bytes.ptr, bytes.len, p->to_bytes, err));
    p->to_bytes += bytes.len;
    return OK;
}

static enum status packing_flush(struct packing *p, struct err *err) {
    struct sv pack, back;
    uint32_t frames;
    if (p->raw.len == 0) return OK;
    TRY(log_pack_finish(p->in, &pack, err));
    TRY(log_unpack(p->out, pack, &back, &frames, err));
    if (!sv_eq(back, buf_sv(&p->raw)))
        return err_set(err, ERR_CORRUPT, 0, "frames from %" PRIu64 " on do not come back alike",
                       p->pack_first);
    TRY(packing_put(p, LOG_PACK_MAGIC, p->pack_first, pack, err));
    buf_clear(&p->raw);
    return OK;
}

static enum status packing_frame(struct packing *p, struct sv payload, struct err *err) {
    if (p->raw.len == 0) p->pack_first = p->from.expected;
    buf_put_u32(&p->raw, (uint32_t)payload.len);
    buf_put_sv(&p->raw, payload);
    if (p->raw.failed) return packing_nomem(err);
    TRY(log_pack_add(p->in, payload, err));
    return log_pack_pending(p->in) >= PACK_BYTES ? packing_flush(p, err) : OK;
}

static enum status packing_frames(struct packing *p, struct err *err) {
    uint64_t offset = LOG_HEADER_BYTES, len, number;
    for (; p->from.expected < p->from.end_frame; p->from.expected++, offset += len) {
        const uint8_t *at;
        if (offset >= p->from.window.file_bytes) return OK;
        TRY(log_frame_at(&p->from, offset, &len, &number, err));
        if (len == 0 || number != p->from.expected) return OK;
        if (cancel_is_set(p->canceled)) return err_set(err, ERR_CANCELED, 0, "canceled");
        TRY(log_window_need(&p->from.window, offset, (size_t)len, &at, err));
        TRY(packing_frame(p, sv_skip(sv_make(at, (size_t)len), LOG_FRAME_HEADER_BYTES), err));
    }
    TRY(packing_flush(p, err));
    TRY(packing_put(p, LOG_END_MAGIC, p->from.end_frame, SV(""), err));
    p->whole = p->to_bytes < p->from.window.file_bytes;
    return OK;
}

/* Fills the new file; p->whole: it is to take the place of the old one. */
static enum status packing_run(struct packing *p, struct err *err) {
    struct log_window *w = &p->from.window;
    struct log_file_header header;
    uint8_t bytes[LOG_HEADER_BYTES];
    const uint8_t *at;
    TRY(file_size(w->file, &w->file_bytes, err));
    if (w->file_bytes < LOG_HEADER_BYTES) return OK;
    TRY(log_window_need(w, 0, LOG_HEADER_BYTES, &at, err));
    if (log_file_header_get(at, &header, NULL) != OK || header.first_frame != p->from.expected ||
        (header.flags & LOG_FILE_PACKED) != 0)
        return OK;
    p->in = log_pack_new();
    p->out = log_pack_new();
    if (p->in == NULL || p->out == NULL) return packing_nomem(err);
    header.flags |= LOG_FILE_PACKED;
    log_file_header_put(&header, bytes);
    TRY(file_truncate(p->to, 0, err)); /* one that was cut short may have left it */
    TRY(file_pwrite(p->to, bytes, sizeof bytes, 0, err));
    p->to_bytes = sizeof bytes;
    TRY(packing_frames(p, err));
    return p->whole ? file_sync(p->to, err) : OK;
}

/* *out_bytes: by how much the file shrank. */
static enum status file_pack(struct packing *p, const char *path, uint64_t *out_bytes,
                             struct err *err) {
    const struct log *log = p->log;
    struct disk *disk = log->rt->disk;
    char path_new[LOG_PATH_MAX];
    int n = snprintf(path_new, sizeof path_new, "%s/log.packed", log->dir);
    assert(n > 0 && n < LOG_PATH_MAX);
    TRY(disk_open(disk, path, DISK_READ, &p->from.window.file, err));
    enum status status =
        disk_open(disk, path_new, DISK_READ | DISK_WRITE | DISK_CREATE, &p->to, err);
    if (status == OK) status = packing_run(p, err);
    if (status == OK && p->whole) {
        status = disk_rename(disk, path_new, path, err);
        if (status == OK) status = disk_sync_dir(disk, log->dir, err);
        if (status == OK) *out_bytes += p->from.window.file_bytes - p->to_bytes;
    } else {
        status_ignore(disk_unlink(disk, path_new, NULL)); /* the next one writes over it */
    }
    file_close(p->to);
    file_close(p->from.window.file);
    free(p->from.window.ptr);
    buf_fini(&p->raw);
    log_pack_free(p->in);
    log_pack_free(p->out);
    return status;
}

/* What cannot be packed (too large a frame, a damage) stays as it is; the rest is tried again. */
static bool is_to_stay(enum status status) {
    return status == OK || status == ERR_LIMIT || status == ERR_CORRUPT ||
           status == ERR_UNSUPPORTED;
}

enum status log_pack_closed(struct log *log, const bool *canceled, bool last, bool *out_more,
                            uint64_t *out_bytes, struct err *err) {
    uint64_t *firsts;
    size_t count, i = 0;
    *out_bytes = 0;
    *out_more = false;
    TRY(log_file_list(log, &firsts, &count, err));
    const size_t end = last ? count : MAX(count, 1) - 1;
    while (i < end && firsts[i] < log->packed_below)
        i++;
    enum status status = OK;
    if (i < end) {
        char path[LOG_PATH_MAX];
        uint64_t until = i + 1 < count ? firsts[i + 1] : log->frame_number;
        log_file_path(log, firsts[i], path);
        struct packing p = {
            .log = log, .canceled = canceled, .from.expected = firsts[i], .from.end_frame = until};
        if (until > firsts[i]) status = file_pack(&p, path, out_bytes, err);
        if (status != OK) err_prefix(err, "log: %s", path);
        if (is_to_stay(status)) log->packed_below = firsts[i] + 1;
        *out_more = i + 1 < end && is_to_stay(status);
    }
    free(firsts);
    return status;
}
