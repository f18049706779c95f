/* SPDX-License-Identifier: Apache-2.0 */
/* storage/archive/archive.h: the blocks of a node: what becomes of closed ranges. Data cores write
 * them from their heads (flush.h), the archive merges them, forgets what is too old, and lets go of
 * the log what no shard needs any more.
 *
 * What changes is a change of the manifest, which is made in rounds, one at a time:
 *   IDLE -> SAVING (a worker replaces the manifest) -> INSTALLING (each core takes the new list of
 *   blocks and, in the same turn, shows of its head what is not in them; says what it needs of the
 *   log, and which shards it has) -> CLEANING (a worker removes files that nobody needs) -> IDLE
 * IDLE -> HELD -> IDLE: nothing changes, for who copies.
 * A manifest that cannot be saved is tried again; until then nothing changed.
 *
 * Thread: the log core; archive_change_submit from any core; opening at start-up. */
#pragma once

#include <stdatomic.h>

#include "node/base/list.h"
#include "node/runtime/core.h"
#include "storage/archive/block_list.h"
#include "storage/archive/plan.h"
#include "storage/log.h"
#include "storage/store.h"

struct archive_options {
    const char *dir; /* made when it is not there */
    uint64_t secret; /* of series ids */
    uint32_t tenant, shards_count;
    int64_t range_ms;      /* of blocks from heads: 2 h */
    int64_t merged_ms_max; /* longest range of a merged block */
    uint64_t bytes_max;    /* of all blocks; the oldest ranges go beyond it; 0: no bound */
    struct plan_level levels[PLAN_LEVELS]; /* of downsampling */
    int64_t raw_ms; /* for how long samples stay; blocks of a tenth of it at most; 0: no bound */
    uint32_t exemplars_max; /* in a merged block; 0: no bound */
    uint64_t round_ms;      /* how often what is not needed is looked for: 10 s */
    uint64_t scrub_ms;      /* each block is read through once in that time (scrub.h); 0: never */
};
struct archive;
/* Reads the manifest, removes files that are not in it, opens the blocks. One that is missing or
 * bad is named in the log and stays in the list as such; a manifest that is, where there are
 * blocks, is an error, and nothing is removed. Blocks the thread. */
MUST_USE enum status archive_open(struct runtime *rt, const struct archive_options *options,
                                  struct archive **out, struct err *err);
struct archive_copies { /* of the shards that are here; 0: not here */
    uint32_t (*copy_of)(void *ctx, uint32_t shard);
    void *ctx;
};
/* Start-up, before archive_add_core: blocks that `cairnctl import` left (import-*.block) count from
 * now on, for these shards. One that is bad is an error that names it. */
MUST_USE enum status archive_adopt(struct archive *a, const struct archive_copies *copies,
                                   struct err *err);
/* What was loaded; before archive_start. */
const struct manifest *archive_manifest(const struct archive *a);
struct block_list *archive_blocks(const struct archive *a); /* borrowed */

/* A data core's side. Registered before archive_start. */
struct archive_core {
    struct archive *archive;
    struct core *core;
    struct store *store;
    struct msg msg;                            /* private */
    uint64_t log_floor;                        /* private */
    void (*advanced)(struct archive_core *ac); /* after each round, on the core; may be NULL */
};
void archive_add_core(struct archive *a, struct archive_core *ac);
/* Rounds begin. Before the loops run, or on the log core. */
void archive_start(struct archive *a, struct log *log);
/* On the log core: no new round or merge begins. done runs there when nothing is under way. */
void archive_stop(struct archive *a, void (*done)(void *ctx), void *ctx);
/* Memory only; nothing is under way, or the runtime is gone. */
void archive_free(struct archive *a);

/* A number that no block ever had. Any thread. */
uint64_t archive_take_number(struct archive *a);
/* The path of its file: heap memory; NULL: no memory. Any thread. */
char *archive_block_path(const struct archive *a, uint64_t number) MUST_USE;
/* Opens the file for b->of.number, and fills in what the manifest is to say of it: a part for each
 * shard that it has and that has a copy number. Any thread. On failure b holds nothing. */
MUST_USE enum status archive_block_open(const struct archive *a, const char *path,
                                        const struct archive_copies *copies, struct list_block *b,
                                        struct err *err);
struct disk *archive_disk(const struct archive *a);
const struct archive_options *archive_get_options(const struct archive *a);
/* On the log core: archive_options.bytes_max from now on. */
void archive_set_bytes_max(struct archive *a, uint64_t bytes);
/* The same: archive_options.levels and raw_ms. */
void archive_set_levels(struct archive *a, const struct plan_level levels[PLAN_LEVELS],
                        int64_t raw_ms);
/* What blocks hold before it is to go, by archive_options.bytes_max; INT64_MIN: nothing. Any
 * thread. */
int64_t archive_size_floor(const struct archive *a);

struct archive_repair_shard {
    uint32_t shard, copy;
    int64_t min_ms, max_ms; /* both inclusive */
    bool only_bad;          /* blocks that can be read stay */
};
struct archive_change {
    /* given, borrowed until done */
    /* Blocks and what is said of them; references are taken. A part counts where the manifest has
     * the shard under that copy number when the change is made. */
    struct list_block *adds;
    uint32_t adds_count;
    const uint64_t *removes; /* numbers */
    uint32_t removes_count;
    int64_t ended_to_ms; /* samples of them up to there go, for their rows; 0: none do */
    const struct manifest_shard *shards; /* as they are from now on */
    uint32_t shards_count;
    /* Shards that are no longer here under that copy number; a later one stays. */
    const struct manifest_part *drops;
    uint32_t drops_count;
    /* The shards begin with these records, where they have none under that copy number yet; else
     * neither record nor parts count. */
    bool is_import;
    /* Of the shards' records only the tombstones count, where they are there under that copy
     * number.
     */
    bool is_tombstones;
    /* What blocks have of these shards in these times goes, and what the added ones have of them
     * takes its place (repair.h); refused: how many shards stay as they are. */
    const struct archive_repair_shard *repairs;
    size_t repairs_count;
    uint32_t refused;
    /* Of these shards nothing counts any more in the blocks of `removes`, which stay (loss.h). */
    const struct manifest_part *losses;
    uint32_t losses_count;
    /* On the home core, when it is durable and all cores have it. */
    void (*done)(struct core *here, struct archive_change *c);
    /* private */
    struct msg msg;
    struct list_node node;
    struct archive *archive;
    struct core *home;
};
void archive_change_submit(struct archive *a, struct core *home, struct archive_change *c);

/* On the log core: waits until no round is under way, and none begins before the release: blocks,
 * manifest and the log's older files stay as they are. Not held: the archive is stopping. */
struct archive_hold {
    void (*held)(struct archive_hold *hold, bool held); /* given; may run inside the call */
    struct list_node node;                              /* private */
};
void archive_hold(struct archive *a, struct archive_hold *hold);
void archive_release(struct archive *a);

/* On the log core: the manifest has all tombstones that the cores have now, when done runs there.
 * The archive is started; false: no memory. done: OK or ERR_NOMEM; while the archive is stopping OK
 * says nothing. */
struct teller;
struct archive_tell {
    void (*done)(struct archive_tell *tell, enum status status); /* given */
    struct archive *archive;                                     /* private */
    struct list_node node;
    struct teller *tellers;
    unsigned open;
};
bool archive_tell(struct archive *a, struct archive_tell *tell) MUST_USE;

/* On the log core: blocks that have samples of times of which something was deleted are written
 * anew without it; one that cannot be read stays. done runs there, maybe inside the call. */
struct archive_clean {
    void (*done)(struct archive_clean *clean, enum status status, const struct err *err);
    /* private */
    struct archive_tell tell;
    struct list_node node;
    uint64_t from, before; /* numbers of blocks that are to be looked at */
};
void archive_clean(struct archive *a, struct archive_clean *clean);

struct archive_stats {
    uint64_t blocks, bytes;           /* of all */
    uint64_t rows_blocks, rows_bytes; /* of those with downsampled rows */
    uint64_t merges, merges_failed, log_files_removed;
    uint32_t bad_blocks;
};
void archive_get_stats(const struct archive *a, struct archive_stats *out); /* any thread */
