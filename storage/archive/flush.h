/* SPDX-License-Identifier: Apache-2.0 */
/* storage/archive/flush.h: a core's closed ranges become a block. Every tick it cuts what is due,
 * raises floors, and, when all shards of the core that were cut have it durably (or after a
 * minute), writes them: some shards at a time, selected on the core in slices of a millisecond,
 * sorted and written by a worker; then one change of the manifest. IDLE -> SELECTING <-> WRITING
 * (by groups of shards) -> FINISHING -> CHANGING -> IDLE What fails is named in the log and tried
 * again. Thread: the core. */
#pragma once

#include "storage/archive/archive.h"
#include "storage/archive/retention.h"

struct flush_options {
    struct archive_core *core;   /* registered with the archive */
    struct store_may may;        /* write: this node is the shard's primary, with its lease */
    struct retention *retention; /* a reference is taken */
    uint64_t tick_ms;            /* 10 s */
    uint64_t patience_ms;        /* a minute */
};
struct flusher;
MUST_USE enum status flusher_new(const struct flush_options *options, struct flusher **out,
                                 struct err *err);
/* On the core, which may run while another thread makes it: ticks from now on. Again: nothing. */
void flusher_start(struct flusher *f);
/* From the next tick on; a reference is taken. */
void flusher_set_retention(struct flusher *f, struct retention *retention);
/* Begins nothing any more; done runs, on the core, when nothing is under way. */
void flusher_stop(struct flusher *f, void (*done)(void *ctx), void *ctx);
void flusher_free(struct flusher *f); /* memory only; NULL too */
/* Metrics: cairn_blocks_written_total, cairn_blocks_write_failures_total. */
