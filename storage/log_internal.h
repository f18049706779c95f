/* SPDX-License-Identifier: Apache-2.0 */
/* storage/log_internal.h: what log.c, log_file.c and log_recover.c share. Only these include it. */
#pragma once

#include <stdatomic.h>

#include "node/base/bytes.h"
#include "node/base/metrics.h"
#include "storage/log.h"

enum {
    LOG_HEADER_BYTES = 32,
    LOG_FRAME_HEADER_BYTES = 24,
    LOG_FORMAT_VERSION = 3,
    LOG_FORMAT_PLAIN = 1,         /* that of files which are not packed */
    LOG_FRAME_MAGIC = 0x4d415246, /* "FRAM" */
    LOG_PACK_MAGIC = 0x4b434150,  /* "PACK" */
    LOG_END_MAGIC = 0x444e4550,   /* "PEND" */
    LOG_PATH_MAX = 4096,
    LOG_NAME_LEN = 20, /* log-%016x */
};
#define LOG_FILE_MAGIC "CAIRNLOG"

enum log_file_flags { LOG_FILE_LAZY = 1, LOG_FILE_PACKED = 2 };

/* The log core's state; before the loops run, that of the thread in log_open.
 *
 *   IDLE -> (GATHER ->) FLUSH -> SYNC -> IDLE or (GATHER ->) FLUSH; any -> FAILED, for good
 *   FLUSH -> FULL -> (timer) -> FLUSH: no room for a frame or a new file
 * GATHER, FLUSH and SYNC are messages of the log core to itself: what has come into its mailbox
 * before FLUSH runs is in the group, and a crash may strike between the two. */
enum log_state { LOG_IDLE, LOG_GATHER, LOG_FLUSH, LOG_SYNC, LOG_FULL, LOG_FAILED };

struct log_queue {
    struct log_append *head, *tail;
};

struct log_lost { /* frames from <= number < to */
    uint64_t from, to;
};

struct log {
    struct runtime *rt;
    struct log_options options;
    char *dir; /* owned; options.dir points to it */
    enum log_state state;
    struct msg step; /* posted while GATHER, FLUSH or SYNC */
    struct timer sync_timer, full_timer;
    bool dirty; /* sync_every_frame off: written and not synced */

    struct file *file;
    uint64_t file_first;   /* its first frame, which is its name */
    uint64_t file_bytes;   /* where the next frame goes */
    uint64_t total_bytes;  /* of all files */
    uint64_t frame_number; /* of the next frame */
    struct log_end end;    /* of the one before it */
    bool damaged;          /* found at the start */

    struct log_queue pending; /* not or not wholly in a frame */
    struct log_queue group;   /* wholly in frames up to the current one */
    unsigned group_count;     /* appends in it */
    bool in_company;          /* the last one had several */
    uint64_t replied_ns;      /* when its appends were told */
    struct buf frame;
    bool frame_ready;      /* sealed, and not or not wholly written */
    bool sync_failed;      /* what the disk has is not known: no error is passing any more */
    struct log_lost *lost; /* found missing at the start; not changed after it */
    size_t lost_count;
    /* Frames below it are durable, as their appends were told. Written by the log core with release
     * order after the bytes, read by any thread with acquire before reading them. */
    atomic_uint_least64_t durable_frame;

    /* Of one worker at a time (log_pack_closed): files below it are packed, or are to stay. */
    uint64_t packed_below;

    struct err failure; /* set once, before failed */
    /* Written by the log core with release order after `failure`, read by any thread with acquire:
     * who sees true sees the text. */
    atomic_bool failed;
    /* The disk has no room just now. A hint for any thread, ordered with nothing. */
    atomic_bool full;
    struct {
        struct metric *fsync_seconds, *size_bytes, *writes_failed, *corruptions, *frames, *appends,
            *written_bytes;
    } metrics;
};

/* -- log_file.c */
struct log_file_header {
    uint32_t flags;
    uint64_t first_frame;
};
void log_file_path(const struct log *log, uint64_t first_frame, char out[LOG_PATH_MAX]);
bool log_file_name_parse(const char *name, uint64_t *out_first_frame);
void log_file_header_put(const struct log_file_header *h, uint8_t out[LOG_HEADER_BYTES]);
/* ERR_CORRUPT, or ERR_UNSUPPORTED for a newer format. */
MUST_USE enum status log_file_header_get(const uint8_t bytes[LOG_HEADER_BYTES],
                                         struct log_file_header *out, struct err *err);
/* First frames of the files there are, ascending; *out is heap memory. Any thread. */
MUST_USE enum status log_file_list(const struct log *log, uint64_t **out, size_t *out_count,
                                   struct err *err);
/* Starts the file of that first frame: durable when it returns. frame: its first, sealed, or empty.
 * Leaves log->file alone on failure, else closes it. */
MUST_USE enum status log_file_start(struct log *log, uint64_t first_frame, struct sv frame,
                                    struct err *err);

/* Frame header in front of the payload, which is frame->ptr + LOG_FRAME_HEADER_BYTES. */
void log_frame_seal(struct buf *frame, uint64_t number);
void log_frame_header_put(uint32_t magic, uint64_t number, struct sv payload,
                          uint8_t out[LOG_FRAME_HEADER_BYTES]);
/* The frame (or what has such a header) at p, of which len bytes are there, is whole, and good. */
bool log_frame_is_good(const uint8_t *p, uint64_t len, uint32_t magic);

static inline uint64_t log_frame_check(const void *frame) { /* of its header */
    return get_u64le((const uint8_t *)frame + 16);
}

/* -- log_frames.c */
struct log_window {
    struct file *file;
    uint64_t file_bytes;
    uint8_t *ptr; /* bytes [start, start + len) of the file */
    size_t len, cap;
    uint64_t start;
};
struct log_pack;
struct log_cursor {
    struct log_window window;
    bool packed; /* the file is */
    struct log_pack *unpack;
    struct sv unpacked; /* what is left of the pack at hand */
    uint64_t expected;  /* number of the next frame */
    uint64_t end_frame; /* the one with which the next file begins; UINT64_MAX: it is the last */
};
/* Gives len bytes at the offset, which are in the file. */
MUST_USE enum status log_window_need(struct log_window *w, uint64_t offset, size_t len,
                                     const uint8_t **out, struct err *err);
/* Sets *out_len to the length of the good frame at the offset, 0 when there is none. */
MUST_USE enum status log_frame_at(struct log_cursor *c, uint64_t offset, uint64_t *out_len,
                                  uint64_t *out_number, struct err *err);
/* The first good frame from the offset on that can belong here; *out_offset is the file's end when
 * there is none. */
MUST_USE enum status log_frame_search(struct log_cursor *c, uint64_t offset, uint64_t *out_offset,
                                      uint64_t *out_number, struct err *err);
MUST_USE enum status log_lost_add(struct log *log, uint64_t from, uint64_t to, struct err *err);
bool log_frame_is_lost(const struct log *log, uint64_t number);

/* -- log_packed.c */
/* The cursor's file begins, with these flags of its header. */
MUST_USE enum status log_packed_begin(struct log_cursor *c, uint32_t flags, struct err *err);
void log_packed_end(struct log_cursor *c);
/* The number behind the last frame of a packed file; 0: its end is not there. */
MUST_USE enum status log_packed_until(struct log_cursor *c, uint64_t *out, struct err *err);
/* The payload of the frame that is expected, borrowed until the next call; ptr NULL: neither it nor
 * any behind it can be read. *offset: of the next pack. */
MUST_USE enum status log_packed_next(struct log_cursor *c, uint64_t *offset, struct sv *out,
                                     struct err *err);

/* -- log_ends.c */
struct log_ends { /* first frames of files; 0: not known */
    uint64_t oldest, newest;
};
MUST_USE enum status log_ends_load(const struct log *log, struct log_ends *out, struct err *err);
MUST_USE enum status log_oldest_save(const struct log *log, uint64_t first_frame, struct err *err);
MUST_USE enum status log_newest_save(const struct log *log, uint64_t first_frame, struct err *err);

/* -- log_recover.c */
MUST_USE enum status log_recover(struct log *log, log_apply apply, void *ctx, bool *out_damaged,
                                 struct err *err);
