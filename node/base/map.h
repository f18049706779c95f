/* SPDX-License-Identifier: Apache-2.0 */
/* node/base/map.h: the one hash table: open addressing with control bytes probed in groups of 8
 * (after Abseil's Swiss tables, without SIMD). Keys are stored by the caller: the table maps a
 * 64-bit hash to a u32 reference, and `eq` decides between candidates. 5 bytes a slot, load at most
 * 7/8, grows by doubling. Thread: one owner. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "node/base/attr.h"
#include "node/base/status.h"

struct map {
    /* private */
    uint8_t *ctrl; /* capacity + 8 bytes; 0x80 empty, 0xfe deleted, else the hash's top 7 bits */
    uint32_t *refs;
    size_t mask; /* capacity - 1, 0 when nothing is allocated */
    size_t count, left;
};

#define MAP_NONE UINT32_MAX /* no ref; an enumerator would not fit an int */

/* true when the entry at ref has the key */
typedef bool (*map_eq)(const void *owner, uint32_t ref, const void *key);
/* the hash of the entry at ref, for growing */
typedef uint64_t (*map_hash)(const void *owner, uint32_t ref);

void map_init(struct map *m);
void map_fini(struct map *m);
/* MAP_NONE when absent. */
uint32_t map_find(const struct map *m, uint64_t hash, map_eq eq, const void *owner,
                  const void *key);
/* The key must be absent. */
enum status map_insert(struct map *m, uint64_t hash, uint32_t ref, map_hash rehash,
                       const void *owner) MUST_USE;
bool map_remove(struct map *m, uint64_t hash, uint32_t ref); /* false when absent */
void map_prefetch(const struct map *m, uint64_t hash);
size_t map_memory_bytes(const struct map *m);
/* Visits every ref in table order; stops when fn returns false. */
void map_each(const struct map *m, bool (*fn)(void *ctx, uint32_t ref), void *ctx);
