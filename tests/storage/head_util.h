/* SPDX-License-Identifier: Apache-2.0 */
/* tests/storage/head_util.h: a head with series made from "name=value,name=value". */
#pragma once

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "node/base/bytes.h"
#include "storage/head.h"

#define MUST(expr)                                                                                 \
    do {                                                                                           \
        if (!(expr)) {                                                                             \
            fprintf(stderr, "%s:%d: %s\n", __FILE__, __LINE__, #expr);                             \
            abort();                                                                               \
        }                                                                                          \
    } while (0)

enum { UTIL_LABELS_MAX = 64, UTIL_SHARDS = 16, UTIL_SECRET = 77 };

/* "a=1,b=2" to canonical bytes. */
static inline void util_canonical(const char *spec, struct buf *out) {
    struct label labels[UTIL_LABELS_MAX];
    size_t count = 0;
    struct sv rest = sv_from(spec);
    while (rest.len > 0) {
        struct sv one;
        rest = sv_cut(rest, ',', &one);
        struct label *l = &labels[count++];
        l->value = sv_cut(one, '=', &l->name);
    }
    buf_clear(out);
    MUST(labels_encode(labels, count, out, NULL) == OK);
}

static inline uint32_t util_series_of(struct head *head, struct sv canonical) {
    series_id id = series_id_of(UTIL_SECRET, 0, canonical);
    uint32_t ref = head_find(head, id);
    if (ref != HEAD_NONE) return ref;
    struct err err = {0};
    MUST(head_series_new(head, id, series_shard(id, UTIL_SHARDS), canonical, &ref, &err) == OK);
    return ref;
}

static inline uint32_t util_series(struct head *head, const char *spec) {
    struct buf canonical = {0};
    util_canonical(spec, &canonical);
    uint32_t ref = util_series_of(head, buf_sv(&canonical));
    buf_fini(&canonical);
    return ref;
}

static inline struct head *util_head_in(int64_t window_ms, const char *spill_dir) {
    struct head_options options = {.secret = UTIL_SECRET,
                                   .out_of_order_window_ms = window_ms,
                                   .shards_count = UTIL_SHARDS,
                                   .spill_dir = spill_dir};
    struct head *head = NULL;
    MUST(head_new(&options, &head) == OK);
    return head;
}

static inline struct head *util_head(int64_t window_ms) {
    return util_head_in(window_ms, NULL);
}

/* Everything in one go. */
static inline struct selection *util_select(struct head *head, const struct select_query *query) {
    struct selection *sel = NULL;
    struct err err = {0};
    bool done = false;
    MUST(select_new(head, query, &sel, &err) == OK);
    MUST(select_step(sel, 0, &done, &err) == OK && done);
    return sel;
}

static inline struct select_query util_query(const struct matcher *matchers, size_t count) {
    return (struct select_query){
        .matchers = matchers, .matchers_count = count, .from_ms = INT64_MIN, .to_ms = INT64_MAX};
}
