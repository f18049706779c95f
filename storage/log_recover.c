/* SPDX-License-Identifier: Apache-2.0 */
/* Recovery of the log: one pass over all files through a window of memory.
 *
 *   for each file, ascending: header -> frames in order of their numbers -> end
 *   bad bytes: the next good frame behind them that can belong here is looked for, byte by byte
 *     one is found       damage: named, and reading goes on there
 *     none, last file    the torn tail of the last frame: cut off
 *     none, other file   damage: the next file was started after this one's last sync
 * A file whose frames are synced at intervals ends at the first bad byte, whatever follows: its writer promised no more. */
#include <assert.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "node/base/bytes.h"
#include "node/base/log.h"
#include "storage/log_internal.h"

enum { WINDOW_BYTES = 1 << 20, DAMAGE_LINES_MAX = 20 };

struct log_window {
    struct file *file;
    uint64_t file_bytes;
    uint8_t *ptr; /* bytes [start, start + len) of the file */
    size_t len, cap;
    uint64_t start;
};

struct log_scan {
    struct log *log;
    log_apply apply;
    void *ctx;
    struct log_window window;
    uint64_t first_frame; /* of the file at hand, by its name */
    uint64_t flags;
    uint64_t expected;    /* number of the next frame */
    bool expected_known;  /* false before the first file's header or first frame */
    uint64_t end;         /* behind the last good frame of the file at hand */
    bool header_bad;
    bool unborn;          /* the file at hand has no frames and no good header yet */
    bool frames_found;    /* in the file at hand */
    unsigned damages;
    struct err first_damage;
};

/* Gives len bytes at the offset, which are in the file. */
static enum status window_need(struct log_window *w, uint64_t offset, size_t len,
                               const uint8_t **out, struct err *err) {
    assert(len <= w->file_bytes && offset <= w->file_bytes - len);
    if (offset < w->start || offset + len > w->start + w->len) {
        size_t want = (size_t)MIN(MAX((uint64_t)len, WINDOW_BYTES), w->file_bytes - offset);
        if (want > w->cap) {
            uint8_t *p = realloc(w->ptr, want);
            if (p == NULL) return err_set(err, ERR_NOMEM, 0, "not enough memory to read a frame");
            w->ptr = p;
            w->cap = want;
        }
        size_t got = 0;
        w->len = 0;
        TRY(file_pread(w->file, w->ptr, want, offset, &got, err));
        if (got != want) return err_set(err, ERR_IO, 0, "the file became shorter while it was read");
        w->start = offset;
        w->len = want;
    }
    *out = w->ptr + (offset - w->start);
    return OK;
}

static void scan_damage(struct log_scan *s, uint64_t offset, const char *what, uint64_t from,
                        uint64_t to) {
    struct err damage;
    char frames[80] = "";
    if (from < to) {
        snprintf(frames, sizeof frames, "; frames %" PRIu64 " to %" PRIu64 " are lost", from,
                 to - 1);
    }
    err_set(&damage, ERR_CORRUPT, 0, "log: %s/log-%016" PRIx64 ": offset %" PRIu64 ": %s%s",
            s->log->dir, s->first_frame, offset, what, frames);
    if (s->damages == 0) s->first_damage = damage;
    if (s->damages < DAMAGE_LINES_MAX) log_errorf("the log is damaged", "err", "%s", damage.msg);
    s->damages++;
    metric_add(s->log->metrics.corruptions, 1);
}

/* Sets *out_len to the length of the good frame at the offset, 0 when there is none. */
static enum status frame_at(struct log_scan *s, uint64_t offset, uint64_t *out_len,
                            uint64_t *out_number, struct err *err) {
    struct log_window *w = &s->window;
    uint64_t left = w->file_bytes - offset;
    const uint8_t *p;
    *out_len = 0;
    if (left <= LOG_FRAME_HEADER_BYTES) return OK;
    TRY(window_need(w, offset, LOG_FRAME_HEADER_BYTES, &p, err));
    if (get_u32le(p) != LOG_FRAME_MAGIC) return OK;
    uint64_t number = get_u64le(p + 8);
    /* Numbers have no gaps and every frame has bytes: a frame that is further ahead than bytes could have been lost is
     * none. This also keeps the search from computing checksums at chance hits. */
    if (s->expected_known && (number < s->expected || number - s->expected > offset)) return OK;
    uint64_t len = LOG_FRAME_HEADER_BYTES + (uint64_t)get_u32le(p + 4);
    if (len > left) return OK;
    TRY(window_need(w, offset, (size_t)len, &p, err));
    if (!log_frame_is_good(p, len)) return OK;
    *out_len = len;
    *out_number = number;
    return OK;
}

static enum status frame_apply(struct log_scan *s, uint64_t offset, uint64_t len,
                               struct err *err) {
    const uint8_t *p;
    TRY(window_need(&s->window, offset, (size_t)len, &p, err));
    struct sv payload = sv_make(p + LOG_FRAME_HEADER_BYTES, (size_t)len - LOG_FRAME_HEADER_BYTES);
    struct sv rest = payload;
    while (rest.len > 0) {
        uint64_t at = offset + LOG_FRAME_HEADER_BYTES + (payload.len - rest.len);
        struct entry e;
        enum status status = entry_next(&rest, &e, err);
        if (status == OK) status = s->apply(s->ctx, &e, err);
        if (status != OK) return err_prefix(err, "offset %" PRIu64, at);
    }
    return OK;
}

/* The first good frame from the offset on that can belong here; *out_offset is the file's end when there is none. */
static enum status frame_search(struct log_scan *s, uint64_t offset, uint64_t *out_offset,
                                uint64_t *out_number, struct err *err) {
    struct log_window *w = &s->window;
    while (w->file_bytes - offset > LOG_FRAME_HEADER_BYTES) {
        size_t len = (size_t)MIN(w->file_bytes - offset, WINDOW_BYTES);
        const uint8_t *p, *hit;
        TRY(window_need(w, offset, len, &p, err));
        static const uint8_t magic[4] = {'F', 'R', 'A', 'M'};
        hit = memmem(p, len, magic, sizeof magic);
        if (hit == NULL) {
            offset += len - (sizeof magic - 1); /* the magic may lie across */
            continue;
        }
        offset += (uint64_t)(hit - p);
        uint64_t frame_len;
        TRY(frame_at(s, offset, &frame_len, out_number, err));
        if (frame_len > 0) {
            *out_offset = offset;
            return OK;
        }
        offset++;
    }
    *out_offset = w->file_bytes;
    return OK;
}

static enum status scan_frames(struct log_scan *s, uint64_t offset, bool last, struct err *err) {
    const uint64_t file_bytes = s->window.file_bytes;
    s->end = offset;
    while (offset < file_bytes) {
        uint64_t len, number = 0;
        TRY(frame_at(s, offset, &len, &number, err));
        if (len > 0 && s->expected_known && number != s->expected) len = 0;
        if (len == 0) {
            uint64_t next = file_bytes;
            bool lazy_end = last && (s->flags & LOG_FILE_LAZY) != 0;
            if (!lazy_end) TRY(frame_search(s, offset, &next, &number, err));
            if (next == file_bytes) {
                if (!last) scan_damage(s, offset, "bad frame, the file's last", 0, 0);
                return OK;
            }
            scan_damage(s, offset, "bad frame", s->expected, s->expected_known ? number : 0);
            offset = next;
            s->expected = number;
            s->expected_known = true;
            continue;
        }
        TRY(frame_apply(s, offset, len, err));
        offset += len;
        s->end = offset;
        s->expected = number + 1;
        s->expected_known = s->frames_found = true;
    }
    return OK;
}

static enum status scan_header(struct log_scan *s, struct err *err) {
    struct log_window *w = &s->window;
    s->flags = 0;
    s->header_bad = true;
    if (w->file_bytes < LOG_HEADER_BYTES) return OK;
    const uint8_t *p;
    struct log_file_header header;
    TRY(window_need(w, 0, LOG_HEADER_BYTES, &p, err));
    enum status status = log_file_header_get(p, &header, err);
    if (status == ERR_UNSUPPORTED) return status;
    s->header_bad = status != OK || header.first_frame != s->first_frame;
    if (!s->header_bad) s->flags = header.flags;
    return OK;
}

static enum status scan_file(struct log_scan *s, bool last, struct err *err) {
    TRY(file_size(s->window.file, &s->window.file_bytes, err));
    s->window.len = 0;
    s->frames_found = false;
    TRY(scan_header(s, err));
    /* Frames are written behind a header that was synced. So a last file without them was being started. */
    s->unborn = last && s->header_bad && s->window.file_bytes <= LOG_HEADER_BYTES;
    if (s->header_bad && !s->unborn) scan_damage(s, 0, "bad file header", 0, 0);
    if (s->expected_known && s->first_frame != s->expected) {
        scan_damage(s, 0, "the file does not follow the one before it", s->expected,
                    s->first_frame);
    }
    if (!s->expected_known || s->first_frame > s->expected) s->expected = s->first_frame;
    s->expected_known = true;
    if (s->unborn) return OK;
    TRY(scan_frames(s, MIN(LOG_HEADER_BYTES, s->window.file_bytes), last, err));
    /* There was at least one. The hole in the numbers tells of it at every start from now on. */
    if (s->header_bad && !s->frames_found) s->expected = MAX(s->expected, s->first_frame + 1);
    return OK;
}

/* Makes the file at hand, the last, ready for the next frame. What was read from it is made durable before anything is
 * written behind it: its last frame may be whole and yet unsynced, and then it would not be the last any more. */
static enum status log_reopen(struct log_scan *s, struct err *err) {
    struct log *log = s->log;
    struct file *file = s->window.file;
    if (s->end < s->window.file_bytes) {
        log_warn("cutting off the torn end of the log", "file", file->path);
        TRY(file_truncate(file, s->end, err));
    }
    TRY(file_sync(file, err));
    TRY(disk_sync_dir(log->rt->disk, log->dir, err));
    log->file = file;
    log->file_bytes = s->end;
    s->window.file = NULL;
    return OK;
}

static enum status scan_open(struct log_scan *s, uint64_t first_frame, bool last,
                             struct err *err) {
    struct log *log = s->log;
    char path[LOG_PATH_MAX];
    s->first_frame = first_frame;
    log_file_path(log, first_frame, path);
    TRY(disk_open(log->rt->disk, path, DISK_READ | (last ? DISK_WRITE : 0), &s->window.file, err));
    enum status status = scan_file(s, last, err);
    if (status == OK && s->unborn) {
        log_warn("removing a log file that was being started", "file", path);
        status = disk_unlink(log->rt->disk, path, err);
    } else if (status == OK && last) {
        status = log_reopen(s, err);
        log->total_bytes += s->end;
    } else if (status == OK) {
        log->total_bytes += s->window.file_bytes;
    }
    file_close(s->window.file);
    s->window.file = NULL;
    return status == OK ? OK : err_prefix(err, "%s", path);
}

enum status log_recover(struct log *log, log_apply apply, void *ctx, bool *out_damaged,
                        struct err *err) {
    struct log_scan s = {.log = log, .apply = apply, .ctx = ctx, .expected = 1};
    uint64_t *firsts = NULL;
    size_t count = 0;
    TRY(log_file_list(log, &firsts, &count, err));
    enum status status = OK;
    for (size_t i = 0; i < count && status == OK; i++)
        status = scan_open(&s, firsts[i], i + 1 == count, err);
    free(firsts);
    free(s.window.ptr);
    if (status != OK) return status;
    log->frame_number = s.expected;
    bool lazy = !log->options.sync_every_frame;
    if (log->file == NULL || s.header_bad || lazy != ((s.flags & LOG_FILE_LAZY) != 0)) {
        TRY(log_file_start(log, err));
    }
    *out_damaged = s.damages > 0;
    if (s.damages > 0 && err != NULL) *err = s.first_damage;
    return OK;
}
