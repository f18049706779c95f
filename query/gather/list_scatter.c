/* SPDX-License-Identifier: Apache-2.0 */
#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "query/gather/list.h"

static bool core_is_asked(const struct gather *owner, const struct list_scatter_options *o) {
    for (uint32_t i = 0; i < owner->words; i++)
        if (owner->own_shards[i] & (o->shards == NULL ? UINT64_MAX : o->shards[i])) return true;
    return false;
}

static struct list_part *scatter_add_part(struct list_scatter *s) {
    struct list_part *part = &s->parts[s->parts_count];
    *part = (struct list_part){.scatter = s, .open = true};
    part->claimed = calloc(s->o.g->words, sizeof *part->claimed);
    if (part->claimed == NULL) return NULL;
    list_items_init(&part->items);
    s->parts_count++;
    s->parts_open++;
    return part;
}

static enum status scatter_local(struct list_scatter *s, struct err *err) {
    struct runtime *rt = s->o.g->core->rt;
    for (unsigned c = 0; c < rt->cores_count; c++) {
        if (!core_is_asked(gather_of(rt->cores[c]), &s->o)) continue;
        struct list_part *part = scatter_add_part(s);
        if (part == NULL) return err_set(err, ERR_NOMEM, 0, "list: out of memory");
        enum status st = list_local_start(part, rt->cores[c], err);
        if (st == OK) continue;
        part->open = false;
        s->parts_open--;
        return st;
    }
    return OK;
}

static enum status scatter_remote(struct list_scatter *s, struct err *err) {
    const struct ring_map *map = s->o.g->options.map;
    int self = ring_map_node_index(map, s->o.g->options.self);
    uint64_t *shards = calloc(s->o.g->words, sizeof *shards);
    if (shards == NULL) return err_set(err, ERR_NOMEM, 0, "list: out of memory");
    enum status st = OK;
    for (uint32_t n = 0; n < map->nodes_count && st == OK; n++) {
        bool any = false;
        memset(shards, 0, s->o.g->words * sizeof *shards);
        for (uint32_t i = 0; i < map->settings.shards_count && (int)n != self; i++)
            if (ring_map_primary(map, i) == n && (s->o.shards == NULL || bit_get(s->o.shards, i))) {
                bit_set(shards, i);
                any = true;
            }
        if (!any) continue;
        struct list_part *part = scatter_add_part(s);
        if (part == NULL) {
            st = err_set(err, ERR_NOMEM, 0, "list: out of memory");
        } else {
            part->node = (uint16_t)n;
            list_remote_start(part, shards);
        }
    }
    free(shards);
    return st;
}

/* -- the end: parts that could not answer leave their shards unclaimed, other errors are the list's
 */

static bool part_is_missing(const struct list_part *part) {
    if (part->status == ERR_UNAVAILABLE || part->status == ERR_CONFLICT) return true;
    return part->status == ERR_TIMEOUT && part->local == NULL;
}

static void merge_run(struct work *w) {
    struct list_scatter *s = container_of(w, struct list_scatter, merge);
    for (size_t i = 0; i < s->parts_count && s->status == OK; i++) {
        struct list_part *part = &s->parts[i];
        if (part_is_missing(part)) continue;
        if (part->status != OK) {
            s->status = part->status;
            s->err = part->err;
            break;
        }
        bits_or(s->claimed, part->claimed, s->o.g->words);
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

static void scatter_closed_one(struct list_scatter *s) {
    assert(s->parts_open > 0);
    if (--s->parts_open > 0) return;
    s->merge = (struct work){.run = merge_run, .done = merge_ran};
    work_submit(s->o.g->core, &s->merge);
}

void list_part_done(struct list_part *part) {
    assert(part->open);
    part->open = false;
    scatter_closed_one(part->scatter);
}

static void scatter_on_begin(struct timer *t) {
    scatter_closed_one(container_of(t, struct list_scatter, begin));
}

enum status list_scatter_new(const struct list_scatter_options *options, struct list_scatter **out,
                             struct err *err) {
    const struct gather *g = options->g;
    struct list_scatter *s = calloc(1, sizeof *s);
    if (s == NULL) return err_set(err, ERR_NOMEM, 0, "list: out of memory");
    s->o = *options;
    list_items_init(&s->items);
    timer_init(&s->begin, g->core, scatter_on_begin);
    s->claimed = calloc(g->words, sizeof *s->claimed);
    s->parts =
        calloc((size_t)g->core->rt->cores_count + g->options.map->nodes_count, sizeof *s->parts);
    if (s->claimed == NULL || s->parts == NULL) {
        list_scatter_free(s);
        return err_set(err, ERR_NOMEM, 0, "list: out of memory");
    }
    *out = s;
    s->parts_open = 1; /* until the begin timer: done never runs inside this function */
    timer_start(&s->begin, 0);
    s->status = scatter_local(s, &s->err);
    if (s->status == OK && !options->local_only) s->status = scatter_remote(s, &s->err);
    return OK; /* an error is told by done, when the parts that did start have ended */
}

void list_scatter_cancel(struct list_scatter *s) {
    __atomic_store_n(&s->o.query->canceled, true, __ATOMIC_RELAXED);
    for (size_t i = 0; i < s->parts_count; i++) {
        struct list_part *part = &s->parts[i];
        if (!part->open || part->call == NULL) continue;
        peer_call_cancel(part->call);
        part->call = NULL;
        part->status = err_set(&part->err, ERR_CANCELED, 0, "list was canceled");
        list_part_done(part); /* at most hands the merge to a worker: done comes later */
    }
}

void list_scatter_free(struct list_scatter *s) {
    if (s == NULL) return;
    timer_stop(&s->begin);
    for (size_t i = 0; i < s->parts_count; i++) {
        list_items_fini(&s->parts[i].items);
        list_local_free(s->parts[i].local);
        buf_fini(&s->parts[i].reply);
        free(s->parts[i].claimed);
    }
    list_items_fini(&s->items);
    free(s->claimed);
    free(s->parts);
    free(s);
}
