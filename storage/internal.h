/* SPDX-License-Identifier: Apache-2.0 */
/* storage/internal.h: the inside of the head, for the files of this folder.
 *
 *   series (hot) 64 B --> open chunk: chain of 64-byte blocks
 *   series (cold) 32 B --> pair ids (exact size), sealed chunks newest to oldest, late samples
 *   pair id --> struct pair (symbols), struct posting (index)
 *
 * Memory that a reader may hold (blocks of a chunk that was sealed, arrays of late samples that
 * were replaced) goes to the newest live selection when it is let go: only that one and older ones
 * can have seen it. When a selection is released its list moves to the next older one, and is freed
 * when there is none. */
#pragma once

#include "node/base/map.h"
#include "storage/chunk.h"
#include "storage/head.h"
#include "storage/head_histograms.h"
#include "storage/index.h"
#include "storage/symbols.h"

struct series { /* all that appending a sample in order touches */
    series_id id;
    struct chunk_open open; /* open.owner: the number in the shard's log */
};
static_assert(sizeof(struct series) == 64, "one cache line");

struct chunk { /* sealed; immutable */
    struct chunk *older;
    int64_t min_ms, max_ms;
    uint16_t count, len_bytes;
    uint8_t bytes[]; /* encoding first */
};

struct late_sample {
    int64_t time_ms;
    uint64_t bits;
};
struct late {          /* sorted; at[0..count) of a snapshot never changes */
    struct late *next; /* when retired */
    uint32_t count, cap;
    bool seen; /* in a view: rows before its late_count stay where they are while selections live */
    struct late_sample at[];
};

struct series_cold {
    const uint32_t *pairs; /* count, then pair ids ordered by name; NULL: dead (head_drop.c) */
    struct chunk *sealed;  /* newest */
    struct late *late;
    uint32_t shard;
    uint32_t next_in_shard;
};
static_assert(sizeof(struct series) + sizeof(struct series_cold) <= 96, "memory per series");

struct retired {
    struct chunk_block *blocks_first, *blocks_last;
    struct late *late_first, *late_last;
    struct extra_rows *extra_first, *extra_last;
    uint32_t dead_first, dead_last; /* series, HEAD_NONE: none */
};

enum { PAIRS_SIZES = 64 }; /* up to that many labels arrays of pair ids are used again by size */
#define SHARD_GIVEN UINT32_MAX

struct head {
    struct head_options options;
    struct stable series, cold; /* by ref */
    struct map by_id;
    struct symbols symbols;
    struct index index;
    struct bump pair_ids;
    uint32_t *pairs_free[PAIRS_SIZES];
    uint64_t pairs_bytes; /* of larger ones */
    struct u32s shards;   /* by shard: its newest series, linked to older ones */
    uint32_t live_count;  /* series */
    uint32_t dead_count;  /* of them in posting lists */
    struct chunk_slab blocks;
    struct head_extras extras; /* what few series have */
    struct u32s scratch_pairs;
    struct selection *newest; /* live selections, linked to older ones */
    uint64_t chunks_count;
    uint64_t samples_appended;
    uint64_t sealed_bytes, late_bytes;
    int64_t min_time_ms, max_time_ms;
};

static inline struct series *head_series(const struct head *head, uint32_t ref) {
    assert(ref < head->series.count);
    return STABLE_AT(head->series.dir, struct series, ref);
}
static inline struct series_cold *head_cold(const struct head *head, uint32_t ref) {
    assert(ref < head->series.count);
    return STABLE_AT(head->cold.dir, struct series_cold, ref);
}

/* A reference from a posting list, or remembered from an earlier slice, may be of a dead series. */
static inline bool head_is_live(const struct head *head, uint32_t ref) {
    assert(ref < head->series.count);
    return head->cold.dir[ref >> STABLE_SHIFT] != NULL && head_cold(head, ref)->pairs != NULL;
}

/* head.c: what is in order for its series is accepted from there on */
int64_t head_in_order_ms(const struct head *head, int64_t shard_newest_ms);

/* head_drop.c */
uint32_t *head_pairs_alloc(struct head *head, uint32_t count) MUST_USE;
void head_pairs_give(struct head *head, uint32_t *pairs, uint32_t count);
enum status head_shard_reserve(struct head *head, uint32_t shard) MUST_USE;
void head_give_series(struct head *head, uint32_t first); /* of a list of dead ones */
void head_sweep_if_many(struct head *head);

/* head_late.c: is there a sample at that time, older than the newest of the series, and with what
 * bits? */
bool head_holds(const struct head *head, uint32_t ref, int64_t time_ms, uint64_t *out_bits);
/* The time must not be held. */
enum status head_late_insert(struct head *head, uint32_t ref, int64_t time_ms,
                             uint64_t bits) MUST_USE;
uint32_t late_seek(const struct late_sample *at, uint32_t count,
                   int64_t time_ms); /* first >= time_ms */

/* head_read.c */
bool head_series_overlaps(const struct head *head, uint32_t ref, int64_t from_ms, int64_t to_ms);
void series_view_take(const struct head *head, uint32_t ref, struct series_view *out);

/* select.c */
void head_retire_blocks(struct head *head, struct chunk_block *first, struct chunk_block *last);
void head_retire_late(struct head *head, struct late *late);
void head_retire_extra(struct head *head, struct extra_rows *rows);
void head_retire_series(struct head *head, uint32_t dead_first, uint32_t dead_last);
/* Around taking references out of posting lists. */
void selections_hold_places(struct head *head);
void selections_find_places(struct head *head);
/* The series that match, without asking for time: runs to the end. *out_refs freed by the caller.
 */
enum status select_refs(struct head *head, const struct select_query *query, struct u32s *out,
                        struct err *err) MUST_USE;
