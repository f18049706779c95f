/* SPDX-License-Identifier: Apache-2.0 */
/* storage/archive/scrub.h: every frame of every block is read, and its checksum compared, once in
 * archive_options.scrub_ms: slowly, by a worker, one slice at a time (at most SCRUB_RATE_MAX bytes
 * a second). One that somebody could not read (block_set_suspect) is looked at first, and at once.
 *
 * What is bad is named in the log and counted, and is a bad block of all lists from the next round
 * on: nothing of it is answered, nothing is merged with it, and replication fetches what it has
 * from another replica (repair.h). A file that is missing is bad; one that could not be read for
 * want of memory or descriptors is looked at again later.
 *
 * Thread: the log core. */
#pragma once

#include "storage/archive/archive.h"

enum { SCRUB_RATE_MAX = 32 << 20 };

/* All blocks that have anything of the shard (UINT32_MAX: of any) are read through now, without a
 * pause. From any core; done runs there, once each has been read and what was found to be bad is so
 * in its list; never once the archive is stopping. blocks: so many were read. ERR_NOMEM. */
MUST_USE enum status scrub_ask(struct archive *a, struct core *home, uint32_t shard,
                               void (*done)(void *ctx, uint32_t blocks), void *ctx);

struct scrub;
MUST_USE enum status scrub_new(struct archive *a, struct scrub **out, struct err *err);
void scrub_start(struct scrub *s);
/* Begins nothing any more; archive_stopped_check when nothing is under way. */
void scrub_stop(struct scrub *s);
bool scrub_is_running(const struct scrub *s);
void scrub_free(struct scrub *s); /* memory only; NULL too */
/* A new list: what was found to be bad is bad in it. */
void scrub_mark(struct scrub *s, struct block_list *list);
/* Something was found that is not so in the list that counts. */
bool scrub_has_found(const struct scrub *s);
/* Metrics: cairn_scrub_bytes_total, cairn_scrub_blocks_total, cairn_scrub_bad_blocks_total. */
