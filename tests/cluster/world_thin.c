/* SPDX-License-Identifier: Apache-2.0 */
/* Two replicas are made to differ under a deletion, in the end of a run: one series is deleted
 * everywhere, then a node that follows a shard loses every third sample of it from a block, whose
 * checksums are right, and starts again. They must become equal.
 *   START -> DELETING -> CHOOSING -> REPAIRING -> OVER */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "node/base/metrics.h"
#include "ring/replica/ranges.h"
#include "storage/archive/block_list.h"
#include "storage/archive/digest.h"
#include "storage/entry.h"
#include "tests/cluster/world.h"

enum { CHOOSE_MS = 20000 };

/* -- deleting */

static void deleted(struct core *here, struct delete_op *op) {
    (void)here;
    struct world *w = container_of(op, struct world, thin.op);
    w->thin.state = op->status == OK ? THIN_CHOOSING : THIN_START;
    w->thin.until_ms = sim_now_ms(w->sim) + CHOOSE_MS;
    if (op->status == OK) w->series[w->thin.series].count = 0;
}

static void delete_run(struct core *here, struct msg *m) {
    struct world *w = container_of(m, struct world, thin.msg);
    distributor_delete(here->locals[CORE_INGEST], &w->thin.op);
}

static void delete_start(struct world *w) {
    struct world_thin *t = &w->thin;
    struct rng *rng = sim_rng(w->sim);
    char text[8];
    if (t->matchers.len == 0) { /* else tried before */
        t->series = (unsigned)rng_below(rng, WORLD_SERIES);
        snprintf(text, sizeof text, "%u", t->series);
        struct matcher m = {.kind = MATCH_EQ, .name = SV("i"), .value = sv_from(text)};
        entry_matchers_put(&m, 1, &t->matchers);
    }
    t->on = (unsigned)rng_below(rng, w->nodes_count);
    if (w->retired[t->on] || w->nodes[t->on] == NULL) return;
    t->range = (struct delete_range){INT64_MIN, INT64_MAX, buf_sv(&t->matchers)};
    t->op = (struct delete_op){.ranges = &t->range, .ranges_count = 1, .done = deleted};
    t->state = THIN_DELETING;
    t->msg.run = delete_run;
    core_post(store_core(node_store(w->nodes[t->on], 0)), &t->msg);
}

void world_thin_forget(struct world *w, unsigned node) {
    if (w->thin.state == THIN_DELETING && w->thin.on == node) w->thin.state = THIN_START;
}

/* -- the block */

static struct store *store_of(struct node *node, uint32_t shard) {
    for (unsigned c = 0; c < store_core(node_store(node, 0))->rt->cores_count; c++)
        if (store_has_shard(node_store(node, c), shard)) return node_store(node, c);
    return NULL;
}

bool world_ranges_of(struct node *node, uint32_t shard, struct shard_ranges *out) {
    struct store *store = node == NULL ? NULL : store_of(node, shard);
    *out = (struct shard_ranges){0};
    if (store == NULL) return false;
    core_set_current(store_core(store));
    bool ok = digest_ranges(store, shard, out, NULL) == OK;
    core_set_current(NULL);
    return ok;
}

static double bad_repairs(void) {
    static const struct metric_def def = {"cairn_sync_repaired_total", "", METRIC_COUNTER, NULL, 0};
    return metric_value(metric_get(&def, "reason=\"bad\""));
}

static struct node *primary_of(const struct world *w, uint32_t shard) {
    node_id id = w->map->nodes[ring_map_primary(w->map, shard)].id;
    for (unsigned n = 0; n < w->nodes_count; n++)
        if (w->nodes[n] != NULL && node_self(w->nodes[n]) == id) return w->nodes[n];
    return NULL;
}

struct wanted {
    struct block_shard in;
    bool is_equal;
};
static bool span_look(void *ctx, const struct span_found *f) {
    struct wanted *want = ctx;
    if (f->span.min_ms <= want->in.min_ms && f->span.max_ms >= want->in.max_ms)
        want->is_equal = f->verdict == SPAN_EQUAL && f->own_samples > 20;
    return true;
}

/* What the block has of the shard is compared between these two, and equal now. */
static bool is_compared(struct node *node, struct node *primary, uint32_t shard,
                        const struct list_block *b) {
    struct wanted want = {.is_equal = false};
    struct shard_ranges own, other;
    bool ok = b->block != NULL && b->of.resolution_ms == 0 &&
              block_get_shard(b->block, shard, &want.in) && want.in.samples_count > 20;
    if (!ok) return false;
    if (world_ranges_of(node, shard, &own)) {
        if (world_ranges_of(primary, shard, &other)) ranges_each(&own, &other, span_look, &want);
        ranges_fini(&other);
    }
    ranges_fini(&own);
    return want.is_equal;
}

static void thin(void *ctx, uint32_t shard, struct sv canonical, const struct label *labels,
                 size_t labels_count, struct samples *s) {
    struct world *w = ctx;
    size_t kept = 0;
    char text[8] = "";
    (void)canonical;
    if (shard != w->thin.shard) return;
    for (size_t i = 0; i < labels_count; i++)
        if (sv_eq(labels[i].name, SV("i")))
            memcpy(text, labels[i].value.ptr, MIN(labels[i].value.len, sizeof text - 1));
    unsigned index = (unsigned)strtoul(text, NULL, 10) % WORLD_SERIES;
    struct model_series *m = &w->series[index];
    if (index == w->thin.series) return; /* nobody can see it any more */
    for (size_t i = 0; i < s->count; i++) {
        if (i % 3 != 0) {
            s->times_ms[kept] = s->times_ms[i];
            s->values[kept++] = s->values[i];
            continue;
        }
        w->thin.left_out++;
        for (size_t k = 0; k < m->count; k++) /* should the node lead before it is repaired */
            if (m->samples[k].time_ms == s->times_ms[i]) m->samples[k].state = SAMPLE_SENT;
    }
    s->count = kept;
}

static void block_thin(struct world *w, unsigned node, const struct list_block *b) {
    char path[64], thinned[80];
    struct err err;
    bool written;
    struct disk *disk = sim_disk(w->sim, node);
    snprintf(path, sizeof path, "data/blocks/%016" PRIx64 ".block", b->of.number);
    snprintf(thinned, sizeof thinned, "%s.thinned", path);
    struct block_merge_input input = {b->block, NULL};
    struct block_merge_options o = {.writer = {.disk = disk,
                                               .path = thinned,
                                               .secret = w->map->settings.secret,
                                               .shards_count = w->map->settings.shards_count,
                                               .level = b->of.level},
                                    .inputs = &input,
                                    .inputs_count = 1,
                                    .filter = thin,
                                    .ctx = w};
    if (block_merge(&o, &written, &err) != OK || !written ||
        disk_rename(disk, thinned, path, &err) != OK ||
        disk_sync_dir(disk, "data/blocks", &err) != OK)
        world_fail(w, "node %u: a block could not be thinned: %s", node, err.msg);
}

/* true: some node has lost samples, and is down. */
static bool choose(struct world *w) {
    uint32_t first = (uint32_t)rng_below(sim_rng(w->sim), WORLD_SHARDS);
    for (uint32_t i = 0; i < w->map->settings.shards_count; i++) {
        uint32_t shard = (first + i) % w->map->settings.shards_count;
        struct node *primary = primary_of(w, shard);
        for (unsigned n = 0; n < w->nodes_count && primary != NULL; n++) {
            struct store *store = w->nodes[n] == NULL ? NULL : store_of(w->nodes[n], shard);
            if (store == NULL || w->nodes[n] == primary || w->retired[n]) continue;
            const struct block_list *list = store_blocks(store);
            uint32_t copy = store_shard_copy(store, shard);
            for (uint32_t k = 0; list != NULL && k < list->count; k++) {
                const struct list_block *b = &list->blocks[k];
                if (!list_block_has(b, shard, copy) || !is_compared(w->nodes[n], primary, shard, b))
                    continue;
                w->thin.shard = shard;
                block_thin(w, n, b);
                if (w->thin.left_out == 0) continue; /* it has the deleted series alone */
                sim_kill(w->sim, n);
                world_forget_node(w, n);
                w->thin.bad_before = bad_repairs();
                w->thin.at = n;
                w->thin.copy = copy;
                return true;
            }
        }
    }
    return false;
}

/* -- until all is equal */

bool world_thin_must_be_seen(const struct world *w) {
    const struct world_thin *t = &w->thin;
    struct node *node = t->left_out == 0 ? NULL : w->nodes[t->at];
    struct store *store = node == NULL ? NULL : store_of(node, t->shard);
    return store != NULL && store_shard_copy(store, t->shard) == t->copy &&
           bad_repairs() == t->bad_before;
}

/* What is said of another pair may need what this one does not look at. Before both have closed as
 * much, what one of them has merged is not looked at (a node that has just started closes again
 * what its log says). */
static bool is_all_known(const struct shard_ranges *r) {
    for (uint32_t i = 0; i < r->count; i++)
        if (r->at[i].kind == RANGE_UNKNOWN) return false;
    return true;
}

static bool is_equal(struct world *w, uint32_t shard) {
    struct node *primary = primary_of(w, shard);
    struct shard_ranges own, other;
    bool equal = primary != NULL;
    for (unsigned n = 0; n < w->nodes_count && equal; n++) {
        struct span_found found;
        if (w->nodes[n] == NULL || w->nodes[n] == primary || store_of(w->nodes[n], shard) == NULL)
            continue;
        equal =
            world_ranges_of(w->nodes[n], shard, &own) && world_ranges_of(primary, shard, &other);
        if (equal) {
            ranges_compare(&own, &other, &found);
            equal = found.verdict == SPAN_EQUAL && own.closed_ms == other.closed_ms &&
                    is_all_known(&own) && is_all_known(&other);
            ranges_fini(&other);
        }
        ranges_fini(&own);
    }
    if (!equal)
        snprintf(w->waiting_for, sizeof w->waiting_for,
                 "replicas of shard %" PRIu32 " are not equal", shard);
    return equal;
}

bool world_ranges_are_equal(struct world *w) {
    for (uint32_t i = 0; i < w->map->settings.shards_count; i++)
        if (!is_equal(w, i)) return false;
    return true;
}

bool world_thin_is_over(struct world *w) {
    struct world_thin *t = &w->thin;
    if (w->options.replication_factor < 2 || !w->options.plans) t->state = THIN_OVER;
    if (t->state == THIN_START) delete_start(w);
    if (t->state == THIN_DELETING)
        snprintf(w->waiting_for, sizeof w->waiting_for, "a series is not deleted yet");
    if (t->state == THIN_CHOOSING) {
        if (choose(w))
            t->state = THIN_REPAIRING;
        else if (sim_now_ms(w->sim) > t->until_ms)
            t->state = THIN_OVER;
        return false;
    }
    if (t->state == THIN_REPAIRING && world_ranges_are_equal(w)) t->state = THIN_OVER;
    return t->state == THIN_OVER;
}
