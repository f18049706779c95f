/* SPDX-License-Identifier: Apache-2.0 */
/* Recovery of the log: one pass over all files through a window of memory.
 *
 *   for each file, ascending: header -> frames in order of their numbers -> end
 *   A file ends ahead of the frame with which the next one begins; what is behind that is no
 * matter. bad bytes ahead of it: the next good frame behind them that can belong here is looked
 * for, byte by byte one is found       damage: named, and reading goes on there none, last file the
 * torn last frame: left out none, other file   damage: the next file was started after this one's
 * last sync. A packed file has no torn end. The last file, if its frames are synced at intervals,
 * ends at the first bad byte, whatever follows: its writer promised no more. */
#include <assert.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "node/base/bytes.h"
#include "node/base/log.h"
#include "storage/log_internal.h"

enum { DAMAGE_LINES_MAX = 20 };

struct log_scan {
    struct log *log;
    struct log_look *look; /* NULL: it is recovered */
    log_apply apply;
    void *ctx;
    struct log_cursor at;
    struct log_ends ends; /* as noted in the directory */
    size_t begin;         /* the file that is read first */
    uint64_t first_frame; /* of the file at hand, by its name */
    uint64_t flags;
    bool header_bad;
    uint64_t last_offset, last_len; /* of the last good frame in the file at hand; 0: it has none */
    unsigned damages;
    struct err first_damage;
};

/* Frames from `from` on and before `to` are gone. */
static enum status scan_damage(struct log_scan *s, uint64_t offset, const char *what,
                               struct log_lost lost, struct err *err) {
    uint64_t from = lost.from, to = lost.to;
    struct err damage;
    char frames[80] = "";
    if (to == from + 1)
        snprintf(frames, sizeof frames, "; frame %" PRIu64 " is lost", from);
    else if (from < to)
        snprintf(frames, sizeof frames, "; frames %" PRIu64 " to %" PRIu64 " are lost", from,
                 to - 1);
    err_set(&damage, ERR_CORRUPT, 0, "log: %s/log-%016" PRIx64 ": offset %" PRIu64 ": %s%s",
            s->log->dir, s->first_frame, offset, what, frames);
    if (s->look != NULL) {
        if (s->look->on_bad != NULL) s->look->on_bad(s->ctx, false, &damage);
        return OK;
    }
    if (s->damages == 0) s->first_damage = damage;
    if (s->damages < DAMAGE_LINES_MAX) log_errorf("the log is damaged", "err", "%s", damage.msg);
    s->damages++;
    metric_add(s->log->metrics.corruptions, 1);
    if (from >= to) return OK;
    if (s->log->options.on_lost != NULL) s->log->options.on_lost(s->ctx, &damage);
    return log_lost_add(s->log, from, to, err);
}

static void scan_torn(struct log_scan *s, uint64_t offset) {
    if (s->look == NULL) {
        log_warn("the log has a torn end", "file", s->at.window.file->path);
        return;
    }
    struct err what;
    status_ignore(err_set(&what, ERR_CORRUPT, 0,
                          "log: %s/log-%016" PRIx64 ": offset %" PRIu64 ": a torn end", s->log->dir,
                          s->first_frame, offset));
    if (s->look->on_bad != NULL) s->look->on_bad(s->ctx, true, &what);
}

/* offset: of the payload, or of the end of the pack that it is in. */
static enum status payload_apply(struct log_scan *s, uint64_t offset, struct sv payload,
                                 struct err *err) {
    struct sv rest = payload;
    while (rest.len > 0) {
        uint64_t at = offset + (s->at.packed ? 0 : payload.len - rest.len);
        struct entry e;
        enum status status = entry_next(&rest, &e, err);
#ifdef PLANT_DROP_LAST_ENTRY
        if (rest.len == 0 && offset + payload.len == s->at.window.file_bytes) break;
#endif
        if (status == OK) status = s->apply(s->ctx, &e, err);
        if (status != OK) return err_prefix(err, "offset %" PRIu64, at);
    }
    return OK;
}

static enum status frame_apply(struct log_scan *s, uint64_t offset, uint64_t len, struct err *err) {
    const uint8_t *p;
    TRY(log_window_need(&s->at.window, offset, (size_t)len, &p, err));
    struct sv frame = sv_make(p, (size_t)len);
    return payload_apply(s, offset + LOG_FRAME_HEADER_BYTES, sv_skip(frame, LOG_FRAME_HEADER_BYTES),
                         err);
}

/* That of the frame's header, which a packed file has not. */
static uint64_t payload_check(uint64_t number, struct sv payload) {
    uint8_t header[LOG_FRAME_HEADER_BYTES];
    log_frame_header_put(LOG_FRAME_MAGIC, number, payload, header);
    return log_frame_check(header);
}

/* A packed file was durable, whole, before it had its name: whatever is missing is damage. */
static enum status scan_packed(struct log_scan *s, struct err *err) {
    uint64_t offset = LOG_HEADER_BYTES, until;
    TRY(log_packed_until(&s->at, &until, err));
    bool ended = until != 0;
    if (s->at.end_frame != UINT64_MAX)
        until = s->at.end_frame;
    else if (!ended)
        until = UINT64_MAX;
    if (until == s->log->options.known.frame + 1) { /* log_find has read all of it */
        s->at.expected = until;
        s->log->end = s->log->options.known;
        return OK;
    }
    for (; s->at.expected < until; s->at.expected++) {
        struct sv payload;
        TRY(log_packed_next(&s->at, &offset, &payload, err));
        if (payload.ptr == NULL) break;
        if (s->at.expected > s->log->options.known.frame)
            TRY(payload_apply(s, offset, payload, err));
        if (s->look != NULL) s->look->frames++;
        if (s->at.expected + 1 == until)
            s->log->end = (struct log_end){s->at.expected, payload_check(s->at.expected, payload)};
    }
    if (s->at.expected >= until) return OK;
    if (until == UINT64_MAX) until = s->at.expected + 1; /* as of a bad header: a hole that tells */
    TRY(scan_damage(s, offset, "bad pack", (struct log_lost){s->at.expected, until}, err));
    s->at.expected = until;
    return OK;
}

static enum status scan_frames(struct log_scan *s, struct err *err) {
    const uint64_t file_bytes = s->at.window.file_bytes;
    const bool last = s->at.end_frame == UINT64_MAX;
    uint64_t offset = MIN(LOG_HEADER_BYTES, file_bytes);
    while (s->at.expected < s->at.end_frame && offset < file_bytes) {
        uint64_t len, number = 0;
        TRY(log_frame_at(&s->at, offset, &len, &number, err));
        if (len == 0 || number != s->at.expected) {
            uint64_t next = file_bytes;
            bool lazy_end = last && (s->flags & LOG_FILE_LAZY) != 0;
            if (!lazy_end) TRY(log_frame_search(&s->at, offset, &next, &number, err));
            if (next == file_bytes && last) {
                scan_torn(s, offset);
                return OK;
            }
            if (next == file_bytes) number = s->at.end_frame;
            TRY(scan_damage(s, offset, "bad frame", (struct log_lost){s->at.expected, number},
                            err));
            offset = next;
            s->at.expected = number;
            continue;
        }
        if (number > s->log->options.known.frame) TRY(frame_apply(s, offset, len, err));
        s->last_offset = offset;
        s->last_len = len;
        if (s->look != NULL) s->look->frames++;
        offset += len;
        s->at.expected++;
    }
    return OK;
}

static enum status scan_header(struct log_scan *s, struct err *err) {
    struct log_window *w = &s->at.window;
    s->flags = 0;
    s->header_bad = true;
    if (w->file_bytes < LOG_HEADER_BYTES) return OK;
    const uint8_t *p;
    struct log_file_header header;
    TRY(log_window_need(w, 0, LOG_HEADER_BYTES, &p, err));
    enum status status = log_file_header_get(p, &header, err);
    if (status == ERR_UNSUPPORTED) return status;
    s->header_bad = status != OK || header.first_frame != s->first_frame;
    if (!s->header_bad) s->flags = header.flags;
    return OK;
}

static enum status scan_file(struct log_scan *s, bool first, struct err *err) {
    TRY(file_size(s->at.window.file, &s->at.window.file_bytes, err));
    s->at.window.len = 0;
    s->last_offset = s->last_len = 0;
    if (!first && s->first_frame != s->at.expected) {
        struct log_lost lost = {s->at.expected, s->first_frame};
        TRY(scan_damage(s, 0, "the file does not follow the one before it", lost, err));
    }
    s->at.expected = s->first_frame;
    TRY(scan_header(s, err));
    if (s->header_bad) TRY(scan_damage(s, 0, "bad file header", (struct log_lost){0, 0}, err));
    TRY(log_packed_begin(&s->at, (uint32_t)s->flags, err));
    TRY(s->at.packed ? scan_packed(s, err) : scan_frames(s, err));
    /* A file gets its name after its header is durable, so something was lost. The hole that this
     * leaves in the numbers tells of it at every start from now on. */
    if (s->header_bad && s->last_len == 0) s->at.expected = MAX(s->at.expected, s->first_frame + 1);
    s->log->total_bytes += s->at.window.file_bytes;
    return OK;
}

/* The new file, with the last frame of the one at hand once more (see log.h). A last file without a
 * frame is replaced: it was started after the frame before it had been synced. */
static enum status log_continue(struct log_scan *s, struct err *err) {
    struct log *log = s->log;
    struct sv frame = SV("");
    if (s->last_len > 0) {
        const uint8_t *p;
        TRY(log_window_need(&s->at.window, s->last_offset, (size_t)s->last_len, &p, err));
        frame = sv_make(p, (size_t)s->last_len);
        log->end = (struct log_end){s->at.expected - 1, log_frame_check(p)};
    }
    log->frame_number = s->at.expected;
    uint64_t first = s->last_len > 0 ? s->at.expected - 1 : s->at.expected;
    if (first == s->first_frame) log->total_bytes -= s->at.window.file_bytes;
    return log_file_start(log, first, frame, err);
}

/* Behind the last file there was another one. Its first frame may be the last one here; so that the
 * numbers have a hole from now on, another is given up. The last frame is not written once more:
 * who wrote to that other file had synced it. */
static enum status scan_newest(struct log_scan *s, struct err *err) {
    s->first_frame = s->ends.newest;
    s->last_offset = s->last_len = 0;
    struct log_lost lost = {s->at.expected, s->ends.newest + 2};
    s->at.expected = lost.to;
    return scan_damage(s, 0, "the file is missing", lost, err);
}

static enum status scan_open(struct log_scan *s, const uint64_t *firsts, size_t i, size_t count,
                             struct err *err) {
    struct log *log = s->log;
    const bool last = i + 1 == count, lacks_newest = last && firsts[i] < s->ends.newest;
    char path[LOG_PATH_MAX];
    s->first_frame = firsts[i];
    s->at.end_frame = last ? UINT64_MAX : firsts[i + 1];
    if (lacks_newest) s->at.end_frame = s->ends.newest;
    log_file_path(log, firsts[i], path);
    TRY(disk_open(log->rt->disk, path, DISK_READ, &s->at.window.file, err));
    if (log->options.on_file != NULL) log->options.on_file(s->ctx, firsts[i]);
    enum status status = scan_file(s, i == s->begin, err);
    if (status != OK) err_prefix(err, "%s", path);
    if (status == OK && lacks_newest) status = scan_newest(s, err);
    if (status == OK && last && s->look == NULL) status = log_continue(s, err);
    file_close(s->at.window.file);
    s->at.window.file = NULL;
    return status;
}

/* The file that has the frame, or would have it. */
static size_t file_of(const uint64_t *firsts, size_t count, uint64_t frame) {
    size_t i = 0;
    while (i + 1 < count && firsts[i + 1] <= frame)
        i++;
    return i;
}

/* A file that is not read. */
static enum status scan_pass(struct log_scan *s, uint64_t first_frame, struct err *err) {
    char path[LOG_PATH_MAX];
    struct file *file;
    uint64_t bytes = 0;
    log_file_path(s->log, first_frame, path);
    TRY(disk_open(s->log->rt->disk, path, DISK_READ, &file, err));
    enum status status = file_size(file, &bytes, err);
    file_close(file);
    s->log->total_bytes += bytes;
    return status;
}

/* The log begins; or it had begun, and nothing of it is there. */
static enum status scan_none(struct log_scan *s, struct err *err) {
    uint64_t oldest = MAX(s->ends.oldest, 1);
    if (s->look == NULL) TRY(log_oldest_save(s->log, oldest, err));
    s->at.expected = oldest;
    if (s->ends.newest != 0) TRY(scan_newest(s, err));
    return s->look == NULL ? log_continue(s, err) : OK;
}

static enum status scan_oldest(struct log_scan *s, uint64_t first, struct err *err) {
    if (s->ends.oldest == 0) return s->look == NULL ? log_oldest_save(s->log, first, err) : OK;
    if (first <= s->ends.oldest) return OK;
    s->first_frame = first;
    return scan_damage(s, 0, "files before it are missing",
                       (struct log_lost){s->ends.oldest, first}, err);
}

static enum status scan_all(struct log_scan *s, size_t *out_files, struct err *err) {
    uint64_t *firsts = NULL;
    TRY(log_file_list(s->log, &firsts, out_files, err));
    enum status status = log_ends_load(s->log, &s->ends, err);
    if (status == OK) status = *out_files == 0 ? scan_none(s, err) : scan_oldest(s, firsts[0], err);
    s->begin = file_of(firsts, *out_files, s->log->options.known.frame);
    for (size_t i = 0; i < s->begin && status == OK; i++)
        status = scan_pass(s, firsts[i], err);
    for (size_t i = s->begin; i < *out_files && status == OK; i++)
        status = scan_open(s, firsts, i, *out_files, err);
    free(firsts);
    free(s->at.window.ptr);
    log_packed_end(&s->at);
    return status;
}

enum status log_recover(struct log *log, log_apply apply, void *ctx, bool *out_damaged,
                        struct err *err) {
    struct log_scan s = {.log = log, .apply = apply, .ctx = ctx, .at.expected = 1};
    size_t files;
    TRY(disk_mkdir(log->rt->disk, log->dir, err));
    TRY(scan_all(&s, &files, err));
    atomic_store_explicit(&log->durable_frame, log->frame_number, memory_order_release);
    *out_damaged = log->damaged = s.damages > 0;
    if (s.damages > 0) *err = s.first_damage;
    return OK;
}

enum status log_look(struct disk *disk, const char *dir, struct log_look *look, struct err *err) {
    if (strlen(dir) > LOG_PATH_MAX - 32)
        return err_set(err, ERR_LIMIT, 0, "log: the directory's name is too long");
    if (!disk_exists(disk, dir)) return OK;
    struct runtime rt = {.disk = disk};
    struct log log = {.rt = &rt, .options.on_file = look->on_file};
    struct log_scan s = {
        .log = &log, .look = look, .apply = look->apply, .ctx = look->ctx, .at.expected = 1};
    log.dir = strdup(dir);
    if (log.dir == NULL) return err_set(err, ERR_NOMEM, 0, "log: not enough memory");
    enum status status = scan_all(&s, &look->files, err);
    look->bytes = log.total_bytes;
    free(log.dir);
    return status == OK ? OK : err_prefix(err, "log");
}

/* -- is a frame there? */

static enum status no_good_frame(const struct log_cursor *c, struct err *err) {
    return err_set(err, ERR_CORRUPT, 0, "the log has no good frame %" PRIu64, c->expected);
}

static enum status packed_until(struct log_cursor *c, uint64_t frame, uint64_t *out_check,
                                struct err *err) {
    uint64_t offset = LOG_HEADER_BYTES;
    for (; c->expected <= frame; c->expected++) {
        struct sv payload;
        TRY(log_packed_next(c, &offset, &payload, err));
        if (payload.ptr == NULL) return no_good_frame(c, err);
        if (c->expected == frame) *out_check = payload_check(frame, payload);
    }
    return OK;
}

static enum status frames_until(struct log_cursor *c, uint64_t frame, uint64_t *out_check,
                                struct err *err) {
    uint64_t offset = LOG_HEADER_BYTES, len = 0, number = 0;
    for (; c->expected <= frame; offset += len, c->expected++) {
        len = 0;
        if (offset < c->window.file_bytes) TRY(log_frame_at(c, offset, &len, &number, err));
        if (len == 0 || number != c->expected) return no_good_frame(c, err);
    }
    const uint8_t *p;
    TRY(log_window_need(&c->window, offset - len, LOG_FRAME_HEADER_BYTES, &p, err));
    *out_check = log_frame_check(p);
    return OK;
}

static enum status frame_find(struct log_cursor *c, const struct log_end *end, struct err *err) {
    struct log_file_header header;
    const uint8_t *p;
    uint64_t check = 0;
    TRY(file_size(c->window.file, &c->window.file_bytes, err));
    if (c->window.file_bytes < LOG_HEADER_BYTES) return no_good_frame(c, err);
    TRY(log_window_need(&c->window, 0, LOG_HEADER_BYTES, &p, err));
    TRY(log_file_header_get(p, &header, err));
    TRY(log_packed_begin(c, header.flags, err));
    TRY(c->packed ? packed_until(c, end->frame, &check, err)
                  : frames_until(c, end->frame, &check, err));
    if (check == end->check) return OK;
    return err_set(err, ERR_CORRUPT, 0, "the log has another frame %" PRIu64, end->frame);
}

enum status log_find(struct runtime *rt, const char *dir, const struct log_end *end,
                     struct err *err) {
    struct log log = {.rt = rt, .dir = (char *)(uintptr_t)dir};
    struct log_cursor c = {.end_frame = UINT64_MAX};
    char path[LOG_PATH_MAX];
    uint64_t *firsts = NULL;
    size_t count = 0;
    TRY(log_file_list(&log, &firsts, &count, err));
    size_t i = file_of(firsts, count, end->frame);
    if (count > 0) c.expected = firsts[i];
    free(firsts);
    if (count == 0 || c.expected > end->frame || end->frame == 0)
        return err_set(err, ERR_CORRUPT, 0, "the log has no frame %" PRIu64, end->frame);
    log_file_path(&log, c.expected, path);
    TRY(disk_open(rt->disk, path, DISK_READ, &c.window.file, err));
    enum status status = frame_find(&c, end, err);
    file_close(c.window.file);
    free(c.window.ptr);
    log_packed_end(&c);
    return status;
}
