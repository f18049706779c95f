/* SPDX-License-Identifier: Apache-2.0 */
/* storage/archive/manifest.h: which blocks of a node count, and from where on each shard's log is
 * needed. It is replaced as a whole (disk_write_file), so what it says was true at one moment. The
 * format is specified in manifest.c. Plain data, owned by whoever holds the struct. */
#pragma once

#include <stdint.h>

#include "node/base/buf.h"
#include "node/base/status.h"
#include "node/runtime/disk.h"
#include "ring/replica/store_ops.h"
#include "storage/ended.h"

struct manifest_part { /* of a block: what it has of a shard, under which copy number */
    uint32_t shard, copy;
};
struct manifest_block {
    uint64_t number;        /* its file is <number, 16 hex digits>.block */
    uint16_t level;         /* storage/block/block.h */
    uint32_t resolution_ms; /* 0: raw */
    int64_t min_ms, max_ms; /* of samples, both inclusive */
    uint64_t file_bytes;
    bool has_histograms;         /* of rows: their windows may have samples that are in no row */
    struct manifest_part *parts; /* ascending by shard */
    uint32_t parts_count;
};

/* Samples of these series from min_ms to max_ms were deleted, as the entry at that place says. Only
 * samples that were in a closed range by then: what was in the head went from there. */
struct tombstone {
    struct place place;
    int64_t min_ms, max_ms;
    char *matchers; /* as the entry has them (storage/entry.h); owned */
    size_t matchers_len;
    uint64_t position; /* in a store: durable when that is. Not in the manifest, which has only
                          those that are: another entry might get the place of one that was lost */
};

struct manifest_epoch { /* a closed one, and the hash of its end and of all before */
    uint32_t epoch;
    uint64_t last_seq, history;
};

/* A shard with a head here. Its state is what the blocks have of it before from_ms, and what the
 * log's entries behind `base` say of later times. */
struct manifest_shard {
    uint32_t shard, copy;
    int64_t from_ms;    /* INT64_MIN: nothing is in blocks */
    int64_t floor_ms;   /* what is older has ended its retention; INT64_MIN */
    struct ended ended; /* and by resolution */
    int64_t gone_ms;    /* samples at or before it may lack in blocks (cover.h); 0: none do */
    struct place base;  /* 0/0: the log is needed from its beginning */
    int64_t cut_ms, newest_ms; /* the shard's at base; INT64_MIN */
    struct manifest_epoch *epochs;
    uint32_t epochs_count; /* before base.epoch, ascending */
    struct tombstone *tombstones;
    uint32_t tombstones_count;
    char *items; /* what is known of its metric families, as a WRITE body; owned; NULL: nothing */
    size_t items_len;
};

struct manifest {
    uint64_t next_number; /* no block ever had it */
    struct manifest_block *blocks;
    uint32_t blocks_count, blocks_cap;
    struct manifest_shard *shards; /* ascending */
    uint32_t shards_count, shards_cap;
};
void manifest_fini(struct manifest *m);
/* *to is empty before. ERR_NOMEM: it is empty after. */
MUST_USE enum status manifest_copy(const struct manifest *from, struct manifest *to);

/* Finds; NULL: there is none. */
struct manifest_shard *manifest_shard_find(const struct manifest *m, uint32_t shard);
struct manifest_block *manifest_block_find(const struct manifest *m, uint64_t number);
/* What the block has of the shard under that copy number; NULL: nothing. */
struct manifest_part *manifest_block_part(const struct manifest_block *b, uint32_t shard,
                                          uint32_t copy);
/* Takes *s (what it owns too) in place of what is said of that shard now. ERR_NOMEM: *s is left. */
MUST_USE enum status manifest_shard_set(struct manifest *m, struct manifest_shard *s);
/* The shard, and what blocks have of it, are forgotten; so are blocks without another part. */
void manifest_shard_remove(struct manifest *m, uint32_t shard);
MUST_USE enum status manifest_block_add(struct manifest *m, struct manifest_block *b);
void manifest_block_remove(struct manifest *m, uint64_t number);
void manifest_shard_fini(struct manifest_shard *s);
MUST_USE enum status manifest_shard_copy(const struct manifest_shard *from,
                                         struct manifest_shard *to);
void manifest_block_fini(struct manifest_block *b);
/* A name in ULID's form (https://github.com/ulid/spec) that stays with the block: its last sample's
 * time and the number of its file. */
enum { MANIFEST_ULID_CHARS = 26 };
void manifest_put_ulid(const struct manifest_block *b, struct buf *out);

void manifest_put(const struct manifest *m, struct buf *out);
/* ERR_CORRUPT names the offset, ERR_UNSUPPORTED a newer format. */
MUST_USE enum status manifest_get(struct sv bytes, struct manifest *out, struct err *err);
/* One shard's record alone, as it goes to another node: as that version of the format has it; 1 has
 * nothing of what has ended by resolution. */
enum { MANIFEST_FORMAT = 2 };
void manifest_shard_put(const struct manifest_shard *s, unsigned version, struct buf *out);
MUST_USE enum status manifest_shard_get(struct sv bytes, unsigned version,
                                        struct manifest_shard *out, struct err *err);

/* <dir>/MANIFEST. Missing: empty, OK. Start-up or a worker. */
MUST_USE enum status manifest_load(struct disk *disk, const char *dir, struct manifest *out,
                                   struct err *err);
MUST_USE enum status manifest_save(struct disk *disk, const char *dir, const struct manifest *m,
                                   struct err *err);
