/* SPDX-License-Identifier: Apache-2.0 */
/* storage/block/tables_in.h: names, labels and sets of a block. */
#pragma once

#include "storage/block/io.h"

struct name_in {
    struct sv name;
    enum block_side side;
    uint64_t first, count; /* pairs */
};
/* All names, from the arena. ERR_LIMIT: they do not fit into it. */
enum status names_load(struct block_io *io, struct arena *arena, struct name_in **out,
                       struct err *err) MUST_USE;
const struct name_in *names_find(const struct name_in *names, size_t count, struct sv name);

/* One bit a set of a side. */
struct set_bits {
    uint64_t *at;
    uint64_t count;
};
enum status set_bits_new(uint64_t count, bool value, struct set_bits *out) MUST_USE;
static inline void set_bits_add(struct set_bits *s, uint64_t i) {
    s->at[i / 64] |= UINT64_C(1) << (i % 64);
}
static inline bool set_bits_has(const struct set_bits *s, uint64_t i) {
    return s->at[i / 64] >> (i % 64) & 1;
}
/* The first member from i on, or count. */
uint64_t set_bits_next(const struct set_bits *s, uint64_t i);

/* Walks the pairs first .. end - 1. */
struct pairs_walk {
    struct stream stream;
    uint64_t pair; /* of value */
    uint64_t sets_at, sets_count;
    struct buf value;
};
enum status pairs_at(struct block_io *io, uint64_t pair, struct pairs_walk *out,
                     struct err *err) MUST_USE;
enum status pairs_next(struct pairs_walk *w) MUST_USE;
void pairs_walk_fini(struct pairs_walk *w);
/* The first pair of the name whose value is >= the given one, or the end. */
enum status pairs_seek(struct block_io *io, const struct name_in *name, struct sv value,
                       uint64_t *out, struct err *err) MUST_USE;
/* Adds the sets of the pair that was read. */
enum status pair_add_sets(struct pairs_walk *w, struct set_bits *bits) MUST_USE;

struct set_in {
    uint64_t postings_at, series_count, pairs_count;
    struct stream pairs; /* its steps */
};
enum status set_get(struct block_io *io, enum block_side side, uint64_t set, struct set_in *out,
                    struct err *err) MUST_USE;
