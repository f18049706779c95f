/* SPDX-License-Identifier: Apache-2.0 */
/* query/engine/mem_source.h: series in memory as a source: for tests and for cairnctl's tests of
 * rules and PromQL. Series are added once, samples in ascending time; then select() answers the
 * selectors of one query. */
#pragma once

#include "node/base/buf.h"
#include "query/engine/engine.h"
#include "query/engine/source.h"

struct mem_series {
    struct label *labels; /* sorted; strings of their own */
    size_t labels_count;
    char *text;
    series_id id;
    struct samples samples;
};

struct mem_source {
    struct source source;       /* first: &m->source is the source */
    struct mem_series **series; /* owned, except by views */
    size_t count, cap;
    bool is_view; /* series belong to another mem_source */
    /* by leaf number: indexes of the series that match */
    uint32_t **matches;
    size_t *matches_count;
    size_t leaves_count;
};

void mem_source_init(struct mem_source *m);
void mem_source_fini(struct mem_source *m);
/* Copies the labels (any order, sorted here). The series lives as long as the source. ERR_CONFLICT:
 * a label twice. */
enum status mem_source_add(struct mem_source *m, const struct label *labels, size_t count,
                           struct mem_series **out, struct err *err) MUST_USE;
/* The series with these labels, NULL when there is none. */
struct mem_series *mem_source_find(struct mem_source *m, const struct label *labels, size_t count);
enum status mem_series_append(struct mem_series *s, int64_t time_ms, double value) MUST_USE;
enum status mem_series_append_start(struct mem_series *s, int64_t time_ms, double value,
                                    int64_t start_ms) MUST_USE;
/* A view shares a series of another source, which must outlive it. */
enum status mem_source_view_add(struct mem_source *view, struct mem_series *s) MUST_USE;
/* Matches the selectors of q; replaces an earlier selection. */
enum status mem_source_select(struct mem_source *m, const struct query *q) MUST_USE;
