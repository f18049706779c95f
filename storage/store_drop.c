/* SPDX-License-Identifier: Apache-2.0 */
/* Forgetting a shard. What its log has under lower copy numbers is void from then on. */
#include <assert.h>
#include <stdlib.h>

#include "storage/store_internal.h"

struct shard_of {
    const struct head *head;
    uint32_t shard;
};
static bool is_of_shard(void *ctx, uint32_t ref) {
    const struct shard_of *of = ctx;
    return head_series_shard(of->head, ref) == of->shard;
}

void store_whole_drop(struct store *store, uint32_t shard) {
    struct store_shard *st = &store->shards[shard];
    uint32_t copy = st->log.copy;
    exemplars_drop(&store->exemplars, is_of_shard, &(struct shard_of){store->head, shard});
    metadata_drop(&store->meta, shard);
    head_shard_drop(store->head, shard);
    held_fini(&st->log);
    st->log.copy = copy;
    free(st->refs);
    free(st->epochs);
    st->refs = NULL;
    st->epochs = NULL;
    st->refs_count = st->refs_cap = 0;
    st->epochs_count = st->epochs_cap = 0;
    st->newest_ms = INT64_MIN;
    store_archived_fini(st);
    st->writing = false;
    metric_set(store->metrics.exemplars_held, exemplars_count(&store->exemplars));
}

void store_drop(struct store *store, uint32_t shard, uint32_t copy) {
    if (shard >= store->options.shards_count) return;
    struct store_shard *st = &store->shards[shard];
    tail_free(st);
    store_whole_drop(store, shard);
    st->log.copy = copy;
    st->writing = false;
    if (copy == 0) {
        st->open = false;
        st->map_epoch = 0;
        st->tail_copy = 0;
    } else {
        if (!st->open) st->role = STORE_INIT;
        st->open = true;
        st->tail_copy = st->role == STORE_LOG ? copy : 0;
    }
}
