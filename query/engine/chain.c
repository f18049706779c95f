/* SPDX-License-Identifier: Apache-2.0 */
/* Chains: what happens to one series between its selector and the aggregation (or vector) above. */
#include "query/engine/internal.h"

#include <assert.h>
#include <stdlib.h>

static void stage_arg(struct stage *s, const struct expr *arg) {
    assert(s->args_count < STAGE_ARGS_MAX);
    s->arg_exprs[s->args_count++] = arg;
}

static bool describe_window(const struct expr *e, struct stage *s, const struct expr **child) {
    size_t matrix = e->u.function->id == FN_QUANTILE_OVER_TIME ? 1 : 0;
    const struct expr *m = node_unwrap(e->children[matrix]);
    if (m->kind != EXPR_MATRIX && m->kind != EXPR_SUBQUERY) return false;
    s->kind = STAGE_WINDOW;
    s->matrix = m;
    s->whole_unique = true;
    s->changes_labels = s->fn != FN_LAST_OVER_TIME && s->fn != FN_FIRST_OVER_TIME;
    for (size_t i = 0; i < e->children_count; i++)
        if (i != matrix) stage_arg(s, e->children[i]);
    if (m->kind == EXPR_MATRIX)
        s->selector = &node_unwrap(m->children[0])->u.selector;
    else
        *child = m->children[0];
    return true;
}

static bool is_date_function(enum function_id fn) {
    switch ((int)fn) {
    case FN_DAY_OF_MONTH:
    case FN_DAY_OF_WEEK:
    case FN_DAY_OF_YEAR:
    case FN_DAYS_IN_MONTH:
    case FN_HOUR:
    case FN_MINUTE:
    case FN_MONTH:
    case FN_YEAR: return true;
    default: return false;
    }
}

static bool describe_call(const struct expr *e, struct stage *s, const struct expr **child) {
    s->fn = e->u.function->id;
    if (window_function(s->fn) != NULL)
        return s->fn != FN_ABSENT_OVER_TIME && describe_window(e, s, child);
    if (e->children_count == 0) return false;
    s->changes_labels = true;
    const struct expr *arg = node_unwrap(e->children[0]);
    *child = e->children[0];
    switch ((int)s->fn) {
    case FN_INFO: /* of a selector alone: the times of info metrics (info.c) */
        if (e->children_count != 1 || arg->kind != EXPR_SELECTOR) return false;
        s->kind = STAGE_TIMESTAMP;
        s->changes_labels = false;
        s->selector = &arg->u.selector;
        *child = NULL;
        return true;
    case FN_TIMESTAMP:
    case FN_START_TIMESTAMP:
        s->kind = s->fn == FN_TIMESTAMP ? STAGE_MAP : STAGE_NATIVE;
        if (arg->kind != EXPR_SELECTOR) return true;
        s->kind = STAGE_TIMESTAMP;
        s->selector = &arg->u.selector;
        *child = NULL;
        return true;
    case FN_CLAMP:
    case FN_CLAMP_MIN:
    case FN_CLAMP_MAX:
    case FN_ROUND:
        s->kind = STAGE_MAP;
        for (size_t i = 1; i < e->children_count; i++)
            stage_arg(s, e->children[i]);
        return true;
    case FN_HISTOGRAM_COUNT:
    case FN_HISTOGRAM_SUM:
    case FN_HISTOGRAM_AVG:
    case FN_HISTOGRAM_STDDEV:
    case FN_HISTOGRAM_STDVAR: s->kind = STAGE_NATIVE; return true;
    default: s->kind = STAGE_MAP; return map_function(s->fn) != NULL || is_date_function(s->fn);
    }
}

static bool describe_binary(const struct expr *e, struct stage *s, const struct expr **child) {
    bool left = e->children[0]->type == VALUE_SCALAR, right = e->children[1]->type == VALUE_SCALAR;
    if (left == right) return false;
    s->kind = STAGE_SCALAR_OP;
    s->swapped = left;
    s->changes_labels = binary_changes_schema(e->u.binary.op) || e->u.binary.return_bool;
    stage_arg(s, e->children[left ? 0 : 1]);
    *child = e->children[left ? 1 : 0];
    return true;
}

bool stage_describe(const struct expr *e, struct stage *out, const struct expr **child) {
    *out = (struct stage){.expr = e, .fn = FN_COUNT};
    *child = NULL;
    switch ((int)e->kind) {
    case EXPR_SELECTOR:
        out->kind = STAGE_SELECT;
        out->selector = &e->u.selector;
        return true;
    case EXPR_UNARY:
        if (e->type != VALUE_VECTOR) return false;
        out->kind = STAGE_NEGATE;
        out->changes_labels = true;
        *child = e->children[0];
        return true;
    case EXPR_STEP_INVARIANT:
        if (e->type != VALUE_VECTOR) return false;
        out->kind = STAGE_BROADCAST;
        *child = e->children[0];
        return true;
    case EXPR_CALL: return describe_call(e, out, child);
    case EXPR_BINARY: return describe_binary(e, out, child);
    default: return false;
    }
}

/* absent_over_time() is not per series, but asks of each series what present_over_time() asks. */
static bool describe_top(const struct expr *e, struct stage *s, const struct expr **child) {
    if (e->kind != EXPR_CALL || e->u.function->id != FN_ABSENT_OVER_TIME)
        return stage_describe(e, s, child);
    *s = (struct stage){.expr = e, .fn = FN_ABSENT_OVER_TIME};
    *child = NULL;
    return describe_window(e, s, child);
}

/* How many stages there are; 0: it is no chain. */
static size_t chain_depth(const struct expr *e) {
    for (size_t depth = 0; depth < CHAIN_STAGES_MAX; depth++) {
        struct stage s;
        const struct expr *child = NULL;
        e = node_unwrap(e);
        if (!(depth == 0 ? describe_top(e, &s, &child) : stage_describe(e, &s, &child))) return 0;
        if (child == NULL) return depth + 1;
        e = child;
    }
    return 0;
}

bool chain_is(const struct expr *e) {
    return chain_depth(e) > 0;
}

static bool selector_pins_name(const struct selector *sel) {
    for (size_t i = 0; i < sel->matchers_count; i++)
        if (sel->matchers[i].kind == MATCH_EQ && sv_eq(sel->matchers[i].name, SV("__name__")))
            return true;
    return false;
}

bool chain_may_repeat(const struct expr *e, bool delayed_names) {
    bool changes = false;
    while (!delayed_names) {
        struct stage s;
        const struct expr *child = NULL;
        e = node_unwrap(e);
        if (!describe_top(e, &s, &child)) return false;
        changes = changes || s.changes_labels;
        if (child == NULL) return changes && !selector_pins_name(s.selector);
        e = child;
    }
    return false;
}

/* Stages are found from the top, and evaluated from the leaf. */
static enum status chain_describe(struct eval *ev, struct chain *c, const struct expr *e,
                                  const struct grid *grid) {
    struct grid g = *grid;
    for (size_t i = c->count; i > 0; i--) {
        e = node_unwrap(e);
        struct stage *s = &c->stages[i - 1];
        const struct expr *child = NULL;
        bool found = i == c->count ? describe_top(e, s, &child) : stage_describe(e, s, &child);
        assert(found && (child == NULL) == (i == 1)); /* as chain_depth has seen it */
        s->out = s->in = g;
        c->changes_labels = c->changes_labels || s->changes_labels;
        if (child == NULL) break;
        const struct expr *over = s->kind == STAGE_WINDOW ? s->matrix : e;
        TRY(grid_of_child(ev->q, over, &s->out, &s->in, ev->err));
        g = s->in;
        e = child;
    }
    return OK;
}

static enum status chain_prepare(struct eval *ev, struct chain *c) {
    bool dropped = false;
    for (size_t i = 0; i < c->count; i++) {
        struct stage *s = &c->stages[i];
        c->runs[i] = (struct stage_run){.ev = ev, .stage = s, .name_dropped = dropped};
        if (i == 0 || s->kind == STAGE_WINDOW) TRY(reads_init(ev, &c->runs[i].reads, s->out.steps));
        dropped = dropped || (s->changes_labels && !eval_delayed_names(ev));
        for (size_t a = 0; a < s->args_count; a++) {
            s->args[a] = arena_array(&c->arena, s->out.steps + 1, sizeof(double));
            if (s->args[a] == NULL) return eval_nomem(ev);
            TRY(scalar_eval(ev, s->arg_exprs[a], &s->out, s->args[a]));
        }
        bool in_place = i > 0 && grid_eq(&s->in, &s->out) && s->kind != STAGE_WINDOW;
        if (in_place)
            c->cols[i] = c->cols[i - 1];
        else if (!column_alloc(&c->arena, s->out.steps, &c->cols[i]))
            return eval_nomem(ev);
    }
    return OK;
}

enum status chain_new(struct eval *ev, const struct expr *e, const struct grid *grid,
                      struct chain **out) {
    size_t count = chain_depth(e),
           each = sizeof(struct stage) + sizeof(struct stage_run) + sizeof(struct column);
    if (count == 0)
        return err_set(ev->err, ERR_CORRUPT, 0, "tree node %u is not evaluated per series",
                       node_unwrap(e)->number);
    size_t bytes = sizeof(struct chain) + count * each;
    struct chain *c = eval_alloc(ev, 1, bytes);
    if (c == NULL) return eval_nomem(ev);
    c->stages = (struct stage *)(void *)(c + 1);
    c->runs = (struct stage_run *)(void *)(c->stages + count);
    c->cols = (struct column *)(void *)(c->runs + count);
    c->count = count;
    c->memory_bytes = bytes;
    c->budget = ev->budget;
    arena_init_budget(&c->arena, ev->budget);
    enum status st = chain_describe(ev, c, e, grid);
    if (st == OK) st = chain_prepare(ev, c);
    if (st != OK) {
        chain_free(c);
        return st;
    }
    *out = c;
    return OK;
}

void chain_free(struct chain *c) {
    if (c == NULL) return;
    for (size_t i = 0; i < c->count; i++)
        stage_run_fini(&c->runs[i]);
    free(c->cols[0].histograms);
    arena_fini(&c->arena);
    budget_give(c->budget, c->memory_bytes);
    free(c);
}

static enum status chain_apply(struct chain *c, const struct labelset *labels,
                               struct column **out) {
    for (size_t i = 1; i < c->count; i++) {
        TRY(eval_work(c->runs[i].ev, 50 + c->stages[i].out.steps));
        c->runs[i].labels = labels;
        TRY(stage_apply(&c->runs[i], &c->cols[i - 1], &c->cols[i]));
    }
    *out = &c->cols[c->count - 1];
    return OK;
}

enum status chain_run(struct chain *c, const struct samples *samples, const struct labelset *labels,
                      struct column **out) {
    TRY(eval_work(c->runs[0].ev, 50 + c->stages[0].out.steps));
    c->runs[0].labels = labels;
    TRY(stage_read(&c->runs[0], samples, &c->cols[0]));
    return chain_apply(c, labels, out);
}

struct stage_run *chain_leaf_run(struct chain *c) {
    return &c->runs[0];
}

enum status chain_run_ended(struct chain *c, const struct ended *e, const struct samples *samples,
                            const struct downsample_rows *rows, const struct labelset *labels,
                            struct column **out) {
    struct stage_run *leaf = &c->runs[0];
    TRY(eval_work(leaf->ev, 50 + c->stages[0].out.steps));
    leaf->labels = labels;
    leaf->ended = e;
    enum status st = stage_read(leaf, samples, &c->cols[0]);
    if (st == OK && rows != NULL) st = stage_read_rows_ended(leaf, rows, &c->cols[0]);
    leaf->ended = NULL;
    return st == OK ? chain_apply(c, labels, out) : st;
}

enum status chain_run_rows(struct chain *c, const struct downsample_rows *rows,
                           const struct labelset *labels, struct column **out) {
    c->runs[0].labels = labels;
    TRY(stage_read_rows(&c->runs[0], rows, &c->cols[0]));
    return chain_apply(c, labels, out);
}

bool chain_leaf(const struct query *q, const struct expr *e, const struct grid *grid,
                struct stage *out) {
    struct grid g = *grid;
    for (size_t depth = 0; depth < CHAIN_STAGES_MAX; depth++) {
        const struct expr *child = NULL;
        e = node_unwrap(e);
        if (!(depth == 0 ? describe_top(e, out, &child) : stage_describe(e, out, &child)))
            return false;
        out->out = out->in = g;
        if (child == NULL) return true;
        const struct expr *over = out->kind == STAGE_WINDOW ? out->matrix : e;
        if (grid_of_child(q, over, &out->out, &g, NULL) != OK) return false;
        e = child;
    }
    return false;
}
