/* SPDX-License-Identifier: Apache-2.0 */
/* query/gather/internal.h: shared by the files of query/gather only.
 *
 *   flow (gather.c)        one query on its coordinator: gate, rounds, finish
 *   scatter (scatter.c)    one fragment over a set of shards, spread (spread.h) over the nodes
 *                          and cores that may answer, folded in the order of the parts
 *   local part (part.c)    select on the core (selected.h), evaluate on a worker, release
 *   remote part (remote.c) the same asked of another node (part_call.h), which scatters over its
 *                          own cores (served.h)
 * Lists (series, label names, label values) go the same way with files of their own, see list.h. */
#pragma once

#include "node/base/list.h"
#include "query/gather/gather.h"
#include "query/gather/spread.h"

enum { LEAVES_MAX = 64, REPLY_PIECE_BYTES = 8 << 20 };

struct gather {
    struct core *core;
    struct gather_options options;
    unsigned running;
    struct list_node waiting; /* of struct gather_flow: the gate's queue */
    struct list_node flows;   /* all on this core, to be cancelled by gather_stop */
    struct list_node served;  /* of struct served: other nodes' questions */
    struct list_node lists;   /* of struct list_flow */
    struct list_node spreads; /* of struct spread that is not over */
    bool stopping, starting;
    uint64_t remote_usual_ns; /* how long parts on other nodes take: a moving average */
    uint32_t words;           /* of a shard set */
    uint64_t *scratch;        /* words, within one call */
    uint32_t *epochs;         /* of the map's shards */
    struct spread_plan *plans[SPREAD_PLANS];
};
/* -- one fragment over some shards */
struct scatter;
struct scatter_options {
    struct gather *g;
    struct query *query; /* borrowed; lives until done */
    const struct fragment *fragment;
    const uint64_t *shards; /* wanted; NULL: all of the map */
    bool local_only;
    bool encode; /* what is folded is wanted as bytes */
    uint64_t timeout_ms;
    struct query_control *control;              /* borrowed; polled by workers */
    void (*done)(struct scatter *s, void *ctx); /* once, on the core, never inside scatter_new */
    void *ctx;
};
struct scatter_part {
    struct spread_part base;
    struct partial *partial; /* NULL with a long answer of another node, not yet decoded */
    struct part_times times;
    struct local_part *local; /* on a core of this node */
};
struct scatter {
    struct spread spread;
    struct scatter_options o;
    struct work work; /* folding that takes long */
    /* outcome, for done */
    enum status status;
    struct err err;
    struct partial *partial; /* all parts folded; the receiver takes it (sets NULL) */
    struct buf bytes;        /* and encoded */
};
MUST_USE enum status scatter_new(const struct scatter_options *options, struct scatter **out,
                                 struct err *err);
void scatter_cancel(struct scatter *s); /* done still comes, when local parts have ended */
void scatter_free(struct scatter *s);   /* after done */
static inline struct scatter *scatter_of(const struct scatter_part *part) {
    return container_of(part->base.spread, struct scatter, spread);
}

/* -- local parts */
/* The part answers for the shards asked for that its core may read. */
MUST_USE enum status local_part_start(struct scatter_part *part, struct core *core,
                                      struct err *err);
void local_part_free(struct local_part *local);
/* Maybe: a colon stands in brackets. */
bool text_has_subquery(struct sv text);
/* Whether it takes the core about half a millisecond at most, where these are what its leaves have
 * there. */
struct selected;
bool fragment_is_short(const struct query *q, const struct fragment *f,
                       const struct selected *const *selected, size_t count);

/* -- remote parts */
void remote_part_start(struct scatter_part *part);
/* A long answer is decoded only when it is folded, by a worker. */
MUST_USE enum status remote_part_decode(struct scatter_part *part, struct err *err);

/* What travels in FRAME_FRAGMENT. */
struct fragment_request {
    struct sv text;
    struct query_params params;
    uint64_t timeout_ms;
    struct sv fragment; /* fragment_put */
    struct sv shards;   /* shard_list_put */
};
void fragment_request_put(const struct fragment_request *r, struct buf *out);
MUST_USE enum status fragment_request_get(struct sv bytes, struct fragment_request *out,
                                          struct err *err);
/* Epochs of a map's shards. at: one beside the other; NULL: the map is asked, where each is on a
 * line of its own. */
struct epochs {
    const struct ring_map *map;
    const uint32_t *at;
};
static inline uint32_t epoch_of(const struct epochs *e, uint32_t shard) {
    return e->at != NULL ? e->at[shard] : e->map->shards[shard].epoch;
}
static inline struct epochs gather_epochs(const struct gather *g, const struct ring_map *map) {
    return (struct epochs){map, map == g->options.map ? g->epochs : NULL};
}
/* varint count of words up to the last that is not 0, these as u64 with a bit for each shard; then,
 * until all of those have one, their epochs in runs: varint shards, varint epoch */
void shard_list_put(const struct epochs *of, const uint64_t *shards, struct buf *out);
/* Sets bits of shards whose epoch is the map's; the others are left out (the asker sees them
 * unclaimed). */
MUST_USE enum status shard_list_get(const struct epochs *of, struct sv bytes, uint64_t *shards,
                                    struct err *err);

static inline void bits_or(uint64_t *into, const uint64_t *from, uint32_t words) {
    for (uint32_t i = 0; i < words; i++)
        into[i] |= from[i];
}
static inline bool bit_get(const uint64_t *bits, uint32_t i) {
    return bits[i / 64] >> (i % 64) & 1;
}
static inline void bit_set(uint64_t *bits, uint32_t i) {
    bits[i / 64] |= (uint64_t)1 << (i % 64);
}
static inline bool bits_within(const uint64_t *bits, const uint64_t *of, uint32_t words) {
    for (uint32_t i = 0; i < words; i++)
        if (bits[i] & ~of[i]) return false;
    return true;
}
static inline bool bits_any(const uint64_t *bits, uint32_t words) {
    for (uint32_t i = 0; i < words; i++)
        if (bits[i] != 0) return true;
    return false;
}
/* The end piece of a reply to FRAME_FRAGMENT: u64 rows, u64 length and u64 XXH3-64 of the pieces
 * before it, the timings with their length, then the list of shards answered for. */
struct reply_end {
    uint64_t rows, body_len, body_hash;
    struct part_times times;
    struct sv shards;
};
void reply_end_put(const struct reply_end *e, struct buf *out);
MUST_USE enum status reply_end_get(struct sv bytes, struct reply_end *out, struct err *err);
/* A reply's list of shards answered for; *claimed holds what was asked and is narrowed to what was
 * answered. A shard that was not asked could be counted twice: ERR_CORRUPT. */
MUST_USE enum status shard_list_narrow(const struct epochs *of, struct sv bytes, uint64_t *claimed,
                                       struct err *err);
struct gather *gather_of(struct core *core);

/* -- completeness */
/* Shards of the map that nobody claimed: 0 when complete. text: `incomplete: N of S shards
 * unavailable (node ...)`. */
uint32_t gather_missing(const struct ring_map *map, const uint64_t *claimed, char *text,
                        size_t text_size);
