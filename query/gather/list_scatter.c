/* SPDX-License-Identifier: Apache-2.0 */
#include <assert.h>
#include <stdlib.h>

#include "query/gather/list.h"

static void merge_run(struct work *w) {
    struct list_scatter *s = container_of(w, struct list_scatter, merge);
    s->status = s->spread.status;
    s->err = s->spread.err;
    LIST_FOREACH(n, &s->spread.parts) {
        struct list_part *part = container_of(n, struct list_part, base.node);
        if (part->base.state != PART_USED) continue;
        for (size_t k = 0; k < part->items.count && s->status == OK; k++)
            s->status = list_items_add(&s->items, part->items.at[k], &s->err);
        list_items_fini(&part->items);
    }
    list_items_finish(&s->items, s->o.query->kind, s->o.query->keep_max);
}

static void merge_ran(struct core *here, struct work *w) {
    (void)here;
    struct list_scatter *s = container_of(w, struct list_scatter, merge);
    s->o.done(s, s->o.ctx);
}

static void list_spread_done(struct spread *spread) {
    struct list_scatter *s = container_of(spread, struct list_scatter, spread);
    s->merge = (struct work){.run = merge_run, .done = merge_ran};
    work_submit(s->o.g->core, &s->merge);
}

static enum status list_start_local(struct spread_part *part, struct core *core, struct err *err) {
    return list_local_start(container_of(part, struct list_part, base), core, err);
}

static void list_start_remote(struct spread_part *part) {
    list_remote_start(container_of(part, struct list_part, base));
}

static void list_part_fini(struct spread_part *base) {
    struct list_part *part = container_of(base, struct list_part, base);
    list_items_fini(&part->items);
    list_local_free(part->local);
}

static const struct spread_ops list_ops = {
    .part_bytes = sizeof(struct list_part),
    .start_local = list_start_local,
    .start_remote = list_start_remote,
    .part_fini = list_part_fini,
    .done = list_spread_done,
};

enum status list_scatter_new(const struct list_scatter_options *options, struct list_scatter **out,
                             struct err *err) {
    struct list_scatter *s = calloc(1, sizeof *s);
    if (s == NULL) return err_set(err, ERR_NOMEM, 0, "list: out of memory");
    s->o = *options;
    list_items_init(&s->items);
    struct spread_options so = {.g = options->g,
                                .ops = &list_ops,
                                .shards = options->shards,
                                .local_only = options->local_only,
                                .timeout_ms = options->query->timeout_ms};
    *out = s;
    enum status st = spread_start(&s->spread, &so, err);
    if (st == OK) return OK;
    *out = NULL;
    list_scatter_free(s);
    return st;
}

void list_scatter_cancel(struct list_scatter *s) {
    cancel_set(&s->o.query->canceled);
    spread_cancel(&s->spread);
}

void list_scatter_free(struct list_scatter *s) {
    if (s == NULL) return;
    spread_fini(&s->spread);
    list_items_fini(&s->items);
    free(s);
}
