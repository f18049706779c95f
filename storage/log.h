/* SPDX-License-Identifier: Apache-2.0 */
/* storage/log.h: the one log of a node, written by its log core. Data cores hand it buffers of entries; all that have
 * come by the time it runs are one frame (group commit): one pwrite, one fdatasync, then each gets its `done`.
 * The next frame is not written before this one's fsync returned, so only the last frame can be torn, and a bad frame
 * before a good one is corruption.
 *
 * Files: <dir>/log-%016x ascending by first frame number. Little-endian.
 *   file header, 32 bytes: 00-07 magic "CAIRNLOG", 08-09 format version (1), 10-11 oldest reader's version (1),
 *     12-15 zero, 16-23 number of the first frame, 24-31 XXH3-64 of bytes 00-23
 *   frame: 00-03 magic 0x4d415246 "FRAM", 04-07 payload length, 08-15 frame number (no gaps over all files),
 *     16-23 XXH3-64 of bytes 00-15 and the payload, 24- payload: entries (storage/entry.h)
 * A new file starts when the current one has grown past file_bytes_max; its name is made durable (sync_dir) before its
 * first frame counts as durable.
 *
 * Thread: log_append from a data core; log_open, log_recover at start-up. After a write or sync error the log is closed: it
 * is never synced again, and this and every later append gets the error. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "node/base/buf.h"
#include "node/base/status.h"
#include "node/runtime/core.h"
#include "node/runtime/disk.h"
#include "storage/entry.h"

struct log_options {
    const char *dir;
    uint64_t file_bytes_max;    /* 128 MiB */
    uint64_t frame_bytes_max;   /* 16 MiB: a group larger than this is several frames */
    bool sync_every_frame;      /* --storage.wal-sync=always (default); false: every sync_interval_ms, P1 given up */
    uint64_t sync_interval_ms;
};

struct log;
/* Reads what is there, front to back: each entry of each good frame goes to `apply`, in order. A torn last frame is cut off
 * (logged). A bad frame before a good one, or a missing frame number: recovery goes on behind it and *out_damaged is true
 * with err naming file and offset; the shards with a seq gap are found by apply (storage/store.h). After it the log is open
 * for appending. Start-up only: blocks. apply returning an error stops recovery with it. */
typedef enum status (*log_apply)(void *ctx, const struct entry *e, struct err *err);
MUST_USE enum status log_open(struct runtime *rt, const struct log_options *options, log_apply apply, void *ctx,
                              struct log **out, bool *out_damaged, struct err *err);

struct log_append {
    struct msg msg;        /* private */
    struct log *log;       /* private */
    struct core *home;     /* private */
    struct buf entries;    /* given: whole entries; empty after done */
    /* On the home core, in the order of its appends. OK: durable. */
    void (*done)(struct core *here, struct log_append *req, enum status status, const struct err *err);
};
void log_append(struct log *log, struct core *from, struct log_append *req);

bool log_is_failed(const struct log *log); /* any thread */
/* Frees memory; appends must have drained (or the runtime is gone). Closes files without syncing. */
void log_free(struct log *log);
/* Counters prometheus_tsdb_wal_fsync_duration_seconds, prometheus_tsdb_wal_storage_size_bytes, cairn_log_frames_total ... */
