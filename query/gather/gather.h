/* SPDX-License-Identifier: Apache-2.0 */
/* query/gather/gather.h: moves fragments to where the data is and partials back. One per core.
 *
 * A query as a flow on the core that got it:
 *   query_new, plan_new (worker) -> rounds: each fragment to every local core that has shards
 * (message) and every remote node (FRAME_FRAGMENT with its shard set and epochs) -> partials; a
 * node folds its cores' partials into one reply whose end says shards, epochs, rows and checksum ->
 * plan_fold once per complete reply -> plan_round_done (worker) -> ...
 *   -> plan_finish (worker) -> done
 * On each core: select_step in slices of 1 ms, then fragment_run on the worker pool, selection
 * released on its core.
 *
 * Completeness (P2): every shard of the map must be answered by exactly one reply that claims it.
 * What is missing is asked elsewhere and by newer maps for some seconds (spread.h); what then is
 * still missing is an error ERR_UNAVAILABLE `incomplete: N of S shards unavailable (node ...)`, or,
 * with partial_response, a warning naming it. A node refuses shards that it does not hold readable
 * at that epoch under lease. Bounds: queries at once (--query.max-concurrency, waiting in order),
 * samples, bytes, time; a client that goes away cancels on every node. */
#pragma once

#include "query/engine/engine.h"
#include "query/gather/active.h"
#include "query/gather/trace.h"
#include "ring/member/lease.h"
#include "ring/peers.h"
#include "ring/replica/replica.h"
#include "storage/store.h"

struct gather_options {
    struct ring_map *map;
    node_id self;
    const uint16_t *core_of;         /* shard -> local core or 0xffff; outlives the map's stay */
    struct peers *peers;             /* NULL: no peers */
    const struct replicas *replicas; /* of this core; NULL: all shards of core_of may be read */
    struct store *store;
    uint64_t remote_timeout_ms; /* of a fragment on another node, at most the query's own */
    unsigned concurrency_max;   /* per core */
    struct active *active;      /* running queries, for the next start after a crash; NULL: none */
};
struct gather;
MUST_USE enum status gather_new(struct core *core, const struct gather_options *options,
                                struct gather **out, struct err *err);
/* Queries under way go on by the new map: what was refused or late is asked anew. core_of as in the
 * options. */
void gather_set_map(struct gather *g, struct ring_map *map, const uint16_t *core_of);
void gather_stop(struct gather *g);
void gather_free(struct gather *g);

/* For peers_handle(FRAME_FRAGMENT) and (FRAME_SERIES): ctx is the gather. */
void gather_on_fragment(struct peer_request *req, struct sv payload, void *ctx);
void gather_on_series(struct peer_request *req, struct sv payload, void *ctx);

struct gather_query {
    /* given; strings are copied */
    struct sv text;
    struct query_params params;
    uint64_t timeout_ms;
    bool partial_response;
    void (*done)(
        struct core *here,
        struct gather_query *q); /* once; then call gather_query_fini when finished reading */
    void *user;
    /* outcome */
    enum status status;
    struct err err;
    struct result result; /* until gather_query_fini */
    char **warnings;      /* of gathering, beside result.warnings */
    size_t warnings_count;
    uint64_t queue_ns, eval_ns;
    const struct gather_trace *trace; /* until gather_query_fini */
    /* private */
    struct gather_flow *flow;
};
/* Address of a node, "" when it is no longer in the map. */
const char *gather_node_addr(const struct gather *g, node_id node);
void gather_query_start(struct gather *g, struct gather_query *q);
void gather_query_cancel(struct gather_query *q); /* done still comes, ERR_CANCELED */
void gather_query_fini(struct gather_query *q);

/* Series, label names and values, metadata and exemplars over the cluster, with the same
 * completeness rule. */
enum gather_list_kind {
    GATHER_SERIES,
    GATHER_LABEL_NAMES,
    GATHER_LABEL_VALUES,
    GATHER_METADATA, /* label: of this metric only, where not empty */
    GATHER_EXEMPLARS /* of series that match a selector; none: nothing. With from < time <= to */
};
struct gather_list {
    /* given */
    enum gather_list_kind kind;
    struct sv label; /* LABEL_VALUES, METADATA */
    const struct sv
        *selectors; /* match[] texts; each is one set, results are united; none: everything */
    size_t selectors_count;
    int64_t from_ms, to_ms;
    uint64_t limit; /* 0: none */
    uint64_t timeout_ms;
    bool partial_response;
    void (*done)(struct core *here, struct gather_list *l);
    void *user;
    /* outcome */
    enum status status;
    struct err err;
    /* Sorted, unique: names, values, canonical label bytes of series; per metric family the
     * metadata items of storage/entry.h, newest first; per series its canonical label bytes behind
     * their length as varint, then the exemplar items of storage/entry.h by time. */
    struct sv *items;
    size_t items_count;
    bool truncated;
    char **warnings;
    size_t warnings_count;
    struct arena arena; /* holds the outcome */
    /* private */
    struct list_flow *flow;
};
/* Texts are read before it returns: they need not live on. A selector that does not parse:
 * ERR_PARSE. */
void gather_list_start(struct gather *g, struct gather_list *l);
void gather_list_cancel(struct gather_list *l);
void gather_list_fini(struct gather_list *l);
