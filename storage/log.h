/* SPDX-License-Identifier: Apache-2.0 */
/* storage/log.h: the one log of a node, written by its log core. Data cores hand it buffers of
 * entries; all that have come by the time it runs are one frame (group commit): one pwrite, one
 * fdatasync, then each gets its `done`. Where frames of several appends follow each other closely,
 * each waits a millisecond for more. The next frame is not written before this one's fsync
 * returned, so only the last frame can be torn, and a bad frame before a good one is corruption.
 *
 * Files: <dir>/log-%016x ascending by first frame number. Little-endian.
 *   file header, 32 bytes
 *     00-07 magic "CAIRNLOG"          08-09 format version (1)    10-11 oldest reader's version (1)
 *     12-15 flags                     16-23 number of the first frame
 *     24-31 XXH3-64 of bytes 00-23
 *     flags: 1 = frames of this file are synced at intervals: several may be lost at its end
 *            2 = it is packed, and then both versions are 3 (2: packs of format 1)
 *   frame
 *     00-03 magic 0x4d415246 "FRAM"   04-07 payload length
 *     08-15 frame number (no gaps over all files)
 *     16-23 XXH3-64 of the payload, seeded with XXH3-64 of bytes 00-15
 *     24-   payload: entries (storage/entry.h)
 *   packed: frames have the magic "PACK", the number of the first frame that is in it, and a pack
 *     (storage/log_pack.h) as the payload; the last has the magic "PEND", the number behind the
 *     last frame, and no payload. A bad one takes all behind it in this file along.
 * A file whose oldest reader is newer than this build is refused. An entry is never split: one
 * larger than frame_bytes_max is a frame of its own.
 *
 * OLDEST and NEWEST name the first and the last of them (log_ends.c).
 *
 * A new file starts when the current one has grown past file_bytes_max, and at each start of the
 * process. It is made under another name, synced, renamed and its name synced before a frame counts
 * on it, so that a file of the log always has its header. At a start the last good frame is written
 * once more, as the first of the new file, which so takes its number and ends the file before it
 * just ahead of it, torn bytes included. For a sync that failed leaves a page cache that has what
 * the disk has not, and no later sync would tell (https://lwn.net/Articles/752063/); nor can
 * writing in place be trusted with what was acknowledged.
 *
 * A full disk (ENOSPC or EDQUOT from a write, or when a new file is made) is no error: the frame
 * waits and is written again, the same bytes at the same place, behind all that counts; appends get
 * their done when that is durable. From a sync it is one.
 *
 * A file that is not written to any more is packed: it says the same frames in some fiftieth of
 * the bytes, under the same name, which its name is given when it is durable.
 *
 * Thread: log_append from a data core; log_open, log_recover at start-up. After a write or sync
 * error the log is closed: it is never synced again, and this and every later append gets the
 * error. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "node/base/buf.h"
#include "node/base/status.h"
#include "node/runtime/core.h"
#include "node/runtime/disk.h"
#include "storage/entry.h"

/* The last frame of a log. */
struct log_end {
    uint64_t frame; /* 0: it has none */
    uint64_t check; /* its checksum */
};

struct log_options {
    const char *dir;
    uint64_t file_bytes_max;  /* 128 MiB */
    uint64_t frame_bytes_max; /* 16 MiB: a group larger than this is several frames */
    bool sync_every_frame; /* --storage.wal-sync=always (default); false: every sync_interval_ms, P1
                              given up */
    uint64_t sync_interval_ms;
    /* In log_open, with apply's ctx: what is applied from here on is of the file of that first
     * frame. May be NULL. */
    void (*on_file)(void *ctx, uint64_t first_frame);
    /* The same: frames ahead of what is applied from here on are lost. May be NULL. */
    void (*on_lost)(void *ctx, const struct err *why);
    /* Frames up to this one are known already (storage/snapshot), and log_find found it: they are
     * not applied, nor are files read that end before it, or packed ones that end with it. Frame 0:
     * all are. */
    struct log_end known;
};

struct log;
/* Reads what is there, front to back: each entry of each good frame goes to `apply`, in order. A
 * torn last frame is left out (logged), and so is one that went bad later: they look the same. A
 * bad frame before a good one, or a missing frame number: recovery goes on behind it and
 * *out_damaged is true with err naming file and offset of the first; the shards with a seq gap are
 * found by apply (storage/store.h). After it the log is open for appending, and everything it gave
 * to apply is durable. Start-up only: blocks. apply returning an error stops recovery with it, and
 * so does a good frame with an entry that cannot be read. */
typedef enum status (*log_apply)(void *ctx, const struct entry *e, struct err *err);
MUST_USE enum status log_open(struct runtime *rt, const struct log_options *options,
                              log_apply apply, void *ctx, struct log **out, bool *out_damaged,
                              struct err *err);

/* Reads a log that nobody writes to as log_open does, and changes nothing: for tools. Entries of
 * good frames go to apply, in order. What is bad is told, with file and offset: `torn` is the end
 * that a crash leaves, which no one was told is durable; everything else was lost. An entry in a
 * good frame that cannot be read ends it with ERR_CORRUPT. No directory: an empty log. */
struct log_look {
    /* given; on_file and on_bad may be NULL */
    log_apply apply;
    void (*on_file)(void *ctx, uint64_t first_frame);
    void (*on_bad)(void *ctx, bool torn, const struct err *what);
    void *ctx;
    /* outcome, of what is good */
    uint64_t files, frames, bytes;
};
MUST_USE enum status log_look(struct disk *disk, const char *dir, struct log_look *look,
                              struct err *err);
/* Whether a log is there that has this frame, behind good ones in its file. ERR_CORRUPT says what
 * is there instead. Start-up only: blocks. */
MUST_USE enum status log_find(struct runtime *rt, const char *dir, const struct log_end *end,
                              struct err *err);
/* When nothing is appended any more: the last frame. False: there is none, what the disk has is not
 * known, or log_open found damage. */
bool log_get_end(const struct log *log, struct log_end *out);

struct log_append {
    struct msg msg;            /* private */
    struct log *log;           /* private */
    struct core *home;         /* private */
    struct log_append *next;   /* private */
    size_t taken_bytes;        /* private: what is in frames already */
    const struct err *failure; /* private: NULL is OK */
    uint64_t file;      /* when done ran with OK: first frame of the file of the entries' end */
    struct buf entries; /* given: whole entries, at least one; empty after done, its memory kept */
    /* On the home core, in the order of its appends. OK: durable. */
    void (*done)(struct core *here, struct log_append *req, enum status status,
                 const struct err *err);
};
/* req is borrowed until done. Appends in flight are bounded by the requests that wait for them. */
void log_append(struct log *log, struct core *from, struct log_append *req);

/* Reading back what is durable, file by file, beside appends. One thread at a time: a worker, since
 * it blocks on the disk. */
struct log_reader;
/* What is durable now, from the file of that first frame (or the newest before it) on. Any thread;
 * NULL: no memory. */
struct log_reader *log_reader_new(const struct log *log, uint64_t file) MUST_USE;
void log_reader_free(struct log_reader *r);
/* The next entry and its bytes, borrowed until the next call; *out_end instead at the end. Frames
 * that recovery reported as lost are passed over; ERR_CORRUPT names another bad one. */
MUST_USE enum status log_reader_next(struct log_reader *r, struct entry *out, struct sv *out_bytes,
                                     bool *out_end, struct err *err);

/* Files that lie wholly before the one of that first frame go, oldest first, so that a power cut
 * leaves no hole; never the newest. A worker. *out_bytes: what went, which log_removed takes off
 * on the log core. */
MUST_USE enum status log_remove_before(const struct log *log, uint64_t file, uint64_t *out_files,
                                       uint64_t *out_bytes, struct err *err);
void log_removed(struct log *log, uint64_t bytes);
/* Packs the oldest file that is not; never the newest, but where `last` says that nothing is
 * appended any more (log_stop ran). *out_more: there are others. *out_bytes as above. canceled may
 * be set by any thread, with __atomic: ERR_CANCELED. On an error the file is what it was. Not
 * beside log_remove_before: the same worker. Memory: some 40 MB and 130 bytes a series. */
MUST_USE enum status log_pack_closed(struct log *log, const bool *canceled, bool last,
                                     bool *out_more, uint64_t *out_bytes, struct err *err);
/* On the log core: the file that frames go into now; what is appended later is in it or behind. */
uint64_t log_current_file(const struct log *log);
/* Any thread. True, and *out filled in (may be NULL), after a write or sync failed. */
bool log_failure(const struct log *log, struct err *out);
/* Any thread. There is no room on the disk; what was appended waits and is tried again every
 * second.
 */
bool log_is_full(const struct log *log);
/* Any thread. OK, or why nothing should be appended now: ERR_UNAVAILABLE while the disk is full, so
 * that what waits for room is bounded. */
MUST_USE enum status log_refusal(const struct log *log, struct err *err);
static inline bool log_is_failed(const struct log *log) {
    return log_failure(log, NULL);
}
/* Any thread. Bad frames that were found at the opening. */
uint64_t log_corruptions(const struct log *log);
/* On the log core: nothing is being written. What was handed over before is through then, or waits
 * for room on the disk. */
bool log_is_quiet(const struct log *log);
/* On the log core, when it is quiet and nobody appends any more, before the loops stop: with
 * sync_every_frame off syncs the rest and disarms the timer. An error is that of the log. */
MUST_USE enum status log_stop(struct log *log, struct err *err);
/* Frees memory; appends must have drained (or the runtime is gone). Closes files without syncing.
 */
void log_free(struct log *log);
/* Metrics: prometheus_tsdb_wal_fsync_duration_seconds, prometheus_tsdb_wal_storage_size_bytes,
 * prometheus_tsdb_wal_writes_failed_total, prometheus_tsdb_wal_corruptions_total,
 * cairn_log_frames_total, cairn_log_appends_total, cairn_log_written_bytes_total. */
