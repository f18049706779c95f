/* SPDX-License-Identifier: Apache-2.0 */
/* Where a shard begins, and giving up what is before. A walk over the series of each shard that
 * wants it, then, when many series have gone, over the posting lists (head_drop.c). Between slices
 * only a position is kept: the series before the next one in its shard's list, which nothing but
 * trimming and dropping the shard takes out of it. */
#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "storage/internal.h"

enum { SLICE_SERIES = 64, LATE_MIN = 8 };

bool head_slice_is_over(uint64_t until_ns) {
    if (until_ns == 0) return false;
    struct core *core = core_current();
    return core != NULL && core_mono_ns(core) >= until_ns;
}

void head_trim_want(struct head *head, uint32_t shard) {
    head->shards[shard].trim_wanted = true;
    head->trim.wanted = true;
}

void head_shard_set_from(struct head *head, uint32_t shard, int64_t from_ms) {
    enum status status = head_shard_reserve(head, shard);
    assert(status == OK);
    if (from_ms <= head->shards[shard].from_ms) return;
    head->shards[shard].from_ms = from_ms;
    head->from_max_ms = MAX(head->from_max_ms, from_ms);
    head_trim_want(head, shard);
}

int64_t head_shard_from(const struct head *head, uint32_t shard) {
    return head_from(head, shard);
}

uint32_t head_chunks_kept(const struct series_cold *cold, int64_t from_ms) {
    const struct chunk *c = cold->sealed;
    for (uint32_t kept = 0; kept < cold->sealed_count; kept++, c = c->older)
        if (c->times->last_ms < from_ms) return kept;
    return cold->sealed_count;
}

static enum status trim_chunks(struct head *head, struct series_cold *cold, int64_t from_ms) {
    uint32_t kept = head_chunks_kept(cold, from_ms), gone = cold->sealed_count - kept;
    if (gone == 0) return OK;
    struct chunk *first = cold->sealed;
    for (uint32_t i = 0; i < kept; i++)
        first = first->older;
    TRY(head_retire_chunks(head, first, gone));
    if (kept == 0) cold->sealed = NULL;
    cold->sealed_count = kept;
    head->chunks_count -= gone;
    return OK;
}

/* All, or many: each time the others are copied. */
static enum status trim_late(struct head *head, struct series_cold *cold, int64_t from_ms) {
    struct late *late = cold->late, *copy = NULL;
    if (late == NULL) return OK;
    uint32_t gone = late_seek(late->at, late->count, from_ms), kept = late->count - gone;
    if (kept > 0 && (gone < LATE_MIN || gone < kept)) return OK;
    if (kept > 0) {
        size_t bytes = sizeof *copy + kept * sizeof *copy->at;
        copy = malloc(bytes);
        if (copy == NULL) return ERR_NOMEM;
        *copy = (struct late){.count = kept, .cap = kept};
        memcpy(copy->at, late->at + gone, kept * sizeof *copy->at);
        head->late_bytes += bytes;
    }
    cold->late = copy;
    head_retire_late(head, late);
    return OK;
}

/* *out_empty: nothing is left. */
static enum status trim_series(struct head *head, uint32_t ref, int64_t from_ms, bool *out_empty) {
    struct chunk_open *open = &head_series(head, ref)->open;
    struct series_cold *cold = head_cold(head, ref);
    TRY(trim_chunks(head, cold, from_ms));
    TRY(trim_late(head, cold, from_ms));
    if (open->count > 0 && open->last_ms < from_ms) {
        if (open->first != NULL) head_retire_blocks(head, open->first, open->tail);
        chunk_reset(open);
        head->chunks_count--;
    }
    *out_empty = cold->sealed_count == 0 && cold->late == NULL && open->count == 0;
    if (open->has_extras && !head_extras_trim(head, ref, from_ms)) *out_empty = false;
    return OK;
}

static void unlink_series(struct head *head, struct head_shard *sh, uint32_t before, uint32_t ref) {
    uint32_t next = head_cold(head, ref)->next_in_shard;
    if (before == HEAD_NONE)
        sh->first = next;
    else
        head_cold(head, before)->next_in_shard = next;
}

/* Some series of the shard the walk stands in; true when it came to the end. */
static bool trim_some(struct head *head, struct dead_list *dead) {
    struct head_shard *sh = &head->shards[head->trim.shard];
    uint32_t *before = &head->trim.before;
    for (int i = 0; i < SLICE_SERIES; i++) {
        uint32_t ref = *before == HEAD_NONE ? sh->first : head_cold(head, *before)->next_in_shard;
        if (ref == HEAD_NONE) return true;
        bool empty = false;
        if (trim_series(head, ref, sh->from_ms, &empty) != OK) {
            sh->trim_wanted = head->trim.lacked = true;
            empty = false;
        }
        if (empty && head_series(head, ref)->open.owner == HEAD_NONE) {
            unlink_series(head, sh, *before, ref);
            head_kill(head, ref, dead);
        } else {
            *before = ref;
        }
    }
    return false;
}

/* The shard it stands in; true when that is done. */
static bool trim_shard(struct head *head, uint64_t until_ns) {
    for (;;) {
        struct dead_list dead = {HEAD_NONE, HEAD_NONE};
        bool done = trim_some(head, &dead);
        if (dead.first != HEAD_NONE) head_retire_series(head, dead.first, dead.last);
        if (done) return true;
        if (head_slice_is_over(until_ns)) return false;
    }
}

/* Bounds of all times, when every shard has one. */
static void bounds_tighten(struct head *head) {
    int64_t min_ms = INT64_MAX;
    for (uint32_t i = 0; i < head->shards_count; i++)
        if (head->shards[i].first != HEAD_NONE) min_ms = MIN(min_ms, head->shards[i].from_ms);
    if (head->live_count > 0) head->min_time_ms = MAX(head->min_time_ms, min_ms);
}

/* One walk over the shards, or the rest of one; true at its end. */
static bool trim_pass(struct head *head, uint64_t until_ns) {
    for (; head->trim.shard < head->shards_count; head->trim.shard++) {
        struct head_shard *sh = &head->shards[head->trim.shard];
        if (!head->trim.in_shard) {
            if (!sh->trim_wanted) continue;
            sh->trim_wanted = false;
            head->trim.in_shard = true;
            head->trim.before = HEAD_NONE;
        }
        if (!trim_shard(head, until_ns)) return false;
        head->trim.in_shard = false;
        if (!head_slice_is_over(until_ns)) continue;
        head->trim.shard++;
        return false;
    }
    head->trim.shard = 0;
    return true;
}

bool head_trim(struct head *head, uint64_t until_ns) {
    if (head->trim.sweep != HEAD_NONE && !head_sweep_step(head, until_ns)) return false;
    while (head->trim.wanted) {
        if (!trim_pass(head, until_ns)) return false;
        head->trim.wanted = false; /* unless of a shard that the walk had passed */
        for (uint32_t i = 0; i < head->shards_count; i++)
            head->trim.wanted = head->trim.wanted || head->shards[i].trim_wanted;
        bounds_tighten(head);
        bool lacked = head->trim.lacked;
        head->trim.lacked = false;
        if (lacked) break;
        if (head_slice_is_over(until_ns)) return false;
    }
    return !head_sweep_is_due(head) || head_sweep_step(head, until_ns);
}

void head_shard_stats(const struct head *head, uint32_t shard, struct head_shard_stats *out) {
    *out = (struct head_shard_stats){.min_time_ms = INT64_MAX, .max_time_ms = INT64_MIN};
    if (shard >= head->shards_count) return;
    int64_t from_ms = head->shards[shard].from_ms;
    for (uint32_t ref = head->shards[shard].first, next; ref != HEAD_NONE; ref = next) {
        const struct chunk_open *open = &head_series(head, ref)->open;
        const struct series_cold *cold = head_cold(head, ref);
        struct chunk_snapshot snapshot = chunk_snapshot(open);
        next = cold->next_in_shard;
        int64_t oldest_ms = INT64_MAX;
        uint64_t samples = 0;
        out->memory_bytes += sizeof(struct series) + sizeof *cold;
        out->memory_bytes += sizeof *cold->labels + cold->labels->own * sizeof(uint32_t);
        if (open->count > 0 && open->last_ms >= from_ms) {
            samples += open->count;
            oldest_ms = chunk_snapshot_first_ms(&snapshot);
        }
        const uint64_t blocks = ((uint64_t)open->bits + CHUNK_BLOCK_BITS - 1) / CHUNK_BLOCK_BITS;
        out->memory_bytes += blocks * sizeof(struct chunk_block);
        const struct chunk *c = cold->sealed;
        for (uint32_t left = head_chunks_kept(cold, from_ms); left > 0; left--, c = c->older) {
            samples += c->times->count;
            oldest_ms = c->times->first_ms;
            out->memory_bytes += head_chunk_bytes(c);
        }
        if (cold->late != NULL) {
            uint32_t first = late_seek(cold->late->at, cold->late->count, from_ms);
            samples += cold->late->count - first;
            if (first < cold->late->count)
                oldest_ms = MIN(oldest_ms, cold->late->at[first].time_ms);
            out->memory_bytes += sizeof *cold->late + cold->late->cap * sizeof *cold->late->at;
        }
        if (samples == 0) continue;
        out->series++;
        out->samples += samples;
        out->min_time_ms = MIN(out->min_time_ms, MAX(oldest_ms, from_ms));
        out->max_time_ms = MAX(out->max_time_ms, open->last_ms);
    }
}
