/* SPDX-License-Identifier: Apache-2.0 */
#include "storage/times.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "node/base/hash.h"
#include "node/base/sv.h"

/* As malloc rounds it, with its own word. */
static size_t times_bytes(size_t len) {
    return (sizeof(struct times) + len + 8 + 15) / 16 * 16;
}

void times_init(struct times_table *t) {
    memset(t, 0, offsetof(struct times_table, read));
    t->free = MAP_NONE;
    map_init(&t->by_hash);
}

void times_fini(struct times_table *t) {
    assert(t->used == 0);
    map_fini(&t->by_hash);
    free(t->at);
}

void times_read(const struct times *times, struct page_scratch *s, int64_t *out) {
    struct page p = {times->bytes, times->len_bytes, times->count};
    enum status status = column_decode(s, &p, out);
    assert(status == OK);
}

struct times_key {
    struct times_table *table;
    struct page_scratch *scratch;
    const int64_t *times_ms;
    size_t count;
};

static bool times_are(const void *owner, uint32_t place, const void *key) {
    const struct times_key *k = key;
    const struct times *t = ((const struct times_table *)owner)->at[place].times;
    if (t->count != k->count || t->first_ms != k->times_ms[0]) return false;
    if (t->last_ms != k->times_ms[k->count - 1]) return false;
    times_read(t, k->scratch, k->table->read);
    return memcmp(k->table->read, k->times_ms, k->count * sizeof *k->times_ms) == 0;
}

static uint64_t spread(uint32_t hash) {
    return hash * 0x9e3779b97f4a7c15ULL;
}

static uint64_t times_rehash(const void *owner, uint32_t place) {
    return spread(((const struct times_table *)owner)->at[place].times->hash);
}

static bool place_reserve(struct times_table *t) {
    if (t->free != MAP_NONE || t->count < t->cap) return true;
    uint32_t cap = t->cap == 0 ? 64 : t->cap * 2;
    struct times_place *at = realloc(t->at, cap * sizeof *at);
    if (at == NULL) return false;
    t->memory_bytes += (cap - t->cap) * sizeof *at;
    t->at = at;
    t->cap = cap;
    return true;
}

static struct times *times_new(struct times_table *t, const struct times_key *k, uint32_t hash,
                               struct sv column) {
    size_t len = column.len;
    if (!place_reserve(t)) return NULL;
    struct times *times = malloc(sizeof *times + len);
    if (times == NULL) return NULL;
    uint32_t place = t->free != MAP_NONE ? t->free : t->count;
    if (map_insert(&t->by_hash, spread(hash), place, times_rehash, t) != OK) {
        free(times);
        return NULL;
    }
    *times = (struct times){.first_ms = k->times_ms[0],
                            .last_ms = k->times_ms[k->count - 1],
                            .hash = hash,
                            .uses = 1,
                            .place = place,
                            .count = (uint16_t)k->count,
                            .len_bytes = (uint16_t)len};
    memcpy(times->bytes, column.ptr, len);
    if (place == t->count)
        t->count++;
    else
        t->free = t->at[place].next_free;
    t->at[place].times = times;
    t->used++;
    t->memory_bytes += times_bytes(len);
    return times;
}

/* Counted once more; NULL: there are none. */
static struct times *times_held(struct times_key *k, uint32_t *out_hash) {
    struct times_table *t = k->table;
    *out_hash = (uint32_t)hash64(k->times_ms, k->count * sizeof *k->times_ms, 0);
    uint32_t place = map_find(&t->by_hash, spread(*out_hash), times_are, t, k);
    if (place == MAP_NONE) return NULL;
    t->at[place].times->uses++;
    return t->at[place].times;
}

struct times *times_take(struct times_table *t, struct page_scratch *s, const int64_t *times_ms,
                         size_t count) {
    assert(count >= 1 && count <= PAGE_SAMPLES_MAX);
    struct times_key key = {t, s, times_ms, count};
    uint32_t hash;
    struct times *times = times_held(&key, &hash);
    if (times != NULL) return times;
    size_t len = column_encode(s, times_ms, count, t->encoded);
    return times_new(t, &key, hash, sv_make(t->encoded, len));
}

enum status times_restore(struct times_table *t, struct page_scratch *s, const struct page *column,
                          struct times **out) {
    int64_t *times_ms = t->joined;
    size_t count = column->count;
    uint32_t hash;
    if (count < 1 || count > PAGE_SAMPLES_MAX || column->len > UINT16_MAX ||
        column_decode(s, column, times_ms) != OK)
        return ERR_CORRUPT;
    for (size_t i = 1; i < count; i++)
        if (times_ms[i] <= times_ms[i - 1]) return ERR_CORRUPT;
    struct times_key key = {t, s, times_ms, count};
    struct times *times = times_held(&key, &hash);
    if (times == NULL) times = times_new(t, &key, hash, sv_make(column->bytes, column->len));
    if (times == NULL) return ERR_NOMEM;
    *out = times;
    return OK;
}

/* Series of a target are sealed one after the other, and constant ones join the same columns. */
static struct times_join *join_of(struct times_table *t, const struct times *left,
                                  const struct times *right) {
    return &t->joins[(left->hash ^ right->hash * 3) % TIMES_JOINS];
}

struct times *times_take_both(struct times_table *t, struct page_scratch *s,
                              const struct times *left, const struct times *right) {
    struct times_join *join = join_of(t, left, right);
    if (join->left == left && join->right == right) {
        join->both->uses++;
        return join->both;
    }
    times_read(left, s, t->joined);
    times_read(right, s, t->joined + left->count);
    struct times *both = times_take(t, s, t->joined, (size_t)left->count + right->count);
    if (both != NULL) *join = (struct times_join){left, right, both};
    return both;
}

void times_give(struct times_table *t, struct times *times) {
    assert(times->uses > 0);
    if (--times->uses > 0) return;
    bool was_there = map_remove(&t->by_hash, spread(times->hash), times->place);
    assert(was_there);
    for (struct times_join *j = t->joins; j < t->joins + TIMES_JOINS; j++)
        if (j->left == times || j->right == times || j->both == times) *j = (struct times_join){0};
    t->at[times->place] = (struct times_place){.next_free = t->free};
    t->free = times->place;
    t->used--;
    t->memory_bytes -= times_bytes(times->len_bytes);
    free(times);
}
