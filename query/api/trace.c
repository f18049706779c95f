/* SPDX-License-Identifier: Apache-2.0 */
/* Where the time of a query went: `stats`, `trace` and the entries of the query log. */
#include <inttypes.h>

#include "query/api/internal.h"

static void put_seconds(struct json *j, struct sv key, uint64_t ns) {
    json_key_f64(j, key, (double)ns / 1e9);
}

static uint64_t finish_ns(const struct gather_query *q) {
    return q->trace == NULL ? 0 : q->trace->finish_ns;
}

static void put_steps(struct json *j, const struct gather_query *q) {
    const struct result *r = &q->result;
    const struct query_params *p = &q->params;
    if (r->samples_steps == NULL) return;
    json_key(j, SV("totalQueryableSamplesPerStep"));
    json_array_begin(j);
    for (size_t k = 0; k < r->samples_steps_count; k++) {
        int64_t time_ms = p->start_ms + (p->instant ? 0 : (int64_t)k * p->step_ms);
        json_array_begin(j);
        json_f64(j, (double)time_ms / 1000);
        json_u64(j, r->samples_steps[k]);
        json_array_end(j);
    }
    json_array_end(j);
}

void api_put_stats(struct buf *out, const struct gather_query *q) {
    uint64_t prepare = q->trace == NULL ? 0 : q->trace->prepare_ns;
    uint64_t inner = q->eval_ns - MIN(q->eval_ns, prepare + finish_ns(q));
    struct json j = json_init(out);
    json_object_begin(&j);
    json_key(&j, SV("timings"));
    json_object_begin(&j);
    put_seconds(&j, SV("evalTotalTime"), q->eval_ns);
    /* the last stage: what stands above the fragments, and the order of the result */
    put_seconds(&j, SV("resultSortTime"), finish_ns(q));
    put_seconds(&j, SV("queryPreparationTime"), prepare);
    put_seconds(&j, SV("innerEvalTime"), inner);
    put_seconds(&j, SV("execQueueTime"), q->queue_ns);
    put_seconds(&j, SV("execTotalTime"), q->queue_ns + q->eval_ns);
    json_object_end(&j);
    json_key(&j, SV("samples"));
    json_object_begin(&j);
    put_steps(&j, q);
    json_key(&j, SV("totalQueryableSamples"));
    json_u64(&j, q->result.samples_read);
    json_key(&j, SV("samplesRead"));
    json_u64(&j, q->result.samples_read);
    json_key(&j, SV("peakSamples"));
    json_u64(&j, q->result.samples_peak);
    json_object_end(&j);
    json_object_end(&j);
}

static void put_count(struct json *j, struct sv key, uint64_t n) {
    json_key(j, key);
    json_u64(j, n);
}

static void put_part(struct json *j, const struct gather *g, const struct trace_part *p) {
    json_object_begin(j);
    put_count(j, SV("fragment"), p->fragment);
    json_key_string(j, SV("node"), sv_from(gather_node_addr(g, p->node)));
    if (p->core >= 0)
        json_key_i64(j, SV("core"), p->core);
    else
        put_count(j, SV("cores"), p->times.cores);
    if (!p->used)
        json_key_string(j, SV("unused"),
                        sv_from(p->status == OK ? "another was first" : status_name(p->status)));
    put_seconds(j, SV("total"), p->total_ns);
    put_seconds(j, SV("select"), p->times.select_ns);
    put_seconds(j, SV("evaluate"), p->times.evaluate_ns);
    put_count(j, SV("series"), p->times.series);
    put_count(j, SV("rows"), p->times.rows);
    put_count(j, SV("bytes"), p->times.bytes);
    json_key_bool(j, SV("answered"), p->status == OK);
    json_object_end(j);
}

void api_put_trace(struct buf *out, const struct gather *g, const struct gather_trace *t) {
    struct json j = json_init(out);
    json_object_begin(&j);
    put_seconds(&j, SV("total"), t->total_ns);
    put_seconds(&j, SV("queue"), t->queue_ns);
    put_seconds(&j, SV("prepare"), t->prepare_ns);
    json_key(&j, SV("rounds"));
    json_array_begin(&j);
    for (size_t i = 0; i < t->rounds_count; i++) {
        const struct trace_round *r = &t->rounds[i];
        json_object_begin(&j);
        put_count(&j, SV("fragments"), r->fragments);
        put_seconds(&j, SV("scatter"), r->scatter_ns);
        put_seconds(&j, SV("fold"), r->fold_ns);
        json_key(&j, SV("parts"));
        json_array_begin(&j);
        for (size_t k = 0; k < r->parts_count; k++)
            put_part(&j, g, &r->parts[k]);
        json_array_end(&j);
        json_object_end(&j);
    }
    json_array_end(&j);
    put_seconds(&j, SV("finish"), t->finish_ns);
    if (t->incomplete) json_key_bool(&j, SV("incomplete"), true);
    json_object_end(&j);
}
