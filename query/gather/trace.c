/* SPDX-License-Identifier: Apache-2.0 */
#include "query/gather/trace.h"

#include <stdlib.h>

#include "node/base/bytes.h"
#include "query/gather/internal.h"

static void add_part(struct trace_round *r, uint32_t fragment, const struct scatter_part *part) {
    const struct spread_part *base = &part->base;
    r->parts[r->parts_count++] = (struct trace_part){
        .fragment = fragment,
        .node = base->to == 0 ? base->spread->o.g->options.self : base->to,
        .core = base->to == 0 ? (int32_t)base->core : -1,
        .status = base->status,
        .used = base->state == PART_USED,
        .total_ns = base->total_ns,
        .times = part->times,
    };
}

static size_t parts_count(const struct scatter *s) {
    size_t n = 0;
    if (s != NULL) LIST_FOREACH(p, &s->spread.parts) n++;
    return n;
}

void trace_add_round(struct gather_trace *t, struct scatter *const *scatters, size_t count,
                     uint64_t scatter_ns) {
    size_t parts = 0;
    for (size_t i = 0; i < count; i++)
        parts += parts_count(scatters[i]);
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
    for (size_t i = 0; i < count; i++) {
        if (scatters[i] == NULL) continue;
        LIST_FOREACH(p, &scatters[i]->spread.parts)
        add_part(&r, (uint32_t)i, container_of(p, struct scatter_part, base.node));
    }
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
