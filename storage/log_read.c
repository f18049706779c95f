/* SPDX-License-Identifier: Apache-2.0 */
/* The log read back beside its writer. What is durable when a reader is made lies in files that are
 * there by then, so the list of names is taken once; a file ends ahead of the frame with which the
 * next one begins, and the last one where the reader does. */
#include <assert.h>
#include <inttypes.h>
#include <stdlib.h>

#include "storage/log_internal.h"

struct log_reader {
    const struct log *log;
    uint64_t file;  /* to begin with */
    uint64_t until; /* frames below it */
    uint64_t *firsts;
    size_t count, at; /* files; firsts[at] is open when cursor.window.file is */
    struct log_cursor cursor;
    uint64_t offset; /* of the next frame */
    struct sv rest;  /* of the frame at hand */
};

struct log_reader *log_reader_new(const struct log *log, uint64_t file) {
    struct log_reader *r = calloc(1, sizeof *r);
    if (r == NULL) return NULL;
    r->log = log;
    r->file = file;
    r->until = atomic_load_explicit(&log->durable_frame, memory_order_acquire);
    return r;
}

void log_reader_free(struct log_reader *r) {
    if (r == NULL) return;
    file_close(r->cursor.window.file);
    free(r->cursor.window.ptr);
    log_packed_end(&r->cursor);
    free(r->firsts);
    free(r);
}

static enum status reader_list(struct log_reader *r, struct err *err) {
    TRY(log_file_list(r->log, &r->firsts, &r->count, err));
    for (size_t i = 1; i < r->count && r->firsts[i] <= r->file; i++)
        r->at = i;
    return OK;
}

static enum status reader_open(struct log_reader *r, struct err *err) {
    char path[LOG_PATH_MAX];
    uint64_t first = r->firsts[r->at];
    struct log_window *w = &r->cursor.window;
    log_file_path(r->log, first, path);
    TRY(disk_open(r->log->rt->disk, path, DISK_READ, &w->file, err));
    w->len = 0;
    r->cursor.expected = first;
    r->cursor.end_frame = r->until;
    if (r->at + 1 < r->count) r->cursor.end_frame = MIN(r->until, r->firsts[r->at + 1]);
    r->offset = LOG_HEADER_BYTES;
    TRY(file_size(w->file, &w->file_bytes, err));
    struct log_file_header header = {0};
    const uint8_t *p = NULL;
    if (w->file_bytes >= LOG_HEADER_BYTES) TRY(log_window_need(w, 0, LOG_HEADER_BYTES, &p, err));
    /* a bad one was told of by recovery: frames are looked for behind it */
    if (p != NULL) status_ignore(log_file_header_get(p, &header, NULL));
    return log_packed_begin(&r->cursor, header.flags, err);
}

static enum status frame_is_bad(const struct log_reader *r, struct err *err) {
    return err_set(err, ERR_CORRUPT, 0,
                   "offset %" PRIu64 ": bad frame, %" PRIu64 " should be there", r->offset,
                   r->cursor.expected);
}

static enum status reader_unpack(struct log_reader *r, bool *out_end, struct err *err) {
    TRY(log_packed_next(&r->cursor, &r->offset, &r->rest, err));
    if (r->rest.ptr == NULL) {
        *out_end = true;
        return log_frame_is_lost(r->log, r->cursor.expected) ? OK : frame_is_bad(r, err);
    }
    r->cursor.expected++;
    return OK;
}

/* The next frame of the open file becomes the rest; none is left when *out_end. */
static enum status reader_frame(struct log_reader *r, bool *out_end, struct err *err) {
    struct log_cursor *c = &r->cursor;
    uint64_t len = 0, number = 0;
    *out_end = c->expected >= c->end_frame;
    if (*out_end) return OK;
    if (c->packed) return reader_unpack(r, out_end, err);
    if (r->offset < c->window.file_bytes) TRY(log_frame_at(c, r->offset, &len, &number, err));
    if (len == 0 || number != c->expected) {
        if (!log_frame_is_lost(r->log, c->expected)) return frame_is_bad(r, err);
        uint64_t next = c->window.file_bytes;
        if (r->offset < next) TRY(log_frame_search(c, r->offset, &next, &number, err));
        *out_end = next == c->window.file_bytes;
        if (*out_end) return OK;
        r->offset = next;
        c->expected = number;
        return reader_frame(r, out_end, err); /* once: a good frame is there */
    }
    const uint8_t *p;
    TRY(log_window_need(&c->window, r->offset, (size_t)len, &p, err));
    r->rest = sv_make(p + LOG_FRAME_HEADER_BYTES, (size_t)len - LOG_FRAME_HEADER_BYTES);
    r->offset += len;
    c->expected++;
    return OK;
}

static enum status reader_advance(struct log_reader *r, bool *out_end, struct err *err) {
    bool file_ends = false;
    *out_end = r->at == r->count || r->firsts[r->at] >= r->until;
    if (*out_end) return OK;
    if (r->cursor.window.file == NULL) TRY(reader_open(r, err));
    TRY(reader_frame(r, &file_ends, err));
    if (!file_ends) return OK;
    file_close(r->cursor.window.file);
    r->cursor.window.file = NULL;
    r->at++;
    return OK;
}

enum status log_reader_next(struct log_reader *r, struct entry *out, struct sv *out_bytes,
                            bool *out_end, struct err *err) {
    *out_end = false;
    if (r->firsts == NULL && r->count == 0) TRY(reader_list(r, err));
    enum status status = OK;
    while (r->rest.len == 0 && !*out_end && status == OK)
        status = reader_advance(r, out_end, err);
    if (status == OK && *out_end) return OK;
    struct sv from = r->rest;
    if (status == OK) status = entry_next(&r->rest, out, err);
    if (status != OK && r->at < r->count)
        return err_prefix(err, "log: %s/log-%016" PRIx64, r->log->dir, r->firsts[r->at]);
    *out_bytes = sv_make(from.ptr, from.len - r->rest.len);
    return status;
}
