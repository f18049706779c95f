/* SPDX-License-Identifier: Apache-2.0 */
#include "storage/archive/digest.h"

#include <inttypes.h>
#include <stdlib.h>

#include "storage/archive/hidden.h"

/* Rows that nobody here may be able to make anew (storage/ended.h). */
static bool is_needed(const struct list_block *b, const struct store_archived *a) {
    return b->of.resolution_ms == 0 || b->of.min_ms < a->ended.raw_ms;
}

static bool is_needed_of_any(const struct store *store, const struct list_block *b) {
    for (uint32_t i = 0; i < b->of.parts_count; i++) {
        struct store_archived a;
        if (store_shard_archive(store, b->of.parts[i].shard, &a) && a.copy == b->of.parts[i].copy &&
            is_needed(b, &a))
            return true;
    }
    return false;
}

bool digest_has_bad(const struct store *store) {
    const struct block_list *list = store_blocks(store);
    for (uint32_t i = 0; list != NULL && i < list->count; i++)
        if (list->blocks[i].block == NULL && is_needed_of_any(store, &list->blocks[i])) return true;
    return false;
}

static enum status range_add(struct shard_ranges *r, struct shard_range range, struct err *err) {
    if (r->count == r->cap) {
        uint32_t cap = r->cap == 0 ? 16 : r->cap * 2;
        struct shard_range *at = realloc(r->at, cap * sizeof *at);
        if (at == NULL) return err_set(err, ERR_NOMEM, 0, "ranges: not enough memory");
        r->at = at;
        r->cap = cap;
    }
    r->at[r->count++] = range;
    return OK;
}

/* A bad block may end later than what it has of the shard, which is closed. */
static enum status block_range(struct store *store, const struct list_block *b, uint32_t shard,
                               const struct store_archived *a, struct shard_ranges *out,
                               struct err *err) {
    struct block_shard in;
    struct hidden_sum hidden = {0};
    bool known = list_block_shard(b, shard, &in);
    if (b->block == NULL) {
        if (out->closed_ms == INT64_MIN) return OK;
        int64_t max_ms = known ? in.max_ms : b->of.max_ms;
        struct shard_range r = {.max_ms = MIN(max_ms, out->closed_ms - 1), .kind = RANGE_BAD};
        r.min_ms = MIN(known ? in.min_ms : b->of.min_ms, r.max_ms);
        return range_add(out, r, err);
    }
    if (!known) return OK;
    struct shard_range range = {.min_ms = in.min_ms, .max_ms = in.max_ms, .kind = RANGE_UNKNOWN};
    if (hidden_ask(store, b, shard, &in, a, &hidden) != HIDDEN_LATER) {
        range.kind = RANGE_GOOD;
        range.samples = in.samples_count - hidden.samples;
        range.digest.lo = in.digest.lo - hidden.digest.lo;
        range.digest.hi = in.digest.hi - hidden.digest.hi - (in.digest.lo < hidden.digest.lo);
    }
    return range_add(out, range, err);
}

enum status digest_ranges(struct store *store, uint32_t shard, struct shard_ranges *out,
                          struct err *err) {
    struct store_archived a;
    const struct block_list *list = store_blocks(store);
    if (!store_shard_archive(store, shard, &a) || !a.has_head || a.damaged || list == NULL)
        return err_set(err, ERR_UNAVAILABLE, 0, "ranges: shard %" PRIu32 " is not whole here",
                       shard);
    out->closed_ms = a.from_ms;
    out->closed_at = store_shard_closed_at(store, shard);
    out->closed_history = store_history(store, shard, out->closed_at.epoch);
    /* of what has ended as samples one may have more of them than the other */
    out->floor_ms = ended_any(&a.ended) ? MAX(a.floor_ms, a.ended.raw_ms + 1) : a.floor_ms;
    for (uint32_t i = 0; i < list->count; i++) {
        const struct list_block *b = &list->blocks[i];
        bool looks = b->of.resolution_ms == 0 || (b->block == NULL && is_needed(b, &a));
        if (looks && list_block_has(b, shard, a.copy))
            TRY(block_range(store, b, shard, &a, out, err));
    }
    for (uint32_t i = 0; i < a.tombstones_count; i++) {
        const struct tombstone *t = &a.tombstones[i];
        struct block_digest what = hidden_rule(t);
        TRY(range_add(
            out, (struct shard_range){t->min_ms, t->max_ms, RANGE_DELETED, 0, {what.hi, what.lo}},
            err));
    }
    return OK;
}
