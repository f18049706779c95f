/* SPDX-License-Identifier: Apache-2.0 */
/* Frames of a log file through a window of memory: for recovery and for reading back. */
#include <assert.h>
#include <stdlib.h>

#include "node/base/bytes.h"
#include "storage/log_internal.h"

enum { WINDOW_BYTES = 1 << 20 };

enum status log_window_need(struct log_window *w, uint64_t offset, size_t len, const uint8_t **out,
                            struct err *err) {
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
        if (got != want)
            return err_set(err, ERR_IO, 0, "the file became shorter while it was read");
        w->start = offset;
        w->len = want;
    }
    *out = w->ptr + (offset - w->start);
    return OK;
}

enum status log_frame_at(struct log_cursor *c, uint64_t offset, uint64_t *out_len,
                         uint64_t *out_number, struct err *err) {
    struct log_window *w = &c->window;
    uint64_t left = w->file_bytes - offset;
    const uint8_t *p = NULL;
    *out_len = 0;
    if (left <= LOG_FRAME_HEADER_BYTES) return OK;
    TRY(log_window_need(w, offset, LOG_FRAME_HEADER_BYTES, &p, err));
    if (get_u32le(p) != LOG_FRAME_MAGIC) return OK;
    uint64_t number = get_u64le(p + 8);
    /* Numbers have no gaps and every frame has bytes: a frame that is further ahead than bytes
     * could have been lost is none. This also keeps the search from computing checksums at chance
     * hits. */
    if (number < c->expected || number >= c->end_frame || number - c->expected > offset) return OK;
    uint64_t len = LOG_FRAME_HEADER_BYTES + (uint64_t)get_u32le(p + 4);
    if (len > left) return OK;
    TRY(log_window_need(w, offset, (size_t)len, &p, err));
    if (!log_frame_is_good(p, len, LOG_FRAME_MAGIC)) return OK;
    *out_len = len;
    *out_number = number;
    return OK;
}

enum status log_frame_search(struct log_cursor *c, uint64_t offset, uint64_t *out_offset,
                             uint64_t *out_number, struct err *err) {
    struct log_window *w = &c->window;
    while (w->file_bytes - offset > LOG_FRAME_HEADER_BYTES) {
        size_t len = (size_t)MIN(w->file_bytes - offset, WINDOW_BYTES);
        const uint8_t *p = NULL, *hit;
        TRY(log_window_need(w, offset, len, &p, err));
        static const uint8_t magic[4] = {'F', 'R', 'A', 'M'};
        hit = memmem(p, len, magic, sizeof magic);
        if (hit == NULL) {
            offset += len - (sizeof magic - 1); /* the magic may lie across */
            continue;
        }
        offset += (uint64_t)(hit - p);
        uint64_t frame_len;
        TRY(log_frame_at(c, offset, &frame_len, out_number, err));
        if (frame_len > 0) {
            *out_offset = offset;
            return OK;
        }
        offset++;
    }
    *out_offset = w->file_bytes;
    return OK;
}

/* -- what recovery could not find */

enum status log_lost_add(struct log *log, uint64_t from, uint64_t to, struct err *err) {
    struct log_lost *lost = realloc(log->lost, (log->lost_count + 1) * sizeof *lost);
    if (lost == NULL) return err_set(err, ERR_NOMEM, 0, "not enough memory");
    log->lost = lost;
    log->lost[log->lost_count++] = (struct log_lost){from, to};
    return OK;
}

bool log_frame_is_lost(const struct log *log, uint64_t number) {
    for (size_t i = 0; i < log->lost_count; i++)
        if (number >= log->lost[i].from && number < log->lost[i].to) return true;
    return false;
}
