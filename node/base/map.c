/* SPDX-License-Identifier: Apache-2.0 */
#include "node/base/map.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "node/base/bytes.h"

/* One allocation: refs[capacity], then ctrl[capacity + 8]. The last 8 control bytes repeat the
 * first 8, so that a group may start at any slot. A probe walks groups in triangular steps of 8,
 * which reaches every slot of a power of two. */
enum { GROUP = 8, CAPACITY_MIN = 8, CTRL_EMPTY = 0x80, CTRL_DELETED = 0xfe };
static const uint64_t low_bits = 0x0101010101010101, high_bits = 0x8080808080808080;

static uint8_t hash_tag(uint64_t hash) {
    return (uint8_t)(hash >> 57);
}

static size_t bit_slot(uint64_t bits) {
    return (size_t)__builtin_ctzll(bits) / 8;
}

/* High bit set in bytes equal to tag; a byte above a true match may be reported falsely, eq sorts
 * that out. */
static uint64_t group_match(uint64_t group, uint8_t tag) {
    uint64_t x = group ^ (low_bits * tag);
    return (x - low_bits) & ~x & high_bits;
}

/* 0x80 against 0xfe: bit 1 tells them apart. */
static uint64_t group_empty(uint64_t group) {
    return group & ~(group << 6) & high_bits;
}

static uint64_t group_free(uint64_t group) {
    return group & high_bits;
}

static size_t capacity(const struct map *m) {
    return m->ctrl == NULL ? 0 : m->mask + 1;
}

static size_t load_max(size_t slots) {
    return slots - slots / 8;
}

void map_init(struct map *m) {
    *m = (struct map){0};
}

void map_fini(struct map *m) {
    free(m->refs);
    *m = (struct map){0};
}

static void ctrl_set(struct map *m, size_t slot, uint8_t value) {
    m->ctrl[slot] = value;
    if (slot < GROUP) m->ctrl[m->mask + 1 + slot] = value;
}

uint32_t map_find(const struct map *m, uint64_t hash, map_eq eq, const void *owner,
                  const void *key) {
    if (m->count == 0) return MAP_NONE;
    size_t pos = hash & m->mask;
    for (size_t step = GROUP;; step += GROUP) {
        uint64_t group = get_u64le(m->ctrl + pos);
        for (uint64_t hits = group_match(group, hash_tag(hash)); hits != 0; hits &= hits - 1) {
            uint32_t ref = m->refs[(pos + bit_slot(hits)) & m->mask];
            if (m->ctrl[(pos + bit_slot(hits)) & m->mask] == hash_tag(hash) && eq(owner, ref, key))
                return ref;
        }
        if (group_empty(group) != 0) return MAP_NONE;
        pos = (pos + step) & m->mask;
    }
}

static size_t free_slot(const struct map *m, uint64_t hash) {
    size_t pos = hash & m->mask;
    for (size_t step = GROUP;; step += GROUP) {
        uint64_t hits = group_free(get_u64le(m->ctrl + pos));
        if (hits != 0) return (pos + bit_slot(hits)) & m->mask;
        pos = (pos + step) & m->mask;
    }
}

static enum status map_allocate(struct map *m, size_t slots) {
    size_t refs_bytes, bytes;
    if (__builtin_mul_overflow(slots, sizeof *m->refs, &refs_bytes) ||
        __builtin_add_overflow(refs_bytes, slots + GROUP, &bytes))
        return ERR_NOMEM;
    char *p = malloc(bytes);
    if (p == NULL) return ERR_NOMEM;
    *m = (struct map){.refs = (uint32_t *)(void *)p,
                      .ctrl = (uint8_t *)p + refs_bytes,
                      .mask = slots - 1,
                      .left = load_max(slots)};
    memset(m->ctrl, CTRL_EMPTY, slots + GROUP);
    return OK;
}

static void put_absent(struct map *m, uint64_t hash, uint32_t ref) {
    size_t slot = free_slot(m, hash);
    if (m->ctrl[slot] == CTRL_EMPTY) m->left--;
    ctrl_set(m, slot, hash_tag(hash));
    m->refs[slot] = ref;
    m->count++;
}

/* To twice the size, or to the same when half of the load is tombstones. */
static enum status map_grow(struct map *m, map_hash rehash, const void *owner) {
    size_t slots = capacity(m);
    size_t want = slots == 0 ? CAPACITY_MIN : m->count <= load_max(slots) / 2 ? slots : slots * 2;
    struct map bigger;
    TRY(map_allocate(&bigger, want));
    for (size_t i = 0; i < slots; i++)
        if (m->ctrl[i] < CTRL_EMPTY) put_absent(&bigger, rehash(owner, m->refs[i]), m->refs[i]);
    assert(bigger.count == m->count);
    free(m->refs);
    *m = bigger;
    return OK;
}

enum status map_insert(struct map *m, uint64_t hash, uint32_t ref, map_hash rehash,
                       const void *owner) {
    assert(ref != MAP_NONE);
    if (m->left == 0) TRY(map_grow(m, rehash, owner));
    put_absent(m, hash, ref);
    return OK;
}

/* A slot may become empty again when no probe can have passed it: when every window of 8 round it
 * has had an empty slot, as in Abseil's WasNeverFull. */
static bool never_full(const struct map *m, size_t slot) {
    uint64_t before = group_empty(get_u64le(m->ctrl + ((slot - GROUP) & m->mask)));
    uint64_t behind = group_empty(get_u64le(m->ctrl + slot));
    if (before == 0 || behind == 0) return false;
    return bit_slot(behind) + (size_t)__builtin_clzll(before) / 8 < GROUP;
}

bool map_remove(struct map *m, uint64_t hash, uint32_t ref) {
    if (m->count == 0) return false;
    size_t pos = hash & m->mask;
    for (size_t step = GROUP;; step += GROUP) {
        uint64_t group = get_u64le(m->ctrl + pos);
        for (uint64_t hits = group_match(group, hash_tag(hash)); hits != 0; hits &= hits - 1) {
            size_t slot = (pos + bit_slot(hits)) & m->mask;
            if (m->refs[slot] != ref || m->ctrl[slot] != hash_tag(hash)) continue;
            bool empty = never_full(m, slot);
            ctrl_set(m, slot, empty ? CTRL_EMPTY : CTRL_DELETED);
            m->left += empty;
            m->count--;
            return true;
        }
        if (group_empty(group) != 0) return false;
        pos = (pos + step) & m->mask;
    }
}

void map_prefetch(const struct map *m, uint64_t hash) {
    if (m->ctrl == NULL) return;
    __builtin_prefetch(m->ctrl + (hash & m->mask));
    __builtin_prefetch(m->refs + (hash & m->mask));
}

size_t map_memory_bytes(const struct map *m) {
    return m->ctrl == NULL ? 0 : capacity(m) * (sizeof *m->refs + 1) + GROUP;
}

void map_each(const struct map *m, bool (*fn)(void *ctx, uint32_t ref), void *ctx) {
    for (size_t i = 0; i < capacity(m); i++)
        if (m->ctrl[i] < CTRL_EMPTY && !fn(ctx, m->refs[i])) return;
}
