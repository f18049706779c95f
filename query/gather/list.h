/* SPDX-License-Identifier: Apache-2.0 */
/* query/gather/list.h: series, label names and label values; shared by the list_*.c files only.
 *
 *   flow (list.c)            one list on its coordinator: deadline, completeness, limit
 *   scatter (list_scatter.c) spread (spread.h) over cores and nodes; items merged on a worker
 *   local part (list_part.c; list_kept.c: metadata and exemplars) set by set: select on the core in
 *                            slices, collect on a worker, release
 *   remote part (list_remote.c, list_codec.c) the same asked of another node */
#pragma once

#include "node/base/cancel.h"
#include "node/base/map.h"
#include "query/gather/internal.h"

enum { LIST_PART_BYTES_MAX = 256 << 20 };

struct list_set {
    struct matcher *matchers;
    size_t count;
};
/* What is asked, parsed once and read by all parts of a node. */
struct list_query {
    enum gather_list_kind kind;
    struct sv label;
    struct sv *selectors; /* as written, for other nodes */
    struct list_set *sets;
    size_t sets_count; /* 0: everything */
    int64_t from_ms, to_ms;
    uint64_t keep_max; /* items kept of the sorted whole; 0: all */
    uint64_t timeout_ms;
    bool canceled; /* set relaxed by the home core, polled by the parts */
    struct arena arena;
};
struct list_ask {
    enum gather_list_kind kind;
    struct sv label;
    const struct sv *selectors;
    size_t selectors_count;
    int64_t from_ms, to_ms;
    uint64_t keep_max, timeout_ms;
};
MUST_USE enum status list_query_new(const struct list_ask *ask, struct list_query **out,
                                    struct err *err);
void list_query_free(struct list_query *q);
static inline bool list_query_is_canceled(const struct list_query *q) {
    return cancel_is_set(&q->canceled);
}

/* A set of strings; sorted once it is finished: series and exemplars by their series' labels,
 * others bytewise (metadata by name). */
struct list_items {
    struct arena arena;
    struct sv *at;
    size_t count, cap;
    struct map seen;
};
void list_items_init(struct list_items *items);
void list_items_fini(struct list_items *items);
/* Copies s unless it is there. ERR_LIMIT beyond LIST_PART_BYTES_MAX. */
MUST_USE enum status list_items_add(struct list_items *items, struct sv s, struct err *err);
/* Whether what another node sent can be read as items of that kind: ERR_CORRUPT. */
MUST_USE enum status list_items_check(const struct list_items *items, enum gather_list_kind kind,
                                      struct err *err);
/* Sorts and cuts to keep_max (0: all). */
void list_items_finish(struct list_items *items, enum gather_list_kind kind, uint64_t keep_max);

struct list_scatter;
struct list_part {
    struct spread_part base;
    struct list_items items;
    struct list_local *local;
};
struct list_scatter_options {
    struct gather *g;
    struct list_query *query; /* borrowed until done */
    const uint64_t *shards;   /* wanted; NULL: all */
    bool local_only;
    void (*done)(struct list_scatter *s,
                 void *ctx); /* once, on the core, never inside list_scatter_new */
    void *ctx;
};
struct list_scatter {
    struct spread spread;
    struct list_scatter_options o;
    struct work merge;
    /* outcome */
    enum status status;
    struct err err;
    struct list_items items;
};
MUST_USE enum status list_scatter_new(const struct list_scatter_options *options,
                                      struct list_scatter **out, struct err *err);
void list_scatter_cancel(struct list_scatter *s); /* done still comes */
void list_scatter_free(struct list_scatter *s);   /* after done */
static inline struct list_scatter *list_scatter_of(const struct list_part *part) {
    return container_of(part->base.spread, struct list_scatter, spread);
}

MUST_USE enum status list_local_start(struct list_part *part, struct core *core, struct err *err);
void list_local_free(struct list_local *local);
void list_remote_start(struct list_part *part);

/* What travels in FRAME_SERIES. */
struct list_request {
    struct list_ask ask; /* selectors from the arena */
    struct sv shards;
};
void list_request_put(const struct list_request *r, struct buf *out);
MUST_USE enum status list_request_get(struct sv bytes, struct arena *arena,
                                      struct list_request *out, struct err *err);
/* varint count, then each with its length; adding to `into` copies. */
void list_reply_put(const struct list_items *items, struct buf *out);
MUST_USE enum status list_reply_get(struct sv bytes, struct list_items *into, struct err *err);

void gather_cancel_lists(struct gather *g);
void gather_free_lists(struct gather *g);
