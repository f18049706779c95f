/* SPDX-License-Identifier: Apache-2.0 */
/* storage/internal.h: the inside of the head, for the files of this folder.
 *
 *   series (hot) 64 B --> open chunk: chain of 64-byte blocks
 *   series (cold) 40 B --> labels: order, own pair ids, a set of pair ids that others share; sealed
 *                          chunks newest to oldest; late samples
 *   pair id --> struct pair (symbols), struct posting (index) --> orders --> reference
 *
 * Memory that a reader may hold (blocks of a chunk that was sealed, sealed chunks that were cut
 * off, arrays of late samples that were replaced) goes to the newest live selection when it is let
 * go: only that one and older ones can have seen it. When a selection is released its list moves to
 * the next older one, and is freed when there is none. */
#pragma once

#include "node/base/map.h"
#include "storage/chunk.h"
#include "storage/head.h"
#include "storage/head_histograms.h"
#include "storage/index.h"
#include "storage/spill.h"
#include "storage/symbols.h"
#include "storage/times.h"

struct series { /* all that appending a sample in order touches */
    series_id id;
    struct chunk_open open; /* open.owner: the number in the shard's log */
};
static_assert(sizeof(struct series) == 64, "one cache line");

/* Sealed; immutable. */
enum chunk_kind {
    CHUNK_CONST, /* bytes are those of the one value */
    CHUNK_PAGE,  /* bytes are a page (storage/page/page.h) */
    CHUNK_FAR,   /* bytes are a struct spilled, which is where the page is */
};
struct chunk {
    struct chunk *older; /* followed only as far as the count beside the chain says */
    struct times *times; /* as many as there are samples */
    uint16_t len_bytes;
    uint8_t kind;
    uint8_t bytes[];
};
enum { CHUNK_JOINED_MAX = 480 }; /* samples of a constant chunk, which takes up those that follow */

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

/* Pairs that many series have (head_sets.c); immutable. */
struct label_set {
    uint32_t uses, count;
    uint32_t pairs[]; /* by name */
};
/* Of one series, exact in size; immutable. */
struct series_labels {
    union {
        struct label_set *shared; /* NULL: none */
        struct series_labels *next_free;
    };
    uint32_t order; /* of the series */
    uint32_t own;
    uint32_t pairs[]; /* by name, those that are not shared */
};
static inline uint32_t labels_total(const struct series_labels *l) {
    return l->own + (l->shared == NULL ? 0 : l->shared->count);
}
/* Pairs in some order, 0 .. labels_total - 1. */
static inline uint32_t labels_at(const struct series_labels *l, uint32_t i) {
    return i < l->own ? l->pairs[i] : l->shared->pairs[i - l->own];
}

struct series_cold {
    struct series_labels *labels; /* NULL: dead (head_drop.c) */
    struct chunk *sealed;         /* newest */
    struct late *late;
    uint32_t sealed_count;
    uint32_t shard;
    uint32_t next_in_shard; /* of a free reference: the next one */
};
static_assert(sizeof(struct series) + sizeof(struct series_cold) <= 104, "memory per series");

/* Sealed chunks that live selections may see. */
struct retired_chunks {
    struct retired_chunks *next;
    uint32_t count;
    struct chunk *at[29];
};
struct retired {
    struct chunk_block *blocks_first, *blocks_last;
    struct late *late_first, *late_last;
    struct retired_chunks *chunks_first, *chunks_last;
    struct extra_rows *extra_first, *extra_last;
    struct spill_buffer *buffers_first, *buffers_last;
    uint32_t dead_first, dead_last; /* series, HEAD_NONE: none */
};

enum {
    PAIRS_SIZES = 64, /* up to that many own pairs labels are used again by size */
    SETS_RECENT = 8,
    LAST_PAIRS_MAX = 64,
};
#define SHARD_GIVEN UINT32_MAX

struct head_shard {
    int64_t from_ms;
    uint32_t first; /* its newest series, linked to older ones */
    uint32_t series_count;
    bool trim_wanted; /* something may be there to be freed */
};

struct head {
    struct head_options options;
    struct stable series, cold; /* by ref */
    struct map by_id;
    struct symbols symbols;
    struct index index;
    struct orders orders;
    struct bump pair_ids;
    struct series_labels *labels_free[PAIRS_SIZES];
    uint64_t pairs_bytes;                       /* of larger ones */
    struct label_set *sets_recent[SETS_RECENT]; /* named last first; NULL behind */
    uint64_t sets_bytes;
    uint32_t last_pairs[LAST_PAIRS_MAX], last_count; /* of the series that came last */
    struct head_shard *shards;
    uint32_t shards_count;
    int64_t from_max_ms; /* no shard's from_ms is later: times from there on need not ask */
    uint32_t live_count; /* series */
    uint32_t dead_count; /* of them in posting lists */
    uint32_t refs_free, free_count; /* references that are given, linked */
    uint32_t segments_gone;         /* of series and cold: NULL in their directories */
    struct {                        /* head_trim.c: where it is */
        uint32_t shard, before; /* the series before the next one; HEAD_NONE: the first is next */
        uint32_t sweep, dead_count; /* the next pair, HEAD_NONE: not sweeping; dead at the start */
        bool wanted, in_shard, lacked; /* memory */
    } trim;
    struct chunk_slab blocks;
    struct head_extras extras; /* what few series have */
    struct u32s scratch_pairs;
    struct selection *newest;              /* live selections, linked to older ones */
    void (*gone)(void *ctx, uint32_t ref); /* may be NULL */
    void *gone_ctx;
    uint64_t chunks_count;
    uint64_t samples_appended;
    uint64_t sealed_bytes, late_bytes;
    int64_t min_time_ms, max_time_ms;
    struct head_limit *limits; /* with metrics and texts behind */
    struct metric **limits_refused;
    size_t limits_count, limits_bytes;
    uint32_t target_names[2]; /* of "job", "instance"; MAP_NONE: not seen yet */
    struct spill spill;
    struct times_table times;
    struct page_scratch scratch; /* of the core */
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
    return head->cold.dir[ref >> STABLE_SHIFT] != NULL && head_cold(head, ref)->labels != NULL;
}

static inline void head_count_sample(struct head *head, int64_t time_ms) {
    head->samples_appended++;
    if (time_ms < head->min_time_ms) head->min_time_ms = time_ms;
    if (time_ms > head->max_time_ms) head->max_time_ms = time_ms;
}

/* Of the shard; a shard that the head does not know has all. */
static inline int64_t head_from(const struct head *head, uint32_t shard) {
    return shard < head->shards_count ? head->shards[shard].from_ms : INT64_MIN;
}
/* Whether a time of that series is before what its shard has. */
static inline bool head_is_before(const struct head *head, uint32_t ref, int64_t time_ms) {
    return time_ms < head->from_max_ms && time_ms < head_from(head, head_cold(head, ref)->shard);
}
static inline bool shard_is_asked(const struct shard_set *shards, uint32_t shard) {
    return shards == NULL || (shard < shards->shards_count && shard_set_has(shards, shard));
}

/* head.c: a series with the labels in scratch_pairs, interned and room for it reserved in their
 * lists (index_reserve). */
enum status head_series_make(struct head *head, series_id id, uint32_t shard,
                             uint32_t *out_ref) MUST_USE;

/* head_sets.c */
/* Of pairs by name; the order is the caller's to set. NULL: out of memory. */
struct series_labels *head_labels_make(struct head *head, const uint32_t *pairs,
                                       uint32_t count) MUST_USE;
void head_labels_give(struct head *head, struct series_labels *l);
/* By name; any thread. */
struct labels_walk {
    const struct series_labels *labels;
    char *const *symbols;
    uint32_t own, shared;
};
uint32_t labels_walk_next(struct labels_walk *w); /* a pair; MAP_NONE: the end */

/* head_drop.c */
/* A reference for a new series: reserved, then taken, which cannot fail. */
enum status head_ref_reserve(struct head *head) MUST_USE;
uint32_t head_ref_peek(const struct head *head);
void head_ref_take(struct head *head);
enum status head_shard_reserve(struct head *head, uint32_t shard) MUST_USE;
struct dead_list {
    uint32_t first, last;
};
/* Live to dead; the caller takes it out of its shard's list. */
void head_kill(struct head *head, uint32_t ref, struct dead_list *dead);
void head_give_series(struct head *head, uint32_t first); /* of a list of dead ones */
bool head_sweep_is_due(const struct head *head);
/* Goes on with sweeping, or begins; true when it came to its end. */
bool head_sweep_step(struct head *head, uint64_t until_ns);
void head_chunk_free(struct head *head, struct chunk *c);

/* head_sealed.c */
struct chain { /* of sealed chunks */
    struct chunk *newest;
    uint32_t count;
};
/* The open chunk's samples become the chain's newest, or go into its newest one where both are one
 * value; a chunk that was seen is retired then. */
enum status head_chain_seal(struct head *head, struct chain *chain, const struct chunk_open *open,
                            bool seen) MUST_USE;
/* A chunk as another head had it becomes the newest; takes over the count of times. Its values are
 * looked at. ERR_CORRUPT, ERR_NOMEM: nothing changed, and times are given back. */
struct chunk_saved {
    enum chunk_kind kind; /* never CHUNK_FAR */
    const uint8_t *bytes;
    size_t len;
};
enum status head_chain_restore(struct head *head, struct chain *chain, struct times *times,
                               const struct chunk_saved *saved) MUST_USE;
/* How many samples a chunk that has two shall get. */
uint8_t head_seal_point(struct head *head, uint32_t ref, const struct chunk_open *open);
void head_chain_free(struct head *head, const struct chain *chain);
size_t head_chunk_bytes(const struct chunk *c); /* of memory */
/* Any thread. Rows from `from` on. */
enum status chunk_values(const struct chunk *c, struct page_scratch *s, size_t from,
                         double *out) MUST_USE;

/* head_trim.c */
/* How many of the newest chunks are not wholly before from_ms. */
uint32_t head_chunks_kept(const struct series_cold *cold, int64_t from_ms);
void head_trim_want(struct head *head, uint32_t shard);
bool head_slice_is_over(uint64_t until_ns);

/* head_late.c: is there a sample at that time, older than the newest of the series, and with what
 * bits? */
bool head_holds(const struct head *head, uint32_t ref, int64_t time_ms, uint64_t *out_bits);
/* The time must not be held. */
enum status head_late_insert(struct head *head, uint32_t ref, int64_t time_ms,
                             uint64_t bits) MUST_USE;
/* Room for that many rows in a series that has none; the caller fills and counts them. */
enum status head_late_restore(struct head *head, uint32_t ref, uint32_t count) MUST_USE;
uint32_t late_seek(const struct late_sample *at, uint32_t count,
                   int64_t time_ms); /* first >= time_ms */

/* head_read.c */
bool head_series_overlaps(const struct head *head, uint32_t ref, int64_t from_ms, int64_t to_ms);
/* Asks the memory for what that will look at behind the series. */
static inline void head_series_touch(const struct head *head, uint32_t ref, int64_t to_ms) {
    const struct chunk_open *open = &head_series(head, ref)->open;
    if (open->last_ms > to_ms && open->first != NULL) __builtin_prefetch(open->first);
}
void series_view_take(const struct head *head, uint32_t ref, struct series_view *out);

/* select.c, select_retired.c */
/* ERR_NOMEM: the chunk was not retired, and must stay where it is. */
enum status head_retire_chunks(struct head *head, struct chunk *newest, uint32_t count) MUST_USE;
void head_retire_blocks(struct head *head, struct chunk_block *first, struct chunk_block *last);
void head_retire_late(struct head *head, struct late *late);
void head_retire_extra(struct head *head, struct extra_rows *rows);
void head_retire_buffer(void *head, struct spill_buffer *buffer);
void head_retire_series(struct head *head, uint32_t dead_first, uint32_t dead_last);
/* After series were taken out of posting lists. */
void selections_forget_hints(struct head *head);
/* The series that match, without asking for time: runs to the end. *out_refs freed by the caller.
 */
enum status select_refs(struct head *head, const struct select_query *query, struct u32s *out,
                        struct err *err) MUST_USE;
