/* SPDX-License-Identifier: Apache-2.0 */
/* tests/storage/log_rig.h: the shipped log on a simulated runtime and a disk whose power can be
 * cut, with a model of what was appended, acknowledged and recovered. Entry bodies are a function
 * of (shard, seq), so that any entry that comes back can be checked. A broken promise prints itself
 * and aborts. */
#pragma once

#include "node/base/list.h"
#include "storage/log.h"
#include "tests/sim/sim.h"

enum { RIG_SHARDS = 8, RIG_CORES = 2 };

#define RIG_CHECK(cond, ...)                                                                       \
    do {                                                                                           \
        if (!(cond)) rig_fail(__FILE__, __LINE__, #cond, __VA_ARGS__);                             \
    } while (0)
NORETURN PRINTF_LIKE(4, 5) void rig_fail(const char *file, int line, const char *cond,
                                         const char *fmt, ...);

struct rig {
    struct log_options options;
    struct sim_disk *sd;
    struct sim *sim;
    struct runtime *rt; /* NULL: down */
    struct log *log;
    size_t body_bytes_max; /* of an entry; 60 */

    uint64_t appended[RIG_SHARDS], acked[RIG_SHARDS]; /* last seq */
    unsigned in_flight, done_count, failed_count;
    bool failed_on[RIG_CORES], acked_after_failure;
    struct err failure;
    unsigned submitted[RIG_CORES], done[RIG_CORES];
    void (*on_done)(struct rig *rig, unsigned core);
    struct list_node ops; /* in flight */

    uint64_t recovered[RIG_SHARDS];
    unsigned recovered_count, gaps_count;
    bool gap[RIG_SHARDS];
    bool allow_gaps, damaged;
    struct err damage; /* or the error of rig_start */
};

void rig_init(struct rig *rig, uint64_t seed);
void rig_fini(struct rig *rig);
/* Starts a process: opens the log, checks what it recovers entry by entry. The model of what is
 * appended continues from there. */
MUST_USE enum status rig_start(struct rig *rig);
void rig_must_start(struct rig *rig);
/* What was recovered: everything acknowledged, nothing that was not appended. */
void rig_verify(const struct rig *rig);
void rig_kill(struct rig *rig);      /* the process ends; the disk stays as it is */
void rig_power_cut(struct rig *rig); /* and unsynced writes settle by seed */

/* Hands one buffer of entries for the shard to the log, from a core. */
void rig_append(struct rig *rig, unsigned core, uint32_t shard, unsigned entries_count);
void rig_run(struct rig *rig);           /* until all are done */
void rig_append_to_all(struct rig *rig); /* one entry for every shard, which must succeed */
/* A log of so many frames of one append each, on shards in turn, in files of that size. */
void rig_make_log(struct rig *rig, unsigned frames_count, uint64_t file_bytes_max);
/* Until all are done, or the disk has had that many calls in all: true. */
bool rig_run_to_call(struct rig *rig, uint64_t call);

struct sv rig_body(const struct rig *rig, uint32_t shard, uint64_t seq, char *scratch);
size_t rig_entry_bytes(const struct rig *rig, uint32_t shard, uint64_t seq);

/* Files of the log, as they are. */
size_t rig_files(const struct rig *rig, uint64_t firsts[], size_t max);
struct buf rig_file_read(const struct rig *rig, uint64_t first);
void rig_file_write(const struct rig *rig, uint64_t first, struct sv bytes); /* replaces; synced */
void rig_file_remove(const struct rig *rig, uint64_t first);
