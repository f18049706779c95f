/* SPDX-License-Identifier: Apache-2.0 */
/* How many samples a query reads, counted as Prometheus' engine does (TotalSamples and
 * TotalSamplesPerStep in its util/stats): at each step those that this step alone would read as an
 * instant query, so a sample counts in every window that holds it. A function over a subquery
 * counts the subquery's points in its windows, and not what is read for these; what is the same at
 * every step counts at each of them. */
#include "query/engine/plan.h"

#include <stdlib.h>
#include <string.h>

bool reads_wanted(const struct query *q) {
    return (query_params(q)->features & FEATURE_PER_STEP_STATS) != 0;
}

enum status reads_init(struct eval *ev, struct reads *r, size_t steps) {
    *r = (struct reads){.count = steps};
    if (!reads_wanted(ev->q) || steps == 0) return OK;
    r->steps = eval_alloc(ev, steps, sizeof *r->steps);
    return r->steps == NULL ? eval_nomem(ev) : OK;
}

void reads_fini(struct reads *r, struct budget *budget) {
    if (r->steps != NULL) budget_give(budget, r->count * sizeof *r->steps);
    free(r->steps);
    *r = (struct reads){0};
}

void reads_add(struct reads *into, const struct reads *from) {
    into->total += from->total;
    if (into->steps == NULL || from->steps == NULL) return;
    for (size_t k = 0; k < into->count && k < from->count; k++)
        into->steps[k] += from->steps[k];
}

void reads_add_each(struct reads *into, uint64_t samples) {
    into->total += samples * into->count;
    for (size_t k = 0; into->steps != NULL && k < into->count; k++)
        into->steps[k] += samples;
}

void chain_reads(const struct chain *c, struct reads *into) {
    size_t top = c->count - 1;
    while (top > 0 && c->stages[top].kind != STAGE_WINDOW)
        top--;
    const struct reads *own = &c->runs[top].reads;
    uint64_t total = own->total, each = 0;
    bool spread = false;
    for (size_t i = top + 1; i < c->count; i++) {
        if (c->stages[i].kind != STAGE_BROADCAST) continue;
        each = total;
        total = each * c->stages[i].out.steps;
        spread = true;
    }
    if (spread)
        reads_add_each(into, each);
    else
        reads_add(into, own);
}

enum status plan_count(struct eval *ev, const struct expr *e, struct reads *taken) {
    struct plan *p = ev->plan;
    if (p == NULL) return OK;
    struct plan_reads *grown = reallocarray(p->reads, p->reads_count + 1, sizeof *grown);
    if (grown == NULL) return eval_nomem(ev);
    p->reads = grown;
    p->reads[p->reads_count++] = (struct plan_reads){e->number, *taken};
    *taken = (struct reads){0};
    return OK;
}

static void add_own(const struct plan *p, uint32_t number, struct reads *into) {
    uint32_t i = p->node_fragment[number];
    const struct plan_fragment *pf = i == 0 ? NULL : p->fragments[i - 1];
    if (pf != NULL && pf->state == PLAN_FOLDED) reads_add(into, &pf->partial->reads);
    for (size_t k = 0; k < p->reads_count; k++)
        if (p->reads[k].number == number) reads_add(into, &p->reads[k].reads);
}

/* What stands below a step-invariant part, or below a subquery that is the whole query, is counted
 * on a grid of its own. */
static enum status add_apart(struct plan *p, const struct expr *e, const struct grid *grid,
                             struct reads *into) {
    struct grid inner;
    struct reads below;
    TRY(grid_of_child(p->q, e, grid, &inner, p->ev.err));
    TRY(reads_init(&p->ev, &below, inner.steps));
    enum status st = plan_reads_below(p, e->children[0], &inner, &below);
    uint64_t total = below.total;
    reads_fini(&below, &p->budget);
    if (st == OK) reads_add_each(into, total);
    return st;
}

enum status plan_reads_below(struct plan *p, const struct expr *e, const struct grid *grid,
                             struct reads *into) {
    add_own(p, e->number, into);
    if (e->kind == EXPR_STEP_INVARIANT || e->kind == EXPR_SUBQUERY)
        return add_apart(p, e, grid, into);
    for (size_t i = 0; i < e->children_count; i++) {
        bool windows = e->kind == EXPR_CALL && node_unwrap(e->children[i])->kind == EXPR_SUBQUERY;
        if (!windows) TRY(plan_reads_below(p, e->children[i], grid, into));
    }
    return OK;
}
