/* SPDX-License-Identifier: Apache-2.0 */
#include "query/gather/trace.h"

#include <stdlib.h>

#include "node/base/bytes.h"
#include "query/gather/internal.h"

static void add_part(struct trace_round *r, uint32_t fragment, const struct scatter_part *part) {
    const struct gather_options *o = &part->scatter->o.g->options;
    int self = ring_map_node_index(o->map, o->self);
    r->parts[r->parts_count++] = (struct trace_part){
        .fragment = fragment,
        .node = part->local == NULL ? part->node : (uint16_t)self,
        .core = part->local == NULL ? -1 : (int32_t)part->core,
        .status = part->status,
        .total_ns = part->total_ns,
        .times = part->times,
    };
}

void trace_add_round(struct gather_trace *t, struct scatter *const *scatters, size_t count,
                     uint64_t scatter_ns) {
    size_t parts = 0;
    for (size_t i = 0; i < count; i++)
        parts += scatters[i] == NULL ? 0 : scatters[i]->parts_count;
    struct trace_round *rounds = reallocarray(t->rounds, t->rounds_count + 1, sizeof *rounds);
    if (rounds != NULL) t->rounds = rounds;
    struct trace_round r = {.fragments = (uint32_t)count,
                            .scatter_ns = scatter_ns,
                            .parts = calloc(parts + 1, sizeof *r.parts)};
    if (rounds == NULL || r.parts == NULL) {
        free(r.parts);
        t->incomplete = true;
        return;
    }
    for (size_t i = 0; i < count; i++)
        for (size_t k = 0; scatters[i] != NULL && k < scatters[i]->parts_count; k++)
            add_part(&r, (uint32_t)i, &scatters[i]->parts[k]);
    t->rounds[t->rounds_count++] = r;
}

void trace_fini(struct gather_trace *t) {
    for (size_t i = 0; i < t->rounds_count; i++)
        free(t->rounds[i].parts);
    free(t->rounds);
    *t = (struct gather_trace){0};
}

void part_times_put(const struct part_times *t, struct buf *out) {
    struct buf fields = {0};
    buf_put_varint(&fields, t->select_ns);
    buf_put_varint(&fields, t->evaluate_ns);
    buf_put_varint(&fields, t->series);
    buf_put_varint(&fields, t->cores);
    if (fields.failed) out->failed = true;
    buf_put_lenstr(out, buf_sv(&fields));
    buf_fini(&fields);
}

enum status part_times_get(struct sv bytes, struct part_times *out, struct err *err) {
    struct reader r = reader_init(bytes.ptr, bytes.len);
    struct part_times t = {.select_ns = read_varint(&r)};
    t.evaluate_ns = read_varint(&r);
    t.series = read_varint(&r);
    uint64_t cores = read_varint(&r);
    if (r.failed || cores > UINT32_MAX)
        return err_set(err, ERR_CORRUPT, 0, "reply of another node has malformed timings");
    t.cores = (uint32_t)cores;
    *out = t;
    return OK;
}
