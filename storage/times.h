/* SPDX-License-Identifier: Apache-2.0 */
/* storage/times.h: the times of sealed chunks, each run of times kept once per core: the series of
 * a scraped target are appended at the same times, so a thousand of them share one column. It is
 * immutable, as bytes of storage/page's integer column, and counted by the chunks that name it.
 *
 * Thread: the core; times_read on any thread while a chunk that names the column is kept. */
#pragma once

#include <stdint.h>

#include "node/base/map.h"
#include "storage/page/page.h"

struct times {
    int64_t first_ms, last_ms;
    uint32_t hash; /* of the times */
    uint32_t uses;
    uint32_t place; /* in the table */
    uint16_t count, len_bytes;
    uint8_t bytes[];
};

enum { TIMES_JOINS = 64 };
struct times_join { /* remembered, not counted */
    const struct times *left, *right;
    struct times *both;
};
struct times_table {
    /* private */
    struct map by_hash;
    struct times_place {
        struct times *times;
        uint32_t next_free;
    } * at;
    uint32_t count, cap; /* places */
    uint32_t used, free; /* MAP_NONE: no place is free */
    size_t memory_bytes;
    struct times_join joins[TIMES_JOINS];
    int64_t read[PAGE_SAMPLES_MAX], joined[PAGE_SAMPLES_MAX];
    uint8_t encoded[COLUMN_BYTES_MAX];
};
void times_init(struct times_table *t);
void times_fini(struct times_table *t);

/* 1 <= count <= PAGE_SAMPLES_MAX ascending times. Counted once more; NULL: out of memory. */
struct times *times_take(struct times_table *t, struct page_scratch *s, const int64_t *times_ms,
                         size_t count);
/* Those of left, then those of right; together at most PAGE_SAMPLES_MAX. As times_take. */
struct times *times_take_both(struct times_table *t, struct page_scratch *s,
                              const struct times *left, const struct times *right);
/* Those of a column's bytes; as times_take. ERR_CORRUPT: they are none that ascend. */
enum status times_restore(struct times_table *t, struct page_scratch *s, const struct page *column,
                          struct times **out) MUST_USE;
void times_give(struct times_table *t, struct times *times);

/* Fills times->count rows. */
void times_read(const struct times *times, struct page_scratch *s, int64_t *out);
