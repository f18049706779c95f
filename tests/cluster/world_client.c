/* SPDX-License-Identifier: Apache-2.0 */
#include <assert.h>
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "storage/entry.h"
#include "tests/cluster/world.h"

enum {
    WRITE_SAMPLES_MAX = 3,
    QUERY_RANGE_S = 200000,
    WINDOW_MS = 1800000,
    /* The controller's clock may be 10 min off, and this node's jump by 20 since it heard of the
     * difference: samples stay below the cap all the same. */
    SAMPLE_AGE_MS = 2400000
};

/* What a client has under way. It lives until its answer, or until the node that it asked dies. */
struct client {
    struct list_node node;
    struct world *w;
    unsigned on; /* the node asked */
    struct msg msg;
    unsigned core;
    bool is_write, closing, counts;
    uint64_t began_ms;
    /* write */
    struct write_op op;
    struct {
        unsigned series;
        size_t sample;
    } sent[WRITE_SERIES_MAX * WRITE_SAMPLES_MAX];
    size_t sent_count;
    /* query */
    struct gather_query query;
    char text[64];
    uint64_t acks_before;
    /* of all data, in vain */
    struct delete_op deletion;
    struct delete_range range;
    struct buf matchers;
    struct gather_list list;
};

static void client_free(struct client *c) {
    list_remove(&c->node);
    if (c->is_write) {
        write_rows_fini(&c->op.rows);
        buf_fini(&c->op.body);
        arena_fini(&c->op.arena);
        free(c->op.unknown);
    }
    buf_fini(&c->matchers);
    free(c);
}

void clients_drop(struct world *w, unsigned node) {
    LIST_FOREACH_SAFE(n, &w->clients) {
        struct client *c = container_of(n, struct client, node);
        if (c->on == node) client_free(c);
    }
}

static struct client *client_new(struct world *w, unsigned node) {
    struct client *c = calloc(1, sizeof *c);
    assert(c != NULL);
    c->w = w;
    c->on = node;
    c->began_ms = sim_now_ms(w->sim);
    c->core = (unsigned)rng_below(sim_rng(w->sim), w->options.cores);
    list_push_back(&w->clients, &c->node);
    return c;
}

static struct core *client_core(const struct client *c) {
    return store_core(node_store(c->w->nodes[c->on], c->core));
}

static void client_post(struct client *c, void (*run)(struct core *here, struct msg *m)) {
    c->msg.run = run;
    core_post(client_core(c), &c->msg);
}

/* -- writing */

static void write_done(struct core *here, struct write_op *op) {
    (void)here;
    struct client *c = container_of(op, struct client, op);
    struct world *w = c->w;
    /* What took longer than the window is open is too late: so it is with a sender's. */
    bool too_old = op->outcome == WRITE_REFUSED && strstr(op->text, "too old sample") != NULL;
    w->writes_too_old += too_old;
    if (op->outcome == WRITE_REFUSED && !too_old)
        world_fail(w, "a good write was refused: %s", op->text);
    if (op->outcome == WRITE_UNAVAILABLE) w->writes_unavailable++;
    if (op->outcome == WRITE_OK) {
        w->writes_ok++;
        w->acks++;
        for (size_t i = 0; i < c->sent_count; i++) {
            struct model_sample *s = &w->series[c->sent[i].series].samples[c->sent[i].sample];
            /* Taken where nobody could judge it, and beyond the window: who judges leaves it out.
             */
            if (s->time_ms < world_sample_ms(w) - WINDOW_MS) continue;
            if (s->state == SAMPLE_ACKED) continue;
            s->state = SAMPLE_ACKED;
            s->acked_at = w->acks;
            w->samples_acked++;
            world_check_shard(w, w->series[c->sent[i].series].shard);
        }
        world_plan_acknowledged(w, c->began_ms);
    }
    client_free(c);
}

static void write_run(struct core *here, struct msg *m) {
    (void)here;
    struct client *c = container_of(m, struct client, msg);
    distributor_write(node_distributor(c->w->nodes[c->on], c->core), &c->op);
}

static void add_row(struct client *c, unsigned series, size_t sample) {
    struct world *w = c->w;
    const struct ring_settings *set = &node_map(w->nodes[c->on])->settings;
    char name[16];
    snprintf(name, sizeof name, "%u", series);
    struct label labels[] = {{SV("__name__"), SV("m")}, {SV("i"), sv_from(name)}};
    struct buf b = {0};
    struct err err;
    enum status st = labels_encode(labels, 2, &b, &err);
    assert(st == OK);
    struct sv canonical = arena_sv(&c->op.arena, buf_sv(&b));
    buf_fini(&b);
    struct write_rows *rows = &c->op.rows;
    st = write_rows_reserve(rows, rows->count + 1);
    assert(st == OK);
    rows->ids[rows->count] = series_id_of(set->secret, 0, canonical);
    rows->shards[rows->count] = series_shard(rows->ids[rows->count], set->shards_count);
    w->series[series].shard = rows->shards[rows->count];
    rows->times_ms[rows->count] = w->series[series].samples[sample].time_ms;
    rows->values[rows->count] = w->series[series].samples[sample].value;
    rows->labels[rows->count] = canonical;
    rows->count++;
    c->sent[c->sent_count].series = series;
    c->sent[c->sent_count++].sample = sample;
}

static void add_series(struct client *c, unsigned series) {
    struct world *w = c->w;
    struct rng *rng = sim_rng(w->sim);
    struct model_series *m = &w->series[series];
    if (m->count > 0 &&
        rng_chance(rng, 0.2)) { /* a sender that did not hear an answer sends again */
        add_row(c, series, m->count - 1);
        return;
    }
    int64_t now = world_sample_ms(w);
    size_t n = 1 + rng_below(rng, WRITE_SAMPLES_MAX);
    for (size_t i = 0; i < n && m->count < WORLD_SAMPLES_MAX; i++) {
        int64_t t = MAX(m->next_time_ms, now);
        m->next_time_ms = t + 1 + (int64_t)rng_below(rng, 20);
        m->samples[m->count] = (struct model_sample){
            .time_ms = t, .value = (double)w->value_next++, .state = SAMPLE_SENT};
        add_row(c, series, m->count++);
    }
}

void client_write_start(struct world *w, unsigned node, unsigned series_max) {
    struct client *c = client_new(w, node);
    c->is_write = true;
    arena_init(&c->op.arena, 0);
    c->op.done = write_done;
    unsigned first = (unsigned)rng_below(sim_rng(w->sim), WORLD_SERIES);
    unsigned count = 1 + (unsigned)rng_below(sim_rng(w->sim), series_max);
    for (unsigned i = 0; i < count; i++)
        add_series(c, (first + i) % WORLD_SERIES);
    client_post(c, write_run);
}

/* -- querying */

static struct model_sample *find_sample(struct model_series *m, int64_t time_ms) {
    size_t lo = 0, hi = m->count;
    while (lo < hi) {
        size_t mid = (lo + hi) / 2;
        if (m->samples[mid].time_ms < time_ms)
            lo = mid + 1;
        else
            hi = mid;
    }
    return lo < m->count && m->samples[lo].time_ms == time_ms ? &m->samples[lo] : NULL;
}

static void check_series(struct client *c, const struct result_series *s, bool *seen) {
    struct world *w = c->w;
    unsigned index = WORLD_SERIES;
    for (size_t i = 0; i < s->labels_count; i++)
        if (sv_eq(s->labels[i].name, SV("i"))) {
            char text[8] = "";
            memcpy(text, s->labels[i].value.ptr, MIN(s->labels[i].value.len, sizeof text - 1));
            index = (unsigned)strtoul(text, NULL, 10);
        }
    if (index >= WORLD_SERIES || seen[index]) {
        world_fail(w, "an answer has series %u %s", index,
                   index < WORLD_SERIES ? "twice" : "that nobody sent");
        return;
    }
    seen[index] = true;
    struct model_series *m = &w->series[index];
    int64_t previous = INT64_MIN;
    for (size_t i = 0; i < s->points_count; i++) {
        const struct model_sample *known = find_sample(m, s->points[i].time_ms);
        if (s->points[i].time_ms <= previous)
            world_fail(w, "series %u: times do not ascend", index);
        previous = s->points[i].time_ms;
        if (known == NULL || known->value != s->points[i].value)
            world_fail(w, "series %u has a sample that nobody sent: %" PRId64 " = %g", index,
                       s->points[i].time_ms, s->points[i].value);
    }
    if (c->query.warnings_count > 0) return; /* says itself that it is incomplete */
    size_t at = 0;
    for (size_t k = 0; k < m->count; k++) {
        if (m->samples[k].state != SAMPLE_ACKED || m->samples[k].acked_at > c->acks_before)
            continue;
        while (at < s->points_count && s->points[at].time_ms < m->samples[k].time_ms)
            at++;
        if (at == s->points_count || s->points[at].time_ms != m->samples[k].time_ms) {
            world_fail(w,
                       "an answer of node %u that claims to be complete misses sample %zu of "
                       "series %u (shard %" PRIu32 ") at %" PRId64
                       ", acknowledged before the query",
                       c->on, k, index, m->shard, m->samples[k].time_ms);
            return;
        }
    }
}

static void check_result(struct client *c) {
    struct world *w = c->w;
    bool seen[WORLD_SERIES] = {false};
    if (c->query.result.type != VALUE_MATRIX) world_fail(w, "the answer is no matrix");
    for (size_t i = 0; i < c->query.result.series_count; i++)
        check_series(c, &c->query.result.series[i], seen);
    if (c->query.warnings_count > 0) return;
    for (unsigned s = 0; s < WORLD_SERIES; s++)
        for (size_t k = 0; k < w->series[s].count && !seen[s]; k++)
            if (w->series[s].samples[k].state == SAMPLE_ACKED &&
                w->series[s].samples[k].acked_at <= c->acks_before) {
                world_fail(w, "an answer of node %u that claims to be complete misses series %u",
                           c->on, s);
                return;
            }
}

/* How many series have samples: each once, also when two nodes answered for its shard. */
static void check_count(struct client *c) {
    struct world *w = c->w;
    unsigned sent = 0, acked = 0;
    for (unsigned s = 0; s < WORLD_SERIES; s++) {
        bool any = false;
        for (size_t k = 0; k < w->series[s].count && !any; k++)
            any = w->series[s].samples[k].state == SAMPLE_ACKED &&
                  w->series[s].samples[k].acked_at <= c->acks_before;
        sent += w->series[s].count > 0;
        acked += any;
    }
    const struct result *r = &c->query.result;
    double got = r->series_count == 0 ? 0 : r->series[0].points[0].value;
    if (got > sent) world_fail(w, "%g series are counted, and %u were sent", got, sent);
    if (got < acked && c->query.warnings_count == 0)
        world_fail(w, "%g series are counted, and %u were acknowledged", got, acked);
}

static void query_done(struct core *here, struct gather_query *q) {
    (void)here;
    struct client *c = container_of(q, struct client, query);
    struct world *w = c->w;
    if (q->status == OK) {
        if (c->counts)
            check_count(c);
        else
            check_result(c);
        if (q->warnings_count > 0)
            w->queries_partial++;
        else
            w->queries_ok++;
        if (c->closing && q->warnings_count == 0) w->closing_at++;
    } else {
        w->queries_failed++;
        bool may_be_damaged = w->rotten != 0 && q->status == ERR_CORRUPT;
        if (q->status != ERR_UNAVAILABLE && q->status != ERR_TIMEOUT && !may_be_damaged)
            world_fail(w, "a query failed with %s: %s", status_name(q->status), q->err.msg);
    }
    gather_query_fini(q);
    client_free(c);
}

static void query_run(struct core *here, struct msg *m) {
    struct client *c = container_of(m, struct client, msg);
    struct gather_query *q = &c->query;
    c->acks_before = c->w->acks;
    snprintf(c->text, sizeof c->text, c->counts ? "count(count_over_time(m[%ds]))" : "m[%ds]",
             QUERY_RANGE_S);
    (void)here;
    int64_t at = world_true_ms(c->w) + QUERY_RANGE_S * 500;
    q->text = sv_from(c->text);
    q->params = (struct query_params){.start_ms = at,
                                      .end_ms = at,
                                      .instant = true,
                                      .lookback_ms = 300000,
                                      .default_step_ms = 60000,
                                      .samples_max = 50000000,
                                      .memory_bytes_max = 1 << 30};
    q->timeout_ms = 6000;
    q->done = query_done;
    gather_query_start(node_gather(c->w->nodes[c->on], c->core), q);
}

void client_query_start(struct world *w, unsigned node, bool closing) {
    struct client *c = client_new(w, node);
    c->closing = closing;
    c->counts = !closing && rng_chance(sim_rng(w->sim), 0.4);
    c->query.partial_response = !closing && rng_chance(sim_rng(w->sim), 0.3);
    client_post(c, query_run);
}

/* -- when a node opens */

static void deletion_done(struct core *here, struct delete_op *op) {
    (void)here;
    struct client *c = container_of(op, struct client, deletion);
    if (op->status == OK)
        c->w->deletes_ok++;
    else if (op->status != ERR_UNAVAILABLE && op->status != ERR_CONFLICT &&
             op->status != ERR_TIMEOUT)
        world_fail(c->w, "a deletion failed with %s: %s", status_name(op->status), op->text);
    client_free(c);
}

static void deletion_run(struct core *here, struct msg *m) {
    (void)here;
    struct client *c = container_of(m, struct client, msg);
    struct matcher none = {.kind = MATCH_EQ, .name = SV("i"), .value = SV("none")};
    entry_matchers_put(&none, 1, &c->matchers);
    c->range = (struct delete_range){INT64_MIN, INT64_MAX, buf_sv(&c->matchers)};
    c->deletion = (struct delete_op){.ranges = &c->range, .ranges_count = 1, .done = deletion_done};
    distributor_delete(node_distributor(c->w->nodes[c->on], c->core), &c->deletion);
}

static void list_done(struct core *here, struct gather_list *l) {
    (void)here;
    struct client *c = container_of(l, struct client, list);
    if (l->status == OK)
        c->w->lists_ok++;
    else if (l->status != ERR_UNAVAILABLE && l->status != ERR_TIMEOUT)
        world_fail(c->w, "a list failed with %s: %s", status_name(l->status), l->err.msg);
    if (l->items_count > 0) world_fail(c->w, "a list has what nobody sent");
    gather_list_fini(l);
    client_free(c);
}

static void list_run(struct core *here, struct msg *m) {
    (void)here;
    struct client *c = container_of(m, struct client, msg);
    const struct sv selector = SV("none");
    c->list.selectors = &selector;
    c->list.selectors_count = c->list.kind == GATHER_METADATA ? 0 : 1;
    c->list.label = SV("none");
    c->list.from_ms = INT64_MIN;
    c->list.to_ms = INT64_MAX;
    c->list.timeout_ms = 6000;
    c->list.done = list_done;
    gather_list_start(node_gather(c->w->nodes[c->on], c->core), &c->list);
}

void clients_greet(struct world *w, unsigned node) {
    static const enum gather_list_kind kinds[] = {GATHER_SERIES, GATHER_LABEL_VALUES,
                                                  GATHER_METADATA, GATHER_EXEMPLARS};
    for (unsigned core = 0; core < w->options.cores; core++) {
        client_write_start(w, node, WRITE_SERIES_MAX);
        client_query_start(w, node, false);
        struct client *c = client_new(w, node);
        c->core = core;
        client_post(c, deletion_run);
        for (unsigned k = 0; k < ARRAY_LEN(kinds); k++) {
            c = client_new(w, node);
            c->core = core;
            c->list.kind = kinds[k];
            client_post(c, list_run);
        }
    }
}
