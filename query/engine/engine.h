/* SPDX-License-Identifier: Apache-2.0 */
/* query/engine/engine.h: evaluation of PromQL as plan -> fragments -> partials -> merge -> finish.
 * There is one path: cores of one node and nodes of a cluster get fragments and answer with
 * partials; nothing is evaluated twice over different code. Everything here is synchronous and
 * touches no loop, lock or I/O: query/gather moves fragments and partials, workers call these
 * functions.
 *
 *   text -> promql_parse -> promql_prepare -> plan_new
 *   rounds: for each ready fragment, on every core of every node: fragment_run(source) -> partial
 *           at the coordinator: plan_fold(partial) for each, once; plan_round_done -> next ready
 * fragments plan_finish -> struct result (scalar, string, vector, matrix), annotations
 *
 * A fragment is the whole query text, the number of the tree node to evaluate, its own time grid,
 * the query's options, the shard set (query/gather adds it) and bound inputs: columns of
 * sub-expressions already computed. A partial carries its whole state, so that merging is
 * associative: (value, compensation, count, kinds, hints, drop_name) per group and step;
 * `order_free` says whether folding in any order gives the same bits. Where it is not, or where ids
 * of output label sets repeat, the plan asks for the fragment again as step vectors and folds these
 * in label order. Distribution and numerics: DESIGN 8; semantics: PromQL of Prometheus 3.14, to the
 * bit where order-free. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "node/base/arena.h"
#include "node/base/buf.h"
#include "node/base/status.h"
#include "query/engine/source.h"
#include "query/promql/ast.h"

enum query_feature { /* --enable-feature names */
                     FEATURE_EXPERIMENTAL_FUNCTIONS = 1,
                     FEATURE_FILL = 2,
                     FEATURE_EXTENDED_RANGES = 4,
                     FEATURE_DELAYED_NAME_REMOVAL = 8,
                     FEATURE_START_TIMESTAMPS = 16,
                     FEATURE_TYPE_AND_UNIT = 32,
                     FEATURE_PER_STEP_STATS = 64,
                     /* no name of its own: a range selector as the whole query gives each series'
                      * newest sample, none when that is a stale marker or a histogram */
                     FEATURE_NEWEST_SAMPLE = 1 << 16,
                     /* the same: range functions may read rows of that resolution where these tell
                      * the same (window_rows.c); never for rules */
                     FEATURE_ROWS_5M = 1 << 17,
                     FEATURE_ROWS_1H = 1 << 18,
};

struct query_params {
    int64_t start_ms, end_ms; /* equal for an instant query */
    int64_t step_ms;          /* 0 for an instant query */
    bool instant;
    int64_t lookback_ms;     /* 5m */
    int64_t default_step_ms; /* of subqueries: global evaluation_interval, 1m */
    uint64_t samples_max;    /* peak samples held; beyond: "query processing would load too many
                                samples into memory in query execution" */
    uint64_t memory_bytes_max;
    uint32_t features; /* enum query_feature bits */
};

struct query; /* a parsed and prepared query: text, params, tree; immutable, shared by reference
                 count */
enum status query_new(struct sv text, const struct query_params *params, struct query **out,
                      struct err *err) MUST_USE;
struct query *query_ref(struct query *q); /* atomic */
void query_unref(struct query *q);
const struct expr *query_root(const struct query *q);
struct sv query_text(const struct query *q);
const struct query_params *query_params(const struct query *q);
/* The query's distinct selectors and the widest time range each reads (from_ms < t <= to_ms), for
 * selecting. */
struct query_leaf {
    const struct selector *selector;
    int64_t from_ms, to_ms;
};
const struct query_leaf *query_leaves(const struct query *q, size_t *out_count);

/* -- stop conditions shared with the flow that owns the query: polled between series */
struct query_control {
    /* Of all that evaluates parts of the query on this node, told (relaxed) at every look: the
     * limits of the query hold for them together. The engine's own. */
    uint64_t held_samples, held_bytes;
    bool canceled;        /* set (relaxed) by the owner */
    uint64_t deadline_ns; /* monotonic; 0: none */
    uint64_t (*mono_ns)(void *ctx);
    void *ctx;
};

/* -- fragments */
enum fragment_kind {
    FRAGMENT_PARTIAL, /* an aggregation's groups */
    FRAGMENT_VECTORS, /* step vectors of a per-series expression */
    FRAGMENT_SAMPLES, /* raw samples of a range selector (a matrix result) */
};
struct fragment {
    enum fragment_kind kind;
    uint32_t number;                   /* of the expr */
    int64_t start_ms, end_ms, step_ms; /* its own grid; one step when equal */
    /* bound inputs: private to the engine, travel with the fragment */
    struct buf bound;
};
void fragment_put(const struct fragment *f, struct buf *out);
enum status fragment_get(struct sv bytes, struct fragment *out, struct err *err) MUST_USE;
void fragment_fini(struct fragment *f);
/* Selectors (leaf numbers, in query_leaves() order) that the fragment reads, today always one; the
 * core selects these before fragment_run. */
size_t fragment_leaves(const struct query *q, const struct fragment *f, uint32_t *out_leaves,
                       size_t max);

/* Groups made of a function or operator or two per series, which cost hardly more than reading the
 * samples; false: not to be said. */
bool fragment_is_light(const struct query *q, const struct fragment *f);

/* The resolution of the rows that it reads (struct source_ops); 0: samples. The same everywhere. */
uint32_t fragment_resolution(const struct query *q, const struct fragment *f);

/* -- partials: memory of their own; encoded for the wire with version and counts checked on
 * decoding */
struct partial;
/* On a worker, over one core's source. ERR_EXEC, ERR_LIMIT, ERR_CANCELED, ERR_TIMEOUT with
 * Prometheus' texts. */
enum status fragment_run(const struct query *q, const struct fragment *f, const struct source *src,
                         struct query_control *control, struct partial **out,
                         struct err *err) MUST_USE;
/* Both of the same fragment. Copies what it needs: `from` stays the caller's, to be freed. */
enum status partial_merge(struct partial *into, struct partial *from, struct query_control *control,
                          struct err *err) MUST_USE;
void partial_free(struct partial *p);
size_t partial_memory_bytes(const struct partial *p);
uint64_t partial_rows(const struct partial *p);
/* control as in fragment_run; NULL: it cannot be stopped. */
enum status partial_put(const struct partial *p, struct query_control *control, struct buf *out,
                        struct err *err) MUST_USE;
struct partial_bytes {
    const struct query *q;
    const struct fragment *f;
    struct sv bytes;
};
enum status partial_get(const struct partial_bytes *from, struct query_control *control,
                        struct partial **out, struct err *err) MUST_USE;

/* -- the coordinator */
struct plan;
enum status plan_new(struct query *q, struct plan **out,
                     struct err *err) MUST_USE; /* ERR_UNSUPPORTED names what is not evaluated */
void plan_free(struct plan *p);
/* Fragments to scatter in this round; 0: call plan_finish. Pointers live until plan_round_done. */
size_t plan_round(struct plan *p, const struct fragment **out_fragments, size_t max);
/* Whether plan_round() would give any: if not, plan_finish() is next. */
bool plan_has_round(const struct plan *p);
/* The merged answer of fragment i of this round (all cores, all nodes; at least one partial, which
 * may have no series); takes the partial, also on failure. A later plan_round may ask lower in the
 * tree for what depended on the order of folding or had equal label sets. */
enum status plan_fold(struct plan *p, size_t i, struct partial *partial, struct err *err) MUST_USE;
/* On a worker: computes what the next round needs. */
enum status plan_round_done(struct plan *p, struct query_control *control,
                            struct err *err) MUST_USE;

struct result_point {
    int64_t time_ms;
    double value;
    struct histogram *histogram; /* NULL: a float */
};
struct result_series {
    struct label *labels;
    size_t labels_count;
    struct result_point *points; /* one for an instant vector */
    size_t points_count;
};
struct result {
    enum value_type type;
    struct result_series *series; /* ordered as Prometheus orders: by labels for a matrix, engine
                                     order or sort() for a vector */
    size_t series_count;
    double scalar; /* VALUE_SCALAR: at params.end_ms; a range query gives a matrix instead */
    struct sv string;
    int64_t time_ms;
    char **warnings, **infos; /* texts, at most 10 each plus the "omitted" line, with (line:col) */
    size_t warnings_count, infos_count;
    /* Read: as Prometheus counts them, a sample once in each window that holds it. Peak: the most
     * that were held at once, all parts of a round together. */
    uint64_t samples_read, samples_peak;
    uint64_t *samples_steps; /* of those read, at each step; NULL without FEATURE_PER_STEP_STATS */
    size_t samples_steps_count;
};
/* On a worker. *out lives in the plan's arena until plan_free. */
enum status plan_finish(struct plan *p, struct query_control *control, struct result *out,
                        struct err *err) MUST_USE;

/* Runs a whole query over several sources in this thread, through the same fragments, encoded and
 * decoded partials and plan: tests, cairnctl test promql. */
enum status query_run_local(struct query *q, const struct source *const *sources,
                            size_t sources_count, struct plan **out_plan, struct result *out,
                            struct err *err) MUST_USE;
