/* SPDX-License-Identifier: Apache-2.0 */
/* storage/symbols.h: label pairs interned once per core. A pair is kept as its canonical bytes
 * (storage/labels.h), so that looking one up is one hash and one compare, and writing the labels of
 * a series is a copy. A pair that no series uses may be freed (symbols_free); then its number, and
 * its place among the values of its name, are those of a later pair. Names stay. Thread: the core;
 * symbols_pair_* with a directory taken on the core run on any thread: pairs that are used never
 * move or change. */
#pragma once

#include <assert.h>
#include <stdbool.h>
#include <stdint.h>

#include "node/base/buf.h"
#include "node/base/map.h"
#include "node/base/status.h"
#include "storage/labels.h"

/* Bytes that live as long as the head. */
struct bump {
    char *cur, *end;
    void *segments;
    size_t memory_bytes;
};
void *bump_alloc(struct bump *b, size_t bytes, size_t align) MUST_USE;
void bump_fini(struct bump *b);

/* Items that never move, in segments of STABLE_ITEMS. Outgrown directories stay until fini (readers
 * may hold them). */
enum { STABLE_SHIFT = 10, STABLE_ITEMS = 1 << STABLE_SHIFT };
struct stable {
    char **dir;
    uint32_t segments, dir_cap;
    uint32_t count;
    size_t item_bytes, column_bytes;
    size_t memory_bytes;
};
/* column_bytes: each item has as many more, in a column of their own behind the segment's items:
 * what is looked at for many items that are not. */
void stable_init(struct stable *s, size_t item_bytes, size_t column_bytes);
void stable_fini(struct stable *s);
/* Makes room for one more item; the caller counts it. */
enum status stable_reserve(struct stable *s) MUST_USE;
/* Nothing in that segment is used any more; its directory entry is NULL from then on. */
void stable_free_segment(struct stable *s, uint32_t segment);
/* Such a segment is there again, with anything in it. */
enum status stable_restore_segment(struct stable *s, uint32_t segment) MUST_USE;
#define STABLE_AT(dir, type, index)                                                                \
    ((type *)(void *)(dir)[(index) >> STABLE_SHIFT] + ((index) & (STABLE_ITEMS - 1)))
#define STABLE_COLUMN(dir, type, column_type, index)                                               \
    ((column_type *)(void *)((dir)[(index) >> STABLE_SHIFT] + (sizeof(type) << STABLE_SHIFT)) +    \
     ((index) & (STABLE_ITEMS - 1)))

/* u32s that grow by half; on the heap. */
struct u32s {
    uint32_t *at;
    uint32_t count, cap;
};
enum status u32s_reserve(struct u32s *a, uint32_t more) MUST_USE;
enum status u32s_put(struct u32s *a, uint32_t v) MUST_USE;
void u32s_fini(struct u32s *a);
static inline size_t u32s_memory_bytes(const struct u32s *a) {
    return a->cap * sizeof *a->at;
}

struct pair {
    const char *bytes; /* canonical bytes of the label */
    uint32_t len_bytes, value_bytes;
    uint32_t name;        /* index into names; also in the column of pairs */
    uint32_t value_index; /* among the values of the name; of a freed pair: the next freed one */
    uint32_t uses, live;  /* series, kept by the head; uses: with those that may still be read */
};
static_assert(sizeof(struct pair) <= 32, "part of the memory per series");

/* Values are sorted within runs of this many, each run when it is first asked for: so no one waits
 * for more than one run to be sorted, and a prefix costs one bisection a run. */
enum { NAME_RUN = 1024 };

/* Where a name's value was freed stands a hole, linked to the next; a pair's number has not this
 * bit. */
#define NAME_HOLE 0x80000000u
#define NAME_HOLE_LAST UINT32_MAX
static inline bool name_is_hole(uint32_t pair) {
    return (pair & NAME_HOLE) != 0;
}

struct name {
    struct sv text;
    struct u32s pairs;  /* by value index, with holes */
    struct u32s sorted; /* the first runs of pairs, each by value, holes last */
    uint32_t hole;      /* NAME_HOLE_LAST: none */
};

struct symbols {
    struct stable pairs;
    struct map pair_map, name_map;
    struct name *names;
    uint32_t names_count, names_cap;
    uint32_t pair_free, free_count; /* freed pairs */
    struct bump text;               /* of names */
    struct buf scratch;
    size_t values_bytes; /* of all name.pairs and name.sorted */
    size_t pairs_bytes;  /* of all pair.bytes */
};

void symbols_init(struct symbols *sy);
void symbols_fini(struct symbols *sy);
size_t symbols_memory_bytes(const struct symbols *sy);

/* canonical: the label's bytes. MAP_NONE: unknown. */
uint32_t symbols_find_canonical(const struct symbols *sy, struct sv canonical);
uint32_t symbols_find(struct symbols *sy, struct sv name, struct sv value);
uint32_t symbols_find_name(const struct symbols *sy, struct sv name);
enum status symbols_intern(struct symbols *sy, struct sv canonical, const struct label *label,
                           uint32_t *out_pair) MUST_USE;
/* A pair that nobody uses or reads. */
void symbols_free(struct symbols *sy, uint32_t pair);
static inline uint32_t symbols_count(const struct symbols *sy) { /* of pairs */
    return sy->pairs.count - sy->free_count;
}

/* NAME_RUN pairs of a full run, by value, then its holes. */
enum status symbols_sorted_run(struct symbols *sy, uint32_t name, uint32_t run,
                               const uint32_t **out) MUST_USE;

/* dir: symbols.pairs.dir, at a time when the pair was there */
static inline const struct pair *symbols_pair(char *const *dir, uint32_t pair) {
    return STABLE_AT(dir, const struct pair, pair);
}
/* Its name, without a look at the pair. */
static inline uint32_t symbols_pair_name(char *const *dir, uint32_t pair) {
    return *STABLE_COLUMN(dir, const struct pair, const uint32_t, pair);
}
struct sv pair_name_long(const struct pair *p);
static inline struct sv pair_value(const struct pair *p) {
    return (struct sv){p->bytes + p->len_bytes - p->value_bytes, p->value_bytes};
}
static inline struct sv pair_name(const struct pair *p) {
    const uint8_t *b = (const uint8_t *)p->bytes; /* tag, length, tag, length: mostly a byte each */
    return ((b[1] | b[3]) & 0x80) == 0 ? sv_make(b + 4, b[3]) : pair_name_long(p);
}
static inline struct label pair_label(const struct pair *p) {
    return (struct label){pair_name(p), pair_value(p)};
}
/* Canonical bytes of one label. */
void label_put_canonical(struct buf *out, struct sv name, struct sv value);
size_t label_canonical_bytes(const struct label *label);
