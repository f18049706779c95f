/* SPDX-License-Identifier: Apache-2.0 */
#include <assert.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "node/base/cancel.h"
#include "node/base/metrics.h"
#include "node/base/pressure.h"
#include "query/gather/internal.h"
#include "query/gather/list.h"
#include "query/gather/served.h"

static const struct metric_def queries_def = {
    .name = "prometheus_engine_queries",
    .help = "The current number of queries being executed or waiting.",
    .kind = METRIC_GAUGE};
static const struct metric_def incomplete_def = {
    .name = "cairn_query_incomplete_total",
    .help = "Queries refused or warned because shards were unavailable.",
    .kind = METRIC_COUNTER};

/* One query on its coordinator.
 *   WAITING (gate) -> PREPARE (worker) -> ROUND (scatters) -> FOLD (worker) -> ROUND ... -> FINISH
 * (worker) -> ENDED What takes microseconds is done without a worker; the last FOLD finishes too.
 *   any state -> ENDED on error, deadline or cancel, once nothing that it started is under way */
enum flow_state { FLOW_WAITING, FLOW_PREPARE, FLOW_ROUND, FLOW_FOLD, FLOW_FINISH, FLOW_ENDED };
enum {
    ROUND_FRAGMENTS_MAX = 64,
    PREPARE_HERE_BYTES_MAX = 512, /* of query text: some 20 us */
    FOLD_HERE_COST_MAX = 8192,    /* points of all answers, and what follows: some 100 us */
    FOLD_ROW_COST = 16,           /* of a row's labels, in points */
    FOLD_TEXT_BYTES = 128,        /* of query text for each pass over them */
    FOLD_HERE_WORK_MAX =
        100000, /* points times the query's steps, where there may be windows over them */
};

struct gather_flow {
    struct list_node gate_node, node;
    struct gather *g;
    struct gather_query *q;
    enum flow_state state;
    char *text;
    struct query *query;
    struct plan *plan;
    struct query_control control;
    struct timer deadline;
    struct timer begin;
    struct work work;
    bool timed_out, canceled, finished;
    uint64_t began_ns, started_ns, stage_ns; /* stage_ns: when the running stage began */
    uint32_t active_slot;
    struct gather_trace trace;
    const struct fragment *fragments[ROUND_FRAGMENTS_MAX];
    struct scatter *scatters[ROUND_FRAGMENTS_MAX];
    size_t fragments_count, scatters_open;
    uint64_t *missing; /* shards that no reply of some round claimed (partial_response) */
    enum status status;
    struct err err;
};

struct gather *gather_of(struct core *core) {
    return core->locals[CORE_QUERY];
}

static uint64_t control_mono(void *ctx) {
    return core_mono_ns(ctx);
}

static void flow_start(struct gather_flow *f);

/* -- the end */

static void flow_fail(struct gather_flow *f, enum status status, const struct err *err) {
    if (f->status != OK) return; /* the first error is told */
    f->status = status;
    f->err = *err;
}

static void flow_add_warning(struct gather_flow *f) {
    char text[480];
    const struct ring_map *map = f->g->options.map;
    uint64_t *claimed = calloc(f->g->words, sizeof *claimed);
    char **warnings = calloc(1, sizeof *warnings);
    if (claimed != NULL && warnings != NULL) {
        for (uint32_t i = 0; i < f->g->words; i++)
            claimed[i] = ~f->missing[i];
        gather_missing(map, claimed, text, sizeof text);
        warnings[0] = strdup(text);
    }
    free(claimed);
    if (warnings == NULL || warnings[0] == NULL) { /* an incomplete answer is never silent */
        free(warnings);
        struct err err;
        flow_fail(f, err_set(&err, ERR_NOMEM, 0, "query: out of memory"), &err);
        return;
    }
    f->q->warnings = warnings;
    f->q->warnings_count = 1;
}

/* A flow may end while it is started, and then asks for the next: the loop outside does it, so
 * that none nest. */
static void gather_next(struct gather *g) {
    if (g->starting) return;
    g->starting = true;
    while (g->running < g->options.concurrency_max && !list_is_empty(&g->waiting)) {
        struct gather_flow *f =
            container_of(list_pop_front(&g->waiting), struct gather_flow, gate_node);
        flow_start(f);
    }
    g->starting = false;
}

static void flow_end(struct gather_flow *f) {
    struct gather *g = f->g;
    struct gather_query *q = f->q;
    assert(f->scatters_open == 0 && f->state != FLOW_ENDED);
    bool ran = f->state != FLOW_WAITING;
    f->state = FLOW_ENDED;
    timer_stop(&f->deadline);
    timer_stop(&f->begin);
    if (f->timed_out) {
        f->status = err_set(&f->err, ERR_TIMEOUT, 0,
                            ran ? "query timed out in expression evaluation"
                                : "query timed out in query queue");
    } else if (f->canceled) {
        f->status = err_set(&f->err, ERR_CANCELED, 0, "query was canceled in query execution");
    }
    if (f->status == OK && bits_any(f->missing, g->words)) flow_add_warning(f);
    q->status = f->status;
    q->err = f->err;
    uint64_t now = core_mono_ns(g->core);
    q->queue_ns = ran ? f->started_ns - f->began_ns : now - f->began_ns;
    q->eval_ns = ran ? now - f->started_ns : 0;
    f->trace.queue_ns = q->queue_ns;
    f->trace.total_ns = now - f->began_ns;
    active_end(g->options.active, f->active_slot);
    if (ran) g->running--;
    metric_add(metric_get(&queries_def, NULL), -1);
    q->done(g->core, q);
    gather_next(g);
}

/* -- rounds */

/* Time since the last call or the start. */
static uint64_t flow_lap(struct gather_flow *f) {
    uint64_t now = core_mono_ns(f->g->core), lap = now - f->stage_ns;
    f->stage_ns = now;
    return lap;
}

static void flow_submit(struct gather_flow *f, enum flow_state state, void (*run)(struct work *w),
                        void (*done)(struct core *here, struct work *w)) {
    f->state = state;
    f->work = (struct work){.run = run, .done = done};
    work_submit(f->g->core, &f->work);
}

static bool flow_stopped(const struct gather_flow *f) {
    return f->timed_out || f->canceled || f->status != OK;
}

static void finish_run(struct work *w) {
    struct gather_flow *f = container_of(w, struct gather_flow, work);
    f->status = plan_finish(f->plan, &f->control, &f->q->result, &f->err);
}

static void finish_ran(struct core *here, struct work *w) {
    (void)here;
    struct gather_flow *f = container_of(w, struct gather_flow, work);
    f->trace.finish_ns = flow_lap(f);
    flow_end(f);
}

static void flow_round(struct gather_flow *f);

static void fold_run(struct work *w) {
    struct gather_flow *f = container_of(w, struct gather_flow, work);
    for (size_t i = 0; i < f->fragments_count && f->status == OK; i++) {
        struct partial *p = f->scatters[i]->partial;
        f->scatters[i]->partial = NULL;
        if (p != NULL) f->status = plan_fold(f->plan, i, p, &f->err);
    }
    if (f->status == OK) f->status = plan_round_done(f->plan, &f->control, &f->err);
    if (f->status != OK || plan_has_round(f->plan)) return;
    uint64_t began_ns = core_mono_ns(f->g->core);
    f->status = plan_finish(f->plan, &f->control, &f->q->result, &f->err);
    f->finished = true;
    f->trace.finish_ns = core_mono_ns(f->g->core) - began_ns;
}

static void flow_free_scatters(struct gather_flow *f) {
    for (size_t i = 0; i < f->fragments_count; i++) {
        scatter_free(f->scatters[i]);
        f->scatters[i] = NULL;
    }
    f->fragments_count = 0;
}

static void fold_ran(struct core *here, struct work *w) {
    (void)here;
    struct gather_flow *f = container_of(w, struct gather_flow, work);
    struct gather_trace *t = &f->trace;
    uint64_t fold_ns = flow_lap(f) - f->trace.finish_ns;
    if (t->rounds_count > 0) t->rounds[t->rounds_count - 1].fold_ns = fold_ns;
    flow_free_scatters(f);
    if (flow_stopped(f) || f->finished)
        flow_end(f);
    else
        flow_round(f);
}

static uint64_t steps_of(int64_t start_ms, int64_t end_ms, int64_t step_ms) {
    if (end_ms < start_ms || step_ms <= 0) return 1;
    return ((uint64_t)end_ms - (uint64_t)start_ms) / (uint64_t)step_ms + 1;
}

static bool fold_is_short(const struct gather_flow *f) {
    const struct query_params *q = &f->q->params;
    uint64_t steps = q->instant ? 1 : steps_of(q->start_ms, q->end_ms, q->step_ms);
    uint64_t points = 0, all_rows = 0, passes = 1 + strlen(f->text) / FOLD_TEXT_BYTES;
    for (size_t i = 0; i < f->fragments_count; i++) {
        const struct fragment *fragment = f->fragments[i];
        uint64_t rows = f->scatters[i]->partial == NULL ? 0 : partial_rows(f->scatters[i]->partial);
        uint64_t width = steps_of(fragment->start_ms, fragment->end_ms, fragment->step_ms);
        if (fragment->kind == FRAGMENT_SAMPLES || rows > FOLD_HERE_COST_MAX ||
            width > FOLD_HERE_COST_MAX)
            return false;
        points += rows * width;
        all_rows += rows;
    }
    if ((points + all_rows * FOLD_ROW_COST) * passes > FOLD_HERE_COST_MAX) return false;
    if (steps > FOLD_HERE_WORK_MAX) return false;
    return points * steps <= FOLD_HERE_WORK_MAX || !text_has_subquery(sv_from(f->text));
}

/* Every shard of the map must have been answered for by some part. */
static void flow_check_complete(struct gather_flow *f, const struct scatter *s) {
    char text[480];
    if (s->status != OK) {
        flow_fail(f, s->status, &s->err);
        return;
    }
    if (gather_missing(f->g->options.map, s->spread.claimed, text, sizeof text) == 0) return;
    metric_add(metric_get(&incomplete_def, NULL), 1);
    if (!f->q->partial_response) {
        struct err err = s->spread.damage;
        if (err.code == OK) err_set(&err, ERR_UNAVAILABLE, 0, "%s", text);
        flow_fail(f, err.code, &err);
        return;
    }
    for (uint32_t i = 0; i < f->g->options.map->settings.shards_count; i++)
        if (!bit_get(s->spread.claimed, i)) bit_set(f->missing, i);
}

static void flow_on_scattered(struct scatter *s, void *ctx) {
    struct gather_flow *f = ctx;
    assert(f->state == FLOW_ROUND && f->scatters_open > 0);
    flow_check_complete(f, s);
    if (--f->scatters_open > 0) return;
    trace_add_round(&f->trace, f->scatters, f->fragments_count, flow_lap(f));
    if (flow_stopped(f)) {
        flow_free_scatters(f);
        flow_end(f);
        return;
    }
    if (!fold_is_short(f)) {
        flow_submit(f, FLOW_FOLD, fold_run, fold_ran);
        return;
    }
    f->state = FLOW_FOLD;
    fold_run(&f->work);
    fold_ran(f->g->core, &f->work);
}

static void flow_round(struct gather_flow *f) {
    f->fragments_count = plan_round(f->plan, f->fragments, ROUND_FRAGMENTS_MAX);
    if (f->fragments_count == 0) {
        flow_submit(f, FLOW_FINISH, finish_run, finish_ran);
        return;
    }
    if (f->fragments_count > ROUND_FRAGMENTS_MAX) {
        f->fragments_count = 0;
        f->status = err_set(&f->err, ERR_LIMIT, 0, "query reads more than %d expressions at once",
                            ROUND_FRAGMENTS_MAX);
        flow_end(f);
        return;
    }
    f->state = FLOW_ROUND;
    uint64_t spent_ms = (core_mono_ns(f->g->core) - f->began_ns) / 1000000;
    uint64_t left_ms = spent_ms >= f->q->timeout_ms ? 1 : f->q->timeout_ms - spent_ms;
    for (size_t i = 0; i < f->fragments_count; i++) {
        struct scatter_options o = {.g = f->g,
                                    .query = f->query,
                                    .fragment = f->fragments[i],
                                    .timeout_ms = MIN(left_ms, f->g->options.remote_timeout_ms),
                                    .control = &f->control,
                                    .done = flow_on_scattered,
                                    .ctx = f};
        if (flow_stopped(f)) {
            f->scatters[i] = NULL;
            continue;
        }
        f->status = scatter_new(&o, &f->scatters[i], &f->err);
        if (f->status == OK) f->scatters_open++;
    }
    if (f->scatters_open > 0) return;
    flow_free_scatters(f);
    flow_end(f);
}

static void prepare_run(struct work *w) {
    struct gather_flow *f = container_of(w, struct gather_flow, work);
    f->status = query_new(sv_from(f->text), &f->q->params, &f->query, &f->err);
    if (f->status == OK) f->status = plan_new(f->query, &f->plan, &f->err);
}

static void prepare_ran(struct core *here, struct work *w) {
    (void)here;
    struct gather_flow *f = container_of(w, struct gather_flow, work);
    f->trace.prepare_ns = flow_lap(f);
    if (flow_stopped(f))
        flow_end(f);
    else
        flow_round(f);
}

static void flow_start(struct gather_flow *f) {
    f->g->running++;
    f->started_ns = f->stage_ns = core_mono_ns(f->g->core);
    f->active_slot = active_begin(f->g->options.active, f->g->core->index, sv_from(f->text),
                                  core_wall_ms(f->g->core) / 1000);
    if (strlen(f->text) > PREPARE_HERE_BYTES_MAX) {
        flow_submit(f, FLOW_PREPARE, prepare_run, prepare_ran);
        return;
    }
    f->state = FLOW_PREPARE;
    prepare_run(&f->work);
    f->trace.prepare_ns = flow_lap(f);
    if (f->status == OK)
        flow_round(f);
    else
        flow_end(f);
}

/* -- beginning, cancelling */

static void flow_stop(struct gather_flow *f) {
    cancel_set(&f->control.canceled);
    if (f->state == FLOW_WAITING) {
        list_remove(&f->gate_node);
        if (f->text != NULL)
            timer_start(&f->begin, 0); /* told from the timer, not from inside the caller */
        return;
    }
    if (f->state != FLOW_ROUND) return; /* a worker is at it and will see the flag */
    for (size_t i = 0; i < f->fragments_count; i++)
        if (f->scatters[i] != NULL) scatter_cancel(f->scatters[i]);
}

static void flow_on_deadline(struct timer *t) {
    struct gather_flow *f = container_of(t, struct gather_flow, deadline);
    f->timed_out = true;
    flow_stop(f);
}

static void flow_on_begin(struct timer *t) {
    struct gather_flow *f = container_of(t, struct gather_flow, begin);
    if (f->state != FLOW_WAITING) return;
    if (flow_stopped(f)) {
        flow_end(f);
        return;
    }
    list_push_back(&f->g->waiting, &f->gate_node);
    gather_next(f->g);
}

void gather_query_start(struct gather *g, struct gather_query *q) {
    assert(core_is_current(g->core));
    struct gather_flow *f = calloc(1, sizeof *f);
    if (f == NULL) abort(); /* a few hundred bytes: nothing could be answered either */
    *f = (struct gather_flow){.g = g,
                              .q = q,
                              .control = {.mono_ns = control_mono, .ctx = g->core},
                              .began_ns = core_mono_ns(g->core),
                              .active_slot = ACTIVE_NONE};
    q->flow = f;
    q->result = (struct result){0};
    q->warnings = NULL;
    q->warnings_count = 0;
    q->trace = &f->trace;
    list_init(&f->gate_node);
    list_push_back(&g->flows, &f->node);
    timer_init(&f->deadline, g->core, flow_on_deadline);
    timer_init(&f->begin, g->core, flow_on_begin);
    f->control.deadline_ns = f->began_ns + q->timeout_ms * 1000000;
    f->text = strndup(q->text.ptr == NULL ? "" : q->text.ptr, q->text.len);
    f->missing = calloc(g->words, sizeof *f->missing);
    metric_add(metric_get(&queries_def, NULL), 1);
    if (f->text == NULL || f->missing == NULL)
        f->status = err_set(&f->err, ERR_NOMEM, 0, "query: out of memory");
    if (f->status == OK) f->status = pressure_check(&f->err);
    if (g->stopping) f->status = err_set(&f->err, ERR_UNAVAILABLE, 0, "this node is stopping");
    if (f->missing == NULL) abort(); /* see above */
    timer_start(&f->deadline, q->timeout_ms);
    timer_start(&f->begin, 0);
}

void gather_query_cancel(struct gather_query *q) {
    struct gather_flow *f = q->flow;
    if (f == NULL || f->state == FLOW_ENDED) return;
    f->canceled = true;
    flow_stop(f);
}

static void flow_free(struct gather_flow *f) {
    timer_stop(&f->deadline);
    timer_stop(&f->begin);
    list_remove(&f->node);
    list_remove(&f->gate_node);
    flow_free_scatters(f);
    trace_fini(&f->trace);
    plan_free(f->plan);
    query_unref(f->query);
    free(f->missing);
    free(f->text);
    free(f);
}

void gather_query_fini(struct gather_query *q) {
    if (q->flow == NULL) return;
    assert(q->flow->state == FLOW_ENDED);
    flow_free(q->flow);
    q->flow = NULL;
    q->trace = NULL;
    for (size_t i = 0; i < q->warnings_count; i++)
        free(q->warnings[i]);
    free(q->warnings);
    q->warnings = NULL;
    q->warnings_count = 0;
}

/* -- the gather of a core */

const char *gather_node_addr(const struct gather *g, node_id node) {
    int i = ring_map_node_index(g->options.map, node);
    return i < 0 ? "" : g->options.map->nodes[i].addr;
}

static void gather_read_epochs(struct gather *g) {
    const struct ring_map *map = g->options.map;
    for (uint32_t i = 0; i < map->settings.shards_count; i++)
        g->epochs[i] = map->shards[i].epoch;
}

void gather_set_map(struct gather *g, struct ring_map *map, const uint16_t *core_of) {
    assert(map->settings.shards_count == g->options.map->settings.shards_count);
    struct ring_map *old = g->options.map;
    g->options.map = ring_map_ref(map);
    g->options.core_of = core_of;
    ring_map_unref(old);
    gather_read_epochs(g);
    spread_forget_plans(g);
    LIST_FOREACH_SAFE(n, &g->spreads) spread_on_map(container_of(n, struct spread, node));
}

/* Who could answer for a shard: its primary, or, while that has no copy but takes the writes of
 * one that died, who has the copy. */
static uint16_t shard_answerer(const struct ring_map *map, uint32_t shard) {
    const struct ring_shard *s = &map->shards[shard];
    const struct ring_replica *primary = NULL, *full = NULL;
    for (unsigned i = 0; i < s->replicas_count; i++) {
        if (s->primary == (int)i) primary = &s->replicas[i];
        if (full == NULL && s->replicas[i].state == REPLICA_FULL) full = &s->replicas[i];
    }
    bool stands_in = primary == NULL || primary->state != REPLICA_FULL;
    return stands_in && full != NULL ? full->node : ring_map_primary(map, shard);
}

uint32_t gather_missing(const struct ring_map *map, const uint64_t *claimed, char *text,
                        size_t text_size) {
    uint32_t missing = 0;
    int used = 0;
    char nodes[320] = "";
    uint64_t named[RING_NODES_MAX / 64] = {0};
    for (uint32_t i = 0; i < map->settings.shards_count; i++) {
        if (i % 64 == 0 && claimed[i / 64] == UINT64_MAX) i += 63;
        if (bit_get(claimed, i)) continue;
        missing++;
        uint16_t node = shard_answerer(map, i);
        if (bit_get(named, node)) continue;
        bit_set(named, node);
        if ((size_t)used < sizeof nodes)
            used += snprintf(nodes + used, sizeof nodes - (size_t)used, "%s%s",
                             used == 0 ? "" : ", ", map->nodes[node].addr);
    }
    if (missing > 0)
        snprintf(text, text_size,
                 "incomplete: %" PRIu32 " of %" PRIu32 " shards unavailable (node %s)", missing,
                 map->settings.shards_count, nodes);
    return missing;
}

enum status gather_new(struct core *core, const struct gather_options *options, struct gather **out,
                       struct err *err) {
    struct gather *g = calloc(1, sizeof *g);
    if (g == NULL) return err_set(err, ERR_NOMEM, 0, "query: out of memory");
    *g = (struct gather){.core = core, .options = *options};
    ring_map_ref(options->map);
    list_init(&g->waiting);
    list_init(&g->flows);
    list_init(&g->served);
    list_init(&g->lists);
    list_init(&g->spreads);
    uint32_t shards = options->map->settings.shards_count;
    g->words = (shards + 63) / 64;
    g->scratch = calloc(g->words, sizeof *g->scratch);
    g->epochs = calloc(shards, sizeof *g->epochs);
    if (g->scratch == NULL || g->epochs == NULL) {
        gather_free(g);
        return err_set(err, ERR_NOMEM, 0, "query: out of memory");
    }
    gather_read_epochs(g);
    *out = g;
    return OK;
}

void gather_stop(struct gather *g) {
    g->stopping = true;
    LIST_FOREACH_SAFE(n, &g->flows)
    gather_query_cancel(container_of(n, struct gather_flow, node)->q);
    gather_cancel_lists(g);
}

void gather_free(struct gather *g) {
    if (g == NULL) return;
    while (!list_is_empty(
        &g->flows)) { /* after a simulated crash; their owners' gather_query is dead memory */
        struct gather_flow *f = container_of(g->flows.next, struct gather_flow, node);
        flow_free(f);
    }
    gather_free_served(g);
    gather_free_lists(g);
    spread_forget_plans(g);
    ring_map_unref(g->options.map);
    free(g->scratch);
    free(g->epochs);
    free(g);
}
