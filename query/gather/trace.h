/* SPDX-License-Identifier: Apache-2.0 */
/* query/gather/trace.h: where the time of a query went, measured for every query: a few clock
 * readings per part. Filled on the query's core; times in nanoseconds. */
#pragma once

#include <stdbool.h>

#include "node/base/buf.h"
#include "node/base/status.h"

/* What one core, or all cores of another node together, did for one fragment. */
struct part_times {
    uint64_t select_ns;   /* on the cores, slices added up */
    uint64_t evaluate_ns; /* on workers, added up */
    uint64_t series, rows, bytes;
    uint32_t cores;
};
struct trace_part {
    uint32_t fragment; /* of the round */
    uint64_t node;     /* its id */
    int32_t core;      /* -1: another node as a whole */
    enum status status;
    bool used;         /* its answer is in the result; else it failed, or another came first */
    uint64_t total_ns; /* from asking to the answer's end, waiting and network included */
    struct part_times times;
};
struct trace_round {
    uint32_t fragments;
    uint64_t scatter_ns, fold_ns;
    struct trace_part *parts;
    size_t parts_count;
};
struct gather_trace {
    uint64_t queue_ns, prepare_ns, finish_ns, total_ns;
    struct trace_round *rounds;
    size_t rounds_count;
    bool incomplete; /* there was no memory for a part of it */
};
struct scatter;
/* The parts of a round that has been scattered. */
void trace_add_round(struct gather_trace *t, struct scatter *const *scatters, size_t count,
                     uint64_t scatter_ns);
void trace_fini(struct gather_trace *t);
/* The timings of a reply as a string with its length, so that fields can be added behind. */
void part_times_put(const struct part_times *t, struct buf *out);
MUST_USE enum status part_times_get(struct sv bytes, struct part_times *out, struct err *err);
