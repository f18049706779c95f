/* SPDX-License-Identifier: Apache-2.0 */
#include "ring/control/recover.h"

#include <assert.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "node/base/bytes.h"
#include "node/base/hash.h"

struct recover {
    const struct ring_map *newest;
    struct ring_map *map;
    int32_t node_of[RING_NODES_MAX]; /* new index by old one; -1: lost */
    uint32_t primaries[RING_NODES_MAX], replicas[RING_NODES_MAX];
};

void recover_cluster_id(const uint8_t old[16], uint64_t version, const node_id *survivors,
                        size_t count, uint8_t out[16]) {
    uint8_t text[16 + 8 + 16];
    struct hash128 nodes = hash128(survivors, count * sizeof *survivors, version);
    memcpy(text, old, 16);
    put_u64le(text + 16, version);
    put_u64le(text + 24, nodes.lo);
    put_u64le(text + 32, nodes.hi);
    struct hash128 id = hash128(text, sizeof text, 0);
    put_u64le(out, id.lo);
    put_u64le(out + 8, id.hi);
}

static enum status recover_nodes(struct recover *r, const node_id *survivors, size_t count,
                                 struct err *err) {
    for (uint32_t i = 0; i < r->newest->nodes_count; i++)
        r->node_of[i] = -1;
    for (size_t k = 0; k < count; k++) {
        int at = ring_map_node_index(r->newest, survivors[k]);
        assert(k == 0 || survivors[k - 1] < survivors[k]);
        if (at < 0)
            return err_set(err, ERR_CONFLICT, 0,
                           "node %016" PRIx64 " is no member of map version %" PRIu64, survivors[k],
                           r->newest->version);
        r->node_of[at] = (int32_t)k;
        r->map->nodes[k] = r->newest->nodes[at];
        r->map->nodes[k].flags = 0; /* who is down or shall go is decided anew */
    }
    return OK;
}

/* -- what the survivors of a shard hold */

static void keep_survivors(const struct recover *r, uint32_t s, struct ring_shard *shard) {
    const struct ring_shard *old = &r->newest->shards[s];
    *shard = (struct ring_shard){.epoch = old->epoch + RECOVER_EPOCHS};
    for (unsigned i = 0; i < old->replicas_count; i++) {
        struct ring_replica replica = old->replicas[i];
        if (r->node_of[replica.node] < 0) continue;
        replica.node = (uint16_t)r->node_of[replica.node];
        /* A copy that has returned and not opened yet, or may not after all, and the LOG replicas
         * that it was to hear: as they were before. */
        if (replica.state == REPLICA_LEAVING && replica.since != 0) {
            replica.state = REPLICA_FULL;
            replica.until = replica.since;
            replica.since = 0;
        }
        bool waits = replica.state == REPLICA_FULL || replica.state == REPLICA_LOG;
        if (waits && replica.until != 0) replica.in_sync = false;
        shard->replicas[shard->replicas_count++] = replica;
    }
}

static bool is_whole(const struct ring_replica *replica) {
    return ring_replica_is_readable(replica) && replica->until == 0;
}

/* The one that leads least; -1: none is whole. */
static int find_whole(const struct recover *r, const struct ring_shard *shard) {
    int best = -1;
    for (int i = 0; i < shard->replicas_count; i++) {
        if (!is_whole(&shard->replicas[i])) continue;
        if (best < 0 ||
            r->primaries[shard->replicas[i].node] < r->primaries[shard->replicas[best].node])
            best = i;
    }
    return best;
}

/* Who was about to leave was waited for by every acknowledgement. */
static bool stay_leaving(struct ring_shard *shard) {
    bool any = false;
    for (unsigned i = 0; i < shard->replicas_count; i++) {
        struct ring_replica *replica = &shard->replicas[i];
        if (replica->state != REPLICA_LEAVING || !replica->in_sync) continue;
        replica->state = REPLICA_FULL;
        replica->until = 0;
        any = true;
    }
    return any;
}

/* Every acknowledged entry is in the copy, which was waited for until some version, or in a LOG
 * replica that was waited for from then on, and so on until now (ring/control/cover.c). */
static bool has_tail(const struct ring_shard *shard, const struct ring_replica *full) {
    uint64_t at = full->until;
    if (full->state != REPLICA_FULL || full->in_sync || at == 0) return false;
    for (bool found = true; found;) {
        found = false;
        for (unsigned i = 0; i < shard->replicas_count; i++) {
            const struct ring_replica *log = &shard->replicas[i];
            bool logs = log->state == REPLICA_LOG || (log->state == REPLICA_INIT && log->in_sync);
            if (!logs || log->since > at) continue;
            if (log->until == 0 && log->in_sync) return true;
            if (log->until <= at) continue;
            at = log->until;
            found = true;
        }
    }
    return false;
}

static int find_log(const struct recover *r, const struct ring_shard *shard) {
    int best = -1;
    for (int i = 0; i < shard->replicas_count; i++) {
        const struct ring_replica *log = &shard->replicas[i];
        bool logs = log->state == REPLICA_LOG || log->state == REPLICA_INIT;
        if (!logs || !log->in_sync) continue;
        if (best < 0 || r->primaries[log->node] < r->primaries[shard->replicas[best].node])
            best = i;
    }
    return best;
}

/* -- what is lost */

static bool is_better(const struct ring_replica *a, const struct ring_replica *b) {
    if (a->state != b->state) return a->state == REPLICA_FULL;
    return a->until != b->until ? a->until > b->until : a->copy > b->copy;
}

/* As the controller does when people accept a loss: the copy that was in sync last becomes the
 * truth, other copies are compared with it, the rest goes. */
static enum recover_outcome accept_loss(struct recover *r, struct ring_shard *shard) {
    int best = -1;
    for (int i = 0; i < shard->replicas_count; i++) {
        const struct ring_replica *replica = &shard->replicas[i];
        bool copy =
            replica->state == REPLICA_FULL || (replica->state == REPLICA_INIT && !replica->in_sync);
        if (copy && (best < 0 || is_better(replica, &shard->replicas[best]))) best = i;
    }
    struct ring_replica chosen = {.copy = (uint32_t)(2 * r->map->version + 1)};
    if (best >= 0) {
        chosen = shard->replicas[best];
    } else {
        for (uint32_t i = 0; i < r->map->nodes_count; i++)
            if (r->replicas[i] < r->replicas[chosen.node]) chosen.node = (uint16_t)i;
    }
    chosen.state = REPLICA_FULL;
    chosen.in_sync = true;
    chosen.since = chosen.until = 0;
    unsigned kept = 0;
    for (unsigned i = 0; i < shard->replicas_count; i++) {
        struct ring_replica replica = shard->replicas[i];
        if (replica.state != REPLICA_FULL || replica.node == chosen.node) continue;
        if (replica.until == 0) replica.until = r->map->version;
        replica.in_sync = false;
        shard->replicas[kept++] = replica;
    }
    shard->replicas[kept] = chosen;
    shard->primary = (uint8_t)kept;
    shard->replicas_count = (uint8_t)(kept + 1);
    return best >= 0 ? RECOVER_PART : RECOVER_NONE;
}

static enum recover_outcome recover_shard(struct recover *r, uint32_t s, struct ring_shard *shard) {
    keep_survivors(r, s, shard);
    int leads = find_whole(r, shard);
    if (leads < 0 && stay_leaving(shard)) leads = find_whole(r, shard);
    if (leads >= 0) {
        shard->primary = (uint8_t)leads;
        return RECOVER_WHOLE;
    }
    bool tail = false;
    for (unsigned i = 0; i < shard->replicas_count; i++)
        tail = tail || has_tail(shard, &shard->replicas[i]);
    leads = tail ? find_log(r, shard) : -1;
    if (leads < 0) return accept_loss(r, shard);
    shard->primary = (uint8_t)leads;
    return RECOVER_TAIL;
}

static enum status recover_shards(struct recover *r, uint8_t *out_outcomes, struct err *err) {
    for (uint32_t s = 0; s < r->map->settings.shards_count; s++) {
        struct ring_shard *shard = &r->map->shards[s];
        if (r->newest->shards[s].epoch > UINT32_MAX - 2 * RECOVER_EPOCHS)
            return err_set(err, ERR_LIMIT, 0, "shard %" PRIu32 " is in epoch %" PRIu32, s,
                           r->newest->shards[s].epoch);
        out_outcomes[s] = (uint8_t)recover_shard(r, s, shard);
        for (unsigned i = 0; i < shard->replicas_count; i++)
            r->replicas[shard->replicas[i].node]++;
        r->primaries[shard->replicas[shard->primary].node]++;
    }
    return ring_map_check(r->map, err);
}

enum status recover_map(const struct ring_map *newest, const node_id *survivors, size_t count,
                        uint8_t *out_outcomes, struct ring_map **out, struct err *err) {
    if (count == 0 || count > newest->nodes_count)
        return err_set(err, ERR_CONFLICT, 0, "%zu survivors of %" PRIu32 " nodes", count,
                       newest->nodes_count);
    struct recover *r = calloc(1, sizeof *r);
    if (r == NULL) return err_set(err, ERR_NOMEM, 0, "out of memory");
    r->newest = newest;
    enum status status = ring_map_new((uint32_t)count, newest->settings.shards_count, &r->map, err);
    if (status == OK) {
        r->map->version = newest->version + RECOVER_VERSIONS;
        r->map->settings = newest->settings;
        recover_cluster_id(newest->settings.cluster_id, r->map->version, survivors, count,
                           r->map->settings.cluster_id);
        status = recover_nodes(r, survivors, count, err);
    }
    if (status == OK) status = recover_shards(r, out_outcomes, err);
    if (status == OK)
        *out = r->map;
    else
        ring_map_unref(r->map);
    free(r);
    return status;
}

/* -- what they have indeed */

static struct place end_of(const struct ring_map *map, const struct place *ends, uint32_t s,
                           const struct ring_replica *replica) {
    return ends[(size_t)replica->node * map->settings.shards_count + s];
}

static void compare_shard(struct ring_map *map, const struct place *ends, uint32_t s,
                          uint32_t *primaries) {
    struct ring_shard *shard = &map->shards[s];
    struct place last = {0};
    int leads = -1;
    for (int i = 0; i < shard->replicas_count; i++) {
        struct place end = end_of(map, ends, s, &shard->replicas[i]);
        if (is_whole(&shard->replicas[i]) && place_cmp(end, last) > 0) last = end;
    }
    for (int i = 0; i < shard->replicas_count; i++) {
        struct ring_replica *replica = &shard->replicas[i];
        if (!is_whole(replica)) continue;
        if (place_cmp(end_of(map, ends, s, replica), last) < 0) {
            replica->in_sync = false;
            replica->until = map->version;
        } else if (leads < 0 || primaries[replica->node] < primaries[shard->replicas[leads].node]) {
            leads = i;
        }
    }
    shard->primary = (uint8_t)leads;
    primaries[shard->replicas[leads].node]++;
}

void recover_compare(struct ring_map *map, const struct place *ends, uint8_t *outcomes) {
    uint32_t primaries[RING_NODES_MAX] = {0};
    for (uint32_t s = 0; s < map->settings.shards_count; s++) {
        if (outcomes[s] != RECOVER_WHOLE) continue;
        bool any = false;
        for (unsigned i = 0; i < map->shards[s].replicas_count; i++) {
            const struct ring_replica *replica = &map->shards[s].replicas[i];
            any = any || (is_whole(replica) && end_of(map, ends, s, replica).epoch > 0);
        }
        if (any)
            compare_shard(map, ends, s, primaries);
        else
            outcomes[s] = RECOVER_PART;
    }
}
