/* SPDX-License-Identifier: Apache-2.0 */
/* Retention by matcher takes bytes from the disk: a block that lies wholly before what such a
 * DELETE says is asked once whether it has a series that matches, and is written anew without them,
 * as a merge of one block. What was asked is kept in memory: after a start each block is asked
 * again, which reads its index only. */
#include <stdlib.h>

#include "node/base/hash.h"
#include "storage/archive/filter.h"
#include "storage/archive/internal.h"
#include "storage/entry.h"

struct sweep {
    uint64_t number, key; /* of the block; of the deletions that were asked for */
};

/* A block of rows speaks for one millisecond more (rows.h). */
static bool covers(const struct tombstone *t, const struct manifest_block *b) {
    return t->min_ms == INT64_MIN && t->max_ms >= b->max_ms + (b->resolution_ms != 0);
}

static struct sv matchers_of(const struct tombstone *t) {
    return sv_make(t->matchers, t->matchers_len);
}

/* 0: nothing of that kind. */
static uint64_t sweep_key(const struct manifest *m, const struct manifest_block *b) {
    uint64_t key = 0;
    for (uint32_t i = 0; i < b->parts_count; i++) {
        const struct manifest_shard *s = manifest_shard_find(m, b->parts[i].shard);
        if (s == NULL || s->copy != b->parts[i].copy) continue;
        for (uint32_t k = 0; k < s->tombstones_count; k++)
            if (covers(&s->tombstones[k], b))
                key +=
                    hash64(s->tombstones[k].matchers, s->tombstones[k].matchers_len, s->shard + 1) |
                    1;
    }
    return key;
}

static bool is_swept(const struct archive *a, uint64_t number, uint64_t key) {
    for (uint32_t i = 0; i < a->sweeps_count; i++)
        if (a->sweeps[i].number == number && a->sweeps[i].key == key) return true;
    return false;
}

static bool is_bad(const struct archive *a, uint64_t number) {
    for (uint32_t i = 0; i < a->list->count; i++)
        if (a->list->blocks[i].of.number == number) return a->list->blocks[i].block == NULL;
    return true;
}

bool archive_sweep_plan(struct archive *a, struct merge_plan *out) {
    for (uint32_t i = 0; i < a->manifest.blocks_count; i++) {
        const struct manifest_block *b = &a->manifest.blocks[i];
        uint64_t key = sweep_key(&a->manifest, b);
        if (key == 0 || is_swept(a, b->number, key) || is_bad(a, b->number)) continue;
        *out = (struct merge_plan){.numbers = {b->number},
                                   .count = 1,
                                   .level = b->level,
                                   .resolution_ms = b->resolution_ms,
                                   .from_ms = b->min_ms,
                                   .to_ms = b->max_ms + 1};
        return true;
    }
    return false;
}

/* Forgets blocks that are gone; without memory it is asked again. */
void archive_sweep_mark(struct archive *a, const struct merge *m) {
    uint64_t number = m->plan.numbers[0];
    uint32_t kept = 0;
    for (uint32_t i = 0; i < a->sweeps_count; i++)
        if (a->sweeps[i].number != number &&
            manifest_block_find(&a->manifest, a->sweeps[i].number) != NULL)
            a->sweeps[kept++] = a->sweeps[i];
    a->sweeps_count = kept;
    if (a->sweeps_count == a->sweeps_cap) {
        uint32_t cap = a->sweeps_cap == 0 ? 16 : a->sweeps_cap * 2;
        struct sweep *sweeps = realloc(a->sweeps, cap * sizeof *sweeps);
        if (sweeps == NULL) return;
        a->sweeps = sweeps;
        a->sweeps_cap = cap;
    }
    const struct manifest_block *b = manifest_block_find(&m->manifest, number);
    a->sweeps[a->sweeps_count++] = (struct sweep){number, sweep_key(&m->manifest, b)};
}

/* -- on the worker */

/* The shards of the block for which those matchers were deleted. */
static void shards_with(const struct merge *m, const struct manifest_block *b, struct sv matchers,
                        uint64_t *bits) {
    for (uint32_t i = 0; i < b->parts_count; i++) {
        const struct manifest_shard *s = manifest_shard_find(&m->manifest, b->parts[i].shard);
        if (s == NULL || s->copy != b->parts[i].copy) continue;
        for (uint32_t k = 0; k < s->tombstones_count; k++)
            if (covers(&s->tombstones[k], b) && sv_eq(matchers_of(&s->tombstones[k]), matchers))
                bits[s->shard / 64] |= (uint64_t)1 << (s->shard % 64);
    }
}

static enum status matchers_probe(struct merge *m, struct block *block, struct sv matchers,
                                  const struct shard_set *shards, bool *out_has) {
    struct arena arena;
    struct select_query q = {.shards = shards, .from_ms = INT64_MIN, .to_ms = INT64_MAX};
    struct matcher *compiled;
    size_t count = 0;
    arena_init(&arena, 0);
    enum status status =
        entry_matchers_get(matchers, &arena, &compiled, &q.matchers_count, &m->err);
    struct block_selection *found = NULL;
    if (status == OK) {
        q.matchers = compiled;
        status = block_select(block, &q, &m->canceled, &found, &m->err);
    }
    if (status == OK) block_selection_series(found, &count);
    *out_has = status == OK && count > 0;
    block_selection_free(found);
    for (size_t i = 0; i < q.matchers_count; i++)
        matcher_fini(&compiled[i]);
    arena_fini(&arena);
    return status;
}

enum { SEEN_MAX = 64 };

/* Shards mostly have the same deletions: each is asked for once, for all its shards. */
static bool is_seen(struct sv *seen, size_t *count, struct sv matchers) {
    for (size_t i = 0; i < *count; i++)
        if (sv_eq(seen[i], matchers)) return true;
    if (*count < SEEN_MAX) seen[(*count)++] = matchers;
    return false;
}

static enum status shards_probe(struct merge *m, struct block *block,
                                const struct manifest_block *b, uint64_t *bits, bool *out_has) {
    uint32_t shards_count = m->archive->options.shards_count;
    struct sv seen[SEEN_MAX];
    size_t seen_count = 0;
    for (uint32_t i = 0; i < b->parts_count; i++) {
        const struct manifest_shard *s = manifest_shard_find(&m->manifest, b->parts[i].shard);
        if (s == NULL || s->copy != b->parts[i].copy) continue;
        for (uint32_t k = 0; k < s->tombstones_count; k++) {
            struct sv matchers = matchers_of(&s->tombstones[k]);
            if (!covers(&s->tombstones[k], b) || is_seen(seen, &seen_count, matchers)) continue;
            memset(bits, 0, (shards_count + 63) / 64 * sizeof *bits);
            shards_with(m, b, matchers, bits);
            struct shard_set set = {bits, shards_count};
            TRY(matchers_probe(m, block, matchers, &set, out_has));
            if (*out_has) return OK;
        }
    }
    return OK;
}

enum status archive_sweep_probe(struct merge *m, bool *out_has) {
    uint64_t number = m->plan.numbers[0];
    const struct manifest_block *b = manifest_block_find(&m->manifest, number);
    struct block *block = NULL;
    for (uint32_t i = 0; i < m->list->count; i++)
        if (m->list->blocks[i].of.number == number) block = m->list->blocks[i].block;
    *out_has = false;
    if (b == NULL || block == NULL) return OK;
    uint64_t *bits = calloc((m->archive->options.shards_count + 63) / 64, sizeof *bits);
    if (bits == NULL) return err_set(&m->err, ERR_NOMEM, 0, "merge: not enough memory");
    enum status status = shards_probe(m, block, b, bits, out_has);
    free(bits);
    return status;
}
