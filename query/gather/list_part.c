/* SPDX-License-Identifier: Apache-2.0 */
#include <assert.h>
#include <stdlib.h>

#include "query/gather/list_local.h"
#include "storage/labels.h"

static void local_at_home(struct core *here, struct msg *m) {
    (void)here;
    struct list_local *lp = container_of(m, struct list_local, msg);
    struct list_part *part = lp->part;
    part->base.status = lp->status;
    part->base.err = lp->err;
    list_items_fini(&part->items);
    part->items = lp->items;
    list_items_init(&lp->items);
    spread_part_done(&part->base);
}

/* What was seen is what the core held until now. */
void list_local_end(struct list_local *lp) {
    if (lp->status == OK) lp->status = spread_confirm(lp->core, lp->map, lp->shard_bits, &lp->err);
    lp->msg.run = local_at_home;
    core_post(lp->home, &lp->msg);
}

/* -- on a worker */

struct labels_scratch {
    struct label *at;
    size_t cap;
    struct buf canonical;
};

static enum status collect_series(struct list_local *lp, size_t index, struct labels_scratch *s) {
    size_t n = selected_labels(&lp->selected, index, s->at, s->cap);
    if (n > s->cap) {
        struct label *at = realloc(s->at, n * 2 * sizeof *at);
        if (at == NULL) return err_set(&lp->err, ERR_NOMEM, 0, "list: out of memory");
        s->at = at;
        s->cap = n * 2;
        n = selected_labels(&lp->selected, index, s->at, s->cap);
    }
    if (lp->query->kind == GATHER_SERIES) {
        buf_clear(&s->canonical);
        TRY(labels_encode(s->at, n, &s->canonical, &lp->err));
        return list_items_add(&lp->items, buf_sv(&s->canonical), &lp->err);
    }
    for (size_t i = 0; i < n; i++) {
        if (lp->query->kind == GATHER_LABEL_NAMES)
            TRY(list_items_add(&lp->items, s->at[i].name, &lp->err));
        else if (sv_eq(s->at[i].name, lp->query->label))
            return list_items_add(&lp->items, s->at[i].value, &lp->err);
    }
    return OK;
}

static void collect_run(struct work *w) {
    struct list_local *lp = container_of(w, struct list_local, work);
    struct labels_scratch scratch = {0};
    for (size_t i = 0; i < lp->selected.count && lp->status == OK; i++) {
        if (i % 1024 == 0 && list_query_is_canceled(lp->query))
            lp->status = err_set(&lp->err, ERR_CANCELED, 0, "list was canceled");
        else
            lp->status = collect_series(lp, i, &scratch);
    }
    free(scratch.at);
    buf_fini(&scratch.canonical);
    if (lp->status == OK && lp->set_at + 1 >= lp->query->sets_count)
        list_items_finish(&lp->items, lp->query->kind, lp->query->keep_max);
}

/* -- on the core */

static void local_select(struct core *here, struct msg *m);

static void collect_ran(struct core *here, struct work *w) {
    struct list_local *lp = container_of(w, struct list_local, work);
    selected_release(&lp->selected);
    lp->set_at++;
    if (lp->status != OK || lp->set_at >= lp->query->sets_count) {
        list_local_end(lp);
        return;
    }
    lp->msg.run = local_select;
    core_post(here, &lp->msg);
}

static void local_on_selected(struct selected *s) {
    struct list_local *lp = s->ctx;
    lp->status = s->status;
    if (s->status != OK) {
        lp->err = s->err;
        selected_release(s);
        list_local_end(lp);
        return;
    }
    lp->work = (struct work){.run = collect_run, .done = collect_ran};
    work_submit(lp->core, &lp->work);
}

static void local_select(struct core *here, struct msg *m) {
    struct list_local *lp = container_of(m, struct list_local, msg);
    assert(here == lp->core);
    const struct list_query *q = lp->query;
    const struct list_set *set = q->sets_count == 0 ? NULL : &q->sets[lp->set_at];
    lp->selected = (struct selected){
        .core = here,
        .query = {.matchers = set == NULL ? NULL : set->matchers,
                  .matchers_count = set == NULL ? 0 : set->count,
                  .shards = &lp->shards,
                  .from_ms = q->from_ms,
                  .to_ms = q->to_ms,
                  .memory_bytes_max = LIST_PART_BYTES_MAX},
        .canceled = &q->canceled,
        .done = local_on_selected,
        .ctx = lp,
    };
    selected_start(&lp->selected);
}

static enum status local_take_all(struct list_local *lp, const struct sv *found, size_t count) {
    for (size_t i = 0; i < count; i++)
        TRY(list_items_add(&lp->items, found[i], &lp->err));
    list_items_finish(&lp->items, lp->query->kind, lp->query->keep_max);
    return OK;
}

static void local_on_names(struct selected_names *n) {
    struct list_local *lp = n->ctx;
    lp->status = n->status;
    if (n->status == OK)
        lp->status = local_take_all(lp, n->found, n->count);
    else
        lp->err = n->err;
    arena_fini(&lp->names_arena);
    list_local_end(lp);
}

static void local_names(struct core *here, struct msg *m) {
    struct list_local *lp = container_of(m, struct list_local, msg);
    const struct list_query *q = lp->query;
    arena_init(&lp->names_arena, LIST_PART_BYTES_MAX);
    lp->names = (struct selected_names){
        .core = here,
        .query = {.shards = &lp->shards, .from_ms = q->from_ms, .to_ms = q->to_ms},
        .label = q->kind == GATHER_LABEL_NAMES ? (struct sv){0} : q->label,
        .arena = &lp->names_arena,
        .done = local_on_names,
        .ctx = lp,
    };
    selected_names_start(&lp->names);
}

static void local_begin(struct core *here, struct msg *m) {
    struct list_local *lp = container_of(m, struct list_local, msg);
    spread_claim(here, lp->map, lp->shard_bits);
    m->run = lp->run;
    lp->run(here, m);
}

enum status list_local_start(struct list_part *part, struct core *core, struct err *err) {
    struct list_scatter *s = list_scatter_of(part);
    struct gather *g = s->o.g;
    struct list_local *lp = calloc(1, sizeof *lp);
    if (lp == NULL) return err_set(err, ERR_NOMEM, 0, "list: out of memory");
    *lp = (struct list_local){.part = part, .home = g->core, .core = core, .query = s->o.query};
    list_items_init(&lp->items);
    part->local = lp;
    list_items_init(&part->items);
    lp->map = part->base.map;
    lp->shard_bits = part->base.shards;
    lp->shards = (struct shard_set){lp->shard_bits, g->options.map->settings.shards_count};
    if (s->o.query->kind == GATHER_METADATA || s->o.query->kind == GATHER_EXEMPLARS)
        lp->run = list_local_kept;
    else if (s->o.query->kind == GATHER_SERIES || s->o.query->sets_count > 0)
        lp->run = local_select;
    else
        lp->run = local_names;
    lp->msg.run = local_begin;
    core_post(core, &lp->msg);
    return OK;
}

/* At home after the part has ended; or when the node goes as a whole in the middle of it. */
void list_local_free(struct list_local *lp) {
    if (lp == NULL) return;
    struct core *current = core_current();
    core_set_current(lp->core);
    selected_release(&lp->selected);
    selected_names_release(&lp->names);
    core_set_current(current);
    arena_fini(&lp->names_arena);
    list_items_fini(&lp->items);
    buf_fini(&lp->scratch.labels);
    buf_fini(&lp->scratch.item);
    entry_write_fini(&lp->scratch.items);
    free(lp);
}
