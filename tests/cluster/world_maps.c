/* SPDX-License-Identifier: Apache-2.0 */
/* What the nodes' maps show: one primary in an epoch, how replicas change, when all is whole; and
 * whether replicas hold the same. */
#include <assert.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "node/base/hash.h"
#include "storage/select.h"
#include "ring/replica/ranges.h"
#include "storage/archive/digest.h"
#include "storage/archive/stored.h"
#include "tests/cluster/world.h"

const char *const world_view_names[VIEW_COUNT] = {"none",  "full+", "full-", "init+",
                                                  "init-", "log+",  "log-",  "leaving"};

static enum replica_view view_of(const struct ring_map *map, uint32_t shard, node_id node) {
    int i = ring_map_node_index(map, node);
    int r = i < 0 ? -1 : ring_shard_replica(&map->shards[shard], i);
    if (r < 0) return VIEW_NONE;
    const struct ring_replica *replica = &map->shards[shard].replicas[r];
    switch ((enum replica_state)replica->state) {
    case REPLICA_FULL: return replica->in_sync ? VIEW_FULL_IN : VIEW_FULL_OUT;
    case REPLICA_INIT: return replica->in_sync ? VIEW_INIT_IN : VIEW_INIT_OUT;
    case REPLICA_LOG: return replica->in_sync ? VIEW_LOG_IN : VIEW_LOG_OUT;
    case REPLICA_LEAVING: return VIEW_LEAVING;
    }
    return VIEW_NONE;
}

static void check_primaries(struct world *w, const struct ring_map *map, unsigned node) {
    for (uint32_t s = 0; s < map->settings.shards_count; s++) {
        uint32_t epoch = map->shards[s].epoch;
        node_id primary = map->nodes[ring_map_primary(map, s)].id;
        if (epoch >= WORLD_EPOCHS_MAX) {
            world_fail(w, "shard %" PRIu32 " is in epoch %" PRIu32, s, epoch);
            return;
        }
        if (w->primaries[s][epoch] == 0) {
            w->primaries[s][epoch] = primary;
            w->primaries_seen++;
        } else if (w->primaries[s][epoch] != primary) {
            world_fail(w,
                       "shard %" PRIu32 " has two primaries in epoch %" PRIu32 ", seen at node %u",
                       s, epoch, node);
        }
    }
}

static void count_transitions(struct world *w, const struct ring_map *map) {
    if (w->map == NULL) return;
    for (uint32_t s = 0; s < map->settings.shards_count; s++) {
        for (uint32_t i = 0; i < map->nodes_count; i++) {
            enum replica_view from = view_of(w->map, s, map->nodes[i].id);
            enum replica_view to = view_of(map, s, map->nodes[i].id);
            if (from != to) w->transitions[from][to]++;
        }
        for (uint32_t i = 0; i < w->map->nodes_count; i++)
            if (ring_map_node_index(map, w->map->nodes[i].id) < 0 &&
                view_of(w->map, s, w->map->nodes[i].id) != VIEW_NONE)
                w->transitions[view_of(w->map, s, w->map->nodes[i].id)][VIEW_NONE]++;
    }
}

static void describe_shard(const struct world *w, uint32_t s) {
    static const char *const states[] = {"?", "full", "init", "log", "leaving"};
    const struct ring_shard *shard = &w->map->shards[s];
    fprintf(stderr, "shard %" PRIu32 " epoch %" PRIu32 " primary %u:", s, shard->epoch,
            shard->primary);
    for (unsigned i = 0; i < shard->replicas_count; i++) {
        const struct ring_replica *r = &shard->replicas[i];
        fprintf(stderr, " %04x=%s%s copy %" PRIu32 " since %" PRIu64 " until %" PRIu64,
                (unsigned)(w->map->nodes[r->node].id & 0xffff), states[r->state],
                r->in_sync ? "+" : "-", r->copy, r->since, r->until);
    }
    fprintf(stderr, "\n");
}

void world_look_at_maps(struct world *w) {
    for (unsigned n = 0; n < w->nodes_count; n++) {
        if (w->nodes[n] == NULL || !sim_is_up(w->sim, n)) continue;
        struct ring_map *map = node_map(w->nodes[n]);
        if (map == NULL || (w->map != NULL && map->version == w->map->version)) continue;
        check_primaries(w, map, n);
        if (w->map != NULL && map->version < w->map->version) continue;
        count_transitions(w, map);
        ring_map_unref(w->map);
        w->map = ring_map_ref(map);
        w->maps_seen++;
        if (w->options.shard_told > 0) {
            fprintf(stderr, "%" PRIu64 " ms map %" PRIu64 " ", sim_now_ms(w->sim), map->version);
            describe_shard(w, w->options.shard_told - 1);
        }
    }
}

static bool has_settled(const struct world *w) {
    for (unsigned n = 0; n < w->nodes_count; n++)
        if (world_node_serves(w, n) && member_has_settled(node_member(w->nodes[n]))) return true;
    return false;
}

static bool is_opening(const struct world *w) {
    for (unsigned n = 0; n < w->nodes_count; n++)
        for (unsigned c = 0; w->nodes[n] != NULL && c < w->options.cores; c++) {
            struct replica_counts counts;
            if (node_replicas(w->nodes[n], c) == NULL) continue;
            replicas_counts(node_replicas(w->nodes[n], c), &counts);
            if (counts.promoting > 0) return true;
        }
    return false;
}

static struct node *find_node(struct world *w, node_id id) {
    for (unsigned n = 0; n < w->nodes_count; n++)
        if (w->nodes[n] != NULL && node_self(w->nodes[n]) == id) return w->nodes[n];
    return NULL;
}

static struct shard_held held_of(struct node *node, uint32_t shard) {
    struct shard_held held = {0};
    for (unsigned c = 0; !held.has_log && c < store_core(node_store(node, 0))->rt->cores_count; c++)
        store_held(node_store(node, c), shard, false, &held);
    return held;
}

/* A primary writes CUTs by itself. */
static bool logs_are_equal(struct world *w, const struct ring_map *map, uint32_t s) {
    const struct ring_shard *shard = &map->shards[s];
    struct place first = {0};
    for (unsigned r = 0; r < shard->replicas_count; r++) {
        struct node *node = find_node(w, map->nodes[shard->replicas[r].node].id);
        if (node == NULL || !node_is_open(node)) return false;
        struct shard_held held = held_of(node, s);
        if (r > 0 && place_cmp(held.end, first) != 0) return false;
        first = held.end;
    }
    return true;
}

bool world_is_whole(struct world *w) {
    const struct ring_map *map = w->map;
    if (map == NULL) return false;
    if (is_opening(w)) {
        snprintf(w->waiting_for, sizeof w->waiting_for, "a shard is being opened");
        return false;
    }
    if (!has_settled(w)) {
        snprintf(w->waiting_for, sizeof w->waiting_for, "no controller has the voters it wants");
        return false;
    }
    uint32_t up = 0;
    for (uint32_t i = 0; i < map->nodes_count; i++)
        up += (map->nodes[i].flags & (RING_NODE_DOWN | RING_NODE_DRAINING)) == 0;
    uint32_t want = map->settings.replication_factor;
    if (up < want) want = up;
    for (uint32_t s = 0; s < map->settings.shards_count; s++) {
        const struct ring_shard *shard = &map->shards[s];
        uint32_t readable = 0;
        for (unsigned r = 0; r < shard->replicas_count; r++)
            readable += ring_replica_is_readable(&shard->replicas[r]);
        if (readable >= want && readable == shard->replicas_count) {
            if (logs_are_equal(w, map, s)) continue;
            snprintf(w->waiting_for, sizeof w->waiting_for,
                     "the replicas of shard %" PRIu32 " hold different ends of its log", s);
            return false;
        }
        snprintf(w->waiting_for, sizeof w->waiting_for,
                 "shard %" PRIu32 " has %" PRIu32 " readable of %u replicas, wanted %" PRIu32
                 " (map %" PRIu64 ")",
                 s, readable, shard->replicas_count, want, map->version);
        return false;
    }
    return true;
}

/* -- the samples of a replica */

static uint64_t hash_shard(struct node *node, uint32_t shard, unsigned *out_series) {
    uint64_t sum = 0;
    uint64_t bits[(WORLD_SHARDS + 63) / 64] = {0};
    bits[shard / 64] |= (uint64_t)1 << (shard % 64);
    struct shard_set set = {bits, WORLD_SHARDS};
    for (unsigned c = 0; node_store(node, c) != NULL && c < 4; c++) {
        struct store *store = node_store(node, c);
        struct select_query q = {
            .shards = &set, .from_ms = INT64_MIN, .to_ms = INT64_MAX, .memory_bytes_max = 1 << 30};
        struct stored stored;
        struct err err;
        bool done = false;
        core_set_current(store_core(store));
        stored_init(&stored, store, &q);
        enum status st = OK;
        while (st == OK && !done)
            st = stored_select(&stored, UINT64_MAX, &done, &err);
        if (st == OK) st = stored_find(&stored, &err);
        struct samples samples = {0};
        for (size_t i = 0; i < stored.count && st == OK; i++) {
            samples_clear(&samples);
            st = stored_read(&stored, i, INT64_MIN, INT64_MAX, &samples, &err);
            if (samples.count == 0) continue;
            uint64_t h =
                hash64(samples.times_ms, samples.count * sizeof(int64_t), stored_id(&stored, i).lo);
            sum += hash64(samples.values, samples.count * sizeof(double), h);
            ++*out_series;
        }
        assert(st == OK);
        samples_fini(&samples);
        stored_release(&stored);
        core_set_current(NULL);
        if (c + 1 == store_core(store)->rt->cores_count) break;
    }
    return sum;
}

/* -- what replicas say of their blocks */

static void compare_ranges(struct world *w, uint32_t shard, struct node *a, struct node *b) {
    struct shard_ranges own = {0}, other = {0};
    struct span_found found;
    if (!world_ranges_of(a, shard, &own) || !world_ranges_of(b, shard, &other)) {
        world_fail(w, "a replica of shard %" PRIu32 " does not tell its ranges", shard);
    } else {
        ranges_compare(&own, &other, &found);
        if (found.verdict != SPAN_EQUAL || ranges_have_bad(&own) || ranges_have_bad(&other))
            world_fail(w,
                       "blocks of shard %" PRIu32 " differ, or are bad (%d), from %" PRId64
                       " to %" PRId64 ": %" PRIu64 " and %" PRIu64 " samples",
                       shard, found.verdict, found.span.min_ms, found.span.max_ms,
                       found.own_samples, found.other_samples);
    }
    ranges_fini(&own);
    ranges_fini(&other);
}

void world_compare_replicas(struct world *w) {
    for (uint32_t s = 0; s < w->map->settings.shards_count; s++) {
        const struct ring_shard *shard = &w->map->shards[s];
        uint64_t first = 0;
        struct shard_held first_held = {0};
        bool have = false;
        struct node *before = NULL;
        unsigned first_series = 0;
        for (unsigned r = 0; r < shard->replicas_count; r++) {
            struct node *node = find_node(w, w->map->nodes[shard->replicas[r].node].id);
            if (node == NULL || !ring_replica_is_readable(&shard->replicas[r])) continue;
            unsigned series = 0;
            uint64_t hash = hash_shard(node, s, &series);
            if (have && (hash != first || series != first_series))
                world_fail(w, "replicas of shard %" PRIu32 " differ: %u and %u series", s,
                           first_series, series);
            struct shard_held held = held_of(node, s);
            if (have &&
                (place_cmp(held.end, first_held.end) != 0 || held.history != first_held.history))
                world_fail(w, "the logs of shard %" PRIu32 "'s replicas are of different histories",
                           s);
            if (have) compare_ranges(w, s, before, node);
            before = node;
            first = hash;
            first_held = held;
            first_series = series;
            have = true;
        }
    }
}

static int64_t closed_ms(struct node *node, uint32_t shard) {
    struct store_archived a;
    for (unsigned c = 0; c < store_core(node_store(node, 0))->rt->cores_count; c++)
        if (store_shard_archive(node_store(node, c), shard, &a) && a.has_head) return a.from_ms;
    return INT64_MIN;
}

/* false: of a shard that both have, the node has more in blocks. *both: how many they have, of
 * which the node's log has not all any more. */
static bool closes_with(struct world *w, unsigned node, unsigned other, unsigned *both) {
    if (w->map == NULL || w->nodes[node] == NULL || w->nodes[other] == NULL) return false;
    for (uint32_t s = 0; s < w->map->settings.shards_count; s++) {
        const struct ring_shard *shard = &w->map->shards[s];
        unsigned have = 0;
        for (unsigned r = 0; r < shard->replicas_count; r++) {
            struct node *n = find_node(w, w->map->nodes[shard->replicas[r].node].id);
            have += ring_replica_is_readable(&shard->replicas[r]) &&
                    (n == w->nodes[node] || n == w->nodes[other]);
        }
        if (have < 2) continue;
        if (closed_ms(w->nodes[other], s) < closed_ms(w->nodes[node], s)) return false;
        *both += held_of(w->nodes[node], s).based;
    }
    return true;
}

bool world_has_closed(struct world *w, unsigned node, unsigned other) {
    unsigned both = 0;
    return closes_with(w, node, other, &both) && both > 0;
}

bool world_have_closed(struct world *w, unsigned node) {
    unsigned both = 0;
    for (unsigned i = 0; i < w->nodes_count; i++)
        if (i != node && !w->retired[i] && !closes_with(w, node, i, &both)) return false;
    return true;
}

static void describe_stored(const struct store *store, uint32_t shard, struct buf *out) {
    struct store_archived a;
    const struct block_list *list = store_blocks(store);
    if (!store_shard_archive(store, shard, &a)) return;
    buf_printf(out, "; stored copy %" PRIu32 " from %" PRId64 " cut %" PRId64 " floor %" PRId64,
               a.copy, a.from_ms, a.cut_ms, a.floor_ms);
    for (uint32_t i = 0; list != NULL && i < list->count; i++)
        if (list_block_has(&list->blocks[i], shard, a.copy))
            buf_printf(out, " block %" PRIu64 " [%" PRId64 ", %" PRId64 "]",
                       list->blocks[i].of.number, list->blocks[i].of.min_ms,
                       list->blocks[i].of.max_ms);
}

void world_describe(struct world *w) {
    for (unsigned n = 0; n < w->nodes_count; n++) {
        struct buf b = {0};
        if (w->nodes[n] == NULL) continue;
        member_describe(node_member(w->nodes[n]), &b);
        fprintf(stderr, "n%u %04x %s: %.*s\n", n, (unsigned)(node_self(w->nodes[n]) & 0xffff),
                sim_addr(w->sim, n), (int)b.len, b.ptr);
        buf_fini(&b);
    }
    if (w->map == NULL) return;
    for (uint32_t s = 0; s < w->map->settings.shards_count; s++) {
        describe_shard(w, s);
        for (unsigned n = 0; n < w->nodes_count; n++)
            for (unsigned c = 0; w->nodes[n] != NULL && c < w->options.cores; c++) {
                struct replicas *r = node_replicas(w->nodes[n], c);
                struct replica_counts counts;
                struct buf b = {0};
                if (r == NULL) continue;
                replicas_counts(r, &counts);
                replicas_describe(r, s, &b);
                describe_stored(node_store(w->nodes[n], c), s, &b);
                if (b.len > 4 && memcmp(b.ptr, "none", 4) != 0)
                    fprintf(stderr, "    n%u %04x core %u map %" PRIu64 ": %.*s\n", n,
                            (unsigned)(node_self(w->nodes[n]) & 0xffff), c,
                            node_map(w->nodes[n])->version, (int)b.len, b.ptr);
                buf_fini(&b);
            }
    }
}
