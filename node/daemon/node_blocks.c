/* SPDX-License-Identifier: Apache-2.0 */
/* Blocks of a node: the archive on the log core, a flusher on each data core. */
#include <assert.h>
#include <stdio.h>
#include <string.h>

#include "node/base/log.h"
#include "node/base/metrics.h"
#include "node/daemon/config.h"
#include "node/daemon/node_internal.h"
#include "storage/archive/exemplars.h"

#define BLOCK_RANGE_MS ((int64_t)2 * 3600 * 1000)
#define MERGED_MS_MAX ((int64_t)31 * 86400 * 1000) /* as Prometheus */
enum { TICK_MS = 10000, PATIENCE_TICKS = 6 };

static const double cleanup_bounds[] = {0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10};
static const struct metric_def cleanup_def = {
    .name = "prometheus_tsdb_tombstone_cleanup_seconds",
    .help = "The time taken to recompact blocks to remove tombstones.",
    .kind = METRIC_HISTOGRAM,
    .bounds = cleanup_bounds,
    .bounds_count = ARRAY_LEN(cleanup_bounds)};

static uint64_t tick_ms(const struct node *node) {
    return node->options.blocks_tick_ms == 0 ? TICK_MS : node->options.blocks_tick_ms;
}

int64_t node_block_range_ms(const struct node *node) {
    return node->options.block_range_ms == 0 ? BLOCK_RANGE_MS : node->options.block_range_ms;
}

static void on_advanced(struct archive_core *ac) {
    struct node_core *nc = container_of(ac, struct node_core, blocks);
    if (nc->replicas != NULL && nc->in != NULL) replicas_held_changed(nc->replicas);
}

struct copies_ctx {
    const struct node *node;
    const struct node_view *view;
};
static uint32_t copy_of_shard(void *ctx, uint32_t shard) {
    const struct copies_ctx *c = ctx;
    uint16_t core = c->view->core_of[shard];
    return core == 0xffff ? 0 : store_shard_copy(c->node->cores[core].store, shard);
}

/* Before the log is recovered: its shards begin where the manifest says. */
enum status node_blocks_open(struct node *node, const struct node_view *view, bool from_head,
                             struct err *err) {
    char dir[4200];
    const struct node_options *o = &node->options;
    snprintf(dir, sizeof dir, "%s/blocks", o->data_dir);
    TRY(disk_mkdir(node->rt->disk, dir, err));
    TRY(disk_sync_dir(node->rt->disk, o->data_dir, err));
    int64_t range_ms = node_block_range_ms(node), merged_ms = MERGED_MS_MAX;
    int64_t retention_ms = node->retention->longest_ms;
    if (retention_ms > 0) merged_ms = MIN(merged_ms, retention_ms / 10);
    if (o->block_merged_ms_max > 0) merged_ms = o->block_merged_ms_max;
    struct archive_options ao = {.dir = dir,
                                 .secret = view->map->settings.secret,
                                 .shards_count = view->map->settings.shards_count,
                                 .range_ms = range_ms,
                                 .merged_ms_max = merged_ms,
                                 .bytes_max = atomic_load(&node->retention_bytes),
                                 .raw_ms = node->retention->raw_ms,
                                 .exemplars_max = CONFIG_EXEMPLARS_MAX,
                                 .round_ms = tick_ms(node),
                                 .scrub_ms = o->scrub_ms};
    memcpy(ao.levels, o->downsample, sizeof ao.levels);
    TRY(archive_open(node->rt, &ao, &node->archive, err));
    /* Other replicas would not have them: a cluster takes them up with the first node's start. */
    struct archive_copies copies = {copy_of_shard, &(struct copies_ctx){node, view}};
    if (view->map->nodes_count == 1) TRY(archive_adopt(node->archive, &copies, err));
    for (unsigned i = 0; i < node->rt->cores_count; i++) {
        struct node_core *nc = &node->cores[i];
        nc->blocks.core = nc->core;
        nc->blocks.store = nc->store;
        nc->blocks.advanced = on_advanced;
        archive_add_core(node->archive, &nc->blocks);
    }
    const struct manifest *m = archive_manifest(node->archive);
    struct core *current = core_current();
    enum status status = OK;
    for (uint32_t i = 0; i < m->shards_count && status == OK; i++) {
        uint32_t shard = m->shards[i].shard;
        bool taken;
        if (shard >= view->map->settings.shards_count || view->core_of[shard] == 0xffff) continue;
        struct node_core *nc = &node->cores[view->core_of[shard]];
        core_set_current(nc->core);
        status = store_shard_base(nc->store, &m->shards[i], &taken, err);
    }
    for (unsigned i = 0; i < node->rt->cores_count && status == OK; i++) {
        core_set_current(node->cores[i].core);
        status = archive_fill_exemplars(node->archive, node->cores[i].store, from_head, err);
    }
    core_set_current(current);
    return status;
}

static bool may_cut(void *ctx, uint32_t shard) {
    const struct node_core *nc = ctx;
    struct err err;
    return nc->replicas != NULL &&
           replicas_may_write(nc->replicas, shard, core_mono_ns(nc->core), &err) == OK;
}

static struct place settled_of(void *ctx, uint32_t shard) {
    const struct node_core *nc = ctx;
    return nc->replicas == NULL ? (struct place){0} : replicas_settled(nc->replicas, shard);
}

static bool has_tail(void *ctx, uint32_t shard) {
    const struct node_core *nc = ctx;
    return nc->replicas != NULL && replicas_has_tail(nc->replicas, shard);
}

enum status node_blocks_start(struct node *node, struct err *err) {
    metric_get(&cleanup_def, NULL); /* there before the first */
    struct core *current = core_current();
    enum status status = OK;
    for (unsigned i = 0; i < node->rt->cores_count && status == OK; i++) {
        struct node_core *nc = &node->cores[i];
        struct flush_options fo = {.core = &nc->blocks,
                                   .may = {may_cut, nc},
                                   .retention = node->retention,
                                   .tick_ms = tick_ms(node),
                                   .patience_ms = tick_ms(node) * PATIENCE_TICKS};
        core_set_current(nc->core);
        store_set_settled(nc->store, settled_of, nc);
        store_set_repeats(nc->store, has_tail, nc);
        status = flusher_new(&fo, &nc->flusher, err);
    }
    core_set_current(current);
    if (status == OK) archive_start(node->archive, node->log);
    return status;
}

void node_stop_blocks(struct node *node, struct core *core, void (*stopped)(void *ctx), void *ctx) {
    bool log_core = core == node->rt->log_core;
    struct flusher *flusher = log_core ? NULL : node->cores[core->index].flusher;
    if (log_core && node->archive != NULL)
        archive_stop(node->archive, stopped, ctx);
    else if (flusher != NULL)
        flusher_stop(flusher, stopped, ctx);
    else
        stopped(ctx);
}

/* -- cleaning: home core -> log core -> home core */

static void clean_at_home(struct core *here, struct msg *m) {
    struct node_clean *c = container_of(m, struct node_clean, msg);
    c->done(here, c);
}

static void clean_done(struct archive_clean *clean, enum status status, const struct err *err) {
    struct node_clean *c = container_of(clean, struct node_clean, clean);
    c->status = status;
    c->err = *err;
    uint64_t took_ns = core_mono_ns(c->node->rt->log_core) - c->began_ns;
    metric_observe(metric_get(&cleanup_def, NULL), (double)took_ns / 1e9);
    c->msg.run = clean_at_home;
    core_post(c->home, &c->msg);
}

static void clean_on_log_core(struct core *here, struct msg *m) {
    struct node_clean *c = container_of(m, struct node_clean, msg);
    c->clean.done = clean_done;
    c->began_ns = core_mono_ns(here);
    archive_clean(c->node->archive, &c->clean);
}

void node_clean_start(struct node *node, struct core *home, struct node_clean *c) {
    c->node = node;
    c->home = home;
    c->msg.run = clean_on_log_core;
    core_post(node->rt->log_core, &c->msg);
}
