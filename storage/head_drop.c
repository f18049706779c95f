/* SPDX-License-Identifier: Apache-2.0 */
/* Series that go: those of a shard that begins anew or leaves the node, and those that have nothing
 * left (head_trim.c).
 *
 *   live -> dead      at once: out of the hash table, its order means nothing, labels NULL
 *   dead -> given     when the selections that may have a view of it are released: its chunks,
 *                     arrays, labels and its reference are free for others
 *   swept             when there are many: their orders go from the posting lists, then label pairs
 *                     that no series has are freed
 *
 * An order is never used again: posting lists stay ascending by appending, and what a selection
 * under way remembers cannot come to mean another series.
 * A dead series is linked by its number to the next one; its id's place holds its labels, since
 * views, which read them, have pointers of their own. What links it in its shard stays: a selection
 * may stand there. */
#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "storage/internal.h"

enum { SWEEP_MIN = 1024, SWEEP_PART = 8, SWEEP_POSTINGS = 16384 };

/* -- references */

static void ref_give(struct head *head, uint32_t ref) {
    *head_series(head, ref) = (struct series){0};
    *head_cold(head, ref) =
        (struct series_cold){.shard = SHARD_GIVEN, .next_in_shard = head->refs_free};
    head->refs_free = ref;
    head->free_count++;
}

static enum status segment_restore(struct head *head) {
    uint32_t i = 0;
    while (head->series.dir[i] != NULL)
        i++;
    TRY(stable_restore_segment(&head->series, i));
    if (stable_restore_segment(&head->cold, i) != OK) {
        stable_free_segment(&head->series, i);
        return ERR_NOMEM;
    }
    head->segments_gone--;
    for (uint32_t k = STABLE_ITEMS; k > 0; k--)
        ref_give(head, (i << STABLE_SHIFT) + k - 1);
    return OK;
}

enum status head_ref_reserve(struct head *head) {
    if (head->refs_free != HEAD_NONE) return OK;
    if (head->segments_gone > 0) return segment_restore(head);
    if (head->series.count == HEAD_NONE) return ERR_NOMEM;
    TRY(stable_reserve(&head->series));
    return stable_reserve(&head->cold);
}

uint32_t head_ref_peek(const struct head *head) {
    return head->refs_free != HEAD_NONE ? head->refs_free : head->series.count;
}

void head_ref_take(struct head *head) {
    if (head->refs_free == HEAD_NONE) {
        head->series.count++;
        head->cold.count++;
        return;
    }
    head->refs_free = head_cold(head, head->refs_free)->next_in_shard;
    head->free_count--;
}

/* -- dead to given */

static void pairs_unuse(struct head *head, const struct series_labels *l) {
    for (uint32_t i = 0; i < labels_total(l); i++) {
        struct pair *p = STABLE_AT(head->symbols.pairs.dir, struct pair, labels_at(l, i));
        assert(p->uses > 0);
        p->uses--;
    }
}

void head_give_series(struct head *head, uint32_t first) {
    for (uint32_t ref = first, next; ref != HEAD_NONE; ref = next) {
        struct series *s = head_series(head, ref);
        struct series_cold *cold = head_cold(head, ref);
        next = s->open.owner;
        struct series_labels *labels;
        memcpy(&labels, &s->id, sizeof labels);
        pairs_unuse(head, labels);
        head_labels_give(head, labels);
        if (s->open.has_extras) head_extras_drop(head, ref);
        if (s->open.first != NULL) chunk_slab_give(&head->blocks, s->open.first, s->open.tail);
        if (cold->late != NULL) {
            head->late_bytes -= sizeof *cold->late + cold->late->cap * sizeof *cold->late->at;
            free(cold->late);
        }
        head_chain_free(head, &(struct chain){cold->sealed, cold->sealed_count});
        ref_give(head, ref);
    }
}

/* -- sweeping */

/* Without segments that are free as a whole: most references are, after a shard has left. */
static void segments_free(struct head *head) {
    head->refs_free = HEAD_NONE;
    head->free_count = 0;
    for (uint32_t i = 0; i << STABLE_SHIFT < head->series.count; i++) {
        if (head->cold.dir[i] == NULL) continue;
        uint32_t base = i << STABLE_SHIFT, given = 0;
        uint32_t end = MIN((uint32_t)STABLE_ITEMS, head->series.count - base);
        for (uint32_t k = 0; k < end; k++)
            given += head_cold(head, base + k)->shard == SHARD_GIVEN;
        if (given == STABLE_ITEMS) {
            stable_free_segment(&head->series, i);
            stable_free_segment(&head->cold, i);
            head->segments_gone++;
            continue;
        }
        for (uint32_t k = 0; k < end; k++) {
            if (head_cold(head, base + k)->shard == SHARD_GIVEN) ref_give(head, base + k);
        }
    }
}

bool head_sweep_is_due(const struct head *head) {
    return head->dead_count >= SWEEP_MIN + head->live_count / SWEEP_PART;
}

bool head_sweep_step(struct head *head, uint64_t until_ns) {
    if (head->trim.sweep == HEAD_NONE) {
        head->trim.sweep = 0;
        head->trim.dead_count = head->dead_count;
    }
    uint32_t *pair = &head->trim.sweep;
    while (*pair < head->symbols.pairs.count) {
        for (uint32_t asked = 0; *pair < head->symbols.pairs.count && asked < SWEEP_POSTINGS;
             ++*pair) {
            const struct pair *p = symbols_pair(head->symbols.pairs.dir, *pair);
            if (p->bytes == NULL) continue;
            asked += 1 + index_count(&head->index, *pair);
            uint32_t left = index_sweep(&head->index, *pair, &head->orders);
            if (p->uses > 0) continue;
            assert(left == 0);
            symbols_free(&head->symbols, *pair);
        }
        selections_forget_hints(head);
        if (*pair < head->symbols.pairs.count && head_slice_is_over(until_ns)) return false;
    }
    *pair = HEAD_NONE;
    head->dead_count -= head->trim.dead_count;
    uint32_t there = head->series.count - (head->segments_gone << STABLE_SHIFT);
    if (head->free_count > there / 2) segments_free(head);
    return true;
}

/* -- live to dead */

enum status head_shard_reserve(struct head *head, uint32_t shard) {
    if (shard < head->shards_count) return OK;
    uint32_t count = shard < 8 ? 8 : shard + 1;
    struct head_shard *shards = realloc(head->shards, count * sizeof *shards);
    if (shards == NULL) return ERR_NOMEM;
    for (uint32_t i = head->shards_count; i < count; i++)
        shards[i] = (struct head_shard){.from_ms = INT64_MIN, .first = HEAD_NONE};
    head->shards = shards;
    head->shards_count = count;
    return OK;
}

void head_kill(struct head *head, uint32_t ref, struct dead_list *dead) {
    struct series *s = head_series(head, ref);
    struct series_cold *cold = head_cold(head, ref);
    if (head->gone != NULL) head->gone(head->gone_ctx, ref);
    bool was_there = map_remove(&head->by_id, s->id.lo, ref);
    assert(was_there);
    orders_remove(&head->orders, cold->labels->order);
    for (uint32_t i = 0; i < labels_total(cold->labels); i++)
        STABLE_AT(head->symbols.pairs.dir, struct pair, labels_at(cold->labels, i))->live--;
    head->chunks_count -= cold->sealed_count + (s->open.count > 0);
    memcpy(&s->id, &cold->labels, sizeof cold->labels);
    s->open.owner = HEAD_NONE;
    cold->labels = NULL;
    head->shards[cold->shard].series_count--;
    head->live_count--;
    head->dead_count++;
    if (dead->first == HEAD_NONE)
        dead->first = ref;
    else
        head_series(head, dead->last)->open.owner = ref;
    dead->last = ref;
    if (head->live_count > 0) return;
    head->min_time_ms = INT64_MAX;
    head->max_time_ms = INT64_MIN;
}

void head_shard_drop(struct head *head, uint32_t shard) {
    if (shard >= head->shards_count) return;
    struct dead_list dead = {HEAD_NONE, HEAD_NONE};
    for (uint32_t ref = head->shards[shard].first; ref != HEAD_NONE;) {
        uint32_t next = head_cold(head, ref)->next_in_shard;
        head_kill(head, ref, &dead);
        ref = next;
    }
    head->shards[shard] = (struct head_shard){.from_ms = INT64_MIN, .first = HEAD_NONE};
    if (head->trim.shard == shard) head->trim.before = HEAD_NONE; /* from the first one again */
    if (dead.first == HEAD_NONE) return;
    head_retire_series(head, dead.first, dead.last);
    if (head_sweep_is_due(head)) (void)head_sweep_step(head, 0);
}
