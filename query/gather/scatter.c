/* SPDX-License-Identifier: Apache-2.0 */
#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "query/gather/internal.h"

static bool core_holds_any(const struct gather *g, const struct scatter_options *o) {
    for (uint32_t i = 0; i < g->words; i++)
        if (g->own_shards[i] & (o->shards == NULL ? UINT64_MAX : o->shards[i])) return true;
    return false;
}

static size_t scatter_count_cores(const struct scatter_options *o) {
    size_t n = 0;
    struct runtime *rt = o->g->core->rt;
    for (unsigned c = 0; c < rt->cores_count; c++)
        n += core_holds_any(gather_of(rt->cores[c]), o);
    return n;
}

static bool scatter_add_part(struct scatter *s, struct scatter_part **out) {
    struct scatter_part *part = &s->parts[s->parts_count];
    *part = (struct scatter_part){.scatter = s, .open = true};
    part->claimed = calloc(s->o.g->words, sizeof *part->claimed);
    if (part->claimed == NULL) return false;
    s->parts_count++;
    s->parts_open++;
    *out = part;
    return true;
}

/* Shards that the map gives to each other node, as a part of its own. */
static enum status scatter_remote(struct scatter *s, struct err *err) {
    const struct ring_map *map = s->o.g->options.map;
    int self = ring_map_node_index(map, s->o.g->options.self);
    uint64_t *shards = calloc(s->o.g->words, sizeof *shards);
    if (shards == NULL) return err_set(err, ERR_NOMEM, 0, "query: out of memory");
    enum status st = OK;
    for (uint32_t n = 0; n < map->nodes_count && st == OK; n++) {
        if ((int)n == self) continue;
        bool any = false;
        memset(shards, 0, s->o.g->words * sizeof *shards);
        for (uint32_t i = 0; i < map->settings.shards_count; i++)
            if (ring_map_primary(map, i) == n && (s->o.shards == NULL || bit_get(s->o.shards, i))) {
                bit_set(shards, i);
                any = true;
            }
        struct scatter_part *part;
        if (!any) continue;
        if (!scatter_add_part(s, &part))
            st = err_set(err, ERR_NOMEM, 0, "query: out of memory");
        else {
            part->node = (uint16_t)n;
            remote_part_start(part, shards);
        }
    }
    free(shards);
    return st;
}

static enum status scatter_local(struct scatter *s, struct err *err) {
    struct runtime *rt = s->o.g->core->rt;
    for (unsigned c = 0; c < rt->cores_count; c++) {
        if (!core_holds_any(gather_of(rt->cores[c]), &s->o)) continue;
        struct scatter_part *part;
        if (!scatter_add_part(s, &part)) return err_set(err, ERR_NOMEM, 0, "query: out of memory");
        part->core = c;
        enum status st = local_part_start(part, rt->cores[c], err);
        if (st != OK) {
            part->open = false;
            s->parts_open--;
            return st;
        }
    }
    return OK;
}

/* Partials are folded in the order of the parts, not of their arrival: the same data gives the same
 * bits. */
static void scatter_fold(struct scatter *s) {
    for (size_t i = 0; i < s->parts_count; i++) {
        struct scatter_part *part = &s->parts[i];
        if (part->status == ERR_UNAVAILABLE || part->status == ERR_CONFLICT)
            continue; /* its shards stay unclaimed */
        if (part->status == ERR_TIMEOUT && part->local == NULL) continue;
        if (part->status != OK) {
            if (s->status == OK) {
                s->status = part->status;
                s->err = part->err;
            }
            continue;
        }
        if (s->status != OK) continue;
        bits_or(s->claimed, part->claimed, s->o.g->words);
        if (s->partial == NULL) {
            s->partial = part->partial;
        } else {
            s->status = partial_merge(s->partial, part->partial, &s->err);
            partial_free(part->partial);
        }
        part->partial = NULL;
    }
}

void scatter_part_done(struct scatter_part *part) {
    struct scatter *s = part->scatter;
    assert(part->open && s->parts_open > 0);
    part->open = false;
    part->total_ns = core_mono_ns(s->o.g->core) - s->began_ns;
    if (--s->parts_open > 0) return;
    scatter_fold(s);
    s->o.done(s, s->o.ctx);
}

static void scatter_on_begin(struct timer *t) {
    struct scatter *s = container_of(t, struct scatter, begin);
    assert(s->parts_open > 0);
    if (--s->parts_open > 0) return;
    scatter_fold(s);
    s->o.done(s, s->o.ctx);
}

enum status scatter_new(const struct scatter_options *options, struct scatter **out,
                        struct err *err) {
    const struct gather *g = options->g;
    struct scatter *s = calloc(1, sizeof *s);
    if (s == NULL) return err_set(err, ERR_NOMEM, 0, "query: out of memory");
    s->o = *options;
    s->began_ns = core_mono_ns(g->core);
    timer_init(&s->begin, g->core, scatter_on_begin);
    s->claimed = calloc(g->words, sizeof *s->claimed);
    s->parts = calloc(scatter_count_cores(options) + g->options.map->nodes_count, sizeof *s->parts);
    if (s->claimed == NULL || s->parts == NULL) {
        scatter_free(s);
        return err_set(err, ERR_NOMEM, 0, "query: out of memory");
    }
    *out = s;
    s->parts_open = 1; /* until the begin timer: done never runs inside this function */
    timer_start(&s->begin, 0);
    enum status st = scatter_local(s, &s->err);
    if (st == OK && !options->local_only) st = scatter_remote(s, &s->err);
    s->status = st; /* told by done, when the parts that did start have ended */
    return OK;
}

void scatter_cancel(struct scatter *s) {
    if (s->parts_open == 0) return; /* done was told already; others of its round may be open */
    __atomic_store_n(&s->o.control->canceled, true, __ATOMIC_RELAXED);
    if (!timer_is_armed(
            &s->begin)) { /* hold it open: done comes from the timer, not from in here */
        s->parts_open++;
        timer_start(&s->begin, 0);
    }
    for (size_t i = 0; i < s->parts_count; i++) {
        struct scatter_part *part = &s->parts[i];
        if (!part->open || part->call == NULL) continue;
        peer_call_cancel(part->call);
        part->call = NULL;
        part->status =
            err_set(&part->err, ERR_CANCELED, 0, "query was canceled in query execution");
        scatter_part_done(part);
    }
}

void scatter_free(struct scatter *s) {
    if (s == NULL) return;
    timer_stop(&s->begin);
    for (size_t i = 0; i < s->parts_count; i++) {
        partial_free(s->parts[i].partial);
        local_part_free(s->parts[i].local);
        buf_fini(&s->parts[i].reply);
        free(s->parts[i].claimed);
    }
    partial_free(s->partial);
    free(s->claimed);
    free(s->parts);
    free(s);
}
