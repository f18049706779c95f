/* SPDX-License-Identifier: Apache-2.0 */
/* Evaluates an eval command. An instant query is evaluated in other ways too, which must give the
 * same result: with all selectors pinned by @ to its time, at other times; and as the middle step
 * of a range query. */
#include <stdlib.h>
#include <string.h>

#include "node/base/duration.h"
#include "node/ctl/promqltest.h"
#include "query/promql/functions.h"
#include "query/promql/parser.h"
#include "query/promql/printer.h"

enum {
    LOOKBACK_MS = 300000,
    DEFAULT_STEP_MS = 60000,
    SAMPLES_MAX = 10000,
    RANGE_MARGIN_MS = 60000,
    FEATURES = FEATURE_EXPERIMENTAL_FUNCTIONS | FEATURE_FILL | FEATURE_EXTENDED_RANGES |
               FEATURE_DELAYED_NAME_REMOVAL | FEATURE_START_TIMESTAMPS,
};

struct run {
    const struct eval_cmd *cmd;
    struct dataset *data;
    struct buf *why;
    struct sv query;
    bool pinned; /* the query is printed anew: positions in annotations differ */
    struct query_params params;
};
/* One evaluation and its result, which lives in the plan. */
struct answer {
    struct query *q;
    struct plan *plan;
    struct result result;
    enum status status;
    struct err err;
    const char *skip; /* why the engine was not asked, or could not answer */
};

static struct query_params params_at(const struct eval_cmd *cmd, int64_t time_ms) {
    return (struct query_params){
        .start_ms = cmd->instant ? time_ms : cmd->start_ms,
        .end_ms = cmd->instant ? time_ms : cmd->end_ms,
        .step_ms = cmd->step_ms,
        .instant = cmd->instant,
        .lookback_ms = LOOKBACK_MS,
        .default_step_ms = DEFAULT_STEP_MS,
        .samples_max = SAMPLES_MAX,
        .memory_bytes_max = 1U << 28,
        .features = FEATURES,
    };
}

static void answer_fini(struct answer *a) {
    plan_free(a->plan);
    query_unref(a->q);
}

static void answer_get(const struct run *r, struct answer *a) {
    *a = (struct answer){0};
    a->status = query_new(r->query, &r->params, &a->q, &a->err);
    if (a->status != OK) return;
    a->status = dataset_select(r->data, a->q);
    if (a->status != OK) return;
    if (r->cmd->expects_histograms || dataset_touches_histograms(r->data, a->q)) {
        a->skip = "native histograms";
        return;
    }
    a->status = query_run_local(a->q, r->data->sources, r->data->sources_count, &a->plan,
                                &a->result, &a->err);
    if (a->status != ERR_UNSUPPORTED) return;
    if (strstr(a->err.msg, "histogram") != NULL) a->skip = "native histograms";
    if (strstr(a->err.msg, "start timestamp") != NULL) a->skip = "start timestamps";
}

static void put_time(struct buf *out, int64_t ms) {
    if (ms < 0) buf_put_char(out, '-');
    duration_put(out, ms < 0 ? -ms : ms);
}

/* Puts what was asked in front of what was found. */
static void why_prefix(const struct run *r, size_t from) {
    struct buf head = {0};
    buf_put_sv(&head, r->params.instant ? SV("  instant at ") : SV("  range from "));
    put_time(&head, r->params.start_ms);
    if (!r->params.instant) {
        buf_put_sv(&head, SV(" to "));
        put_time(&head, r->params.end_ms);
        buf_put_sv(&head, SV(" step "));
        put_time(&head, r->params.step_ms);
    }
    buf_printf(&head, ": %.*s\n", SV_ARG(r->query));
    size_t tail = r->why->len - from;
    if (buf_reserve(r->why, head.len)) {
        memmove(r->why->ptr + from + head.len, r->why->ptr + from, tail);
        memcpy(r->why->ptr + from, head.ptr, head.len);
        r->why->len += head.len;
    }
    buf_fini(&head);
}

static bool failure_as_expected(const struct eval_cmd *cmd, const struct answer *a,
                                struct buf *why) {
    struct sv text = sv_from(a->err.msg);
    if (!cmd->fail || a->status == ERR_NOMEM) {
        buf_printf(why, "    error: %s\n", a->err.msg);
        return false;
    }
    for (size_t i = 0; i < cmd->fails.count; i++)
        if (!expectation_holds(&cmd->fails.items[i], text)) {
            buf_printf(why, "    expected the error: %.*s\n    got: %s\n",
                       SV_ARG(cmd->fails.items[i].text), a->err.msg);
            return false;
        }
    return true;
}

static bool success_as_expected(const struct run *r, const struct answer *a) {
    const struct eval_cmd *cmd = r->cmd;
    struct buf *why = r->why;
    if (cmd->fail) {
        buf_put_sv(why, SV("    expected an error, got:\n"));
        test_put_result(why, &a->result);
        return false;
    }
    return (r->pinned ? compare_notes_presence(cmd, &a->result, why)
                      : compare_notes(cmd, &a->result, why)) &&
           compare_result(cmd, &a->result, why);
}

/* The point of each series at time_ms, as the instant query would give them. */
static bool middle_of(const struct result *matrix, enum value_type type, int64_t time_ms,
                      struct arena *arena, struct result *out) {
    *out = (struct result){.type = type, .time_ms = time_ms};
    out->series = arena_array(arena, matrix->series_count + 1, sizeof *out->series);
    if (out->series == NULL) return false;
    for (size_t i = 0; i < matrix->series_count; i++) {
        const struct result_series *s = &matrix->series[i];
        for (size_t k = 0; k < s->points_count; k++) {
            if (s->points[k].time_ms != time_ms) continue;
            out->scalar = s->points[k].value;
            out->series[out->series_count] = *s;
            out->series[out->series_count].points = &s->points[k];
            out->series[out->series_count++].points_count = 1;
        }
    }
    if (type != VALUE_SCALAR) return true;
    bool one = out->series_count == 1;
    out->series_count = 0;
    return one;
}

static bool compare_middle(const struct run *r, const struct answer *a, enum value_type type) {
    struct arena arena;
    struct result middle;
    if (a->status != OK) {
        buf_printf(r->why, "    error: %s\n", a->err.msg);
        return false;
    }
    if (!result_is_sorted(&a->result)) {
        buf_put_sv(r->why, SV("    series are not in the order of labels:\n"));
        test_put_result(r->why, &a->result);
        return false;
    }
    arena_init(&arena, 0);
    bool good = middle_of(&a->result, type, r->cmd->start_ms, &arena, &middle) &&
                compare_result(r->cmd, &middle, r->why);
    if (!good && r->why->len == 0) buf_put_sv(r->why, SV("    no single value at the time\n"));
    arena_fini(&arena);
    return good;
}

/* Constants of the query differ between an instant and a range query. */
static bool has_query_constants(struct sv query) {
    static const char *const names[] = {"start()", "end()", "range()", "step()"};
    for (size_t i = 0; i < ARRAY_LEN(names); i++)
        if (memmem(query.ptr, query.len, names[i], strlen(names[i])) != NULL) return true;
    return false;
}

static enum verdict run_as_range(const struct run *instant, enum value_type type) {
    struct run r = *instant;
    r.params.instant = false;
    r.params.start_ms = instant->params.start_ms - RANGE_MARGIN_MS;
    r.params.end_ms = instant->params.start_ms + RANGE_MARGIN_MS;
    r.params.step_ms = RANGE_MARGIN_MS;
    struct eval_cmd cmd = *instant->cmd; /* the time of the middle step */
    cmd.start_ms = instant->params.start_ms;
    r.cmd = &cmd;
    struct answer a;
    size_t from = r.why->len;
    answer_get(&r, &a);
    bool touches = a.skip != NULL && a.status == OK; /* more data than the instant query's */
    bool good = touches || compare_middle(&r, &a, type);
    if (!good) why_prefix(&r, from);
    answer_fini(&a);
    return good ? VERDICT_PASS : VERDICT_FAIL;
}

static enum verdict run_once(const struct run *r) {
    const struct eval_cmd *cmd = r->cmd;
    struct answer a;
    size_t from = r->why->len;
    answer_get(r, &a);
    if (a.skip != NULL) {
        buf_printf(r->why, "%s", a.skip);
        answer_fini(&a);
        return VERDICT_SKIP;
    }
    bool good = a.status == OK ? success_as_expected(r, &a) : failure_as_expected(cmd, &a, r->why);
    if (!good) why_prefix(r, from);
    enum verdict v = good ? VERDICT_PASS : VERDICT_FAIL;
    enum value_type type = a.result.type;
    bool again = good && a.status == OK && cmd->instant && !cmd->ordered &&
                 (type == VALUE_SCALAR || type == VALUE_VECTOR);
    answer_fini(&a);
    return again && !has_query_constants(r->query) ? run_as_range(r, type) : v;
}

/* -- with @ */
static void pin_shift(struct time_shift *shift, int64_t time_ms) {
    if (shift->at == AT_TIMESTAMP) return;
    shift->at = AT_TIMESTAMP;
    shift->at_ms = time_ms;
}

/* Puts @ on selectors and subqueries, not on what lies in a subquery: it is pinned already. false:
 * the value of a function changes with the evaluation's time, whatever its arguments. */
static bool pin(struct expr *e, int64_t time_ms, bool in_subquery) {
    if (e->kind == EXPR_CALL && e->u.function->at_unsafe) return false;
    if (!in_subquery && e->kind == EXPR_SELECTOR) pin_shift(&e->u.selector.shift, time_ms);
    if (!in_subquery && e->kind == EXPR_SUBQUERY) pin_shift(&e->u.range.shift, time_ms);
    for (size_t i = 0; i < e->children_count; i++)
        if (!pin(e->children[i], time_ms, in_subquery || e->kind == EXPR_SUBQUERY)) return false;
    return true;
}

static enum verdict run_pinned(const struct run *original, struct sv pinned) {
    int64_t t = original->cmd->start_ms;
    int64_t times[] = {-10 * t, 0, t / 5, t, 10 * t};
    if (t == 0) {
        times[0] = -1000;
        times[2] = 1000;
    }
    for (size_t i = 0; i < (t == 0 ? 3 : ARRAY_LEN(times)); i++) {
        struct run r = *original;
        r.query = pinned;
        r.pinned = true;
        r.params = params_at(r.cmd, times[i]);
        enum verdict v = run_once(&r);
        if (v != VERDICT_PASS) return v;
    }
    return VERDICT_PASS;
}

static enum verdict run_with_at(const struct run *original) {
    struct promql_options options = {.features = FEATURES};
    struct arena arena;
    struct expr *e;
    struct buf text = {0};
    enum verdict v = VERDICT_PASS;
    arena_init(&arena, 0);
    if (promql_parse(original->query, &options, &arena, &e, NULL) == OK) {
        bool safe = pin(e, original->cmd->start_ms, false);
        if (safe) promql_print(e, &text);
        promql_free(e);
        if (safe) v = run_pinned(original, buf_sv(&text));
    }
    buf_fini(&text);
    arena_fini(&arena);
    return v;
}

enum verdict eval_cmd_run(const struct eval_cmd *cmd, struct dataset *d, struct buf *why) {
    struct run r = {.cmd = cmd,
                    .data = d,
                    .why = why,
                    .query = cmd->query,
                    .params = params_at(cmd, cmd->start_ms)};
    enum verdict v = run_once(&r);
    return v == VERDICT_PASS && cmd->instant ? run_with_at(&r) : v;
}
