/* SPDX-License-Identifier: Apache-2.0 */
/* Series that go: those of a shard that begins anew or leaves the node.
 *
 *   live -> dead      at once: out of the hash table, pairs NULL; every walk passes over it
 *   dead -> given     when the selections that may have a view of it are released: its chunks,
 *                     arrays and pair ids are free for others
 *   given -> swept    when there are many: out of the posting lists, and segments of which all are
 *                     given are freed
 *
 * A reference is never used again: posting lists stay ascending by appending, and what a selection
 * under way remembers cannot come to mean another series. Label pairs stay interned.
 * A dead series is linked by its number to the next one; its id's place holds its pair ids, since
 * views, which read them, have pointers of their own. */
#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "storage/internal.h"

enum { SWEEP_MIN = 1024, SWEEP_PART = 8 };

/* -- pair ids, exact in size, used again by size */

uint32_t *head_pairs_alloc(struct head *head, uint32_t count) {
    size_t words = (size_t)count + 1;
    if (count >= PAIRS_SIZES) {
        uint32_t *at = malloc(words * sizeof *at);
        if (at != NULL) head->pairs_bytes += words * sizeof *at;
        return at;
    }
    uint32_t *at = head->pairs_free[count];
    if (at == NULL) return bump_alloc(&head->pair_ids, words * sizeof *at, sizeof *at);
    memcpy(&head->pairs_free[count], at, sizeof at);
    return at;
}

void head_pairs_give(struct head *head, uint32_t *pairs, uint32_t count) {
    if (count >= PAIRS_SIZES) {
        head->pairs_bytes -= ((size_t)count + 1) * sizeof *pairs;
        free(pairs);
    } else if (count > 0) { /* one word cannot hold a link; there is one such series */
        memcpy(pairs, &head->pairs_free[count], sizeof pairs);
        head->pairs_free[count] = pairs;
    }
}

/* -- dead to given */

void head_give_series(struct head *head, uint32_t first) {
    for (uint32_t ref = first, next; ref != HEAD_NONE; ref = next) {
        struct series *s = head_series(head, ref);
        struct series_cold *cold = head_cold(head, ref);
        next = s->open.owner;
        uint32_t *pairs;
        memcpy(&pairs, &s->id, sizeof pairs);
        head_pairs_give(head, pairs, pairs[0]);
        if (s->open.has_extras) head_extras_drop(head, ref);
        if (s->open.first != NULL) chunk_slab_give(&head->blocks, s->open.first, s->open.tail);
        if (cold->late != NULL) {
            head->late_bytes -= sizeof *cold->late + cold->late->cap * sizeof *cold->late->at;
            free(cold->late);
        }
        for (struct chunk *c = cold->sealed, *older; c != NULL; c = older) {
            older = c->older;
            head->sealed_bytes -= sizeof *c + c->len_bytes;
            free(c);
        }
        *s = (struct series){0};
        *cold = (struct series_cold){.shard = SHARD_GIVEN};
    }
}

/* -- given to swept */

/* One bit a reference that is dead. */
static uint64_t *dead_bits(const struct head *head) {
    uint64_t *bits = calloc((size_t)head->series.count / 64 + 1, sizeof *bits);
    for (uint32_t ref = 0; bits != NULL && ref < head->series.count; ref++)
        if (!head_is_live(head, ref)) bits[ref / 64] |= 1ULL << (ref % 64);
    return bits;
}

static void segments_free(struct head *head) {
    for (uint32_t i = 0; i < head->series.count >> STABLE_SHIFT; i++) {
        if (head->cold.dir[i] == NULL) continue;
        uint32_t given = 0;
        for (uint32_t k = 0; k < STABLE_ITEMS; k++)
            given += head_cold(head, (i << STABLE_SHIFT) + k)->shard == SHARD_GIVEN;
        if (given < STABLE_ITEMS) continue;
        stable_free_segment(&head->series, i);
        stable_free_segment(&head->cold, i);
    }
}

/* Cost: a bit asked for every posting, once an eighth of them is dead. Without memory: later. */
static void head_sweep(struct head *head) {
    uint64_t *bits = dead_bits(head);
    if (bits == NULL) return;
    selections_hold_places(head);
    index_remove(&head->index, bits);
    selections_find_places(head);
    free(bits);
    segments_free(head);
    head->dead_count = 0;
}

void head_sweep_if_many(struct head *head) {
    if (head->dead_count >= SWEEP_MIN + head->live_count / SWEEP_PART) head_sweep(head);
}

/* -- live to dead */

enum status head_shard_reserve(struct head *head, uint32_t shard) {
    while (head->shards.count <= shard)
        TRY(u32s_put(&head->shards, HEAD_NONE));
    return OK;
}

void head_shard_drop(struct head *head, uint32_t shard) {
    if (shard >= head->shards.count) return;
    uint32_t first = head->shards.at[shard], last = HEAD_NONE;
    for (uint32_t ref = first, next; ref != HEAD_NONE; ref = next) {
        struct series *s = head_series(head, ref);
        struct series_cold *cold = head_cold(head, ref);
        next = cold->next_in_shard;
        bool was_there = map_remove(&head->by_id, s->id.lo, ref);
        assert(was_there);
        if (s->open.count > 0) head->chunks_count--;
        for (const struct chunk *c = cold->sealed; c != NULL; c = c->older)
            head->chunks_count--;
        memcpy(&s->id, &cold->pairs, sizeof cold->pairs);
        s->open.owner = next;
        cold->pairs = NULL;
        head->live_count--;
        head->dead_count++;
        last = ref;
    }
    head->shards.at[shard] = HEAD_NONE;
    if (first == HEAD_NONE) return;
    if (head->live_count == 0) {
        head->min_time_ms = INT64_MAX;
        head->max_time_ms = INT64_MIN;
    }
    head_retire_series(head, first, last);
    head_sweep_if_many(head);
}
