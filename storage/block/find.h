/* SPDX-License-Identifier: Apache-2.0 */
/* storage/block/find.h: which series match. */
#pragma once

#include "storage/block/pages_in.h"
#include "storage/block/tables_in.h"

struct found {
    uint32_t series, shard;
    uint32_t sets[SIDES];
};

struct find {
    struct block *block;
    struct block_io *io;
    struct pages_in *pages;
    const struct select_query *query;
    const bool *canceled;
    struct err *err;
    /* out */
    struct arena arena;
    struct name_in *names;
    struct found *found;
    size_t count, cap;
    size_t more_bytes; /* of arrays that were made of it */
    /* work */
    struct set_bits allowed[SIDES]; /* at NULL: all */
    struct set_bits series;         /* candidates; at NULL: all */
    uint64_t group;                 /* of sets; UINT64_MAX: none */
    int64_t group_sets[SIDES][GROUP_SERIES + PAGE_PAD];
};
/* On the heap: it is large. block, query, canceled and err are borrowed. */
enum status find_new(struct block *b, const struct select_query *query, const bool *canceled,
                     struct find **out, struct err *err) MUST_USE;
void find_free(struct find *f);
/* Fills found. */
enum status find_series(struct find *f) MUST_USE;
/* The sets of a series. */
enum status find_sets(struct find *f, uint64_t series, struct found *out) MUST_USE;
enum status find_check_memory(const struct find *f, size_t more_bytes) MUST_USE;
size_t find_memory_bytes(const struct find *f);
/* True: every series of the block matches, without looking. */
bool find_is_all(const struct find *f);
