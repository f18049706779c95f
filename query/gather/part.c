/* SPDX-License-Identifier: Apache-2.0 */
#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "query/gather/internal.h"
#include "query/gather/selected.h"

/* One fragment on one core. Its own memory: the home core's scatter waits for it whatever happens.
 *   SELECT (slices on the core) -> RUN (worker, or there when short) -> RELEASE (on the core) ->
 * told at home */
struct local_part {
    struct msg msg;
    struct work work;
    struct scatter_part *part; /* touched at home only */
    struct core *home, *core;
    struct query *query;
    const struct fragment *fragment;
    struct query_control *control;
    const struct ring_map *map; /* the asker's */
    struct shard_set shards;
    uint64_t *shard_bits; /* the part's: this side's until it is told at home */
    struct source source;
    enum status status;
    struct err err;
    struct partial *partial;
    struct part_times times;
    size_t leaves_count, leaf_at; /* those before it are selected */
    struct part_leaf {
        uint32_t leaf;
        struct selected selected;
    } leaves[];
};

/* -- the engine's view of the selections */

static const struct selected *leaf_selected(const struct source *src, uint32_t leaf) {
    const struct local_part *lp = container_of_const(src, struct local_part, source);
    for (size_t i = 0; i < lp->leaves_count; i++)
        if (lp->leaves[i].leaf == leaf) return &lp->leaves[i].selected;
    assert(!"a fragment reads only its leaves");
    return NULL;
}
static size_t source_count(const struct source *src, uint32_t leaf) {
    return leaf_selected(src, leaf)->count;
}
static size_t source_labels(const struct source *src, uint32_t leaf, size_t index,
                            struct label *out, size_t max) {
    return selected_labels(leaf_selected(src, leaf), index, out, max);
}
static size_t source_labels_asked(const struct source *src, uint32_t leaf, size_t index,
                                  struct labels_asked *asked, struct label *out, size_t max) {
    return selected_labels_asked(leaf_selected(src, leaf), index, asked, out, max);
}
static series_id source_id(const struct source *src, uint32_t leaf, size_t index) {
    return selected_id(leaf_selected(src, leaf), index);
}
static enum status source_read(const struct source *src, uint32_t leaf, size_t index,
                               int64_t from_ms, int64_t to_ms, struct samples *out,
                               struct err *err) {
    return selected_read(leaf_selected(src, leaf), index, from_ms, to_ms, out, err);
}
static enum status source_newest(const struct source *src, uint32_t leaf, size_t index,
                                 int64_t from_ms, int64_t to_ms, struct samples *out,
                                 struct err *err) {
    return selected_newest(leaf_selected(src, leaf), index, from_ms, to_ms, out, err);
}
static enum status source_read_rows(const struct source *src, uint32_t leaf, size_t index,
                                    const struct source_rows *wanted, struct downsample_rows *out,
                                    struct err *err) {
    const struct block_columns columns = {wanted->from_ms, wanted->to_ms, wanted->columns};
    return selected_read_rows(leaf_selected(src, leaf), index, &columns, out, err);
}
static void source_ended(const struct source *src, uint32_t leaf, size_t index, struct ended *out) {
    selected_ended(leaf_selected(src, leaf), index, out);
}
static enum status source_read_ended(const struct source *src, uint32_t leaf, size_t index,
                                     const struct source_rows *wanted, struct downsample_rows *out,
                                     struct err *err) {
    const struct block_columns columns = {wanted->from_ms, wanted->to_ms, wanted->columns};
    return selected_read_ended(leaf_selected(src, leaf), index, &columns, out, err);
}
static const struct source_ops source_ops = {.series_count = source_count,
                                             .labels = source_labels,
                                             .labels_asked = source_labels_asked,
                                             .id = source_id,
                                             .read = source_read,
                                             .read_newest = source_newest,
                                             .read_rows = source_read_rows,
                                             .ended = source_ended,
                                             .read_ended = source_read_ended};

/* -- the way of a part */

static void part_at_home(struct core *here, struct msg *m) {
    (void)here;
    struct local_part *lp = container_of(m, struct local_part, msg);
    struct scatter_part *part = lp->part;
    part->base.status = lp->status;
    part->base.err = lp->err;
    part->partial = lp->partial;
    part->times = lp->times;
    part->times.cores = 1;
    if (part->partial != NULL) {
        part->times.rows = partial_rows(part->partial);
        part->times.bytes = partial_memory_bytes(part->partial);
    }
    lp->partial = NULL;
#ifdef PLANT_ANSWER_FOREIGN_SHARD
    memcpy(part->base.shards, part->base.spread->wanted,
           scatter_of(part)->o.g->words * sizeof *part->base.shards);
#endif
    spread_part_done(&part->base);
}

static void part_end(struct local_part *lp) {
    for (size_t i = 0; i < lp->leaves_count; i++)
        selected_release(&lp->leaves[i].selected);
    lp->msg.run = part_at_home;
    core_post(lp->home, &lp->msg);
}

static void part_run(struct work *w) {
    struct local_part *lp = container_of(w, struct local_part, work);
    uint64_t began_ns = core_mono_ns(lp->home);
    lp->status =
        fragment_run(lp->query, lp->fragment, &lp->source, lp->control, &lp->partial, &lp->err);
    lp->times.evaluate_ns = core_mono_ns(lp->home) - began_ns;
}

static bool part_is_short(const struct local_part *lp) {
    const struct selected *selected[LEAVES_MAX];
    for (size_t i = 0; i < lp->leaves_count; i++)
        selected[i] = &lp->leaves[i].selected;
    return fragment_is_short(lp->query, lp->fragment, selected, lp->leaves_count);
}

static void part_ran(struct core *here, struct work *w) {
    (void)here;
    part_end(container_of(w, struct local_part, work));
}

static void part_selected(struct local_part *lp) {
    if (lp->status == OK) lp->status = spread_confirm(lp->core, lp->map, lp->shard_bits, &lp->err);
    if (lp->status != OK) {
        part_end(lp);
        return;
    }
    lp->work = (struct work){.run = part_run, .done = part_ran};
    if (!part_is_short(lp)) {
        work_submit(lp->core, &lp->work);
        return;
    }
    part_run(&lp->work);
    part_end(lp);
}

static void part_select_next(struct core *here, struct msg *m);

static void part_leaf_on_selected(struct selected *s) {
    struct local_part *lp = s->ctx;
    lp->times.select_ns += s->spent_ns;
    lp->times.series += s->count;
    lp->status = s->status;
    if (s->status != OK) lp->err = s->err;
    if (s->status != OK || ++lp->leaf_at == lp->leaves_count) {
        part_selected(lp);
        return;
    }
    lp->msg.run = part_select_next; /* each selector has a slice of its own */
    core_post(lp->core, &lp->msg);
}

static void part_select_next(struct core *here, struct msg *m) {
    struct local_part *lp = container_of(m, struct local_part, msg);
    size_t total;
    const struct query_leaf *leaf = &query_leaves(lp->query, &total)[lp->leaves[lp->leaf_at].leaf];
    struct selected *s = &lp->leaves[lp->leaf_at].selected;
    *s = (struct selected){
        .core = here,
        .query = {.matchers = leaf->selector->matchers,
                  .matchers_count = leaf->selector->matchers_count,
                  .shards = &lp->shards,
                  .from_ms = leaf->from_ms,
                  .to_ms = leaf->to_ms,
                  .memory_bytes_max = query_params(lp->query)->memory_bytes_max},
        .resolution_ms = fragment_resolution(lp->query, lp->fragment),
        .canceled = &lp->control->canceled,
        .done = part_leaf_on_selected,
        .ctx = lp,
    };
    selected_start(s);
}

static void part_begin(struct core *here, struct msg *m) {
    struct local_part *lp = container_of(m, struct local_part, msg);
    assert(here == lp->core);
    spread_claim(here, lp->map, lp->shard_bits);
    if (lp->leaves_count == 0)
        part_selected(lp);
    else
        part_select_next(here, m);
}

enum status local_part_start(struct scatter_part *part, struct core *core, struct err *err) {
    struct scatter *s = scatter_of(part);
    struct gather *g = s->o.g;
    uint32_t leaves[LEAVES_MAX];
    size_t count = fragment_leaves(s->o.query, s->o.fragment, leaves, LEAVES_MAX);
    if (count > LEAVES_MAX)
        return err_set(err, ERR_LIMIT, 0, "query: one fragment reads %zu selectors, at most %d",
                       count, LEAVES_MAX);
    struct local_part *lp = calloc(1, sizeof *lp + count * sizeof lp->leaves[0]);
    if (lp == NULL) return err_set(err, ERR_NOMEM, 0, "query: out of memory");
    *lp = (struct local_part){.part = part,
                              .home = g->core,
                              .core = core,
                              .query = s->o.query,
                              .fragment = s->o.fragment,
                              .control = s->o.control,
                              .source = {&source_ops},
                              .map = part->base.map,
                              .shard_bits = part->base.shards,
                              .leaves_count = count};
    lp->shards = (struct shard_set){lp->shard_bits, g->options.map->settings.shards_count};
    for (size_t i = 0; i < count; i++)
        lp->leaves[i].leaf = leaves[i];
    part->local = lp;
    lp->msg.run = part_begin;
    core_post(core, &lp->msg);
    return OK;
}

/* At home after the part has ended; or when the node goes as a whole in the middle of it (a
 * simulated crash), where one thread is all cores. */
void local_part_free(struct local_part *lp) {
    if (lp == NULL) return;
    struct core *current = core_current();
    core_set_current(lp->core);
    for (size_t i = 0; i < lp->leaves_count; i++)
        selected_release(&lp->leaves[i].selected);
    core_set_current(current);
    partial_free(lp->partial);
    free(lp);
}
