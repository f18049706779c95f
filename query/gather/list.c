/* SPDX-License-Identifier: Apache-2.0 */
#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "node/base/pressure.h"
#include "query/gather/list.h"

/* One list on its coordinator: BEGIN (timer) -> SCATTER -> ENDED; the deadline and a cancel stop
 * the scatter, whose done still ends the flow. */
enum list_state { LIST_BEGIN, LIST_SCATTER, LIST_ENDED };

struct list_flow {
    struct list_node node;
    struct gather *g;
    struct gather_list *l;
    enum list_state state;
    struct list_query *query;
    struct list_scatter *scatter;
    struct timer deadline, begin;
    bool timed_out, canceled;
    enum status status;
    struct err err;
};

static enum status list_check_complete(struct list_flow *f) {
    char text[480];
    struct gather_list *l = f->l;
    if (gather_missing(f->g->options.map, f->scatter->spread.claimed, text, sizeof text) == 0)
        return OK;
    if (!l->partial_response) {
        f->err = f->scatter->spread.damage;
        return f->err.code != OK ? f->err.code : err_set(&f->err, ERR_UNAVAILABLE, 0, "%s", text);
    }
    l->warnings = calloc(1, sizeof *l->warnings);
    if (l->warnings != NULL) l->warnings[0] = strdup(text);
    if (l->warnings == NULL || l->warnings[0] == NULL) /* an incomplete answer is never silent */
        return err_set(&f->err, ERR_NOMEM, 0, "list: out of memory");
    l->warnings_count = 1;
    return OK;
}

/* The items move to the asker with the arena that holds them. */
static void list_take_items(struct list_flow *f) {
    struct gather_list *l = f->l;
    struct list_items *items = &f->scatter->items;
    l->arena = items->arena;
    l->items = items->at;
    l->items_count = items->count;
    arena_init(&items->arena, LIST_PART_BYTES_MAX);
    items->at = NULL;
    items->count = items->cap = 0;
    if (l->limit != 0 && l->items_count > l->limit) {
        l->items_count = (size_t)l->limit;
        l->truncated = true;
    }
}

static void list_end(struct list_flow *f) {
    struct gather_list *l = f->l;
    assert(f->state != LIST_ENDED);
    f->state = LIST_ENDED;
    timer_stop(&f->deadline);
    timer_stop(&f->begin);
    if (f->timed_out)
        f->status = err_set(&f->err, ERR_TIMEOUT, 0, "query timed out in expression evaluation");
    else if (f->canceled)
        f->status = err_set(&f->err, ERR_CANCELED, 0, "query was canceled in query execution");
    if (f->status == OK) f->status = list_check_complete(f);
    if (f->status == OK) list_take_items(f);
    l->status = f->status;
    l->err = f->err;
    l->done(f->g->core, l);
}

static void list_on_scattered(struct list_scatter *s, void *ctx) {
    struct list_flow *f = ctx;
    assert(f->state == LIST_SCATTER);
    f->status = s->status;
    f->err = s->err;
    list_end(f);
}

static void list_on_begin(struct timer *t) {
    struct list_flow *f = container_of(t, struct list_flow, begin);
    if (f->status == OK && !f->timed_out && !f->canceled) {
        struct list_scatter_options o = {
            .g = f->g, .query = f->query, .done = list_on_scattered, .ctx = f};
        f->state = LIST_SCATTER;
        f->status = list_scatter_new(&o, &f->scatter, &f->err);
        if (f->status == OK) return;
    }
    list_end(f);
}

static void list_stop(struct list_flow *f) {
    if (f->state == LIST_SCATTER) list_scatter_cancel(f->scatter);
}

static void list_on_deadline(struct timer *t) {
    struct list_flow *f = container_of(t, struct list_flow, deadline);
    f->timed_out = true;
    list_stop(f);
}

void gather_list_start(struct gather *g, struct gather_list *l) {
    assert(core_is_current(g->core));
    struct list_flow *f = calloc(1, sizeof *f);
    if (f == NULL) abort(); /* a few hundred bytes: nothing could be answered either */
    *f = (struct list_flow){.g = g, .l = l};
    l->flow = f;
    l->items = NULL;
    l->items_count = l->warnings_count = 0;
    l->warnings = NULL;
    l->truncated = false;
    arena_init(&l->arena, LIST_PART_BYTES_MAX);
    list_push_back(&g->lists, &f->node);
    timer_init(&f->deadline, g->core, list_on_deadline);
    timer_init(&f->begin, g->core, list_on_begin);
    struct list_ask ask = {.kind = l->kind,
                           .label = l->label,
                           .selectors = l->selectors,
                           .selectors_count = l->selectors_count,
                           .from_ms = l->from_ms,
                           .to_ms = l->to_ms,
                           .keep_max = l->limit == 0 || l->limit == UINT64_MAX ? 0 : l->limit + 1,
                           .timeout_ms = l->timeout_ms};
    if (g->stopping)
        f->status = err_set(&f->err, ERR_UNAVAILABLE, 0, "this node is stopping");
    else
        f->status = pressure_check(&f->err);
    if (f->status == OK) f->status = list_query_new(&ask, &f->query, &f->err);
    timer_start(&f->deadline, l->timeout_ms);
    timer_start(&f->begin, 0);
}

void gather_list_cancel(struct gather_list *l) {
    struct list_flow *f = l->flow;
    if (f == NULL || f->state == LIST_ENDED) return;
    f->canceled = true;
    list_stop(f);
}

static void list_flow_free(struct list_flow *f) {
    timer_stop(&f->deadline);
    timer_stop(&f->begin);
    list_remove(&f->node);
    list_scatter_free(f->scatter);
    list_query_free(f->query);
    free(f);
}

void gather_list_fini(struct gather_list *l) {
    if (l->flow == NULL) return;
    assert(l->flow->state == LIST_ENDED);
    list_flow_free(l->flow);
    l->flow = NULL;
    for (size_t i = 0; i < l->warnings_count; i++)
        free(l->warnings[i]);
    free(l->warnings);
    l->warnings = NULL;
    l->warnings_count = 0;
    arena_fini(&l->arena);
    l->items = NULL;
    l->items_count = 0;
}

void gather_cancel_lists(struct gather *g) {
    LIST_FOREACH_SAFE(n, &g->lists) gather_list_cancel(container_of(n, struct list_flow, node)->l);
}

void gather_free_lists(struct gather *g) {
    while (!list_is_empty(&g->lists))
        list_flow_free(container_of(g->lists.next, struct list_flow, node));
}
